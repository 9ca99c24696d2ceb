"""Functions of numpy and scipy.special that are made of others: values and both derivatives."""

import math

import mpmath
import numpy as np
import pytest
import scipy.special
from mpmath import mpf
from support import fresh_process

import fastbp
from fastbp import ActivationError, activation
from fastbp._symbolic.special import __all__ as SPECIAL

mpmath.mp.dps = 50
C = 0.75  # the other argument: a number of float32 too


def sizes(low, high, n):
    return list(np.geomspace(low, high, n))


def both(points):
    return [*points, *(-z for z in points)]


def logistic(x):
    e = mpmath.exp(-abs(x))
    slope = e / (1 + e) ** 2
    return (1 if x >= 0 else e) / (1 + e), slope, -slope * mpmath.tanh(x / 2)


def logit(x):
    return (
        mpmath.log(x) - mpmath.log1p(-x),
        1 / (x * (1 - x)),
        (2 * x - 1) / (x * (1 - x)) ** 2,
    )


def erfcx(x):
    """By the integrals of tᵏ exp(-t² - 2 x t) for large x, where the sum cancels."""
    with mpmath.workdps(50 + int(6 * mpmath.log10(1 + abs(x)))):
        if x < 100:
            value = mpmath.exp(x * x) * mpmath.erfc(x)
        else:
            terms = ((-1) ** k * mpmath.fac2(2 * k - 1) / (2 * x * x) ** k for k in range(70))
            value = sum(terms) / (x * mpmath.sqrt(mpmath.pi))
        slope = 2 * x * value - 2 / mpmath.sqrt(mpmath.pi)
        return value, slope, 2 * value + 2 * x * slope


def ndtr(x):
    density = mpmath.npdf(x)
    return mpmath.ncdf(x), density, -x * density


def log_ndtr(x):
    if x < -5:
        scaled, falling, _ = erfcx(-x / mpmath.sqrt(2))
        ratio = mpmath.sqrt(2 / mpmath.pi) / scaled
        value = mpmath.log(scaled / 2) - x * x / 2
        return value, ratio, ratio * falling / scaled / mpmath.sqrt(2)
    ratio = mpmath.npdf(x) / mpmath.ncdf(x)
    value = mpmath.log1p(-mpmath.ncdf(-x)) if x > 0 else mpmath.log(mpmath.ncdf(x))
    return value, ratio, -ratio * (x + ratio)


def sinc(x):
    if abs(x) < 1e-3:
        u = mpmath.pi * x
        orders = range(12)
        return (
            sum((-1) ** k * u ** (2 * k) / mpmath.fac(2 * k + 1) for k in orders),
            -mpmath.pi
            * sum(
                (-1) ** k * u ** (2 * k + 1) / mpmath.fac(2 * k + 1) / (2 * k + 3) for k in orders
            ),
            -(mpmath.pi**2)
            * sum((-1) ** k * u ** (2 * k) / mpmath.fac(2 * k) / (2 * k + 3) for k in orders),
        )
    value = mpmath.sincpi(x)
    slope = (mpmath.cospi(x) - value) / x
    return value, slope, -(mpmath.pi**2) * value - 2 * slope / x


def lgamma(x):
    value = mpmath.log(abs(mpmath.gamma(x))) if abs(x) < 150 else mpmath.re(mpmath.loggamma(x))
    return value, mpmath.psi(0, x), mpmath.psi(1, x)


def digamma(x):
    return mpmath.psi(0, x), mpmath.psi(1, x), mpmath.psi(2, x)


def logaddexp(x):
    value = mpmath.log(mpmath.exp(x) + mpmath.exp(C))
    return value, *logistic(x - C)[:2]


def angle(y, x, by_y):
    square = x * x + y * y
    slope = x / square if by_y else -y / square
    return mpmath.atan2(y, x), slope, (-2 if by_y else 2) * x * y / square**2


def hypot(x):
    h = mpmath.sqrt(x * x + mpf(C) ** 2)
    return h, x / h, mpf(C) ** 2 / h**3


def xlogx(x):
    return x * mpmath.log(x), mpmath.log(x) + 1, 1 / x


