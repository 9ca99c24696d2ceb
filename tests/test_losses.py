"""The losses against mpmath and by hand."""

import itertools
import math
import pickle
from dataclasses import replace
from unittest import mock

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import ActivationError, activations, losses
from fastbp.losses import NAMES, cross_entropy, family, get_loss, huber, pinball

mp = mpmath.MPContext()
mp.dps = 60


def log_cosh(r):
    return mp.log1p(2 * mp.sinh(r / 2) ** 2) if abs(r) < 300 else abs(r) - mp.log(2)


def huber_value(r, delta):
    return r * r / 2 if abs(r) <= delta else delta * (abs(r) - mp.mpf(delta) / 2)


# ℓ, ℓ', ℓ'' in y
DEFINITIONS = {
    "squared": (lambda y, t: (y - t) ** 2 / 2, lambda y, t: y - t, lambda y, t: 1),
    "cross_entropy": (
        lambda y, t: -t * mp.log(y) - (1 - t) * mp.log1p(-y),
        lambda y, t: -t / y + (1 - t) / (1 - y),
        lambda y, t: t / y**2 + (1 - t) / (1 - y) ** 2,
    ),
    "huber": (
        lambda y, t: huber_value(y - t, 1),
        lambda y, t: max(min(y - t, 1), -1),
        lambda y, t: int(abs(y - t) <= 1),
    ),
    "log_cosh": (
        lambda y, t: log_cosh(y - t),
        lambda y, t: mp.tanh(y - t),
        lambda y, t: mp.sech(y - t) ** 2,
    ),
    "poisson": (
        lambda y, t: mp.exp(y) - t * y,
        lambda y, t: mp.exp(y) - t,
        lambda y, t: mp.exp(y),
    ),
    "pinball": (
        lambda y, t: abs(y - t) / 2,
        lambda y, t: mp.mpf(0.5 if y > t else -0.5),
        lambda y, t: 0,
    ),
}


def points(name):
    rng = np.random.default_rng(7)
    if name == "cross_entropy":
        y = np.concatenate([rng.uniform(0, 1, 60), [1e-300, 1e-20, 1e-3, 0.5, 1 - 2**-50]])
        t = np.concatenate([rng.uniform(0, 1, 55), [0.0, 1.0, 0.5, 0.0, 1.0], [1, 0, 0.25, 1, 1]])
        return y, t
    y = np.concatenate([rng.normal(0, 3, 60), [0.0, 5.0, 1e-9, 30.0, 700.0, -1e5]])
    t = np.concatenate([np.abs(rng.normal(0, 2, 60)), [0.0, 2.5, 0.0, 1.0, 3.0, 7.0]])
    if name == "pinball":
        y[0] = t[0]
    return y, t


@pytest.mark.parametrize("name", NAMES)
def test_against_mpmath(name):
    y, t = points(name)
    got = get_loss(name).evaluate(2, y, t)
    for order, define in enumerate(DEFINITIONS[name]):
        for a, b, value in zip(y.tolist(), t.tolist(), got[order].tolist(), strict=True):
            exact = define(mp.mpf(a), mp.mpf(b))
            if abs(exact) > 1.797e308:
                assert value == math.inf
                continue
            # Where terms nearly cancel, the rounding is that of the terms.
            if name == "cross_entropy":
                terms = abs(b / mp.mpf(a)) + (1 - b) / (1 - mp.mpf(a)) if order == 1 else 0
            elif name == "poisson":
                terms = mp.exp(a) + b * (1 + abs(a))
            else:
                terms = (abs(a) + abs(b)) * (1 + abs(a - b))
            assert abs(mp.mpf(value) - exact) <= 1e-14 * (abs(exact) + terms), (a, b)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_those_of_the_definition(name):
    value, slope, curvature = DEFINITIONS[name]
    for y, t in ((0.3, 0.8), (0.7, 0.2), (0.21, 0.0), (0.9, 1.0)):
        y, t = mp.mpf(y), mp.mpf(t)
        assert mp.almosteq(mp.diff(lambda x, t=t: value(x, t), y), slope(y, t), 1e-25, 1e-25)
        second = mp.diff(lambda x, t=t: value(x, t), y, 2)
        assert mp.almosteq(second, curvature(y, t), 1e-18, 1e-18)


