"""Estimators for scikit-learn: :class:`NetworkRegressor` and :class:`NetworkClassifier`.

This module alone imports scikit-learn (``pip install fastbp[sklearn]``); ``import fastbp`` does not
import it.

A model is equation (1) with biases, y = σ(b + Σ_i w_i v_i(b_i + Σ_j w_ij x_j)), on standardised
inputs, or several outputs over its hidden layer. As the function itself has no bias, its network
has one input and one neuron more: the constant input 1, and a neuron with the activation ``one``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from scipy.sparse import issparse
    from scipy.special import log_expit, log_softmax
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.preprocessing import label_binarize
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import (
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
from ._standardise import Scaling
from ._training.doubts import warn
from ._training.fit import checked_validation, split
from .activations import Activation, Softmax, identity, softmax
from .losses import Loss, get_loss, poisson
from .network import Network, before_outputs
from .optimizers import SGD, Adam, Optimizer, get_optimizer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NetworkClassifier", "NetworkRegressor"]

_FAR = 1e300  # an s that stands for infinity, without differences that are no numbers


def _refuse_masked(**given: Any) -> None:
    for name, value in given.items():
        boundary.unmasked(name, value)


@dataclass(kw_only=True, eq=False, repr=False)  # writes each `__init__`, as scikit-learn reads it
class _NetworkEstimator(BaseEstimator, ABC):
    """What the two have in common: standardisation, and all of a fit but what y is to it."""

    n_neurons: int = field(default=16, kw_only=False)
    activation: str | Activation | Sequence[str | Activation] = "tanh"
    loss: str | Loss = "squared"
    optimizer: str | Optimizer | None = None
    l2: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    early_stopping: int | fastbp.EarlyStopping | None = None
    validation_fraction: float | None = None
    standardize: bool = True
    random_state: int | np.random.RandomState | None = None
    threads: int | str = 1

    _largest_l2: ClassVar[float]  # where l2 is left out; by held-out scores of small data sets
    _numeric: ClassVar[bool]  # whether y are numbers
    _row = tuple[int, ...]()  # of y in the first call; () also for pickles of 0.1.0

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit anew.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations.
        y : array_like, shape (B,) or (B, K)
            Their targets, or their classes; with an axis more, K targets or labels of each.
        sample_weight : array_like, shape (B,), optional
            Weights from 0 on.

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
        return self._learn(X, y, sample_weight, anew=True)

    def _pass(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: NDArray | None = None,
    ) -> Self:
        """Go once over some observations, by the optimizer if it works in batches, else by Adam."""
        chosen = Adam() if self.optimizer is None else get_optimizer(self.optimizer, "", 0)
        return self._learn(
            X,
            y,
            sample_weight,
            anew=not hasattr(self, "w_"),
            classes=classes,
            optimizer=chosen if isinstance(chosen, SGD | Adam) else Adam(),
            epochs=1,
            early_stopping=None,
            validation=None,
        )

    def _learn(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        *,
        anew: bool,
        classes: NDArray | None = None,
        **options: Any,
    ) -> Self:
        """Fit, anew or from where the last call ended; the options go before the parameters."""
        _refuse_masked(X=X, y=y)
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
        if not self._numeric:
            check_classification_targets(given)
        c = self._weights(rows, given, sample_weight)
        if classes is not None and not np.isin(given, classes).all():
            strange = np.setdiff1d(given, classes)[0]
            raise ValueError(f"y holds {strange}, which is none of the classes {classes}")
        if anew or not hasattr(self, "_moments"):  # pickles of 0.1.0 have none
            self._moments: dict[int, dict[str, Any]] = {}  # of each network's optimizer
        if anew:
            self._begin(rows, given, c, classes)
        if c is not None and not c.all():  # weight 0 is as good as absent, from the batches too
            rows, given, c = rows[c > 0], given[c > 0], c[c > 0]
        results = self._continue(rows, given, c, **options)
        self._at_optimum = not options
        if any(result.reason == "interrupted" for result in results):
            raise KeyboardInterrupt
        if self._at_optimum:  # a part of the data says nothing of the whole
            warn([result.warnings for result in results], stacklevel=3)
        return self

    @abstractmethod
    def _begin(self, X: NDArray, y: NDArray, c: NDArray | None, classes: NDArray | None) -> None:
        """Decide what the first data decide; `classes` are all there will be, where known."""

    @abstractmethod
    def _continue(
        self, X: NDArray, y: NDArray, c: NDArray | None, **options: Any
    ) -> list[fastbp.FitResult]:
        """Fit from the parameters as they are; after Ctrl-C, without what was to come."""

    def _start(self, X: NDArray, c: NDArray | None, output: Any, n_outputs: int) -> None:
        """Decide what the first data decide: scales, penalty, network and seeds."""
        self.scaling_ = Scaling.of(X, c) if self.standardize else Scaling.none(X)
        self.network_ = self._network_of(X.shape[1], output, n_outputs)
        self.l2_ = self._penalty(len(X) if c is None else float(c.sum()))
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self._rng = np.random.default_rng(seed)

    def _network_of(self, n_inputs: int, output: Any, n_outputs: int) -> Network:
        """Return the network that is fitted, its biases included."""
        return standardise.network(n_inputs, self.n_neurons, self.activation, output, n_outputs)

    def _penalty(self, total: float) -> float:
        """Return the penalty's weight for so many observations, or so large a sum of weights."""
        if self.l2 is not None:
            return self.l2
        # The second is a normal prior of w that does not depend on the number of observations.
        return min(self._largest_l2, 4.0 / total)

    def _fit(
        self, k: int, w0: NDArray, X: NDArray, t: NDArray, c: NDArray | None, **options: Any
    ) -> fastbp.FitResult:
        """Fit the k-th network to inputs as they come and to scaled targets."""
        options = {
            "optimizer": self.optimizer,
            "epochs": self.epochs,
            "early_stopping": self.early_stopping,
            "validation": self.validation_fraction,
        } | options
        return fastbp.fit(
            self.network_,
            self.scaling_.inputs(X),
            t,
            w0=w0,
            loss=self.loss,
            sample_weight=c,
            l2=standardise.penalties(self.network_, self.l2_),
            seed=int(self._rng.integers(2**31)),
            free=standardise.free(self.network_),
            progress=False,
            threads=self.threads,
            batch_size=self.batch_size,
            _quiet=True,
            _moments=self._moments.setdefault(k, {}),
            **options,
        )

    def _weights(self, X: NDArray, y: NDArray, sample_weight: ArrayLike | None) -> NDArray | None:
        if sample_weight is None:
            return None
        _refuse_masked(sample_weight=sample_weight)
        c = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not c.any():
            raise ValueError("at least one sample weight must not be zero; all are zero")
        return c

    def _inputs(self, X: ArrayLike) -> NDArray:
        """Check the observations of a prediction and scale them."""
        check_is_fitted(self)
        _refuse_masked(X=X)
        checked = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        return self.scaling_.inputs(checked)


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkRegressor(MultiOutputMixin, RegressorMixin, _NetworkEstimator):
    """Regression by a network with one hidden layer, of one target or of several at once.

    Parameters
    ----------
    n_neurons : int
        Neurons in the hidden layer, without the constant one.
    activation : str, Activation or sequence of them
        v_i: a name, one's own by :func:`fastbp.activation`, or one for each neuron.
    output : str, Activation, sequence of K of them, or "softmax"
        σ of all targets, or of each; or the softmax of all, for shares that sum to 1.
    loss : str or Loss
        What is minimised, by its weighted mean over the observations; of several targets, their
        sum.
    optimizer : str or Optimizer, optional
        As in :func:`fastbp.fit`, which chooses by the size and the loss where it is left out.
    l2 : float, optional
        Penalty: l2/2 times the sum of the squared weights, without the biases, is added to the mean
        loss. Left out, it is 0.01, or 4 over the number of observations (the sum of their weights)
        where that is less.
    epochs, batch_size : int, optional
        As in :func:`fastbp.fit`, whose default is taken where they are left out.
    early_stopping : int or EarlyStopping, optional
        As in :func:`fastbp.fit`: an integer is a patience.
    validation_fraction : float, optional
        Share of the observations to hold out; the parameters with the least loss on them are
        kept. Neither of the two is used by :meth:`partial_fit`.
    standardize : bool
        Scale the inputs to mean 0 and deviation 1 (weighted, over what is fitted).
    standardize_target : bool, optional
        Scale each target likewise; the loss is then that of scaled targets. Left out, it is done
        where all outputs are the identity and the loss takes any target.
    random_state : int, RandomState or None
        Seed of the start and of the batches.
    threads : int or "auto"
        Threads of one fit.

    Attributes
    ----------
    network_ : Network
        The network that was fitted, a constant input and a constant neuron included.
    w_ : ndarray, shape (P,)
        Its parameters.
    loss_ : float
        The loss that was reached, with the penalty.
    result_ : FitResult
        All about the last fit, its data included: a deviation needs them.
    l2_ : float
        The penalty's weight.
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
    _numeric: ClassVar[bool] = True

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Go once over some observations, from where the last call or :meth:`fit` ended.

        The first call decides the scales, the penalty and the start. An optimizer that works in
        batches makes an epoch; in place of any other, `Adam` does. Its moments go on from call to
        call, its schedule begins anew with each.

        Parameters
        ----------
        X, y, sample_weight
            As :meth:`fit` takes them.

        Returns
        -------
        self
        """
        return self._pass(X, y, sample_weight)

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
        """Whether the output is the logarithm of what the target is a count of."""
        return get_loss(self.loss) == poisson

    def _decode(self, y: NDArray) -> NDArray:
        """Return outputs of the network on the scale of the target."""
        y = self.target_scaling_.undo(y)
        return np.exp(y) if self._log_rate() else y

    def _begin(self, X: NDArray, y: NDArray, c: NDArray | None, classes: NDArray | None) -> None:
        t = np.asarray(y, np.float64)
        self._start(X, c, self.output, 1 if t.ndim == 1 else t.shape[1])
        net = self.network_
        free = all(sigma == identity for sigma in boundary.sigmas(net)) and not any(
            map(np.isfinite, get_loss(self.loss).target_range)
        )
        scaled = free if self.standardize_target is None else self.standardize_target
        self.target_scaling_ = Scaling.of(t, c) if scaled else Scaling.none(t)
        self.w_ = standardise.start(net, self._rng)
        if free and not scaled:  # else neurons saturate on the way to a far mean
            net.split(self.w_)[0][..., -1] = np.average(t, axis=0, weights=c)

    def _continue(
        self, X: NDArray, y: NDArray, c: NDArray | None, **options: Any
    ) -> list[fastbp.FitResult]:
        t = self.target_scaling_.apply(np.asarray(y, np.float64))
        self.result_ = self._fit(0, self.w_, X, t, c, **options)
        self.w_, self.loss_ = self.result_.w, float(self.result_.loss)
        return [self.result_]


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """Classification by a network with one hidden layer.

    Two classes are told apart by a logistic output, K > 2 by a softmax of K outputs. Where y is
    a matrix of 0 and 1, every column is a label of its own, with a logistic output.

    Parameters
    ----------
    n_neurons, activation, optimizer, epochs, batch_size, early_stopping
        As in :class:`NetworkRegressor`.
    validation_fraction, standardize, random_state, threads
        As there. What is held out has of every class its share.
    loss : str or Loss
        ℓ(y, t) of a probability y and a target t of 0 or 1, summed over the outputs; its weighted
        mean is minimised.
    l2 : float, optional
        As there, with 0.002 in place of 0.01.
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
        How each network's loss fell, as in ``FitResult.history``.
    network_, l2_, scaling_, n_features_in_, feature_names_in_
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
        first = not hasattr(self, "w_")
        if first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        if isinstance(self.class_weight, str):
            raise ValueError("a part of the data has no balance; give class_weight as a dict")
        known = unique_labels(classes) if first else self.classes_
        if classes is not None and not np.array_equal(known, unique_labels(classes)):
            raise ValueError(f"classes were {known} in the first call; got {classes}")
        _require_two(known)
        return self._pass(X, y, sample_weight, known)

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
        before = before_outputs(self.network_)
        s = np.column_stack([before.value(w, Z, threads=self.threads) for w in self.w_])
        lost = np.isnan(s).any(axis=1)
        if lost.any():
            raise ValueError(
                f"row {lost.argmax()} of X is so far from what was fitted that its output is no "
                "number"
            )
        return s[:, 0] if s.shape[1] == 1 else s

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

    def _targets(self, y: NDArray) -> NDArray:
        """Return the targets of each network, 0 and 1: (networks, B), or (1, B, K)."""
        t = label_binarize(y, classes=self.classes_).astype(np.float64)
        return t[np.newaxis] if self.network_.n_outputs > 1 else np.ascontiguousarray(t.T)

    def _weights(self, X: NDArray, y: NDArray, sample_weight: ArrayLike | None) -> NDArray | None:
        c = super()._weights(X, y, sample_weight)
        if self.class_weight is None:
            return c
        each = compute_sample_weight(self.class_weight, y)
        weighed = each if c is None else c * each
        # The prior that l2 is counts observations, whatever one class is worth beside another.
        return weighed * ((len(y) if c is None else c.sum()) / (weighed.sum() or 1.0))

    def _begin(self, X: NDArray, y: NDArray, c: NDArray | None, classes: NDArray | None) -> None:
        if self.multi_class not in ("softmax", "ovr"):
            raise ValueError(f'multi_class must be "softmax" or "ovr"; got {self.multi_class!r}')
        if get_loss(self.loss) == poisson:
            raise ValueError(
                "the loss poisson is one of counts; for probabilities take cross_entropy"
            )
        if y.ndim == 2 and not np.isin(y, (0, 1)).all():
            strange = y[~np.isin(y, (0, 1))][0]
            raise ValueError(f"y of several columns must hold labels, 0 or 1; got {strange}")
        self.classes_ = unique_labels(y) if classes is None else classes
        if classes is None and y.ndim == 1:
            _require_two(np.unique(y if c is None else y[c > 0]))
        K = len(self.classes_)
        if y.ndim == 2:
            self._start(X, c, "logistic", K)
        elif K > 2 and self.multi_class == "softmax":
            self._start(X, c, softmax, K)
        else:
            self._start(X, c, "logistic", 1)
        n_networks = K if K > 2 and self.network_.n_outputs == 1 else 1
        self.w_ = np.stack([standardise.start(self.network_, self._rng) for _ in range(n_networks)])

    def _continue(
        self, X: NDArray, y: NDArray, c: NDArray | None, **options: Any
    ) -> list[fastbp.FitResult]:
        fitted, held = np.arange(len(X)), None
        share = checked_validation(self.validation_fraction)
        if isinstance(share, float) and "validation" not in options:
            by_class = y if y.ndim == 1 else None
            held, fitted = split(share, int(self._rng.integers(2**31)), len(X), by_class)
        weights = None if c is None else c[fitted]
        results: list[fastbp.FitResult] = []
        for k, t in enumerate(self._targets(y)):
            if held is not None:
                judge = (self.scaling_.inputs(X[held]), t[held], None if c is None else c[held])
                options["validation"] = judge
            results.append(self._fit(k, self.w_[k], X[fitted], t[fitted], weights, **options))
            if results[-1].reason == "interrupted":
                break
        self.w_ = np.stack([*(result.w for result in results), *self.w_[len(results) :]])
        self.loss_ = np.array([float(result.loss) for result in results])
        self.histories_ = [result.history for result in results]
        return results


def _require_two(classes: NDArray) -> None:
    if len(classes) < 2:
        raise ValueError(f"two classes or more are expected; got {len(classes)} class")
