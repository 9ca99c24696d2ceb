"""Activations and losses over long contiguous blocks: a unit for each function, order, dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from .._trace import Function
from ._address import POINTER, STACK_NUMBERS, stack_numbers, view
from ._build import Unit, scalar
from ._elementary import namespace

# The vectorising functions that give NaN for large arguments (`_elementary`), and the library's.
_LIMITED = {"sin": math.sin, "cos": math.cos, "tan": math.tan}


def _jitted(function: Function, order: int, dtype: np.dtype, *, exact: bool = False) -> Any:
    """Compile the emitted text of a function against the vectorising elementary functions.

    With `exact`, those that are limited are the library's. None where that makes no difference.
    """
    text = function.source(order)
    code = compile(text, f"<fastbp {function.name}, order {order}>", "exec")
    available = {**namespace(dtype), **_untraced(function)}
    scope: dict[str, Any] = {"__name__": __name__}
    exec(code, scope)
    emitted = scope["scalar"]
    names = set(emitted.__code__.co_names)
    if exact:
        if not names & _LIMITED.keys():
            return None
        available.update({name: _library(name) for name in _LIMITED})
    scope.update({name: available[name] for name in names})
    return scalar(emitted)


@cache
def _library(name: str) -> Any:
    function = _LIMITED[name]
    return scalar(lambda x: function(x))


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
    key = repr((function.digest, order, dtype.name))
    f = _jitted(function, order, dtype)
    if len(function.variables) == 2:
        return Unit(_loss_block(f, order, dtype), types.void(*[types.int64] * 5), key=key)
    block = _activation_block(f, _jitted(function, order, dtype, exact=True), order, dtype)
    return Unit(block, types.void(*[types.int64] * 4), key=key)


def _activation_step(f: Any, order: int) -> Any:
    """Jitted step that puts v, v', v'' of one number in its place."""

    def step0(zs, ds, dds, k):
        zs[k] = f(zs[k])

    def step1(zs, ds, dds, k):
        zs[k], ds[k] = f(zs[k])

    def step2(zs, ds, dds, k):
        zs[k], ds[k], dds[k] = f(zs[k])

    return scalar((step0, step1, step2)[order])


def _activation_block(f: Any, exact: Any, order: int, dtype: np.dtype) -> Callable:
    pointer, size = POINTER[dtype], dtype.itemsize
    step = _activation_step(f, order)

    def block(z, d, dd, n):
        zs, ds, dds = view(pointer(z), n), view(pointer(d), n), view(pointer(dd), n)
        for k in range(n):
            step(zs, ds, dds, k)

    if exact is None:
        return block
    exact_step = _activation_step(exact, order)

    def block_of_limited(z, d, dd, n):
        kept = view(pointer(stack_numbers()), STACK_NUMBERS)
        for start in range(0, n, STACK_NUMBERS):
            m, at = min(STACK_NUMBERS, n - start), start * size
            zs, ds = view(pointer(z + at), m), view(pointer(d + at), m)
            dds = view(pointer(dd + at), m)
            for k in range(m):
                kept[k] = zs[k]
            for k in range(m):
                step(zs, ds, dds, k)
            undefined = 0
            for k in range(m):
                undefined += 1 if zs[k] != zs[k] else 0
            if order > 0:
                for k in range(m):
                    undefined += 1 if ds[k] != ds[k] else 0
            if undefined:
                for k in range(m):
                    zs[k] = kept[k]
                    exact_step(zs, ds, dds, k)

    return block_of_limited


def _loss_block(f: Any, order: int, dtype: np.dtype) -> Callable:
    pointer = POINTER[dtype]

    def loss0(y, t, d, dd, n):
        ys, ts = view(pointer(y), n), view(pointer(t), n)
        for k in range(n):
            ys[k] = f(ys[k], ts[k])

    def loss1(y, t, d, dd, n):
        ys, ts, ds = view(pointer(y), n), view(pointer(t), n), view(pointer(d), n)
        for k in range(n):
            ys[k], ds[k] = f(ys[k], ts[k])

    def loss2(y, t, d, dd, n):
        ys, ts, ds = view(pointer(y), n), view(pointer(t), n), view(pointer(d), n)
        dds = view(pointer(dd), n)
        for k in range(n):
            ys[k], ds[k], dds[k] = f(ys[k], ts[k])

    return (loss0, loss1, loss2)[order]
