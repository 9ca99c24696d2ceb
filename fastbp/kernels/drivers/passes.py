"""The steps that the drivers are made of, for one number type: each a small jitted function.

Two layouts of H × n numbers (z, v, v', D):

- *neuron-major*, for at least a vector of samples: row i holds neuron i at all samples of the
  chunk, padded to whole vectors (`cp` numbers). Every neuron may have its own activation.
- *sample-major*, for fewer samples: row b holds all neurons at sample b (`hp` numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..machine.address import POINTER, load
from ..machine.build import loop
from ..machine.callers import call_activation_block
from ..machine.places import N_RUNS, RUN_BLOCK, RUN_COUNT, RUN_SIZE, RUN_START, RUNS
from ..machine.sizes import sizes
from ..machine.target import lanes


class Chunk(NamedTuple):
    """Some samples of a batch: the number of the first, how many, and with the padding."""

    first: int
    n: int
    padded: int


class Passes(NamedTuple):
    """What depends on the number type: pointers, sizes (`machine.sizes`), and the steps."""

    pointer: Any
    width: int
    size: int
    real: Any
    chunk_size: Callable
    lines: Callable
    few: Callable
    copies: Callable
    head_rows: Callable
    workspace: Callable
    tangent_workspace: Callable
    fills_panel: Callable
    outputs_at_once: Callable
    samples_at_once: Callable
    input_rows: Callable
    tree_numbers: Callable
    activate: Callable
    weighted_rows: Callable
    accumulate: Callable
    dot: Callable
    add_scaled: Callable
    multiply_scaled: Callable
    clear: Callable


@cache
def passes(dtype: np.dtype) -> Passes:
    """Make the steps for one number type."""
    return Passes(
        POINTER[dtype],
        lanes(dtype),
        dtype.itemsize,
        dtype.type,
        *sizes(dtype, loop),
        _activate(dtype),
        _weighted_rows(dtype),
        _accumulate(dtype),
        *_of_vectors(dtype),
    )


def _activate(dtype: np.dtype) -> Callable:
    size = dtype.itemsize

    @loop
    def activate(plan, order, z, d, dd, row):
        """Apply each run's block to its rows: `row` numbers a neuron."""
        for r in range(load(plan, N_RUNS)):
            place = RUNS + r * RUN_SIZE
            first = load(plan, place + RUN_START) * row * size
            n = load(plan, place + RUN_COUNT) * row
            block = load(plan, place + RUN_BLOCK + order)
            call_activation_block(block, z + first, d + first, dd + first, n)

    return activate


def _weighted_rows(dtype: np.dtype) -> Callable:
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)

    @loop
    def weighted_rows(a, V, s, H, cp):
        """s_b = Σ_i a_i V[i, b], neuron-major; four rows at a time share the load of s."""
        av = pointer(a)
        sv = pointer(s)
        for b in range(cp):
            sv[b] = zero
        i = 0
        while i + 4 <= H:
            a0, a1, a2, a3 = av[i], av[i + 1], av[i + 2], av[i + 3]
            v0 = pointer(V + i * cp * size)
            v1 = pointer(V + (i + 1) * cp * size)
            v2 = pointer(V + (i + 2) * cp * size)
            v3 = pointer(V + (i + 3) * cp * size)
            for b in range(cp):
                sv[b] += (a0 * v0[b] + a1 * v1[b]) + (a2 * v2[b] + a3 * v3[b])
            i += 4
        while i < H:
            a0 = av[i]
            v0 = pointer(V + i * cp * size)
            for b in range(cp):
                sv[b] += a0 * v0[b]
            i += 1

    return weighted_rows


def _accumulate(dtype: np.dtype) -> Callable:
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)

    @loop
    def accumulate(a, V, D, s, g, H, cp, add):
        """g_i (+)= Σ_b V[i, b] s_b, unless g is 0, and D[i, b] = a_i s_b v'[i, b] in place of v'.

        Neuron-major; one pass over both, since each row is in the first-level cache once.
        """
        av = pointer(a)
        sv = pointer(s)
        for i in range(H):
            ai = av[i]
            v = pointer(V + i * cp * size)
            d = pointer(D + i * cp * size)
            total = zero
            for b in range(cp):
                total += v[b] * sv[b]
                d[b] = ai * sv[b] * d[b]
            if g:
                out = pointer(g + i * size)
                out[0] = out[0] + total if add else total

    return accumulate


def _of_vectors(dtype: np.dtype) -> tuple[Callable, ...]:
    pointer, zero = POINTER[dtype], dtype.type(0)

    @loop
    def dot(x, y, n):
        """Σ x_k y_k."""
        xv = pointer(x)
        yv = pointer(y)
        total = zero
        for k in range(n):
            total += xv[k] * yv[k]
        return total

    @loop
    def add_scaled(factor, x, y, n, add):
        """y (+)= factor x."""
        xv = pointer(x)
        yv = pointer(y)
        if add:
            for k in range(n):
                yv[k] += factor * xv[k]
        else:
            for k in range(n):
                yv[k] = factor * xv[k]

    @loop
    def multiply_scaled(factor, x, y, n):
        """y = factor x y, entry by entry."""
        xv = pointer(x)
        yv = pointer(y)
        for k in range(n):
            yv[k] = factor * xv[k] * yv[k]

    @loop
    def clear(x, n):
        """x = 0."""
        xv = pointer(x)
        for k in range(n):
            xv[k] = zero

    return dot, add_scaled, multiply_scaled, clear
