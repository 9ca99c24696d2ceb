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

_RUN = 1 << 16  # rows
_COUNTED = 512  # bytes of bits, whose rows are counted together

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


def row_numbers(B: int, chosen: NDArray | Marked | None = None) -> NDArray:
    """Return the numbers of those chosen of B rows, else of all, in 4 bytes where these will do."""
    if chosen is not None:
        return np.asarray(chosen)
    return np.arange(B, dtype=_number_type(B))


def runs(B: int) -> list[slice]:
    """Return slices of B rows that are short: to index by numbers takes 8 bytes of each more."""
    return [slice(first, first + _RUN) for first in range(0, B, _RUN)]


def counts_of(numbers: NDArray, n: int) -> NDArray:
    """As `numpy.bincount` of numbers below n, in short runs."""
    found = np.zeros(n, np.int64)
    for run in runs(len(numbers)):
        np.add.at(found, numbers[run], 1)
    return found


def numbered(given: NDArray) -> tuple[NDArray, NDArray]:
    """As `numpy.unique` with its inverse, which takes the fewest bytes that also hold -1."""
    some = runs(len(given))
    values = np.unique(np.concatenate([given[:0], *(np.unique(given[run]) for run in some)]))
    numbers = np.empty(len(given), np.min_scalar_type(-len(values) - 1))
    for run in some:
        numbers[run] = np.searchsorted(values, given[run])
    return values, numbers


def _number_type(B: int) -> type:
    return np.int32 if B < 2**31 else np.int64


class Marked:
    """The numbers of the rows that a mask has, in their order, kept as a bit of each row."""

    def __init__(self, mask: NDArray) -> None:
        self._bits, self.dtype = np.packbits(mask), _number_type(len(mask))
        counts = np.bitwise_count(self._bits)
        counts = np.add.reduceat(counts, np.arange(0, len(counts), _COUNTED), dtype=np.int64)
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, some: Any) -> NDArray:
        """Return those of a slice, of whose rows alone bits are looked at, or of an index."""
        if not isinstance(some, slice):
            return np.asarray(self)[some]
        begin, end, step = some.indices(len(self))
        if step != 1:
            rows = -(-8 * _COUNTED // step) * step
            each = (self[first : min(first + rows, end)] for first in range(begin, end, rows))
            return np.concatenate([self[:0], *(found[::step] for found in each)])
        low = int(np.searchsorted(self._ends, begin, side="right"))
        high = int(np.searchsorted(self._ends, end)) + 1
        bits = np.unpackbits(self._bits[low * _COUNTED : high * _COUNTED]).view(bool)
        before = int(self._ends[low - 1]) if low else 0
        found = np.flatnonzero(bits)[begin - before : max(end - before, 0)]
        return found.astype(self.dtype) + self.dtype(8 * _COUNTED * low)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        """Return all of them."""
        found: NDArray = np.empty(len(self), self.dtype)
        for some in runs(len(self)):
            found[some] = self[some]
        return np.asarray(found, dtype)


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
