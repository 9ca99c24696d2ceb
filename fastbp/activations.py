"""Activations: the named ones, and the user's own from a plain scalar function.

An :class:`Activation` is a differentiable function v: R → R with v' and v''. The named ones are
plain scalar functions too, below, turned into text by the same tracer as the user's
(`_symbolic.trace`); where the automatic derivative would cancel or overflow, it is written out.
All are finite for every finite z where their true value is.

Accuracy in float64: bounds of the error in units of ε = 2⁻⁵² times the true value, for all finite
z, with elementary functions right to 4 ε. Where a derivative crosses zero at some z ≠ 0 (†), ε
counts times the larger of its size and 1. Where exp(-z²) or its like decays (*), the rounding of
z² is felt: the bound is to be multiplied by 1 + z². What is smaller than 1e-300 is right to 1e-300.
The tests check this table with NumPy's elementary functions against mpmath; the errors found
there are at most three quarters of the bounds.

============  =====================================  =====  ======  ======
name          v(z)                                   v      v'      v''
============  =====================================  =====  ======  ======
tanh          tanh z                                 4      4       8
logistic      1 / (1 + exp(-z))                      6      8       12
softplus      log(1 + exp z)                         6      6       8
identity      z                                      0      0       0
one           1                                      0      0       0
relu          max(z, 0)                              0      0       0
leaky_relu    z, or 0.01 z for z < 0                 1      0       0
elu           z, or exp(z) - 1 for z < 0             4      4       4
selu          λ z, or λ α (exp(z) - 1) for z < 0     5      5       5
silu          z / (1 + exp(-z))                      8      8 †     8 †
gelu          z Φ(z), the normal distribution's Φ    6 *    6 * †   8 * †
mish          z tanh(log(1 + exp z))                 8      10 †    16 †
softsign      z / (1 + abs(z))                       3      3       4
arctan        arctan z                               4      2       4
sin           sin z                                  4      4       4
cos           cos z                                  4      4       4
gaussian      exp(-z²)                               5 *    6 *     6 * †
erf           erf z                                  4      6 *     8 *
exp           exp z                                  4      4       4
square        z²                                     1      0       0
log_cosh      log cosh z                             8      8       8
============  =====================================  =====  ======  ======

At the kinks of relu, leaky_relu and selu, v' and v'' are those of the left side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._symbolic.function import ActivationError, Function, Scalar, decorator, named, traced

__all__ = ["NAMES", "Activation", "ActivationError", "activation", "get_activation", "softmax"]


class Activation(Function):
    """A differentiable function v: R → R with its first two derivatives.

    Made by :func:`activation`, or one of the named ones in :mod:`fastbp.activations`. Immutable,
    hashable, equal to every activation with the same text, and picklable without the module it
    was written in.

    Examples
    --------
    >>> from fastbp.activations import softplus
    >>> softplus(0.0), softplus.derivative(0.0), softplus.second_derivative(0.0)
    (0.6931471805599453, 0.5, 0.25)
    """

    __slots__ = ()
    variables = ("z",)

    def __call__(self, z: Any) -> Any:
        """Return v(z): a float for a float, an array of z's shape and dtype for an array."""
        return self._output(0, z)

    def derivative(self, z: Any) -> Any:
        """Return v'(z), like :meth:`__call__`."""
        return self._output(1, z)

    def second_derivative(self, z: Any) -> Any:
        """Return v''(z), like :meth:`__call__`."""
        return self._output(2, z)


class Softmax:
    """The one `softmax`.

    Attributes
    ----------
    name : str
    steps : tuple of Activation
        What kernels make it and its loss of: exp and log1p.
    """

    __slots__ = ()
    name = "softmax"

    @property
    def steps(self) -> tuple[Activation, Activation]:
        return exp, _log1p

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name  # copies and pickles of it are it


softmax = Softmax()
"""In place of σ_1 … σ_K: y_k = exp(s_k) / Σ_l exp(s_l). It joins all outputs, so it is no
`Activation`, and no neuron has it."""


