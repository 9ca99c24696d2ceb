"""How large a penalty, and how many neurons: by cross-validation over a path of l2."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._boundary import ClassRows
from .._columns import Columns
from .._parts import Marked, Rows, numbered, row_numbers, runs
from .._standardise import parted, penalties
from ..activations import identity, one, softmax
from ..losses import Loss, family, squared
from ..network import Network
from ..objective import penalty
from ..optimizers import (
    MOST_OF_LEVENBERG,
    WITHOUT_GRADIENT,
    LevenbergMarquardt,
    Minimize,
    get_optimizer,
)
from .alike import Alike, Column
from .far import Far
from .given import most_copied, taken, weighing
from .held import Drawn, Held, Losses, Targets
from .jobs import Fold, drawn_folds, folds_of, outcomes
from .problem import Problem
from .progress import Progress
from .ridge import left_out
from .watch import STOPPED, NonFiniteLossError

Result = TypeVar("Result", bound=Any)  # a FitResult, whose module stands above this one

PATH = np.geomspace(1.0, 1e-6, 13)  # from where scaled data leave no neuron to next to nothing
SIZES = (1, 2, 4, 8, 16, 32)
_OF_LINE = np.r_[1e6, np.geomspace(10.0, 1e-5, 13)]  # the first leaves a constant
_LEFT_OUT = np.r_[1e6, np.geomspace(10.0, 1e-5, 49)]  # where they cost next to nothing
# Numbers of X up to which a line's penalty is that of least error of what is left out one by one.
# Five folds choose by chance where rows are few.
_MOST_LEFT_OUT = 1 << 20
_FEW = 20  # steps that are too few to judge by
_WORSE = 0.005  # than a straight line by this part of what a constant leaves is worth a word
_ALIKE = 1e-5  # of a loss: what ends of fits make of two that are one, as a line of two penalties
_SURE = 2.0  # standard errors by which a network is better than that line
_FOLDS = 5
# So many penalties in a row that are worse than the best end a path: with them all, no choice of 55
# on eleven tables was another, and classes that a line separates take a seventh less time.
_WORSE_L2 = 3
_STEPS = 50  # of Levenberg–Marquardt or SciPy's methods: enough to tell penalties apart


class L2Path(NamedTuple):
    """What ``fit(l2="auto")`` looked at.

    Attributes
    ----------
    l2 : ndarray
        λ, from 1 on, or from what leaves the best straight line if that is more, until two in a
        row were clearly worse than the best.
    loss, error : ndarray
        The mean loss of the observations, each judged by a fit that has not seen it, and its
        standard error.
    """

    l2: NDArray[np.float64]
    loss: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A penalty, and what it was chosen by."""

    l2: float
    linear: float  # of linear neurons
    path: L2Path
    losses: Losses | None  # of each that judges; None where nothing could be judged

    def fitted(self, fits: Callable[[int], list[Result]], n: int = 3) -> list[Result]:
        """Return the best fits of each network by this l2, from at most n starts.

        One is enough where they are no worse on what they are fitted to than those of the folds
        were on what these had not seen. Else they have ended in a poor minimum: of a loss that is
        flat where a class has been given up, one in 25 does by a large penalty.
        """
        best = fits(0)
        for number in range(1, n):
            if self.losses is None or _ended(best, "interrupted", STOPPED):
                break
            mean, error = self.losses.above()
            if not sum(map(_seen, best)) > mean + _SURE * error:
                break
            try:
                others = fits(number)
            except NonFiniteLossError:  # what is whole is not to be lost
                continue
            if _ended(others, "interrupted"):  # whoever waits is to know, though `best` are whole
                best[0] = replace(best[0], reason="interrupted")
                break
            best = min(best, others, key=lambda each: sum(result.loss for result in each))
            if _ended(others, STOPPED):
                break
        return best

    def noted(self, result: Result, doubt: str) -> Result:
        """Return a fit by this l2 with what it was chosen by, and what speaks against it."""
        warnings = (*result.warnings, *filter(None, [doubt]))
        return replace(result, l2=self.l2, l2_path=self.path, warnings=warnings)


