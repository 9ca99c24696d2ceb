"""Activations and losses over long contiguous blocks: one unit for each function, order and dtype."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from .._trace import Function
from ._address import POINTER
from ._build import Unit, scalar
from ._elementary import namespace


def _jitted(function: Function, order: int, dtype: np.dtype) -> Any:
    """Compile the emitted text of a function against the vectorising elementary functions."""
    text = function.source(order)
    code = compile(text, f"<fastbp {function.name}, order {order}>", "exec")
    elementary = namespace(dtype)
    scope: dict[str, Any] = {"__name__": __name__}
    exec(code, scope)
    emitted = scope["scalar"]
    scope.update({name: elementary[name] for name in emitted.__code__.co_names})
    return scalar(emitted)


@cache
def block_unit(function: Function, order: int, dtype: np.dtype) -> Unit:
    """Apply an activation, or a loss, to a block of numbers.

    ``block(z, d, dd, n)`` for an activation, ``block(y, t, d, dd, n)`` for a loss: the value
    replaces the n numbers at z (y); v' goes to d from order 1 on, v'' to dd at order 2. In place,
    since LLVM vectorises ``z[k] = f(z[k])`` but not two arrays that turn out to be the same.
    """
    f = _jitted(function, order, dtype)
    pointer = POINTER[dtype]
    key = repr((function.digest, order, dtype.name))
    if len(function.variables) == 1:

        def block0(z, d, dd, n):  # type: ignore[no-untyped-def]
            zs = carray(pointer(z), n)
            for k in range(n):
                zs[k] = f(zs[k])

        def block1(z, d, dd, n):  # type: ignore[no-untyped-def]
            zs = carray(pointer(z), n)
            ds = carray(pointer(d), n)
            for k in range(n):
                zs[k], ds[k] = f(zs[k])

        def block2(z, d, dd, n):  # type: ignore[no-untyped-def]
            zs = carray(pointer(z), n)
            ds = carray(pointer(d), n)
            dds = carray(pointer(dd), n)
            for k in range(n):
                zs[k], ds[k], dds[k] = f(zs[k])

        blocks = (block0, block1, block2)
        return Unit(blocks[order], types.void(*[types.int64] * 4), key=key)

    def loss0(y, t, d, dd, n):  # type: ignore[no-untyped-def]
        ys = carray(pointer(y), n)
        ts = carray(pointer(t), n)
        for k in range(n):
            ys[k] = f(ys[k], ts[k])

    def loss1(y, t, d, dd, n):  # type: ignore[no-untyped-def]
        ys = carray(pointer(y), n)
        ts = carray(pointer(t), n)
        ds = carray(pointer(d), n)
        for k in range(n):
            ys[k], ds[k] = f(ys[k], ts[k])

    def loss2(y, t, d, dd, n):  # type: ignore[no-untyped-def]
        ys = carray(pointer(y), n)
        ts = carray(pointer(t), n)
        ds = carray(pointer(d), n)
        dds = carray(pointer(dd), n)
        for k in range(n):
            ys[k], ds[k], dds[k] = f(ys[k], ts[k])

    losses = (loss0, loss1, loss2)
    return Unit(losses[order], types.void(*[types.int64] * 5), key=key)
