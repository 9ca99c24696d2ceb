"""The Taylor test: what makes a derivative right (questions 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import default_rng
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .. import _plots as plots

# A remainder counts while it is this many times what rounding may have made of it.
_ABOVE_ROUNDING = 50.0
# The slope is taken over the smallest steps that count: there the leading term is all there is.
_FITTED = 5
_STEPS = tuple(2.0**-k for k in range(1, 25))
_TOLERANCE = 0.2


@dataclass(frozen=True, eq=False, repr=False)
class TaylorTest:
    """What `taylor_test` found: remainders at ever smaller steps and the order they fall with.

    Attributes
    ----------
    steps : ndarray, shape (K,)
        t, from large to small.
    differences : ndarray, shape (K,)
        ‖f(x + th) − f(x)‖, without any derivative: order 1.
    remainders : ndarray, shape (K,)
        ‖f(x + th) − f(x) − t J h‖, and − ½ t² D²f[h, h] where a second derivative was given.
    rounding : ndarray, shape (K,)
        What rounding may have contributed to each remainder.
    order : float
        The slope of the remainders over the steps in log-log; infinite where all of them are
        rounding.
    expected : int
        2, or 3 with a second derivative.
    """

    steps: NDArray[np.float64]
    differences: NDArray[np.float64]
    remainders: NDArray[np.float64]
    rounding: NDArray[np.float64]
    order: float
    expected: int

    @property
    def ok(self) -> bool:
        """Whether the order is the expected one, or higher."""
        return self.order > self.expected - _TOLERANCE

    def __repr__(self) -> str:
        lines = [
            f"Taylor test {'passed' if self.ok else 'FAILED'}: "
            f"order {self.order:.2f} observed, {self.expected} expected",
            "        step  difference   remainder",
        ]
        counted = self.remainders > _ABOVE_ROUNDING * self.rounding
        for t, d, r, c in zip(self.steps, self.differences, self.remainders, counted, strict=True):
            lines.append(f"  {t:10.2e}  {d:10.2e}  {r:10.2e}{'' if c else '  (rounding)'}")
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Plot the remainders over the steps in log-log, beside lines of order 1 and as expected.

        Returns the matplotlib axes, those given or new ones; matplotlib comes with the extra
        ``plot``, without it this is an ImportError.
        """
        ax = plots.axes(ax, 6.5, 3.8)
        t = self.steps
        lines = [
            ("without derivative", self.differences, plots.ORANGE, "o-"),
            (f"remainder, order {self.order:.2f}", self.remainders, plots.BLUE, "s-"),
            ("rounding", self.rounding, "0.6", "-"),
        ]
        if self.remainders[0] > 0.0:
            ideal = self.remainders[0] * (t / t[0]) ** self.expected
            lines.append((f"order {self.expected}", ideal, "black", ":"))
        for name, values, colour, style in lines:
            ax.loglog(t, values, style, color=colour, markersize=3.5, linewidth=1.2, label=name)
        plots.labelled(ax, "step t", "norm of the remainder")
        ends = [(name, values[values > 0.0], colour) for name, values, colour, _ in lines]
        plots.label_lines(
            ax, [(t[0], values[0], name, colour) for name, values, colour in ends if len(values)]
        )
        return ax


Derivative = Callable[..., Any] | ArrayLike


