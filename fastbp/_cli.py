"""Commands of ``python -m fastbp``: one function a command, one parser a command."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastbp
from fastbp import reference
from fastbp.datasets import load_diabetes

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (0: done; argparse exits with 2 on a wrong use).

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the program's name; those of the process where left out.
    """
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastbp",
        description="One-hidden-layer networks with fast and exact derivatives.",
    )
    parser.add_argument("--version", action="version", version=f"fastbp {fastbp.__version__}")
    at_least_1 = _checked(int, lambda n: n >= 1, "a whole number of at least 1")
    at_least_0 = _checked(int, lambda n: n >= 0, "a whole number of at least 0")
    positive = _checked(float, lambda x: 0.0 < x < np.inf, "a positive number")
    not_negative = _checked(float, lambda x: 0.0 <= x < np.inf, "a number of at least 0")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    train = commands.add_parser(
        "train",
        help="fit a network to the bundled diabetes data",
        description="Fit a network to the bundled diabetes data (442 patients, 10 measurements).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument(
        "--neurons", type=at_least_1, default=16, help="neurons, a constant one apart"
    )
    train.add_argument("--activation", default="tanh", help="their activation, by name")
    train.add_argument("--steps", type=at_least_1, default=1000, help="gradient steps")
    train.add_argument("--learning-rate", type=positive, default=0.01, help="step size of Adam")
    train.add_argument("--l2", type=not_negative, default=0.02, help="penalty: l2/2 times |w|^2")
    train.add_argument("--seed", type=at_least_0, default=0, help="seed of the split and the start")
    train.set_defaults(run=_train)
    return parser


def _checked(convert: Callable, holds: Callable, expected: str) -> Callable:
    """Return a converter of words for argparse that says what was given and what was expected."""

    def check(text: str) -> float:
        try:
            number = convert(text)
            if holds(number):
                return number
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} was given, {expected} was expected")

    return check


class _Data(NamedTuple):
    X: Matrix  # (B, N): standardised, the last column the constant 1 (a bias for each neuron)
    t: Vector  # (B,): standardised
    X_held_out: Matrix
    t_held_out: Vector


def _train(options: argparse.Namespace) -> int:
    data = _split(*load_diabetes()[:2], seed=options.seed)
    # v = 1 for the last neuron: its output weight is the bias of the output.
    activations = [options.activation] * options.neurons + ["one"]
    try:
        net = fastbp.Network(data.X.shape[1], activations=activations, output="identity")
    except ValueError as error:  # an unknown activation; the message names the nearest one
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"data: {len(data.t)} patients to fit, {len(data.t_held_out)} held out\n"
        f"network: {net.n_inputs} inputs, {net.n_neurons} neurons, {net.n_params} parameters"
    )

    w = net.init(options.seed)
    differences = {"start": _difference(net, w, data)}
    w = _adam(
        lambda w: net.loss_and_grad(w, data.X, data.t),
        w,
        steps=options.steps,
        learning_rate=options.learning_rate,
        l2=options.l2,
        report=_print_progress,
    )
    differences["end"] = _difference(net, w, data)

    kernel, in_numpy = _best_times(
        lambda: net.loss_and_grad(w, data.X, data.t),
        lambda: reference.loss_and_grad(net, w, data.X, data.t),
    )
    linear, *_ = np.linalg.lstsq(data.X, data.t, rcond=None)
    print(f"held-out R2, network:              {_r2(net(w, data.X_held_out), data):.4f}")
    print(f"held-out R2, linear least squares: {_r2(data.X_held_out @ linear, data):.4f}")
    for when, difference in differences.items():
        print(f"kernel against reference gradient, {when + ':':6} {difference:.1e}")
    print(f"time of one gradient, kernel:      {kernel * 1e6:.1f} us")
    print(f"time of one gradient, reference:   {in_numpy * 1e6:.1f} us")
    return 0


def _split(X: Matrix, t: Vector, *, seed: int) -> _Data:
    """Hold out a quarter; standardise all by the mean and deviation of the rest."""
    order = np.random.default_rng(seed).permutation(len(t))
    fit, held_out = np.split(order, [len(t) * 3 // 4])
    X = (X - X[fit].mean(axis=0)) / X[fit].std(axis=0)
    X = np.column_stack([X, np.ones(len(t))])
    t = (t - t[fit].mean()) / t[fit].std()
    return _Data(X[fit], t[fit], X[held_out], t[held_out])


def _adam(
    loss_and_grad: Callable[[Vector], tuple[float, Vector]],
    w: Vector,
    *,
    steps: int,
    learning_rate: float,
    l2: float,
    report: Callable[[int, float, float], None],
) -> Vector:
    """Minimise loss(w) + l2/2 |w|² by Adam (Kingma and Ba 2015, algorithm 1) on all the data."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    w = w.copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, steps + 1):
        loss, g = loss_and_grad(w)
        g = g + l2 * w
        if step == 1 or step % max(1, steps // 10) == 0:
            report(step, loss, float(np.linalg.norm(g)))
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        w -= learning_rate * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + epsilon)
    return w


def _print_progress(step: int, loss: float, norm: float) -> None:
    print(f"step {step:5}: training loss {loss:.6f}, gradient with penalty {norm:.1e}", flush=True)


def _difference(net: fastbp.Network, w: Vector, data: _Data) -> float:
    """Largest difference between kernel and reference gradient, by the largest entry."""
    _, g = net.loss_and_grad(w, data.X, data.t)
    _, g_reference = reference.loss_and_grad(net, w, data.X, data.t)
    return float(np.max(np.abs(g - g_reference)) / np.max(np.abs(g_reference)))


def _r2(y: Vector, data: _Data) -> float:
    t = data.t_held_out
    return 1.0 - float(np.sum((y - t) ** 2) / np.sum((t - t.mean()) ** 2))


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
