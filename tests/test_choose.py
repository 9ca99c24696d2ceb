"""The penalty by cross-validation: fit(l2="auto")."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.model_selection import GroupKFold

import fastbp
from fastbp import _boundary
from fastbp import _standardise as standardise
from fastbp._training import choose, held
from fastbp._training.choose import PATH
from fastbp._training.held import Losses
from fastbp.kernels.machine import sizes
from fastbp.sklearn import NetworkRegressor

RNG = np.random.default_rng(0)
ONES = np.ones((70, 1))
X = np.hstack([RNG.uniform(-3.0, 3.0, (70, 1)), ONES])
T = np.sin(X[:, 0]) + 0.3 * RNG.standard_normal(70)
X_NEW = np.column_stack([np.linspace(-3.0, 3.0, 400), np.ones(400)])
T_NEW = np.sin(X_NEW[:, 0]) + 0.3 * RNG.standard_normal(400)


def net_of(H=16, N=2, output="identity", linear=True):
    activations = ["tanh"] * H + ["identity"] * linear + ["one"]
    return fastbp.Network(N, activations=activations, output=output)


def chosen(net=None, X=X, t=T, **options):
    return fastbp.fit(net or net_of(4), X, t, l2="auto", **options)


@pytest.mark.parametrize("seed", range(4))
def test_a_noisy_sine(seed):
    result = chosen(net_of(), seed=seed)
    error = np.mean((result.predict(X_NEW) - T_NEW) ** 2)
    assert 1.0 - error / T_NEW.var() > 0.75
    assert not result.warnings


def test_the_path_and_the_choice():
    result = chosen()
    l2, loss, error = result.l2_path
    np.testing.assert_array_equal(l2, PATH[: len(l2)])
    assert result.l2 in l2 and loss.shape == error.shape == l2.shape
    best = loss.argmin()
    assert result.l2 >= l2[best]
    # The error of a difference of two is not more than both of theirs.
    assert loss[l2 == result.l2] <= loss[best] + 2.0 * error[best]
    report = result.report()
    assert report.l2 == result.l2 and np.isfinite(report.log_evidence)
    assert report.n_effective < 12.0 and "l2, chosen" in repr(report)


def test_it_is_the_fit_by_what_was_chosen():
    result = chosen(seed=3)
    again = fastbp.fit(result.net, X, T, l2=result.data.l2, seed=3)
    assert (again.w == result.w).all() and again.l2 is None
    split = again.net.split(result.data.l2)
    assert not split[0][-1] and not split[1][:-1, 1].any()  # biases have no penalty


@pytest.mark.parametrize("optimizer", [None, "lbfgs", fastbp.Adam(0.01)])
def test_threads_change_no_bit(optimizer):
    options = {"optimizer": optimizer, "epochs": 10, "seed": 5, "_quiet": True}
    one, three = (chosen(threads=n, **options) for n in (1, 3))
    assert (one.w == three.w).all()
    np.testing.assert_array_equal(one.l2_path, three.l2_path)


def test_units_change_no_choice():
    want = chosen()
    for result in (chosen(X=X * [1e3, 7.0]), chosen(t=1e4 * T + 5e4)):
        # Equal but for rounding, and for where the start has the mean.
        assert 0.3 < result.l2 / want.l2 < 4.0
        np.testing.assert_allclose(result.report().r2, want.report().r2, rtol=0.02)


def test_noise_ends_near_its_mean():
    rng = np.random.default_rng(2)
    Z = np.column_stack([rng.standard_normal((60, 5)), np.ones(60)])
    t = rng.standard_normal(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastbp.FitWarning)
        result = chosen(net_of(16, 6), Z, t)
    assert result.l2 > 0.1
    Z = np.column_stack([rng.standard_normal((600, 5)), np.ones(600)])
    t = rng.standard_normal(600)
    assert np.mean((result.predict(Z) - t) ** 2) < 1.2 * t.var()


def test_classes_are_shared_out():
    rng = np.random.default_rng(1)
    Z = np.column_stack([rng.standard_normal((80, 2)), np.ones(80)])
    t = (np.arange(80) % 16 == 0).astype(float)  # 5 of them, one in each fold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastbp.FitWarning)
        result = chosen(net_of(2, 3, "logistic"), Z, t, loss="cross_entropy")
    assert abs(result.predict(Z).sum() - 5.0) < 0.5
    net = fastbp.Network(3, activations=["tanh", "one"], n_outputs=3, output="softmax")
    classes = np.digitize(Z[:, 0], [-0.5, 0.5])
    with pytest.warns(fastbp.FitWarning, match="a linear model does better"):  # as it is one
        result = chosen(net, Z, classes, loss="cross_entropy")
    assert np.mean(result.predict(Z).argmax(axis=1) == classes) > 0.9


def test_folds_of_ones_own():
    groups = np.arange(70) // 10
    pairs = GroupKFold(3).split(X, T, groups)
    a, b = chosen(folds=pairs), chosen(folds=list(GroupKFold(3).split(X, T, groups)))
    assert (a.w == b.w).all()
    assert not np.array_equal(a.l2_path.loss, chosen().l2_path.loss)


def test_a_path_ends_where_less_penalty_makes_it_worse_if_not_clearly():
    """Errors are large where a line separates the classes but for a few."""
    X, y = load_wine(return_X_y=True)
    Z = standardise.Scaling.of(X).inputs(X)
    net = standardise.network(13, 6, "tanh", "softmax", 3, linear=True)
    free = standardise.free(net)
    result = fastbp.fit(net, Z, y, loss="cross_entropy", l2="auto", free=free)
    _, loss, error = result.l2_path
    assert len(loss) < len(PATH) and (loss[-3:] > 1.005 * loss.min()).all()
    assert (loss[-2:] < loss.min() + error[-2:]).all()


def test_answers_to_a_few_questions_are_observations_each():
    """Folds by what is alike, answers that differ held out, would leave a constant."""
    patterns = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0])).reshape(3, -1).T
    yes = np.round(60.0 / (1.0 + np.exp(-patterns @ [1.0, -0.6, 0.3]))).astype(int)
    x = np.repeat(patterns, 60, axis=0)
    y = np.concatenate([np.arange(60) < n for n in yes]).astype(float)
    order = np.random.default_rng(0).permutation(len(x))
    net = standardise.network(3, 4, "tanh", "logistic", 1, linear=True)
    given = {
        "loss": "cross_entropy",
        "l2": "auto",
        "free": standardise.free(net),
        "w0": net.init(0),
    }
    for rows in (order, order[::-1]):
        inputs = standardise.Scaling.of(x).inputs(x)
        result = fastbp.fit(net, inputs[rows], y[rows], **given)
        asked = result.predict(standardise.Scaling.of(x).inputs(patterns))
        np.testing.assert_allclose(asked, yes / 60.0, atol=0.07)


def test_validation_judges_where_there_are_no_folds():
    result = chosen(validation=(X_NEW, T_NEW))
    assert result.validation_loss is not None
    best = result.l2_path.loss.min()
    assert result.l2_path.loss[result.l2_path.l2 == result.l2] < 1.2 * best
    weighted = chosen(validation=(X_NEW, T_NEW, np.full(400, 2.0)))
    assert (weighted.w == result.w).all()
    shared = [chosen(validation=0.3, seed=seed) for seed in range(3)]  # 21 rows: one takes the line
    errors = [np.mean((result.predict(X_NEW) - T_NEW) ** 2) for result in shared]
    assert 1.0 - np.median(errors) / T_NEW.var() > 0.75


def test_weights_of_zero_are_no_observations():
    c = np.ones(100)
    c[70:] = 0.0
    more, far = np.vstack([X, 9.0 * X[:30]]), np.concatenate([T, np.full(30, 99.0)])
    result = chosen(X=more, t=far, sample_weight=c)
    error = np.mean((result.predict(X_NEW) - T_NEW) ** 2)
    assert 1.0 - error / T_NEW.var() > 0.75


def test_an_interrupted_start_is_told_and_what_was_whole_is_kept():
    net = fastbp.Network(2, 2, output="identity")
    X = np.random.default_rng(0).standard_normal((30, 2))
    whole = fastbp.fit(net, X, X[:, 0], seed=0)
    poor, cut = replace(whole, loss=9.0), replace(whole, reason="interrupted")
    of = choose.Choice(1.0, 1.0, choose.L2Path(*np.ones((3, 1))), Losses.of(np.full(30, 0.1)))
    (got,) = of.fitted(lambda number: [[poor], [cut]][number].copy())  # there is no third
    assert (got.loss, got.reason) == (9.0, "interrupted")
    (got,) = of.fitted(lambda number: [[poor], [whole], [cut]][number].copy())
    assert (got.loss, got.reason) == (whole.loss, whole.reason)
    (got,) = of.fitted(lambda number: [[cut]][number])
    assert got.reason == "interrupted"

    def diverges_once(number):
        if number == 1:
            raise fastbp.NonFiniteLossError("", net.init(0), 0, {})
        return [[poor], [], [whole]][number]

    (got,) = of.fitted(diverges_once)
    assert got is whole


@pytest.mark.parametrize("step", [1, 2])
def test_what_a_callback_stops_does_not_begin_again(step):
    """Of 4 neurons that were stopped at once, three starts would be tried."""
    steps = []

    def stop(state):
        steps.append(state.step)
        return state.step == step

    result = chosen(callback=stop)
    assert steps == [*range(1, step + 1)]
    assert result.reason == "stopped by the callback"


def test_a_network_that_is_hardly_better_than_a_line_says_so():
    of = choose.L2Path(*np.ones((3, 1)))
    of_line = Losses.of(*np.array_split(np.full(100, 0.5), 3))
    line = choose.Line(1.0, of_line, np.ones(1), np.ones(1))
    off = np.random.default_rng(0).standard_normal(100)
    off = (off - off.mean()) / off.std(ddof=1)  # a standard error of 0.1
    said = {
        0.13: "is above that of a straight line, 0.5: a linear model does better",
        0.07: "is not below that of a straight line, 0.5, by two standard errors of 0.1",
        -0.19: "is not below that of a straight line, 0.5, by two standard errors of 0.1",
        -0.21: "",
        0.004: "",  # it is that line
        -0.004: "",
    }
    for mean, want in said.items():
        known = Losses.of(*np.array_split(0.5 + mean + off, 3))
        doubt = choose.doubt(choose.Choice(1.0, 1.0, of, known), line)
        assert want in doubt and bool(want) == bool(doubt), mean
    met = line._replace(constant=0.0)
    assert not choose.doubt(choose.Choice(1.0, 1.0, of, Losses.of(0.6 + off)), met)  # by a constant


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threads": 2, "optimizer": "adam"},
        {"sample_weight": np.where(np.arange(110) % 7 == 0, 0.0, 1.5)},
        {"validation": 0.3, "sample_weight": np.where(np.arange(110) % 7 == 0, 0.0, 1.5)},
        {"validation": (X_NEW, T_NEW, T_NEW**2)},
        {"folds": 3},
        {"folds": 3, "validation": 0.3},
    ],
    ids=["", "threads", "weights", "share", "given", "folds", "folds and share"],
)
@pytest.mark.parametrize("repeated", [True, False])
def test_of_many_rows_none_are_copied(monkeypatch, options, repeated):
    """The same fit, and the same losses but for the order in which they are summed."""
    more = np.vstack([X, X[:40] if repeated else X_NEW[:40]])
    t = np.concatenate([T, T[:40] if repeated else T_NEW[:40]])
    given = {"X": more, "t": t, "epochs": 10, "_quiet": True, **options}
    want = chosen(**given)
    monkeypatch.setattr(sizes, "MOST_PACKED", 1000)
    monkeypatch.setattr(held, "_AT_ONCE", 16)
    got = chosen(**given)
    assert (got.w == want.w).all() and got.l2 == want.l2 and got.data.X is more
    for one, other in zip(got.l2_path, want.l2_path, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)


def test_many_classes_are_shared_out(monkeypatch):
    net = fastbp.Network(2, activations=["tanh", "one"], n_outputs=3, output="softmax")
    given = {"net": net, "t": np.digitize(X[:, 0], [-0.5, 0.5]), "epochs": 5, "_quiet": True}
    want = chosen(loss="cross_entropy", **given)
    monkeypatch.setattr(sizes, "MOST_PACKED", 1000)
    monkeypatch.setattr(_boundary, "_EXPANDED", 0)
    got = chosen(loss="cross_entropy", **given)
    assert (got.w == want.w).all()
    np.testing.assert_allclose(got.l2_path.loss, want.l2_path.loss, rtol=1e-11)


def test_a_straight_line_that_is_better_is_named():
    rng = np.random.default_rng(4)
    Z = np.column_stack([rng.standard_normal((40, 6)), np.ones(40)])
    t = Z[:, :6].sum(axis=1) + rng.standard_normal(40)
    net = fastbp.Network(7, activations=["gaussian"] * 2 + ["one"], output="identity")
    with pytest.warns(fastbp.FitWarning, match="above that of a straight line"):
        chosen(net, Z, t)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": "best"}, "or \"auto\"; got 'best'"),
        ({"l2": 0.1, "folds": 5}, "number use fit_many"),
        ({"l2": "auto", "checkpoint": "x.npz"}, "checkpoint"),
        ({"l2": "auto", "folds": 1}, "folds must lie between 2 and 70"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        fastbp.fit(net_of(2), X, T, **options)


@pytest.mark.parametrize(("of_X", "of_t"), [(1e-160, 1.0), (1e160, 1.0), (1.0, 1e156)])
def test_squares_beyond_all_numbers_are_refused(of_X, of_t):
    with pytest.raises(ValueError, match="the squares of deviations"):
        fastbp.fit(net_of(2), of_X * X, of_t * T, l2="auto")


def test_many_fits_take_numbers():
    with pytest.raises(ValueError, match="l2 must be numbers"):
        fastbp.fit_many(net_of(2), X, T, l2="auto")


def test_evidence_of_a_linear_model_is_exact():
    """The marginal distribution of t is normal, where the prior of all weights is."""
    rng = np.random.default_rng(3)
    Z, c = rng.standard_normal((30, 4)), rng.uniform(0.5, 2.0, 30)
    t = Z @ rng.standard_normal(4) + rng.standard_normal(30)
    net, l2 = fastbp.Network(4, activations=["identity"], output="identity"), 0.03
    options = {"w0": np.eye(1, 5)[0], "free": np.arange(5) > 0, "l2": np.r_[0.0, [l2] * 4]}
    for known in (False, True):
        result = fastbp.fit(net, Z, t, sample_weight=c, absolute_sigma=known, **options)
        report = result.report()
        each = c if known else c / c.mean()
        s2 = 1.0 if known else report.residual_standard_error**2
        prior = s2 / (l2 * each.sum()) * np.eye(4)
        covariance = Z @ prior @ Z.T + np.diag(s2 / each)
        want = multivariate_normal(np.zeros(30), covariance).logpdf(t)
        np.testing.assert_allclose(report.log_evidence, want, rtol=1e-9)


def test_a_column_of_ones_among_raw_ones_changes_no_choice():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1))
    y = np.sin(2.0 * x[:, 0]) + x[:, 0] + 0.3 * rng.normal(size=60)
    model = NetworkRegressor(3, standardize=False, random_state=0)
    want = clone(model).fit(x, y)
    got = clone(model).fit(np.column_stack([np.ones(60), x]), y)
    assert got.l2_ == want.l2_
    assert got.l2_linear_ == pytest.approx(want.l2_linear_, rel=1e-6)
    assert got.loss_ == pytest.approx(want.loss_, rel=1e-6)
    with pytest.warns(fastbp.FitWarning, match="no better than that of a constant"):
        alone = clone(model).fit(np.full((60, 1), 3.3), y)
    assert alone.predict([[3.3]]) == pytest.approx(y.mean(), abs=1e-3)
