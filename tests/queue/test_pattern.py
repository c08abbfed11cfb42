"""Which directories a QueueDirectory means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.config.option import OptionError
from minimta.config.options import Options, by_name
from minimta.queue import directories, pattern


def options(value: str) -> Options:
    made = Options()
    made.set(by_name("QueueDirectory"), value)
    return made


def test_one_directory_is_not_looked_for(tmp_path: Path) -> None:
    there = options(f"{tmp_path}/nowhere")
    assert pattern.paths(there) == [f"{tmp_path}/nowhere"]
    assert there.queue_directory == f"{tmp_path}/nowhere"
    assert not there.has_queue_group


def test_a_star_means_all_directories_and_links_to_some_whose_names_begin_so(
    tmp_path: Path,
) -> None:
    for name in ("q2", "q1", "q", "other", "Q3"):
        (tmp_path / name).mkdir()
    (tmp_path / "q9").symlink_to(tmp_path / "other")
    (tmp_path / "qnowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "qfile").touch()
    there = options(f"{tmp_path}/q*")
    assert pattern.paths(there) == [f"{tmp_path}/{name}" for name in ("q", "q1", "q2", "q9")]
    assert there.queue_directory == str(tmp_path)


def test_a_directory_of_two_names_is_one(tmp_path: Path) -> None:
    for name in ("q1", "q2"):
        (tmp_path / name).mkdir()
    (tmp_path / "q3").symlink_to("q1")
    (tmp_path / "q4").symlink_to("q5")
    (tmp_path / "q5").symlink_to("q4")
    assert pattern.paths(options(f"{tmp_path}/q*")) == [f"{tmp_path}/q1", f"{tmp_path}/q2"]


def test_a_star_alone_means_all(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert pattern.paths(options(f"{tmp_path}/*")) == [f"{tmp_path}/a"]


@pytest.mark.parametrize("name", ["q 1", "q\t1", "q\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_name_that_could_not_be_told_from_others_means_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "q1").mkdir()
    assert pattern.paths(options(f"{tmp_path}/q*")) == [f"{tmp_path}/q1"]


def test_no_directory_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(pattern.NoQueueDirectory) as caught:
        pattern.paths(options(f"{tmp_path}/q*"))
    assert caught.value.filename == f"{tmp_path}/q*"
    assert f"mkdir -m 1730 {tmp_path}/q1" in str(caught.value)
    assert directories.why_not_queue(options(f"{tmp_path}/q*")).startswith(f"{tmp_path}/q*: there")


@pytest.mark.parametrize("value", ["/var/*/mqueue", "/var/spool/q*s", "/var/spool/q**", "q*", "*"])
def test_a_star_elsewhere_is_refused(value: str) -> None:
    with pytest.raises(OptionError):
        options(value)


def test_one_directory_that_can_be_used_is_enough(tmp_path: Path) -> None:
    for name in ("q1", "q2"):
        (tmp_path / name).mkdir()
    there = options(f"{tmp_path}/q*")
    if os.geteuid():
        (tmp_path / "q1").chmod(0)
        assert directories.why_not_queue(there) == ""
        (tmp_path / "q2").chmod(0)
        assert "Permission denied" in directories.why_not_queue(there)
        for name in ("q1", "q2"):
            (tmp_path / name).chmod(0o700)
    assert directories.why_not_queue(there) == ""


def test_what_is_kept_for_the_whole_queue_lies_beside_where_its_directories_are(
    tmp_path: Path,
) -> None:
    """As before there were several: the administrator goes over to them, and all is still known."""
    assert options("/var/spool/mqueue/q*").queue_directory == "/var/spool/mqueue"
    assert options("/mqueue*").queue_directory == "/"


def test_the_oldest_of_all_are_found_by_their_ids() -> None:
    some = ["q1/6AM9CfOn000099", "q2/6AM9CfOn000096", "q3/6AM9CfOn000097", "q1/6AM9CfOn000098"]
    assert directories.oldest(some, 2) == ["q2/6AM9CfOn000096", "q3/6AM9CfOn000097"]
