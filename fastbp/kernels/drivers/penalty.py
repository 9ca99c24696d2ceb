"""The penalty ½ Σ_j λ_j w_j².

λ_j is l2 for all j; where `each` is given, P numbers of float64, it is l2 times the j-th of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..machine.address import POINTER
from ..machine.build import Kernel, loop
from ..machine.records import Penalty


def penalty_of(dtype: np.dtype) -> Callable:
    """Return the jitted penalty of parameters of one number type."""
    pointer, real = POINTER[dtype], dtype.type
    pointer64 = POINTER[np.dtype(np.float64)]

    @loop
    def of_each(l2, each, w, g, P):
        ws, factors = pointer(w), pointer64(each)
        square = 0.0
        for k in range(P):
            square += factors[k] * (np.float64(ws[k]) * np.float64(ws[k]))
        if g:
            gs = pointer(g)
            for k in range(P):
                gs[k] += real(l2 * factors[k]) * ws[k]
        return 0.5 * l2 * square

    @loop
    def penalty(l2, each, w, g, P):
        """½ Σ_j λ_j w_j²; λ_j w_j is added to the gradient g, unless g is 0."""
        if l2 == 0.0:
            return 0.0
        if each:
            return of_each(l2, each, w, g, P)
        ws = pointer(w)
        square = 0.0
        for k in range(P):
            square += np.float64(ws[k]) * np.float64(ws[k])
        if g:
            gs = pointer(g)
            decay = real(l2)
            for k in range(P):
                gs[k] += decay * ws[k]
        return 0.5 * l2 * square

    return penalty


def penalty(dtype: np.dtype) -> Kernel:
    """½ Σ_j λ_j w_j² into ``result[0]``; λ_j w_j is added to the gradient g, unless g is 0."""
    pointer64 = POINTER[np.dtype(np.float64)]
    step = penalty_of(dtype)

    def penalty(l2, each, w, g, n, result):
        pointer64(result)[0] = step(l2, each, w, g, n)

    return Kernel(penalty, Penalty)
