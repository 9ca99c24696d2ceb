"""Fits: the problem, the optimizers at work, what is watched and kept."""
