"""fastbp.sklearn: scikit-learn's own checks, and what they do not look at."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_blobs, make_friedman1
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import (
    check_sample_weight_equivalence_on_dense_data,
    parametrize_with_checks,
)
from support import HAS_TRUST_EXACT, TRUST_EXACT, fresh_process

import fastbp
from fastbp._columns import Columns
from fastbp._standardise import Scaling, penalties
from fastbp._training import choose
from fastbp.datasets import load_diabetes
from fastbp.optimizers import SGD, Adam
from fastbp.sklearn import NetworkClassifier, NetworkRegressor


def unbiased(net, w):
    """Σ w_j² without the biases: the constant neuron's output weight, the constant's inputs."""
    H = net.n_neurons
    return float(w[: H - 1] @ w[: H - 1] + np.sum(w[H:].reshape(H, -1)[:, :-1] ** 2))


def can_not_hold(estimator):
    """Return what scikit-learn's checks ask for that such an estimator can't give, and why."""
    failing = {}
    if estimator.dtype == "float32":
        failing["check_sample_weight_equivalence_on_dense_data"] = "1e-7 is its rounding"
        failing["check_methods_subset_invariance"] = "1e-7 is its rounding"
    if estimator.loss == "pinball":
        failing["check_sample_weight_equivalence_on_dense_data"] = "it ends at a kink, within 1e-5"
    if estimator.loss == "poisson":
        failing["check_regressor_multioutput"] = "it takes negative targets whatever the tags say"
    return failing


@parametrize_with_checks(
    [
        NetworkRegressor(),
        NetworkClassifier(),
        # What chooses l2 fits fifty times: the defaults alone do.
        NetworkClassifier(multi_class="ovr", l2=None),
        *(
            NetworkRegressor(4, loss=loss, l2=None)
            for loss in ("huber", "log_cosh", "poisson", "pinball")
        ),
        *(NetworkClassifier(4, loss=loss, l2=None) for loss in ("squared", "huber", "log_cosh")),
        *(kind(4, dtype="float32", l2=None) for kind in (NetworkRegressor, NetworkClassifier)),
        NetworkRegressor(3, optimizer="Nelder-Mead", l2=0.01),
        NetworkRegressor(3, optimizer="sgd", l2=0.01),
        NetworkClassifier(3, optimizer="adam", l2=0.01),
        NetworkClassifier(3, optimizer="TNC", l2=0.01),
        *([NetworkClassifier(3, optimizer="trust-exact", l2=0.01)] if HAS_TRUST_EXACT else []),
    ]
)
# Some of their data are noise, or have one class only: a fit says so.
@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
def test_scikit_learn_check(estimator, check):
    reason = can_not_hold(estimator).get(check.func.__name__)
    if reason:
        pytest.skip(reason)
    check(estimator)


@pytest.mark.parametrize("optimizer", ["CG", "dogleg"])
@pytest.mark.parametrize("kind", [NetworkRegressor, NetworkClassifier])
def test_weights_are_repeated_rows_where_iterations_are_spent(kind, optimizer):
    # 1000 of CG leave the regressor's predictions 7e-7 apart, of dogleg those of classes.
    model = kind(3, optimizer=optimizer, l2=0.01)
    check_sample_weight_equivalence_on_dense_data(kind.__name__, model)


@pytest.mark.parametrize("l2", [0.01, 0.0])
@pytest.mark.parametrize("optimizer", [TRUST_EXACT, "lbfgs"])
def test_a_class_of_next_to_no_weight_is_fitted_in_float32(optimizer, l2):
    """What is so flat has units beyond float32; derivatives at y = 0 and 1 are none."""
    X, y = make_blobs(centers=2, random_state=0, cluster_std=20)
    weights = {0: 1e3, 1: 1e-4}
    given = {"optimizer": optimizer, "class_weight": weights, "l2": l2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastbp.FitWarning)  # saturated neurons
        found = [
            NetworkClassifier(3, dtype=dtype, **given).fit(X[::2], y[::2])
            for dtype in ("float32", "float64")
        ]
    assert all(model.predict(X).mean() < 0.3 for model in found)
    if l2:
        losses = [model.loss_[0] for model in found]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.fixture(scope="module")
def friedman():
    X, y = make_friedman1(300, noise=0.1, random_state=0)
    return train_test_split(100.0 + 7.0 * X, 1e4 + 300.0 * y, random_state=0)


@pytest.fixture(scope="module")
def cancer():
    return train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)


@pytest.fixture(scope="module")
def iris():
    return train_test_split(*load_iris(return_X_y=True), random_state=0)


# ---- regression ----------------------------------------------------------------------------


def test_regression_in_any_units(friedman):
    X, X_test, y, y_test = friedman
    model = NetworkRegressor(10, l2=1e-3, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.95
    assert model.network_.n_inputs == 11 and model.network_.n_neurons == 12
    assert model.w_.shape == (144,)


def test_prediction_is_the_network_on_standardised_inputs(friedman):
    X, X_test, y, _ = friedman
    model = NetworkRegressor(5, linear=False, l2=0.01, random_state=0).fit(X, y)
    Z = np.column_stack([(X_test - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X_test))])
    expected = y.mean() + y.std() * model.network_(model.w_, Z)
    np.testing.assert_allclose(model.predict(X_test), expected, rtol=1e-12)
    Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))])
    t = (y - y.mean()) / y.std()
    loss, g = model.network_.loss_and_grad(model.w_, Z, t)
    assert model.loss_ == pytest.approx(loss + 0.005 * unbiased(model.network_, model.w_), rel=1e-9)
    penalty = 0.01 * model.w_
    penalty[5] = 0.0
    penalty[6:].reshape(6, -1)[:, -1] = 0.0
    free = slice(-Z.shape[1])  # all but the inputs of the constant neuron
    assert np.abs(g + penalty)[free].max() < 1e-4


def test_inputs_are_standardised_with_the_weights(friedman):
    X, _, y, _ = friedman
    c = np.random.default_rng(0).uniform(0.0, 2.0, len(y))
    model = NetworkRegressor(2, random_state=0).fit(X, y, sample_weight=c)
    mean = np.average(X, axis=0, weights=c)
    np.testing.assert_allclose(model.scaling_.mean, mean)
    np.testing.assert_allclose(
        model.scaling_.scale, np.sqrt(np.average((X - mean) ** 2, axis=0, weights=c))
    )
    assert model.target_scaling_.mean == pytest.approx(np.average(y, weights=c))


def test_constant_inputs_do_no_harm(friedman):
    X, X_test, y, y_test = friedman
    X, X_test = (np.column_stack([Z, np.full(len(Z), 0.1)]) for Z in (X, X_test))
    model = NetworkRegressor(10, l2=1e-3, random_state=0).fit(X, y)
    assert model.scaling_.scale[-1] == 1.0
    assert model.score(X_test, y_test) > 0.95


@pytest.mark.parametrize("value", [0.3, 1e150, -1e200])
def test_what_is_constant_in_any_unit_is_met_and_does_no_harm(value):
    X = np.random.default_rng(0).standard_normal((30, 2))
    met = NetworkRegressor(2, random_state=0).fit(X, np.full(30, value)).predict(X)
    np.testing.assert_allclose(met, value, rtol=1e-9)
    y = np.sin(X[:, 0]) + X[:, 1]
    model = NetworkRegressor(2, l2=1e-3, random_state=0)
    for column in (np.full(30, value), np.where(y > 0.0, value, np.nextafter(value, 0.0))):
        Z = np.column_stack([X, column])
        assert model.fit(Z, y).score(Z, y) > 0.99


@pytest.mark.parametrize("size", [1e-250, 1.0, 1e150])
def test_a_deviation_of_rounding_errors_is_none_in_any_unit(size):
    rng = np.random.default_rng(0)
    varies = rng.standard_normal(80)
    X = np.column_stack([varies, np.where(varies > 0.0, 0.3, 0.1 + 0.2), 1e9 + varies]) * size
    for c in (None, rng.uniform(0.5, 2.0, 80)):
        scale = Scaling.of(X, c).scale
        expected = Scaling.of(X / size, c).scale
        assert expected[1] == 1.0
        assert scale[1] == max(1.0, Columns.of(X, c).deviation[1]) <= max(1.0, 1e-14 * size)
        np.testing.assert_allclose(scale[[0, 2]], expected[[0, 2]] * size, rtol=1e-6)
        assert expected[0] == pytest.approx(1.0, abs=0.2)


def test_a_row_without_weight_has_no_say_in_the_scale():
    X = np.array([[1.0], [2.0], [4.0], [1e200]])
    c = np.array([1.0, 2.0, 1.0, 0.0])
    scaling, expected = Scaling.of(X, c), Scaling.of(X[:3], c[:3])
    assert scaling.mean == expected.mean and scaling.scale == expected.scale


def test_penalty_is_a_prior_where_none_is_asked_for(friedman):
    X, _, y, _ = friedman
    many = [np.concatenate([data] * 4) for data in (X, y)]
    assert NetworkRegressor(1, epochs=1, l2=None).fit(X, y).l2_ == 0.01
    assert NetworkRegressor(1, epochs=1, l2=None).fit(*many).l2_ == 4.0 / 900
    assert NetworkRegressor(1, epochs=1, l2=None).fit(X, y, np.full(225, 4.0)).l2_ == 4.0 / 900
    assert NetworkRegressor(1, epochs=1, l2=0.5).fit(X, y).l2_ == 0.5
    assert NetworkClassifier(1, epochs=1, l2=None).fit(X, y > np.median(y)).l2_ == 0.002


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")  # of raw columns neurons saturate
def test_standardisation_can_be_left_out(friedman):
    X, _, y, _ = friedman
    model = NetworkRegressor(2, standardize=False, standardize_target=False, random_state=0)
    model.fit(X, y)
    assert (model.scaling_.mean == 0.0).all() and (model.scaling_.scale == 1.0).all()
    assert model.target_scaling_.mean == 0.0 and model.target_scaling_.scale == 1.0


def test_target_keeps_its_scale_where_output_or_loss_have_a_range():
    X = np.random.default_rng(0).standard_normal((200, 2))
    rate = np.exp(0.5 * X[:, 0] - 0.3 * X[:, 1])
    counts = np.random.default_rng(1).poisson(rate)
    model = NetworkRegressor(4, loss="poisson", l2=0.01, random_state=0).fit(X, counts)
    assert model.target_scaling_.scale == 1.0
    y, std = model.predict(X, return_std=True)
    assert np.corrcoef(np.log(y), np.log(rate))[0, 1] > 0.9  # the output is the log rate
    np.testing.assert_array_equal(y, model.predict(X))
    log_rate, its_std = model.result_.predict(model.scaling_.inputs(X), return_std=True)
    np.testing.assert_allclose(y, np.exp(log_rate), rtol=1e-14)
    np.testing.assert_allclose(std, y * its_std, rtol=1e-14)  # dy = y d(log y)
    # The penalty holds no mean fast: it is that of the counts to a tenth of its error.
    assert y.mean() == pytest.approx(counts.mean(), abs=0.1)
    assert model.score(X, counts) > 0.1
    model.set_params(loss="squared")  # for the next fit: what was fitted is what it was
    np.testing.assert_array_equal(model.predict(X, return_std=True), (y, std))
    p = 1.0 / (1.0 + np.exp(-X[:, 0]))
    model = NetworkRegressor(4, output="logistic", l2=1e-4, random_state=0).fit(X, p)
    assert model.target_scaling_.scale == 1.0
    assert model.score(X, p) > 0.99


def test_a_loss_and_its_name_are_one(friedman):
    X, _, y, _ = friedman
    given = {"standardize_target": False, "epochs": 20, "random_state": 0}
    by_name, itself = (
        NetworkRegressor(2, loss=loss, **given).fit(X[:60], 1e3 * y[:60])
        for loss in ("squared", fastbp.losses.squared)
    )
    np.testing.assert_array_equal(by_name.result_.l2_path.l2, itself.result_.l2_path.l2)
    np.testing.assert_array_equal(by_name.w_, itself.w_)


def test_quantiles_by_the_pinball_loss():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (400, 1))
    y = X[:, 0] + rng.standard_normal(400)
    loss = fastbp.losses.pinball(0.9)
    model = NetworkRegressor(3, loss=loss, optimizer=Adam(0.02), epochs=200, random_state=0)
    assert np.mean(y <= model.fit(X, y).predict(X)) == pytest.approx(0.9, abs=0.04)


def test_deviation_is_that_of_the_result_in_the_target_s_units(friedman):
    X, X_test, y, _ = friedman
    model = NetworkRegressor(3, l2=1e-4, random_state=0).fit(X, y)
    mean, std = model.predict(X_test, return_std=True)
    with pytest.raises(TypeError, match="return_std must be True or False; got 'no'"):
        model.predict(X_test, return_std="no")
    np.testing.assert_array_equal(mean, model.predict(X_test))
    _, scaled = model.result_.predict(model.scaling_.inputs(X_test), return_std=True)
    np.testing.assert_allclose(std, scaled * y.std(), rtol=1e-12)
    assert (std > 0.0).all()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X_test, return_std=True)[1], std)
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="return_std is for what fit has fitted"):
        model.predict(X_test, return_std=True)


def test_early_stopping_on_held_out_observations(friedman):
    X, X_test, y, y_test = friedman
    model = NetworkRegressor(
        40, optimizer=Adam(0.01), early_stopping=20, validation_fraction=0.2, epochs=1000, l2=0.0
    ).set_params(random_state=0)
    model.fit(X, y)
    assert model.result_.reason == "early stopping"
    assert model.result_.validation_loss == model.result_.history["validation_loss"].min()
    assert model.score(X_test, y_test) > 0.85
    model.partial_fit(X, y)
    assert len(model.result_.history["loss"]) == 1


def test_several_targets_each_on_its_scale(friedman):
    X, X_test, y, y_test = friedman

    def both(X, y):
        return np.column_stack([y, 1e-6 * np.sin(0.5 * X[:, 0])])

    Y, Y_test = both(X, y), both(X_test, y_test)
    model = NetworkRegressor(12, linear=False, l2=1e-3, random_state=0).fit(X, Y)
    assert model.network_.n_outputs == 2 and model.w_.shape == (model.network_.n_params,)
    found = model.predict(X_test)
    assert found.shape == Y_test.shape
    scores = 1.0 - ((found - Y_test) ** 2).sum(axis=0) / ((Y_test - Y_test.mean(axis=0)) ** 2).sum(
        axis=0
    )
    assert (scores > 0.9).all()
    assert model.score(X_test, Y_test) == pytest.approx(scores.mean())
    np.testing.assert_allclose(model.target_scaling_.scale, Y.std(axis=0))
    for target in (0, 1):  # a unit is of no matter
        moved = Y * np.where(np.arange(2) == target, 1e3, 1.0)
        again = NetworkRegressor(12, linear=False, l2=1e-3, random_state=0).fit(X, moved)
        np.testing.assert_allclose(again.w_, model.w_, rtol=1e-3, atol=1e-4)
    _, std = model.predict(X_test, return_std=True)
    _, scaled = model.result_.predict(model.scaling_.inputs(X_test), return_std=True)
    np.testing.assert_allclose(std, scaled * Y.std(axis=0), rtol=1e-12)
    assert std.shape == Y_test.shape and (std > 0.0).all()


def test_several_targets_as_they_are():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    Y = np.column_stack([1e3 + X[:, 0], X[:, 1] - 50.0])
    model = NetworkRegressor(4, standardize_target=False, l2=1e-3, random_state=0).fit(X, Y)
    assert model.score(X, Y) > 0.99
    np.testing.assert_allclose(model.predict(X).mean(axis=0), Y.mean(axis=0), atol=1e-3)
    counts = rng.poisson(np.exp(X))
    model = NetworkRegressor(4, l2=None, loss="poisson", random_state=0).fit(X, counts)
    np.testing.assert_allclose(model.predict(X).mean(axis=0), counts.mean(axis=0), rtol=1e-3)
    shares = np.exp(X) / (1.0 + np.exp(X).sum(axis=1, keepdims=True))
    shares = np.column_stack([shares, 1.0 - shares.sum(axis=1)])
    model = NetworkRegressor(4, l2=None, output="softmax", loss="cross_entropy", random_state=0)
    assert model.fit(X, shares).score(X, shares) > 0.95
    np.testing.assert_allclose(model.predict(X).sum(axis=1), 1.0)


def test_several_targets_piece_by_piece_and_held_out(friedman):
    X, X_test, y, y_test = friedman
    Y, Y_test = np.column_stack([y, -2.0 * y]), np.column_stack([y_test, -2.0 * y_test])
    model = NetworkRegressor(10, optimizer=Adam(0.02), batch_size=16, random_state=0)
    for _ in range(40):
        model.partial_fit(X, Y)
    assert model.score(X_test, Y_test) > 0.7
    with pytest.raises(ValueError, match=r"y has shape \(225,\); 2 columns are expected"):
        model.partial_fit(X, y)
    model.set_params(early_stopping=20, validation_fraction=0.2, epochs=300).fit(X, Y)
    assert model.result_.validation_loss == model.result_.history["validation_loss"].min()


# ---- one's own functions, cloned and pickled ---------------------------------------------------


@fastbp.activation
def bent(z):
    return (math.sqrt(z * z + 1.0) - 1.0) / 2.0 + z


@fastbp.loss
def cauchy(y, t):
    return math.log1p((y - t) ** 2)


def test_own_activations_and_losses_are_cloned_and_pickled(friedman):
    X, X_test, y, _ = friedman
    model = NetworkRegressor(
        3, activation=["tanh", bent, "gelu"], loss=cauchy, random_state=0, epochs=30
    )
    predicted = clone(model).fit(X, y).predict(X_test)
    np.testing.assert_array_equal(model.fit(X, y).predict(X_test), predicted)
    assert model.network_.activations[1] == bent
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X_test), predicted)


def test_activations_that_do_not_fit_the_neurons_are_refused(friedman):
    X, _, y, _ = friedman
    with pytest.raises(ValueError, match="n_neurons is 3, but 2 activations are given"):
        NetworkRegressor(3, activation=["tanh", bent]).fit(X, y)
    with pytest.raises(TypeError, match="a function becomes an activation by"):
        NetworkRegressor(3, activation=np.tanh).fit(X, y)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation", "tahn", "did you mean 'tanh'"),
        ("loss", "sqared", "did you mean 'squared'"),
        ("optimizer", "adm", "did you mean 'adam'"),
        ("n_neurons", 0, 'n_neurons must be a positive integer or "auto"; got 0'),
        ("l2", -1.0, "l2"),
    ],
)
def test_wrong_parameters_are_refused_in_fit(friedman, name, value, message):
    X, _, y, _ = friedman
    with pytest.raises(ValueError, match=message):
        NetworkRegressor().set_params(**{name: value}).fit(X, y)


# ---- classification ------------------------------------------------------------------------


def test_two_classes(cancer):
    X, X_test, y, y_test = cancer
    names = np.array(["malignant", "benign"])
    model = NetworkClassifier(8, l2=0.01, random_state=0).fit(X, names[y])
    assert list(model.classes_) == ["benign", "malignant"]
    assert model.score(X_test, names[y_test]) > 0.94
    s, p = model.decision_function(X_test), model.predict_proba(X_test)
    assert s.shape == (len(X_test),) and p.shape == (len(X_test), 2)
    np.testing.assert_allclose(p[:, 1], 1.0 / (1.0 + np.exp(-s)), rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_array_equal(model.predict(X_test) == "malignant", s > 0.0)


def test_several_classes_by_a_softmax(iris):
    X, X_test, y, y_test = iris
    names = np.array(["setosa", "versicolor", "virginica"])
    model = NetworkClassifier(6, random_state=0).fit(X, names[y])
    assert model.score(X_test, names[y_test]) > 0.9
    net = model.network_
    assert net.output is fastbp.softmax and net.n_outputs == 3
    assert model.w_.shape == (1, net.n_params) and model.loss_.shape == (1,)
    s, p = model.decision_function(X_test), model.predict_proba(X_test)
    np.testing.assert_allclose(p, net(model.w_[0], model.scaling_.inputs(X_test)), rtol=1e-10)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X_test)), p, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X_test), names[s.argmax(axis=1)])
    # Its biases are not penalised: probabilities sum to the counts.
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=0), np.bincount(y), rtol=1e-3)
    Z = model.scaling_.inputs(X)
    loss, _ = net.loss_and_grad(model.w_[0], Z, y, loss="cross_entropy")
    penalty = 0.5 * float(penalties(net, model.l2_, model.l2_linear_) @ model.w_[0] ** 2)
    assert model.loss_[0] == pytest.approx(loss + penalty, rel=1e-9)


def test_several_classes_by_one_network_each(iris):
    X, X_test, y, y_test = iris
    model = NetworkClassifier(6, multi_class="ovr", random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    assert model.w_.shape == (3, model.network_.n_params) and model.loss_.shape == (3,)
    s, p = model.decision_function(X_test), model.predict_proba(X_test)
    sigma = 1.0 / (1.0 + np.exp(-s))
    np.testing.assert_allclose(p, sigma / sigma.sum(axis=1, keepdims=True), rtol=1e-12)
    # Each is what a classifier of one class against all others would be.
    Z = model.scaling_.inputs(X)
    for k in range(3):
        loss, _ = model.network_.loss_and_grad(
            model.w_[k], Z, (y == k).astype(float), loss="cross_entropy"
        )
        each = penalties(model.network_, model.l2_, model.l2_linear_)
        penalty = 0.5 * float(each @ model.w_[k] ** 2)
        assert model.loss_[k] == pytest.approx(loss + penalty, rel=1e-9)


def test_partial_fit_has_a_penalty_for_more_data_than_were_chosen_by():
    model = NetworkRegressor(42, activation="relu", optimizer=Adam(0.01), random_state=42)
    model.set_params(standardize=False).fit([[2.0]], [4.0])
    assert model.l2_ > 0.1  # one observation says nothing of a penalty
    for _ in range(600):
        model.partial_fit([[2.0]], [1.0])
    assert model.l2_ == NetworkRegressor(l2=None).partial_fit([[2.0]], [1.0]).l2_ == 0.01
    np.testing.assert_allclose(model.predict([[2.0]]), 1.0, atol=5e-3)


@pytest.mark.parametrize("multi_class", ["softmax", "ovr"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_far_from_all_classes_are_finite(iris, multi_class, n_classes):
    X, X_test, y, _ = iris
    X, y = X[y < n_classes], y[y < n_classes]
    given = {"activation": "square", "epochs": 20, "random_state": 0, "multi_class": multi_class}
    given |= {"linear": False, "l2": None}
    model = NetworkClassifier(1, **given).fit(X, y)
    for far in (1e6, 1e150, 1e160):
        p = model.predict_proba(far * X_test)
        assert np.isfinite(p).all() and np.isin(model.predict(far * X_test), model.classes_).all()
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    for w in model.w_:  # 0 times infinity is no number, but 0 all along the ray
        model.network_.split(w)[0][..., 0] = 0.0
    np.testing.assert_allclose(
        model.predict_proba(1e160 * X_test), model.predict_proba(X_test), rtol=1e-12
    )
    given |= {"activation": "exp"}
    model = NetworkClassifier(2, **given).fit(X, y)
    model.w_[:] = 1.0
    model.network_.split(model.w_[0])[0][..., 0] = -1.0
    with pytest.raises(ValueError, match="row 0 of X is so far from what was fitted that its out"):
        model.predict(np.full_like(X_test, 1e160))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_beyond_all_numbers_are_taken_where_their_ray_comes_to(cancer, dtype):
    X, X_test, y, _ = cancer
    model = NetworkClassifier(4, dtype=dtype, random_state=0).fit(X, y)
    away = X_test - model.scaling_.mean
    for far in (1e30, 1e290):
        p = model.predict_proba(np.clip(far * away, -1.7e308, 1.7e308))
        np.testing.assert_allclose(p, model.predict_proba(1e9 * away), rtol=1e-4)


@pytest.mark.filterwarnings("ignore:the loss on what was held out")
@pytest.mark.parametrize(
    ("loss", "seed"), [("squared", 0), ("huber", 0), *(("log_cosh", seed) for seed in (0, 1, 2))]
)
def test_other_losses_of_a_softmax(iris, loss, seed):
    X, X_test, y, y_test = iris
    model = NetworkClassifier(4, loss=loss, random_state=seed).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    np.testing.assert_allclose(model.predict_proba(X_test).sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.filterwarnings("ignore:the loss on what was held out")
@pytest.mark.parametrize(("loss", "seed"), [("squared", 11), ("log_cosh", 11), ("log_cosh", 27)])
def test_a_fit_that_gives_up_a_class_begins_again(iris, monkeypatch, loss, seed):
    X, X_test, y, y_test = iris
    monkeypatch.setattr(choose, "PATH", np.array([1.0]))
    model = NetworkClassifier(4, loss=loss, random_state=seed).fit(X, y)
    assert model.score(X_test, y_test) > 0.9  # 0.63 from the first start
    assert model.loss_[0] < 0.03 and model.n_iter_ == len(model.loss_curve_)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
def test_moments_are_those_of_the_start_that_is_kept(iris, monkeypatch):
    X, _, y, _ = iris

    def kept(self, fits):
        first = fits(0)
        for number in range(1, n_starts):
            fits(number)
        return first

    monkeypatch.setattr(choose.Choice, "fitted", kept)
    ends = []
    for n_starts in (1, 3):  # noqa: B007 - `kept` reads it
        model = NetworkClassifier(3, optimizer="adam", epochs=2, shuffle=False, random_state=0)
        ends.append(model.fit(X, y).partial_fit(X, y).w_)
    np.testing.assert_array_equal(*ends)


def test_labels_have_an_output_each(iris):
    X, X_test, y, y_test = iris
    Y, Y_test = (np.column_stack([k > 0, k == 1, k == 2]).astype(int) for k in (y, y_test))
    model = NetworkClassifier(6, l2=1e-3, random_state=0).fit(X, Y)
    assert list(model.classes_) == [0, 1, 2] and model.w_.shape == (1, model.network_.n_params)
    found = model.predict(X_test)
    assert found.shape == Y_test.shape and found.dtype.kind == "i"
    assert model.score(X_test, Y_test) > 0.85
    p = model.predict_proba(X_test)
    np.testing.assert_array_equal(p > 0.5, found == 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X_test)), p, rtol=1e-12)
    np.testing.assert_allclose(
        p, model.network_(model.w_[0], model.scaling_.inputs(X_test)), rtol=1e-10
    )
    again = NetworkClassifier(6, l2=1e-3, random_state=0).fit(X, sparse.csr_array(Y))
    np.testing.assert_array_equal(again.w_, model.w_)
    with pytest.raises(ValueError, match=r"y has shape \(112, 2\); 3 columns are expected"):
        model.partial_fit(X, Y[:, :2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X_test), found)


@pytest.mark.parametrize("multi_class", ["softmax", "ovr"])
def test_weights_of_classes_are_those_of_their_observations(iris, multi_class):
    X, _, y, _ = iris
    given = {"epochs": 20, "l2": 0.002, "random_state": 0, "multi_class": multi_class}
    c = np.array([1.0, 2.0, 0.5])[y]
    rows = np.random.default_rng(0).uniform(0.5, 1.5, len(y))
    expected = NetworkClassifier(3, **given).fit(X, y, sample_weight=rows * c)
    model = NetworkClassifier(3, class_weight={0: 1.0, 1: 2.0, 2: 0.5}, **given)
    np.testing.assert_allclose(model.fit(X, y, sample_weight=rows).w_, expected.w_, rtol=1e-6)
    balanced = NetworkClassifier(3, class_weight="balanced", **given)
    kept = np.concatenate([np.flatnonzero(y == 0)[:5], np.flatnonzero(y > 0)])
    p = balanced.set_params(epochs=400).fit(X[kept], y[kept]).predict_proba(X[kept])
    c = np.array([p[y[kept] == k].sum() for k in range(3)]) / np.bincount(y[kept])
    assert c.min() > 0.8
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="class_weight must hold numbers from 0 on"):
            NetworkClassifier(class_weight={0: wrong, 1: 1.0, 2: 1.0}).fit(X, y)
    with pytest.raises(ValueError, match="classes of all observations have the weight 0"):
        NetworkClassifier(class_weight={0: 0.0, 1: 1.0, 2: 1.0}).partial_fit(
            X[y == 0], y[y == 0], classes=[0, 1, 2]
        )
    with pytest.raises(ValueError, match="a part of the data has no balance"):
        balanced.partial_fit(X, y, classes=[0, 1, 2])


def test_a_part_of_the_data_may_lack_a_class_that_has_a_weight(iris):
    X, _, y, _ = iris
    part = y < 2
    labels = np.column_stack([y == 0, y == 2]).astype(int)
    for of, some, all_of in (
        ({"classes": [0, 1, 2], "y": y}, {2: 3.0, 0: 2.0}, {2: 3.0, 1: 1.0, 0: 2.0}),
        ({"classes": [0, 1], "y": labels}, [{1: 3.0}] * 2, [{0: 1.0, 1: 3.0}] * 2),
    ):
        models = [NetworkClassifier(2, class_weight=c, random_state=0) for c in (some, all_of)]
        for model in models:
            model.partial_fit(X[part], of["y"][part], of["classes"])
        np.testing.assert_array_equal(models[0].w_, models[1].w_)
    with pytest.raises(ValueError, match="not in class_weight"):
        NetworkClassifier(class_weight={0: 2.0, 5: 3.0}).partial_fit(X, y, classes=[0, 1, 2])


def test_what_does_not_fit_a_classifier_is_refused(iris):
    X, _, y, _ = iris
    with pytest.raises(ValueError, match="the loss poisson is one of counts"):
        NetworkClassifier(loss="poisson").fit(X, y)
    with pytest.raises(ValueError, match='multi_class must be "softmax" or "ovr"; got \'both\''):
        NetworkClassifier(multi_class="both").fit(X, y)
    for Y, strange in ((np.column_stack([y, y]), 2), (np.column_stack([y > 0, y > 1]) * 2 - 1, -1)):
        with pytest.raises(ValueError, match=f"must hold labels, 0 or 1; got {strange}"):
            NetworkClassifier().fit(X, Y)
    with pytest.raises(ValueError, match="y has 2 labels a row, and classes 3"):
        NetworkClassifier().partial_fit(X, np.column_stack([y > 0, y > 1]), classes=[0, 1, 2])


def test_other_losses_of_probabilities(cancer):
    X, X_test, y, y_test = cancer
    model = NetworkClassifier(4, loss="squared", l2=1e-3, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.93


def test_weights_move_the_border(cancer):
    X, _, y, _ = cancer
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < 0.2, 1 - y, y)
    share = [
        np.mean(
            NetworkClassifier(3, l2=0.1, random_state=0)
            .fit(X, y, sample_weight=np.where(y == 1, weight, 1.0))
            .predict(X)
        )
        for weight in (0.2, 1.0, 5.0)
    ]
    assert share[0] < share[1] < share[2]


def test_one_class_is_refused(iris):
    X, _, y, _ = iris
    with pytest.raises(ValueError, match="two classes or more are expected; got 1 class"):
        NetworkClassifier().fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="two classes or more are expected; got 1 class"):
        NetworkClassifier().fit(X, y, sample_weight=(y == 1).astype(float))


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(
    ("model", "call", "given", "message"),
    [
        (NetworkRegressor(2, loss="poisson", l2=0.1), "fit", [-np.ones(9)], "must lie in"),
        (NetworkClassifier(2, l2=0.1), "fit", [np.zeros(9)], "got 1 class"),
        (NetworkClassifier(2), "partial_fit", [np.ones((9, 2)), [0, 1, 2]], "labels a|classes w"),
        (NetworkRegressor(2, l2=0.1, monotonic_cst=[1, 0]), "partial_fit", [np.ones(9)], "use fit"),
    ],
)
def test_a_call_that_fails_leaves_the_model_as_it_was(model, call, given, message, begun):
    X = np.random.default_rng(0).normal(size=(9, 2))
    model = clone(model).set_params(random_state=0)
    if begun:
        want = model.fit(X, np.arange(9) % 2).predict(X)
    with pytest.raises(ValueError, match=message):
        getattr(model, call)(100.0 * X + 7.0, *given)
    if begun:
        np.testing.assert_array_equal(model.predict(X), want)
    else:
        with pytest.raises(NotFittedError):
            model.predict(X)


def test_after_a_pass_that_fails_the_next_has_the_same_random_numbers():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 2)), rng.normal(size=200)
    model, other = (NetworkRegressor(2, random_state=0).partial_fit(X, y) for _ in range(2))
    far = y.copy()
    far[7] = 1e200
    with pytest.raises(fastbp.NonFiniteLossError):
        model.partial_fit(X, far)
    want, got = (each.partial_fit(X, y).predict(X) for each in (other, model))
    np.testing.assert_array_equal(got, want)


def test_after_a_pass_that_fails_the_next_has_the_same_moments(iris):
    """Of three networks, the first has gone on when the second fails."""
    X, _, y, _ = iris
    rates = iter([0.01] * 4 + [np.nan] + [0.01] * 3)

    def rate(step, total):
        return next(rates)

    def begun(rate):
        return NetworkClassifier(
            2, optimizer=Adam(rate), batch_size=200, multi_class="ovr", random_state=0
        ).partial_fit(X, y, classes=[0, 1, 2])

    model, other = begun(rate), begun(0.01)
    with pytest.raises(ValueError, match="a learning rate must be finite"):
        model.partial_fit(X, y)
    want, got = (each.partial_fit(X, y).w_ for each in (other, model))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("c", [np.zeros(9), np.full(9, 1e308)])
def test_weights_need_a_sum(c):
    with pytest.raises(ValueError, match=r"positive, finite sum|non-zero"):
        NetworkRegressor(2).fit(np.eye(9), np.arange(9.0), c)


def test_a_score_of_no_weight_is_refused_as_that():
    X, y = np.eye(9), np.arange(9.0)
    model = NetworkRegressor(2, l2=0.1, epochs=1).fit(X, y)
    with pytest.raises((ValueError, ZeroDivisionError), match=r"non-zero|sum to zero"):
        model.score(X, y, np.zeros(9))


def test_weights_of_a_score_are_whatever_numpy_takes():
    class Series(list):  # as those of polars, whose `any` knows no axis
        def any(self):
            return any(self)

    X, y = np.eye(9), np.arange(9.0)
    model = NetworkRegressor(2, l2=0.1, epochs=1).fit(X, y)
    for c in (np.r_[0.0, np.ones(8)], np.r_[2.0, np.ones(8)]):
        assert model.score(X, y, Series(c)) == model.score(X, y, c)


def test_what_is_said_of_deviations_is_said_at_the_caller_s_line():
    X = np.arange(9.0)[:, np.newaxis]
    model = NetworkRegressor(2, l2=0.1, monotonic_cst=[-1], random_state=0).fit(X, X[:, 0])
    for call in (
        lambda: model.predict(X, return_std=True),
        lambda: model.result_.plot_prediction(model.scaling_.inputs(X), 0),
    ):
        with pytest.warns(fastbp.FitWarning, match="on their bounds") as said:
            call()
        assert {each.filename for each in said} == {__file__}


def test_what_validates_has_a_weight():
    X, y = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 2
    model = NetworkClassifier(2, l2=0.1, class_weight={0: 0.0})
    with pytest.raises(ValueError, match="in validation: sample_weight must have a positive"):
        model.fit(X, y, X_val=X[y == 0], y_val=y[y == 0])


# ---- piece by piece --------------------------------------------------------------------------


def test_partial_fit_goes_on_where_it_ended(friedman):
    X, X_test, y, y_test = friedman
    model = NetworkRegressor(10, optimizer=Adam(0.02), batch_size=16, l2=1e-3, random_state=0)
    scores = []
    for _ in range(60):
        model.partial_fit(X, y)
        scores.append(model.score(X_test, y_test))
    assert scores[0] < 0.8 < scores[-1]
    w = model.w_.copy()
    model.partial_fit(X[:16], y[:16])
    assert 0.0 < np.abs(model.w_ - w).max() < 0.1


def test_partial_fit_refines_a_fit(friedman):
    X, X_test, y, y_test = friedman
    model = NetworkRegressor(10, l2=1e-3, random_state=0).fit(X, y)
    before = model.score(X_test, y_test)
    model.partial_fit(X, y)
    assert abs(model.score(X_test, y_test) - before) < 0.02


@pytest.mark.parametrize("begun", ["fit", "partial_fit"])
def test_partial_fit_has_the_penalty_that_is_asked_for_by_then(friedman, begun):
    X, _, y, _ = friedman
    model = getattr(NetworkRegressor(3, l2=1e-3, random_state=0), begun)(X, y)
    model.set_params(l2=0.5).partial_fit(X, y)
    assert model.l2_ == model.l2_linear_ == model.result_.data.l2.max() == 0.5
    with pytest.raises(ValueError, match="l2 must be a number from 0 on; got -1"):
        model.set_params(l2=-1.0).partial_fit(X, y)


def test_a_warm_fit_has_the_penalty_that_was_chosen(friedman):
    X, _, y, _ = friedman
    model = NetworkRegressor(3, l2="auto", epochs=30, warm_start=True, random_state=0).fit(X, y)
    chosen = model.l2_, model.l2_linear_
    assert (model.partial_fit(X, y).l2_, model.l2_linear_) != chosen  # but the rule's
    for again in (model, pickle.loads(pickle.dumps(model))):
        assert (again.fit(X, y).l2_, again.l2_linear_) == chosen
        again.set_params(l2=0.1).fit(X, y)
        assert (again.set_params(l2="auto").fit(X, y).l2_, again.l2_linear_) == chosen


@pytest.mark.parametrize("begun", ["fit", "partial_fit"])
@pytest.mark.parametrize("later", [None, "auto"])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_a_penalty_that_is_no_longer_given_is_the_rule_s(friedman, begun, later, call):
    X, _, y, _ = friedman
    options = {"epochs": 2, "random_state": 0, "warm_start": True}
    want = NetworkRegressor(3, l2=None, **options).fit(X, y).l2_
    model = getattr(NetworkRegressor(3, l2=0.5, **options), begun)(X, y)
    getattr(model.set_params(l2=later), call)(X, y)
    assert model.l2_ == model.l2_linear_ == want != 0.5


@pytest.mark.parametrize("multi_class", ["softmax", "ovr"])
def test_partial_fit_of_classes(iris, multi_class):
    X, X_test, y, y_test = iris
    model = NetworkClassifier(
        6,
        optimizer=SGD(0.1, momentum=0.9),
        batch_size=8,
        random_state=0,
        multi_class=multi_class,
    )
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"classes must have shape \(K,\); got \(2, 2\)"):
        model.partial_fit(X, y, classes=[[0, 1], [1, 0]])
    model.partial_fit(X[y != 2], y[y != 2], classes=[0, 1, 2])
    for _ in range(60):
        model.partial_fit(X, y, classes=[2, 1, 0])
    assert model.score(X_test, y_test) > 0.9
    with pytest.raises(ValueError, match="y holds 3, which is none of the classes"):
        model.partial_fit(X[:2], [0, 3])
    with pytest.raises(ValueError, match=r"classes were \[0 1 2\] in the first call; got \[0, 1\]"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="two classes or more are expected"):
        NetworkClassifier().partial_fit(X, y, classes=[1])


def test_fit_after_partial_fit_begins_anew(friedman):
    X, X_test, y, _ = friedman
    model = NetworkRegressor(3, random_state=0)
    expected = clone(model).fit(X, y).predict(X_test)
    model.partial_fit(X[:50] * 2.0, y[:50])
    np.testing.assert_array_equal(model.fit(X, y).predict(X_test), expected)


# ---- among scikit-learn's own ------------------------------------------------------------------


def test_grid_search_in_processes(friedman):
    X, X_test, y, y_test = friedman
    pipeline = make_pipeline(
        PolynomialFeatures(1, include_bias=False), NetworkRegressor(activation=bent, random_state=0)
    )
    grid = {"networkregressor__n_neurons": [1, 6], "networkregressor__l2": [1e-3, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X, y)
    assert search.best_params_ == {
        "networkregressor__n_neurons": 6,
        "networkregressor__l2": 1e-3,
    }
    alone = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])
    assert search.score(X_test, y_test) > 0.9


def test_the_bundled_data_are_predicted_as_well_as_by_least_squares():
    X, t, _ = load_diabetes()
    scores = cross_val_score(NetworkRegressor(l2=0.05, random_state=0), X, t, cv=5)
    assert scores.mean() > 0.45


def test_what_is_not_fitted_does_not_predict(iris):
    for model in (NetworkRegressor(), NetworkClassifier()):
        with pytest.raises(NotFittedError):
            model.predict(iris[0])


def test_a_fitted_model_is_stored_on_disk(friedman, tmp_path):
    X, X_test, y, _ = friedman
    model = NetworkRegressor(4, random_state=0).fit(X, y)
    scales = {
        name: [scaling.mean.tolist(), scaling.scale.tolist()]
        for name, scaling in (("inputs", model.scaling_), ("target", model.target_scaling_))
    }
    fastbp.save(tmp_path / "model.npz", model.network_, model.w_, **scales)
    net, w, metadata = fastbp.load(tmp_path / "model.npz")
    inputs, target = (Scaling(*map(np.array, metadata[k])) for k in scales)
    y = target.undo(net(w, inputs.inputs(X_test)))
    np.testing.assert_array_equal(y, model.predict(X_test))


def test_ctrl_c_ends_a_search(monkeypatch):
    real, calls = fastbp.fit, []

    def interrupted(*args, **options):
        def stop(state):
            raise KeyboardInterrupt

        calls.append(1)
        return real(*args, **options, callback=stop if len(calls) == 2 else None)

    monkeypatch.setattr(fastbp, "fit", interrupted)
    X, y = load_iris(return_X_y=True)
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(NetworkRegressor(2, epochs=9, l2=None, random_state=0), X, y * 1.0, cv=4)
    assert len(calls) == 2
    calls.clear()
    model = NetworkClassifier(2, epochs=9, l2=None, random_state=0, multi_class="ovr")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert len(calls) == 2  # of three networks
    assert np.isfinite(model.predict_proba(X)).all()  # what was found is kept


def test_what_validates_has_of_every_class_its_share(monkeypatch):
    real, seen = fastbp.fit, []

    def noted(net, X, t, **options):
        seen.extend(zip(np.sum(t, axis=0), np.sum(options["validation"][1], axis=0), strict=True))
        return real(net, X, t, **options)

    monkeypatch.setattr(fastbp, "fit", noted)
    X, _ = load_iris(return_X_y=True)
    y = np.repeat(["a", "b", "c", "d"], [100, 39, 10, 1])
    for seed in range(3):
        seen.clear()
        model = NetworkClassifier(2, epochs=2, l2=None, validation_fraction=0.2, random_state=seed)
        model.fit(X, y)
        assert seen == [(80, 20), (31, 8), (8, 2), (1, 0)]


def test_a_cause_of_several_networks_is_said_once():
    X, y = load_iris(return_X_y=True)
    given = {"epochs": 40, "random_state": 0, "multi_class": "ovr"}
    model = NetworkClassifier(16, linear=False, l2=0.0, **given)
    with pytest.warns(fastbp.FitWarning, match="3 of 3 fits: there are 97 free par") as caught:
        model.fit(X[::5], y[::5])
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_biases_are_not_penalised():
    """At an optimum of logistic networks probabilities sum to the count, of residuals to zero."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3))
    y = (rng.random(2000) < 0.005 / (0.005 + np.exp(-X[:, 0]))).astype(int)
    model = NetworkClassifier(8, l2=None, random_state=0).fit(X, y)
    assert model.predict_proba(X)[:, 1].sum() == pytest.approx(y.sum(), rel=1e-4)
    t = 100.0 + X[:, 0] + 0.1 * rng.normal(size=2000)
    for optimizer in ("lm", "lbfgs"):
        plain = NetworkRegressor(
            4, l2=None, optimizer=optimizer, standardize_target=False, random_state=0
        )
        assert abs(np.mean(plain.fit(X, t).predict(X) - t)) < 1e-4


