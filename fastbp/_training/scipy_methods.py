"""SciPy's methods at work on a fit: in units, with what they say of their end put to the test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from traceback import extract_tb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._columns import Columns
from .._heads import entrywise, head_at
from .._lock import LOCK
from .._parts import Rows, Statistic
from ..activations import softmax
from ..kernels.machine.levenberg_settings import (
    NOTHING_FREE,
    REASONS,
    SADDLE,
    SMALL_GAIN,
    SMALL_GRADIENT,
    STALLED,
)
from ..losses import LIKELIHOODS, Loss, cross_entropy, family
from ..network import Network, before_outputs
from ..optimizers import (
    LBFGS,
    MOST_OF_LEVENBERG,
    WITH_FTOL,
    WITH_HESSIAN,
    WITH_HESSIAN_PRODUCT,
    WITH_POSITIVE_HESSIAN,
    WITHOUT_GRADIENT,
    Minimize,
)
from . import newton
from .ends import STEPS
from .methods import NATS, WithoutMoments, kinds_of, settled
from .problem import Problem, rms_of_targets
from .watch import Watch, diverged

_NOTHING = 1e-8 * NATS  # a cross-entropy that has no more to lose: classes that a line parts
_SEGMENT = 100  # iterations of a method between checkpoints
_ROWS = 4096  # in memory at a time, by neurons
_TOL, _XTOL, _FTOL = 1e-8, 1e-10, 1e-13  # where an optimizer's options name no tolerance
_POLISH, _POLISHES = 50, 4  # iterations at the end by gradients alone, and how often at most
# Of the way of a step of Newton's, which leads too far where curvature changes along it.
_SHARES = (1.0, 0.25, 0.0625)
_POLISHED = 1e-2 * _TOL  # a gradient that is not worth more
# The part of a Gauss–Newton matrix's largest entry that its diagonal is raised by for dogleg. With
# rounding's, 1000 steps did not arrive where a neuron had lost its weight; 100 to 200 do with this.
_DEFINITE = 1e-6
_SMALL = 1e-4  # a gradient that may be left where the loss no longer falls
# Iterations without a fall worth ftol: SciPy's trust regions would go on, and its Newton-CG, which
# takes curvatures below 3 eps for none, by steps of steepest descent that 3000 epochs did not end.
_STILL = 20
# What so many iterations are to gain, summed over the observations, for a fit of a likelihood with
# many parameters to go on: less than Akaike's price of one parameter is noise. On scikit-learn's
# digits by 32 tanh, 2.5 leaves 0.0899 held out after 38 iterations, 1 0.0895 (55), 0.5 0.0879 (71).
_GAINING, _GAIN = 10, 1.0
# A run that lowers the loss by so many times ftol, or by half, is followed by another.
_WORTH = 1e4
# Before, trust-exact may look for a step for ever (SciPy's issue 12513).
_ENDS = re.compile(r"1\.(1[7-9]|[2-9]\d)\.|[2-9]")
SPENT = "stopped: as many iterations or evaluations as the optimizer's options allow"
_ENOUGH = f"stopped: {_GAINING} iterations raised the likelihood by less than the data can tell"
_MOST = 2**31 - 2  # that a method in C counts to
_BY_EVALUATIONS = {"TNC": "maxfun", "COBYLA": "maxiter"}  # what such methods call the most
_LIMITED = ("max", "limit", "exceed")  # in SciPy's messages of counts that are spent


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
    rows = rows.weighing()
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
    """Σ c |∂ℓ t|, or |∂ℓ/∂s s| of several outputs and classes: what rounding moves the loss by."""
    X, t, c = rows.weighing()
    assert t is not None
    with np.errstate(all="ignore"):
        if net.n_outputs == 1 and loss != cross_entropy:  # which is taken from s
            moved = np.abs(loss.derivative(net.value(w, X), t) * t.astype(np.float64))
        else:
            s = before_outputs(net).value(w, X)
            moved = np.abs(_cotangents(net, loss, s, t.astype(np.float64)) * s)
            moved = moved.reshape(len(X), -1).sum(axis=1)
    return Statistic((float((moved if c is None else c * moved).sum()),))


class _Stopped(Exception):
    """Leaves a SciPy method, and the fit."""


class _Still(Exception):
    """Leaves a SciPy method that goes on without lowering the loss, or can't go on."""


class Units(NamedTuple):
    """What the loss and the free parameters are divided by for a SciPy method."""

    loss: float
    parameters: NDArray


