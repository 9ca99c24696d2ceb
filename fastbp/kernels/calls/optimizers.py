"""The compiled optimizers as Python objects: what they keep between calls, as arrays."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..machine import epoch_settings as epoch
from ..machine import levenberg_settings as lm
from ..machine.places import BATCH, CURVED, MATRIX, REVERSE, REVERSE_FEW, REWEIGHTED
from ..machine.sizes import sizes
from . import units
from .prepared import plain
from .shared_work import OnThreads, SharedWork, Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..._described import DescribedLoss, Targets
    from .prepared import Calls


RULES = {"sgd": (units.sgd, 1), "adam": (units.adam, 2)}  # the epoch, and how many vectors it keeps
_ORDERED = 1 << 16  # observations whose places in an order are handed over at a time


def _prepare_drivers(calls: Calls, order: int, dtype: np.dtype, counts: Iterable[int]) -> None:
    few = sizes(dtype).few
    drivers = {REVERSE_FEW if few(count) else REVERSE for count in counts}
    calls.plan.need(order, BATCH, *drivers)


def gauss_newton(
    calls: Calls,
    w: NDArray,
    X: NDArray,
    t: Targets,
    c: NDArray | None,
    loss: DescribedLoss,
    threads: int = 1,
    target_weight: NDArray | None = None,
) -> tuple[float, NDArray, NDArray]:
    """Mean loss, gradient and Gauss–Newton matrix; arguments already checked."""
    function = calls.prepare_loss("gauss_newton", loss, loss, len(X), target_weight)
    threads = calls.threads(threads, len(X), "gauss_newton")
    if threads == 1 and isinstance(t, np.ndarray):
        return function(w, X, t, c, None, None)
    g, G = np.empty(w.size, w.dtype), np.empty((w.size, w.size), w.dtype)
    table = calls.plan.loss_table(loss, 2, target_weight)
    total = len(X) if c is None else calls.weight_sum(c)
    value = calls.matrix_in_parts(threads, table, w, X, t, c, 1.0 / total, CURVED, g, G)
    return value / total, g, G


def mean_loss(
    calls: Calls, w: NDArray, X: NDArray, t: NDArray, c: NDArray | None, loss: DescribedLoss
) -> float:
    """Mean loss alone; arguments already checked."""
    return calls.prepare_loss("loss", loss, loss, len(X))(w, X, t, c)


class Order:
    """Random orders of n observations; `state`, one int64, is all that it keeps.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator
        Gives the first state.
    """

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.state = rng.integers(-(2**63), 2**63, 1)
        if n >= 2**31:
            raise ValueError(f"an order of {n} observations can't be drawn: take shuffle=False")
        self._order = np.empty(n, np.int32)
        self._shuffle = plain("shuffle", np.dtype(np.float64))

    def next(self, n: int | None = None) -> NDArray:
        """Return the next order, of the first n, in the same memory as the last."""
        order = self._order if n is None else self._order[:n]
        self._shuffle(order, self.state)
        return order


class Epochs:
    """Stochastic training by one rule; `w` and `state` are what it changes.

    Parameters
    ----------
    calls : Calls
        Of the network.
    w : ndarray, shape (P,)
        The start; moved in place.
    X, t, c : ndarray
        Data; c is None or weights of mean one.
    loss : Loss
    rule : str
        One of `RULES`.
    settings : sequence of float
        As the rule's places in `training`.
    free : ndarray of bool, shape (P,)
    each : ndarray, shape (P,), or None
        l2 of each parameter, where it is not in `settings`.
    batch : int
        Observations in a batch.
    n : int
        All observations; those of X, unless they are given block by block.
    """

    def __init__(
        self,
        calls: Calls,
        w: NDArray,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        loss: DescribedLoss,
        rule: str,
        settings: Sequence[float],
        free: NDArray,
        each: NDArray | None,
        batch: int,
        n: int,
    ) -> None:
        _prepare_drivers(calls, 1, calls.dtype, (batch, n % batch or batch))
        unit, n_states = RULES[rule]
        table = calls.plan.loss_table(loss, 1)
        self._run = calls.driver("epoch", unit(calls.dtype).address, table)
        self.w = w
        self._X, self._t, self._c = X, t, c
        self._settings = np.zeros(epoch.N_SETTINGS)
        self._settings[: len(settings)] = settings
        self._each = None if each is None else each.astype(calls.dtype)
        self._free = None if free.all() and each is None else free.astype(calls.dtype)
        self._batch = batch
        self.state = np.zeros((n_states, w.size), calls.dtype)
        self.left = np.ones(epoch.N_RESULTS)  # the powers of Adam's betas begin at one

    def run(self, order: NDArray | None, rates: NDArray) -> float:
        """Run the batches of an order of observations; None for that which they have.

        Returns the sum of the losses; NaN where a parameter is no longer finite.
        """
        n = len(self._X)
        self.left[epoch.LOSS_SUM] = 0.0
        rows = max(_ORDERED // self._batch, 1) * self._batch
        for first in range(0, n, rows):
            end = min(first + rows, n)
            some = np.arange(first, end) if order is None else order[first:end].astype(np.int64)
            self._some(self._X, self._t, self._c, some, rates, first)
        return self._loss_sum()

    def run_blocks(
        self,
        blocks: Iterable[tuple[NDArray, NDArray | None, NDArray | None]],
        order: Order | None,
        rates: NDArray,
    ) -> float:
        """Run the batches of blocks of observations, (X, t, c), in an order within each block.

        All blocks but the last are whole batches.
        """
        self.left[epoch.LOSS_SUM] = 0.0
        first = 0
        for X, t, c in blocks:
            n = len(X)
            some = np.arange(n) if order is None else order.next(n).astype(np.int64)
            self._some(X, t, c, some, rates, first)
            first += n
        return self._loss_sum()

    def more(self, X: NDArray, t: NDArray, c: NDArray | None, rates: NDArray) -> None:
        """Run the batches of other observations as those that follow in the same epoch."""
        self._some(X, t, c, np.arange(len(X)), rates, 0)

    def _some(
        self,
        X: NDArray,
        t: NDArray | None,
        c: NDArray | None,
        order: NDArray,
        rates: NDArray,
        first: int,
    ) -> None:
        self._run(
            self.w, X, t, c, order, self._batch, rates[first // self._batch :], self._settings,
            self.state, self._free, self._each, self.left,
        )  # fmt: skip

    def _loss_sum(self) -> float:
        left = self.left
        return float(left[epoch.LOSS_SUM]) if left[epoch.FINITE] else math.nan


def _prepare_levenberg(calls: Calls, loss: DescribedLoss, counts: Iterable[int]) -> NDArray:
    """Make all ready for so many observations; returns the loss table."""
    calls.plan.need(1, MATRIX)
    _prepare_drivers(calls, 0, calls.dtype, counts)
    for order in (0, 1, 2):
        table = calls.plan.loss_table(loss, order)
    return table


def _levenberg_of(calls: Calls, loss: DescribedLoss, n_samples: int) -> Callable:
    """Return the loop over so many observations, kept: what it takes to make is 40 µs."""
    key = loss.key, sizes(calls.dtype).few(n_samples)
    run = calls.levenberg.get(key)
    if run is None:
        table = _prepare_levenberg(calls, loss, (n_samples,))
        run = calls.driver("levenberg", units.levenberg(calls.dtype).address, table)
        calls.levenberg[key] = run
    return run


def _levenberg_settings(
    *,
    l2: float,
    nielsen: bool,
    reweighted: bool,
    start: float,
    gtol: float,
    xtol: float,
    ftol: float,
    target: float,
    size: float,
) -> NDArray:
    """Return the settings but for those of the data.

    The damping rule, the weights of the observations in G, and numbers as the places in
    `levenberg_settings`.
    """
    settings = np.zeros(lm.N_SETTINGS)
    settings[lm.L2] = l2
    settings[lm.DAMPING] = lm.NIELSEN if nielsen else lm.MARQUARDT
    settings[lm.CURVATURE] = REWEIGHTED if reweighted else CURVED
    settings[lm.START] = start
    settings[lm.GTOL] = gtol
    settings[lm.XTOL] = xtol
    settings[lm.FTOL] = ftol
    settings[lm.TARGET] = target
    settings[lm.SIZE] = size
    return settings


def _set_data(settings: NDArray, total: float | NDArray, squares: float | NDArray) -> None:
    settings[..., lm.TOTAL] = total
    settings[..., lm.RMS] = np.sqrt(squares / total)


class Levenberg:
    """Levenberg–Marquardt; `w`, `kept`, `own` and `starts` are what it changes.

    Parameters
    ----------
    calls : Calls
        Of the network.
    w : ndarray, shape (P,)
        The start; moved in place.
    X, t, c : ndarray
        Data; c may be None.
    loss : Loss
    each : ndarray, shape (P,), or None
        What l2 is multiplied by for each parameter (float64).
    free : ndarray of bool, shape (P,)
    bounds : pair of ndarray, shape (P,), or None
        The least and the largest values.
    kinds : ndarray of int64, shape (P,)
        The kind of each parameter (`levenberg`).
    squares : float
        Σ_b c_b t_b² for the squared loss, else 0.
    threads : int
        0 for "auto".
    elsewhere : (Sums, float), optional
        Who adds over observations that are not here, and their Σ c; X and t are then one row.
    **settings
        As `_levenberg_settings` takes them.
    """

    def __init__(
        self,
        calls: Calls,
        w: NDArray,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        loss: DescribedLoss,
        *,
        each: NDArray | None,
        free: NDArray,
        bounds: tuple[NDArray, NDArray] | None,
        kinds: NDArray,
        squares: float = 0.0,
        threads: int = 1,
        elsewhere: tuple[Sums, float] | None = None,
        **settings: Any,
    ) -> None:
        P = w.size
        self.w = w
        self._X, self._t, self._c = X, t, c
        self._free = free.astype(calls.dtype)
        self._each = each
        self._bounds: tuple[NDArray | None, NDArray | None] = bounds or (None, None)
        self._settings = _levenberg_settings(**settings)
        total = float(len(X)) if c is None else calls.weight_sum(c)
        sums: Sums | None = None
        if elsewhere is not None:
            sums, total = elsewhere
        _set_data(self._settings, total, squares)
        self.kept = np.zeros(lm.N_KEPT)
        self.own = np.zeros(P)
        self.starts = np.empty((2, P), calls.dtype)
        self.starts[:] = w
        self._kinds = kinds
        self._g = np.empty(P, calls.dtype)
        self._G = np.empty((P, P), calls.dtype)
        threads = calls.threads(threads, len(X), "gauss_newton")
        self._work: SharedWork | None = None
        if sums is None and threads == 1:
            self._run = _levenberg_of(calls, loss, len(X))
            return
        table = _prepare_levenberg(calls, loss, (len(X),))
        self._work = SharedWork(calls, sums or OnThreads(calls, threads, table, X, t, c), P)
        address = units.levenberg(calls.dtype).address
        self._run = calls.driver("levenberg", address, table, self._work.table)

    @property
    def loss(self) -> float:
        """Mean loss at w, the penalty included."""
        return float(self.kept[lm.LOSS])

    @property
    def damping(self) -> float:
        """μ."""
        return float(self.kept[lm.MU])

    def forget(self) -> None:
        """Have the matrix made anew: after `w` and `kept` have been set from outside."""
        self.kept[lm.FRESH] = 0.0

    def end(self, loss: float | None) -> None:
        """Take `w` for where it ended, the loss there being known; None where nothing was found."""
        if loss is not None:
            self.kept[[lm.LOSS, lm.FIRST_LOSS, lm.FRESH]] = loss, np.inf, 0.0

    def run(self, n: int) -> tuple[NDArray, int]:
        """At most n iterations; returns the losses after each, and why it ended (0: it has not)."""
        history = np.empty(n)
        result = np.empty(2)
        with nullcontext() if self._work is None else self._work.course.begun():
            self._run(
                self.w, self._X, self._t, self._c, self._settings, self.kept, self.own, self._kinds,
                self.starts, self._g, self._G, self._free, self._each, *self._bounds, history,
                result,
            )  # fmt: skip
        reason, done = int(result[0]), int(result[1])
        if reason and self.settle():
            reason = lm.STALLED
            history[done - 1 : done] = self.loss
        return history[:done], reason

    def settle(self) -> bool:
        """Go back to where the first run stalled, where a second one has found nothing better."""
        kept = self.kept
        if kept[lm.SECOND] <= 0.0 or (kept[lm.BEGUN] and kept[lm.LOSS] <= kept[lm.FIRST_LOSS]):
            return False
        self.w[:] = self.starts[1]
        kept[[lm.LOSS, lm.FRESH]] = kept[lm.FIRST_LOSS], 0.0
        return True


class LevenbergGroups:
    """Levenberg–Marquardt for many groups; arguments as those of `Levenberg`, one set for all.

    `counts` are the numbers of observations that groups have.
    """

    def __init__(
        self,
        calls: Calls,
        loss: DescribedLoss,
        counts: set[int],
        *,
        each: NDArray | None,
        free: NDArray,
        bounds: tuple[NDArray, NDArray] | None,
        kinds: NDArray,
        **settings: Any,
    ) -> None:
        self._calls = calls
        table = _prepare_levenberg(calls, loss, counts)
        self._mean_loss = calls.prepare_loss("loss", loss, loss, min(counts))
        self._levenberg = units.levenberg(calls.dtype).address
        self._run = calls.driver(
            "levenberg_groups", units.levenberg_groups(calls.dtype).address, table
        )
        self._given = (free.astype(calls.dtype), each, *(bounds or (None, None)))
        self._kinds = kinds
        self._settings = _levenberg_settings(**settings)

    def run(
        self,
        w: NDArray,
        X: NDArray,
        t: NDArray,
        c: NDArray | None,
        first: NDArray,
        squares: NDArray,
        n: int,
    ) -> tuple[NDArray, NDArray]:
        """At most n iterations for each group; several threads may be in here.

        Parameters
        ----------
        w : ndarray, shape (M, P)
            The starts; moved in place.
        X, t, c : ndarray
            Data, group by group.
        first : ndarray of int64, shape (M + 1,)
            Where the groups begin, and the last one ends.
        squares : ndarray, shape (M,)
            As for `Levenberg`.
        n : int

        Returns
        -------
        losses, reasons : ndarray, shape (M,)
            As `Levenberg.run` and `Levenberg.loss` leave them.
        """
        M, P = w.shape
        settings = np.tile(self._settings, (M, 1))
        totals = np.diff(first).astype(np.float64)
        if c is not None:
            totals[:] = [self._calls.weight_sum(c[of]) for of in _slices(first)]
        _set_data(settings, totals, squares)
        kept, own = np.zeros((M, lm.N_KEPT)), np.zeros((M, P))
        starts = np.repeat(w[:, np.newaxis], 2, axis=1)
        g, G = np.empty(P, w.dtype), np.empty((P, P), w.dtype)
        result = np.zeros((M, 2))
        self._run(
            self._levenberg, w, X, t, c, first, settings, kept, own, self._kinds, starts, g, G,
            *self._given, np.empty(n), result,
        )  # fmt: skip
        reasons = result[:, 0].astype(np.int64)
        better = (kept[:, lm.BEGUN] != 0.0) & (kept[:, lm.LOSS] <= kept[:, lm.FIRST_LOSS])
        back = (kept[:, lm.SECOND] > 0.0) & ~better  # as `Levenberg.settle`
        w[back] = starts[back, 1]
        kept[back, lm.LOSS] = kept[back, lm.FIRST_LOSS]
        reasons[back & (reasons != lm.GOING)] = lm.STALLED
        return kept[:, lm.LOSS].copy(), reasons

    def mean_losses(
        self, w: NDArray, X: NDArray, t: NDArray, c: NDArray | None, first: NDArray
    ) -> NDArray:
        """Mean losses of all groups; arguments as those of `run`."""
        each = zip(w, _slices(first), strict=True)
        value = self._mean_loss
        return np.array(
            [value(of, X[some], t[some], None if c is None else c[some]) for of, some in each]
        )


def _slices(first: NDArray) -> list[slice]:
    return [*map(slice, first[:-1].tolist(), first[1:].tolist())]
