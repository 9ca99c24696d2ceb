"""What an Objective keeps: its record, the packed data, the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._passes import passes
from ._threads import automatic
from .bound import (
    BUSY,
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
    from ..objective import Objective


class Bound:
    """The compiled side of an objective.

    Attributes
    ----------
    address : int
        That of the record, the first argument of `entry`.
    entry : callable
        ``entry(address, w, g) -> loss``.
    """

    def __init__(self, objective: Objective) -> None:
        net, X, t, c = objective.net, objective.X, objective.t, objective.sample_weight
        self._calls = calls = net._ready()
        self._objective = objective
        B = len(X)
        for order in (1, 0):
            table = calls.prepare_loss(objective.loss, objective.loss, order, B, c is not None)
        record = np.zeros(RECORD_SIZE, np.int64)
        record[PLAN] = calls.address
        record[LOSS] = self._table = table
        record[DATA], record[N_SAMPLES] = X.ctypes.data, B
        record[TARGETS] = t.ctypes.data
        record[SAMPLE_WEIGHTS] = 0 if c is None else c.ctypes.data
        total = float(B) if c is None else calls.weight_sum(c)
        record[[TOTAL, L2]] = np.array([total, objective.l2]).view(np.int64)
        self._panels = np.empty(0, net.dtype)
        if not passes(net.dtype).few.py_func(B):
            # Packed once: filled up to whole vectors (64 bytes at most) at the end.
            self._panels = np.empty((B + 16) * net.n_inputs, net.dtype)
            record[PANELS] = self._panels.ctypes.data
            pack_batch_unit(net.dtype).entry(
                calls.address, X.ctypes.data, B, self._panels.ctypes.data
            )
        self._workspace = np.empty(sizes_unit(net.dtype).entry(calls.address, B), net.dtype)
        record[WORKSPACE] = self._workspace.ctypes.data
        record[BUSY] = 0
        self._record = record
        self.address = record.ctypes.data
        self.entry = bound_entry(net.dtype).entry

    def loss(self, w: NDArray, g: NDArray | None) -> float:
        """Loss, and gradient where g is given, on the objective's threads; w already checked."""
        o = self._objective
        threads = o.threads or automatic(len(o.X), (o.net.n_inputs, o.net.n_neurons))
        if threads == 1:
            return self.entry(self.address, w, g)
        loss = self._calls.loss_threaded(
            threads, self._table, w, o.X, o.t, o.sample_weight, g, self._panels
        )
        if o.l2:
            address = 0 if g is None else g.ctypes.data
            loss += penalty_unit(w.dtype).entry(o.l2, w.ctypes.data, address, w.size)
        return loss
