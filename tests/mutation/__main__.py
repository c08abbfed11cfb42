"""python3 -m tests.mutation: see ``runner``."""

import sys

from tests.mutation.runner import main

sys.exit(main(sys.argv[1:]))
