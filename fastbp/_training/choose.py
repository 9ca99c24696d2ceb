"""How large a penalty, and how many neurons: by cross-validation over a path of l2."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._columns import Columns
from .._standardise import parted, penalties
from ..activations import identity, one, softmax
from ..losses import Loss
from ..network import Network, before_outputs
from ..optimizers import MOST_OF_LEVENBERG, LevenbergMarquardt, Minimize, get_optimizer
from .jobs import folds_of, outcomes
from .progress import Progress
from .watch import NonFiniteLossError

Result = TypeVar("Result", bound=Any)  # a FitResult, whose module stands above this one

PATH = np.geomspace(1.0, 1e-6, 13)  # from where scaled data leave no neuron to next to nothing
SIZES = (1, 2, 4, 8, 16, 32)
_OF_LINE = np.r_[1e6, np.geomspace(10.0, 1e-5, 13)]  # the first leaves a constant
_FEW = 20  # steps that are too few to judge by
_WORSE = 0.005  # than a straight line by this part of what a constant leaves is worth a word
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
    losses: NDArray  # of each that judges

    def noted(self, result: Result, doubt: str) -> Result:
        """Return a fit by this l2 with what it was chosen by, and what speaks against it."""
        warnings = (*result.warnings, *filter(None, [doubt]))
        return replace(result, l2=self.l2, l2_path=self.path, warnings=warnings)


Judges = tuple[NDArray, NDArray, NDArray | None]  # X, targets as `Data` has them, c


@dataclass(frozen=True)
class Data:
    """Checked data, and of each fold what is fitted and what judges."""

    X: NDArray
    targets: NDArray  # of each network that is to have the penalty: (networks, B), or (…, B, K)
    c: NDArray | None
    loss: Loss
    folds: list[tuple[NDArray, NDArray]]  # rows; empty where `judges` does for all
    judges: Judges | None
    like: NDArray | None  # the number of each row among the distinct ones
    fit: Callable[..., Any]  # fastbp.fit, which stands above this module
    threads: int
    seed: int
    shown: Progress

    def counted(self, progress: bool | str, n_values: int) -> Data:
        """Return the data with how many fits at most there are to show, of each of some values."""
        each = max(len(self.folds), 1) * len(self.targets)
        n = each * (n_values + len(_OF_LINE))
        return replace(self, shown=Progress(progress, n, "choosing, fit"))

    def judged(
        self,
        net: Network,
        l2: Callable[[int], NDArray],
        options: dict[str, Any],
        tried: Mapping[str, float],
    ) -> tuple[NDArray, list[list[NDArray]]]:
        """Return the losses of what judges, and the parameters of each fold's networks.

        By fits with the penalty of each fold; losses are infinite where one diverges. Those of
        like observations are one, and weighted, so that their mean is that of all. Every fold has
        a start of its own, the same for all penalties. `tried` is what is shown of it.
        """
        X, targets, c = self.judges or (self.X, self.targets, self.c)
        folds = self.folds or [(np.arange(len(self.X)), np.arange(len(X)))]
        jobs = [(number, k) for number in range(len(folds)) for k in range(len(targets))]
        threads, before = max(self.threads // len(jobs), 1), self.shown.done

        def judged(job: tuple[int, int], stop: threading.Event) -> tuple[NDArray, NDArray]:
            number, k = job
            fitted, held = folds[number]
            validation = {"validation": (X, targets[k], c)} if self.judges else {}
            try:
                result = self.fit(
                    net,
                    self.X[fitted],
                    self.targets[k][fitted],
                    loss=self.loss,
                    sample_weight=None if self.c is None else self.c[fitted],
                    l2=l2(number),
                    seed=int(np.random.default_rng([self.seed, 4, number]).integers(2**31)),
                    progress=False,
                    threads=threads,
                    _stop=stop,
                    _quiet=True,
                    **options | validation,
                )
            except NonFiniteLossError:
                return np.full(len(held), np.inf), np.zeros(net.n_params)
            if result.reason == "interrupted":
                raise KeyboardInterrupt
            w = result.w
            return losses_of_each(net, self.loss, w, X[held], targets[k][held]), w

        def show(known: list[Any]) -> None:
            self.shown.show(before + len(known), tried)

        found = [of_one for _, of_one in outcomes(judged, jobs, self.threads, show)]
        if len(found) < len(jobs):
            raise KeyboardInterrupt
        rows, K = np.concatenate([held for _, held in folds]), len(targets)
        each, w = ([of_one[i] for of_one in found] for i in (0, 1))
        losses = np.sum([np.concatenate(each[k::K]) for k in range(K)], 0)
        weights = np.ones(len(rows)) if c is None else c[rows].astype(np.float64)
        losses = np.where(weights > 0.0, losses, 0.0) * weights
        like = np.arange(len(rows)) if self.like is None else self.like[rows]
        distinct = np.bincount(like, losses)
        distinct *= len(distinct) / weights.sum()
        return distinct, [w[n : n + K] for n in range(0, len(w), K)]


def data(
    net: Network,
    X: NDArray,
    targets: NDArray,
    c: NDArray | None,
    loss: Loss,
    *,
    folds: int | Iterable[Any] | None,
    judges: Judges | None,
    fit: Callable[..., Any],
    threads: int | str,
    seed: int,
) -> Data:
    """Decide on the folds: those given, what validates, or five that share out the classes.

    Like observations are in the same of the five, whatever the order of all: a row that is there
    twice is one of twice the weight, and is not judged by a fit that has seen it.
    """
    n, silent = boundary.thread_count(threads) or os.cpu_count() or 1, Progress(False, 0)
    if judges is not None and folds is None:
        return Data(X, targets, c, loss, [], judges, None, fit, n, seed, silent)
    if folds is not None:
        rows = np.arange(len(X)) if c is None else np.flatnonzero(c)
        parts = folds_of(folds, rows, len(X), _classes(net, targets, loss))
        return Data(X, targets, c, loss, parts, None, None, fit, n, seed, silent)
    if c is not None and not c.all():
        X, targets, c = X[c > 0.0], targets[:, c > 0.0], c[c > 0.0]
    columns = np.column_stack([X, *(t.reshape(len(X), -1) for t in targets)])
    first, like = np.unique(columns, axis=0, return_index=True, return_inverse=True)[1:]
    like, parts, B = like.ravel(), [], len(first)
    if B > 1:
        classes = _classes(net, targets, loss)
        of_first = None if classes is None else classes[first]
        for fold in folds_of(min(_FOLDS, B), np.arange(B), B, of_first):
            fitted, held = (np.flatnonzero(np.isin(like, part)) for part in fold)
            parts.append((fitted, held))
    return Data(X, targets, c, loss, parts, None, like, fit, n, seed, silent)


def _classes(net: Network, targets: NDArray, loss: Loss) -> NDArray | None:
    """Return the class of each observation, where targets are classes."""
    if loss.name != "cross_entropy" or not np.isin(targets, (0.0, 1.0)).all():
        return None
    if net.n_outputs == 1:
        return targets[0] if len(targets) == 1 else targets.argmax(axis=0)
    return targets[0].argmax(axis=1) if net.output is softmax else None


def losses_of_each(net: Network, loss: Loss, w: NDArray, X: NDArray, t: NDArray) -> NDArray:
    """Return the loss of each observation, (B,); infinite where it is no number."""
    s = before_outputs(net).value(w, X).astype(np.float64)
    sigmas = boundary.sigmas(net)
    with np.errstate(all="ignore"):
        if sigmas[0] is softmax:
            s -= s.max(axis=1, keepdims=True)
            log_y = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
            each = -t * log_y if loss.fuses_with_softmax else loss(np.exp(log_y), t)
        else:
            pairs = [loss.with_output(sigma) for sigma in sigmas]
            columns = zip(pairs, s.reshape(len(s), -1).T, t.reshape(len(s), -1).T, strict=True)
            each = np.column_stack([ell(sigma(of), to) for (sigma, ell), of, to in columns])
    total = each.sum(axis=1)
    return np.where(np.isfinite(total), total, np.inf)


def units(net: Network, X: NDArray, t: NDArray, c: NDArray | None, loss: Loss) -> NDArray:
    """Return what λ is multiplied with for each parameter, so that units of the data do not matter.

    The penalty is that of weights for columns, and of targets, in units of their deviations; a
    constant column, the bias of the neurons, and neurons that are constant, have none.
    """
    columns = Columns.of(X, c)
    of_X = columns.unit.copy()
    if columns.bias is not None:
        of_X[columns.bias] = 0.0
    linear = np.array([sigma == identity for sigma in boundary.sigmas(net)])
    squared = np.ones(net.n_outputs)
    if loss.name == "squared":
        squared = np.atleast_1d(Columns.of(t, c).unit) ** 2
    unit = float(squared.mean())
    each, bent = np.empty(net.n_params), [v != one for v in net.activations]
    A, W = net.split(each)
    of_outputs = np.where(linear, unit / squared, unit)[:, np.newaxis] * bent
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
    if of.judges is None and not of.folds:  # like observations alone
        first = float(path[0])
        return Choice(first, first, L2Path(*np.empty((3, 0))), np.empty(0))
    of_line = None if line is None else _of_neuron(net, unit, line)
    options = options | _enough(net, of.loss, options)
    tried = tried or {}
    if of_line is not None and path[0] < of_line[-1]:  # many inputs that go together
        path = np.r_[of_line[-1], path]

    def judged(l2: float) -> NDArray:
        def of_fold(number: int) -> NDArray:
            return parted(net, l2 * unit, l2, l2 if of_line is None else of_line[number])

        return of.judged(net, of_fold, options, {**tried, "l2": l2})[0]

    losses = _path(path, judged, _WORSE_L2)
    means = losses.mean(axis=1)
    chosen = _first_as_good(losses)
    if not np.isfinite(means[chosen]):
        raise NonFiniteLossError(
            "no fit of any l2 had a finite loss; scaled inputs may help", np.empty(0), 0, {}
        )
    looked_at = L2Path(path[: len(losses)], means, _errors(losses))
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

    def losses(size: int) -> NDArray:
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
        chosen = _first_as_good(found) if found.size else 0
        choice = choices[chosen]
        of.shown.end(f"{sizes[chosen]} neurons and l2 {choice.l2:.3g} are chosen")
    return sizes[chosen], choice, doubt(choice, line)


def doubt(choice: Choice, line: Line | None) -> str:
    """Say so where a network is not better than a straight line by what it has not seen."""
    if line is None or not choice.losses.size or not line.constant:  # a constant is met
        return ""
    off = choice.losses - line.losses
    gain, error = -off.mean(), float(_errors(off[np.newaxis])[0])
    if gain > _SURE * error or abs(gain) <= _WORSE * abs(line.constant):  # or it is that line
        return ""
    seen = f"the loss on what was held out, {choice.losses.mean():.6g}"
    of_line = f"that of a straight line, {line.losses.mean():.6g}"
    if -gain > error:
        return f"{seen}, is above {of_line}: a linear model does better with these inputs"
    return (
        f"{seen}, is not below {of_line}, by two standard errors of {error:.2g}: a linear model "
        "may do as well with these inputs"
    )


class Line(NamedTuple):
    """The straight line that is best on what was held out."""

    constant: float  # the loss of a constant
    losses: NDArray  # its own, of each that judges
    strength: NDArray  # the norm of λ V for columns in the units, of each fold and of all
    units: NDArray  # of the columns, squared; 0 for a bias


def _of_neuron(net: Network, unit: NDArray, line: Line) -> NDArray | None:
    """Return the l2 by which a linear neuron is that line, of each fold and of all.

    ½ λ (u |a|² + |v|²), least at √u |a| = |v|, is λ √u |V| for V = a v: its slopes are those of
    ½ λ' |V|² where λ √u = λ' |V|. Where columns are not penalised by their units, there is none.
    """
    straight, of = [v == identity for v in net.activations], line.units > 0.0
    A, W = net.split(unit)
    i = straight.index(True) if any(straight) else 0
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
    if (of.judges is None and not of.folds) or (epochs is not None and epochs < _FEW):
        return None
    line, own = line_of(net, net.output)
    columns = Columns.of(of.X, of.c)
    units = columns.unit**2
    if columns.bias is not None:
        units[columns.bias] = 0.0
    unit = np.zeros(line.n_params)
    line.split(unit)[1][...] = units
    found: list[list[list[NDArray]]] = []

    def judged(l2: float) -> NDArray:
        losses, w = of.judged(line, lambda fold: l2 * unit, own, {"l2 of a line": l2})
        found.append(w)
        return losses

    losses = _path(_OF_LINE, judged)
    best = int(losses.mean(axis=1).argmin())
    l2 = float(_OF_LINE[best])
    of_all = [
        of.fit(
            line, of.X, t, loss=of.loss, sample_weight=of.c, l2=l2 * unit, progress=False,
            _quiet=True, **own,
        ).w
        for t in of.targets
    ]  # fmt: skip
    strength = [
        l2 * max(float(np.linalg.norm(line.split(w)[1] * np.sqrt(units), 2)) for w in fold)
        for fold in [*found[best], of_all]
    ]
    return Line(float(losses[0].mean()), losses[best], np.array(strength), units)


def _enough(net: Network, loss: Loss, options: dict[str, Any]) -> dict[str, Any]:
    """Return the steps of a fit that is only to be judged, where none are given."""
    if options.get("epochs") is not None:
        return {}
    optimizer = get_optimizer(options.get("optimizer"), loss.name, net.n_params)
    return {"epochs": _STEPS} if isinstance(optimizer, LevenbergMarquardt | Minimize) else {}


def _path(values: Iterable[Any], losses: Callable[[Any], NDArray], worse: int = 0) -> NDArray:
    """Return the losses of one value after the other, until two in a row are clearly worse.

    By a standard error, and by more than rounding and ends of fits make of two that are alike. Or
    until as many as `worse` in a row are so by the latter alone.
    """
    found: list[NDArray] = []
    for value in values:
        found.append(losses(value))
        if not found[-1].size:
            break
        above, error = _above_the_best(np.array(found))
        least = _WORSE * abs(float(found[int(above.argmin())].mean()))
        if len(found) > 2 and (above[-2:] > np.maximum(error[-2:], least)).all():
            break
        if 0 < worse < len(found) and (above[-worse:] > least).all():
            break
    return np.array(found)


def _above_the_best(losses: NDArray) -> tuple[NDArray, NDArray]:
    """Return by how much each row's mean is above the least, and the error of that difference."""
    with np.errstate(invalid="ignore"):
        off = losses - losses[losses.mean(axis=1).argmin()]
        return np.nan_to_num(off.mean(axis=1), nan=np.inf), np.nan_to_num(_errors(off))


def _errors(losses: NDArray) -> NDArray:
    with np.errstate(invalid="ignore"):
        n = losses.shape[1]
        return losses.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(losses))


def _first_as_good(losses: NDArray) -> int:
    above, error = _above_the_best(losses)
    return int((above <= error).argmax())  # the first of all where no loss is finite
