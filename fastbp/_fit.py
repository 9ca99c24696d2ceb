"""Where pickles of 0.1.0 look for what is in `_training` now."""

from ._training.result import FitResult

__all__ = ["FitResult"]
