"""How every kernel is compiled: the options, and the way from a Python function to an object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import njit, types

from .emit import object_of
from .numba_api import Pipeline, as_started, compile_ir
from .records import ALLOCATING, kinds

# Options stand here and nowhere else: a helper compiled without them would inherit those of
# whichever caller compiles it first.
_STRICT: dict[str, Any] = {
    "fastmath": False,
    "error_model": "numpy",
    "nogil": True,
    # Kernels own no arrays: without reference counts they compile faster, and refer to nothing
    # of Numba's runtime.
    "_nrt": False,
    "boundscheck": False,
}
_REORDERED = {"reassoc", "contract", "nsz"}
# Helpers are never called from Python: without wrappers they compile in half the time.
_BARE: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": Pipeline,
}


def scalar(function: Callable) -> Any:
    """Jit a scalar helper with strict floating-point semantics (no reassociation).

    Always inlined: a loop over a function that LLVM finds too large does not vectorise (gelu
    with its derivative took 23 ns a number instead of 3).
    """
    return njit(**_STRICT, **_BARE, forceinline=True)(function)


def loop(function: Callable) -> Any:
    """Jit a helper made of loops whose sums may be reordered to vectorise."""
    return njit(**(_STRICT | {"fastmath": _REORDERED}), **_BARE)(function)


class Kernel(NamedTuple):
    """A function to compile as a unit, the record of its arguments, and whether sums stay as is."""

    function: Callable
    record: Any
    strict: bool = False


_NUMBA = {int: types.int64, float: types.float64}
_LLVM = {int: "i64", float: "double"}


def kernel_object(kernel: Kernel, symbol: str) -> tuple[bytes, bool]:
    """Compile a kernel to an object that exports `symbol`, a plain C function.

    Returns
    -------
    image : bytes
    may_be_stored : bool
        Whether another process with the same key would make the same.
    """
    fields = kinds(kernel.record)
    named = tuple(inspect.signature(kernel.function).parameters)
    assert named == kernel.record._fields, (kernel.function, named, kernel.record._fields)
    gives = types.int64 if kernel.record in ALLOCATING else types.void
    signature = gives(*(_NUMBA[kind] for kind in fields.values()))
    text, native = compile_ir(kernel.function, signature, set() if kernel.strict else _REORDERED)
    text += _c_function(symbol, native, list(fields.values()), gives is types.int64)
    return object_of(text, symbol, speed=0), as_started()


def _c_function(symbol: str, native: str, arguments: list[type], returns: bool) -> str:
    """IR of the C function that calls Numba's: ``i32 f(result*, error**, arguments...)``.

    The status that Numba's gives back is not looked at: kernels raise nothing. Numba's stands in
    its place, where LLVM would call it if it is large (5 ns a kernel).
    """
    names = ", ".join(f"{_LLVM[kind]} %a{k}" for k, kind in enumerate(arguments))
    kind = "i64" if returns else "void"
    end = "  %r = load i64, ptr %slot\n  ret i64 %r" if returns else "  ret void"
    return f"""
define {kind} @"{symbol}"({names}) {{
  %slot = alloca {"i64" if returns else "ptr"}
  %error = alloca ptr
  %status = call i32 @"{native}"(ptr %slot, ptr %error, {names}) alwaysinline
{end}
}}
"""
