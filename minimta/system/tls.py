"""TLS for both ends of a connection, without a socket (only importer of ssl, which takes 10 ms).

A TlsLayer lies between a socket and who talks: what the socket gives is fed to it, what it has to
say is taken from it. Only TLS 1.2 and later (RFC 8996), no compression, no renegotiation; the peer's
certificate chain is bounded by OpenSSL (100 KB).

    client    TlsClient     made where the key can be read, used in a child without rights
    server    server_context(), wrapped by accept()

What may fail: TlsError, with a reason that a human can act on. Its text has no name of a host: the
caller knows which. Certificates are checked by DNS-ID only, never by a common name (RFC 7817 section 3).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection

from minimta.system import certificates, safefile
from minimta.system.certificates import PeerCertificate, is_hashed, server_name
from minimta.system.tls_reasons import reason, result, verdict
from minimta.system.tls_records import server_flight
from minimta.system.tls_values import (
    CertificateError,
    Choices,
    KeyPair,
    TlsError,
    TlsFacts,
    Trust,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

_CHUNK = 65536


def load() -> None:
    """Import ssl now, so that children that are forked later need not.

    The codec too by which it encodes the names of hosts: a child that has given up root may not be
    able to read the place where Python is installed.
    """
    import ssl  # noqa: F401

    "localhost".encode("idna")


# --- one connection -------------------------------------------------------------------------------


class TlsLayer:
    """TLS over octets that somebody else receives and sends."""

    def __init__(self, context: ssl.SSLContext, **wrapping: object) -> None:
        """*wrapping* goes to ``wrap_bio``: server_side, server_hostname, session."""
        import ssl

        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, **wrapping)  # type: ignore[arg-type]

    def handshake(self) -> bool:
        """Go on with it; is it over? If not, feed() is wanted. Raise TlsError."""
        import ssl

        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            code, told = error.verify_code, verdict(error.verify_code, error.verify_message)
            raise CertificateError(told, result=result(code)) from error
        except ssl.SSLError as error:
            raise TlsError(reason(error.reason)) from error
        return True

    def feed(self, octets: bytes) -> None:
        """Take what the socket gave; b"" is the end of the connection."""
        if octets:
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    def take(self) -> bytes:
        """What is to be sent, perhaps nothing."""
        return self._outgoing.read()

    def read(self) -> bytes | None:
        """The text that has come, b"" at the end, None if more must be fed. Raise TlsError."""
        import ssl

        try:
            return self._ssl.read(_CHUNK)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise TlsError(reason(error.reason)) from error

    @property
    def has_text(self) -> bool:
        """Is there something that read() has not looked at yet, perhaps text?"""
        return self._ssl.pending() > 0 or self._incoming.pending > 0

    def write(self, text: bytes) -> None:
        """Encrypt *text*; take() then gives it. Raise TlsError."""
        import ssl

        view = memoryview(text)
        try:
            while view:
                view = view[self._ssl.write(view) :]
        except ssl.SSLError as error:
            raise TlsError(reason(error.reason)) from error

    def close(self) -> None:
        """Say that nothing more will come (close_notify); take() then gives it."""
        import ssl

        with contextlib.suppress(ssl.SSLError):
            self._ssl.unwrap()

    def facts(self, verify: str) -> TlsFacts:
        """After the handshake; *verify* is what the certificate was worth."""
        cipher, _, bits = self._ssl.cipher() or ("", "", 0)
        return TlsFacts(self._ssl.version() or "", cipher, bits, verify)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the peer's certificate in hexadecimal digits, "" if it gave none."""
        import hashlib  # 6 ms, for a policy that few have

        certificate = self._ssl.getpeercert(binary_form=True)
        return hashlib.sha256(certificate).hexdigest() if certificate else ""

    def is_pinned(self, fingerprints: Collection[str]) -> bool:
        """Is the peer's certificate one of these (64 hexadecimal digits)?"""
        return self.fingerprint in fingerprints

    @property
    def certificate(self) -> PeerCertificate:
        """What the peer's says; whether somebody vouches for it is another question."""
        found = self._ssl.getpeercert()
        if not found:  # of one that was not verified Python tells nothing else
            shown = self._ssl._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
            found = shown[0].get_info() if shown else {}
        return certificates.read(found)

    @property
    def session(self) -> ssl.SSLSession | None:
        """For a later connection to the same peer; complete when something was read."""
        return self._ssl.session

    def chain(self) -> list[bytes]:
        """The certificates that the peer gave, its own first (DER)."""
        # Public, and bytes, from Python 3.13 on.
        whose = self._ssl if hasattr(self._ssl, "get_unverified_chain") else self._ssl._sslobj  # type: ignore[attr-defined]
        found = whose.get_unverified_chain() or []
        return [one if isinstance(one, bytes) else one.public_bytes(_DER) for one in found]


