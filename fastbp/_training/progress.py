"""Signs of life of a long run: a bar, or a line every few seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .. import _screen as screen
from .._lock import LOCK

_SILENT = 1.0  # seconds of a run that is not worth a bar, unless one is asked for
_BAR = 0.1  # seconds between two states of a bar, and between two lines
_LINE = 5.0


_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"


class Progress:
    """How far a run is, for who reads standard error; the last state stays.

    A terminal has a bar of tqdm, a notebook the same as one output; without tqdm, and where there
    is neither of the two, it is a line.

    Parameters
    ----------
    wanted : bool or "auto"
        "auto" is for terminals and notebooks alone, and for runs of a second and more.
    total : int
        The steps at most.
    name : str
        What a step is.
    """

    def __init__(self, wanted: bool | str, total: int, name: str = "step") -> None:
        if wanted not in (True, False, "auto"):
            raise ValueError(f'progress must be True, False or "auto"; got {wanted!r}')
        self._name, self._total = name, total
        self._begun = time.monotonic()
        self._next = self._begun + (_SILENT if wanted == "auto" else 0.0)
        self._state: tuple[int, Mapping[str, float]] = 0, {}
        self._shown = False
        self._bar: Any = None
        reader = screen.reader()
        if wanted is False or (wanted == "auto" and reader == "nobody"):
            self._next = float("inf")
        self._cell = _Cell() if reader == "notebook" else None
        moves = reader == "terminal" and os.environ.get("TERM") != "dumb"
        self._has_bar = reader == "notebook" or moves

    def _make_bar(self, seconds: float) -> None:
        try:
            with LOCK:
                from tqdm.std import tqdm
        except ImportError:
            self._has_bar = False
            return

        class Bar(tqdm):
            monitor_interval = 0  # no thread, which a fork would lose

        self._bar = Bar(
            total=self._total,
            desc=self._name,
            bar_format=_FORMAT,
            file=self._cell or sys.stderr,
            position=0 if self._cell else None,  # beside other bars it would move the cursor
            **({} if self._cell else _size()),
            mininterval=0.0,
            miniters=0,
        )
        self._bar.start_t -= seconds

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @property
    def done(self) -> int:
        """The steps of the last state."""
        return self._state[0]

    def show(self, done: int, losses: Mapping[str, float]) -> None:
        """Take note of a state, and show it where the last that was shown is old."""
        self._state = done, losses
        now = time.monotonic()
        if now >= self._next:
            self._draw(now)

    def end(self, reason: str = "") -> None:
        """Show the last state, which stays, and why it is the last."""
        now = time.monotonic()
        if self._state[1] and (self._shown or now >= self._next):
            self._draw(now, reason)
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()
        self._bar, self._next, self._shown = None, float("inf"), False

    def _draw(self, now: float, reason: str = "") -> None:
        done, losses = self._state
        figures = [f"{name} {value:.4g}" for name, value in losses.items()]
        if reason:
            figures.append(reason)
        self._shown = True
        seconds = now - self._begun
        with suppress(OSError, ValueError):  # hung up, or closed
            if self._has_bar and self._bar is None:  # not before: what is compiled first says so
                self._make_bar(seconds)
            if self._bar is not None:
                self._bar.set_postfix_str(", ".join(figures), refresh=False)
                if reason:  # closing shows it
                    self._bar.bar_format = _FORMAT.replace("<{remaining}", "")
                    self._bar.n = done
                else:
                    self._bar.update(done - self._bar.n)
        self._next = now + (_LINE if self._bar is self._cell is None else _BAR)
        if self._bar is None:
            figures.append(f"{seconds:.1f} s")
            line = f"{self._name} {done} of {self._total}: {', '.join(figures)}"
            (self._cell.write if self._cell else screen.say)(line)


def _size() -> dict[str, Any]:
    """Return how large the terminal is; some say 0 × 0, and are written to all the same."""
    with suppress(OSError, ValueError, AttributeError):
        if all(os.get_terminal_size(sys.stderr.fileno())):
            return {"dynamic_ncols": True}
    return {"ncols": 80, "nrows": 24}


class _Cell:
    """A file of which the last line is one output of a notebook's cell."""

    encoding = "utf-8"  # by which tqdm knows what a bar may be drawn with

    def __init__(self) -> None:
        self._output: Any = None

    def write(self, text: str) -> None:
        line = text.strip()
        if not line:  # what would move the cursor, or blank a line out
            return
        from IPython.display import display

        content = {"text/plain": line}
        if self._output is None:
            self._output = display(content, raw=True, display_id=True)
        else:
            self._output.update(content, raw=True)

    def flush(self) -> None:
        """There is nothing to write out."""
