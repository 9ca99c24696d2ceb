"""The reference against values from outside it: by hand, to 50 digits, by the complex step.

Then against itself: identities that hold between modes, whatever the network.
"""

import itertools
import re

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger import compare
from support import (
    CALLS,
    OUTPUTS,
    SCALES,
    arguments,
    array_of,
    assert_close,
    complex_step,
    flat,
    outputs_for,
    random_case,
    spec,
)

from fastbp import reference
from fastbp._rounding import size_of
from fastbp.activations import NAMES
from fastbp.losses import get_loss

GOLDEN = 1e-13
SMOOTH_LOSSES = ("squared", "log_cosh", "poisson")
# Comparisons look at the real part, so that even kinks take a complex z. Not so NumPy's erf, which
# is real, nor its complex log1p, which loses the digits of a small z.
NOT_COMPLEX = ("erf", "gelu", "log_cosh", "mish", "softplus")
COMPLEX = tuple(name for name in NAMES if name not in NOT_COMPLEX)


def random_shapes(test):
    """Run a test on 40 random cases and on the smallest."""
    test = given(
        seed=st.integers(0, 2**32 - 1),
        n_inputs=st.integers(1, 6),
        n_neurons=st.integers(1, 6),
        batch=st.integers(1, 5),
        scale=st.sampled_from(SCALES),
    )(test)
    test = example(seed=1, n_inputs=1, n_neurons=1, batch=1, scale=1.0)(test)
    return settings(derandomize=True, database=None, deadline=None, max_examples=40)(test)


# --- Worked by hand -------------------------------------------------------------------------------
#
# v = (square, identity), σ = square, a = (2, -1), W = ((1, 2), (3, -1)), x = (1, 2), so that
# f = (2 (x_1 + 2 x_2)² - (3 x_1 - x_2))².
#
#   z = (1 + 4, 3 - 2) = (5, 1)   u = (25, 1)   v' = (10, 1)   v'' = (2, 0)
#   s = 50 - 1 = 49               y = 2401      σ' = 98        σ'' = 2
#   ∂f/∂w_i = σ' u = (2450, 98)
#   δ = (98·2·10, 98·(-1)·1) = (1960, -98), and ∂f/∂W = δ x^T
#   ∂f/∂x = δ W = (1960·1 - 98·3, 1960·2 + 98) = (1666, 4018)

HAND = spec(2, ("square", "identity"), "square")
HAND_W = np.array([2.0, -1.0, 1.0, 2.0, 3.0, -1.0])
HAND_X = np.array([1.0, 2.0])
HAND_GRAD = np.array([2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0])


def test_maps_by_hand():
    z = reference.L(HAND, HAND_W, HAND_X)
    assert z.tolist() == [5.0, 1.0]
    u = reference.V(HAND, z)
    assert u.tolist() == [25.0, 1.0]
    s = reference.M(HAND, HAND_W, u)
    assert s == 49.0
    assert reference.sigma(HAND, s) == 2401.0


def test_jacobians_by_hand():
    z, u, s = np.array([5.0, 1.0]), np.array([25.0, 1.0]), np.float64(49.0)
    expected = {
        "J_L_w": [[0, 0, 1, 2, 0, 0], [0, 0, 0, 0, 1, 2]],
        "J_L_x": [[1, 2], [3, -1]],
        "J_V": [[10, 0], [0, 1]],
        "J_M_w": [[25, 1, 0, 0, 0, 0]],
        "J_M_u": [[2, -1]],
        "J_sigma": [[98]],
    }
    got = {
        "J_L_w": reference.J_L_w(HAND, HAND_W, HAND_X),
        "J_L_x": reference.J_L_x(HAND, HAND_W, HAND_X),
        "J_V": reference.J_V(HAND, z),
        "J_M_w": reference.J_M_w(HAND, HAND_W, u),
        "J_M_u": reference.J_M_u(HAND, HAND_W, u),
        "J_sigma": reference.J_sigma(HAND, s),
    }
    for name, jacobian in expected.items():
        np.testing.assert_array_equal(got[name], np.array(jacobian, float), strict=True)


