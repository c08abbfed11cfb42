"""A message is typed: lines up to the end of the input, and tilde escapes on a terminal.

Escapes count only where a person types (or with -I): a line that begins with "~" in a mail that a
program sends is a line of its text.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from minimta.commands.mail import piped
from minimta.commands.mail.draft import Draft
from minimta.commands.mail.settings import Settings
from minimta.system.terminal import complain, prompt, say

HELP = """\
~~              a line that begins with one ~
~.              end of the message
~!command       run a command
~?              this list
~b ~c ~t names  add blind copies, copies, recipients
~d ~r file      read in dead.letter, a file (also ~< file)
~e ~v           edit the message ($EDITOR, $VISUAL)
~f ~m messages  read in messages, as they are or indented (~F ~M: with all header fields)
~h              ask for all header fields
~p              show the message
~q ~x           quit; ~q keeps it in dead.letter
~R address      Reply-To
~s subject      set the subject
~w file         write the text to a file
~|command       pipe the text through a command"""


class Aborted(Exception):
    """The user does not want to send the message."""

    def __init__(self, *, keeps: bool) -> None:
        """*keeps*: is what there is to be kept in dead.letter?"""
        super().__init__("aborted")
        self.keeps = keeps


class Composer:
    """One message as it is typed."""

    def __init__(
        self,
        draft: Draft,
        settings: Settings,
        home: str,
        quote: Callable[[str, str], bytes] | None = None,
    ) -> None:
        """*quote* gives the messages of a list, for the letters f F m M; None: nothing is being read."""
        self.draft = draft
        self._settings = settings
        self._home = home
        self._quote = quote
        self._interrupts = 0
        self._is_done = False

    def run(self, *, asks_subject: bool) -> None:
        """Ask and read until the message is complete. Raise Aborted."""
        variables = self._settings.variables
        if asks_subject and ("ask" in variables or "asksub" in variables):
            self.draft.subject = self._asked("Subject: ", self.draft.subject)
        while not self._is_done:
            self._step()
        if "askcc" in variables:
            self._ask_for("Cc: ", self.draft.cc)
        if "askbcc" in variables:
            self._ask_for("Bcc: ", self.draft.bcc)

    def _step(self) -> None:
        """One line. Raise Aborted at the second interrupt in a row."""
        try:
            line = sys.stdin.buffer.readline()
            if not line:
                say("EOT")
                self._is_done = True
                return
            self._interrupts = 0
            self._take(line)
        except KeyboardInterrupt:
            self._interrupts += 1
            if self._interrupts > 1:
                raise Aborted(keeps="nosave" not in self._settings.variables) from None
            say("\n(Interrupt -- one more to kill letter)")

    def _take(self, line: bytes) -> None:
        escape = os.fsencode(self._settings.variables.get("escape", "~") or "~")[:1]
        if line.strip() == b"." and "dot" in self._settings.variables:
            self._is_done = True
        elif line[:1] != escape:
            self.draft.text += line if line.endswith(b"\n") else line + b"\n"
        elif line[1:2] == escape:
            self.draft.text += line[1:]
        else:
            self._obey(os.fsdecode(line[1:].rstrip(b"\n")))

    def _obey(self, command: str) -> None:
        letter, argument = command[:1], command[1:].strip()
        deed = _ESCAPES.get(letter)
        if deed is None:
            complain(f"~{letter}: Unknown tilde escape. (~? lists them)")
            return
        try:
            deed(self, argument, letter)
        except (OSError, ValueError) as error:
            complain(f"~{letter}: {getattr(error, 'strerror', None) or error}")

    # --- escapes ----------------------------------------------------------------------------------

    def _end(self, _: str, __: str) -> None:
        self._is_done = True

    def _quit(self, _: str, letter: str) -> None:
        raise Aborted(keeps=letter == "q" and "save" in self._settings.variables)

    def _help(self, _: str, __: str) -> None:
        say(HELP)

    def _add(self, names: str, letter: str) -> None:
        lists = {"b": self.draft.bcc, "c": self.draft.cc, "t": self.draft.to}
        lists[letter] += self._settings.expanded([names])

    def _subject(self, text: str, _: str) -> None:
        self.draft.subject = text

    def _reply_to(self, text: str, _: str) -> None:
        self.draft.reply_to = text

    def _read(self, path: str, letter: str) -> None:
        place = os.path.join(self._home, "dead.letter") if letter == "d" else self._place(path)
        with open(place, "rb") as stream:
            text = stream.read()
        self.draft.text += text if text.endswith(b"\n") or not text else text + b"\n"
        count = text.count(b"\n")
        say(f'"{place}" {count}/{len(text)}')

    def _write(self, path: str, _: str) -> None:
        place = self._place(path)
        with open(place, "xb") as stream:
            stream.write(self.draft.text)
        lines = self.draft.text.count(b"\n")
        say(f'"{place}" {lines}/{len(self.draft.text)}')

    def _place(self, path: str) -> str:
        if not path:
            raise ValueError("no file name")
        return os.path.expanduser(path)

    def _print(self, _: str, __: str) -> None:
        say("-------\nMessage contains:")
        sys.stdout.flush()
        os.write(1, self.draft.header() + b"\n" + self.draft.text)
        say("(continue)")

    def _quoted(self, messages: str, letter: str) -> None:
        if self._quote is None:
            raise ValueError("no messages are being read")
        self.draft.text += self._quote(messages, letter)
        say("(continue)")

    def _shell(self, command: str, _: str) -> None:
        run_shell(command, self._settings)
        say("!")

    def _filter(self, command: str, _: str) -> None:
        done = piped.run(["/bin/sh", "-c", command], self.draft.text, stdout=subprocess.PIPE)
        if done.returncode or not done.stdout:
            raise ValueError("the command failed or said nothing; the text stays as it is")
        self.draft.text = done.stdout
        say("(continue)")

    def _edit(self, _: str, letter: str) -> None:
        self.draft.text = edited(self.draft.text, editor(self._settings, is_visual=letter == "v"))
        say("(continue)")

    def _ask_all(self, _: str, __: str) -> None:
        for name, listed in (("To", self.draft.to), ("Cc", self.draft.cc), ("Bcc", self.draft.bcc)):
            self._ask_for(f"{name}: {', '.join(listed)} ", listed)
        self.draft.subject = self._asked(f"Subject: {self.draft.subject} ", self.draft.subject)

    def _ask_for(self, what: str, listed: list[str]) -> None:
        answer = self._asked(what, "")
        if answer:
            listed += self._settings.expanded([answer])

    def _asked(self, what: str, default: str) -> str:
        """A line of the user's; *default* if it is empty. Raise Aborted."""
        prompt(what)
        try:
            answer = sys.stdin.buffer.readline()
        except KeyboardInterrupt:
            raise Aborted(keeps=False) from None
        return os.fsdecode(answer.strip()) or default


