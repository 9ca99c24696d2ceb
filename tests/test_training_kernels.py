"""The compiled optimizers, as `fit` runs them, against NumPy loops on the reference's gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_close, orders_of_fit, outputs_for, random_case

import fastbp
from fastbp import losses, reference
from fastbp.optimizers import SGD, AdamW, LevenbergMarquardt

TAME = ("tanh", "logistic", "gaussian")  # no step goes astray
SEED = 9  # of the orders

RULES: dict[str, tuple[SGD, float]] = {  # and l2
    "plain": (SGD(0.02), 0.0),
    "l2 and decay": (SGD(0.02, weight_decay=0.05), 0.1),
    "momentum": (SGD(0.02, momentum=0.9), 0.0),
    "nesterov": (SGD(0.02, momentum=0.8, nesterov=True), 0.01),
}


def sgd(w: Any, gradients: Any, rule: SGD, l2: float, free: Any) -> Any:
    m, mu = np.zeros_like(w), rule.momentum
    for gradient in gradients:
        g = gradient(w) + (l2 + rule.weight_decay) * w
        m = mu * m + g
        w = w - free * rule.learning_rate * (g + mu * m if rule.nesterov else m)
    return w


def adam(w: Any, gradients: Any, rule: AdamW, l2: float, free: Any) -> Any:
    m, v = np.zeros_like(w), np.zeros_like(w)
    b1, b2 = rule.beta1, rule.beta2
    for k, gradient in enumerate(gradients, 1):
        g = gradient(w) + l2 * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        step = (m / (1 - b1**k)) / (np.sqrt(v / (1 - b2**k)) + rule.epsilon)
        w = w - free * rule.learning_rate * (step + rule.weight_decay * w)
    return w


def batches(case: Any, epochs: int, batch: int, loss: str = "squared", c: Any = None) -> Any:
    """Return gradients as functions of w, batch by batch: the plain mean of c_b ∇ℓ_b."""
    orders = orders_of_fit(len(case.X), epochs, SEED)

    def gradient(rows: Any) -> Any:
        def of(w: Any) -> Any:
            share = 1.0 if c is None else c[rows].sum() / len(rows)
            if share == 0.0:
                return np.zeros_like(w)
            return share * reference.loss_and_grad(
                case.net, w, case.X[rows], case.t[rows], loss=loss,
                sample_weight=None if c is None else c[rows],
            )[1]  # fmt: skip

        return of

    return [
        gradient(order[first : first + batch])
        for order in orders
        for first in range(0, len(order), batch)
    ]


def trained(case: Any, rule: Any, epochs: int, batch: int, **options: Any) -> fastbp.FitResult:
    """Return what `fit` makes of a case, from its parameters on."""
    net = case.net.network(case.w.dtype)
    return fastbp.fit(
        net, case.X, case.t, w0=case.w, optimizer=rule, epochs=epochs, batch_size=batch, seed=SEED,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 32, 70])
@pytest.mark.parametrize("name", RULES)
def test_sgd_is_the_textbook_loop(batch: int, name: str) -> None:
    rule, l2 = RULES[name]
    for seed, (N, H) in enumerate([(5, 24), (1, 1), (3, 7), (20, 2), (2, 9)]):
        case = random_case(seed, N, H, 67, activations=TAME, outputs=TAME)
        free = np.random.default_rng(seed).random(case.net.n_params) < 0.8
        want = sgd(case.w, batches(case, 3, batch), rule, l2, free)
        got = trained(case, rule, 3, batch, l2=l2, free=free).w
        assert_close(got, want, 1e-11)
        assert np.array_equal(got[~free], case.w[~free])


@pytest.mark.parametrize("batch", [1, 3, 4, 33, 300, 650])
def test_plain_sgd_where_all_move(batch: int) -> None:
    """Steps that the driver adds to w itself, and batches of more than a chunk, where it can't."""
    for seed, (N, H) in enumerate([(13, 17), (1, 1), (10, 16), (2, 40)]):
        case = random_case(seed, N, H, 650, activations=TAME, outputs=TAME)
        c = case.c * (650 / case.c.sum()) if seed % 2 else None
        rule = SGD(0.02)
        want = sgd(case.w, batches(case, 2, batch, c=c), rule, 0.0, 1.0)
        got = trained(case, rule, 2, batch, sample_weight=c)
        assert_close(got.w, want, 1e-11)
        first, second = got.history["loss"]
        assert second < first


