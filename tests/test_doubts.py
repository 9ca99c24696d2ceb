"""The start for columns as they are, and what a fit says against itself."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp import FitWarning, activations
from fastbp._training.doubts import _tails_of, range_of
from fastbp.optimizers import SGD, AdamW

RNG = np.random.default_rng(0)
Z = np.column_stack([RNG.standard_normal((120, 2)), np.ones(120)])
Z[:, :2] = (Z[:, :2] - Z[:, :2].mean(axis=0)) / Z[:, :2].std(axis=0)
T = np.sin(2.0 * Z[:, 0]) + 0.5 * Z[:, 1] + 0.1 * RNG.standard_normal(120)
RAW = Z * [200.0, 1e-3, 1.0] + [800.0, 0.02, 0.0]
NET = fastbp.Network(3, activations=["tanh"] * 3 + ["one"], output="identity")


# ---- the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", [1.0, -3.0, 1e-170])
@pytest.mark.parametrize("unit", [1.0, 1e-170, 1e100])
def test_the_start_does_with_the_columns_what_it_does_with_scaled_ones(
    constant: float, unit: float
) -> None:
    X = RAW * [unit, 1.0, constant]
    want = NET(NET.init(3), Z * [1.0, 1.0, np.sign(constant)])
    np.testing.assert_allclose(NET(NET.init(3, X), X), want, rtol=1e-12, atol=1e-12)


def test_a_start_without_a_constant_column_is_scaled_alone() -> None:
    net = fastbp.Network(2, 4)
    W = net.split(net.init(0))[1] / RAW[:, :2].std(axis=0)
    np.testing.assert_allclose(net.split(net.init(0, RAW[:, :2]))[1], W, rtol=1e-13)


def test_columns_that_are_constant_but_for_rounding_are_constant() -> None:
    rng = np.random.default_rng(0)
    X = RAW.copy()
    X[:, 2] = np.where(rng.random(120) < 0.5, 0.3, 0.1 + 0.2)
    np.testing.assert_allclose(NET(NET.init(0, X), X), NET(NET.init(0), Z), rtol=1e-9)
    single = fastbp.Network(3, activations=NET.activations, output="identity", dtype="float32")
    X32 = X.astype(np.float32)
    X32[:60, 2] = np.nextafter(X32[0, 2], np.float32(1.0))
    values = single(single.init(0, X32), X32)
    np.testing.assert_allclose(values, NET(NET.init(0), Z), rtol=1e-2, atol=1e-3)


def test_weights_of_a_start_are_repetitions_and_none_is_absence() -> None:
    rng = np.random.default_rng(0)
    c = rng.integers(0, 3, 120)
    X = RAW.copy()
    X[c == 0] = 1e9
    got = NET.init(0, X, sample_weight=c)
    np.testing.assert_allclose(got, NET.init(0, np.repeat(X, c, axis=0)), rtol=1e-10)


def test_what_a_start_refuses() -> None:
    with pytest.raises(ValueError, match="at least one observation"):
        NET.init(0, np.empty((0, 3)))
    with pytest.raises(ValueError, match=r"must have shape \(B, 3\)"):
        NET.init(0, RAW[:, :2])
    with pytest.raises(ValueError, match="must be finite"):
        NET.init(0, RAW * [1.0, np.nan, 1.0])
    with pytest.raises(ValueError, match=r"column 0 of X.* rescale"):
        NET.init(0, RAW * [1e-320, 1.0, 1.0])


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "bfgs", "adam", SGD(0.05)])
def test_raw_columns_are_fitted_like_scaled_ones(optimizer: Any) -> None:
    net = fastbp.Network(3, activations=["tanh", "one"], output="identity")
    options: dict[str, Any] = {"optimizer": optimizer, "epochs": 100}
    want = fastbp.fit(net, Z, T, validation=(Z[:40], T[:40] + 0.1), **options)
    for factor in (1.0, 1e6):
        X = RAW * [factor, 1.0, 1.0 / factor]
        seen: list[float] = []
        got = fastbp.fit(
            net,
            X,
            T,
            validation=(X[:40], T[:40] + 0.1),
            callback=lambda state, X=X, seen=seen: seen.append(net.loss_and_grad(state.w, X, T)[0]),
            **options,
        )
        np.testing.assert_allclose(got.loss, want.loss, rtol=1e-6)
        assert got.validation_loss is not None
        np.testing.assert_allclose(got.validation_loss, want.validation_loss, rtol=1e-6)
        np.testing.assert_allclose(got.loss, net.loss_and_grad(got.w, X, T)[0], rtol=1e-12)
        if optimizer in ("lm", "lbfgs", "bfgs"):  # of the others a loss is of before the step
            np.testing.assert_allclose(seen, got.history["loss"], rtol=1e-9)


def test_targets_in_other_units_are_fitted_alike() -> None:
    net = fastbp.Network(3, activations=["tanh", "one"], output="identity")
    want = fastbp.fit(net, Z, T)
    assert want.converged
    for factor in (1e-12, 1e-6, 1e6, 1e12):
        got = fastbp.fit(net, Z, T * factor)
        np.testing.assert_allclose(got.predict(Z) / factor, want.predict(Z), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", ["squared", "huber", "log_cosh"])
def test_targets_whose_squares_vanish_are_refused(loss: str) -> None:
    for dtype, small in (("float64", 1e-170), ("float32", 1e-20)):
        net = fastbp.Network(3, 2, output="identity", dtype=dtype)
        with pytest.raises(ValueError, match=r"targets must be 0 or so large .* rescale them"):
            fastbp.fit(net, Z.astype(dtype), (small * T).astype(dtype), loss=loss)
    assert fastbp.fit(NET, Z, np.zeros(120), loss=loss, optimizer="lm").loss < 1e-20


def test_the_start_of_a_fit_is_that_of_init() -> None:
    rng = np.random.default_rng(0)
    net = fastbp.Network(3, 4)
    c = rng.integers(0, 3, 120)
    for l2 in (0.0, 0.1):
        got = fastbp.fit(net, RAW, np.tanh(T), sample_weight=c, l2=l2, epochs=0, seed=4)
        assert np.array_equal(got.w, net.init(4, RAW, sample_weight=c))
    held = fastbp.fit(net, RAW, np.tanh(T), optimizer=AdamW(), validation=0.5, epochs=0)
    assert not np.array_equal(held.w, net.init(0, RAW))  # without what is held out


# ---- doubts --------------------------------------------------------------------------------------


def said(net: fastbp.Network, X: Any, t: Any, **options: Any) -> str:
    """Fit, and return the one thing that is said against it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fastbp.fit(net, X, t, **options)
    assert tuple(str(each.message) for each in caught) == result.warnings
    assert all(each.category is FitWarning and each.filename == __file__ for each in caught)
    return " | ".join(result.warnings)


