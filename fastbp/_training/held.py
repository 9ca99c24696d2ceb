"""What judges a fit: observations that it has not seen, some at a time, and their losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._lock import cached_property
from .._parts import Marked
from ..activations import softmax
from ..losses import Loss
from ..network import Network, before_outputs
from .alike import Alike
from .jobs import Fold
from .source import Chosen

_AT_ONCE = 1 << 14

Targets = Sequence[Any] | NDArray  # of each network that is judged: arrays, or ClassRows


class Drawn(NamedTuple):
    """Folds that are drawn of what is not alike, so that no fit has seen what judges it."""

    n: int
    of: NDArray  # the fold of each row, -1 without one
    alike: Alike | None  # None where no rows are

    def left(self, number: int) -> Marked:
        """Return the rows that one of them does not hold out."""
        mask = self.of != number
        mask &= self.of >= 0
        return Marked(mask)

    def pieces(self, most: int) -> Iterator[Piece]:
        """Yield all rows, about so many at a time, those of a fold in their order."""
        if self.alike is None:
            for first in range(0, len(self.of), most):
                of = self.of[first : first + most]
                rows = [first + np.flatnonzero(of == number) for number in range(self.n)]
                if any(some.size for some in rows):
                    yield Piece.unlike(*enumerate(rows))
            return
        for some in self.alike.blocks(most):
            order = self.alike.order[some]
            of, given = self.of[order], np.argsort(order)
            at = [given[of[given] == number] for number in range(self.n)]
            like = self.alike.numbers(some)[np.concatenate(at)]
            yield Piece([(k, order[some]) for k, some in enumerate(at) if some.size], like)


class Piece(NamedTuple):
    """Rows of each of some folds, and which of all these are alike."""

    rows: list[tuple[int, NDArray]]
    like: NDArray

    @classmethod
    def unlike(cls, *rows: tuple[int, NDArray]) -> Piece:
        """Return rows of which none are alike."""
        some = [each for each in rows if each[1].size]
        return cls(some, np.arange(sum(each.size for _, each in some)))


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of what judges, those of like observations as one; infinite where a fit diverges.

    Of many they are found again whenever they are asked for, which takes time, and no memory.
    """

    blocks: Callable[[], Iterable[NDArray]]
    _known: dict[Losses | None, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, *blocks: NDArray) -> Losses:
        """Return losses that are known."""
        return cls(lambda: blocks)

    def above(self, others: Losses | None = None) -> tuple[float, float]:
        """Return by how much they are above others, or 0, on average, and its standard error."""
        if others not in self._known:
            self._known[others] = self._above(others)
        return self._known[others]

    def _above(self, others: Losses | None) -> tuple[float, float]:
        n, total, squares = 0, 0.0, 0.0
        against = repeat(np.zeros(())) if others is None else others.blocks()
        with np.errstate(all="ignore"):
            for block, other in zip(self.blocks(), against, strict=False):
                off = block - other
                k, of_block = len(off), off.sum()
                apart = of_block / k - total / n if n else 0.0
                off = off - of_block / k
                squares += (off * off).sum() + apart**2 * (n * k / (n + k))
                n, total = n + k, total + of_block
            error = np.sqrt(squares / (n - 1)) / np.sqrt(n) if n > 1 else 0.0
        return float(total / n), float(error)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.above()[0]


@dataclass(frozen=True)
class Held:
    """Observations that judge, each the fits of one fold: X, targets of each network, and c."""

    X: NDArray
    targets: Targets
    c: NDArray | None
    folds: Drawn | list[Fold]
    most: int  # that are judged at once; of more `_AT_ONCE` are

    def losses(self, net: Network, loss: Loss, w: list[list[NDArray | None]]) -> Losses:
        """Return those by the parameters of each fold's networks, None where one diverged."""
        n, total = self._size

        def one(number: int, rows: NDArray, room: NDArray) -> NDArray:
            found = np.zeros(len(rows))
            X = Chosen(self.X, rows).taken(room[: len(rows)])
            for of, t in zip(w[number], self.targets, strict=True):
                found += np.inf if of is None else losses_of_each(net, loss, of, X, t[rows])
            return found

        def blocks() -> Iterator[NDArray]:
            room = np.empty((0, net.n_inputs), net.dtype)
            for piece in self._pieces():
                if len(room) < len(piece.like):
                    room = np.empty((len(piece.like), net.n_inputs), net.dtype)
                c = self._weights(piece)
                each = np.concatenate([one(*some, room) for some in piece.rows])
                # Weighted so that the mean of these is that of all.
                yield np.bincount(piece.like, np.where(c > 0.0, each, 0.0) * c) * (n / total)

        return Losses.of(*blocks()) if n <= self.most else Losses(blocks)

    @cached_property
    def _size(self) -> tuple[int, float]:
        """How many there are that are not alike, and Σ c."""
        each = [(int(piece.like.max()) + 1, self._weights(piece).sum()) for piece in self._pieces()]
        return sum(n for n, _ in each), sum(total for _, total in each)

    def _weights(self, piece: Piece) -> NDArray:
        if self.c is None:
            return np.ones(len(piece.like))
        return np.concatenate([self.c[rows] for _, rows in piece.rows]).astype(np.float64)

    def _pieces(self) -> Iterator[Piece]:
        folds = self.folds
        if isinstance(folds, Drawn):
            yield from folds.pieces(self.most if len(folds.of) <= self.most else _AT_ONCE)
        elif sum(len(fold.held) for fold in folds) <= self.most:
            yield Piece.unlike(*((k, np.asarray(fold.held)) for k, fold in enumerate(folds)))
        else:
            for number, fold in enumerate(folds):
                for first in range(0, len(fold.held), _AT_ONCE):
                    yield Piece.unlike((number, fold.held[first : first + _AT_ONCE]))


def losses_of_each(net: Network, loss: Loss, w: NDArray, X: NDArray, t: NDArray) -> NDArray:
    """Return the loss of each observation, (B,); infinite where it is no number."""
    s = before_outputs(net).value(w, X).astype(np.float64)
    sigmas = boundary.sigmas(net)
    with np.errstate(all="ignore"):
        if sigmas[0] is softmax:
            s -= s.max(axis=1, keepdims=True)
            log_y = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
            each = -t * log_y if loss.fuses_with_softmax else loss(np.exp(log_y), t)
        else:
            pairs = [loss.with_output(sigma) for sigma in sigmas]
            columns = zip(pairs, s.reshape(len(s), -1).T, t.reshape(len(s), -1).T, strict=True)
            each = np.column_stack([ell(sigma(of), to) for (sigma, ell), of, to in columns])
    total = each.sum(axis=1)
    return np.where(np.isfinite(total), total, np.inf)
