"""From a plain scalar function to the text of its value and its first two derivatives.

The function is run on a symbolic variable, once for every way through its branches; each run
gives an expression, the branches join them (``select``). The expression is differentiated twice
and written as straight-line text (`graph` has the nodes and the rules). That text is all the
library keeps of the function (`function`): the kernels compile it, NumPy runs it, its hash is the
cache's key, and it is what a pickle holds.

What is traced: arithmetic, comparisons, branches, loops of fixed length, helpers (jitted by
Numba or not), closures, default arguments, ``math.*`` and the elementwise functions of ``numpy``
and ``scipy.special`` in `meanings`. What is not is refused with :class:`ActivationError`.
"""

from __future__ import annotations

import builtins
import itertools
import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp._symbolic.graph import Expr, Graph, Path, differentiate, emit, logistic, sech2, select
from fastbp._symbolic.meanings import CALLS
from fastbp._symbolic.numpy_text import evaluate
from fastbp._symbolic.opaque import capture
from fastbp._symbolic.texts import ActivationError, Extras, Scalar

__all__ = ["trace"]

MAX_PATHS = 64
_MARK = "__fastbp_traced__"  # in the globals of the copies: their frames are the user's lines
_PRIMITIVES = {logistic: "logistic", sech2: "sech2"}
# Ordinary points, none on a kink that people choose; losses get all pairs with the second list.
_POINTS = (-6.3, -2.71, -1.13, -0.37, 0.29, 0.83, 1.61, 3.07, 8.9)
_TARGETS = (0.0, 0.35, 1.0, 2.2)


class _ModuleView:
    """A module whose functions are seen as copies that can be traced."""

    def __init__(self, module: types.ModuleType, tracer: _Tracer) -> None:
        self._module, self._tracer = module, tracer

    def __getattr__(self, name: str) -> Any:
        return self._tracer.convert(getattr(self._module, name))


