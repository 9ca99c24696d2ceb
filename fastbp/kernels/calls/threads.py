"""The parts of a batch on several threads: the same parts, the same sums, whoever computes them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._lock import importing

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
    is that of one thread. All memory is asked for before anything is written.

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
    results = [0.0] * len(starts)
    arrays = [sums, *(tuple(map(np.empty_like, sums)) for _ in starts[1:])]
    workspaces = [None if workspace is None else np.empty_like(workspace) for _ in range(threads)]
    turn = itertools.count()  # next() on it is atomic

    def work(own: NDArray | None) -> None:
        while (k := next(turn)) < len(starts):
            first = starts[k]
            results[k] = drive(first, min(rows, n_samples - first), arrays[k], own)

    pool = _pool()
    from concurrent.futures import wait  # imported with the pool

    others = [pool.submit(work, own) for own in workspaces[1:]]
    try:
        work(workspaces[0])
    finally:
        wait(others)
    for other in others:
        other.result()
    places: list[int] = []
    for k in range(len(starts)):
        places.append(k)
        count = k + 1
        while len(places) > 1 and (count == len(starts) or count % 2 == 0):
            source, target = places.pop(), places[-1]
            results[target] += results[source]
            with np.errstate(over="ignore", invalid="ignore"):  # as kernels add
                for total, node in zip(arrays[target], arrays[source], strict=True):
                    total += node
            count = count if count == len(starts) else count // 2
    return results[0] if results else 0.0
