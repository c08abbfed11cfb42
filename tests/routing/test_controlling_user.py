"""Who answers for an expansion, as the C line keeps it, the log shows it and a bounce names it."""

from __future__ import annotations

import pytest

from minimta.message.envelope import Recipient
from minimta.routing import controlling_user

ALIAS = b"list:1:0:<list@lab2.campus>"
INCLUDE = b":include:/etc/lists/l:1001:50:<list@lab2.campus>"
OWNED = b"list:1:0:carol"


@pytest.mark.parametrize(
    ("line", "flags", "named", "shown", "owner"),
    [
        (b"", "PFD", b"", "", None),
        (ALIAS, "FDA", b"<list@lab2.campus>", "<list@lab2.campus> (1/0)", None),
        (INCLUDE, "FDA", b"<list@lab2.campus>", ":include:/etc/lists/l (1001/50)", None),
        (OWNED, "FDAO", b"list", "carol (1/0)", b"carol"),
        (b"odd\x1b[2J:1:0:a\x07", "FDA", b"a\x07", "a? (1/0)", None),
    ],
)
def test_a_c_line_says_who_led_there(
    line: bytes, flags: str, named: bytes, shown: str, owner: bytes | None
) -> None:
    recipient = Recipient(b"dave", flags, controlling_user=line)
    assert controlling_user.named(recipient) == named
    assert controlling_user.shown(recipient) == shown
    assert controlling_user.owner(recipient) == owner