def test_targets_outside_the_range_of_the_output() -> None:
    for output, t in (("tanh", 3.0 * T), ("softplus", T), ("logistic", T)):
        assert "outside the range of the output" in said(fastbp.Network(3, 4, output=output), Z, t)
    for output, t in (("tanh", np.sign(T)), ("softplus", T**2), ("logistic", T > 0), ("exp", T**2)):
        assert said(fastbp.Network(3, 4, output=output), Z, t * 1.0) == ""
    odds = fastbp.Network(3, 4, output="logistic")
    assert said(odds, Z, (T > 0) * 1.0, loss="cross_entropy", l2=1e-3) == ""


def test_a_loss_no_better_than_a_constant_s() -> None:
    noise = np.random.default_rng(0).standard_normal(20000)
    X = np.column_stack([np.random.default_rng(1).standard_normal(20000), np.ones(20000)])
    net = fastbp.Network(2, activations=["tanh", "one"], output="identity")
    assert "no better than that of a constant" in said(net, X, noise)
    assert "no better than that of a constant" in said(net, X, noise, loss="huber", seed=1)
    counts = np.random.default_rng(2).poisson(3.0, 20000) * 1.0
    assert "no better than that of a constant" in said(net, X, counts, loss="poisson")
    coins = np.random.default_rng(3).integers(0, 2, 20000) * 1.0
    odds = fastbp.Network(2, activations=["tanh", "one"], output="logistic")
    assert "no better than that of a constant" in said(odds, X, coins, loss="cross_entropy")
    part = noise + X[:, 0]  # half of it is explained, and this loss is twice the library's
    own = fastbp.loss(lambda y, t: (y - t) ** 2, name="squared")
    assert said(net, X[:999], part[:999], loss=own) == ""
    assert said(net, X, np.full(20000, 3.0)) == ""  # there is nothing more to explain
    assert said(NET, Z, T, l2=100.0) == ""  # a penalty that is meant to leave no more
    assert said(NET, Z, T, w0=NET.init(0), optimizer=SGD(1e-9), epochs=10) == ""  # a few steps