def test_first_order_by_hand():
    y, g = reference.value_and_grad(HAND, HAND_W, HAND_X)
    assert y == 2401.0
    np.testing.assert_array_equal(g, HAND_GRAD)
    np.testing.assert_array_equal(reference.input_grad(HAND, HAND_W, HAND_X), [1666.0, 4018.0])
    # Along p = (1 … 1): the sum of the gradient, 8134. With dX = (1, 0): 1666 more.
    assert reference.jvp(HAND, HAND_W, HAND_X, np.ones(6)) == 8134.0
    assert reference.jvp(HAND, HAND_W, HAND_X, np.ones(6), dX=[1.0, 0.0]) == 9800.0


def test_loss_by_hand():
    # A second observation x = (1, 0): z = (1, 3), u = (1, 3), s = -1, y = 1, σ' = -2, and
    # ∇f = (-2, -6, -8, 0, 2, 0). With t = (2400, 3) and c = (1, 3): y - t = (1, -2), losses
    # (1/2, 2), mean (1/2 + 6)/4 = 13/8, gradient (∇f_1 - 6 ∇f_2)/4.
    X = np.array([[1.0, 2.0], [1.0, 0.0]])
    mean, g = reference.loss_and_grad(HAND, HAND_W, X, [2400.0, 3.0], sample_weight=[1.0, 3.0])
    assert mean == 13.0 / 8.0
    second = np.array([-2.0, -6.0, -8.0, 0.0, 2.0, 0.0])
    np.testing.assert_array_equal(g, (HAND_GRAD - 6.0 * second) / 4.0)


def test_second_order_by_hand():
    # f_11 = 2·17² + 98·4 = 970 and f_12 = 2·17·41 + 98·8 = 2178, from ∂s/∂x = (17, 41).
    np.testing.assert_array_equal(
        reference.input_hvp(HAND, HAND_W, HAND_X, [1.0, 0.0]), [970.0, 2178.0]
    )
    # p = e_1, t = 2400, so ȳ = ℓ'' = 1: ṡ = u_1 = 25, s̄ = 98, s̄˙ = 98·98·25 + 2·25 = 240150;
    # for a: s̄˙ u; δ˙ = (s̄˙·2·10 + 98·10, -s̄˙) = (4803980, -240150).
    np.testing.assert_array_equal(
        reference.hvp(HAND, HAND_W, HAND_X, 2400.0, np.eye(6)[0]),
        [6003750.0, 240150.0, 4803980.0, 9607960.0, -240150.0, -480300.0],
    )
    # Without curvature there is left ∇f (∇f · p), with ∇f · e_2 = 98.
    np.testing.assert_array_equal(
        reference.gauss_newton_product(HAND, HAND_W, HAND_X, 2400.0, np.eye(6)[1]),
        98.0 * HAND_GRAD,
    )


# --- To 50 digits ---------------------------------------------------------------------------------


def golden_case(output, scale):
    """Return a small case, and its arrays in 50 digits."""
    seed = [NAMES.index(output), int(10 * scale)]
    case = random_case(seed, 2, 3, 2, scale=scale, outputs=[output])
    return case, {
        name: oracle.exact(a) for name, a in vars(case).items() if isinstance(a, np.ndarray)
    }


def test_every_activation_has_its_turn_at_50_digits():
    cases = [golden_case(output, scale)[0] for output in OUTPUTS for scale in SCALES]
    assert {v.name for case in cases for v in case.net.activations} == set(NAMES)


