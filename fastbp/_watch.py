"""Where pickles of 0.1.0 look for what is in `_training` now."""

from ._training.watch import EarlyStopping, FitState, NonFiniteLossError

__all__ = ["EarlyStopping", "FitState", "NonFiniteLossError"]
