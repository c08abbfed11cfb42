"""``minimta trace ID``: the story of one message, from queue and log."""
