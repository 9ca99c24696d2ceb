"""fit, fit_many and the uncertainty of what they find."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TRUST_EXACT, fresh_process, orders_of_fit

import fastbp
from fastbp import EarlyStopping, NonFiniteLossError, reference
from fastbp._training import checkpoint, many, methods
from fastbp.datasets import load_diabetes
from fastbp.kernels.machine import sizes
from fastbp.optimizers import SGD, Adam, AdamW, Cosine, LevenbergMarquardt, Minimize

RNG = np.random.default_rng(0)
X = np.column_stack([RNG.uniform(-1.0, 1.0, (60, 2)), np.ones(60)])
T = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(60)
C = RNG.uniform(0.2, 2.0, 60)
NET = fastbp.Network(3, activations=["tanh"] * 4 + ["one"], output="identity")
W0 = NET.init(0)

OPTIMIZERS: list[Any] = [
    SGD(0.02, momentum=0.9),
    Adam(Cosine(0.02)),
    AdamW(0.02),
    LevenbergMarquardt(),
    LevenbergMarquardt(damping="marquardt"),
    "lbfgs",
    "bfgs",
]


def objective(w: Any, l2: float = 0.0, **options: Any) -> float:
    return float(reference.loss_and_grad(NET, w, X, T, **options)[0] + 0.5 * l2 * w @ w)


def same(a: fastbp.FitResult, b: fastbp.FitResult) -> None:
    """Assert that two results have the same bits."""
    assert a.w.tobytes() == b.w.tobytes()
    assert a.loss == b.loss
    assert a.reason == b.reason
    assert a.n_evaluations == b.n_evaluations
    assert a.validation_loss == b.validation_loss
    assert a.history.keys() == b.history.keys()
    for name in a.history:
        assert a.history[name].tobytes() == b.history[name].tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_lowers_the_loss_it_says(optimizer: Any) -> None:
    given = (X.copy(), T.copy(), C.copy(), W0.copy())
    result = fastbp.fit(
        NET, X, T, w0=W0, optimizer=optimizer, sample_weight=C, l2=1e-3, epochs=60, seed=4
    )
    want = objective(result.w, l2=1e-3, sample_weight=C)
    np.testing.assert_allclose(result.loss, want, rtol=1e-12)
    assert result.loss < 0.2 * objective(W0, l2=1e-3, sample_weight=C)
    assert 1 <= len(result.history["loss"]) <= 60
    assert result.n_evaluations >= len(result.history["loss"])
    for before, after in zip(given, (X, T, C, W0), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_is_repeatable_and_seeded(optimizer: Any) -> None:
    def run(seed: int) -> fastbp.FitResult:
        return fastbp.fit(NET, X, T, optimizer=optimizer, epochs=7, batch_size=8, seed=seed)

    same(run(1), run(1))
    assert not np.array_equal(run(1).w, run(2).w)


def test_none_as_seed() -> None:
    for optimizer in ("sgd", "lm"):
        a, b = (
            fastbp.fit(NET, X, T, optimizer=optimizer, epochs=2, seed=None, validation=0.2)
            for _ in range(2)
        )
        assert not np.array_equal(a.w, b.w)


def test_generators_as_seeds() -> None:
    a = fastbp.fit(NET, X, T, optimizer="adam", epochs=3, seed=np.random.default_rng(5))
    b = fastbp.fit(NET, X, T, optimizer="adam", epochs=3, seed=np.random.default_rng(5))
    same(a, b)


def test_epochs_are_plain_steps_in_random_orders() -> None:
    w = W0.copy()
    for order in orders_of_fit(60, 2, seed=7):
        for first in range(0, 60, 16):
            rows = order[first : first + 16]
            w = w - 0.05 * reference.loss_and_grad(NET, w, X[rows], T[rows])[1]
    got = fastbp.fit(NET, X, T, w0=W0, optimizer=SGD(0.05), epochs=2, batch_size=16, seed=7).w
    np.testing.assert_allclose(got, w, rtol=1e-11)


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"batch_size": 1}])
def test_an_epoch_in_several_calls_is_the_same(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    from fastbp.kernels.calls import optimizers

    given: dict[str, Any] = {"optimizer": Adam(Cosine(0.02)), "epochs": 3, "batch_size": 7}
    at_once = fastbp.fit(NET, X, T, sample_weight=C, **given | options)
    monkeypatch.setattr(optimizers, "_ORDERED", 16)
    in_parts = fastbp.fit(NET, X, T, sample_weight=C, **given | options)
    np.testing.assert_array_equal(in_parts.w, at_once.w)
    np.testing.assert_array_equal(in_parts.history["loss"], at_once.history["loss"])


def test_without_shuffling() -> None:
    w = W0 - 0.05 * reference.loss_and_grad(NET, W0, X, T)[1]
    options: dict[str, Any] = {"optimizer": SGD(0.05), "epochs": 1, "shuffle": False}
    got = fastbp.fit(NET, X, T, w0=W0, batch_size=1000, **options).w
    np.testing.assert_allclose(got, w, rtol=1e-11)


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_rates_made_at_once_are_those_of_each_step(batch_size: int) -> None:
    schedule = Cosine(0.02)
    options: dict[str, Any] = {"epochs": 150, "batch_size": batch_size}
    got = fastbp.fit(NET, X, T, optimizer=SGD(schedule), **options)
    one_by_one = SGD(lambda step, total: float(schedule(step, total)))
    want = fastbp.fit(NET, X, T, optimizer=one_by_one, **options)
    np.testing.assert_allclose(got.w, want.w, rtol=1e-9)


def test_schedule_runs_over_all_epochs() -> None:
    seen: list[tuple[int, int]] = []

    def schedule(step: int, total: int) -> float:
        seen.append((step, total))
        return 0.01

    fastbp.fit(NET, X, T, optimizer=SGD(schedule), epochs=3, batch_size=25)
    assert seen == [(k, 9) for k in range(9)]


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "nelder-mead", "newton-cg"])
def test_free_parameters(optimizer: Any) -> None:
    free = np.zeros(NET.n_params, bool)
    free[:5] = True
    result = fastbp.fit(NET, X, T, w0=W0, optimizer=optimizer, free=free, epochs=30)
    assert np.array_equal(result.w[~free], W0[~free])
    assert (result.w[free] != W0[free]).all()
    assert result.loss < objective(W0)


def test_optimizers_agree_where_they_must() -> None:
    """The output weights alone: a linear problem with one optimum."""
    free = np.zeros(NET.n_params, bool)
    free[:5] = True
    U = reference.V(NET, reference.L(NET, W0, X))
    a = np.linalg.lstsq(U, T, rcond=None)[0]
    for optimizer in (LevenbergMarquardt(), "bfgs", "lbfgs", "trust-ncg"):
        result = fastbp.fit(NET, X, T, w0=W0, optimizer=optimizer, free=free)
        np.testing.assert_allclose(result.w[:5], a, rtol=2e-2, atol=2e-2)
        assert result.converged


@pytest.mark.parametrize(
    "method",
    [
        "nelder-mead",
        "powell",
        "cg",
        "bfgs",
        "newton-cg",
        "l-bfgs-b",
        "tnc",
        "cobyla",
        "slsqp",
        "trust-ncg",
        "trust-krylov",
        TRUST_EXACT,
        "dogleg",
    ],
)
def test_every_scipy_method(method: str) -> None:
    pytest.importorskip("scipy")
    result = fastbp.fit(NET, X, T, w0=W0, optimizer=Minimize(method), epochs=25)
    np.testing.assert_allclose(result.loss, objective(result.w), rtol=1e-12)
    assert result.loss < objective(W0)
    assert len(result.history["loss"]) <= 25
    result = fastbp.fit(NET, X, T, optimizer=method, epochs=2)
    assert (len(result.history["loss"]), result.reason) == (2, "all epochs done")


def test_float32() -> None:
    net = fastbp.Network(3, 5, output="identity", dtype=np.float32)
    single = [a.astype(np.float32) for a in (X, T)]
    for optimizer in OPTIMIZERS:
        result = fastbp.fit(net, *single, optimizer=optimizer, epochs=40)
        assert result.w.dtype == np.float32
        assert result.loss < 0.1


def test_cross_entropy_by_levenberg_marquardt() -> None:
    net = fastbp.Network(3, activations=["tanh"] * 3 + ["one"], output="logistic")
    t = (T > 0.0).astype(float)
    options: dict[str, Any] = {"loss": "cross_entropy", "l2": 0.01, "w0": net.init(3)}
    ours = fastbp.fit(net, X, t, optimizer="lm", **options)
    theirs = fastbp.fit(net, X, t, optimizer="bfgs", **options)
    assert ours.loss <= theirs.loss * (1 + 1e-6)
    y, std = ours.predict(X, return_std=True)
    assert ((y > 0) & (y < 1) & (std > 0)).all()


# ---- validation, early stopping, callbacks -------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_validation_returns_the_best(optimizer: Any) -> None:
    held = (X[:20], T[:20])
    seen = []

    def note(state: fastbp.FitState) -> None:
        seen.append(state.w.copy())

    result = fastbp.fit(
        NET, X[20:], T[20:], optimizer=optimizer, validation=held, epochs=30, callback=note
    )
    validation = result.history["validation_loss"]
    best = int(validation.argmin())
    assert result.validation_loss == validation[best]
    assert np.array_equal(result.w, seen[best])
    np.testing.assert_allclose(validation[best], NET.loss_and_grad(seen[best], *held)[0])
    np.testing.assert_allclose(result.loss, NET.loss_and_grad(result.w, X[20:], T[20:])[0])


def test_validation_share_and_weights() -> None:
    result = fastbp.fit(NET, X, T, sample_weight=C, validation=0.25, epochs=5)
    assert len(result.data.X) == 45
    assert result.validation_loss is not None
    other = fastbp.fit(NET, X, T, validation=(X, T, C), epochs=5)
    want = NET.loss_and_grad(other.w, X, T, sample_weight=C)[0]
    np.testing.assert_allclose(other.validation_loss, want)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("copied", [True, False])
def test_a_column_that_is_constant_where_it_is_fitted_may_vary_where_it_validates(
    copied: bool, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not copied:
        monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    held = np.column_stack([X[:30, :2], np.arange(30) % 3.0])
    both: list[Any] = [(X + np.array([2.0, 0.0, 0.0]), T), (held, T[:30])]
    if elsewhere:
        both = [(fastbp.Source.from_arrays(*of), None) for of in both]
    validation = both[1][0] if elsewhere else both[1]
    result = fastbp.fit(NET, *both[0], validation=validation, epochs=5)
    want = NET.loss_and_grad(result.w, held, T[:30])[0]
    np.testing.assert_allclose(result.validation_loss, want, rtol=1e-12)


def test_min_delta_is_for_the_patience_alone(tmp_path: Path) -> None:
    early = EarlyStopping(patience=10, min_delta=0.05)
    options: dict[str, Any] = {
        "optimizer": Adam(0.003),
        "epochs": 100,
        "validation": 0.3,
        "early_stopping": early,
    }
    result = fastbp.fit(NET, X, T, **options)
    losses = result.history["validation_loss"]
    assert result.validation_loss == losses.min() < losses[0]
    begun, waited = losses[0], 0
    for loss in losses[1:]:
        begun, waited = (loss, 0) if loss < begun - early.min_delta else (begun, waited + 1)
    # It stopped although there were new best ones: none of them by enough.
    assert (result.reason, waited) == ("early stopping", 10)
    assert losses[-10:].min() < losses[:-10].min()

    def die(state: fastbp.FitState) -> None:
        if state.step == len(losses) - 3:
            raise Killed

    path = tmp_path / "fit.npz"
    with pytest.raises(Killed):
        fastbp.fit(NET, X, T, checkpoint=path, callback=die, **options)
    same(fastbp.fit(NET, X, T, checkpoint=path, **options), result)


def test_patience() -> None:
    options: dict[str, Any] = {"optimizer": "adam", "validation": (X[:9], -T[:9]), "epochs": 100}
    result = fastbp.fit(NET, X, T, early_stopping=4, **options)
    validation = result.history["validation_loss"]
    assert result.reason == "early stopping"
    assert len(validation) == validation.argmin() + 5


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "bfgs", "tnc"])
def test_what_is_kept_by_validation_is_not_said_to_have_converged(
    capsys: pytest.CaptureFixture[str], optimizer: str
) -> None:
    """Unless it is what the last steps led to."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.uniform(-2.0, 2.0, 40), np.ones(40)])
    t = np.sin(2.0 * x[:, 0]) + 0.5 * rng.normal(size=40)
    net = fastbp.Network(2, 4, output="identity")
    options: dict[str, Any] = {"optimizer": optimizer, "epochs": 1000, "validation": (x, t)}
    result = fastbp.fit(net, x[:28], t[:28], l2=1e-3, progress=True, **options)
    least = int(result.history["validation_loss"].argmin()) + 1
    steps = len(result.history["loss"])
    assert not result.converged
    assert result.reason.startswith(f"validation: least after {least} of {steps} steps; then the")
    assert result.reason in capsys.readouterr().err  # and is shown as why it ended
    t = np.tanh(x[:, 0]) + 0.1 * rng.normal(size=40)
    net = fastbp.Network(2, 1, output="identity")
    options["validation"] = (x, t)
    assert fastbp.fit(net, x, t, seed=1, **options).converged  # judged by what it is fitted to


