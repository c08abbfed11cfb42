"""``minimta demo``: the way of a letter, played for real in var/demo, each step checked.

lab2.campus is the host; lab1.campus, which is down at first, is a second one below it. Both are this
program with a directory of its own. Nothing is left running.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path

from minimta.admin.arguments import parsed
from minimta.admin.checkout import HOME, AdminError, need_checkout
from minimta.admin.demo import dialogue
from minimta.admin.demo.privateroot import (
    ADDRESS,
    PrivateRoot,
    free_port,
    need_port,
    wait_for,
)
from minimta.admin.output import say
from minimta.admin.virtual_environment import enter, is_inside

BY_HAND: dialogue.Script = (
    ("HELO lab1.campus", 250),
    ("MAIL FROM:<emma@lab1.campus>", 250),
    ("RCPT TO:<nobody-here@lab2.campus>", 550),
    ("RCPT TO:<dave@lab2.campus>", 250),
    ("DATA", 354),
    ("Subject: over SMTP", 0),
    ("", 0),
    ("Hi Dave, this was typed into nc.", 0),
    (".", 250),
    ("QUIT", 221),
)

#: seconds in which a letter must have arrived; it takes some tenths of one
PATIENCE = 15


class Demo:
    """The steps, in order; each prints what it runs and what comes. Raises AdminError."""

    def __init__(self, here: PrivateRoot, there: PrivateRoot) -> None:
        self.here = here
        self.there = there
        self._number = 0

    def play(self) -> None:
        """All steps."""
        for step in (
            self.aliases,
            self.listener,
            self.over_smtp,
            self.by_command,
            self.host_is_down,
            self.host_is_up,
            self.by_alias,
            self.by_forward,
        ):
            step()

    def aliases(self) -> None:
        """newaliases makes the database."""
        self._title(f"{self.here.host} has emma, dave, carol, and an alias: postmaster is carol")
        self._run(self.here, "newaliases")
        self._check("the alias database is there", self.here.file("aliases.cdb").exists())

    def listener(self) -> None:
        """``sendmail -bD -q15m`` answers on its port."""
        self._title("The listener, with the queue runner beside it")
        self._say(f"$ {' '.join(self._typed(self.here.listener()))} 2> var/demo/log &")
        self.here.start()
        self._check(f"port {self.here.port} of {ADDRESS} answers", True)

    def over_smtp(self) -> None:
        """The dialogue of the lesson, typed by hand."""
        self._title("emma writes to dave, line by line over SMTP; plain LF will do")
        self._say(f"$ nc {ADDRESS} {self.here.port}")
        dialogue.play(ADDRESS, self.here.port, BY_HAND, self._say)
        self._arrives(self.here, "dave", "over SMTP")

    def by_command(self) -> None:
        """``sendmail ADDRESS``; a lone dot ends the letter."""
        self._title("The same by command; a line with a single dot ends the letter")
        self._write("dave@lab2.campus", "by command", dot=True)
        self._arrives(self.here, "dave", "by command")

    def host_is_down(self) -> None:
        """A letter that has to wait, and what mailq says of it."""
        self._title(f"A letter to {self.there.host}, where nobody listens")
        self._write("carol@lab1.campus", "while you were out")
        wait_for(lambda: "Deferred" in self.here.run("mailq").stdout, PATIENCE)
        listing = self._run(self.here, "mailq")
        refused = "Deferred: Connection refused" in listing and "<carol@lab1.campus>" in listing
        self._check("it waits in the queue: Deferred", refused)

    def host_is_up(self) -> None:
        """``sendmail -q`` brings it there."""
        self._title(f"{self.there.host} comes up, and a queue run brings the letter there")
        self._say(f"$ {' '.join(self._typed(self.there.listener()))} 2> var/demo/lab1/log &")
        self.there.start()
        self._run(self.here, "sendmail", "-q")
        self._arrives(self.there, "carol", "while you were out")
        wait_for(lambda: "empty" in self.here.run("mailq").stdout, PATIENCE)
        self._check("the queue is empty", "is empty" in self._run(self.here, "mailq"))

    def by_alias(self) -> None:
        """A letter to postmaster."""
        self._title("postmaster is an alias, in any case of letters")
        self._write("PostMaster", "to the postmaster")
        self._arrives(self.here, "carol", "to the postmaster")

    def by_forward(self) -> None:
        """~/.forward with a copy."""
        forward = self.here.home("dave") / ".forward"
        self._title("dave's ~/.forward: keep a copy, and tell carol")
        self._say(f"$ echo '\\dave, carol' > {forward.relative_to(HOME)}")
        forward.write_text("\\dave, carol\n", encoding="utf-8")
        self._write("dave", "to be forwarded")
        self._arrives(self.here, "dave", "to be forwarded")
        self._arrives(self.here, "carol", "to be forwarded")

    def _write(self, recipient: str, subject: str, *, dot: bool = False) -> None:
        """Send a letter with bin/sendmail. What follows a dot must not be in it."""
        text = f"Subject: {subject}\n\nWritten for the command line.\n"
        self._run(self.here, "sendmail", recipient, text=f"{text}.\nnot sent\n" if dot else text)

    def _run(self, root: PrivateRoot, program: str, *words: str, text: str = "") -> str:
        """Run a command of bin/, show it and its output. Raise AdminError if it fails."""
        self._say(f"$ {' '.join(self._typed(root.command(program, *words)))}")
        for line in text.split("\n")[:-1]:
            self._say(f"> {line}")
        done = root.run(program, *words, text=text)
        for line in done.stdout.split("\n")[:-1]:
            self._say(line)
        if done.returncode:
            raise AdminError(f"{program} ended with exit code {done.returncode}", os.EX_SOFTWARE)
        return done.stdout

    def _arrives(self, root: PrivateRoot, person: str, subject: str) -> None:
        """Wait for the letter: once, whole."""
        field = f"\nSubject: {subject}\n"
        wait_for(lambda: field in root.mailbox(person), PATIENCE)
        box = root.mailbox(person)
        is_whole = box.count(field) == 1 and "not sent" not in box and box.endswith("\n\n")
        self._check(f"it is in the mailbox of {person} at {root.host}", is_whole)

    def _check(self, fact: str, is_so: bool) -> None:
        if not is_so:
            log = self.here.file("log").relative_to(HOME)
            raise AdminError(f"not so: {fact}; the log is {log}", os.EX_SOFTWARE)
        self._say(f"ok: {fact}")

    def _typed(self, command: list[str]) -> list[str]:
        """A command as one types it in the checkout, with bin/ of *here* in PATH."""
        name = command[0].removeprefix(f"{self.here.directory}/bin/").removeprefix(f"{HOME}/")
        return [name, *command[1:]]

    def _title(self, text: str) -> None:
        self._number += 1
        say(f"\n{self._number}. {text}")

    def _say(self, line: str) -> None:
        say(f"   {line}")


def run(arguments: list[str]) -> int:
    """Play it; 0 if every check held. Raise AdminError if not, or if processes are left."""
    port = parse(arguments)
    need_checkout("demo")
    need_plain_path(HOME)
    enter()
    need_port(port)
    here = PrivateRoot(Path(HOME, "var", "demo"), "lab2.campus", port)
    there = PrivateRoot(here.directory / "lab1", "lab1.campus", free_port())
    there.must_be_idle()
    here.make("postmaster: carol\n", {there.host: f"esmtp:[{ADDRESS}]:{there.port}"})
    there.make("postmaster: carol\n", {})
    say(f"minimta demo: {here.host} lives in {here.directory}, {there.host} in its lab1/\n")
    say("   $ PATH=$PWD/var/demo/bin:$PATH   # the commands of the checkout, for this host")
    try:
        Demo(here, there).play()
    finally:
        is_quiet = [root.stop() for root in (here, there)]
    if not all(is_quiet):
        raise AdminError("processes were left and had to be killed", os.EX_SOFTWARE)
    show_end(here)
    return os.EX_OK


def need_plain_path(path: str) -> None:
    """Raise AdminError if no AliasFile or passwd entry can hold it; blanks and quotes they can."""
    if not path.isprintable() or set(path) & set(",:"):
        raise AdminError(
            f"{path!r} has a comma, a colon or an unprintable character in it,"
            " as no path of an alias file or a home may: clone the project into another directory",
            os.EX_CONFIG,
        )


def parse(arguments: list[str]) -> int:
    """The port to use: --port, or one that is free. Raise AdminError for other words."""
    parser = ArgumentParser(prog="minimta demo", exit_on_error=False)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    given = parsed(parser, arguments)
    if not 0 <= given.port < 65536:
        raise AdminError(f"--port: there is no port {given.port}", os.EX_USAGE)
    return given.port or free_port()


def show_end(here: PrivateRoot) -> None:
    """The first letter, how to go on, and how to take all away."""
    first = here.mailbox("dave").partition("\n\nFrom ")[0]
    rubbish = "var/demo var/venv" if is_inside() else "var/demo"
    say("\nThe first letter in var/demo/mail/dave:\n")
    say("\n".join(f"   {line}" for line in first.split("\n")))
    say(f"""
All checks held, and nothing is left running. To go on by hand, in {HOME}:

   PATH=$PWD/var/demo/bin:$PATH
   sendmail -bD -q15m &
   nc {ADDRESS} {here.port}     # HELO, MAIL FROM:<...>, RCPT TO:<...>, DATA, the letter, ".", QUIT
   sendmail dave@lab2.campus     # then the letter, and "." alone on the last line
   mailq
   kill $(head -1 var/demo/sendmail.pid)
   rm -r {rubbish}     # takes it all away""")
