"""Reports of fits, and standard errors, against statsmodels and curve_fit."""

import html.parser
import math
import pickle

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import curve_fit
from scipy.stats import norm

import fastbp
from fastbp.kernels.machine import sizes

RNG = np.random.default_rng(0)
B = 80
X = np.column_stack([RNG.normal(size=(B, 2)), np.ones(B)])
S = X @ [0.8, -0.6, 0.5]
C = RNG.uniform(0.2, 3.0, B)
T = S + 0.3 * RNG.normal(size=B)
CLASSES = (RNG.uniform(size=B) < 1.0 / (1.0 + np.exp(-S))).astype(float)
COUNTS = RNG.poisson(np.exp(S)).astype(float)
EXACT = fastbp.LevenbergMarquardt(gtol=1e-14, xtol=1e-14, ftol=1e-15)
FREE, W0 = np.array([False, True, True, True]), np.array([1.0, 0.0, 0.0, 0.0])


def linear(t, output="identity", **options):
    """Fit s = x·b: one neuron whose output weight stays one."""
    net = fastbp.Network(3, activations=["identity"], output=output)
    return fastbp.fit(net, X, t, w0=W0, free=FREE, **({"optimizer": EXACT} | options))


def assert_close(got, want, rtol=1e-9):
    np.testing.assert_allclose(got, want, rtol=rtol)


@pytest.mark.parametrize("c", [None, C, 1e-6 * C])
def test_least_squares_is_that_of_statsmodels(c):
    want = (sm.OLS(T, X) if c is None else sm.WLS(T, X, weights=c)).fit()
    result = linear(T, sample_weight=c)
    got = result.report()
    assert_close(got.w[1:], want.params)
    assert_close(got.standard_errors[1:], want.bse)
    assert got.standard_errors[0] == 0.0
    assert_close(result.covariance[1:, 1:], want.cov_params(), rtol=1e-8)
    assert_close(got.r2, want.rsquared)
    assert_close(got.log_likelihood, want.llf)
    assert_close([got.aic, got.bic], [want.aic, want.bic])
    mean = 1.0 if c is None else c.mean()  # the deviation of an observation of mean weight
    assert_close(got.residual_standard_error**2 * mean, want.scale)
    assert_close(got.rmse**2, np.average((T - X @ want.params) ** 2, weights=c))
    columns = want.model.wexog / np.linalg.norm(want.model.wexog, axis=0)
    assert_close(got.condition, np.linalg.cond(columns))
    assert_close(got.n_effective, 3.0)
    assert got.n_observations == B and got.n_free == 3
    assert got.deviance is got.null_deviance is got.pseudo_r2 is None


