"""How far predictions may be off: the delta method, from the Gauss–Newton matrix at the optimum."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastbp.losses as losses

from .. import _boundary as boundary
from .._parts import Marked, Rows, Statistic, runs
from ..activations import Activation, softmax
from ..losses import LIKELIHOODS, Loss, family
from ..network import Network, in_float64

if TYPE_CHECKING:
    from .far import Far

_ROWS = 512  # per-sample gradients in memory at a time
_LARGE = 1 << 15  # observations that are looked at in one go
_NOTHING = 1e-300  # a probability that tells nothing; the inverse of a subnormal is infinite


class FitWarning(UserWarning):
    """A fit that is not to be trusted as it stands; the message says why."""


@dataclass(frozen=True)
class Data:
    """What a network was fitted to: checked arrays, as `fastbp.fit` used them."""

    X: NDArray
    t: NDArray
    sample_weight: NDArray | None
    loss: Loss
    l2: float | NDArray
    free: NDArray
    absolute_sigma: bool = False
    on_bounds: NDArray | None = None  # (P,), of those that may move
    far: bool = False  # whether they are elsewhere, and X and t none of them
    rows: NDArray | Marked | None = None  # those of them that were fitted, where it was not all
    elsewhere: Far | None = None  # who answers for them there; not pickled
    mark: int | None = None  # of the arrays as they were fitted, which are the caller's
    mark_of_w: int | None = None  # so is w
    reached: float | None = None  # the loss at w, the penalty included

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"elsewhere": None}

    def taken(self) -> Data:
        """Return what was fitted: a copy where it was not all."""
        if self.rows is None:
            return self
        return replace(self, **self._some(slice(None))._asdict(), rows=None, mark=None)

    def check_unchanged(self) -> None:
        """Raise ValueError where the caller has written to the arrays since the fit."""
        far = self.elsewhere
        if self.mark is None or not len(self.X) or (self.far and not far):
            return
        if (far.mark() if far else mark_of(self.X, self.t, self.sample_weight)) != self.mark:
            raise ValueError(
                "X, t or the weights have other numbers than when they were fitted, and fit copies "
                "none of them: ask for intervals and the report before, or give it copies"
            )

    def _some(self, rows: slice) -> Rows:
        """Return some of what was fitted."""
        some = rows if self.rows is None else self.rows[rows]
        return Rows(self.X, self.t, self.sample_weight).of(some)

    def reduce(self, what: Callable[..., Statistic], *arguments: Any) -> Statistic:
        """Return what ``what(rows, *arguments)`` says of all that was fitted, some at a time.

        Raises
        ------
        ValueError
            Where it is not to be had any more.
        """
        if self.elsewhere is not None:
            return self.elsewhere.reduce(what, *arguments)
        if self.far:
            raise ValueError(
                "this fit of observations elsewhere has no covariance and no report: "
                "fastbp.dask.fit finds them with intervals=True, and a pickled fit of a Source had "
                "to be asked for them before"
            )
        n = len(self.X if self.rows is None else self.rows)
        if not n:
            raise ValueError(
                "this fit is of an estimator that was pickled or copied, which keeps no "
                "observations; fit again, or ask for what needs them before"
            )
        each = (slice(first, first + _LARGE) for first in range(0, n, _LARGE))
        return reduce(Statistic.joined, (what(self._some(rows), *arguments) for rows in each))

    def weights(self, net: Network, w: NDArray) -> Weights:
        """Return what the weights add up to, read in the pass that tells whether rows are others.

        Raises
        ------
        ValueError
            Where the loss at w is not what it was.
        """
        told = self.elsewhere is None or self.mark is not None or self.reached is None
        fitted = None if told else (net, self.loss, w)
        n, total, *losses = self.reduce(_weights, fitted).sums
        if not told:
            self._check_reached(
                w, float(np.sqrt(np.finfo(net.dtype).eps)), *(each / total for each in losses)
            )
        return Weights(n, total, 1.0 if self.absolute_sigma else n / total)

    def _check_reached(self, w: NDArray, off: float, *means: float) -> None:
        """Raise ValueError where the loss is another, by more than if y were off by that part."""
        now, slope, curvature = means
        now += 0.5 * float(self.l2 * w.astype(np.float64) @ w)
        assert self.reached is not None
        if abs(now - self.reached) > off * (now + slope) + off**2 * curvature:
            raise ValueError(
                f"the rows are others than when they were fitted, by whose loss at w, {now:.9g}, "
                f"which was {self.reached:.9g}: intervals and the report need the same at each pass"
            )


def mark_of(*arrays: Any) -> int:
    """Return a number that arrays with other contents do not have, but for one in 2³²."""
    mark = 0
    for array in arrays:
        array = getattr(array, "classes", array)
        if array is None:
            continue
        parts: Iterable[Any] = [array]
        if not array.flags.c_contiguous:
            parts = (np.ascontiguousarray(array[run]) for run in runs(len(array)))
        for part in parts:
            mark = crc32(part, mark)
    return mark


def check_parameters(w: NDArray, mark: int | None) -> None:
    """Raise ValueError where the caller has written to w since it was fitted, or loaded."""
    if mark is not None and mark_of(w) != mark:
        raise ValueError(
            "w has other numbers than the fit found, of which intervals and the report are: change "
            "a copy of it"
        )


class Weights(NamedTuple):
    """How many are not zero, their sum, and what they are multiplied by to be of mean one.

    The last is 1 where they are absolute.
    """

    n: int
    total: float
    unit: float

    @property
    def sum(self) -> float:
        """Sum of the weights so multiplied."""
        return self.total * self.unit


def _weights(rows: Rows, fitted: tuple[Network, Loss, NDArray] | None) -> Statistic:
    """Say n and Σ c; of a fit Σ c ℓ, too, and what moves it by y's own size, at first and second.

    What weighs nothing is no observation.
    """
    c = np.ones(len(rows.X)) if rows.c is None else rows.c.astype(np.float64)
    n, total = int(np.count_nonzero(c)), float(c.sum())
    if fitted is None or not n:
        return Statistic((n, total, *([] if fitted is None else [0.0] * 3)))
    (X, t, given), (net, loss, w), c = rows.weighing(), fitted, c[c > 0.0]
    assert t is not None
    # By the call of the fit, in whose number type it has the same rounding.
    mean, _ = net.loss_and_grad(w, X, t, loss=loss, sample_weight=given)
    y = net.value(w, X).astype(np.float64)
    size = np.maximum(abs(y), abs(t))
    with np.errstate(all="ignore"):  # where they are infinite, nothing is told
        each = loss.derivative(y, t) * size, loss.second_derivative(y, t) * size**2
    moved = (float(np.sum(c @ abs(by))) for by in each)
    return Statistic((n, total, total * mean, *moved))


class At(NamedTuple):
    """A fit, as its observations are asked about it.

    Attributes
    ----------
    net : Network
        In float64.
    loss : Loss
    w : ndarray of float64, shape (P,)
    unit : float
        Of the weights.
    free : ndarray of int
        Which of the parameters have gradients.
    """

    net: Network
    loss: Loss
    w: NDArray
    unit: float
    free: NDArray

    def of(self, rows: Rows) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Return X, t, c and y in float64, of the rows that have a weight."""
        rows = rows.weighing()
        assert rows.t is not None
        X, t = (a.astype(np.float64, copy=False) for a in (rows.X, rows.t))
        c = np.ones(len(X)) if rows.c is None else rows.c.astype(np.float64) * self.unit
        return X, t, c, self.net.value(self.w, X)


