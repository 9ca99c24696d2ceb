"""Levenberg–Marquardt's defaults on NIST's certified regressions, and in any units."""

import nist
import numpy as np
import pytest
from scipy.optimize import least_squares

import fastbp

STARTS = [(name, k) for name in nist.PROBLEMS for k in (0, 1)]
# The last digits of Lanczos1 are its data's rounding: residuals of 1e-13 in numbers of 1.
ROUNDED = {"Lanczos1"}


@pytest.fixture(scope="module")
def problems():
    return {name: make() for name, make in nist.PROBLEMS.items()}


def sum_of_squares(problem, w):
    return float(((problem.net(w, problem.X) - problem.t) ** 2).sum())


def solved_by_scipy(problem, w0):
    free = problem.free

    def whole(z):
        w = w0.copy()
        w[free] = z
        return w

    def residuals(z):
        with np.errstate(all="ignore"):
            return problem.net(whole(z), problem.X) - problem.t

    def jacobian(z):
        return problem.net.per_sample_grad(whole(z), problem.X)[:, free]

    for method in ("lm", "trf"):
        try:
            found = least_squares(residuals, w0[free], jac=jacobian, method=method, x_scale="jac")
        except ValueError:  # not finite on the way
            continue
        if 2.0 * found.cost <= 1.0001 * problem.sum_of_squares:
            return True
    return False


@pytest.mark.parametrize("name", [name for name in nist.PROBLEMS if name not in ROUNDED])
def test_the_network_is_the_certified_model(problems, name):
    problem = problems[name]
    got = sum_of_squares(problem, problem.certified)
    np.testing.assert_allclose(got, problem.sum_of_squares, rtol=1e-9)


@pytest.mark.parametrize(("name", "k"), STARTS)
def test_the_certified_sum_from_both_starts(problems, name, k):
    problem = problems[name]
    w0 = problem.starts[k]
    if not np.isfinite(problem.net(w0, problem.X)).all():
        pytest.skip("the model as a network has no value at this start")
    result = fastbp.fit(problem.net, problem.X, problem.t, w0=w0, free=problem.free, progress=False)
    got = sum_of_squares(problem, result.w)
    arrived = got <= 1.0001 * problem.sum_of_squares
    assert arrived or not solved_by_scipy(problem, w0)
    assert result.converged == arrived, result.reason
    if name not in ROUNDED and arrived:
        want = problem.net(problem.certified, problem.X)
        np.testing.assert_allclose(result.predict(problem.X), want, atol=2e-4 * np.ptp(want))


def units():
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=(80, 2)), np.ones(80)])
    t = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=80)
    net = fastbp.Network(3, activations=["tanh"] * 5 + ["one"], output="identity")
    return net, net.init(seed=2), X, t


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("what", ["column", "targets"])
def test_units_of_inputs_and_targets_change_nothing(what, factor):
    net, w, X, t = units()
    want = fastbp.fit(net, X, t, w0=w, progress=False, epochs=400)
    a, W = net.split(w.copy())
    scaled_X, scaled_t = X.copy(), t
    if what == "column":
        scaled_X[:, 0] *= factor
        W = W / [factor, 1.0, 1.0]
    else:
        scaled_t = t * factor**2
        a = a * factor**2
    start = np.concatenate([a, W.ravel()])
    got = fastbp.fit(net, scaled_X, scaled_t, w0=start, progress=False, epochs=400)
    scale = 1.0 if what == "column" else factor**4
    np.testing.assert_allclose(got.loss, want.loss * scale, rtol=1e-6)
    assert got.converged == want.converged
    assert len(got.history["loss"]) == len(want.history["loss"])


