"""Tables to the inputs of a network: as people have them, or refused with row and column."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from datetime import date, datetime

import numpy as np
import pytest

from fastbp._cli import columns as _columns
from fastbp._cli import dates as _dates
from fastbp._cli import numerals
from fastbp._cli import reading as _reading
from fastbp._cli import table as _table
from fastbp._cli.table import TableError

pandas = pytest.importorskip("pandas")

PEOPLE = """name,age,city,weight
Ann,31,Oslo,60.5
Bob,45,Rome,
Cid,,Rome,82
Dee,28,Rome,71e0
"""


@pytest.fixture
def read(tmp_path):
    """Return a function that reads text or bytes as the file data.csv."""

    def read(given, name="data.csv", **how):
        path = tmp_path / name
        path.write_bytes(given if isinstance(given, bytes) else given.encode())
        try:
            return _reading.read(path, **how)
        except TableError as error:
            raise TableError(str(error).replace(str(path), name)) from None

    return read


def described(table, fill=True, **options):
    rows = np.arange(len(table))
    return _columns.describe(table, [*table.columns], **({"rows": rows, "fill": fill} | options))


def encoded(table, **options):
    """Return the inputs that a table makes."""
    return _columns.encode(table, described(table, **options).columns, lambda _: None)


def cells(table):
    return {name: x.tolist() for name, x in table.columns.items()}


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_separators_newlines_and_byte_order_marks(read, separator, newline, encoding):
    text = PEOPLE.replace(",", separator).replace("\n", newline)
    table = read(text.encode(encoding))
    assert table.names == ("name", "age", "city", "weight")
    assert table.columns["name"].tolist() == ["Ann", "Bob", "Cid", "Dee"]
    np.testing.assert_array_equal(table.columns["age"], [31, 45, np.nan, 28])
    np.testing.assert_array_equal(table.columns["weight"], [60.5, np.nan, 82, 71])
    assert table.notes == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_name_of_several_lines_costs_no_row(read, encoding):
    table = read(('\n"name\nor so"' + PEOPLE.removeprefix("name")).encode(encoding))
    assert cells(table)["name\nor so"] == ["Ann", "Bob", "Cid", "Dee"]


def zipped(data, *names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, lambda data: zipped(data, "a/", "a/people.csv")],
)
def test_compressed_files_by_their_content(read, compress):
    for name in ("data.csv", "data.csv.gz"):
        assert cells(read(compress(PEOPLE.encode()), name))["city"] == ["Oslo", *["Rome"] * 3]
    with pytest.raises(TableError, match=r"data\.csv: it is compressed, and damaged"):
        read(compress(PEOPLE.encode() * 50)[:-20])


def test_archives_that_can_not_be_opened(read):
    for compress, at in [(gzip.compress, -5), (bz2.compress, 20)]:
        data = bytearray(compress(PEOPLE.encode() * 50))
        data[at] ^= 255
        with pytest.raises(TableError, match=r"data\.csv: it is compressed, and damaged"):
            read(bytes(data))
    data = zipped(PEOPLE, "people.csv")
    for at, value, message in [(6, 1, "'people.csv' is encrypted"), (8, 9, "compression method")]:
        changed = bytearray(data)
        for start in (at, data.index(b"PK\1\2") + at + 2):
            changed[start] = value
        with pytest.raises(TableError, match=rf"data\.csv: .*{message}"):
            read(bytes(changed))


def test_what_is_no_table_of_ours_is_named(read):
    for data, message in [
        (zipped(b"", "a", "b"), "one file is expected in it, it has a, b"),
        (b"\xd0\xcf\x11\xe0", "this is an old workbook"),
        (b"ARROW1\0\0", "this is a Feather file"),
        (b'\xef\xbb\xbf [{"a": 1}]', "this is JSON or XML"),
        (b"<html>", "this is JSON or XML"),
        (b"<?xml version='1.0'?>", "this is JSON or XML"),
        (zipped(b"", "mimetype", "content.xml"), "this is OpenDocument"),
        (b"a,b\n1,\0\n", "this is no text .it has null characters; --encoding utf-16-le"),
        (b"PAR1" + bytes(40) + b"PAR1", "this Parquet file can't be read"),
        (zipped(b"<x/>", "xl/workbook.xml"), "this workbook can't be read"),
    ]:
        with pytest.raises(TableError, match=rf"data\.csv: {message}"):
            read(data)
    with pytest.raises(FileNotFoundError):
        _reading.read("none.csv")


def test_encodings(read):
    western = "a,b\ncafé,1\n€,2\ncafé,2\n".encode("cp1252")
    table = read(western)
    assert cells(table)["a"] == ["café", "€", "café"]
    assert table.notes == ("it is no UTF-8, taken for cp1252 (--encoding says otherwise)",)
    assert cells(read(b"a,b\n\x8d,1\n"))["a"] == ["\x8d"]  # not one of cp1252's
    assert cells(read(western, encoding="cp437"))["a"][0] == "cafΘ"
    with pytest.raises(TableError, match="it is no ascii"):
        read(western, encoding="ascii")
    with pytest.raises(TableError, match="there is no encoding 'utf9'"):
        read(western, encoding="utf9")


def test_workbooks(read, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in [
        [],
        [None, "x", "code", "day", "paid", "mixed", "void"],
        [0, 1, "007", datetime(2024, 1, 31, 12), True, 3, None],
        [None] * 9,
        [1, 2.5, "12", date(2024, 2, 1), False, "3", None],
        [2, "NA", "007", None, True, "x", None],
    ]:
        sheet.append(row)
    sheet["J2"] = " "
    book.create_sheet("other").append(["a"])
    book.create_sheet("empty")
    book.save(tmp_path / "book")
    data = (tmp_path / "book").read_bytes()
    table = read(data)
    assert table.notes == ("the sheet 'Sheet' of 3",)
    found = cells(table)
    assert found["x"][:2] == [1.0, 2.5] and np.isnan(found["x"][2])
    assert found["code"] == ["007", "12", "007"]
    assert np.isnat(table.columns["day"][2]) and found["day"][0] == datetime(2024, 1, 31, 12)
    assert found["paid"] == ["True", "False", "True"] and found["mixed"] == ["3", "3", "x"]
    judged = _columns.describe(table, ["Unnamed: 0"], rows=np.arange(3))
    assert "it names rows: 3 different values in 3 rows" in judged.lines[0]
    with pytest.raises(TableError, match="there are no rows below the header"):
        read(data, sheet="other")
    with pytest.raises(TableError, match="is empty; --sheet reads one of 'Sheet', 'other'"):
        read(data, sheet="empty")
    with pytest.raises(
        TableError, match="there is no sheet 'none'; it has 'Sheet', 'other', 'empty'"
    ):
        read(data, sheet="none")


def test_workbooks_without_a_header_are_refused(read):
    pytest.importorskip("openpyxl")
    for rows, names in [
        ([[1.5, 2.5], [3, 4]], None),
        ([["state", 39], ["private", 50], ["state", 38]], None),
        ([["country", 2019], ["state", 39]], ["country", "2019"]),
        ([[None, 0, 1], [0, 39, 4]], ["Unnamed: 0", "0", "1"]),  # as pandas writes an array
    ]:
        file = io.BytesIO()
        pandas.DataFrame(rows).to_excel(file, header=False, index=False)
        if names:
            assert list(cells(read(file.getvalue()))) == names
            continue
        with pytest.raises(TableError, match=r"the names of the columns .* but it holds numbers: "):
            read(file.getvalue())


def test_numbers_among_text_of_a_workbook_have_the_decimal_mark_of_the_text(read, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["a", "b"], [1.234, 1], ["2,5", 2], [3, 3]]:
        book.active.append(row)
    book.save(tmp_path / "book")
    data = (tmp_path / "book").read_bytes()
    assert encoded(read(data, decimal=","))[:, 0].tolist() == [1.234, 2.5, 3.0]
    with pytest.raises(TableError, match=r"row 2, column 'a': '2,5' has a decimal comma \("):
        described(read(data))


def test_parquet(read):
    pytest.importorskip("pyarrow")
    file = io.BytesIO()
    days = pandas.to_datetime(["2024-01-31", None, "2024-02-01"])
    frame = {
        "x": pandas.array([1, None, 3], dtype="Int64"),
        "f": [0.5, np.nan, 1.5],
        "text": ["a", None, " - "],
        "flag": [True, False, None],
        "kind": pandas.Categorical(["u", "v", "u"]),
        "day": days,
        "there": days.tz_localize("Europe/Oslo"),
        "date": [date(2024, 1, 31), None, date(2024, 2, 1)],
    }
    pandas.DataFrame(frame).to_parquet(file)
    table = read(file.getvalue(), text=["x"])
    assert table.notes == ("'there': times are in UTC (they were in Europe/Oslo)",)
    found = cells(table)
    assert found["x"] == ["1", "", "3"] and found["text"] == ["a", "", ""]
    assert found["flag"] == ["True", "False", ""] and found["kind"] == ["u", "v", "u"]
    np.testing.assert_array_equal(table.columns["f"], frame["f"])
    hours = (table.columns["there"] - table.columns["day"])[[0, 2]] / np.timedelta64(1, "h")
    np.testing.assert_array_equal(hours, [-1, -1])
    np.testing.assert_array_equal(table.columns["date"], table.columns["day"])
    np.testing.assert_array_equal(read(file.getvalue()).columns["x"], [1, np.nan, 3])
    file = io.BytesIO()
    index = pandas.Index([2.5, 3.5], name="k")
    pandas.DataFrame({"id": [2**60, 2**60 + 1]}, index=index).to_parquet(file)
    found = cells(read(file.getvalue()))
    assert found == {"id": [str(2**60), str(2**60 + 1)], "k": [2.5, 3.5]}
    assert list(found) == ["k", "id"]  # as in a CSV of pandas: the target is the last
    file = io.BytesIO()
    pandas.DataFrame({"id": pandas.array([2**60, None, 2**60 + 1], "Int64")}).to_parquet(file)
    assert cells(read(file.getvalue())) == {"id": [str(2**60), "", str(2**60 + 1)]}
    file = io.BytesIO()
    pandas.DataFrame({"x": [[1], [2]], "y": [1, 2]}).to_parquet(file)
    with pytest.raises(TableError, match="column 'x' has values of type ndarray"):
        read(file.getvalue())
    assert cells(read(file.getvalue(), drop=["x"])) == {"y": [1.0, 2.0]}
    np.testing.assert_array_equal(
        read(file.getvalue(), drop=["x"], missing=["2", "x"]).columns["y"], [1, np.nan]
    )


def test_options_that_do_nothing_are_refused(read):
    for data, how, message in [
        (b"a\n1\n", {"sheet": "x"}, "--sheet does nothing, as this is no workbook"),
        (b"PAR1", {"encoding": "ascii"}, "--encoding does nothing, as this is Parquet"),
        (zipped(b"", "xl/workbook.xml"), {"separator": ";"}, "--separator does nothing, as this"),
    ]:
        with pytest.raises(TableError, match=message):
            read(data, **how)


def test_without_the_extra(read, monkeypatch):
    for name in ("openpyxl", "pyarrow", "pyarrow.parquet", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    for data in (b"a\n1\n", zipped(b"", "xl/workbook.xml"), b"PAR1"):
        with pytest.raises(ImportError, match=r"pip install 'fastbp\[cli\]'"):
            read(data)


# ---- separated values --------------------------------------------------------------------------


def test_separator_is_not_guessed_from_what_is_in_quotes(read):
    assert cells(read('a;b\n"1,2,3,4";5\n"x,y,z,u";6\n')) == {
        "a": ["1,2,3,4", "x,y,z,u"],
        "b": [5.0, 6.0],
    }


def test_blanks_separate_and_names_of_rows_need_no_name(read):
    assert cells(read("a   b\n 1  2\n3 4\n")) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    for text in ("a b\nr 1 2\ns 3 4\n", "a,b\nr,1,2\ns,3,4\n", ",a,b\nr,1,2\ns,3,4\n"):
        assert cells(read(text)) == {"Unnamed: 0": ["r", "s"], "a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert cells(read("a:b\n1:2\n", separator=":")) == {"a": [1.0], "b": [2.0]}
    assert cells(read("a\n1\n2\n")) == {"a": [1.0, 2.0]}
    assert cells(read("a;b;;\n1,5;2;;\n3;4;;\n")) == {"a": [1.5, 3.0], "b": [2.0, 4.0]}
    assert cells(read("a,b\n1,2,\n3,4,\n")) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert cells(read("<T>,<OPEN>\n1,2\n")) == {"<T>": [1.0], "<OPEN>": [2.0]}


def test_the_line_that_tells_excel_the_separator(read):
    assert cells(read("sep=;\na;b\n1,5;2\n")) == {"a": [1.5], "b": [2.0]}


def test_quotes_spaces_blank_lines_and_lines_in_cells(read):
    table = read('\n"a, 1", b\n\n"two\nlines", 1 \n \n  "x ""y""",2\n')
    assert cells(table) == {"a, 1": ["two\nlines", 'x "y"'], "b": [1.0, 2.0]}


