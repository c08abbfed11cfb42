"""The report as one HTML file: no script, nothing loaded from elsewhere, charts as inline SVG.

Senders, reasons and replies are strangers' text: every value passes html.escape(), and the page's own
policy (Content-Security-Policy) forbids scripts and all loading. Each chart has its numbers beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape

from minimta.admin import ledger
from minimta.admin.ledger import Ledger
from minimta.admin.ledger_accounts import Ending
from minimta.admin.report_figures import DELAYS, OTHERS, Figures, top
from minimta.message import dates

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6472; --line: #d5dae2; --page: #ffffff;
  --card: #f5f7fa; --bar: #2f6db5; --good: #1b6e3c; --bad: #a3241c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb9; --line: #38404c;
  --page: #14181e; --card: #1d232b; --bar: #6ea8e8; --good: #6fcf97; --bad: #ff9c92; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0 1rem; } .soft { color: var(--soft); } .good { color: var(--good); }
.bad { color: var(--bad); } .verdict { font-weight: 600; }
ul.sums { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem;
  margin: 1rem 0; padding: 0; }
ul.sums li { display: block; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .8rem; }
ul.sums b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; font-size: .9rem; }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; width: 7rem; }
td.bar { width: 30%; } td.bar svg { display: block; width: 100%; height: .8rem; margin-top: .4rem; }
svg .b { fill: var(--bar); } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg.chart { display: block; width: 100%; height: auto; }
summary { cursor: pointer; color: var(--soft); padding: .4rem 0; }
code { overflow-wrap: anywhere; }
@media (max-width: 34rem) { td.bar, th.bar { display: none; }
  svg.chart text { font-size: 18px; } td.n, th.n { width: 5rem; } }
@media print { body { max-width: none; } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_HOUR = timedelta(hours=1)
#: bars of the chart; a longer time is shown by days
_BARS = 24 * 14


def page(sums: Ledger, figures: Figures, name: str, rows: int) -> str:
    """The whole file. *rows* is how many a table has at most."""
    title = f"Mail of {name}"
    delays = [(label, figures.delays[label]) for _, label in DELAYS]
    parts = [
        _head(title, sums),
        _sums(sums),
        _hours(figures),
        _table("Senders", "sender", "messages", top(figures.senders, rows)),
        _table("Senders by size", "sender", "octets", top(figures.octets, rows)),
        _table("Destinations", "domain", "recipients", top(figures.destinations, rows)),
        _table("Delays", "delivered within", "recipients", delays),
        _table("Delayed attempts, by destination", "why", "attempts", top(figures.deferred, rows)),
        _table("Failed, by destination", "why", "recipients", top(figures.failed, rows)),
        _table("Refused commands", "reply", "times", top(figures.refused, rows)),
        _unknown(sums),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _head(title: str, sums: Ledger) -> str:
    since = f"since {ledger.date(sums.since)}, " if sums.since else ""
    mark = "bad" if sums.unknown or sums.is_blind else "good"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="soft">{escape(since)}until {escape(ledger.date(sums.until))}</p>\n'
        f'<p class="verdict {mark}">{escape(ledger.verdict(sums))}</p>\n'
        + "".join(f'<p class="bad">not read: {escape(text)}</p>\n' for text in sums.complaints)
    )


def _sums(sums: Ledger) -> str:
    numbers = [("accepted", sums.accepted), *((one.value, sums.endings[one]) for one in Ending)]
    cards = "".join(f"<li><b>{count:,}</b>{escape(word)}</li>\n" for word, count in numbers)
    people = ", ".join(f"{count:,} {word}" for word, count in sorted(sums.recipients.items()))
    return (
        f'<h2>Messages</h2>\n<ul class="sums">\n{cards}</ul>\n'
        f'<p class="soft">Recipients: {escape(people or "none")}</p>\n'
    )


def _hours(figures: Figures) -> str:
    if not figures.hours:
        return ""
    bars = by_time(figures)
    most = max(count for _, count in bars)
    width, height, left, bottom = 720, 200, 44, 24
    step = (width - left) / len(bars)
    drawn = []
    for number, (label, count) in enumerate(bars):
        tall = (height - bottom - 14) * count / most
        x = left + number * step
        if count:
            drawn.append(
                f'<rect class="b" x="{x:.1f}" y="{height - bottom - tall:.1f}"'
                f' width="{max(step * 0.8, 1):.1f}" height="{max(tall, 1):.1f}">'
                f"<title>{escape(label)}: {count:,}</title></rect>"
            )
        if number % -(-len(bars) // 4) == 0:
            end = ' text-anchor="end"' if x > width - 120 else ""
            drawn.append(f'<text x="{x:.1f}" y="{height - 5}"{end}>{escape(label[5:])}</text>')
    base = height - bottom
    axis = (
        f'<line class="axis" x1="{left}" y1="{base}" x2="{width}" y2="{base}"/>'
        f'<text x="{left - 6}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{left - 6}" y="22" text-anchor="end">{most:,}</text>'
    )
    unit = "hour" if len(bars[0][0]) > 10 else "day"
    told = (
        f"{sum(figures.hours.values()):,} messages in {len(bars)} {unit}s, at most {most:,} in one"
    )
    return (
        f'<h2>Mail per {unit}</h2>\n<svg class="chart" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="Messages accepted per {unit}: {told}">{axis}{"".join(drawn)}</svg>\n'
        f'<p class="soft">{told}.</p>\n<details><summary>The numbers</summary>\n'
        + _rows("time", "messages", [row for row in bars if row[1]], most)
        + "</details>\n"
    )


def by_time(figures: Figures) -> list[tuple[str, int]]:
    """All hours from the first to the last, or all days if there are too many."""
    marks = sorted(figures.hours)
    first, last = (datetime.strptime(mark, "%Y-%m-%d %H") for mark in (marks[0], marks[-1]))
    if last - first < _BARS * _HOUR:
        count = int((last - first) / _HOUR) + 1
        names = [(first + number * _HOUR).strftime("%Y-%m-%d %H") for number in range(count)]
        return [(f"{name}:00", figures.hours[name]) for name in names]
    days: dict[str, int] = {}
    for number in range(min((last - first).days + 2, 4000)):
        day = (first + timedelta(days=number)).strftime("%Y-%m-%d")
        if day <= marks[-1][:10]:
            days[day] = 0
    for mark, count in figures.hours.items():
        days[mark[:10]] = days.get(mark[:10], 0) + count
    return sorted(days.items())


def _table(title: str, what: str, unit: str, rows: Sequence[tuple[str, int]]) -> str:
    most = max((count for label, count in rows if label != OTHERS), default=0)
    if not any(count for _, count in rows):
        return ""
    return f"<h2>{escape(title)}</h2>\n{_rows(what, unit, rows, most)}"


def _rows(what: str, unit: str, rows: Sequence[tuple[str, int]], most: int) -> str:
    cells = "".join(
        f'<tr><td>{escape(label)}</td><td class="bar">{_bar(label, count, most)}</td>'
        f'<td class="n">{count:,}</td></tr>\n'
        for label, count in rows
    )
    return (
        f'<div class="wide"><table>\n<thead><tr><th scope="col">{escape(what)}</th>'
        f'<th class="bar" aria-hidden="true"></th><th scope="col" class="n">{escape(unit)}</th>'
        f"</tr></thead>\n<tbody>\n{cells}</tbody>\n</table></div>\n"
    )


def _bar(label: str, count: int, most: int) -> str:
    if label == OTHERS:
        return ""  # as long as all the others together it would make them short
    wide = max(100 * count / most, 0.5) if count else 0
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="b" width="{wide:.1f}" height="10"/></svg>'
    )


def _unknown(sums: Ledger) -> str:
    if not sums.unknown:
        return ""
    cells = "".join(
        f"<tr><td><code>{escape(one.qid)}</code></td>"
        f"<td>{escape(time.strftime('%Y-%m-%d %H:%M', dates.local(one.time)))}</td>"
        f"<td>{escape(one.sender)}</td><td>{escape(one.why)}</td></tr>\n"
        for one in sums.unknown[:100]
    )
    heads = "".join(f'<th scope="col">{word}</th>' for word in ("id", "accepted", "from", "why"))
    return (
        f'<h2>Unknown</h2>\n<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{cells}</tbody>\n</table></div>\n"
    )
