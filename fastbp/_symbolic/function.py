"""What a traced function is: its texts, and all that is known of it by them.

The tracer is imported where a text is first needed: a process that finds its machine code stored
needs none of the functions that go by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import numpy as np

from fastbp._lock import importing
from fastbp._symbolic.texts import ActivationError, Extras, Scalar, Texts

__all__ = ["ActivationError", "Extras", "Function", "Scalar", "decorator", "named", "traced"]

if TYPE_CHECKING:  # a thousandth of a start, and nothing asks for them
    F = TypeVar("F", bound="Function")
    F_co = TypeVar("F_co", bound="Function", covariant=True)
    Options = ParamSpec("Options")

    class Decorator(Protocol[Options, F_co]):
        """What makes a `Function` of a scalar function, or where that is left out, a decorator."""

        @overload
        def __call__(self, fn: Scalar, *args: Options.args, **options: Options.kwargs) -> F_co: ...
        @overload
        def __call__(
            self, fn: None = None, *args: Options.args, **options: Options.kwargs
        ) -> Callable[[Scalar], F_co]: ...


class Function:
    """A scalar function with its first two derivatives, known by its text alone.

    Base of :class:`~fastbp.activations.Activation` and :class:`~fastbp.losses.Loss`. Immutable;
    equal where the texts are equal; a pickle of it does not need the module it was written in.

    Attributes
    ----------
    name : str
        The function's name.
    variables : tuple of str
        Names of the arguments, ``("z",)`` or ``("y", "t")``.
    """

    variables: tuple[str, ...] = ()
    __slots__ = ("__weakref__", "_key", "_made", "_make", "name")

    name: str
    _key: str
    _made: tuple[Texts, Extras] | None
    _make: Callable[[], tuple[Texts, Extras]] | None

    def __init__(self, name: str, texts: tuple[str, str, str], extras: Extras = ()) -> None:
        self._put(name=name, _key="", _made=(texts, extras), _make=None)

    def _put(self, **values: Any) -> None:
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def _parts(self) -> tuple[Texts, Extras]:
        if self._made is None:
            assert self._make is not None
            self._put(_made=self._make())
        made = self._made
        assert made is not None
        return made

    @property
    def texts(self) -> Texts:
        """The texts of order 0, 1 and 2."""
        return self._parts()[0]

    @property
    def extras(self) -> Extras:
        """Names and source texts of the functions that could not be traced, helpers first."""
        return self._parts()[1]

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.texts, self.extras)

    @property
    def digest(self) -> str:
        """SHA-256 of the texts, hexadecimal: equal for equal functions, whatever their name."""
        return _digest(self.texts, self.extras)

    @property
    def key(self) -> str:
        """What machine code of it is known by: its name, or the hash of its texts."""
        return self._key or self.digest

    @property
    def extra_sources(self) -> dict[str, str]:
        """Source text of every untraced function that the texts call, helpers first.

        Each is one ``def`` that uses ``math``, ``np`` and the functions before it.
        """
        return dict(self.extras)

    def source(self, order: int) -> str:
        """Return the text that computes v (order 0), v and v' (1) or v, v' and v'' (2)."""
        if order not in (0, 1, 2):
            raise ValueError(f"order is 0, 1 or 2, but {order!r} was given")
        return self.texts[order]

    def evaluate(self, order: int, *args: Any) -> tuple[np.ndarray, ...]:
        """Run the text of `order` in NumPy.

        Parameters
        ----------
        order : {0, 1, 2}
            How many derivatives.
        *args : array_like
            One for each variable, broadcast against each other; any real or complex dtype.
            Complex numbers are compared by their real part, as the complex step needs it.

        Returns
        -------
        tuple of ndarray
            v, and v' and v'' as asked for, of the broadcast shape and the arguments' dtype.
            Outside the function's domain they are NaN or infinite; there is no warning.

        Raises
        ------
        TypeError
            For a wrong number of arguments, a dtype that is not numeric, or complex numbers
            where the function calls erf or an untraced function.
        """
        text = self.source(order)
        if len(args) != len(self.variables):
            raise TypeError(
                f"{self!r} takes {', '.join(self.variables)}, but {len(args)} arguments were given"
            )
        return _in_numpy()(text, self.extras, args)

    def _output(self, order: int, *args: Any) -> Any:
        """Return the last output of `order`: a float for Python numbers, else as NumPy has it."""
        result = self.evaluate(order, *args)[order]
        if all(isinstance(a, (int, float)) for a in args):
            return result.item()
        return result[()]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        if self._key and other._key:
            return self._key == other._key
        return (self.texts, self.extras) == (other.texts, other.extras)

    def __hash__(self) -> int:
        return hash((self.texts, self.extras))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


@cache
def _tracer() -> Callable[..., tuple[Texts, Extras]]:
    with importing():
        from fastbp._symbolic.trace import trace
    return trace


@cache
def _in_numpy() -> Callable[..., tuple[np.ndarray, ...]]:
    with importing():
        from fastbp._symbolic.numpy_text import evaluate
    return evaluate


@lru_cache(maxsize=512)
def _digest(texts: tuple[str, ...], extras: Extras) -> str:
    with importing():
        from hashlib import sha256  # 3 ms, and no named function needs it

    parts = [*texts, *itertools.chain(*extras)]
    return sha256("\0".join(parts).encode()).hexdigest()


def named(kind: type[Function], name: str, *functions: Scalar | None, **more: Any) -> Any:
    """Make a function of the library's own, traced when its text is first needed.

    Its name says all that it is, parameters included, for a given release: so machine code of it
    is known by its name.
    """
    given = (*functions, *[None] * (3 - len(functions)))
    what = f"{kind.__name__.lower()} {name!r}"

    def make() -> tuple[Texts, Extras]:
        return _tracer()(given, kind.variables, what, check=False)

    function = kind.__new__(kind)
    function._put(name=name, _key=what, _made=None, _make=make, **more)
    return function


def traced(
    kind: type[F], fn: Scalar, *derivatives: Scalar | None, name: str | None, **more: Any
) -> F:
    """Make a function of the user's own of a scalar function and its derivatives, or None."""
    what = kind.__name__.lower()
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"the name is a text, but {name!r} was given")
    label = name or str(getattr(fn, "__name__", what))
    return kind(label, *_tracer()((fn, *derivatives), kind.variables, f"{what} {label!r}"), **more)


def decorator(
    kind: type[F],
) -> Callable[[Callable[Concatenate[Any, Options], Any]], Decorator[Options, F]]:
    """Let a function that makes a `kind` of a scalar function go without it: as a decorator."""

    def of(make: Callable[Concatenate[Any, Options], Any]) -> Decorator[Options, F]:
        @wraps(make)
        def either(fn: Any = None, *args: Options.args, **options: Options.kwargs) -> Any:
            if fn is None:
                return lambda function: make(function, *args, **options)
            return make(fn, *args, **options)

        return either

    return of
