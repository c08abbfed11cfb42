"""``sendmail -bd`` and ``-bs``: mail comes in by SMTP and goes into the queue; nothing is delivered.

daemon, sockets, limits, threads   the process, its ports, who is let in
connection, stream, stdio          one client: its octets, its timeouts
handler, checks, vrfy              what its commands mean for mail
peer, relay                        who it is, and what it may do
shared_state                       what all of them share
"""
