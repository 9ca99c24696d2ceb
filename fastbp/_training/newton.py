"""Newton's steps at the end of a fit, where second derivatives cost no more than the way there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..network import Network
from ..objective import Objective
from .ends import WORK
from .far import FarObjective
from .problem import Problem

# Parameters up to which a matrix costs no more than the iterations before it, and a Hessian no more
# than those in its place, if their square times the observations is no more than WORK; and what of
# its largest entry is added to curvatures.
MOST, _FLAT = 600, 1e-10
# Steps at most; the gradient that is as good as none; and the part of the last above which a
# Hessian is made anew: with the one before, steps cost a gradient each. How much a step is held
# back where the Hessian is not positive, one after the other.
_STEPS, _NONE, _STALE = 12, 1e-10, 0.1
_HELD = (1.0, 1e2, 1e3, 1e4)
_EPS = float(np.finfo(np.float64).eps)
_BENT = 1e-5  # a curvature beside the largest entry of its row that is not rounding's

Bounds = tuple[NDArray, NDArray]


def is_small(problem: Problem) -> bool:
    """Whether matrices of the free parameters cost no more than iterations in their place."""
    P = int(np.count_nonzero(problem.free))
    return P <= MOST and problem.n * P**2 <= WORK


def hessian(
    objective: Objective | FarObjective, w: NDArray, free: NDArray, rows: NDArray, columns: NDArray
) -> NDArray:
    """Return the Hessian by the free parameters, its rows and columns times given units."""
    directions = np.zeros((len(rows), len(w)), w.dtype)
    directions[np.arange(len(rows)), free] = rows
    if isinstance(objective, FarObjective):
        products = objective.hvp(w, directions)
    else:
        products = np.reshape([objective.hvp(w, p) for p in directions], directions.shape)
    # In C order, on which the last bits of SciPy's factor depend.
    return products[:, free].astype(np.float64, order="C") * columns


def steepest(
    w: NDArray, free: NDArray, slopes: NDArray, scale: NDArray, bounds: Bounds | None
) -> float:
    """Return the largest of the slopes, which are in units of `scale`, as are the ways.

    None is longer than the way to its bound.
    """
    sizes = np.abs(slopes)
    if bounds is not None:
        low, high = (bound[free] for bound in bounds)
        sizes = np.minimum(sizes, np.where(slopes > 0, w[free] - low, high - w[free]) / scale)
    return float(sizes.max(initial=0.0))


def stepped(
    w: NDArray,
    free: NDArray,
    H: NDArray,
    g: NDArray,
    scale: NDArray,
    bounds: Bounds | None = None,
    held: NDArray | float = 1.0,
) -> NDArray | None:
    """Return where a step of Newton's leads to, H being in units of `scale`; None if nowhere.

    Along what has next to no curvature it is short, shorter where `held` is above 1. What is on a
    bound that the gradient holds it to does not move.
    """
    slopes, to = g[free].astype(np.float64) * scale, w.copy()
    moves = np.full(free.size, True)
    if bounds is not None:
        low, high = (bound[free] for bound in bounds)
        moves = np.where(slopes > 0.0, w[free] > low, w[free] < high)
    bent = H[np.ix_(moves, moves)]
    if not (bent.size and np.isfinite(bent).all()):
        return None
    short = np.broadcast_to(held, free.shape)[moves]
    bent[np.diag_indices_from(bent)] += _FLAT * np.abs(bent.diagonal()).max() * short**2
    try:
        step = np.linalg.solve(bent, slopes[moves])
    except np.linalg.LinAlgError:
        return None
    to[free[moves]] -= step * scale[moves]
    if bounds is not None:
        np.clip(to, *bounds, out=to)
    return to if np.isfinite(to).all() else None


@np.errstate(all="ignore")  # one's own function may have no value at 0
def begins_alike(net: Network, w: NDArray) -> bool:
    """Whether gradients can't part some neurons: those alike, or at 0, a zero of theirs."""
    first = w[: net.n_neurons].tolist()  # of the first output
    if all(first) and len({*first}) == len(first):
        return False  # as almost always: 1 µs in place of 3 a neuron
    A, W = net.split(w)
    rows = np.column_stack([A.reshape(net.n_outputs, -1).T, W])
    known = set()
    for v, row in zip(net.activations, rows, strict=True):
        key = v.key, row.tobytes()
        if key in known or not (row.any() or v(0.0)):
            return True
        known.add(key)
    return False


@np.errstate(all="ignore")
def is_saddle(problem: Problem) -> bool:
    """Whether the loss bends down from w on, where the Hessian is small enough to be asked."""
    if not is_small(problem):
        return False
    w, moves = problem.w, problem.free
    if problem.bounds is not None:
        moves = moves & (problem.bounds[0] < w) & (w < problem.bounds[1])
    free = np.flatnonzero(moves)
    ones = np.ones(free.size)
    H = hessian(problem.objective(), w, free, ones, ones)
    H = 0.5 * (H + H.T)
    largest = np.abs(H).max(axis=1, initial=0.0)
    if not (largest.any() and np.isfinite(largest).all()):
        return False
    some = np.flatnonzero(largest)
    scale = 1.0 / np.sqrt(largest[some])
    scaled = H[np.ix_(some, some)] * scale * scale[:, np.newaxis]
    least = max(_BENT, float(np.sqrt(np.finfo(w.dtype).eps)))
    return bool(np.linalg.eigvalsh(scaled)[0] < -least)


@np.errstate(all="ignore")  # a trial may be far beyond all numbers
def nearer(problem: Problem, size: float, rms: float) -> float | None:
    """Go on by Newton's steps from where those of Gauss–Newton became short, but slowly.

    They are taken while the loss falls or, where it is flat to rounding, the gradient does to
    half, in units of the columns of J; `size` and `rms` are as `ends.ended` has them. Returns the
    loss, or None where none was taken.
    """
    if not is_small(problem):
        return None
    objective, w, bounds = problem.objective(), problem.w, problem.bounds
    loss, g, G = objective.gauss_newton(w)
    free = np.flatnonzero(problem.free & (G.diagonal() > 0.0))
    scale = 1.0 / np.sqrt(G.diagonal()[free])
    rounding = 4.0 * _EPS * (abs(loss) + np.sqrt(abs(loss)) * rms)
    none = _NONE * np.sqrt(2.0 * (abs(loss) if size < 0.0 else size))
    slope, H, found = steepest(w, free, g[free] * scale, scale, bounds), None, None
    for _ in range(_STEPS):
        if slope <= none:
            break
        is_new = H is None
        H = hessian(objective, w, free, scale, scale) if H is None else H
        for held in _HELD if is_new else _HELD[:1]:
            to = stepped(w, free, H, g, scale, bounds, held)
            if to is None:
                continue
            value, gradient = objective(to)
            left = steepest(to, free, gradient[free] * scale, scale, bounds)
            if loss - value > rounding or (left <= 0.5 * slope and value <= loss + rounding):
                w[:], loss, g, found = to, value, gradient, value
                H = H if left <= _STALE * slope else None
                slope = left
                break
        else:
            if is_new:
                break
            H = None
    return found
