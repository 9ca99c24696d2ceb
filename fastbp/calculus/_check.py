"""One report on all that can be wrong with the derivatives of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import ArrayLike, NDArray

import fastbp.reference as reference

from .. import _boundary as boundary
from .._rounding import LIMITS, size_of
from ..activations import Activation
from ..losses import Loss, get_loss
from ._taylor import taylor_test

if TYPE_CHECKING:
    from ..network import Network

Array = NDArray[Any]

_COMPLEX_STEP_LIMIT, _DIFFERENCE_LIMIT = 1e-11, 1e-8
# Taylor tests of few observations, along directions that move few neurons, so that a step seldom
# crosses a kink (of relu, say). With a wrong derivative the order is low along every direction,
# with a kink along that one lower or higher: two along which it is high enough will do.
_TAYLOR_OBSERVATIONS, _TAYLOR_NEURONS, _DIRECTIONS = 4, 4, 9
_LEAST_ORDER = 0.2  # below the expected one
_ROWS = 64  # observations whose gradients are compared one by one
_MOST_IN_MATRIX = 1000  # parameters


@dataclass(frozen=True)
class Check:
    """One check of a `GradientReport`.

    Attributes
    ----------
    kind : str
        "activation", "kernel", "taylor" or "adjoint".
    name : str
        What was checked, and against what.
    measured, limit : float
        A relative difference and the most that is allowed; for a Taylor test an order and the
        least.
    """

    kind: str
    name: str
    measured: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether it passed; NaN does not."""
        taylor = self.kind == "taylor"
        return self.measured >= self.limit if taylor else self.measured <= self.limit


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradient` found.

    Attributes
    ----------
    net : Network
        The network.
    checks : tuple of Check
        All checks, in the order made.
    """

    net: Network
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(check.ok for check in self.checks)

    def worst(self, kind: str) -> float:
        """Return the largest difference of a kind of checks, or the least order; NaN if one is."""
        measured = np.array([check.measured for check in self.checks if check.kind == kind])
        return float(measured.min() if kind == "taylor" else measured.max())

    def __repr__(self) -> str:
        failed = sum(not check.ok for check in self.checks)
        verdict = f"{failed} of {len(self.checks)} checks FAILED" if failed else "all checks passed"
        width = max(len(check.name) for check in self.checks)
        lines = [f"{self.net!r}: {verdict}"]
        for check in self.checks:
            if check.kind == "taylor":
                figures = f"order {check.measured:5.2f}    at least {check.limit:.1f}"
            else:
                figures = f"{check.measured:11.1e}    at most {check.limit:.0e}"
            lines.append(
                f"  {check.name:{width}}  {figures}  {'' if check.ok else 'FAILED'}".rstrip()
            )
        return "\n".join(lines)


def check_gradient(
    net: Network,
    w: ArrayLike,
    X: ArrayLike,
    t: ArrayLike,
    *,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    target_weight: ArrayLike | None = None,
    seed: int | np.random.Generator = 0,
) -> GradientReport:
    """Check every derivative of a network with the user's own activations, data and loss.

    - *activation*: v' and v'' of every activation, at the z that occur, against the derivative of
      v and v' by a complex step, or by differences where there is no complex v;
    - *kernel*: what the methods return from the compiled kernels against `fastbp.reference`: all of
      them, those with a row for each observation on the first 64, the Gauss–Newton matrix where
      P ≤ 1000;
    - *taylor*: the mean loss in NumPy, with the kernels' gradient, order 2, and with their Hessian
      product, order 3 (for a float32 network the reference's, in float64: in float32 the
      remainder is lost in rounding too soon);
    - *adjoint*: ȳ·(J p) = p·(J^T ȳ), and q·(H p) = p·(H q).

    Parameters
    ----------
    net : Network
        The network.
    w : array_like, shape (P,)
        Parameters, better not all zero: what is multiplied by 0 is not checked.
    X : array_like, shape (B, N)
        Observations.
    t : array_like, shape (B,), or (B, K) where K > 1
        Targets; of a softmax under cross entropy also classes, (B,).
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), optional
        c; ones where left out.
    target_weight : array_like, shape (K,), optional
        Weights of the outputs; ones where left out.
    seed : int or numpy.random.Generator
        Of the directions p and q, and of ȳ.

    Returns
    -------
    GradientReport
        With `ok`, and a table as its repr.

    Raises
    ------
    TypeError, ValueError
        As `Network.loss_and_grad`.

    References
    ----------
    W. Squire, G. Trapp: Using complex variables to estimate derivatives of real functions, SIAM
    Review 40 (1998).

    Examples
    --------
    >>> import fastbp, math, numpy as np
    >>> bad = fastbp.activation(math.sin, derivative=lambda z: 1.001 * math.cos(z), name="bad")
    >>> net = fastbp.Network(2, activations=["tanh", bad])
    >>> report = check_gradient(net, net.init(seed=0), np.eye(2), [0.5, -0.5])
    >>> report.ok, [check.name for check in report.checks if check.kind == "activation" and
    ...     not check.ok]
    (False, ["v' of bad, complex step"])
    """
    rng = default_rng(seed)
    ell = get_loss(loss)
    w, X, t, c = boundary.loss_inputs(net, ell, w, X, t, sample_weight, check_finite=True)
    tau = boundary.target_weight(target_weight, net.n_outputs, net.dtype)
    case = _Case(net, w, X, np.asarray(t), ell, c, tau)
    checks = _activation_checks(case)
    for kind in (_kernel_checks, _taylor_checks, _adjoint_checks):
        checks += kind(case, rng)
    return GradientReport(net, tuple(checks))


@dataclass(frozen=True)
class _Case:
    net: Network
    w: Array
    X: Array
    t: Array
    loss: Loss
    c: Array | None
    tau: Array | None

    @property
    def wide(self) -> tuple[Array, Array, Array]:
        """(w, X, t) in float64, for the reference."""
        return self.w.astype(np.float64), self.X.astype(np.float64), self.t.astype(np.float64)

    @property
    def given(self) -> dict[str, Any]:
        """What a mean loss is given besides."""
        return {"loss": self.loss, "sample_weight": self.c, "target_weight": self.tau}

    @property
    def limit(self) -> float:
        return LIMITS[self.net.dtype.name]

    def first(self, n: int) -> _Case:
        """Return the case of the first n observations."""
        few = slice(n)
        c = None if self.c is None or not self.c[few].any() else self.c[few]
        return replace(self, X=self.X[few], t=self.t[few], c=c)


def _activation_checks(case: _Case) -> list[Check]:
    net = case.net
    w, X, _ = case.wide
    z = reference.L(net, w, X)
    seen: dict[Activation, list[Array]] = {}
    for i, v in enumerate(net.activations):
        seen.setdefault(v, []).append(z[:, i])
    s = reference.M(net, w, reference.V(net, z)).reshape(len(X), -1)
    sigmas = net.output if isinstance(net.output, tuple) else (net.output,)
    for k, sigma in enumerate(sigmas):
        if isinstance(sigma, Activation):  # the softmax is checked by the calls below
            seen.setdefault(sigma, []).append(s[:, k])
    checks = []
    for v, places in seen.items():
        points = np.unique(np.concatenate(places))
        points = points[np.linspace(0, len(points) - 1, min(len(points), 500)).astype(int)]
        values = v.evaluate(2, points)
        for order, name in enumerate(("v'", "v''")):
            found, how, limit = _differentiated(v, order, points)
            size = 1.0 + np.abs(values[order]) + np.abs(values[order + 1])
            with np.errstate(invalid="ignore"):
                measured = float(np.max(np.abs(values[order + 1] - found) / size))
            checks.append(Check("activation", f"{name} of {v.name}, {how}", measured, limit))
    return checks


def _differentiated(v: Activation, order: int, z: Array) -> tuple[Array, str, float]:
    """Return the derivative of v (order 0) or v' (order 1), how it was found, and a limit."""

    def f(z: Array) -> Array:
        return v.evaluate(order, z)[order]

    def differences(z: Array) -> Array:
        h = 0.01 * (1.0 + np.abs(z))
        # The central difference of order 8.
        weights = enumerate((4 / 5, -1 / 5, 4 / 105, -1 / 280), 1)
        return sum(weight * (f(z + k * h) - f(z - k * h)) for k, weight in weights) / h

    try:
        found = f(z + 1e-100j).imag / 1e-100
    except TypeError:  # erf, or a function that could not be traced
        return differences(z), "differences", _DIFFERENCE_LIMIT
    beyond = ~np.isfinite(found)  # where exp overflows to NaN, for real numbers to infinity
    found[beyond] = differences(z[beyond])
    return found, "complex step", _COMPLEX_STEP_LIMIT


def _kernel_checks(case: _Case, rng: np.random.Generator) -> list[Check]:
    net, part = case.net, case.first(_ROWS)
    p = rng.standard_normal(net.n_params).astype(net.dtype)
    v = rng.standard_normal(part.X.shape).astype(net.dtype)
    checks = []

    def compare(call: str, names: str, *args: Array, **options: Any) -> None:
        """Compare a method with the function of that name, result by result."""
        wide = [array.astype(np.float64) for array in args]
        wide_options = _wide(options)
        function = getattr(reference, call)
        results: tuple[Any, ...] = (
            getattr(net, call)(*args, **options),
            function(net, *wide, **wide_options),
            size_of(function, net, *wide, **wide_options),
        )
        if not isinstance(results[0], tuple):
            results = tuple((result,) for result in results)
        for name, got, want, size in zip(names.split("; "), *results, strict=True):
            difference = np.abs(np.asarray(got, np.float64) - want)
            # Below the smallest numbers of the type all digits are lost.
            least = float(np.finfo(net.dtype).tiny) / case.limit
            measured = float(np.max(difference, initial=0.0)) / max(float(np.max(size)), least)
            checks.append(Check("kernel", name, measured, case.limit))

    w, X, t, given = case.w, case.X, case.t, case.given
    compare("value", "value, kernel against reference", w, X)
    compare("input_grad", "gradient by x", w, X)
    compare("value_and_grad", "value of one observation; its gradient by w", w, X[0])
    compare("per_sample_grad", "gradients by w", w, part.X)
    compare("input_hvp", "Hessian product by x", w, part.X, v)
    compare("loss_and_grad", "loss; gradient by w", w, X, t, **given)
    compare("hvp", "Hessian product", w, X, t, p, **given)
    compare("gauss_newton_product", "Gauss–Newton product", w, X, t, p, **given)
    if net.n_params <= _MOST_IN_MATRIX:
        names = "loss beside the Gauss–Newton matrix; its gradient; the Gauss–Newton matrix"
        compare("gauss_newton", names, w, part.X, part.t, **part.given)
    return checks


def _wide(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with their arrays in float64."""
    return {
        name: value.astype(np.float64) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }


def _taylor_checks(case: _Case, rng: np.random.Generator) -> list[Check]:
    net = case.net
    case = case.first(_TAYLOR_OBSERVATIONS)
    w, X, t = case.wide
    wide = _wide(case.given)

    def mean(w: Array) -> Any:
        return reference.loss_and_grad(net, w, X, t, **wide)[0]

    def found(call: str, w: Array, *along: Array) -> Any:
        # In float32 too few steps are left between what is rounding and what is not small: there
        # the NumPy derivatives are tested, with which those of the kernels agree.
        if net.dtype == np.float64:
            return getattr(net, call)(w, X, t, *along, **wide)
        return getattr(reference, call)(net, w, X, t, *along, **wide)

    gradient = found("loss_and_grad", w)[1]
    size_g = size_of(reference.loss_and_grad, net, w, X, t, **wide)[1]
    first: list[float] = []
    second: list[float] = []
    for _ in range(_DIRECTIONS):
        moves = np.zeros(net.n_neurons)
        moves[rng.permutation(net.n_neurons)[:_TAYLOR_NEURONS]] = 1.0
        moves = np.concatenate([np.tile(moves, net.n_outputs), np.repeat(moves, net.n_inputs)])
        h = moves * rng.standard_normal(net.n_params)
        h *= (np.linalg.norm(moves * w) or 1.0) / np.linalg.norm(h)
        error = float(np.finfo(np.float64).eps * (size_g @ np.abs(h)))
        for orders, bent in ((first, None), (second, partial(found, "hvp"))):
            test = taylor_test(mean, gradient, w, h, second_derivative=bent, derivative_error=error)
            orders.append(test.order)
    return [
        _taylor_check("gradient by w, Taylor test", first, 2.0),
        _taylor_check("Hessian product, Taylor test", second, 3.0),
    ]


def _taylor_check(name: str, orders: list[float], expected: float) -> Check:
    """Judge by the lower of the two orders that are high enough by least, or else highest."""
    limit = expected - _LEAST_ORDER
    enough = sorted(order for order in orders if order >= limit)
    ranked = sorted(orders, key=lambda order: -np.inf if np.isnan(order) else order)
    return Check("taylor", name, enough[1] if len(enough) > 1 else ranked[-2], limit)


def _adjoint_checks(case: _Case, rng: np.random.Generator) -> list[Check]:
    net = case.net
    shape = case.X.shape[:1] if net.n_outputs == 1 else (len(case.X), net.n_outputs)
    ybar = rng.standard_normal(shape).astype(net.dtype)
    p, q = rng.standard_normal((2, net.n_params)).astype(net.dtype)

    def check(name: str, x: Any, Ay: Any, y: Any, Ax: Any) -> Check:
        left, right = (np.multiply(u, v, dtype=np.float64) for u, v in ((x, Ay), (y, Ax)))
        size = max(float(np.abs(left).sum()), float(np.abs(right).sum()))
        difference = abs(float(left.sum()) - float(right.sum()))
        return Check("adjoint", name, difference / size if size else difference, case.limit)

    along = net.jvp(case.w, case.X, p)
    back = net.vjp(case.w, case.X, ybar)
    H_p, H_q = (net.hvp(case.w, case.X, case.t, d, **case.given) for d in (p, q))
    return [
        check("products with J and with J^T", ybar, along, p, back),
        check("symmetry of the Hessian", q, H_p, p, H_q),
    ]