@dataclass(frozen=True)
class Spread:
    """A factor of the parameters' covariance, what is not determined, and the noise's variance.

    Attributes
    ----------
    factor : ndarray, shape (P, rank)
        Its product with its transpose is the covariance, of what is determined.
    noise : float, ndarray of shape (K,), or None
        Variance of an observation about the function, where K > 1 of each output; None where the
        loss does not define one.
    undetermined : ndarray, shape (P, n), optional
        Directions that neither the data nor a penalty say anything about.
    scale : ndarray, shape (P,), optional
        D⁻¹: a gradient in these units, D⁻¹ ∇f, depends on a direction or does not.
    nothing : bool
        Whether the observations have no more numbers than there are free parameters, and no
        penalty.
    left : float
        Observations that are left to estimate the noise by, n − tr(A⁻¹ M), where it is estimated;
        of several outputs that which has the fewest.
    effective : float
        Parameters in use, tr(A⁻¹ M).
    condition : float
        Of the rows in D's units, those of the penalty among them; infinite where they do not
        determine all free parameters.
    rank : int
        Directions that are determined.
    log_determinant : float
        The logarithm of the product of A's eigenvalues along them.
    on_bounds : int
        Parameters that lie on their bounds, and are taken as known.
    """

    factor: NDArray
    noise: float | NDArray | None
    undetermined: NDArray | None = None
    scale: NDArray | None = None
    nothing: bool = False
    left: float = np.inf
    effective: float = np.nan
    condition: float = np.nan
    rank: int = 0
    log_determinant: float = np.nan
    on_bounds: int = 0


