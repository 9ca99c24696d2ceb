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
    N_PARAMS,
    NOTHING,
    PACK,
    PRODUCT,
    SLOPES,
    W_OFFSET,
)
from ..machine.records import DONE, NO_MEMORY, Tangent
from .head import Cotangent, Head, head_of
from .passes import Chunk, passes
from .tree import part_size, tree_of


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
    def gradients(a, pa, room, g, H, cp, what, add):
        """∇_a (+)= U^T s̄˙ + (V' ∘ Ż)^T s̄, and δ˙ in place of v'; s̄˙ stands in h's place."""
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
                out[0] = out[0] + total if add else total

    return gradients


def tangent(dtype: np.dtype) -> Kernel:
    """Directional derivative, Gauss–Newton and Hessian products of a batch, part by part.

    ``tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar, part)``

    `p` and `dX` are the direction, each 0 where it is zero; `ydot` receives ẏ_b; with `what`
    GAUSS_NEWTON or HESSIAN, g and xbar receive the
    product; without a `loss`, ȳ = 1 and ℓ'' = 0. `part` as `batch` has it.
    """
    q = passes(dtype)
    pointer, width, size, lines = q.pointer, q.width, q.size, q.lines
    chunk_size, workspace, tree_numbers = q.chunk_size, q.tangent_workspace, q.tree_numbers
    activate, weighted_rows = q.activate, q.weighted_rows
    move_rows, both_rows, gradients = _move_rows(dtype), _both_rows(dtype), _gradients(dtype)
    head, tree = head_of(dtype, True), tree_of(dtype)
    ones, place, merge = tree.ones, tree.place, tree.merge
    zero = q.real(0)

    @loop
    def room_of(own, N, H, most):
        """Memory of so many samples."""
        panels = (own + 63) // 64 * 64
        packed, rows, line = lines(most * N), lines(most * H), lines(most)
        V = panels + 2 * packed
        s = V + 4 * rows
        buffers = Head(s, s + line, s + 2 * line, s + 3 * line, s + 4 * line)
        D, DD, Zdot = V + rows, V + 2 * rows, V + 3 * rows
        return Room(panels, panels + packed, V, D, DD, Zdot, buffers, s + 5 * line)

    @loop
    def move(given, w, X, along, what, room, chunk):
        """Everything up to ṡ, and the head; `along` is (p, dX)."""
        plan = given.plan
        N, H, cp = load(plan, N_INPUTS), load(plan, N_NEURONS), chunk.padded
        product, pack, offset = load(plan, PRODUCT), load(plan, PACK), load(plan, W_OFFSET)
        p, dX = along
        at = chunk.first * N * size
        V, Zdot, W = room.V, room.Zdot, w + offset
        call_pack(pack, X + at, chunk.n, N, room.panels)
        multiply(product, (W, N, 1), (room.panels, 0), (V, cp), (N, H, cp), 0)
        if p:
            multiply(product, (p + offset, N, 1), (room.panels, 0), (Zdot, cp), (N, H, cp), 0)
        if dX:
            call_pack(pack, dX + at, chunk.n, N, room.moved)
            multiply(product, (W, N, 1), (room.moved, 0), (Zdot, cp), (N, H, cp), 1 if p else 0)
        activate(plan, 2 if what == HESSIAN else 1, V, room.D, room.DD, cp)
        if p:
            both_rows(w, p, room, H, cp)
        else:
            weighted_rows(w, V, room.head.s, H, cp)
            sdot = pointer(room.sdot)
            for b in range(cp):
                sdot[b] = zero
            move_rows(w, room, H, cp)
        asked = SLOPES
        if what != NOTHING:
            asked = FULL if what == HESSIAN else CURVED
        head(given, room.head, asked, chunk)

    def tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar, part):
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        product, W = load(plan, PRODUCT), w + load(plan, W_OFFSET)
        part = part if part else part_size(B)
        n_parts = (B + part - 1) // part
        most = chunk_size(N, H, smaller(part, B), 4)
        numbers = workspace(N, H, smaller(part, B))
        own = allocate((numbers + tree_numbers(n_parts, P)) * size)
        if own == 0:
            return NO_MEMORY
        room, places = room_of(own, N, H, most), own + numbers * size
        D = room.D
        given = Cotangent(plan, loss, t, c, scale, 0, 0)
        sdot, slopes = pointer(room.sdot), pointer(room.head.slopes)
        sbardot = pointer(room.head.h)  # h, then h ṡ
        for k in range(n_parts):
            sums = place(ones(k), g, places, P) if g else 0
            end = smaller(k * part + part, B)
            for first in range(k * part, end, most):
                n = smaller(most, end - first)
                cp = (n + width - 1) // width * width
                move(given, w, X, (p, dX), what, room, Chunk(first, n, cp))
                if ydot:
                    out = pointer(ydot + first * size)
                    for b in range(n):
                        out[b] = slopes[b] * sdot[b]
                if what == NOTHING:
                    continue
                for b in range(n):
                    sbardot[b] *= sdot[b]
                add = 1 if first > k * part else 0
                gradients(w, p, room, sums, H, cp, what, add)
                if g:
                    x, gW = X + first * N * size, sums + load(plan, W_OFFSET)
                    multiply(product, (D, cp, 1), (x, N), (gW, N), (n, H, N), add)
                if xbar:
                    target = xbar + first * N * size
                    multiply(product, (D, 1, cp), (W, N), (target, N), (H, n, N), 0)
            merge(k, k + 1 == n_parts, g, places, 1, P, 0)
        release(own)
        return DONE

    return Kernel(tangent, Tangent)
