"""Intervals and reports of several outputs: against single ones, statsmodels, and fresh data."""

import copy
import math
import re

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import norm
from test_report import Texts

import fastbp
from fastbp import FitWarning
from fastbp._training import uncertainty

RNG = np.random.default_rng(4)
B, N, K = 90, 3, 3
X = np.column_stack([RNG.normal(size=(B, N - 1)), np.ones(B)])
S = X @ RNG.normal(size=(N, K))
T = S + RNG.normal(size=(B, K)) * [0.1, 1.0, 5.0]
T[:, 2] += T[:, 0]  # noise that two have in common
LABELS = (RNG.uniform(size=(B, K)) < 1.0 / (1.0 + np.exp(-S))) * 1.0
COUNTS = RNG.poisson(np.exp(0.4 * S)) * 1.0
CLASSES = (S + RNG.gumbel(size=(B, K))).argmax(axis=1)
C = RNG.uniform(0.2, 3.0, B) * (np.arange(B) % 7 > 0)
EXACT = fastbp.LevenbergMarquardt(gtol=1e-14, xtol=1e-14, ftol=1e-15)
LBFGS = fastbp.LBFGS(gtol=1e-11, ftol=1e-16)
PLACES = RNG.normal(size=(7, N))


def linear(t, output, *, some=None, **options):
    """Fit s = A x: the neurons are the inputs, and A is free, or `some` of it."""
    n_outputs = t.shape[1] if t.ndim == 2 else options.pop("K", 1)
    net = fastbp.Network(
        N, activations=["identity"] * N, output=output, n_outputs=n_outputs, dtype=X.dtype
    )
    w0 = np.concatenate([np.zeros(n_outputs * N), np.eye(N).ravel()])
    free = np.arange(w0.size) < n_outputs * N
    if some is not None:
        free[: n_outputs * N] = np.ravel(some)
    given = {"optimizer": EXACT, "epochs": 3000, "w0": w0, "free": free} | options
    return fastbp.fit(net, X, t, **given)


def assert_close(got, want, rtol=1e-8, atol=0.0):
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


CASES = {
    "squared": ("identity", T, EXACT),
    "log_cosh": ("identity", T, LBFGS),
    "cross_entropy": ("logistic", LABELS, LBFGS),
    "poisson": ("identity", COUNTS, LBFGS),
}


@pytest.mark.parametrize("loss", CASES)
@pytest.mark.parametrize("options", [{}, {"sample_weight": C}, {"absolute_sigma": True}, "l2"])
def test_outputs_that_share_nothing_are_fits_of_their_own(loss, options):
    output, t, optimizer = CASES[loss]
    if options == {"absolute_sigma": True} and loss == "log_cosh":
        pytest.skip("its weights have no absolute meaning")
    options = {"l2": 0.005} if options == "l2" else options
    options = {"loss": loss, "optimizer": optimizer} | options
    result = linear(t, output, **options)
    y, std = result.predict(PLACES, return_std=True)
    assert y.shape == std.shape == (7, K)
    report, singles = result.report(), []
    for k in range(K):
        single = linear(t[:, k], output, **options)
        singles.append(single.report())
        want = single.predict(PLACES, return_std=True)[1]
        assert_close(std[:, k], want, rtol=1e-6)
        assert_close(result.predict(PLACES[0], return_std=True)[1][k], want[0], rtol=1e-6)
        own = result.covariance[k * N : (k + 1) * N, k * N : (k + 1) * N]
        assert_close(own, single.covariance[:N, :N], rtol=1e-6, atol=1e-12)
        if loss == "squared":
            noisy = single.predict(PLACES, return_std=True, noise=True)[1]
            assert_close(result.predict(PLACES, return_std=True, noise=True)[1][:, k], noisy)
    for name in ("r2", "rmse", "residual_standard_error"):
        each = [getattr(single, name) for single in singles]
        if each[0] is None:
            assert getattr(report, name) is None
        else:
            assert_close(getattr(report, name), each, rtol=1e-7)
    for name in ("n_effective", "log_likelihood", "deviance", "null_deviance", "aic"):
        each = [getattr(single, name) for single in singles]
        if each[0] is None:
            assert getattr(report, name) is None
        else:
            assert_close(getattr(report, name), sum(each), rtol=1e-7)
    assert report.n_observations == singles[0].n_observations


def test_what_outputs_have_in_common_is_in_the_covariance_between_them():
    """Zellner's covariance for one X: Σ̂ ⊗ (X^T X)⁻¹, Σ̂ = R^T R / (n − p)."""
    result = linear(T, "identity")
    r = T - result.predict(X)
    want = np.kron(r.T @ r / (B - N), np.linalg.inv(X.T @ X))
    assert_close(result.covariance[: K * N, : K * N], want, rtol=1e-6, atol=1e-12)


