"""The compiled optimizers against plain NumPy loops on the reference's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import assert_close, outputs_for, random_case

import fastbp
from fastbp import losses, reference
from fastbp.kernels._fitting import Epochs, Levenberg, Order

Rule = dict[str, float]

TAME = ("tanh", "logistic", "gaussian")  # no step goes astray

RULES: dict[str, Rule] = {
    "plain": {},
    "l2 and decay": {"l2": 0.1, "decay": 0.05},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.8, "nesterov": 1.0, "l2": 0.01},
}


def sgd(w: Any, gradients: Any, eta: float, free: Any, rule: Rule) -> Any:
    m = np.zeros_like(w)
    mu = rule.get("momentum", 0.0)
    for gradient in gradients:
        g = gradient(w) + (rule.get("l2", 0.0) + rule.get("decay", 0.0)) * w
        m = mu * m + g
        w = w - free * eta * (g + mu * m if rule.get("nesterov") else m)
    return w


def adam(w: Any, gradients: Any, eta: float, free: Any, rule: Rule) -> Any:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for k, gradient in enumerate(gradients, 1):
        g = gradient(w) + rule["l2"] * w
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        step = (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.99**k)) + 1e-6)
        w = w - free * eta * (step + rule["decay"] * w)
    return w


def batches(case: Any, net: Any, orders: Any, batch: int, loss: str, c: Any) -> Any:
    """Return gradients as functions of w, batch by batch: the plain mean of c_b ∇ℓ_b."""

    def gradient(rows: Any) -> Any:
        def of(w: Any) -> Any:
            share = 1.0 if c is None else c[rows].sum() / len(rows)
            if share == 0.0:
                return np.zeros_like(w)
            return share * reference.loss_and_grad(
                net, w, case.X[rows], case.t[rows], loss=loss,
                sample_weight=None if c is None else c[rows],
            )[1]  # fmt: skip

        return of

    return [
        gradient(order[first : first + batch])
        for order in orders
        for first in range(0, len(order), batch)
    ]


def run(case: Any, dtype: Any, rule: str, settings: Any, batch: int, eta: float, **k: Any) -> Any:
    net = case.net.network(dtype)
    w = case.w.astype(dtype)
    c = k.get("c")
    epochs = Epochs(
        net, w, case.X.astype(dtype), case.t.astype(dtype), None if c is None else c.astype(dtype),
        losses.get_loss(k.get("loss", "squared")), rule, settings, k["free"], batch,
    )  # fmt: skip
    sums = []
    for order in k["orders"]:
        sums.append(epochs.run(order, np.full(-(-len(order) // batch), eta)))
    return w, sums


def orders(n: int, k: int) -> Any:
    rng = np.random.default_rng(9)
    return [rng.permutation(n) for _ in range(k)]


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 32, 70])
@pytest.mark.parametrize("name", RULES)
def test_sgd_is_the_textbook_loop(batch: int, name: str) -> None:
    rule = RULES[name]
    settings = [rule.get(k, 0.0) for k in ("l2", "decay", "momentum", "nesterov")]
    for seed, (N, H) in enumerate([(5, 24), (1, 1), (3, 7), (20, 2), (2, 9)]):
        case = random_case(seed, N, H, 67, activations=TAME, outputs=TAME)
        free = np.random.default_rng(seed).random(case.net.n_params) < 0.8
        given = orders(67, 3)
        want = sgd(case.w, batches(case, case.net, given, batch, "squared", None), 0.02, free, rule)
        got, _ = run(case, np.float64, "sgd", settings, batch, 0.02, free=free, orders=given)
        assert_close(got, want, 1e-11)
        assert np.array_equal(got[~free], case.w[~free])


@pytest.mark.parametrize("batch", [1, 3, 4, 33, 300, 650])
def test_plain_sgd_where_all_move(batch: int) -> None:
    """Steps that the driver adds to w itself, and batches of more than a chunk, where it can't."""
    for seed, (N, H) in enumerate([(13, 17), (1, 1), (10, 16), (2, 40)]):
        case = random_case(seed, N, H, 650, activations=TAME, outputs=TAME)
        free, given = np.ones(case.net.n_params, bool), orders(650, 2)
        c = case.c * (650 / case.c.sum()) if seed % 2 else None
        want = sgd(case.w, batches(case, case.net, given, batch, "squared", c), 0.02, free, {})
        got, sums = run(case, np.float64, "sgd", [0.0], batch, 0.02, free=free, orders=given, c=c)
        assert_close(got, want, 1e-11)
        assert sums[1] < sums[0]


