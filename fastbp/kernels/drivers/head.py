"""The head: what σ and ℓ make of a chunk's s. All below it is in s alone, and knows neither.

For Σ c ℓ(σ(s), t), with weights c that hold the scale, each of the arrays K × c, K = 1 output:

    s̄ = c ℓ' σ'                         the cotangent of s
    κ = c ℓ'' σ'²                       its derivative by s, of Gauss and Newton
    h = κ + c ℓ' σ''                    its derivative by s

Where no loss is given, c ℓ' is ȳ and ℓ'' is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..machine.address import load
from ..machine.build import loop
from ..machine.callers import call_activation_block, call_loss_block
from ..machine.integers import smaller
from ..machine.places import FULL, LOSS_BLOCK, LOSS_OUTPUT, OUTPUT, REWEIGHTED, VALUES
from .passes import passes

_LEAST_RESIDUAL = 1e-6  # |y − t| in the quotient: pinball's has no bound


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
    slopes: int  # σ'
    curvatures: int  # σ''
    sbar: int
    h: int  # or κ


@cache
def head_of(dtype: np.dtype, curved: bool) -> Callable:
    """Return the jitted step from s to y, Σ c ℓ, s̄ and, unless `curved` is False, κ or h.

    It is known to the compiler: what is not asked for would take 0.1 s at a first gradient.
    """
    p = passes(dtype)
    pointer, size, real = p.pointer, p.size, p.real
    zero, one, least = real(0), real(1), real(_LEAST_RESIDUAL)

    @loop
    def head(given, room, what, chunk):
        """Return Σ c ℓ without the scale; s̄, κ and h are zero on the padding.

        `what` is VALUES; SLOPES, with s̄; or with κ too CURVED, and REWEIGHTED, where ℓ'' is at
        least |ℓ'| / |y − t|; or FULL, with h.
        """
        n, at = chunk.n, chunk.first * size
        order = smaller(what, 2)
        loss = given.loss
        output = load(loss, LOSS_OUTPUT + order) if loss else load(given.plan, OUTPUT + order)
        call_activation_block(output, room.s, room.slopes, room.curvatures, n)
        s, d, dd = pointer(room.s), pointer(room.slopes), pointer(room.curvatures)
        bar, h = pointer(room.sbar), pointer(room.h)
        if given.y:
            y = pointer(given.y + at)
            for b in range(n):
                y[b] = s[b]
        total = 0.0
        if loss:
            t, c = pointer(given.t + at), pointer(given.c + at)
            if curved and what == REWEIGHTED:  # which has no use for σ''
                for b in range(n):
                    dd[b] = abs(s[b] - t[b])
            block = load(loss, LOSS_BLOCK + order)
            call_loss_block(block, room.s, given.t + at, room.sbar, room.h, n)
            for b in range(n):
                total += np.float64(c[b] if given.c else one) * np.float64(s[b])
            if what == VALUES:
                return total
            if curved and what == REWEIGHTED:
                for b in range(n):
                    robust = abs(bar[b]) / (dd[b] if dd[b] > least else least)
                    h[b] = robust if robust > h[b] else h[b]
            scale = real(given.scale)
            for b in range(n):
                weight = scale * c[b] if given.c else scale
                bar[b] *= weight
                if curved:
                    h[b] *= weight
        elif what == VALUES:
            return total
        else:
            ybar = pointer(given.ybar + at)
            for b in range(n):
                bar[b] = ybar[b] if given.ybar else one
                if curved:
                    h[b] = zero
        if curved and order == 2:
            for b in range(n):
                h[b] *= d[b] * d[b]
                if what == FULL:
                    h[b] += bar[b] * dd[b]
            for b in range(n, chunk.padded):
                h[b] = zero
        for b in range(n):
            bar[b] *= d[b]
        for b in range(n, chunk.padded):
            bar[b] = zero
        return total

    return head
