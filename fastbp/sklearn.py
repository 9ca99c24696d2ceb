"""Estimators for scikit-learn: :class:`NetworkRegressor` and :class:`NetworkClassifier`.

This module alone imports scikit-learn (``pip install fastbp[sklearn]``); ``import fastbp`` does not
import it.

A model is equation (1) with biases, y = σ(b + Σ_i w_i v_i(b_i + Σ_j w_ij x_j)), on standardised
inputs, or several outputs over its hidden layer. As the function itself has no bias, its network
has one input and one neuron more: the constant input 1, and a neuron with the activation ``one``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

try:
    from scipy.sparse import issparse
    from scipy.special import log_expit, log_softmax
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils import (
        _safe_indexing,  # private: no public function takes rows of tables and arrays alike
        check_consistent_length,
        check_random_state,
        check_scalar,
    )
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import (  # two that are private: there are no public ones
        _check_monotonic_cst,
        _check_sample_weight,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "fastbp.sklearn needs scikit-learn 1.6 or newer: pip install 'fastbp[sklearn]'"
    ) from error

import fastbp

from . import _boundary as boundary
from . import _standardise as standardise
from ._columns import Columns
from ._parts import Rows, over_parts, weight
from ._standardise import Scaling
from ._training.choose import SIZES, Choice, Judges, data, decide
from ._training.doubts import check_pair, direction_of, warn
from ._training.given import mirrored, said_of, split
from ._training.result import without_data
from .activations import Activation, Softmax, identity, softmax
from .losses import Loss, get_loss, poisson, squared
from .network import Network, before_outputs
from .optimizers import Adam, ByBatches, Optimizer, get_optimizer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NetworkClassifier", "NetworkRegressor"]

_FAR = 1e300  # an s that stands for infinity, without differences that are no numbers


_JUDGES = "X_val, y_val and sample_weight_val"
_SETTLED = 100  # rows by which partial_fit has found its scales


class _Rows(NamedTuple):
    """Observations with their targets and weights."""

    X: NDArray
    y: NDArray
    c: NDArray | None

    def of(self, chosen: Any, X: NDArray | None = None) -> _Rows:
        """Return copies of some of them; with X, which may be large, where it is known."""
        c = None if self.c is None else self.c[chosen]
        return _Rows(self.X[chosen] if X is None else X, self.y[chosen], c)

    def and_of(self, others: _Rows) -> _Rows:
        """Return these, and behind them the others."""
        c = None
        if self.c is not None or others.c is not None:
            each = [np.ones(len(rows.X)) if rows.c is None else rows.c for rows in (self, others)]
            c = np.concatenate(each)
        X, y = (np.concatenate(both) for both in zip(self[:2], others[:2], strict=True))
        return _Rows(X, y, c)

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(over_parts(weight, Rows(self.X, None, self.c)).sums[0])


@contextmanager
def whole_or_not(model: BaseEstimator) -> Iterator[None]:
    """Leave a model as it was where a call fails: with half of a fit it would predict, or go on."""
    before = dict(vars(model))
    for name in {"_rng", "_moments"} & {*before}:  # which change where they are
        before[name] = deepcopy(before[name])
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise


@dataclass(kw_only=True, eq=False, repr=False)  # writes each `__init__`, as scikit-learn reads it
class _NetworkEstimator(BaseEstimator, ABC):
    """What the two have in common: standardisation, and all of a fit but what y is to it."""

    n_neurons: int | str = field(default=standardise.N_NEURONS, kw_only=False)
    activation: str | Activation | Sequence[str | Activation] = "tanh"
    linear: bool = standardise.LINEAR
    loss: str | Loss = "squared"
    optimizer: str | Optimizer | None = None
    l2: float | str | None = standardise.L2
    epochs: int | None = None
    batch_size: int | None = None
    shuffle: bool = True
    early_stopping: int | fastbp.EarlyStopping | None = None
    validation_fraction: float | None = None
    monotonic_cst: ArrayLike | dict[str, int] | None = None
    standardize: bool = True
    dtype: DTypeLike = "float64"
    warm_start: bool = False
    random_state: int | np.random.RandomState | None = None
    threads: int | str = 1
    verbose: bool | int = False

    _largest_l2: ClassVar[float]  # where l2 is None; by held-out scores of small data sets
    _prior: ClassVar[float]  # of large ones
    _numeric: ClassVar[bool]  # whether y are numbers
    # What pickles of 0.1.0 do not have:
    _row = tuple[int, ...]()  # of y in the first call
    _unsettled = cast("_Rows | None", None)  # what partial_fit has seen, until there is enough
    _rule = np.nan  # l2_ where none was chosen nor given
    _chosen = cast("tuple[float, float] | None", None)  # l2_ and l2_linear_ by "auto"

    def __setstate__(self, state: dict[str, Any]) -> None:
        # 0.1.0 had no linear neuron: what it pickled means none.
        super().__setstate__({"linear": False, "_rule": state.get("l2_"), **state})
        if "w_" in state and not np.isfinite(state.get("l2_linear_", np.inf)):  # 0.2.0's for l2_
            self.l2_linear_ = state["l2_"]

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit anew; with `warm_start`, from where the last call ended.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.
        y : array_like, shape (B,) or (B, K)
            Their targets, or their classes; with an axis more, K targets or labels of each.
        sample_weight : array_like, shape (B,), optional
            Weights from 0 on.
        X_val, y_val, sample_weight_val : array_like, optional
            Others to validate by, in place of a share of these (`validation_fraction`).

        Returns
        -------
        self

        Raises
        ------
        KeyboardInterrupt
            At Ctrl-C, so that a search ends too; what was found until then is kept.

        Warns
        -----
        FitWarning
            As :func:`fastbp.fit`; a cause that several networks have once.
        """
        anew = not (self.warm_start and hasattr(self, "w_"))
        with whole_or_not(self):
            rows = self._checked(X, y, sample_weight, anew)
            held = None
            if X_val is not None and y_val is not None:
                if self.validation_fraction is not None:
                    raise ValueError("give X_val and y_val or validation_fraction, not both")
                with said_of(_JUDGES):
                    held = self._checked(X_val, y_val, sample_weight_val, False)
            elif any(given is not None for given in (X_val, y_val, sample_weight_val)):
                raise ValueError("X_val and y_val must be given both, or neither")
            results = self._learn(rows, held, anew=anew)
        return self._ended(results)

    def _pass(self, X: Any, y: Any, c: Any, anew: bool, classes: NDArray | None = None) -> Self:
        """Go once over some observations, by the optimizer if it works in batches, else by Adam."""
        with whole_or_not(self):
            rows = self._checked(X, y, c, anew)
            chosen = Adam() if self.optimizer is None else get_optimizer(self.optimizer, "", 0)
            by = chosen if isinstance(chosen, ByBatches) else Adam()
            results = self._learn(rows, None, anew=anew, classes=classes, by=by)
        return self._ended(results)

    def _ended(self, results: list[fastbp.FitResult]) -> Self:
        """Say how the fits of a call of the user's ended, which are kept by now."""
        if any(result.reason == "interrupted" for result in results):
            raise KeyboardInterrupt
        if self._at_optimum:  # a part of the data says nothing of the whole
            warn([result.warnings for result in results], stacklevel=3)
        return self

    def _check_settings(self) -> None:
        if isinstance(self.l2, str) and self.l2 != "auto":
            raise ValueError(f'l2 must be a number from 0 on, "auto" or None; got {self.l2!r}')
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type == "bool" or (each.type == "bool | None" and value is not None):
                boundary.flag(each.name, value)
        if not boundary.is_integer(self.verbose):
            boundary.flag("verbose", self.verbose)

    def _checked(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, anew: bool
    ) -> _Rows:
        """Check observations, of the first call or against what that has found."""
        self._check_settings()
        for name, value in (("X", X), ("y", y), ("sample_weight", sample_weight)):
            boundary.unmasked(name, value)
        rows, given = validate_data(
            self,
            X,
            y,
            dtype=np.float64,
            order="C",
            multi_output=True,
            y_numeric=self._numeric,
            reset=anew,
        )
        if issparse(given):
            given = given.toarray()
        if given.shape[1:] == (1,):
            given = column_or_1d(given, warn=True)
        if anew:
            self._row = given.shape[1:]
        elif given.shape[1:] != self._row:
            expected = f"{self._row[0]} columns are" if self._row else "one number a row is"
            raise ValueError(f"y has shape {given.shape}; {expected} expected, as at first")
        c = None
        if sample_weight is not None:
            c = _check_sample_weight(
                sample_weight, rows, dtype=np.float64, ensure_non_negative=True
            )
            with np.errstate(over="ignore"):
                total = float(c.sum())
            if not 0.0 < total < np.inf:
                raise ValueError(f"sample_weight must have a positive, finite sum; got {total}")
        return _Rows(rows, given, c)

    def _learn(
        self,
        rows: _Rows,
        held: _Rows | None,
        *,
        anew: bool,
        classes: NDArray | None = None,
        by: Optimizer | None = None,
    ) -> list[fastbp.FitResult]:
        """Fit, anew or from where the last call ended, wholly or by one epoch of an optimizer."""
        rows, held = self._shared_out(rows, held, anew, classes, by)
        self._begin(rows, anew, by)
        choice = None
        if anew and by is None and any(isinstance(x, str) for x in (self.n_neurons, self.l2)):
            choice, doubt = self._choose(rows, held)

        moments = []  # of each start, as `results` are of one of them

        def fits(_: int) -> list[fastbp.FitResult]:
            if anew:
                self.w_ = self._start(rows)
                self._forget()
            own = self._fits(rows, held, by)
            moments.append((own, self._moments))
            return own

        if choice is None:
            results = fits(0)
        else:
            results = choice.fitted(fits)
            self._moments.update(next(of for own, of in moments if own is results))
            results[0] = choice.noted(results[0], doubt)
        self._keep(results)
        for k, result in enumerate(results):
            self._curves.setdefault(k, []).extend(result.history["loss"].tolist())
        self.loss_curve_ = [*self._curves.values()] if len(self._curves) > 1 else self._curves[0]
        self.n_iter_ = max(map(len, self._curves.values()))
        self._at_optimum = by is None
        return results

    def _shared_out(
        self,
        rows: _Rows,
        held: _Rows | None,
        anew: bool,
        classes: NDArray | None,
        by: Optimizer | None,
    ) -> tuple[_Rows, _Rows | None]:
        """Return what is fitted, with all its weights, and what judges."""
        self._look(rows, anew, classes)
        fitted, judges = np.arange(len(rows.X)), np.arange(0)
        if held is not None:
            with said_of(_JUDGES):
                self._look(held, False, None)
            judges = len(fitted) + np.arange(len(held.X))
            rows = rows.and_of(held)
        if rows.c is not None:  # weight 0 is as good as absent, from the batches too
            fitted, judges = (part[rows.c[part] > 0.0] for part in (fitted, judges))
        if anew:
            seed = check_random_state(self.random_state).randint(2**31 - 1)
            self._rng = np.random.default_rng(seed)
        share = self.validation_fraction
        if share is not None and by is None:
            check_scalar(share, "validation_fraction", Real)
            by_class = None if self._numeric or self._row else rows.y[fitted]
            parts = split(float(share), int(self._rng.integers(2**31)), len(fitted), by_class)
            judges, fitted = (fitted[part] for part in parts)
        rows = rows._replace(c=self._weighed(rows, fitted))
        if rows.c is not None and not rows.c[fitted].any():
            raise ValueError("the classes of all observations have the weight 0; nothing is fitted")
        whole = rows.X if by is None and len(fitted) == len(rows.X) else None
        return rows.of(fitted, whole), rows.of(judges) if judges.size else None

    def _begin(self, rows: _Rows, anew: bool, by: Optimizer | None) -> None:
        """Make or check the network; find scales and the penalty, where these are still open."""
        if anew:
            self.n_neurons_ = self._first_size(by)
        size = self.n_neurons_ if self.n_neurons == "auto" else self.n_neurons
        net = self._network_of(size, rows.X.shape[1], *self._outputs())
        if anew:
            self.network_ = net
        elif net != self.network_:
            goes_on = "warm_start" if by is None else "partial_fit"
            raise ValueError(
                f"{goes_on} goes on with {self.network_!r}, and the parameters ask for {net!r}"
            )
        check_pair(self.network_, get_loss(self.loss))
        if anew or self._unsettled is not None:
            seen = rows if anew or self._unsettled is None else self._unsettled.and_of(rows)
            self._unsettled = seen if by and len(seen.X) < _SETTLED else None
            self._scale(seen)
            rule = self._rule = self._rule_for(seen.total)
            self._chosen = None
        else:  # a part is of more data than itself
            rule = self._rule_for(rows.total) if by is None else self._rule
        self.l2_ = self.l2_linear_ = self._penalty(rule)
        if self.l2 == "auto" and by is None and self._chosen is not None:
            self.l2_, self.l2_linear_ = self._chosen

    @abstractmethod
    def _look(self, rows: _Rows, anew: bool, classes: NDArray | None) -> None:
        """Refuse what y must not be; `classes` are all there will be, where known."""

    @abstractmethod
    def _outputs(self) -> tuple[Any, int]:
        """Return σ and K of each network."""

    @abstractmethod
    def _start(self, rows: _Rows) -> NDArray:
        """Return where to begin: w, or one of each network."""

    @abstractmethod
    def _targets(self, y: NDArray) -> NDArray:
        """Return the targets of each network, (networks, B) or (networks, B, K)."""

    @abstractmethod
    def _keep(self, results: list[fastbp.FitResult]) -> None:
        """Keep what was found, after Ctrl-C not of every network."""

    def _weighed(self, rows: _Rows, fitted: NDArray) -> NDArray | None:
        """Return the weights, with those of classes, which are balanced by what is fitted."""
        return rows.c

    def _scale(self, rows: _Rows) -> None:
        """Find the scales of all that is seen."""
        self.scaling_ = Scaling.of(rows.X, rows.c) if self.standardize else Scaling.none(rows.X)

    def _network_of(self, size: Any, n_inputs: int, output: Any, n_outputs: int) -> Network:
        """Return the network of so many neurons, its biases and the linear one included."""
        return standardise.network(
            n_inputs, size, self.activation, output, n_outputs, self.dtype, self.linear
        )

    def _first_size(self, by: Optimizer | None) -> Any:
        """Return how many neurons to begin with, be it to choose."""
        if self.n_neurons != "auto":
            return self.n_neurons
        if by is not None or not isinstance(self.activation, str | Activation):
            raise ValueError(
                'n_neurons="auto" is for fit, which sees all observations, with one activation for '
                "all neurons; give a number"
            )
        return SIZES[0]

    def _choose(self, rows: _Rows, held: _Rows | None) -> tuple[Choice, str]:
        """Choose the number of neurons and the penalty; also says what speaks against them."""
        Z, targets, c = self._prepared(rows)
        of = data(
            self.network_,
            Z,
            targets,
            c,
            get_loss(self.loss),
            folds=None,
            judges=None if held is None else Judges(*self._prepared(held)),
            fit=fastbp.fit,
            threads=self.threads,
            seed=int(self._rng.integers(2**31)),
        )
        options = {
            "optimizer": self.optimizer,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "early_stopping": self.early_stopping,
        }

        def network(size: int) -> Network:
            return self._network_of(size, rows.X.shape[1], *self._outputs())

        self.n_neurons_, choice, doubt = decide(
            self.n_neurons,
            "auto" if isinstance(self.l2, str) else self.l2_,
            network,
            of,
            lambda net: options | {"free": standardise.free(net), "bounds": self._bounds(net)},
            bool(self.verbose),
            self._unit(targets[0]),
        )
        self.network_ = network(self.n_neurons_)
        self._chosen = self.l2_, self.l2_linear_ = choice.l2, choice.linear
        return choice, doubt

    def _penalty(self, rule: float) -> float:
        """Return the penalty's weight: what is given, or the rule's."""
        return rule if self.l2 is None or isinstance(self.l2, str) else self.l2

    def _rule_for(self, total: float) -> float:
        """Return the penalty's weight for so many observations, or so large a sum of weights."""
        # The second is a normal prior of w that does not depend on the number of observations.
        return min(self._largest_l2, self._prior / total)

    def _unit(self, t: NDArray) -> float:
        """Return the size of targets by which penalties are to be looked at."""
        return 1.0

    def _random_start(self) -> NDArray:
        w = standardise.start(self.network_, self._rng)
        bounds = self._bounds(self.network_)
        return w if bounds is None else mirrored(w, bounds)

    def _bounds(self, net: Network) -> tuple[NDArray, NDArray] | None:
        """Return the bounds that hold outputs monotonic; None where nothing is asked for.

        ∂y/∂x_j = σ' Σ_i w_i v_i' w_ij has the sign that is asked for where each term has it. As v_i
        may be bent one way only, half of the neurons have w_i ≥ 0, the others w_i ≤ 0.
        """
        if self.monotonic_cst is None:
            return None
        given = self.monotonic_cst
        given = given if isinstance(given, dict) else np.atleast_1d(given)
        asked = _check_monotonic_cst(self, given)
        if not asked.any():
            return None
        if net.output is softmax or (len(getattr(self, "classes_", ())) > 2 and not self._row):
            raise ValueError(
                "monotonic_cst is for outputs of their own; probabilities of more than two classes "
                "depend on each other"
            )
        functions = [*net.activations, *boundary.sigmas(net)]
        directions = np.array([direction_of(v) for v in functions])
        if not directions.all():
            v = functions[int(np.argmin(np.abs(directions)))]
            raise ValueError(
                f"monotonic_cst needs functions that never turn, and {v.name!r} rises and falls"
            )
        neurons, outputs = np.split(directions, [net.n_neurons])
        sides = np.resize([1, -1], net.n_neurons)
        signs = np.zeros(net.n_params)
        A, W = net.split(signs)
        A[...] = (outputs[:, np.newaxis] * sides).reshape(A.shape)
        A[..., -1] = 0
        W[:-1, :-1] = (sides * neurons)[:-1, np.newaxis] * asked
        low, high = np.where(signs > 0, 0.0, -np.inf), np.where(signs < 0, 0.0, np.inf)
        return low.astype(net.dtype), high.astype(net.dtype)

    def _solver(self) -> str | Optimizer | None:
        """Return the optimizer of a whole fit."""
        return standardise.solver(self.optimizer, self.epochs, self.l2_)

    def _forget(self) -> None:
        self._moments: dict[int, dict[str, Any]] = {}  # of each network's optimizer
        self._curves: dict[int, list[float]] = {}

    def _fits(
        self, rows: _Rows, held: _Rows | None, by: Optimizer | None
    ) -> list[fastbp.FitResult]:
        """Fit each network from its parameters as they are, until Ctrl-C."""
        if not hasattr(self, "_curves"):  # a pickle of 0.1.0
            self._forget()
        options: dict[str, Any] = {"optimizer": by, "epochs": 1}
        if by is None:
            options = {
                "optimizer": self._solver(),
                "epochs": self.epochs,
                "early_stopping": self.early_stopping,
            }
        bounds = self._bounds(self.network_)
        if by is not None and bounds is not None:
            raise ValueError(
                "partial_fit does not hold monotonic_cst: Adam and SGD keep to no bounds; use fit"
            )
        if bounds is not None and not ((bounds[0] <= self.w_) & (self.w_ <= bounds[1])).all():
            raise ValueError(
                "warm_start goes on from parameters that do not hold monotonic_cst="
                f"{self.monotonic_cst!r}; fit with it from the first call on"
            )
        Z, targets, c = self._prepared(rows)
        judge = None if held is None else self._prepared(held)
        results: list[fastbp.FitResult] = []
        for k, t in enumerate(targets):
            results.append(
                fastbp.fit(
                    self.network_,
                    Z,
                    t,
                    w0=np.atleast_2d(self.w_)[k],
                    loss=self.loss,
                    sample_weight=c,
                    validation=None if judge is None else (judge[0], judge[1][k], judge[2]),
                    l2=standardise.penalties(self.network_, self.l2_, self.l2_linear_),
                    seed=int(self._rng.integers(2**31)),
                    shuffle=self.shuffle,
                    free=standardise.free(self.network_),
                    bounds=bounds,
                    progress=bool(self.verbose),
                    threads=self.threads,
                    batch_size=self.batch_size,
                    _quiet=True,
                    _moments=self._moments.setdefault(k, {}),
                    **options,
                )
            )
            if results[-1].reason == "interrupted":
                break
        return results

    def _prepared(self, rows: _Rows) -> tuple[NDArray, NDArray, NDArray | None]:
        """Return inputs, targets of each network and weights as the network takes them."""
        dtype = self.network_.dtype
        with np.errstate(over="ignore"):  # `fit` refuses what is not finite
            targets = self._targets(rows.y).astype(dtype, copy=False)
        c = None if rows.c is None else (rows.c / (rows.c.max() or 1.0)).astype(dtype)
        return self.scaling_.inputs(rows.X, dtype), targets, c

    def _inputs(self, X: ArrayLike) -> NDArray:
        """Check the observations of a prediction and scale them."""
        check_is_fitted(self)
        boundary.unmasked("X", X)
        checked = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        Z = self.scaling_.inputs(checked)
        largest = np.finfo(Z.dtype).max
        np.clip(Z, -largest, largest, out=Z)
        if self.network_.dtype != Z.dtype:  # a row beyond float32 is taken where its ray ends
            size = np.abs(Z).max(axis=1, keepdims=True)
            Z[:, :-1] *= np.minimum(1.0, np.finfo(self.network_.dtype).max / size)
        return Z.astype(self.network_.dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: of a fit what its intervals need in place of its data."""
        state = dict(super().__getstate__())
        if "result_" in state:
            state["result_"] = without_data(state["result_"])
        return state


class _Scored:
    """A mixin: what scikit-learn would draw into memory, or forget the mask of, is refused."""

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R² of the predictions, or of a classifier the share that are right.

        Parameters
        ----------
        X, y, sample_weight
            As :meth:`fit` takes them.

        Returns
        -------
        score : float
        """
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            boundary.unmasked(name, value)
        c = None if sample_weight is None else np.asarray(sample_weight)
        if c is not None and c.any() and not c.all():
            check_consistent_length(X, y, c)
            weighs = np.flatnonzero(c)  # the rest may be beyond all numbers
            X, y, c = (_safe_indexing(a, weighs) for a in (X, y, c))
        return super().score(X, y, c)  # type: ignore[misc]


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkRegressor(_Scored, MultiOutputMixin, RegressorMixin, _NetworkEstimator):
    """Regression by a network with one hidden layer, of one target or of several at once.

    Parameters
    ----------
    n_neurons : int or "auto"
        Neurons in the hidden layer, without the constant and the linear one. "auto" takes the
        fewest of 1, 2, 4 … 32 whose loss, by 5-fold cross-validation, is not above the least by
        more than a standard error.
    activation : str, Activation or sequence of them
        v_i: a name, one's own by :func:`fastbp.activation`, or one for each neuron.
    linear : bool
        Whether neurons `identity` beside these take the linear part, where `activation` is one for
        all: one for each output (one fewer than the classes of a softmax), at most N. Their bias
        is the output's.
    output : str, Activation, sequence of K of them, or "softmax"
        σ of all targets, or of each; or the softmax of all, for shares that sum to 1.
    loss : str or Loss
        What is minimised, by its weighted mean over the observations; of several targets, their
        sum.
    optimizer : str or Optimizer, optional
        As in :func:`fastbp.fit`, which chooses by the size and the loss where it is left out;
        L-BFGS where `epochs` is left out too and the penalty is strong, above 0.02.
    l2 : float, "auto" or None
        Penalty: l2/2 times the sum of the squared weights, of linear neurons half as much (for
        classes twice) and without the biases, is added to the mean loss. "auto" chooses it from
        1 to 1e-6 as :func:`fastbp.fit` does, by 5 folds or by what is held out to validate; at 1
        what is left is the straight line. With None, and in :meth:`partial_fit`, it is 0.01, or 4
        over the number of observations (the sum of their weights) where that is less.
    epochs, batch_size : int, optional
        As in :func:`fastbp.fit`, whose default is taken where they are left out.
    shuffle : bool
        As there: whether each epoch has an order of its own.
    early_stopping : int or EarlyStopping, optional
        As in :func:`fastbp.fit`: an integer is a patience.
    validation_fraction : float, optional
        Share of the observations to hold out; the parameters with the least loss on them are
        kept. Neither of the two is used by :meth:`partial_fit`.
    monotonic_cst : array_like of int, shape (N,), or dict, optional
        1 for an input with which outputs must not fall, -1 for one with which they must not rise,
        0 for others; or by the names of inputs. Held by bounds of w, so that all w_i v_i' w_ij have
        one sign, for which v_i must not turn and the optimizer must keep to bounds.
    standardize : bool
        Scale the inputs to mean 0 and deviation 1 (weighted, over what is fitted).
    standardize_target : bool, optional
        Scale each target likewise; the loss is then that of scaled targets. Left out, it is done
        where all outputs are the identity and the loss takes any target.
    dtype : "float64" or "float32"
        Of the network. Scales and predictions are float64.
    warm_start : bool
        Whether :meth:`fit` goes on from the parameters and scales of the last call.
    random_state : int, RandomState or None
        Seed of the start and of the batches.
    threads : int or "auto"
        Threads of one fit.
    verbose : bool or int
        Whether to show a bar of progress on standard error.

    Attributes
    ----------
    network_ : Network
        The network that was fitted, a constant input and a constant neuron included.
    w_ : ndarray, shape (P,)
        Its parameters.
    loss_ : float
        The loss that was reached, with the penalty.
    loss_curve_ : list of float
        As ``FitResult.history`` has it, of all calls since the parameters were begun anew.
    n_iter_ : int
        Its length: epochs or iterations.
    result_ : FitResult
        All about the last fit. A pickle or a copy of the estimator has no data in it, but for
        deviations at most 8 P (F + 1) bytes, F parameters being free, twice that where the data do
        not determine them: 8 MB for 1000. For larger networks it has them only where
        ``predict(…, return_std=True)`` was called before.
    l2_ : float
        The penalty's weight; ``result_.l2_path`` is what it was chosen from.
    l2_linear_ : float
        l2 for the linear neurons, which have half of it, or twice (`l2`): where l2 was chosen, so
        much that these alone would be the best straight line.
    n_neurons_ : int
        How many neurons there are.
    scaling_, target_scaling_ : Scaling
        Mean and scale of the inputs and of the target.
    n_features_in_ : int
        Number of inputs.
    feature_names_in_ : ndarray of str
        Their names, where X had names.

    Examples
    --------
    >>> from fastbp.datasets import load_diabetes
    >>> from fastbp.sklearn import NetworkRegressor
    >>> X, t, names = load_diabetes()
    >>> model = NetworkRegressor(n_neurons=4, l2=0.1, random_state=0).fit(X, t)
    >>> bool(model.score(X, t) > 0.5)
    True
    """

    output: str | Activation | Softmax | Sequence[str | Activation] = "identity"
    standardize_target: bool | None = None

    _largest_l2: ClassVar[float] = 0.01
    _prior: ClassVar[float] = 4.0
    _numeric: ClassVar[bool] = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss in (poisson, poisson.name)
        return tags

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Go once over some observations, from where the last call or :meth:`fit` ended.

        The first call decides the start, the first 100 observations the scales and the penalty: so
        many at most are kept until then. An optimizer that works in batches makes an epoch; in
        place of any other, `Adam` does. Its moments go on from call to call, its schedule begins
        anew with each. Weights compare the observations of one call. Where l2 is "auto", the
        penalty is that of None, after a :meth:`fit` too.

        Parameters
        ----------
        X, y, sample_weight
            As :meth:`fit` takes them.

        Returns
        -------
        self
        """
        anew = not hasattr(self, "w_")
        return self._pass(X, y, sample_weight, anew)

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Return the network's output on the scale of the target; with the loss poisson, the rate.

        That is the exponential of the output, which is the log rate.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.
        return_std : bool
            Also return the standard deviation of y by the delta method, as
            :meth:`fastbp.FitResult.predict` explains it; after :meth:`fit` alone.

        Returns
        -------
        y : ndarray, shape (B,) or (B, K)
        std : ndarray, shape (B,) or (B, K)
            Only with `return_std`.
        """
        boundary.flag("return_std", return_std)
        Z = self._inputs(X)
        if not return_std:
            return self._decode(self.network_.value(self.w_, Z, threads=self.threads))
        if not self._at_optimum:
            raise ValueError(
                "return_std is for what fit has fitted; partial_fit went on from there"
            )
        y, std = self.result_.predict(Z, return_std=True, threads=self.threads)
        y = self._decode(y)
        return y, std * (y if self._log_rate() else self.target_scaling_.scale)

    def _log_rate(self) -> bool:
        """Whether the output is the logarithm of what the target is a count of, by the last fit."""
        return self.result_.data.loss == poisson

    def _decode(self, y: NDArray) -> NDArray:
        """Return outputs of the network on the scale of the target."""
        y = self.target_scaling_.undo(y)
        return np.exp(y) if self._log_rate() else y

    def _look(self, rows: _Rows, anew: bool, classes: NDArray | None) -> None:
        pass

    def _outputs(self) -> tuple[Any, int]:
        return self.output, self._row[0] if self._row else 1

    def _unbounded(self) -> bool:
        """Whether outputs and targets may be any numbers."""
        linear = all(sigma == identity for sigma in boundary.sigmas(self.network_))
        return linear and not np.isfinite(get_loss(self.loss).target_range).any()

    def _scale(self, rows: _Rows) -> None:
        super()._scale(rows)
        t = np.asarray(rows.y, np.float64)
        self.target_scaling_ = Scaling.of(t, rows.c) if self._scales_targets() else Scaling.none(t)

    def _unit(self, t: NDArray) -> float:
        if self.standardize_target is not False or get_loss(self.loss) != squared:
            return 1.0
        return float(np.sqrt(np.mean(Columns.of(t).unit ** 2)))

    def _start(self, rows: _Rows) -> NDArray:
        return self._start_near(lambda: Columns.of(self._targets(rows.y)[0], rows.c))

    def _start_near(self, columns: Callable[[], Columns]) -> NDArray:
        """Return a start at the mean of targets that are not scaled."""
        w = self._random_start()
        if self._unbounded() and not self.target_scaling_.mean.any():
            # Else neurons saturate on the way to a far mean.
            self.network_.split(w)[0][..., -1] = columns().mean
        return w

    def _scales_targets(self) -> bool:
        """Return whether targets are scaled; refused where their loss takes no others."""
        scaled = self._unbounded() if self.standardize_target is None else self.standardize_target
        if scaled and np.isfinite(get_loss(self.loss).target_range).any():
            raise ValueError(
                f"standardize_target=True moves targets out of the range of the loss {self.loss!r}"
            )
        return scaled

    def _targets(self, y: NDArray) -> NDArray:
        if self.target_scaling_.differs and np.isfinite(get_loss(self.loss).target_range).any():
            raise ValueError(
                f"the targets are scaled since the first call, out of the range of the loss "
                f"{self.loss!r}; fit anew, without warm_start"
            )
        return self.target_scaling_.apply(np.asarray(y, np.float64))[np.newaxis]

    def _keep(self, results: list[fastbp.FitResult]) -> None:
        self.result_ = results[0]
        self.w_, self.loss_ = self.result_.w, float(self.result_.loss)


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkClassifier(_Scored, ClassifierMixin, _NetworkEstimator):
    """Classification by a network with one hidden layer.

    Two classes are told apart by a logistic output, K > 2 by a softmax of K outputs. Where y is
    a matrix of 0 and 1, every column is a label of its own, with a logistic output.

    Parameters
    ----------
    n_neurons, activation, linear, optimizer, epochs, batch_size, shuffle, early_stopping
        As in :class:`NetworkRegressor`.
    validation_fraction, standardize, dtype, warm_start, random_state, threads, verbose
        As there. What is held out has of every class its share.
    monotonic_cst : array_like of int, shape (N,), or dict, optional
        As there, for the probability of the second of two classes, or of each label.
    loss : str or Loss
        ℓ(y, t) of a probability y and a target t of 0 or 1, summed over the outputs; its weighted
        mean is minimised.
    l2 : float, "auto" or None
        As there; the number in place of 0.01 is 0.002, and that of 4 is 1.
    multi_class : {"softmax", "ovr"}
        For K > 2 classes, one network with a softmax, or one against the rest: K networks with a
        logistic output, whose probabilities are divided by their sum.
    class_weight : dict or "balanced", optional
        Weights of the classes beside each other, by which those of their observations are
        multiplied, as `sklearn.utils.class_weight.compute_sample_weight` has them.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
        The classes, sorted; for labels their columns, 0 … K − 1.
    w_ : ndarray, shape (1, P), or (K, P) for "ovr"
        The network's parameters; of two classes, y is the probability of the second.
    loss_ : ndarray, shape (1,), or (K,) for "ovr"
        The losses that were reached, with the penalty.
    histories_ : list of dict
        How each network's loss fell in the last call, as in ``FitResult.history``.
    loss_curve_ : list of float, or of K lists for "ovr"
        As that of :class:`NetworkRegressor`.
    n_iter_ : int
        The most epochs or iterations of a network.
    network_, n_neurons_, l2_, l2_linear_, scaling_, n_features_in_, feature_names_in_
        As those of :class:`NetworkRegressor`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastbp.sklearn import NetworkClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NetworkClassifier(n_neurons=4, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    >>> model.predict_proba(X[:1]).round(1)
    array([[1., 0., 0.]])
    """

    loss: str | Loss = "cross_entropy"
    multi_class: str = "softmax"
    class_weight: dict | list | str | None = None

    _largest_l2: ClassVar[float] = 0.002
    _prior: ClassVar[float] = 1.0
    _numeric: ClassVar[bool] = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go once over some observations, as :meth:`NetworkRegressor.partial_fit` does.

        Parameters
        ----------
        X, y, sample_weight
            As :meth:`fit` takes them.
        classes : array_like, shape (K,), optional
            All classes there will be, or the numbers of all labels, 0 … K − 1; needed in the first
            call.

        Returns
        -------
        self
        """
        anew = not hasattr(self, "w_")
        if anew and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        if isinstance(self.class_weight, str):
            raise ValueError("a part of the data has no balance; give class_weight as a dict")
        boundary.unmasked("classes", classes)
        if classes is not None and np.ndim(classes) != 1:
            raise ValueError(f"classes must have shape (K,); got {np.shape(classes)}")
        known = unique_labels(classes) if anew else self.classes_
        if classes is not None and not np.array_equal(known, unique_labels(classes)):
            raise ValueError(f"classes were {known} in the first call; got {classes}")
        _require_two(known)
        return self._pass(X, y, sample_weight, anew, known)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return what the probabilities are made of: s of equation (1), before the output.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.

        Returns
        -------
        s : ndarray, shape (B,) or (B, K)
            For two classes, the log odds of the second alone.

        Raises
        ------
        ValueError
            Where s is no number: inputs beyond all that can be computed with.
        """
        Z = self._inputs(X)
        s = self._before(Z)
        lost = np.isnan(s).any(axis=1)
        if lost.any():  # terms beyond all numbers, on both sides: what their ray comes to
            near = float(np.finfo(Z.dtype).max) ** (1.0 / 3.0)
            Z[lost, :-1] *= near / np.abs(Z[lost, :-1]).max(axis=1, keepdims=True)
            s[lost] = self._before(Z[lost])
            lost = np.isnan(s).any(axis=1)
        if lost.any():
            raise ValueError(
                f"row {lost.argmax()} of X is so far from what was fitted that its output is no "
                "number"
            )
        return s[:, 0] if s.shape[1] == 1 else s

    def _before(self, Z: NDArray) -> NDArray[np.float64]:
        before = before_outputs(self.network_)
        each = [before.value(w, Z, threads=self.threads) for w in self.w_]
        return np.column_stack(each).astype(np.float64, copy=False)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of the probability of each class, finite where that rounds to 0.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.

        Returns
        -------
        log_p : ndarray, shape (B, K)
        """
        s = self.decision_function(X).clip(-_FAR, _FAR)
        if s.ndim == 1:
            return np.column_stack([log_expit(-s), log_expit(s)])
        if self._labels():
            return log_expit(s)
        return log_softmax(s if self.network_.output is softmax else log_expit(s), axis=1)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, or of each label.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.

        Returns
        -------
        p : ndarray, shape (B, K)
            Each row has the sum 1; not so for labels.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the most probable class, or 1 for each label that is more probable than not.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.

        Returns
        -------
        y : ndarray, shape (B,) or (B, K)
        """
        s = self.decision_function(X)
        if self._labels():
            return (s > 0.0).astype(int)
        return self.classes_[(s > 0.0).astype(int) if s.ndim == 1 else s.argmax(axis=1)]

    def _labels(self) -> bool:
        """Whether each output is a label of its own."""
        return self.network_.n_outputs > 1 and self.network_.output is not softmax

    def _look(self, rows: _Rows, anew: bool, classes: NDArray | None) -> None:
        y = rows.y
        check_classification_targets(y)
        if y.ndim == 2 and not np.isin(y, (0, 1)).all():
            (strange, *_) = y[~np.isin(y, (0, 1))].tolist()
            raise ValueError(f"y of several columns must hold labels, 0 or 1; got {strange!r}")
        if self.multi_class not in ("softmax", "ovr"):
            raise ValueError(f'multi_class must be "softmax" or "ovr"; got {self.multi_class!r}')
        if get_loss(self.loss) == poisson:
            raise ValueError(
                "the loss poisson is one of counts; for probabilities take cross_entropy"
            )
        if anew:
            self.classes_ = unique_labels(y) if classes is None else classes
            if classes is None and y.ndim == 1:
                _require_two(np.unique(y if rows.c is None else y[rows.c > 0.0]))
        if y.ndim == 1 and not np.isin(y, self.classes_).all():
            (strange, *_) = np.setdiff1d(y, self.classes_).tolist()
            raise ValueError(f"y holds {strange!r}, which is none of the classes {self.classes_}")
        if y.ndim == 2 and y.shape[1] != len(self.classes_):
            raise ValueError(f"y has {y.shape[1]} labels a row, and classes {len(self.classes_)}")

    def _outputs(self) -> tuple[Any, int]:
        K = len(self.classes_)
        if self._row:
            return "logistic", K
        return (softmax, K) if K > 2 and self.multi_class == "softmax" else ("logistic", 1)

    def _start(self, rows: _Rows) -> NDArray:
        K = len(self.classes_)
        alone = self.network_.n_outputs > 1 or K == 2
        return np.stack([self._random_start() for _ in range(1 if alone else K)])

    def _targets(self, y: NDArray) -> NDArray:
        ones = y if y.ndim == 2 else y[:, np.newaxis] == self.classes_[len(self.classes_) == 2 :]
        t = ones.astype(np.float64)
        return t[np.newaxis] if self.network_.n_outputs > 1 else np.ascontiguousarray(t.T)

    def _weighed(self, rows: _Rows, fitted: NDArray) -> NDArray | None:
        if self.class_weight is None:
            return rows.c
        indices = fitted if isinstance(self.class_weight, str) else None
        # A class that is named but not among these may be among those of another call.
        all_there_are = np.repeat([[0], [1]], self._row, axis=1) if self._row else self.classes_
        y = np.concatenate([rows.y, all_there_are])
        each = compute_sample_weight(self.class_weight, y, indices=indices)[: len(rows.y)]
        if not (np.isfinite(each) & (each >= 0.0)).all():
            raise ValueError(f"class_weight must hold numbers from 0 on; got {self.class_weight}")
        weighed = each if rows.c is None else rows.c * each
        # The prior that l2 is counts observations, whatever one class is worth beside another.
        total = len(fitted) if rows.c is None else rows.c[fitted].sum()
        return weighed * (total / (weighed[fitted].sum() or 1.0))

    def _keep(self, results: list[fastbp.FitResult]) -> None:
        self.w_ = np.stack([*(result.w for result in results), *self.w_[len(results) :]])
        if self.network_.output is softmax:  # which is the same with one number added to all s
            biases = self.network_.split(self.w_[0])[0][:, -1]
            biases -= biases.mean()
        self.loss_ = np.array([float(result.loss) for result in results])
        self.histories_ = [result.history for result in results]


def _require_two(classes: NDArray) -> None:
    if len(classes) < 2:
        raise ValueError(f"two classes or more are expected; got {len(classes)} class")
