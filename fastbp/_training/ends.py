"""Where a fit ends, looked at in float64: whether it is stationary, and steps where it is not.

In float32 the sums of loss, gradient and Gauss–Newton matrix hide what is left to gain, above all
along directions that the data hardly determine; and SciPy's methods see a gradient in units that
parameters share. So a claim is looked at once more: by `fastbp.reference`, which needs no machine
code of another number type, unless that takes longer than to get the code. *Stationary* is where no
parameter alone would lower the loss by more than a small part, nor steps of Gauss–Newton, damped or
not. From elsewhere these go on for a while, rounded to the network's numbers, as far as those allow
and as long as they get nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastbp.reference as reference

from .._parts import Rows, Statistic
from ..kernels.machine.levenberg_settings import ROUNDED, SMALL_GAIN, STALLED
from ..losses import Loss
from ..network import Network, in_float64
from ..objective import penalty
from .problem import Problem

_TOL = 1e-8  # of the loss
_DAMPINGS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0)
_MET = 30.0  # roundings of the targets
STEPS = 4
_EPS = float(np.finfo(np.float64).eps)
_NUMBERS = 1 << 20  # of a Jacobian in memory at a time
# Observations times the square of the parameters up to which matrices are NumPy's: 0.03 s for one.
WORK = 1e8


_How = tuple[Any, Network]  # `reference` or `Network` itself, and the network to call that with


class End(NamedTuple):
    """What was found: SMALL_GAIN, STALLED or ROUNDED, and the loss with its penalty."""

    reason: int
    loss: float


class _Place(NamedTuple):
    """Mean loss, gradient and Gauss–Newton matrix at w, the penalty in each."""

    w: NDArray
    loss: float
    g: NDArray
    G: NDArray


def ended(
    problem: Problem,
    *,
    size: float,
    rms: float,
    tol: float = 0.0,
    steps: int = STEPS,
    compiled: bool = False,
) -> End | None:
    """Look at where a fit has ended, and move the problem's parameters where that is worth it.

    Parameters
    ----------
    problem : Problem
    size : float
        What a small fall of the loss is measured by; below 0 it is the loss itself.
    rms : float
        Of the targets, where the loss is one of residuals: what rounding leaves of these, once
        they are met, is nothing; else 0.
    tol : float
        The part of `size` that is nothing, if more than 1e-8.
    steps : int
        At most to take.
    compiled : bool
        Whether there is machine code for matrices in float64, so that it costs nothing to take it.

    Returns
    -------
    end : End or None
        None where nothing can be said: the loss has no curvature, or numbers are too large.
    """
    met = 0.5 * (_MET * float(np.finfo(problem.net.dtype).eps) * rms) ** 2
    small = not compiled and problem.n * problem.net.n_params**2 <= WORK
    how = (reference, problem.net) if small else (Network, in_float64(problem.net))
    with np.errstate(all="ignore"):
        at = _at(problem, how)
        last = np.inf
        while _is_known(at):
            nothing = max(tol, _TOL) * (abs(at.loss) if size < 0.0 else size)
            trial, fall, foreseen = _lowest(problem, how, at, nothing)
            left = max(0.1 * fall, 0.01 * foreseen, _alone(problem, at))
            if at.loss <= met or left <= nothing:
                return End(SMALL_GAIN, at.loss)
            far = left > max(4.0 * nothing, 0.5 * last)
            if steps == 0 or far or not fall > nothing:
                return End(STALLED, at.loss)
            moved = trial.astype(problem.w.dtype)
            if not at.loss - _loss(problem, how, moved) > nothing:
                return End(ROUNDED, at.loss)
            problem.w[:] = moved
            at, last, steps = _at(problem, how), left, steps - 1
    return None


def _is_known(at: _Place) -> bool:
    finite = np.isfinite(at.loss) and np.isfinite(at.g).all() and np.isfinite(at.G).all()
    return bool(finite and not at.g[at.G.diagonal() <= 0.0].any())


def _lowest(
    problem: Problem, how: _How, at: _Place, nothing: float
) -> tuple[NDArray, float, float]:
    """Return where a step leads to that lowers the loss most, and by how much.

    And what the undamped one is foreseen to gain; where that is nothing, it is enough.
    """
    # A parameter all but on its bound is held there.
    some = np.flatnonzero(np.abs(at.g) * _ways(problem, at) > 0.01 * nothing / at.w.size)
    scale = 1.0 / np.sqrt(at.G.diagonal()[some])
    g, G = at.g[some] * scale, at.G[np.ix_(some, some)] * scale * scale[:, np.newaxis]
    best, largest, foreseen = at.w, 0.0, np.inf
    for mu in _DAMPINGS:
        try:
            step = np.linalg.solve(G + max(mu, g.size * _EPS) * np.eye(g.size), -g)
        except np.linalg.LinAlgError:
            continue
        if mu == 0.0:
            foreseen = abs(0.5 * float(step @ g))
            if foreseen <= nothing:
                break
        w = at.w.copy()
        w[some] += step * scale
        if problem.bounds is not None:
            np.clip(w, *problem.bounds, out=w)
        fall = at.loss - _loss(problem, how, w)
        if largest > 0.0 and not fall > largest:
            break
        if fall > largest:
            best, largest = w, fall
    return best, largest, foreseen


def _ways(problem: Problem, at: _Place) -> NDArray:
    """Return how far each parameter may go down: 0 where it is not to move."""
    ways = np.where(problem.free & (at.g != 0.0), np.inf, 0.0)
    if problem.bounds is not None:
        low, high = problem.bounds
        ways = np.minimum(ways, np.where(at.g > 0.0, at.w - low, high - at.w))
    return ways


def _alone(problem: Problem, at: _Place) -> float:
    """Return the largest fall that is foreseen of one parameter alone."""
    bent = np.maximum(at.G.diagonal(), np.finfo(np.float64).tiny)
    way = np.minimum(np.abs(at.g) / bent, _ways(problem, at))
    return float((way * (np.abs(at.g) - 0.5 * bent * way)).max(initial=0.0))


def _at(problem: Problem, how: _How) -> _Place:
    w, total, l2 = problem.w.astype(np.float64), problem.total, problem.l2
    loss, g, G = _sums(problem, how, 3, "gauss_newton", w)
    G = G / total  # sums of elsewhere may be read only
    G[np.diag_indices_from(G)] += l2
    return _Place(w, float(loss / total + penalty(l2, w)), g / total + l2 * w, G)


def _loss(problem: Problem, how: _How, w: NDArray) -> float:
    w = w.astype(np.float64)
    loss, _ = _sums(problem, how, 2, "loss_and_grad", w)
    return float(loss / problem.total + penalty(problem.l2, w))


def _sums(problem: Problem, how: _How, n: int, name: str, w: NDArray) -> tuple[Any, ...]:
    """Return Σ c times the n means that `reference` and `Network` return by a name."""
    of, net = how
    return problem.reduce(_summed, getattr(of, name), n, net, problem.loss, w).sums


def _summed(
    rows: Rows, of: Callable[..., tuple[Any, ...]], n: int, net: Network, loss: Loss, w: NDArray
) -> Statistic:
    """Say Σ c times the n means that a function returns, some rows at a time."""
    rows, many = rows.weighing(), max(_NUMBERS // (net.n_outputs * net.n_params), 1)
    found = Statistic((0.0,) * n)
    with np.errstate(all="ignore"):  # which NumPy has thread by thread
        for first in range(0, len(rows.X), many):
            X, t, c = rows.of(slice(first, first + many))
            means = of(net, w, X.astype(np.float64), t, loss=loss, sample_weight=c)
            total = len(X) if c is None else float(c.sum(dtype=np.float64))
            found = found.joined(Statistic(tuple(total * mean for mean in means)))
    return found