def test_zero_times_log_zero():
    assert cross_entropy.evaluate(2, 0.0, 0.0) == (0.0, 1.0, 1.0)
    assert cross_entropy.evaluate(2, 1.0, 1.0) == (0.0, -1.0, 1.0)
    assert cross_entropy(0.0, 1.0) == cross_entropy(1.0, 0.0) == math.inf
    assert cross_entropy(0.0, 0.5) == math.inf


def test_fused_pair():
    output, fused = cross_entropy.with_output(activations.logistic)
    assert output == activations.identity and fused.target_range == (0.0, 1.0)
    y = [1e-300, 1e-9, 0.3, 1.0, 20.0, 36.0, 40.0, 700.0, 745.0, 1e5, 1e300, 1.7e308]
    for s in (*y, *(-s for s in y), 0.0):
        for t in (0.0, 1.0, 0.25, 0.5, 0.9, 1e-12):
            value, slope, curvature = (float(x) for x in fused.evaluate(2, s, t))
            x = mp.mpf(s)
            e = mp.exp(-abs(x))
            terms = abs(x) * (1 - mp.mpf(t) if s > 0 else mp.mpf(t))
            exact = terms + mp.log1p(e)
            minus_t = (1 - mp.mpf(t)) - e / (1 + e) if s > 0 else e / (1 + e) - mp.mpf(t)
            curved = e / (1 + e) ** 2
            assert abs(value - exact) <= 1e-15 * exact + 1e-300
            # relative where t is 0 or 1, where σ(s) - t becomes small without an end
            tolerance = abs(minus_t) if t in (0.0, 1.0) else max(abs(minus_t), 0.5)
            assert abs(slope - minus_t) <= 1e-15 * tolerance + 1e-300
            assert abs(curvature - curved) <= 1e-15 * curved + 1e-300


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats(-15, 15), st.floats(0, 1))
def test_fused_pair_is_the_plain_one(s, t):
    _, fused = cross_entropy.with_output(activations.logistic)
    y, slope, _ = (float(x) for x in activations.logistic.evaluate(2, s))
    assert fused(s, t) == pytest.approx(cross_entropy(y, t), rel=1e-9, abs=1e-12)
    chain = cross_entropy.derivative(y, t) * slope
    assert fused.derivative(s, t) == pytest.approx(chain, rel=1e-9, abs=1e-12)
    assert fused.second_derivative(s, t) == pytest.approx(y * (1 - y), rel=1e-8)


def test_other_pairs_are_left_alone():
    for name in NAMES:
        for output in (activations.tanh, activations.logistic):
            if (name, output.name) != ("cross_entropy", "logistic"):
                pair = get_loss(name).with_output(output)
                assert pair == (output, get_loss(name))
    mine = fastbp.activation(lambda z: 1.0 / (1.0 + math.exp(-z)))
    assert cross_entropy.with_output(mine) == (mine, cross_entropy)
    again = pickle.loads(pickle.dumps(cross_entropy))
    assert again.with_output(activations.logistic)[0] == activations.identity


def test_huber():
    assert huber(2.0).evaluate(2, [1.0, 2.0, 3.0, -5.0], 0.0)[0].tolist() == [0.5, 2.0, 4.0, 8.0]
    assert huber(2.0).derivative(np.array([1.0, 2.0, 3.0, -5.0]), 0.0).tolist() == [1, 2, 2, -2]
    assert huber(2.0).second_derivative(np.array([1.0, 2.0, 3.0]), 0.0).tolist() == [1, 1, 0]
    assert huber() == huber(1) == get_loss("huber") and huber(2.0).digest != huber(3.0).digest
    assert repr(huber(2.0)) == "Loss('huber(delta=2.0)')"
    assert huber(1.0)(1e300, -1e300) == 2e300
    for bad in (0.0, -1.0, math.inf, math.nan, "1", None, 10**400):
        with pytest.raises(ValueError, match="delta is a positive number, but"):
            huber(bad)


