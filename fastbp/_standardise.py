"""Around equation (1): inputs of mean 0 and deviation 1, and a bias where it has none.

A constant input is the bias of every neuron, and a neuron that is constant is that of each output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _boundary as boundary
from ._columns import Columns
from .activations import Activation, get_activation, identity
from .network import Network

# What estimators and the command line take where nothing is said.
N_NEURONS = 16
L2 = "auto"
LINEAR = True


class Scaling(NamedTuple):
    """The affine map from a variable to one of mean 0 and deviation 1."""

    mean: NDArray  # (N,), or () for a target, (K,) for several
    scale: NDArray

    @classmethod
    def of(cls, X: NDArray, sample_weight: NDArray | None = None) -> Scaling:
        """Return the scaling by weighted mean and deviation over the rows of X.

        A column that is constant keeps its scale, as a deviation of rounding errors is none.
        """
        return cls.by(Columns.of(X, sample_weight))

    @classmethod
    def by(cls, columns: Columns) -> Scaling:
        """Return the scaling by what is known of the columns."""
        return cls(columns.mean, np.where(columns.constant, 1.0, columns.deviation))

    @classmethod
    def none(cls, X: NDArray) -> Scaling:
        """Return the scaling that changes nothing."""
        return cls(np.zeros(X.shape[1:]), np.ones(X.shape[1:]))

    def apply(self, X: NDArray) -> NDArray:
        """Return X on the scale of mean 0 and deviation 1."""
        return (X - self.mean) / self.scale

    def inputs(self, X: NDArray, dtype: DTypeLike = np.float64) -> NDArray:
        """Return what the network takes: X scaled, and the constant 1."""
        Z = np.empty((len(X), X.shape[1] + 1), dtype)
        with np.errstate(over="ignore"):
            Z[:, :-1] = self.apply(X)
        Z[:, -1] = 1.0
        return Z

    @property
    def differs(self) -> bool:
        """Whether it changes anything."""
        return bool(np.any(self.mean != 0.0) or np.any(self.scale != 1.0))

    def undo(self, Z: NDArray) -> NDArray:
        """Return to the original scale."""
        return Z * self.scale + self.mean


def network(
    n_inputs: int,
    n_neurons: int,
    activation: str | Activation | Sequence[str | Activation],
    output: Any,
    n_outputs: int = 1,
    dtype: DTypeLike = np.float64,
    linear: bool = False,
) -> Network:
    """Return the network of some neurons with biases: one input and one neuron more.

    `activation` is one for all of the neurons, or a sequence with one for each. If `linear`, and
    it is one that is bent, a neuron `identity` beside them takes the linear part.
    """
    if not isinstance(n_neurons, int | np.integer) or n_neurons < 1:
        raise ValueError(f'n_neurons must be a positive integer or "auto"; got {n_neurons!r}')
    if isinstance(activation, str | Activation):
        bent = get_activation(activation) != identity
        each = [activation] * n_neurons + [identity] * (linear and bent)
    else:
        each = list(activation)
        if len(each) != n_neurons:
            raise ValueError(f"n_neurons is {n_neurons}, but {len(each)} activations are given")
    each = [*each, "one"]
    return Network(n_inputs + 1, activations=each, output=output, n_outputs=n_outputs, dtype=dtype)


def free(net: Network) -> NDArray[np.bool_]:
    """Return which parameters matter: all but the inputs' weights of the constant neuron."""
    mask = np.ones(net.n_params, dtype=bool)
    mask[-net.n_inputs :] = False
    return mask


def penalties(net: Network, l2: float) -> NDArray[np.float64]:
    """Return λ of each parameter: l2, but 0 for the biases, of the neurons and of the outputs.

    A penalised bias draws the mean output towards σ(0), so that rare classes get too much.
    """
    each = np.full(net.n_params, boundary.penalty(l2, net.n_params))
    for weights in net.split(each):
        weights[..., -1] = 0.0
    return each


def start(net: Network, seed: int | np.random.Generator) -> NDArray:
    """Return a start vector: random, with output biases of 0."""
    w = net.init(seed)
    net.split(w)[0][..., -1] = 0.0
    w[~free(net)] = 0.0
    return w
