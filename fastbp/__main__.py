"""The command line: ``fastbp``, or ``python -m fastbp``."""

import sys


def run() -> int:
    """Run the command that the process was given, and return its exit code."""
    try:
        from fastbp._cli.main import main

        return main()
    except KeyboardInterrupt:  # before the command has begun
        return 130


if __name__ == "__main__":
    sys.exit(run())
