"""minimta check: what it tells of tables and lists, and where it stands."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from minimta.admin import verbs
from minimta.admin.doctor import examinations
from minimta.config import file as config_file
from minimta.mailers.remote import dkim
from minimta.maps.cdbwriter import write_cdb

TABLES = {
    "AccessFile": "access",
    "TLSPolicy": "tls-policy",
    "DKIMSign": "dkim-sign",
    "AuthInfoFile": "authinfo",
    "SenderRelay": "sender-relay",
    "MailerTable": "mailertable",
    "VirtUserTable": "virtusertable",
    "GenericsTable": "genericstable",
    "RelayDomains": "relay-domains",
    "LocalHostNames": "local-host-names",
    "TrustedUsers": "trusted-users",
    "GenericsDomain": "generics-domains",
    "MasqueradeDomain": "masquerade-domains",
    "ExposedUser": "exposed-users",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tables and lists are looked for here; none is there. Of the machine nothing is looked at."""
    tmp_path.chmod(0o700)
    file = tmp_path / "minimta.cf"
    file.write_text("".join(f"{option} = {tmp_path}/{name}\n" for option, name in TABLES.items()))
    file.chmod(0o644)
    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(file))
    monkeypatch.setattr(examinations, "TABLE", ())
    return tmp_path


def put(place: Path, name: str, text: str | bytes, mode: int = 0o600) -> Path:
    path = place / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def told(capfd: pytest.CaptureFixture[str], place: Path, code: int) -> list[str]:
    """What is said before the verdict on the configuration file, without the directory."""
    assert verbs.main(["check"]) == code
    *lines, last = capfd.readouterr().out.splitlines()
    assert last == f"{place}/minimta.cf: every line is understood"
    return [line.replace(f"{place}/", "") for line in lines]


GOOD = {
    "access": "Connect:10 RELAY\nTLS_Srv: VERIFY+CITag:MyCA\nMyCA:/CN=ca OK\nTry_TLS:x NO\n",
    "tls-policy": "[h.example]:587 verify match=a.example\n.campus none\n. may\n10.0.3.9 encrypt\n",
    "authinfo": 'AuthInfo:h.example "U:emma" "P:s"\nAuthInfo:[h]:587 "U:e" "P:s"\nAuthInfo: U:e P:s\n',
    "dkim-sign": "# example.org 2026a /etc/mail/dkim/example.org.pem\n",
    "sender-relay": "emma@example.org [h.example]:587, h2.example\n@club.example 10.0.3.9:2525\n",
    "mailertable": "lab3.campus esmtp:[10.0.3.1]\n.x local:\ny error:5.7.1:550 No\n. relay:h:2525\n",
    "virtusertable": "a@x.example dave\n@y.example %1@z.example\njoin+*@x.example error:5.1.6:550 No, gone\n",
    "genericstable": "root@vm1.lan alerts@x.example\n@vm1.lan office@x.example\ndave dave.x\n",
    "relay-domains": "# x\nlab1.campus 10.0.3\nIPv6:2001:db8 [10.0.3.4]\nb\u00fccher.example\n",
    "local-host-names": "lab2.campus.\nexample.org [10.0.3.135]\n",
    "trusted-users": "root emma\n",
    "generics-domains": "example.org\n",
    "masquerade-domains": "example.org\n",
    "exposed-users": "root\n",
}