def test_comments(read):
    table = read("# made by\n# x, y and z\n\na,b\n1,2\n# a word\n#f00,4\n")
    assert table.notes == ("lines of comments left out: 1",)
    assert cells(table) == {"a": ["1", "#f00"], "b": [2.0, 4.0]}
    table = read('a,b\n"two\n# lines",2\n#\nx#y,3\n')
    assert cells(table) == {"a": ["two\n# lines", "x#y"], "b": [2.0, 3.0]}
    assert cells(read("# a b\n1 2\n3 4\n")) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    want = {"name": ["foo", "bar"], "2019": [1.0, 3.0], "y": [2.0, 4.0]}
    assert cells(read("##v1\n#name\t2019\ty\nfoo\t1\t2\nbar\t3\t4\n")) == want
    assert cells(read("# of two, one, by me\nname,2019,y\nfoo,1,2\nbar,3,4\n")) == want


@pytest.mark.parametrize(
    "cell",
    "|\u2013|NA|n/a|NaN|null|None|?|-|--|.|..|missing|Missing|#N/A|<NA>|nA|Not Available|\\N|"
    "(null)|(NULL)|#DIV/0!|#REF!|#NAME?".split("|"),
)
def test_missing_values(read, cell):
    table = read(f"a,b,c\n{cell},{cell},1\n2,x,1\n")
    np.testing.assert_array_equal(encoded(table)[:, 0], [2, 2])
    assert cells(table)["b"] == ["", "x"]
    assert cells(read("a,b\nunknown,x\n1,y\n", missing=["unknown"]))["a"][1] == 1.0
    table = read("a,b\n-9.5,7\n1.5,x\n", missing=["-9.5", "7"])  # among numbers, and text
    np.testing.assert_array_equal(table.columns["a"], [np.nan, 1.5])
    assert cells(table)["b"] == ["", "x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv: it is empty"),
        ("\n\n", "data.csv: it is empty"),
        ("a,b\n", "data.csv: there are no rows below the header"),
        ("a,b\n1,2\n\n1,2,3\n", "data.csv: Expected 2 fields in line 4, saw 3"),
        ("a,b\n1,2,3,4\n1,2,3,4\n", "data.csv: rows have more values than the header has columns"),
        ("a,b\n1,2\n1\n", "data.csv, line 3: 1 values, but the header has 2 columns"),
        ("a,,b\n1,2,3\n", "data.csv: column 2 has no name; the names .* to be 'a, b'"),
        (f"a,b\n1,2\n{'x' * 200000},\n3\n", "data.csv, below line 2: field larger than field"),
        ("# x\n", "data.csv: there are no rows below the header"),
        ("a,b,,\n1,2,,\n1,2,,3\n", "data.csv: there are values in a column without a name"),
        ("a,b,a\n1,2,3\n", "data.csv: there are two columns 'a'"),
        ("1,2.5\n3,4\n", "data.csv, line 1: the names of the columns are expected here, but it"),
        ("x,2009,9.7\n3,4,5\n", "line 1: the names .* but it holds numbers: 2009, 9.7"),
        ("39,state,7\n50,private,9\n38,state,8\n", "line 1: the names .* holds numbers: 39, 7"),
        ('a,b\n1,"2\n3,4\n', "data.csv: EOF inside string"),
    ],
)
def test_what_is_no_table_is_refused(read, text, message):
    with pytest.raises(TableError, match=message):
        read(text)


