"""The tracer: what it supports, what it refuses and how, digests, pickles."""

import builtins
import math
import pickle
import random
import re
import textwrap
from math import exp, tanh

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import fresh_process

import fastbp
from fastbp import ActivationError, activation
from fastbp._symbolic.function import Function
from fastbp._symbolic.trace import MAX_PATHS
from fastbp.activations import Activation

K = 1.7
Z = np.array([-2.3, -0.7, -0.11, 0.05, 0.4, 1.7, 3.2])


def helper(z):
    return 1 / (1 + math.exp(-K * z))


class Jitted:
    """Stands for a function jitted by Numba: the tracer looks at py_func only."""

    def __init__(self, py_func):
        self.py_func = py_func

    def __call__(self, *args):
        return self.py_func(*args)


@Jitted
def jitted(z):
    return z * z + math.tanh(z)


def from_import(z):
    return exp(-z * z) + tanh(z)


def three_ways(z):
    if z < -1 or z > 1:
        return math.copysign(1.0, z)
    elif z == 0:
        return 0.0
    return 1.5 * z - 0.5 * z * z * z


def default_argument(z, k=3, f=math.sin):
    return f(k * z)


def keyword_default(z, *, k=3, f=math.sin):
    return f(k * z)


def fixed_loop(z):
    s = 0.0
    for k in range(5):
        s += z**k / (k + 1)
    return s


def horner(z):
    s = 0
    for c in [1, 2, 3]:
        s = s * z + c
    return s


def numpy_where(z):
    return np.where(z > 0.0, np.sqrt(np.maximum(z, 1e-3)), z**3 - 0.1 * z**-2)


def conditions_as_numbers(z):
    return (
        (z > 0.3) * z
        + ((z <= 0.3) & np.logical_not(z < -1.0)) * z * z
        + ((z < -1.0) | (z > 3.0)) * 2.0
    )


def local_import(z):
    from math import cosh

    return 1 / cosh(z)


def nested_function(z):
    def inner(x):
        return math.atan(x) * x

    return inner(z) + inner(2 * z)


def recursive(z, depth=3):
    return z if depth == 0 else math.sin(recursive(z, depth - 1))


def builtin_functions(z):
    return max(z, -1.0) + min(2.0, z) + abs(z - 0.2) + pow(z, 2) + sum([z, z * z])


def powers(z):
    return 2.0**z + (z * z + 1.0) ** (0.3 * z) + (z * z) ** 1.5 + np.power(z, -3) + z**0


def every_numpy_function(z):
    s = np.exp(z) + np.expm1(z) + np.log1p(z * z) + np.log(z * z) + np.log2(z * z)
    s += np.log10(z * z) + np.sin(z) * np.cos(z) + np.tan(0.3 * z) + np.arcsin(0.2 * z)
    s += np.arccos(0.2 * z) + np.arctan(z) + np.sinh(z) + np.cosh(z) + np.arcsinh(z)
    s += np.arccosh(1 + z * z) + np.arctanh(0.2 * z) + np.square(z) + np.reciprocal(z)
    s += np.absolute(z) + np.fabs(z) + np.negative(z) + np.positive(z) + np.hypot(z, 2.0)
    s += np.copysign(z, -1.0) + np.cbrt(z) + np.exp2(z) + np.float_power(z * z, 0.7)
    s += np.sign(z) + np.heaviside(z, 0.5) + np.clip(z, -1.0, 1.0) + np.clip(z, None, 2.0)
    s += np.maximum(0.1, z) + np.minimum(z, 2 * z - 1) + np.fmax(z, 0.2) + np.fmin(z, 0.2)
    s += np.floor(z) + np.ceil(z) + np.trunc(z) + np.deg2rad(z) + np.degrees(z)
    s += np.where(np.isnan(z) | np.isinf(z) | ~np.isfinite(z), 0.0, z)
    s += np.where(np.logical_and(z > 0, np.less(z, 1.0)) | np.logical_not(z < 1.0), z, 1.0)
    return np.add(s, np.subtract(z, np.multiply(2.0, np.divide(z, 3.0))))


