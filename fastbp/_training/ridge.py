"""How well a ridge regression meets each observation that is left out, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._columns import Columns


def left_out(
    X: NDArray,
    t: NDArray,
    c: NDArray | None,
    columns: Columns,
    path: NDArray,
    like: NDArray | None = None,
) -> NDArray:
    """Return the mean square by which observations are missed, each by a fit without it.

    For each λ the fit is that of least ½ Σ c r² / Σ c + ½ λ Σ_j u_j² V_j², u the columns' units and
    a bias not penalised; without an observation its residual is r / (1 − h), h being its leverage
    (D. M. Allen: The relationship between variable selection and data augmentation and a method for
    prediction, Technometrics 16, 1974).

    Parameters
    ----------
    X : ndarray, shape (B, N)
    t : ndarray, shape (B,) or (B, K)
    c : ndarray, shape (B,), or None
    columns : Columns
        What those of X are like.
    path : ndarray
        λ.
    like : ndarray of int, shape (B,), optional
        A number of each observation, the same of those that are alike: they are left out together.

    Returns
    -------
    errors : ndarray, of the shape of path
        Means over the observations, the sums of their outputs; infinite where they are no number.
    """
    t, c = t.reshape(len(t), -1).astype(np.float64), np.ones(len(t)) if c is None else c
    if like is not None:
        _, first = np.unique(like, return_index=True)
        X, t, c = X[first], t[first], np.bincount(like, c)
    c = c / c.sum(dtype=np.float64)
    Z, of_bias = X / columns.unit.astype(np.float64), np.zeros(1)
    if columns.bias is not None:
        Z, t, of_bias = Z - c @ Z, t - c @ t, c
    t /= np.abs(t).max() or 1.0  # their squares may be beyond all numbers
    root = np.sqrt(c)[:, np.newaxis]
    U, d, _ = np.linalg.svd(root * Z, full_matrices=False)
    along, errors = U.T @ (root * t), np.empty(len(path))
    with np.errstate(all="ignore"):
        for k, l2 in enumerate(path):
            kept = d * d / (d * d + l2)
            r = root * t - U @ (kept[:, np.newaxis] * along)
            h = U * U @ kept + of_bias
            errors[k] = np.sum((r / (1.0 - h)[:, np.newaxis]) ** 2)
    return np.where(np.isfinite(errors), errors, np.inf)
