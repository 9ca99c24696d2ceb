"""The elementary functions of jitted code: how exact they are, their special values, their code."""

import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numba import njit, types

from fastbp.kernels.machine.target import register_bytes
from fastbp.kernels.scalar.elementary import namespace

DTYPES = (np.float64, np.float32)
mp = mpmath.MPContext()
mp.prec = 150

EXACT = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": mp.log10,
    "sqrt": mp.sqrt,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "sech2": lambda x: mp.sech(x) ** 2,
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "logistic": lambda x: 1 / (1 + mp.exp(-x)),
}
# Units in the last place, as the module's table says.
BOUNDS = {
    "exp": 1.5, "expm1": 2.5, "log": 1.5, "log1p": 2, "log2": 2, "log10": 2.5, "sqrt": 0.5,
    "sin": 2, "cos": 2.5, "tan": 3.5, "asin": 3.5, "acos": 3.5, "atan": 3, "sinh": 2.5,
    "cosh": 2.5, "tanh": 3.5, "sech2": 5.5, "asinh": 2.5, "acosh": 3, "atanh": 2.5, "erf": 4,
    "erfc": 4, "logistic": 3,
}  # fmt: skip
ODD = ("sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf")
EVEN = ("cos", "cosh", "sech2")

# Where each is neither constant nor infinite, for float64 and float32.
INTERVALS = {
    "exp": ((-746, 711), (-105, 89.5)),
    "expm1": ((-60, 711), (-30, 89.5)),
    "sinh": ((-711, 711), (-89.6, 89.6)),
    "cosh": ((-711, 711), (-89.6, 89.6)),
    "tanh": ((-20, 20), (-10, 10)),
    "sech2": ((-354, 354), (-43.6, 43.6)),
    "logistic": ((-746, 40), (-105, 20)),
    "erf": ((-6, 6), (-4, 4)),
    "erfc": ((-6, 27.5), (-5, 10.3)),
    "sin": ((-1e8, 1e8), (-4e6, 4e6)),
    "cos": ((-1e8, 1e8), (-4e6, 4e6)),
    "tan": ((-1e8, 1e8), (-4e6, 4e6)),
    "asin": ((-1, 1), (-1, 1)),
    "acos": ((-1, 1), (-1, 1)),
    "atanh": ((-1, 1), (-1, 1)),
}
POSITIVE = ("log", "log2", "log10", "sqrt", "acosh")


