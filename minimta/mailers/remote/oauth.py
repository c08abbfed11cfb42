"""What is said to an authorization server, and what its answers mean (RFC 6749, RFC 8628).

    grant                the form has                          comes again when
    device_code          the code that a user confirms         never: it brings a refresh token
    authorization_code   the code that a browser brings back   never: the same
    refresh_token        the refresh token                     the access token is about to end
    client_credentials   the client's own secret               the same

A child without rights asks (``ask``); it reads JSON and tells the known fields in lines, which are
believed only within bounds. Words of the server are never shown, for they might be ours: of an
error there is its code, and Microsoft's number. No exception has a secret in its text.
"""

from __future__ import annotations

import json
import re
import signal
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from minimta.config.options import Options
from minimta.system import privileges, sandbox
from minimta.system.https import HttpsClient
from minimta.system.tls_values import Trust

#: seconds that one answer may take, and that its child may live
ASK_TIME, _CHILD_TIME = 20.0, 25.0
#: seconds that an access token is good for if the server does not say it, and at most
_LIFETIME, _LONGEST = 1800, 10 * 365 * 86400
#: characters of one field; of an access token, which must fit in a line of AUTH (RFC 4954)
_MAX_FIELD, _MAX_TOKEN = 16384, 8192
_FIELDS = (
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "error",
    "device_code",
    "user_code",
    "verification_uri",
    "verification_url",
    "interval",
)
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

#: error -> what it means (RFC 6749 section 5.2, RFC 8628 section 3.5, Microsoft's and OpenID's own)
_ERRORS = {
    "invalid_grant": "authorization revoked or expired",
    "invalid_client": "client id or client secret is refused",
    "unauthorized_client": "this client may not do so",
    "invalid_scope": "the scope is refused",
    "unsupported_grant_type": "the server does not know this kind of grant",
    "invalid_request": "the server does not understand the request",
    "interaction_required": "somebody must log in again",
    "consent_required": "somebody must consent again",
    "login_required": "somebody must log in again",
    "access_denied": "the authorization was denied",
    "authorization_declined": "the authorization was denied",
    "expired_token": "the code has expired",
    "bad_verification_code": "the code is refused",
}
#: what passes by itself
_PASSING = ("temporarily_unavailable", "server_error", "slow_down", "authorization_pending")

#: signals that must not come between a refresh token that is spent and its successor
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)


class TokenTrouble(Exception):
    """No token. The text says why, for people; of *is_final* somebody must act."""

    def __init__(self, text: str, *, code: str = "", is_final: bool = False) -> None:
        """*code* is the server's error ("invalid_grant"), "" if it named none."""
        super().__init__(text)
        self.text = text
        self.code = code
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Who we are at an authorization server: what the administrator has registered there."""

    token_endpoint: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    scope: str = ""
    #: the secret goes into the Authorization field, not into the form (RFC 6749 section 2.3.1)
    is_basic: bool = False
    #: certificates of the authorities that are believed, "" for those of the system
    ca_file: str = ""
    #: where users authorize, one of the two; both "" for client credentials
    device_endpoint: str = ""
    authorization_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a server granted."""

    access_token: str = field(repr=False)
    #: seconds
    lifetime: int
    #: "" if none came: the old one, if there is one, goes on
    refresh_token: str = field(default="", repr=False)


def refresh_form(refresh_token: str, client: OAuthClient) -> dict[str, str]:
    """RFC 6749 section 6."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return {**form, **_scope(client)}


def client_credentials_form(client: OAuthClient) -> dict[str, str]:
    """RFC 6749 section 4.4.2."""
    return {"grant_type": "client_credentials", **_scope(client)}


def code_form(code: str, verifier: str, redirect: str) -> dict[str, str]:
    """RFC 6749 section 4.1.3, RFC 7636 section 4.5."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
    return {**form, "code_verifier": verifier}


def device_form(device_code: str) -> dict[str, str]:
    """RFC 8628 section 3.4."""
    return {"grant_type": DEVICE_GRANT, "device_code": device_code}


def challenge_of(verifier: str) -> str:
    """code_challenge by S256 (RFC 7636 section 4.2)."""
    import hashlib

    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _scope(client: OAuthClient) -> dict[str, str]:
    return {"scope": client.scope} if client.scope else {}


# --- asking ---------------------------------------------------------------------------------------


