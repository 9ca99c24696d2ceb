"""``fastbp train``: a fit, and how good it is beside a linear model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastbp

from .. import _standardise as standardise
from .._columns import rms
from .._training import choose as choosing
from .._training.doubts import check_pair
from .._training.result import has_intervals
from ..activations import softmax
from ..losses import get_loss
from ..network import Network
from ..optimizers import ByBatches, LevenbergMarquardt, Optimizer, get_optimizer
from . import self_check as self_check
from .problem import Data, Preparation, Problem

Vector = NDArray[np.float64]
Report = Callable[[int, float, float], None]
"""Called with the step, the loss without penalty and the length of the gradient with penalty."""

STOCHASTIC = ("adam", "sgd")
OPTIMIZERS = ("lm", "lbfgs", *STOCHASTIC)
LEARNING_RATE = 0.01
EPOCHS = 1000
MOST_OF_INTERVALS = 500  # parameters
_SHOWN = 1.05  # the steps whose losses are kept for the picture grow by this factor
_AS_GOOD = 0.002  # a difference of R² or accuracy that is none


class Options(NamedTuple):
    """How to fit: what the shell was given."""

    optimizer: str | None
    learning_rate: float | None
    batch_size: int | None
    epochs: int | None
    neurons: int | str
    l2: float | str
    seed: int

    def method(self, net: Network, loss: str, l2: float = 0.0) -> Optimizer:
        """Return the optimizer of a network and a penalty, with its learning rate."""
        given = standardise.solver(self.optimizer, self.epochs, l2)
        method = get_optimizer(given, loss, net.n_params)
        if isinstance(method, ByBatches):
            return replace(method, learning_rate=self.learning_rate or LEARNING_RATE)
        return method

    def name(self, net: Network, loss: str, l2: float) -> str:
        """Return the name of that optimizer."""
        method = self.method(net, loss, l2)
        return self.optimizer or ("lm" if isinstance(method, LevenbergMarquardt) else "lbfgs")


class Choice(NamedTuple):
    """A network and its penalty, and what they were chosen by."""

    problem: Problem
    neurons: int
    l2: float
    by: choosing.Choice | None = None  # where something was to be chosen
    doubt: str = ""


def choose(problem: Problem, options: Options, progress: bool | str) -> Choice:
    """Choose what is "auto" of neurons and l2, by cross-validation over the rows to fit."""
    given = options.neurons, options.l2
    if isinstance(options.neurons, int) and not isinstance(options.l2, str):
        return Choice(problem, options.neurons, options.l2)
    X, t = problem.fit
    of = choosing.data(
        problem.net, X, t[np.newaxis], None, get_loss(problem.loss), folds=None, judges=None,
        fit=fastbp.fit, threads="auto", seed=options.seed,
    )  # fmt: skip
    size, choice, doubt = choosing.decide(
        *given,
        problem.network,
        of,
        lambda net: {
            "optimizer": options.method(net, problem.loss),
            "epochs": options.epochs,
            "batch_size": options.batch_size or len(t),
            "free": standardise.free(net),
        },
        progress,
    )
    chosen = replace(problem, net=problem.network(size))
    return Choice(chosen, size, choice.l2, choice, doubt)


class Fit(NamedTuple):
    """What :func:`fit` returns; all losses are without penalty, but `result` as `fastbp.fit`."""

    w0: Vector
    w: Vector
    steps: list[int]  # some steps, and the losses there
    losses: list[float]
    held_out_losses: list[float]  # empty where nothing is held out
    loss: float  # at the end
    held_out_loss: float | None
    reason: str
    seconds: float
    result: fastbp.FitResult


def fit(
    chosen: Choice,
    options: Options,
    report: Report,
    progress: bool | str,
    another: Callable[[], None],
) -> Fit:
    """Fit the network from a random start, and from others where a choice asks for them.

    `another` is called before each of these.
    """
    found: list[Fit] = []

    def fits(number: int) -> list[fastbp.FitResult]:
        seed = options.seed
        if number:
            another()
            seed = choosing.another_seed(seed, number)
        found.append(_fit(chosen, options, seed, report, progress))
        return [found[-1].result]

    (best,) = fits(0) if chosen.by is None else chosen.by.fitted(fits)
    (kept,) = (each for each in found if each.w is best.w)
    seconds = sum(each.seconds for each in found)
    return kept._replace(result=best, reason=best.reason, seconds=seconds)


def _fit(chosen: Choice, options: Options, seed: int, report: Report, progress: bool | str) -> Fit:
    """Fit the network from the start of a seed."""
    problem, l2 = chosen.problem, chosen.l2
    net, (X, t) = problem.net, problem.fit
    w0 = standardise.start(net, seed)
    each = standardise.penalties(net, l2, None if chosen.by is None else chosen.by.linear)
    method, epochs = options.method(net, problem.loss, l2), options.epochs or EPOCHS
    tenth = max(1, epochs // 10) if options.optimizer in STOCHASTIC else 0
    held_out = net.objective(*problem.held_out, loss=problem.loss) if problem.has_held_out else None
    steps, losses, held_out_losses = list[int](), list[float](), list[float]()

    def callback(state: Any) -> None:
        step = state.step
        said = step == 1 or step % (tenth or (10 if step <= 100 else 100)) == 0
        if steps and step < steps[-1] * _SHOWN and not said:
            return
        loss, g = net.loss_and_grad(state.w, X, t, loss=problem.loss)
        steps.append(step)
        losses.append(loss)
        if held_out is not None:
            held_out_losses.append(held_out.value(state.w))
        if said:
            report(step, loss, float(np.linalg.norm(g + each * state.w)))

    start = time.perf_counter()
    result = fastbp.fit(
        net, X, t, w0=w0, optimizer=method, loss=problem.loss, l2=each, epochs=epochs,
        batch_size=options.batch_size or len(t), seed=seed, free=standardise.free(net),
        callback=callback, progress=progress, _quiet=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return Fit(
        w0,
        result.w,
        steps,
        losses,
        held_out_losses,
        net.loss_and_grad(result.w, X, t, loss=problem.loss)[0],
        None if held_out is None else held_out.value(result.w),
        result.reason,
        seconds,
        result,
    )


def with_intervals(problem: Problem, fit: Fit) -> fastbp.FitResult | None:
    """Return the fit for `fastbp.save` where its intervals exist and are cheap to keep."""
    P, B = problem.net.n_params, len(problem.fit.t)
    if P > MOST_OF_INTERVALS or B * P * P > 2e9:  # 2 MB; about half a second
        return None
    return fit.result if has_intervals(fit.result) else None


def check_loss(problem: Problem) -> None:
    """Raise ValueError where the loss does not fit what is to be predicted, or the output."""
    classes, loss = problem.preparation.classes is not None, problem.loss
    if classes and loss in ("poisson", "pinball"):
        raise ValueError(
            f"the loss {loss!r} is for numbers; for classes cross_entropy is expected, or one of "
            "squared, huber and log_cosh on probabilities (--regression takes 0 and 1 as numbers)"
        )
    low, high = get_loss(loss).target_range
    t = np.concatenate([problem.fit.t, problem.held_out.t])
    if not classes and (t.min() < low or t.max() > high):
        raise ValueError(
            f"the loss {loss!r} takes targets from {low:g} to {high:g}; they are from "
            f"{t.min():g} to {t.max():g}"
        )
    check_pair(problem.net, get_loss(loss))


def self_test(problem: Problem, fit: Fit) -> dict[str, Any]:
    """Return how far kernel and reference gradient are apart, and what each takes."""
    data = (*problem.fit, problem.loss)
    start, end = (self_check.gradient_difference(problem.net, w, *data) for w in (fit.w0, fit.w))
    return {
        "gradient_difference": {"start": start, "end": end},
        "gradient_seconds": self_check.gradient_seconds(problem.net, fit.w, *data),
    }


class Judged(NamedTuple):
    """Some rows of one target: what is known, and what the network and a linear model say.

    Numbers (B,) in the target's unit; or of classes the probabilities (B, K), of `known` 0 and 1.
    """

    name: str
    classes: list[str] | None
    known: NDArray
    network: NDArray
    linear: NDArray

    @property
    def linear_name(self) -> str:
        """What the linear model is called."""
        return "linear least squares" if self.classes is None else "logistic regression"


def predicted(preparation: Preparation, loss: str, y: NDArray) -> NDArray:
    """Return outputs of the network as they are shown: in the targets' units, of poisson rates."""
    y = preparation.decode(y)
    with np.errstate(over="ignore"):  # infinite, far from what was fitted
        return np.exp(y) if loss == "poisson" else y


