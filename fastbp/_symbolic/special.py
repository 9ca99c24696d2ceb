"""Functions of ``numpy`` and ``scipy.special`` made of those that the kernels have.

Each is an expression with its derivative written out (`graph.ruled`), so that none
cancels or overflows where the function does not. The tests' bounds of the errors, in units of
ε = 2⁻⁵² times the true value, are 4, but 8 for sinc and ψ and 32 for log Γ; in float32, one more.
Where sinc's derivatives, and log Γ and ψ for x < 0, cross zero, ε counts times the larger of their
size and 1; where exp(-x²) or its like decays or grows, the rounding of x² is felt as well.

SciPy is not imported: its functions are known by their names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastbp._symbolic.graph import (
    Condition,
    Expr,
    add,
    both,
    compare,
    div,
    either,
    mul,
    neg,
    ruled,
    select,
    sub,
    unary,
)

__all__ = [
    "arctan2",
    "digamma",
    "erfcx",
    "floor_divide",
    "fmod",
    "hypot",
    "lgamma",
    "log_ndtr",
    "logaddexp",
    "logit",
    "ndtr",
    "remainder",
    "sinc",
    "xlogy",
]

# Chebyshev interpolation with 60 digits, as powers, lowest first; "error" is the largest relative
# one, in exact arithmetic with the coefficients as they stand.

# (1 + x) erfcx(x) in (x - 3.75) / (x + 3.75) for x >= 0; degree 25: error 7.1e-17
ERFCX = (
    0.691551176056433, -0.20683126504048674, 0.11479674120104293, -0.040647578516886475,
    -0.003099809054775309, 0.01875099723261036, -0.017275087308596098, 0.010070828133687842,
    -0.003971808570646647, 0.0008650452506392384, 7.062550046274473e-05, -0.00012112759802322473,
    2.7616406936261927e-05, 8.100233873211869e-06, -5.3478022759802295e-06, -1.5668065707097334e-07,
    7.84128474670254e-07, -6.546913905614965e-08, -1.136137376485079e-07, 1.6757255474043744e-08,
    1.691483217688766e-08, -2.8683987848606958e-09, -2.2720969835465396e-09, 3.660703420075688e-10,
    1.8782496878935065e-10, -2.666696579578428e-11,
)  # fmt: skip
# -(1 + x)^2 erfcx'(x) in (x - 3.75) / (x + 3.75) for x >= 0; degree 27: error 7.8e-18
ERFCX_SLOPE = (
    0.8225443105820747, -0.40739547457260383, 0.17741393850883777, 0.018871485155750715,
    -0.11049676631833606, 0.10485127203673512, -0.055185736803029385, 0.010988345303212476,
    0.008472700775030472, -0.009156779232185351, 0.0039574649745511255, -0.0004273609774826023,
    -0.0004392503956835943, 0.00020511486846564302, 1.478468267936786e-05, -3.619225039374831e-05,
    3.977250042377345e-06, 5.551828054676021e-06, -1.2752800569292377e-06, -8.844323152264537e-07,
    2.686655484713747e-07, 1.5430030937755377e-07, -4.7318584694318077e-08, -2.758897101689431e-08,
    6.50800675842754e-09, 4.141049347491629e-09, -5.094459099308252e-10, -3.5350372837305215e-10,
)  # fmt: skip
# (1 + x)^3 erfcx''(x) in (x - 3.75) / (x + 3.75) for x >= 0; degree 29: error 9.0e-17
ERFCX_CURVATURE = (
    1.9031057550601318, -1.1481540644757628, 0.2642144817498422, 0.4628688546823304,
    -0.6501271444879573, 0.3971481160418842, -0.05515631793306686, -0.12184870308193091,
    0.11541755775425058, -0.04050051756357686, -0.008771919976860372, 0.015740691836080154,
    -0.005696571052824804, -0.0009424894635618831, 0.0014063081712343943, -0.00018158777746288312,
    -0.00023391263530720297, 7.42003209592617e-05, 3.65845375912448e-05, -1.8158369533830627e-05,
    -6.251620603979036e-06, 3.8994041365685625e-06, 1.223785818710146e-06, -7.789213745836922e-07,
    -2.4646777111919095e-07, 1.3851108987620137e-07, 4.026106812631789e-08, -1.9045788362607382e-08,
    -3.59778907981469e-09, 1.45026799561125e-09,
)  # fmt: skip
# log Γ(x) / ((x - 1) (x - 2)) in 2 x - 3 for 1 <= x <= 2; degree 22: error 3.5e-17
LGAMMA = (
    0.4831289505409809, -0.07297994795715304, 0.01572785026864124, -0.003913560937626182,
    0.0010498186644489656, -0.0002945507015196472, 8.510090382507709e-05, -2.5094328668947195e-05,
    7.511391134979752e-06, -2.2742474102383936e-06, 6.948461695085761e-07, -2.1386323384115519e-07,
    6.622899723826762e-08, -2.0621027431854287e-08, 6.448537660005262e-09, -2.016947955623982e-09,
    6.34708063084356e-10, -2.0874620693971093e-10, 6.659994986020335e-11, -1.5395748006420787e-11,
    4.705387815328221e-12, -3.803618166622364e-12, 1.2510413599689193e-12,
)  # fmt: skip
# ψ(x) over x minus its zero, in 2 x - 3 for 1 <= x <= 2; degree 22: error 4.8e-17
DIGAMMA = (
    0.9510558760318328, -0.2118137106407303, 0.06013562106019684, -0.018550615381735008,
    0.005936795278301761, -0.0019350666648613071, 0.0006368880303865817, -0.00021074841138175561,
    6.995018825112794e-05, -2.3258242519113285e-05, 7.741234508636364e-06, -2.578093954045772e-06,
    8.589060721930695e-07, -2.863161166883193e-07, 9.543298288278275e-08, -3.162911147408454e-08,
    1.0527692435026686e-08, -3.7083753242807277e-09, 1.2469984616707403e-09, -2.7580994814377e-10,
    8.734528429142953e-11, -8.50550766013261e-11, 2.918622732168261e-11,
)  # fmt: skip
# The zero, its first part of 24 bits.
DIGAMMA_ZERO = (1.4616321325302124, 1.2438149938918909e-08)
# B_2k, the Bernoulli numbers, for k = 1, 2 …
BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798,
    -174611 / 330, 854513 / 138, -236364091 / 2730, 8553103 / 6,
)  # fmt: skip
SHIFT = 8  # from where the series with them are right to ε


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    *rest, highest = coefficients
    total = x.graph.const(highest)
    for c in reversed(rest):
        total = total * x + c
    return total


def _absolute(x: Expr) -> Expr:
    return unary("abs", x)


def _exp(x: Expr) -> Expr:
    return unary("exp", x)


def _log(x: Expr) -> Expr:
    return unary("log", x)


def _below(x: Expr, y: float) -> Condition:
    return compare("<", x, x.graph.const(y))


def _is(x: Expr, y: float) -> Condition:
    return compare("==", x, x.graph.const(y))


def negative(x: Expr) -> Condition:
    """Return the condition that the sign of x is minus, -0 included."""
    return either(_below(x, 0.0), both(_is(x, 0.0), _below(1.0 / x, 0.0)))


# Of two arguments.


def logaddexp(x: Expr, y: Expr) -> Expr:
    """Return log(exp x + exp y)."""
    d = sub(x, y)
    apart = select(compare(">=", x, y), x, y) + unary("log1p", _exp(-_absolute(d)))
    value = select(compare("==", x, y), x + math.log(2.0), apart)
    if y is neg(x):  # two slopes that cancel at 0
        return ruled(value, (unary("tanh", x), x))
    return ruled(value, (unary("logistic", d), x), (unary("logistic", -d), y))


def arctan2(y: Expr, x: Expr) -> Expr:
    """Return the angle of the point (x, y)."""
    g = x.graph
    a, b = _absolute(y), _absolute(x)
    diagonal = select(_is(a, 0.0), g.const(0.0), g.const(math.pi / 4.0))
    angle = select(compare("==", a, b), diagonal, unary("atan", div(a, b)))
    angle = select(negative(x), math.pi - angle, angle)
    # By the smaller ratio: x² + y² could overflow.
    steep = compare(">", a, b)
    p, q = div(x, y), div(y, x)
    s, t = y * (1.0 + p * p), x * (1.0 + q * q)
    by_y = select(steep, p / s, 1.0 / t)
    by_x = select(steep, 1.0 / s, q / t)
    return ruled(select(negative(y), -angle, angle), (by_y, y), (-by_x, x))


def hypot(x: Expr, y: Expr) -> Expr:
    """Return the root of x² + y², which do not overflow."""
    g = x.graph
    a, b = _absolute(x), _absolute(y)
    larger = compare(">=", a, b)
    long, short = select(larger, a, b), select(larger, b, a)
    ratio = div(short, long)
    none = both(_is(a, 0.0), _is(b, 0.0))  # not where the other is NaN
    value = select(none, long, long * unary("sqrt", 1.0 + ratio * ratio))
    infinite = either(_is(a, math.inf), _is(b, math.inf))
    value = select(infinite, g.const(math.inf), value)
    p, q = div(x, value), div(y, value)
    by_x = ruled(p, (q * q / value, x), (-(p * q / value), y))
    by_y = ruled(q, (-(p * q / value), x), (p * p / value, y))
    return ruled(value, (by_x, x), (by_y, y))


def _whole(x: Expr) -> Expr:
    return unary("floor", x + 0.5)


def fmod(x: Expr, y: Expr) -> Expr:
    """Return what is left of x, with its sign, after division by y."""
    value = x.graph.make("fmod", x, y)
    return ruled(value, (x.graph.const(1.0), x), (-_whole(div(sub(x, value), y)), y))


def _divided(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    """Return x // y and x % y, for y other than 0."""
    g = x.graph
    zero = g.const(0.0)
    left = g.make("fmod", x, y)
    apart = either(
        both(compare("<", left, zero), compare(">", y, zero)),
        both(compare(">", left, zero), compare("<", y, zero)),
    )
    whole = _whole(div(sub(x, left), y))
    return select(apart, whole - 1.0, whole), select(apart, add(left, y), left)