@pytest.mark.parametrize("batch", [1, 2, 5, 32])
@pytest.mark.parametrize("rule", [{"l2": 0.0, "decay": 0.0}, {"l2": 0.1, "decay": 0.03}])
def test_adam_is_the_textbook_loop(batch: int, rule: Rule) -> None:
    settings = [rule["l2"], rule["decay"], 0.9, 0.99, 1e-6]
    for seed, (N, H) in enumerate([(5, 24), (1, 1), (3, 7)]):
        case = random_case(seed, N, H, 41, activations=TAME, outputs=TAME)
        free = np.random.default_rng(seed).random(case.net.n_params) < 0.8
        given = orders(41, 3)
        want = adam(
            case.w, batches(case, case.net, given, batch, "squared", None), 0.01, free, rule
        )
        got, _ = run(case, np.float64, "adam", settings, batch, 0.01, free=free, orders=given)
        assert_close(got, want, 1e-9)


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize("batch", [1, 6])
def test_losses_and_sample_weights(loss: str, batch: int) -> None:
    case = random_case(3, 3, 10, 50, activations=TAME, outputs=outputs_for(loss))
    c = case.c.copy()
    c[::4] = 0.0
    c *= 50 / c.sum()
    given, free = orders(50, 2), np.ones(case.net.n_params, bool)
    want = sgd(case.w, batches(case, case.net, given, batch, loss, c), 0.01, free, {})
    got, _ = run(
        case, np.float64, "sgd", [0.0], batch, 0.01, free=free, orders=given, c=c, loss=loss
    )
    assert_close(got, want, 1e-11)


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_float32(batch: int, rule: str) -> None:
    case = random_case(5, 4, 19, 40, activations=TAME, outputs=TAME).astype(np.float32)
    given, free = orders(40, 2), np.ones(case.net.n_params, bool)
    settings = [0.0, 0.0, 0.9] if rule == "sgd" else [0.0, 0.0, 0.9, 0.99, 1e-6]
    double, _ = run(case, np.float64, rule, settings, batch, 0.01, free=free, orders=given)
    single, _ = run(case, np.float32, rule, settings, batch, 0.01, free=free, orders=given)
    assert single.dtype == np.float32
    assert_close(single, double, 2e-3 if rule == "adam" else 2e-5)


def test_orders_are_random_permutations() -> None:
    orders = Order(5, np.random.default_rng(0))
    seen = np.array([orders.next().copy() for _ in range(12000)])
    assert (np.sort(seen, axis=1) == np.arange(5)).all()
    counts = np.unique(seen @ [1, 5, 25, 125, 625], return_counts=True)[1]
    assert len(counts) == 120  # each order is as frequent: χ² of 119 degrees of freedom
    assert ((counts - 100.0) ** 2 / 100.0).sum() < 119 + 4 * np.sqrt(2 * 119)
    state = orders.state.copy()
    following = orders.next().copy()
    orders.state[:] = state
    assert np.array_equal(orders.next(), following)


@pytest.mark.parametrize("batch", [1, 7])
def test_loss_sum_is_that_before_each_step(batch: int) -> None:
    case = random_case(1, 3, 9, 30)
    free = np.zeros(case.net.n_params, bool)  # nothing moves: the sum is that at the start
    _, sums = run(case, np.float64, "sgd", [0.0], batch, 0.1, free=free, orders=orders(30, 2))
    want = 30 * reference.loss_and_grad(case.net, case.w, case.X, case.t)[0]
    assert_close(sums, [want, want], 1e-12)


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


def levenberg(case: Any, net: Any, w: Any, **changes: Any) -> Levenberg:
    options: dict[str, Any] = {
        "l2": 0.0,
        "nielsen": True,
        "reweighted": False,
        "start": 1.0,
        "gtol": 0.0,
        "xtol": 0.0,
        "ftol": 0.0,
        "target": -np.inf,
        "free": np.ones(net.n_params, bool),
    }
    loss = losses.get_loss(changes.pop("loss", "squared"))
    c = changes.pop("c", None)
    return Levenberg(net, w, case.X, case.t, c, loss, **{**options, **changes})


