"""minimta queue: what waits, seen and acted upon."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from minimta.admin import mail_status, status, verbs
from minimta.admin.checkout import AdminError
from minimta.admin.queue import command
from minimta.admin.status import Threshold
from minimta.message.envelope import Recipient
from minimta.queue import listing, own_letters, permission
from minimta.queue.control import Control, decode
from minimta.queue.qid import new
from minimta.queue.spool import Spool
from minimta.runner import queue_run
from minimta.system.privileges import as_user
from minimta.system.users import Users
from tests.support.homes import let_others_in
from tests.support.privatehost import Elsewhere
from tests.support.queuedesk import DAVE, EMMA, QueueDesk, X, Y


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> QueueDesk:
    return QueueDesk(tmp_path, monkeypatch, capsys)


# --- which --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["show", "retry", "hold", "release", "delete", "bounce"])
def test_a_verb_without_a_choice_is_refused_and_nothing_happens(desk: QueueDesk, verb: str) -> None:
    qid = desk.waiting()
    with pytest.raises(AdminError, match="which\\?") as refused:
        desk.say(verb)
    assert refused.value.exit_code == os.EX_USAGE
    assert desk.kinds(qid) == ["af", "df", "qf"]


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "--sender", ""),
        ("delete", "--reason", ""),
        ("delete", "--sender", "", "--state", "waiting"),
        ("delete", "--older", "soon"),
        ("delete", "--state", "sleeping"),
        ("delete", "../../etc/passwd"),
        ("delete", "all", "6AM9CfOn000096"),
        ("delete", "all", "--to", "x@y"),
        ("list", "--body"),
        ("list", "--by", "host", "--json"),
        ("hold", "all", "--json"),
        ("redirect", "all"),
        ("redirect", "all", "--to", "|/bin/sh"),
        ("redirect", "all", "--to", "/etc/passwd"),
        ("redirect", "all", "--to", ":include:/etc/passwd"),
        ("redirect", "all", "--to", "x@lab2.campus, y@lab2.campus"),
        ("redirect", "all", "--to", "nobody-here@lab1.campus"),
        ("frobnicate", "all"),
        (),
    ],
)
def test_words_that_make_no_sense_are_refused_and_nothing_happens(
    desk: QueueDesk, words: tuple[str, ...]
) -> None:
    qid = desk.waiting()
    with pytest.raises(AdminError) as refused:
        desk.say(*words)
    assert refused.value.exit_code in (os.EX_USAGE, os.EX_NOUSER)
    assert desk.kinds(qid) == ["af", "df", "qf"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--sender", "EMMA@"), "ab"),
        (("--sender", "<>"), ""),
        (("--recipient", "x@"), "a"),
        (("--host", "lab2.campus"), "a"),
        (("--host", "campus"), "ab"),
        (("--host", "b2.campus"), ""),
        (("--reason", "mailbox full"), "a"),
        (("--reason", "refused"), "b"),
        (("--older", "1h"), ""),
        (("--younger", "1h"), "ab"),
        (("--state", "held"), ""),
        (("--state", "waiting", "--recipient", "y@"), "b"),
        (("--recipient", "y@", "--host", "lab2.campus"), ""),
        (("all",), "ab"),
    ],
)
def test_messages_are_chosen_by_what_they_have_in_common(
    desk: QueueDesk, words: tuple[str, ...], expected: str
) -> None:
    names = {desk.waiting(X): "a", desk.waiting(Y): "b"}
    _, printed = desk.say("list", "--json", *words)
    found = [names[json.loads(line)["id"]] for line in printed.splitlines()]
    assert "".join(sorted(found)) == expected


def test_a_choice_that_nothing_meets_is_told(desk: QueueDesk) -> None:
    qid = desk.waiting(X)
    code, printed = desk.say("hold", "--recipient", "nobody@")
    assert (code, printed) == (os.EX_NOINPUT, "no message is meant\n")
    assert desk.say("hold", "--recipient", "x@")[1] != printed
    assert desk.kinds(qid) != []


def test_an_id_that_is_not_there_is_told_and_the_others_are_done(desk: QueueDesk) -> None:
    qid = desk.waiting()
    code, printed = desk.say("delete", "6AM9CfOn000096", qid)
    assert code == os.EX_NOINPUT
    assert "6AM9CfOn000096: no such message" in printed and f"{qid}: deleted" in printed
    assert desk.kinds(qid) == []


# --- list, show ---------------------------------------------------------------------------------------


def test_the_list_says_who_whom_why_and_when_next(desk: QueueDesk) -> None:
    qid = desk.waiting(X)
    code, printed = desk.say("list")
    assert code == 0
    lines = printed.splitlines()
    assert lines[0].startswith(f"{qid}  waiting") and lines[0].endswith("<emma@lab1.campus>")
    assert lines[1] == "    to <x@lab2.campus>: Deferred: 452 4.2.2 Mailbox full"
    assert "Deferred: 452 4.2.2 Mailbox full" in lines[2]
    assert lines[2].endswith("; due at the next queue run")
    assert lines[3] == "1 message: 1 waiting"


def test_an_empty_queue_is_no_error(desk: QueueDesk) -> None:
    assert desk.say("list") == (0, "0 messages\n")


def test_what_waits_is_counted_by_host(desk: QueueDesk) -> None:
    for _ in range(3):
        desk.waiting(X)
    desk.waiting(Y)
    _, printed = desk.say("list", "--by", "host")
    rows = [line.split() for line in printed.splitlines()[1:-1]]
    assert [(row[0], row[2]) for row in rows] == [("3", "lab2.campus"), ("1", "lab3.campus")]


@pytest.mark.parametrize("key", ["sender", "recipient", "reason", "age"])
def test_what_waits_is_counted_by_other_keys(desk: QueueDesk, key: str) -> None:
    desk.waiting(X)
    desk.waiting(Y)
    code, printed = desk.say("list", "--by", key)
    total = sum(int(line.split()[0]) for line in printed.splitlines()[1:-1])
    assert (code, total) == (0, 2)


def test_json_has_every_fact(desk: QueueDesk) -> None:
    qid = desk.waiting(X)
    (line,) = desk.say("list", "--json")[1].splitlines()
    one = json.loads(line)
    assert one["id"] == qid and one["state"] == "waiting" and one["attempts"] == 1
    assert one["recipients"] == [
        {"address": "<x@lab2.campus>", "reason": "Deferred: 452 4.2.2 Mailbox full"}
    ]
    assert one["queue"] == desk.host.options.queue_directory
    assert one["next_attempt"] >= one["last_attempt"] >= one["arrived"]


def test_show_has_envelope_header_and_what_was_said_and_no_body(desk: QueueDesk) -> None:
    qid = desk.waiting(X, Y)
    code, printed = desk.say("show", qid)
    assert code == 0
    for text in (
        f"{qid}: waiting, in {desk.host.options.queue_directory}",
        "from      <emma@lab1.campus>",
        "to        <x@lab2.campus>: Deferred: 452 4.2.2 Mailbox full",
        "Subject: hello",
        "attempt 1, ",
        "4.4.1 Deferred: Connection refused by lab3.campus.",
        "from lab3.campus [10.0.3.136]",
    ):
        assert text in printed, text
    assert "split" not in printed  # every message has that flag
    assert "\nbody\n" not in printed
    assert desk.say("show", qid, "--body")[1].endswith("body\n")


def test_show_is_there_for_programs_too(desk: QueueDesk) -> None:
    qid = desk.waiting(X)
    one = json.loads(desk.say("show", "--json", qid)[1])
    assert one["failed"][0]["status"] == "4.2.2" and one["problem"] == ""
    assert "Subject: hello" in one["header"]


def test_nothing_in_a_message_commands_the_terminal(desk: QueueDesk) -> None:
    text = b"Subject: \x1b[2J\x9b\nTo: x\n\n\x1b]0;gotcha\x07\n"
    qid = desk.host.submit(EMMA, X, text=text)
    printed = desk.say("show", qid)[1] + desk.say("list")[1]
    assert "\x1b" not in printed and "\x9b" not in printed


def test_show_says_what_is_wrong_with_a_message_that_was_put_aside(desk: QueueDesk) -> None:
    qid = desk.waiting()
    path = Path(desk.host.options.queue_directory, f"qf{qid}")
    path.write_bytes(path.read_bytes().replace(b"\nN1\n", b"\nNonsense\n"))
    queue_run.run(desk.host.options)
    printed = desk.say("show", qid)[1]
    assert f"{qid}: aside" in printed
    assert f"Qf{qid}: line 4: not a number" in printed
    assert "    Nonsense" in printed


# --- deeds --------------------------------------------------------------------------------------------


def test_hold_keeps_runs_away_and_release_gives_it_back(desk: QueueDesk) -> None:
    qid = desk.host.submit(EMMA, DAVE)
    assert desk.say("hold", qid, "--why", "looks odd")[0] == 0
    assert desk.kinds(qid) == ["df", "hf"]
    queue_run.run(desk.host.options)
    assert desk.host.letters("dave") == []
    assert "held: looks odd" in desk.say("list")[1]
    assert desk.say("release", qid) == (0, f"{qid}: released: due now\n")
    queue_run.run(desk.host.options)
    assert len(desk.host.letters("dave")) == 1
    assert "quarantine=looks odd" in desk.logged_of(qid)
    assert "unquarantine" in desk.logged_of(qid)


def test_what_is_held_without_a_reason_names_who_held_it(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "dave")
    qid = desk.host.submit(EMMA, DAVE)
    desk.say("hold", qid)
    line = desk.logged_of(qid)[-1]
    assert line.startswith("quarantine=held by ") and line.endswith(" for dave")


def test_release_of_what_is_not_held_is_told(desk: QueueDesk) -> None:
    qid = desk.waiting()
    assert desk.say("release", qid) == (os.EX_UNAVAILABLE, f"{qid}: is not held\n")


def test_delete_leaves_no_file_and_one_line_for_all_recipients(desk: QueueDesk) -> None:
    qid = desk.waiting(X, Y)
    assert desk.say("delete", qid) == (0, f"{qid}: deleted\n")
    assert desk.host.files() == []
    (line,) = [text for text in desk.logged_of(qid) if "stat=Deleted" in text]
    assert line.startswith("to=<x@lab2.campus>,<y@lab3.campus>, delay=")
    assert ", mailer=*discard*, stat=Deleted by " in line


def test_delete_of_what_was_put_aside(desk: QueueDesk) -> None:
    qid = desk.waiting()
    directory = Path(desk.host.options.queue_directory)
    (directory / f"qf{qid}").rename(directory / f"Qf{qid}")
    assert desk.say("delete", qid)[0] == 0
    assert desk.host.files() == []


def test_release_takes_back_what_was_put_aside_when_its_fault_is_mended(desk: QueueDesk) -> None:
    qid = desk.host.submit(EMMA, DAVE)
    path = Path(desk.host.options.queue_directory, f"qf{qid}")
    path.chmod(0o666)
    queue_run.run(desk.host.options)
    assert desk.kinds(qid) == ["Qf", "df"]
    assert desk.say("hold", qid)[0] == os.EX_UNAVAILABLE
    path.with_name(f"Qf{qid}").chmod(0o600)
    assert desk.say("release", qid)[0] == 0
    queue_run.run(desk.host.options)
    assert len(desk.host.letters("dave")) == 1


def test_bounce_returns_it_with_the_reason_and_what_it_waited_for(desk: QueueDesk) -> None:
    qid = desk.waiting(X, sender=DAVE)
    code, printed = desk.say("bounce", qid, "--why", "this account is closed")
    assert (code, printed) == (0, f"{qid}: returned to dave@lab1.campus\n")
    assert desk.kinds(qid) == []
    desk.host.deliverer().attempt(desk.host.queued())
    (letter,) = desk.host.letters("dave")
    text = letter.as_string()
    assert "this account is closed" in text and "452 4.2.2 Mailbox full" in text
    assert "Status: 5.7.1" in text and "Action: failed" in text
    (line,) = [text for text in desk.logged_of(qid) if text.startswith("to=") and "5.7.1" in text]
    assert "stat=this account is closed" in line


def test_a_bounce_that_cannot_be_queued_leaves_the_message(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = desk.waiting(X, sender=DAVE)
    real = Spool.create

    def full(self: Spool, name: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "create", full)
    code, printed = desk.say("bounce", qid)
    assert code == os.EX_TEMPFAIL and "cannot be returned now" in printed
    assert desk.kinds(qid) == ["af", "df", "qf"]
    monkeypatch.setattr(Spool, "create", real)
    assert desk.say("bounce", qid)[0] == 0


def test_nobody_hears_of_a_bounced_bounce_but_the_postmaster(desk: QueueDesk) -> None:
    qid = desk.waiting(X, sender=b"<>")
    assert desk.say("bounce", qid)[0] == 0
    desk.host.deliverer().attempt(desk.host.queued())
    assert [len(desk.host.letters(name)) for name in ("emma", "root")] == [0, 1]


def test_redirect_sends_it_to_the_other_address_only(desk: QueueDesk) -> None:
    qid = desk.waiting(X, Y)
    code, printed = desk.say("redirect", qid, "--to", "Carol <carol@lab1.campus>")
    assert (code, printed) == (0, f"{qid}: redirected to <carol@lab1.campus>\n")
    control = desk.host.control(qid)
    assert [one.address for one in control.recipients] == [b"<carol@lab1.campus>"]
    assert (control.attempts, control.message) == (0, "")
    elsewhere = Elsewhere({})
    desk.host.deliverer(esmtp=elsewhere).attempt([qid])
    assert len(desk.host.letters("carol")) == 1 and elsewhere.jobs == []
    assert any(
        line.endswith("to <carol@lab1.campus>, instead of <x@lab2.campus>,<y@lab3.campus>")
        for line in desk.logged_of(qid)
    )


def test_redirect_keeps_what_senders_asked_to_be_told(desk: QueueDesk) -> None:
    first = Recipient(X, "PNS", original=b"rfc822;x@lab2.campus")
    qid = desk.host.submit(EMMA, first, Recipient(Y, "PND"))
    desk.say("redirect", qid, "--to", "carol@lab1.campus")
    (recipient,) = desk.host.control(qid).recipients
    assert (recipient.flags, recipient.original) == ("PNSD", b"")


def test_what_is_held_stays_held_when_it_is_redirected(desk: QueueDesk) -> None:
    qid = desk.waiting()
    desk.say("hold", qid)
    assert desk.say("redirect", qid, "--to", "carol@lab1.campus")[0] == 0
    assert desk.kinds(qid) == ["af", "df", "hf"]


def test_retry_tries_now_what_rests_and_tells(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.host.options.min_queue_age = 86400
    qid = desk.host.submit(EMMA, DAVE)
    desk.host.rewrite(qid, _tried_now, due=4e9)
    queue_run.run(desk.host.options)
    assert desk.host.letters("dave") == []
    assert desk.say("retry", qid) == (0, f"{qid}: delivered\n")
    assert len(desk.host.letters("dave")) == 1


def _tried_now(control: Control) -> None:
    control.attempts, control.last_attempt = 1, control.created


def test_retry_tells_why_it_still_waits(desk: QueueDesk) -> None:
    qid = desk.host.submit(EMMA, X)
    desk.host.options.smart_host = "[127.0.0.1]:1"
    code, printed = desk.say("retry", qid)
    assert code == os.EX_TEMPFAIL
    assert printed.startswith(f"{qid}: still waits: Deferred: Connection refused by [127.0.0.1]")


def test_retry_does_not_try_what_is_held(desk: QueueDesk) -> None:
    qid = desk.host.submit(EMMA, DAVE)
    desk.say("hold", qid)
    assert desk.say("retry", qid) == (
        os.EX_TEMPFAIL,
        f"{qid}: held: not tried; release it first\n",
    )


def test_retry_tells_of_a_failure(desk: QueueDesk) -> None:
    qid = desk.host.submit(EMMA, b"<nobody-here@lab1.campus>")
    assert desk.say("retry", qid) == (0, f"{qid}: failed, and its sender is told\n")


@pytest.mark.parametrize(
    "words",
    [("hold",), ("delete",), ("bounce",), ("redirect", "--to", "carol@lab1.campus"), ("retry",)],
)
def test_a_message_that_is_being_delivered_is_left_alone_and_told(
    desk: QueueDesk, words: tuple[str, ...]
) -> None:
    qid, other = desk.waiting(), desk.waiting()
    path = Path(desk.host.options.queue_directory, f"qf{qid}")
    before = path.read_bytes()
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    assert f"{qid}  delivering" in desk.say("list")[1]
    verb, *rest = words
    code, printed = desk.say(verb, "all", *rest)
    os.close(file)
    assert code == os.EX_TEMPFAIL
    assert f"{qid}: is being delivered now: left alone" in printed
    assert path.read_bytes() == before
    assert f"{other}: " in printed and "left alone" not in printed.partition(f"{other}: ")[2][:20]


def test_what_changed_between_the_look_and_the_lock_is_left_alone(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = desk.waiting(X)
    real = Spool.lock

    def lock(self: Spool, name: str, **kind: object) -> object:
        monkeypatch.setattr(Spool, "lock", real)
        desk.say("redirect", qid, "--to", "carol@lab1.campus")
        return real(self, name, **kind)  # type: ignore[arg-type]

    monkeypatch.setattr(Spool, "lock", lock)
    code, printed = desk.say("delete", "--recipient", "x@lab2.campus")
    assert code == os.EX_TEMPFAIL and "has changed meanwhile" in printed
    assert desk.kinds(qid) == ["af", "df", "qf"]


# --- the client queue ---------------------------------------------------------------------------------


def letter(desk: QueueDesk, *recipients: bytes) -> str:
    """A letter in the client queue, of ourselves."""
    spool = Spool(str(desk.client), is_client=True)
    qid = new(1795858662.0)
    data = spool.create(qid)
    os.write(data, b"body\n")
    control = Control(1795858662, b"emma", [Recipient(r) for r in recipients or (DAVE,)])
    control.macros[b"_"] = b"emma@localhost"
    control.headers = [(b"", b"Subject: hello")]
    spool.accept(qid, data, control)
    own_letters.note(spool.descriptor, qid)
    spool.close()
    return qid


def test_what_waits_in_the_client_queue_is_seen(desk: QueueDesk) -> None:
    qid = letter(desk)
    assert f"{qid}  submitted" in desk.say("list")[1]
    assert "Subject: hello" in desk.say("show", qid)[1]


def test_a_letter_in_the_client_queue_is_deleted_where_it_is(desk: QueueDesk) -> None:
    qid = letter(desk)
    assert desk.say("delete", qid) == (0, f"{qid}: deleted\n")
    assert not [name for name in os.listdir(desk.client) if name.endswith(qid)]
    assert any("mailer=*discard*" in line for line in desk.logged_of(qid))


def test_a_letter_in_the_client_queue_is_taken_over_to_be_held(desk: QueueDesk) -> None:
    desk.client.chmod(0o1733)
    qid = letter(desk)
    code, printed = desk.say("hold", qid)
    assert code == 0 and printed.startswith(f"{qid}: is ") and "held" in printed
    (name,) = [name for name in desk.host.files() if name[:2] == "hf"]
    assert name[2:] in printed


def test_retry_takes_letters_over_and_delivers_them(desk: QueueDesk) -> None:
    desk.client.chmod(0o1733)
    qid = letter(desk)
    code, printed = desk.say("retry", qid)
    assert code == 0 and "1 message taken over" in printed and "delivered" in printed
    assert len(desk.host.letters("dave")) == 1


# --- who may ------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(desk: QueueDesk, monkeypatch: pytest.MonkeyPatch) -> QueueDesk:
    monkeypatch.setattr(permission, "may_administer", lambda options: False)
    return desk


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "bounce"])
def test_others_than_root_do_nothing_to_the_queue(stranger: QueueDesk, verb: str) -> None:
    with pytest.raises(AdminError, match="only root") as refused:
        stranger.say(verb, "all")
    assert refused.value.exit_code == os.EX_NOPERM


def test_others_see_and_delete_their_own_letters_only(stranger: QueueDesk) -> None:
    taken, mine = stranger.waiting(), letter(stranger)
    printed = stranger.say("list")[1]
    assert mine in printed and taken not in printed
    assert "only root can see the list" in printed
    assert stranger.say("show", taken)[0] == os.EX_NOINPUT
    assert stranger.say("delete", "all")[0] == 0
    assert stranger.kinds(taken) == ["af", "df", "qf"]
    assert f"qf{mine}" not in os.listdir(stranger.client)


def test_restrictmailq_holds_here_too(stranger: QueueDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.host.options.privacy_options = ("restrictmailq",)
    monkeypatch.setattr(permission, "may_see", lambda options: False)
    with pytest.raises(AdminError) as refused:
        stranger.say("list")
    assert refused.value.exit_code == os.EX_NOPERM


@pytest.mark.root
def test_a_real_user_deletes_their_own_letter_and_no_other(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Users().find(b"nobody")
    assert nobody is not None
    desk.client.chmod(0o1733)
    let_others_in(desk.host.root)
    others = letter(desk)

    def act() -> bytes:
        mine = letter(desk)
        codes = [desk.say("delete", mine)[0], desk.say("delete", others)[0]]
        return f"{mine} {codes}".encode()

    mine, _, codes = as_user(nobody, act, 60).decode().partition(" ")
    assert codes == f"[0, {os.EX_NOINPUT}]"
    names = os.listdir(desk.client)
    assert f"qf{others}" in names and f"qf{mine}" not in names and f"df{mine}" not in names


def test_a_planted_control_file_does_not_cost_another_users_body(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = letter(desk)
    body = desk.client / f"df{qid}"
    real = os.stat

    def of_another(path: Any, **where: Any) -> os.stat_result:
        found = real(path, **where)
        if path == f"df{qid}":
            values = list(found[:10])
            values[stat.ST_UID] = 4242
            return os.stat_result(values)
        return found

    monkeypatch.setattr(os, "stat", of_another)
    desk.say("delete", qid)
    assert body.exists()


def test_the_verb_is_known() -> None:
    assert verbs.main(["queue"]) == os.EX_USAGE
    assert command.VERBS[0] == "list"


def test_the_lock_file_is_decoded_as_ever(desk: QueueDesk) -> None:
    qid = desk.waiting()
    desk.say("hold", qid)
    text = Path(desk.host.options.queue_directory, f"hf{qid}").read_bytes()
    assert decode(text).quarantine.startswith("held by ")


# --- numbers that a user made up ----------------------------------------------------------------------

MADE_UP = ("9" * 20, "-" + "9" * 19, "253402300800", "-1")


@pytest.mark.parametrize("number", MADE_UP)
def test_a_time_that_nobody_knows_hides_no_message(desk: QueueDesk, number: str) -> None:
    """Anybody may put a letter into the client queue, with any number in it."""
    text = f"V8\nT{number}\nK{number}\nN1\nP1\nS<e@x>\nRPF:<x@lab2.campus>\nHSubject: t\n.\n"
    qid, other = "6AU9aaaa000001", desk.waiting()
    for name in ("qf", "Qf"):
        (desk.client / f"{name}{qid}").write_text(text)
    for words in (("list",), ("list", "--json"), ("list", "--by", "age"), ("show", qid)):
        code, printed = desk.say(*words)
        assert (code, qid in printed or "--by" in words) == (0, True)
        assert "show" in words or "--by" in words or other in printed
    found = mail_status.look(desk.host.options, 1795858662.0)
    assert status.told(found, Threshold(), Threshold())


def test_what_became_of_a_batch_is_not_looked_for_in_the_whole_queue(
    desk: QueueDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10,000 messages each batch would read 10,000 files."""
    qid = desk.waiting()
    asked: list[object] = []
    scan = listing.scan

    def scanning(*given: Any, only: Any = None, **more: Any) -> Any:
        asked.append(only)
        return scan(*given, only=only, **more)

    monkeypatch.setattr(listing, "scan", scanning)
    desk.say("retry", qid)
    whole = asked.index([qid])
    assert asked[:whole] == [None] * whole
    assert asked[whole:] == [[qid]] * whole


