"""Memory that a call works with, of which one block stays for the next call.

Where the workspace was given back to C's library beside a result that Python then let go, glibc
handed both to the system and took them anew, page by page, in each call: of results of 0.1 to 2 MB
a call took up to twice as long (input_grad of 400 x 64 x 64 x 3 outputs, float32: 181 to 93 us).
"""

from __future__ import annotations

import numpy as np

from .address import POINTER, allocate, exchange, load, release
from .build import loop
from .places import CONTEXT, KEPT, MOST_KEPT

_HEADER = 64  # bytes before the memory; the first number is how many follow

_integers = POINTER[np.dtype(np.int64)]


@loop
def borrow(plan, n_bytes):
    """Return the address of so much memory, 0 where there is none."""
    own = exchange(load(plan, CONTEXT), KEPT, 0)
    if own != 0 and load(own, 0) < n_bytes:
        release(own)
        own = 0
    if own == 0:
        own = allocate(n_bytes + _HEADER)
        if own == 0:
            return 0
        _integers(own)[0] = n_bytes
    return own + _HEADER


@loop
def give_back(plan, memory):
    """Take back what was borrowed: it stays, if it is not large, in place of what did."""
    own = memory - _HEADER
    context = load(plan, CONTEXT)
    if load(own, 0) <= load(context, MOST_KEPT):
        own = exchange(context, KEPT, own)
    if own != 0:
        release(own)
