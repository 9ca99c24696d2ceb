"""The model objectives of `fastbp.calculus`: a matrix is read once where the formulas read it twice.

Nothing here checks anything: `fastbp.calculus` does.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from ._address import POINTER, invoke, view
from ._build import Unit, loop

# Bytes of the rows of A whose residuals wait to be used: they are to stay in the caches.
_ROWS_BYTES = 192 * 1024


@cache
def least_squares_unit(dtype: np.dtype) -> Unit:
    """½‖Ax − b‖² and its gradient A^T(Ax − b), reading A once.

    ``least_squares(A, m, n, b, x, g, result)``: A is m × n in C order; b and g are 0 where b is
    zero and where the gradient is not wanted; ``result[0]`` (float64) receives the value.

    The residuals of a group of rows need all of the rows, and their part of the gradient needs
    the rows again. It is formed while they are in the caches, in the same loop as the products
    of the next group: the arithmetic waits behind the memory, 1.2 times faster than in turns.
    """
    pointer, size = POINTER[dtype], dtype.itemsize
    pointer64 = POINTER[np.dtype(np.float64)]
    zero = dtype.type(0)

    @loop
    def dots4(A, x, n):  # type: ignore[no-untyped-def]
        """Products of four rows with x."""
        a0 = view(pointer(A), n)
        a1 = view(pointer(A + n * size), n)
        a2 = view(pointer(A + 2 * n * size), n)
        a3 = view(pointer(A + 3 * n * size), n)
        xs = view(pointer(x), n)
        s0 = s1 = s2 = s3 = zero
        for j in range(n):
            s0 += a0[j] * xs[j]
            s1 += a1[j] * xs[j]
            s2 += a2[j] * xs[j]
            s3 += a3[j] * xs[j]
        return s0, s1, s2, s3

    @loop
    def add4(r0, r1, r2, r3, A, g, n):  # type: ignore[no-untyped-def]
        """g += r^T A for four rows."""
        a0 = view(pointer(A), n)
        a1 = view(pointer(A + n * size), n)
        a2 = view(pointer(A + 2 * n * size), n)
        a3 = view(pointer(A + 3 * n * size), n)
        gs = view(pointer(g), n)
        for j in range(n):
            gs[j] += (r0 * a0[j] + r1 * a1[j]) + (r2 * a2[j] + r3 * a3[j])

    @loop
    def add4_dots4(r0, r1, r2, r3, A, g, x, n):  # type: ignore[no-untyped-def]
        """g += r^T A for four rows, and the products of the four after them with x."""
        a0 = view(pointer(A), n)
        a1 = view(pointer(A + n * size), n)
        a2 = view(pointer(A + 2 * n * size), n)
        a3 = view(pointer(A + 3 * n * size), n)
        b0 = view(pointer(A + 4 * n * size), n)
        b1 = view(pointer(A + 5 * n * size), n)
        b2 = view(pointer(A + 6 * n * size), n)
        b3 = view(pointer(A + 7 * n * size), n)
        xs = view(pointer(x), n)
        gs = view(pointer(g), n)
        s0 = s1 = s2 = s3 = zero
        for j in range(n):
            gs[j] += (r0 * a0[j] + r1 * a1[j]) + (r2 * a2[j] + r3 * a3[j])
            s0 += b0[j] * xs[j]
            s1 += b1[j] * xs[j]
            s2 += b2[j] * xs[j]
            s3 += b3[j] * xs[j]
        return s0, s1, s2, s3

    @loop
    def dot(a, x, n):  # type: ignore[no-untyped-def]
        av = view(pointer(a), n)
        xs = view(pointer(x), n)
        s = zero
        for j in range(n):
            s += av[j] * xs[j]
        return s

    @loop
    def add(r, a, g, n):  # type: ignore[no-untyped-def]
        av = view(pointer(a), n)
        gs = view(pointer(g), n)
        for j in range(n):
            gs[j] += r * av[j]

    def least_squares(A, m, n, b, x, g, result):  # type: ignore[no-untyped-def]
        bs = view(pointer(b), m)
        if g:
            gs = view(pointer(g), n)
            for j in range(n):
                gs[j] = zero
        total = 0.0
        row = n * size
        i = 0
        if m >= 4:
            s0, s1, s2, s3 = dots4(A, x, n)
            while True:
                if b:
                    s0 -= bs[i]
                    s1 -= bs[i + 1]
                    s2 -= bs[i + 2]
                    s3 -= bs[i + 3]
                total += float(s0) * float(s0) + float(s1) * float(s1)
                total += float(s2) * float(s2) + float(s3) * float(s3)
                a = A + i * row
                i += 4
                if i + 4 > m:
                    if g:
                        add4(s0, s1, s2, s3, a, g, n)
                    break
                if g:
                    s0, s1, s2, s3 = add4_dots4(s0, s1, s2, s3, a, g, x, n)
                else:
                    s0, s1, s2, s3 = dots4(a + 4 * row, x, n)
        while i < m:
            a = A + i * row
            s = dot(a, x, n)
            if b:
                s -= bs[i]
            total += float(s) * float(s)
            if g:
                add(s, a, g, n)
            i += 1
        view(pointer64(result), 1)[0] = 0.5 * total

    return Unit(least_squares, types.void(*[types.int64] * 7), key=dtype.name, python=True)
