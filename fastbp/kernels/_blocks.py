"""Activations and losses over long contiguous blocks: a unit for each function, order, dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from .._trace import Function
from ._address import POINTER, STACK, STACK_NUMBERS, view
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
    """Jitted step that puts v, v', v'' of one number in its place; `more` are f's other inputs."""

    def step0(zs, ds, dds, k, *more):
        zs[k] = f(zs[k], *more)

    def step1(zs, ds, dds, k, *more):
        zs[k], ds[k] = f(zs[k], *more)

    def step2(zs, ds, dds, k, *more):
        zs[k], ds[k], dds[k] = f(zs[k], *more)

    return scalar((step0, step1, step2)[order])


def _plain_block(f: Any, order: int, dtype: np.dtype) -> Callable:
    pointer = POINTER[dtype]
    step = _activation_step(f, order)

    def block(z, d, dd, n):
        zs, ds, dds = view(pointer(z), n), view(pointer(d), n), view(pointer(dd), n)
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
        m0, e0 = view(stack(), STACK_NUMBERS), view(stack(), STACK_NUMBERS)
        m1, e1 = view(stack(), STACK_NUMBERS), view(stack(), STACK_NUMBERS)
        at = 0
        for _ in range(n // STACK_NUMBERS):
            zs = view(pointer(z + at), STACK_NUMBERS)
            ds = view(pointer(d + at), STACK_NUMBERS)
            dds = view(pointer(dd + at), STACK_NUMBERS)
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
        zs, ds = view(pointer(z + at), rest), view(pointer(d + at), rest)
        dds = view(pointer(dd + at), rest)
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
        kept = view(stack(), STACK_NUMBERS)
        for start in range(0, n, STACK_NUMBERS):
            m, at = smaller(STACK_NUMBERS, n - start), start * size
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
