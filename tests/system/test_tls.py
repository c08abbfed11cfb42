from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.system.certificates import is_named, one_line
from minimta.system.tls import TlsClient, TlsLayer, accept, server_context
from minimta.system.tls_values import CertificateError, Choices, KeyPair, TlsError, TlsFacts, Trust
from tests.support.certificates import Authority, der, fingerprint, self_signed


def carry(origin: TlsLayer, destination: TlsLayer) -> None:
    if octets := origin.take():
        destination.feed(octets)


def shake(client: TlsLayer, server: TlsLayer) -> None:
    """Both ends, until neither wants more."""
    while not (client.handshake() & server.handshake()):
        carry(client, server)
        carry(server, client)
    carry(server, client)


@pytest.mark.parametrize(
    ("certified", "wanted", "fits"),
    [
        ("mx.campus", "mx.campus", True),
        ("MX.Campus", "mx.campus.", True),
        ("*.campus.example", "mx.campus.example", True),
        ("*.campus.example", "a.mx.campus.example", False),
        ("*.campus.example", "campus.example", False),
        ("m*.campus.example", "mx.campus.example", False),
        ("mx.*.example", "mx.campus.example", False),
        ("*", "mx", False),
        ("*.campus", "mx.campus", False),  # nobody owns a whole top level
        ("mx.campus.example", ".campus.example", True),
        ("*.campus.example", ".campus.example", True),
        ("campus.example", ".campus.example", False),
        ("mx.evilcampus.example", ".campus.example", False),
        ("10.0.3.9", "10.0.3.9", True),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("mx.campus\0.evil.example", "mx.campus", False),
        ("", "", False),
        ("mx.campus", "", False),
    ],
)
def test_which_names_of_a_certificate_are_whose(certified: str, wanted: str, fits: bool) -> None:
    """RFC 7817 section 3: an asterisk is a whole first label."""
    assert is_named([certified], [wanted]) is fits


def test_a_distinguished_name_is_one_word() -> None:
    """As Sendmail's ${cert_subject}."""
    name = (
        (("countryName", "DE"),),
        (("organizationName", 'My "Lab" <x>'),),
        (("commonName", "b\u00e9a+1"), ("emailAddress", "a@b.example")),
        (("domainComponent", "campus"), ("userId", "x/CN=ca")),
    )
    assert one_line(name) == (
        "/C=DE/O=My+20+22Lab+22+20+3Cx+3E/CN=b+C3+A9a+2B1/emailAddress=a@b.example"
        "/DC=campus/UID=x+2FCN=ca"
    )


