"""What users and programs write reaches logs, mailq and bounces as plain text, or not at all."""

from __future__ import annotations

import os

import pytest

from minimta.commands import mailq, verify
from minimta.system import log
from tests.support.sharedhost import SharedHost

pytestmark = pytest.mark.root

#: what a terminal, a log reader, a reader of mail or a format might obey
EVIL = [
    b"\x1b[31;1mred\x1b]0;title\x07",
    b"\x07\x08\x0c\x0b",
    b"a\rb",
    "\u2028\u2029\u0085x".encode(),
    "\u202egnp.exe".encode(),
    b"\x9b31m\xff\xfe",
    b"%s%n%(x)s",
    b"{0.__class__}",
    b"x, relay=[192.0.2.1], dsn=2.0.0, stat=Sent",
]
#: in addresses it is refused
WITHOUT_CR = [text for text in EVIL if b"\r" not in text]


def names(texts: list[bytes]) -> list[str]:
    return [repr(text)[2:-1] for text in texts]


def is_plain(text: str) -> bool:
    """Printable ASCII, line ends and tabs."""
    return all(" " <= mark <= "~" or mark in "\n\t" for mark in text)


def own_words(bounce: bytes) -> str:
    """All of a bounce but the message that comes back, as it stands in the mailbox."""
    boundary = bounce.partition(b'boundary="')[2].partition(b'"')[0]
    parts = bounce.split(b"--" + boundary)
    returned = [n for n, part in enumerate(parts) if b"Content-Type: message/rfc822" in part]
    assert len(returned) == 1
    return (b"--".join(parts[: returned[0]])).decode("utf-8")


def all_is_plain(host: SharedHost, capfd: pytest.CaptureFixture[str]) -> str:
    """The log, both forms of mailq, and all bounces; what they say."""
    capfd.readouterr()
    mailq.show(host.options, verbose=False)
    mailq.show(host.options, verbose=True)
    shown = capfd.readouterr().out
    assert "Total requests: " in shown
    said = ["\n".join(host.lines), shown]
    assert all("\n" not in line for line in host.lines)
    if host.mailbox("emma").exists():
        said.append(own_words(host.mailbox("emma").read_bytes()))
    assert [text for text in said if not is_plain(text)] == []
    assert all(len(line) < 2000 for line in host.lines)
    assert forged(host) == []
    return "\n".join(said)


def forged(host: SharedHost) -> list[str]:
    """Lines that tell a fact twice: one of them is somebody's own."""
    found = []
    for line in host.lines:
        parts = [part.partition("=") for part in line.split(", ")]
        told = [name for name, equals, _ in parts if equals and name.isalnum()]
        found += [line] if len(set(told)) < len(told) else []
    return found


