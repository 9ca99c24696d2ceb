"""Optimizers and learning-rate schedules: plain descriptions of what `fastbp.fit` is to do.

`SGD`, `Adam` and `AdamW` work on batches, `LevenbergMarquardt` on the Gauss–Newton matrix of all
observations, `LBFGS` and `Minimize` through SciPy. All are immutable, comparable and picklable.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from . import _boundary as boundary

__all__ = [
    "LBFGS", "SGD", "Adam", "AdamW", "Constant", "Cosine", "Exponential", "LevenbergMarquardt",
    "Minimize", "OneCycle", "Optimizer", "Schedule", "get_optimizer",
]  # fmt: skip


def _check(what: str, value: float, low: float, high: float = math.inf, *, open_low: bool) -> None:
    try:
        fits = bool(low < value < high if open_low else low <= value < high) and np.ndim(value) == 0
    except (TypeError, ValueError):  # no number, or several
        fits = False
    if not fits:
        expected = f"above {low:g}" if open_low else f"from {low:g} on"
        upper = "" if math.isinf(high) else f" and below {high:g}"
        raise ValueError(f"{what} must be a finite number {expected}{upper}; got {value!r}")


# ---- learning rates ------------------------------------------------------------------------------


@runtime_checkable
class Schedule(Protocol):
    """Learning rate at a step: any callable of two integers will do.

    Steps are batches, counted from 0 over all epochs; `total` is how many there will be.
    """

    def __call__(self, step: int, total: int) -> float:
        """Return the learning rate."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step.

    Parameters
    ----------
    rate : float
        The rate.

    Examples
    --------
    >>> Constant(0.1)(5, 100)
    0.1
    """

    rate: float

    def __post_init__(self) -> None:
        _check("rate", self.rate, 0.0, open_low=True)

    def __call__(self, step: Any, total: int) -> Any:
        """Return the rate at one step or at each of an array of them."""
        return self.rate + 0.0 * step


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from a rate down to another, after a linear rise.

    Parameters
    ----------
    start, end : float
        The rates.
    warmup : float
        Share of the steps, from 0 to below 1, in which the rate rises to `start`.

    References
    ----------
    I. Loshchilov, F. Hutter: SGDR: stochastic gradient descent with warm restarts, ICLR 2017,
    eq. (5), without restarts.

    Examples
    --------
    >>> Cosine(0.1)(50, 100)
    0.05
    """

    start: float
    end: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _check("start", self.start, 0.0, open_low=True)
        _check("end", self.end, 0.0, open_low=False)
        _check("warmup", self.warmup, 0.0, 1.0, open_low=False)

    def __call__(self, step: Any, total: int) -> Any:
        """Return the rate at one step or at each of an array of them."""
        rise = self.warmup * total
        down = np.clip((step - rise) / max(total - rise, 1.0), 0.0, 1.0)
        rate = self.end + 0.5 * (self.start - self.end) * (1.0 + np.cos(np.pi * down))
        rate = np.where(step < rise, self.start * (step + 1.0) / (rise + 1.0), rate)
        return rate if np.ndim(step) else float(rate)


@dataclass(frozen=True)
class Exponential(Schedule):
    """The same factor at every step, from one rate to another.

    Parameters
    ----------
    start, end : float
        The rates at the first step and after the last.

    Examples
    --------
    >>> round(Exponential(1.0, 0.01)(50, 100), 12)
    0.1
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        _check("start", self.start, 0.0, open_low=True)
        _check("end", self.end, 0.0, open_low=True)

    def __call__(self, step: Any, total: int) -> Any:
        """Return the rate at one step or at each of an array of them."""
        return self.start * (self.end / self.start) ** (step / max(total, 1))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to a peak and down to almost nothing, both along half a cosine.

    Parameters
    ----------
    peak : float
        The largest rate.
    start, end : float
        The first and the last, as shares of `peak`.
    rise : float
        Share of the steps, from 0 to below 1, on the way up.

    References
    ----------
    L. N. Smith, N. Topin: Super-convergence: very fast training of neural networks using large
    learning rates, 2018 (arXiv 1708.07120).

    Examples
    --------
    >>> OneCycle(0.1)(30, 100)
    0.1
    """

    peak: float
    start: float = 0.04
    end: float = 1e-4
    rise: float = 0.3

    def __post_init__(self) -> None:
        _check("peak", self.peak, 0.0, open_low=True)
        _check("start", self.start, 0.0, open_low=True)
        _check("end", self.end, 0.0, open_low=False)
        _check("rise", self.rise, 0.0, 1.0, open_low=False)

    def __call__(self, step: Any, total: int) -> Any:
        """Return the rate at one step or at each of an array of them."""
        top = self.rise * total
        up = 0.5 - 0.5 * np.cos(np.pi * np.clip(step / max(top, 1e-300), 0.0, 1.0))
        down = 0.5 + 0.5 * np.cos(np.pi * np.clip((step - top) / (total - top), 0.0, 1.0))
        rising = self.start + (1.0 - self.start) * up
        falling = self.end + (1.0 - self.end) * down
        rate = self.peak * np.where(step < top, rising, falling)
        return rate if np.ndim(step) else float(rate)


