"""Places in the float64 vectors that an epoch of a stochastic optimizer is given, and leaves."""

# Settings.
L2, DECAY = 0, 1  # both rules
MOMENTUM, NESTEROV = 2, 3  # SGD
BETA1, BETA2, EPSILON = 2, 3, 4  # Adam
N_SETTINGS = 5
# What an epoch leaves behind.
LOSS_SUM, POWER1, POWER2, FINITE = range(4)  # the powers of Adam's betas, for the next epoch
N_RESULTS = 4
