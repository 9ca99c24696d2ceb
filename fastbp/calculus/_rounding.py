"""What rounding may make of a network's derivatives: the sizes to judge differences by.

Where each sum is right to a unit of its terms, z_i is right to Z_i = Σ_j |w_{i,j} x_j| of them, and
s to S = Σ_i |a_i| (|v_i| + |v_i'| Z_i). What is made of z or s moves by its derivative times that.
What is left of terms that cancel, or that a saturated activation makes small, is no measure.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..losses import Loss

Array = NDArray[Any]

_ROWS = 64  # observations whose gradients exist at once


class Sizes(NamedTuple):
    """Sizes of f and its gradients, observation by observation."""

    value: Array
    """Of y, (B,)."""
    rows: Array
    """Of ∇_w f, (B, P)."""
    inputs: Array
    """Of ∇_x f, (B, N)."""
    bent: Array
    """Of ∇²_x f · v, (B, N)."""
    y: Array
    """y itself, (B,)."""
    J: Array
    """|∇_w f| itself, (B, P)."""


def sizes(net: Any, w: Array, X: Array, output: Any = None, v: Array | None = None) -> Sizes:
    """Return the sizes for a batch, with `output` in the place of σ where it is given.

    Third derivatives are taken to be of the size of the second.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        fwd = reference._forward(net, w, X, 2, output)
        J = np.abs(reference._rows(fwd, fwd.output[1]))
        a, W, x = np.abs(fwd.a), np.abs(fwd.W), np.abs(X)
        u, dv, ddv = (np.abs(part) for part in fwd.neurons)
        y, dy, ddy = (np.abs(part)[:, np.newaxis] for part in fwd.output)
        Z = x @ W.T
        S = ((u + dv * Z) @ a)[:, np.newaxis]
        A = dy * (u + dv * Z) + ddy * S * u
        D = a * (dy * (dv + ddv * Z) + ddy * S * dv)
        slope = a * (dv + ddv * Z)
        zdot = (np.zeros_like(X) if v is None else np.abs(v)) @ W.T
        sdot = (slope * zdot).sum(axis=1, keepdims=True)
        bent = ddy * (1.0 + S) * sdot * slope + (dy * (1.0 + Z) + ddy * S) * a * ddv * zdot
        rows = np.hstack([A, (D[:, :, np.newaxis] * x[:, np.newaxis]).reshape(len(X), -1)])
        return Sizes((y + dy * S)[:, 0], rows, D @ W, bent @ W, fwd.output[0], J)


def largest_sizes(net: Any, w: Array, X: Array) -> tuple[float, float]:
    """Return the largest sizes of y and of ∇_x f over all observations."""
    parts = (sizes(net, w, X[start : start + _ROWS]) for start in range(0, len(X), _ROWS))
    largest = [(part.value.max(), part.inputs.max()) for part in parts]
    return float(max(k[0] for k in largest)), float(max(k[1] for k in largest))


class LossSizes(NamedTuple):
    """Sizes of the mean loss and of what it is differentiated to."""

    loss: float
    gradient: Array
    """(P,)."""
    diagonal: Array
    """Of the Gauss–Newton matrix, (P,): none of its entries is larger than the largest here."""


def loss_sizes(net: Any, w: Array, X: Array, t: Array, c: Array | None, loss: Loss) -> LossSizes:
    """Return the sizes of a mean loss.

    For cross entropy on a logistic output those of ℓ as a function of s, as in the kernels.
    """
    output, paired = loss.with_output(net.output)
    c = np.ones(len(X)) if c is None else c
    total, gradient, diagonal = 0.0, np.zeros(w.size), np.zeros(w.size)
    for start in range(0, len(X), _ROWS):
        part = slice(start, start + _ROWS)
        size = sizes(net, w, X[part], output)
        _, slope, bend = (np.abs(k) for k in paired.evaluate(2, size.y, t[part]))
        share = c[part] / c.sum()
        total += float(share @ (slope * size.value + bend * size.value**2))
        gradient += (share * slope) @ size.rows + (share * bend * size.value) @ size.J
        diagonal += (share * bend) @ size.rows**2
    return LossSizes(total, gradient, diagonal)
