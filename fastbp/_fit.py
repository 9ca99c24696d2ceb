"""fit: from data to fitted parameters, and everything a long run needs around the optimizer."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _boundary as boundary
from . import _uncertainty as uncertainty
from ._checkpoint import Checkpoint, fingerprint
from .losses import Loss
from .network import Network
from .objective import Objective
from .optimizers import (
    LBFGS,
    SGD,
    WITH_HESSIAN,
    WITH_HESSIAN_PRODUCT,
    WITH_POSITIVE_HESSIAN,
    WITHOUT_GRADIENT,
    Adam,
    AdamW,
    LevenbergMarquardt,
    Minimize,
    Optimizer,
    get_optimizer,
    rates,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EarlyStopping", "FitResult", "FitState", "NonFiniteLossError", "fit"]

Validation = tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | float

_EPOCHS = {SGD: 200, Adam: 200, AdamW: 200, LevenbergMarquardt: 200}  # SciPy's methods: 1000
_BAR_SECONDS = 0.1  # between two updates
_LEAST_CURVATURE = 1e-10  # of dogleg's matrix, by its largest
_SEGMENT = 100  # iterations of a SciPy method between checkpoints
_CALL_OPERATIONS = 2e8  # of Levenberg–Marquardt in one compiled call: about 0.02 s


class NonFiniteLossError(ArithmeticError):
    """The loss, or a parameter, is no longer finite.

    Attributes
    ----------
    w : ndarray, shape (P,)
        The parameters of the best validation loss where there was validation, else the last with
        a finite loss.
    step : int
        Epochs or iterations done with finite results.
    history : dict of str to ndarray
        As in `FitResult`, up to there.
    """

    def __init__(self, message: str, w: NDArray, step: int, history: dict[str, NDArray]) -> None:
        super().__init__(message)
        self.w = w
        self.step = step
        self.history = history

    def __reduce__(self) -> tuple:
        return (type(self), (str(self), self.w, self.step, self.history))


@dataclass(frozen=True)
class EarlyStopping:
    """When a fit is to end before its epochs do.

    Parameters
    ----------
    patience : int, optional
        Epochs or iterations without a new best validation loss (training loss where there is no
        validation) after which to stop; None for any number.
    min_delta : float
        By how much a loss must be lower to be a new best.
    target : float, optional
        Stop as soon as the training loss is this low.

    Examples
    --------
    >>> EarlyStopping(patience=20)
    EarlyStopping(patience=20, min_delta=0.0, target=None)
    """

    patience: int | None = None
    min_delta: float = 0.0
    target: float | None = None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be a positive integer; got {self.patience!r}")
        if not 0.0 <= self.min_delta < np.inf:
            raise ValueError(f"min_delta must be a number from 0 on; got {self.min_delta!r}")


@dataclass(frozen=True)
class FitState:
    """What a callback is given after every epoch or iteration.

    Attributes
    ----------
    step, epochs : int
        Epochs or iterations done, and at most to do.
    w : ndarray, shape (P,)
        The parameters: a read-only view that changes later.
    loss : float
        As in `FitResult.history`.
    validation_loss : float or None
        Where there is validation.
    """

    step: int
    epochs: int
    w: NDArray
    loss: float
    validation_loss: float | None


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
        Training loss at w, the penalty ½ l2 ‖w‖² included.
    validation_loss : float or None
        The best, without penalty.
    history : dict of str to ndarray
        One entry an epoch or iteration: "loss", and "validation_loss" where there is one. The
        loss of a stochastic epoch is the mean over its batches, each before its update.
    reason : str
        Why it stopped.
    n_evaluations : int
        Gradients of a batch, or evaluations of all observations.
    """

    net: Network
    w: NDArray
    loss: float
    validation_loss: float | None
    history: dict[str, NDArray]
    reason: str
    n_evaluations: int
    data: uncertainty.Data = field(compare=False)

    def __repr__(self) -> str:
        steps = len(self.history["loss"])
        return f"<FitResult: loss {self.loss:.6g} after {steps} steps; {self.reason}>"

    @property
    def converged(self) -> bool:
        """Whether it ended because nothing was left to gain."""
        return self.reason.startswith(("converged", "target"))

    @cached_property
    def _spread(self) -> uncertainty.Spread:
        return uncertainty.spread(self.net, self.w, self.data)

    @property
    def covariance(self) -> NDArray:
        """Covariance of the parameters, (P, P), as `predict` uses it; zero where not free."""
        factor = self._spread.factor
        return factor @ factor.T

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
            That of a new observation, the function's own and the noise's together.
        threads : int or "auto"
            Threads to use for the values.

        Returns
        -------
        y : ndarray, shape (B,), or float
        std : ndarray, shape (B,), or float
            Only with `return_std`. An interval of 90 % is y ± 1.645 std.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit; `noise` with a loss that defines none.

        Notes
        -----
        Right where the fit is at an optimum, with more observations than parameters, as the
        number of observations grows. With l2 it describes the scatter about the penalised
        optimum, not the bias that the penalty brings.

        References
        ----------
        J. T. G. Hwang, A. A. Ding: Prediction intervals for artificial neural networks, JASA 92
        (1997). I. Rivals, L. Personnaz: Construction of confidence intervals for neural networks
        based on least squares estimation, Neural Networks 13 (2000). With a penalty: R. D. De
        Veaux, J. Schumi, J. Schweinsberg, L. H. Ungar: Prediction intervals for neural networks
        via nonlinear regression, Technometrics 40 (1998).
        """
        y = self.net.value(self.w, X, threads=threads)
        if not return_std:
            return y
        rows = np.atleast_2d(np.asarray(X, self.net.dtype))
        std = uncertainty.standard_deviation(self.net, self.w, rows, self._spread, noise=noise)
        return y, float(std[0]) if np.ndim(y) == 0 else std

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the history of the losses.

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
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("plot needs matplotlib: pip install 'fastbp[plot]'") from error
            ax = plt.figure().add_subplot()
        labels = {"loss": "training", "validation_loss": "validation"}
        positive = True
        for name, values in self.history.items():
            ax.plot(np.arange(1, len(values) + 1), values, label=labels[name])
            positive = positive and bool((values > 0.0).all())
        if positive:
            ax.set_yscale("log")
        ax.set_xlabel("epoch or iteration")
        ax.set_ylabel(f"{self.data.loss.name} loss")
        ax.legend()
        return ax


class _Watch:
    """Everything that happens after an epoch or iteration, whatever the optimizer."""

    def __init__(
        self,
        epochs: int,
        validation: Objective | None,
        early: EarlyStopping,
        callback: Callable[[FitState], Any] | None,
        bar: _Bar,
        stop: threading.Event | None,
    ) -> None:
        self.epochs = epochs
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.best_w: NDArray | None = None
        self.best = np.inf
        self.waited = 0
        self.n_evaluations = 0
        self._validation = validation
        self._early = early
        self._callback = callback
        self._bar = bar
        self._stop = stop

    @property
    def step(self) -> int:
        """Epochs or iterations done."""
        return len(self.losses)

    @property
    def each_step(self) -> bool:
        """Whether something has to happen after every single iteration."""
        waits = self._early.patience is not None
        return waits or self._validation is not None or self._callback is not None

    def after(self, w: NDArray, loss: float) -> str:
        """Take note of one step; returns why to stop, or nothing."""
        judged, validation_loss = loss, None
        if self._validation is not None:
            judged = validation_loss = self._validation.value(w)
        # Together, so that Ctrl-C does not come between them.
        self.losses.append(loss)
        if validation_loss is not None:
            self.validation_losses.append(validation_loss)
        if judged < self.best - (self._early.min_delta if np.isfinite(self.best) else 0.0):
            self.best, self.waited = judged, 0
            if self._validation is not None:
                self.best_w = w.copy()
        else:
            self.waited += 1
        self._bar.show(self.step, loss)
        if self._callback is not None:
            view = w.view()
            view.flags.writeable = False
            state = FitState(self.step, self.epochs, view, loss, validation_loss)
            if self._callback(state):
                return "stopped by the callback"
        if self._early.target is not None and loss <= self._early.target:
            return "target reached"
        if self._early.patience is not None and self.waited >= self._early.patience:
            return "early stopping"
        if self._stop is not None and self._stop.is_set():
            return "interrupted"
        return ""

    def history(self) -> dict[str, NDArray]:
        """Return the losses as arrays."""
        history = {"loss": np.array(self.losses)}
        if self._validation is not None:
            history["validation_loss"] = np.array(self.validation_losses)
        return history

    def state(self) -> dict[str, NDArray]:
        """Return what a checkpoint needs."""
        best_w = np.empty(0) if self.best_w is None else self.best_w
        return {
            "losses": np.array(self.losses),
            "validation_losses": np.array(self.validation_losses),
            "best_w": best_w,
            "best": np.array([self.best, self.waited, self.n_evaluations]),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Go on from a checkpoint."""
        self.losses = state["losses"].tolist()
        self.validation_losses = state["validation_losses"].tolist()
        self.best_w = state["best_w"] if state["best_w"].size else None
        self.best = float(state["best"][0])
        self.waited, self.n_evaluations = (int(value) for value in state["best"][1:])


