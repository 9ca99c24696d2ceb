"""SciPy's methods at work on a fit: units, why they end, and what they count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy

import fastbp
from fastbp.optimizers import LBFGS, Minimize

RNG = np.random.default_rng(3)
X = np.column_stack([RNG.uniform(-1.0, 1.0, (60, 2)), np.ones(60)])
T = np.tanh(2.0 * X[:, 0] - 0.5) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(60)
NET = fastbp.Network(3, activations=["tanh", "tanh", "one"], output="identity")
H = NET.n_neurons
FREE = np.ones(NET.n_params, bool)
FREE[-3:] = False
W0 = np.where(FREE, NET.init(0), 0.0)

GRADIENT = ("lm", "lbfgs", "BFGS", "CG", "Newton-CG", "TNC", "SLSQP", "trust-ncg")


def fitted(optimizer: Any, columns: float = 1.0, targets: float = 1.0, **options: Any) -> Any:
    """Fit in other units, from the same start; also returns predictions in ours."""
    units = np.array([columns, 1.0, np.sqrt(columns)])
    w0 = W0.copy()
    w0[:H] *= targets
    w0[H:] = (W0[H:].reshape(H, 3) / units).ravel()
    options = {"w0": w0, "free": FREE, "epochs": 3000} | options
    result = fastbp.fit(NET, X * units, T * targets, optimizer=optimizer, **options)
    return result, result.predict(X * units) / targets


@pytest.mark.parametrize("optimizer", GRADIENT)
def test_units_change_nothing(optimizer: str) -> None:
    plain, y = fitted(optimizer)
    assert plain.converged
    for columns, targets in ((1e6, 1.0), (1e-6, 1.0), (1.0, 1e12), (1.0, 1e-12), (1e6, 1e-12)):
        result, other = fitted(optimizer, columns, targets)
        assert result.converged, result.reason
        np.testing.assert_allclose(result.loss / targets**2, plain.loss, rtol=1e-10)
        np.testing.assert_allclose(other, y, atol=1e-6)


@pytest.mark.parametrize("optimizer", GRADIENT)
def test_units_of_powers_of_two_leave_the_bits(optimizer: str) -> None:
    """There rounding is the same, so whatever differs was compared in some units."""
    l2 = np.full(NET.n_params, 1e-3)
    plain, y = fitted(optimizer, l2=l2)
    for columns, targets in ((2.0**30, 1.0), (2.0**-30, 1.0), (1.0, 2.0**30), (2.0**20, 2.0**-30)):
        of_W = np.tile([columns**2, 1.0, columns], H) * targets**2
        each = l2 * np.concatenate([np.ones(H), of_W])
        result, other = fitted(optimizer, columns, targets, l2=each)
        np.testing.assert_array_equal(other, y)
        assert (result.loss / targets**2, result.reason) == (plain.loss, plain.reason)
        assert len(result.history["loss"]) == len(plain.history["loss"])


@pytest.mark.parametrize("targets", [1e-10, 1e6, 1e12])
def test_newton_cg_does_not_creep(targets: float) -> None:
    """Its last steps are of steepest descent: by chance of rounding thousands, by 1e-14 each."""
    result = fitted("Newton-CG", 1.0, targets)[0]
    assert result.converged
    assert len(result.history["loss"]) < 600


@pytest.mark.parametrize("start", ["given", "left out"])
def test_newton_cg_arrives_at_the_end_of_a_flat_valley(start: str) -> None:
    """Where it takes the loss for flat, a step of Newton's still lowers it by 1e-7 of it."""
    rng = np.random.default_rng(4)
    B, N, H = (int(rng.integers(*ends)) for ends in ((30, 120), (2, 5), (2, 5)))
    x = np.column_stack([rng.standard_normal((B, N - 1)), np.ones(B)])
    t = np.tanh(x @ rng.standard_normal(N)) + 0.3 * x[:, 0] + 0.1 * rng.standard_normal(B)
    net = fastbp.Network(N, H, activations=["tanh"] * (H - 1) + ["one"], output="identity")
    free = np.arange(net.n_params) < net.n_params - N
    found = []
    for unit in (1.0, 1e-12, 1e12):
        w0 = np.where(free, net.init(4), 0.0) * np.repeat([unit, 1.0], [H, H * N])
        options = {"w0": w0} if start == "given" else {"seed": 4}
        result = fastbp.fit(net, x, t * unit, optimizer="Newton-CG", free=free, **options)
        assert result.converged
        found.append(result.predict(x) / unit)
    np.testing.assert_allclose(found, found[:1] * 3, atol=1e-6)


