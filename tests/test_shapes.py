"""Every call at shapes that Hypothesis draws: the reference's numbers, to the last bit.

Weights, data and targets are small integers, activations are polynomials by pieces and sample
weights add up to a power of two: all results are exact in any order of summation, in float32 too.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import reference

EXACT = ("relu", "identity", "square", "one")


def drawn(largest_batch, largest_width):
    """Return the decorator of a test of (N, H, B, dtype, seed), which `problem` takes."""
    widths = st.integers(1, largest_width)
    cases = given(
        st.tuples(
            widths,
            widths,
            st.integers(1, largest_batch),
            st.sampled_from(["float64", "float32"]),
            st.integers(0, 1000),
        )
    )
    return lambda test: settings(derandomize=True, max_examples=50, deadline=None)(cases(test))


def integers(rng, *shape, share=1.0):
    """Return numbers out of -1, 0 and 1, two thirds of this share of them other than 0."""
    return rng.integers(-1, 2, shape) * (rng.random(shape) < share)


def problem(case):
    """Return a network, w, X, t, sample weights and a direction of w."""
    N, H, B, dtype, seed = case
    rng = np.random.default_rng(seed)
    activations = [str(v) for v in rng.choice(EXACT, H)]
    net = fastbp.Network(N, activations=activations, output="identity", dtype=dtype)
    # About four terms a sum, however wide the layer: numbers stay far below 2^24.
    a, W = integers(rng, H, share=6 / H), integers(rng, H, N, share=6 / N)
    c = rng.integers(0, 3, B)
    c[rng.integers(B)] += 2 ** int(c.sum()).bit_length() - c.sum()
    arrays = (
        np.concatenate([a, W.ravel()]),
        integers(rng, B, N),
        integers(rng, B),
        c,
        integers(rng, net.n_params, share=0.5),
    )
    return net, *(array.astype(dtype) for array in arrays)


def same(got, want):
    if isinstance(want, tuple):
        assert isinstance(got, tuple) and len(got) == len(want)
        for each in zip(got, want, strict=True):
            same(*each)
    else:
        np.testing.assert_array_equal(got, want)


def agree(net, name, *arguments, **options):
    """Compare a call with the reference's of that name, in float64."""
    exact = [array.astype(np.float64) for array in arguments]
    others = {k: v if v is True else v.astype(np.float64) for k, v in options.items()}
    got = getattr(net, name)(*arguments, **options)
    same(got, getattr(reference, name)(net, *exact, **others))


@drawn(1300, 60)
def test_first_order(case):
    net, w, X, t, c, _ = problem(case)
    agree(net, "value", w, X)
    agree(net, "value_and_grad", w, X[-1])
    agree(net, "vjp", w, X, t)
    agree(net, "vjp", w, X, t, inputs=True)
    agree(net, "per_sample_grad", w, X)
    agree(net, "input_grad", w, X)
    agree(net, "loss_and_grad", w, X, t, sample_weight=c)


@drawn(1300, 60)
def test_second_order(case):
    net, w, X, t, c, p = problem(case)
    agree(net, "jvp", w, X, p)
    agree(net, "jvp", w, X, p, dX=X[::-1].copy())
    agree(net, "input_hvp", w, X, X)
    agree(net, "hvp", w, X, t, p, sample_weight=c)
    agree(net, "gauss_newton_product", w, X, t, p, sample_weight=c)


@drawn(600, 20)
def test_matrix(case):
    net, w, X, t, c, _ = problem(case)
    agree(net, "gauss_newton", w, X, t, sample_weight=c)


@drawn(1300, 60)
def test_objective(case):
    net, w, X, t, c, p = problem(case)
    bound = net.objective(X, t, sample_weight=c, threads=2)
    same(bound(w), net.loss_and_grad(w, X, t, sample_weight=c))
    same(bound.hvp(w, p), net.hvp(w, X, t, p, sample_weight=c))
    same(bound.gauss_newton_product(w, p), net.gauss_newton_product(w, X, t, p, sample_weight=c))
