"""The named activations against mpmath, from definitions written down here independently."""

import math
import pickle
import re

import mpmath
import numpy as np
import pytest

from fastbp import activations
from fastbp.activations import NAMES, get_activation

mp = mpmath.MPContext()
mp.dps = 60

EPS = 2.0**-52
NEGLIGIBLE = 1e-300


def sigma(z):
    return 1 / (1 + mp.exp(-z))


def softplus(z):
    return mp.log1p(mp.exp(z)) if z < 200 else z + mp.exp(-z)


def cdf(z):
    return mp.erfc(-z / mp.sqrt(2)) / 2 if abs(z) < 60 else mp.mpf(z > 0)


def pdf(z):
    return mp.exp(-min(z * z, mp.mpf(10) ** 6) / 2) / mp.sqrt(2 * mp.pi)


def bell(z):
    return mp.exp(-min(z * z, mp.mpf(10) ** 6))


def sech2(z):
    return mp.sech(z) ** 2


def mish_factor(z):
    """m = tanh softplus with m' = (1 - m²) σ, m'' = (1 - m²) σ (1 - σ - 2 m σ)."""
    u = softplus(z)
    m, slope = mp.tanh(u), sech2(u) * sigma(z)
    return m, slope, slope * (sigma(-z) - 2 * m * sigma(z))


def log_cosh(z):
    if abs(z) < 1:
        return mp.log1p(2 * mp.sinh(z / 2) ** 2)
    return abs(z) + mp.log1p(mp.exp(-2 * abs(z))) - mp.log(2)


SCALE, ALPHA = mp.mpf("1.0507009873554804934193349852946"), mp.mpf("1.6732632423543772848170429916")
A = SCALE * ALPHA

# v, v', v''
DEFINITIONS = {
    "tanh": (mp.tanh, sech2, lambda z: -2 * mp.tanh(z) * sech2(z)),
    "logistic": (
        sigma,
        lambda z: sigma(z) * sigma(-z),
        lambda z: -sigma(z) * sigma(-z) * mp.tanh(z / 2),
    ),
    "softplus": (softplus, sigma, lambda z: sigma(z) * sigma(-z)),
    "identity": (lambda z: z, lambda z: 1, lambda z: 0),
    "one": (lambda z: 1, lambda z: 0, lambda z: 0),
    "relu": (lambda z: max(z, 0), lambda z: int(z > 0), lambda z: 0),
    "leaky_relu": (
        lambda z: z if z > 0 else z * mp.mpf(0.01),
        lambda z: 1 if z > 0 else mp.mpf(0.01),
        lambda z: 0,
    ),
    "elu": (
        lambda z: z if z > 0 else mp.expm1(z),
        lambda z: 1 if z > 0 else mp.exp(z),
        lambda z: 0 if z > 0 else mp.exp(z),
    ),
    "selu": (
        lambda z: SCALE * z if z > 0 else A * mp.expm1(z),
        lambda z: SCALE if z > 0 else A * mp.exp(z),
        lambda z: 0 if z > 0 else A * mp.exp(z),
    ),
    "silu": (
        lambda z: z * sigma(z),
        lambda z: sigma(z) + z * sigma(z) * sigma(-z),
        lambda z: sigma(z) * sigma(-z) * (2 - z * mp.tanh(z / 2)),
    ),
    "gelu": (
        lambda z: z * cdf(z),
        lambda z: cdf(z) + z * pdf(z),
        lambda z: (2 - z * z) * pdf(z),
    ),
    "mish": (
        lambda z: z * mish_factor(z)[0],
        lambda z: mish_factor(z)[0] + z * mish_factor(z)[1],
        lambda z: 2 * mish_factor(z)[1] + z * mish_factor(z)[2],
    ),
    "softsign": (
        lambda z: z / (1 + abs(z)),
        lambda z: 1 / (1 + abs(z)) ** 2,
        lambda z: -2 * mp.sign(z) / (1 + abs(z)) ** 3,
    ),
    "arctan": (mp.atan, lambda z: 1 / (1 + z * z), lambda z: -2 * z / (1 + z * z) ** 2),
    "sin": (mp.sin, mp.cos, lambda z: -mp.sin(z)),
    "cos": (mp.cos, lambda z: -mp.sin(z), lambda z: -mp.cos(z)),
    "gaussian": (bell, lambda z: -2 * z * bell(z), lambda z: (4 * z * z - 2) * bell(z)),
    "erf": (
        lambda z: mp.erf(z) if abs(z) < 60 else mp.sign(z),
        lambda z: 2 / mp.sqrt(mp.pi) * bell(z),
        lambda z: -4 * z / mp.sqrt(mp.pi) * bell(z),
    ),
    "exp": (mp.exp, mp.exp, mp.exp),
    "square": (lambda z: z * z, lambda z: 2 * z, lambda z: 2),
    "log_cosh": (log_cosh, mp.tanh, sech2),
}
KINKS = {"relu", "leaky_relu", "elu", "selu", "softsign"}
HOLOMORPHIC = sorted(set(DEFINITIONS) - {"gelu", "erf"})

