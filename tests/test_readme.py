"""The README's sizes, paths, pictures and configuration are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minimta.config import file as config_file
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


def test_the_first_configuration_of_the_manual_is_read_as_it_stands(tmp_path: Path) -> None:
    page = (HOME / "minimta" / "man" / "minimta.cf.5").read_text(encoding="utf-8")
    text = page.partition("\n.Sh EXAMPLES\n")[2].partition(".Bd -literal")[2].partition("\n.Ed")[0]
    file = tmp_path / "minimta.cf"
    file.write_text(text.partition("\n")[2])
    file.chmod(0o644)
    given = config_file.load(str(file), [], safefile.why_untrusted)
    assert (given.host_name, given.smart_host) == ("mail.example.org", "[smtp.example.org]:25")
    assert given.daemon_ports == (Port(address="0.0.0.0"), Port(name="MTA-v6", address="::"))


def test_links_inside_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert all((HOME / target).exists() for target in targets)
