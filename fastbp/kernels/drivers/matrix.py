"""The Gauss–Newton matrix, block by block of samples, and its damped solution.

Per chunk of samples (docs/mathematics.md, question 6), with ℓ', ℓ'' and c of each sample:

    J^T: rows σ'(s_b) u_{b,i} and δ_{b,i} x_{b,j}      P × chunk, the only part of J that exists
    g += J^T r,  r_b = c_b ℓ'_b / Σ c                  G += J^T K J,  K = diag(c_b ℓ''_b / Σ c)

Only the upper triangle of G is multiplied out. Where N and H are not small, not even that:

    G[ij, kl] = Σ_b κ_b (δ_{b,i} δ_{b,k}) (x_{b,j} x_{b,l})

is the same for (j, l) and (l, j), so all of it is in the product of the H (H + 1) / 2 pairs of δ
and the N (N + 1) / 2 pairs of x, half as many multiplications.
"""

from __future__ import annotations

import numpy as np

from ..machine.address import POINTER, allocate, load, release, shifted, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_activation_block, call_loss_block, call_pack, multiply
from ..machine.integers import larger, smaller
from ..machine.places import LOSS_BLOCK, LOSS_OUTPUT, N_INPUTS, N_NEURONS, PACK, PRODUCT, REWEIGHTED
from ..machine.records import DONE, NO_MEMORY, Matrix
from .passes import passes

_LEAST_RESIDUAL = 1e-6  # |y − t| in the quotient: pinball's has no bound

_MOST_CHUNK = 240  # samples: as the depth of the product, below the depth of its blocks
# Where pairs are faster than J: fewer inputs don't fill vectors, and the pairs of very many
# don't fit in the caches.
_LEAST_PAIRED, _MOST_PAIRED, _LEAST_NEURONS = 7, 64, 6


