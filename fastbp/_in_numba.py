"""Network as an argument of compiled functions, and the library's calls inside them.

To Numba a network is the address of its plan, and the Python object that owns it, held by a
reference count: a jitclass, a typed list, a generator, whatever keeps the one keeps the other.
Activations and sizes are not part of its type, but whether it has several outputs is, since their
arrays have an axis more: a user's compiled function serves every network of one or of several, and
reaches every kernel through the plan it is given. It does hold the checks below, and the places in
the plan; so the type's name has the digest of fastbp's build, and a user's
``cache=True`` does not outlive it. The implementations below are inlined into the user's function,
so that what it stores on disk holds no helper whose name another process may give to another one.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import (
    NativeValue,
    box,
    intrinsic,
    lower_builtin,
    models,
    overload,
    register_jitable,
    register_model,
    unbox,
)

import fastbp.functions as functions

from .kernels.machine.address import INT64, load, load_float, load_published, stack_number
from .kernels.machine.callers import (
    call_batch,
    call_per_sample,
    call_resolve,
    call_tangent,
    call_targets,
)
from .kernels.machine.numba_api import TypingError, cgutils, lower_constant, refused_constant
from .kernels.machine.places import (
    BATCH,
    GAUSS_NEWTON,
    HESSIAN,
    LOSS_CHECK,
    LOSS_READY,
    N_INPUTS,
    N_OUTPUTS,
    N_PARAMS,
    NAMED_LOSSES,
    NOTHING,
    OUTPUT,
    PER_SAMPLE,
    READY,
    RESOLVE,
    REVERSE,
    REVERSE_FEW,
    TANGENT,
)
from .kernels.machine.records import DONE
from .kernels.machine.target import build_key
from .losses import NAMES as LOSSES
from .losses import get_loss

if TYPE_CHECKING:
    from .kernels.calls.prepared import Calls

_networks: WeakValueDictionary[int, Calls] = WeakValueDictionary()


class NetworkType(types.Type):
    """Numba's type of a network: number type, whether K > 1, and the build it belongs to."""

    def __init__(self, dtype: types.Float, several: bool) -> None:
        self.dtype, self.several = dtype, several
        outputs = "several outputs" if several else "one output"
        super().__init__(name=f"fastbp.Network({dtype}, {outputs}, build {build_key()[:16]})")


@register_model(NetworkType)
class _NetworkModel(models.StructModel):
    def __init__(self, manager: Any, kind: NetworkType) -> None:
        members = [
            ("plan", types.int64),
            ("meminfo", types.MemInfoPointer(types.voidptr)),  # counts the references to `owner`
            ("owner", types.pyobject),
        ]
        super().__init__(manager, kind, members)


@cache
def _type_of(dtype: np.dtype, several: bool) -> NetworkType:
    return NetworkType(types.float64 if dtype == np.float64 else types.float32, several)


def type_of(calls: Calls, dtype: np.dtype, n_outputs: int) -> NetworkType:
    """Numba's type of a network; also makes its plan known to compiled code."""
    _networks[calls.address] = calls
    calls.plan.serve(_RESOLVE_ADDRESS, len(LOSSES))
    return _type_of(dtype, n_outputs > 1)


@unbox(NetworkType)
def _unbox(typ: NetworkType, obj: Any, c: Any) -> NativeValue:
    # Numba has looked at what is an argument; at what object mode hands back nobody has.
    name = c.context.insert_const_string(c.builder.module, typ.name)
    expected = c.pyapi.string_from_string(name)
    address = c.pyapi.call_method(obj, "_address_as", [expected])
    c.pyapi.decref(expected)
    network = cgutils.create_struct_proxy(typ)(c.context, c.builder)
    refused = cgutils.is_null(c.builder, address)
    with c.builder.if_then(c.builder.not_(refused), likely=True):
        network.plan = c.pyapi.long_as_longlong(address)
        c.pyapi.decref(address)
        network.meminfo = c.pyapi.nrt_meminfo_new_from_pyobject(
            c.builder.inttoptr(network.plan, cgutils.voidptr_t), obj
        )
        network.owner = obj
    return NativeValue(network._getvalue(), is_error=refused)


