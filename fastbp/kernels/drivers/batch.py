"""Whole batches: the fixed partition into parts, the workspace, the sum of the parts in order."""

from __future__ import annotations

import numpy as np

from ..machine.address import POINTER, allocate, load, release, shifted
from ..machine.build import Kernel, loop
from ..machine.callers import call_pack, call_reverse
from ..machine.integers import smaller
from ..machine.places import (
    LOSS_HIGHEST,
    LOSS_LOWEST,
    N_INPUTS,
    N_NEURONS,
    N_PARAMS,
    PACK,
    REVERSE,
    REVERSE_FEW,
)
from ..machine.records import DONE, NO_MEMORY, Batch, PackBatch, Penalty, Targets, Weights
from ..machine.sizes import part_size as _part_size
from .passes import passes

part_size = loop(_part_size)


def batch(dtype: np.dtype) -> Kernel:
    """Drive `reverse` over all parts of a batch, one after the other.

    ``batch(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, part, ws, result)``:
    arguments as `reverse` takes them; ``result[0]`` (float64) receives Σ_b c_b ℓ_b. `part` is 0
    for the partition of `part_size`, B for no partition. Where `ws` is 0 the workspace is
    allocated; its size, and so the memory used, does not grow with B.
    """
    p = passes(dtype)
    size, add_scaled, few = p.size, p.add_scaled, p.few
    pointer64 = POINTER[np.dtype(np.float64)]
    workspace = p.workspace
    one = p.real(1)

    def batch(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, part, ws, result):
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        part = part if part else part_size(B)
        parts = part < B
        sums = pointer64(result)
        own = 0
        if not ws:
            own = allocate((workspace(N, H, smaller(B, part)) + (P if parts else 0)) * size)
            if own == 0:
                return NO_MEMORY
            ws = own
        reverse = load(plan, REVERSE_FEW if few(B) else REVERSE)
        scratch = ws + P * size if parts else ws
        total = 0.0
        for first in range(0, B, part):
            sums[0] = 0.0
            n = smaller(part, B - first)
            at = first * size
            out = ws if first and g else g
            call_reverse(
                reverse,
                plan=plan,
                loss=loss,
                w=w,
                X=X + at * N,
                B=n,
                panels=shifted(panels, at * N),
                t=t + at,
                c=shifted(c, at),
                scale=scale,
                ybar=shifted(ybar, at),
                y=shifted(y, at),
                g=out,
                xbar=shifted(xbar, at * N),
                ws=scratch,
                result=result,
            )
            if out != g:
                add_scaled(one, out, g, P, True)
            total += sums[0]
        sums[0] = total
        if own:
            release(own)
        return DONE

    return Kernel(batch, Batch)


def weights(dtype: np.dtype) -> Kernel:
    """``weights(c, n, result)``: Σ c_b, or NaN where a weight is negative or not a number."""
    pointer = POINTER[dtype]
    pointer64 = POINTER[np.dtype(np.float64)]

    def weights(c, n, result):
        values = pointer(c)
        total = 0.0
        bad = 0
        for b in range(n):
            value = float(values[b])
            total += value
            bad += 0 if value >= 0.0 else 1
        pointer64(result)[0] = np.nan if bad else total

    return Kernel(weights, Weights)


def targets(dtype: np.dtype) -> Kernel:
    """``targets(loss, t, n, result)``: how many targets lie outside the loss's range."""
    pointer = POINTER[dtype]
    pointer64 = POINTER[np.dtype(np.float64)]

    def targets(loss, t, n, result):
        lowest = pointer64(loss + 8 * LOSS_LOWEST)[0]
        highest = pointer64(loss + 8 * LOSS_HIGHEST)[0]
        values = pointer(t)
        outside = 0
        for b in range(n):
            value = float(values[b])
            outside += 0 if lowest <= value <= highest else 1
        pointer64(result)[0] = outside

    return Kernel(targets, Targets)


def penalty(dtype: np.dtype) -> Kernel:
    """½ λ ‖w‖² into ``result[0]``; λ w is added to the gradient g, unless g is 0."""
    pointer64 = POINTER[np.dtype(np.float64)]
    step = passes(dtype).penalty

    def penalty(l2, w, g, n, result):
        pointer64(result)[0] = step(l2, w, g, n)

    return Kernel(penalty, Penalty)


def pack_batch(dtype: np.dtype) -> Kernel:
    """The panels of every chunk, as `reverse` reads them."""
    chunk_size, size = passes(dtype).chunk_size, dtype.itemsize

    def pack_batch(plan, X, B, panels):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        part = part_size(B)
        for first in range(0, B, part):
            end = smaller(first + part, B)
            chunk = chunk_size(N, H, end - first, 2)
            for sample in range(first, end, chunk):
                n = smaller(chunk, end - sample)
                at = sample * N * size
                call_pack(load(plan, PACK), X + at, n, N, panels + at)

    return Kernel(pack_batch, PackBatch)
