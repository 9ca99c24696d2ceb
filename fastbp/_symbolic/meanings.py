"""What the functions of ``math``, ``numpy`` and ``scipy.special`` mean on a graph, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastbp._symbolic import special
from fastbp._symbolic.graph import (
    COMPARISONS,
    Condition,
    Expr,
    Graph,
    add,
    both,
    compare,
    div,
    either,
    mul,
    neg,
    negate,
    power,
    select,
    sub,
    truth,
    unary,
)
from fastbp._symbolic.special import negative

Call = Callable[..., Any]


def _lifted(function: Callable[..., Any]) -> Call:
    return lambda g, *args: function(*map(g.lift, args))


def _logical(function: Callable[..., Condition]) -> Call:
    return lambda g, *args: function(*map(truth, args))


def _unary(op: str) -> Call:
    return lambda g, x: unary(op, g.lift(x))


def _comparison(op: str) -> Call:
    return lambda g, a, b: compare(op, g.lift(a), g.lift(b))


def _log(g: Graph, x: Any, base: Any = None) -> Expr:
    log = unary("log", g.lift(x))
    return log if base is None else div(log, unary("log", g.lift(base)))


def _where(g: Graph, condition: Any, a: Any, b: Any) -> Expr:
    return select(truth(condition), g.lift(a), g.lift(b))


def _extreme(op: str, keeps_nan: bool) -> Call:
    """Return max (">=") or min ("<="): a where a `op` b, else b; NaN as NumPy has it."""

    def call(g: Graph, a: Any, b: Any) -> Expr:
        a, b = g.lift(a), g.lift(b)
        if a.op == "const":
            a, b = b, a
        if keeps_nan and b.op == "const" and b.value != b.value:
            return b
        if keeps_nan:  # not (a < b) is also true where a is NaN
            settled = compare({">=": "<", "<=": ">"}[op], a, b)
            if b.op == "const":
                return select(settled, b, a)
            return select(either(compare(op, a, b), compare("!=", a, a)), a, b)
        return select(either(compare(op, a, b), compare("!=", b, b)), a, b)

    return call


def _clip(g: Graph, x: Any, low: Any = None, high: Any = None) -> Expr:
    x = g.lift(x)
    x = x if low is None else CALLS["maximum"](g, x, low)
    return x if high is None else CALLS["minimum"](g, x, high)


def _copysign(x: Expr, y: Expr) -> Expr:
    size = unary("abs", x)
    return select(negative(y), neg(size), size)


def _cbrt(x: Expr) -> Expr:
    size = power(unary("abs", x), x.graph.const(1.0 / 3.0))
    return select(compare("<", x, x.graph.const(0.0)), neg(size), size)


def _heaviside(x: Expr, middle: Expr) -> Expr:
    step = 0.5 + 0.5 * unary("sign", x)  # NaN where x is
    return select(compare("==", x, x.graph.const(0.0)), middle, step)


def _select(g: Graph, conditions: Any, choices: Any, default: Any = 0.0) -> Expr:
    result = g.lift(default)
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        result = select(truth(condition), g.lift(choice), result)
    return result


_inf = math.inf

CALLS: dict[str, Call] = {
    **{
        name: _unary(name)
        for name in (
            "exp expm1 log1p log2 log10 sqrt sin cos tan asin acos atan sinh cosh tanh asinh "
            "acosh atanh erf erfc floor ceil trunc sign logistic sech2"
        ).split()
    },
    **{f"arc{name[1:]}": _unary(name) for name in "asin acos atan asinh acosh atanh".split()},
    **dict.fromkeys(("fabs", "absolute"), _unary("abs")),
    **{
        name: _comparison(op)
        for name, op in zip(
            "less less_equal greater greater_equal equal not_equal".split(),
            COMPARISONS,
            strict=True,
        )
    },
    "log": _log,
    "add": _lifted(add),
    "subtract": _lifted(sub),
    "multiply": _lifted(mul),
    "divide": _lifted(div),
    "true_divide": _lifted(div),
    "negative": _lifted(neg),
    "positive": _lifted(lambda x: x),
    "power": _lifted(power),
    "float_power": _lifted(power),
    "pow": _lifted(power),
    "exp2": lambda g, x: power(g.const(2.0), g.lift(x)),
    "square": _lifted(lambda x: mul(x, x)),
    "reciprocal": _lifted(lambda x: 1.0 / x),
    "cbrt": _lifted(_cbrt),
    **{name: _lifted(getattr(special, name)) for name in special.__all__},
    "gammaln": _lifted(special.lgamma),
    "psi": _lifted(special.digamma),
    "atan2": _lifted(special.arctan2),
    "expit": _unary("logistic"),
    "copysign": _lifted(_copysign),
    "heaviside": _lifted(_heaviside),
    "radians": _lifted(lambda x: x * (math.pi / 180.0)),
    "deg2rad": _lifted(lambda x: x * (math.pi / 180.0)),
    "degrees": _lifted(lambda x: x * (180.0 / math.pi)),
    "rad2deg": _lifted(lambda x: x * (180.0 / math.pi)),
    "maximum": _extreme(">=", keeps_nan=True),
    "minimum": _extreme("<=", keeps_nan=True),
    "fmax": _extreme(">=", keeps_nan=False),
    "fmin": _extreme("<=", keeps_nan=False),
    "where": _where,
    "select": _select,
    "clip": _clip,
    "logical_and": _logical(both),
    "logical_or": _logical(either),
    "logical_not": _logical(negate),
    "bitwise_and": _logical(both),
    "bitwise_or": _logical(either),
    "invert": _logical(negate),
    "isnan": _lifted(lambda x: compare("!=", x, x)),
    "isinf": _lifted(lambda x: compare("==", unary("abs", x), x.graph.const(_inf))),
    "isfinite": _lifted(lambda x: compare("<", unary("abs", x), x.graph.const(_inf))),
}