def close_to_golden(got, want):
    compare("mpmath", got, np.asarray(want).astype(float), GOLDEN)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_first_order_to_50_digits(output, scale):
    case, big = golden_case(output, scale)
    net, w, X = case.net, case.w, case.X
    y = [oracle.value(net, big["w"], x) for x in big["X"]]
    G_w = [oracle.gradient(lambda w, x=x: oracle.value(net, w, x), big["w"]) for x in big["X"]]
    G_x = [oracle.gradient(lambda x: oracle.value(net, big["w"], x), x) for x in big["X"]]
    G_w, G_x = np.array(G_w), np.array(G_x)

    close_to_golden(reference.value(net, w, X), y)
    close_to_golden(reference.value_and_grad(net, w, X[0])[0], y[0])
    close_to_golden(reference.value_and_grad(net, w, X[0])[1], G_w[0])
    close_to_golden(reference.per_sample_grad(net, w, X), G_w)
    close_to_golden(reference.input_grad(net, w, X), G_x)
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    close_to_golden(g, big["ybar"] @ G_w)
    close_to_golden(rows, big["ybar"][:, np.newaxis] * G_x)
    ydot = G_w @ big["p"] + (G_x * big["dX"]).sum(axis=1)
    close_to_golden(reference.jvp(net, w, X, case.p), G_w @ big["p"])
    close_to_golden(reference.jvp(net, w, X, case.p, dX=case.dX), ydot)


@pytest.mark.parametrize("output", OUTPUTS)
def test_second_order_by_inputs_to_50_digits(output):
    case, big = golden_case(output, 1.0)
    want = [
        oracle.curvature(lambda x: oracle.value(case.net, big["w"], x), x, v)
        for x, v in zip(big["X"], big["dX"], strict=True)
    ]
    close_to_golden(reference.input_hvp(case.net, case.w, case.X, case.dX), want)


LOSS_OUTPUTS = [
    *itertools.product(sorted(set(oracle.LOSSES) - {"cross_entropy"}), ("tanh", "identity")),
    ("cross_entropy", "logistic"),
]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("loss", "output"), LOSS_OUTPUTS)
def test_losses_to_50_digits(loss, output, scale):
    case, big = golden_case(output, scale)
    net, w, X, t, p = case.net, case.w, case.X, case.t, case.p

    def mean(w):
        return oracle.mean_loss(net, w, big["X"], big["t"], big["c"], loss)

    kwargs = {"loss": loss, "sample_weight": case.c}
    want, want_g = mean(big["w"]), oracle.gradient(mean, big["w"])
    got, g = reference.loss_and_grad(net, w, X, t, **kwargs)
    close_to_golden(got, want)
    close_to_golden(g, want_g)
    got, g, _ = reference.gauss_newton(net, w, X, t, **kwargs)
    close_to_golden(got, want)
    close_to_golden(g, want_g)
    close_to_golden(
        reference.hvp(net, w, X, t, p, **kwargs), oracle.curvature(mean, big["w"], big["p"])
    )


@pytest.mark.parametrize(("loss", "output"), LOSS_OUTPUTS)
def test_gauss_newton_to_50_digits(loss, output):
    case, big = golden_case(output, 1.0)
    net, w, X, t, p = case.net, case.w, case.X, case.t, case.p
    # f ends at s where the loss takes the output over.
    end = "identity" if loss == "cross_entropy" else output
    outer = oracle.ACTIVATIONS["logistic" if loss == "cross_entropy" else "identity"]
    G = 0
    for x, t_b, c_b in zip(big["X"], big["t"], big["c"], strict=True):
        f = oracle.value(net, big["w"], x, end)
        g = oracle.gradient(lambda w, x=x: oracle.value(net, w, x, end), big["w"])
        ddloss = oracle.mp.diff(lambda f, t_b=t_b: oracle.LOSSES[loss](outer(f), t_b), f, 2)
        G = G + c_b * ddloss * np.outer(g, g)
    G = G / big["c"].sum()
    kwargs = {"loss": loss, "sample_weight": case.c}
    close_to_golden(reference.gauss_newton(net, w, X, t, **kwargs)[2], G)
    close_to_golden(reference.gauss_newton_product(net, w, X, t, p, **kwargs), G @ big["p"])


# --- The complex step -----------------------------------------------------------------------------


def complex_gradient(f, x):
    return np.stack([complex_step(f, x, e) for e in np.eye(x.size)], axis=-1)