def check_absolute_sigma(given: bool, loss: Loss) -> None:
    """Raise TypeError or ValueError unless it is a bool that means something for the loss."""
    boundary.flag("absolute_sigma", given)
    if given and loss != losses.squared and family(loss) not in LIKELIHOODS:
        raise ValueError(
            "absolute_sigma=True needs the loss squared, cross_entropy or poisson, whose weights "
            f"have an absolute meaning; got {loss.name!r}"
        )


def spread(net: Network, w: NDArray, data: Data) -> Spread:
    """Return the covariance of the parameters at an optimum of the fit.

    With M = Σ_b c_b ℓ''_b ∇f_b ∇f_b^T, n observations, A = M + Σ c diag(l2) and S the covariance of
    the gradient, it is A⁻¹ S A⁻¹. S is s² M for the squared loss, where c has mean one and
    s² = Σ c r² / (n − tr(A⁻¹ M)), or one with `absolute_sigma`; M for likelihoods;
    Σ_b (c_b ℓ'_b)² ∇f_b ∇f_b^T for the others.

    Of several outputs M = Σ_k M_k is the sum over them, M_k having the rows ∇f_bk; observations are
    independent, the outputs of one are not. For the squared loss S is Σ_b c_b J_b^T Σ̂ J_b, with
    Σ̂_kl = Σ_b c_b r_bk r_bl / √((n − p_k) (n − p_l)) and p_k = tr(A⁻¹ M_k), or with one for Σ̂; for
    the others Σ_b g_b g_b^T, g_b = c_b Σ_k ℓ'_bk ∇f_bk. A softmax with cross_entropy has 1/y_k for
    ℓ''_k: J_y^T diag(1/y) J_y is J_s^T (diag(y) − y y^T) J_s, Fisher's information.

    All in the units D_j² = A_jj, from the singular values of the rows (c ℓ'')^½ ∇f D⁻¹, so that
    neither units nor the square of a condition number decide what the data determine.

    Raises
    ------
    ValueError
        For a loss without curvature, or gradients that are not finite.

    References
    ----------
    Σ̂ from residuals of least squares: A. Zellner: An efficient method of estimating seemingly
    unrelated regressions and tests for aggregation bias, JASA 57 (1962). A. R. Gallant: Seemingly
    unrelated nonlinear regressions, Journal of Econometrics 3 (1975).
    """
    loss, on_bounds = data.loss, data.on_bounds
    weights = data.weights(net, w)
    n = weights.n
    free = np.flatnonzero(data.free if on_bounds is None else data.free & ~on_bounds)
    at = At(in_float64(net), loss, w.astype(np.float64), weights.unit, free)
    n_rows, curved, triangle, errors = data.reduce(_root, at).sums
    if not curved:
        raise ValueError(
            f"standard deviations need a loss with curvature, and that of {loss.name!r} is zero at "
            "every observation here; fit_many(bootstrap=…) gives those of its members' predictions"
        )
    root = triangle.R
    if not np.isfinite(root).all():
        raise ValueError(
            "standard deviations need finite gradients and a finite curvature of the loss at every "
            "observation; some are not"
        )
    penalty = weights.sum * np.broadcast_to(np.asarray(data.l2, np.float64), data.free.shape)[free]
    d = np.sqrt((root**2).sum(axis=0) + penalty)
    inverse = np.divide(1.0, d, out=np.zeros_like(d), where=d > 0.0)
    scaled = root * inverse
    # Â = R̂^T R̂ + λ D⁻²: the singular values of both, one below the other, are the roots of its
    # eigenvalues; no square of theirs is formed.
    both = np.vstack([scaled, np.diag(np.sqrt(penalty) * inverse)]) if penalty.any() else scaled
    # Directions that no row has, too, where there are fewer rows than directions.
    left, sizes, directions = np.linalg.svd(both, full_matrices=len(both) < free.size)
    sizes = np.concatenate([sizes, np.zeros(free.size - sizes.size)])
    largest = sizes.max(initial=0.0)
    kept = sizes > largest * max(n_rows * net.n_outputs, free.size) * np.finfo(np.float64).eps
    smallest = sizes.min(initial=largest) if kept.all() else 0.0
    by_size = directions[kept].T / sizes[kept]
    of_rows = left[: len(scaled), np.flatnonzero(kept)]  # R̂ = of_rows · sizes · directions
    effective = float((of_rows**2).sum())
    remaining = np.inf
    noise: float | NDArray | None = None
    half: NDArray | None = None  # the root of S, where it is not M or a multiple
    if loss == losses.squared or family(loss) in LIKELIHOODS:
        factor = by_size @ of_rows.T
        # Below a rounding error of n there is nothing that could be estimated.
        least = n * float(np.finfo(np.float64).eps)
        if loss == losses.squared and data.absolute_sigma:
            noise = n / weights.sum  # of an observation of mean weight
            if net.n_outputs > 1:
                noise = np.full(net.n_outputs, noise)
        elif loss == losses.squared and net.n_outputs > 1:
            (used,) = data.reduce(_used, at, inverse[:, np.newaxis] * by_size).sums
            lefts = np.maximum(n - used, least)
            remaining = float(lefts.min())
            mix = errors.R / np.sqrt(lefts)  # mix^T mix = Σ̂
            noise = (mix**2).sum(axis=0)
            half = data.reduce(_mixed, at, mix).sums[0].R
        elif loss == losses.squared:
            remaining = max(n - effective, least)
            noise = float((errors.R**2).sum()) / remaining
            factor = np.sqrt(noise) * factor
    else:
        half = data.reduce(_slopes, at).sums[0].R
    if half is not None:
        factor = by_size @ (by_size.T @ (half * inverse).T)
    unpenalised = np.zeros(net.n_params, bool)
    unpenalised[free] = penalty == 0.0
    told, numbers = identified(net, unpenalised, n)
    nothing = told >= numbers and not data.absolute_sigma
    return Spread(
        _placed(inverse[:, np.newaxis] * factor, free, net.n_params),
        noise + np.inf if nothing and noise is not None else noise,
        _placed(directions[~kept].T, free, net.n_params),
        _placed(inverse, free, net.n_params),
        nothing,
        remaining,
        effective,
        largest / smallest if smallest else np.inf,
        int(np.count_nonzero(kept)),
        2.0 * float(np.log(sizes[kept]).sum() + np.log(d[d > 0.0]).sum()),
        0 if on_bounds is None else int(np.count_nonzero(on_bounds)),
    )


