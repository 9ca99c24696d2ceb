"""What a session of the suite has compared: `conftest` prints it at the end."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

LARGEST: defaultdict[str, float] = defaultdict(float)
"""The largest relative difference seen, by the name of the comparison."""

NETWORKS: set[Any] = set()
"""Random networks on which a kernel has been compared with the reference."""


def relative(got: Any, want: Any, floor: float = 0.0) -> float:
    """Return the largest difference, relative to the largest entry of `want`.

    `floor` stands in for the largest entry where that is smaller.
    """
    want = np.asarray(want)
    assert np.shape(got) == want.shape, (np.shape(got), want.shape)
    if not want.size:
        return 0.0
    largest = max(float(np.abs(want).max()), floor)
    difference = float(np.abs(np.asarray(got) - want).max())
    return difference / largest if difference else 0.0  # nan is true


def compare(name: str, got: Any, want: Any, limit: float, floor: float = 0.0) -> None:
    """Assert that the `relative` difference is within the limit, and put it on record."""
    difference = relative(got, want, floor)
    LARGEST[name] = max(LARGEST[name], difference)
    assert difference <= limit, f"{name}: relative difference {difference:.1e} > {limit:g}"
