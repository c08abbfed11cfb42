"""The queue runner (sendmail -q): which messages are tried, each attempt, and the runner that stays."""