def test_what_is_right_or_not_there_is_not_told(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert told(capfd, place, 0) == []
    assert set(GOOD) == set(TABLES.values())
    for name, text in GOOD.items():
        put(place, name, text)
    assert told(capfd, place, 0) == []


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("access", "Conect:10 OK", "row conect:10: no such tag (did you mean connect?); it does"),
        (
            "access",
            "TLS_Clt: VERFY",
            "row tls_clt:: 'VERFY' is no requirement of TLS (did you mean",
        ),
        ("access", "From:x@ REJCT", "row from:x@: 'REJCT' means nothing (did you mean REJECT?)"),
        ("tls-policy", "h verfy", "row h: 'verfy' is no level of TLS (did you mean verify?)"),
        ("tls-policy", "h fingerprint", "row h: fingerprint needs sha256:... of the certificate"),
        ("tls-policy", "[h]:x25 verify", "row [h]:x25: "),
        (
            "tls-policy",
            "[h.example:587] verify",
            "'[h.example:587]' is no host; wanted: HOST, HOST:PORT",
        ),
        ("tls-policy", "h.example/587 verify", "'h.example/587' is no host; wanted"),
        ("tls-policy", "*.a.example verify", "it does nothing: did you mean .a.example?"),
        ("authinfo", "AuthInfo:h U:emma", "row h: one of P: F: C: S: T: must say what the passwor"),
        ("authinfo", "AuthInf:h.example U:e P:s", "h.example is no port (did you mean AuthInfo:?)"),
        (
            "sender-relay",
            "example.org h",
            "sender is user@domain or @domain: did you mean @example",
        ),
        ("sender-relay", "@a.example", "row @a.example: no next hop"),
        ("sender-relay", "@a.example https://h", "row @a.example: "),
        (
            "mailertable",
            "a.example smpt:h",
            "no mailer:host (did you mean smtp:?); mail for it wai",
        ),
        ("mailertable", "*.a.example esmtp:h", "it does nothing: did you mean .a.example?"),
        (
            "dkim-sign",
            "a.example /key.pem",
            "row a.example: a row has domain, selector and the path",
        ),
        ("dkim-sign", "a.example s; /key.pem", "domain and selector are names of DNS"),
        ("virtusertable", "x.example dave", "or @domain, is wanted: did you mean @x.example?"),
        ("virtusertable", "@ dave", "an address, or @domain, is wanted"),
        (
            "virtusertable",
            "a@x dave, emma",
            "'dave, emma' is not one address (several are an alias)",
        ),
        ("virtusertable", "a@x |prog", "'|prog' is not one address"),
        ("virtusertable", "a@x error:", "'error:' is not one address"),
        ("virtusertable", "a@x", "'' is not one address"),
        (
            "genericstable",
            "root alerts x.example",
            "'alerts x.example' is no address; mail that it",
        ),
        ("genericstable", "dave", "row dave: '' is no address"),
        ("relay-domains", "10.0.3.0/24", "written as Sendmail does, 10.0.3 for 10.0.3.0/24; it do"),
        ("relay-domains", "*.example.org", "without what stands before example.org; it does nothi"),
        ("relay-domains", "emma@example.org", "a domain is wanted: did you mean example.org?"),
        ("relay-domains", "2001:db8::", "did you mean IPv6:2001:db8::?"),
        ("relay-domains", "IPv6:lab1", "no network of IPv6"),
        (
            "local-host-names",
            ".example.org",
            "a name is wanted, without what stands before example",
        ),
        ("local-host-names", "a,b", "a,b: no name of a host or domain; it does nothing"),
        ("trusted-users", "emma@lab1", "a user is wanted: did you mean emma?"),
        ("generics-domains", "@example.org", "a domain is wanted: did you mean example.org?"),
        ("masquerade-domains", "*.x", "a name is wanted, without what stands before x"),
        ("exposed-users", "root@x", "a user is wanted: did you mean root?"),
    ],
)
def test_each_wrong_line_is_told_with_file_and_line(
    place: Path, capfd: pytest.CaptureFixture[str], name: str, line: str, text: str
) -> None:
    put(place, name, f"# comment\n\n{line}\n")
    (found,) = told(capfd, place, os.EX_CONFIG)
    assert found.startswith(f"{name}: line 3: ")
    assert text in found


