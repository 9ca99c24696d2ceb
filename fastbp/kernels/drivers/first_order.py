"""First-order kernels: the forward pass and the reverse accumulation, chunk by chunk.

Per chunk of samples (docs/mathematics.md, question 7), neuron-major:

    Z^T = W · X^T                      u, v' = v_i(z_i), v_i'(z_i)
    s = a · U^T,  y = σ(s)             s̄ = ȳ σ'(s), or c ℓ'(y, t) σ'(s) / Σ c for a loss
    ∇_a += U^T s̄                       D[b, i] = s̄_b a_i v_i'(z_{b,i})
    ∇_W += D^T · X                     x̄_b = D_b · W
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, allocate, load, release
from ..machine.build import Kernel, loop
from ..machine.callers import call_activation_block, call_pack, multiply
from ..machine.integers import smaller
from ..machine.places import (
    COPY,
    N_INPUTS,
    N_NEURONS,
    N_PARAMS,
    OUTPUT,
    PACK,
    PRODUCT,
    SLOPES,
    VALUES,
    W_OFFSET,
)
from ..machine.records import DONE, NO_MEMORY, PerSample, Reverse
from ..machine.target import lanes
from .head import Cotangent, Head, head_of
from .passes import Chunk, passes
from .products import dots_of


class Room(NamedTuple):
    """Memory of a chunk, addresses: the samples packed, z → v and v' → D (H × c each), the head."""

    panels: int
    V: int
    D: int
    head: Head


@cache
def _room_of(dtype: np.dtype) -> Callable:
    width, lines = lanes(dtype), passes(dtype).lines

    @loop
    def room(ws, N, H, c):
        """Memory of c samples, neuron-major, in a workspace of the size in `machine.sizes`."""
        panels = (ws + 63) // 64 * 64
        V = panels + lines(c * (N + width))
        D = V + lines(c * H)
        s = D + lines(c * H)
        step = lines(c)
        return Room(panels, V, D, Head(s, s + step, 0, s + 2 * step, 0))

    return room


