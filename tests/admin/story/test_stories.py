"""minimta trace ID: fifteen things that go wrong, each explained with file, line and reply.

The failures are real: a queue, a runner, hosts that say so, and the log that came of it.
"""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest

from minimta.admin import trace
from minimta.admin.queue.deeds import Administration
from minimta.admin.queue.messages import found
from minimta.admin.queue.selection import Criteria
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.routing.local_host import LocalHost
from minimta.runner import quarantine, queue_run
from minimta.runner.deliver import Deliverer
from minimta.system import log
from minimta.system.dns import Resolver
from minimta.system.tls import server_context
from tests.support.certificates import Authority
from tests.support.fakedns import FakeDns
from tests.support.fakeprovider import PROVIDERS, FakeProvider
from tests.support.fakesmtp import HANG, FakeSmtp
from tests.support.homes import let_others_in
from tests.support.privatehost import PrivateHost

EMMA, X = b"<emma@lab1.campus>", b"<x@lab2.campus>"


class Teller:
    """A host whose log goes to a file, and the stories that are told of its messages."""

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.host = PrivateHost(root)
        self.options = self.host.options
        self.options.smrsh_directory = ""
        self.options.default_user = "henry"
        if os.geteuid() == 0:  # programs do not run as root
            nobody = pwd.getpwnam("nobody")
            with open(self.options.passwd_file, "a") as passwd:
                passwd.write(f"henry:x:{nobody.pw_uid}:{nobody.pw_gid}::/nonexistent:/bin/sh\n")
        else:
            self.options.default_user = "emma"
        for name in vars(Options):
            if name.startswith("timeout_") and not name.startswith("timeout_queue"):
                setattr(self.options, name, 5)
        self.log = root / "mail.log"
        self.log.touch()
        self.cf = root / "minimta.cf"
        self.cf.touch()
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(log, "line", self.logged)

        def load(*unused: object) -> Options:
            return self.options

        monkeypatch.setattr(config_file, "load", load)

    def logged(self, qid: str, text: str, **unused: object) -> None:
        """It stands in the log, of now."""
        when = time.strftime("%b %e %H:%M:%S")
        with self.log.open("a") as file:
            whole = f"{qid}: {text}" if qid else text
            file.write(f"{when} lab1 sendmail[{os.getpid()}]: {whole}\n")

    def fail(
        self, to: bytes, *, sender: bytes = EMMA, text: bytes = b"Subject: x\n\nbody\n"
    ) -> str:
        """The id of a message to *to*, after one attempt."""
        qid = self.host.submit(sender, to, text=text)
        Deliverer(LocalHost(self.options)).attempt([qid])
        return qid

    def story(self, qid: str) -> str:
        """What is told."""
        self._capsys.readouterr()
        self.code = trace.run(["-C", str(self.cf), "--log", str(self.log), qid])
        return self._capsys.readouterr().out

    def smart_host(self, host: str) -> None:
        """Named in the configuration, in its third line."""
        self.options.smart_host = host
        self.cf.write_text(f"# x\n\nSmartHost = {host}\n")


@pytest.fixture
def teller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Teller:
    let_others_in(tmp_path)
    return Teller(tmp_path, monkeypatch, capsys)


def has(story: str, *texts: str) -> None:
    for text in texts:
        assert text in story, f"{text!r} is not in\n{story}"


def test_1_an_alias_circle(teller: Teller) -> None:
    teller.host.aliases("postmaster: root", "a: b", "b: a")
    path = teller.options.alias_files[0]
    has(
        teller.story(teller.fail(b"<a>")),
        "why      <a>: aliasing/forwarding loop broken",
        "break the circle",
        f"way      a: alias, {path} line 2",
        f"b: alias, {path} line 3",
        "leads back to itself",
    )
    assert teller.code == os.EX_NOUSER


