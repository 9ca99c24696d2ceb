"""Estimators for scikit-learn: :class:`NetworkRegressor` and :class:`NetworkClassifier`.

This module alone imports scikit-learn (``pip install fastbp[sklearn]``); ``import fastbp`` does not
import it.

A model is equation (1) with biases, y = σ(b + Σ_i w_i v_i(b_i + Σ_j w_ij x_j)), on standardised
inputs. As the function itself has no bias, its network has one input and one neuron more: the
constant input 1, and a neuron with the activation ``one``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "fastbp.sklearn needs scikit-learn 1.6 or newer: pip install 'fastbp[sklearn]'"
    ) from error

import fastbp

from . import _standardise as standardise
from ._standardise import Scaling
from .activations import Activation, get_activation, identity
from .losses import Loss, get_loss
from .network import Network

__all__ = ["NetworkClassifier", "NetworkRegressor"]


class _NetworkEstimator(BaseEstimator):
    """What the two have in common: standardisation, the network, one fit."""

    n_neurons: int
    activation: str | Activation | Sequence[str | Activation]
    loss: str | Loss
    optimizer: Any
    l2: float
    epochs: int | None
    batch_size: int | None
    standardize: bool
    random_state: Any
    threads: int | str

    network_: Network
    scaling_: Scaling
    n_features_in_: int

    def _start(self, X: NDArray, c: NDArray | None, output: str | Activation) -> None:
        """Take over what the data decide before the first fit: the scales and the network."""
        self.scaling_ = Scaling.of(X, c) if self.standardize else Scaling.none(X)
        self.network_ = standardise.network(
            X.shape[1], self.n_neurons, self.activation, output
        )

    def _fit(self, w0: NDArray, X: NDArray, t: NDArray, c: NDArray | None, **options: Any) -> Any:
        """Fit one network to scaled inputs and targets."""
        given = {"epochs": self.epochs, "batch_size": self.batch_size}
        options = {name: value for name, value in given.items() if value is not None} | options
        return fastbp.fit(
            self.network_,
            self.scaling_.inputs(X),
            t,
            w0=w0,
            loss=self.loss,
            sample_weight=c,
            l2=self.l2,
            free=standardise.free(self.network_),
            progress=False,
            threads=self.threads,
            **({"optimizer": self.optimizer} | options),
        )

    def _weights(self, X: NDArray, sample_weight: ArrayLike | None) -> NDArray | None:
        if sample_weight is None:
            return None
        c = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not c.any():
            raise ValueError("at least one sample weight must not be zero; all are zero")
        return c

    def _inputs(self, X: ArrayLike) -> NDArray:
        """Check the observations of a prediction and scale them."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        return self.scaling_.inputs(X)


def _without_zeros(c: NDArray | None, *arrays: NDArray) -> tuple[NDArray, ...]:
    """Return the rows that have a weight: an observation of weight 0 is as good as absent."""
    if c is None or c.all():
        return arrays
    return tuple(array[c > 0] for array in arrays)
