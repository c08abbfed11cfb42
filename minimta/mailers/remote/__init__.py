"""Mail for other hosts by SMTP, and for an LMTP server of this host.

The runner is root and reads nothing that comes from the network: it forks a worker for each next hop,
as RunAsUser, which may connect and write nothing. What the worker says is checked, and its parent
writes it down.

How a host is chosen and trusted; what breaks off at a step is the reason that mailq shows:

    step              the question                                       where
    next hop          mailer table, SmartHost, or the domain itself?     routing/route
    turn and place    may another connection go there now?               pace, admission
    policy            which row of TLSPolicy is for it?                  tls_policy
    login             which login is for it, and is it to be tried?      logins, credentials, authinfo
    MX                which hosts, in which order; is one of them us?    next_hops, mx_targets
    DNSSEC            who says so, and do we believe it?                 system/dns, system/validator
    addresses         where are they; do they lead away from here?       mx_targets
    memory            was the host not reached a while ago?              host_status
    TLSA              which certificate must it have (DANE)?             dane, system/tlsa
    MTA-STS           does its domain name it, and want a good one?      sts_lookup, sts_cache, sts_policy
    access table      what does TLS_Srv: want of it?                     tls_rules
      all three       what must there be, in the end?                    host_policy
    connect           does it answer, from which address of ours?        connection, peer_stream
    greeting, EHLO    does it want us; is it us?                         delivery, smtp/client
    STARTTLS          is there TLS, with whom?                           connection, handshake, system/tls
                      if not: in clear, or not at all?                   tls_failures
    AUTH              may the password be said to it; does it like it?   auth_dialogue, smtp/sasl
    MAIL to the dot   what can it take, and what did it say?             content, transaction_outcomes

and what is told on the way, each line checked by ``protocol``:

    outcomes          the runner records them, one message after the other      channel, mailer
    hosts, policies   kept for the next attempt                                 findings
    TLS               counted for the owner of the domain                       tls_results

The mailer is ``mailer``, its child ``worker``; what both know of a peer is a ``transport``.
"""
