"""The Gauss–Newton matrix, block by block of samples.

Per chunk of samples (docs/mathematics.md, question 6), with s̄ and κ of each (`head`):

    J^T: rows u_{b,i} and d_{b,i} x_{b,j} of ∂s/∂w, d = a_i v_i'      P × chunk, all of J there is
    g += J^T s̄                         G += J^T diag(κ) J

Only the upper triangle of G is multiplied out. Where N and H are not small, not even that:

    G[ij, kl] = Σ_b κ_b (d_{b,i} d_{b,k}) (x_{b,j} x_{b,l})

is the same for (j, l) and (l, j), so all of it is in the product of the H (H + 1) / 2 pairs of d
and the N (N + 1) / 2 pairs of x, half as many multiplications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..machine.address import POINTER, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_matrix, call_pack, multiply
from ..machine.integers import larger, smaller
from ..machine.places import (
    FORWARD,
    MATRIX,
    N_INPUTS,
    N_NEURONS,
    N_OUTPUTS,
    N_PARAMS,
    PACK,
    PRODUCT,
    REST,
    W_OFFSET,
    WHOLE,
)
from ..machine.records import DONE, NO_MEMORY, Matrix
from ..machine.workspace import borrow, give_back
from .head import Cotangent, Head, head_of, outputs_of
from .passes import Chunk, passes
from .tree import levels, matrix_part_size, tree_of
from .weighing import Observations, Sums, weighing_of

_MOST_CHUNK = 240  # samples: as the depth of the product, below the depth of its blocks
# Where pairs are faster than J: fewer inputs don't fill vectors, and the pairs of very many
# don't fit in the caches; of few samples their product is done sooner than its numbers are put into
# G (32 x 12 x 64 in float32: 590 us, and 410 by J).
_LEAST_PAIRED, _MOST_PAIRED, _LEAST_NEURONS = 7, 64, 6
_LEAST_VECTORS = 12


class Room(NamedTuple):
    """Memory of a chunk, addresses: rows of samples, J or what pairs need in its place, packed."""

    J: int
    panels: int
    V: int  # v: the first rows of J, unless pairs are taken
    D: int
    XT: int
    head: Head
    T: int  # the product of the pairs, of the whole batch; 0 where none are taken


def _direct(dtype: np.dtype) -> Callable:
    """Return the step by way of J."""
    p = passes(dtype)
    pointer, size, width = p.pointer, p.size, p.width
    zero, panel = p.real(0), 3 * p.width

    @loop
    def jacobian(plan, w, room, cp):
        """Rows of ∂s/∂W below those of ∂s/∂a, which are v."""
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        av = view(pointer(w), H)
        for i in range(H):
            d = view(pointer(room.D + i * cp * size), cp)
            ai = av[i]
            for b in range(cp):
                d[b] = ai * d[b]
            for j in range(N):
                x = view(pointer(room.XT + j * cp * size), cp)
                out = view(pointer(room.J + (H + i * N + j) * cp * size), cp)
                for b in range(cp):
                    out[b] = d[b] * x[b]

    @loop
    def weigh(room, g, P, cp, add):
        """g (+)= J^T s̄, and J^T diag(κ) in place of J^T."""
        gv = view(pointer(g), P)
        bar = view(pointer(room.head.sbar), cp)
        kappa = view(pointer(room.head.h), cp)
        for k in range(P):
            row = view(pointer(room.J + k * cp * size), cp)
            total = zero
            for b in range(cp):
                total += row[b] * bar[b]
                row[b] = row[b] * kappa[b]
            gv[k] = gv[k] + total if add else total

    @loop
    def direct(plan, w, room, sums, cp, add):
        """Add a chunk to g and G by way of J."""
        P = load(plan, N_PARAMS)
        jacobian(plan, w, room, cp)
        call_pack(load(plan, PACK), room.J, P, cp, room.panels)
        weigh(room, sums.g, P, cp, add)
        row = 0
        while row < P:  # so few rows of G at a time that little is computed below the diagonal
            # Panels are three vectors wide but for the last four vectors, 2 and 2, which
            # must not be parted (`panel_vectors`).
            rows = panel if row + panel + width < P else P - row
            a = room.J + row * cp * size
            b = room.panels + row * cp * size
            target = sums.G + (row * P + row) * size
            multiply(load(plan, PRODUCT), (a, cp, 1), (b, 0), (target, P), (cp, rows, P - row), add)
            row += rows

    return direct


def pairs_of(dtype: np.dtype) -> Callable:
    """Return the jitted step that multiplies pairs of rows."""
    pointer, size = POINTER[dtype], dtype.itemsize

    @loop
    def pairs(x, Y, XY, n, cp):
        """Products of one row with each of n rows."""
        xs = view(pointer(x), cp)
        for i in range(n):
            y = view(pointer(Y + i * cp * size), cp)
            xy = view(pointer(XY + i * cp * size), cp)
            for b in range(cp):
                xy[b] = xs[b] * y[b]

    return pairs


def _slopes(dtype: np.dtype) -> Callable:
    """Return the step that makes ∇_a and what ∇_W is the product of."""
    pointer, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)

    @loop
    def slopes(w, room, g, H, cp, add):
        """∇_a (+)= V s̄, D becomes d and J the rows of d s̄. Returns how many rows are not zero.

        Beyond them d is zero: the neuron of a bias is constant.
        """
        av, gv = view(pointer(w), H), view(pointer(g), H)
        bar = view(pointer(room.head.sbar), cp)
        last = 0
        for i in range(H):
            v = view(pointer(room.V + i * cp * size), cp)
            d = view(pointer(room.D + i * cp * size), cp)
            row = view(pointer(room.J + i * cp * size), cp)
            total = zero
            size_d = zero
            for b in range(cp):
                total += v[b] * bar[b]
                d[b] = av[i] * d[b]
                row[b] = d[b] * bar[b]
                size_d += abs(d[b])
            if not size_d == zero:
                last = i + 1
            gv[i] = gv[i] + total if add else total
        return last

    return slopes


def _paired(dtype: np.dtype) -> Callable:
    """Return the step by way of the pairs."""
    pointer, size = POINTER[dtype], dtype.itemsize
    pairs, clear, slopes = pairs_of(dtype), passes(dtype).clear, _slopes(dtype)

    @loop
    def paired(plan, w, X, room, sums, chunk, add):
        """Add a chunk to g, the rows of G that belong to a, and T."""
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        product, pack = load(plan, PRODUCT), load(plan, PACK)
        J, panels, D, XT, G = room.J, room.panels, room.D, room.XT, sums.G
        cp, n_pairs = chunk.padded, N * (N + 1) // 2
        kappa = view(pointer(room.head.h), cp)
        last = slopes(w, room, sums.g, H, cp, add)
        gW = sums.g + load(plan, W_OFFSET)
        multiply(product, (J, cp, 1), (X, N), (gW, N), (chunk.n, H, N), add)
        # Rows of G that belong to a: those columns, and with κ v d those of W.
        call_pack(pack, room.V, H, cp, panels)
        for i in range(H):
            v = view(pointer(room.V + i * cp * size), cp)
            for b in range(cp):
                v[b] *= kappa[b]
        multiply(product, (room.V, cp, 1), (panels, 0), (G, P), (cp, H, H), add)
        call_pack(pack, XT, N, cp, panels)
        for i in range(H):
            pairs(room.V + i * cp * size, D, J, last, cp)
            row_of = G + (i * P + H) * size
            multiply(product, (J, cp, 1), (panels, 0), (row_of, N), (cp, last, N), add)
            if not add:
                clear(row_of + last * N * size, (H - last) * N)
        # The pairs of x and of d.
        for j in range(N):
            x = XT + j * cp * size
            pairs(x, x, J + (j * N - j * (j - 1) // 2) * cp * size, N - j, cp)
        call_pack(pack, J, n_pairs, cp, panels)
        for i in range(H):
            v = view(pointer(room.V), cp)
            d = view(pointer(D + i * cp * size), cp)
            for b in range(cp):
                v[b] = kappa[b] * d[b]
            rows = larger(last - i, 0)
            pairs(room.V, D + i * cp * size, J, rows, cp)
            target = room.T + (i * H - i * (i - 1) // 2) * n_pairs * size
            multiply(product, (J, cp, 1), (panels, 0), (target, n_pairs), (cp, rows, n_pairs), add)
            if not add:
                clear(target + rows * n_pairs * size, (H - i - rows) * n_pairs)

    return paired


def spread_of(dtype: np.dtype) -> Callable:
    """Return the jitted step from the product of the pairs to G."""
    pointer, size = POINTER[dtype], dtype.itemsize

    @loop
    def spread(plan, T, G):
        """Fill in G's upper triangle of W from the product of the pairs."""
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        n_pairs, start_of_W = N * (N + 1) // 2, P - H * N
        t = 0
        for i in range(H):
            for k in range(i, H):
                given = view(pointer(T + t * n_pairs * size), n_pairs)
                for j in range(N):
                    row = G + ((start_of_W + i * N + j) * P + start_of_W + k * N) * size
                    target = view(pointer(row), N)
                    start = j * N - j * (j - 1) // 2 - j
                    for m in range(j, N):
                        target[m] = given[start + m]
                    if k > i:
                        place = j
                        for m in range(j):
                            target[m] = given[place]
                            place += N - 1 - m
                t += 1

    return spread


