"""The softmax as a head, and its loss: units of their own, so that other networks don't compile it.

With y = softmax(s), J = diag(y) − y y^T; for cross entropy, whose ℓ is Σ_k t_k (log Σ exp s − s_k)
with T = Σ_k t_k, and for any other loss:

    s̄ = c (T y − t)                      Q = c T J
    s̄ = J ȳ                              Q = J diag(c ℓ'') J,  and for the Hessian of ȳ·y besides
                                         ẏ ∘ (ȳ − ȳ·y) − y (ȳ·ẏ) along ẏ = J ṡ

Where one y is near 1, all of this is small, and would be lost in differences of numbers near 1. So
s is taken from its largest entry on (`top`), whose exp is 1; what multiplies J is taken from its
entry there on, which changes nothing else, since J (1 … 1) = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..machine.address import POINTER, load
from ..machine.build import Kernel, loop, scalar
from ..machine.callers import call_activation_block, call_loss_block
from ..machine.places import (
    FULL,
    FUSED,
    LOSS_OUTPUTS,
    N_OUTPUTS,
    OUTPUT_BLOCK,
    OUTPUT_LOSS,
    OUTPUT_RUNS,
    OUTPUTS,
    REWEIGHTED,
    SLOPES,
    TARGET_WEIGHTS,
    VALUES,
)
from ..machine.records import Softmax, SoftmaxMoved
from .head import LEAST_RESIDUAL, weighed
from .passes import passes

# SCRATCH_ROWS rows of c numbers stand behind the K rows of `Head.given`: which output is largest,
# and what is worked with.


@cache
def _joined_of(dtype: np.dtype) -> Callable:
    """Return the jitted step J v."""
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)

    @scalar
    def joined(y, v, out, K, padded, scratch):
        """out = J v, all K × c; `out` may be v."""
        top, shift = pointer(scratch), pointer(scratch + padded * size)
        mean = pointer(scratch + 2 * padded * size)
        for b in range(padded):
            shift[b] = zero
            mean[b] = zero
        for k in range(K):
            vv = pointer(v + k * padded * size)
            for b in range(padded):
                shift[b] = vv[b] if top[b] == k else shift[b]
        for k in range(K):
            vv, yy = pointer(v + k * padded * size), pointer(y + k * padded * size)
            for b in range(padded):
                mean[b] += yy[b] * (vv[b] - shift[b])
        for k in range(K):
            vv, yy = pointer(v + k * padded * size), pointer(y + k * padded * size)
            target = pointer(out + k * padded * size)
            for b in range(padded):
                target[b] = yy[b] * ((vv[b] - shift[b]) - mean[b])

    return joined


def _exponentials_of(dtype: np.dtype) -> Callable:
    """Return the jitted step from s to y."""
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero, one = real(0), real(1)

    @scalar
    def exponentials(exp, s, y, scratch, K, padded):
        """y, and s from its largest entry on; scratch: which is largest, and Σ exp s − 1."""
        row = padded * size
        top, others = pointer(scratch), pointer(scratch + row)
        largest, ties = pointer(scratch + 2 * row), pointer(scratch + 3 * row)
        for b in range(padded):
            largest[b] = pointer(s)[b]
            others[b] = zero
            ties[b] = -one
        for k in range(K):
            ss = pointer(s + k * row)
            for b in range(padded):
                largest[b] = largest[b] if ss[b] <= largest[b] else ss[b]
        for k in range(K):
            ss, yy = pointer(s + k * row), pointer(y + k * row)
            for b in range(padded):
                ss[b] -= largest[b]
                yy[b] = ss[b]
        call_activation_block(exp, y, 0, 0, K * padded)
        for k in range(K):
            ss, yy = pointer(s + k * row), pointer(y + k * row)
            for b in range(padded):
                is_top = ss[b] == zero
                top[b] = real(k) if is_top else top[b]
                ties[b] += one if is_top else zero
                others[b] += zero if is_top else yy[b]
        for b in range(padded):
            others[b] += ties[b]
        for k in range(K):
            yy = pointer(y + k * row)
            for b in range(padded):
                yy[b] /= one + others[b]

    return exponentials


def _cross_entropy_of(dtype: np.dtype) -> Callable:
    """Return the jitted step from y and s to cross entropy."""
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero, one = real(0), real(1)

    @scalar
    def of_cross_entropy(y, s, sbar, curvature, given, scratch, weights, c, scale, what, sizes):
        """ℓ in place of a scratch row, s̄, and c T."""
        K, n, padded = sizes
        row = padded * size
        others = pointer(scratch + row)
        T, ell = pointer(scratch + 2 * row), pointer(scratch + 3 * row)
        L = pointer(scratch + 4 * row)
        for b in range(padded):
            T[b] = zero
            ell[b] = zero
        for k in range(K):
            t, below = pointer(given + k * row), pointer(s + k * row)
            tau = pointer(weights + k * size)[0] if weights else one
            for b in range(padded):
                share = tau * t[b]
                T[b] += share
                ell[b] += share * (L[b] - below[b]) if share != zero else zero
        if what == VALUES:
            return
        cv, factor = pointer(c), real(scale)
        for b in range(padded):
            L[b] = factor * (cv[b] if c else one) if b < n else zero
        for k in range(K):
            t, below = pointer(given + k * row), pointer(s + k * row)
            yy, bar = pointer(y + k * row), pointer(sbar + k * row)
            tau = pointer(weights + k * size)[0] if weights else one
            for b in range(padded):
                share = tau * t[b]
                top = (T[b] - share) - T[b] * (others[b] * yy[b])
                bar[b] = L[b] * (top if below[b] == zero else T[b] * yy[b] - share)
        if what > SLOPES:
            h = pointer(curvature)
            for b in range(padded):
                h[b] = L[b] * T[b]

    return of_cross_entropy


def _scaled_of(dtype: np.dtype) -> Callable:
    """Return the jitted step of any other loss, whose ℓ, ℓ' and ℓ'' are there."""
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero, one, least = real(0), real(1), real(LEAST_RESIDUAL)
    clear = passes(dtype).clear

    @scalar
    def scaled(y, s, ybar, curvature, given, scratch, weights, c, scale, what, sizes):
        """ℓ, ȳ and c ℓ'' with the weights of observation and output; ℓ summed over outputs."""
        K, n, padded = sizes
        row = padded * size
        cv, factor = pointer(c), real(scale)
        ell = pointer(scratch + 3 * row)
        for b in range(padded):
            ell[b] = zero
        for k in range(K):
            tau = pointer(weights + k * size)[0] if weights else one
            values, t, yy = pointer(s + k * row), pointer(given + k * row), pointer(y + k * row)
            bar, h = pointer(ybar + k * row), pointer(curvature + k * row)
            if tau == zero:  # whatever the others would be: 0 · ∞ is no number
                clear(ybar + k * row, padded if what != VALUES else 0)
                clear(curvature + k * row, padded if what > SLOPES else 0)
                continue
            for b in range(padded):
                ell[b] += tau * values[b]
            if what == VALUES:
                continue
            for b in range(padded):
                weight = weighed(factor, cv[b] if c else one, tau) if b < n else zero
                if what > SLOPES:
                    if what == REWEIGHTED:
                        residual = abs(yy[b] - t[b])
                        robust = abs(bar[b]) / (residual if residual > least else least)
                        h[b] = robust if robust > h[b] else h[b]
                    h[b] *= weight
                bar[b] *= weight

    return scaled


