"""Where user data is checked and converted: nothing behind this module validates anything.

Every function returns an array the kernels take as it is (dtype, C order), the given one where
it already fits, or raises one sentence: what was given and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeGuard

import numpy as np

from ._described import PROBABILITY_TOLERANCE, Described, DescribedLoss, Refused, joins
from ._masked import unmasked as unmasked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Refused"]

# The number of the first row, where what is checked is a block of many rows.
_FIRST: ContextVar[int] = ContextVar("first", default=0)
_CHECKED = 1 << 20  # numbers that are looked at in one go: what is found of each takes memory
_EXPANDED = 4 << 20  # bytes of probabilities that are made of classes at once


class Fixed:
    """A mixin: public attributes are set once. Compiled code holds addresses of what they are."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and hasattr(self, name):
            kind = type(self).__name__
            raise AttributeError(f"{name} of this {kind} can't be changed; make another {kind}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{name} of a {type(self).__name__} can't be deleted")
        super().__delattr__(name)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} {value!r}"[:120]


def _is_plain(value: Any, dtype: np.dtype) -> TypeGuard[NDArray]:
    """Whether compiled code takes an array as it is, of `dtype` itself and in C order."""
    own = type(value) is np.ndarray and value.dtype is dtype
    return own and value.flags.c_contiguous and value.flags.aligned


def _plain(array: NDArray, dtype: np.dtype) -> NDArray:
    """View an array of `dtype` as compiled code takes it: no subclass, and that very dtype.

    The check there knows classes and dtypes by their addresses, and arrays that come out of a
    pickle bring an equal dtype of their own.
    """
    if type(array) is np.ndarray and array.dtype is dtype:
        return array
    return np.asarray(array).view(dtype)


def _float64(value: Any) -> NDArray:
    """Return a copy in float64; an error where NumPy would make numbers of what are none."""
    given = np.asarray(value)
    if given.dtype.kind not in "fiubO":  # but text, dates, records and complex numbers
        raise TypeError(given.dtype)
    return np.array(given, np.float64)


def penalty(l2: Any, n_params: int) -> float | NDArray:
    """Return l2 as a number, or as one for each parameter (float64, read-only)."""
    if isinstance(l2, float) and 0.0 <= l2 < np.inf:
        return float(l2)
    unmasked("l2", l2)
    if isinstance(l2, bool | np.bool_):
        raise ValueError(f"l2 must be a number from 0 on; got {l2!r}")
    try:
        each = _float64(l2)
    except (TypeError, ValueError, OverflowError):
        each = np.array(np.nan)
    if each.shape not in ((), (n_params,)):
        raise ValueError(
            f"l2 must be a number from 0 on, or {n_params} of them, one for each parameter; got "
            f"{_described(l2)}"
        )
    wrong = ~(np.isfinite(each) & (each >= 0.0))
    if wrong.any():
        given = repr(l2) if each.ndim == 0 else f"{each[wrong][0]} for parameter {wrong.argmax()}"
        raise ValueError(f"l2 must be a number from 0 on; got {given}")
    if each.ndim == 0:
        return float(each)
    each = _plain(each, np.dtype(np.float64))
    each.flags.writeable = False
    return each


def bounds(given: Any, n_params: int, dtype: np.dtype) -> tuple[NDArray, NDArray] | None:
    """Return the least and the largest values of the parameters; None where there are none."""
    if given is None:
        return None
    if isinstance(given, str):
        if given != "positive":
            raise ValueError(f'bounds must be (low, high) or "positive"; got {given!r}')
        given = (0.0, np.inf)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(f'bounds must be (low, high) or "positive"; got {_described(given)}')
    both = []
    for name, value in zip(("low", "high"), given, strict=True):
        unmasked(f"bounds ({name})", value)
        try:
            each = _float64(value)
            both.append(np.broadcast_to(each, (n_params,) if each.ndim == 0 else each.shape))
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(
                f"bounds ({name}) must be a number or {n_params} of them; got {_described(value)}"
            ) from error
        if both[-1].shape != (n_params,):
            raise ValueError(
                f"bounds ({name}) must be a number or {n_params} of them, one for each parameter; "
                f"got {_described(value)}"
            )
    with np.errstate(over="ignore"):  # beyond float32 there is none
        low, high = (each.astype(dtype) for each in both)
    wrong = np.flatnonzero(~(low < high))
    if wrong.size:
        j = wrong[0]
        raise ValueError(
            f"each low bound must lie below its high one; parameter {j} has {low[j]} and {high[j]}"
        )
    return (low, high) if (low > -np.inf).any() or (high < np.inf).any() else None