def test_a_common_neuron_has_the_sandwich():
    """All entries, from the Jacobian: A⁻¹ (Σ_b c_b J_b^T Σ̂ J_b) A⁻¹."""
    net = fastbp.Network(N, activations=["tanh", "identity"], output=["identity", "tanh"])
    truth = np.array([1.0, 0.5, 0.3, -0.5, 0.8, 0.4, 0.2, -0.3, 0.6, 0.1])
    t = net(truth, X) + np.random.default_rng(0).normal(size=(B, 2)) * [0.01, 0.1]
    free = np.arange(10) != 1  # one of both scales of a neuron
    free[2] = False
    result = fastbp.fit(net, X, t, w0=truth, free=free, sample_weight=C, optimizer=EXACT)
    J = net.per_sample_grad(result.w, X)[..., free]
    n = np.count_nonzero(C)
    c = C * n / C.sum()
    M = np.einsum("b,bki,bkj->kij", c, J, J)
    inverse = np.linalg.inv(M.sum(axis=0))
    left = n - np.einsum("ij,kji->k", inverse, M)
    r = (t - result.predict(X)) / np.sqrt(left)
    sigma = (c[:, None] * r).T @ r
    S = np.einsum("b,bki,kl,blj->ij", c, J, sigma, J)
    got = result.covariance[np.ix_(free, free)]
    assert_close(got, inverse @ S @ inverse, rtol=1e-5, atol=1e-12)
    assert_close(left.sum(), 2 * n - free.sum())
    assert_close(result.report().residual_standard_error ** 2, np.diag(sigma))

    known = fastbp.fit(
        net, X, t, w0=truth, free=free, sample_weight=C, optimizer=EXACT, absolute_sigma=True
    )
    want = np.linalg.inv(np.einsum("b,bki,bkj->ij", C, J, J))
    assert_close(known.covariance[np.ix_(free, free)], want, rtol=1e-5, atol=1e-12)
    noisy, std = (known.predict(X, return_std=True, noise=noise)[1] for noise in (True, False))
    assert_close(noisy**2 - std**2, np.full((B, 2), n / C.sum()))


def test_a_robust_loss_takes_an_observation_as_one():
    """S = Σ_b g_b g_b^T, of the sums over the outputs."""
    rng = np.random.default_rng(4)
    net = fastbp.Network(N, 1, output=["identity", "identity"])
    t = net(np.array([1.0, -2.0, 0.5, 0.8, 0.3]), X) + rng.standard_t(3, size=(B, 2))
    w0, free = np.array([1.0, -2.0, 0.5, 0.8, 0.3]), np.arange(5) > 0
    result = fastbp.fit(net, X, t, w0=w0, free=free, loss="log_cosh", optimizer=LBFGS)
    J, r = net.per_sample_grad(result.w, X)[..., free], result.predict(X) - t
    A = np.einsum("bk,bki,bkj->ij", 1.0 / np.cosh(r) ** 2, J, J)
    g = np.einsum("bk,bki->bi", np.tanh(r), J)
    want = np.linalg.solve(A, np.linalg.solve(A, g.T @ g).T)
    assert_close(result.covariance[1:, 1:], want, rtol=1e-6)
    with pytest.raises(ValueError, match="noise=True needs the squared loss"):
        result.predict(X, return_std=True, noise=True)


