"""Directional and second-order kernels: forward over reverse, and Gauss–Newton products.

Per chunk, neuron-major, with the direction p = (p_a, P_W) in w and dX in x (docs/mathematics.md,
"Beyond the sheet"):

    Z^T = W · X^T                      Ż^T = P_W · X^T + W · dX^T
    s = a · U^T                        ṡ = p_a · U^T + a · (V' ∘ Ż)^T,   ẏ = σ'(s) ṡ
    s̄ = ȳ σ'(s)                        s̄˙ = h ṡ  (`head`; Gauss–Newton: κ ṡ)
    ∇_a: U^T s̄˙ + (V' ∘ Ż)^T s̄         δ˙ = a (s̄˙ v' + s̄ v'' ż) + p_a s̄ v'
    ∇_W: δ˙^T · X                      rows of x: δ˙ · W
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, allocate, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_pack, multiply
from ..machine.integers import smaller
from ..machine.places import (
    CURVED,
    FULL,
    HESSIAN,
    N_INPUTS,
    N_NEURONS,
    NOTHING,
    PACK,
    PRODUCT,
    SLOPES,
    W_OFFSET,
)
from ..machine.records import DONE, NO_MEMORY, Tangent
from .head import Cotangent, Head, head_of
from .passes import Chunk, passes


class Room(NamedTuple):
    """Memory of a chunk, addresses: X and dX packed, H × c numbers each, the head, and ṡ."""

    panels: int
    moved: int
    V: int
    D: int
    DD: int
    Zdot: int
    head: Head
    sdot: int


def _move_rows(dtype: np.dtype) -> Callable:
    pointer, size = POINTER[dtype], dtype.itemsize

    @loop
    def move_rows(a, room, H, cp):
        """ṡ_b += Σ_i a_i v'[i, b] ż[i, b], neuron-major; two rows at a time share ṡ."""
        av, sv = pointer(a), pointer(room.sdot)
        i = 0
        while i + 2 <= H:
            a0, a1 = av[i], av[i + 1]
            here, below = i * cp * size, (i + 1) * cp * size
            d0, z0 = pointer(room.D + here), pointer(room.Zdot + here)
            d1, z1 = pointer(room.D + below), pointer(room.Zdot + below)
            for b in range(cp):
                sv[b] += a0 * (d0[b] * z0[b]) + a1 * (d1[b] * z1[b])
            i += 2
        while i < H:
            a0 = av[i]
            here = i * cp * size
            d0, z0 = pointer(room.D + here), pointer(room.Zdot + here)
            for b in range(cp):
                sv[b] += a0 * (d0[b] * z0[b])
            i += 1

    return move_rows


def _both_rows(dtype: np.dtype) -> Callable:
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)

    @loop
    def both_rows(a, pa, room, H, cp):
        """s_b = Σ_i a_i v[i, b] and ṡ_b = Σ_i p_i v[i, b] + a_i v'[i, b] ż[i, b].

        In one pass: jvp is 2 % faster in float64, 5 to 12 % in float32.
        """
        av, pv = pointer(a), pointer(pa)
        sv, sd = pointer(room.head.s), pointer(room.sdot)
        V, D, Zdot = room.V, room.D, room.Zdot
        for b in range(cp):
            sv[b] = zero
            sd[b] = zero
        i = 0
        while i + 2 <= H:
            a0, a1, p0, p1 = av[i], av[i + 1], pv[i], pv[i + 1]
            here, below = i * cp * size, (i + 1) * cp * size
            v0, d0, z0 = pointer(V + here), pointer(D + here), pointer(Zdot + here)
            v1, d1, z1 = pointer(V + below), pointer(D + below), pointer(Zdot + below)
            for b in range(cp):
                sv[b] += a0 * v0[b] + a1 * v1[b]
                moved = a0 * (d0[b] * z0[b]) + a1 * (d1[b] * z1[b])
                sd[b] += (p0 * v0[b] + p1 * v1[b]) + moved
            i += 2
        while i < H:
            a0, p0 = av[i], pv[i]
            here = i * cp * size
            v0, d0, z0 = pointer(V + here), pointer(D + here), pointer(Zdot + here)
            for b in range(cp):
                sv[b] += a0 * v0[b]
                sd[b] += p0 * v0[b] + a0 * (d0[b] * z0[b])
            i += 1

    return both_rows


