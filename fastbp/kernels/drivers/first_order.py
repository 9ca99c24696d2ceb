"""First-order kernels: the forward pass and the reverse accumulation, chunk by chunk.

Per chunk of samples (docs/mathematics.md, question 7), neuron-major:

    Z^T = W · X^T                      u, v' = v_i(z_i), v_i'(z_i)
    s = a · U^T,  y = σ(s)             s̄ = ȳ σ'(s), or c ℓ'(y, t) σ'(s) / Σ c for a loss
    ∇_a += U^T s̄                       D[b, i] = s̄_b a_i v_i'(z_{b,i})
    ∇_W += D^T · X                     x̄_b = D_b · W
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..machine.address import POINTER, allocate, load, release
from ..machine.build import Kernel, loop
from ..machine.callers import call_activation_block, call_loss_block, call_pack, multiply
from ..machine.integers import smaller
from ..machine.places import (
    COPY,
    LOSS_BLOCK,
    LOSS_OUTPUT,
    N_INPUTS,
    N_NEURONS,
    OUTPUT,
    PACK,
    PRODUCT,
)
from ..machine.records import DONE, NO_MEMORY, PerSample, Reverse
from .passes import passes
from .products import dots_of


@cache
def head_of(dtype: np.dtype):
    """Return the jitted step from s to y, the loss and s̄: all that σ and ℓ have a part in."""
    p = passes(dtype)
    pointer, size, real = p.pointer, p.size, p.real
    pointer64 = POINTER[np.dtype(np.float64)]
    zero = real(0)

    @loop
    def head(plan, loss, s, ds, sbar, ell, first, n, cp, t, c, scale, ybar, y, order, result):
        """s → y, ℓ and s̄ for n samples; s̄ is zero on the padding up to cp."""
        output = load(loss, LOSS_OUTPUT + order) if loss else load(plan, OUTPUT + order)
        call_activation_block(output, s, ds, 0, n)
        sv = pointer(s)
        dv = pointer(ds)
        bar = pointer(sbar)
        if y:
            yv = pointer(y + first * size)
            for b in range(n):
                yv[b] = sv[b]
        if loss:
            call_loss_block(load(loss, LOSS_BLOCK + order), s, t + first * size, ell, 0, n)
            lv = pointer(ell)
            out = pointer64(result)
            total = 0.0
            if c:
                cv = pointer(c + first * size)
                for b in range(n):
                    total += np.float64(cv[b]) * np.float64(sv[b])
            else:
                for b in range(n):
                    total += np.float64(sv[b])
            out[0] += total
            if order == 0:
                return
            factor = real(scale)
            if c:
                cv = pointer(c + first * size)
                for b in range(n):
                    bar[b] = factor * cv[b] * (lv[b] * dv[b])
            else:
                for b in range(n):
                    bar[b] = factor * (lv[b] * dv[b])
        elif order == 0:
            return
        elif ybar:
            yb = pointer(ybar + first * size)
            for b in range(n):
                bar[b] = yb[b] * dv[b]
        else:
            for b in range(n):
                bar[b] = dv[b]
        for b in range(n, cp):
            bar[b] = zero

    return head


def reverse(dtype: np.dtype) -> Kernel:
    """Value, gradients and loss of a run of samples: the one first-order driver.

    ``reverse(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result)``

    Addresses are 0 where a thing is not given or not wanted: with a `loss` table the cotangent
    is that of Σ_b c_b ℓ(y_b, t_b) times `scale` and ``result[0]`` grows by the weighted
    losses; without it, it is `ybar` (ones where 0). y, g and xbar
    receive values, ∇_w and the rows ȳ_b ∇_x f_b. `panels` is X already packed.
    Where g is w itself, ∇_w is added to it: with a negative `scale` that is a step of descent,
    for samples that are one chunk.
    """
    p = passes(dtype)
    width, size = p.width, p.size
    chunk_size, activate, lines = p.chunk_size, p.activate, p.lines
    weighted_rows, accumulate = p.weighted_rows, p.accumulate
    head = head_of(dtype)

    def reverse(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        W = w + H * size
        gW = g + H * size
        order = 1 if g or xbar else 0
        ws = (ws + 63) // 64 * 64
        chunk = chunk_size(N, H, B, 2)
        packed = ws
        V = packed + lines(chunk * (N + width))
        D = V + lines(chunk * H)
        s = D + lines(chunk * H)
        ds = s + chunk * size
        sbar = ds + chunk * size
        ell = sbar + chunk * size
        for first in range(0, B, chunk):
            n = smaller(chunk, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * N * size
            source = panels + first * N * size
            if not panels:
                call_pack(load(plan, PACK), x, n, N, packed)
                source = packed
            multiply(product, (W, N, 1), (source, 0), (V, cp), (N, H, cp), 0)
            activate(plan, order, V, D, 0, cp, H)
            weighted_rows(w, V, s, H, cp)
            head(plan, loss, s, ds, sbar, ell, first, n, cp, t, c, scale, ybar, y, order, result)
            if order:
                more = 1 if first or g == w else 0
                accumulate(w, V, D, sbar, g, H, cp, more)
                if g and N > 3 * width and H >= 16:
                    # Packing the chunk again costs 1/H of the product: 2 to 30 % faster there.
                    call_pack(load(plan, COPY), x, n, N, packed)
                    multiply(product, (D, cp, 1), (packed, 0), (gW, N), (n, H, N), more)
                elif g:
                    multiply(product, (D, cp, 1), (x, N), (gW, N), (n, H, N), more)
                if xbar:
                    out = xbar + first * N * size
                    multiply(product, (D, 1, cp), (W, N), (out, N), (H, n, N), 0)

    return Kernel(reverse, Reverse)


def reverse_few(dtype: np.dtype) -> Kernel:
    """The same as `reverse` for so few samples that `few` holds: sample-major."""
    p = passes(dtype)
    pointer, width, size = p.pointer, p.width, p.size
    activate, dot, add_scaled, multiply_scaled = (
        p.activate,
        p.dot,
        p.add_scaled,
        p.multiply_scaled,
    )
    dots = dots_of(dtype)
    head = head_of(dtype)

    def reverse_few(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, ws, result):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        W = w + H * size
        gW = g + H * size
        order = 1 if g or xbar else 0
        ws = (ws + 63) // 64 * 64
        hp = (H + width - 1) // width * width
        V = ws
        D = V + B * hp * size
        s = D + B * hp * size
        ds = s + 64
        sbar = ds + 64
        ell = sbar + 64
        sv = pointer(s)
        for b in range(B):
            v = V + b * hp * size
            i = 0
            while i < H:
                dots(W + i * N * size, N, H - i, X + b * N * size, N, v + i * size)
                i += width
            activate(plan, order, v, D + b * hp * size, 0, 1, H)
            sv[b] = dot(w, v, H)
        head(plan, loss, s, ds, sbar, ell, 0, B, B, t, c, scale, ybar, y, order, result)
        if order == 0:
            return
        bar = pointer(sbar)
        for b in range(B):
            if g:
                add_scaled(bar[b], V + b * hp * size, g, H, b > 0)
            multiply_scaled(bar[b], w, D + b * hp * size, H)
        if g:
            multiply(product, (D, 1, hp), (X, N), (gW, N), (B, H, N), 0)
        if xbar:
            multiply(product, (D, hp, 1), (W, N), (xbar, N), (H, B, N), 0)

    return Kernel(reverse_few, Reverse)


def per_sample(dtype: np.dtype) -> Kernel:
    """Rows ∇_w f_b: the one first-order mode that writes B × P numbers.

    ``per_sample(plan, w, X, B, J)``
    """
    p = passes(dtype)
    pointer, width, size = p.pointer, p.width, p.size
    chunk_size, few, activate, lines = p.chunk_size, p.few, p.activate, p.lines
    weighted_rows, dot = p.weighted_rows, p.dot
    dots = dots_of(dtype)
    workspace = p.workspace

    @loop
    def row(product, w, V, D, step, slope, x, J, N, H):
        """Write one row of J; the numbers of a neuron are `step` apart; spoils D."""
        av = pointer(w)
        jv = pointer(J)
        for i in range(H):
            v = pointer(V + i * step * size)
            d = pointer(D + i * step * size)
            jv[i] = slope * v[0]
            d[0] = slope * av[i] * d[0]
        multiply(product, (D, step, 0), (x, N), (J + H * size, N), (1, H, N), 0)

    def per_sample(plan, w, X, B, J):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        output = load(plan, OUTPUT + 1)
        W = w + H * size
        P = H * (N + 1) * size
        own = allocate(workspace(N, H, B) * size)
        if own == 0:
            return NO_MEMORY
        ws = (own + 63) // 64 * 64
        if few(B):
            hp = (H + width - 1) // width * width
            V = ws
            D = V + hp * size
            s = D + hp * size
            ds = s + 64
            for b in range(B):
                x = X + b * N * size
                i = 0
                while i < H:
                    dots(W + i * N * size, N, H - i, x, N, V + i * size)
                    i += width
                activate(plan, 1, V, D, 0, 1, H)
                pointer(s)[0] = dot(w, V, H)
                call_activation_block(output, s, ds, 0, 1)
                row(product, w, V, D, 1, pointer(ds)[0], x, J + b * P, N, H)
            release(own)
            return DONE
        chunk = chunk_size(N, H, B, 2)
        packed = ws
        V = packed + lines(chunk * (N + width))
        D = V + lines(chunk * H)
        s = D + lines(chunk * H)
        ds = s + chunk * size
        for first in range(0, B, chunk):
            n = smaller(chunk, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * N * size
            call_pack(load(plan, PACK), x, n, N, packed)
            multiply(product, (W, N, 1), (packed, 0), (V, cp), (N, H, cp), 0)
            activate(plan, 1, V, D, 0, cp, H)
            weighted_rows(w, V, s, H, cp)
            call_activation_block(output, s, ds, 0, n)
            slopes = pointer(ds)
            for b in range(n):
                at = b * size
                out = J + (first + b) * P
                row(product, w, V + at, D + at, cp, slopes[b], x + b * N * size, out, N, H)
        release(own)
        return DONE

    return Kernel(per_sample, PerSample)
