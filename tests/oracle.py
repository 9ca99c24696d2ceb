"""Equation (1) and its derivatives to 50 digits, sharing nothing with the package.

The activations and losses are written down again from their definitions, and every derivative is
a difference quotient of values, at a precision that makes it exact to double precision. No chain
rule is used, so that none can be wrong in the same way.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

mp = mpmath.MPContext()
mp.dps = 50

SELU_SCALE = mp.mpf("1.0507009873554804934193349852946")
SELU_ALPHA = mp.mpf("1.6732632423543772848170429916717")

ACTIVATIONS = {
    "tanh": mp.tanh,
    "logistic": lambda z: 1 / (1 + mp.exp(-z)),
    "softplus": lambda z: mp.log(1 + mp.exp(z)),
    "identity": lambda z: z,
    "one": lambda z: mp.mpf(1),
    "relu": lambda z: max(z, mp.mpf(0)),
    "leaky_relu": lambda z: z if z > 0 else z / 100,
    "elu": lambda z: z if z > 0 else mp.exp(z) - 1,
    "selu": lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * (mp.exp(z) - 1)),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "mish": lambda z: z * mp.tanh(mp.log(1 + mp.exp(z))),
    "softsign": lambda z: z / (1 + abs(z)),
    "arctan": mp.atan,
    "sin": mp.sin,
    "cos": mp.cos,
    "gaussian": lambda z: mp.exp(-z * z),
    "erf": mp.erf,
    "exp": mp.exp,
    "square": lambda z: z * z,
    "log_cosh": lambda z: mp.log(mp.cosh(z)),
}

LOSSES = {
    "squared": lambda y, t: (y - t) ** 2 / 2,
    "cross_entropy": lambda y, t: -t * mp.log(y) - (1 - t) * mp.log(1 - y),
    "huber": lambda y, t: (y - t) ** 2 / 2 if abs(y - t) <= 1 else abs(y - t) - mp.mpf(1) / 2,
    "log_cosh": lambda y, t: mp.log(mp.cosh(y - t)),
    "poisson": lambda y, t: mp.exp(y) - t * y,
    "pinball": lambda y, t: abs(y - t) / 2,
}


def value(net: Any, w: Any, x: Any, output: str | None = None) -> Any:
    """Return f(w, x), with another `output` than the network's where it is given."""
    H, N = net.n_neurons, net.n_inputs
    s = mp.mpf(0)
    for i, v in enumerate(net.activations):
        z = mp.mpf(0)
        for j in range(N):
            z += w[H + i * N + j] * x[j]
        s += w[i] * ACTIVATIONS[v.name](z)
    return ACTIVATIONS[output or net.output.name](s)


def mean_loss(net: Any, w: Any, X: Any, t: Any, c: Any, loss: str) -> Any:
    """Return Σ_b c_b ℓ(f_b, t_b) / Σ_b c_b."""
    terms = [c_b * LOSSES[loss](value(net, w, x), t_b) for x, t_b, c_b in zip(X, t, c, strict=True)]
    return mp.fsum(terms) / mp.fsum(c)


def exact(array: Any) -> Any:
    """Return floats as 50-digit numbers: a nested list of the shape of the array."""
    return np.vectorize(mp.mpf, otypes=[object])(array)


def unit(size: int, k: int) -> Any:
    """Return the k-th unit vector."""
    return exact((np.arange(size) == k).astype(float))


def slope(f: Any, x: Any, p: Any) -> Any:
    """Return the derivative of f at x along p."""
    return mp.diff(lambda e: f(x + e * p), 0)


def gradient(f: Any, x: Any) -> Any:
    """Return ∇f at x."""
    return np.array([slope(f, x, unit(len(x), k)) for k in range(len(x))])


def curvature(f: Any, x: Any, p: Any) -> Any:
    """Return the Hessian of f at x times p."""
    units = (unit(len(x), k) for k in range(len(x)))
    return np.array(
        [mp.diff(lambda d, e, q=q: f(x + d * p + e * q), (0, 0), (1, 1)) for q in units]
    )