def test_last_steps_that_validate_worse_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where the last iteration was the best: `callback` has seen what it validates by."""
    told = methods.end_of_levenberg

    def worse(problem: Any, why: int, ftol: float) -> tuple[int, float | None]:
        why, loss = told(problem, why, ftol)
        if why:
            problem.w *= 1.5
            loss = problem.value()
        return why, loss

    monkeypatch.setattr(methods, "end_of_levenberg", worse)
    x = np.column_stack([np.linspace(-2.0, 2.0, 40), np.ones(40)])
    t = np.tanh(x[:, 0]) + 0.1 * np.cos(9.0 * x[:, 0])
    net, seen = fastbp.Network(2, 1, output="identity"), list[Any]()

    def note(state: fastbp.FitState) -> None:
        seen.append(state.validation_loss)

    result = fastbp.fit(net, x, t, seed=1, validation=(x, t), callback=note)
    n = len(seen)
    assert result.reason.startswith(f"validation: least after {n} of {n} steps; then the")
    assert result.validation_loss == min(seen) == result.history["validation_loss"].min()
    # The optimizer's columns are standardised.
    np.testing.assert_allclose(net.objective(x, t).value(result.w), min(seen), rtol=1e-12)


def test_target() -> None:
    for optimizer in OPTIMIZERS:
        result = fastbp.fit(
            NET, X, T, optimizer=optimizer, early_stopping=EarlyStopping(target=0.05), epochs=400
        )
        assert result.reason == "target reached"
        assert not result.converged
        *before, last = result.history["loss"]
        assert last <= 0.05 < min(before, default=1.0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_callback_stops(optimizer: Any) -> None:
    seen = []

    def callback(state: fastbp.FitState) -> bool:
        with pytest.raises(ValueError, match="read-only"):
            state.w[0] = 0.0
        seen.append((state.step, state.epochs, state.loss))
        return state.step == 3

    result = fastbp.fit(NET, X, T, optimizer=optimizer, callback=callback, epochs=9)
    assert result.reason == "stopped by the callback"
    assert [step for step, *_ in seen] == [1, 2, 3]
    assert [loss for *_, loss in seen] == result.history["loss"].tolist()


def test_a_callback_does_not_change_the_result() -> None:
    for optimizer in OPTIMIZERS:
        options: dict[str, Any] = {"optimizer": optimizer, "epochs": 12}
        watched = fastbp.fit(NET, X, T, callback=lambda state: None, **options)
        same(fastbp.fit(NET, X, T, **options), watched)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_keyboard_interrupt_returns_what_there_is(optimizer: Any) -> None:
    def interrupt(state: fastbp.FitState) -> None:
        if state.step == 4:
            raise KeyboardInterrupt

    result = fastbp.fit(NET, X, T, optimizer=optimizer, callback=interrupt, epochs=20)
    assert result.reason == "interrupted"
    assert len(result.history["loss"]) == 4
    np.testing.assert_allclose(result.loss, objective(result.w), rtol=1e-12)


@pytest.mark.skipif(os.name == "nt", reason="no signals to threads")
def test_a_real_ctrl_c() -> None:
    fastbp.fit(NET, X, T, optimizer="adam", epochs=1)
    thread = threading.Thread(target=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGINT)))
    # Shells start what runs in the background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        result = fastbp.fit(NET, X, T, optimizer="adam", epochs=10**8)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.reason == "interrupted"
    assert result.loss < objective(NET.init(0))


@pytest.mark.parametrize("optimizer", [SGD(1e6), SGD(1e6, momentum=0.9), Adam(1e200)])
@pytest.mark.parametrize("batch_size", [1, 8, 60])
def test_a_loss_that_is_no_longer_finite(optimizer: Any, batch_size: int) -> None:
    net = fastbp.Network(3, 5, activations="square", output="identity")
    with pytest.raises(NonFiniteLossError, match="no longer finite") as caught:
        fastbp.fit(net, X, T, optimizer=optimizer, epochs=500, batch_size=batch_size)
    error = caught.value
    assert np.isfinite(error.w).all()
    assert error.step == len(error.history["loss"])
    assert np.isfinite(error.history["loss"]).all()
    copy = pickle.loads(pickle.dumps(error))
    assert np.array_equal(copy.w, error.w)


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "adam", "BFGS", "SLSQP", "trust-ncg"])
def test_a_start_whose_gradient_alone_is_not_finite(optimizer: str) -> None:
    net = fastbp.Network(3, activations=[fastbp.activation(lambda z: np.sqrt(abs(z)))])
    inputs, w0 = X.copy(), np.ones(4)
    inputs[0] = 0.0  # where the slope is 1 / 0
    assert np.isfinite(net.loss_and_grad(w0, inputs, T)[0])
    with pytest.raises(NonFiniteLossError, match="at the start or in the first step") as caught:
        fastbp.fit(net, inputs, T, w0=w0, optimizer=optimizer, epochs=5)
    assert caught.value.step == 0 and (caught.value.w == w0).all()


def test_an_end_that_is_not_finite() -> None:
    """An epoch's loss is that before its updates: the last update can lead astray unseen."""

    def last(step: int, total: int) -> float:
        return 1e155 if step == total - 1 else 0.01

    for epochs in (1, 3):
        options: Any = {"optimizer": SGD(last), "batch_size": 60, "epochs": epochs}
        with pytest.raises(NonFiniteLossError) as caught:
            fastbp.fit(NET, X, T, w0=W0, **options)
        before = fastbp.fit(NET, X, T, w0=W0, **options | {"optimizer": SGD(0.01)})
        assert objective(caught.value.w) < np.inf
        assert len(before.history["loss"]) == epochs
        for validation in (None, 0.2):
            with pytest.raises(NonFiniteLossError) as caught:
                fastbp.fit(NET, X, T, w0=W0, validation=validation, **options)
            assert objective(caught.value.w) <= objective(W0)


