"""What ``minimta setup`` wants to know: from flags, else asked on a terminal, three things at most.

    who                      login        secret                      sender
    gmail, fastmail          asked        asked                       the login
    office365                asked        an application's id, or,    the login
                                          if that is empty, asked
    ses                      asked        asked                       asked
    sendgrid                 apikey       asked                       asked
    HOST                     asked        asked, if there is a login  asked, if the login is no address
    mx                       -            -                           a name for this host, if it has none;
                                                                      who reads root's mail
    local                    -            -                           who reads root's mail
    nothing, but a flag      -            -                           -
    of the last column

Without a terminal what is missing is an error that names its flag. A secret is read without echo, or
from a file or standard input; it is no argument, and in no text of an error.
"""

from __future__ import annotations

import getpass
import os
import sys
from argparse import Namespace
from dataclasses import dataclass, field

from minimta.admin.checkout import AdminError
from minimta.admin.setup import providers
from minimta.admin.setup.providers import PROVIDERS, MailProvider
from minimta.config.values import host_name, mail_address, smart_host

#: octets of a secret
_MAX_SECRET = 4096
_PLACES = ("mx", "local")
#: flags that say by whom mail goes out, or who logs in there
_OF_PROVIDERS = (
    *("user", "password_file", "host", "port", "region"),
    *("token", "client_id", "client_secret_file", "tenant", "app"),
)
SAME = "as it is"


class Asker:
    """Questions to whoever sits there; counted, for nobody likes more than three."""

    def __init__(self) -> None:
        self.count = 0

    def line(self, question: str, flag: str) -> str:
        """What they type. Raise AdminError without a terminal, naming *flag*."""
        self._begin(flag)
        try:
            return input(f"{question}: ").strip()
        except EOFError:
            raise AdminError(f"{flag} is missing; nothing was changed", os.EX_USAGE) from None

    def secret(self, question: str, flag: str) -> str:
        """The same without echo. Raise AdminError."""
        self._begin(flag)
        try:
            return getpass.getpass(f"{question} (is not shown): ")
        except EOFError:
            raise AdminError(f"{flag} is missing; nothing was changed", os.EX_USAGE) from None

    def _begin(self, flag: str) -> None:
        if not sys.stdin.isatty():
            raise AdminError(f"{flag} is missing, and there is no terminal to ask", os.EX_USAGE)
        self.count += 1


@dataclass(frozen=True, slots=True)
class Answers:
    """What is to be set up. "" of a text: it stays as it is."""

    #: "mx", "local", SAME if mail goes where it goes now, or "" for a provider or host
    place: str
    host: str = ""
    port: int = 0
    #: None for a host that has no row
    provider: MailProvider | None = None
    user: str = ""
    secret: str = field(default="", repr=False)
    #: name of the token of `minimta token`, and the client id with which it is to be got ("": it is there)
    token: str = ""
    client_id: str = ""
    tenant: str = ""
    #: the one address that senders of this host become, or the domain
    sender: str = ""
    domain: str = ""
    #: who gets root's mail
    root_address: str = ""
    #: HostName
    name: str = ""

    @property
    def advice(self) -> str:
        """What most often is the matter with a login there."""
        return self.provider.advice if self.provider else ""


def collect(given: Namespace, asker: Asker, *, own_name: str, has_root_alias: bool) -> Answers:
    """Ask what the flags do not say. Raise AdminError for what makes no sense or is missing."""
    is_small = any((given.sender, given.domain, given.root_address, given.hostname))
    if not given.where and is_small and not given.user:
        return _without_provider(SAME, given, asker, own_name, has_root_alias)
    where, asked = _where(given, asker)
    if where in _PLACES:
        return _without_provider(where, given, asker, own_name, has_root_alias)
    provider = PROVIDERS.get(where.lower()) or providers.by_host(where.lower())
    host, port = _host(where, provider, given)
    user = given.user or (provider.user if provider else "") or asked
    if not user and given.user is None:
        optional = "" if provider else " (empty: it wants no login)"
        prompt = provider.user_prompt if provider else f"User name at {host}"
        user = asker.line(prompt + optional, "--user")
    if provider and not user:
        raise AdminError(f"{provider.title} wants a login (--user)", os.EX_USAGE)
    _checked_user(user)
    if provider and user.rpartition("@")[2].lower() in providers.CONSUMER_DOMAINS:
        host = given.host or providers.CONSUMER_HOST
    token, client_id = _token(given, asker, provider, user)
    _check_login(given, user, client_id)
    secret = "" if token or not user else _secret(given, asker, provider)
    sender = _sender(given, asker, provider, user)
    return Answers(
        "",
        host,
        port or (provider.port if provider else 587 if user else 25),
        provider,
        user,
        secret,
        token,
        client_id,
        _tenant(given, user),
        sender,
        _domain(given),
        _root(given, sender, user, has_root_alias),
        _name(given),
    )


