"""fit_many: restarts, ensembles and cross-validation folds, over threads."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, overload

import numpy as np
from numpy.random import default_rng
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .._parts import Marked, Rows, row_numbers
from ..losses import Loss, get_loss
from ..network import Network
from .doubts import warn
from .far import FarObjective
from .fit import fit
from .given import (
    check_network,
    checked_validation,
    said_of,
    same_columns,
    split_of,
    taken,
    weighing,
)
from .jobs import Fold, folds_of, outcomes
from .progress import Progress
from .result import FitResult, spread_of
from .uncertainty import check_noise
from .watch import NonFiniteLossError

__all__ = ["Fits", "fit_many"]

Outcome = FitResult | NonFiniteLossError
_DRAWN = 1 << 16  # observations of a bootstrap that are drawn at a time
_NOT_SHARED = ("checkpoint", "seed", "X", "t", "sample_weight")


@dataclass(frozen=True)
class _Job:
    """One fit: its seed, and the fold that it has not seen, if any."""

    seed: int
    fold: Fold | None = None


@dataclass(frozen=True)
class _Shared:
    """What all fits have in common: checked data, and options of `fit`."""

    net: Network
    rows: Rows
    loss: Loss
    options: dict[str, Any]
    bootstrap: bool

    def taken(self, some: NDArray | Marked | None) -> tuple[Any, Any, Any]:
        """Return some observations, or all, as X, t and c."""
        return taken(self.net, self.loss, self.rows, some)

    def fit(self, job: _Job, stop: threading.Event) -> Outcome:
        options = self.options
        fitted: NDArray | Marked | None = None
        if self.bootstrap:
            share = checked_validation(options.get("validation"))
            held, fitted = self._resampled(job.seed, share if isinstance(share, float) else None)
            if held is not None:
                X, t, c = self.taken(held)
                options = options | {"validation": X if t is None else (X, t, c)}
        elif job.fold is not None:
            fitted = job.fold.left(len(self.rows.X))
        X, t, c = self.taken(fitted)
        try:
            return fit(
                self.net, X, t, sample_weight=c, loss=self.loss, seed=job.seed, progress=False,
                _stop=stop, _quiet=True, **options,
            )  # fmt: skip
        except NonFiniteLossError as error:
            return error

    def held_out_loss(self, held: NDArray, result: FitResult) -> float:
        X, t, c = self.taken(held)
        if t is None:
            return FarObjective(X, 0.0).value(result.w)
        return self.net.objective(X, t, loss=self.loss, sample_weight=c).value(result.w)

    def _resampled(self, seed: int, share: float | None) -> tuple[NDArray | None, NDArray]:
        """Return a share to validate by, and a sample of the others, drawn with replacement."""
        B, weighs, held = len(self.rows.X), weighing(self.rows.c), None
        if share is None:
            left = row_numbers(B, weighs)
        else:
            held, left = split_of(share, seed, B, weighs)
        drawn, rng = np.empty_like(left), default_rng([seed, 3])
        for first in range(0, len(left), _DRAWN):  # 8 bytes each, else 4
            some = drawn[first : first + _DRAWN]
            some[:] = left[rng.integers(0, len(left), len(some))]
        return held, drawn


@dataclass(frozen=True, repr=False, eq=False)
class Fits(Sequence[FitResult]):
    """The results of `fastbp.fit_many`, a sequence of `FitResult`.

    Attributes
    ----------
    results : tuple of FitResult
        For every seed, one for each fold, or one.
    seeds : tuple of int
        The seed of each result.
    folds : tuple of ndarray of int
        The observations each result has not seen; empty without folds.
    held_out_losses : ndarray
        Mean loss of each result on its fold; empty without folds.
    failures : tuple of (int, NonFiniteLossError)
        Seeds of the fits whose loss was no longer finite, and their errors. They have no place in
        the other attributes.
    """

    results: tuple[FitResult, ...]
    seeds: tuple[int, ...]
    folds: tuple[NDArray, ...] = ()
    held_out_losses: NDArray = field(default_factory=lambda: np.empty(0))
    failures: tuple[tuple[int, NonFiniteLossError], ...] = ()

    @overload
    def __getitem__(self, index: int) -> FitResult: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FitResult]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return one result, or several."""
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"<Fits: {len(self)} results, least loss {self.best.loss:.6g}>"

    @property
    def best(self) -> FitResult:
        """The result of the least held-out loss, validation loss or training loss."""
        if len(self.held_out_losses):
            losses = self.held_out_losses  # of a far row it may be no number
            return self.results[int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))]
        return min(
            self.results, key=lambda r: r.loss if r.validation_loss is None else r.validation_loss
        )

    @property
    def losses(self) -> NDArray:
        """Training losses."""
        return np.array([result.loss for result in self.results])

    def predict(self, X: ArrayLike, *, return_std: bool = False, noise: bool = False) -> Any:
        """Mean of the members' predictions, and on request their standard deviation.

        Parameters
        ----------
        X : array_like, shape (B, N) or (N,)
            Observations, or one.
        return_std : bool
            Also return the standard deviation of the members' predictions.
        noise : bool
            That of a new observation: with the members' mean variance of the noise.

        Returns
        -------
        y : ndarray, shape (B,), or float
        std : ndarray, shape (B,), or float
            Only with `return_std`.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit; `return_std` with a single member; `noise` without it, or with a
            loss that defines none.

        References
        ----------
        B. Lakshminarayanan, A. Pritzel, C. Blundell: Simple and scalable predictive uncertainty
        estimation using deep ensembles, NeurIPS 2017.
        """
        check_noise(noise, return_std)
        values = np.array([result.predict(X) for result in self.results])
        mean = values.mean(axis=0)
        if not return_std:
            return mean if mean.ndim else float(mean)
        if len(values) < 2:
            raise ValueError("the spread of an ensemble needs at least two members; there is one")
        variance = values.var(axis=0, ddof=1)
        if noise:
            variances = [spread_of(result).noise for result in self.results]
            known = [value for value in variances if value is not None]
            if len(known) < len(variances):
                raise ValueError("noise=True needs the squared loss, which defines a variance")
            variance = variance + np.mean(np.array(known), axis=0)
        std = np.sqrt(variance)
        return (mean, std) if mean.ndim else (float(mean), float(std))