def softmax(dtype: np.dtype) -> Kernel:
    """Make the unit of the head: y, Σ c ℓ into ``result[0]``, and by `what` s̄, ȳ and c ℓ''.

    ``softmax(plan, loss, s, y, ybar, sbar, curvature, given, scratch, c, scale, what, n, padded,
    result)``

    `s` is overwritten; `given` are the targets, or without a loss ȳ. s̄ and what `moved` is to
    find are zero on the padding: `curvature` is c T for cross entropy (one row), else c ℓ''.
    """
    pointer, size, zero, one = POINTER[dtype], dtype.itemsize, dtype.type(0), dtype.type(1)
    pointer64 = POINTER[np.dtype(np.float64)]
    joined, exponentials = _joined_of(dtype), _exponentials_of(dtype)
    of_cross_entropy, scaled = _cross_entropy_of(dtype), _scaled_of(dtype)
    exp, log1p = OUTPUT_RUNS + OUTPUT_BLOCK, OUTPUT_RUNS + OUTPUT_BLOCK + 1

    @loop
    def weighted_sum(ell, c, n):
        values, weights = pointer(ell), pointer(c)
        total = 0.0
        for b in range(n):
            total += np.float64(weights[b] if c else one) * np.float64(values[b])
        return total

    @scalar
    def copied(source, target, n):
        given, out = pointer(source), pointer(target)
        for b in range(n):
            out[b] = given[b]

    @scalar
    def of_outputs(ybar, sbar, curvature, given, what, sizes):
        """ȳ where there is no loss, and c ℓ'' = 0."""
        K, n, padded = sizes
        for k in range(K):
            row = k * padded * size
            source, target = pointer(given + row), pointer(sbar + row)
            kept, h = pointer(ybar + row), pointer(curvature + row)
            for b in range(padded):
                value = (source[b] if given else one) if b < n else zero
                target[b] = value
                if what > SLOPES:
                    kept[b] = value
                    h[b] = zero

    def softmax(
        plan, loss, s, y, ybar, sbar, curvature, given, scratch, c, scale, what, n, padded, result
    ):  # fmt: skip
        K, row = load(plan, N_OUTPUTS), padded * size
        sizes = (K, n, padded)
        outputs = load(loss, LOSS_OUTPUTS) if loss else load(plan, OUTPUTS)
        exponentials(load(outputs, exp), s, y, scratch, K, padded)
        pointer64(result)[0] = 0.0
        if loss:
            weights = load(loss, TARGET_WEIGHTS)
            if load(outputs, FUSED):
                copied(scratch + row, scratch + 4 * row, padded)
                call_activation_block(load(outputs, log1p), scratch + 4 * row, 0, 0, padded)
                of_cross_entropy(
                    y, s, sbar, curvature, given, scratch, weights, c, scale, what, sizes
                )
                pointer64(result)[0] = weighted_sum(scratch + 3 * row, c, n)
                return
            copied(y, s, K * padded)
            order = what if what < 2 else 2
            slopes = ybar if order == 2 else sbar
            block = load(outputs, OUTPUT_RUNS + OUTPUT_LOSS + order)
            call_loss_block(block, s, given, slopes, curvature, K * padded)
            scaled(y, s, slopes, curvature, given, scratch, weights, c, scale, what, sizes)
            pointer64(result)[0] = weighted_sum(scratch + 3 * row, c, n)
            if what != VALUES:
                joined(y, slopes, sbar, K, padded, scratch)
        elif what != VALUES:
            of_outputs(ybar, sbar, curvature, given, what, sizes)
            joined(y, sbar, sbar, K, padded, scratch)

    return Kernel(softmax, Softmax, strict=True)


