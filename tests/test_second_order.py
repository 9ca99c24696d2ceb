"""Directional derivatives and products with second derivatives, from the compiled kernels."""

import itertools
from dataclasses import replace

import numpy as np
import oracle
import pytest
from ledger import compare
from support import (
    COMPLEX,
    DIRECTIONAL,
    DTYPES,
    HEADS,
    LIMITS,
    OUTPUTS,
    SCALES,
    UNITS,
    agree,
    agree_calls,
    case_of,
    complex_step,
    outputs_for,
    random_case,
    spec,
)

import fastbp
from fastbp import reference
from fastbp._rounding import size_of
from fastbp.activations import get_activation, softmax
from fastbp.losses import NAMES as LOSSES

SMOOTH = ("squared", "log_cosh", "poisson", "cross_entropy", "huber")
EDGES = [(1, 1, 1), (1, 6, 9), (6, 1, 9), (6, 7, 1), (4, 5, 300)]  # (N, H, B)


def agree_all(case, dtype, losses=("squared",)):
    """Compare every call along a direction with the reference."""
    agree_calls(case.net.network(dtype), case.astype(dtype), DIRECTIONAL, losses)


# --- The reference's values -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_every_loss_at_every_scale(shape, dtype):
    for loss, scale in itertools.product(LOSSES, SCALES):
        case = random_case([33, *shape], *shape, scale=scale, outputs=outputs_for(loss))
        agree_all(case, dtype, [loss])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_batch_up_to_two_panels(dtype):
    for B in range(1, 98):
        agree_all(random_case([35, B], 3, 5, B, activations=("tanh", "softplus", "sin")), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", SMOOTH)
def test_gauss_newton(loss, dtype):
    for shape in ((1, 1, 1), (3, 5, 1), (1, 9, 40), (9, 1, 40), (4, 6, 300)):
        case = random_case([37, *shape], *shape, outputs=outputs_for(loss)).astype(dtype)
        net, args = case.net.network(dtype), (case.w, case.X, case.t)
        for c in (None, case.c):
            mean, g, G = agree(net, "gauss_newton", *args, loss=loss, sample_weight=c)
            np.testing.assert_array_equal(G, G.T)
            assert G.dtype == g.dtype == dtype
            again, again_g = net.loss_and_grad(*args, loss=loss, sample_weight=c)
            assert mean == pytest.approx(again, rel=LIMITS[dtype])
            compare("gradient", g, again_g, 10.0 * LIMITS[dtype])
            eigenvalues = np.linalg.eigvalsh(G.astype(np.float64))
            assert eigenvalues.min() >= -10.0 * np.finfo(dtype).eps * eigenvalues.max()


# --- Oracles that know nothing of the chain rule --------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "log_cosh", "poisson"])
@pytest.mark.parametrize("seed", range(20))
def test_complex_step(seed, loss):
    rng = np.random.default_rng([38, seed])
    N, H, B = (int(n) for n in rng.integers(1, 12, 3))
    outputs = [name for name in outputs_for(loss) if name in COMPLEX]
    kwargs = {"scale": SCALES[seed % 3], "activations": COMPLEX, "outputs": outputs}
    case = random_case([39, seed], N, H, B, **kwargs)
    net, kernel, (w, X, t) = case.net, case.net.network(), (case.w, case.X, case.t)

    def gradient(w):
        return reference.loss_and_grad(net, w, X, t, loss=loss, sample_weight=case.c)[1]

    def close(want, call, *args, **options):
        size = size_of(getattr(reference, call), net, w, X, *args, **options).max()
        got = getattr(kernel, call)(w, X, *args, **options)
        compare("complex step", got, want, UNITS * float(np.finfo(float).eps), size)

    want = complex_step(gradient, w, case.p)
    close(want, "hvp", t, case.p, loss=loss, sample_weight=case.c)
    want = complex_step(lambda X: reference.input_grad(net, w, X), X, case.dX)
    close(want, "input_hvp", case.dX)
    want = complex_step(lambda e: reference.value(net, w + e * case.p, X + e * case.dX), 0.0, 1.0)
    close(want, "jvp", case.p, dX=case.dX)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy", "log_cosh"])
def test_values_to_50_digits(loss):
    output = "logistic" if loss == "cross_entropy" else "softplus"
    net = spec(2, ("gelu", "mish"), output)
    case = random_case(40, 2, 2, 2)
    w, X, t, c, p = case.w, case.X, case.t, case.c, case.p
    w, X, t, c, p, dX = (oracle.exact(v) for v in (w, X, t, c, p, case.dX))
    kernel = net.network()
    H = oracle.curvature(lambda w: oracle.mean_loss(net, w, X, t, c, loss), w, p)
    got = kernel.hvp(case.w, case.X, case.t, case.p, loss=loss, sample_weight=case.c)
    compare("mpmath", got, H.astype(float), 1e-13)
    rows = kernel.input_hvp(case.w, case.X, case.dX)
    ydot = kernel.jvp(case.w, case.X, case.p)
    for b in range(2):
        want = oracle.curvature(lambda x: oracle.value(net, w, x), X[b], dX[b])
        compare("mpmath", rows[b], want.astype(float), 1e-13)
        want = oracle.slope(lambda w, b=b: oracle.value(net, w, X[b]), w, p)
        compare("mpmath", ydot[b], float(want), 1e-13)


# --- Identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "log_cosh", "poisson", "cross_entropy"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 6, 40), (8, 20, 300)], ids=str)
def test_taylor_remainder_is_of_third_order(shape, loss):
    activations = ("tanh", "softplus", "sin", "gelu", "gaussian")
    output = "logistic" if loss == "cross_entropy" else "tanh"
    case = random_case([41, *shape], *shape, activations=activations, outputs=[output])
    assert taylor_order(case, {"loss": loss}) == pytest.approx(3.0, abs=0.25)


def taylor_order(case, given):
    """Return the order of what is left of the mean loss beside its second Taylor polynomial."""
    net, args = case.net.network(), (case.X, case.t)
    mean, g = net.loss_and_grad(case.w, *args, **given)
    p = case.p / np.linalg.norm(case.p)
    slope, bend = g @ p, p @ net.hvp(case.w, *args, p, **given)
    last, least = (
        net.loss_and_grad(case.w + h * p, *args, **given)[0] - mean - h * slope - h * h * bend / 2
        for h in (2.0**-5, 2.0**-6)
    )
    return np.log2(abs(last / least))


@pytest.mark.parametrize("K", [2, 3, 17])
@pytest.mark.parametrize("head", [head for head in HEADS if head[0] != "huber"], ids=" ".join)
def test_taylor_remainder_of_several_outputs_is_of_third_order(head, K):
    activations = ("tanh", "softplus", "sin", "gelu", "gaussian")
    for shape in ((1, 1, 2, K), (3, 6, 40, K), (5, 8, 300, K)):
        case = case_of([54, *shape], shape, head, activations=activations)
        if head[1] == "mixed":
            outputs = tuple(get_activation(name) for name in activations)
            case = replace(case, net=replace(case.net, output=(outputs * 4)[:K]))
        given = {"loss": head[0], "sample_weight": case.c, "target_weight": case.tau}
        assert taylor_order(case, given) == pytest.approx(3.0, abs=0.4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "head"),
    [
        *(((3, 6, 60), (loss, "mixed", "numbers")) for loss in SMOOTH),
        *(((2, 3, 30, 4), head) for head in HEADS),
    ],
    ids=str,
)
def test_matrices_are_symmetric_and_gauss_newton_is_not_negative(shape, head, dtype):
    case = case_of(55, shape, head).astype(dtype)
    net, args = case.net.network(dtype), (case.w, case.X, case.t)
    given = {"loss": head[0], "sample_weight": case.c, "target_weight": case.tau}
    eps = float(np.finfo(dtype).eps)
    units = np.eye(net.n_params, dtype=dtype)
    G = net.gauss_newton(*args, **given)[2].astype(np.float64)
    products = (
        np.array([call(*args, e, **given) for e in units], np.float64)
        for call in (net.hvp, net.gauss_newton_product)
    )
    for matrix, other in zip(products, (None, G), strict=True):
        other = matrix.T if other is None else other
        assert np.abs(matrix - other).max() <= 64.0 * eps * np.abs(matrix).max()
    np.testing.assert_array_equal(G, G.T)
    assert np.linalg.eigvalsh(G).min() >= -64.0 * eps * np.abs(G).sum()


