"""What happens after every step of a fit: history, progress, early stopping, the callback."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from ..objective import Objective
from .far import FarObjective
from .progress import Progress


class NonFiniteLossError(ArithmeticError):
    """The loss, its gradient or a parameter is no longer finite.

    Attributes
    ----------
    w : ndarray, shape (P,)
        The parameters of the best validation loss where there was validation, else the last with
        a finite loss; the start where there were none.
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
        validation) after which to stop; None for any number. The first is the first best.
    min_delta : float
        By how much a loss must be lower for the patience to begin anew. The parameters that a fit
        returns are those of the least validation loss all the same.
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
        patience = self.patience
        if patience is not None and not (boundary.is_integer(patience) and patience >= 1):
            raise ValueError(f"patience must be a positive integer; got {self.patience!r}")
        if not (_is_number(self.min_delta) and 0.0 <= self.min_delta < np.inf):
            raise ValueError(f"min_delta must be a number from 0 on; got {self.min_delta!r}")
        if not (self.target is None or _is_number(self.target)):
            raise ValueError(f"target must be a number or None; got {self.target!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not math.isnan(value)


STOPPED = "stopped by the callback"
CONVERGED = "converged"  # what such reasons begin with


@dataclass(frozen=True, eq=False)
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


class Watch:
    """Everything that happens after an epoch or iteration, whatever the optimizer."""

    def __init__(
        self,
        epochs: int,
        validation: Objective | FarObjective | None,
        early: EarlyStopping,
        callback: Callable[[FitState], Any] | None,
        progress: Progress,
        stop: threading.Event | None,
        as_given: Callable[[NDArray], NDArray],
    ) -> None:
        self.epochs = epochs
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.best_w: NDArray | None = None
        self.best = np.inf
        self.awaited_below = np.inf  # the loss at which the patience last began
        self.waited = 0
        self.n_evaluations = 0
        self._validation = validation
        self._early = early
        self.callback = callback
        self._progress = progress
        self._stop = stop
        self.as_given = as_given  # turns the method's w into the caller's

    @property
    def step(self) -> int:
        """Epochs or iterations done."""
        return len(self.losses)

    @property
    def each_step(self) -> bool:
        """Whether something has to happen after every single iteration."""
        waits = self._early.patience is not None
        return waits or self._validation is not None or self.callback is not None

    def begin(self, w: NDArray) -> None:
        """Judge the start, which is the best until a step is better."""
        if self._validation is not None:
            loss = self._validation.value(w)
            if loss < np.inf:
                self.best, self.best_w = loss, w.copy()

    def after(self, w: NDArray, loss: float) -> str:
        """Take note of one step; returns why to stop, or nothing."""
        judged, validation_loss, shown = loss, None, {"loss": loss}
        if self._validation is not None:
            judged = validation_loss = shown["validation loss"] = self._validation.value(w)
        # One after the other, so that Ctrl-C all but never comes between them.
        self.losses.append(loss)
        if validation_loss is not None:
            self.validation_losses.append(validation_loss)
        if judged < self.best:
            self.best = judged
            if self._validation is not None:
                self.best_w = w.copy()
        begun = self.awaited_below
        if judged < begun - (self._early.min_delta if math.isfinite(begun) else 0.0):
            self.awaited_below, self.waited = judged, 0
        else:
            self.waited += 1
        self._progress.show(self.step, shown)
        if self.callback is not None:
            view = self.as_given(w).view()
            view.flags.writeable = False
            state = FitState(self.step, self.epochs, view, loss, validation_loss)
            try:
                stop = self.callback(state)
            except StopIteration:
                stop = True
            if stop:
                return STOPPED
        return self.due()

    def due(self) -> str:
        """Return why to stop after the last step, whatever the callback says; or nothing."""
        if self._early.target is not None and self.losses[-1] <= self._early.target:
            return "target reached"
        if self._early.patience is not None and self.waited >= self._early.patience:
            return "early stopping"
        if self._stop is not None and self._stop.is_set():
            return "interrupted"
        return ""

    def ended(self, w: NDArray, reason: str) -> str:
        """Judge where last steps led that are no iterations; return why the fit ended.

        They are part of the last iteration. Where one validates better by more than rounding, the
        last as it was among them, its parameters are kept, and the fit is not said to have
        converged.
        """
        best_w, validation = self.best_w, self._validation
        if best_w is None or validation is None or not reason.startswith(CONVERGED):
            return reason
        if np.array_equal(best_w, w):
            return reason
        loss, rounding = validation.value(w), 16.0 * float(np.finfo(w.dtype).eps) * abs(self.best)
        judged = enumerate(self.validation_losses, 1)
        kept = max((step for step, each in judged if each == self.best), default=0)
        if not loss <= self.best + rounding:
            then = reason.removeprefix(CONVERGED).removeprefix(": ")
            return f"validation: least after {kept} of {self.step} steps; then {then}"
        if self.step and (kept == self.step or loss < self.best):
            self.best = self.validation_losses[-1] = loss
        self.best_w = w.copy()
        return reason

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
            "awaited_below": np.array(self.awaited_below),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Go on from a checkpoint."""
        self.losses = state["losses"].tolist()
        self.validation_losses = state["validation_losses"].tolist()
        self.best_w = state["best_w"] if state["best_w"].size else None
        self.best = float(state["best"][0])
        self.waited, self.n_evaluations = (int(value) for value in state["best"][1:])
        # Files of 0.1.0 have but one of the two, as they were the same there.
        self.awaited_below = float(state.get("awaited_below", self.best))


def diverged(watch: Watch, w: NDArray) -> NonFiniteLossError:
    """Return the error that ends a fit; w are the last good parameters."""
    w = watch.as_given(w if watch.best_w is None else watch.best_w)
    after = f"after step {watch.step}" if watch.step else "at the start or in the first step"
    return NonFiniteLossError(
        f"the loss or its gradient is no longer finite {after}; the last good parameters, or the "
        "start, are in this error's attribute w. Scaled inputs, another start (w0, seed) or a "
        "smaller learning rate may help",
        w,
        watch.step,
        watch.history(),
    )