WIDE = both([*sizes(1e-30, 1e15, 70), *sizes(1e-2, 30.0, 40)])
POSITIVE = [z for z in WIDE if z > 0]
NEAR = both([1.0 - 2**-20, 1.0 + 2**-20, 2.0 - 2**-20, 2.0 + 2**-20])
DOWN_TO_POLES = [-z for z in sizes(1e-30, 40.3, 50)]
# Text, exact value and derivatives, points, errors allowed in ε: of v, v' and v''.
CASES = [
    ("sc.expit(z)", logistic, both(sizes(1e-30, 80.0, 90)), (2, 2, 3)),
    ("sc.logit(z)", logit, [*sizes(1e-15, 0.99, 60), 0.5, 0.5 + 2**-20], (2, 2, 3)),
    ("sc.ndtr(z)", ndtr, both(sizes(1e-30, 12.0, 60)), (2, 2, 2)),
    ("sc.log_ndtr(z)", log_ndtr, [*both(sizes(1e-30, 12.0, 60)), -100.0, -1e9], (3, 2, 4)),
    ("sc.erfcx(z)", erfcx, [*POSITIVE, *(-z for z in sizes(1e-30, 9.0, 60))], (3, 3, 4)),
    ("np.sinc(z)", sinc, both([*sizes(1e-15, 1e4, 90), 0.5, 10.5]), (2, 4, 8)),
    ("math.lgamma(z)", lgamma, [*POSITIVE, *NEAR, *DOWN_TO_POLES], (32, 8, 4)),
    ("sc.gammaln(z)", lgamma, [0.3, 4.0], (16, 4, 4)),
    ("sc.digamma(z)", digamma, [*POSITIVE, *NEAR, *DOWN_TO_POLES], (8, 4, 8)),
    ("np.logaddexp(z, 0.75)", logaddexp, both(sizes(1e-30, 20.0, 60)), (2, 3, 4)),
    ("np.arctan2(z, 0.75)", lambda x: angle(x, mpf(C), True), WIDE, (2, 2, 3)),
    ("math.atan2(z, -0.75)", lambda x: angle(x, mpf(-C), True), WIDE, (2, 2, 3)),
    ("np.arctan2(-0.75, z)", lambda x: angle(mpf(-C), x, False), WIDE, (2, 2, 3)),
    ("np.hypot(z, 0.75)", hypot, WIDE, (2, 2, 4)),
    ("sc.xlogy(z, z)", xlogx, POSITIVE, (2, 2, 2)),
    ("sc.xlogy(z, 0.75)", lambda x: (x * mpmath.log(C), mpmath.log(C), mpf(0)), WIDE, (2, 2, 0)),
    ("z % 0.75", lambda x: (x - C * mpmath.floor(x / C), mpf(1), mpf(0)), WIDE, (1, 0, 0)),
    ("5.0 % z", lambda x: (5 - x * mpmath.floor(5 / x), -mpmath.floor(5 / x), mpf(0)),
     both(sizes(1e-2, 40.0, 40)), (1, 0, 0)),
    ("z // 0.75", lambda x: (mpmath.floor(x / C), mpf(0), mpf(0)), both(sizes(1e-2, 1e4, 40)),
     (0, 0, 0)),
    ("np.fmod(z, -0.75)", lambda x: (mpmath.sign(x) * (abs(x) - C * mpmath.floor(abs(x) / C)),
     mpf(1), mpf(0)), WIDE, (1, 0, 0)),
]  # fmt: skip
SCOPE = {"math": math, "np": np, "sc": scipy.special}


def errors(result, true, dtype, least):
    """In units of ε, relative to `least` at least."""
    if abs(true) > np.finfo(dtype).max:  # the network's sums with infinities are NaN
        return 0.0
    size = max(abs(true), least, mpf(float(np.finfo(dtype).smallest_normal)) * 1000)
    return float(abs(mpf(float(result)) - true) / size / mpf(float(np.finfo(dtype).eps)))


def least_size(text, z):
    """Where sinc's derivatives cross zero, what they have in between."""
    return mpf(0.5) if text == "np.sinc(z)" and abs(z) > 0.4 else mpf(0)


@pytest.mark.parametrize(("text", "exact", "points", "bounds"), CASES, ids=[c[0] for c in CASES])
def test_text_against_mpmath(text, exact, points, bounds):
    v = activation(eval(f"lambda z: {text}", SCOPE))
    for z in points:
        results = v.evaluate(2, z)
        for result, true, bound in zip(results, exact(mpf(z)), bounds, strict=True):
            assert errors(result, true, np.float64, least_size(text, z)) <= bound, z


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kernels_against_mpmath(dtype):
    """A loss whose target numbers the function, so that one unit has them all."""
    lines = (f"    v = np.where(k == {k}, {text}, v)\n" for k, (text, *_) in enumerate(CASES))
    scope = {**SCOPE}
    exec(f"def numbered(z, k):\n    v = 0.0\n{''.join(lines)}    return v\n", scope)
    loss = fastbp.loss(scope["numbered"])
    net = fastbp.Network(1, activations=["one"], output="identity", dtype=dtype)
    x, p = np.ones((1, 1), dtype), np.array([1.0, 0.0], dtype)
    for k, (text, exact, points, bounds) in enumerate(CASES):
        t = np.array([k], dtype)
        for z in np.array(points[::3], dtype):
            w = np.array([z, 0.0], dtype)
            value, slope = net.loss_and_grad(w, x, t, loss=loss)
            curvature = net.hvp(w, x, t, p, loss=loss)
            results = value, slope[0], curvature[0]
            for result, true, bound in zip(results, exact(mpf(float(z))), bounds, strict=True):
                error = errors(result, true, dtype, least_size(text, z))
                assert error <= bound + 1, (text, z)


