"""A letter that a user has submitted, as filters see it: from this host, by a client that said EHLO.

What they say becomes a value of texts (octets as Latin-1) that goes through a pipe:

    word     accept, discard, tempfail, refused; reply: the words for the last two
    said     [recipient, reply] of those who are refused alone
    above, fields, sender, recipients, quarantine, envid, body_type, eight_bit    what is changed
    failed   which filter could not be asked, and why
    notes    lines for the log
"""

from __future__ import annotations

import os

from minimta.message import address, headers
from minimta.message.envelope import Recipient
from minimta.message.xtext import decode_xtext
from minimta.milter import input_filters, protocol
from minimta.milter.body import MessageBody
from minimta.milter.chain import FilterChain
from minimta.milter.letter import Letter
from minimta.milter.macros import octets, triple
from minimta.milter.protocol import CONTINUE, Event, FilterVerdict, Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minimta.config.options import Options

    class LetterControl(Protocol):
        """What is asked of a control file."""

        reverse_path: bytes
        recipients: list[Recipient]
        headers: list[tuple[bytes, bytes]]
        flags: str
        auth: bytes
        body_type: bytes
        envid: bytes
        size: int


#: where a local client comes from
_NAME, _IP = "localhost", "127.0.0.1"
_FINAL = {Word.TEMPFAIL: "451 4.3.2 Please try again later", Word.SHUTDOWN: "421 4.7.0 closing"}
Route = tuple[str, str, bytes]


class Submitted:
    """One letter on its way through the filters."""

    def __init__(
        self, options: Options, host: str, qid: str, data: int, control: LetterControl
    ) -> None:
        """*host* is our name, *qid* the letter's, *data* the file of its body."""
        self._options = options
        self._host = host
        self._data = data
        self._control = control
        self._notes: list[str] = []
        self._macros = {
            b"j": octets(host),
            b"_": b"%b [%b]" % (octets(_NAME), octets(_IP)),
            b"{daemon_name}": b"MTA",
            b"{if_name}": octets(_NAME),
            b"{client_name}": octets(_NAME),
            b"{client_addr}": octets(_IP),
            b"{client_resolve}": b"OK",
            b"r": b"ESMTP",
            b"s": octets(host),
            b"i": octets(qid),
        }

    def answer(self, routes: list[Route]) -> dict[str, object]:
        """Ask the filters; *routes* are those of the sender and of each recipient. Raise OSError."""
        rows = input_filters.of_port(None, self._options)
        chain = FilterChain(rows, self._options, self._note)
        try:
            return {**self._answer(chain, routes), "failed": chain.failed()}
        finally:
            chain.quit()

    def _note(self, text: str, level: int) -> None:
        options = self._options
        most = options.milter_log_level if options.milter_log_level >= 0 else options.log_level
        if level <= most:
            self._notes.append(text)

    def _answer(self, chain: FilterChain, routes: list[Route]) -> dict[str, object]:
        verdict = self._begin(chain, routes[0])
        letter = self._letter()
        refused: list[tuple[str, str]] = []
        if verdict is CONTINUE:
            verdict = self._recipients(chain, letter, routes[1:], refused)
        if verdict is CONTINUE:
            verdict = chain.tell(Event.DATA, b"", self._macros)
        if verdict is CONTINUE:
            ids = [one for one in letter.fields if headers.name(one) == b"message-id"]
            self._macros[b"{msg_id}"] = headers.value(ids[0]) if ids else b""
            self._macros[b"{msg_size}"] = b"%d" % letter.body.size
            verdict = chain.judge(letter, self._macros)
        return self._told(letter, verdict, refused)

    def _begin(self, chain: FilterChain, route: Route) -> FilterVerdict:
        control = self._control
        verdict = chain.open()
        if verdict is CONTINUE:
            verdict = chain.tell(Event.CONNECT, protocol.connect(_NAME, _IP, 0), self._macros)
        if verdict is CONTINUE:
            name = protocol.arguments(octets(self._host))
            verdict = chain.tell(Event.HELO, name, self._macros)
        if verdict is CONTINUE:
            self._macros |= triple(b"mail", *route)
            self._macros |= {b"f": address.bare(control.reverse_path)}
            if control.auth:
                self._macros[b"{auth_author}"] = decode_xtext(control.auth)
            words = [b"BODY=" + control.body_type] if control.body_type else []
            data = protocol.arguments(_path(control.reverse_path), *words)
            verdict = chain.tell(Event.MAIL, data, self._macros)
        return verdict

    def _recipients(
        self,
        chain: FilterChain,
        letter: Letter,
        routes: list[Route],
        refused: list[tuple[str, str]],
    ) -> FilterVerdict:
        """CONTINUE if anybody is left."""
        verdict = CONTINUE
        for recipient, route in zip(self._control.recipients, routes, strict=True):
            self._macros |= triple(b"rcpt", *route)
            data = protocol.arguments(_path(recipient.address))
            verdict = chain.tell(Event.RCPT, data, self._macros)
            if _is_refusal(verdict):
                refused.append((_text(recipient.address), _words(verdict, "550")))
                letter.recipients.remove(recipient)
            elif verdict is not CONTINUE:
                return verdict
        self._macros[b"{nrcpts}"] = b"%d" % len(letter.recipients)
        return CONTINUE if letter.recipients else verdict

    def _letter(self) -> Letter:
        control = self._control
        fields = [field for flag, field in control.headers if flag not in (b"P", b"x")]
        body = MessageBody(self._data, _size(self._data), self._options.max_message_size)
        return Letter(body, fields, control.reverse_path, list(control.recipients), host=self._host)

    def _told(
        self, letter: Letter, verdict: FilterVerdict, refused: list[tuple[str, str]]
    ) -> dict[str, object]:
        word = "accept" if verdict is CONTINUE else verdict.word.name.lower()
        if _is_refusal(verdict):
            word = "refused"
        elif verdict.word in (Word.SHUTDOWN, Word.REPLY):
            word = "tempfail"
        eight_bit = letter.body.eight_bit or not all(one.isascii() for one in letter.seen())
        return {
            "word": word,
            "reply": _words(verdict, "554"),
            "said": refused,
            "above": [_text(one) for one in letter.above],
            "fields": [_text(one) for one in letter.fields],
            "sender": _text(letter.reverse_path),
            "recipients": [
                (_text(one.address), one.flags, _text(one.original)) for one in letter.recipients
            ],
            "quarantine": letter.quarantine,
            "envid": None if letter.envid is None else _text(letter.envid),
            "body_type": _text(letter.body_type or b""),
            "eight_bit": eight_bit,
            "notes": self._notes,
        }


def _is_refusal(verdict: FilterVerdict) -> bool:
    is_own = verdict.reply is not None and verdict.reply.code >= 500
    return verdict.word is Word.REJECT or (verdict.word is Word.REPLY and is_own)


def _words(verdict: FilterVerdict, code: str) -> str:
    if verdict.reply is not None:
        return str(verdict.reply)
    return _FINAL.get(verdict.word, f"{code} 5.7.1 Command rejected")


def _path(path: bytes) -> bytes:
    return b"<%b>" % address.bare(path)


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