@decorator(Activation)
def activation(
    fn: Scalar | None = None,
    *,
    derivative: Scalar | None = None,
    second_derivative: Scalar | None = None,
    name: str | None = None,
) -> Activation | Callable[[Scalar], Activation]:
    """Make an activation of a scalar function; its derivatives are found exactly.

    Parameters
    ----------
    fn : callable
        A function of one number. It may use arithmetic, branches, loops of fixed length,
        ``math.*``, elementwise ``numpy`` functions and ``np.select``, helpers (jitted by Numba or
        not), closures and default arguments, and of ``scipy.special`` expit, logit, ndtr,
        log_ndtr, xlogy, erf, erfc, erfcx, gammaln and digamma. It must depend on its argument
        alone. What it captures is taken as it is now.
    derivative, second_derivative : callable, optional
        v' and v'' as scalar functions, where the automatic ones are not accurate enough or `fn`
        cannot be traced. With only v' given, v'' is differentiated from it. A function that
        cannot be traced (``math.gamma``, a loop until convergence) is taken as its source text;
        v' has to be given then, and v'' too if v' cannot be traced. It has to be a ``def`` in a
        file, made of numbers alone: arithmetic, comparisons, assignments, ``if``, ``while``,
        ``for`` over ``range``, ``return``, functions of ``math`` and ``numpy`` that kernels have
        at hand, and helpers of the same kind, none of which calls itself.
    name : str, optional
        `fn`'s own name if left out.

    Returns
    -------
    Activation
        Or a decorator, if `fn` is left out.

    Raises
    ------
    ActivationError
        Where it is not supported, in one sentence: file, line, cause.

    Notes
    -----
    The function is differentiated as it is written, branch by branch: at a kink the derivative
    is that of the branch taken (abs has the slope 0 at 0), and where a part overflows, as
    ``math.cosh(z)`` in ``math.log(math.cosh(z))``, so does its derivative. Not so exp(z) in
    log(1 + exp(z)), and exp(z), 1 + exp(z) and cosh(z) as denominators.

    Examples
    --------
    >>> import math, fastbp
    >>> @fastbp.activation
    ... def bent(z):
    ...     return (math.sqrt(z * z + 1.0) - 1.0) / 2.0 + z
    >>> bent
    Activation('bent')
    >>> bent(0.75), bent.derivative(0.75)
    (0.875, 1.3)
    """
    if not callable(fn):
        raise ActivationError(f"an activation is made of a function, but {fn!r} was given")
    if isinstance(fn, Activation):
        raise ActivationError(f"{fn!r} is an activation already")
    return traced(Activation, fn, derivative, second_derivative, name=name)


def get_activation(name: str | Activation) -> Activation:
    """Return the activation of that name, or the activation given.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one in the message; for `softmax`.
    TypeError
        For what is neither a name nor an activation.

    Examples
    --------
    >>> get_activation("tanh")
    Activation('tanh')
    """
    if isinstance(name, Activation):
        return name
    if str(name) == softmax.name:
        raise ValueError(
            "softmax joins all outputs of a network and is no function of one number, but "
            "an activation was expected"
        )
    if not isinstance(name, str):
        raise TypeError(
            f"an activation or its name is expected, but {name!r} was given "
            "(a function becomes an activation by fastbp.activation)"
        )
    if name not in _NAMED:
        raise ValueError(unknown("activation", name, NAMES))
    return _NAMED[name]


def unknown(what: str, name: str, names: tuple[str, ...]) -> str:
    """Return the message for an unknown name, with the nearest one if one is near."""
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    return f"there is no {what} {name!r}: {hint}"


_NAMED: dict[str, Activation] = {}


def _named(
    name: str,
    fn: Callable[..., Any],
    derivative: Scalar | None = None,
    second: Scalar | None = None,
) -> Activation:
    """Make and register a named activation; the tests compare it with mpmath, so no check here."""
    _NAMED[name] = named(Activation, name, fn, derivative, second)
    return _NAMED[name]


# The functions. e = exp(-|z|) is in (0, 1] for every z, so nothing that is made of it overflows,
# and v, v', v'' share it: one exponential an element. Branches are np.where: `if` would run the
# whole function twice.


def _decay(z: float) -> float:
    return math.exp(-abs(z))


def _capped_square(z: float) -> Any:
    """Return z², or 3000 where exp(-z²/2) is 0 anyway: 0 · z² must not be 0 · ∞."""
    return np.minimum(z * z, 3000.0)


identity = _named("identity", lambda z: z)
one = constant = _named("one", lambda z: 1.0)
square = _named("square", lambda z: z * z)
tanh = _named("tanh", math.tanh)
sin = _named("sin", math.sin)
cos = _named("cos", math.cos)
exp = _named("exp", math.exp)
_log1p = named(Activation, "log1p", math.log1p)


def _arctan_derivative(z: float) -> float:
    return 1.0 / (1.0 + z * z)


arctan = _named(
    "arctan",
    math.atan,
    _arctan_derivative,
    lambda z: -2.0 * ((z * _arctan_derivative(z)) * _arctan_derivative(z)),
)


relu = _named("relu", lambda z: np.where(z <= 0.0, 0.0, z))  # in this order NaN stays NaN
leaky_relu = _named("leaky_relu", lambda z: np.where(z <= 0.0, 0.01 * z, z))
# Clevert, Unterthiner & Hochreiter 2016, with α = 1.
elu = _named("elu", lambda z: np.where(z <= 0.0, math.expm1(z), z))
# Klambauer et al. 2017; the constants are theirs, in double precision.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
selu = _named(
    "selu", lambda z: np.where(z <= 0.0, _SELU_SCALE * _SELU_ALPHA * math.expm1(z), _SELU_SCALE * z)
)


def _sigma(z: float) -> Any:
    e = _decay(z)
    r = 1.0 / (1.0 + e)
    return np.where(z >= 0.0, r, e * r)


def _sigma_derivative(z: float) -> float:
    e = _decay(z)
    r = 1.0 / (1.0 + e)
    return e * r * r


logistic = _named(
    "logistic",
    _sigma,
    _sigma_derivative,
    lambda z: -(_sigma_derivative(z) * math.tanh(0.5 * z)),  # 2σ(z) - 1, uncancelled
)
softplus = _named(
    "softplus", lambda z: np.maximum(z, 0.0) + math.log1p(_decay(z)), _sigma, _sigma_derivative
)