def remainder(x: Expr, y: Expr) -> Expr:
    """Return x % y, which has the sign of y."""
    whole, left = _divided(x, y)
    return ruled(left, (x.graph.const(1.0), x), (-whole, y))


def floor_divide(x: Expr, y: Expr) -> Expr:
    """Return x // y."""
    whole, _ = _divided(x, y)
    return ruled(select(_is(y, 0.0), div(x, y), whole), (x.graph.const(0.0), x))


def xlogy(x: Expr, y: Expr) -> Expr:
    """Return x log y, 0 where x is 0."""
    zero = x.graph.const(0.0)
    switched_off = both(_is(x, 0.0), compare("==", y, y))
    ratio = select(both(_is(x, 0.0), _is(y, 0.0)), zero, div(x, y))
    return ruled(select(switched_off, zero, mul(x, _log(y))), (_log(y), x), (ratio, y))


# Of one.


def _half_turns(x: Expr) -> tuple[Expr, Expr]:
    """Return sin(π x) and cos(π x) for x ≥ 0, with π multiplied by 1/2 at most."""
    whole = unary("floor", x)
    part = sub(x, whole)
    nearest = select(compare(">", part, x.graph.const(0.5)), 1.0 - part, part)
    sign = 1.0 - 2.0 * (whole - 2.0 * unary("floor", 0.5 * whole))
    sin, cos = (sign * unary("sin", math.pi * turn) for turn in (nearest, 0.5 - part))
    return sin, cos


