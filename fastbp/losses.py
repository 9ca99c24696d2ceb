"""Losses: the named ones, and the user's own from a plain scalar function of (y, t).

A :class:`Loss` is ℓ(y, t) of one output y and its target t; its derivatives ℓ' and ℓ'' are with
respect to y.

==================  ==========================================  ===================
name                ℓ(y, t), with r = y - t                      targets
==================  ==========================================  ===================
squared             r² / 2                                      all
cross_entropy       -t log y - (1 - t) log(1 - y)               0 ≤ t ≤ 1
huber(delta)        r² / 2, or δ (abs(r) - δ/2) beyond δ        all
log_cosh            log cosh r                                  all
poisson             exp(y) - t y: y is the log rate             t ≥ 0
pinball(quantile)   -q r, or (1 - q) r for r > 0                all
==================  ==========================================  ===================

The mean of pinball is least where y is the q-quantile of the targets (Koenker & Bassett 1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

import fastbp.activations as activations
from fastbp._symbolic.function import (
    ActivationError,
    Extras,
    Function,
    Scalar,
    decorator,
    named,
    traced,
)
from fastbp.activations import unknown

__all__ = ["NAMES", "Loss", "get_loss", "huber", "loss", "pinball"]

_ALL = (-math.inf, math.inf)


class Loss(Function):
    """A loss ℓ(y, t) of one output and its target, with its derivatives with respect to y.

    Made by :func:`loss`, or one of the named ones in :mod:`fastbp.losses`. Immutable, hashable,
    equal to every loss with the same text and target range, and picklable without the module it
    was written in.

    Attributes
    ----------
    target_range : tuple of float
        Least and greatest target that is allowed.

    Examples
    --------
    >>> from fastbp.losses import squared
    >>> squared(3.0, 1.0), squared.derivative(3.0, 1.0), squared.second_derivative(3.0, 1.0)
    (2.0, 2.0, 1.0)
    """

    __slots__ = ("target_range",)
    variables = ("y", "t")

    target_range: tuple[float, float]

    def __init__(
        self,
        name: str,
        texts: tuple[str, str, str],
        extras: Extras = (),
        target_range: tuple[float, float] = _ALL,
    ) -> None:
        super().__init__(name, texts, extras)
        object.__setattr__(self, "target_range", target_range)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.texts, self.extras, self.target_range)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return super().__eq__(other) and self.target_range == other.target_range

    __hash__ = Function.__hash__

    def __call__(self, y: Any, t: Any) -> Any:
        """Return ℓ(y, t): a float for floats, an array of the broadcast shape for arrays."""
        return self._output(0, y, t)

    def derivative(self, y: Any, t: Any) -> Any:
        """Return ∂ℓ/∂y, like :meth:`__call__`."""
        return self._output(1, y, t)

    def second_derivative(self, y: Any, t: Any) -> Any:
        """Return ∂²ℓ/∂y², like :meth:`__call__`."""
        return self._output(2, y, t)

    @property
    def fuses_with_softmax(self) -> bool:
        """Whether it is taken from s on a softmax: cross_entropy, there -Σ_k t_k log y_k."""
        return self == cross_entropy

    def with_output(self, output: Any) -> tuple[Any, Loss]:
        """Return the pair (σ, ℓ) to evaluate for this loss on the output σ(s).

        It is `output` and the loss itself, but for cross_entropy on a logistic output: there
        ℓ(σ(s), t) = max(s, 0) - t s + log(1 + exp(-|s|)) is taken from s at once, finite and
        exact for any s, so the output is replaced by the identity.

        Examples
        --------
        >>> from fastbp.activations import logistic
        >>> cross_entropy.with_output(logistic)
        (Activation('identity'), Loss('cross_entropy from s'))
        """
        if self == cross_entropy and output == activations.logistic:
            return activations.identity, _cross_entropy_from_s
        return output, self


@decorator(Loss)
def loss(
    fn: Scalar | None = None,
    *,
    derivative: Scalar | None = None,
    second_derivative: Scalar | None = None,
    target_range: tuple[float, float] = _ALL,
    name: str | None = None,
) -> Loss | Callable[[Scalar], Loss]:
    """Make a loss of a scalar function of (y, t); its derivatives are found exactly.

    Parameters
    ----------
    fn : callable
        A function of two numbers, the output y and the target t. What it may use is said in
        :func:`fastbp.activation`.
    derivative, second_derivative : callable, optional
        ∂ℓ/∂y and ∂²ℓ/∂y² of (y, t), where they are not to be found automatically.
    target_range : tuple of float, optional
        Least and greatest target that is allowed.
    name : str, optional
        `fn`'s own name if left out.

    Returns
    -------
    Loss
        Or a decorator, if `fn` is left out.

    Raises
    ------
    ActivationError
        Where it is not supported, in one sentence: file, line, cause.
    ValueError
        For a target range that is empty.

    Examples
    --------
    >>> import math, fastbp
    >>> @fastbp.loss
    ... def cauchy(y, t):
    ...     return math.log1p((y - t) ** 2)
    >>> cauchy.derivative(2.0, 1.0)
    1.0
    """
    if isinstance(fn, Function) or not callable(fn):
        raise ActivationError(f"a loss is made of a function of (y, t), but {fn!r} was given")
    try:
        low, high = map(_number, target_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low <= high:
        raise ValueError(f"target_range is (least, greatest), but {target_range!r} was given")
    return traced(Loss, fn, derivative, second_derivative, name=name, target_range=(low, high))


def get_loss(name: str | Loss) -> Loss:
    """Return the loss of that name (huber and pinball at their defaults), or the loss given.

    Raises
    ------
    ValueError
        For an unknown name; the message has the nearest one.
    TypeError
        For what is neither a name nor a loss.

    Examples
    --------
    >>> get_loss("poisson")
    Loss('poisson')
    """
    if isinstance(name, Loss):
        return name
    if not isinstance(name, str):
        raise TypeError(
            f"a loss or its name is expected, but {name!r} was given "
            "(a function becomes a loss by fastbp.loss)"
        )
    if name not in NAMES:
        raise ValueError(unknown("loss", name, NAMES))
    return _NAMED[name] if name in _NAMED else _WITH_PARAMETER[name]()


def _number(value: Any) -> float:
    """Return a number as a float, and NaN for what is none: Python makes floats of text."""
    try:
        return float(value + 0.0)
    except (TypeError, ValueError, OverflowError):
        return math.nan


# 0 · log 0 is 0, and its derivatives in y too: a target of 0 or 1 switches its term off.
def _cross_entropy(y: float, t: float) -> Any:
    first = np.where(t == 0.0, 0.0, t * math.log(y))
    return -first - np.where(t == 1.0, 0.0, (1.0 - t) * math.log1p(-y))


# σ(s) - t is taken as (1 - t) - σ(-s) for s > 0: no cancellation where it is small.
def _from_s(s: float, t: float) -> Any:
    return np.where(s > 0.0, (1.0 - t) * s, -(t * s)) + math.log1p(math.exp(-abs(s)))


def _from_s_derivative(s: float, t: float) -> Any:
    e = math.exp(-abs(s))
    small = e / (1.0 + e)
    return np.where(s > 0.0, (1.0 - t) - small, small - t)


def _from_s_second(s: float, t: float) -> float:
    e = math.exp(-abs(s))
    return e / (1.0 + e) / (1.0 + e)


def _named(name: str, *functions: Scalar | None, target_range: tuple[float, float] = _ALL) -> Loss:
    """Make a loss of the library's own; the tests compare it with mpmath, so no check here."""
    return named(Loss, name, *functions, target_range=target_range)