def every_math_function(z):
    s = math.erf(z) + math.erfc(z) + math.fabs(z) + math.log(z * z, 3.0) + math.pow(z * z, 1.1)
    s += math.asin(0.1 * z) + math.acos(0.1 * z) + math.acosh(1 + z * z) + math.atanh(0.1 * z)
    s += math.floor(z) + math.ceil(z) + math.trunc(z) + math.hypot(z, 1.0) + math.radians(z)
    return s + (1.0 if math.isfinite(z) else 0.0) + math.sqrt(math.pi) * math.log1p(z * z)


def closure(slope):
    def leaky(z):
        return z if z > 0 else slope * z

    return leaky


SUPPORTED = [
    helper,
    jitted,
    from_import,
    three_ways,
    default_argument,
    keyword_default,
    fixed_loop,
    horner,
    numpy_where,
    conditions_as_numbers,
    local_import,
    nested_function,
    recursive,
    builtin_functions,
    powers,
    every_numpy_function,
    every_math_function,
    closure(0.1),
    math.tanh,
    np.arctan,
    lambda z: z * np.tanh(z),
]


@pytest.mark.parametrize("f", SUPPORTED, ids=lambda f: getattr(f, "__name__", "jitted"))
def test_value_and_derivatives(f):
    v = activation(f)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(v(Z), [float(f(z)) for z in Z], rtol=1e-13)
    # The derivatives by differences, to what differences give.
    h = 1e-4

    def slope(g):
        return (8 * (g(Z + h) - g(Z - h)) - (g(Z + 2 * h) - g(Z - 2 * h))) / (12 * h)

    np.testing.assert_allclose(v.derivative(Z), slope(v), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(v.second_derivative(Z), slope(v.derivative), rtol=1e-7, atol=1e-8)


def test_helper_in_a_module(tmp_path, monkeypatch):
    (tmp_path / "my_helpers.py").write_text("import math\n\ndef f(z):\n    return math.sin(z)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_helpers

    assert activation(lambda z: 2.0 * my_helpers.f(z))(0.5) == 2.0 * math.sin(0.5)


def test_text():
    @activation
    def f(z):
        e = math.exp(z)
        return e / (1.0 + e * e)

    assert f.source(1) == textwrap.dedent("""\
        def scalar(z):
            t1 = exp(z)
            t2 = t1 * t1
            t3 = t2 + const(1.0)
            t4 = t1 / t3
            t5 = const(2.0) * t1
            t6 = t1 * t5
            t7 = t4 * t6
            t8 = t7 / t3
            t9 = t4 - t8
            return t4, t9
        """)
    with pytest.raises(ValueError, match="order is 0, 1 or 2, but 3 was given"):
        f.source(3)


def test_shared_branch_condition_is_asked_once():
    @activation
    def f(z):
        a = 1.0 if z > 0 else 2.0
        b = z if z > 0 else -z
        return a * b

    assert f.source(0).count("select") == 1


@pytest.mark.parametrize(
    ("f", "z", "slope"),
    [
        (lambda z: math.sqrt(max(z, 0.0)), -1.0, 0.0),
        (lambda z: np.sqrt(np.maximum(z, 0.0)), -1.0, 0.0),
        (lambda z: np.log(np.where(z > 0, z, 1.0)) * 3.0, -1.0, 0.0),
        (lambda z: np.where(z > 0, np.sqrt(z), 0.0), 0.0, 0.0),
        (lambda z: np.where(z > 1, np.exp(z * z), z), -1e3, 1.0),
        (lambda z: math.exp(-abs(z)) if z > 0 else 1.0 / z, 2000.0, -0.0),
        (lambda z: 1 / (1 + math.exp(-z)), -800.0, 0.0),
        (lambda z: z / (1 + np.exp(-z)), 800.0, 1.0),
    ],
)
def test_dead_branches_and_overflow_do_not_leak(f, z, slope):
    assert activation(f).derivative(z) == slope


@pytest.mark.parametrize(
    ("f", "exact"),
    [
        (lambda z: np.log1p(np.exp(z)), lambda z: mpmath.log1p(mpmath.exp(z))),
        (lambda z: np.log(1 + np.exp(-z)), lambda z: mpmath.log1p(mpmath.exp(-z))),
        (lambda z: z / (1 + np.exp(-z)), lambda z: z / (1 + mpmath.exp(-z))),
        (lambda z: np.exp(z) / (1 + np.exp(z)), lambda z: 1 / (1 + mpmath.exp(-z))),
        (lambda z: (1 + z) / (1 + np.exp(2 * z)), lambda z: (1 + z) / (1 + mpmath.exp(2 * z))),
        (lambda z: 1 / np.cosh(z), mpmath.sech),
        (
            lambda z: z * z / np.exp(z) if z > 0 else 0.0 * z,
            lambda z: z * z / mpmath.exp(z) * (z > 0),
        ),
        (lambda z: np.log1p(np.exp(-abs(z))), lambda z: mpmath.log1p(mpmath.exp(-abs(z)))),
    ],
)
def test_exponentials_that_overflow_leave_values_and_slopes(f, exact):
    v = activation(f)
    for z in (-1e4, -800.0, -100.0, -3.0, 0.5, 3.0, 100.0, 800.0, 1e4):
        with mpmath.workdps(60):
            want = [float(mpmath.diff(exact, z, n)) for n in range(3)]
        got = v(z), v.derivative(z), v.second_derivative(z)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    # By kernels too, whose float32 ends at exp(88).
    net = fastbp.Network(1, activations=[v], output="identity", dtype="float32")
    X = np.array([[-100.0], [-3.0], [100.0]], np.float32)
    slopes = net.input_grad(np.ones(2, np.float32), X)[:, 0]
    np.testing.assert_allclose(slopes, v.derivative(X[:, 0].astype(float)), rtol=1e-5, atol=1e-7)


def test_nan_and_infinity_pass_through():
    relu = activation(lambda z: np.maximum(z, 0.0))
    assert math.isnan(relu(math.nan)) and relu(math.inf) == math.inf
    assert activation(lambda z: np.fmax(z, 0.0))(math.nan) == 0.0
    assert math.isnan(activation(lambda z: np.maximum(2 * z, z * z))(math.nan))
    assert math.isnan(activation(lambda z: math.sqrt(z))(-1.0))
    assert activation(lambda z: 1.0 / z)(0.0) == math.inf
    limits = activation(lambda z: min(max(z, -math.inf), math.inf) if z == z else math.nan)
    assert limits(3.0) == 3.0 and math.isnan(limits(math.nan))


# What Python or NumPy makes of numbers that are not finite is what the text and the kernels make.
_OF_ONE = (
    "exp expm1 log log1p log2 log10 sqrt sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh "
    "arccosh arctanh floor ceil trunc sign fabs absolute exp2 square reciprocal cbrt radians "
    "degrees negative positive isnan isinf isfinite logical_not"
).split()
_OF_TWO = (
    "add subtract multiply divide power float_power hypot heaviside maximum minimum fmax fmin less "
    "less_equal greater greater_equal equal not_equal logical_and logical_or"
).split()
_AT_NAN = [
    *(f"np.{name}(z)" for name in _OF_ONE),
    *(f"np.{name}({args})" for name in _OF_TWO for args in ("z, 0.7", "0.7, z", "z, z")),
    *("np.hypot(z, 0.0)", "np.hypot(0.0, z)", "np.hypot(math.nan, z)"),
    *(f"np.{name}(z, math.nan)" for name in ("maximum", "minimum", "fmax", "fmin", "power")),
    *("np.copysign(z, 0.7)", "np.copysign(0.7, abs(z))", "np.copysign(1.0, -1.0 / (1.0 + abs(z)))"),
    *("np.clip(z, -1.0, 1.0)", "np.clip(z, None, 1.0)", "np.clip(z, 0.0, None)"),
    *("max(z, 0.0)", "max(0.0, z)", "min(z, 0.0)", "min(0.0, z)", "abs(z)", "-z", "z * (z > 0)"),
    *("np.where(z > 0.0, z, 0.0 * z)", "np.where(z <= 0.0, 0.0, z)", "z if z > 0.1 else 2 + 0 * z"),
    *("0.0 * z", "z * 0", "np.divide(0.0, z)", "z - z", "np.divide(z, z)", "0 * z * z", "-(0 * z)"),
    *("(0 * z) * (0 * z)", "np.divide(0 * z, 0 * z + 0 * z)", "z * math.inf", "0 * z + 1"),
    *("z**0", "z**1", "z**2", "np.power(z, -2.0)", "np.power(z, -3.0)", "2.0**z", "z**17"),
    *("(0.0 * z) * np.exp(z)", "1 / (1 + np.exp(-z))", "math.erf(z)", "math.erfc(z)"),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_not_finite_goes_through(dtype):
    """A loss whose target numbers the function, so that one unit has them all."""
    points = np.array([math.nan, math.inf, -math.inf, 0.0, 0.3, -0.3, 2.0, 800.0], dtype)
    lines = (f"    v = np.where(k == {k}, {text}, v)\n" for k, text in enumerate(_AT_NAN))
    scope = {"math": math, "np": np}
    exec(f"def numbered(z, k):\n    v = 0.0\n{''.join(lines)}    return v\n", scope)
    loss = fastbp.loss(scope["numbered"])
    net = fastbp.Network(1, activations=["one"], output="identity", dtype=dtype)
    x = np.ones((1, 1), dtype)
    for k, text in enumerate(_AT_NAN):
        function = builtins.eval(f"lambda z: {text}", scope)
        for z in points:
            with np.errstate(all="ignore"):
                exact = float(np.asarray(function(z), dtype))
            traced = activation(function)(z)
            w, t = np.array([z, 0.0], dtype), np.array([k], dtype)
            compiled = net.loss_and_grad(w, x, t, loss=loss)
            for result in (traced, compiled[0]):
                assert result == pytest.approx(exact, rel=1e-6, nan_ok=True), (text, z)


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("asin", lambda z: z * (1 - z * z) ** -1.5),
        ("acos", lambda z: -z * (1 - z * z) ** -1.5),
        ("atanh", lambda z: 2 * z * (1 - z * z) ** -2),
    ],
)
def test_second_derivatives_near_zero(name, second):
    v = activation(getattr(math, name))
    z = np.array([0.0, 1e-300, 1e-20, 1e-8, -1e-5, 1e-3, 0.3, -0.9, 1.0 - 1e-9])
    with mpmath.workdps(50):
        exact = [float(second(mpmath.mpf(x))) for x in z]
    np.testing.assert_allclose(v.second_derivative(z), exact, rtol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16, 17])
