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

    targets: list[str]
    # Of each target, where they are classes: of two the output is the probability of the second, of
    # more there is an output for each.
    classes: list[list[str]] | None
    inputs: list[Column]
    scaling: Scaling
    target_scaling: Scaling

    def encode(self, table: Table) -> Matrix:
        """Return what the network takes, (B, N)."""
        return self.scaling.inputs(columns.encode(table, self.inputs))

    def decode(self, y: NDArray) -> NDArray:
        """Return outputs of the network on the scale of the targets."""
        return self.target_scaling.undo(y)

    def of_each(self, y: NDArray) -> list[NDArray]:
        """Return outputs or targets of the network for each target: numbers, or (B, classes)."""
        if self.classes is None:
            return list(y.reshape(len(y), -1).T)
        if len(self.classes[0]) > 2:
            return [y]
        return [np.column_stack([1.0 - p, p]) for p in y.reshape(len(y), -1).T]

    def stored(self) -> dict[str, Any]:
        """Return all of it as JSON: of one target its name and its classes, of several lists."""
        stored = self._asdict()
        target, classes = stored.pop("targets"), stored["classes"]
        if len(target) == 1:
            target, classes = target[0], classes and classes[0]
        return (
            {"target": target}
            | stored
            | {"classes": classes}
            | {
                name: {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}
                for name, scaling in (
                    ("scaling", self.scaling),
                    ("target_scaling", self.target_scaling),
                )
            }
        )

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> Preparation:
        """Return what was stored."""
        scalings = {
            name: Scaling(np.array(stored[name]["mean"]), np.array(stored[name]["scale"]))
            for name in ("scaling", "target_scaling")
        }
        stored = dict(stored)
        targets, classes = stored.pop("target"), stored["classes"]
        if isinstance(targets, str):
            targets, classes = [targets], classes and [classes]
        return cls(**(stored | scalings | {"targets": targets, "classes": classes}))


class Data(NamedTuple):
    """Inputs and targets as the network has them."""

    X: Matrix  # (B, N), the last column the constant 1
    t: NDArray  # (B,), or (B, K) of K outputs


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
    targets: Sequence[str],
    drop: Sequence[str],
    categorical: Sequence[str],
    fill: bool,
    test_fraction: float,
    neurons: int,
    activation: str,
    output: str | None,
    loss: str | None,
    regression: bool,
    seed: int,
) -> Problem:
    """Make a problem of a table; only the rows to fit decide scales and what is filled in."""
    for name in (*drop, *categorical, *targets):
        if name not in table.names:
            raise TableError(
                f"{table.source}: there is no column {name!r}; it has "
                f"{', '.join(map(repr, table.names))}"
            )
    targets = list(dict.fromkeys(targets)) or [table.names[-1]]
    names = [name for name in table.names if name not in (*targets, *drop)]
    if not names:
        raise TableError(f"{table.source}: no column is left to predict {_named(targets)} from")
    order = np.random.default_rng(seed).permutation(len(table.cells))
    fit, held_out = np.split(order, [int(len(order) * (1.0 - test_fraction))])
    if not len(fit):
        raise TableError(f"{table.source}: {len(order)} rows are too few; none is left to fit")

    t, classes = _targets(table, targets, categorical, regression)
    joined = classes is not None and len(classes[0]) > 2
    output = output or ("softmax" if joined else "identity" if classes is None else "logistic")
    if joined != (output == "softmax"):
        expected = "softmax" if joined else "one of numbers or of two classes"
        raise TableError(
            f"{table.source}: the output {output!r} does not fit the target {_named(targets)}; "
            f"{expected} is expected"
        )
    loss = loss or ("squared" if classes is None else "cross_entropy")
    inputs = columns.describe(table, names, rows=fit.tolist(), text=categorical, fill=fill)
    X = columns.encode(table, inputs)
    # A target is scaled where that is no other problem: not if σ or ℓ has a range.
    linear = output != "softmax" and get_activation(output) == identity
    scaled = linear and not np.isfinite(get_loss(loss).target_range).any()
    scaling = Scaling.of(X[fit])
    target_scaling = Scaling.of(t[fit]) if scaled else Scaling.none(t)
    n_outputs = 1 if t.ndim == 1 else t.shape[1]
    net = standardise.network(X.shape[1], neurons, activation, output, n_outputs)
    X, t = scaling.inputs(X), target_scaling.apply(t)
    return Problem(
        net,
        Preparation(targets, classes, inputs, scaling, target_scaling),
        loss,
        Data(X[fit], t[fit]),
        Data(X[held_out], t[held_out]),
    )


def _named(targets: Sequence[str]) -> str:
    return ", ".join(map(repr, targets))


def _targets(
    table: Table, targets: Sequence[str], categorical: Sequence[str], regression: bool
) -> tuple[NDArray, list[list[str]] | None]:
    """Return the targets as the network has them, and their classes.

    They are numbers; 1 for the second of two classes; or of more classes 1 for the one there is.
    """
    each = [_target(table, name, name in categorical, regression) for name in targets]
    t, classes = np.column_stack([t for t, _ in each]), [found for _, found in each if found]
    if not classes:
        return (t if len(targets) > 1 else t[:, 0]), None
    if len(targets) == 1:
        K = len(classes[0])
        return (t[:, 0] if K == 2 else np.eye(K)[t[:, 0].astype(int)]), classes
    if len(classes) < len(targets) or max(map(len, classes)) > 2:
        kinds = [f"{len(found)} classes" if found else "numbers" for _, found in each]
        raise TableError(
            f"{table.source}: several targets are all numbers or all of two classes; "
            f"{_named(targets)} are {', '.join(kinds)} (--regression takes 0 and 1 as numbers)"
        )
    return t, classes


def _target(
    table: Table, name: str, text: bool, regression: bool
) -> tuple[Vector, list[str] | None]:
    """Return numbers and None, or the index of each row's class and the classes."""
    cells = table.column(name)
    missing = [row for row, cell in enumerate(cells) if not cell]
    if missing:
        raise TableError(
            f"{table.place(missing[0], name)}: the value is missing, and it is the target"
        )
    if not text and not columns.is_text(table, name):
        t = columns.numbers(table, name)
        return t, ["0", "1"] if not regression and set(t.tolist()) == {0.0, 1.0} else None
    classes = sorted(set(cells))
    if not 2 <= len(classes) <= columns.MAX_CATEGORIES or len(classes) == len(cells) > 2:
        raise TableError(
            f"{table.source}: the target {name!r} is text with {len(classes)} different values in "
            f"{len(cells)} rows; numbers or 2 to {columns.MAX_CATEGORIES} classes are expected, "
            "and some twice"
        )
    return columns.codes(table, name, classes).astype(float), classes
