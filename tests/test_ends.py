"""Where fits end, looked at in float64: what is claimed is true, and what can be gained is."""

import numpy as np
import pytest
from support import TRUST_EXACT, needs_trust_exact

import fastbp
from fastbp import reference
from fastbp._training import ends, newton
from fastbp._training.given import Given, checked
from fastbp._training.methods import put_back
from fastbp.kernels.machine.levenberg_settings import ROUNDED, SMALL_GAIN, STALLED

rng = np.random.default_rng(7)
B = 40
X = np.column_stack([rng.normal(size=(B, 2)), np.ones(B)])
T = np.sin(2.0 * X[:, 0]) + 0.3 * X[:, 1] + 0.2 * rng.normal(size=B)
NET = fastbp.Network(3, 4, output="identity")
NET32 = fastbp.Network(3, 4, output="identity", dtype=np.float32)
SMALL32 = fastbp.Network(3, 1, output="identity", dtype=np.float32)


def steepest(result, X, t):
    """The largest cosine of a column with the residuals, by float64."""
    mean, g, G = reference.gauss_newton(result.net, result.w.astype(float), X.astype(float), t)
    return np.abs(g / np.sqrt(G.diagonal())).max() / np.sqrt(2.0 * mean)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("work", [ends.WORK, 0.0])  # whether all counts as small, or as large
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "BFGS"])
def test_a_claim_in_float32_is_true(optimizer, work, monkeypatch):
    for module in (ends, newton):
        monkeypatch.setattr(module, "WORK", work)
    claims = 0
    for seed in range(12):
        drawn = np.random.default_rng(seed)
        x = np.column_stack([drawn.normal(size=(B, 2)), np.ones(B)]).astype(np.float32)
        t = (np.sin(2.0 * x[:, 0]) + 0.1 * drawn.normal(size=B)).astype(np.float32)
        net = (NET32, SMALL32)[seed % 2]
        result = fastbp.fit(net, x, t, w0=net.init(seed), optimizer=optimizer, epochs=600)
        claims += result.converged
        assert not result.converged or steepest(result, x, t.astype(float)) <= 1.5e-4, seed
    assert claims >= 2


def problem(net, w, loss="squared", X=X, t=T, **options):
    given = dict.fromkeys(Given.__dataclass_fields__)
    given |= {"net": net, "X": X.astype(net.dtype), "t": t.astype(net.dtype), "w0": w, "l2": 0.0}
    given |= {"loss": loss, "threads": 1, "absolute_sigma": False, "shuffle": True} | options
    return checked(Given(**given))[0]


def look(net, w, size=-1.0, rms=1.0, **options):
    asked = problem(net, w, **options)
    return asked.w, ends.ended(asked, size=size, rms=rms)


TIGHT = fastbp.LevenbergMarquardt(gtol=0.0, xtol=0.0, ftol=1e-15)
BEST = fastbp.fit(NET, X, T, seed=3, optimizer=TIGHT, epochs=2000).w


def test_a_minimum_stays_as_it_is():
    w, end = look(NET, BEST)
    assert end.reason == SMALL_GAIN
    np.testing.assert_array_equal(w, BEST)
    np.testing.assert_allclose(end.loss, NET.loss_and_grad(BEST, X, T)[0], rtol=1e-14)


@pytest.mark.parametrize("work", [ends.WORK, 0.0])  # by NumPy, and by kernels
@pytest.mark.parametrize("net", [NET, NET32])
@pytest.mark.parametrize("weights", [None, rng.uniform(0.0, 2.0, B) * (np.arange(B) % 5 > 0)])
def test_from_beside_a_minimum_steps_go_on(net, weights, work, monkeypatch):
    monkeypatch.setattr(ends, "WORK", work)
    options = {"l2": 1e-3}
    if weights is not None:
        options["sample_weight"] = weights.astype(net.dtype)
    near = fastbp.fit(net, X.astype(net.dtype), T.astype(net.dtype), w0=BEST.astype(net.dtype),
                      epochs=400, **options).w  # fmt: skip
    beside = near * (1.0 + 1e-3 * np.cos(np.arange(near.size))).astype(net.dtype)
    w, end = look(net, beside, **options)
    assert end.reason == SMALL_GAIN and not np.array_equal(w, beside)
    exact = fastbp.fit(NET, X, T, w0=w.astype(float), optimizer=TIGHT, epochs=200,
                       l2=1e-3, sample_weight=weights)  # fmt: skip
    assert end.loss - exact.loss < 1e-6 * exact.loss