@pytest.mark.parametrize("optimizer", [Adam(0.01), SGD(0.02, momentum=0.9)], ids=repr)
def test_partial_fit_settles(optimizer):
    """Its moments go on: with new ones, each call of one batch would be a step of one size."""
    model = NetworkRegressor(
        42, activation="relu", optimizer=optimizer, random_state=42, standardize=False, l2=None
    ).fit([[2.0]], [4.0])
    for _ in range(600):
        model.partial_fit([[2.0]], [1.0])
    assert model.predict([[2.0]])[0] == pytest.approx(1.0, abs=1e-2)


def test_calls_of_partial_fit_are_epochs_of_one_fit():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(16, 2)), rng.normal(size=16)
    model = NetworkRegressor(3, optimizer=Adam(0.01), batch_size=16, l2=0.0, random_state=0)
    for _ in range(5):
        model.partial_fit(X, y)
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    np.testing.assert_array_equal(model.partial_fit(X, y).w_, again.w_)
    one = NetworkRegressor(3, optimizer=Adam(0.01), batch_size=16, l2=0.0, random_state=0, epochs=6)
    np.testing.assert_allclose(model.w_, one.fit(X, y).w_, rtol=1e-9, atol=1e-12)


def test_moments_of_another_rule_are_left():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    model = NetworkRegressor(3, optimizer=SGD(0.01, momentum=0.9), random_state=0).fit(X, y)
    model.set_params(optimizer=Adam(0.01)).partial_fit(X, y)
    assert np.isfinite(model.w_).all()


