"""The tables of addresses and sizes through which kernels reach each other.

A network's plan is one int64 table. Compiled code holds no copy of an activation and no link to
another unit, only places in this table: so one compiled driver serves every network, and what a
user's own compiled function stores on disk can't go stale.
"""

from __future__ import annotations

from ..losses import NAMES as LOSSES

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
READY = 19  # + order: 1 where all blocks of that order are filled in
NAMED_LOSSES = 22  # + place of the loss among the named ones: its table
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
LOSS_SIZE = 9
