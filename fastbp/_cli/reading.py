"""Files that hold tables, read by pandas.

What a file is (text, compressed, workbook, Parquet) is seen from its first bytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, BinaryIO

import numpy as np

from .._training.source import columns_of_parquet
from .separated import Separated, are_values
from .table import EXACT, Array, Table, TableError, Wanted, as_text, name_of_rows, shortened

_COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_MARKUP = re.compile(rb"\s*(\{|\[|<!|<(\?xml|html|table|svg)\b)", re.IGNORECASE)
_OTHERS = {
    b"\xd0\xcf\x11\xe0": "an old workbook (.xls), or one with a password",
    b"%PDF": "a PDF file",
    b"SQLite": "a database",
    b"\x89HDF": "an HDF5 file",
    b"ARROW1": "a Feather file of Arrow",
    b"\x93NUMPY": "an array of NumPy",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}


def read(path: str | os.PathLike[str], **how: Any) -> Table:
    """Read a table with a header: separated values, compressed or not, .xlsx or Parquet.

    Parameters
    ----------
    path : path
        The file; "-" is the standard input.
    **how
        See :class:`Wanted`.

    Raises
    ------
    TableError
        Where it is no table, or one that can be read in two ways.
    ImportError
        Without pandas.
    OSError
        Where it can't be opened.
    """
    wanted = Wanted(**how)
    source = "the standard input" if os.fspath(path) == "-" else os.fspath(path)
    with _opened(path) as file:
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise ImportError("a table is read by pandas: pip install 'fastbp[cli]'") from None
        try:
            table = _read(file, source, wanted)
        except (EOFError, OSError, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the file, not of what is in it
            raise TableError(f"{source}: it is compressed, and damaged ({error})") from None
        except RuntimeError as error:  # of zipfile: a password, another method
            raise TableError(f"{source}: {error}") from None
    for word in wanted.missing:  # among cells that are numbers already
        try:
            number = float(word)
        except ValueError:
            continue
        for name, x in table.columns.items():
            if x.dtype.kind == "f":
                table.columns[name] = np.where(x == number, np.nan, x)
    if not len(table):
        raise TableError(f"{source}: there are no rows below the header")
    return table


def _opened(path: str | os.PathLike[str]) -> Any:
    if os.fspath(path) == "-":
        if sys.stdin is None:
            raise TableError("the standard input is closed")
        return io.BytesIO(sys.stdin.buffer.read())
    file = open(path, "rb")
    if file.seekable():
        return file
    with file:  # a pipe
        return io.BytesIO(file.read())


def _read(file: Any, source: str, wanted: Wanted) -> Table:
    start = file.read(64)
    file.seek(0)
    if start.startswith(b"PAR1"):
        return _parquet(file, source, wanted)
    if start.startswith(b"PK\x03\x04"):
        return _archive(file, source, wanted)
    for magic, decompressed in _COMPRESSED.items():
        if start.startswith(magic):
            with decompressed(file) as plain:
                return _read(plain, source, wanted)
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise TableError(f"{source}: this is {what}; save it as .csv or .xlsx")
    if _MARKUP.match(start.removeprefix(b"\xef\xbb\xbf")):
        raise TableError(f"{source}: this is JSON or XML; save it as .csv or .xlsx")
    return Separated(file, source, wanted).table()


def _archive(file: BinaryIO, source: str, wanted: Wanted) -> Table:
    with zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        if "xl/workbook.xml" in members:
            return _workbook(file, source, wanted)
        members = [name for name in members if name[-1] != "/" and name[:9] != "__MACOSX/"]
        if "content.xml" in members:
            raise TableError(f"{source}: this is OpenDocument (as .ods); save it as .csv or .xlsx")
        if len(members) != 1:
            raise TableError(
                f"{source}: one file is expected in it, it has {', '.join(members[:9])}"
            )
        with archive.open(members[0]) as member:
            return _read(member, source, wanted)


def _workbook(file: BinaryIO, source: str, wanted: Wanted) -> Table:
    wanted.refuse(["encoding", "separator"], source, "a workbook")
    import pandas

    try:
        with pandas.ExcelFile(file, engine="openpyxl") as book:
            sheets = book.sheet_names
            if wanted.sheet not in (None, *sheets):
                raise TableError(
                    f"{source}: there is no sheet {wanted.sheet!r}; it has "
                    f"{', '.join(map(repr, sheets))}"
                )
            sheet = wanted.sheet or sheets[0]
            # Cells as they are: pandas would make numbers of text, and of 007 seven.
            how: dict[str, Any] = {"header": None, "dtype": object, "keep_default_na": False}
            frame = pandas.read_excel(book, sheet_name=sheet, **how)
    except TableError:
        raise
    except ImportError:
        raise ImportError("a workbook is read by openpyxl: pip install 'fastbp[cli]'") from None
    except Exception as error:  # whatever openpyxl meets in a damaged file
        raise _damaged(source, "workbook", error) from None
    filled = ~(frame.isna() | frame.isin(["", " "]))
    frame = frame.loc[filled.any(axis=1), filled.any()]
    if not len(frame):
        others = ", ".join(repr(other) for other in sheets if other != sheet)
        hint = f"; --sheet reads one of {others}" if others else ""
        raise TableError(f"{source}: the sheet {sheet!r} is empty{hint}")
    names = [wanted.clean("" if cell is None else as_text(cell)) for cell in frame.iloc[0]]
    below = [["" if cell is None else as_text(cell) for cell in row] for row in frame[1:50].values]
    if are_values(names, below):
        raise TableError(
            f"{source}: the names of the columns are expected in the first row that is not empty, "
            f"but it holds numbers: {shortened(', '.join(names))}"
        )
    if names[0] == "" and len(names) > 1:
        names[0] = name_of_rows(names)
    chosen = wanted.chosen(names, source)
    columns = {
        name: _of_cells(frame.iloc[1:, names.index(name)], name, source, wanted) for name in chosen
    }
    notes = () if wanted.sheet or len(sheets) == 1 else (f"the sheet {sheet!r} of {len(sheets)}",)
    return Table(source, columns, tuple(names), wanted.mark or wanted.usual, notes)


def _parquet(file: BinaryIO, source: str, wanted: Wanted) -> Table:
    wanted.refuse(["sheet", "encoding", "separator"], source, "Parquet")
    try:
        import pandas
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ImportError("Parquet is read by pyarrow: pip install 'fastbp[cli]'") from None
    try:
        data = io.BytesIO(file.read())
        schema = parquet.read_schema(data)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        # Of pandas an index with a name, which is first, as in its CSV: the last is the target.
        names = sorted(columns_of_parquet(schema), key=lambda name: name not in index)
        data.seek(0)
        arrow = parquet.read_table(data, columns=wanted.chosen(names, source))
        # Metadata would make no column of pandas' index; floats lose what is beyond 2**53.
        whole = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.uint64(): pandas.UInt64Dtype()}
        frame = arrow.to_pandas(ignore_metadata=True, types_mapper=whole.get)
    except TableError:
        raise
    except Exception as error:  # whatever pyarrow meets in a damaged file
        raise _damaged(source, "Parquet file", error) from None
    columns, notes = {}, []
    for name in frame.columns:
        x, kind = frame[name], frame[name].dtype
        zone = getattr(kind, "tz", None)
        if zone is not None:
            x = x.dt.tz_convert("UTC").dt.tz_localize(None)
            notes.append(f"{name!r}: times are in UTC (they were in {zone})")
        large = zone is None and kind.kind in "iu" and (x.abs() > EXACT).any()
        if name not in wanted.text and zone is None and kind.kind in "iuf" and not large:
            columns[name] = x.to_numpy(np.float64, na_value=np.nan)
        elif name not in wanted.text and x.dtype.kind == "M":
            columns[name] = x.to_numpy("datetime64[s]")
        else:
            each = x.astype(str if large else object)
            cells = [None if m else v for v, m in zip(each, x.isna(), strict=True)]
            columns[name] = _of_cells(cells, name, source, wanted)
    return Table(source, columns, tuple(names), wanted.mark or wanted.usual, tuple(notes))


def _damaged(source: str, what: str, error: Exception) -> TableError:
    reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return TableError(f"{source}: this {what} can't be read ({reason})")


def _of_cells(cells: Iterable[Any], name: str, source: str, wanted: Wanted) -> Array:
    """Return numbers, dates or text of Python's objects."""
    import datetime

    cells = [wanted.clean(x) if isinstance(x, str) else x for x in cells]
    # An array is no number; NaN and NaT are not equal to themselves.
    missing = [x is None or (not isinstance(x, np.ndarray) and (x != x or x == "")) for x in cells]
    kinds = {type(x) for x, m in zip(cells, missing, strict=True) if not m}
    numbers = (int, float, Decimal, np.number)
    if name not in wanted.text and kinds:
        large = any(isinstance(x, int) and abs(x) > EXACT for x in cells)
        if not large and all(issubclass(kind, numbers) and kind is not bool for kind in kinds):
            return np.array(
                [np.nan if m else x for x, m in zip(cells, missing, strict=True)], float
            )
        if all(issubclass(kind, datetime.date) for kind in kinds):
            values = [None if m else x for x, m in zip(cells, missing, strict=True)]
            return np.array(values, "datetime64[s]")
    mark = wanted.mark or wanted.usual or "."
    for kind in kinds:
        if issubclass(kind, list | dict | np.ndarray | bytes | datetime.timedelta):
            raise TableError(
                f"{source}: column {name!r} has values of type {kind.__name__}; leave it out "
                "(--drop)"
            )
    text = ["" if m else as_text(x, mark) for x, m in zip(cells, missing, strict=True)]
    return np.array([wanted.clean(cell) for cell in text], object)
