"""What a Network keeps once it has been evaluated: its plan, and the functions it has used."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._described import Described, DescribedLoss, Targets
from ..._lock import LOCK
from ..machine import places as at
from ..machine.linker import context
from ..machine.sizes import batch_workspace, matrix_part_size, part_size, sizes
from . import units
from .plan import Plan
from .threads import automatic, operations, over_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OF_PLAN = {
    "value", "value_of_one", "value_and_grad", "vjp", "input_grad", "per_sample_grad", "jvp",
    "input_hvp", "part",
}  # fmt: skip
_MADE = 1 << 17  # numbers that targets are made of at a time
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
    levenberg : dict
        Key of a loss, whether observations are few → the compiled loop.
    """

    def __init__(self, net: Described) -> None:
        self.dtype = net.dtype
        self._net_shape = (net.n_inputs, net.n_neurons, net.n_outputs)
        self.plan = Plan(net)
        self.address = self.plan.address
        self.numba_type: Any = None
        self.loss: dict[str | DescribedLoss, Callable] = {}
        self.loss_and_grad: dict[str | DescribedLoss, Callable] = {}
        self.hvp: dict[str | DescribedLoss, Callable] = {}
        self.gauss_newton_product: dict[str | DescribedLoss, Callable] = {}
        self.gauss_newton: dict[str | DescribedLoss, Callable] = {}
        self.levenberg: dict[tuple[str, bool], Callable] = {}

    def __getattr__(self, name: str) -> Callable:
        if name not in _OF_PLAN:
            raise AttributeError(name)
        function = self._entry(name, self.plan.table)
        return self.__dict__.setdefault(name, function)

    def _entry(self, name: str, record: Any) -> Callable:
        return units.entry(name, self.dtype, self._net_shape[2] > 1).entry(record)

    def prepare(self, order: int, n_samples: int) -> None:
        """Make the first-order driver for so many samples ready: values (0), gradients (1)."""
        few = sizes(self.dtype).few(n_samples)
        self.plan.need(order, at.BATCH, at.REVERSE_FEW if few else at.REVERSE)

    def prepare_loss(
        self,
        name: str,
        given: str | DescribedLoss,
        loss: DescribedLoss,
        n_samples: int,
        target_weight: NDArray | None = None,
    ) -> Callable:
        """Make a function of a loss ready, for so many samples; with weights of outputs, anew."""
        if name in _TANGENTS:
            self.prepare_tangent(name)
            order = 2
        elif name == "gauss_newton":
            self.plan.need(1, at.MATRIX, at.WEIGHTS)
            self.plan.loss_table(loss, 1)
            order = 2
        else:
            order = 0 if name == "loss" else 1
            self.prepare(order, n_samples)
            self.plan.need(order, at.WEIGHTS)
        with LOCK:
            known = getattr(self, name)
            if target_weight is None and given in known:
                return known[given]
            function = self._entry(name, self.plan.loss_table(loss, order, target_weight))
            return function if target_weight is not None else known.setdefault(given, function)

    def prepare_tangent(self, name: str) -> None:
        """Make the second-order driver ready for a function."""
        order, output_order = _TANGENTS[name]
        self.plan.need(order, at.TANGENT, at.WEIGHTS)
        self.plan.need_output(output_order)

    def prepare_per_sample(self) -> None:
        """Make the driver of per-sample gradients ready."""
        self.plan.need(1, at.PER_SAMPLE)

    def driver(
        self, name: str, address: int, loss: NDArray | None, plan: NDArray | None = None
    ) -> Callable:
        """Return a function that drives a kernel by its address, by our plan or another."""
        plan = self.plan.table if plan is None else plan
        return self._entry(name, driver_table(address, plan.ctypes.data, loss))

    def threads(self, threads: int, n_samples: int, name: str = "") -> int:
        """How many threads to use where `threads` are asked for, 0 for "auto".

        `name` is that of what is not of the first order.
        """
        if threads == 1:
            return 1
        N, H, K = self._net_shape
        P = H * (N + K)
        part = part_size(n_samples)
        work = operations(n_samples, N + K - 1, H)
        if name == "gauss_newton":
            part = matrix_part_size(n_samples, P)
            work = n_samples * P * P // 2
        elif name:
            work *= 2
        return 1 if part >= n_samples else threads or automatic(work)

    def weight_sum(self, c: NDArray) -> float:
        """Σ c_b, added in the order in which the entries add."""
        return plain("weights", self.dtype)(c, 0)

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
        t: Targets | None = None,
        c: NDArray | None = None,
        ybar: NDArray | None = None,
        y: NDArray | None = None,
        xbar: NDArray | None = None,
    ) -> float:
        """Run the parts of a batch on several threads; arguments already checked.

        Returns Σ_b c_b ℓ_b.
        """
        N, H, K = self._net_shape
        part = part_size(len(X))

        def drive(first: int, n: int, sums: tuple[NDArray, ...], workspace: NDArray) -> float:
            rows = _rows(first, n)
            packed = None if panels is None else panels[first * N :]
            return self.part(
                w, rows(X), loss, packed, rows(t), rows(c), scale, rows(ybar), rows(y),
                sums[0] if sums else None, rows(xbar), part, workspace,
            )  # fmt: skip

        numbers = batch_workspace(self.dtype, N, H, K, len(X))
        sums = () if g is None else (g,)
        own = np.empty(numbers, self.dtype)
        return over_nodes(drive, len(X), part, sums, threads, own, _nodes(t, 4))

    def product_in_parts(
        self,
        name: str,
        threads: int,
        loss: NDArray,
        w: NDArray,
        X: NDArray,
        t: Targets,
        c: NDArray | None,
        p: NDArray,
        product: NDArray,
    ) -> NDArray:
        """hvp or gauss_newton_product with the parts on several threads; arguments checked."""
        part = part_size(len(X))
        scale = 1.0 / (len(X) if c is None else self.weight_sum(c))
        function = self.driver(f"{name}_part", self.plan.table[at.TANGENT], loss)

        def drive(first: int, n: int, sums: tuple[NDArray, ...], _: None) -> float:
            rows = _rows(first, n)
            return function(w, rows(X), rows(t), rows(c), p, scale, sums[0], part)

        own = np.empty_like(product)  # each part asks for memory, after others have written
        over_nodes(drive, len(X), part, (own,), threads, nodes=_nodes(t, 4))
        product[:] = own
        return product

    def matrix_in_parts(
        self,
        threads: int,
        loss: NDArray,
        w: NDArray,
        X: NDArray,
        t: Targets,
        c: NDArray | None,
        scale: float,
        curvature: int,
        g: NDArray,
        G: NDArray,
    ) -> float:
        """Gradient and Gauss–Newton matrix with the parts on several threads; all checked.

        Returns Σ_b c_b ℓ_b.
        """
        part = matrix_part_size(len(X), w.size)
        function = self.driver("matrix_part", self.plan.table[at.MATRIX], loss)

        def drive(first: int, n: int, sums: tuple[NDArray, ...], _: None) -> float:
            rows = _rows(first, n)
            return function(w, rows(X), rows(t), rows(c), scale, curvature, *sums, part)

        return over_nodes(drive, len(X), part, (g, G), threads, nodes=_nodes(t, 1))

    def loss_in_parts(
        self,
        threads: int,
        loss: NDArray,
        w: NDArray,
        X: NDArray,
        t: Targets,
        c: NDArray | None,
        g: NDArray | None,
        panels: NDArray | None = None,
    ) -> float:
        """Mean loss and gradient with the parts on several threads; arguments already checked."""
        total = float(len(X)) if c is None else self.weight_sum(c)
        scale = 1.0 / total
        own = g
        if g is not None and not isinstance(t, np.ndarray):
            own = np.empty_like(g)  # classes ask for memory on the way, after others have written
        summed = self.parts(threads, w, X, own, loss=loss, panels=panels, scale=scale, t=t, c=c)
        if g is not None and own is not g:
            g[:] = own
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


def driver_table(address: int, plan: int = 0, loss: NDArray | None = None) -> NDArray:
    """Table of a kernel, for a network and a loss or for none."""
    table = np.zeros(at.DRIVER_SIZE, np.int64)
    table[at.CONTEXT] = context().ctypes.data
    table[at.DRIVER_ADDRESS] = address
    table[at.DRIVER_PLAN] = plan
    table[at.DRIVER_LOSS] = 0 if loss is None else loss.ctypes.data
    return table


def _rows(first: int, n: int) -> Callable[[Targets | None], NDArray | None]:
    """Return what takes rows of an array, if there is one."""
    return lambda array: None if array is None else array[first : first + n]


def _nodes(t: Targets | None, least: int) -> int:
    """Return how many nodes each thread has at least, so that targets made for one are few."""
    if t is None or isinstance(t, np.ndarray):
        return least
    return max(least, math.prod(t.shape) // _MADE)


@cache
def plain(name: str, dtype: np.dtype) -> Callable:
    """Return what knows no network: ``weights(c, part)``, ``penalty(l2, w, each, g)``."""
    kernel = units.shuffle() if name == "shuffle" else getattr(units, name)(dtype)
    return units.entry(name, dtype).entry(driver_table(kernel.address))