@pytest.mark.parametrize("batch", [1, 2, 5, 32])
@pytest.mark.parametrize(("l2", "decay"), [(0.0, 0.0), (0.1, 0.03)])
def test_adam_is_the_textbook_loop(batch: int, l2: float, decay: float) -> None:
    rule = AdamW(0.01, beta1=0.9, beta2=0.99, epsilon=1e-6, weight_decay=decay)
    for seed, (N, H) in enumerate([(5, 24), (1, 1), (3, 7)]):
        case = random_case(seed, N, H, 41, activations=TAME, outputs=TAME)
        free = np.random.default_rng(seed).random(case.net.n_params) < 0.8
        want = adam(case.w, batches(case, 3, batch), rule, l2, free)
        assert_close(trained(case, rule, 3, batch, l2=l2, free=free).w, want, 1e-9)


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_losses_and_sample_weights(loss: str, batch: int) -> None:
    """What has no weight may be beyond all numbers, in batches of others or of its own."""
    case = random_case(3, 3, 10, 50, activations=TAME, outputs=outputs_for(loss))
    c = case.c.copy()
    c[::4] = 0.0
    case.X[::8] = 1e300
    if loss != "cross_entropy":
        case.t[::4] = 1e300
    rule = SGD(0.01)
    want = sgd(case.w, batches(case, 2, batch, loss, c * (50 / c.sum())), rule, 0.0, 1.0)
    got = trained(case, rule, 2, batch, loss=loss, sample_weight=c).w
    assert_close(got, want, 1e-11)


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
@pytest.mark.parametrize(
    ("rule", "tolerance"),
    [(SGD(0.01, momentum=0.9), 2e-5), (AdamW(0.01, beta2=0.99, epsilon=1e-6), 2e-3)],
    ids=["sgd", "adam"],
)
def test_float32(batch: int, rule: Any, tolerance: float) -> None:
    case = random_case(5, 4, 19, 40, activations=TAME, outputs=TAME).astype(np.float32)
    single = trained(case, rule, 2, batch).w
    double = trained(case.astype(np.float64), rule, 2, batch).w
    assert single.dtype == np.float32
    assert_close(single, double, tolerance)


def test_orders_are_random_permutations() -> None:
    orders = orders_of_fit(5, 12000, seed=0)
    counts = np.unique(orders @ [1, 5, 25, 125, 625], return_counts=True)[1]
    assert len(counts) == 120  # each order is as frequent: χ² of 119 degrees of freedom
    assert ((counts - 100.0) ** 2 / 100.0).sum() < 119 + 4 * np.sqrt(2 * 119)


@pytest.mark.parametrize("batch", [1, 7])
def test_loss_of_an_epoch_is_that_before_each_step(batch: int) -> None:
    case = random_case(1, 3, 9, 30)
    free = np.zeros(case.net.n_params, bool)  # nothing moves: the loss is that at the start
    got = trained(case, SGD(0.1), 2, batch, free=free).history["loss"]
    want = reference.loss_and_grad(case.net, case.w, case.X, case.t)[0]
    assert_close(got, [want, want], 1e-12)


