"""A reading session: which folder, which message is current, and what a command does.

letters     in the order of the folder, numbered from 1
current     number of the message shown last, 0 before the first
at the end  of a mailbox: read messages go to mbox, saved and deleted ones go, the others stay;
            of another folder (-f): deleted ones go
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from minimta.commands.mail import display, folder, piped, rewrite
from minimta.commands.mail.folder import Folder, FolderMessage
from minimta.commands.mail.message_list import chosen
from minimta.commands.mail.own_file import OwnFile
from minimta.commands.mail.settings import Settings
from minimta.mailers.files.locked_file import Busy, LockedFile, UnusableFile, UserFile
from minimta.mailers.files.mbox import Mailbox
from minimta.system.files import write_all
from minimta.system.safefile import Untrusted
from minimta.system.terminal import say
from minimta.system.users import User

_PAUSES = (0.1,) * 50
#: what opening or locking a folder may raise
TROUBLE = (OSError, Busy, UnusableFile, Untrusted, ValueError)


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """Where a folder is, and whether it is a mailbox that an MTA fills."""

    path: str
    is_mailbox: bool
    owner: User

    def locked_file(self) -> UserFile:
        """As LockedFile opens it."""
        if self.is_mailbox:
            return Mailbox(os.path.dirname(self.path), self.owner)
        return OwnFile(self.path)


class ReadingSession:
    """The state that commands work on."""

    def __init__(
        self,
        place: FolderPlace,
        home_place: FolderPlace,
        user: User,
        settings: Settings,
        sendmail: str,
    ) -> None:
        """*place* is read first; *home_place* is the mailbox of *user*, who runs this.

        Their home takes mbox and dead.letter. Raise one of TROUBLE.
        """
        self.place = place
        self.home_place = home_place
        self.user = user
        self.settings = settings
        self.sendmail = sendmail
        self.current = 0
        #: first line of the list that is shown
        self.window = 0
        self._finish_interrupted()
        self.folder: Folder = folder.read(place.path)

    @property
    def letters(self) -> list[FolderMessage]:
        """All messages of the folder."""
        return self.folder.letters

    def letter(self, number: int) -> FolderMessage:
        """Message *number*, from 1."""
        return self.folder.letters[number - 1]

    def chosen(self, words: list[str], *, deleted: bool = False) -> list[int]:
        """Numbers of the messages that *words* mean. Raise WrongList."""
        return chosen(words, list(self.letters), self.current, deleted=deleted)

    # --- showing ----------------------------------------------------------------------------------

    def list_window(self) -> None:
        """Show a screen of the list."""
        count = self.settings.number("screen", 20)
        for number in range(self.window + 1, min(self.window + count, len(self.letters)) + 1):
            self.list_one(number)

    def list_one(self, number: int) -> None:
        """Show one line of the list."""
        is_current = number == (self.current or self.first_unread())
        width = display.width_of_terminal()
        say(display.row(number, self.letter(number), is_current=is_current, width=width))

    def first_unread(self) -> int:
        """The message that a session begins with."""
        unread = [number for number, one in enumerate(self.letters, 1) if not one.is_read]
        return unread[0] if unread else min(1, len(self.letters))

    def show(self, number: int, *, is_whole: bool) -> None:
        """Show a message, which is read by that. Raise OSError."""
        letter = self.letter(number)
        self.current = number
        text = display.message(self.folder, letter, self.settings, is_whole=is_whole)
        self.put(f"Message {number}:\n".encode() + text)
        self.touch(letter)

    def touch(self, letter: FolderMessage) -> None:
        """The user has seen it."""
        letter.is_read = letter.is_touched = True

    def put(self, text: bytes) -> None:
        """Write octets of a message; to a terminal nothing that would command it, and page by page."""
        if not sys.stdout.isatty():
            write_all(1, text)
            return
        text = display.safe_octets(text)
        pager = self.settings.variables.get("PAGER") or os.environ.get("PAGER") or "more"
        limit = self.settings.number("crt", os.get_terminal_size(1).lines)
        if "crt" in self.settings.variables and text.count(b"\n") > limit:
            piped.run(["/bin/sh", "-c", pager], text)
        else:
            write_all(1, text)

    # --- the end ----------------------------------------------------------------------------------

    def quit(self) -> None:
        """Carry out what was marked. Raise one of TROUBLE: the folder is as it was."""
        held, to_mbox, gone = self._fates()
        if self.folder.file is None:
            return
        if to_mbox:
            self._to_mbox([letter for letter in to_mbox if not letter.is_in_mbox])
        leave = {id(letter) for letter in (*to_mbox, *gone)}
        self._rewrite([letter for letter in self.letters if id(letter) not in leave])
        _tell("Saved", len(to_mbox), self.mbox)
        if self.place.is_mailbox:
            _tell("Held", len(held), self.place.path)
        self.folder.close()

    @property
    def mbox(self) -> str:
        """The user's file of messages that were read."""
        given = self.settings.variables.get("MBOX") or os.environ.get("MBOX") or "~/mbox"
        return os.path.join(self.user.home, os.path.expanduser(given.removeprefix("~/")))

    def _fates(self) -> tuple[list[FolderMessage], list[FolderMessage], list[FolderMessage]]:
        """What stays, what goes to mbox, what is deleted."""
        fates: tuple[list[FolderMessage], list[FolderMessage], list[FolderMessage]] = ([], [], [])
        for letter in self.letters:
            fates[self._fate(letter)].append(letter)
        return fates

    def _fate(self, letter: FolderMessage) -> int:
        if letter.is_deleted:
            return 2
        if not self.place.is_mailbox or letter.is_held:
            return 0
        if letter.goes_to_mbox:
            return 1
        if letter.is_saved and "keepsave" not in self.settings.variables:
            return 2
        return 1 if letter.is_touched and "hold" not in self.settings.variables else 0

    def _to_mbox(self, letters: list[FolderMessage]) -> None:
        # Before the mailbox is cut: what happens in between is there twice, not never.
        for letter in letters:
            letter.is_read = True
        texts = [rewrite.text_of(self.folder, one, rewrite.new_status(one)) for one in letters]
        self.append(self.mbox, texts)
        for letter in letters:  # if the mailbox cannot be cut now, the next try adds none twice
            letter.is_in_mbox = True

    def append(self, path: str, texts: list[bytes]) -> None:
        """Add texts of messages to a file of the user's, durable. Raise one of TROUBLE."""
        with LockedFile(OwnFile(os.path.realpath(path)), pauses=_PAUSES) as tail:
            size = tail.size()
            try:
                for text in texts:
                    tail.append([text])
                tail.sync()
            except OSError:
                tail.cut(size)
                raise

    def _rewrite(self, stays: list[FolderMessage]) -> None:
        with LockedFile(self.place.locked_file(), pauses=_PAUSES) as tail:
            has_new = rewrite.replace(self.folder, tail, stays, self.user.home)
        if has_new:
            say("New mail has arrived.")

    def _finish_interrupted(self) -> None:
        """A session that was killed while it wrote this folder left a copy: see ``rewrite``."""
        copy = rewrite.copy_of(self.place.path, self.user.home)
        if os.path.lexists(copy) and os.path.lexists(self.place.path):
            with LockedFile(self.place.locked_file(), pauses=_PAUSES) as tail:
                if rewrite.finish(self.place.path, tail, self.user.home):
                    say(f"(finished the changes to {self.place.path} that were interrupted)")


def _tell(what: str, count: int, path: str) -> None:
    if count:
        say(f"{what} {count} message{'' if count == 1 else 's'} in {path}")


#: a command: its words, and the letters with which it was called
Deed = Callable[[ReadingSession, list[str], str], None]
