"""The access table: which row counts, and what it means."""

from __future__ import annotations

import pytest

from minimta.listener.access import AccessRows, verdict


def rows(text: str) -> AccessRows:
    pairs = [line.split(None, 1) for line in text.strip().splitlines()]
    table = {key.lower().encode(): value.encode() for key, value in pairs}
    return AccessRows(table.get, "access")


def word(table: str, ip: str = "10.0.3.4", name: str = "", confirmed: bool = True) -> str:
    found = rows(table).client(ip, name, confirmed=confirmed)
    return found.word if found else ""


# --- right-hand sides -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["OK", "RELAY", "DISCARD", "SKIP", "ok", " Relay "])
def test_a_word_is_a_verdict_without_a_refusal(text: str) -> None:
    found = verdict(text.encode())
    assert (found.word, found.refusal) == (text.strip().upper(), None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("REJECT", (550, "5.7.1", "Access denied")),
        ("reject", (550, "5.7.1", "Access denied")),
        ("ERROR:5.7.1:550 Go away, pest", (550, "5.7.1", "Go away, pest")),
        ('ERROR:5.7.1:"550 Go away"', (550, "5.7.1", "Go away")),
        ('"ERROR:5.7.1:550 Go away"', (550, "5.7.1", "Go away")),
        ("ERROR:4.7.0:450 Come back later", (450, "4.7.0", "Come back later")),
        ("ERROR:550 No", (550, "5.0.0", "No")),
        ('ERROR:"550 No"', (550, "5.0.0", "No")),
        ("ERROR:450 Later", (450, "4.0.0", "Later")),
        ("553 We do not like you", (553, "5.0.0", "We do not like you")),
        ("550 5.7.1 No", (550, "5.7.1", "No")),
        ("421 Too much", (421, "4.0.0", "Too much")),
    ],
)
def test_refusals_have_code_status_and_text(text: str, told: tuple[int, str, str]) -> None:
    found = verdict(text.encode()).refusal
    assert found is not None
    assert (found.code, found.status, found.text) == told


def test_what_is_held_has_a_reason() -> None:
    found = verdict(b"Quarantine: held for inspection")
    assert (found.word, found.reason, found.accepts) == ("QUARANTINE", "held for inspection", False)


@pytest.mark.parametrize("text", ["REJCT", "", "yes", "5500 x", "250 fine", "QUARANTINE:"])
def test_what_means_nothing_is_an_error_and_not_a_verdict(text: str) -> None:
    with pytest.raises(ValueError, match=r"nothing"):
        verdict(text.encode())


def test_a_misspelt_word_is_put_right_in_the_message() -> None:
    with pytest.raises(ValueError, match="did you mean REJECT"):
        verdict(b"REJCT")


# --- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "ip", "name"),
    [
        ("Connect:10.0.3.4", "10.0.3.4", ""),
        ("Connect:10.0.3", "10.0.3.4", "lab1.campus"),
        ("Connect:10", "10.0.3.4", ""),
        ("10.0.3.4", "10.0.3.4", ""),
        ("10.0", "10.0.3.4", ""),
        ("Connect:IPv6:2001:db8", "2001:db8::7", ""),
        ("Connect:IPv6:2001:db8::", "2001:db8::7", ""),
        ("Connect:IPv6:2001:db8::7", "2001:db8::7", ""),
        ("Connect:IPv6:2001:db8:0:0:0:0:0:7", "2001:db8::7", ""),
        ("IPv6:2001", "2001:db8::7", ""),
        ("Connect:lab1.campus", "10.0.3.4", "lab1.campus"),
        ("Connect:campus", "10.0.3.4", "lab1.campus"),
        ("Connect:CAMPUS", "10.0.3.4", "Lab1.Campus"),
        ("campus", "10.0.3.4", "deep.lab1.campus"),
    ],
)
def test_rows_for_clients(key: str, ip: str, name: str) -> None:
    assert word(f"{key} REJECT", ip, name) == "REJECT"


