"""The reference against values from outside it: by hand, to 50 digits, by the complex step.

Then against itself: identities that hold between modes, whatever the network. One output is a kind
of several: only the axis K is missing from its arrays.
"""

import itertools
import pickle
import re
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger import compare
from support import (
    CALLS,
    COMPLEX,
    HEADS,
    OUTPUTS,
    SCALES,
    arguments,
    array_of,
    assert_close,
    complex_step,
    flat,
    outputs_of,
    random_case,
    spec,
    targets_for,
)

from fastbp import reference
from fastbp._rounding import size_of
from fastbp.activations import NAMES, get_activation, softmax
from fastbp.losses import get_loss

GOLDEN = 1e-13
KINDS = ("one", "mixed", "shared", "softmax")
"""Of outputs: one, or several that differ, that are one function, that are joined."""
ONE = [(loss, "one", "numbers") for loss in ("squared", "log_cosh", "huber", "poisson")]
ONE += [("cross_entropy", "one", "numbers")]
of_kinds = pytest.mark.parametrize("kind", KINDS)
of_losses = pytest.mark.parametrize(("loss", "output", "kind"), [*ONE, *HEADS])


def random_shapes(test):
    """Run a test on 25 random cases, and on the smallest."""
    test = given(
        seed=st.integers(0, 2**32 - 1),
        n_inputs=st.integers(1, 6),
        n_neurons=st.integers(1, 6),
        batch=st.integers(1, 5),
        n_outputs=st.integers(2, 5),
        scale=st.sampled_from(SCALES),
    )(test)
    test = example(seed=1, n_inputs=1, n_neurons=1, batch=1, n_outputs=2, scale=1.0)(test)
    return settings(derandomize=True, database=None, deadline=None, max_examples=25)(test)


def drawn(kind, shape, names=OUTPUTS, **more):
    """Return a random case with outputs of a kind, by names that are among these."""
    if kind == "one":
        shape = {**shape, "n_outputs": 1}
    outputs = {"shared": "sin", "softmax": softmax}.get(kind, names)
    return random_case(**shape, outputs=outputs, **more)


def drawn_for(loss, output, kind, shape, names=NAMES, **more):
    """Return a random case for one of `of_losses`, its targets, and the options of a mean."""
    if output == "one":
        shape, output = {**shape, "n_outputs": 1}, "mixed"
    case = random_case(**shape, outputs=outputs_of(loss, output, names), **more)
    weights = {"sample_weight": case.c, "target_weight": case.tau}
    return case, targets_for(case, kind), {"loss": loss, **weights}


def with_outputs(case, array, *axes):
    """Return an array with its axis K, which one output does not have."""
    return np.reshape(array, (len(case.X), case.net.n_outputs, *axes))


def without(case, array):
    """Return an array (B, K, …) as results have it."""
    return array[:, 0] if case.net.n_outputs == 1 else array


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

SHAPES = {(2, 3, 2): 2, (3, 2, 1): 3, (2, 3, 1): 17, (1, 3, 2): 3, (3, 1, 2): 2}
"""(N, H, B) and K, where that is not one."""
ALL = [
    *(((2, 3, 2), 1, [output]) for output in OUTPUTS),
    *((*shape, outputs) for shape in SHAPES.items() for outputs in (OUTPUTS, "tanh", softmax)),
]
LOSS_OUTPUTS = [
    *itertools.product(sorted(set(oracle.LOSSES) - {"cross_entropy"}), ("tanh", "identity")),
    ("cross_entropy", "logistic"),
]
ALL_HEADS = [
    *(((2, 3, 2), 1, loss, [output], "numbers") for loss, output in LOSS_OUTPUTS),
    *(
        (*shape, loss, outputs_of(loss, output), kind)
        for shape in SHAPES.items()
        for loss, output, kind in HEADS
    ),
]
SLOW = [("squared", "numbers"), ("cross_entropy", "classes")]
"""Losses and targets that have their turn at all second differences of the largest shape."""


def label(value):
    if isinstance(value, list | tuple):
        return "mixed" if len(value) > 3 else "-".join(map(str, value))
    return str(value)