def takes_arrays(schedule: Any) -> bool:
    """Whether a schedule takes many steps at once: not one of a user's own, made of ours."""
    return type(schedule) in (Constant, Cosine, Exponential, OneCycle)


def rates_of(schedule: Callable[[int, int], Any], steps: Sequence[int], total: int) -> NDArray:
    """Return the learning rates at some steps, one after the other."""
    given = [schedule(step, total) for step in steps]
    try:
        found = np.array(given)
        if found.dtype.kind in "biufO" and found.shape == (len(given),):
            return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"a schedule must return a number for each step; got {given[0]!r}, ...")


def rates(schedule: Any, first: int, n: int, total: int) -> NDArray:
    """Return the learning rates of `n` steps from step `first` on."""
    result: NDArray
    if takes_arrays(schedule):
        result = schedule(np.arange(first, first + n), total)
    elif callable(schedule):
        result = rates_of(schedule, range(first, first + n), total)
    else:
        result = np.full(n, schedule, np.float64)
    if not (np.isfinite(result).all() and (result >= 0.0).all()):
        raise ValueError(
            "a learning rate must be finite and not negative; the schedule gave "
            f"{result[~(np.isfinite(result) & (result >= 0.0))][0]!r}"
        )
    return np.ascontiguousarray(result, np.float64)


def _check_rate(value: Any) -> None:
    if callable(value) and not isinstance(value, type):
        return
    if not isinstance(value, int | float | np.number):
        raise TypeError(f"learning_rate must be a number or a schedule; got {value!r}")
    _check("learning_rate", float(value), 0.0, open_low=True)


# ---- optimizers ----------------------------------------------------------------------------------


class Optimizer:
    """Base of all: what `fastbp.fit` takes as `optimizer`."""


@dataclass(frozen=True)
class ByBatches(Optimizer):
    """Base of those that move by a batch at a time, as far as a learning rate says."""

    learning_rate: float | Schedule

    def __post_init__(self) -> None:
        _check_rate(self.learning_rate)


@dataclass(frozen=True)
class SGD(ByBatches):
    """Stochastic gradient descent, with momentum and Nesterov's correction.

    g ← ∇ + weight_decay · w;  m ← momentum · m + g;  w ← w − η m, or w − η (g + momentum · m)
    with `nesterov`: the conventions of PyTorch.

    Parameters
    ----------
    learning_rate : float or Schedule
        η, or a callable of (step, total).
    momentum : float
        From 0 to below 1.
    nesterov : bool
        Whether the step looks ahead.
    weight_decay : float
        Shrinks the parameters; for plain SGD the same as `l2`.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton: On the importance of initialization and momentum
    in deep learning, ICML 2013.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("momentum", self.momentum, 0.0, 1.0, open_low=False)
        boundary.flag("nesterov", self.nesterov)
        _check("weight_decay", self.weight_decay, 0.0, open_low=False)


@dataclass(frozen=True)
class Adam(ByBatches):
    """Adam: steps scaled by running moments of the gradient.

    Parameters
    ----------
    learning_rate : float or Schedule
        The rate, or a callable of (step, total).
    beta1, beta2 : float
        Memory of the first and second moment, from 0 to below 1.
    epsilon : float
        Added to the root of the second moment.

    References
    ----------
    D. P. Kingma, J. Ba: Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.

    Examples
    --------
    >>> Adam(3e-3)
    Adam(learning_rate=0.003, beta1=0.9, beta2=0.999, epsilon=1e-08)
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("beta1", self.beta1, 0.0, 1.0, open_low=False)
        _check("beta2", self.beta2, 0.0, 1.0, open_low=False)
        _check("epsilon", self.epsilon, 0.0, open_low=True)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w ← w − η · weight_decay · w beside Adam's step.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `Adam`.
    weight_decay : float
        The decay; where `fit` makes the start, of weights for standardised columns and targets.

    References
    ----------
    I. Loshchilov, F. Hutter: Decoupled weight decay regularization, ICLR 2019, algorithm 2.

    Examples
    --------
    >>> AdamW(weight_decay=0.1).weight_decay
    0.1
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("weight_decay", self.weight_decay, 0.0, open_low=False)


