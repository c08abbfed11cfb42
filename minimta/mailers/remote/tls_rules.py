"""What TLS the access table (AccessFile) wants with other hosts: TLS_Srv:, TLS_Rcpt:, Try_TLS:.

    TLS_Srv:mx.example.org       VERIFY:112+CN    a host that is talked to, its domain, address, network
    TLS_Srv:                     ENCR:112         all others
    TLS_Rcpt:emma@example.org    ENCR:112         a recipient; also "emma@", a domain, "TLS_Rcpt:" for all
    Try_TLS:broken.example.org   NO               STARTTLS is not said there
    MyCA:/O=Lab/CN=ca            OK               of CITag:MyCA

A host is the one that is connected to, an MX host as a rule: who can forge MX records gets around a row
for it, and around none of TLS_Rcpt: and TLSPolicy. Of this table and TLSPolicy the stricter counts:
what either wants of a host must be there, and then STARTTLS is said, whatever Try_TLS: says.

    not met            TLS_Srv:: the next host is tried, then the mail waits; PERM+: it is returned
                       TLS_Rcpt:: that recipient waits, or is returned
    no sense in a row  what meets it waits

Rows are read at once, by a process that may; who asks holds no file open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from minimta.config.options import Options
from minimta.mailers.remote.tls_policy import Level, Policy
from minimta.maps import access_keys, table
from minimta.system import tls_requirement
from minimta.system.tls_requirement import Requirement

_TAGS = (b"tls_srv:", b"tls_rcpt:", b"try_tls:")


class TlsRules:
    """The rows of one moment. What asks for them raises ValueError for one that makes no sense."""

    def __init__(self, rows: Mapping[bytes, bytes] | None = None, path: str = "") -> None:
        """*rows* is key -> value, keys in small letters; *path* names the table for people."""
        self._rows = rows or {}
        self.path = path

    @property
    def rows(self) -> Mapping[bytes, bytes]:
        """All of them, key -> value."""
        return self._rows

    @classmethod
    def read(cls, options: Options) -> TlsRules:
        """As the option AccessFile says; no file is no rows. Raise OSError, with the path."""
        path = options.access_file
        if not path:
            return cls()
        rows = dict(table.tagged_rows(path, _TAGS))
        tags = {f"{tag.lower()}:".encode() for value in rows.values() for tag in _named(value)}
        if tags:
            rows |= table.tagged_rows(path, tuple(tags))
        return cls(rows, path)

    def applied(self, policy: Policy, host: str, address: str) -> Policy:
        """*policy* for *host* at *address*, with what the rows want of it. Raise ValueError."""
        required = self.of_server(host, address)
        if required is not None:
            if not policy.is_binding:
                policy = replace(policy, level=Level.ENCRYPT, origin=required.origin)
            return replace(policy, required=required)
        if not policy.is_binding and not self.tries(host, address):
            return replace(policy, level=Level.NONE)
        return policy

    def tries(self, host: str, address: str) -> bool:
        """Is STARTTLS said to *host* at *address*, if nothing wants it (Try_TLS:)? Raise ValueError."""
        found = self._first("Try_TLS", [*_host_keys(host, address), ""])
        if found is None or found[1].upper() == "OK":
            return True
        if found[1].upper() != "NO":
            raise ValueError(
                f"row {found[0]} of {self.path}: {found[1][:60]!r} is neither NO nor OK"
            )
        return False

    def of_server(self, host: str, address: str) -> Requirement | None:
        """What *host* at *address* must have (TLS_Srv:), None if nothing. Raise ValueError."""
        return self._requirement("TLS_Srv", [*_host_keys(host, address), ""])

    def of_recipient(self, bare: bytes) -> Requirement | None:
        """What the host must have that gets mail for *bare* (TLS_Rcpt:), None if nothing. Raise ValueError."""
        local, domain = access_keys.parts(bare)
        full = access_keys.full_keys(local, domain) if domain else ()
        keys = [*full, *access_keys.user_keys(local), *access_keys.domain_keys(domain), ""]
        return self._requirement("TLS_Rcpt", keys)

    def allows(self, key: str) -> bool:
        """Has the table *key*, "MyCA:/CN=ca", with OK?"""
        return self._rows.get(key.lower().encode(), b"").strip().upper() == b"OK"

    def _requirement(self, tag: str, keys: list[str]) -> Requirement | None:
        found = self._first(tag, keys)
        if found is None:
            return None
        origin = f"row {found[0]} of {self.path}"
        try:
            return tls_requirement.read(found[1], origin)
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error

    def _first(self, tag: str, keys: list[str]) -> tuple[str, str] | None:
        for key in keys if self._rows else ():
            whole = f"{tag.lower()}:{key}".encode("utf-8", "surrogateescape")
            value = self._rows.get(whole)
            if value is not None:
                return f"{tag}:{key}", value.decode("utf-8", "replace").strip()
        return None


def _host_keys(host: str, address: str) -> list[str]:
    """ "[mx.campus]" in the configuration is mx.campus; "[10.0.3.9]" is an address."""
    name = host.removeprefix("[").removesuffix("]")
    name = "" if name == address else name
    return [*access_keys.domain_keys(name), *access_keys.address_keys(address)]


def _named(value: bytes) -> list[str]:
    """The tags that a row wants to be looked up (CITag:)."""
    try:
        wanted = tls_requirement.read(value.decode("utf-8", "replace"))
    except ValueError:
        return []
    return [of for wish, of in (wanted.wishes if wanted else ()) if wish == "CITag"]