def test_pinball():
    p = pinball(0.75)
    assert (p(1.0, 3.0), p(3.0, 1.0), p(2.0, 2.0)) == (1.5, 0.5, 0.0)
    assert (p.derivative(1.0, 3.0), p.derivative(3.0, 1.0)) == (-0.75, 0.25)
    assert p.derivative(2.0, 2.0) == -0.75 and p.second_derivative(1.0, 3.0) == 0.0
    t = np.random.default_rng(0).normal(size=1001)
    y = np.sort(t)
    best = y[np.argmin([p(level, t).mean() for level in y])]
    assert best == pytest.approx(np.quantile(t, 0.75), abs=0.01)
    assert get_loss("pinball") == pinball(0.5) != p
    for bad in (0.0, 1.0, -0.1, math.nan, "0.5", None):
        with pytest.raises(ValueError, match="quantile lies between 0 and 1, but"):
            pinball(bad)


def test_own_loss():
    @fastbp.loss
    def cauchy(y, t):
        return math.log1p((y - t) ** 2)

    y, t = np.linspace(-2, 2, 5)[:, None], np.linspace(0, 1, 3)
    r = y - t
    np.testing.assert_allclose(cauchy(y, t), np.log1p(r * r), rtol=1e-14)
    np.testing.assert_allclose(cauchy.derivative(y, t), 2 * r / (1 + r * r), rtol=1e-14)
    second = 2 * (1 - r * r) / (1 + r * r) ** 2
    np.testing.assert_allclose(cauchy.second_derivative(y, t), second, rtol=1e-13, atol=1e-15)
    step = cauchy.evaluate(0, y + 1e-150j, t)[0].imag / 1e-150
    np.testing.assert_allclose(step, cauchy.derivative(y, t), rtol=1e-14)
    assert cauchy.target_range == (-math.inf, math.inf) and repr(cauchy) == "Loss('cauchy')"

    ranged = fastbp.loss(target_range=(0, 1), name="ranged")(lambda y, t: math.log1p((y - t) ** 2))
    assert ranged.digest == cauchy.digest and ranged != cauchy and ranged.target_range == (0.0, 1.0)
    assert pickle.loads(pickle.dumps(ranged)) == ranged
    assert ranged != "ranged" and ranged == mock.ANY
    for bad in ((1, 0), (0, 1, 2), (0, None), ("0", "1"), 0, None):
        with pytest.raises(ValueError, match=r"target_range is \(least, greatest\)"):
            fastbp.loss(lambda y, t: y - t, target_range=bad)
    with pytest.raises(TypeError, match="the name is a text, but 3 was given"):
        fastbp.loss(lambda y, t: y - t, name=3)

    given = fastbp.loss(lambda y, t: y * t, derivative=lambda y, t: 3.0 * y * t)
    assert given.second_derivative(1.0, 2.0) == 6.0


def test_refusals():
    with pytest.raises(ActivationError, match=r"test_losses.py, line \d+: loss 'gamma' cannot"):

        @fastbp.loss
        def gamma(y, t):
            return math.gamma(y) * t

    with pytest.raises(ActivationError, match="missing 1 required positional"):
        fastbp.loss(lambda y, t, x: y)
    for wrong in (3.0, activations.tanh, cross_entropy):
        with pytest.raises(ActivationError, match="a function of"):
            fastbp.loss(wrong)


def test_lookup():
    for name in NAMES:
        ell = get_loss(name)
        assert ell.name == name and get_loss(ell) is ell
        assert pickle.loads(pickle.dumps(ell)) == ell
    assert len({get_loss(name).digest for name in NAMES}) == len(NAMES)
    assert get_loss("poisson").target_range == (0.0, math.inf)
    assert losses.squared(3.0, 1.0) == 2.0
    with pytest.raises(ValueError, match=r"there is no loss 'square': did you mean 'squared'\?"):
        get_loss("square")
    for wrong in (None, activations.square):
        with pytest.raises(TypeError, match="a loss or its name is expected"):
            get_loss(wrong)


