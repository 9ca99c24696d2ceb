"""All units by name. Importing this, and asking for what is stored, does not import Numba.

The modules that the kernels are written in, and the table of entries, are imported on a miss only.
"""

from __future__ import annotations

import importlib
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._symbolic.function import ActivationError
from ..machine.unit import Unit

if TYPE_CHECKING:
    from ..._symbolic.function import Function

_PACKAGE = __name__.rpartition(".calls.")[0]


def _module(name: str) -> Any:
    return importlib.import_module(f"{_PACKAGE}.{name}")


def _compiled(module: str, factory: str, *args: Any) -> Callable[[str], tuple[bytes, bool]]:
    def make(symbol: str) -> tuple[bytes, bool]:
        jit_enabled = _module("machine.numba_api").jit_enabled
        with jit_enabled():
            build = _module("machine.build")
            kernel = getattr(_module(module), factory)(*args)
            return build.kernel_object(kernel, symbol)

    return make


KERNELS: list[Callable[[np.dtype], Unit]] = []  # those below


def _by_dtype(module: str, factory: str) -> Callable[[np.dtype], Unit]:
    @cache
    def unit(dtype: np.dtype) -> Unit:
        return Unit(factory, dtype.name, _compiled(f"drivers.{module}", factory, dtype))

    KERNELS.append(unit)
    return unit


product = _by_dtype("products", "product")
pack = _by_dtype("products", "pack_panels")
copy = _by_dtype("products", "copy_panels")
batch = _by_dtype("batch", "batch")
weights = _by_dtype("batch", "weights")
targets = _by_dtype("batch", "targets")
probabilities = _by_dtype("batch", "probabilities")
penalty = _by_dtype("penalty", "penalty")
pack_batch = _by_dtype("batch", "pack_batch")
reverse = _by_dtype("first_order", "reverse")
reverse_few = _by_dtype("first_order", "reverse_few")
per_sample = _by_dtype("first_order", "per_sample")
input_rows = _by_dtype("input_rows", "input_rows")
tangent = _by_dtype("second_order", "tangent")
matrix = _by_dtype("matrix", "matrix")
matrix_outputs = _by_dtype("matrix_outputs", "matrix_outputs")
softmax = _by_dtype("softmax", "softmax")
softmax_moved = _by_dtype("softmax", "moved")
levenberg = _by_dtype("levenberg", "levenberg")
levenberg_groups = _by_dtype("groups", "levenberg_groups")
sgd = _by_dtype("training", "sgd_epoch")
adam = _by_dtype("training", "adam_epoch")


@cache
def shuffle() -> Unit:
    """Return the unit that draws an order of observations."""
    return Unit("shuffle", "", _compiled("drivers.training", "shuffle"))


@cache
def entry(name: str, dtype: np.dtype, several: bool = False) -> Unit:
    """Return one of the functions that Python calls (`entries`), of one or several outputs."""

    def make(symbol: str) -> tuple[bytes, bool]:
        entries = _module("calls.entries")
        table = (entries.SEVERAL if several else entries.ENTRIES)[name]
        return _module("machine.entry").entry_object(table, dtype, symbol), True

    return Unit(f"calls_{name}" if several else f"call_{name}", dtype.name, make)


_blocks: weakref.WeakValueDictionary[tuple[str, int, str], Unit] = weakref.WeakValueDictionary()
# Those last made stay linked while one network goes and the next like it comes: linking takes
# 0.4 ms each, of a small estimator's fit a third.
_last_blocks: deque[Unit] = deque(maxlen=64)


def block(function: Function, order: int, dtype: np.dtype) -> Unit:
    """Return an activation or a loss over blocks of numbers: it lives as long as it is held."""
    key = (function.key, order, dtype.name)
    unit = _blocks.get(key)
    if unit is None:
        compiled = _compiled("scalar.blocks", "block", function, order, dtype)

        def make(symbol: str) -> tuple[bytes, bool]:
            try:
                return compiled(symbol)
            except (
                _module("machine.numba_api").NumbaError,
                _module("machine.emit").Unlinkable,
            ) as error:
                cause = str(error).strip().splitlines()[0]
                raise ActivationError(f"{function!r} can't be compiled: {cause}") from error

        unit = _blocks.setdefault(key, Unit("block", repr(key), make))
        _last_blocks.append(unit)
    return unit
