"""Expression graphs of scalar functions: nodes, simplification, differentiation, text.

A node is an :class:`Expr`; equal expressions are the same node (hash-consing), so whatever
v, v' and v'' have in common is computed once in the text that :func:`emit` writes.

The language of the text (what the kernels and the NumPy backend bind):

- every constant is ``const(<repr>)``, with the names ``inf`` and ``nan``;
- operators ``+ - * /``, unary ``-``, comparisons, ``&``, ``|``;
- the functions in :data:`FUNCTIONS`, ``pow(a, b)``, ``fmod(a, b)``, ``select(c, a, b)``,
  ``logical_not(c)``.

Rules of derivatives are the tables :data:`FACTOR` and :data:`DIVISOR`.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, Union

import numpy as np

from fastbp._symbolic.texts import ActivationError

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
CONDITIONS = frozenset((*COMPARISONS, "&", "|", "logical_not"))
MAX_BRANCHES = 32  # decisions on one path: beyond it, a loop that depends on the input


def logistic(x: float) -> float:
    """Return 1 / (1 + exp(-x)) without overflow."""
    e = math.exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


def sech2(x: float) -> float:
    """Return 1 / cosh(x)², the derivative of tanh, without cancellation or overflow."""
    e = math.exp(-2.0 * abs(x))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


# One-argument functions of the language, and how to fold them where the argument is constant.
FUNCTIONS: dict[str, Callable[[float], float]] = {
    **{
        name: getattr(math, name)
        for name in (
            "exp expm1 log log1p log2 log10 sqrt sin cos tan asin acos atan sinh cosh tanh "
            "asinh acosh atanh erf erfc floor ceil trunc"
        ).split()
    },
    "abs": abs,
    "sign": lambda x: math.nan if x != x else float((x > 0) - (x < 0)),
    "logistic": logistic,
    "sech2": sech2,
}


class Path:
    """The decisions of one run of the function: what each ``if`` on the input answered."""

    def __init__(self, prefix: Sequence[bool] = ()) -> None:
        self.decisions = list(prefix)
        self.conditions: list[Expr] = []
        self._known: dict[int, bool] = {}

    def decide(self, condition: Expr) -> bool:
        """Answer as the prefix says, then True; the same condition has the same answer."""
        if condition.id not in self._known:
            n = len(self.conditions)
            if n == MAX_BRANCHES:
                raise ActivationError(
                    f"it decides more than {MAX_BRANCHES} times on its input "
                    "(a loop whose length depends on it?)"
                )
            if n == len(self.decisions):
                self.decisions.append(True)
            self.conditions.append(condition)
            self._known[condition.id] = self.decisions[n]
        return self._known[condition.id]


class Graph:
    """The nodes of one trace. Arguments are made before their node, so ids are in order."""

    def __init__(self, calls: Mapping[str, Callable[..., Any]]) -> None:
        self._nodes: dict[tuple[Any, ...], Expr] = {}
        self._calls = calls
        self.path = Path()

    def make(self, op: str, *args: Any) -> Expr:
        """Return the node ``op(*args)``, the existing one if there is one."""
        key = (op, *(a.id if isinstance(a, Expr) else repr(a) for a in args))
        if key not in self._nodes:
            self._nodes[key] = Expr(self, len(self._nodes), op, args)
        return self._nodes[key]

    def const(self, value: float) -> Expr:
        """Return the node of a constant."""
        return self.make("const", float(value))

    def call(self, module: str, name: str, args: Sequence[Any]) -> Any:
        """Apply the function that `module` calls `name`."""
        if name not in self._calls or (module, name) == ("math", "remainder"):  # that is not %
            raise ActivationError(f"{module}.{name} is not supported")
        return self._calls[name](self, *args)

    def lift(self, value: Any) -> Expr:
        """Return `value` (node, condition or real number) as a node that is a number."""
        if isinstance(value, Expr):
            if value.graph is not self:
                raise ActivationError("it uses a value kept from an earlier call")
            if value.op in CONDITIONS:
                return select(value, self.const(1.0), self.const(0.0))
            return value
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, (numbers.Real, np.bool_)):
            return self.const(float(value))
        raise ActivationError(
            f"a value of type {type(value).__name__} meets the input, which is one real number"
        )


Condition = Union["Expr", bool]


def _refuse(what: str) -> Callable[..., NoReturn]:
    def method(self: Expr, *args: Any, **kwargs: Any) -> NoReturn:
        raise ActivationError(what)

    return method


Operator = Callable[["Expr", Any], "Expr"]


def _sides(rule: Callable[[Expr, Expr], Expr]) -> tuple[Operator, Operator]:
    """Return what an operator does of what is to the right of it, and to the left."""
    return (
        lambda self, other: rule(self.graph.lift(self), self.graph.lift(other)),
        lambda self, other: rule(self.graph.lift(other), self.graph.lift(self)),
    )


def _compared(op: str) -> Callable[[Expr, Any], Condition]:
    return lambda self, other: compare(op, self.graph.lift(self), self.graph.lift(other))


class Expr:
    """A node of the graph; it behaves like the float that the function would be given."""

    __slots__ = ("args", "graph", "id", "op")
    __hash__ = object.__hash__

    def __init__(self, graph: Graph, id: int, op: str, args: tuple[Any, ...]) -> None:
        self.graph, self.id, self.op, self.args = graph, id, op, args

    @property
    def value(self) -> float | None:
        """The number this node stands for if it is a constant."""
        return self.args[0] if self.op == "const" else None

    __add__, __radd__ = _sides(lambda a, b: add(a, b))
    __sub__, __rsub__ = _sides(lambda a, b: sub(a, b))
    __mul__, __rmul__ = _sides(lambda a, b: mul(a, b))
    __truediv__, __rtruediv__ = _sides(lambda a, b: div(a, b))
    __mod__, __rmod__ = _sides(lambda a, b: a.graph.call("np", "remainder", (a, b)))
    __floordiv__, __rfloordiv__ = _sides(lambda a, b: a.graph.call("np", "floor_divide", (a, b)))
    __pow__, __rpow__ = _sides(lambda a, b: power(a, b))
    __lt__, __le__, __gt__, __ge__ = map(_compared, COMPARISONS[:4])
    __eq__, __ne__ = map(_compared, COMPARISONS[4:])  # type: ignore[assignment]

    def __neg__(self) -> Expr:
        return neg(self.graph.lift(self))

    def __pos__(self) -> Expr:
        return self.graph.lift(self)

    def __abs__(self) -> Expr:
        return unary("abs", self.graph.lift(self))

    def __and__(self, other: Any) -> Condition:
        return both(truth(self), truth(other))

    __rand__ = __and__

    def __or__(self, other: Any) -> Condition:
        return either(truth(self), truth(other))

    __ror__ = __or__

    def __invert__(self) -> Condition:
        return negate(truth(self))

    def __bool__(self) -> bool:
        condition = truth(self)
        return condition if isinstance(condition, bool) else self.graph.path.decide(condition)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if kwargs:
            raise ActivationError(f"np.{name} with {', '.join(kwargs)} is not supported")
        known = {"np": np, "scipy.special": sys.modules.get("scipy.special")}
        for module, of in known.items():
            if getattr(of, ufunc.__name__, None) is ufunc:
                return self.graph.call(module, name, inputs)
        raise ActivationError(f"{ufunc!r} is not supported")  # whatever it is called

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.select and set(kwargs) <= {"default"}:
            args = (*args, *kwargs.values())
        elif kwargs:
            raise ActivationError(f"np.{function.__name__} with keywords is not supported")
        return self.graph.call("np", function.__name__, args)

    __float__ = _refuse(
        "its input is converted to a plain number (float(), or a function that cannot be traced)"
    )
    __int__ = __index__ = __round__ = __trunc__ = _refuse(
        "its input is converted to a whole number, which has no derivative"
    )
    __floor__ = __ceil__ = __complex__ = __array__ = __float__
    __iter__ = __len__ = __getitem__ = _refuse("its input is one number, not a sequence")
    __divmod__ = __rdivmod__ = _refuse("it gives one number, not the two of divmod")

    def __getattr__(self, name: str) -> NoReturn:
        raise ActivationError(f"its input is one number and has no attribute {name!r}")


# Building, with the simplifications that keep the value: 0 · x stays, as it is NaN where x is. That
# a derivative which vanishes does not become NaN where a factor overflows, `_chain` sees to.


def _split(a: Expr) -> tuple[float, Expr | None]:
    """Return c, x where `a` is c · x with a constant c; x is None where `a` is c itself."""
    if a.op == "const":
        return a.args[0], None
    if a.op == "*" and a.args[0].op == "const":
        return a.args[0].args[0], a.args[1]
    return 1.0, a


def neg(a: Expr) -> Expr:
    """Return -a."""
    c, x = _split(a)
    if x is None:
        return a.graph.const(-c)
    if c != 1.0:
        return mul(a.graph.const(-c), x)
    return a.args[0] if a.op == "neg" else a.graph.make("neg", a)


def add(a: Expr, b: Expr) -> Expr:
    """Return a + b."""
    if a.value is not None and b.value is not None:
        return a.graph.const(a.value + b.value)
    if a.value == 0.0:
        return b
    if b.value == 0.0:
        return a
    if b.op == "neg":
        return sub(a, b.args[0])
    if a.op == "neg":
        return sub(b, a.args[0])
    return a.graph.make("+", *sorted((a, b), key=lambda e: e.id))


def sub(a: Expr, b: Expr) -> Expr:
    """Return a - b."""
    if a.value is not None and b.value is not None:
        return a.graph.const(a.value - b.value)
    if a.value == 0.0:
        return neg(b)
    if b.value == 0.0:
        return a
    return add(a, b.args[0]) if b.op == "neg" else a.graph.make("-", a, b)


def mul(a: Expr, b: Expr) -> Expr:
    """Return a · b, a constant factor first and the sign outside."""
    (c, x), (d, y) = _split(a), _split(b)
    if x is None and y is None:
        return a.graph.const(c * d)
    if x is not None and y is not None:  # (c x)(d y) is not regrouped: x y could overflow
        if a.op == "neg":
            return neg(mul(a.args[0], b))
        if b.op == "neg":
            return neg(mul(a, b.args[0]))
        return a.graph.make("*", *sorted((a, b), key=lambda e: e.id))
    rest = x if y is None else y
    assert rest is not None
    if rest.op == "neg":
        return mul(a.graph.const(-c * d), rest.args[0])
    if c * d == 1.0:
        return rest
    if c * d == -1.0:
        return neg(rest)
    if 1e-300 < abs(c * d) < 1e300:
        return a.graph.make("*", a.graph.const(c * d), rest)
    return a.graph.make("*", *((a, b) if a.op == "const" else (b, a)))


def div(a: Expr, b: Expr) -> Expr:
    """Return a / b; 1 or exp(x) by 1 + exp(x) become logistic, which cannot overflow."""
    g = a.graph
    if a.value is not None and b.value:
        return g.const(a.value / b.value)
    if b.value == 1.0:
        return a
    if b.op == "neg":
        return neg(div(a, b.args[0]))
    if a.op == "neg":
        return neg(div(a.args[0], b))
    if (x := _one_more_than_exp(b)) is not None:
        if a.value == 1.0:
            return unary("logistic", neg(x))
        if a.op == "exp" and a.args[0] is x:
            return unary("logistic", x)
    (c, u), (d, y) = _split(a), _split(b)
    if c == d != 1.0 and 0.0 < abs(c) < math.inf and u is not None and y is not None:
        return div(u, y)
    return g.make("/", a, b)


def _one_more_than_exp(a: Expr) -> Expr | None:
    """Return x where `a` is 1 + exp(x), which can overflow."""
    if a.op != "+":
        return None
    one, e = a.args if a.args[0].op == "const" else a.args[::-1]
    found = one.value == 1.0 and e.op == "exp" and not _never_positive(e.args[0])
    return e.args[0] if found else None


def _softplus(x: Expr) -> Expr:
    """Return log(1 + exp(x)) without overflow."""
    near = unary("log1p", unary("exp", neg(unary("abs", x))))
    value = select(compare(">", x, x.graph.const(0.0)), x, x.graph.const(0.0)) + near
    return ruled(value, (unary("logistic", x), x))


def _never_positive(a: Expr) -> bool:
    """Tell whether `a` is -|x| or -c |x| with c > 0: its exponential cannot overflow."""
    if a.op == "*" and a.args[0].op == "const":
        return a.args[0].args[0] < 0.0 and a.args[1].op == "abs"
    return a.op == "neg" and a.args[0].op == "abs"


def power(a: Expr, b: Expr) -> Expr:
    """Return a ** b; small whole exponents become products, 0.5 a square root."""
    n = b.value
    if a.value is not None and n is not None:
        return a.graph.const(_fold(math.pow, a.value, n))
    if n == 0.0:
        return a.graph.const(1.0)
    if n == 0.5:
        return unary("sqrt", a)
    if n is None or n != int(n if math.isfinite(n) else 0.5) or abs(n) > 16:
        return a.graph.make("pow", a, b)
    if n < 0.0:  # not 1 / a^-n, whose derivative is 0 · ∞ where a^-n overflows
        return power(div(a.graph.const(1.0), a), neg(b))
    result, square = None, a
    for bit in reversed(f"{int(n):b}"):
        if bit == "1":
            result = square if result is None else mul(result, square)
        square = mul(square, square)
    assert result is not None
    return result


def _fold(function: Callable[..., float], *values: float) -> float:
    """Return the constant with IEEE's answer where Python would raise."""
    try:
        return float(function(*values))
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        with np.errstate(all="ignore"):
            if function is math.log or function is math.log2 or function is math.log10:
                return float(np.log(values[0]))
        return math.nan