def test_far_from_a_minimum_is_said():
    assert look(NET, NET.init(5))[1].reason == STALLED


def test_steps_that_get_no_nearer_are_one(monkeypatch):
    """In a valley that bends, a matrix each for small gains."""
    asked, sums = [], ends._sums
    monkeypatch.setattr(ends, "_sums", lambda *given: asked.append(given[3]) or sums(*given))
    assert look(NET, NET.init(0))[1].reason == STALLED
    assert asked.count("gauss_newton") == 2


def test_what_numbers_can_not_hold_is_rounding():
    """Parameters whose last digit is worth more than what there is to gain."""
    far = X + np.array([1e4, 0.0, 0.0])
    line = fastbp.Network(3, activations=["identity"], output="identity", dtype=np.float32)
    w = np.array([1.0, 1.0, 0.3, -1e4], np.float32)
    _, end = look(line, w, X=far, t=X[:, 0] + 0.3 * X[:, 1] + 1e-5 * T, rms=0.0)
    assert end.reason == ROUNDED


def test_targets_that_are_met_to_rounding_are_enough():
    t = NET32.value(BEST.astype(np.float32), X.astype(np.float32))
    _, end = look(NET32, BEST.astype(np.float32), t=t, rms=float(np.sqrt(np.mean(t**2))))
    assert end.reason == SMALL_GAIN


def test_on_a_bound_nothing_is_left_to_gain():
    """Where the gradient leads out of the bounds, or on to one that is all but reached."""
    low = np.full(BEST.size, -np.inf)
    low[0] = BEST[0] + 0.1
    start = np.maximum(BEST, low)
    bounds = (low, np.full(BEST.size, np.inf))
    held = fastbp.fit(NET, X, T, w0=start, bounds=bounds, optimizer=TIGHT, epochs=3000).w
    assert held[0] == low[0]
    for off in (0.0, 1e-15):
        beside = held.copy()
        beside[0] += off
        assert look(NET, beside, bounds=bounds)[1].reason == SMALL_GAIN


def test_what_has_no_weight_may_be_beyond_all_numbers():
    c, beside, ends = np.ones(B), BEST + 1e-3, []
    c[3] = 0.0
    for far in (0.0, 1e200):  # whose square is no number, nor is 0 · ∞
        t = T.copy()
        t[3] = far
        ends.append(look(NET, beside, t=t, sample_weight=c))
    (near, end), (away, other) = ends
    assert other == end and not np.array_equal(near, beside)
    np.testing.assert_array_equal(away, near)


def test_a_loss_without_curvature_is_not_looked_at():
    assert look(NET, BEST, loss="pinball")[1] is None


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "bfgs", TRUST_EXACT, "newton-cg"])
@pytest.mark.parametrize(("dtype", "unit"), [("float32", 1e-9), ("float64", 1e-17)])
def test_targets_are_small_beside_the_start_and_met_all_the_same(optimizer, dtype, unit):
    """A loss that is nothing beside the start's may be 600 times that of the best line."""
    line = fastbp.Network(2, activations=["identity"], output="identity", dtype=dtype)
    x = np.column_stack([X[:, 0], np.ones(B)]).astype(dtype)
    t = (unit * (X[:, 0] + X[:, 1])).astype(dtype)
    found = fastbp.fit(line, x, t, w0=[1.0, 1.0, 1.0], free=np.array([False, True, True]),
                       optimizer=optimizer, epochs=400)  # fmt: skip
    assert found.converged
    x, t = x.astype(float), t.astype(float)
    best = np.mean((x @ np.linalg.lstsq(x, t, rcond=None)[0] - t) ** 2)
    left = np.mean((x @ found.w[1:].astype(float) - t) ** 2)
    np.testing.assert_allclose(left, best, rtol=1e-6)


@needs_trust_exact
@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
def test_a_step_that_scipy_does_not_find_ends_in_words():
    """trust-exact gives up after so many factorisations, by an UnboundLocalError."""
    net = fastbp.Network(1, 2, output="softmax", n_outputs=3)
    l2 = np.where(np.arange(net.n_params) % 2, 1e-7, 0.0)
    found = fastbp.fit(net, np.ones((9, 1)), np.ones(9, int), w0=net.init(4), l2=l2,
                       loss="cross_entropy", optimizer="trust-exact")  # fmt: skip
    assert found.loss < 1e-6 and found.reason


