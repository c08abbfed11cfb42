"""Messages written out of a reading session: new ones, answers; and the way to another folder."""

from __future__ import annotations

import os
from collections.abc import Callable

from minimta.commands.mail import compose, display, folder, hand_over
from minimta.commands.mail.draft import Draft
from minimta.commands.mail.folder import FolderMessage
from minimta.commands.mail.session import FolderPlace, ReadingSession
from minimta.message import address
from minimta.system.terminal import say


def write_to(session: ReadingSession, names: list[str]) -> None:
    """Write a message to *names* and send it. Raise OSError, ValueError."""
    draft = Draft(to=session.settings.expanded([", ".join(names)]))
    _finish(session, draft, asks_subject=True)


def reply(session: ReadingSession, number: int, *, to_all: bool) -> None:
    """Answer message *number*: its author (Reply-To), *to_all* also who else it went to."""
    letter = session.letter(number)
    session.current = number
    draft = answer(letter, session.user.name, to_all=to_all)
    say(f"To: {', '.join(draft.to)}")
    if draft.cc:
        say(f"Cc: {', '.join(draft.cc)}")
    say(f"Subject: {draft.subject}\n")
    session.touch(letter)
    _finish(session, draft, asks_subject=False)


def answer(letter: FolderMessage, login: str, *, to_all: bool) -> Draft:
    """The draft of an answer: recipients, subject, and the fields that make it part of the thread."""
    author = letter.addresses("reply-to") or [letter.sender]
    others = [*letter.addresses("to"), *letter.addresses("cc")] if to_all else []
    seen = {address.key(os.fsencode(one)) for one in author}
    copies = []
    for one in others:
        key = address.key(os.fsencode(one))
        if key not in seen and not _is_own(key, login):
            copies.append(one)
        seen.add(key)
    subject = letter.subject
    if subject[:3].lower() != "re:":
        subject = f"Re: {subject}".rstrip()
    return Draft(to=author, cc=copies, subject=display.safe(subject), headers=_thread(letter))


def _is_own(key: bytes, login: str) -> bool:
    """Our own address, as far as a mail program can know it."""
    local, domain = address.split(key)
    return local == os.fsencode(login) and (
        not domain or domain == os.fsencode(os.uname().nodename)
    )


def _thread(letter: FolderMessage) -> list[str]:
    """In-Reply-To and References (RFC 5322 section 3.6.4)."""
    own = letter.text_of("message-id").split()
    if len(own) != 1 or not own[0].isascii():
        return []
    earlier = letter.text_of("references").split() or letter.text_of("in-reply-to").split()
    chain = [one for one in earlier if one.isascii() and one.startswith("<")][-20:]
    return [f"In-Reply-To: {own[0]}", f"References: {' '.join([*chain, own[0]])}"]


def _finish(session: ReadingSession, draft: Draft, *, asks_subject: bool) -> None:
    composer = compose.Composer(draft, session.settings, session.user.home, _quoter(session))
    try:
        composer.run(asks_subject=asks_subject)
    except compose.Aborted as aborted:
        if aborted.keeps:
            hand_over.keep_draft(draft, session.user.home)
        return
    try:
        hand_over.send(draft, session.sendmail, session.user.home)
    except ValueError:
        hand_over.keep_draft(draft, session.user.home)
        raise


def _quoter(session: ReadingSession) -> Callable[[str, str], bytes]:
    """For ~f ~m ~F ~M: the messages of a list, indented for m and M."""

    def quote(words: str, letter: str) -> bytes:
        parts = []
        for number in session.chosen(words.split()):
            text = display.message(
                session.folder, session.letter(number), session.settings, is_whole=letter.isupper()
            )
            text = text[len(session.letter(number).separator) :]
            parts.append(text)
        joined = b"".join(parts)
        if letter in "fF":
            return joined
        prefix = os.fsencode(session.settings.variables.get("indentprefix", "\t"))
        return b"".join(prefix + line for line in joined.splitlines(keepends=True))

    return quote


def change_folder(session: ReadingSession, name: str, path: str) -> None:
    """Carry out what was marked, then read another folder. Raise OSError and what ReadingSession.quit does.

    % is the user's mailbox; all else is a file.
    """
    is_mailbox = name == "%"
    place = session.home_place if is_mailbox else FolderPlace(path, False, session.user)
    if not os.path.exists(place.path):
        raise FileNotFoundError(2, os.strerror(2), place.path)
    other = folder.read(place.path)
    try:
        session.quit()
    except BaseException:
        other.close()
        raise
    session.place, session.folder, session.current, session.window = place, other, 0, 0
