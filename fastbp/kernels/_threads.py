"""The parts of a batch on several threads: the same parts, the same sums, whoever computes them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ._passes import part_size

# Handing work to another thread takes 30 to 50 µs; below this many operations (about 0.5 ms) it
# does not pay. 30 operations stand for an activation with its derivative.
_LEAST_WORK = 2e7
_OPERATIONS = 30


@cache
def _pool() -> ThreadPoolExecutor:
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
) -> float:
    """Run all parts of a batch on several threads and sum them in order.

    Parameters
    ----------
    drive : callable
        ``drive(first, n, gradient_address, result_address)`` computes one part.
    n_samples : int
        B.
    gradient : ndarray, shape (P,), optional
        Receives the sum of the parts' gradients.
    threads : int
        The caller is one of them.

    Returns
    -------
    total : float
        Sum of the parts' results.
    """
    part = part_size.py_func(n_samples)
    starts = range(0, n_samples, part)
    results = np.zeros(len(starts))
    partial = (
        None if gradient is None else np.empty((len(starts) - 1, gradient.size), gradient.dtype)
    )
    turn = itertools.count()  # next() on it is atomic

    def work() -> None:
        while (k := next(turn)) < len(starts):
            rows = None if partial is None else gradient if k == 0 else partial[k - 1]
            address = 0 if rows is None else rows.ctypes.data
            first = starts[k]
            result = results.ctypes.data + 8 * k
            drive(first, min(part, n_samples - first), address, result)

    others = [_pool().submit(work) for _ in range(min(threads, len(starts)) - 1)]
    try:
        work()
    finally:
        wait(others)
    for other in others:
        other.result()
    total = 0.0
    for k in range(len(starts)):
        if k and gradient is not None and partial is not None:
            gradient += partial[k - 1]
        total += results[k]
    return float(total)
