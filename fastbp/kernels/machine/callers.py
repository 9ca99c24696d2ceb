"""Calls of kernels by address, one for each record: by name, what is left out as the record has it.

``call_batch(load(plan, BATCH), plan=plan, w=w, …)``. Wrong names and types are a TypingError where
the caller is compiled; that the kernel takes the same names in the same order is seen where it is
compiled (`build.kernel_object`). So the two agree, though nothing but an address joins them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import records
from .address import INT64, pointer
from .build import loop
from .numba_api import TypingError

_NUMBA = {int: types.int64, float: types.float64}


def _through(record: Any) -> Any:
    fields = records.kinds(record)
    defaults = record._field_defaults
    gives = types.int64 if record in records.ALLOCATING else types.void
    result = INT64 if record in records.ALLOCATING else ir.VoidType()

    def typed(given: tuple) -> tuple:
        """Signature of a call, and its code; a field that is left out is its default itself."""
        kinds = []
        for (name, kind), value in zip(fields.items(), given, strict=True):
            if not isinstance(value, types.Type):
                kinds.append(types.Omitted(value))
            elif isinstance(value, types.Omitted):
                kinds.append(value)
            elif isinstance(value, types.Integer | types.Boolean) or (
                kind is float and isinstance(value, types.Float)
            ):
                kinds.append(_NUMBA[kind])
            else:
                raise TypingError(f"{record.__name__}.{name} is {kind.__name__}; got {value}")

        def codegen(context, builder, signature, args):
            values = [
                context.get_constant(_NUMBA[kind], known.value)
                if isinstance(known, types.Omitted)
                else value
                for value, known, kind in zip(args[1:], kinds, fields.values(), strict=True)
            ]
            function = ir.FunctionType(result, [value.type for value in values])
            done = builder.call(pointer(builder, args[0], function), values)
            return context.get_dummy_value() if gives == types.void else done

        return gives(types.int64, *kinds), codegen

    # Numba takes names and defaults from the signature, which is therefore written out; an error
    # that it finds there has the record's name.
    parameters = [
        f"{name}={defaults[name]!r}" if name in defaults else name for name in record._fields
    ]
    names = ", ".join(record._fields)
    scope: dict[str, Any] = {"typed": typed}
    head = f"def {record.__name__}(typingctx, address, {', '.join(parameters)}):"
    exec(f"{head}\n    return typed(({names},))\n", scope)
    return intrinsic(scope[record.__name__])


call_activation_block = _through(records.ActivationBlock)
call_batch = _through(records.Batch)
call_input_rows = _through(records.InputRows)
call_levenberg = _through(records.Levenberg)
call_loss_block = _through(records.LossBlock)
call_matrix = _through(records.Matrix)
call_pack = _through(records.Pack)
call_per_sample = _through(records.PerSample)
call_product = _through(records.Product)
call_resolve = _through(records.Resolve)
call_reverse = _through(records.Reverse)
call_softmax = _through(records.Softmax)
call_softmax_moved = _through(records.SoftmaxMoved)
call_tangent = _through(records.Tangent)
call_targets = _through(records.Targets)


@loop
def multiply(product, a, b, c, sizes, add):
    """C (+)= A · B by the product unit: (A, row, step), (B, row), (C, row), (n, rows, columns).

    `drivers.products` says what they mean.
    """
    call_product(
        product, a[0], a[1], a[2], b[0], b[1], c[0], c[1], sizes[0], sizes[1], sizes[2], add
    )
