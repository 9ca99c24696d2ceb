"""fastbp.calculus: derivatives against NumPy and SciPy and by Taylor's formula, and wrong ones."""

import itertools
import math
import pickle
import sys

import matplotlib
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from support import HEADS, OUTPUTS, SCALES, assert_close, case_of, random_case, spec

import fastbp
from fastbp import reference
from fastbp._cli import main as _cli
from fastbp._cli import self_check as _self_check
from fastbp.activations import softmax
from fastbp.calculus import (
    Affine,
    Factorization,
    LeastSquares,
    Map,
    check_gradient,
    compose,
    of_inputs,
    of_weights,
    operation_counts,
    taylor_test,
)
from fastbp.losses import NAMES as LOSSES

matplotlib.use("Agg")

DTYPES = (np.float64, np.float32)
TOLERANCE = {np.float64: 1e-13, np.float32: 1e-5}


# ---- Taylor test -------------------------------------------------------------------------------


def f(x):
    return np.exp(x[0]) * np.sin(x[1]) + x[0] * x[1] ** 2


def gradient(x):
    return np.array(
        [np.exp(x[0]) * np.sin(x[1]) + x[1] ** 2, np.exp(x[0]) * np.cos(x[1]) + 2 * x[0] * x[1]]
    )


def hessian(x):
    mixed = np.exp(x[0]) * np.cos(x[1]) + 2 * x[1]
    return np.array(
        [
            [np.exp(x[0]) * np.sin(x[1]), mixed],
            [mixed, -np.exp(x[0]) * np.sin(x[1]) + 2 * x[0]],
        ]
    )


def curve(x):
    return np.array([np.sin(x[0]), x[0] * x[1], np.exp(x[1])])


def jacobian(x):
    return np.array([[np.cos(x[0]), 0.0], [x[1], x[0]], [0.0, np.exp(x[1])]])


X0 = np.array([0.4, -0.7])


@pytest.mark.parametrize("form", [gradient(X0), lambda x, h: gradient(x) @ h], ids=["array", "jvp"])
def test_taylor_order_of_a_gradient(form):
    test = taylor_test(f, form, X0)
    assert test.ok and test.expected == 2
    assert_allclose(test.order, 2.0, atol=0.02)
    assert np.all(np.diff(test.steps) < 0)
    assert_allclose(np.polyfit(np.log(test.steps), np.log(test.differences), 1)[0], 1.0, atol=0.1)


@pytest.mark.parametrize(
    "second", [hessian(X0), lambda x, h: hessian(x) @ h, lambda x, h: h @ hessian(x) @ h]
)
def test_taylor_order_with_a_hessian(second):
    test = taylor_test(f, gradient(X0), X0, second_derivative=second)
    assert test.ok and test.expected == 3
    assert_allclose(test.order, 3.0, atol=0.05)


def test_taylor_order_of_a_vector_function():
    second = lambda x, h: np.array(  # noqa: E731
        [-np.sin(x[0]) * h[0] ** 2, 2 * h[0] * h[1], np.exp(x[1]) * h[1] ** 2]
    )
    for form in (jacobian(X0), lambda x, h: jacobian(x) @ h):
        assert_allclose(taylor_test(curve, form, X0).order, 2.0, atol=0.02)
        test = taylor_test(curve, form, X0, second_derivative=second)
        assert_allclose(test.order, 3.0, atol=0.05)


def test_taylor_of_matrices():
    A = np.random.default_rng(1).normal(size=(3, 3)) + 3 * np.eye(3)
    inverse = np.linalg.inv(A)
    test = taylor_test(np.linalg.inv, lambda A, H: -inverse @ H @ inverse, A, seed=2)
    assert_allclose(test.order, 2.0, atol=0.02)


@pytest.mark.parametrize("error", [1.0, 1e-2, 1e-4, 1e-6])
def test_wrong_gradient_shows_order_1(error):
    wrong = gradient(X0) * (1.0 + error)
    test = taylor_test(f, wrong, X0)
    assert not test.ok
    assert_allclose(test.order, 1.0, atol=0.15)
    assert "FAILED" in repr(test)


def test_wrong_hessian_shows_order_2():
    wrong = hessian(X0) * np.array([[1.0, 1.01], [1.01, 1.0]])
    test = taylor_test(f, gradient(X0), X0, second_derivative=wrong)
    assert not test.ok
    assert_allclose(test.order, 2.0, atol=0.1)


def test_taylor_in_float32():
    x = X0.astype(np.float32)
    good = taylor_test(lambda x: np.float32(f(x)), gradient(x), x)
    wrong = taylor_test(lambda x: np.float32(f(x)), 1.1 * gradient(x), x)
    assert good.ok and not wrong.ok


def test_taylor_of_a_linear_function_has_nothing_but_rounding():
    c = np.array([1.0, -3.0])
    assert taylor_test(lambda x: c @ x, c, X0).order == math.inf
    assert_allclose(taylor_test(lambda x: c @ x, c + 0.01, X0).order, 1.0, atol=1e-4)


def test_what_falls_to_rounding_at_once_has_no_order_of_the_large_steps():
    """A jump that the two largest steps go over, as a saturated neuron has; 1e160 has no square."""
    for size in (1.0, 1e160):
        jumping = taylor_test(
            lambda x, size=size: size * (x[0] ** 2 + 5.0 * (x[0] > 1.2)),
            lambda x, h, size=size: 2.0 * size * x[0] * h[0],
            np.ones(1), np.ones(1), second_derivative=[[2.0 * size]],
        )  # fmt: skip
        assert jumping.ok, jumping
    wrong = taylor_test(
        lambda x: x[0] ** 2 + 5.0 * (x[0] > 1.2), [2.0 + 1e-6], np.ones(1), np.ones(1)
    )
    assert not wrong.ok, wrong