# ---- softmax -------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [None, C])
def test_classes_are_those_of_a_multinomial_logit(c):
    """One class's weights are fixed at 0, as statsmodels has it."""
    first = np.repeat(np.arange(K) > 0, N)
    options = {"loss": "cross_entropy", "optimizer": LBFGS, "K": K}
    if c is None:
        t, rows = CLASSES, X
    else:  # weights that count observations
        c = np.round(c)
        options |= {"sample_weight": c, "absolute_sigma": True}
        t, rows = CLASSES, np.repeat(X, c.astype(int), axis=0)
    want = sm.MNLogit(t if c is None else np.repeat(t, c.astype(int)), rows)
    want = want.fit(disp=0, method="newton", tol=1e-12)
    result = linear(t, "softmax", some=first, **options)
    got = result.report()
    assert_close(result.w[N : K * N], want.params.T.ravel(), rtol=1e-5)
    assert_close(got.standard_errors[N : K * N], want.bse.T.ravel(), rtol=1e-5)
    assert_close(result.covariance[N : K * N, N : K * N], want.cov_params(), rtol=1e-4, atol=1e-9)
    assert_close([got.log_likelihood, got.pseudo_r2], [want.llf, want.prsquared])
    assert_close(got.aic, want.aic)
    assert_close(got.deviance, -2.0 * want.llf)  # of classes: a saturated one has none
    assert_close(got.null_deviance, -2.0 * want.llnull)
    if c is None:
        assert_close(got.bic, want.bic)
    assert got.r2 is got.rmse is got.mean_r2 is None

    # All of A free: y is the same, and so is what is known of it.
    whole = linear(t, "softmax", **options)
    std = result.predict(PLACES, return_std=True)[1]
    assert_close(whole.predict(PLACES), result.predict(PLACES), rtol=1e-6)
    assert_close(whole.predict(PLACES, return_std=True)[1], std, rtol=1e-5)
    report = whole.report()
    assert_close(report.n_effective, (K - 1) * N)
    assert_close([report.aic, report.deviance], [got.aic, got.deviance])
    assert np.isinf(report.standard_errors[: K * N]).all() and np.isinf(report.condition)
    with pytest.warns(FitWarning, match="9 of the parameters depend on what neither"):
        assert np.isinf(whole.covariance[: K * N, : K * N]).all()


@pytest.mark.parametrize("l2", [0.0, 0.005])
def test_two_classes_are_a_logistic_output(l2):
    t = LABELS[:, 0]
    options = {"loss": "cross_entropy", "optimizer": LBFGS}
    single = linear(t, "logistic", l2=l2, **options)
    # Both weights of a neuron move, and half as far: half the penalty on their difference.
    pair = linear(t, "softmax", K=2, l2=2.0 * l2, **options)
    std = single.predict(PLACES, return_std=True)[1]
    y, of_each = pair.predict(PLACES, return_std=True)
    assert_close(y[:, 1], single.predict(PLACES), rtol=1e-6)
    assert_close(of_each, np.column_stack([std, std]), rtol=1e-5)
    want, got = single.report(), pair.report()
    for name in ("log_likelihood", "n_effective", "aic", "bic", "null_deviance", "pseudo_r2"):
        assert_close(getattr(got, name), getattr(want, name), rtol=1e-6)


def test_the_squared_loss_on_a_softmax_is_gauss_newton_s():
    t = np.eye(K)[CLASSES]
    first = np.repeat(np.arange(K) > 0, N)
    result = linear(t, "softmax", some=first, optimizer=LBFGS)
    free = result.data.free
    J = result.net.per_sample_grad(result.w, X)[..., free]
    M = result.net.gauss_newton(result.w, X, t)[2][np.ix_(free, free)] * B
    assert_close(np.einsum("bki,bkj->ij", J, J), M, rtol=1e-9, atol=1e-12)
    parts = np.einsum("bki,ij,bkj->k", J, np.linalg.inv(M), J)
    r = (t - result.predict(X)) / np.sqrt(B - parts)
    assert_close(result.report().residual_standard_error ** 2, (r * r).sum(axis=0))


def test_fisher_s_information_is_the_gauss_newton_matrix():
    """With hidden neurons, and probabilities that are all but 0: R R^T of docs/mathematics.md."""
    net = fastbp.Network(N, 4, output="softmax", n_outputs=5)
    rng = np.random.default_rng(1)
    t = rng.integers(0, 5, 200)
    rows = rng.normal(size=(200, N))
    for scale in (1.0, 30.0, 3000.0):
        w = net.init(0)
        net.split(w)[0][:] *= scale
        data = uncertainty.Data(
            rows, np.eye(5)[t], None, fastbp.losses.cross_entropy, 1e-3, np.ones(w.size, bool)
        )
        got = uncertainty.spread(net, w, data)
        M = 200 * net.gauss_newton(w, rows, t, loss="cross_entropy")[2]
        inverse = np.linalg.inv(M + 0.2 * np.eye(w.size))
        assert_close(got.factor @ got.factor.T, inverse @ M @ inverse, rtol=1e-6, atol=1e-8)


def test_a_class_that_underflows_says_nothing():
    result = linear(CLASSES, "softmax", K=K, loss="cross_entropy", optimizer=LBFGS)
    y = result.net(result.w, [[1e4, 0.0, 0.0]])
    assert 0.0 in y
    std = result.predict([[1e4, 0.0, 0.0], [np.log(1e12), 0.0, 1.0]], return_std=True)[1]
    assert np.isfinite(std).all()
    far = np.concatenate([X, [[3e2, 0.0, 0.0]]])
    for factor in np.geomspace(1.0, 5.0, 30):  # subnormal on the way
        w = result.w.copy()
        w[: K * N] *= factor
        data = copy.copy(result.data).__dict__ | {"X": far, "t": np.eye(K)[[*CLASSES, 0]]}
        assert np.isfinite(uncertainty.spread(result.net, w, uncertainty.Data(**data)).factor).all()


