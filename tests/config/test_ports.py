from __future__ import annotations

import pytest

from minimta.config import ports
from minimta.config.options import Options, by_name
from minimta.config.ports import Port


def one(text: str) -> Port:
    [port] = ports.read(text)
    return port


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("", Port()),
        ("Name=MSA, Port=587, M=E", Port(name="MSA", port=587, modifiers="E")),
        ("Port=smtp,Addr=0.0.0.0, Name=MTA", Port()),
        ("Family=inet,  Name=MTA-v4, Port=smtp, Addr=127.0.0.1, Listen=1024",
         Port(name="MTA-v4", address="127.0.0.1")),
        ("Name=MTA Addr=127.0.0.1 Port=25", Port(address="127.0.0.1")),
        ("Name = MSA , Port = 587", Port(name="MSA", port=587)),
        ("Port=submission", Port(port=587)),
        ("Port=Submissions", Port(port=465)),
        ("Port=smtps", Port(port=465)),
        ("Family=inet6", Port(address="::", family="inet6")),
        ("Addr=", Port(address="0.0.0.0")),
        ("Addr=::1", Port(address="::1", family="inet6")),
        ("Addr=[::1], Family=inet6", Port(address="::1")),
        ("Family=INET6, Addr=IPv6:2001:db8::1", Port(address="2001:db8::1")),
        ("Addr=IPv6:[::1]", Port(address="::1")),
        ("Addr=[127.0.0.1]", Port(address="127.0.0.1")),
        ("Addr=mail.example.org", Port(address="mail.example.org", family="inet")),
        ("Addr=mail.example.org, Family=inet6", Port(address="mail.example.org", family="inet6")),
        ("Modifiers=E O u", Port(modifiers="EOu")),
        ("Modify=CSA", Port(modifiers="CSA")),
        ("Listen=10", Port(backlog=10)),
        ("ReceiveSize=4096, SendSize=8192", Port(receive_size=4096, send_size=8192)),
        ("RcvBufSize=4096, SndBufSize=8192", Port(receive_size=4096, send_size=8192)),
        ("children=5", Port(children=5)),
        ("delayLA=3, refuseLA=9, queueLA=6", Port(delay_la=3, refuse_la=9, queue_la=6)),
        ("refuseLA=0", Port(refuse_la=0)),
        ("DeliveryMode=q", Port(delivery_mode="queueonly")),
        ("DeliveryMode=background", Port(delivery_mode="background")),
        ("N=x,P=1,A=::,F=inet6,M=f,L=2,S=3,R=4,c=5,d=6,r=7,q=8,D=d",
         Port(name="x", port=1, address="::", modifiers="f", backlog=2, send_size=3, receive_size=4,
              children=5, delay_la=6, refuse_la=7, queue_la=8, delivery_mode="deferred")),
        ("n=x, p=1, a=::, f=inet6, m=f, l=2, s=3", Port(
            name="x", port=1, address="::", modifiers="f", backlog=2, send_size=3)),
        ("Port=1, Port=2", Port(port=2)),
    ],
)  # fmt: skip
def test_a_row_is_read_as_sendmail_does(text: str, port: Port) -> None:
    assert one(text) == port


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Prot=25", "unknown key Prot (did you mean Port?)"),
        ("Children=5", "unknown key Children (did you mean children?)"),
        ("RefuseLA=5", "unknown key RefuseLA (did you mean refuseLA?)"),
        ("DelayLA=5", "unknown key DelayLA (did you mean delayLA?)"),
        ("deliverymode=b", "unknown key deliverymode (did you mean DeliveryMode?)"),
        ("SuperSafe=True", "unknown key SuperSafe"),
        ("=5", "unknown key "),
        ("Addr", "'Addr' is none of Name=, Port=, Addr=, "),
        ("Port=70000", "Port: there is no port 70000"),
        ("Port=-1", 'Port: service "-1" unknown'),
        ("Port=2x", "Port: not a number: '2x'"),
        ("Port=nosuchservice", 'Port: service "nosuchservice" unknown'),
        ("Port=", 'Port: service "" unknown'),
        ("Name=", "Name: '' is not a word"),
        ("Name=MTA v4", "Name: 'MTA v4' is not a word"),
        ("Name=M\u00dcA", "Name: 'M\u00dcA' is not a word"),
        ("Addr=10.0.3.1 10.0.3.2", "Addr: '10.0.3.1 10.0.3.2' is not an address"),
        ("Addr=::1, Family=inet", "Addr: ::1 is no address of Family=inet"),
        ("Addr=127.0.0.1, Family=inet6", "Addr: 127.0.0.1 is no address of Family=inet6"),
        ("Family=unix", "Family: 'unix' is not supported, only inet and inet6"),
        ("Listen=0", "Listen: 0 is too small"),
        ("Listen=2147483648", "Listen: 2147483648 is too large"),
        ("ReceiveSize=99999999999", "ReceiveSize: 99999999999 is too large"),
        ("SendSize=99999999999", "SendSize: 99999999999 is too large"),
        ("SendSize=big", "SendSize: not a number: 'big'"),
        ("children=-1", "children: -1 is too small"),
        ("DeliveryMode=i", "DeliveryMode: interactive is not supported for mail by SMTP"),
        ("DeliveryMode=x", "DeliveryMode: 'x' is none of background, "),
        ("InputMailFilters=a;a", "InputMailFilters: a filter stands there twice: 'a a'"),
        ("Name=MSA;a", "'a' is none of Name=, "),
        ("M=Ea, M=aA", "Modifiers: a and A: AUTH cannot be required and not offered"),
        ("M=x", "Modifiers: unknown modifier x"),
    ],
)  # fmt: skip
def test_what_nothing_would_obey_is_refused_with_its_name(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        ports.read(text)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("letter", "bchr")
def test_a_modifier_that_does_nothing_yet_is_refused(letter: str) -> None:
    with pytest.raises(ValueError, match=rf"^Modifiers: {letter} \(.*\) is not supported yet$"):
        ports.read(f"Name=MSA, M=E{letter}")


def test_every_other_modifier_of_sendmail_is_taken() -> None:
    assert one("M=" + "".join(ports.MODIFIERS).replace("a", "")).modifiers == "ACEfOSsu"
    assert one("M=Ea").modifiers == "Ea"


def test_semicolons_stand_between_rows() -> None:
    assert [port.name for port in ports.read("Name=a; Name=b,Port=26")] == ["a", "b"]


@pytest.mark.parametrize("text", ["Addr=127.0.0.1;", "Addr=127.0.0.1 ; ", ";Addr=127.0.0.1"])
def test_a_semicolon_with_nothing_behind_it_opens_no_port_to_the_world(text: str) -> None:
    assert one(text) == Port(address="127.0.0.1")


def test_a_port_does_not_change() -> None:
    port = Port()
    with pytest.raises(AttributeError):
        port.name = "other"
    assert port == Port()
    assert port != Port(name="other")
    assert len({port, Port()}) == 1
    assert "name='MTA'" in repr(port)


@pytest.mark.parametrize(
    ("modifiers", "flags"), [("", b""), ("u", b"u"), ("Eu", b"EE u"), ("uO", b"u OO")]
)
def test_flags_are_written_as_sendmail_does(modifiers: str, flags: bytes) -> None:
    assert Port(modifiers=modifiers).flags == flags


def test_the_command_line_replaces_the_ports_of_the_file_and_its_own_add_up() -> None:
    options, row = Options(), by_name("DaemonPortOptions")
    options.set(row, "Name=a")
    options.set(row, "Name=b")
    assert [port.name for port in options.daemon_ports] == ["a", "b"]
    options.supersede()
    options.set(row, "Name=c")
    options.set(row, "Name=d")
    assert [port.name for port in options.daemon_ports] == ["c", "d"]


def test_old_tls_is_for_a_port_that_asks_for_it() -> None:
    assert not one("Name=MTA").has_weak_tls
    assert one("Name=printers, TLS=1.0").has_weak_tls
    with pytest.raises(ValueError, match=r"^TLS: '1\.3' is none of 1\.0, 1\.1, 1\.2$"):
        one("TLS=1.3")


def test_a_port_may_name_its_filters() -> None:
    assert one("Name=MSA").filters is None
    assert one("Name=MSA, I=").filters == ()
    assert one("Name=MSA, InputMailFilters=a b").filters == ("a", "b")
    first, second = ports.read("I=a;b , M=E; Name=x, I=c")
    assert (first.filters, first.modifiers, second.filters) == (("a", "b"), "E", ("c",))