# silu: Elfwing, Uchibe & Doya 2018. v' = σ + z σ', v'' = σ' (2 - z tanh(z/2)).
def _silu_second(z: float) -> float:
    e = _decay(z)
    r = 1.0 / (1.0 + e)
    return _sigma_derivative(z) * (2.0 - abs(z) * ((1.0 - e) * r))


silu = _named(
    "silu", lambda z: z * _sigma(z), lambda z: _sigma(z) + z * _sigma_derivative(z), _silu_second
)


# gelu: Hendrycks & Gimpel 2016. v' = Φ + z φ, v'' = φ (2 - z²), by erfc: no cancellation for z < 0.
def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-math.sqrt(0.5) * z)


def _normal_pdf(z: float) -> float:
    return math.exp(-0.5 * _capped_square(z)) * (1.0 / math.sqrt(2.0 * math.pi))


gelu = _named(
    "gelu",
    lambda z: z * _normal_cdf(z),
    lambda z: _normal_cdf(z) + z * _normal_pdf(z),
    lambda z: _normal_pdf(z) * (2.0 - _capped_square(z)),
)


# mish: Misra 2020. With E = exp(z) and n = E² + 2E, tanh(log(1 + E)) = n / (n + 2) =: m, so
# m' = 4 E (E + 1) / (n + 2)² and m'' = m' (1 + E / (1 + E) - 4 E (E + 1) / (n + 2)); for z >= 0
# numerators and denominators are multiplied by powers of e = 1 / E.
def _mish_parts(z: float) -> tuple[Any, Any, Any]:
    """Return the numerator of m, its reciprocal denominator d, and E (E + 1) d scaled."""
    e = _decay(z)
    n = np.where(z >= 0.0, 1.0 + 2.0 * e, e * (e + 2.0))
    d = 1.0 / (n + np.where(z >= 0.0, 2.0 * (e * e), 2.0))
    return n, d, np.where(z >= 0.0, 1.0 + e, e * (1.0 + e)) * d


def _mish(z: float) -> float:
    n, d, _ = _mish_parts(z)
    return z * (n * d)


def _mish_factor_derivative(z: float) -> float:
    _, d, q = _mish_parts(z)
    e = _decay(z)
    return 4.0 * (q * d * np.where(z >= 0.0, e * e, 1.0))


def _mish_derivative(z: float) -> float:
    n, d, _ = _mish_parts(z)
    return n * d + z * _mish_factor_derivative(z)


def _mish_second(z: float) -> float:
    slope = _mish_factor_derivative(z)
    _, _, q = _mish_parts(z)
    e = _decay(z)
    ratio = 1.0 + np.where(z >= 0.0, 1.0, e) / (1.0 + e) - 4.0 * q
    return 2.0 * slope + (z * slope) * ratio


mish = _named("mish", _mish, _mish_derivative, _mish_second)


def _shrinking(z: float) -> float:
    return 1.0 / (1.0 + abs(z))


softsign = _named(
    "softsign",
    lambda z: z * _shrinking(z),
    lambda z: _shrinking(z) * _shrinking(z),
    lambda z: -2.0 * (np.sign(z) * (_shrinking(z) * _shrinking(z) * _shrinking(z))),
)


def _gaussian(z: float) -> float:
    return math.exp(-_capped_square(z))


gaussian = _named(
    "gaussian",
    _gaussian,
    lambda z: -2.0 * (z * _gaussian(z)),
    lambda z: (4.0 * _capped_square(z) - 2.0) * _gaussian(z),
)


def _erf_derivative(z: float) -> float:
    return 2.0 / math.sqrt(math.pi) * math.exp(-(z * z))


erf = _named("erf", math.erf, _erf_derivative, lambda z: -2.0 * (z * _erf_derivative(z)))


# For |z| < 1: log(1 + (cosh z - 1)) with cosh z - 1 = m² / (2 (1 + m)), m = exp(-|z|) - 1;
# else |z| - log 2 + log(1 + exp(-2|z|)). One expm1 and one log1p serve both, and tanh.
def log_cosh_at(z: float) -> Any:
    """Return log cosh z."""
    a = abs(z)
    m = math.expm1(-a)
    e = 1.0 + m
    rest = math.log1p(np.where(a < 1.0, m * m / (2.0 * e), e * e))
    return np.where(a < 1.0, 0.0, a - math.log(2.0)) + rest


def log_cosh_curvature(z: float) -> float:
    """Return 1 / cosh² z."""
    from fastbp._symbolic.graph import sech2

    return sech2(z)


def log_cosh_slope(z: float) -> Any:
    """Return tanh z."""
    m = math.expm1(-abs(z))
    e = 1.0 + m
    size = -m * (1.0 + e) / (1.0 + e * e)
    return np.where(z < 0.0, -size, size)


log_cosh = _named("log_cosh", log_cosh_at, log_cosh_slope, log_cosh_curvature)

NAMES = tuple(_NAMED)
_NAMED["constant"] = one  # the same under its other name