# ---- how a fit goes ----------------------------------------------------------------------------


def test_a_network_of_float32(friedman, cancer):
    X, X_test, y, y_test = friedman
    model = NetworkRegressor(8, l2=1e-3, dtype="float32", random_state=0).fit(X, y)
    assert model.network_.dtype == model.w_.dtype == np.float32
    assert model.predict(X_test).dtype == np.float64
    assert model.score(X_test, y_test) > 0.9
    mean, std = model.predict(X_test, return_std=True)
    assert mean.dtype == std.dtype == np.float64 and (std > 0.0).all()
    # Numbers that float32 does not hold: the scales are float64.
    moved = NetworkRegressor(8, l2=1e-3, dtype="float32", random_state=0)
    moved.fit(X * 1e60, y * 1e-60, np.full(len(y), 1e-60))
    np.testing.assert_allclose(moved.predict(X_test * 1e60), mean * 1e-60, rtol=1e-3)
    X, X_test, y, y_test = cancer
    model = NetworkClassifier(4, dtype=np.float32, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.94 and model.predict_proba(X).dtype == np.float64


@pytest.mark.parametrize("unit", [1e-170, 1e170])
def test_any_unit_of_columns_and_targets(friedman, unit):
    X, X_test, y, _ = friedman
    model = NetworkRegressor(4, l2=1e-3, random_state=0).fit(X, y)
    again = NetworkRegressor(4, l2=1e-3, random_state=0).fit(X * unit, y * unit)
    for found, expected in zip(
        again.predict(X_test * unit, return_std=True),
        model.predict(X_test, return_std=True),
        strict=True,
    ):
        np.testing.assert_allclose(found / unit, expected, rtol=1e-4)


def test_others_to_validate_by(friedman, iris):
    X, X_test, y, y_test = friedman
    given = {"optimizer": Adam(0.01), "epochs": 60, "l2": 0.0, "random_state": 0}
    model = NetworkRegressor(20, **given)
    c = np.linspace(0.0, 1.0, len(y_test))
    model.fit(X, y, X_val=X_test, y_val=y_test, sample_weight_val=c)
    error = model.target_scaling_.apply(model.predict(X_test)) - model.target_scaling_.apply(y_test)
    assert model.result_.validation_loss == pytest.approx(0.5 * np.average(error**2, weights=c))
    np.testing.assert_allclose(model.scaling_.mean, X.mean(axis=0))  # by what is fitted alone
    X, X_test, y, y_test = iris
    model = NetworkClassifier(4, class_weight="balanced", **given)
    model.fit(X, y, X_val=X_test, y_val=y_test)
    each = len(y) / (3 * np.bincount(y))  # balanced by what is fitted
    c = each[y_test]
    log_p = model.predict_log_proba(X_test)[np.arange(len(y_test)), y_test]
    best = model.histories_[0]["validation_loss"].min()
    assert best == pytest.approx(-np.average(log_p, weights=c))
    for wrong, message in (
        ({"X_val": X_test}, "X_val and y_val must be given both"),
        ({"sample_weight_val": c}, "X_val and y_val must be given both"),
        ({"X_val": X_test, "y_val": y_test + 1}, "in X_val, y_val and .*: y holds 3, which"),
        ({"X_val": X_test * np.nan, "y_val": y_test}, "in X_val, y_val and .* X contains NaN"),
        ({"X_val": X_test[:, :2], "y_val": y_test}, "2 features, but NetworkClassifier is exp"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, **wrong)
    model.set_params(validation_fraction=0.1)
    with pytest.raises(ValueError, match="or validation_fraction, not both"):
        model.fit(X, y, X_val=X_test, y_val=y_test)


@pytest.mark.parametrize(
    "name", ["linear", "shuffle", "standardize", "standardize_target", "verbose", "warm_start"]
)
def test_a_switch_is_true_or_false(name):
    model = NetworkRegressor(2, **{name: "no"})
    with pytest.raises(TypeError, match=f"{name} must be True or False; got 'no'"):
        model.fit(np.eye(5), np.arange(5.0))
    with pytest.raises(TypeError, match=f"{name} must be True or False; got 'no'"):
        model.partial_fit(np.eye(5), np.arange(5.0))


def test_partial_fit_goes_on_with_its_network():
    X, y = np.linspace(0.0, 1.0, 30)[:, np.newaxis], np.linspace(0.0, 2.0, 30)
    model = NetworkRegressor(3, l2=0.1, random_state=0).fit(X, y)
    for other in ({"n_neurons": 4}, {"activation": "relu"}, {"dtype": "float32"}):
        changed = copy.deepcopy(model).set_params(**other)
        with pytest.raises(ValueError, match=r"partial_fit goes on with Network.* ask for Network"):
            changed.partial_fit(X, y)
    assert model.set_params(l2=0.2).partial_fit(X, y) is model


def test_a_warm_start_goes_on(friedman, iris):
    X, _, y, _ = friedman
    given = {"optimizer": SGD(0.01), "l2": 0.0, "shuffle": False, "random_state": 0}
    once = NetworkRegressor(3, epochs=8, **given).fit(X, y)
    model = NetworkRegressor(3, epochs=4, warm_start=True, **given).fit(X, y)
    scaling = model.scaling_
    np.testing.assert_allclose(model.fit(X, y).w_, once.w_, rtol=1e-12)
    assert model.scaling_ is scaling and model.n_iter_ == 8
    np.testing.assert_allclose(model.loss_curve_, once.loss_curve_, rtol=1e-12)
    assert model.set_params(l2=0.5).fit(X, y).l2_ == 0.5
    with pytest.raises(ValueError, match="warm_start goes on with Network"):
        model.set_params(n_neurons=4).fit(X, y)
    X, _, y, _ = iris
    model = NetworkClassifier(3, epochs=4, warm_start=True, multi_class="ovr", random_state=0)
    before = model.fit(X, y).loss_
    assert (model.fit(X, y).loss_ < before).all() and model.n_iter_ == 8
    assert [*map(len, model.loss_curve_)] == [8, 8, 8]
    with pytest.raises(ValueError, match="y holds 3, which is none of the classes"):
        model.fit(X, y + 1)
    with pytest.raises(ValueError, match="y holds '0', which is none of the classes"):
        model.fit(X, y.astype(str))


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (NetworkClassifier, {"loss": "poisson"}, "the loss poisson is one of counts"),
        (NetworkClassifier, {"multi_class": "both"}, "multi_class must be .*; got 'both'"),
        (NetworkClassifier, {"l2": "much"}, "l2 must be .*; got 'much'"),
        (NetworkRegressor, {"n_neurons": "many"}, "n_neurons must be .*; got 'many'"),
        (NetworkRegressor, {"loss": "poisson"}, "the targets are scaled since the first call"),
        (NetworkRegressor, {"loss": "cross_entropy"}, "the loss cross_entropy is one of probab"),
    ],
)
def test_what_is_wrong_at_first_is_wrong_later(iris, kind, changed, message, call):
    X, _, y, _ = iris
    model = kind(2, l2=0.1, epochs=2, random_state=0, warm_start=True).fit(X, y)
    want = model.predict(X)
    with pytest.raises(ValueError, match=message):
        getattr(model.set_params(**changed), call)(X, y)
    np.testing.assert_array_equal(model.set_params(loss="squared").predict(X), want)