# --- a queue of several directories -------------------------------------------------------------------


@pytest.fixture
def twins(desk: QueueDesk) -> dict[str, str]:
    """Two messages of one id in q1 and q2; the directory -> its recipient."""
    desk.host.spread("q1", "q2")
    qid = desk.waiting(X)
    base = Path(desk.host.options.queue_directory)
    [there] = [name for name in ("q1", "q2") if (base / name / f"qf{qid}").exists()]
    other = "q1" if there == "q2" else "q2"
    for kind in ("df", "qf"):
        text = (base / there / (kind + qid)).read_bytes().replace(b"<x@lab2", b"<y@lab3")
        (base / other / (kind + qid)).write_bytes(text)
        (base / other / (kind + qid)).chmod(0o600)
    return {there: "x@lab2.campus", other: "y@lab3.campus"}


def listed(desk: QueueDesk) -> dict[str, tuple[str, str]]:
    """Recipient -> directory and state, of what waits."""
    code, text = desk.say("list", "--json")
    assert code == 0
    rows = [json.loads(line) for line in text.splitlines()]
    return {
        row["recipients"][0]["address"].strip("<>"): (Path(row["queue"]).name, row["state"])
        for row in rows
    }


@pytest.mark.parametrize(
    ("verb", "left", "state"),
    [
        ("hold", "x@lab2.campus", "held"),
        ("delete", "", ""),
        ("bounce", "emma@lab1.campus", "waiting"),
        ("redirect", "dave", "waiting"),
    ],
)
def test_a_verb_is_about_the_message_in_its_directory_alone(
    desk: QueueDesk, twins: dict[str, str], verb: str, left: str, state: str
) -> None:
    more = ("--to", "dave") if verb == "redirect" else ()
    code, text = desk.say(verb, "--recipient", "x@lab2.campus", *more)
    assert code == 0, text
    [other] = [name for name, recipient in twins.items() if recipient == "y@lab3.campus"]
    after = listed(desk)
    assert after.pop("y@lab3.campus") == (other, "waiting")
    assert {name.partition("@")[0]: one[1] for name, one in after.items()} == (
        {left.partition("@")[0]: state} if left else {}
    )