of_all = pytest.mark.parametrize(("shape", "n_outputs", "outputs"), ALL, ids=label)
of_all_heads = pytest.mark.parametrize(
    ("shape", "n_outputs", "loss", "outputs", "kind"), ALL_HEADS, ids=label
)


def golden_case(shape, n_outputs, scale, outputs):
    """Return a case, some of its weights 0 if K > 1, and its arrays in 50 digits."""
    several = n_outputs > 1
    seed = [*shape, n_outputs] if several else [NAMES.index(outputs[0])]
    seed = [*seed, int(10 * scale)]
    case = random_case(seed, *shape, scale=scale, outputs=outputs, n_outputs=n_outputs)
    for part, terms in zip(reference.split(case.net, case.w), (shape[1], shape[0]), strict=True):
        if several and terms > 1:  # a sum of none would be at the kinks
            part.flat[1::5] = 0.0
    arrays = {name: a for name, a in vars(case).items() if isinstance(a, np.ndarray)}
    return case, {name: oracle.exact(a) for name, a in arrays.items()}


def test_every_activation_has_its_turn_at_50_digits():
    cases = [golden_case((2, 3, 2), 1, scale, [v])[0] for v in OUTPUTS for scale in SCALES]
    assert {v.name for case in cases for v in case.net.activations} == set(NAMES)


def close_to_golden(got, want):
    compare("mpmath", got, np.asarray(want).astype(float), GOLDEN)


@pytest.mark.parametrize("scale", SCALES)
@of_all
def test_first_order_to_50_digits(shape, n_outputs, outputs, scale):
    case, big = golden_case(shape, n_outputs, scale, outputs)
    net, w, X = case.net, case.w, case.X
    y = np.array([oracle.values(net, big["w"], x) for x in big["X"]])
    by_w = [oracle.jacobian(lambda w, x=x: oracle.values(net, w, x), big["w"]) for x in big["X"]]
    by_x = [oracle.jacobian(lambda x: oracle.values(net, big["w"], x), x) for x in big["X"]]
    J_w, J_x = np.array(by_w), np.array(by_x)

    close_to_golden(reference.value(net, w, X), without(case, y))
    y_0, J_0 = reference.value_and_grad(net, w, X[0])
    close_to_golden(y_0, without(case, y)[0])
    close_to_golden(J_0, without(case, J_w)[0])
    close_to_golden(reference.per_sample_grad(net, w, X), without(case, J_w))
    close_to_golden(reference.input_grad(net, w, X), without(case, J_x))
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    ybar = with_outputs(case, big["ybar"], 1)
    close_to_golden(g, (ybar * J_w).sum(axis=(0, 1)))
    close_to_golden(rows, (ybar * J_x).sum(axis=1))
    along = J_w @ big["p"]
    close_to_golden(reference.jvp(net, w, X, case.p), without(case, along))
    along = along + (J_x * big["dX"][:, np.newaxis]).sum(axis=2)
    close_to_golden(reference.jvp(net, w, X, case.p, dX=case.dX), without(case, along))


@of_all
def test_second_order_by_inputs_to_50_digits(shape, n_outputs, outputs):
    case, big = golden_case(shape, n_outputs, 1.0, outputs)
    want = [
        [
            oracle.curvature(lambda x, k=k: oracle.values(case.net, big["w"], x)[k], x, v)
            for k in range(n_outputs)
        ]
        for x, v in zip(big["X"], big["dX"], strict=True)
    ]
    got = reference.input_hvp(case.net, case.w, case.X, case.dX)
    close_to_golden(got, without(case, np.array(want)))


def golden_head(shape, n_outputs, scale, loss, outputs, kind):
    """Return a case, its targets and options, and (X, t, c, τ) in 50 digits."""
    case, big = golden_case(shape, n_outputs, scale, outputs)
    t, options = targets_for(case, kind), {"sample_weight": case.c, "target_weight": case.tau}
    exact_t = oracle.exact(np.eye(n_outputs)[t] if kind == "classes" else t)
    tau = big.get("tau", oracle.exact(np.ones(1)))
    return case, big, t, {"loss": loss, **options}, (big["X"], exact_t, big["c"], tau)


