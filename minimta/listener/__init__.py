"""``sendmail -bd`` and ``-bs``: mail comes in by SMTP and goes into the queue; nothing is delivered.

    daemon, supervisor, process        the processes, their rights, SIGHUP
    sockets, threads, shared_state     ports, a thread for each client, what all of them share
    connection, stream, stdio          one client: its octets, its timeouts

What a message meets on its way in; each may say no, for now (4yz) or for good (5yz), and then nothing
of the message is left:

    step              the question                                        where
    connect           too many, too fast, too much load?                  limits, rates
    PROXY             whom does the balancer speak for?                   proxy
    name              what is the client called, and is that sure?        peer, system/hostnames
    rights            may it relay, is it one of us?                      rights, relaying, relay_domains
    access table      Connect: rows; then the block lists                 checks, access, dnsbl
    filters           do they want to hear it at all?                     filtering, milter/chain
    greeting          does it talk first (GreetPause)?                    connection
    HELO, commands    is that in order, and well written?                 smtp/server, smtp/state
    STARTTLS          which certificates; all said before is forgotten    starttls, system/tls
    AUTH              who is it, and how often did it guess?              auth, auth_backend, login_failures
    MAIL              is there room; From: rows; can the sender get       handler, checks, refusals
                      an answer; may this login send as that?             login_senders
    RCPT              To: rows; ours, or may it be relayed?               checks, refusals, routing/recipients
    DATA              too slow, too large; where does it end?             connection, smtp/message_text
    headers           Received first; loops, missing fields               queue/collect, message/received
    filters           what they want to change, refuse, hold              filtering, milter/letter
    durable           df, qf and their directory are on the disk: 250     queue/collect, queue/commit

The queue runner finds the message. VRFY, EXPN and ETRN are in vrfy and handler.
"""
