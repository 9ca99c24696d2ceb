"""The Gauss–Newton matrix of several outputs, block by block of samples.

With Q = ∂²/∂s² of the head, K × K for each sample (`head`), and u, v', x of each:

    g_A += S̄^T U                        g_W += ((S̄ A) ∘ V')^T X
    G[ki, lm] = Σ_b Q_kl u_i u_m        for a_{k,i} and a_{l,m}
    G[ki, lj] = Σ_b (Q A)_kl v'_l u_i x_j           for a_{k,i} and w_{l,j}
    G[ij, lm] = Σ_b (A^T Q A)_il v'_i v'_l x_j x_m  for w_{i,j} and w_{l,m}

so that W's block is one product of the pairs of neurons and the pairs of inputs, whatever K.
No Jacobian is formed; the softmax's Q is applied to a vector at a time.

Without the softmax Q is diagonal. Outputs whose Q_kk are equal at all samples of a chunk (squared
loss, identity) share the other products too: those of the first of them, its *leader*, serve all,

    G[ki, km] = Σ_b Q_kk u_i u_m        G[ki, lj]'s sum = a_{k,l} Σ_b Q_kk v'_l u_i x_j
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load
from ..machine.build import Kernel, loop
from ..machine.callers import call_pack, call_softmax_moved, multiply
from ..machine.integers import larger
from ..machine.places import (
    CURVED,
    LOSS_OUTPUTS,
    N_INPUTS,
    N_NEURONS,
    N_OUTPUTS,
    N_PARAMS,
    PACK,
    PRODUCT,
    SOFTMAX_MOVED,
    W_OFFSET,
)
from ..machine.records import Matrix
from .first_order import add_transposed_of
from .head import Head
from .matrix import Steps, over_chunks, pairs_of, spread_of
from .passes import passes


class Room(NamedTuple):
    """Memory of a chunk, addresses."""

    J: int  # rows to be multiplied
    U: int  # panels of u, of x, and of the pairs of x
    X: int
    XX: int
    V: int
    D: int
    XT: int
    head: Head
    direction: int  # K × c: what Q is applied to, Q times it, and room for that
    moved: int
    ydot: int
    gA: int
    leaders: int  # K numbers (int64): of each output the first whose Q_kk is the same
    product: int  # what they share: H × the larger of H and N
    T: int  # the product of the pairs: of a part


class Blocks(NamedTuple):
    """How the blocks of A are made, of the softmax or of outputs each by itself: jitted.

    ``of_outputs(plan, loss, room, G, cp, add)`` adds A's block; ``of_neuron(plan, loss, w, i, room,
    G, cp, add)`` that of A and row i of W, and leaves v'_i (Q A)_ki in `moved`, K × c.
    """

    of_outputs: Callable
    of_neuron: Callable


def _joined(dtype: np.dtype) -> Blocks:
    """Return the steps of the softmax, whose Q is full: it is applied to K vectors."""
    pointer, size, zero, one = POINTER[dtype], dtype.itemsize, dtype.type(0), dtype.type(1)
    pairs, multiply_scaled = pairs_of(dtype), passes(dtype).multiply_scaled

    @loop
    def applied(plan, loss, room, cp):
        """`moved` = Q · `direction`."""
        K, head = load(plan, N_OUTPUTS), room.head
        call_softmax_moved(
            load(load(loss, LOSS_OUTPUTS), SOFTMAX_MOVED), plan=plan, loss=loss, y=head.slopes,
            ybar=head.curvatures, curvature=head.h, scratch=head.given + K * cp * size,
            sdot=room.direction, ydot=room.ydot, sbardot=room.moved, what=CURVED, padded=cp,
        )  # fmt: skip

    @loop
    def constant(room, k, value, cp):
        row = pointer(room.direction + k * cp * size)
        for b in range(cp):
            row[b] = value

    @loop
    def of_outputs(plan, loss, room, G, cp, add):
        H, K, P = load(plan, N_NEURONS), load(plan, N_OUTPUTS), load(plan, N_PARAMS)
        for m in range(K):
            for k in range(K):
                constant(room, k, one if k == m else zero, cp)
            applied(plan, loss, room, cp)
            for k in range(m + 1):
                pairs(room.moved + k * cp * size, room.V, room.J, H, cp)
                target = G + (k * H * P + m * H) * size
                multiply(
                    load(plan, PRODUCT), (room.J, cp, 1), (room.U, 0), (target, P), (cp, H, H), add
                )

    @loop
    def of_neuron(plan, loss, w, i, room, G, cp, add):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        P, product, a = load(plan, N_PARAMS), load(plan, PRODUCT), pointer(w)
        for k in range(K):
            constant(room, k, a[k * H + i], cp)
        applied(plan, loss, room, cp)
        for k in range(K):
            multiply_scaled(one, room.D + i * cp * size, room.moved + k * cp * size, cp)
            pairs(room.moved + k * cp * size, room.V, room.J, H, cp)
            target = G + k * H * P * size + load(plan, W_OFFSET) + i * N * size
            multiply(product, (room.J, cp, 1), (room.X, 0), (target, P), (cp, H, N), add)

    return Blocks(of_outputs, of_neuron)


def _diagonal(dtype: np.dtype) -> Blocks:
    """Return the steps of outputs each by itself, which share the products of their leaders."""
    pointer, pointer64, size = POINTER[dtype], POINTER[np.dtype(np.int64)], dtype.itemsize
    one, clear = dtype.type(1), passes(dtype).clear
    pairs, add_scaled = pairs_of(dtype), passes(dtype).add_scaled

    @loop
    def equal(x, y, n):
        xs, ys = pointer(x), pointer(y)
        for b in range(n):
            if not xs[b] == ys[b]:
                return False
        return True

    @loop
    def lead(room, K, cp):
        h, leaders = room.head.h, pointer64(room.leaders)
        for k in range(K):
            leaders[k] = k
            for m in range(k):
                if leaders[m] == m and equal(h + m * cp * size, h + k * cp * size, cp):
                    leaders[k] = m
                    break

    @loop
    def spread_rows(factor, room, n, target, P, H, add):
        """Add H rows of n numbers, times a factor, to rows of G."""
        for r in range(H):
            add_scaled(factor, room.product + r * n * size, target + r * P * size, n, add)

    @loop
    def of_outputs(plan, loss, room, G, cp, add):
        H, K, P = load(plan, N_NEURONS), load(plan, N_OUTPUTS), load(plan, N_PARAMS)
        leaders = pointer64(room.leaders)
        lead(room, K, cp)
        for m in range(K):
            if leaders[m] == m:
                pairs(room.head.h + m * cp * size, room.V, room.J, H, cp)
                product = load(plan, PRODUCT)
                multiply(product, (room.J, cp, 1), (room.U, 0), (room.product, H), (cp, H, H), 0)
            for k in range(m, K):
                if leaders[k] == m:
                    spread_rows(one, room, H, G + k * H * (P + 1) * size, P, H, add)
                if k > m and not add:
                    for r in range(H):
                        clear(G + ((m * H + r) * P + k * H) * size, H)

    @loop
    def of_neuron(plan, loss, w, i, room, G, cp, add):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        P, product, a = load(plan, N_PARAMS), load(plan, PRODUCT), pointer(w)
        leaders, dv = pointer64(room.leaders), room.D + i * cp * size
        for m in range(K):
            if leaders[m] == m:
                pairs(dv, room.head.h + m * cp * size, room.direction, 1, cp)
                pairs(room.direction, room.V, room.J, H, cp)
                multiply(product, (room.J, cp, 1), (room.X, 0), (room.product, N), (cp, H, N), 0)
                for k in range(m, K):
                    if leaders[k] == m:
                        target = G + k * H * P * size + load(plan, W_OFFSET) + i * N * size
                        spread_rows(a[k * H + i], room, N, target, P, H, add)
                        add_scaled(a[k * H + i], room.direction, room.moved + k * cp * size, cp, 0)

    return Blocks(of_outputs, of_neuron)


def _added(dtype: np.dtype) -> Callable:
    """Return the step that adds a chunk to the sums."""
    size, one = dtype.itemsize, dtype.type(1)
    pairs, multiply_scaled = pairs_of(dtype), passes(dtype).multiply_scaled
    add_transposed = add_transposed_of(dtype)
    (joined_outputs, joined_neuron), (own_outputs, own_neuron) = _joined(dtype), _diagonal(dtype)

    @loop
    def of_outputs(plan, loss, room, G, cp, add):
        if load(load(loss, LOSS_OUTPUTS), SOFTMAX_MOVED):
            joined_outputs(plan, loss, room, G, cp, add)
        else:
            own_outputs(plan, loss, room, G, cp, add)

    @loop
    def of_neuron(plan, loss, w, i, room, G, cp, add):
        """The blocks of one row of W: with A, and with the rows of W from it on."""
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        product, n_pairs = load(plan, PRODUCT), N * (N + 1) // 2
        if load(load(loss, LOSS_OUTPUTS), SOFTMAX_MOVED):
            joined_neuron(plan, loss, w, i, room, G, cp, add)
        else:
            own_neuron(plan, loss, w, i, room, G, cp, add)
        rows = H - i
        multiply(product, (w + i * size, 1, H), (room.moved, cp), (room.J, cp), (K, rows, cp), 0)
        multiply_scaled(one, room.D + i * cp * size, room.J, rows * cp)  # v'_i is in `moved`
        target = room.T + (i * H - i * (i - 1) // 2) * n_pairs * size
        multiply(
            product, (room.J, cp, 1), (room.XX, 0), (target, n_pairs), (cp, rows, n_pairs), add
        )

    @loop
    def added(plan, loss, w, X, room, sums, chunk, add):
        """Add a chunk to g, the rows of G that belong to A, and T."""
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        product, pack, cp = load(plan, PRODUCT), load(plan, PACK), chunk.padded
        J, sbar = room.J, room.head.sbar
        add_transposed(plan, room.V, sbar, room.U, room.gA, sums.g, cp, add)
        multiply(product, (w, 1, H), (sbar, cp), (J, cp), (K, H, cp), 0)
        multiply_scaled(one, room.D, J, H * cp)
        gW = sums.g + load(plan, W_OFFSET)
        multiply(product, (J, cp, 1), (X, N), (gW, N), (chunk.n, H, N), add)
        call_pack(pack, room.V, H, cp, room.U)
        call_pack(pack, room.XT, N, cp, room.X)
        for j in range(N):
            x = room.XT + j * cp * size
            pairs(x, x, J + (j * N - j * (j - 1) // 2) * cp * size, N - j, cp)
        call_pack(pack, J, N * (N + 1) // 2, cp, room.XX)
        of_outputs(plan, loss, room, sums.G, cp, add)
        for i in range(H):
            of_neuron(plan, loss, w, i, room, sums.G, cp, add)

    return added


def matrix_outputs(dtype: np.dtype) -> Kernel:
    """Make the unit that `matrix` is where K > 1."""
    width, lines, head_rows = passes(dtype).width, passes(dtype).lines, passes(dtype).head_rows
    size, spread = dtype.itemsize, spread_of(dtype)

    @loop
    def room_of(own, plan, c):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        n_pairs = N * (N + 1) // 2
        U = own + lines(larger(H, n_pairs) * c)
        X = U + lines((larger(H, K) + width) * c)
        XX = X + lines((N + width) * c)
        V = XX + lines((n_pairs + width) * c)
        D = V + lines(H * c)
        XT = D + lines(H * c)
        s = XT + lines(N * c)
        line = lines(K * c)
        given = s + 8 * line
        gA = given + lines(head_rows(K) * c)
        leaders = gA + lines(H * K)
        product = leaders + lines(K * 8 // size)
        T = product + lines(H * larger(H, N))
        head = Head(s, s + line, s + 2 * line, s + 3 * line, s + 4 * line, given)
        direction, moved, ydot = s + 5 * line, s + 6 * line, s + 7 * line
        return (
            Room(own, U, X, XX, V, D, XT, head, direction, moved, ydot, gA, leaders, product, T),
            T + lines(H * (H + 1) // 2 * n_pairs),
        )

    @loop
    def finished(plan, room, G):
        spread(plan, room.T, G)

    return Kernel(over_chunks(dtype, Steps(room_of, _added(dtype), finished)), Matrix)