@box(NetworkType)
def _box(typ: NetworkType, value: Any, c: Any) -> Any:
    network = cgutils.create_struct_proxy(typ)(c.context, c.builder, value=value)
    owner = network.owner
    c.pyapi.incref(owner)
    c.context.nrt.decref(c.builder, typ, value)
    return owner


@lower_builtin(operator.is_, NetworkType, NetworkType)
def _is(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    owners = [
        builder.ptrtoint(
            cgutils.create_struct_proxy(kind)(context, builder, value=value).owner, INT64
        )
        for kind, value in zip(signature.args, args, strict=True)
    ]
    return builder.icmp_signed("==", *owners)


def _compared(a: Any, b: Any) -> None:
    if isinstance(a, NetworkType) or isinstance(b, NetworkType):
        raise TypingError(
            "networks can't be compared by == in compiled code; `is` tells whether two are one"
        )


overload(operator.eq)(_compared)
overload(operator.ne)(_compared)


@lower_constant(NetworkType)
def _refuse_constant(context: Any, builder: Any, kind: Any, value: Any) -> None:
    raise refused_constant()


# What a call needs, as numbers that compiled code can hand to `_resolve`.
_VALUE, _GRADIENT, _ROWS, _TANGENT = range(4)  # _TANGENT + NOTHING, GAUSS_NEWTON or HESSIAN
_KINDS = 8
_SECOND_ORDER = {NOTHING: "jvp", GAUSS_NEWTON: "gauss_newton_product", HESSIAN: "input_hvp"}


def _resolve(address: int, request: int, result: int) -> None:
    """Fill in what a plan lacks; the request is kind + _KINDS · (place of the loss + 1).

    The float64 at `result` is 1 afterwards, and stays 0 where an exception ends the call: ctypes
    prints it and goes on.
    """
    done = ctypes.c_double.from_address(result)
    done.value = 0.0
    calls = _networks[address]
    place, kind = divmod(request, _KINDS)
    if kind == _ROWS:
        calls.prepare_per_sample()
    elif kind in (_VALUE, _GRADIENT):
        for n_samples in (1, 10**6):  # few and many: the number is known only to the caller
            calls.prepare(kind, n_samples)
    else:
        calls.prepare_tangent(_SECOND_ORDER[kind - _TANGENT])
    if place:
        order = kind if kind in (_VALUE, _GRADIENT) else 2
        table = calls.plan.loss_table(get_loss(LOSSES[place - 1]), order)
        calls.plan.named_losses[place - 1] = table.ctypes.data
    done.value = 1.0


_callback = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(_resolve)
_RESOLVE_ADDRESS = ctypes.cast(_callback, ctypes.c_void_p).value or 0


def _is_left_out(kind: Any) -> bool:
    """Whether an argument that may be left out is, from its type, or the default in its place."""
    return kind is None or isinstance(kind, types.NoneType | types.Omitted)


@intrinsic
def _data(typingctx, array):
    """Address of the first number of an array; 0 for None."""
    if _is_left_out(array):

        def nothing(context, builder, signature, args):
            return ir.Constant(INT64, 0)

        return types.int64(array), nothing

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, INT64)

    return types.int64(array), codegen


# Said here, or they would be those of whichever function of the user's compiles them first.
_INLINED = {"nogil": True, "forceinline": True, "fastmath": False, "error_model": "numpy"}
_helper = register_jitable(**_INLINED)  # what the implementations below share

_PLACES = {"N": N_INPUTS, "K": N_OUTPUTS, "P": N_PARAMS}


