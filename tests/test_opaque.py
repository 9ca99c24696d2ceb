"""Functions that are not traced: what they may be made of, in Python and in kernels."""

import builtins
import functools
import importlib.util
import math
import random
import re

import numpy as np
import pytest

import fastbp
from fastbp import ActivationError, activation
from fastbp._symbolic.numpy_text import ieee
from fastbp._symbolic.opaque import BINARY, TESTS, UNARY

TABLE = [1.0, 2.0]
N_TERMS = 30
HUGE = 10**400
POINTS = (-7.3, -2.5, -1.0, -0.7, 0.0, 0.2, 0.5, 1.0, 1.5, 3.7, 12.25, 30.0, math.nan)


def zero(z):
    return 0.0


def given(f):
    return activation(f, derivative=zero, second_derivative=zero)


def compiled(functions, dtype):
    """Values, v' and v'' of scalar functions at z in kernels, as f(k, z), from one unit."""
    net = fastbp.Network(1, activations=["one"], output="identity", dtype=dtype)
    w, x, p = np.zeros(2, dtype), np.ones((1, 1), dtype), np.array([1.0, 0.0], dtype)

    def call(k, z):
        w[0] = z
        t = np.array([k], dtype)
        value, slope = net.loss_and_grad(w, x, t, loss=functions)
        return value, slope[0], net.hvp(w, x, t, p, loss=functions)[0]

    return call


def spelled(function):
    if hasattr(builtins, function.__name__) and getattr(builtins, function.__name__) is function:
        return function.__name__
    module = "math" if getattr(math, function.__name__, None) is function else "np"
    return f"{module}.{function.__name__}"


def imported(path, text):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_function_that_may_be_called(tmp_path, dtype):
    """One loss calls the function that its target numbers."""
    calls = [
        *(f"{spelled(f)}(z)" for f in (*UNARY, *TESTS, bool, float)),
        *(f"{spelled(f)}({args})" for f in BINARY for args in ("z, 1.5", "-0.7, z")),
        "max(0.1, z, -z)",
        "min(z, 2.0, -z)",
        "np.where(z > 0.3, z, 2.0)",
        "np.clip(z, -1.0, 1.5)",
    ]
    lines = [f"    if k == {k}:\n        return {call}\n" for k, call in enumerate(calls)]
    text = f"import math\nimport numpy as np\n\ndef f(z, k):\n{''.join(lines)}    return 0.0\n"
    f = imported(tmp_path / f"calls_{dtype}.py", text).f
    run = compiled(fastbp.loss(f, derivative=f, second_derivative=f), dtype)
    tolerance = {"float64": 2e-13, "float32": 1e-5}[dtype]
    for k, call in enumerate(calls):
        for point in POINTS:
            z = float(np.dtype(dtype).type(point))
            with np.errstate(all="ignore"):
                exact = ieee(f)(z, k)
            results = run(k, z)
            # The network's sums of v' and v'' are NaN where z or v is no finite number. At a pole
            # Python raises, which counts as NaN, and C gives infinity.
            for result in results if math.isfinite(exact + z) else results[:1]:
                pole = math.isnan(exact) and math.isinf(result)
                close = pytest.approx(exact, rel=tolerance, abs=tolerance / 100, nan_ok=True)
                assert pole or result == close, (call, z)


def sums(z, /, n=N_TERMS):
    """Whole numbers that wrap round in 64 bits."""
    factorial = 1
    total = 0
    for k in range(1, n):
        factorial *= k
        total = total + float(z) ** k / factorial
    return total


def counts_down(z):
    s: float = 0
    for k in range(7, int(z), -2):
        if k % 2 == 0:
            continue
        if s > 9:
            break
        s += k // 2
    else:
        s = -s
    return s


def searches(z):
    a, b = -50.0, 50.0
    while True:
        c = d = 0.5 * (a + b)
        if b - a < 1e-13:
            return d
        if math.erf(c) + c**3 > z:
            a, b = a, c
        else:
            a = c