def fit_many(
    net: Network,
    X: ArrayLike,
    t: ArrayLike,
    *,
    seeds: int | Sequence[int] = 10,
    folds: int | Iterable[Any] | None = None,
    bootstrap: bool = False,
    threads: int | str = "auto",
    sample_weight: ArrayLike | None = None,
    loss: str | Loss = "squared",
    progress: bool | str = "auto",
    client: Any = None,
    **options: Any,
) -> Fits:
    """Fit a network many times, over threads or machines; each time with the bits of `fit`.

    Parameters
    ----------
    net : Network
        The network.
    X, t : array_like, shapes (B, N) and (B,)
        The data.
    seeds : int or sequence of int
        As `fit` takes them, one for each fit; a number n stands for 0 … n − 1.
    folds : int or iterable, optional
        Cross-validation: so many folds, drawn once; or the observations of each, as indices or as
        a mask of B booleans; or pairs (train, test) of these, as scikit-learn's splitters yield
        them. A fit for each seed and fold, to the observations outside the fold. What has the
        weight 0 is in no fold that is drawn.
    bootstrap : bool
        Whether each fit has a sample of its own, drawn with replacement by its seed: an ensemble
        whose spread has the noise of the data in it, not only that of the starts. A share to
        validate by is held out first, so that no copy of it is fitted.
    threads : int or "auto"
        Fits at a time; "auto" is the number of processors. Gains where the work is compiled:
        the stochastic optimizers and Levenberg–Marquardt.
    sample_weight : array_like, shape (B,), optional
        c.
    loss : str or Loss
        ℓ.
    progress : bool or "auto"
        As `fit` has it; shown is how many fits are done.
    client : distributed.Client, optional
        Of a cluster of Dask whose workers do the fits, in tasks of about a second; the data are
        sent to each. After Ctrl-C, and where workers are lost, what is done is kept.
    **options
        All else that `fit` takes, but a checkpoint and a seed.

    Returns
    -------
    fits : Fits
        After Ctrl-C, those that were done, and the running ones as far as they had come. Fits
        whose loss was no longer finite are left out, with a warning, and are in `failures`.

    Raises
    ------
    TypeError, ValueError
        As `fit`; for less than two folds to draw, and folds that are empty or without weight, leave
        nothing to fit or share observations with what is fitted.
    NonFiniteLossError
        Of the first fit, where all end so.

    Warns
    -----
    RuntimeWarning
        Where some do.
    FitWarning
        As `fit`; a cause of several fits once.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> X = np.column_stack([np.linspace(-1.0, 1.0, 50), np.ones(50)])
    >>> net = fastbp.Network(2, 4, output="identity")
    >>> fits = fastbp.fit_many(net, X, np.sin(3.0 * X[:, 0]), seeds=4, epochs=50)
    >>> y, std = fits.predict(X, return_std=True)
    >>> y.shape, std.shape, fits.best.loss < 1e-4
    ((50,), (50,), True)
    """
    refused = sorted(set(options).intersection(_NOT_SHARED))
    if refused:
        raise TypeError(f"fit_many does not take {', '.join(refused)}")
    if isinstance(options.get("l2"), str):
        raise ValueError(f'l2 must be numbers, such as fit(l2="auto") chose; got {options["l2"]!r}')
    boundary.flag("bootstrap", bootstrap)
    if folds is not None and bootstrap:
        raise ValueError("folds and bootstrap exclude each other; got both")
    check_network(net)
    ell = get_loss(loss)
    if isinstance(held := options.get("validation"), tuple):
        with said_of("validation"):
            same_columns(X, t, held)
    X, t, c = boundary.loss_data(net, ell, X, t, sample_weight, check_finite=True)
    shared = _Shared(net, Rows(X, cast(Any, t), c), ell, options, bootstrap)
    jobs = _jobs(seeds, folds, len(X), c)
    n = boundary.thread_count(threads) or os.cpu_count() or 1
    done: list[tuple[_Job, FitResult]] = []
    failures: list[tuple[int, NonFiniteLossError]] = []
    with Progress(progress, len(jobs), "fit") as shown:

        def show(known: list[Outcome]) -> None:
            losses = [outcome.loss for outcome in known if isinstance(outcome, FitResult)]
            shown.show(len(known), {"least loss": min(losses)} if losses else {})

        ended = outcomes(shared.fit, jobs, n, show, client)
    for job, outcome in ended:
        if isinstance(outcome, FitResult):
            done.append((job, outcome))
        else:
            failures.append((job.seed, outcome))
    if failures and not done:
        raise failures[0][1]
    if not done:
        raise KeyboardInterrupt
    if failures:
        which = ", ".join(str(seed) for seed, _ in failures)
        warnings.warn(
            f"{len(failures)} of {len(failures) + len(done)} fits are left out, whose loss was no "
            f"longer finite (seeds {which}); see the attribute failures",
            RuntimeWarning,
            stacklevel=2,
        )
    warn([result.warnings for _, result in done], stacklevel=2)
    judged = [(job.fold, result) for job, result in done if job.fold is not None]
    held = {id(fold): np.asarray(fold.held, np.intp) for fold, _ in judged}
    return Fits(
        tuple(result for _, result in done),
        tuple(job.seed for job, _ in done),
        tuple(held[id(fold)] for fold, _ in judged),
        np.array([shared.held_out_loss(held[id(fold)], result) for fold, result in judged]),
        tuple(failures),
    )


def _jobs(
    seeds: int | Sequence[int], folds: int | Iterable[Any] | None, B: int, c: NDArray | None
) -> list[_Job]:
    """Return what is to be fitted, of B observations of the weights c."""
    if boundary.is_integer(seeds):
        seeds = range(int(seeds))
    chosen: list[Any] = [*seeds] if hasattr(seeds, "__iter__") else [seeds]
    for seed in chosen:
        if not boundary.is_integer(seed):
            raise TypeError(f"seeds must be a number, or integers; got {seed!r}")
    if not chosen:
        raise ValueError("seeds must be a positive number or a sequence of at least one")
    parts = [None] if folds is None else folds_of(folds, B, c)
    return [_Job(int(seed), fold) for seed in chosen for fold in parts]