def test_a_warm_start_does_not_hold_what_was_not_held_before(friedman):
    X, _, y, _ = friedman
    model = NetworkRegressor(4, l2=0.1, epochs=5, random_state=0, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"that do not hold monotonic_cst=\[-1"):
        model.set_params(monotonic_cst=[-1] * X.shape[1]).fit(X, y)


def test_iterations_are_counted(friedman):
    X, _, y, _ = friedman
    model = NetworkRegressor(3, epochs=5, optimizer="adam", random_state=0).fit(X, y)
    assert model.n_iter_ == 5
    assert model.loss_curve_ == model.result_.history["loss"].tolist()
    assert model.partial_fit(X, y).n_iter_ == 6
    assert model.fit(X, y).n_iter_ == 5


def test_a_bar_where_it_is_asked_for(friedman, capfd):
    X, _, y, _ = friedman
    NetworkRegressor(2, epochs=2, random_state=0).fit(X, y)
    assert capfd.readouterr().err == ""
    NetworkRegressor(2, epochs=2, verbose=True, random_state=0).fit(X, y)
    assert "step 2 of 2" in capfd.readouterr().err


# ---- monotonic ---------------------------------------------------------------------------------


def falls_least(model, X, j, output):
    """Return the least slope of an output along input j, relative to its range."""
    rows = np.repeat(X, 60, axis=0)
    rows[:, j] = np.tile(np.linspace(X[:, j].min() - 2.0, X[:, j].max() + 2.0, 60), len(X))
    y = output(model, rows).reshape(len(X), 60)
    return np.diff(y, axis=1).min() / (np.ptp(y) or 1.0)  # of a constant one: 0


