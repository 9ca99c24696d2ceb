"""What a Network keeps once it has been evaluated: its plan, and the functions it has used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._described import Described, DescribedLoss
from ..machine.linker import context
from ..machine.lock import LOCK
from ..machine.places import (
    BATCH,
    CONTEXT,
    DRIVER_ADDRESS,
    DRIVER_LOSS,
    DRIVER_PLAN,
    DRIVER_SIZE,
    MATRIX,
    PER_SAMPLE,
    REVERSE,
    REVERSE_FEW,
    TANGENT,
    WEIGHTS,
)
from ..machine.sizes import part_size, sizes
from . import units
from .plan import Plan
from .threads import automatic, over_parts

_OF_PLAN = {
    "value", "value_of_one", "value_and_grad", "vjp", "input_grad", "per_sample_grad", "jvp",
    "input_hvp", "part",
}  # fmt: skip
# The order of the activations' blocks and of the output's that second-order functions need.
_TANGENTS = {"jvp": (1, 1), "gauss_newton_product": (1, 2), "hvp": (2, 2), "input_hvp": (2, 2)}


class Calls:
    """Functions of one network that Python calls, compiled or loaded when first used.

    Attributes
    ----------
    dtype : dtype
        The network's.
    address : int
        That of the network's plan.
    value, value_of_one, value_and_grad, vjp, input_grad, per_sample_grad, jvp, input_hvp, part
        Functions of the network alone, with the arguments that `entries` lists, made when first
        asked for.
    loss, loss_and_grad, hvp, gauss_newton_product, gauss_newton : dict
        Loss as the caller names it → the function: filled by `prepare_loss`, read on every call.
    """

    def __init__(self, net: Described) -> None:
        self.dtype = net.dtype
        self._net_shape = (net.n_inputs, net.n_neurons)
        self.plan = Plan(net)
        self.address = self.plan.address
        self.numba_type: Any = None
        self.loss: dict[str | DescribedLoss, Callable] = {}
        self.loss_and_grad: dict[str | DescribedLoss, Callable] = {}
        self.hvp: dict[str | DescribedLoss, Callable] = {}
        self.gauss_newton_product: dict[str | DescribedLoss, Callable] = {}
        self.gauss_newton: dict[str | DescribedLoss, Callable] = {}

    def __getattr__(self, name: str) -> Callable:
        # Not `cached_property`, which holds a lock of its own meanwhile: a forked child's for ever.
        if name not in _OF_PLAN:
            raise AttributeError(name)
        function = self._entry(name, self.plan.table)
        return self.__dict__.setdefault(name, function)

    def _entry(self, name: str, record: Any) -> Callable:
        return units.entry(name, self.dtype).entry(record)

    def prepare(self, order: int, n_samples: int) -> None:
        """Make the first-order driver for so many samples ready: values (0), gradients (1)."""
        few = sizes(self.dtype).few(n_samples)
        self.plan.need(order, BATCH, REVERSE_FEW if few else REVERSE)

    def prepare_loss(
        self, name: str, given: str | DescribedLoss, loss: DescribedLoss, n_samples: int
    ) -> Callable:
        """Make a function of a loss ready, for so many samples."""
        if name in _TANGENTS:
            self.prepare_tangent(name)
            order = 2
        elif name == "gauss_newton":
            self.plan.need(1, MATRIX, WEIGHTS)
            self.plan.loss_table(loss, 1)
            order = 2
        else:
            order = 0 if name == "loss" else 1
            self.prepare(order, n_samples)
            self.plan.need(order, WEIGHTS)
        with LOCK:
            function = self._entry(name, self.plan.loss_table(loss, order))
            return getattr(self, name).setdefault(given, function)

    def prepare_tangent(self, name: str) -> None:
        """Make the second-order driver ready for a function."""
        order, output_order = _TANGENTS[name]
        self.plan.need(order, TANGENT, WEIGHTS)
        self.plan.need_output(output_order)

    def prepare_per_sample(self) -> None:
        """Make the driver of per-sample gradients ready."""
        self.plan.need(1, PER_SAMPLE)

    def driver(self, name: str, address: int, loss: NDArray | None) -> Callable:
        """Return a function that drives what is in no plan: an optimizer, the pack of a batch."""
        table = driver_table(address)
        table[DRIVER_PLAN] = self.address
        table[DRIVER_LOSS] = 0 if loss is None else loss.ctypes.data
        return self._entry(name, table)

    def threads(self, threads: int, n_samples: int) -> int:
        """How many threads to use where `threads` are asked for, 0 for "auto"."""
        threads = threads or automatic(n_samples, self._net_shape)
        return 1 if part_size(n_samples) >= n_samples else threads

    def weight_sum(self, c: NDArray) -> float:
        """Σ c_b, added in the order in which the entries add."""
        return plain("weights", self.dtype)(c)

    def parts(
        self,
        threads: int,
        w: NDArray,
        X: NDArray,
        g: NDArray | None,
        *,
        loss: NDArray | None = None,
        panels: NDArray | None = None,
        scale: float = 0.0,
        t: NDArray | None = None,
        c: NDArray | None = None,
        ybar: NDArray | None = None,
        y: NDArray | None = None,
        xbar: NDArray | None = None,
    ) -> float:
        """Run the parts of a batch on several threads; arguments already checked.

        Returns Σ_b c_b ℓ_b.
        """
        N, H = self._net_shape

        def drive(first: int, n: int, gradient: NDArray | None, workspace: NDArray) -> float:
            def at(rows: NDArray | None) -> NDArray | None:
                return None if rows is None else rows[first : first + n]

            packed = None if panels is None else panels[first * N :]
            return self.part(
                w, at(X), loss, packed, at(t), at(c), scale, at(ybar), at(y), gradient, at(xbar),
                workspace,
            )  # fmt: skip

        part = part_size(len(X))
        numbers = sizes(self.dtype).workspace(N, H, part)
        return over_parts(drive, len(X), g, threads, numbers, self.dtype)

    def loss_in_parts(
        self,
        threads: int,
        loss: NDArray,
        w: NDArray,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        g: NDArray | None,
        panels: NDArray | None = None,
    ) -> float:
        """Mean loss and gradient with the parts on several threads; arguments already checked."""
        total = float(len(X)) if c is None else self.weight_sum(c)
        scale = 1.0 / total
        summed = self.parts(threads, w, X, g, loss=loss, panels=panels, scale=scale, t=t, c=c)
        return summed / total


def prepared(net: Described) -> Calls:
    """Return what is kept of a network, made when it is first asked for."""
    calls = net._calls
    if calls is None:
        with LOCK:
            calls = net._calls
            if calls is None:
                calls = Calls(net)
                object.__setattr__(net, "_calls", calls)
    return calls


def driver_table(address: int) -> NDArray:
    """Table of a kernel that is in no plan."""
    table = np.zeros(DRIVER_SIZE, np.int64)
    table[CONTEXT] = context().ctypes.data
    table[DRIVER_ADDRESS] = address
    return table


_PLAIN = {"weights": units.weights, "penalty": units.penalty}


@cache
def plain(name: str, dtype: np.dtype) -> Callable:
    """Return a function that knows no network: ``weights(c)``, ``penalty(l2, w, g)``."""
    kernel = units.shuffle() if name == "shuffle" else _PLAIN[name](dtype)
    return units.entry(name, dtype).entry(driver_table(kernel.address))
