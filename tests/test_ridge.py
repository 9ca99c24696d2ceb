"""The penalty of a straight line by leaving one out, beside fits that do and scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

import fastbp
from fastbp._columns import Columns
from fastbp._training import choose
from fastbp._training.ridge import left_out
from fastbp.sklearn import NetworkRegressor

PATH = np.array([1e6, 3.0, 0.2, 1e-3])


def by_fits(X, t, c, columns, l2, like):
    """Return the errors of fits to all others, λ beside Σ c r² over the sum of all c."""
    t, c, errors = t.reshape(len(t), -1), c / c.sum(), 0.0
    penalty = np.diag(l2 * columns.unit**2)
    if columns.bias is not None:
        penalty[columns.bias, columns.bias] = 0.0
    for i in range(len(X)):
        left = like != like[i]
        A = X[left].T * c[left]
        V = np.linalg.solve(A @ X[left] + penalty, A @ t[left])
        errors += c[i] * np.sum((t[i] - X[i] @ V) ** 2)
    return errors


@pytest.mark.parametrize(("B", "N", "K"), [(30, 4, 1), (30, 4, 3), (9, 14, 1), (4, 1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_what_fits_without_each_observation_say(B, N, K, bias):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((B, N)) * np.geomspace(0.1, 50.0, N) + 2.0
    X = np.column_stack([X, np.full(B, 0.3)]) if bias else X
    t = X[:, :1] @ rng.standard_normal((1, K)) + rng.standard_normal((B, K)) + 5.0
    t, c = t[:, 0] if K == 1 else t, rng.uniform(0.2, 3.0, B)
    columns, alone = Columns.of(X, c), np.arange(B)
    found = left_out(X, t, c, columns, PATH)
    expected = np.array([by_fits(X, t, c, columns, l2, alone) for l2 in PATH])
    np.testing.assert_allclose(found / found[-1], expected / expected[-1], rtol=1e-8)
    far = left_out(X, 1e-170 * t, c, columns, PATH)
    np.testing.assert_allclose(far, found, rtol=1e-12)


def test_like_observations_are_left_out_together():
    rng = np.random.default_rng(7)
    X, t, c = rng.standard_normal((12, 5)), rng.standard_normal(12), rng.uniform(0.5, 2.0, 12)
    again = np.array([3, 3, 7])
    rows, like = np.r_[np.arange(12), again], np.r_[np.arange(12), again]
    columns = Columns.of(X[rows], c[rows])
    twice = left_out(X[rows], t[rows], c[rows], columns, PATH, like)
    weights = c * (1.0 + np.bincount(again, minlength=12))
    once = left_out(X, t, weights, columns, PATH)
    np.testing.assert_allclose(twice, once, rtol=1e-12)
    expected = np.array([by_fits(X[rows], t[rows], c[rows], columns, l2, like) for l2 in PATH])
    np.testing.assert_allclose(twice / twice[-1], expected / expected[-1], rtol=1e-9)


@pytest.mark.filterwarnings("ignore:the loss on what was held out")
def test_a_line_has_the_penalty_that_leaving_one_out_chooses():
    """Whatever the seed: five folds choose one of 0.03 to 0.5 here."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((60, 8))
    t = X @ rng.standard_normal(8) + 3.0 * rng.standard_normal(60)
    Z = (X - X.mean(0)) / X.std(0)
    l2s = choose._LEFT_OUT
    ridge = RidgeCV(l2s * len(t)).fit(Z, t)
    lines = 0
    for seed in range(5):
        model = NetworkRegressor(4, random_state=seed).fit(X, t)
        A, _ = model.network_.split(model.w_)
        if np.abs(A[:4]).max() < 1e-6:  # no bent neuron is taken
            np.testing.assert_allclose(model.predict(X), ridge.predict(Z), rtol=1e-4, atol=1e-4)
            lines += 1
    assert lines >= 3
    assert not np.isclose(Ridge(1e-3).fit(Z, t).predict(Z), ridge.predict(Z), 1e-3).all()


def test_rows_that_are_there_twice_are_of_twice_the_weight():
    rng = np.random.default_rng(7)
    X = np.column_stack([rng.standard_normal((40, 6)), np.ones(40)])
    t = X @ rng.standard_normal(7) + 2.0 * rng.standard_normal(40)
    net = fastbp.Network(7, activations=["tanh", "identity", "one"], output="identity")
    rows = np.r_[np.arange(40), np.arange(10)]
    c = np.where(np.arange(40) < 10, 2.0, 1.0)
    twice = fastbp.fit(net, X[rows], t[rows], l2="auto", seed=0)
    once = fastbp.fit(net, X, t, l2="auto", seed=0, sample_weight=c)
    assert twice.l2 == once.l2
    np.testing.assert_allclose(twice.predict(X), once.predict(X), rtol=1e-6, atol=1e-6)