def test_what_trust_krylov_claims_holds() -> None:
    """It is not repeatable, SciPy's own fault: it may take all epochs, and then says so."""
    plain = fitted("trust-ncg")[0]
    for columns, targets in ((1.0, 1.0), (1e6, 1.0), (1.0, 1e-12)):
        result = fitted("trust-krylov", columns, targets)[0]
        assert result.converged or result.reason == "all epochs done"
        if result.converged:
            np.testing.assert_allclose(result.loss / targets**2, plain.loss, rtol=1e-10)


def test_all_methods_arrive_at_one_minimum() -> None:
    losses = [fitted(optimizer)[0].loss for optimizer in GRADIENT]
    np.testing.assert_allclose(losses[1:], losses[1], rtol=1e-11)
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)  # its ftol


@pytest.mark.parametrize("optimizer", ["lbfgs", "BFGS", "Nelder-Mead"])
def test_a_start_without_gradient_is_said(optimizer: str) -> None:
    net = fastbp.Network(3, 4, output="identity")
    result = fastbp.fit(net, X, T, w0=np.zeros(net.n_params), optimizer=optimizer)
    assert result.reason.startswith("saddle")
    assert not result.converged
    assert not result.w.any()


@pytest.mark.parametrize("version", ["1.13.0", "1.16.3", "1.17.0", "1.20.1", "2.0.0rc1"])
def test_trust_exact_is_refused_where_it_may_not_end(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scipy, "__version__", version)
    options: dict[str, Any] = {"optimizer": "trust-exact", "epochs": 0}
    if version < "1.17":
        with pytest.raises(ImportError, match=f"needs SciPy 1.17 or newer.*got {version}"):
            fastbp.fit(NET, X, T, **options)
    else:
        fastbp.fit(NET, X, T, **options)


def test_a_perfect_start_has_converged() -> None:
    result = fastbp.fit(NET, X, NET(W0, X), w0=W0, optimizer="lbfgs")
    assert result.converged
    assert np.array_equal(result.w, W0)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")  # of so far a start
@pytest.mark.parametrize("margin", [340.0, 380.0, 700.0, 800.0])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_classes_beyond_all_doubt_have_converged(n_outputs: int, margin: float) -> None:
    """Curvatures of e^-margin, squared, are next to nothing, and nothing from 800 on."""
    net = fastbp.Network(
        1, 2, n_outputs=n_outputs, output="softmax" if n_outputs == 2 else "logistic"
    )
    columns, classes = np.array([[-1.0], [1.0]]), np.array([0, 1])
    A = np.array([[-0.25], [0.25]]) if n_outputs == 2 else np.array([0.5])
    A = A * np.full(2, margin / np.tanh(2.0))
    w0 = np.concatenate([A.ravel(), np.full(2, 2.0)])
    for optimizer in ("lbfgs", "TNC"):
        result = fastbp.fit(
            net, columns, classes, w0=w0, loss="cross_entropy", optimizer=optimizer, epochs=50
        )
        assert result.converged and np.isfinite(result.w).all()


