"""The traffic log (``sendmail -X FILE``): each line that is read or said, as Sendmail 8.17 writes it.

    02168 <<< Subject: t             read: standard input, a client's command, another host's reply
    02168 >>> 250 2.1.0 Sender ok    said: our reply to a client, our command to another host
    02168 === CONNECT lab2.campus.   what is done meanwhile

The number is that of the thread, which is the process where there is but one: a listener serves many.
The file is opened with the rights of the caller, who alone may read it, and added to; one that belongs to
another user, or has a second name, is refused. What a login says
is not in it. A log that cannot be written any more stops no mail.
"""

from __future__ import annotations

import errno
import os
import stat

#: the open file; -1: nothing is logged
_file = -1
# DIFFERS: the number is that of the thread; Sendmail has a process for each connection.
# DIFFERS: Sendmail adds to whatever file its caller may write.
_HIDDEN = b"***"
#: octets of a line of a client's that are kept until it ends: it may never do that
_LONGEST = 1 << 18


def open_log(path: str) -> None:
    """Log to *path* from now on, in this process and those that it forks. Raise OSError."""
    global _file
    # A FIFO that nobody reads does not hold us up. A link that others planted is not followed;
    # /dev/stdout is one of the system's.
    link = 0 if path.startswith("/dev/") else os.O_NOFOLLOW
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | link
    file = os.open(path, flags, 0o600)
    if link and not _is_own(os.fstat(file)):
        os.close(file)
        raise PermissionError(errno.EPERM, "it belongs to somebody else, or has another name", path)
    _file = file


def _is_own(found: os.stat_result) -> bool:
    """May what is said go there? Who made the file in /tmp before us would read it."""
    is_file = stat.S_ISREG(found.st_mode)
    return found.st_uid == os.geteuid() and (found.st_nlink == 1 or not is_file)


def close_log() -> None:
    """Log no more."""
    global _file
    if _file >= 0:
        os.close(_file)
    _file = -1


def is_open() -> bool:
    """Is anything logged?"""
    return _file >= 0


def received(octets: bytes) -> None:
    """Lines of a message or a dialogue that were read; the last one may be unfinished."""
    _write(b"<<< ", octets)


def sent(octets: bytes) -> None:
    """Lines that were said."""
    _write(b">>> ", octets)


def event(text: str) -> None:
    """What is done meanwhile."""
    _write(b"=== ", text.encode("utf-8", "surrogateescape"))


def heard(line: str) -> None:
    """A line as ``-v`` shows it: ">>> EHLO x" was said, "250 x" came, all else is what is done."""
    octets = line.encode("utf-8", "surrogateescape")
    if line.startswith(">>> "):
        sent(octets[4:])
    elif line[:3].isdigit() and line[3:4] in (" ", "-", ""):
        received(octets)
    else:
        what, separator, host = line.partition("... Connecting to ")
        event(f"CONNECT {host.partition(' via ')[0]}" if separator and what else line)


def _write(mark: bytes, octets: bytes) -> None:
    if _file < 0 or not octets:
        return
    import threading  # not before somebody wants a log

    begin = b"%05d %b" % (threading.get_native_id(), mark)
    lines = octets.removesuffix(b"\n").split(b"\n")
    try:
        # One write: lines of others do not come between.
        os.write(_file, b"".join(b"%b%b\n" % (begin, line.removesuffix(b"\r")) for line in lines))
    except OSError:
        pass


class SmtpTraffic:
    """Both sides of one SMTP session, of which we are the server; a login is hidden."""

    __slots__ = ("_is_secret", "_rest", "_secret")

    def __init__(self) -> None:
        self._rest = b""
        #: the next line answers a challenge of AUTH
        self._is_secret = False
        #: the last of them: an error may quote it
        self._secret = b""

    def received(self, octets: bytes) -> None:
        """What the client said, in pieces."""
        if _file < 0:
            return
        lines, end, rest = (self._rest + octets).rpartition(b"\n")
        self._rest = rest[:_LONGEST]
        if end:
            received(b"\n".join(map(self._shown, lines.split(b"\n"))))

    def _shown(self, line: bytes) -> bytes:
        if self._is_secret:
            self._is_secret, self._secret = False, line.strip()
            return _HIDDEN
        words = line.split(None, 2)
        if words[:1] and words[0].upper() == b"AUTH":
            # Whatever answer it gets: the line behind it may hold a password, too.
            self._is_secret = len(words) < 3
            self._secret = words[2].strip() if len(words) > 2 else b""
            return b" ".join([*words[:2], *([_HIDDEN] if len(words) > 2 else [])])
        return line

    def sent(self, octets: bytes) -> None:
        """What we answered."""
        if _file < 0 or not octets:
            return
        if self._secret:
            octets = octets.replace(self._secret, _HIDDEN)
        if octets.startswith((b"334", b"\n334")) or b"\n334" in octets:
            self._is_secret = True
            octets = b"\n".join(
                b"334 " + _HIDDEN if line.startswith(b"334") else line
                for line in octets.split(b"\n")
            )
        else:
            self._is_secret = False
        sent(octets)
