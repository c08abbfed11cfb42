"""The commands of a reading session, and its loop (POSIX.1-2017, mailx, "Commands").

The first row of _COMMANDS whose name begins with what was typed is meant, if that is long enough.
Alone a number shows that message, an empty line the next one.
"""

from __future__ import annotations

import os
import sys

from minimta import __version__
from minimta.commands.mail import compose, display, folder, replies, rewrite
from minimta.commands.mail.message_list import WrongList
from minimta.commands.mail.session import TROUBLE, Deed, ReadingSession
from minimta.commands.mail.settings import words_of
from minimta.message import headers
from minimta.system.terminal import complain, prompt, say


class Ended(Exception):
    """The session is over; its folder is as it is to be."""


def run(session: ReadingSession, *, skips_headers: bool) -> int:
    """Read commands until the end. Returns the exit code."""
    if "quiet" not in session.settings.variables:
        say(f"minimta mail {__version__}.  Type ? for help.")
    say(display.summary(session.folder))
    if not skips_headers and "noheader" not in session.settings.variables:
        _to_window_of(session, session.first_unread())
        session.list_window()
    try:
        while True:
            _step(session)
    except Ended:
        return os.EX_OK


def _step(session: ReadingSession) -> None:
    """One line. Raise Ended."""
    try:
        if sys.stdin.isatty():
            prompt("& ")
        line = sys.stdin.buffer.readline()
        if not line:
            _quit(session, [], "quit")
        obey(session, os.fsdecode(line).strip())
    except KeyboardInterrupt:
        say("\nInterrupt")
    except WrongList as error:
        say(str(error))
    except TROUBLE as error:
        complain(f"mail: {explained(error)}")


