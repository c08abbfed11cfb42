"""Circles that no address sees among its own ancestors: two recipients that stand for each other.

"henry: root" and "root: henry", and a letter to both: each is left to the other, as a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from minimta.routing.destination import Node


def hidden(left: Sequence[Node], expanded: Mapping[bytes, Node]) -> Iterator[list[Node]]:
    """The local members of each circle from which nothing leads anywhere.

    *left* are the nodes that were left to one of *expanded* (key -> node). What the caller makes of
    one circle counts for the next: a member that has arrived by then leads somewhere.
    """
    for node in left:
        reached, ends = [expanded.get(node.key, node)], False
        for member in reached:  # grows while it is walked
            ends = any(child.has_arrived for child in [member, *member.children])
            if ends:
                break
            into = [expanded.get(child.key, child) for child in member.children]
            reached += [it for it in dict.fromkeys(into) if it not in reached]
        if not ends:
            yield [it for it in reached if it.local_part]
