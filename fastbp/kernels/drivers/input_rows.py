"""Rows by x of each of several outputs, and their change along a direction: a unit of its own.

    G = ∂s/∂x, K × N for each sample:   G_k = Σ_i a_ki v'_i W_i,    Ġ_k = Σ_i a_ki v''_i ż_i W_i
    ∂y/∂x = J_σ G                       its change: J_σ Ġ + J̇_σ G

G and Ġ are one product each with all rows a_ki W_i side by side, where one output after the other
would have its own pass over v' and a product as narrow as N (1.1 to 3.5 times as long).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load
from ..machine.build import Kernel, loop, scalar
from ..machine.callers import multiply
from ..machine.integers import smaller
from ..machine.places import N_INPUTS, N_NEURONS, N_OUTPUTS, OUTPUTS, PRODUCT, SOFTMAX, W_OFFSET
from ..machine.records import InputRows
from .passes import Chunk, passes


class Jacobian(NamedTuple):
    """J_σ of a chunk: addresses of K × c numbers, and of 2 N to work with."""

    slopes: int  # σ'; of the softmax, y
    moved: int  # σ'' ṡ; of the softmax, ẏ
    top: int  # c numbers, which y is largest; 0 where there is no softmax
    work: int


def _side_by_side(dtype: np.dtype) -> Callable:
    """Return the jitted step from H × c numbers S to Σ_i a_ki s_i W_i."""
    pointer, size, outputs_at_once = POINTER[dtype], dtype.itemsize, passes(dtype).outputs_at_once

    @loop
    def side_by_side(plan, w, S, chunk, weights, rows):
        """K × N numbers for each sample; `weights` is to work with."""
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        a, W, many = pointer(w), pointer(w + load(plan, W_OFFSET)), outputs_at_once(N, H, K)
        for k in range(0, K, many):
            across = smaller(many, K - k) * N
            for i in range(H):
                target = pointer(weights + i * across * size)
                for j in range(0, across, N):
                    factor = a[(k + j // N) * H + i]
                    for m in range(N):
                        target[j + m] = factor * W[i * N + m]
            out, shape = rows + k * N * size, (H, chunk.n, across)
            S_rows = (S, 1, chunk.padded)
            multiply(load(plan, PRODUCT), S_rows, (weights, across), (out, K * N), shape, 0)

    return side_by_side


def _through_outputs(dtype: np.dtype) -> Callable:
    """Return the jitted step from G, or from Ġ and G, through σ."""
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    lines = passes(dtype).lines

    @scalar
    def centred(y, V, step, top, K, N, work):
        """V_k − y·V, with all taken from the row `top` on, whose y may be all but 1."""
        shift, mean = pointer(work), pointer(work + lines(N))
        highest = pointer(V + top * N * size)
        for j in range(N):
            shift[j] = highest[j]
            mean[j] = zero
        for k in range(K):
            row, share = pointer(V + k * N * size), pointer(y)[k * step]
            for j in range(N):
                row[j] -= shift[j]
                mean[j] += share * row[j]
        for k in range(K):
            row = pointer(V + k * N * size)
            for j in range(N):
                row[j] -= mean[j]

    @scalar
    def entrywise(J, rows, G, b, step, K, N):
        slopes, moved = pointer(J.slopes), pointer(J.moved)
        for k in range(K):
            row, slope = pointer(rows + k * N * size), slopes[k * step + b]
            for j in range(N):
                row[j] *= slope
            if G:
                other, rate = pointer(G + k * N * size), moved[k * step + b]
                for j in range(N):
                    row[j] += rate * other[j]

    @scalar
    def softmax(J, rows, G, b, step, K, N):
        """Rows y ∘ centred Ġ, and along ẏ: ẏ ∘ centred G − y (ẏ · centred G)."""
        top = int(pointer(J.top)[b])
        y, ydot, mean = J.slopes + b * size, J.moved + b * size, pointer(J.work)
        centred(y, rows, step, top, K, N, J.work)
        if G:
            centred(y, G, step, top, K, N, J.work)
        for j in range(N):
            mean[j] = zero
        if G:
            for k in range(K):
                other, rate = pointer(G + k * N * size), pointer(ydot)[k * step]
                for j in range(N):
                    other[j] *= rate
                    mean[j] += other[j]
        for k in range(K):
            row, share = pointer(rows + k * N * size), pointer(y)[k * step]
            for j in range(N):
                row[j] = share * (row[j] - mean[j])
            if G:
                other = pointer(G + k * N * size)
                for j in range(N):
                    row[j] += other[j]

    @loop
    def through_outputs(plan, J, rows, G, chunk):
        """J_σ times `rows`, in their place, and J̇_σ G besides unless G is 0, which is lost."""
        N, K = load(plan, N_INPUTS), load(plan, N_OUTPUTS)
        for b in range(chunk.n):
            at = b * K * N * size
            here, there = rows + at, G + at if G else 0
            if J.top:
                softmax(J, here, there, b, chunk.padded, K, N)
            else:
                entrywise(J, here, there, b, chunk.padded, K, N)

    return through_outputs


def input_rows(dtype: np.dtype) -> Kernel:
    """Make the unit of a chunk's rows by x, or where `bent` is not 0 of how they change.

    ``input_rows(plan, w, D, bent, slopes, moved, top, n, padded, own, rows)``: V' and V'' ∘ Ż,
    H × c; the Jacobian of the outputs as the head has left it; memory (`machine.sizes`); rows.
    """
    pointer, zero = POINTER[dtype], dtype.type(0)
    lines, outputs_at_once = passes(dtype).lines, passes(dtype).outputs_at_once
    side_by_side, through_outputs = _side_by_side(dtype), _through_outputs(dtype)

    @loop
    def any_moves(moved, n):
        """Whether a number is not 0: of linear outputs none is."""
        for k in range(n):
            if not pointer(moved)[k] == zero:
                return True
        return False

    def input_rows(plan, w, D, bent, slopes, moved, top, n, padded, own, rows):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        joined = load(load(plan, OUTPUTS), SOFTMAX)
        work, chunk = (own + 63) // 64 * 64, Chunk(0, n, padded)
        weights, G = work + 2 * lines(N), 0
        if bent and any_moves(moved, K * padded):
            G = weights + lines(outputs_at_once(N, H, K) * N * H)
            side_by_side(plan, w, D, chunk, weights, G)
        side_by_side(plan, w, bent if bent else D, chunk, weights, rows)
        through_outputs(plan, Jacobian(slopes, moved, top if joined else 0, work), rows, G, chunk)

    return Kernel(input_rows, InputRows)
