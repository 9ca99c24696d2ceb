"""Columns of inputs: their means and deviations, and weights for columns that are standardised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Columns:
    """What the columns of some observations are like: each of shape (N,)."""

    mean: NDArray
    deviation: NDArray
    constant: NDArray  # whether it is, but for rounding

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
        if sample_weight is not None:  # a row without weight has no say, whatever its size
            X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        rounding = max(len(X) * float(np.finfo(np.float64).eps), float(np.finfo(X.dtype).eps))
        X = X.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = _mean(X, sample_weight)
            centred = X - mean
            # In units of the largest: the squares of 1e-170 are zero.
            size = np.abs(centred).max(axis=0)
            unit = np.where(size > 0.0, size, 1.0)
            centred /= unit
            deviation = unit * np.sqrt(_mean(centred * centred, sample_weight))
        if not np.isfinite(deviation).all():
            largest = float(np.max(np.abs(X)))
            raise ValueError(f"numbers up to {largest:.3g} have no finite deviation; rescale them")
        constant = (X == X[0]).all(axis=0) | (deviation <= rounding * np.abs(mean))
        return cls(mean, deviation, constant)

    @cached_property
    def bias(self) -> int | None:
        """The first constant column that is not 0: what every neuron has for a bias."""
        found = np.flatnonzero(self.constant & (self.mean != 0.0))
        return int(found[0]) if found.size else None

    @cached_property
    def unit(self) -> NDArray:
        """What each column is measured in: its deviation, or the size of a constant's number."""
        unit = np.where(self.constant, np.abs(self.mean), self.deviation)
        return np.where(unit > 0.0, unit, 1.0)

    def standardised(self, X: NDArray) -> NDArray:
        """Return X in these units and, where there is a bias, counted from the means."""
        if self.bias is None:
            return (X / self.unit).astype(X.dtype, copy=False)
        Z = X - np.where(self.constant, 0.0, self.mean)
        Z /= self.unit
        return Z.astype(X.dtype, copy=False)

    def unscaled(self, W: NDArray) -> None:
        """Turn weights for standardised columns, (H, N), into those that do the same as they are.

        In place; see `Network.init`.

        Raises
        ------
        ValueError
            Where a weight is no finite number then.
        """
        mean, bias = self.mean, self.bias
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = W / self.unit
            if bias is not None:
                others = ~self.constant
                scaled[:, bias] -= scaled[:, others] @ (mean[others] / mean[bias])
            W[:] = scaled
        if not np.isfinite(W).all():
            j = int(np.argmin(np.isfinite(W).all(axis=0)))
            raise ValueError(
                f"column {j} of X, of mean {mean[j]:.3g} and deviation {self.deviation[j]:.3g}, "
                f"leaves its weights no finite number in {W.dtype}; rescale the columns"
            )


def _mean(X: NDArray, sample_weight: NDArray | None) -> NDArray:
    if sample_weight is None:  # 10 µs less than np.average, of a fit's 400
        return X.sum(axis=0) / len(X)
    return np.average(X, axis=0, weights=sample_weight)
