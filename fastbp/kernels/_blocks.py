"""Activations and losses over long contiguous blocks: a unit for each function, order, dtype."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types

from .._trace import Function
from ._address import POINTER, view
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
    untraced = _untraced(function)
    for name in emitted.__code__.co_names:
        scope[name] = untraced[name] if name in untraced else elementary[name]
    return scalar(emitted)


def _untraced(function: Function) -> dict[str, Any]:
    """Compile the functions that the tracer took as they are, helpers first."""
    scope: dict[str, Any] = {"__name__": __name__, "math": math, "np": np}
    for name, text in function.extra_sources.items():
        exec(compile(text, f"<fastbp {function.name}, {name}>", "exec"), scope)
        scope[name] = scalar(scope[name])
    return {name: scope[name] for name in function.extra_sources}


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

        def block0(z, d, dd, n):
            zs = view(pointer(z), n)
            for k in range(n):
                zs[k] = f(zs[k])

        def block1(z, d, dd, n):
            zs = view(pointer(z), n)
            ds = view(pointer(d), n)
            for k in range(n):
                zs[k], ds[k] = f(zs[k])

        def block2(z, d, dd, n):
            zs = view(pointer(z), n)
            ds = view(pointer(d), n)
            dds = view(pointer(dd), n)
            for k in range(n):
                zs[k], ds[k], dds[k] = f(zs[k])

        blocks = (block0, block1, block2)
        return Unit(blocks[order], types.void(*[types.int64] * 4), key=key)

    def loss0(y, t, d, dd, n):
        ys = view(pointer(y), n)
        ts = view(pointer(t), n)
        for k in range(n):
            ys[k] = f(ys[k], ts[k])

    def loss1(y, t, d, dd, n):
        ys = view(pointer(y), n)
        ts = view(pointer(t), n)
        ds = view(pointer(d), n)
        for k in range(n):
            ys[k], ds[k] = f(ys[k], ts[k])

    def loss2(y, t, d, dd, n):
        ys = view(pointer(y), n)
        ts = view(pointer(t), n)
        ds = view(pointer(d), n)
        dds = view(pointer(dd), n)
        for k in range(n):
            ys[k], ds[k], dds[k] = f(ys[k], ts[k])

    losses = (loss0, loss1, loss2)
    return Unit(losses[order], types.void(*[types.int64] * 5), key=key)
