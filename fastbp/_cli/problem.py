"""From a table to a network and the data to fit it to, in a way that can be stored with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _standardise as standardise
from .._standardise import Scaling
from ..activations import get_activation, identity
from ..losses import get_loss
from ..network import Network
from . import columns as columns
from . import table as _table
from .columns import Column
from .table import Table, TableError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Preparation(NamedTuple):
    """How the cells of a table become inputs, and outputs become values of the target.

    All that :meth:`stored` returns is JSON, and :meth:`restored` takes it back.
    """

    target: str
    classes: list[str] | None  # of a text target: the output is the probability of the second
    inputs: list[Column]
    scaling: Scaling
    target_scaling: Scaling

    def encode(self, table: Table) -> Matrix:
        """Return what the network takes, (B, N)."""
        return self.scaling.inputs(columns.encode(table, self.inputs))

    def decode(self, y: Vector) -> Vector:
        """Return outputs of the network on the scale of the target."""
        return self.target_scaling.undo(y)

    def stored(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return self._asdict() | {
            name: {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}
            for name, scaling in (
                ("scaling", self.scaling),
                ("target_scaling", self.target_scaling),
            )
        }

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> Preparation:
        """Return what was stored."""
        scalings = {
            name: Scaling(np.array(stored[name]["mean"]), np.array(stored[name]["scale"]))
            for name in ("scaling", "target_scaling")
        }
        return cls(**(stored | scalings))


class Data(NamedTuple):
    """Inputs and targets as the network has them."""

    X: Matrix  # (B, N), the last column the constant 1
    t: Vector  # (B,)


@dataclass(frozen=True)
class Problem:
    """A network, its preparation, and the data to fit and held out."""

    net: Network
    preparation: Preparation
    loss: str
    fit: Data
    held_out: Data


def bundled() -> Table:
    """Return the diabetes data that come with the package."""
    text = files("fastbp.datasets").joinpath("diabetes.csv").read_text(encoding="ascii")
    return _table.parse(text, "the bundled data")


def prepare(
    table: Table,
    *,
    target: str | None,
    drop: Sequence[str],
    categorical: Sequence[str],
    fill: bool,
    test_fraction: float,
    neurons: int,
    activation: str,
    output: str | None,
    loss: str | None,
    seed: int,
) -> Problem:
    """Make a problem of a table; only the rows to fit decide scales and what is filled in."""
    for name in (*drop, *categorical, *([] if target is None else [target])):
        if name not in table.names:
            raise TableError(
                f"{table.source}: there is no column {name!r}; it has "
                f"{', '.join(map(repr, table.names))}"
            )
    target = target or table.names[-1]
    names = [name for name in table.names if name not in (target, *drop)]
    if not names:
        raise TableError(f"{table.source}: no column is left to predict {target!r} from")
    order = np.random.default_rng(seed).permutation(len(table.cells))
    fit, held_out = np.split(order, [int(len(order) * (1.0 - test_fraction))])
    if not len(fit):
        raise TableError(f"{table.source}: {len(order)} rows are too few; none is left to fit")

    t, classes = _targets(table, target, target in categorical)
    output = output or ("identity" if classes is None else "logistic")
    loss = loss or ("squared" if classes is None else "cross_entropy")
    inputs = columns.describe(table, names, rows=fit.tolist(), text=categorical, fill=fill)
    X = columns.encode(table, inputs)
    # A target is scaled where that is no other problem: not if σ or ℓ has a range.
    scaled = (
        get_activation(output) == identity and not np.isfinite(get_loss(loss).target_range).any()
    )
    scaling = Scaling.of(X[fit])
    target_scaling = Scaling.of(t[fit]) if scaled else Scaling.none(t)
    net = standardise.network(X.shape[1], neurons, activation, output)
    X, t = scaling.inputs(X), target_scaling.apply(t)
    return Problem(
        net,
        Preparation(target, classes, inputs, scaling, target_scaling),
        loss,
        Data(X[fit], t[fit]),
        Data(X[held_out], t[held_out]),
    )


def _targets(table: Table, target: str, text: bool) -> tuple[Vector, list[str] | None]:
    """Return the targets: numbers, or 1 for the second of two classes, which are returned too."""
    missing = [row for row, cell in enumerate(table.column(target)) if not cell]
    if missing:
        raise TableError(
            f"{table.place(missing[0], target)}: the value is missing, and it is the target"
        )
    if not text and not columns.is_text(table, target):
        return columns.numbers(table, target), None
    classes = sorted(set(table.column(target)))
    if len(classes) != 2:
        raise TableError(
            f"{table.source}: the target {target!r} is text with {len(classes)} different values; "
            "numbers or two classes are expected (fastbp.sklearn.NetworkClassifier takes more)"
        )
    return columns.codes(table, target, classes).astype(float), classes
