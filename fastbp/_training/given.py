"""From what `fit` is given to the problem that an optimizer works on, checked once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .._columns import Columns, rms
from .._parts import Marked, Rows, row_numbers, runs, sizes
from ..activations import identity
from ..losses import OF_RESIDUALS, Loss, family, get_loss
from ..network import Network
from ..objective import Objective
from ..optimizers import SGD, ByBatches, Optimizer, get_optimizer
from . import uncertainty
from .far import Far, FarObjective
from .problem import Problem, one_row, stream
from .source import Streamed
from .watch import EarlyStopping, FitState


@dataclass(frozen=True)
class Given:
    """The arguments of `fit`, as they were given."""

    net: Network
    X: Any  # arrays, or what is Far
    t: Any
    w0: ArrayLike | None
    optimizer: str | Optimizer | None
    loss: str | Loss
    sample_weight: ArrayLike | None
    absolute_sigma: bool
    l2: ArrayLike | str
    folds: int | Iterable[Any] | None
    epochs: int | None
    batch_size: int | None
    shuffle: bool
    seed: int | np.random.Generator | None
    validation: Any
    early_stopping: EarlyStopping | int | None
    free: ArrayLike | None
    bounds: tuple[ArrayLike, ArrayLike] | str | None
    callback: Callable[[FitState], Any] | None
    progress: bool | str
    threads: int | str
    checkpoint: str | Path | None
    _stop: threading.Event | None
    _quiet: bool
    _moments: dict[str, Any] | None


@dataclass(frozen=True)
class Start:
    """X as it was given, and what its columns are like where the start is made for them."""

    net: Network
    X: NDArray
    columns: Columns | None
    standardised: bool  # whether the optimizer works on standardised columns
    far: Far | None = None  # where the observations given are elsewhere

    @property
    def moved(self) -> Columns | None:
        """The columns, where the optimizer is not given X."""
        return self.columns if self.standardised else None

    def inputs(self, X: NDArray) -> NDArray:
        """Return what the optimizer is given for X."""
        return X if self.moved is None else self.moved.standardised(X)

    def streamed(
        self, loss: Loss, X: NDArray, t: NDArray, c: NDArray | None, threads: int | str
    ) -> Far:
        """Return observations that are standardised block by block."""
        assert self.moved is not None
        far = Streamed.of_arrays(self.net, loss, (X, t, c), threads_of(threads))
        return far.changed(self.moved.standardised)

    def objective(self, loss: Loss, held: _Data | Far) -> Objective | FarObjective:
        """Return what a fit is validated by."""
        moved = self.moved
        if isinstance(held, tuple):
            X, t, c = held
            if moved is None or is_copied(self.net, len(X)):
                X = X if moved is None else moved.standardised_others(X)
                return Objective(self.net, X, t, loss=loss, sample_weight=c)
            held = Streamed.of_arrays(self.net, loss, held, 1)
        return FarObjective(held if moved is None else held.changed(moved.standardised_others), 0.0)

    def elsewhere(self, far: Far | None) -> Far | None:
        """Return what it is given for observations elsewhere."""
        return far if self.moved is None or far is None else far.changed(self.moved.standardised)

    def put_back(self, problem: Problem) -> None:
        """Have a problem be of the observations as given, and of the parameters for these."""
        problem.w, problem.X, problem.far = self.as_given(problem.w), self.X, self.far

    def as_given(self, w: NDArray) -> NDArray:
        """Return the parameters for X, of those for what the optimizer is given."""
        if self.moved is not None:
            w = w.copy()
            _, W = self.net.split(w)
            W[:] = self.moved.unscaled(W)
        return w


def problem_of(given: Given) -> tuple[Problem, Objective | FarObjective | None, Optimizer, Start]:
    """Check what is given; also returns the objective of the validation."""
    problem, held, chosen = checked(given)
    start = started(problem, chosen, given.w0 is None)
    judge = None if held is None else start.objective(problem.loss, held)
    return problem, judge, chosen, start


def check_network(net: Any) -> Network:
    """Return it, if it is one."""
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network; got {net!r}")
    return net


def checked(given: Given, copies: bool = False) -> tuple[Problem, _Data | Far | None, Optimizer]:
    """Check what is given; also returns what is held out.

    With `copies` that is copied however large it is.
    """
    net, batch = check_network(given.net), given.batch_size
    bounds = boundary.bounds(given.bounds, net.n_params, net.dtype)
    w0 = net.init(given.seed) if given.w0 is None else given.w0
    ell = get_loss(given.loss)
    far = given.X if isinstance(given.X, Far) else None
    X: NDArray
    t: Any  # an array, or ClassRows
    c: NDArray | None
    w = boundary.parameters(w0, net.n_params, net.dtype, check_finite=True, name="w0")
    if far is not None:
        X, t, c = one_row(net)
    else:
        X, t, c = boundary.loss_data(
            net, ell, given.X, given.t, given.sample_weight, check_finite=True
        )
    l2 = boundary.penalty(given.l2, net.n_params)
    uncertainty.check_absolute_sigma(given.absolute_sigma, ell)
    boundary.thread_count(given.threads)
    boundary.flag("shuffle", given.shuffle)
    free = _free(net, given.free)
    held: _Data | Far | None = None
    copies = far is None and (copies or is_copied(net, len(X)))
    if copies and isinstance(t, boundary.ClassRows):
        t = t[:]
    validation = checked_validation(given.validation)
    if isinstance(validation, tuple):
        held = _judges(given, ell, validation)
    elif not isinstance(validation, float):
        held = validation
    elif copies:
        X, t, c, held = _split(validation, given.seed, X, t, c)
    else:
        arrays = far.given if isinstance(far, Streamed) and far.given else (X, t, c, None)
        far, held = _shared_out(validation, given, ell, *arrays)
        X, t, c = one_row(net)
    if isinstance(t, boundary.ClassRows):  # many: a block at a time
        far = Streamed.of_arrays(net, ell, (X, t, c), threads_of(given.threads))
        X, t, c = one_row(net)
    batch = boundary.positive("batch_size", 32 if batch is None else batch)
    chosen = get_optimizer(given.optimizer, family(ell), net.n_params)
    problem = Problem(
        net, w.copy(), X, t, c, ell, l2=l2, free=free, bounds=bounds,
        batch=min(batch, len(far or X)), shuffle=given.shuffle, seed=given.seed,
        threads=given.threads, far=far,
    )  # fmt: skip
    check_size(problem)
    return problem, held, chosen


def started(problem: Problem, optimizer: Optimizer, made: bool) -> Start:
    """Begin: where the start is `made` by us, w and X of the problem become those to work with.

    Groups side by side, too.
    """
    net, X, w, bounds = problem.net, problem.X, problem.w, problem.bounds
    if not made:
        if bounds is not None:
            outside = np.flatnonzero((w < bounds[0]) | (w > bounds[1]))
            if outside.size:
                j = outside[0]
                raise ValueError(
                    f"w0 must lie within the bounds; parameter {j} is {w[j]}, outside "
                    f"[{bounds[0][j]}, {bounds[1][j]}]"
                )
        return Start(net, X, None, False, problem.far)
    squared = family(problem.loss) == "squared"
    both = Columns.over(problem.reduce, "Xt" if squared else "X", net.dtype)
    columns, targets = both.parted(net.n_inputs)
    # Other losses have a unit of their own, or are not to be moved by a few far targets.
    of_targets, (A, W) = 1.0, net.split(w)
    if squared:
        linear = [sigma == identity for sigma in boundary.sigmas(net)]
        units = np.where(linear, targets.unit, 1.0)
        A = A.reshape(*w.shape[:-1], net.n_outputs, -1)
        A *= units.reshape(*A.shape[:-1], 1)
        if all(linear) and isinstance(optimizer, ByBatches):
            of_targets = rms(units)
    # Where nothing but the function itself is minimised, over whole neurons; AdamW's decay is of
    # what it works with.
    shrunk = isinstance(optimizer, SGD) and optimizer.weight_decay > 0.0
    neutral = not (problem.penalised or shrunk) and bounds is None
    if neutral and not problem.free.all():
        _, rows = net.split(problem.free)
        neutral = bool((rows.all(axis=1) == rows.any(axis=1)).all())
    W_given = columns.unscaled(W)  # before the fit it is known whether there is one
    if not neutral:
        W[:] = W_given
    if bounds is not None:
        problem.w = mirrored(w, bounds)
    start = Start(net, X, columns, neutral, problem.far)
    if start.moved is None or problem.far is not None or is_copied(net, len(X)):
        problem.X, problem.far = start.inputs(X), start.elsewhere(problem.far)
    else:
        problem.far = start.streamed(problem.loss, X, problem.t, problem.c, problem.threads)
    problem.unit = of_targets if neutral else 1.0
    return start


def check_size(problem: Problem) -> None:
    """Raise ValueError for targets whose squares, to the last digit, are below all numbers."""
    name, dtype = problem.loss.name, problem.net.dtype
    if family(problem.loss) not in OF_RESIDUALS:
        return
    least, largest = _least_target(dtype), problem.targets.largest
    if (largest >= least).all():
        return
    largest = np.reshape(largest, (*problem.w.shape[:-1], -1)).max(axis=-1)
    if ((largest > 0.0) & (largest < least)).any():
        raise ValueError(
            f"targets must be 0 or so large that the {name!r} loss tells them apart, from "
            f"{least:.1g} on in {dtype}; the largest is {largest.max():.3g}: rescale them"
        )


@cache
def _least_target(dtype: np.dtype) -> float:
    return float(np.sqrt(np.finfo(dtype).tiny / np.finfo(dtype).eps))


def mirrored(w: NDArray, bounds: tuple[NDArray, NDArray]) -> NDArray:
    """Return a start within bounds: what lies outside is mirrored at them."""
    low, high = bounds
    w = np.where(w < low, 2 * low - w, w)
    w = np.where(w > high, 2 * high - w, w)
    return np.clip(w, low, high)


def _free(net: Network, given: ArrayLike | None) -> NDArray:
    if given is None:
        return np.ones(net.n_params, bool)
    # A copy: intervals are made when they are asked for, and l2 is one too.
    free = np.array(boundary.unmasked("free", given))
    if free.shape != (net.n_params,) or free.dtype != bool:
        raise ValueError(
            f"free must be an array of {net.n_params} booleans; got shape {free.shape} and dtype "
            f"{free.dtype}"
        )
    return free


_Data = tuple[NDArray, Any, NDArray | None]


def is_copied(net: Network, B: int) -> bool:
    """Whether so many observations are copied where a fit needs others than those given."""
    return sizes().is_packed(B, net.n_inputs, net.n_outputs, net.dtype.itemsize)


def most_copied(net: Network) -> int:
    """Most observations that are."""
    return sizes().MOST_PACKED // ((net.n_inputs + net.n_outputs + 1) * net.dtype.itemsize) or 1


def threads_of(given: int | str) -> int:
    return boundary.thread_count(given) or os.cpu_count() or 1


def taken(
    net: Network, loss: Loss, rows: Rows, chosen: NDArray | Marked | None
) -> tuple[Any, Any, Any]:
    """Return some observations, or all, as X, t and c for `fit`; those that are many as a Far."""
    if chosen is None:
        return rows
    if is_copied(net, len(chosen)):
        return rows.of(np.asarray(chosen))
    return Streamed.of_arrays(net, loss, rows, 1, chosen), None, None


def weighing(c: NDArray | None, rows: NDArray | Marked | None = None) -> NDArray | Marked | None:
    """Return which rows, of some, have a weight; None for all."""
    if c is None or c.all():
        return rows
    weighs = c > 0.0
    if rows is None:
        return Marked(weighs)
    rows = np.asarray(rows)
    return rows[weighs[rows]]


def _shared_out(
    share: float, given: Given, loss: Loss, X: Any, t: Any, c: Any, rows: NDArray | Marked | None
) -> tuple[Far, Far]:
    """Return what is left to fit and a share to validate by, of which nothing is copied."""
    held, fitted = split_of(share, given.seed, len(X), weighing(c, rows))
    n = threads_of(given.threads)
    return (
        Streamed.of_arrays(given.net, loss, (X, t, c), n, fitted),
        Streamed.of_arrays(given.net, loss, (X, t, c), n, held),
    )


def _split(
    share: float, seed: int | np.random.Generator | None, X: NDArray, t: NDArray, c: NDArray | None
) -> tuple[NDArray, Any, NDArray | None, _Data]:
    """Return what is left to fit, and what is held out: copies."""
    # What has no weight is no observation to be shared out.
    rows = Rows(X, t, c).weighing()
    held, fitted = (rows.of(part) for part in split(share, seed, len(rows.X)))
    return fitted.X, fitted.t, fitted.c, held


def _judges(given: Given, loss: Loss, validation: tuple[Any, ...]) -> _Data:
    """Check observations that are given to validate by."""
    X, t, *rest = validation
    weights = rest[0] if rest else None
    with said_of("validation"):
        same_columns(given.X, given.t, validation)
        return boundary.loss_data(given.net, loss, X, t, weights, check_finite=True)


def same_columns(X: Any, t: Any, validation: tuple[Any, ...]) -> None:
    """Raise ValueError where what validates has columns in another order."""
    for name, own, other in zip("Xt", (X, t), validation, strict=False):
        boundary.same_columns(name, own, other)


@contextmanager
def said_of(what: str) -> Iterator[None]:
    """Have messages say what they are of, such as observations to validate by."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"in {what}: {error}") from error


