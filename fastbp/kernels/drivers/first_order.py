"""First-order kernels: the forward pass and the reverse accumulation, chunk by chunk.

Per chunk of samples (docs/mathematics.md, question 7), neuron-major:

    Z^T = W · X^T                      u, v' = v_i(z_i), v_i'(z_i)
    S^T = A · U^T,  y = σ(s)           s̄ = ȳ σ'(s), or c ℓ'(y, t) σ'(s) / Σ c for a loss
    ∇_A += S̄^T · U                     D^T = (A^T · S̄^T) ∘ V'^T
    ∇_W += D^T · X                     x̄_b = D_b · W

Where K = 1, ∇_A and D are one pass over V and V'.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load
from ..machine.build import Kernel, loop
from ..machine.callers import call_input_rows, call_pack, call_softmax_moved, multiply
from ..machine.integers import larger, smaller
from ..machine.places import (
    COPY,
    INPUT_ROWS,
    N_INPUTS,
    N_NEURONS,
    N_OUTPUTS,
    N_PARAMS,
    OUTPUTS,
    PACK,
    PRODUCT,
    SLOPES,
    SOFTMAX,
    SOFTMAX_MOVED,
    VALUES,
    W_OFFSET,
)
from ..machine.records import DONE, NO_MEMORY, PerSample, Reverse
from ..machine.target import lanes
from ..machine.workspace import borrow, give_back
from .head import Cotangent, Head, head_of, outputs_of
from .passes import Chunk, passes
from .products import dots_of


class Room(NamedTuple):
    """Memory of a chunk, addresses: the samples packed, H × c numbers each, and the head."""

    panels: int
    V: int
    D: int  # v', and where K = 1 D
    E: int  # where K > 1: D
    head: Head
    gA: int  # H × K


@cache
def _room_of(dtype: np.dtype) -> Callable:
    width, lines, head_rows = lanes(dtype), passes(dtype).lines, passes(dtype).head_rows

    @loop
    def room(ws, N, H, K, c):
        """Memory of c samples, neuron-major, in a workspace of the size in `machine.sizes`."""
        panels = (ws + 63) // 64 * 64
        V = panels + lines(c * (larger(N, K if K > 1 else 0) + width))
        D = V + lines(c * H)
        E = D + lines(c * H) if K > 1 else D
        s = E + lines(c * H)
        step = lines(c * K)
        given = s + 3 * step
        gA = given + lines(c * head_rows(K))
        return Room(panels, V, D, E, Head(s, s + step, 0, s + 2 * step, 0, given), gA)

    return room


@cache
def _backward_of(dtype: np.dtype) -> Callable:
    """Return the jitted step from s̄ to ∇_A and D."""
    accumulate, multiply_scaled = passes(dtype).accumulate, passes(dtype).multiply_scaled
    one = dtype.type(1)
    add_transposed = add_transposed_of(dtype)

    @loop
    def backward(plan, w, room, g, cp, add):
        """∇_A (+)= S̄^T U, unless g is 0, and D = (S̄ A) ∘ V', whose address is returned."""
        H, K = load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        sbar = room.head.sbar
        if K == 1:
            accumulate(w, room.V, room.D, sbar, g, H, cp, add)
            return room.D
        product = load(plan, PRODUCT)
        multiply(product, (w, 1, H), (sbar, cp), (room.E, cp), (K, H, cp), 0)
        multiply_scaled(one, room.D, room.E, H * cp)
        if g:  # after D: g may be w
            add_transposed(plan, room.V, sbar, room.panels, room.gA, g, cp, add)
        return room.E

    return backward


@cache
def add_transposed_of(dtype: np.dtype) -> Callable:
    """Return the jitted step ∇_A (+)= S̄^T U, K > 1."""
    pointer = POINTER[dtype]

    @loop
    def add_transposed(plan, U, sbar, panels, gA, g, cp, add):
        """U and S̄ are H × c and K × c; `panels` and `gA` (H × K) are to work with."""
        H, K = load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        call_pack(load(plan, PACK), sbar, K, cp, panels)
        multiply(load(plan, PRODUCT), (U, cp, 1), (panels, 0), (gA, K), (cp, H, K), 0)
        source, target = pointer(gA), pointer(g)
        for k in range(K):
            for i in range(H):
                at = k * H + i
                target[at] = target[at] + source[i * K + k] if add else source[i * K + k]

    return add_transposed