def judge(problem: Problem, w: Vector) -> dict[str, list[Judged] | None]:
    """Return each target over the held-out rows, and over those that were fitted."""
    linear = _linear_model(problem)
    return {
        "held_out": _judged(problem, w, linear, problem.held_out) if problem.has_held_out else None,
        "fitted": _judged(problem, w, linear, problem.fit),
    }


def _judged(
    problem: Problem, w: Vector, linear: Callable[[NDArray], NDArray], data: Data
) -> list[Judged]:
    preparation = problem.preparation
    each = zip(
        preparation.of_each(preparation.decode(data.t)),
        preparation.of_each(predicted(preparation, problem.loss, problem.net(w, data.X))),
        preparation.of_each(preparation.decode(linear(data.X))),
        strict=True,
    )
    classes: Sequence[Any] = preparation.classes or [None] * len(preparation.targets)
    return [
        Judged(name, of_one, *arrays)
        for name, of_one, arrays in zip(preparation.targets, classes, each, strict=True)
    ]


def quality(judged: list[Judged] | None) -> dict[str, Any] | None:
    """Return how well targets are met, as JSON: of several each by itself, and the means."""
    if judged is None:
        return None
    each = [_numbers(one) if one.classes is None else _classes(one) for one in judged]
    if len(each) == 1:
        return each[0]
    means = {name: _mean([found[name] for found in each]) for name in ("network", "linear")}
    targets = {one.name: found for one, found in zip(judged, each, strict=True)}
    return {"measure": each[0]["measure"], **means, "targets": targets}


