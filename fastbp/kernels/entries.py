"""What Python calls: checks of the arrays given, then the driver.

The arrays come as plain objects and their headers are read in compiled code, all checks together
in some 20 ns; Numba's own unboxing takes 35 ns an array and checks neither dtype nor layout.
What does not fit is not explained here: `Refused` sends the call to `fastbp._boundary`, which
converts the data or says what is wrong.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from .._boundary import Refused
from ._address import (
    POINTER,
    array_data,
    array_fits,
    array_length,
    handle,
    handle_address,
    invoke,
    load,
    load_float,
    stack_number,
    view,
)
from ._build import Unit, loop
from ._passes import passes
from ._plan import (
    BATCH,
    DTYPE,
    LOSS_BLOCK,
    LOSS_CHECK,
    N_INPUTS,
    N_NEURONS,
    NDARRAY,
    NONE,
    OUTPUT,
    PACK,
    PER_SAMPLE,
    READY,
    REVERSE,
    REVERSE_FEW,
    TANGENT,
    WEIGHTS,
)
from .second_order import HESSIAN, NOTHING

READABLE = 0x1 | 0x100  # NumPy's flags: C order, aligned
WRITABLE = READABLE | 0x400


@loop
def fits(plan, array, n_dimensions, flags):
    """Whether an object, by its address, is an array of the plan's dtype, as the kernels need."""
    return array_fits(array, load(plan, NDARRAY), load(plan, DTYPE), n_dimensions, flags)


@loop
def apart(x, n_x, y, n_y, size):
    """Whether two stretches of numbers share no memory; an address is 0 for none."""
    # Without branches, which take Numba 0.1 s longer.
    return (x == 0) | (y == 0) | (x + n_x * size <= y) | (y + n_y * size <= x)


@loop
def weight_sum(plan, loss, t, c, B, least):
    """Σ c_b, refused where it, a weight or a target is not what the loss allows."""
    result = stack_number()
    if load(loss, LOSS_CHECK):
        invoke(load(loss, LOSS_CHECK), (loss, t, B, result))
        if load_float(result) > 0.0:
            raise Refused
    total = float(B)
    if c:
        if load(plan, WEIGHTS) == 0:
            raise Refused
        invoke(load(plan, WEIGHTS), (c, B, result))
        total = load_float(result)
    if not least <= total < np.inf:
        raise Refused
    return total


@cache
def loss_entry(dtype: np.dtype) -> Unit:
    """``loss(plan, loss, w, X, t, c, g) -> mean loss``; g None for the loss alone."""
    few = passes(dtype).few
    size = dtype.itemsize
    least = float(np.finfo(dtype).tiny)  # 1 / Σ c must be a number too

    def loss_and_grad(plan, loss, w, X, t, c, g):
        none = load(plan, NONE)
        N = load(plan, N_INPUTS)
        P = load(plan, N_NEURONS) * (N + 1)
        w_ = handle_address(w)
        X_ = handle_address(X)
        t_ = handle_address(t)
        c_ = handle_address(c)
        g_ = handle_address(g)
        order = 0 if g_ == none else 1
        if not (
            fits(plan, w_, 1, READABLE)
            and fits(plan, X_, 2, READABLE)
            and fits(plan, t_, 1, READABLE)
            and (c_ == none or fits(plan, c_, 1, READABLE))
            and (order == 0 or fits(plan, g_, 1, WRITABLE))
        ):
            raise Refused
        B = array_length(X_, 0)
        reverse = load(plan, REVERSE_FEW if few(B) else REVERSE)
        if not (
            load(plan, BATCH)
            and reverse
            and load(plan, READY + order)
            and load(loss, LOSS_BLOCK + order)
            and B > 0
            and array_length(w_, 0) == P
            and array_length(X_, 1) == N
            and array_length(t_, 0) == B
            and (c_ == none or array_length(c_, 0) == B)
            and (order == 0 or array_length(g_, 0) == P)
        ):
            raise Refused
        w_ = array_data(w_)
        X_ = array_data(X_)
        t_ = array_data(t_)
        c_ = 0 if c_ == none else array_data(c_)
        g_ = 0 if g_ == none else array_data(g_)
        if not (
            apart(g_, P, w_, P, size)
            and apart(g_, P, X_, B * N, size)
            and apart(g_, P, t_, B, size)
            and apart(g_, P, c_, B, size)
        ):
            raise Refused
        total = weight_sum(plan, loss, t_, c_, B, least)
        result = stack_number()
        args = (plan, loss, w_, X_, B, 0, t_, c_, 1.0 / total, 0, 0, g_, 0, 0, 0, result)
        invoke(load(plan, BATCH), args)
        return load_float(result) / total

    arguments = [types.int64] * 2 + [handle] * 5
    return Unit(loss_and_grad, types.float64(*arguments), key=dtype.name, python=True)