#: _ssl.ENCODING_DER
_DER = 2


# --- the client -----------------------------------------------------------------------------------


class TlsClient:
    """How this host begins TLS with others; one for all connections of a mailer."""

    def __init__(
        self, trust: Trust, own: KeyPair | None = None, choices: Choices | None = None
    ) -> None:
        """Read the files now, while it is allowed. What is wrong with them is kept, not raised.

        Without *own*, our certificate, we show none.
        """
        #: why no certificate can be verified, "" if one can
        self.untrusting = ""
        #: why we have no certificate to show although we should, "" else
        self.nameless = ""
        load()
        self._verifying, self._trusting = _client_context(), _client_context()
        self._sessions: dict[tuple[str, bool], ssl.SSLSession] = {}
        try:
            _load_trust(self._verifying, trust)
        except TlsError as error:
            self.untrusting = error.reason
        import ssl

        self._verifying.verify_mode = ssl.CERT_REQUIRED
        #: what of the *choices* cannot be had, "" if all can: it is as if that had not been said
        self.unheeded = ""
        try:
            for context in (self._verifying, self._trusting):
                _choose(context, choices or Choices())
        except TlsError as error:
            self.unheeded = error.reason
        for context in (self._verifying, self._trusting) if own else ():
            try:
                _load_own(context, own)  # type: ignore[arg-type]
            except TlsError as error:
                self.nameless = error.reason

    def begin(self, name: str, *, verified: bool, key: str = "") -> TlsLayer:
        """TLS with the host *name* (SNI; "" or an address: none is said). Raise TlsError.

        *verified*: the handshake fails if no authority vouches for the certificate; its names are
        not looked at. Where *key* was met before, its session is taken up (``remember``).
        """
        if verified and self.untrusting:
            raise TlsError(self.untrusting)
        context = self._verifying if verified else self._trusting
        session = self._sessions.get((key, verified))
        return TlsLayer(context, server_hostname=server_name(name), session=session)

    def remember(self, layer: TlsLayer, *, verified: bool, key: str) -> None:
        """Keep the session of *layer*, so that the next connection to *key* takes it up."""
        session = layer.session
        if session is not None and session.has_ticket | bool(session.id):
            self._sessions[key, verified] = session

    def vouches(self, chain: list[bytes]) -> bool:
        """Would the certificate with this chain (DER) have passed? Its names are not looked at.

        For peers with whom we go on whatever it is worth: OpenSSL would break off the handshake.
        """
        return not self.untrusting and bool(chain) and _verifies(self._verifying, chain)

    def vouches_by(self, authority: bytes, chain: list[bytes]) -> bool:
        """Would it have passed if *authority* (DER) were the only one that is trusted?"""
        import ssl

        context = _client_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be a root
        try:
            context.load_verify_locations(cadata=authority)
        except (ssl.SSLError, ValueError):
            return False
        return _verifies(context, chain)


def _client_context() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # by is_named(): there may be several names
    context.verify_mode = ssl.CERT_NONE
    return _hardened(context)


def https_context(trust: Trust) -> ssl.SSLContext:
    """What ``https`` connects with: chain and name of the server are verified. Raise TlsError."""
    import ssl

    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.hostname_checks_common_name = False
    _load_trust(context, trust)
    return context


# --- a chain, judged without the peer -------------------------------------------------------------

#: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 and the same with ECDSA: a certificate fits one of them
_SUITES = (b"\xc0\x2f", b"\xc0\x2b")


def _verifies(context: ssl.SSLContext, chain: list[bytes]) -> bool:
    """What OpenSSL, as a client with *context*, thinks of the chain.

    Python gives no way to ask that, so the chain is shown to a client as the beginning of a
    handshake of TLS 1.2 (RFC 5246 section 7.4): it judges the certificate at once, and then wants
    to read more.
    """
    for suite in _SUITES:
        layer = TlsLayer(context, server_hostname=None)
        layer.handshake()
        for record in server_flight(suite, chain):
            layer.feed(record)
        try:
            return not layer.handshake()
        except CertificateError:
            return False
        except TlsError:  # a certificate for the other suite
            continue
    return False


