"""Who may send to other hosts, and where anybody may send: relay-domains and the access table.

    a client    loopback and the address that it connected to, unless TrustLoopback is off
                its address, or its name if that leads back to it: RelayDomains, Connect: RELAY
                its certificate, if somebody we trust has signed it: CERTIssuer:, CERTSubject:
    a domain    RelayDomains, VirtUserDomain, To: RELAY; but not for addresses that ask to be sent on from there

Never by sender, HELO or reverse name alone: whoever relays says what they like in these.
"""

from __future__ import annotations

from dataclasses import replace

from minimta.listener.access import AccessRows
from minimta.listener.peer import Peer
from minimta.listener.rights import looks_like_route
from minimta.listener.rights import may_relay as is_loopback
from minimta.listener.shared_state import SharedState
from minimta.message import address
from minimta.system import hostnames, log


def grant(client: Peer, shared: SharedState, rows: AccessRows) -> None:
    """Let *client* relay if *rows* or RelayDomains say so. Raise OSError, ValueError."""
    if client.rights.may_relay:
        return
    proved = client.secured
    if proved is not None and rows.trusts_certificate(proved.certificate):
        client.rights = replace(client.rights, may_relay=True)
        return
    if client.is_nowhere or (is_loopback(client.ip) and not shared.options.trust_loopback):
        return
    ip, name, confirmed = client.ip, client.name, client.is_confirmed
    by_list = shared.relay_domains.covers_client(ip, name, confirmed=confirmed)
    if by_list or rows.may_relay(ip, name, confirmed=confirmed):
        _tell_of_gateway(ip, shared)
        client.rights = replace(client.rights, may_relay=True)


def leads_to(bare: bytes, shared: SharedState, rows: AccessRows) -> bool:
    """May anybody send to *bare*, an address of another host? Raise OSError, ValueError."""
    domain = address.split(bare)[1]
    if not domain or looks_like_route(bare):
        # The host there may take us for a friend, and send on whatever we bring.
        return False
    key = address.domain_key(domain).decode("ascii", "replace")
    # As in Sendmail VirtUserDomain is a part of class R, where what is below a domain counts.
    is_virtual = shared.here.is_virtual(domain, entire=True)
    return is_virtual or shared.relay_domains.covers_domain(key) or rows.relays_to(domain)


def _tell_of_gateway(ip: str, shared: SharedState) -> None:
    """Once for each: an open relay by mistake looks like this."""
    try:
        if ip in shared.told_gateways or ip not in hostnames.gateways():
            return
    except OSError:  # of /proc: it costs a warning, and no mail
        return
    shared.told_gateways.add(ip)
    why = "clients behind it (Docker's proxy, NAT) all have this address, and may relay"
    log.line("", f"Warning: relaying for {ip}, a gateway of this host: {why}", level=1)
