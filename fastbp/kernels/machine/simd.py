"""Hand-written LLVM IR: a register-tiled product, a transposing pack, a copy, dot products.

A plain loop reaches at most 47 % of the FMA peak on such a product and vector IR 88 to 99 %, so
these three are IR. They are emitted for one `Vectors`: a number type and the lanes of a register.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .address import INT64, pointer
from .numba_api import cgutils
from .target import is_x86, lanes, register_bytes

_INT32 = ir.IntType(32)


@cache
def tile_rows() -> int:
    """Rows of the register tile: AVX-512 and NEON have 32 registers, the others 16."""
    return 8 if register_bytes() == 64 or not is_x86() else 4


def integer(value: int) -> ir.Constant:
    """Emit an int64 constant."""
    return ir.Constant(INT64, value)


def _count(builder: ir.IRBuilder, n: ir.Value, start: Sequence[ir.Value], body: Callable) -> list:
    """Emit ``for k in range(n)`` carrying values: ``body(k, values) -> values``; n may be 0."""
    before = builder.block
    inside = builder.append_basic_block("loop")
    after = builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", n, integer(0)), inside, after)
    builder.position_at_end(inside)
    k = builder.phi(INT64)
    k.add_incoming(integer(0), before)
    carried = [builder.phi(value.type) for value in start]
    for phi, value in zip(carried, start, strict=True):
        phi.add_incoming(value, before)
    values = body(k, carried)
    following = builder.add(k, integer(1))
    last = builder.block
    k.add_incoming(following, last)
    for phi, value in zip(carried, values, strict=True):
        phi.add_incoming(value, last)
    builder.cbranch(builder.icmp_signed("<", following, n), inside, after)
    builder.position_at_end(after)
    result = []
    for value0, value in zip(start, values, strict=True):
        phi = builder.phi(value0.type)
        phi.add_incoming(value0, before)
        phi.add_incoming(value, last)
        result.append(phi)
    return result


class Vectors:
    """Emits operations on vector registers of one number type.

    Parameters
    ----------
    dtype : numpy dtype
        float64 or float32.
    width : int, optional
        Numbers in a vector; those of a whole register, by default.
    """

    def __init__(self, dtype: np.dtype, width: int = 0) -> None:
        self.size = dtype.itemsize
        self.lanes = width or lanes(dtype)
        self.number = ir.DoubleType() if self.size == 8 else ir.FloatType()
        self.vector = ir.VectorType(self.number, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self._suffix = f"v{self.lanes}f{8 * self.size}"

    def at(self, builder: ir.IRBuilder, base: ir.Value, index: ir.Value) -> ir.Value:
        """Address of number `index` behind the address `base`."""
        return builder.add(base, builder.mul(index, integer(self.size)))

    def _call(self, builder: ir.IRBuilder, name: str, result: Any, args: Sequence) -> ir.Value:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(result, [value.type for value in args]), name
        )
        return builder.call(function, args)

    def load(
        self, builder: ir.IRBuilder, address: ir.Value, mask: ir.Value | None = None
    ) -> ir.Value:
        """Load a vector; lanes outside the mask are zero and their memory is not touched."""
        where = pointer(builder, address, self.vector)
        if mask is None:
            return builder.load(where, align=self.size)
        args = [where, ir.Constant(_INT32, self.size), mask, self.zero]
        return self._call(builder, f"llvm.masked.load.{self._suffix}.p0", self.vector, args)

    def store(
        self,
        builder: ir.IRBuilder,
        value: ir.Value,
        address: ir.Value,
        mask: ir.Value | None = None,
    ) -> None:
        """Store a vector, or its lanes within the mask."""
        where = pointer(builder, address, self.vector)
        if mask is None:
            builder.store(value, where, align=self.size)
            return
        args = [value, where, ir.Constant(_INT32, self.size), mask]
        self._call(builder, f"llvm.masked.store.{self._suffix}.p0", ir.VoidType(), args)

    def spread(self, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
        """Put one number into every lane."""
        vector = ir.VectorType(value.type, self.lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        single = builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
        return self.shuffle(builder, single, undefined, [0] * self.lanes)

    def spread_at(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        """Load one number into every lane."""
        number = builder.load(pointer(builder, address, self.number), align=self.size)
        return self.spread(builder, number)

    def first(self, builder: ir.IRBuilder, n: ir.Value) -> ir.Value:
        """Mask of the first `n` lanes (all where n is larger, none where it is not positive)."""
        # Compared in integers as wide as the numbers: from wider ones the mask is narrowed again
        # in every step of a loop, which halved the speed of float32.
        index = ir.IntType(8 * self.size)
        numbers = ir.Constant(ir.VectorType(index, self.lanes), list(range(self.lanes)))
        limit = builder.select(
            builder.icmp_signed("<", n, integer(self.lanes)), n, integer(self.lanes)
        )
        if self.size < 8:
            limit = builder.trunc(limit, index)
        return builder.icmp_signed("<", numbers, self.spread(builder, limit))

    def multiply_add(self, builder: ir.IRBuilder, x: Any, y: Any, z: Any) -> ir.Value:
        """x y + z, fused where the processor can (llvm.fma would be a library call elsewhere)."""
        return self._call(builder, f"llvm.fmuladd.{self._suffix}", self.vector, [x, y, z])

    @staticmethod
    def shuffle(builder: ir.IRBuilder, x: Any, y: Any, order: Sequence[int]) -> ir.Value:
        """Lanes of x, then of y, in the given order."""
        return builder.shuffle_vector(
            x, y, ir.Constant(ir.VectorType(_INT32, len(order)), list(order))
        )

    def transpose(self, builder: ir.IRBuilder, rows: Sequence[ir.Value]) -> list[ir.Value]:
        """Transpose the square of `lanes` registers in log2(lanes) rounds of shuffles."""
        n = self.lanes
        rows = list(rows)
        half = n // 2
        while half:
            for i in range(n):
                if i & half:
                    continue
                j = i | half
                low = [k if not k & half else n + (k ^ half) for k in range(n)]
                high = [k | half if not k & half else n + k for k in range(n)]
                x, y = rows[i], rows[j]
                rows[i] = self.shuffle(builder, x, y, low)
                rows[j] = self.shuffle(builder, x, y, high)
            half //= 2
        return rows


def strip(v: Vectors, n_vectors: int, masked: bool) -> Any:
    """Make the intrinsic of a column of register tiles: C (+)= A · B for up to three vectors.

    ``strip(A, a_row, a_step, B, b_row, C, c_row, n, n_rows, last, add)``: C has n_rows rows of
    `n_vectors` vectors, of whose last only `last` lanes exist; no other memory is touched. The
    product sums over n. The strides count numbers: A[i, k] is at ``A + i a_row + k a_step``, rows
    of B and C at multiples of `b_row` and `c_row`. Where `add` is 0, C is overwritten and not
    read. Rows are taken as many at a time as registers hold sums, the remainder by fewer.

    A last vector that is not whole is moved back over the one before it, and what they share is
    computed twice: masked stores cost some 20 instructions each in AVX2. A single vector can't
    move: it is `masked`, or must be whole.
    """
    edge = n_vectors - 1
    # Eight sums or more, for the additions of four cycles each; 16 registers hold 12 sums.
    heights = [8, 4, 2, 1]
    if tile_rows() == 4:
        heights = {3: [4, 2, 1], 2: [6, 4, 2, 1], 1: heights}[n_vectors]

    def tile(builder, n_rows, A, a_row, a_step, B, b_row, C, c_row, n, last, add, mask):
        places = [integer(i * v.lanes * v.size) for i in range(n_vectors)]
        if edge:
            places[edge] = v.at(builder, integer((edge - 1) * v.lanes * v.size), last)
        # The loop carries two addresses, A[0, k] and B[k], and adds constants to them: products of
        # k and a stride, made anew for every row, are spilled to the stack where registers are few.
        a_stride, b_stride = v.at(builder, integer(0), a_step), v.at(builder, integer(0), b_row)
        rows = [v.at(builder, integer(0), builder.mul(a_row, integer(r))) for r in range(n_rows)]

        def body(k, carried):
            a_at, row, *sums = carried
            b = [v.load(builder, builder.add(row, place), mask) for place in places]
            new = []
            for r in range(n_rows):
                a = v.spread_at(builder, builder.add(a_at, rows[r]))
                for i in range(n_vectors):
                    new.append(v.multiply_add(builder, a, b[i], sums[r * n_vectors + i]))
            return [builder.add(a_at, a_stride), builder.add(row, b_stride), *new]

        _, _, *sums = _count(builder, n, [A, B] + [v.zero] * (n_rows * n_vectors), body)

        def write(mask, adding):
            for r in range(n_rows):
                row = v.at(builder, C, builder.mul(c_row, integer(r)))
                targets = [builder.add(row, place) for place in places]
                values = sums[r * n_vectors : (r + 1) * n_vectors]
                if adding:  # all of a row is read before any of it is written: vectors overlap
                    values = [
                        builder.fadd(value, v.load(builder, target, mask))
                        for value, target in zip(values, targets, strict=True)
                    ]
                for value, target in zip(values, targets, strict=True):
                    v.store(builder, value, target, mask)

        def choose(mask):
            with builder.if_else(builder.icmp_signed("!=", add, integer(0))) as (yes, no):
                with yes:
                    write(mask, True)
                with no:
                    write(mask, False)

        if mask is None or register_bytes() == 64:  # AVX-512 stores with a mask as fast
            choose(mask)
            return
        whole = builder.icmp_signed(">=", last, integer(v.lanes))
        with builder.if_else(whole) as (yes, no):
            with yes:
                choose(None)
            with no:
                choose(mask)

    @intrinsic
    def kernel(typingctx, A, a_row, a_step, B, b_row, C, c_row, n, n_rows, last, add):
        def codegen(context, builder, signature, args):
            A, a_row, a_step, B, b_row, C, c_row, n, n_rows, last, add = args
            mask = v.first(builder, last) if masked else None

            def tiles(height, begin, count):
                def one(k, _):
                    i = builder.add(begin, builder.mul(k, integer(height)))
                    a = v.at(builder, A, builder.mul(i, a_row))
                    c = v.at(builder, C, builder.mul(i, c_row))
                    tile(builder, height, a, a_row, a_step, B, b_row, c, c_row, n, last, add, mask)
                    return []

                _count(builder, count, [], one)

            done = integer(0)
            for height in heights:
                left = builder.sub(n_rows, done)
                count = builder.sdiv(left, integer(height))
                if height == 6:  # eight rows are two fours: two rows alone cost what four do
                    rest = builder.sub(left, builder.mul(count, integer(height)))
                    two = builder.icmp_signed("==", builder.ashr(rest, integer(1)), integer(1))
                    some = builder.icmp_signed(">", count, integer(0))
                    fewer = builder.zext(builder.and_(two, some), INT64)
                    count = builder.sub(count, fewer)
                tiles(height, done, count)
                done = builder.add(done, builder.mul(count, integer(height)))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), codegen

    return kernel


def pack(v: Vectors) -> Any:
    """Make the intrinsic that transposes one square of numbers.

    ``pack(source, row, n_rows, n_columns, target, target_row)``: source has rows `row` numbers
    apart; of its square of `lanes` rows and columns only n_rows and n_columns exist (more count
    as all). The last row stands in for those missing, so that padding never brings a value (an
    infinite activation, say) that no sample has. Column j is written whole, `lanes` numbers, at
    ``target + j target_row``, for the columns that exist.
    """

    @intrinsic
    def kernel(typingctx, source, row, n_rows, n_columns, target, target_row):
        def codegen(context, builder, signature, args):
            source, row, n_rows, n_columns, target, target_row = args
            rows = []
            for r in range(v.lanes):
                exists = builder.icmp_signed("<", integer(r), n_rows)
                number = builder.select(exists, integer(r), builder.sub(n_rows, integer(1)))
                rows.append(v.at(builder, source, builder.mul(row, number)))

            def move(mask):
                loaded = [v.load(builder, address, mask) for address in rows]
                for j, column in enumerate(v.transpose(builder, loaded)):
                    place = v.at(builder, target, builder.mul(target_row, integer(j)))
                    if mask is None:
                        v.store(builder, column, place)
                        continue
                    with builder.if_then(builder.icmp_signed("<", integer(j), n_columns)):
                        v.store(builder, column, place)

            whole = builder.icmp_signed(">=", n_columns, integer(v.lanes))
            with builder.if_else(whole) as (yes, no):
                with yes:
                    move(None)
                with no:
                    move(v.first(builder, n_columns))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return kernel


def copy(v: Vectors) -> Any:
    """Make the intrinsic that copies one vector of which `n` numbers exist; the rest become 0.

    ``copy(source, n, target)``: `lanes` numbers are written, only those that exist are read.
    """

    @intrinsic
    def kernel(typingctx, source, n, target):
        def codegen(context, builder, signature, args):
            source, n, target = args
            whole = builder.icmp_signed(">=", n, integer(v.lanes))
            with builder.if_else(whole) as (yes, no):
                with yes:
                    v.store(builder, v.load(builder, source), target)
                with no:
                    v.store(builder, v.load(builder, source, v.first(builder, n)), target)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return kernel


def dots(v: Vectors) -> Any:
    """Make the intrinsic of `lanes` dot products with one vector: z_i = W_i · x.

    ``dots(W, row, n_rows, x, n, z)``: rows of W are `row` numbers apart; where fewer than
    `lanes` rows exist, the first stands in for the others; `lanes` results are written at z.
    """

    @intrinsic
    def kernel(typingctx, W, row, n_rows, x, n, z):
        def codegen(context, builder, signature, args):
            W, row, n_rows, x, n, z = args
            n_whole = builder.sdiv(n, integer(v.lanes))
            rest = builder.sub(n, builder.mul(n_whole, integer(v.lanes)))
            rows = []
            for r in range(v.lanes):
                exists = builder.icmp_signed("<", integer(r), n_rows)
                number = builder.select(exists, integer(r), integer(0))
                rows.append(v.at(builder, W, builder.mul(number, row)))

            def step(place, sums, mask):
                part = v.load(builder, v.at(builder, x, place), mask)
                return [
                    v.multiply_add(
                        builder, v.load(builder, v.at(builder, address, place), mask), part, total
                    )
                    for address, total in zip(rows, sums, strict=True)
                ]

            sums = _count(
                builder,
                n_whole,
                [v.zero] * v.lanes,
                lambda k, totals: step(builder.mul(k, integer(v.lanes)), totals, None),
            )
            # The rest once, under a mask, where there is one.
            ragged = builder.icmp_signed(">", rest, integer(0))
            with builder.if_else(ragged) as (then, otherwise):
                with then:
                    place = builder.mul(n_whole, integer(v.lanes))
                    more = step(place, sums, v.first(builder, rest))
                    from_then = builder.block
                with otherwise:
                    from_otherwise = builder.block
            merged = []
            for with_rest, without in zip(more, sums, strict=True):
                phi = builder.phi(v.vector)
                phi.add_incoming(with_rest, from_then)
                phi.add_incoming(without, from_otherwise)
                merged.append(phi)
            columns = v.transpose(builder, merged)
            while len(columns) > 1:
                columns = [
                    builder.fadd(columns[i], columns[i + 1]) for i in range(0, len(columns), 2)
                ]
            v.store(builder, columns[0], z)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return kernel