@pytest.mark.parametrize(
    ("key", "ip", "name"),
    [
        ("Connect:10.0.3.40", "10.0.3.4", ""),
        ("Connect:10.0.3.", "10.0.3.4", ""),
        ("Connect:0.3.4", "10.0.3.4", ""),
        ("Connect:1", "10.0.3.4", ""),
        ("Connect:IPv6:2001:d", "2001:db8::7", ""),
        ("Connect:lab1.campus", "10.0.3.4", "xlab1.campus"),
        ("Connect:lab1.campus", "10.0.3.4", "campus"),
        ("From:10.0.3.4", "10.0.3.4", ""),
        ("To:lab1.campus", "10.0.3.4", "lab1.campus"),
    ],
)
def test_rows_for_others(key: str, ip: str, name: str) -> None:
    assert word(f"{key} REJECT", ip, name) == ""


def test_the_nearer_row_counts_and_the_tag_before_none() -> None:
    table = "Connect:10.0.3.4 OK\n10.0.3.4 REJECT\nConnect:10.0.3 REJECT\n"
    assert word(table) == "OK"
    assert word("10.0.3.4 DISCARD\nConnect:10.0.3 REJECT") == "DISCARD"


def test_the_name_counts_before_the_address() -> None:
    table = "Connect:lab1.campus OK\nConnect:10.0.3.4 REJECT"
    assert word(table, name="lab1.campus") == "OK"


def test_skip_ends_the_search_upwards() -> None:
    assert word("Connect:10.0.3.4 SKIP\nConnect:10.0.3 REJECT") == ""
    assert word("Connect:a.campus SKIP\nConnect:campus REJECT", name="a.campus") == ""
    # ... of the name; the address is asked as well.
    assert word("Connect:a.campus SKIP\nConnect:10 REJECT", name="a.campus") == "REJECT"


def test_a_name_that_does_not_lead_back_may_only_refuse() -> None:
    assert word("Connect:campus OK", name="lab1.campus", confirmed=False) == ""
    assert word("Connect:campus REJECT", name="lab1.campus", confirmed=False) == "REJECT"
    assert word("campus OK\n10 REJECT", name="lab1.campus", confirmed=False) == "REJECT"


@pytest.mark.parametrize(
    ("table", "name", "confirmed", "may"),
    [
        ("Connect:10.0.3 RELAY", "", False, True),
        ("10.0.3.4 RELAY", "x.campus", False, True),
        ("Connect:10.0.3 OK", "", False, False),
        ("Connect:campus RELAY", "x.campus", True, True),
        ("Connect:campus RELAY", "x.campus", False, False),
        ("Connect:x.campus OK\nConnect:10 RELAY", "x.campus", True, True),
        ("From:campus RELAY", "x.campus", True, False),
        ("To:10.0.3.4 RELAY", "x.campus", True, False),
    ],
)
def test_who_may_relay(table: str, name: str, confirmed: bool, may: bool) -> None:
    assert rows(table).may_relay("10.0.3.4", name, confirmed=confirmed) is may


# --- senders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "bare"),
    [
        ("From:emma@lab1.campus", b"emma@lab1.campus"),
        ("From:Emma@LAB1.campus", b"EMMA@lab1.Campus"),
        ("From:emma@lab1.campus", b'"emma"@lab1.campus.'),
        ("From:emma@lab1.campus", b"e\\mma@lab1.campus"),
        ("From:emma@", b'e"mm"a@anywhere.example'),
        ("From:emma@lab1.campus", b"emma+x@lab1.campus"),
        ("From:emma+*@lab1.campus", b"emma+x@lab1.campus"),
        ("From:emma+x@lab1.campus", b"emma+x@lab1.campus"),
        ("emma@lab1.campus", b"emma@lab1.campus"),
        ("From:emma@", b"emma@anywhere.example"),
        ("From:emma@", b"emma+x@anywhere.example"),
        ("emma@", b"emma"),
        ("From:campus", b"emma@lab1.campus"),
        ("campus", b"emma@lab1.campus"),
        ("From:[10.0.3]", b"emma@[10.0.3.4]"),
    ],
)
def test_rows_for_senders(key: str, bare: bytes) -> None:
    found = rows(f"{key} REJECT").sender(bare)
    assert found is not None and found.word == "REJECT"