def checked_validation(given: Any) -> tuple[Any, ...] | float | Far | None:
    """Return observations to validate by, the share to hold out, a float, or None."""
    if isinstance(given, Far | None) or (isinstance(given, tuple) and len(given) in (2, 3)):
        return given
    if isinstance(given, int | float | np.number):
        return float(given)
    raise TypeError(
        "validation must be (X, t), (X, t, sample_weight) or the share to hold out; got "
        f"{type(given).__name__}"
    )


def split(
    share: float, seed: int | np.random.Generator | None, B: int, classes: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Return which of B observations validate, and which are fitted.

    With the class of each observation, every class has its part of both as far as whole numbers
    allow, and one observation at least to fit.
    """
    n = round(share * B) if 0.0 < share < 1.0 else 0
    if not 0 < n < B:
        raise ValueError(
            f"validation must hold out at least one of {B} observations and not all; got the "
            f"share {share!r}"
        )
    order = row_numbers(B)
    stream(seed, 2).shuffle(order)
    if classes is not None:
        order = order[_by_share(classes[order])]
    order[n:].sort()
    return order[:n], order[n:]


def split_of(
    share: float, seed: int | np.random.Generator | None, B: int, rows: NDArray | Marked | None
) -> tuple[NDArray, NDArray]:
    """As `split`, of some rows of B, or of all."""
    if rows is None:
        return split(share, seed, B)
    rows = row_numbers(B, rows)
    held, fitted = (part.astype(rows.dtype, copy=False) for part in split(share, seed, len(rows)))
    for part in (held, fitted):
        for run in runs(len(part)):
            part[run] = rows[part[run]]
    return held, fitted


def _by_share(classes: NDArray) -> NDArray:
    """Order observations so that any first ones have of every class its part.

    The k-th of n observations of a class has its place at the part (k - ½) / n of all; the last
    is left to fit.
    """
    place = np.empty(len(classes))
    for each in np.unique(classes):
        rows = np.flatnonzero(classes == each)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[-1]] = 1.0
    return np.argsort(place, kind="stable")