@random_shapes
def test_first_order_by_complex_step(**shape):
    case = random_case(**shape, activations=COMPLEX, outputs=COMPLEX)
    net, w, X = case.net, case.w, case.X
    J_w = complex_gradient(lambda w: reference.value(net, w, X), w)
    J_x = np.array([complex_gradient(lambda x: reference.value(net, w, x), x) for x in X])

    assert_close(reference.value_and_grad(net, w, X[0])[1], J_w[0], 1e-12)
    assert_close(reference.per_sample_grad(net, w, X), J_w, 1e-12)
    assert_close(reference.input_grad(net, w, X), J_x, 1e-12)
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    assert_close(rows, case.ybar[:, np.newaxis] * J_x, 1e-12)
    assert_close(
        g,
        complex_gradient(lambda w: case.ybar @ reference.value(net, w, X), w),
        1e-12,
    )
    ydot = complex_step(lambda e: reference.value(net, w + e * case.p, X + e * case.dX), 0.0, 1.0)
    assert_close(reference.jvp(net, w, X, case.p, dX=case.dX), ydot, 1e-12)


@random_shapes
def test_vjp_and_jvp_have_one_derivative(**shape):
    # The Hessian of Σ_b ȳ_b f_b times p, through either: nothing on the way may conjugate.
    case = random_case(**shape, activations=COMPLEX, outputs=COMPLEX)
    net, w, X, ybar, p = case.net, case.w, case.X, case.ybar, case.p
    want = complex_gradient(lambda w: ybar @ reference.jvp(net, w, X, p), w)
    assert_close(complex_step(lambda w: reference.vjp(net, w, X, ybar), w, p), want, 1e-11)
    rows = complex_step(lambda w: reference.per_sample_grad(net, w, X), w, p)
    assert_close(ybar @ rows, want, 1e-11)


@pytest.mark.parametrize("loss", SMOOTH_LOSSES)
@random_shapes
def test_losses_by_complex_step(loss, **shape):
    outputs = [name for name in outputs_for(loss) if name in COMPLEX]
    case = random_case(**shape, activations=COMPLEX, outputs=outputs)
    kwargs = {"loss": loss, "sample_weight": case.c}

    def mean_and_grad(w):
        return reference.loss_and_grad(case.net, w, case.X, case.t, **kwargs)

    want = complex_gradient(lambda w: mean_and_grad(w)[0], case.w)
    assert_close(mean_and_grad(case.w)[1], want, 1e-12)
    got = reference.hvp(case.net, case.w, case.X, case.t, case.p, **kwargs)
    assert_close(got, complex_step(lambda w: mean_and_grad(w)[1], case.w, case.p), 1e-12)


@random_shapes
def test_input_curvature_by_complex_step(**shape):
    case = random_case(**shape, activations=COMPLEX, outputs=COMPLEX)
    want = complex_step(lambda X: reference.input_grad(case.net, case.w, X), case.X, case.dX)
    # v'' and σ'' cross zero, where their rounding errors remain, here multiplied by their factors.
    a, W = reference.split(case.net, case.w)
    factors = np.abs(a).sum() * (W * W).sum() * np.abs(case.dX).max()
    got = reference.input_hvp(case.net, case.w, case.X, case.dX)
    assert_close(got, want, 1e-12, floor=1e-15 * factors)


def test_every_public_name_has_its_turn_in_the_examples():
    lines = [line for line in reference.__doc__.splitlines() if line.startswith(">>> ")]
    assert set(reference.__all__) <= set(re.findall(r"\w+", " ".join(lines)))


# --- Products of Jacobians ------------------------------------------------------------------------


@random_shapes
def test_product_of_jacobians_is_the_gradient(**shape):
    case = random_case(**shape)
    net, w, x = case.net, case.w, case.X[0]
    z = reference.L(net, w, x)
    u = reference.V(net, z)
    s = reference.M(net, w, u)
    inner = reference.J_M_u(net, w, u) @ reference.J_V(net, z)
    y, g = reference.value_and_grad(net, w, x)
    assert_close(y, reference.sigma(net, s), 1e-13)
    row = reference.J_M_w(net, w, u) + inner @ reference.J_L_w(net, w, x)
    assert_close(g, (reference.J_sigma(net, s) @ row)[0], 1e-13)
    row = reference.J_sigma(net, s) @ inner @ reference.J_L_x(net, w, x)
    assert_close(reference.input_grad(net, w, x), row[0], 1e-13)

    for structure in (False, True):
        for order in (reference.grad_from_input_layer, reference.grad_from_output_layer):
            assert_close(order(net, w, x, structure=structure).gradient, g, 1e-13)
        for order in (
            reference.input_grad_from_input_layer,
            reference.input_grad_from_output_layer,
        ):
            assert_close(order(net, w, x, structure=structure).gradient, row[0], 1e-13)