def _mirrored(dtype: np.dtype) -> Callable:
    """Return the jitted step from a triangle of G to the whole."""
    pointer = POINTER[dtype]

    @loop
    def mirrored(G, P):
        """Fill in the lower triangle, in squares that stay in the first-level cache."""
        matrix = view(pointer(G), P * P)
        side = 32
        for i0 in range(0, P, side):
            for j0 in range(0, i0 + 1, side):
                for i in range(i0, smaller(i0 + side, P)):
                    for j in range(j0, smaller(j0 + side, i)):
                        matrix[i * P + j] = matrix[j * P + i]

    return mirrored


def _transpose(dtype: np.dtype) -> Callable:
    """Return the jitted step from rows of X to rows of X^T."""
    pointer = POINTER[dtype]

    @loop
    def transpose(X, n, N, cp, XT):
        """Samples along the rows; the last one stands in for the padding."""
        rows = view(pointer(X), n * N)
        columns = view(pointer(XT), N * cp)
        for j in range(N):
            for b in range(cp):
                columns[j * cp + b] = rows[smaller(b, n - 1) * N + j]

    return transpose


class Steps(NamedTuple):
    """What the loop over chunks leaves to those who know what a chunk is added to: jitted.

    ``room(own, plan, most)`` gives the memory of so many samples, and where it ends;
    ``added(plan, loss, w, x, room, sums, chunk, add)`` adds a chunk; ``finished(plan, room, G)``
    is called at the end of a part.
    """

    room: Callable
    added: Callable
    finished: Callable