def identified(net: Network, free: NDArray, n: int) -> tuple[int, int]:
    """Return how many free parameters data can tell apart, and how many numbers n observations are.

    The outputs of a softmax sum to one, and one number added to all weights of a neuron, those of
    A, does not change them.
    """
    n_free, K = int(np.count_nonzero(free)), net.n_outputs
    if net.output is not softmax:
        return n_free, n * K
    shifts = free[: K * net.n_neurons].reshape(K, -1).all(axis=0)
    return n_free - int(np.count_nonzero(shifts)), n * (K - 1)


def _placed(rows: NDArray, free: NDArray, P: int) -> NDArray:
    """Return what is said of the free parameters as what is said of all: zero of the others."""
    out = np.zeros((P, *rows.shape[1:]))
    out[free] = rows
    return out


class Triangle:
    """R of a QR decomposition of rows; a sum is that of the rows of both."""

    def __init__(self, blocks: Iterable[NDArray], n: int) -> None:
        """Decompose rows of n numbers, a block at a time.

        Blocks should have n rows or more, so that R is not most of what is decomposed.
        """
        self.R = np.zeros((0, n))
        for rows in blocks:
            self.R = np.asarray(np.linalg.qr(np.vstack([self.R, rows.reshape(-1, n)]), mode="r"))

    def __add__(self, other: Triangle) -> Triangle:
        return Triangle([self.R, other.R], self.R.shape[1])


