"""The one lock under which modules are imported late and machine code is made, linked, unloaded.

A fork waits until no other thread holds it: a child never begins with a lock that nobody will
release, nor with half a unit. (Python does not make the locks of modules anew in a child.)
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cache
from typing import Any

LOCK = threading.RLock()
_PATIENCE = 120.0  # seconds that a fork waits at most: longer than any compilation

_held: list[list[Any]] = []


def _before() -> None:
    locks: list[Any] = []
    if LOCK.acquire(timeout=_PATIENCE):
        locks.append(LOCK)
        # Numba's own, where Numba is in use: a fork while it compiles is the same fault.
        numba = sys.modules.get("numba.core.compiler_lock")
        if (other := getattr(numba, "global_compiler_lock", None)) is not None:
            other.acquire()
            locks.append(other)
    _held.append(locks)


def _after() -> None:
    for lock in reversed(_held.pop()):
        lock.release()


def _guard() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)


_guard()


@cache
def guard_compilation() -> None:
    """Have a fork ask for this lock before it takes those that a compilation may need.

    What is registered last is run first, and the standard library takes its locks in the same way:
    a fork that held the one of `logging` while it waited for ours would wait for ever.
    """
    import logging  # noqa: F401

    _guard()