squared = _named("squared", lambda y, t: 0.5 * ((y - t) * (y - t)))
cross_entropy = _named("cross_entropy", _cross_entropy, target_range=(0.0, 1.0))
_cross_entropy_from_s = _named(
    "cross_entropy from s", _from_s, _from_s_derivative, _from_s_second, target_range=(0.0, 1.0)
)
log_cosh = _named(
    "log_cosh",
    lambda y, t: activations.log_cosh_at(y - t),
    lambda y, t: activations.log_cosh_slope(y - t),
    lambda y, t: activations.log_cosh_curvature(y - t),
)
poisson = _named("poisson", lambda y, t: math.exp(y) - t * y, target_range=(0.0, math.inf))


def huber(delta: float = 1.0) -> Loss:
    """Return Huber's loss: r²/2 for |r| ≤ delta, delta (|r| - delta/2) beyond (Huber 1964).

    Parameters
    ----------
    delta : float
        Where the square goes over into the straight line.

    Raises
    ------
    ValueError
        Unless delta is positive and finite.

    Examples
    --------
    >>> huber(0.5)(3.0, 1.0)
    0.875
    """
    given, delta = delta, _number(delta)
    if not 0.0 < delta < math.inf:
        raise ValueError(f"delta is a positive number, but {given!r} was given")

    def value(y: float, t: float) -> Any:
        size = abs(y - t)
        return np.where(size <= delta, 0.5 * (size * size), delta * (size - 0.5 * delta))

    def derivative(y: float, t: float) -> Any:
        return np.clip(y - t, -delta, delta)

    def second_derivative(y: float, t: float) -> Any:
        return np.where(abs(y - t) <= delta, 1.0, 0.0)

    name = "huber" if delta == 1.0 else f"huber(delta={delta!r})"
    return _named(name, value, derivative, second_derivative)


