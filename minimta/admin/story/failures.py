"""What a failure means, and what can be done about it: of our own words, and of other hosts' replies.

A row has a pattern of what log and mailq show ("stat"), what it means and what to do. What a provider
says is in ``provider_replies``; it counts if there is a reply. Pure: nothing is opened or asked.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from minimta.admin import provider_replies


class FailureMeaning(NamedTuple):
    """Both sentences begin with a small letter and have no full stop."""

    meaning: str
    remedy: str


class _Row(NamedTuple):
    #: regular expression, found in the text, in any case
    words: str
    meaning: str
    remedy: str


_AGAIN = "it is tried again; minimta queue retry tries it at once"

_ROWS = (
    # --- held, put aside ---
    _Row("^quarantine=|^held: ", "it is held: no run takes it",
         "look at it (minimta queue show), then minimta queue release, bounce or delete"),
    _Row("bogus queue file|bogus data file|bogus file uid", "its files have not the owner or mode that they were made with",
         "see who changed them (ls -l); chown and chmod them back, then minimta queue release"),
    _Row("data file torn|no data file", "its body is missing, or not as long as it was",
         "restore df from a backup, then minimta queue release; or minimta queue delete"),
    _Row("readqf|bogus queue line|unrecognized line|incomplete queue file|savemail panic", "its control file cannot be acted on",
         "minimta queue show names what is wrong; mend Qf, then minimta queue release; or minimta queue delete"),
    # --- logins and TLS, which name file and line themselves ---
    _Row("password of .* refused|login .* refused|wants a login", "the host does not take the login",
         "correct the row that is named; minimta queue retry tries it at once"),
    _Row("no TLS with|offers no AUTH|login .* is not for", "the login is not said where anybody could hear it, or to another host",
         "see the row that is named, and TLSPolicy"),
    _Row("TLS: |nothing was sent|certificate|handshake", "the host does not prove who it is, as was asked for",
         "the row or option that is named says what is wanted; if the host is right, its certificate has to be"),
    # --- reaching a host ---
    _Row("Connection refused by", "nothing listens at that port of the host, or a firewall answers for it",
         f"see whether the host and its port are right and it is up; {_AGAIN}"),
    _Row("Connection timed out with", "the host does not answer: it is down, or a firewall on the way drops what we send (many networks block port 25)",
         f"minimta check tells whether port 25 is blocked; a smart host at port 587 gets through; {_AGAIN}"),
    _Row("Network is unreachable|No route to host", "there is no way from here to that address",
         f"see the network of this host (ip route), and that of the address's family; {_AGAIN}"),
    _Row("Connection reset by|read error from|connection lost|closed while waiting", "the host broke the connection in the middle",
         f"minimta queue show has what was said before; {_AGAIN}"),
    _Row("Name server: .*(host not found|no usable address)", "no such domain or host is known in DNS",
         "correct the address, in the alias or .forward that names it, too"),
    _Row("Name server", "the name servers do not answer, or the domain's fail",
         f"see /etc/resolv.conf and the domain's servers (dig); {_AGAIN}"),
    _Row("mail loops back to me|points back to", "DNS says that mail for that domain is for this host, which does not think so",
         "add the domain to LocalHostNames, or correct its MX record"),
    _Row("waits for .*(deliver|turn)|MaxQueueChildren|connection lost before", "others go first: not begun", "nothing: it is tried soon"),
    # --- local ---
    _Row("aliasing/forwarding loop", "aliases or .forward files lead back to where they began",
         "break the circle at one of the lines that are named, then newaliases"),
    _Row("Too many hops", "it goes in a circle between hosts",
         "see in its Received fields which, and which alias, .forward or MX record sends it back"),
    _Row("(Group|World) writable|Wrong owner|is writable", "others could have written that file, so it is not obeyed",
         "chmod go-w it, and the directories above it"),
    _Row("prog mailer|unknown mailer error|did not end in|smrsh", "the program did not take it, by its exit code",
         "run it by hand as that user, with a message as its input"),
    _Row("mailbox .* (is no regular file|is locked|links)", "the mailbox cannot be written as it is",
         f"ls -ld it, and move away what is not a mailbox; {_AGAIN}"),
    _Row("No space left|Disk quota|File too large|full disk", "there is no room, or no more for this user",
         f"df, df -i and quota tell; make room; {_AGAIN}"),
    _Row("Permission denied|Can't create output|Read-only file system|Insufficient permission", "the file or directory may not be written by who should",
         "see modes and owners of the path that the log names, all the way down"),
    _Row("Cannot open |cannot open ", "a file that an alias names is not there, or cannot be read",
         "correct the line that names it, or make the file"),
    _Row("Cannot send message for|could not send message for", "it was tried for as long as Timeout.queuereturn says",
         "the last attempt tells why; send it again when that is mended"),
    _Row("exceeds maximum|too large|too big", "it is larger than may be", "send less, or raise MaxMessageSize"),
    _Row("cannot record what was delivered", "the queue cannot be written: it may come twice", "make room in the queue's file system"),
    _Row("User unknown", "there is no such user or alias here", "correct the address, or add it to the aliases and run newaliases"),
)  # fmt: skip
_MATCHERS = tuple((re.compile(row.words, re.IGNORECASE), row) for row in _ROWS)
_PROGRAM = FailureMeaning(
    "the program did not take it, by its exit code",
    "run it by hand as that user, with a message as its input",
)


def explain(stat: str, reply: str = "", mailer: str = "") -> FailureMeaning | None:
    """What a failure means, None if nobody knows. *stat* and *reply* as in the log, by that *mailer*."""
    if mailer == "prog":
        return _PROGRAM
    said = reply if mailer != "local" else ""
    # What we wrote around a reply says more: the file, the line.
    own = _own(stat) if "correct " in stat or "TLS" in stat else None
    if own is None and (meaning := provider_replies.explain(said or _without_own(stat))):
        return FailureMeaning(meaning.meaning, meaning.remedy)
    return own or _own(stat) or _own(reply)


def _without_own(stat: str) -> str:
    """A reply of ours to local recipients is none of a provider's."""
    return "" if stat == "User unknown" else stat


def _own(text: str) -> FailureMeaning | None:
    for pattern, row in _MATCHERS:
        if text and pattern.search(text):
            return FailureMeaning(row.meaning, row.remedy)
    return None


def exit_code_of(stat: str) -> str:
    """The exit code that *stat* of a program tells, with its name; "" if it tells none."""
    if match := re.search(r"unknown mailer error (\d+)", stat):
        return match[1]
    codes = {
        "Service unavailable": "EX_UNAVAILABLE",
        "User unknown": "EX_NOUSER",
        "Command line usage error": "EX_USAGE",
        "Data format error": "EX_DATAERR",
        "Cannot open input": "EX_NOINPUT",
        "Host unknown": "EX_NOHOST",
        "Internal error": "EX_SOFTWARE",
        "System file missing": "EX_OSFILE",
        "Can't create output": "EX_CANTCREAT",
        "Remote protocol error": "EX_PROTOCOL",
        "Insufficient permission": "EX_NOPERM",
        "Local configuration error": "EX_CONFIG",
    }
    name = "EX_TEMPFAIL" if "EX_TEMPFAIL" in stat else codes.get(stat, "")
    return f"{getattr(os, name)} ({name})" if name else ""
