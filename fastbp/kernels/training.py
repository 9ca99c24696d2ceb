"""Stochastic training: a whole epoch, from the shuffled order to the moved parameters, in one call.

For every batch of the order given: gather its rows, gradient by the plan's first-order driver,
update by the rule. The interpreter's time, some 10 µs a batch in a loop written in Python, is
paid once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from ._address import POINTER, allocate, invoke, load, release, view
from ._build import Unit, loop
from ._passes import passes
from ._plan import N_INPUTS, N_NEURONS, REVERSE, REVERSE_FEW
from .first_order import workspace_of

# Places in the float64 vector of an epoch's settings.
L2, DECAY = 0, 1  # both rules
MOMENTUM, NESTEROV = 2, 3  # SGD
BETA1, BETA2, EPSILON = 2, 3, 4  # Adam
N_SETTINGS = 5
# Places in the float64 vector that an epoch leaves behind.
LOSS_SUM, POWER1, POWER2 = 0, 1, 2  # the powers of Adam's betas, for the next epoch
N_RESULTS = 3


def _epoch_unit(dtype: np.dtype, name: str, update: Callable) -> Unit:
    """Make the unit of one rule.

    ``epoch(plan, loss, w, X, t, c, order, n, batch, rates, settings, state, free, result)``

    The batches are the `n` entries of `order` (int64), `batch` at a time; `rates` (float64) holds
    the learning rate of each; `c` is 0 or weights of mean one; `state` is what the rule keeps
    for each parameter; `free` is a vector of ones, and zeros where a parameter is not to move.
    The sum of the losses before each batch's update is left in ``result[LOSS_SUM]``.
    """
    p = passes(dtype)
    pointer, size, few = p.pointer, p.size, p.few
    pointer64 = POINTER[np.dtype(np.float64)]
    workspace = workspace_of(dtype)
    line = 64

    @loop
    def gather(source, order, first, n, width, target):  # type: ignore[no-untyped-def]
        """Copy rows of `width` numbers, those of the order from `first` on."""
        for b in range(n):
            row = view(pointer(source + load(order, first + b) * width * size), width)
            out = view(pointer(target + b * width * size), width)
            for j in range(width):
                out[j] = row[j]

    def epoch(plan, loss, w, X, t, c, order, n, batch, rates, settings, state, free, result):  # type: ignore[no-untyped-def]
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        P = H * (N + 1)
        numbers = P + batch * (N + 2) + max(workspace(N, H, 1), workspace(N, H, batch))
        own = allocate(numbers * size + 6 * line)
        g = (own + line - 1) // line * line
        rows = g + (P * size + line - 1) // line * line
        targets = rows + (batch * N * size + line - 1) // line * line
        weights = targets + (batch * size + line - 1) // line * line
        scratch = weights + (batch * size + line - 1) // line * line
        rate = view(pointer64(rates), (n + batch - 1) // batch)
        sums = view(pointer64(result), 3)
        sums[0] = 0.0
        first = 0
        step = 0
        while first < n:
            m = min(batch, n - first)
            if m == 1:
                at = load(order, first) * size
                x_ = X + at * N
                t_ = t + at
                c_ = c + at if c else 0
            else:
                gather(X, order, first, m, N, rows)
                gather(t, order, first, m, 1, targets)
                x_ = rows
                t_ = targets
                c_ = 0
                if c:
                    gather(c, order, first, m, 1, weights)
                    c_ = weights
            driver = load(plan, REVERSE_FEW if few(m) else REVERSE)
            args = (plan, loss, w, x_, m, 0, t_, c_, 1.0 / m, 0, 0, g, 0, 0, scratch, result)
            invoke(driver, args)
            update(w, g, state, free, P, rate[step], settings, result)
            first += m
            step += 1
        release(own)

    epoch.__name__ = name
    return Unit(epoch, types.void(*[types.int64] * 14), key=dtype.name, python=True)


@cache
def sgd_unit(dtype: np.dtype) -> Unit:
    """Stochastic gradient descent with momentum, as PyTorch has it.

    g ← ∇ + (l2 + decay) w;  m ← μ m + g;  w ← w − η m, or − η (g + μ m) after Nesterov.
    The state is m.
    """
    pointer, real = POINTER[dtype], dtype.type
    pointer64 = POINTER[np.dtype(np.float64)]
    zero = real(0)

    @loop
    def update(w, g, state, free, P, rate, settings, result):  # type: ignore[no-untyped-def]
        s = view(pointer64(settings), 5)
        wv = view(pointer(w), P)
        gv = view(pointer(g), P)
        moves = view(pointer(free), P)
        eta = real(rate)
        shrink = real(s[L2] + s[DECAY])
        mu = real(s[MOMENTUM])
        if mu == zero:
            for k in range(P):
                wv[k] -= moves[k] * (eta * (gv[k] + shrink * wv[k]))
            return
        mv = view(pointer(state), P)
        # The step η (α g + β m) covers both: (0, 1) without Nesterov's correction, (1, μ) with it.
        alpha = real(1) if s[NESTEROV] != 0.0 else zero
        beta = mu if s[NESTEROV] != 0.0 else real(1)
        for k in range(P):
            gk = gv[k] + shrink * wv[k]
            m = mu * mv[k] + gk
            mv[k] = m
            wv[k] -= moves[k] * (eta * (alpha * gk + beta * m))

    return _epoch_unit(dtype, "sgd_epoch", update)


@cache
def adam_unit(dtype: np.dtype) -> Unit:
    """Adam, and with decoupled decay AdamW.

    g ← ∇ + l2 w;  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
    w ← w − η (m̂ / (√v̂ + ε) + decay w), hats for the division by 1 − β^t. The state is m, then v.
    """
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    pointer64 = POINTER[np.dtype(np.float64)]

    @loop
    def update(w, g, state, free, P, rate, settings, result):  # type: ignore[no-untyped-def]
        s = view(pointer64(settings), 5)
        left = view(pointer64(result), 3)
        left[POWER1] *= s[BETA1]
        left[POWER2] *= s[BETA2]
        wv = view(pointer(w), P)
        gv = view(pointer(g), P)
        moves = view(pointer(free), P)
        mv = view(pointer(state), P)
        vv = view(pointer(state + P * size), P)
        eta = real(rate)
        step = real(rate / (1.0 - left[POWER1]))
        lift = real(1.0 / math.sqrt(1.0 - left[POWER2]))
        l2 = real(s[L2])
        decay = real(s[DECAY])
        b1 = real(s[BETA1])
        b2 = real(s[BETA2])
        c1 = real(1.0 - s[BETA1])
        c2 = real(1.0 - s[BETA2])
        eps = real(s[EPSILON])
        for k in range(P):
            gk = gv[k] + l2 * wv[k]
            m = b1 * mv[k] + c1 * gk
            v = b2 * vv[k] + c2 * (gk * gk)
            mv[k] = m
            vv[k] = v
            wv[k] -= moves[k] * (step * m / (real(math.sqrt(v)) * lift + eps) + eta * decay * wv[k])

    return _epoch_unit(dtype, "adam_epoch", update)
