"""The estimators of `fastbp.sklearn` for what lies on the workers of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from distributed import Client
from numpy.random import default_rng
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

import fastbp.sklearn as local

from .. import _boundary as boundary
from .. import _standardise as standardise
from .._columns import Columns
from .._parts import Rows, weight
from .._standardise import Scaling
from .._training import fit as training
from .._training.doubts import check_pair
from .._training.result import FitResult
from .._training.source import dask_array
from ..activations import softmax
from ..losses import family, get_loss
from ..network import Network
from ..optimizers import Adam, ByBatches, get_optimizer
from .blocks import Blocks
from .session import asks_for_matrices, client_of, session

if TYPE_CHECKING:
    from typing_extensions import Self

_NOT_HERE = {
    "validation_fraction": None,
    "warm_start": False,
    "class_weight": None,
    "multi_class": "softmax",
}


def _prepared(scaling: Scaling, target: Any, dtype: Any, heaviest: float, rows: Rows) -> Rows:
    """Return inputs, targets and weights as the network takes them."""
    c = None if rows.c is None else (rows.c / heaviest).astype(dtype)
    return Rows(scaling.inputs(rows.X, dtype), target(rows.t).astype(dtype, copy=False), c)


def _one_hot(K: int, codes: NDArray) -> NDArray:
    return np.eye(K)[codes.astype(np.intp)]


def _same(codes: NDArray) -> NDArray:
    return codes


def _present(labels: NDArray) -> NDArray:
    """Return labels of which none is missing."""
    boundary.unmasked("y", labels)
    pandas = sys.modules.get("pandas")  # else nobody has its NA
    if pandas is None:
        known = np.array([label is not None and label == label for label in labels.tolist()], bool)
    else:
        known = pandas.notna(labels)
    if not known.all():
        raise ValueError(f"y must have a label for each observation; got {labels[~known][0]}")
    return labels


def _codes(labels: NDArray, classes: NDArray) -> NDArray:
    return np.searchsorted(classes, boundary.unmasked("y", labels)).astype(np.float64)


def predict_chunk(call: Callable[[Any], NDArray], none: NDArray, X: Any) -> NDArray:
    """Return what a method says of a chunk, be it one of no rows, which it would refuse."""
    return call(X) if len(X) else none


class _OnDask:
    """Fits on a cluster, at once; predicts there when it is computed."""

    client: Client | None = None
    """The client to work with, set after the estimator is made; None for the one there is."""

    @property
    def client_(self) -> Client:
        """The client that is worked with; neither pickled nor copied."""
        return client_of(self.client)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if name != "client"}

    def to_local(self) -> Any:
        """Return the estimator of `fastbp.sklearn` with what was fitted; it needs no Dask."""
        model = self._local(**self.get_params())  # type: ignore[attr-defined]
        for name, value in self.__getstate__().items():
            if name != "_sklearn_version":
                setattr(model, name, value)
        return model

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit anew, at once.

        Parameters
        ----------
        X : dask array or dataframe, shape (B, N)
            Observations, in chunks of any size; of a fitted model the bits are those of
            `fastbp.sklearn` with all rows in one machine and ``l2=None`` or a number, where no
            weight is 0. Nothing is chosen by cross-validation: "auto" stands for None.
        y : dask array, series or dataframe, shape (B,) or (B, K)
            Their targets, or their classes.
        sample_weight : dask array or series, shape (B,), optional
            Weights from 0 on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As the estimator's own fit; for a parameter that is not known on a cluster.
        """
        for name, value in _NOT_HERE.items():
            if getattr(self, name, value) != value:
                raise ValueError(f"{name} is not known on a cluster; leave it out")
        with session(self.client) as client, local.whole_or_not(self):
            result = self._fit_on(client, X, y, sample_weight)
        return self._ended([result])  # type: ignore[attr-defined]

    def _fit_on(self, client: Client, X: Any, y: Any, c: Any) -> FitResult:
        model: Any = self
        model._check_settings()
        loss, given = get_loss(model.loss), X
        X, y = _array(X, client), _targets(y, client)
        if X.ndim != 2:
            raise ValueError(f"X must have two axes; got shape {X.shape}")
        self.n_features_in_ = int(X.shape[1])
        vars(self).pop("feature_names_in_", None)
        if (names := boundary.names_of(given)) is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        model._row = tuple(int(n) for n in y.shape[1:])
        y = self._encoded(y)
        self.n_neurons_ = model._first_size(Adam())  # nothing is chosen by cross-validation
        net = self.network_ = model._network_of(
            self.n_neurons_, self.n_features_in_, *model._outputs()
        )
        check_pair(net, loss)
        chosen = get_optimizer(model.optimizer, family(loss), net.n_params)
        by_batch, batch = isinstance(chosen, ByBatches), model.batch_size
        batch = boundary.positive("batch_size", 32 if batch is None else batch)
        if by_batch and model.shuffle:
            raise ValueError("on a cluster batches have a fixed order: give shuffle=False")
        model._rng = default_rng(check_random_state(model.random_state).randint(2**31 - 1))
        K = model._row[0] if model._row else 1
        # By which targets are checked: those of a regressor are what the network is fitted to.
        output, of = (net.output, loss) if model._numeric else ("identity", get_loss("squared"))
        raw = Blocks(
            client,
            Network(self.n_features_in_, 1, n_outputs=K, output=output),
            of,
            X,
            y,
            None if c is None else _array(c, client),
            by_matrix=asks_for_matrices(chosen),
            batch=batch if by_batch else None,
            timeout=60.0,
            n_params=net.n_params,
        )
        (total,), _, heaviest = raw.reduce(weight)
        model._rule = model._rule_for(total)
        model.l2_ = model.l2_linear_ = model._penalty(model._rule)
        features = Columns.over(raw.reduce, "X", np.dtype(np.float64))
        none = Scaling(np.zeros(self.n_features_in_), np.ones(self.n_features_in_))
        self.scaling_ = Scaling.by(features) if model.standardize else none
        target = self._target(raw)
        model.w_ = self._started(raw)
        far = raw.become(
            partial(_prepared, self.scaling_, target, net.dtype, float(heaviest)), net, loss
        )
        model._forget()
        result = training.fit(
            net,
            far,  # type: ignore[arg-type]
            None,
            w0=np.atleast_2d(model.w_)[0],
            optimizer=model._solver(),
            loss=loss,
            l2=standardise.penalties(net, model.l2_),
            epochs=model.epochs,
            batch_size=batch,
            shuffle=False,
            early_stopping=model.early_stopping,
            seed=int(model._rng.integers(2**31)),
            free=standardise.free(net),
            bounds=model._bounds(net),
            progress=bool(model.verbose),
            _quiet=True,
            _moments=model._moments.setdefault(0, {}),
        )
        model._keep([result])
        self.loss_curve_ = model._curves[0] = result.history["loss"].tolist()
        self.n_iter_ = len(self.loss_curve_)
        model._at_optimum = True
        return result

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the local estimator's score: R² or accuracy, summed up on the workers."""
        client, names, model = self.client_, getattr(X, "columns", None), copy(self)
        y = _targets(y, client)
        if names is not None and (known := vars(model).pop("feature_names_in_", None)) is not None:
            if [*names] != [*known]:
                raise ValueError(f"X must have the columns {[*known]}, in order; got {[*names]}")
        predicted = _on_dask(model.predict(_array(X, client)))  # type: ignore[attr-defined]
        c = da.ones(len(y)) if sample_weight is None else _on_dask(_array(sample_weight, client))
        for what, given, shape in (("y", y, predicted.shape), ("sample_weight", c, y.shape[:1])):
            if given.shape != shape:
                raise ValueError(f"{what} must have shape {shape}; got {given.shape}")
        parts = self._scored(_on_dask(y), predicted, c[:, np.newaxis] if y.ndim == 2 else c)
        masked = da.ma.getmaskarray(y).any() | da.ma.getmaskarray(c).any()
        lost, of, negative, masked = da.compute(*parts, (c < 0).any(), masked, scheduler=client)
        if masked:
            raise TypeError("y and sample_weight must have no masked entries")
        if negative:
            raise ValueError("sample_weight must not be negative")
        if not np.isfinite(lost + of).all():
            raise ValueError("y and sample_weight must be finite, which one of them is not")
        return float(np.mean(np.where(of > 0, 1 - lost / np.where(of > 0, of, 1), lost == 0)))

    def _scored(self, y: Any, predicted: Any, c: Any) -> tuple[Any, Any]:
        """Return for each output what is lost, and of how much."""
        y, predicted = (da.where(c > 0, a, 0.0) for a in (y, predicted))
        return (c * (y - predicted) ** 2).sum(0), (c * (y - (c * y).sum(0) / c.sum(0)) ** 2).sum(0)

    def _encoded(self, y: Any) -> Any:
        return y

    def _target(self, raw: Blocks) -> Callable[[NDArray], NDArray]:
        raise NotImplementedError

    def _started(self, raw: Blocks) -> NDArray:
        raise NotImplementedError

    def _lazily(self, method: str, X: Any, columns: int = 0, dtype: Any = np.float64) -> Any:
        """Call a method of the local estimator on each chunk when it is computed."""
        check_is_fitted(self)
        call, none = (
            getattr(self.to_local(), method),
            np.empty((0, columns) if columns else 0, dtype),
        )
        of_chunk = partial(predict_chunk, call, none)
        if hasattr(X, "map_partitions"):
            return X.map_partitions(of_chunk, meta=none)
        if not isinstance(X, da.Array):
            return call(X)
        if X.ndim != 2:
            raise ValueError(f"X must have two axes; got shape {X.shape}")
        X = X.rechunk({1: -1})
        call(np.zeros((1, X.shape[1])))  # which refuses another number of columns
        if columns:
            return X.map_blocks(of_chunk, chunks=(X.chunks[0], (columns,)), meta=none)
        return X.map_blocks(of_chunk, drop_axis=1, meta=none)