def taylor_test(
    f: Callable[[Any], Any],
    derivative: Derivative,
    x: ArrayLike,
    direction: ArrayLike | None = None,
    *,
    second_derivative: Derivative | None = None,
    derivative_error: float | None = None,
    steps: ArrayLike | None = None,
    seed: int | np.random.Generator = 0,
) -> TaylorTest:
    """Test a claimed derivative by how fast the remainder of Taylor's formula falls.

    F is differentiable at x where F(x + h) = F(x) + J h + ‖h‖ ε(h) with ε(h) → 0. For a function
    with a second derivative the remainder ‖F(x + th) − F(x) − t J h‖ falls as t², and as t³ with
    the next term too; with a wrong derivative it falls as t, like the difference without it.

    Parameters
    ----------
    f : callable
        x ↦ a number or an array. (Not (value, gradient); for an object, pass its ``value``.)
    derivative : callable or array_like
        (x, h) ↦ J h, such as the ``jvp`` of an object; or J at x as an array: the gradient, of
        x's shape, or the Jacobian, of the value's shape followed by x's.
    x : array_like
        The point, of any shape.
    direction : array_like, optional
        h, of x's shape; random, as long as x (at least 1), where left out.
    second_derivative : callable or array_like, optional
        For a number-valued f: (x, h) ↦ H h, such as ``hvp``, or H, of shape (n, n), as an array.
        For an array-valued f: (x, h) ↦ D²f[h, h], of the value's shape.
    derivative_error : float, optional
        How far rounding may have taken J h from its value, where more is known of it than its
        dtype: a gradient near 0 is a sum of terms that are not.
    steps : array_like, optional
        t, positive; 2⁻¹ … 2⁻²⁴ where left out.
    seed : int or numpy.random.Generator
        Of the random direction.

    Returns
    -------
    TaylorTest
        With `order`, `ok`, a table as its repr, and ``plot()``.

    Raises
    ------
    TypeError, ValueError
        For shapes that do not fit, a direction of zeros, and complex values (a derivative there is
        another thing).

    Notes
    -----
    Remainders within `rounding` do not count. It is measured, at steps so small that nothing
    else is left, and taken as no less than the unit of rounding of f and of the derivative.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.5, 1.0])
    >>> test = taylor_test(lambda x: np.sin(x).prod(), lambda x, h: h @ (
    ...     np.cos(x) * np.sin(x[::-1])), x)
    >>> test.ok, round(test.order, 1)
    (True, 2.0)
    >>> round(taylor_test(lambda x: np.sin(x).prod(), [1.0, 0.0], x).order, 1)
    1.0
    """
    x = _real("x", x)
    h = _direction(x, direction, seed)
    t = np.asarray(_STEPS if steps is None else steps, np.float64)
    if t.ndim != 1 or t.size < 2 or not ((t > 0.0) & (t < np.inf)).all():
        raise ValueError(f"steps must be at least two positive numbers; got {steps!r}")
    t = np.unique(t)[::-1]

    start = _value(f, x)
    terms = [_first(derivative, x, h, start)]
    if derivative_error is not None:
        if not 0.0 <= derivative_error < np.inf:
            raise ValueError(f"derivative_error must be a number from 0 on; got {derivative_error}")
        terms[0] = _Term(terms[0].value, derivative_error)
    if second_derivative is not None:
        terms.append(_second(second_derivative, x, h, start))

    def remainder(step: float) -> tuple[float, float]:
        """Return the remainder, and the same without derivatives."""
        difference = rest = _value(f, x + x.dtype.type(step) * h) - start
        for power, term in enumerate(terms, 1):
            rest = rest - step**power * term.value
        return _norm(rest), _norm(difference)

    remainders, differences = np.array([remainder(step) for step in t]).T
    # The scatter of f itself, where the step is all but lost in x: neither the error of a
    # derivative nor curvature are seen there.
    eps = max(_eps(x), _eps(start))
    scatter = np.median([remainder(eps**power)[0] for power in (0.86, 0.88, 0.9, 0.92, 0.94)])
    rounding = np.maximum(eps * _norm(start), scatter)
    for power, term in enumerate(terms, 1):
        rounding = rounding + term.rounding * t**power
    order = _slope(t, remainders, rounding)
    return TaylorTest(t, differences, remainders, rounding, order, 1 + len(terms))


class _Term(NamedTuple):
    """A term of Taylor's formula at step 1, and what rounding may have made of it."""

    value: NDArray[Any]
    rounding: float


