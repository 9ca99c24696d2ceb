"""The plan of one network: the table through which compiled code reaches all it needs for it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..activations import Activation
from ..losses import Loss
from ._blocks import block_unit
from ._plan import (
    BATCH,
    COPY,
    DTYPE,
    LOSS_BLOCK,
    LOSS_CHECK,
    LOSS_HIGHEST,
    LOSS_LOWEST,
    LOSS_OUTPUT,
    LOSS_SIZE,
    N_INPUTS,
    N_NEURONS,
    N_RUNS,
    NDARRAY,
    NONE,
    OUTPUT,
    PACK,
    PER_SAMPLE,
    PRODUCT,
    READY,
    REVERSE,
    REVERSE_FEW,
    RUN_BLOCK,
    RUN_COUNT,
    RUN_SIZE,
    RUN_START,
    RUNS,
    TANGENT,
    WEIGHTS,
)
from ._products import copy_unit, pack_unit, product_unit
from .batch import batch_unit, targets_unit, weights_unit
from .first_order import per_sample_unit, reverse_few_unit, reverse_unit
from .second_order import tangent_unit

_DRIVERS = {
    BATCH: batch_unit,
    REVERSE: reverse_unit,
    REVERSE_FEW: reverse_few_unit,
    PER_SAMPLE: per_sample_unit,
    TANGENT: tangent_unit,
    WEIGHTS: weights_unit,
}


class Described(Protocol):
    """What kernels know of a network."""

    @property
    def n_inputs(self) -> int:
        """N."""

    @property
    def n_neurons(self) -> int:
        """H."""

    @property
    def activations(self) -> tuple[Activation, ...]:
        """v_1 … v_H."""

    @property
    def output(self) -> Activation:
        """σ."""

    @property
    def dtype(self) -> np.dtype:
        """The number type."""


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
        self._losses: dict[Loss, np.ndarray] = {}
        self._filled: set[tuple[int, ...]] = set()
        self.table = np.zeros(RUNS + RUN_SIZE * len(self._runs), np.int64)
        self.table[N_INPUTS] = net.n_inputs
        self.table[N_NEURONS] = net.n_neurons
        self.table[N_RUNS] = len(self._runs)
        # Addresses of Python's own objects, for the check of array headers in compiled code.
        self.table[DTYPE] = id(self._dtype)
        self.table[NDARRAY] = id(np.ndarray)
        self.table[NONE] = id(None)
        for number, (start, count, _) in enumerate(self._runs):
            place = RUNS + RUN_SIZE * number
            self.table[place + RUN_START] = start
            self.table[place + RUN_COUNT] = count
        self.address = self.table.ctypes.data

    def need(self, order: int, *drivers: int) -> None:
        """Fill in the activations at an order, and the drivers at the given places."""
        if (order, *drivers) in self._filled:
            return
        self.table[PRODUCT] = product_unit(self._dtype).address
        self.table[PACK] = pack_unit(self._dtype).address
        self.table[COPY] = copy_unit(self._dtype).address
        self.need_output(order)
        for number, (_, _, activation) in enumerate(self._runs):
            block = block_unit(activation, order, self._dtype)
            self.table[RUNS + RUN_SIZE * number + RUN_BLOCK + order] = block.address
        for place in drivers:
            self.table[place] = _DRIVERS[place](self._dtype).address
        # Last, since other threads may be reading the table meanwhile.
        self.table[READY + order] = 1
        self._filled.add((order, *drivers))

    def need_output(self, order: int) -> None:
        """Fill in σ at an order."""
        self.table[OUTPUT + order] = block_unit(self._output, order, self._dtype).address

    def loss_table(self, loss: Loss, order: int) -> int:
        """Address of the table of a loss, filled at the given order."""
        table = self._losses.get(loss)
        if table is None:
            table = np.zeros(LOSS_SIZE, np.int64)
            limits = np.array(loss.target_range, np.float64)
            if np.isfinite(limits).any():
                table[LOSS_CHECK] = targets_unit(self._dtype).address
            table[[LOSS_LOWEST, LOSS_HIGHEST]] = limits.view(np.int64)
            table = self._losses.setdefault(loss, table)  # one table, whoever is first
        if not table[LOSS_BLOCK + order]:
            output, paired = loss.with_output(self._output)
            table[LOSS_OUTPUT + order] = block_unit(output, order, self._dtype).address
            table[LOSS_BLOCK + order] = block_unit(paired, order, self._dtype).address
        return int(table.ctypes.data)


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