def sinc(x: Expr) -> Expr:
    """Return sin(π x) / (π x), the integral of cos(π x t) over 0 < t < 1."""
    size = _absolute(x)
    u = math.pi * size
    s, c = _half_turns(size)
    value = select(_is(size, 0.0), x.graph.const(1.0), s / u)
    # The integrals of -t sin(u t) and -t² cos(u t); near 0 by series.
    near = _below(size, 0.3)
    square = u * u

    def series(odd: int) -> Expr:
        terms = [(-1) ** k / (math.factorial(2 * k + odd) * (2 * k + 3)) for k in range(10)]
        return -_polynomial(square, terms)

    slope = select(near, u * series(1), (c - value) / u)
    curvature = select(near, series(0), -value - 2.0 * slope / u)
    slope = math.pi * select(_below(x, 0.0), -slope, slope)
    return ruled(value, (ruled(slope, (math.pi**2 * curvature, x)), x))


def logit(x: Expr) -> Expr:
    """Return log(x / (1 - x))."""
    far = _log(x) - unary("log1p", -x)
    centred = 2.0 * x - 1.0
    value = select(_below(x, 0.25), far, 2.0 * unary("atanh", centred))
    slope = 1.0 / (x * (1.0 - x))
    return ruled(value, (ruled(slope, (centred * slope * slope, x)), x))


