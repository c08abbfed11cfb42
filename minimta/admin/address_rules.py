"""What else holds for an address, beside the way of its mail: how it is shown, who may use it, TLS.

    as a sender: leaves as emma@example.org, From: emma@example.org (genericstable line 3)
    access: from it REJECT (550 5.7.1 Access denied), by /etc/mail/access line 12
    MTA-STS of lab2.campus: enforce, mx.lab2.campus, fetched Nov 22 09:37

Only what differs from the usual is told. Nothing is asked of the network: what MTA-STS says is what was
fetched for mail, and DANE is asked when mail is sent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from minimta.config.options import Options
from minimta.listener.access import AccessRows, Verdict
from minimta.mailers.remote import sts_cache
from minimta.maps import text_table
from minimta.maps.table import all_rows
from minimta.message import address, dates
from minimta.routing import rewrite
from minimta.routing.local_host import LocalHost
from minimta.system import log


class AddressRules:
    """Looks up tables of this host."""

    def __init__(self, here: LocalHost) -> None:
        self._here = here
        self._options: Options = here.options
        #: the key of the access table that was found last
        self._found = b""

    def lines(self, bare: bytes) -> Iterator[str]:
        """What is to be told of the *bare* address."""
        if address.why_special(bare):
            return
        for told in (self._sender, self._access, self._sts):
            try:
                yield from told(bare)
            except (OSError, ValueError) as error:
                where = getattr(error, "filename", None) or ""
                reason = getattr(error, "strerror", None) or str(error)
                yield f"cannot be told now: {log.clean(f'{where} {reason}'.strip())}"

    def _sender(self, bare: bytes) -> Iterator[str]:
        if not self._here.router.is_local(address.split(bare)[1]):
            return
        rewriter = rewrite.rewriter(self._here, time.time)
        usual = address.qualified(bare, self._here.name)
        if rewriter is None:
            return
        envelope = rewriter.sender(usual, "esmtp")
        field = rewriter.field(b"From: " + usual, "esmtp").partition(b": ")[2]
        if (envelope, field) != (usual, usual):
            shown = f"leaves as {log.clean(envelope)}, From: {log.clean(field)}"
            yield f"as a sender: {shown}{self._because(usual)}"

    def _because(self, bare: bytes) -> str:
        """The row of GenericsTable, or the option that rewrites it."""
        local, domain = address.split(bare.lower())
        keys = (bare.lower(), b"@" + domain, local)
        table = self._options.generics_table
        number = next((line for key in keys if (line := text_table.line_of(table, key))), 0)
        if number:
            return f" ({log.clean(table)} line {number})"
        masquerade = self._options.masquerade_as
        return f" (MasqueradeAs = {log.clean(masquerade)})" if masquerade else ""

    def _access(self, bare: bytes) -> Iterator[str]:
        path = self._options.access_file
        rows = AccessRows(self._noting(all_rows(path).get), path)
        is_ours = self._here.is_local(bare)
        full = address.qualified(bare, self._here.name)
        questions: list[tuple[str, Callable[[], Verdict | None]]] = [
            ("from it", lambda: rows.sender(full)),
            (
                "to it",
                lambda: rows.recipient(
                    full, is_ours=is_ours, untagged=self._options.blocklist_recipients
                ),
            ),
        ]
        for what, ask in questions:
            found = ask()
            if found is not None:
                refusal = found.refusal
                said = f" ({refusal.code} {refusal.status} {refusal.text})" if refusal else ""
                reason = f" ({found.reason})" if found.reason else ""
                line = text_table.line_of(path, self._found)
                where = f"{log.clean(path)} line {line}" if line else log.clean(path)
                yield f"access: {what} {found.word}{said}{reason}, by {where}"

    def _noting(self, get: Callable[[bytes], bytes | None]) -> Callable[[bytes], bytes | None]:
        def noting(key: bytes) -> bytes | None:
            value = get(key)
            if value is not None:
                self._found = key
            return value

        return noting

    def _sts(self, bare: bytes) -> Iterator[str]:
        domain = address.split(bare)[1].decode("ascii", "replace").lower()
        path = sts_cache.beside(self._options.queue_directory)
        if not domain or self._here.router.is_local(domain.encode()) or not os.path.isdir(path):
            return
        cache = sts_cache.StsCache(path)
        cache.open()
        try:
            known = cache.known(domain)
        finally:
            cache.close()
        if known is None or not known.holds(time.time()):
            return
        when = dates.queue_time_verbose(known.fetched)
        patterns = ", ".join(map(log.clean, known.policy.mx))
        yield f"MTA-STS of {log.clean(domain)}: {known.policy.mode}, {patterns}, fetched {when}"
