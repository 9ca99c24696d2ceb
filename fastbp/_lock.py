"""The one lock under which modules are imported late and machine code is made, linked, unloaded.

A fork waits until no other thread holds it: a child never begins with a lock that nobody will
release, nor with half a unit. (Python does not make the locks of modules anew in a child.)

Nothing that runs while a module of ours is imported may ask for it: who holds it may be waiting for
that module.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")

IMPORTED = time.time()  # the package: no module of it is imported before this one
FOUND = os.path.realpath(os.path.dirname(__file__))  # where a link led then

LOCK = threading.RLock()
_PATIENCE = 120.0  # seconds that a fork waits at most: longer than any compilation


class _Held(threading.local):
    """What the forks of this thread have taken, one list for each `_before`."""

    def __init__(self) -> None:
        self.taken: list[list[Any]] = []


_held = _Held()


def _compiler_lock() -> Any:
    """Numba's own lock; None where Numba is not in use."""
    return getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)


def _llvm_lock() -> Any:
    """The lock around every call of llvmlite; None where it is not in use.

    Taken outside of ours by whatever gives code back: a network that is collected, Numba.
    """
    library = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    return getattr(getattr(library, "_lock", None), "_lock", None)


def inside_compiler() -> bool:
    """Whether this thread is in Numba's compiler: who holds LOCK may be waiting for that."""
    lock = _compiler_lock()
    return lock is not None and lock.is_locked()


def importing() -> AbstractContextManager[Any]:
    """Context in which a module is imported late.

    The lock, but for a thread in Numba's compiler: a fork waits for that as well.
    """
    return nullcontext() if inside_compiler() else LOCK


def _before() -> None:
    locks: list[Any] = []
    if LOCK.acquire(timeout=_PATIENCE):
        locks.append(LOCK)
        # A fork while Numba compiles for somebody else is the same fault, or while LLVM works.
        for other in (_compiler_lock(), _llvm_lock()):
            if other is not None:
                other.acquire()
                locks.append(other)
    _held.taken.append(locks)


def _after() -> None:
    # Nothing is left where this was registered once more while the fork waited.
    if _held.taken:
        for lock in reversed(_held.taken.pop()):
            lock.release()


def _guard() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)


_guard()


class cached_property(Generic[_T]):
    """As that of `functools`, without the lock which that holds meanwhile before Python 3.12.

    A child forked while a thread held it would wait for ever. Two threads may both find the value.
    """

    def __init__(self, function: Callable[[Any], _T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any = None) -> _T:
        if instance is None:
            return self  # type: ignore[return-value]
        value: _T = instance.__dict__.setdefault(self._name, self._function(instance))
        return value


@cache
def guard_compilation() -> None:
    """Have a fork ask for this lock before it takes those that a compilation may need.

    What is registered last is run first, and the standard library takes its locks in the same way:
    a fork that held the one of `logging` while it waited for ours would wait for ever.
    """
    import logging  # noqa: F401

    _guard()