@pytest.mark.parametrize("activation", ["tanh", "softplus", ["tanh", "relu", "identity", "elu"]])
@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [(None, "float64"), ("lbfgs", "float64"), ("slsqp", "float64"), (None, "float32")],
)
def test_monotonic(activation, optimizer, dtype):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (150, 3))
    clean = np.tanh(2.0 * X[:, 0]) - X[:, 1] + np.cos(3.0 * X[:, 2])
    y = clean + 0.5 * rng.normal(size=150) + 0.5 * np.sin(6.0 * X[:, 0])
    model = NetworkRegressor(4, activation=activation, optimizer=optimizer, dtype=dtype)
    model.set_params(l2=1e-4, epochs=60, random_state=0)
    rounding = 10.0 * np.finfo(dtype).eps
    assert falls_least(model.fit(X, y), X[:20], 0, NetworkRegressor.predict) < -1e-3
    model.set_params(monotonic_cst=[1, -1, 0]).fit(X, y)
    assert falls_least(model, X[:20], 0, NetworkRegressor.predict) > -rounding
    assert falls_least(model, X[:20], 1, lambda *at: -NetworkRegressor.predict(*at)) > -rounding
    assert model.score(X, clean) > 0.6


@pytest.mark.parametrize("activation", ["tanh", "softplus", "relu"])
def test_all_parameters_within_the_bounds_are_monotonic(activation):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (20, 3))
    model = NetworkRegressor(6, activation=activation, monotonic_cst=[1, -1, 0], epochs=1)
    model.fit(X, X[:, 0])
    low, high = model._bounds(model.network_)
    for _ in range(5):
        drawn = rng.normal(size=low.size)
        model.w_ = np.where(drawn < low, -drawn, np.where(drawn > high, -drawn, drawn))
        assert falls_least(model, X, 0, NetworkRegressor.predict) > -1e-12
        assert falls_least(model, X, 1, lambda *at: -NetworkRegressor.predict(*at)) > -1e-12
    a = model.network_.split(model.w_)[0]
    assert (a[:6:2] > 0.0).all() and (a[1:6:2] < 0.0).all()  # bent both ways


