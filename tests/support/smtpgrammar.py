"""Commands of SMTP as clients say them, and as nobody should: the same ones for the same seed.

grammar = Grammar(Random("fuzz 7"))
grammar.lines(eol)   a group of commands, without line ends; a Chunk has all that belongs to it
grammar.text()       a message, dots doubled, without the final one
grammar.garbage()    octets of no language
"""

from __future__ import annotations

import base64
from random import Random

#: octets that a parser may stumble over
_SPICE = (
    *rb"""< > " \ @ : % = + .. , ; ( ) [ ] |""".split(),
    b"\0",
    b"\t",
    b"\xff",
    b"\x7f",
    b"  ",
)
_SPICE += (b"\x1b[2J", b"\xe2\x80\xa8", b"\xc3\xa9")
#: the same with halves of a line end, for texts and for octets without structure
_LINE_ENDS = (
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n.\n",
    b"\r\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
)
_WORDS = (
    b"EHLO HELO MAIL RCPT DATA RSET NOOP QUIT AUTH STARTTLS VRFY HELP FROM: TO:<dave> PLAIN LOGIN"
)
_LOCAL = (
    *b"dave carol staff postmaster nobody-here dave+list loop |prog /tmp/x :include:/x".split(),
    *b'"dave" "x@elsewhere.example" x%elsewhere.example elsewhere.example!x'.split(),
    *(b"@elsewhere.example:dave", b'"a b"', b""),
    *("jörg".encode(), "JO\u0308RG".encode(), b"j\xf6rg", "da\u202eve".encode()),
)
_DOMAINS = (
    *b"lab2.campus LAB2.CAMPUS lab2.campus. [10.0.3.135] elsewhere.example [192.0.2.9]".split(),
    *(b"nosuch.example", b"servfail.campus", b"-.", b"a..b", b"[IPv6:::1]", b""),
    *("käse.example".encode(), "lab2。campus".encode(), b"k\xe4se.example"),
)
_MAIL = tuple(
    b"SIZE=100 SIZE=99999999999999999999 SIZE=-1 BODY=8BITMIME BODY=7BIT BODY=BINARYMIME RET=HDRS RET "
    b"ENVID=a+2Bb AUTH=<> AUTH=emma+40lab1.campus X=y = SMTPUTF8 SMTPUTF8 SMTPUTF8=1 "
    b"BY=60;R BY=-1;NT BY=1e3;R BY=;; BY=9;\xff REQUIRETLS HOLDFOR=9".split()
)
_RCPT = tuple(b"NOTIFY=NEVER NOTIFY=SUCCESS,DELAY NOTIFY= ORCPT=rfc822;a@b ORCPT=+ZZ".split())
_MECHANISMS = (
    *b"PLAIN plain LOGIN login SCRAM-SHA-256 SCRAM-SHA-256 CRAM-MD5 XOAUTH2".split(),
    b"",
)
_ARGUMENTS: dict[bytes, tuple[bytes, ...]] = {
    b"EHLO": (b"lab1.campus", b"[10.0.3.134]", b"x" * 300, b"", b"a b"),
    b"HELO": (b"lab1.campus", b""),
    b"HELP": (b"", b"MAIL", b"XYZ"),
    b"NOOP": (b"", b"", b"x" * 5, b"x" * 3000, b"x" * 13000),
    b"BDAT": (b"", b"x", b"-1", b"0x1", b"1e3", b"9" * 21, b"LAST", b"1 LAST x"),
}
#: command -> how often; those behind which a client waits end a group
_WEIGHTS = {
    b"MAIL": 20, b"RCPT": 25, b"NOOP": 4, b"RSET": 4, b"VRFY": 2, b"EXPN": 2, b"HELP": 2, b"X": 2,
    b"EHLO": 5, b"HELO": 2, b"DATA": 14, b"STARTTLS": 3, b"AUTH": 9, b"QUIT": 2, b"ETRN": 2, b"BDAT": 5,
}  # fmt: skip
AWAITED = (b"EHLO", b"HELO", b"DATA", b"STARTTLS", b"AUTH", b"QUIT")


class Chunk(bytes):
    """BDAT, its line end, and the octets that it announces: sent as it is."""


class Grammar:
    """One client's way to talk."""

    def __init__(self, random: Random) -> None:
        """All that it says comes from *random*."""
        self._random = random
        self._login = b"\0emma\0secret"
        self._number = 0

    def lines(self, eol: bytes) -> list[bytes]:
        """Commands to be sent together; each that names an address has a mark of its own."""
        if self._random.random() < 0.25:
            return self._transaction(eol)
        group: list[bytes] = []
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            [verb] = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            if verb == b"BDAT" and self._random.random() < 0.9:
                group += self._chunked(eol)
                continue
            group.append(self._spoiled(self._command(verb)))
            if verb in AWAITED:
                break
        return group

    def _chunked(self, eol: bytes) -> list[bytes]:
        """A message in chunks, or some of them; a chunk may be cut anywhere."""
        text, cuts = self.text(eol), self._random.choice((0, 0, 1, 3))
        places = sorted(self._random.randint(0, len(text)) for _ in range(cuts))
        bounds = [0, *places, len(text)]
        pieces = [text[bounds[i] : bounds[i + 1]] for i in range(cuts + 1)]
        chunks = [Chunk(b"BDAT %d%b%b" % (len(piece), eol, piece)) for piece in pieces]
        if self._random.random() < 0.9:
            chunks[-1] = Chunk(b"BDAT %d LAST%b%b" % (len(pieces[-1]), eol, pieces[-1]))
        return list(chunks)

    def _transaction(self, eol: bytes) -> list[bytes]:
        """One that is accepted, if what it has besides is not in the way."""
        more = [self._command(b"RCPT") for _ in range(self._random.choice((0, 0, 1, 3)))]
        to = self._random.choice((b"dave", b"carol@lab2.campus", b"henry@elsewhere.example"))
        group = [b"MAIL FROM:<emma@lab1.campus>", *more, b"RCPT TO:<%b>" % to]
        if self._random.random() < 0.35:
            group[0] += self._random.choice((b"", b" BODY=BINARYMIME"))
            group[0] += self._random.choice((b"", b" SMTPUTF8"))
            group += self._chunked(eol)
        else:
            group.append(b"DATA")
        return [b"RSET", *group] if self._random.random() < 0.7 else group

    def login(self) -> bytes:
        """AUTH with a password, at once; often it is the right one."""
        said = self._random.choice((self._login, self._login, b"\0emma\0wrong"))
        return b"AUTH PLAIN " + base64.b64encode(said)

    def _command(self, verb: bytes) -> bytes:
        if verb in (b"MAIL", b"RCPT"):
            word, words = (b"FROM", _MAIL) if verb == b"MAIL" else (b"TO", _RCPT)
            return b"%b %b:%b%b" % (verb, word, self.address(), self._parameters(words))
        line = b"%b %b" % (verb, self._argument(verb))
        line = line.rstrip(b" ")
        return line.lower() if self._random.random() < 0.1 else line

    def _argument(self, verb: bytes) -> bytes:
        choose = self._random.choice
        if verb == b"ETRN":
            return choose((b"", b"@", b"#")) + choose((*_DOMAINS, b"mqueue", b"a;b"))
        if verb in (b"VRFY", b"EXPN"):
            return self.address() + choose((b"", b"", b" SMTPUTF8"))
        if verb == b"AUTH":
            return b" ".join((choose(_MECHANISMS), *choose(((), (self.answer(),)))))
        return choose(_ARGUMENTS.get(verb, (b"",) * 9 + (b"x",)))

    def address(self) -> bytes:
        """A path; its local part often ends in a mark that no other one has: b"x7q"."""
        choose = self._random.choice
        self._number += 1
        local = choose(_LOCAL) + choose((b"", b"", b"+x%dq" % self._number))
        path = local + choose((b"", b"@" + choose(_DOMAINS), b"@" + choose(_DOMAINS)))
        return choose((b"<%b>",) * 8 + (b"%b", b"<%b", b" <%b> ")) % path

    def _parameters(self, words: tuple[bytes, ...]) -> bytes:
        count = self._random.choice((0, 0, 0, 1, 2))
        return b"".join(b" " + self._random.choice(words) for _ in range(count))

    def answer(self) -> bytes:
        """What AUTH wants to hear, or not."""
        choose, octets = self._random.choice, self._random.randbytes
        said = choose(
            (self._login, b"\0emma\0wrong", b"emma", b"secret", b"n,,n=emma,r=abc", octets(30))
        )
        return choose((base64.b64encode(said),) * 8 + (b"*", b"=", b"", b"!!!", b"A" * 5000))

    def _spoiled(self, line: bytes) -> bytes:
        return self.spoiled(line, _SPICE) if self._random.random() < 0.08 else line

    def spoiled(self, octets: bytes, spice: tuple[bytes, ...] = _SPICE + _LINE_ENDS) -> bytes:
        """*octets* with some put in, left out or doubled."""
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randint(0, len(octets))
            end = min(len(octets), place + self._random.randint(0, 6))
            middle = self._random.choice((*spice, b"", octets[place:end] * 2))
            octets = octets[:place] + middle + octets[end:]
        return octets

    def text(self, eol: bytes) -> bytes:
        """Header and body, sometimes with what is no line end, never with the final dot."""
        pieces = [
            b"Subject: x",
            b"From: a@b",
            b" folded",
            b"no field",
            b"",
            b"",
            b".",
            b"..",
            b"x" * 998,
        ]
        pieces += [
            b"\xff\xfe8 bit",
            b"y" * 3000,
            b"Received: from x",
            b"MAIL FROM:<evil@x.example>",
            b".",
        ]
        text = eol.join(self._random.choices(pieces, k=self._random.randint(0, 12)))
        if self._random.random() < 0.2:
            text = self.spoiled(text)
        text = (eol + text).replace(eol + b".", eol + b"..")
        return text[len(eol) :]

    def garbage(self) -> bytes:
        """Octets without structure, or words of SMTP without order."""
        if self._random.random() < 0.3:
            return self._random.randbytes(self._random.choice((1, 10, 300, 20_000)))
        pool = (*_SPICE, *_LINE_ENDS, *_LINE_ENDS, b" ", b" ", *_WORDS.split())
        return b"".join(self._random.choices(pool, k=self._random.randint(1, 200)))

    def chunks(self, octets: bytes) -> list[bytes]:
        """*octets*, in the pieces in which they come."""
        size = self._random.choice((1, 7, 100, 5000, 100_000)) if len(octets) < 2000 else 5000
        return [octets[start : start + size] for start in range(0, len(octets), size)]
