"""Addresses as others shall see them: masquerading and GenericsTable (Sendmail's rulesets 93 and 94).

    an address without a domain, or of localhost, is one of our full name; then the first that fits
    GenericsTable         our full name, GenericsDomain: user+detail@domain, user+*@domain, user@domain,
                          @domain, user+detail, user+*, user; what it gives with a domain is final
    MasqueradeException   stays, as do all below it
    ExposedUser           stays
    MasqueradeAs          takes the place of our names and of every MasqueradeDomain

                              header                        envelope (only with MasqueradeEnvelope)
    senders                   From, Sender, Reply-To ...    reverse-path
    recipients                only with AllMasquerade       never
    mail to users of here     the same, but not with LocalNoMasquerade

A sender of others whose mail is sent on from here to another host becomes one of SRSDomain (``srs``).
Everything else stays octet for octet, and so do bounces about it: what is in the queue is not
touched. In a value of the table %1 is the detail, or for @domain the user. All of it raises OSError
if a file cannot be read now, or has what can be no address: then mail waits.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from minimta.maps.table import SUFFIX, Get, Table
from minimta.message import address, addresslist, headers
from minimta.message.envelope import Recipient
from minimta.routing import host_class
from minimta.routing.local_host import LocalHost
from minimta.system import files

_LOCALHOST = b"localhost"


def rewriter(here: LocalHost, clock: Callable[[], float] = time.time) -> Rewriter | None:
    """What rewrites addresses here; None if nothing does. *clock* gives epoch seconds. Raise OSError."""
    options = here.options
    path = options.generics_table
    is_there = bool(path) and files.may_exist(path, path + SUFFIX)
    if not (is_there or options.masquerade_as or options.always_add_domain or options.srs_domain):
        return None
    return Rewriter(here, Table(path).rows() if is_there else None, clock)


class Rewriter:
    """Rewrites for one LocalHost."""

    def __init__(self, here: LocalHost, generics: Get | None, clock: Callable[[], float]) -> None:
        """*generics* gives the rows of GenericsTable, *clock* gives epoch seconds. Raise OSError."""
        self._clock = clock
        self._srs_domain = here.options.srs_domain.encode("ascii", "replace")
        self._options = options = here.options
        self._here = here
        self._own = address.domain_key(here.name.encode("ascii", "replace"))
        self._masquerade = options.masquerade_as.encode("ascii", "replace")
        self._generics = generics
        self._domains = host_class.read(options.masquerade_domain)
        self._exceptions = host_class.read(options.masquerade_exception)
        self._exposed = host_class.read(options.exposed_users)
        # DIFFERS: Sendmail asks for these only as GenericsDomain; here submission completes addresses.
        self._generic_domains = host_class.read(options.generics_domain) | {self._own}

    def sender(self, bare: bytes, mailer: str, *, is_forwarded: bool = False) -> bytes:
        """The reverse-path for *mailer*; the null one stays null. Raise OSError.

        If it *is_forwarded*, see is_forwarded(), SRS makes an address of ours of those of others.
        """
        if not bare:
            return bare
        shown = self._as_shown(bare, mailer, rewrites=self._options.masquerade_envelope)
        if not is_forwarded or shown != bare or self._is_ours(bare):
            return shown
        if not self._here.router.is_local(self._srs_domain):
            why = f"SRSDomain {self._options.srs_domain} is no name of this host"
            raise OSError(errno.EINVAL, why)
        from minimta.routing import srs

        return srs.forwarded(
            bare, self._srs_domain, self._here.srs_keys(makes=True)[0], self._clock()
        )

    def is_forwarded(self, recipient: Recipient) -> bool:
        """Was the mail for an address of ours, so that its sender has to be rewritten (SRS)?"""
        if not self._srs_domain:
            return False
        first = recipient.final.rpartition(b";")[2].strip() or recipient.address
        bare = address.bare(first)
        return self._here.is_local(bare) or self._here.is_virtual(address.split(bare)[1])

    def _is_ours(self, bare: bytes) -> bool:
        key = address.domain_key(address.split(bare)[1])
        return self._here.router.is_local(key) or key == address.domain_key(self._masquerade)

    def field(self, field: bytes, mailer: str) -> bytes:
        """A header field for *mailer*. Raise OSError."""
        key = headers.name(field)
        if key in addresslist.SENDER_FIELDS:
            rewrites = True
        elif key in addresslist.RECIPIENT_FIELDS:
            rewrites = self._options.all_masquerade
        else:
            return field
        return addresslist.rewrite_field(
            field, lambda bare: self._as_shown(bare, mailer, rewrites=rewrites)
        )

    def _as_shown(self, bare: bytes, mailer: str, *, rewrites: bool) -> bytes:
        is_remote = mailer == "esmtp"
        if not address.split(bare)[1]:
            if not ((is_remote and rewrites) or self._options.always_add_domain):
                return bare
            bare = address.qualified(bare, self._here.name)
        if not rewrites or (self._options.local_no_masquerade and not is_remote):
            return bare
        return self._shown(bare)

    def _shown(self, bare: bytes) -> bytes:
        """A complete address as others shall see it."""
        local, domain = address.split(bare)
        key = address.domain_key(domain)
        if key == _LOCALHOST:
            domain = key = self._own
        generic = self._generic(local, key)
        if address.split(generic)[1]:
            return generic
        if generic:
            local, domain, key = generic, self._own, self._own
        return b"%b@%b" % (local, self._masqueraded(local, key) or domain)

    def _masqueraded(self, local: bytes, key: bytes) -> bytes:
        """The domain in the place of *key*, b"" if that stays."""
        if not self._masquerade or host_class.covers(self._exceptions, key, entire=True):
            return b""
        named = host_class.covers(self._domains, key, entire=self._options.masquerade_entire_domain)
        is_ours = key == self._own or (
            not self._options.limited_masquerade and self._here.router.is_local(key)
        )
        if address.plainest(local.lower()) in self._exposed or not (named or is_ours):
            return b""
        return self._masquerade

    def _generic(self, local: bytes, key: bytes) -> bytes:
        """What GenericsTable has for an address, b"" if nothing. Raise OSError for a slip in it."""
        table = self._generics
        entire = self._options.generics_entire_domain
        if table is None or not host_class.covers(self._generic_domains, key, entire=entire):
            return b""
        for row, argument in _generic_keys(local.lower(), key):
            value = table(row)
            if value is not None:
                return self._checked(row, value.replace(b"%1", argument))
        return b""

    def _checked(self, row: bytes, value: bytes) -> bytes:
        found = addresslist.parse(value, blanks_separate=False)
        if len(found) != 1 or found[0].problem or found[0].address != value:
            why = f"{row!r}: {value!r} is no address"
            raise OSError(errno.EINVAL, why, self._options.generics_table)
        return value


def _generic_keys(written: bytes, key: bytes) -> list[tuple[bytes, bytes]]:
    """Which rows may be meant, in their order, and what %1 is in each.

    The whole local part is that with its quotes, which b'"dave."' needs.
    """
    local = address.plainest(written)
    name, plus, detail = local.partition(b"+")
    ways = [(local, b"")]
    if plus and name:
        ways += [(name + b"+*", detail), (name, b"")]
    complete = [(b"%b@%b" % (way, key), argument) for way, argument in ways]
    return [*complete, (b"@" + key, written), *ways]
