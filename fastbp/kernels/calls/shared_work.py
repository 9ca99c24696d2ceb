"""Levenberg–Marquardt on several threads or machines: a plan whose drivers hand the work on.

The compiled loop calls the drivers that its plan names. In a copy of the plan those are functions
of Python that have the parts computed elsewhere, 20 µs a call; the loop, and its bits, stay.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..machine.places import BATCH, ELSEWHERE, MATRIX
from ..machine.records import DONE, NO_MEMORY, Batch, Matrix, kinds

if TYPE_CHECKING:
    from .prepared import Calls

_C_TYPES: dict[type, Any] = {int: ctypes.c_int64, float: ctypes.c_double}


class Sums(Protocol):
    """Who adds over all observations, the same partition and the same tree as the drivers.

    Attributes
    ----------
    ends_at_once : bool
        Whether Ctrl-C may end a sum on its way.
    """

    ends_at_once: bool

    def batch(self, w: NDArray, scale: float, g: NDArray | None = None) -> float:
        """Return Σ_b c_b ℓ_b at w; overwrite g with the gradient of `scale` times that."""

    def matrix(self, w: NDArray, scale: float, curvature: int, g: NDArray, G: NDArray) -> float:
        """Return the same; overwrite g and G, the Gauss–Newton matrix."""

    def across(self, w: NDArray, trial: NDArray, scale: float, g: NDArray) -> None:
        """Overwrite g with `scale` Σ_b c_b r_b(trial) ∇_w f_b(w), r being the residuals."""


def cotangents(y: NDArray, t: NDArray, c: NDArray | None, scale: float) -> NDArray:
    """Return residuals as the gradient of the squared loss weighs them."""
    with np.errstate(over="ignore", invalid="ignore"):  # as kernels
        residuals = y - t
        if c is not None:
            residuals *= c.reshape(-1, *[1] * (t.ndim - 1))
        return residuals * t.dtype.type(scale)


class OnThreads:
    """The sums of a batch here, its parts on several threads."""

    ends_at_once = False  # the threads stay, for other fits, and so do their locks

    def __init__(
        self, calls: Calls, threads: int, loss: NDArray, X: NDArray, t: NDArray, c: NDArray | None
    ) -> None:
        self._calls, self._threads, self._loss = calls, threads, loss
        self._data = X, t, c

    def batch(self, w: NDArray, scale: float, g: NDArray | None = None) -> float:
        """As `Sums`."""
        X, t, c = self._data
        return self._calls.parts(self._threads, w, X, g, loss=self._loss, scale=scale, t=t, c=c)

    def matrix(self, w: NDArray, scale: float, curvature: int, g: NDArray, G: NDArray) -> float:
        """As `Sums`."""
        return self._calls.matrix_in_parts(
            self._threads, self._loss, w, *self._data, scale, curvature, g, G
        )

    def across(self, w: NDArray, trial: NDArray, scale: float, g: NDArray) -> None:
        """As `Sums`."""
        X, t, c = self._data
        y = np.empty_like(t)
        self._calls.parts(self._threads, trial, X, None, y=y)
        self._calls.parts(self._threads, w, X, g, c=c, ybar=cotangents(y, t, c, scale))


class SharedWork:
    """The plan of a network for a loop over one batch.

    Attributes
    ----------
    table : ndarray of int64
        The plan.
    course : Course
    """

    def __init__(self, calls: Calls, sums: Sums, n_params: int) -> None:
        self.course = Course(sums.ends_at_once)
        dtype = calls.dtype

        def batch(given: Batch) -> float:
            return sums.batch(_array(given.w, (n_params,), dtype), given.scale)

        def matrix(given: Matrix) -> float:
            w, g = (_array(address, (n_params,), dtype) for address in (given.w, given.g))
            G = _array(given.G, (n_params, n_params), dtype)
            return sums.matrix(w, given.scale, given.curvature, g, G)

        def across(given: Batch) -> float:
            w, trial, g = (_array(at, (n_params,), dtype) for at in (given.w, given.ybar, given.g))
            sums.across(w, trial, given.scale, g)
            return 0.0

        handed = (Batch, batch), (Matrix, matrix), (Batch, across)
        self._held = [_through(self.course, *each) for each in handed]
        self.table = calls.plan.table.copy()
        for place, function in zip((BATCH, MATRIX, ELSEWHERE), self._held, strict=True):
            # Not `ctypes.cast`, of which a cycle is left that holds all rows.
            self.table[place] = ctypes.c_void_p.from_buffer(function).value or 0


class Course:
    """How a loop goes whose functions are Python's: what ended it, and Ctrl-C meanwhile.

    At the entry of a function that C calls, an exception is printed and forgotten, and what the
    function returns is anything. So Ctrl-C waits until one has begun. What ends a function is
    NO_MEMORY to the loop.
    """

    def __init__(self, ends_at_once: bool) -> None:
        self._error: BaseException | None = None
        self._ends_at_once = ends_at_once
        self._raises = self._pending = False

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Run the loop within; raises what has ended it."""
        try:
            with self._patient():
                yield
        except MemoryError:
            error, self._error = self._error, None
            if error is None:
                raise
            raise error from None

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """Hold Ctrl-C back, until a function has begun or the loop has ended."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return

        def held(number: int, frame: Any) -> None:
            self._pending = not self._raises
            if self._raises:
                before(number, frame)

        signal.signal(signal.SIGINT, held)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            if self._pending:
                self._pending = False
                before(signal.SIGINT, None)

    def called(self, function: Callable[[], None]) -> int:
        """Call a function; return what the loop is told."""
        try:
            if not self._pending:
                self._raises = self._ends_at_once
                function()
            self._raises = False
        except BaseException as error:  # Ctrl-C too: an exception can't go through the loop
            self._raises = False
            self._error = error
            return NO_MEMORY
        return NO_MEMORY if self._pending else DONE


def _through(course: Course, record: Any, function: Callable[[Any], float]) -> Any:
    """Return a C function with a record's arguments."""

    def called(*values: Any) -> int:
        def summed() -> None:
            given = record(*values)
            ctypes.c_double.from_address(given.result).value = function(given)

        return course.called(summed)

    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *(_C_TYPES[k] for k in kinds(record).values()))
    return kind(called)


def _array(address: int, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """Array over memory that the loop holds."""
    size = dtype.itemsize * int(np.prod(shape))
    memory: Any = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)
