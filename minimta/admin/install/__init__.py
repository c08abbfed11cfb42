"""``minimta install``, ``uninstall``: steps that know whether they are done, and the way back."""
