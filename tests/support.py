"""What the test modules share: random networks with data, all calls, how results are compared."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from ledger import compare

import fastbp
from fastbp import reference
from fastbp._rounding import LIMITS as LIMITS
from fastbp._rounding import size_of
from fastbp.activations import NAMES, Activation, Softmax, get_activation, softmax
from fastbp.optimizers import SGD

DTYPES = ("float64", "float32")

SCALES = (0.1, 1.0, 5.0)
"""Standard deviations of weights: nearly linear, bent, saturated."""

GROWING = ("exp", "square")
"""Activations that outgrow all others: one of them at z = 15 would hide the rest of a sum."""

REAL = ("erf", "gelu", "log_cosh", "mish", "softplus")
COMPLEX = tuple(name for name in NAMES if name not in REAL)
"""Activations that take a complex z: comparisons look at the real part, so that even kinks do. Not
so NumPy's erf, which is real, nor its complex log1p, which loses the digits of a small z."""

OUTPUTS = tuple(name for name in NAMES if name != "one")
"""Outputs of a network whose derivatives are not all zero."""

UNITS = 8.0
"""Rounding units of the size of a result that a kernel may differ from the reference, and half the
root of the batch: in NumPy's sum of 1100 equal terms, errors add up to 16 units."""

AROUND_CHUNKS = tuple(48 * k + step for k in range(2, 12) for step in (-1, 0, 1))
"""Batches of one and two chunks, and one observation less and more.

A chunk has 144 to 240 observations, or a few less: a multiple of 48 for `CHUNKED`.
"""

CHUNKED = ((3, 5), (2, 350), (50, 100), (20, 240))
"""Networks (N, H) whose chunks are the largest, the least and in between, in either dtype."""


@dataclass(frozen=True)
class Spec:
    """The attributes of a network that the reference reads, and nothing else."""

    n_inputs: int
    activations: tuple[Activation, ...]
    output: Activation | tuple[Activation, ...] | Softmax
    n_outputs: int = 1

    @property
    def n_neurons(self) -> int:
        return len(self.activations)

    @property
    def n_params(self) -> int:
        return self.n_neurons * (self.n_inputs + self.n_outputs)

    def network(self, dtype: Any = np.float64) -> fastbp.Network:
        """Return the library's network of this shape."""
        return fastbp.Network(
            self.n_inputs,
            n_outputs=self.n_outputs,
            activations=self.activations,
            output=self.output,
            dtype=dtype,
        )


@dataclass(frozen=True)
class Case:
    """A network, parameters and data, with something to put in for every argument of a mode."""

    net: Spec
    w: np.ndarray
    X: np.ndarray
    t: np.ndarray
    """Targets within the range of every loss."""
    c: np.ndarray
    """Sample weights."""
    ybar: np.ndarray
    p: np.ndarray
    dX: np.ndarray
    tau: np.ndarray | None = None
    """Weights of the outputs, where there are several."""

    def map(self, change: Callable[[np.ndarray], Any]) -> Case:
        """Return the case with something else in place of each array."""
        arrays = {name: a for name, a in vars(self).items() if isinstance(a, np.ndarray)}
        return replace(self, **{name: change(a) for name, a in arrays.items()})

    def astype(self, dtype: Any) -> Case:
        """Return the case with its arrays rounded to a dtype."""
        return self.map(lambda a: a.astype(dtype))


@dataclass(frozen=True)
class Call:
    """What a call takes after w, by the names of `Case`, and the axes of the array it gives."""

    arguments: tuple[str, ...]
    axes: str
    options: Mapping[str, str] = field(default_factory=dict)
    """What it may be given besides, by keyword."""


_WEIGHTED = {"sample_weight": "c", "target_weight": "tau"}
CALLS = {
    "value": Call(("X",), "BK"),
    "value_and_grad": Call(("x",), "KP"),  # x: the first row of X; its array is the Jacobian
    "vjp": Call(("X", "ybar"), "P"),
    "jvp": Call(("X", "p"), "BK", {"dX": "dX"}),
    "input_grad": Call(("X",), "BKN"),
    "input_hvp": Call(("X", "dX"), "BKN"),
    "per_sample_grad": Call(("X",), "BKP"),
    "loss_and_grad": Call(("X", "t"), "P", _WEIGHTED),
    "hvp": Call(("X", "t", "p"), "P", _WEIGHTED),
    "gauss_newton_product": Call(("X", "t", "p"), "P", _WEIGHTED),
}
"""All calls that write into `out`: methods of a network, functions of one, and the reference."""

