"""The calls of Network as functions that write into buffers, in Python and in compiled code.

They take the network first and work inside ``@njit`` functions, ``cache=True`` and ``nogil=True``
included, where nothing is checked but shapes and dtypes, and nothing is allocated but a chunk's
workspace. There, arrays must be in C order and of the network's dtype, `loss` must be a constant
name, and the network must be an *argument*: Numba freezes globals, so a network as a global or
closure variable is refused.

Shapes below are those of one output. Where K > 1, arrays of outputs have one axis more, K, after B.

Examples
--------
>>> import fastbp, numpy as np
>>> from numba import njit
>>> @njit
... def descend(net, w, X, t, rate, steps):
...     g = np.empty_like(w)
...     loss = 0.0
...     for _ in range(steps):
...         loss = fastbp.loss_and_grad(net, w, X, t, g)
...         w -= rate * g
...     return loss
>>> net = fastbp.Network(1, 3, output="identity")
>>> X = np.linspace(-1.0, 1.0, 20)[:, None]
>>> w = net.init(seed=0)
>>> descend(net, w, X, np.sin(X[:, 0]), 0.1, 500) < 1e-2
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from ._boundary import output

if TYPE_CHECKING:
    from .network import Network

__all__ = [
    "gauss_newton_product", "hvp", "input_grad", "input_hvp", "jvp", "loss_and_grad",
    "per_sample_grad", "value", "value_and_grad", "vjp",
]  # fmt: skip


def _buffer(out: NDArray) -> NDArray:
    """Refuse what nothing can be written into: a method would make an array, here it is lost."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array to write into; got {type(out).__name__}")
    return out


def value(net: Network, w: NDArray, X: NDArray, out: NDArray | None = None) -> float | None:
    """Write f at every row of X, (B, N), into out, (B,); for one observation, (N,), return it.

    Where K > 1, one observation has K numbers: they are written into out, (K,).
    """
    if np.ndim(X) == 1 and net.n_outputs == 1:
        if out is not None:
            raise TypeError("the value of one observation is returned: leave out away")
        return net.value(w, X)
    if out is None:
        several = "observations" if net.n_outputs == 1 else "outputs"
        raise TypeError(f"values of several {several} need an array to write into, out")
    net.value(w, X, out=_buffer(out))
    return None


@overload
def value_and_grad(net: Network, w: NDArray, x: NDArray, out: NDArray) -> float: ...
@overload
def value_and_grad(net: Network, w: NDArray, x: NDArray, out: NDArray, y: NDArray) -> None: ...
def value_and_grad(
    net: Network, w: NDArray, x: NDArray, out: NDArray, y: NDArray | None = None
) -> float | None:
    """Return f(w, x) for one observation, (N,); write ∇_w f into out, (P,).

    Where K > 1, write the values into y, (K,), and the Jacobian into out, (K, P).
    """
    if net.n_outputs == 1:
        if y is not None:
            raise TypeError("the value of one output is returned: leave y away")
        return net.value_and_grad(w, x, out=_buffer(out))[0]
    if y is None:
        raise TypeError("values of several outputs need an array to write into, y")
    given = [np.asarray(array) for array in (w, x, _buffer(out))]
    values = output(y, (net.n_outputs,), net.dtype, given, name="y")
    values[:] = net.value_and_grad(w, x, out=out)[0]
    return None


def vjp(net: Network, w: NDArray, X: NDArray, ybar: NDArray, out: NDArray) -> None:
    """Write Σ_b ȳ_b ∇_w f_b into out, (P,)."""
    net.vjp(w, X, ybar, out=_buffer(out))


def jvp(net: Network, w: NDArray, X: NDArray, p: NDArray, out: NDArray) -> None:
    """Write ∇_w f_b · p into out, (B,)."""
    net.jvp(w, X, p, out=_buffer(out))


def input_grad(net: Network, w: NDArray, X: NDArray, out: NDArray) -> None:
    """Write the rows ∇_x f_b into out, (B, N), or (N,) for one observation."""
    net.input_grad(w, X, out=_buffer(out))


def input_hvp(net: Network, w: NDArray, X: NDArray, v: NDArray, out: NDArray) -> None:
    """Write the rows ∇²_x f_b · v_b into out, (B, N)."""
    net.input_hvp(w, X, v, out=_buffer(out))


def per_sample_grad(net: Network, w: NDArray, X: NDArray, out: NDArray) -> None:
    """Write the rows ∇_w f_b into out, (B, P)."""
    net.per_sample_grad(w, X, out=_buffer(out))


def loss_and_grad(
    net: Network, w: NDArray, X: NDArray, t: NDArray, out: NDArray, loss: str = "squared"
) -> float:
    """Return the mean loss over the batch; write its gradient into out, (P,)."""
    return net.loss_and_grad(w, X, t, loss=loss, out=_buffer(out))[0]


def hvp(
    net: Network,
    w: NDArray,
    X: NDArray,
    t: NDArray,
    p: NDArray,
    out: NDArray,
    loss: str = "squared",
) -> None:
    """Write the Hessian of the mean loss times p into out, (P,)."""
    net.hvp(w, X, t, p, loss=loss, out=_buffer(out))


def gauss_newton_product(
    net: Network,
    w: NDArray,
    X: NDArray,
    t: NDArray,
    p: NDArray,
    out: NDArray,
    loss: str = "squared",
) -> None:
    """Write the Gauss–Newton matrix of the mean loss times p into out, (P,)."""
    net.gauss_newton_product(w, X, t, p, loss=loss, out=_buffer(out))
