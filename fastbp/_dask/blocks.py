"""On the client: blocks of rows on the workers of a cluster, and one answer for all of them.

Rows become blocks, each a node of the tree of parts, some 8 a worker, made by one graph and kept as
futures: Dask makes again what is lost. A step is no task. The client sends its question to every
worker, which answers for the largest nodes that it holds, and adds the answers along the tree. So
the last bits depend on nothing but the number of rows.
"""

from __future__ import annotations

import asyncio
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any

import dask
import dask.array as da
from distributed import Client
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._parts import Node, Rows, Statistic, along_tree
from .._training.far import Apart, Question, Shape
from .._training.source import dask_array
from .._training.uncertainty import outside
from ..losses import Loss
from ..network import Network
from . import cluster, worker

_EACH = 8  # blocks of a worker: as many may move where one joins
_LOOK = 2.0  # seconds between two looks at who is there
_PING = 5.0  # seconds after which a worker that has not answered is asked whether it is alive
_MOST_ASKED = 200  # workers that the client asks each,
_MOST_ANSWERED = 64 << 20  # and bytes of their answers;
_FAN = 8  # where there are more, so many, each of which asks as many others
_MOST_LOSSES = 5  # of all workers that hold rows, without an answer in between


class Blocks(Apart):
    """Rows on the workers of a cluster.

    Parameters
    ----------
    client : Client
    net, loss : Network, Loss
    X, t, c
        Collections of Dask, or arrays, of the same rows; c may be None.
    n_params : int, optional
        P of the network that they are for, if it is not `net`.
    by_matrix : bool
        Whether a Gauss–Newton matrix will be asked for, whose parts are larger.
    batch : int, optional
        Rows of a batch, whole ones of which a block is to have.
    timeout : float
        Seconds without a sign of life after which to give up.
    """

    def __init__(
        self,
        client: Client,
        net: Network,
        loss: Loss,
        X: Any,
        t: Any,
        c: Any,
        *,
        by_matrix: bool,
        batch: int | None = None,
        timeout: float,
        n_params: int | None = None,
    ) -> None:
        self.client, self.timeout = client, timeout
        client.register_plugin(worker.Answering())
        self._known: dict[str, tuple[str, str]] = {}  # what machine code each makes
        self._where: dict[int, str] = {}  # block → worker
        self._looked = 0.0
        arrays = _arrays(client, net, X, t, c)
        self.shape = Shape.of(len(arrays[0]), n_params or net.n_params)
        self._answer_for(net, loss)
        up = client.sync(self._checked)
        n_parts = self.shape.n_parts
        most = 1 << ((-(-n_parts // (_EACH * len(up)))).bit_length() - 1)
        least = self.shape.parts_of_matrix if by_matrix else 1
        if batch is not None:
            least = self.shape.parts_of_batch(batch)
        self.nodes = worker.cut(0, n_parts, max(most, least))
        self._place(arrays, sorted(up))
        client.sync(self._settle)
        self.weighted = c is not None
        self.weigh(self.weighted)
        boundary.weight_sum(self.total, net.dtype)

    def _answer_for(self, net: Network, loss: Loss) -> None:
        self.net, self.loss, self._ident = net, loss, uuid.uuid4().hex
        self._context = cluster.parcel((net, loss, self.shape))

    def _bounds(self, node: Node) -> tuple[int, int]:
        part, n = self.shape.part, self.shape.n
        return node[0] * part, min(node[1] * part, n)

    def _place(self, arrays: list[Any], up: list[str]) -> None:
        """Have the blocks made: one graph, or scattered where the rows are here."""
        bounds = [self._bounds(node) for node in self.nodes]
        near = [up[node[0] * len(up) // self.shape.n_parts] for node in self.nodes]
        if not any(isinstance(array, da.Array) for array in arrays):
            size = sum(0 if array is None else array.nbytes for array in arrays)
            warnings.warn(
                f"{size / 1e6:.0f} MB of rows are sent to the workers; if one is lost, so is the "
                "fit. Have workers read them: dask.array, dask.dataframe",
                stacklevel=outside(),
            )
            self.futures = []
            for (first, end), address in zip(bounds, near, strict=True):
                rows = [None if array is None else array[first:end] for array in arrays]
                block = worker.make_block(self.net, self.loss, first, end, *rows)
                self.futures += self.client.scatter([block], workers=[address], hash=False)
            return
        pieces = [self._pieces(array, bounds) for array in arrays]
        run, make = uuid.uuid4().hex, dask.delayed(worker.make_block, pure=False)
        todo = []
        for i, (first, end) in enumerate(bounds):
            # Only where the last task of a block runs: restricted ones may wait for ever.
            with dask.annotate(workers=[near[i]], allow_other_workers=True):
                rows = [None if of is None else of[i] for of in pieces]
                name = f"fastbp-{run}-{i}"
                todo.append(make(self.net, self.loss, first, end, *rows, dask_key_name=name))
        self.futures = self.client.compute(todo)

    def _pieces(self, array: Any, bounds: list[Node]) -> list[Any] | None:
        if array is None:
            return None
        lengths = tuple(end - first for first, end in bounds)
        if not isinstance(array, da.Array):
            array = da.from_array(array, chunks=(lengths, *array.shape[1:]))
        chunks = {0: lengths, **({1: -1} if array.ndim == 2 else {})}
        return list(array.rechunk(chunks, method="tasks").to_delayed().ravel())

    def changed(self, change: Callable[[NDArray], NDArray]) -> Blocks:
        """As `Far`."""
        return self.become(partial(worker.with_inputs, change))

    def become(
        self, change: Callable[[Rows], Rows], net: Network | None = None, loss: Loss | None = None
    ) -> Blocks:
        """Return what becomes of the rows; for another network, weights may change too."""
        new: Blocks = object.__new__(Blocks)
        new.__dict__.update(self.__dict__)
        new.futures = [
            self.client.submit(
                worker.change_block,
                future,
                change,
                workers=[self._where[i]],
                allow_other_workers=True,
                pure=False,
            )
            for i, future in enumerate(self.futures)
        ]
        new._where = {}
        self.client.sync(new._settle)
        if net is not None and loss is not None:
            new._answer_for(net, loss)
            new.weigh(self.weighted)
        return new

    # ---- who is there ------------------------------------------------------------------------

    async def _checked(self) -> dict[str, int]:
        """Return the workers and their threads, all of which give the same bits."""
        deadline = time.monotonic() + self.timeout
        task = None
        while True:
            there = await cluster.workers(self.client)
            new = [address for address in there if address not in self._known]
            asked = [self._alive(address) for address in new]
            for address, said in zip(new, await asyncio.gather(*asked), strict=True):
                if said is not None:  # else it left, or is not ready yet
                    self._known[address] = said
            up = {address: n for address, n in there.items() if address in self._known}
            if up:
                break
            # A cluster that adapts begins workers for tasks alone.
            task = task or self.client.submit(int, pure=False)
            if time.monotonic() > deadline:
                if there:
                    raise TimeoutError(
                        f"none of {len(there)} workers, the first of which is {min(there)}, can be "
                        "reached from here, and a fit asks them itself: where only the scheduler "
                        "can be reached, let a task fit"
                    )
                raise TimeoutError(f"the cluster has had no workers for {self.timeout:.0f} s")
            await asyncio.sleep(0.1)
        ours = worker.identity()
        for address in up:
            target, build = self._known[address]
            first, (of_first, build_of_first) = next(iter(self._known.items()))
            if target != of_first:
                raise RuntimeError(
                    f"worker {address} makes code for {_processor(target)}, worker {first} for "
                    f"{_processor(of_first)}, which gives other last bits: set NUMBA_CPU_NAME (and "
                    "NUMBA_CPU_FEATURES) alike for all workers, 'generic' if nothing else"
                )
            if build != build_of_first or (target == ours[0] and build != ours[1]):
                other = first if build != build_of_first else "the client"
                raise RuntimeError(
                    f"worker {address} has another build of fastbp, or of Python, NumPy, Numba "
                    f"or Numba's settings, than {other}: install the same everywhere"
                )
        return up

    async def _alive(self, address: str) -> tuple[str, str] | None:
        """Return what a worker makes code for; None if there is none any more."""
        try:
            ask = cluster.ask(self.client, address, "fastbp_identity")
            target, build = await asyncio.wait_for(ask, self.timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(
                f"worker {address} has given no sign of life for {self.timeout:.0f} s"
            ) from None
        except OSError:
            return None
        return target, build

    async def _settle(self) -> None:
        """Wait until every block lies somewhere; raise what its task raised."""
        before = set(await cluster.workers(self.client))
        since = looked = time.monotonic()
        pause = 0.001
        while True:
            # `distributed.wait` asks for a client that is the default, which ours need not be.
            await asyncio.sleep(pause)
            pause = min(1.2 * pause, 0.1)
            for future in self.futures:
                if future.status == "error":
                    raise (await future.exception()) or RuntimeError("a block could not be made")
                if future.status == "cancelled":  # "lost" is one that is made again
                    raise RuntimeError(
                        "rows were lost with their worker that had been sent there from here, and "
                        "nobody can make them again: have workers read them (dask.array, "
                        "dask.dataframe)"
                    )
            ready = all(future.status == "finished" for future in self.futures)
            if not ready and time.monotonic() < looked + 1.0:
                continue
            looked = time.monotonic()
            now = set(await cluster.workers(self.client))
            if ready or before - now:
                await cluster.lift_restrictions(self.client, [f.key for f in self.futures])
            if ready:
                break
            since = time.monotonic() if now else since
            if time.monotonic() - since > self.timeout:
                raise TimeoutError(f"the cluster has had no workers for {self.timeout:.0f} s")
            before = now
        held = await cluster.holders(self.client, [future.key for future in self.futures])
        self._where = {
            i: min(held[future.key])
            for i, future in enumerate(self.futures)
            if held.get(future.key)
        }

    async def _spread(self) -> None:
        """Move blocks to workers that have none, which joined or came back."""
        up = await self._checked()
        count = {address: 0 for address in up}
        count.update({a: n for a, n in Counter(self._where.values()).items() if a in up})
        if min(count.values(), default=1):
            return
        moved = {}
        for i, address in sorted(self._where.items()):
            least = min(count, key=lambda a: count[a])
            if count.get(address, 0) > count[least] + 1:
                count[address] -= 1
                count[least] += 1
                moved[i] = self.client.submit(
                    worker.change_block,
                    self.futures[i],
                    workers=[least],
                    allow_other_workers=True,
                    pure=False,
                )
        for i, future in moved.items():
            self.futures[i] = future
        if moved:
            await self._settle()

    # ---- a step ------------------------------------------------------------------------------

    @property
    def counts(self) -> list[int]:
        """As `Far`."""
        return [end - first for first, end in map(self._bounds, self.nodes)]

    def visit(self, block: int, question: Question) -> Statistic:
        """As `Far`."""
        return self._asked(question, [block])[self.nodes[block]]

    def ask(self, question: Question) -> Statistic:
        """As `Far`."""
        have = self._asked(question, range(len(self.nodes)))
        return along_tree(
            lambda lo, hi: have.get((lo, hi)), Statistic.joined, 0, self.shape.n_parts
        )

    def _asked(self, question: Question, blocks: Sequence[int]) -> dict[Node, Statistic]:
        client = self.client
        if client.status != "running":
            raise RuntimeError(f"the client's connection to the cluster is {client.status}")
        if time.monotonic() > self._looked + _LOOK:  # costs a round trip to the scheduler
            client.sync(self._spread)
            self._looked = time.monotonic()
        step = uuid.uuid4().hex
        try:
            return client.sync(self._answers, question, step, blocks)
        except BaseException:  # Ctrl-C too: nobody waits for this any more
            if client.status == "running":
                client.loop.add_callback(self._abandon, step, set(self._where.values()))
            raise

    async def _abandon(self, step: str, addresses: set[str]) -> None:
        asked = [cluster.ask(self.client, a, "fastbp_abandon", step=step) for a in addresses]
        await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), self.timeout)

    async def _answers(
        self, question: Question, step: str, blocks: Sequence[int]
    ) -> dict[Node, Statistic]:
        have: dict[Node, Statistic] = {}
        message = {"fit": self._ident, "step": step, "question": cluster.parcel(question)}
        n_parts = sum(hi - lo for lo, hi in (self.nodes[i] for i in blocks))
        losses = 0
        while True:
            done = [node for node in have]
            groups: dict[str, list[Any]] = {}
            for i in blocks:
                lo, hi = self.nodes[i]
                if i in self._where and not any(a <= lo and hi <= b for a, b in done):
                    groups.setdefault(self._where[i], []).append((self.futures[i].key, lo, hi))
            fan = self._fan(question, len(groups))
            asked = {
                asyncio.ensure_future(
                    worker.answers_of(self.client, tree, self._context, **message)
                ): frozenset(worker.members(tree))
                for tree in worker.branches([*groups.items()], fan)
            }
            try:
                await self._waited(asked)
                replies = await asyncio.gather(*asked, return_exceptions=True)
            finally:
                for task in asked:
                    task.cancel()
            new = 0
            for reply in replies:
                if isinstance(reply, dict):
                    have.update(reply)
                    new += len(reply)
                elif not isinstance(reply, OSError | asyncio.CancelledError):
                    raise reply
            if sum(hi - lo for lo, hi in have) == n_parts:
                return have
            losses = 0 if new else losses + 1
            if losses > _MOST_LOSSES:
                raise RuntimeError(
                    f"rows were lost {losses} times in a row before they could answer: have the "
                    "workers enough memory?"
                )
            await asyncio.sleep(0.02 * 2**losses)
            await self._settle()

    def _fan(self, question: Question, workers: int) -> int:
        """How many workers the client, and each of them, is to ask."""
        numbers = self.net.n_params ** (2 if question.is_matrix else 1)
        size = workers * numbers * self.net.dtype.itemsize
        return _FAN if workers > _MOST_ASKED or size > _MOST_ANSWERED else max(workers, 1)

    async def _waited(self, asked: Mapping[asyncio.Task[Any], Set[str]]) -> None:
        """Wait for all, but not for workers that left; raise where one gives no sign of life.

        With each task are the workers that answer together.
        """
        begun = time.monotonic()
        left = set(asked)
        while left:
            _, left = await asyncio.wait(left, timeout=1.0)
            if not left:
                return
            # Connecting to a worker that left takes Dask 30 s.
            up = await cluster.workers(self.client)
            for task in [task for task in left if not asked[task] <= up.keys()]:
                task.cancel()
                left.discard(task)
            if time.monotonic() - begun > _PING:
                waiting = set[str]().union(*(asked[task] for task in left))
                await asyncio.gather(*map(self._alive, waiting))


def _processor(target: str) -> str:
    return " ".join(target.split()[:2])


def _arrays(client: Client, net: Network, X: Any, t: Any, c: Any) -> list[Any]:
    """Return all three as arrays, of Dask where they were its collections, of the same length."""
    arrays: list[Any] = []
    for name, value in (("X", X), ("t", t), ("sample_weight", c)):
        if value is None and name == "sample_weight":
            arrays.append(None)
            continue
        here = not hasattr(value, "dask")
        arrays.append(
            boundary.numbers(name, value, net.dtype, check_finite=False)
            if here
            else dask_array(value, client)
        )
    X, t, c = arrays
    if X.ndim != 2 or X.shape[1] != net.n_inputs:
        raise ValueError(f"X must have shape (B, {net.n_inputs}); got {X.shape}")
    if not len(X):
        raise ValueError(f"a fit needs at least one observation; got X of shape {X.shape}")
    for name, array in (("t", t), ("sample_weight", c)):
        if array is not None and array.shape[:1] != X.shape[:1]:
            raise ValueError(
                f"{name} must have one entry for each of {len(X)} observations; got shape "
                f"{array.shape}"
            )
    if c is not None and c.shape[1:] not in ((), (1,)):
        raise ValueError(f"sample_weight must have shape ({len(X)},); got {c.shape}")
    return arrays