def reverse(dtype: np.dtype) -> Kernel:
    """Value, gradients and loss of a run of samples: the one first-order driver.

    ``reverse(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result, row)``

    Addresses are 0 where a thing is not given or not wanted: with a `loss` table the cotangent
    is that of Σ_b c_b ℓ(y_b, t_b) times `scale` and ``result[0]`` grows by the weighted
    losses; without it, it is `ybar` (ones where 0). y, g and xbar
    receive values, ∇_w and the rows ȳ_b ∇_x f_b. `panels` is X already packed.
    Where g is w itself, ∇_w is added to it: with a negative `scale` that is a step of descent,
    for samples that are one chunk.
    """
    p = passes(dtype)
    width, size, chunk_size, activate = p.width, p.size, p.chunk_size, p.activate
    outputs, backward, copies = outputs_of(dtype), _backward_of(dtype), p.copies
    head, room_of = head_of(dtype, False), _room_of(dtype)
    pointer64 = POINTER[np.dtype(np.float64)]

    def reverse(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result, row):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        product = load(plan, PRODUCT)
        W, gW = w + load(plan, W_OFFSET), g + load(plan, W_OFFSET)
        what, step = SLOPES if g or xbar else VALUES, row if row else N
        most = chunk_size(N, H, B, 2 if K == 1 else 3)
        room = room_of(ws, N, H, K, most)
        V = room.V
        given = Cotangent(plan, loss, t, c, scale, ybar, y)
        for first in range(0, B, most):
            n = smaller(most, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * step * size
            source = panels + first * N * size
            if not panels:
                call_pack(load(plan, PACK), x, n, N, room.panels, step)
                source = room.panels
            multiply(product, (W, N, 1), (source, 0), (V, cp), (N, H, cp), 0)
            activate(plan, what, V, room.D, 0, cp)
            outputs(plan, w, V, room.head.s, cp)
            total = head(given, room.head, what, Chunk(first, n, cp))
            if loss:
                pointer64(result)[0] += total
            if what == SLOPES:
                more = 1 if first or g == w else 0
                D = backward(plan, w, room, g, cp, more)
                if g and copies(N, H):
                    call_pack(load(plan, COPY), x, n, N, room.panels, step)
                    multiply(product, (D, cp, 1), (room.panels, 0), (gW, N), (n, H, N), more)
                elif g:
                    multiply(product, (D, cp, 1), (x, step), (gW, N), (n, H, N), more)
                if xbar:
                    out = xbar + first * N * size
                    multiply(product, (D, 1, cp), (W, N), (out, N), (H, n, N), 0)

    return Kernel(reverse, Reverse)


def reverse_few(dtype: np.dtype) -> Kernel:
    """The same as `reverse` for so few samples that `few` holds: sample-major."""
    p = passes(dtype)
    pointer, width, size, activate, dot = p.pointer, p.width, p.size, p.activate, p.dot
    add_scaled, multiply_scaled, lines = p.add_scaled, p.multiply_scaled, p.lines
    dots, head, one = dots_of(dtype), head_of(dtype, False), p.real(1)
    pointer64 = POINTER[np.dtype(np.float64)]

    def reverse_few(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result, row):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        product = load(plan, PRODUCT)
        W, gW = w + load(plan, W_OFFSET), g + load(plan, W_OFFSET)
        what, across = SLOPES if g or xbar else VALUES, row if row else N
        hp = (H + width - 1) // width * width
        V = (ws + 63) // 64 * 64
        D = V + B * hp * size
        E = D + B * hp * size
        s = E + hp * size if K > 1 else E
        step = lines(B * K)
        room = Head(s, s + step, 0, s + 2 * step, 0, s + 3 * step)
        sv, bar = pointer(room.s), pointer(room.sbar)
        for b in range(B):
            v = V + b * hp * size
            i = 0
            while i < H:
                dots(W + i * N * size, N, H - i, X + b * across * size, N, v + i * size)
                i += width
            activate(plan, what, v, D + b * hp * size, 0, 1)
            for k in range(K):
                sv[k * B + b] = dot(w + k * H * size, v, H)
        given = Cotangent(plan, loss, t, c, scale, ybar, y)
        total = head(given, room, what, Chunk(0, B, B))
        if loss:
            pointer64(result)[0] += total
        if what == VALUES:
            return
        for b in range(B):
            v, d = V + b * hp * size, D + b * hp * size
            if g:
                for k in range(K):
                    add_scaled(bar[k * B + b], v, g + k * H * size, H, b > 0)
            if K == 1:
                multiply_scaled(bar[b], w, d, H)
            else:
                for k in range(K):
                    add_scaled(bar[k * B + b], w + k * H * size, E, H, k > 0)
                multiply_scaled(one, E, d, H)
        if g:
            multiply(product, (D, 1, hp), (X, across), (gW, N), (B, H, N), 0)
        if xbar:
            multiply(product, (D, hp, 1), (W, N), (xbar, N), (H, B, N), 0)

    return Kernel(reverse_few, Reverse)


def per_sample(dtype: np.dtype) -> Kernel:
    """Rows ∇_w y_{b,k} and ∇_x y_{b,k}: the one first-order mode that writes B × K × P numbers.

    ``per_sample(plan, w, X, B, y, J, xbar)``; y is 0 where it is not wanted, and J or xbar.
    """
    p = passes(dtype)
    pointer, width, size, chunk_size, few = p.pointer, p.width, p.size, p.chunk_size, p.few
    activate, dot, workspace, input_rows = p.activate, p.dot, p.workspace, p.input_rows
    dots, room_of, outputs = dots_of(dtype), _room_of(dtype), outputs_of(dtype)
    head, backward, seed = head_of(dtype, False), _backward_of(dtype), _seed_of(dtype)

    @loop
    def row(plan, room, b, cp, D, x, J):
        """Write one row of J, of sample b of the chunk."""
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        V, bar, jv = pointer(room.V), pointer(room.head.sbar), pointer(J)
        for k in range(K):
            slope = bar[k * cp + b]
            for i in range(H):
                jv[k * H + i] = slope * V[i * cp + b]
        target = J + load(plan, W_OFFSET)
        multiply(load(plan, PRODUCT), (D + b * size, cp, 0), (x, N), (target, N), (1, H, N), 0)

    def per_sample(plan, w, X, B, y, J, xbar):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        P, W, product = load(plan, N_PARAMS), w + load(plan, W_OFFSET), load(plan, PRODUCT)
        most = 1 if few(B) else chunk_size(N, H, B, 2 if K == 1 else 3)
        together, work, numbers = xbar != 0 and most > 1, 0, workspace(N, H, K, B)
        if together:
            work, numbers = numbers, numbers + input_rows(N, H, K)
        own = borrow(plan, numbers * size)
        if own == 0:
            return NO_MEMORY
        room = room_of(own, 0 if most == 1 else N, H, K, most)  # alone, a sample is not packed
        V, D = room.V, room.D
        given = Cotangent(plan, 0, 0, 0, 1.0, 0, y)
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
            else:
                call_pack(load(plan, PACK), x, n, N, room.panels)
                multiply(product, (W, N, 1), (room.panels, 0), (V, cp), (N, H, cp), 0)
            activate(plan, 1, V, D, 0, cp)
            if most == 1:
                for k in range(K):
                    pointer(room.head.s)[k] = dot(w + k * H * size, V, H)
            else:
                outputs(plan, w, V, room.head.s, cp)
            head(given, room.head, SLOPES, Chunk(first, n, cp))
            if together:
                call_input_rows(
                    load(plan, INPUT_ROWS), plan=plan, w=w, D=D, bent=0, slopes=room.head.slopes,
                    moved=0, top=room.head.given + K * cp * size, n=n, padded=cp,
                    own=own + work * size, rows=xbar + first * K * N * size,
                )  # fmt: skip
                continue
            for k in range(K):
                seed(plan, room.head, k, cp)
                delta = backward(plan, w, room, 0, cp, 0)
                if xbar:
                    out = xbar + (first * K + k) * N * size
                    multiply(product, (delta, 1, cp), (W, N), (out, K * N), (H, n, N), 0)
                if J:
                    for b in range(n):
                        target = J + ((first + b) * K + k) * P * size
                        row(plan, room, b, cp, delta, x + b * N * size, target)
        give_back(plan, own)
        return DONE

    return Kernel(per_sample, PerSample)


@cache
def _seed_of(dtype: np.dtype) -> Callable:
    pointer, size, zero, one = POINTER[dtype], dtype.itemsize, dtype.type(0), dtype.type(1)

    @loop
    def seed(plan, room, k, cp):
        """S̄ of y_k alone, row k of J_σ, once the head has left σ' or y."""
        K = load(plan, N_OUTPUTS)
        joined = load(load(plan, OUTPUTS), SOFTMAX)
        if K == 1:
            return  # the head has made it
        for m in range(K):
            rows = room.given if joined else room.sbar
            unit = pointer(rows + m * cp * size)
            slopes = pointer(room.slopes + m * cp * size)
            for b in range(cp):
                unit[b] = (one if joined else slopes[b]) if m == k else zero
        if joined:
            call_softmax_moved(
                load(load(plan, OUTPUTS), SOFTMAX_MOVED), plan=plan, loss=0, y=room.slopes, ybar=0,
                curvature=0, scratch=room.given + K * cp * size, sdot=room.given, ydot=room.sbar,
                sbardot=0, what=SLOPES, padded=cp,
            )  # fmt: skip

    return seed
