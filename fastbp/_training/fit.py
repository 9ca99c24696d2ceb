"""fit: from data to fitted parameters, and everything a long run needs around the optimizer."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .. import _html as html
from .. import _plots as plots
from .._columns import Columns
from .._lock import LOCK
from .._parts import Rows, Statistic
from .._standardise import at_most
from ..activations import identity
from ..losses import Loss, get_loss
from ..network import Network
from ..objective import Objective
from ..optimizers import (
    MOST_OF_LEVENBERG,
    SGD,
    Adam,
    AdamW,
    LevenbergMarquardt,
    Optimizer,
    get_optimizer,
)
from . import choose as choose
from . import uncertainty as uncertainty
from .checkpoint import Arguments, Checkpoint
from .choose import L2Path
from .doubts import doubts, warn
from .far import Far, FarObjective
from .methods import Method, Problem, Stochastic, method_of, one_row, stream
from .progress import Progress
from .report import FitReport, report_of
from .source import Source, Streamed
from .watch import EarlyStopping, FitState, Watch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FitResult", "fit"]

Validation = (
    tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike | None] | float | Far
)

# What fits of l2="auto" have in common with the last one.
_OF_EACH = (
    "w0",
    "optimizer",
    "epochs",
    "batch_size",
    "shuffle",
    "validation",
    "early_stopping",
    "free",
    "bounds",
)
ALL_DONE = "all epochs done"
_PLOTTED = 200  # points of a line
EPOCHS = {SGD: 200, Adam: 200, AdamW: 200, LevenbergMarquardt: 200}  # SciPy's methods: 1000


@dataclass(frozen=True, repr=False)
class FitResult:
    """What `fastbp.fit` returns.

    Attributes
    ----------
    net : Network
        The network.
    w : ndarray, shape (P,)
        The parameters: those of the best validation loss where there was validation, else the
        last.
    loss : float
        Training loss at w, the penalty included.
    validation_loss : float or None
        The best, without penalty; the start's is among them.
    history : dict of str to ndarray
        One entry an epoch or iteration: "loss", and "validation_loss" where there is one. The
        loss of a stochastic epoch is the mean over its batches, each before its update.
    reason : str
        Why it stopped.
    n_evaluations : int
        Gradients of a batch, or evaluations of all observations.
    warnings : tuple of str
        What speaks against the fit, as in the `FitWarning` of each.
    l2 : float or None
        λ, where ``l2="auto"`` chose it.
    l2_path : tuple (l2, loss, error) of ndarray, or None
        The penalties it was chosen from, the largest first, the mean loss of what was held out at
        each, and its standard error.
    """

    net: Network
    w: NDArray
    loss: float
    validation_loss: float | None
    history: dict[str, NDArray]
    reason: str
    n_evaluations: int
    data: uncertainty.Data = field(compare=False)
    warnings: tuple[str, ...] = ()
    l2: float | None = None
    l2_path: L2Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        steps = len(self.history["loss"])
        return f"<FitResult: loss {self.loss:.6g} after {steps} steps; {self.reason}>"

    def _repr_html_(self) -> str:
        rows = [
            ("network", repr(self.net)),
            (f"{self.data.loss.name} loss", f"{self.loss:.6g}"),
            ("steps", str(len(self.history["loss"]))),
            ("ended", self.reason),
        ]
        if self.l2 is not None:
            rows.insert(2, ("l2, chosen", f"{self.l2:.3g}"))
        if self.validation_loss is not None:
            rows.insert(2, ("validation loss", f"{self.validation_loss:.6g}"))
        return html.table("FitResult", rows)

    @property
    def converged(self) -> bool:
        """Whether it ended because nothing was left to gain."""
        return self.reason.startswith(("converged", "target"))

    @cached_property
    def _spread(self) -> uncertainty.Spread:
        return uncertainty.spread(self.net, self.w, self.data)

    @cached_property
    def _report(self) -> FitReport:
        return report_of(self)

    @property
    def covariance(self) -> NDArray:
        """Covariance of the parameters, (P, P), as `predict` uses it.

        Zero where not free; infinite, with a `FitWarning`, in rows and columns of parameters that
        neither the data nor a penalty determine. Without a penalty, those are all output weights
        of a softmax, as y stays the same where one number is added to the K of a neuron.
        """
        return uncertainty.covariance(self._spread, self.data.free)

    def report(self) -> FitReport:
        """Return how good the fit is, and the parameters with their standard errors.

        Returns
        -------
        report : FitReport
            It prints as text, and a notebook shows it as tables.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> X = np.column_stack([[-1.0, 0.0, 1.0, 2.0], np.ones(4)])
        >>> net = fastbp.Network(2, activations=["identity"], output="identity")
        >>> w0, free = [1.0, 0.0, 0.0], [False, True, True]
        >>> report = fastbp.fit(net, X, [0.1, 0.9, 2.1, 2.9], w0=w0, free=free).report()
        >>> round(report.r2, 4), report.standard_errors.round(4)
        (0.9931, array([0.    , 0.0566, 0.0693]))
        """
        return self._report

    def predict(
        self, X: ArrayLike, *, return_std: bool = False, noise: bool = False, threads: int | str = 1
    ) -> Any:
        """Evaluate the fitted function, and on request its standard deviation.

        Parameters
        ----------
        X : array_like, shape (B, N) or (N,)
            Observations, or one.
        return_std : bool
            Also return the standard deviation by the delta method, √(∇f^T C ∇f), where C is the
            covariance of the parameters at the optimum.
        noise : bool
            That of a new observation of mean weight, the function's own and the noise's together.
        threads : int or "auto"
            Threads to use for the values.

        Returns
        -------
        y : ndarray, shape (B,), or float; where K > 1, (B, K) or (K,)
            The network's output: of the loss poisson the log rate, whose exponential is the rate.
        std : ndarray, of the shape of y, or float
            Only with `return_std`. An interval of 90 % is y ± 1.645 std. Infinite where y depends
            on what neither the data nor a penalty determine.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit; `noise` without `return_std`, or with a loss that defines none;
            with `return_std`, a loss without curvature.

        Warns
        -----
        FitWarning
            Where a deviation is infinite, or the noise is estimated from less than one observation.

        Notes
        -----
        C is A⁻¹ S A⁻¹ with M = Σ_b c_b ℓ''_b ∇f_b ∇f_b^T, A = M + Σ_b c_b l2 I and weights c of
        mean one: S is s² M for the squared loss, with s² = Σ_b c_b r_b² / (n − tr(A⁻¹ M)); M for
        cross_entropy and poisson, which are likelihoods; Σ_b (c_b ℓ'_b)² ∇f_b ∇f_b^T for the
        others. With `absolute_sigma`, c is what was given and s² is one.

        Of K outputs M = Σ_k M_k is the sum over them, M_k having the rows ∇f_bk. The squared loss
        has a noise variance for each, s_k² = Σ_b c_b r_bk² / (n − tr(A⁻¹ M_k)); what is common to
        the noise of one observation is taken into account: S = Σ_b c_b J_b^T Σ̂ J_b, where
        Σ̂_kl = Σ_b c_b r_bk r_bl / √((n − tr(A⁻¹ M_k)) (n − tr(A⁻¹ M_l))). The last S is that of
        the gradients Σ_k ℓ'_bk ∇f_bk. On a softmax, M of cross_entropy is Fisher's information
        Σ_b c_b J_b^T (diag(y_b) − y_b y_b^T) J_b with J_b = ∂s/∂w.

        Right where the fit is at an optimum, with more observations than parameters, as the
        number of observations grows. With l2 it describes the scatter about the penalised
        optimum, not the bias that the penalty brings.

        References
        ----------
        J. T. G. Hwang, A. A. Ding: Prediction intervals for artificial neural networks, JASA 92
        (1997). I. Rivals, L. Personnaz: Construction of confidence intervals for neural networks
        based on least squares estimation, Neural Networks 13 (2000). With a penalty: R. D. De
        Veaux, J. Schumi, J. Schweinsberg, L. H. Ungar: Prediction intervals for neural networks
        via nonlinear regression, Technometrics 40 (1998). Σ̂: A. Zellner: An efficient method of
        estimating seemingly unrelated regressions, JASA 57 (1962); A. R. Gallant: Seemingly
        unrelated nonlinear regressions, Journal of Econometrics 3 (1975).
        """
        uncertainty.check_noise(noise, return_std)
        y = self.net.value(self.w, X, threads=threads)
        if not return_std:
            return y
        given = self._spread
        return y, uncertainty.standard_deviation(self.net, self.w, X, given, noise=noise)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the history of the losses; where there is validation, its least one is marked.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to; a new figure if left out.

        Returns
        -------
        ax : matplotlib axes

        Raises
        ------
        ImportError
            Without matplotlib (``pip install fastbp[plot]``).
        """
        penalty = " with penalty" if np.any(self.data.l2) else ""
        shown: dict[str, Any] = {f"training{penalty}": self.history["loss"]}
        if "validation_loss" in self.history:
            shown["validation"] = self.history["validation_loss"]
        ax = plots.axes(ax)
        steps = np.arange(1, len(self.history["loss"]) + 1)
        plots.losses(ax, steps, shown, f"{self.data.loss.name} loss")
        return ax

    def plot_prediction(
        self, X: ArrayLike, column: int, ax: Axes | None = None, *, level: float = 0.9
    ) -> Axes:
        """Plot the function over one input, the others at their medians, with its interval.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations: between which values to draw, and where the medians are.
        column : int
            The input, from 0; from the last with -1.
        ax : matplotlib axes, optional
            Where to; a new figure if left out.
        level : float
            Of the interval of the function, `predict` ± a multiple of its deviation. There is none
            where the loss has no curvature, nor where the data do not determine the function.

        Returns
        -------
        ax : matplotlib axes
            With what was fitted as points where no other input varies in X, and it is here.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit, the column is none of its N, or the level not between 0 and 1.
        ImportError
            Without matplotlib (``pip install fastbp[plot]``).

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> X = np.column_stack([np.linspace(-1.0, 1.0, 50), np.ones(50)])
        >>> result = fastbp.fit(fastbp.Network(2, 6, output="identity"), X, X[:, 0] ** 2)
        >>> ax = result.plot_prediction(X, 0)  # doctest: +SKIP
        """
        N, dtype = self.net.n_inputs, self.net.dtype
        given, _ = boundary.observations(X, N, dtype, check_finite=True)
        if not isinstance(column, int | np.integer) or not -N <= column < N:
            raise ValueError(f"column must be one of {N} inputs, from 0 on; got {column!r}")
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be a number between 0 and 1; got {level!r}")
        if not len(given):
            raise ValueError("X must hold observations; it has none")
        x = np.linspace(given[:, column].min(), given[:, column].max(), _PLOTTED)
        at = np.tile(np.median(given, axis=0), (_PLOTTED, 1))
        at[:, column] = x
        try:
            y, std = self.predict(at, return_std=True)
        except ValueError:  # a loss without curvature
            y, std = self.predict(at), None
        others = np.delete(given, column, axis=1)
        alone = bool((others == others[0]).all())
        points = None
        if alone and not self.data.far:
            fitted = self.data.taken()
            points = fitted.X[:, column], fitted.t
        within = (0.0, 1.0) if self.data.loss.name == "cross_entropy" else (-np.inf, np.inf)
        return plots.prediction(plots.axes(ax), x, y, std, level, column % N, points, within)

    def plot_l2_path(self, ax: Axes | None = None) -> Axes:
        """Plot the loss of what was held out over the penalties that ``l2="auto"`` looked at.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to; a new figure if left out.

        Returns
        -------
        ax : matplotlib axes
            With one standard error either way, and the penalty chosen.

        Raises
        ------
        ValueError
            Where l2 was not chosen.
        ImportError
            Without matplotlib (``pip install fastbp[plot]``).
        """
        if self.l2_path is None or self.l2 is None:
            raise ValueError('there is a path where l2="auto" chose the penalty; here it was given')
        name = f"{self.data.loss.name} loss of what was held out"
        return plots.l2_path(plots.axes(ax), *self.l2_path, self.l2, name)


def noise_variance(result: FitResult) -> float | NDArray | None:
    """Return the variance of an observation about the function, where K > 1 of each output.

    None where the loss has none.
    """
    return result._spread.noise


def has_intervals(result: FitResult) -> bool:
    """Return whether a fit has them: its loss has a curvature, and all is finite."""
    try:
        return bool(np.isfinite(result._spread.factor).all())
    except ValueError:
        return False


def without_data(result: FitResult) -> FitResult:
    """Return a fit with what its intervals need in place of its observations.

    That is at most 8 P (F + 1) bytes for F free parameters, twice that where the data do not
    determine them. It is found for up to as many parameters as Levenberg–Marquardt is the default
    for, and for more where it was asked for before.
    """
    spread = result.__dict__.get("_spread")
    if spread is None and result.net.n_params <= MOST_OF_LEVENBERG:
        with suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore", uncertainty.FitWarning)
            spread = result._spread
    data = result.data
    X, t = data.X[:0], data.t[:0]
    none = replace(data, X=X, t=t, sample_weight=None, rows=None, elsewhere=None)
    bare = replace(result, data=none)
    if spread is not None:
        bare.__dict__["_spread"] = spread
    return bare


def let_go(result: FitResult, intervals: bool) -> FitResult:
    """Return a fit whose observations elsewhere may go; asked before, for its intervals."""
    left = replace(result, data=replace(result.data, elsewhere=None))
    if intervals:
        try:
            left.__dict__.update(_spread=result._spread, _report=result.report())
        except (Exception, KeyboardInterrupt) as error:  # the fit is not to be lost
            message = f"the fit has no intervals and no report: {error or type(error).__name__}"
            warnings.warn(message, uncertainty.FitWarning, stacklevel=3)
    return left


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


def fit(
    net: Network,
    X: ArrayLike | Source,
    t: ArrayLike | None = None,
    *,
    w0: ArrayLike | None = None,
    optimizer: str | Optimizer | None = None,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    absolute_sigma: bool = False,
    l2: ArrayLike | str = 0.0,
    folds: int | Iterable[Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int | np.random.Generator | None = 0,
    validation: Validation | Source | None = None,
    early_stopping: EarlyStopping | int | None = None,
    free: ArrayLike | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | str | None = None,
    callback: Callable[[FitState], Any] | None = None,
    progress: bool | str = "auto",
    threads: int | str = 1,
    checkpoint: str | Path | None = None,
    _stop: threading.Event | None = None,
    _quiet: bool = False,
    _moments: dict[str, Any] | None = None,
) -> FitResult:
    """Fit a network's parameters to data.

    Minimises Σ_b c_b ℓ(f(w, x_b), t_b) / Σ_b c_b + ½ Σ_j λ_j w_j², where λ_j is l2.

    Parameters
    ----------
    net : Network
        The network.
    X : array_like, shape (B, N), or Source
        Observations, or where they and their targets and weights are read from.
    t : array_like, shape (B,)
        Targets.
    w0 : array_like, shape (P,), optional
        The start; if left out, that of ``net.init(seed, X, sample_weight=sample_weight)`` with
        what is fitted, so without observations that are held out; with an identity output and the
        squared loss, w_1 … w_H are then in units of the targets' deviation. The optimizer works on
        columns so standardised, unless there is a penalty or a decay of w: its steps are the same
        in any units, and with a constant column wherever the others have their means. With `bounds`
        columns are left as they are, and what lies outside is mirrored.
    optimizer : str or Optimizer, optional
        One of `fastbp.optimizers` or its name, or a method of `scipy.optimize.minimize`. If left
        out, Levenberg–Marquardt for the squared loss while P ≤ 1000, else L-BFGS.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), optional
        c. The stochastic optimizers scale them to mean one and take the plain mean over a batch,
        so that the expected step is that of the weighted mean. What has the weight 0 has no part
        in a share to validate by, and says nothing of the columns.
    absolute_sigma : bool
        As in `scipy.optimize.curve_fit`, for covariance and intervals alone: whether the weights
        are 1/σ_b², the targets' variances being known, or say how these compare, their scale being
        estimated from the residuals. For cross_entropy and poisson, whether c_b is a number of
        observations, or weights are scaled to mean one.
    l2 : float, array_like of shape (P,), or "auto"
        Weight of the penalty: λ, or λ_j of each parameter. "auto" chooses λ by cross-validation,
        the largest of a path from 1 to 1e-6 whose loss is not above the least by more than the
        standard error of the difference. λ_j is then λ for columns and targets (of identity
        outputs, by squared loss) measured in their deviations, and 0 for what is a bias, a
        constant column's weights and those of the neurons `one`. Of neurons `identity` beside
        bent ones it is at most that of the straight line that cross-validation finds best, which
        is what the largest λ leave. `result.data.l2` has it.
    folds : int or iterable, optional
        What ``l2="auto"`` is judged by, as `fit_many` takes it; if left out, `validation` where it
        is given, else 5 folds, the same in any order of the observations, that share out the
        classes where targets are such.
    epochs : int, optional
        At most so many epochs of a stochastic optimizer (200 if left out), iterations of
        Levenberg–Marquardt (200) or of a SciPy method (1000); of COBYLA, which has no iterations,
        evaluations. If left out, Levenberg–Marquardt and SciPy's methods have 50 to compare
        penalties by.
    batch_size : int, optional
        Observations in a batch of a stochastic optimizer; 32 if left out. The others always use
        all observations.
    shuffle : bool
        Whether each epoch has an order of its own.
    seed : int, numpy.random.Generator or None
        Decides the start, the orders and the validation split; with None they are other ones in
        every run, and no checkpoint can be kept.
    validation : tuple or float, optional
        (X, t) or (X, t, sample_weight) of observations that are not fitted, or the share of the
        given ones to hold out; beside a `Source` another. The parameters with the least loss on
        them, the start among them, are returned, or are the `w` of a `NonFiniteLossError`.
    early_stopping : int or EarlyStopping, optional
        An integer is a patience.
    free : array_like of bool, shape (P,), optional
        Which parameters may move; the others keep the values of `w0`.
    bounds : (low, high) or "positive", optional
        The least and the largest values, each a number or an array of shape (P,), ±inf for none;
        "positive" is (0, inf). Kept by Levenberg–Marquardt, L-BFGS, TNC, SLSQP, Nelder-Mead and
        Powell; other optimizers refuse. There `converged` refers to the projected gradient.
    callback : callable, optional
        Called with a `FitState` after every epoch or iteration. A true result stops the fit, and
        so does raising StopIteration: what was found is returned, the reason "stopped by the
        callback".
    progress : bool or "auto"
        Whether to show on standard error how far it is, with the losses and at last why it ended: a
        bar (of tqdm, the extra ``cli``) on a terminal or in a notebook, else a line every few
        seconds. "auto" does on a terminal or in a notebook, where a fit takes a second or more.
    threads : int or "auto"
        Threads of the evaluations, for SciPy's methods and Levenberg–Marquardt; the result is the
        same to the last bit. SGD and Adam use one. With ``l2="auto"`` the folds share them.
    checkpoint : path, optional
        A file that is written every few seconds and at the end, whole or not at all. A fit with
        the same arguments goes on from it, and ends with the same bits as one never stopped; so
        does one with more epochs, done or not, unless its learning rates depend on their number.
        SciPy's methods then restart every 100 iterations, and where their epochs ended.

    Returns
    -------
    result : FitResult
        Ctrl-C ends the fit too, with the parameters of the best validation loss so far where there
        is validation, else the last (of LM and SciPy's methods these are the best too).

    Raises
    ------
    TypeError, ValueError
        Where an argument does not fit; a start outside the bounds; a checkpoint of other arguments;
        targets whose squares, where the loss takes them, vanish among the network's numbers.
    NonFiniteLossError
        Where the loss is no longer finite; it holds the last good parameters.
    ImportError
        Where an optimizer needs a package that is not there.

    Warns
    -----
    FitWarning
        Once for each cause to distrust the result: targets outside the output's range, a loss no
        better than a constant's, saturated neurons, no more observations than free parameters
        without a penalty, columns far from 0 without a constant one (where w0 is left out).

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> X = np.column_stack([np.linspace(-1.0, 1.0, 50), np.ones(50)])
    >>> net = fastbp.Network(2, 6, output="identity")
    >>> result = fastbp.fit(net, X, np.sin(3.0 * X[:, 0]), seed=1)
    >>> result.loss < 1e-6
    True
    >>> result.predict([[0.5, 1.0]]).round(2)
    array([1.])
    """
    given = Given(**locals())
    if isinstance(X, Source):
        given = _of_sources(given)
    elif t is None and not isinstance(given.X, Far):
        raise TypeError("t is missing: fit takes X and t, or a Source")
    elif isinstance(validation, Source):
        raise TypeError("a Source to validate by needs one to fit: Source.from_arrays(X, t)")
    if isinstance(l2, str):
        result = _chosen(given)
        if not _quiet:
            warn([result.warnings], stacklevel=2)
        return result
    if folds is not None:
        raise ValueError('folds are what l2="auto" is judged by; with a number use fit_many')
    problem, held_out, chosen, start = _problem(given)
    early = _early_stopping(early_stopping)
    problem.target = -np.inf if early.target is None else early.target
    n_epochs = EPOCHS.get(type(chosen), 1000) if epochs is None else epochs
    if not isinstance(n_epochs, int | np.integer) or n_epochs < 0:
        raise ValueError(f"epochs must be an integer from 0 on; got {epochs!r}")
    if checkpoint is not None and seed is None:
        raise ValueError("a checkpoint needs a seed: another run could not go on from it")
    method = method_of(problem, chosen, checkpoint is not None)
    if _moments:
        method.go_on(_moments)
    with Progress(progress, int(n_epochs)) as shown:
        watch = Watch(int(n_epochs), held_out, early, callback, shown, _stop, start.as_given)
        store = None
        if checkpoint is not None:
            others = (seed, shuffle, batch_size)
            arguments = Arguments(problem, held_out, chosen, early, others)
            store = Checkpoint(Path(checkpoint), arguments, int(n_epochs))
        reason = _run(problem, method, watch, store)
        shown.end(reason)
    if _moments is not None:  # of the last fit, for the next one to go on from
        _moments.clear()
        _moments.update(method.moments())
    result = _result(problem, method, watch, reason, start, given)
    if not _quiet:
        warn([result.warnings], stacklevel=2)
    return result


def _chosen(given: Given) -> FitResult:
    """Choose l2, and fit by it."""
    if given.l2 != "auto":
        raise ValueError(
            f'l2 must be a number, one for each parameter, or "auto"; got {given.l2!r}'
        )
    if given.checkpoint is not None:
        raise ValueError('a checkpoint is kept of one fit: give it the l2 that l2="auto" chose')
    seed = given.seed
    if not isinstance(seed, int | np.integer):
        seed = int(stream(seed, 4).integers(2**31))
    given = replace(given, seed=seed)
    problem, judges, _ = checked(
        replace(given, l2=0.0, validation=None if given.folds is not None else given.validation),
        copies=True,
    )
    assert not isinstance(judges, Far)
    net, X, t, c, ell = problem.net, problem.X, problem.t, problem.c, problem.loss
    options = {name: getattr(given, name) for name in _OF_EACH}
    of = choose.data(
        net,
        X,
        t[np.newaxis],
        c,
        ell,
        folds=given.folds,
        judges=None if judges is None else (judges[0], judges[1][np.newaxis], judges[2]),
        fit=fit,
        threads=given.threads,
        seed=int(seed),
    ).counted(given.progress, len(choose.PATH))
    unit = choose.units(net, X, t, c, ell)
    with of.shown:
        line = choose.line_of_data(net, of, options)
        choice = choose.choose(net, of, unit, options, line=line)
        of.shown.end(f"l2 {choice.l2:.3g} is chosen")
    each = at_most(net, choice.l2 * unit, choice.l2, choice.linear)
    alone = {"l2": each, "folds": None, "_quiet": True}
    return choice.noted(fit(**(vars(given) | alone)), choose.doubt(choice, line))


def _of_sources(given: Given) -> Given:
    """Return what is given with what a fit asks sources in their places."""
    net, validation = given.net, given.validation
    if given.t is not None or given.sample_weight is not None:
        raise TypeError("targets and weights are in the Source; leave t and sample_weight out")
    if isinstance(given.l2, str):
        raise ValueError("a fit of a Source needs l2 as a number; choose it by a part of the rows")
    if given.checkpoint is not None:
        raise ValueError("a fit of a Source keeps no checkpoint; give the arrays themselves")
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network; got {net!r}")
    if not (validation is None or isinstance(validation, Source)):
        raise TypeError(
            f"beside a Source, validation must be another; got {type(validation).__name__}"
        )
    n, ell = _threads(given.threads), get_loss(given.loss)
    held = None if validation is None else validation.bound(net, ell, n)
    return replace(given, X=given.X.bound(net, ell, n), validation=held)


def _early_stopping(given: EarlyStopping | int | None) -> EarlyStopping:
    if given is None or (isinstance(given, int | np.integer) and not isinstance(given, bool)):
        return EarlyStopping(patience=given)
    if not isinstance(given, EarlyStopping):
        raise TypeError(
            f"early_stopping must be a number of steps or an EarlyStopping; got {given!r}"
        )
    return given


def _run(problem: Problem, method: Method, watch: Watch, store: Checkpoint | None) -> str:
    """Go on from the checkpoint, or begin, until there is a reason to stop; return it."""
    reason = ""
    saved = None if store is None else store.load()
    if store is not None and saved is not None:
        reason = saved["reason"].item()
        problem.w[:] = saved["w"]
        watch.restore(saved)
        method.restore(saved)
        if store.of_fewer and reason == ALL_DONE:
            reason = ""

    def keep() -> None:
        if store is not None:
            own = {"w": problem.w.copy(), "reason": np.array(reason)}
            store.keep({**own, **watch.state(), **method.state()})

    try:
        if saved is None:
            watch.begin(problem.w)
        if not reason:
            for reason in method.steps(watch):
                keep()
                if reason:
                    break
            else:
                reason = ALL_DONE
                keep()
    except KeyboardInterrupt:
        reason = "interrupted"
    finally:
        if store is not None:
            store.write()
    return reason


def _result(
    problem: Problem,
    method: Method,
    watch: Watch,
    reason: str,
    start: Start,
    given: Given,
) -> FitResult:
    best = watch.best_w
    if best is not None:
        problem.w[:] = best
    moved_back = best is not None or reason == "interrupted" or not watch.step
    value = problem.value() if moved_back else method.loss()
    if start.standardised:
        problem = start.of(problem, problem.w)
        value = problem.value()
    limited = reason == ALL_DONE and given.epochs is not None
    far = problem.far
    arrays = far.given if isinstance(far, Streamed) else None
    X, t, c, rows = arrays or (problem.X, problem.t, problem.c, None)
    return FitResult(
        problem.net,
        problem.w,
        value,
        watch.best if given.validation is not None else None,
        watch.history(),
        reason,
        watch.n_evaluations,
        uncertainty.Data(
            X,
            t,
            c,
            problem.loss,
            problem.l2,
            problem.free,
            given.absolute_sigma,
            _on_bounds(problem),
            far is not None and arrays is None,
            rows,
            far if arrays is None else None,
        ),
        doubts(
            problem,
            start.columns,
            value - problem.penalty(),
            watch.losses,
            held_back=best is not None or (limited and isinstance(method, Stochastic)),
            known_noise=given.absolute_sigma,
            # A saddle is said by the reason itself.
            told_to_end=reason.startswith(("stopped", "interrupted", "target", "saddle")),
            limited=limited,
        ),
    )


def _on_bounds(problem: Problem) -> NDArray | None:
    """Return which parameters ended on their bounds; None where none did."""
    if problem.bounds is None:
        return None
    low, high = problem.bounds
    on = problem.free & ((problem.w <= low) | (problem.w >= high))
    return on if on.any() else None


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
        far = Streamed.of_arrays(self.net, loss, (X, t, c), _threads(threads))
        return far.changed(self.moved.standardised)

    def objective(
        self, loss: Loss, X: NDArray, t: NDArray, c: NDArray | None
    ) -> Objective | FarObjective:
        """Return what a fit is validated by."""
        if self.moved is None or is_copied(self.net, len(X)):
            return Objective(self.net, self.inputs(X), t, loss=loss, sample_weight=c)
        return FarObjective(self.streamed(loss, X, t, c, 1), 0.0)

    def elsewhere(self, far: Far | None) -> Far | None:
        """Return what it is given for observations elsewhere."""
        return far if self.moved is None or far is None else far.changed(self.moved.standardised)

    def of(self, problem: Problem, w: NDArray) -> Problem:
        """Return a problem as it was given, with the parameters for it, of those worked with."""
        return replace(problem, w=self.as_given(w), X=self.X, far=self.far)

    def as_given(self, w: NDArray) -> NDArray:
        """Return the parameters for X, of those for what the optimizer is given."""
        if self.columns and self.standardised:
            w = w.copy()
            self.columns.unscaled(self.net.split(w)[1])
        return w


def _problem(
    given: Given,
) -> tuple[Problem, Objective | FarObjective | None, Optimizer, Start]:
    """Check what is given; also returns the objective of the validation."""
    problem, held, chosen = checked(given)
    start = started(problem, chosen, given.w0 is None)
    if isinstance(held, Far):
        return problem, FarObjective(start.elsewhere(held) or held, 0.0), chosen, start
    judged = start.elsewhere(given.validation) if isinstance(given.validation, Far) else None
    if judged is not None:
        return problem, FarObjective(judged, 0.0), chosen, start
    if held is None:
        return problem, None, chosen, start
    X_held, t_held, c_held = held
    return problem, start.objective(problem.loss, X_held, t_held, c_held), chosen, start


def checked(given: Given, copies: bool = False) -> tuple[Problem, _Data | Far | None, Optimizer]:
    """Check what is given; also returns what is held out.

    With `copies` that is copied however large it is.
    """
    net, batch = given.net, given.batch_size
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network; got {net!r}")
    bounds = boundary.bounds(given.bounds, net.n_params, net.dtype)
    w0 = net.init(given.seed) if given.w0 is None else given.w0
    ell = get_loss(given.loss)
    far = given.X if isinstance(given.X, Far) else None
    X: NDArray
    c: NDArray | None
    w = boundary.parameters(w0, net.n_params, net.dtype, check_finite=True, name="w0")
    if far is not None:
        X, t, c = one_row(net)
    else:
        _, X, t, c = boundary.loss_inputs(
            net, ell, w, given.X, given.t, given.sample_weight, check_finite=True
        )
    l2 = boundary.penalty(given.l2, net.n_params)
    uncertainty.check_absolute_sigma(given.absolute_sigma, ell)
    boundary.thread_count(given.threads)
    free = _free(net, given.free)
    held: _Data | Far | None = None
    copies = copies or is_copied(net, len(X))
    if far is None and isinstance(given.validation, float) and not copies:
        far, held = _shared_out(given, ell, X, t, c)
        X, t, c = one_row(net)
    elif far is None:
        X, t, c, held = _split(given, ell, X, t, c)
    if batch is None:
        batch = 32
    if not isinstance(batch, int | np.integer) or batch < 1:
        raise ValueError(f"batch_size must be a positive integer; got {batch!r}")
    chosen = get_optimizer(given.optimizer, ell.name, net.n_params)
    problem = Problem(
        net,
        w.copy(),
        X,
        t,
        c,
        ell,
        l2=l2,
        free=free,
        bounds=bounds,
        batch=min(int(batch), len(far or X)),
        shuffle=given.shuffle,
        seed=given.seed,
        threads=given.threads,
        far=far,
    )
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
    columns = Columns.over(problem.reduce, "X", net.dtype)
    # Other losses have a unit of their own, or are not to be moved by a few far targets.
    of_targets = 1.0
    if problem.loss.name == "squared":
        linear = [sigma == identity for sigma in boundary.sigmas(net)]
        units = np.where(linear, Columns.over(problem.reduce, "t", net.dtype).unit, 1.0)
        A = net.split(w)[0].reshape(*w.shape[:-1], net.n_outputs, -1)
        A *= units.reshape(*A.shape[:-1], 1)
        if all(linear) and isinstance(optimizer, SGD | Adam):
            of_targets = float(units.max() * np.sqrt(np.mean((units / units.max()) ** 2)))
    # Where nothing but the function itself is minimised, over whole neurons; AdamW's decay is of
    # what it works with.
    shrunk = isinstance(optimizer, SGD) and optimizer.weight_decay > 0.0
    neutral = not (problem.penalised or shrunk) and bounds is None
    if neutral and not problem.free.all():
        _, rows = net.split(problem.free)
        neutral = bool((rows.all(axis=1) == rows.any(axis=1)).all())
    columns.unscaled(net.split(w.copy() if neutral else w)[1])
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
    if not name.startswith(("squared", "huber", "log_cosh")):
        return
    least = float(np.sqrt(np.finfo(dtype).tiny / np.finfo(dtype).eps))
    largest = np.reshape(problem.reduce(_largest).largest, (*problem.w.shape[:-1], -1)).max(axis=-1)
    if ((largest > 0.0) & (largest < least)).any():
        raise ValueError(
            f"targets must be 0 or so large that the {name!r} loss tells them apart, from "
            f"{least:.1g} on in {dtype}; the largest is {largest.max():.3g}: rescale them"
        )


def _largest(rows: Rows) -> Statistic:
    t = rows.weighing().t
    assert t is not None
    return Statistic((), largest=np.abs(t).max(axis=0, initial=0.0))


def mirrored(w: NDArray, bounds: tuple[NDArray, NDArray]) -> NDArray:
    """Return a start within bounds: what lies outside is mirrored at them."""
    low, high = bounds
    w = np.where(w < low, 2 * low - w, w)
    w = np.where(w > high, 2 * high - w, w)
    return np.clip(w, low, high)


def _free(net: Network, given: ArrayLike | None) -> NDArray:
    if given is None:
        return np.ones(net.n_params, bool)
    free = np.asarray(boundary.unmasked("free", given))
    if free.shape != (net.n_params,) or free.dtype != bool:
        raise ValueError(
            f"free must be an array of {net.n_params} booleans; got shape {free.shape} and dtype "
            f"{free.dtype}"
        )
    return free


_Data = tuple[NDArray, NDArray, NDArray | None]


def is_copied(net: Network, B: int) -> bool:
    """Whether so many observations are copied where a fit needs others than those given."""
    with LOCK:
        from ..kernels.machine.sizes import is_packed

    return is_packed(B, net.n_inputs, net.n_outputs, net.dtype.itemsize)


def _threads(given: int | str) -> int:
    return boundary.thread_count(given) or os.cpu_count() or 1


def _shared_out(
    given: Given, loss: Loss, X: NDArray, t: NDArray, c: NDArray | None
) -> tuple[Far, Far]:
    """Return what is left to fit and a share to validate by, of which nothing is copied."""
    weighs = None if c is None or c.all() else np.flatnonzero(c > 0.0).astype(np.int32)
    rows = split(given.validation, given.seed, len(X) if weighs is None else len(weighs))
    held, fitted = (part if weighs is None else weighs[part] for part in rows)
    n = _threads(given.threads)
    return (
        Streamed.of_arrays(given.net, loss, (X, t, c), n, fitted),
        Streamed.of_arrays(given.net, loss, (X, t, c), n, held),
    )


def _split(
    given: Given, loss: Loss, X: NDArray, t: NDArray, c: NDArray | None
) -> tuple[NDArray, NDArray, NDArray | None, _Data | None]:
    """Return what is left to fit, and what is held out or given to validate."""
    net, validation = given.net, checked_validation(given.validation)
    if validation is None:
        return X, t, c, None
    if isinstance(validation, float):
        if c is not None and not c.all():  # what has no weight is no observation to be shared out
            weighs = c > 0.0
            X, t, c = X[weighs], t[weighs], c[weighs]
        held, fitted = split(validation, given.seed, len(X))
        judged = X[held], t[held], None if c is None else c[held]
        return X[fitted], t[fitted], None if c is None else c[fitted], judged
    w, (X_held, t_held, *rest) = np.zeros(net.n_params, net.dtype), validation
    weights = rest[0] if rest else None
    try:
        judged = boundary.loss_inputs(net, loss, w, X_held, t_held, weights, check_finite=True)[1:]
    except (TypeError, ValueError) as error:
        raise type(error)(f"in validation: {error}") from error
    return X, t, c, judged


def checked_validation(given: Any) -> tuple[Any, ...] | float | None:
    """Return observations to validate by, the share to hold out, a float, or None."""
    if given is None or (isinstance(given, tuple) and len(given) in (2, 3)):
        return given
    if isinstance(given, int | float | np.number):
        return float(given)
    raise TypeError(
        "validation must be (X, t), (X, t, sample_weight) or the share to hold out; got "
        f"{type(given).__name__}"
    )


def split(
    share: float,
    seed: int | np.random.Generator | None,
    B: int,
    classes: NDArray | None = None,
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
    order = np.arange(B, dtype=np.int32 if B < 2**31 else np.int64)
    stream(seed, 2).shuffle(order)
    if classes is not None:
        order = order[_by_share(classes[order])]
    order[n:].sort()
    return order[:n], order[n:]


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
