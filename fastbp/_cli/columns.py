"""What the columns of a table are, and from them the inputs of a network.

A *rule* says what a column is, as JSON: it is made once, of the table to fit, and stored with the
model. A column of numbers is one input; of dates one (days since 2000), or three with sine and
cosine of the year; of text one for each category (one where there are two): 1 where a row has it,
else 0. An input more says where values are missing, if the rows to fit lack some.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import dates, numerals
from .table import Array, Table, TableError, as_text, shortened

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_CATEGORIES = 100
_LARGEST = 1e100
_NAMES_ROWS = re.compile(
    r"(?i:#|no\.?|nr\.?|obs|id|uuid|guid|key|index|row.?(id|nr|names?|num(ber)?)?|unnamed: ?[\d.]+|"
    r".+[ _.-]id|id[ _.-].+)|.+I[dD]"
)

Column = dict[str, Any]
"""The rule: "name"; "fill", what a missing value becomes, or null; "missing", whether an input says
where; for numbers perhaps "unit"; for dates "date", their format or null, and "season"; for text
"categories", and "others", whether there are more."""


class Judged(NamedTuple):
    """What :func:`describe` finds."""

    columns: list[Column]
    lines: list[str]  # what is said of each, also of those left out


def describe(
    table: Table,
    names: Sequence[str],
    *,
    rows: Array,
    text: Collection[str] = (),
    fill: bool = False,
    order: str | None = None,
) -> Judged:
    """Find out what columns hold.

    Parameters
    ----------
    table : Table
        All rows: their categories are known afterwards.
    names : sequence of str
        Columns that are inputs, if they are of use.
    rows : ndarray of int
        The rows to fit, which alone decide what fills in a missing value.
    text : collection of str
        Those columns that are text even if they look like numbers.
    fill : bool
        Whether missing values get the mean of their column, or the most frequent category.
    order : {"day-first", "month-first", None}
        How 1/2/2024 is to be read; None refuses what may be both.
    """
    judged = Judged([], [])
    for name in names:
        column = _rule(table, name, name in text, order)
        said = _left_out(table, column, rows, name in text)
        if said:
            judged.lines.append(f"{name!r}: left out, {said}")
            continue
        judged.columns.append(column)
        judged.lines.append(f"{name!r}: {_completed(table, column, rows, fill)}")
    return judged


def _rule(table: Table, name: str, text: bool, order: str | None) -> Column:
    """Return what kind of column it is; of text, with all categories."""
    column: Column = {"name": name, "fill": None}
    x = table.columns[name]
    if x.dtype.kind == "M":
        return column | {"date": None}
    if x.dtype.kind == "f":
        known = x[~np.isnan(x)]
        return column | ({"date": dates.COMPACT} if dates.is_compact(known) else {})
    cells = _counted(x)
    if not text:
        unit = _unit(table, name, cells)
        if unit is not None:
            return column | ({"unit": unit} if unit else {})
        format = dates.format_of(list(cells), order, lambda cell: _place(table, name, cell))
        if format:
            return column | {"date": format}
    return column | {"categories": sorted(cells)}


def _counted(x: Array) -> dict[str, int]:
    """Return how often each cell of text is there, the missing ones apart."""
    counts: dict[str, int] = {}
    for cell in x.tolist():
        counts[cell] = counts.get(cell, 0) + 1
    counts.pop("", None)
    return counts


def _place(table: Table, name: str, cell: str) -> str:
    """Return how a message names the first cell of its text."""
    row = int(np.flatnonzero(table.columns[name] == cell)[0])
    return f"{table.place(row, name)}: {shortened(cell)!r}"


def _unit(table: Table, name: str, cells: dict[str, int]) -> str | None:
    """Return the unit if cells are numbers ("" if they have none), None if they are text."""
    if not cells or any(map(numerals.is_code, cells)):
        return None
    mark = table.decimal or "."
    units: dict[str, list[str]] = {}  # the cells that have one
    others = []
    for cell in cells:
        number = numerals.written(cell)
        if number is None or number.value(mark) is None:
            others.append(cell)
        else:
            units.setdefault(number.unit, []).append(cell)
    if not others and len(units) == 1:
        return next(iter(units))
    other = "." if mark == "," else ","
    if others and numerals.marks(cells) == other:
        sign = {".": "decimal point", ",": "decimal comma"}
        unlike = f", while the table has a {sign[mark]}" if table.decimal else ""
        raise TableError(
            f"{_place(table, name, others[0])} has a {sign[other]}{unlike} (--decimal; "
            "--categorical takes the column as text)"
        )
    money = [unit for unit in units if numerals.is_currency(unit)]
    for unit in [unit for unit in units if unit not in ("", "%", "‰", *money)]:
        others += units.pop(unit)  # 1st, 2nd, 12a: names
    if not units:
        return None
    if not others and len(money) == 1 and set(units) <= {"", *money}:
        return money[0]
    numbers = [cell for of_unit in units.values() for cell in of_unit]
    n_numbers, n_others = (sum(cells[cell] for cell in each) for each in (numbers, others))
    if n_numbers < n_others:
        return None
    if others:
        # A title above the header makes that a row of values.
        first = others == [table.columns[name][0]] and not any(map(str.isdigit, others[0]))
        line = "; a title above the header, or units below it, are to be taken out" if first else ""
        raise TableError(
            f"{_place(table, name, others[0])} is no number, unlike {n_numbers} other values in "
            f"the column (--missing takes it as missing, --categorical all of them as text){line}"
        )
    a, b = list(units)[:2]
    a, b = (b, a) if not a else (a, b)
    with_b = f"values in {b!r}" if b else "values without a unit"
    raise TableError(
        f"{_place(table, name, units[a][0])} is in {a!r}, but the column has {with_b} too "
        f"({units[b][0]!r}); --categorical takes them as text"
    )


def known(x: Array) -> Mask:
    """Return where values are not missing."""
    return x != "" if x.dtype == object else ~np.isnan(x)


def _left_out(table: Table, column: Column, rows: Array, asked: bool) -> str | None:
    """Say why a column is of no use; None where it is of some."""
    name, x = column["name"], table.columns[column["name"]]
    there, fitted = x[known(x)], x[rows]
    fitted = fitted[known(fitted)]
    if not len(fitted):
        return "it is empty" if not len(there) else "it is empty in the rows to fit"
    text = "categories" in column
    if not asked and len(there) > 2 and (text or _NAMES_ROWS.fullmatch(name)):
        n_values = len(set(there.tolist()))
        is_whole = float.is_integer if x.dtype.kind == "f" else str.isdecimal
        whole = x.dtype.kind in "fO" and not text and all(map(is_whole, there.tolist()))
        if n_values == len(there) if whole else text and 2 * n_values > len(there):
            return (
                f"it names rows: {n_values} different values in {len(there)} rows, such as "
                f"{_shortened(there[0])} (--categorical takes it as text)"
            )
    # Where some are missing, that they are may say something.
    if len(fitted) == len(rows) and (fitted == fitted[0]).all():
        which = "" if (there == there[0]).all() else " in the rows to fit"
        return f"it is constant{which} ({_shortened(fitted[0])})"
    return None


def _completed(table: Table, column: Column, rows: Array, fill: bool) -> str:
    """Add to a rule what the rows to fit say, and return what is to be said of it."""
    x = table.columns[column["name"]]
    if "categories" in column:
        counts = _counted(x[rows])
        frequent = sorted(column["categories"], key=lambda cell: (-counts.get(cell, 0), cell))
        said = f"{len(frequent)} categories ({_listed(column['categories'])})"
        if any(map(numerals.is_code, frequent)):
            said += ", codes with leading zeros"
        if len(frequent) > MAX_CATEGORIES:
            column |= {"categories": sorted(frequent[:MAX_CATEGORIES]), "others": True}
            said += f", of which the {MAX_CATEGORIES} most frequent ones"
        if fill:
            column["fill"] = frequent[0]
        missing, found = ~known(x), repr(frequent[0])
    else:
        values, bad = _values(table, column)
        if bad.any():
            raise _no_number(table, column, bad)
        fitted, missing = values[rows], np.isnan(values)
        fitted = fitted[~np.isnan(fitted)]
        if "date" in column:
            column["season"] = dates.has_season(fitted)
            said = kind(column, f", {dates.shown(fitted.min())} to {dates.shown(fitted.max())}")
        else:
            said = kind(column)
        mean = float(np.mean(fitted))
        column["fill"] = mean if fill else None
        found = f"the mean, {dates.shown(mean) if 'date' in column else format(mean, '.6g')}"
    if missing.any():
        if not fill:
            row = int(np.flatnonzero(missing)[0])
            raise TableError(
                f"{table.place(row, column['name'])}: the value is missing, as in "
                f"{missing.sum()} of {len(table)} rows; --impute mean fills such in, --drop leaves "
                "the column out"
            )
        column["missing"] = bool(missing[rows].any())
        said += f"; {missing.sum()} missing, filled with {found}"
        said += " and marked" if column["missing"] else ""
    return said


def kind(column: Column, span: str = "") -> str:
    """Say what a column is taken for; of dates, `span` is from where to where they go."""
    if "categories" in column:
        others = " and others" if column.get("others") else ""
        categories = column["categories"]
        return f"{len(categories)} categories ({_listed(categories)}){others}"
    if "date" in column:
        said = f"dates{span}" + (f" ({column['date']})" if column["date"] else "")
        said += ", as days since 2000"
        return said + (" with sine and cosine of the year" if column.get("season") else "")
    return "numbers" + (f" in {column['unit']}" if "unit" in column else "")


def _values(table: Table, column: Column) -> tuple[Vector, Mask]:
    """Return the numbers or days of a column, NaN for a missing one, and where are no such."""
    x = table.columns[column["name"]]
    if "date" in column:
        values, bad = dates.days(x, column["date"])
    elif x.dtype.kind == "f":
        values, bad = x, np.zeros(len(x), bool)
        if column.get("unit", "") in ("%", "‰"):  # 0.45, perhaps, where 45 % was meant
            values, bad = np.full(len(x), np.nan), ~np.isnan(x)
    elif x.dtype.kind == "M":
        values, bad = np.full(len(x), np.nan), ~np.isnat(x)
    else:
        mark, unit = table.decimal or ".", column.get("unit", "")
        known: dict[str, float] = {"": np.nan}
        for cell in dict.fromkeys(x.tolist()):
            number = numerals.written(cell) if cell else None
            plain = number and not number.unit and unit not in ("%", "‰")
            if number and (plain or number.unit == unit):
                value = number.value(mark)
                if value is not None:
                    known[cell] = value
        values = np.array([known.get(cell, np.nan) for cell in x.tolist()])
        bad = np.isnan(values) & (x != "")
    with np.errstate(invalid="ignore"):
        large = ~(np.abs(values) <= _LARGEST) & ~np.isnan(values)  # else deviations overflow
    if large.any():
        values, bad = np.where(large, np.nan, values), bad | large
    return values, bad


def _no_number(table: Table, column: Column, bad: Mask) -> TableError:
    row = int(np.flatnonzero(bad)[0])
    x = table.columns[column["name"]]
    cell = shortened(x[row] if x.dtype == object else str(x[row]))
    mark, expected = table.decimal or ".", f"number of at most {_LARGEST:g}"
    written = numerals.written(x[row]) if x.dtype == object else None
    if "date" in column:
        expected = f"date as {column['date'] or '2024-12-31'}"
    elif written and written.value(mark) is None:
        expected = f"number by the decimal mark {mark!r} (--decimal gives another)"
    if "unit" in column:
        expected += f" in {column['unit']}"
    elif "date" not in column and written and written.unit:
        expected = "number without a unit, as those that were fitted are"
    return TableError(
        f"{table.place(row, column['name'])}: {cell!r} is no {expected} (--missing takes it as "
        "missing)"
    )


def numbers(table: Table, name: str, unit: str = "") -> Vector:
    """Return the numbers of a column that has some in every row."""
    column = {"name": name} | ({"unit": unit} if unit else {})
    values, bad = _values(table, column)
    if bad.any():
        raise _no_number(table, column, bad)
    return values


def target(table: Table, name: str, text: bool) -> tuple[Vector, list[str] | None, str]:
    """Return numbers and None, or the index of each row's class and the classes; and what to say.

    No value is missing.
    """
    column = _rule(table, name, text, None)
    if "date" in column and column["date"] != dates.COMPACT:
        raise TableError(
            f"{table.source}: the target {name!r} holds dates; numbers or classes are expected"
        )
    if "categories" not in column:
        unit = column.get("unit", "")
        return numbers(table, name, unit), None, f"numbers{' in ' + unit if unit else ''}"
    classes = column["categories"]
    if not 2 <= len(classes) <= MAX_CATEGORIES or len(classes) == len(table) > 2:
        raise TableError(
            f"{table.source}: the target {name!r} is text with {len(classes)} different values in "
            f"{len(table)} rows; numbers or 2 to {MAX_CATEGORIES} classes are expected, "
            "and some twice"
        )
    index = {category: float(k) for k, category in enumerate(classes)}
    t = np.array([index[cell] for cell in table.columns[name].tolist()])
    return t, classes, f"{len(classes)} classes ({_listed(classes)})"


def without_rows(name: str, classes: Sequence[str], p: Matrix) -> list[str]:
    """Say which classes of a target none of the rows has; p is 1 where one has it, (B, classes)."""
    absent = [classes[k] for k in np.flatnonzero(~np.any(p, axis=0)).tolist()]
    if not absent:
        return []
    return [
        f"{name!r}: {len(absent)} of {len(classes)} classes have no row to fit ({_listed(absent)})"
    ]


def encode(table: Table, columns: Sequence[Column], note: Callable[[str], None]) -> Matrix:
    """Return the inputs of a network, (B, N), as the rules have them.

    What a rule has no value for (a missing cell where none was to fit, a category that was not
    there, text among numbers) is NaN, and handed to `note` with a count.

    Raises
    ------
    TableError
        For a column that is not there, or one without any cell of its kind.
    """
    table.check(column["name"] for column in columns)
    X = np.empty((len(table), sum(map(_width, columns))))
    start = 0
    for column in columns:
        stop = start + _width(column)
        _encode(table, column, X[:, start:stop], note)
        start = stop
    return X


def _width(column: Column) -> int:
    return len(labels([column]))


def _encode(table: Table, column: Column, X: Matrix, note: Callable[[str], None]) -> None:
    name, fill, x = column["name"], column["fill"], table.columns[column["name"]]
    if "categories" in column:
        categories = column["categories"]
        index = {category: k for k, category in enumerate(categories)}
        alike = {_in_any_file(category): k for category, k in index.items()}
        index |= {cell: alike.get(_in_any_file(cell), -1) for cell in {*x.tolist()} - index.keys()}
        codes = np.array([index[cell] for cell in x.tolist()])
        missing, bad = x == "", (codes < 0) & (x != "")
        if fill is not None:
            codes[missing] = index[fill]
        if column.get("others"):
            bad[...] = False
        shown = _shown(column)
        X[:, : len(shown)] = codes[:, None] == [index[category] for category in shown]
        X[bad | (missing & (codes < 0)), : len(shown)] = np.nan
        what = f"none of the {len(categories)} that were fitted"
    else:
        values, bad = _values(table, column)
        known = ~np.isnan(values)
        missing = ~known & ~bad
        if bad.any() and not known.any():
            raise _no_number(table, column, bad)
        if fill is not None:
            values = np.where(missing, fill, values)
        X[:, 0] = values
        if column.get("season"):
            X[:, 1:3] = dates.season(values)
        what = "no date" if "date" in column else "no number"
    if column.get("missing"):
        X[:, -1] = missing
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        first = f"{shortened(str(x[row]))!r} in row {row + 1}"
        note(
            f"{name!r}: {bad.sum()} of {len(bad)} values are {what} ({first}); the mean of the "
            "rows that were fitted stands for them"
        )
    if missing.any():
        stands = "the mean of the rows that were fitted" if fill is None else _filled(column)
        note(f"{name!r}: {missing.sum()} of {len(missing)} are missing; {stands} stands for them")


def _in_any_file(cell: str) -> str:
    """Return a category as one file and another agree on it.

    TRUE of Excel's text is True in its workbook, and 1 becomes 1.0 where pandas has a missing one.
    """
    folded = cell.lower()
    return folded if folded in ("true", "false") else cell.removesuffix(".0")


def _filled(column: Column) -> str:
    fill = column["fill"]
    if "date" in column:
        return dates.shown(fill)
    return repr(fill) if isinstance(fill, str) else f"{fill:.6g}"


def labels(columns: Iterable[Column]) -> list[str]:
    """Return a label for each input of the network."""
    found = []
    for column in columns:
        name = column["name"]
        if "categories" in column:
            found += [f"{name}={category}" for category in _shown(column)]
        else:
            found.append(name)
        if column.get("season"):
            found += [f"{name}, sine of the year", f"{name}, cosine of the year"]
        if column.get("missing"):
            found.append(f"{name} is missing")
    return found


def text_of(columns: Iterable[Column]) -> list[str]:
    """Return the names of the columns that are to be read as text."""
    return [column["name"] for column in columns if "categories" in column]


def _shown(column: Column) -> list[str]:
    categories = column["categories"]
    return categories[1:] if len(categories) == 2 else categories


def _listed(values: Sequence[str]) -> str:
    shown = ", ".join(map(_shortened, values[:5]))
    return shown if len(values) <= 5 else f"{shown}, …"


def _shortened(value: Any) -> str:
    text = " ".join(as_text(value).split())
    return text if len(text) <= 24 else f"{text[:23]}…"