def _rows(at: At, X: NDArray, factors: NDArray) -> Iterator[NDArray]:
    """Yield the rows factor_bk ∇f_bk, (some b, K, free.size)."""
    K, n = at.net.n_outputs, at.free.size
    many = max(_ROWS, n) // K + 1 if K > 1 else max(_ROWS, n)
    some = len(X) if n else 0  # none where all parameters are held, or on their bounds
    for first in range(0, some, many):
        part = slice(first, first + many)
        J = at.net.per_sample_grad(at.w, X[part])[..., at.free].reshape(-1, K, n)
        yield factors[part].reshape(-1, K, 1) * J


class _Gradients(NamedTuple):
    """Of some rows: weights, residuals, if any has a curvature, and the rows of a root of M."""

    c: NDArray
    r: NDArray
    curved: bool
    rows: Iterator[NDArray]


def _gradients(rows: Rows, at: At) -> _Gradients:
    X, t, c, y = at.of(rows)
    curvature = (c * _curvature(at.net, at.loss, y, t).T).T
    return _Gradients(c, y - t, bool(curvature.any()), _rows(at, X, np.sqrt(curvature)))


def _root(rows: Rows, at: At) -> Statistic:
    """Say the number of rows, if any has a curvature, a root of M, and one of Σ c r r^T."""
    c, r, curved, each = _gradients(rows, at)
    errors = Triangle([(np.sqrt(c) * r.T).T], at.net.n_outputs)
    return Statistic((len(r), curved, Triangle(each if curved else [], at.free.size), errors))


def _used(rows: Rows, at: At, directions: NDArray) -> Statistic:
    """Say of each output tr(A⁻¹ M_k)."""
    each = _gradients(rows, at).rows
    return Statistic((sum(((some @ directions) ** 2).sum(axis=(0, 2)) for some in each),))


def _mixed(rows: Rows, at: At, mix: NDArray) -> Statistic:
    """Say a root of Σ_b c_b J_b^T mix^T mix J_b."""
    each = _gradients(rows, at).rows
    return Statistic((Triangle((mix @ some for some in each), at.free.size),))


def _slopes(rows: Rows, at: At) -> Statistic:
    """Say a root of Σ_b g_b g_b^T."""
    X, t, c, y = at.of(rows)
    each = _rows(at, X, (c * at.loss.derivative(y, t).T).T)
    return Statistic((Triangle((rows.sum(axis=1) for rows in each), at.free.size),))


def _curvature(net: Network, loss: Loss, y: NDArray, t: NDArray) -> NDArray:
    """ℓ'' as Gauss–Newton takes it: of y, or of s where σ and ℓ match, over σ'²."""
    if isinstance(net.output, Activation):
        return _curvature_of(net.output, loss, y, t)
    if isinstance(net.output, tuple):
        each = zip(net.output, y.T, t.T, strict=True)
        return np.stack([_curvature_of(sigma, loss, *of) for sigma, *of in each], axis=1)
    if loss.fuses_with_softmax:
        return np.divide(1.0, y, out=np.zeros_like(y), where=y > _NOTHING)
    return np.maximum(loss.second_derivative(y, t), 0.0)


def _curvature_of(sigma: Activation, loss: Loss, y: NDArray, t: NDArray) -> NDArray:
    if loss.with_output(sigma)[1] is loss:
        return np.maximum(loss.second_derivative(y, t), 0.0)
    slope = y * (1.0 - y)
    return np.divide(1.0, slope, out=np.zeros_like(slope), where=slope > _NOTHING)


# The part of a gradient, in D's units, from which on it depends on a direction. Directions that the
# data determine are orthogonal to the others but for rounding.
_DEPENDS = 1e-6


def predicted(
    net: Network,
    w: NDArray,
    X: ArrayLike,
    spread: Callable[[], Spread],
    *,
    return_std: bool,
    noise: bool,
    threads: int | str,
) -> Any:
    """Return f at X, and on request its standard deviation, for which alone the spread is found."""
    check_noise(noise, return_std)
    y = net.value(w, X, threads=threads)
    return (y, standard_deviation(net, w, X, spread(), noise=noise)) if return_std else y


def check_noise(noise: bool, return_std: bool) -> None:
    """Raise TypeError or ValueError where these are no switches, or there is noise alone."""
    boundary.flag("return_std", return_std)
    boundary.flag("noise", noise)
    if noise and not return_std:
        raise ValueError("noise=True is a part of the standard deviation: give return_std=True too")


