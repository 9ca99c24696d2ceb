"""Around equation (1): inputs of mean 0 and deviation 1, and a bias where it has none.

A constant input is the bias of every neuron, and a neuron that is constant is that of each output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _boundary as boundary
from ._columns import Columns
from .activations import Activation, get_activation, identity, logistic, one, softmax
from .network import Network
from .optimizers import LBFGS, LevenbergMarquardt, Optimizer

# What estimators and the command line take where nothing is said.
N_NEURONS = 16
L2 = "auto"
LINEAR = True

# From this penalty on, where neurons vanish, Gauss–Newton steps leave out what it is weighed
# against, the curvature of the residuals' part: 1000 do not arrive where L-BFGS does.
_STRONG = 0.02

# Of the penalty of others, for linear neurons. Classes that a line separates would have its weights
# grow: held-out log-losses of breast_cancer, digits and wine are 0.20, 0.118 and 0.076 at half of
# the price, 0.12, 0.094 and 0.069 at 0.9, and 0.10, 0.088 and 0.062 at twice.
_OF_NUMBERS, _OF_CLASSES = 0.5, 2.0

_ROWS = 4096  # that are scaled at a time: for all of them that takes two copies more


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
        deviation = columns.deviation  # that of rounding alone may be far above 1
        scale = np.where(columns.constant, np.maximum(deviation, 1.0), deviation)
        return cls(columns.mean, scale)

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
            for first in range(0, len(X), _ROWS):
                Z[first : first + _ROWS, :-1] = self.apply(X[first : first + _ROWS])
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
    it is one that is bent, neurons `identity` beside them take the linear part: as many as it has
    ranks, one for one output or two classes.
    """
    if not boundary.is_integer(n_neurons) or n_neurons < 1:
        raise ValueError(f'n_neurons must be a positive integer or "auto"; got {n_neurons!r}')
    if isinstance(activation, str | Activation) or not isinstance(activation, Iterable):
        rank = min(n_outputs - (output in ("softmax", softmax)), n_inputs)
        straight = rank if linear and get_activation(activation) != identity else 0
        each = [activation] * n_neurons + [identity] * straight
    else:
        each = list(activation)
        if len(each) != n_neurons:
            raise ValueError(f"n_neurons is {n_neurons}, but {len(each)} activations are given")
    each = [*each, "one"]
    return Network(n_inputs + 1, activations=each, output=output, n_outputs=n_outputs, dtype=dtype)


def free(net: Network) -> NDArray[np.bool_]:
    """Return which parameters matter.

    All but the inputs' weights of the constant neuron, and the bias of a linear one, which says
    what the outputs' biases say.
    """
    mask = np.ones(net.n_params, dtype=bool)
    W = net.split(mask)[1]
    W[[v == identity for v in net.activations], -1] = False
    W[-1] = False
    return mask


def solver(optimizer: str | Optimizer | None, epochs: int | None, l2: float) -> Any:
    """Return what is to fit by such a penalty: what is given, or None for the default of `fit`.

    Without SciPy, which the other choices need, it is Levenberg–Marquardt.
    """
    if optimizer is None and not find_spec("scipy"):
        return LevenbergMarquardt()
    return LBFGS() if optimizer is None and epochs is None and l2 > _STRONG else optimizer


def penalties(net: Network, l2: float, linear: float | None = None) -> NDArray[np.float64]:
    """Return λ of each parameter: l2, of linear neurons a share of `linear` (else l2), of biases 0.

    Not the whole, as a bent neuron of small weights is as good as a linear one: at the same price
    any share of both would be. A penalty on biases, those of the neurons and of the outputs,
    would draw the mean output towards σ(0), so that rare classes get too much.
    """
    each = np.full(net.n_params, boundary.penalty(l2, net.n_params))
    for weights in net.split(each):
        weights[..., -1] = 0.0
    share = _OF_CLASSES if set(boundary.sigmas(net)) <= {logistic, softmax} else _OF_NUMBERS
    return parted(net, each, l2, share * (l2 if linear is None else linear))


def parted(net: Network, each: NDArray, l2: float, linear: float) -> NDArray:
    """Return λ of each parameter with that of linear neurons as if l2 were `linear`.

    So whatever l2 leaves of the others, the straight line has the penalty that is right for it. In
    place; without bent neurons nothing is changed.
    """
    straight = np.array([v == identity for v in net.activations])
    bent = np.array([v not in (identity, one) for v in net.activations])
    if linear != l2 and bent.any():
        A, W = net.split(each)
        A[..., straight] *= linear / l2
        W[straight] *= linear / l2
    return each


def start(net: Network, seed: int | np.random.Generator) -> NDArray:
    """Return a start vector: random, with output biases of 0."""
    w = net.init(seed)
    net.split(w)[0][..., -1] = 0.0
    w[~free(net)] = 0.0
    return w
