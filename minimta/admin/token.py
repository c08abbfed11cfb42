"""``minimta token``: access to providers that want OAuth instead of a password.

    get NAME       authorize, for the first time: --provider microsoft or google, or endpoints
    renew NAME     authorize once more, with what is known of it (a new --secret-file)
    list           what there is, how long it is good, and what is wrong
    check [NAME]   ask the server for a new access token, now
    remove NAME    forget it here; the provider knows how to revoke it

The runner renews them by itself; this is for people. Client id and secret are the administrator's.
"""

from __future__ import annotations

import getpass
import os
import secrets
import time
from argparse import ArgumentParser, Namespace
from dataclasses import replace

from minimta.admin import authorize
from minimta.admin.arguments import parsed
from minimta.admin.authorize import PROVIDERS, Dialogue
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.config.values import nearest
from minimta.mailers.remote import renewal, token_file
from minimta.mailers.remote.credentials import CredentialStore
from minimta.mailers.remote.oauth import OAuthClient, TokenTrouble
from minimta.mailers.remote.token_file import TokenFile
from minimta.message import dates
from minimta.system import files, log, memory, safefile
from minimta.system.https import Endpoint
from minimta.system.safefile import Untrusted

#: octets of a client secret
_MAX_SECRET = 4096
#: seconds to wait for a renewal that is going on
_LOCK_TIME = 60.0


def run(arguments: list[str]) -> int:
    """0: done, or all is well; 66: there is no such token; 75: later, 77: the provider refuses.

    Raise AdminError, with these codes too, if nothing could be done.
    """
    given = _parse(arguments)
    try:
        options = config_file.load(given.C, [], safefile.why_untrusted)
        memory.hide()
        return int(_ACTS[given.act](options, given))
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error
    except TokenTrouble as error:
        raise AdminError(log.clean(error.text), _code(error)) from error
    except Untrusted as error:
        where = f"{options.token_directory}: {error}"
        raise AdminError(f"{where}; it must be root's alone", os.EX_CONFIG) from error
    except ValueError as error:
        raise AdminError(str(error), os.EX_USAGE) from error


def _code(trouble: TokenTrouble) -> int:
    return os.EX_NOPERM if trouble.is_final else os.EX_TEMPFAIL


# --- the acts -------------------------------------------------------------------------------------


def _get(options: Options, given: Namespace) -> int:
    path = token_file.path_of(options.token_directory, given.name)
    _make_directory(options.token_directory)
    client = _client(given)
    _authorize(options, path, client)
    host = PROVIDERS[given.provider].host if given.provider else "HOST"
    say(f"{path} is written. With this row in {options.auth_info_file} it is used:")
    say(f'AuthInfo:{host} "U:ADDRESS" "T:{given.name}"')
    return os.EX_OK


def _renew(options: Options, given: Namespace) -> int:
    path = _path_of_known(options, given.name)
    client = token_file.read(path).client
    if given.secret_file:
        client = replace(client, client_secret=_read_secret(given.secret_file))
    _authorize(options, path, client)
    say(f"{path} is renewed. What waits is sent by: sendmail -qf")
    return os.EX_OK


def _authorize(options: Options, path: str, client: OAuthClient) -> None:
    tokens = authorize.authorize(options, client, Dialogue(say, input))
    is_app = not (client.device_endpoint or client.authorization_endpoint)
    if not (is_app or tokens.refresh_token):
        reason = "the server gave no refresh token; is offline access in the scope?"
        raise AdminError(reason, os.EX_NOPERM)
    grant = "client_credentials" if is_app else "refresh_token"
    token = TokenFile(client, grant, secrets.token_hex(8)).with_tokens(tokens, time.time())
    with token_file.locked(path, _LOCK_TIME):
        token_file.write(path, token)
        token_file.forget_trouble(path)
    token_file.read(path)  # a directory that others may write is told now


def _list(options: Options, given: Namespace) -> int:
    named = _names_in_authinfo(options)
    for name in token_file.names(options.token_directory):
        try:
            say(f"{name}: {_state(options, name)}")
        except (OSError, Untrusted, ValueError) as error:
            say(f"{name}: {_reason(error)}")
        if name not in named:
            say(f"  no row of {options.auth_info_file} names it")
    return os.EX_OK


def _state(options: Options, name: str) -> str:
    path = token_file.path_of(options.token_directory, name)
    token = token_file.read(path)
    server = Endpoint.read(token.client.token_endpoint).host
    trouble = token_file.trouble(path)
    state = f"{token.grant} at {server}, good until {dates.queue_time(token.expires)}"
    return f"{state}; {log.clean(trouble.text, 1000)}" if trouble else state


def _check(options: Options, given: Namespace) -> int:
    code = os.EX_OK
    if given.name:
        _path_of_known(options, given.name)
    for name in [given.name] if given.name else token_file.names(options.token_directory):
        try:
            renewal.access_token(options, name, is_forced=True)
            say(f"{name}: {_state(options, name)}")
        except (TokenTrouble, OSError, Untrusted, ValueError) as error:
            say(_reason(error) if isinstance(error, TokenTrouble) else f"{name}: {_reason(error)}")
            code = max(code, _code(error) if isinstance(error, TokenTrouble) else os.EX_TEMPFAIL)
    return code


def _remove(options: Options, given: Namespace) -> int:
    path = _path_of_known(options, given.name)
    with token_file.locked(path, _LOCK_TIME):
        token_file.remove(path)
    say(f"{path} is removed. The authorization itself ends where you gave it, at the provider.")
    return os.EX_OK


