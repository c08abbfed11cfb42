"""Mailers that write files: mailboxes, Maildirs, and plain files that users name."""