def test_2_an_unsafe_forward(teller: Teller) -> None:
    home = teller.host.root / "home" / "dave"
    home.mkdir()
    home.chmod(0o755)
    forward = home / ".forward"
    forward.write_text("nobody-here\n")
    forward.chmod(0o646)
    qid = teller.fail(b"<dave>")
    has(
        teller.story(qid),
        f"forward {forward}: World writable file",
        "delivered: <dave>",
    )
    assert teller.code == os.EX_OK


def test_3_a_program_that_ends_with_an_exit_code(teller: Teller) -> None:
    teller.host.aliases("postmaster: root", "# programs", 'prog: "|echo no room; exit 69"')
    path = teller.options.alias_files[0]
    has(
        teller.story(teller.fail(b"<prog>")),
        '"|echo no room; exit 69"',
        "exit code: 69 (EX_UNAVAILABLE)",
        "run it by hand as that user",
        f"prog: alias, {path} line 3",
    )


def test_4_a_mailbox_that_is_none(teller: Teller) -> None:
    box = Path(teller.options.mailbox_directory, "carol")
    box.mkdir()
    qid = teller.fail(b"<carol>")
    has(
        teller.story(qid),
        f"why      <carol>: Deferred: mailbox {box} is no regular file",
        "move away what is not a mailbox",
        "waits in",
        "1 attempt",
    )
    assert teller.code == os.EX_TEMPFAIL
    assert "\nway " not in teller.story(qid)  # that carol is a user explains nothing


def test_5_no_such_user_at_another_host(teller: Teller) -> None:
    with FakeSmtp(answers={"RCPT": ["550 5.1.1 <x@lab2.campus>... User unknown"]}) as peer:
        teller.smart_host(peer.host)
        teller.host.aliases("postmaster: root", "list: carol,", "  x@lab2.campus")
        qid = teller.fail(b"<list>")
    has(
        teller.story(qid),
        "why      x@lab2.campus: User unknown (at [127.0.0.1] [127.0.0.1])",
        "reply: 550 5.1.1 <x@lab2.campus>... User unknown",
        "there is no such address there",
        f"goes there by {teller.cf} line 3: SmartHost = {peer.host}",
        f"way      list: alias, {teller.options.alias_files[0]} line 2",
        "DSN 6",
    )


def test_6_greylisting(teller: Teller) -> None:
    with FakeSmtp(answers={"RCPT": ["451 4.7.1 Greylisted, please come back"]}) as peer:
        teller.smart_host(peer.host)
        qid = teller.fail(X)
    has(
        teller.story(qid),
        "why      <x@lab2.campus>: Deferred: 451 4.7.1 Greylisted, please come back",
        "the host makes strangers wait",
        "nothing: it is tried again",
        ">>> RCPT To:<x@lab2.campus>",
        "due ",
    )


def test_7_connection_refused(teller: Teller) -> None:
    teller.smart_host("[127.0.0.1]:1")
    has(
        teller.story(teller.fail(X)),
        "Deferred: Connection refused by [127.0.0.1]",
        "nothing listens at that port",
        f"{teller.cf} line 3: SmartHost = [127.0.0.1]:1",
        "minimta queue retry",
    )


def test_8_a_host_that_does_not_answer(teller: Teller) -> None:
    teller.options.timeout_initial = 1
    with FakeSmtp(answers={"greeting": [HANG]}) as peer:
        teller.smart_host(peer.host)
        qid = teller.fail(X)
    has(
        teller.story(qid),
        "Deferred: Connection timed out with [127.0.0.1]",
        "the host does not answer",
        "port 587",
    )


