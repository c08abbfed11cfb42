"""The manual pages are the code's: options, verbs, RFCs, differences; and mandoc(1) finds nothing.

How to add to them, in ``minimta/man``:

* An option: a row in config/options.py, then ``python3 tests/test_manuals.py --write``, which writes
  what stands between the marker comments of minimta.cf.5.
* An RFC: three lines in minimta-standards.7, in order of the numbers: ``.It RFC 1234``, its title and
  a semicolon, ``.Em yes ;`` (or part, no). The rooms that cite it are filled in by ``--write``.
* A difference on purpose: ``.It Pa room/module`` in DIFFERENCES of minimta-standards.7, and a
  sentence; one for each ``DIFFERS`` of that module.
* A verb: a ``.Ss`` of its name in COMMANDS of minimta.8, with ``.Nm Cm verb`` and ``.Op Fl Fl flag``.
* A flag of sendmail: ``.It Fl x`` in FLAGS of sendmail.8; a mode (-bX): in MODES.
* An example: see tests/test_examples.py; every command that a page shows is run.

``--write`` needs nothing but the standard library, the checks of the pages need mandoc.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from minimta.config import options, sendmail_names
from minimta.config.option import Option

HOME = Path(__file__).parent.parent
MAN = HOME / "minimta" / "man"
SOURCES = sorted((HOME / "minimta").rglob("*.py"))
PAGES = sorted(MAN.glob("*.[1-8]"))
CONFIGURATION = MAN / "minimta.cf.5"
STANDARDS = MAN / "minimta-standards.7"
MINIMTA = MAN / "minimta.8"
SENDMAIL = MAN / "sendmail.8"


def section(page: Path, title: str, macro: str = ".Sh") -> str:
    """What stands below a heading, up to the next one of its kind."""
    text = page.read_text(encoding="utf-8")
    assert f"\n{macro} {title}\n" in text, f"{page.name} has no {macro} {title}"
    return text.partition(f"\n{macro} {title}\n")[2].partition(f"\n{macro} ")[0]


def room_and_module(source: Path) -> str:
    """The module as a page writes it: "listener/access"."""
    return str(source.relative_to(HOME / "minimta").with_suffix("")).removesuffix("/__init__")


# --- what is written by --write -------------------------------------------------------------------


def argument(text: str) -> str:
    """*text* as one argument of a macro."""
    escaped = text.replace("\\", "\\e").replace('"', "\\(dq")
    return f'"{escaped}"'


def prose(text: str) -> str:
    """A meaning as lines of mdoc; what stands between backquotes is code."""
    words = text.replace("\\", "\\e").split("`")
    lines = []
    for number, part in enumerate(words):
        if number % 2:
            following = words[number + 1]
            closing = re.match(r"[).,:;]*", following)
            marks = closing[0] if closing else ""
            words[number + 1] = following[len(marks) :]
            lines.append(" ".join([".Ql", argument(part), *marks]))
        elif part.strip():
            lines.append(re.sub(r"^(?=[.'])", r"\\&", part.strip()))
    return "\n".join(lines)


def option_item(option: Option, value: str) -> str:
    letter = f" Pq Fl o{option.letter}" if option.letter else ""
    shown = f" No = {argument(value)}" if value else ""
    return f".It Ic {option.name}{shown}{letter}\n{prose(option.meaning)}\n"


def option_table() -> str:
    return "".join(option_item(option, option.default) for option in options.TABLE)


def always_table() -> str:
    return "".join(option_item(option, option.default or "any") for option in sendmail_names.ALWAYS)


def refused_table() -> str:
    rows = sendmail_names.REFUSED.items()
    return "".join(f".It Ic {name}\n{prose(instead)}\n" for name, instead in rows)


GENERATED = {"options": option_table, "always": always_table, "refused": refused_table}


def marked(name: str) -> tuple[str, str]:
    """The comments between which a table stands."""
    return (
        f'.\\" {name}: from config/options.py, by tests/test_manuals.py --write\n',
        f'.\\" end of {name}\n',
    )


def table(name: str) -> str:
    """What the page has between the comments now."""
    begin, end = marked(name)
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert text.count(begin) == text.count(end) == 1
    return text.partition(begin)[2].partition(end)[0]


def cited() -> dict[str, list[str]]:
    """RFC -> the rooms whose code or comments name it, in order."""
    found: dict[str, set[str]] = defaultdict(set)
    for source in SOURCES:
        for number in re.findall(r"RFC[ \n#]+(\d{3,5})", source.read_text(encoding="utf-8")):
            found[number].add(room_and_module(source).partition("/")[0])
    return {number: sorted(rooms) for number, rooms in found.items()}


ROW = re.compile(r"^\.It RFC (\d+)\n(.+);\n\.Em (\w+) ;\n(?:([a-z ]+)\n)?", re.MULTILINE)


def write() -> None:
    """Renew what is made from the code in both pages."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    for name, make in GENERATED.items():
        begin, end = marked(name)
        head, _, rest = text.partition(begin)
        text = head + begin + make() + end + rest.partition(end)[2]
    CONFIGURATION.write_text(text, encoding="utf-8")
    rooms = cited()

    def row(match: re.Match[str]) -> str:
        where = " ".join(rooms.get(match[1], ()))
        return f".It RFC {match[1]}\n{match[2]};\n.Em {match[3]} ;\n" + (where and f"{where}\n")

    text = STANDARDS.read_text(encoding="utf-8")
    STANDARDS.write_text(ROW.sub(row, text), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python3 tests/test_manuals.py --write")
    write()
    sys.exit()

import pytest  # noqa: E402

from minimta.admin import verbs  # noqa: E402
from minimta.config import commandline  # noqa: E402

#: verbs whose arguments are for somebody else
PLAIN = ("test",)
#: pages of other packages
OTHERS = {
    *(
        (name, "1")
        for name in (
            "bsd-mailx",
            "dpkg-deb",
            "dpkg-divert",
            "mutt",
            "s-nail",
            "systemctl",
            "update-alternatives",
        )
    ),
    ("logrotate", "8"),
}

# --- what must hold -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_the_tables_of_options_are_the_tables_of_the_code(name: str) -> None:
    assert table(name) == GENERATED[name](), "python3 tests/test_manuals.py --write"


def test_every_rfc_that_the_code_cites_is_in_the_list() -> None:
    missing = cited().keys() - {row[0] for row in ROW.findall(section(STANDARDS, "RFCS"))}
    assert not missing, f"minimta-standards.7, RFCS: a row for each of {sorted(missing)}"


@pytest.mark.parametrize("row", ROW.findall(section(STANDARDS, "RFCS")), ids=lambda row: row[0])
def test_what_we_follow_is_cited_where_it_rules(row: tuple[str, str, str, str]) -> None:
    rfc, title, status, where = row
    assert title
    assert status in ("yes", "part", "no")
    assert where.split() == cited().get(rfc, []), "python3 tests/test_manuals.py --write"
    assert where or status == "no"


def test_rfcs_stand_in_order_and_each_has_all_its_lines() -> None:
    text = section(STANDARDS, "RFCS")
    numbers = [int(row[0]) for row in ROW.findall(text)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == text.count("\n.It ")


def test_every_difference_on_purpose_is_told() -> None:
    marks = Counter[str]()
    for source in SOURCES:
        marks[room_and_module(source)] += source.read_text(encoding="utf-8").count("DIFFERS")
    told = re.findall(
        r"^\.It Pa ([a-z0-9_/]+)\n\S", section(STANDARDS, "DIFFERENCES"), re.MULTILINE
    )
    assert Counter(told) == +marks


def test_every_verb_has_its_part_of_the_page_and_none_has_two() -> None:
    told = re.findall(r"^\.Ss (\S+)$", section(MINIMTA, "COMMANDS"), re.MULTILINE)
    assert sorted(told) == sorted(verbs.VERBS)


@functools.cache
def help_of(*words: str) -> str:
    """What ``minimta WORDS --help`` prints."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        try:
            code = verbs.main([*words, "--help"])
        except SystemExit as end:
            code = int(end.code or 0)
    assert code == 0
    return told.getvalue()


def long_flags(text: str) -> set[str]:
    return set(re.findall(r"--([a-z][a-z-]*)", text)) - {"help"}


@pytest.mark.parametrize("verb", [verb for verb in verbs.VERBS if verb not in PLAIN])
def test_the_page_has_the_flags_of_a_verb_and_no_other(verb: str) -> None:
    """What ``minimta VERB --help`` shows; of a verb that has acts (token get) of each of them."""
    text = section(MINIMTA, "COMMANDS").partition(f"\n.Ss {verb}\n")[2].partition("\n.Ss ")[0]
    calls = set(re.findall(rf"^\.Nm Cm ({verb}(?: [a-z]+)?)$", text, re.MULTILINE))
    assert calls, f'.Ss {verb} begins with ".Nm Cm {verb}" and its flags, each ".Op Fl Fl flag"'
    told = set(re.findall(r"\bFl Fl ([a-z][a-z-]*)", text)) - {"help"}
    assert told == long_flags("".join(help_of(*call.split()) for call in calls))


def test_the_page_has_the_flags_of_sendmail_and_no_other() -> None:
    told = re.findall(r"^\.It Fl (\w)(?= |$)", section(SENDMAIL, "FLAGS"), re.MULTILINE)
    assert sorted(told) == sorted(commandline._FLAGS)


def test_the_page_has_the_modes_of_sendmail_and_no_other() -> None:
    items = re.findall(r"^\.It (Fl b.*)$", section(SENDMAIL, "MODES"), re.MULTILINE)
    assert sorted(re.findall(r"\bFl b(\w)\b", " ".join(items))) == sorted(commandline.MODES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_that_another_names_exists(page: Path) -> None:
    ours = {tuple(other.name.rsplit(".", 1)) for other in PAGES}
    named = re.findall(r"\bXr (\S+) (\d\S*)", page.read_text(encoding="utf-8"))
    assert set(named) - ours <= OTHERS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_page_says_what_it_is_and_how_it_is_called(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").split("\n")
    title, _, number = page.name.rpartition(".")
    assert lines[0].startswith(".Dd ")
    assert lines[1:3] == [f".Dt {title.upper()} {number}", ".Os"]
    headings = [line.removeprefix(".Sh ") for line in lines if line.startswith(".Sh ")]
    wanted = ["NAME", "DESCRIPTION"] if number == "7" else ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert headings[: len(wanted)] == wanted
    assert f".Nm {title}" in lines


@pytest.mark.debian("mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)
