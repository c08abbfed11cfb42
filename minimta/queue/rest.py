"""How long a deferred message rests between two attempts (MinQueueAge, MaxQueueAge)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options


# DIFFERS: Sendmail with MaxQueueAge does not look at MinQueueAge.
def rest_after(options: Options, created: float, last_attempt: float) -> int:
    """Seconds from the *last_attempt* to the next; both times are epoch seconds.

    With MaxQueueAge a message rests for as long as it was old at its last attempt, so that the time
    doubles with each; at least MinQueueAge, at most MaxQueueAge. A clock that was set back makes it
    no older.
    """
    age = max(0, int(last_attempt) - int(created))
    return max(options.min_queue_age, min(age, options.max_queue_age))


def longest_rest(options: Options) -> int:
    """Seconds that no message rests longer than."""
    return max(options.min_queue_age, options.max_queue_age)