def test_a_loose_test_of_the_method_is_no_convergence() -> None:
    result, _ = fitted(LBFGS(ftol=1e-2, gtol=0.0))
    assert not result.converged
    assert result.reason.startswith("stalled")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("BFGS", {"maxiter": 3}), ("L-BFGS-B", {"maxfun": 4}), ("TNC", {"maxfun": 20}),
        ("COBYLA", {"maxiter": 30}), ("Powell", {"maxfev": 30}), ("Nelder-Mead", {"maxfev": 30}),
    ],
)  # fmt: skip
def test_what_the_options_forbid_is_said(method: str, options: dict[str, int]) -> None:
    result, _ = fitted(Minimize(method, options), epochs=100)
    assert result.reason.startswith("stopped: as many")
    assert result.n_evaluations <= 32


@pytest.mark.parametrize("optimizer", ["lbfgs", "CG"])
def test_a_step_that_has_become_steep_is_an_end(optimizer: str) -> None:
    """Slopes are next to nothing at all observations, but of one residual's sign at each side."""
    net = fastbp.Network(2, activations=["logistic"], output="identity")
    columns, targets = (
        np.array([[-2.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]),
        [0, 0.1, 1, 1.1],
    )
    result = fastbp.fit(net, columns, targets, w0=net.init(1), optimizer=optimizer)
    np.testing.assert_allclose(result.loss, 0.000625, rtol=1e-6)
    assert result.converged


def test_a_kink_is_no_stationary_point() -> None:
    """The pinball loss has its minimum where its gradient jumps."""
    result, _ = fitted("lbfgs", loss="pinball")
    assert not result.converged


@pytest.mark.parametrize("optimizer", ["trust-ncg", "Newton-CG"])
def test_what_last_iterations_lower_the_loss_to_beside_a_kink_is_kept(optimizer: str) -> None:
    """There the gradient need not have become less."""
    result, _ = fitted(optimizer, loss="pinball")
    np.testing.assert_allclose(result.loss, result.history["loss"][-1], rtol=1e-12)


@pytest.mark.parametrize("n", [7, 30])
@pytest.mark.parametrize("optimizer", ["TNC", "lbfgs", "BFGS", "SLSQP", "trust-ncg"])
def test_epochs_are_iterations(optimizer: str, n: int) -> None:
    result = fastbp.fit(NET, X, T, w0=W0, optimizer=optimizer, epochs=n, free=FREE)
    assert result.reason == "all epochs done" or result.converged
    assert len(result.history["loss"]) == n or result.converged


@pytest.mark.parametrize("n", [10**8, 10**19])
@pytest.mark.parametrize("optimizer", ["TNC", "SLSQP", "COBYLA", "Nelder-Mead", "lbfgs"])
def test_epochs_may_be_any_number_where_a_target_ends_a_fit(optimizer: str, n: int) -> None:
    early = fastbp.EarlyStopping(target=0.1)
    result = fastbp.fit(NET, X, T, optimizer=optimizer, epochs=n, early_stopping=early)
    assert result.reason == "target reached"


def test_cross_entropy_ends_at_its_minimum() -> None:
    net = fastbp.Network(3, 2, output="logistic")
    labels = (T > 0.0).astype(float)
    a = fastbp.fit(net, X, labels, optimizer="lbfgs", loss="cross_entropy", l2=1e-3)
    assert a.converged
    tight = fastbp.fit(
        net, X, labels, w0=a.w, optimizer=LBFGS(gtol=0.0, ftol=0.0), loss="cross_entropy", l2=1e-3
    )
    assert a.loss - tight.loss < 1e-10


def test_a_likelihood_of_many_parameters_is_left_where_the_rest_is_noise() -> None:
    rng = np.random.default_rng(3)
    net = fastbp.Network(20, 45, n_outputs=5, output="softmax")
    inputs = rng.standard_normal((200, 20))
    labels = (inputs[:, :5] + rng.standard_normal((200, 5))).argmax(axis=1)
    c = (np.arange(200) < 150).astype(float)
    options = {"loss": "cross_entropy", "sample_weight": c, "l2": 1e-3, "seed": 0}
    left = fastbp.fit(net, inputs, labels, **options)
    assert left.reason.startswith("stopped: 10 iterations")
    assert not left.converged
    gains = 150.0 * (left.history["loss"][:-10] - left.history["loss"][10:])
    assert gains[-1] < 1.0 <= gains[:-1].min()
    on = fastbp.fit(net, inputs, labels, optimizer=LBFGS(ftol=1e-13), **options)
    assert on.converged
    assert on.loss < left.loss
    small = fastbp.Network(20, 40, n_outputs=5, output="softmax")
    few = fastbp.fit(small, inputs, labels, epochs=100, **options)
    assert few.reason == "all epochs done"


def test_float32_units() -> None:
    net = fastbp.Network(3, activations=["tanh", "tanh", "one"], output="identity", dtype="float32")
    losses = []
    for unit in (1.0, 1e-6, 1e6):
        w0 = W0.copy()
        w0[:H] *= unit
        single = (a.astype(np.float32) for a in (X, unit * T))
        w0 = w0.astype(np.float32)
        result = fastbp.fit(net, *single, w0=w0, free=FREE, optimizer="lbfgs")
        losses.append(result.loss / unit**2)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-3)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")  # saturated neurons
