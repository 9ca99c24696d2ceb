"""The command line: ``python -m fastbp``."""

import sys

from fastbp._cli import main

if __name__ == "__main__":
    sys.exit(main())
