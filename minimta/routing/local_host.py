"""This host as far as addresses need it: names, users, aliases, routes, DefaultUser. One a process.

Everything is opened when it is first asked for: a command that only writes to the queue reads no
alias database, and mail to users of this host does not depend on the mailer table. Users,
aliases and VirtUserTable see changes; names and routes are those of the first question, so whoever runs for long
makes a LocalHost for each attempt, or keeps one on purpose (the listener, which has no right to
read the tables later: ``read_tables``).
"""

from __future__ import annotations

import os
import time

from minimta.aliases.lookup import Aliases
from minimta.message import address, fullname
from minimta.routing.route import Router
from minimta.system import files, hostnames
from minimta.system.users import User, Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.options import Options
    from minimta.maps.table import Table
    from minimta.routing.route import Route


class LocalRecipient:
    """What stands behind the local part of an address of ours."""

    __slots__ = ("alias", "detail", "elsewhere", "stands_in", "user", "value")

    def __init__(
        self,
        *,
        alias: bytes | None = None,
        value: bytes = b"",
        user: User | None = None,
        detail: bytes = b"",
    ) -> None:
        """An alias has *alias* and *value*, a user *user* and *detail*, nobody none of them."""
        #: name of the alias that counts, b"list+*" for list+x; b"" if postmaster needs none; or None
        self.alias = alias
        #: the alias's right-hand side, which may lead to nobody
        self.value = value
        #: the user, if there is no alias
        self.user = user
        #: b"lists" of dave+lists if the user is dave, b"" for dave alone or a user "dave+lists"
        self.detail = detail
        #: another host, or a refusal, instead of the mailbox: LuserRelay, MailHub, LocalRelay
        self.elsewhere: Route | None = None
        #: nobody has the name, and LuserRelay says who gets the mail
        self.stands_in = False

    @property
    def is_known(self) -> bool:
        """Is there an alias, a user, or another host that takes the mail?"""
        return self.alias is not None or self.user is not None or self.elsewhere is not None