def test_negative_powers_at_the_ends_of_the_range(n):
    v = activation(lambda z: z**-n)
    size = [5e-324, 1e-310, 1e-200, 1e-150, 3e-103, 1e-30, 0.7, 1e30, 1e102, 1e200, 1e308]
    for z in (*size, *(-s for s in size)):
        exact = [mpmath.mpf(z) ** -n]
        exact += [-n * exact[0] / z, n * (n + 1) * exact[0] / mpmath.mpf(z) ** 2]
        for result, true in zip(v.evaluate(2, z), exact, strict=True):
            assert float(result) == pytest.approx(float(true), rel=1e-14, abs=1e-320)


# What is refused.


def data_dependent_loop(z):
    while z > 1e-3:
        z = z / 2
    return z


def unknown_function(z):
    return math.gamma(z)


def builds_array(z):
    return np.array([z, z]).sum()


def falls_off_the_end(z):
    if z > 0:
        return z


def converts(z):
    return float(z)


def impure(z):
    return z * random.random()


def method(z):
    return z.sum()


def interpolates(z):
    return np.interp(z, [0, 1], [0, 1])


def undefined(z):
    return not_there(z)  # noqa: F821


def two_arguments(z, x):
    return z * x


def whole_number(z):
    return z * round(z)


def modulo(z):
    return z % np.ones(3)