_ESCAPES: dict[str, Callable[[Composer, str, str], None]] = {
    ".": Composer._end,
    "!": Composer._shell,
    "?": Composer._help,
    "|": Composer._filter,
    "<": Composer._read,
    "R": Composer._reply_to,
    "s": Composer._subject,
    "h": Composer._ask_all,
    "p": Composer._print,
    "w": Composer._write,
    **dict.fromkeys("bct", Composer._add),
    **dict.fromkeys("dr", Composer._read),
    **dict.fromkeys("ev", Composer._edit),
    **dict.fromkeys("fFmM", Composer._quoted),
    **dict.fromkeys("qx", Composer._quit),
}


def editor(settings: Settings, *, is_visual: bool) -> str:
    """The user's editor, a command of the shell."""
    name, default = ("VISUAL", "vi") if is_visual else ("EDITOR", "ed")
    return settings.variables.get(name) or os.environ.get(name) or default


def edited(text: bytes, command: str) -> bytes:
    """*text* as the user left it in the editor *command*. Raise OSError, ValueError if that failed."""
    with tempfile.NamedTemporaryFile(prefix="mail") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(["/bin/sh", "-c", f'{command} "$1"', "sh", file.name], check=False)
        if done.returncode:
            raise ValueError(f"{command} failed; the text stays as it is")
        with open(file.name, "rb") as stream:
            return stream.read()


def run_shell(command: str, settings: Settings) -> None:
    """Run a command of the user's with their shell. Raise OSError."""
    shell = settings.variables.get("SHELL") or os.environ.get("SHELL") or "/bin/sh"
    subprocess.run([shell, "-c", command] if command else [shell], check=False)