def test_columns_by_name(read):
    table = read(PEOPLE, only=["city", "age"], text=["age"])
    assert list(table.columns) == ["age", "city"] and cells(table)["age"] == ["31", "45", "", "28"]
    assert table.names == ("name", "age", "city", "weight")
    for name, meant in [("City", "city"), ("wieght", "weight"), ("AGE", "age")]:
        with pytest.raises(TableError, match=rf"column '{name}' \(did you mean '{meant}'\?\)"):
            read(PEOPLE, drop=[name])
    with pytest.raises(TableError, match="there is no column 'q'; it has 'name', 'age'"):
        read(PEOPLE, only=["q"])


def test_blocks_of_different_kinds_are_one_column(read):
    """In a large file, pandas reads blocks by themselves: 7 in one, and 007 as text in another."""
    rows = [f"{k % 7},0.5" for k in range(300_000)] + ["x,0.5", "007,1.5"]
    table = read("a,b\n" + "\n".join(rows))
    assert set(cells(table)["a"]) == {*"0123456", "x", "007"}
    assert table.columns["b"].sum() == 150_002


# ---- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value", "unit"),
    [
        ("$12", 12, "$"),
        ("-$12", -12, "$"),
        ("$-12", -12, "$"),
        ("($12.50)", -12.5, "$"),
        ("12 €", 12, "€"),
        ("12\u00a0€", 12, "€"),
        ("EUR 12", 12, "EUR"),
        ("US$1,234.50", 1234.5, "US$"),
        ("£1.5M", 1.5e6, "£"),
        ("45%", 45, "%"),
        ("45 %", 45, "%"),
        ("12 kg", 12, "kg"),
        ("30 km/h", 30, "km/h"),
        ("\u22121.5", -1.5, ""),
        ("1'000", 1000, ""),
        ("12 345", 12345, ""),
        ("1\u202f000.25", 1000.25, ""),
        ("1,234,567", 1234567, ""),
        ("₹12,34,567.50", 1234567.5, "₹"),
        ("1e-3", 1e-3, ""),
        ("+.5", 0.5, ""),
        ("2.", 2, ""),
        ("\uffe51,234.5", 1234.5, "¥"),
        ("12:30", 12.5, "h:mm"),
        ("-1:00:36", -1.01, "h:mm:ss"),
        ("1:30.6", 1.51, "m:ss"),
    ],
)
def test_numbers_as_people_write_them(cell, value, unit):
    number = numerals.written(cell)
    assert number.value(".") == pytest.approx(value, 1e-15) and number.unit == unit