def sequence(z):
    return z[0]


def with_array(z):
    return z * np.ones(3)


def returns_text(z):
    return "z"


def endless(z):
    return endless(z)


def keyword(z):
    return np.exp(z, dtype=np.float32)


def reduces(z):
    return np.add.reduce(z)


def complex_number(z):
    return z * 1j


def many_branches(z):
    s = 0.0
    for k in range(9):
        s = s + z if math.sin(k * z) > 0.0 else s - z
    return s


def fails_deeper(z):
    return 1.0 + unknown_function(z)


def calls_an_activation(z):
    return z * fastbp.activations.tanh(z)


def raises(z):
    if z < 0:
        raise ValueError("z is negative")
    return z


REFUSED = [
    (data_dependent_loop, 1, "decides more than 32 times on its input"),
    (unknown_function, 1, "math.gamma is not supported"),
    (builds_array, 1, ""),
    (falls_off_the_end, 0, "has to return one real number, but returned NoneType"),
    (converts, 1, "converted to a plain number"),
    (impure, 0, "it has to depend on its input alone"),
    (method, 1, "has no attribute 'sum'"),
    (interpolates, 1, "np.interp is not supported"),
    (undefined, 1, "NameError: name 'not_there' is not defined"),
    (two_arguments, 0, "missing 1 required positional argument: 'x'"),
    (whole_number, 1, "converted to a whole number"),
    (modulo, 1, "a value of type ndarray meets the input"),
    (sequence, 1, "one number, not a sequence"),
    (with_array, 1, "a value of type ndarray meets the input"),
    (returns_text, 0, "returned str"),
    (endless, 1, "calls itself without end"),
    (keyword, 1, "np.exp with dtype is not supported"),
    (reduces, 1, "np.add.reduce is not supported"),
    (complex_number, 1, "a value of type complex meets the input"),
    (many_branches, 0, f"more than {MAX_PATHS} ways through its branches"),
    (calls_an_activation, 1, "it calls Activation('tanh'), which is traced already"),
    (raises, 2, "ValueError: z is negative"),
]


