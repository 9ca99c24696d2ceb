"""Functions that cannot be traced, captured as self-contained source text.

Where the user gives the derivatives, v, v' or v'' may be a scalar function that is not traced
(``math.gamma``, loops until convergence …). The kernels compile it from its text, so the text has
to say all: captured numbers are written into it, helpers come along under new names, ``math`` and
``numpy`` are ``math`` and ``np``. So a changed constant is a changed text, and the text travels in
a pickle without the module it comes from.

The text is written anew, from what kernels run as machine code alone and nothing else; the rest is
refused here. All its numbers are floating-point: Python's whole numbers have no bounds, the
machine's wrap round. An error raised inside would end a kernel's loop unseen, so nothing that
raises is let in.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import numbers
import textwrap
import types
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from fastbp._symbolic.texts import ActivationError


def _by_name(module: Any, short: str, names: str) -> dict[Any, str]:
    return {getattr(module, name): f"{short}.{name}" for name in names.split()}


# What may be called, and how the text writes it; the tests compile each. Those of ``math`` that
# give whole numbers, or that Numba does not have, are written as NumPy's.
UNARY: dict[Any, str] = {
    abs: "abs",
    int: "np.trunc",
    round: "np.rint",
    **_by_name(
        math,
        "math",
        "acos acosh asin asinh atan atanh cos cosh degrees erf erfc exp expm1 fabs gamma lgamma "
        "log log10 log1p log2 radians sin sinh sqrt tan tanh",
    ),
    **{
        getattr(math, name): f"np.{name}"
        for name in ("cbrt", "ceil", "exp2", "floor", "trunc")
        if hasattr(math, name)  # two are new in Python 3.11
    },
    **_by_name(
        np,
        "np",
        "absolute arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh deg2rad degrees "
        "exp exp2 expm1 fabs floor log log10 log1p log2 negative positive rad2deg radians "
        "reciprocal rint sign sin sinc sinh sqrt square tan tanh trunc",
    ),
}
BINARY: dict[Any, str] = {
    max: "max",
    min: "min",
    pow: "np.power",
    math.fmod: "np.fmod",
    **_by_name(math, "math", "atan2 copysign hypot pow"),
    **_by_name(
        np,
        "np",
        "add arctan2 copysign divide float_power floor_divide fmax fmin fmod hypot logaddexp "
        "logaddexp2 maximum minimum multiply power remainder subtract",
    ),
}
TESTS: dict[Any, str] = {  # of one number, true or false
    **_by_name(math, "math", "isfinite isinf isnan"),
    **_by_name(np, "np", "isfinite isinf isnan"),
}
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_OWN = frozenset("abs float int math max min np range".split())  # names that the text uses


def capture(function: Callable[..., float], sources: dict[str, str]) -> str:
    """Add the text of `function` and of its helpers to `sources`; return its new name.

    Parameters
    ----------
    function : callable
        A plain Python function, or one jitted by Numba.
    sources : dict of str to str
        Names (``opaque0``, ``opaque1`` …) and texts, helpers before their callers.

    Raises
    ------
    ActivationError
        Where the source is not to be had, it captures what cannot be written as text, or it
        does what kernels can't.
    """
    return _capture(function, sources, ())


def _capture(
    function: Callable[..., float], sources: dict[str, str], callers: tuple[Any, ...]
) -> str:
    plain = getattr(function, "py_func", function)
    if not isinstance(plain, types.FunctionType):
        raise ActivationError(f"{function!r} has no Python source")
    if plain in callers:
        raise ActivationError(f"{plain.__name__} calls itself")
    tree = _Writer(plain, sources, (*callers, plain)).definition(_definition(plain))
    for tree.name, known in sources.items():  # the same helper twice, or v' = v
        if ast.unparse(tree) == known:
            return tree.name
    tree.name = f"opaque{len(sources)}"
    sources[tree.name] = ast.unparse(tree)
    return tree.name


def _definition(function: types.FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of the ``def`` of `function`."""
    try:
        # Of its code: of a function that wraps another, `inspect` would return that one's.
        source = inspect.getsource(function.__code__)
        tree = ast.parse(textwrap.dedent(source)).body[0]
    except (OSError, SyntaxError, IndexError):
        tree = ast.Pass()
    if not isinstance(tree, ast.FunctionDef):
        raise ActivationError(f"the source of {function.__name__} is not a def in a file")
    if any(isinstance(c, types.CodeType) for c in function.__code__.co_consts):
        raise ActivationError(f"{function.__name__} defines a function or a comprehension inside")
    return tree