# ---- what is not determined ----------------------------------------------------------------------


def test_what_the_data_do_not_determine_is_infinite_for_the_outputs_that_depend_on_it():
    rng = np.random.default_rng(4)
    net = fastbp.Network(N, activations=["identity", "tanh"], output=["identity"] * 2)
    w0 = np.array([1.0, 0.0, 0.5, 0.7, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    free = np.array([1, 0, 0, 1, 0, 0, 0, 1, 1, 1], bool)
    rows = X * [1.0, 0.0, 1.0]  # x_2 was never seen
    t = net(w0, rows) + 0.1 * rng.normal(size=(B, 2))
    result = fastbp.fit(net, rows, t, w0=w0, free=free)
    with pytest.warns(FitWarning, match="1 of 4 predictions depend on what neither"):
        std = result.predict([[0.5, 0.0, 1.0], [0.5, 1.0, 1.0]], return_std=True)[1]
    # y_1 has no weight on the neuron whose weight on x_2 is not known.
    assert np.isinf(std).tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_no_more_numbers_than_parameters(output):
    """K numbers an observation, of which those of a softmax have K − 1."""
    for n, nothing in ((N, True), (N + 1, False)):
        options = {"loss": "cross_entropy"} if output == "softmax" else {}
        t = np.eye(K)[CLASSES[:n]] if options else T[:n]
        net = fastbp.Network(N, activations=["identity"] * N, output=output, n_outputs=K)
        w0 = np.concatenate([np.zeros(K * N), np.eye(N).ravel()])
        free = np.arange(w0.size) < K * N
        data = uncertainty.Data(
            X[:n], t, None, fastbp.losses.get_loss(options.get("loss", "squared")), 0.0, free
        )
        got = uncertainty.spread(net, w0, data)
        assert got.nothing is nothing
        if output == "identity":
            assert np.isinf(got.noise).tolist() == [nothing] * K
        if nothing:
            with pytest.warns(FitWarning, match="no more observations than free parameters"):
                std = uncertainty.standard_deviation(net, w0, X, got, noise=False)
            assert np.isinf(std).all()


def test_left_is_that_of_the_output_with_the_fewest():
    some = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1]])
    net = fastbp.Network(N, activations=["identity"] * N, output=["identity"] * K)
    w0 = np.concatenate([np.zeros(K * N), np.eye(N).ravel()])
    free = np.arange(w0.size) < K * N
    free[: K * N] &= some.ravel() > 0
    result = fastbp.fit(net, X[:3], T[:3], w0=w0, free=free, epochs=5)
    assert result._spread.left < 1e-9
    with pytest.warns(FitWarning, match="of an observation to estimate the noise by"):
        result.predict(X, return_std=True)


def test_losses_without_curvature_are_refused():
    result = linear(T, "identity", loss="pinball", optimizer="lbfgs", epochs=5)
    with pytest.raises(ValueError, match=r"a loss with curvature.* 'pinball' is zero at every"):
        result.predict(X, return_std=True)
    report = result.report()
    assert report.standard_errors is None and "need a loss with curvature" in str(report)


@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_float32_is_computed_in_float64(output):
    options = {"loss": "cross_entropy"} if output == "softmax" else {}
    t = np.eye(K)[CLASSES] if options else T / T.std(axis=0)
    net = fastbp.Network(N, 2, n_outputs=K, output=output, dtype="float32")
    result = fastbp.fit(net, X.astype("f4"), t.astype("f4"), l2=1e-2, seed=0, epochs=30, **options)
    std = result.predict(X.astype("f4"), return_std=True)[1]
    assert std.dtype == np.float32 and np.isfinite(std).all() and (std > 0.0).all()
    assert np.isfinite(result.report().log_likelihood)


def test_an_ensemble_has_the_noise_of_each_output():
    net = fastbp.Network(N, 2, n_outputs=K, output="identity")
    fits = fastbp.fit_many(net, X, T / T.std(axis=0), seeds=2, epochs=20, l2=1e-2, threads=1)
    std, noisy = (fits.predict(X, return_std=True, noise=noise)[1] for noise in (False, True))
    each = [result._spread.noise for result in fits]
    assert_close(noisy**2 - std**2, np.broadcast_to(np.mean(each, axis=0), (B, K)), rtol=1e-6)