def _array(value: Any, client: Client) -> Any:
    """Return an array whose lengths are known: of Dask, or here."""
    if hasattr(value, "dask"):
        return dask_array(value, client)
    return np.asarray(boundary.unmasked("what is given", value))


def _on_dask(array: Any) -> da.Array:
    """Return it as one of Dask; of objects, Dask can't tell the size of its chunks."""
    return array if isinstance(array, da.Array) else da.from_array(array, chunks=-1)


def _targets(y: Any, client: Client) -> Any:
    """Return targets as an array; one column of them has no second axis."""
    y = _array(y, client)
    return y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y


class NetworkRegressor(_OnDask, local.NetworkRegressor):  # type: ignore[misc]
    """`fastbp.sklearn.NetworkRegressor` for collections of Dask: the same parameters and bits.

    Only the penalty is not chosen by cross-validation: ``l2="auto"`` is taken as None.

    Attributes
    ----------
    client : distributed.Client or None
        To be set where it is not the one there is; never pickled.

    Examples
    --------
    >>> import fastbp.dask
    >>> model = fastbp.dask.NetworkRegressor(n_neurons=8, random_state=0)
    >>> model.fit(X, y).predict(X).mean().compute()  # doctest: +SKIP
    """

    _local = local.NetworkRegressor

    def _target(self, raw: Blocks) -> Callable[[NDArray], NDArray]:
        K = raw.net.n_outputs
        self.target_scaling_ = Scaling.none(np.empty((0,) if K == 1 else (0, K)))
        if self._scales_targets():
            self.target_scaling_ = Scaling.by(Columns.over(raw.reduce, "t", np.dtype(np.float64)))
        return self.target_scaling_.apply

    def _started(self, raw: Blocks) -> NDArray:
        return self._start_near(lambda: Columns.over(raw.reduce, "t", np.dtype(np.float64)))

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return predictions: of a collection of Dask one, computed when it is asked for."""
        if return_std:
            raise ValueError(
                "estimators fitted on a cluster have no standard deviations; "
                "fastbp.dask.fit(…, intervals=True) has"
            )
        return self._lazily("predict", X, self._row[0] if self._row else 0)


class NetworkClassifier(_OnDask, local.NetworkClassifier):  # type: ignore[misc]
    """`fastbp.sklearn.NetworkClassifier` for collections of Dask: the same parameters and bits.

    Only the penalty is not chosen by cross-validation: ``l2="auto"`` is taken as None.

    Attributes
    ----------
    client : distributed.Client or None
        To be set where it is not the one there is; never pickled.
    """

    _local = local.NetworkClassifier

    def _encoded(self, y: Any) -> Any:
        if y.ndim == 2:
            raise ValueError("labels of several columns are not known on a cluster")
        with_client = {"scheduler": self.client_}
        if isinstance(y, da.Array):
            present = y.map_blocks(_present, dtype=y.dtype, meta=y._meta)
            unique = da.unique(present).compute(**with_client)
        else:
            unique = np.unique(_present(y))
        check_classification_targets(unique)
        self.classes_ = unique
        local._require_two(unique)
        if isinstance(y, da.Array):
            return y.map_blocks(_codes, classes=unique, dtype=np.float64)
        return _codes(y, unique)

    def _scored(self, y: Any, predicted: Any, c: Any) -> tuple[Any, Any]:
        return (c * (y != predicted)).sum(), c.sum()

    def _started(self, raw: Blocks) -> NDArray:
        if raw.weighted and Columns.over(raw.reduce, "t", np.dtype(np.float64)).constant.all():
            local._require_two(self.classes_[:1])  # no other has a weight
        return self._random_start()[np.newaxis]

    def _target(self, raw: Blocks) -> Callable[[NDArray], NDArray]:
        return partial(_one_hot, len(self.classes_)) if self.network_.output is softmax else _same

    def predict(self, X: Any) -> Any:
        """Return the most probable classes: of a collection of Dask one, computed when asked."""
        check_is_fitted(self)
        return self._lazily("predict", X, dtype=self.classes_.dtype)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, lazily as `predict`."""
        return self._lazily("predict_proba", X, self._n_classes())

    def predict_log_proba(self, X: Any) -> Any:
        """Return its logarithm, lazily as `predict`."""
        return self._lazily("predict_log_proba", X, self._n_classes())

    def _n_classes(self) -> int:
        check_is_fitted(self)
        return len(self.classes_)
