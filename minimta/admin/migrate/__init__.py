"""``minimta import``: the configuration of another mail program, read and said in our words."""