@pytest.mark.parametrize("scale", SCALES)
@of_all_heads
def test_losses_to_50_digits(shape, n_outputs, loss, outputs, kind, scale):
    head = golden_head(shape, n_outputs, scale, loss, outputs, kind)
    case, big, t, options, (big_X, big_t, big_c, tau) = head
    net, w, X, p = case.net, case.w, case.X, case.p

    def mean(w):
        return oracle.mean_loss(net, w, big_X, big_t, big_c, loss, tau)

    want, want_g = mean(big["w"]), oracle.gradient(mean, big["w"])
    for call in (reference.loss_and_grad, reference.gauss_newton):
        got, g = call(net, w, X, t, **options)[:2]
        close_to_golden(got, want)
        close_to_golden(g, want_g)
    if len(p) < 50 or (scale == 1.0 and (loss, kind) in SLOW):
        product = reference.hvp(net, w, X, t, p, **options)
        close_to_golden(product, oracle.curvature(mean, big["w"], big["p"]))


@of_all_heads
def test_gauss_newton_to_50_digits(shape, n_outputs, loss, outputs, kind):
    head = golden_head(shape, n_outputs, 1.0, loss, outputs, kind)
    case, big, t, options, (_, big_t, _, tau) = head
    net, w, X, p, K = case.net, case.w, case.X, case.p, n_outputs
    # f ends at s where the loss takes the output over.
    end = ["identity"] * K if loss == "cross_entropy" else oracle.output_names(net)
    G = 0
    for b, x in enumerate(big["X"]):
        y = oracle.values(net, big["w"], x)
        J = oracle.jacobian(lambda w, x=x: oracle.values(net, w, x, end), big["w"])
        if kind in ("probabilities", "classes"):
            T = tau[t[b]] if kind == "classes" else tau @ oracle.exact(t[b])
            Q = T * (np.diag(y) - np.outer(y, y))
        elif loss == "cross_entropy":
            Q = np.diag(tau * y * (1 - y))
        else:
            curved = [
                oracle.mp.diff(lambda y, t=t: oracle.LOSSES[loss](y, t), y_k, 2)
                for y_k, t in zip(y, np.reshape(big_t[b], K), strict=True)
            ]
            Q = np.diag(tau * curved)
        G = G + big["c"][b] * (J.T @ Q @ J)
    G = G / big["c"].sum()
    close_to_golden(reference.gauss_newton(net, w, X, t, **options)[2], G)
    close_to_golden(reference.gauss_newton_product(net, w, X, t, p, **options), G @ big["p"])


# --- The complex step -----------------------------------------------------------------------------


def complex_gradient(f, x):
    return np.stack([complex_step(f, x, e) for e in np.eye(x.size)], axis=-1)


@of_kinds
@random_shapes
def test_first_order_by_complex_step(kind, **shape):
    case = drawn(kind, shape, COMPLEX, activations=COMPLEX)
    net, w, X, ybar, p = case.net, case.w, case.X, case.ybar, case.p
    J_w = complex_gradient(lambda w: reference.value(net, w, X), w)
    J_x = np.array([complex_gradient(lambda x: reference.value(net, w, x), x) for x in X])

    assert_close(reference.value_and_grad(net, w, X[0])[1], J_w[0], 1e-12)
    assert_close(reference.per_sample_grad(net, w, X), J_w, 1e-12)
    assert_close(reference.input_grad(net, w, X), J_x, 1e-12)
    g, rows = reference.vjp(net, w, X, ybar, inputs=True)
    by_x = with_outputs(case, ybar, 1) * with_outputs(case, J_x, net.n_inputs)
    assert_close(rows, by_x.sum(axis=1), 1e-12)
    assert_close(g, complex_gradient(lambda w: (ybar * reference.value(net, w, X)).sum(), w), 1e-12)
    along = complex_step(lambda e: reference.value(net, w + e * p, X + e * case.dX), 0.0, 1.0)
    assert_close(reference.jvp(net, w, X, p, dX=case.dX), along, 1e-12)


