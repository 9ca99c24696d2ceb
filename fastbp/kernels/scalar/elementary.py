"""Elementary functions that vectorise: the vocabulary of traced functions in jitted code.

`math.tanh` in a Numba loop is a scalar library call. The functions here are straight lines of
arithmetic, without branches and calls, so that LLVM compiles ``for k in range(n): v[k] = f(z[k])``
to vector instructions, and shares the work of functions of the same argument: `sech2` costs little
beside `tanh`, `cos` beside `sin`, ``exp(-(x * x))`` beside `erf`. They never raise, keep the number
type, and treat infinities, NaN, signed zeros and subnormal numbers as IEEE 754 asks.

Largest errors, in units in the last place: of float64 against mpmath with 150 bits, over each
function's whole range and more densely where it bends (60,000 numbers); of float32 over one in 61
of all numbers. The bounds are those of the tests. Nanoseconds an element: in a loop over 1024
numbers in cache, at 3.2 GHz with registers of 256 bits.

    function    bound  float64  float32   ns float64  float32
    exp         1.5       1.0      1.0           1.4      0.6
    expm1       2.5       1.9      1.5           1.6      0.7
    log         1.5       1.1      0.9           2.0      0.8
    log1p       2         1.0      1.4           2.4      1.0
    log2        2         1.4      1.6           1.9      0.8
    log10       2.5       1.9      1.9           2.1      0.8
    sin         2         1.6      1.5           1.9      0.9
    cos         2.5       2.3      1.5           1.9      0.9   sin and cos: 2.1, 1.0
    tan         3.5       3.2      2.9           2.1      1.0
    asin        3.5       2.3      3.1           2.6      0.9
    acos        3.5       2.7      3.1           2.5      0.9
    atan        3         1.5      2.6           1.7      0.6
    sinh        2.5       2.0      1.8           1.8      0.7
    cosh        2.5       1.4      2.0           1.6      0.7
    tanh        3.5       3.0      2.9           2.0      0.8   in stages: 1.2, 0.5
    sech2       5.5       5.0      4.7           2.2      0.9   and tanh, in stages: 1.4, 0.6
    asinh       2.5       1.8      1.7           4.1      1.7
    acosh       3         2.0      2.5           4.0      1.6
    atanh       2.5       1.9      2.0           3.2      1.4
    erf         4         3.4      3.0           3.6      1.3   with exp(-(x * x)): the same
    erfc        4         3.0      3.4           4.7      1.6
    logistic    3         2.0      2.0           1.9      0.7   its activation, in stages: 1.3, 0.5

The exponential functions are made of stages, which activations run in loops of their own
(`stages`). `sech2` is 0 where exp(-2 |x|) is less than the smallest normal number.

`sqrt`, `floor`, `ceil`, `trunc` and `abs` are instructions, and exact; `pow` and `fmod` are the
library's, the two functions that do not vectorise (14 and 3 ns; `fmod` is exact). On processors
without fused multiply-add the bound of all is 6: the reductions subtract products that are exact
without.

`sin`, `cos` and `tan` are NaN where ``abs(x)`` exceeds 1e8 (float64) or 4e6 (float32): a reduction
right for every number takes a branch, which would stop the vectorisation of all others. Where an
activation comes out as NaN for that, `blocks` applies the library's functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..machine.build import scalar
from ..machine.numba_api import cgutils
from . import polynomials


def _integer(x: ir.Value) -> ir.IntType:
    return ir.IntType(64 if isinstance(x.type, ir.DoubleType) else 32)


def _bits(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return builder.bitcast(x, _integer(x))


def _constants(x: ir.Value) -> tuple[Callable[[int], ir.Constant], int, int]:
    """Maker of integer constants, mantissa bits and exponent bias of the number type of x."""
    integer = _integer(x)
    wide = integer.width == 64
    return (lambda value: ir.Constant(integer, value)), 52 if wide else 23, 1023 if wide else 127


def _llvm(name: str) -> Callable:
    """Code generator of LLVM's own function of that name on numbers of one type."""

    def codegen(context, builder, signature, args):
        number = args[0].type
        suffix = "f64" if isinstance(number, ir.DoubleType) else "f32"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(number, [number] * len(args)), f"llvm.{name}.{suffix}"
        )
        return builder.call(function, args)

    return codegen


