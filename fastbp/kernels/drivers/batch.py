"""Whole batches: the fixed partition into parts, the workspace, the sum of the parts."""

from __future__ import annotations

import numpy as np

from ..._described import PROBABILITY_TOLERANCE
from ..machine.address import POINTER, load, release, shifted
from ..machine.build import Kernel
from ..machine.callers import call_pack, call_reverse
from ..machine.integers import smaller
from ..machine.places import (
    LOSS_HIGHEST,
    LOSS_LOWEST,
    LOSS_PLAN,
    N_INPUTS,
    N_NEURONS,
    N_OUTPUTS,
    N_PARAMS,
    PACK,
    REVERSE,
    REVERSE_FEW,
)
from ..machine.records import DONE, NO_MEMORY, Batch, PackBatch, Targets, Weights
from ..machine.workspace import borrow, give_back
from .passes import passes
from .tree import levels, part_size, tree_of
from .weighing import Observations, Sums, weighing_of


def batch(dtype: np.dtype) -> Kernel:
    """Drive `reverse` over all parts of a batch, one after the other.

    ``batch(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, part, ws, result, row)``:
    arguments as `reverse` takes them; ``result[0]`` (float64) receives Σ_b c_b ℓ_b. `part` is 0
    for the partition of `part_size`, B for none, and what the whole batch has for a node of its
    tree. Where `ws` is 0 the workspace is
    allocated; its size, and so the memory used, does not grow with B.
    """
    p = passes(dtype)
    size, few, workspace, tree_numbers = p.size, p.few, p.workspace, p.tree_numbers
    tree = tree_of(dtype)
    ones, place, merge = tree.ones, tree.place, tree.merge
    pointer64, weighing = POINTER[np.dtype(np.float64)], weighing_of(dtype)

    def batch(plan, loss, w, X, B, panels, t, c, scale, ybar, y, g, xbar, part, ws, result, row):
        N, H, P = load(plan, N_INPUTS), load(plan, N_NEURONS), load(plan, N_PARAMS)
        K, step = load(plan, N_OUTPUTS), row if row else N
        part = part if part else part_size(B)
        n_parts = (B + part - 1) // part
        own = 0
        if not ws:
            numbers = workspace(N, H, K, smaller(B, part)) + tree_numbers(n_parts, P)
            own = borrow(plan, numbers * size)
            if own == 0:
                return NO_MEMORY
            ws = own
        reverse = load(plan, REVERSE_FEW if few(part) else REVERSE)
        losses, places, scratch = result, 0, ws
        if n_parts > 1:
            losses = ws
            places = losses + 8 * (levels(n_parts) + 1)
            scratch = places + levels(n_parts) * P * size
        pointer64(losses)[0] = 0.0
        given = Observations(X, step, t if loss else ybar, c)
        for k in range(n_parts):
            first, n, here = k * part, smaller(part, B - k * part), ones(k)
            at, loss_of = first * size, losses + 8 * here
            pointer64(loss_of)[0] = 0.0
            sums = place(here, g, places, P) if g else 0
            call_reverse(
                reverse, plan=plan, loss=loss, w=w, X=X + at * step, B=n,
                panels=shifted(panels, at * N), t=t + at * K, c=shifted(c, at), scale=scale,
                ybar=shifted(ybar, at * K), y=shifted(y, at * K), g=sums,
                xbar=shifted(xbar, at * N), ws=scratch, result=loss_of, row=row,
            )  # fmt: skip
            again, m = weighing(plan, given, first, n, Sums(loss_of, sums, 0))
            if m:
                call_reverse(
                    reverse, plan=plan, loss=loss, w=w, X=again.X, B=m, t=again.t, c=again.c,
                    scale=scale, ybar=0 if loss else again.t, g=sums, ws=scratch, result=loss_of,
                )  # fmt: skip
                release(again.X)
            merge(k, k + 1 == n_parts, g, places, 1, P, losses)
        pointer64(result)[0] = pointer64(losses)[0]
        if own:
            give_back(plan, own)
        return DONE

    return Kernel(batch, Batch)


def weights(dtype: np.dtype) -> Kernel:
    """``weights(c, n, part, result)``: Σ c_b, or NaN where one is negative or not a number.

    The sums of the parts, one after the other; `part` is 0 for the fixed partition.
    """
    pointer, size = POINTER[dtype], dtype.itemsize
    pointer64 = POINTER[np.dtype(np.float64)]

    def weights(c, n, part, result):
        part = part if part else part_size(n)
        out = pointer64(result)
        out[0] = 0.0
        bad = 0
        for first in range(0, n, part):
            values = pointer(c + first * size)
            total = 0.0
            for b in range(smaller(part, n - first)):
                value = float(values[b])
                total += value
                bad += 0 if value >= 0.0 else 1
            out[0] += total
        out[0] = np.nan if bad else out[0]

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
        for b in range(n * load(load(loss, LOSS_PLAN), N_OUTPUTS)):
            value = float(values[b])
            outside += 0 if lowest <= value <= highest else 1
        pointer64(result)[0] = outside

    return Kernel(targets, Targets)


def probabilities(dtype: np.dtype) -> Kernel:
    """``probabilities(loss, t, n, result)``: how many rows of t are negative or don't sum to 1."""
    pointer, size = POINTER[dtype], dtype.itemsize
    pointer64 = POINTER[np.dtype(np.float64)]

    def probabilities(loss, t, n, result):
        K = load(load(loss, LOSS_PLAN), N_OUTPUTS)
        bad = 0
        for b in range(n):
            row = pointer(t + b * K * size)
            total, least = 0.0, 0.0
            for k in range(K):
                value = float(row[k])
                total += value
                least = value if not value >= least else least
            bad += 0 if least == 0.0 and abs(total - 1.0) <= PROBABILITY_TOLERANCE else 1
        pointer64(result)[0] = bad

    return Kernel(probabilities, Targets)


def pack_batch(dtype: np.dtype) -> Kernel:
    """The panels of every chunk, as `reverse` reads them."""
    chunk_size, size = passes(dtype).chunk_size, dtype.itemsize

    def pack_batch(plan, X, B, panels):
        N, H = load(plan, N_INPUTS), load(plan, N_NEURONS)
        part = part_size(B)
        for first in range(0, B, part):
            end = smaller(first + part, B)
            chunk = chunk_size(N, H, end - first, 2 if load(plan, N_OUTPUTS) == 1 else 3)
            for sample in range(first, end, chunk):
                n = smaller(chunk, end - sample)
                at = sample * N * size
                call_pack(load(plan, PACK), X + at, n, N, panels + at)

    return Kernel(pack_batch, PackBatch)