@pytest.mark.parametrize("kind", KINDS[:3])
@random_shapes
def test_vjp_and_jvp_have_one_derivative(kind, **shape):
    # The Hessian of Σ_b ȳ_b f_b times p, through either: nothing on the way may conjugate.
    case = drawn(kind, shape, COMPLEX, activations=COMPLEX)
    net, w, X, ybar, p = case.net, case.w, case.X, case.ybar, case.p
    want = complex_gradient(lambda w: (ybar * reference.jvp(net, w, X, p)).sum(), w)
    assert_close(complex_step(lambda w: reference.vjp(net, w, X, ybar), w, p), want, 1e-11)
    rows = complex_step(lambda w: reference.per_sample_grad(net, w, X), w, p)
    assert_close((ybar[..., np.newaxis] * rows).reshape(-1, w.size).sum(axis=0), want, 1e-11)


@of_losses
@random_shapes
def test_losses_by_complex_step(loss, output, kind, **shape):
    case, t, options = drawn_for(loss, output, kind, shape, COMPLEX, activations=COMPLEX)
    net, w, X = case.net, case.w, case.X

    def mean_and_grad(w):
        return reference.loss_and_grad(net, w, X, t, **options)

    want = complex_gradient(lambda w: mean_and_grad(w)[0], w)
    assert_close(mean_and_grad(w)[1], want, 1e-12)
    want = complex_step(lambda w: mean_and_grad(w)[1], w, case.p)
    assert_close(reference.hvp(net, w, X, t, case.p, **options), want, 1e-12, floor=1e-15)


@of_kinds
@random_shapes
def test_input_curvature_by_complex_step(kind, **shape):
    case = drawn(kind, shape, COMPLEX, activations=COMPLEX)
    want = complex_step(lambda X: reference.input_grad(case.net, case.w, X), case.X, case.dX)
    # v'' and σ'' cross zero, where their rounding errors remain, here multiplied by their factors.
    A, W = reference.split(case.net, case.w)
    factors = np.abs(A).sum() * (W * W).sum() * np.abs(case.dX).max()
    got = reference.input_hvp(case.net, case.w, case.X, case.dX)
    assert_close(got, want, 1e-12, floor=1e-15 * factors)


def test_every_public_name_has_its_turn_in_the_examples():
    lines = [line for line in reference.__doc__.splitlines() if line.startswith(">>> ")]
    assert set(reference.__all__) <= set(re.findall(r"\w+", " ".join(lines)))


# --- Products of Jacobians ------------------------------------------------------------------------

ORDERS = [getattr(reference, name) for name in reference.__all__ if name.endswith("_layer")]


@of_kinds
@random_shapes
def test_product_of_jacobians_is_the_jacobian(kind, **shape):
    case = drawn(kind, shape)
    net, w, x = case.net, case.w, case.X[0]
    z = reference.L(net, w, x)
    u = reference.V(net, z)
    s = reference.M(net, w, u)
    inner = reference.J_M_u(net, w, u) @ reference.J_V(net, z)
    by_w = reference.J_M_w(net, w, u) + inner @ reference.J_L_w(net, w, x)
    by_s, by_x = reference.J_sigma(net, s), inner @ reference.J_L_x(net, w, x)
    by_w, by_x = (without(case, (by_s @ rows)[np.newaxis])[0] for rows in (by_w, by_x))
    y, J_w = reference.value_and_grad(net, w, x)
    assert_close(y, reference.sigma(net, s), 1e-13)
    assert_close(J_w, by_w, 1e-13)
    assert_close(reference.input_grad(net, w, x), by_x, 1e-13)
    for order, structure in itertools.product(ORDERS, (False, True)):
        want = by_x if order.__name__.startswith("input") else J_w
        assert_close(order(net, w, x, structure=structure).gradient, want, 1e-13)


