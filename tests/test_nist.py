"""Levenberg–Marquardt's defaults on NIST's certified regressions, and in any units."""

import nist
import numpy as np
import pytest
from scipy.optimize import least_squares

import fastbp
from fastbp._training.methods import kinds_of

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


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "BFGS"])
@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_neurons_whose_inputs_weights_are_held_have_units_of_their_own(factor, optimizer):
    """A linear problem: each neuron is a column, and columns are as large as they are."""
    rng = np.random.default_rng(3)
    Z = np.column_stack([rng.normal(size=(60, 3)), np.ones(60)])
    t = Z @ [1.0, 2.0, -1.0, 0.5] + 0.3 * rng.normal(size=60)
    size = np.array([1.0, factor, 1.0 / factor, 1.0])
    net = fastbp.Network(4, activations=["identity"] * 4, output="identity")
    w0, free = np.concatenate([np.zeros(4), np.eye(4).ravel()]), np.arange(20) < 4
    got = fastbp.fit(net, Z * size, t, w0=w0, free=free, epochs=60, optimizer=optimizer)
    want, squares = np.linalg.lstsq(Z, t)[:2]
    assert got.converged, got.reason
    np.testing.assert_allclose(got.w[:4] * size, want, rtol=1e-6)
    assert got.loss == pytest.approx(0.5 * squares[0] / 60, rel=1e-10)


def wide(n_outputs):
    """So many parameters that a second trial is made where the residuals bend."""
    net = fastbp.Network(3, 16, n_outputs=n_outputs, output="identity")
    rng = np.random.default_rng(5)
    X = np.column_stack([rng.normal(size=(300, 2)), np.ones(300)])
    t = np.column_stack([np.sin(3.0 * X[:, 0]), X[:, 1] ** 2 + 0.1 * rng.normal(size=300)])
    return net, X, t[:, 0].copy() if n_outputs == 1 else t, rng.uniform(0.5, 2.0, 300)


def trials(net, X, t, c, l2, w, damping):
    """Return the trials of first and second order from w, and the fall foreseen, by NumPy."""
    _, g, G = net.gauss_newton(w, X, t, sample_weight=c)
    g, G = g + l2 * w, G + np.diag(l2)
    square = G.diagonal().copy()
    kinds = kinds_of(net, np.ones(net.n_params, bool))
    for kind in np.unique(kinds):
        own = square[kinds == kind]
        square[kinds == kind] = own.max() * (own / own.max()) ** (1.0 / own.size)
    d = np.sqrt(square)
    A = G / d / d[:, np.newaxis] + damping * np.eye(len(d))
    p = -np.linalg.solve(A, g / d)
    first = w + p / d
    residuals = (net(first, X) - t).reshape(len(X), -1) * (c / c.sum())[:, np.newaxis]
    slope = net.vjp(w, X, residuals.reshape(t.shape)) + l2 * first
    bent = first - np.linalg.solve(A, slope / d + damping * p) / d
    return first, bent, 0.5 * p @ (damping * p - g / d)


@pytest.mark.parametrize("rows", [200, 300])  # the first are one chunk
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_the_better_of_the_trials_of_first_and_second_order_is_taken(n_outputs, rows):
    net, X, t, c = wide(n_outputs)
    X, t, c = X[:rows], t[:rows], c[:rows]
    l2 = np.full(net.n_params, 1e-4)
    l2[::3] = 1e-3
    loss = net.objective(X, t, sample_weight=c, l2=l2).value
    taken, optimizer = [], fastbp.LevenbergMarquardt(start=(0.01, 0.3)[n_outputs - 1])
    for seed in range(6):
        w = net.init(seed)
        first, bent, foreseen = trials(net, X, t, c, l2, w, optimizer.start)
        tried = [w, first]
        assert foreseen > 0.02 * loss(w)
        if abs(loss(w) - loss(first) - foreseen) > 0.25 * foreseen:
            tried.append(bent)
        taken.append(int(np.argmin([loss(one) for one in tried])))
        got = fastbp.fit(net, X, t, w0=w, sample_weight=c, l2=l2, optimizer=optimizer, epochs=1)
        np.testing.assert_allclose(got.w, tried[taken[-1]], rtol=1e-7, atol=1e-9)
    assert 2 in taken


