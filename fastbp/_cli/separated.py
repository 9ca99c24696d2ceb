"""Text of separated values (CSV and its kin): what it is, and its columns as pandas reads them.

pandas takes 007 for 7, True for a truth value and 1,234 for text. So a file is looked through
first, and columns in which something would be lost are read once more, as text.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

import numpy as np

from . import numerals
from .table import EXACT, MISSING, Array, Table, TableError, Wanted, name_of_rows, shortened

SEPARATORS = ",;\t|"
_BLANK = r"\s+"
_BLOCK = 1 << 18
_YEAR = re.compile(r"(19|20)\d\d", re.ASCII)
_EXCELS = re.compile(r"sep=(.)\s*")  # a first line by which Excel is told the separator
# What pandas looks for; what else is spelled like these is found in text, later.
_SPELLED = [
    *{change(word) for word in MISSING for change in (str.lower, str.upper, str.title)},
    *("NaN", "-NaN", "NaT"),
]


class Separated:
    """A file of separated values; :meth:`table` reads it."""

    def __init__(self, file: Any, source: str, wanted: Wanted) -> None:
        self.file, self.source, self.wanted = file, source, wanted
        wanted.refuse(["sheet"], source, "no workbook")
        self.notes: list[str] = []
        self.encoding = self._look_through()
        self._read_header()

    def _look_through(self) -> str:
        """Return the encoding; note whether there are comments, and codes such as 007."""
        asked = self.wanted.encoding
        if not asked:
            asked = _by_mark(self.file.read(4))
        self.file.seek(0)
        self.has_comments = self.has_codes = bool(asked)  # perhaps: the bytes may be others
        found = "utf-8-sig"
        decoder = codecs.getincrementaldecoder("utf-8")()
        before = b"\n"
        while block := self.file.read(_BLOCK):
            if not asked:
                if b"\0" in block:
                    what = "it has null characters; --encoding utf-16-le, say, where it is some"
                    raise TableError(f"{self.source}: this is no text ({what})")
                if found == "utf-8-sig" and not (block.isascii() and decoder.getstate()[0] == b""):
                    try:
                        decoder.decode(block)
                    except UnicodeDecodeError:
                        found = "cp1252"
                if found == "cp1252":
                    try:
                        block.decode("cp1252")
                    except UnicodeDecodeError:
                        found = "latin-1"
            block = before + block
            if b"#" in block:
                self.has_comments |= b"\n#" in block or b"\r#" in block
            self.has_codes = self.has_codes or _has_codes(block)
            before = block[-2:]
        if not asked and found != "utf-8-sig":
            self.notes.append(f"it is no UTF-8, taken for {found} (--encoding says otherwise)")
        return asked or found

    def _text(self) -> io.TextIOWrapper:
        self.file.seek(0)
        try:
            return io.TextIOWrapper(io.BufferedReader(_Kept(self.file)), self.encoding, newline="")
        except LookupError:
            raise TableError(f"{self.source}: there is no encoding {self.encoding!r}") from None

    def _read_header(self) -> None:
        """Find separator and names, and how many lines are above the rows."""
        lines: list[tuple[int, str]] = []
        comment, separator = None, self.wanted.separator
        try:
            for number, line in enumerate(self._text()):
                line = line.removeprefix("\ufeff")
                excels = _EXCELS.fullmatch(line) if not number else None
                if excels:
                    separator = separator or excels[1]
                elif line.startswith("#") and not lines:
                    comment = line.lstrip("#")
                elif line.strip() or lines:
                    lines.append((number, line))
                if len(lines) == 50:
                    break
        except UnicodeError as error:
            raise self._not_decoded(error) from None
        if not lines and comment is None:
            raise TableError(f"{self.source}: it is empty; a header and rows are expected")
        top = [line for _, line in lines]
        self.separator = {" ": _BLANK}.get(separator or "", separator) or _separator(top)
        self.top = top
        rows = self._rows(top)
        try:
            used, names = next(rows, (0, []))
            _, first = next(rows, (0, []))
        except csv.Error as error:
            raise TableError(f"{self.source}, line {lines[0][0] + 1}: {error}") from None
        below = [first]
        with suppress(csv.Error):  # it is said where rows are read
            below += [row for _, row in rows]
        self.n_skipped = lines[0][0] + used if lines else 0
        self.has_comments |= used > 1  # pandas skips rows, not lines: it gets what is below
        _, commented = next(self._rows([comment or ""]), (0, []))
        named = len(commented) == len(names) and not all(map(_is_number, commented))
        values = are_values(names, below)
        if values and not named:
            raise TableError(
                f"{self.source}, line {lines[0][0] + 1}: the names of the columns are expected "
                f"here, but it holds numbers: {', '.join(filter(_is_number, names[:9]))}"
            )
        # Else words in a comment, as many as there are columns, above a row that can't be names.
        if values or (named and _may_be_names(commented) and not _may_be_names(names)):
            self.n_skipped, names = lines[0][0], commented
        elif len(first) == len(names) + 1 and first[-1]:  # as R writes names of rows
            names = ["", *names]
        elif len(first) == len(names) + 1:  # all rows but the header end in a separator
            names = [*names, ""]
        self.n_blank = 0  # columns of nothing at the right, as Excel writes them
        while len(names) > 1 and not names[-1]:
            names.pop()
            self.n_blank += 1
        if names and not names[0] and len(names) > 1:
            names[0] = name_of_rows(names)
        self.names = names
        self.chosen = self.wanted.chosen(names, self.source)

    def _rows(self, lines: Any) -> Iterator[tuple[int, list[str]]]:
        """Yield the cells of each row that is not blank, and how many lines have been read."""
        if self.separator == _BLANK:
            rows: Any = ((k + 1, line.split()) for k, line in enumerate(lines))
        else:
            reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=True)
            rows = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        return ((number, row) for number, row in rows if any(row))

    def table(self) -> Table:
        """Return the columns that are wanted."""
        mark = self.wanted.mark
        seen = self._marks_at_top() if mark is None else set()
        at_top = "," if "," in seen and "." not in seen else None
        columns = self._columns(mark or at_top or ".")
        if mark is None:
            mark = at_top or self._mark(columns, "." in seen)
            if mark == ",":
                columns = columns if at_top else self._columns(mark)
            if (mark or ".") != (self.wanted.usual or "."):
                sign = "comma" if mark == "," else "point"
                self.notes.append(f"numbers have a decimal {sign}")
        return Table(self.source, columns, tuple(self.names), mark, tuple(self.notes))

    def _columns(self, mark: str) -> dict[str, Array]:
        """Return numbers where pandas finds numbers, else text."""
        frame = self._frame(mark)
        for k in range(len(self.names), len(self.names) + self.n_blank):
            if frame.pop(k).notna().any():
                raise TableError(f"{self.source}: there are values in a column without a name")
        if self.chosen and frame[self.chosen[-1]].isna().any():
            self._check_lengths()
        columns: dict[str, Array] = {}
        again, truths = [], set()
        for name in self.chosen:
            column, kind = frame[name], frame[name].dtype
            if name in self.wanted.text or not isinstance(kind, np.dtype):  # of text alone
                columns[name] = self._cells(column)
            elif kind.kind in "iuf":
                x = column.to_numpy(np.float64)
                if kind.kind in "iu" and np.max(np.abs(x)) > EXACT:
                    again.append(name)
                    continue
                columns[name] = x
                if self.has_codes and not np.any(x[np.isfinite(x)] % 1.0):
                    again.append(name)
            elif kind.kind == "b" or not all(isinstance(x, str) or x != x for x in column):
                again.append(name)  # truth values, or text in some blocks and numbers in others
                if all(isinstance(x, bool) or x != x for x in column):
                    truths.add(name)
            else:
                columns[name] = self._cells(column)
        del frame
        for name, cells in self._as_text(again).items():
            different = dict.fromkeys(cells.tolist())
            if name not in columns or any(map(numerals.is_code, different)):
                columns[name] = cells
            if len(different.keys() - {""}) > 2 and name in truths:  # true beside TRUE
                columns[name] = np.array([cell.title() for cell in cells.tolist()], object)
        return {name: columns[name] for name in self.chosen}

    def _as_text(self, names: Sequence[str]) -> dict[str, Array]:
        if not names:
            return {}
        frame = self._frame(".", dtype=str, usecols=list(names))
        return {name: self._cells(frame[name]) for name in names}

    def _cells(self, column: Any) -> Array:
        """Return cells of text, equal ones as one object."""
        codes, values = column.factorize()
        cells = np.array(["", *map(self.wanted.clean, values)], object)
        return cells[codes + 1]

    def _frame(self, mark: str, dtype: Any = None, usecols: list[str] | None = None) -> Any:
        """Return what pandas reads; of all columns the first time, for it cuts rows otherwise."""
        import pandas

        if dtype is None:
            dtype = dict.fromkeys(self.wanted.text, str)
        # Newer releases read numbers exactly, and warn where they are asked to.
        exact = {} if _version(pandas) >= (3, 1) else {"float_precision": "round_trip"}
        source, skipped = self._source()
        chosen = {*self.chosen}  # others may have no name, or one twice
        names = [name if name in chosen else k for k, name in enumerate(self.names)]
        blank = range(len(names), len(names) + self.n_blank)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pandas.errors.DtypeWarning)
                warnings.simplefilter("error", pandas.errors.ParserWarning)
                return pandas.read_csv(
                    source, sep=self.separator, names=[*names, *blank], header=None,
                    skiprows=skipped, index_col=False, usecols=usecols, dtype=dtype,
                    encoding=self.encoding, decimal=mark, skipinitialspace=True,
                    keep_default_na=False, na_values=[*_SPELLED, *self.wanted.missing], **exact,
                )  # fmt: skip
        except pandas.errors.EmptyDataError:
            raise TableError(f"{self.source}: there are no rows below the header") from None
        except pandas.errors.ParserWarning:
            raise TableError(
                f"{self.source}: rows have more values than the header has columns, which are "
                f"{len(self.names)} ({shortened(', '.join(self.names))!r}, separator "
                f"{self.separator!r})"
            ) from None
        except pandas.errors.ParserError as error:
            said = str(error).replace("Error tokenizing data. C error: ", "").strip()
            raise TableError(f"{self.source}: {said} (separator {self.separator!r})") from None
        except UnicodeError as error:
            raise self._not_decoded(error) from None

    def _source(self) -> tuple[Any, int]:
        """Return what pandas is to read, without comments, and how many lines of it to skip."""
        if not self.has_comments:
            self.file.seek(0)
            return self.file, self.n_skipped
        kept, left_out, in_quotes = [], 0, False
        for number, line in enumerate(self._text()):
            if number < self.n_skipped:
                continue
            if line.startswith("#") and not in_quotes:
                _, cells = next(self._rows([line]), (0, []))
                if len(cells) != len(self.names) + self.n_blank:
                    left_out += 1
                    continue
            in_quotes ^= line.count('"') % 2 == 1
            kept.append(line)
        note = f"lines of comments left out: {left_out}"
        if left_out and note not in self.notes:
            self.notes.append(note)
        return io.StringIO("".join(kept)), 0

    def _check_lengths(self) -> None:
        """Refuse rows that are too short, which pandas fills up."""
        source, skipped = self._source()
        lines = iter(source if isinstance(source, io.StringIO) else self._text())
        for _ in range(skipped):
            next(lines)
        number = 0
        try:
            for number, row in self._rows(lines):
                if len(row) < len(self.names):
                    raise TableError(
                        f"{self.source}, line {skipped + number}: {len(row)} values, but the "
                        f"header has {len(self.names)} columns (separator {self.separator!r})"
                    )
        except csv.Error as error:
            raise TableError(f"{self.source}, below line {skipped + number}: {error}") from None

    def _not_decoded(self, error: UnicodeError) -> TableError:
        return TableError(f"{self.source}: it is no {self.encoding} ({error}); try --encoding")

    def _marks_at_top(self) -> set[str]:
        """Return the decimal marks of some columns, seen without a look at all rows as text."""
        try:
            _, *rows = (row for _, row in self._rows(self.top) if len(row) == len(self.names))
        except (csv.Error, ValueError):
            return set()
        columns = [
            list(filter(None, map(self.wanted.clean, cells)))
            for name, cells in zip(self.names, zip(*rows, strict=True), strict=False)
            if name in self.chosen and name not in self.wanted.text
        ]
        return {numerals.marks(cells) for cells in columns}

    def _mark(self, columns: dict[str, Array], has_points: bool) -> str | None:
        """Return the decimal mark, which a file has one of; None where nothing depends on it."""
        marks: dict[str, tuple[str, str]] = {}
        unclear = None
        for name, x in columns.items():
            if x.dtype != object or name in self.wanted.text:
                continue
            cells = [cell for cell in dict.fromkeys(x.tolist()) if cell]
            found = numerals.marks(cells[:1000])
            if found == ".,":
                found = numerals.marks(cells)
                if found == ".,":
                    several = filter(numerals.is_ambiguous, cells)
                    unclear = unclear or next(((name, cell) for cell in several), None)
            if len(found) == 1:
                other = "," if found == "." else "."
                example = next(c for c in cells if other not in numerals.marks([c]))
                marks.setdefault(found, (name, example))
        usual = self.wanted.usual
        if usual and len({*marks, *("." if has_points else "")}) == 2:
            return usual
        if len(marks) == 2:
            (a, p), (b, c) = marks["."], marks[","]
            raise TableError(
                f"{self.source}: column {b!r} has decimal commas ({c!r}) and column {a!r} decimal "
                f"points ({p!r}); leave one of them out (--drop) or take it as text (--categorical)"
            )
        if marks:
            return next(iter(marks))
        if unclear is None and has_points:
            return None
        fractions = {}
        for name, x in columns.items():
            if x.dtype != object and np.any((x := x[np.isfinite(x)]) % 1.0):
                fractions[name] = x
        if unclear is None and any(map(_has_decimals, fractions.values())):
            return None
        for name, x in self._as_text(list(fractions)).items():
            cells = [cell for cell in dict.fromkeys(x.tolist()) if cell]
            found = numerals.marks(cells)
            if found == ".":
                return "."
            # 523 beside 1.234: pandas has taken the thousands for decimals.
            if found == ".," and min(map(len, cells)) < 4:
                several = filter(numerals.is_ambiguous, cells)
                unclear = unclear or next(((name, cell) for cell in several), None)
                columns[name] = x
        if unclear is None or usual:
            return usual
        name, cell = unclear
        row = int(np.flatnonzero(columns[name] == cell)[0])
        raise TableError(
            f"{self.source}, row {row + 1}, column {name!r}: {cell!r} may have a decimal mark or "
            "a separator of thousands; say which by --decimal or --thousands"
        )


class _Kept(io.RawIOBase):
    """Reads a file that stays open when this is closed."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _by_mark(start: bytes) -> str | None:
    """Return the encoding that a byte order mark tells, None where it may be UTF-8."""
    if start in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else None


