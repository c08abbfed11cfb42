"""``minimta setup``: from a provider's name and a password to mail that goes out."""