@needs_trust_exact
def test_such_an_error_of_a_callback_is_the_users():
    def callback(*_):
        raise UnboundLocalError("mine")

    with pytest.raises(UnboundLocalError, match="mine"):
        fastbp.fit(NET, X, T, optimizer="trust-exact", callback=callback, seed=0)


DRAWN = np.random.default_rng(0)
SLOW_X = np.column_stack([DRAWN.normal(size=100), np.ones(100)])
SLOW_T = np.sin(2.0 * SLOW_X[:, 0]) + 0.1 * DRAWN.normal(size=100)
SLOW_T = np.column_stack([SLOW_T, SLOW_T**2])


@pytest.mark.parametrize(
    ("K", "seed", "bound"),
    [(1, 29, None), (1, 19, None), (2, 28, None), (2, 14, None), (1, 0, 1.5), (2, 0, 3.0)],
)
def test_where_gauss_newton_is_slow_a_fit_ends_by_newtons_steps(K, seed, bound):
    """Residuals that bend leave a gradient of 1e-5 where the loss no longer falls by ftol."""
    net = fastbp.Network(2, 4, output=["identity"] * K if K > 1 else "identity")
    t, l2, options = SLOW_T[:, 0] if K == 1 else SLOW_T, 1e-3, {"l2": 1e-3, "seed": seed}
    if bound is not None:
        options["bounds"] = -bound, bound

    def slope(w):
        mean, g, G = net.gauss_newton(w, SLOW_X, t)
        slopes = (g + l2 * w) / np.sqrt(G.diagonal() + l2) / np.sqrt(2.0 * mean)
        held = (np.abs(w) == (bound or np.inf)) & (slopes * w < 0.0)
        assert held.any() == (bound is not None)
        return np.abs(slopes[~held]).max()

    found = fastbp.fit(net, SLOW_X, t, **options)
    assert found.converged and len(found.history["loss"]) >= 64
    assert slope(found.w) <= 1e-9
    rough = fastbp.fit(net, SLOW_X, t, optimizer=fastbp.LevenbergMarquardt(ftol=1.01e-8), **options)
    assert slope(rough.w) >= 1e-6  # an ftol above the default's is taken as it is
    rows = fastbp.Source.from_arrays(SLOW_X, t)
    far = fastbp.fit(net, rows, **options)
    groups = np.repeat(["a", "b"], [100, 40])
    those = np.concatenate([SLOW_X, SLOW_X[:40]]), np.concatenate([t, t[:40]])
    each = fastbp.fit_groups(net, *those, groups=groups, **options)
    for w in (far.w, each.w[0]):
        np.testing.assert_array_equal(w, found.w)
    assert each.losses[0] == found.loss == far.loss
    assert each.reasons[0] == found.reason


def test_newtons_steps_are_held_back_where_the_hessian_is_not_positive(monkeypatch):
    w = NET.init(1) + 0.1  # on the way
    hessian = np.array([NET.hvp(w, X, T, e) for e in np.eye(w.size)])
    assert np.linalg.eigvalsh(hessian)[0] < -1e-3
    before = NET.loss_and_grad(w, X, T)[0]
    asked = problem(NET, w.copy())
    loss = newton.nearer(asked, -1.0, 1.0)
    assert loss < before
    assert loss == pytest.approx(NET.loss_and_grad(asked.w, X, T)[0], rel=1e-14)
    monkeypatch.setattr(newton, "_HELD", (1.0,))
    asked = problem(NET, w.copy())
    assert newton.nearer(asked, -1.0, 1.0) is None
    np.testing.assert_array_equal(asked.w, w)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "BFGS"])
