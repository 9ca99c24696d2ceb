"""Activations over blocks of numbers: the loops in stages beside those of single numbers."""

import ctypes
import math

import numpy as np
import pytest
from support import LIMITS

import fastbp
from fastbp.activations import NAMES, get_activation
from fastbp.kernels.calls import units
from fastbp.kernels.scalar.stages import cut

DTYPES = (np.float64, np.float32)
MOST = 259  # numbers: more than two of the stretches that a block works on at a time


@fastbp.activation
def of_two_arguments(z):
    return math.exp(-z * z) + math.tanh(0.5 * z)


@fastbp.activation
def of_many(z):
    return math.exp(-abs(z)) + math.tanh(0.3 * z) + math.expm1(-z * z) + math.exp(math.tanh(z))


@fastbp.activation
def nested(z):
    return math.exp(-math.exp(-abs(z)))


OWN = (of_two_arguments, of_many, nested)
CUT = [function for function in map(get_activation, NAMES) if cut(function.source(1))]


def run(function, order, x):
    unit = units.block(function, order, x.dtype)
    block = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(unit.address)
    out = [x.copy(), np.full_like(x, 7.0), np.full_like(x, 7.0)]
    block(*(part.ctypes.data for part in out), x.size)
    return out[: order + 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [*CUT, *OWN], ids=lambda function: function.name)
def test_place_in_a_block_does_not_matter(function, dtype):
    rng = np.random.default_rng(0)
    x = (3.0 * rng.normal(size=MOST)).astype(dtype)
    x[[3, -1]], x[[5, -2]] = np.nan, [1e30, -1e30]
    for order in (0, 1, 2) if function.name == "tanh" else (1,):
        alone = np.array([run(function, order, x[k : k + 1]) for k in range(x.size)])[:, :, 0]
        for n in range(1, MOST + 1):
            np.testing.assert_array_equal(run(function, order, x[:n]), alone[:n].T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", OWN, ids=lambda function: function.name)
def test_blocks_equal_the_text_in_numpy(function, dtype):
    x = np.random.default_rng(1).normal(size=MOST).astype(dtype)
    limit = LIMITS[x.dtype.name]
    for order in (0, 1, 2):
        want = function.evaluate(order, x.astype(np.float64))
        for got, exact in zip(run(function, order, x), want, strict=True):
            np.testing.assert_allclose(got, exact, limit, limit)


def test_what_is_cut():
    assert len(CUT) > 6
    assert cut(get_activation("relu").source(1)) is None
    assert cut(get_activation("erf").source(1)) is None  # shares its exponential in one loop
    assert cut(get_activation("tanh").source(1)).n == 1
    assert cut(of_two_arguments.source(0)).n == 2
    assert cut(of_many.source(0)).n == 2
    stages = cut(nested.source(1))
    assert stages.n == 1
    assert "exp(" in "".join(stages.back)  # the outer one stays
