"""What this host makes of an address: ours or not, complete or not, known or not."""

from __future__ import annotations

from minimta.aliases.lookup import Aliases
from minimta.maps import open_map
from minimta.message import address
from minimta.routing import recipients
from minimta.routing.route import Router
from minimta.system import hostnames, log
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options


class Locality:
    """What is known of this host, as far as addresses need it."""

    __slots__ = ("aliases", "host", "options", "router", "users")

    def __init__(self, options: Options) -> None:
        self.options = options
        self.host = hostnames.own_name(options)
        self.users = Users(options.passwd_file)
        self.aliases = Aliases(options.alias_files, options.dont_blame)
        table = open_map.read_table(options.mailer_table)
        self.router = Router(hostnames.local_names(options), options.smart_host, table)

    def qualified(self, bare: bytes) -> bytes:
        """*bare* with our name behind it if it has no domain."""
        domain = address.split(bare)[1]
        return bare if domain else b"%b@%b" % (bare, self.host.encode("ascii", "replace"))

    def is_local(self, bare: bytes) -> bool:
        """Is the domain, or its absence, ours?"""
        domain = address.split(bare)[1]
        return not domain or self.router.is_local(domain)

    def key(self, bare: bytes) -> bytes:
        """Equal for addresses that are the same recipient."""
        local, domain = address.split(bare)
        if self.is_local(bare):
            return address.unquote(local).lower()
        return local + b"@" + address.domain_key(domain)

    def is_unknown(self, bare: bytes) -> bool:
        """Is it a local recipient who does not exist? If that cannot be known now: no."""
        try:
            verdict = recipients.recipient_verdict(bare, self.router, self.aliases, self.users)
        except OSError as error:
            log.line("", f"cannot look up {log.clean(bare)}: {error.strerror}")
            return False
        return verdict.local and not verdict.known
