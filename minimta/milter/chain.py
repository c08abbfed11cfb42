"""The filters that mail passes, one after the other, in one session: what they say together.

Each event goes to them in order, until one says more than "continue"; of a message the second sees
what the first has changed. A filter that has failed counts as its F= says:

    F=T    451 to whatever it should have judged      F=R    554
    F=4    421, and the session ends                  none   as if it were not there

"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from minimta.config.filters import MailFilter
from minimta.milter import protocol
from minimta.milter.filter import FilterConnection, Phase
from minimta.milter.letter import Letter
from minimta.milter.protocol import (
    CONTINUE,
    BodyPiece,
    Change,
    Event,
    FieldChange,
    FilterFailed,
    FilterVerdict,
    Stage,
    Wish,
    Word,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options

#: octets of the changes that one filter wants of one message, the body apart
_MOST_CHANGED = 4 << 20
_ON_FAILURE = {
    "R": FilterVerdict(Word.REJECT),
    "T": FilterVerdict(Word.TEMPFAIL),
    "4": FilterVerdict(Word.SHUTDOWN),
    "": CONTINUE,
}


class FilterChain:
    """For one session, or one message, and one thread."""

    def __init__(
        self,
        rows: Sequence[MailFilter],
        options: Options,
        note: Callable[[str, int], None],
    ) -> None:
        """*rows* in order; *note* takes a line for the log, and its level."""
        self._note = note
        macros = {
            Stage.CONNECT: options.milter_macros_connect,
            Stage.HELO: options.milter_macros_helo,
            Stage.MAIL: options.milter_macros_envfrom,
            Stage.RCPT: options.milter_macros_envrcpt,
            Stage.DATA: options.milter_macros_data,
            Stage.END_OF_HEADER: options.milter_macros_eoh,
            Stage.END_OF_MESSAGE: options.milter_macros_eom,
        }
        size = options.milter_max_data_size
        self._filters = [
            FilterConnection(row, macros=macros, data_size=size, note=note) for row in rows
        ]

    def __bool__(self) -> bool:
        return bool(self._filters)

    # --- session ----------------------------------------------------------------------------------

    def open(self) -> FilterVerdict:
        """Connect to all of them. Any verdict but CONTINUE: none is asked any more."""
        for one in self._filters:
            try:
                one.open()
            except FilterFailed:
                verdict = _ON_FAILURE[one.row.on_failure]
                if verdict is not CONTINUE:
                    self.quit()
                    return verdict
        return CONTINUE

    def failed(self) -> str:
        """Which filter could not be asked, and why, if that counts; "" if all that count could be."""
        for one in self._filters:
            if one.phase is Phase.FAILED and one.row.on_failure:
                return f"filter {one.row.name}: {one.failure}"
        return ""

    def tell(
        self,
        event: Event,
        data: bytes,
        values: Mapping[bytes, bytes],
        *,
        is_refused: bool = False,
    ) -> FilterVerdict:
        """What they say to *event*. *values* has the macros that are known, b"{if_name}" or b"j".

        *is_refused*: we have refused that recipient; only who wants to know of such hears of it.
        """
        if event in (Event.HELO, Event.MAIL):
            self.abort()
        for one in self._filters:
            verdict = self._ask(one, event, data, values, is_refused)
            if verdict is not CONTINUE:
                if event is Event.MAIL:
                    self.abort()
                return verdict
        return CONTINUE

    def _ask(
        self,
        one: FilterConnection,
        event: Event,
        data: bytes,
        values: Mapping[bytes, bytes],
        is_refused: bool,
    ) -> FilterVerdict:
        """CONTINUE stands for accept, too: the others go on."""
        if one.phase is Phase.FAILED:
            return _ON_FAILURE[one.row.on_failure]
        if not one.listens:
            return CONTINUE
        try:
            one.send_macros(event, values)
            if is_refused and not one.terms.wishes & Wish.REJECTED_RCPT:
                return CONTINUE
            verdict = one.ask(event, data)
        except FilterFailed:
            return _ON_FAILURE[one.row.on_failure]
        if verdict.word is Word.ACCEPT:
            if event in (Event.CONNECT, Event.HELO):
                one.quit()
            else:
                one.phase = Phase.DONE
            return CONTINUE
        if verdict.word is not Word.CONTINUE:
            return verdict
        if event is Event.MAIL:
            one.begin_message()
        return CONTINUE

    def abort(self) -> None:
        """The message at hand is over, or there will be none."""
        for one in self._filters:
            one.abort()

    def quit(self) -> None:
        """The session is over."""
        for one in self._filters:
            one.quit()

    # --- message ----------------------------------------------------------------------------------

    def judge(self, letter: Letter, values: Mapping[bytes, bytes]) -> FilterVerdict:
        """What they say to the whole message, which they may change; CONTINUE: it is accepted.

        Raise OSError if the file of its body cannot be read or written.
        """
        for one in self._filters:
            if one.phase is Phase.FAILED:
                verdict = _ON_FAILURE[one.row.on_failure]
            elif one.listens:
                verdict = self._judge(one, letter, values)
            else:
                continue
            if verdict is not CONTINUE:
                self.abort()
                return verdict
        self.abort()
        return CONTINUE

    def _judge(
        self, one: FilterConnection, letter: Letter, values: Mapping[bytes, bytes]
    ) -> FilterVerdict:
        one.phase = Phase.MESSAGE
        # DIFFERS: of what a filter wanted to change nothing is done if it fails before its verdict;
        # Sendmail does each change when it comes.
        try:
            verdict = self._send(one, letter, values)
            if verdict.word is Word.CONTINUE:
                verdict = self._end(one, letter, values)
        except FilterFailed as error:
            letter.body.drop()
            if one.phase is not Phase.FAILED:
                one.fail(error)
            return _ON_FAILURE[one.row.on_failure]
        one.phase = Phase.DONE
        return CONTINUE if verdict.word is Word.ACCEPT else verdict

    def _send(
        self, one: FilterConnection, letter: Letter, values: Mapping[bytes, bytes]
    ) -> FilterVerdict:
        """Header and body; any verdict but CONTINUE comes before the end. Raise FilterFailed."""
        terms = one.terms
        leading_space = bool(terms.wishes & Wish.LEADING_SPACE)
        for event, data in self._parts(one, letter, leading_space=leading_space):
            if event is Event.END_OF_HEADER and terms.wants(event):
                one.send_macros(event, values)
            verdict = one.ask(event, data)
            if verdict.word is Word.SKIP:
                return CONTINUE
            if verdict.word is not Word.CONTINUE:
                return verdict
        return CONTINUE

    def _parts(
        self, one: FilterConnection, letter: Letter, *, leading_space: bool
    ) -> Iterator[tuple[Event, bytes]]:
        most = one.terms.data_size
        if one.terms.wants(Event.HEADER):
            for field in letter.seen():
                data = protocol.header_field(field, leading_space=leading_space)
                yield Event.HEADER, data if len(data) <= most else data[: most - 1] + b"\0"
        yield Event.END_OF_HEADER, b""
        if one.terms.wants(Event.BODY):
            for piece in letter.body.pieces(most):
                yield Event.BODY, piece

    def _end(
        self, one: FilterConnection, letter: Letter, values: Mapping[bytes, bytes]
    ) -> FilterVerdict:
        """The verdict, and before it the changes, which are made if it wants the message."""
        changes: list[Change] = []
        octets = 0
        leading_space = bool(one.terms.wishes & Wish.LEADING_SPACE)
        for said in one.end_message(values):
            if isinstance(said, FilterVerdict):
                if said.word in (Word.CONTINUE, Word.ACCEPT):
                    self._apply(letter, changes)
                else:
                    letter.body.drop()
                return said
            if isinstance(said, BodyPiece):
                letter.body.add(said.octets)
                continue
            if isinstance(said, FieldChange):
                octets += len(said.name) + len(said.value)
            if octets > _MOST_CHANGED:
                raise FilterFailed(f"more than {_MOST_CHANGED} octets of changes")
            changes.append(_as_written(said, leading_space=leading_space))
        raise FilterFailed("no verdict")

    def _apply(self, letter: Letter, changes: list[Change]) -> None:
        """Raise FilterFailed, and then nothing has changed."""
        letter.body.complete()
        told = letter.apply(changes)
        letter.body.finish()
        for text in told:
            self._note(text, 8)
        if letter.body.is_replaced:
            self._note("Milter message: body replaced", 8)


def _as_written(change: Change, *, leading_space: bool) -> Change:
    """With the value of a field as it stands behind the colon."""
    if leading_space or not isinstance(change, FieldChange) or not change.value:
        return change
    return FieldChange(change.kind, change.name, b" " + change.value, change.index)