class SciPy(WithoutMoments):
    """Methods of `scipy.optimize.minimize` on the free parameters.

    They are handed the loss and the parameters in units (`_units`), so that what they compare with
    numbers of their own, tolerances and first steps, means the same in any units of the data.
    """

    def __init__(
        self, problem: Problem, optimizer: Minimize, segments: bool, open_ended: bool
    ) -> None:
        try:
            with LOCK:
                import scipy.optimize
        except ImportError as error:
            raise ImportError(
                f"the optimizer {optimizer.method} needs SciPy: pip install 'fastbp[scipy]'"
            ) from error
        if optimizer.method == "trust-exact" and not _ENDS.match(scipy.__version__):
            raise ImportError(
                "the optimizer trust-exact needs SciPy 1.17 or newer, where it always ends; got "
                f"{scipy.__version__}: take trust-ncg"
            )
        self.minimize = scipy.optimize.minimize
        self.problem = problem
        self.method = optimizer.method
        self.options = dict(optimizer.options)
        self.objective = problem.objective()
        self.free = np.flatnonzero(problem.free)
        self.value = np.nan
        self.nothing = -np.inf  # a loss that is none beside the start's and the targets'
        # A method's memory can't be stored. So with a checkpoint it starts afresh every so many
        # iterations, whether or not the run is interrupted there.
        self._segments = segments
        self.gain = -np.inf  # of the mean loss
        many = problem.net.n_params > MOST_OF_LEVENBERG and family(problem.loss) in LIKELIHOODS
        if many and isinstance(optimizer, LBFGS) and optimizer.ftol is None:
            self.gain = _GAIN / problem.n_weighing
        self._gtol = float(self.options.get("gtol", _TOL))
        self.tol = self._gtol**2  # of the loss
        self.ftol = float(self.options.get("ftol", self.options.get("fatol", _FTOL)))
        self._polishes = self._gtol <= _TOL and self.method not in WITHOUT_GRADIENT
        # Where no number of iterations was asked for, the last way is not the method's alone.
        self._completes = open_ended and self._polishes and not segments

    def steps(self, watch: Watch) -> Iterator[str]:
        while watch.step < watch.epochs:
            left = watch.epochs - watch.step
            n = min(left, _SEGMENT) if self._segments else left
            before = watch.step
            yield self._minimise(watch, n)
            if watch.step == before:
                return

    @np.errstate(all="ignore")  # a trial may be far beyond all numbers
    def _minimise(self, watch: Watch, n: int) -> str:
        """Run the method, and again in the units of where it ended while that is worth it."""
        problem = self.problem
        self.value, gradient = self.objective(problem.w)
        slopes = () if self.method in WITHOUT_GRADIENT else gradient[self.free]
        if not (np.isfinite(self.value) and np.isfinite(slopes).all()):
            raise diverged(watch, problem.w.copy())
        if not self.free.size:
            return REASONS[NOTHING_FREE]
        units = self._units()
        if not gradient[self.free].any() and problem.bounds is None:
            return REASONS[SADDLE if self.value > self._rounding() else SMALL_GRADIENT]
        size = min(
            self.value, 0.5 * rms_of_targets(problem) ** 2 or np.inf
        )  # a start may be far off
        self.nothing = float(np.finfo(problem.net.dtype).eps) ** 2 * size
        end = watch.step + n
        share = min(_WORTH * self.ftol, 0.5)
        while True:
            before = self.value
            ended, message = self._run(watch, end - watch.step, units)
            if ended and (message or not self._completes):
                return message
            worth = before - self.value > share * units.loss
            units = self._units()
            limited = any(word in message.lower() for word in _LIMITED)
            reason = self._judged(units, limited)
            done = reason == REASONS[SMALL_GRADIENT] or abs(self.value) <= self.nothing
            if done or limited or not worth or watch.step >= end:
                break
        if limited or abs(self.value) <= self.nothing:
            return reason
        if self._polishes:
            reason = self._polished(watch, end, units, reason)
        if ended and reason != REASONS[SMALL_GRADIENT]:
            return ""
        return self._settled(reason)

    def _settled(self, reason: str) -> str:
        """Look at the end in float64, and go on from there where it is not stationary."""
        problem = self.problem
        looked_at = [REASONS[SMALL_GRADIENT], REASONS[SMALL_GAIN], REASONS[STALLED]]
        if reason not in looked_at or len(self.free) > newton.MOST:
            return reason
        steps = STEPS if self._polishes else 0
        why, loss = settled(problem, REASONS.index(reason), self.tol, steps)
        self.value = self.value if loss is None else loss
        return REASONS[why]

    def _polished(self, watch: Watch, end: int, units: Units, reason: str) -> str:
        """Go on where the loss is flat to rounding, by gradients alone; returns why it ended.

        By Newton's steps where the Hessian is small, else by L-BFGS, each time from where that
        ended, about which rounding and third powers of the way are less, while the gradient falls
        to half. So fits whose sums differ by rounding have the same end. Newton's steps are no
        iterations: they follow the last too, then also where the loss falls by more than rounding.
        """
        for _ in range(_POLISHES):
            steepest = self._steepest(units)
            if steepest <= _POLISHED:
                break
            left, falls, ended = self._nearer(watch, end, units, steepest)
            if ended is not None:
                return ended
            reason = self._judged(units, False)
            if not (falls or left <= 0.5 * steepest):
                break
        return reason

    def _nearer(
        self, watch: Watch, end: int, units: Units, steepest: float
    ) -> tuple[float, bool, str | None]:
        """Take a step of Newton's, or some of L-BFGS, and take it back where it leads nowhere.

        Returns the gradient that is left, whether the loss fell by more than rounding after the
        last iteration, and why that ended the fit, or the segment (""); None where it goes on.
        """
        problem = self.problem
        w, before, rounding = problem.w.copy(), self.value, self._rounding()
        n = min(end - watch.step, _POLISH)
        to = self._newton(watch, units)
        for share in _SHARES if to is not None else ():
            problem.w[:] = to if share == 1.0 else w + share * (to - w)
            self.value = self.objective.value(problem.w)
            left = self._steepest(units)
            falls = (n == 0 or share == 1.0) and self.value < before - rounding
            if falls or (left <= 0.5 * steepest and self.value <= before + rounding):
                return left, falls, None
        problem.w[:], self.value = w, before
        if n == 0:
            return steepest, False, None
        ended, message = self._run(watch, n, units, about=w)
        left, lower = self._steepest(units), self.value < before - rounding  # beside a kink
        if not (lower or (left <= steepest and self.value <= before + rounding)):  # NaN too
            problem.w[:], self.value, left = w, before, steepest
        return left, False, message if ended else None

    def _newton(self, watch: Watch, units: Units) -> NDArray | None:
        """Return where a step of Newton's leads to; None where the Hessian is large.

        It is short where a unit is far larger than most: the bias of a neuron without weight,
        which may be any.
        """
        problem, scale = self.problem, units.parameters
        if not newton.is_small(problem):
            return None
        watch.n_evaluations += len(self.free)
        H = newton.hessian(self.objective, problem.w, self.free, scale, scale)
        g = self.objective(problem.w)[1]
        held = self._oversize(scale)
        return newton.stepped(problem.w, self.free, H, g, scale, problem.bounds, held)

    def _oversize(self, scale: NDArray) -> NDArray:
        """How often units are as large as most, where columns have one size; at least 1."""
        problem, net = self.problem, self.problem.net
        units = np.full(net.n_params, np.nan)
        units[self.free] = scale
        A, W = net.split(units)
        W *= Columns.over(problem.reduce, "X", net.dtype).unit
        for alike in (*A.reshape(net.n_outputs, -1), W):
            known = alike[alike > 0.0]  # neither what is held nor columns of zeros
            alike /= np.median(known) if known.size else 1.0
        return np.maximum(units[self.free], 1.0)

    def _units(self) -> Units:
        """S, what a small fall of the loss is measured by, and √(S / 2) / D at the parameters.

        D_j² is the mean of (ℓ' ∂f/∂w_j)² over 2 S, for the squared loss a mean of (∂f/∂w_j)², the
        largest of j's kind, and the penalty's weight. So the gradient in these units is
        D⁻¹ g / √(2 S), as Levenberg–Marquardt compares it with gtol.
        """
        problem, free = self.problem, self.free
        net = problem.net
        size = abs(self.value) or 1.0
        if family(problem.loss) == "poisson":
            size = NATS
        elif family(problem.loss) == "cross_entropy":
            size = min(max(size, _NOTHING), NATS)
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
        # Not columns of zeros, slopes beyond all numbers, or what is so flat that no unit holds it
        told = (curvature > 0.5 * size / float(np.finfo(net.dtype).max)) & np.isfinite(curvature)
        curvature = np.where(told, curvature, curvature[told].min() if told.any() else size)
        return Units(size, np.sqrt(0.5 * size / curvature))

    def _rounding(self) -> float:
        """How far rounding of the outputs alone may move the loss."""
        problem = self.problem
        moved = problem.reduce(_moved, problem.net, problem.loss, problem.w).sums[0]
        return (
            4.0 * float(np.finfo(problem.net.dtype).eps) * (abs(self.value) + moved / problem.total)
        )

    def _steepest(self, units: Units) -> float:
        """The largest entry of the gradient, in units; none longer than the way to its bound."""
        problem = self.problem
        slopes = self.objective(problem.w)[1][self.free] * (units.parameters / units.loss)
        return newton.steepest(problem.w, self.free, slopes, units.parameters, problem.bounds)

    def _judged(self, units: Units, limited: bool) -> str:
        """Why a run ended, by the gradient that it left."""
        problem, steepest = self.problem, self._steepest(units)
        if steepest <= self._gtol:
            return REASONS[SMALL_GRADIENT]
        # What rounding leaves of a gradient whose loss it keeps from falling.
        small = min(float(np.finfo(problem.net.dtype).eps) ** (1.0 / 3.0), _SMALL)
        nothing = _NOTHING if family(problem.loss) == "cross_entropy" else self.nothing
        if steepest <= small or abs(self.value) <= max(nothing, self._rounding()):
            return REASONS[SMALL_GAIN]
        return SPENT if limited else REASONS[STALLED]

    def _run(
        self, watch: Watch, n: int, units: Units, about: NDArray | None = None
    ) -> tuple[bool, str]:
        """Run the method once, or L-BFGS from `about` on (`_Run`).

        Returns whether that ended the fit, or the segment, and why; else SciPy's message.
        """
        run = _Run(self, watch, units, about)
        try:
            found = run.minimise(n)
        except _Stopped as stopped:
            return True, str(stopped)
        except _Still:
            return False, ""
        except UnboundLocalError as error:  # SciPy's own, where trust-exact finds no step
            if "trustregion" not in extract_tb(error.__traceback__)[-1].filename:
                raise
            return False, ""
        w = run.whole(found.x)
        value = self.objective.value(w)
        if about is not None:
            self.problem.w[:], self.value = w, value
            return False, found.message
        if np.isfinite(value) and value <= self.value:
            self.problem.w[:], self.value = w, value
        spent = found.get("nit", 0) >= n  # COBYLA's are counted by `note`
        return spent and (self._segments or not found.success), "" if spent else found.message

    def loss(self) -> float:
        return self.value

    def state(self) -> dict[str, NDArray]:
        return {"scipy_loss": np.array(self.value)}

    def restore(self, state: dict[str, NDArray]) -> None:
        self.value = float(state["scipy_loss"])


