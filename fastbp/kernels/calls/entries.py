"""The functions that Python calls, a table each: their arguments, row by row, and what they drive.

`machine.entry` makes code of them.
"""

from __future__ import annotations

from typing import Any

from ..machine import places as at
from ..machine import records
from ..machine.entry import COUNT, IN, MADE, NUMBER, OUT, Argument, Entry
from ..machine.linker import FLOAT64, INT32, INT64


def _in(name: str, *axes: str, dtype: int = -1) -> Argument:
    return Argument(name, IN, axes, dtype=dtype)


def _maybe(name: str, *axes: str, dtype: int = -1) -> Argument:
    return Argument(name, IN, axes, optional=True, dtype=dtype)


def _out(name: str, *axes: str, dtype: int = -1, optional: bool = False) -> Argument:
    return Argument(name, OUT, axes, optional, dtype)


def _made(name: str, *axes: str) -> Argument:
    return Argument(name, MADE, axes)


def _first_order(
    table: str, arguments: tuple[Argument, ...], results: tuple[str, ...], order: int, **more: Any
) -> Entry:
    """Entry of what `batch` drives; with a loss, its block is needed too."""
    loss_order = order if table in ("loss", "objective") else -1
    return Entry(
        records.Batch, table, arguments, results, needs=(at.BATCH,), order=order,
        loss_order=loss_order, driver=at.BATCH, **more,
    )  # fmt: skip


def _second_order(
    table: str, arguments: tuple[Argument, ...], order: int, output_order: int, what: int
) -> Entry:
    """Entry of what `tangent` drives; the last argument is the result."""
    return Entry(
        records.Tangent, table, arguments, (arguments[-1].name,),
        needs=(at.TANGENT, at.PACK, at.OUTPUT + output_order), order=order,
        loss_order=2 if table == "loss" else -1, driver=at.TANGENT, given={"what": what},
    )  # fmt: skip


def _per_sample(arguments: tuple[Argument, ...], results: tuple[str, ...], **more: Any) -> Entry:
    """Entry of what `per_sample` drives."""
    return Entry(
        records.PerSample, "plan", arguments, results, needs=(at.PER_SAMPLE, at.OUTPUT + 1),
        order=1, driver=at.PER_SAMPLE, **more,
    )  # fmt: skip


def _part(
    record: Any, arguments: tuple[Argument, ...], results: tuple[str, ...] = (), **more: Any
) -> Entry:
    """Entry of a driver whose caller has prepared it, and which takes long."""
    return Entry(record, more.pop("table", "driver"), arguments, results, always_long=True, **more)


W, X, C, P_ = _in("w", "P"), _in("X", "B", "N"), _maybe("c", "B"), _in("p", "P")
ONE, G, PART = _in("X", "N"), _made("g", "P"), Argument("part", COUNT)
SCALE, G_OUT, RESULT = Argument("scale", NUMBER), _out("g", "P"), _out("result", "_", dtype=FLOAT64)
_ALONE = {"B": 1}

# What is one number where there is one output.
_OF_ONE = {
    "value_of_one": _first_order("plan", (W, ONE), ("y",), 0, given=_ALONE),
    "value_and_grad": _first_order("plan", (W, ONE, G), ("y", "g"), 1, given=_ALONE),
    "input_grad": _first_order("plan", (W, X, _made("xbar", "B", "N")), ("xbar",), 1),
}
_OF_SEVERAL = {
    "value_of_one": _first_order("plan", (W, ONE, _made("y", "K")), ("y",), 0, given=_ALONE),
    "value_and_grad": _per_sample(
        (W, ONE, _made("y", "K"), _made("J", "K", "P")), ("y", "J"), given=_ALONE
    ),
    "input_grad": _per_sample((W, X, _made("xbar", "B", "K", "N")), ("xbar",)),
}


def _calls(T: Argument, K: tuple[str, ...]) -> dict[str, Entry]:
    """What the methods of a network and of an objective call."""
    xbar, ybar = _out("xbar", "B", "N", optional=True), _in("ybar", "B", *K)
    dX, ydot = _maybe("dX", "B", "N"), _made("ydot", "B", *K)
    along, rows = _in("dX", "B", "N"), _made("xbar", "B", *K, "N")
    product = (W, X, T, C, P_, G)
    return {
        "value": _first_order("plan", (W, X, _made("y", "B", *K)), ("y",), 0),
        "vjp": _first_order("plan", (W, X, ybar, G, xbar), ("g",), 1),
        "per_sample_grad": _per_sample((W, X, _made("J", "B", *K, "P")), ("J",)),
        "loss": _first_order("loss", (W, X, T, C), ("loss",), 0),
        "loss_and_grad": _first_order("loss", (W, X, T, C, G), ("loss", "g"), 1),
        "objective_value": _first_order("objective", (W,), ("loss",), 0),
        "objective": _first_order("objective", (W, G), ("loss", "g"), 1),
        "jvp": _second_order("plan", (W, X, P_, dX, ydot), 1, 1, at.NOTHING),
        "input_hvp": _second_order("plan", (W, X, along, rows), 2, 2, at.HESSIAN),
        "hvp": _second_order("loss", product, 2, 2, at.HESSIAN),
        "gauss_newton_product": _second_order("loss", product, 1, 2, at.GAUSS_NEWTON),
        "gauss_newton": Entry(
            records.Matrix, "loss", (W, X, T, C, G, _made("G", "P", "P")), ("loss", "g", "G"),
            needs=(at.MATRIX, at.PACK), order=1, loss_order=2, driver=at.MATRIX,
            given={"curvature": at.CURVED, "mirror": 1}, always_long=True,
        ),
    }  # fmt: skip