def _checked(net: NetworkType, name: str, **arrays: Any) -> Callable:
    """Refuse, at the user's compile time, what the kernels could not read.

    Each array comes with its axes, or with those of which it may have one: B, N, K and P, where K
    is there for several outputs alone. Returns ``plan_for(net, (w, X, …))``, the address of the
    plan, by which the arrays' sizes are checked when the function runs; B is that of the first that
    has it.
    """
    found, names = [], list(arrays)
    for label, (kind, *choice) in arrays.items():
        choice = [axes if net.several else axes.replace("K", "") for axes in choice]
        if not (
            isinstance(kind, types.Array)
            and kind.dtype == net.dtype
            and kind.layout == "C"
            and kind.ndim in map(len, choice)
        ):
            expected = " or ".join(f"{len(axes)}-D" for axes in choice)
            shape = f", ({', '.join(choice[0])})" if "K" in choice[0] else ""
            classes = "; classes are rows of probabilities here" if shape and label == "t" else ""
            raise TypingError(
                f"fastbp.{name} needs {label} as a {expected} array of {net.dtype} in C order"
                f"{shape}{classes}; got {kind}"
            )
        if label in ("out", "y") and not kind.mutable:
            raise TypingError(f"fastbp.{name} writes to {label}, which is read-only")
        found += [axes for axes in choice if len(axes) == kind.ndim]

    @intrinsic
    def fitting(typingctx, net, arrays):
        def codegen(context, builder, signature, args):
            network = cgutils.create_struct_proxy(signature.args[0])
            plan = network(context, builder, value=args[0]).plan
            table = builder.inttoptr(plan, INT64.as_pointer())
            sizes = {
                axis: builder.load(builder.gep(table, [ir.Constant(INT64, place)]))
                for axis, place in _PLACES.items()
                if axis in "".join(found)
            }
            right = ir.Constant(ir.IntType(1), True)
            given = cgutils.unpack_tuple(builder, args[1])
            for axes, kind, value in zip(found, arrays, given, strict=True):
                shape = context.make_array(kind)(context, builder, value).shape
                for axis, size in zip(axes, cgutils.unpack_tuple(builder, shape), strict=True):
                    same = builder.icmp_signed("==", size, sizes.setdefault(axis, size))
                    right = builder.and_(right, same)
            if "t" in names:  # a mean needs observations
                some = builder.icmp_signed("!=", sizes["B"], ir.Constant(INT64, 0))
                right = builder.and_(right, some)
            return builder.select(right, plan, ir.Constant(INT64, 0))

        return types.int64(net, arrays), codegen

    message = f"fastbp.{name}: {', '.join(names[:-1])} or {names[-1]} does not fit the network"

    @_helper
    def plan_for(net, arrays):
        plan = fitting(net, arrays)
        if plan == 0:
            raise ValueError(message)
        return plan

    return plan_for


def _loss_place(kind: Any, name: str) -> int:
    """Place of a loss among the named ones, from the type of the argument."""
    value = getattr(kind, "literal_value", getattr(kind, "value", kind))
    if value not in LOSSES:
        raise TypingError(
            f"fastbp.{name} in compiled code takes loss as a constant name, one of "
            f"{', '.join(LOSSES)}; got {value!r}"
        )
    return LOSSES.index(value)


def _overload(function: Callable) -> Callable:
    """Register an implementation for compiled code; constants arrive as literals."""

    def register(typed: Callable) -> Callable:
        @wraps(typed)
        def of_network(net, *given, **named):
            return typed(net, *given, **named) if isinstance(net, NetworkType) else None

        return overload(function, prefer_literal=True, jit_options=_INLINED)(of_network)

    return register


@_helper
def _done(status):
    """Raise MemoryError where a kernel had none; it has written nothing then."""
    if status != DONE:
        raise MemoryError("fastbp: no memory for the workspace of a call")


@_helper
def _fill(plan, request):
    """Have Python fill in what the plan lacks."""
    done = stack_number()
    call_resolve(load(plan, RESOLVE), plan, request, done)
    if load_float(done) == 0.0:
        raise RuntimeError("fastbp: a kernel could not be compiled; the cause is printed above")


@_helper
def _ready(plan, order):
    """Whether batches of every size can be driven at an order."""
    drivers = load(plan, REVERSE) != 0 and load(plan, REVERSE_FEW) != 0
    return drivers and load_published(plan, READY + order) != 0


@_helper
def _ready_tangent(plan, order):
    """Whether directional derivatives can be driven at an order."""
    return load(plan, TANGENT) != 0 and load_published(plan, READY + order) != 0


@_helper
def _drive(plan, order, w, X, B, y=0, ybar=0, g=0, xbar=0):
    """Write y, and Σ ȳ ∇_w f and the rows ȳ ∇_x f at order 1, each where it is wanted."""
    if not _ready(plan, order):
        _fill(plan, _GRADIENT if order else _VALUE)
    if B:
        status = call_batch(
            load(plan, BATCH), plan=plan, w=w, X=X, B=B, ybar=ybar, y=y, g=g, xbar=xbar,
            result=stack_number(),
        )  # fmt: skip
        _done(status)


