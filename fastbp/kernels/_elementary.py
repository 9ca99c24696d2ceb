"""Elementary functions that vectorise: the vocabulary of traced functions in jitted code.

`math.tanh` in a Numba loop is a scalar library call. The functions here are straight lines of
arithmetic, without branches and calls, so that LLVM compiles ``for k in range(n): v[k] = f(z[k])``
to vector instructions, and shares the work of functions of the same argument: `sech2` costs little
beside `tanh`, `cos` beside `sin`, ``exp(-(x * x))`` beside `erf`. They never raise, keep the number
type, and treat infinities, NaN, signed zeros and subnormal numbers as IEEE 754 asks.

@TABLE@

The bounds do not need fused multiply-adds: the reductions subtract products that are exact without.
`sin`, `cos` and `tan` are NaN where ``abs(x)`` exceeds 1e8 (float64) or 4e6 (float32): a reduction
right for every number cannot be had without a branch, and a wrong value is not given instead.

Polynomials are minimax fits (Remez, 45 digits) of the relative error of the function they serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._build import scalar

# (float64, float32), lowest order first; "error": the largest relative error of the function made
# of it, in exact arithmetic.

# (exp(r) - 1 - r) / r^2 for abs(r) <= log(2) / 2; degree 9: error 1.8e-17, degree 4: 1.3e-8
_EXP = (
    (
        0.5000000000000006, 0.16666666666666588, 0.04166666666657647, 0.008333333333389696,
        0.001388888893166517, 0.00019841269718805273, 2.48015051447769e-05,
        2.755740759117799e-06, 2.7626092078573504e-07, 2.5053808204208303e-08,
    ),
    (0.49999997, 0.166665435, 0.0416672006, 0.00836654659, 0.0013882512),
)  # fmt: skip
# (r coth(r) - 1) / r^2 in r^2 for abs(r) <= log(2) / 2; degree 5: error 1.0e-17, degree 2: 3.9e-10
_COTH = (
    (
        0.3333333333333281, -0.022222222221373517, 0.0021164020706064867,
        -0.00021163907470605098, 2.136350565254788e-05, -2.0756334792793905e-06,
    ),
    (0.333333254, -0.0222188924, 0.00206834264),
)  # fmt: skip
# (sinh(r) - r) / r^3 in r^2, same interval; degree 4: error 2.6e-19, degree 2: 5.3e-12
_SINH = (
    (
        0.16666666666666677, 0.008333333333321577, 0.00019841269886267918,
        2.7557244060248866e-06, 2.5109090986147454e-08,
    ),
    (0.166666672, 0.00833328906, 0.000199050119),
)  # fmt: skip
# (cosh(r) - 1 - r^2 / 2) / r^4 in r^2, same interval; degree 3: error 5.5e-18, degree 1: 9.8e-11
_COSH = (
    (0.04166666666660264, 0.0013888888927337368, 2.48015079983448e-05, 2.7625459551121064e-07),
    (0.0416664593, 0.00139354425),
)
# (log((1 + s) / (1 - s)) - 2 s) / s^3 in s^2 for abs(s) <= (sqrt(2) - 1) / (sqrt(2) + 1);
# degree 6: error 1.2e-18, degree 2: 8.1e-10
_LOG = (
    (
        0.6666666666666735, 0.39999999999411096, 0.28571428743261834, 0.22222198476116295,
        0.18183569731614538, 0.15313903480463223, 0.14797505200919892,
    ),
    (0.666667759, 0.399774969, 0.298730731),
)  # fmt: skip
# (sin(r) - r) / r^3 in r^2 for abs(r) <= 1.02 pi / 4; degree 5: error 4.8e-18, degree 2: 4.4e-9
_SIN = (
    (
        -0.1666666666666662, 0.008333333333319651, -0.00019841269827577693,
        2.7557312912955533e-06, -2.5050635501458083e-08, 1.588965997909413e-10,
    ),
    (-0.166666538, 0.00833206344, -0.000195021348),
)  # fmt: skip
# (cos(r) - 1 + r^2 / 2) / r^4 in r^2, same interval; degree 5: error 7.7e-20, degree 2: 1.4e-10
_COS = (
    (
        0.041666666666666574, -0.0013888888888869534, 2.480158728663531e-05,
        -2.755731353532862e-07, 2.087561293489324e-09, -1.1353971357015278e-11,
    ),
    (0.0416666418, -0.00138871849, 2.44181301e-05),
)  # fmt: skip
# (atan(t) - t) / t^3 in t^2 for abs(t) <= tan(pi / 8); degree 10: error 1.3e-18, degree 4: 6.8e-10
_ATAN = (
    (
        -0.3333333333333319, 0.19999999999952822, -0.14285714280121506, 0.11111110779806183,
        -0.09090897655231542, 0.07692058432041116, -0.06663084179191921, 0.058477471824695426,
        -0.05038673798214968, 0.038048739713920574, -0.017890082966856756,
    ),
    (-0.333333164, 0.199984655, -0.142434224, 0.105929472, -0.0607591793),
)  # fmt: skip
# erf(x) / x - 1 in x^2 for abs(x) <= 1/2; degree 8: error 3.9e-18, degree 4: 1.4e-9
_ERF = (
    (
        0.12837916709551256, -0.37612638903183465, 0.11283791670924728, -0.026866170632686186,
        0.005223977369822555, -0.0008548297478075211, 0.00012053321965723396,
        -1.4845522034068779e-05, 1.4722559133131548e-06,
    ),
    (0.128379166, -0.376126081, 0.112828217, -0.0267570987, 0.00471779658),
)  # fmt: skip
# (x + K) exp(x^2) erfc(x) in (x - K) / (x + K) for x >= 1/2, serving 1 - erfc(x); K = 3, degree 13:
# error 2.2e-18; K = 2, degree 6: 2.1e-10
_ERF_FAR = (
    (
        1.074006907088238, -0.8833944531730031, 0.590228357123763, -0.31046726014621084,
        0.1195277904843542, -0.02682697388217895, -0.0012109314387817038, 0.0030398387929064016,
        -0.0005324977251682379, -0.00024610476281439924, 0.0001491083584227601,
        6.780743461659927e-05, 1.989027999878361e-06, -2.131729145415637e-06,
    ),
    (
        1.02158272, -0.687161267, 0.279456586, -0.0365595594, -0.0219051912, 0.00591656007,
        0.00308887241,
    ),
)  # fmt: skip
# exp(x^2) erfc(x) / (1 - t) in t = (x - K) / (x + K) for x >= 0, serving erfc(x); K = 4,
# x <= 27.3, degree 22: error 3.2e-18; K = 3, x <= 10.2, degree 9: 2.1e-9
_ERFC = (
    (
        0.13699945762506138, -0.12206859113511026, 0.09665108778315461, -0.06760672891415312,
        0.041356448484752895, -0.021751367155036155, 0.009547689363644344,
        -0.0032962566668283894, 0.0007640069570873827, -3.511986447857892e-05,
        -5.6881586040358405e-05, 2.2101635824175612e-05, -4.5439398562811176e-07,
        -2.3577230825184544e-06, 5.867921699277826e-07, 1.7826164686726449e-07,
        -1.057522756862731e-07, -9.747407745752093e-09, 1.549356340225527e-08,
        3.264988927838313e-10, -1.924424007680444e-09, -4.801114209035647e-11,
        1.2715376066006177e-10,
    ),
    (
        0.179001153, -0.147232413, 0.0983713865, -0.0517443344, 0.0199215114, -0.00447330438,
        -0.000204404641, 0.000513388077, -8.05301534e-05, -5.42226335e-05,
    ),
)  # fmt: skip


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

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        number = args[0].type
        suffix = "f64" if isinstance(number, ir.DoubleType) else "f32"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(number, [number] * len(args)), f"llvm.{name}.{suffix}"
        )
        return builder.call(function, args)

    return codegen


@intrinsic
def _abs(typingctx, x):  # type: ignore[no-untyped-def]
    return x(x), _llvm("fabs")


@intrinsic
def _sqrt(typingctx, x):  # type: ignore[no-untyped-def]
    return x(x), _llvm("sqrt")


@intrinsic
def _floor(typingctx, x):  # type: ignore[no-untyped-def]
    return x(x), _llvm("floor")


@intrinsic
def _ceil(typingctx, x):  # type: ignore[no-untyped-def]
    return x(x), _llvm("ceil")


@intrinsic
def _trunc(typingctx, x):  # type: ignore[no-untyped-def]
    return x(x), _llvm("trunc")


@intrinsic
def _pow(typingctx, x, y):  # type: ignore[no-untyped-def]
    return x(x, x), _llvm("pow")


@intrinsic
def _copysign(typingctx, x, y):  # type: ignore[no-untyped-def]
    return x(x, x), _llvm("copysign")


@intrinsic
def _muladd(typingctx, x, y, z):  # type: ignore[no-untyped-def]
    """x y + z, fused where the processor can (llvm.fma would be a library call elsewhere)."""
    return x(x, x, x), _llvm("fmuladd")


@intrinsic
def _polynomial(typingctx, x, coefficients):  # type: ignore[no-untyped-def]
    """Estrin's scheme; one intrinsic, since Numba takes longer over as many calls.

    Neighbours are joined in pairs, the pairs in pairs ...: the processor waits for a logarithmic
    number of operations, where Horner's scheme makes it wait for each.
    """
    multiply_add = _llvm("fmuladd")

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
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
def _select(typingctx, condition, a, b):  # type: ignore[no-untyped-def]
    """``a if condition else b`` without a branch."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


