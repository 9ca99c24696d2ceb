"""The plan of one network: the table through which compiled code reaches all it needs for it."""

from __future__ import annotations

import threading

import numpy as np

from ..._described import Described, DescribedLoss, joins
from ..._lock import LOCK
from ..._symbolic.function import Function
from ..machine.linker import context
from ..machine.places import (
    BATCH,
    CONTEXT,
    COPY,
    LOSS_CHECK,
    LOSS_HIGHEST,
    LOSS_LOWEST,
    LOSS_OUTPUTS,
    LOSS_PLAN,
    LOSS_READY,
    LOSS_SIZE,
    MATRIX,
    N_INPUTS,
    N_NEURONS,
    N_OUTPUTS,
    N_PARAMS,
    N_RUNS,
    NAMED_LOSSES,
    OUTPUT,
    OUTPUTS,
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
    TARGET_WEIGHTS,
    W_OFFSET,
    WEIGHTS,
)
from ..machine.sizes import sizes
from ..machine.unit import Unit
from . import units
from .outputs import Outputs, runs_of

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
        self._net = (net.output, net.n_outputs, net.dtype)
        self._runs = runs_of(net.activations)
        self._outputs = Outputs(*self._net)
        self._losses: dict[str, tuple[np.ndarray, Outputs]] = {}
        self._filled: set[tuple[int, ...]] = set()
        self._blocks: list[Unit] = []  # held: they live as long as the networks that use them
        self.table = np.zeros(RUNS + RUN_SIZE * len(self._runs), np.int64)
        self.table[CONTEXT] = context().ctypes.data
        self.table[N_INPUTS] = net.n_inputs
        self.table[N_NEURONS] = net.n_neurons
        self.table[N_OUTPUTS] = net.n_outputs
        self.table[N_PARAMS] = net.n_params
        self.table[W_OFFSET] = net.n_outputs * net.n_neurons * net.dtype.itemsize
        self.table[OUTPUTS] = self._outputs.table.ctypes.data
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
            if sizes(self._dtype).copies(self.table[N_INPUTS], self.table[N_NEURONS]):
                self.table[COPY] = units.copy(self._dtype).address
            self.need_output(order)
            for number, (_, _, activation) in enumerate(self._runs):
                place = RUNS + RUN_SIZE * number + RUN_BLOCK + order
                self.table[place] = self._block(activation, order)
            for place in drivers:
                unit = _DRIVERS[place]
                if place == MATRIX and self.table[N_OUTPUTS] > 1:
                    unit = units.matrix_outputs
                self.table[place] = unit(self._dtype).address
            # Last, since compiled code may be reading the table meanwhile.
            _fence()
            self.table[READY + order] = 1
            self._filled.add((order, *drivers))

    def need_output(self, order: int) -> None:
        """Fill in σ at an order."""
        self._outputs.fill(order)
        self.table[OUTPUT + order] = 1

    def _block(self, function: Function, order: int) -> int:
        unit = units.block(function, order, self._dtype)
        self._blocks.append(unit)
        return unit.address

    def loss_table(
        self, loss: DescribedLoss, order: int, target_weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Table of a loss, filled at the given order; with weights of the outputs, one's own."""
        with LOCK:
            if loss.key not in self._losses:
                self._losses[loss.key] = self._new_loss(loss)
            table, outputs = self._losses[loss.key]
            if not table[LOSS_READY + order]:
                outputs.fill(order)
                _fence()
                table[LOSS_READY + order] = 1
        if target_weight is None:
            return table
        # The weights stand behind the table, so that who holds it holds them.
        bits = np.zeros(len(target_weight), np.int64)
        bits.view(self._dtype)[: len(target_weight)] = target_weight
        table = np.concatenate([table, bits])
        table[TARGET_WEIGHTS] = table[LOSS_SIZE:].ctypes.data
        return table

    def _new_loss(self, loss: DescribedLoss) -> tuple[np.ndarray, Outputs]:
        output, n_outputs, dtype = self._net
        outputs = Outputs(output, n_outputs, dtype, loss)
        table = np.zeros(LOSS_SIZE, np.int64)
        table[CONTEXT] = context().ctypes.data
        table[LOSS_PLAN] = self.address
        table[LOSS_OUTPUTS] = outputs.table.ctypes.data
        limits = np.array(loss.target_range, np.float64)
        if loss.fuses_with_softmax and joins(output):
            table[LOSS_CHECK] = units.probabilities(dtype).address
        elif np.isfinite(limits).any():
            table[LOSS_CHECK] = units.targets(dtype).address
        table[[LOSS_LOWEST, LOSS_HIGHEST]] = limits.view(np.int64)
        return table, outputs


_held = threading.Lock()
_held.acquire()


def _fence() -> None:
    """Have what was stored before seen before what is stored after, on every processor.

    Nothing moves down past a lock's release, nor up past its acquisition.
    """
    _held.release()
    _held.acquire()
