"""CSV files as people have them, read into columns of text in which every cell has its place.

What is found out by itself: the delimiter (comma, semicolon, tab or bar), a byte order mark,
quotes, blank lines, and a first column without a name, as row numbers are often written.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DELIMITERS = ",;\t|"
MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"})
_SEPARATOR = re.compile(r"sep=(.)\r?\n")  # a first line by which Excel is told the delimiter
_GROUPED = re.compile(r"[+-]?\d{1,3}([., '\u2019\u00a0\u202f])\d{3}(\1\d{3})*([.,]\d+)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class TableError(ValueError):
    """A table that can't be used as it is; the message has the file, the line and the column."""


@dataclass(frozen=True)
class Table:
    """The text of a CSV file.

    Attributes
    ----------
    source : str
        What messages call the file.
    names : tuple of str
        The columns.
    cells : tuple of tuple of str
        Row by row, without spaces around; a missing value is "".
    lines : tuple of int
        The line of the file on which each row begins, from 1.
    decimal_comma : bool
        Whether 1,5 is a number: where the delimiter is no comma, and there is no 1.5 anywhere.
    """

    source: str
    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    decimal_comma: bool = False

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        k = self.names.index(name)
        return [row[k] for row in self.cells]

    def take(self, rows: Sequence[int]) -> Table:
        """Return the table of some rows."""
        return Table(
            self.source,
            self.names,
            tuple(self.cells[r] for r in rows),
            tuple(self.lines[r] for r in rows),
            self.decimal_comma,
        )

    def place(self, row: int, name: str) -> str:
        """Return how a message names a cell."""
        return f"{self.source}, line {self.lines[row]}, column {name!r}"

    def number(self, cell: str) -> float | None:
        """Return the number that a cell holds; None where it holds none (missing ones too)."""
        if self.decimal_comma:
            cell = cell.replace(",", ".")
        return float(cell) if _NUMBER.fullmatch(cell) else None

    def is_grouped(self, cell: str) -> bool:
        """Whether a cell is a number with thousands separators, which `number` does not take."""
        return self.number(cell) is None and _GROUPED.fullmatch(cell) is not None


def read(path: str | os.PathLike[str]) -> Table:
    """Read a CSV file with a header.

    Raises
    ------
    TableError
        Where it is not text in UTF-8, has no rows, or its rows do not fit its header.
    OSError
        Where it can't be read.
    """
    source = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TableError(f"{source}: this is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{source}, line {line}: the byte {data[error.start]:#04x} is no UTF-8; "
            "save the file as UTF-8"
        ) from None
    return parse(text, source)


def parse(text: str, source: str) -> Table:
    """Make a table of the text of a CSV file; see :func:`read`."""
    if "\0" in text:
        raise TableError(f"{source}: this is no text (it has null characters)")
    named = _SEPARATOR.match(text)
    delimiter = named[1] if named else _delimiter(text)
    rows = _rows(text, delimiter, source)
    if named:
        rows.pop(0)
    if not rows:
        raise TableError(f"{source}: it is empty; a header and rows of values are expected")
    line, header = rows.pop(0)
    unnamed = header[0] == "" and len(header) > 1  # row numbers, as pandas writes them
    names = tuple(header[1:] if unnamed else header)
    _check_header(names, line, len(header) - len(names), source)
    if not rows:
        raise TableError(f"{source}: there are no rows below the header")
    cells, lines = [], []
    for line, row in rows:
        if len(row) != len(header):
            raise TableError(
                f"{source}, line {line}: {len(row)} values, but the header has {len(header)} "
                f"columns (delimiter {delimiter!r})"
            )
        kept = row[1:] if unnamed else row
        cells.append(tuple("" if cell.lower() in MISSING else cell for cell in kept))
        lines.append(line)
    comma = delimiter != "," and _decimal_comma(cell for row in cells for cell in row)
    return Table(source, names, tuple(cells), tuple(lines), comma)


def _decimal_comma(cells: Iterable[str]) -> bool:
    """Whether numbers have a decimal comma: some do, and none has a point."""
    some = False
    for cell in cells:
        if "," in cell:
            some = some or _NUMBER.fullmatch(cell.replace(",", ".")) is not None
        elif "." in cell and _NUMBER.fullmatch(cell):
            return False
    return some


def _rows(text: str, delimiter: str, source: str) -> list[tuple[int, list[str]]]:
    """Return line and cells of every row that is not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    rows = []
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"{source}, line {line}: {error}") from None
    return rows


def _delimiter(text: str) -> str:
    """Return the delimiter that gives the most columns of all rows at the top alike.

    csv.Sniffer guesses from the frequencies of all characters and so takes letters at times.
    """
    end = 0
    for _ in range(50):
        end = text.find("\n", end) + 1
        if not end:
            break
    top = text[: end or len(text)]
    best, most = ",", (False, 1)
    for delimiter in DELIMITERS:
        reader = csv.reader(
            io.StringIO(top, newline=""), delimiter=delimiter, skipinitialspace=True
        )
        try:
            widths = [len(row) for row in reader if any(cell.strip() for cell in row)]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            score = (len(set(widths)) == 1, widths[0])
            if score > most:
                best, most = delimiter, score
    return best


def _check_header(names: tuple[str, ...], line: int, unnamed: int, source: str) -> None:
    for k, name in enumerate(names):
        place = f"{source}, line {line}"
        if not name:
            raise TableError(f"{place}: column {k + 1 + unnamed} has no name")
        if name in names[:k]:
            raise TableError(f"{place}: there are two columns {name!r}")
    if all(_NUMBER.fullmatch(name.replace(",", ".")) for name in names):
        raise TableError(
            f"{source}, line {line}: the names of the columns are expected here, but it holds "
            f"numbers: {', '.join(names[:4])}"
        )
