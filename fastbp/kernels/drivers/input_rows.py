"""Rows by x of each of several outputs, and their change along a direction: a unit of its own.

    ∂y/∂x = J_σ G W,                    G = A diag(v'), K × H for each sample
    its change: (J_σ Ġ + J̇_σ G) W,      Ġ = A diag(v'' ∘ ż)

One output after the other would have its own pass over v', and a product as narrow as N. Where rows
of N numbers fill the product's panel, it comes last, and is one, of G through σ of all outputs and
some samples with W. Else G W comes first, of v' with the rows a_ki W_i of all outputs side by side,
which is 1.2 to 2 times as fast, and Ġ W likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load, shifted
from ..machine.build import Kernel, loop, scalar
from ..machine.callers import multiply
from ..machine.integers import smaller
from ..machine.places import N_INPUTS, N_NEURONS, N_OUTPUTS, OUTPUTS, PRODUCT, SOFTMAX, W_OFFSET
from ..machine.records import InputRows
from .passes import Chunk, passes


class Jacobian(NamedTuple):
    """J_σ of a chunk: addresses of K × c numbers, and of two rows to work with."""

    slopes: int  # σ'; of the softmax, y
    moved: int  # σ'' ṡ; of the softmax, ẏ
    top: int  # c numbers, which y is largest; 0 where there is no softmax
    work: int


def _spread(dtype: np.dtype) -> Callable:
    pointer, size = POINTER[dtype], dtype.itemsize

    @loop
    def spread(plan, w, S, chunk, rows):
        """Rows of A diag(s) for each sample, from S neuron-major."""
        H, K = load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        a, source = pointer(w), pointer(S)
        for b in range(chunk.n):
            of_sample = rows + b * K * H * size
            last = pointer(of_sample + (K - 1) * H * size)
            for i in range(H):
                last[i] = source[i * chunk.padded + b]
            for k in range(K):
                target = pointer(of_sample + k * H * size)
                for i in range(H):
                    target[i] = a[k * H + i] * last[i]

    return spread


def _side_by_side(dtype: np.dtype) -> Callable:
    pointer, size, outputs_at_once = POINTER[dtype], dtype.itemsize, passes(dtype).outputs_at_once

    @loop
    def side_by_side(plan, w, S, chunk, weights, made, rows):
        """Rows of A diag(s) W for each sample; `weights` are a_ki W_i, if `made` is 1 already."""
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        a, W, many = pointer(w), pointer(w + load(plan, W_OFFSET)), outputs_at_once(N, H, K)
        for k in range(0, K, many):
            across = smaller(many, K - k) * N
            for i in range(0 if made else H):
                target = pointer(weights + i * across * size)
                for j in range(0, across, N):
                    factor = a[(k + j // N) * H + i]
                    for m in range(N):
                        target[j + m] = factor * W[i * N + m]
            out, shape = rows + k * N * size, (H, chunk.n, across)
            left = (S, 1, chunk.padded)
            multiply(load(plan, PRODUCT), left, (weights, across), (out, K * N), shape, 0)

    return side_by_side


def _through_outputs(dtype: np.dtype) -> Callable:
    """Return the jitted step from G, or from Ġ and G, through σ."""
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    lines = passes(dtype).lines

    @scalar
    def centred(y, V, step, top, K, n, work):
        """V_k − y·V, with all taken from the row `top` on, whose y may be all but 1."""
        shift, mean = pointer(work), pointer(work + lines(n))
        highest = pointer(V + top * n * size)
        for j in range(n):
            shift[j] = highest[j]
            mean[j] = zero
        for k in range(K):
            row, share = pointer(V + k * n * size), pointer(y)[k * step]
            for j in range(n):
                row[j] -= shift[j]
                mean[j] += share * row[j]
        for k in range(K):
            row = pointer(V + k * n * size)
            for j in range(n):
                row[j] -= mean[j]

    @scalar
    def entrywise(J, rows, G, b, step, K, n):
        slopes, moved = pointer(J.slopes), pointer(J.moved)
        for k in range(K):
            row, slope = pointer(rows + k * n * size), slopes[k * step + b]
            for j in range(n):
                row[j] *= slope
            if G:
                other, rate = pointer(G + k * n * size), moved[k * step + b]
                for j in range(n):
                    row[j] += rate * other[j]

    @scalar
    def softmax(J, rows, G, b, step, K, n):
        """Rows y ∘ centred Ġ, and along ẏ: ẏ ∘ centred G − y (ẏ · centred G)."""
        largest = pointer(J.top)[b]
        top = int(largest) if zero <= largest < K else 0  # none is, where s is no number
        y, ydot, mean = J.slopes + b * size, J.moved + b * size, pointer(J.work)
        centred(y, rows, step, top, K, n, J.work)
        if G:
            centred(y, G, step, top, K, n, J.work)
        for j in range(n):
            mean[j] = zero
        if G:
            for k in range(K):
                other, rate = pointer(G + k * n * size), pointer(ydot)[k * step]
                for j in range(n):
                    other[j] *= rate
                    mean[j] += other[j]
        for k in range(K):
            row, share = pointer(rows + k * n * size), pointer(y)[k * step]
            for j in range(n):
                row[j] = share * (row[j] - mean[j])
            if G:
                other = pointer(G + k * n * size)
                for j in range(n):
                    row[j] += other[j]

    @loop
    def through_outputs(J, rows, G, chunk, K, n):
        """J_σ times `rows` of n numbers, in place, and J̇_σ G too unless G is 0, which is lost."""
        for b in range(chunk.n):
            at = b * K * n * size
            here, there = rows + at, G + at if G else 0
            if J.top:
                softmax(J, here, there, b, chunk.padded, K, n)
            else:
                entrywise(J, here, there, b, chunk.padded, K, n)

    return through_outputs


def input_rows(dtype: np.dtype) -> Kernel:
    """Make the unit of a chunk's rows by x, or where `bent` is not 0 of how they change.

    ``input_rows(plan, w, D, bent, slopes, moved, top, n, padded, own, rows)``: V' and V'' ∘ Ż,
    H × c; the Jacobian of the outputs as the head has left it; memory (`machine.sizes`); rows.
    """
    p = passes(dtype)
    pointer, size, zero, lines = p.pointer, p.size, p.real(0), p.lines
    fills_panel, samples_at_once = p.fills_panel, p.samples_at_once
    outputs_at_once, through_outputs = p.outputs_at_once, _through_outputs(dtype)
    spread, side_by_side = _spread(dtype), _side_by_side(dtype)

    @loop
    def any_moves(moved, n):
        """Whether a number is not 0: of linear outputs none is."""
        for k in range(n):
            if not pointer(moved)[k] == zero:
                return True
        return False

    def input_rows(plan, w, D, bent, slopes, moved, top, n, padded, own, rows):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        joined, curved = load(load(plan, OUTPUTS), SOFTMAX), bent and any_moves(moved, K * padded)
        wide, most, made = fills_panel(N), samples_at_once(N, H, K), 0
        length, work = H if wide else N, (own + 63) // 64 * 64
        weights = work + 2 * lines(length)  # or where it is wide the rows
        G = weights + lines((most * K if wide else outputs_at_once(N, H, K) * N) * H)
        for first in range(0, n, most):
            at, chunk = first * size, Chunk(first, smaller(most, n - first), padded)
            out = rows + at * K * N
            R = weights if wide else out
            for source, target in ((D if curved else 0, G), (bent if bent else D, R)):
                if source and wide:
                    spread(plan, w, source + at, chunk, target)
                elif source:
                    side_by_side(plan, w, source + at, chunk, weights, made, target)
                    made = 1 if outputs_at_once(N, H, K) == K else 0
            J = Jacobian(slopes + at, shifted(moved, at), top + at if joined else 0, work)
            through_outputs(J, R, G if curved else 0, chunk, K, length)
            if wide:
                W, shape = w + load(plan, W_OFFSET), (H, chunk.n * K, N)
                multiply(load(plan, PRODUCT), (R, H, 1), (W, N), (out, N), shape, 0)

    return Kernel(input_rows, InputRows)
