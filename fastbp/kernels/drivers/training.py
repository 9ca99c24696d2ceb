"""Stochastic training: a whole epoch, from the shuffled order to the moved parameters, in one call.

For every batch of the order given: gather its rows, gradient by the plan's first-order driver,
update by the rule. The interpreter's time, some 10 µs a batch in a loop written in Python, is
paid once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, allocate, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_reverse
from ..machine.epoch_settings import (
    BETA1,
    BETA2,
    DECAY,
    EPSILON,
    FINITE,
    L2,
    LOSS_SUM,
    MOMENTUM,
    N_RESULTS,
    N_SETTINGS,
    NESTEROV,
    POWER1,
    POWER2,
)
from ..machine.integers import larger, smaller
from ..machine.places import N_INPUTS, N_NEURONS, N_OUTPUTS, N_PARAMS, REVERSE, REVERSE_FEW, SLOPES
from ..machine.records import DONE, NO_MEMORY, Epoch, Shuffle
from ..machine.simd import Vectors, copy
from ..machine.target import lanes
from .head import Cotangent, Head, head_of
from .passes import Chunk, passes


class Rule(NamedTuple):
    """How parameters move: jitted functions, and how many vectors they keep of the same shape.

    ``coefficients(settings, result, rate)`` is called once a step and its tuple handed to
    ``move(w, source, factor, state, distance, free, each, n, coefficients)``, which moves n
    parameters whose gradient is factor · source; the vectors of the state begin `distance` bytes
    apart; where `each` is given, l2 for each parameter, so is `free`.
    ``is_plain(settings, free)`` says whether a step is w ← w − η ∇ and nothing more.
    """

    coefficients: Callable
    move: Callable
    n_states: int
    is_plain: Callable


class Steps(NamedTuple):
    """What an epoch is given beside the samples, as `_epoch` describes it."""

    order: int
    n: int
    batch: int
    rates: int
    settings: int
    state: int
    free: int
    each: int
    result: int


def _gather(dtype: np.dtype) -> Callable:
    size, width = dtype.itemsize, lanes(dtype)
    vector = copy(Vectors(dtype))

    @loop
    def gather(source, order, n, row_size, target):
        """Copy n rows of `row_size` numbers, in an order.

        By whole vectors: what is written behind a row, the next one overwrites.
        """
        for b in range(n):
            row = source + load(order, b) * row_size * size
            out = target + b * row_size * size
            j = 0
            while j < row_size:
                vector(row + j * size, row_size - j, out + j * size)
                j += width

    return gather


def _stand_in(dtype: np.dtype) -> Callable:
    pointer, integers, zero = POINTER[dtype], POINTER[np.dtype(np.int64)], dtype.type(0)

    @loop
    def stand_in(order, n, weights, target):
        """Write n of an order, one that weighs in place of each that does not; whether one does.

        So what has no weight, and may be beyond all numbers, is nowhere multiplied by 0.
        """
        c, out, at = pointer(weights), integers(target), -1
        for b in range(n - 1, -1, -1):
            at = load(order, b) if c[b] > zero else at
        for b in range(n):
            at = load(order, b) if c[b] > zero else at
            out[b] = at
        return at >= 0

    return stand_in


def _by_columns(dtype: np.dtype) -> Callable:
    pointer, zero = POINTER[dtype], dtype.type(0)

    @loop
    def by_columns(plan, source, target, hp, back):
        """Copy (a, W) to a, then the columns of W, each filled up to hp with zeros; or back."""
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        given = view(pointer(source), P)
        padded = view(pointer(target), hp * (N + 1))
        for j in range(N + 1):
            for i in range(hp):
                k = i if j == 0 else H + i * N + j - 1
                if i >= H:
                    padded[j * hp + i] = zero
                elif back:
                    given[k] = padded[j * hp + i]
                else:
                    padded[j * hp + i] = given[k]

    return by_columns


def _single(dtype: np.dtype, rule: Rule) -> Callable:
    """Return the epoch of one sample a step: all loops run along the neurons.

    No gradient is written.
    """
    p = passes(dtype)
    pointer, size, width, lines = p.pointer, p.size, p.width, p.lines
    activate, weighted_rows, dot = p.activate, p.weighted_rows, p.dot
    multiply_scaled, by_columns, head = p.multiply_scaled, _by_columns(dtype), head_of(dtype, False)
    pointer64 = POINTER[np.dtype(np.float64)]
    coefficients, move, n_states, _ = rule
    zero, clear = p.real(0), p.clear

    @loop
    def single(given, w, X, steps):
        plan = given.plan
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        kept = load(plan, N_PARAMS) * size
        hp = (H + width - 1) // width * width
        whole = lines(hp * (N + 1))
        own = allocate((3 + n_states) * whole + 2 * lines(hp) + 4 * 64)
        if own == 0:
            return NO_MEMORY
        w_ = (own + 63) // 64 * 64
        free_ = w_ + whole
        each_ = free_ + whole
        state_ = each_ + whole
        V = state_ + n_states * whole
        D = V + lines(hp)
        s = D + lines(hp)
        room = Head(s, s + 64, 0, s + 128, 0, 0)
        by_columns(plan, w, w_, hp, False)
        if steps.free:
            by_columns(plan, steps.free, free_, hp, False)
        if steps.each:
            by_columns(plan, steps.each, each_, hp, False)
        for k in range(n_states):
            by_columns(plan, steps.state + k * kept, state_ + k * whole, hp, False)
        rate = view(pointer64(steps.rates), steps.n)
        out = view(pointer64(steps.result), N_RESULTS)
        sv, bar, slopes = pointer(room.s), pointer(room.sbar), view(pointer(D), hp)
        slopes[:] = zero
        for b in range(steps.n):
            at = load(steps.order, b)
            x = view(pointer(X + at * N * size), N)
            weighs = not given.c or pointer(given.c)[at] > zero
            if not weighs:
                bar[0] = zero
                clear(V, hp)
            else:
                weighted_rows(X + at * N * size, w_ + hp * size, V, N, hp)
                activate(plan, 1, V, D, 0, 1)
                sv[0] = dot(w_, V, hp)
                out[LOSS_SUM] += head(given, room, SLOPES, Chunk(at, 1, 1))
                multiply_scaled(bar[0], w_, D, hp)
            k = coefficients(steps.settings, steps.result, rate[b])
            f, e = free_ if steps.free else 0, each_ if steps.each else 0
            move(w_, V, bar[0], state_, whole, f, e, hp, k)
            for j in range(N):
                row = (1 + j) * hp * size
                f = free_ + row if steps.free else 0
                e = each_ + row if steps.each else 0
                move(w_ + row, D, x[j] if weighs else zero, state_ + row, whole, f, e, hp, k)
        by_columns(plan, w, w_, hp, True)
        for k in range(n_states):
            by_columns(plan, steps.state + k * kept, state_ + k * whole, hp, True)
        release(own)
        return DONE

    return single


def _batches(dtype: np.dtype, rule: Rule) -> Callable:
    """Return the epoch of batches: gather, gradient by the plan's driver, move."""
    p = passes(dtype)
    size, width, lines, one = p.size, p.width, p.lines, p.real(1)
    few, chunk_size, workspace = p.few, p.chunk_size, p.workspace
    gather, stand_in, clear = _gather(dtype), _stand_in(dtype), p.clear
    pointer64 = POINTER[np.dtype(np.float64)]
    coefficients, move, _, is_plain = rule

    @loop
    def batches(given, w, X, steps):
        plan, batch, n, result = given.plan, steps.batch, steps.n, steps.result
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        K = load(plan, N_OUTPUTS)
        numbers = larger(workspace(N, H, K, 1), workspace(N, H, K, batch))
        # `gather` writes up to a vector behind what it copies.
        room_x, room_t = lines(batch * N + width), lines(batch * K + width)
        room_order = lines(batch * 8 // size)
        own = allocate(64 + lines(P) + room_x + 2 * room_t + room_order + numbers * size)
        if own == 0:
            return NO_MEMORY
        gradient = (own + 63) // 64 * 64
        rows = gradient + lines(P)
        targets = rows + room_x
        weights = targets + room_t
        standing = weights + room_t
        scratch = standing + room_order
        rate = view(pointer64(steps.rates), (n + batch - 1) // batch)
        # A plain step needs no gradient in memory: the driver adds it to w (5 % faster at
        # N, H, batch = 64, 48, 16). A second chunk would meet parameters that have moved.
        most = chunk_size(N, H, batch, 2 if K == 1 else 3)
        adding = most >= batch and is_plain(steps.settings, steps.free)
        for first in range(0, n, batch):
            m = smaller(batch, n - first)
            order, weighs = steps.order + first * 8, True
            if given.c:
                gather(given.c, order, m, 1, weights)
                weighs = stand_in(order, m, weights, standing)
                order = standing
            eta = rate[first // batch]
            direct = adding and not few(m)
            if weighs:
                gather(X, order, m, N, rows)
                gather(given.t, order, m, K, targets)
                call_reverse(
                    load(plan, REVERSE_FEW if few(m) else REVERSE), plan=plan, loss=given.loss,
                    w=w, X=rows, B=m, t=targets, c=weights if given.c else 0,
                    scale=(-eta if direct else 1.0) / m, g=w if direct else gradient, ws=scratch,
                    result=result,
                )  # fmt: skip
            else:
                clear(gradient, P)
            if not direct:
                k = coefficients(steps.settings, result, eta)
                move(w, gradient, one, steps.state, P * size, steps.free, steps.each, P, k)
        release(own)
        return DONE

    return batches


def _finite(dtype: np.dtype) -> Callable:
    pointer, infinity = POINTER[dtype], dtype.type(np.inf)

    @loop
    def finite(w, P):
        """Whether all parameters are, as a number."""
        wv = view(pointer(w), P)
        bad = 0
        for k in range(P):
            bad += 0 if abs(wv[k]) < infinity else 1
        return 1.0 if bad == 0 else 0.0

    return finite


def _epoch(dtype: np.dtype, rule: Rule) -> Kernel:
    """Make the unit of one rule.

    ``epoch(plan, loss, w, X, t, c, order, n, batch, rates, settings, state, free, each, result)``

    The batches are the `n` entries of `order` (int64), `batch` at a time; `rates` (float64)
    holds the learning rate of each; `c` is 0 or weights of mean one; `state` is what the rule
    keeps; `free` is 0, or a vector of ones, and zeros where a parameter is not to move; `each`
    is 0, or l2 for each parameter, which needs `free` beside it. It adds the losses before each
    batch's update to ``result[LOSS_SUM]``, and leaves in ``result[FINITE]`` whether
    all parameters are finite.
    """
    width = lanes(dtype)
    pointer64 = POINTER[np.dtype(np.float64)]
    single, batches, finite = _single(dtype, rule), _batches(dtype, rule), _finite(dtype)

    def epoch(plan, loss, w, X, t, c, order, n, batch, rates, settings, state, free, each, result):
        left = view(pointer64(result), N_RESULTS)
        given = Cotangent(plan, loss, t, c, 1.0, 0, 0)
        steps = Steps(order, n, batch, rates, settings, state, free, each, result)
        alone = batch == 1 and load(plan, N_OUTPUTS) == 1
        if alone and (load(plan, N_NEURONS) >= 2 * width or load(plan, N_INPUTS) < 16):
            status = single(given, w, X, steps)
        else:
            status = batches(given, w, X, steps)
        left[FINITE] = finite(w, load(plan, N_PARAMS))
        return status

    return Kernel(epoch, Epoch)


def shuffle() -> Kernel:
    """Make the unit that draws an order: ``shuffle(order, n, state)``.

    Fills `order` (int32) with 0 … n − 1 in random order, after Fisher and Yates (Knuth, TAOCP 2,
    algorithm 3.4.2 P), and moves the 64 bits of `state` on. The generator is SplitMix64 (Steele,
    Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014). A place is the
    product of its upper 32 bits and the number of places: off a uniform choice by less than
    n / 2^32. NumPy's shuffle takes 14 ns an entry, a tenth of a step with one sample; this 2 ns.
    """
    pointer, pointer32 = POINTER[np.dtype(np.int64)], POINTER[np.dtype(np.int32)]
    increment = np.uint64(0x9E3779B97F4A7C15)
    factor1, factor2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
    by27, by30, by31, by32 = (np.uint64(k) for k in (27, 30, 31, 32))

    def shuffle(order, n, state):
        entries = view(pointer32(order), n)
        kept = view(pointer(state), 1)
        for k in range(n):
            entries[k] = k
        x = np.uint64(kept[0])
        for k in range(n - 1, 0, -1):
            x += increment
            z = (x ^ (x >> by30)) * factor1
            z = (z ^ (z >> by27)) * factor2
            z = (z ^ (z >> by31)) >> by32
            j = np.int64((z * np.uint64(k + 1)) >> by32)
            entries[k], entries[j] = entries[j], entries[k]
        kept[0] = np.int64(x)

    return Kernel(shuffle, Shuffle)


def sgd_epoch(dtype: np.dtype) -> Kernel:
    """Stochastic gradient descent with momentum, as PyTorch has it.

    g ← ∇ + (l2 + decay) w;  m ← μ m + g;  w ← w − η m, or − η (g + μ m) after Nesterov.
    The state is m.
    """
    pointer, real = POINTER[dtype], dtype.type
    pointer64 = POINTER[np.dtype(np.float64)]
    zero = real(0)

    @loop
    def coefficients(settings, result, rate):
        s = view(pointer64(settings), N_SETTINGS)
        mu = s[MOMENTUM]
        # The step η (α g + β m) covers both: (0, 1) without Nesterov's correction, (1, μ) with it.
        looks_ahead = s[NESTEROV] != 0.0 and mu != 0.0
        alpha = rate if looks_ahead else 0.0
        beta = rate * mu if looks_ahead else rate
        return real(s[L2] + s[DECAY]), real(mu), real(alpha), real(beta)

    @loop
    def move(w, source, factor, state, distance, free, each, n, k):
        shrink, mu, alpha, beta = k
        wv = view(pointer(w), n)
        gv = view(pointer(source), n)
        if free == 0 and mu == zero:
            for i in range(n):
                wv[i] -= beta * (factor * gv[i] + shrink * wv[i])
            return
        mv = view(pointer(state), n)
        if free == 0:
            for i in range(n):
                g = factor * gv[i] + shrink * wv[i]
                m = mu * mv[i] + g
                mv[i] = m
                wv[i] -= alpha * g + beta * m
            return
        moves, own = view(pointer(free), n), view(pointer(each), n)
        for i in range(n):
            g = factor * gv[i] + (shrink + own[i] if each else shrink) * wv[i]
            m = mu * mv[i] + g
            mv[i] = m
            wv[i] -= moves[i] * (alpha * g + beta * m)

    @loop
    def is_plain(settings, free):
        s = view(pointer64(settings), N_SETTINGS)
        return free == 0 and s[L2] == 0.0 and s[DECAY] == 0.0 and s[MOMENTUM] == 0.0

    return _epoch(dtype, Rule(coefficients, move, 1, is_plain))


def adam_epoch(dtype: np.dtype) -> Kernel:
    """Adam, and with decoupled decay AdamW.

    g ← ∇ + l2 w;  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
    w ← w − η (m̂ / (√v̂ + ε) + decay w), hats for the division by 1 − β^t. The state is m, then v.
    """
    pointer, real = POINTER[dtype], dtype.type
    pointer64 = POINTER[np.dtype(np.float64)]

    @loop
    def coefficients(settings, result, rate):
        s = view(pointer64(settings), N_SETTINGS)
        powers = view(pointer64(result), N_RESULTS)
        powers[POWER1] *= s[BETA1]
        powers[POWER2] *= s[BETA2]
        lift = 1.0 / math.sqrt(1.0 - powers[POWER2])
        return (
            real(s[L2]), real(s[BETA1]), real(1.0 - s[BETA1]), real(s[BETA2]),
            real(1.0 - s[BETA2]), real(rate / (1.0 - powers[POWER1])), real(lift),
            real(s[EPSILON]), real(rate * s[DECAY]),
        )  # fmt: skip

    @loop
    def move(w, source, factor, state, distance, free, each, n, k):
        l2, b1, c1, b2, c2, step, lift, eps, decay = k
        wv = view(pointer(w), n)
        gv = view(pointer(source), n)
        mv = view(pointer(state), n)
        vv = view(pointer(state + distance), n)
        moves = view(pointer(free), n)
        if each:
            own = view(pointer(each), n)
            for i in range(n):
                g = factor * gv[i] + own[i] * wv[i]
                m = b1 * mv[i] + c1 * g
                v = b2 * vv[i] + c2 * (g * g)
                mv[i] = m
                vv[i] = v
                moved = step * m / (real(math.sqrt(v)) * lift + eps) + decay * wv[i]
                wv[i] -= moves[i] * moved
            return
        for i in range(n):
            g = factor * gv[i] + l2 * wv[i]
            m = b1 * mv[i] + c1 * g
            v = b2 * vv[i] + c2 * (g * g)
            mv[i] = m
            vv[i] = v
            moved = step * m / (real(math.sqrt(v)) * lift + eps) + decay * wv[i]
            wv[i] -= moves[i] * moved if free else moved

    @loop
    def is_plain(settings, free):
        return False

    return _epoch(dtype, Rule(coefficients, move, 2, is_plain))
