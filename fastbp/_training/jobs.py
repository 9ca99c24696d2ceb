"""Many fits at once: the folds of a cross-validation, and threads to work on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._lock import LOCK
from .._parts import Marked, counts_of, row_numbers, runs
from .pool import Pool

_SECONDS = 1.0  # of a task
_FIRST_WORKER = 60.0  # seconds in which a cluster is to have a worker
_MOST_LOSSES = 5  # of all workers, without a fit that is done in between

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def outcomes(
    work: Callable[[Job, threading.Event], Outcome],
    jobs: Sequence[Job],
    n: int,
    show: Callable[[list[Outcome]], None] = lambda known: None,
    client: Any = None,
) -> list[tuple[Job, Outcome]]:
    """Return what became of each job, n at a time; after Ctrl-C, of those that had begun.

    `show` is called every second, and when one has ended, with what is known by then. With the
    client of a cluster of Dask, its workers do it, and after Ctrl-C what is done by then is left.
    """
    if client is not None:
        return _on_cluster(work, jobs, show, client)
    stop = threading.Event()
    futures: list[Future[Outcome]] = []
    with Pool(min(n, len(jobs)), thread_name_prefix="fastbp-fit") as pool:
        try:
            futures = [pool.submit(work, job, stop) for job in jobs]
            # `wait` goes through all that run whenever one has ended: 4 s for 4000 jobs.
            ended, known = SimpleQueue[Future[Outcome]](), list[Outcome]()
            for future in futures:
                future.add_done_callback(ended.put)
            while len(known) < len(jobs):
                with suppress(Empty):
                    known.append(ended.get(timeout=1.0).result())
                show(known)
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            if not isinstance(error, KeyboardInterrupt):
                raise
    each = zip(jobs, futures, strict=False)
    return [(job, future.result()) for job, future in each if not future.cancelled()]


@contextmanager
def thread_given_free() -> Iterator[None]:
    """In a task of Dask, give its thread free meanwhile: what is waited for may need it."""
    with LOCK:
        from distributed import rejoin, secede

    free = True
    try:
        secede()
    except (ValueError, AttributeError, KeyError):  # no task, none of a thread, or free already
        free = False
    try:
        yield
    finally:
        if free:
            rejoin()


def _on_cluster(
    work: Callable[[Job, threading.Event], Outcome],
    jobs: Sequence[Job],
    show: Callable[[list[Outcome]], None],
    client: Any,
) -> list[tuple[Job, Outcome]]:
    """Hand jobs to the workers, as many at a time as take about a second."""
    if not hasattr(client, "scatter") or client.asynchronous:
        what = type(client).__name__
        raise TypeError(f"client must be a distributed.Client that is not asynchronous; got {what}")
    known: dict[int, Outcome] = {}
    with thread_given_free(), client.get_executor(pure=False) as pool:
        running: dict[Future, range] = {}
        try:
            there = _sent(work, client, pool, _FIRST_WORKER)
            n = min(max(sum(client.nthreads().values()), 1), len(jobs))
            left, begun, lost = [range(k, k + 1) for k in range(n)], n, 0
            while left or running:
                for some in left:
                    running[pool.submit(_some, there, [jobs[k] for k in some])] = some
                left = []
                ended, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in ended:
                    some = running.pop(future)
                    try:
                        found, seconds = future.result()
                    except CancelledError:  # as nobody has what was sent any more
                        left.append(some)
                        continue
                    known.update(zip(some, found, strict=True))
                    lost = 0
                    if begun < len(jobs):
                        count = max(int(_SECONDS / max(seconds, 1e-6)), 1)
                        every = range(len(jobs))
                        left += [every[k : k + count] for k in range(begun, len(jobs), count)]
                        begun = len(jobs)
                show([*known.values()])
                if there.status != "finished":
                    lost += 1
                    if lost > _MOST_LOSSES:
                        raise RuntimeError(
                            f"all workers were lost {lost} times in a row before they had done a "
                            "fit: have they enough memory?"
                        )
                    there = _sent(work, client, pool, None)  # what is done waits, as tasks do
        except BaseException as error:
            for future in running:
                future.cancel()
            if not isinstance(error, KeyboardInterrupt):
                raise
    return [(jobs[k], known[k]) for k in sorted(known)]


def _sent(work: Any, client: Any, pool: Executor, timeout: float | None) -> Any:
    """Send work to all workers; a task gets it from one that has it."""
    if client.status != "running":
        raise RuntimeError(f"the client's connection to the cluster is {client.status}")
    # A cluster that adapts begins workers for tasks alone.
    task = pool.submit(int)
    try:
        if not wait([task], timeout=timeout).done:
            raise TimeoutError(f"the cluster has had no workers for {timeout:.0f} s")
    finally:
        task.cancel()  # the pool would wait for it, after Ctrl-C too
    (there,) = client.scatter([work], broadcast=True, hash=False)
    return there


def _some(
    work: Callable[[Job, threading.Event], Outcome], jobs: Sequence[Job]
) -> tuple[list[Outcome], float]:
    """Do some jobs; also returns the seconds of one."""
    begun = time.perf_counter()
    found = [work(job, threading.Event()) for job in jobs]
    return found, (time.perf_counter() - begun) / len(jobs)


class Fold(NamedTuple):
    """Observations that are held out, and those that are fitted: all others, where None."""

    held: NDArray | Marked
    fitted: NDArray | Marked | None = None

    def left(self, B: int) -> NDArray | Marked:
        """Return those, of B, that are fitted."""
        if self.fitted is not None:
            return self.fitted
        return Marked(~_mask(self.held, B))


def folds_of(
    given: int | Iterable[Any], B: int, c: NDArray | None, classes: NDArray | None = None
) -> list[Fold]:
    """Return the folds that are given, or a number of them, of those of B rows that weigh.

    With the class of each of the B, every fold that is drawn has of every class its share.
    """
    weighs = np.ones(B, bool) if c is None else c > 0.0
    if isinstance(given, int | np.integer):
        of = drawn_folds(
            int(given), int(weighs.sum()), None if classes is None else classes[weighs]
        )
        number = np.full(B, -1, of.dtype)
        number[weighs] = of
        drawn = (Fold(Marked(number == k)) for k in range(int(given)))
    else:
        try:
            parts = iter(given)
        except TypeError:
            raise TypeError(
                f"folds must be a number, or hold the observations of each; got {given!r}"
            ) from None
        drawn = (_fold(part, B) for part in parts)
    folds = []
    for k, fold in enumerate(drawn):
        left = fold.left(B)
        if not len(fold.held) or not len(left):
            raise ValueError("every fold must hold some observations and leave some to fit")
        if not _any_of(weighs, fold.held) or not _any_of(weighs, left):
            raise ValueError(
                f"fold {k} must hold observations and leave some to fit that have a weight; "
                "those of one of the two are all 0"
            )
        folds.append(fold)
    if not folds:
        raise ValueError("folds must be a number, or hold at least one fold; got none")
    return folds


def drawn_folds(n: int, rows: int, classes: NDArray | None = None) -> NDArray:
    """Return which of n folds holds out each of some rows, always the same one.

    With the class of each row, a number, every fold has of every class its share.
    """
    if not 2 <= n <= rows:
        raise ValueError(f"folds must lie between 2 and {rows}, the observations; got {n}")
    order = row_numbers(rows)
    default_rng(0).shuffle(order)
    of = np.empty(rows, np.min_scalar_type(-n))
    if classes is None:
        for number, part in enumerate(np.array_split(order, n)):
            of[part] = number
        return of
    # All rows of a class in turn, to one fold after the other, and on with the next class.
    counts = counts_of(classes, int(classes.max()) + 1)
    place = np.cumsum(counts) - counts
    for run in runs(rows):
        some = order[run]
        of_some = classes[some]
        for each in np.unique(of_some).tolist():
            those = some[of_some == each]
            of[those] = (place[each] + np.arange(len(those))) % n
            place[each] += len(those)
    return of


def _fold(part: Any, B: int) -> Fold:
    if isinstance(part, tuple) and len(part) == 2 and all(np.ndim(rows) == 1 for rows in part):
        fitted, held = (_indices(rows, B) for rows in part)
        if _any_of(_mask(held, B), fitted):
            raise ValueError("a fold must not share observations with those to fit")
        return Fold(_kept(held, B), _kept(fitted, B))
    return Fold(_kept(_indices(part, B), B))


def _kept(rows: NDArray, B: int) -> NDArray | Marked:
    """Return rows of B as no one else has them; in little memory where they are in their order."""
    if not (rows[1:] > rows[:-1]).all():
        return rows.copy()
    return Marked(_mask(rows, B))


def _mask(rows: NDArray | Marked, B: int) -> NDArray:
    are = np.zeros(B, bool)
    for run in runs(len(rows)):
        are[rows[run]] = True
    return are


def _any_of(mask: NDArray, rows: NDArray | Marked) -> bool:
    return any(mask[rows[run]].any() for run in runs(len(rows)))


def _indices(rows: Any, B: int) -> NDArray:
    """Return the indices of observations, given so, which are no copy, or as a mask."""
    what = f"a fold must be the indices of observations or a mask of {B} booleans"
    try:
        given = np.asarray(boundary.unmasked("a fold", rows))
    except ValueError as error:  # NumPy's, of lists of different lengths
        raise TypeError(f"{what}, or a tuple (train, test) of two such; got others") from error
    if given.dtype == bool and given.shape == (B,):
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise TypeError(f"{what}; got an array of shape {given.shape} and dtype {given.dtype}")
    if given.shape == (B,) and B > 2 and given.max() <= 1 and given.min() >= 0:
        raise TypeError(f"{what}; got {B} numbers 0 and 1, which may be either: give booleans")
    indices = given.astype(np.intp, copy=False)
    outside = indices[(indices < 0) | (indices >= B)]
    if outside.size:
        raise ValueError(f"a fold holds observation {outside[0]}; there are {B}, from 0 on")
    return indices
