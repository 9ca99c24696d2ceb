"""Columns of inputs: their means and deviations, and weights for columns that are standardised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._lock import cached_property
from ._parts import Rows, Statistic, over_parts

_WIDE, _MANY, _NARROW = 1024, 16, 8


class _Biases(NamedTuple):
    """What the constant columns make of the others, an entry each."""

    chosen: NDArray  # whether it is the bias
    origin: NDArray  # what it is counted from: 0 where no bias makes up for it
    shift: NDArray  # the origin, in numbers of the bias
    any: bool


@dataclass(frozen=True)
class Columns:
    """What the columns of some observations are like: each of shape (N,).

    Or of M groups of as many, X being (B, M, N): (M, N).
    """

    mean: NDArray
    deviation: NDArray
    constant: NDArray  # whether it is, but for rounding
    unit: NDArray  # what it is measured in: its deviation, or the size of a constant's number

    @classmethod
    def of(cls, X: NDArray, sample_weight: NDArray | None = None) -> Columns:
        """Return weighted means and deviations over the rows of X; also of targets, (B,).

        A column is constant whose deviation is within what the rounding of the mean of so many
        numbers leaves, as in scikit-learn's StandardScaler, or of its own numbers.

        Raises
        ------
        ValueError
            Where a deviation is not finite.
        """
        rows = Rows(X, None, sample_weight)
        return cls.over(lambda say, *given: over_parts(say, rows, *given), "X", X.dtype)

    @classmethod
    def over(cls, reduce: Callable[..., Statistic], name: str, dtype: Any) -> Columns:
        """Return them of rows, of whose parts `reduce` makes one.

        `name` is "X" or "t", or "Xt" for the columns of both.
        """
        (n, total, sums), least, largest = reduce(_extent, name)
        rounding = max(n * float(np.finfo(np.float64).eps), float(np.finfo(dtype).eps))
        with np.errstate(over="ignore", invalid="ignore"):
            alike = least == largest
            mean = np.where(alike, least, (sums.T / total).T)  # a sum is rounded
            # In units of the largest: the squares of 1e-170 are zero.
            size = _or_one(np.maximum(largest - mean, mean - least))
            ((squares,), _, _) = reduce(_squares, name, mean, size)
            deviation = size * np.sqrt((squares.T / total).T)
        if not np.isfinite(deviation).all():
            most = float(np.max(np.maximum(np.abs(least), np.abs(largest))))
            raise ValueError(f"numbers up to {most:.3g} have no finite deviation; rescale them")
        number = np.abs(mean)
        constant = alike | (deviation <= rounding * number)
        return cls(mean, deviation, constant, _or_one(np.where(constant, number, deviation)))

    def parted(self, n: int) -> tuple[Columns, Columns]:
        """Return the first n columns, and the others."""
        arrays = self.mean, self.deviation, self.constant, self.unit
        first, others = (
            Columns(*(array[..., some] for array in arrays)) for some in (slice(n), slice(n, None))
        )
        return first, others

    @property
    def bias(self) -> int | None:
        """The first constant column that is not 0: what every neuron has for a bias."""
        return int(self._biases.chosen.argmax()) if self._biases.any else None

    @cached_property
    def _biases(self) -> _Biases:
        found = self.constant & (self.mean != 0.0)
        chosen = found & (np.add.accumulate(found, axis=-1, dtype=int) == 1)
        number = np.add.reduce(self.mean, axis=-1, keepdims=True, where=chosen)
        none = number == 0.0
        origin = np.where(self.constant | none, 0.0, self.mean)
        return _Biases(chosen, origin, origin / np.where(none, 1.0, number), not none.all())

    def standardised(self, X: NDArray) -> NDArray:
        """Return X in these units and, where there is a bias, counted from the means."""
        mean = self._biases.origin if self._biases.any else None
        unit, wide = self.unit, _WIDE // X.shape[1]
        n = len(X) // wide * wide if wide > 1 and X.ndim == 2 and X.flags.c_contiguous else 0
        if n < _MANY * wide:
            return _scaled(X, mean, unit)
        # NumPy's loops are along a row: of _WIDE numbers that takes half the time.
        Z = np.empty_like(X)
        tiled = None if mean is None else np.tile(mean, wide), np.tile(unit, wide)
        Z[:n] = _scaled(X[:n].reshape(n // wide, -1), *tiled).reshape(n, -1)
        Z[n:] = _scaled(X[n:], mean, unit)
        return Z

    def standardised_others(self, X: NDArray) -> NDArray:
        """Return other observations so, of which the bias may be no constant.

        As `unscaled` has it, a row is counted from the means as often as it holds the bias.
        """
        if self.bias is None:
            return self.standardised(X)
        held = X[:, self.bias, np.newaxis] / self.mean[self.bias]
        return _scaled(X, held * self._biases.origin, self.unit)

    def unscaled(self, W: NDArray) -> NDArray:
        """Return what does the same as given of weights, (…, H, N), for standardised columns.

        See `Network.init`.

        Raises
        ------
        ValueError
            Where a weight is no finite number then.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = W / self.unit[..., np.newaxis, :]
            if self._biases.any:
                # Not a product of BLAS, whose order may be another one where there are groups.
                moved = scaled * self._biases.shift[..., np.newaxis, :]
                moved = np.add.reduce(moved, axis=-1, keepdims=True)
                chosen = self._biases.chosen[..., np.newaxis, :]
                np.subtract(scaled, moved, out=scaled, where=chosen)
            scaled = scaled.astype(W.dtype, copy=False)
        if not np.isfinite(scaled).all():
            *group, _, j = np.argwhere(~np.isfinite(scaled))[0]
            mean, deviation = (of[(*group, j)] for of in (self.mean, self.deviation))
            raise ValueError(
                f"column {j} of X, of mean {mean:.3g} and deviation "
                f"{deviation:.3g}, leaves its weights no finite number in {W.dtype}; "
                "rescale the columns"
            )
        return scaled


