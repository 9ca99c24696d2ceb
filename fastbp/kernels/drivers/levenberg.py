"""Levenberg–Marquardt: many iterations in one call.

Each iteration solves (G + μ I) h = −g, takes w + h where the loss falls, and sets μ by the gain
ratio ρ = (F(w) − F(w + h)) / (½ h^T (μ h − g)): the fall over the one that the quadratic model
foresaw. (Marquardt's scaling with the diagonal of G in place of I arrives far less often on these
networks: saturated neurons make entries of it vanish.)
"""

from __future__ import annotations

import numpy as np

from ..machine.address import POINTER, allocate, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_batch, call_matrix
from ..machine.levenberg_settings import (
    CURVATURE,
    DAMPING,
    FRESH,
    FTOL,
    GOING,
    GTOL,
    L2,
    LOSS,
    MU,
    N_KEPT,
    N_SETTINGS,
    NIELSEN,
    NOT_FINITE,
    NU,
    ON_TARGET,
    SMALL_GAIN,
    SMALL_GRADIENT,
    SMALL_STEP,
    START,
    STUCK,
    TARGET,
    TOTAL,
    XTOL,
)
from ..machine.places import BATCH, MATRIX, N_INPUTS, N_NEURONS, PRODUCT
from ..machine.records import DONE, NO_MEMORY, Levenberg
from .cholesky import ROWS, cholesky_of, solve_of
from .passes import passes

_LARGEST_DAMPING = 1e30
_LEAST_DAMPING = 1e-30
_FACTOR = 10.0  # Marquardt's ν


