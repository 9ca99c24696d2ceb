"""The optimizers at work: each yields after a step, or a few, with its state consistent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from traceback import extract_tb
from typing import Any, NamedTuple

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._heads import entrywise, head_at
from .._lock import LOCK
from .._parts import Rows, Statistic, over_parts
from ..activations import softmax
from ..kernels.machine.levenberg_settings import (
    NOT_FINITE,
    NOTHING_FREE,
    REASONS,
    ROUNDED,
    SADDLE,
    SMALL_GAIN,
    SMALL_GRADIENT,
    SMALL_STEP,
    STALLED,
    STUCK,
)
from ..losses import Loss
from ..network import Network, before_outputs
from ..objective import Objective, penalty
from ..optimizers import (
    LBFGS,
    MOST_OF_LEVENBERG,
    SGD,
    TAKES_ARRAYS,
    WITH_BOUNDS,
    WITH_FTOL,
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
from .ends import STEPS, WORK, ended
from .far import Apart, Far, FarEpochs, FarObjective, of_mean_one
from .source import Streamed
from .watch import NonFiniteLossError, Watch, diverged

_RATES = 4096  # steps of a schedule that are made at once
_SHUFFLED = 8 << 20  # bytes of X in a block that is shuffled by itself
_SEGMENT = 100  # iterations of a SciPy method between checkpoints
_CALL_OPERATIONS = 2e8  # of Levenberg–Marquardt in one compiled call: about 0.02 s


@dataclass
class Problem:
    """A fit's arguments, checked.

    Of M groups that are begun side by side, w is (M, P), X (B, M, N), t (B, M, …) and c (B, M).
    """

    net: Network
    w: NDArray  # moves
    X: NDArray
    t: NDArray
    c: NDArray | None
    loss: Loss
    l2: float | NDArray
    free: NDArray
    bounds: tuple[NDArray, NDArray] | None
    batch: int
    shuffle: bool
    seed: int | np.random.Generator | None
    threads: int | str
    target: float = -np.inf
    unit: float = 1.0  # what a stochastic optimizer measures targets in: outputs are linear then
    far: Far | None = None  # the observations, where X and t are but `one_row`

    @property
    def n(self) -> int:
        """Observations."""
        return len(self.X) if self.far is None else len(self.far)

    @property
    def total(self) -> float:
        """Σ c."""
        if self.far is not None:
            return self.far.total
        with LOCK:
            from ..kernels.calls.prepared import prepared

        return float(self.n) if self.c is None else prepared(self.net).weight_sum(self.c)

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // self.batch)

    def reduce(self, what: Callable[..., Statistic], *arguments: Any) -> Statistic:
        """Return what ``what(rows, *arguments)`` says of all observations, part by part."""
        if self.far is not None:
            return self.far.reduce(what, *arguments)
        return over_parts(what, Rows(self.X, self.t, self.c), *arguments)

    @cached_property
    def targets(self) -> Statistic:
        """Σ c t², and the largest |t|."""
        return self.reduce(_sizes)

    def objective(self) -> Objective | FarObjective:
        if self.far is not None:
            return FarObjective(self.far, self.l2)
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

        if self.far is not None:
            mean = self.far.batch(self.w, 1.0 / self.far.total) / self.far.total
        else:
            mean = mean_loss(prepared(self.net), self.w, self.X, self.t, self.c, self.loss)
        return mean + self.penalty()

    @property
    def penalised(self) -> bool:
        l2 = self.l2
        return bool(l2.any() if isinstance(l2, np.ndarray) else l2)

    def penalty(self) -> float:
        if not self.penalised:
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            return penalty(self.l2, self.w)


def stream(seed: int | np.random.Generator | None, number: int) -> np.random.Generator:
    """Return a generator of its own for one purpose, so that the start is net.init(seed)."""
    if seed is None:
        return default_rng()
    return seed if isinstance(seed, np.random.Generator) else default_rng([seed, number])


class _WithoutMoments:
    """Of methods that keep nothing which another fit could go on from."""

    def moments(self) -> dict[str, Any]:
        return {}

    def go_on(self, moments: dict[str, Any]) -> None:
        pass


class Stochastic:
    """SGD, Adam, AdamW: a compiled call an epoch, on targets in the problem's unit.

    There A and the loss are in its units too, and learning rates mean the same whatever it is.
    """

    def __init__(self, problem: Problem, optimizer: SGD | Adam) -> None:
        with LOCK:
            from ..kernels.calls.optimizers import Epochs, Order
            from ..kernels.calls.prepared import prepared

        self._problem = problem
        self._rate = optimizer.learning_rate
        l2, each = (0.0, problem.l2) if isinstance(problem.l2, np.ndarray) else (problem.l2, None)
        if isinstance(optimizer, SGD):
            rule = "sgd"
            settings = [
                l2,
                optimizer.weight_decay,
                optimizer.momentum,
                float(optimizer.nesterov),
            ]
        else:
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
            prepared(problem.net),
            self._w,
            problem.X,
            t,
            c,
            problem.loss,
            rule,
            settings,
            problem.free,
            each,
            problem.batch,
            problem.n,
        )

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
        ahead = max(_RATES // batches, 1) if isinstance(self._rate, TAKES_ARRAYS) else 1
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
        order = self._order.state.copy()
        return {
            "state": self._run.state.copy(),
            "left": self._run.left.copy(),
            "order": order,
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
_NATS = 0.5
_LIKELIHOODS = ("cross_entropy", "poisson")
_NOTHING = 1e-8 * _NATS  # a cross-entropy that has no more to lose: classes that a line parts


class Levenberg(_WithoutMoments):
    """Levenberg–Marquardt: many iterations a compiled call where nobody looks in between."""

    def __init__(self, problem: Problem, optimizer: LevenbergMarquardt) -> None:
        with LOCK:
            from ..kernels.calls.optimizers import Levenberg
            from ..kernels.calls.prepared import prepared

        self._problem, far = problem, problem.far
        self._ftol = optimizer.ftol
        self._run = Levenberg(
            prepared(problem.net),
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
                why, loss = end_of_levenberg(problem, why, self._ftol)
                self._run.end(loss)
            yield reason or REASONS[why]
            if why:
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


OF_RESIDUALS = ("squared", "huber", "log_cosh")
_CLAIMS = (SMALL_GRADIENT, SMALL_STEP, SMALL_GAIN)


def settled(
    problem: Problem, why: int, tol: float, steps: int = STEPS, compiled: bool = False
) -> tuple[int, float | None]:
    """Return why a fit has ended once that has been looked at in float64, and the loss then.

    The loss is None, and the reason as it was, where there is nothing to look at (`ends`).
    """
    if why not in (*_CLAIMS, ROUNDED, STALLED, STUCK):
        return why, None
    size, rms = _size(problem.loss), _rms(problem)
    found = ended(problem, size=size, rms=rms, tol=tol, steps=steps, compiled=compiled)
    if found is None:
        return why, None
    kept = (found.reason == SMALL_GAIN) == (why in _CLAIMS)
    return why if kept else found.reason, found.loss


def end_of_levenberg(problem: Problem, why: int, ftol: float) -> tuple[int, float | None]:
    """Return what `settled` does where the compiled loop can't tell."""
    if is_told(problem, why):
        return why, None
    own, before = problem.net.dtype == np.float64, problem.w.copy()
    why, loss = settled(problem, why, ftol, compiled=own)
    # Where it stays, the loss is the loop's to the last bit.
    return why, None if own and np.array_equal(problem.w, before) else loss


