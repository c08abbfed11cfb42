"""mailq, to the column; golden listings as Sendmail 8.17 prints them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minimta.commands import mailq
from minimta.config.options import Options
from minimta.queue import directories, listing, own_letters, permission
from minimta.queue.selectors import Selection, parse_selection
from minimta.system.external_sort import ExternalSort

CREATED = 1795340226  # Sun Nov 22 09:37:06 2026 UTC
HEAD = "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------\n"
VERBOSE = "-----Q-ID----- --Size-- -Priority- ---Q-Time--- --------Sender/Recipient--------\n"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("minimta.system.load.average", lambda: 0.1)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def options(tmp_path: Path) -> Options:
    chosen = Options()
    chosen.queue_directory = str(tmp_path / "mqueue")
    chosen.client_queue_directory = str(tmp_path / "clientmqueue")
    os.mkdir(chosen.queue_directory, 0o700)
    os.mkdir(chosen.client_queue_directory, 0o700)
    return chosen


def put(
    options: Options,
    qid: str,
    *,
    kind: str = "qf",
    size: int = 36,
    queue: str = "",
    lines: str = "",
    priority: int = 30036,
    sender: str = "<emma@lab1.campus>",
    recipients: str = "RPFD:<dave@lab2.campus>\n",
    attempts: str = "K0\nN0\n",
    flags: str = "s",
) -> Path:
    directory = Path(queue or options.queue_directory)
    path = directory / (kind + qid)
    path.write_bytes(
        f"V8\nT{CREATED}\n{attempts}P{priority}\n{lines}F{flags}\n$_x [10.0.3.134]\nS{sender}\n"
        f"{recipients}H??Subject: x\nH??RPFD: no recipient\n.\n".encode("utf-8", "surrogateescape")
    )
    path.chmod(0o600)
    if size >= 0:
        (directory / f"df{qid}").write_bytes(b"x" * size)
        (directory / f"df{qid}").chmod(0o600)
    return path


class Listing:
    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(
        self, options: Options, *selections: Selection, verbose: bool = False, client: bool = False
    ) -> str:
        self.code = mailq.show(options, verbose=verbose, client=client, selections=selections)
        out, self.err = self._capfd.readouterr()
        return out.replace(options.queue_directory, "MQ").replace(
            options.client_queue_directory, "CQ"
        )


@pytest.fixture
def show(capfd: pytest.CaptureFixture[str]) -> Listing:
    return Listing(capfd)


def test_what_was_put_aside_is_told_and_can_be_listed(options: Options, show: Listing) -> None:
    put(options, "6AM9b6r3001915", kind="Qf")
    put(options, "6AM9b6r4001915", kind="Qf", queue=options.client_queue_directory)
    told = "MQ is empty\n\t\tTotal requests: 0\n2 put aside: mailq -qL\n"
    assert show(options) == told
    listed = show(options, parse_selection("L"))
    assert "6AM9b6r3001915" in listed and "6AM9b6r4001915" in listed
    assert listed.endswith("\t\tTotal requests: 2\n")
    assert show(options, client=True).endswith("1 put aside: mailq -qL\n")


def test_mail_in_subdirectories_of_sendmail_is_told(options: Options, show: Listing) -> None:
    """No run sees it."""
    inner = os.path.join(options.queue_directory, "qf")
    os.mkdir(inner)
    assert show(options) == "MQ is empty\n\t\tTotal requests: 0\n"
    put(options, "6AM9b6r3001915", queue=inner)
    put(options, "6AM9b6r4001915", kind="hf", queue=inner)
    told = "2 messages in MQ/qf, as Sendmail may have it, that no run sees: minimta check\n"
    assert show(options) == "MQ is empty\n\t\tTotal requests: 0\n" + told
    assert "no run" not in show(options, client=True) + show(options, parse_selection("R@x"))


def test_redirect_all_is_told_at_the_end(options: Options, show: Listing) -> None:
    options.redirect_all = "tester@staging.example"
    told = "RedirectAll: all mail for other hosts goes to tester@staging.example\n"
    assert show(options) == "MQ is empty\n\t\tTotal requests: 0\n" + told


@pytest.mark.parametrize(("filters", "told"), [(("scan",), 1), ((), 0)])
def test_of_what_waits_for_filters_that_is_said(
    options: Options, show: Listing, filters: tuple[str, ...], told: int
) -> None:
    options.input_mail_filters = filters
    put(options, "6AM9b6r3001915", queue=options.client_queue_directory, size=36)
    put(options, "6AM9b6r4001915", size=36)
    assert (
        show(options).count("(not adopted: not past the filters yet (minimta check, log))\n")
        == told
    )


def test_what_the_runner_does_not_take_is_shown_with_the_reason(
    options: Options, show: Listing
) -> None:
    put(options, "6AM9b6r3001915", queue=options.client_queue_directory, size=36)
    put(options, "6AM9b6r4001915", queue=options.client_queue_directory, size=-1)
    shown = show(options)
    assert shown.count("(not adopted: ") == 1
    assert "(not adopted: no data file)\n" in shown


def test_an_empty_queue(options: Options, show: Listing) -> None:
    assert show(options) == "MQ is empty\n\t\tTotal requests: 0\n"
    assert show.code == 0


def test_the_body_type_stands_before_the_status(options: Options, show: Listing) -> None:
    put(
        options,
        "6AM9bJoP003680",
        lines="B8BITMIME\nMDeferred: Connection refused by lab2.campus.\n",
    )
    put(options, "6AM9bJoQ003680", lines="B7BIT\n")
    text = show(options)
    assert "\n      8BITMIME   (Deferred: Connection refused by lab2.campus.)\n" in text
    assert "\n          7BIT\n" in text


def test_the_lessons_listing(options: Options, show: Listing) -> None:
    put(options, "6AM9bJoP003680", lines="MDeferred: Connection refused by lab2.campus.\n")
    assert show(options) == (
        "\t\tMQ (1 request)\n"
        + HEAD
        + "6AM9bJoP003680       36 Sun Nov 22 09:37 <emma@lab1.campus>\n"
        "                 (Deferred: Connection refused by lab2.campus.)\n"
        "\t\t\t\t\t <dave@lab2.campus>\n"
        "\t\tTotal requests: 1\n"
    )


def many(options: Options) -> None:
    status = "MDeferred: 451 4.7.1 Greylisted, please try again later\n"
    put(
        options,
        "6AM9MYBC001915",
        sender="<>",
        size=26,
        priority=30038,
        recipients="RPFD:dave@refused.campus\n",
    )
    put(
        options,
        "6AM9MYC1001913",
        size=26,
        priority=60038,
        sender="averyveryverylongsendernameindeed.with.dots@lab1.campus",
        recipients=f"RPFD:{'a' * 60}@{'b' * 50}.refused.campus\nRPFD:dave@refused.campus\n",
    )
    put(
        options,
        "6AM9MYO5001905",
        size=26,
        priority=90038,
        sender="emma",
        lines=status,
        flags="ws",
        recipients=f"{status}rRFC822; x\nRPFD:henry@grey.campus\n"
        "Clist:1:0:<list@lab1.campus>\nRFDA:carol@refused.campus\n",
    )


def test_long_names_are_cut_and_the_order_is_that_of_a_run(options: Options, show: Listing) -> None:
    many(options)
    assert show(options) == (
        "\t\tMQ (3 requests)\n" + HEAD + "6AM9MYBC001915       26 Sun Nov 22 09:37 <>\n"
        "\t\t\t\t\t dave@refused.campus\n"
        "6AM9MYC1001913       26 Sun Nov 22 09:37 averyveryverylongsendernameindeed.with.\n"
        "\t\t\t\t\t aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
        "\t\t\t\t\t dave@refused.campus\n"
        "6AM9MYO5001905       26 Sun Nov 22 09:37 emma\n"
        "                 (Deferred: 451 4.7.1 Greylisted, please try again later)\n"
        "\t\t\t\t\t henry@grey.campus\n"
        "\t\t\t\t\t carol@refused.campus\n"
        "\t\tTotal requests: 3\n"
    )


def test_verbose_adds_priority_warning_and_each_recipients_status(
    options: Options, show: Listing
) -> None:
    many(options)
    assert show(options, verbose=True) == (
        "\t\tMQ (3 requests)\n" + VERBOSE + "6AM9MYBC001915       26      30038 Nov 22 09:37 <>\n"
        "\t\t\t\t\t\tdave@refused.campus\n"
        "6AM9MYC1001913       26      60038 Nov 22 09:37"
        " averyveryverylongsendernameindeed.with.dots@lab1.campus\n"
        "\t\t\t\t\t\taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bbbbbbbbbb\n"
        "\t\t\t\t\t\tdave@refused.campus\n"
        "6AM9MYO5001905       26      90038+Nov 22 09:37 emma\n"
        "                 (Deferred: 451 4.7.1 Greylisted, please try again later)\n"
        "\t\t\t\t\t\thenry@grey.campus\n"
        "\t\t (Deferred: 451 4.7.1 Greylisted, please try again later)\n"
        "\t\t\t\t\t\t(---list:1:0:<list@lab1.campus>---)\n"
        "\t\t\t\t\t\tcarol@refused.campus\n"
        "\t\tTotal requests: 3\n"
    )


def test_a_status_is_cut_at_60_and_whole_with_verbose(options: Options, show: Listing) -> None:
    text = (
        "Deferred: TLS: it offers no STARTTLS; nothing was sent. To allow it: a row of /t: [h] may"
    )
    put(options, "6AM9gqD1004945", lines=f"M{text}\n")
    assert f"                 ({text[:60]})\n" in show(options)
    assert f"                 ({text})\n" in show(options, verbose=True)


def test_a_message_held_by_somebody_has_a_star(options: Options, show: Listing) -> None:
    path = put(options, "6AM9bJoP003680")
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "\n6AM9bJoP003680*      36 Sun" in show(options)
    assert "\n6AM9bJoP003680       36 Sun" in show(options)


def test_without_proc_the_lock_itself_is_asked(
    options: Options, show: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimta.queue.listing._locked_inodes", lambda: None)
    path = put(options, "6AM9bJoP003680")
    put(options, "6AM9bJoQ003680")
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        out = show(options)
    assert "\n6AM9bJoP003680*" in out and "\n6AM9bJoQ003680 " in out


def test_a_message_too_young_to_be_tried_again_has_a_dash(options: Options, show: Listing) -> None:
    options.min_queue_age = 1800
    put(options, "6AM9MlYg002018", attempts=f"K{int(time.time()) - 60}\nN1\n")
    put(options, "6AM9MlYh002018", attempts=f"K{int(time.time()) - 3600}\nN1\n")
    put(options, "6AM9MlYi002018", attempts="K0\nN0\n")
    marks = [line[:15] for line in show(options).splitlines() if line[:1] == "6"]
    assert marks == ["6AM9MlYg002018-", "6AM9MlYh002018 ", "6AM9MlYi002018 "]


def test_a_message_that_rests_by_max_queue_age_has_a_dash(options: Options, show: Listing) -> None:
    options.max_queue_age = 36000
    now = int(time.time())
    created = b"T%d" % (now - 7200)
    for qid, ago in (("6AM9MlYg002018", 1800), ("6AM9MlYh002018", 5400)):
        path = put(options, qid, attempts=f"K{now - ago}\nN1\n")
        path.write_bytes(re.sub(rb"^T\d+", created, path.read_bytes(), flags=re.MULTILINE))
    marks = [line[:15] for line in show(options).splitlines() if line[:1] == "6"]
    assert marks == ["6AM9MlYg002018-", "6AM9MlYh002018 "]


def test_a_load_that_is_too_high_shows_as_X(
    options: Options, show: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(options, "6AM9MlYg002018")
    monkeypatch.setattr("minimta.system.load.average", lambda: 8.0)
    assert "\n6AM9MlYg002018X      36 " in show(options)


def test_a_control_file_without_content_is_listed_last(options: Options, show: Listing) -> None:
    put(options, "6AM9bJoP003680")
    Path(options.queue_directory, "qf6AM0000000999999").touch()
    assert show(options).splitlines()[-2:] == [
        "6AM0000000999999  (no control file)",
        "\t\tTotal requests: 2",
    ]


def test_a_missing_data_file_is_minus_one(options: Options, show: Listing) -> None:
    put(options, "6AM9hGB3005187", size=-1)
    assert "\n6AM9hGB3005187       -1 Sun Nov 22 09:37 " in show(options)


@pytest.mark.parametrize(
    "name",
    [
        "df6AM9bJoP003680",
        "tf6AM9bJoP003680",
        "xf6AM9bJoP003680",
        "Qf6AM9bJoP003680",
        "qf..",
        "qfshort",
        "qf6AM9bJoP00368/"[:-1] + "é",
    ],
)
def test_what_is_no_control_file_is_not_listed(options: Options, show: Listing, name: str) -> None:
    Path(options.queue_directory, name).write_text("x")
    assert "Total requests: 0" in show(options)


def test_a_link_or_a_fifo_neither_hangs_nor_shows(options: Options, show: Listing) -> None:
    directory = Path(options.queue_directory)
    (directory / "qf6AM9bJoP003680").symlink_to("/etc/passwd")
    os.mkfifo(directory / "qf6AM9bJoQ003680")
    assert "root" not in show(options)


def test_quarantined_messages_show_only_when_asked_for(options: Options, show: Listing) -> None:
    put(options, "6AM9MY6S001911", kind="hf", size=5001, lines="qlooks bad\n")
    assert show(options) == "MQ is empty\n\t\tTotal requests: 0\n"
    assert show(options, parse_selection("Q")) == (
        "\t\tMQ (1 request)\n"
        + HEAD
        + "6AM9MY6S001911     5001 Sun Nov 22 09:37 <emma@lab1.campus>\n"
        "     QUARANTINE: looks bad\n"
        "\t\t\t\t\t <dave@lab2.campus>\n"
        "\t\tTotal requests: 1\n"
    )


@pytest.mark.parametrize(
    ("argument", "count"),
    [
        ("Rgrey", 1),
        ("RREFUSED", 3),
        ("Rnosuch", 0),
        ("I915", 1),
        ("!I915", 2),
        ("Semma", 1),
        ("!Rgrey", 2),
    ],
)
def test_selections(options: Options, show: Listing, argument: str, count: int) -> None:
    many(options)
    assert show(options, parse_selection(argument)).endswith(f"\t\tTotal requests: {count}\n")


def test_what_waits_in_the_client_queue_follows_and_counts(options: Options, show: Listing) -> None:
    put(options, "6AM9MqHc002122", queue=options.client_queue_directory, size=7, sender="emma")
    assert show(options) == (
        "MQ is empty\n"
        "\t\tCQ (1 request)\n" + HEAD + "6AM9MqHc002122        7 Sun Nov 22 09:37 emma\n"
        "\t\t\t\t\t <dave@lab2.campus>\n"
        "\t\tTotal requests: 1\n"
    )
    put(options, "6AM9bJoP003680")
    assert show(options).endswith("\t\tTotal requests: 2\n")
    assert show(options, client=True).splitlines()[0] == "\t\tCQ (1 request)"


TAKEN = "Of what the queue runner has taken over only root can see the list.\n"


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller may list neither queue."""
    monkeypatch.setattr(os, "access", lambda *arguments, **unused: False)
    monkeypatch.setattr(permission, "owns_queue", lambda options: False)
    monkeypatch.setattr(os, "getgroups", lambda: [])
    monkeypatch.setattr(os, "getegid", lambda: 54321)