def textbook(case: Any, w: Any, n: int, *, l2: float, free: Any, nielsen: bool, c: Any) -> Any:
    """Levenberg–Marquardt after Nielsen (1999), or with Marquardt's factor of ten."""
    net = case.net
    identity = np.eye(len(w))

    def value(w: Any) -> Any:
        loss, g, G = reference.gauss_newton(net, w, case.X, case.t, sample_weight=c)
        return loss + 0.5 * l2 * w @ w, (g + l2 * w)[free], (G + l2 * identity)[np.ix_(free, free)]

    F, g, G = value(w)
    mu, nu, trace = np.diag(G).max(), 2.0, []
    for _ in range(n):
        h = np.linalg.solve(G + mu * np.eye(len(g)), -g)
        trial = w.copy()
        trial[free] += h
        F_trial, g_trial, G_trial = value(trial)
        gain = 2.0 * (F - F_trial) / (h @ (mu * h - g))
        if gain > 0.0:
            w, F, g, G = trial, F_trial, g_trial, G_trial
            mu *= max(1 / 3, 1 - (2 * gain - 1) ** 3) if nielsen else 0.1
            nu = 2.0
        else:
            mu *= nu if nielsen else 10.0
            nu *= 2.0
        trace.append(F)
    return w, trace


@pytest.mark.parametrize("nielsen", [True, False])
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_levenberg_is_the_textbook_loop(nielsen: bool, l2: float) -> None:
    for seed, (B, N, H) in enumerate([(60, 2, 6), (150, 4, 20), (40, 1, 1)]):
        case = random_case(seed, N, H, B, activations=("tanh", "logistic"), outputs=("identity",))
        net = case.net.network()
        free = np.random.default_rng(seed).random(net.n_params) < 0.8
        c = case.c if seed else None
        w = case.w.copy()
        losses_, _ = levenberg(case, net, w, l2=l2, free=free, nielsen=nielsen, c=c).run(8)
        want, trace = textbook(case, case.w, 8, l2=l2, free=free, nielsen=nielsen, c=c)
        np.testing.assert_allclose(losses_, trace, rtol=1e-6)
        np.testing.assert_allclose(w, want, rtol=1e-4, atol=1e-6)
        assert np.array_equal(w[~free], case.w[~free])


def test_levenberg_is_the_same_however_it_is_called() -> None:
    case = random_case(4, 3, 12, 90, activations=("tanh",), outputs=("identity",))
    net = case.net.network()
    at_once, one_by_one, forgetful = case.w.copy(), case.w.copy(), case.w.copy()
    want, _ = levenberg(case, net, at_once).run(30)
    by_one, with_gaps = levenberg(case, net, one_by_one), levenberg(case, net, forgetful)
    got, again = [], []
    for _ in range(30):
        got.extend(by_one.run(1)[0])
        again.extend(with_gaps.run(1)[0])
        with_gaps.forget()
    assert np.array_equal(got, want)
    assert np.array_equal(again, want)
    assert np.array_equal(one_by_one, at_once)
    assert np.array_equal(forgetful, at_once)


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
    assert result.loss <= other.loss * (1.0 + (1e-2 if loss == "pinball" else 1e-6))
    assert (
        abs(result.predict(X[12:]) - np.tanh(2 * X[12:, 0])).max() < 0.4
    )  # least squares: more than 2


def test_levenberg_float32() -> None:
    case = random_case(4, 3, 6, 90, activations=("tanh",), outputs=("identity",)).astype("f4")
    net = case.net.network(np.float32)
    w = case.w.copy()
    trace, _ = levenberg(case, net, w).run(30)
    double, _ = levenberg(case.astype(np.float64), case.net.network(), case.w.astype("f8")).run(30)
    np.testing.assert_allclose(trace[-1], double[-1], rtol=1e-2)
    assert (np.diff(trace) <= 0.0).all()


def test_a_large_system_is_factored_right() -> None:
    case = random_case(6, 9, 31, 400, activations=("tanh",), outputs=("identity",))
    net = case.net.network()
    w = case.w.copy()
    losses_, _ = levenberg(case, net, w).run(3)
    want, trace = textbook(case, case.w, 3, l2=0.0, free=np.ones(310, bool), nielsen=True, c=None)
    np.testing.assert_allclose(losses_, trace, rtol=1e-9)
    np.testing.assert_allclose(w, want, rtol=1e-6, atol=1e-8)