def as_array(name: str, value: Any) -> NDArray:
    """Return what is given as an array, refusing integers that lose digits beside floats."""
    unmasked(name, value)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} must be an array of numbers; got {_described(value)}") from None
    if array.dtype.kind == "f":
        if hasattr(value, "dtypes") and hasattr(value, "columns"):
            _check_joined(name, (np.asarray(value[column]) for column in value.columns), array)
        elif isinstance(value, list | tuple):
            _check_joined(name, map(np.array, np.asarray(value, object).flat), array)
    return array


def columns_as_array(name: str, columns: Sequence[NDArray]) -> NDArray:
    """Return columns as one array, refusing integers that lose digits beside floats."""
    array = np.column_stack(columns)
    if array.dtype.kind == "f":
        _check_joined(name, columns, array)
    return array


def _check_joined(name: str, parts: Iterable[NDArray], array: NDArray) -> None:
    """Raise TypeError where parts of an array of floats were integers that NumPy rounded."""
    if (abs(array) >= _most_integer(array.dtype)).any():  # else the parts are not even made
        for part in parts:
            _check_integers(name, part, array.dtype)


def _most_integer(dtype: np.dtype) -> int:
    """Return up to where all integers are numbers of `dtype`."""
    return 2 ** (np.finfo(dtype).nmant + 1)


def _check_integers(name: str, array: NDArray, dtype: np.dtype) -> None:
    """Raise TypeError for integers beyond those that `dtype` holds."""
    limit = _most_integer(dtype)
    if array.dtype.kind in "iu" and array.size:
        if int(array.max()) > limit or int(array.min()) < -limit:
            raise TypeError(
                f"{name} holds integers beyond ±{limit}, which {dtype} can't hold without loss; "
                f"got {_described(array) if array.ndim else array}"
            )


def numbers(name: str, value: ArrayLike, dtype: np.dtype, *, check_finite: bool) -> NDArray:
    """Convert to a C-ordered array of `dtype`, refusing what would lose information.

    Python numbers and sequences of them, integers and booleans, and floats no wider than `dtype`
    are converted; wider floats, complex numbers, text and objects are not.
    """
    if _is_plain(value, dtype):
        if check_finite:
            _check_finite(name, value)
        return value
    given = as_array(name, value)
    if given.dtype.kind not in "fiub":
        got = _described(value)
        if hasattr(value, "to_numpy"):  # columns of pandas' own number types are objects to NumPy
            got = (
                f"a {type(value).__name__} of shape {given.shape}, whose dtype is {given.dtype} to "
                f"NumPy; where it holds numbers, give {name}.to_numpy(numpy.{dtype})"
            )
        raise TypeError(f"{name} must hold real numbers convertible to {dtype}; got {got}")
    # Python's own floats have no other type to be given in.
    own = hasattr(value, "dtype") or hasattr(value, "dtypes") or given.dtype.itemsize > 8
    if own and given.dtype.kind == "f" and given.dtype.itemsize > dtype.itemsize:
        raise TypeError(
            f"{name} is {given.dtype}, which {dtype} can't hold without loss; "
            f"convert it with {name}.astype(numpy.{dtype})"
        )
    _check_integers(name, given, dtype)
    with np.errstate(over="ignore"):
        array = _plain(np.require(given, dtype, ["C", "A"]), dtype)
    if check_finite:
        _check_finite(name, array)
    return array


