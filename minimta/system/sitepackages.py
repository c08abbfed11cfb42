"""Make site-packages importable after ``python3 -S``.

The first line of bin/sendmail has -S: reading the site configuration would take a quarter of the
start-up of a submission, which needs nothing but the standard library. The modules that do need a
package (dnspython, filelock) call this before they import it.
"""

from __future__ import annotations

import sys


def provide() -> None:
    """Make installed packages importable; may be called often."""
    if "site" not in sys.modules:
        import site

        site.main()
