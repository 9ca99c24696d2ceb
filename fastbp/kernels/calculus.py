"""The model objectives of `fastbp.calculus`: a matrix is read once where the formulas read it twice.

Nothing here checks anything: `fastbp.calculus` does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._address import POINTER, pointer, view, load
from ._build import Unit
from ._simd import Vectors, _count, integer

_LINE = 64  # bytes
_ROWS = 4  # rows of A in a group: they share the loads of x and g
import os

_AHEAD = int(os.environ.get("AHEAD", "2048"))


def sweep(v: Vectors, n_rows: int, adding: bool, dotting: bool) -> Any:
    """Make the intrinsic of one pass over a group of rows and the group behind it.

    ``sweep(A, n, ahead, x, g, r)``: A begins with `n_rows` rows of n numbers. With `adding`,
    g += Σ_i r_i A_i over these; with `dotting`, r_i becomes the product with x of the row
    `n_rows` behind row i, or of row i where not `adding`. x and g are whole pairs of vectors
    long, x with zeros at the end. Memory `ahead` bytes behind the rows multiplied is fetched.
    """
    pair = 2 * v.lanes
    first = n_rows if adding and dotting else 0

    @intrinsic
    def kernel(typingctx, A, n, ahead, x, g, r):
        def codegen(context, builder, signature, args):
            A, n, ahead, x, g, r = args
            old = [v.at(builder, A, builder.mul(n, integer(i))) for i in range(n_rows)]
            new = [v.at(builder, A, builder.mul(n, integer(first + i))) for i in range(n_rows)]
            places = [v.at(builder, r, integer(i)) for i in range(n_rows)]
            factors = [v.spread_at(builder, place) for place in places] if adding else []

            def step(j, sums, masks):
                sums = list(sums)
                for half, mask in enumerate(masks):
                    k = builder.add(j, integer(half * v.lanes))
                    if adding:
                        where = v.at(builder, g, k)
                        total = None
                        for factor, row in zip(factors, old, strict=True):
                            part = v.load(builder, v.at(builder, row, k), mask)
                            if total is None: total = builder.fmul(factor, part)
                            else: total = v.multiply_add(builder, factor, part, total)
                        v.store(builder, builder.fadd(total, v.load(builder, where)), where)
                    if dotting:
                        xk = v.load(builder, v.at(builder, x, k))
                        for i, row in enumerate(new):
                            part = v.load(builder, v.at(builder, row, k), mask)
                            c = half * n_rows + i
                            sums[c] = v.multiply_add(builder, part, xk, sums[c])
                return sums

            def body(k, sums):
                j = builder.mul(k, integer(pair))
                if dotting:
                    for row in new:
                        for line in range(0, pair * v.size, _LINE):
                            place = builder.add(
                                v.at(builder, row, j), builder.add(ahead, integer(line))
                            )
                            _fetch(builder, place)
                return step(j, sums, [None, None])

            start = [v.zero] * (2 * n_rows) if dotting else []
            whole = builder.sdiv(n, integer(pair))
            sums = _count(builder, whole, start, body)
            done = builder.mul(whole, integer(pair))
            rest = builder.sub(n, done)
            before = builder.block
            with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
                masks = [
                    v.first(builder, rest),
                    v.first(builder, builder.sub(rest, integer(v.lanes))),
                ]
                more = step(done, sums, masks)
                inside = builder.block
            for i in range(n_rows if dotting else 0):
                total = None
                for c in (i, n_rows + i):
                    phi = builder.phi(v.vector)
                    phi.add_incoming(sums[c], before)
                    phi.add_incoming(more[c], inside)
                    sums[c] = phi
            for i in range(n_rows if dotting else 0):
                total = _sum(v, builder, builder.fadd(sums[i], sums[n_rows + i]))
                builder.store(total, pointer(builder, places[i], v.number))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return kernel


def _sum(v: Vectors, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Sum of the lanes of a vector."""
    width = v.lanes
    undefined = ir.Constant(v.vector, ir.Undefined)
    while width > 1:
        width //= 2
        order = [(k + width) % v.lanes for k in range(v.lanes)]
        value = builder.fadd(value, v.shuffle(builder, value, undefined, order))
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _fetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Ask for a line of memory; an address that is none does no harm."""
    byte = ir.IntType(8).as_pointer()
    number = ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte, number, number, number]),
        "llvm.prefetch.p0",
    )
    read, keep, data = (ir.Constant(number, k) for k in (0, int(os.environ.get("KEEP", "3")), 1))
    builder.call(function, [builder.inttoptr(address, byte), read, keep, data])


@cache
def least_squares_unit(dtype: np.dtype) -> Unit:
    """½‖Ax − b‖² and its gradient A^T(Ax − b), reading A once.

    ``least_squares(A, m, n, b, x, g, ws, result)``: A is m × n in C order; b and g are 0 where b
    is zero and where the gradient is not wanted; ``result[0]`` (float64) receives the value.
    The workspace has `least_squares_workspace` numbers.

    The residuals of a group of rows need all of the rows, and their part of the gradient needs
    the rows again. It is formed while they are in the caches, in the same loop as the products
    of the next group, so that the arithmetic hides behind the memory.
    """
    v = Vectors(dtype)
    pointer, size = POINTER[dtype], dtype.itemsize
    pointer64 = POINTER[np.dtype(np.float64)]
    zero = dtype.type(0)
    pair = 2 * v.lanes
    dot, add, both = (
        sweep(v, _ROWS, *flags) for flags in ((False, True), (True, False), (True, True))
    )
    dot1, add1 = (sweep(v, 1, *flags) for flags in ((False, True), (True, False)))
    rows = _ROWS

    def least_squares(A, m, n, b, x, g, ws, result):
        padded = (n + pair - 1) // pair * pair
        r = ws
        xp = ws + rows * size
        gp = xp + padded * size
        xs = view(pointer(x), n)
        xps = view(pointer(xp), padded)
        gps = view(pointer(gp), padded)
        for j in range(n):
            xps[j] = xs[j]
        for j in range(n, padded):
            xps[j] = zero
        if g:
            for j in range(padded):
                gps[j] = zero
        bs = view(pointer(b), m)
        rs = view(pointer(r), rows)
        total = 0.0
        row = n * size
        ahead = min(rows * row, load(result,1))
        i = 0
        if m >= rows:
            dot(A, n, ahead, xp, gp, r)
        while i + rows <= m:
            for k in range(rows):
                if b:
                    rs[k] -= bs[i + k]
                total += float(rs[k]) * float(rs[k])
            a = A + i * row
            i += rows
            if i + rows > m:
                if g:
                    add(a, n, ahead, xp, gp, r)
            elif g:
                both(a, n, ahead, xp, gp, r)
            else:
                dot(a + rows * row, n, ahead, xp, gp, r)
        while i < m:
            a = A + i * row
            dot1(a, n, ahead, xp, gp, r)
            if b:
                rs[0] -= bs[i]
            total += float(rs[0]) * float(rs[0])
            if g:
                add1(a, n, ahead, xp, gp, r)
            i += 1
        if g:
            gs = view(pointer(g), n)
            for j in range(n):
                gs[j] = gps[j]
        view(pointer64(result), 1)[0] = 0.5 * total

    return Unit(
        least_squares,
        types.void(*[types.int64] * 8),
        key=dtype.name + str(_AHEAD) + os.environ.get("KEEP", "3"),
        python=True,
    )
