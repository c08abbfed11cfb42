"""Where packages of others are found, for those few who need one.

bin/sendmail starts Python with -S: reading the site configuration would cost submission, which needs
nothing but the standard library, a quarter of its start-up.
"""

from __future__ import annotations

import sys


def provide() -> None:
    """Make installed packages importable; may be called often."""
    if "site" not in sys.modules:
        import site

        site.main()
