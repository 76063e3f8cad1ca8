"""`python -m polyalign` is the command `polyalign`."""

import sys

from polyalign.cli import main

sys.exit(main())
