"""minimta report: its sums are the ledger's, and a stranger's text stays text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minimta.admin import report_figures, report_html, verbs
from minimta.admin.report_figures import Figures, delay_class, destination, refusal, top
from minimta.system import log
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost

HOSTILE = "<\"><script>alert(1)</script>&'@evil.example>"
ID = "6AU9aa{:02}000001"
DELAYED = (
    "to=<{}>, delay=00:00:01, xdelay=00:00:00, mailer=esmtp, pri=1, dsn=4.0.0,"
    " reply=451 <img src=x onerror=alert(2)>, stat=Deferred: 451 <img src=x onerror=alert(2)>"
)
SENT = "to=<{}>, delay={}, xdelay=00:00:00, mailer=local, pri=1, dsn=2.0.0, stat=Sent"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


@pytest.fixture
def arguments(host: PrivateHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What leads to a host, on which this and that has happened."""
    path = host.root / "log"

    def line(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
        with path.open("a") as file:
            file.write(f"sm-mta[9]: {qid}: {text}\n")

    monkeypatch.setattr(log, "line", line)
    x = b"<x@lab2.campus>"
    for to in ([b"<dave@lab1.campus>"], [b"<dave@lab1.campus>", b"<nosuch@lab1.campus>"], [x]):
        qid = host.submit(b"<emma@lab1.campus>", *to)
        for _ in range(2):
            host.deliverer(esmtp=Elsewhere({x[1:-1]: BUSY})).attempt([qid])
    for number in range(30):
        qid = ID.format(number)
        line(qid, f"from={HOSTILE}, size=100, class=0, nrcpts=1, msgid=<1>, relay=h [10.0.0.1]")
        whose, took = f"u@d{number}.example", "00:00:09" if number % 2 else "2+00:00:00"
        line(qid, DELAYED.format(whose))
        line(qid, SENT.format(whose, took))
        line(qid, f"done; delay=00:00:01, ntries=2, rcpts={2 if number == 7 else 1}")
    line(
        ID.format(40),
        "ruleset=check_rcpt, arg1=<y>, relay=h [10.0.0.1], reject=550 5.7.1 <y@y>... Relaying denied",
    )
    cf = host.root / "cf"
    options = host.options
    cf.write_text(
        f"QueueDirectory = {options.queue_directory}\nHostName = lab1.campus\nRunAsUser =\n"
        f"ClientQueueDirectory = {options.client_queue_directory}\n"
    )
    cf.chmod(0o644)
    yield ["-C", str(cf), "--log", str(path)]  # fmt: skip


def test_its_sums_are_those_of_the_ledger(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["ledger", *arguments, "--json"]) in (0, 1)
    sums = json.loads(capsys.readouterr().out)
    assert verbs.main(["report", *arguments, "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    for name in ("accepted", "endings", "recipients", "origins", "waiting"):
        assert found[name] == sums[name]
    assert sum(found["hours"].values()) == sum(found["senders"].values()) == sums["accepted"] == 34
    delivered = sums["recipients"]["delivered"]
    assert sum(found["destinations"].values()) == sum(found["delays"].values()) == delivered == 33
    assert sum(found["octets_by_sender"].values()) >= 3000
    assert found["refused"] == {"550 5.7.1 Relaying denied": 1}


def test_the_text_has_them_all(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["report", *arguments]) == 1  # one of them lacks a line
    shown = capsys.readouterr().out
    assert shown.startswith("Mail of lab1.campus until ")
    assert re.search(r"^accepted +34 ", shown, re.MULTILINE)
    assert re.search(r"^ +2  lab2.campus  452 4.2.2 Mailbox full$", shown, re.MULTILINE)
    assert "1 of 2 recipients have no line" in shown


class Page(HTMLParser):
    """What a browser makes of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_what_strangers_wrote_stays_text(host: PrivateHost, arguments: list[str]) -> None:
    path = host.root / "r.html"
    assert verbs.main(["report", *arguments, "--html", str(path)]) == 1
    page = Page(path.read_text())
    assert not page.tags & {"script", "img", "b-a", "iframe", "link", "object"}
    assert not [
        name for name in page.attributes if name.startswith("on") or name in ("src", "href")
    ]
    assert page.open == []
    words = "".join(page.words)
    assert HOSTILE.strip("<>") in words
    assert "<img src=x onerror=alert(2)>" in words
    assert "default-src 'none'" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [name for name in os.listdir(host.root) if "new" in name] == []


@pytest.mark.parametrize(
    ("bars", "labels"), [(1, 1), (2, 2), (4, 4), (5, 3), (8, 4), (9, 3), (24 * 14, 4)]
)
def test_a_chart_has_a_bar_for_each_hour_with_mail_and_at_most_four_labels(
    bars: int, labels: int
) -> None:
    figures = Figures()
    first = datetime(2026, 11, 1)
    for number in {0, bars - 1}:
        figures.hours[(first + timedelta(hours=number)).strftime("%Y-%m-%d %H")] = 3
    chart = report_html._hours(figures).partition("</svg>")[0]
    assert chart.count("<rect") == len({0, bars - 1})
    assert len(re.findall(r">11-\d\d \d\d:00</text>", chart)) == labels
    assert report_html.by_time(figures)[-1][1] == 3


def test_more_hours_than_a_chart_has_bars_are_days() -> None:
    figures = Figures()
    figures.hours.update({"2026-11-01 00": 1, "2026-11-01 23": 2, "2026-11-15 00": 4})
    found = report_html.by_time(figures)
    assert [name for name, _ in found] == [f"2026-11-{day:02}" for day in range(1, 16)]
    assert [count for _, count in found] == [3, *[0] * 13, 4]


def test_an_unwritable_place_is_told(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["report", *arguments, "--html", ""]) == os.EX_USAGE
    assert verbs.main(["report", *arguments, "--html", "/nonexistent/r.html"]) == os.EX_CANTCREAT
    said = "cannot write /nonexistent/r.html (No such file or directory): name another place\n"
    assert capfd.readouterr().err.endswith(said)


def test_a_report_has_one_form(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "r.html"
    assert verbs.main(["report", *arguments, "--html", str(page), "--json"]) == os.EX_USAGE
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "minimta report: either --html or --json, not both\n")
    assert not page.exists()


def test_the_page_goes_to_standard_output_for_a_dash(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    verbs.main(["report", *arguments, "--html", "-"])
    out = capfd.readouterr().out
    assert out.startswith("<!DOCTYPE html>\n")
    assert out.endswith("</html>\n")
    assert sorted(os.listdir()) == before


@pytest.mark.debian("chromium")
@pytest.mark.long
@pytest.mark.parametrize("width", [420, 1000])
def test_a_browser_shows_all_of_it(host: PrivateHost, arguments: list[str], width: int) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium")
    path, shot = host.root / "r.html", host.root / "shot.png"
    verbs.main(["report", *arguments, "--html", str(path)])
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += [f"--user-data-dir={host.root}/profile", f"--screenshot={shot}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert shot.read_bytes().startswith(b"\x89PNG") and shot.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("<a@X.Example>", "x.example"),
        ("dave", "local"),
        ('"|prog a@b"', "programs"),
        ("/var/file@x", "files"),
    ],
)
def test_destinations(address: str, place: str) -> None:
    assert destination(address) == place


def test_classes_of_delays() -> None:
    assert delay_class("00:00:01") == "up to 1 s"
    assert delay_class("00:00:02") == "up to 10 s"
    assert delay_class("2+00:00:00") == "longer"
    assert delay_class("soon") == "longer"


def test_replies_lose_what_differs_from_client_to_client() -> None:
    assert refusal("550 5.1.1 <a@b>... User unknown") == "550 5.1.1 User unknown"
    assert refusal("421 4.3.2 Connection rate limit exceeded.") == (
        "421 4.3.2 Connection rate limit exceeded."
    )


def test_a_flood_of_names_is_bounded_and_the_sum_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_figures, "_MOST", 10)
    figures = Figures()
    for number in range(100):
        report_figures._add(figures.senders, str(number))
    assert len(figures.senders) == 11
    rows = top(figures.senders, 3)
    assert [count for _, count in rows] == [1, 1, 1, 97]
    assert rows[-1][0] == report_figures.OTHERS