def noted(options: Options, *ids: str) -> None:
    folder = os.open(options.client_queue_directory, os.O_PATH)
    for qid in ids:
        own_letters.note(folder, qid)
    os.close(folder)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("client", [False, True])
def test_who_may_not_list_the_queue_sees_their_own_letters(
    options: Options, show: Listing, client: bool
) -> None:
    put(options, "6AM9bJoP003680")
    for qid in ("6AM9b6r3001915", "6AM9b6r4001915", "6AM9b6r5001915"):
        put(options, qid, queue=options.client_queue_directory)
    noted(options, "6AM9b6r3001915", "6AM9b6r4001915", "6AM9b6r6001915")
    shown = show(options, client=client).splitlines(keepends=True)
    assert shown[0] == "\t\tCQ (2 requests)\n"
    assert [line[:14] for line in shown if line.startswith("6")] == [
        "6AM9b6r3001915",
        "6AM9b6r4001915",
    ]
    assert shown[-2:] == ["\t\tTotal requests: 2\n", TAKEN]
    assert (show.code, show.err) == (0, "")


@pytest.mark.usefixtures("user")
def test_a_letter_that_the_runner_does_not_take_says_why_to_its_user(
    options: Options, show: Listing
) -> None:
    put(options, "6AM9b6r3001915", queue=options.client_queue_directory, size=-1)
    noted(options, "6AM9b6r3001915")
    assert "(not adopted: no data file)\n" in show(options)


