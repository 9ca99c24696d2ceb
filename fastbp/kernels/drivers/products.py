"""Matrix products and the transposing pack: two units for each number type."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..machine.build import Kernel, loop
from ..machine.integers import larger, smaller
from ..machine.records import Pack, Product
from ..machine.simd import Vectors, copy, dots, pack, strip
from ..machine.target import register_bytes

# Bytes of B's strip, to stay in the first-level cache, and of A's block, in the second.
_STRIP_BYTES = 24 * 1024
_BLOCK_BYTES = 128 * 1024


@loop
def panel_vectors(left):
    """Vectors of the next panel where `left` are left: 3, but 2 + 2 for the last four."""
    if left == 4:
        return 2
    return 3 if left > 3 else left


def product(dtype: np.dtype) -> Kernel:
    """C (+)= A · B, with C of any shape, in blocks that stay in the caches.

    ``product(A, a_row, a_step, B, b_row, C, c_row, n, n_rows, n_columns, add)``: strides count
    numbers, see `simd.strip`; the product sums over n; nothing outside the C given is touched.
    Where `b_row` is 0, B is packed in panels: those of columns `panel_vectors` at a time, one
    after the other, each with its rows contiguous and filled up to whole vectors.
    """
    v = Vectors(dtype)
    width, size = v.lanes, v.size
    strip3, strip2, masked = strip(v, 3, False), strip(v, 2, False), strip(v, 1, True)
    # With AVX2 or AVX-512 a masked load costs what a plain one does; without them it is scalar
    # code, so a whole vector has a strip of its own.
    strip1 = masked if register_bytes() > 16 else strip(v, 1, False)
    # Two of half the width where there was one of AVX-512: Zen 4 takes as long for the one whose
    # half is masked (loss_and_grad of 4096 x 8 x 32 in float32: 145 to 128 us).
    half = width // 2 if register_bytes() == 64 else 0
    narrow = strip(Vectors(dtype, half), 1, True) if half else masked
    most_depth = _STRIP_BYTES // (3 * register_bytes())
    most_rows = _BLOCK_BYTES // (most_depth * size)

    def product(A, a_row, a_step, B, b_row, C, c_row, n, n_rows, n_columns, add):
        # Equal blocks: 257 terms are two blocks of 129 and 128, not 256 and 1.
        blocks = larger((n + most_depth - 1) // most_depth, 1)
        block = (n + blocks - 1) // blocks
        i = 0
        while i < n_rows:
            rows = smaller(most_rows, n_rows - i)
            for number in range(blocks):
                k = number * block
                depth = smaller(block, n - k)
                adding = add if number == 0 else 1
                a = A + (i * a_row + k * a_step) * size
                start = 0
                while start < n_columns:
                    left = n_columns - start
                    vectors = panel_vectors((left + width - 1) // width)
                    last = smaller(left - (vectors - 1) * width, width)
                    c = C + (i * c_row + start) * size
                    row = b_row
                    b = B + (start + k * b_row) * size
                    if b_row == 0:
                        row = vectors * width
                        b = B + (start * n + k * row) * size
                    if vectors == 3:
                        strip3(a, a_row, a_step, b, row, c, c_row, depth, rows, last, adding)
                    elif vectors == 2:
                        strip2(a, a_row, a_step, b, row, c, c_row, depth, rows, last, adding)
                    elif half and last <= half:
                        narrow(a, a_row, a_step, b, row, c, c_row, depth, rows, last, adding)
                    elif last < width:
                        masked(a, a_row, a_step, b, row, c, c_row, depth, rows, last, adding)
                    else:
                        strip1(a, a_row, a_step, b, row, c, c_row, depth, rows, last, adding)
                    start += vectors * width
            i += rows

    return Kernel(product, Product)


def pack_panels(dtype: np.dtype) -> Kernel:
    """Transpose samples into panels, the operand B of the forward product.

    ``pack_panels(X, n_samples, N, target, row)``: each panel holds up to three vectors of samples,
    input-major; the last sample stands in for those missing in the last vector. Panels follow
    each other: the one that begins at sample b begins at number b N of the target. Samples lie
    `row` numbers apart, or N where that is 0.
    """
    v = Vectors(dtype)
    square = pack(v)
    width, size = v.lanes, v.size

    def pack_panels(X, n_samples, N, target, row):
        step = row if row else N
        n_vectors = (n_samples + width - 1) // width
        done = 0
        while done < n_vectors:
            vectors = panel_vectors(n_vectors - done)
            across = vectors * width
            panel = target + done * width * N * size
            for i in range(vectors):
                b = (done + i) * width
                j = 0
                while j < N:
                    square(
                        X + (b * step + j) * size,
                        step,
                        n_samples - b,
                        N - j,
                        panel + (j * across + i * width) * size,
                        across,
                    )
                    j += width
            done += vectors

    return Kernel(pack_panels, Pack)


def copy_panels(dtype: np.dtype) -> Kernel:
    """Copy samples into panels of inputs, the operand B of the product that makes ∇_W.

    ``copy_panels(X, n_samples, N, target, row)``: panels of columns as `product` takes them.
    Rows of X lie far apart, in part of the cache's sets and each in a page of its own.
    """
    v = Vectors(dtype)
    vector = copy(v)
    width, size = v.lanes, v.size

    def copy_panels(X, n_samples, N, target, row):
        step = row if row else N
        start = 0
        while start < N:
            vectors = panel_vectors((N - start + width - 1) // width)
            for b in range(n_samples):
                sample = X + (b * step + start) * size
                for i in range(vectors):
                    left = N - start - i * width
                    vector(sample + i * width * size, left, target)
                    target += width * size
            start += vectors * width

    return Kernel(copy_panels, Pack)


def dots_of(dtype: np.dtype) -> Any:
    """Return the dot-product intrinsic for a number type (`simd.dots`)."""
    return dots(Vectors(dtype))
