"""From the columns of a table to the inputs of a network, in a way that can be stored as JSON.

A column of numbers is one input. A column of text is one input for each of its categories (a
single one where there are two): 1 where the row has it, else 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .table import Table, TableError

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

MAX_CATEGORIES = 100
_LARGEST = 1e100

Column = dict[str, Any]
"""{"name", "fill": number or null}, or {"name", "categories": [...], "fill": text or null}."""


def describe(
    table: Table,
    names: Sequence[str],
    *,
    rows: Sequence[int],
    text: Collection[str] = (),
    fill: bool = False,
) -> list[Column]:
    """Find out what columns hold.

    Parameters
    ----------
    table : Table
        All rows: their categories are known afterwards.
    names : sequence of str
        Columns that are inputs.
    rows : sequence of int
        The rows to fit, which alone decide what fills in a missing value.
    text : collection of str
        Those columns that are text even if they look like numbers.
    fill : bool
        Whether missing values get the mean of their column, or the most frequent category.
    """
    fitted = table.take(rows)
    return [_describe(table, fitted, name, name in text, fill) for name in names]


def _describe(table: Table, fitted: Table, name: str, text: bool, fill: bool) -> Column:
    if not any(fitted.column(name)):
        raise TableError(f"{table.source}: column {name!r} is empty; leave it out (--drop)")
    if not text and not is_text(table, name):
        found = [x for cell in fitted.column(name) if (x := table.number(cell)) is not None]
        return {"name": name, "fill": float(np.mean(found)) if fill else None}
    categories = sorted({cell for cell in table.column(name) if cell})
    if len(categories) > MAX_CATEGORIES or len(categories) == len(table.cells) > 2:
        raise TableError(
            f"{table.source}: column {name!r} is text with {len(categories)} different values in "
            f"{len(table.cells)} rows; at most {MAX_CATEGORIES} are expected, and some twice: "
            "leave it out (--drop)"
        )
    counts = Counter(fitted.column(name))
    # max takes the first of the most frequent ones: of equals, the first by name.
    most = max(categories, key=lambda category: counts[category]) if fill else None
    return {"name": name, "categories": categories, "fill": most}


def is_text(table: Table, name: str) -> bool:
    """Whether a column holds text; one that holds both text and numbers is refused."""
    cells = table.column(name)
    present = [row for row, cell in enumerate(cells) if cell]
    numbers = [row for row in present if table.number(cells[row]) is not None]
    others = [row for row in present if table.number(cells[row]) is None]
    if others and all(table.is_grouped(cells[row]) for row in others):
        raise TableError(
            f"{table.place(others[0], name)}: {cells[others[0]]!r} is no number with its "
            "thousands separators; take them out (--categorical takes the column as text)"
        )
    if not numbers or not others:
        return bool(others)
    odd, verb = (
        (others, "is no number") if len(others) <= len(numbers) else (numbers, "is a number")
    )
    raise TableError(
        f"{table.place(odd[0], name)}: {cells[odd[0]]!r} {verb}, unlike "
        f"{len(present) - len(odd)} other values in the column (--categorical takes all of them "
        "as text)"
    )


def encode(table: Table, columns: Sequence[Column]) -> Matrix:
    """Return the inputs of a network, (B, N), as the columns were described.

    Raises
    ------
    TableError
        For a column or category that is not there, a missing value, what is no finite number.
    """
    absent = [column["name"] for column in columns if column["name"] not in table.names]
    if absent:
        raise TableError(
            f"{table.source}: there is no column {absent[0]!r}; it has "
            f"{', '.join(map(repr, table.names))}"
        )
    parts = [
        _categories(table, column) if "categories" in column else numbers(table, **column)[:, None]
        for column in columns
    ]
    return np.ascontiguousarray(np.hstack(parts))


def labels(columns: Sequence[Column]) -> list[str]:
    """Return a label for each input of the network."""
    return [
        label
        for column in columns
        for label in (
            [f"{column['name']}={category}" for category in _shown(column)]
            if "categories" in column
            else [column["name"]]
        )
    ]


def numbers(table: Table, name: str, fill: float | None = None) -> Vector:
    """Return the numbers of a column."""
    values = np.empty(len(table.cells))
    for row, cell in enumerate(table.column(name)):
        if cell:
            value = table.number(cell)
            if value is None or not np.isfinite(value):
                raise TableError(f"{table.place(row, name)}: {cell!r} is no finite number")
            if abs(value) > _LARGEST:  # else means and deviations overflow
                raise TableError(
                    f"{table.place(row, name)}: {cell!r} is too large; {_LARGEST:g} is the most"
                )
        else:
            value = _filled(table, row, name, fill)
        values[row] = value
    return values


def codes(table: Table, name: str, categories: Sequence[str], fill: str | None = None) -> NDArray:
    """Return the index of each row's category."""
    index = {category: k for k, category in enumerate(categories)}
    found = np.empty(len(table.cells), int)
    for row, cell in enumerate(table.column(name)):
        category = cell or _filled(table, row, name, fill)
        if category not in index:
            raise TableError(
                f"{table.place(row, name)}: {category!r} is none of the values to fit, which are "
                f"{_listed(categories)}"
            )
        found[row] = index[category]
    return found


def _filled(table: Table, row: int, name: str, fill: Any) -> Any:
    if fill is None:
        raise TableError(
            f"{table.place(row, name)}: the value is missing (a model of `train --impute mean` "
            "fills such in)"
        )
    return fill


def _shown(column: Column) -> list[str]:
    categories = column["categories"]
    return categories[1:] if len(categories) == 2 else categories


def _categories(table: Table, column: Column) -> Matrix:
    found = codes(table, **column)
    categories = column["categories"]
    shown = np.array([categories.index(category) for category in _shown(column)])
    return (found[:, None] == shown).astype(float)


def _listed(values: Sequence[str]) -> str:
    shown = ", ".join(map(repr, values[:8]))
    return shown if len(values) <= 8 else f"{shown} and {len(values) - 8} more"
