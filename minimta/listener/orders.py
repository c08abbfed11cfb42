"""The words between the listener and its parent; see ``process``."""

from __future__ import annotations

import signal

#: of the listener: it accepts; it accepts no more; it wants another in its place
READY, CLOSED, STALE = b"+", b"!", b"?"
#: to the listener: accept no more, and end when the sessions have
RETIRE = b"r"
#: end soon
ENDING = (signal.SIGTERM, signal.SIGINT)
