"""Real data that comes with the package, for the examples and the command line."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_diabetes"]


def load_diabetes() -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Load the diabetes data of Efron, Hastie, Johnstone and Tibshirani (2004).

    Ten measurements of 442 patients, in their raw units, and how far the disease had progressed
    one year later. ``diabetes.txt`` beside the data says where it comes from and what each
    column means.

    Returns
    -------
    X : ndarray of float64, shape (442, 10)
        One patient a row.
    t : ndarray of float64, shape (442,)
        The measure of progression, 25 to 346.
    names : tuple of str
        The names of the ten columns of ``X``.

    References
    ----------
    B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, "Least angle regression", The Annals of
    Statistics 32(2), 407-499, 2004.

    Examples
    --------
    >>> from fastbp.datasets import load_diabetes
    >>> X, t, names = load_diabetes()
    >>> X.shape, t.shape
    ((442, 10), (442,))
    >>> names[2], float(X[0, 2]), float(t[0])
    ('bmi', 32.1, 151.0)
    """
    with files(__name__).joinpath("diabetes.csv").open(encoding="ascii") as lines:
        header = next(lines)
        table = np.loadtxt(lines, delimiter=",")
    names = tuple(header.strip().split(",")[:-1])
    return np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1]), names