def decides(z):
    inside = (z > -1) & (z < 1) | (z == 3)
    if (not inside and 0 < z <= 2.5) or z != z:
        return float("-inf") if z != 1.5 else -math.inf
    elif inside:
        return True
    both = not (inside and z < 3) and bool(z)
    return both + (z or 2.0) + (z > 0) * math.gamma(abs(z)) + 2**-1 + (5 if math.isfinite(z) else 0)


def calls_helpers(z):
    return sums(z, n=5) + 2 * sums(-z / 10) + positive(z)


def positive(z):
    return z > 0


def reciprocal_power(z):
    return float(z) ** -2


@pytest.mark.parametrize(
    "f", [sums, counts_down, searches, decides, calls_helpers, reciprocal_power]
)
def test_what_they_may_be_made_of(f):
    v = given(f)
    assert v.extra_sources
    net = fastbp.Network(1, activations=[v], output="identity")
    points = [z for z in POINTS if z == z and not (f is reciprocal_power and z == 0.0)]
    values = net.value(np.ones(2), np.array(points)[:, None])
    np.testing.assert_allclose(values, [float(f(z)) for z in points], rtol=1e-13)
    np.testing.assert_allclose(v(np.array(points)), values, rtol=1e-13)


def test_what_is_no_number_does_not_end_the_loop():
    """In Python, division by zero raises, and a root of a negative number is complex."""

    def f(z):
        return int(z) // int(z) + float(z) ** -2 + float(z) ** 0.5

    v = given(f)
    z = np.array([0.0, 4.0, -1.0, 16.0])
    net = fastbp.Network(1, activations=[v], output="identity")
    for values in (net.value(np.ones(2), z[:, None]), v(z)):
        np.testing.assert_array_equal(np.isfinite(values), [False, True, False, True])
        np.testing.assert_array_equal(values[1::2], [3.0625, 5.00390625])


def polynomial(z):
    return np.polyval(np.array([1.0, 2.0]), z)


def interpolates(z):
    return np.interp(z, TABLE, TABLE)


def tries(z):
    try:
        return math.gamma(z)
    except ValueError:
        return 0.0


def raises(z):
    if z < 0:
        raise ValueError("z is negative")
    return math.gamma(z)


def asserts(z):
    assert z < 100, "too large"
    return math.gamma(z)


def text(z):
    name = "abc"
    return math.gamma(z) if name else z


def makes_list(z):
    s = [math.gamma(z), z]
    return s[0]


def takes_from_table(z):
    return math.gamma(TABLE[0] + z * z)


def combinations(z):
    return math.comb(5, 2) * math.gamma(z)


def method(z):
    return math.gamma(z).hex()


def attribute(z):
    return math.gamma(z).real


def nothing(z):
    return math.gamma(z) if z > 0 else None


def falls_off(z):
    if z > 0:
        return math.gamma(z)


def loop_falls_off(z):
    while True:
        if z > 0:
            break
        return math.gamma(z)


def star(z, *more):
    return math.gamma(z)


def keyword_only(z, *, scale=1.0):
    return scale * math.gamma(z)


def star_call(z):
    return math.gamma(*(z,))


def generates(z):
    yield math.gamma(z)


def comprehension(z):
    return math.gamma(sum(z for k in range(3)))


def keyword(z):
    return np.exp(math.gamma(z), dtype=np.float64)


def many_arguments(z):
    return bool(z, math.gamma(z))


def wrong_helper_call(z):
    return sums(math.gamma(z), m=3)


def of_a_sequence(z):
    return max([math.gamma(z), 1.0])


def over_a_tuple(z):
    for k in (1, 2):
        z = k * math.gamma(z)
    return z


def step_of_input(z):
    for _ in range(0, 10, int(z)):
        z = math.gamma(z)
    return z


def bits(z):
    return int(z) & 3


def complex_number(z):
    return (math.gamma(z) + 1j).real


def membership(z):
    return math.gamma(z) if z in (1.0, 2.0) else 0.0


def prints(z):
    print(z)
    return math.gamma(z)


def shadows(z):
    np = math.gamma(z)
    return np


def too_large(z):
    return HUGE + math.gamma(z)


def of_another_module(z):
    return random.random() * math.gamma(z)


def deeper(z):
    return 1.0 + asserts(z)


def complex_everywhere(z):
    return (-1 - math.gamma(abs(z))) ** 0.5