def is_told(problem: Problem, why: int) -> bool:
    """Whether the compiled loop can tell itself why it ended.

    Not so in float32, of a stall, and where bounds or penalties of some parameters bend its way.
    """
    plain = problem.bounds is None and not isinstance(problem.l2, np.ndarray)
    return problem.net.dtype == np.float64 and why != STALLED and plain


def _size(loss: Loss) -> float:
    """Return what a small fall is measured by; below 0 it is the loss itself."""
    return _NATS if loss.name in _LIKELIHOODS else -1.0


def _rms(problem: Problem) -> float:
    """Return that of the targets, for a loss of residuals; else 0."""
    if not problem.loss.name.startswith(OF_RESIDUALS):
        return 0.0
    return math.sqrt(np.sum(problem.targets.sums[0]) / problem.total)


def levenberg_options(problem: Problem, optimizer: LevenbergMarquardt) -> dict[str, Any]:
    """Return all that the compiled loop is told beside the data."""
    with LOCK:
        from ..kernels.calls.objective import parted

    curvature, loss = optimizer.curvature, problem.loss.name
    if curvature == "auto":
        plain = ("squared", "cross_entropy", "poisson")
        curvature = "second_derivative" if loss in plain else "reweighted"
    l2, each = parted(problem.l2)
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