def test_what_rounding_beside_far_means_loses_is_not_claimed(optimizer):
    """The optimizer's columns are standardised; w is for those as given, of the network's type."""
    net, net32 = (
        fastbp.Network(2, activations=["tanh", "one"], output="identity", dtype=dtype)
        for dtype in ("float64", "float32")
    )
    claims = {1.0: 0, 1e5: 0}
    for seed in range(8):
        drawn = np.random.default_rng(seed)
        z = drawn.normal(size=B)
        t = (3.0 * np.tanh(2.0 * z) + 0.01 * drawn.normal(size=B)).astype(np.float32)
        for mean in claims:
            x = np.column_stack([mean + z, np.ones(B)]).astype(np.float32)
            result = fastbp.fit(net32, x, t, optimizer=optimizer, seed=seed)
            groups = fastbp.fit_groups(net32, x[None], t[None], optimizer=optimizer, seed=seed)
            assert groups.reasons[0] == result.reason
            claims[mean] += result.converged
            w, x, of = result.w.astype(float), x.astype(float), t.astype(float)
            least = fastbp.fit(net, x, of, w0=w).loss
            assert not result.converged or net.loss_and_grad(w, x, of)[0] <= (1 + 1e-6) * least
    assert claims[1.0] >= 4
    assert claims[1e5] <= 2


def test_in_float64_the_loss_says_what_rounding_loses():
    asked, loss = problem(NET, BEST), NET.loss_and_grad(BEST, X, T)[0]
    assert put_back(asked, SMALL_GAIN, loss, loss * (1.0 + 1e-9), 0.0) == SMALL_GAIN
    assert put_back(asked, SMALL_GAIN, loss, loss * (1.0 + 1e-5), 0.0) == ROUNDED
    assert put_back(asked, SMALL_GAIN, loss, loss * (1.0 + 1e-5), 1e-4) == SMALL_GAIN
    assert put_back(asked, SMALL_GAIN, 1e-30, 1e-18, 0.0) == SMALL_GAIN  # targets that are met
    assert put_back(asked, STALLED, loss, 2.0 * loss, 0.0) == STALLED


LIKE = {
    "tanh": ["tanh"] * 4 + ["one"],
    "gelu": ["gelu", "one"],
    "of two kinds": ["tanh", "logistic"],
    "no zero": ["logistic"] * 3,
}


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("optimizer", ["lm", "BFGS", "trust-ncg"])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
@pytest.mark.parametrize("neurons", LIKE)
def test_neurons_that_began_alike_are_at_no_minimum(neurons, loss, optimizer):
    """Gradients part none of them, so that all but one are as good as absent."""
    t = np.round(np.exp(T)) if loss == "poisson" else T + 1.0
    net = fastbp.Network(3, activations=LIKE[neurons], output="identity")
    w0, options = np.zeros(net.n_params), {"optimizer": optimizer, "loss": loss}
    result = fastbp.fit(net, X, t, w0=w0, **options)
    groups = fastbp.fit_groups(net, X[None], t[None], w0=w0, **options)
    assert groups.reasons[0] == result.reason
    H = np.array([net.hvp(result.w, X, t, p, loss=loss) for p in np.eye(net.n_params)])
    least = np.linalg.eigvalsh(H)[0]
    assert not result.converged or least > -1e-6
    # By rounding alone neurons are parted, and then some saturate: no end claims to be a minimum.
    assert result.converged or result.reason.startswith(("saddle", "all epochs", "stalled"))


def test_what_a_penalty_keeps_at_zero_is_at_its_minimum():
    net = fastbp.Network(3, activations=["tanh"] * 4 + ["one"], output="identity")
    w0 = np.zeros(net.n_params)
    result = fastbp.fit(net, X, T + 1.0, w0=w0, l2=2.0)
    assert result.converged
    assert fastbp.fit(net, X, T + 1.0, w0=w0, l2=1e-3).reason.startswith("saddle")
    with pytest.warns(fastbp.FitWarning, match="no better than that of a constant"):
        alone = fastbp.fit(net, X, T + 1.0, w0=w0)
    assert alone.reason.startswith("saddle")


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "SLSQP"])
def test_a_start_at_zero_of_which_nothing_can_move_is_looked_at_too(optimizer):
    net = fastbp.Network(1, 1, output="identity")
    data, w0 = (np.ones((5, 1)), np.full(5, -1.0)), np.zeros(2)
    held = fastbp.fit(net, *data, w0=w0, free=np.zeros(2, bool), optimizer=optimizer)
    assert held.converged
    bounded = fastbp.fit(net, *data, w0=w0, bounds=(0.0, np.ones(2)), optimizer=optimizer)
    assert (bounded.w == 0.0).all()  # where gradients would lead nowhere
