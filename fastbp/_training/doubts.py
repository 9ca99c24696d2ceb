"""What speaks against a fit: one sentence for each cause, what was seen and what to do."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._columns import Columns
from .._parts import Marked, Rows
from ..activations import Activation, Softmax, identity, softmax
from ..losses import Loss, cross_entropy, poisson, squared
from ..network import Network
from .problem import Problem
from .report import x_log_x
from .uncertainty import FitWarning, identified

# From which size on each is worth a word; fits that are good stay below.
_UNREACHED = 1e-2  # part of the targets' variance that no output can reach
_GAIN = 1e-3  # part of what a constant leaves that a fit should explain
_SHRUNK = 1e-2  # all neurons' weights, in the targets' deviations
_FLAT = 1e-6  # a slope, relative to the activation's largest near 0
_SATURATED = 0.5  # part of the neurons
_OFF_CENTRE = 3.0  # a column's mean, in deviations
_FEW = 20  # steps that are too few to judge by
_SOME_ROWS = 16  # that are looked at first
_LARGE = 1 << 17  # observations that are looked at in one go
_BROUGHT, _BYTES = 1 << 14, 1 << 22  # at most of those elsewhere


def doubts(
    problem: Problem,
    columns: Columns | None,
    loss: float,
    losses: list[float],
    *,
    held_back: bool,
    known_noise: bool,
    told_to_end: bool,
    limited: bool,
) -> tuple[str, ...]:
    """Return what speaks against a fit.

    Parameters
    ----------
    problem : Problem
        With w where the fit ended.
    columns : Columns or None
        Of X, where the start was made for them.
    loss : float
        At w, without penalty.
    losses : list of float
        The history.
    held_back : bool
        Whether the fit was kept from the last detail of the observations in another way than by a
        penalty: by a validation, or by the epochs of a stochastic optimizer.
    known_noise : bool
        Whether no observation is needed to estimate the noise by.
    told_to_end, limited : bool
        Whether the fit was ended from outside, or by the number of epochs that it was given. What
        was not to be finished is not judged by where it came to.
    """
    begun = told_to_end or (limited and len(losses) < _FEW)
    few, some = "" if begun else _too_many(problem, held_back, known_noise), ""
    if problem.far is not None:
        n, problem = problem.n_weighing, _some_of(problem)
        loss = problem.value() - problem.penalty()
        some = "" if problem.n == n else f" of {problem.n} observations"
    seen = _seen(problem)
    if problem.n <= _LARGE:
        problem = seen
    found = [_out_of_range(seen), _raw(columns), few]
    if not (begun or (limited and losses[-1] < (1.0 - _GAIN) * losses[len(losses) // 2])):
        found += [_no_gain(problem, loss, some), _saturated(seen)]
    return tuple(filter(None, found))


def _some_of(problem: Problem) -> Problem:
    """Return some of the observations, of those that are elsewhere, as if they were all."""
    assert problem.far is not None
    row = (problem.net.n_inputs + problem.net.n_outputs + 1) * problem.net.dtype.itemsize
    X, t, c = problem.far.some(max(1, min(_BROUGHT, _BYTES // row)))
    assert t is not None
    return replace(problem, far=None, X=X, t=t, c=c)


def _seen(problem: Problem) -> Problem:
    """Return the observations that weigh; of very many some, spread over all."""
    c, step = problem.c, -(-problem.n // _LARGE)
    rows: slice | NDArray = slice(None, None, step)
    if c is not None and not c.all():
        rows = Marked(c > 0.0)[::step]
    elif step == 1:
        return problem
    c = None if c is None else c[rows]
    return replace(problem, X=problem.X[rows], t=problem.t[rows], c=c)


def _mean(of: Callable[[NDArray], NDArray], t: NDArray, c: NDArray | None) -> float:
    """Return the mean of a function of the targets, so many at a time."""
    parts = [slice(first, first + _LARGE) for first in range(0, len(t), _LARGE)]
    if len(parts) == 1:
        return float(np.average(of(t), weights=c))
    total = 0.0
    for part in parts:
        some, _, weights = Rows(t[part], c=None if c is None else c[part]).weighing()
        total += float(of(some).sum() if weights is None else of(some) @ weights)
    return total / (len(t) if c is None else float(c.sum(dtype=np.float64)))


def warn(results: Iterable[tuple[str, ...]], stacklevel: int) -> None:
    """Warn of each cause once, whatever the number of fits that have it."""
    causes: dict[str, list[str]] = {}
    fits = list(results)
    for messages in fits:
        for message in messages:  # the same cause has the same words, but for the numbers
            causes.setdefault(re.sub(r"\d[\d.e+-]*", "", message), []).append(message)
    for found in causes.values():
        of = "" if len(fits) == 1 else f"{len(found)} of {len(fits)} fits: "
        warnings.warn(of + found[0], FitWarning, stacklevel=stacklevel + 1)


def check_pair(net: Network, loss: Loss) -> None:
    """Raise ValueError for a loss that takes an output for what it is not."""
    for sigma in boundary.sigmas(net):
        low, high = range_of(sigma)
        said = f"the output {sigma.name!r} goes from {low:.3g} to {high:.3g}"
        if loss == cross_entropy and (low < 0.0 or high > 1.0):
            raise ValueError(
                f"the loss cross_entropy is one of probabilities, and {said}; take "
                "output='logistic' or 'softmax', or the loss 'squared'"
            )
        if loss == poisson and (low > -np.inf or high < np.inf):
            raise ValueError(
                "the loss poisson takes the output for the logarithm of the rate, which may be any "
                f"number, and {said}; take output='identity', of which predictions are rates"
            )


def _out_of_range(problem: Problem) -> str:
    # Of the other losses the best output is not the target, or they have a range of their own.
    if any(map(math.isfinite, problem.loss.target_range)):
        return ""
    found = [*filter(None, map(_beyond, *_columns(problem), [problem.c] * problem.net.n_outputs))]
    if not found:
        return ""
    more = len(found) - 1
    others = f", and so do targets in {more} other columns" if more else ""
    return f"{found[0]}{others}: scale the targets, or take output='identity'"


def _columns(
    problem: Problem,
) -> tuple[list[str], Sequence[Activation | Softmax], Sequence[NDArray]]:
    """Return of each output how its targets are named, σ and the targets."""
    net, t = problem.net, problem.t.astype(np.float64, copy=False)
    K, sigmas = net.n_outputs, boundary.sigmas(net)
    if K == 1:
        return [""], sigmas, [t]
    names = [f" in column {k} of t" for k in range(K)]
    return names, sigmas * K if sigmas[0] is softmax else sigmas, [*t.T]


def _beyond(name: str, sigma: Activation | Softmax, t: NDArray, c: NDArray | None) -> str:
    """Say how many targets lie outside the range of an output, if that matters."""
    if sigma == identity:
        return ""
    low, high = range_of(sigma)
    off = t - np.clip(t, low, high)
    if not off.any():
        return ""
    variance = float(np.average((t - np.average(t, weights=c)) ** 2, weights=c))
    if float(np.average(off**2, weights=c)) <= _UNREACHED * variance:
        return ""
    n, farthest = np.count_nonzero(off), t[np.argmax(np.abs(off))]
    return (
        f"{n} of {len(t)} targets{name} lie outside the range of the output {sigma.name!r}, "
        f"{low:.3g} to {high:.3g}, the farthest at {farthest:.3g}"
    )


def _too_many(problem: Problem, held_back: bool, known_noise: bool) -> str:
    net, B = problem.net, problem.n_weighing
    n_free, numbers = identified(net, problem.free, B)
    if n_free < numbers + known_noise or problem.penalised or held_back:
        return ""
    of_each = f" of {net.n_outputs} outputs" if net.n_outputs > 1 else ""
    return (
        f"there are {np.count_nonzero(problem.free)} free parameters and {B} observations{of_each} "
        "without a penalty, too few to tell the function from its noise: give l2, or take fewer "
        "neurons"
    )


def _raw(columns: Columns | None) -> str:
    if columns is None or columns.bias is not None:
        return ""
    mean, deviation, constant = columns.mean, columns.deviation, columns.constant
    off = np.where(constant, 0.0, np.abs(mean) / np.where(constant, 1.0, deviation))
    j = int(np.argmax(off))
    if off[j] <= _OFF_CENTRE:
        return ""
    return (
        f"column {j} of X has the mean {mean[j]:.3g} and the deviation {deviation[j]:.3g}, and no "
        "column is constant, so that no neuron has a bias: append a column of ones to X, or take "
        "its columns' means away"
    )


def _no_gain(problem: Problem, loss: float, some: str) -> str:
    net = problem.net
    names, _, columns = _columns(problem)
    losses, outputs = [loss], [[*range(net.n_outputs)]]
    if net.output is softmax:
        names = [""]
    elif net.n_outputs > 1:
        losses, outputs = _losses_by_output(problem), [[k] for k in outputs[0]]
    for name, reached, of in zip(names, losses, outputs, strict=True):
        pairs = [_losses_of_a_constant(problem, columns[k]) for k in of]
        constant, least = (sum(each) for each in zip(*pairs, strict=True))
        if not reached >= constant - _GAIN * max(constant - least, 0.0) or not constant > least:
            continue
        # With a penalty it may be meant to leave no more than a constant.
        if not problem.penalised or not all(_shrunk(problem, k, columns[k]) for k in of):
            alike = "targets of one scale, " if len(losses) > 1 else ""
            return (
                f"the loss{name}{some}, {reached:.6g}, is no better than that of a constant, "
                f"{constant:.6g}: try {alike}another seed, scaled inputs with a column of ones, "
                "more epochs or a smaller penalty"
            )
    return ""


def _losses_by_output(problem: Problem) -> list[float]:
    net, c = problem.net, problem.c
    pairs = [problem.loss.with_output(sigma) for sigma in boundary.sigmas(net)]
    inner = net
    if any(ell is not problem.loss for _, ell in pairs):  # taken from s
        outputs = [sigma for sigma, _ in pairs]
        inner = Network(net.n_inputs, activations=net.activations, output=outputs, dtype=net.dtype)
    total = np.zeros(net.n_outputs)
    for first in range(0, len(problem.X), _LARGE):
        some = Rows(problem.X, problem.t, c).of(slice(first, first + _LARGE)).weighing()
        assert some.t is not None
        y, t = (a.astype(np.float64).T for a in (inner.value(problem.w, some.X), some.t))
        losses = [ell(*of) for (_, ell), *of in zip(pairs, y, t, strict=True)]
        total += [of.sum() if some.c is None else of @ some.c for of in losses]
    return (total / (problem.n if c is None else c.sum(dtype=np.float64))).tolist()


def _shrunk(problem: Problem, k: int, t: NDArray) -> bool:
    """Whether all that is bent has next to no weight in output k."""
    net = problem.net
    a = net.split(problem.w)[0].reshape(net.n_outputs, -1)[k]
    bent = ~np.isnan(_flat_beyond(net.activations)[0])
    return bool(np.abs(a[bent]).max(initial=0.0) <= _SHRUNK * _deviation(t))


def _deviation(t: NDArray) -> float:
    mean = _mean(lambda some: some, t, None)
    return float(np.sqrt(_mean(lambda some: (some - mean) ** 2, t, None)))


def _losses_of_a_constant(problem: Problem, t: NDArray) -> tuple[float, float]:
    """Return the mean loss of the best constant for an output, and that of no error at all."""
    ell, c = problem.loss, problem.c
    if problem.net.output is softmax and ell.fuses_with_softmax:  # the class's frequency
        of_frequency = -float(x_log_x(np.average(t, weights=c)))
        return of_frequency, -float(np.average(x_log_x(t), weights=c))
    if ell != squared:  # one's own may be called so
        return _losses_of_constants(ell, t, c)
    mean, ends = _mean(lambda some: some, t, c), np.array([t.min(), t.max()])
    if np.abs(ends - mean).max() <= len(t) * np.finfo(problem.t.dtype).eps * np.abs(ends).max():
        return 0.0, 0.0  # constant targets
    return 0.5 * _mean(lambda some: (some - mean) ** 2, t, c), 0.0


def _losses_of_constants(loss: Loss, t: NDArray, c: NDArray | None) -> tuple[float, float]:
    """Return the mean loss of the best of some constants, and that of no error at all."""
    mean = _mean(lambda some: some, t, c)
    some_t = t[:: -(-len(t) // _LARGE)]
    constants = [mean, *np.quantile(some_t, (0.05, 0.25, 0.5, 0.75, 0.95))]

    def best(some: NDArray) -> NDArray:
        return np.log(np.maximum(some, np.finfo(float).tiny)) if loss == poisson else some

    def constant(y: float, some: NDArray) -> NDArray:
        return loss(np.full_like(some, y), some)

    with np.errstate(all="ignore"):
        if loss == poisson:  # of the log rate
            constants = [np.log(mean)]
        found = [_mean(partial(constant, y), t, c) for y in constants]
        least = _mean(lambda some: loss(best(some), some), t, c)
    return float(np.nanmin(found)) if np.isfinite(found).any() else np.nan, least


def _saturated(problem: Problem) -> str:
    net = problem.net
    low, high = _flat_beyond(net.activations)
    _, W = net.split(problem.w)
    X = problem.X

    def flat(rows: NDArray) -> NDArray:
        Z = rows @ W.T
        return ((Z <= low) | (Z >= high)).all(axis=0)

    # A few rows first, as they are enough for most fits.
    with np.errstate(over="ignore", invalid="ignore"):
        found = flat(X[:: -(-len(X) // _SOME_ROWS)])
        if not found.any():
            return ""
        found = flat(X)
    if np.any(problem.l2):  # what the penalty has left no weight is not missed
        A = net.split(problem.w)[0].reshape(net.n_outputs, -1)
        found &= np.abs(A).max(axis=0) > _SHRUNK * max(map(_deviation, _columns(problem)[2]))
    n, bent = int(np.count_nonzero(found)), int(np.count_nonzero(~np.isnan(low)))
    if n <= _SATURATED * bent:
        return ""
    return (
        f"{n} of {bent} neurons are saturated, without a slope at any observation: scale the "
        "inputs, or begin elsewhere (seed, w0)"
    )


@lru_cache(maxsize=64)
def _flat_beyond(activations: tuple[Activation, ...]) -> tuple[NDArray, NDArray]:
    """Return below and above which z each neuron is flat; NaN for one that always is."""
    tails = {v: _tails_of(v) for v in set(activations)}
    found = np.array([tails[v] for v in activations]).T
    return found[0], found[1]


_POINTS = np.concatenate(
    [
        -np.geomspace(1e9, 30.0, 400),
        np.linspace(-30.0, 30.0, 6001)[1:-1],
        np.geomspace(30.0, 1e9, 400),
    ]
)


@lru_cache(maxsize=64)
def _tails_of(v: Activation) -> tuple[float, float]:
    with np.errstate(all="ignore"):
        slope = np.abs(v.derivative(_POINTS))
    limit = _FLAT * np.nanmax(slope[np.abs(_POINTS) <= 5.0])
    bent = np.flatnonzero(~(slope <= limit))  # NaN is not flat
    if not bent.size:
        return np.nan, np.nan
    first, last = bent[0], bent[-1]
    low = -np.inf if first == 0 else _POINTS[first - 1]
    high = np.inf if last == len(_POINTS) - 1 else _POINTS[last + 1]
    return float(low), float(high)


def direction_of(v: Activation) -> int:
    """Return 1 for a function that never falls, -1 for one that never rises, 0 for others."""
    with np.errstate(all="ignore"):
        slope = v.derivative(_POINTS)
    return 1 if (slope >= 0.0).all() else -1 if (slope <= 0.0).all() else 0


@lru_cache(maxsize=64)
def range_of(v: Activation | Softmax) -> tuple[float, float]:
    """Return the least and the greatest value; infinite where it grows on and on."""
    if isinstance(v, Softmax):
        return 0.0, 1.0
    with np.errstate(all="ignore"):
        values = v(_POINTS)
    inner = values[np.abs(_POINTS) <= 1e6]
    least, greatest = float(np.nanmin(inner)), float(np.nanmax(inner))
    slack = 1e-3 * (greatest - least)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (-np.inf if low < least - slack else low), (np.inf if high > greatest + slack else high)
