"""The optimizers at work: each yields after a step, or a few, with its state consistent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._lock import LOCK
from ..losses import Loss
from ..network import Network
from ..objective import Objective
from ..optimizers import (
    SGD,
    TAKES_ARRAYS,
    WITH_HESSIAN,
    WITH_HESSIAN_PRODUCT,
    WITH_POSITIVE_HESSIAN,
    WITHOUT_GRADIENT,
    Adam,
    AdamW,
    LevenbergMarquardt,
    Minimize,
    Optimizer,
    rates,
)
from .watch import NonFiniteLossError, Watch, diverged

_RATES = 4096  # steps of a schedule that are made at once
_SEGMENT = 100  # iterations of a SciPy method between checkpoints
_CALL_OPERATIONS = 2e8  # of Levenberg–Marquardt in one compiled call: about 0.02 s


@dataclass
class Problem:
    """A fit's arguments, checked."""

    net: Network
    w: NDArray  # moves
    X: NDArray
    t: NDArray
    c: NDArray | None
    loss: Loss
    l2: float
    free: NDArray
    batch: int
    shuffle: bool
    seed: int | np.random.Generator | None
    threads: int | str
    target: float = -np.inf

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.X) // self.batch)

    def objective(self) -> Objective:
        return Objective(
            self.net,
            self.X,
            self.t,
            loss=self.loss,
            sample_weight=self.c,
            l2=self.l2,
            threads=self.threads,
        )

    def value(self) -> float:
        with LOCK:
            from ..kernels.calls.optimizers import mean_loss
            from ..kernels.calls.prepared import prepared

        mean = mean_loss(prepared(self.net), self.w, self.X, self.t, self.c, self.loss)
        return mean + self.penalty()

    def penalty(self) -> float:
        if not self.l2:
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            return 0.5 * self.l2 * float(self.w @ self.w)


def stream(seed: int | np.random.Generator | None, number: int) -> np.random.Generator:
    """Return a generator of its own for one purpose, so that the start is net.init(seed)."""
    if seed is None:
        return default_rng()
    return seed if isinstance(seed, np.random.Generator) else default_rng([seed, number])


