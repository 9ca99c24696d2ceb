"""What an Objective keeps: its record, the packed data, the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._passes import passes
from ._threads import automatic
from .bound import (
    DATA,
    L2,
    LOSS,
    N_SAMPLES,
    PANELS,
    PLAN,
    RECORD_SIZE,
    SAMPLE_WEIGHTS,
    TARGETS,
    TOTAL,
    WORKSPACE,
    bound_entry,
    pack_batch_unit,
    penalty_unit,
    sizes_unit,
)

if TYPE_CHECKING:
    from ..losses import Loss
    from ._calls import Calls
    from ._network_plan import Described


class Bound:
    """The compiled side of an objective.

    Attributes
    ----------
    address : int
        That of the record, the first argument of `entry`.
    entry : callable
        ``entry(address, w, g) -> loss``.
    """

    def __init__(
        self,
        net: Described,
        calls: Calls,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        loss: Loss,
        l2: float,
        threads: int,
    ) -> None:
        self._shape = (net.n_inputs, net.n_neurons)
        self._calls = calls
        self._data = (X, t, c)
        self._l2 = l2
        self._threads = threads
        B = len(X)
        self._loss = loss
        self._table = self._prepare(1)
        record = np.zeros(RECORD_SIZE, np.int64)
        record[PLAN] = calls.address
        record[LOSS] = self._table
        record[DATA], record[N_SAMPLES] = X.ctypes.data, B
        record[TARGETS] = t.ctypes.data
        record[SAMPLE_WEIGHTS] = 0 if c is None else c.ctypes.data
        total = float(B) if c is None else calls.weight_sum(c)
        record[[TOTAL, L2]] = np.array([total, l2]).view(np.int64)
        self._panels = np.empty(0, X.dtype)
        if not passes(X.dtype).few.py_func(B):
            # Packed once: filled up to whole vectors (64 bytes at most) at the end.
            self._panels = np.empty((B + 16) * net.n_inputs, X.dtype)
            record[PANELS] = self._panels.ctypes.data
            pack_batch_unit(X.dtype).entry(
                calls.address, X.ctypes.data, B, self._panels.ctypes.data
            )
        self._workspace = np.empty(sizes_unit(X.dtype).entry(calls.address, B), X.dtype)
        record[WORKSPACE] = self._workspace.ctypes.data
        self._record = record
        self.address = record.ctypes.data
        self.entry = bound_entry(X.dtype).entry

    def _prepare(self, order: int) -> int:
        X, _, c = self._data
        return self._calls.prepare_loss(self._loss, self._loss, order, len(X), c is not None)

    def loss(self, w: NDArray, g: NDArray | None) -> float:
        """Loss, and gradient where g is given, on the objective's threads; w already checked."""
        self._prepare(0 if g is None else 1)
        X, t, c = self._data
        threads = self._threads or automatic(len(X), self._shape)
        if threads == 1:
            return self.entry(self.address, w, g)
        panels = self._panels if self._panels.size else None
        loss = self._calls.loss_threaded(threads, self._table, w, X, t, c, g, panels)
        if self._l2:
            address = 0 if g is None else g.ctypes.data
            loss += penalty_unit(w.dtype).entry(self._l2, w.ctypes.data, address, w.size)
        return loss
