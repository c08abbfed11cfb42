"""What is known of this host, and that nothing is read before it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.maps.cdbwriter import write_cdb
from minimta.routing.local_host import LocalHost
from minimta.system.users import User


@pytest.fixture
def options(tmp_path: Path) -> Options:
    chosen = Options()
    chosen.host_name = "lab2.campus"
    chosen.local_host_names = str(tmp_path / "names")
    chosen.mailer_table = str(tmp_path / "mailertable")
    chosen.passwd_file = str(tmp_path / "passwd")
    (tmp_path / "passwd").write_text("mta:x:4242:4242::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n")
    (tmp_path / "mailertable").write_text("lab3.campus esmtp:[10.0.3.1]\n")
    return chosen


def test_a_mailer_table_that_cannot_be_read_is_in_the_way_of_other_hosts_only(
    options: Options,
) -> None:
    os.unlink(options.mailer_table)
    os.mkdir(options.mailer_table)
    here = LocalHost(options)
    assert here.router.route(b"dave@lab2.campus").mailer == "local"
    with pytest.raises(IsADirectoryError) as trouble:
        here.router.route(b"dave@lab3.campus")
    assert trouble.value.filename == options.mailer_table
    with pytest.raises(IsADirectoryError):
        here.read_tables()


def test_what_makemap_has_made_of_the_mailer_table_counts_before_it(options: Options) -> None:
    write_cdb(f"{options.mailer_table}.cdb", [(b"lab3.campus", b"esmtp:[10.0.3.2]")])
    assert LocalHost(options).router.route(b"x@lab3.campus").host == "[10.0.3.2]"


def test_tables_that_were_read_serve_who_may_not_read_them(options: Options) -> None:
    Path(options.local_host_names).write_text("list.campus\n")
    here = LocalHost(options)
    here.read_tables()
    os.unlink(options.mailer_table)
    os.unlink(options.local_host_names)
    assert here.router.route(b"x@lab3.campus").host == "[10.0.3.1]"
    assert here.is_local(b"x@list.campus")


@pytest.mark.parametrize(
    ("bare", "whole", "is_local", "key"),
    [
        (b"Dave", b"Dave@lab2.campus", True, b"dave"),
        (b"Dave@LAB2.campus.", b"Dave@LAB2.campus.", True, b"dave"),
        (b'"a b"@localhost', b'"a b"@localhost', True, b"a b"),
        (b"Dave@Lab3.Campus", b"Dave@Lab3.Campus", False, b"Dave@lab3.campus"),
    ],
)
def test_what_this_host_makes_of_an_address(
    options: Options, bare: bytes, whole: bytes, is_local: bool, key: bytes
) -> None:
    here = LocalHost(options)
    assert (here.qualified(bare), here.is_local(bare), here.key(bare)) == (whole, is_local, key)


@pytest.mark.parametrize(
    ("default", "user"),
    [
        ("mta", User("mta", 4242, 4242, home="/", shell="/bin/sh")),
        ("4242:4242", User("mta", 4242, 4242, home="/", shell="/bin/sh")),
        ("root", None),
        ("0", None),
        ("nosuch", None),
    ],
)
def test_the_default_user_of_a_runner_with_rights(
    options: Options, default: str, user: User | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options.default_user = default
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    assert LocalHost(options, asks_as_root=True).default_user() == user


def test_without_rights_the_default_user_is_whoever_we_are(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    options.default_user = "mta:mail"
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    assert LocalHost(options).default_user() == User("mta", 1001, os.getegid(), home="/")