def verdict(held_out: dict[str, Any] | None, judged: list[Judged] | None) -> tuple[str, bool]:
    """Return in words how the network compares with the linear model, and whether it is worse."""
    if held_out is None or judged is None:
        return "", False
    network, linear = held_out["network"], held_out["linear"]
    if network is None or linear is None:
        return "", False
    name = "a straight line" if judged[0].classes is None else judged[0].linear_name
    figures = f"held-out {held_out['measure']} {network:.4f}, of {name} {linear:.4f}"
    if network > linear + _AS_GOOD:
        return f"the network is better than {name}: {figures}", False
    if network >= linear - _AS_GOOD:
        return f"the network is about as good as {name}: {figures}", False
    return f"{name} is better than the network: {figures}", True


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _numbers(one: Judged) -> dict[str, Any]:
    both = {"network": one.network, "linear": one.linear}
    rmse = {
        name: rms(one.known - y) if np.isfinite(y).all() else np.inf for name, y in both.items()
    }
    return {"measure": "R2", **{name: _r2(y, one.known) for name, y in both.items()}, "rmse": rmse}


def _r2(y: Vector, t: Vector) -> float | None:
    """Return 1 - Σ(y - t)² / Σ(t - mean t)²; None where all targets are one."""
    if (t == t[0]).all():  # their mean may be another number
        return None
    if not np.isfinite(y).all():
        return -np.inf
    return 1.0 - (rms(y - t) / rms(t - t.mean())) ** 2


def _classes(one: Judged) -> dict[str, Any]:
    """Return how well classes are met by their probabilities.

    A row of `confusion` is for the rows of one class: how many of each class were predicted.
    """
    known = one.known.argmax(axis=1)
    found: dict[str, Any] = {"measure": "accuracy", "classes": one.classes}
    log_loss, counts = {}, {}
    for name, p in (("network", one.network), ("linear", one.linear)):
        counts[name] = confusion(one.known, p).tolist()
        found[name] = float(np.mean(p.argmax(axis=1) == known))
        # One certainty that was wrong would be infinite: at most as scikit-learn has it.
        of_known = p[np.arange(len(p)), known].clip(np.finfo(np.float64).eps, 1.0)
        log_loss[name] = -float(np.mean(np.log(of_known)))
    return found | {"log_loss": log_loss, "confusion": counts}


def confusion(known: NDArray, p: NDArray) -> NDArray:
    """Return how many rows of each class (down) are taken for each (across), (K, K)."""
    K = known.shape[1]
    counts = np.zeros((K, K), int)
    np.add.at(counts, (known.argmax(axis=1), p.argmax(axis=1)), 1)
    return counts


def _linear_model(problem: Problem) -> Callable[[NDArray], NDArray]:
    """Return the linear model of the fitted rows: of numbers least squares, else logistic."""
    if problem.preparation.classes is not None:
        return _logistic_regression(problem)
    # Least squares in all rows alike, whatever the network's loss: the usual straight line.
    coefficients, *_ = np.linalg.lstsq(problem.fit.X, problem.fit.t, rcond=None)
    return lambda X: X @ coefficients


def _logistic_regression(problem: Problem) -> Callable[[NDArray], NDArray]:
    """Return the probabilities of a model without neurons, penalised as scikit-learn's is."""
    fit = problem.fit
    output = softmax if problem.net.output is softmax else "logistic"
    net, own = choosing.line_of(problem.net, output)
    l2 = np.full(net.n_params, 1.0 / len(fit.t))
    net.split(l2)[1][:, -1] = 0.0
    result = fastbp.fit(
        net, fit.X, fit.t, loss="cross_entropy", l2=l2, progress=False, _quiet=True, **own,
    )  # fmt: skip
    return lambda X: net(result.w, X)