# Adding "magic", 1.5 times the power of two where the spacing of numbers is 1, rounds to an
# integer n, and leaves n in the low bits of the sum m = magic + n. The next four read it there.


@intrinsic
def _power_of_two(typingctx, m):  # type: ignore[no-untyped-def]
    """2^n of m = magic + n, where 2^n is a normal number."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        (m,) = args
        constant, mantissa, bias = _constants(m)
        exponent = builder.shl(_bits(builder, m), constant(mantissa))
        return builder.bitcast(builder.add(exponent, constant(bias << mantissa)), m.type)

    return m(m), codegen


@intrinsic
def _powers_of_two(typingctx, m):  # type: ignore[no-untyped-def]
    """Two powers of two whose product is 2^n, which may overflow or be subnormal."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
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
def _is_odd(typingctx, m):  # type: ignore[no-untyped-def]
    """Whether n is odd."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        (m,) = args
        constant, _, _ = _constants(m)
        low = builder.and_(_bits(builder, m), constant(1))
        return builder.icmp_unsigned("!=", low, constant(0))

    return types.boolean(m), codegen


@intrinsic
def _negate_by(typingctx, x, m):  # type: ignore[no-untyped-def]
    """-x where n is 2 or 3 modulo 4, else x."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        x, m = args
        constant, _, _ = _constants(m)
        width = _integer(m).width
        second = builder.and_(_bits(builder, m), constant(2))
        sign = builder.shl(second, constant(width - 2))
        return builder.bitcast(builder.xor(_bits(builder, x), sign), x.type)

    return x(x, x), codegen


