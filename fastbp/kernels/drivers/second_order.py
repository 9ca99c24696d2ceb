"""Directional and second-order kernels: forward over reverse, and the Gauss–Newton matrix.

Per chunk, neuron-major, with the direction p = (p_a, P_W) in w and dX in x (docs/mathematics.md,
"Beyond the sheet"):

    Z^T = W · X^T                      Ż^T = P_W · X^T + W · dX^T
    s = a · U^T                        ṡ = p_a · U^T + a · (V' ∘ Ż)^T,   ẏ = σ'(s) ṡ
    s̄ = ȳ σ'(s)                        s̄˙ = ℓ'' σ'(s)² ṡ + ȳ σ''(s) ṡ  (Gauss–Newton: the first)
    ∇_a: U^T s̄˙ + (V' ∘ Ż)^T s̄         δ˙ = a (s̄˙ v' + s̄ v'' ż) + p_a s̄ v'
    ∇_W: δ˙^T · X                      rows of x: δ˙ · W
"""

from __future__ import annotations

import numpy as np

from ..machine.address import allocate, load, release, view
from ..machine.build import Kernel, loop
from ..machine.callers import call_activation_block, call_loss_block, call_pack, multiply
from ..machine.integers import smaller
from ..machine.places import (
    HESSIAN,
    LOSS_BLOCK,
    LOSS_OUTPUT,
    N_INPUTS,
    N_NEURONS,
    NOTHING,
    OUTPUT,
    PACK,
    PRODUCT,
)
from ..machine.records import DONE, NO_MEMORY, Tangent
from .passes import passes