def names_of(table: Any) -> list[str] | None:
    """Return the names of a table's columns, where it has names."""
    names = getattr(table, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return [*names]


def same_columns(name: str, table: Any, other: Any) -> None:
    """Raise ValueError where both name their columns and not alike: what is fitted has no names."""
    expected, got = names_of(table), names_of(other)
    if expected is not None and got is not None and expected != got:
        raise ValueError(f"{name} must have the columns {expected}, in order; got {got}")


@contextmanager
def counted_from(first: int) -> Iterator[None]:
    """Have messages number rows from `first` on."""
    token = _FIRST.set(first)
    try:
        yield
    finally:
        _FIRST.reset(token)


def _counted(place: tuple[int, ...]) -> tuple[int, ...]:
    """Return what a message calls a place."""
    return (place[0] + _FIRST.get(), *place[1:]) if place else place


def _check_finite(name: str, array: NDArray) -> None:
    if array.size <= _CHECKED and np.isfinite(array).all():
        return  # without what follows: 3 of 5 µs for 200 numbers
    place = _first_wrong(np.isfinite, np.atleast_1d(array))
    if place is not None:
        place = place[: array.ndim]
        raise ValueError(f"{name} must be finite; got {array[place]} at index {_counted(place)}")


def _first_wrong(right: Callable[[NDArray], NDArray], array: NDArray) -> tuple[int, ...] | None:
    """Return where the first entry, or row, is that is not right; some rows at a time."""
    rows = max(_CHECKED // max(array[:1].size, 1), 1)
    for first in range(0, len(array), rows):
        found = right(array[first : first + rows])
        if not found.all():
            row, *others = (int(k) for k in np.argwhere(~found)[0])
            return (first + row, *others)
    return None


def positive(name: str, value: SupportsIndex) -> int:
    """Check a size: a positive integer."""
    try:
        number = 0 if isinstance(value, bool) else value.__index__()
    except (AttributeError, TypeError):  # an array has one that may raise an error
        raise TypeError(f"{name} must be a positive integer; got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be a positive integer; got {value}")
    return number


def in_order(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return several; a set of names has another order in every process."""
    if isinstance(values, set | frozenset):  # not the keys of a dict, which have one
        raise TypeError(f"{name} must be in an order, as a list is; got {values!r}")
    return tuple(values)


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer; to Python True is one, to us a slip."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def flag(name: str, value: Any) -> None:
    """Raise TypeError unless a value is True or False: "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {value!r}")


def thread_count(threads: Any) -> int:
    """Check a number of threads; 0 stands for "auto"."""
    if threads == "auto":
        return 0
    if not is_integer(threads) or threads < 1:
        raise ValueError(f'threads must be a positive integer or "auto"; got {threads!r}')
    return int(threads)


def sigmas(net: Described) -> tuple[Any, ...]:
    """σ_1 … σ_K, or the softmax alone."""
    if joins(net.output):
        return (net.output,)
    return net.output if isinstance(net.output, tuple) else (net.output,)


def parameters(
    w: ArrayLike, n_params: int, dtype: np.dtype, *, check_finite: bool, name: str = "w"
) -> NDArray:
    """Check the flat parameter vector, (P,), or a direction in its space."""
    array = numbers(name, w, dtype, check_finite=check_finite)
    if array.shape != (n_params,):
        raise ValueError(f"{name} must have shape ({n_params},); got {array.shape}")
    return array


def observations(
    X: ArrayLike, n_inputs: int, dtype: np.dtype, *, check_finite: bool, name: str = "X"
) -> tuple[NDArray, bool]:
    """Check observations, (B, N), or one, (N,); returns them as (B, N) and whether it was one."""
    array = numbers(name, X, dtype, check_finite=check_finite)
    if array.ndim not in (1, 2) or array.shape[-1] != n_inputs:
        raise ValueError(
            f"{name} must have shape (B, {n_inputs}), or ({n_inputs},) for one observation; "
            f"got {array.shape}"
        )
    return (array[np.newaxis], True) if array.ndim == 1 else (array, False)


def per_observation(
    name: str,
    value: ArrayLike,
    n_samples: int,
    single: bool,
    dtype: np.dtype,
    *,
    check_finite: bool,
    n_outputs: int = 1,
) -> NDArray:
    """Check one number for each observation, (B,), or K, (B, K); for a single one, (K,) or one."""
    array = numbers(name, value, dtype, check_finite=check_finite)
    row = () if n_outputs == 1 else (n_outputs,)
    if single and array.shape == row:
        return array.reshape(1, *row)
    if array.shape != (n_samples, *row):
        expected = f"shape ({n_samples},), one entry an observation"
        if row:
            shape = f"{row} or (1, {n_outputs})" if single else f"({n_samples}, {n_outputs})"
            expected = f"shape {shape}, one entry for each output of an observation"
        elif single:
            expected = "a number or shape (1,), one entry an observation"
        raise ValueError(f"{name} must have {expected}; got {array.shape}")
    return array


@lru_cache(maxsize=8)
def unit_rows(K: int, dtype: np.dtype) -> NDArray:
    """Targets of each class."""
    return np.eye(K, dtype=dtype)


class ClassRows:
    """Classes, (B,), as probabilities, (B, K), of which those asked for are made."""

    def __init__(self, given: NDArray, n_outputs: int, dtype: np.dtype) -> None:
        place = _first_wrong(lambda t: (t >= 0) & (t < n_outputs) & (t == np.floor(t)), given)
        if place is not None:
            raise ValueError(
                f"classes are integers from 0 to {n_outputs - 1}, the last of {n_outputs} outputs; "
                f"got t[{_counted(place)[0]}] = {given[place]:g}"
            )
        self.classes = given
        self._rows = unit_rows(n_outputs, dtype)
        self.shape, self.dtype = (len(given), n_outputs), dtype

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, some: Any) -> NDArray:
        return self._rows.take(self.classes[some].astype(np.intp, copy=False), axis=0)

    def take(self, rows: NDArray, axis: int) -> NDArray:
        """Return some rows."""
        return self[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        """Return all of them."""
        return np.asarray(self[:], dtype)


def are_many(n_samples: int, n_outputs: int, dtype: np.dtype) -> bool:
    """Whether classes become probabilities some at a time, not all at once."""
    return n_samples * n_outputs * dtype.itemsize > _EXPANDED


def targets(
    net: Described,
    loss: DescribedLoss,
    t: ArrayLike | ClassRows,
    n_samples: int,
    single: bool,
    *,
    check_finite: bool,
) -> NDArray | ClassRows:
    """Check targets against their shape and the range of the loss.

    Those of cross entropy on a softmax are classes, or probabilities; they become the latter, or
    where they are many `ClassRows`, which may be given too.
    """
    if isinstance(t, ClassRows):
        return t
    K, dtype = net.n_outputs, net.dtype
    joined = loss.fuses_with_softmax and joins(net.output)
    if joined:
        given = as_array("t", t)
        if given.dtype.kind not in "iub":
            given = numbers("t", t, dtype, check_finite=check_finite)
        if given.shape == (n_samples,) or (single and given.ndim == 0):
            rows = ClassRows(given.reshape(n_samples), K, dtype)
            return rows if are_many(n_samples, K, dtype) else rows[:]
    array = per_observation(
        "t", t, n_samples, single, dtype, check_finite=check_finite, n_outputs=K
    )
    if joined:
        place = _first_wrong(_are_probabilities, array)
        if place is not None:
            raise ValueError(
                "probabilities must not be negative, and sum to 1 within "
                f"{PROBABILITY_TOLERANCE:g}; got t[{_counted(place)[0]}] = {array[place]}"
            )
        return array
    lowest, highest = loss.target_range
    if np.isfinite(lowest) or np.isfinite(highest):
        with np.errstate(over="ignore"):  # an end beyond float32 is infinite there
            place = _first_wrong(lambda t: (t >= lowest) & (t <= highest), array)
        if place is not None:
            raise ValueError(
                f"targets of the loss {loss.name!r} must lie in [{lowest:g}, {highest:g}]; "
                f"got t[{', '.join(map(str, _counted(place)))}] = {array[place]}"
            )
    return array


def _are_probabilities(rows: NDArray) -> NDArray:
    sums = np.add.accumulate(rows, axis=1, dtype=np.float64)[:, -1]  # as compiled code adds them
    return (rows >= 0).all(axis=1) & (abs(sums - 1.0) <= PROBABILITY_TOLERANCE)


def weights(
    sample_weight: ArrayLike | None,
    n_samples: int,
    single: bool,
    dtype: np.dtype,
    *,
    check_finite: bool,
) -> NDArray | None:
    """Check sample weights: none negative, a positive and finite sum."""
    if sample_weight is None:
        return None
    array = per_observation(
        "sample_weight", sample_weight, n_samples, single, dtype, check_finite=check_finite
    )
    if (array < 0).any():
        b = int(np.argmax(array < 0))
        raise ValueError(f"sample_weight must not be negative; got {array[b]} at index {b}")
    with np.errstate(over="ignore"):
        weight_sum(float(array.sum(dtype=np.float64)), dtype)
    return array


def weight_sum(total: float, dtype: np.dtype) -> None:
    """Refuse a sum of weights that is no number of `dtype`; its inverse must be one too."""
    info = np.finfo(dtype)
    if not float(info.tiny) <= total <= float(info.max):
        raise ValueError(f"sample_weight must have a positive, finite sum in {dtype}; got {total}")


def target_weight(value: ArrayLike | None, n_outputs: int, dtype: np.dtype) -> NDArray | None:
    """Check weights of the outputs, (K,): none negative, all finite."""
    if value is None:
        return None
    array = numbers("target_weight", value, dtype, check_finite=True)
    if array.shape != (n_outputs,):
        raise ValueError(
            f"target_weight must have shape ({n_outputs},), one for each output; got {array.shape}"
        )
    if (array < 0).any():
        k = int(np.argmax(array < 0))
        raise ValueError(f"target_weight must not be negative; got {array[k]} at index {k}")
    return array


def output(
    out: NDArray | None,
    shape: tuple[int, ...],
    dtype: np.dtype,
    inputs: Sequence[ArrayLike | None],
    name: str = "out",
) -> NDArray:
    """Check the caller's buffer, or make one; what is returned shares its memory.

    The inputs are the caller's: of one that was converted, what it was converted from.
    """
    if out is None:
        return np.empty(shape, dtype)
    unmasked(name, out)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{name} must be an array of shape {shape} and dtype {dtype}; got {_described(out)}"
        )
    if not (out.flags.writeable and out.flags.c_contiguous and out.flags.aligned):
        raise ValueError(f"{name} must be writable, aligned and in C order")
    for given in inputs:
        if given is None or isinstance(given, list | tuple):
            continue  # no memory that could be written to
        work: Any = 1  # not bounds alone: out may lie between the rows of a slice
        if np.may_share_memory(out, given, max_work=work):
            raise ValueError(f"{name} must not overlap the memory of an input")
    return _plain(out, dtype)


def inputs(
    net: Described, w: ArrayLike, X: ArrayLike, *, check_finite: bool
) -> tuple[NDArray, NDArray, bool]:
    """Check parameters and observations of a network; the last says whether it was one."""
    flag("check_finite", check_finite)
    w = parameters(w, net.n_params, net.dtype, check_finite=check_finite)
    X, single = observations(X, net.n_inputs, net.dtype, check_finite=check_finite)
    return w, X, single


def like_inputs(
    name: str,
    value: ArrayLike,
    X: NDArray,
    single: bool,
    dtype: np.dtype,
    *,
    check_finite: bool,
) -> NDArray:
    """Check a direction in the inputs: of the shape of X as it was given."""
    array, one = observations(value, X.shape[1], dtype, check_finite=check_finite, name=name)
    if one != single or array.shape != X.shape:
        expected = X.shape[1:] if single else X.shape
        raise ValueError(f"{name} must have the shape of X, {expected}; got {np.shape(value)}")
    return array


def loss_inputs(
    net: Described,
    loss: DescribedLoss,
    w: ArrayLike,
    X: ArrayLike,
    t: ArrayLike,
    sample_weight: ArrayLike | None,
    *,
    check_finite: bool,
) -> tuple[NDArray, NDArray, NDArray | ClassRows, NDArray | None]:
    """Check all that a mean loss is made of: w, and what `loss_data` does."""
    w = parameters(w, net.n_params, net.dtype, check_finite=check_finite)
    return w, *loss_data(net, loss, X, t, sample_weight, check_finite=check_finite)


def loss_data(
    net: Described,
    loss: DescribedLoss,
    X: ArrayLike,
    t: ArrayLike,
    sample_weight: ArrayLike | None,
    *,
    check_finite: bool,
) -> tuple[NDArray, NDArray | ClassRows, NDArray | None]:
    """Check the data of a mean loss: X, t, which may be `ClassRows`, and the weights."""
    flag("check_finite", check_finite)
    X, single = observations(X, net.n_inputs, net.dtype, check_finite=check_finite)
    B = len(X)
    if not B:
        raise ValueError(f"the mean loss needs at least one observation; got X of shape {X.shape}")
    t = targets(net, loss, t, B, single, check_finite=check_finite)
    return X, t, weights(sample_weight, B, single, net.dtype, check_finite=check_finite)