def _literal(value: Any, name: str) -> ast.expr:
    """Return the text of a captured number."""
    if not isinstance(value, (numbers.Real, np.bool_)):
        raise ActivationError(f"{name} is captured, of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ActivationError(f"{name} is beyond the largest number") from None
    if not math.isfinite(number):
        text = "nan" if number != number else "inf"
        size: ast.expr = ast.Attribute(_name("math"), text, ast.Load())
    else:
        size = ast.Constant(abs(number))
    return ast.UnaryOp(ast.USub(), size) if math.copysign(1.0, number) < 0 else size


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(text: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.parse(text, mode="eval").body, list(args), [])


def _returns(body: list[ast.stmt]) -> bool:
    """Tell whether every way through `body` ends with a ``return``."""
    match body[-1:]:
        case [ast.If(body=yes, orelse=no)]:
            return _returns(yes) and _returns(no)
        case [ast.While(test=ast.Constant(value=True | 1), body=inner)]:
            return not _breaks(inner)
        case [ast.Return()]:
            return True
    return False


def _breaks(body: list[ast.stmt]) -> bool:
    """Tell whether the loop around `body` may be left by a ``break``."""
    return any(
        isinstance(s, ast.Break)
        or (isinstance(s, ast.If) and (_breaks(s.body) or _breaks(s.orelse)))
        or (isinstance(s, (ast.For, ast.While)) and _breaks(s.orelse))
        for s in body
    )


def _is_logical(node: ast.expr) -> bool:
    """Tell whether the value is true or false, and no other number."""
    match node:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
            return _is_logical(left) and _is_logical(right)
    return False


class _Writer:
    """Writes a function anew; what it does not know how to write, it refuses."""

    def __init__(
        self, function: types.FunctionType, sources: dict[str, str], callers: tuple[Any, ...]
    ) -> None:
        self.function, self.sources, self.callers = function, sources, callers
        self.locals = function.__code__.co_varnames
        scope = function.__globals__
        self.captured = {
            **{name: scope[name] for name in function.__code__.co_names if name in scope},
            **inspect.getclosurevars(function).nonlocals,
        }

    def refusal(self, node: ast.stmt | ast.expr, why: str = "no kernel can run") -> ActivationError:
        """Return the error that quotes `node`."""
        text = textwrap.shorten(ast.unparse(node).partition("\n")[0], 60, placeholder=" …")
        line = self.function.__code__.co_firstlineno + node.lineno - 1
        return ActivationError(f"{self.function.__name__} has in line {line} what {why}: {text}")

    def definition(self, tree: ast.FunctionDef) -> ast.FunctionDef:
        """Write the function, without decorators, annotations and docstring."""
        name, given = self.function.__name__, tree.args
        if given.vararg or given.kwarg or given.kwonlyargs:
            raise ActivationError(f"{name} takes arguments that are not positional")
        for local in self.locals:
            if local in _OWN or local.startswith("opaque"):
                raise ActivationError(f"{name} has a variable called {local}")
        body = tree.body[ast.get_docstring(tree) is not None :]
        written = self.body(body)
        if not _returns(body):
            raise ActivationError(f"{name} may end without a return")
        tree.args = ast.arguments(
            posonlyargs=[ast.arg(a.arg) for a in given.posonlyargs],
            args=[ast.arg(a.arg) for a in given.args],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[_literal(v, name) for v in self.function.__defaults__ or ()],
        )
        tree.body, tree.decorator_list, tree.returns = written, [], None
        return ast.fix_missing_locations(tree)

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Write some statements."""
        return [self.statement(s) for s in statements]

    def statement(self, node: ast.stmt) -> ast.stmt:
        """Write a statement."""
        match node:
            case ast.Pass() | ast.Break() | ast.Continue():
                return node
            case ast.Return(value=ast.expr() as value):
                return ast.Return(self.number(value))
            case ast.Assign(targets=names, value=value) if all(
                isinstance(n, ast.Name) for n in names
            ):
                return ast.Assign(names, self.number(value))
            case ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value):
                return ast.Assign([target], self.number(value))
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)) if len(
                names
            ) == len(values) and all(isinstance(n, ast.Name) for n in names):
                right = ast.Tuple([self.number(v) for v in values], ast.Load())
                return ast.Assign(node.targets, right)
            case ast.AugAssign(target=ast.Name() as target, op=op, value=value) if isinstance(
                op, _OPERATORS
            ):
                return ast.AugAssign(target, op, self.number(value))
            case ast.If(test=test, body=body, orelse=orelse):
                return ast.If(self.condition(test), self.body(body), self.body(orelse))
            case ast.While(test=test, body=body, orelse=orelse):
                return ast.While(self.condition(test), self.body(body), self.body(orelse))
            case ast.For(target=ast.Name(id=name) as target, body=body, orelse=orelse):
                whole = f"opaque_{name}"
                as_number = ast.Assign([target], _call("float", _name(whole)))
                return ast.For(
                    ast.Name(whole, ast.Store()),
                    self.range(node.iter),
                    [as_number, *self.body(body)],
                    self.body(orelse),
                )
            case ast.Import() | ast.ImportFrom():
                raise ActivationError(f"{self.function.__name__} imports inside")
        raise self.refusal(node)

    def range(self, node: ast.expr) -> ast.expr:
        """Write what a loop runs over."""
        match node:
            case ast.Call(func=func, args=args, keywords=[]) if self.meaning(func) is range:
                limits = [self.number(a) for a in args]
                if limits[2:]:
                    step = limits[2]
                    size = step.operand if isinstance(step, ast.UnaryOp) else step
                    if not isinstance(size, ast.Constant) or not size.value:
                        raise self.refusal(node, "has no constant step")
                return _call("range", *[_call("int", limit) for limit in limits])
        raise self.refusal(node, "is no range")

    def condition(self, node: ast.expr) -> ast.expr:
        """Write an expression of which only the truth counts."""
        match node:
            case ast.Compare(left=left, ops=ops, comparators=right) if all(
                isinstance(op, _COMPARISONS) for op in ops
            ):
                return ast.Compare(self.number(left), ops, [self.number(r) for r in right])
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self.condition(v) for v in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ast.UnaryOp(ast.Not(), self.condition(operand))
            case ast.BinOp(left=left, op=op, right=right) if _is_logical(node):
                joined = ast.And() if isinstance(op, ast.BitAnd) else ast.Or()
                return ast.BoolOp(joined, [self.condition(left), self.condition(right)])
            case ast.Call(func=func, args=[x], keywords=[]) if self.meaning(func) is bool:
                return self.condition(x)
            case ast.Call(func=func, args=[x], keywords=[]) if self.meaning(func) in TESTS:
                return _call(TESTS[self.meaning(func)], self.number(x))
            case ast.Compare():
                raise self.refusal(node)
            case ast.Constant(value=value):  # while True: Numba sees that it has no other end
                return ast.Constant(bool(value))
        return ast.Compare(self.number(node), [ast.NotEq()], [ast.Constant(0.0)])

    def number(self, node: ast.expr) -> ast.expr:
        """Write an expression as a floating-point number."""
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return _literal(value, "a number")
            case ast.Name(id=name) if name in self.locals:
                return node
            case ast.Name() | ast.Attribute():
                return _literal(self.meaning(node), ast.unparse(node))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                return ast.UnaryOp(sign, self.number(operand))
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                return ast.BinOp(self.number(left), op, self.number(right))
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self.number(v) for v in values])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return ast.IfExp(self.condition(test), self.number(body), self.number(orelse))
            case ast.Call():
                return self.call(node)
        if _is_logical(node):
            return ast.IfExp(self.condition(node), ast.Constant(1.0), ast.Constant(0.0))
        for part in ast.walk(node):  # a table it captures says more than how it is used
            known = self.captured.get(part.id) if isinstance(part, ast.Name) else None
            if not callable(known) and not isinstance(known, (types.ModuleType, type(None))):
                _literal(known, ast.unparse(part))
        raise self.refusal(node)

    def call(self, node: ast.Call) -> ast.expr:
        """Write a call as a floating-point number."""
        called = self.meaning(node.func)
        if isinstance(called, types.FunctionType) or hasattr(called, "py_func"):
            return self.helper(node, called)
        if node.keywords or not isinstance(called, Hashable):
            raise self.refusal(node)
        match called, node.args:
            case _, [_] if called is bool or called in TESTS:
                return ast.IfExp(self.condition(node), ast.Constant(1.0), ast.Constant(0.0))
            case builtins.float, [ast.Constant(value=str() as text)]:  # float("inf")
                return _literal(float(text), text)
            case ((builtins.float | np.float64), [x]):
                return self.number(x)
            case np.where, [condition, a, b]:
                return ast.IfExp(self.condition(condition), self.number(a), self.number(b))
            case np.clip, [x, low, high]:
                return _call(
                    "np.minimum",
                    _call("np.maximum", self.number(x), self.number(low)),
                    self.number(high),
                )
            case _, [x] if called in UNARY:
                return _call(UNARY[called], self.number(x))
            case _, [_, _, *more] if called in BINARY and (called in (max, min) or not more):
                return _call(BINARY[called], *map(self.number, node.args))
        raise self.refusal(node)

    def helper(self, node: ast.Call, function: Any) -> ast.expr:
        """Write a call of another of the user's functions."""
        named = {k.arg: self.number(k.value) for k in node.keywords if k.arg}
        args = [self.number(a) for a in node.args]
        plain = getattr(function, "py_func", function)
        try:
            inspect.signature(plain).bind(*args, **named)
        except TypeError as error:
            raise self.refusal(node, f"is wrong ({error})") from None
        call = _call(_capture(plain, self.sources, self.callers), *args)
        call.keywords = [ast.keyword(name, value) for name, value in named.items()]
        return call

    def meaning(self, node: ast.expr) -> Any:
        """Return what a name that is no variable stands for."""
        match node:
            case ast.Name(id=name) if name not in self.locals:
                if name in self.captured:
                    return self.captured[name]
                if hasattr(builtins, name):
                    return getattr(builtins, name)
                raise ActivationError(f"the name {name!r} is not defined")
            case ast.Attribute(value=ast.Name(id=name) as of, attr=own) if name not in self.locals:
                module = self.meaning(of)
                if module is not math and module is not np:
                    raise ActivationError(f"{name} is captured, of type {type(module).__name__}")
                if hasattr(module, own):
                    return getattr(module, own)
        raise self.refusal(node)