def _where(given: Namespace, asker: Asker) -> tuple[str, str]:
    """The word of the command line, or what is answered; and the address that says so."""
    if given.where:
        return str(given.where), ""
    known = ", ".join([*PROVIDERS, *_PLACES])
    said = asker.line(
        f"Mail goes out by ({known}, the name of a host, or your mail address)", "a provider"
    )
    if "@" not in said:
        if not said:
            raise AdminError("nothing was chosen; nothing was changed", os.EX_USAGE)
        return said, ""
    found = providers.by_address(said)
    if found is None:
        domain = said.rpartition("@")[2]
        where = asker.line(
            f"Who has the mail of {domain} ({known}, or the name of a host)", "a provider"
        )
        return where, said
    return found.name, said


def _check_alone(place: str, given: Namespace) -> None:
    """Raise AdminError if there is a flag of providers: mail would not go where it says."""
    for name in _OF_PROVIDERS:
        if getattr(given, name, None):
            why = "and none is named" if place == SAME else f"and {place} is none"
            raise AdminError(f"{_flag(name)} goes with a provider, {why}", os.EX_USAGE)


def _flag(name: str) -> str:
    """That of an attribute: "--client-id" of "client_id"."""
    return "--" + name.replace("_", "-")


def _without_provider(
    place: str, given: Namespace, asker: Asker, own_name: str, has_root_alias: bool
) -> Answers:
    _check_alone(place, given)
    name = _name(given)
    if place == "mx" and not name and "." not in own_name:
        name = _name(
            Namespace(
                hostname=asker.line("Full name of this host (mail.example.org)", "--hostname")
            )
        )
        if "." not in name:
            raise AdminError(f"{name or 'no name'}: a full name has a dot", os.EX_USAGE)
    root = given.root_address or ""
    if place != SAME and not root and not has_root_alias and sys.stdin.isatty():
        root = asker.line("Who reads root's mail (a user or an address)", "--root-address")
    return Answers(
        place,
        name=name,
        sender=_address(given.sender or "", "--from"),
        domain=_domain(given),
        root_address=_address(root, "--root-address"),
    )


def _host(where: str, provider: MailProvider | None, given: Namespace) -> tuple[str, int]:
    """Name and port of the next hop; 0: as the provider has it. Raise AdminError."""
    if provider and where.lower() == provider.name:
        if given.region and (given.host or "{region}" not in provider.host):
            raise AdminError("--region goes with ses, and not with --host", os.EX_USAGE)
        region = (
            given.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        )
        host = given.host or provider.host.format(region=region or "us-east-1")
        return host, given.port or 0
    try:
        smart_host(where)
    except ValueError as error:
        known = ", ".join([*PROVIDERS, *_PLACES])
        raise AdminError(f"{where!r} is neither of {known} nor a host", os.EX_USAGE) from error
    if "," in where or (where.count(":") > 1 and where[:1] != "["):
        raise AdminError(f"{where!r}: one HOST, HOST:PORT or [ADDRESS]:PORT", os.EX_USAGE)
    bare, _, port = where.lstrip("[").partition("]:" if "[" in where else ":")
    bare = bare.rstrip("]").lower()
    if "." not in bare and bare != "localhost" and ":" not in bare:
        known = ", ".join([*PROVIDERS, *_PLACES])
        raise AdminError(f"{where!r} is none of {known}, and no full name of a host", os.EX_USAGE)
    for name in ("host", "region"):
        if getattr(given, name, None):
            text = f"{_flag(name)} goes with the name of a provider, and {where} is none"
            raise AdminError(text, os.EX_USAGE)
    return bare, given.port or (int(port) if port.isdigit() else 0)


def _checked_user(user: str) -> None:
    if not user.isprintable() or '"' in user:
        raise AdminError("--user: that can be no user name", os.EX_USAGE)