@pytest.mark.parametrize(("f", "line", "cause"), REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_refusals(f, line, cause):
    with pytest.raises(ActivationError) as caught:
        activation(f)
    message = str(caught.value)
    first = f.__code__.co_firstlineno
    expected = range(first + line, first + line + (2 if line else 1))
    found = re.match(rf"{re.escape(__file__)}, line (\d+): activation '{f.__name__}' ", message)
    assert found and int(found[1]) in expected, message
    assert cause in message and "\n" not in message
    assert issubclass(ActivationError, TypeError)


def test_refusal_of_an_activation_as_a_derivative():
    with pytest.raises(ActivationError, match=r"it calls Activation\('cos'\), which is traced"):
        activation(np.sin, derivative=fastbp.activations.cos)


def test_refusal_of_a_name_that_is_no_text():
    with pytest.raises(TypeError, match="the name is a text, but 3 was given"):
        activation(np.sin, name=3)


def test_refusal_names_the_line_in_a_helper():
    with pytest.raises(ActivationError, match=r"math\.gamma") as caught:
        activation(fails_deeper)
    line = unknown_function.__code__.co_firstlineno + 1
    assert f"line {line}: activation 'fails_deeper'" in str(caught.value)


def test_refusal_of_a_ufunc_that_is_called_like_one_of_numpys():
    """It is another function, beyond all points at which the two are compared too."""

    @numba.vectorize(["float64(float64)"])
    def exp(x):
        return math.exp(min(x, 20.0))

    with pytest.raises(ActivationError, match=r"'exp'> is not supported"):
        activation(lambda z: exp(z))


def test_refusal_of_values_from_another_trace():
    kept = []

    def keeps(z):
        kept.append(z)
        return z * kept[0]

    with pytest.raises(ActivationError, match="converted to a plain number"):
        activation(keeps)
    with pytest.raises(ActivationError, match="kept from an earlier call"):
        activation(keeps)


def test_refusal_of_what_is_no_function():
    for wrong in (3.0, "tanh", activation(math.tanh)):
        with pytest.raises(ActivationError):
            activation(wrong)


# Given derivatives, and functions that cannot be traced.


def test_given_derivatives_are_used_and_differentiated():
    v = activation(math.sin, derivative=lambda z: 5.0 * z * z)
    assert v(0.5) == math.sin(0.5)
    assert v.derivative(2.0) == 20.0
    assert v.second_derivative(2.0) == 20.0
    w = activation(derivative=lambda z: 3.0, second_derivative=lambda z: 4.0, name="w")(math.sin)
    assert (w.derivative(1.0), w.second_derivative(1.0), w.name) == (3.0, 4.0, "w")
    assert activation(math.sin, second_derivative=lambda z: 7.0).derivative(0.0) == 1.0


STEPS = 40
PERIOD = -2.5


def converging(z):
    """Solve x + sinh x = z by Newton steps."""
    x = z / 2.0
    while abs(x + math.sinh(x) - z) > 1e-13 * (1.0 + abs(z)):
        x -= (x + math.sinh(x) - z) / (1.0 + math.cosh(x))
    return x


def converging_slope(z: float) -> float:
    return 1.0 / (1.0 + math.cosh(converging(z)))


def converging_curvature(z):
    x = converging(z)
    return -math.sinh(x) / (1.0 + math.cosh(x)) ** 3


def test_untraced_function():
    v = activation(converging, derivative=converging_slope, second_derivative=converging_curvature)
    x = 0.8
    z = x + math.sinh(x)
    assert v(z) == pytest.approx(x, rel=1e-12)
    assert v.derivative(z) == pytest.approx(1 / (1 + math.cosh(x)), rel=1e-12)
    assert v.second_derivative(np.array([z])).shape == (1,)
    assert list(v.extra_sources) == ["opaque0", "opaque1", "opaque2"]
    assert "const(opaque0(z))" in v.source(0)
    assert "Solve" not in v.extra_sources["opaque0"] and "float" not in v.extra_sources["opaque1"]
    assert "opaque0(z)" in v.extra_sources["opaque1"]
    assert v.evaluate(2, np.ones(3, np.float32))[2].dtype == np.float32
    with pytest.raises(TypeError, match="real dtypes only"):
        v.evaluate(0, 1j)
    assert pickle.loads(pickle.dumps(v)) == v


def make_gamma(scale):
    def f(z, shift=1.0):
        return scale * math.gamma(abs(z) + shift) if z != PERIOD else math.inf

    return f


def test_untraced_function_captures_constants(monkeypatch):
    def given(f):
        return activation(f, derivative=lambda z: 0.0)

    two = given(make_gamma(2.0))
    assert two(2.0) == 4.0 and two(PERIOD) == math.inf
    assert two(-3.0) == two.evaluate(0, [3.0])[0][0] == 12.0
    assert two(1e300) == math.inf  # where math.gamma raises OverflowError
    assert two == given(make_gamma(2.0))
    assert two.digest != given(make_gamma(3.0)).digest
    text = two.extra_sources["opaque0"]
    assert "2.0 *" in text and "-2.5" in text and "shift=1.0" in text
    monkeypatch.setitem(make_gamma.__globals__, "PERIOD", 7.0)
    assert two.digest != given(make_gamma(2.0)).digest


def test_untraced_function_refusals(monkeypatch):
    table = [1.0, 2.0]

    def captures_list(z):
        return math.gamma(table[0] + z * z)

    def has_inner(z):
        return math.gamma((lambda x: x * x)(z))

    def imports(z):
        import math as m

        return m.gamma(z * z)

    def is_impure(z):
        return float(z) + random.random()

    def recurses(z):
        return recurses(z - 1.0) if z > 1.0 else math.gamma(1.0 + z * z)

    for f, cause in (
        (captures_list, "table is captured, of type list"),
        (has_inner, "defines a function"),
        (imports, "imports inside"),
        (is_impure, "random is captured, of type module"),
        (recurses, "calls itself"),
        (lambda z: math.gamma(z), "not a def in a file"),
    ):
        with pytest.raises(ActivationError, match=cause):
            activation(f, derivative=lambda z: 0.0)
    with pytest.raises(ActivationError, match="has to be given"):
        activation(unknown_function, second_derivative=lambda z: 0.0)
    with pytest.raises(ActivationError, match="has to be given"):
        activation(unknown_function, derivative=unknown_function)


# Identity: digest, equality, pickles, immutability.


def test_digest():
    def same(z):
        return 1 / (1 + math.exp(-K * z))

    one, two = activation(helper), activation(same)
    assert one == two and hash(one) == hash(two) and one.digest == two.digest
    assert re.fullmatch("[0-9a-f]{64}", one.digest)
    assert activation(closure(0.1)) == activation(closure(0.1))
    assert activation(closure(0.1)) != activation(closure(0.1 + 2**-55))
    assert activation(closure(0.0)).digest != activation(closure(1.0)).digest
    assert activation(math.sin).digest != activation(math.sin, derivative=math.sin).digest
    assert one != "helper"


def test_digest_follows_a_global_constant(monkeypatch):
    before = activation(helper)
    monkeypatch.setitem(helper.__globals__, "K", 1.8)
    after = activation(helper)
    assert before.digest != after.digest
    assert before(1.0) == pytest.approx(1 / (1 + math.exp(-1.7)), rel=1e-15)
    assert after(1.0) == pytest.approx(1 / (1 + math.exp(-1.8)), rel=1e-15)


def test_digest_is_the_same_in_every_process():
    code = "import math, fastbp; print(fastbp.activation(lambda z: math.tanh(z) + z * z).digest)"
    here = activation(lambda z: math.tanh(z) + z * z).digest
    for seed in "01":
        assert fresh_process("-c", code, PYTHONHASHSEED=seed).strip() == here


def test_pickle_travels_without_the_module(tmp_path):
    (tmp_path / "theirs.py").write_text(
        "import math, fastbp\n"
        "S = 0.25\n"
        "@fastbp.activation\n"
        "def mine(z):\n"
        "    return math.sin(S * z) + z\n"
        "def g(z):\n"
        "    return math.gamma(1.0 + z * z) * S\n"
        "gamma = fastbp.activation(g, derivative=lambda z: 0.0)\n"
        "@fastbp.loss(target_range=(0, 2))\n"
        "def fourth(y, t):\n"
        "    return (y - t) ** 4\n"
    )
    dump = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import theirs, pickle, pathlib; "
        "found = pickle.dumps([theirs.mine, theirs.gamma, theirs.fourth]); "
        "pathlib.Path(sys.argv[1]).write_bytes(found)"
    )
    load = (
        "import sys, pickle, pathlib; "
        "a, g, l = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()); "
        "assert 'theirs' not in sys.modules and 'numba' not in sys.modules; "
        "print(a.name, a(2.0), a.derivative(2.0), g(1.0), l(3.0, 1.0), l.target_range)"
    )
    for code in (dump, load):
        said = fresh_process("-c", code, tmp_path / "f.pickle")
    expected = (math.sin(0.5) + 2.0, 0.25 * math.cos(0.5) + 1.0, 0.25, 16.0, (0.0, 2.0))
    assert said.split() == ["mine", *" ".join(map(str, expected)).split()]


