"""Levenberg–Marquardt: many iterations in one call.

Each iteration solves (Ĝ + μ I) p = −ĝ with Ĝ = D⁻¹ G D⁻¹ and ĝ = D⁻¹ g, takes w + D⁻¹ p where the
loss falls, and sets μ by the gain ratio ρ = (F(w) − F(w + D⁻¹ p)) / (½ p^T (μ p − ĝ)): the fall
over the one that the quadratic model foresaw (Nielsen 1999).

- *Scale.* D_j² is the running maximum of G_jj (Moré 1978), drawn towards the largest one of j's
  kind: own^(1/m) top^(1 − 1/m) for m parameters of a kind, one input's weights of like neurons. So
  units of inputs and targets cancel, and saturated neurons, whose columns vanish, do not run away.
- *Second order.* Where the squared loss of 64 parameters or more is foreseen to fall by 2 % of it,
  and falls by 25 % more or less than that, or rises, the residuals bend along p, by r_vv. Then a
  step that half of −(Ĝ + μ I)⁻¹ D⁻¹ J^T r_vv is added to, by the same factors, is tried too, and
  the better of both is taken (Transtrum & Sethna 2012). With r_vv =
  2 (r(w + D⁻¹ p) − r(w) − J D⁻¹ p) what is added is −(Ĝ + μ I)⁻¹ (D⁻¹ J^T r(w + D⁻¹ p) + μ p).
  Not within bounds.
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
M. K. Transtrum, J. P. Sethna: Improvements to the Levenberg–Marquardt algorithm for nonlinear
least-squares minimization, arXiv:1201.5885 (2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine import levenberg_settings as lm
from ..machine.address import POINTER, allocate, load, release
from ..machine.build import Kernel, loop, scalar
from ..machine.callers import call_batch, call_matrix
from ..machine.places import (
    BATCH,
    ELSEWHERE,
    FORWARD,
    MATRIX,
    N_OUTPUTS,
    N_PARAMS,
    PRODUCT,
    REST,
    WHOLE,
)
from ..machine.records import DONE, NO_MEMORY, Levenberg
from ..machine.workspace import give_back
from .bounded import bounded_of
from .cholesky import ROWS, cholesky_of, solve_of
from .matrix import is_one_chunk_of
from .passes import passes
from .penalty import penalty_of

_LARGEST_DAMPING, _PARALYSED = 1e30, 1e20
_FACTOR = 10.0  # Marquardt's ν
_QUESTIONS = 3
_SECOND_DAMPING = 100.0
_BENT = 0.25  # of the foreseen fall: how far off it is where residuals bend
_WORTH = 0.02  # of the loss: where less is to fall, as on noise, few iterations are saved by it
_LONG, _LEFT = 64, 1e-13  # iterations, and the part of the loss, from which an end is slow
_LEAST_BENT = 64  # parameters: a smaller matrix costs no more than the four passes that it takes


class Data(NamedTuple):
    """What the loss is a function of w by: tables, addresses, and the penalty."""

    plan: int
    loss: int
    X: int
    B: int
    t: int
    c: int
    scale: float
    l2: float
    each: int
    kept: int  # what `matrix` keeps between a trial's loss and the matrix there; or 0


class Room(NamedTuple):
    """Memory of an iteration, addresses."""

    U: int  # P × P, and the others P numbers each
    p: int
    trial: int
    bent: int  # the trial of second order
    slope: int  # J^T r there
    inverse: int
    moving: int
    tops: int  # 2 P of float64
    found: int  # three of float64: what a step foresees
    chunk: int  # one of int64: what `matrix` keeps
    buffer: int


class Levels(NamedTuple):
    """How small is small at w."""

    size: float  # of the loss
    ftol: float
    rounding: float
    quiet: float
    nothing: float  # what gradients can tell, which see residuals and not their squares


class Slopes(NamedTuple):
    """What g says at w: the largest entry of ĝ, the most that a parameter alone would gain."""

    largest: float
    single: float
    held: int  # parameters at their bounds


class Foreseen(NamedTuple):
    """What the model says of a step."""

    fall: float
    short: bool
    still: bool
    trusted: bool  # by gradients alone
    reason: int
    is_tried: bool


def _scale_of(dtype: np.dtype) -> Callable:
    """Return the jitted step that makes 1 / D of the diagonal of G."""
    pointer, real = POINTER[dtype], dtype.type
    pointer64, pointer_int = POINTER[np.dtype(np.float64)], POINTER[np.dtype(np.int64)]
    zero = real(0)

    @loop
    def scale(G, own, kinds, alone, tops, inverse, P):
        """`own` grows to the diagonal; `tops` has room for the largest and the number of a kind."""
        mine, kind, out = pointer64(own), pointer_int(kinds), pointer(inverse)
        top, count = pointer64(tops), pointer64(tops + 8 * P)
        for j in range(P):
            mine[j] = max(mine[j], float(pointer(G)[j * P + j]))
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
        moves, gv, pv, scale = pointer(free), pointer(g), pointer(p), pointer(inverse)
        for i in range(P):
            source, target = pointer(G + (i * P + i) * size), pointer(U + (i * P + i) * size)
            some, others = pointer(free + i * size), pointer(inverse + i * size)
            row = moves[i] * scale[i]
            for j in range(P - i):
                target[j] = source[j] * (row * (some[j] * others[j]))
            target[0] = target[0] + real(mu) if moves[i] != zero else one
            pv[i] = -gv[i] * row

    return damped


def _room_of(dtype: np.dtype) -> tuple[Callable, Callable]:
    """Return the jitted steps to the memory of an iteration, and to the least damping."""
    pointer, lines, epsilon = POINTER[dtype], passes(dtype).lines, float(np.finfo(dtype).eps)
    integers = POINTER[np.dtype(np.int64)]

    @loop
    def room_of(memory, P):
        U = (memory + 63) // 64 * 64
        p, line = U + lines(P * P), lines(P)
        tops = p + 6 * line
        found = (tops + 16 * P + 63) // 64 * 64
        chunk = found + 24
        integers(chunk)[0] = 0
        return Room(
            U, p, p + line, p + 2 * line, p + 3 * line, p + 4 * line, p + 5 * line, tops, found,
            chunk, found + 64,
        )  # fmt: skip

    @loop
    def least_damping(free, P):
        n_free = 0.0
        for j in range(P):
            n_free += float(pointer(free)[j])
        return n_free * epsilon

    return room_of, least_damping


def _sums_of(dtype: np.dtype) -> tuple[Callable, Callable, Callable]:
    """Return the jitted steps over the observations: for g and G, the loss, r and J apart."""
    pointer, real, penalty, size = POINTER[dtype], dtype.type, penalty_of(dtype), dtype.itemsize
    pointer64 = POINTER[np.dtype(np.float64)]

    @loop
    def with_penalty(l2, each, w, g, G, P):
        """Add λ_j w_j to g and, unless that is 0, λ_j to the diagonal of G."""
        wv, gv, factors = pointer(w), pointer(g), pointer64(each)
        for j in range(P):
            own = real(l2 * factors[j]) if each else real(l2)
            gv[j] += own * wv[j]
            if G:
                pointer(G)[j * P + j] += own

    @scalar
    def weighed(residual, factor, scale):
        return residual * factor * scale  # in the order of `calls.shared_work`

    @loop
    def cotangents(y, data, K):
        """Residuals in place of values, as the gradient of the squared loss weighs them."""
        values, targets, factors = pointer(y), pointer(data.t), pointer(data.c)
        scale = real(data.scale)
        for b in range(data.B):
            for k in range(b * K, (b + 1) * K):
                residual = values[k] - targets[k]
                values[k] = weighed(residual, factors[b] if data.c else real(1), scale)

    @loop
    def across(data, w, trial, P, g, result):
        """J^T r with J at w and r at the trial, of the squared loss; whether there was memory."""
        elsewhere, K = load(data.plan, ELSEWHERE), load(data.plan, N_OUTPUTS)
        n, run = (0, elsewhere) if elsewhere else (data.B * K, load(data.plan, BATCH))
        values = allocate(n * size + 64)
        if values == 0:
            return False
        at, y, ybar, gradient, status = trial, values, 0, 0, DONE
        if elsewhere:
            at, y, ybar, gradient = w, 0, trial, g
        while status != NO_MEMORY and at:
            status = call_batch(
                run, plan=data.plan, w=at, X=data.X, B=data.B, c=data.c, scale=data.scale,
                ybar=ybar, y=y, g=gradient, result=result,
            )  # fmt: skip
            if y and status != NO_MEMORY:
                cotangents(values, data, K)
            at, y, ybar, gradient = w if y else 0, 0, values, g
        release(values)
        if data.l2 != 0.0:
            with_penalty(data.l2, data.each, trial, g, 0, P)
        return status != NO_MEMORY

    @loop
    def matrix(data, w, g, G, curvature, stage, state, P, result):
        """g and G at w; whether there was memory."""
        status = call_matrix(
            load(data.plan, MATRIX), plan=data.plan, loss=data.loss, w=w, X=data.X, B=data.B,
            t=data.t, c=data.c, scale=data.scale, curvature=curvature, g=g, G=G, mirror=0,
            kept=data.kept, stage=stage, result=result,
        )  # fmt: skip
        if status == NO_MEMORY:
            return False
        if state[lm.BEGUN] == 0.0:  # afterwards it is the one summed as the trials' are
            first = pointer64(result)[0] * data.scale
            state[lm.LOSS] = first + penalty(data.l2, data.each, w, 0, P)
            state[lm.BEGUN] = 1.0
        if data.l2 != 0.0:
            with_penalty(data.l2, data.each, w, g, G, P)
        state[lm.FRESH] = 1.0
        return True

    @loop
    def loss_at(data, w, curvature, P, result):
        """The loss at w, and whether there was memory."""
        if data.kept:
            status = call_matrix(
                load(data.plan, MATRIX), plan=data.plan, loss=data.loss, w=w, X=data.X, B=data.B,
                t=data.t, c=data.c, scale=data.scale, curvature=curvature, g=0, G=0, mirror=0,
                kept=data.kept, stage=FORWARD, result=result,
            )  # fmt: skip
        else:
            status = call_batch(
                load(data.plan, BATCH), plan=data.plan, loss=data.loss, w=w, X=data.X, B=data.B,
                t=data.t, c=data.c, scale=data.scale, result=result,
            )  # fmt: skip
        total = pointer64(result)[0]
        return total * data.scale + penalty(data.l2, data.each, w, 0, P), status != NO_MEMORY

    return matrix, loss_at, across


@loop
def _give_back(memory, data):
    """Release the memory of the iterations."""
    if data.kept and load(data.kept, 0):
        give_back(data.plan, load(data.kept, 0))
    release(memory)


def _free_of(dtype: np.dtype) -> tuple[Callable, Callable, Callable]:
    """Return the jitted steps to what g alone says, and to a step where there are no bounds."""
    pointer, zero = POINTER[dtype], dtype.type(0)
    pointer64 = POINTER[np.dtype(np.float64)]

    @loop
    def steepest(g, inverse, free, P):
        """The largest entry of ĝ; NaN where one is."""
        gv, scale, moves = pointer(g), pointer(inverse), pointer(free)
        largest = zero
        for j in range(P):
            entry = abs(gv[j] * scale[j]) * moves[j]
            largest = entry if not entry <= largest else largest
        return float(largest)

    @loop
    def alone(w, g, G, low, high, free, P):
        """The largest fall that the model foresees of a single parameter, by G as it is here."""
        wv, gv, moves = pointer(w), pointer(g), pointer(free)
        largest = 0.0
        for j in range(P):
            slope = abs(float(gv[j]))
            bent = float(pointer(G)[j * P + j])
            if moves[j] == zero or slope == 0.0 or not bent > 0.0:
                continue
            way = slope / bent
            if low:
                least, most = pointer(low)[j], pointer(high)[j]
                way = min(way, float(wv[j] - least if gv[j] > zero else most - wv[j]))
            largest = max(largest, way * (slope - 0.5 * bent * way))
        return largest

    @loop
    def stepped(w, p, g, inverse, free, mu, trial, P, out):
        """w + D⁻¹ p; leaves the foreseen fall, |p|² and |D w|² in `out`."""
        wv, pv, gv = pointer(w), pointer(p), pointer(g)
        scale, moves = pointer(inverse), pointer(free)
        target, left = pointer(trial), pointer64(out)
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

    return steepest, alone, stepped


def _stops_of(dtype: np.dtype) -> tuple[Callable, Callable, Callable, Callable]:
    """Return the jitted steps that decide, in the order in which an iteration asks them.

    s and `state` are the settings and what is kept.
    """
    epsilon = float(np.finfo(dtype).eps)

    @loop
    def levels_of(s, state):
        ftol = max(s[lm.FTOL], 10.0 * epsilon) if s[lm.FTOL] > 0.0 else 0.0
        size = abs(state[lm.LOSS]) if s[lm.SIZE] < 0.0 else s[lm.SIZE]
        rounding = abs(state[lm.LOSS]) + math.sqrt(abs(state[lm.LOSS])) * s[lm.RMS]
        rounding *= 4.0 * epsilon
        quiet = max(ftol * size, rounding)
        nothing = max(s[lm.FTOL] * size, (2.0 * epsilon * s[lm.RMS]) ** 2)
        return Levels(size, ftol, rounding, quiet, nothing)

    @loop
    def ended(s, state, levels, slopes):
        """Why it ends at w, before any step, or GOING."""
        reason = lm.GOING
        if not (abs(state[lm.LOSS]) < np.inf and slopes.largest < np.inf):
            reason = lm.NOT_FINITE
        elif slopes.largest <= s[lm.GTOL] * math.sqrt(2.0 * levels.size) and slopes.single <= max(
            levels.nothing, s[lm.GTOL] * s[lm.GTOL] * levels.size
        ):
            exact = slopes.largest == 0.0 and slopes.held == 0 and state[lm.STEPS] == 0.0
            is_saddle = exact and state[lm.LOSS] > levels.quiet
            reason = lm.SADDLE if is_saddle else lm.SMALL_GRADIENT
        elif state[lm.MU] > _LARGEST_DAMPING:
            reason = lm.STUCK
        if state[lm.LOSS] <= s[lm.TARGET]:
            reason = lm.ON_TARGET
        return reason

    @loop
    def judged(s, state, levels, single, found, least, bounds):
        """What the model says of a step that `found` is of, and whether it is the last."""
        foreseen, reason, is_tried = found[0], lm.GOING, True
        quiet, nothing = levels.quiet, levels.nothing
        short = found[1] <= s[lm.XTOL] * s[lm.XTOL] * found[2]
        # D remembers slopes from far away, and parameters may be held wrongly at their
        # bounds: neither hides what one of them would lower the loss by.
        still = single <= nothing or (
            short and single <= s[lm.XTOL] * s[lm.XTOL] * s[lm.RMS] * s[lm.RMS]
        )
        stops = s[lm.FTOL] > 0.0 or s[lm.XTOL] > 0.0
        undamped = stops and state[lm.MU] <= least and (bounds == 0 or foreseen >= -quiet)
        surely = undamped and single <= 0.25 * nothing and state[lm.HELD] != 0.0
        if undamped and (
            (still and (short or foreseen <= nothing))
            or (surely and foreseen <= 100.0 * levels.ftol * levels.size)
        ):
            reason = lm.SMALL_STEP if short else lm.SMALL_GAIN
            is_tried = foreseen > levels.rounding
        # Where the loss is flat to rounding, steps are taken while they lessen what the
        # gradients foresee.
        trusted = undamped and single <= quiet and nothing < foreseen <= quiet
        if is_tried and trusted and foreseen > 0.9 * state[lm.TRUSTED]:
            reason, is_tried = lm.SMALL_GAIN if still else lm.ROUNDED, False
        return Foreseen(foreseen, short, still, trusted, reason, is_tried)

    @loop
    def questioned(s, state, levels, slopes, least, narrowed):
        """Why it ends once steps are small, or GOING: damping alone may hold them back."""
        foreseen = 0.5 * slopes.largest * slopes.largest
        if state[lm.ASKED] < _QUESTIONS:
            state[lm.ASKED] += 1.0
            state[lm.HELD] = 1.0
            state[lm.MU] = least
            state[lm.NU] = 2.0
        elif (
            narrowed
            and foreseen <= 0.01 * levels.ftol * levels.size
            and slopes.single <= levels.nothing
        ):
            # Undamped steps in a valley that bounds cut across, or along which only some
            # parameters are penalised, are no good ones: the gradient decides.
            return lm.SMALL_GAIN
        elif levels.rounding > s[lm.FTOL] * levels.size and slopes.single <= levels.quiet:
            return lm.ROUNDED
        elif state[lm.SECOND] != 0.0:
            return lm.STALLED
        else:
            state[lm.SECOND] = -1.0
        return lm.GOING

    return levels_of, ended, judged, questioned


def _moves_of(dtype: np.dtype) -> tuple[Callable, Callable, Callable]:
    """Return the jitted steps that change w and what is kept."""
    pointer, size = POINTER[dtype], dtype.itemsize

    @loop
    def copied(source, target, P):
        given, out = pointer(source), pointer(target)
        for j in range(P):
            out[j] = given[j]

    @loop
    def begin(state, start, w, starts, P):
        """The first run, or the second one from where the first began."""
        state[lm.TRUSTED] = np.inf
        state[lm.NU] = 2.0
        if state[lm.SECOND] == 0.0:
            copied(w, starts, P)
            state[lm.MU] = start
            return
        copied(w, starts + P * size, P)
        copied(starts, w, P)
        state[lm.FIRST_LOSS] = state[lm.LOSS]
        state[lm.SECOND] = 1.0
        state[lm.BEGUN] = 0.0
        state[lm.FRESH] = 0.0
        state[lm.ASKED] = 0.0
        state[lm.STEPS] = 0.0
        state[lm.MU] = _SECOND_DAMPING

    @loop
    def take(trial, value, state, w, P):
        copied(trial, w, P)
        state[lm.LOSS] = value
        state[lm.FRESH] = 0.0

    @loop
    def damp(state, s, gain, least):
        """Make μ smaller by the gain ratio of a step that is taken."""
        shrink = max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3)
        nielsen = s[lm.DAMPING] == lm.NIELSEN
        state[lm.MU] = max(least, state[lm.MU] * (shrink if nielsen else 1.0 / _FACTOR))

    @loop
    def outcome(s, state, levels, foreseen, value, w, trial, least, P):
        """Take a step or not; (why it ends, whether it was taken, whether it was small)."""
        fall, size_of_loss = state[lm.LOSS] - value, levels.size
        small = (
            foreseen.short
            or (
                abs(fall) <= levels.ftol * size_of_loss
                and foreseen.fall <= levels.ftol * size_of_loss
            )
            or foreseen.fall <= 0.01 * levels.quiet
            or state[lm.MU] > _PARALYSED
        )
        moved = fall > 0.0 and foreseen.fall > 0.0
        if foreseen.trusted:
            if not fall >= -0.25 * levels.rounding:
                return lm.SMALL_GAIN if foreseen.still else lm.ROUNDED, False, False
            state[lm.TRUSTED] = foreseen.fall
            moved, small = True, False
        if moved:
            take(trial, value, state, w, P)
            state[lm.NU] = 2.0
            if not foreseen.trusted:
                damp(state, s, fall / foreseen.fall, least)
        return lm.ON_TARGET if moved and value <= s[lm.TARGET] else lm.GOING, moved, small

    return begin, take, outcome


def _system_of(dtype: np.dtype) -> tuple[Callable, Callable, Callable]:
    """Return the jitted steps to what g says at w, to a trial step, and to one of second order."""
    pointer, real = POINTER[dtype], dtype.type
    factor, solve, damped = cholesky_of(dtype), solve_of(dtype), _damped_of(dtype)
    hold, steepest_within, step_within = bounded_of(dtype, damped, factor, solve)
    steepest, alone, stepped = _free_of(dtype)

    @loop
    def slopes_of(w, g, G, free, low, high, room, P):
        held = 0
        if low:
            held = hold(w, g, low, high, free, room.moving, P)
            largest = steepest_within(w, g, room.inverse, low, high, room.moving, P)
        else:
            largest = steepest(g, room.inverse, free, P)
        return Slopes(largest, alone(w, g, G, low, high, free, P), held)

    @loop
    def step(product, w, g, G, free, low, high, mu, room, P):
        """The trial and what it foresees; whether the system was definite."""
        if low:
            return step_within(
                product, G, room.U, g, room.p, room.inverse, mu, w, low, high, free, room.moving,
                room.trial, P, room.buffer, room.found,
            )  # fmt: skip
        damped(G, room.U, g, room.p, room.inverse, mu, free, P)
        if not factor(product, room.U, P, room.buffer):
            return False
        solve(room.U, P, room.p)
        stepped(w, room.p, g, room.inverse, free, mu, room.trial, P, room.found)
        return True

    @loop
    def bend(mu, free, room, P):
        """The trial of second order, by the factors and the p of the first, which is lost."""
        pv, slope, inverse = pointer(room.p), pointer(room.slope), pointer(room.inverse)
        moves, trial, bent = pointer(free), pointer(room.trial), pointer(room.bent)
        for j in range(P):
            pv[j] = -(slope[j] * moves[j] * inverse[j] + real(mu) * pv[j])
        solve(room.U, P, room.p)
        for j in range(P):
            bent[j] = trial[j] + moves[j] * (inverse[j] * pv[j])

    return slopes_of, step, bend


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
    size, pointer64 = dtype.itemsize, POINTER[np.dtype(np.float64)]
    room_of, least_damping = _room_of(dtype)
    scale_of, (matrix, loss_at, across) = _scale_of(dtype), _sums_of(dtype)
    is_one_chunk = is_one_chunk_of(dtype)
    (slopes_of, step, bend), (begin, take, outcome) = _system_of(dtype), _moves_of(dtype)
    levels_of, ended, judged, questioned = _stops_of(dtype)

    def levenberg(
        plan, loss, w, X, B, t, c, settings, kept, own, kinds, starts, g, G, free, each, low, high,
        n, history, result,
    ):  # fmt: skip
        P = load(plan, N_PARAMS)
        s, state, mine = pointer64(settings), pointer64(kept), pointer64(own)
        losses, out = pointer64(history), pointer64(result)
        curvature = int(s[lm.CURVATURE])
        memory = allocate((P * P + (6 + ROWS) * P) * size + 16 * P + 12 * 64)
        if memory == 0:
            return NO_MEMORY
        room, least = room_of(memory, P), least_damping(free, P)
        chunk = room.chunk if is_one_chunk(plan, B) else 0
        data = Data(plan, loss, X, B, t, c, 1.0 / s[lm.TOTAL], s[lm.L2], each, chunk)
        stage = WHOLE
        found = pointer64(room.found)
        stops = s[lm.FTOL] > 0.0 or s[lm.XTOL] > 0.0
        may_bend = P >= _LEAST_BENT and s[lm.RMS] > 0.0 and not low
        rescale, done = True, 0
        reason = lm.NOTHING_FREE if least == 0.0 else lm.GOING
        if state[lm.BEGUN] == 0.0 and state[lm.SECOND] == 0.0:
            begin(state, s[lm.START], w, starts, P)
        while reason == lm.GOING and done < n:
            if state[lm.SECOND] < 0.0:  # only now: until here w is what the last loss is of
                begin(state, s[lm.START], w, starts, P)
                stage = WHOLE
            if state[lm.FRESH] == 0.0:
                if not matrix(data, w, g, G, curvature, stage, state, P, result):
                    _give_back(memory, data)
                    return NO_MEMORY
                rescale = True
            if rescale:
                scale_of(G, own, kinds, state[lm.SECOND] != 0.0, room.tops, room.inverse, P)
                rescale = False
            levels, slopes = levels_of(s, state), slopes_of(w, g, G, free, low, high, room, P)
            reason = ended(s, state, levels, slopes)
            if reason != lm.GOING:
                break
            small = moved = False
            definite = step(load(plan, PRODUCT), w, g, G, free, low, high, state[lm.MU], room, P)
            if definite:
                foreseen = judged(s, state, levels, slopes.single, found, least, low)
                reason = foreseen.reason
                if not foreseen.is_tried:
                    break
                state[lm.HELD] = 0.0
                trial, stage = room.trial, REST if data.kept else WHOLE  # what a trial has kept
                value, is_found = loss_at(data, trial, curvature, P, result)
                off = abs(state[lm.LOSS] - value - foreseen.fall)
                bends = off > _BENT * foreseen.fall and foreseen.fall > _WORTH * state[lm.LOSS]
                bends = bends and may_bend and abs(value) < np.inf
                if bends and reason == lm.GOING and not foreseen.trusted:
                    is_found = across(data, w, trial, P, room.slope, result) and is_found
                    bend(state[lm.MU], free, room, P)
                    other, is_kept = loss_at(data, room.bent, curvature, P, result)
                    is_found = is_found and is_kept
                    if other < value:
                        trial, value = room.bent, other
                    else:
                        stage = WHOLE
                if not is_found:
                    _give_back(memory, data)
                    return NO_MEMORY
                if reason != lm.GOING:  # the last step is taken where the model is right about it
                    if off <= 0.25 * foreseen.fall:
                        take(room.trial, value, state, w, P)
                        losses[done] = value
                        done += 1
                    # Steps that are all as far off would gain so much more.
                    slow = off * off > _LEFT * levels.size * foreseen.fall
                    if reason == lm.SMALL_GAIN and slow and state[lm.STEPS] >= _LONG:
                        reason = lm.SLOWLY
                    break
                reason, moved, small = outcome(
                    s, state, levels, foreseen, value, w, trial, least, P
                )
                if reason != lm.GOING and not moved:
                    break
            if not definite:
                state[lm.HELD] = 0.0
                state[lm.MU] = _FACTOR * max(state[lm.MU], least)
            elif not moved:
                state[lm.MU] *= state[lm.NU] if s[lm.DAMPING] == lm.NIELSEN else _FACTOR
                state[lm.NU] *= 2.0
            losses[done] = state[lm.LOSS]
            done += 1
            state[lm.STEPS] += 1.0
            if reason == lm.GOING and stops and small:
                for j in range(P):
                    mine[j] = 0.0
                rescale = True
                reason = questioned(s, state, levels, slopes, least, low or each)
        _give_back(memory, data)
        out[0] = float(reason)
        out[1] = float(done)
        return DONE

    return Kernel(levenberg, Levenberg)