def _parts(T: Argument, K: tuple[str, ...]) -> dict[str, Entry]:
    """Nodes of a batch, on a thread: X and what belongs to its rows are slices.

    Rows of X may have more numbers in "part", of which the first N are observations.
    """
    product = (W, X, T, C, P_, SCALE, G_OUT, PART)
    matrix = (W, X, T, C, SCALE, Argument("curvature", COUNT), G_OUT, _out("G", "P", "P"), PART)
    batch = (
        W, _in("X", "B", "row"), _maybe("loss", "_", dtype=INT64), _maybe("panels", "_"),
        _maybe("t", "B", *K), C, SCALE, _maybe("ybar", "B", *K), _out("y", "B", *K, optional=True),
        _out("g", "P", optional=True), _out("xbar", "B", "N", optional=True), PART, _out("ws", "_"),
    )  # fmt: skip
    return {
        # What it needs depends on what is given.
        "part": _first_order("plan", batch, ("sum",), -1, always_long=True),
        "hvp_part": _part(records.Tangent, product, ("sum",), given={"what": at.HESSIAN}),
        "gauss_newton_product_part": _part(
            records.Tangent, product, ("sum",), given={"what": at.GAUSS_NEWTON}
        ),
        "matrix_part": _part(records.Matrix, matrix, ("sum",), given={"mirror": 1}),
    }


def _fits(T: Argument) -> dict[str, Entry]:
    """The optimizers, and what they take beside data."""
    first, kinds = _in("first", "_", dtype=INT64), _in("kinds", "P", dtype=INT64)
    shared = (
        G_OUT, _out("G", "P", "P"), _in("free", "P"), _maybe("each", "P", dtype=FLOAT64),
        _maybe("low", "P"), _maybe("high", "P"), _out("history", "n", dtype=FLOAT64),
    )  # fmt: skip

    def of_levenberg(*M: str) -> tuple[Argument, ...]:
        """What there is for each of M groups, or once."""
        return (
            _in("settings", *M, "_", dtype=FLOAT64), _out("kept", *M, "_", dtype=FLOAT64),
            _out("own", *M, "P", dtype=FLOAT64), kinds, _out("starts", *M, "two", "P"), *shared,
            _out("result", *M, "two" if M else "_", dtype=FLOAT64),
        )  # fmt: skip

    epoch = (
        _out("w", "P"), X, T, C, _in("order", "n", dtype=INT64), Argument("batch", COUNT),
        _in("rates", "_", dtype=FLOAT64), _in("settings", "_", dtype=FLOAT64),
        _out("state", "states", "P"), _maybe("free", "P"), _maybe("each", "P"), RESULT,
    )  # fmt: skip
    one, groups = (_out("w", "P"), X, T, C), (Argument("run", COUNT), _out("w", "M", "P"), X, T, C)
    return {
        "epoch": _part(records.Epoch, epoch),
        "levenberg": _part(records.Levenberg, (*one, *of_levenberg())),
        "levenberg_groups": _part(records.LevenbergGroups, (*groups, first, *of_levenberg("M"))),
    }


_L2 = (Argument("l2", NUMBER), _in("w", "n"), _maybe("each", "n", dtype=FLOAT64))
_ORDER = (_out("order", "n", dtype=INT32), _out("state", "_", dtype=INT64))
_OF_ALL = {
    "weights": _part(records.Weights, (_in("c", "n"), PART), ("sum",), table="plain"),
    "penalty": _part(
        records.Penalty, (*_L2, _out("g", "n", optional=True)), ("sum",), table="plain"
    ),
    "pack_batch": _part(records.PackBatch, (X, _out("panels", "_"))),
    "shuffle": _part(records.Shuffle, _ORDER, table="plain"),
}


def _entries(*K: str) -> dict[str, Entry]:
    """All entries, of one output, or with the axis of several."""
    T = _in("t", "B", *K)
    of_values = _OF_SEVERAL if K else _OF_ONE
    return of_values | _calls(T, K) | _parts(T, K) | _fits(T) | _OF_ALL


ENTRIES = _entries()
SEVERAL = _entries("K")
