"""What an Objective keeps: its record, the packed data, the workspace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..machine import places as at
from ..machine.linker import context
from ..machine.sizes import batch_workspace, is_packed, sizes
from . import units
from .prepared import plain

if TYPE_CHECKING:
    from ..._described import Described, DescribedLoss, Targets
    from .prepared import Calls


def parted(l2: float | NDArray) -> tuple[float, NDArray | None]:
    """Return l2 as `drivers.penalty` takes it: a factor, and what it multiplies for each parameter.

    A vector must be float64 and live as long as its address is used.
    """
    return (1.0, l2) if isinstance(l2, np.ndarray) else (l2, None)


class Bound:
    """The compiled side of an objective, of whose targets no array may be made.

    Then `evaluate` alone is to be called.

    Attributes
    ----------
    loss_and_grad : callable
        ``loss_and_grad(w, g) -> loss, g``.
    loss : callable
        ``loss(w) -> loss``.
    """

    loss_and_grad: Callable
    loss: Callable

    def __init__(
        self,
        net: Described,
        calls: Calls,
        X: NDArray,
        t: Targets,
        c: NDArray | None,
        loss: DescribedLoss,
        l2: float | NDArray,
        threads: int,
        target_weight: NDArray | None = None,
    ) -> None:
        self._calls = calls
        self._data = (X, t, c)
        self._l2, self._each = parted(l2)
        self._threads = threads
        self._ell = loss
        dtype, B = X.dtype, len(X)
        self._prepare(1)
        if target_weight is not None:
            self._prepare(0)  # a table with weights is what the plan's was when it was made
        self._table = calls.plan.loss_table(loss, 1, target_weight)
        record = np.zeros(at.RECORD_SIZE, np.int64)
        record[at.CONTEXT] = context().ctypes.data
        record[at.PLAN] = calls.address
        record[at.LOSS] = self._table.ctypes.data
        record[at.DATA], record[at.N_SAMPLES] = X.ctypes.data, B
        record[at.TARGETS] = t.ctypes.data if isinstance(t, np.ndarray) else 0
        record[at.SAMPLE_WEIGHTS] = 0 if c is None else c.ctypes.data
        record[at.PENALTY] = units.penalty(dtype).address
        total = float(B) if c is None else calls.weight_sum(c)
        record[[at.TOTAL, at.L2]] = np.array([total, self._l2]).view(np.int64)
        record[at.L2_EACH] = 0 if self._each is None else self._each.ctypes.data
        self._panels = None
        if not sizes(dtype).few(B) and is_packed(B, net.n_inputs, net.n_outputs, dtype.itemsize):
            # Packed once: filled up to whole vectors (64 bytes at most) at the end.
            self._panels = np.empty((B + 16) * net.n_inputs, dtype)
            record[at.PANELS] = self._panels.ctypes.data
            calls.driver("pack_batch", units.pack_batch(dtype).address, None)(X, self._panels)
        numbers = batch_workspace(dtype, net.n_inputs, net.n_neurons, net.n_outputs, B)
        self._workspace = np.empty(numbers, dtype)
        record[at.WORKSPACE] = self._workspace.ctypes.data
        several = net.n_outputs > 1
        self.loss_and_grad = units.entry("objective", dtype, several).entry(record)
        self.loss = units.entry("objective_value", dtype, several).entry(record)

    def _prepare(self, order: int) -> None:
        self._calls.prepare(order, len(self._data[0]))
        self._calls.plan.loss_table(self._ell, order)

    def evaluate(self, w: NDArray, g: NDArray | None) -> float:
        """Loss, and gradient where g is given, on the objective's threads; w already checked."""
        self._prepare(0 if g is None else 1)
        X, t, c = self._data
        threads = self._calls.threads(self._threads, len(X))
        if threads == 1 and isinstance(t, np.ndarray):
            return self.loss(w) if g is None else self.loss_and_grad(w, g)[0]
        loss = self._calls.loss_in_parts(threads, self._table, w, X, t, c, g, self._panels)
        return loss + plain("penalty", w.dtype)(self._l2, w, self._each, g) if self._l2 else loss