def levenberg(dtype: np.dtype) -> Kernel:
    """Make the unit of the whole optimiser.

    ``levenberg(plan, loss, w, X, B, t, c, settings, kept, g, G, free, n, history, result)``

    At most `n` iterations from w, which is overwritten; `history` (float64) receives the loss
    after each. g, G and `kept` go from call to call: FRESH is 0 where they don't belong to w,
    and iterations are the same however many calls they are spread over. ``result[0]`` receives
    why it ended and ``result[1]`` the number of iterations.
    """
    p = passes(dtype)
    pointer, size, real = p.pointer, p.size, p.real
    lines, penalty = p.lines, p.penalty
    pointer64 = POINTER[np.dtype(np.float64)]
    factor, solve = cholesky_of(dtype), solve_of(dtype)
    zero, one = real(0), real(1)

    @loop
    def damped(G, U, g, h, mu, free, P):
        """U = G + μ I and h = −g; the parameters that don't move are taken out."""
        moves = view(pointer(free), P)
        gv = view(pointer(g), P)
        hv = view(pointer(h), P)
        for i in range(P):
            source = view(pointer(G + (i * P + i) * size), P - i)
            target = view(pointer(U + (i * P + i) * size), P - i)
            some = view(pointer(free + i * size), P - i)
            for j in range(P - i):
                target[j] = source[j] * (moves[i] * some[j])
            target[0] = target[0] + real(mu) if moves[i] != zero else one
            hv[i] = -gv[i] * moves[i]

    def levenberg(plan, loss, w, X, B, t, c, settings, kept, g, G, free, n, history, result):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        P = H * (N + 1)
        s = view(pointer64(settings), N_SETTINGS)
        state = view(pointer64(kept), N_KEPT)
        losses = view(pointer64(history), n)
        out = view(pointer64(result), 2)
        wv = view(pointer(w), P)
        gv = view(pointer(g), P)
        moves = view(pointer(free), P)
        nielsen = s[DAMPING] == NIELSEN
        scale = 1.0 / s[TOTAL]
        own = allocate((P * P + (2 + ROWS) * P) * size + 5 * 64)
        if own == 0:
            return NO_MEMORY
        U = (own + 63) // 64 * 64
        h = U + lines(P * P)
        w_ = h + lines(P)
        buffer = w_ + lines(P)
        hv = view(pointer(h), P)
        trial = view(pointer(w_), P)
        reason = GOING
        done = 0
        while done < n:
            if state[FRESH] == 0.0:
                curvature = int(s[CURVATURE])
                status = call_matrix(
                    load(plan, MATRIX),
                    plan=plan,
                    loss=loss,
                    w=w,
                    X=X,
                    B=B,
                    t=t,
                    c=c,
                    scale=scale,
                    curvature=curvature,
                    g=g,
                    G=G,
                    mirror=0,
                    result=result,
                )
                if status == NO_MEMORY:
                    release(own)
                    return NO_MEMORY
                if state[MU] == 0.0:  # afterwards it is the one summed as the trials' are
                    state[LOSS] = out[0] * scale + penalty(s[L2], w, 0, P)
                if s[L2] != 0.0:
                    for i in range(P):
                        gv[i] += real(s[L2]) * wv[i]
                        view(pointer(G + (i * P + i) * size), 1)[0] += real(s[L2])
                if state[MU] == 0.0:
                    top = zero
                    for i in range(P):
                        top = max(top, moves[i] * view(pointer(G + (i * P + i) * size), 1)[0])
                    state[MU] = s[START] * float(top)
                    state[NU] = 2.0
                state[FRESH] = 1.0
            largest = zero
            for i in range(P):
                largest = max(largest, abs(gv[i]) * moves[i])
            if not (abs(state[LOSS]) < np.inf and float(largest) < np.inf):
                reason = NOT_FINITE
            elif float(largest) <= s[GTOL]:
                reason = SMALL_GRADIENT
            elif state[MU] > _LARGEST_DAMPING:
                reason = STUCK
            if state[LOSS] <= s[TARGET]:
                reason = ON_TARGET
            if reason != GOING:
                break
            gain = -1.0
            fall = 0.0
            value = 0.0
            damped(G, U, g, h, state[MU], free, P)
            if factor(product, U, P, buffer):
                solve(U, P, h)
                length = zero
                size_w = zero
                foreseen = zero
                for i in range(P):
                    foreseen += hv[i] * (real(state[MU]) * hv[i] - gv[i])
                    length += hv[i] * hv[i]
                    size_w += wv[i] * wv[i]
                    trial[i] = wv[i] + hv[i]
                if float(length) <= s[XTOL] * s[XTOL] * (float(size_w) + s[XTOL]):
                    reason = SMALL_STEP
                    break
                status = call_batch(
                    load(plan, BATCH),
                    plan=plan,
                    loss=loss,
                    w=w_,
                    X=X,
                    B=B,
                    t=t,
                    c=c,
                    scale=scale,
                    part=B,
                    result=result,
                )
                if status == NO_MEMORY:
                    release(own)
                    return NO_MEMORY
                value = out[0] * scale + penalty(s[L2], w_, 0, P)
                fall = state[LOSS] - value
                # Not foreseen > 0 only where rounding has taken over.
                if fall > 0.0 and foreseen > zero:
                    gain = 2.0 * fall / float(foreseen)
            if gain > 0.0:
                least = s[FTOL] * abs(state[LOSS])
                small = fall <= least and 0.5 * float(foreseen) <= least
                for i in range(P):
                    wv[i] = trial[i]
                state[LOSS] = value
                state[FRESH] = 0.0
                if nielsen:
                    state[MU] *= max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3)
                else:
                    state[MU] /= _FACTOR
                state[MU] = max(state[MU], _LEAST_DAMPING)
                state[NU] = 2.0
                if small:
                    reason = SMALL_GAIN
                if value <= s[TARGET]:
                    reason = ON_TARGET
            else:
                state[MU] *= state[NU] if nielsen else _FACTOR
                state[NU] *= 2.0
            losses[done] = state[LOSS]
            done += 1
            if reason != GOING:
                break
        release(own)
        out[0] = float(reason)
        out[1] = float(done)
        return DONE

    return Kernel(levenberg, Levenberg)
