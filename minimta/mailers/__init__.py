"""Mailers: what brings a message to its recipients. ``job`` is their interface, ``by_name`` the table."""