# --- the server -----------------------------------------------------------------------------------


def server_context(
    own: KeyPair,
    *others: KeyPair,
    trust: Trust | None = None,
    asks: bool = False,
    pinned: str = "",
    oldest: str = "1.2",
    choices: Choices | None = None,
) -> ssl.SSLContext:
    """What a listener wraps its connections with: see accept(). Raise TlsError.

    *others* are for clients that want another kind of key (RSA, ECDSA). With *asks* clients are
    asked for a certificate, which they need not have; one that neither *trust* vouches for, nor the
    file *pinned* has, ends the handshake: so OpenSSL has it, and Python cannot do otherwise. *oldest*
    "1.0" and "1.1" are for machines that know no better.
    """
    import ssl
    import warnings

    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if oldest != "1.2":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # we know
            context.minimum_version = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1}[
                oldest
            ]
    _choose(context, choices or Choices(), old=oldest != "1.2")
    for pair in (own, *others):
        _load_own(context, pair)
    if asks:
        _load_trust(context, trust or Trust())
        if pinned:
            _load_trust(context, Trust(pinned))
            # Each certificate of the file stands for itself, whoever signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def accept(context: ssl.SSLContext) -> TlsLayer:
    """The server's side of one connection."""
    return TlsLayer(context, server_side=True)


# --- both -----------------------------------------------------------------------------------------


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    import ssl

    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _choose(context: ssl.SSLContext, choices: Choices, *, old: bool = False) -> None:
    """Obey the administrator. *old* versions are spoken, too. Raise TlsError."""
    import ssl

    for name in choices.options:
        if name == "OP_NO_TLSv1_3":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        elif name == "OP_NO_TLSv1_2":
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        else:
            context.options |= getattr(ssl, name)
    # Signatures of old versions are SHA-1, which OpenSSL has at no higher level.
    ciphers = choices.ciphers + ":@SECLEVEL=0" if old and choices.ciphers else choices.ciphers
    if not (ciphers := ciphers or ("DEFAULT:@SECLEVEL=0" if old else "")):
        return
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise TlsError(f"CipherList: {choices.ciphers}: no such cipher") from error


def _load_trust(context: ssl.SSLContext, trust: Trust) -> None:
    import ssl

    if not trust.ca_file and not trust.ca_path:
        trust = _of_system()
    if trust.ca_path and not os.path.isdir(trust.ca_path):
        raise TlsError(f"{trust.ca_path}: no such directory")
    try:
        context.load_verify_locations(trust.ca_file or None, trust.ca_path or None)
    except ssl.SSLError as error:
        raise TlsError(f"{trust.ca_file}: no certificates in it (PEM)") from error
    except OSError as error:
        raise TlsError(f"{trust.ca_file}: {error.strerror}") from error


def _of_system() -> Trust:
    """Where OpenSSL was built to look; not what the environment says. Raise TlsError."""
    import ssl

    paths = ssl.get_default_verify_paths()
    # Of a directory OpenSSL reads what it is asked for; all of the file at once takes 25 ms.
    if is_hashed(paths.openssl_capath):
        return Trust(ca_path=paths.openssl_capath)
    if os.path.isfile(paths.openssl_cafile):
        return Trust(ca_file=paths.openssl_cafile)
    raise TlsError("the system knows no authorities (is ca-certificates installed?)")


def _load_own(context: ssl.SSLContext, own: KeyPair) -> None:
    import ssl

    try:
        for path in (own.cert_file, own.key_file):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise TlsError(f"{path}: is no regular file")  # of a FIFO nobody sees the end
        found = os.stat(own.key_file)
        if safefile.readers(found) & stat.S_IROTH or found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
            raise TlsError(f"{own.key_file}: others may read or change the key (chmod 0600)")
        # Without an answer OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(own.cert_file, own.key_file, password=lambda: b"")
    except ssl.SSLError as error:
        raise TlsError(f"{own}: no certificate with the key that belongs to it") from error
    except TlsError:
        raise
    except OSError as error:
        raise TlsError(f"{error.filename or own}: {error.strerror}") from error


def why(error: OSError) -> str:
    """The reason of an *error* on a connection that has TLS, perhaps, for people."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return verdict(error.verify_code, error.verify_message)
    if isinstance(error, ssl.SSLError):
        return reason(error.reason)
    return error.strerror or (str(error) if isinstance(error, TimeoutError) else "no connection")
