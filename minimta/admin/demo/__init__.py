"""``minimta demo``: the whole way of a letter, played and checked in private roots below var/."""