def _token(
    given: Namespace, asker: Asker, provider: MailProvider | None, user: str
) -> tuple[str, str]:
    """The name of a token, if OAuth is the way, and the client id to get it with."""
    if given.token:
        return given.token, ""
    client = given.client_id or ""
    is_open = provider is not None and provider.prefers_oauth and given.password_file is None
    if not client and is_open:
        client = asker.line(
            "Client id of your application (empty: by password)", "--client-id, or --password-file"
        )
    if not client:
        return "", ""
    if provider is None or not provider.oauth:
        raise AdminError(
            "--client-id: there is no OAuth for mail there; minimta token get", os.EX_USAGE
        )
    return provider.name, client


def _check_login(given: Namespace, user: str, client_id: str) -> None:
    """Raise AdminError for two ways to log in, and for a flag of a way that is not gone."""
    ways = [_flag(name) for name in ("token", "client_id", "password_file") if getattr(given, name)]
    if len(ways) > 1:
        raise AdminError(f"either {' or '.join(ways)}: a login has one way", os.EX_USAGE)
    if ways and not user:
        raise AdminError(f"{ways[0]} goes with --user", os.EX_USAGE)
    for name in ("client_secret_file", "tenant", "app"):
        if getattr(given, name) and not client_id:
            raise AdminError(f"{_flag(name)} goes with --client-id", os.EX_USAGE)


def _tenant(given: Namespace, user: str) -> str:
    domain = user.rpartition("@")[2].lower()
    return given.tenant or (
        providers.CONSUMER_TENANT if domain in providers.CONSUMER_DOMAINS else domain
    )


def _secret(given: Namespace, asker: Asker, provider: MailProvider | None) -> str:
    if given.password_file is not None:
        return _secret_of(given.password_file)
    prompt = provider.secret_prompt if provider else "Password"
    where = f", from {provider.where}" if provider and provider.where else ""
    secret = asker.secret(f"{prompt}{where}", "--password-file")
    return checked_secret(secret, "the password")


def _secret_of(path: str) -> str:
    """The first line of a file, of standard input for "-". Raise AdminError, without a piece of it."""
    if path == "-":
        line = sys.stdin.buffer.readline(_MAX_SECRET + 1)
    else:
        with open(path, "rb") as file:
            line = file.readline(_MAX_SECRET + 1)
    if len(line) > _MAX_SECRET:
        raise AdminError(f"{path}: no password has more than {_MAX_SECRET} octets", os.EX_DATAERR)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise AdminError(f"{path}: the password is not UTF-8", os.EX_DATAERR) from None
    return checked_secret(text.rstrip("\r\n"), "standard input" if path == "-" else path)


def checked_secret(secret: str, origin: str) -> str:
    """What can be a password. Raise AdminError for nothing, and for control characters."""
    if not secret.strip():
        raise AdminError(f"{origin}: no password; nothing was changed", os.EX_DATAERR)
    if not secret.isprintable():
        raise AdminError(f"{origin}: a control character in the password", os.EX_DATAERR)
    # Google shows its app passwords in four groups: people copy the blanks, too.
    groups = secret.split()
    if len(groups) == 4 and all(len(group) == 4 and group.isalpha() for group in groups):
        return "".join(groups)
    return secret


def _sender(given: Namespace, asker: Asker, provider: MailProvider | None, user: str) -> str:
    if given.sender is not None or given.domain:
        return _address(given.sender or "", "--from")
    if "@" in user and (provider is None or provider.sends_as_user):
        return _address(user, "--user")
    if provider is None and not sys.stdin.isatty():
        return ""
    optional = "" if provider else "; empty: senders stay as they are"
    question = f"Your address: this machine's mail comes from it, root's goes to it{optional}"
    sender = _address(asker.line(question, "--from, or --domain"), "--from")
    if provider and not sender:
        raise AdminError(f"{provider.title} takes known senders alone (--from)", os.EX_USAGE)
    return sender


def _root(given: Namespace, sender: str, user: str, has_root_alias: bool) -> str:
    if given.root_address is not None:
        return _address(given.root_address, "--root-address")
    return "" if has_root_alias else sender


def _address(text: str, flag: str) -> str:
    try:
        address = mail_address(text)
    except ValueError as error:
        raise AdminError(f"{flag}: {error}", os.EX_USAGE) from error
    if address and "@" not in address and flag != "--root-address":
        raise AdminError(f"{flag}: {text} has no domain", os.EX_USAGE)
    return address


def _domain(given: Namespace) -> str:
    return _named(given.domain or "", "--domain")


def _name(given: Namespace) -> str:
    return _named(given.hostname or "", "--hostname")


def _named(text: str, flag: str) -> str:
    try:
        return host_name(text)
    except ValueError as error:
        raise AdminError(f"{flag}: {error}", os.EX_USAGE) from error
