"""The plan of one network: the table through which compiled code reaches all it needs for it."""

from __future__ import annotations

import threading

import numpy as np

from ..._described import Described, DescribedLoss
from ..._lock import LOCK
from ..._symbolic.function import Function
from ..machine.linker import context
from ..machine.places import (
    BATCH,
    CONTEXT,
    COPY,
    LOSS_BLOCK,
    LOSS_CHECK,
    LOSS_HIGHEST,
    LOSS_LOWEST,
    LOSS_OUTPUT,
    LOSS_PLAN,
    LOSS_SIZE,
    MATRIX,
    N_INPUTS,
    N_NEURONS,
    N_PARAMS,
    N_RUNS,
    NAMED_LOSSES,
    OUTPUT,
    PACK,
    PER_SAMPLE,
    PRODUCT,
    READY,
    RESOLVE,
    REVERSE,
    REVERSE_FEW,
    RUN_BLOCK,
    RUN_COUNT,
    RUN_SIZE,
    RUN_START,
    RUNS,
    TANGENT,
    W_OFFSET,
    WEIGHTS,
)
from ..machine.unit import Unit
from . import units

_DRIVERS = {
    BATCH: units.batch,
    REVERSE: units.reverse,
    REVERSE_FEW: units.reverse_few,
    PER_SAMPLE: units.per_sample,
    TANGENT: units.tangent,
    WEIGHTS: units.weights,
    MATRIX: units.matrix,
}


class Plan:
    """The table of one network, filled as far as it has been asked for.

    Parameters
    ----------
    net : Described
        Its sizes and activations.
    """

    def __init__(self, net: Described) -> None:
        self._dtype = net.dtype
        self._output = net.output
        self._runs = _runs(net)
        self._losses: dict[str, np.ndarray] = {}
        self._filled: set[tuple[int, ...]] = set()
        self._blocks: list[Unit] = []  # held: they live as long as the networks that use them
        self.table = np.zeros(RUNS + RUN_SIZE * len(self._runs), np.int64)
        self.table[CONTEXT] = context().ctypes.data
        self.table[N_INPUTS] = net.n_inputs
        self.table[N_NEURONS] = net.n_neurons
        self.table[N_PARAMS] = net.n_neurons * (net.n_inputs + 1)
        self.table[W_OFFSET] = net.n_neurons * net.dtype.itemsize
        self.table[N_RUNS] = len(self._runs)
        for number, (start, count, _) in enumerate(self._runs):
            place = RUNS + RUN_SIZE * number
            self.table[place + RUN_START] = start
            self.table[place + RUN_COUNT] = count
        self.address = self.table.ctypes.data

    def serve(self, resolve: int, n_losses: int) -> None:
        """Have compiled code ask at an address for what is missing, and name so many losses."""
        self.named_losses = np.zeros(n_losses, np.int64)
        self.table[NAMED_LOSSES] = self.named_losses.ctypes.data
        self.table[RESOLVE] = resolve

    def need(self, order: int, *drivers: int) -> None:
        """Fill in the activations at an order, and the drivers at the given places."""
        if (order, *drivers) in self._filled:
            return
        with LOCK:
            self.table[PRODUCT] = units.product(self._dtype).address
            self.table[PACK] = units.pack(self._dtype).address
            self.table[COPY] = units.copy(self._dtype).address
            self.need_output(order)
            for number, (_, _, activation) in enumerate(self._runs):
                place = RUNS + RUN_SIZE * number + RUN_BLOCK + order
                self.table[place] = self._block(activation, order)
            for place in drivers:
                self.table[place] = _DRIVERS[place](self._dtype).address
            # Last, since compiled code may be reading the table meanwhile.
            _fence()
            self.table[READY + order] = 1
            self._filled.add((order, *drivers))

    def need_output(self, order: int) -> None:
        """Fill in σ at an order."""
        self.table[OUTPUT + order] = self._block(self._output, order)

    def _block(self, function: Function, order: int) -> int:
        unit = units.block(function, order, self._dtype)
        self._blocks.append(unit)
        return unit.address

    def loss_table(self, loss: DescribedLoss, order: int) -> np.ndarray:
        """Table of a loss, filled at the given order."""
        with LOCK:
            table = self._losses.get(loss.key)
            if table is None:
                table = np.zeros(LOSS_SIZE, np.int64)
                table[CONTEXT] = context().ctypes.data
                table[LOSS_PLAN] = self.address
                limits = np.array(loss.target_range, np.float64)
                if np.isfinite(limits).any():
                    table[LOSS_CHECK] = units.targets(self._dtype).address
                table[[LOSS_LOWEST, LOSS_HIGHEST]] = limits.view(np.int64)
                self._losses[loss.key] = table
            if not table[LOSS_BLOCK + order]:
                output, paired = loss.with_output(self._output)
                table[LOSS_OUTPUT + order] = self._block(output, order)
                block = self._block(paired, order)
                _fence()
                table[LOSS_BLOCK + order] = block
            return table


_held = threading.Lock()
_held.acquire()


def _fence() -> None:
    """Have what was stored before seen before what is stored after, on every processor.

    Nothing moves down past a lock's release, nor up past its acquisition.
    """
    _held.release()
    _held.acquire()


def _runs(net: Described) -> list:
    """Runs of consecutive neurons that share an activation: (start, count, activation)."""
    runs: list = []
    for i, activation in enumerate(net.activations):
        if runs and runs[-1][2] == activation:
            start, count, _ = runs[-1]
            runs[-1] = (start, count + 1, activation)
        else:
            runs.append((i, 1, activation))
    return runs
