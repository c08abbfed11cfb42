"""``minimta check`` looks at the machine: a table of examinations, each a small function (examinations.py)."""