def ask(options: Options, client: OAuthClient, url: str, form: Mapping[str, str]) -> dict[str, str]:
    """The fields of the answer of *client*'s server to *form*, "status" among them.

    Raise OSError if none came within bounds, ValueError for what is no URL.
    """
    basic = (client.client_id, client.client_secret) if client.is_basic else None
    https = HttpsClient(Trust(client.ca_file), options.https_proxy, basic)
    form = {**form, "client_id": client.client_id}
    if client.client_secret and not client.is_basic:
        form["client_secret"] = client.client_secret
    return read_lines(privileges.in_child(lambda: _ask(options, https, url, form), _CHILD_TIME))


def _ask(options: Options, https: HttpsClient, url: str, form: Mapping[str, str]) -> bytes:
    """In the child, which nobody but root can read."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    privileges.become(options.run_as_user)
    sandbox.enter(options, sandbox.of_client(options))
    try:
        status, content = https.post(url, form, ASK_TIME)
        return lines_of(status, content)
    except (OSError, ValueError):
        raise
    except Exception as error:  # its text could be anything
        raise OSError(f"{type(error).__name__} in the exchange") from None


def lines_of(status: int, content: bytes) -> bytes:
    """The known fields of an answer in JSON, a line each; what is no such answer has none."""
    try:
        told = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        told = None
    fields = {"status": str(status)}
    for name in _FIELDS if isinstance(told, dict) else ():
        value = told.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and _is_plain(str(value)):
            fields[name] = str(value)
    if number := _microsofts_number(told):
        fields["number"] = number
    return "\n".join(f"{name}={value}" for name, value in fields.items()).encode("ascii")


def read_lines(lines: bytes) -> dict[str, str]:
    """The inverse. Raise OSError: the child, who talked with the server, is not believed either."""
    fields = {}
    for line in lines.decode("ascii", "replace").split("\n"):
        name, equals, value = line.partition("=")
        if not equals or not _is_plain(value) or name not in (*_FIELDS, "status", "number"):
            raise OSError("the answer makes no sense")
        fields[name] = value
    return fields


def _is_plain(value: str) -> bool:
    """RFC 6749 appendix A: VSCHAR."""
    return 0 < len(value) <= _MAX_FIELD and value.isascii() and value.isprintable()


def _microsofts_number(told: object) -> str:
    said = told.get("error_description") if isinstance(told, dict) else None
    found = re.match(r"AADSTS[0-9]{4,8}(?![0-9])", said) if isinstance(said, str) else None
    return found[0] if found else ""


# --- what the answer means ------------------------------------------------------------------------


def tokens_of(fields: Mapping[str, str]) -> Tokens:
    """The tokens in an answer (RFC 6749 section 5.1). Raise TokenTrouble if there are none."""
    if fields.get("status") != "200" or "error" in fields or len(fields) == 1:
        raise trouble_of(fields)
    token = fields.get("access_token", "")
    if not token or " " in token or len(token) > _MAX_TOKEN:
        raise TokenTrouble("the answer has no access token that can be used")
    if fields.get("token_type", "").lower() != "bearer":
        raise TokenTrouble("the answer has no bearer token")
    return Tokens(token, _lifetime(fields), fields.get("refresh_token", ""))


def _lifetime(fields: Mapping[str, str]) -> int:
    found = number_of(fields, "expires_in", _LIFETIME)
    return min(found, _LONGEST)


def number_of(fields: Mapping[str, str], name: str, default: int) -> int:
    """A positive number of an answer, *default* if there is none."""
    digits = fields.get(name, "")
    return int(digits) if digits.isdigit() and len(digits) < 12 and int(digits) else default


def trouble_of(fields: Mapping[str, str]) -> TokenTrouble:
    """Why an answer has no tokens."""
    status, code = fields.get("status", ""), fields.get("error", "")
    # So all errors are written that there are; a server that repeats what we sent is not quoted.
    if not re.fullmatch(r"[a-z_]{1,60}", code):
        # Without an error of OAuth it may be anything between us and the server.
        if status[:1] == "3":
            return TokenTrouble(
                f"the server answers with a redirect ({status}), which is not followed"
            )
        said = "that is no answer of OAuth" if status == "200" else f"the server answers {status}"
        return TokenTrouble(said)
    told = ", ".join(part for part in (code, fields.get("number", "")) if part)
    if code in _PASSING or status[:1] == "5" or status == "429":
        return TokenTrouble(f"the server cannot do so now ({told})", code=code)
    meaning = _ERRORS.get(code, "the server refuses")
    return TokenTrouble(f"{meaning} ({told})", code=code, is_final=True)
