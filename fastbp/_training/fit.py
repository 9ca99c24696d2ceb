"""fit: from data to fitted parameters, and everything a long run needs around the optimizer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .._standardise import parted
from ..kernels.machine.levenberg_settings import REASONS, SADDLE
from ..losses import Loss, get_loss
from ..network import Network
from ..optimizers import (
    ITERATIONS_PER_PARAMETER,
    WITH_BOUNDS,
    ByBatches,
    LevenbergMarquardt,
    Minimize,
    Optimizer,
)
from . import choose, uncertainty
from .checkpoint import Arguments, Checkpoint
from .doubts import doubts, warn
from .far import Far
from .given import Given, Start, check_network, checked, problem_of, said_of, threads_of
from .methods import Levenberg, Stochastic, is_at_saddle, put_back
from .newton import begins_alike
from .problem import Problem, stream
from .progress import Progress
from .result import FitResult
from .scipy_methods import SPENT, SciPy
from .source import Source, Streamed
from .watch import CONVERGED, STOPPED, EarlyStopping, FitState, Watch

__all__ = ["fit"]

Validation = (
    tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike | None] | float | Far
)

# What fits of l2="auto" have in common with the last one.
_OF_EACH = (
    "w0", "optimizer", "epochs", "batch_size", "shuffle", "validation", "early_stopping", "free",
    "bounds",
)  # fmt: skip
Method = Stochastic | Levenberg | SciPy
ALL_DONE = "all epochs done"
ALIKE = (
    "saddle: the loss falls where neurons part that began alike, or at zero; begin elsewhere "
    "(w0, seed)"
)
EPOCHS, OF_SCIPY = 200, 1000  # where it is left open


def fit(
    net: Network,
    X: ArrayLike | Source,
    t: ArrayLike | None = None,
    *,
    w0: ArrayLike | None = None,
    optimizer: str | Optimizer | None = None,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    absolute_sigma: bool = False,
    l2: ArrayLike | str = 0.0,
    folds: int | Iterable[Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int | np.random.Generator | None = 0,
    validation: Validation | Source | None = None,
    early_stopping: EarlyStopping | int | None = None,
    free: ArrayLike | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | str | None = None,
    callback: Callable[[FitState], Any] | None = None,
    progress: bool | str = "auto",
    threads: int | str = 1,
    checkpoint: str | Path | None = None,
    _stop: threading.Event | None = None,
    _quiet: bool = False,
    _moments: dict[str, Any] | None = None,
) -> FitResult:
    """Fit a network's parameters to data.

    Minimises Σ_b c_b ℓ(f(w, x_b), t_b) / Σ_b c_b + ½ Σ_j λ_j w_j², where λ_j is l2.

    Parameters
    ----------
    net : Network
        The network.
    X : array_like, shape (B, N), or Source
        Observations, or where they and their targets and weights are read from.
    t : array_like, shape (B,)
        Targets.
    w0 : array_like, shape (P,), optional
        The start; if left out, that of ``net.init(seed, X, sample_weight=sample_weight)`` with
        what is fitted, so without observations that are held out; with an identity output and the
        squared loss, w_1 … w_H are then in units of the targets' deviation. The optimizer works on
        columns so standardised, unless there is a penalty or a decay of w: its steps are the same
        in any units, and with a constant column wherever the others have their means. With `bounds`
        columns are left as they are, and what lies outside is mirrored.
    optimizer : str or Optimizer, optional
        One of `fastbp.optimizers` or its name, or a method of `scipy.optimize.minimize`. If left
        out, Levenberg–Marquardt for the squared loss while P ≤ 1000, else L-BFGS.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), optional
        c. The stochastic optimizers scale them to mean one and take the plain mean over a batch,
        so that the expected step is that of the weighted mean. What has the weight 0 has no part
        in a share to validate by, says nothing of the columns, and may be beyond all numbers.
    absolute_sigma : bool
        As in `scipy.optimize.curve_fit`, for covariance and intervals alone: whether the weights
        are 1/σ_b², the targets' variances being known, or say how these compare, their scale being
        estimated from the residuals. For cross_entropy and poisson, whether c_b is a number of
        observations, or weights are scaled to mean one.
    l2 : float, array_like of shape (P,), or "auto"
        Weight of the penalty: λ, or λ_j of each parameter. "auto" chooses λ by cross-validation,
        the largest of a path from 1 to 1e-6 whose loss is not above the least by more than the
        standard error of the difference. λ_j is then λ for columns and targets (of identity
        outputs, by squared loss) measured in their deviations, and 0 for what is a bias: weights of
        a constant column, and the output's of the neurons `one`. Of neurons `identity` beside bent
        ones it is that of the straight line that cross-validation finds best, which is what
        the largest λ leave: by the squared loss, of `identity` outputs and without `folds` or
        `validation`, by leaving out one observation after the other, where X has up to 2²⁰
        numbers. `result.data.l2` has it.
    folds : int or iterable, optional
        What ``l2="auto"`` is judged by, as `fit_many` takes it; if left out, `validation` where it
        is given, else 5 folds, the same in any order of the observations, that share out the
        classes where targets are such; like observations are in one, unless there are 5 or more.
    epochs : int, optional
        At most so many epochs of a stochastic optimizer (200 if left out), iterations of
        Levenberg–Marquardt (200) or of a SciPy method (1000; of Nelder–Mead, whose
        iterations are an evaluation or two, 200 for each free parameter where that is
        more). If left out, Levenberg–Marquardt and SciPy's methods have 50 to compare
        penalties by, which methods without gradients leave to the default optimizer; and up
        to four Newton steps follow the last iteration of methods with gradients where the
        Hessian is small.
    batch_size : int, optional
        Observations in a batch of a stochastic optimizer; 32 if left out. The others always use
        all observations.
    shuffle : bool
        Whether each epoch has an order of its own.
    seed : int, numpy.random.Generator or None
        Decides the start, the orders and the validation split; with None they are other ones in
        every run, and no checkpoint can be kept.
    validation : tuple or float, optional
        (X, t) or (X, t, sample_weight) of observations that are not fitted, or the share of the
        given ones to hold out; beside a `Source` another. Columns that have names must be the
        same, in order. The parameters with the least loss on them, the start among them, are
        returned, or are the `w` of a `NonFiniteLossError`.
    early_stopping : int or EarlyStopping, optional
        An integer is a patience.
    free : array_like of bool, shape (P,), optional
        Which parameters may move; the others keep the values of `w0`.
    bounds : (low, high) or "positive", optional
        The least and the largest values, each a number or an array of shape (P,), ±inf for none;
        "positive" is (0, inf). Kept by Levenberg–Marquardt, L-BFGS, TNC, SLSQP, Nelder-Mead and
        Powell; other optimizers refuse. There `converged` refers to the projected gradient.
    callback : callable, optional
        Called with a `FitState` after every epoch or iteration. A true result stops the fit, and
        so does raising StopIteration: what was found is returned, the reason "stopped by the
        callback".
    progress : bool or "auto"
        Whether to show on standard error how far it is, with the losses and at last why it ended: a
        bar (of tqdm, the extra ``cli``) on a terminal or in a notebook, else a line every few
        seconds. "auto" does on a terminal or in a notebook, where a fit takes a second or more.
    threads : int or "auto"
        Threads of the evaluations, for SciPy's methods and Levenberg–Marquardt; the result is the
        same to the last bit. SGD and Adam use one. With ``l2="auto"`` the folds share them.
    checkpoint : path, optional
        A file that is written every few seconds and at the end, whole or not at all. A fit with
        the same arguments goes on from it, and ends with the same bits as one never stopped; so
        does one with more epochs, done or not, unless its learning rates depend on their number,
        and one without the callback that stopped it. SciPy's methods then restart every 100
        iterations, where their epochs ended, and where they were stopped.

    Returns
    -------
    result : FitResult
        Ctrl-C ends the fit too, with the parameters of the best validation loss so far where there
        is validation, else the last (of LM and SciPy's methods these are the best too).

    Raises
    ------
    TypeError, ValueError
        Where an argument does not fit; a start outside the bounds; a checkpoint of other arguments;
        targets whose squares, where the loss takes them, vanish among the network's numbers.
    NonFiniteLossError
        Where the loss is no longer finite; it holds the last good parameters.
    ImportError
        Where an optimizer needs a package that is not there.

    Warns
    -----
    FitWarning
        Once for each cause to distrust the result: targets outside the output's range, a loss no
        better than a constant's, saturated neurons, no more observations than free parameters
        without a penalty, columns far from 0 without a constant one (where w0 is left out).

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> X = np.column_stack([np.linspace(-1.0, 1.0, 50), np.ones(50)])
    >>> net = fastbp.Network(2, 6, output="identity")
    >>> result = fastbp.fit(net, X, np.sin(3.0 * X[:, 0]), seed=1)
    >>> result.loss < 1e-6
    True
    >>> result.predict([[0.5, 1.0]]).round(2)
    array([1.])
    """
    given = Given(**locals())
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback must be a function of a FitState; got {callback!r}")
    if isinstance(X, Source):
        given = _of_sources(given)
    elif t is None and not isinstance(given.X, Far):
        raise TypeError("t is missing: fit takes X and t, or a Source")
    elif isinstance(validation, Source):
        raise TypeError("a Source to validate by needs one to fit: Source.from_arrays(X, t)")
    if isinstance(l2, str):
        result = _chosen(given)
        if not _quiet:
            warn([result.warnings], stacklevel=2)
        return result
    if folds is not None:
        raise ValueError('folds are what l2="auto" is judged by; with a number use fit_many')
    problem, held_out, chosen, start = problem_of(given)
    early = _early_stopping(early_stopping)
    problem.target = -np.inf if early.target is None else early.target
    n_epochs = epochs_of(chosen, epochs, int(np.count_nonzero(problem.free)))
    if checkpoint is not None and seed is None:
        raise ValueError("a checkpoint needs a seed: another run could not go on from it")
    method = method_of(problem, chosen, checkpoint is not None, epochs is None)
    if _moments:
        method.go_on(_moments)
    with Progress(progress, n_epochs) as shown:
        watch = Watch(n_epochs, held_out, early, callback, shown, _stop, start.as_given)
        store = None
        if checkpoint is not None:
            others = (seed, shuffle, batch_size)
            arguments = Arguments(problem, held_out, chosen, early, others)
            store = Checkpoint(Path(checkpoint), arguments, n_epochs)
        alike = given.w0 is not None and begins_alike(net, problem.w)
        reason = watch.ended(problem.w, _run(problem, method, watch, store))
        if alike and reason.startswith(CONVERGED) and is_at_saddle(problem):
            reason = ALIKE
        result = _result(problem, method, watch, reason, start, given)
        shown.end(result.reason)
    if _moments is not None:  # of the last fit, for the next one to go on from
        _moments.clear()
        _moments.update(method.moments())
    if not _quiet:
        warn([result.warnings], stacklevel=2)
    return result


def within_bounds(optimizer: Optimizer) -> bool:
    """Whether an optimizer keeps to bounds."""
    if isinstance(optimizer, Minimize):
        return optimizer.method in WITH_BOUNDS
    return isinstance(optimizer, LevenbergMarquardt)


def method_of(problem: Problem, optimizer: Optimizer, segments: bool, open_ended: bool) -> Method:
    """Return the optimizer at work on a problem."""
    if problem.bounds is not None and not within_bounds(optimizer):
        name = optimizer.method if isinstance(optimizer, Minimize) else type(optimizer).__name__
        raise ValueError(
            f"the optimizer {name} knows no bounds; LevenbergMarquardt and LBFGS keep to them"
        )
    if isinstance(optimizer, ByBatches):
        return Stochastic(problem, optimizer)
    if isinstance(optimizer, LevenbergMarquardt):
        return Levenberg(problem, optimizer)
    if isinstance(optimizer, Minimize):
        return SciPy(problem, optimizer, segments, open_ended)
    raise TypeError(f"optimizer must be a name or one of fastbp.optimizers; got {optimizer!r}")


def epochs_of(optimizer: Optimizer, given: Any, n_free: int = 0) -> int:
    """Return how many epochs are asked for; where it is left open, as many as the optimizer has."""
    n = EPOCHS if given is None else given
    if given is None and isinstance(optimizer, Minimize):
        n = max(OF_SCIPY, ITERATIONS_PER_PARAMETER.get(optimizer.method, 0) * n_free)
    if not boundary.is_integer(n) or n < 0:
        raise ValueError(f"epochs must be an integer from 0 on; got {given!r}")
    return int(n)


def _chosen(given: Given) -> FitResult:
    """Choose l2, and fit by it."""
    if given.l2 != "auto":
        raise ValueError(
            f'l2 must be a number, one for each parameter, or "auto"; got {given.l2!r}'
        )
    if given.checkpoint is not None:
        raise ValueError('a checkpoint is kept of one fit: give it the l2 that l2="auto" chose')
    seed = given.seed
    if not boundary.is_integer(seed):
        seed = int(stream(seed, 4).integers(2**31))
    given = replace(given, seed=seed)
    problem, held, _ = checked(
        replace(given, l2=0.0, validation=None if given.folds is not None else given.validation)
    )
    net, far = problem.net, problem.far
    arrays = far.given if isinstance(far, Streamed) else None
    X, t, c, rows = arrays or (problem.X, problem.t, problem.c, None)
    judged = held.given if isinstance(held, Streamed) else held
    assert not isinstance(judged, Far)
    options = {name: getattr(given, name) for name in _OF_EACH}
    of = choose.data(
        net,
        X,
        [t],
        c,
        problem.loss,
        folds=given.folds,
        judges=None if judged is None else choose.Judges(judged[0], [judged[1]], *judged[2:]),
        fit=fit,
        threads=given.threads,
        seed=int(seed),
        rows=rows,
    ).counted(given.progress, len(choose.PATH))
    unit = choose.units(problem)
    with of.shown:
        line = choose.line_of_data(net, of, options)
        choice = choose.choose(net, of, unit, options, line=line)
        of.shown.end(f"l2 {choice.l2:.3g} is chosen")
    each = parted(net, choice.l2 * unit, choice.l2, choice.linear)
    alone = {"l2": each, "folds": None, "_quiet": True}

    def fits(number: int) -> list[FitResult]:
        other = {"seed": choose.another_seed(seed, number)}
        return [fit(**(vars(given) | alone | (other if number else {})))]

    # The seed also draws a share to validate by.
    fixed = given.w0 is not None or isinstance(given.validation, float)
    result = choice.fitted(fits, 1 if fixed else 3)[0]
    return choice.noted(result, choose.doubt(choice, line))


def _of_sources(given: Given) -> Given:
    """Return what is given with what a fit asks sources in their places."""
    net, validation = check_network(given.net), given.validation
    if given.t is not None or given.sample_weight is not None:
        raise TypeError("targets and weights are in the Source; leave t and sample_weight out")
    if isinstance(given.l2, str):
        raise ValueError("a fit of a Source needs l2 as a number; choose it by a part of the rows")
    if given.checkpoint is not None:
        raise ValueError("a fit of a Source keeps no checkpoint; give the arrays themselves")
    if not (validation is None or isinstance(validation, Source)):
        raise TypeError(
            f"beside a Source, validation must be another; got {type(validation).__name__}"
        )
    n, ell = threads_of(given.threads), get_loss(given.loss)
    held = None
    if validation is not None:
        with said_of("validation"):
            boundary.same_columns("X", given.X, validation)
            held = validation.bound(net, ell, n)
    return replace(given, X=given.X.bound(net, ell, n), validation=held)


def _early_stopping(given: EarlyStopping | int | None) -> EarlyStopping:
    if given is None or boundary.is_integer(given):
        return EarlyStopping(patience=given)
    if not isinstance(given, EarlyStopping):
        raise TypeError(
            f"early_stopping must be a number of steps or an EarlyStopping; got {given!r}"
        )
    return given


def _run(problem: Problem, method: Method, watch: Watch, store: Checkpoint | None) -> str:
    """Go on from the checkpoint, or begin, until there is a reason to stop; return it."""
    reason = ""
    saved = None if store is None else store.load()
    if store is not None and saved is not None:
        reason = saved["reason"].item()
        problem.w[:] = saved["w"]
        watch.restore(saved)
        method.restore(saved)
        if store.of_fewer and reason == ALL_DONE:
            reason = ""
        elif watch.callback is None and reason == STOPPED:
            reason = watch.due()

    def keep() -> None:
        if store is not None:
            own = {"w": problem.w.copy(), "reason": np.array(reason)}
            store.keep({**own, **watch.state(), **method.state()})

    try:
        if saved is None:
            watch.begin(problem.w)
        if not reason:
            for reason in method.steps(watch):
                keep()
                if reason:
                    break
            else:
                reason = ALL_DONE
                keep()
    except KeyboardInterrupt:
        reason = "interrupted"
    finally:
        if store is not None:
            store.write()
    return reason


def _result(
    problem: Problem, method: Method, watch: Watch, reason: str, start: Start, given: Given
) -> FitResult:
    best = watch.best_w
    if best is not None:
        problem.w[:] = best
    moved_back = best is not None or reason == "interrupted" or not watch.step
    value = problem.value() if moved_back else method.loss()
    if start.standardised:
        start.put_back(problem)
        found, value = value, problem.value()
        if reason.startswith(CONVERGED):
            why = put_back(problem, REASONS.index(reason), found, value, method.tol)
            reason = REASONS[why]
    limited = reason == ALL_DONE and given.epochs is not None
    far = problem.far
    arrays = far.given if isinstance(far, Streamed) else None
    X, t, c, rows = arrays or (problem.X, problem.t, problem.c, None)
    return FitResult(
        problem.net,
        problem.w,
        value,
        watch.best if given.validation is not None else None,
        watch.history(),
        reason,
        watch.n_evaluations,
        uncertainty.Data(
            X,
            t,
            c,
            problem.loss,
            problem.l2,
            problem.free,
            given.absolute_sigma,
            _on_bounds(problem),
            far is not None and arrays is None,
            rows,
            far if arrays is None else None,
            far.mark() if far else uncertainty.mark_of(X, t, c),
            uncertainty.mark_of(problem.w),
            value,
        ),
        doubts(
            problem,
            start.columns,
            value - problem.penalty(),
            watch.losses,
            held_back=best is not None or (limited and isinstance(method, Stochastic)),
            known_noise=given.absolute_sigma,
            # A saddle is said by the reason itself.
            told_to_end=reason.startswith(
                (STOPPED, SPENT, "interrupted", "target", REASONS[SADDLE])
            ),
            limited=limited,
        ),
    )


def _on_bounds(problem: Problem) -> NDArray | None:
    """Return which parameters ended on their bounds; None where none did."""
    if problem.bounds is None:
        return None
    # A method with units of its own ends a rounding beside them, SLSQP a thousand and more.
    close = float(np.sqrt(np.finfo(problem.net.dtype).eps))
    low, high = (np.isclose(problem.w, each, rtol=close, atol=0.0) for each in problem.bounds)
    on = problem.free & (low | high)
    return on if on.any() else None
