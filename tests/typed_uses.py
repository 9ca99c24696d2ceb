"""Uses of the public face whose types a user's checker has to find; mypy reads it, nothing runs.

A line that is to be refused says so: mypy reports an `ignore` that nothing needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastbp
from fastbp import Activation, Loss, Network, Objective, calculus, datasets, optimizers, reference
from fastbp.sklearn import NetworkClassifier, NetworkRegressor

if TYPE_CHECKING:
    from typing_extensions import assert_type

Array = NDArray[Any]


def network(bent: Activation) -> None:
    net = Network(3, activations=["tanh", bent], output="identity", dtype=np.float32)
    Network(3, 8)
    Network(3, 8, activations=bent, output=bent, dtype="float64")
    Network("three")  # type: ignore[arg-type]
    Network(3, 8, activations=len)  # type: ignore[arg-type]
    Network(3, 8, biases=True)  # type: ignore[call-arg]
    assert_type(net.n_params, int)
    assert_type(net.activations, tuple[Activation, ...])
    assert_type(net.init(seed=0), Array)
    assert_type(net.split(net.init(None)), tuple[Array, Array])


def calls(net: Network, w: Array, X: Array, t: list[float]) -> None:
    assert_type(net.value_and_grad(w, X[0]), tuple[float, Array])
    assert_type(
        net.loss_and_grad(w, X, t, loss="huber", out=w, threads="auto"), tuple[float, Array]
    )
    assert_type(net.per_sample_grad(w, [[1.0, 2.0]]), Array)
    assert_type(net.input_grad(w, X), Array)
    assert_type(net.input_hvp(w, X, X), Array)
    assert_type(net.hvp(w, X, t, w, sample_weight=t), Array)
    assert_type(net.gauss_newton_product(w, X, t, w), Array)
    assert_type(net.gauss_newton(w, X, t), tuple[float, Array, Array])
    net.loss_and_grad(w, X)  # type: ignore[call-arg]
    net.loss_and_grad(w, X, t, out=[0.0])  # type: ignore[arg-type]
    net.vjp(w, X, t, threads=None)  # type: ignore[arg-type]


def objective(net: Network, w: Array, X: Array, t: Array) -> None:
    bound = net.objective(X, t, loss="huber", l2=0.1, threads=2)
    assert_type(bound, Objective)
    assert_type(bound(w), tuple[float, Array])
    assert_type(bound.value(w), float)
    assert_type(bound.hvp(w, w), Array)
    assert_type(bound.gauss_newton(w), tuple[float, Array, Array])


def functions_of_ones_own() -> None:
    @fastbp.activation
    def bent(z: float) -> float:
        return z * z

    @fastbp.loss(target_range=(0.0, 1.0))
    def cubed(y: float, t: float) -> float:
        return (y - t) ** 3

    assert_type(bent, Activation)
    assert_type(cubed, Loss)
    assert_type(fastbp.losses.huber(0.5), Loss)
    fastbp.activation(3.0)  # type: ignore[call-overload]


def compiled(net: Network, w: Array, X: Array, t: Array) -> None:
    assert_type(fastbp.loss_and_grad(net, w, X, t, w), float)
    assert_type(fastbp.value(net, w, X), float | None)
    assert_type(fastbp.value_and_grad(net, w, X[0], w), float)
    fastbp.value_and_grad(net, w, X[0], X, w)
    fastbp.vjp(net, w, X, t)  # type: ignore[call-arg]


def fits(net: Network, X: Array, t: Array, progress: Callable[[fastbp.FitState], None]) -> None:
    result = fastbp.fit(net, X, t, optimizer=fastbp.Adam(optimizers.Cosine(0.1)), callback=progress)
    assert_type(result, fastbp.FitResult)
    assert_type(result.w, Array)
    assert_type(result.loss, float)
    assert_type(result.history, dict[str, Array])
    assert_type(result.report(), fastbp.FitReport)
    assert_type(result.report().aic, float | None)
    fastbp.save("model.npz", net, result.w, result=result)
    fastbp.save("model.npz", net, result.w, result=result.w)  # type: ignore[arg-type]
    assert_type(fastbp.fit_many(net, X, t, seeds=3, folds=5).best, fastbp.FitResult)
    fastbp.fit(net, X, t, optimiser="lm")  # type: ignore[call-arg]
    fastbp.Adam(learning_rate="fast")  # type: ignore[arg-type]
    NetworkRegressor(8, activation="tanh").fit(X, t).predict(X)
    assert_type(NetworkClassifier().fit(X, t).predict_proba(X), NDArray[np.float64])


def files(net: Network, w: Array) -> None:
    fastbp.save("model.npz", net, w, columns=["age"])
    model = fastbp.load("model.npz", activations=net.activations)
    assert_type(model.net, Network)
    again, v, _ = model
    assert_type(again, Network)
    assert_type(v, NDArray[Any])
    assert_type(model.metadata, dict[str, Any])


def mathematics(net: Network, w: Array, X: Array, t: Array) -> None:
    reference.loss_and_grad(net, w, X, t)
    assert_type(reference.grad_from_output_layer(net, w, X[0]).operations, int)
    assert_type(calculus.check_gradient(net, w, X, t).ok, bool)
    assert_type(calculus.operation_counts(3, 8).weights.ratio, float)
    _, _, names = datasets.load_diabetes()
    assert_type(names, tuple[str, ...])