def one_row(net: Network) -> tuple[NDArray, NDArray, None]:
    """Return an observation that stands where those of a fit are elsewhere."""
    t = (1,) if net.n_outputs == 1 else (1, net.n_outputs)
    return np.zeros((1, net.n_inputs), net.dtype), np.zeros(t, net.dtype), None


def squares(problem: Problem) -> NDArray:
    """Σ c t² for the squared loss, else 0, of each group that is begun; else of shape ()."""
    groups = problem.w.shape[:-1]
    if problem.loss.name != "squared":
        return np.zeros(groups)
    return np.reshape(problem.targets.sums[0], (*groups, -1)).sum(axis=-1)


def _sizes(rows: Rows) -> Statistic:
    _, t, c = rows.weighing()
    assert t is not None
    t = t.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        squares = t * t if c is None else (c.T * (t * t).T).T
    largest = np.maximum.reduce(np.abs(t), initial=0.0)
    return Statistic((np.add.reduce(squares),), largest=largest)


def kinds_of(net: Network, free: NDArray) -> NDArray:
    """Number the kinds of parameters: one input's weights, or one output's, of like neurons.

    Neurons are alike that have the same activation, and of whose weights the same are free.
    """
    keys = tuple(v.key for v in net.activations)
    return _kinds(keys, net.n_inputs, net.n_outputs, free.tobytes())


@lru_cache(maxsize=64)  # 30 µs, a fifth of a small fit
def _kinds(activations: tuple[str, ...], N: int, K: int, free: bytes) -> NDArray:
    H = len(activations)
    known: dict[Any, int] = {}
    like = np.empty(H, np.int64)
    for i, v in enumerate(activations):
        key = (v, free[i : K * H : H], free[K * H + i * N : K * H + (i + 1) * N])
        like[i] = known.setdefault(key, len(known))
    outputs = like * (N + K) + np.arange(K)[:, np.newaxis]
    weights = like[:, np.newaxis] * (N + K) + np.arange(K, K + N)
    kinds = np.concatenate([outputs.ravel(), weights.ravel()])
    return np.unique(kinds, return_inverse=True)[1].astype(np.int64)


def _cotangents(net: Network, loss: Loss, s: NDArray, t: NDArray) -> NDArray:
    """∂ℓ/∂s of each observation, of the shape of s."""
    rows = (len(s), net.n_outputs)
    at, of = (array.astype(np.float64).reshape(rows) for array in (s, t))
    sigmas = softmax if net.output is softmax else boundary.sigmas(net)
    with np.errstate(all="ignore"):
        head = head_at(sigmas, loss, at, of, np.ones(len(s)), np.ones(net.n_outputs), 1)
    return head.sbar.reshape(s.shape)


