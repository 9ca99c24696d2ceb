"""Functions that cannot be traced, captured as self-contained source text.

Where the user gives the derivatives, v, v' or v'' may be any scalar function that Numba can
compile (``math.gamma``, loops on the input …). The kernels compile it from its text, so the
text has to say all: captured numbers are written into it, helpers come along under new names,
``math`` and ``numpy`` are ``math`` and ``np``. So a changed constant is a changed text, and the
text travels in a pickle without the module it comes from.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import numbers
import textwrap
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._function import ActivationError


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
        Where the source is not to be had, or it captures what cannot be written as text.
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
    tree = _definition(plain)
    captured = {
        **{n: plain.__globals__[n] for n in plain.__code__.co_names if n in plain.__globals__},
        **inspect.getclosurevars(plain).nonlocals,
    }
    tree = _Inliner(plain, captured, sources, (*callers, plain)).visit(tree)
    for tree.name, known in sources.items():  # the same helper twice, or v' = v
        if ast.unparse(tree) == known:
            return tree.name
    tree.name = f"opaque{len(sources)}"
    sources[tree.name] = ast.unparse(tree)
    return tree.name


def _definition(function: types.FunctionType) -> ast.FunctionDef:
    """Return the syntax tree of `function`: its ``def`` without decorators and annotations."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError, IndexError):
        tree = ast.Pass()
    if not isinstance(tree, ast.FunctionDef):
        raise ActivationError(f"the source of {function.__name__} is not a def in a file")
    if any(isinstance(c, types.CodeType) for c in function.__code__.co_consts):
        raise ActivationError(f"{function.__name__} defines a function or a comprehension inside")
    tree.decorator_list, tree.returns = [], None
    for argument in tree.args.args:
        argument.annotation = None
    tree.args.defaults = [_literal(v, function.__name__) for v in function.__defaults__ or ()]
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:] or [ast.Pass()]
    return tree


def _literal(value: Any, name: str) -> ast.expr:
    """Return the text of a captured number."""
    if isinstance(value, (bool, np.bool_)):
        return ast.Constant(bool(value))
    if not isinstance(value, numbers.Real):
        raise ActivationError(f"{name} is captured, of type {type(value).__name__}")
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    if not math.isfinite(number):
        text = "nan" if number != number else "inf"
        size: ast.expr = ast.Attribute(ast.Name("math", ast.Load()), text, ast.Load())
    else:
        size = ast.Constant(abs(number))
    return ast.UnaryOp(ast.USub(), size) if math.copysign(1.0, number) < 0 else size


class _Inliner(ast.NodeTransformer):
    """Replaces every captured name by what it stands for."""

    def __init__(
        self,
        function: types.FunctionType,
        captured: dict[str, Any],
        sources: dict[str, str],
        callers: tuple[Any, ...],
    ) -> None:
        self.function, self.captured = function, captured
        self.sources, self.callers = sources, callers

    def visit_Import(self, node: ast.AST) -> ast.AST:
        raise ActivationError(f"{self.function.__name__} imports inside")

    visit_ImportFrom = visit_Global = visit_Nonlocal = visit_Import

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        assert node.value is not None
        return self.visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name = node.id
        if name in self.function.__code__.co_varnames:
            return node
        if name not in self.captured:
            if hasattr(builtins, name):
                return node
            raise ActivationError(f"the name {name!r} is not defined")
        value = self.captured[name]
        if value is math or value is np:
            return ast.Name("math" if value is math else "np", ast.Load())
        for short, module in (("math", math), ("np", np)):  # from math import gamma
            own = getattr(value, "__name__", "")
            if callable(value) and getattr(module, own, None) is value:
                return ast.Attribute(ast.Name(short, ast.Load()), own, ast.Load())
        if isinstance(value, types.FunctionType) or hasattr(value, "py_func"):
            return ast.Name(_capture(value, self.sources, self.callers), ast.Load())
        return _literal(value, name)