def test_all_are_told_at_once_and_no_secret(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(place, "access", "x OK\nConect:1 OK\nFrom:y REJCT\n")
    put(place, "authinfo", 'AuthInfo:a "U:e" "P:s3cret" "X:s3cret"\nAuthInfo:a "U:e" "P:s3cret"\n')
    found = told(capfd, place, os.EX_CONFIG)
    assert [line.partition(": row")[0] for line in found] == [
        "access: line 2",
        "access: line 3",
        "authinfo: line 1",
        "authinfo: line 2",
    ]
    assert "s3cret" not in "".join(found)


def test_a_second_row_for_the_same_is_a_remark(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(place, "access", "x OK\nX REJECT\nSrv_Features:x S\n")
    put(place, "tls-policy", "h may\nh verify\n")
    remark = "for the same, and counts"
    assert told(capfd, place, 0) == [
        f"access: line 2: Warning: row x: line 1 is {remark}",
        "access: line 3: Warning: row srv_features:x: it does nothing: nothing is offered to some"
        " clients only",
        f"tls-policy: line 2: Warning: row h: line 1 is {remark}",
    ]


@pytest.mark.parametrize(
    ("name", "row", "text"),
    [
        ("access", (b"conect:10", b"OK"), "row conect:10: no such tag"),
        ("tls-policy", (b"h", b"verfy"), "row h: 'verfy' is no level"),
        ("sender-relay", (b"example.org", b"h"), "row example.org: a sender is"),
        ("authinfo", (b"authinfo:h", b"U:emma"), "row h: one of P: F: C: S: T:"),
    ],
)
def test_rows_of_a_database_are_told_by_their_keys(
    place: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    row: tuple[bytes, bytes],
    text: str,
) -> None:
    put(place, name, "this text does not count\n")
    write_cdb(f"{place}/{name}.cdb", [row], 0o600)
    (found,) = told(capfd, place, os.EX_CONFIG)
    assert found.startswith(f"{name}.cdb: {text}")


@pytest.mark.parametrize("name", [name for name in GOOD if name != "authinfo"])
def test_a_file_that_is_no_text_is_told(
    place: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    put(place, name, b"x\0y OK\n")
    assert told(capfd, place, os.EX_CONFIG) == [f"{name}: is no text; what needs it waits"]


def test_logins_that_others_may_read_are_told(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(place, "authinfo", GOOD["authinfo"], 0o644)
    (found,) = told(capfd, place, os.EX_CONFIG)
    assert found == "authinfo: World readable file; it must be root's, mode 600"
    put(place, "authinfo", GOOD["authinfo"])
    write_cdb(f"{place}/authinfo.cdb", [], 0o640)
    (found,) = told(capfd, place, os.EX_CONFIG)
    assert found == "authinfo.cdb: Group readable file; it must be root's, mode 600"


def test_rows_of_login_senders_are_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = f"{(place / 'minimta.cf').read_text()}LoginSenders = {place}/senders\n"
    put(place, "minimta.cf", options, 0o644)
    (found,) = told(capfd, place, os.EX_CONFIG)
    assert found == "senders: No such file or directory; mail of who has logged in waits"
    put(
        place,
        "senders",
        "info@a.example emma, dave\n@b.example dave\ninfo emma\nx@a.example emma dave\n",
        0o644,
    )
    assert told(capfd, place, os.EX_CONFIG) == [
        "senders: line 3: row info: a sender is user@domain or @domain: did you mean @info?",
        "senders: line 4: row x@a.example: 'emma dave' is no list of users with commas between them",
    ]


def test_files_of_secrets_and_tokens_are_looked_at(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(place, "secret", "s3cret\n")
    rows = (
        f"AuthInfo:a U:e F:{place}/secret\nAuthInfo:b U:e F:{place}/none\nAuthInfo:c U:e T:offise\n"
    )
    put(place, "authinfo", rows)
    options = (place / "minimta.cf").read_text()
    put(place, "minimta.cf", f"{options}TokenDirectory = {place}\n", 0o644)
    put(place, "office.json", "{}")
    wait = "mail that it is for waits"
    missing = [
        f"authinfo: line 2: row b: none: No such file or directory; {wait}",
        f"authinfo: line 3: row c: offise.json: No such file or directory"
        f" (did you mean office?); {wait}",
    ]
    assert told(capfd, place, os.EX_CONFIG) == missing
    put(place, "secret", "s3cret\n", 0o644)
    assert told(capfd, place, os.EX_CONFIG) == [
        f"authinfo: line 1: row a: secret: World readable file; it must be root's,"
        f" mode 600; {wait}",
        *missing,
    ]


def test_a_damaged_database_is_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(place, "access.cdb", b"x")
    (found,) = told(capfd, place, os.EX_CONFIG)
    assert found == "access.cdb: corrupt database (too short); what needs it waits"


def test_what_an_ordinary_user_may_not_read_is_no_mistake(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    put(place, "tls-policy", "h may\n")
    monkeypatch.setattr("minimta.admin.check_tables.numbered_rows", closed)
    monkeypatch.setattr("minimta.admin.check_tables._is_root", lambda: False)
    (found,) = told(capfd, place, 0)
    assert found == "tls-policy: Warning: Permission denied; only root can tell what is in it"
    monkeypatch.setattr("minimta.admin.check_tables._is_root", lambda: True)
    assert told(capfd, place, os.EX_CONFIG) == [
        "tls-policy: Permission denied; what needs it waits"
    ]


def test_keys_that_sign_nothing_are_told(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dkim, "load", lambda: None)
    put(place, "dkim-sign", f"a.example s {place}/a.pem\nb.example s {place}/b.pem\n")
    put(place, "a.pem", "key", 0o644)
    assert told(capfd, place, 78) == [
        "dkim-sign: line 1: row a.example: a.pem: Others may read it; it must be root's, mode 600;"
        " mail that it signs waits",
        "dkim-sign: line 2: row b.example: b.pem: No such file or directory; mail that it signs waits",
    ]
    for name in ("a.pem", "b.pem"):
        put(place, name, "key")
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    assert told(capfd, place, 0) == []
    assert len(os.listdir("/proc/self/fd")) == before