@_helper
def _drive_per_sample(plan, w, X, B, y=0, J=0, xbar=0):
    """Write y, and the rows of the Jacobians by w and by x, each where it is wanted."""
    if not (load(plan, PER_SAMPLE) and load_published(plan, READY + 1)):
        _fill(plan, _ROWS)
    if B:
        _done(
            call_per_sample(load(plan, PER_SAMPLE), plan=plan, w=w, X=X, B=B, y=y, J=J, xbar=xbar)
        )


@_helper
def _loss_table(plan, place, order, ready, request, t):
    """Table of a named loss, filled in at an order, with what else is not `ready`; t is checked."""
    named = load(plan, NAMED_LOSSES)
    table = load(named, place)
    if not ready or table == 0 or load_published(table, LOSS_READY + order) == 0:
        _fill(plan, request)
        table = load(named, place)
    if load(table, LOSS_CHECK):
        outside = stack_number()
        call_targets(load(table, LOSS_CHECK), table, _data(t), t.shape[0], outside)
        if load_float(outside) > 0.0:
            if t.ndim == 2:
                raise ValueError(
                    "fastbp: targets outside the range of the loss; for cross entropy on a "
                    "softmax, rows are probabilities, none negative, and sum to 1"
                )
            raise ValueError("fastbp: targets outside the range of the loss")
    return table


@_overload(functions.value)
def _value(net, w, X, out=None):
    one = isinstance(X, types.Array) and X.ndim == 1
    if one and not net.several:
        plan_for = _checked(net, "value", w=(w, "P"), X=(X, "N"))
        if not _is_left_out(out):
            raise TypingError("fastbp.value returns the value of one observation; leave out away")

        def number(net, w, X, out=None):
            y = stack_number()  # large enough for one number of either type
            _drive(plan_for(net, (w, X)), 0, _data(w), _data(X), 1, y=y)
            return _number(y, w)

        return number
    axes = "K" if one else "BK"
    plan_for = _checked(net, "value", w=(w, "P"), X=(X, "N", "BN"), out=(out, axes))

    def rows(net, w, X, out=None):
        B = 1 if one else X.shape[0]
        _drive(plan_for(net, (w, X, out)), 0, _data(w), _data(X), B, y=_data(out))

    return rows


@_overload(functions.value_and_grad)
def _value_and_grad(net, w, x, out, y=None):
    name, arrays = "value_and_grad", {"w": (w, "P"), "x": (x, "N"), "out": (out, "KP")}
    if net.several:
        plan_for = _checked(net, name, **arrays, y=(y, "K"))

        def rows(net, w, x, out, y=None):
            plan = plan_for(net, (w, x, out, y))
            _drive_per_sample(plan, _data(w), _data(x), 1, y=_data(y), J=_data(out))

        return rows
    plan_for = _checked(net, name, **arrays)
    if not _is_left_out(y):
        raise TypingError("fastbp.value_and_grad returns the value of one output; leave y away")

    def number(net, w, x, out, y=None):
        value = stack_number()
        _drive(plan_for(net, (w, x, out)), 1, _data(w), _data(x), 1, y=value, g=_data(out))
        return _number(value, w)

    return number


