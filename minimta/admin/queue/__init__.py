"""``minimta queue``: what waits, seen and acted upon by who administers it."""
