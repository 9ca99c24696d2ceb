"""Activations and losses over long contiguous blocks: a unit for each function, order, dtype.

The statements of the function's text are set into the loops, so that a unit is one function of
Numba's: one for the function, one for each step would cost a user's activation 0.9 MiB for ever.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import numpy as np

from ..._symbolic.function import Function
from ..machine.address import POINTER, STACK, STACK_NUMBERS
from ..machine.build import Kernel, scalar
from ..machine.integers import smaller
from ..machine.records import ActivationBlock, LossBlock
from .elementary import namespace
from .stages import Stages, cut

# The vectorising functions that give NaN for large arguments (`elementary`), and the library's.
_LIMITED = {"sin": math.sin, "cos": math.cos, "tan": math.tan}
_CALL_OF_LIMITED = re.compile(rf"\b({'|'.join(_LIMITED)})\(")


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


def block(function: Function, order: int, dtype: np.dtype) -> Kernel:
    """Apply an activation, or a loss, to a block of numbers.

    ``block(values, slopes, curvatures, n)`` for an activation, ``block(values, targets, slopes,
    curvatures, n)`` for a loss: the value replaces the n numbers; v' goes to the slopes from order
    1 on, v'' to the curvatures at order 2. In place, since LLVM vectorises ``z[k] = f(z[k])`` but
    not two arrays that turn out to be the same.
    """
    text = function.source(order)
    record: Any = LossBlock if len(function.variables) == 2 else ActivationBlock
    _, *lines, last = text.strip().splitlines()
    body = [line.strip() for line in lines]
    results = last.strip().removeprefix("return ").split(", ")
    # The value last: LLVM makes ``z[k] = select(c, x, z[k])`` a masked store, which is slow (relu
    # with its derivative: 0.5 ns instead of 0.2), unless it comes after another one.
    written = ("slopes_at", "curvatures_at")[:order]
    store = [
        *(f"{name}[k] = {result}" for name, result in zip(written, results[1:], strict=True)),
        f"values_at[k] = {results[0]}",
    ]
    pointers = [f"{name}_at = pointer({name})" for name in record._fields if name != "n"]
    if record is LossBlock:
        code = [*pointers, *_loop("n", ["y = values_at[k]", "t = targets_at[k]", *body, *store])]
    elif _CALL_OF_LIMITED.search(text):
        code = _limited(pointers, body, store, order)
    elif (stages := cut(text)) is not None:
        code = _staged(pointers, stages, store)
    else:
        code = [*pointers, *_loop("n", ["z = values_at[k]", *body, *store])]
    head = f"def block({', '.join(record._fields)}):\n"
    source = head + "".join(f"    {line}\n" for line in code)
    scope: dict[str, Any] = {
        "__name__": __name__,
        **namespace(dtype),
        **_untraced(function),
        **{f"exact_{name}": _library(name) for name in _LIMITED if f"exact_{name}(" in source},
        "pointer": POINTER[dtype],
        "stack": STACK[dtype],
        "itemsize": dtype.itemsize,
        "smaller": smaller,
    }
    exec(compile(source, f"<fastbp {function.name}>", "exec"), scope)
    return Kernel(scope["block"], record, strict=True)


def _loop(n: str, body: list[str]) -> list[str]:
    return [f"for k in range({n}):", *(f"    {line}" for line in body)]


def _moved(pointers: list[str], offset: str) -> list[str]:
    """Pointers to what lies behind the first numbers."""
    return [line.replace(")", f" + {offset} * itemsize)") for line in pointers]


def _staged(pointers: list[str], stages: Stages, store: list[str]) -> list[str]:
    """Loops of `stages` over what fits the stack."""
    front = ["z = values_at[k]", *stages.front]
    grow = [f"es{i}[k] = grow(es{i}[k])" for i in range(stages.n)]
    back = ["z = values_at[k]", *stages.back, *store]
    return [
        *(f"ms{i}, es{i} = stack(), stack()" for i in range(stages.n)),
        "start = 0",
        f"for _ in range(n // {STACK_NUMBERS}):",
        *(
            f"    {line}"
            for line in (
                *_moved(pointers, "start"),
                *_loop(f"{STACK_NUMBERS}", front),
                *(step for one in grow for step in _loop(f"{STACK_NUMBERS}", [one])),
                *_loop(f"{STACK_NUMBERS}", back),
                f"start += {STACK_NUMBERS}",
            )
        ),
        *_moved(pointers, "start"),
        *_loop(f"n % {STACK_NUMBERS}", [*front, *grow, *back]),
    ]


def _limited(pointers: list[str], body: list[str], store: list[str], order: int) -> list[str]:
    """The vectorising functions, and the library's where one of them came out as NaN."""
    exact = [_CALL_OF_LIMITED.sub(r"exact_\1(", line) for line in body]
    undefined = ["undefined += 1 if values_at[k] != values_at[k] else 0"]
    slopes = ["undefined += 1 if slopes_at[k] != slopes_at[k] else 0"]
    return [
        "kept = stack()",
        f"for start in range(0, n, {STACK_NUMBERS}):",
        *(
            f"    {line}"
            for line in (
                f"m = smaller({STACK_NUMBERS}, n - start)",
                *_moved(pointers, "start"),
                *_loop("m", ["kept[k] = values_at[k]"]),
                *_loop("m", ["z = values_at[k]", *body, *store]),
                "undefined = 0",
                *_loop("m", undefined),
                *(_loop("m", slopes) if order else ()),
                "if undefined:",
                *(f"    {line}" for line in _loop("m", ["z = kept[k]", *exact, *store])),
            )
        ),
    ]