def test_monotonic_probabilities_targets_and_names():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (200, 2))
    y = (rng.random(200) < 1.0 / (1.0 + np.exp(3.0 * np.sin(2.0 * X[:, 0])))).astype(int)
    frame = pandas.DataFrame(X, columns=["a", "b"])
    model = NetworkClassifier(4, monotonic_cst={"a": 1}, l2=1e-3, random_state=0).fit(frame, y)

    def probability(model, rows):
        return model.predict_proba(pandas.DataFrame(rows, columns=["a", "b"]))[:, 1]

    assert falls_least(model, X[:20], 0, probability) > -1e-12
    with pytest.raises(ValueError, match="1 unexpected feature names: \\['c'\\]"):
        model.set_params(monotonic_cst={"c": 1}).fit(frame, y)
    two = np.column_stack([np.sin(3.0 * X[:, 0]), X[:, 0]])
    model = NetworkRegressor(4, monotonic_cst=[-1, 0], output=["identity", "tanh"], random_state=0)
    with pytest.warns(fastbp.FitWarning):  # a target that rises is no better than its mean
        model.fit(X, two)
    for k in (0, 1):
        assert falls_least(model, X[:20], 0, lambda m, rows, k=k: -m.predict(rows)[:, k]) > -1e-12


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NetworkRegressor(2, optimizer="adam"), "Adam knows no bounds"),
        (NetworkRegressor(2, optimizer="bfgs"), "BFGS knows no bounds"),
        (NetworkRegressor(2, activation="gelu"), "functions that never turn, and 'gelu' rises"),
        (NetworkClassifier(2), "probabilities of more than two classes depend on each other"),
        (NetworkClassifier(2, multi_class="ovr"), "more than two classes depend on each other"),
    ],
)
def test_what_can_not_be_held_monotonic_is_refused(iris, model, message):
    X, _, y, _ = iris
    with pytest.raises(ValueError, match=message):
        clone(model).set_params(monotonic_cst=[1, 0, 0, 0]).fit(X, y)
    for wrong in ([1, 0], 1):
        with pytest.raises(ValueError, match="the input data X has 4 features"):
            clone(model).set_params(monotonic_cst=wrong).fit(X, y)


