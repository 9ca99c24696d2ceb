"""Rows in the order of their numbers, and which of them are alike, without a copy of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SORTED = 1 << 16  # rows that are sorted at once
_SAMPLE = 1000  # of whose numbers the median divides more

Column = Callable[[NDArray], NDArray]  # the numbers of some rows


class Alike(NamedTuple):
    """Rows in the order of their first numbers, of these alike by the second ones, and so on.

    Attributes
    ----------
    order : ndarray of int
        The rows; those that are alike as they were given.
    begins : ndarray of bool
        Whether a row of this order is not like the one before.
    """

    order: NDArray
    begins: NDArray

    @classmethod
    def of(cls, rows: NDArray, columns: Sequence[Column]) -> Alike:
        """Sort some rows, in place."""
        order, begins = rows, np.zeros(len(rows), bool)
        todo = [(0, len(rows), 0)]
        while todo:
            low, high, first = todo.pop()
            if low == high:
                continue
            begins[low] = True
            if high - low > _SORTED and first < len(columns):
                less, more = (low + n for n in _divided(order[low:high], columns[first]))
                todo += [(more, high, first), (less, more, first + 1), (low, less, first)]
            else:
                _sort(order[low:high], begins[low:high], columns[first:])
        return cls(order, begins)

    def numbers(self, some: slice) -> NDArray:
        """Return which of the distinct ones some are, counted from the first of these."""
        return np.cumsum(self.begins[some]) - 1

    def part(self, n: int) -> None:
        """Take rows of which n or more are alike for rows that are not, unless all are alike."""
        for some in self.blocks(_SORTED) if np.count_nonzero(self.begins) > 1 else []:
            begins = self.begins[some]
            sizes = np.diff(np.r_[np.flatnonzero(begins), len(begins)])
            begins |= np.repeat(sizes >= n, sizes)

    def blocks(self, n: int) -> list[slice]:
        """Return parts of the order, of n rows at least, that have all that are alike."""
        found, low, B = [], 0, len(self.order)
        while low < B:
            rest = self.begins[low + n :]
            high = low + n + int(rest.argmax()) if rest.any() else B
            found.append(slice(low, high))
            low = high
        return found

    def each(self, values: NDArray, rows: int) -> NDArray:
        """Return the value of each of so many rows, by those of the distinct ones; else -1."""
        found, done = np.full(rows, -1, values.dtype), 0
        for some in self.blocks(_SORTED):
            number = done + self.numbers(some)
            found[self.order[some]] = values[number]
            done = int(number[-1]) + 1
        return found


def _divided(rows: NDArray, column: Column) -> tuple[int, int]:
    """Put rows below a number before those that have it and those above; where these begin."""
    sample = np.sort(column(rows[:: -(-len(rows) // _SAMPLE)]))
    middle = sample[len(sample) // 2]
    sides: tuple[list[NDArray], ...] = ([], [], [])
    for some in np.array_split(rows, -(-len(rows) // _SORTED)):
        values = column(some)
        for side, of in zip(
            sides, (values < middle, values == middle, values > middle), strict=True
        ):
            side.append(some[of])
    less, equal = (sum(map(len, side)) for side in sides[:2])
    np.concatenate([*sides[0], *sides[1], *sides[2]], out=rows)
    return less, less + equal


def _sort(rows: NDArray, begins: NDArray, columns: Sequence[Column]) -> None:
    """Sort rows, in place, by one column after the other where they are alike so far."""
    tied = np.arange(len(rows) if len(rows) > 1 else 0)
    for column in columns:
        if not tied.size:
            break
        group, values = np.cumsum(begins[tied]), column(rows[tied])
        order = np.lexsort((values, group))
        rows[tied] = rows[tied][order]
        begins[tied[1:]] |= (np.diff(values[order]) != 0.0) | (np.diff(group) > 0)
        alone = begins[tied] & np.r_[begins[tied[1:]], True]
        tied = tied[~alone]