DIRECTIONAL = tuple(name for name, call in CALLS.items() if {"p", "dX"} & {*call.arguments})
"""Those of them that are derivatives along a given direction."""


# Which fastbp refuses where it may not end.
HAS_TRUST_EXACT = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 17)
needs_trust_exact = pytest.mark.skipif(not HAS_TRUST_EXACT, reason="needs SciPy 1.17")
TRUST_EXACT = pytest.param("trust-exact", marks=needs_trust_exact)


def arguments(name: str, given: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Return what a call takes, and its options, of the arrays given by the names of `Case`."""
    call, X = CALLS[name], given["X"]
    given = {key: array for key, array in given.items() if array is not None}
    given["x"] = X if np.ndim(X) == 1 else X[0]
    options = {option: given[key] for option, key in call.options.items() if key in given}
    return (given["w"], *(given[key] for key in call.arguments)), options


def room(name: str, case: Case) -> np.ndarray:
    """Return an array of NaN for a call to write into."""
    net = case.net
    sizes = {"B": len(case.X), "K": net.n_outputs, "N": net.n_inputs, "P": net.n_params}
    axes = CALLS[name].axes.replace("K", "" if net.n_outputs == 1 else "K")
    return np.full([sizes[axis] for axis in axes], np.nan, case.w.dtype)


def array_of(result: Any) -> Any:
    """Return the array of a result, which a number may come before."""
    return result[1] if isinstance(result, tuple) else result


def flat(result: Any) -> np.ndarray:
    """Return the numbers of a result, one after the other."""
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(part) for part in parts])


def all_results(
    net: fastbp.Network,
    case: Case,
    outs: Mapping[str, np.ndarray] | None = None,
    names: Iterable[str] = CALLS,
    loss: str = "squared",
    **options: Any,
) -> dict[str, np.ndarray]:
    """Return the numbers that calls give, with and without what they may be given besides."""
    results = {}
    for name in names:
        given, more = arguments(name, vars(case))
        out = outs[name] if outs else None
        every = {**options, **({"loss": loss} if "t" in CALLS[name].arguments else {})}
        for label, besides in {name: more, **({f"{name} alone": {}} if more else {})}.items():
            got = getattr(net, name)(*given, **besides, **every, out=out)
            assert out is None or array_of(got) is out
            results[label] = flat(got)
    return results


def assert_same(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> None:
    """Assert that results by name have the same bits, and no NaN."""
    assert got.keys() == want.keys()
    for name, result in want.items():
        assert np.isfinite(result).all(), name
        np.testing.assert_array_equal(got[name], result, err_msg=name)


def spec(n_inputs: int, activations: Any, output: Any = "tanh", n_outputs: int = 1) -> Spec:
    """Return a network by the names of its activations."""
    neurons = tuple(get_activation(v) for v in activations)
    if output is not softmax:
        many = isinstance(output, tuple)
        output = tuple(map(get_activation, output)) if many else get_activation(output)
    return Spec(n_inputs, neurons, output, n_outputs)


def outputs_for(loss: str) -> tuple[str, ...]:
    """Return the outputs that go with a loss: they stay where it is finite."""
    if loss == "cross_entropy":
        return ("logistic",)
    if loss == "poisson":  # the exponential of the output
        return tuple(name for name in OUTPUTS if name not in GROWING)
    return OUTPUTS


HEADS = [
    ("squared", "mixed", "numbers"),
    ("log_cosh", "mixed", "numbers"),
    ("huber", "mixed", "numbers"),
    ("poisson", "mixed", "numbers"),
    ("squared", "softmax", "numbers"),
    ("poisson", "softmax", "numbers"),
    ("cross_entropy", "logistic", "numbers"),
    ("cross_entropy", "softmax", "probabilities"),
    ("cross_entropy", "softmax", "classes"),
]
"""What several outputs may end in: a loss, the outputs, and the kind of its targets."""


def outputs_of(loss: str, output: str, names: Iterable[str] = NAMES) -> Any:
    """Return what `random_case` draws the outputs of a head from."""
    if output == "mixed":
        return [name for name in outputs_for(loss) if name in names]
    return softmax if output == "softmax" else output


def targets_for(case: Case, kind: str) -> np.ndarray:
    """Return a case's targets as a head has them: K numbers, probabilities or classes a row."""
    if kind == "probabilities":
        return case.t / case.t.sum(axis=1, keepdims=True)
    return case.t.argmax(axis=1) if kind == "classes" else case.t


def random_case(
    seed: Any,
    n_inputs: int,
    n_neurons: int,
    batch: int,
    *,
    scale: float = 1.0,
    activations: Any = NAMES,
    outputs: Any = OUTPUTS,
    n_outputs: int = 1,
) -> Case:
    """Return a network of mixed activations, float64 weights of a given scale, and data.

    Each neuron draws its activation from `activations` or, one time in three, repeats the one
    before; the outputs are drawn from `outputs`, which may be `softmax`, or one name if they share
    it. Weights have the standard deviation `scale`,
    divided by the root of the number of terms in their sum. They are shrunk where a result would
    otherwise be ill-conditioned, so that its relative error would tell nothing: the rows of
    growing activations to |z| <= 3, and a to
    Σ_i |w_i u_i| <= 2 max(1, scale) at every observation.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(activations), size=n_neurons)
    for i in np.flatnonzero(rng.random(n_neurons - 1) < 1 / 3):
        draws[i + 1] = draws[i]
    if isinstance(outputs, str | Softmax):
        output = outputs
    elif n_outputs == 1:
        output = outputs[rng.integers(len(outputs))]
    else:
        output = tuple(outputs[k] for k in rng.integers(len(outputs), size=n_outputs))
    net = spec(n_inputs, [activations[k] for k in draws], output, n_outputs)
    X = rng.standard_normal((batch, n_inputs))
    w = scale * rng.standard_normal(net.n_params)
    a, W = reference.split(net, w)
    a /= np.sqrt(n_neurons)
    W /= np.sqrt(n_inputs)

    largest = np.abs(reference.L(net, w, X)).max(axis=0, initial=0.0)
    for i, v in enumerate(net.activations):
        if v.name in GROWING and largest[i] > 3.0:
            W[i] *= 3.0 / largest[i]
    u = reference.V(net, reference.L(net, w, X))
    limit = 2.0 * max(1.0, scale)
    for a_k in np.atleast_2d(a):
        total = np.abs(a_k * u).sum(axis=1).max(initial=0.0)
        if total > limit:
            a_k *= limit / total
    rows = (batch, n_outputs) if n_outputs > 1 else batch
    return Case(
        net,
        w,
        X,
        t=rng.uniform(0.05, 0.95, rows),
        c=rng.uniform(0.5, 2.0, batch),
        ybar=rng.standard_normal(rows),
        p=rng.standard_normal(net.n_params),
        dX=rng.standard_normal((batch, n_inputs)),
        tau=rng.uniform(0.5, 2.0, n_outputs) if n_outputs > 1 else None,
    )


def case_of(
    seed: Any,
    shape: tuple,
    head: tuple[str, str, str] | None = None,
    *,
    names: Iterable[str] = NAMES,
    **more: Any,
) -> Case:
    """Return a random case of shape (N, H, B), or (N, H, B, K) with one of `HEADS`.

    Mixed outputs are drawn from `names`.
    """
    sizes, K = shape[:3], (shape[3] if len(shape) > 3 else 1)
    if head is None:
        return random_case(seed, *sizes, n_outputs=K, **more)
    loss, output, kind = head
    case = random_case(seed, *sizes, n_outputs=K, outputs=outputs_of(loss, output, names), **more)
    return replace(case, t=targets_for(case, kind))


@cache
def orders_of_fit(n: int, epochs: int, seed: int) -> np.ndarray:
    """Return the orders in which `fit` takes n observations, one a row, read off its steps.

    Observation b moves parameter b alone, and does so by the number of the step.
    """
    steps = np.arange(1, n + 1)
    seen = [np.eye(1, n + 1)[0]]  # a = 1, W = 0
    fastbp.fit(
        fastbp.Network(n, 1, activations="identity", output="identity"),
        np.eye(n),
        np.full(n, 1e12),  # too far off to be reached: the slope stays −1/2
        loss="pinball",
        w0=seen[0],
        free=np.arange(n + 1) > 0,
        optimizer=SGD(lambda step, total: 2.0 * steps[step % n]),
        batch_size=1,
        epochs=epochs,
        seed=seed,
        callback=lambda state: seen.append(state.w.copy()),
    )
    moved = np.diff(seen, axis=0)[:, 1:]
    assert (np.sort(moved, axis=1) == steps).all()
    return moved.argsort(axis=1)


def agree(net: fastbp.Network, call: str, *args: Any, **options: Any) -> Any:
    """Assert that a method returns what the reference does at float64, and return it.

    Differences are judged by the size of a result, its largest entry where nothing cancels.
    """
    wide = [np.asarray(a, np.float64) for a in args]
    arrays = {name: a for name, a in options.items() if isinstance(a, np.ndarray)}
    named = options | {name: a.astype(np.float64) for name, a in arrays.items()}
    function, info = getattr(reference, call), np.finfo(net.dtype)
    got = getattr(net, call)(*args, **options)
    results = got, function(net, *wide, **named), size_of(function, net, *wide, **named)
    batch = len(args[1]) if np.ndim(args[1]) == 2 else 1
    limit = float(info.eps) * (UNITS + 0.5 * batch**0.5)
    for result, want, size in zip(*results, strict=True) if isinstance(got, tuple) else [results]:
        assert np.isfinite(size).all()
        # Below the floor, a result has lost digits to underflow.
        floor = max(np.max(size), float(info.tiny / info.eps))
        compare(net.dtype.name, result, want, limit, floor)
    return got


def agree_calls(
    net: fastbp.Network, case: Case, names: Iterable[str], losses: Iterable[str] = ("squared",)
) -> None:
    """Assert that calls agree with the reference, with and without what they may be given besides.

    Those that take targets do so for each of the losses.
    """
    for name in names:
        given, more = arguments(name, vars(case))
        takes_loss = "t" in CALLS[name].arguments
        for options in [{"loss": loss} for loss in losses] if takes_loss else [{}]:
            agree(net, name, *given, **options)
            if more:
                agree(net, name, *given, **more, **options)


def assert_close(got: Any, want: Any, tolerance: float, floor: float = 0.0) -> None:
    """Assert that all entries agree, and shapes do.

    The difference allowed in an entry is `tolerance` of the entry and of the largest one: what
    cancels in one entry of a result is as large as the others. `floor` is allowed on top, for
    results that may cancel in every entry.
    """
    want = np.asarray(want)
    assert np.shape(got) == want.shape
    largest = np.abs(want).max(initial=0.0)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * largest + floor)


def complex_step(f: Callable, x: Any, p: Any) -> Any:
    """Return the derivative of f at x along p, as exact as f itself: Im f(x + ihp) / h."""
    h = 1e-30
    return np.asarray(f(x + 1j * h * p)).imag / h


def in_threads(jobs: list[Callable]) -> list[Any]:
    """Run functions in threads that start together; return their results."""
    barrier = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def run(k: int) -> None:
        barrier.wait()
        results[k] = jobs[k]()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def assert_other_threads_run_during(call: Callable) -> None:
    """Assert that a call of at least 20 ms lets another thread work."""
    stamps = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(1e-4):
            stamps.append(time.perf_counter())

    ticking = threading.Thread(target=tick)
    ticking.start()
    begin = time.perf_counter()
    call()
    end = time.perf_counter()
    stop.set()
    ticking.join()
    # A thread that waits for the interpreter asks for it 5 ms after; so one or two would prove
    # nothing.
    within = sum(begin < stamp < end for stamp in stamps)
    assert end - begin > 0.02
    assert within >= 5, f"{within} in {end - begin:.3f} s"


def fresh_process(
    *arguments: Any, cwd: Any = None, timeout: float | None = 300.0, **environment: Any
) -> str:
    """Run Python, with warnings as errors; return what it printed."""
    path = os.pathsep.join([str(Path(__file__).resolve().parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | {k: str(v) for k, v in environment.items()},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout
