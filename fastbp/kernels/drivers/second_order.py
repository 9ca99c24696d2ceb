"""Directional and second-order kernels: forward over reverse, and Gauss–Newton products.

Per chunk, neuron-major, with the direction p = (p_a, P_W) in w and dX in x (docs/mathematics.md,
"Beyond the sheet"):

    Z^T = W · X^T                      Ż^T = P_W · X^T + W · dX^T
    S^T = A · U^T                      Ṡ^T = P_A · U^T + A · (V' ∘ Ż)^T,   ẏ = σ'(s) ṡ
    s̄ = ȳ σ'(s)                        s̄˙ = h ṡ  (`head`; Gauss–Newton: κ ṡ)
    ∇_A: S̄˙^T U + S̄^T (V' ∘ Ż)         δ˙ = A^T (s̄˙ v' + s̄ v'' ż) + P_A^T s̄ v'
    ∇_W: δ˙^T · X                      rows of x: δ˙ · W
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import (
    call_input_rows,
    call_pack,
    call_softmax_moved,
    call_tangent,
    multiply,
)
from ..machine.integers import larger, smaller
from ..machine.places import (
    CURVED,
    FULL,
    HESSIAN,
    INPUT_ROWS,
    LOSS_OUTPUTS,
    N_INPUTS,
    N_NEURONS,
    N_OUTPUTS,
    N_PARAMS,
    NOTHING,
    OUTPUTS,
    PACK,
    PRODUCT,
    SLOPES,
    SOFTMAX_MOVED,
    TANGENT,
    W_OFFSET,
)
from ..machine.records import DONE, NO_MEMORY, Tangent
from ..machine.workspace import borrow, give_back
from .first_order import add_transposed_of
from .head import Cotangent, Head, head_of, rows_of
from .passes import Chunk, passes
from .tree import part_size, tree_of
from .weighing import Observations, Sums, weighing_of


class Room(NamedTuple):
    """Memory of a chunk, addresses: X and dX packed, H × c numbers each, the head, ṡ."""

    panels: int
    moved: int
    V: int
    D: int
    DD: int
    Zdot: int
    Udot: int  # where K > 1
    head: Head
    sdot: int
    ydot: int
    gA: int  # H × K


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


def _move_together(dtype: np.dtype) -> Callable:
    pointer = POINTER[dtype]

    @loop
    def move_together(plan, a, p, room, cp):
        """S and Ṡ = A U̇ + P_A U."""
        H, K = load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        product, s, sdot = load(plan, PRODUCT), room.head.s, room.sdot
        u, d, z = pointer(room.Udot), pointer(room.D), pointer(room.Zdot)
        for k in range(H * cp):
            u[k] = d[k] * z[k]
        multiply(product, (a, H, 1), (room.V, cp), (s, cp), (H, K, cp), 0)
        multiply(product, (a, H, 1), (room.Udot, cp), (sdot, cp), (H, K, cp), 0)
        if p:
            multiply(product, (p, H, 1), (room.V, cp), (sdot, cp), (H, K, cp), 1)

    return move_together


def _gradients_together(dtype: np.dtype) -> Callable:
    pointer, add_transposed = POINTER[dtype], add_transposed_of(dtype)

    @loop
    def gradients_together(plan, a, p, room, g, cp, what, add):
        """∇_A (+)= S̄˙^T U + S̄^T U̇, and Ḋ = (S̄˙ A + S̄ P_A) ∘ V' + (S̄ A) ∘ V'' ∘ Ż in place of V'."""
        H, K = load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        product, sbar, sbardot = load(plan, PRODUCT), room.head.sbar, room.head.h
        add_transposed(plan, room.V, sbardot, room.panels, room.gA, g, cp, add)
        if what == HESSIAN:
            add_transposed(plan, room.Udot, sbar, room.panels, room.gA, g, cp, 1)
        multiply(product, (a, 1, H), (sbardot, cp), (room.V, cp), (K, H, cp), 0)
        d, e = view(pointer(room.D), H * cp), view(pointer(room.V), H * cp)
        if what != HESSIAN:
            for k in range(H * cp):
                d[k] *= e[k]
            return
        if p:
            multiply(product, (p, 1, H), (sbar, cp), (room.V, cp), (K, H, cp), 1)
        multiply(product, (a, 1, H), (sbar, cp), (room.Udot, cp), (K, H, cp), 0)
        bent, dd = view(pointer(room.Udot), H * cp), view(pointer(room.DD), H * cp)
        z = view(pointer(room.Zdot), H * cp)
        for k in range(H * cp):
            d[k] = e[k] * d[k] + bent[k] * dd[k] * z[k]

    return gradients_together


def _changes(dtype: np.dtype) -> Callable:
    pointer, size = POINTER[dtype], dtype.itemsize

    @loop
    def changes(plan, w, room, own, chunk, rows):
        """The change of each output's row by x; `own` is memory for it."""
        H, K, cp = load(plan, N_NEURONS), load(plan, N_OUTPUTS), chunk.padded
        bent, z = pointer(room.DD), pointer(room.Zdot)
        for k in range(H * cp):
            bent[k] *= z[k]
        joined = load(load(plan, OUTPUTS), SOFTMAX_MOVED)
        call_input_rows(
            load(plan, INPUT_ROWS), plan=plan, w=w, D=room.D, bent=room.DD,
            slopes=room.head.slopes, moved=room.ydot if joined else room.head.h,
            top=room.head.given + K * cp * size, n=chunk.n, padded=cp, own=own, rows=rows,
        )  # fmt: skip

    return changes