def _curvatures(rows: Rows, net: Network, loss: Loss, w: NDArray, unit: float) -> Statistic:
    """Σ c (ℓ' ∂f/∂w_j / unit)² of each parameter, over outputs too."""
    squares = np.zeros(net.n_params)
    of_A, of_W = (part.reshape(-1, part.shape[-1]) for part in net.split(squares))
    a, W = net.split(w.astype(np.float64))
    A = a.reshape(net.n_outputs, -1)
    for first in range(0, len(rows.X), _ROWS):
        X, t, c = rows.of(slice(first, first + _ROWS))
        assert t is not None
        with np.errstate(over="ignore", invalid="ignore"):
            X = X.astype(np.float64)
            U, slopes = entrywise(net.activations, 1, X @ W.T)
            s = U @ A.T
            weights = (_cotangents(net, loss, s.reshape(t.shape), t).reshape(s.shape) / unit) ** 2
            if c is not None:
                weights *= c[:, np.newaxis]
            of_A += weights.T @ U**2
            of_W += ((weights @ A**2) * slopes**2).T @ X**2
    return Statistic((squares,))


def _moved(rows: Rows, net: Network, loss: Loss, w: NDArray) -> Statistic:
    """Σ c |∂ℓ t|, or |∂ℓ/∂s s| where there are several outputs: what rounding moves the loss by."""
    X, t, c = rows
    assert t is not None
    if net.n_outputs == 1:
        moved = np.abs(loss.derivative(net.value(w, X), t) * t.astype(np.float64))
    else:
        s = before_outputs(net).value(w, X)
        moved = np.abs(_cotangents(net, loss, s, t.astype(np.float64)) * s).sum(axis=1)
    return Statistic((float((moved if c is None else c * moved).sum()),))


class _Stopped(Exception):
    """Leaves a SciPy method, and the fit."""


class _Still(Exception):
    """Leaves a SciPy method that goes on without lowering the loss."""


_ROWS = 4096  # in memory at a time, by neurons
_TOL, _XTOL, _FTOL = 1e-8, 1e-10, 1e-13  # where an optimizer's options name no tolerance
_POLISH, _POLISHES = 50, 4  # iterations at the end by gradients alone, and how often at most
_POLISHED = 1e-2 * _TOL  # a gradient that is not worth more
# Parameters up to which a matrix costs no more than the iterations before it, and a Hessian no more
# than those in its place, if their square times the observations is no more than WORK; and what of
# its largest entry is added to curvatures.
_HESSIAN, _FLAT = 600, 1e-10
_SMALL = 1e-4  # a gradient that may be left where the loss no longer falls
_STILL = 20  # iterations without a fall: SciPy's trust regions would go on
# What so many iterations are to gain, summed over the observations, for a fit of a likelihood with
# many parameters to go on: less is noise. On scikit-learn's digits held-out scores are the same.
_GAINING, _GAIN = 10, 2.5
# A run that lowers the loss by so many times ftol, or by half, is followed by another.
_WORTH = 1e4
_SPENT = "stopped: as many iterations or evaluations as the optimizer's options allow"
_ENOUGH = f"stopped: {_GAINING} iterations raised the likelihood by less than the data can tell"
_LIMITED = ("maximum", "limit", "exceed")  # in SciPy's messages of counts that are spent


class Units(NamedTuple):
    """What the loss and the free parameters are divided by for a SciPy method."""

    loss: float
    parameters: NDArray