# ---- what does not fit together ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "cross_entropy"}, "one of probabilities, and the output 'identity' goes from"),
        ({"loss": "cross_entropy", "output": "tanh"}, "'tanh' goes from -1 to 1; take output='log"),
        ({"loss": "poisson", "output": "exp"}, "takes the output for the logarithm of the rate"),
        ({"loss": "poisson", "output": "softplus"}, "take output='identity'"),
        ({"loss": "poisson", "standardize_target": True}, "targets out of the range of the loss"),
        ({"loss": "cross_entropy", "output": ["logistic", "identity"]}, "one of probabilities"),
    ],
)
def test_a_loss_that_takes_the_output_for_what_it_is_not_is_refused(given, message):
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = (X > 0.0).astype(float)
    if not isinstance(given.get("output"), list):
        y = y[:, 0]
    with pytest.raises(ValueError, match=message):
        NetworkRegressor(2, **given).fit(X, y)


# ---- scales that partial_fit finds -------------------------------------------------------------


def test_partial_fit_row_by_row_finds_the_scales_of_a_fit(friedman):
    X, X_test, y, y_test = friedman
    model = NetworkRegressor(8, l2=None, optimizer=Adam(0.02), random_state=0)
    c = np.random.default_rng(0).uniform(0.5, 1.5, len(y))
    for b in range(120):
        model.partial_fit(X[b : b + 1], y[b : b + 1], c[b : b + 1])
        if b == 49:
            assert len(pickle.loads(pickle.dumps(model))._unsettled.X) == 50
    expected = NetworkRegressor(1, l2=None, epochs=1).fit(X[:100], y[:100], c[:100])
    for name in ("scaling_", "target_scaling_"):
        for found, of in zip(getattr(model, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(found, of, rtol=1e-12)
    assert model.l2_ == expected.l2_ and model._unsettled is None
    for _ in range(20):
        model.partial_fit(X, y)
    assert model.score(X_test, y_test) > 0.5
    assert model.n_iter_ == 140


def test_partial_fit_of_classes_row_by_row(iris):
    X, X_test, y, y_test = iris
    model = NetworkClassifier(6, optimizer=Adam(0.02), random_state=0)
    for _ in range(6):
        for b in range(len(y)):
            model.partial_fit(X[b : b + 1], y[b : b + 1], classes=[0, 1, 2])
    np.testing.assert_allclose(model.scaling_.mean, X[:100].mean(axis=0))
    assert model.score(X_test, y_test) > 0.85


# ---- pickles -----------------------------------------------------------------------------------


def test_a_pickle_has_no_data_but_its_intervals(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 4))
    y = X[:, 0] + 0.1 * rng.normal(size=20_000)
    model = NetworkRegressor(4, epochs=5, random_state=0).fit(X, y)
    P = model.w_.size
    stored = pickle.dumps(model)
    assert len(stored) < 8 * P * (P + 1) + 10_000
    again = pickle.loads(stored)
    for found, expected in zip(
        again.predict(X[:9], return_std=True), model.predict(X[:9], return_std=True), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    (tmp_path / "model").write_bytes(stored)
    np.save(tmp_path / "X.npy", X[:9])
    text = """
import pickle, sys, numpy as np
with open(sys.argv[1] + "/model", "rb") as file:
    model = pickle.load(file)
print(model.predict(np.load(sys.argv[1] + "/X.npy"), return_std=True)[1].tobytes().hex())
"""
    assert fresh_process("-c", text, tmp_path).strip() == expected.tobytes().hex()
    with pytest.raises(ValueError, match="pickled or copied, which keeps no observations"):
        again.result_.report()
    assert model.result_.report().n_observations == 20_000  # what was pickled still has them
    assert pickle.loads(pickle.dumps(again)).predict(X[:9], return_std=True)[1].shape == (9,)


def test_a_large_network_is_pickled_without_intervals_unless_they_were_asked_for():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    model = NetworkRegressor(200, epochs=2, random_state=0).fit(X, X[:, 0])
    assert model.w_.size > 1000
    stored = pickle.dumps(model)
    assert len(stored) < 8 * 5 * model.w_.size + 10_000
    with pytest.raises(ValueError, match="ask for what needs them before"):
        pickle.loads(stored).predict(X, return_std=True)
    _, std = model.predict(X[:9], return_std=True)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X[:9], return_std=True)[1], std)


