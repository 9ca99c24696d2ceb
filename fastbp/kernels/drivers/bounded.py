"""Steps of Levenberg–Marquardt within bounds: by active sets, always feasible.

A step leads to the least value of the damped quadratic model within the bounds. The parameters
that are *held* at a bound are at first those that the descent leads out of. The system is solved
for the others, given where the held ones are; those that cross a bound are set upon it and held,
those whose multiplier points inside are let go, until none does. After some rounds none is let go
any more, so that it ends; then the fall foreseen need not be the largest, nor positive, and the
damping grows.

M. Hintermüller, K. Ito, K. Kunisch: The primal-dual active set strategy as a semismooth Newton
method, SIAM J. Optim. 13 (2002). C. Kanzow, N. Yamashita, M. Fukushima: Levenberg–Marquardt methods
with strong local convergence properties for solving nonlinear equations with convex constraints, J.
Comput. Appl. Math. 172 (2004).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER
from ..machine.build import loop

_ROUNDS = 20  # in which parameters are let go
_LET_GO = 2  # in `moving`, beside 0 and 1


class Bounded(NamedTuple):
    """Jitted functions, see `bounded_of`."""

    hold: Callable
    steepest: Callable
    step: Callable


def _chosen(dtype: np.dtype) -> tuple[Callable, Callable]:
    pointer, real = POINTER[dtype], dtype.type
    zero, one = real(0), real(1)

    @loop
    def hold(w, g, low, high, free, moving, P):
        """`moving` is `free`, but 0 where the parameter is held; returns how many are."""
        wv, gv = pointer(w), pointer(g)
        least, most = pointer(low), pointer(high)
        moves, allowed = pointer(moving), pointer(free)
        held = 0
        for j in range(P):
            out = (wv[j] <= least[j] and gv[j] > zero) or (wv[j] >= most[j] and gv[j] < zero)
            moves[j] = zero if out else allowed[j]
            held += 1 if out and allowed[j] != zero else 0
        return held

    @loop
    def steepest(w, g, inverse, low, high, moving, P):
        """The largest entry of ĝ, none longer than the way to its bound; NaN where one is."""
        wv, gv = pointer(w), pointer(g)
        scale, moves = pointer(inverse), pointer(moving)
        least, most = pointer(low), pointer(high)
        largest = zero
        for j in range(P):
            entry = abs(gv[j] * scale[j]) * moves[j]
            room = wv[j] - least[j] if gv[j] > zero else most[j] - wv[j]
            way = room / (scale[j] if scale[j] != zero else one)
            entry = way if way < entry else entry
            largest = entry if not entry <= largest else largest
        return float(largest)

    return hold, steepest


def _active(dtype: np.dtype) -> tuple[Callable, Callable]:
    pointer, zero, let_go = POINTER[dtype], dtype.type(0), dtype.type(_LET_GO)
    rounding = 1e3 * float(np.finfo(dtype).eps)

    @loop
    def pull(G, p, inverse, w, trial, moving, P):
        """Take the pull of those that were set upon their bounds from the right-hand side."""
        wv, to, pv = pointer(w), pointer(trial), pointer(p)
        scale, moves = pointer(inverse), pointer(moving)
        for k in range(P):
            way = to[k] - wv[k]
            if moves[k] != zero or way == zero:
                continue
            for i in range(P):
                if moves[i] != zero:
                    first, last = min(i, k), max(i, k)
                    entry = pointer(G)[first * P + last]
                    pv[i] -= scale[i] * (entry * way)

    @loop
    def release(G, p, g, inverse, mu, w, trial, low, high, free, moving, P):
        """Mark those in `moving` that lower the model when they leave their bounds; how many."""
        pv, gv, wv, to = pointer(p), pointer(g), pointer(w), pointer(trial)
        scale, moves, allowed = pointer(inverse), pointer(moving), pointer(free)
        least, most = pointer(low), pointer(high)
        for k in range(P):
            if moves[k] == zero:
                pv[k] = (to[k] - wv[k]) / scale[k] if scale[k] != zero else zero
        released = 0
        for k in range(P):
            if moves[k] != zero or allowed[k] == zero or scale[k] == zero:
                continue
            slope = float(gv[k]) * float(scale[k])
            size_of = abs(slope)
            for j in range(P):
                first, last = min(j, k), max(j, k)
                entry = pointer(G)[first * P + last]
                term = float(entry) * float(scale[k]) * float(scale[j]) * float(pv[j])
                slope += term
                size_of += abs(term)
            slope += mu * float(pv[k])
            inside = slope < 0.0 if to[k] <= least[k] else (slope > 0.0 and to[k] >= most[k])
            if inside and abs(slope) > rounding * size_of:
                moves[k] = let_go
                released += 1
        return released

    return pull, release


def _measure(dtype: np.dtype) -> Callable:
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    pointer64 = POINTER[np.dtype(np.float64)]

    @loop
    def measure(G, p, g, inverse, w, free, P, out):
        """The fall that the model foresees, |p|² and |D w|²."""
        pv, gv, wv = pointer(p), pointer(g), pointer(w)
        scale, allowed, left = pointer(inverse), pointer(free), pointer64(out)
        foreseen, length, size_w = 0.0, 0.0, 0.0
        for i in range(P):
            row = pointer(G + (i * P + i) * size)
            others, steps = pointer(inverse + i * size), pointer(p + i * size)
            bent = 0.5 * float(row[0]) * float(scale[i]) * float(pv[i])
            for j in range(1, P - i):
                bent += float(row[j]) * (float(others[j]) * float(steps[j]))
            step = float(scale[i]) * float(pv[i])
            foreseen -= step * (float(gv[i]) + bent)
            length += float(pv[i]) * float(pv[i])
            if scale[i] != zero:
                at = float(allowed[i]) * float(wv[i]) / float(scale[i])
                size_w += at * at
        left[0] = foreseen
        left[1] = length
        left[2] = size_w

    return measure


def bounded_of(dtype: np.dtype, damped: Callable, factor: Callable, solve: Callable) -> Bounded:
    """Return what an iteration within bounds needs beside what one without them has."""
    pointer, (pull, release), measure = POINTER[dtype], _active(dtype), _measure(dtype)
    zero, one, let_go = dtype.type(0), dtype.type(1), dtype.type(_LET_GO)

    @loop
    def step(
        product, G, U, g, p, inverse, mu, w, low, high, free, moving, trial, P, buffer, out
    ):  # fmt: skip
        """w + D⁻¹ p into `trial`, and `measure` into `out`; whether the systems were definite."""
        wv, to, pv = pointer(w), pointer(trial), pointer(p)
        scale, moves = pointer(inverse), pointer(moving)
        least, most = pointer(low), pointer(high)
        for j in range(P):
            to[j] = wv[j]
        rounds = 0
        changed = True
        while changed:
            damped(G, U, g, p, inverse, mu, moving, P)
            pull(G, p, inverse, w, trial, moving, P)
            if not factor(product, U, P, buffer):
                return False
            solve(U, P, p)
            changed = False
            if rounds < _ROUNDS:
                rounds += 1
                changed = release(G, p, g, inverse, mu, w, trial, low, high, free, moving, P) > 0
            for j in range(P):
                if moves[j] == let_go:
                    moves[j] = one
                elif moves[j] != zero:
                    at = wv[j] + scale[j] * pv[j]
                    below, above = at < least[j], at > most[j]
                    to[j] = least[j] if below else (most[j] if above else at)
                    if below or above:
                        moves[j] = zero
                        changed = True
        for j in range(P):
            if moves[j] == zero:
                pv[j] = (to[j] - wv[j]) / scale[j] if scale[j] != zero else zero
        measure(G, p, g, inverse, w, free, P, out)
        return True

    return Bounded(*_chosen(dtype), step)