def test_counted_operations_are_the_closed_forms():
    for N, H, K in itertools.product((1, 2, 5, 7), (1, 2, 3, 8), (1, 2, 3, 11)):
        P = K * H + H * N
        closed = {
            ("grad_from_input_layer", False): H**2 * P + K * H * P + K * P + K**2 * P,
            ("grad_from_output_layer", False): K * H**2 + K * H * P + K * P + K**2 * P,
            ("grad_from_input_layer", True): (2 * K + 1) * N * H + K * H,
            ("grad_from_output_layer", True): K * N * H + 3 * K * H,
            ("input_grad_from_input_layer", False): N * H**2 + K * N * H + K**2 * N,
            ("input_grad_from_output_layer", False): K * H**2 + K * N * H + K**2 * N,
            ("input_grad_from_input_layer", True): (K + 1) * N * H + K * N,
            ("input_grad_from_output_layer", True): K * N * H + 2 * K * H,
        }
        for outputs in (OUTPUTS, softmax)[: 1 + (K > 1)]:
            case = random_case([N, H, K], N, H, 1, outputs=outputs, n_outputs=K)
            for (order, structure), operations in closed.items():
                if outputs is softmax and structure:
                    continue  # J_σ is no diagonal there
                call = getattr(reference, order)
                got = call(case.net, case.w, case.X[0], structure=structure).operations
                assert got == operations, (N, H, K, order, structure)


# --- Identities between modes ---------------------------------------------------------------------


@of_kinds
@random_shapes
def test_jvp_is_adjoint_to_vjp(kind, **shape):
    case = drawn(kind, shape)
    along = reference.jvp(case.net, case.w, case.X, case.p, dX=case.dX)
    g, rows = reference.vjp(case.net, case.w, case.X, case.ybar, inputs=True)
    terms = np.concatenate([g * case.p, (rows * case.dX).ravel()])
    largest = np.abs(terms).sum() + np.abs(along * case.ybar).sum()
    assert abs((along * case.ybar).sum() - terms.sum()) <= 1e-13 * largest


@of_kinds
@random_shapes
def test_per_sample_gradients_sum_to_the_vjp(kind, **shape):
    case = drawn(kind, shape)
    net, w, X, ones = case.net, case.w, case.X, np.ones_like(case.ybar)
    rows = reference.per_sample_grad(net, w, X).reshape(-1, net.n_params)
    g, by_x = reference.vjp(net, w, X, ones, inputs=True)
    # On a softmax they cancel: y sums to 1.
    floor = 1e-13 * np.abs(rows).sum()
    assert_close(g, rows.sum(axis=0), 1e-13, floor=floor)
    each = with_outputs(case, reference.input_grad(net, w, X), net.n_inputs)
    assert_close(by_x, each.sum(axis=1), 1e-13, floor=1e-13 * np.abs(each).sum())


@random_shapes
def test_each_output_is_a_network_of_its_own(**shape):
    case = random_case(**shape)
    net, w, X = case.net, case.w, case.X
    A, W = reference.split(net, w)
    t, tau = case.t, case.tau
    total = 0.0
    for k, sigma in enumerate(net.output):
        one = spec(net.n_inputs, net.activations, sigma)
        w_k = np.concatenate([A[k], W.ravel()])
        assert_close(reference.value(net, w, X)[:, k], reference.value(one, w_k, X), 1e-14)
        rows = reference.per_sample_grad(net, w, X)[:, k]
        own = reference.per_sample_grad(one, w_k, X)
        H = net.n_neurons
        assert_close(rows[:, k * H : (k + 1) * H], own[:, :H], 1e-14)
        assert_close(rows[:, A.size :], own[:, H:], 1e-14)
        assert not np.delete(rows[:, : A.size], range(k * H, (k + 1) * H), axis=1).any()
        by_x = reference.input_hvp(net, w, X, case.dX)[:, k]
        assert_close(by_x, reference.input_hvp(one, w_k, X, case.dX), 1e-13)
        mean, _ = reference.loss_and_grad(one, w_k, X, t[:, k], sample_weight=case.c)
        total += tau[k] * mean
    got, _ = reference.loss_and_grad(net, w, X, t, sample_weight=case.c, target_weight=tau)
    assert_close(got, total, 1e-13)


