"""How far predictions may be off: the delta method, from the Gauss–Newton matrix at the optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..losses import Loss
from ..network import Network

_ROWS = 512  # per-sample gradients in memory at a time
# Losses that are negative log-likelihoods up to a constant: their dispersion is known.
_LIKELIHOODS = ("cross_entropy", "poisson")


@dataclass(frozen=True)
class Data:
    """What a network was fitted to: checked arrays, as `fastbp.fit` used them."""

    X: NDArray
    t: NDArray
    sample_weight: NDArray | None
    loss: Loss
    l2: float
    free: NDArray


@dataclass(frozen=True)
class Spread:
    """A factor of the parameters' covariance, and the variance of the noise.

    Attributes
    ----------
    factor : ndarray, shape (P, rank)
        Its product with its transpose is the covariance.
    noise : float or None
        Variance of an observation about the function; None where the loss does not define one.
    """

    factor: NDArray
    noise: float | None


def spread(net: Network, w: NDArray, data: Data) -> Spread:
    """Return the covariance of the parameters at an optimum of the fit.

    With M = Σ_b c_b ℓ''_b ∇f_b ∇f_b^T (weights of mean one), A = M + n l2 I and S the covariance
    of the gradient, it is A⁻¹ S A⁻¹. S is s² M for the squared loss, where
    s² = Σ c r² / (n − tr(A⁻¹ M)); M for likelihoods; Σ_b (c_b ℓ'_b)² ∇f_b ∇f_b^T for the others.
    Directions in which M vanishes to rounding are left out: the data say nothing about them, and
    predictions at the data do not depend on them.
    """
    X, t, loss = data.X, data.t, data.loss
    c = np.ones(len(X)) if data.sample_weight is None else data.sample_weight.astype(np.float64)
    n = np.count_nonzero(c)  # what weighs nothing is no observation
    c = c * (n / c.sum())
    # In float64 whatever the network's own type: the eigenvalues span many orders of magnitude.
    exact = Network(net.n_inputs, activations=net.activations, output=net.output)
    w64, X64, t64 = (a.astype(np.float64) for a in (w, X, t))
    mean, _, G = exact.gauss_newton(w64, X64, t64, loss=loss, sample_weight=c)
    free = np.flatnonzero(data.free)
    M = n * G[np.ix_(free, free)]
    m, vectors = np.linalg.eigh(M)
    kept = m > m.max(initial=0.0) * len(m) * np.finfo(np.float64).eps
    m, vectors = m[kept], vectors[:, kept]
    a = m + n * data.l2
    noise: float | None = None
    if loss.name == "squared":
        noise = 2.0 * n * mean / max(n - float((m / a).sum()), 1.0)
        root = np.diag(np.sqrt(noise * m))
    elif loss.name in _LIKELIHOODS:
        root = np.diag(np.sqrt(m))
    else:
        slopes = c * loss.derivative(exact.value(w64, X64), t64)
        rows = exact.per_sample_grad(w64, X64)[:, free] @ vectors
        root = (slopes[:, np.newaxis] * rows).T
        if root.shape[1] > root.shape[0]:
            root = np.asarray(np.linalg.qr(root.T, mode="r")).T
    factor = np.zeros((net.n_params, root.shape[1]))
    factor[free] = vectors @ (root / a[:, np.newaxis])
    return Spread(factor, noise)


def standard_deviation(
    net: Network, w: NDArray, X: NDArray, given: Spread, *, noise: bool
) -> NDArray[Any]:
    """Return √(∇f^T C ∇f) at every row of X, with `noise` that of a new observation."""
    variance = np.empty(len(X))
    for first in range(0, len(X), _ROWS):
        rows = net.per_sample_grad(w, X[first : first + _ROWS])
        variance[first : first + _ROWS] = ((rows @ given.factor) ** 2).sum(axis=1)
    if noise:
        if given.noise is None:
            raise ValueError("noise=True needs the squared loss, which defines a noise variance")
        variance += given.noise
    return np.sqrt(variance).astype(net.dtype)
