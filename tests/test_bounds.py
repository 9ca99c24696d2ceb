"""Penalties of each parameter, and bounds: what fits make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp._training.result import without_data
from fastbp.optimizers import SGD, Adam, AdamW, LevenbergMarquardt

scipy_optimize = pytest.importorskip("scipy.optimize")

RNG = np.random.default_rng(5)
X = np.column_stack([RNG.uniform(-1.0, 1.0, (60, 2)), np.ones(60)])
T = np.tanh(2.0 * X[:, 0] - 0.5) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(60)
NET = fastbp.Network(3, 3, output="identity")
P = NET.n_params
W0 = NET.init(1)

OPTIMIZERS: list[Any] = [
    LevenbergMarquardt(),
    LevenbergMarquardt(damping="marquardt"),
    "lbfgs",
    "BFGS",
    SGD(0.01),
    SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    Adam(0.01),
    AdamW(0.01),
]


# --- l2 of each parameter -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_number_is_the_vector_of_that_number(optimizer: Any, batch_size: int) -> None:
    options: Any = {"w0": W0, "optimizer": optimizer, "epochs": 10, "batch_size": batch_size}
    one = fastbp.fit(NET, X, T, l2=0.1, **options)
    many = fastbp.fit(NET, X, T, l2=np.full(P, 0.1), **options)
    np.testing.assert_allclose(one.w, many.w, rtol=1e-10, atol=1e-12)
    assert one.loss == pytest.approx(many.loss, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_the_loss_has_the_penalty_of_each(optimizer: Any, batch_size: int) -> None:
    rng = np.random.default_rng(5)
    l2 = rng.uniform(0.0, 1.0, P)
    options: Any = {"w0": W0, "optimizer": optimizer, "batch_size": batch_size}
    result = fastbp.fit(NET, X, T, l2=l2, epochs=5, **options)
    mean, _ = NET.loss_and_grad(result.w, X, T)
    assert result.loss == pytest.approx(mean + 0.5 * (l2 * result.w) @ result.w, rel=1e-12)


def test_optimizers_agree_on_one_minimum() -> None:
    l2 = np.full(P, 0.02)
    l2[:3] = 0.1
    fits = [fastbp.fit(NET, X, T, w0=W0, optimizer=o, l2=l2) for o in ("lm", "lbfgs", "BFGS")]
    for result in fits:
        assert result.converged
        np.testing.assert_allclose(result.w, fits[0].w, atol=1e-3)
    _, gradient = NET.objective(X, T, l2=l2)(fits[1].w)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)


@pytest.mark.parametrize("optimizer", [SGD(0.05), Adam(0.01)], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 60])
def test_what_is_penalised_shrinks_and_the_others_do_not(optimizer: Any, batch_size: int) -> None:
    """Data that say nothing: inputs of zero move output weights by the penalty alone."""
    l2 = np.zeros(P)
    l2[1] = 0.5
    result = fastbp.fit(
        NET, 0.0 * X, T, w0=W0, l2=l2, optimizer=optimizer, epochs=3, batch_size=batch_size
    )
    moved = result.w != W0
    assert moved[1]
    assert abs(result.w[1]) < abs(W0[1])
    assert moved.sum() == 1


def test_intervals_with_the_penalty_of_some() -> None:
    l2 = np.full(P, 0.01)
    l2[3:] = 0.05
    l2[5] = 0.0
    some = fastbp.fit(NET, X, T, w0=W0, l2=l2)
    J = NET.per_sample_grad(some.w, X)
    r = NET(some.w, X) - T
    A = J.T @ J + len(X) * np.diag(l2)
    inverse = np.linalg.inv(A)
    s2 = r @ r / (len(X) - np.trace(inverse @ J.T @ J))
    np.testing.assert_allclose(some.covariance, s2 * inverse @ J.T @ J @ inverse, rtol=1e-6)
    same = fastbp.fit(NET, X, T, w0=W0, l2=0.05)
    each = fastbp.fit(NET, X, T, w0=W0, l2=np.full(P, 0.05))
    np.testing.assert_allclose(each.covariance, same.covariance, rtol=1e-9, atol=1e-15)


def test_checkpoints_tell_penalties_and_bounds_apart(tmp_path: Any) -> None:
    path = tmp_path / "fit.npz"
    options: Any = {"w0": W0, "epochs": 3, "checkpoint": path}
    l2 = np.full(P, 0.1)
    first = fastbp.fit(NET, X, T, l2=l2, bounds=(-3.0, 3.0), **options)
    again = fastbp.fit(NET, X, T, l2=l2, bounds=(-3.0, 3.0), **options)
    assert np.array_equal(first.w, again.w)
    l2[0] = 0.2
    with pytest.raises(ValueError, match="other arguments"):
        fastbp.fit(NET, X, T, l2=l2, bounds=(-3.0, 3.0), **options)
    l2[0] = 0.1
    with pytest.raises(ValueError, match="other arguments"):
        fastbp.fit(NET, X, T, l2=l2, bounds=(-3.0, 4.0), **options)
    with pytest.raises(ValueError, match="other arguments"):
        fastbp.fit(NET, X, T, l2=l2, **options)


# --- bounds ---------------------------------------------------------------------------------------

LINEAR = fastbp.Network(3, activations=["identity"], output="identity")
FREE = np.array([False, True, True, True])  # y = w_1 x_1 + w_2 x_2 + w_3 x_3


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")  # tight bounds: no good fit
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "TNC", "SLSQP"])
@pytest.mark.parametrize("seed", range(6))
def test_a_linear_problem_within_bounds(optimizer: str, seed: int) -> None:
    """One minimum, by SciPy's solver for linear least squares within bounds."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 3))
    t = rng.standard_normal(30) + A @ rng.standard_normal(3)
    low = rng.uniform(-0.5, 0.0, 3)
    high = low + rng.uniform(0.05, 0.6, 3)
    want = scipy_optimize.lsq_linear(A, t, (low, high), tol=1e-14)
    result = fastbp.fit(
        LINEAR,
        A,
        t,
        w0=np.r_[1.0, 0.5 * (low + high)],
        free=FREE,
        bounds=(np.r_[0.0, low], np.r_[2.0, high]),
        optimizer=optimizer,
    )
    assert result.converged, result.reason
    assert result.loss == pytest.approx(want.cost / 30, rel=1e-9)
    np.testing.assert_allclose(result.w[1:], want.x, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs"])
@pytest.mark.parametrize("bounds", ["positive", (-1.0, 1.0), (-np.inf, np.full(P, 0.5))])
def test_a_network_within_bounds(optimizer: str, bounds: Any, dtype: str) -> None:
    net = fastbp.Network(3, 3, output="identity", dtype=dtype)
    low, high = (0.0, np.inf) if isinstance(bounds, str) else bounds
    given = (X.astype(dtype), T.astype(dtype))
    seen = []
    result = fastbp.fit(
        net,
        *given,
        bounds=bounds,
        optimizer=optimizer,
        epochs=500,
        seed=1,
        callback=lambda state: seen.append(state.w.copy()),
    )
    assert all(((low <= w) & (w <= high)).all() for w in (*seen, result.w))
    assert (np.diff(result.history["loss"]) <= 1e-6 * result.loss).all()
    # A polish by SciPy finds no better point: it is a minimum within the bounds.
    exact = NET.objective(X, T)
    polished = scipy_optimize.minimize(
        exact,
        result.w.astype(float),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(np.broadcast_to(low, P), np.broadcast_to(high, P), strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    assert result.loss - polished.fun < (1e-4 if dtype == "float64" else 1e-2) * result.loss


def test_levenberg_marquardt_as_least_squares_has_it() -> None:
    """From one start, to the minimum that SciPy's trust region within bounds finds."""
    low, high = np.full(P, -1.0), np.full(P, 1.5)
    w0 = np.clip(W0, -0.5, 0.5)
    want = scipy_optimize.least_squares(
        lambda w: NET(w, X) - T,
        w0,
        lambda w: NET.per_sample_grad(w, X),
        bounds=(low, high),
        x_scale="jac",
        ftol=1e-12,
        xtol=1e-12,
        gtol=1e-12,
    )
    result = fastbp.fit(NET, X, T, w0=w0, bounds=(low, high), epochs=500)
    assert result.loss == pytest.approx(want.cost / len(X), rel=1e-6)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")  # many end in poor minima
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bounds", [None, (-1.0, 1.0)])
def test_steps_that_are_short_by_slopes_from_far_away_claim_nothing(
    bounds: Any, dtype: str
) -> None:
    """Starts where exp is 1e20 and more: the columns' running maxima hide what is left to gain."""
    net = fastbp.Network(2, activations=["exp", "tanh"], output="identity", dtype=dtype)
    exact = fastbp.Network(2, activations=["exp", "tanh"], output="identity")
    columns = 100.0 if dtype == "float64" else 20.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        far = np.column_stack([columns * rng.standard_normal(20), np.ones(20)]).astype(dtype)
        t = rng.standard_normal(20).astype(dtype)
        w0 = np.clip(rng.standard_normal(net.n_params), -1.0, 1.0).astype(dtype)
        try:
            result = fastbp.fit(net, far, t, w0=w0, bounds=bounds, optimizer="lm")
        except fastbp.NonFiniteLossError:
            continue
        if not result.converged:
            continue
        # The fall that the model foresees of each parameter alone.
        w = result.w.astype(float)
        loss, g, G = exact.objective(far.astype(float), t.astype(float)).gauss_newton(w)
        low, high = (-np.inf, np.inf) if bounds is None else bounds
        bent = np.maximum(np.diag(G), 1e-300)
        way = np.minimum(np.abs(g) / bent, np.where(g > 0, w - low, high - w))
        fall = way * (np.abs(g) - 0.5 * bent * way)
        assert fall.max() <= (1e-6 if dtype == "float64" else 1e-3) * loss, (seed, result.reason)


def test_bounds_that_do_not_bind_change_nothing_but_rounding() -> None:
    free = fastbp.fit(NET, X, T, w0=W0, l2=1e-3)
    loose = fastbp.fit(NET, X, T, w0=W0, l2=1e-3, bounds=(-100.0, 100.0))
    without = fastbp.fit(NET, X, T, w0=W0, l2=1e-3, bounds=(-np.inf, np.full(P, np.inf)))
    assert loose.converged
    np.testing.assert_allclose(loose.w, free.w, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(without.w, free.w)


def test_what_float32_does_not_hold_is_beyond_its_numbers() -> None:
    """Without a word of NumPy's, which would be an error here."""
    net = fastbp.Network(2, 2, output="identity", dtype=np.float32)
    x = np.array([[0.5, 1.0], [1.5, 1.0], [2.0, 1.0]], np.float32)
    options: dict[str, Any] = {"epochs": 3, "l2": 0.1}
    bounded = fastbp.fit(net, x, x[:, 0], bounds=(-1e300, 1e300), **options)
    np.testing.assert_array_equal(bounded.w, fastbp.fit(net, x, x[:, 0], **options).w)
    with pytest.raises(ValueError, match="X must be finite; got inf"):
        fastbp.fit(net, [[1e300, 1.0]], [1.0])


def test_all_held_at_the_start_is_no_saddle() -> None:
    bounds = (np.r_[0.0, -1.0, -1.0, -1.0], np.r_[2.0, 0.0, 0.0, 0.0])
    w0 = np.r_[1.0, 0.0, 0.0, 0.0]
    for optimizer in ("lm", "lbfgs"):
        result = fastbp.fit(
            LINEAR, np.abs(X), np.ones(60), w0=w0, free=FREE, bounds=bounds, optimizer=optimizer
        )
        assert result.converged, result.reason
        assert np.array_equal(result.w, w0)


def test_a_start_left_out_lies_within() -> None:
    result = fastbp.fit(NET, X, T, bounds="positive", epochs=0, seed=3)
    assert (result.w >= 0.0).all()
    start = fastbp.fit(NET, X, T, epochs=0, seed=3).w
    np.testing.assert_allclose(result.w, np.abs(start), rtol=1e-12)
    narrow = fastbp.fit(NET, X, T, bounds=(5.0, 5.5), epochs=0, seed=3).w
    assert ((5.0 <= narrow) & (narrow <= 5.5)).all()


def test_fit_many_keeps_bounds() -> None:
    fits = fastbp.fit_many(NET, X, T, seeds=3, bounds="positive", epochs=20)
    assert all((result.w >= 0.0).all() for result in fits)


def test_a_start_outside_is_refused() -> None:
    w0 = np.full(P, 0.5)
    w0[2] = -0.1
    with pytest.raises(ValueError, match=r"parameter 2 is -0\.1, outside \[0"):
        fastbp.fit(NET, X, T, w0=w0, bounds="positive")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "BFGS", "CG", "trust-ncg", "COBYLA"])
def test_optimizers_without_bounds_refuse(optimizer: str) -> None:
    with pytest.raises(ValueError, match="knows no bounds"):
        fastbp.fit(NET, X, T, bounds="positive", optimizer=optimizer)


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ("negative", ValueError, "positive"),
        (1.0, TypeError, r"\(low, high\)"),
        ((0.0, 1.0, 2.0), TypeError, r"\(low, high\)"),
        ((0.0, np.zeros(3)), ValueError, "high.*one for each"),
        ((1.0, 0.0), ValueError, "parameter 0 has"),
        ((0.0, 0.0), ValueError, "parameter 0 has"),
        ((np.nan, 1.0), ValueError, "parameter 0 has"),
        (("a", 1.0), TypeError, "low"),
    ],
)
def test_bounds_that_are_none_are_refused(bounds: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.fit(NET, X, T, bounds=bounds)


def test_intervals_take_what_lies_on_its_bound_as_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    bounds = (np.r_[0.0, -5.0, -5.0, 0.3], np.r_[2.0, 5.0, 5.0, 5.0])
    t = X @ np.array([1.0, 0.5, 0.0]) + 0.1 * rng.standard_normal(60)
    w0 = np.r_[1.0, 0.0, 0.0, 1.0]
    result = fastbp.fit(LINEAR, X, t, w0=w0, free=FREE, bounds=bounds)
    assert result.w[3] == 0.3
    of_estimators = without_data(result)  # which find what they keep without a word
    fastbp.save(tmp_path / "model", LINEAR, result.w, result=result)
    for one in (result, of_estimators, fastbp.load(tmp_path / "model")):
        with pytest.warns(fastbp.FitWarning, match="1 parameters lie on their bounds") as said:
            one.predict(X, return_std=True)
        assert [each.filename for each in said] == [__file__]
    assert "1 parameters lie on their bounds" in result.report().warnings[-1]
    with pytest.warns(fastbp.FitWarning, match="1 parameters lie on their bounds"):
        got = result.covariance
    assert not got[3].any()
    known = fastbp.fit(LINEAR, X, t, w0=result.w, free=FREE & np.array([1, 1, 1, 0], bool))
    np.testing.assert_allclose(got, known.covariance, rtol=1e-6, atol=1e-12)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "TNC", "SLSQP"])
