"""The tables of addresses and sizes through which kernels reach each other.

A network's plan is one int64 table. Compiled code holds no copy of an activation and no link to
another unit, only places in this table: so one compiled driver serves every network, and what a
user's own compiled function stores on disk can't go stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..losses import NAMES as LOSSES
from ._blocks import block_unit
from ._products import copy_unit, pack_unit, product_unit

if TYPE_CHECKING:
    from ..losses import Loss
    from ..network import Network

# Places in a network's plan.
N_INPUTS = 0
N_NEURONS = 1
N_RUNS = 2
PRODUCT = 3
PACK = 4
BATCH = 5  # whole batches, part by part
REVERSE = 6  # the first-order driver of a part
REVERSE_FEW = 7  # the same for fewer samples than fill a vector
PER_SAMPLE = 8
TANGENT = 9
WEIGHTS = 10
COPY = 11
RESOLVE = 12  # calls back into Python for what has not been filled in (`_network_type`)
DTYPE = 13
NDARRAY = 14
NONE = 15
OUTPUT = 16  # + order: the block of σ
NAMED_LOSSES = 19  # + place of the loss among the named ones: its table
RUNS = NAMED_LOSSES + len(
    LOSSES
)  # RUN_SIZE places for each run of consecutive neurons with one activation
RUN_START, RUN_COUNT, RUN_BLOCK, RUN_SIZE = 0, 1, 2, 5  # RUN_BLOCK + order

# Places in a loss table: the pair (σ, loss) for one network and one loss.
LOSS_OUTPUT = 0  # + order
LOSS_BLOCK = 3  # + order
LOSS_CHECK = 6  # 0, or the check of targets against a range: its ends, as the bits of float64
LOSS_LOWEST = 7
LOSS_HIGHEST = 8
_LOSS_SIZE = 9


class Plan:
    """The table of one network, filled as far as it has been asked for.

    Parameters
    ----------
    net : Network
        Its sizes and activations.
    """

    def __init__(self, net: Network) -> None:
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
        from .batch import batch_unit, weights_unit
        from .first_order import per_sample_unit, reverse_few_unit, reverse_unit
        from .second_order import tangent_unit

        units = {
            BATCH: batch_unit,
            REVERSE: reverse_unit,
            REVERSE_FEW: reverse_few_unit,
            PER_SAMPLE: per_sample_unit,
            TANGENT: tangent_unit,
            WEIGHTS: weights_unit,
        }
        self.table[PRODUCT] = product_unit(self._dtype).address
        self.table[PACK] = pack_unit(self._dtype).address
        self.table[COPY] = copy_unit(self._dtype).address
        self.need_output(order)
        for number, (_, _, activation) in enumerate(self._runs):
            block = block_unit(activation, order, self._dtype)
            self.table[RUNS + RUN_SIZE * number + RUN_BLOCK + order] = block.address
        for place in drivers:
            self.table[place] = units[place](self._dtype).address
        self._filled.add((order, *drivers))

    def need_output(self, order: int) -> None:
        """Fill in σ at an order."""
        self.table[OUTPUT + order] = block_unit(self._output, order, self._dtype).address

    def loss_table(self, loss: Loss, order: int) -> int:
        """Address of the table of a loss, filled at the given order."""
        from .batch import targets_unit

        table = self._losses.get(loss)
        if table is None:
            table = np.zeros(_LOSS_SIZE, np.int64)
            limits = np.array(loss.target_range, np.float64)
            if np.isfinite(limits).any():
                table[LOSS_CHECK] = targets_unit(self._dtype).address
            table[[LOSS_LOWEST, LOSS_HIGHEST]] = limits.view(np.int64)
            self._losses[loss] = table
        if not table[LOSS_BLOCK + order]:
            output, paired = loss.with_output(self._output)
            table[LOSS_OUTPUT + order] = block_unit(output, order, self._dtype).address
            table[LOSS_BLOCK + order] = block_unit(paired, order, self._dtype).address
        return int(table.ctypes.data)


def _runs(net: Network) -> list:
    """Runs of consecutive neurons that share an activation: (start, count, activation)."""
    runs: list = []
    for i, activation in enumerate(net.activations):
        if runs and runs[-1][2] == activation:
            start, count, _ = runs[-1]
            runs[-1] = (start, count + 1, activation)
        else:
            runs.append((i, 1, activation))
    return runs
