"""Matplotlib, imported when a plot is asked for."""

from __future__ import annotations

from typing import Any


def axes(ax: Any) -> Any:
    """Return the axes given, or new ones."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "plots need matplotlib, which is not installed; it comes with the extra: "
            "pip install 'fastbp[plot]'"
        ) from None
    return pyplot.subplots()[1]