def pinball(quantile: float = 0.5) -> Loss:
    """Return the pinball loss, least where y is the given quantile of the targets.

    Parameters
    ----------
    quantile : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        Unless 0 < quantile < 1.

    Notes
    -----
    At y = t, where it has a kink, the derivative is that of the left side, -quantile.

    Examples
    --------
    >>> pinball(0.75)(1.0, 3.0), pinball(0.75)(3.0, 1.0)
    (1.5, 0.5)
    """
    given, q = quantile, _number(quantile)
    if not 0.0 < q < 1.0:
        raise ValueError(f"quantile lies between 0 and 1, but {given!r} was given")

    def value(y: float, t: float) -> Any:
        return np.where(y > t, 1.0 - q, -q) * (y - t)

    return _named("pinball" if q == 0.5 else f"pinball(quantile={q!r})", value)


_NAMED = {a.name: a for a in (squared, cross_entropy, log_cosh, poisson)}
_WITH_PARAMETER: dict[str, Callable[..., Loss]] = {"huber": huber, "pinball": pinball}
NAMES = ("squared", "cross_entropy", "huber", "log_cosh", "poisson", "pinball")
# Negative log-likelihoods up to a constant: their dispersion is known.
LIKELIHOODS = ("cross_entropy", "poisson")
OF_RESIDUALS = ("squared", "huber", "log_cosh")  # even: by them y is to be as near to t as it can


def family(loss: Loss) -> str:
    """Return which of `NAMES` a loss is, with whatever parameter; "" for the user's own.

    Its name does not say so: anybody may call a loss "squared".
    """
    return loss.name.partition("(")[0] if loss._key else _family(loss.name, loss)


@lru_cache(maxsize=64)
def _family(name: str, loss: Loss) -> str:
    """Return it of what is known by its texts alone, as copies and pickles are."""
    like = [*map(get_loss, NAMES)]
    first, _, parameter = name.partition("=")
    for kind, make in _WITH_PARAMETER.items():
        if first.startswith(f"{kind}("):
            with suppress(ValueError):
                like.append(make(float(parameter.removesuffix(")"))))
    return next((each.name.partition("(")[0] for each in like if each == loss), "")