def matrix(dtype: np.dtype) -> Kernel:
    """Make the unit of loss, gradient and upper triangle of the Gauss–Newton matrix.

    ``matrix(plan, loss, w, X, B, t, c, scale, curvature, g, G, mirror, result)``

    ``result[0]`` (float64) receives Σ_b c_b ℓ_b; g and G are overwritten with what `scale` makes
    means; with `mirror`, the lower triangle is filled in. The `loss` table must have its output
    at order 1 and itself at order 2.
    """
    p = passes(dtype)
    pointer, size, width, real = p.pointer, p.size, p.width, p.real
    activate, weighted_rows, lines = p.activate, p.weighted_rows, p.lines
    pointer64 = POINTER[np.dtype(np.float64)]
    zero, least = real(0), real(_LEAST_RESIDUAL)
    panel = 3 * width

    @loop
    def transpose(X, n, N, cp, XT):
        """Samples along the rows; the last one stands in for the padding."""
        rows = view(pointer(X), n * N)
        columns = view(pointer(XT), N * cp)
        for j in range(N):
            for b in range(cp):
                columns[j * cp + b] = rows[smaller(b, n - 1) * N + j]

    @loop
    def head(loss, s, t, c, n, cp, factor, curvature, e, r, k, d, dd, result):
        """From s to σ', r and K, all zero on the padding, and the loss."""
        start = view(pointer(s), cp)
        slopes = view(pointer(e), cp)
        call_activation_block(load(loss, LOSS_OUTPUT + 1), s, e, 0, n)
        residual = view(pointer(k), cp)
        ts = view(pointer(t), n)
        for b in range(n):
            residual[b] = abs(start[b] - ts[b])
        call_loss_block(load(loss, LOSS_BLOCK + 2), s, t, d, dd, n)
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
                for i in range(i0, smaller(i0 + side, P)):
                    for j in range(j0, smaller(j0 + side, i)):
                        matrix[i * P + j] = matrix[j * P + i]

    @loop
    def direct(plan, w, V, D, XT, e, r, k, J, panels, N, H, cp, g, G, add):
        """Add a chunk to g and G by way of J."""
        P = H * (N + 1)
        jacobian(w, V, D, XT, e, J, N, H, cp)
        call_pack(load(plan, PACK), J, P, cp, panels)
        weigh(J, r, k, g, P, cp, add)
        # Rows of G at a time: few enough that little is computed below the diagonal.
        block = smaller(larger(P // 8, 1), 5 * panel)
        block = (block + panel - 1) // panel * panel
        row = 0
        while row < P:
            # Panels are three vectors wide but for the last four vectors, 2 and 2, which
            # must not be parted (`panel_vectors`).
            rows = block if row + block + width < P else P - row
            a = J + row * cp * size
            b = panels + row * cp * size
            target = G + (row * P + row) * size
            multiply(load(plan, PRODUCT), (a, cp, 1), (b, 0), (target, P), (cp, rows, P - row), add)
            row += rows

    @loop
    def pairs(x, Y, XY, n, cp):
        """Products of one row with each of n rows."""
        xs = view(pointer(x), cp)
        for i in range(n):
            y = view(pointer(Y + i * cp * size), cp)
            xy = view(pointer(XY + i * cp * size), cp)
            for b in range(cp):
                xy[b] = xs[b] * y[b]

    @loop
    def clear(numbers, n):
        values = view(pointer(numbers), n)
        for k in range(n):
            values[k] = zero

    @loop
    def paired(plan, w, V, D, X, XT, e, r, k, J, panels, N, H, n, cp, g, G, T, add):
        """Add a chunk to g, the rows of G that belong to a, and T, the product of the pairs."""
        P = H * (N + 1)
        n_pairs = N * (N + 1) // 2
        product = load(plan, PRODUCT)
        pack = load(plan, PACK)
        av = view(pointer(w), H)
        gv = view(pointer(g), H)
        slopes = view(pointer(e), cp)
        rs = view(pointer(r), cp)
        ks = view(pointer(k), cp)
        # V becomes σ' u, D becomes δ, and J the rows of δ r. Beyond the first `last` neurons δ is
        # zero: the neuron of a bias is constant.
        last = 0
        for i in range(H):
            v = view(pointer(V + i * cp * size), cp)
            d = view(pointer(D + i * cp * size), cp)
            row = view(pointer(J + i * cp * size), cp)
            total = zero
            size_d = zero
            for b in range(cp):
                v[b] *= slopes[b]
                total += v[b] * rs[b]
                d[b] = slopes[b] * (av[i] * d[b])
                row[b] = d[b] * rs[b]
                size_d += abs(d[b])
            if not size_d == zero:
                last = i + 1
            gv[i] = gv[i] + total if add else total
        multiply(product, (J, cp, 1), (X, N), (g + H * size, N), (n, H, N), add)
        # Rows of G that belong to a: those columns, and with κ σ' u δ those of W.
        call_pack(pack, V, H, cp, panels)
        for i in range(H):
            v = view(pointer(V + i * cp * size), cp)
            for b in range(cp):
                v[b] *= ks[b]
        multiply(product, (V, cp, 1), (panels, 0), (G, P), (cp, H, H), add)
        call_pack(pack, XT, N, cp, panels)
        for i in range(H):
            pairs(V + i * cp * size, D, J, last, cp)
            row_of = G + (i * P + H) * size
            multiply(product, (J, cp, 1), (panels, 0), (row_of, N), (cp, last, N), add)
            if not add:
                clear(row_of + last * N * size, (H - last) * N)
        # The pairs of x and of δ.
        for j in range(N):
            x = XT + j * cp * size
            pairs(x, x, J + (j * N - j * (j - 1) // 2) * cp * size, N - j, cp)
        call_pack(pack, J, n_pairs, cp, panels)
        for i in range(H):
            v = view(pointer(V), cp)
            d = view(pointer(D + i * cp * size), cp)
            for b in range(cp):
                v[b] = ks[b] * d[b]
            n_rows = larger(last - i, 0)
            pairs(V, D + i * cp * size, J, n_rows, cp)
            target = T + (i * H - i * (i - 1) // 2) * n_pairs * size
            multiply(
                product, (J, cp, 1), (panels, 0), (target, n_pairs), (cp, n_rows, n_pairs), add
            )
            if not add:
                clear(target + n_rows * n_pairs * size, (H - i - n_rows) * n_pairs)

    @loop
    def spread(T, N, H, G):
        """Fill in G's upper triangle of W from the product of the pairs."""
        P = H * (N + 1)
        n_pairs = N * (N + 1) // 2
        t = 0
        for i in range(H):
            for k in range(i, H):
                given = view(pointer(T + t * n_pairs * size), n_pairs)
                for j in range(N):
                    row = G + ((H + i * N + j) * P + H + k * N) * size
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

    def matrix(plan, loss, w, X, B, t, c, scale, curvature, g, G, mirror, result):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        P = H * (N + 1)
        by_pairs = _LEAST_PAIRED <= N <= _MOST_PAIRED and H >= _LEAST_NEURONS
        n_pairs = N * (N + 1) // 2
        n_rows = larger(H, n_pairs) if by_pairs else P  # of J, or what stands in its place
        n_products = H * (H + 1) // 2 * n_pairs if by_pairs else 0
        n_chunks = (B + _MOST_CHUNK - 1) // _MOST_CHUNK
        chunk = ((B + n_chunks - 1) // n_chunks + width - 1) // width * width
        whole = (2 * n_rows + width + 2 * H + N + 6) * chunk + n_products
        own = allocate(lines(whole) + 13 * 64)
        if own == 0:
            return NO_MEMORY
        J = (own + 63) // 64 * 64
        panels = J + lines(n_rows * chunk)
        V = panels + lines((n_rows + width) * chunk)
        D = V + lines(H * chunk)
        XT = D + lines(H * chunk)
        s = XT + lines(N * chunk)
        e = s + lines(chunk)
        r = e + lines(chunk)
        k = r + lines(chunk)
        d = k + lines(chunk)
        dd = d + lines(chunk)
        T = dd + lines(chunk)
        view(pointer64(result), 1)[0] = 0.0
        for first in range(0, B, chunk):
            n = smaller(chunk, B - first)
            cp = (n + width - 1) // width * width
            at = first * size
            x = X + at * N
            add = 1 if first else 0
            transpose(x, n, N, cp, XT)
            multiply(load(plan, PRODUCT), (w + H * size, N, 1), (XT, cp), (V, cp), (N, H, cp), 0)
            activate(plan, 1, V, D, 0, cp, H)
            weighted_rows(w, V, s, H, cp)
            c_ = shifted(c, at)
            head(loss, s, t + at, c_, n, cp, real(scale), curvature, e, r, k, d, dd, result)
            if by_pairs:
                paired(plan, w, V, D, x, XT, e, r, k, J, panels, N, H, n, cp, g, G, T, add)
            else:
                direct(plan, w, V, D, XT, e, r, k, J, panels, N, H, cp, g, G, add)
        if by_pairs:
            spread(T, N, H, G)
        if mirror:
            mirrored(G, P)
        release(own)
        return DONE

    return Kernel(matrix, Matrix)
