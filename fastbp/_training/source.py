"""Where rows come from that need not fit into memory: arrays, files, batches, Dask."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .._lock import LOCK
from .._parts import Marked, Rows, Statistic, along_tree
from ..losses import Loss, get_loss
from ..network import Network
from .far import Answers, Far, FarObjective, Question, Shape
from .pool import Pool
from .uncertainty import mark_of

__all__ = ["Source"]

_BLOCK = 8 << 20  # bytes of X that are read at a time, where parts allow that
_CHANGED = 4096  # rows that are changed at a time, so that they stay in the caches
_PAGE = 4096
_PARQUET_ROWS = 1 << 16

Path = str | PathLike[str]


class Source:
    """Rows that a fit reads again and again, a block at a time: `Source.from_files` and others.

    ``fit(net, source)`` and ``net.objective(source)`` take it in place of X and t, and
    ``validation=`` takes a second one. A block is read while the one before is computed, and sums
    have the bits of those over arrays of the same rows. SGD and Adam shuffle within blocks of
    8 MiB, which keep their order: there the bits are those of arrays that are shuffled alike, and
    files whose rows are sorted are best shuffled once beforehand. Nothing is kept in memory but
    blocks; there is no checkpoint.

    Attributes
    ----------
    n_rows : int
        B.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> X = np.column_stack([np.linspace(-1.0, 1.0, 50), np.ones(50)])
    >>> source = fastbp.Source.from_batches(lambda: ((x, np.sin(x[:, 0])) for x in (X, -X)), 100)
    >>> net = fastbp.Network(2, 3, output="identity")
    >>> result = fastbp.fit(net, source)
    >>> both = np.concatenate([X, -X])
    >>> bool((result.w == fastbp.fit(net, both, np.sin(both[:, 0])).w).all())
    True
    """

    def __init__(
        self,
        n_rows: int,
        tables: Callable[[], Iterable[tuple[Any, ...]]],
        split: Callable[[tuple[Any, ...]], tuple[Any, ...]] = tuple,
        *,
        reads: bool = True,
        gathers: bool = False,
        passing: bool = False,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Not for callers: use one of the class methods.

        ``tables()`` yields all rows in order, each time it is called, as tuples of what can be
        sliced; `split` makes (X, t) or (X, t, c) of a slice. `reads`: whether it is worth a thread
        to have them read ahead; `gathers`: whether there is one table of arrays; `passing`: whether
        a table may be overwritten by the next one; `columns`: the names of the inputs, if any.
        """
        self.n_rows = n_rows
        self.tables, self.split, self.reads, self.gathers = tables, split, reads, gathers
        self._passing, self.columns = passing, columns

    def __repr__(self) -> str:
        return f"<Source of {self.n_rows} rows>"

    @classmethod
    def from_arrays(
        cls, X: ArrayLike, t: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Source:
        """Return the rows of arrays, a memmap too.

        Parameters
        ----------
        X, t : array_like, shapes (B, N) and (B,) or (B, K)
        sample_weight : array_like, shape (B,), optional

        Returns
        -------
        source : Source
        """
        given = [X, t] if sample_weight is None else [X, t, sample_weight]
        arrays = tuple(boundary.as_array("rows", a) for a in given)
        reads = any(isinstance(a, np.memmap) for a in given)
        names = boundary.names_of(X)
        return cls(_length(arrays), lambda: [arrays], reads=reads, gathers=True, columns=names)

    @classmethod
    def from_files(
        cls, paths: Path | Sequence[Path], *, target: Any, sample_weight: Any = None
    ) -> Source:
        """Return the rows of files, one after the other.

        Parameters
        ----------
        paths : path or sequence of paths
            NumPy's ``.npy``, each (b, columns), which are mapped into memory; or Parquet, which
            needs ``pip install 'fastbp[dask]'`` or PyArrow.
        target : int, str, path or sequence of these
            Of npy the column of the targets, or columns, counted from 0; or a file of targets for
            each, (b,) or (b, K). Of Parquet the name of the column, or names. All columns that are
            neither targets nor weights are inputs, in their order.
        sample_weight : like target, optional
            One column.

        Returns
        -------
        source : Source

        Raises
        ------
        TypeError, ValueError
            Where files do not fit each other.
        ImportError
            For Parquet without PyArrow.
        """
        files = _paths(paths)
        if all(file.endswith(".npy") for file in files):
            return cls._from_npy(files, target, sample_weight)
        return cls._from_parquet(files, target, sample_weight)

    @classmethod
    def _from_npy(cls, files: list[str], target: Any, weight: Any) -> Source:
        tables = [[_mapped(file) for file in files]]
        columns: list[Any] = []
        for given in (target,) if weight is None else (target, weight):
            if _are_numbers(given):
                columns.append(given)
                continue
            if not isinstance(given, str | PathLike | list | tuple):
                raise TypeError(
                    f"target and sample_weight are columns, counted from 0, or files; got {given!r}"
                )
            others = _paths(given)
            if len(others) != len(files):
                raise ValueError(
                    f"there must be a file of targets, and of weights, for each of {len(files)} "
                    f"files; got {len(others)}"
                )
            columns.append(None)
            tables.append([_mapped(file) for file in others])
        for file, table in zip(files, tables[0], strict=True):
            if table.ndim != 2:
                raise ValueError(
                    f"{file} must hold rows of numbers, (b, columns); got shape {table.shape}"
                )
            if table.shape[1] != tables[0][0].shape[1]:
                raise ValueError(
                    f"{file} must hold rows of {tables[0][0].shape[1]} numbers, as the first; got "
                    f"shape {table.shape}"
                )
        whole = [*zip(*tables, strict=True)]
        n = sum(_length(each) for each in whole)
        taken = [k for given in columns if given is not None for k in np.atleast_1d(given)]
        n_columns = tables[0][0].shape[1]
        outside = [k for k in taken if not 0 <= k < n_columns]
        if outside:
            raise ValueError(f"there is no column {outside[0]}; the files have {n_columns}")
        inputs = [k for k in range(n_columns) if k not in taken]
        if not inputs:
            raise ValueError(
                f"{files[0]} has no column beside targets and weights; it has {n_columns}"
            )

        def read() -> list[tuple[NDArray, ...]]:
            for array in itertools.chain(*whole):
                _check_length(array)
            return whole

        def split(table: tuple[Any, ...]) -> tuple[Any, ...]:
            first, *others = table
            found = [first if given is None else _taken(first, given) for given in columns]
            for k, given in enumerate(columns):
                if given is None:
                    found[k] = others.pop(0)
            return (_taken(first, inputs) if taken else first, *found)

        return cls(n, read, split)

    @classmethod
    def _from_parquet(cls, files: list[str], target: Any, weight: Any) -> Source:
        try:
            with LOCK:
                from pyarrow import parquet
        except ImportError as error:
            raise ImportError("Parquet needs PyArrow: pip install pyarrow") from error
        targets = [target] if not isinstance(target, list | tuple) else list(target)
        weights = [] if weight is None else [weight]
        for name in (*targets, *weights):
            if not isinstance(name, str):
                raise TypeError(
                    f"columns of Parquet are called by their names; got {name!r} (the names of "
                    "NumPy's files end with .npy)"
                )
        if not targets:
            raise ValueError("target must be the name of a column, or names; got none")
        known = _columns_of_numbers(files[0])
        missing = [name for name in (*targets, *weights) if name not in known]
        if missing:
            raise ValueError(f"{files[0]} has no column {missing[0]!r}; it has {known}")
        for file in files[1:]:
            names = _columns_of_numbers(file)
            if {*names} != {*known}:
                raise ValueError(
                    f"{file} must have the columns {known}, as the first; it has {names}"
                )
        inputs = [name for name in known if name not in (*targets, *weights)]
        if not inputs:
            raise ValueError(f"{files[0]} has no column beside targets and weights; it has {known}")
        n = sum(parquet.read_metadata(file).num_rows for file in files)

        def tables() -> Iterator[tuple[Any, ...]]:
            for file in files:
                with parquet.ParquetFile(file) as opened:
                    for batch in opened.iter_batches(_PARQUET_ROWS):

                        def column(name: str, batch: Any = batch) -> NDArray:
                            return batch.column(name).to_numpy(zero_copy_only=False)

                        X = boundary.columns_as_array("X", [column(name) for name in inputs])
                        t = [column(name) for name in targets]
                        of = t[0] if isinstance(target, str) else boundary.columns_as_array("t", t)
                        yield (X, of, *(column(name) for name in weights))

        return cls(n, tables, columns=inputs)

    @classmethod
    def from_batches(
        cls, factory: Callable[[], Iterable[tuple[ArrayLike, ...]]], n_rows: int
    ) -> Source:
        """Return rows that a function yields.

        Parameters
        ----------
        factory : callable
            ``factory()`` yields (X, t) or (X, t, sample_weight) of some rows, the same rows in the
            same order each time that it is called, which is once a pass; it may use the arrays
            again for the next ones.
        n_rows : int
            All rows together.

        Returns
        -------
        source : Source
        """
        if not callable(factory):
            raise TypeError(
                f"factory must be a function that returns batches each time; got {factory!r}"
            )

        def tables() -> Iterator[tuple[Any, ...]]:
            for batch in factory():
                if not isinstance(batch, tuple) or len(batch) not in (2, 3):
                    raise TypeError("a batch must be a tuple (X, t) or (X, t, sample_weight)")
                arrays = tuple(boundary.as_array("a batch", a) for a in batch)
                _length(arrays)
                yield arrays

        return cls(boundary.positive("n_rows", n_rows), tables, passing=True)

    @classmethod
    def from_dask(cls, X: Any, t: Any, sample_weight: Any = None) -> Source:
        """Return the rows of Dask's arrays or dataframes, computed chunk by chunk at each pass.

        Parameters
        ----------
        X, t : dask arrays, dataframe and series
        sample_weight : dask array or series, optional

        Returns
        -------
        source : Source
        """
        import dask

        arrays = [dask_array(a) for a in (X, t, sample_weight) if a is not None]
        chunks = arrays[0].chunks[0]
        if len({len(a) for a in arrays}) > 1:
            raise ValueError(f"X and t must have the same rows; got {[len(a) for a in arrays]}")
        arrays = [a.rechunk({0: chunks, **{k: -1 for k in range(1, a.ndim)}}) for a in arrays]

        def tables() -> Iterator[tuple[Any, ...]]:
            for k in range(len(chunks)):
                computed = dask.compute(*(a.blocks[k] for a in arrays))
                yield tuple(boundary.unmasked("rows", a) for a in computed)

        return cls(sum(chunks), tables, columns=boundary.names_of(X))

    def bound(self, net: Network, loss: Loss, threads: int) -> Streamed:
        """Return what a fit asks: the rows checked once, by reading them."""
        far = Streamed(net, loss, self, threads)
        far.begin()
        return far

    def objective_of(
        self, net: Network, loss: str | Loss, l2: ArrayLike, threads: int | str
    ) -> FarObjective:
        """Return what `Network.objective` does."""
        far = self.bound(net, get_loss(loss), boundary.thread_count(threads))
        return FarObjective(far, boundary.penalty(l2, net.n_params))

    def blocks(self, rows: int) -> Iterator[tuple[Any, ...]]:
        """Yield (X, t) or (X, t, c) of so many rows at a time, of fewer at the end."""
        n = 0
        for table in _blocks(self.tables(), rows, self._passing):
            n += len(table[0])
            if self.reads:
                for array in table:
                    _touch(array)
            if n > self.n_rows:
                break
            yield self.split(table)
        if n != self.n_rows:
            more = " or more" if n > self.n_rows else ""
            raise ValueError(
                f"the source must yield {self.n_rows} rows at each pass; got {n}{more}"
            )


class Chosen:
    """Some rows of an array, which are taken when they are used."""

    def __init__(self, array: Any, rows: NDArray | Marked) -> None:
        self._array, self._rows = array, rows
        self.shape = (len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, some: slice) -> Chosen:
        return Chosen(self._array, self._rows[some])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        """Return them."""
        return np.asarray(self._array[np.asarray(self._rows)], dtype)

    def taken(self, room: NDArray) -> NDArray:
        """Return them, if they fit in memory that is there: new one takes four times as long."""
        array = self._array
        if array.dtype != room.dtype or not array.flags.c_contiguous:
            return np.asarray(self)
        rows = np.asarray(self._rows)
        return np.take(array, rows, axis=0, out=room, mode="clip")  # else there is a copy


class Streamed(Far):
    """The rows of a source for a network and a loss; X changed block by block.

    `given` is X, t, c and which rows of these, where they are arrays.
    """

    def __init__(self, net: Network, loss: Loss, source: Source, threads: int) -> None:
        self.net, self.loss = net, loss
        self.shape = Shape.of(source.n_rows, net.n_params)
        self.total, self.n_weighing = float(source.n_rows), source.n_rows
        self._source, self._threads = source, threads or 1
        self.given: tuple[NDArray, NDArray, NDArray | None, NDArray | Marked | None] | None = None
        self._change: Callable[[NDArray], NDArray] | None = None
        self._answers = Answers(net, loss, self.shape)
        self._own = threading.local()

    @classmethod
    def of_arrays(
        cls,
        net: Network,
        loss: Loss,
        given: tuple[NDArray, Any, NDArray | None],
        threads: int,
        rows: NDArray | Marked | None = None,
    ) -> Streamed:
        """Return (X, t, c), checked, or some of their rows, without a copy."""
        arrays: tuple[Any, ...] = tuple(a for a in given if a is not None)
        if rows is not None:
            arrays = tuple(Chosen(a, rows) for a in arrays)
        source = Source(len(arrays[0]), lambda: [arrays], reads=False, gathers=True)
        far = cls(net, loss, source, threads)
        far.given = (*given, rows)
        far.weigh(given[2] is not None)
        return far

    def changed(self, change: Callable[[NDArray], NDArray]) -> Streamed:
        """As `Far`."""
        other = Streamed(self.net, self.loss, self._source, self._threads)
        other.total, other.n_weighing = self.total, self.n_weighing
        other.given, other._change = self.given, change
        return other

    def begin(self) -> None:
        """Check all rows, and find Σ c and how many weigh."""
        if not len(self):
            raise ValueError("the mean loss needs at least one observation; the source has none")
        blocks = self._read(self._step(1))
        weighted = {self._checked(block, n, check_finite=True).c is not None for n, block in blocks}
        if len(weighted) > 1:
            raise ValueError("all rows of a source must have a weight, or none")
        self.weigh(weighted.pop())
        boundary.weight_sum(self.total, self.net.dtype)

    def ask(self, question: Question) -> Statistic:
        """As `Far`."""
        grain = self.shape.grain(question)
        if question.what != "matrix":
            grain = min(grain, self._step(grain) // self.shape.part)
        values = self._in_order(question, grain * self.shape.part)

        def known(lo: int, hi: int) -> Statistic | None:
            return None if hi - lo > grain else next(values)

        try:
            found = along_tree(known, Statistic.joined, 0, self.shape.n_parts)
            next(values, None)  # none is left, or it says so
            return found
        finally:
            values.close()

    def batches(self, rows: int, order: NDArray | None = None) -> Iterator[Rows]:
        """Yield all rows, so many at a time; of arrays in an order."""
        if order is None:
            for first, block in self._read(rows):
                yield self._checked(block, first)
            return
        (table,) = self._source.tables()
        *arrays, chosen = self.given or (*table, None)
        listed = None if chosen is None else np.asarray(chosen)
        for first in range(0, len(order), rows):
            some = order[first : first + rows]
            some = some if listed is None else listed[some]
            yield self._checked(tuple(Chosen(a, some) for a in arrays if a is not None), first)

    @property
    def gathers(self) -> bool:
        """Whether `batches` takes an order."""
        return self._source.gathers

    def mark(self) -> int | None:
        if not self.gathers:
            return None
        (table,) = self._source.tables()
        return mark_of(*(self.given[:3] if self.given else table))

    def _step(self, most: int) -> int:
        """Return the rows of a node of at most so many parts, whose X is not too large."""
        rows = most * self.shape.part
        while rows > self.shape.part and rows * self.net.n_inputs * 8 > _BLOCK:
            rows //= 2
        return rows

    def _in_order(self, question: Question, rows: int) -> Generator[Statistic, None, None]:
        """Yield the answers of one block after the other, some computed side by side."""

        def answer(first: int, block: tuple[Any, ...]) -> Statistic:
            own = self._own
            if not hasattr(own, "workspace"):
                own.workspace = np.empty(self._answers.room, self._answers.dtype)
            checked = self._checked(block, first, question)
            return self._answers(question, first // self.shape.part, checked, own.workspace)

        blocks = self._read(rows)
        if self._threads == 1:
            for first, block in blocks:
                yield answer(first, block)
            return
        waiting: deque[Future[Statistic]] = deque()
        with Pool(self._threads, "fastbp-source") as pool:
            for first, block in blocks:
                waiting.append(pool.submit(answer, first, block))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read(self, rows: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield where blocks begin, and blocks."""
        blocks = self._source.blocks(rows)
        return zip(itertools.count(step=rows), _ahead(blocks) if self._source.reads else blocks)

    def _checked(
        self,
        block: tuple[Any, ...],
        first: int,
        question: Question | None = None,
        *,
        check_finite: bool = False,
    ) -> Rows:
        """Return a block, X changed, as arrays that a question takes, or any.

        X may lie in memory that the next block of this thread overwrites.
        """
        X, *others = block
        t, c, *_ = [np.asarray(a) if isinstance(a, Chosen) else a for a in others] + [None]
        net, given = self.net, {"check_finite": check_finite}
        try:
            with boundary.counted_from(first):
                X = self._inputs(X, question, **given)
                t = np.asarray(boundary.targets(net, self.loss, t, len(X), False, **given))
                if c is not None:
                    c = boundary.per_observation(
                        "sample_weight", c, len(X), False, net.dtype, **given
                    )
                    if (c < 0).any():
                        raise ValueError(f"sample_weight must not be negative; got {c.min()}")
        except (TypeError, ValueError) as error:
            raise type(error)(f"in rows {first} to {first + len(X) - 1}: {error}") from error
        return Rows(X, t, c)

    def _inputs(
        self, X: NDArray | Chosen, question: Question | None, *, check_finite: bool
    ) -> NDArray:
        """Return X, checked and changed: where it lies, else in memory of this thread."""
        net = self.net
        if isinstance(X, Chosen):
            X = X.taken(self._room(len(X)))
        if X.shape[1:] == (net.n_inputs,) and not X.flags.c_contiguous:
            if self._change is None and question and self._answers.takes(question, X):
                return X
            X = _together(X, self._room(len(X)))
        X, _ = boundary.observations(X, net.n_inputs, net.dtype, check_finite=check_finite)
        if self._change is None:
            return X
        room = self._room(len(X))
        for first in range(0, len(X), _CHANGED):
            some = slice(first, first + _CHANGED)
            room[some] = self._change(X[some])
        return room

    def _room(self, rows: int) -> NDArray:
        """Return memory of this thread for some X, the same again and again."""
        room = getattr(self._own, "X", None)
        if room is None or len(room) < rows:
            room = self._own.X = np.empty((rows, self.net.n_inputs), self._answers.dtype)
        return room[:rows]


def _taken(table: NDArray, columns: Any) -> NDArray:
    """Return one column of a table, or some: a view where they lie beside each other."""
    if not np.ndim(columns):
        return table[:, columns]
    if (np.diff(columns) == 1).all():
        return table[:, columns[0] : columns[-1] + 1]
    return np.take(table, columns, axis=1)


def _together(rows: NDArray, room: NDArray) -> NDArray:
    """Copy rows that lie apart, each at once: in half the time of NumPy, which goes by numbers."""
    if rows.dtype != room.dtype or rows.strides[1] != rows.itemsize:
        return rows
    whole = np.dtype((np.void, rows.shape[1] * rows.itemsize))
    room.view(whole)[:] = rows.view(whole)
    return room


def _blocks(
    tables: Iterable[tuple[Any, ...]], rows: int, copies: bool
) -> Iterator[tuple[Any, ...]]:
    """Yield tables of so many rows: views where they lie in one, unless `copies` are wanted."""
    pieces: list[tuple[Any, ...]] = []
    have = 0
    for table in tables:
        at, n = 0, len(table[0])
        while at < n:
            end = min(at + rows - have, n)
            pieces.append(tuple(a[at:end].copy() if copies else a[at:end] for a in table))
            have, at = have + end - at, end
            if have == rows:
                yield _joined(pieces)
                pieces, have = [], 0
    if pieces:
        yield _joined(pieces)


def _joined(pieces: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    if len(pieces) == 1:
        return pieces[0]
    if len({len(piece) for piece in pieces}) > 1:
        raise ValueError("all rows of a source must have a weight, or none")
    whole = [*zip(*pieces, strict=True)]
    for each in whole:
        if len({array.shape[1:] for array in each}) > 1:
            shapes = ", ".join(map(str, dict.fromkeys(array.shape for array in each)))
            raise ValueError(f"batches must have rows of one shape; got {shapes}")
    return tuple(map(np.concatenate, whole))


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Yield items, the next one being made meanwhile."""
    with Pool(1, "fastbp-read") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _touch(array: Any) -> None:
    """Have the pages of an array read, if a file is mapped there."""
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        return
    if array.flags.c_contiguous and not array.flags.owndata:
        int(array.reshape(-1).view(np.uint8)[::_PAGE].sum())


def _length(arrays: Sequence[Any]) -> int:
    if not all(map(np.ndim, arrays)):
        raise TypeError("X, t and weights must be arrays, with an entry for each row")
    lengths = [len(a) for a in arrays]
    if len({*lengths}) > 1:
        raise ValueError(f"X, t and weights must have the same rows; got {lengths}")
    return lengths[0]


def _paths(given: Any) -> list[str]:
    files = [given] if isinstance(given, str | PathLike) else given
    if not isinstance(files, Iterable):
        raise TypeError(f"files are paths, or one; got {given!r}")
    files = boundary.in_order("files", files)
    if not files:
        raise ValueError("there must be at least one file; got none")
    return [fspath(file) for file in files]


def _mapped(file: str) -> np.memmap:
    """Return the array of a file, mapped into memory."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:
        raise ValueError(f"{file} can't be mapped as an array of NumPy: {error}") from error


def _check_length(array: Any) -> None:
    """Raise ValueError where a mapped file has been cut off: to read on would end the process."""
    # The map knows the length of its own file, also where another has its name by now.
    if array.base.size() < array.offset + array.nbytes:
        raise ValueError(f"{array.filename} has been cut off since it was opened: open it anew")


def _columns_of_numbers(file: str) -> list[str]:
    """Return the names of the columns of a file of Parquet, all of numbers."""
    from pyarrow import parquet, types

    try:
        schema = parquet.read_schema(file)
    except ValueError as error:
        raise ValueError(f"{file} can't be read as Parquet: {error}") from error
    names = columns_of_parquet(schema)
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{file} has two columns {name!r}")
        kind = schema.field(name).type
        if not any(of(kind) for of in (types.is_integer, types.is_floating, types.is_boolean)):
            raise TypeError(f"{file} must have columns of numbers; {name!r} is of {kind}")
    return names


def columns_of_parquet(schema: Any) -> list[str]:
    """Return the names of columns, of which an index of pandas without a name is none."""
    return [name for name in schema.names if not name.startswith("__index_level_")]


def _are_numbers(given: Any) -> bool:
    if isinstance(given, list | tuple):
        return bool(given) and all(map(boundary.is_integer, given))
    return bool(np.ndim(given) < 2 and np.asarray(given).dtype.kind in "iu")


def dask_array(given: Any, client: Any = None) -> Any:
    """Return a collection of Dask as an array whose chunks are known; it stays as it is.

    They are counted by the client of a cluster, if one is given, else by what Dask takes.
    """
    import dask.array

    # Classes are looked at, for a Delayed has whatever attribute it is asked for.
    if hasattr(type(given), "to_dask_array"):
        (lengths,) = dask.compute(given.map_partitions(len), scheduler=client)
        try:
            return given.to_dask_array(lengths=tuple(map(int, lengths)))
        except ValueError:  # of Parquet's columns Dask reads some files at once, and counts both
            given = given.to_dask_array()
    if not hasattr(given, "dask") or not hasattr(type(given), "chunks"):
        raise TypeError(f"X and t must be arrays or dataframes of Dask; got {type(given).__name__}")
    if np.isnan(given.shape).any():
        pieces = given.to_delayed()
        found = dask.compute(*map(dask.delayed(np.shape), pieces.ravel()), scheduler=client)
        shapes = np.reshape(found, (*pieces.shape, given.ndim))
        along = (np.moveaxis(shapes[..., k], k, 0) for k in range(given.ndim))
        chunks = tuple(tuple(each.reshape(len(each), -1)[:, 0].tolist()) for each in along)
        given = dask.array.Array(given.dask, given.name, chunks, meta=given._meta)
    return given
