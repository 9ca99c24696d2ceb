"""What a Network keeps once it has been evaluated: its plan, and the entries it has used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ._passes import passes
from ._plan import BATCH, PER_SAMPLE, REVERSE, REVERSE_FEW, WEIGHTS, Plan
from .entries import cotangent_entry, loss_entry, per_sample_entry, point_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..losses import Loss
    from ..network import Network


class Calls:
    """Entries of one network, compiled or loaded when first used.

    Attributes
    ----------
    address : int
        That of the network's plan, the first argument of every entry.
    tables : dict
        (loss as the caller names it, order) → address of its table: filled by `prepare_loss`,
        read on every call.
    """

    def __init__(self, net: Network) -> None:
        self._dtype = net.dtype
        self.plan = Plan(net)
        self.address = self.plan.address
        self.tables: dict[tuple[str | Loss, int], int] = {}

    def prepare(self, order: int, n_samples: int) -> None:
        """Make the first-order driver for so many samples ready: values (0), gradients (1)."""
        few = passes(self._dtype).few.py_func(n_samples)
        self.plan.need(order, BATCH, REVERSE_FEW if few else REVERSE)

    def prepare_loss(
        self, name: str | Loss, loss: Loss, order: int, n_samples: int, weighted: bool
    ) -> int:
        """Make the driver and a loss ready; returns the address of the loss's table."""
        self.prepare(order, n_samples)
        if weighted:
            self.plan.need(order, WEIGHTS)
        address = self.plan.loss_table(loss, order)
        self.tables[name, order] = address
        return address

    def prepare_per_sample(self) -> None:
        """Make the driver of per-sample gradients ready."""
        self.plan.need(1, PER_SAMPLE)

    @cached_property
    def loss(self) -> Callable:
        """``loss(address, table, w, X, t, c, g) -> loss``."""
        return loss_entry(self._dtype).entry

    @cached_property
    def cotangent(self) -> Callable:
        """``cotangent(address, w, X, ybar, y, g, xbar)``."""
        return cotangent_entry(self._dtype).entry

    @cached_property
    def point(self) -> Callable:
        """``point(address, w, x, g) -> y``."""
        return point_entry(self._dtype).entry

    @cached_property
    def per_sample(self) -> Callable:
        """``per_sample(address, w, X, J)``."""
        return per_sample_entry(self._dtype).entry