def _of_one(name: str) -> Callable:
    """LLVM's own function of one number as an intrinsic."""

    @intrinsic
    def function(typingctx, x):
        return x(x), _llvm(name)

    return function


_abs, _sqrt, _floor, _ceil, _trunc = map(_of_one, "fabs sqrt floor ceil trunc".split())


@intrinsic
def _pow(typingctx, x, y):
    return x(x, x), _llvm("pow")


@intrinsic
def _fmod(typingctx, x, y):
    """Give what is left of x after division by y; a call of the library's function."""
    return x(x, x), lambda context, builder, signature, args: builder.frem(*args)


@intrinsic
def _copysign(typingctx, x, y):
    return x(x, x), _llvm("copysign")


@intrinsic
def _muladd(typingctx, x, y, z):
    """Multiply and add, fused where the processor can; llvm.fma is a library call elsewhere."""
    return x(x, x, x), _llvm("fmuladd")


@intrinsic
def _polynomial(typingctx, x, coefficients):
    """Evaluate by Estrin's scheme; one intrinsic, since Numba takes longer over as many calls.

    Neighbours are joined in pairs, the pairs in pairs ...: the processor waits for a logarithmic
    number of operations, where Horner's scheme makes it wait for each.
    """
    multiply_add = _llvm("fmuladd")

    def codegen(context, builder, signature, args):
        power, terms = args[0], cgutils.unpack_tuple(builder, args[1])
        while len(terms) > 1:
            odd = terms[len(terms) // 2 * 2 :]
            terms = [
                multiply_add(context, builder, signature, [high, power, low])
                for low, high in zip(terms[::2], terms[1::2], strict=False)
            ] + odd
            if len(terms) > 1:
                power = builder.fmul(power, power)
        return terms[0]

    return x(x, coefficients), codegen


@intrinsic
def _alternating(typingctx, x, coefficients):
    """Evaluate as two interleaved Horner schemes in x^2: two multiplications fewer than Estrin's.

    It is slower to arrive, so for loops that are short enough to overlap several numbers.
    """
    multiply_add = _llvm("fmuladd")

    def codegen(context, builder, signature, args):
        x, terms = args[0], cgutils.unpack_tuple(builder, args[1])
        square = builder.fmul(x, x)

        def horner(terms):
            *rest, total = terms
            for term in reversed(rest):
                total = multiply_add(context, builder, signature, [total, square, term])
            return total

        halves = [horner(terms[1::2]), x, horner(terms[::2])]
        return multiply_add(context, builder, signature, halves)

    return x(x, coefficients), codegen


@intrinsic
def _select(typingctx, condition, a, b):
    """Give a where the condition holds, else b, without a branch."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


# Adding "magic", 1.5 times the power of two where the spacing of numbers is 1, rounds to an
# integer n, and leaves n in the low bits of the sum m = magic + n. The next four read it there.


@intrinsic
def _power_of_two(typingctx, m):
    """Make 2^n of m = magic + n, where 2^n is a normal number."""

    def codegen(context, builder, signature, args):
        (m,) = args
        constant, mantissa, bias = _constants(m)
        exponent = builder.shl(_bits(builder, m), constant(mantissa))
        return builder.bitcast(builder.add(exponent, constant(bias << mantissa)), m.type)

    return m(m), codegen


@intrinsic
def _powers_of_two(typingctx, m):
    """Make two powers of two whose product is 2^n, which may overflow or be subnormal."""

    def codegen(context, builder, signature, args):
        (m,) = args
        constant, mantissa, bias = _constants(m)
        total = builder.add(_bits(builder, m), constant(2 * bias))
        first = builder.lshr(total, constant(1))
        powers = [
            builder.bitcast(builder.shl(exponent, constant(mantissa)), m.type)
            for exponent in (first, builder.sub(total, first))
        ]
        return context.make_tuple(builder, signature.return_type, powers)

    return types.UniTuple(m, 2)(m), codegen


@intrinsic
def _is_odd(typingctx, m):
    """Tell whether n is odd."""

    def codegen(context, builder, signature, args):
        (m,) = args
        constant, _, _ = _constants(m)
        low = builder.and_(_bits(builder, m), constant(1))
        return builder.icmp_unsigned("!=", low, constant(0))

    return types.boolean(m), codegen


@intrinsic
def _negate_by(typingctx, x, m):
    """Negate x where n is 2 or 3 modulo 4."""

    def codegen(context, builder, signature, args):
        x, m = args
        constant, _, _ = _constants(m)
        width = _integer(m).width
        second = builder.and_(_bits(builder, m), constant(2))
        sign = builder.shl(second, constant(width - 2))
        return builder.bitcast(builder.xor(_bits(builder, x), sign), x.type)

    return x(x, x), codegen


@intrinsic
def _parts(typingctx, x):
    """Split a positive normal x = 2^k m, sqrt(1/2) <= m < sqrt(2), into (k, m, 2^-k)."""

    def codegen(context, builder, signature, args):
        (x,) = args
        constant, mantissa, bias = _constants(x)
        wide = mantissa == 52
        root = 0x3FE6A09E667F3BCD if wide else 0x3F3504F3  # bits of sqrt(1/2)
        one = bias << mantissa
        bits = _bits(builder, x)
        # The exponent counted from sqrt(1/2), biased so that it is positive.
        shifted = builder.add(bits, constant(one - root))
        exponent = builder.and_(shifted, constant(((1 << (11 if wide else 8)) - 1) << mantissa))
        m = builder.bitcast(builder.add(builder.sub(bits, exponent), constant(one)), x.type)
        inverse = builder.bitcast(builder.sub(constant(2 * one), exponent), x.type)
        # As AVX2 cannot convert int64: the integer as the low bits of a power of two.
        power = ir.Constant(x.type, float(2**mantissa + bias))
        low = builder.lshr(exponent, constant(mantissa))
        counted = builder.or_(low, constant((bias + mantissa) << mantissa))
        k = builder.fsub(builder.bitcast(counted, x.type), power)
        return context.make_tuple(builder, signature.return_type, [k, m, inverse])

    return types.UniTuple(x, 3)(x), codegen


@intrinsic
def _upper_half(typingctx, x):
    """Clear the lower half of the mantissa: the square of the result is exact."""

    def codegen(context, builder, signature, args):
        (x,) = args
        constant, mantissa, _ = _constants(x)
        mask = constant(-1 << (mantissa + 2) // 2)
        return builder.bitcast(builder.and_(_bits(builder, x), mask), x.type)

    return x(x), codegen


# Functions made of three stages: ``m, r = reduce(argument(x))``, ``e = grow(r)`` and
# ``result(x, m, e)``, by the names of `argument` and `result`. A loop over all three at once
# leaves the processor waiting for one number after another; see `stages`.
STAGED = {
    "exp": ("exp_argument", "exp_result"),
    "expm1": ("expm1_argument", "expm1_result"),
    "tanh": ("tanh_argument", "tanh_result"),
    "sech2": ("tanh_argument", "sech2_result"),
    "logistic": ("logistic_argument", "logistic_result"),
}


def namespace(dtype: Any) -> dict[str, Any]:
    """Give the names that the text of a traced function uses, in a new dict.

    Functions for jitted code, with arguments and results of one number type, float64 or float32;
    each is compiled when first used. `const` makes a number of it; `inf` and `nan` are numbers.
    """
    number = np.dtype(dtype)
    if number not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise TypeError(f"elementary functions exist for float64 and float32, not for {number}")
    return dict(_functions(number))


class _Numbers:
    """Constants of a number type, and the choice between those of both."""

    def __init__(self, dtype: np.dtype) -> None:
        self.T = dtype.type
        self.wide = dtype == np.float64
        self.zero, self.half, self.one, self.two = (self.T(c) for c in (0.0, 0.5, 1.0, 2.0))
        self.inf, self.nan = self.T(np.inf), self.T(np.nan)
        self.smallest_normal = np.finfo(dtype).smallest_normal
        self.magic = self.choose(6755399441055744.0, 12582912.0)
        # log(2) in two parts; the upper has 42 (16) bits, so that its multiples are exact.
        self.per_log2 = self.T(1.4426950408889634)
        self.log2_upper = self.choose(0.6931471805598903, 0.693145751953125)
        self.log2_lower = self.choose(5.497923018708371e-14, 1.428606765330187e-06)

    def choose(self, for_float64: float, for_float32: float) -> Any:
        return self.T(for_float64 if self.wide else for_float32)

    def table(self, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple:
        return tuple(self.T(c) for c in coefficients[not self.wide])


# Names of the language, and helpers that another group of functions needs.
_Group = dict[str, Any]


def _exponential(k: _Numbers) -> _Group:
    """Exponential functions: x = n log(2) + r, exp(x) = 2^n exp(r).

    They have three stages, see STAGED: m and r of an argument within bounds, exp(r) - 1, and the
    result.
    """
    choose, half, one, magic = k.choose, k.half, k.one, k.magic
    per_log2, log2_upper, log2_lower = k.per_log2, k.log2_upper, k.log2_lower
    exp_table = k.table(polynomials.EXP)

    @scalar
    def reduce(x):
        """Give m = magic + n and r."""
        m = _muladd(x, per_log2, magic)
        n = m - magic
        return m, _muladd(-n, log2_lower, _muladd(-n, log2_upper, x))

    @scalar
    def grow(r):
        """Give exp(r) - 1."""
        return _muladd(r * r, _alternating(r, exp_table), r)

    exp_highest, exp_lowest = choose(710.0, 89.0), choose(-746.0, -105.0)  # inf and 0

    @scalar
    def exp_argument(x):
        x = _select(x > exp_highest, exp_highest, x)
        return _select(x < exp_lowest, exp_lowest, x)

    @scalar
    def exp_result(x, m, e):
        p, q = _powers_of_two(m)
        return _muladd(p, e, p) * q

    expm1_lowest = choose(-60.0, -30.0)  # -1
    expm1_tiny = choose(2.0**-54, 2.0**-25)

    @scalar
    def expm1_argument(x):
        x = _select(x > exp_highest, exp_highest, x)
        return _select(x < expm1_lowest, expm1_lowest, x)

    @scalar
    def expm1_result(x, m, e):
        p = _power_of_two(m - one)  # half of 2^n, which overflows one step too early
        v = _muladd(p, e, p - half)
        return _select(_abs(x) < expm1_tiny, x, v + v)

    return {
        "reduce": reduce, "grow": grow, "exp_argument": exp_argument, "exp_result": exp_result,
        "expm1_argument": expm1_argument, "expm1_result": expm1_result,
    }  # fmt: skip


def _sigmoid(k: _Numbers, exp_argument: Any, exp_result: Any) -> _Group:
    """Stages of tanh, its derivative and the logistic function.

    With E = exp(-2 |x|), tanh(|x|) is (1 - E) / (1 + E) and sech2(x) is 4 E / (1 + E)^2.
    """
    zero, one, two = k.zero, k.one, k.two
    tanh_lowest = k.choose(-709.0, -88.0)  # has n = -1023 (-127), for which 2^n comes out as 0

    @scalar
    def tanh_argument(x):
        a = -_abs(x)
        x = a + a
        return _select(x < tanh_lowest, tanh_lowest, x)

    @scalar
    def tanh_parts(m, e):
        """Give 2^n, E - 1 and 1 / (1 + E)."""
        p = _power_of_two(m)
        d = _muladd(p, e, p - one)
        return p, d, one / (two + d)

    @scalar
    def tanh_result(x, m, e):
        _, d, inverse = tanh_parts(m, e)
        return _copysign(d * inverse, x)

    @scalar
    def sech2_result(x, m, e):
        p, _, inverse = tanh_parts(m, e)
        w = inverse + inverse
        return _muladd(p, e, p) * w * w

    @scalar
    def logistic_argument(x):
        return exp_argument(-_abs(x))

    @scalar
    def logistic_result(x, m, e):
        v = exp_result(x, m, e)
        return _select(x < zero, v, one) / (one + v)

    return {
        "tanh_argument": tanh_argument, "tanh_result": tanh_result, "sech2_result": sech2_result,
        "logistic_argument": logistic_argument, "logistic_result": logistic_result,
    }  # fmt: skip


def _staged(name: str, stages: _Group) -> Any:
    reduce, grow = stages["reduce"], stages["grow"]
    argument, result = (stages[stage] for stage in STAGED[name])

    @scalar
    def function(x):
        m, r = reduce(argument(x))
        return result(x, m, grow(r))

    return function


def _hyperbolic(k: _Numbers, reduce: Any) -> _Group:
    """Hyperbolic functions: x = n log(2) + r, as the exponential ones."""
    choose, half, two, magic = k.choose, k.half, k.two, k.magic
    sinh_table, cosh_table = k.table(polynomials.SINH), k.table(polynomials.COSH)

    sinh_highest = choose(710.75, 89.7)  # inf
    n_most = choose(1022.0, 126.0)  # of normal 2^-n
    sinh_tiny = choose(2.0**-28, 2.0**-13)

    @scalar
    def hyperbola(a):
        a = _select(a > sinh_highest, sinh_highest, a)
        m, r = reduce(a)
        n = m - magic
        z = r * r
        s = _muladd(r * z, _polynomial(z, sinh_table), r)
        c = z * _muladd(z, _polynomial(z, cosh_table), half)  # cosh(r) - 1
        # A quarter of 2^n and 2^-n: half of the result, which overflows one step too early.
        m_inverse = magic - n - two
        m_inverse = _select(m_inverse < magic - n_most, magic - n_most, m_inverse)
        return s, c, _power_of_two(m - two), _power_of_two(m_inverse)

    @scalar
    def sinh(x):
        a = _abs(x)
        s, c, p, q = hyperbola(a)
        v = _muladd(p - q, c, _muladd(p + q, s, p - q))
        return _copysign(_select(a < sinh_tiny, a, v + v), x)

    @scalar
    def cosh(x):
        s, c, p, q = hyperbola(_abs(x))
        v = _muladd(p + q, c, _muladd(p - q, s, p + q))
        return v + v

    return {"sinh": sinh, "cosh": cosh}


def _logarithms(k: _Numbers) -> _Group:
    """Logarithms: x = 2^k (1 + f), log(1 + f) = f - s (f - R) with s = f / (2 + f)."""
    choose, zero, one, two, inf, nan = k.choose, k.zero, k.one, k.two, k.inf, k.nan
    per_log2, log2_upper, log2_lower = k.per_log2, k.log2_upper, k.log2_lower
    log_table, smallest_normal = k.table(polynomials.LOG), k.smallest_normal

    upscale, upscale_exponent = choose(2.0**54, 2.0**25), choose(54.0, 25.0)

    @scalar
    def log_near_one(f):
        s = f / (two + f)
        z = s * s
        return _muladd(-s, _muladd(-z, _polynomial(z, log_table), f), f)

    @scalar
    def log_parts(x):
        subnormal = x < smallest_normal
        k, m, _ = _parts(_select(subnormal, x * upscale, x))
        return k - _select(subnormal, upscale_exponent, zero), log_near_one(m - one)

    @scalar
    def log_ends(x, v):
        v = _select(x < inf, v, x)
        return _select(x > zero, v, _select(x == zero, -inf, nan))

    @scalar
    def log(x):
        k, v = log_parts(x)
        return log_ends(x, _muladd(k, log2_upper, _muladd(k, log2_lower, v)))

    @scalar
    def log2(x):
        k, v = log_parts(x)
        return log_ends(x, _muladd(v, per_log2, k))

    per_log10 = k.T(0.4342944819032518)
    log10_2_upper = choose(0.30102999566395283, 0.301025390625)
    log10_2_lower = choose(2.8363394551044964e-14, 4.605039066518657e-06)

    @scalar
    def log10(x):
        k, v = log_parts(x)
        v = _muladd(k, log10_2_lower, v * per_log10)
        return log_ends(x, _muladd(k, log10_2_upper, v))

    log1p_huge = choose(2.0**54, 2.0**26)  # 1 is negligible, the square does not overflow

    @scalar
    def log1p(x):
        larger, smaller = _select(x < one, one, x), _select(x < one, x, one)
        total = larger + smaller
        lost = smaller - (total - larger)  # by rounding
        k, m, scale = _parts(total)
        f = m - one
        v = log_near_one(_select(x < log1p_huge, _muladd(lost, scale, f), f))
        v = _copysign(_muladd(k, log2_upper, _muladd(k, log2_lower, v)), x)
        v = _select(x < inf, v, x)
        return _select(x > -one, v, _select(x == -one, -inf, nan))

    return {"log": log, "log2": log2, "log10": log10, "log1p": log1p}


def _inverse_hyperbolic(k: _Numbers, log1p: Any) -> _Group:
    """Inverse hyperbolic functions, by log(1 + x)."""
    zero, half, one, two = k.zero, k.half, k.one, k.two
    huge_one = k.choose(2.0**54, 2.0**26)  # 1 is negligible
    log_of_2 = k.T(0.6931471805599453)

    @scalar
    def asinh(x):
        a = _abs(x)
        huge = a > huge_one
        b = _select(huge, one, a)
        v = log1p(_select(huge, a, b + b * b / (one + _sqrt(_muladd(b, b, one)))))
        return _copysign(v + _select(huge, log_of_2, zero), x)

    @scalar
    def acosh(x):
        t = x - one
        huge = t > huge_one
        b = _select(huge, one, t)
        # One root of the product would be a number for t < -2.
        v = log1p(_select(huge, t, b + _sqrt(b) * _sqrt(b + two)))
        return v + _select(huge, log_of_2, zero)

    @scalar
    def atanh(x):
        a = _abs(x)
        return _copysign(half * log1p((a + a) / (one - a)), x)

    return {"asinh": asinh, "acosh": acosh, "atanh": atanh}


def _circular(k: _Numbers) -> _Group:
    """Circular functions: x = n pi/2 + r."""
    choose, half, one, nan, magic = k.choose, k.half, k.one, k.nan, k.magic
    sin_table, cos_table = k.table(polynomials.SIN), k.table(polynomials.COS)
    per_quarter = k.T(0.6366197723675814)
    furthest = choose(1e8, 4e6)

    if k.wide:
        # pi/2 in parts of 27 bits: n has at most 26, so that their multiples are exact.
        quarter1, quarter2 = 1.570796325802803, 9.920935739593517e-10
        quarter3, quarter4 = 5.721188709663575e-18, 1.6446256936324258e-26

        @scalar
        def quarter_turns(x):
            m = _muladd(x, per_quarter, magic)
            n = m - magic
            r = _muladd(-n, quarter2, _muladd(-n, quarter1, x))
            r = _muladd(-n, quarter4, _muladd(-n, quarter3, r))
            return m, _select(_abs(x) <= furthest, r, nan)

    else:
        # In double precision: single would take too many parts.
        quarter1, quarter2 = 1.570796325802803, 9.920935796805404e-10
        per_quarter64, magic64 = 0.6366197723675814, 6755399441055744.0

        @scalar
        def quarter_turns(x):
            x64 = np.float64(x)
            n = _muladd(x64, per_quarter64, magic64) - magic64
            r = np.float32(_muladd(-n, quarter2, _muladd(-n, quarter1, x64)))
            return np.float32(n) + magic, _select(_abs(x) <= furthest, r, nan)

    @scalar
    def circle(x):
        m, r = quarter_turns(x)
        z = r * r
        s = _copysign(_muladd(r * z, _polynomial(z, sin_table), r), r)
        c = _muladd(z, _muladd(z, _polynomial(z, cos_table), -half), one)
        return m, s, c

    @scalar
    def sin(x):
        m, s, c = circle(x)
        return _negate_by(_select(_is_odd(m), c, s), m)

    @scalar
    def cos(x):
        m, s, c = circle(x)
        return _negate_by(_select(_is_odd(m), s, c), m + one)

    @scalar
    def tan(x):
        m, s, c = circle(x)
        odd = _is_odd(m)
        return _select(odd, -c, s) / _select(odd, s, c)

    return {"sin": sin, "cos": cos, "tan": tan}


def _inverse_circular(k: _Numbers) -> _Group:
    """Angles in [0, pi/2] by atan on [-tan(pi/8), tan(pi/8)]."""
    T, zero, one, two = k.T, k.zero, k.one, k.two
    atan_table = k.table(polynomials.ATAN)
    tan_3_8, tan_1_8 = T(1.0 + math.sqrt(2.0)), T(math.sqrt(2.0) - 1.0)  # of pi
    quarter_pi, half_pi = T(math.pi / 4.0), T(math.pi / 2.0)

    @scalar
    def angle(y, x):
        """Give atan(y / x) for y >= 0, x >= 0, with one division."""
        steep, middle = y > tan_3_8 * x, y > tan_1_8 * x
        numerator = _select(steep, -x, _select(middle, y - x, y))
        denominator = _select(steep, y, _select(middle, y + x, x))
        t = numerator / denominator
        z = t * t
        v = _muladd(t * z, _polynomial(z, atan_table), t)
        return _select(steep, half_pi, _select(middle, quarter_pi, zero)) + v

    @scalar
    def atan(x):
        return _copysign(angle(_abs(x), one), x)

    @scalar
    def asin(x):
        a = _abs(x)
        return _copysign(angle(a, _sqrt((one - a) * (one + a))), x)

    @scalar
    def acos(x):
        return two * angle(_sqrt(one - x), _sqrt(one + x))

    return {"asin": asin, "acos": acos, "atan": atan}


def _error(k: _Numbers, exp: Any, stages: _Group) -> _Group:
    """Error function: erfc(a) is exp(-a^2) / (a + K) times a polynomial in (a - K) / (a + K)."""
    choose, zero, half, one, two = k.choose, k.zero, k.half, k.one, k.two
    reduce, grow, exp_argument = (stages[name] for name in ("reduce", "grow", "exp_argument"))
    erf_table, erf_far_table = k.table(polynomials.ERF), k.table(polynomials.ERF_FAR)
    erfc0, erfc1, *erfc_rest = k.table(polynomials.ERFC)
    erf_centre = choose(3.0, 2.0)

    @scalar
    def erf(x):
        z = x * x
        a = _abs(x)
        near = _muladd(x, _polynomial(z, erf_table), x)
        inverse = one / (a + erf_centre)
        t = _muladd(-two * erf_centre, inverse, one)
        far = one - exp(-x * x) * (_polynomial(t, erf_far_table) * inverse)
        return _select(a < half, near, _copysign(far, x))

    erfc_centre = choose(3.5, 3.0)
    erfc_table = tuple(erfc_rest)
    erfc_highest = choose(28.0, 11.0)  # 0

    @scalar
    def erfc(x):
        z = x * x
        a = _abs(x)
        b = _select(a > erfc_highest, erfc_highest, a)
        upper = _upper_half(b)
        lower = b - upper
        lost = ((upper * upper - z) + two * upper * lower) + lower * lower  # by rounding z
        lost = _select(a < erfc_highest, lost, zero)
        # w = 1 - t = 2 K / (b + K), with one Newton step: the sum had been rounded.
        inverse = one / (b + erfc_centre)
        w0 = two * erfc_centre * inverse
        error = _muladd(-w0, b, _muladd(-w0, erfc_centre, two * erfc_centre))
        w = _muladd(inverse, error, w0)
        w_lost = _muladd(inverse, error, w0 - w)
        t = one - w
        # The largest terms by Horner's scheme, which rounds less.
        v = w * _muladd(t, _muladd(t, _polynomial(t, erfc_table), erfc1), erfc0)
        # exp(x^2) erfc(x) is about exp(2 w) times a constant: so much for the rounding of w.
        m, r = reduce(exp_argument(-z))
        e = grow(r - _muladd(-two, w_lost, lost))
        p, q = _powers_of_two(m)
        v = _muladd(v, e, v) * p * q
        return _select(x < zero, two - v, v)

    return {"erf": erf, "erfc": erfc}


def _choices(k: _Numbers) -> _Group:
    zero, one = k.zero, k.one

    @scalar
    def sign(x):
        return _select(x > zero, one, _select(x < zero, -one, x))

    @scalar
    def logical_not(condition):
        return not condition

    return {"sign": sign, "logical_not": logical_not}


@cache
def _functions(dtype: np.dtype) -> _Group:
    k = _Numbers(dtype)
    stages = _exponential(k)
    stages |= _sigmoid(k, stages["exp_argument"], stages["exp_result"])
    staged = {name: _staged(name, stages) for name in STAGED}
    logarithms = _logarithms(k)
    return {
        "sqrt": _sqrt, "pow": _pow, "fmod": _fmod, "floor": _floor, "ceil": _ceil,
        "trunc": _trunc, "abs": _abs, "select": _select, "const": k.T, "inf": k.inf, "nan": k.nan,
        **stages, **staged, **_hyperbolic(k, stages["reduce"]), **logarithms,
        **_inverse_hyperbolic(k, logarithms["log1p"]), **_circular(k), **_inverse_circular(k),
        **_error(k, staged["exp"], stages), **_choices(k),
    }  # fmt: skip