@cache
def cotangent_entry(dtype: np.dtype) -> Unit:
    """``cotangent(plan, w, X, ybar, y, g, xbar)``; any of the last four may be None."""
    few = passes(dtype).few
    pointer, size, real = POINTER[dtype], dtype.itemsize, dtype.type

    def cotangent(plan, w, X, ybar, y, g, xbar):
        none = load(plan, NONE)
        N = load(plan, N_INPUTS)
        P = load(plan, N_NEURONS) * (N + 1)
        w_ = handle_address(w)
        X_ = handle_address(X)
        ybar_ = handle_address(ybar)
        y_ = handle_address(y)
        g_ = handle_address(g)
        xbar_ = handle_address(xbar)
        order = 0 if g_ == none and xbar_ == none else 1
        if not (
            fits(plan, w_, 1, READABLE)
            and fits(plan, X_, 2, READABLE)
            and (ybar_ == none or fits(plan, ybar_, 1, READABLE))
            and (y_ == none or fits(plan, y_, 1, WRITABLE))
            and (g_ == none or fits(plan, g_, 1, WRITABLE))
            and (xbar_ == none or fits(plan, xbar_, 2, WRITABLE))
        ):
            raise Refused
        B = array_length(X_, 0)
        reverse = load(plan, REVERSE_FEW if few(B) else REVERSE)
        if not (
            load(plan, BATCH)
            and reverse
            and load(plan, READY + order)
            and array_length(w_, 0) == P
            and array_length(X_, 1) == N
            and (ybar_ == none or array_length(ybar_, 0) == B)
            and (y_ == none or array_length(y_, 0) == B)
            and (g_ == none or array_length(g_, 0) == P)
            and (xbar_ == none or array_length(xbar_, 0) == B)
            and (xbar_ == none or array_length(xbar_, 1) == N)
        ):
            raise Refused
        w_ = array_data(w_)
        X_ = array_data(X_)
        ybar_ = 0 if ybar_ == none else array_data(ybar_)
        y_ = 0 if y_ == none else array_data(y_)
        g_ = 0 if g_ == none else array_data(g_)
        xbar_ = 0 if xbar_ == none else array_data(xbar_)
        for out, n in ((y_, B), (g_, P), (xbar_, B * N)):
            if not (
                apart(out, n, w_, P, size)
                and apart(out, n, X_, B * N, size)
                and apart(out, n, ybar_, B, size)
            ):
                raise Refused
        if not (
            apart(y_, B, g_, P, size)
            and apart(y_, B, xbar_, B * N, size)
            and apart(g_, P, xbar_, B * N, size)
        ):
            raise Refused
        if B == 0:
            if g_:
                view(pointer(g_), P)[:] = real(0)
            return
        args = (plan, 0, w_, X_, B, 0, 0, 0, 0.0, ybar_, y_, g_, xbar_, 0, 0, stack_number())
        invoke(load(plan, BATCH), args)

    return Unit(cotangent, types.void(types.int64, *[handle] * 6), key=dtype.name, python=True)


@cache
def point_entry(dtype: np.dtype) -> Unit:
    """``value_and_grad(plan, w, x, g) -> f(w, x)`` for one observation."""
    few = passes(dtype).few
    pointer, size = POINTER[dtype], dtype.itemsize

    def value_and_grad(plan, w, x, g):
        N = load(plan, N_INPUTS)
        P = load(plan, N_NEURONS) * (N + 1)
        w_ = handle_address(w)
        x_ = handle_address(x)
        g_ = handle_address(g)
        if not (
            fits(plan, w_, 1, READABLE)
            and fits(plan, x_, 1, READABLE)
            and fits(plan, g_, 1, WRITABLE)
            and load(plan, BATCH)
            and load(plan, REVERSE_FEW if few(1) else REVERSE)
            and load(plan, READY + 1)
            and array_length(w_, 0) == P
            and array_length(x_, 0) == N
            and array_length(g_, 0) == P
        ):
            raise Refused
        w_ = array_data(w_)
        x_ = array_data(x_)
        g_ = array_data(g_)
        if not (apart(g_, P, w_, P, size) and apart(g_, P, x_, N, size)):
            raise Refused
        y = stack_number()
        invoke(
            load(plan, BATCH), (plan, 0, w_, x_, 1, 0, 0, 0, 0.0, 0, y, g_, 0, 0, 0, stack_number())
        )
        return float(view(pointer(y), 1)[0])

    signature = types.float64(types.int64, *[handle] * 3)
    return Unit(value_and_grad, signature, key=dtype.name, python=True)


