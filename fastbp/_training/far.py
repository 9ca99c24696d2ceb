"""Observations that are elsewhere: what a fit asks of them, and what some rows answer.

Whoever holds rows answers for nodes of the tree of parts, and the answers of two nodes add up to
that of the node of both: so the last bits are those of a fit with all rows here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._lock import LOCK
from .._parts import Rows, Statistic
from ..kernels.machine.epoch_settings import FINITE, LOSS_SUM, N_RESULTS
from ..losses import Loss
from ..network import Network
from ..objective import add_penalty

_GRAIN = 4  # parts that a thread answers for at a time: below, handing them over takes too long


class Question(NamedTuple):
    """What is asked of all rows.

    Attributes
    ----------
    what : {"loss", "gradient", "matrix", "across", "hvp", "weights", "epoch"} or callable
        Σ c ℓ; that and its gradient; these and the Gauss–Newton matrix; the Jacobian at w times
        the residuals at the argument; the Hessian times each row of it; Σ c of each part; w after
        the batches of a block, with what the optimizer keeps; or what ``what(rows, *arguments)``
        says of the rows of a part, a `Statistic`.
    w : ndarray, shape (P,), or None
    scale, curvature
        As the drivers take them.
    arguments : tuple
    """

    what: str | Callable[..., Statistic]
    w: NDArray | None = None
    scale: float = 0.0
    curvature: int = 0
    arguments: tuple[Any, ...] = ()

    @property
    def is_of_batch(self) -> bool:
        """Whether the drivers of a batch answer, which take a workspace."""
        return self.what in ("loss", "gradient", "across")

    @property
    def is_matrix(self) -> bool:
        """Whether the answer is a matrix of the parameters."""
        return self.what == "matrix" or (self.what == "hvp" and len(self.arguments[0]) > 1)


class Shape(NamedTuple):
    """How n rows are parted: rows of a part, and parts of one whose sum is a matrix."""

    n: int
    part: int
    parts_of_matrix: int

    @classmethod
    def of(cls, n: int, n_params: int) -> Shape:
        """Return the partition that the drivers have."""
        with LOCK:
            from ..kernels.machine.sizes import matrix_part_size, part_size

        part = part_size(n)
        return cls(n, part, -(-matrix_part_size(n, n_params) // part))

    @property
    def n_parts(self) -> int:
        """Parts of all rows."""
        return -(-self.n // self.part)

    def parts_of_batch(self, batch: int) -> int:
        """Return the least parts, a power of two, that are a whole number of batches."""
        parts = batch // math.gcd(batch, self.part)
        if batch >= self.n or parts >= self.n_parts:
            return self.n_parts
        if parts & (parts - 1) == 0:
            return parts
        raise ValueError(
            f"batch_size must make up parts of {self.part} rows, or powers of two of them, so that "
            f"a worker has whole batches; got {batch}: take a power of two, or 48 times one"
        )

    def grain(self, question: Question, most: int = _GRAIN) -> int:
        """Most parts of a node that is answered for at once."""
        if question.what == "epoch":
            return self.n_parts
        if question.is_matrix:
            return self.parts_of_matrix
        return most if question.is_of_batch or question.what == "hvp" else 1


class Answers:
    """A network and its loss where rows are."""

    def __init__(self, net: Network, loss: Loss, shape: Shape) -> None:
        with LOCK:
            from ..kernels.calls.prepared import prepared
            from ..kernels.calls.threads import operations
            from ..kernels.machine.sizes import batch_workspace

        self._calls = prepared(net)
        self._net, self._loss, self._shape = net, loss, shape
        sizes = net.n_inputs, net.n_neurons, net.n_outputs
        self.dtype = np.dtype(net.dtype.name)  # NumPy's own
        self.room = batch_workspace(net.dtype, *sizes, shape.n, shape.part)
        self.operations = operations(shape.part, net.n_inputs, net.n_neurons)  # of a part

    def __call__(
        self, question: Question, first: int, rows: Rows, workspace: NDArray | None
    ) -> Statistic:
        """Answer for the rows of a node of at most a grain, whose first part is `first`."""
        rows, what = self._plain(rows, question), question.what
        X, t, c = rows
        if callable(what):
            return what(rows, *question.arguments)
        if what == "weights":
            return self._weights(first, c)
        net, calls = self._net, self._calls
        assert question.w is not None
        w = boundary.parameters(question.w, net.n_params, self.dtype, check_finite=False)
        if what == "matrix":
            return self._matrix(question, w, rows)
        if what == "hvp":
            return self._product(question, w, rows)
        if what == "across":
            return self._across(question, w, rows, workspace)
        if what == "epoch":
            return self._epoch(question, w, rows)
        g = np.empty_like(w) if what == "gradient" else None
        order = 0 if g is None else 1
        calls.prepare(order, self._shape.part)
        table, scale = calls.plan.loss_table(self._loss, order), question.scale
        total = calls.part(
            w, _table(X), table, None, t, c, scale, None, None, g, None, self._shape.part, workspace
        )
        return Statistic((total,) if g is None else (total, g))

    def takes(self, question: Question, X: NDArray) -> bool:
        """Whether rows are read where they lie although other numbers lie between them."""
        (apart, within), size = X.strides, X.itemsize
        is_table = within == size and apart % size == 0 and apart > X.shape[1] * size
        fits = is_table and X.flags.aligned and X.dtype is self.dtype
        return fits and question.what in ("loss", "gradient")

    def _plain(self, rows: Rows, question: Question) -> Rows:
        """Return arrays as entries take them."""
        X, *others = rows
        if not self.takes(question, X):
            X = _own(X, self.dtype)
        return Rows(X, *(_own(array, self.dtype) for array in others))

    def _weights(self, first: int, c: NDArray | None) -> Statistic:
        with LOCK:
            from ..kernels.calls.prepared import plain

        assert c is not None
        sums = np.zeros(self._shape.n_parts)
        sums[first] = plain("weights", self._net.dtype)(c, self._shape.part)
        return Statistic((sums, int(np.count_nonzero(c))))

    def _product(self, question: Question, w: NDArray, rows: Rows) -> Statistic:
        with LOCK:
            from ..kernels.machine.places import TANGENT

        calls = self._calls
        calls.prepare_tangent("hvp")
        table = calls.plan.loss_table(self._loss, 2)
        drive = calls.driver("hvp_part", calls.plan.table[TANGENT], table)
        (directions,) = question.arguments
        products = np.empty((len(directions), w.size), w.dtype)
        for p, product in zip(directions, products, strict=True):
            p = boundary.parameters(p, self._net.n_params, self.dtype, check_finite=False)
            drive(w, *rows, p, question.scale, product, self._shape.part)
        return Statistic((products,))

    def _across(
        self, question: Question, w: NDArray, rows: Rows, workspace: NDArray | None
    ) -> Statistic:
        with LOCK:
            from ..kernels.calls.shared_work import cotangents

        calls, part, (X, t, c) = self._calls, self._shape.part, rows
        assert t is not None
        calls.prepare(1, part)
        (trial,), y, g = question.arguments, np.empty(t.shape, self.dtype), np.empty_like(w)
        trial = boundary.parameters(trial, self._net.n_params, self.dtype, check_finite=False)
        data = X, None, None, None, c, 0.0
        calls.part(trial, *data, None, y, None, None, part, workspace)
        ybar = np.asarray(cotangents(y, t, c, question.scale), self.dtype)
        calls.part(w, *data, ybar, None, g, None, part, workspace)
        return Statistic((g,))

    def _matrix(self, question: Question, w: NDArray, rows: Rows) -> Statistic:
        with LOCK:
            from ..kernels.machine.places import MATRIX

        calls, shape = self._calls, self._shape
        calls.plan.need(1, MATRIX)
        for order in (1, 2):
            table = calls.plan.loss_table(self._loss, order)
        drive = calls.driver("matrix_part", calls.plan.table[MATRIX], table)
        g, G = np.empty_like(w), np.empty((w.size, w.size), w.dtype)
        part = shape.part * shape.parts_of_matrix
        return Statistic((drive(w, *rows, question.scale, question.curvature, g, G, part), g, G))

    def _epoch(self, question: Question, w: NDArray, rows: Rows) -> Statistic:
        with LOCK:
            from ..kernels.calls.optimizers import Epochs

        (rule, settings, free, each, batch), unit, factor, rates, state, left = question.arguments
        X, t, c = rows
        assert t is not None
        c = None if c is None else of_mean_one(c, factor)
        t = t if unit == 1.0 else (t / unit).astype(self.dtype)
        run = Epochs(
            self._calls, w.copy(), X, t, c, self._loss, rule, settings, free, each, batch,
            self._shape.n,
        )  # fmt: skip
        run.state[:], run.left[:] = state, left
        run.more(X, t, c, rates.astype(np.float64))  # whose dtype is NumPy's own, too
        return Statistic((run.w, run.state, run.left))


def _table(X: NDArray) -> NDArray:
    """Return the rows of which X is the first columns; of the last one no more may be read."""
    if X.flags.c_contiguous:
        return X
    apart = X.strides[0]
    return as_strided(X, (len(X), apart // X.itemsize), (apart, X.itemsize), writeable=False)


def of_mean_one(c: NDArray, factor: float) -> NDArray:
    """Return weights times a factor that makes their mean one."""
    return np.multiply(c, factor, dtype=np.float64).astype(c.dtype, copy=False)


def _own(array: Any, dtype: np.dtype) -> Any:
    """Return an array as entries take it: what was sent has a dtype of its own."""
    return None if array is None else boundary.numbers("rows", array, dtype, check_finite=False)


class _Gathered:
    """Copies of rows; a sum is those of both."""

    def __init__(self, rows: Rows) -> None:
        X, t, c = (None if array is None else array.copy() for array in rows)
        assert X is not None
        self.rows = Rows(X, t, c)

    def __add__(self, other: _Gathered) -> _Gathered:
        both = zip(self.rows, other.rows, strict=True)
        X, t, c = (None if a is None or b is None else np.concatenate([a, b]) for a, b in both)
        assert X is not None
        return _Gathered(Rows(X, t, c))


def _each(rows: Rows, step: int) -> Statistic:
    return Statistic((_Gathered(rows.weighing().of(slice(None, None, step))),))


class Far(ABC):
    """All rows of a fit, elsewhere; what is asked of them has the bits of a fit with them here.

    Attributes
    ----------
    net : Network
    loss : Loss
    shape : Shape
    total : float
        Σ c.
    n_weighing : int
        Rows that weigh.
    weighted : bool
        Whether there are weights.
    """

    net: Network
    loss: Loss
    shape: Shape
    total: float
    n_weighing: int
    weighted: bool
    ends_at_once = True

    @abstractmethod
    def ask(self, question: Question) -> Statistic:
        """Return the answer of all rows."""

    @abstractmethod
    def changed(self, change: Callable[[NDArray], NDArray]) -> Far:
        """Return the same rows, but for their X, which is changed part by part."""

    def __len__(self) -> int:
        return self.shape.n

    def mark(self) -> int | None:
        """Return what `mark_of` says of arrays that the caller may write to; None without any."""
        return None

    def weigh(self, weighted: bool) -> None:
        """Find Σ c, and how many rows weigh."""
        self.total, self.n_weighing, self.weighted = float(len(self)), len(self), weighted
        if weighted:
            (sums, self.n_weighing), _, _ = self.ask(Question("weights"))
            self.total = 0.0
            for each in sums.tolist():  # one after the other, as `drivers.batch.weights`
                self.total += each

    def reduce(self, what: Callable[..., Statistic], *arguments: Any) -> Statistic:
        """Return what a function says of all rows, as `over_parts`."""
        return self.ask(Question(what, arguments=arguments))

    def some(self, n: int) -> Rows:
        """Return about n rows that weigh, spread over all."""
        ((gathered,), _, _) = self.reduce(_each, -(-self.n_weighing // n))
        dtype = np.dtype(self.net.dtype.name)  # NumPy's own
        return Rows(*(_own(array, dtype) for array in gathered.rows))

    def batch(self, w: NDArray, scale: float, g: NDArray | None = None) -> float:
        """As `kernels.calls.shared_work.Sums`."""
        what = "loss" if g is None else "gradient"
        (total, *gradient), _, _ = self.ask(Question(what, w, scale))
        if g is not None:
            g[:] = gradient[0]
        return float(total)

    def matrix(self, w: NDArray, scale: float, curvature: int, g: NDArray, G: NDArray) -> float:
        """As `kernels.calls.shared_work.Sums`."""
        (total, g[:], G[:]), _, _ = self.ask(Question("matrix", w, scale, curvature))
        return float(total)

    def across(self, w: NDArray, trial: NDArray, scale: float, g: NDArray) -> None:
        """As `kernels.calls.shared_work.Sums`."""
        ((g[:],), _, _) = self.ask(Question("across", w, scale, arguments=(trial.copy(),)))


class Apart(Far):
    """Rows in blocks, each of which can be asked by itself."""

    @property
    @abstractmethod
    def counts(self) -> list[int]:
        """How many rows each block has."""

    @abstractmethod
    def visit(self, block: int, question: Question) -> Statistic:
        """Return the answer of a block."""


class FarObjective:
    """Of `Objective` what optimizers call."""

    def __init__(self, far: Far, l2: float | NDArray) -> None:
        self.far, self._l2 = far, l2

    def __call__(self, w: NDArray) -> tuple[float, NDArray]:
        """Loss and gradient."""
        g = np.empty(w.size, w.dtype)
        return self._evaluated(w, g), g

    def value(self, w: NDArray) -> float:
        """Loss alone."""
        return self._evaluated(w, None)

    def gauss_newton(self, w: NDArray) -> tuple[float, NDArray, NDArray]:
        """Loss, gradient and Gauss–Newton matrix."""
        with LOCK:
            from ..kernels.machine.places import CURVED

        far, g, G = self.far, np.empty(w.size, w.dtype), np.empty((w.size, w.size), w.dtype)
        loss = far.matrix(w, 1.0 / far.total, CURVED, g, G) / far.total
        return loss + add_penalty(self._l2, w, g, G), g, G

    def hvp(self, w: NDArray, p: NDArray) -> NDArray:
        """Hessian times p, or times each row of p, which are asked for at once."""
        far = self.far
        w, p = (np.ascontiguousarray(a, far.net.dtype) for a in (w, p))
        question = Question("hvp", w, 1.0 / far.total, arguments=(np.atleast_2d(p),))
        (products,), _, _ = far.ask(question)
        products = products.reshape(p.shape)
        if np.any(self._l2):
            products = (products + self._l2 * p).astype(w.dtype)
        return products

    def _evaluated(self, w: NDArray, g: NDArray | None) -> float:
        with LOCK:
            from ..kernels.calls.objective import parted
            from ..kernels.calls.prepared import plain

        w = np.ascontiguousarray(w, self.far.net.dtype)
        loss = self.far.batch(w, 1.0 / self.far.total, g) / self.far.total
        l2, each = parted(self._l2)
        return loss + plain("penalty", w.dtype)(l2, w, each, g) if l2 else loss


class FarEpochs:
    """`Epochs` of rows in their own order, which goes from block to block.

    Parameters
    ----------
    far : Apart
        Its blocks have whole batches, but for the last.
    w : ndarray, shape (P,)
        The start; moved in place.
    given : tuple
        Rule, settings, free, each and batch, as `Epochs` takes them.
    unit : float
        What targets are measured in.
    """

    def __init__(self, far: Apart, w: NDArray, given: tuple[Any, ...], unit: float) -> None:
        with LOCK:
            from ..kernels.calls.optimizers import RULES

        self._far, self._w, self._given = far, w, given
        factor = len(far) / far.total if far.weighted else 1.0
        self._scales = float(unit), factor
        rule, *_, self._batch = given
        self.state = np.zeros((RULES[rule][1], w.size), w.dtype)
        self.left = np.ones(N_RESULTS)

    def run(self, order: NDArray | None, rates: NDArray) -> float:
        """As `Epochs`, whose order is that which rows have."""
        assert order is None
        left, first = self.left, 0
        left[LOSS_SUM] = 0.0
        for block, count in enumerate(self._far.counts):
            batches = -(-count // self._batch)
            some = rates[first : first + batches]
            given = (self._given, *self._scales, some, self.state, left)
            answer = self._far.visit(block, Question("epoch", self._w, arguments=given))
            (self._w[:], self.state[:], left[:]), _, _ = answer
            first += batches
        return float(left[LOSS_SUM]) if left[FINITE] else math.nan