class _Bar:
    """A progress bar on a terminal, and nothing anywhere else."""

    def __init__(self, progress: bool | str, epochs: int) -> None:
        self._bar: Any = None
        if progress not in (True, False, "auto"):
            raise ValueError(f'progress must be True, False or "auto"; got {progress!r}')
        if progress is False or (progress == "auto" and not sys.stderr.isatty()):
            return
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError as error:
            if progress == "auto":
                return
            raise ImportError("a progress bar needs rich: pip install 'fastbp[cli]'") from error
        terminal = True if progress is True else None  # None: rich finds out
        console = Console(stderr=True, force_terminal=terminal)
        self._bar = Progress(console=console, transient=True)
        self._task = self._bar.add_task("fit", total=epochs)
        self._shown = 0.0

    def __enter__(self) -> _Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, loss: float) -> None:
        """Move on, ten times a second."""
        if self._bar is not None and time.monotonic() - self._shown > _BAR_SECONDS:
            self._shown = time.monotonic()
            self._bar.update(self._task, completed=step, description=f"loss {loss:.4g}")


# ---- the optimizers: each yields after a step, or a few, with its state consistent -------------


@dataclass
class _Problem:
    """A fit's arguments, checked."""

    net: Network
    w: NDArray  # moves
    X: NDArray
    t: NDArray
    c: NDArray | None
    loss: Loss
    l2: float
    free: NDArray
    batch: int
    shuffle: bool
    seed: int | np.random.Generator | None
    threads: int | str
    target: float

    def objective(self) -> Objective:
        return Objective(
            self.net,
            self.X,
            self.t,
            loss=self.loss,
            sample_weight=self.c,
            l2=self.l2,
            threads=self.threads,
        )

    def value(self) -> float:
        from .kernels._fitting import mean_loss

        mean = mean_loss(self.net, self.w, self.X, self.t, self.c, self.loss)
        return mean + self.penalty()

    def penalty(self) -> float:
        if not self.l2:
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            return 0.5 * self.l2 * float(self.w @ self.w)