@of_losses
@random_shapes
def test_second_derivatives_are_symmetric(loss, output, kind, **shape):
    case, t, options = drawn_for(loss, output, kind, shape)
    net, w, X = case.net, case.w, case.X
    hessian = [reference.hvp(net, w, X, t, e, **options) for e in np.eye(net.n_params)]
    assert_close(hessian, np.transpose(hessian), 1e-12)

    mean, g, G = reference.gauss_newton(net, w, X, t, **options)
    want, want_g = reference.loss_and_grad(net, w, X, t, **options)
    assert mean == want
    assert_close(g, want_g, 1e-13, floor=1e-16)
    assert_close(G, G.T, 1e-14)
    assert np.linalg.eigvalsh(G).min() >= -1e-13 * np.abs(G).sum()
    product = reference.gauss_newton_product(net, w, X, t, case.p, **options)
    # Against |G| |p|, because G p cancels where p is nearly orthogonal to the gradients.
    assert np.all(np.abs(product - G @ case.p) <= 1e-12 * np.abs(G).max() * np.abs(case.p).sum())
    if loss == "cross_entropy" and output == "softmax":
        return
    y, end = reference.value(net, w, X), net
    curved = get_loss(loss).evaluate(2, y, t)[2]
    if loss == "cross_entropy":  # as a function of s
        curved = y * (1 - y)
        end = spec(net.n_inputs, net.activations, "identity", net.n_outputs)
    J = reference.per_sample_grad(end, w, X).reshape(-1, net.n_params)
    tau = np.ones(1) if case.tau is None else case.tau
    C = with_outputs(case, curved) * tau * case.c[:, np.newaxis] / case.c.sum()
    assert_close(G, J.T @ (C.reshape(-1, 1) * J), 1e-12)


# --- How large rounding may be --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[:3])
@random_shapes
def test_sizes_bound_what_a_relative_error_of_the_weights_does(kind, **shape):
    case = drawn(kind, shape)
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
    case = drawn("one", shape)
    net, w, x = case.net, case.w, case.X[0]
    y, g = reference.value_and_grad(net, w, x)
    moved = 1e-8 * np.sign(g * w) * w
    want = size_of(reference.value, net, w, x) - abs(y)
    assert reference.jvp(net, w, x, moved) == pytest.approx(1e-8 * want, rel=1e-9)


# --- Softmax --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_softmax_of_two_is_the_logistic_function(scale):
    case = random_case([3, int(scale)], 3, 4, 6, scale=scale, outputs=softmax, n_outputs=2)
    (a, b), W = reference.split(case.net, case.w)
    one = spec(3, case.net.activations, "logistic")
    w = np.concatenate([b - a, W.ravel()])
    p_1 = reference.value(one, w, case.X)
    assert_close(reference.value(case.net, case.w, case.X), np.stack([1 - p_1, p_1], 1), 1e-14)
    t = np.arange(6) % 2
    options = {"loss": "cross_entropy", "sample_weight": case.c}
    got, g = reference.loss_and_grad(case.net, case.w, case.X, t, **options)
    want, h = reference.loss_and_grad(one, w, case.X, t, **options)
    assert got == pytest.approx(want, rel=1e-14)
    assert_close(g, np.concatenate([-h[:4], h]), 1e-13)


def test_softmax_cross_entropy_is_finite_and_exact_for_any_s():
    net = spec(1, ["identity"], softmax, 3)
    # s = (-s, 0, s); what is 0 below is less than the least float.
    for s, t, want, slope in [
        (800.0, 0, 1600.0, [-1.0, 0.0, 1.0]),
        (800.0, 2, 0.0, [0.0, 0.0, 0.0]),
        (-800.0, 1, 800.0, [1.0, -1.0, 0.0]),
        (1e308, 1, 1e308, [0.0, -1.0, 1.0]),
        (40.0, 2, np.exp(-40.0), [np.exp(-80.0), np.exp(-40.0), -np.exp(-40.0)]),
    ]:
        w = [-1.0, 0.0, 1.0, 1.0]
        mean, g = reference.loss_and_grad(net, w, [s], t, loss="cross_entropy")
        assert mean == pytest.approx(want, rel=1e-14, abs=0.0)
        np.testing.assert_allclose(g[:3], np.multiply(slope, s), rtol=1e-13, atol=0.0)
        probabilities = np.eye(3)[t]
        again, again_g = reference.loss_and_grad(net, w, [s], probabilities, loss="cross_entropy")
        assert again == mean
        np.testing.assert_array_equal(again_g, g)
        assert np.isfinite(reference.hvp(net, w, [s / 1e300], t, w, loss="cross_entropy")).all()


