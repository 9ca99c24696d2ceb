"""Memory by address: what compiled code needs to read plans, arrays and Python's array headers.

All addresses are int64 numbers. Nothing here checks anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .numba_api import cgutils, make_array, populate_array

INT64 = ir.IntType(64)


def pointer(builder: ir.IRBuilder, address: ir.Value, element: ir.Type) -> ir.Value:
    """Emit the conversion of an address to a pointer to `element`."""
    return builder.inttoptr(address, element.as_pointer())


def _pointer_to(number: types.Type, element: ir.Type) -> Any:
    @intrinsic
    def pointer_to(typingctx, address):
        """Pointer to numbers of one type."""

        def codegen(context, builder, signature, args):
            return pointer(builder, args[0], element)

        return types.CPointer(number)(types.int64), codegen

    return pointer_to


POINTER = {
    np.dtype(np.float64): _pointer_to(types.float64, ir.DoubleType()),
    np.dtype(np.float32): _pointer_to(types.float32, ir.FloatType()),
    np.dtype(np.int64): _pointer_to(types.int64, INT64),
    np.dtype(np.int32): _pointer_to(types.int32, ir.IntType(32)),
}


@intrinsic
def view(typingctx, data, n):
    """Array of the `n` numbers at a pointer; it owns nothing (`numba.carray` needs a runtime)."""
    array = types.Array(data.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        result = make_array(array)(context, builder)
        size = ir.Constant(INT64, context.get_abi_sizeof(context.get_data_type(data.dtype)))
        populate_array(
            result,
            data=args[0],
            shape=cgutils.pack_array(builder, [args[1]]),
            strides=cgutils.pack_array(builder, [size]),
            itemsize=size,
            meminfo=None,
        )
        return result._getvalue()

    return array(data, types.int64), codegen


@intrinsic
def load(typingctx, address, index):
    """Entry `index` of the int64 table at `address`."""

    def codegen(context, builder, signature, args):
        table = pointer(builder, args[0], INT64)
        return builder.load(builder.gep(table, [args[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def load_published(typingctx, address, index):
    """Entry `index` of a table, and with it all that was stored before it (`Plan.need`)."""

    def codegen(context, builder, signature, args):
        place = builder.gep(pointer(builder, args[0], INT64), [args[1]])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def exchange(typingctx, address, index, value):
    """Put a value into entry `index` of a table, for what stood there: one step to all threads."""

    def codegen(context, builder, signature, args):
        place = builder.gep(pointer(builder, args[0], INT64), [args[1]])
        return builder.atomic_rmw("xchg", place, args[2], "acq_rel")

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def load_float(typingctx, address):
    """The float64 at `address`."""

    def codegen(context, builder, signature, args):
        return builder.load(pointer(builder, args[0], ir.DoubleType()))

    return types.float64(types.int64), codegen


def _on_stack(builder: ir.IRBuilder, kind: ir.Type) -> ir.Value:
    """Emit memory of the function's frame, not filled with zeros as Numba's own is.

    (To fill the 64 numbers of a short call's scratch took 10 ns.)
    """
    with builder.goto_entry_block():
        return builder.alloca(kind)


@intrinsic
def stack_number(typingctx):
    """Address of one float64 on the stack of the function."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(_on_stack(builder, ir.DoubleType()), INT64)

    return types.int64(), codegen


@intrinsic
def shifted(typingctx, address, n_bytes):
    """An address moved on; 0, which stands for nothing, stays."""

    def codegen(context, builder, signature, args):
        given = builder.icmp_signed("!=", args[0], ir.Constant(INT64, 0))
        return builder.select(given, builder.add(*args), args[0])

    return types.int64(types.int64, types.int64), codegen


STACK_NUMBERS = 64


def _stack(number: types.Type) -> Any:
    @intrinsic
    def stack_numbers(typingctx):
        """Pointer to STACK_NUMBERS numbers on the stack of the function."""

        def codegen(context, builder, signature, args):
            element = context.get_value_type(number)
            block = _on_stack(builder, ir.ArrayType(element, STACK_NUMBERS))
            return builder.bitcast(block, element.as_pointer())

        return types.CPointer(number)(), codegen

    return stack_numbers


STACK = {np.dtype(np.float64): _stack(types.float64), np.dtype(np.float32): _stack(types.float32)}


@intrinsic
def allocate(typingctx, n_bytes):
    """Address of new memory, 0 where there is none: C's malloc.

    Not an array: Numba's runtime, which owns arrays, takes 0.2 s to start in a process that
    only loads machine code.
    """

    def codegen(context, builder, signature, args):
        function = ir.FunctionType(ir.IntType(8).as_pointer(), [INT64])
        malloc = cgutils.get_or_insert_function(builder.module, function, "malloc")
        return builder.ptrtoint(builder.call(malloc, args), INT64)

    return types.int64(types.int64), codegen


@intrinsic
def release(typingctx, address):
    """Give memory of `allocate` back: C's free."""

    def codegen(context, builder, signature, args):
        void = ir.IntType(8).as_pointer()
        free = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [void]), "free"
        )
        builder.call(free, [builder.inttoptr(args[0], void)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