def _scaled_erfc(a: Expr) -> tuple[Expr, Expr, Expr, Expr]:
    """For a ≥ 0, return r = 1 / (1 + a), and exp(a²) erfc(a) over r.

    And the sizes of its first two derivatives, over r² and r³.
    """
    t = 1.0 - 7.5 / (a + 3.75)
    tables = (ERFCX, ERFCX_SLOPE, ERFCX_CURVATURE)
    value, slope, curvature = (_polynomial(t, table) for table in tables)
    return 1.0 / (1.0 + a), value, slope, curvature


def erfcx(x: Expr) -> Expr:
    """Return exp(x²) erfc(x)."""
    r, value, slope, curvature = _scaled_erfc(_absolute(x))
    value, slope, curvature = value * r, slope * r * r, curvature * r * r * r
    left = _below(x, 0.0)
    rise = 2.0 * _exp(x * x)
    value = select(left, rise - value, value)
    slope = select(left, 2.0 * x * rise - slope, -slope)
    curvature = select(left, 2.0 * rise * (1.0 + 2.0 * (x * x)) - curvature, curvature)
    return ruled(value, (ruled(slope, (curvature, x)), x))


def ndtr(x: Expr) -> Expr:
    """Return Φ(x), the normal distribution's."""
    r, value, _, _ = _scaled_erfc(math.sqrt(0.5) * _absolute(x))
    bell = _exp(-0.5 * (x * x))
    tail = 0.5 * (value * r * bell)
    density = (1.0 / math.sqrt(2.0 * math.pi)) * bell
    value = select(_below(x, 0.0), tail, 1.0 - tail)
    return ruled(value, (ruled(density, (-(x * density), x)), x))


def log_ndtr(x: Expr) -> Expr:
    """Return log Φ(x). Its derivative is ρ = φ / Φ, and that of ρ is -ρ (x + ρ)."""
    r, scaled, falling, _ = _scaled_erfc(math.sqrt(0.5) * _absolute(x))
    half_square = 0.5 * (x * x)
    bell = _exp(-half_square)
    tail = 0.5 * (scaled * r * bell)
    left = _below(x, 0.0)
    value = select(left, _log(0.5 * (scaled * r)) - half_square, unary("log1p", -tail))
    far = math.sqrt(2.0 / math.pi) * (1.0 + math.sqrt(0.5) * _absolute(x)) / scaled
    slope = select(left, far, (1.0 / math.sqrt(2.0 * math.pi)) * bell / (1.0 - tail))
    total = select(left, math.sqrt(0.5) * (falling * r / scaled), x + slope)
    return ruled(value, (ruled(slope, (-(slope * total), x)), x))


