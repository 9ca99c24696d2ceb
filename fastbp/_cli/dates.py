"""Dates as people write them, in days since 2000."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .table import Array, TableError

Vector = NDArray[np.float64]

COMPACT = "%Y%m%d"
_YEAR = 365.2425
_EPOCH = np.datetime64("2000-01-01", "s")
_A_YEAR = np.timedelta64(1, "Y")  # NumPy 2.5 wants to be told of what a number is
_PIVOT = np.datetime64("2030-01-01", "s")  # years 30 to 99 are of the 1900s, as Excel has it
_ISO = "ISO8601"
_ZONE = r"(Z|UTC|[+-]\d\d(:?\d\d)?)"
_IS_ISO = re.compile(
    rf"\d{{4}}-\d\d?(-\d\d?([T ]\d\d?:\d\d(:\d\d([.,]\d+)?)?( ?{_ZONE})?)?)?", re.ASCII
)
_QUARTER = re.compile(r"(\d{4})[ -]?[Qq]([1-4])|[Qq]([1-4])[ /-]?(\d{4})", re.ASCII)
_HAS_ZONE = re.compile(rf":\d\d([.,]\d+)? ?{_ZONE}$", re.ASCII)
_DAYS = (
    "%d/%m/%Y|%m/%d/%Y|%d-%m-%Y|%m-%d-%Y|%d.%m.%Y|%d/%m/%y|%m/%d/%y|%d-%m-%y|%m-%d-%y|%d.%m.%y|"
    "%y/%m/%d|%y-%m-%d|%y.%m.%d|%Y/%m/%d|%Y.%m.%d|%b-%d-%Y|%d-%b-%Y|%d-%b-%y|%b-%Y|%b-%y|%B-%Y|"
    "%m/%Y|%Y/%m|%d %b %Y|%d %B %Y|%b %d %Y|%B %d %Y|%b %d, %Y|%B %d, %Y|%b %Y|%B %Y|"
    "%a %b %d %Y|%a, %d %b %Y|%A, %B %d, %Y|%A, %d %B %Y|%d/%b/%Y|%d%b%Y|%Y-%b-%d|"
    "%d. %b %Y|%d. %B %Y"
).split("|")
_TIMES = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"),
    *(", %H:%M:%S", ", %I:%M:%S %p"),  # as browsers write them
)
_FORMATS = [*(day + time for day in _DAYS for time in _TIMES), "%Y%m%dT%H%M%S"]


def format_of(cells: Sequence[str], order: str | None, place: Callable[[str], str]) -> str | None:
    """Return the one format of different cells of text, None where they are no dates.

    Raises
    ------
    TableError
        Where most are dates of one format and others are not, where they may have the day first or
        the month or the year, and where some have a time zone.
    """
    formats = dict.fromkeys(f for cell in cells[:5] for f in _formats(cell))
    if not formats:
        return None
    parsed = {format: _parsed(cells, format) for format in formats}
    fitting = {format: x for format, x in parsed.items() if not np.isnat(x).any()}
    if not fitting:
        format, best = max(parsed.items(), key=lambda each: (~np.isnat(each[1])).sum())
        odd = np.flatnonzero(np.isnat(best))
        if 2 * len(odd) > len(cells):
            return None
        raise TableError(
            f"{place(cells[odd[0]])} is no date as {format}, unlike {len(cells) - len(odd)} other "
            "values in the column (--categorical takes all of them as text)"
        )
    if order is None:
        kept = [format for format in fitting if format[:2] != "%y"] if _ends_in_years(cells) else []
    else:
        kept = [format for format in fitting if format[1] == order[0]]
    first, *others = kept or fitting
    differing = [other for other in others if not np.array_equal(fitting[first], fitting[other])]
    if differing:
        names = {"%d": "day", "%m": "month", "%y": "year"}
        orders = [names[format[:2]] for format in (first, *differing)]
        raise TableError(
            f"{place(cells[0])} may have the {' or the '.join(orders)} first, as all of the column;"
            f" --dates {' or '.join(f'{name}-first' for name in orders)} says which"
        )
    zones = [bool(_HAS_ZONE.search(cell)) for cell in cells]
    if first == _ISO and any(zones) and not all(zones):
        raise TableError(
            f"{place(cells[zones.index(False)])} has no time zone, but others in the column have "
            "one (--categorical takes all of them as text)"
        )
    return first


def _ends_in_years(cells: Sequence[str]) -> bool:
    """Whether fewer different numbers come last than first: there are more days than years."""
    parts = [re.findall(r"\d+", cell) for cell in cells]
    return len({part[0] for part in parts}) > len({part[2] for part in parts if len(part) > 2})


def _formats(cell: str) -> list[str]:
    if _IS_ISO.fullmatch(cell):
        return [_ISO]
    if _QUARTER.fullmatch(cell):
        return ["quarters"]
    return [f for f in _FORMATS if _fits(cell, f)] if re.search(r"\d", cell) else []


def _fits(cell: str, format: str) -> bool:
    try:
        datetime.strptime(cell, format)
    except ValueError:
        return False
    return True


def _parsed(cells: Any, format: str) -> Array:
    """Return dates, in UTC where they have a time zone; NaT where they are not of the format."""
    import pandas

    if format == "quarters":
        found = map(_QUARTER.fullmatch, cells)
        cells = [f"{q[1] or q[4]}-{3 * int(q[2] or q[3]) - 2:02}" if q else "" for q in found]
        format = _ISO
    if format == _ISO:
        cells = [cell.replace(",", ".") for cell in cells]
    found = pandas.to_datetime(
        pandas.Series(cells, dtype=object), format=format, errors="coerce", utc=True
    )
    x = found.dt.tz_localize(None).to_numpy("datetime64[s]")
    if "%y" not in format:
        return x
    year = x.astype("M8[Y]")
    earlier = (year - 100 * _A_YEAR).astype("M8[s]") + (x - year.astype("M8[s]"))
    return np.where(x < _PIVOT, x, earlier)


def is_compact(x: Vector) -> bool:
    """Whether numbers are dates as 20241231, every one of them."""
    if not len(x) or x.min() < 19000101 or x.max() > 21001231 or np.any(x % 1.0):
        return False
    return not np.isnat(_parsed([str(int(day)) for day in np.unique(x)], COMPACT)).any()


def days(x: Array, format: str | None) -> tuple[Vector, NDArray[np.bool_]]:
    """Return days since 2000, NaN for missing ones, and where there is something else."""
    if x.dtype.kind == "f":
        missing = np.isnan(x)
        cells = ["" if m else f"{day:.0f}" for day, m in zip(x, missing, strict=True)]
        found = _parsed(cells, COMPACT) if format == COMPACT else np.full(len(x), "NaT", "M8[s]")
    elif x.dtype.kind == "M":
        missing, found = np.isnat(x), x
    else:
        missing = x == ""
        different = list(dict.fromkeys(x.tolist()))
        if format is None:  # those to fit were dates; what may be two of them is none here
            with suppress(TableError):
                format = format_of(list(filter(None, different)), None, repr)
            format = format or _ISO
        known = dict(zip(different, _parsed(different, format), strict=True))
        found = np.array([known[cell] for cell in x.tolist()], "datetime64[s]")
    return (found - _EPOCH) / np.timedelta64(86400, "s"), np.isnat(found) & ~missing


def season(days: Vector) -> Array:
    """Return sine and cosine of the year, (B, 2): those of one day are the same in any year."""
    day = _EPOCH + (np.nan_to_num(days) * 86400).round().astype("timedelta64[s]")
    year = day.astype("M8[Y]")
    start, end = (each.astype("M8[s]") for each in (year, year + _A_YEAR))
    angle = 2.0 * np.pi * ((day - start) / (end - start))
    found = np.column_stack([np.sin(angle), np.cos(angle)])
    found[np.isnan(days)] = np.nan
    return found


def has_season(days: Vector) -> bool:
    """Whether dates span more than a year, and are not all of one day of it."""
    return bool(np.ptp(days) > _YEAR and np.ptp(season(days), axis=0).max() > 1e-9)


def shown(days: float) -> str:
    """Return the date in ISO's form."""
    return str((_EPOCH + np.timedelta64(round(days * 86400), "s")).astype("datetime64[D]"))