def test_divergence_is_the_same_from_a_checkpoint(tmp_path: Path) -> None:
    options: Any = {"optimizer": SGD(40.0), "epochs": 100, "checkpoint": tmp_path / "c.npz"}
    errors = []
    for _ in range(3):
        with pytest.raises(NonFiniteLossError) as caught:
            fastbp.fit(fastbp.Network(3, 4, output="identity"), X, T, **options)
        errors.append(caught.value)
    net = fastbp.Network(3, 4, output="identity")
    assert net.loss_and_grad(errors[0].w, X, T)[0] < np.inf
    for error in errors[1:]:
        assert np.array_equal(error.w, errors[0].w) and error.step == errors[0].step


@pytest.mark.parametrize("optimizer", ["nelder-mead", "cobyla", "adam", "lm"])
def test_a_finished_fit_stays_as_it_is(optimizer: str, tmp_path: Path) -> None:
    first, again = (
        fastbp.fit(NET, X, T, optimizer=optimizer, epochs=30, checkpoint=tmp_path / "c.npz")
        for _ in range(2)
    )
    same(again, first)


def test_nothing_free_to_move() -> None:
    free = np.zeros(NET.n_params, bool)
    for optimizer in ("lbfgs", "trust-ncg", "dogleg", "lm", "adam"):
        result = fastbp.fit(NET, X, T, w0=W0, optimizer=optimizer, free=free, epochs=3)
        assert np.array_equal(result.w, W0)


@pytest.mark.parametrize("loss", ["squared", "huber", "pinball"])
def test_dogleg_in_float32(loss: str) -> None:
    net = fastbp.Network(3, 6, output="identity", dtype=np.float32)
    x, t = X.astype(np.float32), T.astype(np.float32)
    result = fastbp.fit(net, x, t, optimizer="dogleg", loss=loss, epochs=60)
    start = net.loss_and_grad(net.init(0), x, t, loss=loss)[0]
    assert "linalg" not in result.reason and result.loss < 0.5 * start


def test_what_was_best_survives_divergence() -> None:
    def late(step: int, total: int) -> float:
        return 0.05 if step < 30 else 1e4

    best: list[Any] = []
    with pytest.raises(NonFiniteLossError) as caught:
        fastbp.fit(
            NET, X, T, optimizer=SGD(late), batch_size=48, epochs=200, validation=0.2,
            callback=lambda state: best.append((state.validation_loss, state.w.copy())),
        )  # fmt: skip
    assert np.array_equal(caught.value.w, min(best, key=lambda pair: pair[0])[1])


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "nelder-mead", "sgd"])
def test_a_start_that_is_not_finite(optimizer: Any) -> None:
    net = fastbp.Network(3, 5, activations="exp", output="identity")
    w0 = np.full(net.n_params, 1e3)
    with pytest.raises(NonFiniteLossError) as caught:
        fastbp.fit(net, X, T, w0=w0, optimizer=optimizer)
    assert np.array_equal(caught.value.w, w0)