def explained(error: BaseException) -> str:
    """What to tell the user about one of TROUBLE."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def obey(session: ReadingSession, line: str) -> None:
    """Carry out one command. Raise Ended, WrongList, or one of TROUBLE."""
    if line.startswith("#"):
        return
    if line[:1] in ("!", "|", "=", "?", "+", "-") and line:
        name, rest = line[0], line[1:]
    else:
        end = next((i for i, c in enumerate(line) if not c.isalpha()), len(line))
        name, rest = line[:end], line[end:]
    if name in ("!", "shell"):
        compose.run_shell(rest.strip(), session.settings)
        return
    if not name:
        _next(session, words_of(rest), "")
        return
    deed = _deed(name)
    if deed is not None:
        deed(session, words_of(rest), name)
        return
    said = session.settings.obey(line)
    if said is None:
        say(f'Unknown command: "{display.safe(name)}"')
    else:
        for text in said:
            say(text)


def _deed(name: str) -> Deed | None:
    for full, shortest, deed in _COMMANDS:
        if full.startswith(name) and len(name) >= shortest:
            return deed
    return None


# --- showing --------------------------------------------------------------------------------------


def _show(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        session.show(number, is_whole=name[:1].isupper())


def _next(session: ReadingSession, words: list[str], name: str) -> None:
    if words or not session.current:
        numbers = session.chosen(words or [str(_first(session))])
        session.show(numbers[0], is_whole=False)
        return
    behind = [
        n for n in range(session.current + 1, len(session.letters) + 1) if _is_there(session, n)
    ]
    if not behind:
        say("At EOF")
        return
    session.show(behind[0], is_whole=False)


def _first(session: ReadingSession) -> int:
    there = [
        n for n in range(session.first_unread(), len(session.letters) + 1) if _is_there(session, n)
    ]
    return there[0] if there else 1


def _is_there(session: ReadingSession, number: int) -> bool:
    return number > 0 and not session.letter(number).is_deleted


def _previous(session: ReadingSession, words: list[str], name: str) -> None:
    steps = int(words[0]) if words and words[0].isdigit() else 1
    before = [number for number in range(1, session.current) if _is_there(session, number)]
    if len(before) < steps:
        say("Nonzero address required." if not before else "No applicable messages")
        return
    session.show(before[-steps], is_whole=False)


def _top(session: ReadingSession, words: list[str], name: str) -> None:
    count = session.settings.number("toplines", 5)
    for number in session.chosen(words):
        text = display.message(
            session.folder, session.letter(number), session.settings, is_whole=False
        )
        session.current = number
        lines = text.split(b"\n")[: count + 1]
        session.put(f"Message {number}:\n".encode() + b"\n".join(lines) + b"\n")
        session.touch(session.letter(number))


def _headers(session: ReadingSession, words: list[str], name: str) -> None:
    if words:
        _to_window_of(session, session.chosen(words)[0])
    session.list_window()


def _to_window_of(session: ReadingSession, number: int) -> None:
    count = session.settings.number("screen", 20)
    session.window = max(0, number - 1) // count * count


def _scroll(session: ReadingSession, words: list[str], name: str) -> None:
    count = session.settings.number("screen", 20)
    is_back = bool(words) and words[0].startswith("-")
    target = session.window + (-count if is_back else count)
    if not 0 <= target < len(session.letters):
        say(f"On {'first' if is_back else 'last'} screenful of messages")
        return
    session.window = target
    session.list_window()


def _from(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        session.list_one(number)


def _size(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        say(f"{number}: {session.letter(number).lines}/{session.letter(number).size}")


def _number(session: ReadingSession, words: list[str], name: str) -> None:
    say(str(session.current))


def _help(session: ReadingSession, words: list[str], name: str) -> None:
    say(HELP)


# --- what becomes of messages ---------------------------------------------------------------------


def _delete(session: ReadingSession, words: list[str], name: str) -> None:
    numbers = session.chosen(words)
    for number in numbers:
        session.letter(number).is_deleted = True
    session.current = numbers[-1]
    if name in ("dp", "dt") or "autoprint" in session.settings.variables:
        _next(session, [], name)


def _undelete(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words, deleted=True):
        session.letter(number).is_deleted = False
        session.current = number


def _hold(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        session.letter(number).is_held, session.letter(number).goes_to_mbox = True, False


def _mbox(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        session.letter(number).is_held, session.letter(number).goes_to_mbox = False, True


def _unread(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        session.letter(number).is_read = session.letter(number).is_touched = False


def _touch(session: ReadingSession, words: list[str], name: str) -> None:
    for number in session.chosen(words):
        session.touch(session.letter(number))


def _save(session: ReadingSession, words: list[str], name: str) -> None:
    """save, copy and write: [messages] file."""
    if not words:
        raise ValueError("No file specified.")
    *which, path = words
    only_text = name.startswith("w")
    numbers = session.chosen(which)
    texts = [_text(session, number, only_text=only_text) for number in numbers]
    place = _expanded(session, path)
    is_there = os.path.exists(place)
    if only_text:
        _append_text(place, b"".join(texts))
    else:
        session.append(place, texts)
    octets, lines = sum(map(len, texts)), sum(text.count(b"\n") for text in texts)
    say(f'"{path}" [{"Appended" if is_there else "New file"}] {lines}/{octets}')
    for number in numbers:
        letter = session.letter(number)
        session.touch(letter)
        letter.is_saved = letter.is_saved or not name.startswith("c")


def _text(session: ReadingSession, number: int, *, only_text: bool) -> bytes:
    letter = session.letter(number)
    text = rewrite.text_of(session.folder, letter, letter.status)
    if only_text:
        text = text[len(letter.separator) :]
        text = text[headers.split_message(text)[1] :]
    return text


def _append_text(path: str, text: bytes) -> None:
    with open(path, "ab") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _expanded(session: ReadingSession, path: str) -> str:
    """A file's name as the user gave it: ~, +FOLDER, & for mbox."""
    if path == "&":
        return session.mbox
    if path.startswith("+"):
        inside = session.settings.variables.get("folder", "")
        return os.path.join(session.user.home, inside, path[1:])
    return os.path.abspath(os.path.expanduser(path))


# --- sending --------------------------------------------------------------------------------------


def _mail(session: ReadingSession, words: list[str], name: str) -> None:
    if not words:
        raise ValueError("You must name a recipient.")
    replies.write_to(session, words)