def another_seed(seed: int, number: int) -> int:
    """Return the seed of another start of a fit by what was chosen, from 1 on."""
    return int(np.random.default_rng([seed, 5, number]).integers(2**31))


def _ended(results: list[Any], *reasons: str) -> bool:
    return any(each.reason in reasons for each in results)


def _seen(result: Any) -> float:
    """Return the loss of what is fitted, without the penalty."""
    return float(result.loss - penalty(result.data.l2, result.w))


class Judges(NamedTuple):
    """X, targets as `Data` has them and c, and which of these rows judge: all, where None."""

    X: NDArray
    targets: Targets
    c: NDArray | None
    rows: NDArray | None = None


@dataclass(frozen=True)
class Data:
    """Checked data, and of each fold what is fitted and what judges."""

    X: NDArray
    targets: Targets
    c: NDArray | None
    rows: NDArray | Marked | None  # those that are fitted, where it is not all
    loss: Loss
    judges: Judges | None  # of all fits, where there are no folds
    held: Held | None  # what judges each fold; None where nothing does
    fit: Callable[..., Any]  # fastbp.fit, which stands above this module
    threads: int
    seed: int
    shown: Progress

    @property
    def folds(self) -> Drawn | list[Fold]:
        """What is fitted and judged in turn."""
        return [] if self.judges is not None or self.held is None else self.held.folds

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return self.folds.n if isinstance(self.folds, Drawn) else len(self.folds)

    def counted(self, progress: bool | str, n_values: int) -> Data:
        """Return the data with how many fits at most there are to show, of each of some values."""
        each = max(self.n_folds, 1) * len(self.targets)
        n = each * (n_values + len(_OF_LINE))
        return replace(self, shown=Progress(progress, n, "choosing, fit"))

    def fitted(self, net: Network, k: int, number: int | None = None) -> tuple[Any, Any, Any]:
        """Return X, the k-th network's targets and c of what is fitted, of one fold or of all."""
        rows = self.rows
        if number is not None and self.n_folds:
            folds = self.folds
            if isinstance(folds, Drawn):
                rows = folds.left(number)
            else:
                rows = folds[number].left(len(self.X))
        return taken(net, self.loss, Rows(self.X, self.targets[k], self.c), rows)

    def judged(
        self,
        net: Network,
        l2: Callable[[int], NDArray],
        options: dict[str, Any],
        tried: Mapping[str, float],
    ) -> tuple[Losses, list[list[NDArray]]]:
        """Return the losses of what judges, and the parameters of each fold's networks.

        By fits with the penalty of each fold. Every fold has a start of its own, the same for all
        penalties. `tried` is what is shown of it.
        """
        K = len(self.targets)
        jobs = [(number, k) for number in range(max(self.n_folds, 1)) for k in range(K)]
        threads, before = max(self.threads // len(jobs), 1), self.shown.done

        def fitted(job: tuple[int, int], stop: threading.Event) -> NDArray | None:
            number, k = job
            validation = {"validation": self._validation(net, k)} if self.judges else {}
            X, t, c = self.fitted(net, k, number)
            try:
                result = self.fit(
                    net,
                    X,
                    t,
                    loss=self.loss,
                    sample_weight=c,
                    l2=l2(number),
                    seed=int(np.random.default_rng([self.seed, 4, number]).integers(2**31)),
                    progress=False,
                    threads=threads,
                    _stop=stop,
                    _quiet=True,
                    **options | validation,
                )
            except NonFiniteLossError:
                return None
            if result.reason == "interrupted":
                raise KeyboardInterrupt
            return result.w

        def show(known: list[Any]) -> None:
            self.shown.show(before + len(known), tried)

        found = [w for _, w in outcomes(fitted, jobs, self.threads, show)]
        if len(found) < len(jobs):
            raise KeyboardInterrupt
        assert self.held is not None
        w = [found[n : n + K] for n in range(0, len(found), K)]
        whole = [[np.zeros(net.n_params) if a is None else a for a in fold] for fold in w]
        return self.held.losses(net, self.loss, w), whole

    def _validation(self, net: Network, k: int) -> Any:
        assert self.judges is not None
        X, targets, c, rows = self.judges
        held = taken(net, self.loss, Rows(X, targets[k], c), rows)
        return held[0] if held[1] is None else held


def data(
    net: Network,
    X: NDArray,
    targets: Targets,
    c: NDArray | None,
    loss: Loss,
    *,
    folds: int | Iterable[Any] | None,
    judges: Judges | None,
    fit: Callable[..., Any],
    threads: int | str,
    seed: int,
    rows: NDArray | Marked | None = None,
) -> Data:
    """Decide on the folds: those given, what validates, or five that share out the classes.

    Like observations are in the same of the five, whatever the order of all: a row that is there
    twice is one of twice the weight, and is not judged by a fit that has seen it. But those that
    are there five times and more, as of categories, are observations each: or fits would be judged
    by answers of which they have seen only the others. `rows` are those to fit, where `judges` are
    others of these.
    """
    n, silent = boundary.thread_count(threads) or os.cpu_count() or 1, Progress(False, 0)
    most = most_copied(net)
    if judges is not None and folds is None:
        some = row_numbers(len(judges.X), judges.rows)
        held = Held(*judges[:3], [Fold(some)], most)
        return Data(X, targets, c, rows, loss, judges, held, fit, n, seed, silent)
    if folds is not None:
        drawn = folds_of(folds, len(X), c, _classes(net, targets, loss))
        held = Held(X, targets, c, drawn, most)
        return Data(X, targets, c, None, loss, None, held, fit, n, seed, silent)
    columns = [column for table in (X, *targets) for column in _columns_of(table)]
    weighs = weighing(c)
    alike = Alike.of(row_numbers(len(X), weighs), columns)
    alike.part(_FOLDS)
    folded = _folded(alike, len(X), _classes(net, targets, loss))
    if folded is not None and len(X) > most and alike.begins.all():
        folded = folded._replace(alike=None)
    judging = None if folded is None else Held(X, targets, c, folded, most)
    return Data(X, targets, c, weighs, loss, None, judging, fit, n, seed, silent)


def _folded(alike: Alike, B: int, classes: NDArray | None) -> Drawn | None:
    """Return folds of what is not alike among B rows; None where there is one alone."""
    distinct = int(np.count_nonzero(alike.begins))
    if distinct < 2:
        return None
    of_each = None
    if classes is not None:
        of_each = np.concatenate(
            [classes[alike.order[run][alike.begins[run]]] for run in runs(len(alike.order))]
        )
        del classes  # no one else has them
    n = min(_FOLDS, distinct)
    return Drawn(n, alike.each(drawn_folds(n, distinct, of_each), B), alike)


def _columns_of(table: NDArray | ClassRows) -> list[Column]:
    """Return what makes numbers of rows by which these are sorted."""
    if isinstance(table, ClassRows):  # the last class is the least of rows of probabilities
        return [lambda rows: -table.classes[rows].astype(np.int64)]
    # Not `take`, which copies a column that is no array of its own.
    return [column.__getitem__ for column in table.reshape(len(table), -1).T]


def _classes(net: Network, targets: Targets, loss: Loss) -> NDArray | None:
    """Return the class of each observation, in a byte or two, where targets are classes."""
    given = _given_classes(net, targets, loss)
    return None if given is None else numbered(given)[1]


def _given_classes(net: Network, targets: Targets, loss: Loss) -> NDArray | None:
    if isinstance(targets[0], ClassRows):
        return targets[0].classes
    if family(loss) != "cross_entropy" or not all(np.isin(t, (0.0, 1.0)).all() for t in targets):
        return None
    if net.n_outputs == 1:
        return targets[0] if len(targets) == 1 else np.argmax(targets, axis=0)
    return targets[0].argmax(axis=1) if net.output is softmax else None


def units(problem: Problem) -> NDArray:
    """Return what λ is multiplied with for each parameter, so that units of the data do not matter.

    The penalty is that of weights for columns, and of targets, in units of their deviations; a
    constant column, the bias of the neurons, and neurons that are constant, have none.

    Raises
    ------
    ValueError
        Where the squares of the deviations are beyond all numbers.
    """
    net = problem.net
    columns = Columns.over(problem.reduce, "X", net.dtype)
    of_X = columns.unit.copy()
    if columns.bias is not None:
        of_X[columns.bias] = 0.0
    linear = np.array([sigma == identity for sigma in boundary.sigmas(net)])
    squares = np.ones(net.n_outputs)
    if family(problem.loss) == "squared":
        of_t = np.atleast_1d(Columns.over(problem.reduce, "t", net.dtype).unit)
        with np.errstate(over="ignore"):
            squares = of_t**2
    unit = float(squares.mean())
    size = columns.unit.min(), columns.unit.max()
    with np.errstate(all="ignore"):
        least = PATH[-1] * min(unit, 1.0) * size[0] ** 2
        most = max(_OF_LINE[0], unit) * size[1] ** 2
    if not (least >= np.finfo(np.float64).tiny and most < np.inf):
        raise ValueError(
            'l2="auto" needs the squares of deviations, which are beyond all numbers here: columns '
            f"of X have {size[0]:.3g} to {size[1]:.3g}, targets {np.sqrt(unit):.3g}; rescale them"
        )
    each, bent = np.empty(net.n_params), [v != one for v in net.activations]
    A, W = net.split(each)
    of_outputs = np.where(linear, unit / squares, unit)[:, np.newaxis] * bent
    A[...] = of_outputs.reshape(A.shape)
    W[...] = unit * np.where(np.array(bent)[:, np.newaxis], of_X, columns.unit) ** 2
    return each


def choose(
    net: Network,
    of: Data,
    unit: NDArray,
    options: dict[str, Any],
    path: NDArray = PATH,
    line: Line | None = None,
    tried: Mapping[str, float] | None = None,
) -> Choice:
    """Choose l2 for a network: the largest that is not worse than the best by a standard error.

    Linear neurons have the penalty of the best straight line, where the path begins, so that bent
    ones are taken where they are worth it.
    """
    if of.held is None:  # like observations alone
        first = float(path[0])
        return Choice(first, first, L2Path(*np.empty((3, 0))), None)
    of_line = None if line is None else _of_neuron(net, unit, line)
    options = options | _enough(net, of.loss, options)
    tried = tried or {}
    if of_line is not None and path[0] < of_line[-1]:  # many inputs that go together
        path = np.r_[of_line[-1], path]

    def judged(l2: float) -> Losses:
        def of_fold(number: int) -> NDArray:
            return parted(net, l2 * unit, l2, l2 if of_line is None else of_line[number])

        return of.judged(net, of_fold, options, {**tried, "l2": l2})[0]

    losses = _path(path, judged, _WORSE_L2)
    chosen = _first_as_good(losses)
    if not np.isfinite(losses[chosen].mean):
        raise NonFiniteLossError(
            "no fit of any l2 had a finite loss; scaled inputs may help", np.empty(0), 0, {}
        )
    means, errors = np.array([each.above() for each in losses]).T
    looked_at = L2Path(path[: len(losses)], means, errors)
    l2 = float(path[chosen])
    linear = l2 if of_line is None else float(of_line[-1])
    return Choice(l2, linear, looked_at, losses[chosen])


def decide(
    n_neurons: int | str,
    l2: float | str,
    network: Callable[[int], Network],
    of: Data,
    options: Callable[[Network], dict[str, Any]],
    progress: bool | str,
    unit: float = 1.0,
) -> tuple[int, Choice, str]:
    """Return how many neurons and which penalty to take, and what speaks against them.

    For networks of `_standardise`, of so many neurons; `unit` is that of targets, where they are
    not scaled. Of the numbers that are "auto", n_neurons
    is the fewest of `SIZES` that are not worse than the best by a standard error.
    """
    path = unit * PATH if isinstance(l2, str) else np.array([l2])
    choices: list[Choice] = []
    sizes = SIZES if isinstance(n_neurons, str) else (n_neurons,)

    def losses(size: int) -> Losses | None:
        net = network(size)
        tried = {"neurons": size} if len(sizes) > 1 else {}
        choices.append(choose(net, of, penalties(net, 1.0), options(net), path, own, tried))
        return choices[-1].losses

    of = of.counted(progress, len(sizes) * len(path))
    with of.shown:
        first = network(sizes[0])
        line = line_of_data(first, of, options(first))
        own = line if isinstance(l2, str) else None
        found = _path(sizes, losses)
        chosen = _first_as_good(found) if found else 0
        choice = choices[chosen]
        of.shown.end(f"{sizes[chosen]} neurons and l2 {choice.l2:.3g} are chosen")
    return sizes[chosen], choice, doubt(choice, line)


def doubt(choice: Choice, line: Line | None) -> str:
    """Say so where a network is not better than a straight line by what it has not seen."""
    if line is None or choice.losses is None or not line.constant:  # a constant is met
        return ""
    loss, error = choice.losses.above(line.losses)
    gain = -loss
    if gain > _SURE * error or abs(gain) <= _WORSE * abs(line.constant):  # or it is that line
        return ""
    seen = f"the loss on what was held out, {choice.losses.mean:.6g}"
    of_line = f"that of a straight line, {line.losses.mean:.6g}"
    if -gain > error:
        return f"{seen}, is above {of_line}: a linear model does better with these inputs"
    return (
        f"{seen}, is not below {of_line}, by two standard errors of {error:.2g}: a linear model "
        "may do as well with these inputs"
    )


class Line(NamedTuple):
    """The straight line that is best on what was held out."""

    constant: float  # the loss of a constant
    losses: Losses  # its own
    strength: NDArray  # the norm of λ V for columns in the units, of each fold and of all
    units: NDArray  # of the columns, squared; 0 for a bias


def _of_neuron(net: Network, unit: NDArray, line: Line) -> NDArray | None:
    """Return the l2 by which a linear neuron is that line, of each fold and of all.

    ½ λ (u |a|² + |v|²), least at √u |a| = |v|, is λ √u |V| for V = a v: its slopes are those of
    ½ λ' |V|² where λ √u = λ' |V|. Where columns are not penalised by their units, there is none.
    """
    straight = [v == identity for v in net.activations]
    A, W = net.split(unit)
    i = straight.index(True) if any(straight) else 0
    of = (line.units > 0.0) & (W[i] > 0.0)  # of several constant columns each has another's bias
    ratios = W[i, of] / line.units[of]
    if not any(straight) or not of.any() or np.ptp(ratios) > 0.1 * ratios.min():
        return None
    return line.strength / float(np.sqrt(A[..., i].max() * ratios.mean()))


def line_of(net: Network, output: Any) -> tuple[Network, dict[str, Any]]:
    """Return σ(V x) as a network of the same sizes, and how to fit it: V alone is free.

    It has K neurons `identity`, each for one output.
    """
    K, small = net.n_outputs, net.n_outputs * net.n_inputs <= MOST_OF_LEVENBERG
    line = Network(
        net.n_inputs, K, activations="identity", output=output, n_outputs=K, dtype=net.dtype
    )
    w0 = np.zeros(line.n_params, net.dtype)
    line.split(w0)[0][...] = np.eye(K) if K > 1 else 1.0
    free = np.arange(line.n_params) >= K * K
    return line, {"w0": w0, "free": free, "optimizer": LevenbergMarquardt() if small else None}


def line_of_data(net: Network, of: Data, options: dict[str, Any]) -> Line | None:
    """Return s = V x with the best penalty on V; None where steps are too few to judge by."""
    epochs = options.get("epochs")
    if of.held is None or (epochs is not None and epochs < _FEW):
        return None
    line, own = line_of(net, net.output)
    X, _, c = of.fitted(net, 0)
    far = isinstance(X, Far)
    columns = Columns.over(X.reduce, "X", net.dtype) if far else Columns.of(X, c)
    units = columns.unit**2
    if columns.bias is not None:
        units[columns.bias] = 0.0
    unit = np.zeros(line.n_params)
    line.split(unit)[1][...] = units
    found: list[list[list[NDArray]]] = []

    def judged(l2: float) -> Losses:
        losses, w = of.judged(line, lambda fold: l2 * unit, own, {"l2 of a line": l2})
        found.append(w)
        return losses

    l2 = _of_least_left_out(net, of, columns)
    if l2 is None:
        losses = _path(_OF_LINE, judged)
        best = _best(losses)
        l2 = float(_OF_LINE[best])
    else:
        losses = [judged(each) for each in sorted({_OF_LINE[0], l2}, reverse=True)]
        best = len(losses) - 1
    of_all = []
    for X, t, c in (of.fitted(line, k) for k in range(len(of.targets))):
        found_of_all = of.fit(
            line, X, t, loss=of.loss, sample_weight=c, l2=l2 * unit, progress=False, _quiet=True,
            **own,
        )  # fmt: skip
        of_all.append(found_of_all.w)
    strength = [
        l2 * max(float(np.linalg.norm(line.split(w)[1] * np.sqrt(units), 2)) for w in fold)
        for fold in [*found[best], of_all]
    ]
    return Line(losses[0].mean, losses[best], np.array(strength), units)


def _of_least_left_out(net: Network, of: Data, columns: Columns) -> float | None:
    """Return the λ of the line that is nearest to each observation by all others.

    None where it is no ridge regression, where there are many rows, and where folds are given.
    """
    ridge = of.loss == squared and all(sigma == identity for sigma in boundary.sigmas(net))
    folds = of.folds
    if not (ridge and isinstance(folds, Drawn)) or len(of.X) * net.n_inputs > _MOST_LEFT_OUT:
        return None
    rows: Any = slice(None) if of.rows is None else np.asarray(of.rows)
    X, t = of.X[rows], np.column_stack([each[rows] for each in of.targets])
    c, like = None if of.c is None else of.c[rows], None
    if folds.alike is not None:
        distinct = np.count_nonzero(folds.alike.begins)
        like = folds.alike.each(np.arange(distinct), len(of.X))[rows]
    return float(_LEFT_OUT[np.argmin(left_out(X, t, c, columns, _LEFT_OUT, like))])


def _enough(net: Network, loss: Loss, options: dict[str, Any]) -> dict[str, Any]:
    """Return the steps of a fit that is only to be judged, where none are given."""
    if options.get("epochs") is not None:
        return {}
    optimizer = get_optimizer(options.get("optimizer"), family(loss), net.n_params)
    if isinstance(optimizer, Minimize) and optimizer.method in WITHOUT_GRADIENT:
        return {"epochs": _STEPS, "optimizer": None}
    return {"epochs": _STEPS} if isinstance(optimizer, LevenbergMarquardt | Minimize) else {}


def _path(
    values: Iterable[Any], losses: Callable[[Any], Losses | None], worse: int = 0
) -> list[Losses]:
    """Return the losses of one value after the other, until two in a row are clearly worse.

    By a standard error, and by more than rounding and ends of fits make of two that are alike. Or
    until as many as `worse` in a row are so by the latter alone.
    """
    found: list[Losses] = []

    def last(n: int) -> Iterator[tuple[float, float]]:
        return (_above(each, best) for each in reversed(found[-n:]))

    for value in values:
        each = losses(value)
        if each is None:
            break
        found.append(each)
        best = found[_best(found)]
        least = _WORSE * abs(best.mean)
        if len(found) > 2 and all(above > max(error, least) for above, error in last(2)):
            break
        if 0 < worse < len(found) and all(above > least for above, _ in last(worse)):
            break
    return found


def _best(losses: list[Losses]) -> int:
    return int(np.argmin([each.mean for each in losses]))


def _above(losses: Losses, best: Losses) -> tuple[float, float]:
    """Return by how much a mean is above the least, and the error of that difference."""
    mean, error = (0.0, 0.0) if losses is best else losses.above(best)
    return np.inf if np.isnan(mean) else mean, 0.0 if np.isnan(error) else error


def _first_as_good(losses: list[Losses]) -> int:
    best = losses[_best(losses)]
    for number, each in enumerate(losses):
        above, error = _above(each, best)
        if above <= max(error, _ALIKE * abs(best.mean)):
            return number
    return 0  # where no loss is finite
