"""Where pickles of 0.1.0 look for what is in `_training` now."""

from ._training.uncertainty import Data, Spread

__all__ = ["Data", "Spread"]
