"""How large rounding may be: the sizes that differences of a network's derivatives refer to.

A sum is right to a unit of its terms, so z_i is right to Z_i = Σ_j |w_{i,j} x_j| of them, and what
is made of z moves by its derivative times that: |v_i| counts as |v_i| + |v_i'| Z_i, |v_i'| as
|v_i'| + |v_i''| Z_i, and so on through σ and ℓ. The reference, with these in place of its functions
and with magnitudes for its numbers, returns the size of each entry of a result. What is left of
terms that cancel, or that a saturated activation makes small, is no measure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastbp.reference as reference

from .losses import Loss, get_loss

LIMITS = {"float64": 1e-12, "float32": 2e-5}
"""The largest difference allowed between a kernel and the reference, relative to the size."""


def size_of(call: Callable[..., Any], net: Any, w: Any, X: Any, *others: Any, **named: Any) -> Any:
    """Return the size of each entry of what a call of the reference returns.

    `net` and all that follows are what the call takes. Third derivatives count as 0.

    Examples
    --------
    s = 2 - 2 cancels, its rounding errors do not: Σ_i |w_i| (|z_i| + Z_i) = 8.

    >>> import fastbp
    >>> net = fastbp.Network(1, 2, activations="identity", output="identity")
    >>> w = [1.0, -1.0, 2.0, 2.0]
    >>> float(reference.value(net, w, [1.0])), float(size_of(reference.value, net, w, [1.0]))
    (0.0, 8.0)
    """
    bound = inspect.signature(call).bind(net, w, X, *others, **named)
    bound.apply_defaults()
    given = bound.arguments
    w, X = (np.asarray(array, np.float64) for array in (w, X))
    Z = reference.L(net, w, np.atleast_2d(X))
    neurons = list(net.activations)
    moved = {v: _Moved(v, Z[:, [v == other for other in neurons]]) for v in set(neurons)}
    s = reference.M(net, w, reference.V(net, Z))
    S = s[:, np.newaxis] if s.ndim == 1 else s
    sigmas = net.output if isinstance(net.output, Sequence) else [net.output] * S.shape[1]
    outputs = [_Moved(v, S[:, [k]]) for k, v in enumerate(sigmas)]
    given["net"] = SimpleNamespace(
        n_inputs=net.n_inputs,
        n_neurons=net.n_neurons,
        activations=[moved[v] for v in neurons],
        output=outputs,
    )
    for name in {"w", "x", "X", "p", "dX", "v", "ybar"} & given.keys():
        given[name] = None if given[name] is None else np.abs(given[name])
    if "loss" in given:
        columns = np.reshape(given["t"], S.shape).T[..., np.newaxis]
        targets = dict(zip(outputs, columns, strict=True))
        given["loss"] = _MovedLoss(get_loss(given["loss"]), targets)
    with np.errstate(over="ignore", invalid="ignore"):
        return call(**given)


class _Moved:
    """A function about its arguments, of how far rounding moves the first of them."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def evaluate(self, order: int, move: Any, *_: Any) -> tuple[Any, ...]:
        """Return |v| + |v'| move, and so on up to an order."""
        v, dv, ddv = map(np.abs, self.function.evaluate(2, *self.arguments))
        return (v + dv * move, dv + ddv * move, ddv)[: order + 1]


class _MovedLoss(Loss):
    """A loss about the targets of each output of a network."""

    about: tuple[Loss, dict[_Moved, Any]]

    def __init__(self, loss: Loss, targets: dict[_Moved, Any]) -> None:
        object.__setattr__(self, "about", (loss, targets))

    def with_output(self, output: Any) -> Any:
        """Return σ and ℓ, both moved."""
        (loss, targets), (s,) = self.about, output.arguments
        t = targets[output]
        sigma, loss = loss.with_output(output.function)
        return _Moved(sigma, s), _Moved(loss, sigma.evaluate(0, s)[0], t)
