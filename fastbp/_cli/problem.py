"""From a table to a network and the data to fit it to, in a way that can be stored with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _standardise as standardise
from .._standardise import Scaling
from .._training.doubts import range_of
from ..activations import get_activation, identity
from ..datasets import load_diabetes
from ..losses import get_loss
from ..network import Network
from . import columns as columns
from . import reading as _reading
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
    # The decimal mark of text, and further spellings of missing values; none in older models.
    reading: dict[str, Any]

    def read(self, path: str | os.PathLike[str], **how: Any) -> Table:
        """Read the columns that are inputs, as those to fit were unless :class:`Wanted` is told."""
        how["usual"] = self.reading.get("decimal")
        how["missing"] = [*(how.get("missing") or ()), *self.reading.get("missing", ())]
        only = [column["name"] for column in self.inputs]
        return _reading.read(path, only=only, text=columns.text_of(self.inputs), **how)

    def encode(self, table: Table, note: Callable[[str], None]) -> Matrix:
        """Return what the network takes, (B, N).

        What the rules have no value for is 0, the mean of the rows to fit, and noted with a count.
        """
        X = self.scaling.inputs(columns.encode(table, self.inputs, note))
        X[np.isnan(X)] = 0.0
        return X

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
        reading = stored.get("reading", {})
        return cls(
            **(stored | scalings | {"targets": targets, "classes": classes, "reading": reading})
        )


class Data(NamedTuple):
    """Inputs and targets as the network has them."""

    X: Matrix  # (B, N), the last column the constant 1
    t: NDArray  # (B,), or (B, K) of K outputs


@dataclass(frozen=True)
class Problem:
    """A network, its preparation, and the data to fit and held out.

    `network` makes it of a number of neurons; where that is to be chosen, `net` has one.
    """

    net: Network
    network: Callable[[int], Network]
    preparation: Preparation
    loss: str
    fit: Data
    held_out: Data
    lines: list[str]  # what was found out about the table and each of its columns

    @property
    def has_held_out(self) -> bool:
        """Whether there are rows held out."""
        return len(self.held_out.t) > 0


def bundled(text: Collection[str] = ()) -> Table:
    """Return the diabetes data that come with the package, some columns as text."""
    X, t, names = load_diabetes()
    columns = dict(zip((*names, "progression"), (*X.T, t), strict=True))
    return _table.of_arrays(columns, "the bundled data", text)


def prepare(
    table: Table,
    *,
    targets: Sequence[str],
    drop: Sequence[str],
    categorical: Sequence[str],
    fill: bool,
    test_fraction: float,
    neurons: int | str,
    activation: str,
    output: str | None,
    loss: str | None,
    regression: bool,
    seed: int,
    linear: bool = False,
    dates: str | None = None,
    missing: Sequence[str] = (),
) -> Problem:
    """Make a problem of a table; only the rows to fit decide scales and what is filled in.

    `dates` is the order of day and month; `missing` are the spellings by which it was read.
    """
    targets, names = _chosen(table, targets, drop, categorical)
    lines = [f"{table.source}: {len(table)} rows, {len(table.names)} columns", *table.notes]
    table = _with_targets(table, targets, lines)
    order = np.random.default_rng(seed).permutation(len(table))
    n_fit = int(round(len(order) * (1.0 - test_fraction), 9))  # 1 - 0.9 is less than 0.1
    fit, held_out = np.split(order, [n_fit])
    if not len(fit):
        raise TableError(f"{table.source}: {len(order)} rows are too few; none is left to fit")

    t, classes = _targets(table, targets, categorical, regression, lines)
    sigma = _output(table, targets, classes, output, loss)
    loss = loss or ("squared" if classes is None else "cross_entropy")
    inputs, said = columns.describe(
        table, names, rows=fit, text=categorical, fill=fill, order=dates
    )
    if not inputs:
        why = "".join(f"; {line}" for line in said)
        raise TableError(
            f"{table.source}: no column is left to predict {_named(targets)} from{why}"
        )
    X = columns.encode(table, inputs, lambda _: None)  # all of it is said already
    # A target is scaled where that is no other problem: not if σ or ℓ has a range.
    unbounded = sigma != "softmax" and get_activation(sigma) == identity
    scaled = unbounded and not np.isfinite(get_loss(loss).target_range).any()
    scaling = Scaling.of(X[fit])
    target_scaling = Scaling.of(t[fit]) if scaled else Scaling.none(t)
    n_outputs = 1 if t.ndim == 1 else t.shape[1]
    N = X.shape[1]

    def network(size: int) -> Network:
        return standardise.network(N, size, activation, sigma, n_outputs, linear=linear)

    reading = {"decimal": table.decimal, "missing": list(missing)}
    preparation = Preparation(targets, classes, inputs, scaling, target_scaling, reading)
    for name, of_one, p in zip(targets, classes or (), preparation.of_each(t), strict=False):
        said += columns.without_rows(name, of_one, p[fit])
    X, t = scaling.inputs(X), target_scaling.apply(t)
    return Problem(
        network(1 if isinstance(neurons, str) else neurons),
        network,
        preparation,
        loss,
        Data(X[fit], t[fit]),
        Data(X[held_out], t[held_out]),
        lines + said,
    )


def _chosen(
    table: Table, targets: Sequence[str], drop: Sequence[str], categorical: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the targets, the last column if none is named, and the columns beside them."""
    table.check((*drop, *categorical, *targets))
    targets = list(dict.fromkeys(targets)) or [[*table.columns][-1]]
    if absent := [name for name in targets if name in drop]:
        raise TableError(f"{table.source}: {_named(absent)} can't be target and left out")
    if unused := [name for name in categorical if name in drop]:
        raise TableError(f"{table.source}: {_named(unused)} can't be categorical and left out")
    return targets, [name for name in table.columns if name not in (*targets, *drop)]