def _room_of(dtype: np.dtype) -> Callable:
    q = passes(dtype)
    width, lines, head_rows = q.width, q.lines, q.head_rows

    @loop
    def room_of(own, N, H, K, most):
        """Memory of so many samples."""
        panels = (own + 63) // 64 * 64
        packed, rows, line = lines(most * N), lines(most * H), lines(most * K)
        moved = panels + packed
        if K > 1:
            moved = panels + lines(most * (larger(N, K) + width))
        V = moved + packed
        D, DD, Zdot = V + rows, V + 2 * rows, V + 3 * rows
        Udot = Zdot + rows if K > 1 else Zdot
        s = Udot + rows
        given = s + 7 * line
        gA = given + lines(most * head_rows(K))
        buffers = Head(s, s + line, s + 2 * line, s + 3 * line, s + 4 * line, given)
        return Room(panels, moved, V, D, DD, Zdot, Udot, buffers, s + 5 * line, s + 6 * line, gA)

    return room_of


def _move(dtype: np.dtype) -> Callable:
    q = passes(dtype)
    pointer, size, activate, weighted_rows = q.pointer, q.size, q.activate, q.weighted_rows
    move_rows, both_rows, zero = _move_rows(dtype), _both_rows(dtype), q.real(0)
    move_together = _move_together(dtype)

    @loop
    def move(given, w, X, along, what, room, chunk):
        """Everything up to ṡ; `along` is (p, dX)."""
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
        if load(plan, N_OUTPUTS) > 1:
            move_together(plan, w, p, room, cp)
        elif p:
            both_rows(w, p, room, H, cp)
        else:
            weighted_rows(w, V, room.head.s, H, cp)
            sdot = pointer(room.sdot)
            for b in range(cp):
                sdot[b] = zero
            move_rows(w, room, H, cp)

    return move


def _head_moved(dtype: np.dtype) -> Callable:
    pointer, size, head = POINTER[dtype], dtype.itemsize, head_of(dtype, True)

    @loop
    def head_moved(given, room, what, chunk):
        """The head, ẏ, and s̄˙ in place of h."""
        plan, loss, cp = given.plan, given.loss, chunk.padded
        K = load(plan, N_OUTPUTS)
        asked = SLOPES
        if what != NOTHING:
            asked = FULL if what == HESSIAN else CURVED
        head(given, room.head, asked, chunk)
        joined = load(load(loss, LOSS_OUTPUTS) if loss else load(plan, OUTPUTS), SOFTMAX_MOVED)
        if joined:
            call_softmax_moved(
                joined, plan=plan, loss=loss, y=room.head.slopes, ybar=room.head.curvatures,
                curvature=room.head.h, scratch=room.head.given + K * cp * size, sdot=room.sdot,
                ydot=room.ydot, sbardot=room.head.h, what=asked, padded=cp,
            )  # fmt: skip
            return
        d, h = pointer(room.head.slopes), pointer(room.head.h)
        sdot, ydot = pointer(room.sdot), pointer(room.ydot)
        for b in range(K * cp):
            ydot[b] = d[b] * sdot[b]
        if what != NOTHING:
            for b in range(K * cp):
                h[b] *= sdot[b]

    return head_moved