@intrinsic
def _number(typingctx, address, like):
    """The number at an address, of an array's number type."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(like.dtype)
        return builder.load(builder.inttoptr(args[0], kind.as_pointer()))

    return like.dtype(types.int64, like), codegen


@_overload(functions.vjp)
def _vjp(net, w, X, ybar, out):
    plan_for = _checked(net, "vjp", w=(w, "P"), X=(X, "BN"), ybar=(ybar, "BK"), out=(out, "P"))

    def implementation(net, w, X, ybar, out):
        plan, B = plan_for(net, (w, X, ybar, out)), X.shape[0]
        _drive(plan, 1, _data(w), _data(X), B, ybar=_data(ybar), g=_data(out))
        if B == 0:
            out[:] = 0.0

    return implementation


@_overload(functions.input_grad)
def _input_grad(net, w, X, out):
    one = isinstance(X, types.Array) and X.ndim == 1
    axes = "KN" if one else "BKN"
    plan_for = _checked(net, "input_grad", w=(w, "P"), X=(X, "N", "BN"), out=(out, axes))
    several = net.several

    def implementation(net, w, X, out):
        plan, B = plan_for(net, (w, X, out)), (1 if one else X.shape[0])
        if several:
            _drive_per_sample(plan, _data(w), _data(X), B, xbar=_data(out))
        else:
            _drive(plan, 1, _data(w), _data(X), B, xbar=_data(out))

    return implementation


@_overload(functions.per_sample_grad)
def _per_sample_grad(net, w, X, out):
    plan_for = _checked(net, "per_sample_grad", w=(w, "P"), X=(X, "BN"), out=(out, "BKP"))

    def implementation(net, w, X, out):
        plan = plan_for(net, (w, X, out))
        _drive_per_sample(plan, _data(w), _data(X), X.shape[0], J=_data(out))

    return implementation


@_overload(functions.loss_and_grad)
def _loss_and_grad(net, w, X, t, out, loss="squared"):
    name = "loss_and_grad"
    plan_for = _checked(net, name, w=(w, "P"), X=(X, "BN"), t=(t, "BK"), out=(out, "P"))
    place = _loss_place(loss, name)
    request = _GRADIENT + _KINDS * (place + 1)

    def implementation(net, w, X, t, out, loss="squared"):
        plan, B = plan_for(net, (w, X, t, out)), X.shape[0]
        table = _loss_table(plan, place, 1, _ready(plan, 1), request, t)
        result = stack_number()
        status = call_batch(
            load(plan, BATCH), plan=plan, loss=table, w=_data(w), X=_data(X), B=B, t=_data(t),
            scale=1.0 / B, g=_data(out), result=result,
        )  # fmt: skip
        _done(status)
        return load_float(result) / B

    return implementation


@_overload(functions.jvp)
def _jvp(net, w, X, p, out):
    plan_for = _checked(net, "jvp", w=(w, "P"), X=(X, "BN"), p=(p, "P"), out=(out, "BK"))

    def implementation(net, w, X, p, out):
        plan, B = plan_for(net, (w, X, p, out)), X.shape[0]
        if not _ready_tangent(plan, 1):
            _fill(plan, _TANGENT + NOTHING)
        if B:
            status = call_tangent(
                load(plan, TANGENT), plan=plan, w=_data(w), X=_data(X), B=B, p=_data(p),
                ydot=_data(out),
            )  # fmt: skip
            _done(status)

    return implementation


@_overload(functions.input_hvp)
def _input_hvp(net, w, X, v, out):
    plan_for = _checked(net, "input_hvp", w=(w, "P"), X=(X, "BN"), v=(v, "BN"), out=(out, "BKN"))

    def implementation(net, w, X, v, out):
        plan, B = plan_for(net, (w, X, v, out)), X.shape[0]
        if not (_ready_tangent(plan, 2) and load(plan, OUTPUT + 2)):
            _fill(plan, _TANGENT + HESSIAN)
        if B:
            status = call_tangent(
                load(plan, TANGENT), plan=plan, w=_data(w), X=_data(X), B=B, dX=_data(v),
                what=HESSIAN, xbar=_data(out),
            )  # fmt: skip
            _done(status)

    return implementation


def _overload_product(function: Callable, what: int) -> None:
    """Register one of the two products with a matrix of second derivatives."""
    name = function.__name__
    order = 2 if what == HESSIAN else 1

    @_overload(function)
    def _product(net, w, X, t, p, out, loss="squared"):
        arrays = {"w": (w, "P"), "X": (X, "BN"), "t": (t, "BK"), "p": (p, "P"), "out": (out, "P")}
        plan_for = _checked(net, name, **arrays)
        place = _loss_place(loss, name)
        request = _TANGENT + what + _KINDS * (place + 1)

        def implementation(net, w, X, t, p, out, loss="squared"):
            plan, B = plan_for(net, (w, X, t, p, out)), X.shape[0]
            table = _loss_table(plan, place, 2, _ready_tangent(plan, order), request, t)
            status = call_tangent(
                load(plan, TANGENT), plan=plan, loss=table, w=_data(w), X=_data(X), B=B, p=_data(p),
                t=_data(t), scale=1.0 / B, what=what, g=_data(out),
            )  # fmt: skip
            _done(status)

        return implementation


_overload_product(functions.hvp, HESSIAN)
_overload_product(functions.gauss_newton_product, GAUSS_NEWTON)