_rng = np.random.default_rng(3)
_positive = np.concatenate(
    [
        [1e-300, 1e-160, 1e-20, 1e-8, 1e-3, 0.1, 0.5, 1, math.sqrt(2), 1.5, 2, 5, 8, 20, 26, 30],
        [37, 100, 300, 700, 709.7, 710, 745, 800, 1e5, 1e155, 1e300, 1.7e308],
        10 ** _rng.uniform(-10, 0, 25),
        _rng.uniform(0, 5, 60),
        _rng.uniform(0, 40, 40),
        _rng.uniform(0, 720, 15),
    ]
)
Z = np.concatenate([_positive, -_positive, [0.0]])


def stated_accuracy():
    """Read the table of the module's docstring: name → three of (bound, marks)."""
    rows = {}
    for line in activations.__doc__.splitlines():
        cells = re.split(r"  +", line.strip())
        if len(cells) == 5 and cells[0] in DEFINITIONS:
            bounds = (re.fullmatch(r"(\d+) ?([*† ]*)", cell) for cell in cells[2:])
            rows[cells[0]] = [(int(m[1]), m[2]) for m in bounds]
    return rows


ACCURACY = stated_accuracy()


def test_every_name_is_defined_and_has_an_accuracy():
    assert set(NAMES) == set(DEFINITIONS) == set(ACCURACY)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_stated_accuracy(name, order):
    bound, marks = ACCURACY[name][order]
    points = Z[Z != 0] if name in KINKS and order else Z
    got = get_activation(name).evaluate(2, points)[order]
    for z, value in zip(points.tolist(), got.tolist(), strict=True):
        # sin of 1e300 takes 300 more digits
        mp.dps = 340 if abs(z) > 1e20 and name in ("sin", "cos") else 60
        exact = DEFINITIONS[name][order](mp.mpf(z))
        mp.dps = 60
        if abs(exact) > 1.797e308:
            assert value == math.copysign(math.inf, exact), z
            continue
        size = max(abs(exact), 1) if "†" in marks else abs(exact)
        factor = 1 + min(abs(z), 1e9) ** 2 if "*" in marks else 1
        assert abs(mp.mpf(value) - exact) <= bound * factor * EPS * size + NEGLIGIBLE, z


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_those_of_the_definition(name):
    """The definitions' own v' and v'' against mpmath's differences, so that none is a slip."""
    v, slope, curvature = DEFINITIONS[name]
    for z in map(mp.mpf, (-3.2, -1.1, -0.3, 0.45, 1.7, 6.0)):
        assert mp.almosteq(mp.diff(v, z), slope(z), 1e-25, 1e-25)
        assert mp.almosteq(mp.diff(v, z, 2), curvature(z), 1e-18, 1e-18)