def _polygamma(x: Expr) -> tuple[Expr, Expr, Expr]:
    """Return ψ, ψ' and ψ'' for x > 0: of x + SHIFT by Stirling's series, and the recurrence."""
    g = x.graph
    near = _below(x, float(SHIFT))
    y = select(near, x + float(SHIFT), x)
    r = 1.0 / y
    z = r * r
    even = [2.0 * k for k in range(1, len(BERNOULLI) + 1)]
    pairs = list(zip(BERNOULLI, even, strict=True))
    psi = _log(y) - 0.5 * r - z * _polynomial(z, [b / k for b, k in pairs])
    slope = r + 0.5 * z + r * z * _polynomial(z, BERNOULLI)
    curvature = -(z + r * z + z * z * _polynomial(z, [b * (k + 1.0) for b, k in pairs]))
    sums = [g.const(0.0)] * 3
    for j in reversed(range(SHIFT)):
        part = 1.0 / (x + float(j))
        square = part * part
        sums = [sums[0] + part, sums[1] + square, sums[2] + part * square]
    return (
        psi - select(near, sums[0], g.const(0.0)),
        slope + select(near, sums[1], g.const(0.0)),
        curvature - select(near, 2.0 * sums[2], g.const(0.0)),
    )


def digamma(x: Expr) -> Expr:
    """Return ψ(x), the derivative of log Γ; for x < 0 that of 1 - x is reflected."""
    left = _below(x, 0.0)
    psi, slope, curvature = _polygamma(select(left, 1.0 - x, x))
    upper, lower = DIGAMMA_ZERO
    near_zero = (x - upper - lower) * _polynomial(2.0 * x - 3.0, DIGAMMA)
    g = x.graph
    middle = both(compare(">", x, g.const(1.0)), compare("<", x, g.const(2.0)))
    psi = select(middle, near_zero, psi)
    s, c = _half_turns(_absolute(x))
    pole = math.pi / s
    turned = c * pole
    psi = select(left, psi + turned, psi)
    slope = select(left, pole * pole - slope, slope)
    curvature = select(left, curvature + 2.0 * turned * pole * pole, curvature)
    return ruled(psi, (ruled(slope, (curvature, x)), x))


def lgamma(x: Expr) -> Expr:
    """Return log |Γ(x)|; for x < 0 that of -x is reflected."""
    size = _absolute(x)
    g = x.graph
    # Up to 3: shifted to 1 … 2, with its zeros at both ends as exact factors.
    first, last = _below(size, 1.0), compare(">", size, g.const(2.0))
    a = select(first, size, select(last, size - 2.0, size - 1.0))
    b = a - 1.0
    step = _log(select(first, size, select(last, size - 1.0, g.const(1.0))))
    small = a * b * _polynomial(a + b, LGAMMA) + select(first, -step, step)
    # Beyond, Stirling's series.
    near = _below(size, float(SHIFT))
    y = select(near, size + float(SHIFT), size)
    r = 1.0 / y
    terms = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1)]
    large = (y - 0.5) * (_log(y) - 1.0) + (0.5 * math.log(2.0 * math.pi) - 0.5)
    large = large + r * _polynomial(r * r, terms)
    product = size
    for j in range(1, SHIFT):
        product = product * (size + float(j))
    large = large - select(near, _log(product), g.const(0.0))
    value = select(compare("<=", size, g.const(3.0)), small, large)
    s, _ = _half_turns(size)
    reflected = math.log(math.pi) - _log(size) - _log(_absolute(s)) - value
    left = both(_below(x, 0.0), compare(">", x, g.const(-math.inf)))
    return ruled(select(left, reflected, value), (digamma(x), x))
