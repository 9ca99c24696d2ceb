"""Places in the float64 vectors that Levenberg–Marquardt is given and keeps, and why it ends."""

# Settings. SIZE: what a small fall is measured by; below 0 it is the loss itself. RMS: of targets;
# 0 for other losses than the squared.
TOTAL, L2, DAMPING, CURVATURE, START, GTOL, XTOL, FTOL, TARGET, SIZE, RMS = range(11)
N_SETTINGS = 11
NIELSEN, MARQUARDT = 0, 1
# Kept from call to call. FRESH: g and G belong to w; BEGUN: LOSS does. HELD: the last step was left
# out to ask an undamped one, ASKED so many times. SECOND: the run from the start once more, the
# first having stalled at FIRST_LOSS; −1 where it is next. STEPS: iterations of this run. TRUSTED:
# the least fall foreseen of steps that the gradients alone judge.
FRESH, MU, NU, LOSS, BEGUN, HELD, ASKED, SECOND, FIRST_LOSS, STEPS, TRUSTED = range(11)
N_KEPT = 11
# Why a call ended. SLOWLY: a SMALL_GAIN, after which many would follow; it is said as that.
(
    GOING, SMALL_GRADIENT, SMALL_STEP, SMALL_GAIN, ON_TARGET, NOT_FINITE, STUCK, STALLED, SADDLE,
    NOTHING_FREE, ROUNDED, SLOWLY,
) = range(12)  # fmt: skip
# In words, for the methods of SciPy too.
REASONS = (
    "",
    "converged: the gradient vanishes",
    "converged: the steps vanish",
    "converged: the loss no longer falls",
    "target reached",
    "not finite",
    "stuck: no step lowers the loss",
    "stalled: steps no longer lower the loss, though it is not stationary",
    "saddle: the gradient is zero at the start; begin elsewhere (w0, seed)",
    "converged: no parameter is free to move",
    "stalled: what is left to gain is below rounding",
)
