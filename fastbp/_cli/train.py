"""``fastbp train``: a fit, what it reached, and the check of its gradients."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastbp
import fastbp.reference as reference

from .. import _standardise as standardise
from .._training.fit import has_intervals
from ..activations import softmax
from ..network import Network
from ..optimizers import MOST_OF_LEVENBERG, SGD, Adam, get_optimizer
from .problem import Problem

Vector = NDArray[np.float64]
Report = Callable[[int, float, float], None]
"""Called with the step, the loss without penalty and the length of the gradient with penalty."""

STOCHASTIC = ("adam", "sgd")
OPTIMIZERS = ("lm", "lbfgs", *STOCHASTIC)
LEARNING_RATE = 0.01


def default_optimizer(n_params: int) -> str:
    """Return Levenberg–Marquardt, or where its matrix is large L-BFGS, as `fastbp.fit` chooses."""
    return "lm" if n_params <= MOST_OF_LEVENBERG else "lbfgs"


class Fit(NamedTuple):
    """What :func:`fit` returns."""

    w0: Vector
    w: Vector
    loss: float  # with penalty, as the others
    losses: Vector  # at each step
    reason: str
    seconds: float
    result: fastbp.FitResult


def fit(
    problem: Problem,
    *,
    optimizer: str,
    learning_rate: float,
    batch_size: int | None,
    epochs: int,
    l2: float,
    seed: int,
    report: Report,
) -> Fit:
    """Fit the network from a random start."""
    net, (X, t) = problem.net, problem.fit
    w0 = standardise.start(net, seed)
    each = standardise.penalties(net, l2)
    every = 10 if optimizer in ("lm", "lbfgs") else max(1, epochs // 10)

    def callback(state: Any) -> None:
        if state.step == 1 or state.step % every == 0:
            loss, g = net.loss_and_grad(state.w, X, t, loss=problem.loss)
            report(state.step, loss, float(np.linalg.norm(g + each * state.w)))

    method = get_optimizer(optimizer, problem.loss, net.n_params)
    if isinstance(method, SGD | Adam):
        method = replace(method, learning_rate=learning_rate)
    start = time.perf_counter()
    result = fastbp.fit(
        net,
        X,
        t,
        w0=w0,
        optimizer=method,
        loss=problem.loss,
        l2=each,
        epochs=epochs,
        batch_size=batch_size or len(t),
        seed=seed,
        free=standardise.free(net),
        callback=callback,
        progress=False,
        _quiet=True,
    )
    seconds = time.perf_counter() - start
    losses = result.history["loss"]
    return Fit(w0, result.w, result.loss, losses, result.reason, seconds, result)


def with_intervals(problem: Problem, fit: Fit) -> fastbp.FitResult | None:
    """Return the fit for `fastbp.save` where its intervals exist and are cheap to keep."""
    P, B = problem.net.n_params, len(problem.fit.t)
    if P > 500 or B * P * P > 2e9:  # 2 MB; about half a second
        return None
    return fit.result if has_intervals(fit.result) else None


def measure(problem: Problem, fit: Fit) -> dict[str, Any]:
    """Return what is to be said of a fit, as JSON."""
    return {
        "held_out": _quality(problem, fit.w),
        "gradient_difference": {
            "start": _difference(problem, fit.w0),
            "end": _difference(problem, fit.w),
        },
        "gradient_seconds": _times(problem, fit.w),
    }


def _quality(problem: Problem, w: Vector) -> dict[str, Any] | None:
    """Return how well held-out targets are met, beside a linear model.

    Of several targets, each by itself and the means.
    """
    fit, held_out, preparation = problem.fit, problem.held_out, problem.preparation
    if not len(held_out.t):
        return None
    if preparation.classes is None:
        coefficients, *_ = np.linalg.lstsq(fit.X, fit.t, rcond=None)
        linear = held_out.X @ coefficients
        judges: list[Callable[..., dict[str, Any]]] = [_numbers] * len(preparation.targets)
    else:
        linear = _logistic_regression(problem, held_out.X)
        judges = [partial(_classes, names) for names in preparation.classes]
    outputs = (problem.net(w, held_out.X), linear, held_out.t)
    of_each = zip(*map(preparation.of_each, outputs), strict=True)
    each = [judge(*of_one) for judge, of_one in zip(judges, of_each, strict=True)]
    if len(each) == 1:
        return each[0]
    means = {name: _mean([quality[name] for quality in each]) for name in ("network", "linear")}
    targets = dict(zip(preparation.targets, each, strict=True))
    return {"measure": each[0]["measure"], **means, "targets": targets}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _numbers(network: Vector, linear: Vector, t: Vector) -> dict[str, Any]:
    return {"measure": "R2", "network": _r2(network, t), "linear": _r2(linear, t)}


def _r2(y: Vector, t: Vector) -> float | None:
    """Return 1 - Σ(y - t)² / Σ(t - mean t)²; None where all targets are one."""
    total = float(np.sum((t - t.mean()) ** 2))
    return 1.0 - float(np.sum((y - t) ** 2)) / total if total > 0.0 else None


def _classes(names: list[str], network: NDArray, linear: NDArray, t: NDArray) -> dict[str, Any]:
    """Return how well classes are met by their probabilities, (B, K).

    A row of `confusion` is for the rows of one class: how many of each class were predicted.
    """
    known, K = t.argmax(axis=1), len(names)
    found: dict[str, Any] = {"measure": "accuracy", "classes": names}
    log_loss, confusion = {}, {}
    for name, p in (("network", network), ("linear", linear)):
        counts = np.zeros((K, K), int)
        np.add.at(counts, (known, p.argmax(axis=1)), 1)
        found[name], confusion[name] = float(np.trace(counts) / len(t)), counts.tolist()
        # One certainty that was wrong would be infinite: at most as scikit-learn has it.
        of_known = p[np.arange(len(t)), known].clip(np.finfo(np.float64).eps, 1.0)
        log_loss[name] = -float(np.mean(np.log(of_known)))
    return found | {"log_loss": log_loss, "confusion": confusion}


def _logistic_regression(problem: Problem, X: NDArray) -> NDArray:
    """Return the probabilities of a model without neurons, penalised as scikit-learn's is.

    That is a network of K neurons `identity`, each for one output.
    """
    fit, output = problem.fit, problem.net.output
    N, K = problem.net.n_inputs, problem.net.n_outputs
    net = Network(
        N,
        K,
        n_outputs=K,
        activations="identity",
        output=softmax if output is softmax else "logistic",
    )
    w0, l2 = np.zeros(net.n_params), np.full(net.n_params, 1.0 / len(fit.t))
    net.split(w0)[0][...] = np.eye(K) if K > 1 else 1.0
    net.split(l2)[1][:, -1] = 0.0
    result = fastbp.fit(
        net,
        fit.X,
        fit.t,
        w0=w0,
        optimizer=default_optimizer(K * N),
        loss="cross_entropy",
        l2=l2,
        free=np.arange(net.n_params) >= K * K,
        progress=False,
        _quiet=True,
    )
    return net(result.w, X)


def _difference(problem: Problem, w: Vector) -> float:
    """Largest difference between kernel and reference gradient, by the largest entry."""
    net, (X, t) = problem.net, problem.fit
    _, g = net.loss_and_grad(w, X, t, loss=problem.loss)
    _, g_reference = reference.loss_and_grad(net, w, X, t, loss=problem.loss)
    largest = max(float(np.max(np.abs(g_reference))), float(np.finfo(np.float64).tiny))
    return float(np.max(np.abs(g - g_reference))) / largest


def _times(problem: Problem, w: Vector) -> dict[str, float]:
    net, (X, t) = problem.net, problem.fit
    kernel, in_numpy = _best_times(
        lambda: net.loss_and_grad(w, X, t, loss=problem.loss),
        lambda: reference.loss_and_grad(net, w, X, t, loss=problem.loss),
    )
    return {"kernel": kernel, "reference": in_numpy}


def _best_times(*calls: Callable[[], object], rounds: int = 7) -> list[float]:
    """Seconds a call, the best of some rounds of about 10 ms in which the calls take turns."""
    numbers = []
    for call in calls:
        start = time.perf_counter()
        call()
        numbers.append(max(1, int(0.01 / max(time.perf_counter() - start, 1e-7))))
    best = [np.inf] * len(calls)
    for _ in range(rounds):
        for i, (call, number) in enumerate(zip(calls, numbers, strict=True)):
            start = time.perf_counter()
            for _ in range(number):
                call()
            best[i] = min(best[i], (time.perf_counter() - start) / number)
    return best