class _Run:
    """One run of a method: what it is handed, in units, and what is noted after its steps.

    Or, where `about` is given, of L-BFGS from there on, with the loss as gradients tell it: the
    mean of the gradients at both ends, times the way, is the fall of the loss up to the way's third
    power, free of the rounding of the loss itself.
    """

    def __init__(self, fit: SciPy, watch: Watch, units: Units, about: NDArray | None) -> None:
        self._fit, self._watch, self._about = fit, watch, about
        self._problem, self._objective = fit.problem, fit.objective
        self._method = fit.method if about is None else "L-BFGS-B"
        self._with_gradient = fit.method not in WITHOUT_GRADIENT
        self._origin = np.zeros(0)
        if about is not None:
            self._origin = self._objective(about)[1].astype(np.float64)
        which = fit.free
        self._free: slice | NDArray = which
        if which[-1] - which[0] + 1 == which.size:
            self._free = slice(which[0], which[-1] + 1)  # a fifth of the time of indices
        self._scale, self._slope = units.parameters, units.parameters / units.loss
        self._unit = units.loss
        self._last: tuple[Any, float] = (None, np.nan)
        self._end = watch.epochs
        self._still = 0

    def minimise(self, n: int) -> Any:
        """Return what SciPy found in n iterations."""
        problem, scale, bounds = self._problem, self._scale, None
        if self._method in _BY_EVALUATIONS:
            self._end = self._watch.step + n
        if problem.bounds is not None:
            low, high = (bound[self._free].astype(np.float64) / scale for bound in problem.bounds)
            bounds = list(zip(low, high, strict=True))
        with_hessian = self._method in (*WITH_HESSIAN, *WITH_POSITIVE_HESSIAN)
        return self._fit.minimize(
            self.function,
            problem.w[self._free] / scale,
            jac=True if self._with_gradient else None,
            hessp=self.hessp if self._method in WITH_HESSIAN_PRODUCT else None,
            hess=self.hess if with_hessian else None,
            method=self._method,
            bounds=bounds,
            callback=self.note,
            tol=_TOL,
            options=self._options(n),
        )

    def _options(self, n: int) -> dict[str, Any]:
        if self._about is not None:
            return {"maxiter": n, "gtol": _POLISHED, "ftol": 0.0, "maxcor": 20}
        n, evaluations = min(n, _MOST), min(100 * n + len(self._scale) + 2, _MOST)
        # TNC and COBYLA are told of evaluations only: their iterations are counted by `note`.
        options: dict[str, Any] = {"maxiter": n}
        if self._method in _BY_EVALUATIONS:
            options = {_BY_EVALUATIONS[self._method]: evaluations}
        if self._method == "Nelder-Mead":  # which counts its start for one
            options["maxiter"] = n + 1
        if self._method == "L-BFGS-B":
            options["maxfun"] = evaluations
        if self._method in WITH_FTOL:
            options["ftol"] = _FTOL
        if self._method == "Newton-CG":
            options["xtol"] = _XTOL
        return options | self._fit.options

    def whole(self, z: NDArray) -> NDArray:
        """Return the parameters at z."""
        w = self._problem.w.copy()
        w[self._free] = z * self._scale
        if self._problem.bounds is not None:  # rounding may have left them
            np.clip(w, *self._problem.bounds, out=w)
        return w

    def function(self, z: NDArray) -> Any:
        """Return the loss, and where the method takes it the gradient."""
        self._watch.n_evaluations += 1
        w = self.whole(z)
        if not self._with_gradient:
            value = self._objective.value(w)
            self._last = w, value
            return value / self._unit
        value, gradient = self._objective(w)
        self._last = w, value
        if self._about is not None:
            mean = 0.5 * (gradient.astype(np.float64) + self._origin)[self._free]
            value = float(mean @ (w.astype(np.float64) - self._about)[self._free])
        return value / self._unit, gradient[self._free] * self._slope

    def hessp(self, z: NDArray, p: NDArray) -> NDArray:
        """Return the Hessian's product with p."""
        direction = np.zeros(len(self._problem.w), self._problem.net.dtype)
        direction[self._free] = p * self._scale
        product = self._objective.hvp(self.whole(z), direction)[self._free] * self._slope
        if not np.isfinite(product).all():  # of which trust-ncg makes an error of SciPy's
            raise _Still
        return product

    def hess(self, z: NDArray) -> NDArray:
        """Return the Hessian, or the Gauss–Newton matrix in its place."""
        dtype, scale = self._problem.net.dtype, self._scale
        if self._method in WITH_HESSIAN:
            fit = self._fit
            matrix = newton.hessian(self._objective, self.whole(z), fit.free, scale, self._slope)
        else:
            among = np.ix_(self._fit.free, self._fit.free)
            matrix = self._objective.gauss_newton(self.whole(z))[2][among].astype(np.float64)
            matrix *= scale[:, np.newaxis] * self._slope
        if not np.isfinite(matrix).all():
            raise ValueError(
                f"the optimizer {self._method} needs finite second derivatives of the loss, which "
                f"{dtype} can't hold here: scale columns and targets, or begin elsewhere "
                "(w0, seed)"
            )
        if self._method in WITH_HESSIAN:
            return matrix
        # Definite where it is singular, or what hardly matters would lead each step.
        least = max(len(scale) * float(np.finfo(dtype).eps), _DEFINITE)
        matrix[np.diag_indices_from(matrix)] += least * (float(matrix.diagonal().max()) or 1.0)
        return matrix

    def note(self, z: NDArray, *_: Any) -> None:
        """Take a step's parameters over, and leave the method where that is the end."""
        fit, watch = self._fit, self._watch
        w = self.whole(np.asarray(z))
        seen, value = self._last
        if not np.array_equal(w, seen):
            value = self._objective.value(w)
        if not np.isfinite(value):  # no step down, whatever the method takes it for
            raise _Still
        done = abs(value) <= fit.nothing
        self._still = 0 if value < fit.value - fit.ftol * self._unit else self._still + 1
        self._problem.w[:] = w
        fit.value = value
        reason = watch.after(self._problem.w, value)
        if reason or watch.step >= self._end:
            raise _Stopped(reason)
        if watch.step > _GAINING and watch.losses[-1 - _GAINING] - value < fit.gain:
            raise _Stopped(_ENOUGH)
        if self._with_gradient and self._about is None and (self._still >= _STILL or done):
            raise _Still