def test_adding_to_all_s_changes_nothing():
    case = random_case(3, 2, 3, 4, outputs=softmax, n_outputs=4)
    moved = case.w.copy()
    reference.split(case.net, moved)[0][:] += [0.5, -1.0, 2.0]
    net, X = case.net, case.X
    assert_close(reference.value(net, moved, X), reference.value(net, case.w, X), 1e-14)
    for loss, t in (("cross_entropy", targets_for(case, "classes")), ("squared", case.t)):
        g = reference.loss_and_grad(net, moved, X, t, loss=loss)[1]
        assert_close(reference.split(net, g)[0].sum(axis=0), np.zeros(3), 0.0, floor=1e-15)


def test_weights_of_outputs_weigh_classes():
    case = random_case(4, 2, 3, 6, outputs=softmax, n_outputs=3)
    t, tau = targets_for(case, "classes"), np.array([1.0, 2.0, 4.0])
    args = (case.net, case.w, case.X, t)
    mean, g = reference.loss_and_grad(*args, loss="cross_entropy", target_weight=tau)
    c = tau[t]
    want, want_g = reference.loss_and_grad(*args, loss="cross_entropy", sample_weight=c)
    assert mean == pytest.approx(want * c.mean(), rel=1e-14)
    assert_close(g, want_g * c.mean(), 1e-14)


def test_softmax_is_one_object_and_no_activation():
    assert pickle.loads(pickle.dumps(softmax)) is softmax
    assert repr(softmax) == softmax.name == "softmax"
    for name in (softmax, "softmax"):
        with pytest.raises(ValueError, match="softmax joins all outputs"):
            get_activation(name)


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


@of_kinds
@pytest.mark.parametrize(("n_inputs", "n_neurons"), [(1, 1), (1, 4), (4, 1), (3, 5)])
def test_single_observation_is_a_batch_of_one_without_its_axis(n_inputs, n_neurons, kind):
    shape = {"n_inputs": n_inputs, "n_neurons": n_neurons, "batch": 1, "n_outputs": 5}
    case = drawn(kind, {"seed": 7, **shape})
    batch = vars(case)
    single = {k: v[0] if k in ("X", "t", "ybar", "dX", "c") else v for k, v in batch.items()}
    of_batch, of_one = every_mode(**batch), every_mode(**single)
    for name, result in of_batch.items():
        want = result[0] if name in PER_SAMPLE else result
        np.testing.assert_array_equal(of_one[name], want, strict=True, err_msg=name)


def test_one_output_in_a_sequence_is_one_output():
    case = random_case(8, 3, 4, 5)
    one = spec(3, case.net.activations, (case.net.output,))
    got, want = (reference.loss_and_grad(n, case.w, case.X, case.t) for n in (one, case.net))
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    assert reference.value(one, case.w, case.X).shape == (5,)
    for tau in (2.0, [2.0]):  # the latter is what the methods take
        weighed = reference.loss_and_grad(one, case.w, case.X, case.t, target_weight=tau)
        assert weighed[0] == 2.0 * want[0]


@of_kinds
@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble", "complex128"])
def test_results_have_the_dtype_of_the_arguments(dtype, kind):
    shape = {"seed": 8, "n_inputs": 3, "n_neurons": 4, "batch": 5, "n_outputs": 3}
    case = drawn(kind, shape, COMPLEX, activations=COMPLEX).astype(np.float32)
    want = every_mode(**vars(case.astype(np.float64)))
    got = every_mode(**vars(case.astype(dtype)))
    tolerance = 2e-5 if dtype == "float32" else 1e-13
    for name, result in got.items():
        assert result.dtype == dtype, name
        assert_close(result, want[name], tolerance, floor=tolerance / 10)


@pytest.mark.parametrize("dtype", ["float32", "longdouble", "complex128"])
@of_losses
def test_heads_have_the_dtype_of_the_arguments(loss, output, kind, dtype):
    shape = {"seed": 8, "n_inputs": 3, "n_neurons": 4, "batch": 5, "n_outputs": 3}
    case, t, _ = drawn_for(loss, output, kind, shape, COMPLEX, activations=COMPLEX)
    want = reference.gauss_newton(case.net, case.w, case.X, t, loss=loss)
    case = case.astype(np.float32).astype(dtype)
    t = t if kind == "classes" else t.astype(np.float32).astype(dtype)
    for got, exact in zip(
        reference.gauss_newton(case.net, case.w, case.X, t, loss=loss), want, strict=True
    ):
        assert got.dtype == dtype
        assert_close(got, exact, 2e-5)


