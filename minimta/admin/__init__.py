"""``minimta VERB``: the administrator's commands. Nothing imports this room."""