def test_immutable():
    v = activation(math.sin)
    for change in (lambda: setattr(v, "name", "x"), lambda: delattr(v, "name")):
        with pytest.raises(AttributeError, match="Activation is immutable"):
            change()
    assert isinstance(v, Function) and isinstance(v, Activation)
    assert repr(v) == "Activation('sin')"


# The NumPy backend.


def test_dtypes_and_shapes():
    v = activation(lambda z: np.where(z > 0, math.log1p(z), 1.5 * z) + math.erf(z))
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        z = np.linspace(-1, 1, 6).astype(dtype).reshape(2, 1, 3)
        for order in range(3):
            for result in v.evaluate(order, z):
                assert result.dtype == dtype and result.shape == z.shape
                assert result.flags.writeable and not np.shares_memory(result, z)
    assert v.evaluate(0, np.zeros((0, 3)))[0].shape == (0, 3)
    assert v.evaluate(0, [1, 2])[0].dtype == np.float64
    assert type(v(1)) is float and type(v(np.float32(1))) is np.float32
    (identity,) = activation(lambda z: z).evaluate(0, Z)
    assert not np.shares_memory(identity, Z)
    one = activation(lambda z: 1.0)
    assert one(Z).shape == Z.shape and not one.derivative(Z).any()
    for bad in ("a", None, [object()]):
        with pytest.raises(TypeError):
            v(bad)
    with pytest.raises(TypeError, match="takes z, but 2 arguments were given"):
        v.evaluate(0, 1.0, 2.0)
    with pytest.raises(TypeError, match="erf is evaluated for real dtypes only"):
        v(1j)