class Stochastic:
    """SGD, Adam, AdamW: a compiled call an epoch."""

    def __init__(self, problem: Problem, optimizer: SGD | Adam) -> None:
        with LOCK:
            from ..kernels.calls.optimizers import Epochs, Order
            from ..kernels.calls.prepared import prepared

        self._problem = problem
        self._rate = optimizer.learning_rate
        if isinstance(optimizer, SGD):
            rule = "sgd"
            settings = [
                problem.l2,
                optimizer.weight_decay,
                optimizer.momentum,
                float(optimizer.nesterov),
            ]
        else:
            rule = "adam"
            decay = optimizer.weight_decay if isinstance(optimizer, AdamW) else 0.0
            settings = [problem.l2, decay, optimizer.beta1, optimizer.beta2, optimizer.epsilon]
        c = problem.c
        if c is not None:
            c = (c * (len(c) / float(c.sum(dtype=np.float64)))).astype(c.dtype)
        self._loss: float | None = None  # of the parameters at the end
        self._starts = [problem.w.copy(), problem.w.copy()]  # of the last two epochs
        self._order = Order(len(problem.X), stream(problem.seed, 1))
        self._run = Epochs(
            prepared(problem.net),
            problem.w,
            problem.X,
            problem.t,
            c,
            problem.loss,
            rule,
            settings,
            problem.free,
            problem.batch,
        )

    def steps(self, watch: Watch) -> Iterator[str]:
        problem, run = self._problem, self._run
        n = len(problem.X)
        batches = problem.batches
        order = np.arange(n, dtype=np.int64)
        total = batches * watch.epochs
        constant = None if callable(self._rate) else rates(self._rate, 0, batches, total)
        # An epoch's loss is that before its updates: the parameters after it are known to be good
        # once the next epoch, or the end, has found their loss finite.
        starts = self._starts
        # Made for some epochs at once, from the same one on wherever the fit begins: epoch by epoch
        # that takes 40 µs each. A callable of the user's may look at what has been done.
        ahead = max(_RATES // batches, 1) if isinstance(self._rate, TAKES_ARRAYS) else 1
        made = np.empty(0)
        while watch.step < watch.epochs:
            place = watch.step % ahead
            if constant is None and (place == 0 or not made.size):
                first = (watch.step - place) * batches
                made = rates(self._rate, first, min(ahead * batches, total - first), total)
            eta = made[place * batches :][:batches] if constant is None else constant
            if problem.shuffle:
                order = self._order.next()
            starts.reverse()
            starts[0][:] = problem.w
            loss = run.run(order, eta) / n + problem.penalty()
            watch.n_evaluations += batches
            if not math.isfinite(loss):
                raise self._diverged(watch)
            reason = watch.after(problem.w, loss)
            if reason or watch.step == watch.epochs:
                self._loss = problem.value()
                if not math.isfinite(self._loss):
                    raise self._diverged(watch)
            yield reason

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
        order = self._order.state.copy()
        return {
            "state": self._run.state.copy(),
            "left": self._run.left.copy(),
            "order": order,
            "starts": np.array(self._starts),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        self._run.state[:] = state["state"]
        self._run.left[:] = state["left"]
        self._order.state[:] = state["order"]
        self._starts = list(state["starts"])


# What a small fall of a negative log-likelihood is measured by, which has no zero.
_NATS = 0.5


class Levenberg:
    """Levenberg–Marquardt: many iterations a compiled call where nobody looks in between."""

    def __init__(self, problem: Problem, optimizer: LevenbergMarquardt) -> None:
        with LOCK:
            from ..kernels.calls.optimizers import Levenberg
            from ..kernels.calls.prepared import prepared

        curvature = optimizer.curvature
        if curvature == "auto":
            plain = ("squared", "cross_entropy", "poisson")
            curvature = "second_derivative" if problem.loss.name in plain else "reweighted"
        self._problem = problem
        self._run = Levenberg(
            prepared(problem.net),
            problem.w,
            problem.X,
            problem.t,
            problem.c,
            problem.loss,
            l2=problem.l2,
            nielsen=optimizer.damping == "nielsen",
            reweighted=curvature == "reweighted",
            start=optimizer.start,
            gtol=optimizer.gtol,
            xtol=optimizer.xtol,
            ftol=optimizer.ftol,
            target=problem.target,
            size=_NATS if problem.loss.name in ("cross_entropy", "poisson") else -1.0,
            free=problem.free,
            kinds=kinds_of(problem.net, problem.free),
            threads=boundary.thread_count(problem.threads),
        )

    def steps(self, watch: Watch) -> Iterator[str]:
        problem, run = self._problem, self._run
        P = problem.net.n_params
        work = len(problem.X) * P * P / 2 + P**3 / 6
        most = 1 if watch.each_step else max(int(_CALL_OPERATIONS / work), 1)
        while watch.step < watch.epochs:
            losses, ended = run.run(min(most, watch.epochs - watch.step))
            watch.n_evaluations += len(losses)
            reason = ""
            for loss in losses.tolist():
                reason = watch.after(problem.w, loss) or reason
            if ended == run.NOT_FINITE:
                raise diverged(watch, problem.w.copy())
            yield reason or run.REASONS[ended]
            if ended:
                return

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


def kinds_of(net: Network, free: NDArray) -> NDArray:
    """Number the kinds of parameters: one input's weights, or the output's, of like neurons.

    Neurons are alike that have the same activation, and of whose weights the same are free.
    """
    return _kinds(tuple(v.key for v in net.activations), net.n_inputs, free.tobytes())


@lru_cache(maxsize=64)  # 30 µs, a fifth of a small fit
def _kinds(activations: tuple[str, ...], N: int, free: bytes) -> NDArray:
    H = len(activations)
    known: dict[Any, int] = {}
    like = np.empty(H, np.int64)
    for i, v in enumerate(activations):
        key = (v, free[i], free[H + i * N : H + (i + 1) * N])
        like[i] = known.setdefault(key, len(known))
    weights = like[:, np.newaxis] * (N + 1) + np.arange(1, N + 1)
    kinds = np.concatenate([like * (N + 1), weights.ravel()])
    return np.unique(kinds, return_inverse=True)[1].astype(np.int64)


class _Stopped(Exception):
    """Leaves a SciPy method."""


class SciPy:
    """Methods of `scipy.optimize.minimize` on the free parameters."""

    def __init__(self, problem: Problem, optimizer: Minimize, segments: bool) -> None:
        try:
            with LOCK:
                import scipy.optimize
        except ImportError as error:
            raise ImportError(
                f"the optimizer {optimizer.method} needs SciPy: pip install 'fastbp[scipy]'"
            ) from error
        self._minimize = scipy.optimize.minimize
        self._problem = problem
        self._method = optimizer.method
        self._options = dict(optimizer.options)
        self._objective = problem.objective()
        self._free = np.flatnonzero(problem.free)
        self._loss = np.nan
        # A method's memory can't be stored. So with a checkpoint it starts afresh every so many
        # iterations, whether or not the run is interrupted there.
        self._segments = segments

    def steps(self, watch: Watch) -> Iterator[str]:
        while watch.step < watch.epochs:
            left = watch.epochs - watch.step
            n = min(left, _SEGMENT) if self._segments else left
            before = watch.step
            reason = self._minimise(watch, n)
            yield reason
            if reason or watch.step == before:
                return

    def _minimise(self, watch: Watch, n: int) -> str:
        problem, objective, free = self._problem, self._objective, self._free
        dtype = problem.net.dtype
        last: list[Any] = [None, np.nan]

        def whole(z: NDArray) -> NDArray:
            w = problem.w.copy()
            w[free] = z
            return w

        def function(z: NDArray) -> Any:
            watch.n_evaluations += 1
            w = whole(z)
            if self._method in WITHOUT_GRADIENT:
                value = objective.value(w)
                last[:] = w, value
                return value
            value, gradient = objective(w)
            last[:] = w, value
            return value, gradient[free].astype(np.float64)

        def hessp(z: NDArray, p: NDArray) -> NDArray:
            direction = np.zeros(len(problem.w), dtype)
            direction[free] = p
            return objective.hvp(whole(z), direction)[free].astype(np.float64)

        def hess(z: NDArray) -> NDArray:
            w = whole(z)
            if self._method in WITH_HESSIAN:
                return np.array([hessp(z, e) for e in np.eye(len(free))])
            matrix = objective.gauss_newton(w)[2][np.ix_(free, free)].astype(np.float64)
            # Definite where it is singular but for rounding.
            least = len(free) * float(np.finfo(dtype).eps)
            matrix[np.diag_indices_from(matrix)] += least * (float(matrix.diagonal().max()) or 1.0)
            return matrix

        def note(z: NDArray, *_: Any) -> None:
            w = whole(np.asarray(z))
            value = last[1] if np.array_equal(w, last[0]) else objective.value(w)
            if not np.isfinite(value):
                raise diverged(watch, problem.w.copy())
            problem.w[:] = w
            self._loss = value
            reason = watch.after(problem.w, value)
            if reason or watch.step >= watch.epochs:
                raise _Stopped(reason)

        first = objective.value(problem.w)
        if not np.isfinite(first):
            raise diverged(watch, problem.w.copy())
        self._loss = first
        if not free.size:
            return "converged: no parameter is free to move"
        name = "maxfun" if self._method == "TNC" else "maxiter"
        options = {name: n, **self._options}
        if self._method == "L-BFGS-B":
            options.setdefault("maxfun", 100 * n)
        with_gradient = self._method not in WITHOUT_GRADIENT
        try:
            found = self._minimize(
                function,
                problem.w[free].astype(np.float64),
                jac=True if with_gradient else None,
                hessp=hessp if self._method in WITH_HESSIAN_PRODUCT else None,
                hess=hess if self._method in (*WITH_HESSIAN, *WITH_POSITIVE_HESSIAN) else None,
                method=self._method,
                callback=note,
                options=options,
            )
        except _Stopped as stopped:
            return str(stopped)
        w = whole(found.x)
        value = objective.value(w)
        if np.isfinite(value) and value <= self._loss:
            problem.w[:], self._loss = w, value
        spent = found.get("nit", found.nfev) >= n  # COBYLA counts evaluations only
        if spent and (self._segments or not found.success):
            return ""
        return f"{'converged' if found.success else 'stuck'}: {found.message}"

    def loss(self) -> float:
        return self._loss

    def state(self) -> dict[str, NDArray]:
        return {"scipy_loss": np.array(self._loss)}

    def restore(self, state: dict[str, NDArray]) -> None:
        self._loss = float(state["scipy_loss"])


Method = Stochastic | Levenberg | SciPy


def method_of(problem: Problem, optimizer: Optimizer, segments: bool) -> Method:
    """Return the optimizer at work on a problem."""
    if isinstance(optimizer, SGD | Adam):
        return Stochastic(problem, optimizer)
    if isinstance(optimizer, LevenbergMarquardt):
        return Levenberg(problem, optimizer)
    if isinstance(optimizer, Minimize):
        return SciPy(problem, optimizer, segments)
    raise TypeError(f"optimizer must be a name or one of fastbp.optimizers; got {optimizer!r}")