def rms(x: NDArray) -> float:
    """Return √(Σ x² / n) of numbers of any size: the squares of 1e-170 are zero."""
    size = _or_one(np.abs(x).max(initial=0.0))
    return float(size * np.sqrt(np.mean((x / size) ** 2)))


def _or_one(size: NDArray) -> NDArray:
    return np.where(size > 0.0, size, 1.0)


def _weighed(rows: Rows, name: str) -> tuple[NDArray, NDArray | None]:
    """Return an array with rows last, and their weights: one of 0 has no say, whatever is there."""
    rows = rows.weighing()
    if name == "Xt":
        assert rows.t is not None
        X, t = rows.X.T, rows.t.T
        values = np.empty((len(X) + (1 if t.ndim < X.ndim else len(t)), *X.shape[1:]))
        values[: len(X)], values[len(X) :] = X, t
    else:
        values = getattr(rows, name).T
        few = len(values) <= _NARROW  # NumPy's loops would be along them
        values = np.asarray(values, np.float64, order="C" if few else "A")
    return values, None if rows.c is None else rows.c.T.astype(np.float64)


def _sum(values: NDArray, c: NDArray | None) -> Any:
    return np.add.reduce(values if c is None else values * c, axis=-1).T


def _extent(rows: Rows, name: str) -> Statistic:
    values, c = _weighed(rows, name)
    with np.errstate(over="ignore", invalid="ignore"):
        n = values.shape[-1]
        sums = (n, float(n) if c is None else c.sum(axis=-1), _sum(values, c))
    least = np.minimum.reduce(values, axis=-1, initial=np.inf)  # the methods take 2 µs more
    largest = np.maximum.reduce(values, axis=-1, initial=-np.inf)
    return Statistic(sums, least.T, largest.T)


def _squares(rows: Rows, name: str, mean: NDArray, unit: NDArray) -> Statistic:
    values, c = _weighed(rows, name)
    with np.errstate(over="ignore", invalid="ignore"):
        centred = values - mean.T[..., np.newaxis]
        centred /= unit.T[..., np.newaxis]
        centred *= centred
        return Statistic((_sum(centred, c),))


def _scaled(X: NDArray, mean: NDArray | None, unit: NDArray) -> NDArray:
    if mean is None:
        return (X / unit).astype(X.dtype, copy=False)
    Z = X - mean
    Z /= unit
    return Z.astype(X.dtype, copy=False)