def test_integers_and_python_numbers_are_floats_of_the_arrays_dtype():
    w, X = np.arange(6), [[1, 2]]
    assert reference.value(HAND, w, X).dtype == np.float64
    w, x = HAND_W.astype(np.float32), HAND_X.astype(np.float32)
    assert reference.vjp(HAND, w, x, 1.0).dtype == np.float32
    assert reference.hvp(HAND, w, x, 2400, np.arange(6)).dtype == np.float32


@pytest.mark.parametrize("K", [1, 4])
def test_batch_of_none(K):
    case = random_case(9, 3, 2, 0, n_outputs=K)
    net, w, X, p = case.net, case.w, case.X, case.p
    axes, P = () if K == 1 else (K,), net.n_params
    assert reference.value(net, w, X).shape == (0, *axes)
    assert reference.jvp(net, w, X, p, dX=case.dX).shape == (0, *axes)
    assert reference.per_sample_grad(net, w, X).shape == (0, *axes, P)
    assert reference.input_grad(net, w, X).shape == (0, *axes, 3)
    assert reference.input_hvp(net, w, X, case.dX).shape == (0, *axes, 3)
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    np.testing.assert_array_equal(g, np.zeros(P))
    assert rows.shape == (0, 3)
    for mode, extra in (("loss_and_grad", ()), ("hvp", (p,)), ("gauss_newton", ())):
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
        (
            lambda c: reference.loss_and_grad(
                c.net, c.w, c.X, c.t, sample_weight=np.full_like(c.c, 1e308)
            ),
            "sum inf",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_case(12, 3, 4, 5))


SOFT = random_case(10, 2, 3, 4, outputs=softmax, n_outputs=3)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0, 1, 3, 0], "t has 3.0 at row 2, but a class is an integer from 0 to 2"),
        ([0, -1, 2, 0], "t has -1.0 at row 1"),
        ([0, 1, 2, 0.5], "t has 0.5 at row 3"),
        ([0, 1, np.nan, 0], "t has nan at row 2"),
        ([0, 1, 2], "t has shape"),
        ([[0.5, 0.5, 0.0]] * 3 + [[0.5, 0.5, 1e-5]], "at row 3, but probabilities are at least 0"),
        ([[1.5, -0.5, 0.0]] * 4, "at row 0, but probabilities"),
        ([[0.5, 0.5, np.nan]] * 4, "at row 0, but probabilities"),
        ([[0.5, 0.5]] * 4, "t has shape"),
    ],
)
def test_targets_of_softmax_that_are_refused(t, message):
    for call in (reference.loss_and_grad, reference.gauss_newton):
        with pytest.raises(ValueError, match=message):
            call(SOFT.net, SOFT.w, SOFT.X, t, loss="cross_entropy")


def test_classes_are_no_targets_of_other_losses():
    with pytest.raises(ValueError, match=r"t has shape \(4,\), but shape \(4, 3\) was expected"):
        reference.loss_and_grad(SOFT.net, SOFT.w, SOFT.X, [0, 1, 2, 0])


def test_networks_that_are_refused():
    sizes = {"n_inputs": 1, "n_neurons": 1, "activations": SOFT.net.activations[:1]}
    tanh = get_activation("tanh")
    for outputs, message in [
        ({"output": softmax}, "softmax needs n_outputs of 2 or more, but n_outputs is 1"),
        ({"output": (tanh, tanh), "n_outputs": 3}, "output has 2 activations, but n_outputs is 3"),
        ({"output": ()}, "output has 0 activations"),
    ]:
        with pytest.raises(ValueError, match=message):
            reference.value(SimpleNamespace(**sizes, **outputs), [1.0, 1.0], [1.0])
    with pytest.raises(ValueError, match=r"target_weight has shape \(2,\), but shape \(3,\)"):
        reference.loss_and_grad(SOFT.net, SOFT.w, SOFT.X, SOFT.t, target_weight=[1.0, 1.0])
