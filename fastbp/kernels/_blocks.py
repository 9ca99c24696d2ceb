"""Activations and losses over long contiguous blocks: a unit for each function, order, dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from .._trace import Function
from ._address import POINTER, STACK, STACK_NUMBERS
from ._build import Unit, scalar
from ._elementary import namespace
from ._integers import smaller
from ._stages import cut

# The vectorising functions that give NaN for large arguments (`_elementary`), and the library's.
_LIMITED = {"sin": math.sin, "cos": math.cos, "tan": math.tan}


def _jitted(function: Function, text: str, dtype: np.dtype, *, exact: bool = False) -> Any:
    """Compile text of a function against the vectorising elementary functions.

    With `exact`, those that are limited are the library's. None where that makes no difference.
    """
    code = compile(text, f"<fastbp {function.name}>", "exec")
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
    text = function.source(order)
    f = _jitted(function, text, dtype)
    if len(function.variables) == 2:
        return Unit(_loss_block(f, order, dtype), types.void(*[types.int64] * 5), key=key)
    exact = _jitted(function, text, dtype, exact=True)
    stages = cut(text)
    if exact is not None:
        block = _limited_block(f, exact, order, dtype)
    elif stages is not None:
        front, back = (_jitted(function, part, dtype) for part in (stages.front, stages.back))
        block = _staged_block(front, back, stages.n, order, dtype)
    else:
        block = _plain_block(f, order, dtype)
    return Unit(block, types.void(*[types.int64] * 4), key=key)


def _activation_step(f: Any, order: int) -> Any:
    """Jitted step that puts v, v', v'' of one number in its place; `more` are f's other inputs.

    The value last: LLVM makes ``z[k] = select(c, x, z[k])`` a masked store, which is slow (relu
    with its derivative: 0.5 ns instead of 0.2), unless it comes after another one.
    """

    def step0(zs, ds, dds, k, *more):
        zs[k] = f(zs[k], *more)

    def step1(zs, ds, dds, k, *more):
        v, ds[k] = f(zs[k], *more)
        zs[k] = v

    def step2(zs, ds, dds, k, *more):
        v, ds[k], dds[k] = f(zs[k], *more)
        zs[k] = v

    return scalar((step0, step1, step2)[order])


def _plain_block(f: Any, order: int, dtype: np.dtype) -> Callable:
    pointer = POINTER[dtype]
    step = _activation_step(f, order)

    def block(z, d, dd, n):
        zs, ds, dds = pointer(z), pointer(d), pointer(dd)
        for k in range(n):
            step(zs, ds, dds, k)

    return block


def _staged_block(front: Any, back: Any, n_cut: int, order: int, dtype: np.dtype) -> Callable:
    """Loops of `_stages` over what fits the stack; `n_cut` is the number of exponentials."""
    pointer, size, stack = POINTER[dtype], dtype.itemsize, STACK[dtype]
    grow = namespace(dtype)["grow"]
    last = _activation_step(back, order)
    both = n_cut == 2

    def staged_block(z, d, dd, n):
        m0, e0 = stack(), stack()
        m1, e1 = stack(), stack()
        at = 0
        for _ in range(n // STACK_NUMBERS):
            zs = pointer(z + at)
            ds = pointer(d + at)
            dds = pointer(dd + at)
            for k in range(STACK_NUMBERS):
                front(zs[k], m0, e0, m1, e1, k)
            for k in range(STACK_NUMBERS):
                e0[k] = grow(e0[k])
            if both:
                for k in range(STACK_NUMBERS):
                    e1[k] = grow(e1[k])
            for k in range(STACK_NUMBERS):
                last(zs, ds, dds, k, m0[k], e0[k], m1[k], e1[k])
            at += STACK_NUMBERS * size
        rest = n % STACK_NUMBERS
        zs, ds = pointer(z + at), pointer(d + at)
        dds = pointer(dd + at)
        for k in range(rest):
            front(zs[k], m0, e0, m1, e1, k)
            g0 = grow(e0[k])
            g1 = grow(e1[k]) if both else g0
            last(zs, ds, dds, k, m0[k], g0, m1[k], g1)

    return staged_block


def _limited_block(f: Any, exact: Any, order: int, dtype: np.dtype) -> Callable:
    pointer, size, stack = POINTER[dtype], dtype.itemsize, STACK[dtype]
    step = _activation_step(f, order)
    exact_step = _activation_step(exact, order)

    def block_of_limited(z, d, dd, n):
        kept = stack()
        for start in range(0, n, STACK_NUMBERS):
            m, at = smaller(STACK_NUMBERS, n - start), start * size
            zs, ds = pointer(z + at), pointer(d + at)
            dds = pointer(dd + at)
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
        ys, ts = pointer(y), pointer(t)
        for k in range(n):
            ys[k] = f(ys[k], ts[k])

    def loss1(y, t, d, dd, n):
        ys, ts, ds = pointer(y), pointer(t), pointer(d)
        for k in range(n):
            ys[k], ds[k] = f(ys[k], ts[k])

    def loss2(y, t, d, dd, n):
        ys, ts, ds = pointer(y), pointer(t), pointer(d)
        dds = pointer(dd)
        for k in range(n):
            ys[k], ds[k], dds[k] = f(ys[k], ts[k])

    return (loss0, loss1, loss2)[order]