@pytest.mark.parametrize("name", NAMES)
def test_orders_agree(name):
    v = get_activation(name)
    whole = v.evaluate(2, Z)
    for order in range(3):
        for got, want in zip(v.evaluate(order, Z), whole, strict=False):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(v(Z), whole[0])
    np.testing.assert_array_equal(v.derivative(Z), whole[1])
    np.testing.assert_array_equal(v.second_derivative(Z), whole[2])


@pytest.mark.parametrize("name", NAMES)
def test_float32(name):
    z = np.concatenate([np.linspace(-20, 20, 81), [1e-30, -1e-30, 1e4, -1e4, 3e38, -3e38]])
    z = z[z != 0].astype(np.float32)
    v = get_activation(name)
    single, double = v.evaluate(2, z), v.evaluate(2, z.astype(np.float64))
    for order in range(3):
        bound, marks = ACCURACY[name][order]
        with np.errstate(over="ignore"):
            want = double[order].astype(np.float32)
        assert single[order].dtype == np.float32
        finite = np.isfinite(want)
        assert np.array_equal(np.isfinite(single[order]), finite)
        got, want, x = single[order][finite], want[finite], z[finite].astype(float)
        size = np.maximum(np.abs(want), 1) if "†" in marks else np.abs(want.astype(float))
        factor = 1 + np.minimum(np.abs(x), 1e9) ** 2 if "*" in marks else 1
        assert (np.abs(got - want) <= (bound + 1) * factor * 2.0**-23 * size + 1e-36).all()


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_step(name):
    z = np.linspace(-9, 9, 62)
    v = get_activation(name)
    h = 1e-200
    v0, v1, _ = v.evaluate(2, z + 1j * h)
    np.testing.assert_allclose(v0.imag / h, v.derivative(z), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(v1.imag / h, v.second_derivative(z), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(v0.real, v(z), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_nan(name):
    assert name == "one" or math.isnan(get_activation(name)(math.nan))


def test_left_side_at_kinks():
    for name, slope in (("relu", 0.0), ("leaky_relu", 0.01), ("elu", 1.0)):
        v = get_activation(name)
        assert v(0.0) == 0.0 and v.derivative(0.0) == v.derivative(-0.0) == slope
    assert activations.selu.derivative(0.0) == pytest.approx(float(A), rel=1e-15)


def test_values_at_zero():
    assert activations.softplus(0.0) == math.log(2.0)
    assert activations.logistic.evaluate(2, 0.0) == (0.5, 0.25, 0.0)
    assert activations.mish.derivative(0.0) == pytest.approx(0.6, rel=1e-15)
    assert activations.silu.derivative(0.0) == 0.5
    assert activations.gelu.derivative(0.0) == 0.5
    assert activations.log_cosh(0.0) == 0.0


@pytest.mark.parametrize(
    ("name", "most"), [("logistic", 1), ("softplus", 2), ("silu", 1), ("mish", 1), ("gaussian", 1)]
)
def test_value_and_slope_share_their_exponentials(name, most):
    text = get_activation(name).source(1)
    assert len(re.findall(r"\b(exp|expm1|log1p|tanh|logistic)\(", text)) == most
    assert text.count("/") <= 1


def test_lookup():
    for name in NAMES:
        v = get_activation(name)
        assert v.name == name and get_activation(v) is v and getattr(activations, name) is v
        assert pickle.loads(pickle.dumps(v)) == v
    assert len({get_activation(name).digest for name in NAMES}) == len(NAMES)
    assert get_activation("constant") is activations.one
    with pytest.raises(ValueError, match=r"^there is no activation 'tahn': did you mean 'tanh'\?$"):
        get_activation("tahn")
    with pytest.raises(ValueError, match=r"there are tanh|there are identity"):
        get_activation("zzzzzz")
    for wrong in (None, 3, math.tanh):
        with pytest.raises(TypeError, match="an activation or its name is expected"):
            get_activation(wrong)
