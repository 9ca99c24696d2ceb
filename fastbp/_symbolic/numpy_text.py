"""NumPy backend of the kernel language: run an emitted text on arrays of any inexact dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fastbp._masked import unmasked

_PLAIN = {
    **{
        name: getattr(np, name)
        for name in (
            "exp expm1 log log1p log2 log10 sqrt sin cos tan sinh cosh tanh logical_not inf nan"
        ).split()
    },
    **{name: getattr(np, "arc" + name[1:]) for name in "asin acos atan asinh acosh atanh".split()},
    "pow": np.power,
}


class _ByRealPart(np.ndarray):
    """A complex array that is compared by its real part, as the complex step needs it."""

    _COMPARED = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(x) for x in inputs]
        if ufunc in self._COMPARED:
            return ufunc(*(x.real for x in plain))
        return np.asarray(getattr(ufunc, method)(*plain, **kwargs)).view(_ByRealPart)


def _logistic(select: Callable[..., Any], size: Callable[..., Any]) -> Callable[[Any], Any]:
    def logistic(x: Any) -> Any:
        e = np.exp(-size(x))
        return select(x >= 0, 1 + 0 * e, e) / (1 + e)

    return logistic


def _sech2(size: Callable[..., Any]) -> Callable[[Any], Any]:
    def sech2(x: Any) -> Any:
        e = np.exp(-2 * size(x))
        return 4 * e / ((1 + e) * (1 + e))

    return sech2


def ieee(function: Callable[..., float]) -> Callable[..., float]:
    """Return `function` with NaN or infinity where it would raise."""

    def call(*args: float) -> float:
        try:
            value = function(*map(float, args))
            return math.nan if isinstance(value, complex) else float(value)
        except OverflowError:
            return math.inf
        except (ValueError, ZeroDivisionError, TypeError):  # the last of a complex number inside
            return math.nan

    return call


def _elementwise(function: Callable[..., float], dtype: np.dtype) -> Callable[..., Any]:
    """Return a Python function of floats as one of arrays, evaluated in float64."""
    inner = np.frompyfunc(function, function.__code__.co_argcount, 1)
    return lambda *args: np.asarray(inner(*args), dtype=dtype)


def _refused(name: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        raise TypeError(f"{name} is evaluated for real dtypes only, but a complex one was given")

    return call


def _real(dtype: np.dtype) -> dict[str, Any]:
    return {
        "const": dtype.type,
        "select": np.where,
        "abs": np.abs,
        "sign": np.sign,
        "floor": np.floor,
        "ceil": np.ceil,
        "trunc": np.trunc,
        "fmod": np.fmod,
        "logistic": _logistic(np.where, np.abs),
        "sech2": _sech2(np.abs),
        "erf": _elementwise(lambda x: math.erf(x), dtype),
        "erfc": _elementwise(lambda x: math.erfc(x), dtype),
    }


def _complex(dtype: np.dtype) -> dict[str, Any]:
    def select(c: Any, a: Any, b: Any) -> Any:
        return np.where(c, a, b).view(_ByRealPart)

    def size(x: Any) -> Any:
        return select(np.real(x) < 0, -x, x)

    def of_real_part(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: function(np.real(np.asarray(x))).astype(dtype).view(_ByRealPart)

    def fmod(x: Any, y: Any) -> Any:
        real = np.fmod(np.real(x), np.real(y))
        whole = np.rint((np.real(x) - real) / np.real(y))
        return (real + 1j * (np.imag(x) - whole * np.imag(y))).astype(dtype).view(_ByRealPart)

    return {
        "const": dtype.type,
        "select": select,
        "fmod": fmod,
        "abs": size,
        **{name: of_real_part(getattr(np, name)) for name in ("sign", "floor", "ceil", "trunc")},
        "logistic": _logistic(select, size),
        "sech2": _sech2(size),
        "erf": _refused("erf"),
        "erfc": _refused("erfc"),
    }


@lru_cache(maxsize=512)
def compiled(
    text: str, extra_sources: tuple[tuple[str, str], ...], dtype: np.dtype
) -> Callable[..., Any]:
    """Return the function that the emitted `text` defines, for arrays of `dtype`."""
    real = dtype.kind == "f"
    namespace = {**_PLAIN, **(_real(dtype) if real else _complex(dtype))}
    opaque: dict[str, Any] = {"math": math, "np": np}
    for name, source in extra_sources:
        exec(source, opaque)
        namespace[name] = (
            _elementwise_opaque(opaque[name], dtype) if real else _refused("an untraced function")
        )
    exec(text, namespace)
    function: Callable[..., Any] = namespace["scalar"]
    return function


def _elementwise_opaque(function: Callable[..., float], dtype: np.dtype) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        inner = np.frompyfunc(ieee(function), len(args), 1)
        return np.asarray(inner(*args), dtype=dtype)

    return call


def evaluate(
    text: str, extra_sources: tuple[tuple[str, str], ...], args: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Run an emitted text on numbers or arrays.

    Parameters
    ----------
    text, extra_sources
        The text, and the sources of the untraced functions it calls.
    args : array_like
        One for each variable; they are broadcast. Whole numbers count as float64.

    Returns
    -------
    tuple of ndarray
        One fresh array for each output, of the broadcast shape and the arguments' dtype.
    """
    # Python's own numbers take the dtype of what they meet.
    args = tuple(
        a if isinstance(a, (int, float, complex)) else np.asarray(unmasked("the argument", a))
        for a in args
    )
    dtype = np.result_type(*args)
    if dtype.kind not in "fc":
        dtype = np.result_type(dtype, np.float64)
    if dtype.kind not in "fc":
        raise TypeError(f"real or complex numbers are expected, but the dtype given is {dtype}")
    arrays = [np.asarray(a, dtype=dtype) for a in args]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    if dtype.kind == "c":
        arrays = [a.view(_ByRealPart) for a in arrays]
    with np.errstate(all="ignore"):
        results = compiled(text, extra_sources, dtype)(*arrays)
        if not isinstance(results, tuple):
            results = (results,)
        return tuple(np.array(np.broadcast_to(np.asarray(r), shape), dtype=dtype) for r in results)
