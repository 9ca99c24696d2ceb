"""A fit's arguments once they are checked, and what all its parts ask of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from .._lock import LOCK, cached_property
from .._parts import Rows, Statistic, over_parts
from .._uniform import generator
from ..losses import OF_RESIDUALS, Loss, family
from ..network import Network
from ..objective import Objective, penalty
from .far import Far, FarObjective


@cache  # the statement alone takes 4 µs, and a small fit is here often
def compiled() -> Any:
    """Return the package of compiled code as Python calls it, with the modules needed here."""
    with LOCK:
        from ..kernels import calls
        from ..kernels.calls import objective, optimizers, prepared  # noqa: F401
    return calls


@dataclass
class Problem:
    """A fit's arguments, checked.

    Of M groups that are begun side by side, w is (M, P), X (B, M, N), t (B, M, …) and c (B, M).
    """

    net: Network
    w: NDArray  # moves
    X: NDArray
    t: NDArray
    c: NDArray | None
    loss: Loss
    l2: float | NDArray
    free: NDArray
    bounds: tuple[NDArray, NDArray] | None
    batch: int
    shuffle: bool
    seed: int | np.random.Generator | None
    threads: int | str
    target: float = -np.inf
    unit: float = 1.0  # what a stochastic optimizer measures targets in: outputs are linear then
    far: Far | None = None  # the observations, where X and t are but `one_row`

    @property
    def n(self) -> int:
        """Observations."""
        return len(self.X) if self.far is None else len(self.far)

    @property
    def n_weighing(self) -> int:
        """Observations that weigh."""
        if self.far is not None:
            return self.far.n_weighing
        return self.n if self.c is None else int(np.count_nonzero(self.c))

    @property
    def total(self) -> float:
        """Σ c."""
        if self.far is not None:
            return self.far.total
        if self.c is None:
            return float(self.n)
        return compiled().prepared.prepared(self.net).weight_sum(self.c)

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // self.batch)

    def reduce(self, what: Callable[..., Statistic], *arguments: Any) -> Statistic:
        """Return what ``what(rows, *arguments)`` says of all observations, part by part."""
        if self.far is not None:
            return self.far.reduce(what, *arguments)
        return over_parts(what, Rows(self.X, self.t, self.c), *arguments)

    @cached_property
    def targets(self) -> Statistic:
        """Σ c t², and the largest |t|."""
        return self.reduce(_sizes)

    def objective(self) -> Objective | FarObjective:
        if self.far is not None:
            return FarObjective(self.far, self.l2)
        return Objective(
            self.net, self.X, self.t, loss=self.loss, sample_weight=self.c, l2=self.l2,
            threads=self.threads,
        )  # fmt: skip

    def value(self) -> float:
        if self.far is not None:
            mean = self.far.batch(self.w, 1.0 / self.far.total) / self.far.total
        else:
            own = compiled().prepared.prepared(self.net)
            data = (self.X, self.t, self.c)
            mean = compiled().optimizers.mean_loss(own, self.w, *data, self.loss)
        return mean + self.penalty()

    @property
    def penalised(self) -> bool:
        l2 = self.l2
        return bool(l2.any() if isinstance(l2, np.ndarray) else l2)

    def penalty(self) -> float:
        if not self.penalised:
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            return penalty(self.l2, self.w)


def squares(problem: Problem) -> NDArray:
    """Σ c t² for the squared loss, else 0, of each group that is begun; else of shape ()."""
    groups = problem.w.shape[:-1]
    if family(problem.loss) != "squared":
        return np.zeros(groups)
    return np.reshape(problem.targets.sums[0], (*groups, -1)).sum(axis=-1)


def rms_of_targets(problem: Problem) -> float:
    """Return that of the targets, for a loss of residuals; else 0."""
    if family(problem.loss) not in OF_RESIDUALS:
        return 0.0
    return math.sqrt(np.sum(problem.targets.sums[0]) / problem.total)


def _sizes(rows: Rows) -> Statistic:
    _, t, c = rows.weighing()
    assert t is not None
    t = t.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        squares = t * t if c is None else (c.T * (t * t).T).T
    largest = np.maximum.reduce(np.abs(t), initial=0.0)
    return Statistic((np.add.reduce(squares),), largest=largest)


def one_row(net: Network) -> tuple[NDArray, NDArray, None]:
    """Return an observation that stands where those of a fit are elsewhere."""
    t = (1,) if net.n_outputs == 1 else (1, net.n_outputs)
    return np.zeros((1, net.n_inputs), net.dtype), np.zeros(t, net.dtype), None


def stream(seed: int | np.random.Generator | None, number: int) -> np.random.Generator:
    """Return a generator of its own for one purpose, so that the start is net.init(seed)."""
    if seed is None:
        return default_rng()
    return seed if isinstance(seed, np.random.Generator) else generator(seed, number)