# ---- the Gauss–Newton matrix ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", losses.NAMES)
def test_gauss_newton_is_the_reference(dtype: Any, loss: str) -> None:
    tolerance = 1e-12 if dtype == np.float64 else 3e-5
    for seed, (B, N, H) in enumerate(
        [(1, 1, 1), (7, 2, 5), (200, 3, 11), (241, 4, 6), (500, 2, 3), (260, 5, 7)]
    ):
        case = random_case(seed, N, H, B, outputs=outputs_for(loss)).astype(dtype)
        for c in (None, case.c):
            want = reference.gauss_newton(
                case.net, case.w.astype(float), case.X.astype(float), case.t.astype(float),
                loss=loss, sample_weight=None if c is None else c.astype(float),
            )  # fmt: skip
            got = case.net.network(dtype).gauss_newton(
                case.w, case.X, case.t, loss=loss, sample_weight=c
            )
            for ours, theirs in zip(got, want, strict=True):
                assert_close(ours, theirs, tolerance)
            assert np.array_equal(got[2], got[2].T)
            assert got[2].dtype == dtype


@pytest.mark.parametrize("H", [*range(1, 40), 50, 67, 100])
def test_every_edge_of_the_panels(H: int) -> None:
    case = random_case(H, 1, H, 30, activations=("tanh", "identity"))
    want = reference.gauss_newton(case.net, case.w, case.X, case.t)[2]
    assert_close(case.net.network().gauss_newton(case.w, case.X, case.t)[2], want, 1e-12)


@pytest.mark.parametrize("N", [4, 5, 6, 7, 8, 11, 16, 64, 65])
def test_pairs(N: int) -> None:
    for H in (5, 6, 9):
        case = random_case(N, N, H, 250, activations=("tanh", "identity", "one"))
        want = reference.gauss_newton(case.net, case.w, case.X, case.t, sample_weight=case.c)
        got = case.net.network().gauss_newton(case.w, case.X, case.t, sample_weight=case.c)
        for ours, theirs in zip(got, want, strict=True):
            assert_close(ours, theirs, 1e-12)


def test_gauss_newton_product_agrees() -> None:
    case = random_case(2, 4, 8, 60)
    net = case.net.network()
    matrix = net.gauss_newton(case.w, case.X, case.t, sample_weight=case.c)[2]
    product = net.gauss_newton_product(case.w, case.X, case.t, case.p, sample_weight=case.c)
    assert_close(matrix @ case.p, product, 1e-12)


def test_objective_adds_the_penalty() -> None:
    case = random_case(2, 4, 8, 60)
    net = case.net.network()
    loss, g, G = net.objective(case.X, case.t, l2=0.3).gauss_newton(case.w)
    plain = net.gauss_newton(case.w, case.X, case.t)
    assert_close(loss, plain[0] + 0.15 * case.w @ case.w, 1e-12)
    assert_close(g, plain[1] + 0.3 * case.w, 1e-12)
    assert_close(G, plain[2] + 0.3 * np.eye(len(g)), 1e-12)


