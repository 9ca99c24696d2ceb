"""Tables: named arrays of numbers, dates or text.

Files are read by :mod:`fastbp._cli.reading`; what the columns mean is judged by
:mod:`fastbp._cli.columns`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MISSING = frozenset(
    "|?|.|..|-|--|---|na|n/a|n.a.|#n/a|#na|#n/a n/a|<na>|nan|-nan|null|none|nil|nat|missing|"
    "not available|\u2013|\u2014|\\n|(null)|#div/0!|#value!|#ref!|#num!|#name?|#null!".split("|")
)
EXACT = 2**53  # beyond, two whole numbers may be one of float64


class TableError(ValueError):
    """A table that can't be used as it is; the message has the file, the row and the column."""


@dataclass(frozen=True)
class Table:
    """Columns by name, each of one of three kinds.

    Attributes
    ----------
    source : str
        What messages call the table.
    columns : dict of str to ndarray
        What was read: numbers (float64, a missing one is NaN), dates (datetime64, NaT), or text
        (object, "").
    names : tuple of str
        All columns that there are, also those not read.
    decimal : {".", ",", None}
        The decimal mark of numbers in text; None where nothing in the table depends on it.
    notes : tuple of str
        What was found out in reading and should be said.
    """

    source: str
    columns: dict[str, Array]
    names: tuple[str, ...]
    decimal: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def take(self, rows: Array) -> Table:
        """Return the table of some rows."""
        return replace(self, columns={name: x[rows] for name, x in self.columns.items()})

    def place(self, row: int, name: str) -> str:
        """Return how a message names a cell; rows are counted from 1, below the header."""
        return f"{self.source}, row {row + 1}, column {name!r}"

    def check(self, names: Iterable[str]) -> None:
        """Raise TableError where a column is not there; the nearest name is suggested."""
        for name in names:
            if name not in self.names:
                folded = {other.casefold(): other for other in self.names}
                near = get_close_matches(name.casefold(), folded, 1)
                meant = f" (did you mean {folded[near[0]]!r}?)" if near else ""
                raise TableError(
                    f"{self.source}: there is no column {name!r}{meant}; it has "
                    f"{', '.join(map(repr, self.names))}"
                )


def of_arrays(columns: dict[str, Array], source: str, text: Collection[str] = ()) -> Table:
    """Return the table of arrays of numbers, some columns as text."""
    table = Table(source, columns, tuple(columns))
    table.check(text)
    texts = {name: np.array([*map(as_text, columns[name])], object) for name in text}
    return replace(table, columns=columns | texts)


@dataclass(frozen=True)
class Wanted:
    """What is to be read of a file, and how; what is found out where it is left out is None.

    Attributes
    ----------
    only, drop : collection of str
        The columns to read, all of them for None; those not to read.
    text : collection of str
        Columns that are text even if they look like numbers.
    encoding, separator, decimal, thousands, sheet : str, optional
        `thousands` is "," or ".", and so says the decimal mark too.
    usual : {".", ",", None}
        The decimal mark where none is asked for and the table shows none of its own.
    missing : collection of str
        Cells that are missing values, beside the usual spellings.
    """

    only: Collection[str] | None = None
    drop: Collection[str] = ()
    text: Collection[str] = ()
    encoding: str | None = None
    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    usual: str | None = None
    missing: Collection[str] = ()
    sheet: str | None = None

    @property
    def mark(self) -> str | None:
        """The decimal mark that was asked for."""
        by_thousands = {",": ".", ".": ",", None: None}[self.thousands]
        if self.decimal and by_thousands not in (None, self.decimal):
            raise TableError(f"{self.decimal!r} can't be --decimal and --thousands at once")
        return self.decimal or by_thousands

    def refuse(self, options: Sequence[str], source: str, what: str) -> None:
        """Raise TableError for options that do nothing in a file of a kind."""
        for option in options:
            if getattr(self, option):
                raise TableError(f"{source}: --{option} does nothing, as this is {what}")

    def chosen(self, names: Sequence[str], source: str) -> list[str]:
        """Return which columns to read, in the order of the file, after a check of their names."""
        there = Table(source, {}, tuple(names))
        there.check((*(self.only or ()), *self.drop, *self.text))
        chosen: dict[str, None] = {}  # thousands, perhaps: no list
        for k, name in enumerate(names):
            if name in self.drop or not (self.only is None or name in self.only):
                continue
            if not name:
                raise TableError(
                    f"{source}: column {k + 1} has no name; the names of the columns are taken to "
                    f"be {shortened(', '.join(filter(None, names)))!r}"
                )
            if name in chosen:
                raise TableError(f"{source}: there are two columns {name!r}")
            chosen[name] = None
        return [*chosen]

    def clean(self, cell: str) -> str:
        """Return a cell of text, "" for a missing one."""
        cell = cell.strip()
        return "" if cell.lower() in MISSING or cell in self.missing else cell


def name_of_rows(names: Collection[str]) -> str:
    """Return what pandas calls a first column without a name, beside others of its own."""
    name, k = "Unnamed: 0", 0
    while name in names:
        k += 1
        name = f"Unnamed: 0.{k}"
    return name


def shortened(text: str) -> str:
    """Return the beginning of a text that is too long for a message."""
    return text if len(text) <= 60 else f"{text[:59]}\u2026"


def as_text(x: Any, mark: str = ".") -> str:
    """Return a value as one would write it, a whole number without a decimal mark."""
    if isinstance(x, float | np.floating | Decimal):
        return str(int(x)) if x == x // 1 else str(x).replace(".", mark)
    return str(x)
