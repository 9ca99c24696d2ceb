"""The parts of a batch on several threads: the same parts, the same sums, whoever computes them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..machine.sizes import part_size

# Handing work to another thread takes 30 to 50 µs; below this many operations (about 0.5 ms) it
# does not pay. 30 operations stand for an activation with its derivative.
_LEAST_WORK = 2e7
_OPERATIONS = 30


@cache
def _pool() -> Any:
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, a thirtieth of a start

    return ThreadPoolExecutor(thread_name_prefix="fastbp", max_workers=64)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of the threads


def automatic(n_samples: int, shape: tuple[int, int]) -> int:
    """Threads for a batch and a network of (N, H), where the caller leaves it to us."""
    N, H = shape
    if n_samples * H * (4 * N + _OPERATIONS) < _LEAST_WORK:
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def over_parts(
    drive: Callable,
    n_samples: int,
    gradient: NDArray | None,
    threads: int,
    workspace: int,
    dtype: np.dtype,
) -> float:
    """Run all parts of a batch on several threads and sum them in order.

    All memory is asked for before anything is written.

    Parameters
    ----------
    drive : callable
        ``drive(first, n, gradient, workspace) -> float`` computes one part.
    n_samples : int
        B.
    gradient : ndarray, shape (P,), optional
        Receives the sum of the parts' gradients.
    threads : int
        The caller is one of them.
    workspace : int
        Numbers that a part needs.
    dtype : dtype
        Of these.

    Returns
    -------
    total : float
        Sum of the parts' results.
    """
    part = part_size(n_samples)
    starts = range(0, n_samples, part)
    threads = min(threads, len(starts))
    results = [0.0] * len(starts)
    rows: list[NDArray | None] = [gradient] * len(starts)
    if gradient is not None:
        rows[1:] = np.empty((len(starts) - 1, gradient.size), dtype)
    workspaces = [np.empty(workspace, dtype) for _ in range(threads)]
    turn = itertools.count()  # next() on it is atomic

    def work(own: NDArray) -> None:
        while (k := next(turn)) < len(starts):
            first = starts[k]
            results[k] = drive(first, min(part, n_samples - first), rows[k], own)

    from concurrent.futures import wait

    others = [_pool().submit(work, own) for own in workspaces[1:]]
    try:
        work(workspaces[0])
    finally:
        wait(others)
    for other in others:
        other.result()
    total = 0.0
    for row, result in zip(rows, results, strict=True):
        if gradient is not None and row is not gradient:
            gradient += row
        total += result
    return total
