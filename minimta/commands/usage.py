"""``sendmail --help``, ``mailq --help``, ``newaliases --help``: what each is for, on one screen."""

from __future__ import annotations

_SENDMAIL = """\
usage: sendmail [options] ADDRESS ...    send the message on standard input
       sendmail -t [options]             the same, to those whom To, Cc and Bcc name
       sendmail -bp | -bi | -bv ADDRESS ...    show the queue | rebuild aliases | verify addresses
       sendmail -bd [-qTIME] | -q        start the daemon | run the queue once

  -i          a line with a single dot does not end the message
  -f ADDRESS  the sender       -F NAME  the sender's full name
  -N WHEN     success, failure, delay or never: when to report     -R full|hdrs
  -v          say what is done
  -C FILE     configuration file      -O NAME=VALUE, -oXVALUE  an option of it
  -Ac, -Am    the client queue, the MTA queue

The configuration is /etc/mail/minimta.cf; minimta.cf(5) has all options. Before an
address that begins with "-" stands "--".
"""
_MAILQ = """\
usage: mailq [-v] [-Ac] [-qISUBSTRING] [-qRSUBSTRING] [-qSSUBSTRING] [-qL]

Shows the messages that wait: id, size, when they came, sender, recipients and why they wait.
Who may not list the queue sees their own letters that the queue runner has not yet taken over.
  -v    with priority and next attempt
  -Ac   the client queue, where callers without rights leave their messages
  -qI, -qR, -qS   only those with a part in their id, a recipient, the sender
  -qL   what was put aside
"""
_NEWALIASES = """\
usage: newaliases

Compiles the alias files (option AliasFile, /etc/aliases) into the databases that are asked. To be
run after each change of them, by root or a user of TrustedUsers. praliases shows what they say.
"""
#: mode of a command line (-bX, or what the program's name stands for) -> its text
_TEXTS = {"p": _MAILQ, "i": _NEWALIASES}


def text(mode: str) -> str:
    """The help for *mode*, a letter of commandline.MODES; without a line end."""
    return _TEXTS.get(mode, _SENDMAIL).removesuffix("\n")