@pytest.mark.parametrize("check_finite", [False, True])
def test_an_end_beyond_float32_is_infinite_there(check_finite):
    ell = fastbp.loss(lambda y, t: (y - t) ** 2, name="far", target_range=(0.0, 1e40))
    net = fastbp.Network(2, 2, dtype="float32")
    w, X = net.init(0), np.ones((3, 2), np.float32)
    t = np.array([0.0, 1.0, 1e10], np.float32)
    assert net.loss_and_grad(w, X, t, loss=ell, check_finite=check_finite)[0] > 1e19
    with pytest.raises(ValueError, match=r"must lie in \[0, 1e\+40\]; got t\[0\] = -1"):
        net.loss_and_grad(w, X, t - 1, loss=ell, check_finite=check_finite)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_range_of_targets_is_that_of_its_loss(dtype):
    """Where two losses have one formula too, and at ends that float32 rounds."""
    free = fastbp.loss(lambda y, t: (y - t) ** 2, name="free")
    ends = [(0.7, 1.0), (0.0, 0.1)]
    ranged = [fastbp.loss(lambda y, t: (y - t) ** 2, name="free", target_range=r) for r in ends]
    assert len({free.key, *(loss.key for loss in ranged)}) == 1
    X = np.ones((4, 2), dtype)
    for order in itertools.permutations([free, *ranged]):
        net = fastbp.Network(2, 3, dtype=dtype)
        w = net.init(0)
        for loss in order * 2:
            for end in (0.7, 0.1):
                t = np.full(4, end, dtype)
                if loss is free or end in loss.target_range:
                    net.loss_and_grad(w, X, t, loss=loss)
                    net.hvp(w, X, t, w, loss=loss)
                else:
                    with pytest.raises(ValueError, match="targets of the loss 'free' must lie"):
                        net.loss_and_grad(w, X, t, loss=loss)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_a_loss_is_called_does_not_say_what_it_is():
    """Not to a fit: how much is a small fall, which steps, which start, what is reported."""
    X = np.column_stack([np.linspace(-2.0, 2.0, 60), np.ones(60)])
    t = np.exp(np.sin(2.0 * X[:, 0]))

    def reached(loss, t, **options):
        output = "logistic" if loss.target_range == (0.0, 1.0) else "identity"
        net = fastbp.Network(2, 3, output=output)
        r = fastbp.fit(net, X, t, loss=loss, seed=1, epochs=60, **options)
        return r.w.tolist(), r.reason, r.converged, str(replace(r.report(), loss_name=""))

    for optimizer in (None, "lm", "lbfgs", "adam"):
        expected, *found = (
            reached(
                fastbp.loss(lambda y, t: 1e-9 * ((y - t) / t) ** 2, name=name),
                1e9 * t,
                optimizer=optimizer,
            )
            for name in ("mine", *NAMES, "huber(delta=0.5)", "huberised", "squared_relative")
        )
        assert [*map(expected.__eq__, found)] == [True] * len(found)
    for loss in (*map(get_loss, NAMES), huber(0.3), pinball(0.9)):  # nor is a copy another
        own = pickle.loads(pickle.dumps(loss))
        assert family(own) == family(loss) == loss.name.partition("(")[0]
        assert reached(own, t / 3.0) == reached(loss, t / 3.0)


def test_targets_beyond_an_activation_that_is_called_identity_are_said():
    net = fastbp.Network(2, 3, output=fastbp.activation(math.tanh, name="identity"))
    X = np.column_stack([np.linspace(-2.0, 2.0, 60), np.ones(60)])
    with pytest.warns(UserWarning, match="targets lie outside the range of the output 'identity'"):
        fastbp.fit(net, X, 5.0 * X[:, 0], seed=0, epochs=50)
