"""Sessions by seed against a listener, each judged: replies in step and well formed, and an end.

Client(peer, random, secure).talk()    raises AssertionError with what was said

An AssertionError has the dialogue in its notes. What a client may say at once and to what it may
listen is the client's own reckoning: nothing of minimta/smtp is used here.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from random import Random

from tests.support.smtpgrammar import Chunk, Grammar

PATIENCE = 30.0
# RFC 5321 section 4.2: every line has the code, and ends in CRLF; section 4.5.3.1.5: 512 octets.
_LINE = re.compile(rb"([2-5]\d\d)([ -])([\t\x20-\x7e\x80-\xff]*)\r\n")
# RFC 2034 section 4: of the same class as the code.
_ENHANCED = re.compile(rb"([245])\.\d{1,3}\.\d{1,3} ")
#: code -> the only commands that it can be an answer to; b"" is an answer within AUTH
_ONLY = {
    214: (b"HELP",), 220: (b"STARTTLS",), 221: (b"QUIT",), 252: (b"VRFY", b"EXPN"),
    235: (b"AUTH", b""), 334: (b"AUTH", b""), 354: (b"DATA",),
    250: (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP", b"VRFY", b"EXPN", b"BDAT"),
}  # fmt: skip
_MARK = re.compile(rb"x\d+q")
#: the client talked before its turn, or a text broke off: nothing more is answered
_LAST = (221, 421, 554)

Secure = Callable[[socket.socket], ssl.SSLSocket]


class Ended(Exception):
    """The listener has closed the connection."""


class Client:
    """One client; all that it does comes from its random numbers."""

    def __init__(self, sock: socket.socket, random: Random, secure: Secure, *, tls: bool) -> None:
        """*secure* makes the handshake on a socket; *tls*: now already, as port 465 wants it."""
        sock.settimeout(PATIENCE)
        self._socket = secure(sock) if tls else sock
        self._is_secure = tls
        self._random, self._secure = random, secure
        self._grammar = Grammar(random)
        self._buffer = b""
        self._in_login = False
        self._eol = random.choice((b"\r\n",) * 9 + (b"\n",))
        #: what happened: kinds of sessions, and codes of replies
        self.seen: Counter[str] = Counter()
        self._last_code = 0
        self.dialogue: list[bytes] = []

    def talk(self) -> None:
        """The whole session. Raise AssertionError if it is not as it must be."""
        manner = self._random.choice((self._step_by_step,) * 6 + (self._all_at_once,) * 3)
        self.seen[manner.__name__[1:]] += 1
        try:
            with contextlib.suppress(Ended):
                assert self._reply() in (220, 421)
                manner()
                self._leave()
        except (AssertionError, TimeoutError) as error:
            error.add_note("\n".join(repr(line[:200]) for line in self.dialogue[-40:]))
            raise
        finally:
            self._socket.close()

    # --- manners ----------------------------------------------------------------------------------

    def _step_by_step(self) -> None:
        """Groups of commands, whose replies are awaited: each has exactly one."""
        if self._random.random() < 0.9:
            self._group([b"EHLO lab1.campus"])
        if not self._is_secure and self._random.random() < 0.4:
            self._group([b"STARTTLS"])
            self._group([b"EHLO lab1.campus"])
        if self._is_secure and self._random.random() < 0.3:
            self._group([self._grammar.login()])
        for _ in range(self._random.randint(1, 14)):
            self._group(self._grammar.lines(self._eol))

    def _group(self, lines: list[bytes]) -> None:
        self._send(
            b"".join(line + (b"" if isinstance(line, Chunk) else self._eol) for line in lines)
        )
        for line in lines:
            code = self._answer_to(line)
        if code == 354:
            self._send(self._grammar.text(self._eol) + self._eol + b"." + self._eol)
            code = self._reply()
            assert code in (250, 421) or code >= 450, code
        if code == 220:
            self._shake_hands()
        while self._in_login:
            answer = self._grammar.answer()
            self._send(answer + self._eol)
            self._answer_to(answer)

    def _answer_to(self, line: bytes) -> int:
        """The code of the reply to *line*, which must be one that it can have."""
        verb = b"" if self._in_login else line.replace(b"\t", b" ").partition(b" ")[0].upper()
        code = self._reply(line)
        assert verb in _ONLY.get(code, (verb,)), (code, line)
        if verb == b"QUIT":
            has_argument = bool(line[4:].strip(b" \t"))
            assert code in (501 if has_argument else 221, 421), (code, line)
        if verb == b"BDAT":
            self.seen[f"BDAT {code}"] += 1
            if code == 501:
                self._last_code = 421  # nobody knows where its chunk ends
        self._in_login = code == 334
        return code

    def _shake_hands(self) -> None:
        """TLS; or something else, to which nothing may be said in clear."""
        if self._random.random() < 0.2:
            self.seen["no handshake"] += 1
            self._send(
                self._random.choice((b"", b"\x16\x03\x01\x02\x00\x01")) + self._grammar.garbage()
            )
            self._half_close()
            with contextlib.suppress(Ended):
                while True:
                    self._fill()
            assert self._buffer[:1] in (b"", b"\x15"), self._buffer  # at most an alert
            raise Ended
        assert not self._buffer, self._buffer
        self._socket = self._secure(self._socket)
        self._is_secure = True
        self.seen["TLS"] += 1
        self._eol = self._random.choice((b"\r\n",) * 9 + (b"\n",))

    def _all_at_once(self) -> None:
        """Commands and texts, spoiled, or no commands at all, without waiting for a reply."""
        if self._random.random() < 0.8:
            self._eol = self._random.choice((b"\r\n", b"\n"))  # in the second all is served
            self._group([b"EHLO lab1.campus"])
        said = self._grammar.garbage()
        if self._random.random() < 0.7:
            lines = [
                line
                for _ in range(9)
                for line in (*self._grammar.lines(self._eol), b"DATA", b"x", b".")
            ]
            said = self._grammar.spoiled(self._eol.join(lines))
        for chunk in self._grammar.chunks(said):
            self._send(chunk)
        self._half_close()
        for _ in range(said.count(b"\n") + 2):  # one each, and the last words
            self._reply()
        raise AssertionError("more replies than lines")

    # --- octets -----------------------------------------------------------------------------------

    def _leave(self) -> None:
        """QUIT, or just go; in any case the listener ends it, and says nothing more."""
        if self._random.random() < 0.7:
            self._send(b"QUIT" + self._eol)
            assert self._reply() in (221, 421)
        else:
            self._half_close()
        with contextlib.suppress(Ended):
            self._fill()
        assert not self._buffer, self._buffer

    def _send(self, octets: bytes) -> None:
        self.dialogue.append(b"> " + octets)
        # It may have ended; what it said before is still to be read.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._socket.sendall(octets)

    def _half_close(self) -> None:
        # Not that of SSLSocket, which would drop its TLS layer.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def _fill(self) -> None:
        """Read more. Raise Ended, TimeoutError."""
        try:
            octets = self._socket.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            raise Ended from error
        if not octets:
            raise Ended
        self._buffer += octets

    def _reply(self, line: bytes = b"") -> int:
        """The code of the next reply, that to *line*. Raise Ended."""
        codes: list[int] = []
        while True:
            while b"\n" not in self._buffer:
                self._fill_or_end(line)
            said, _, self._buffer = self._buffer.partition(b"\n")
            said += b"\n"
            self.dialogue.append(said)
            found = _LINE.fullmatch(said)
            assert found is not None, said
            code = int(found[1])
            # RFC 6531 section 3.7.4.2; which command it answers is not known to who said all at once.
            asked = line[:4].upper() in (b"VRFY", b"EXPN") and line.upper().endswith(b" SMTPUTF8")
            may_be_utf8 = asked or (not line and code in (250, 252))
            assert found[3].isascii() or (may_be_utf8 and found[3].decode("utf-8")), said
            self._judge(code, found[3], line)
            codes.append(code)
            assert len(set(codes)) == 1, "codes of one reply differ"
            assert len(said) <= 512 or code == 334, said
            if found[2] == b" ":
                self.seen[str(code)] += 1
                self.seen["accepted"] += found[3].endswith(b"Message accepted for delivery")
                self._last_code = code
                return code

    def _fill_or_end(self, line: bytes) -> None:
        try:
            self._fill()
        except Ended:
            assert not self._buffer, f"half a reply: {self._buffer!r}"
            assert not line or self._last_code in _LAST, f"no reply to {line!r}"
            raise

    def _judge(self, code: int, text: bytes, line: bytes) -> None:
        enhanced = _ENHANCED.match(text)
        assert not enhanced or int(enhanced[1]) == code // 100, (code, text)
        said = set(_MARK.findall(line))
        assert not line or set(_MARK.findall(text)) <= said, f"out of step: {text!r} to {line!r}"
