"""CSV files to the inputs of a network: as people have them, or refused with line and column."""

import numpy as np
import pytest

from fastbp._cli import columns as _columns
from fastbp._cli import table as _table
from fastbp._cli.table import TableError, parse

PEOPLE = """name,age,city,weight
Ann,31,Oslo,60.5
Bob,45,Rome,
Cid,,Rome,82
Dee,28,Bern,71e0
"""


def table(text=PEOPLE):
    return parse(text, "data.csv")


def described(given, names, **options):
    return _columns.describe(given, names, **({"rows": range(len(given.cells))} | options))


# ---- text to cells ---------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_newlines_and_byte_order_marks(tmp_path, delimiter, newline, encoding):
    path = tmp_path / "data.csv"
    text = PEOPLE.replace(",", delimiter).replace("\n", newline)
    path.write_bytes(text.encode(encoding))
    read = _table.read(path)
    assert read.names == ("name", "age", "city", "weight")
    assert read.cells == table().cells
    assert read.cells[2] == ("Cid", "", "Rome", "82")
    assert read.lines == (2, 3, 4, 5)


def test_delimiter_is_not_guessed_from_what_is_in_quotes():
    read = table('a;b\n"1,2,3,4";5\n"x,y,z,u";6\n')
    assert read.names == ("a", "b") and read.cells == (("1,2,3,4", "5"), ("x,y,z,u", "6"))


def test_the_line_that_tells_excel_the_delimiter():
    read = table("sep=;\na;b\n1,5;2\n")
    assert read.names == ("a", "b") and read.number(read.cells[0][0]) == 1.5
    assert read.lines == (3,)


@pytest.mark.parametrize("cell", ["1.000,5", "1'000", "12 345", "-1.234.567", "1\u202f000,25"])
def test_thousands_separators_are_named(cell):
    given = table(f"a;b\n1,5;2\n{cell};3\n")
    with pytest.raises(TableError, match=r"line 3, column 'a': .* thousands separators"):
        described(given, ["a"])
    assert described(given, ["a"], text=["a"])[0]["categories"] == sorted(["1,5", cell])


def test_text_that_looks_like_a_number_with_separators_is_text():
    given = table("a;b\nx;2\n10 000;3\nx;3\n10 000;4\n192.168.1;4\n")
    assert described(given, ["a"])[0]["categories"] == ["10 000", "192.168.1", "x"]


def test_one_column_is_a_table():
    assert table("a\n1\n2\n").column("a") == ["1", "2"]


def test_quotes_spaces_blank_lines_and_lines_of_rows():
    read = table('\n"a, 1", b\n\n"two\nlines", 1 \n , \n  "x ""y""",2\n')
    assert read.names == ("a, 1", "b")
    assert read.cells == (("two\nlines", "1"), ('x "y"', "2"))
    assert read.lines == (4, 7)


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "NaN", "null", "None", "?", " ", "#N/A", "<NA>"])
def test_missing_values(cell):
    assert table(f"a,b\n{cell},1\n").cells == (("", "1"),)


def test_row_numbers_without_a_name_are_left_out():
    read = table(",a,b\n0,5,6\n1,7,8\n")
    assert read.names == ("a", "b") and read.cells == (("5", "6"), ("7", "8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv: it is empty"),
        ("\n\n", "data.csv: it is empty"),
        ("a,b\n", "data.csv: there are no rows below the header"),
        ("a,b\n1,2\n\n1,2,3\n", "data.csv, line 4: 3 values, but the header has 2 columns"),
        ("a,b\n1,2\n1\n", "data.csv, line 3: 1 values, but the header has 2 columns"),
        ("a,,b\n1,2,3\n", "data.csv, line 1: column 2 has no name"),
        (",a,\n1,2,3\n", "data.csv, line 1: column 3 has no name"),
        ("a,b,a\n1,2,3\n", "data.csv, line 1: there are two columns 'a'"),
        ("1,2.5\n3,4\n", "data.csv, line 1: the names of the columns are expected here, but it"),
        ('a,b\n1,"2\n3,4\n', "data.csv, line 2: unexpected end of data"),
        ('a,b\n1,2\n"x"y,2\n', "data.csv, line 3: ',' expected after '\"'"),
        ("a,b\n1,\0\n", "data.csv: this is no text"),
    ],
)
def test_what_is_no_table_is_refused(text, message):
    with pytest.raises(TableError, match=message):
        table(text)


def test_other_encodings_are_refused_by_name_or_line(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("a,b\n1,2\né,3\n".encode("latin-1"))
    with pytest.raises(TableError, match=r"data\.csv, line 3: the byte 0xe9 is no UTF-8"):
        _table.read(path)
    path.write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(TableError, match=r"data\.csv: this is UTF-16"):
        _table.read(path)
    with pytest.raises(FileNotFoundError):
        _table.read(tmp_path / "none.csv")


# ---- cells to numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1", 1.0), ("-1.5", -1.5), ("+.5", 0.5), ("2.", 2.0), ("1e-3", 1e-3), ("1E5", 1e5)]
    + [(cell, None) for cell in ("1_0", "0x1", "inf", "1,5", "1 2", "٣", "1e", ".", "-", "1.2.3")],
)
def test_what_is_a_number(cell, number):
    assert table().number(cell) == number


