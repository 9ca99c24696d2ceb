"""Objective's kernels: X packed once, and loss and gradient from w alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._boundary import Refused
from ._address import (
    INT64,
    array_data,
    array_length,
    handle,
    handle_address,
    invoke,
    load,
    load_float,
    pointer,
    stack_number,
)
from ._build import Unit
from ._integers import smaller
from ._passes import part_size, passes
from ._plan import BATCH, LOSS_BLOCK, N_INPUTS, N_NEURONS, NONE, PACK, READY
from .entries import READABLE, WRITABLE, apart, fits
from .first_order import workspace_of

# Places in an objective's record: all that its calls need beside w.
PLAN, LOSS, DATA, N_SAMPLES, PANELS, TARGETS, SAMPLE_WEIGHTS, TOTAL, L2, WORKSPACE, BUSY = range(11)
RECORD_SIZE = 11  # TOTAL = Σ c_b and L2 as the bits of float64; BUSY = 1 while WORKSPACE is in use


@intrinsic
def _take(typingctx, record):
    """Set BUSY at once for all threads; whether it was free."""

    def codegen(context, builder, signature, args):
        flag = builder.add(args[0], ir.Constant(INT64, 8 * BUSY))
        one = ir.Constant(INT64, 1)
        old = builder.atomic_rmw("xchg", pointer(builder, flag, INT64), one, "acquire")
        return builder.icmp_signed("==", old, ir.Constant(INT64, 0))

    return types.boolean(types.int64), codegen


@intrinsic
def _give_back(typingctx, record):
    """Clear BUSY."""

    def codegen(context, builder, signature, args):
        flag = builder.add(args[0], ir.Constant(INT64, 8 * BUSY))
        zero = ir.Constant(INT64, 0)
        builder.store_atomic(zero, pointer(builder, flag, INT64), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@cache
def penalty_unit(dtype: np.dtype) -> Unit:
    """``penalty(l2, w, g, P) -> ½ λ ‖w‖²``, for the sum of parts made on several threads."""
    step = passes(dtype).penalty

    def penalty(l2, w, g, P):
        return step(l2, w, g, P)

    signature = types.float64(types.float64, *[types.int64] * 3)
    return Unit(penalty, signature, key=dtype.name, python=True)


@cache
def bound_entry(dtype: np.dtype) -> Unit:
    """``bound(record, w, g) -> loss``; g None for the loss alone."""
    size, penalty = dtype.itemsize, passes(dtype).penalty

    def bound(record, w, g):
        plan = load(record, PLAN)
        none = load(plan, NONE)
        P = load(plan, N_NEURONS) * (load(plan, N_INPUTS) + 1)
        w_ = handle_address(w)
        g_ = handle_address(g)
        order = 0 if g_ == none else 1
        if not (load(plan, READY + order) and load(load(record, LOSS), LOSS_BLOCK + order)):
            raise Refused
        if not (fits(plan, w_, 1, READABLE) and array_length(w_, 0) == P):
            raise Refused
        w_ = array_data(w_)
        B = load(record, N_SAMPLES)
        X = load(record, DATA)
        t = load(record, TARGETS)
        c = load(record, SAMPLE_WEIGHTS)
        if g_ == none:
            g_ = 0
        else:
            if not (fits(plan, g_, 1, WRITABLE) and array_length(g_, 0) == P):
                raise Refused
            g_ = array_data(g_)
            if not (
                apart(g_, P, w_, P, size)
                and apart(g_, P, X, B * load(plan, N_INPUTS), size)
                and apart(g_, P, t, B, size)
                and apart(g_, P, c, B, size)
            ):
                raise Refused
        total = load_float(record + 8 * TOTAL)
        result = stack_number()
        # A second thread finds the workspace taken and has one allocated for itself.
        free = _take(record)
        args = (
            plan,
            load(record, LOSS),
            w_,
            X,
            B,
            load(record, PANELS),
            t,
            c,
            1.0 / total,
            0,
            0,
            g_,
            0,
            0,
            load(record, WORKSPACE) if free else 0,
            result,
        )
        invoke(load(plan, BATCH), args)
        if free:
            _give_back(record)
        loss = load_float(result) / total
        return loss + penalty(load_float(record + 8 * L2), w_, g_, P)

    return Unit(bound, types.float64(types.int64, handle, handle), key=dtype.name, python=True)


@cache
def pack_batch_unit(dtype: np.dtype) -> Unit:
    """``pack_batch(plan, X, B, target)``: the panels of every chunk, as `reverse` reads them."""
    chunk_size, size = passes(dtype).chunk_size, dtype.itemsize

    def pack_batch(plan, X, B, target):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        part = part_size(B)
        for first in range(0, B, part):
            end = smaller(first + part, B)
            chunk = chunk_size(N, H, end - first, 2)
            for sample in range(first, end, chunk):
                n = smaller(chunk, end - sample)
                at = sample * N * size
                invoke(load(plan, PACK), (X + at, n, N, target + at))

    return Unit(pack_batch, types.void(*[types.int64] * 4), key=dtype.name, python=True)


@cache
def sizes_unit(dtype: np.dtype) -> Unit:
    """``sizes(plan, B) -> numbers of workspace that `batch` needs``."""
    workspace = workspace_of(dtype)

    def sizes(plan, B):
        N = load(plan, N_INPUTS)
        H = load(plan, N_NEURONS)
        part = part_size(B)
        partial = H * (N + 1) if part < B else 0
        return workspace(N, H, smaller(B, part)) + partial

    return Unit(sizes, types.int64(types.int64, types.int64), key=dtype.name, python=True)