@pytest.mark.parametrize(
    "cell",
    "1_0 0x1 inf ٣ . - city76 2024-01-01 12:3 1:60 10+ <5 1.2.3 1,23,4 3-4 (5 5) --5 $5€ "
    "1½ 1٣".split(),
)
def test_what_is_no_number(cell):
    number = numerals.written(cell)
    assert number is None or number.value(".") is number.value(",") is None


def test_units_are_said_and_needed(read):
    table = read("a,b,c\n$12,45%,1 kg\n$9,4%,2 kg\n7,1%,4 kg\n")
    lines = described(table).lines
    assert lines == ["'a': numbers in $", "'b': numbers in %", "'c': numbers in kg"]
    np.testing.assert_array_equal(encoded(table), [[12, 45, 1], [9, 4, 2], [7, 1, 4]])
    for text, message in [
        ("a\n$12\n€9\n", r"row 1, column 'a': '\$12' is in '\$', but .* values in '€' too"),
        ("a\n12%\n9\n", "'12%' is in '%', but the column has values without a unit too"),
    ]:
        with pytest.raises(TableError, match=message):
            described(read(text))
    assert "3 categories (1st, 2nd, 3rd)" in described(read("a\n" + "1st\n2nd\n3rd\n" * 3)).lines[0]
    columns = described(table).columns
    for text, message in [
        ("a,b,c\n1,0.45,1\n", "column 'b': '0.45' is no number of at most 1e.100 in %"),
        ("a,b,c\n€1,4%,1\n", "column 'a': '€1' is no number"),
    ]:
        with pytest.raises(TableError, match=message):
            _columns.encode(read(text), columns, print)
    np.testing.assert_array_equal(
        _columns.encode(read("a,b,c\n1,4%,1\n"), columns, print), [[1, 4, 1]]
    )


@pytest.mark.parametrize(
    ("text", "mark", "values"),
    [
        ("a;b\n1,5;x\n-2,25e1;y\n3;x\n", ",", [1.5, -22.5, 3]),
        ("a;b\n1.000,5;x\n2,5;y\n7;x\n", ",", [1000.5, 2.5, 7]),
        ("a;b\n1.234;2,5\n2.000;3,5\n7;1,5\n", ",", [1234, 2000, 7]),
        ("a;b\n1.234.567;2\n2.000;3\n7;1\n", ",", [1234567, 2000, 7]),
        ("a;b\n" + "1;7\n" * 60 + "2,5;1.234\n", ",", [*[1] * 60, 2.5]),
        ('a,b\n"1,234",2.5\n"2,000",3.5\n7,1.5\n', ".", [1234, 2000, 7]),
        ('a,b\n"1,234,567",2\n"2,000",3\n7,1\n', ".", [1234567, 2000, 7]),
        ("a,b\n1.234,2\n2.000,3\n7.000,1\n", None, [1.234, 2, 7]),
        ("a,b\n1 234,2\n2 000,3\n7,1\n", None, [1234, 2000, 7]),
    ],
)
def test_the_decimal_mark_is_what_the_table_shows(read, text, mark, values):
    table = read(text)
    assert table.decimal == mark
    np.testing.assert_array_equal(encoded(table)[:, 0], values)


