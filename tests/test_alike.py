"""Rows by their numbers: their order and which are alike, as `numpy.unique`; a bit for each."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp._parts import Marked
from fastbp._training import alike
from fastbp._training.alike import Alike

RNG = np.random.default_rng(0)
TABLES = {
    "distinct": RNG.standard_normal((500, 3)),
    "ties": RNG.integers(-2, 3, (500, 4)) * 1.0,
    "alike": np.ones((40, 2)),
    "constant first": np.column_stack([np.ones(300), RNG.integers(0, 200, 300)]),
    "zeros of both signs": np.copysign(0.0, RNG.standard_normal((50, 2))),
    "one": np.ones((1, 2)),
    "none": np.ones((0, 2)),
}


@pytest.mark.parametrize("most", [1, 7, 1 << 18])
@pytest.mark.parametrize("name", TABLES)
def test_it_is_that_of_unique_rows(monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    monkeypatch.setattr(alike, "_SORTED", most)
    table = TABLES[name]
    rows = np.arange(len(table), dtype=np.int32)[:: 1 if len(table) < 3 else 2]
    found = Alike.of(rows.copy(), [column.__getitem__ for column in table.T])
    first, like = np.unique(table[rows], axis=0, return_index=True, return_inverse=True)[1:]
    np.testing.assert_array_equal(found.order[found.begins], rows[first])
    of_each = np.full(len(table), -1)
    of_each[rows] = like.ravel()
    np.testing.assert_array_equal(found.each(np.arange(len(first)), len(table)), of_each)
    for some in found.blocks(7):
        number = like.ravel()[np.searchsorted(rows, found.order[some])]
        np.testing.assert_array_equal(found.numbers(some), number - number[0])
    assert sum(some.stop - some.start for some in found.blocks(7)) == len(rows)


@pytest.mark.parametrize("most", [1, 7, 1 << 18])
def test_many_alike_are_parted(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(alike, "_SORTED", most)
    found = Alike.of(np.arange(15), [np.repeat([2.0, 7.0, 3.0, 1.0], [4, 5, 1, 5]).__getitem__])
    found.part(5)
    assert np.flatnonzero(found.begins).tolist() == [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("part", [0.0, 0.001, 0.8, 1.0])
@pytest.mark.parametrize("B", [1, 7, 4096, 4097, 200_003])
def test_marked_rows_are_those_of_the_mask(B: int, part: float) -> None:
    rng = np.random.default_rng(B)
    mask = rng.random(B) < part
    rows, marked = np.flatnonzero(mask), Marked(mask)
    assert len(marked) == len(rows)
    np.testing.assert_array_equal(marked, rows)
    for begin, end, step in rng.integers((-3, 0, 1), (B + 3, B + 5, 9000), (40, 3)):
        np.testing.assert_array_equal(marked[begin:end], rows[begin:end])
        np.testing.assert_array_equal(marked[begin:end:step], rows[begin:end:step])
    order = rng.permutation(len(rows))
    np.testing.assert_array_equal(marked[order], rows[order])