class LocalHost:
    """What is known of this host."""

    __slots__ = (
        "_asks_as_root",
        "_srs_keys",
        "_table",
        "_virtual_domains",
        "_virtual_table",
        "aliases",
        "known",
        "name",
        "options",
        "router",
        "users",
    )

    def __init__(
        self, options: Options, *, asks_as_root: bool = False, remembers: bool = False
    ) -> None:
        """With *asks_as_root* DefaultUser is that of a runner with root's rights, whoever asks.

        One that *remembers* looks nobody up twice: for a process that lives as long as one message.
        """
        self.options = options
        self._asks_as_root = asks_as_root
        #: our full name, "lab2.campus"
        self.name = hostnames.own_name(options)
        self.users = Users(options.passwd_file)
        self.aliases = Aliases(options.alias_files, options.dont_blame)
        #: asked for a domain it reads the names, for one that is not ours the mailer table (OSError)
        self.router = Router(
            lambda: hostnames.local_names(options, name=self.name),
            options.smart_host,
            self._row,
            self._virtual_rows,
            self._signed,
            self.is_virtual,
            options.mail_hub if options.sticky_host else None,
        )
        #: local parts that were looked up; None: every question is a new one
        self.known: dict[bytes, LocalRecipient] | None = {} if remembers else None
        self._table: Callable[[bytes], bytes | None] | None = None
        self._srs_keys: tuple[bytes, ...] = ()
        self._virtual_table: Table | None = None
        self._virtual_domains: frozenset[bytes] | None = None

    def read_tables(self, *, makes_key: bool = False) -> None:
        """Read now what would be read when a route is asked for. Raise OSError, with the path.

        A listener, which has no right to do it later, *makes_key*: that of SRS, if there is none.
        """
        self.router.is_local(b"x")  # not ".": that is no domain, and ours without a look
        self.router.row(b"")
        if makes_key and self.options.virtuser_table:
            # It stays, and is asked often: a Table looks less often whether there is one by now.
            self._virtual_table = self._open_table(self.options.virtuser_table)
        self._virtual_rows()
        self.is_virtual(b"x")
        if self.options.srs_domain:
            try:
                self.srs_keys(makes=makes_key)
            except (PermissionError, FileNotFoundError):
                pass  # whoever may not read it, or make one, only looks

    def _row(self, key: bytes) -> bytes | None:
        if self._table is None:
            self._table = self._mailer_rows()
        return self._table(key)

    def _mailer_rows(self) -> Callable[[bytes], bytes | None]:
        """key -> value of MailerTable. Raise OSError."""
        path = self.options.mailer_table
        if files.may_exist(path + ".cdb"):
            from minimta.maps.table import Table

            return Table(path).rows()
        from minimta.maps import text_table

        return text_table.read_table(path).get

    def _virtual_rows(self) -> Callable[[bytes], bytes | None] | None:
        """key -> value of VirtUserTable as it is now; None without one. Raise OSError."""
        path = self.options.virtuser_table
        if self._virtual_table is None:
            if not path or not files.may_exist(path, path + ".cdb"):
                return None
            self._virtual_table = self._open_table(path)
        return self._virtual_table.rows() if self._virtual_table.is_there() else None

    @staticmethod
    def _open_table(path: str) -> Table:
        from minimta.maps.table import Table  # few hosts have one

        return Table(path)

    def is_virtual(self, domain: bytes, *, entire: bool = False) -> bool:
        """Is *domain* one of VirtUserDomain, whose users are those of VirtUserTable? Raise OSError.

        *entire*: or below one, as always with VirtUserEntireDomain.
        """
        if not self.options.virtuser_domain:
            return False
        from minimta.routing import host_class  # few hosts have the option

        if self._virtual_domains is None:
            self._virtual_domains = host_class.read(self.options.virtuser_domain)
        entire = entire or self.options.virtuser_entire_domain
        return host_class.covers(self._virtual_domains, address.domain_key(domain), entire=entire)

    def srs_keys(self, *, makes: bool = False) -> tuple[bytes, ...]:
        """The keys of SRS, the first signs; it *makes* one if there is none. Raise OSError."""
        if not self._srs_keys:
            from minimta.routing import srs_key

            self._srs_keys = srs_key.read(self.options.srs_key_file, makes=makes)
        return self._srs_keys

    def _signed(self, local_part: bytes, domain: bytes) -> bytes:
        """The sender for whom SRS made an address of SRSDomain; b"" if it is none. Raise OSError."""
        ours = self.options.srs_domain.encode("ascii", "replace")
        is_srs = local_part.lstrip(b'"')[:4].upper() in (b"SRS0", b"SRS1")
        if not ours or not is_srs or address.domain_key(domain) != address.domain_key(ours):
            return b""
        from minimta.routing import srs

        try:
            return srs.original(local_part, self.srs_keys(), time.time())
        except FileNotFoundError:  # nothing was ever signed
            return b""

    def default_user(self) -> User | None:
        """Option DefaultUser, "daemon" or "1:1"; without root the user that we are.

        None if it names nobody, or root: nothing that an alias starts runs as root. Raise OSError
        if users cannot be asked now.
        """
        name = self.options.default_user.partition(":")[0].strip()
        if os.geteuid() != 0 and not self._asks_as_root:
            return User(name, os.geteuid(), os.getegid(), home="/")
        # A PasswdFile need not list the system's own accounts.
        found = self.users.find(name.encode()) or Users().find(name.encode())
        if found is None and name.isascii() and name.isdigit():
            found = self.users.by_uid(int(name)) or Users().by_uid(int(name))
        return found if found is not None and found.uid else None

    def qualified(self, bare: bytes) -> bytes:
        """*bare* with our name behind it if it has no domain; the null reverse-path stays b""."""
        return address.qualified(bare, self.name)

    def is_local(self, bare: bytes) -> bool:
        """Is the domain, or its absence, ours?"""
        domain = address.split(bare)[1]
        return not domain or self.router.is_local(domain)

    def full_name(self, bare: bytes) -> bytes:
        """Of the user whose address *bare* is, from passwd; b"" for anybody else. Raise OSError."""
        if not bare or not self.is_local(bare):
            return b""
        user = self.users.find(address.unquote(address.split(bare)[0]))
        return fullname.from_gecos(user.gecos, user.name) if user else b""

    def key(self, bare: bytes) -> bytes:
        """Equal for addresses that are the same recipient."""
        local, domain = address.split(bare)
        # What VirtUserTable names is somebody else in each domain.
        sticks = self.options.sticky_host and bool(domain)
        if not sticks and self.is_local(bare) and self.router.virtual(local, domain) is None:
            name, is_final = address.local_name(local)
            return b"\\" * is_final + address.folded(name)
        return address.key(bare)
