from __future__ import annotations

import pytest

from minimta.routing.refusal import error_of
from minimta.routing.route import Route, Router

LOCAL = frozenset((b"lab2.campus", b"lab2", b"localhost", b"[10.0.3.135]"))


@pytest.mark.parametrize(
    "address",
    [b"dave", b"dave@lab2.campus", b"dave@LAB2.Campus", b"dave@lab2.campus.", b"dave@[10.0.3.135]"],
)
def test_our_names_in_any_case_are_local(address: bytes) -> None:
    assert Router(LOCAL).route(address) == Route("local", "", b"dave")


def test_detail_stays_in_the_local_part() -> None:
    assert Router(LOCAL).route(b"dave+info@lab2.campus") == Route("local", "", b"dave+info")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (b"x@lab3.campus", "lab3.campus"),
        (b"x@LAB3.campus.", "lab3.campus"),
        (b"x@[10.0.3.136]", "[10.0.3.136]"),
        (b"x@[IPv6:2001:db8::1]", "[2001:db8::1]"),
        (b"x@lab2.campus.evil", "lab2.campus.evil"),
    ],
)
def test_another_domain_is_its_own_next_hop(address: bytes, host: str) -> None:
    assert Router(LOCAL).route(address) == Route("esmtp", host, address)


@pytest.mark.parametrize(
    "address",
    [b"a%lab3.campus@lab2.campus", b"lab3.campus!a@lab2.campus", b'"a@lab3.campus"@lab2.campus'],
)
def test_a_local_part_is_never_taken_apart(address: bytes) -> None:
    assert Router(LOCAL).route(address).mailer == "local"


@pytest.mark.parametrize(
    ("smart_host", "host"),
    [
        ("lab3.campus", "lab3.campus"),
        ("[10.0.3.136]", "[10.0.3.136]"),
        ("[127.0.0.1]:2525", "[127.0.0.1]:2525"),
        ("relay:lab3.campus", "lab3.campus"),
        ("esmtp:[127.0.0.1]:2525", "[127.0.0.1]:2525"),
        ("10.9.9.1", "[10.9.9.1]"),
        ("10.9.9.1:587", "[10.9.9.1]:587"),
        ("esmtp:10.9.9.1", "[10.9.9.1]"),
        ("::1", "[IPv6:::1]"),
        ("relay:25", "relay:25"),
        ("[a]:587, 10.9.9.1:465,b", "[a]:587,[10.9.9.1]:465,b"),
        ("relay:[a]:587,::1", "[a]:587,[IPv6:::1]"),
        ("relay:smtp", "smtp"),
        ("[h1]:[h2]", "[h1],[h2]"),
        ("esmtp:[h1]:587:[h2]", "[h1]:587,[h2]"),
    ],
)
def test_the_smart_host_takes_all_that_is_not_local(smart_host: str, host: str) -> None:
    router = Router(LOCAL, smart_host)
    assert router.route(b"x@example.org") == Route("esmtp", host, b"x@example.org")
    assert router.route(b"dave@lab2.campus").mailer == "local"


TABLE = {
    b"lab3.campus": b"esmtp:[10.0.3.136]:2525",
    b".campus": b"relay:gateway.campus",
    b"old.example": b"local:dave",
    b"keep.example": b"local:",
    b"bad.example": b"error:5.7.1:550 Go away",
    b"none.example": b"error:nohost No such host",
    b"two.example": b"esmtp:[a]:587, 10.9.9.1",
    b"list.example": b"relay:[a]:[10.9.9.1]",
    b"slip.example": b"uucp:somewhere",
    b"lab2.campus": b"error:nouser never looked at",
}


@pytest.mark.parametrize(
    ("address", "route"),
    [
        (b"x@lab3.campus", Route("esmtp", "[10.0.3.136]:2525", b"x@lab3.campus")),
        (b"x@a.lab3.campus", Route("esmtp", "gateway.campus", b"x@a.lab3.campus")),
        (b"x@b.campus", Route("esmtp", "gateway.campus", b"x@b.campus")),
        (b"x@campus", Route("esmtp", "smart", b"x@campus")),
        (b"x@old.example", Route("local", "", b"dave")),
        (b"x@keep.example", Route("local", "", b"x")),
        (b"x@bad.example", Route("error", "5.7.1", b"550 Go away")),
        (b"x@none.example", Route("error", "5.1.2", b"No such host")),
        (b"x@two.example", Route("esmtp", "[a]:587,[10.9.9.1]", b"x@two.example")),
        (b"x@list.example", Route("esmtp", "[a],[10.9.9.1]", b"x@list.example")),
        (b"x@other.example", Route("esmtp", "smart", b"x@other.example")),
        (b"x@lab2.campus", Route("local", "", b"x")),
    ],
)
def test_the_mailer_table_comes_before_the_smart_host(address: bytes, route: Route) -> None:
    assert Router(LOCAL, "smart", TABLE).route(address) == route


@pytest.mark.parametrize(
    ("address", "option"),
    [
        (b"x@lab3.campus", "MailerTable"),
        (b"x@b.campus", "MailerTable"),
        (b"x@other.example", "SmartHost"),
        (b"x@[10.0.0.1]", "SmartHost"),
        (b"x@lab2.campus", ""),
        (b"x@bad.example", ""),
    ],
)
def test_the_option_that_names_the_next_hop_is_told(address: bytes, option: str) -> None:
    assert Router(LOCAL, "smart", TABLE).route(address).option == option


@pytest.mark.parametrize("address", [b"x@lab3.campus", b"x@[10.0.0.1]", b"x@[IPv6:::1]"])
def test_a_domain_is_named_by_nobody_but_who_wrote_to_it(address: bytes) -> None:
    assert Router(LOCAL).route(address).option == ""


def test_a_dot_alone_is_the_row_for_the_rest() -> None:
    router = Router(LOCAL, mailer_table={b".": b"esmtp:all.campus"}.get)
    assert router.route(b"x@example.org").host == "all.campus"


def test_a_slip_in_the_mailer_table_is_temporary() -> None:
    route = Router(LOCAL, "", TABLE).route(b"x@slip.example")
    assert (route.mailer, route.host) == ("error", "4.3.5")


@pytest.mark.parametrize(
    ("text", "status"),
    [("5.7.1:550 No", "5.7.1"), ("nouser No", "5.1.1"), ("9.9.9:x", "5.0.0"), ("5.7:x", "5.0.0")],
)
def test_an_error_has_a_status_whatever_was_written(text: str, status: str) -> None:
    assert error_of(text)[0] == status


def test_a_bare_address_in_a_row_has_no_mx_but_one_that_somebody_writes_to_is_a_name() -> None:
    router = Router(LOCAL, mailer_table={b"example.org": b"relay:10.9.9.1:26"}.get)
    assert router.route(b"x@example.org").host == "[10.9.9.1]:26"
    assert router.route(b"x@10.9.9.1").host == "10.9.9.1"
