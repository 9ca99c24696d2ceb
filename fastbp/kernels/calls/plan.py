"""The plan of one network: the table through which compiled code reaches all it needs for it."""

from __future__ import annotations

import threading

import numpy as np

from ..._described import Described, DescribedLoss, joins
from ..._lock import LOCK
from ..._symbolic.function import Function
from ..machine import places as at
from ..machine.linker import context
from ..machine.sizes import sizes
from ..machine.unit import Unit
from . import units
from .outputs import Outputs, runs_of

_DRIVERS = {
    at.BATCH: units.batch,
    at.REVERSE: units.reverse,
    at.REVERSE_FEW: units.reverse_few,
    at.PER_SAMPLE: units.per_sample,
    at.TANGENT: units.tangent,
    at.WEIGHTS: units.weights,
    at.MATRIX: units.matrix,
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
        self._losses: dict[tuple, tuple[np.ndarray, Outputs]] = {}
        self._filled: set[tuple[int, ...]] = set()
        self._blocks: list[Unit] = []  # held: they live as long as the networks that use them
        self.table = np.zeros(at.RUNS + at.RUN_SIZE * len(self._runs), np.int64)
        self.table[at.CONTEXT] = context().ctypes.data
        self.table[at.N_INPUTS] = net.n_inputs
        self.table[at.N_NEURONS] = net.n_neurons
        self.table[at.N_OUTPUTS] = net.n_outputs
        self.table[at.N_PARAMS] = net.n_params
        self.table[at.W_OFFSET] = net.n_outputs * net.n_neurons * net.dtype.itemsize
        self.table[at.OUTPUTS] = self._outputs.table.ctypes.data
        self.table[at.N_RUNS] = len(self._runs)
        for number, (start, count, _) in enumerate(self._runs):
            place = at.RUNS + at.RUN_SIZE * number
            self.table[place + at.RUN_START] = start
            self.table[place + at.RUN_COUNT] = count
        self.address = self.table.ctypes.data

    def serve(self, resolve: int, n_losses: int) -> None:
        """Have compiled code ask at an address for what is missing, and name so many losses."""
        self.named_losses = np.zeros(n_losses, np.int64)
        self.table[at.NAMED_LOSSES] = self.named_losses.ctypes.data
        self.table[at.RESOLVE] = resolve

    def need(self, order: int, *drivers: int) -> None:
        """Fill in the activations at an order, and the drivers at the given places."""
        if (order, *drivers) in self._filled:
            return
        with LOCK:
            self.table[at.PRODUCT] = units.product(self._dtype).address
            self.table[at.PACK] = units.pack(self._dtype).address
            if sizes(self._dtype).copies(self.table[at.N_INPUTS], self.table[at.N_NEURONS]):
                self.table[at.COPY] = units.copy(self._dtype).address
            self.need_output(order)
            for number, (_, _, activation) in enumerate(self._runs):
                place = at.RUNS + at.RUN_SIZE * number + at.RUN_BLOCK + order
                self.table[place] = self._block(activation, order)
            for place in drivers:
                unit = _DRIVERS[place]
                several = self.table[at.N_OUTPUTS] > 1
                if place == at.MATRIX and several:
                    unit = units.matrix_outputs
                if place in (at.PER_SAMPLE, at.TANGENT) and several:
                    self.table[at.INPUT_ROWS] = units.input_rows(self._dtype).address
                self.table[place] = unit(self._dtype).address
            # Last, since compiled code may be reading the table meanwhile.
            _fence()
            self.table[at.READY + order] = 1
            self._filled.add((order, *drivers))

    def need_output(self, order: int) -> None:
        """Fill in σ at an order."""
        self._outputs.fill(order)
        self.table[at.OUTPUT + order] = 1

    def _block(self, function: Function, order: int) -> int:
        unit = units.block(function, order, self._dtype)
        self._blocks.append(unit)
        return unit.address

    def loss_table(
        self, loss: DescribedLoss, order: int, target_weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Table of a loss, filled at the given order; with weights of the outputs, one's own."""
        with LOCK:
            known = loss.key, loss.target_range  # of one formula there may be several ranges
            if known not in self._losses:
                self._losses[known] = self._new_loss(loss)
            table, outputs = self._losses[known]
            if not table[at.LOSS_READY + order]:
                outputs.fill(order)
                _fence()
                table[at.LOSS_READY + order] = 1
        if target_weight is None:
            return table
        # The weights stand behind the table, so that who holds it holds them.
        bits = np.zeros(len(target_weight), np.int64)
        bits.view(self._dtype)[: len(target_weight)] = target_weight
        table = np.concatenate([table, bits])
        table[at.TARGET_WEIGHTS] = table[at.LOSS_SIZE :].ctypes.data
        return table

    def _new_loss(self, loss: DescribedLoss) -> tuple[np.ndarray, Outputs]:
        output, n_outputs, dtype = self._net
        outputs = Outputs(output, n_outputs, dtype, loss)
        table = np.zeros(at.LOSS_SIZE, np.int64)
        table[at.CONTEXT] = context().ctypes.data
        table[at.LOSS_PLAN] = self.address
        table[at.LOSS_OUTPUTS] = outputs.table.ctypes.data
        with np.errstate(over="ignore"):
            limits = np.array(loss.target_range, dtype)  # as targets are compared
        limits = limits.astype(np.float64)
        if loss.fuses_with_softmax and joins(output):
            table[at.LOSS_CHECK] = units.probabilities(dtype).address
        elif np.isfinite(limits).any():
            table[at.LOSS_CHECK] = units.targets(dtype).address
        table[[at.LOSS_LOWEST, at.LOSS_HIGHEST]] = limits.view(np.int64)
        return table, outputs


_held = threading.Lock()
_held.acquire()


def _fence() -> None:
    """Have what was stored before seen before what is stored after, on every processor.

    Nothing moves down past a lock's release, nor up past its acquisition.
    """
    _held.release()
    _held.acquire()
