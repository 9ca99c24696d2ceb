"""The head: what σ and ℓ make of a chunk's s. All below it is in s alone, and knows neither.

For Σ c ℓ(σ(s), t), with weights c that hold the scale, each of the arrays K × c, K = 1 output:

    s̄ = c ℓ' σ'                         the cotangent of s
    κ = (c ℓ'' σ') σ'                   its derivative by s, of Gauss and Newton
    h = κ + c ℓ' σ''                    its derivative by s

Where no loss is given, c ℓ' is ȳ and ℓ'' is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load, load_float, shifted, stack_number
from ..machine.build import loop, scalar
from ..machine.callers import call_activation_block, call_loss_block, call_softmax, multiply
from ..machine.integers import smaller
from ..machine.places import (
    FULL,
    LOSS_OUTPUTS,
    N_NEURONS,
    N_OUTPUT_RUNS,
    N_OUTPUTS,
    OUTPUT_BLOCK,
    OUTPUT_COUNT,
    OUTPUT_LOSS,
    OUTPUT_RUNS,
    OUTPUT_SIZE,
    OUTPUT_START,
    OUTPUTS,
    PRODUCT,
    REWEIGHTED,
    SOFTMAX,
    TARGET_WEIGHTS,
    VALUES,
)
from .passes import passes

LEAST_RESIDUAL = 1e-6  # |y − t| in the quotient: pinball's has no bound


class Cotangent(NamedTuple):
    """What the head takes of the whole batch: the tables, its scale, and addresses."""

    plan: int
    loss: int
    t: int
    c: int
    scale: float
    ybar: int
    y: int  # is written, unless 0


class Head(NamedTuple):
    """Memory of the head, addresses of K × c numbers."""

    s: int  # y afterwards, and ℓ where there is a loss
    slopes: int  # σ'; of the softmax, y
    curvatures: int  # σ''; of the softmax, ȳ
    sbar: int
    h: int  # or κ; of the softmax c ℓ'', or with its cross entropy c T
    given: int  # where K > 1: t or ȳ, output by output, and rows for the softmax; else 0


def _transposed(dtype: np.dtype) -> Callable:
    pointer, size = POINTER[dtype], dtype.itemsize

    @scalar
    def transposed(rows, n, K, padded, columns):
        """n rows of K numbers as K rows; the last one stands in for the padding."""
        for k in range(K):
            source, target = pointer(rows + k * size), pointer(columns + k * padded * size)
            for b in range(n):
                target[b] = source[b * K]
            for b in range(n, padded):
                target[b] = target[n - 1]

    return transposed


def rows_of(dtype: np.dtype) -> Callable:
    """Return the jitted step back: K rows as n rows of K numbers."""
    pointer, size = POINTER[dtype], dtype.itemsize

    @scalar
    def rows_from(columns, n, K, padded, rows):
        for k in range(K):
            source, target = pointer(columns + k * padded * size), pointer(rows + k * size)
            for b in range(n):
                target[b * K] = source[b]

    return rows_from


@scalar
def between(h, d):
    """(h d) d, in that order: d² may be beyond all numbers where h is 0."""
    return h * d * d


@scalar
def weighed(scale, c, tau):
    """scale c τ, in that order: scale c is at most 1, scale τ may be beyond all numbers."""
    return scale * c * tau


@cache
def outputs_of(dtype: np.dtype) -> Callable:
    """Return the jitted step from V to s."""
    weighted_rows = passes(dtype).weighted_rows

    @loop
    def outputs(plan, a, V, s, cp):
        """S = A V, K × c from H × c."""
        H, K = load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        if K == 1:
            weighted_rows(a, V, s, H, cp)
        else:
            multiply(load(plan, PRODUCT), (a, H, 1), (V, cp), (s, cp), (H, K, cp), 0)

    return outputs


@cache
def head_of(dtype: np.dtype, curved: bool) -> Callable:
    """Return the jitted step from s to y, Σ c ℓ, s̄ and, unless `curved` is False, κ or h.

    It is known to the compiler: what is not asked for would take 0.1 s at a first gradient.
    """
    p = passes(dtype)
    pointer, size, real, clear = p.pointer, p.size, p.real, p.clear
    zero, one, least = real(0), real(1), real(LEAST_RESIDUAL)
    transposed, rows_from = _transposed(dtype), rows_of(dtype)

    @scalar
    def evaluate(outputs, field, order, room, t, padded):
        """Run the blocks of σ, or those of ℓ, over their outputs, K > 1: over the padding too."""
        for r in range(load(outputs, N_OUTPUT_RUNS)):
            place = OUTPUT_RUNS + r * OUTPUT_SIZE
            first = load(outputs, place + OUTPUT_START) * padded * size
            n = load(outputs, place + OUTPUT_COUNT) * padded
            block = load(outputs, place + field + order)
            if field == OUTPUT_BLOCK:
                slopes, curvatures = room.slopes + first, room.curvatures + first
                call_activation_block(block, room.s + first, slopes, curvatures, n)
            else:
                at = room.s + first
                call_loss_block(block, at, t + first, room.sbar + first, room.h + first, n)

    @loop
    def head(given, room, what, chunk):
        """Return Σ c ℓ without the scale; s̄, κ and h are zero on the padding.

        `what` is VALUES; SLOPES, with s̄; or with κ too CURVED, and REWEIGHTED, where ℓ'' is at
        least |ℓ'| / |y − t|; or FULL, with h.
        """
        n, padded, K = chunk.n, chunk.padded, load(given.plan, N_OUTPUTS)
        at = chunk.first * size
        order = smaller(what, 2)
        loss = given.loss
        outputs = load(loss, LOSS_OUTPUTS) if loss else load(given.plan, OUTPUTS)
        rows = given.t if loss else given.ybar
        t = rows + at
        if K > 1 and rows:
            t = room.given
            transposed(rows + at * K, n, K, padded, t)
        joined = load(outputs, SOFTMAX)
        total = 0.0
        if joined:
            result = stack_number()
            given_rows = t if rows else 0
            call_softmax(
                joined, plan=given.plan, loss=loss, s=room.s, y=room.slopes, ybar=room.curvatures,
                sbar=room.sbar, curvature=room.h, given=given_rows,
                scratch=room.given + K * padded * size, c=shifted(given.c, at), scale=given.scale,
                what=what, n=n, padded=padded, result=result,
            )  # fmt: skip
            if given.y:
                rows_from(room.slopes, n, K, padded, given.y + at * K)
            return load_float(result)
        if K == 1:
            block = load(outputs, OUTPUT_RUNS + OUTPUT_BLOCK + order)
            call_activation_block(block, room.s, room.slopes, room.curvatures, n)
        else:
            evaluate(outputs, OUTPUT_BLOCK, order, room, t, padded)
        if given.y:
            rows_from(room.s, n, K, padded, given.y + at * K)
        c = pointer(given.c + at)
        if loss:
            if curved and what == REWEIGHTED:  # which has no use for σ''
                for k in range(K):
                    row = k * padded * size
                    s, dd = pointer(room.s + row), pointer(room.curvatures + row)
                    target = pointer(t + row)
                    for b in range(n):
                        dd[b] = abs(s[b] - target[b])
            if K == 1:
                block = load(outputs, OUTPUT_RUNS + OUTPUT_LOSS + order)
                call_loss_block(block, room.s, t, room.sbar, room.h, n)
            else:
                evaluate(outputs, OUTPUT_LOSS, order, room, t, padded)
        weights = load(loss, TARGET_WEIGHTS) if loss else 0
        for k in range(K):
            row = k * padded * size
            s, bar = pointer(room.s + row), pointer(room.sbar + row)
            d, dd = pointer(room.slopes + row), pointer(room.curvatures + row)
            h = pointer(room.h + row)
            tau = pointer(weights + k * size)[0] if weights else one
            if tau == zero:  # whatever the others would be: 0 · ∞ is no number
                clear(room.sbar + row, padded if what != VALUES else 0)
                if curved:
                    clear(room.h + row, padded if order == 2 else 0)
                continue
            if loss:
                part = 0.0
                for b in range(n):
                    part += np.float64(c[b] if given.c else one) * np.float64(s[b])
                total += part * np.float64(tau)
            if what == VALUES:
                continue
            if loss:
                if curved and what == REWEIGHTED:
                    for b in range(n):
                        robust = abs(bar[b]) / (dd[b] if dd[b] > least else least)
                        h[b] = robust if robust > h[b] else h[b]
                scale = real(given.scale)
                for b in range(n):
                    weight = weighed(scale, c[b] if given.c else one, tau)
                    bar[b] *= weight
                    if curved:
                        h[b] *= weight
            else:
                ybar = pointer(t + row)
                for b in range(n):
                    bar[b] = ybar[b] if rows else one
                    if curved:
                        h[b] = zero
            if curved and order == 2:
                for b in range(n):
                    h[b] = between(h[b], d[b])
                    if what == FULL:
                        h[b] += bar[b] * dd[b]
                for b in range(n, padded):
                    h[b] = zero
            for b in range(n):
                bar[b] *= d[b]
            for b in range(n, padded):
                bar[b] = zero
        return total

    return head