def test_what_ends_next_to_its_bound_is_on_it(optimizer: str) -> None:
    """Methods with units of their own end there: its deviation was that of a free parameter."""
    n_on = 0
    for bound in np.linspace(0.2, 0.6, 7):
        w0 = 0.1 * W0
        found = fastbp.fit(NET, X, T, w0=w0, bounds=(-bound, bound), l2=1e-4, optimizer=optimizer)
        on = bound - np.abs(found.w) < 1e-9
        assert found.converged
        np.testing.assert_array_equal(found.covariance.diagonal() == 0.0, on)
        n_on += np.count_nonzero(on)
    assert n_on >= 7


def test_where_all_lie_on_their_bounds_nothing_is_uncertain() -> None:
    bounds = (np.r_[0.0, 0.5, 0.5, 0.5], np.r_[2.0, 5.0, 5.0, 5.0])
    t = -X @ np.ones(3)
    with pytest.warns(fastbp.FitWarning):
        found = fastbp.fit(LINEAR, X, t, w0=np.r_[1.0, 1.0, 1.0, 1.0], free=FREE, bounds=bounds)
        y, std = found.predict(X, return_std=True)
        noise = found.predict(X, return_std=True, noise=True)[1]
    assert (found.w[1:] == 0.5).all() and not std.any()
    np.testing.assert_allclose(noise, np.sqrt(np.mean((y - t) ** 2)))