def test_decimal_comma_where_the_delimiter_is_none():
    read = table("a;b\n1,5;x\n-2,25e1;y\n3;x\n")
    np.testing.assert_array_equal(_columns.numbers(read, "a"), [1.5, -22.5, 3.0])
    assert table("a;b\n1.5;x\n").number("1.5") == 1.5


def test_both_decimal_signs_in_one_file_are_refused():
    read = table("a;b\n1,5;x\n1.500;y\n2.5;z\n")
    with pytest.raises(TableError, match="line 2, column 'a': '1,5' is no number, unlike 2 other"):
        described(read, ["a"])


def test_numbers_and_categories():
    read = table("x,c,d\n1,u,yes\n2,w,no\n3,v,yes\n4,u,no\n")
    columns = described(read, ["d", "x", "c"])
    assert columns == [
        {"name": "d", "categories": ["no", "yes"], "fill": None},
        {"name": "x", "fill": None},
        {"name": "c", "categories": ["u", "v", "w"], "fill": None},
    ]
    assert _columns.labels(columns) == ["d=yes", "x", "c=u", "c=v", "c=w"]
    X = _columns.encode(read, columns)
    assert X.flags.c_contiguous and X.dtype == np.float64
    np.testing.assert_array_equal(
        X, [[1, 1, 1, 0, 0], [0, 2, 0, 0, 1], [1, 3, 0, 1, 0], [0, 4, 1, 0, 0]]
    )


def test_other_columns_of_the_table_do_not_matter():
    columns = described(table("x,c\n1,u\n2,w\n"), ["c", "x"])
    X = _columns.encode(table("extra,c,x\n?,w,9\n"), columns)
    np.testing.assert_array_equal(X, [[1, 9]])


def test_numbers_taken_as_text():
    columns = described(table("zip,y\n10,1\n20,2\n10,3\n"), ["zip"], text=["zip"])
    assert columns[0]["categories"] == ["10", "20"]


def test_missing_values_are_refused_with_line_and_column():
    read = table()
    message = (
        r"data\.csv, line 4, column 'age': the value is missing \(a model of `train --impute mean`"
    )
    with pytest.raises(TableError, match=message):
        _columns.encode(read, described(read, ["age"]))


def test_missing_values_get_the_mean_or_the_most_frequent_of_the_rows_to_fit():
    read = table("x,c\n1,u\n,v\n3,\n100,v\n100,v\n,u\n")
    columns = described(read, ["x", "c"], rows=[0, 1, 2, 5], fill=True)
    assert columns[0] == {"name": "x", "fill": 2.0}
    assert columns[1] == {"name": "c", "categories": ["u", "v"], "fill": "u"}
    np.testing.assert_array_equal(
        _columns.encode(read, columns), [[1, 0], [2, 1], [3, 0], [100, 1], [100, 1], [2, 0]]
    )


def test_categories_of_rows_that_are_not_fitted_are_known():
    read = table("c,y\nu,1\nv,2\nw,3\nu,4\n")
    assert described(read, ["c"], rows=[0, 1])[0]["categories"] == ["u", "v", "w"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,c\n1,b\n2,b\n1O3,b\n", "line 4, column 'x': '1O3' is no number, unlike 2 other values"),
        ("x,c\na,b\nb,b\n7,b\n", "line 4, column 'x': '7' is a number, unlike 2 other values"),
        ("x,c\n1,b\n1e999,b\n", "line 3, column 'x': '1e999' is no finite number"),
        ("x,c\n,1\nNA,2\n", "data.csv: column 'x' is empty; leave it out"),
    ],
)
def test_columns_that_are_neither_are_refused(text, message):
    read = table(text)
    with pytest.raises(TableError, match=message):
        _columns.encode(read, described(read, ["x"]))


@pytest.mark.parametrize(("values", "rows"), [(101, 300), (5, 5)])
def test_text_that_names_rows_is_refused(values, rows):
    read = table("id,y\n" + "".join(f"p{k % values},1\n" for k in range(rows)))
    message = f"column 'id' is text with {values} different values in {rows} rows"
    with pytest.raises(TableError, match=message):
        described(read, ["id"])


def test_data_that_do_not_fit_the_columns_are_refused():
    columns = described(table("x,c\n1,u\n2,v\n"), ["x", "c"])
    for text, message in [
        ("x,d\n1,u\n", "there is no column 'c'; it has 'x', 'd'"),
        ("x,c\n1,u\n1,U\n", "line 3, column 'c': 'U' is none of the values to fit, which are 'u'"),
        ("x,c\none,u\n", "line 2, column 'x': 'one' is no finite number"),
        ("x,c\n1,u\n,u\n", "line 3, column 'x': the value is missing"),
    ]:
        with pytest.raises(TableError, match=message):
            _columns.encode(table(text), columns)