def tangent(dtype: np.dtype) -> Kernel:
    """Directional derivative, Gauss–Newton and Hessian products of a run of samples.

    ``tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar)``

    `p` and `dX` are the direction, each 0 where it is zero; `ydot` receives ẏ_b; with `what`
    GAUSS_NEWTON or HESSIAN, g and xbar receive the
    product; without a `loss`, ȳ = 1 and ℓ'' = 0.
    """
    q = passes(dtype)
    pointer, width, size, real = q.pointer, q.width, q.size, q.real
    chunk_size, activate, weighted_rows = q.chunk_size, q.activate, q.weighted_rows
    lines = q.lines
    workspace = q.tangent_workspace
    zero = real(0)

    @loop
    def move_rows(a, D, Zdot, sdot, H, cp):
        """ṡ_b += Σ_i a_i v'[i, b] ż[i, b], neuron-major; two rows at a time share ṡ."""
        av = pointer(a)
        sv = pointer(sdot)
        i = 0
        while i + 2 <= H:
            a0, a1 = av[i], av[i + 1]
            d0, z0 = pointer(D + i * cp * size), pointer(Zdot + i * cp * size)
            d1, z1 = pointer(D + (i + 1) * cp * size), pointer(Zdot + (i + 1) * cp * size)
            for b in range(cp):
                sv[b] += a0 * (d0[b] * z0[b]) + a1 * (d1[b] * z1[b])
            i += 2
        while i < H:
            a0 = av[i]
            d0, z0 = pointer(D + i * cp * size), pointer(Zdot + i * cp * size)
            for b in range(cp):
                sv[b] += a0 * (d0[b] * z0[b])
            i += 1

    @loop
    def both_rows(a, pa, V, D, Zdot, s, sdot, H, cp):
        """s_b = Σ_i a_i v[i, b] and ṡ_b = Σ_i p_i v[i, b] + a_i v'[i, b] ż[i, b].

        In one pass: jvp is 2 % faster in float64, 5 to 12 % in float32.
        """
        av, pv = pointer(a), pointer(pa)
        sv, sd = pointer(s), pointer(sdot)
        for b in range(cp):
            sv[b] = zero
            sd[b] = zero
        i = 0
        while i + 2 <= H:
            a0, a1, p0, p1 = av[i], av[i + 1], pv[i], pv[i + 1]
            here, below = i * cp * size, (i + 1) * cp * size
            v0, d0, z0 = pointer(V + here), pointer(D + here), pointer(Zdot + here)
            v1, d1, z1 = pointer(V + below), pointer(D + below), pointer(Zdot + below)
            for b in range(cp):
                sv[b] += a0 * v0[b] + a1 * v1[b]
                moved = a0 * (d0[b] * z0[b]) + a1 * (d1[b] * z1[b])
                sd[b] += (p0 * v0[b] + p1 * v1[b]) + moved
            i += 2
        while i < H:
            a0, p0 = av[i], pv[i]
            here = i * cp * size
            v0, d0, z0 = pointer(V + here), pointer(D + here), pointer(Zdot + here)
            for b in range(cp):
                sv[b] += a0 * v0[b]
                sd[b] += p0 * v0[b] + a0 * (d0[b] * z0[b])
            i += 1

    @loop
    def gradients(V, D, DD, Zdot, a, pa, sbar, sbardot, g, H, cp, what, add):
        """∇_a (+)= U^T s̄˙ + (V' ∘ Ż)^T s̄, and δ˙ in place of v'."""
        av = view(pointer(a), H)
        s = view(pointer(sbar), cp)
        sd = view(pointer(sbardot), cp)
        for i in range(H):
            ai = av[i]
            v = view(pointer(V + i * cp * size), cp)
            d = view(pointer(D + i * cp * size), cp)
            total = zero
            if what == HESSIAN:
                pi = view(pointer(pa), H)[i] if pa else zero
                dd = view(pointer(DD + i * cp * size), cp)
                z = view(pointer(Zdot + i * cp * size), cp)
                for b in range(cp):
                    total += v[b] * sd[b] + d[b] * z[b] * s[b]
                    d[b] = ai * (sd[b] * d[b] + s[b] * dd[b] * z[b]) + pi * s[b] * d[b]
            else:
                for b in range(cp):
                    total += v[b] * sd[b]
                    d[b] = ai * sd[b] * d[b]
            if g:
                out = view(pointer(g + i * size), 1)
                out[0] = out[0] + total if add else total

    def tangent(plan, loss, w, X, B, p, dX, t, c, scale, what, ydot, g, xbar):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        product = load(plan, PRODUCT)
        pack = load(plan, PACK)
        W = w + H * size
        order = 2 if what == HESSIAN else 1
        chunk = chunk_size(N, H, B, 4)
        own = allocate(workspace(N, H, B) * size)
        if own == 0:
            return NO_MEMORY
        panels = (own + 63) // 64 * 64
        moved = panels + lines(chunk * N)
        V = moved + lines(chunk * N)
        D = V + lines(chunk * H)
        DD = D + lines(chunk * H)
        Zdot = DD + lines(chunk * H)
        s = Zdot + lines(chunk * H)
        ds = s + chunk * size
        dds = ds + chunk * size
        sdot = dds + chunk * size
        ell = sdot + chunk * size
        ll = ell + chunk * size
        sbar = ll + chunk * size
        sbardot = sbar + chunk * size
        factor = real(scale)
        for first in range(0, B, chunk):
            n = smaller(chunk, B - first)
            cp = (n + width - 1) // width * width
            x = X + first * N * size
            call_pack(pack, x, n, N, panels)
            multiply(product, (W, N, 1), (panels, 0), (V, cp), (N, H, cp), 0)
            if p:
                multiply(product, (p + H * size, N, 1), (panels, 0), (Zdot, cp), (N, H, cp), 0)
            if dX:
                call_pack(pack, dX + first * N * size, n, N, moved)
                multiply(product, (W, N, 1), (moved, 0), (Zdot, cp), (N, H, cp), 1 if p else 0)
            activate(plan, order, V, D, DD, cp, H)
            sd = view(pointer(sdot), cp)
            if p:
                both_rows(w, p, V, D, Zdot, s, sdot, H, cp)
            else:
                weighted_rows(w, V, s, H, cp)
                sd[:] = zero
                move_rows(w, D, Zdot, sdot, H, cp)
            table = loss + 8 * LOSS_OUTPUT if loss else plan + 8 * OUTPUT
            head = 1 if what == NOTHING else 2
            call_activation_block(load(table, head), s, ds, dds, n)
            d1 = view(pointer(ds), n)
            d2 = view(pointer(dds), n)
            if ydot:
                out = view(pointer(ydot + first * size), n)
                for b in range(n):
                    out[b] = d1[b] * sd[b]
            if what != NOTHING:
                bar = view(pointer(sbar), cp)
                dot = view(pointer(sbardot), cp)
                if loss:
                    call_loss_block(load(loss, LOSS_BLOCK + 2), s, t + first * size, ell, ll, n)
                    l1 = view(pointer(ell), n)
                    l2 = view(pointer(ll), n)
                    for b in range(n):
                        f = factor
                        if c:
                            f *= view(pointer(c + first * size), n)[b]
                        bar[b] = f * l1[b] * d1[b]
                        curved = l2[b] * d1[b] * d1[b]
                        if what == HESSIAN:
                            curved += l1[b] * d2[b]
                        dot[b] = f * curved * sd[b]
                else:
                    for b in range(n):
                        bar[b] = d1[b]
                        dot[b] = d2[b] * sd[b]
                for b in range(n, cp):
                    bar[b] = zero
                    dot[b] = zero
                more = 1 if first else 0
                gradients(V, D, DD, Zdot, w, p, sbar, sbardot, g, H, cp, what, more)
                if g:
                    multiply(product, (D, cp, 1), (x, N), (g + H * size, N), (n, H, N), more)
                if xbar:
                    rows = xbar + first * N * size
                    multiply(product, (D, 1, cp), (W, N), (rows, N), (H, n, N), 0)
        release(own)
        return DONE

    return Kernel(tangent, Tangent)
