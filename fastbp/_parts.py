"""Sums over the parts of a batch, in Python: the parts and the tree that kernels have.

A *node* (lo, hi) of the tree is made of parts lo to hi − 1 (`kernels/drivers/tree.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._lock import LOCK

_LOOKED_AT = 1 << 16  # rows

Node = tuple[int, int]
_T = TypeVar("_T")


class Rows(NamedTuple):
    """Some observations: X, targets and weights, of which the last two may be missing."""

    X: NDArray
    t: NDArray | None = None
    c: NDArray | None = None

    def of(self, chosen: Any) -> Rows:
        """Return some of them; of a slice, views."""
        t, c = (None if array is None else array[chosen] for array in self[1:])
        return Rows(self.X[chosen], t, c)

    def weighing(self) -> Rows:
        """Return those that have a weight, of whatever says something of the data."""
        if self.c is None or self.c.all():
            return self
        return self.of(self.c > 0)


def row_numbers(B: int, chosen: NDArray | None = None) -> NDArray:
    """Return the numbers of those chosen of B rows, else of all, in 4 bytes where these will do."""
    if chosen is not None:
        return chosen
    return np.arange(B, dtype=np.int32 if B < 2**31 else np.int64)


def rows_where(mask: NDArray) -> NDArray:
    """As `numpy.flatnonzero`, in 4 bytes a row, and no more on the way."""
    found = np.empty(np.count_nonzero(mask), np.int32 if len(mask) < 2**31 else np.int64)
    done = 0
    for first in range(0, len(mask), _LOOKED_AT):
        some = np.flatnonzero(mask[first : first + _LOOKED_AT])
        found[done : done + len(some)] = some + first
        done += len(some)
    return found


class Statistic(NamedTuple):
    """What a function says of some rows, so that it can say it of all of them."""

    sums: tuple[Any, ...]
    least: Any = np.inf
    largest: Any = -np.inf

    def joined(self, other: Statistic) -> Statistic:
        """Return what it says of the rows of both."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        least, largest = (
            np.minimum(self.least, other.least),
            np.maximum(self.largest, other.largest),
        )
        return Statistic(sums, least, largest)


def weight(rows: Rows) -> Statistic:
    """Σ c, or the number of rows; and the largest weight."""
    if rows.c is None:
        return Statistic((float(len(rows.X)),), largest=1.0)
    return Statistic((float(rows.c.sum(dtype=np.float64)),), largest=float(rows.c.max()))


def middle(lo: int, hi: int) -> int:
    """Where a node divides: the largest power of two below its length."""
    return lo + (1 << ((hi - lo - 1).bit_length() - 1))


def along_tree(
    known: Callable[[int, int], _T | None], add: Callable[[_T, _T], _T], lo: int, hi: int
) -> _T:
    """Return the sum of a node, where ``known(lo, hi)`` gives those of some, else None."""
    value = known(lo, hi)
    if value is None:
        at = middle(lo, hi)
        value = add(along_tree(known, add, lo, at), along_tree(known, add, at, hi))
    return value


@cache  # the statement alone takes 4 µs, and a small fit is here often
def sizes() -> Any:
    """Return the module of the sizes that Python and compiled code share."""
    with LOCK:
        from .kernels.machine import sizes
    return sizes


def over_parts(function: Callable[..., Statistic], rows: Rows, *arguments: Any) -> Statistic:
    """Return what ``function(rows, *arguments)`` says of all rows, part by part."""
    B = len(rows.X)
    part = sizes().part_size(B)
    if part >= B:
        return function(rows, *arguments)

    def known(lo: int, hi: int) -> Statistic | None:
        if hi > lo + 1:
            return None
        return function(rows.of(slice(lo * part, hi * part)), *arguments)

    return along_tree(known, Statistic.joined, 0, -(-B // part))