@cache
def per_sample_entry(dtype: np.dtype) -> Unit:
    """``per_sample_grad(plan, w, X, J)``."""
    size = dtype.itemsize

    def per_sample_grad(plan, w, X, J):
        N = load(plan, N_INPUTS)
        P = load(plan, N_NEURONS) * (N + 1)
        w_ = handle_address(w)
        X_ = handle_address(X)
        J_ = handle_address(J)
        if not (
            fits(plan, w_, 1, READABLE)
            and fits(plan, X_, 2, READABLE)
            and fits(plan, J_, 2, WRITABLE)
            and load(plan, PER_SAMPLE)
            and load(plan, READY + 1)
            and array_length(w_, 0) == P
            and array_length(X_, 1) == N
            and array_length(J_, 0) == array_length(X_, 0)
            and array_length(J_, 1) == P
        ):
            raise Refused
        B = array_length(X_, 0)
        w_ = array_data(w_)
        X_ = array_data(X_)
        J_ = array_data(J_)
        if not (apart(J_, B * P, w_, P, size) and apart(J_, B * P, X_, B * N, size)):
            raise Refused
        if B:
            invoke(load(plan, PER_SAMPLE), (plan, w_, X_, B, J_))

    signature = types.void(types.int64, *[handle] * 3)
    return Unit(per_sample_grad, signature, key=dtype.name, python=True)


@cache
def tangent_entry(dtype: np.dtype) -> Unit:
    """``tangent(plan, loss, w, X, t, c, p, dX, ydot, g, xbar, what)``, see `tangent_unit`.

    None stands for what is absent. Returns Σ c_b, 1 without a loss.
    """
    size = dtype.itemsize
    least = float(np.finfo(dtype).tiny)

    def tangent(plan, loss, w, X, t, c, p, dX, ydot, g, xbar, what):
        none = load(plan, NONE)
        N = load(plan, N_INPUTS)
        P = load(plan, N_NEURONS) * (N + 1)
        w_ = handle_address(w)
        X_ = handle_address(X)
        p_ = handle_address(p)
        t_ = handle_address(t)
        c_ = handle_address(c)
        dX_ = handle_address(dX)
        ydot_ = handle_address(ydot)
        g_ = handle_address(g)
        xbar_ = handle_address(xbar)
        order = 2 if what == HESSIAN else 1
        head = 1 if what == NOTHING else 2
        if not (
            load(plan, TANGENT)
            and load(plan, PACK)
            and load(plan, READY + order)
            and load(plan, OUTPUT + head)
            and (loss == 0 or load(loss, LOSS_BLOCK + 2))
            and fits(plan, w_, 1, READABLE)
            and fits(plan, X_, 2, READABLE)
            and (p_ == none or fits(plan, p_, 1, READABLE))
            and (p_ != none or xbar_ != none)
            and (dX_ != none or xbar_ == none)
            and (t_ == none if loss == 0 else fits(plan, t_, 1, READABLE))
            and (c_ == none or fits(plan, c_, 1, READABLE))
            and (dX_ == none or fits(plan, dX_, 2, READABLE))
            and (ydot_ == none or fits(plan, ydot_, 1, WRITABLE))
            and (g_ == none or fits(plan, g_, 1, WRITABLE))
            and (xbar_ == none or fits(plan, xbar_, 2, WRITABLE))
        ):
            raise Refused
        B = array_length(X_, 0)
        if not (
            array_length(w_, 0) == P
            and array_length(X_, 1) == N
            and (p_ == none or array_length(p_, 0) == P)
            and (t_ == none or array_length(t_, 0) == B)
            and (c_ == none or array_length(c_, 0) == B)
            and (dX_ == none or (array_length(dX_, 0) == B and array_length(dX_, 1) == N))
            and (ydot_ == none or array_length(ydot_, 0) == B)
            and (g_ == none or array_length(g_, 0) == P)
            and (xbar_ == none or (array_length(xbar_, 0) == B and array_length(xbar_, 1) == N))
        ):
            raise Refused
        w_ = array_data(w_)
        X_ = array_data(X_)
        p_ = 0 if p_ == none else array_data(p_)
        t_ = 0 if t_ == none else array_data(t_)
        c_ = 0 if c_ == none else array_data(c_)
        dX_ = 0 if dX_ == none else array_data(dX_)
        ydot_ = 0 if ydot_ == none else array_data(ydot_)
        g_ = 0 if g_ == none else array_data(g_)
        xbar_ = 0 if xbar_ == none else array_data(xbar_)
        for out, n in ((ydot_, B), (g_, P), (xbar_, B * N)):
            if not (
                apart(out, n, w_, P, size)
                and apart(out, n, X_, B * N, size)
                and apart(out, n, p_, P, size)
                and apart(out, n, t_, B, size)
                and apart(out, n, c_, B, size)
                and apart(out, n, dX_, B * N, size)
            ):
                raise Refused
        total = weight_sum(plan, loss, t_, c_, B, least) if loss else 1.0
        if B:
            scale = 1.0 / total
            args = (plan, loss, w_, X_, B, p_, dX_, t_, c_, scale, what, ydot_, g_, xbar_)
            invoke(load(plan, TANGENT), args)
        return total

    signature = types.float64(*[types.int64] * 2, *[handle] * 9, types.int64)
    return Unit(tangent, signature, key=dtype.name, python=True)