def test_a_comma_that_may_be_either_is_refused(read):
    for numbers in ("1.234;7;12.345", "$1.234;$7;$2.345"):
        with pytest.raises(
            TableError, match=r"row 1, column 'a': '\$?1.234' may .*--decimal or --th"
        ):
            read("a\n" + numbers.replace(";", "\n"))
    for numbers in ("1.234;7;12.34", "1.234;7;0.345", "1.234;1500;2.345", "1.234;2.300;12.345"):
        assert read("a\n" + numbers.replace(";", "\n")).decimal in (None, ".")
    text = 'a,b,c\n"1,234",1.234,x\n"2,000",3.5E0,y\n7,1.100,x\n'
    unclear = text.replace("3.5E0", "3.500")
    assert read(text).decimal == "."
    with pytest.raises(TableError, match=r"row 1, column 'a': '1,234' may .*--decimal or --thous"):
        read(unclear)
    for how, values in [
        ({"decimal": "."}, [1234, 2000, 7]),
        ({"thousands": ","}, [1234, 2000, 7]),
        ({"decimal": ","}, [1.234, 2, 7]),
        ({"thousands": "."}, [1.234, 2, 7]),
    ]:
        np.testing.assert_array_equal(encoded(read(unclear, **how))[:, 0], values)
    assert read(unclear, drop=["a"]).decimal is read(unclear, text=["a"]).decimal is None
    with pytest.raises(TableError, match="',' can't be --decimal and --thousands at once"):
        read(unclear, decimal=",", thousands=",")


def test_both_decimal_marks_in_one_table_are_refused(read):
    with pytest.raises(
        TableError, match=r"'b' has decimal commas \('2,5'\) and column 'a' decimal"
    ):
        read("a;b\n$1.5;2,5\n$2;3\n")
    for text, message in [
        (
            "a;b\n1.5;2,5\n2;3\n",
            "column 'a': '1.5' has a decimal point, while the table has a deci",
        ),
        ("a;b\n1,5;x\n2.5;y\n3;x\n", "row 1, column 'a': '1,5' is no number, unlike 2 other"),
    ]:
        with pytest.raises(TableError, match=message):
            described(read(text))


def test_text_that_looks_like_a_number_with_separators_is_text(read):
    table = read("a;b\nx;2\n10 000;3\nx;3\n10 000;4\n192.168.1;4\n192.168.1;4\n")
    assert described(table).columns[0]["categories"] == ["10 000", "192.168.1", "x"]


def test_digits_with_leading_zeros_are_names(read):
    table = read("zip,n\n01234,1\n98765,2\n01234,3\n98765,4\n")
    assert described(table).lines[0] == (
        "'zip': 2 categories (01234, 98765), codes with leading zeros"
    )
    np.testing.assert_array_equal(encoded(table)[:, 0], [0, 1, 0, 1])
    table = read("zip,n\n,1\n98765,2\n01234,3\n")  # where one is missing, pandas makes floats
    assert cells(table)["zip"] == ["", "98765", "01234"]
    rows = "".join(f"{k:05}.{k},{k / 7}\n" for k in range(9))
    assert cells(read("a,b\n" + rows))["a"] == [float(f"{k}.{k}") for k in range(9)]


def test_truth_values_keep_their_spelling(read):
    assert cells(read("a,b\nTRUE,1\n,2\nFALSE,3\n"))["a"] == ["TRUE", "", "FALSE"]
    assert cells(read("a,b\nTRUE,1\ntrue,2\nFALSE,3\n"))["a"] == ["True", "True", "False"]


def test_numbers_are_exact_and_large_ones_are_numbers(read):
    values = [0.1, 2 / 3, 1.7976931348623157e99, 5e-324, 123456789012345678901234567890.0]
    rng = np.random.default_rng(0)
    values += (rng.normal(size=2000) * 10.0 ** rng.integers(-30, 30, 2000)).tolist()
    table = read("a\n" + "\n".join(map(repr, values)))
    np.testing.assert_array_equal(table.columns["a"], values)
    table = read("id,y\n1152921504606846976,1\n1152921504606846977,2\n1152921504606846978,3\n")
    assert "'id': left out, it names rows: 3 different" in described(table).lines[0]
    table = read("a\n12345678901234567890123\n22345678901234567890123\n")
    np.testing.assert_array_equal(
        encoded(table)[:, 0], [1.2345678901234567890123e22, 2.2345678901234567890123e22]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Sales 2024\nx,y\n1,2\n2,3\n", "row 1.*: 'x' is no number, .*; a title above the header"),
        ("x,y\nkg,m\n1,2\n2,3\n", "row 1, column 'x': 'kg' is no .*, or units below it, are to"),
        ("x,y\n1-,2\n1,2\n2,3\n", "row 1, column 'x': '1-' is no .* as text.$"),
        ("x,c\n1,b\n2,b\n1O3,b\n", "row 3, column 'x': '1O3' is no number, unlike 2 other values"),
        ("x,c\n1,b\n1e999,b\n", "row 2, column 'x': '(inf|1e999)' is no number of at most 1e"),
        ("x,c\n-inf,b\n1,b\n", "row 1, column 'x': '-inf' is no number of at most 1e"),
        ("x,c\n1e101,b\n1,b\n", "row 1, column 'x': '1e.101' is no number of at most 1e"),
    ],
)
def test_columns_that_are_neither_are_refused(read, text, message):
    with pytest.raises(TableError, match=message):
        described(read(text))


