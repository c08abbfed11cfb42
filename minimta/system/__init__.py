"""What the operating system does for us: files, processes, users, locks, names, the log.

Each outside thing has one importer here; everything above asks that one.
"""