@pytest.mark.usefixtures("user")
def test_who_has_no_letter_is_told_so(options: Options, show: Listing) -> None:
    put(options, "6AM9b6r3001915", queue=options.client_queue_directory)
    assert show(options) == f"CQ: no letter of yours\n\t\tTotal requests: 0\n{TAKEN}"
    assert show.code == 0


@pytest.mark.root
@pytest.mark.usefixtures("user")
def test_what_somebody_else_put_where_ones_own_letter_was_is_not_shown(
    options: Options, show: Listing
) -> None:
    for qid in ("6AM9b6r3001915", "6AM9b6r4001915"):
        put(options, qid, queue=options.client_queue_directory)
    noted(options, "6AM9b6r3001915", "6AM9b6r4001915")
    os.chown(Path(options.client_queue_directory, "qf6AM9b6r3001915"), 54321, 54321)
    shown = show(options)
    assert "6AM9b6r4001915" in shown and "6AM9b6r3001915" not in shown


@pytest.mark.usefixtures("user")
def test_users_are_told_of_redirected_mail_too(options: Options, show: Listing) -> None:
    options.redirect_all = "emma@lab1.campus"
    assert "emma@lab1.campus" in show(options).splitlines()[-1]


@pytest.mark.usefixtures("user")
def test_selections_count_for_ones_own_letters(options: Options, show: Listing) -> None:
    put(options, "6AM9b6r3001915", queue=options.client_queue_directory)
    put(options, "6AM9b6r4001915", kind="Qf", queue=options.client_queue_directory)
    noted(options, "6AM9b6r3001915", "6AM9b6r4001915")
    assert "6AM9b6r3001915" in show(options, parse_selection("Rdave"))
    assert "no letter of yours" in show(options, parse_selection("Rcarol"))
    assert "6AM9b6r4001915" in show(options, parse_selection("L"))