def _gradients(dtype: np.dtype) -> Callable:
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)

    @loop
    def gradients(a, pa, room, g, H, chunk, what):
        """∇_a (+)= U^T s̄˙ + (V' ∘ Ż)^T s̄, and δ˙ in place of v'; s̄˙ stands in h's place."""
        cp = chunk.padded
        av = view(pointer(a), H)
        s, sd = view(pointer(room.head.sbar), cp), view(pointer(room.head.h), cp)
        for i in range(H):
            ai = av[i]
            here = i * cp * size
            v, d = view(pointer(room.V + here), cp), view(pointer(room.D + here), cp)
            total = zero
            if what == HESSIAN:
                pi = view(pointer(pa), H)[i] if pa else zero
                dd, z = view(pointer(room.DD + here), cp), view(pointer(room.Zdot + here), cp)
                for b in range(cp):
                    total += v[b] * sd[b] + d[b] * z[b] * s[b]
                    d[b] = ai * (sd[b] * d[b] + s[b] * dd[b] * z[b]) + pi * s[b] * d[b]
            else:
                for b in range(cp):
                    total += v[b] * sd[b]
                    d[b] = ai * sd[b] * d[b]
            if g:
                out = view(pointer(g + i * size), 1)
                out[0] = out[0] + total if chunk.first else total

    return gradients


def tangent(dtype: np.dtype) -> Kernel:
    """Directional derivative, Gauss–Newton and Hessian products of a run of samples.

    ``tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar)``

    `p` and `dX` are the direction, each 0 where it is zero; `ydot` receives ẏ_b; with `what`
    GAUSS_NEWTON or HESSIAN, g and xbar receive the
    product; without a `loss`, ȳ = 1 and ℓ'' = 0.
    """
    q = passes(dtype)
    pointer, width, size, lines = q.pointer, q.width, q.size, q.lines
    chunk_size, workspace = q.chunk_size, q.tangent_workspace
    activate, weighted_rows = q.activate, q.weighted_rows
    move_rows, both_rows, gradients = _move_rows(dtype), _both_rows(dtype), _gradients(dtype)
    head = head_of(dtype, True)
    zero = q.real(0)

    def tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        product, pack = load(plan, PRODUCT), load(plan, PACK)
        W = w + load(plan, W_OFFSET)
        P_W, gW = p + load(plan, W_OFFSET), g + load(plan, W_OFFSET)
        most = chunk_size(N, H, B, 4)
        own = allocate(workspace(N, H, B) * size)
        if own == 0:
            return NO_MEMORY
        panels = (own + 63) // 64 * 64
        packed, rows, line = lines(most * N), lines(most * H), lines(most)
        V = panels + 2 * packed
        s = V + 4 * rows
        buffers = Head(s, s + line, s + 2 * line, s + 3 * line, s + 4 * line)
        D, DD, Zdot = V + rows, V + 2 * rows, V + 3 * rows
        room = Room(panels, panels + packed, V, D, DD, Zdot, buffers, s + 5 * line)
        given = Cotangent(plan, loss, t, c, scale, 0, 0)
        asked = SLOPES
        if what != NOTHING:
            asked = FULL if what == HESSIAN else CURVED
        sdot, slopes = pointer(room.sdot), pointer(buffers.slopes)
        sbardot = pointer(buffers.h)  # h, then h ṡ
        for first in range(0, B, most):
            n = smaller(most, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * N * size
            call_pack(pack, x, n, N, panels)
            multiply(product, (W, N, 1), (panels, 0), (V, cp), (N, H, cp), 0)
            if p:
                multiply(product, (P_W, N, 1), (panels, 0), (Zdot, cp), (N, H, cp), 0)
            if dX:
                call_pack(pack, dX + first * N * size, n, N, room.moved)
                multiply(product, (W, N, 1), (room.moved, 0), (Zdot, cp), (N, H, cp), 1 if p else 0)
            activate(plan, 2 if what == HESSIAN else 1, V, D, DD, cp)
            if p:
                both_rows(w, p, room, H, cp)
            else:
                weighted_rows(w, V, s, H, cp)
                for b in range(cp):
                    sdot[b] = zero
                move_rows(w, room, H, cp)
            chunk = Chunk(first, n, cp)
            head(given, buffers, asked, chunk)
            if ydot:
                out = pointer(ydot + first * size)
                for b in range(n):
                    out[b] = slopes[b] * sdot[b]
            if what != NOTHING:
                for b in range(n):
                    sbardot[b] *= sdot[b]
                gradients(w, p, room, g, H, chunk, what)
                more = 1 if first else 0
                if g:
                    multiply(product, (D, cp, 1), (x, N), (gW, N), (n, H, N), more)
                if xbar:
                    target = xbar + first * N * size
                    multiply(product, (D, 1, cp), (W, N), (target, N), (H, n, N), 0)
        release(own)
        return DONE

    return Kernel(tangent, Tangent)
