"""Memory by address: what compiled code needs to read plans, arrays and Python's array headers.

All addresses are int64 numbers. Nothing here checks anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    register_model,
    unbox,
)
from numba.np.arrayobj import make_array, populate_array

_BYTE = ir.IntType(8)
_INT32 = ir.IntType(32)
INT64 = ir.IntType(64)


def pointer(builder: ir.IRBuilder, address: ir.Value, element: ir.Type) -> ir.Value:
    """Emit the conversion of an address to a pointer to `element`."""
    return builder.inttoptr(address, element.as_pointer())


@intrinsic
def _pointer64(typingctx, address):
    def codegen(context, builder, signature, args):
        return pointer(builder, args[0], ir.DoubleType())

    return types.CPointer(types.float64)(types.int64), codegen


@intrinsic
def _pointer32(typingctx, address):
    def codegen(context, builder, signature, args):
        return pointer(builder, args[0], ir.FloatType())

    return types.CPointer(types.float32)(types.int64), codegen


@intrinsic
def _pointer_int64(typingctx, address):
    def codegen(context, builder, signature, args):
        return pointer(builder, args[0], INT64)

    return types.CPointer(types.int64)(types.int64), codegen


POINTER = {
    np.dtype(np.float64): _pointer64,
    np.dtype(np.float32): _pointer32,
    np.dtype(np.int64): _pointer_int64,
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
def load_float(typingctx, address):
    """The float64 at `address`."""

    def codegen(context, builder, signature, args):
        return builder.load(pointer(builder, args[0], ir.DoubleType()))

    return types.float64(types.int64), codegen


@intrinsic
def stack_number(typingctx):
    """Address of one float64 on the stack of the function."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(cgutils.alloca_once(builder, ir.DoubleType()), INT64)

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
            block = cgutils.alloca_once(builder, ir.ArrayType(element, STACK_NUMBERS))
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


@intrinsic
def invoke(typingctx, address, arguments):
    """Call the C function at `address` with a tuple of int64 and float arguments; no result."""
    signature = types.void(types.int64, arguments)

    def codegen(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[1])
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(pointer(builder, args[0], function), values)
        return context.get_dummy_value()

    return signature, codegen


class _HandleType(types.Type):
    """Any Python object, as its address: read-only use while the caller holds it."""

    def __init__(self) -> None:
        super().__init__(name="fastbp.handle")


handle = _HandleType()
register_model(_HandleType)(models.OpaqueModel)


@unbox(_HandleType)
def _unbox_handle(typ: Any, obj: Any, c: Any) -> NativeValue:
    return NativeValue(c.builder.bitcast(obj, cgutils.voidptr_t))


# Offsets in NumPy's array object (PyArrayObject_fields, part of its stable ABI), in bytes.
_HEAD = object.__basicsize__
_CLASS, _DATA, _N_DIMENSIONS, _SHAPE, _DTYPE, _FLAGS = (_HEAD + k for k in (-8, 0, 8, 16, 40, 48))


@intrinsic
def handle_address(typingctx, obj):
    """Address of the Python object behind a handle."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], INT64)

    return types.int64(obj), codegen


@intrinsic
def array_fits(typingctx, obj, cls, dtype, n_dimensions, flags):
    """Whether the object at an address is an array of exactly these properties.

    `cls` and `dtype` are addresses of Python objects, compared by identity; all of `flags`
    must be set. Only NumPy's own class has a header that may be read further.
    """

    def codegen(context, builder, signature, args):
        obj, cls, dtype, n_dimensions, flags = args

        def field(offset, kind):
            address = builder.add(obj, ir.Constant(INT64, offset))
            return builder.load(pointer(builder, address, kind))

        is_array = builder.icmp_signed("==", field(_CLASS, INT64), cls)
        before = builder.block
        with builder.if_then(is_array):
            flags32 = builder.trunc(flags, _INT32)
            fits = builder.and_(
                builder.icmp_signed("==", field(_DTYPE, INT64), dtype),
                builder.and_(
                    builder.icmp_signed(
                        "==", field(_N_DIMENSIONS, _INT32), builder.trunc(n_dimensions, _INT32)
                    ),
                    builder.icmp_signed(
                        "==", builder.and_(field(_FLAGS, _INT32), flags32), flags32
                    ),
                ),
            )
            inside = builder.block
        result = builder.phi(ir.IntType(1))
        result.add_incoming(ir.Constant(ir.IntType(1), 0), before)
        result.add_incoming(fits, inside)
        return result

    return types.boolean(*[types.int64] * 5), codegen


@intrinsic
def array_data(typingctx, obj):
    """Address of the first number of the array object at an address."""

    def codegen(context, builder, signature, args):
        address = builder.add(args[0], ir.Constant(INT64, _DATA))
        return builder.load(pointer(builder, address, INT64))

    return types.int64(types.int64), codegen


@intrinsic
def array_length(typingctx, obj, axis):
    """Length of an axis of the array object at an address."""

    def codegen(context, builder, signature, args):
        address = builder.add(args[0], ir.Constant(INT64, _SHAPE))
        shape = pointer(builder, builder.load(pointer(builder, address, INT64)), INT64)
        return builder.load(builder.gep(shape, [args[1]]))

    return types.int64(types.int64, types.int64), codegen
