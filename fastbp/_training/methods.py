"""The optimizers at work: each yields after a step, or a few, with its state consistent.

What it yields is why to stop, or nothing; it is not asked to go on after a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._lock import LOCK
from .._parts import Rows
from ..kernels.machine.levenberg_settings import (
    NOT_FINITE,
    REASONS,
    ROUNDED,
    SLOWLY,
    SMALL_GAIN,
    SMALL_GRADIENT,
    SMALL_STEP,
    STALLED,
    STUCK,
)
from ..losses import LIKELIHOODS, Loss, family
from ..network import Network
from ..optimizers import SGD, Adam, AdamW, ByBatches, LevenbergMarquardt, rates, takes_arrays
from .ends import STEPS, ended
from .far import Apart, FarEpochs, of_mean_one
from .newton import is_saddle, nearer
from .problem import Problem, compiled, rms_of_targets, squares, stream
from .source import Streamed
from .watch import NonFiniteLossError, Watch, diverged

_RATES = 4096  # steps of a schedule that are made at once
_SHUFFLED = 8 << 20  # bytes of X in a block that is shuffled by itself
_CALL_OPERATIONS = 2e8  # of Levenberg–Marquardt in one compiled call: about 0.02 s


class WithoutMoments:
    """Of methods that keep nothing which another fit could go on from."""

    def moments(self) -> dict[str, Any]:
        return {}

    def go_on(self, moments: dict[str, Any]) -> None:
        pass


class Stochastic:
    """SGD, Adam, AdamW: a compiled call an epoch, on targets in the problem's unit.

    There A and the loss are in its units too, and learning rates mean the same whatever it is.
    """

    tol = 0.0  # nothing is claimed

    def __init__(self, problem: Problem, optimizer: ByBatches) -> None:
        with LOCK:
            from ..kernels.calls.optimizers import Epochs, Order
            from ..kernels.calls.prepared import prepared

        self._problem = problem
        self._rate = optimizer.learning_rate
        l2, each = (0.0, problem.l2) if isinstance(problem.l2, np.ndarray) else (problem.l2, None)
        if isinstance(optimizer, SGD):
            rule = "sgd"
            nesterov = float(optimizer.nesterov)
            settings = [l2, optimizer.weight_decay, optimizer.momentum, nesterov]
        else:
            assert isinstance(optimizer, Adam)
            rule = "adam"
            decay = optimizer.weight_decay if isinstance(optimizer, AdamW) else 0.0
            settings = [l2, decay, optimizer.beta1, optimizer.beta2, optimizer.epsilon]
        self._rule = rule
        self._far = problem.far if isinstance(problem.far, Streamed) else None
        c = problem.c
        if c is not None and self._far is None:
            c = of_mean_one(c, problem.n / problem.total)
        self._loss: float | None = None  # of the parameters at the end
        self._starts = [problem.w.copy(), problem.w.copy()]  # of the last two epochs
        self._w, t = problem.w, problem.t
        if problem.unit != 1.0:
            self._w = self._within()
            t = t if self._far is not None else self._in_unit(t)
        # Rows that come block by block are shuffled within a block.
        self._rows = problem.n
        if self._far is not None:
            most = _SHUFFLED // (problem.net.n_inputs * problem.net.dtype.itemsize)
            self._rows = max(most // problem.batch, 1) * problem.batch
        gathers = self._far is None or self._far.gathers
        n_ordered = problem.n if gathers else min(self._rows, problem.n)
        apart = problem.far if isinstance(problem.far, Apart) else None
        self._order = Order(n_ordered if apart is None else 1, stream(problem.seed, 1))
        self._run: Epochs | FarEpochs
        if apart is not None:
            given = (rule, settings, problem.free, each, problem.batch)
            self._run = FarEpochs(apart, self._w, given, problem.unit)
            return
        self._run = Epochs(
            prepared(problem.net), self._w, problem.X, t, c, problem.loss, rule, settings,
            problem.free, each, problem.batch, problem.n,
        )  # fmt: skip

    def _within(self) -> NDArray:
        """Return the parameters for targets in the unit."""
        problem = self._problem
        w = problem.w.copy()
        problem.net.split(w)[0][...] /= problem.unit
        return w

    def _without(self) -> None:
        """Set the problem's parameters to those of the targets as they are."""
        problem = self._problem
        if self._w is not problem.w:
            w = self._w.copy()
            problem.net.split(w)[0][...] *= problem.unit
            problem.w[problem.free] = w[problem.free]  # the others to the last bit

    def steps(self, watch: Watch) -> Iterator[str]:
        problem, run = self._problem, self._run
        n = problem.n
        batches = problem.batches
        order = None
        total = batches * watch.epochs
        constant = None if callable(self._rate) else rates(self._rate, 0, batches, total)
        # An epoch's loss is that before its updates: the parameters after it are known to be good
        # once the next epoch, or the end, has found their loss finite.
        starts = self._starts
        # Made for some epochs at once, from the same one on wherever the fit begins: epoch by epoch
        # that takes 40 µs each. A callable of the user's may look at what has been done.
        ahead = max(_RATES // batches, 1) if takes_arrays(self._rate) else 1
        made = np.empty(0)
        while watch.step < watch.epochs:
            place = watch.step % ahead
            if constant is None and (place == 0 or not made.size):
                first = (watch.step - place) * batches
                made = rates(self._rate, first, min(ahead * batches, total - first), total)
            eta = made[place * batches :][:batches] if constant is None else constant
            far = self._far
            if problem.shuffle and (far is None or far.gathers):
                order = self._order.next()
            starts.reverse()
            starts[0][:] = problem.w
            if far is None:
                loss = run.run(order, eta)
            else:
                assert not isinstance(run, FarEpochs)
                blocks = far.batches(self._rows, order)
                within = self._order if problem.shuffle and order is None else None
                loss = run.run_blocks(map(self._in_units, blocks), within, eta)
            loss = problem.unit * (problem.unit * (loss / n))
            self._without()
            loss += problem.penalty()
            watch.n_evaluations += batches
            if not math.isfinite(loss):
                raise self._diverged(watch)
            reason = watch.after(problem.w, loss)
            if reason or watch.step == watch.epochs:
                self._loss = problem.value()
                if not math.isfinite(self._loss):
                    raise self._diverged(watch)
            yield reason

    def _in_unit(self, t: NDArray) -> NDArray:
        unit = self._problem.unit
        return t if unit == 1.0 else (t / unit).astype(t.dtype, copy=False)

    def _in_units(self, rows: Rows) -> Rows:
        """Return rows with targets in the problem's unit, and weights of mean one."""
        X, t, c = rows
        assert t is not None
        if c is not None:
            c = of_mean_one(c, self._problem.n / self._problem.total)
        return Rows(X, self._in_unit(t), c)

    def _diverged(self, watch: Watch) -> NonFiniteLossError:
        problem = self._problem
        for w in self._starts:
            problem.w[:] = w
            if math.isfinite(problem.value()):
                break
        return diverged(watch, problem.w.copy())

    def loss(self) -> float:
        return self._problem.value() if self._loss is None else self._loss

    def state(self) -> dict[str, NDArray]:
        return {
            "state": self._run.state.copy(),
            "left": self._run.left.copy(),
            "order": self._order.state.copy(),
            "starts": np.array(self._starts),
            "moved": self._w.copy(),
        }

    def moments(self) -> dict[str, Any]:
        return {"rule": self._rule, "state": self._run.state, "left": self._run.left}

    def go_on(self, moments: dict[str, Any]) -> None:
        """Begin with the moments that another fit by the same rule left."""
        if moments["rule"] == self._rule:
            self._run.state[:] = moments["state"]
            self._run.left[:] = moments["left"]

    def restore(self, state: dict[str, NDArray]) -> None:
        self._run.state[:] = state["state"]
        self._run.left[:] = state["left"]
        self._order.state[:] = state["order"]
        self._starts = list(state["starts"])
        # Files of 0.1.0 have no units.
        self._w[:] = state["moved"] if "moved" in state else self._within()


# What a small fall of a negative log-likelihood is measured by, which has no zero.
NATS = 0.5


class Levenberg(WithoutMoments):
    """Levenberg–Marquardt: many iterations a compiled call where nobody looks in between."""

    def __init__(self, problem: Problem, optimizer: LevenbergMarquardt) -> None:
        self._problem, far = problem, problem.far
        self.tol = optimizer.ftol
        self._run = compiled().optimizers.Levenberg(
            compiled().prepared.prepared(problem.net),
            problem.w,
            problem.X,
            problem.t,
            problem.c,
            problem.loss,
            **levenberg_options(problem, optimizer),
            squares=float(squares(problem)),
            threads=boundary.thread_count(problem.threads),
            elsewhere=None if far is None else (far, far.total),
        )

    def steps(self, watch: Watch) -> Iterator[str]:
        problem, run = self._problem, self._run
        P = problem.net.n_params
        work = problem.n * P * P / 2 + P**3 / 6
        most = 1 if watch.each_step else max(int(_CALL_OPERATIONS / work), 1)
        while watch.step < watch.epochs:
            losses, why = run.run(min(most, watch.epochs - watch.step))
            watch.n_evaluations += len(losses)
            reason = ""
            for loss in losses.tolist():
                reason = watch.after(problem.w, loss) or reason
            if why == NOT_FINITE:
                raise diverged(watch, problem.w.copy())
            if not reason:
                why, loss = end_of_levenberg(problem, why, self.tol)
                self._run.end(loss)
            yield reason or REASONS[why]

    def loss(self) -> float:
        self._run.settle()
        return self._run.loss

    def state(self) -> dict[str, NDArray]:
        run = self._run
        return {"kept": run.kept.copy(), "own": run.own.copy(), "starts": run.starts.copy()}

    def restore(self, state: dict[str, NDArray]) -> None:
        for name in ("kept", "own", "starts"):
            getattr(self._run, name)[:] = state[name]
        self._run.forget()


_TIGHT = 1e-8  # an ftol above it asks for no more
_MOVED = 1e-7  # of the loss, or of the targets: what is nothing where rounding moves w
_CLAIMS = (SMALL_GRADIENT, SMALL_STEP, SMALL_GAIN)


def settled(
    problem: Problem, why: int, tol: float, steps: int = STEPS, compiled: bool = False
) -> tuple[int, float | None]:
    """Return why a fit has ended once that has been looked at in float64, and the loss then.

    The loss is None, and the reason as it was, where there is nothing to look at (`ends`).
    """
    if why not in (*_CLAIMS, ROUNDED, STALLED, STUCK):
        return why, None
    size, rms = _size(problem.loss), rms_of_targets(problem)
    found = ended(problem, size=size, rms=rms, tol=tol, steps=steps, compiled=compiled)
    if found is None:
        return why, None
    kept = (found.reason == SMALL_GAIN) == (why in _CLAIMS)
    return why if kept else found.reason, found.loss


def end_of_levenberg(problem: Problem, why: int, ftol: float) -> tuple[int, float | None]:
    """Return what `settled` does where the compiled loop can't tell."""
    own, loss = problem.net.dtype == np.float64, None
    is_slow, why = why == SLOWLY, SMALL_GAIN if why == SLOWLY else why
    if not is_told(problem, why):
        before = problem.w.copy()
        why, loss = settled(problem, why, ftol, compiled=own)
        if own and np.array_equal(problem.w, before):
            loss = None  # it is the loop's to the last bit
    if is_slow and own and why == SMALL_GAIN and ftol <= _TIGHT:
        nearest = nearer(problem, _size(problem.loss), rms_of_targets(problem))
        loss = loss if nearest is None else nearest
    return why, loss


def is_at_saddle(problem: Problem) -> bool:
    """Whether there is a loss that falls from w on, where its gradient vanishes."""
    least = _MOVED * NATS if family(problem.loss) == "cross_entropy" else 0.0
    nothing = max(least, 0.5 * (_MOVED * rms_of_targets(problem)) ** 2)
    return abs(problem.value()) > nothing and is_saddle(problem)


def may_have_moved(net: Network, found: Any, value: Any) -> Any:
    """Whether losses are other ones than before w was rounded; in float32 their sums don't tell."""
    return (net.dtype == np.float32) | (value - found > 0.1 * _MOVED * np.abs(found))


def put_back(problem: Problem, why: int, found: float, value: float, tol: float) -> int:
    """Return why a fit of standardised columns ended, its parameters being for those as given.

    They are rounded, and where a column's mean is large, what is found may be lost by that: the
    loss was `found` and is `value`.
    """
    if why not in _CLAIMS or not may_have_moved(problem.net, found, value):
        return why
    tol = max(tol, _MOVED)
    if problem.net.dtype == np.float32:
        claims = settled(problem, why, tol, steps=0)[0] in _CLAIMS
    else:
        size, rms = _size(problem.loss), rms_of_targets(problem)
        nothing = max(tol * (abs(found) if size < 0.0 else size), 0.5 * (_MOVED * rms) ** 2)
        claims = value - found <= nothing
    return why if claims else ROUNDED


def is_told(problem: Problem, why: int) -> bool:
    """Whether the compiled loop can tell itself why it ended.

    Not so in float32, of a stall or a slow end, and where bounds or penalties of some parameters
    bend its way.
    """
    plain = problem.bounds is None and not isinstance(problem.l2, np.ndarray)
    return problem.net.dtype == np.float64 and why not in (STALLED, SLOWLY) and plain


def _size(loss: Loss) -> float:
    """Return what a small fall is measured by; below 0 it is the loss itself."""
    return NATS if family(loss) in LIKELIHOODS else -1.0


def levenberg_options(problem: Problem, optimizer: LevenbergMarquardt) -> dict[str, Any]:
    """Return all that the compiled loop is told beside the data."""
    curvature, loss = optimizer.curvature, family(problem.loss)
    if curvature == "auto":
        plain = ("squared", "cross_entropy", "poisson")
        curvature = "second_derivative" if loss in plain else "reweighted"
    l2, each = compiled().objective.parted(problem.l2)
    return {
        "l2": l2,
        "each": each,
        "nielsen": optimizer.damping == "nielsen",
        "reweighted": curvature == "reweighted",
        "start": optimizer.start,
        "gtol": optimizer.gtol,
        "xtol": optimizer.xtol,
        "ftol": optimizer.ftol,
        "target": problem.target,
        "size": _size(problem.loss),
        "free": problem.free,
        "bounds": problem.bounds,
        "kinds": kinds_of(problem.net, problem.free),
    }


def kinds_of(net: Network, free: NDArray) -> NDArray:
    """Number the kinds of parameters: one input's weights, or one output's, of like neurons.

    Neurons are alike that have the same activation, and of whose weights the same are free. One
    whose inputs' weights are all held is what these make it, and like no other.
    """
    keys = tuple(v.key for v in net.activations)
    return _kinds(keys, net.n_inputs, net.n_outputs, free.tobytes())


@lru_cache(maxsize=64)  # 30 µs, a fifth of a small fit
def _kinds(activations: tuple[str, ...], N: int, K: int, free: bytes) -> NDArray:
    H = len(activations)
    known: dict[Any, int] = {}
    like = np.empty(H, np.int64)
    for i, v in enumerate(activations):
        moves = free[K * H + i * N : K * H + (i + 1) * N]
        key = (v, free[i : K * H : H], moves if any(moves) else i)
        like[i] = known.setdefault(key, len(known))
    outputs = like * (N + K) + np.arange(K)[:, np.newaxis]
    weights = like[:, np.newaxis] * (N + K) + np.arange(K, K + N)
    kinds = np.concatenate([outputs.ravel(), weights.ravel()])
    return np.unique(kinds, return_inverse=True)[1].astype(np.int64)
