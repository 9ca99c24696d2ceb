"""Sizes that Python and compiled code share: plain functions, jitted where kernels call them.

Without `min` and `max`, as the kernels (`integers`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .target import lanes

# Numbers of a chunk's z, v' and X that are to stay in the second-level cache (bytes).
_CHUNK_BYTES = 384 * 1024
_LEAST_CHUNK = 144  # samples: W and the gradient are read once a chunk, so it must not be small,
_MOST_CHUNK = 240
_LARGE_BYTES = 1 << 20  # and where W is larger than this, as large as may be (6 % in float32)
# A part is what one thread works on; its size does not depend on the number of threads. Of very
# many samples it is to fit into memory where they do not.
_PART, _MOST_PARTS = 512, 256
_VERY_MANY, _MOST_OF_VERY_MANY = 10**8, 8192
# An objective keeps a copy of data of so many bytes, packed; larger ones stay where they are, and
# are packed chunk by chunk, which takes 1/H of the product.
MOST_PACKED = 16 << 20
# Where each has a matrix of P × P as its sum. To add one that is in no cache takes as long as
# the products of 100 samples.
_MATRIX_PART, _LARGE_MATRIX_PART, _LARGE_MATRIX = 480, 2048, 256
_MOST_MATRIX_PARTS = 16
_OF_MANY = 4096  # samples from which on a part is worth a matrix, however many there are
# Rows of several outputs by x are a product with so many weights side by side, where they are
# narrow, and made of so many samples that they stay in the caches until then, or since (bytes).
_WEIGHTS_BYTES, _ROWS_BYTES = 128 * 1024, 64 * 1024
_LEAST_ROWS = 16  # samples: weights are multiplied anew for each so many
SCRATCH_ROWS = 5  # of the softmax (`drivers.softmax`)
_LINE = 64  # bytes: buffers begin on cache lines


def part_size(B: int) -> int:
    """Samples in a part: a fixed partition of the batch, so that sums have a fixed order."""
    parts = B // _PART
    if parts < 2:
        return B if B else 1
    most = _MOST_OF_VERY_MANY if B >= _VERY_MANY else _MOST_PARTS
    if parts > most:
        parts = most
    return ((B + parts - 1) // parts + 47) // 48 * 48


def matrix_part(B: int, P: int, part: int) -> int:
    """Samples in a part of what has a matrix as its sum: of a node of the other parts."""
    least = _LARGE_MATRIX_PART if P >= _LARGE_MATRIX else _MATRIX_PART
    while part < B and (
        part < least or (part < _OF_MANY and (B + part - 1) // part > _MOST_MATRIX_PARTS)
    ):
        part *= 2
    return part if part < B else B


def matrix_part_size(B: int, P: int) -> int:
    """As `matrix_part`, by the number of samples and of parameters alone."""
    return matrix_part(B, P, part_size(B))


def is_packed(B: int, N: int, K: int, size: int) -> bool:
    """Whether an objective copies and packs its data: it depends on nothing but their shape."""
    return B * (N + K + 1) * size <= MOST_PACKED


def levels(n_parts: int) -> int:
    """Places that a sum of so many parts needs beside its own (`drivers.tree`)."""
    n = 0
    rest = n_parts - 1
    while rest > 0:
        n += 1
        rest //= 2
    return n


class Sizes(NamedTuple):
    """The functions for one number type."""

    chunk_size: Any
    lines: Any
    few: Any
    copies: Any
    head_rows: Any
    workspace: Any
    tangent_workspace: Any
    fills_panel: Any
    outputs_at_once: Any
    samples_at_once: Any
    input_rows: Any
    tree_numbers: Any


def _plain(function: Callable) -> Callable:
    return function


@cache
def sizes(dtype: np.dtype, jit: Callable = _plain) -> Sizes:
    """Make the functions for one number type; `jit` is what compiled code has of them."""
    width, size = lanes(dtype), dtype.itemsize
    panel = 3 * width
    line = _LINE // size

    @jit
    def chunk_size(N, H, B, n_buffers):
        """Samples in a chunk, a whole number of panels unless all samples fit."""
        most = _CHUNK_BYTES // (size * (n_buffers * H + N))
        least = _MOST_CHUNK if N * H * size > _LARGE_BYTES else _LEAST_CHUNK
        if most > _MOST_CHUNK:
            most = _MOST_CHUNK
        most = (most if most > least else least) // panel * panel
        padded = (B + width - 1) // width * width
        return padded if padded < most else most

    @jit
    def lines(numbers):
        """Bytes of so many numbers, in whole cache lines: buffers begin on one."""
        return (numbers * size + 63) // 64 * 64

    @jit
    def few(B):
        """Whether the samples are too few for vectors of samples."""
        return 2 * B <= width + 2  # measured: at 3 samples of 4 lanes both layouts cost the same

    @jit
    def copies(N, H):
        """Whether a chunk is packed again for the gradient's product: 2 to 30 % faster there.

        (Packing costs 1/H of the product.)
        """
        return N > panel and H >= 16

    @jit
    def head_rows(K):
        """Rows of c numbers that the head needs beside one for each of its arrays, K > 1."""
        return K + SCRATCH_ROWS if K > 1 else 0

    @jit
    def workspace(N, H, K, B):
        """Numbers that the first-order driver of a part needs."""
        hp = (H + width - 1) // width * width
        if few(B) and K == 1:  # below 1 kB malloc takes 50 ns less
            return 2 * B * hp + 4 * width + 7 * line
        if few(B):
            return (2 * B + 1) * hp + 4 * width + 11 * line + B * (3 * K + head_rows(K))
        c = chunk_size(N, H, B, 2 if K == 1 else 3)
        if K == 1:
            return c * (N + width) + 2 * c * H + 3 * c + 7 * line
        rows = N + 2 * width + 3 * H + 4 * K + head_rows(K)
        return c * rows + H * K + 12 * line

    @jit
    def tangent_workspace(N, H, K, B):
        """Numbers that `tangent` needs."""
        c = chunk_size(N, H, B, 4 if K == 1 else 5)
        if K == 1:
            return 2 * c * N + 4 * c * H + 7 * c + 15 * line
        return c * (2 * N + width + 5 * H + 8 * K + head_rows(K)) + H * K + 19 * line

    @jit
    def fills_panel(N):
        """Whether rows by x of several outputs are wide enough for a product by themselves."""
        return N >= panel

    @jit
    def outputs_at_once(N, H, K):
        """Outputs whose weights stand side by side for their rows by x."""
        most = _WEIGHTS_BYTES // (N * H * size)
        if most < 1:
            return 1
        return most if most < K else K

    @jit
    def samples_at_once(N, H, K):
        """Samples whose rows of all outputs by x are made together."""
        if fills_panel(N):
            most = _ROWS_BYTES // (K * H * size)
            return most if most > 1 else 1
        most = _ROWS_BYTES // (K * N * size)
        return most if most > _LEAST_ROWS else _LEAST_ROWS

    @jit
    def input_rows(N, H, K):
        """Numbers that rows of several outputs by x, and how they change, need."""
        most = samples_at_once(N, H, K)
        if fills_panel(N):
            return 2 * H + 2 * most * K * H + 5 * line
        return 2 * N + (outputs_at_once(N, H, K) * H + most * K) * N + 5 * line

    depth_of = jit(levels)

    @jit
    def tree_numbers(n_parts, n):
        """Numbers that a sum of parts takes: n at each level, and a float64 at each place."""
        depth = depth_of(n_parts)
        return depth * n + (depth + 1) * 8 // size if depth else 0

    return Sizes(
        chunk_size, lines, few, copies, head_rows, workspace, tangent_workspace,
        fills_panel, outputs_at_once, samples_at_once, input_rows, tree_numbers,
    )  # fmt: skip


def batch_workspace(dtype: np.dtype, N: int, H: int, K: int, B: int, part: int = 0) -> int:
    """Numbers that a batch needs, driven part by part; `part` is 0 for the fixed partition."""
    part = part or part_size(B)
    of = sizes(dtype)
    sums = of.tree_numbers((B + part - 1) // part, H * (N + K))
    return of.workspace(N, H, K, min(B, part)) + sums
