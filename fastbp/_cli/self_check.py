"""``fastbp check``: all derivatives of all named activations, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastbp.reference as reference

from ..activations import NAMES
from ..losses import NAMES as LOSSES
from ..network import Network

if TYPE_CHECKING:
    from ..calculus import GradientReport

_OBSERVATIONS = 300  # more than a chunk of the kernels
_OUTPUTS = 3
_HEADS = ("v', v''", "kernel", "adjoint", "order 2", "order 3")


def run(say: Callable[[str], None]) -> bool:
    """Check networks with every named activation in both number types; return whether all passed.

    Parameters
    ----------
    say : callable
        Receives the lines of the table, each when it is known, then the reports of those that
        failed and the verdict.
    """
    heads = "".join(f"{head:>10}" for head in _HEADS)
    say("Largest relative differences, and the orders of Taylor's remainders (1 where wrong):")
    say(f"{'activation':20}{'dtype':9}{heads}")
    failed = []
    number = 0
    for name, report in _reports():
        number += 1
        differences = [report.worst(kind) for kind in ("activation", "kernel", "adjoint")]
        orders = [check.measured for check in report.checks if check.kind == "taylor"]
        figures = "".join(f"{x:10.0e}" for x in differences)
        figures += "".join(f"{order:10.2f}" for order in orders)
        say(f"{name:20}{report.net.dtype.name:9}{figures}  {'pass' if report.ok else 'FAIL'}")
        if not report.ok:
            failed.append(report)
    for report in failed:
        say(f"\n{report!r}")
    net, rng = Network(_OBSERVATIONS // 30, 16), np.random.default_rng(0)
    X, t = rng.standard_normal((_OBSERVATIONS, net.n_inputs)), np.zeros(_OBSERVATIONS)
    for which, seconds in gradient_seconds(net, net.init(0), X, t, "squared").items():
        sizes = f"{_OBSERVATIONS} observations of {net.n_inputs} inputs, {net.n_neurons} neurons"
        say(f"time of one gradient, {which}: {seconds * 1e6:.1f} us ({sizes})")
    if failed:
        say(f"fail: {len(failed)} of {number} networks have wrong derivatives on this machine")
    else:
        say(f"pass: all derivatives of {number} networks are right on this machine")
    return not failed


def results() -> list[dict[str, Any]]:
    """Make the same checks, and return what each found, as JSON has it: a NaN is null."""
    return [
        {
            "activations": name,
            "dtype": report.net.dtype.name,
            "passed": report.ok,
            "checks": [
                {
                    "kind": check.kind,
                    "name": check.name,
                    "measured": check.measured if np.isfinite(check.measured) else None,
                    "limit": check.limit,
                    "passed": check.ok,
                }
                for check in report.checks
            ],
        }
        for name, report in _reports()
    ]


def _reports() -> Iterator[tuple[str, GradientReport]]:
    """Yield a report for each activation, for all under each loss, and for several outputs."""
    from ..calculus import check_gradient

    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((_OBSERVATIONS, 5)).astype(dtype)
        t = rng.uniform(0.1, 0.9, _OBSERVATIONS).astype(dtype)
        for name in NAMES:
            net = Network(5, 7, activations=name, output=name, dtype=dtype)
            yield net.activations[0].name, check_gradient(net, net.init(1), X[:50], t[:50])
        net = Network(5, activations=NAMES, output="logistic", dtype=dtype)
        for loss in LOSSES:
            yield f"all, {loss}", check_gradient(net, net.init(1), X, t, loss=loss)
        several = rng.uniform(0.1, 0.9, (_OBSERVATIONS, _OUTPUTS)).astype(dtype)
        weights = np.arange(1, _OUTPUTS + 1)
        for output, loss in (("tanh", "squared"), ("softmax", "cross_entropy")):
            net = Network(5, activations=NAMES, n_outputs=_OUTPUTS, output=output, dtype=dtype)
            t = several.argmax(axis=1) if output == "softmax" else several
            report = check_gradient(net, net.init(1), X, t, loss=loss, target_weight=weights)
            yield f"{_OUTPUTS} of {output}", report


def gradient_difference(net: Network, w: NDArray, X: NDArray, t: NDArray, loss: str) -> float:
    """Largest difference between kernel and reference gradient, by the largest entry."""
    _, g = net.loss_and_grad(w, X, t, loss=loss)
    _, g_reference = reference.loss_and_grad(net, w, X, t, loss=loss)
    largest = max(float(np.max(np.abs(g_reference))), float(np.finfo(np.float64).tiny))
    return float(np.max(np.abs(g - g_reference))) / largest


def gradient_seconds(
    net: Network, w: NDArray, X: NDArray, t: NDArray, loss: str
) -> dict[str, float]:
    """Seconds of one gradient by the kernels, and by the NumPy reference."""
    kernel, in_numpy = _best_times(
        lambda: net.loss_and_grad(w, X, t, loss=loss),
        lambda: reference.loss_and_grad(net, w, X, t, loss=loss),
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
