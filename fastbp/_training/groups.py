"""fit_groups: one small fit for each of many groups of observations."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .._lock import LOCK, cached_property
from .._parts import Rows, counts_of, numbered, row_numbers, runs
from ..kernels.machine.levenberg_settings import GOING, NOT_FINITE, REASONS
from ..losses import Loss
from ..network import Network
from ..optimizers import LevenbergMarquardt, Optimizer
from .fit import ALIKE, ALL_DONE, epochs_of, fit
from .given import Given, Start, check_network, check_size, checked, is_copied, started, taken
from .jobs import outcomes
from .methods import (
    end_of_levenberg,
    is_at_saddle,
    is_told,
    levenberg_options,
    may_have_moved,
    put_back,
)
from .newton import begins_alike
from .problem import Problem, squares
from .source import Source
from .watch import CONVERGED, NonFiniteLossError

__all__ = ["GroupFits", "fit_groups"]

_Block = tuple[int, int]  # the first of its groups, and that behind the last
_FAILED = "failed: the loss is no longer finite"
_INTERRUPTED = "interrupted"
_REASONS = {**dict(enumerate(REASONS)), GOING: ALL_DONE, NOT_FINITE: _FAILED}
# Groups that a thread takes at a time: what is prepared in Python for them, with the GIL held, is
# followed by a long call without it.
_BLOCK, _BLOCK_NUMBERS = 64, 1 << 20
_MOST_AT_ONCE = 1 << 20  # iterations: of each the compiled loop writes down the loss


@dataclass(frozen=True, repr=False, eq=False)
class GroupFits:
    """What `fastbp.fit_groups` returns: of each of M groups, in the order of `groups`.

    Attributes
    ----------
    net : Network
        The network, the same for all.
    groups : ndarray or pandas.Index, shape (M,)
        The labels, sorted; an Index where they were given as a pandas object.
    w : ndarray, shape (M, P)
        The parameters; NaN where a fit failed, or had not begun at Ctrl-C.
    losses : ndarray, shape (M,)
        Training losses, the penalty included; NaN there too.
    reasons : tuple of str
        Why each fit stopped, as in `FitResult.reason`.
    """

    net: Network
    groups: Any
    w: NDArray
    losses: NDArray
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.losses)

    def __repr__(self) -> str:
        done = sum(reason.startswith(CONVERGED) for reason in self.reasons)
        return f"<GroupFits: {len(self)} groups, {done} converged>"

    @cached_property
    def _numbers(self) -> dict[Any, int]:
        return {label: m for m, label in enumerate(self.groups)}

    def predict(self, X: ArrayLike, groups: Any = None) -> Any:
        """Evaluate the function of each observation's group.

        Parameters
        ----------
        X : array_like, shape (B, N), or (M, B, N) without `groups`
            Observations, in any order.
        groups : array_like, shape (B,), optional
            The group of each.

        Returns
        -------
        y : ndarray, shape (B,) or (B, K); (M, B) or (M, B, K) without `groups`
            NaN in groups that failed. A pandas object with the index of `groups` where that is a
            Series or DataFrame.

        Raises
        ------
        KeyError
            For a group that was not fitted.
        TypeError, ValueError
            Where X or the groups do not fit.
        """
        net = self.net
        given = boundary.numbers("X", X, net.dtype, check_finite=False)
        if groups is None:
            if given.ndim != 3 or given.shape[0] != len(self) or given.shape[2] != net.n_inputs:
                raise ValueError(
                    f"without groups X must have shape ({len(self)}, B, {net.n_inputs}); got "
                    f"{given.shape}"
                )
            return np.array([net.value(w, rows) for w, rows in zip(self.w, given, strict=True)])
        rows, _ = boundary.observations(given, net.n_inputs, net.dtype, check_finite=False)
        labels, codes = _labelled(groups, X, len(rows))
        order, first = _sorted(codes, np.arange(len(labels)))
        y = np.empty(len(rows) if net.n_outputs == 1 else (len(rows), net.n_outputs), net.dtype)
        for label, at, end in zip(labels, first[:-1], first[1:], strict=True):
            try:
                m = self._numbers[label]
            except KeyError:
                raise KeyError(f"no group {label} was fitted; there are {len(self)}") from None
            for run in runs(end - at):
                of = _rows(order, at + run.start, min(at + run.stop, end))
                y[of] = net.value(self.w[m], rows[of])
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(groups, pandas.Series | pandas.DataFrame):
            return (pandas.Series if y.ndim == 1 else pandas.DataFrame)(y, index=groups.index)
        return y


def fit_groups(
    net: Network,
    X: ArrayLike,
    t: ArrayLike,
    *,
    groups: Any = None,
    w0: ArrayLike | None = None,
    optimizer: str | Optimizer | None = None,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    l2: ArrayLike = 0.0,
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    free: ArrayLike | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | str | None = None,
    threads: int | str = "auto",
    client: Any = None,
) -> GroupFits:
    """Fit the parameters of one network to each of many groups, each for itself.

    Each fit has the bits of `fit` alone, with the same options, on the rows of its group. By
    Levenberg–Marquardt groups follow each other in compiled code. Nothing is said of single fits
    as `FitWarning` does.

    Parameters
    ----------
    net : Network
        The network.
    X, t : array_like, shapes (B, N) and (B,)
        The observations of all groups, in any order; or (M, B, N) and (M, B), without `groups`, of
        M groups that are called 0 … M − 1. Where K > 1, t as `fit` takes it.
    groups : array_like, shape (B,), optional
        The group of each observation: numbers, text, or a column of pandas (or several, as a
        DataFrame), as its ``groupby`` takes it.
    w0, optimizer, loss, l2, epochs, batch_size, shuffle, seed, free, bounds
        As `fit` takes them, the same for all groups; l2 as a number, or one for each parameter.
    sample_weight : array_like, of the shape of the observations, optional
        c. Each group needs a positive sum.
    threads : int or "auto"
        Threads that groups are shared out to; "auto" is the number of processors.
    client : distributed.Client, optional
        Of a cluster of Dask whose workers do the fits, in tasks of about a second; the data are
        sent to each. Where workers are lost, what is done is kept.

    Returns
    -------
    fits : GroupFits
        After Ctrl-C too: groups that were not done have NaN, and the reason "interrupted".

    Raises
    ------
    TypeError, ValueError
        As `fit`, naming the group where only one is at fault; a missing label.

    Warns
    -----
    RuntimeWarning
        Where fits failed, as their loss was no longer finite: they have NaN.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> shops = np.repeat(["north", "south"], 25)
    >>> X = np.column_stack([np.tile(np.linspace(-1.0, 1.0, 25), 2), np.ones(50)])
    >>> t = np.where(shops == "north", 1.0, -1.0) * np.sin(2.0 * X[:, 0])
    >>> net = fastbp.Network(2, 5, output="identity")
    >>> fits = fastbp.fit_groups(net, X, t, groups=shops)
    >>> fits.groups, bool((fits.losses < 1e-4).all())
    (array(['north', 'south'], dtype='<U5'), True)
    >>> fits.predict([[0.5, 1.0], [0.5, 1.0]], ["south", "north"]).round(2)
    array([-0.84,  0.84])
    """
    if not boundary.is_integer(seed):
        raise TypeError(f"seed must be an integer, the same for all groups; got {seed!r}")
    check_network(net)
    if isinstance(X, Source):
        raise TypeError("fit_groups takes arrays, which it sorts by group; got a Source")
    if groups is None:
        labels, codes, X, t, sample_weight = _flat(X, t, sample_weight)
    else:
        rows, _ = boundary.observations(X, net.n_inputs, net.dtype, check_finite=False)
        labels, codes = _labelled(groups, X, len(rows))
        X = rows
        if not len(codes):
            raise ValueError("there must be at least one observation; got none")
    # Those of the same size one after the other: they are begun side by side.
    by_size = np.argsort(counts_of(codes, len(labels)), kind="stable")
    place = np.argsort(by_size)
    order, first = _sorted(codes, place)
    problem, _, chosen = checked(
        Given(
            net=net, X=X, t=t, w0=w0, optimizer=optimizer, loss=loss, sample_weight=sample_weight,
            absolute_sigma=False, l2=l2, folds=None, epochs=epochs, batch_size=batch_size,
            shuffle=shuffle, seed=seed, validation=None, early_stopping=None, free=free,
            bounds=bounds, callback=None, progress=False, threads=1, checkpoint=None, _stop=None,
            _quiet=True, _moments=None,
        ),
        copies=True,
    )  # fmt: skip
    work = _Work(problem, chosen, w0 is None, epochs, batch_size, labels[by_size], first, order)
    work.check()
    work.run(boundary.thread_count(threads) or os.cpu_count() or 1, client)
    reasons = [work.reasons[k] for k in place]
    failed = [m for m, reason in enumerate(reasons) if reason == _FAILED]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(first) - 1} fits failed, their loss no longer finite, the "
            f"first of group {labels[failed[0]]}",
            RuntimeWarning,
            stacklevel=2,
        )
    return GroupFits(net, labels, work.w[place], work.losses[place], tuple(reasons))


class _Begun(NamedTuple):
    """A group, or some side by side, ready for the optimizer."""

    problem: Problem
    start: Start

    @property
    def X(self) -> NDArray:
        """Its observations, group by group."""
        X = self.problem.X
        return X if X.ndim == 2 else X.swapaxes(0, 1).reshape(-1, X.shape[2])


class _Work:
    """The groups' problems, shared out to threads, and what has become of them."""

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        made: bool,
        epochs: int | None,
        batch_size: int | None,
        labels: Any,
        first: NDArray,
        order: NDArray | None,
    ) -> None:
        M = len(first) - 1
        self.w = np.full((M, problem.net.n_params), np.nan, problem.net.dtype)
        self.losses = np.full(M, np.nan)
        self.reasons = [_INTERRUPTED] * M
        self._problem, self._optimizer, self._made = problem, optimizer, made
        self._epochs, self._batch_size = epochs, batch_size
        # `order` puts the rows of a group one after the other; None where they are.
        self._labels, self._first, self._order = labels, first, order
        c, sizes = self._weights(), np.diff(first)
        vanishing = np.zeros(M, bool) if c is None else np.minimum.reduceat(c, first[:-1]) == 0.0
        self._apart = np.ones(M, bool)  # whether a group is begun apart from the one before
        self._apart[1:] = (sizes[1:] != sizes[:-1]) | vanishing[1:] | vanishing[:-1]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was sent: arrays with a dtype of their own, which entries refuse."""
        self.__dict__.update(state)
        self._first = self._first.astype(np.int64)
        whole = self._problem
        P, dtype = whole.net.n_params, whole.net.dtype

        def own(array: NDArray) -> NDArray:
            return boundary.numbers("what was sent", array, dtype, check_finite=False)

        self._problem = replace(
            whole,
            w=own(whole.w),
            X=own(whole.X),
            t=own(whole.t),
            c=None if whole.c is None else own(whole.c),
            l2=boundary.penalty(whole.l2, P),
            bounds=whole.bounds and (own(whole.bounds[0]), own(whole.bounds[1])),
        )

    def check(self) -> None:
        """Refuse what only a single group is wrong by."""
        c = self._weights()
        if c is None:
            return
        sums = np.add.reduceat(c.astype(np.float64, copy=False), self._first[:-1])
        least = np.finfo(c.dtype).tiny
        if not (sums >= least).all():
            m = int(np.argmin(sums >= least))
            raise ValueError(
                f"sample_weight must have a positive sum in each group; it is {sums[m]} in group "
                f"{self._labels[m]}"
            )

    def run(self, threads: int, client: Any = None) -> None:
        """Fit all groups; until Ctrl-C."""
        blocks = [*self._blocks()]
        if client is None:
            outcomes(self._fitting(), blocks, threads)
            return
        for (start, end), found in outcomes(self.fitted, blocks, threads, client=client):
            self.w[start:end], self.losses[start:end], self.reasons[start:end] = found

    def fitted(self, block: _Block, stop: threading.Event) -> tuple[NDArray, NDArray, list[str]]:
        """Fit some groups; return w, losses and reasons."""
        self._fitting()(block, stop)
        some = slice(*block)
        return self.w[some], self.losses[some], self.reasons[some]

    def _fitting(self) -> Callable[[_Block, threading.Event], None]:
        """Return what fits some groups, and writes down what it found."""
        chosen = self._optimizer
        return self._levenberg(chosen) if isinstance(chosen, LevenbergMarquardt) else self._by_fit

    def _blocks(self) -> Iterator[_Block]:
        net, start, M = self._problem.net, 0, len(self.losses)
        most = _BLOCK_NUMBERS // (net.n_inputs + net.n_outputs + 1)  # a large group is alone
        ends = self._first[1:].tolist()
        for m in range(1, M + 1):
            if m == M or m - start == _BLOCK or ends[m] - self._first[start] > most:
                yield start, m
                start = m

    def _weights(self) -> NDArray | None:
        """Return c, group by group."""
        c, order = self._problem.c, self._order
        if c is None or order is None:
            return c
        return np.concatenate([c[order[run]] for run in runs(len(order))])

    def _rows(self, start: int, end: int) -> slice | NDArray:
        return _rows(self._order, self._first[start], self._first[end])

    def _block(self, start: int, end: int) -> Problem:
        """Return the problem of the rows of some groups, one group after the other."""
        whole, rows = self._problem, self._rows(start, end)
        return replace(whole, **Rows(whole.X, whole.t, whole.c).of(rows)._asdict())

    def _of(self, start: int, end: int, block: Problem | None = None, at: int = 0) -> Problem:
        """Return the problem of a group, or of some of the same size, side by side.

        With the problem of a block that begins with the group `at`, its arrays are views of that.
        """
        whole, M = block or self._block(start, end), end - start
        rows = slice(*(self._first[[start, end]] - self._first[at if block else start]))

        def own(array: NDArray) -> NDArray:
            some = array[rows]
            return some if M == 1 else some.reshape(M, -1, *some.shape[1:]).swapaxes(0, 1)

        w = whole.w.copy() if M == 1 else np.tile(whole.w, (M, 1))
        c = None if whole.c is None else own(whole.c)
        return replace(whole, w=w, X=own(whole.X), t=own(whole.t), c=c)

    def _begun(self, start: int, end: int, block: Problem | None = None, at: int = 0) -> _Begun:
        """Begin the fits of a group, or of some side by side, as `_of` returns them."""
        problem = self._of(start, end, block, at)
        try:
            check_size(problem)
            return _Begun(problem, started(problem, self._optimizer, self._made))
        except ValueError as error:
            if end - start == 1:
                raise self._at_fault(start, error) from error
            for m in range(start, end):
                self._begun(m, m + 1)
            raise

    def _at_fault(self, m: int, error: ValueError) -> ValueError:
        return ValueError(f"group {self._labels[m]}: {error}")

    def _by_fit(self, block: _Block, stop: threading.Event) -> None:
        options: dict[str, Any] = {} if self._made else {"w0": self._problem.w}
        for m in range(*block):
            if stop.is_set():
                return
            own, rows = self._problem, self._rows(m, m + 1)
            given = Rows(own.X, own.t, own.c)
            if isinstance(rows, slice):
                X, t, c = given.of(rows)
            else:
                X, t, c = taken(own.net, own.loss, given, rows)
            try:
                result = fit(
                    own.net, X, t, optimizer=self._optimizer, loss=own.loss,
                    sample_weight=c, l2=own.l2, epochs=self._epochs,
                    batch_size=self._batch_size, shuffle=own.shuffle, seed=own.seed, free=own.free,
                    bounds=own.bounds, progress=False, _stop=stop, _quiet=True, **options,
                )  # fmt: skip
            except NonFiniteLossError:
                self.reasons[m] = _FAILED
            except ValueError as error:
                raise self._at_fault(m, error) from error
            else:
                self.w[m], self.losses[m], self.reasons[m] = result.w, result.loss, result.reason

    def _levenberg(
        self, optimizer: LevenbergMarquardt
    ) -> Callable[[_Block, threading.Event], None]:
        """Return what fits a block of groups by the compiled loop."""
        with LOCK:
            from ..kernels.calls.optimizers import LevenbergGroups
            from ..kernels.calls.prepared import prepared

        whole, sizes = self._problem, np.diff(self._first)
        options = levenberg_options(whole, optimizer)
        loop = LevenbergGroups(prepared(whole.net), whole.loss, {*sizes.tolist()}, **options)
        n = epochs_of(optimizer, self._epochs)
        alike = not self._made and begins_alike(whole.net, whole.w)

        def fitted(block: _Block, stop: threading.Event) -> None:
            start, end = block
            if n > _MOST_AT_ONCE or not is_copied(whole.net, sizes[start]):
                self._by_fit(block, stop)
                return
            edges = [start, *(start + 1 + np.flatnonzero(self._apart[start + 1 : end])), end]
            own = self._block(start, end)
            begun = [self._begun(*some, own, start) for some in itertools.pairwise(edges)]
            w = np.concatenate([each.problem.w.reshape(-1, whole.w.size) for each in begun])
            X = np.concatenate([each.X for each in begun])
            sums = np.concatenate([np.atleast_1d(squares(each.problem)) for each in begun])
            first = self._first[start : end + 1] - self._first[start]
            losses, reasons = loop.run(w, X, own.t, own.c, first, sums, n)
            for k in range(end - start):
                if is_told(whole, reasons[k]):
                    continue
                m, part = start + k, X[first[k] : first[k + 1]]
                told = replace(self._of(m, m + 1, own, start), w=w[k], X=part)
                reasons[k], loss = end_of_levenberg(told, reasons[k], optimizer.ftol)
                losses[k] = losses[k] if loss is None else loss
            failed = reasons == NOT_FINITE
            w[failed] = 0.0
            for each, (k, after) in zip(begun, itertools.pairwise(edges), strict=True):
                some = k - start if after - k == 1 else slice(k - start, after - start)
                w[some] = each.start.as_given(w[some])
            if begun[0].start.standardised or not n:
                found, losses = losses, loop.mean_losses(w, own.X, own.t, own.c, first)
                if whole.penalised:
                    losses += [replace(whole, w=of).penalty() for of in w]
                for k in np.flatnonzero(may_have_moved(whole.net, found, losses)).tolist():
                    m = start + k
                    given = replace(self._of(m, m + 1, own, start), w=w[k])
                    ended_at = reasons[k], found[k], losses[k]
                    reasons[k] = put_back(given, *ended_at, optimizer.ftol)
            w[failed], losses[failed] = np.nan, np.nan
            self.w[start:end], self.losses[start:end] = w, losses
            self.reasons[start:end] = [_REASONS[reason] for reason in reasons.tolist()]
            for k in range(end - start) if alike else ():
                m = start + k
                if self.reasons[m].startswith(CONVERGED):
                    given = replace(self._of(m, m + 1, own, start), w=w[k])
                    self.reasons[m] = ALIKE if is_at_saddle(given) else self.reasons[m]

        return fitted


def _flat(X: Any, t: Any, c: Any) -> tuple[NDArray, NDArray, Any, Any, Any]:
    """Return labels, codes and the data of (M, B, …) with the groups one after the other."""
    try:
        X, t = (boundary.as_array(name, a) for name, a in (("X", X), ("t", t)))
    except ValueError as error:  # NumPy's, of lists of different lengths
        raise ValueError(
            "without groups all must have as many observations; give those of different sizes one "
            "after the other, with groups"
        ) from error
    if X.ndim != 3 or t.shape[:2] != X.shape[:2]:
        raise ValueError(
            "without groups X must have shape (M, B, N) and t (M, B), or (M, B, K); got "
            f"{X.shape} and {t.shape}"
        )
    M, B, N = X.shape
    if not M or not B:
        raise ValueError(f"each group needs at least one observation; got X of shape {X.shape}")
    if c is not None:
        c = boundary.as_array("sample_weight", c)
        if c.shape != (M, B):
            raise ValueError(f"sample_weight must have shape ({M}, {B}); got {c.shape}")
        c = c.reshape(M * B)
    codes = np.repeat(np.arange(M, dtype=np.int32), B)
    return np.arange(M), codes, X.reshape(M * B, N), t.reshape(M * B, *t.shape[2:]), c


def _labelled(groups: Any, X: Any, n: int) -> tuple[Any, NDArray]:
    """Return the sorted labels, and the number of each observation's."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(
        groups, pandas.Series | pandas.Index | pandas.Categorical | pandas.DataFrame
    ):
        index, others = getattr(groups, "index", None), getattr(X, "index", None)
        if isinstance(others, pandas.Index) and index is not None and not index.equals(others):
            raise ValueError("groups and X must have the same index; align them first")
        if isinstance(groups, pandas.DataFrame):
            groups = pandas.MultiIndex.from_frame(groups)
        codes, labels = pandas.factorize(groups, sort=True)
        if isinstance(groups, pandas.MultiIndex):  # whose labels it takes for whole ones
            codes[np.any([level < 0 for level in groups.codes], axis=0)] = -1
        labels = pandas.Index(labels, name=getattr(groups, "name", None))
    else:
        boundary.unmasked("groups", groups)
        if isinstance(groups, str) or not hasattr(groups, "__iter__"):
            raise TypeError(f"groups must have a label for each observation; got {groups!r}")
        given = np.asarray(groups) if isinstance(groups, np.ndarray) else _objects(groups)
        if given.ndim != 1:
            raise ValueError(f"groups must have shape (B,); got {given.shape}")
        labels, codes = _by_hash(given) if given.dtype.kind in "OV" else _unique(given)
    if len(codes) != n:
        raise ValueError(
            f"groups must have one label for each of {n} observations; got {len(codes)}"
        )
    missing = np.flatnonzero(codes < 0)
    if missing.size:
        raise ValueError(f"groups must have a label for each observation; none at {missing[0]}")
    return labels, np.asarray(codes, np.int32)