def test_counted_operations_are_the_closed_forms():
    for N, H in itertools.product(range(1, 13), repeat=2):
        case = random_case([N, H], N, H, 1)
        closed = {
            (reference.grad_from_input_layer, False): N * H**3
            + H**3
            + N * H**2
            + H**2
            + 2 * (N * H + H),
            (reference.grad_from_output_layer, False): N * H**2 + 2 * H**2 + 2 * (N * H + H),
            (reference.grad_from_input_layer, True): 3 * N * H + H,
            (reference.grad_from_output_layer, True): N * H + 3 * H,
            (reference.input_grad_from_input_layer, False): N * H**2 + N * H + N,
            (reference.input_grad_from_output_layer, False): H**2 + N * H + N,
            (reference.input_grad_from_input_layer, True): 2 * N * H + N,
            (reference.input_grad_from_output_layer, True): N * H + 2 * H,
        }
        for (order, structure), operations in closed.items():
            got = order(case.net, case.w, case.X[0], structure=structure).operations
            assert got == operations, (N, H, order.__name__, structure)


# --- Identities between modes ---------------------------------------------------------------------


@random_shapes
def test_jvp_is_adjoint_to_vjp(**shape):
    case = random_case(**shape)
    ydot = reference.jvp(case.net, case.w, case.X, case.p, dX=case.dX)
    g, rows = reference.vjp(case.net, case.w, case.X, case.ybar, inputs=True)
    terms = np.concatenate([g * case.p, (rows * case.dX).ravel()])
    assert abs(ydot @ case.ybar - terms.sum()) <= 1e-13 * np.abs(terms).sum()


@random_shapes
def test_per_sample_gradients_sum_to_the_vjp(**shape):
    case = random_case(**shape)
    rows = reference.per_sample_grad(case.net, case.w, case.X)
    ones = np.ones(len(case.X))
    assert_close(reference.vjp(case.net, case.w, case.X, ones), rows.sum(axis=0), 1e-13)
    _, rows = reference.vjp(case.net, case.w, case.X, ones, inputs=True)
    assert_close(rows, reference.input_grad(case.net, case.w, case.X), 1e-13)


@pytest.mark.parametrize("loss", [*SMOOTH_LOSSES, "huber", "cross_entropy"])
@random_shapes
def test_hessian_is_symmetric(loss, **shape):
    case = random_case(**shape, outputs=outputs_for(loss))
    kwargs = {"loss": loss, "sample_weight": case.c}
    hessian = np.array(
        [
            reference.hvp(case.net, case.w, case.X, case.t, e, **kwargs)
            for e in np.eye(case.net.n_params)
        ]
    )
    assert_close(hessian, hessian.T, 1e-12)


@pytest.mark.parametrize("loss", [*SMOOTH_LOSSES, "huber", "cross_entropy"])
@random_shapes
def test_gauss_newton_is_the_explicit_product(loss, **shape):
    case = random_case(**shape, outputs=outputs_for(loss))
    net, w, X, t = case.net, case.w, case.X, case.t
    kwargs = {"loss": loss, "sample_weight": case.c}
    mean, g, G = reference.gauss_newton(net, w, X, t, **kwargs)
    want, want_g = reference.loss_and_grad(net, w, X, t, **kwargs)
    assert mean == want
    assert_close(g, want_g, 1e-13)

    y = reference.value(net, w, X)
    if loss == "cross_entropy":  # as a function of s
        J = reference.per_sample_grad(spec(net.n_inputs, net.activations, "identity"), w, X)
        C = np.diag(case.c * y * (1 - y) / case.c.sum())
    else:
        J = reference.per_sample_grad(net, w, X)
        C = np.diag(case.c * get_loss(loss).evaluate(2, y, t)[2] / case.c.sum())
    assert_close(G, J.T @ C @ J, 1e-12)
    product = reference.gauss_newton_product(net, w, X, t, case.p, **kwargs)
    # Against |G| |p|, because G p cancels where p is nearly orthogonal to the gradients.
    assert np.all(np.abs(product - G @ case.p) <= 1e-12 * np.abs(G).max() * np.abs(case.p).sum())
    assert np.linalg.eigvalsh(G).min() >= -1e-13 * np.abs(G).sum()