def test_classes_that_a_line_parts_have_no_minimum_and_end() -> None:
    net = fastbp.Network(3, 2, output="logistic")
    labels = (X[:, 0] > 0.0).astype(float)
    result = fastbp.fit(net, X, labels, optimizer="lbfgs", loss="cross_entropy", epochs=3000)
    assert result.converged
    assert result.loss < 1e-8


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")  # saturated neurons, on the way to −∞
@pytest.mark.parametrize("optimizer", ["SLSQP", "BFGS", "lbfgs"])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_a_loss_that_vanishes_is_none(loss: str, optimizer: str) -> None:
    """With a penalty and targets 0 all goes to 0: past it, methods step where no numbers are."""
    net = fastbp.Network(2, activations=["tanh"] * 16 + ["one"], output="identity")
    c = (np.arange(net.n_params) < net.n_neurons - 1).astype(float)
    for seed in range(3):
        result = fastbp.fit(
            net, [[0.0, 1.0]], [0.0], w0=net.init(seed), optimizer=optimizer, loss=loss, l2=0.01 * c
        )
        assert 0.0 <= result.loss < 1e-8
        assert loss == "poisson" or result.converged


@pytest.mark.parametrize("optimizer", ["lbfgs", "trust-ncg", "dogleg"])
def test_targets_of_any_size_whose_squares_are_numbers(optimizer: str) -> None:
    y = fitted(optimizer)[1]
    for targets in (1e-140, 1e140):
        result, other = fitted(optimizer, targets=targets)
        assert result.converged, result.reason
        np.testing.assert_allclose(other, y, atol=1e-6)


def test_second_derivatives_that_overflow_are_refused() -> None:
    net = fastbp.Network(3, 1, activations="identity", output="identity", dtype="float32")
    w0 = np.array([1e15, 1e-9, 1e-9, 1e-9], "float32")
    far, t = (1e6 * X).astype("float32"), (1e12 * T).astype("float32")
    with pytest.raises(ValueError, match="dogleg needs finite second derivatives"):
        fastbp.fit(net, far, t, w0=w0, optimizer="dogleg")


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("optimizer", ["trust-ncg", "Newton-CG"])
def test_a_product_that_float32_does_not_hold_ends_a_run(optimizer: str) -> None:
    net = fastbp.Network(
        3, activations=["logistic", "softplus", "tanh"], output="identity", dtype=np.float32
    )
    X32, t = X.astype(np.float32), (1e18 * T).astype(np.float32)
    start = net.init(0)
    result = fastbp.fit(net, X32, t, w0=start, l2=1e-3, optimizer=optimizer)
    assert result.loss <= net.loss_and_grad(start, X32, t)[0]