@pytest.mark.parametrize(
    ("key", "bare"),
    [
        ("From:emma", b"emma@lab1.campus"),
        ("From:emma@lab1.campus", b"xemma@lab1.campus"),
        ("From:emma@campus", b"emma@lab1.campus"),
        ("From:emma+x@lab1.campus", b"emma@lab1.campus"),
        ("Connect:campus", b"emma@lab1.campus"),
        ("To:emma@lab1.campus", b"emma@lab1.campus"),
    ],
)
def test_rows_for_other_senders(key: str, bare: bytes) -> None:
    assert rows(f"{key} REJECT").sender(bare) is None


def test_the_address_counts_before_the_user_and_that_before_the_domain() -> None:
    table = "From:emma@lab1.campus OK\nFrom:emma@ DISCARD\nFrom:lab1.campus REJECT"
    found = [
        rows(table).sender(bare) for bare in (b"emma@lab1.campus", b"emma@x", b"x@lab1.campus")
    ]
    assert [one.word for one in found if one] == ["OK", "DISCARD", "REJECT"]


# --- recipients -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "is_ours", "untagged", "found"),
    [
        ("To:dave@lab2.campus", True, False, True),
        ("To:lab2.campus", True, False, True),
        ("To:dave@", True, False, True),
        ("To:dave@", False, True, False),
        ("dave@lab2.campus", True, False, False),
        ("dave@lab2.campus", True, True, True),
        ("lab2.campus", False, True, True),
        ("dave@", True, True, True),
    ],
)
def test_rows_for_recipients(key: str, is_ours: bool, untagged: bool, found: bool) -> None:
    table = rows(f"{key} REJECT")
    one = table.recipient(b"dave@lab2.campus", is_ours=is_ours, untagged=untagged)
    assert (one is not None) is found


@pytest.mark.parametrize(
    ("key", "domain", "goes"),
    [
        ("To:sink.campus RELAY", b"sink.campus", True),
        ("To:sink.campus RELAY", b"Deep.Sink.campus.", True),
        ("sink.campus RELAY", b"sink.campus", True),
        ("To:sink.campus OK", b"sink.campus", False),
        ("To:sink.campus RELAY", b"xsink.campus", False),
        ("From:sink.campus RELAY", b"sink.campus", False),
        ("Connect:sink.campus RELAY", b"sink.campus", False),
    ],
)
def test_where_anybody_may_send(key: str, domain: bytes, goes: bool) -> None:
    assert rows(key).relays_to(domain) is goes


def test_spam_rows_have_their_tag_and_the_address_counts_first() -> None:
    table = rows("Spam:dave@lab2.campus FRIEND\nSpam:lab2.campus HATER\nSpam:carol@ FRIEND")
    assert table.spam(b"dave@lab2.campus", is_ours=True) == "FRIEND"
    assert table.spam(b"emma@lab2.campus", is_ours=True) == "HATER"
    assert table.spam(b"carol@lab3.campus", is_ours=True) == "FRIEND"
    assert table.spam(b"carol@lab3.campus", is_ours=False) == ""
    assert rows("dave@lab2.campus FRIEND").spam(b"dave@lab2.campus", is_ours=True) == ""


# --- numbers --------------------------------------------------------------------------------------


def test_numbers_are_of_the_nearest_network_and_else_of_the_row_without_one() -> None:
    table = rows("ClientRate:10.0.3.4 2\nClientRate:10 0\nClientRate: 100\n10.0.3.5 7")
    found = [table.number("clientrate", ip) for ip in ("10.0.3.4", "10.0.3.5", "192.0.2.1")]
    assert found == [2, 0, 100]
    assert table.number("clientconn", "10.0.3.4") is None
    with pytest.raises(ValueError, match="no number"):
        rows("ClientRate: many").number("clientrate", "10.0.3.4")