def test_what_is_put_aside_is_given_back_where_it_is(
    desk: QueueDesk, twins: dict[str, str]
) -> None:
    base = Path(desk.host.options.queue_directory)
    [qid] = {path.name[2:] for path in base.glob("q*/qf*")}
    os.rename(base / "q2" / f"qf{qid}", base / "q2" / f"Qf{qid}")
    assert set(listed(desk).values()) == {("q1", "waiting"), ("q2", "aside")}
    code, text = desk.say("release", "--state", "aside")
    assert code == 0, text
    assert set(listed(desk).values()) == {("q1", "waiting"), ("q2", "waiting")}


def test_show_says_in_which_directory_it_is(desk: QueueDesk, twins: dict[str, str]) -> None:
    _, text = desk.say("show", "all")
    base = desk.host.options.queue_directory
    for directory, recipient in twins.items():
        [part] = [one for one in text.split("\n\n") if f"in {base}/{directory}" in one] or [text]
        assert recipient in part


def test_retry_tries_both_of_one_id(desk: QueueDesk, twins: dict[str, str]) -> None:
    desk.say("redirect", "all", "--to", "dave")
    code, text = desk.say("retry", "all")
    assert code == 0, text
    assert len(desk.host.letters("dave")) == 2
    assert listed(desk) == {}