@pytest.mark.parametrize("code", [0, 69, 75])
@pytest.mark.parametrize("evil", EVIL, ids=names(EVIL))
def test_the_output_of_a_program_is_made_plain(
    host: SharedHost, evil: bytes, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    output = host.put("dave", evil + b"\nX-Forged: yes\n\nFrom evil\n.\n--x\n", "output")
    program = b'"|cat %b; exit %d"\n' % (bytes(output), code)
    host.put("dave", program, ".forward")
    host.run([*host.submit_each("dave"), *host.submit_each("carol")])
    all_is_plain(host, capfd)
    assert len(host.letters("carol")) == 1
    bounces = host.letters("emma")
    assert len(bounces) == (code not in (0, 75))
    for bounce in bounces:
        assert "X-Forged" not in bounce
        assert [part.get_content_type() for part in bounce.walk()][1:3] == [
            "text/plain",
            "message/delivery-status",
        ]
        for fields in bounce.get_payload(1).get_payload():  # type: ignore[union-attr]
            assert "X-Forged" not in fields
    if evil in (b"%s%n%(x)s", b"{0.__class__}") and bounces:
        assert evil.decode() in bounces[0].as_string(), "as it is"


@pytest.mark.parametrize("evil", EVIL, ids=names(EVIL))
def test_a_command_that_fails_is_told_plainly(
    host: SharedHost, evil: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    host.put("dave", b'"|exit 75 # %b"\n' % evil, ".forward")
    host.aliases(f'list: "|exit 69 # {os.fsdecode(evil)}"') if evil.isascii() else None
    host.run([*host.submit_each("dave", "list"), *host.submit_each("carol")])
    all_is_plain(host, capfd)
    assert any("EX_TEMPFAIL" in line for line in host.lines)
    assert len(host.letters("carol")) == 1


@pytest.mark.parametrize("evil", WITHOUT_CR, ids=names(WITHOUT_CR))
def test_names_of_files_are_told_plainly(
    host: SharedHost, evil: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a file that cannot be written, a list that is not there, and a .forward not followed."""
    home = bytes(host.root / "home" / "dave")
    missing = b'"%b/no/%b", ":include:%b/no/%b"\n' % (home, evil, home, evil)
    host.put("dave", missing, ".forward")
    detail = os.fsdecode(b".forward+" + evil)
    host.put("mallory", b"carol\n", detail, 0o666)
    host.submit(b"<emma@lab1.campus>", b'<"mallory+%b"@lab1.campus>' % evil)
    host.run([*host.queued(), *host.submit_each("dave", "carol")])
    all_is_plain(host, capfd)
    assert len(host.letters("mallory")) == 1
    assert len(host.letters("carol")) == 1
    assert any("Group writable file" in line for line in host.lines)
    assert any("Cannot open" in line for line in host.lines)


@pytest.mark.parametrize("evil", EVIL, ids=names(EVIL))
def test_addresses_and_errors_of_a_list_are_told_plainly(
    host: SharedHost, evil: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    quoted = b'"nosuch%b"@lab1.campus' % evil.replace(b'"', b"")
    host.put("dave", quoted + b'\n"error:5.7.1:550 no %b"\n' % evil, ".forward")
    host.run([*host.submit_each("dave"), *host.submit_each("carol")])
    all_is_plain(host, capfd)
    assert len(host.letters("carol")) == 1
    assert len(host.letters("emma")) == 1


@pytest.mark.parametrize("evil", WITHOUT_CR, ids=names(WITHOUT_CR))
def test_the_envelope_is_told_plainly(
    host: SharedHost, evil: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    text = b"Subject: s\nMessage-Id: <%b@x>\n\nx\n" % evil
    host.submit(
        b'<"%b"@lab1.campus>' % evil,
        b'<"nosuch%b"@lab1.campus>' % evil,
        b"<x@%b>" % evil.replace(b" ", b""),
        b"<emma@lab1.campus>",
        text=text,
    )
    host.run([*host.queued(), *host.submit_each("carol")])
    capfd.readouterr()
    mailq.show(host.options, verbose=True)
    shown = capfd.readouterr().out
    assert "Total requests: " in shown
    assert is_plain(shown + "\n".join(host.lines))
    assert forged(host) == []
    assert len(host.letters("carol")) == 1


@pytest.mark.parametrize("evil", [b"%s%n%d", b"{0.__class__}", b"\x1b[2J"], ids=repr)
def test_the_real_log_gets_a_constant_format(
    evil: bytes, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2011-1764; with the log itself instead of a list of lines."""
    log.configure("sm-mta", "stderr", 9)
    try:
        log.line("id", f"to=<{log.clean(evil)}>")
    finally:
        log.configure("sendmail", "none", 9)
    said = capfd.readouterr().err
    assert said.endswith(f"id: to=<{log.clean(evil)}>\n")
    assert is_plain(said)


def test_verify_shows_a_chain_plainly(host: SharedHost, capfd: pytest.CaptureFixture[str]) -> None:
    from minimta.config.commandline import Command

    evil = "".join(os.fsdecode(text) for text in EVIL if text.isascii())
    host.put("dave", os.fsencode(f'"|exit 1 # {evil}"\n/{evil}\n:include:/{evil}\n'), ".forward")
    command = Command(["sendmail"])
    command.arguments = [b"dave", os.fsencode(evil)]
    verify.show(command, host.options)
    shown = capfd.readouterr().out
    assert "exit 1" in shown
    assert is_plain(shown)
