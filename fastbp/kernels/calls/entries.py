"""The functions that Python calls, a table each: their arguments, row by row, and what they drive.

`machine.entry` makes code of them.
"""

from __future__ import annotations

from typing import Any

from ..machine.entry import COUNT, IN, MADE, NUMBER, OUT, Argument, Entry
from ..machine.linker import FLOAT64, INT32, INT64
from ..machine.places import (
    BATCH,
    CURVED,
    GAUSS_NEWTON,
    HESSIAN,
    MATRIX,
    NOTHING,
    OUTPUT,
    PACK,
    PER_SAMPLE,
    TANGENT,
)
from ..machine.records import (
    Batch,
    Epoch,
    Levenberg,
    LevenbergGroups,
    Matrix,
    PackBatch,
    Penalty,
    PerSample,
    Shuffle,
    Tangent,
    Weights,
)


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
        Batch,
        table,
        arguments,
        results,
        needs=(BATCH,),
        order=order,
        loss_order=loss_order,
        driver=BATCH,
        **more,
    )


def _second_order(
    table: str,
    arguments: tuple[Argument, ...],
    result: str,
    order: int,
    output_order: int,
    what: int,
) -> Entry:
    """Entry of what `tangent` drives."""
    return Entry(
        Tangent,
        table,
        arguments,
        (result,),
        needs=(TANGENT, PACK, OUTPUT + output_order),
        order=order,
        loss_order=2 if table == "loss" else -1,
        driver=TANGENT,
        given={"what": what},
    )


def _per_sample(arguments: tuple[Argument, ...], results: tuple[str, ...], **more: Any) -> Entry:
    """Entry of what `per_sample` drives."""
    return Entry(
        PerSample,
        "plan",
        arguments,
        results,
        needs=(PER_SAMPLE, OUTPUT + 1),
        order=1,
        driver=PER_SAMPLE,
        **more,
    )


W, X, C, P_ = _in("w", "P"), _in("X", "B", "N"), _maybe("c", "B"), _in("p", "P")
ONE, G = _in("X", "N"), _made("g", "P")
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


