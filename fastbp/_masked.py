"""Collections that NumPy would turn into an array, and that are none of plain numbers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def unmasked(name: str, value: Any) -> Any:
    """Refuse what has masked entries, whose numbers mean nothing: conversion would forget the mask.

    Also for a list or tuple of masked arrays; and a collection of Dask, which would be computed.
    """
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "__dask_graph__"):
        raise TypeError(
            f"{name} is a collection of Dask, which this call does not pull into memory: take "
            f"fastbp.dask.fit or the estimators of fastbp.dask, or {name}.compute()"
        )
    masked = sys.modules.get("numpy.ma")  # where it is not imported, nothing is masked
    if masked is not None:
        parts = value if isinstance(value, list | tuple) else (value,)
        for part in parts:
            if isinstance(part, masked.MaskedArray) and masked.is_masked(part):
                raise TypeError(
                    f"{name} has masked entries, which stand for no numbers; fill them in, or "
                    "leave their observations out"
                )
    return value
