"""Levenberg–Marquardt: many iterations in one call.

Each iteration solves (Ĝ + μ I) p = −ĝ with Ĝ = D⁻¹ G D⁻¹ and ĝ = D⁻¹ g, takes w + D⁻¹ p where the
loss falls, and sets μ by the gain ratio ρ = (F(w) − F(w + D⁻¹ p)) / (½ p^T (μ p − ĝ)): the fall
over the one that the quadratic model foresaw (Nielsen 1999).

- *Scale.* D_j² is the running maximum of G_jj (Moré 1978), drawn towards the largest one of j's
  kind: own^(1/m) top^(1 − 1/m) for m parameters of a kind, one input's weights of like neurons. So
  units of inputs and targets cancel, and saturated neurons, whose columns vanish, do not run away.
- *Stops.* Only where no damping holds the step back, at μ = P ε: a foreseen fall of at most ftol
  times the size of the loss, or |p| ≤ xtol |D w|; or a gradient of at most gtol in the scale of its
  columns. And only where no parameter alone would lower the loss by more, by its column as it is
  there: D remembers far larger ones, beside which all steps and gradients look small. Where steps
  become small at a larger μ, D is made anew, μ set to P ε, and the next prediction decides; after
  three such questions the run is stalled, and says so. Where the loss is flat to rounding, undamped
  steps go on while they lessen what the gradients foresee, which see more; where that is not
  enough, the run says that rounding ended it.
- *Bounds.* `bounded`; no stop is taken while a gradient remains that the bounds leave room for.
- *Second run.* A stalled run begins once more at its start, with much damping and Moré's D; the
  better of both is kept.

J. J. Moré: The Levenberg–Marquardt algorithm: implementation and theory, LNM 630 (1978).
H. B. Nielsen: Damping parameter in Marquardt's method, IMM-REP-1999-05, DTU (1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..machine.address import POINTER, allocate, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_batch, call_matrix
from ..machine.levenberg_settings import (
    ASKED,
    BEGUN,
    CURVATURE,
    DAMPING,
    FIRST_LOSS,
    FRESH,
    FTOL,
    GOING,
    GTOL,
    HELD,
    L2,
    LOSS,
    MU,
    N_KEPT,
    N_SETTINGS,
    NIELSEN,
    NOT_FINITE,
    NOTHING_FREE,
    NU,
    ON_TARGET,
    RMS,
    ROUNDED,
    SADDLE,
    SECOND,
    SIZE,
    SMALL_GAIN,
    SMALL_GRADIENT,
    SMALL_STEP,
    STALLED,
    START,
    STEPS,
    STUCK,
    TARGET,
    TOTAL,
    TRUSTED,
    XTOL,
)
from ..machine.places import BATCH, MATRIX, N_PARAMS, PRODUCT
from ..machine.records import DONE, NO_MEMORY, Levenberg
from .bounded import bounded_of
from .cholesky import ROWS, cholesky_of, solve_of
from .passes import passes
from .penalty import penalty_of

_LARGEST_DAMPING, _PARALYSED = 1e30, 1e20
_FACTOR = 10.0  # Marquardt's ν
_QUESTIONS = 3
_SECOND_DAMPING = 100.0


def _scale_of(dtype: np.dtype) -> Callable:
    """Return the jitted step that makes 1 / D of the diagonal of G."""
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    pointer64, pointer_int = POINTER[np.dtype(np.float64)], POINTER[np.dtype(np.int64)]
    zero = real(0)

    @loop
    def scale(G, own, kinds, alone, tops, inverse, P):
        """`own` grows to the diagonal; `tops` has room for the largest and the number of a kind."""
        mine = view(pointer64(own), P)
        kind = view(pointer_int(kinds), P)
        top, count = view(pointer64(tops), P), view(pointer64(tops + 8 * P), P)
        out = view(pointer(inverse), P)
        for j in range(P):
            mine[j] = max(mine[j], float(view(pointer(G + (j * P + j) * size), 1)[0]))
            top[j] = 0.0
            count[j] = 0.0
        for j in range(P):
            k = kind[j]
            top[k] = max(top[k], mine[j])
            count[k] += 1.0
        for j in range(P):
            square = mine[j]
            k = kind[j]
            if not alone and count[k] > 1.0 and square > 0.0:
                square = top[k] * math.pow(square / top[k], 1.0 / count[k])
            # A column of zeros moves nothing, and has no part in the length of D w.
            out[j] = real(1.0 / math.sqrt(square)) if square > 0.0 else zero

    return scale


def _damped_of(dtype: np.dtype) -> Callable:
    """Return the jitted step that makes the system of an iteration."""
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero, one = real(0), real(1)

    @loop
    def damped(G, U, g, p, inverse, mu, free, P):
        """U = Ĝ + μ I and p = −ĝ; the parameters that don't move are taken out."""
        moves = view(pointer(free), P)
        gv, pv, scale = view(pointer(g), P), view(pointer(p), P), view(pointer(inverse), P)
        for i in range(P):
            source = view(pointer(G + (i * P + i) * size), P - i)
            target = view(pointer(U + (i * P + i) * size), P - i)
            some = view(pointer(free + i * size), P - i)
            others = view(pointer(inverse + i * size), P - i)
            row = moves[i] * scale[i]
            for j in range(P - i):
                target[j] = source[j] * (row * (some[j] * others[j]))
            target[0] = target[0] + real(mu) if moves[i] != zero else one
            pv[i] = -gv[i] * row

    return damped


