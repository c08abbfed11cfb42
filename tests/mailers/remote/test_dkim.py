"""Signatures of DKIM on what leaves: by which key, over what, and whether others find them good."""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote import dkim, dkim_keys
from minimta.mailers.remote.dkim_keys import SigningKeys, author_domain, row_of
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.message.envelope import Envelope
from minimta.message.outcome import Fate, Outcome
from minimta.queue.control import OWN_MAIL, Control
from minimta.runner.make_jobs import is_own
from tests.mailers.remote.test_mailer import deliver, only
from tests.support.fakesmtp import FakeSmtp
from tests.support.jobs import job, options
from tests.support.privatehost import PrivateHost
from tests.support.slots import slots
from tests.system.test_sandbox import kernel

pytestmark = pytest.mark.debian("openssl")
with_library = pytest.mark.debian("python3-dkim")

X = b"<x@lab2.campus>"
HEADER = (
    b"Received: from x ([10.0.3.134])\n\tby lab1.campus id 6AM9jfMc005642;\n\tMon, 1 Jan 2024"
    b" 00:00:00 GMT\nFrom: Emma <emma@example.org>\nTo: dave@lab2.campus\nSubject: gr\n\tuesse\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 GMT\nMessage-Id: <1@example.org>\nX-Mailer: mine\n"
)


@pytest.fixture(scope="module")
def library() -> None:
    """Also a Python that does not look where Debian puts modules can have it."""
    sys.path.append("/usr/lib/python3/dist-packages")
    dkim.load()