def test_taylor_of_nan_fails():
    test = taylor_test(lambda x: np.nan * x[0], [1.0, 1.0], X0)
    assert not test.ok


def test_taylor_takes_direction_steps_and_seed():
    steps = [0.5, 0.001, 0.01]
    test = taylor_test(f, gradient(X0), X0, [1.0, 0.0], steps=steps)
    assert_array_equal(test.steps, sorted(steps, reverse=True))
    direct = [abs(f(X0 + np.array([t, 0.0])) - f(X0) - t * gradient(X0)[0]) for t in test.steps]
    assert_allclose(test.remainders, direct, rtol=1e-10)
    one, same, other = (taylor_test(f, gradient(X0), X0, seed=s).remainders for s in (1, 1, 2))
    assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((f, [1.0], X0), {}, r"derivative must have shape \(2,\).*got \(1,\)"),
        ((curve, [1.0, 2.0], X0), {}, r"derivative must have shape \(3, 2\)"),
        ((f, lambda x, h: h, X0), {}, r"shape of f\(x\), \(\); got \(2,\)"),
        ((f, gradient(X0), X0, [1.0]), {}, r"direction must have the shape of x"),
        ((f, gradient(X0), X0), {"steps": [1.0, -1.0]}, "steps must be"),
        ((f, gradient(X0), X0), {"second_derivative": np.eye(3)}, r"\(2, 2\); got \(3, 3\)"),
        ((f, gradient(X0), X0), {"second_derivative": lambda x, h: np.eye(3)}, "second_deriv"),
        ((curve, jacobian(X0), X0), {"second_derivative": np.eye(2)}, "must be a callable"),
        ((lambda x: (1.0, x), gradient(X0), X0), {}, "a value alone"),
        ((lambda x: 1j * x, gradient(X0), X0), {}, r"f\(x\) must be real numbers"),
        ((f, gradient(X0) + 0j, X0), {}, "derivative must be real numbers; got complex128"),
        ((f, lambda x, h: gradient(x) @ h + 0j, X0), {}, r"derivative\(x, h\) must be real"),
        ((f, gradient(X0), X0), {"second_derivative": hessian(X0) + 0j}, "second_derivative must"),
        ((f, gradient(X0), X0, [1j, 0.0]), {}, "direction must be real numbers"),
        ((f, gradient(X0), X0, [0.0, 0.0]), {}, "direction must not be zero"),
        ((f, gradient(X0), X0), {"derivative_error": np.nan}, "derivative_error must be"),
        ((f, gradient(X0), np.ma.masked_less(X0, 0.0)), {}, "x has masked entries"),
    ],
)
def test_taylor_says_what_does_not_fit(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        taylor_test(*arguments, **options)


def test_taylor_table_and_plot():
    test = taylor_test(f, gradient(X0), X0)
    table = repr(test).splitlines()
    assert table[0] == "Taylor test passed: order 2.00 observed, 2 expected"
    assert len(table) == 2 + len(test.steps)
    assert "(rounding)" in table[-1]
    ax = test.plot()
    assert ax.get_xscale() == ax.get_yscale() == "log"
    lines = {line.get_label(): line for line in ax.lines}
    names = ["without derivative", "remainder, order 2.00", "rounding", "order 2"]
    assert list(lines) == names and sorted(text.get_text() for text in ax.texts) == sorted(names)
    assert_array_equal(lines["remainder, order 2.00"].get_ydata(), test.remainders)
    assert test.plot(ax) is ax
    matplotlib.pyplot.close(ax.figure)


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(ImportError, match=r"fastbp\[plot\]"):
        operation_counts(2, 2).plot()


# ---- least squares -----------------------------------------------------------------------------

SHAPES = [(1, 1), (1, 40), (2, 3), (7, 2), (33, 24), (257, 6), (17, 5000)]


def data(shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    m, n = shape
    return [rng.normal(size=size).astype(dtype) for size in ((m, n), m, n, n)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_least_squares_is_numpys(shape, dtype):
    A, b, x, h = data(shape, dtype)
    wide = [a.astype(np.float64) for a in (A, b, x, h)]
    r = wide[0] @ wide[2] - wide[1]
    f1 = LeastSquares(A, b)
    kept = [a.copy() for a in (A, b, x, h)]
    value, g = f1(x)
    tolerance = TOLERANCE[dtype]
    terms = np.abs(wide[0]).T @ (np.abs(wide[0]) @ np.abs(wide[2]) + np.abs(wide[1]))
    assert isinstance(value, float) and g.dtype == dtype and g.shape == x.shape
    assert_allclose(value, 0.5 * r @ r, rtol=tolerance)
    assert_allclose(g, wide[0].T @ r, rtol=0, atol=tolerance * terms.max())
    assert_allclose(f1.value(x), value, rtol=tolerance)
    assert_array_equal(f1.grad(x), g)
    assert_allclose(f1.vjp(x, -2.0), -2.0 * g, rtol=tolerance)
    with pytest.raises(ValueError, match="ybar must be a number, as the value is; got"):
        f1.vjp(x, x)
    for none in (None, "2", 2j):
        with pytest.raises(TypeError, match="ybar must hold real numbers"):
            f1.vjp(x, none)
    assert_allclose(f1.jvp(x, h), g @ h, rtol=tolerance, atol=tolerance * float(abs(g) @ abs(h)))
    product = f1.hvp(x, h)
    assert product.dtype == dtype
    atol = tolerance * (np.abs(wide[0]).T @ (np.abs(wide[0]) @ np.abs(wide[3]))).max()
    assert_allclose(product, wide[0].T @ (wide[0] @ wide[3]), rtol=0, atol=atol)
    again, g_again = f1(x)
    assert again == value and (g_again == g).all()
    for array, before in zip((A, b, x, h), kept, strict=True):
        assert_array_equal(array, before)


@pytest.mark.parametrize(
    "f", [LeastSquares(np.eye(3), np.ones(3)), Affine(np.eye(3), np.ones(3)),
          Factorization(np.eye(3), 1)], ids=repr,
)  # fmt: skip
def test_objectives_are_fixed(f):
    for name in ("A", "b", "B", "c", "M", "rank", "n_variables", "dtype"):
        if hasattr(f, name):
            with pytest.raises(AttributeError, match=f"{name} of this .* can't be changed"):
                setattr(f, name, getattr(f, name))
            with pytest.raises(AttributeError, match="can't be deleted"):
                delattr(f, name)


def test_sparse_data_are_checked_as_dense_ones_are():
    b = np.ones(3)
    for dtype in (np.complex128, np.longdouble):
        with pytest.raises(TypeError):
            LeastSquares(scipy.sparse.csr_array(np.eye(3, dtype=dtype)), b)
    with pytest.raises(ValueError, match="at least one entry"):
        LeastSquares(scipy.sparse.csr_array((3, 0)), b)
    f1 = LeastSquares(scipy.sparse.coo_array(np.eye(3, dtype=np.int32)), b)
    assert f1.dtype == np.float64 and f1.value(b) == 0.0
    with pytest.raises(ValueError, match="A must be an array of numbers"):
        LeastSquares([[1.0, 2.0], [3.0]], [1.0, 2.0])
    single = np.eye(3, dtype=np.float32)
    assert LeastSquares(list(single), single[0]).dtype == np.float32


def test_taylor_test_refuses_complex_points():
    with pytest.raises(TypeError, match="real numbers; got complex128"):
        taylor_test(np.sum, np.ones(3), 1j * np.ones(3))


def test_least_squares_by_taylor():
    A, b, x, h = data((30, 7), np.float64)
    f1 = LeastSquares(A, b)
    assert_allclose(taylor_test(f1.value, f1.jvp, x, h).order, 2.0, atol=0.01)
    # A quadratic has nothing beyond its second derivative.
    assert taylor_test(f1.value, f1.grad(x), x, h, second_derivative=f1.hvp).order == math.inf


def test_least_squares_in_minimize():
    A, b, x, _ = data((40, 6), np.float64)
    f1 = LeastSquares(A, b)
    expected = np.linalg.lstsq(A, b, rcond=None)[0]
    for method, options in (("BFGS", {}), ("trust-ncg", {"hessp": f1.hvp})):
        found = scipy.optimize.minimize(f1, x, jac=True, method=method, tol=1e-10, **options)
        assert_allclose(found.x, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "form", [scipy.sparse.csr_array, scipy.sparse.coo_array], ids=["csr", "coo"]
)
def test_least_squares_and_affine_of_sparse_matrices(form):
    A, b, x, h = data((40, 12), np.float64)
    A[np.random.default_rng(3).random(A.shape) < 0.8] = 0.0
    dense, sparse = LeastSquares(A, b), LeastSquares(form(A), b)
    assert "sparse" in repr(sparse)
    assert_allclose(sparse.value(x), dense.value(x), rtol=1e-13)
    assert_allclose(sparse(x)[0], dense(x)[0], rtol=1e-13)
    assert_allclose(sparse.grad(x), dense.grad(x), atol=1e-12)
    assert_allclose(sparse.hvp(x, h), dense.hvp(x, h), atol=1e-12)
    affine = Affine(form(A), b)
    assert_allclose(affine.value(x), A @ x + b, atol=1e-13)
    assert_allclose(affine.vjp(x, b), A.T @ b, atol=1e-13)
    assert "sparse" in repr(affine)
    assert LeastSquares(form(A.astype(np.int64)), b).A.dtype == np.float64


def test_least_squares_takes_the_matrix_as_it_is():
    A, b, x, _ = data((20, 6), np.float64)
    assert LeastSquares(A, b).A is A
    fortran = LeastSquares(np.asfortranarray(A), b)
    assert_array_equal(fortran.grad(x), LeastSquares(A, b).grad(x))
    assert_array_equal(LeastSquares(A.tolist(), b.tolist()).grad(x.tolist()), fortran.grad(x))
    read_only = A.copy()
    read_only.flags.writeable = False
    assert_array_equal(LeastSquares(read_only, b).grad(x), fortran.grad(x))
    assert_array_equal(LeastSquares(A, b).grad(np.repeat(x, 2)[::2]), fortran.grad(x))


@pytest.mark.parametrize("cls", [LeastSquares, Affine])
def test_objectives_say_what_does_not_fit(cls):
    A, b, _, _ = data((4, 3), np.float64)
    for arguments, message in (
        ((A[0], b), r"must be a matrix"),
        ((A[:0], b[:0]), "at least one entry"),
        ((A, b[:3]), r"must have shape \(4,\)"),
        ((A * 1j, b), "real numbers"),
        ((A.astype(np.float32), b), "without loss"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            cls(*arguments)
    objective = cls(A, b)
    for x in ([1.0, 2.0], np.ones((3, 1)), [1j, 2.0, 3.0]):
        for call in (objective.value, objective, objective.grad):
            with pytest.raises((TypeError, ValueError), match="x "):
                call(x)
        with pytest.raises((TypeError, ValueError), match="h "):
            objective.hvp(np.ones(3), x)
        with pytest.raises((TypeError, ValueError), match="h "):
            objective.jvp(np.ones(3), x)


def test_objectives_pickle():
    A, b, x, _ = data((6, 3), np.float64)
    f1, f3 = LeastSquares(A, b), Factorization(A, 1)
    f1(x), f3(np.ones(9))
    assert_array_equal(pickle.loads(pickle.dumps(f1)).grad(x), f1.grad(x))
    assert_array_equal(pickle.loads(pickle.dumps(f3)).grad(np.ones(9)), f3.grad(np.ones(9)))
    assert_array_equal(pickle.loads(pickle.dumps(Affine(A, b))).value(x), A @ x + b)


# ---- affine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_affine_is_numpys(dtype):
    B, c, x, h = data((5, 3), dtype)
    f2 = Affine(B, c)
    ybar = c[::-1].copy()
    assert_array_equal(f2.value(x), B @ x + c)
    assert f2.value(x).dtype == dtype
    assert_array_equal(f2.jvp(x, h), B @ h)
    assert_array_equal(f2.vjp(x, ybar), B.T @ ybar)
    assert_array_equal(f2.hvp(x, h), np.zeros(3, dtype))
    value, J = f2(x)
    assert_array_equal(value, B @ x + c)
    assert J is B and f2.grad(x) is B
    with pytest.raises(ValueError, match=r"ybar must have shape \(5,\)"):
        f2.vjp(x, x)


def test_affine_by_taylor_and_adjoint():
    B, c, x, h = data((5, 3), np.float64)
    f2 = Affine(B, c)
    assert taylor_test(f2.value, f2.jvp, x).order == math.inf
    assert_allclose(
        taylor_test(f2.value, lambda x, h: 1.01 * f2.jvp(x, h), x).order, 1.0, atol=1e-4
    )
    assert_allclose(f2.jvp(x, h) @ c, f2.vjp(x, c) @ h, rtol=1e-13)


def test_affine_in_root():
    B, c, x, _ = data((4, 4), np.float64)
    found = scipy.optimize.root(Affine(B, c), x, jac=True)
    assert_allclose(found.x, np.linalg.solve(B, -c), rtol=1e-6)


# ---- factorization -----------------------------------------------------------------------------

RANKED = [((1, 1), 1), ((5, 1), 3), ((1, 7), 2), ((8, 6), 9), ((97, 33), 1), ((193, 241), 33)]


def factors(shape, rank, dtype):
    rng = np.random.default_rng([*shape, rank])
    M = rng.normal(size=shape).astype(dtype)
    return M, *rng.normal(size=(2, sum(shape) * rank)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "rank"), RANKED, ids=str)
def test_factorization_is_numpys(shape, rank, dtype):
    M, x, h = factors(shape, rank, dtype)
    f3 = Factorization(M, rank)
    P, Q = (a.astype(np.float64) for a in f3.split(x))
    P_dot, Q_dot = (a.astype(np.float64) for a in f3.split(h))
    E = P @ Q - M
    E_dot = P_dot @ Q + P @ Q_dot
    gradient = np.concatenate([(E @ Q.T).ravel(), (P.T @ E).ravel()])
    product = np.concatenate(
        [(E_dot @ Q.T + E @ Q_dot.T).ravel(), (P.T @ E_dot + P_dot.T @ E).ravel()]
    )
    tolerance = 3 * TOLERANCE[dtype]
    value, g = f3(x)
    assert isinstance(value, float) and g.dtype == dtype
    assert_allclose(value, 0.5 * np.sum(E * E), rtol=tolerance)
    assert_close(g, gradient, tolerance)
    assert_close(f3.hvp(x, h), product, tolerance)
    assert_allclose(f3.value(x), value, rtol=1e-15)
    assert_array_equal(f3.grad(x), g)
    assert_allclose(f3.vjp(x, 3.0), 3.0 * g, rtol=tolerance)
    size = float(np.abs(g) @ np.abs(h))
    assert_allclose(f3.jvp(x, h), gradient @ h, rtol=tolerance, atol=tolerance * size)


def test_factorization_by_taylor():
    M, x, h = factors((9, 7), 2, np.float64)
    f3 = Factorization(M, 2)
    assert_allclose(taylor_test(f3.value, f3.jvp, x, h).order, 2.0, atol=0.02)
    test = taylor_test(f3.value, f3.grad(x), x, h, second_derivative=f3.hvp)
    assert_allclose(test.order, 3.0, atol=0.05)


def test_factorization_finds_the_best_approximation():
    M, x, _ = factors((12, 9), 2, np.float64)
    f3 = Factorization(M, 2)
    found = scipy.optimize.minimize(f3, x, jac=True, method="L-BFGS-B", tol=1e-14)
    singular = np.linalg.svd(M, compute_uv=False)
    assert_allclose(found.fun, 0.5 * np.sum(singular[2:] ** 2), rtol=1e-6)  # Eckart and Young


def test_factorization_splits_and_says_what_does_not_fit():
    f3 = Factorization(np.ones((3, 2)), 2)
    x = np.arange(10.0)
    P, Q = f3.split(x)
    assert_array_equal(P, [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    Q[0, 0] = -1.0
    assert x[6] == -1.0
    for call, message in (
        (lambda: f3.split(x[1:]), r"shape \(10,\); got \(9,\)"),
        (lambda: f3.value(x[1:]), r"shape \(10,\); got \(9,\)"),
        (lambda: f3.hvp(x, x[1:]), r"h must have shape \(10,\)"),
        (lambda: Factorization(np.ones((3, 2)), 0), "rank must be a positive integer; got 0"),
        (lambda: Factorization(np.ones((3, 2)), 1.5), "rank must be a positive integer; got 1.5"),
        (lambda: Factorization(np.ones(3), 1), "M must be a matrix"),
        (lambda: Factorization(scipy.sparse.eye_array(3), 1), "M must be dense"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


# ---- the chain rule ----------------------------------------------------------------------------


def explicit(function, x):
    """Return the Jacobian by a complex step in each direction."""
    columns = []
    for j in range(x.size):
        moved = x.astype(complex)
        moved[j] += 1e-100j
        columns.append(np.imag(function(moved)) / 1e-100)
    return np.stack(columns, axis=-1)


def test_composition_is_the_product_of_jacobians():
    B, c, _, _ = data((2, 3), np.float64)
    C, d, x, h = data((3, 4), np.float64, seed=1)
    bent = Map(
        lambda z: curve(z),
        jvp=lambda z, dz: jacobian(z) @ dz,
        vjp=lambda z, ybar: jacobian(z).T @ ybar,
    )
    whole = compose(bent, Affine(B, c), fastbp.activations.sin, Affine(C, d))
    J = explicit(lambda x: curve(B @ np.sin(C @ x + d) + c), x)
    ybar = np.array([1.0, -2.0, 0.5])
    assert_allclose(whole.value(x), curve(B @ np.sin(C @ x + d) + c), rtol=1e-14)
    assert_allclose(whole.jvp(x, h), J @ h, rtol=1e-12, atol=1e-13)
    assert_allclose(whole.vjp(x, ybar), ybar @ J, rtol=1e-12, atol=1e-13)
    assert_allclose(taylor_test(whole.value, whole.jvp, x).order, 2.0, atol=0.02)
    assert "∘" in repr(whole) and "Map" in repr(whole)
    with pytest.raises(TypeError, match=r"one number as its value; got an array of shape \(3,\)"):
        whole.grad(x)


def test_chain_rule_in_one_variable():
    chain = compose(fastbp.activations.tanh, fastbp.activations.square)
    z = np.array(0.3)
    assert_allclose(chain.jvp(z, 1.0), 0.6 / np.cosh(0.09) ** 2, rtol=1e-14)
    assert_allclose(chain.vjp(z, 1.0), 0.6 / np.cosh(0.09) ** 2, rtol=1e-14)
    assert_allclose(chain(0.3), (np.tanh(0.09), 0.6 / np.cosh(0.09) ** 2), rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_networks_in_compositions(dtype):
    case = random_case(5, 3, 6, 9).astype(dtype)
    net = case.net.network(dtype)
    case = case.astype(dtype)
    tolerance = 100 * TOLERANCE[dtype]
    size = len(case.t)
    f1 = LeastSquares(np.eye(size, dtype=dtype), case.t)

    fit = compose(f1, of_weights(net, case.X))
    value, g = fit(case.w)
    loss, expected = net.loss_and_grad(case.w, case.X, case.t)
    assert_allclose(value, size * loss, rtol=tolerance)
    assert_close(g, size * expected, tolerance)
    assert_allclose(fit.jvp(case.w, case.p), size * expected @ case.p, rtol=1e3 * tolerance)

    inverse = compose(f1, of_inputs(net, case.w))
    want = reference.vjp(net, case.w, case.X, net(case.w, case.X) - case.t, inputs=True)[1]
    assert_close(inverse.grad(case.X), want, tolerance)
    along = inverse.jvp(case.X, case.dX)
    assert_allclose(along, np.sum(want * case.dX), rtol=1e3 * tolerance)


@pytest.mark.parametrize("outputs", [OUTPUTS, softmax], ids=["mixed", "softmax"])
def test_networks_of_several_outputs_in_compositions(outputs):
    case = random_case(6, 3, 5, 7, outputs=outputs, n_outputs=4)
    net, w, X, t = case.net.network(), case.w, case.X, case.t

    def half_square(y):
        return 0.5 * np.sum((y - t) ** 2), y - t

    value, g = compose(half_square, of_weights(net, X))(w)
    loss, want = net.loss_and_grad(w, X, t)
    assert_allclose(value, 7 * loss, rtol=1e-13)
    assert_close(g, 7 * want, 1e-12)
    for function, at, along in (
        (of_weights(net, X), w, case.p),
        (of_inputs(net, w), X, case.dX),
        (of_inputs(net, w), X[0], case.dX[0]),
    ):
        ybar = case.ybar if at.ndim == 2 or at is w else case.ybar[0]
        left = np.sum(ybar * function.jvp(at, along))
        assert_allclose(left, np.sum(along * function.vjp(at, ybar)), rtol=1e-10)
        assert_allclose(taylor_test(function.value, function.jvp, at).order, 2.0, atol=0.1)
    J = net.per_sample_grad(w, X)
    assert_allclose(taylor_test(of_weights(net, X).value, J, w).order, 2.0, atol=0.1)


def test_one_observation_in_a_composition():
    net = fastbp.Network(3, 4)
    w, x = net.init(0), np.array([0.1, 0.2, -0.3])
    chain = compose(fastbp.activations.exp, of_inputs(net, w))
    assert_allclose(chain.grad(x), np.exp(net(w, x)) * net.input_grad(w, x), rtol=1e-13)
    assert_allclose(taylor_test(chain.value, chain.jvp, x).order, 2.0, atol=0.02)


def test_of_weights_and_of_inputs_keep_their_data():
    net = fastbp.Network(2, 3)
    w, X = net.init(0), np.ones((4, 2))
    y, y_of_X = of_weights(net, X), of_inputs(net, w)
    before, before_of_X = y.value(w), y_of_X.value(X)
    w_then, X_then = w.copy(), X.copy()
    X[:], w[:] = 0.0, 0.0
    assert_array_equal(y.value(w_then), before)
    assert_array_equal(y_of_X.value(X_then), before_of_X)


def test_plain_callables_and_objectives_in_compositions():
    net = fastbp.Network(2, 3)
    rng = np.random.default_rng(0)
    X, t, w = rng.normal(size=(7, 2)), rng.normal(size=7), net.init(0)
    C, d = rng.normal(size=(net.n_params, 4)), w
    objective = net.objective(X, t)
    reduced = compose(objective, Affine(C, d))  # a network whose weights have 4 free numbers
    x = 0.1 * rng.normal(size=4)
    assert_allclose(reduced.value(x), objective.value(C @ x + d), rtol=1e-14)
    assert_allclose(reduced.grad(x), C.T @ objective(C @ x + d)[1], rtol=1e-12)
    found = scipy.optimize.minimize(reduced, x, jac=True)
    assert found.fun < reduced.value(x)

    pairs = compose(lambda z: (curve(z), jacobian(z)), lambda x: (2 * x[:2], np.eye(4)[:2] * 2))
    J = explicit(lambda x: curve(2 * x[:2]), x)
    assert_allclose(pairs.jvp(x, np.ones(4)), J @ np.ones(4), rtol=1e-13)
    assert_allclose(pairs.vjp(x, [1.0, 2.0, 3.0]), [1.0, 2.0, 3.0] @ J, rtol=1e-13)


def test_compose_says_what_it_does_not_take():
    identity = fastbp.activations.identity
    with pytest.raises(TypeError, match="of_weights"):
        compose(identity, fastbp.Network(2, 3))
    with pytest.raises(TypeError, match=r"only functions can be composed.*got 3"):
        compose(3, identity)
    with pytest.raises(TypeError, match=r"where \(value, derivative\) is expected"):
        compose(np.sum, identity).value(np.ones(2))
    with pytest.raises(ValueError, match=r"must have shape \(2,\); got \(3,\)"):
        compose(lambda x: (x[0], np.ones(3)), identity).vjp(np.ones(2), 1.0)
    number = compose(lambda x: (x.sum(), np.ones(2)), identity)
    for product in (number.jvp, number.vjp, compose(identity, identity).jvp):
        with pytest.raises(ValueError, match=r"J must have shape \((2,)?\); got \(3,"):
            product(np.ones(2), np.ones(3))
    with pytest.raises(TypeError, match="jvp must be a function; got None"):
        Map(np.sum, None, None)
    with pytest.raises(ValueError, match=r"a batch of shape \(B, 2\)"):
        of_weights(fastbp.Network(2, 3), [1.0, 2.0])
    with pytest.raises(ValueError, match=r"w must have shape \(9,\)"):
        of_inputs(fastbp.Network(2, 3), [1.0, 2.0])


# ---- operation counts --------------------------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 2, 17])
@pytest.mark.parametrize("n_neurons", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("n_inputs", [1, 2, 3, 5, 12])
def test_operation_counts_are_what_the_reference_counts(n_inputs, n_neurons, n_outputs):
    net = spec(n_inputs, ["tanh"] * n_neurons, "tanh", n_outputs)
    w, x = np.ones(net.n_params), np.ones(n_inputs)
    counts = operation_counts(n_inputs, n_neurons, n_outputs)
    for structure, weights, inputs in (
        (False, counts.weights, counts.inputs),
        (True, counts.weights_structured, counts.inputs_structured),
    ):
        for orders, gradient in ((weights, "grad"), (inputs, "input_grad")):
            for order in ("from_input_layer", "from_output_layer"):
                function = getattr(reference, f"{gradient}_{order}")
                counted = function(net, w, x, structure=structure).operations
                assert getattr(orders, order) == counted


def test_large_operation_counts_stand_apart():
    rows = repr(operation_counts(10**9, 10**9)).splitlines()[2:6]
    assert all(len(row.split("  ")[-1].replace(",", "").split()) <= 3 for row in rows)
    assert rows[0].split()[2] == f"{operation_counts(10**9, 10**9).weights.from_input_layer:,}"


def test_ratios_of_operation_counts():
    many = operation_counts(10**6, 10**4)
    assert_allclose(many.weights.ratio, 10**4, rtol=1e-3)
    assert_allclose(many.inputs.ratio, 10**10 / (10**6 + 10**4), rtol=1e-3)
    assert_allclose(many.weights_structured.ratio, 3.0, rtol=1e-3)
    assert_allclose(many.inputs_structured.ratio, 2.0, rtol=1e-3)
    many = operation_counts(10**6, 10**4, n_outputs=5)
    assert_allclose(many.weights.ratio, 10**4 / 5, rtol=1e-2)
    assert_allclose(many.weights_structured.ratio, 2.2, rtol=1e-3)
    assert_allclose(many.inputs_structured.ratio, 1.2, rtol=1e-3)


def test_operation_counts_table_and_plot():
    counts = operation_counts(10, 20)
    table = repr(counts).splitlines()
    assert "N = 10 inputs, H = 20 neurons" in table[0]
    assert f"{counts.weights.from_input_layer:,}" in table[2]
    assert "constant, 3 for ∇_w and 2 for ∇_x" in repr(counts)
    ax = counts.plot()
    assert len(ax.lines) == 8
    assert ax.lines[0].get_ydata()[-1] == counts.weights.from_input_layer
    # Every line is named beside its end, and no name is over another.
    names = [line.get_label() for line in ax.lines]
    assert sorted(text.get_text() for text in ax.texts) == sorted(names)
    assert "∇_x, structure used, from output layer" in names
    ax.figure.canvas.draw()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    boxes = sorted((box.y0, box.y1) for box in boxes)
    assert all(above[0] > below[1] for below, above in itertools.pairwise(boxes))
    matplotlib.pyplot.close(ax.figure)
    counts = operation_counts(10, 20, 4)
    assert "N = 10 inputs, H = 20 neurons, K = 4 outputs" in repr(counts)
    assert "like H / K for ∇_w" in repr(counts)
    assert "constant, 2.25 for ∇_w and 1.25 for ∇_x" in repr(counts)
    ax = counts.plot()
    assert ax.lines[0].get_ydata()[-1] == counts.weights.from_input_layer
    matplotlib.pyplot.close(ax.figure)
    for sizes in ((0, 2), (2, -1), (2, 2, 0)):
        with pytest.raises(ValueError, match="positive integer"):
            operation_counts(*sizes)


# ---- the report --------------------------------------------------------------------------------


def failed(report):
    return {check.name for check in report.checks if not check.ok}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
def test_good_networks_pass(scale, dtype):
    for seed in range(4):
        case = random_case([seed, int(10 * scale)], 4, 9, 20, scale=scale).astype(dtype)
        net = case.net.network(dtype)
        report = check_gradient(net, case.w, case.X, case.t, sample_weight=case.c)
        assert report.ok, report
        assert "all checks passed" in repr(report)


@pytest.mark.parametrize("loss", ["cross_entropy", "huber", "poisson", "pinball", "log_cosh"])
def test_good_networks_pass_with_other_losses(loss):
    case = random_case(3, 4, 5, 12, outputs=["logistic"])
    report = check_gradient(case.net.network(), case.w, case.X, case.t, loss=loss)
    assert report.ok, report


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", HEADS, ids=" ".join)
def test_good_networks_of_several_outputs_pass(head, dtype):
    for K, scale in ((2, 1.0), (5, 0.1), (3, 5.0)):
        case = case_of([4, K], (3, 4, 20, K), head, scale=scale).astype(dtype)
        given = {"loss": head[0], "sample_weight": case.c, "target_weight": case.tau}
        net = case.net.network(dtype)
        report = check_gradient(net, case.w, case.X, case.t, **given)
        assert report.ok, report
        assert check_gradient(net, case.w, case.X[0], case.t[0], loss=head[0]).ok


def test_a_weight_of_the_only_output_passes():
    case = random_case(4, 3, 4, 6)
    given = case.w, case.X, case.t
    assert check_gradient(case.net.network(), *given, target_weight=[2.0]).ok


def test_converged_network_passes():
    """Where the gradient is all but zero, rounding is judged by the terms that cancel."""
    net = fastbp.Network(3, 5, output="identity", dtype=np.float32)
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(30, 3)).astype(np.float32), net.init(0)
    report = check_gradient(net, w, X, net(w, X))
    assert report.ok, report


def test_one_observation_passes():
    net = fastbp.Network(3, 5)
    assert check_gradient(net, net.init(0), [0.1, 0.2, 0.3], 0.5).ok


def spoiled(order, factor):
    """Return an activation whose v' or v'' is wrong by a factor."""
    functions = [math.sin, math.cos, lambda z: -math.sin(z)]
    right = functions[order]
    functions[order] = lambda z: factor * right(z)
    return fastbp.activation(
        functions[0], derivative=functions[1], second_derivative=functions[2], name="spoiled"
    )


@pytest.mark.parametrize("factor", [1.001, -1.0])
def test_wrong_first_derivative_is_found(factor):
    net = fastbp.Network(2, activations=["tanh", spoiled(1, factor)])
    rng = np.random.default_rng(0)
    report = check_gradient(net, net.init(0), rng.normal(size=(9, 2)), rng.normal(size=9))
    assert not report.ok and "FAILED" in repr(report)
    names = failed(report)
    assert "v' of spoiled, complex step" in names and "gradient by w, Taylor test" in names
    assert not any("tanh" in name for name in names)


def test_exponentials_that_overflow_are_no_fault():
    """Of complex numbers they are NaN, where of real ones they are infinite."""
    v = fastbp.activation(lambda z: z / (1.0 + np.exp(-z)))
    wrong = fastbp.activation(lambda z: z / (1.0 + np.exp(-z)), derivative=lambda z: 0.0 * z + 1.0)
    X, t = np.array([[-1e3], [-800.0], [0.5], [1e3]]), np.zeros(4)
    for swish in (v, wrong):
        net = fastbp.Network(1, activations=[swish], output="identity")
        report = check_gradient(net, np.ones(2), X, t)
        (slope,) = (check for check in report.checks if "v' of <lambda>" in check.name)
        assert report.ok == slope.ok == (swish is v) and np.isfinite(slope.measured)


def test_wrong_second_derivative_is_found():
    net = fastbp.Network(2, activations=["tanh", spoiled(2, 1.01)])
    rng = np.random.default_rng(0)
    report = check_gradient(net, net.init(0), rng.normal(size=(9, 2)), rng.normal(size=9))
    assert failed(report) == {"v'' of spoiled, complex step", "Hessian product, Taylor test"}


def test_wrong_kernel_is_found(monkeypatch):
    right = fastbp.Network.loss_and_grad

    def wrong(self, *args, **kwargs):
        loss, g = right(self, *args, **kwargs)
        g[-1] += 1e-6
        return loss, g

    monkeypatch.setattr(fastbp.Network, "loss_and_grad", wrong)
    net = fastbp.Network(2, 3)
    report = check_gradient(net, net.init(0), np.eye(2), [0.5, -0.5])
    assert "gradient by w" in failed(report)


SPOILED = {
    "value": "value, kernel against reference",
    "value_and_grad": "its gradient by w",
    "input_grad": "gradient by x",
    "input_hvp": "Hessian product by x",
    "per_sample_grad": "gradients by w",
    "hvp": "Hessian product",
    "gauss_newton_product": "Gauss–Newton product",
    "gauss_newton": "the Gauss–Newton matrix",
}


@pytest.mark.parametrize(("K", "output"), [(1, "tanh"), (2, "tanh"), (2, "softmax")])
@pytest.mark.parametrize("call", SPOILED)
def test_each_wrong_call_is_found(monkeypatch, call, K, output):
    right = getattr(fastbp.Network, call)

    def wrong(self, *args, **kwargs):
        got = right(self, *args, **kwargs)
        last = got[-1] if isinstance(got, tuple) else got
        last[..., -1] += 1e-7
        return got

    monkeypatch.setattr(fastbp.Network, call, wrong)
    net = fastbp.Network(2, 3, n_outputs=K, output=output)
    loss, t = ("cross_entropy", [1, 0]) if output == "softmax" else ("squared", np.eye(2))
    t = t[0] if K == 1 else t
    report = check_gradient(net, net.init(0), np.eye(2) + 0.5, t, loss=loss)
    assert SPOILED[call] in failed(report)


@pytest.mark.parametrize("H", [64, 256])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_kinks_do_not_fail_a_good_network(H, scale):
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(100, 10)), rng.normal(size=100)
    net = fastbp.Network(10, H, activations="relu", output="identity")
    for seed in range(10):
        report = check_gradient(net, scale * net.init(seed), X, t, seed=seed)
        assert report.ok, report


@pytest.mark.parametrize("scale", [1.0, 30.0, 50.0])
def test_saturation_does_not_fail_a_good_network_in_float32(scale):
    rng = np.random.default_rng(0)
    for N, H, B in ((10, 16, 100), (1, 1, 1)):
        X, t = rng.normal(size=(B, N)), rng.normal(size=B)
        net = fastbp.Network(N, H, dtype=np.float32)
        for seed in range(10):
            w = (scale * net.init(seed)).astype(np.float32)
            report = check_gradient(net, w, X.astype(np.float32), t.astype(np.float32))
            assert report.ok, [c for c in report.checks if not c.ok]


def test_wrong_jvp_is_found(monkeypatch):
    right = fastbp.Network.jvp
    monkeypatch.setattr(
        fastbp.Network, "jvp", lambda self, *args, **kwargs: 1.0001 * right(self, *args, **kwargs)
    )
    net = fastbp.Network(2, 3)
    report = check_gradient(net, net.init(0), np.eye(2), [0.5, -0.5])
    assert failed(report) == {"products with J and with J^T"}


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
@pytest.mark.parametrize("seed", range(3))
def test_check_gradient_of_saturated_neurons(activation, seed):
    X = np.random.default_rng(seed).normal(size=(10, 3))
    net = fastbp.Network(3, 4, activations=activation, output="identity")
    report = check_gradient(net, net.init(seed), 1e7 * X, np.sin(X[:, 0]))
    assert report.ok, report


def test_check_gradient_refuses_what_the_network_refuses():
    net = fastbp.Network(2, 3)
    for w, X, t, options in (
        (np.ones(8), np.eye(2), [0.0, 0.0], {}),
        (np.ones(9), np.eye(3), [0.0, 0.0, 0.0], {}),
        (np.ones(9), np.eye(2), [0.0], {}),
        (np.full(9, np.nan), np.eye(2), [0.0, 0.0], {}),
        (np.ones(9), np.eye(2), [0.0, 2.0], {"loss": "cross_entropy"}),
        (np.ones(9), np.eye(2), [0.0, 1.0], {"sample_weight": [-1.0, 1.0]}),
    ):
        with pytest.raises(ValueError):
            check_gradient(net, w, X, t, **options)


# ---- python -m fastbp check --------------------------------------------------------------------

CHECKED = 2 * (2 + len(LOSSES) + 2)  # dtypes; activations, losses, several outputs


def test_check_command(monkeypatch, capsys):
    monkeypatch.setattr(_self_check, "NAMES", ("tanh", "relu"))
    assert _cli.main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["tanh", "float64"],
        ["relu", "float64"],
        ["all,", "squared"],
    ]
    assert all(line.endswith("pass") for line in lines[2 : 2 + CHECKED])
    assert {"3 of tanh", "3 of softmax"} <= {line[:20].strip() for line in lines}
    assert lines[-1] == f"pass: all derivatives of {CHECKED} networks are right on this machine"


def test_check_command_fails_where_a_derivative_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(_self_check, "NAMES", ("tanh", spoiled(1, 1.01)))
    assert _cli.main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "v' of spoiled, complex step" in printed
    verdict = f"{CHECKED - 2} of {CHECKED} networks have wrong derivatives on this machine"
    assert f"fail: {verdict}" in printed
