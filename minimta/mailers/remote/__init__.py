"""Mail for other hosts by SMTP, and for an LMTP server of this host.

The mailer, in the runner, forks a worker for each next hop. The worker finds the targets
(mx_targets), holds the dialogue (delivery, connection, peer_stream; what to say knows smtp/client)
and tells the outcomes through a channel, in the lines of the protocol.
"""
