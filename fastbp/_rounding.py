"""How large rounding may be: the sizes that differences of a network's derivatives refer to.

A sum is right to a unit of its terms, so z_i is right to Z_i = Σ_j |w_{i,j} x_j| of them, and what
is made of z moves by its derivative times that: |v_i| counts as |v_i| + |v_i'| Z_i, |v_i'| as
|v_i'| + |v_i''| Z_i, and so on through σ and ℓ. The reference, with these in place of its functions
and with magnitudes for its numbers, returns the size of each entry of a result. What is left of
terms that cancel, or that a saturated activation makes small, is no measure.

The softmax is taken from differences to the largest s, and 1 − y from a sum: both are right to a
unit of themselves but for what s moves by, R_k = S_k + y·S of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastbp.reference as reference

from . import _heads as heads
from .activations import softmax
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
    if np.ndim(X) == 2 and given.get("sample_weight") is not None:  # as the reference drops rows
        weighs = np.asarray(given["sample_weight"]) != 0.0
        given |= {name: np.asarray(given[name])[weighs] for name in ("X", "t", "sample_weight")}
        X = given["X"]
    w, X = (np.asarray(array, np.float64) for array in (w, X))
    Z = reference.L(net, w, np.atleast_2d(X))
    neurons = list(net.activations)
    moved = {v: _Moved(v, Z[:, [v == other for other in neurons]]) for v in set(neurons)}
    s = reference.M(net, w, reference.V(net, Z))
    S = s[:, np.newaxis] if s.ndim == 1 else s
    joint = net.output is softmax
    if joint:
        outputs: Any = _MovedSoftmax(S)
    else:
        sigmas = net.output if isinstance(net.output, Sequence) else [net.output] * S.shape[1]
        outputs = [_Moved(v, S[:, [k]]) for k, v in enumerate(sigmas)]
    given["net"] = SimpleNamespace(
        n_inputs=net.n_inputs,
        n_neurons=net.n_neurons,
        n_outputs=S.shape[1],
        activations=[moved[v] for v in neurons],
        output=outputs,
    )
    for name in {"w", "x", "X", "p", "dX", "v", "ybar"} & given.keys():
        given[name] = None if given[name] is None else np.abs(given[name])
    if "loss" in given:
        loss, t = get_loss(given["loss"]), np.asarray(given["t"])
        if joint and loss.fuses_with_softmax and t.size == len(S):  # classes
            t = np.eye(S.shape[1])[t.reshape(-1).astype(int)]
            given["t"] = t[0] if np.ndim(X) == 1 else t
        t = t.reshape(S.shape)
        if joint:
            given["loss"] = _MovedLoss(loss, _Moved(loss, outputs.y, t))
        else:
            targets = dict(zip(outputs, t.T[..., np.newaxis], strict=True))
            given["loss"] = _MovedLoss(loss, targets)
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


class _MovedSoftmax:
    """The softmax about s, of how far rounding moves that: in its place in the reference."""

    def __init__(self, s: Any) -> None:
        self.y, self.rest, self.minus_log_y = heads.softmax_parts(s)

    def output(self, order: int, S: Any) -> tuple[Any, ...]:
        """Return y, J = diag(y) − y y^T, and its derivative along a direction."""
        y = self.y
        R = S + (y * S).sum(axis=1, keepdims=True)
        moved = y * (1.0 + R)
        J = (y[..., np.newaxis] * y[:, np.newaxis]) * (1.0 + R[..., np.newaxis] + R[:, np.newaxis])
        J = heads.with_diagonal(J, np.zeros_like(y))
        J = heads.with_diagonal(J, J.sum(axis=2))  # y_k (1 − y_k) = Σ_{l ≠ k} y_k y_l

        def curvature(r: Any) -> Any:
            dy = heads.times(J, r)
            outer = dy[..., np.newaxis] * moved[:, np.newaxis]
            return heads.with_diagonal(outer + outer.swapaxes(1, 2), dy)

        return (moved, J, curvature)[: order + 1]

    def cross_entropy(self, order: int, S: Any, t: Any, c: Any) -> Any:
        """Return the head of cross entropy: s̄ = c (T y − t), at the top c ((T − t) − T (1 − y))."""
        y, J = self.output(1, S)
        T, R = t.sum(axis=1, keepdims=True), S + (self.y * S).sum(axis=1, keepdims=True)
        losses = t * np.where(t == 0.0, 0.0, self.minus_log_y + R)
        rest = np.einsum("bkk->bk", J) / np.maximum(self.y, 0.5)
        at_top = np.where(t == T, 0.0, T + t) + T * rest
        slope = np.where(self.y > self.rest, at_top, T * y + t)
        kappa = (c[:, np.newaxis] * T)[..., np.newaxis] * J
        return heads.Head(c @ losses.sum(axis=1), c[:, np.newaxis] * slope, kappa, kappa)


class _MovedLoss(Loss):
    """A loss about the targets of each output of a network, or of the softmax of all."""

    about: tuple[Loss, Any]

    def __init__(self, loss: Loss, targets: dict[_Moved, Any] | _Moved) -> None:
        object.__setattr__(self, "about", (loss, targets))

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    @property
    def fuses_with_softmax(self) -> bool:
        """As that of the loss."""
        return self.about[0].fuses_with_softmax

    def evaluate(self, order: int, *arrays: Any) -> tuple[Any, ...]:
        """Return ℓ about the softmax, moved."""
        return self.about[1].evaluate(order, *arrays)

    def with_output(self, output: Any) -> Any:
        """Return σ and ℓ, both moved."""
        (loss, targets), (s,) = self.about, output.arguments
        t = targets[output]
        sigma, loss = loss.with_output(output.function)
        return _Moved(sigma, s), _Moved(loss, sigma.evaluate(0, s)[0], t)