def test_a_linear_problem_with_one_large_column():
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=(60, 2)), np.ones(60)])
    t = 1.0 + 2.0 * X[:, 0] - X[:, 1] + 0.1 * rng.normal(size=60)
    X[:, 0] *= 1e4
    net = fastbp.Network(3, activations=["identity"], output="identity")
    best = ((t - X @ np.linalg.lstsq(X, t, rcond=None)[0]) ** 2).mean() / 2.0
    for seed in range(5):
        result = fastbp.fit(net, X, t, w0=net.init(seed), progress=False)
        assert result.converged
        np.testing.assert_allclose(result.loss, best, rtol=1e-8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_start_where_the_gradient_vanishes_is_said(dtype):
    net = fastbp.Network(2, 3, output="identity", dtype=dtype)
    X = np.random.default_rng(0).normal(size=(30, 2)).astype(dtype)
    result = fastbp.fit(net, X, X[:, 0].copy(), w0=np.zeros(net.n_params, dtype), optimizer="lm")
    assert not result.converged
    assert result.reason.startswith("saddle")


def test_a_perfect_start_has_converged():
    net = fastbp.Network(2, 3, output="identity")
    w = net.init(seed=0)
    X = np.random.default_rng(0).normal(size=(30, 2))
    result = fastbp.fit(net, X, net(w, X), w0=w, optimizer="lm")
    assert result.converged
    np.testing.assert_allclose(result.w, w, rtol=1e-8)


def test_float32_arrives_where_float64_does():
    net, w, X, t = units()
    small = fastbp.Network(3, activations=net.activations, output="identity", dtype="float32")
    want = fastbp.fit(net, X, t, w0=w, progress=False, epochs=400)
    got = fastbp.fit(
        small, X.astype("f4"), t.astype("f4"), w0=w.astype("f4"), progress=False, epochs=400
    )
    assert got.loss <= 1.1 * want.loss


@pytest.mark.parametrize(
    "name", [name for name in nist.PROBLEMS if name not in {"Lanczos1", "Lanczos3"}]
)
def test_standard_errors_are_the_certified_ones(problems, name):
    problem = problems[name]
    result = fastbp.fit(
        problem.net, problem.X, problem.t, w0=problem.certified, free=problem.free, progress=False
    )
    got = np.sqrt(np.diag(result.covariance))[list(problem.indices)]
    np.testing.assert_allclose(got, problem.deviations[list(problem.own)], rtol=2e-4)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_intervals_do_not_depend_on_units(factor):
    net, w, X, t = units()
    want = fastbp.fit(net, X, t, w0=w, progress=False, epochs=400)
    a, W = net.split(want.w.copy())
    scaled = X * [factor, 1.0, 1.0]
    start = np.concatenate([a * factor, (W / [factor, 1.0, 1.0]).ravel()])
    got = fastbp.fit(net, scaled, t * factor, w0=start, progress=False)
    for noise in (False, True):
        (_, std), (_, scaled_std) = (
            result.predict(rows, return_std=True, noise=noise)
            for result, rows in ((want, X), (got, scaled))
        )
        np.testing.assert_allclose(scaled_std, std * factor, rtol=1e-4)


def test_what_the_data_do_not_determine_has_no_finite_interval():
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.normal(size=(40, 1)), np.zeros(40), np.ones(40)])  # x_2 is never seen
    t = X[:, 0] + 0.1 * rng.normal(size=40)
    net = fastbp.Network(3, activations=["identity"], output="identity")
    free = np.array([False, True, True, True])
    result = fastbp.fit(net, X, t, w0=np.array([1.0, 0.0, 0.0, 0.0]), free=free)
    std = result.predict(np.array([[0.5, 0.0, 1.0], [0.5, 1e-9, 1.0]]), return_std=True)[1]
    assert np.isfinite(std[0])
    assert np.isinf(std[1])


def test_no_more_observations_than_parameters_is_no_interval_and_said():
    rng = np.random.default_rng(4)
    X = np.column_stack([rng.normal(size=(12, 1)), np.ones(12)])
    net = fastbp.Network(2, 6, output="identity")
    result = fastbp.fit(net, X, np.sin(X[:, 0]), seed=0, epochs=50)
    with pytest.warns(fastbp.FitWarning, match="no more observations than free parameters"):
        std = result.predict(X, return_std=True)[1]
    assert np.isinf(std).all()
    penalised = fastbp.fit(net, X, np.sin(X[:, 0]), seed=0, epochs=50, l2=1e-3)
    assert np.isfinite(penalised.predict(X, return_std=True)[1]).all()


def test_a_loss_without_curvature_has_no_standard_deviation():
    @fastbp.loss
    def absolute(y, t):
        return abs(y - t)

    net, w, X, t = units()
    for loss in ("pinball", absolute):
        result = fastbp.fit(net, X, t, w0=w, loss=loss, optimizer="lbfgs", epochs=20)
        with pytest.raises(ValueError, match=r"loss with curvature.*bootstrap"):
            result.predict(X, return_std=True)