@dataclass(frozen=True)
class LevenbergMarquardt(Optimizer):
    """Damped Gauss–Newton steps on all observations: (D⁻¹ G D⁻¹ + μ I) D h = −D⁻¹ g.

    The default of `fastbp.fit` for the squared loss while P ≤ 1000. An iteration costs
    B P²/2 + P³/6 multiplications and P² numbers of memory.

    Parameters
    ----------
    damping : {"nielsen", "marquardt"}
        How μ follows the gain: Nielsen's smooth rule, or Marquardt's factors of ten.
    start : float
        The first μ. D is made of the columns' largest norms so far (`Notes`), so it has no unit.
    curvature : {"auto", "second_derivative", "reweighted"}
        The weight of an observation in G: ℓ'', or max(ℓ'', |ℓ'| / |y − t|), the weight of
        iteratively reweighted least squares, which keeps outliers of robust losses in. "auto"
        takes ℓ'' for squared, cross_entropy and poisson, reweighting for all others.
    gtol, xtol, ftol : float
        Stop where no entry of D⁻¹ g exceeds `gtol` times the root of twice the loss (for the
        squared loss: no column's cosine with the residuals does); where an undamped step is
        shorter than `xtol` times the parameters, both in D; where an undamped step is foreseen to
        lower the loss by less than `ftol` times the loss, or, for cross_entropy and poisson, whose
        loss has no zero, times 1/2. 0 turns a test off.

    Notes
    -----
    D_j² is the largest G_jj so far, drawn towards the largest one of j's kind: the weights of one
    input, or of the output, of neurons that are alike, if their inputs' weights may move. Steps and
    stops are the same in any units of inputs and targets. Of 64 parameters or more without bounds,
    a step that is to lower the squared loss by a fiftieth, and is off that by a quarter, is
    followed by one of second order (Transtrum & Sethna 2012), and the better of the two is taken.
    The stops are taken only where no damping holds the step back; a run whose steps vanish before
    is begun once more with much damping (the history goes on with its losses), and the better of
    both is given back, with `converged` False ("stalled") where it is not stationary. Where the
    loss is flat to rounding, steps go on while gradients lessen. In float64 Newton's steps follow
    64 iterations or more whose last ones were short but slow, with up to 600 free parameters and an
    `ftol` of at most 1e-8: by Gauss–Newton's alone such a fit may be off by 1e-4 of the targets. In
    float32, whose sums hide what is left, the end is looked at in float64: a few more steps are
    taken where they lower the loss by more than `ftol`, and "stalled" is where that can't be done
    in numbers of float32. So is, in float64, the end of a stall, and with bounds or penalties of
    some parameters.

    References
    ----------
    J. J. Moré: The Levenberg–Marquardt algorithm: implementation and theory, Lecture Notes in
    Mathematics 630 (1978). D. W. Marquardt: An algorithm for least-squares estimation of
    nonlinear parameters, SIAM J. Appl. Math. 11 (1963). H. B. Nielsen: Damping parameter in
    Marquardt's method, IMM-REP-1999-05, DTU (1999). P. W. Holland, R. E. Welsch: Robust regression
    using iteratively reweighted least-squares, Comm. Statist. A6 (1977). M. K. Transtrum, J. P.
    Sethna: Improvements to the Levenberg–Marquardt algorithm for nonlinear least-squares
    minimization, arXiv:1201.5885 (2012).

    Examples
    --------
    >>> LevenbergMarquardt(start=1.0).damping
    'nielsen'
    """

    damping: str = "nielsen"
    start: float = 0.3
    curvature: str = "auto"
    gtol: float = 1e-10
    xtol: float = 1e-10
    ftol: float = 1e-8

    def __post_init__(self) -> None:
        for name, choices in (
            ("damping", ("nielsen", "marquardt")),
            ("curvature", ("auto", "second_derivative", "reweighted")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}; got {getattr(self, name)!r}")
        _check("start", self.start, 0.0, open_low=True)
        for name in ("gtol", "xtol", "ftol"):
            _check(name, getattr(self, name), 0.0, open_low=False)


@dataclass(frozen=True)
class Minimize(Optimizer):
    """Any method of `scipy.optimize.minimize`; `fastbp.fit` takes its name alone too.

    Gradients are ours, and Hessian products where the method takes them. trust-exact, from SciPy
    1.17 on, is given the whole Hessian, P products each time, and dogleg, which needs a positive
    one, the Gauss–Newton matrix.

    Parameters
    ----------
    method : str
        SciPy's name of the method.
    options : mapping
        SciPy's options for it; the number of iterations is that of `fit`. Tolerances that
        are left out are 1e-8, 1e-10 for steps (xtol) of Newton-CG, and 1e-13 for falls of
        the loss (ftol).

    Notes
    -----
    A method is handed the loss over its size S and the parameters in units of √(S / 2) / D: so its
    tolerances and first steps mean the same in any units of inputs and targets. S is the loss where
    the method begins, for cross_entropy at most 1/2, for poisson, whose loss has no zero, 1/2. D_j²
    is a mean of (∂f/∂w_j)², weighted by the squared residuals (the squares of ℓ'), the largest one
    of j's kind (`LevenbergMarquardt`; of a softmax over its outputs too), plus the penalty's
    weight. Where a run ends by its own tests, the next begins there, in new units, as long as one
    has lowered the loss by half of S or by 10⁴ ftol; where the loss is then flat to rounding, up to
    50 iterations of L-BFGS go on by gradients alone, unless gtol is above 1e-8. Only a gradient
    says `converged`: one of at most gtol in these units, or, where the loss no longer falls, 6e-6
    in float64 and 1e-4 in float32; or a loss that is rounding beside the start's. Up to 600
    parameters the end is looked at once more, by each column's own size and by Gauss–Newton steps
    in float64, of which some are taken where they lower the loss. "stalled" is all else.

    SciPy's trust-krylov takes other steps in some of many runs of one problem, with other functions
    than ours too (9 iterations or all of 1000): a fit by it may end in other bits each time.

    Examples
    --------
    >>> Minimize("trust-ncg", {"gtol": 1e-8}).method
    'trust-ncg'
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {name.lower(): name for name in _SCIPY_METHODS}
        if not isinstance(self.method, str):
            raise TypeError(f"method must be a name; got {self.method!r}")
        if self.method.lower() not in names:
            raise ValueError(_unknown(self.method))
        object.__setattr__(self, "method", names[self.method.lower()])
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __reduce__(self) -> tuple:
        return (Minimize, (self.method, dict(self.options)))

    def __hash__(self) -> int:
        return hash((self.method, repr(sorted(self.options.items()))))


@dataclass(frozen=True)
class LBFGS(Minimize):
    """SciPy's L-BFGS-B: the default of `fastbp.fit` where Levenberg–Marquardt is not.

    Parameters
    ----------
    memory : int
        Pairs of steps and gradients that are kept.
    gtol, ftol : float
        Stop where no entry of D⁻¹ g exceeds `gtol` times the root of twice the loss (for the
        squared loss: no column's cosine with the residuals does), or where an iteration lowers the
        loss by less than `ftol` times the loss, or, for poisson, times 1/2 (`Minimize` says what D
        is). `ftol` left out is 1e-13; and a likelihood (cross_entropy, poisson) of more than 1000
        parameters is left where ten iterations lower the loss, summed over the observations of
        weight above 0, by less than 1: more would fit noise. That is no convergence.

    References
    ----------
    R. H. Byrd, P. Lu, J. Nocedal, C. Zhu: A limited memory algorithm for bound constrained
    optimization, SIAM J. Sci. Comput. 16 (1995).

    Examples
    --------
    >>> LBFGS(memory=20).method
    'L-BFGS-B'
    """

    method: str = field(default="L-BFGS-B", init=False, repr=False)
    options: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    memory: int = 10
    gtol: float = 1e-8
    ftol: float | None = None

    def __post_init__(self) -> None:
        if not boundary.is_integer(self.memory):
            raise TypeError(f"memory must be a positive integer; got {self.memory!r}")
        _check("memory", self.memory, 1, open_low=False)
        _check("gtol", self.gtol, 0.0, open_low=False)
        options = {"maxcor": self.memory, "gtol": self.gtol}
        if self.ftol is not None:
            _check("ftol", self.ftol, 0.0, open_low=False)
            options["ftol"] = self.ftol
        object.__setattr__(self, "options", options)
        super().__post_init__()

    def __reduce__(self) -> tuple:
        return (LBFGS, (self.memory, self.gtol, self.ftol))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # as 0.1.0 pickled it


_SCIPY_METHODS = (
    "Nelder-Mead", "Powell", "CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "COBYLA", "COBYQA",
    "SLSQP", "trust-constr", "trust-ncg", "trust-krylov", "trust-exact", "dogleg",
)  # fmt: skip
WITHOUT_GRADIENT = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
WITH_HESSIAN_PRODUCT = ("Newton-CG", "trust-constr", "trust-ncg", "trust-krylov")
WITH_HESSIAN = ("trust-exact",)
WITH_BOUNDS = ("Nelder-Mead", "Powell", "L-BFGS-B", "TNC", "SLSQP")
# SciPy's own where none are asked for: 1000 leave 16 parameters half way.
ITERATIONS_PER_PARAMETER = {"Nelder-Mead": 200}
WITH_FTOL = ("Powell", "L-BFGS-B", "TNC", "SLSQP")
WITH_POSITIVE_HESSIAN = ("dogleg",)  # which the Gauss–Newton matrix stands for

_NAMED: dict[str, Callable[[], Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "lm": LevenbergMarquardt,
    "levenberg-marquardt": LevenbergMarquardt,
    "lbfgs": LBFGS,
    "l-bfgs": LBFGS,
    "l-bfgs-b": LBFGS,
}


def _unknown(name: str) -> str:
    if name.lower() in _NAMED:
        return f"Minimize takes SciPy's name of a method; got {name!r}, which fit takes alone"
    known = (*_NAMED, *_SCIPY_METHODS)
    close = difflib.get_close_matches(name.lower(), [k.lower() for k in known], 1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
    return f"unknown optimizer {name!r}{hint}"


# Parameters up to which Levenberg–Marquardt is the default: its matrix has the square of them.
MOST_OF_LEVENBERG = 1000


def get_optimizer(optimizer: str | Optimizer | None, loss: str, n_params: int) -> Optimizer:
    """Return the optimizer of that name, the one given, or the default for a loss and P.

    Parameters
    ----------
    optimizer : str, Optimizer or None
        "sgd", "adam", "adamw", "lm", "lbfgs" or a method of SciPy's `minimize`.
    loss : str
        The loss's name.
    n_params : int
        P.

    Returns
    -------
    optimizer : Optimizer

    Raises
    ------
    TypeError, ValueError
        For what is none of these.

    Examples
    --------
    >>> get_optimizer("bfgs", "squared", 10).method
    'BFGS'
    >>> type(get_optimizer(None, "squared", 10)).__name__
    'LevenbergMarquardt'
    """
    if optimizer is None:
        small = n_params <= MOST_OF_LEVENBERG
        return LevenbergMarquardt() if loss == "squared" and small else LBFGS()
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise TypeError(f"optimizer must be a name or one of fastbp.optimizers; got {optimizer!r}")
    make = _NAMED.get(optimizer.lower())
    return make() if make is not None else Minimize(optimizer)
