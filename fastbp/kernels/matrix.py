"""The Gauss–Newton matrix, block by block of samples, and its damped solution.

Per chunk of samples (MATHS.md, "Jacobians"), with ℓ', ℓ'' and c of each sample:

    J^T: rows σ'(s_b) u_{b,i} and δ_{b,i} x_{b,j}      P × chunk, the only part of J that exists
    g += J^T r,  r_b = c_b ℓ'_b / Σ c                  G += J^T K J,  K = diag(c_b ℓ''_b / Σ c)

Only the upper triangle of G is multiplied out. It is factored in place, G + μ D = U^T U, by the
same product kernel; a library's Cholesky could not be called from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from ._address import POINTER, allocate, invoke, load, release, view
from ._build import Unit, loop
from ._passes import passes
from ._plan import LOSS_BLOCK, LOSS_OUTPUT, N_INPUTS, N_NEURONS, PACK, PRODUCT

# How a sample's weight in G is taken: ℓ'', or for robust losses max(ℓ'', |ℓ'| / |y − t|).
CURVED, REWEIGHTED = 0, 1
_LEAST_RESIDUAL = 1e-6  # |y − t| in the quotient: pinball's has no bound

_MOST_CHUNK = 240  # samples: as the depth of the product, below the depth of its blocks


@cache
def matrix_unit(dtype: np.dtype) -> Unit:
    """Make the unit of loss, gradient and upper triangle of the Gauss–Newton matrix.

    ``matrix(plan, loss, w, X, B, t, c, scale, curvature, g, G, mirror, result)``

    ``result[0]`` (float64) receives Σ_b c_b ℓ_b; g and G are overwritten with what `scale` makes
    means; with `mirror`, the lower triangle is filled in. The `loss` table must have its output
    at order 1 and itself at order 2.
    """
    p = passes(dtype)
    pointer, size, width, real = p.pointer, p.size, p.width, p.real
    activate, weighted_rows = p.activate, p.weighted_rows
    pointer64 = POINTER[np.dtype(np.float64)]
    zero, least = real(0), real(_LEAST_RESIDUAL)
    panel = 3 * width

    @loop
    def lines(numbers):
        return (numbers * size + 63) // 64 * 64

    @loop
    def transpose(X, n, N, cp, XT):
        """Samples along the rows; the last one stands in for the padding."""
        rows = view(pointer(X), n * N)
        columns = view(pointer(XT), N * cp)
        for j in range(N):
            for b in range(cp):
                columns[j * cp + b] = rows[min(b, n - 1) * N + j]

    @loop
    def head(loss, s, t, c, n, cp, factor, curvature, e, r, k, d, dd, result):
        """From s to σ', r and K, all zero on the padding, and the loss."""
        start = view(pointer(s), cp)
        slopes = view(pointer(e), cp)
        invoke(load(loss, LOSS_OUTPUT + 1), (s, e, 0, n))
        residual = view(pointer(k), cp)
        ts = view(pointer(t), n)
        for b in range(n):
            residual[b] = abs(start[b] - ts[b])
        invoke(load(loss, LOSS_BLOCK + 2), (s, t, d, dd, n))
        first = view(pointer(d), cp)
        second = view(pointer(dd), cp)
        rs = view(pointer(r), cp)
        if curvature == REWEIGHTED:
            for b in range(n):
                second[b] = max(second[b], abs(first[b]) / max(residual[b], least))
        total = 0.0
        for b in range(n):
            f = factor
            if c:
                weight = view(pointer(c), n)[b]
                f *= weight
                total += float(weight) * float(start[b])
            else:
                total += float(start[b])
            rs[b] = f * first[b]
            residual[b] = f * second[b]
        for b in range(n, cp):
            slopes[b] = zero
            rs[b] = zero
            residual[b] = zero
        view(pointer64(result), 1)[0] += total

    @loop
    def jacobian(w, V, D, XT, e, J, N, H, cp):
        """J^T of a chunk, of V and V' neuron-major."""
        av = view(pointer(w), H)
        slopes = view(pointer(e), cp)
        for i in range(H):
            v = view(pointer(V + i * cp * size), cp)
            d = view(pointer(D + i * cp * size), cp)
            row = view(pointer(J + i * cp * size), cp)
            ai = av[i]
            for b in range(cp):
                row[b] = slopes[b] * v[b]
            for b in range(cp):
                d[b] = slopes[b] * (ai * d[b])
            for j in range(N):
                x = view(pointer(XT + j * cp * size), cp)
                out = view(pointer(J + (H + i * N + j) * cp * size), cp)
                for b in range(cp):
                    out[b] = d[b] * x[b]

    @loop
    def weigh(J, r, k, g, P, cp, add):
        """g (+)= J^T r, and J^T K in place of J^T."""
        gv = view(pointer(g), P)
        rs = view(pointer(r), cp)
        ks = view(pointer(k), cp)
        for p in range(P):
            row = view(pointer(J + p * cp * size), cp)
            total = zero
            for b in range(cp):
                total += row[b] * rs[b]
                row[b] = row[b] * ks[b]
            gv[p] = gv[p] + total if add else total

    @loop
    def mirrored(G, P):
        """Fill in the lower triangle, in squares that stay in the first-level cache."""
        matrix = view(pointer(G), P * P)
        side = 32
        for i0 in range(0, P, side):
            for j0 in range(0, i0 + 1, side):
                for i in range(i0, min(i0 + side, P)):
                    for j in range(j0, min(j0 + side, i)):
                        matrix[i * P + j] = matrix[j * P + i]

    def matrix(plan, loss, w, X, B, t, c, scale, curvature, g, G, mirror, result):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        P = H * (N + 1)
        n_chunks = (B + _MOST_CHUNK - 1) // _MOST_CHUNK
        chunk = ((B + n_chunks - 1) // n_chunks + width - 1) // width * width
        # Rows of G at a time: few enough that little is computed below the diagonal.
        block = min(max(P // 8, 1), 5 * panel)
        block = (block + panel - 1) // panel * panel
        whole = lines((2 * P + width + 2 * H + N + 6) * chunk) + 12 * 64
        own = allocate(whole)
        J = (own + 63) // 64 * 64
        panels = J + lines(P * chunk)
        V = panels + lines((P + width) * chunk)
        D = V + lines(H * chunk)
        XT = D + lines(H * chunk)
        s = XT + lines(N * chunk)
        e = s + lines(chunk)
        r = e + lines(chunk)
        k = r + lines(chunk)
        d = k + lines(chunk)
        dd = d + lines(chunk)
        view(pointer64(result), 1)[0] = 0.0
        first = 0
        while first < B:
            n = min(chunk, B - first)
            cp = (n + width - 1) // width * width
            at = first * size
            add = 1 if first else 0
            transpose(X + at * N, n, N, cp, XT)
            invoke(product, (w + H * size, N, 1, XT, cp, V, cp, N, H, cp, 0))
            activate(plan, 1, V, D, 0, cp, H)
            weighted_rows(w, V, s, H, cp, 0)
            c_ = c + at if c else 0
            head(loss, s, t + at, c_, n, cp, real(scale), curvature, e, r, k, d, dd, result)
            jacobian(w, V, D, XT, e, J, N, H, cp)
            invoke(load(plan, PACK), (J, P, cp, panels))
            weigh(J, r, k, g, P, cp, add)
            row = 0
            while row < P:
                # Panels are three vectors wide but for the last four vectors, 2 and 2, which
                # must not be parted (`panel_vectors`).
                rows = block if row + block + width < P else P - row
                invoke(
                    product,
                    (
                        J + row * cp * size,
                        cp,
                        1,
                        panels + row * cp * size,
                        0,
                        G + (row * P + row) * size,
                        P,
                        cp,
                        rows,
                        P - row,
                        add,
                    ),
                )
                row += rows
            first += n
        if mirror:
            mirrored(G, P)
        release(own)

    signature = types.void(*[types.int64] * 7, types.float64, *[types.int64] * 5)
    return Unit(matrix, signature, key=dtype.name, python=True)


@cache
def cholesky_of(dtype: np.dtype) -> Callable:
    """Return the jitted function ``factor(product, U, P, buffer) -> whether it is definite``.

    In place of the upper triangle of a symmetric matrix, U with U^T U = A; the buffer has
    CHOLESKY_ROWS · P numbers. Blocked, right-looking: Golub & Van Loan, Matrix Computations
    (4th ed.), section 4.2.6.
    """
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero, one = real(0), real(1)

    @loop
    def factor(product, U, P, buffer):
        k0 = 0
        while k0 < P:
            end = min(k0 + CHOLESKY_ROWS, P)
            for k in range(k0, end):
                row = view(pointer(U + (k * P + k) * size), P - k)
                pivot = row[0]
                if not zero < pivot < real(np.inf):
                    return False
                scale = one / real(math.sqrt(pivot))
                for j in range(P - k):
                    row[j] *= scale
                for i in range(k + 1, end):
                    f = row[i - k]
                    above = view(pointer(U + (k * P + i) * size), P - i)
                    target = view(pointer(U + (i * P + i) * size), P - i)
                    for j in range(P - i):
                        target[j] -= f * above[j]
            for k in range(k0, end):
                row = view(pointer(U + k * P * size), P)
                negative = view(pointer(buffer + (k - k0) * P * size), P)
                for j in range(end, P):
                    negative[j] = -row[j]
            r = end
            while r < P:
                rows = min(2 * CHOLESKY_ROWS, P - r)
                args = (
                    buffer + r * size,
                    1,
                    P,
                    U + (k0 * P + r) * size,
                    P,
                    U + (r * P + r) * size,
                    P,
                    end - k0,
                    rows,
                    P - r,
                    1,
                )
                invoke(product, args)
                r += rows
            k0 = end
        return True

    return factor


@cache
def solve_of(dtype: np.dtype) -> Callable:
    """Return the jitted function ``solve(U, P, b)``: x with U^T U x = b in place of b."""
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type
    zero = real(0)

    @loop
    def solve(U, P, b):
        x = view(pointer(b), P)
        for k in range(P):
            row = view(pointer(U + (k * P + k) * size), P - k)
            x[k] /= row[0]
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
            x[k] = (x[k] - total) / row[0]

    return solve


CHOLESKY_ROWS = 16
