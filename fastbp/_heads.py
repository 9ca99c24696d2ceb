"""σ and ℓ at s, with all their derivatives, in NumPy: what the reference ends in.

The axes B and K are there always. J_σ, and all that acts on s by observations, is (B, K) where it
is diagonal, else (B, K, K).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .activations import identity, softmax
from .losses import Loss, get_loss, squared

Array = NDArray[Any]


def entrywise(functions: Sequence[Any], order: int, *arrays: Array) -> tuple[Array, ...]:
    """Evaluate functions, one for each entry of the last axis, and derivatives up to `order`."""
    results = tuple(np.empty_like(arrays[0]) for _ in range(order + 1))
    columns: dict[Any, list[int]] = {}
    for i, v in enumerate(functions):
        columns.setdefault(v, []).append(i)
    for v, these in columns.items():
        which: Any = these
        if these[-1] - these[0] < len(these):  # a view: copies by indices take longer than tanh
            which = slice(these[0], these[-1] + 1)
        parts = v.evaluate(order, *(array[..., which] for array in arrays))
        for result, part in zip(results, parts, strict=True):
            result[..., which] = part
    return results


def times(J: Array, ds: Array) -> Array:
    """Return J ṡ, (B, K)."""
    return J * ds if J.ndim == 2 else (J @ ds[..., np.newaxis])[..., 0]


def between(J: Array, d: Array) -> Array:
    """Return J^T diag(d) J; J is symmetric."""
    return d * J * J if J.ndim == 2 else (J * d[:, np.newaxis]) @ J


def whole(J: Array) -> Array:
    """Return J with the zeros that a diagonal leaves out, (B, K, K)."""
    return J if J.ndim == 3 else with_diagonal(np.zeros((*J.shape, J.shape[1]), J.dtype), J)


def with_diagonal(J: Array, diagonal: Array) -> Array:
    np.einsum("bkk->bk", J)[...] = diagonal  # a view of J
    return J


def output(sigmas: Any, order: int, s: Array) -> tuple[Any, ...]:
    """Return y and, up to an order, J_σ and the function r ↦ Σ_k r_k ∂²y_k/∂s²."""
    if sigmas is softmax:
        y, rest, _ = softmax_parts(s)
        J = softmax_jacobian(y, rest)

        def curvature(r: Array) -> Array:
            """Differentiate diag(y) - y y^T along r; ∂²y_k/∂s_l∂s_m is symmetric in k, l, m."""
            dy = times(J, r)
            outer = dy[..., np.newaxis] * y[:, np.newaxis]
            return with_diagonal(-outer - outer.swapaxes(1, 2), dy * (rest - y))

        return (y, J, curvature)[: order + 1]
    if not isinstance(sigmas, Sequence):
        return sigmas.output(order, s)  # what stands in for the softmax in `_rounding`
    y, *slopes = entrywise(sigmas, order, s)
    return (y, *slopes) if order < 2 else (y, slopes[0], lambda r: r * slopes[1])


def softmax_parts(s: Array) -> tuple[Array, Array, Array]:
    """Return y, 1 - y and -log y, of which none overflows or cancels."""
    top = np.argmax(s.real, axis=1)[:, np.newaxis]
    with np.errstate(over="ignore"):
        below = np.take_along_axis(s, top, 1) - s
    e = np.exp(-below)
    np.put_along_axis(e, top, 0.0, 1)
    others = e.sum(axis=1, keepdims=True)  # their sum beside the largest, which counts as 1
    y = e / (1.0 + others)
    rest = 1.0 - y
    np.put_along_axis(y, top, 1.0 / (1.0 + others), 1)
    np.put_along_axis(rest, top, others / (1.0 + others), 1)
    return y, rest, below + np.log1p(others)


def softmax_jacobian(y: Array, rest: Array) -> Array:
    """Return diag(y) - y y^T, given 1 - y."""
    return with_diagonal(-y[..., np.newaxis] * y[:, np.newaxis], y * rest)


class Head(NamedTuple):
    """The mean loss as a function of s, and its derivatives there; c sums to 1 here."""

    mean: Any
    sbar: Array
    """c J_σ^T τ ℓ', (B, K)."""
    kappa: Any = None
    """c J_σ^T diag(τ ℓ'') J_σ; it and the next where asked for."""
    h: Any = None
    """kappa + c Σ_k τ_k ℓ_k' ∂²y_k/∂s²."""


def head_at(
    sigmas: Any, loss: str | Loss, s: Array, t: Array, c: Array, tau: Array, order: int
) -> Head:
    """Evaluate the head up to the derivatives of an order, 1 or 2.

    A loss may take σ over from the network: cross entropy does so with the softmax, and by
    `Loss.with_output` with the logistic function: then y is s, and σ the identity.
    """
    loss = get_loss(loss)
    pointwise: Any = (loss,) * s.shape[1]
    if isinstance(sigmas, Sequence):
        sigmas, pointwise = zip(*(loss.with_output(v) for v in sigmas), strict=True)
    elif loss.fuses_with_softmax:
        fused = softmax_cross_entropy if sigmas is softmax else sigmas.cross_entropy
        return fused(order, s, tau * t, c)
    if not tau.all():  # what has no weight may be beyond all numbers, and 0 · ∞ is none
        nothing = tau == 0.0
        t = np.where(nothing, 0.5, t)
        if isinstance(sigmas, Sequence):
            s = np.where(nothing, 0.5, s)
            sigmas = _replaced(sigmas, nothing, identity)
            pointwise = _replaced(pointwise, nothing, squared)
    y, J, *curvature = output(sigmas, order, s)
    losses, dl, *ddl = entrywise(pointwise, order, y, t)
    mean, c = c @ (tau * losses).sum(axis=1), c[:, np.newaxis] * tau
    first = Head(mean, times(J, c * dl))
    if order == 1:
        return first
    kappa = between(J, c * ddl[0])
    return first._replace(kappa=kappa, h=kappa + curvature[0](c * dl))


def _replaced(functions: Sequence[Any], which: Array, other: Any) -> list[Any]:
    return [other if here else v for v, here in zip(functions, which, strict=True)]


def softmax_cross_entropy(order: int, s: Array, t: Array, c: Array) -> Head:
    """Evaluate ℓ = -Σ_k t_k log y_k = Σ_k t_k (log Σ exp(s) - s_k), whose slope is (Σ_k t_k) y - t.

    Where y is near 1 it is taken from 1 - y, so that it does not cancel.
    """
    y, rest, minus_log_y = softmax_parts(s)
    T = t.sum(axis=1, keepdims=True)
    losses = t * np.where(t == 0.0, 0.0, minus_log_y)
    slope = np.where(y.real > rest.real, (T - t) - T * rest, T * y - t)
    first = Head(c @ losses.sum(axis=1), c[:, np.newaxis] * slope)
    if order == 1:
        return first
    kappa = (c[:, np.newaxis] * T)[..., np.newaxis] * softmax_jacobian(y, rest)
    return first._replace(kappa=kappa, h=kappa)
