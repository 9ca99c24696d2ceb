"""What the test modules share: random networks with data, and how results are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import fastbp
from fastbp import reference
from fastbp.activations import NAMES, Activation, get_activation
from fastbp.optimizers import SGD

SCALES = (0.1, 1.0, 5.0)
"""Standard deviations of weights: nearly linear, bent, saturated."""

GROWING = ("exp", "square")
"""Activations that outgrow all others: one of them at z = 15 would hide the rest of a sum."""

OUTPUTS = tuple(name for name in NAMES if name != "one")
"""Outputs of a network whose derivatives are not all zero."""

LIMITS = {"float32": 2e-5, "float64": 1e-12}
"""The largest relative difference allowed between a kernel and the reference."""


@dataclass(frozen=True)
class Spec:
    """The attributes of a network that the reference reads, and nothing else."""

    n_inputs: int
    activations: tuple[Activation, ...]
    output: Activation

    @property
    def n_neurons(self) -> int:
        return len(self.activations)

    @property
    def n_params(self) -> int:
        return self.n_neurons * (self.n_inputs + 1)

    def network(self, dtype: Any = np.float64) -> fastbp.Network:
        """Return the library's network of this shape."""
        return fastbp.Network(
            self.n_inputs, activations=self.activations, output=self.output, dtype=dtype
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

    def astype(self, dtype: Any) -> Case:
        """Return the case with its arrays rounded to a dtype."""
        arrays = {name: a for name, a in vars(self).items() if isinstance(a, np.ndarray)}
        return replace(self, **{name: a.astype(dtype) for name, a in arrays.items()})


def spec(n_inputs: int, activations: Any, output: Any = "tanh") -> Spec:
    """Return a network by the names of its activations."""
    neurons = tuple(get_activation(v) for v in activations)
    return Spec(n_inputs, neurons, get_activation(output))


def outputs_for(loss: str) -> tuple[str, ...]:
    """Return the outputs that go with a loss: they stay where it is finite."""
    if loss == "cross_entropy":
        return ("logistic",)
    if loss == "poisson":  # the exponential of the output
        return tuple(name for name in OUTPUTS if name not in GROWING)
    return OUTPUTS


def random_case(
    seed: Any,
    n_inputs: int,
    n_neurons: int,
    batch: int,
    *,
    scale: float = 1.0,
    activations: Any = NAMES,
    outputs: Any = OUTPUTS,
) -> Case:
    """Return a network of mixed activations, float64 weights of a given scale, and data.

    Each neuron draws its activation from `activations` or, one time in three, repeats the one
    before; the output is drawn from `outputs`. Weights have the standard deviation `scale`,
    divided by the root of the number of terms in their sum. They are shrunk where a result would
    otherwise be ill-conditioned, so that its relative error would tell nothing: the rows of
    growing activations to |z| <= 3, and a to
    Σ_i |w_i u_i| <= 2 max(1, scale) at every observation.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(activations), size=n_neurons)
    for i in np.flatnonzero(rng.random(n_neurons - 1) < 1 / 3):
        draws[i + 1] = draws[i]
    net = spec(n_inputs, [activations[k] for k in draws], outputs[rng.integers(len(outputs))])
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
    total = np.abs(a * u).sum(axis=1).max(initial=0.0)
    limit = 2.0 * max(1.0, scale)
    if total > limit:
        a *= limit / total
    return Case(
        net,
        w,
        X,
        t=rng.uniform(0.05, 0.95, batch),
        c=rng.uniform(0.5, 2.0, batch),
        ybar=rng.standard_normal(batch),
        p=rng.standard_normal(net.n_params),
        dX=rng.standard_normal((batch, n_inputs)),
    )


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
