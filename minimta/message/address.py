"""Addresses as octets: brackets, local part, domain, literals (RFC 5321 section 4.1.2).

The local part is opaque: no "%", "!" or source route is ever interpreted, or "user%elsewhere@here"
would relay for anybody. The last unquoted "@" splits, everywhere: the address that was checked is
the address that is routed.
"""

from __future__ import annotations

#: RFC 5321 section 4.5.3.1.3, without the brackets counted; longer local parts are in use (VERP)
MAX_PATH = 256
#: how what is no mailbox begins, in small letters -> what it is
MARKS = {b"|": "program", b"/": "file", b":include:": "include"}


def bare(path: bytes) -> bytes:
    """Take off the angle brackets: b"<dave@lab2.campus>" -> b"dave@lab2.campus", b"<>" -> b"".

    Also from b"Henry E <henry@lab3.campus>", as a command line's recipient stands in the queue.
    """
    if path[-1:] != b">" or b"<" not in path:
        return path
    return path[1:-1] if path[:1] == b"<" else path[path.rfind(b"<") + 1 : -1]


def why_special(text: bytes) -> str:
    """Why no mail goes to *text* directly, in Sendmail's words; "" if it is an address.

    Only an alias or a .forward may lead to programs, files and lists: if a client or a caller could,
    it would run commands. Neither blanks, quotes, brackets nor a display name hide what it is.
    """
    # DIFFERS: as a recipient of another host Sendmail takes "/G=Dave/@gateway"; here not even a
    # line that the administrator reads in the queue looks like a program or a file without being one.
    for target in (text.lstrip(b'<" \t').lower(), bare(text).lstrip(b'<" \t').lower()):
        for mark, kind in MARKS.items():
            if target.startswith(mark):
                return f"Cannot mail directly to {':include:' if kind == 'include' else kind}s"
    return ""


def split(address: bytes) -> tuple[bytes, bytes]:
    """(local part, domain) of a bare address; the domain is b"" if there is none.

    The last "@" outside a quoted string splits: b'"a@b"@c' -> (b'"a@b"', b"c").
    """
    at = address.rfind(b"@")
    if at < 0 or (address[:1] == b'"' and b'"' in address[at:]):
        return address, b""
    return address[:at], address[at + 1 :]


def qualified(address: bytes, host: str) -> bytes:
    """A bare address with *host*, our name, behind it if it has no domain; b"" stays b"".

    RFC 5321 section 2.3.5: only fully qualified names leave this host.
    """
    if not address or split(address)[1]:
        return address
    return b"%b@%b" % (address, host.encode("ascii", "replace"))


def unquote(local: bytes) -> bytes:
    """The meaning of a local part: b'"da\\ ve"' -> b"da ve" (RFC 5321 section 4.1.2)."""
    if len(local) < 2 or local[:1] != b'"' or local[-1:] != b'"':
        return local
    return _without_pairs(local[1:-1])


def _without_pairs(text: bytes, left_out: bytes = b"") -> bytes:
    """Quoted pairs are what they quote; *left_out* is no part of it without a backslash."""
    if b"\\" not in text:
        return text.translate(None, left_out)
    out, position = bytearray(), 0
    while position < len(text):
        is_pair = text[position] == 0x5C and position + 1 < len(text)
        position += is_pair
        if is_pair or text[position] not in left_out:
            out.append(text[position])
        position += 1
    return bytes(out)


def plainest(local: bytes) -> bytes:
    """One spelling for all of a local part, as keys of tables have it: b'"b"a\\d' -> b"bad".

    What RFC 5322 section 4.4 lets stand anywhere means nothing; quotes stay where they must.
    """
    if b'"' not in local and b"\\" not in local:
        return local
    return quoted(_without_pairs(local, b'"'))


def local_name(local: bytes) -> tuple[bytes, bool]:
    """(whose mailbox, is it final) of a local part of ours.

    As in Sendmail b"\\dave" and b'"\\dave"' are dave's mailbox, past aliases and .forward.
    """
    if local[:1] == b"\\":
        return unquote(local[1:]), True
    return unquote(local), local[:2] == b'"\\'


#: what an atom has not (RFC 5322 section 3.2.3); a dot may stand between two
_SPECIALS = bytes(range(33)) + b'()<>[]:;@\\,"\x7f'


def quoted(meaning: bytes) -> bytes:
    """A local part as it is written, in quotes if it needs them: b"da ve" -> b'"da ve"'."""
    if meaning == meaning.translate(None, _SPECIALS) and meaning:
        return meaning
    return b'"%b"' % meaning.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def of_login(login: bytes) -> bytes:
    """The local part of a user's address: b"john.smith", b'"EXAMPLE\\\\john smith"', b'"dave."'."""
    if b".." in b".%b." % login:
        return b'"%b"' % login.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return quoted(login)


def domain_key(domain: bytes) -> bytes:
    """A domain as it is compared: small letters, no trailing dot (RFC 5321 section 2.4), A-labels."""
    if domain.isascii():
        return domain.lower().removesuffix(b".")
    from minimta.message import internationalized  # few addresses are beyond ASCII

    return internationalized.a_labels(domain.removesuffix(b".")) or domain.lower()


def folded(local_part: bytes) -> bytes:
    """A local part of ours as it is compared: in any case, and in any form of Unicode."""
    if local_part.isascii():
        return local_part.lower()
    from minimta.message import internationalized

    return internationalized.folded(local_part)


def key(bare: bytes) -> bytes:
    """Equal for addresses of other hosts that are the same: the local part as it is written."""
    local, domain = split(bare)
    return local + b"@" + domain_key(domain)


def without_final_dot(bare: bytes) -> bytes:
    """b"dave@lab2.campus." -> b"dave@lab2.campus": how it stands on the wire and in a header.

    The dot of the full form is for resolvers; RFC 5321 section 4.1.2 knows no such domain.
    """
    if bare[-1:] != b".":
        return bare
    local, domain = split(bare)
    if not domain:
        return bare  # the dot is the local part's
    domain = domain[:-1]
    return b"%b@%b" % (local, domain) if domain else local


def literal(domain: bytes) -> str:
    """The address in an address literal, "" if *domain* is none: b"[10.0.3.135]" -> "10.0.3.135".

    "IPv6:" is taken off (RFC 5321 section 4.1.3); whether it is a valid address is not checked.
    """
    if domain[:1] != b"[" or domain[-1:] != b"]":
        return ""
    inside = domain[1:-1].decode("ascii", "replace")
    return inside[5:] if inside[:5].lower() == "ipv6:" else inside
