"""What a Network keeps once it has been evaluated: its plan, and the entries it has used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._network_plan import Described, Plan
from ._passes import part_size, passes
from ._plan import BATCH, PER_SAMPLE, REVERSE, REVERSE_FEW, TANGENT, WEIGHTS
from ._threads import automatic, over_parts
from .batch import batch_unit, weights_unit
from .entries import cotangent_entry, loss_entry, per_sample_entry, point_entry, tangent_entry
from .second_order import GAUSS_NEWTON, HESSIAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..losses import Loss


class Calls:
    """Entries of one network, compiled or loaded when first used.

    Attributes
    ----------
    address : int
        That of the network's plan, the first argument of every entry.
    tables : dict
        (loss as the caller names it, order) → address of its table: filled by `prepare_loss`,
        read on every call.
    tangent_tables : dict
        The same for the second-order calls, by what they compute.
    """

    def __init__(self, net: Described) -> None:
        self._dtype = net.dtype
        self._net_shape = (net.n_inputs, net.n_neurons)
        self.plan = Plan(net)
        self.address = self.plan.address
        self.tables: dict[tuple[str | Loss, int], int] = {}
        self.tangent_tables: dict[tuple[str | Loss, int], int] = {}

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

    def prepare_tangent(self, loss: Loss | None, what: int) -> int:
        """Make the second-order driver ready; returns the address of the loss's table, or 0."""
        self.plan.need(1 if what != HESSIAN else 2, TANGENT, WEIGHTS)
        if what == GAUSS_NEWTON:
            self.plan.need_output(2)
        return 0 if loss is None else self.plan.loss_table(loss, 2)

    def prepare_per_sample(self) -> None:
        """Make the driver of per-sample gradients ready."""
        self.plan.need(1, PER_SAMPLE)

    def loss_threaded(
        self,
        threads: int,
        table: int,
        w: NDArray,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        g: NDArray | None,
        panels: NDArray | None = None,
    ) -> float:
        """Mean loss and gradient with the parts on several threads; arguments already checked."""
        B = len(X)
        threads = threads or automatic(B, self._net_shape)
        if threads == 1 or part_size.py_func(B) >= B:
            return self.loss(self.address, table, w, X, t, c, g)
        total = float(B) if c is None else self.weight_sum(c)
        return (
            self._parts(threads, table, w, X, t, c, 1.0 / total, None, None, g, None, panels)
            / total
        )

    def weight_sum(self, c: NDArray) -> float:
        """Σ c_b, added in the order in which the entries add."""
        result = np.zeros(1)
        weights_unit(self._dtype).entry(c.ctypes.data, len(c), result.ctypes.data)
        return float(result[0])

    def cotangent_threaded(
        self,
        threads: int,
        w: NDArray,
        X: NDArray,
        ybar: NDArray | None,
        y: NDArray | None,
        g: NDArray | None,
        xbar: NDArray | None,
    ) -> None:
        """Like `cotangent`, with the parts on several threads; arguments already checked."""
        B = len(X)
        threads = threads or automatic(B, self._net_shape)
        if threads == 1 or part_size.py_func(B) >= B:
            self.cotangent(self.address, w, X, ybar, y, g, xbar)
        else:
            self._parts(threads, 0, w, X, None, None, 0.0, ybar, y, g, xbar)

    def _parts(
        self,
        threads: int,
        table: int,
        w: NDArray,
        X: NDArray,
        t: NDArray | None,
        c: NDArray | None,
        scale: float,
        ybar: NDArray | None,
        y: NDArray | None,
        g: NDArray | None,
        xbar: NDArray | None,
        panels: NDArray | None = None,
    ) -> float:
        N = self._net_shape[0]
        batch = batch_unit(self._dtype).entry

        def drive(first: int, n: int, gradient: int, result: int) -> None:
            def at(rows: NDArray | None) -> int:
                return 0 if rows is None else rows[first:].ctypes.data

            packed = 0 if panels is None else panels[first * N :].ctypes.data
            batch(
                self.address, table, w.ctypes.data, at(X), n, packed, at(t), at(c), scale,
                at(ybar), at(y), gradient, at(xbar), n, 0, result,
            )  # fmt: skip

        return over_parts(drive, len(X), g, threads)

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

    @cached_property
    def tangent(self) -> Callable:
        """``tangent(address, table, w, X, t, c, p, dX, ydot, g, xbar, what) -> Σ c``."""
        return tangent_entry(self._dtype).entry
