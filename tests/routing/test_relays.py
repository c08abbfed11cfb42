"""LuserRelay, MailHub, LocalRelay, as ``sendmail -bt`` (ruleset 5) resolves users and nobodies."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.config.option import OptionError
from minimta.config.options import by_name
from minimta.message.envelope import Recipient
from minimta.routing import recipients
from minimta.routing.local_host import LocalHost, LocalRecipient
from minimta.routing.route import Route
from tests.support.privatehost import DOWN, Elsewhere, PrivateHost
from tests.support.smtphost import STRANGER, SmtpHost

EMMA = b"<emma@lab1.campus>"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


def find(host: PrivateHost, name: bytes, **settings: str) -> LocalRecipient:
    for option, text in settings.items():
        host.options.set(by_name(option), text)
    return recipients.find(name, LocalHost(host.options))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("relay:luser.example", Route("esmtp", "luser.example", b"nosuch@luser.example")),
        ("luser.example", Route("esmtp", "luser.example", b"nosuch@luser.example")),
        ("relay:x@luser.example", Route("esmtp", "luser.example", b"x@luser.example")),
        ("x@[luser.example]:587", Route("esmtp", "[luser.example]:587", b"x@luser.example")),
        ("[10.0.0.1]:25", Route("esmtp", "[10.0.0.1]:25", b"nosuch@[10.0.0.1]")),
        ("error:5.7.1:550 no", Route("error", "5.7.1", b"550 no")),
    ],
)
def test_luser_relay_gets_what_is_for_nobody(host: PrivateHost, value: str, where: Route) -> None:
    assert find(host, b"nosuch", LuserRelay=value).elsewhere == where
    assert find(host, b"dave").elsewhere is None
    assert find(host, b"postmaster").elsewhere is None


def test_with_detail_it_gets_that_too(host: PrivateHost) -> None:
    found = find(host, b"nosuch+x", LuserRelay="luser.example")
    assert found.elsewhere == Route("esmtp", "luser.example", b"nosuch+x@luser.example")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("hub.example", Route("esmtp", "hub.example", b"dave@hub.example")),
        ("relay:[10.0.0.1]", Route("esmtp", "[10.0.0.1]", b"dave@[10.0.0.1]")),
        ("esmtp:[hub.example]:2525", Route("esmtp", "[hub.example]:2525", b"dave@hub.example")),
        ("a.example, b.example", Route("esmtp", "a.example,b.example", b"dave@a.example")),
    ],
)
@pytest.mark.parametrize("option", ["MailHub", "LocalRelay"])
def test_a_hub_gets_all_that_is_for_users(
    host: PrivateHost, option: str, value: str, where: Route
) -> None:
    assert find(host, b"dave", **{option: value}).elsewhere == where


def test_luser_relay_comes_before_the_hub_and_that_before_local_relay(host: PrivateHost) -> None:
    all_three = {"LuserRelay": "l.example", "MailHub": "h.example", "LocalRelay": "r.example"}
    nobody = find(host, b"nosuch", **all_three).elsewhere
    user = find(host, b"dave").elsewhere
    assert nobody is not None and nobody.host == "l.example" and nobody.option == "LuserRelay"
    assert user is not None and user.host == "h.example" and user.option == "MailHub"


@pytest.mark.parametrize(
    "value", ["local:", "error:", "a b", "x@", "x y@luser.example", "@x.example"]
)
def test_what_is_no_relay_is_refused(host: PrivateHost, value: str) -> None:
    with pytest.raises(OptionError):
        host.options.set(by_name("LuserRelay"), value)


def test_aliases_come_first_and_forward_files_are_not_read(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "list: carol", "mine: \\dave")
    home = host.root / "home" / "carol"
    home.mkdir()
    (home / ".forward").write_text("y@lab3.campus\n")
    host.options.mail_hub = "[hub.example]"
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt(
        [host.submit(EMMA, b"<list@lab1.campus>", b"<mine@lab1.campus>")]
    )
    assert [(job.host, job.users[0].name) for job in elsewhere.jobs] == [
        ("[hub.example]", b"carol@hub.example")
    ]
    assert len(host.letters("dave")) == 1


def test_a_copy_here_and_the_hubs_are_two(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "list: carol, \\carol")
    host.options.mail_hub = "hub.example"
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, b"<list@lab1.campus>")])
    assert len(elsewhere.jobs) == 1 and len(host.letters("carol")) == 1


def test_a_retry_goes_to_the_same_hub(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "list: carol, nosuch, \\dave")
    host.options.luser_relay, host.options.mail_hub = "l.example", "h.example"
    qid = host.submit(EMMA, b"<list@lab1.campus>")
    down = {b"carol@h.example": DOWN, b"nosuch@l.example": DOWN}
    host.deliverer(esmtp=Elsewhere(down)).attempt([qid])
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([qid])
    names = sorted(user.name for job in elsewhere.jobs for user in job.users)
    assert names == [b"carol@h.example", b"nosuch@l.example"]
    assert len(host.letters("dave")) == 1 and host.letters("emma") == [] and host.files() == []


@pytest.mark.parametrize("alias", ["", "catch: carol"])
def test_a_user_of_this_host_may_take_it(host: PrivateHost, alias: str) -> None:
    host.aliases("postmaster: root", "list: nosuch, y@lab3.campus", *filter(None, [alias]))
    host.options.luser_relay = "local:catch" if alias else "local:carol"
    mailbox = Path(host.options.mailbox_directory, "carol")
    mailbox.mkdir()  # not at once
    qid = host.submit(EMMA, Recipient(b"<list@lab1.campus>", "PFD"))
    host.deliverer().attempt([qid])
    mailbox.rmdir()
    host.deliverer().attempt([qid])
    assert len(host.letters("carol")) == 1 and host.letters("emma") == [] and host.files() == []


def test_if_that_user_does_not_exist_nobody_has_the_name(host: PrivateHost) -> None:
    assert not find(host, b"nosuch", LuserRelay="local:gone").is_known


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("", "550 5.1.1 <nosuch@lab2.campus>... User unknown"),
        ("luser.example", "250 2.1.5 <nosuch@lab2.campus>... Recipient ok"),
        ("local:dave", "250 2.1.5 <nosuch@lab2.campus>... Recipient ok"),
        ("local:gone", "550 5.1.1 <nosuch@lab2.campus>... User unknown"),
        ("error:5.7.1:550 no", "550 5.7.1 <nosuch@lab2.campus>... no"),
    ],
)
def test_rcpt_takes_what_a_relay_takes(tmp_path: Path, value: str, answer: str) -> None:
    smtp = SmtpHost(tmp_path)
    smtp.options.luser_relay = value
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    assert peer.says("RCPT TO:<nosuch@lab2.campus>") == [answer]


def test_no_route_of_a_stranger_is_sent_on(tmp_path: Path) -> None:
    smtp = SmtpHost(tmp_path)
    smtp.options.luser_relay = "luser.example"
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    for local in ("x%evil.example", "evil.example!x", '"x@evil.example"'):
        assert peer.says(f"RCPT TO:<{local}@lab2.campus>")[0].startswith("550 5.7.1")


# --- StickyHost -------------------------------------------------------------------------------------------


def routed(host: PrivateHost, bare: bytes, **settings: str) -> str:
    """Where a recipient goes in the end: a host, or "here"."""
    for option, text in {"StickyHost": "True", **settings}.items():
        host.options.set(by_name(option), text)
    here = LocalHost(host.options)
    found = recipients.look_up(bare, here)
    if found is None:
        route = here.router.route(bare)
        return f"{route.host} {route.user.decode()}"
    return found.elsewhere.host if found.elsewhere else "here" if found.is_known else "nobody"


@pytest.mark.parametrize(
    ("settings", "plain", "complete", "nobody"),
    [
        ({"LocalRelay": "r.example"}, "r.example", "here", "nobody"),
        ({"LuserRelay": "l.example"}, "here", "here", "nobody"),
        ({"MailHub": "h.example"}, "h.example", "h.example dave@lab1.campus", "h.example x@lab1.campus"),
        ({}, "here", "here", "nobody"),
    ],
)  # fmt: skip
def test_a_sticky_address_stays_here_or_goes_to_the_hub_as_it_is(
    host: PrivateHost, settings: dict[str, str], plain: str, complete: str, nobody: str
) -> None:
    """As the rules of FEATURE(stickyhost) have it."""
    assert routed(host, b"dave", **settings) == plain
    assert routed(host, b"dave@lab1.campus", **settings) == complete
    assert routed(host, b"Dave+x@LAB1.campus", **settings).lower() == complete.replace(
        "dave@", "dave+x@"
    )
    assert routed(host, b"x@lab1.campus", **settings) == nobody
    assert routed(host, b"dave@other.example", **settings) == "other.example dave@other.example"


def test_a_sticky_address_is_another_recipient_than_the_name_alone(host: PrivateHost) -> None:
    host.options.sticky_host, host.options.local_relay = True, "r.example"
    host.aliases("postmaster: root", "list: carol, dave@lab1.campus")
    elsewhere = Elsewhere({})
    to = (b"dave", b"<dave@lab1.campus>", b"<list@lab1.campus>")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, *to)])
    assert sorted(user.name for job in elsewhere.jobs for user in job.users) == [
        b"carol@r.example",
        b"dave@r.example",
    ]
    assert len(host.letters("dave")) == 1
    assert host.files() == []


def test_the_hub_of_a_sticky_host_comes_before_the_aliases(host: PrivateHost) -> None:
    host.options.sticky_host, host.options.mail_hub = True, "h.example"
    host.aliases("postmaster: root", "dave: carol")
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, b"<dave@lab1.campus>")])
    assert [user.name for job in elsewhere.jobs for user in job.users] == [b"dave@lab1.campus"]
