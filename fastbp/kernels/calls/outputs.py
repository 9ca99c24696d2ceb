"""The table of a network's outputs: where the head finds the blocks of σ, and of a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._described import DescribedLoss
from ..machine import places as at
from ..machine.unit import Unit
from . import units


def runs_of(functions: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """Runs of consecutive entries that are equal: (start, count, entry)."""
    runs: list[tuple[int, int, Any]] = []
    for i, function in enumerate(functions):
        if runs and runs[-1][2] == function:
            start, count, _ = runs[-1]
            runs[-1] = (start, count + 1, function)
        else:
            runs.append((i, 1, function))
    return runs


class Outputs:
    """The table of the outputs alone, or with a loss.

    Parameters
    ----------
    output : Function, tuple of K of them, or softmax
    n_outputs : int
        K.
    dtype : dtype
    loss : DescribedLoss, optional
    """

    def __init__(
        self, output: Any, n_outputs: int, dtype: np.dtype, loss: DescribedLoss | None = None
    ) -> None:
        self._dtype, self._loss = dtype, loss
        self._joined = getattr(output, "steps", None)
        each = output if isinstance(output, tuple) else (output,) * n_outputs
        self._runs = runs_of(each)
        self._held: list[Unit] = []
        self.table = np.zeros(at.OUTPUT_RUNS + at.OUTPUT_SIZE * len(self._runs), np.int64)
        self.table[at.N_OUTPUT_RUNS] = len(self._runs)
        for number, (start, count, _) in enumerate(self._runs):
            place = at.OUTPUT_RUNS + at.OUTPUT_SIZE * number
            self.table[place + at.OUTPUT_START] = start
            self.table[place + at.OUTPUT_COUNT] = count

    def fill(self, order: int) -> None:
        """Fill in the blocks at an order."""
        if self._joined:
            self._fill_joined(order)
            return
        for number, (_, _, output) in enumerate(self._runs):
            place = at.OUTPUT_RUNS + at.OUTPUT_SIZE * number
            if self._loss is not None:
                output, loss = self._loss.with_output(output)
                self.table[place + at.OUTPUT_LOSS + order] = self._block(loss, order)
            self.table[place + at.OUTPUT_BLOCK + order] = self._block(output, order)

    def _fill_joined(self, order: int) -> None:
        steps = self._joined or ()
        for k, function in enumerate(steps):
            self.table[at.OUTPUT_RUNS + at.OUTPUT_BLOCK + k] = self._block(function, 0)
        if self._loss is not None:
            if self._loss.fuses_with_softmax:
                self.table[at.FUSED] = 1
            else:
                block = self._block(self._loss, order)
                self.table[at.OUTPUT_RUNS + at.OUTPUT_LOSS + order] = block
        self.table[at.SOFTMAX] = units.softmax(self._dtype).address
        self.table[at.SOFTMAX_MOVED] = units.softmax_moved(self._dtype).address

    def _block(self, function: Any, order: int) -> int:
        unit = units.block(function, order, self._dtype)
        self._held.append(unit)  # it lives as long as it is held
        return unit.address