class Place:
    """A table and a key."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.key = directory / "key.pem"
        self.key.write_bytes(a_key())
        self.key.chmod(0o600)
        self.table = directory / "dkim-sign"
        self.options: Options = options(run_as_user="", dkim_sign=str(self.table))
        self.rows(f"example.org 2026a {self.key}")

    def rows(self, *rows: str) -> None:
        self.table.write_text("".join(f"{row}\n" for row in rows))

    def record(self) -> str:
        public = openssl("rsa", "-in", str(self.key), "-pubout", "-outform", "DER")
        return f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"

    def sends(self, one: Job, **keywords: object) -> bytes:
        """What a peer gets, CRLF line ends."""
        known: dict[str, object] = {"keywords": ("SIZE", "8BITMIME"), **keywords}
        with FakeSmtp(**known) as peer:  # type: ignore[arg-type]
            sent = job(
                peer.host,
                header=one.header,
                body=os.pread(one.body, one.size, 0),
                is_own=one.is_own,
            )
            assert only(deliver(sent, configured=self.options)[sent]).fate is Fate.SENT
            [message] = peer.messages
        return bytes(message).replace(b"\r\n..", b"\r\n.")

    def verdict(self, letter: bytes) -> bool:
        """Does dkimverify(1), which is this function, find it good?"""
        import dkim as library

        record = self.record().encode()
        names: list[bytes] = []

        def answer(name: bytes, timeout: int = 5) -> bytes:
            names.append(name)
            return record

        return bool(library.verify(letter, dnsfunc=answer)) and names == [
            b"2026a._domainkey.example.org."
        ]


@functools.cache
def a_key() -> bytes:
    return openssl("genrsa", "2048")


def openssl(*words: str) -> bytes:
    return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def own(header: bytes = HEADER, body: bytes = b"Hello\n") -> Job:
    return job("[127.0.0.1]", header=header, body=body, is_own=True)


def outcome_of(place: Place, one: Job | None = None) -> Outcome:
    """Of a letter that is not sent."""
    one = one or own()
    with FakeSmtp() as peer:
        sent = job(peer.host, header=one.header, is_own=one.is_own)
        found: Mapping[bytes, Outcome] = deliver(sent, configured=place.options)[sent]
        assert not peer.messages
    return only(found)


# --- what is signed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (HEADER, b"example.org"),
        (b"From: x@Example.ORG.\n", b"example.org"),
        (b'From: "a@b" <x@a.example>, y@b.example\n', b"a.example"),
        (b"from:\n x@folded.example\n", b"folded.example"),
        (b"From: x@b\xc3\xbccher.example\n", b"xn--bcher-kva.example"),
        (b"From: nobody\n", b""),
        (b"From:\n", b""),
        (b"Subject: x\n", b""),
    ],
)
def test_the_first_author_decides(header: bytes, domain: bytes) -> None:
    assert author_domain(header) == domain


def test_a_row_is_for_its_domain_or_for_those_below() -> None:
    rows = {b"example.org": b"1", b".example.org": b"2", b".b.example.org": b"3", b"a.net": b"4"}
    for domain, row in {
        b"example.org": b"example.org",
        b"a.example.org": b".example.org",
        b"c.b.example.org": b".b.example.org",
        b"b.example.org": b".example.org",
        b"a.net": b"a.net",
        b"x.a.net": b"",
        b"org": b"",
        b"": b"",
    }.items():
        assert row_of(domain, rows) == row


@pytest.mark.parametrize(
    ("macros", "ours"),
    [
        ({b"_": b"emma@localhost"}, True),
        ({}, True),  # a bounce
        ({b"_": b"emma@localhost", b"r": b"ESMTP"}, True),  # sendmail -bs
        ({b"_": b"lab1.campus [10.0.3.134]", b"r": b"ESMTP"}, False),
        ({b"_": b"lab1.campus [10.0.3.134]", b"r": b"ESMTP", OWN_MAIL: b"1"}, True),
    ],
)
def test_mail_of_our_own_is_signed(macros: dict[bytes, bytes], ours: bool) -> None:
    control = Control(0, b"", [])
    control.macros = macros
    assert is_own(control) is ours


@with_library
def test_a_strangers_letter_that_is_sent_on_is_not_signed(place: Place, library: None) -> None:
    letter = place.sends(job("[127.0.0.1]", header=HEADER))
    assert b"DKIM-Signature" not in letter


@with_library
def test_who_has_no_row_is_not_signed(place: Place, library: None) -> None:
    letter = place.sends(own(HEADER.replace(b"emma@example.org", b"emma@example.net")))
    assert b"DKIM-Signature" not in letter


def test_without_a_table_nobody_looks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim, "load", lambda: pytest.fail("it was loaded"))
    place.options.dkim_sign = ""
    assert b"DKIM-Signature" not in place.sends(own())
    place.options.dkim_sign = "/nonexistent/table"
    assert b"DKIM-Signature" not in place.sends(own())


# --- signatures -----------------------------------------------------------------------------------


@with_library
@pytest.mark.parametrize(
    "body",
    [b"Hello\n", b"", b"\n\n", b"no end", b".dot\n..\n", b"x  \t y \n" * 20000, b"a\n" + b"\n" * 9],
    ids=["short", "empty", "empty lines", "no line end", "dots", "long", "empty lines at the end"],
)
def test_a_signed_letter_is_found_good(place: Place, library: None, body: bytes) -> None:
    letter = place.sends(own(body=body))
    assert letter.startswith(
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org;"
    )
    assert place.verdict(letter)
    assert place.verdict(b"Received: from us\r\n\tby the next; now\r\n" + letter)
    assert not place.verdict(letter.replace(b"Subject: gr", b"Subject: gR"))
    assert not place.verdict(letter + b"more\r\n")


@with_library
def test_nobody_can_add_another_author(place: Place, library: None) -> None:
    letter = place.sends(own())
    assert place.verdict(letter)
    assert not place.verdict(b"From: other@example.org\r\n" + letter)
    fields = re.search(rb"h=([^;]*);", letter)
    assert fields is not None
    names = b"".join(fields[1].split()).split(b":")
    assert names.count(b"from") == 2
    assert b"received" not in names and b"x-mailer" not in names
    assert {b"to", b"subject", b"date", b"message-id"} <= set(names)


@with_library
def test_what_is_converted_for_this_peer_is_signed_as_it_leaves(
    place: Place, library: None
) -> None:
    mime = HEADER + b"Mime-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    one = own(mime, "Grüße\n".encode() * 50)
    eight, seven = place.sends(one), place.sends(one, keywords=("SIZE",))
    assert not eight.isascii() and seven.isascii()
    assert b"quoted-printable" in seven or b"base64" in seven
    assert place.verdict(eight) and place.verdict(seven)


@with_library
def test_a_row_for_what_is_below_signs_for_the_domain_above(place: Place, library: None) -> None:
    place.rows(f".example.org 2026a {place.key}")
    letter = place.sends(own(HEADER.replace(b"@example.org>\nTo", b"@vm1.example.org>\nTo")))
    assert b"d=example.org;" in letter
    assert place.verdict(letter)


@with_library
def test_a_worker_has_the_key_for_its_domain_and_no_other(
    place: Place, library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    shutil.copy(place.key, other)
    place.rows(f"example.org 2026a {place.key}", f"example.net 2026a {other}")
    real = dkim.signed

    def signed(key: dkim.SigningKey, header: bytes, body: bytes) -> bytes:
        files = [os.readlink(f"/proc/self/fd/{number}") for number in range(3, 5000)
                 if os.path.lexists(f"/proc/self/fd/{number}")]  # fmt: skip
        keys = [name for name in files if name.endswith(".pem")]
        try:
            os.pread(key.file, 1, 0)
            Path(place.key).read_bytes()
            keys.append("by path")
        except OSError:
            pass
        return b"X-Keys: " + ",".join(keys).encode() + b"\n" + real(key, header, body)

    monkeypatch.setattr(dkim, "signed", signed)
    with FakeSmtp() as peer:
        jobs = [
            job(
                peer.host,
                header=HEADER.replace(b"@example.org>\nTo", domain + b">\nTo"),
                is_own=own,
            )
            for domain, own in ((b"@example.org", True), (b"@example.net", True), (b"@x.net", True))
        ]
        fates = deliver(*jobs, configured=place.options)
        assert all(only(fates[one]).fate is Fate.SENT for one in jobs)
        told = sorted(bytes(message).split(b"\r\n")[0] for message in peer.messages)
    path = b"" if kernel() else b",by path"
    assert told[0].startswith(b"Received: ")
    assert told[1:] == [
        b"X-Keys: " + os.fsencode(name) + path for name in sorted((place.key, other))
    ]


@with_library
def test_no_descriptor_is_left(place: Place, library: None) -> None:
    place.sends(own())
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    one = own()
    with FakeSmtp() as peer:
        sent = job(peer.host, header=one.header, is_own=True)
        deliver(sent, configured=place.options)
    after = len(os.listdir("/proc/self/fd"))
    assert after - before == 2  # the data files of the two jobs


# --- what goes wrong ------------------------------------------------------------------------------


def waits(found: Outcome, reason: str) -> None:
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.5")
    assert reason in found.text, found.text


def test_without_the_library_it_waits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("no such module")

    monkeypatch.setattr(dkim, "load", load)
    waits(outcome_of(place), "DKIM: python3-dkim is not installed (apt install python3-dkim")


def no_file(make: Callable[[Path], object]) -> Callable[[Place], object]:
    """Something else in the place of the key."""

    def change(place: Place) -> None:
        place.key.unlink()
        make(place.key)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda place: place.key.chmod(0o640), "Others may read it; it must be root's, mode 600"),
        (lambda place: place.key.chmod(0o602), "World writable; it must be root's"),
        (lambda place: place.key.unlink(), "key.pem: No such file or directory"),
        (no_file(lambda path: path.mkdir(mode=0o700)), "Regular files only"),
        (no_file(lambda path: os.mkfifo(path, 0o600)), "Regular files only"),
        (
            lambda place: place.rows("example.org 2026a"),
            "dkim-sign: row example.org: a row has domain, selector",
        ),
        (lambda place: place.rows("example.org 2026a key.pem"), "a row has domain, selector"),
        (lambda place: place.rows("example.org a;b /key.pem"), "are names of DNS"),
        (lambda place: place.table.write_bytes(b"x\0"), "dkim-sign: is no text"),
    ],
)
def test_without_its_key_it_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch, change: Callable[[Place], object], reason: str
) -> None:
    monkeypatch.setattr(dkim, "load", lambda: None)
    change(place)
    waits(outcome_of(place), reason)


@with_library
def test_what_is_no_key_makes_it_wait(place: Place, library: None) -> None:
    place.key.write_text(
        "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n"
    )
    found = outcome_of(place)
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.0")
    assert f"DKIM: {place.key}: no key that signs (" in found.text
    assert "c2Vj" not in found.text


def test_others_do_not_wait_for_what_cannot_be_signed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dkim, "load", lambda: None)
    place.key.unlink()
    with FakeSmtp() as peer:
        bad = job(peer.host, header=HEADER, is_own=True)
        good = job(peer.host, header=HEADER)
        fates = deliver(bad, good, configured=place.options)
    waits(only(fates[bad]), "No such file")
    assert only(fates[good]).fate is Fate.SENT


def test_a_letter_that_is_too_large_to_be_signed_is_returned(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dkim, "load", lambda: None)
    monkeypatch.setattr("minimta.mailers.remote.content.MAX_CONVERTED", 3)
    found = outcome_of(place)
    assert (found.fate, found.status) == (Fate.FAILED, "5.3.4")
    assert "too large to be signed (DKIM)" in found.text


def test_the_descriptors_of_keys_are_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim, "load", lambda: None)
    one, two = own(), own()
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    keys = SigningKeys.read(place.options.dkim_sign, [one, two])
    assert keys.of(one) is keys.of(two) is not None
    assert len(os.listdir("/proc/self/fd")) == before + 1
    keys.close()
    keys.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert dkim_keys.SigningKeys.read(place.options.dkim_sign, []).of(one) is None


# --- others ---------------------------------------------------------------------------------------


@with_library
@pytest.mark.debian("opendkim")
def test_opendkim_finds_it_good(place: Place, library: None, tmp_path: Path) -> None:
    letter = place.sends(own())
    (tmp_path / "zone").write_text(f"2026a._domainkey.example.org {place.record()}\n")
    (tmp_path / "conf").write_text(f"Mode v\nTestDNSData {tmp_path}/zone\nOversignHeaders From\n")
    program = shutil.which("opendkim") or "/usr/sbin/opendkim"

    def says(text: bytes) -> str:
        (tmp_path / "letter").write_bytes(text)
        command = [program, "-x", str(tmp_path / "conf"), "-vv", "-t", str(tmp_path / "letter")]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    assert "dkim=pass" in says(b"Received: by the next; now\r\n" + letter)
    assert "dkim=fail" in says(letter.replace(b"Hello", b"hello"))


# --- the whole way --------------------------------------------------------------------------------


@with_library
@pytest.mark.parametrize("by_us", [True, False])
def test_what_the_runner_sends_is_signed_behind_masquerading_and_conversion(
    place: Place, library: None, tmp_path: Path, by_us: bool
) -> None:
    host = PrivateHost(tmp_path)
    host.options.dkim_sign = str(place.table)
    host.options.masquerade_as = "example.org"
    text = (
        "From: Dave <dave@lab1.campus>\nTo: x@lab2.campus\nSubject: hello\nMime-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\n\nGrüße\n"
    )

    def came(envelope: Envelope) -> None:
        envelope.is_own = by_us

    with FakeSmtp(keywords=("SIZE",)) as peer:
        host.options.smart_host = peer.host
        qid = host.submit(b"<dave@lab1.campus>", X, text=text.encode(), envelope=came)
        deliverer = host.deliverer()
        mine = slots(2)
        assert mine.enter()
        deliverer.mailers["esmtp"] = RemoteMailer(host.options, mine)
        deliverer.attempt([qid])
        mine.leave()
        [letter] = peer.messages
    assert b"\r\nFrom: Dave <dave@example.org>\r\n" in letter and letter.isascii()
    assert b"\r\nReceived: from lab3.campus" in b"\r\n" + letter
    assert letter.startswith(b"DKIM-Signature: ") is by_us
    assert place.verdict(letter) is by_us
