"""All units that networks of given activations can ask for, to be made ahead of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..activations import Activation, get_activation
from ..losses import NAMES as LOSSES
from ..losses import get_loss
from . import units
from .machine.unit import Unit

_OUTPUTS = ("identity", "logistic", "tanh", "exp", "softplus")


def wanted(activations: Sequence[str | Activation], dtypes: Sequence[np.dtype]) -> Iterator[Unit]:
    """Every unit of networks of these activations, with the usual outputs and the named losses."""
    functions = list(dict.fromkeys(map(get_activation, (*activations, *_OUTPUTS))))
    losses = {loss.key: loss for loss in map(get_loss, LOSSES)}
    for loss in list(losses.values()):
        _, paired = loss.with_output(get_activation("logistic"))
        losses[paired.key] = paired
    yield units.shuffle()
    for dtype in dtypes:
        for kernel in units.KERNELS:
            yield kernel(dtype)
        for name in units.ENTRIES:
            yield units.entry(name, dtype)
        for function in (*functions, *losses.values()):
            for order in range(3):
                yield units.block(function, order, dtype)
