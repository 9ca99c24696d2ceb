"""Places in the float64 vectors that Levenberg–Marquardt is given and keeps, and why it ends."""

# Settings.
TOTAL, L2, DAMPING, CURVATURE, START, GTOL, XTOL, FTOL, TARGET = range(9)
N_SETTINGS = 9
NIELSEN, MARQUARDT = 0, 1
# Kept from call to call.
FRESH, MU, NU, LOSS = range(4)
N_KEPT = 4
# Why a call ended.
GOING, SMALL_GRADIENT, SMALL_STEP, SMALL_GAIN, ON_TARGET, NOT_FINITE, STUCK = range(7)