# ---- dates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ("2024-01-31", "2024-02-01", 8796),
        ("2024-01-31 06:00", "2024-02-01 00:00", 8796.25),
        ("2024-01-31T06:00:00Z", "2024-02-01T00:00:00+02:00", 8796.25),
        ("2024-01-31 08:00:00,000 +02", "2024-02-01 02:00:00,000 +02", 8796.25),
        ("2024-02", "2024-03", 8797),
        ("31/01/2024", "01/02/2024", 8796),
        ("1/31/2024 6:00 PM", "2/1/2024 11:15 AM", 8796.75),
        ("31.1.2024", "1.2.2024", 8796),
        ("31.01.24", "01.02.24", 8796),
        ("31/12/63", "29/02/64", -13150),
        ("2024/01/31", "2024/02/01", 8796),
        ("31 Jan 2024", "1 Feb 2024", 8796),
        ("Jan 31 2024", "Feb 1 2024", 8796),
        ("January 2024", "February 2024", 8766),
        ("31-Jan-24", "01-Feb-24", 8796),
        ("Jan-31-2024", "Feb-1-2024", 8796),
        ("31/Jan/2024", "01/Feb/2024", 8796),
        ("31JAN2024", "01FEB2024", 8796),
        ("2024-Jan-31", "2024-Feb-01", 8796),
        ("31. January 2024", "1. February 2024", 8796),
        ("1/31/2024, 6:00:00 PM", "2/1/2024, 11:15:00 AM", 8796.75),
        ("31.1.2024, 06:00:00", "1.2.2024, 00:00:00", 8796.25),
        ("2024Q1", "2024Q2", 8766),
        ("2024-q2", "2024-Q1", 8857),
        ("20240131", "20240201", 8796),
        ("31.12.1999", "1.1.2000", -1),
        ("20240131T060000", "20240201T000000", 8796.25),
        ("2024/01", "2024/02", 8766),
        ("Q1 2024", "Q2/2024", 8766),
        ("Wednesday, January 31, 2024", "Thursday, February 1, 2024", 8796),
        ("Wed Jan 31 2024", "Thu Feb 01 2024", 8796),
        ("Wed, 31 Jan 2024 06:00:00", "Thu, 01 Feb 2024 00:00:00", 8796.25),
    ],
)
def test_dates_are_days_since_2000(read, first, second, days):
    table = read(f'day,x\n"{first}",1\n"{second}",2\n"{second}",3\n')
    judged = described(table, fill=False)
    assert "dates, " in judged.lines[0] and _columns.labels(judged.columns)[0] == "day"
    X = _columns.encode(table, judged.columns, print)
    assert X.shape == (3, 2) and X[0, 0] == days
    # Read back by what was stored, whatever the other dates are.
    again = read(f'day,x\n,1\n"{first}",1\nsome,1\n')
    noted = []
    X = _columns.encode(again, judged.columns, noted.append)
    assert X[1, 0] == days and np.isnan(X[[0, 2], 0]).all() and len(noted) == 2


def test_the_season_where_there_is_more_than_one_year(read):
    table = read("day,x\n2023-01-01,1\n2024-02-01,2\n2024-07-02,3\n")
    judged = described(table)
    names = ["day", "day, sine of the year", "day, cosine of the year", "x"]
    assert _columns.labels(judged.columns) == names
    X = _columns.encode(table, judged.columns, print)
    np.testing.assert_allclose(X[:, 1] ** 2 + X[:, 2] ** 2, 1.0)
    np.testing.assert_allclose(X[[0, 2], 1:3], [[0, 1], [0, -1]], atol=0.01)  # January and July
    table = read("day,x\n2020-01-01,1\n2021-01-01,2\n2022-01-01,3\n")
    assert _columns.labels(described(table).columns) == ["day", "x"]  # no season
    assert "2023-01-01 to 2024-07-02 (ISO8601), as days since 2000 with sine" in judged.lines[0]


def test_dates_that_may_be_others_are_refused(read):
    for text, message in [
        ("01/02/2024\n05/12/2024", "'01/02/2024' may have the day or the month first"),
        (
            "01-02-03\n01-05-06",
            "'01-02-03' may have the day or the month or the year first.*year-f",
        ),
        ("31/01/2024\n2024-05-06\n30/01/2024", "row 2, .*'2024-05-06' is no date as %d/%m/%Y, unl"),
        ("31/01/2024\n01/31/2024\n30/01/2024", "'01/31/2024' is no date as %d/%m/%Y, unlike 2"),
        ("2024-01-01T10:00Z\n2024-01-01T10:00", "row 2, .*has no time zone, but others"),
    ]:
        with pytest.raises(TableError, match=message):
            described(read(f"day\n{text}\n"))
    table = read("day,x\n01/02/2024,1\n05/12/2024,2\n")
    for order, days in [("day-first", 8797), ("month-first", 8767)]:
        assert encoded(table, order=order)[0, 0] == days
    table = read("day,x\n01-02-03,1\n01-05-06,2\n")
    for order, days in [("day-first", 1127), ("month-first", 1097), ("year-first", 399)]:
        assert encoded(table, order=order)[0, 0] == days
    assert described(read("a\n" + "10-19\n20-29\n" * 3)).lines == [
        "'a': 2 categories (10-19, 20-29)"
    ]
    assert not _dates.is_compact(np.array([20240101.0, 20240132.0]))
    with pytest.raises(TableError, match="the target 'day' holds dates"):
        _columns.target(read("day\n2024-01-01\n2024-01-02\n"), "day", False)