def test_longdouble_is_evaluated_as_such():
    v = activation(lambda z: math.exp(z) * math.sqrt(z))
    z = np.longdouble("1.1")
    assert abs(v(z) - np.exp(z) * np.sqrt(z)) <= np.finfo(np.longdouble).eps * 8


@pytest.mark.parametrize(
    "f", [helper, jitted, from_import, three_ways, fixed_loop, numpy_where, nested_function, powers]
)
def test_complex_step(f):
    v = activation(f)
    step = v(Z + 1e-150j)
    assert step.dtype == np.complex128
    np.testing.assert_allclose(step.imag / 1e-150, v.derivative(Z), rtol=1e-13, atol=1e-15)
    step = v.derivative(Z + 1e-150j).imag / 1e-150
    np.testing.assert_allclose(step, v.second_derivative(Z), rtol=1e-13, atol=1e-15)


def test_complex_numbers_are_compared_by_their_real_part():
    v = activation(lambda z: np.where(z <= 0.0, 3.0 * z, 5.0 * z) + abs(z) + np.floor(z))
    assert v(np.array([0 + 1e-9j]))[0] == pytest.approx(0 + 4e-9j)
    assert v(np.array([-2 + 1e-9j]))[0] == pytest.approx(-6 + 2 - 2 + 2e-9j)


