"""What has no weight counts for nothing, even where it is beyond all numbers: 0 · ∞ is no number.

Drivers multiply by weights as by any number. Where the sums of a part are no numbers then, and some
of its observations have no weight, they are made anew, of the others alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, allocate, load
from ..machine.build import loop
from ..machine.places import N_INPUTS, N_OUTPUTS, N_PARAMS
from .passes import passes


class Observations(NamedTuple):
    """Where they are, addresses; c is 0 where all weigh the same."""

    X: int
    row: int  # numbers from one row of X to the next
    t: int  # targets, or ȳ
    c: int


class Sums(NamedTuple):
    """What a part adds up to, addresses: each 0 where it is not wanted."""

    loss: int
    g: int
    G: int


@cache
def weighing_of(dtype: np.dtype) -> Callable:
    """Return the jitted step from sums that are no numbers to those who should make them."""
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    pointer64, clear = POINTER[np.dtype(np.float64)], passes(dtype).clear

    @loop
    def are_numbers(values, n, step):
        found = pointer(values)
        bad = 0
        for k in range(n):
            bad += 0 if found[k * step] == found[k * step] else 1
        return bad == 0

    @loop
    def copied(given, first, n, N, K, m):
        """The m rows that weigh, in memory of their own."""
        own = allocate(m * (N + K + 1) * size)
        t = own + m * N * size
        c = t + m * K * size
        if own == 0:
            return Observations(0, 0, 0, 0)
        from_X, from_t, from_c = pointer(given.X), pointer(given.t), pointer(given.c)
        to_X, to_t, to_c = pointer(own), pointer(t), pointer(c)
        row = 0
        for b in range(first, first + n):
            if from_c[b] > zero:
                for j in range(N):
                    to_X[row * N + j] = from_X[b * given.row + j]
                for k in range(K):
                    to_t[row * K + k] = from_t[b * K + k]
                to_c[row] = from_c[b]
                row += 1
        return Observations(own, N, t, c)

    @loop
    def weighing(plan, given, first, n, sums):
        """Return those of n whose sums are to be made anew, and how many; and clear these.

        There are none where sums are numbers, or all weigh; nor where there is no memory. The
        caller releases X.
        """
        N, K, P = load(plan, N_INPUTS), load(plan, N_OUTPUTS), load(plan, N_PARAMS)
        none = Observations(0, 0, 0, 0)
        fine = not sums.loss or pointer64(sums.loss)[0] == pointer64(sums.loss)[0]
        if given.c and sums.g:
            fine = fine and are_numbers(sums.g, P, 1)
        if given.c and sums.G:  # no entry is NaN but with one of its row or column on the diagonal
            fine = fine and are_numbers(sums.G, P, P + 1)
        if fine or not given.c:
            return none, 0
        c, m = pointer(given.c), 0
        for b in range(first, first + n):
            m += 1 if c[b] > zero else 0
        if m == n:
            return none, 0
        again = copied(given, first, n, N, K, m) if m else none
        if again.X or not m:
            if sums.loss:
                pointer64(sums.loss)[0] = 0.0
            clear(sums.g, P if sums.g else 0)
            clear(sums.G, P * P if sums.G else 0)
        return again, m if again.X else 0

    return weighing