def test_zero_epochs() -> None:
    for optimizer in ("adam", "lm", "lbfgs"):
        result = fastbp.fit(NET, X, T, w0=W0, optimizer=optimizer, epochs=0)
        assert np.array_equal(result.w, W0)
        np.testing.assert_allclose(result.loss, objective(W0))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epochs": -1}, "epochs must be an integer"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"l2": -1.0}, "l2 must be"),
        ({"free": np.ones(3, bool)}, "free must be an array of 20 booleans"),
        ({"free": np.ones(20)}, "free must be an array of 20 booleans"),
        ({"validation": 1.5}, "hold out at least one"),
        ({"validation": X}, r"validation must be \(X, t\)"),
        ({"validation": (X, T[:3])}, "in validation: t must have shape"),
        ({"progress": "yes"}, "progress must be"),
        ({"optimizer": "magic"}, "unknown optimizer"),
        ({"w0": np.zeros(3)}, r"w0 must have shape \(20,\)"),
        ({"w0": np.full(20, np.inf)}, "w0 must be finite"),
        ({"early_stopping": 0}, "patience"),
        ({"early_stopping": 2.5}, "early_stopping must be a number of steps"),
        ({"early_stopping": True}, "early_stopping must be a number of steps"),
        ({"early_stopping": EarlyStopping, "optimizer": "lm"}, "early_stopping must be"),
        ({"sample_weight": -C}, "negative"),
        ({"threads": 0}, "threads must be"),
        ({"callback": 3, "epochs": 0}, "callback must be a function of a FitState; got 3"),
        ({"seed": -1}, "seed must be an integer from 0 on, .* got -1"),
        ({"seed": True}, "seed must be an integer from 0 on, .* got True"),
        ({"seed": np.array(2)}, r"seed must be an integer from 0 on, .* got array\(2\)"),
        ({"seed": "one", "w0": W0, "validation": 0.2}, "seed must be an integer .* got 'one'"),
        ({"l2": 10**400}, "l2 must be a number from 0 on"),
        ({"l2": True}, "l2 must be a number from 0 on; got True"),
        ({"epochs": True}, "epochs must be an integer from 0 on; got True"),
        ({"batch_size": True}, "batch_size must be a positive integer; got True"),
        ({"shuffle": "no"}, "shuffle must be True or False; got 'no'"),
        ({"absolute_sigma": "no"}, "absolute_sigma must be True or False; got 'no'"),
        ({"bounds": (0, 10**400)}, r"bounds \(high\) must be a number"),
        ({"l2": "auto", "folds": 2.5}, "folds must be a number, or hold .*; got 2.5"),
    ],
)
def test_refused(options: Any, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        fastbp.fit(NET, X, T, **options)


@pytest.mark.parametrize("given", ["low", np.nan, [0.1]])
@pytest.mark.parametrize("name", ["min_delta", "target"])
def test_early_stopping_refuses(name: str, given: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number .* got"):
        EarlyStopping(**{name: given})


def test_refuses_infinite_data() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        fastbp.fit(NET, X, np.where(T > 0, np.nan, T))


def test_threads_do_not_change_the_result() -> None:
    big = np.tile(X, (40, 1)), np.tile(T, 40)
    one, two = (
        fastbp.fit(NET, *big, optimizer="lbfgs", epochs=10, threads=threads) for threads in (1, 2)
    )
    same(one, two)


def test_result() -> None:
    result = fastbp.fit(NET, X, T, epochs=8)
    assert "FitResult: loss" in repr(result)
    assert result.predict(X[0]) == pytest.approx(NET(result.w, X[0]))
    copy = pickle.loads(pickle.dumps(result))
    same(copy, result)
    with pytest.raises(AttributeError):
        result.loss = 3.0  # type: ignore[misc]


def test_missing_scipy_is_explained() -> None:
    code = """
        import sys, numpy as np
        sys.modules["scipy"] = sys.modules["scipy.optimize"] = None
        import fastbp
        net = fastbp.Network(1, 1)
        try:
            fastbp.fit(net, np.ones((3, 1)), np.ones(3), optimizer="lbfgs")
        except ImportError as error:
            assert "fastbp[scipy]" in str(error)
        else:
            raise AssertionError
    """
    fresh_process("-c", textwrap.dedent(code))


# ---- checkpoints ---------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("validation", [None, 0.25])
def test_resumes_to_the_same_bits(optimizer: Any, validation: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "validation": validation,
        "early_stopping": None if validation is None else 50,
        "batch_size": 7,
        "epochs": 12,
        "seed": 3,
    }
    if optimizer in ("lbfgs", "bfgs"):
        options["epochs"] = 230  # three segments
    whole = fastbp.fit(NET, X, T, checkpoint=tmp_path / "whole.npz", **options)
    steps = len(whole.history["loss"])
    for stop in (1, steps // 2, steps - 1):
        path = tmp_path / f"{stop}.npz"

        def die(state: fastbp.FitState, stop: int = stop) -> None:
            if state.step == stop:
                raise Killed

        with pytest.raises(Killed):
            fastbp.fit(NET, X, T, checkpoint=path, callback=die, **options)
        same(fastbp.fit(NET, X, T, checkpoint=path, **options), whole)
        # Once more: the end is stored too.
        same(fastbp.fit(NET, X, T, checkpoint=path, **options), whole)
    assert not list(tmp_path.glob("*.tmp"))
    if not isinstance(optimizer, str):
        same(fastbp.fit(NET, X, T, **options), whole)


@pytest.mark.parametrize("optimizer", ["adam", "lm", "lbfgs"])
def test_what_a_callback_stopped_goes_on_without_it(optimizer: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "epochs": 130, "validation": 0.2}
    whole = fastbp.fit(NET, X, T, checkpoint=tmp_path / "whole.npz", **options)
    options |= {"checkpoint": tmp_path / "c.npz"}
    for _ in range(2):  # the second time it is there as it was
        stopped = fastbp.fit(NET, X, T, callback=lambda state: state.step == 100, **options)
        assert (stopped.reason, len(stopped.history["loss"])) == ("stopped by the callback", 100)
    same(fastbp.fit(NET, X, T, **options), whole)


@pytest.mark.parametrize("optimizer", [Adam(0.1), LevenbergMarquardt()])
def test_what_a_callback_stopped_where_it_was_due_to_end_has_ended(
    optimizer: Any, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "validation": 0.2, "early_stopping": 2}
    whole = fastbp.fit(NET, X, T, **options)
    last = len(whole.history["loss"])
    assert whole.reason == "early stopping"
    options |= {"checkpoint": tmp_path / "c.npz"}
    fastbp.fit(NET, X, T, callback=lambda state: state.step == last, **options)
    same(fastbp.fit(NET, X, T, **options), whole)


def test_checkpoint_after_ctrl_c(tmp_path: Path) -> None:
    def interrupt(state: fastbp.FitState) -> None:
        if state.step == 5:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"optimizer": "adam", "epochs": 9, "checkpoint": tmp_path / "c.npz"}
    assert fastbp.fit(NET, X, T, callback=interrupt, **options).reason == "interrupted"
    whole = fastbp.fit(NET, X, T, optimizer="adam", epochs=9)
    same(fastbp.fit(NET, X, T, **options), whole)


def test_ctrl_c_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written, opened = np.savez, [], list[Any]()

    def interrupted(*given: Any, **arrays: Any) -> None:
        written.append(0)
        if len(written) == 3:
            with zipfile.ZipFile(*given, "w") as file:
                opened[:] = file.open("w", "w"), file  # which NumPy has not closed yet
                raise KeyboardInterrupt
        write(*given, **arrays)

    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(np, "savez", interrupted)
    options: dict[str, Any] = {"optimizer": "adam", "epochs": 9, "checkpoint": tmp_path / "c.npz"}
    assert fastbp.fit(NET, X, T, **options).reason == "interrupted"
    for each in opened:  # which warns where it is collected first
        each.close()
    same(fastbp.fit(NET, X, T, **options), fastbp.fit(NET, X, T, optimizer="adam", epochs=9))


def test_schedules_of_checkpoints_are_told_apart_by_their_rates(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"

    def fit(optimizer: Any, **k: Any) -> fastbp.FitResult:
        return fastbp.fit(NET, X, T, optimizer=optimizer, epochs=3, checkpoint=path, **k)

    def rate(step: int, total: int, *, k: float) -> float:
        return k

    first = fit(SGD(functools.partial(rate, k=0.01), momentum=0.9))
    same(fit(SGD(lambda step, total: 0.01, momentum=0.9)), first)  # equal rates: the same fit
    for other in (
        SGD(lambda step, total: 0.01),
        SGD(functools.partial(rate, k=0.02), momentum=0.9),
        SGD(functools.partial(rate, k=0.01), momentum=0.9, nesterov=True),
        Adam(lambda step, total: 0.01),
    ):
        with pytest.raises(ValueError, match="belongs to a fit with other arguments"):
            fit(other)


def test_checkpoint_of_another_release_s_steps_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"optimizer": LevenbergMarquardt(start=0.1), "epochs": 4}
    options["checkpoint"] = tmp_path / "fit.npz"
    with monkeypatch.context() as before:
        before.setattr("fastbp._training.checkpoint._REVISIONS", {})  # as 0.1.0 made them
        fastbp.fit(NET, X, T, **options)
    with pytest.raises(ValueError, match="other arguments or data, or of a release whose"):
        fastbp.fit(NET, X, T, **options)


def test_checkpoint_that_can_not_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, match in ((tmp_path / "none" / "fit.npz", "there is no"), (tmp_path, "is a folder")):
        with pytest.raises(ValueError, match=match):
            fastbp.fit(NET, X, T, callback=pytest.fail, checkpoint=path)
    with pytest.raises(ValueError, match="needs a seed"):
        fastbp.fit(NET, X, T, seed=None, checkpoint=tmp_path / "fit.npz")
    may = os.access  # who runs tests as root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, *how: path != tmp_path and may(path, *how))
    with pytest.raises(ValueError, match="nothing may be written to"):
        fastbp.fit(NET, X, T, callback=pytest.fail, checkpoint=tmp_path / "fit.npz")
    (tmp_path / "there").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "there" / "fit.npz")
    fastbp.fit(NET, X, T, epochs=1, checkpoint=tmp_path / "link.npz")
    assert (tmp_path / "there" / "fit.npz").exists()


def test_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    fastbp.fit(NET, X, T, optimizer="adam", epochs=2, checkpoint=path)
    others: list[dict[str, Any]] = [
        {"optimizer": "sgd"},
        {"epochs": 1},
        {"seed": 1},
        {"l2": 0.1},
        {"sample_weight": C},
        {"batch_size": 3},
        {"validation": 0.5},
    ]
    for other in others:
        with pytest.raises(ValueError, match="other arguments or data"):
            fastbp.fit(NET, X, T, checkpoint=path, **{"optimizer": "adam", "epochs": 2, **other})
    with pytest.raises(ValueError, match="other arguments or data"):
        fastbp.fit(NET, X, T + 1.0, optimizer="adam", epochs=2, checkpoint=path)
    model = tmp_path / "model.npz"
    fastbp.save(model, NET, W0)
    with pytest.raises(ValueError, match="other arguments or data"):
        fastbp.fit(NET, X, T, optimizer="adam", epochs=2, checkpoint=model)
    with np.load(path) as file:
        kept = dict(file)
    for name in set(kept) - {"header"}:  # as where its directory is damaged
        np.savez(path, **{each: array for each, array in kept.items() if each != name})
        with pytest.raises(ValueError, match=f"is not a checkpoint.*expected.*{name}"):
            fastbp.fit(NET, X, T, optimizer="adam", epochs=2, checkpoint=path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="is not a checkpoint"):
        fastbp.fit(NET, X, T, optimizer="adam", epochs=2, checkpoint=path)


@pytest.mark.parametrize("optimizer", ["adam", SGD(0.02, momentum=0.9), "lm", AdamW(0.01), "lbfgs"])
def test_more_epochs_go_on_from_a_checkpoint(optimizer: Any, tmp_path: Path) -> None:
    def fit(epochs: int, path: Path | None, **others: Any) -> fastbp.FitResult:
        return fastbp.fit(
            NET, X, T, optimizer=optimizer, epochs=epochs, validation=0.2, checkpoint=path, **others
        )

    few, many = (100, 230) if optimizer == "lbfgs" else (3, 11)  # its memory ends every 100
    whole = fit(many, tmp_path / "whole.npz")
    path = tmp_path / "c.npz"
    fit(few, path)
    seen: list[int] = []
    same(fit(many, path, callback=lambda state: seen.append(state.step)), whole)
    assert seen[0] == few + 1
    with pytest.raises(ValueError, match="other arguments or data"):
        fit(few, path)


def test_more_epochs_of_a_schedule(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    options: dict[str, Any] = {"checkpoint": path}
    fastbp.fit(NET, X, T, optimizer=Adam(Cosine(0.01)), epochs=3, **options)
    with pytest.raises(ValueError, match="learning rates depend on that number"):
        fastbp.fit(NET, X, T, optimizer=Adam(Cosine(0.01)), epochs=4, **options)
    path.unlink()
    decay = Adam(lambda step, total: 0.01 / (1 + step))
    fastbp.fit(NET, X, T, optimizer=decay, epochs=3, **options)
    same(
        fastbp.fit(NET, X, T, optimizer=decay, epochs=5, **options),
        fastbp.fit(NET, X, T, optimizer=decay, epochs=5),
    )


def test_the_start_is_a_candidate_for_the_best() -> None:
    for epochs in (0, 5):
        result = fastbp.fit(
            NET, X, T, w0=W0, optimizer=SGD(0.1), epochs=epochs, validation=(X, NET(W0, X))
        )
        assert result.validation_loss == 0.0
        assert np.array_equal(result.w, W0)
        assert len(result.history["validation_loss"]) == epochs


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_callback_may_raise_stop_iteration(optimizer: Any) -> None:
    def stop(state: fastbp.FitState) -> None:
        if state.step == 3:
            raise StopIteration

    result = fastbp.fit(NET, X, T, optimizer=optimizer, callback=stop)
    assert (result.reason, len(result.history["loss"])) == ("stopped by the callback", 3)


def test_what_has_no_weight_is_not_shared_out() -> None:
    c = np.zeros(60)
    c[:10] = 1.0
    for share in (0.1, 0.9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastbp.FitWarning)
            got, want = (
                fastbp.fit(NET, X[:n], T[:n], sample_weight=c[:n], validation=share)
                for n in (60, 10)
            )
        same(got, want)
    with pytest.raises(ValueError, match="at least one of 1 observations"):
        fastbp.fit(NET, X, T, sample_weight=np.eye(1, 60)[0], validation=0.5)


def test_folds_of_what_weighs() -> None:
    c = np.repeat([1.0, 0.0, 1.0], 20)
    fits = fastbp.fit_many(NET, X, T, seeds=1, folds=4, sample_weight=c, epochs=5, threads=1)
    assert sorted(np.concatenate(fits.folds)) == np.flatnonzero(c).tolist()
    assert np.isfinite(fits.held_out_losses).all()
    with pytest.raises(ValueError, match=r"fold 1 must hold observations .* a weight"):
        fastbp.fit_many(NET, X, T, folds=[np.arange(20), np.arange(20, 40)], sample_weight=c)
    for result in fastbp.fit_many(NET, X, T, seeds=3, bootstrap=True, sample_weight=c, epochs=5):
        assert result.data.sample_weight is not None
        assert result.data.sample_weight.all()


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    """A checkpoint is there and whole at whatever moment the process ends."""
    path = tmp_path / "c.npz"
    code = f"""
        import itertools, time
        import numpy as np, fastbp
        hours = itertools.count(0.0, 3600.0)
        time.monotonic = lambda: next(hours)  # it is always time to write
        X = np.random.default_rng(0).normal(size=(60, 3))
        net = fastbp.Network(3, 5)
        options = dict(optimizer="adam", epochs=10**7, checkpoint={str(path)!r})
        fastbp.fit(net, X, np.tanh(X[:, 0]), **options)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    deadline = time.monotonic() + 120.0
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.wait()
    with np.load(path) as file:
        assert len(file["losses"]) > 0


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("optimizer", [None, "adam", "lbfgs", TRUST_EXACT, "nelder-mead"])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_what_has_no_weight_may_be_beyond_all_numbers(optimizer: Any, loss: str) -> None:
    x = np.linspace(-1.0, 1.0, 30)
    net = fastbp.Network(2, 3, activations="square", output="identity")
    w0, ends = net.init(seed=0), []
    for far in (0.0, 1e160):  # of which no square is a number
        X, t, c = np.column_stack([x, np.ones(30)]), np.exp(2.0 * x), np.ones(30)
        X[7, 0], t[:5], c[:8] = far, far, 0.0
        ends.append(
            fastbp.fit(
                net, X, t, sample_weight=c, w0=w0, loss=loss, optimizer=optimizer, epochs=20,
                validation=(X, t, c),
            )
        )  # fmt: skip
    near, away = ends
    np.testing.assert_allclose(away.w, near.w, rtol=1e-6)
    np.testing.assert_allclose(away.loss, near.loss, rtol=1e-12)
    np.testing.assert_allclose(away.validation_loss, near.validation_loss, rtol=1e-12)
    got, want = away.report(), near.report()
    assert got.n_observations == want.n_observations == 22
    assert got.warnings == want.warnings
    np.testing.assert_allclose(got.log_likelihood, want.log_likelihood, rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_of_second_order_leave_out_what_has_no_weight(threads: int) -> None:
    rng = np.random.default_rng(0)
    X, c, histories = (
        np.column_stack([rng.normal(size=(1100, 2)), np.ones(1100)]),
        np.ones(1100),
        [],
    )
    t, c[::9] = np.sin(3.0 * X[:, 0]) * X[:, 1], 0.0
    net = fastbp.Network(3, activations=["tanh"] * 19 + ["square"], output="identity")
    for far in (1.0, 1e200):
        X[::9, 0] = far
        given: dict[str, Any] = {"sample_weight": c, "epochs": 30, "threads": threads}
        histories.append(fastbp.fit(net, X, t, w0=net.init(seed=2), **given).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-6)


# ---- many at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [None, "adam", "lbfgs"])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_are_the_same_as_alone(optimizer: Any, threads: int) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "epochs": 20, "l2": 1e-3}
    fits = fastbp.fit_many(NET, X, T, seeds=[3, 1, 8], sample_weight=C, threads=threads, **options)
    assert fits.seeds == (3, 1, 8)
    for seed, result in zip(fits.seeds, fits, strict=True):
        same(result, fastbp.fit(NET, X, T, seed=seed, sample_weight=C, **options))
    assert fits.best.loss == fits.losses.min()
    assert len(fits) == 3
    assert fits[0] is next(iter(fits))
    assert fits.index(fits[2]) == 2 and fits.count(fits[1]) == 1 and len(set(fits)) == 3
    assert "3 results" in repr(fits)


def test_folds() -> None:
    fits = fastbp.fit_many(NET, X, T, seeds=2, folds=3, epochs=15, threads=2)
    assert len(fits) == 6
    assert np.array_equal(np.sort(np.concatenate(fits.folds[:3])), np.arange(60))
    for k, (seed, held, result) in enumerate(zip(fits.seeds, fits.folds, fits, strict=True)):
        rest = np.setdiff1d(np.arange(60), held)
        same(result, fastbp.fit(NET, X[rest], T[rest], seed=seed, epochs=15))
        want = NET.loss_and_grad(result.w, X[held], T[held])[0]
        np.testing.assert_allclose(fits.held_out_losses[k], want)
    assert fits.best is fits[int(fits.held_out_losses.argmin())]
    given = fastbp.fit_many(NET, X, T, seeds=2, folds=fits.folds[:3], epochs=15)
    same(given[4], fits[4])


@pytest.mark.parametrize(
    "options",
    [
        {"folds": 3},
        {"folds": [(np.arange(40), np.arange(40, 60))], "validation": 0.2},
        {"bootstrap": True},
        {"bootstrap": True, "validation": 0.3, "sample_weight": np.arange(60) % 5.0},
    ],
    ids=str,
)
def test_of_many_rows_none_are_copied(monkeypatch: pytest.MonkeyPatch, options: Any) -> None:
    want = fastbp.fit_many(NET, X, T, seeds=2, epochs=5, **options)
    monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    monkeypatch.setattr(many, "_DRAWN", 7)
    got = fastbp.fit_many(NET, X, T, seeds=2, epochs=5, **options)
    for one, other in zip(got, want, strict=True):
        same(one, other)
        assert one.data.X is X
    np.testing.assert_array_equal(got.held_out_losses, want.held_out_losses)


@pytest.mark.parametrize("c", [None, C])
def test_what_validates_a_member_is_not_fitted_by_it(c: Any) -> None:
    options: dict[str, Any] = {"optimizer": "adam", "epochs": 15, "early_stopping": 20}
    fits = fastbp.fit_many(
        NET, X, T, seeds=3, bootstrap=True, validation=0.3, sample_weight=c, **options
    )
    for seed in range(3):
        order = np.random.default_rng([seed, 2]).permutation(60)  # the split is that of `fit`
        held, left = order[:18], np.sort(order[18:])
        rows = left[np.random.default_rng([seed, 3]).integers(0, 42, 42)]
        assert not np.intersect1d(rows, held).size
        weights = (None, None) if c is None else (c[rows], c[held])
        alone = fastbp.fit(
            NET,
            X[rows],
            T[rows],
            seed=seed,
            validation=(X[held], T[held], weights[1]),
            sample_weight=weights[0],
            **options,
        )
        same(fits[seed], alone)
    with pytest.raises(ValueError, match=r"of 60 observations and not all; got the share 1\.0"):
        fastbp.fit_many(NET, X, T, bootstrap=True, validation=1.0)


def test_ensemble() -> None:
    fits = fastbp.fit_many(NET, X, T, seeds=5, bootstrap=True, epochs=15)
    rows = np.random.default_rng([2, 3]).integers(0, 60, 60)
    same(fits[2], fastbp.fit(NET, X[rows], T[rows], seed=2, epochs=15))
    values = np.array([NET(result.w, X) for result in fits])
    mean, std = fits.predict(X, return_std=True)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(std, values.std(axis=0, ddof=1))
    assert isinstance(fits.predict(X[0]), float)
    assert (fits.predict(X, return_std=True, noise=True)[1] > std).all()
    with pytest.raises(ValueError, match="at least two members"):
        fastbp.fit_many(NET, X, T, seeds=1, epochs=3).predict(X, return_std=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seeds": 0}, "seeds"),
        ({"seeds": 1.5}, r"seeds must be a number, or integers; got 1\.5"),
        ({"seeds": [1, 1.5]}, r"seeds must be a number, or integers; got 1\.5"),
        ({"seeds": "12"}, "seeds must be a number, or integers; got '1'"),
        ({"seeds": [-1]}, "seed must be an integer from 0 on"),
        ({"net": None}, "net must be a Network; got None"),
        ({"folds": 1}, "folds"),
        ({"folds": [np.arange(60)]}, "leave some"),
        ({"folds": [[0.5, 1.7], [3]]}, "indices of observations or a mask"),
        ({"folds": [np.ones(59, bool)]}, "a mask of 60 booleans"),
        ({"folds": [(np.arange(60) < 20).astype(np.uint8)]}, "got 60 numbers 0 and 1, which"),
        ({"folds": [(np.arange(60), [0, 1] * 30)]}, "got 60 numbers 0 and 1, which"),
        ({"folds": [[range(40), range(40, 60)]]}, r"or a tuple \(train, test\) of two such"),
        ({"folds": [[1, 60]]}, "a fold holds observation 60; there are 60"),
        ({"folds": []}, "got none"),
        ({"folds": [(np.arange(60), np.arange(5))]}, "must not share observations"),
        ({"folds": 2, "bootstrap": True}, "exclude"),
        ({"bootstrap": "no"}, "bootstrap must be True or False; got 'no'"),
        ({"checkpoint": "x"}, "does not take checkpoint"),
        ({"seed": 1}, "does not take seed"),
        ({"optimizer": "magic"}, "unknown optimizer"),
    ],
)
def test_many_refuse(options: Any, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        fastbp.fit_many(**{"net": NET, "X": X, "t": T, **options})


def test_a_fold_whose_loss_is_no_number_is_not_the_best() -> None:
    far = X.copy()
    far[7, 0] = 1e200
    net = fastbp.Network(3, activations=["square", "square", "one"], output="identity")
    folds = [(np.arange(20, 40), np.arange(10)), (np.arange(20, 40), np.arange(40, 60))]
    fits = fastbp.fit_many(net, far, T, seeds=1, folds=folds)
    assert np.isnan(fits.held_out_losses).tolist() == [True, False]
    assert fits.best is fits[1]


def test_folds_as_masks_and_as_pairs() -> None:
    mask = np.arange(60) < 20
    want = fastbp.fit_many(NET, X, T, seeds=1, folds=[np.arange(20), np.arange(20, 60)], epochs=9)
    for folds in (
        [mask, ~mask],
        ((np.flatnonzero(~held), np.flatnonzero(held)) for held in (mask, ~mask)),
    ):
        got = fastbp.fit_many(NET, X, T, seeds=1, folds=folds, epochs=9)
        for a, b in zip(got, want, strict=True):
            same(a, b)
        assert np.array_equal(got.held_out_losses, want.held_out_losses)


def test_diverged_fits_are_left_out_and_named() -> None:
    """Of restarts, those that go astray cost the others nothing."""

    def options(**k: Any) -> Any:
        return {"optimizer": SGD(lambda step, total: 0.01), "epochs": 5, "threads": 2, **k}

    alone = [fastbp.fit(NET, X, T, seed=s, optimizer=SGD(0.01), epochs=5) for s in range(4)]
    calls: list[int] = []

    def init(self: Any, seed: Any) -> Any:
        calls.append(seed)
        return np.full(self.n_params, 1e200) if seed in (1, 3) else start(self, seed)

    start = fastbp.Network.init
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastbp.Network, "init", init)
        with pytest.warns(RuntimeWarning, match=r"2 of 4 fits .* \(seeds 1, 3\)"):
            fits = fastbp.fit_many(NET, X, T, seeds=4, **options())
        with pytest.raises(NonFiniteLossError):
            fastbp.fit_many(NET, X, T, seeds=[1, 3], **options())
        with pytest.warns(RuntimeWarning, match=r"seeds 3, 3"):
            folds = fastbp.fit_many(NET, X, T, seeds=[0, 3], folds=2, **options())
    assert fits.seeds == (0, 2) and [seed for seed, _ in fits.failures] == [1, 3]
    assert all(isinstance(error, NonFiniteLossError) for _, error in fits.failures)
    for got, k in zip(fits, (0, 2), strict=True):
        assert np.array_equal(got.w, alone[k].w)
    assert folds.seeds == (0, 0) and len(folds.folds) == len(folds.held_out_losses) == 2
    assert pickle.loads(pickle.dumps(fits)).failures[0][0] == 1


def test_many_stop_at_an_error() -> None:
    def fail(state: fastbp.FitState) -> None:
        if state.step == 2:
            raise RuntimeError("planned")

    with pytest.raises(RuntimeError, match="planned"):
        fastbp.fit_many(NET, X, T, seeds=4, callback=fail)


# ---- uncertainty ---------------------------------------------------------------------------------


def test_delta_method_is_exact_for_a_linear_model() -> None:
    """Ordinary least squares: y ± t s √(x^T (X^T X)⁻¹ x), and ridge with its sandwich."""
    net = fastbp.Network(3, 1, activations="identity", output="identity")
    free = np.array([False, True, True, True])
    w0 = np.array([1.0, 0.0, 0.0, 0.0])
    for l2 in (0.0, 0.02):
        result = fastbp.fit(net, X, T, w0=w0, free=free, l2=l2)
        A = X.T @ X + 60 * l2 * np.eye(3)
        inverse = np.linalg.inv(A)
        b = inverse @ X.T @ T
        np.testing.assert_allclose(result.w[1:], b, rtol=1e-6)
        s2 = ((T - X @ b) ** 2).sum() / (60 - np.trace(inverse @ X.T @ X))
        cov = s2 * inverse @ X.T @ X @ inverse
        np.testing.assert_allclose(result.covariance[1:, 1:], cov, rtol=1e-6)
        assert not result.covariance[0].any()
        y, std = result.predict(X[:7], return_std=True)
        np.testing.assert_allclose(std, np.sqrt(((X[:7] @ cov) * X[:7]).sum(axis=1)), rtol=1e-6)
        np.testing.assert_allclose(y, X[:7] @ b, rtol=1e-6)
        noisy = result.predict(X[:7], return_std=True, noise=True)[1]
        np.testing.assert_allclose(noisy, np.sqrt(std**2 + s2), rtol=1e-6)
        one = result.predict(X[0], return_std=True)
        assert one == (pytest.approx(y[0]), pytest.approx(std[0]))


def test_robust_losses_have_a_sandwich() -> None:
    net = fastbp.Network(3, 1, activations="identity", output="identity")
    free, w0 = np.array([False, True, True, True]), np.array([1.0, 0.0, 0.0, 0.0])
    result = fastbp.fit(net, X, T, w0=w0, free=free, loss="log_cosh")
    r = X @ result.w[1:] - T
    A = (X / np.cosh(r)[:, None] ** 2).T @ X
    S = (X * np.tanh(r)[:, None] ** 2).T @ X
    want = np.linalg.solve(A, np.linalg.solve(A, S).T)
    np.testing.assert_allclose(result.covariance[1:, 1:], want, rtol=1e-5)
    with pytest.raises(ValueError, match="noise=True needs the squared loss"):
        result.predict(X, return_std=True, noise=True)


def test_likelihoods_have_the_inverse_information() -> None:
    net = fastbp.Network(3, 1, activations="identity", output="logistic")
    free, w0 = np.array([False, True, True, True]), np.array([1.0, 0.0, 0.0, 0.0])
    t = (T + 0.8 * np.random.default_rng(3).standard_normal(60) > 0.0).astype(float)
    result = fastbp.fit(net, X, t, w0=w0, free=free, loss="cross_entropy", optimizer="lm")
    y = result.predict(X)
    information = (X * (y * (1 - y))[:, None]).T @ X
    np.testing.assert_allclose(result.covariance[1:, 1:], np.linalg.inv(information), rtol=1e-5)


def test_observations_without_weight_are_none() -> None:
    c = np.where(np.arange(60) < 40, C, 0.0)
    some = fastbp.fit(NET, X[:40], T[:40], sample_weight=C[:40], l2=1e-3)
    result = fastbp.fit(NET, X, T, w0=some.w, sample_weight=c, l2=1e-3)
    for noise in (False, True):
        want = some.predict(X, return_std=True, noise=noise)[1]
        got = result.predict(X, return_std=True, noise=noise)[1]
        np.testing.assert_allclose(got, want, rtol=1e-4)


def test_a_direction_without_data_does_not_matter() -> None:
    """A dead neuron makes the matrix singular; predictions at the data stay as they are."""
    net = fastbp.Network(3, activations=["tanh", "one"], output="identity")
    result = fastbp.fit(net, X, T, seed=1)
    std = result.predict(X, return_std=True)[1]
    assert np.isfinite(std).all()
    assert (std < 0.2).all()


@pytest.mark.parametrize("noise", [False, True])
def test_intervals_of_90_percent_cover_90_percent(noise: bool) -> None:
    """Fresh data 200 times; at each of 20 places, the function (or a new value) is inside."""
    rng = np.random.default_rng(11)
    net = fastbp.Network(2, activations=["tanh", "tanh", "one"], output="identity")
    x = np.column_stack([np.linspace(-2.0, 2.0, 150), np.ones(150)])
    truth = net.init(0)
    truth[:] = [1.0, -0.8, 0.3, 2.0, 0.5, 1.0, -1.0, 0.0, 0.0]
    f = net(truth, x)
    places = np.column_stack([rng.uniform(-1.8, 1.8, 20), np.ones(20)])
    f_places = net(truth, places)
    inside = []
    for _ in range(200):
        result = fastbp.fit(net, x, f + 0.2 * rng.standard_normal(150), w0=truth)
        y, std = result.predict(places, return_std=True, noise=noise)
        value = f_places + (0.2 * rng.standard_normal(20) if noise else 0.0)
        inside.append((np.abs(value - y) <= 1.645 * std).mean())
    rate, error = np.mean(inside), np.std(inside) / np.sqrt(len(inside))
    assert abs(rate - 0.9) < 3.0 * error + 0.01


def test_the_deviation_at_no_number_is_none() -> None:
    """Not infinite, with a warning that the data do not determine it."""
    y, std = fastbp.fit(NET, X, T, l2=1e-3).predict([[np.nan, 0.0, 1.0], X[0]], return_std=True)
    assert (np.isnan(y).tolist(), np.isnan(std).tolist()) == ([True, False], [True, False])


@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_stochastic_fits_are_the_same_in_any_units(optimizer, K):
    rng = np.random.default_rng(5)
    X = np.column_stack([rng.uniform(-1.0, 1.0, (90, 2)), np.ones(90)])
    t = np.column_stack([np.sin(2.0 * X[:, 0]) + 1.0, X[:, 1] ** 2])[:, 2 - K :].squeeze()
    net = fastbp.Network(3, activations=["tanh"] * 4 + ["one"], output="identity", n_outputs=K)
    for options in ({}, {"validation": 0.2}):
        options = options | {"optimizer": optimizer, "epochs": 8, "seed": 1}
        plain = fastbp.fit(net, X, t, **options)
        assert plain.loss < plain.history["loss"][0]
        for column, unit in ((1e6, 1.0), (1e-6, 1.0), (1.0, 1e12), (1.0, 1e-12), (1e3, 1e-12)):
            units = np.array([column, 1.0, 1.0])
            other = fastbp.fit(net, X * units, t * unit, **options)
            got = other.predict(X * units) / unit
            np.testing.assert_allclose(got, plain.predict(X), rtol=1e-9, atol=1e-9)
            losses = other.history["loss"] / unit**2
            np.testing.assert_allclose(losses, plain.history["loss"], rtol=1e-9)
            np.testing.assert_allclose(other.loss / unit**2, plain.loss, rtol=1e-9)
            if other.validation_loss is not None:
                validation = other.validation_loss / unit**2
                np.testing.assert_allclose(validation, plain.validation_loss, rtol=1e-9)


def test_what_is_not_free_keeps_its_bits_in_units_of_targets():
    net, X = fastbp.Network(2, 3, output="identity"), np.random.default_rng(5).normal(size=(40, 2))
    free = np.arange(net.n_params) > 0
    starts = [
        fastbp.fit(net, X, 7.0 * X[:, 0], optimizer="adam", free=free, epochs=n, seed=0).w[0]
        for n in (0, 3)
    ]
    assert starts[0] == starts[1]


def test_the_loss_of_a_step_is_that_of_its_parameters_also_where_levenberg_begins_again():
    X, t, _ = load_diabetes()
    X, t = (X - X.mean(axis=0)) / X.std(axis=0), (t - t.mean()) / t.std()
    X = np.column_stack([X, np.ones(len(t))])[:331]
    net = fastbp.Network(11, activations=["tanh"] * 16 + ["one"], output="identity")
    # Biases without a penalty, beside a constant neuron: a valley in which the first run stalls.
    l2, free, w0 = np.full(net.n_params, 0.02), np.ones(net.n_params, bool), net.init(0)
    for part, value in ((l2, 0.0), (free, False), (w0, 0.0)):
        a, W = net.split(part)
        W[-1] = value
        if part is l2:
            a[-1] = W[:, -1] = 0.0
    objective = net.objective(X, t[:331], l2=l2)
    seen = []
    result = fastbp.fit(
        net, X, t[:331], w0=w0, l2=l2, free=free, epochs=1000,
        callback=lambda state: seen.append((state.loss, objective.value(state.w))),
    )  # fmt: skip
    stated, found = np.transpose(seen)
    np.testing.assert_allclose(stated, found, rtol=1e-12)
    assert np.diff(stated).max() > 0.1, "it has not begun again"
    assert result.history["loss"][-1] == pytest.approx(result.loss, rel=1e-14)
    assert result.loss == stated.min()