def standard_deviation(
    net: Network, w: NDArray, X: ArrayLike, given: Spread, *, noise: bool
) -> Any:
    """Return √(∇f^T C ∇f) at every row of X, or at one; with `noise` that of a new observation.

    Where K > 1, of each output. Infinite where f depends on what is not determined, with a
    `FitWarning`.
    """
    if noise and given.noise is None:
        raise ValueError("noise=True needs the squared loss, which defines a noise variance")
    # In float64 whatever the network's own type: what is not determined is told by small parts.
    x = np.atleast_2d(np.asarray(X, net.dtype))
    exact, w64 = in_float64(net), w.astype(np.float64)
    K = net.n_outputs
    variance = np.empty(len(x) * K)
    many = max(_ROWS // K, 1)
    for first in range(0, len(x), many):
        some = x[first : first + many].astype(np.float64, copy=False)
        rows = exact.per_sample_grad(w64, some).reshape(-1, net.n_params)
        part = variance[first * K : (first + many) * K]
        part[:] = ((rows @ given.factor) ** 2).sum(axis=1)
        if given.nothing:
            part[:] = np.inf
        elif given.undetermined is not None and given.scale is not None:
            part[_depends(rows, given.undetermined, given.scale)] = np.inf
    unknown = int(np.isinf(variance).sum())
    for message in doubts(given, f"{unknown} of {len(variance)} predictions" if unknown else ""):
        warnings.warn(message, FitWarning, stacklevel=outside())
    each = variance.reshape(-1, K)
    if noise and given.noise is not None:
        each += given.noise
    std = np.sqrt(each, out=each).astype(net.dtype, copy=False)
    if K == 1:
        return float(std[0, 0]) if np.ndim(X) == 1 else std[:, 0]
    return std[0] if np.ndim(X) == 1 else std


def outside() -> int:
    """Return the stacklevel, for who asks, of the first caller that is not of this library."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith("fastbp."):
        level, frame = level + 1, frame.f_back
    return level


def standard_errors(given: Spread, free: NDArray) -> NDArray:
    """Return the standard error of each parameter: zero where not free, infinite where unknown."""
    errors = np.sqrt((given.factor**2).sum(axis=1))
    errors[undetermined(given, free)] = np.inf
    return errors


def covariance(given: Spread, free: NDArray) -> NDArray:
    """Return C, (P, P), infinite in rows and columns of what is not determined."""
    C = given.factor @ given.factor.T
    unknown = undetermined(given, free)
    for rows, columns in ((unknown, free), (free, unknown)):
        C[np.ix_(rows, columns)] = np.inf
    for message in doubts(given, f"{unknown.sum()} of the parameters" if unknown.any() else ""):
        warnings.warn(message, FitWarning, stacklevel=3)
    return C


def undetermined(given: Spread, free: NDArray) -> NDArray:
    """Return which parameters have a part along a direction that is not determined."""
    if given.nothing:
        return free.copy()
    if given.undetermined is None:
        return np.zeros_like(free)
    return np.asarray(np.linalg.norm(given.undetermined, axis=1) > _DEPENDS)


def doubts(given: Spread, unknown: str) -> list[str]:
    """Return what is to be said of a spread; `unknown` names what it says nothing of, if any."""
    if given.nothing:
        return [
            "there are no more observations than free parameters, and no penalty (l2): the data "
            "determine no standard deviation, which is infinite everywhere"
        ]
    said = []
    if given.on_bounds:
        said.append(
            f"{given.on_bounds} parameters lie on their bounds: standard deviations and covariance "
            "take these as known, and do not say how far the others' bounds would cut them"
        )
    if unknown:
        said.append(
            f"{unknown} depend on what neither the data nor a penalty (l2) determine: their "
            "standard deviation is infinite"
        )
    if given.left < 1.0:
        said.append(
            f"the fit leaves {given.left:.2g} of an observation to estimate the noise by: the "
            "standard deviations are too small; more observations or more l2 would mend it"
        )
    return said


def _depends(rows: NDArray, undetermined: NDArray, scale: NDArray) -> NDArray:
    """Whether gradients have a part along directions that are not determined."""
    units = rows * scale
    along = np.linalg.norm(units @ undetermined, axis=1)
    # A column of zeros has no unit: any slope along it is one that no observation has seen.
    unseen = rows[:, np.abs(undetermined).any(axis=1) & (scale == 0.0)].any(axis=1)
    return (along > _DEPENDS * np.linalg.norm(units, axis=1)) | unseen
