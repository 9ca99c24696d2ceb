"""How far predictions may be off: the delta method, from the Gauss–Newton matrix at the optimum."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..losses import Loss
from ..network import Network

_ROWS = 512  # per-sample gradients in memory at a time
# Losses that are negative log-likelihoods up to a constant: their dispersion is known.
_LIKELIHOODS = ("cross_entropy", "poisson")


class FitWarning(UserWarning):
    """A fit that is not to be trusted as it stands; the message says why."""


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
    """A factor of the parameters' covariance, what is not determined, and the noise's variance.

    Attributes
    ----------
    factor : ndarray, shape (P, rank)
        Its product with its transpose is the covariance, of what is determined.
    noise : float or None
        Variance of an observation about the function; None where the loss does not define one.
    undetermined : ndarray, shape (P, n), optional
        Directions that neither the data nor a penalty say anything about.
    scale : ndarray, shape (P,), optional
        D: a gradient in these units, D⁻¹ ∇f, depends on a direction or does not.
    nothing : bool
        Whether there are no more observations than free parameters, and no penalty.
    """

    factor: NDArray
    noise: float | None
    undetermined: NDArray | None = None
    scale: NDArray | None = None
    nothing: bool = False


def spread(net: Network, w: NDArray, data: Data) -> Spread:
    """Return the covariance of the parameters at an optimum of the fit.

    With M = Σ_b c_b ℓ''_b ∇f_b ∇f_b^T (weights of mean one), A = M + n l2 I and S the covariance
    of the gradient, it is A⁻¹ S A⁻¹. S is s² M for the squared loss, where
    s² = Σ c r² / (n − tr(A⁻¹ M)); M for likelihoods; Σ_b (c_b ℓ'_b)² ∇f_b ∇f_b^T for the others.

    All in the units D_j² = A_jj, from the singular values of the rows (c ℓ'')^½ ∇f D⁻¹, so that
    neither units nor the square of a condition number decide what the data determine.

    Raises
    ------
    ValueError
        For a loss without curvature.
    """
    X, t, loss = data.X, data.t, data.loss
    c = np.ones(len(X)) if data.sample_weight is None else data.sample_weight.astype(np.float64)
    n = np.count_nonzero(c)  # what weighs nothing is no observation
    c = c * (n / c.sum())
    # In float64 whatever the network's own type: the singular values span many orders.
    exact = Network(net.n_inputs, activations=net.activations, output=net.output)
    w64, X64, t64 = (a.astype(np.float64) for a in (w, X, t))
    free = np.flatnonzero(data.free)
    y = exact.value(w64, X64)
    curvature = c * _curvature(net, loss, y, t64)
    if not curvature.any():
        raise ValueError(
            f"standard deviations need a loss with curvature, and that of {loss.name!r} is zero "
            "almost everywhere; fit_many(bootstrap=…) gives those of its members' predictions"
        )
    root = np.zeros((0, free.size))  # R of a QR decomposition, some rows at a time
    for first in range(0, len(X), _ROWS):
        part = slice(first, first + _ROWS)
        rows = exact.per_sample_grad(w64, X64[part])[:, free]
        weighted = np.sqrt(curvature[part])[:, np.newaxis] * rows
        root = np.asarray(np.linalg.qr(np.vstack([root, weighted]), mode="r"))
    penalty = n * data.l2
    d = np.sqrt((root**2).sum(axis=0) + penalty)
    inverse = np.divide(1.0, d, out=np.zeros_like(d), where=d > 0.0)
    scaled = root * inverse
    # Â = R̂^T R̂ + λ D⁻²: the singular values of both, one below the other.
    both = np.vstack([scaled, np.diag(np.sqrt(penalty) * inverse)]) if penalty else scaled
    _, sizes, directions = np.linalg.svd(both, full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(free.size - sizes.size)])
    kept = sizes > sizes.max(initial=0.0) * free.size * np.finfo(np.float64).eps
    inverse_A = (directions[kept].T / sizes[kept] ** 2) @ directions[kept]
    noise: float | None = None
    if loss.name == "squared":
        mean = 0.5 * float(c @ (y - t64) ** 2) / n
        used = float(np.sum((scaled @ inverse_A) * scaled))
        noise = 2.0 * n * mean / max(n - used, 1.0)
        half = np.sqrt(noise) * scaled.T
    elif loss.name in _LIKELIHOODS:
        half = scaled.T
    else:
        slopes = c * loss.derivative(y, t64)
        rows = exact.per_sample_grad(w64, X64)[:, free] * inverse
        half = np.asarray(np.linalg.qr(slopes[:, np.newaxis] * rows, mode="r")).T
    factor = np.zeros((net.n_params, half.shape[1]))
    factor[free] = inverse[:, np.newaxis] * (inverse_A @ half)
    undetermined = np.zeros((net.n_params, int((~kept).sum())))
    undetermined[free] = directions[~kept].T
    scale = np.zeros(net.n_params)
    scale[free] = inverse
    nothing = not data.l2 and free.size >= int(n)
    return Spread(factor, noise, undetermined, scale, nothing)


def _curvature(net: Network, loss: Loss, y: NDArray, t: NDArray) -> NDArray:
    """ℓ'' as Gauss–Newton takes it: of y, or of s where σ and ℓ match, over σ'²."""
    if loss.with_output(net.output)[1] is loss:
        return np.maximum(loss.second_derivative(y, t), 0.0)
    slope = y * (1.0 - y)
    return np.divide(1.0, slope, out=np.zeros_like(slope), where=slope > 0.0)


# The part of a gradient, in D's units, from which on it depends on a direction. Directions that the
# data determine are orthogonal to the others but for rounding.
_DEPENDS = 1e-6


def standard_deviation(
    net: Network, w: NDArray, X: NDArray, given: Spread, *, noise: bool
) -> NDArray[Any]:
    """Return √(∇f^T C ∇f) at every row of X, with `noise` that of a new observation.

    Infinite where f depends on what is not determined.
    """
    if given.nothing:
        warnings.warn(
            "there are no more observations than free parameters, and no penalty (l2): the data "
            "determine no standard deviation, which is infinite everywhere",
            FitWarning,
            stacklevel=3,
        )
    variance = np.empty(len(X))
    for first in range(0, len(X), _ROWS):
        rows = net.per_sample_grad(w, X[first : first + _ROWS]).astype(np.float64)
        part = variance[first : first + _ROWS]
        part[:] = ((rows @ given.factor) ** 2).sum(axis=1)
        if given.nothing:
            part[:] = np.inf
        elif given.undetermined is not None and given.scale is not None:
            part[_depends(rows, given.undetermined, given.scale)] = np.inf
    if noise:
        if given.noise is None:
            raise ValueError("noise=True needs the squared loss, which defines a noise variance")
        variance += given.noise
    return np.sqrt(variance).astype(net.dtype)


def _depends(rows: NDArray, undetermined: NDArray, scale: NDArray) -> NDArray:
    """Whether gradients have a part along directions that are not determined."""
    units = rows * scale
    along = np.linalg.norm(units @ undetermined, axis=1)
    # A column of zeros has no unit: any slope along it is one that no observation has seen.
    unseen = (rows * (np.abs(undetermined).any(axis=1) & (scale == 0.0)) != 0.0).any(axis=1)
    return (along > _DEPENDS * np.linalg.norm(units, axis=1)) | unseen