SHAPES = [(1, 1, 1), (1, 9, 5), (9, 1, 30), (6, 7, 3), (20, 33, 300)]
SHAPES += [(1, 1, 1, 2), (1, 9, 5, 3), (6, 7, 3, 17), (5, 8, 300, 4)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "outputs"),
    [*((shape, OUTPUTS) for shape in SHAPES), *((shape, softmax) for shape in SHAPES[5:])],
    ids=lambda given: "softmax" if given is softmax else "",
)
def test_jvp_is_adjoint_to_vjp(shape, outputs, dtype):
    case = case_of([56, *shape], shape, outputs=outputs).astype(dtype)
    net = case.net.network(dtype)
    along = net.jvp(case.w, case.X, case.p, dX=case.dX).astype(np.float64)
    g, rows = net.vjp(case.w, case.X, case.ybar, inputs=True)
    terms = np.concatenate([g * case.p, (rows * case.dX).ravel()]).astype(np.float64)
    size = np.abs(terms).sum() + np.abs(along * case.ybar).sum()
    assert abs((along * case.ybar).sum() - terms.sum()) <= LIMITS[dtype] * size
    J = net.per_sample_grad(case.w, case.X).astype(np.float64)
    floor = (abs(J) @ abs(case.p)).max()
    compare("jvp", net.jvp(case.w, case.X, case.p), J @ case.p, LIMITS[dtype], floor)
    y, J_x = case.ybar[..., np.newaxis], net.input_grad(case.w, case.X)
    each = (y * J_x).reshape(len(case.X), -1, net.n_inputs)
    compare("rows", rows, each.sum(axis=1), LIMITS[dtype], np.abs(each).sum(axis=1).max())


