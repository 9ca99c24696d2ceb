"""The model objectives of `fastbp.calculus`: a matrix is read once where the formulas read it more.

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

from ._address import (
    POINTER,
    allocate,
    array_data,
    handle,
    handle_address,
    invoke,
    pointer,
    release,
    shifted,
    view,
)
from ._build import Unit, loop
from ._integers import larger, smaller
from ._simd import Vectors, _count, integer, pack, register_bytes

_LINE = 64  # bytes
# Rows of A that are multiplied together: they share the loads of x and of g. The large group
# needs the 32 registers of AVX-512, and rows of so many bytes (1.1 to 1.2 times faster there).
_GROUP, _LARGE_GROUP = 4, 8
_LEAST_MANY, _MOST_MANY = 2048, 128 * 1024
# Beyond these bytes A comes from memory, and the second-level cache is asked for the next group
# while this one is multiplied (1.3 to 1.8 times faster for rows of 0.8 to 80 KB, and slower where A
# is in a cache); a group that is itself larger than that cache asks for what soon follows.
_FAR, _MOST_AHEAD, _SOON = 32 << 20, 1 << 20, 1024
# Bytes of a row that is transposed, and of one in memory.
_NARROW, _NARROW_FAR = 96, 63
# Bytes of rows that are transposed together and of their columns, to stay in the first-level
# cache (with 1.3 times as many, half as fast), and how many they are at most.
_NARROW_BLOCK, _MOST_NARROW = 24 * 1024, 256
_BLOCK_ROWS = 96  # of M
_TILE_BYTES = 384 * 1024  # a block's residual and the factors it meets: they stay in the caches


def _sweep(v: Vectors, n_rows: int, adding: bool, dotting: bool) -> Any:
    """Make the intrinsic of one loop over a group of rows, and the group behind it.

    ``sweep(A, n, x, g, r, ahead)``: A begins with `n_rows` rows of n numbers. With `adding`,
    g += Σ_i r_i A_i over these; with `dotting`, r_i becomes the product of x with row i, or,
    where `adding` too, with the row `n_rows` behind it. x and g are whole vectors long, x with
    zeros at the end.

    With `ahead` the memory is asked for what lies so many bytes beyond; 0 asks for nothing new.
    """
    behind = n_rows if adding and dotting else 0

    @intrinsic
    def sweep(typingctx, A, n, x, g, r, ahead):
        def codegen(context, builder, signature, args):
            A, n, x, g, r, ahead = args

            def row(i):
                return v.at(builder, A, builder.mul(n, integer(i)))

            added = [row(i) for i in range(n_rows)] if adding else []
            dotted = [row(behind + i) for i in range(n_rows)] if dotting else []
            places = [v.at(builder, r, integer(i)) for i in range(n_rows)]
            factors = [v.spread_at(builder, place) for place in places] if adding else []

            def step(j, sums, mask=None):
                """Take one vector of columns."""
                if adding:
                    total = v.zero
                    for factor, start in zip(factors, added, strict=True):
                        part = v.load(builder, v.at(builder, start, j), mask)
                        total = v.multiply_add(builder, factor, part, total)
                    # Last, so that one group does not wait for the sums of the one before.
                    place = v.at(builder, g, j)
                    v.store(builder, builder.fadd(total, v.load(builder, place)), place)
                xj = v.load(builder, v.at(builder, x, j)) if dotting else None
                return [
                    v.multiply_add(builder, v.load(builder, v.at(builder, start, j), mask), xj, sum)
                    for start, sum in zip(dotted, sums, strict=True)
                ]

            def two(k, sums):
                j = builder.mul(k, integer(2 * v.lanes))
                for start in dotted:
                    for line in range(0, 2 * v.lanes * v.size, _LINE):
                        where = builder.add(v.at(builder, start, j), integer(line))
                        _ask_for(builder, builder.add(where, ahead))
                even, odd = sums[: len(dotted)], sums[len(dotted) :]
                return [*step(j, even), *step(builder.add(j, integer(v.lanes)), odd)]

            n_twos = builder.sdiv(n, integer(2 * v.lanes))
            sums = _count(builder, n_twos, [v.zero] * (2 * len(dotted)), two)
            sums = [
                builder.fadd(even, odd)
                for even, odd in zip(sums[: len(dotted)], sums[len(dotted) :], strict=True)
            ]
            done = builder.mul(n_twos, integer(2 * v.lanes))
            left = builder.sub(n, done)

            def rest(k, sums):
                j = builder.mul(k, integer(v.lanes))
                return step(builder.add(done, j), sums, v.first(builder, builder.sub(left, j)))

            n_rest = builder.sdiv(builder.add(left, integer(v.lanes - 1)), integer(v.lanes))
            sums = _count(builder, n_rest, sums, rest)
            for sum, place in zip(sums, places, strict=False):
                builder.store(_sum(v, builder, sum), pointer(builder, place, v.number))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return sweep


def _sum(v: Vectors, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Emit the sum of a vector's lanes."""
    width = v.lanes
    while width > 1:
        width //= 2
        order = [(k + width) % v.lanes for k in range(v.lanes)]
        value = builder.fadd(value, v.shuffle(builder, value, value, order))
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _ask_for(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Emit the request for a line of memory; an address where there is none does no harm."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, to_keep, data = (ir.Constant(number, k) for k in (0, 2, 1))
    builder.call(function, [builder.inttoptr(address, byte), to_read, to_keep, data])


@cache
def least_squares_unit(dtype: np.dtype) -> Unit:
    """½‖Ax − b‖² and its gradient A^T(Ax − b), reading A once.

    ``least_squares(A, m, n, b, x, g, want) -> value``: A and b are addresses of m × n numbers in
    C order and of m, x and g arrays of n. b is 0 where it is zero (then the gradient is A^T A x);
    without `want`, g may be anything.

    The residuals r of a group of rows need all of the rows, and g += A^T r needs them again: it
    is done while they are in the caches, in the loop that multiplies the next group, so that
    arithmetic on the one fills the wait for the other.
    """
    pointer_to, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    lanes = Vectors(dtype).lanes
    narrow = _narrow(dtype)
    one, some = _groups(dtype, 1), _groups(dtype, _GROUP)
    has_many = register_bytes() == 64
    many = _groups(dtype, _LARGE_GROUP) if has_many else some

    def least_squares(A, m, n, b, x, g, want):
        padded = (n + lanes - 1) // lanes * lanes
        row = n * size
        far = m * row > _FAR
        few = row <= (_NARROW_FAR if far else _NARROW)
        column = smaller(_NARROW_BLOCK // (2 * row + 32) // 64 * 64, _MOST_NARROW) if few else 0
        room = column * (n + 2 * lanes)
        own = allocate((2 * padded + _LARGE_GROUP + room) * size + _LINE)
        if own == 0:
            raise MemoryError("no memory for the copies of x and of the gradient")
        xp = (own + _LINE - 1) // _LINE * _LINE
        gp = xp + padded * size
        r = gp + padded * size
        given = view(pointer_to(array_data(handle_address(x))), n)
        xs = view(pointer_to(xp), padded)
        gs = view(pointer_to(gp), padded)
        for j in range(n):
            xs[j] = given[j]
        for j in range(n, padded):
            xs[j] = zero
        for j in range(padded):
            gs[j] = zero
        total = 0.0
        i = 0
        if few:
            while i < m:
                rows = smaller(m - i, column)
                at = shifted(b, i * size)
                C = r + column * size
                total += narrow(A + i * row, rows, m - i, n, at, xp, gp, C, r, column)
                i += rows
        else:
            if has_many and _LEAST_MANY <= row <= _MOST_MANY:
                i = m // _LARGE_GROUP * _LARGE_GROUP
                total = many(A, i, n, b, xp, gp, r, want, far)
            else:
                i = m // _GROUP * _GROUP
                total = some(A, i, n, b, xp, gp, r, want, far)
            total += one(A + i * row, m - i, n, shifted(b, i * size), xp, gp, r, want, far)
        if want:
            out = view(pointer_to(array_data(handle_address(g))), n)
            for j in range(n):
                out[j] = gs[j]
        release(own)
        return 0.5 * total

    signature = types.float64(*[types.int64] * 4, handle, handle, types.int64)
    return Unit(least_squares, signature, key=dtype.name, python=True)


def _groups(dtype: np.dtype, n_rows: int) -> Any:
    """Make the jitted loop over groups of `n_rows` rows."""
    v = Vectors(dtype)
    pointer_to, size = POINTER[dtype], v.size
    dot = _sweep(v, n_rows, adding=False, dotting=True)
    add = _sweep(v, n_rows, adding=True, dotting=False)
    add_and_dot = _sweep(v, n_rows, adding=True, dotting=True)

    @loop
    def groups(A, m, n, b, x, g, r, want, far):
        """Add to g the gradient of m rows, whole groups; return Σ r². `far`: A is in memory."""
        rs = view(pointer_to(r), n_rows)
        bs = view(pointer_to(b), m)
        step = n_rows * n * size
        ahead = 0
        if far:
            ahead = step if step <= _MOST_AHEAD else _SOON
        total = 0.0
        if m:
            dot(A, n, x, g, r, ahead)
        i = 0
        while i < m:
            for k in range(n_rows):
                if b:
                    rs[k] -= bs[i + k]
                total += float(rs[k]) * float(rs[k])
            i += n_rows
            if i < m:
                if want:
                    add_and_dot(A, n, x, g, r, ahead)
                else:
                    dot(A + step, n, x, g, r, ahead)
            elif want:
                add(A, n, x, g, r, ahead)
            A += step
        return total

    return groups


def _narrow(dtype: np.dtype) -> Any:
    """Make the jitted loop over rows so short that they are better transposed."""
    v = Vectors(dtype, most=32)  # with 64 bytes, half as fast: more of the squares is empty
    square = pack(v)
    pointer_to, size, zero = POINTER[dtype], v.size, dtype.type(0)
    lanes = v.lanes

    @loop
    def narrow(A, m, left, n, b, x, g, C, r, column):
        """Add to g the gradient of m ≤ `column` short rows, transposed; return Σ r²."""
        i = 0
        while i < m:
            j = 0
            while j < n:
                start = C + (j * column + i) * size
                # Without a mask, 1.3 times faster, where more rows follow: what is beyond the
                # last column is theirs and is not used.
                columns = lanes if left - i >= 2 * lanes else n - j
                square(A + (i * n + j) * size, n, m - i, columns, start, column)
                j += lanes
            i += lanes
        xs = view(pointer_to(x), n)
        gs = view(pointer_to(g), n)
        rs = view(pointer_to(r), m)
        if b:
            bs = view(pointer_to(b), m)
            for i in range(m):
                rs[i] = -bs[i]
        else:
            for i in range(m):
                rs[i] = zero
        # Four columns at a time share the loads of r.
        whole = n // 4 * 4
        for j in range(0, whole, 4):
            c = pointer_to(C + j * column * size)
            x0, x1, x2, x3 = xs[j], xs[j + 1], xs[j + 2], xs[j + 3]
            for i in range(m):
                part0 = x0 * c[i] + x1 * c[i + column]
                part1 = x2 * c[i + 2 * column] + x3 * c[i + 3 * column]
                rs[i] += part0 + part1
        for j in range(whole, n):
            c = pointer_to(C + j * column * size)
            xj = xs[j]
            for i in range(m):
                rs[i] += xj * c[i]
        for j in range(0, whole, 4):
            c = pointer_to(C + j * column * size)
            g0 = g1 = g2 = g3 = zero
            for i in range(m):
                g0 += rs[i] * c[i]
                g1 += rs[i] * c[i + column]
                g2 += rs[i] * c[i + 2 * column]
                g3 += rs[i] * c[i + 3 * column]
            gs[j] += g0
            gs[j + 1] += g1
            gs[j + 2] += g2
            gs[j + 3] += g3
        for j in range(whole, n):
            c = pointer_to(C + j * column * size)
            sum = zero
            for i in range(m):
                sum += rs[i] * c[i]
            gs[j] += sum
        square_sum = zero
        for i in range(m):
            square_sum += rs[i] * rs[i]
        return float(square_sum)

    return narrow


# What `factorization` computes beside the value.
VALUE, GRADIENT, HESSIAN = 0, 1, 2


@cache
def factorization_unit(dtype: np.dtype) -> Unit:
    """½‖M − PQ‖², its gradient, and its Hessian times (Ṗ, Q̇), without the m × n residual.

    ``factorization(product, copy, pack, M, m, n, k, x, h, g, what) -> value``: the first three
    are the units of `_products`, M the address of m × n numbers in C order; x = (P, Q),
    h = (Ṗ, Q̇) and g are arrays of m k + k n numbers, P: m × k before Q: k × n. By tiles of M:

        E = P Q − M                          Ė = Ṗ Q + P Q̇
        gradient:  ∇_P += E Q^T              ∇_Q += P^T E
        Hessian:   P's part += Ė Q^T + E Q̇^T,   Q's part += P^T Ė + Ṗ^T E

    For the columns of a tile Q is packed, as it is and transposed, and serves all rows of M.
    """
    v = Vectors(dtype)
    pointer_to, size, zero = POINTER[dtype], dtype.itemsize, dtype.type(0)
    width = v.lanes
    panel = 3 * width

    @loop
    def residual(E, M, rows, columns, n):
        """E −= M; returns Σ E²."""
        total = 0.0
        for i in range(rows):
            e = view(pointer_to(E + i * columns * size), columns)
            d = view(pointer_to(M + i * n * size), columns)
            square = zero
            for j in range(columns):
                difference = e[j] - d[j]
                e[j] = difference
                square += difference * difference
            total += float(square)
        return total

    @loop
    def pack_tile(copy, pack, Q, k, n, columns, flat, panels, turned):
        """Columns of Q in panels, as they are and transposed."""
        for i in range(k):
            source = view(pointer_to(Q + i * n * size), columns)
            target = view(pointer_to(flat + i * columns * size), columns)
            for j in range(columns):
                target[j] = source[j]
        invoke(copy, (flat, k, columns, panels))
        invoke(pack, (flat, k, columns, turned))

    def factorization(product, copy, pack, M, m, n, k, x, h, g, what):
        most = _TILE_BYTES // size // (_BLOCK_ROWS + 3 * k) // panel * panel
        most = smaller(larger(most, panel), (n + width - 1) // width * width)
        rows_most = smaller(m, _BLOCK_ROWS)
        # Room for k columns or rows in whole vectors, whichever way a tile is packed.
        packed = ((k + width) * (most + width) * size + _LINE - 1) // _LINE * _LINE
        block = (rows_most * most * size + _LINE - 1) // _LINE * _LINE
        own = allocate(5 * packed + 2 * block + _LINE)
        if own == 0:
            raise MemoryError("no memory for a block of the residual")
        flat = (own + _LINE - 1) // _LINE * _LINE
        panels = flat + packed
        turned = panels + packed
        panels_dot = turned + packed
        turned_dot = panels_dot + packed
        E = turned_dot + packed
        E_dot = E + block
        P = array_data(handle_address(x))
        Q = P + m * k * size
        P_dot = array_data(handle_address(h)) if what == HESSIAN else 0
        gP = array_data(handle_address(g)) if what else 0
        total = 0.0
        j = 0
        while j < n:
            columns = smaller(most, n - j)
            pack_tile(copy, pack, Q + j * size, k, n, columns, flat, panels, turned)
            if what == HESSIAN:
                Q_dot = P_dot + (m * k + j) * size
                pack_tile(copy, pack, Q_dot, k, n, columns, flat, panels_dot, turned_dot)
            right = 1 if j else 0
            i = 0
            while i < m:
                rows = smaller(rows_most, m - i)
                below = 1 if i else 0
                p = P + i * k * size
                gp = gP + i * k * size
                gq = gP + (m * k + j) * size
                invoke(product, (p, k, 1, panels, 0, E, columns, k, rows, columns, 0))
                total += residual(E, M + (i * n + j) * size, rows, columns, n)
                if what == GRADIENT:
                    invoke(product, (E, columns, 1, turned, 0, gp, k, columns, rows, k, right))
                    invoke(product, (p, 1, k, E, columns, gq, n, rows, k, columns, below))
                elif what == HESSIAN:
                    pd = P_dot + i * k * size
                    args = (pd, k, 1, panels, 0, E_dot, columns, k, rows, columns, 0)
                    invoke(product, args)
                    args = (p, k, 1, panels_dot, 0, E_dot, columns, k, rows, columns, 1)
                    invoke(product, args)
                    args = (E_dot, columns, 1, turned, 0, gp, k, columns, rows, k, right)
                    invoke(product, args)
                    invoke(product, (E, columns, 1, turned_dot, 0, gp, k, columns, rows, k, 1))
                    invoke(product, (p, 1, k, E_dot, columns, gq, n, rows, k, columns, below))
                    invoke(product, (pd, 1, k, E, columns, gq, n, rows, k, columns, 1))
                i += rows
            j += columns
        release(own)
        return 0.5 * total

    arguments = [types.int64] * 7 + [handle] * 3 + [types.int64]
    return Unit(factorization, types.float64(*arguments), key=dtype.name, python=True)
