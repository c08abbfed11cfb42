"""Getting an authorization from a provider (OAuth), on a machine that has no browser.

    device code           the user types a code into a page, on any machine (RFC 8628); Microsoft
    authorization code    the user logs in, on any machine, and pastes the address that the browser
                          then cannot reach (RFC 8252 section 7.3), bound to us by PKCE (RFC 7636);
                          Google, whose device codes are good for few scopes and not for mail
    client credentials    nobody is asked: the client acts for itself (RFC 6749 section 4.4)

What goes wrong is a TokenTrouble or an OSError with a reason for people.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from minimta.config.options import Options
from minimta.mailers.remote import oauth
from minimta.mailers.remote.oauth import OAuthClient, Tokens, TokenTrouble
from minimta.system import https, log

#: seconds between two questions whether the user is done, if the server does not say it, and at
#: most; for which a code is good
_INTERVAL, _LONGEST_INTERVAL, _CODE_LIFETIME = 5, 60, 900
#: how often a wrong address may be pasted
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of one; {tenant} is to be filled in."""

    token_endpoint: str
    scope: str
    #: where mail goes, for the row of authinfo
    host: str
    device_endpoint: str = ""
    authorization_endpoint: str = ""
    #: of client credentials, "" if there are none
    app_scope: str = ""


_MICROSOFT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
PROVIDERS = {
    "microsoft": Provider(
        f"{_MICROSOFT}/token",
        "https://outlook.office.com/SMTP.Send offline_access",
        "smtp.office365.com",
        device_endpoint=f"{_MICROSOFT}/devicecode",
        app_scope="https://outlook.office365.com/.default",
    ),
    "google": Provider(
        "https://oauth2.googleapis.com/token",
        "https://mail.google.com/",
        "smtp.gmail.com",
        authorization_endpoint="https://accounts.google.com/o/oauth2/v2/auth",
    ),
}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """How the user is talked to."""

    #: gets a line
    say: Callable[[str], None]
    #: a line that they type, after this text; raises EOFError
    ask: Callable[[str], str]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def authorize(options: Options, client: OAuthClient, dialogue: Dialogue) -> Tokens:
    """Tokens for *client*, after the user has agreed. Raise TokenTrouble, OSError, ValueError."""
    if client.device_endpoint:
        return _by_device_code(options, client, dialogue)
    if client.authorization_endpoint:
        return _by_browser(options, client, dialogue)
    form = oauth.client_credentials_form(client)
    return oauth.tokens_of(oauth.ask(options, client, client.token_endpoint, form))


# --- device code ----------------------------------------------------------------------------------


def _by_device_code(options: Options, client: OAuthClient, dialogue: Dialogue) -> Tokens:
    told = oauth.ask(options, client, client.device_endpoint, {"scope": client.scope})
    if told["status"] != "200" or "error" in told:
        raise oauth.trouble_of(told)
    code, shown = told.get("device_code", ""), told.get("user_code", "")
    where = told.get("verification_uri") or told.get("verification_url", "")
    if not (code and shown and where):
        raise TokenTrouble("the answer has no code for a user")
    dialogue.say(f"In a browser, on any machine, open {log.clean(where)}")
    dialogue.say(f"and type the code {log.clean(shown)}. This waits until that is done.")
    end = dialogue.clock() + oauth.number_of(told, "expires_in", _CODE_LIFETIME)
    return _poll(options, client, dialogue, code, oauth.number_of(told, "interval", _INTERVAL), end)


def _poll(
    options: Options,
    client: OAuthClient,
    dialogue: Dialogue,
    code: str,
    interval: float,
    end: float,
) -> Tokens:
    """Ask every *interval* seconds until the user is done, or *end* (RFC 8628 section 3.5)."""
    while dialogue.clock() + interval < end:
        dialogue.sleep(interval)
        try:
            told = oauth.ask(options, client, client.token_endpoint, oauth.device_form(code))
        except OSError as error:
            dialogue.say(f"not reached, tried again: {error.strerror or error}")
            told = {"status": "503"}
        if told.get("error") == "authorization_pending":
            continue
        if told.get("error") == "slow_down":
            interval += 5
        elif told["status"][:1] == "5":
            interval = min(2 * interval, _LONGEST_INTERVAL)
        else:
            return oauth.tokens_of(told)
    raise TokenTrouble("the code has expired: nobody typed it in", is_final=True)


# --- authorization code ---------------------------------------------------------------------------


def _by_browser(options: Options, client: OAuthClient, dialogue: Dialogue) -> Tokens:
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    # Taken and not listened on: no other user of this machine can wait there for the code.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        redirect = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        dialogue.say("In a browser, on any machine, open this address and log in:\n")
        dialogue.say(_address(client, redirect, state, oauth.challenge_of(verifier)) + "\n")
        dialogue.say(f"At the end it goes to {redirect}, which it cannot reach: that is right.")
        code = _pasted(dialogue, state)
    form = oauth.code_form(code, verifier, redirect)
    return oauth.tokens_of(oauth.ask(options, client, client.token_endpoint, form))


def _address(client: OAuthClient, redirect: str, state: str, challenge: str) -> str:
    parameters = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect,
        "scope": client.scope,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        # Google gives a refresh token only then; others must leave out what they do not know.
        "access_type": "offline",
        "prompt": "consent",
    }
    return https.with_query(client.authorization_endpoint, parameters)


def _pasted(dialogue: Dialogue, state: str) -> str:
    """The code in the address that the user pastes. Raise TokenTrouble."""
    for _ in range(_TRIES):
        try:
            given = https.query(dialogue.ask("Paste the whole address that it then shows: "))
        except EOFError:
            break
        if not secrets.compare_digest(given.get("state", "").encode(), state.encode()):
            dialogue.say("That is not the address that this request leads to.")
        elif "error" in given:
            raise oauth.trouble_of({"status": "400", "error": given["error"]})
        elif given.get("code", ""):
            return given["code"]
    raise TokenTrouble("no address with a code was pasted", is_final=True)