class _Stochastic:
    """SGD, Adam, AdamW: a compiled call an epoch."""

    def __init__(self, problem: _Problem, optimizer: SGD | Adam) -> None:
        from .kernels._fitting import Epochs, Order

        self._problem = problem
        self._rate = optimizer.learning_rate
        if isinstance(optimizer, SGD):
            rule = "sgd"
            settings = [
                problem.l2,
                optimizer.weight_decay,
                optimizer.momentum,
                float(optimizer.nesterov),
            ]
        else:
            rule = "adam"
            decay = optimizer.weight_decay if isinstance(optimizer, AdamW) else 0.0
            settings = [problem.l2, decay, optimizer.beta1, optimizer.beta2, optimizer.epsilon]
        c = problem.c
        if c is not None:
            c = (c * (len(c) / float(c.sum(dtype=np.float64)))).astype(c.dtype)
        self._loss: float | None = None  # of the parameters at the end
        self._order = Order(len(problem.X), _stream(problem.seed, 1))
        self._run = Epochs(
            problem.net,
            problem.w,
            problem.X,
            problem.t,
            c,
            problem.loss,
            rule,
            settings,
            problem.free,
            problem.batch,
        )

    def steps(self, watch: _Watch) -> Iterator[str]:
        problem, run = self._problem, self._run
        n = len(problem.X)
        batches = -(-n // problem.batch)
        order = np.arange(n, dtype=np.int64)
        total = batches * watch.epochs
        constant = None if callable(self._rate) else rates(self._rate, 0, batches, total)
        # An epoch's loss is that before its updates: the parameters after it are known to be good
        # once the next epoch, or the end, has found their loss finite.
        starts = [problem.w.copy(), problem.w.copy()]
        while watch.step < watch.epochs:
            done = watch.step * batches
            eta = constant if constant is not None else rates(self._rate, done, batches, total)
            if problem.shuffle:
                order = self._order.next()
            starts.reverse()
            starts[0][:] = problem.w
            loss = run.run(order, eta) / n + problem.penalty()
            watch.n_evaluations += batches
            if not math.isfinite(loss):
                raise self._diverged(watch, starts)
            reason = watch.after(problem.w, loss)
            if reason or watch.step == watch.epochs:
                self._loss = problem.value()
                if not math.isfinite(self._loss):
                    raise self._diverged(watch, starts)
            yield reason

    def _diverged(self, watch: _Watch, starts: list[NDArray]) -> NonFiniteLossError:
        problem = self._problem
        for w in starts:
            problem.w[:] = w
            if math.isfinite(problem.value()):
                break
        return _diverged(watch, problem.w.copy())

    def loss(self) -> float:
        return self._problem.value() if self._loss is None else self._loss

    def state(self) -> dict[str, NDArray]:
        order = self._order.state.copy()
        return {"state": self._run.state.copy(), "left": self._run.left.copy(), "order": order}

    def restore(self, state: dict[str, NDArray]) -> None:
        self._run.state[:] = state["state"]
        self._run.left[:] = state["left"]
        self._order.state[:] = state["order"]


class _Levenberg:
    """Levenberg–Marquardt: many iterations a compiled call where nobody looks in between."""

    def __init__(self, problem: _Problem, optimizer: LevenbergMarquardt) -> None:
        from .kernels._fitting import Levenberg

        curvature = optimizer.curvature
        if curvature == "auto":
            plain = ("squared", "cross_entropy", "poisson")
            curvature = "second_derivative" if problem.loss.name in plain else "reweighted"
        self._problem = problem
        self._run = Levenberg(
            problem.net,
            problem.w,
            problem.X,
            problem.t,
            problem.c,
            problem.loss,
            l2=problem.l2,
            nielsen=optimizer.damping == "nielsen",
            reweighted=curvature == "reweighted",
            start=optimizer.start,
            gtol=optimizer.gtol,
            xtol=optimizer.xtol,
            ftol=optimizer.ftol,
            target=problem.target,
            free=problem.free,
        )

    def steps(self, watch: _Watch) -> Iterator[str]:
        problem, run = self._problem, self._run
        P = problem.net.n_params
        work = len(problem.X) * P * P / 2 + P**3 / 6
        most = 1 if watch.each_step else max(int(_CALL_OPERATIONS / work), 1)
        while watch.step < watch.epochs:
            losses, ended = run.run(min(most, watch.epochs - watch.step))
            watch.n_evaluations += len(losses)
            reason = ""
            for loss in losses.tolist():
                reason = watch.after(problem.w, loss) or reason
            if ended == run.NOT_FINITE:
                raise _diverged(watch, problem.w.copy())
            yield reason or run.REASONS[ended]
            if ended:
                return

    def loss(self) -> float:
        return self._run.loss

    def state(self) -> dict[str, NDArray]:
        return {"kept": self._run.kept.copy()}

    def restore(self, state: dict[str, NDArray]) -> None:
        self._run.kept[:] = state["kept"]
        self._run.forget()


class _Stopped(Exception):
    """Leaves a SciPy method."""


class _SciPy:
    """Methods of `scipy.optimize.minimize` on the free parameters."""

    def __init__(self, problem: _Problem, optimizer: LBFGS | Minimize, segments: bool) -> None:
        try:
            import scipy.optimize
        except ImportError as error:
            raise ImportError(
                f"the optimizer {optimizer.method} needs SciPy: pip install 'fastbp[scipy]'"
            ) from error
        self._minimize = scipy.optimize.minimize
        self._problem = problem
        self._method = optimizer.method
        self._options = dict(optimizer.options)
        self._objective = problem.objective()
        self._free = np.flatnonzero(problem.free)
        self._loss = np.nan
        # A method's memory can't be stored. So with a checkpoint it starts afresh every so many
        # iterations, whether or not the run is interrupted there.
        self._segments = segments

    def steps(self, watch: _Watch) -> Iterator[str]:
        while watch.step < watch.epochs:
            left = watch.epochs - watch.step
            n = min(left, _SEGMENT) if self._segments else left
            before = watch.step
            reason = self._minimise(watch, n)
            yield reason
            if reason or watch.step == before:
                return

    def _minimise(self, watch: _Watch, n: int) -> str:
        problem, objective, free = self._problem, self._objective, self._free
        dtype = problem.net.dtype
        last: list[Any] = [None, np.nan]

        def whole(z: NDArray) -> NDArray:
            w = problem.w.copy()
            w[free] = z
            return w

        def function(z: NDArray) -> Any:
            watch.n_evaluations += 1
            w = whole(z)
            if self._method in WITHOUT_GRADIENT:
                value = objective.value(w)
                last[:] = w, value
                return value
            value, gradient = objective(w)
            last[:] = w, value
            return value, gradient[free].astype(np.float64)

        def hessp(z: NDArray, p: NDArray) -> NDArray:
            direction = np.zeros(len(problem.w), dtype)
            direction[free] = p
            return objective.hvp(whole(z), direction)[free].astype(np.float64)

        def hess(z: NDArray) -> NDArray:
            w = whole(z)
            if self._method in WITH_HESSIAN:
                return np.array([hessp(z, e) for e in np.eye(len(free))])
            matrix = objective.gauss_newton(w)[2][np.ix_(free, free)].astype(np.float64)
            # Definite where it is singular but for rounding.
            matrix[np.diag_indices_from(matrix)] += _LEAST_CURVATURE * matrix.diagonal().max()
            return matrix

        def note(z: NDArray, *_: Any) -> None:
            w = whole(np.asarray(z))
            value = last[1] if np.array_equal(w, last[0]) else objective.value(w)
            if not np.isfinite(value):
                raise _diverged(watch, problem.w.copy())
            problem.w[:] = w
            self._loss = value
            reason = watch.after(problem.w, value)
            if reason or watch.step >= watch.epochs:
                raise _Stopped(reason)

        first = objective.value(problem.w)
        if not np.isfinite(first):
            raise _diverged(watch, problem.w.copy())
        self._loss = first
        name = "maxfun" if self._method == "TNC" else "maxiter"
        options = {name: n, **self._options}
        if self._method == "L-BFGS-B":
            options.setdefault("maxfun", 100 * n)
        with_gradient = self._method not in WITHOUT_GRADIENT
        try:
            found = self._minimize(
                function,
                problem.w[free].astype(np.float64),
                jac=True if with_gradient else None,
                hessp=hessp if self._method in WITH_HESSIAN_PRODUCT else None,
                hess=hess if self._method in (*WITH_HESSIAN, *WITH_POSITIVE_HESSIAN) else None,
                method=self._method,
                callback=note,
                options=options,
            )
        except _Stopped as stopped:
            return str(stopped)
        w = whole(found.x)
        value = objective.value(w)
        if np.isfinite(value) and value <= self._loss:
            problem.w[:], self._loss = w, value
        spent = found.get("nit", found.nfev) >= n  # COBYLA counts evaluations only
        if spent and (self._segments or not found.success):
            return ""
        return f"{'converged' if found.success else 'stuck'}: {found.message}"

    def loss(self) -> float:
        return self._loss

    def state(self) -> dict[str, NDArray]:
        return {"scipy_loss": np.array(self._loss)}

    def restore(self, state: dict[str, NDArray]) -> None:
        self._loss = float(state["scipy_loss"])


def _diverged(watch: _Watch, w: NDArray) -> NonFiniteLossError:
    w = w if watch.best_w is None else watch.best_w
    return NonFiniteLossError(
        f"the loss is no longer finite after step {watch.step}; the last good parameters are in "
        "this error's attribute w. A smaller learning rate, or scaled inputs, may help",
        w,
        watch.step,
        watch.history(),
    )


def _method(
    problem: _Problem, optimizer: Optimizer, segments: bool
) -> _Stochastic | _Levenberg | _SciPy:
    if isinstance(optimizer, SGD | Adam):
        return _Stochastic(problem, optimizer)
    if isinstance(optimizer, LevenbergMarquardt):
        return _Levenberg(problem, optimizer)
    if isinstance(optimizer, LBFGS | Minimize):
        return _SciPy(problem, optimizer, segments)
    raise TypeError(f"optimizer must be a name or one of fastbp.optimizers; got {optimizer!r}")


# ---- the function ------------------------------------------------------------------------------


def fit(
    net: Network,
    X: ArrayLike,
    t: ArrayLike,
    *,
    w0: ArrayLike | None = None,
    optimizer: str | Optimizer | None = None,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int | np.random.Generator | None = 0,
    validation: Validation | None = None,
    early_stopping: EarlyStopping | int | None = None,
    free: ArrayLike | None = None,
    callback: Callable[[FitState], Any] | None = None,
    progress: bool | str = "auto",
    threads: int | str = 1,
    checkpoint: str | Path | None = None,
    _stop: threading.Event | None = None,
) -> FitResult:
    """Fit a network's parameters to data.

    Minimises Σ_b c_b ℓ(f(w, x_b), t_b) / Σ_b c_b + ½ l2 ‖w‖².

    Parameters
    ----------
    net : Network
        The network.
    X : array_like, shape (B, N)
        Observations.
    t : array_like, shape (B,)
        Targets.
    w0 : array_like, shape (P,), optional
        The start; ``net.init(seed)`` if left out.
    optimizer : str or Optimizer, optional
        One of `fastbp.optimizers` or its name, or a method of `scipy.optimize.minimize`. If left
        out, Levenberg–Marquardt for the squared loss while P ≤ 1000, else L-BFGS.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), optional
        c. The stochastic optimizers scale them to mean one and take the plain mean over a batch,
        so that the expected step is that of the weighted mean.
    l2 : float
        Weight of the penalty ½ ‖w‖².
    epochs : int, optional
        At most so many epochs of a stochastic optimizer (200 if left out), iterations of
        Levenberg–Marquardt (200) or of a SciPy method (1000).
    batch_size : int, optional
        Observations in a batch of a stochastic optimizer; 32 if left out. The others always use
        all observations.
    shuffle : bool
        Whether each epoch has an order of its own.
    seed : int, numpy.random.Generator or None
        Decides the start, the orders and the validation split; with None they are other ones in
        every run.
    validation : tuple or float, optional
        (X, t) or (X, t, sample_weight) of observations that are not fitted, or the share of the
        given ones to hold out. The parameters with the least loss on them are returned.
    early_stopping : int or EarlyStopping, optional
        An integer is a patience.
    free : array_like of bool, shape (P,), optional
        Which parameters may move; the others keep the values of `w0`.
    callback : callable, optional
        Called with a `FitState` after every epoch or iteration; a true result stops the fit.
    progress : bool or "auto"
        Whether to show a bar on standard error; "auto" does on a terminal.
    threads : int or "auto"
        Threads of the evaluations for SciPy's methods; the compiled optimizers use one.
    checkpoint : path, optional
        A file that is written every few seconds and at the end, whole or not at all. A fit with
        the same arguments goes on from it, and ends with the same bits as one never stopped.
        SciPy's methods then restart every 100 iterations.

    Returns
    -------
    result : FitResult
        Ctrl-C ends the fit too, with the parameters of the best validation loss so far where there
        is validation, else the last (of LM and SciPy's methods these are the best too).

    Raises
    ------
    TypeError, ValueError
        Where an argument does not fit; a checkpoint of other arguments.
    NonFiniteLossError
        Where the loss is no longer finite; it holds the last good parameters.
    ImportError
        Where an optimizer or a progress bar needs a package that is not there.

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
    problem, held_out, w0 = _problem(
        net, X, t, w0, loss, sample_weight, l2, batch_size, shuffle, seed, validation, free, threads
    )
    chosen = get_optimizer(optimizer, problem.loss.name, net.n_params)
    early = early_stopping
    if early is None or (isinstance(early, int | np.integer) and not isinstance(early, bool)):
        early = EarlyStopping(patience=early)
    if not isinstance(early, EarlyStopping):
        raise TypeError(
            f"early_stopping must be a number of steps or an EarlyStopping; got {early!r}"
        )
    problem.target = -np.inf if early.target is None else early.target
    n_epochs = _EPOCHS.get(type(chosen), 1000) if epochs is None else epochs
    if not isinstance(n_epochs, int | np.integer) or n_epochs < 0:
        raise ValueError(f"epochs must be an integer from 0 on; got {epochs!r}")
    method = _method(problem, chosen, checkpoint is not None)
    reason = ""
    with _Bar(progress, int(n_epochs)) as bar:
        watch = _Watch(int(n_epochs), held_out, early, callback, bar, _stop)
        store = None
        if checkpoint is not None:
            mark = fingerprint(
                net, problem, held_out, chosen, early, (n_epochs, seed, shuffle, batch_size), w0
            )
            store = Checkpoint(Path(checkpoint), mark)
            saved = store.load()
            if saved is not None:
                reason = saved["reason"].item()
                problem.w[:] = saved["w"]
                watch.restore(saved)
                method.restore(saved)

        def snapshot() -> dict[str, NDArray]:
            own = {"w": problem.w.copy(), "reason": np.array(reason)}
            return {**own, **watch.state(), **method.state()}

        try:
            if not reason:
                for reason in method.steps(watch):
                    if store is not None:
                        store.keep(snapshot())
                    if reason:
                        break
        except KeyboardInterrupt:
            reason = "interrupted"
        finally:
            if store is not None:
                store.write()
    return _result(problem, watch, method, reason)


def _result(
    problem: _Problem, watch: _Watch, method: _Stochastic | _Levenberg | _SciPy, reason: str
) -> FitResult:
    best = watch.best_w
    if best is not None:
        problem.w[:] = best
    moved_back = best is not None or reason == "interrupted" or not watch.step
    value = problem.value() if moved_back else method.loss()
    c = problem.c
    return FitResult(
        problem.net,
        problem.w,
        value,
        watch.best if watch.validation_losses else None,
        watch.history(),
        reason or "all epochs done",
        watch.n_evaluations,
        uncertainty.Data(problem.X, problem.t, c, problem.loss, problem.l2, problem.free),
    )


def _problem(
    net: Network,
    X: ArrayLike,
    t: ArrayLike,
    w0: ArrayLike | None,
    loss: str | Loss,
    sample_weight: ArrayLike | None,
    l2: float,
    batch_size: int | None,
    shuffle: bool,
    seed: int | np.random.Generator | None,
    validation: Validation | None,
    free: ArrayLike | None,
    threads: int | str,
) -> tuple[_Problem, Objective | None, NDArray]:
    """Check the arguments; also returns the objective of the validation, and the start."""
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network; got {net!r}")
    given = net.init(seed) if w0 is None else w0
    ell, start, X, t, c = net._loss_inputs(given, X, t, loss, sample_weight, True)
    if not 0.0 <= float(l2) < np.inf:
        raise ValueError(f"l2 must be a number from 0 on; got {l2!r}")
    boundary.thread_count(threads)
    moves = np.ones(net.n_params, bool) if free is None else np.asarray(free)
    if moves.shape != (net.n_params,) or moves.dtype != bool:
        raise ValueError(
            f"free must be an array of {net.n_params} booleans; got shape {moves.shape} and dtype "
            f"{moves.dtype}"
        )
    held_out: Objective | None = None
    if isinstance(validation, int | float | np.number):
        X, t, c, held_out = _split(net, X, t, c, ell, float(validation), _stream(seed, 2))
    elif validation is not None:
        if not isinstance(validation, tuple) or len(validation) not in (2, 3):
            raise TypeError(
                "validation must be (X, t), (X, t, sample_weight) or the share to hold out; got "
                f"{type(validation).__name__}"
            )
        weights = validation[2] if len(validation) == 3 else None
        held_out = Objective(
            net, validation[0], validation[1], loss=ell, sample_weight=weights, check_finite=True
        )
    batch = 32 if batch_size is None else batch_size
    if not isinstance(batch, int | np.integer) or batch < 1:
        raise ValueError(f"batch_size must be a positive integer; got {batch_size!r}")
    problem = _Problem(
        net, start.copy(), X, t, c, ell, float(l2), moves, min(int(batch), len(X)), shuffle, seed,
        threads, -np.inf,
    )  # fmt: skip
    return problem, held_out, start


def _stream(seed: int | np.random.Generator | None, number: int) -> np.random.Generator:
    """Return a generator of its own for one purpose, so that the start is net.init(seed)."""
    if seed is None:
        return np.random.default_rng()
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng([seed, number])


def _split(
    net: Network,
    X: NDArray,
    t: NDArray,
    c: NDArray | None,
    loss: Loss,
    share: float,
    rng: np.random.Generator,
) -> tuple[NDArray, NDArray, NDArray | None, Objective]:
    """Hold a share of the observations out."""
    n = round(share * len(X)) if 0.0 < share < 1.0 else 0
    if not 0 < n < len(X):
        raise ValueError(
            f"validation must hold out at least one of {len(X)} observations and not all; got the "
            f"share {share!r}"
        )
    order = rng.permutation(len(X))
    held, fitted = order[:n], np.sort(order[n:])
    weights = None if c is None else c[held]
    held_out = Objective(net, X[held], t[held], loss=loss, sample_weight=weights)
    return X[fitted], t[fitted], None if c is None else c[fitted], held_out