def moved(dtype: np.dtype) -> Kernel:
    """Make the unit of what the head does along ṡ: ẏ = J ṡ, and s̄˙ = Q ṡ or H ṡ.

    ``moved(plan, loss, y, ybar, curvature, scratch, sdot, ydot, sbardot, what, padded)``: all
    K × c, and as `softmax` has left them; s̄˙ is not made where what is SLOPES. It may take the
    place of the curvature.
    """
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    joined = _joined_of(dtype)

    @scalar
    def bend(y, ybar, ydot, sbardot, K, padded, scratch):
        """s̄˙ += ẏ ∘ (ȳ − ȳ·y) − y (ȳ·ẏ)."""
        row = padded * size
        top, shift = pointer(scratch), pointer(scratch + row)
        mean, moving = pointer(scratch + 2 * row), pointer(scratch + 3 * row)
        for b in range(padded):
            shift[b] = zero
            mean[b] = zero
            moving[b] = zero
        for k in range(K):
            bar = pointer(ybar + k * row)
            for b in range(padded):
                shift[b] = bar[b] if top[b] == k else shift[b]
        for k in range(K):
            bar, yy, yd = pointer(ybar + k * row), pointer(y + k * row), pointer(ydot + k * row)
            for b in range(padded):
                mean[b] += yy[b] * (bar[b] - shift[b])
                moving[b] += yd[b] * (bar[b] - shift[b])
        for k in range(K):
            bar, yy, yd = pointer(ybar + k * row), pointer(y + k * row), pointer(ydot + k * row)
            out = pointer(sbardot + k * row)
            for b in range(padded):
                out[b] += yd[b] * ((bar[b] - shift[b]) - mean[b]) - yy[b] * moving[b]

    def moved(plan, loss, y, ybar, curvature, scratch, sdot, ydot, sbardot, what, padded):
        K = load(plan, N_OUTPUTS)
        row = padded * size
        outputs = load(loss, LOSS_OUTPUTS) if loss else load(plan, OUTPUTS)
        joined(y, sdot, ydot, K, padded, scratch)
        if what <= SLOPES:
            return
        fused = load(outputs, FUSED)
        for k in range(K - 1, -1, -1):  # s̄˙ may take the curvature's place, whose row 0 is T's
            q = pointer(curvature if fused else curvature + k * row)
            source, target = pointer(ydot + k * row), pointer(sbardot + k * row)
            for b in range(padded):
                target[b] = q[b] * source[b]
        if fused:
            return
        joined(y, sbardot, sbardot, K, padded, scratch)
        if what == FULL:
            bend(y, ybar, ydot, sbardot, K, padded, scratch)

    return Kernel(moved, SoftmaxMoved, strict=True)