def tangent(dtype: np.dtype) -> Kernel:
    """Directional derivative, Gauss–Newton and Hessian products of a batch, part by part.

    ``tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar, part)``

    `p` and `dX` are the direction, each 0 where it is zero; `ydot` receives ẏ_b; with `what`
    GAUSS_NEWTON or HESSIAN, g and xbar receive the product. Without a `loss`, what is derived
    twice is each y_{b,k}, and xbar has a row for each. `part` as `batch` has it.
    """
    q = passes(dtype)
    width, size, chunk_size = q.width, q.size, q.chunk_size
    workspace, input_rows = q.tangent_workspace, q.input_rows
    tree_numbers, tree = q.tree_numbers, tree_of(dtype)
    ones, place, merge, rows_from = tree.ones, tree.place, tree.merge, rows_of(dtype)
    room_of, move, head_moved = _room_of(dtype), _move(dtype), _head_moved(dtype)
    gradients, gradients_together = _gradients(dtype), _gradients_together(dtype)
    changes = _changes(dtype)
    weighing = weighing_of(dtype)

    def tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar, part):
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        K, product, W = load(plan, N_OUTPUTS), load(plan, PRODUCT), w + load(plan, W_OFFSET)
        part = part if part else part_size(B)
        n_parts = (B + part - 1) // part
        most = chunk_size(N, H, smaller(part, B), 4 if K == 1 else 5)
        of_each = xbar != 0 and K > 1  # and no sums then
        numbers = workspace(N, H, K, smaller(part, B))
        more = input_rows(N, H, K) if of_each else tree_numbers(n_parts, P)
        own = borrow(plan, (numbers + more) * size)
        if own == 0:
            return NO_MEMORY
        room, places = room_of(own, N, H, K, most), own + numbers * size
        given, observations = Cotangent(plan, loss, t, c, scale, 0, 0), Observations(X, N, t, c)
        for k in range(n_parts):
            sums = place(ones(k), g, places, P) if g else 0
            end = smaller(k * part + part, B)
            for first in range(k * part, end, most):
                n = smaller(most, end - first)
                cp = (n + width - 1) // width * width
                chunk = Chunk(first, n, cp)
                move(given, w, X, (p, dX), what, room, chunk)
                head_moved(given, room, what, chunk)
                if ydot:
                    rows_from(room.ydot, n, K, cp, ydot + first * K * size)
                if what == NOTHING:
                    continue
                if of_each:
                    changes(plan, w, room, places, chunk, xbar + first * K * N * size)
                    continue
                add = 1 if first > k * part else 0
                if K == 1:
                    gradients(w, p, room, sums, H, cp, what, add)
                else:
                    gradients_together(plan, w, p, room, sums, cp, what, add)
                if g:
                    x, gW = X + first * N * size, sums + load(plan, W_OFFSET)
                    multiply(product, (room.D, cp, 1), (x, N), (gW, N), (n, H, N), add)
                if xbar:
                    target = xbar + first * N * size
                    multiply(product, (room.D, 1, cp), (W, N), (target, N), (H, n, N), 0)
            again, m = weighing(plan, observations, k * part, end - k * part, Sums(0, sums, 0))
            if m:
                status = call_tangent(
                    load(plan, TANGENT), plan=plan, loss=loss, w=w, X=again.X, B=m, p=p,
                    t=again.t, c=again.c, scale=scale, what=what, g=sums, part=m,
                )  # fmt: skip
                release(again.X)
                if status == NO_MEMORY:
                    give_back(plan, own)
                    return NO_MEMORY
            merge(k, k + 1 == n_parts, g, places, 1, P, 0)
        give_back(plan, own)
        return DONE

    return Kernel(tangent, Tangent)