@intrinsic
def _parts(typingctx, x):  # type: ignore[no-untyped-def]
    """(k, m, 2^-k) with x = 2^k m and sqrt(1/2) <= m < sqrt(2), for a positive normal x."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
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
def _upper_half(typingctx, x):  # type: ignore[no-untyped-def]
    """x without the lower half of its mantissa: the square of the result is exact."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        (x,) = args
        constant, mantissa, _ = _constants(x)
        mask = constant(-1 << (mantissa + 2) // 2)
        return builder.bitcast(builder.and_(_bits(builder, x), mask), x.type)

    return x(x), codegen


def namespace(dtype: Any) -> dict[str, Any]:
    """Give the names that the text of a traced function uses.

    Parameters
    ----------
    dtype : dtype_like
        float64 or float32.

    Returns
    -------
    dict
        A new dict from each name of the kernel language to a function callable from jitted code,
        with arguments and result of this number type; each is compiled when first used.
        `const` makes a number of the type; `inf` and `nan` are numbers.

    Raises
    ------
    TypeError
        If `dtype` is another type.
    """
    number = np.dtype(dtype)
    if number not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise TypeError(f"elementary functions exist for float64 and float32, not for {number}")
    return dict(_functions(number))


@cache
def _functions(dtype: np.dtype) -> dict[str, Any]:
    T = dtype.type
    wide = dtype == np.float64

    def choose(for_float64: float, for_float32: float) -> Any:
        return T(for_float64 if wide else for_float32)

    def table(coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple:
        return tuple(T(c) for c in coefficients[not wide])

    zero, half, one, two, four = (T(c) for c in (0.0, 0.5, 1.0, 2.0, 4.0))
    inf, nan = T(np.inf), T(np.nan)
    magic = choose(6755399441055744.0, 12582912.0)
    exp_table, coth_table, sinh_table, cosh_table = map(table, (_EXP, _COTH, _SINH, _COSH))
    log_table, sin_table, cos_table, atan_table = map(table, (_LOG, _SIN, _COS, _ATAN))
    erf_table, erf_far_table, erfc_table = map(table, (_ERF, _ERF_FAR, _ERFC))

    # log(2) in two parts; the upper has 42 (16) bits, so that its multiples here are exact.
    per_log2 = T(1.4426950408889634)
    log2_upper = choose(0.6931471805598903, 0.693145751953125)
    log2_lower = choose(5.497923018708371e-14, 1.428606765330187e-06)

    # Exponential and hyperbolic functions: x = n log(2) + r, exp(x) = 2^n exp(r).

    exp_highest, exp_lowest = choose(710.0, 89.0), choose(-746.0, -105.0)  # inf and 0

    @scalar
    def exp_difference(x, low):  # type: ignore[no-untyped-def]
        """exp(x - low) for a low much smaller than the spacing of integers."""
        x = _select(x > exp_highest, exp_highest, x)
        x = _select(x < exp_lowest, exp_lowest, x)
        m = _muladd(x, per_log2, magic)
        n = m - magic
        r = _muladd(-n, log2_lower, _muladd(-n, log2_upper, x)) - low
        p, q = _powers_of_two(m)
        return (one + _muladd(r * r, _polynomial(r, exp_table), r)) * p * q

    @scalar
    def exp(x):  # type: ignore[no-untyped-def]
        return exp_difference(x, zero)

    expm1_lowest = choose(-60.0, -30.0)  # -1
    expm1_tiny = choose(2.0**-54, 2.0**-25)

    @scalar
    def expm1(x):  # type: ignore[no-untyped-def]
        y = _select(x > exp_highest, exp_highest, x)
        y = _select(y < expm1_lowest, expm1_lowest, y)
        m = _muladd(y, per_log2, magic)
        n = m - magic
        r = _muladd(-n, log2_lower, _muladd(-n, log2_upper, y))
        p = _power_of_two(m - one)  # half of 2^n, which overflows one step too early
        v = _muladd(p, _muladd(r * r, _polynomial(r, exp_table), r), p - half)
        return _select(_abs(x) < expm1_tiny, x, v + v)

    # With q = r coth(r), exp(2 r) = (q + r) / (q - r); with u = 2^-n and t = u^2, tanh(x) is
    # ((1 - t) q + (1 + t) r) / ((1 + t) q + (1 - t) r): nothing overflows, little cancels.
    tanh_highest = choose(400.0, 60.0)  # sech2 is 0

    @scalar
    def half_angle(x):  # type: ignore[no-untyped-def]
        a = _abs(x)
        a = _select(a > tanh_highest, tanh_highest, a)
        m = _muladd(-a, per_log2, magic)
        n = m - magic
        r = _muladd(n, log2_lower, _muladd(n, log2_upper, a))
        u = _power_of_two(m)
        z = r * r
        q = _muladd(z, _polynomial(z, coth_table), one)
        t = u * u
        return u, r, q, _muladd(one + t, q, (one - t) * r), _muladd(one - t, q, (one + t) * r)

    @scalar
    def tanh(x):  # type: ignore[no-untyped-def]
        _, _, _, denominator, numerator = half_angle(x)
        return _copysign(numerator / denominator, x)

    @scalar
    def sech2(x):  # type: ignore[no-untyped-def]
        u, r, q, denominator, _ = half_angle(x)
        return four * _muladd(q, q, -r * r) / (denominator * denominator) * u * u

    sinh_highest = choose(710.75, 89.7)  # inf
    n_most = choose(1022.0, 126.0)  # of normal 2^-n
    sinh_tiny = choose(2.0**-28, 2.0**-13)

    @scalar
    def hyperbola(a):  # type: ignore[no-untyped-def]
        a = _select(a > sinh_highest, sinh_highest, a)
        m = _muladd(a, per_log2, magic)
        n = m - magic
        r = _muladd(-n, log2_lower, _muladd(-n, log2_upper, a))
        z = r * r
        s = _muladd(r * z, _polynomial(z, sinh_table), r)
        c = z * _muladd(z, _polynomial(z, cosh_table), half)  # cosh(r) - 1
        # A quarter of 2^n and 2^-n: half of the result, which overflows one step too early.
        m_inverse = magic - n - two
        m_inverse = _select(m_inverse < magic - n_most, magic - n_most, m_inverse)
        return s, c, _power_of_two(m - two), _power_of_two(m_inverse)

    @scalar
    def sinh(x):  # type: ignore[no-untyped-def]
        a = _abs(x)
        s, c, p, q = hyperbola(a)
        v = _muladd(p - q, c, _muladd(p + q, s, p - q))
        return _copysign(_select(a < sinh_tiny, a, v + v), x)

    @scalar
    def cosh(x):  # type: ignore[no-untyped-def]
        s, c, p, q = hyperbola(_abs(x))
        v = _muladd(p + q, c, _muladd(p - q, s, p + q))
        return v + v

    @scalar
    def logistic(x):  # type: ignore[no-untyped-def]
        e = exp(-_abs(x))
        return _select(x < zero, e, one) / (one + e)

    # Logarithms: x = 2^k (1 + f), log(1 + f) = f - s (f - R) with s = f / (2 + f).

    smallest_normal = np.finfo(dtype).smallest_normal
    upscale, upscale_exponent = choose(2.0**54, 2.0**25), choose(54.0, 25.0)

    @scalar
    def log_near_one(f):  # type: ignore[no-untyped-def]
        s = f / (two + f)
        z = s * s
        return _muladd(-s, _muladd(-z, _polynomial(z, log_table), f), f)

    @scalar
    def log_parts(x):  # type: ignore[no-untyped-def]
        subnormal = x < smallest_normal
        k, m, _ = _parts(_select(subnormal, x * upscale, x))
        return k - _select(subnormal, upscale_exponent, zero), log_near_one(m - one)

    @scalar
    def log_ends(x, v):  # type: ignore[no-untyped-def]
        v = _select(x < inf, v, x)
        return _select(x > zero, v, _select(x == zero, -inf, nan))

    @scalar
    def log(x):  # type: ignore[no-untyped-def]
        k, v = log_parts(x)
        return log_ends(x, _muladd(k, log2_upper, _muladd(k, log2_lower, v)))

    @scalar
    def log2(x):  # type: ignore[no-untyped-def]
        k, v = log_parts(x)
        return log_ends(x, _muladd(v, per_log2, k))

    per_log10 = T(0.4342944819032518)
    log10_2_upper = choose(0.30102999566395283, 0.301025390625)
    log10_2_lower = choose(2.8363394551044964e-14, 4.605039066518657e-06)

    @scalar
    def log10(x):  # type: ignore[no-untyped-def]
        k, v = log_parts(x)
        v = _muladd(k, log10_2_lower, v * per_log10)
        return log_ends(x, _muladd(k, log10_2_upper, v))

    log1p_huge = choose(2.0**54, 2.0**26)  # 1 is negligible, the square does not overflow

    @scalar
    def log1p(x):  # type: ignore[no-untyped-def]
        larger, smaller = _select(x < one, one, x), _select(x < one, x, one)
        total = larger + smaller
        lost = smaller - (total - larger)  # by rounding
        k, m, scale = _parts(total)
        f = m - one
        v = log_near_one(_select(x < log1p_huge, _muladd(lost, scale, f), f))
        v = _copysign(_muladd(k, log2_upper, _muladd(k, log2_lower, v)), x)
        v = _select(x < inf, v, x)
        return _select(x > -one, v, _select(x == -one, -inf, nan))

    log_of_2 = T(0.6931471805599453)

    @scalar
    def asinh(x):  # type: ignore[no-untyped-def]
        a = _abs(x)
        huge = a > log1p_huge
        b = _select(huge, one, a)
        v = log1p(_select(huge, a, b + b * b / (one + _sqrt(_muladd(b, b, one)))))
        return _copysign(v + _select(huge, log_of_2, zero), x)

    @scalar
    def acosh(x):  # type: ignore[no-untyped-def]
        t = x - one
        huge = t > log1p_huge
        b = _select(huge, one, t)
        # One root of the product would be a number for t < -2.
        v = log1p(_select(huge, t, b + _sqrt(b) * _sqrt(b + two)))
        return v + _select(huge, log_of_2, zero)

    @scalar
    def atanh(x):  # type: ignore[no-untyped-def]
        a = _abs(x)
        return _copysign(half * log1p((a + a) / (one - a)), x)

    # Circular functions: x = n pi/2 + r.

    per_quarter = T(0.6366197723675814)
    furthest = choose(1e8, 4e6)

    if wide:
        # pi/2 in parts of 27 bits: n has at most 26, so that their multiples are exact.
        quarter1, quarter2 = 1.570796325802803, 9.920935739593517e-10
        quarter3, quarter4 = 5.721188709663575e-18, 1.6446256936324258e-26

        @scalar
        def quarter_turns(x):  # type: ignore[no-untyped-def]
            m = _muladd(x, per_quarter, magic)
            n = m - magic
            r = _muladd(-n, quarter2, _muladd(-n, quarter1, x))
            r = _muladd(-n, quarter4, _muladd(-n, quarter3, r))
            return m, _select(_abs(x) <= furthest, r, nan)

    else:
        # In double precision: single would take too many parts.
        quarter1, quarter2 = 1.570796325802803, 9.920935796805404e-10

        @scalar
        def quarter_turns(x):  # type: ignore[no-untyped-def]
            m = _muladd(x, per_quarter, magic)
            n = np.float64(m - magic)
            r = np.float32(_muladd(-n, quarter2, _muladd(-n, quarter1, np.float64(x))))
            return m, _select(_abs(x) <= furthest, r, nan)

    @scalar
    def circle(x):  # type: ignore[no-untyped-def]
        m, r = quarter_turns(x)
        z = r * r
        s = _copysign(_muladd(r * z, _polynomial(z, sin_table), r), r)
        c = _muladd(z, _muladd(z, _polynomial(z, cos_table), -half), one)
        return m, s, c

    @scalar
    def sin(x):  # type: ignore[no-untyped-def]
        m, s, c = circle(x)
        return _negate_by(_select(_is_odd(m), c, s), m)

    @scalar
    def cos(x):  # type: ignore[no-untyped-def]
        m, s, c = circle(x)
        return _negate_by(_select(_is_odd(m), s, c), m + one)

    @scalar
    def tan(x):  # type: ignore[no-untyped-def]
        m, s, c = circle(x)
        odd = _is_odd(m)
        return _select(odd, -c, s) / _select(odd, s, c)

    tan_3_8, tan_1_8 = T(1.0 + math.sqrt(2.0)), T(math.sqrt(2.0) - 1.0)  # of pi
    quarter_pi, half_pi = T(math.pi / 4.0), T(math.pi / 2.0)

    @scalar
    def angle(y, x):  # type: ignore[no-untyped-def]
        """atan(y / x) for y >= 0, x >= 0, with one division."""
        steep, middle = y > tan_3_8 * x, y > tan_1_8 * x
        numerator = _select(steep, -x, _select(middle, y - x, y))
        denominator = _select(steep, y, _select(middle, y + x, x))
        t = numerator / denominator
        z = t * t
        v = _muladd(t * z, _polynomial(z, atan_table), t)
        return _select(steep, half_pi, _select(middle, quarter_pi, zero)) + v

    @scalar
    def atan(x):  # type: ignore[no-untyped-def]
        return _copysign(angle(_abs(x), one), x)

    @scalar
    def asin(x):  # type: ignore[no-untyped-def]
        a = _abs(x)
        return _copysign(angle(a, _sqrt((one - a) * (one + a))), x)

    @scalar
    def acos(x):  # type: ignore[no-untyped-def]
        return two * angle(_sqrt(one - x), _sqrt(one + x))

    # Error function: erfc(a) is exp(-a^2) / (a + K) times a polynomial in (a - K) / (a + K).

    erf_centre = choose(3.0, 2.0)

    @scalar
    def erf(x):  # type: ignore[no-untyped-def]
        z = x * x
        a = _abs(x)
        near = _muladd(x, _polynomial(z, erf_table), x)
        inverse = one / (a + erf_centre)
        t = _muladd(-two * erf_centre, inverse, one)
        far = one - exp(-x * x) * (_polynomial(t, erf_far_table) * inverse)
        return _select(a < half, near, _copysign(far, x))

    erfc_centre = choose(4.0, 3.0)
    erfc_highest = choose(28.0, 11.0)  # 0

    @scalar
    def erfc(x):  # type: ignore[no-untyped-def]
        z = x * x
        a = _abs(x)
        b = _select(a > erfc_highest, erfc_highest, a)
        upper = _upper_half(b)
        lower = b - upper
        lost = ((upper * upper - z) + two * upper * lower) + lower * lower  # by rounding z
        lost = _select(a < erfc_highest, lost, zero)
        # w = 1 - t = 2 K / (b + K), with one Newton step: the sum had been rounded.
        inverse = one / (b + erfc_centre)
        w = two * erfc_centre * inverse
        error = _muladd(-w, b, _muladd(-w, erfc_centre, two * erfc_centre))
        w = _muladd(inverse, error, w)
        v = exp_difference(-z, lost) * (_polynomial(one - w, erfc_table) * w)
        return _select(x < zero, two - v, v)

    @scalar
    def sign(x):  # type: ignore[no-untyped-def]
        return _select(x > zero, one, _select(x < zero, -one, x))

    @scalar
    def logical_not(condition):  # type: ignore[no-untyped-def]
        return not condition

    return {
        "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "log2": log2, "log10": log10,
        "sqrt": _sqrt, "sin": sin, "cos": cos, "tan": tan, "asin": asin, "acos": acos,
        "atan": atan, "sinh": sinh, "cosh": cosh, "tanh": tanh, "sech2": sech2, "asinh": asinh,
        "acosh": acosh, "atanh": atanh, "erf": erf, "erfc": erfc, "logistic": logistic,
        "pow": _pow, "floor": _floor, "ceil": _ceil, "trunc": _trunc, "abs": _abs, "sign": sign,
        "select": _select, "logical_not": logical_not, "const": T, "inf": inf, "nan": nan,
    }  # fmt: skip