# Random expressions: value, derivative and complex step of what Python and NumPy say.

_LEAVES = st.one_of(st.just("z"), st.floats(-2, 2).map(lambda c: repr(round(c, 3))))
_EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["sin", "cos", "tanh", "atan"]), inner).map(
            lambda t: f"math.{t[0]}({t[1]})"
        ),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} / (2.0 + math.sin({t[1]})))"),
        st.tuples(inner, st.integers(0, 4)).map(lambda t: f"(math.sin({t[0]}) ** {t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} > 0.1 else {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"np.where({t[0]} < 0.0, -({t[0]}), {t[1]})"),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_EXPRESSIONS, st.floats(-3, 3))
def test_random_expressions(text, z):
    f = builtins.eval(f"lambda z: {text}", {"math": math, "np": np})
    try:
        v = activation(f)
    except ActivationError as error:
        assert "more than" in str(error)
        return
    expected = float(f(z))
    value, slope, curvature = (float(r) for r in v.evaluate(2, z))
    assert value == pytest.approx(expected, rel=1e-10, abs=1e-12)
    step = v.evaluate(1, complex(z, 1e-150))
    assert step[0].imag / 1e-150 == pytest.approx(slope, rel=1e-9, abs=1e-11)
    assert step[1].imag / 1e-150 == pytest.approx(curvature, rel=1e-9, abs=1e-11)


def test_no_numba():
    fresh_process("-c", "import sys, fastbp.losses; sys.exit('numba' in sys.modules)")
    assert fastbp.activation is activation