def _entries(*K: str) -> dict[str, Entry]:
    """All entries, of one output, or with the axis of several."""
    T = _in("t", "B", *K)
    of_levenberg = (
        _out("g", "P"),
        _out("G", "P", "P"),
        _in("free", "P"),
        _maybe("each", "P", dtype=FLOAT64),
        _maybe("low", "P"),
        _maybe("high", "P"),
        _out("history", "n", dtype=FLOAT64),
    )

    def product_part(what: int) -> Entry:
        part = Argument("part", COUNT)
        return Entry(
            Tangent,
            "driver",
            (W, X, T, C, P_, Argument("scale", NUMBER), _out("g", "P"), part),
            ("sum",),
            given={"what": what},
            always_long=True,
        )

    return {
        **(_OF_SEVERAL if K else _OF_ONE),
        "value": _first_order("plan", (W, X, _made("y", "B", *K)), ("y",), 0),
        "vjp": _first_order(
            "plan",
            (W, X, _in("ybar", "B", *K), G, _out("xbar", "B", "N", optional=True)),
            ("g",),
            1,
        ),
        "per_sample_grad": _per_sample((W, X, _made("J", "B", *K, "P")), ("J",)),
        "loss": _first_order("loss", (W, X, T, C), ("loss",), 0),
        "loss_and_grad": _first_order("loss", (W, X, T, C, G), ("loss", "g"), 1),
        "objective_value": _first_order("objective", (W,), ("loss",), 0),
        "objective": _first_order("objective", (W, G), ("loss", "g"), 1),
        "jvp": _second_order(
            "plan",
            (W, X, P_, _maybe("dX", "B", "N"), _made("ydot", "B", *K)),
            "ydot",
            1,
            1,
            NOTHING,
        ),
        "input_hvp": _second_order(
            "plan", (W, X, _in("dX", "B", "N"), _made("xbar", "B", *K, "N")), "xbar", 2, 2, HESSIAN
        ),
        "hvp": _second_order("loss", (W, X, T, C, P_, G), "g", 2, 2, HESSIAN),
        "gauss_newton_product": _second_order("loss", (W, X, T, C, P_, G), "g", 1, 2, GAUSS_NEWTON),
        "gauss_newton": Entry(
            Matrix,
            "loss",
            (W, X, T, C, G, _made("G", "P", "P")),
            ("loss", "g", "G"),
            needs=(MATRIX, PACK),
            order=1,
            loss_order=2,
            driver=MATRIX,
            given={"curvature": CURVED, "mirror": 1},
            always_long=True,
        ),
        # Nodes of a batch, on a thread: X and what belongs to its rows are slices. Rows of X may
        # have more numbers, of which the first N are observations.
        "part": _first_order(
            "plan",
            (
                W,
                _in("X", "B", "row"),
                _maybe("loss", "_", dtype=INT64),
                _maybe("panels", "_"),
                _maybe("t", "B", *K),
                C,
                Argument("scale", NUMBER),
                _maybe("ybar", "B", *K),
                _out("y", "B", *K, optional=True),
                _out("g", "P", optional=True),
                _out("xbar", "B", "N", optional=True),
                Argument("part", COUNT),
                _out("ws", "_"),
            ),
            ("sum",),
            -1,  # what it needs depends on what is given: the caller has prepared it
            always_long=True,
        ),
        "hvp_part": product_part(HESSIAN),
        "gauss_newton_product_part": product_part(GAUSS_NEWTON),
        "matrix_part": Entry(
            Matrix,
            "driver",
            (
                W,
                X,
                T,
                C,
                Argument("scale", NUMBER),
                Argument("curvature", COUNT),
                _out("g", "P"),
                _out("G", "P", "P"),
                Argument("part", COUNT),
            ),
            ("sum",),
            given={"mirror": 1},
            always_long=True,
        ),
        "weights": Entry(
            Weights, "plain", (_in("c", "n"), Argument("part", COUNT)), ("sum",), always_long=True
        ),
        "penalty": Entry(
            Penalty,
            "plain",
            (
                Argument("l2", NUMBER),
                _in("w", "n"),
                _maybe("each", "n", dtype=FLOAT64),
                _out("g", "n", optional=True),
            ),
            ("sum",),
            always_long=True,
        ),
        "pack_batch": Entry(PackBatch, "driver", (X, _out("panels", "_")), always_long=True),
        "shuffle": Entry(
            Shuffle,
            "plain",
            (_out("order", "n", dtype=INT32), _out("state", "_", dtype=INT64)),
            always_long=True,
        ),
        "epoch": Entry(
            Epoch,
            "driver",
            (
                _out("w", "P"),
                X,
                T,
                C,
                _in("order", "n", dtype=INT64),
                Argument("batch", COUNT),
                _in("rates", "_", dtype=FLOAT64),
                _in("settings", "_", dtype=FLOAT64),
                _out("state", "states", "P"),
                _maybe("free", "P"),
                _maybe("each", "P"),
                _out("result", "_", dtype=FLOAT64),
            ),
            always_long=True,
        ),
        "levenberg": Entry(
            Levenberg,
            "driver",
            (
                _out("w", "P"),
                X,
                T,
                C,
                _in("settings", "_", dtype=FLOAT64),
                _out("kept", "_", dtype=FLOAT64),
                _out("own", "P", dtype=FLOAT64),
                _in("kinds", "P", dtype=INT64),
                _out("starts", "two", "P"),
                *of_levenberg,
                _out("result", "_", dtype=FLOAT64),
            ),
            always_long=True,
        ),
        "levenberg_groups": Entry(
            LevenbergGroups,
            "driver",
            (
                Argument("run", COUNT),
                _out("w", "M", "P"),
                X,
                T,
                C,
                _in("first", "_", dtype=INT64),
                _in("settings", "M", "_", dtype=FLOAT64),
                _out("kept", "M", "_", dtype=FLOAT64),
                _out("own", "M", "P", dtype=FLOAT64),
                _in("kinds", "P", dtype=INT64),
                _out("starts", "M", "two", "P"),
                *of_levenberg,
                _out("result", "M", "two", dtype=FLOAT64),
            ),
            always_long=True,
        ),
    }


ENTRIES = _entries()
SEVERAL = _entries("K")