def unary(op: str, a: Expr) -> Expr:
    """Return the function `op` of the language at `a`; log(1 + exp(x)) does not overflow."""
    if a.value is not None:
        return a.graph.const(_fold(FUNCTIONS[op], a.value))
    if op == "log" and (x := _one_more_than_exp(a)) is not None:
        return _softplus(x)
    if op == "log1p" and a.op == "exp" and not _never_positive(a.args[0]):
        return _softplus(a.args[0])
    return a.graph.make(op, a.args[0] if op == "abs" and a.op == "neg" else a)


def compare(op: str, a: Expr, b: Expr) -> Condition:
    """Return the condition a `op` b, or its answer where both are constant."""
    x, y = a.value, b.value
    if x is not None and y is not None:
        answers = (x < y, x <= y, x > y, x >= y, x == y, x != y)
        return answers[COMPARISONS.index(op)]
    return a.graph.make(op, a, b)


def truth(value: Any) -> Condition:
    """Return the condition that `value` is true."""
    if isinstance(value, (numbers.Real, np.bool_)):
        return bool(value)
    if not isinstance(value, Expr):
        raise ActivationError(f"a value of type {type(value).__name__} is used as a condition")
    if value.op in CONDITIONS:
        return value
    return compare("!=", value, value.graph.const(0.0))