@cache
def compiled(name, dtype):
    """The function over a contiguous array, in the loop in which the kernels use it."""
    f = namespace(dtype)[name]
    array = types.Array(types.float64 if dtype is np.float64 else types.float32, 1, "C")

    @njit(types.void(array, array), error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
    def loop(z, v):
        for k in range(z.size):
            v[k] = f(z[k])

    return loop


def apply(name, x):
    v = np.full_like(x, 7.0)
    compiled(name, x.dtype.type)(x, v)
    return v


def samples(name, dtype, n):
    """Numbers over the whole range of a function, and more where it bends."""
    rng = np.random.default_rng(len(name))
    info = np.finfo(dtype)
    lowest = info.minexp - info.nmant  # of a subnormal number

    def powers(low, high):
        return 2.0 ** rng.uniform(low, high, n)

    if name in POSITIVE:
        parts = [powers(lowest, info.maxexp - 0.01), powers(-1, 2)]
        if name == "acosh":
            parts = [1 + part for part in parts] + [1 + powers(-info.nmant, 0)]
    elif name in INTERVALS:
        low, high = INTERVALS[name][dtype is np.float32]
        parts = [rng.uniform(low, high, n), rng.uniform(max(low, -2), min(high, 2), n)]
        parts.append(powers(lowest, 0) * rng.choice([-1, 1], n))
        if name in ("asin", "acos", "atanh"):
            parts.append((1 - powers(-info.nmant, -1)) * rng.choice([-1, 1], n))
        if name in ("sin", "cos", "tan"):  # next to the multiples of a quarter of a turn
            parts.append(np.pi / 2 * rng.integers(0, int(high / 2), n))
    else:
        parts = [powers(lowest, info.maxexp - 0.01), rng.uniform(-1, 4, n)]
        if name != "log1p":
            parts = [part * rng.choice([-1, 1], n) for part in parts]
    return np.concatenate(parts).astype(dtype)


def units(got, want):
    """Distance from the exact value, in units in its last place."""
    info = np.finfo(got.dtype)
    if abs(want) >= mp.mpf(float(info.max)) * (1 + mp.mpf(2) ** (-info.nmant - 2)):
        return 0.0 if np.isinf(got) and (got > 0) == (want > 0) else np.inf
    if want == 0 or not np.isfinite(got):
        return 0.0 if got == want else np.inf
    exponent = max(mp.frexp(want)[1] - 1, info.minexp)
    return float(abs(mp.mpf(float(got)) - want) / mp.mpf(2) ** (exponent - info.nmant))


def largest_error(name, dtype, n):
    x = samples(name, dtype, n)
    exact = EXACT[name]
    v = apply(name, x)
    return max(units(b, exact(mp.mpf(float(a)))) for a, b in zip(x, v, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_error_within_bound(name, dtype):
    assert largest_error(name, dtype, 200) <= BOUNDS[name]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_error_within_bound_densely(name, dtype):
    assert largest_error(name, dtype, 20_000) <= BOUNDS[name]


@pytest.mark.parametrize("name", EXACT)
def test_float32_against_float64_over_all_numbers(name):
    # Every 8191st bit pattern: half a million numbers of all magnitudes, both signs, NaNs too.
    x = np.arange(0, 2**32, 8191, dtype=np.uint64).astype(np.uint32).view(np.float32)
    v = apply(name, x)
    with np.errstate(all="ignore"):
        wide = apply(name, x.astype(np.float64))
        want = wide.astype(np.float32)
        if name in ("sin", "cos", "tan"):
            want[np.abs(x) > 4e6] = np.nan
        np.testing.assert_array_equal(np.isnan(v), np.isnan(want))
        np.testing.assert_array_equal(np.signbit(v[~np.isnan(v)]), np.signbit(want[~np.isnan(v)]))
        near = np.isfinite(want)
        if name == "sech2":  # 0 already where exp(-2 |x|) is no normal number
            far = wide < 2.0**-124
            assert np.all(v[far] <= np.float32(2.0**-123))
            near &= ~far
        np.testing.assert_array_equal(v[np.isinf(want)], want[np.isinf(want)])
        distance = np.abs(v[near] - wide[near]) / np.spacing(np.abs(want[near]))
    assert np.max(distance) <= BOUNDS[name] + 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetries_to_the_bit(dtype):
    for name in (*ODD, *EVEN):
        x = np.abs(samples(name, dtype, 500))
        expected = apply(name, x)
        np.testing.assert_array_equal(apply(name, -x), -expected if name in ODD else expected)


INF, NAN, TINY = float("inf"), float("nan"), "subnormal"
# Argument and value.
SPECIAL = {
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0), (TINY, 1)],
    "expm1": [(0.0, 0.0), (INF, INF), (-INF, -1), (-1e30, -1), (TINY, TINY)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN), (TINY, TINY)],
    "log2": [(0.0, -INF), (1.0, 0.0), (1024.0, 10), (0.125, -3), (INF, INF), (-1.0, NAN)],
    "log10": [(0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (4.0, 2), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (1e30, NAN), (TINY, TINY)],
    "cos": [(0.0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN), (1e30, NAN), (TINY, 1)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (1e30, NAN), (TINY, TINY)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN), (TINY, TINY)],
    "acos": [(1.0, 0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, np.pi / 2), (-INF, -np.pi / 2), (TINY, TINY)],
    "sinh": [
        (0.0, 0.0),
        (-0.0, -0.0),
        (INF, INF),
        (-INF, -INF),
        (1e30, INF),
        (-1e30, -INF),
        (TINY, TINY),
    ],
    "cosh": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (1e30, INF), (TINY, 1)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1), (-50.0, -1), (TINY, TINY)],
    "sech2": [(0.0, 1), (-0.0, 1), (INF, 0.0), (-INF, 0.0), (1e30, 0.0), (TINY, 1)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (TINY, TINY)],
    "acosh": [
        (1.0, 0.0),
        (INF, INF),
        (0.5, NAN),
        (-1.0, NAN),
        (-3.0, NAN),
        (-1e30, NAN),
        (-INF, NAN),
    ],
    "atanh": [
        (0.0, 0.0),
        (-0.0, -0.0),
        (1.0, INF),
        (-1.0, -INF),
        (2.0, NAN),
        (INF, NAN),
        (TINY, TINY),
    ],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (50.0, 1), (1e30, 1)],
    "erfc": [
        (0.0, 1),
        (-0.0, 1),
        (INF, 0.0),
        (-INF, 2),
        (50.0, 0.0),
        (1e30, 0.0),
        (-1e30, 2),
        (TINY, 1),
    ],
    "logistic": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0), (1e30, 1), (-1e30, 0.0)],
    "floor": [(1.5, 1), (-1.5, -2), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "ceil": [(1.5, 2), (-1.5, -1), (-0.5, -0.0), (INF, INF), (-INF, -INF)],
    "trunc": [(1.5, 1), (-1.5, -1), (-0.5, -0.0), (INF, INF), (-INF, -INF)],
    "abs": [(1.5, 1.5), (-1.5, 1.5), (-0.0, 0.0), (-INF, INF), (TINY, TINY)],
    "sign": [(2.5, 1), (-2.5, -1), (0.0, 0.0), (INF, 1), (-INF, -1), (TINY, 1)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, dtype):
    subnormal = np.finfo(dtype).smallest_subnormal

    def number(value):
        return subnormal if value == TINY else dtype(value)

    pairs = [*SPECIAL[name], (NAN, NAN)]
    # Alone, in the scalar rest of the loop, and among others, in vectors.
    for copies in (1, 64):
        got = apply(name, np.array([number(x) for x, _ in pairs] * copies))
        want = np.array([number(v) for _, v in pairs] * copies)
        np.testing.assert_array_equal(got, want)
        known = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_remaining_names(dtype):
    names = namespace(dtype)
    power, select, invert, const = (names[k] for k in ("pow", "select", "logical_not", "const"))

    @njit(error_model="numpy")
    def apply(x, y, v):
        for k in range(x.size):
            positive = (x[k] > const(0.0)) & invert(y[k] < const(0.0))
            v[k] = select(positive | (x[k] != x[k]), power(x[k], y[k]), const(-1.0))

    x = np.array([2.0, 2.0, -2.0, np.nan, 0.5], dtype)
    y = np.array([3.0, -1.0, 2.0, 1.0, 0.5], dtype)
    v = np.empty_like(x)
    apply(x, y, v)
    np.testing.assert_array_equal(v, np.array([8, -1, -1, np.nan, np.sqrt(dtype(0.5))], dtype))
    assert type(names["inf"]) is type(names["nan"]) is dtype
    assert names["inf"] == np.inf and np.isnan(names["nan"])


def test_results_keep_the_number_type():
    for dtype, number in zip(DTYPES, (types.float64, types.float32), strict=True):
        for name in SPECIAL:
            compiled(name, dtype)
            f = namespace(dtype)[name]
            if hasattr(f, "nopython_signatures"):
                assert [s.return_type for s in f.nopython_signatures] == [number], name


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="float64 and float32, not for int32"):
        namespace(np.int32)