# ---- what columns are --------------------------------------------------------------------------


def test_numbers_and_categories(read):
    table = read("x,c,d\n1,u,yes\n2,w,no\n3,v,yes\n4,u,no\n5,w,no\n6,v,no\n")
    judged = described(table, fill=False)
    assert judged.columns == [
        {"name": "x", "fill": None},
        {"name": "c", "categories": ["u", "v", "w"], "fill": None},
        {"name": "d", "categories": ["no", "yes"], "fill": None},
    ]
    assert _columns.labels(judged.columns) == ["x", "c=u", "c=v", "c=w", "d=yes"]
    X = _columns.encode(table, judged.columns, print)
    assert X.flags.c_contiguous and X.dtype == np.float64
    np.testing.assert_array_equal(X[:3], [[1, 1, 0, 0, 1], [2, 0, 0, 1, 0], [3, 0, 1, 0, 1]])


def test_columns_of_no_use_are_named_and_left_out(read):
    rows = [f"p{k},{k},{1000 + k},{k % 2},7,,{k},w{k % 40},01" for k in range(60)]
    table = read("name,passenger_id,year,x,same,void,a,word,code\n" + "\n".join(rows))
    judged = described(table)
    assert [column["name"] for column in judged.columns] == ["year", "x", "a"]
    assert judged.lines == [
        "'name': left out, it names rows: 60 different values in 60 rows, such as p0 "
        "(--categorical takes it as text)",
        "'passenger_id': left out, it names rows: 60 different values in 60 rows, such as 0 "
        "(--categorical takes it as text)",
        "'year': numbers",
        "'x': numbers",
        "'same': left out, it is constant (7)",
        "'void': left out, it is empty",
        "'a': numbers",
        "'word': left out, it names rows: 40 different values in 60 rows, such as w0 "
        "(--categorical takes it as text)",
        "'code': left out, it is constant (01)",
    ]
    judged = described(table, text=["word"])
    assert "'word': 40 categories (w0, w1, w10, w11, w12, …)" in judged.lines
    assert (
        "it is empty in the rows to fit"
        in described(read("a,b\n,1\n3,2\n"), rows=np.array([0])).lines[0]
    )
    lines = described(read("a,b\n1,7\n3,7\n"), rows=np.array([0])).lines
    assert lines[0] == "'a': left out, it is constant in the rows to fit (1)"
    assert lines[1] == "'b': left out, it is constant (7)"


def test_many_categories_are_the_most_frequent_ones_and_others(read):
    table = read("c\n" + "".join(f"w{k}\n" for k in range(130) for _ in range(2 if k < 3 else 3)))
    judged = described(table)
    assert "130 categories (w0, " in judged.lines[0] and "the 100 most freq" in judged.lines[0]
    assert len(judged.columns[0]["categories"]) == 100
    X = _columns.encode(table, judged.columns, print)
    assert set(X.sum(axis=1)) == {0.0, 1.0} and not X[:6].any() and X[6:9].any()


def test_missing_values_are_refused_with_row_and_column(read):
    message = r"data\.csv, row 3, column 'age': the value is missing, as in 1 of 4 rows; --impute"
    with pytest.raises(TableError, match=message):
        described(read(PEOPLE), fill=False)