def test_products_are_linear_and_zero_for_zero():
    case = random_case(45, 4, 6, 50)
    net, args = case.net.network(), (case.w, case.X, case.t)
    q = np.random.default_rng(46).standard_normal(case.net.n_params)
    for product in (net.hvp, net.gauss_newton_product):
        want = 2.0 * product(*args, case.p) - 3.0 * product(*args, q)
        floor = np.abs(product(*args, case.p)).max() + np.abs(product(*args, q)).max()
        compare("linear", product(*args, 2.0 * case.p - 3.0 * q), want, 1e-13, floor)
        assert not product(*args, 0.0 * q).any()
    assert not net.jvp(case.w, case.X, 0.0 * q, dX=0.0 * case.dX).any()
    assert not net.input_hvp(case.w, case.X, 0.0 * case.dX).any()


def test_weights_enter_by_their_ratios():
    case = random_case(47, 3, 4, 50)
    net, args = case.net.network(), (case.w, case.X, case.t, case.p)
    for product in (net.hvp, net.gauss_newton_product):
        want = product(*args, sample_weight=case.c)
        np.testing.assert_array_equal(product(*args, sample_weight=8.0 * case.c), want)
        ones = np.ones(50)
        np.testing.assert_array_equal(product(*args, sample_weight=ones), product(*args))


# --- Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_observation(dtype):
    case = random_case(50, 3, 4, 1).astype(dtype)
    net = case.net.network(dtype)
    w, x, p, dx, t = case.w, case.X[0], case.p, case.dX[0], case.t
    ydot = net.jvp(w, x, p, dX=dx)
    assert isinstance(ydot, float)
    assert ydot == net.jvp(w, case.X, p, dX=case.dX)[0]
    np.testing.assert_array_equal(net.input_hvp(w, x, dx), net.input_hvp(w, case.X, case.dX)[0])
    for product in (net.hvp, net.gauss_newton_product):
        np.testing.assert_array_equal(product(w, x, float(t[0]), p), product(w, case.X, t, p))


def test_other_orders_are_taken():
    case = random_case(51, 3, 4, 20)
    net, X, dX = case.net.network(), np.asfortranarray(case.X), np.asfortranarray(case.dX)
    np.testing.assert_array_equal(
        net.jvp(case.w, X, case.p, dX=dX), net.jvp(case.w, case.X, case.p, dX=case.dX)
    )
    np.testing.assert_array_equal(
        net.input_hvp(case.w, X, dX), net.input_hvp(case.w, case.X, case.dX)
    )


def test_empty_batches():
    net = fastbp.Network(3, 4)
    w = net.init(seed=0)
    empty = np.empty((0, 3))
    assert net.jvp(w, empty, w).shape == (0,)
    assert net.input_hvp(w, empty, empty).shape == (0, 3)
    for product in (net.hvp, net.gauss_newton_product):
        with pytest.raises(ValueError, match=r"at least one observation; got X of shape \(0, 3\)"):
            product(w, empty, np.empty(0), w)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [1, 2])