def _has_codes(block: bytes) -> bool:
    """Whether a cell may begin with 0 and another digit."""
    x = np.frombuffer(block, np.uint8)
    # Differences of unsigned bytes: what is below becomes large. From "-" on come . / 0 … 9 and :
    digit, inside = x - np.uint8(ord("0")) < 10, x - np.uint8(ord("-")) < 14
    return bool(np.any((x[1:-1] == ord("0")) & digit[2:] & ~inside[:-2]))


def _has_decimals(x: Array) -> bool:
    """Whether numbers can't be thousands whose point was taken for a decimal one."""
    x = np.abs(x[x % 1.0 != 0.0])
    with np.errstate(over="ignore"):
        thousand = np.round(1000.0 * x, 6)
    return bool(np.any((x < 1.0) | (x >= 1000.0) | (thousand % 1.0 != 0.0)))


def _is_number(cell: str) -> bool:
    number = numerals.written(cell)
    return number is not None and not number.unit and number.marks() != ""


def are_values(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether what stands where names are expected is a row of values like those below.

    Years may be names. 9.7 among mostly numbers is a value, but for those of a matrix; so is 39
    beside text that is there again below.
    """
    numbers = [*filter(_is_number, names)]
    marked = bool(names and names[0]) and not all(map(str.isdigit, numbers))
    return bool(numbers) and (
        len(numbers) == len(names)
        or (marked and 2 * len(numbers) > len(names))
        or (not _may_be_names(names) and _has_again(names, below))
    )


def _has_again(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a name that is no number is also a value of its column."""
    columns = zip_longest(names, *below, fillvalue="")
    return any(name and not _is_number(name) and name in cells for name, *cells in columns)


def _may_be_names(cells: Sequence[str]) -> bool:
    """Whether no cell is a number, but for years."""
    return all(_YEAR.fullmatch(cell) for cell in cells if _is_number(cell))


def _separator(lines: list[str]) -> str:
    """Return the separator that gives the most columns of all rows at the top alike.

    csv.Sniffer guesses from the frequencies of all characters and so takes letters at times.
    """
    best, most = ",", (False, 1)
    for separator in SEPARATORS:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        try:
            widths = [len(row) for row in reader if any(cell.strip() for cell in row)]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            score = (len(set(widths)) == 1, widths[0])
            if score > most:
                best, most = separator, score
    if most == (False, 1):
        widths = [len(line.split()) for line in lines if line.strip()]
        # R names the rows, but not the column of their names.
        if widths and widths[0] > 1 and set(widths[1:]) in ({widths[0]}, {widths[0] + 1}):
            return _BLANK
    return best


def _version(pandas: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in pandas.__version__.split(".")[:2])