def test_missing_values_are_filled_in_by_the_rows_to_fit_and_marked(read):
    table = read(
        "x,c,y,d\n1,u,1,2024-01-01\n,v,2,\n3,,3,2024-01-03\n9,v,4,\n9,v,,2024-01-09\n,u,5,\n"
    )
    judged = described(table, rows=np.array([0, 1, 2, 5]))
    x, c, y, d = judged.columns
    assert x == {"name": "x", "fill": 2.0, "missing": True}
    assert c == {"name": "c", "categories": ["u", "v"], "fill": "u", "missing": True}
    assert y["fill"] == 2.75 and not y["missing"] and d["fill"] == 8767.0
    assert judged.lines[0] == "'x': numbers; 2 missing, filled with the mean, 2 and marked"
    assert judged.lines[2] == "'y': numbers; 1 missing, filled with the mean, 2.75"
    noted = []
    X = _columns.encode(table, judged.columns, noted.append)
    np.testing.assert_array_equal(X[:, 0], [1, 2, 3, 9, 9, 2])
    np.testing.assert_array_equal(X[:, 1], [0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(
        X[:, 2:5], [[0, 0, 1], [1, 0, 2], [0, 1, 3], [1, 0, 4], [1, 0, 2.75], [0, 0, 5]]
    )
    assert len(noted) == 4 and "'d': 3 of 6 are missing; 2024-01-02 stands for them" in noted
    names = ["x", "x is missing", "c=v", "c is missing", "y", "d", "d is missing"]
    assert _columns.labels(judged.columns) == names


def test_data_that_do_not_fit_the_columns(read):
    columns = described(read("x,c\n1,u\n2,v\n3,u\n4,v\n"), fill=False).columns
    with pytest.raises(TableError, match="there is no column 'c'; it has 'x', 'd'"):
        _columns.encode(read("x,d\n1,u\n"), columns, print)
    with pytest.raises(TableError, match="row 1, column 'x': 'one' is no number"):
        _columns.encode(read("x,c\none,u\n,u\n"), columns, print)
    noted = []
    X = _columns.encode(read("x,c,z\n1,v,0\n,U,0\nq,,0\n1e200,u,0\n"), columns, noted.append)
    np.testing.assert_array_equal(X, [[1, 1], [np.nan, np.nan], [np.nan, np.nan], [np.nan, 0]])
    mean = "the mean of the rows that were fitted stands for them"
    assert noted == [
        f"'x': 2 of 4 values are no number ('q' in row 3); {mean}",
        f"'x': 1 of 4 are missing; {mean}",
        f"'c': 1 of 4 values are none of the 2 that were fitted ('U' in row 2); {mean}",
        f"'c': 1 of 4 are missing; {mean}",
    ]


def test_text_where_dates_were_fitted_is_read_where_it_can_be_one_date_alone(read):
    rule = {"name": "day", "fill": None, "missing": False, "date": None, "season": False}
    noted = []
    for text, days in [("2024-02-03", 8799), ("31/01/2024", 8796)]:
        assert _columns.encode(read(f"day\n{text}\n"), [rule], noted.append) == [[days]]
    with pytest.raises(TableError, match="'03/02/2024' is no date as 2024-12-31"):
        _columns.encode(read("day\n03/02/2024\n"), [rule], noted.append)
    assert noted == []


def test_categories_are_those_of_other_kinds_of_files(read):
    """Truth values and whole numbers, which each writes in its way."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    fitted = "flag,k,x\nTRUE,1,1\nFALSE,2,2\nTRUE,3,3\nFALSE,1,4\n"
    judged = described(read(fitted, text=["k"]), text=["k"])
    want = _columns.encode(
        read("flag,k,x\nTRUE,2,1\nFALSE,1,2\n", text=["flag", "k"]), judged.columns, print
    )
    frame = pandas.DataFrame({"flag": [True, False], "k": [2.0, 1.0], "x": [1, 2]})
    files = io.BytesIO(), io.BytesIO()
    frame.to_parquet(files[0])
    frame.to_excel(files[1], index=False)
    for data in (*(file.getvalue() for file in files), "flag,k,x\ntrue,2.0,1\nFalse,1.0,2\n"):
        noted = []
        found = _columns.encode(read(data, text=["flag", "k"]), judged.columns, noted.append)
        np.testing.assert_array_equal(found, want)
        assert not noted
    # Those that were fitted stay apart.
    judged = described(read("k,x\n1,1\n1.0,2\n2,3\n1,4\n1.0,5\n", text=["k"]), text=["k"])
    found = _columns.encode(read("k,x\n1.0,1\n1,2\n", text=["k"]), judged.columns, print)
    assert (found[0] != found[1]).any()


def test_columns_that_are_not_read_may_have_any_names(read):
    table = read("q,q,,a,b\n1,2,7,4,5\n1,2,7,5,6\n", only=["b", "a"])
    assert cells(table) == {"a": [4.0, 5.0], "b": [5.0, 6.0]}
    assert cells(read("q,q,a\n1,2,4\n1,2,5\n", drop=["q"])) == {"a": [4.0, 5.0]}
    with pytest.raises(TableError, match="there are two columns 'q'"):
        read("q,q,a\n1,2,4\n", only=["q"])
    file = io.BytesIO()
    frame = pandas.DataFrame([["q", "q", "a"], [1, 2, 4], [1, 2, 5]])
    frame.to_excel(file, index=False, header=False)
    assert cells(read(file.getvalue(), "data.xlsx", only=["a"])) == {"a": [4.0, 5.0]}


def test_numbers_of_rows_that_pandas_wrote_more_than_once(read):
    frame = pandas.DataFrame({"a": [0.5, 1.0, 2.5, 3.0]})
    for names in (["", "0"], ["", "0", "0.1"], ["", "0", "0.1", "0.2"]):
        text = frame.to_csv()
        table = read(text)
        assert {*table.columns} == {"a", *(f"Unnamed: {name}" for name in names[1:])}
        assert [column["name"] for column in described(table).columns] == ["a"]
        frame = pandas.read_csv(io.StringIO(text))


def test_rules_of_0_1_0_are_applied(read):
    columns = [
        {"name": "zip", "categories": ["10", "20"], "fill": None},
        {"name": "x", "fill": 2.5},
        {"name": "c", "categories": ["u", "v", "w"], "fill": "v"},
    ]
    table = read("zip,x,c\n20,1,u\n10,,\n", text=_columns.text_of(columns))
    X = _columns.encode(table, columns, lambda _: None)
    np.testing.assert_array_equal(X, [[1, 1, 1, 0, 0], [0, 2.5, 0, 1, 0]])


def test_arrays_are_judged_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    columns = {"a": np.array([1.0, 2.0, 4.0]), "b": np.array([3.0, 3.0, 4.0])}
    table = _table.of_arrays(columns, "the data", ["b"])
    np.testing.assert_array_equal(encoded(table, text=["b"]), [[1, 0], [2, 0], [4, 1]])
    assert described(table, text=["b"]).lines == ["'a': numbers", "'b': 2 categories (3, 4)"]
