"""Fits of several outputs: every optimizer, classes, units, and the paths that K = 1 has."""

import numpy as np
import pytest
from support import DTYPES

import fastbp


def teacher(K=3, dtype="float64", B=300):
    rng = np.random.default_rng(K)
    net = fastbp.Network(4, 6, n_outputs=K, output="identity", dtype=dtype)
    w = rng.normal(size=net.n_params).astype(dtype)
    X = np.column_stack([rng.normal(size=(B, 3)), np.ones(B)]).astype(dtype)
    return net, w, X, net(w, X)


def classes(K=3, B=150):
    rng = np.random.default_rng(7)
    centres = 2.0 * rng.normal(size=(K, 3))
    y = rng.integers(0, K, B)
    return np.column_stack([centres[y] + rng.normal(size=(B, 3)), np.ones(B)]), y


@pytest.mark.parametrize("dtype", DTYPES)
def test_levenberg_finds_the_teacher(dtype):
    net, w, X, t = teacher(dtype=dtype)
    start = w * np.random.default_rng(1).uniform(0.8, 1.2, w.size).astype(dtype)
    result = fastbp.fit(net, X, t, w0=start, optimizer="lm", epochs=200)
    assert result.reason.startswith("converged")
    assert result.loss < 1e-24 if dtype == "float64" else result.loss < 1e-10
    np.testing.assert_allclose(result.predict(X), t, atol=1e-10 if dtype == "float64" else 1e-3)


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "adam", "sgd", "bfgs", "tnc", "trust-ncg"])
@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_every_optimizer_lowers_the_loss_it_says(loss, optimizer):
    if loss == "squared":
        net, _, X, t = teacher()
    else:
        X, t = classes()
        net = fastbp.Network(4, 5, n_outputs=3, output="softmax")
    w0 = net.init(3)
    result = fastbp.fit(net, X, t, loss=loss, w0=w0, optimizer=optimizer, epochs=30, l2=1e-3)
    objective = net.objective(X, t, loss=loss, l2=1e-3)
    np.testing.assert_allclose(result.loss, objective.value(result.w), rtol=1e-10)
    assert result.loss < 0.7 * objective.value(w0)


def test_classes_are_probabilities():
    X, y = classes()
    net = fastbp.Network(4, 5, n_outputs=3, output="softmax")
    given = {"loss": "cross_entropy", "seed": 0, "l2": 1e-3, "epochs": 40}
    by_classes = fastbp.fit(net, X, y, **given)
    np.testing.assert_array_equal(by_classes.w, fastbp.fit(net, X, np.eye(3)[y], **given).w)
    p = by_classes.predict(X)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-15)
    assert (p.argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "bfgs"])
def test_units_of_targets_and_columns_change_nothing(optimizer):
    net, _, X, t = teacher(K=2)
    t = t + 0.1 * np.random.default_rng(0).normal(size=t.shape)
    scale, unit = 1e-9, np.array([1e-6, 1e6, 1.0, 1.0])
    given = {"optimizer": optimizer, "seed": 0, "epochs": 2000}
    plain = fastbp.fit(net, X, t, **given)
    moved = fastbp.fit(net, X * unit, t * scale, **given)
    found, size = moved.predict(X * unit) / scale, float(np.abs(t).max())
    np.testing.assert_allclose(found, plain.predict(X), rtol=0, atol=1e-6 * size)


def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path):
    net, _, X, t = teacher(K=2)
    given = {"optimizer": "adam", "seed": 0}
    whole = fastbp.fit(net, X, t, epochs=8, **given)
    for epochs in (5, 8):
        last = fastbp.fit(net, X, t, epochs=epochs, checkpoint=tmp_path / "kept.npz", **given)
    np.testing.assert_array_equal(last.w, whole.w)


@pytest.mark.parametrize("validation", [0.25, "given"])
def test_validation(validation):
    X, y = classes()
    net = fastbp.Network(4, 5, n_outputs=3, output="softmax")
    if validation == "given":
        validation = (X[:40], y[:40])
    result = fastbp.fit(
        net, X, y, loss="cross_entropy", seed=0, l2=1e-3, epochs=30, validation=validation
    )
    assert result.validation_loss == min(result.history["validation_loss"])


def test_many_are_each_that_of_fit_alone():
    X, y = classes()
    net = fastbp.Network(4, 5, n_outputs=3, output="softmax")
    given = {"loss": "cross_entropy", "l2": 1e-3, "epochs": 10}
    fits = fastbp.fit_many(net, X, y, seeds=[0, 1], threads=2, **given)
    for seed, result in enumerate(fits.results):
        np.testing.assert_array_equal(result.w, fastbp.fit(net, X, y, seed=seed, **given).w)
    mean, std = fits.predict(X, return_std=True)
    assert mean.shape == std.shape == (150, 3)


def test_threads_give_the_same_bits():
    net, w, X, t = teacher(B=2001)
    for optimizer in ("lm", "lbfgs"):
        one, two = (
            fastbp.fit(net, X, t, w0=0.9 * w, optimizer=optimizer, epochs=8, threads=threads)
            for threads in (1, 2)
        )
        np.testing.assert_array_equal(one.w, two.w)


def test_an_elementwise_output_of_each():
    X, y = classes()
    net = fastbp.Network(4, 5, output=["identity", "tanh", "logistic"])
    t = np.eye(3)[y]
    result = fastbp.fit(net, X, t, loss="huber", seed=0, epochs=60, l2=1e-4)
    assert result.loss < 0.25 * net.objective(X, t, loss="huber").value(np.zeros(net.n_params))
