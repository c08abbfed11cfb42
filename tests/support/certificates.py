"""Certificates for tests, made by openssl(1): tests that use them are marked ``debian("openssl")``.

authority = Authority(tmp_path, "ca")       authority.certificate: a file, for CACertFile
host = authority.issue("mx.campus")         host.cert_file, host.key_file
self_signed(tmp_path, "mx.campus")
"""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from minimta.system.tls_values import KeyPair

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_OVER = ("-not_before", "20200101000000Z", "-not_after", "20200109000000Z")
_RSA_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _alternatives(names: Sequence[str]) -> str:
    """An address is an IP, unless it is written "DNS:10.0.3.9"."""
    plain = [name.removeprefix("DNS:") for name in names]
    kinds = ("IP" if name.replace(".", "").isdigit() or ":" in name else "DNS" for name in plain)
    told = (f"{kind}:{name}" for kind, name in zip(kinds, plain, strict=True))
    return ",".join(
        name if name[:4] == "DNS:" else one for name, one in zip(names, told, strict=True)
    )


def self_signed(directory: Path, *names: str) -> KeyPair:
    """A certificate that nobody vouches for, for these names."""
    pair = KeyPair(str(directory / f"self-{names[0]}.pem"), str(directory / f"self-{names[0]}.key"))
    extension = ("-addext", f"subjectAltName={_alternatives(names)}")
    files = ("-out", pair.cert_file, "-keyout", pair.key_file)
    _openssl("req", "-x509", *_NEW_KEY, "-subj", "/CN=self", "-days", "9", *extension, *files)
    return pair


class Authority:
    """One that signs."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self.name = name
        self.certificate = str(directory / f"{name}.pem")
        self._key = directory / f"{name}.key"
        files = ("-out", self.certificate, "-keyout", self._key)
        # Python 3.13 takes no authority without it (VERIFY_X509_STRICT).
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-days", "9", *usage, *files)

    def below(self, name: str) -> Authority:
        """An authority that this one has signed."""
        made = Authority(self._directory, name)
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(
            "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        _openssl("req", "-new", "-key", made._key, "-subj", f"/CN={name}", "-out", request)
        signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "9")
        files = ("-in", request, "-extfile", extensions, "-out", made.certificate)
        _openssl("x509", "-req", *signer, *files)
        return made

    def issue(self, *names: str, days: int = 9, rsa: bool = False) -> KeyPair:
        """A certificate for these names; with *days* below 0 it has expired."""
        base = self._directory / f"{self.name}-{names[0].replace('*', 'any')}{days}{rsa}"
        request, extensions = base.with_suffix(".csr"), base.with_suffix(".ext")
        pair = KeyPair(f"{base}.pem", f"{base}.key")
        extensions.write_text(
            f"subjectAltName={_alternatives(names)}\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        files = ("-out", request, "-keyout", pair.key_file)
        _openssl("req", *(_RSA_KEY if rsa else _NEW_KEY), "-subj", f"/CN={names[0][:60]}", *files)
        signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        common = ("-in", request, *signer, "-extfile", extensions, "-out", pair.cert_file)
        try:
            _openssl("x509", "-req", "-days", str(days), *common)
        except subprocess.CalledProcessError:
            # OpenSSL 3.4 and later want both ends of what is over, and those before know no such option.
            _openssl("x509", "-req", *_OVER, *common)
        return pair


def der(pair: KeyPair) -> bytes:
    """The certificate, without its armour."""
    return ssl.PEM_cert_to_DER_cert(Path(pair.cert_file).read_text())


def fingerprint(pair: KeyPair) -> str:
    """SHA-256 of the certificate, hexadecimal digits."""
    return hashlib.sha256(der(pair)).hexdigest()
