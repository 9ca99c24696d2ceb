"""Many small fits in one call: the unit of Levenberg–Marquardt for one group after the other."""

from __future__ import annotations

import numpy as np

from ..machine.address import load, shifted
from ..machine.build import Kernel
from ..machine.callers import call_levenberg
from ..machine.levenberg_settings import N_KEPT, N_SETTINGS
from ..machine.places import N_INPUTS, N_OUTPUTS, N_PARAMS
from ..machine.records import DONE, LevenbergGroups


def levenberg_groups(dtype: np.dtype) -> Kernel:
    """Make the kernel that hands each group to `run`, the address of `levenberg`.

    w, settings, `kept`, `own`, `starts` and `result` have a row for each group, X, t and c its
    observations from ``first[m]`` (int64) up to ``first[m + 1]``; the rest is as `levenberg` takes
    it, and common to all: g, G and `history` are scratch.
    """
    size = dtype.itemsize

    def levenberg_groups(
        plan, loss, run, w, X, t, c, first, M, settings, kept, own, kinds, starts, g, G, free, each,
        low, high, n, history, result,
    ):  # fmt: skip
        N, K, P = load(plan, N_INPUTS), load(plan, N_OUTPUTS), load(plan, N_PARAMS)
        for m in range(M):
            at = load(first, m)
            status = call_levenberg(
                run, plan=plan, loss=loss, w=w + m * P * size, X=X + at * N * size,
                B=load(first, m + 1) - at, t=t + at * K * size, c=shifted(c, at * size),
                settings=settings + m * N_SETTINGS * 8, kept=kept + m * N_KEPT * 8,
                own=own + m * P * 8, kinds=kinds, starts=starts + 2 * m * P * size, g=g, G=G,
                free=free, each=each, low=low, high=high, n=n, history=history,
                result=result + m * 16,
            )  # fmt: skip
            if status != DONE:
                return status
        return DONE

    return Kernel(levenberg_groups, LevenbergGroups)