# --- How large rounding may be --------------------------------------------------------------------


@random_shapes
def test_sizes_bound_what_a_relative_error_of_the_weights_does(**shape):
    case = random_case(**shape)
    net, moved = case.net, case.w * (1.0 + 1e-8 * np.sign(case.p))
    besides = {"vjp": {"inputs": True}, "loss_and_grad": {"loss": "log_cosh"}}
    for name in CALLS:
        if name in ("input_hvp", "hvp", "gauss_newton_product"):
            continue  # they move by third derivatives too
        call, ((w, *args), options) = getattr(reference, name), arguments(name, vars(case))
        options |= besides.get(name, {})
        before, after = (flat(call(net, weights, *args, **options)) for weights in (w, moved))
        size = flat(size_of(call, net, w, *args, **options))
        # Twice: a gradient by x is a product with W after one with a.
        assert np.all(np.abs(after - before) <= 2.01e-8 * size), name


@random_shapes
def test_size_of_a_value_is_no_larger_than_need_be(**shape):
    # With signs that move every term of s one way, y moves by all of its size but |y|.
    case = random_case(**shape)
    net, w, x = case.net, case.w, case.X[0]
    y, g = reference.value_and_grad(net, w, x)
    moved = 1e-8 * np.sign(g * w) * w
    want = size_of(reference.value, net, w, x) - abs(y)
    assert reference.jvp(net, w, x, moved) == pytest.approx(1e-8 * want, rel=1e-9)


# --- Shapes, dtypes, edges ------------------------------------------------------------------------


def every_mode(net, **given):
    """Return the results of all modes by name."""
    results = {}
    for name in CALLS:
        args, options = arguments(name, given)
        result = getattr(reference, name)(net, *args, **options)
        results[name] = array_of(result)
        if isinstance(result, tuple):
            results[f"{name}: number"] = result[0]
    args, _ = arguments("vjp", given)
    results["vjp: rows"] = reference.vjp(net, *args, inputs=True)[1]
    args, options = arguments("loss_and_grad", given)
    parts = reference.gauss_newton(net, *args, **options)
    return results | {f"gauss_newton: {k}": part for k, part in enumerate(parts)}


PER_SAMPLE = ("vjp: rows", *(name for name, call in CALLS.items() if call.axes.startswith("B")))