def test_saturated_neurons() -> None:
    w0 = NET.init(0) * 1e4
    assert "neurons are saturated" in said(NET, Z, T, w0=w0, optimizer=SGD(1e-9), epochs=50)
    dead = fastbp.Network(3, 4, activations="relu", output="identity")
    w0 = np.concatenate([np.ones(4), np.tile([0.0, 0.0, -1.0], 4)])
    assert "4 of 4 neurons are saturated" in said(dead, Z, T, w0=w0, optimizer="adam", epochs=50)


def test_more_parameters_than_observations() -> None:
    X, t = Z[:12], T[:12]
    assert "16 free parameters and 12 observations" in said(NET, X, t)
    assert "16 free parameters and 12 obs" in said(NET, Z, T, sample_weight=np.arange(120) < 12)
    assert said(NET, X, t, l2=1e-3) == ""
    assert said(NET, X, t, validation=(Z[12:], T[12:])) == ""
    assert said(NET, X, t, free=np.arange(16) < 4) == ""


def test_targets_outside_the_range_of_their_output() -> None:
    net = fastbp.Network(3, 6, output=["identity", "tanh", "logistic", "tanh"])
    t = np.column_stack([3.0 * T, np.tanh(T), 2.0 * T, 3.0 * T])
    got = said(net, Z, t, epochs=3)
    assert re.match(
        r"\d+ of 120 targets in column 2 of t lie outside the range of the output 'logistic', 0 to "
        r"1, the farthest at .*, and so do targets in 1 other columns: scale the targets",
        got,
    )
    assert said(net, Z, t * [1.0, 1.0, 0.0, 0.0] + [0.0, 0.0, 0.5, 0.5], epochs=3) == ""
    shares = fastbp.Network(3, 4, n_outputs=2, output="softmax")
    assert "column 0 of t lie outside the range of the output 'softmax'" in said(
        shares, Z, np.column_stack([T, 1.0 - T]), epochs=3
    )
    p = (1.0 + np.tanh(T)) / 2.0
    assert said(shares, Z, np.column_stack([p, 1.0 - p]), l2=1e-6) == ""


def test_a_loss_of_one_output_no_better_than_a_constant_s() -> None:
    """The others' losses may hide it."""
    noise = np.random.default_rng(0).standard_normal((20000, 2))
    X = np.column_stack([np.random.default_rng(1).standard_normal(20000), np.ones(20000)])
    outputs = {"output": ["identity", "identity"], "activations": ["tanh", "one"]}
    net = fastbp.Network(2, **outputs)
    # Column 1 is noise, and too small beside the other for its own part of the loss to be seen.
    t = np.column_stack([np.tanh(X[:, 0]), 1e-3 * noise[:, 0]])
    got = said(net, X, t)
    assert got.startswith("the loss in column 1 of t, ") and "targets of one scale" in got
    assert "loss in column 0 of t" in said(net, X, t[:, ::-1], loss="huber", seed=1)
    assert said(net, X, t * [10.0, 1.0], l2=1.0) == ""  # it may be meant to leave no more
    constant = np.column_stack([np.tanh(X[:, 0]), np.full(20000, 3.0)])
    assert said(net, X, constant) == ""
    coins = (noise > 0.0) * 1.0
    coins[:, 0] = X[:, 0] + 0.5 * noise[:, 0] > 0.0
    odds = fastbp.Network(2, activations=["tanh", "one"], output=["logistic"] * 2)
    assert "loss in column 1 of t, 0.693" in said(odds, X, coins, loss="cross_entropy")