@pytest.mark.parametrize("what", ["column", "targets"])
def test_units_change_nothing_in_trials_of_second_order(what):
    net, X, t, _ = wide(1)
    w, factor = net.init(seed=1), 2.0**20
    options = {"optimizer": "lm", "progress": False, "epochs": 60}
    want = fastbp.fit(net, X, t, w0=w, **options)
    a, W = net.split(w.copy())
    if what == "column":
        X = X * [factor, 1.0, 1.0]
        W = W / [factor, 1.0, 1.0]
    else:
        t, a = t * factor, a * factor
    got = fastbp.fit(net, X, t, w0=np.concatenate([a, W.ravel()]), **options)
    scale = 1.0 if what == "column" else factor**2
    np.testing.assert_allclose(got.history["loss"], want.history["loss"] * scale, rtol=1e-9)
    assert got.reason == want.reason


def test_teachers_are_reached_in_few_iterations():
    net = fastbp.Network(6, activations=["tanh"] * 16 + ["one"], output="identity")
    rng = np.random.default_rng(1000)
    X = np.column_stack([rng.uniform(-1.0, 1.0, (500, 5)), np.ones(500)])
    t = net(rng.normal(size=net.n_params), X)
    t = (t - t.mean()) / t.std()
    total = 0
    for seed in range(10):
        stop = fastbp.EarlyStopping(target=1e-5)
        given = {"optimizer": "lm", "early_stopping": stop, "epochs": 400, "progress": False}
        result = fastbp.fit(net, X, t, w0=net.init(seed), **given)
        assert result.reason == "target reached"
        total += len(result.history["loss"])
    assert total < 534  # by μ I, whose steps depend on units; without second order 705


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


@pytest.mark.parametrize("name", [name for name in nist.PROBLEMS if name not in ROUNDED])
def test_standard_errors_are_the_certified_ones(problems, name):
    problem = problems[name]
    for w0 in (problem.certified, *problem.starts):
        if not np.isfinite(problem.net(w0, problem.X)).all():
            continue
        result = fastbp.fit(
            problem.net, problem.X, problem.t, w0=w0, free=problem.free, progress=False
        )
        if sum_of_squares(problem, result.w) > 1.0001 * problem.sum_of_squares:
            continue
        got = result.report().standard_errors[list(problem.indices)]
        np.testing.assert_allclose(got, problem.deviations[list(problem.own)], rtol=1e-4)


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