def test_slopes_whose_square_is_beyond_all_numbers(K, dtype):
    # σ' is, and Huber's loss has no curvature there.
    net = fastbp.Network(1, 1, activations="identity", output="exp", n_outputs=K, dtype=dtype)
    w, p = np.ones((2, net.n_params), dtype)
    X = np.array([[50.0 if dtype == np.float32 else 400.0], [1.0]], dtype)
    t = np.ones((2, K)[: 1 if K == 1 else 2], dtype)
    for name, given in [("hvp", (p,)), ("gauss_newton_product", (p,)), ("gauss_newton", ())]:
        got, expected = (
            getattr(f, name)(*first, w, X, t, *given, loss="huber")
            for f, first in ((net, ()), (reference, (net,)))
        )
        if name == "gauss_newton":
            got, expected = got[2], expected[2]
        rtol = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(got, expected, rtol=rtol, strict=True)
        assert np.isfinite(got).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_brings_in_no_value_that_no_sample_has(dtype):
    @fastbp.activation
    def pole(z):
        return 1.0 / (z * z)

    rng = np.random.default_rng(52)
    for N, H, B in itertools.product((1, 3), (1, 2, 5), (*range(1, 20), 97)):
        net = fastbp.Network(N, H, activations=pole, output=pole, dtype=dtype)
        w = np.concatenate([rng.uniform(0.5, 1.0, H), rng.uniform(1.0, 2.0, H * N) / N])
        w, X = w.astype(dtype), rng.uniform(2.0, 3.0, (B, N)).astype(dtype)
        for result in (
            net.jvp(w, X, w, dX=X),
            net.input_hvp(w, X, X),
            net.hvp(w, X, np.ones(B, dtype), w),
            net.gauss_newton_product(w, X, np.ones(B, dtype), w),
        ):
            assert np.isfinite(result).all()


NET = fastbp.Network(3, 4)
W = NET.init(seed=1)
X = np.random.default_rng(53).standard_normal((5, 3))
T = np.zeros(5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NET.jvp(W, X, W[1:]), ValueError, r"p must have shape \(16,\); got \(15,\)"),
        (lambda: NET.jvp(W[1:], X, W), ValueError, r"w must have shape \(16,\); got \(15,\)"),
        (lambda: NET.jvp(W, X, "p"), TypeError, "p must hold real numbers"),
        (lambda: NET.jvp(W, X, 1j * W), TypeError, "p must hold real numbers"),
        (lambda: NET.jvp(W, X, W, dX=X[:4]), ValueError, r"dX .* X, \(5, 3\); got \(4, 3\)"),
        (lambda: NET.jvp(W, X[0], W, dX=X), ValueError, r"dX .* X, \(3,\); got \(5, 3\)"),
        (lambda: NET.jvp(W, X, W, out=np.empty(4)), ValueError, r"out .* \(5,\) .* \(4,\)"),
        (lambda: NET.jvp(W, X, W, out=T[::-1]), ValueError, "out must be writable, .* C order"),
        (lambda: NET.input_hvp(W, X, X[:, :2]), ValueError, r"v must have shape \(B, 3\)"),
        (lambda: NET.input_hvp(W, X, None), TypeError, "v must hold real numbers"),
        (lambda: NET.input_hvp(W, X, X[:4]), ValueError, r"v .* shape of X, \(5, 3\)"),
        (lambda: NET.input_hvp(W, X, X, out=X), ValueError, "out must not overlap"),
        (lambda: NET.hvp(W, X, T, W, out=W), ValueError, "out must not overlap"),
        (lambda: NET.hvp(W, X, T[1:], W), ValueError, r"t must have shape \(5,\)"),
        (lambda: NET.hvp(W, X, T, W, loss="squard"), ValueError, "squared"),
        (lambda: NET.hvp(W, X, T - 1, W, loss="poisson"), ValueError, r"must lie in \[0, inf\]"),
        (
            lambda: NET.gauss_newton_product(W, X, T, W, sample_weight=-np.ones(5)),
            ValueError,
            "sample_weight must not be negative",
        ),
        (
            lambda: NET.gauss_newton_product(W, X, T, np.inf * W, check_finite=True),
            ValueError,
            "p must be finite",
        ),
        (
            lambda: fastbp.Network(3, 4, dtype="float32").hvp(W.astype("f4"), X, T, W),
            TypeError,
            "float32 can't hold without loss",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    before = W.copy(), X.copy(), T.copy()
    with pytest.raises(error, match=message):
        call()
    for array, copy in zip((W, X, T), before, strict=True):
        np.testing.assert_array_equal(array, copy)