def levenberg(dtype: np.dtype) -> Kernel:
    """Make the kernel of the whole optimiser.

    At most `n` iterations from w, which is overwritten; `history` (float64) receives the loss
    after each. g, G, `kept`, `own` (float64) and `starts` (where it began, and where a first
    run ended) go from call to call: FRESH is 0 where g and G don't belong to w, and iterations
    are the same however many calls they are spread over. `kinds` (int64) numbers the kind of
    each parameter, below P. `each` is 0, or what l2 is multiplied by for each parameter
    (`penalty`); `low` and `high` are 0, or the least and the largest values, which w keeps to.
    ``result[0]`` receives why it ended, ``result[1]`` the number of iterations.
    """
    p_ = passes(dtype)
    pointer, size, real = p_.pointer, p_.size, p_.real
    lines, penalty = p_.lines, penalty_of(dtype)
    pointer64 = POINTER[np.dtype(np.float64)]
    factor, solve = cholesky_of(dtype), solve_of(dtype)
    scale_of, damped = _scale_of(dtype), _damped_of(dtype)
    bounded = bounded_of(dtype, damped, factor, solve)
    hold, steepest_within, step_within = bounded
    zero = real(0)
    epsilon = float(np.finfo(dtype).eps)

    @loop
    def copied(source, target, P):
        given, out = view(pointer(source), P), view(pointer(target), P)
        for j in range(P):
            out[j] = given[j]

    @loop
    def with_penalty(l2, each, w, g, G, P):
        """Add λ_j w_j to g and λ_j to the diagonal of G."""
        wv, gv, factors = view(pointer(w), P), view(pointer(g), P), view(pointer64(each), P)
        for j in range(P):
            own = real(l2 * factors[j]) if each else real(l2)
            gv[j] += own * wv[j]
            view(pointer(G + (j * P + j) * size), 1)[0] += own

    @loop
    def steepest(g, inverse, free, P):
        """The largest entry of ĝ; NaN where one is."""
        gv, scale, moves = view(pointer(g), P), view(pointer(inverse), P), view(pointer(free), P)
        largest = zero
        for j in range(P):
            entry = abs(gv[j] * scale[j]) * moves[j]
            largest = entry if not entry <= largest else largest
        return float(largest)

    @loop
    def alone(w, g, G, low, high, free, P):
        """The largest fall that the model foresees of a single parameter, by G as it is here."""
        wv, gv, moves = view(pointer(w), P), view(pointer(g), P), view(pointer(free), P)
        largest = 0.0
        for j in range(P):
            slope = abs(float(gv[j]))
            bent = float(view(pointer(G + (j * P + j) * size), 1)[0])
            if moves[j] == zero or slope == 0.0 or not bent > 0.0:
                continue
            way = slope / bent
            if low:
                least, most = view(pointer(low), P)[j], view(pointer(high), P)[j]
                way = min(way, float(wv[j] - least if gv[j] > zero else most - wv[j]))
            largest = max(largest, way * (slope - 0.5 * bent * way))
        return largest

    @loop
    def stepped(w, p, g, inverse, free, mu, trial, P, out):
        """w + D⁻¹ p; leaves the foreseen fall, |p|² and |D w|² in `out`."""
        wv, pv, gv = view(pointer(w), P), view(pointer(p), P), view(pointer(g), P)
        scale, moves = view(pointer(inverse), P), view(pointer(free), P)
        target, left = view(pointer(trial), P), view(pointer64(out), 3)
        foreseen, length, size_w = 0.0, 0.0, 0.0
        for j in range(P):
            step = float(pv[j]) * float(moves[j])
            foreseen += step * (mu * step - float(gv[j]) * float(scale[j]))
            length += step * step
            if scale[j] != zero:
                at = float(moves[j]) * float(wv[j]) / float(scale[j])
                size_w += at * at
            target[j] = wv[j] + moves[j] * (scale[j] * pv[j])
        left[0] = 0.5 * foreseen
        left[1] = length
        left[2] = size_w

    def levenberg(
        plan,
        loss,
        w,
        X,
        B,
        t,
        c,
        settings,
        kept,
        own,
        kinds,
        starts,
        g,
        G,
        free,
        each,
        low,
        high,
        n,
        history,
        result,
    ):
        P = load(plan, N_PARAMS)
        s = view(pointer64(settings), N_SETTINGS)
        state = view(pointer64(kept), N_KEPT)
        losses = view(pointer64(history), n)
        out = view(pointer64(result), 2)
        nielsen = s[DAMPING] == NIELSEN
        scale = 1.0 / s[TOTAL]
        ftol = max(s[FTOL], 10.0 * epsilon) if s[FTOL] > 0.0 else 0.0
        stops = s[FTOL] > 0.0 or s[XTOL] > 0.0
        n_free = 0.0
        for j in range(P):
            n_free += float(view(pointer(free + j * size), 1)[0])
        least = n_free * epsilon
        memory = allocate((P * P + (4 + ROWS) * P) * size + 16 * P + 10 * 64)
        if memory == 0:
            return NO_MEMORY
        U = (memory + 63) // 64 * 64
        p = U + lines(P * P)
        trial = p + lines(P)
        inverse = trial + lines(P)
        moving = inverse + lines(P)
        tops = moving + lines(P)
        made = (tops + 16 * P + 63) // 64 * 64
        buffer = made + 64
        found = view(pointer64(made), 3)
        rescale = True
        reason = GOING
        done = 0
        if state[BEGUN] == 0.0 and state[SECOND] == 0.0:
            copied(w, starts, P)
            state[MU] = s[START]
            state[NU] = 2.0
            state[TRUSTED] = np.inf
        if n_free == 0.0:
            reason = NOTHING_FREE
        while reason == GOING and done < n:
            if state[SECOND] < 0.0:  # only now: until here w is what the last loss is of
                copied(w, starts + P * size, P)
                copied(starts, w, P)
                state[FIRST_LOSS] = state[LOSS]
                state[SECOND] = 1.0
                state[BEGUN] = 0.0
                state[FRESH] = 0.0
                state[ASKED] = 0.0
                state[STEPS] = 0.0
                state[TRUSTED] = np.inf
                state[MU] = _SECOND_DAMPING
                state[NU] = 2.0
            if state[FRESH] == 0.0:
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
                    curvature=int(s[CURVATURE]),
                    g=g,
                    G=G,
                    mirror=0,
                    result=result,
                )
                if status == NO_MEMORY:
                    release(memory)
                    return NO_MEMORY
                if state[BEGUN] == 0.0:  # afterwards it is the one summed as the trials' are
                    state[LOSS] = out[0] * scale + penalty(s[L2], each, w, 0, P)
                    state[BEGUN] = 1.0
                if s[L2] != 0.0:
                    with_penalty(s[L2], each, w, g, G, P)
                state[FRESH] = 1.0
                rescale = True
            if rescale:
                scale_of(G, own, kinds, state[SECOND] != 0.0, tops, inverse, P)
                rescale = False
            held = 0
            if low:
                held = hold(w, g, low, high, free, moving, P)
                largest = steepest_within(w, g, inverse, low, high, moving, P)
            else:
                largest = steepest(g, inverse, free, P)
            size_of_loss = abs(state[LOSS]) if s[SIZE] < 0.0 else s[SIZE]
            rounding = abs(state[LOSS]) + math.sqrt(abs(state[LOSS])) * s[RMS]
            rounding *= 4.0 * epsilon
            quiet = max(ftol * size_of_loss, rounding)
            # What gradients can tell, which see residuals and not their squares.
            nothing = max(s[FTOL] * size_of_loss, (2.0 * epsilon * s[RMS]) ** 2)
            single = alone(w, g, G, low, high, free, P)
            if not (abs(state[LOSS]) < np.inf and largest < np.inf):
                reason = NOT_FINITE
            elif largest <= s[GTOL] * math.sqrt(2.0 * size_of_loss) and single <= max(
                nothing, s[GTOL] * s[GTOL] * size_of_loss
            ):
                exact = largest == 0.0 and held == 0 and state[STEPS] == 0.0
                reason = SADDLE if exact and state[LOSS] > quiet else SMALL_GRADIENT
            elif state[MU] > _LARGEST_DAMPING:
                reason = STUCK
            if state[LOSS] <= s[TARGET]:
                reason = ON_TARGET
            if reason != GOING:
                break
            small = False
            moved = False
            product = load(plan, PRODUCT)
            if low:
                definite = step_within(
                    product, G, U, g, p, inverse, state[MU], w, low, high, free, moving, trial, P,
                    buffer, made,
                )  # fmt: skip
            else:
                damped(G, U, g, p, inverse, state[MU], free, P)
                definite = factor(product, U, P, buffer)
                if definite:
                    solve(U, P, p)
                    stepped(w, p, g, inverse, free, state[MU], trial, P, made)
            if definite:
                foreseen = found[0]
                short = found[1] <= s[XTOL] * s[XTOL] * found[2]
                # D remembers slopes from far away, and parameters may be held wrongly at their
                # bounds: neither hides what one of them would lower the loss by.
                still = single <= nothing or (
                    short and single <= s[XTOL] * s[XTOL] * s[RMS] * s[RMS]
                )
                undamped = stops and state[MU] <= least and (low == 0 or foreseen >= -quiet)
                surely = undamped and single <= 0.25 * nothing and state[HELD] != 0.0
                if undamped and (
                    (still and (short or foreseen <= nothing))
                    or (surely and foreseen <= 100.0 * ftol * size_of_loss)
                ):
                    reason = SMALL_STEP if short else SMALL_GAIN
                    if not foreseen > rounding:
                        break
                # Where the loss is flat to rounding, steps are taken while they lessen what the
                # gradients foresee.
                trusted = undamped and single <= quiet and nothing < foreseen <= quiet
                if trusted and foreseen > 0.9 * state[TRUSTED]:
                    reason = SMALL_GAIN if still else ROUNDED
                    break
                state[HELD] = 0.0
                status = call_batch(
                    load(plan, BATCH),
                    plan=plan,
                    loss=loss,
                    w=trial,
                    X=X,
                    B=B,
                    t=t,
                    c=c,
                    scale=scale,
                    result=result,
                )
                if status == NO_MEMORY:
                    release(memory)
                    return NO_MEMORY
                value = out[0] * scale + penalty(s[L2], each, trial, 0, P)
                fall = state[LOSS] - value
                if reason != GOING:  # the last step is taken where the model is right about it
                    if abs(fall - foreseen) <= 0.25 * foreseen:
                        copied(trial, w, P)
                        state[LOSS] = value
                        state[FRESH] = 0.0
                        losses[done] = value
                        done += 1
                    break
                small = (
                    short
                    or (abs(fall) <= ftol * size_of_loss and foreseen <= ftol * size_of_loss)
                    or foreseen <= 0.01 * quiet
                    or state[MU] > _PARALYSED
                )
                moved = fall > 0.0 and foreseen > 0.0
                if trusted:
                    if not fall >= -0.25 * rounding:
                        reason = SMALL_GAIN if still else ROUNDED
                        break
                    state[TRUSTED] = foreseen
                    moved, small = True, False
                if moved:
                    copied(trial, w, P)
                    state[LOSS] = value
                    state[FRESH] = 0.0
                    state[NU] = 2.0
                    if not trusted:
                        gain = fall / foreseen
                        shrink = max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3)
                        state[MU] = max(least, state[MU] * (shrink if nielsen else 1.0 / _FACTOR))
                    if value <= s[TARGET]:
                        reason = ON_TARGET
            if not definite:
                state[HELD] = 0.0
                state[MU] = _FACTOR * max(state[MU], least)
            elif not moved:
                state[MU] *= state[NU] if nielsen else _FACTOR
                state[NU] *= 2.0
            losses[done] = state[LOSS]
            done += 1
            state[STEPS] += 1.0
            if reason != GOING or not (stops and small):
                continue
            mine = view(pointer64(own), P)
            for j in range(P):
                mine[j] = 0.0
            rescale = True
            if state[ASKED] < _QUESTIONS:  # stationary, or only held back by the damping?
                state[ASKED] += 1.0
                state[HELD] = 1.0
                state[MU] = least
                state[NU] = 2.0
            elif (
                (low or each)
                and 0.5 * largest * largest <= 0.01 * ftol * size_of_loss
                and single <= nothing
            ):
                # Undamped steps in a valley that bounds cut across, or along which only some
                # parameters are penalised, are no good ones: the gradient decides.
                reason = SMALL_GAIN
            elif rounding > s[FTOL] * size_of_loss and single <= quiet:
                reason = ROUNDED
            elif state[SECOND] != 0.0:
                reason = STALLED
            else:
                state[SECOND] = -1.0
        release(memory)
        out[0] = float(reason)
        out[1] = float(done)
        return DONE

    return Kernel(levenberg, Levenberg)
