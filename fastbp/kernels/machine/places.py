"""The tables of addresses and sizes through which kernels reach each other.

A network's plan is one int64 table. Compiled code holds no copy of an activation and no link to
another unit, only places in this table: so one compiled driver serves every network, and what a
user's own compiled function stores on disk can't go stale.
"""

from __future__ import annotations

# The first place of every table that entries are given (`machine.linker.context`).
CONTEXT = 0
KEPT = 8  # in that: 0, or the address of a block of memory (`machine.workspace`)
MOST_KEPT = 9  # and how many bytes of one may be kept

# Places in a network's plan.
N_INPUTS = 1
N_NEURONS = 2
N_RUNS = 3
PRODUCT = 4
PACK = 5
BATCH = 6  # whole batches, part by part
REVERSE = 7  # the first-order driver of a part
REVERSE_FEW = 8  # the same for fewer samples than fill a vector
PER_SAMPLE = 9
TANGENT = 10
WEIGHTS = 11
COPY = 12
MATRIX = 13
RESOLVE = 14  # calls back into Python for what has not been filled in (`_in_numba`)
OUTPUT = 15  # + order: 1 where σ is filled in
READY = 18  # + order: 1 where all blocks of that order are filled in
NAMED_LOSSES = 21  # a table of the tables of the losses that compiled code names (`_in_numba`)
N_PARAMS = 22
W_OFFSET = 23  # bytes from a_{1,1} to w_{1,1}: in w, in a gradient, in a direction
N_OUTPUTS = 24
OUTPUTS = 25  # a table of outputs
ELSEWHERE = 26  # 0, or what finds residuals at one w times slopes at another, X not being here
INPUT_ROWS = 27  # of several outputs
RUNS = 28  # RUN_SIZE places for each run of consecutive neurons with one activation
RUN_START, RUN_COUNT, RUN_BLOCK, RUN_SIZE = 0, 1, 2, 5  # RUN_BLOCK + order

# Places in a table of outputs. Where the softmax joins them, there is one run, whose first block
# is that of exp and whose second that of log1p.
N_OUTPUT_RUNS = 0
SOFTMAX = 1  # 0, or the address of `drivers.softmax.softmax`
SOFTMAX_MOVED = 2  # that of `drivers.softmax.moved`
FUSED = 3  # whether the loss is cross entropy, taken from s
OUTPUT_RUNS = 4  # OUTPUT_SIZE places for each run of consecutive outputs with one σ and one ℓ
OUTPUT_START, OUTPUT_COUNT, OUTPUT_BLOCK, OUTPUT_LOSS, OUTPUT_SIZE = 0, 1, 2, 5, 8  # + order

# Places in a loss table: the pair (σ, loss) for one network and one loss.
LOSS_PLAN = 1
LOSS_OUTPUTS = 2  # a table of outputs
TARGET_WEIGHTS = 3  # 0, or a weight for each output
LOSS_READY = 5  # + order: 1 where σ and ℓ are filled in
LOSS_CHECK = 8  # 0, or the check of targets against a range: its ends, as the bits of float64
LOSS_LOWEST = 9
LOSS_HIGHEST = 10
LOSS_SIZE = 11

# Places in an objective's record: all that its calls need beside w. TOTAL = Σ c_b and L2 are the
# bits of float64, L2_EACH the address of what L2 is multiplied by for each parameter, or 0; BUSY is
# 1 while WORKSPACE is in use.
(
    PLAN, LOSS, DATA, N_SAMPLES, PANELS, TARGETS, SAMPLE_WEIGHTS, TOTAL, L2, PENALTY, WORKSPACE,
    BUSY, L2_EACH,
) = range(1, 14)  # fmt: skip
RECORD_SIZE = 14

# Places in the table of a driver that is in no plan: an optimizer, the pack of a batch.
DRIVER_PLAN, DRIVER_LOSS, DRIVER_ADDRESS = range(1, 4)
DRIVER_SIZE = 4

# What `tangent` computes beyond ẏ.
NOTHING, GAUSS_NEWTON, HESSIAN = range(3)
# What the head computes (`drivers.head`). In a Gauss–Newton matrix a sample weighs ℓ'', CURVED, or
# for robust losses max(ℓ'', |ℓ'| / |y − t|), REWEIGHTED.
VALUES, SLOPES, CURVED, REWEIGHTED, FULL = range(5)
# What of a Gauss–Newton matrix is made: all, the loss, or what remains after that.
WHOLE, FORWARD, REST = range(3)
