"""`python -m dbaudit`: the command line."""

import sys

from dbaudit.cli import main

if __name__ == "__main__":
    sys.exit(main())