@pytest.mark.parametrize("of_column", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("of_targets", [1e-12, 1.0, 1e12])
def test_the_covariance_of_the_same_fit_in_other_units_is_the_same(of_column, of_targets):
    net, w, X, t = units()
    want = fastbp.fit(net, X, t, w0=w, progress=False, epochs=400)
    factors = np.ones(net.n_params)
    a, W = net.split(factors)
    a *= of_targets
    W[:, 0] /= of_column
    X = X * [of_column, 1.0, 1.0]
    got = fastbp.fit(net, X, t * of_targets, w0=want.w * factors, optimizer="lm", epochs=0)
    with pytest.warns(fastbp.FitWarning, match="depend on what neither the data"):
        C, scaled = want.covariance, got.covariance  # of the constant neuron's weights
    known = np.isfinite(C)
    assert known.sum() == (net.n_params - net.n_inputs) ** 2
    back = scaled / np.outer(factors, factors)
    scale = np.sqrt(np.outer(np.diag(C), np.diag(C)))[known]
    np.testing.assert_array_equal(np.isfinite(scaled), known)
    assert (np.abs(back[known] - C[known]) <= 1e-6 * scale).all()
    mine, theirs = want.report(), got.report()
    np.testing.assert_allclose(theirs.n_effective, mine.n_effective, rtol=1e-9)
    np.testing.assert_allclose(theirs.r2, mine.r2, rtol=1e-6)


def test_what_the_data_do_not_determine_has_no_finite_interval():
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.normal(size=(40, 1)), np.zeros(40), np.ones(40)])  # x_2 is never seen
    t = X[:, 0] + 0.1 * rng.normal(size=40)
    net = fastbp.Network(3, activations=["identity"], output="identity")
    free = np.array([False, True, True, True])
    result = fastbp.fit(net, X, t, w0=np.array([1.0, 0.0, 0.0, 0.0]), free=free)
    assert np.isfinite(result.predict(np.array([0.5, 0.0, 1.0]), return_std=True)[1])
    unseen = "1 of 2 predictions depend on what neither the data nor a penalty"
    with pytest.warns(fastbp.FitWarning, match=unseen):
        std = result.predict(np.array([[0.5, 0.0, 1.0], [0.5, 1e-9, 1.0]]), return_std=True)[1]
    assert np.isfinite(std[0])
    assert np.isinf(std[1])
    with pytest.warns(fastbp.FitWarning, match="1 of the parameters depend"):
        C = result.covariance
    assert np.isinf(C[2, 1:]).all() and np.isinf(C[1:, 2]).all() and not C[0].any()
    assert np.isfinite(C[np.ix_([1, 3], [1, 3])]).all()
    assert np.isinf(result.report().condition)


def test_no_more_observations_than_parameters_is_no_interval_and_said():
    rng = np.random.default_rng(4)
    X = np.column_stack([rng.normal(size=(12, 1)), np.ones(12)])
    net = fastbp.Network(2, 6, output="identity")
    with pytest.warns(fastbp.FitWarning, match="18 free parameters and 12 observations"):
        result = fastbp.fit(net, X, np.sin(X[:, 0]), seed=0, epochs=50)
    with pytest.warns(fastbp.FitWarning, match="no more observations than free parameters"):
        std = result.predict(X, return_std=True)[1]
    assert np.isinf(std).all()
    with pytest.warns(fastbp.FitWarning, match="no more observations than free parameters"):
        assert np.isinf(result.covariance).all()
    report = result.report()
    assert np.isinf(report.standard_errors).all() and np.isinf(report.residual_standard_error)
    assert "no more observations than free parameters" in str(report)
    # A variance that is known needs no observation to spare.
    exact = fastbp.fit(
        fastbp.Network(2, 1, activations="exp", output="identity"),
        X[:3],
        np.exp(X[:3, 0]),
        absolute_sigma=True,
    )
    assert np.isfinite(exact.predict(X, return_std=True)[1]).all()
    penalised = fastbp.fit(net, X, np.sin(X[:, 0]), seed=0, epochs=50, l2=1e-3)
    assert np.isfinite(penalised.predict(X, return_std=True)[1]).all()
    barely = fastbp.fit(net, X[:8], rng.normal(size=8), seed=0, epochs=500, l2=1e-9)
    with pytest.warns(fastbp.FitWarning, match="of an observation to estimate the noise by"):
        barely.predict(X, return_std=True)


def test_a_loss_without_curvature_has_no_standard_deviation():
    @fastbp.loss
    def absolute(y, t):
        return abs(y - t)

    net, w, X, t = units()
    for loss in ("pinball", absolute):
        result = fastbp.fit(net, X, t, w0=w, loss=loss, optimizer="lbfgs", epochs=20)
        with pytest.raises(ValueError, match=r"loss with curvature.*bootstrap"):
            result.predict(X, return_std=True)
        with pytest.raises(ValueError, match=r"loss with curvature.*bootstrap"):
            _ = result.covariance
        report = result.report()
        assert report.standard_errors is report.condition is report.aic is report.r2 is None
        assert "loss with curvature" in str(report)
