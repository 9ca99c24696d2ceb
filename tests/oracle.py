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
    return values(net, w, x, [output or net.output.name])[0]


def values(net: Any, w: Any, x: Any, outputs: Any = None) -> Any:
    """Return f_1 … f_K at (w, x), given "softmax" or K names where they are not the network's."""
    H, N, K = net.n_neurons, net.n_inputs, net.n_outputs
    u = []
    for i, v in enumerate(net.activations):
        z = mp.mpf(0)
        for j in range(N):
            z += w[K * H + i * N + j] * x[j]
        u.append(ACTIVATIONS[v.name](z))
    s = [mp.fsum(w[k * H + i] * u[i] for i in range(H)) for k in range(K)]
    outputs = outputs or output_names(net)
    if outputs == "softmax":
        e = [mp.exp(s_k) for s_k in s]
        return np.array([e_k / mp.fsum(e) for e_k in e])
    return np.array([ACTIVATIONS[name](s_k) for name, s_k in zip(outputs, s, strict=True)])


def output_names(net: Any) -> Any:
    """Return "softmax", or the names of σ_1 … σ_K."""
    if isinstance(net.output, tuple):
        return [v.name for v in net.output]
    return "softmax" if net.output.name == "softmax" else [net.output.name] * net.n_outputs


def mean_loss(net: Any, w: Any, X: Any, t: Any, c: Any, loss: str, tau: Any = None) -> Any:
    """Return Σ_b c_b Σ_k τ_k ℓ(f_{b,k}, t_{b,k}) / Σ_b c_b.

    For cross entropy on a softmax ℓ is -t log y: its outputs are no K yes or no.
    """
    t = np.reshape(t, (len(X), net.n_outputs))
    tau = [mp.mpf(1)] * net.n_outputs if tau is None else tau
    ell = LOSSES[loss]
    if loss == "cross_entropy" and output_names(net) == "softmax":
        ell = lambda y, t: -t * mp.log(y)  # noqa: E731
    terms = [
        c_b * tau_k * ell(y, t_bk)
        for x, t_b, c_b in zip(X, t, c, strict=True)
        for y, t_bk, tau_k in zip(values(net, w, x), t_b, tau, strict=True)
    ]
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


def jacobian(f: Any, x: Any) -> Any:
    """Return the Jacobian of a function with several values, (K, len(x))."""
    h = mp.mpf(10) ** -16  # leaves 34 digits, and errors of h²
    steps = [h * unit(len(x), j) for j in range(len(x))]
    return np.array([(f(x + step) - f(x - step)) / (2 * h) for step in steps]).T


def curvature(f: Any, x: Any, p: Any) -> Any:
    """Return the Hessian of f at x times p."""
    units = (unit(len(x), k) for k in range(len(x)))
    return np.array(
        [mp.diff(lambda d, e, q=q: f(x + d * p + e * q), (0, 0), (1, 1)) for q in units]
    )