def test_classes_no_better_than_their_frequencies() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.standard_normal(20000), np.ones(20000)])
    dice = rng.choice(3, 20000, p=[0.2, 0.3, 0.5])
    net = fastbp.Network(2, activations=["tanh", "one"], output="softmax", n_outputs=3)
    p = np.bincount(dice) / 20000
    got = said(net, X, dice, loss="cross_entropy")
    assert f"is no better than that of a constant, {-p @ np.log(p):.6g}: try another" in got
    assert "of a constant" in said(net, X, np.eye(3)[dice])
    told = np.where(X[:, 0] > 0.0, dice, 1)
    for t, loss in ((told, "cross_entropy"), (np.eye(3)[told], "squared")):
        assert said(net, X, t, loss=loss, l2=1e-5) == ""
    assert said(net, X, np.zeros(20000), loss="cross_entropy", l2=1e-3) == ""
    assert said(net, X, dice, loss="cross_entropy", l2=100.0) == ""  # meant to leave no more


def test_more_parameters_than_numbers_of_several_outputs() -> None:
    """K numbers an observation; of a softmax K − 1, and H of its parameters change nothing."""
    for output, n in (("identity", 9), ("softmax", 11)):
        net = fastbp.Network(3, 4, n_outputs=3, output=output)  # 24 parameters, 20 that y tells
        options = {"loss": "cross_entropy"} if output == "softmax" else {}
        t = np.eye(3)[np.arange(n) % 3]
        for B in (n, n - 1):
            got = said(net, Z[:B], t[:B], optimizer="lbfgs", epochs=300, **options)
            many = f"24 free parameters and {B} observations of 3 outputs" in got
            assert many == (B * (3 - (output == "softmax")) <= (20 if options else 24))


def test_raw_columns_without_a_constant_one() -> None:
    net = fastbp.Network(2, 4, output="identity")
    assert "column 1 of X has the mean 0.02" in said(net, RAW[:, :2], T, epochs=1)
    assert said(NET, RAW, T) == ""
    assert said(net, Z[:, :2], T) == ""
    assert said(net, RAW[:, :2], T, w0=net.init(0, RAW[:, :2]), epochs=1) == ""


def test_good_fits_say_nothing() -> None:
    X, t, _ = fastbp.datasets.load_diabetes()
    X = np.column_stack([X, np.ones(len(X))])
    for H in (2, 8):
        net = fastbp.Network(11, activations=["tanh"] * H + ["one"], output="identity")
        for l2 in (0.0, 1e-2):
            assert fastbp.fit_many(net, X, t, seeds=5, l2=l2, threads=1)[0].warnings == ()


def test_a_cause_of_many_fits_is_said_once() -> None:
    with pytest.warns(FitWarning) as caught:
        fits = fastbp.fit_many(NET, Z[:12], T[:12], seeds=3, threads=1)
    assert len(caught) == 1
    assert str(caught[0].message).startswith("3 of 3 fits: there are 16 free parameters")
    assert caught[0].filename == __file__
    assert all(len(result.warnings) == 1 for result in fits)


def test_what_is_known_of_the_activations() -> None:
    bounded = {"tanh": (-1, 1), "logistic": (0, 1), "arctan": (-np.pi / 2, np.pi / 2)}
    bounded |= {"softsign": (-1, 1), "erf": (-1, 1), "gaussian": (0, 1), "sin": (-1, 1)}
    below = {"relu": 0.0, "softplus": 0.0, "exp": 0.0, "square": 0.0, "elu": -1.0}
    for name in activations.NAMES:
        v = activations.get_activation(name)
        low, high = range_of(v)
        if name in bounded:
            np.testing.assert_allclose((low, high), bounded[name], atol=1e-6)
        if name in below:
            assert (round(low, 9), high) == (below[name], np.inf)
        first, last = _tails_of(v)
        assert np.isnan(first) == (name == "one")
        assert not first >= last