# ---- what is chosen ------------------------------------------------------------------------


def test_the_penalty_is_chosen_and_the_fit_is_that_by_it(friedman):
    X, _, y, _ = friedman
    model = NetworkRegressor(3, random_state=0).fit(X[:80], y[:80])
    path = model.result_.l2_path
    assert model.l2_ == model.result_.l2 and model.l2_ in path.l2
    assert model.n_neurons_ == 3 and model.network_.n_neurons == 5
    assert [v.name for v in model.network_.activations[-2:]] == ["identity", "one"]
    threads = NetworkRegressor(3, random_state=0, threads=2).fit(X[:80], y[:80])
    assert (threads.w_ == model.w_).all()
    order = np.random.default_rng(0).permutation(80)
    again = NetworkRegressor(3, random_state=0).fit(X[order], y[order])
    assert again.l2_ == model.l2_


@pytest.mark.filterwarnings("ignore:the loss on what was held out:fastbp.FitWarning")
def test_weights_are_repetitions_to_the_choice(friedman):
    X, _, y, _ = friedman
    c = np.arange(60) % 3
    weighted = NetworkRegressor(2, random_state=0).fit(X[:60], y[:60], c)
    repeated = NetworkRegressor(2, random_state=0).fit(X[:60].repeat(c, 0), y[:60].repeat(c))
    assert weighted.l2_ == repeated.l2_
    ours, theirs = weighted.result_.l2_path, repeated.result_.l2_path
    np.testing.assert_allclose(ours.loss[:4], theirs.loss[:4], rtol=1e-6)
    np.testing.assert_allclose(ours.error[:4], theirs.error[:4], rtol=1e-6)


def test_the_number_of_neurons_is_chosen():
    rng = np.random.default_rng(0)
    X = rng.uniform(-3.0, 3.0, (100, 1))
    line = NetworkRegressor("auto", random_state=0).fit(X, X[:, 0] + rng.standard_normal(100))
    assert line.n_neurons_ == 1 and line.l2_ == 1.0  # whatever l2 and neurons, it is that line
    sine = NetworkRegressor("auto", linear=False, random_state=0, l2=1e-3)
    sine.fit(X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(100))
    assert 2 <= sine.n_neurons_ <= 8 and sine.l2_ == 1e-3
    assert sine.network_.n_neurons == sine.n_neurons_ + 1
    with pytest.raises(ValueError, match='n_neurons="auto" is for fit'):
        NetworkRegressor("auto").partial_fit(X, X[:, 0])
    with pytest.raises(ValueError, match="one activation for all"):
        NetworkRegressor("auto", activation=["tanh"]).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="l2 must be a number"):
        NetworkRegressor(l2="best").fit(X, X[:, 0])


def test_few_rows_end_at_a_line_or_the_mean():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((2, 40, 4)), rng.standard_normal(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastbp.FitWarning)
        model = NetworkRegressor(random_state=0).fit(X[0], y)
        same = NetworkRegressor(random_state=0).fit(np.ones((5, 2)), np.ones(5))
    assert model.l2_ > 0.05 and np.abs(model.predict(X[1]) - y.mean()).max() < y.std()
    assert same.l2_ == 1.0 and same.predict(np.ones((1, 2))) == pytest.approx(1.0)


@pytest.mark.parametrize("multi_class", ["softmax", "ovr"])
def test_one_penalty_for_all_classes(iris, multi_class):
    X, X_test, y, y_test = iris
    model = NetworkClassifier(2, multi_class=multi_class, random_state=0).fit(X, y)
    assert model.l2_ <= 1.0 and model.score(X_test, y_test) > 0.9


def test_linear_neurons_of_classes_have_twice_the_penalty_of_the_others():
    X = np.random.default_rng(0).normal(size=(30, 2))
    for classes in ([0.0], [-1.0, 1.0]):
        y = np.digitize(X[:, 0], classes)
        model = NetworkClassifier(1, l2=0.01, epochs=1, random_state=0).fit(X, y)
        A, W = model.network_.split(penalties(model.network_, 0.01))
        straight = len(classes)
        np.testing.assert_allclose(np.atleast_2d(A)[0], [0.01, *[0.02] * straight, 0.0])
        np.testing.assert_allclose(W[1:-1], [[0.02, 0.02, 0.0]] * straight)


def test_linear_neurons_are_as_many_as_the_line_of_all_outputs_has_ranks():
    """So it is among what is fitted, which one neuron's is not."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 8))
    Y = X @ rng.normal(size=(8, 5)) + rng.normal(size=(200, 5))
    fitted = slice(150)
    multilabel = NetworkClassifier(3, l2=0.1, epochs=1).fit(X, (Y > 0).astype(int))
    assert multilabel.network_.n_neurons == 3 + 5 + 1
    few = NetworkRegressor(3, l2=0.1, epochs=1).fit(X[:, :2], Y)
    assert few.network_.n_neurons == 3 + 2 + 1
    assert NetworkRegressor(3, linear=False, l2=0.1, epochs=1).fit(X, Y).network_.n_neurons == 3 + 1
    model = NetworkRegressor(4, random_state=0).fit(X[fitted], Y[fitted])
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1e-3, 1e4, 29)))
    ridge.fit(X[fitted], Y[fitted])
    assert model.score(X[150:], Y[150:]) > ridge.score(X[150:], Y[150:]) - 0.005


def test_a_linear_neuron_has_half_the_penalty_of_the_line_and_no_bias():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, -0.5, 0.0] + 0.5 * np.sin(3.0 * X[:, 2]) + 0.1 * rng.normal(size=60)
    model = NetworkRegressor(2, l2=0.01, random_state=0).fit(X, y)
    assert model.network_.split(model.w_)[1][2, -1] == 0.0 and model.l2_linear_ == 0.01
    for linear in (0.005, 0.04):
        A, W = model.network_.split(penalties(model.network_, 0.01, linear))
        half = linear / 2
        np.testing.assert_array_equal(A, [0.01, 0.01, half, 0.0])
        np.testing.assert_array_equal(W[:3], [*[[0.01] * 3 + [0.0]] * 2, [half] * 3 + [0.0]])
    model = NetworkRegressor(2, random_state=0).fit(X, y)
    A, _ = model.network_.split(model.result_.data.l2)
    np.testing.assert_allclose(A, [model.l2_, model.l2_, model.l2_linear_ / 2, 0.0])
    alike = NetworkRegressor(2, activation="identity", l2=0.01, epochs=1).fit(X, y)
    assert penalties(alike.network_, 0.01, 1.0).max() == 0.01  # no bent neuron, nothing to part


def test_where_a_line_is_all_there_is_what_is_chosen_is_that_line():
    """Of as good a penalty as cross-validated ridge regression has."""
    rng = np.random.default_rng(8)
    X, X_new = rng.normal(size=(40, 12)), rng.normal(size=(2000, 12))
    beta = rng.normal(size=12)
    y, y_new = X @ beta + 4.0 * rng.normal(size=40), X_new @ beta
    model = NetworkRegressor(random_state=0).fit(X, y)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1e-3, 1e4, 29))).fit(X, y)
    assert model.l2_ > 0.1 and 0.0 < model.l2_linear_ <= model.l2_
    assert model.score(X_new, y_new) > ridge.score(X_new, y_new) - 0.05
    bent = np.abs(model.network_.split(model.w_)[0][:16])
    assert bent.max() < 0.02