def both(a: Condition, b: Condition) -> Condition:
    """Return a and b."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return a.graph.make("&", a, b)


def either(a: Condition, b: Condition) -> Condition:
    """Return a or b."""
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return a.graph.make("|", a, b)


def negate(a: Condition) -> Condition:
    """Return not a."""
    if isinstance(a, bool):
        return not a
    return a.args[0] if a.op == "logical_not" else a.graph.make("logical_not", a)


def select(c: Condition, a: Expr, b: Expr) -> Expr:
    """Return a where the condition c holds, else b."""
    if isinstance(c, bool):
        return a if c else b
    if a.op == "select" and a.args[0] is c:
        a = a.args[1]
    if b.op == "select" and b.args[0] is c:
        b = b.args[2]
    return a if a is b else a.graph.make("select", c, a, b)


def ruled(value: Expr, *parts: tuple[Expr, Expr]) -> Expr:
    """Return `value`, the derivative of which is given: a factor for each argument."""
    if value.op == "const":
        return value
    return value.graph.make("ruled", value, *(e for part in parts for e in part))


def reachable(roots: Iterable[Expr], values: bool = True) -> list[Expr]:
    """Return all nodes that the values of the roots rest on, or their derivatives by the rules.

    Arguments come first.
    """
    seen: dict[int, Expr] = {}
    todo = list(roots)
    while todo:
        e = todo.pop()
        if e.id in seen or (e.op in CONDITIONS and not values):
            continue
        seen[e.id] = e
        args = e.args
        if e.op == "ruled":
            args = args[:1] if values else args[2::2]
        todo.extend(a for a in args if isinstance(a, Expr))
    return [seen[k] for k in sorted(seen)]


# Differentiation: d op(x) = FACTOR · dx, or dx / DIVISOR. Each rule gets x and e = op(x).

Rule = Callable[[Expr, Expr], Expr]


def _bell(c: float) -> Rule:
    return lambda x, e: c * unary("exp", neg(mul(x, x)))


def _logistic_slope(x: Expr, slope: Expr) -> Expr:
    return ruled(slope, (-(slope * unary("tanh", 0.5 * x)), x))


def _far_out(x: Expr, far: Expr, near: Expr) -> Expr:
    """Return `far` for x beyond 1e8, where it is `near` to the last digit and does not overflow."""
    return select(compare(">", x, x.graph.const(1e8)), far, near)


FACTOR: dict[str, Rule] = {
    "exp": lambda x, e: e,
    "expm1": lambda x, e: unary("exp", x),
    "sin": lambda x, e: unary("cos", x),
    "cos": lambda x, e: -unary("sin", x),
    "tan": lambda x, e: 1.0 + e * e,
    "sinh": lambda x, e: unary("cosh", x),
    "cosh": lambda x, e: unary("sinh", x),
    "tanh": lambda x, e: unary("sech2", x),
    "sech2": lambda x, e: -2.0 * (unary("tanh", x) * e),
    "logistic": lambda x, e: _logistic_slope(x, e * unary("logistic", -x)),
    "erf": _bell(2.0 / math.sqrt(math.pi)),
    "erfc": _bell(-2.0 / math.sqrt(math.pi)),
    "abs": lambda x, e: unary("sign", x),
}
DIVISOR: dict[str, Rule] = {
    "log": lambda x, e: x,
    "log1p": lambda x, e: 1.0 + x,
    "log2": lambda x, e: math.log(2.0) * x,
    "log10": lambda x, e: math.log(10.0) * x,
    "sqrt": lambda x, e: 2.0 * e,
    "asin": lambda x, e: unary("sqrt", (1.0 - x) * (1.0 + x)),
    "acos": lambda x, e: -unary("sqrt", (1.0 - x) * (1.0 + x)),
    "atan": lambda x, e: 1.0 + x * x,
    "asinh": lambda x, e: _far_out(a := unary("abs", x), a, unary("sqrt", 1.0 + x * x)),
    "acosh": lambda x, e: _far_out(x, x, unary("sqrt", (x - 1.0) * (x + 1.0))),
    "atanh": lambda x, e: (1.0 - x) * (1.0 + x),
}
FLAT = frozenset(("const", "var", "sign", "floor", "ceil", "trunc"))


def _chain(rule: Callable[[Expr], Expr], d: Expr) -> Expr:
    """Apply the linear `rule` to d, inside a select that has a constant (often zero) side.

    So sqrt(max(z, 0)) has the slope 0 for z < 0, not 0 · ∞.
    """
    if d.op == "select" and (d.args[1].op == "const" or d.args[2].op == "const"):
        return select(d.args[0], _chain(rule, d.args[1]), _chain(rule, d.args[2]))
    return d if d.value == 0.0 else rule(d)


def _relative_slope(y: Expr) -> tuple[Expr, Expr] | None:
    """Return f and x where dy / y is f dx, for y that overflow: then dy / y itself is ∞ / ∞."""
    x = _one_more_than_exp(y)
    if x is not None:
        return unary("logistic", x), x
    rules: dict[str, Callable[[Expr], Expr]] = {
        "exp": lambda x: x.graph.const(1.0),
        "cosh": lambda x: unary("tanh", x),
    }
    return (rules[y.op](y.args[0]), y.args[0]) if y.op in rules else None


def _slope(e: Expr, slopes: dict[int, Expr]) -> Expr:
    """Return the derivative of e, given those of its arguments."""
    op, args = e.op, e.args
    if op == "opaque":
        raise ActivationError("the derivative of what cannot be traced has to be given")
    if op in FLAT:
        return e.graph.const(0.0)
    if op == "ruled":
        total = e.graph.const(0.0)
        for factor, x in zip(args[1::2], args[2::2], strict=True):
            total = add(total, _chain(partial(mul, factor), slopes[x.id]))
        return total
    if op == "select":
        return select(args[0], slopes[args[1].id], slopes[args[2].id])
    x, dx = args[0], slopes[args[0].id]
    if op == "neg":
        return neg(dx)
    if op in FACTOR:
        return _chain(lambda d: mul(FACTOR[op](x, e), d), dx)
    if op in DIVISOR:
        return _chain(lambda d: div(d, DIVISOR[op](x, e)), dx)
    y, dy = args[1], slopes[args[1].id]
    if op == "+":
        return add(dx, dy)
    if op == "-":
        return sub(dx, dy)
    if op == "*":
        if x is y:
            return _chain(lambda d: mul(2.0 * x, d), dx)
        if {x.op, y.op} == {"+", "-"} and set(x.args) == set(y.args):  # (a - b)(a + b)
            a, b = x.args if x.op == "-" else y.args
            by_a = _chain(lambda d: mul(2.0 * a, d), slopes[a.id])
            return sub(by_a, _chain(lambda d: mul(2.0 * b, d), slopes[b.id]))
        return add(_chain(lambda d: mul(y, d), dx), _chain(lambda d: mul(x, d), dy))
    if op == "/":
        by_x = _chain(lambda d: div(d, y), dx)
        if (relative := _relative_slope(y)) is not None:
            factor, of = relative
            return sub(by_x, _chain(lambda d: mul(mul(e, factor), d), slopes[of.id]))
        return sub(by_x, _chain(lambda d: div(mul(e, d), y), dy))
    # pow
    by_x = _chain(lambda d: mul(mul(y, power(x, y - 1.0)), d), dx)
    return add(by_x, _chain(lambda d: mul(mul(e, unary("log", x)), d), dy))


def differentiate(root: Expr, variable: Expr) -> Expr:
    """Return the derivative of `root` with respect to `variable`."""
    slopes: dict[int, Expr] = {}
    for e in reachable([root], values=False):
        slopes[e.id] = e.graph.const(1.0) if e is variable else _slope(e, slopes)
    return slopes[root.id]


def emit(outputs: Sequence[Expr], variables: Sequence[str]) -> str:
    """Return the straight-line text that computes `outputs`, every shared part once."""
    names: dict[int, str] = {}
    lines: list[str] = []
    for e in reachable(outputs):
        if e.op == "var":
            names[e.id] = e.args[0]
            continue
        if e.op == "const":
            names[e.id] = f"const({e.args[0]!r})"
            continue
        if e.op == "ruled":
            names[e.id] = names[e.args[0].id]
            continue
        args = [names[a.id] if isinstance(a, Expr) else a for a in e.args]
        if e.op == "neg":
            right = f"-{args[0]}"
        elif e.op == "opaque":  # its own arithmetic may be of another precision
            right = f"const({args[0]}({', '.join(args[1:])}))"
        elif e.op.isidentifier():
            right = f"{e.op}({', '.join(args)})"
        else:
            right = f"{args[0]} {e.op} {args[1]}"
        names[e.id] = f"t{len(lines) + 1}"
        lines.append(f"    {names[e.id]} = {right}\n")
    head = f"def scalar({', '.join(variables)}):\n"
    return f"{head}{''.join(lines)}    return {', '.join(names[e.id] for e in outputs)}\n"