# --- what does not say when it came -------------------------------------------------------------------


@pytest.mark.parametrize("words", [("hold",), ("delete",), ("bounce",)])
def test_an_empty_control_file_is_not_being_delivered(
    desk: QueueDesk, words: tuple[str, ...]
) -> None:
    path = Path(desk.host.options.queue_directory, "qf6AM9CfOn000096")
    path.touch(0o600)
    code, printed = desk.say(*words, "6AM9CfOn000096")
    assert code == os.EX_TEMPFAIL
    assert printed.startswith("6AM9CfOn000096: is empty: ")
    assert path.exists()


def test_who_does_not_know_when_it_came_calls_it_neither_old_nor_young(desk: QueueDesk) -> None:
    qid = "6AM9CfOn000096"
    path = Path(desk.host.options.queue_directory, f"Qf{qid}")
    path.write_bytes(b"V8\ngarbled\n")
    path.chmod(0o600)
    for limit in ("--older", "--younger"):
        assert desk.say("delete", limit, "5d", "--state", "aside")[1] == "no message is meant\n"
    assert path.exists()
    assert desk.say("list")[1].startswith(f"{qid}  aside            -       -  (no control file)\n")
    assert desk.say("list", "--by", "age")[1].splitlines()[1] == "       1        -  unknown"
    assert desk.say("list", "--by", "sender")[1].splitlines()[1].startswith("       1        -  ")