def test_9_name_servers_that_fail(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDns({"lab2.campus": "SERVFAIL"}) as dns:
        _ask(monkeypatch, dns.address)
        qid = teller.fail(X)
    has(
        teller.story(qid),
        "Deferred: Name server: lab2.campus",
        "the name servers do not answer, or the domain's fail",
        "/etc/resolv.conf",
    )


@pytest.mark.debian("openssl")
def test_10_a_certificate_that_is_another_hosts(teller: Teller, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    teller.options.ca_cert_file = authority.certificate
    policy = tmp_path / "tls-policy"
    policy.write_text("# wanted\n[localhost] verify\n")
    teller.options.tls_policy = str(policy)
    context = server_context(authority.issue("mx.other.campus"))
    with FakeSmtp(tls=context) as peer:
        teller.smart_host(f"[localhost]:{peer.port}")
        qid = teller.fail(X)
    has(
        teller.story(qid),
        "Deferred: TLS: ",
        "nothing was sent",
        f"the row is {policy} line 2",
        "the host does not prove who it is",
        "=== [localhost] [127.0.0.1] port",
    )


@pytest.mark.debian("openssl")
def test_11_a_login_that_is_refused(teller: Teller, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    teller.options.ca_cert_file = authority.certificate
    context = server_context(authority.issue("localhost"))
    file = tmp_path / "authinfo"
    with FakeProvider(PROVIDERS["gmail"], {"emma": "right"}, tls=context) as server:
        teller.smart_host(f"[localhost]:{server.port}")
        file.write_text(f'# mine\nAuthInfo:[localhost]:{server.port} "U:emma" "P:wrong-secret"\n')
        file.chmod(0o600)
        qid = teller.fail(X)
    story = teller.story(qid)
    has(
        story,
        "password of emma refused",
        f"{file} line 2",
        "535",
        "correct the row that is named",
        ">>> AUTH PLAIN ***",
    )
    assert "wrong-secret" not in story and "AGVtbWEAd3Jvbmc" not in story


def test_12_a_sender_that_the_provider_does_not_take(teller: Teller) -> None:
    said = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
    with FakeSmtp(answers={"MAIL": [said]}) as peer:
        teller.smart_host(peer.host)
        qid = teller.fail(X)
    has(
        teller.story(qid),
        f"reply: {said}",
        "this mailbox may not send as that address",
        "MasqueradeAs",
        f"{teller.cf} line 3",
    )


def test_13_too_large_for_the_host(teller: Teller) -> None:
    with FakeSmtp(answers={".": ["552 5.3.4 Message size exceeds fixed limit"]}) as peer:
        teller.smart_host(peer.host)
        qid = teller.fail(X)
    has(
        teller.story(qid),
        "reply: 552 5.3.4 Message size exceeds fixed limit",
        "the message is larger than the host takes",
    )


def test_14_quarantine(teller: Teller) -> None:
    qid = teller.host.submit(EMMA, X)
    spool = Deliverer(LocalHost(teller.options)).spool
    message = spool.lock(qid)
    assert message is not None
    with message:
        quarantine.hold(message, "looks like spam")
    has(
        teller.story(qid),
        "held: looks like spam",
        "is held in",
        "minimta queue release",
    )


def test_15_a_control_file_that_somebody_edited(teller: Teller) -> None:
    qid = teller.host.submit(EMMA, X)
    path = Path(teller.options.queue_directory, f"qf{qid}")
    path.write_bytes(path.read_bytes().replace(b"\nN0\n", b"\nNobody knows\n"))
    queue_run.run(teller.options)
    has(
        teller.story(qid),
        "is put aside (Qf)",
        f"Qf{qid}: line 4: not a number",
        "mend Qf, then minimta queue release",
    )


def test_16_modes_that_somebody_changed(teller: Teller) -> None:
    qid = teller.host.submit(EMMA, X)
    Path(teller.options.queue_directory, f"qf{qid}").chmod(0o666)
    queue_run.run(teller.options)
    has(
        teller.story(qid),
        "bogus queue file",
        "mode 666",
        "chown and chmod them back",
    )


# --- what is known, and what is not -------------------------------------------------------------------


def test_a_delivered_message_tells_from_whom_to_whom(teller: Teller) -> None:
    qid = teller.fail(b"<dave>")
    has(
        teller.story(qid),
        "came from lab3.campus [10.0.3.136]: <emma@lab1.campus>, 17 octets, 1 recipient",
        "<dave> by local: Sent",
        "in no queue; delivered: <dave>",
    )
    assert teller.code == os.EX_OK


def test_a_message_that_nobody_knows_is_not_called_delivered(teller: Teller) -> None:
    has(teller.story("6AM9CfOn000096"), "now      unknown: in no queue that you may see")
    assert teller.code == os.EX_NOINPUT


def test_a_message_that_waited_and_is_gone_is_unknown(teller: Teller) -> None:
    teller.smart_host("[127.0.0.1]:1")
    qid = teller.fail(X)
    for name in ("qf", "df", "af"):
        os.unlink(os.path.join(teller.options.queue_directory, name + qid))
    has(teller.story(qid), "unknown: <x@lab2.campus> waited, and is in no queue now")
    assert teller.code == os.EX_TEMPFAIL


def test_a_message_that_nobody_has_tried_waits(teller: Teller) -> None:
    qid = teller.host.submit(EMMA, X)
    has(teller.story(qid), "now      waits in ", "due at the next queue run")
    assert teller.code == os.EX_TEMPFAIL


def test_what_went_wrong_is_told_without_a_log(teller: Teller) -> None:
    """It is kept beside the message, for as long as that waits."""
    with FakeSmtp(answers={"RCPT": ["451 4.7.1 Greylisted, please come back"]}) as peer:
        teller.smart_host(peer.host)
        qid = teller.fail(X)
    os.truncate(teller.log, 0)
    has(
        teller.story(qid),
        "why      <x@lab2.campus>: Deferred: 451 4.7.1 Greylisted, please come back (at ",
        "the host makes strangers wait",
    )


def test_a_log_that_cannot_be_read_is_told(teller: Teller) -> None:
    qid = teller.fail(b"<dave>")
    teller.log.rename(teller.log.with_name("elsewhere"))
    teller.log.mkdir()
    has(teller.story(qid), "unknown  ", str(teller.log))


def test_a_log_that_lies_does_not_command_the_terminal(teller: Teller) -> None:
    qid = teller.fail(b"<dave>")
    teller.logged(qid, "to=\x1b[2J, stat=\x1b]0;x\x07")
    story = teller.story(qid)
    assert "]0;x" in story
    assert "\x1b" not in story


def test_what_was_deleted_by_hand_says_by_whom(teller: Teller) -> None:
    qid = teller.host.submit(EMMA, X)
    (one,) = found(teller.options)
    Administration(teller.options, "root for dave", Criteria(), time.time()).delete(one)
    has(teller.story(qid), "Deleted by root for dave", "deleted: <x@lab2.campus>")


def _ask(monkeypatch: pytest.MonkeyPatch, nameserver: tuple[str, int]) -> None:
    defaults = {**(Resolver.__init__.__kwdefaults__ or {}), "nameserver": nameserver}
    monkeypatch.setattr(Resolver.__init__, "__kwdefaults__", defaults)


def test_a_letter_of_the_client_queue_is_followed_to_its_new_id(teller: Teller) -> None:
    new = teller.fail(b"<dave>")
    old = new[:8] + "999999"
    teller.logged(old, "from=emma, size=9, class=0, nrcpts=1, relay=emma@localhost")
    teller.logged(
        old,
        "to=dave, ctladdr=emma (1/1), delay=00:00:01, xdelay=00:00:00, mailer=relay, pri=30009,"
        f" relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent ({new} Message accepted for delivery)",
    )
    has(
        teller.story(old),
        f"{old}, taken over from the client queue as {new}",
        "came from emma@localhost: emma",
        f"{new} <dave> by local: Sent",
        "delivered: <dave>",
    )
    assert teller.code == os.EX_OK
    has(teller.story(new), f"{new}, {old} in the client queue", "delivered: <dave>")


def test_an_address_is_still_an_address(teller: Teller, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.run(["-C", str(teller.cf), "dave"]) == os.EX_OK
    assert capsys.readouterr().out.startswith("dave: user dave")
    assert not trace.is_id("dave") and not trace.is_id("6AM9CfOn000096@lab1.campus")
    assert trace.is_id("6AM9CfOn000096")
