"""The hosts that options name: are they reached, is their TLS good, do they take our login?

A child that has become RunAsUser talks to them, as a worker does: EHLO, STARTTLS, AUTH, QUIT. No mail is
begun. A login that was refused, and rests, is not tried: providers lock accounts. What
comes of one is not remembered: nothing is changed here.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace

from minimta.admin import provider_replies
from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, outside, unknown, warning
from minimta.config.options import Options
from minimta.mailers.remote import credentials, mx_targets, renewal, token_file
from minimta.mailers.remote.auth_dialogue import Logins
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.credentials import CredentialStore, HopLogin
from minimta.mailers.remote.dialogue import RecordedDialogue
from minimta.mailers.remote.login_memory import LoginMemory, beside
from minimta.mailers.remote.mx_targets import NextHop, TargetFinder, Unroutable
from minimta.mailers.remote.tls_policy import TlsPolicies, tls_client
from minimta.mailers.remote.transport import Transport, is_here
from minimta.message.outcome import Outcome
from minimta.routing.route import host_of
from minimta.smtp.client import PeerClosed
from minimta.smtp.reply import ReplyError
from minimta.system import log, memory, privileges, sandbox
from minimta.system.dns import Resolver
from minimta.system.safefile import Untrusted
from minimta.system.tls_values import TlsError

#: hosts that are tried, and seconds for each step with one of them at most
_MOST, _STEP = 4, 4
#: seconds for all hosts, and for name servers
_ALL, _DNS = 12.0, 3.0
#: errno of a connection that nobody answered
_SILENT = (errno.ETIMEDOUT, errno.EHOSTUNREACH)


def smart_hosts(patient: Patient) -> Iterator[Diagnosis]:
    """Each of SmartHost, MailHub and LocalRelay."""
    options = patient.options
    named = [
        (hop, name)
        for name, text in (
            ("SmartHost", options.smart_host),
            ("MailHub", options.mail_hub),
            ("LocalRelay", options.local_relay),
        )
        if text
        for hop in mx_targets.parse(host_of(text))
    ]
    end = time.monotonic() + _ALL
    for number, (hop, name) in enumerate(named[:_MOST]):
        left = min(len(named), _MOST) - number
        yield from _of_hop(patient, hop, name, (end - time.monotonic()) / left)


def _of_hop(patient: Patient, hop: NextHop, option: str, seconds: float) -> Iterator[Diagnosis]:
    subject = f"{hop.name}:{hop.port}"
    try:
        login = _login(patient, hop)
    except OSError as error:
        yield fault(
            subject, f"{error.filename or patient.options.auth_info_file}: {error.strerror}"
        )
        return
    except Untrusted as error:
        path = patient.options.auth_info_file
        yield fault(path, f"{error}; mail for {subject} waits", f"chmod 600 {path}")
        return
    if login.fault:
        yield _refused(subject, login.fault, patient.options)
    told = _visit(patient, hop, option, login, seconds)
    yield _diagnosis(patient, hop, told, login_is_missing=login == HopLogin())


# --- the login ------------------------------------------------------------------------------------


def _login(patient: Patient, hop: NextHop) -> HopLogin:
    """What is to be said there; neither login nor fault if nothing is, or only root can tell."""
    options = patient.options
    if not patient.is_root and options.run_as_user:
        return HopLogin()
    store = CredentialStore.read(options)
    row = store.row(hop, b"")
    if row is None:
        return HopLogin()
    if row.fault:
        return HopLogin(fault=f"{store.origin(row)}: {row.fault}")
    name, state = f"{hop.name.lower()}:{hop.port} {row.user}", store.state_of(row)
    last = LoginMemory(beside(options.queue_directory)).known().get(name)
    if last is not None and last.state == state and last.rests(patient.now):
        return HopLogin(fault=last.text)
    if row.source == "T" and _would_renew(options, os.fsdecode(row.value), patient.now):
        return HopLogin()  # which changes its file; "logins" tells of one that is refused
    receiving, sending = os.pipe()
    try:
        store.hand_over({hop.key: row}, sending)
    finally:
        os.close(sending)
    try:
        return credentials.receive(receiving)[hop.key]
    finally:
        os.close(receiving)


def _would_renew(options: Options, name: str, now: float) -> bool:
    try:
        found = token_file.read(token_file.path_of(options.token_directory, name))
    except (OSError, Untrusted, ValueError):
        return False  # whose reason is told
    return renewal.is_due(found, now)


# --- the visit ------------------------------------------------------------------------------------


def _visit(
    patient: Patient, hop: NextHop, option: str, login: HopLogin, seconds: float
) -> dict[str, object]:
    """What a child without rights says of the host, within *seconds*; see _Visit."""
    options = _impatient(patient.options, max(1, min(_STEP, int(seconds / 3))))
    memory.load()
    try:
        tls, policies = tls_client(options), TlsPolicies.read(options)
        transport = Transport(options, mx_targets.ourselves(options), tls=tls, policies=policies)
        if login.login is not None:
            transport = replace(transport, logins={hop.key: login})
        visit = _Visit(hop, option, transport)

        def act() -> bytes:
            privileges.become(options.run_as_user)
            sandbox.enter(options, sandbox.of_client(options))
            return json.dumps(visit.told()).encode("ascii")

        told = json.loads(privileges.in_child(act, seconds))
    except OSError as error:
        is_slow = error.errno == errno.ETIMEDOUT
        text = (
            f"no answer within {seconds:.0f} seconds" if is_slow else error.strerror or str(error)
        )
        return {"step": "here", "text": text}
    return told if isinstance(told, dict) else {"step": "here", "text": "no clear answer"}


def _impatient(options: Options, step: int) -> Options:
    """*options* with *step* seconds for each answer: somebody waits for it."""
    made = Options()
    vars(made).update(vars(options))
    for name in ("connect", "iconnect", "initial", "helo", "starttls", "auth", "quit"):
        setattr(made, f"timeout_{name}", step)
    return made


class _Visit:
    """In the child: one address after the other, until one lets us in."""

    def __init__(self, hop: NextHop, option: str, transport: Transport) -> None:
        self._hop = hop
        self._option = option
        self._transport = transport
        self._noted: list[Outcome] = []

    def told(self) -> dict[str, object]:
        """step, text, errno, address, logged_in; step "done": all is well."""
        finder = TargetFinder(
            self._hop,
            self._transport.ourselves,
            Resolver(budget=_DNS),
            option=self._option,
            note=self._noted.append,
        )
        last: dict[str, object] = {}
        try:
            for target in finder.targets():
                if self._transport.source(target.address) is not None:
                    last = self._address(target)
                if last and last["step"] != "connect":
                    return last
        except Unroutable as error:
            self._noted.append(error.outcome)
        except ValueError as error:
            return {"step": "here", "text": str(error)}
        if last:
            return last
        return {"step": "name", "text": _first_line(self._noted)}

    def _address(self, target: mx_targets.Target) -> dict[str, object]:
        policy = self._transport.policy(self._hop, target.address)
        connection = OutgoingConnection(
            target,
            self._transport,
            policy,
            dialogue=RecordedDialogue(),
            alive=lambda: None,
        )
        facts: dict[str, object] = {"address": target.address}
        try:
            step = "connect"
            connection.connect(self._transport.options.timeout_connect)
            step = "greet"
            connection.greet()
            facts["tls"] = str(connection.tls.verify) if connection.tls else ""
            facts["asks"] = "AUTH" in connection.client.extensions
            step = "login"
            why = Logins(self._transport.logins, lambda line: None).log_in(
                connection, self._hop, policy
            )
            if why is not None:
                return {**facts, "step": "login", "text": _first_line([why])}
            facts["logged_in"] = connection.client.is_logged_in
            connection.quit()
        except TlsError as error:
            return {**facts, "step": "tls", "text": error.reason}
        except PeerClosed as error:
            return {**facts, "step": "reply", "text": str(error)}
        except ReplyError as error:
            return {**facts, "step": "reply", "text": str(error)}
        except OSError as error:
            # Of a time that is over Python does not say the number.
            number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
            text = error.strerror or str(error)
            return {**facts, "step": step, "errno": number, "text": text}
        finally:
            connection.close()
        return {**facts, "step": "done", "text": ""}


def _first_line(outcomes: list[Outcome]) -> str:
    """What is wrong, in the words of the transcript, which say more."""
    for outcome in outcomes:
        return outcome.told()[0] if outcome.told() else outcome.text
    return "no address"


# --- what that means ------------------------------------------------------------------------------


def _diagnosis(
    patient: Patient, hop: NextHop, told: dict[str, object], *, login_is_missing: bool
) -> Diagnosis:
    subject = f"{hop.name}:{hop.port}"
    step, text = str(told.get("step")), log.clean(str(told.get("text")), 400)
    if step == "here":
        return unknown(subject, text)
    if step == "name":
        return outside(subject, text, "correct SmartHost, or look at /etc/resolv.conf")
    if step == "connect":
        return _unreached(patient, hop, text, told.get("errno"))
    if step == "tls":
        return outside(subject, f"TLS: {text}", _remedy_of_tls(hop))
    if step in ("reply", "login"):
        return _refused(subject, text, patient.options)
    if step == "greet":
        return outside(
            subject, f"is reached, and says nothing sensible ({text})", "is that a port for mail?"
        )
    wants_login = told.get("asks") and not told.get("logged_in") and hop.port in (587, 465)
    if wants_login and patient.is_root and login_is_missing:
        text = "is reached, wants a login as it seems, and has no row in the file of logins"
        row = f'AuthInfo:{hop.name} "U:USER" "P:PASSWORD"'
        return warning(subject, text, f"{row} in {patient.options.auth_info_file}")
    what = "takes our login" if told.get("logged_in") else "is reached"
    tls = " by TLS" if told.get("tls") else ""
    return ok(subject, f"{what}{tls} [{told.get('address')}]")


def _unreached(patient: Patient, hop: NextHop, text: str, number: object) -> Diagnosis:
    subject = f"{hop.name}:{hop.port}"
    has_network = patient.source("inet") or patient.source("inet6") or is_here(hop, hop.name)
    if not has_network:
        return outside(subject, "this host has no network that leads there", "ip route")
    if hop.port == 25 and number in _SILENT:
        text = f"is not reached ({text}): many networks and clouds block port 25 outwards"
        return outside(subject, text, f"SmartHost = [{hop.name}]:587, with a login in authinfo")
    remedy = "is it spelt right, and open through the firewall?"
    return outside(subject, f"is not reached ({text})", remedy)


def _remedy_of_tls(hop: NextHop) -> str:
    key = f"[{hop.name}]:{hop.port}" if hop.bracketed else f"{hop.name}:{hop.port}"
    return f"look at the clock and at ca-certificates; CACertFile; or a row {key} in TLSPolicy"


def _refused(subject: str, text: str, options: Options) -> Diagnosis:
    """What the host, or the last delivery, said of our login."""
    found = provider_replies.explain(text)
    if found is None:
        return outside(subject, text, f"see {options.auth_info_file}")
    return outside(subject, f"{found.meaning} ({log.clean(text, 200)})", found.remedy)
