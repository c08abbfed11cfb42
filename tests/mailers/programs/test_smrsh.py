"""What the restricted shell takes, and what /bin/sh is given for it. Recorded from Sendmail's."""

from __future__ import annotations

import os

import pytest

from minimta.mailers.programs.smrsh import CommandRefused, restrict

PROGRAMS = {b"/s/out.sh", b"/s/vacation", b"/s/it's", b"/s/b&&c"}


def why_not(path: bytes) -> str:
    return "" if path in PROGRAMS else "stat failed"


@pytest.mark.parametrize(
    ("command", "made"),
    [
        (b"out.sh", b"/s/out.sh"),
        (b"out.sh a b", b"/s/out.sh a b"),
        (b"  out.sh\ta ", b"/s/out.sh\ta "),
        (b"/usr/bin/vacation -a x dave", b"/s/vacation -a x dave"),
        (b"../../out.sh", b"/s/out.sh"),
        (b"out.sh || exit 75", b"/s/out.sh || exit 75"),
        (b"out.sh a && /x/vacation b || exit 75", b"/s/out.sh a && /s/vacation b || exit 75"),
        (b"exec out.sh a", b"exec /s/out.sh a"),
        (b"exec  exec\tout.sh", b"exec exec /s/out.sh"),
        (b"exit 3", b"exit 3"),
        (b"echo 'it is' \"well\"", b"echo 'it is' \"well\""),
        (b"out.sh 'a && out.sh' b", None),
        (b"out.sh 'a && out.sh b'", b"/s/out.sh 'a && /s/out.sh b'"),
        (b"it's", b"'/s/it'\\''s'"),
        (b"b&&c", b"'/s/b&&c'"),
    ],
)
def test_names_become_paths_and_the_rest_stays(command: bytes, made: bytes | None) -> None:
    if made is None:
        with pytest.raises(CommandRefused):
            restrict(command, b"/s", why_not)
    else:
        assert restrict(command, b"/s/", why_not) == made


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (b"/bin/cat", "cat"), (b"cat", "cat"), (b"nosuch a", "nosuch"), (b"/bin/exit 3", "exit"),
        (b"/", ""), (b"exec", "exec"), (b"out.sh && cat", "cat"), (b"out.sh || /bin/id", "id"),
        (b"out.sh;id", "out.sh;id"), (b"X=1 out.sh", "X=1"), (b"! out.sh", "!"), (b". out.sh", "."),
        (b"{ out.sh", "{"), (b"out.sh&&out.sh", "out.sh&&out.sh"), (b"`id`", "`id`"),
        (b"out\x00.sh", "out?.sh"), (b"\xe9\x1b[1m", "??[1m"), (b"out.sh ||| id", "|"),
        (b"*", "*"), (b"\\cat", "\\cat"), (b"out.sh\nid", "out.sh?id"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_directory_is_refused_for_good(command: bytes, name: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        restrict(command, b"/s", why_not)
    assert str(refused.value) == f'"{name}" not available for sendmail programs (stat failed)'
    assert refused.value.logged == f'attempt to use "{name}" (stat failed)'
    assert refused.value.exit_code == os.EX_UNAVAILABLE


@pytest.mark.parametrize("character", "<>^();`$\n\r")
@pytest.mark.parametrize("where", ["out.sh {}x", "out.sh a{}", "out.sh a && out.sh '{}'"])
def test_no_character_leads_the_shell_elsewhere(character: str, where: str) -> None:
    command = where.format(character)
    with pytest.raises(CommandRefused) as refused:
        restrict(command.encode(), b"/s", why_not)
    seen = character if character.isprintable() else "?"
    assert str(refused.value) == f"cannot use {seen} in command"
    shown = command.replace(character, seen)
    assert refused.value.logged == f"attempt to use {seen} in command: {shown}"


@pytest.mark.parametrize("text", [b"|", b"&", b"| id", b"& id", b"&| id", b"a |& id", b"a\0b"])
def test_neither_pipes_nor_the_background(text: bytes) -> None:
    with pytest.raises(CommandRefused, match="cannot use"):
        restrict(b"out.sh " + text, b"/s", why_not)


def test_every_special_octet_is_refused_also_with_the_eighth_bit() -> None:
    allowed = set()
    for octet in range(256):
        try:
            restrict(b"out.sh a%cb" % octet, b"/s", why_not)
        except CommandRefused:
            continue
        allowed.add(octet)
    special = set(b"<|>^();&`$\r\n\0")
    assert allowed == set(range(256)) - special - {octet | 0x80 for octet in special}


@pytest.mark.parametrize(
    "command", [b"", b"  ", b"exec ", b"out.sh &&", b"out.sh || exec ", b"exec \t"]
)
def test_something_must_be_run(command: bytes) -> None:
    with pytest.raises(CommandRefused, match="missing command"):
        restrict(command, b"/s", why_not)