def _with_targets(table: Table, targets: Sequence[str], lines: list[str]) -> Table:
    """Return the table without the rows that lack a target, and say how many these are."""
    known = np.all([columns.known(table.columns[name]) for name in targets], axis=0)
    if known.all():
        return table
    if not known.any():
        raise TableError(f"{table.source}: no row has a value of the target {_named(targets)}")
    lines.append(f"{np.sum(~known)} rows without a value of {_named(targets)} are left out")
    return table.take(np.flatnonzero(known))


def _output(
    table: Table,
    targets: Sequence[str],
    classes: list[list[str]] | None,
    output: str | None,
    loss: str | None,
) -> str:
    """Return the output that was asked for, or that of such targets."""
    joined = classes is not None and len(classes[0]) > 2
    of_numbers = classes is None and loss != "cross_entropy"
    output = output or ("softmax" if joined else "identity" if of_numbers else "logistic")
    if joined != (output == "softmax"):
        expected = "softmax" if joined else "one of numbers or of two classes"
        raise TableError(
            f"{table.source}: the output {output!r} does not fit the target {_named(targets)}; "
            f"{expected} is expected"
        )
    if classes is not None and not joined:
        low, high = range_of(get_activation(output))
        if low < 0.0 or high > 1.0:
            raise TableError(
                f"{table.source}: the output {output!r} goes from {low:.3g} to {high:.3g}, and "
                f"the target {_named(targets)} has classes; one of probabilities, such as "
                "logistic, is expected (--regression takes 0 and 1 as numbers)"
            )
    return output


def _named(targets: Sequence[str]) -> str:
    return ", ".join(map(repr, targets))


def _targets(
    table: Table,
    targets: Sequence[str],
    categorical: Sequence[str],
    regression: bool,
    lines: list[str],
) -> tuple[NDArray, list[list[str]] | None]:
    """Return the targets as the network has them, and their classes.

    They are numbers; 1 for the second of two classes; or of more classes 1 for the one there is.
    """
    each, binary = [], False
    for name in targets:
        t, found, said = columns.target(table, name, name in categorical)
        if found is None and set(t.tolist()) == {0.0, 1.0}:
            binary = True
            if not regression:
                found, said = ["0", "1"], "2 classes (0, 1)"
        each.append((t, found))
        lines.append(f"{name!r}: the target, {said}")
    if regression and not binary:
        raise TableError(
            f"{table.source}: --regression takes a target of 0 and 1 as numbers, but "
            f"{_named(targets)} is none"
        )
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
