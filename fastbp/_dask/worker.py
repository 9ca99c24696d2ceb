"""On a worker: what a block of rows is, and the plugin that answers for those it holds."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from distributed import Client, Worker, WorkerPlugin
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._parts import Node, Rows, Statistic, along_tree, middle
from .._training.far import Answers, Question, Shape
from ..losses import Loss
from ..network import Network
from .cluster import add_handler, ask, opened, parcel, remove_handler

_FITS = 16  # whose networks a worker keeps
_STEPS = 16  # the last that were abandoned
_AT_ONCE = 2e8  # operations, some 5 ms, that a thread does without a look at what was abandoned
_TURNS = 4  # at least of each thread, for they don't take the same time


def identity() -> tuple[str, str]:
    """Return what this process makes machine code for, and of which sources."""
    from ..kernels.machine.target import build_key, target

    return target(), build_key()


def make_block(net: Network, loss: Loss, first: int, end: int, X: Any, t: Any, c: Any) -> Rows:
    """Return rows as a worker keeps them: checked, in memory of their own, in C order.

    A slice would keep its chunk alive. `first` and `end` are the numbers of the first row, and of
    that behind the last.
    """
    given = {"X": X, "t": t, "sample_weight": c}
    arrays: dict[str, Any] = {name: None for name in given}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, tuple | list):  # columns of one chunk of a data frame, or chunks
            value = np.concatenate(value)
        array = boundary.numbers(name, value, net.dtype, check_finite=False)
        if len(array) != end - first:
            raise ValueError(
                f"{name} has {len(array)} of the rows {first} to {end - 1}: its chunks are not of "
                f"the sizes that Dask was told, but {name}.compute_chunk_sizes() counts them"
            )
        array = array.copy() if np.may_share_memory(array, value) else array
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise ValueError(f"{name} must be finite; row {first + int(bad.argmax())} is not")
        if name != "X" and array.ndim == 2 and array.shape[1] == 1:
            array = array.ravel()
        arrays[name] = array
    c = arrays["sample_weight"]
    if c is not None and (c < 0).any():
        row = first + int((c < 0).argmax())
        raise ValueError(f"sample_weight must not be negative; that of row {row} is")
    try:
        boundary.observations(arrays["X"], net.n_inputs, net.dtype, check_finite=False)
        t = np.asarray(
            boundary.targets(net, loss, arrays["t"], end - first, False, check_finite=False)
        )
    except ValueError as error:
        raise ValueError(f"among rows {first} to {end - 1}: {error}") from error
    return Rows(arrays["X"], t, c)


def with_inputs(change: Callable[[NDArray], NDArray], rows: Rows) -> Rows:
    """Return rows with another X."""
    return rows._replace(X=change(rows.X))


def change_block(rows: Rows, change: Callable[[Rows], Rows] | None = None) -> Rows:
    """Return what rows become, aligned; without a change, a task that brings them elsewhere."""
    rows = rows if change is None else change(rows)
    X, t, c = (None if a is None else np.require(a, None, ["C", "A"]) for a in rows)
    assert X is not None
    return Rows(X, t, c)


def cut(lo: int, hi: int, most: int) -> list[Node]:
    """Return nodes of at most `most` parts that make up a node."""
    if hi - lo <= most:
        return [(lo, hi)]
    at = middle(lo, hi)
    return cut(lo, at, most) + cut(at, hi, most)


@lru_cache(maxsize=64)
def largest_nodes(have: tuple[Node, ...], n_parts: int) -> tuple[Node, ...]:
    """Return the largest nodes of the tree over all parts that given ones, in order, make up."""
    found: list[Node] = []

    def look(lo: int, hi: int, inside: list[Node]) -> None:
        if sum(b - a for a, b in inside) == hi - lo:
            found.append((lo, hi))
        elif inside:
            at = middle(lo, hi)
            look(lo, at, [node for node in inside if node[1] <= at])
            look(at, hi, [node for node in inside if node[0] >= at])

    look(0, n_parts, list(have))
    return tuple(found)


def joined(have: Mapping[Node, Statistic], wanted: Iterable[Node]) -> list[Statistic]:
    """Return the sums of wanted nodes, which those that there are make up."""
    return [along_tree(lambda lo, hi: have.get((lo, hi)), Statistic.joined, *n) for n in wanted]


# A worker's address, the blocks (key, first part, end) it is asked for, and whom it is to ask.
Asked = tuple[str, list[tuple[str, int, int]], list[Any]]


def branches(workers: Sequence[tuple[str, list[Any]]], fan: int) -> list[Asked]:
    """Return trees of workers, at most `fan` side by side; those of one are neighbours."""
    each = -(-len(workers) // fan) or 1
    shares = [workers[k : k + each] for k in range(0, len(workers), each)]
    return [(*share[0], branches(share[1:], fan)) for share in shares]


def members(tree: Asked) -> Iterator[str]:
    """Yield the addresses of a tree."""
    yield tree[0]
    for below in tree[2]:
        yield from members(below)


async def answers_of(
    node: Client | Worker, tree: Asked, context: list[Any], **message: Any
) -> dict[Node, Statistic]:
    """Ask the first worker of a tree; OSError where it is lost.

    It is told the network, the loss and the shape (`context`) where it does not know the fit.
    """
    address, blocks, others = tree
    message |= {"blocks": blocks, "others": others}
    answer = await ask(node, address, "fastbp_answer", context=None, **message)
    if "unknown" in answer:
        answer = await ask(node, address, "fastbp_answer", context=context, **message)
    return dict(zip(map(tuple, answer["nodes"]), opened(answer["sums"]), strict=True))


class Abandoned(Exception):
    """The client does not wait for this any more."""


class Fit(NamedTuple):
    """What a worker knows of a fit."""

    context: list[Any]
    shape: Shape
    answers: Answers


class Answering(WorkerPlugin):
    """Answers on every worker, on those that join later too; all fits share one pool of threads.

    No task, and no state but the blocks that Dask itself keeps, and networks that can be sent anew.
    """

    name, idempotent = "fastbp", True

    def setup(self, worker: Worker) -> None:
        """Begin to answer."""
        self.worker = worker
        self.pool = ThreadPoolExecutor(worker.state.nthreads, "fastbp")
        self.own = threading.local()  # of each thread: malloc may take 32 page faults a time
        self.fits: OrderedDict[str, Fit] = OrderedDict()
        self.abandoned: deque[str] = deque(maxlen=_STEPS)
        add_handler(worker, "fastbp_answer", self.answer)
        add_handler(worker, "fastbp_abandon", self.abandon)
        add_handler(worker, "fastbp_identity", self.identity)

    def teardown(self, worker: Worker) -> None:
        """End it."""
        for name in ("fastbp_answer", "fastbp_abandon", "fastbp_identity"):
            remove_handler(worker, name)
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def identity(self) -> tuple[str, str]:
        """Return what this worker's machine code is for."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, identity)

    async def abandon(self, step: str) -> bool:
        """Stop work on a step that nobody waits for, from the next parts on."""
        self.abandoned.append(step)
        return True

    async def answer(
        self,
        fit: str,
        context: list[Any] | None,
        blocks: list[tuple[str, int, int]],
        others: list[Asked],
        **message: Any,
    ) -> dict[str, Any]:
        """Answer for the largest nodes of the blocks that are here, or with others below."""
        run = asyncio.get_running_loop().run_in_executor
        if context is not None:
            net, loss, shape = opened(context)
            self.fits[fit] = Fit(context, shape, await run(self.pool, Answers, net, loss, shape))
            while len(self.fits) > _FITS:
                self.fits.popitem(last=False)
        if fit not in self.fits:
            return {"unknown": True}
        self.fits.move_to_end(fit)
        known = self.fits[fit]

        async def below(tree: Asked) -> dict[Node, Statistic]:
            try:
                return await answers_of(self.worker, tree, known.context, fit=fit, **message)
            except OSError:
                return {}  # the client asks again

        own, *rest = await asyncio.gather(self._own(known, blocks, **message), *map(below, others))
        if others:
            for each in rest:
                own.update(each)
            ready = largest_nodes(tuple(sorted(own)), known.shape.n_parts)
            own = dict(zip(ready, await run(self.pool, joined, own, ready), strict=True))
        return {"nodes": [*own], "sums": parcel([*own.values()])}

    async def _own(
        self, known: Fit, blocks: list[tuple[str, int, int]], question: list[Any], step: str
    ) -> dict[Node, Statistic]:
        run = asyncio.get_running_loop().run_in_executor
        # One that is missing is on its way, or was lost: the client asks again.
        here = {
            (lo, hi): self.worker.data[key] for key, lo, hi in blocks if key in self.worker.data
        }
        ready = largest_nodes(tuple(sorted(here)), known.shape.n_parts)
        some, threads = self._work(known, opened(question), step, here, ready)
        ends = await asyncio.gather(*(run(self.pool, some) for _ in range(threads)))
        return dict(zip(ready, next(filter(None, ends), []), strict=True))

    def _work(
        self,
        known: Fit,
        question: Question,
        step: str,
        here: dict[Node, Rows],
        ready: tuple[Node, ...],
    ) -> tuple[Callable[[], list[Statistic] | None], int]:
        """Return what threads are to do, and how many; the last has the sums of what is ready."""
        _, shape, answers = known
        threads = self.worker.state.nthreads
        most = sum(hi - lo for lo, hi in here) // (_TURNS * threads)
        grain = shape.grain(question, min(most, int(_AT_ONCE / answers.operations)) or 1)
        grains = [(node, block) for block in here for node in cut(*block, grain)]
        threads = min(threads, len(grains))
        left, ended, done = iter(grains), itertools.count(1), dict[Node, Statistic]()

        def some() -> list[Statistic] | None:
            """Answer for one grain after the other: to hand each over would take 80 µs."""
            try:
                for node, block in left:
                    if step in self.abandoned:
                        raise Abandoned
                    first, end = node[0] - block[0], node[1] - block[0]
                    own = here[block].of(slice(first * shape.part, end * shape.part))
                    done[node] = answers(question, node[0], own, self._room(answers, question))
            finally:
                deque(left, maxlen=0)  # nobody else is to go on where one failed
            return joined(done, ready) if next(ended) == threads else None

        return some, threads

    def _room(self, answers: Answers, question: Question) -> NDArray | None:
        if not question.is_of_batch:
            return None
        room = getattr(self.own, "room", None)
        if room is None or room.size < answers.room or room.dtype is not answers.dtype:
            room = self.own.room = np.empty(answers.room, answers.dtype)
        return room