def _objects(groups: Any) -> NDArray:
    """Array of the labels as they are: NumPy would turn 1 into text beside text."""
    labels = list(groups)
    given = np.empty(len(labels), object)
    given[:] = labels
    return given


def _unique(given: NDArray) -> tuple[NDArray, NDArray]:
    labels, codes = numbered(given)
    if given.dtype.kind in "fcmM":
        codes[given != given] = -1
    return labels, codes


def _by_hash(given: NDArray) -> tuple[NDArray, NDArray]:
    numbers: dict[Any, int] = {}
    try:
        found = [-1 if _is_missing(g) else numbers.setdefault(g, len(numbers)) for g in given]
    except (TypeError, ValueError) as error:  # lists, arrays
        raise TypeError(f"groups must be numbers, text or the like; {error}") from None
    labels = list(numbers)
    try:
        order = sorted(range(len(labels)), key=labels.__getitem__)
    except TypeError:  # of kinds that have no order: as they come
        order = list(range(len(labels)))
    place = np.append(np.argsort(order), -1)  # −1 stays
    kinds = {type(label) for label in labels}
    plain = len(kinds) == 1 and issubclass(kinds.pop(), str | int | float | np.generic)
    of = _objects([labels[k] for k in order])
    if plain:
        made = np.array(of.tolist())  # which drops NULs at the end of text, and digits
        of = made if made.dtype.kind in "mM" or made.tolist() == of.tolist() else of
    return of, place[np.array(found, np.intp)]


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA is neither
        return True


def _sorted(codes: NDArray, place: NDArray) -> tuple[NDArray | None, NDArray]:
    """Return the order that puts groups in their places, and where each begins there.

    The order is None where rows are in it.
    """
    for run in runs(len(codes)):
        codes[run] = place[codes[run]]
    first = np.concatenate([[0], np.cumsum(counts_of(codes, len(place)))]).astype(np.int64)
    if (codes[1:] >= codes[:-1]).all():
        return None, first
    order, free = row_numbers(len(codes)), first[:-1].copy()
    for run in runs(len(codes)):
        by_place = np.argsort(codes[run], kind="stable")
        places, begins, counts = np.unique(
            codes[run][by_place], return_index=True, return_counts=True
        )
        within = np.arange(len(by_place)) - np.repeat(begins, counts)
        order[np.repeat(free[places], counts) + within] = run.start + by_place
        free[places] += counts
    return order, first


def _rows(order: NDArray | None, begin: int, end: int) -> slice | NDArray:
    """Return some rows of an order; of None, which is that they have, as a slice."""
    return slice(begin, end) if order is None else order[begin:end]