def test_intervals_of_90_percent_cover_90_percent_of_each_output():
    """Noise of other sizes, and in common; the function and new values at 20 places."""
    rng = np.random.default_rng(11)
    net = fastbp.Network(2, activations=["tanh", "tanh", "one"], output=["identity"] * 2)
    x = np.column_stack([np.linspace(-2.0, 2.0, 150), np.ones(150)])
    truth = np.array([1.0, -0.8, 0.3, 0.5, 1.2, -0.2, 2.0, 0.5, 1.0, -1.0, 0.0, 0.0])
    free = np.arange(12) < 10
    mix = np.array([[0.05, 0.15], [0.0, 0.2]])  # deviations 0.05 and 0.25, correlated
    places = np.column_stack([rng.uniform(-1.8, 1.8, 20), np.ones(20)])
    f, f_places = net(truth, x), net(truth, places)
    inside = []
    for _ in range(200):
        t = f + rng.standard_normal((150, 2)) @ mix
        result = fastbp.fit(net, x, t, w0=truth, free=free, optimizer="lm")
        fresh = f_places + rng.standard_normal((20, 2)) @ mix
        each = []
        for value, noise in ((f_places, False), (fresh, True)):
            y, std = result.predict(places, return_std=True, noise=noise)
            each.append((np.abs(value - y) <= 1.645 * std).mean(axis=0))
        inside.append(each)
    rate, error = np.mean(inside, axis=0), np.std(inside, axis=0) / np.sqrt(len(inside))
    assert (np.abs(rate - 0.9) < 3.0 * error + 0.01).all(), rate


# ---- reports -------------------------------------------------------------------------------------


def test_what_a_report_of_several_outputs_shows():
    rng = np.random.default_rng(4)
    t = np.column_stack([T[:, :2], np.full(B, 4.0)])
    result = linear(t, "identity", sample_weight=C)
    report = result.report()
    assert np.isnan(report.r2[2]) and not np.isnan(report.r2[:2]).any()
    assert_close(report.mean_r2, report.r2[:2].mean())
    c = C / C.sum()
    y, log_l = result.predict(X), 0.0
    for k in range(2):
        assert_close(report.rmse[k], math.sqrt(c @ (t[:, k] - y[:, k]) ** 2))
        want = sm.WLS(t[C > 0.0, k], X[C > 0.0], weights=C[C > 0.0]).fit()
        assert_close(report.r2[k], want.rsquared)
        log_l += want.llf
    text, shown = str(report), Texts(report._repr_html_()).texts
    line = f"y_2     {report.r2[1]:.6g}"
    assert line in text and "nan" in text
    assert f"{report.r2[1]:.6g}" in shown and "Outputs" in shown and "y_3" in shown
    assert re.search(rf"^mean R² +{report.mean_r2:.6g}$", text, re.M) and "\nRMSE" not in text
    assert report.names[3] == "a_2,1" and report.names[K * N] == "w_1,1"
    two = linear(T[:, :2], "identity", sample_weight=C).report()
    assert_close(two.log_likelihood, log_l)
    assert_close([two.aic, two.bic], [12.0 - 2.0 * log_l, 6.0 * math.log(77) - 2.0 * log_l])
    known = linear(T[:, :2], "identity", absolute_sigma=True)
    want = norm.logpdf(T[:, :2], known.predict(X)).sum()
    assert_close(known.report().log_likelihood, want)

    many = fastbp.Network(2, 1, n_outputs=40, output="identity")
    rows, wide = rng.normal(size=(60, 2)), rng.normal(size=(60, 40))
    text = str(fastbp.fit(many, rows, wide, epochs=3, l2=1.0).report())
    assert "and 10 more, in r2 and rmse" in text and "y_30" in text and "y_31" not in text


def test_a_report_of_classes():
    text = str(linear(CLASSES, "softmax", K=K, loss="cross_entropy", optimizer=LBFGS).report())
    assert "McFadden's pseudo-R²" in text and "deviance" in text
    assert "R²  " not in text.replace("pseudo-R²", "") and "Outputs" not in text
    probabilities = 0.8 * np.eye(K)[CLASSES] + 0.2 / K
    report = linear(probabilities, "softmax", loss="cross_entropy", optimizer=LBFGS).report()
    own = -(probabilities * np.log(probabilities)).sum()
    assert_close(report.deviance, -2.0 * (report.log_likelihood + own))
    p = probabilities.mean(axis=0)
    assert_close(report.null_deviance, -2.0 * (B * (p * np.log(p)).sum() + own))
