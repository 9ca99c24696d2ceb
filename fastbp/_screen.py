"""Who reads standard error: somebody at a terminal, somebody in a notebook, or nobody now."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Literal


def reader() -> Literal["terminal", "notebook", "nobody"]:
    """Return who reads."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if hasattr(shell, "kernel"):
        return "notebook"
    with suppress(OSError, ValueError, AttributeError):  # closed, or no more than what writes
        if sys.stderr is not None and sys.stderr.isatty():
            return "terminal"
    return "nobody"


def say(line: str) -> None:
    """Write a line to standard error; where that can't be, it is lost."""
    with suppress(OSError, ValueError, AttributeError):  # hung up, closed, or without `flush`
        if sys.stderr is not None:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
