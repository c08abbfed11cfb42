"""SMTP without a network: commands, replies, and both ends of a session (RFC 5321)."""