def is_one_chunk_of(dtype: np.dtype) -> Callable:
    """Return the jitted question whether observations are one chunk, of `batch` and of a matrix."""
    p = passes(dtype)
    few, chunk_size = p.few, p.chunk_size

    @loop
    def is_one_chunk(plan, B):
        N, H, K = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_OUTPUTS)
        most = smaller(_MOST_CHUNK, chunk_size(N, H, B, 2 if K == 1 else 3))
        return B <= most and not few(B)

    return is_one_chunk


def over_chunks(dtype: np.dtype, steps: Steps) -> Callable:
    """Make the function of a unit: forward, the head, and the sums of chunks and parts.

    ``matrix(plan, …, t, c, scale, curvature, g, G, mirror, part, kept, stage, result)``

    ``result[0]`` (float64) receives Σ_b c_b ℓ_b; g and G are overwritten with what `scale` makes
    means; with `mirror`, the lower triangle is filled in. The plan has its activations at order 1,
    the `loss` table itself and its output at order 2. `part` as `batch` has it, for the partition
    of `matrix_part_size`. `kept` is 0, or the address of an int64: 0, and from then on memory that
    the caller gives back, in which X stays transposed. Where the batch `is_one_chunk`, FORWARD
    makes but the loss, of the same bits as `batch` has it, and REST with the same w what remains.
    """
    p = passes(dtype)
    size, width, activate, tree_numbers = p.size, p.width, p.activate, p.tree_numbers
    pointer64, integers = POINTER[np.dtype(np.float64)], POINTER[np.dtype(np.int64)]
    room_of, added, finished = steps
    transpose, mirrored = _transpose(dtype), _mirrored(dtype)
    head, outputs, tree = head_of(dtype, True), outputs_of(dtype), tree_of(dtype)
    ones, place, merge, weighing = tree.ones, tree.place, tree.merge, weighing_of(dtype)

    def matrix(
        plan, loss, w, X, B, t, c, scale, curvature, g, G, mirror, part, kept, stage, result
    ):
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        W, observations = w + load(plan, W_OFFSET), Observations(X, N, t, c)
        part = part if part else matrix_part_size(B, P)
        n_parts = (B + part - 1) // part
        n_chunks = (part + _MOST_CHUNK - 1) // _MOST_CHUNK
        most = ((part + n_chunks - 1) // n_chunks + width - 1) // width * width
        _, end = room_of(0, plan, most)
        own = load(kept, 0) if kept else 0
        is_new = own == 0
        if is_new:
            own = borrow(plan, end + 2 * 64 + tree_numbers(n_parts, P + P * P) * size)
        if own == 0:
            return NO_MEMORY
        if kept:
            integers(kept)[0] = own
        room, end = room_of((own + 63) // 64 * 64, plan, most)
        losses, vectors, matrices = result, 0, 0
        if n_parts > 1:
            losses = end
            vectors = losses + 8 * (levels(n_parts) + 1)
            matrices = vectors + levels(n_parts) * P * size
        given = Cotangent(plan, loss, t, c, scale, 0, 0)
        for k in range(n_parts):
            here = ones(k)
            total_of = losses + 8 * here
            sums = Sums(total_of, place(here, g, vectors, P), place(here, G, matrices, P * P))
            total = 0.0
            stop = smaller(k * part + part, B)
            for first in range(k * part, stop, most):
                n = smaller(most, stop - first)
                cp = (n + width - 1) // width * width
                x = X + first * N * size
                if is_new:
                    transpose(x, n, N, cp, room.XT)
                chunk = Chunk(first, n, cp)
                if stage != REST:
                    V = (room.V, cp)
                    multiply(load(plan, PRODUCT), (W, N, 1), (room.XT, cp), V, (N, H, cp), 0)
                    activate(plan, 1, room.V, room.D, 0, cp)
                    outputs(plan, w, room.V, room.head.s, cp)
                    total += head(given, room.head, curvature, chunk)
                if stage != FORWARD:
                    added(plan, loss, w, x, room, sums, chunk, 1 if first > k * part else 0)
            if stage != FORWARD:
                finished(plan, room, sums.G)
            pointer64(total_of)[0] = total
            again, m = weighing(plan, observations, k * part, stop - k * part, sums)
            if m:
                of = FORWARD if stage == FORWARD else WHOLE
                status = call_matrix(
                    load(plan, MATRIX), plan=plan, loss=loss, w=w, X=again.X, B=m, t=again.t,
                    c=again.c, scale=scale, curvature=curvature, g=sums.g, G=sums.G, mirror=0,
                    part=m, stage=of, result=total_of,
                )  # fmt: skip
                release(again.X)
                if status == NO_MEMORY:
                    if not kept:
                        give_back(plan, own)
                    return NO_MEMORY
            last = k + 1 == n_parts
            merge(k, last, g, vectors, 1, P, losses)
            merge(k, last, G, matrices, P, P, 0)
        if mirror:
            mirrored(G, P)
        pointer64(result)[0] = pointer64(losses)[0]
        if not kept:
            give_back(plan, own)
        return DONE

    return matrix


def matrix(dtype: np.dtype) -> Kernel:
    """Make the unit of loss, gradient and upper triangle of the Gauss–Newton matrix, K = 1."""
    lines, width = passes(dtype).lines, passes(dtype).width
    direct, paired, spread = _direct(dtype), _paired(dtype), spread_of(dtype)

    @loop
    def by_pairs(N, H, c):
        enough = H >= _LEAST_NEURONS and c >= _LEAST_VECTORS * width
        return enough and _LEAST_PAIRED <= N <= _MOST_PAIRED

    @loop
    def room_of(own, plan, c):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        n_pairs, n_rows, n_products = N * (N + 1) // 2, load(plan, N_PARAMS), 0
        if by_pairs(N, H, c):  # which have nothing in J's place but rows of pairs
            n_rows, n_products = larger(H, n_pairs), H * (H + 1) // 2 * n_pairs
        panels = own + lines(n_rows * c)
        D = panels + lines((n_rows + width) * c)
        XT = D + lines(H * c)
        s = XT + lines(N * c)
        line = lines(c)
        T, V, end = 0, own, s + 5 * line
        if n_products:
            T, V = end, end + lines(n_products)
            end = V + lines(H * c)
        head = Head(s, s + line, s + 2 * line, s + 3 * line, s + 4 * line, 0)
        return Room(own, panels, V, D, XT, head, T), end

    @loop
    def added(plan, loss, w, x, room, sums, chunk, add):
        if room.T:
            paired(plan, w, x, room, sums, chunk, add)
        else:
            direct(plan, w, room, sums, chunk.padded, add)

    @loop
    def finished(plan, room, G):
        if room.T:
            spread(plan, room.T, G)

    return Kernel(over_chunks(dtype, Steps(room_of, added, finished)), Matrix)
