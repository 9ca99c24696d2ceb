"""A unit: one native function, found on disk or made, linked when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ... import _screen as screen
from ..._lock import LOCK, guard_compilation
from . import linker, store


class Unit:
    """One native function of a fixed signature, stored and loaded by itself.

    Units take addresses and call each other through addresses (`places`), so that a new
    activation costs one small unit, and no stored code holds a copy of another unit's.

    Parameters
    ----------
    name : str
        What it is called in the name of its file.
    key : str
        What it depends on beside the sources: number type, text of an activation.
    make : callable
        ``make(symbol) -> object``, called where none is stored; all that imports Numba.
    """

    def __init__(self, name: str, key: str, make: Callable[[str], tuple[bytes, bool]]) -> None:
        self._described = store.Description(name, key)
        self._make = make
        self._linked: Any = None
        self._address = 0
        self._definition: Any = None

    @property
    def symbol(self) -> str:
        """The one name that its object exports."""
        return f"fastbp_{self._described.name}_{self._described.digest}"

    def is_missing(self) -> bool:
        """Whether no stored object is there."""
        return store.read(self._described) is None

    def image(self) -> bytes:
        """Return the object: the stored one, or else made, and stored."""
        image = store.read(self._described)
        if image is None:
            guard_compilation()
            _say_once()
            image, may_be_stored = self._make(self.symbol)
            if may_be_stored:
                store.write(self._described, image)
        return image

    @property
    def address(self) -> int:
        """Address of the C function, valid for as long as the unit is held."""
        if not self._address:
            with LOCK:
                if not self._address:
                    self._link(self.image())
        return self._address

    def _link(self, image: bytes) -> None:
        try:
            self._linked = linker.link(image, self.symbol)
        except RuntimeError:  # stored, whole, and yet not to be linked
            image, _ = self._make(self.symbol)
            self._linked = linker.link(image, self.symbol)
        self._address = self._linked[self.symbol]

    def entry(self, record: Any) -> Callable:
        """Return the function that Python calls, where the unit is one; `record` is its self."""
        if self._definition is None:
            self._definition = linker.definition(self._described.name, self.address)
        return linker.builtin(self._definition, record)


_said = False


def _say_once() -> None:
    """Say to who reads that the first call takes some seconds, and what for."""
    global _said
    if _said or os.environ.get("FASTBP_QUIET") == "1":
        return
    _said = True
    if screen.reader() != "nobody":
        screen.say("fastbp: compiling for this machine; later processes find it stored")