@pytest.mark.parametrize(("n_inputs", "n_neurons"), [(1, 1), (1, 4), (4, 1), (3, 5)])
def test_single_observation_is_a_batch_of_one_without_its_axis(n_inputs, n_neurons):
    case = random_case(7, n_inputs, n_neurons, 1)
    batch = vars(case)
    single = {k: v[0] if k in ("X", "t", "ybar", "dX", "c") else v for k, v in batch.items()}
    of_batch, of_one = every_mode(**batch), every_mode(**single)
    for name, result in of_batch.items():
        want = result[0] if name in PER_SAMPLE else result
        np.testing.assert_array_equal(of_one[name], want, strict=True, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble", "complex128"])
def test_results_have_the_dtype_of_the_arguments(dtype):
    case = random_case(8, 3, 4, 5, activations=COMPLEX, outputs=COMPLEX)
    want = every_mode(**vars(case.astype(np.float32).astype(np.float64)))
    got = every_mode(**vars(case.astype(np.float32).astype(dtype)))
    tolerance = 2e-5 if dtype == "float32" else 1e-13
    for name, result in got.items():
        assert result.dtype == dtype, name
        assert_close(result, want[name], tolerance)


def test_integers_and_python_numbers_are_floats_of_the_arrays_dtype():
    w, X = np.arange(6), [[1, 2]]
    assert reference.value(HAND, w, X).dtype == np.float64
    w, x = HAND_W.astype(np.float32), HAND_X.astype(np.float32)
    assert reference.vjp(HAND, w, x, 1.0).dtype == np.float32
    assert reference.hvp(HAND, w, x, 2400, np.arange(6)).dtype == np.float32


def test_batch_of_none():
    case = random_case(9, 3, 2, 0)
    net, w, X = case.net, case.w, case.X
    assert reference.value(net, w, X).shape == (0,)
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    np.testing.assert_array_equal(g, np.zeros(8))
    assert rows.shape == (0, 3)
    assert reference.jvp(net, w, X, case.p, dX=case.dX).shape == (0,)
    assert reference.per_sample_grad(net, w, X).shape == (0, 8)
    assert reference.input_grad(net, w, X).shape == (0, 3)
    assert reference.input_hvp(net, w, X, case.dX).shape == (0, 3)
    for mode, extra in (("loss_and_grad", ()), ("hvp", (case.p,)), ("gauss_newton", ())):
        with pytest.raises(ValueError, match="no observations"):
            getattr(reference, mode)(net, w, X, case.t, *extra)


def test_scaling_all_weights_changes_nothing():
    case = random_case(10, 3, 4, 5)
    args = (case.net, case.w, case.X, case.t)
    mean, g = reference.loss_and_grad(*args, sample_weight=case.c)
    again, again_g = reference.loss_and_grad(*args, sample_weight=8.0 * case.c)
    assert again == mean
    np.testing.assert_array_equal(again_g, g)
    # Without weights, the plain mean.
    mean, g = reference.loss_and_grad(*args)
    ones, ones_g = reference.loss_and_grad(*args, sample_weight=np.ones(5))
    assert ones == mean
    np.testing.assert_array_equal(ones_g, g)


def test_cross_entropy_is_finite_and_exact_for_any_s():
    net = spec(1, ["identity"], "logistic")
    for s, t, want in [(800.0, 0.0, 800.0), (-800.0, 1.0, 800.0), (800.0, 1.0, 0.0)]:
        mean, g = reference.loss_and_grad(net, [1.0, 1.0], [s], t, loss="cross_entropy")
        assert mean == want
        # ∂s/∂a = z = s and ∂s/∂W = a x = s, times y - t.
        np.testing.assert_array_equal(g, 2 * [((s > 0) - t) * s])


def test_arguments_are_left_as_they_were():
    case = random_case(11, 3, 4, 5)
    before = case.astype(np.float64)
    every_mode(**vars(case))
    for name, array in vars(case).items():
        if name != "net":
            np.testing.assert_array_equal(array, getattr(before, name))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: reference.value(c.net, c.w[1:], c.X), r"w has shape \(15,\).*\(16,\)"),
        (lambda c: reference.value(c.net, c.w, c.X.T), r"X has shape \(3, 5\).*\(3, 3\)"),
        (lambda c: reference.value(c.net, c.w, c.X[0, :2]), r"X has shape \(2,\).*\(3,\)"),
        (lambda c: reference.value(c.net, c.w, 1.0), r"X has shape \(\)"),
        (lambda c: reference.vjp(c.net, c.w, c.X, 1.0), r"ybar has shape \(\).*\(5,\)"),
        (lambda c: reference.jvp(c.net, c.w, c.X, c.p[1:]), r"p has shape \(15,\).*\(16,\)"),
        (lambda c: reference.loss_and_grad(c.net, c.w, c.X, c.t[1:]), r"t has shape \(4,\)"),
        (lambda c: reference.value_and_grad(c.net, c.w, c.X), "one observation"),
        (lambda c: reference.grad_from_input_layer(c.net, c.w, c.X), "one observation"),
        (
            lambda c: reference.loss_and_grad(c.net, c.w, c.X, c.t, sample_weight=0 * c.c),
            "sum 0",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_case(12, 3, 4, 5))