@pytest.mark.parametrize("loss", ["cross_entropy", "poisson"])
def test_likelihoods_are_those_of_statsmodels(loss):
    t, output = (CLASSES, "logistic") if loss == "cross_entropy" else (COUNTS, "identity")
    model = sm.Logit if loss == "cross_entropy" else sm.Poisson
    family = sm.families.Binomial if loss == "cross_entropy" else sm.families.Poisson
    want = model(t, X).fit(disp=0, tol=1e-13)
    other = sm.GLM(t, X, family=family()).fit(tol=1e-13)
    result = linear(t, output, loss=loss, optimizer=fastbp.LBFGS(gtol=1e-12, ftol=1e-16))
    got = result.report()
    assert_close(got.standard_errors[1:], want.bse, rtol=1e-6)
    assert_close(got.log_likelihood, want.llf)
    assert_close([got.aic, got.bic], [want.aic, want.bic])
    assert_close(got.pseudo_r2, want.prsquared, rtol=1e-8)  # theirs fits the constant by steps
    assert_close([got.deviance, got.null_deviance], [other.deviance, other.null_deviance])
    assert got.r2 is got.rmse is got.residual_standard_error is None
    assert "R²" not in [label for label, _ in got._figures()]

    for optimizer in (None, "lm"):
        errors = linear(t, output, loss=loss, optimizer=optimizer).report().standard_errors
        assert_close(errors[1:], want.bse, rtol=1e-6)

    # Weights that count observations.
    other = sm.GLM(t, X, family=family(), freq_weights=C).fit(tol=1e-13)
    options = {"sample_weight": C, "absolute_sigma": True}
    result = linear(t, output, loss=loss, optimizer=fastbp.LBFGS(gtol=1e-12, ftol=1e-16), **options)
    got = result.report()
    assert_close(got.standard_errors[1:], other.bse, rtol=1e-6)
    assert_close(got.log_likelihood, other.llf)
    assert_close([got.deviance, got.null_deviance], [other.deviance, other.null_deviance])


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_covariance_is_that_of_curve_fit(absolute, weighted):
    x = np.linspace(0.0, 4.0, 60)
    sigma = np.linspace(0.05, 0.2, 60)
    y = 2.5 * np.exp(-1.3 * x) + sigma * np.random.default_rng(2).normal(size=60)

    def model(x, a, b):
        return a * np.exp(b * x)

    def jacobian(x, a, b):
        return np.column_stack([np.exp(b * x), a * x * np.exp(b * x)])

    exact = {"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14}
    w, want = curve_fit(
        model, x, y, [1.0, -1.0], sigma if weighted else None, absolute, jac=jacobian, **exact
    )
    net = fastbp.Network(1, 1, activations="exp", output="identity")
    c = 1.0 / sigma**2 if weighted else None
    options = {"optimizer": EXACT, "w0": [1.0, -1.0], "sample_weight": c}
    result = fastbp.fit(net, x[:, None], y, absolute_sigma=absolute, **options)
    assert_close(result.w, w, rtol=1e-6)
    assert_close(result.covariance, want, rtol=1e-6)
    if absolute:
        of_each = sigma if weighted else np.ones(60)
        log_l = norm.logpdf(y, result.predict(x[:, None]), of_each).sum()
        assert_close(result.report().log_likelihood, log_l)
        std, noisy = (
            result.predict(x[:, None], return_std=True, noise=noise)[1] for noise in (False, True)
        )
        assert_close(noisy**2 - std**2, np.full(60, 1.0 / np.mean(of_each**-2.0)))


def test_known_variances_are_for_losses_that_have_them():
    for loss in ("huber", "pinball", "log_cosh"):
        with pytest.raises(ValueError, match=f"loss squared, cross_entropy or poisson.*{loss}"):
            linear(T, loss=loss, absolute_sigma=True)
    with pytest.raises(TypeError, match="absolute_sigma must be True or False; got 1"):
        linear(T, absolute_sigma=1)


def test_a_penalty_counts_effective_parameters():
    result = linear(T, l2=0.1)
    A = X.T @ X
    H = np.linalg.solve(A + B * 0.1 * np.eye(3), A)
    got = result.report()
    assert_close(got.n_effective, np.trace(H))
    assert_close(got.aic, 2.0 * np.trace(H) - 2.0 * got.log_likelihood)
    rows = np.vstack([X, math.sqrt(B * 0.1) * np.eye(3)])
    assert_close(got.condition, np.linalg.cond(rows / np.linalg.norm(rows, axis=0)))


def test_observations_without_weight_are_none():
    c = np.where(np.arange(B) < 50, C, 0.0)
    got = linear(T, sample_weight=c).report()
    want = sm.WLS(T[:50], X[:50], weights=c[:50]).fit()
    assert got.n_observations == 50
    assert_close([got.aic, got.bic, got.r2], [want.aic, want.bic, want.rsquared])
    assert_close(got.standard_errors[1:], want.bse)


def test_figures_that_mean_nothing_are_left_out():
    @fastbp.loss(name="squared")
    def own(y, t):
        return (y - t) ** 4

    got = linear(T, loss=own, optimizer="lbfgs").report()
    assert got.r2 is got.log_likelihood is got.aic is got.residual_standard_error is None
    robust = linear(T, loss="huber", optimizer="lbfgs").report()
    assert 0.8 < robust.r2 < 1.0 and robust.rmse > 0.0 and robust.aic is None
    constant = linear(np.ones(B)).report()
    assert constant.r2 is None
    none_at_all = linear(np.zeros(B), loss="poisson", optimizer="lbfgs", l2=1.0).report()
    assert none_at_all.null_deviance == 0.0 and none_at_all.pseudo_r2 is None


class Texts(html.parser.HTMLParser):
    """What a browser shows; every tag has to be closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_what_a_report_shows():
    result = linear(T)
    report = result.report()
    text = str(report)
    assert text == repr(report)
    shown = Texts(report._repr_html_()).texts
    for label, value in [("R²", f"{report.r2:.6g}"), ("AIC", f"{report.aic:.6g}")]:
        assert f"{label} " in text and value in text
        assert label in shown and value in shown
    assert "w_1,2" in text and "fixed" in text and result.reason in text
    assert "warnings" not in text

    net = fastbp.Network(12, 8, output="identity")
    w = net.init(0)
    large = fastbp.fit(net, np.eye(12), np.ones(12), w0=w, epochs=3).report()
    assert "and 74 more, in names, w and standard_errors" in str(large)
    assert len(large.names) == net.n_params and large.names[8:21:12] == ("w_1,1", "w_2,1")
    assert "- there are no more observations" in str(large)
    shown = Texts(large._repr_html_()).texts
    assert any("no more observations" in text for text in shown)
    assert "Parameters, and 74 more, in names, w and standard_errors" in shown


def test_what_notebooks_show_of_results_and_networks():
    odd = fastbp.activation(lambda z: z * z * z, name="<b>&")
    net = fastbp.Network(3, activations=["tanh", "tanh", odd], output="identity")
    page = net._repr_html_()
    assert "<b>" not in page
    assert "2 tanh, 1 <b>&" in Texts(page).texts
    result = fastbp.fit(net, X, T, epochs=2, validation=0.2)
    shown = Texts(result._repr_html_()).texts
    assert repr(net) in shown and result.reason in shown and "validation loss" in shown
    varied = fastbp.Network(2, activations=["tanh", "sin"] * 10)
    assert "1 tanh, 1 sin, 1 tanh, …, 1 tanh, 1 sin" in Texts(varied._repr_html_()).texts


def test_reports_of_float32_are_made_in_float64():
    net = fastbp.Network(3, activations=["identity"], output="identity", dtype=np.float32)
    x, t = X.astype(np.float32), T.astype(np.float32)
    result = fastbp.fit(net, x, t, w0=W0.astype(np.float32), free=FREE)
    want = sm.OLS(t.astype(float), x.astype(float)).fit()
    got = result.report()
    assert_close(got.standard_errors[1:], want.bse, rtol=1e-5)
    assert_close(got.aic, want.aic, rtol=1e-6)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("share", [None, 0.2])
def test_arrays_that_were_written_to_have_no_intervals(monkeypatch, tmp_path, which, share):
    """Copied by none of the ways there are: of a share of large arrays, rows are looked up."""
    if share:
        monkeypatch.setattr(sizes, "MOST_PACKED", 1)
    arrays = [X.copy(), T.copy(), C.copy()]
    net = fastbp.Network(3, 2, output="identity")

    def fitted():
        x, t, c = arrays
        return fastbp.fit(net, x, t, sample_weight=c, l2=1e-3, validation=share)

    asked = fitted()
    want, of = asked.report().standard_errors, asked.covariance
    result = fitted()
    arrays[which][[3, 9]] = arrays[which][[9, 3]]  # as many numbers of the same sum
    calls = [result.report, lambda: result.covariance, pickle.loads(pickle.dumps(result)).report,
             lambda: result.predict(X, return_std=True),
             lambda: fastbp.save(tmp_path / "net.npz", net, result.w, result=result)]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="other numbers than when they were fitted"):
            call()
    np.testing.assert_array_equal(asked.covariance, of)  # asked before
    np.testing.assert_array_equal(asked.report().standard_errors, want)
    arrays[which][[3, 9]] = arrays[which][[9, 3]]
    np.testing.assert_array_equal(result.report().standard_errors, want)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_arrays_of_a_source_that_were_written_to_have_no_intervals(which):
    arrays = [X.copy(), T.copy(), C.copy()]
    net = fastbp.Network(3, 2, output="identity")
    result = fastbp.fit(net, fastbp.Source.from_arrays(*arrays), l2=1e-3)
    arrays[which][[3, 9]] = arrays[which][[9, 3]]
    for call in (result.report, lambda: result.predict(X, return_std=True)):
        with pytest.raises(ValueError, match="other numbers than when they were fitted"):
            call()
    arrays[which][[3, 9]] = arrays[which][[9, 3]]
    want = fastbp.fit(net, X, T, sample_weight=C, l2=1e-3).report()
    np.testing.assert_array_equal(result.report().standard_errors, want.standard_errors)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("loss", ["squared", "huber", "pinball"])  # the last without curvature
def test_rows_of_a_source_that_are_others_have_no_intervals(which, loss):
    arrays = [X.copy(), T.copy(), C.copy()]
    net = fastbp.Network(3, 2, output="identity")
    source = fastbp.Source.from_batches(lambda: [tuple(arrays)], len(X))
    result = fastbp.fit(net, source, loss=loss, l2=1e-3)
    want = result.report()
    result = fastbp.fit(net, source, loss=loss, l2=1e-3)
    arrays[which][3] *= 1.01
    for call in (result.report, lambda: result.predict(X, return_std=True)):
        with pytest.raises(ValueError, match="the rows are others than when they were fitted"):
            call()
    arrays[which][3] = (X, T, C)[which][3]
    assert str(result.report()) == str(want)


def test_rows_are_others_beside_probabilities_that_are_one():
    rng = np.random.default_rng(0)
    x, arrays = np.column_stack([rng.normal(size=400), np.ones(400)]), []
    x[0, 0] = 60.0
    t = (x[:, 0] > 0.0) != (np.arange(400) % 95 == 5)
    net = fastbp.Network(2, 2, activations="identity", output="logistic")
    source = fastbp.Source.from_batches(lambda: arrays, 400)
    arrays.append((x, t.astype(float)))
    result = fastbp.fit(net, source, loss="cross_entropy", l2=1e-6)
    assert (result.predict(x) == 1.0).any()
    arrays[0] = (x, (t ^ (np.arange(400) == 7)).astype(float))
    with pytest.raises(ValueError, match="the rows are others than when they were fitted"):
        result.report()
    arrays[0] = (x, t.astype(float))
    result.report()


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("far", [0.0, 2000.0])
@pytest.mark.parametrize(
    ("loss", "output"), [("squared", "identity"), ("cross_entropy", "logistic")]
)
def test_rounding_is_no_other_row(dtype, far, loss, output):
    # A perfect fit, whose loss is made of rounding.
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=2000) + far, np.ones(2000)]).astype(dtype)
    t = 0.5 + 0.3 * (x[:, 0] - far) if loss == "squared" else x[:, 0] > far
    t = t.astype(dtype)
    net = fastbp.Network(2, activations=["identity", "tanh"], output=output, dtype=dtype)
    source = fastbp.Source.from_batches(lambda: [(x, t)], 2000)
    for w0 in (None, net.init(0, x)):  # by other sums, where the start is given
        result = fastbp.fit(net, source, loss=loss, w0=w0, epochs=50)
        assert result.loss < 1e-3
        result.report()


def test_parameters_that_were_written_to_have_no_intervals(tmp_path):
    net = fastbp.Network(3, 2, output="identity")
    result = fastbp.fit(net, X, T, l2=1e-3)
    want, report = result.predict(X, return_std=True), result.report()  # and asked before
    shown = str(report)
    fastbp.save(tmp_path / "net.npz", net, result.w, result=result)
    for fit in (result, pickle.loads(pickle.dumps(result)), fastbp.load(tmp_path / "net.npz")):
        fit.w[0] *= 2.0
        calls = [lambda fit=fit: fit.predict(X, return_std=True)]
        if isinstance(fit, fastbp.FitResult):
            calls += [fit.report, lambda fit=fit: fit.covariance]
            path = tmp_path / "other.npz"
            calls += [lambda fit=fit, path=path: fastbp.save(path, net, fit.w, result=fit)]
        for call in calls:
            with pytest.raises(ValueError, match="w has other numbers than the fit found"):
                call()
        np.testing.assert_array_equal(fit.predict(X), net.value(fit.w, X))
        assert str(report) == shown
        fit.w[0] /= 2.0
        np.testing.assert_array_equal(fit.predict(X, return_std=True), want)


def test_what_a_fit_was_told_of_parameters_may_be_written_to():
    """l2, free, bounds and w0 are taken as they were: intervals are made later."""
    net = fastbp.Network(3, 2, output="identity")
    free = np.ones(net.n_params, bool)
    free[1] = False

    def fitted():
        told = {
            "l2": np.full(net.n_params, 1e-3), "free": free.copy(), "w0": net.init(0),
            "bounds": (np.full(net.n_params, -9.0), np.full(net.n_params, 9.0)),
        }  # fmt: skip
        return fastbp.fit(net, X, T, sample_weight=C, **told), told

    asked, _ = fitted()
    result, told = fitted()
    for array in (told["l2"], told["w0"], *told["bounds"]):
        array[:] = 0.1
    told["free"][:] = ~free
    assert str(result.report()) == str(asked.report())
    np.testing.assert_array_equal(result.covariance, asked.covariance)