@pytest.mark.parametrize("text", [c[0] for c in CASES] + ["np.logaddexp(z, z)", "np.hypot(z, z)"])
def test_what_is_not_finite(text):
    f = eval(f"lambda z: {text}", SCOPE)
    v = activation(f)
    assert math.isnan(v(math.nan))
    for z in (math.inf, -math.inf, 0.0, -0.0, 1e-320):
        with np.errstate(all="ignore"):
            try:
                exact = float(f(z))
            except (ValueError, ZeroDivisionError):
                continue
        if text != "sc.gammaln(z)":  # SciPy's is not C's at -∞ and for subnormal numbers
            assert v(z) == pytest.approx(exact, rel=1e-13, abs=0.0, nan_ok=True), z


def test_slopes_at_the_ends():
    """Where squares overflow, and where the slopes of two terms cancel."""
    for text in ("np.arcsinh(z)", "np.arccosh(z)"):
        v = activation(eval(f"lambda z: {text}", SCOPE))
        z = np.array([1.5, 1e7, 0.99e8, 1.01e8, 1e100, 1e155, 1e200, 1e300])
        exact = [1 / mpmath.sqrt(mpf(x) ** 2 + (1 if "sinh" in text else -1)) for x in z]
        np.testing.assert_allclose(v.derivative(z), np.array(exact, float), rtol=4e-16)
        exact = [-mpf(x) * y**3 for x, y in zip(z[:5], exact[:5], strict=True)]
        np.testing.assert_allclose(v.second_derivative(z[:5]), np.array(exact, float), rtol=8e-16)
    v = activation(lambda z: np.logaddexp(z, -z))
    z = np.array([0.0, 1e-300, 1e-20, 1e-8, 0.1, 1.0, 800.0])
    for sign in (1.0, -1.0):
        np.testing.assert_allclose(v.derivative(sign * z), sign * np.tanh(z), rtol=4e-16)
        curvature = [mpmath.sech(mpf(x)) ** 2 for x in z]
        np.testing.assert_allclose(v.second_derivative(z), np.array(curvature, float), rtol=8e-16)


def test_select():
    f = activation(lambda z: np.select([z > 1.0, z < 0.0], [z * z, -z], 0.5))
    np.testing.assert_array_equal(f(np.array([2.0, -3.0, 0.7])), [4.0, 3.0, 0.5])
    np.testing.assert_array_equal(f.derivative(np.array([2.0, -3.0, 0.7])), [4.0, -1.0, 0.0])
    g = activation(lambda z: np.select([z > 1.0], [z], default=z * z))
    assert (g(3.0), g.derivative(0.25)) == (3.0, 0.5)
    assert activation(lambda z: np.select([z > 1.0, True], [z, 2.0]))(0.0) == 2.0
    with pytest.raises(ActivationError, match=r"np\.select with keywords is not"):
        activation(lambda z: np.select(condlist=[z > 1.0], choicelist=[z]))


def test_two_arguments_that_both_depend_on_the_input():
    z = np.linspace(0.1, 3.0, 30)
    for f in (
        lambda z: np.arctan2(z * z, 1.0 + z),
        lambda z: np.hypot(z * z, 1.0 + z),
        lambda z: np.logaddexp(z * z, 1.0 + z),
        lambda z: scipy.special.xlogy(z * z, 1.0 + z),
        lambda z: (z * z) % (4.0 + z),
        lambda z: np.fmod(7.0 * z, 1.0 + z),
    ):
        v = activation(f)
        for order in (0, 1):
            step = v.evaluate(order, z + 1e-150j)[order].imag / 1e-150
            np.testing.assert_allclose(step, v.evaluate(2, z)[order + 1], rtol=1e-13, atol=1e-15)


def test_refusals():
    with pytest.raises(ActivationError, match=r"math\.remainder is not supported"):
        activation(lambda z: math.remainder(z, 2.0))
    with pytest.raises(ActivationError, match=r"scipy\.special\.gamma is not supported"):
        activation(lambda z: scipy.special.gamma(z))
    with pytest.raises(ActivationError, match="the two of divmod"):
        activation(lambda z: divmod(z, 2.0)[0])


def test_scipy_is_not_imported():
    code = (
        "import sys, math, numpy as np, fastbp\n"
        "v = fastbp.activation(lambda z: np.sinc(z) + math.lgamma(z))\n"
        "v.second_derivative(0.5)\n"
        "sys.exit('scipy' in sys.modules)"
    )
    fresh_process("-c", code)


def test_every_function_is_tried():
    texts = " ".join(text for text, *_ in CASES)
    operators = {"remainder": "%", "floor_divide": "//"}
    assert all(f"{operators.get(name, name)}" in texts for name in SPECIAL)