def test_gauss_newton_refuses_what_loss_and_grad_refuses() -> None:
    net = fastbp.Network(2, 3)
    with pytest.raises(ValueError, match="shape"):
        net.gauss_newton(np.zeros(8), np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(ValueError, match="at least one observation"):
        net.gauss_newton(np.zeros(9), np.zeros((0, 2)), np.zeros(0))


# ---- Levenberg–Marquardt -------------------------------------------------------------------------


def levenberg(case: Any, epochs: int, damping: str = "nielsen", **options: Any) -> Any:
    """Return what Levenberg–Marquardt makes of a case, with nothing that would end it early."""
    rule = LevenbergMarquardt(damping, start=1.0, gtol=0.0, xtol=0.0, ftol=0.0)
    net = case.net.network(case.w.dtype)
    return fastbp.fit(net, case.X, case.t, w0=case.w, optimizer=rule, epochs=epochs, **options)


def scales(net: Any, free: Any, own: Any) -> Any:
    """Return D of the columns' largest norms: the geometric mean that `levenberg` describes."""
    H, N = net.n_neurons, net.n_inputs
    like: dict[Any, list[int]] = {}
    for i, v in enumerate(net.activations):
        mask = tuple(free[[i, *range(H + i * N, H + i * N + N)]])
        for j, place in enumerate([i, *range(H + i * N, H + i * N + N)]):
            like.setdefault((v.name, mask, j), []).append(place)
    square = own.copy()
    for kind in like.values():
        m = len(kind)
        square[kind] = own[kind] ** (1 / m) * own[kind].max() ** (1 - 1 / m)
    return np.sqrt(np.where(square > 0.0, square, 1.0))


def textbook(
    case: Any, n: int, damping: str, l2: float = 0.0, free: Any = None, c: Any = None
) -> Any:
    """Levenberg–Marquardt in scaled parameters, after Nielsen (1999), or Marquardt's factors."""
    net, w, nielsen = case.net, case.w, damping == "nielsen"
    identity = np.eye(len(w))
    free = np.ones(len(w), bool) if free is None else free
    own = np.zeros(len(w))

    def value(w: Any) -> Any:
        loss, g, G = reference.gauss_newton(net, w, case.X, case.t, sample_weight=c)
        return loss + 0.5 * l2 * w @ w, (g + l2 * w)[free], (G + l2 * identity)[np.ix_(free, free)]

    F, g, G = value(w)
    mu, nu, trace = 1.0, 2.0, []
    for _ in range(n):
        whole = np.zeros_like(own)
        whole[free] = np.diag(G)
        own = np.maximum(own, whole)
        d = scales(net, free, own)[free]
        p = np.linalg.solve(G / np.outer(d, d) + mu * np.eye(len(g)), -g / d)
        trial = w.copy()
        trial[free] += p / d
        F_trial, g_trial, G_trial = value(trial)
        gain = 2.0 * (F - F_trial) / (p @ (mu * p - g / d))
        if gain > 0.0:
            w, F, g, G = trial, F_trial, g_trial, G_trial
            mu *= max(1 / 3, 1 - (2 * gain - 1) ** 3) if nielsen else 0.1
            nu = 2.0
        else:
            mu *= nu if nielsen else 10.0
            nu *= 2.0
        trace.append(F)
    return w, trace


@pytest.mark.parametrize("damping", ["nielsen", "marquardt"])
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_levenberg_is_the_textbook_loop(damping: str, l2: float) -> None:
    for seed, (B, N, H) in enumerate([(60, 2, 6), (150, 4, 12), (40, 1, 1)]):
        case = random_case(seed, N, H, B, activations=("tanh", "logistic"), outputs=("identity",))
        free = np.random.default_rng(seed).random(case.net.n_params) < 0.8
        c = case.c if seed else None
        got = levenberg(case, 8, damping, l2=l2, free=free, sample_weight=c)
        want, trace = textbook(case, 8, damping, l2, free, c)
        np.testing.assert_allclose(got.history["loss"], trace, rtol=1e-6)
        np.testing.assert_allclose(got.w, want, rtol=1e-4, atol=1e-6)
        assert np.array_equal(got.w[~free], case.w[~free])


def at_second_step() -> Callable[[fastbp.FitState], None]:
    """Return a callback that interrupts a fit at the second step that it sees."""
    seen: list[int] = []

    def callback(state: fastbp.FitState) -> None:
        seen.append(state.step)
        if len(seen) == 2:
            raise KeyboardInterrupt

    return callback


def test_levenberg_is_the_same_however_it_is_called(tmp_path: Path) -> None:
    case = random_case(4, 3, 12, 90, activations=("tanh",), outputs=("identity",))
    at_once = levenberg(case, 30)
    one_by_one = levenberg(case, 30, callback=lambda state: None)
    runs = 0
    while True:  # each makes one step, the next begins with what it stored
        runs += 1
        stored = levenberg(case, 30, callback=at_second_step(), checkpoint=tmp_path / "c.npz")
        if stored.reason != "interrupted":
            break
    assert runs == len(at_once.history["loss"]) == 30
    for other in (one_by_one, stored):
        assert np.array_equal(other.history["loss"], at_once.history["loss"])
        assert np.array_equal(other.w, at_once.w)


def test_levenberg_finds_the_optimum_of_least_squares() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    net = fastbp.Network(2, 3, activations="tanh", output="identity")
    case = random_case(0, 2, 3, 80, activations=("tanh",), outputs=("identity",))
    t = net(net.init(5), case.X) + 0.1 * rng.standard_normal(80)
    w0 = net.init(1)
    found = optimize.least_squares(
        lambda w: net(w, case.X) - t,
        w0,
        lambda w: net.per_sample_grad(w, case.X),
        method="lm",
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    result = fastbp.fit(net, case.X, t, w0=w0)
    assert result.converged
    np.testing.assert_allclose(result.loss, found.cost / 80, rtol=1e-8)


@pytest.mark.parametrize("loss", ["huber", "log_cosh", "pinball"])
def test_levenberg_reweights_robust_losses(loss: str) -> None:
    pytest.importorskip("scipy")
    rng = np.random.default_rng(1)
    net = fastbp.Network(2, activations=["tanh", "tanh", "one"], output="identity")
    X = np.column_stack([rng.uniform(-2, 2, 120), np.ones(120)])
    t = np.tanh(2 * X[:, 0]) + 0.05 * rng.standard_normal(120)
    t[:12] += 20.0  # a second derivative alone would not see these at all
    result = fastbp.fit(net, X, t, optimizer="lm", loss=loss, seed=3, epochs=500)
    other = fastbp.fit(net, X, t, optimizer="bfgs", loss=loss, w0=result.w)
    assert result.loss <= other.loss * (1.0 + (1e-2 if loss == "pinball" else 2e-6))
    assert (
        abs(result.predict(X[12:]) - np.tanh(2 * X[12:, 0])).max() < 0.4
    )  # least squares: more than 2


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_levenberg_claims_stationary_points_alone(dtype: str) -> None:
    """In float32 too, whose losses are flat to rounding before: by the gradient in float64."""
    activations = ["tanh", "tanh", "one"]
    net = fastbp.Network(3, activations=activations, output="identity", dtype=dtype)
    exact = fastbp.Network(3, activations=activations, output="identity")
    claims = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        X = np.column_stack([rng.standard_normal((60, 2)), np.ones(60)]).astype(dtype)
        t = np.tanh(2.0 * X[:, 0] - 0.5) + np.tanh(X[:, 1])
        t = (t + 10.0 ** -(1 + seed % 3) * rng.standard_normal(60)).astype(dtype)
        result = fastbp.fit(net, X, t, seed=seed, epochs=400)
        if result.converged:
            claims += 1
            objective = exact.objective(X.astype(float), t.astype(float))
            loss, g, G = objective.gauss_newton(result.w.astype(float))
            assert (np.abs(g) <= 1e-4 * np.sqrt(2.0 * loss * np.diag(G))).all()
    assert claims >= 12


def test_levenberg_float32() -> None:
    case = random_case(4, 3, 6, 90, activations=("tanh",), outputs=("identity",)).astype("f4")
    single, double = (levenberg(c, 30).history["loss"] for c in (case, case.astype("f8")))
    np.testing.assert_allclose(single[-1], double[-1], rtol=1e-2)
    assert (np.diff(single) <= 0.0).all()


def test_a_large_system_is_factored_right() -> None:
    case = random_case(6, 9, 31, 400, activations=("tanh",), outputs=("identity",))
    got = levenberg(case, 3)
    want, trace = textbook(case, 3, "nielsen")
    np.testing.assert_allclose(got.history["loss"], trace, rtol=1e-9)
    np.testing.assert_allclose(got.w, want, rtol=1e-6, atol=1e-8)
