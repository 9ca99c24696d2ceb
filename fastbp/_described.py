"""What all may know of a network and of a loss, and what says that a call was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ._symbolic.function import Function


# By which the targets of a softmax may sum to another number than 1: 1e-6, and more than the
# rounding of the sum, so that it does not decide about rows that were rounded to 6 decimals.
PROBABILITY_TOLERANCE = 1e-6 + 1e-12


def joins(output: Any) -> bool:
    """Whether an output is the softmax of all, and none of one number."""
    return hasattr(output, "steps")


class Refused(ValueError):
    """Raised by compiled code whose arguments are not what it takes as they are.

    Where they have been checked before, only rounding decides: of a sum of weights, say.
    """

    def __str__(self) -> str:
        return "weights or targets are within rounding of what is not allowed: rescale them"


class Described(Protocol):
    """What kernels know of a network: N, H, K, P, v, σ, the number type.

    `output` is σ; where K > 1 a tuple of K, or the softmax, whose `steps` are exp and log1p.
    `_calls` is what `kernels.calls.prepared` keeps of the network, or None.
    """

    n_inputs: int
    n_neurons: int
    n_outputs: int
    n_params: int
    output: Any
    dtype: np.dtype
    _calls: Any

    @property
    def activations(self) -> tuple[Function, ...]:
        """v_1 … v_H."""


class Targets(Protocol):
    """Targets of a batch: an array, or what makes those of the rows that it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B,) or (B, K)."""

    def __getitem__(self, rows: Any, /) -> NDArray:
        """Return those of some rows."""


class DescribedLoss(Protocol):
    """What kernels know of a loss: its name, and the least and the greatest target."""

    name: str
    target_range: tuple[float, float]

    @property
    def key(self) -> str:
        """What machine code of it is known by."""

    @property
    def fuses_with_softmax(self) -> bool:
        """Whether it is taken from s where the softmax joins the outputs."""

    def with_output(self, output: Any) -> tuple[Function, Function]:
        """Return the pair (σ, ℓ) to evaluate for this loss on an output."""