def _reply(session: ReadingSession, words: list[str], name: str) -> None:
    to_all = name[:1].islower() != ("Replyall" in session.settings.variables)
    for number in session.chosen(words):
        replies.reply(session, number, to_all=to_all)


# --- folders and the end --------------------------------------------------------------------------


def _folder(session: ReadingSession, words: list[str], name: str) -> None:
    if not words:
        say(display.summary(session.folder))
        return
    replies.change_folder(session, words[0], _expanded(session, words[0]))
    say(display.summary(session.folder))
    session.list_window()


def _inc(session: ReadingSession, words: list[str], name: str) -> None:
    known = len(session.letters)
    if not folder.extend(session.folder):
        say("No new mail.")
        return
    session.current = known + 1
    say(f"{len(session.letters) - known} new")
    for number in range(known + 1, len(session.letters) + 1):
        session.list_one(number)


def _chdir(session: ReadingSession, words: list[str], name: str) -> None:
    os.chdir(os.path.expanduser(words[0]) if words else session.user.home)


def _quit(session: ReadingSession, words: list[str], name: str) -> None:
    try:
        session.quit()
    except TROUBLE as error:
        complain(f"mail: {explained(error)}; nothing was changed (exit leaves it so)")
        if sys.stdin.isatty():
            return
        raise SystemExit(os.EX_IOERR) from error
    raise Ended


def _exit(session: ReadingSession, words: list[str], name: str) -> None:
    raise Ended


#: in POSIX's order of precedence: name, its shortest abbreviation, what it does
_COMMANDS: tuple[tuple[str, int, Deed], ...] = (
    ("chdir", 2, _chdir),
    ("cd", 2, _chdir),
    ("copy", 1, _save),
    ("dp", 2, _delete),
    ("dt", 2, _delete),
    ("delete", 1, _delete),
    ("exit", 2, _exit),
    ("xit", 1, _exit),
    ("file", 2, _folder),
    ("folder", 4, _folder),
    ("from", 1, _from),
    ("headers", 1, _headers),
    ("help", 3, _help),
    ("hold", 2, _hold),
    ("preserve", 3, _hold),
    ("inc", 3, _inc),
    ("list", 1, _help),
    ("mail", 1, _mail),
    ("mbox", 2, _mbox),
    ("next", 1, _next),
    ("print", 1, _show),
    ("Print", 1, _show),
    ("type", 1, _show),
    ("Type", 1, _show),
    ("quit", 1, _quit),
    ("reply", 1, _reply),
    ("respond", 3, _reply),
    ("Reply", 1, _reply),
    ("Respond", 3, _reply),
    ("save", 1, _save),
    ("size", 2, _size),
    ("top", 2, _top),
    ("touch", 3, _touch),
    ("undelete", 1, _undelete),
    ("unread", 3, _unread),
    ("Unread", 1, _unread),
    ("write", 1, _save),
    ("z", 1, _scroll),
    ("?", 1, _help),
    ("=", 1, _number),
    ("+", 1, _next),
    ("-", 1, _previous),
)

HELP = """\
type [messages]         show messages (t, print, p); Type: with all header fields
next [message]          show the next one, or that one; so does an empty line
headers [message]       a screen of the list (h); z and z- scroll, from [messages]: of those
delete [messages]       delete (d); undelete (u); dp: and show the next one
reply [messages]        answer the sender and all recipients (r); Reply (R): the sender alone
save [messages] file    append messages to a file (s); copy: and keep them; write: their text
mail address ...        write a message
hold, mbox [messages]   keep them in the mailbox (pre), or put them in mbox at the end
folder [file]           which file this is, or another one; % mailbox, & mbox, +NAME in folder
inc                     look for new mail
set, alias, ignore      variables, names for addresses, header fields that are not shown
!command  cd  top  size  touch  unread  =  ?
quit                    carry out all that and end (q)
exit                    end and change nothing (x)

messages: 3  2-5  *  ^ . $  a sender's name  /text of the subject  :n :o :r :u :d"""
