"""Cholesky's factor and what it solves, with the product kernel for all that is long.

A library's could not be called from compiled code without its addresses; below some hundred
parameters this is faster than one too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from ..machine.address import POINTER, view
from ..machine.build import loop
from ..machine.callers import multiply
from ..machine.integers import smaller

ROWS = 8  # of a block: the rank-one updates within one cost P times so many


@cache
def cholesky_of(dtype: np.dtype) -> Callable:
    """Return the jitted function ``factor(product, U, P, buffer) -> whether it is definite``.

    In place of the upper triangle of a symmetric matrix, U with U^T U = A, but on the diagonal
    1 / U_kk: divisions would take as long as all else at 50 parameters. The buffer has ROWS · P
    numbers. Blocked and left-looking, so that each number is updated by one long
    product: Golub & Van Loan, Matrix Computations (4th ed.), section 4.2.5.
    """
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero, one, infinity = real(0), real(1), real(np.inf)

    @loop
    def factor(product, U, P, buffer):
        start = 0
        while start < P:
            end = smaller(start + ROWS, P)
            rows = end - start
            if start:
                # U[start:end, start:] −= U[:start, start:end]^T U[:start, start:]
                for k in range(start):
                    source = view(pointer(U + (k * P + start) * size), rows)
                    target = view(pointer(buffer + k * ROWS * size), rows)
                    for i in range(rows):
                        target[i] = -source[i]
                above = U + start * size
                here = U + (start * P + start) * size
                multiply(
                    product, (buffer, 1, ROWS), (above, P), (here, P), (start, rows, P - start), 1
                )
            for k in range(start, end):
                row = view(pointer(U + (k * P + k) * size), P - k)
                pivot = row[0]
                if not zero < pivot < infinity:
                    return False
                scale = one / real(math.sqrt(pivot))
                row[0] = scale
                for j in range(1, P - k):
                    row[j] *= scale
                for i in range(k + 1, end):
                    f = row[i - k]
                    right = view(pointer(U + (k * P + i) * size), P - i)
                    below = view(pointer(U + (i * P + i) * size), P - i)
                    for j in range(P - i):
                        below[j] -= f * right[j]
            start = end
        return True

    return factor


@cache
def solve_of(dtype: np.dtype) -> Callable:
    """Return the jitted function ``solve(U, P, b)``: x with U^T U x = b in place of b.

    U is as `cholesky_of` leaves it.
    """
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero = real(0)

    @loop
    def solve(U, P, b):
        x = view(pointer(b), P)
        for k in range(P):
            row = view(pointer(U + (k * P + k) * size), P - k)
            x[k] *= row[0]
            f = x[k]
            rest = view(pointer(b + k * size), P - k)
            for j in range(1, P - k):
                rest[j] -= f * row[j]
        for i in range(P):
            k = P - 1 - i
            row = view(pointer(U + (k * P + k) * size), P - k)
            rest = view(pointer(b + k * size), P - k)
            total = zero
            for j in range(1, P - k):
                total += row[j] * rest[j]
            x[k] = (x[k] - total) * row[0]

    return solve