def reverse(dtype: np.dtype) -> Kernel:
    """Value, gradients and loss of a run of samples: the one first-order driver.

    ``reverse(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result)``

    Addresses are 0 where a thing is not given or not wanted: with a `loss` table the cotangent
    is that of Σ_b c_b ℓ(y_b, t_b) times `scale` and ``result[0]`` grows by the weighted
    losses; without it, it is `ybar` (ones where 0). y, g and xbar
    receive values, ∇_w and the rows ȳ_b ∇_x f_b. `panels` is X already packed.
    Where g is w itself, ∇_w is added to it: with a negative `scale` that is a step of descent,
    for samples that are one chunk.
    """
    p = passes(dtype)
    width, size, chunk_size = p.width, p.size, p.chunk_size
    activate, weighted_rows, accumulate = p.activate, p.weighted_rows, p.accumulate
    head, room_of = head_of(dtype, False), _room_of(dtype)
    pointer64 = POINTER[np.dtype(np.float64)]

    def reverse(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        W, gW = w + load(plan, W_OFFSET), g + load(plan, W_OFFSET)
        what = SLOPES if g or xbar else VALUES
        most = chunk_size(N, H, B, 2)
        room = room_of(ws, N, H, most)
        V, D = room.V, room.D
        given = Cotangent(plan, loss, t, c, scale, ybar, y)
        for first in range(0, B, most):
            n = smaller(most, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * N * size
            source = panels + first * N * size
            if not panels:
                call_pack(load(plan, PACK), x, n, N, room.panels)
                source = room.panels
            multiply(product, (W, N, 1), (source, 0), (V, cp), (N, H, cp), 0)
            activate(plan, what, V, D, 0, cp)
            weighted_rows(w, V, room.head.s, H, cp)
            total = head(given, room.head, what, Chunk(first, n, cp))
            if loss:
                pointer64(result)[0] += total
            if what == SLOPES:
                more = 1 if first or g == w else 0
                accumulate(w, V, D, room.head.sbar, g, H, cp, more)
                if g and N > 3 * width and H >= 16:
                    # Packing the chunk again costs 1/H of the product: 2 to 30 % faster there.
                    call_pack(load(plan, COPY), x, n, N, room.panels)
                    multiply(product, (D, cp, 1), (room.panels, 0), (gW, N), (n, H, N), more)
                elif g:
                    multiply(product, (D, cp, 1), (x, N), (gW, N), (n, H, N), more)
                if xbar:
                    out = xbar + first * N * size
                    multiply(product, (D, 1, cp), (W, N), (out, N), (H, n, N), 0)

    return Kernel(reverse, Reverse)


def reverse_few(dtype: np.dtype) -> Kernel:
    """The same as `reverse` for so few samples that `few` holds: sample-major."""
    p = passes(dtype)
    pointer, width, size, activate, dot = p.pointer, p.width, p.size, p.activate, p.dot
    add_scaled, multiply_scaled = p.add_scaled, p.multiply_scaled
    dots, head = dots_of(dtype), head_of(dtype, False)
    pointer64 = POINTER[np.dtype(np.float64)]

    def reverse_few(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        W, gW = w + load(plan, W_OFFSET), g + load(plan, W_OFFSET)
        what = SLOPES if g or xbar else VALUES
        hp = (H + width - 1) // width * width
        V = (ws + 63) // 64 * 64
        D = V + B * hp * size
        s = D + B * hp * size
        room = Head(s, s + 64, 0, s + 128, 0)
        sv, bar = pointer(room.s), pointer(room.sbar)
        for b in range(B):
            v = V + b * hp * size
            i = 0
            while i < H:
                dots(W + i * N * size, N, H - i, X + b * N * size, N, v + i * size)
                i += width
            activate(plan, what, v, D + b * hp * size, 0, 1)
            sv[b] = dot(w, v, H)
        given = Cotangent(plan, loss, t, c, scale, ybar, y)
        total = head(given, room, what, Chunk(0, B, B))
        if loss:
            pointer64(result)[0] += total
        if what == VALUES:
            return
        for b in range(B):
            if g:
                add_scaled(bar[b], V + b * hp * size, g, H, b > 0)
            multiply_scaled(bar[b], w, D + b * hp * size, H)
        if g:
            multiply(product, (D, 1, hp), (X, N), (gW, N), (B, H, N), 0)
        if xbar:
            multiply(product, (D, hp, 1), (W, N), (xbar, N), (H, B, N), 0)

    return Kernel(reverse_few, Reverse)


def per_sample(dtype: np.dtype) -> Kernel:
    """Rows ∇_w f_b: the one first-order mode that writes B × P numbers.

    ``per_sample(plan, w, X, B, J)``
    """
    p = passes(dtype)
    pointer, width, size, chunk_size = p.pointer, p.width, p.size, p.chunk_size
    activate, weighted_rows, dot = p.activate, p.weighted_rows, p.dot
    few, workspace = p.few, p.workspace
    dots, room_of = dots_of(dtype), _room_of(dtype)

    @loop
    def row(plan, w, sample, slope, x, J):
        """Write one row of J; numbers of the sample's (V, D, step) are `step` apart; spoils D."""
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        V, D, step = sample
        av = pointer(w)
        jv = pointer(J)
        for i in range(H):
            v = pointer(V + i * step * size)
            d = pointer(D + i * step * size)
            jv[i] = slope * v[0]
            d[0] = slope * av[i] * d[0]
        target = J + load(plan, W_OFFSET)
        multiply(load(plan, PRODUCT), (D, step, 0), (x, N), (target, N), (1, H, N), 0)

    def per_sample(plan, w, X, B, J):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        W = w + load(plan, W_OFFSET)
        output = load(plan, OUTPUT + 1)
        own = allocate(workspace(N, H, B) * size)
        if own == 0:
            return NO_MEMORY
        most = 1 if few(B) else chunk_size(N, H, B, 2)
        room = room_of(own, 0 if most == 1 else N, H, most)  # alone, a sample is not packed
        V, D, s = room.V, room.D, room.head.s
        slopes = pointer(room.head.slopes)
        for first in range(0, B, most):
            n = smaller(most, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * N * size
            if most == 1:
                cp = 1
                i = 0
                while i < H:
                    dots(W + i * N * size, N, H - i, x, N, V + i * size)
                    i += width
                activate(plan, 1, V, D, 0, 1)
                pointer(s)[0] = dot(w, V, H)
            else:
                call_pack(load(plan, PACK), x, n, N, room.panels)
                multiply(load(plan, PRODUCT), (W, N, 1), (room.panels, 0), (V, cp), (N, H, cp), 0)
                activate(plan, 1, V, D, 0, cp)
                weighted_rows(w, V, s, H, cp)
            call_activation_block(output, s, room.head.slopes, 0, n)
            for b in range(n):
                at = b * size
                out = J + (first + b) * load(plan, N_PARAMS) * size
                row(plan, w, (V + at, D + at, cp), slopes[b], x + b * N * size, out)
        release(own)
        return DONE

    return Kernel(per_sample, PerSample)
