"""Option RelayDomains: hosts, domains and networks that may relay, and that are relayed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.listener.relay_domains import RelayDomains


def domains(directory: Path, text: str) -> RelayDomains:
    path = directory / "relay-domains"
    path.write_text(text)
    return RelayDomains(str(path))


@pytest.mark.parametrize(
    ("text", "ip", "name", "confirmed", "may"),
    [
        ("lab1.campus", "10.0.3.4", "lab1.campus", True, True),
        ("campus", "10.0.3.4", "lab1.campus", True, True),
        ("LAB1.campus.", "10.0.3.4", "Lab1.CAMPUS", True, True),
        ("lab1.campus", "10.0.3.4", "lab1.campus", False, False),
        ("lab1.campus", "10.0.3.4", "xlab1.campus", True, False),
        ("lab1.campus", "10.0.3.4", "", False, False),
        ("10.0.3.4", "10.0.3.4", "", False, True),
        ("10.0.3", "10.0.3.4", "x", False, True),
        ("10.0.3", "10.0.30.4", "", False, False),
        ("IPv6:2001:db8", "2001:db8::1", "", False, True),
        ("IPv6:2001:db8", "2001:db9::1", "", False, False),
        ("# campus", "10.0.3.4", "lab1.campus", True, False),
        ("", "10.0.3.4", "lab1.campus", True, False),
    ],
)
def test_who_may_relay(
    tmp_path: Path, text: str, ip: str, name: str, confirmed: bool, may: bool
) -> None:
    found = domains(tmp_path, text + "\n").covers_client(ip, name, confirmed=confirmed)
    assert found is may


@pytest.mark.parametrize(
    ("domain", "goes"),
    [
        ("sink.campus", True),
        ("deep.sink.campus", True),
        ("xsink.campus", False),
        ("campus", False),
        ("[10.0.3.4]", False),
    ],
)
def test_where_anybody_may_send(tmp_path: Path, domain: str, goes: bool) -> None:
    text = "sink.campus\n10.0.3\n[10.0.3.4]\n"
    assert domains(tmp_path, text).covers_domain(domain) is goes


def test_changes_are_seen(tmp_path: Path) -> None:
    found = domains(tmp_path, "one.campus\n")
    assert found.words() == {"one.campus"}
    (tmp_path / "relay-domains").write_text("other.campus\n")
    assert found.words() == {"other.campus"}
    (tmp_path / "relay-domains").unlink()
    assert found.words() == frozenset()


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    found = domains(tmp_path, "one.campus\n")
    found.words()
    (tmp_path / "relay-domains").write_bytes(b"one\0campus\n")
    with pytest.raises(OSError):
        found.words()


def test_a_network_with_a_slash_is_told(tmp_path: Path, lines: list[str]) -> None:
    assert not domains(tmp_path, "10.0.3.0/24\n").covers_client("10.0.3.4", "", confirmed=False)
    assert "10.0.3.0/24: networks are written as Sendmail does" in lines[0]


def test_no_option_is_no_names() -> None:
    assert RelayDomains("").words() == frozenset()
