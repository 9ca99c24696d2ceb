"""Levenberg–Marquardt on several threads: a plan whose drivers hand their parts to threads.

The compiled loop calls the drivers that its plan names. In a copy of the plan those are functions
of Python that run the parts on threads, 20 µs a call; the loop itself, and its bits, stay.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..machine.places import BATCH, MATRIX
from ..machine.records import DONE, NO_MEMORY, Batch, Matrix, kinds

if TYPE_CHECKING:
    from .prepared import Calls

_C_TYPES: dict[type, Any] = {int: ctypes.c_int64, float: ctypes.c_double}


class SharedWork:
    """The plan of a network for a loop over one batch.

    Attributes
    ----------
    table : ndarray of int64
        The plan.
    error : BaseException or None
        What ended a call; the loop sees it as NO_MEMORY.
    """

    def __init__(
        self,
        calls: Calls,
        threads: int,
        loss: NDArray,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        n_params: int,
    ) -> None:
        self.error: BaseException | None = None
        dtype = calls.dtype

        def batch(given: Batch) -> float:
            w = _array(given.w, (n_params,), dtype)
            return calls.parts(threads, w, X, None, loss=loss, scale=given.scale, t=t, c=c)

        def matrix(given: Matrix) -> float:
            w, g = (_array(address, (n_params,), dtype) for address in (given.w, given.g))
            G = _array(given.G, (n_params, n_params), dtype)
            return calls.matrix_in_parts(
                threads, loss, w, X, t, c, given.scale, given.curvature, g, G
            )

        self._held = [self._through(Batch, batch), self._through(Matrix, matrix)]
        self.table = calls.plan.table.copy()
        for place, function in zip((BATCH, MATRIX), self._held, strict=True):
            self.table[place] = ctypes.cast(function, ctypes.c_void_p).value or 0

    def _through(self, record: Any, function: Callable) -> Any:
        """Return a C function with the record's arguments."""

        def called(*values: Any) -> int:
            given = record(*values)
            try:
                total = function(given)
            except BaseException as error:  # Ctrl-C too: an exception can't go through the loop
                self.error = error
                return NO_MEMORY
            ctypes.c_double.from_address(given.result).value = total
            return DONE

        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *(_C_TYPES[k] for k in kinds(record).values()))
        return kind(called)


def _array(address: int, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """Array over memory that the loop holds."""
    size = dtype.itemsize * int(np.prod(shape))
    memory: Any = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)