def sometimes_unbound(z):
    if z > 100:
        a = 1.0
    return a * math.gamma(z)


@pytest.mark.parametrize(
    ("f", "line", "cause"),
    [
        (polynomial, 1, "run: np.polyval(np.array([1.0, 2.0]), z)"),
        (interpolates, 1, "run: np.interp(z, TABLE, TABLE)"),
        (tries, 1, "run: try:"),
        (raises, 2, "run: raise ValueError('z is negative')"),
        (asserts, 1, "run: assert z < 100, 'too large'"),
        (text, 1, "run: 'abc'"),
        (makes_list, 1, "run: [math.gamma(z), z]"),
        (takes_from_table, 0, "TABLE is captured, of type list"),
        (combinations, 1, "run: math.comb(5, 2)"),
        (method, 1, "run: math.gamma(z).hex"),
        (attribute, 1, "run: math.gamma(z).real"),
        (nothing, 1, "run: None"),
        (falls_off, 0, "falls_off may end without a return"),
        (loop_falls_off, 0, "loop_falls_off may end without a return"),
        (star, 0, "star takes arguments that are not positional"),
        (keyword_only, 0, "keyword_only takes arguments that are not positional"),
        (star_call, 1, "run: *(z,)"),
        (generates, 1, "run: yield math.gamma(z)"),
        (comprehension, 0, "a comprehension inside"),
        (keyword, 1, "run: np.exp(math.gamma(z), dtype=np.float64)"),
        (many_arguments, 1, "run: bool(z, math.gamma(z))"),
        (wrong_helper_call, 1, "what is wrong (got an unexpected keyword argument 'm')"),
        (of_a_sequence, 1, "run: max([math.gamma(z), 1.0])"),
        (over_a_tuple, 1, "what is no range: (1, 2)"),
        (step_of_input, 1, "what has no constant step: range(0, 10, int(z))"),
        (bits, 1, "run: int(z) & 3"),
        (complex_number, 1, "run: (math.gamma(z) + 1j).real"),
        (membership, 1, "run: z in (1.0, 2.0)"),
        (prints, 1, "run: print(z)"),
        (shadows, 0, "shadows has a variable called np"),
        (too_large, 0, "HUGE is beyond the largest number"),
        (of_another_module, 0, "random is captured, of type module"),
        (complex_everywhere, 0, "a real number at none of the inputs"),
        (sometimes_unbound, 0, "it raised UnboundLocalError"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_refusals(f, line, cause):
    with pytest.raises(ActivationError) as caught:
        given(f)
    message = str(caught.value)
    start = rf"{re.escape(__file__)}, line \d+: activation '{f.__name__}' cannot be traced: "
    assert re.match(start, message) and "\n" not in message
    assert cause in message, message
    if line:
        assert f"{f.__name__} has in line {f.__code__.co_firstlineno + line} what" in message


def test_refusal_in_a_helper_and_in_a_derivative_and_in_a_loss():
    line = asserts.__code__.co_firstlineno + 1
    with pytest.raises(ActivationError, match=rf"since asserts has in line {line} what no kernel"):
        given(deeper)
    with pytest.raises(ActivationError, match="asserts has in line"):
        activation(math.exp, derivative=asserts, second_derivative=zero)

    def loss(y, t):
        return np.interp(y, [0.0, t], [0.0, t])

    with pytest.raises(ActivationError, match=r"loss 'loss' cannot .* np\.interp\(y"):
        fastbp.loss(loss, derivative=lambda y, t: y, second_derivative=lambda y, t: 1.0)


def test_what_wraps_a_function_is_not_taken_for_it():
    """Where `functools.wraps` lets the two look alike, at all points of the check too."""

    def capped(function):
        @functools.wraps(function)
        def inside(z):
            return function(math.copysign(min(abs(z), 10.0), z))

        return inside

    @capped
    def bent(z):
        return math.gamma(z * 0.1 + 5.0)

    v = given(bent)
    for z in (-30.0, -2.0, 8.0, 30.0):
        assert v(z) == bent(z) == math.gamma(max(min(z, 10.0), -10.0) * 0.1 + 5.0)
