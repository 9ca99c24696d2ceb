"""Numbers as people write them: with currency, percent, a unit, separators of thousands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_CURRENCY = (
    "(?:[A-Z]{0,3}[$€£¥₹₽₩₺₪₫฿₴₦¢₱]|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|"
    r"HUF|BRL|ZAR|MXN|KRW|SGD|HKD|TRY|Rs\.?|kr\.?|zł)(?![^\W\d]))"
)
_CELL = re.compile(
    rf"(?P<open>\()?(?P<sign>[+-]?)\s?(?P<before>{_CURRENCY})?\s?(?P<sign2>[+-]?)"
    r"(?P<digits>\d(?:[\d.,' ]*\d)?[.,]?|[.,]\d+)(?P<exponent>[eE][+-]?\d+)?"
    rf"\s?(?P<times>(?:k|K|M|B|bn)\b)?\s?(?P<after>{_CURRENCY}|[^\d\s.,()+:/-][^\d()]*)?(?P<close>\))?",
    re.ASCII,
)
# The minus; spaces of typesetters; wide signs of money.
_ASCII = str.maketrans("\u2212\u2019\u00a0\u202f\u2009\uffe5\uff04", "-'   ¥$")
_TIMES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}
_IS_CURRENCY = re.compile(_CURRENCY)
# By decimal mark: plain digits, or groups of three, the first of which does not begin with 0; in
# India, 12,34,567.
_VALUE = {
    mark: re.compile(
        rf"(?:\d+|[1-9]\d{{0,2}}([{other}' ])\d{{3}}(?:\1\d{{3}})*{lakhs})?"
        rf"(?:[{mark}]\d*)?",
        re.ASCII,
    )
    for mark, other, lakhs in ((".", ",", r"|[1-9]\d?(?:,\d\d)+,\d{3}"), (",", ".", ""))
}
_CLOCK = re.compile(
    r"(?P<sign>[+-]?)(?P<a>\d+):(?P<b>[0-5]\d)(:(?P<c>[0-5]\d))?([.,](?P<part>\d+))?", re.ASCII
)
_LEADING_ZERO = re.compile(r"0\d+", re.ASCII)


class Written(NamedTuple):
    """A number as it is written in a cell."""

    digits: str  # with the marks between them
    exponent: str
    factor: float  # the sign, and thousands or millions written as K or M
    unit: str  # "" where it has none

    def marks(self) -> str:
        """Return the decimal marks by which it can be read: of ``.,`` both, one or none."""
        return "".join(mark for mark in ".," if _VALUE[mark].fullmatch(self.digits))

    def value(self, mark: str) -> float | None:
        """Return the number by a decimal mark; None where it is none."""
        if not _VALUE[mark].fullmatch(self.digits):
            return None
        whole, _, part = self.digits.partition(mark)
        return self.factor * float(re.sub(r"\D", "", whole) + "." + part + self.exponent)


@lru_cache(maxsize=1 << 16)  # a column is looked at more than once
def written(cell: str) -> Written | None:
    """Return the number that a cell of text holds; None where it holds none.

    A number in brackets is negative, as accountants write it. 1:30 is 1.5.
    """
    if ":" in cell and (clock := _CLOCK.fullmatch(cell)):
        return _of_clock(clock)
    found = _CELL.fullmatch(cell if cell.isascii() else cell.translate(_ASCII).strip())
    if not found or bool(found["open"]) != bool(found["close"]):
        return None
    before, after = found["before"] or "", (found["after"] or "").strip()
    signs = (found["open"] or "") + found["sign"] + found["sign2"]
    if (before and after) or len(signs) > 1:
        return None
    if after and unicodedata.category(after[0])[0] == "N":  # 1½ is more than 1
        return None
    factor = 1.0 if signs in ("", "+") else -1.0
    unit = before or after
    if found["times"]:
        if is_currency(unit):
            factor *= _TIMES[found["times"]]
        elif unit:
            return None
        else:
            unit = found["times"]
    return Written(found["digits"], found["exponent"] or "", factor, unit)


def _of_clock(found: re.Match[str]) -> Written:
    """Return a time of day or a duration, in hours or as minutes where a fraction follows them."""
    whole = 60 * int(found["a"]) + int(found["b"])
    unit, factor = ("m:ss" if found["part"] else "h:mm"), 1.0 / 60.0
    if found["c"]:
        whole, unit, factor = 60 * whole + int(found["c"]), "h:mm:ss", 1.0 / 3600.0
    part = found["part"] or ""
    exponent = f"e-{len(part)}" if part else ""
    return Written(f"{whole}{part}", exponent, -factor if found["sign"] == "-" else factor, unit)


def is_currency(unit: str) -> bool:
    """Whether a unit is one of money, which some cells of a column may leave out."""
    return _IS_CURRENCY.fullmatch(unit) is not None


def is_code(cell: str) -> bool:
    """Whether a cell is digits with a zero before them, as of postal codes."""
    return _LEADING_ZERO.fullmatch(cell) is not None


def marks(cells: Iterable[str]) -> str:
    """Return the decimal marks by which all cells are numbers: of ``.,`` both, one or none."""
    possible = ".,"
    for cell in cells:
        number = written(cell)
        found = number.marks() if number else ""
        possible = "".join(mark for mark in possible if mark in found)
        if not possible:
            break
    return possible


def is_ambiguous(cell: str) -> bool:
    """Whether a cell is one number by a decimal point and another by a decimal comma."""
    number = written(cell)
    return number is not None and number.value(".") != number.value(",") and number.marks() == ".,"