@pytest.mark.debian("openssl")
class TestBothEnds:
    def test_text_goes_both_ways(self, tmp_path: Path) -> None:
        client = TlsClient(Trust()).begin("localhost", verified=False)
        server = accept(server_context(self_signed(tmp_path, "localhost")))
        shake(client, server)
        client.write(b"EHLO x\r\n")
        server.feed(client.take())
        assert server.read() == b"EHLO x\r\n"
        assert server.read() is None
        assert not server.has_text
        server.write(b"2" * 100_000)
        client.feed(server.take())
        got = b""
        while (text := client.read()) is not None:
            got += text
        assert got == b"2" * 100_000

    @pytest.mark.parametrize("ends", ["close", "eof"])
    def test_the_end_is_no_octets(self, tmp_path: Path, ends: str) -> None:
        client = TlsClient(Trust()).begin("localhost", verified=False)
        server = accept(server_context(self_signed(tmp_path, "localhost")))
        shake(client, server)
        if ends == "close":
            server.close()
            client.feed(server.take())
        else:
            client.feed(b"")
        assert client.read() == b""

    def test_octets_that_were_changed_on_the_way_are_an_error(self, tmp_path: Path) -> None:
        client = TlsClient(Trust()).begin("localhost", verified=False)
        server = accept(server_context(self_signed(tmp_path, "localhost")))
        shake(client, server)
        server.write(b"250 ok\r\n")
        octets = bytearray(server.take())
        octets[-1] ^= 1
        client.feed(bytes(octets))
        with pytest.raises(TlsError, match=r"mac|record layer"):
            client.read()

    def test_facts_and_fingerprint(self, tmp_path: Path) -> None:
        own = self_signed(tmp_path, "localhost")
        client, server = TlsClient(Trust()).begin("x", verified=False), accept(server_context(own))
        shake(client, server)
        facts = client.facts("FAIL")
        assert (facts.version, facts.bits, facts.verify) == ("TLSv1.3", 256, "FAIL")
        assert client.fingerprint == fingerprint(own)
        assert client.is_pinned(["0" * 64, fingerprint(own)])
        assert not client.is_pinned(["0" * 64])
        assert server.fingerprint == ""

    @pytest.mark.parametrize(
        ("name", "said"),
        [("mx.campus.", "mx.campus"), ("10.0.3.9", ""), ("::1", ""), ("", ""), ("x" * 64, "")],
    )
    def test_the_name_that_is_said_is_a_hosts(self, tmp_path: Path, name: str, said: str) -> None:
        """RFC 6066 section 3."""
        heard: list[str | None] = []
        context = server_context(self_signed(tmp_path, "localhost"))
        context.sni_callback = lambda _, host, __: heard.append(host)
        shake(TlsClient(Trust()).begin(name, verified=False), accept(context))
        assert heard == [said or None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.mark.debian("openssl")
class TestCertificates:
    def test_an_authority_that_is_trusted_suffices(self, authority: Authority) -> None:
        trusting = TlsClient(Trust(authority.certificate))
        client = trusting.begin("mx.campus", verified=True)
        shake(client, accept(server_context(authority.issue("mx.campus", "10.0.3.9"))))
        assert client.certificate.names == ("mx.campus", "10.0.3.9")

    def test_who_is_not_trusted_ends_the_handshake(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        other = Authority(tmp_path, "other")
        client = TlsClient(Trust(other.certificate)).begin("mx.campus", verified=True)
        server = accept(server_context(authority.issue("mx.campus")))
        with pytest.raises(CertificateError, match="authority is unknown"):
            shake(client, server)
        server.feed(client.take())
        with pytest.raises(TlsError, match="does not trust the authority of our certificate"):
            server.handshake()

    def test_a_name_in_the_subject_alone_is_none(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        """RFC 7817: DNS-ID, not the common name."""
        pair = authority.issue("other.campus")
        client = TlsClient(Trust(authority.certificate)).begin("x", verified=True)
        shake(client, accept(server_context(pair)))
        assert not is_named(client.certificate.names, ["ca"])

    def test_an_address_that_is_written_as_a_name_is_neither(self, authority: Authority) -> None:
        pair = authority.issue("mx.campus", "DNS:10.0.3.9")
        client = TlsClient(Trust(authority.certificate)).begin("10.0.3.9", verified=True)
        shake(client, accept(server_context(pair)))
        assert client.certificate.names == ("mx.campus",)

    @pytest.mark.parametrize("rsa", [False, True])
    def test_a_chain_is_judged_as_in_a_handshake(self, authority: Authority, rsa: bool) -> None:
        client = TlsClient(Trust(authority.certificate))
        good = der(authority.issue("mx.campus", rsa=rsa))
        expired = der(authority.issue("mx.campus", days=-1, rsa=rsa))
        assert client.vouches([good])
        assert not client.vouches([expired])
        assert not TlsClient(Trust()).vouches([good])
        assert not client.vouches([])
        assert not client.vouches([good[:-1] + bytes([good[-1] ^ 1])])
        assert not client.vouches([b"no certificate"])
        assert client.vouches([good] + [good] * 60)  # of many octets: several records

    def test_directory_of_authorities(self, authority: Authority, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_bytes(Path(authority.certificate).read_bytes())
        subprocess.run(["openssl", "rehash", tmp_path], check=True)
        client = TlsClient(Trust(ca_path=str(tmp_path)))
        assert client.vouches([der(authority.issue("mx.campus"))])

    @pytest.mark.parametrize(
        ("trust", "why"),
        [
            (Trust("/nonexistent/ca.pem"), "/nonexistent/ca.pem: No such file or directory"),
            (Trust("/etc/passwd"), "/etc/passwd: no certificates in it"),
            (Trust(ca_path="/nonexistent"), "/nonexistent: no such directory"),
        ],
    )
    def test_authorities_that_cannot_be_read_vouch_for_nobody(
        self, authority: Authority, trust: Trust, why: str
    ) -> None:
        client = TlsClient(trust)
        assert why in client.untrusting
        assert not client.vouches([der(authority.issue("mx.campus"))])
        with pytest.raises(TlsError, match=why):
            client.begin("mx.campus", verified=True)
        client.begin("mx.campus", verified=False)


def test_a_system_that_knows_no_authorities_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile="/no", openssl_capath="/no")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    client = TlsClient(Trust())
    assert client.untrusting == "the system knows no authorities (is ca-certificates installed?)"
    client.begin("mx.campus", verified=False)


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("is_hashed", [True, False])
def test_the_authorities_of_the_system_are_found_in_directory_or_file(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_hashed: bool
) -> None:
    (tmp_path / "certs").mkdir()
    shutil.copy(authority.certificate, tmp_path / ("certs/ca.pem" if is_hashed else "cert.pem"))
    subprocess.run(["openssl", "rehash", tmp_path / "certs"], check=True)
    paths = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(tmp_path / "cert.pem"), openssl_capath=str(tmp_path / "certs")
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert TlsClient(Trust()).vouches([der(authority.issue("mx.campus"))])


@pytest.mark.debian("openssl")
def test_what_the_environment_trusts_does_not_count(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.certificate)
    assert not TlsClient(Trust()).vouches([der(authority.issue("mx.campus"))])


@pytest.mark.debian("openssl")
class TestOurKey:
    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602])
    def test_a_key_that_others_know_is_not_used(self, tmp_path: Path, mode: int) -> None:
        own = self_signed(tmp_path, "lab1.campus")
        Path(own.key_file).chmod(mode)
        with pytest.raises(TlsError, match="others may read or change the key"):
            server_context(own)
        assert "others may read or change the key" in TlsClient(Trust(), own).nameless

    @pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
    def test_a_group_may_read_it(self, tmp_path: Path, mode: int) -> None:
        """Debian's group ssl-cert."""
        own = self_signed(tmp_path, "lab1.campus")
        Path(own.key_file).chmod(mode)
        assert not TlsClient(Trust(), own).nameless

    def test_the_key_of_another_certificate_is_told(self, tmp_path: Path) -> None:
        own, other = self_signed(tmp_path, "a.campus"), self_signed(tmp_path, "b.campus")
        client = TlsClient(Trust(), KeyPair(own.cert_file, other.key_file))
        assert "no certificate with the key that belongs to it" in client.nameless

    def test_one_file_with_both_is_named_once(self, tmp_path: Path) -> None:
        path = tmp_path / "both.pem"
        path.write_text("neither\n")
        path.chmod(0o600)
        with pytest.raises(TlsError) as trouble:
            server_context(KeyPair(str(path), str(path)))
        told = f"{path}: no certificate with the key that belongs to it"
        assert trouble.value.reason == told

    def test_nobody_is_asked_for_the_password_of_a_key(self, tmp_path: Path) -> None:
        own = self_signed(tmp_path, "lab1.campus")
        locked = tmp_path / "locked.key"
        words = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", own.key_file]
        subprocess.run([*words, "-out", locked], check=True, capture_output=True)
        locked.chmod(0o600)
        with pytest.raises(TlsError, match="no certificate with the key"):
            server_context(KeyPair(own.cert_file, str(locked)))

    @pytest.mark.parametrize("which", ["cert_file", "key_file"])
    def test_a_fifo_is_no_certificate_and_no_key(self, tmp_path: Path, which: str) -> None:
        own = self_signed(tmp_path, "lab1.campus")
        fifo = str(tmp_path / "fifo")
        os.mkfifo(fifo, 0o600)
        with pytest.raises(TlsError, match="is no regular file"):
            server_context(replace(own, **{which: fifo}))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        own = self_signed(tmp_path, "lab1.campus")
        missing = str(tmp_path / "nosuch")
        with pytest.raises(TlsError, match=f"{missing}: No such file or directory"):
            server_context(KeyPair(own.cert_file, missing))
        with pytest.raises(TlsError, match="No such file or directory"):
            server_context(KeyPair(missing, own.key_file))


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("ours", ["client", "server"])
def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path, ours: str) -> None:
    """RFC 8996. Not even where every cipher would do."""
    serving = server_context(self_signed(tmp_path, "localhost"))
    tls = TlsClient(Trust())
    asking = tls._trusting
    for context in (serving, asking):
        context.set_ciphers("ALL:@SECLEVEL=0")
    old = serving if ours == "client" else asking
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(TlsError, match=r"version|older|protocol"):
        shake(tls.begin("x", verified=False), accept(serving))


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("oldest", ["1.2", "1.0"])
def test_nothing_is_compressed_and_no_handshake_made_anew(tmp_path: Path, oldest: str) -> None:
    """CVE-2012-4929 (CRIME); CVE-2011-1473, a client's handshakes without end."""
    tls = TlsClient(Trust())
    serving = server_context(self_signed(tmp_path, "localhost"), oldest=oldest)
    for context in (serving, tls._trusting, tls._verifying):
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.debian("openssl")
def test_whatever_octet_of_a_handshake_is_changed_it_is_at_most_an_error(tmp_path: Path) -> None:
    """A TlsError, or more is wanted; nothing else is raised. (A few octets mean nothing.)"""
    context = server_context(self_signed(tmp_path, "localhost"))
    trusting = TlsClient(Trust())
    failed = 0
    for place in range(0, 900, 3):
        client, server = trusting.begin("localhost", verified=False), accept(context)
        client.handshake()
        server.feed(client.take())
        server.handshake()
        flight = bytearray(server.take())
        flight[place % len(flight)] ^= 0x55
        client.feed(bytes(flight))
        try:
            client.handshake()
        except TlsError:
            failed += 1
    assert failed > 200