_ACTS = {"get": _get, "renew": _renew, "list": _list, "check": _check, "remove": _remove}


def _path_of_known(options: Options, name: str) -> str:
    """The file of a token that there is. Raise AdminError, ValueError, OSError."""
    path = token_file.path_of(options.token_directory, name)
    if not files.may_exist(path):
        known = {one: one for one in token_file.names(options.token_directory)}
        raise AdminError(f"there is no token {name}{nearest(name, known)}", os.EX_NOINPUT)
    return path


def _names_in_authinfo(options: Options) -> set[str]:
    try:
        rows = CredentialStore.read(options).rows
    except (OSError, Untrusted):
        return set()
    return {os.fsdecode(row.value) for row in rows if row.source == "T"}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return log.clean(f"{where}{error.strerror or error}")
    return log.clean(str(error), 1000)


def _make_directory(path: str) -> None:
    """Raise OSError. One that is there stays as it is; whether it is private is looked at later."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    files.sync_directory(os.path.dirname(path))


# --- the command line -----------------------------------------------------------------------------


def _client(given: Namespace) -> OAuthClient:
    """Who we are, by what was *given*. Raise AdminError."""
    provider = PROVIDERS.get(given.provider or "")
    if provider is None:
        client = OAuthClient(
            given.token_endpoint or "",
            given.client_id,
            scope=given.scope or "",
            device_endpoint=given.device_endpoint or "",
            authorization_endpoint=given.authorization_endpoint or "",
        )
    else:
        client = OAuthClient(
            provider.token_endpoint.format(tenant=given.tenant),
            given.client_id,
            scope=given.scope or (provider.app_scope if given.app else provider.scope),
            device_endpoint=provider.device_endpoint.format(tenant=given.tenant),
            authorization_endpoint=provider.authorization_endpoint,
        )
    if given.app:
        client = replace(client, device_endpoint="", authorization_endpoint="")
    _check_client(client, given)
    secret = _secret(given)
    return replace(client, client_secret=secret, is_basic=given.basic, ca_file=given.ca_file or "")


def _check_client(client: OAuthClient, given: Namespace) -> None:
    ways = [url for url in (client.device_endpoint, client.authorization_endpoint) if url]
    if given.provider == "google" and given.app:
        raise AdminError("Google has no client credentials for mail", os.EX_USAGE)
    if given.provider == "microsoft" and given.app and given.tenant == "common":
        raise AdminError("--app needs the --tenant that it belongs to", os.EX_USAGE)
    if len(ways) != (0 if given.app else 1):
        wanted = "one of --device-endpoint, --authorization-endpoint, --app"
        raise AdminError(f"--provider is missing, or {wanted} with --token-endpoint", os.EX_USAGE)
    for url in (client.token_endpoint, *ways):
        try:
            Endpoint.read(url)
        except ValueError as error:
            raise AdminError(
                f"{log.clean(url) or '--token-endpoint'}: {error}", os.EX_USAGE
            ) from error


def _secret(given: Namespace) -> str:
    """The client's secret: never an argument, which everybody could see."""
    if given.secret_file:
        return _read_secret(given.secret_file)
    if given.app or given.provider == "google":
        return getpass.getpass("Client secret: ").strip()
    return ""


def _read_secret(path: str) -> str:
    """The first line of a file. Raise AdminError."""
    with open(path, "rb") as file:
        line = file.readline(_MAX_SECRET).strip()
    if not line or not line.isascii():
        raise AdminError(f"{path}: the first line is no client secret", os.EX_DATAERR)
    return line.decode("ascii")


def _parse(arguments: list[str]) -> Namespace:
    """Raise AdminError."""
    parser = ArgumentParser(prog="minimta token", exit_on_error=False)
    acts = parser.add_subparsers(dest="act", metavar="ACT")
    get = acts.add_parser("get", help="authorize for the first time", exit_on_error=False)
    renew = acts.add_parser("renew", help="authorize once more", exit_on_error=False)
    check = acts.add_parser("check", help="ask for an access token now", exit_on_error=False)
    remove = acts.add_parser("remove", help="forget it", exit_on_error=False)
    all_of_them = acts.add_parser("list", help="what there is", exit_on_error=False)
    for act in (get, renew, remove):
        act.add_argument("name", metavar="NAME")
    check.add_argument("name", metavar="NAME", nargs="?")
    for act in (get, renew, check, remove, all_of_them):
        act.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    for act in (get, renew):
        act.add_argument("--secret-file", metavar="FILE", help="client secret: its first line")
    _add_client(get)
    given = parsed(parser, arguments)
    if not given.act:
        raise AdminError("nothing to do; see --help", os.EX_USAGE)
    return given


def _add_client(get: ArgumentParser) -> None:
    get.add_argument("--provider", choices=sorted(PROVIDERS))
    get.add_argument("--client-id", metavar="ID", required=True)
    get.add_argument("--tenant", default="common", help="Microsoft: of the organization")
    get.add_argument("--app", action="store_true", help="client credentials, without a user")
    get.add_argument("--scope", help="instead of what the provider needs")
    for way in ("token", "device", "authorization"):
        get.add_argument(f"--{way}-endpoint", metavar="URL", help="of another provider")
    get.add_argument("--basic", action="store_true", help="secret by HTTP's Basic")
    get.add_argument("--ca-file", metavar="FILE", help="whose certificates are believed")
