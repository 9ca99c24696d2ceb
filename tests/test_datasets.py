"""The bundled data are those that scikit-learn ships, and can be read as documented."""

from importlib.resources import files

import numpy as np
import sklearn.datasets
from numpy.testing import assert_allclose, assert_array_equal

from fastbp.datasets import load_diabetes


def test_equal_to_the_copy_of_scikit_learn():
    X, t, _ = load_diabetes()
    theirs = sklearn.datasets.load_diabetes(scaled=False)
    # The files of older releases hold some numbers rounded in the last of 17 digits.
    assert_allclose(X, theirs.data, rtol=4e-16, atol=0, strict=True)
    assert_array_equal(t, theirs.target, strict=True)


def test_form():
    X, t, names = load_diabetes()
    assert X.shape == (442, 10) and t.shape == (442,) and len(names) == 10
    assert all(isinstance(name, str) for name in names)
    for array in (X, t):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous and array.flags.owndata and array.flags.writeable


def test_each_call_gives_arrays_of_its_own():
    X, t, _ = load_diabetes()
    X[:], t[:] = 0, 0
    assert load_diabetes()[0].all() and load_diabetes()[1].all()


def test_provenance_lies_beside_the_data():
    text = files("fastbp.datasets").joinpath("diabetes.txt").read_text(encoding="ascii")
    assert "doi:10.1214/009053604000000067" in text
    for name in load_diabetes()[2]:
        assert f"\n    {name} " in text