# --- what the administrator chooses ---------------------------------------------------------------


def agreed(tmp_path: Path, client: Choices, server: Choices) -> TlsFacts:
    layer = TlsClient(Trust(), None, client).begin("", verified=False)
    theirs = accept(server_context(self_signed(tmp_path, "mx.campus"), choices=server))
    shake(layer, theirs)
    return layer.facts("NO")


@pytest.mark.parametrize("is_client", [True, False])
def test_versions_and_ciphers_are_as_they_are_chosen(tmp_path: Path, is_client: bool) -> None:
    suite = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"
    chosen = Choices(suite, ("OP_NO_TLSv1_3",))
    both = (chosen, Choices()) if is_client else (Choices(), chosen)
    facts = agreed(tmp_path, *both)
    assert facts.version == "TLSv1.2" and facts.cipher in suite.split(":")


@pytest.mark.parametrize("turn", [1, -1])
def test_a_version_that_is_not_chosen_is_not_spoken(tmp_path: Path, turn: int) -> None:
    new, old = Choices("", ("OP_NO_TLSv1_2",)), Choices("", ("OP_NO_TLSv1_3",))
    assert agreed(tmp_path, *(new, Choices())[::turn]).version == "TLSv1.3"
    with pytest.raises(TlsError, match=r"version|older|protocol"):
        agreed(tmp_path, *(new, old)[::turn])


@pytest.mark.parametrize("turn", [1, -1])
def test_who_wants_no_tickets_speaks_all_versions(tmp_path: Path, turn: int) -> None:
    chosen, old = Choices("", ("OP_NO_TICKET",)), Choices("", ("OP_NO_TLSv1_3",))
    assert agreed(tmp_path, *(chosen, old)[::turn]).version == "TLSv1.2"
    own = self_signed(tmp_path, "mx.campus")
    assert not server_context(own).options & ssl.OP_NO_TICKET
    assert server_context(own, choices=chosen).options & ssl.OP_NO_TICKET


def test_ciphers_that_do_not_exist_stop_the_listener_and_no_mail(tmp_path: Path) -> None:
    bad = Choices("NO-SUCH-CIPHER")
    with pytest.raises(TlsError, match="CipherList: NO-SUCH-CIPHER: no such cipher"):
        server_context(self_signed(tmp_path, "mx.campus"), choices=bad)
    client = TlsClient(Trust(), None, bad)
    assert client.unheeded == "CipherList: NO-SUCH-CIPHER: no such cipher"
    assert agreed(tmp_path, bad, Choices()).version == "TLSv1.3"
