"""The command line: ``python -m fastbp``."""

import sys

if __name__ == "__main__":
    try:
        from fastbp._cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:  # before the command has begun
        sys.exit(130)
