"""The parts of a batch on several threads: the same parts, the same sums, whoever computes them."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._lock import importing
from ..machine.sizes import levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Handing work to another thread takes 30 to 50 µs; below this many operations (about 0.5 ms) it
# does not pay. 30 operations stand for an activation with its derivative.
_LEAST_WORK = 2e7
_OPERATIONS = 30


@cache
def _pool() -> Any:
    with importing():
        from concurrent.futures import ThreadPoolExecutor  # 5 ms, a thirtieth of a start

    return ThreadPoolExecutor(thread_name_prefix="fastbp", max_workers=64)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of the threads


def automatic(operations: int) -> int:
    """Threads for so much work, where the caller leaves it to us."""
    if operations < _LEAST_WORK:
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def operations(n_samples: int, N: int, H: int) -> int:
    """Operations of a gradient."""
    return n_samples * H * (4 * N + _OPERATIONS)


class Tree:
    """Sums of nodes that become known in any order, along their tree (`drivers.tree`).

    As soon as both halves of a node are known they are added, so that few are kept. `sums` are
    arrays that receive the sum; `rooms` others like them are made at once, more when needed.
    """

    def __init__(self, sums: tuple[NDArray, ...], rooms: int) -> None:
        self._sums = sums
        self._known: dict[tuple[int, int], tuple[float, tuple[NDArray, ...]]] = {}
        self._free = [tuple(map(np.empty_like, sums)) for _ in range(rooms)]
        self._lock = threading.Lock()

    def room(self, k: int) -> tuple[NDArray, ...]:
        """Return arrays for the k-th node."""
        if k == 0:
            return self._sums
        with self._lock:
            if self._free:
                return self._free.pop()
        return tuple(map(np.empty_like, self._sums))

    def add(self, k: int, value: float, room: tuple[NDArray, ...]) -> None:
        """Take the k-th node's sums."""
        level = 0
        with self._lock:
            while (level, k ^ 1) in self._known:
                other = self._known.pop((level, k ^ 1))
                left, right = ((value, room), other) if k % 2 == 0 else (other, (value, room))
                value, room = self._joined(left, right)
                level, k = level + 1, k // 2
            self._known[level, k] = value, room

    def total(self) -> float:
        """Add what is left over, from the right, and return the number."""
        with self._lock:
            left = [self._known[key] for key in sorted(self._known, key=lambda at: at[1] << at[0])]
            while len(left) > 1:
                right = left.pop()
                left[-1] = self._joined(left[-1], right)
        return left[0][0]

    def _joined(
        self, left: tuple[float, tuple[NDArray, ...]], right: tuple[float, tuple[NDArray, ...]]
    ) -> tuple[float, tuple[NDArray, ...]]:
        with np.errstate(over="ignore", invalid="ignore"):  # as kernels add
            for total, node in zip(left[1], right[1], strict=True):
                total += node
        self._free.append(right[1])
        return left[0] + right[0], left[1]


def is_python_ending(error: RuntimeError) -> bool:
    """Whether Python refused to begin a thread, and will not do it later, because it ends."""
    return "shutdown" in str(error)


def _begun(work: Callable, workspaces: list[NDArray | None]) -> list[Any]:
    """Have a thread of the pool work with each workspace; returns their futures.

    Once the main thread ends, Python lets nobody begin another: who calls then, a thread that goes
    on or a function at exit, works alone.
    """
    begun: list[Any] = []
    wanted = [True]
    try:
        for own in workspaces:
            begun.append(_pool().submit(lambda own: work(own) if wanted else None, own))
    except RuntimeError as error:
        # It is queued nevertheless: a thread of a later call would write into this call's arrays.
        wanted.clear()
        if not is_python_ending(error):
            for other in begun:
                other.exception()  # waits
            raise
    return begun


def over_nodes(
    drive: Callable,
    n_samples: int,
    part: int,
    sums: tuple[NDArray, ...],
    threads: int,
    workspace: NDArray | None = None,
    nodes: int = 4,
) -> float:
    """Run all parts of a batch on several threads, and sum them along their tree.

    What a thread takes at a time is a complete node of the tree (`drivers.tree`), so that the sum
    is that of one thread. All memory, but for what `drive` takes, is asked for before anything is
    written.

    Parameters
    ----------
    drive : callable
        ``drive(first, n, sums, workspace) -> float`` computes a node.
    n_samples : int
        B.
    part : int
        Samples in a part.
    sums : tuple of ndarray
        Receive the sums of what the nodes leave in arrays like them.
    threads : int
        The caller is one of them.
    workspace : ndarray, optional
        Each thread has one like it.
    nodes : int
        At least so many for each thread, if there are: they don't take the same time.

    Returns
    -------
    total : float
        Sum of the nodes' results.
    """
    rows = part
    while n_samples > 2 * nodes * threads * rows:
        rows *= 2
    starts = range(0, n_samples, rows)
    threads = min(threads, len(starts))
    workspaces = [None if workspace is None else np.empty_like(workspace) for _ in range(threads)]
    tree = Tree(sums, min(len(starts) - 1, threads + levels(len(starts))))
    turn = itertools.count()  # next() on it is atomic

    def work(own: NDArray | None) -> None:
        while (k := next(turn)) < len(starts):
            first, room = starts[k], tree.room(k)
            tree.add(k, drive(first, min(rows, n_samples - first), room, own), room)

    others = _begun(work, workspaces[1:])
    try:
        work(workspaces[0])
    finally:
        for other in others:
            other.exception()  # waits
    for other in others:
        other.result()
    return tree.total() if starts else 0.0