@pytest.mark.usefixtures("user")
def test_a_hint_that_cannot_be_read_is_no_empty_queue(options: Options, show: Listing) -> None:
    Path(options.client_queue_directory, f"own.{os.geteuid()}").mkdir()
    assert show(options) == ""
    assert show.code == os.EX_TEMPFAIL and show.err.startswith("mailq: cannot tell what waits in ")
    os.rename(options.client_queue_directory, options.client_queue_directory + ".gone")
    assert (show(options), show.code) == ("", os.EX_TEMPFAIL)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("client", [False, True])
def test_restrictmailq_shows_nothing_to_users(
    options: Options, show: Listing, client: bool
) -> None:
    options.privacy_options = ("restrictmailq",)
    put(options, "6AM9b6r3001915", queue=options.client_queue_directory)
    noted(options, "6AM9b6r3001915")
    assert show(options, client=client) == "You are not permitted to see the queue\n"
    assert show.code == os.EX_NOPERM


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("call", ["getegid", "getgroups"])
def test_restrictmailq_lets_the_group_of_the_queue_look(
    options: Options, show: Listing, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    options.privacy_options = ("restrictmailq",)
    group = os.stat(options.queue_directory).st_gid
    monkeypatch.setattr(os, call, lambda: group if call == "getegid" else [54321, group])
    assert show(options).endswith(TAKEN)


def test_restrictmailq_is_not_for_the_owner(options: Options, show: Listing) -> None:
    options.privacy_options = ("restrictmailq",)
    assert show(options) == "MQ is empty\n\t\tTotal requests: 0\n"


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x07", "\r", "\u202e", "\u2028", "\x7f", "%s%n"])
def test_nothing_that_users_wrote_reaches_the_terminal_raw(
    options: Options, show: Listing, evil: str
) -> None:
    put(
        options,
        "6AM9bJoP003680",
        sender=f"a{evil}b",
        lines=f"MDeferred: {evil}x\nq{evil}\n",
        recipients=f"M{evil}\nC{evil}:1:1:x\nRPFD:a{evil}b\n",
    )
    for verbose in (False, True):
        out = show(options, verbose=verbose)
        assert out.isascii() and out.replace("\n", "").replace("\t", "").isprintable()
        assert out.count("Total requests") == 1


@pytest.mark.parametrize(
    "text", ["", "V8\n", "garbage", "V8\nTx\nP\nN-\nSx\nR\n.\n", "R\nR:\nS\n", "\0" * 40]
)
def test_a_damaged_control_file_does_not_stop_the_listing(
    options: Options, show: Listing, text: str
) -> None:
    put(options, "6AM9bJoP003680")
    Path(options.queue_directory, "qf6AM9bJoQ003680").write_text(text)
    assert show(options).endswith("\t\tTotal requests: 2\n")


def test_a_control_file_with_thousands_of_recipients_is_shown_whole(
    options: Options, show: Listing
) -> None:
    put(options, "6AM9bJoP003680", recipients="".join(f"RPFD:<u{n}@x>\n" for n in range(3000)))
    assert show(options).count("\n\t\t\t\t\t <u") == 3000


def test_a_queue_longer_than_what_is_kept_in_memory_is_listed_alike(
    options: Options, show: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(130):
        put(options, f"6AM9bJ{number:08}", priority=30000 - number * 7 % 100)
    whole = show(options)
    monkeypatch.setattr(mailq, "ExternalSort", lambda: ExternalSort(20))
    monkeypatch.setattr(mailq, "_LINES", 3)
    assert show(options) == whole
    assert whole.endswith("\t\tTotal requests: 130\n")


@pytest.mark.long
def test_twenty_thousand_messages_are_listed_in_three_seconds(
    options: Options, show: Listing
) -> None:
    for number in range(20_000):
        put(options, f"6AM9{number // 1000:04}{number % 1000:06}")
    begin = time.process_time()
    listed = show(options)
    assert time.process_time() - begin < 3
    assert listed.endswith("\t\tTotal requests: 20000\n")


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("number", ["9" * 20, "-" + "9" * 19])
def test_a_time_that_nobody_knows_hides_no_message(
    options: Options, show: Listing, number: str, verbose: bool
) -> None:
    """Anybody may put a letter into the client queue, with any number in it."""
    put(options, "6AM9b6S0003617")
    made_up = put(options, "6AM9b6S0003618", queue=options.client_queue_directory)
    made_up.write_bytes(re.sub(rb"\n[TKN]\d+", rb"\nT%b" % number.encode(), made_up.read_bytes()))
    printed = show(options, verbose=verbose)
    assert "6AM9b6S0003617" in printed and "6AM9b6S0003618" in printed


# --- several directories ----------------------------------------------------------------------------


@pytest.fixture
def several(options: Options) -> Options:
    for name in ("q1", "q2", "q3"):
        os.mkdir(f"{options.queue_directory}/{name}", 0o700)
    options.queue_pattern = f"{options.queue_directory}/q*"
    return options


def test_each_directory_has_its_heading_and_all_have_one_total(
    several: Options, show: Listing
) -> None:
    for number, name in enumerate(("q1", "q1", "q3")):
        queue = f"{several.queue_directory}/{name}"
        put(several, f"6AM9b6r{number}001915", queue=queue, priority=30036 + number)
    line = "{}      36 Sun Nov 22 09:37 <emma@lab1.campus>\n\t\t\t\t\t <dave@lab2.campus>\n"
    assert show(several) == (
        f"\t\tMQ/q1 (2 requests)\n{HEAD}"
        + line.format("6AM9b6r0001915 ")
        + line.format("6AM9b6r1001915 ")
        + f"MQ/q2 is empty\n\t\tMQ/q3 (1 request)\n{HEAD}"
        + line.format("6AM9b6r2001915 ")
        + "\t\tTotal requests: 3\n"
    )
    assert show(several, parse_selection("I6AM9b6r2")).endswith("\t\tTotal requests: 1\n")


def test_what_was_put_aside_in_any_directory_is_counted(several: Options, show: Listing) -> None:
    for name in ("q1", "q2"):
        put(several, "6AM9b6r3001915", kind="Qf", queue=f"{several.queue_directory}/{name}")
    assert show(several).endswith("\t\tTotal requests: 0\n2 put aside: mailq -qL\n")


def test_without_any_directory_it_is_said_what_to_do(several: Options, show: Listing) -> None:
    several.queue_pattern = f"{several.queue_directory}/none*"
    assert show(several).startswith("MQ/none*: there is no such directory; mkdir -m 1730 MQ/none1")
    assert show.code == os.EX_CONFIG


def test_a_directory_that_cannot_be_read_does_not_hide_the_others(
    several: Options,
    show: Listing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(several, "6AM9b6r0001915", queue=f"{several.queue_directory}/q3")
    scan = listing.scan

    def broken(directory: str, *words: Any, **options: Any) -> Iterator[listing.Listed]:
        if directory.endswith("/q2"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return scan(directory, *words, **options)

    monkeypatch.setattr(listing, "scan", broken)
    assert show(several).endswith("\t\tTotal requests: 1\n")
    assert show.code == os.EX_TEMPFAIL
    assert "/q2: Input/output error" in show.err
    assert [one.name for one in directories.listed(several)] == ["q3/6AM9b6r0001915"]
    for name in ("q1", "q3"):
        os.rename(f"{several.queue_directory}/{name}", f"{several.queue_directory}/old-{name}")
    with pytest.raises(OSError, match="Input/output"):
        list(directories.listed(several))