def test_namespaces_are_independent():
    namespace("float64").clear()
    assert namespace("float64")


def packed(loop, dtype):
    """Number of arithmetic instructions on the widest registers in a compiled loop."""
    letter = "d" if dtype is np.float64 else "s"
    registers = {32: "ymm", 64: "[yz]mm"}[register_bytes()]
    code = loop.inspect_asm(loop.signatures[0])
    operations = r"\bv(?:f?n?m(?:add|sub)\w*|add|sub|mul|div|sqrt|round|rndscale|cmp\w*|and)"
    return len(re.findall(rf"{operations}p{letter}\b.*{registers}", code))


@pytest.mark.skipif(register_bytes() < 32, reason="looks for AVX2 or AVX-512 instructions")
@pytest.mark.parametrize("dtype", DTYPES)
def test_loops_are_vectorised(dtype):
    for name in EXACT:
        assert packed(compiled(name, dtype), dtype) > 0, name


@pytest.mark.skipif(register_bytes() < 32, reason="looks for AVX2 or AVX-512 instructions")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", [("tanh", "sech2"), ("sin", "cos")])
def test_functions_of_one_argument_share_their_work(pair, dtype):
    f, g = (namespace(dtype)[name] for name in pair)
    array = types.Array(types.float64 if dtype is np.float64 else types.float32, 1, "C")

    @njit(types.void(array, array), error_model="numpy")
    def both(z, d):
        for k in range(z.size):
            x = z[k]
            z[k] = f(x)
            d[k] = g(x)

    first, second = (packed(compiled(name, dtype), dtype) for name in pair)
    assert 0 < packed(both, dtype) < 0.75 * (first + second)


WITHOUT_FMA = """
import numpy as np
from test_elementary import DTYPES, largest_error
for name in ("sin", "sech2", "erfc"):
    for dtype in DTYPES:
        assert largest_error(name, dtype, 100) <= 6, (name, dtype)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 without FMA")
def test_reductions_need_no_fused_multiply_add():
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    settings = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", WITHOUT_FMA], env={**os.environ, **settings}, check=True)
