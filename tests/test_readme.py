"""The README's tables are the code's: options, RFCs, differences, the way of a message."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from minimta.config import file as config_file
from minimta.config import options
from minimta.config.option import Option
from minimta.config.ports import Port
from minimta.system import safefile

HOME = Path(__file__).parent.parent
README = (HOME / "README.md").read_text(encoding="utf-8")
SOURCES = sorted((HOME / "minimta").rglob("*.py"))


def section(title: str) -> str:
    """What stands below a heading, up to the next one of its level."""
    level = title.partition(" ")[0]
    assert f"\n{title}\n" in README, f"README.md has no heading {title!r}"
    return README.partition(f"\n{title}\n")[2].partition(f"\n{level} ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the table in a section, without its two head rows."""
    lines = [line for line in section(title).split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def name(source: Path) -> str:
    """The room as the README writes it: "deliver", "smtp/server"."""
    return str(source.relative_to(HOME / "minimta").with_suffix("")).removesuffix("/__init__")


def option_row(option: Option) -> list[str]:
    letter = f"-o{option.letter}" if option.letter else ""
    return [f"`{option.name}`", letter, option.default and f"`{option.default}`", option.meaning]


def always_row(option: Option) -> list[str]:
    letter = f"-o{option.letter}" if option.letter else ""
    return [
        f"`{option.name}`",
        letter,
        f"`{option.default}`" if option.default else "any",
        option.meaning,
    ]


def cited() -> dict[str, set[str]]:
    """RFC -> the rooms whose code or comments name it."""
    found: dict[str, set[str]] = defaultdict(set)
    for source in SOURCES:
        for number in re.findall(r"RFC[ \n#]+(\d{3,5})", source.read_text(encoding="utf-8")):
            found[f"RFC {number}"].add(name(source).partition("/")[0])
    return found


def test_the_option_table_is_the_table_of_the_code() -> None:
    assert rows("## Options") == [option_row(option) for option in options.TABLE]


def test_the_table_of_what_is_always_so_is_the_table_of_the_code() -> None:
    assert rows("## Options that say what is always so") == list(map(always_row, options.ALWAYS))


def test_every_rfc_that_the_code_cites_is_in_the_table() -> None:
    assert cited().keys() <= {row[0] for row in rows("## RFCs")}


@pytest.mark.parametrize("row", rows("## RFCs"), ids=lambda row: str(row[0]))
def test_what_we_follow_is_cited_where_it_rules(row: list[str]) -> None:
    rfc, title, status, where = row
    assert title
    assert status in ("yes", "part", "no")
    assert where == " ".join(sorted(cited().get(rfc, ())))
    assert where or status == "no"


def test_rfcs_stand_in_order() -> None:
    numbers = [int(row[0].removeprefix("RFC ")) for row in rows("## RFCs")]
    assert numbers == sorted(set(numbers))


def test_every_difference_on_purpose_is_told() -> None:
    marks = Counter[str]()
    for source in SOURCES:
        marks[name(source)] += source.read_text(encoding="utf-8").count("DIFFERS")
    told = re.findall(
        r"^\* `([a-z0-9_/]+)`: \S", section("## Where we differ on purpose"), re.MULTILINE
    )
    assert Counter(told) == +marks


def test_the_way_of_a_message_leads_through_files_that_exist() -> None:
    way = re.findall(r"^\d\. `(minimta/[a-z0-9_/]+\.py)`", README, re.MULTILINE)
    assert len(way) == 9
    assert all((HOME / path).is_file() for path in way)


def test_the_sizes_that_the_first_screen_tells_are_true() -> None:
    """To a tenth: they are there to say whether it is an evening or a month."""
    whole, way = re.findall(r"about\s([\d,]+) lines", README.partition("## Try it")[0])
    nine = re.findall(r"^\d\. `(minimta/[a-z0-9_/]+\.py)`", README, re.MULTILINE)
    for told, paths in ((whole, SOURCES), (way, [HOME / path for path in nine])):
        lines = sum(path.read_text(encoding="utf-8").count("\n") for path in paths)
        assert int(told.replace(",", "")) == pytest.approx(lines, rel=0.1)


def test_every_room_is_in_the_picture_of_the_house() -> None:
    picture = re.sub(r"[^a-z_]+", " ", section("## The house")).split()
    rooms = {
        source.relative_to(HOME / "minimta").parts[0].removesuffix(".py") for source in SOURCES
    }
    assert rooms - {"__init__"} <= set(picture)


def test_the_first_configuration_is_read_as_it_stands(tmp_path: Path) -> None:
    text = section("## Install").partition("minimta.cf`:\n\n")[2].partition("\n\n")[0]
    file = tmp_path / "minimta.cf"
    file.write_text("\n".join(line.removeprefix("    ") for line in text.split("\n")))
    file.chmod(0o644)
    given = config_file.load(str(file), [], safefile.why_untrusted)
    assert (given.host_name, given.smart_host) == ("mail.example.org", "[smtp.example.org]:25")
    assert given.daemon_ports == (Port(address="0.0.0.0"), Port(name="MTA-v6", address="::"))


def test_links_inside_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert all((HOME / target).exists() for target in targets)