class _Tracer:
    """Runs copies of functions in which math, modules and helpers understand the graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._copies: dict[types.FunctionType, types.FunctionType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def _import(self, *args: Any) -> Any:
        return self.convert(builtins.__import__(*args))

    def convert(self, value: Any) -> Any:
        """Return what the copy of a function sees in place of `value`."""
        value = getattr(value, "py_func", value)  # a function jitted by Numba
        if isinstance(value, types.ModuleType):
            numpy = value.__name__.partition(".")[0] == "numpy"  # dispatches by itself
            return value if numpy else _ModuleView(value, self)
        if isinstance(value, types.BuiltinFunctionType) and value.__module__ == "math":
            return self._primitive("math", value.__name__, value)
        if isinstance(value, types.FunctionType):
            if value in _PRIMITIVES:
                return self._primitive("fastbp", _PRIMITIVES[value], value)
            return self._copy(value)
        if hasattr(type(value), "extra_sources"):  # a `Function`
            return _called(value)
        return value

    def _primitive(self, module: str, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if any(isinstance(a, Expr) for a in args):
                return self.graph.call(module, name, args)
            return real(*args)

        return call

    def _copy(self, function: types.FunctionType) -> types.FunctionType:
        if function in self._copies:
            return self._copies[function]
        code = function.__code__
        namespace: dict[str, Any] = {"__builtins__": self._builtins, _MARK: True}
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        copy = types.FunctionType(code, namespace, function.__name__, None, cells or None)
        self._copies[function] = copy  # before its helpers: one may be itself
        copy.__defaults__ = function.__defaults__ and tuple(
            map(self.convert, function.__defaults__)
        )
        copy.__kwdefaults__ = function.__kwdefaults__ and {
            name: self.convert(value) for name, value in function.__kwdefaults__.items()
        }
        for name in _names(code):
            if name in function.__globals__:
                namespace[name] = self.convert(function.__globals__[name])
        for new, old in zip(cells, function.__closure__ or (), strict=True):
            try:
                new.cell_contents = self.convert(old.cell_contents)
            except ValueError:  # an empty cell: a name not bound yet
                continue
        return copy

    def run(self, function: Scalar, variables: Sequence[Expr]) -> Expr:
        """Return the expression of `function` at the variables, all branches joined."""
        copy = self.convert(function)
        paths = itertools.count(1)

        def explore(prefix: list[bool]) -> Expr:
            if next(paths) > MAX_PATHS:
                raise ActivationError(f"it has more than {MAX_PATHS} ways through its branches")
            path = self.graph.path = Path(prefix)
            result = copy(*variables)
            if not isinstance(result, (Expr, float, int, np.generic, np.ndarray)):
                raise ActivationError(
                    f"it has to return one real number, but returned {type(result).__name__}"
                )
            joined = self.graph.lift(result)
            for k in range(len(path.decisions) - 1, len(prefix) - 1, -1):
                other = explore([*path.decisions[:k], False])
                joined = select(path.conditions[k], joined, other)
            return joined

        return explore([])


def _called(function: Any) -> Callable[..., Any]:
    """Return what refuses to make an activation or loss a part of another: it is a text by now."""

    def call(*args: Any) -> Any:
        if any(isinstance(a, Expr) for a in args):
            raise ActivationError(
                f"it calls {function!r}, which is traced already; write out what that does"
            )
        return function(*args)

    return call


def _names(code: types.CodeType) -> set[str]:
    """Return the names used by `code` and the functions defined inside it."""
    inner = (_names(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*inner)


def _place(function: Scalar, error: BaseException | None = None) -> str:
    """Return "file, line n": the last of the user's lines that `error` came through, or the def."""
    plain = getattr(function, "py_func", function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return f"{plain!r}"
    place = f"{code.co_filename}, line {code.co_firstlineno}"
    step = error.__traceback__ if error else None
    while step is not None:
        if _MARK in step.tb_frame.f_globals:
            place = f"{step.tb_frame.f_code.co_filename}, line {step.tb_lineno}"
        step = step.tb_next
    return place


def _cause(error: BaseException) -> str:
    if isinstance(error, ActivationError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    return f"it raised {type(error).__name__}: {error}".rstrip(": ")


def _same(a: float, b: float) -> bool:
    return (a != a and b != b) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _check(function: Scalar, text: str, extras: Extras, n_variables: int) -> None:
    """Raise ActivationError where `text` and `function` differ: it is no function of its input.

    Or where an untraced one gives a number nowhere: there was no trace to see it.
    """
    plain = getattr(function, "py_func", function)
    seen = not extras
    for point in itertools.product(*(_POINTS, _TARGETS)[:n_variables]):
        try:
            with np.errstate(all="ignore"):
                value = plain(*point)
                if isinstance(value, complex):
                    continue
                expected = float(value)
        except ActivationError:  # a number met a value kept from the trace
            raise
        except (ArithmeticError, ValueError, TypeError):
            continue  # outside the domain; a complex number inside is a TypeError
        seen = True
        (given,) = evaluate(text, extras, point)
        if not _same(float(given), expected):
            raise ActivationError(
                f"its value at {', '.join(map(repr, point))} is {expected!r}, but traced it is "
                f"{float(given)!r}: it has to depend on its input alone"
            )
    if not seen:
        raise ActivationError(f"it gives a real number at none of the inputs {_POINTS}")


def trace(
    functions: Sequence[Scalar | None], variables: Sequence[str], what: str, check: bool = True
) -> tuple[tuple[str, str, str], Extras]:
    """Return the texts of order 0, 1 and 2 of a scalar function, and its untraced parts.

    Parameters
    ----------
    functions : sequence of callable or None
        v, and v' and v'' where they are given; None is differentiated automatically.
    variables : sequence of str
        Names of the arguments; derivatives are with respect to the first.
    what : str
        What the error message calls it, such as ``activation 'bent'``.
    check : bool
        Compare the texts with the functions at several points.

    Raises
    ------
    ActivationError
        Where a function is not supported: one sentence with file, line and cause.
    """
    graph = Graph(CALLS)
    tracer = _Tracer(graph)
    inputs = [graph.make("var", name) for name in variables]
    sources: dict[str, str] = {}
    outputs: list[Expr] = []
    for order, function in enumerate(functions):
        subject = function or next(f for f in reversed(functions[:order]) if f)
        try:
            if function is None:
                expr = differentiate(outputs[-1], inputs[0])
            else:
                try:
                    expr = tracer.run(function, inputs)
                except Exception as error:
                    if not any(functions[1:]):
                        raise
                    expr = _opaque(function, error, sources, graph, inputs)
                if check:
                    text = emit([expr], variables)
                    _check(function, text, tuple(sources.items()), len(variables))
        except Exception as error:
            way_out = "" if any(functions[1:]) else " (derivative= is the way out)"
            raise ActivationError(
                f"{_place(subject, error)}: {what} cannot be traced: {_cause(error)}{way_out}"
            ) from None
        outputs.append(expr)
    texts = tuple(emit(outputs[: order + 1], variables) for order in range(3))
    return (texts[0], texts[1], texts[2]), tuple(sources.items())


def _opaque(
    function: Scalar, error: Exception, sources: dict[str, str], graph: Graph, inputs: list[Expr]
) -> Expr:
    """Return `function`, which could not be traced because of `error`, as one opaque node."""
    try:
        return graph.make("opaque", capture(function, sources), *inputs)
    except ActivationError as reason:
        raise ActivationError(
            f"{_cause(error)}, and it cannot be taken as it stands since {reason}"
        ).with_traceback(error.__traceback__) from None