class SciPy(_WithoutMoments):
    """Methods of `scipy.optimize.minimize` on the free parameters.

    They are handed the loss and the parameters in units (`_units`), so that what they compare with
    numbers of their own, tolerances and first steps, means the same in any units of the data.
    """

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
        self._nothing = -np.inf  # a loss that is none beside the start's and the targets'
        # A method's memory can't be stored. So with a checkpoint it starts afresh every so many
        # iterations, whether or not the run is interrupted there.
        self._segments = segments
        self._gain = -np.inf  # of the mean loss
        many = problem.net.n_params > MOST_OF_LEVENBERG and problem.loss.name in _LIKELIHOODS
        if many and isinstance(optimizer, LBFGS) and optimizer.ftol is None:
            n = problem.n if problem.c is None else np.count_nonzero(problem.c)
            self._gain = _GAIN / n
        tight = float(self._options.get("gtol", _TOL)) <= _TOL
        self._polishes = tight and self._method not in WITHOUT_GRADIENT

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
        """Run the method, and again in the units of where it ended while that is worth it."""
        problem = self._problem
        self._loss, gradient = self._objective(problem.w)
        if not np.isfinite(self._loss):
            raise diverged(watch, problem.w.copy())
        if not self._free.size:
            return REASONS[NOTHING_FREE]
        units = self._units()
        if not gradient[self._free].any() and problem.bounds is None:
            return REASONS[SADDLE if self._loss > self._rounding() else SMALL_GRADIENT]
        size = min(self._loss, 0.5 * _rms(problem) ** 2 or np.inf)  # a start may be far off
        self._nothing = float(np.finfo(problem.net.dtype).eps) ** 2 * size
        end = watch.step + n
        ftol = self._options.get("ftol", self._options.get("fatol", _FTOL))
        share = min(_WORTH * ftol, 0.5)
        while True:
            before = self._loss
            ended, message = self._run(watch, end - watch.step, units)
            if ended:
                return message
            worth = before - self._loss > share * units.loss
            units = self._units()
            limited = any(word in message.lower() for word in _LIMITED)
            reason = self._judged(units, limited)
            done = reason == REASONS[SMALL_GRADIENT] or abs(self._loss) <= self._nothing
            if done or limited or not worth or watch.step >= end:
                break
        if limited or abs(self._loss) <= self._nothing:
            return reason
        if self._polishes:
            reason = self._polished(watch, end, units, reason)
        return self._settled(reason)

    def _settled(self, reason: str) -> str:
        """Look at the end in float64, and go on from there where it is not stationary."""
        problem = self._problem
        looked_at = [REASONS[SMALL_GRADIENT], REASONS[SMALL_GAIN]]
        if problem.net.dtype == np.float32:
            looked_at.append(REASONS[STALLED])
        if reason not in looked_at or len(self._free) > _HESSIAN:
            return reason
        tol = float(self._options.get("gtol", _TOL)) ** 2
        steps = STEPS if self._polishes else 0
        why, loss = settled(problem, REASONS.index(reason), tol, steps)
        self._loss = self._loss if loss is None else loss
        return REASONS[why]

    def _is_small(self) -> bool:
        """Whether matrices of the free parameters cost no more than iterations in their place."""
        P = len(self._free)
        return P <= _HESSIAN and self._problem.n * P**2 <= WORK

    def _polished(self, watch: Watch, end: int, units: Units, reason: str) -> str:
        """Go on where the loss is flat to rounding, by gradients alone; returns why it ended.

        By Newton's steps where the Hessian is small, else by L-BFGS, each time from where that
        ended, about which rounding and third powers of the way are less, while the gradient falls
        to half. So fits whose sums differ by rounding have the same end.
        """
        problem = self._problem
        for _ in range(_POLISHES):
            if watch.step >= end:
                break
            w, before, steepest = problem.w.copy(), self._loss, self._steepest(units)
            if steepest <= _POLISHED:
                break
            ended, message = False, ""
            for by_newton in (True, False):
                if by_newton and not self._newton(watch, units):
                    continue
                if not by_newton:
                    n = min(end - watch.step, _POLISH)
                    ended, message = self._run(watch, n, units, about=w)
                left = self._steepest(units)
                least = 0.5 * steepest if by_newton else steepest
                if left <= least and self._loss <= before + self._rounding():
                    break
                problem.w[:], self._loss = w, before
                left = steepest
            if ended:
                return message
            reason = self._judged(units, False)
            if not left <= 0.5 * steepest:
                break
        return reason

    def _newton(self, watch: Watch, units: Units) -> bool:
        """Take a step of Newton's; False where the Hessian is large or bounds are in the way.

        Along what has next to no curvature it is short, and where a unit is far larger than most:
        the bias of a neuron without weight, which may be any.
        """
        problem, free, scale = self._problem, self._free, units.parameters
        P = len(free)
        if problem.far is not None or problem.bounds is not None or not self._is_small():
            return False
        directions = np.zeros((P, len(problem.w)), problem.net.dtype)
        directions[np.arange(P), free] = scale
        watch.n_evaluations += P
        with np.errstate(all="ignore"):
            rows = [self._objective.hvp(problem.w, p)[free] for p in directions]
            H = np.array(rows, np.float64) * scale
            gradient = self._objective(problem.w)[1][free].astype(np.float64) * scale
            far = np.maximum(scale / np.median(scale), 1.0)
            H[np.diag_indices(P)] += _FLAT * np.abs(H.diagonal()).max() * far**2
            if not np.isfinite(H).all():
                return False
            try:
                step = np.linalg.solve(H, gradient)
            except np.linalg.LinAlgError:
                return False
            w = problem.w[free] - step * scale
        if not np.isfinite(w).all():
            return False
        problem.w[free] = w
        self._loss = self._objective.value(problem.w)
        return True

    def _units(self) -> Units:
        """S, what a small fall of the loss is measured by, and √(S / 2) / D at the parameters.

        D_j² is the mean of (ℓ' ∂f/∂w_j)² over 2 S, for the squared loss a mean of (∂f/∂w_j)², the
        largest of j's kind, and the penalty's weight. So the gradient in these units is
        D⁻¹ g / √(2 S), as Levenberg–Marquardt compares it with gtol.
        """
        problem, free = self._problem, self._free
        net = problem.net
        size = abs(self._loss) or 1.0
        if problem.loss.name == "poisson":
            size = _NATS
        elif problem.loss.name == "cross_entropy":
            size = min(max(size, _NOTHING), _NATS)
        # A power of 2, without which fourth powers of the targets may overflow or vanish.
        unit = np.exp2(np.round(0.5 * np.log2(size)))
        squares = problem.reduce(_curvatures, net, problem.loss, problem.w, unit).sums[0]
        total = problem.total
        kinds = kinds_of(net, problem.free)
        largest = np.zeros(net.n_params)
        np.maximum.at(largest, kinds, squares)
        largest = largest[kinds]
        if net.output is softmax:  # else steps move where y stays: all of a neuron's by one number
            A = net.split(largest)[0]
            A[:] = A.max(axis=0)
        curvature = (largest / (2.0 * (size / unit**2) * total) + problem.l2)[free]
        known = curvature[(curvature > 0.0) & np.isfinite(curvature)]
        if known.size < curvature.size:  # columns of zeros, or slopes beyond all numbers
            least = known.min() if known.size else size
            curvature = np.where((curvature > 0.0) & np.isfinite(curvature), curvature, least)
        return Units(size, np.sqrt(0.5 * size / curvature))

    def _rounding(self) -> float:
        """How far rounding of the outputs alone may move the loss."""
        problem = self._problem
        moved = problem.reduce(_moved, problem.net, problem.loss, problem.w).sums[0]
        return (
            4.0 * float(np.finfo(problem.net.dtype).eps) * (abs(self._loss) + moved / problem.total)
        )

    def _steepest(self, units: Units) -> float:
        """The largest entry of the gradient, in units; none longer than the way to its bound."""
        problem = self._problem
        gradient = self._objective(problem.w)[1][self._free].astype(np.float64)
        slopes = np.abs(gradient * (units.parameters / units.loss))
        if problem.bounds is not None:  # none is longer than the way to its bound
            low, high = (bound[self._free] for bound in problem.bounds)
            w = problem.w[self._free]
            slopes = np.minimum(
                slopes, np.where(gradient > 0, w - low, high - w) / units.parameters
            )
        return float(slopes.max())

    def _judged(self, units: Units, limited: bool) -> str:
        """Why a run ended, by the gradient that it left."""
        problem, steepest = self._problem, self._steepest(units)
        if steepest <= float(self._options.get("gtol", _TOL)):
            return REASONS[SMALL_GRADIENT]
        # What rounding leaves of a gradient whose loss it keeps from falling.
        small = min(float(np.finfo(problem.net.dtype).eps) ** (1.0 / 3.0), _SMALL)
        nothing = _NOTHING if problem.loss.name == "cross_entropy" else self._nothing
        if steepest <= small or abs(self._loss) <= max(nothing, self._rounding()):
            return REASONS[SMALL_GAIN]
        return _SPENT if limited else REASONS[STALLED]

    def _run(
        self, watch: Watch, n: int, units: Units, about: NDArray | None = None
    ) -> tuple[bool, str]:
        """Run the method once; or L-BFGS from `about` on, with the loss as gradients tell it.

        The mean of the gradients at both ends, times the way, is the fall of the loss up to the
        way's third power, free of the rounding of the loss itself.

        Returns whether that ended the fit, or the segment, and why; else SciPy's message.
        """
        problem, objective = self._problem, self._objective
        dtype = problem.net.dtype
        free: slice | NDArray = self._free
        if self._free[-1] - self._free[0] + 1 == self._free.size:
            free = slice(self._free[0], self._free[-1] + 1)  # a fifth of the time of indices
        scale, slope = units.parameters, units.parameters / units.loss
        last: list[Any] = [None, np.nan]
        still = 0

        def whole(z: NDArray) -> NDArray:
            w = problem.w.copy()
            w[free] = z * scale
            if problem.bounds is not None:  # rounding may have left them
                np.clip(w, *problem.bounds, out=w)
            return w

        def function(z: NDArray) -> Any:
            watch.n_evaluations += 1
            w = whole(z)
            if self._method in WITHOUT_GRADIENT:
                value = objective.value(w)
                last[:] = w, value
                return value / units.loss
            value, gradient = objective(w)
            last[:] = w, value
            if about is not None:
                mean = 0.5 * (gradient.astype(np.float64) + origin)[free]
                value = float(mean @ (w.astype(np.float64) - about)[free])
            return value / units.loss, gradient[free] * slope

        def hessp(z: NDArray, p: NDArray) -> NDArray:
            direction = np.zeros(len(problem.w), dtype)
            direction[free] = p * scale
            return objective.hvp(whole(z), direction)[free] * slope

        def hess(z: NDArray) -> NDArray:
            if self._method in WITH_HESSIAN:
                matrix = np.array([hessp(z, e) for e in np.eye(len(scale))])
            else:
                among = np.ix_(self._free, self._free)
                matrix = objective.gauss_newton(whole(z))[2][among].astype(np.float64)
                matrix *= scale[:, np.newaxis] * slope
            if not np.isfinite(matrix).all():
                raise ValueError(
                    f"the optimizer {method} needs finite second derivatives of the loss, which "
                    f"{dtype} can't hold here: scale columns and targets, or begin elsewhere "
                    "(w0, seed)"
                )
            if self._method in WITH_HESSIAN:
                return matrix
            # Definite where it is singular but for rounding.
            least = len(scale) * float(np.finfo(dtype).eps)
            matrix[np.diag_indices_from(matrix)] += least * (float(matrix.diagonal().max()) or 1.0)
            return matrix

        def note(z: NDArray, *_: Any) -> None:
            nonlocal still
            w = whole(np.asarray(z))
            value = last[1] if np.array_equal(w, last[0]) else objective.value(w)
            if not np.isfinite(value):  # no step down, whatever the method takes it for
                raise _Still
            done = abs(value) <= self._nothing
            still = 0 if value < self._loss else still + 1
            problem.w[:] = w
            self._loss = value
            reason = watch.after(problem.w, value)
            if reason or watch.step >= watch.epochs:
                raise _Stopped(reason)
            if watch.step > _GAINING and watch.losses[-1 - _GAINING] - value < self._gain:
                raise _Stopped(_ENOUGH)
            if with_gradient and about is None and (still >= _STILL or done):
                raise _Still

        method, origin = self._method, np.zeros(0)
        if about is not None:
            method, origin = "L-BFGS-B", objective(about)[1].astype(np.float64)
        # TNC is told of evaluations only: its iterations are counted by `note`.
        options: dict[str, Any] = {"maxfun": 100 * n} if self._method == "TNC" else {"maxiter": n}
        if self._method == "L-BFGS-B":
            options["maxfun"] = 100 * n
        if self._method in WITH_FTOL:
            options["ftol"] = _FTOL
        if self._method == "Newton-CG":
            options["xtol"] = _XTOL
        options |= self._options
        if about is not None:
            options = {"maxiter": n, "gtol": _POLISHED, "ftol": 0.0, "maxcor": 20}
        with_gradient = self._method not in WITHOUT_GRADIENT
        bounds = None
        if problem.bounds is not None:
            low, high = (bound[free].astype(np.float64) / scale for bound in problem.bounds)
            bounds = list(zip(low, high, strict=True))
        try:
            with np.errstate(all="ignore"):
                found = self._minimize(
                    function,
                    problem.w[free] / scale,
                    jac=True if with_gradient else None,
                    hessp=hessp if method in WITH_HESSIAN_PRODUCT else None,
                    hess=hess if method in (*WITH_HESSIAN, *WITH_POSITIVE_HESSIAN) else None,
                    method=method,
                    bounds=bounds,
                    callback=note,
                    tol=_TOL,
                    options=options,
                )
        except _Stopped as stopped:
            return True, str(stopped)
        except _Still:
            return False, ""
        except UnboundLocalError as error:  # SciPy's own, where trust-exact finds no step
            if "trustregion" not in extract_tb(error.__traceback__)[-1].filename:
                raise
            return False, ""
        if about is not None:
            problem.w[:] = whole(found.x)
            self._loss = objective.value(problem.w)
            return False, found.message
        w = whole(found.x)
        value = objective.value(w)
        if np.isfinite(value) and value <= self._loss:
            problem.w[:], self._loss = w, value
        spent = found.get("nit", found.nfev) >= n  # COBYLA counts evaluations only
        return spent and (self._segments or not found.success), "" if spent else found.message

    def loss(self) -> float:
        return self._loss

    def state(self) -> dict[str, NDArray]:
        return {"scipy_loss": np.array(self._loss)}

    def restore(self, state: dict[str, NDArray]) -> None:
        self._loss = float(state["scipy_loss"])


Method = Stochastic | Levenberg | SciPy


def within_bounds(optimizer: Optimizer) -> bool:
    """Whether an optimizer keeps to bounds."""
    if isinstance(optimizer, Minimize):
        return optimizer.method in WITH_BOUNDS
    return isinstance(optimizer, LevenbergMarquardt)


def method_of(problem: Problem, optimizer: Optimizer, segments: bool) -> Method:
    """Return the optimizer at work on a problem."""
    if problem.bounds is not None and not within_bounds(optimizer):
        name = optimizer.method if isinstance(optimizer, Minimize) else type(optimizer).__name__
        raise ValueError(
            f"the optimizer {name} knows no bounds; LevenbergMarquardt and LBFGS keep to them"
        )
    if isinstance(optimizer, SGD | Adam):
        return Stochastic(problem, optimizer)
    if isinstance(optimizer, LevenbergMarquardt):
        return Levenberg(problem, optimizer)
    if isinstance(optimizer, Minimize):
        return SciPy(problem, optimizer, segments)
    raise TypeError(f"optimizer must be a name or one of fastbp.optimizers; got {optimizer!r}")
