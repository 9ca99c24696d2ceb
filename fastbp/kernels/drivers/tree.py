"""Sums over the parts of a batch, along one binary tree that depends on nothing but their number.

Parts 2k and 2k + 1 are added, then these sums in pairs, and so on; what is left over at the end is
added from the right. Part after part, that takes one place for each bit of their number: part k
goes to place popcount(k), and each trailing one of k says that a node is complete. Any complete
node can be made elsewhere, by a thread or a machine: the sum is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER
from ..machine.build import loop
from ..machine.sizes import levels as _levels
from ..machine.sizes import matrix_part as _matrix_part
from ..machine.sizes import part_size as _part_size
from .passes import passes

part_size = loop(_part_size)
levels = loop(_levels)
_of_matrix = loop(_matrix_part)


@loop
def matrix_part_size(B, P):
    """As `sizes` has it for Python."""
    return _of_matrix(B, P, part_size(B))


class Tree(NamedTuple):
    """The steps: jitted functions."""

    ones: Callable
    place: Callable
    merge: Callable


@cache
def tree_of(dtype: np.dtype) -> Tree:
    """Return the steps for one number type."""
    size, one = dtype.itemsize, dtype.type(1)
    pointer64 = POINTER[np.dtype(np.float64)]
    add_scaled = passes(dtype).add_scaled

    @loop
    def ones(k):
        """How many bits of k are one: the place of part k."""
        n = 0
        while k > 0:
            n += k & 1
            k //= 2
        return n

    @loop
    def place(at, total, places, n):
        """Address of n numbers at a place: the first is `total` itself, the others follow."""
        return total if at == 0 else places + (at - 1) * n * size

    @loop
    def merge(k, last, total, places, rows, n, losses):
        """Add up the nodes that are complete with part k, all where it is the `last`.

        At each place stand a vector of n numbers (one row), or the upper triangle of a matrix of
        n rows, and a float64 of `losses`; each 0 where there are none.
        """
        at = ones(k)
        while at > 0 and (last or k & 1):
            if losses:
                pointer64(losses + 8 * (at - 1))[0] += pointer64(losses + 8 * at)[0]
            if total:
                source = place(at, total, places, rows * n)
                target = place(at - 1, total, places, rows * n)
                for i in range(rows):
                    diagonal = i * (n + 1) * size
                    add_scaled(one, source + diagonal, target + diagonal, n - i, True)
            at -= 1
            k //= 2

    return Tree(ones, place, merge)