def _real(name: str, value: Any) -> NDArray:
    """Return numbers as an array of floats."""
    array = np.asarray(boundary.unmasked(name, value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers; got {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _value(f: Callable[[Any], Any], x: NDArray) -> NDArray:
    value = f(x)
    if isinstance(value, tuple):
        raise TypeError("f must return a value alone; got a tuple, such as (value, gradient)")
    return _real("f(x)", value)


def _direction(x: NDArray, direction: Any, seed: Any) -> NDArray:
    if direction is None:
        h = default_rng(seed).standard_normal(x.shape)
        h *= max(1.0, _norm(x)) / _norm(h)
        return h.astype(x.dtype)
    h = _real("direction", direction).astype(x.dtype)
    if h.shape != x.shape:
        raise ValueError(f"direction must have the shape of x, {x.shape}; got {h.shape}")
    if not h.any():
        raise ValueError("direction must not be zero, along which any derivative is right")
    return h


def _first(derivative: Any, x: NDArray, h: NDArray, start: NDArray) -> _Term:
    """Return J h. Its rounding is that of the product where J is given, of its entries else."""
    if callable(derivative):
        value = _real("derivative(x, h)", derivative(x, h))
        if value.shape != start.shape:
            raise ValueError(
                f"derivative(x, h) must have the shape of f(x), {start.shape}; got {value.shape}"
            )
        return _Term(value, _eps(value) * _norm(value))
    J = _real("derivative", derivative)
    expected = start.shape + x.shape
    if J.shape != expected:
        raise ValueError(
            f"derivative must have shape {expected}, that of f(x) and then that of x; got {J.shape}"
        )
    rows = J.reshape(start.size, x.size)
    wide = h.ravel().astype(np.result_type(h, np.float64))
    size = _norm(np.abs(rows) @ np.abs(wide))
    return _Term((rows @ wide).reshape(start.shape), _eps(J) * size)


def _second(second: Any, x: NDArray, h: NDArray, start: NDArray) -> _Term:
    """Return ½ D²f[h, h], of what is given: D²f[h, h], H h or H."""
    if callable(second):
        given = _real("second_derivative(x, h)", second(x, h))
        if start.ndim == 0 and x.ndim > 0 and given.shape == x.shape:
            return _half_product(h, given)
        if given.shape != start.shape:
            expected = f"{x.shape}, that of x," if start.ndim == 0 else f"{start.shape}"
            raise ValueError(
                f"second_derivative(x, h) must have shape {expected} here; got {given.shape}"
            )
        return _Term(0.5 * given, 0.5 * _eps(given) * _norm(given))
    H = _real("second_derivative", second)
    if start.ndim or H.shape != (x.size, x.size):
        raise ValueError(
            f"second_derivative must be a callable, or for a number-valued f an array of "
            f"shape {(x.size, x.size)}; got {H.shape}"
        )
    return _half_product(h, (H @ h.ravel()).reshape(x.shape))


def _half_product(h: NDArray, Hh: NDArray) -> _Term:
    terms = 0.5 * h * Hh.astype(np.result_type(Hh, np.float64))
    return _Term(terms.sum(), _eps(Hh) * float(np.abs(terms).sum()))


def _norm(array: NDArray) -> float:
    """‖·‖ of numbers of any size: the squares of 1e160 are beyond all."""
    return float(np.hypot.reduce(np.abs(array), axis=None, initial=0.0))


def _eps(array: NDArray) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0


def _slope(t: NDArray, remainders: NDArray, rounding: NDArray) -> float:
    """Fit the order over the smallest steps whose remainders are not rounding."""
    finite = np.isfinite(remainders)
    counted = np.flatnonzero(finite & (remainders > _ABOVE_ROUNDING * rounding))
    if counted.size < 2:
        return np.inf if finite.all() else np.nan
    last = counted[-_FITTED:]
    order = float(np.polyfit(np.log(t[last]), np.log(remainders[last]), 1)[0])
    # What falls to rounding within a step falls at least so fast: a large step may have gone over
    # a kink, or from one side of a saturated neuron to the other, and none of the smaller ones.
    end, after = counted[-1], counted[-1] + 1
    if after < t.size and rounding[after] > 0.0:
        fall = remainders[end] / (_ABOVE_ROUNDING * rounding[after])
        order = max(order, float(np.log(fall) / np.log(t[end] / t[after])))
    return order
