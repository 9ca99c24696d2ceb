"""The reference with several outputs: to 50 digits, by the complex step, and by identities.

`test_reference.py` has the same for one output.
"""

import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger import compare
from support import (
    HEADS,
    OUTPUTS,
    SCALES,
    arguments,
    assert_close,
    complex_step,
    outputs_of,
    random_case,
    spec,
    targets_for,
)
from test_reference import COMPLEX, complex_gradient

from fastbp import reference
from fastbp._rounding import size_of
from fastbp.activations import get_activation, softmax
from fastbp.losses import get_loss

GOLDEN = 1e-13
KINDS = {"mixed": OUTPUTS, "one for all": "tanh", "softmax": softmax}


def random_shapes(test):
    """Run a test on 25 random cases, and on the smallest."""
    test = given(
        seed=st.integers(0, 2**32 - 1),
        n_inputs=st.integers(1, 5),
        n_neurons=st.integers(1, 5),
        batch=st.integers(1, 4),
        n_outputs=st.integers(2, 5),
        scale=st.sampled_from(SCALES),
    )(test)
    test = example(seed=1, n_inputs=1, n_neurons=1, batch=1, n_outputs=2, scale=1.0)(test)
    return settings(derandomize=True, database=None, deadline=None, max_examples=25)(test)


def weights(case, seed=0):
    """Return weights of observations and of outputs."""
    tau = np.random.default_rng(seed).uniform(0.5, 2.0, case.net.n_outputs)
    return {"sample_weight": case.c, "target_weight": tau}


of_losses = pytest.mark.parametrize(("loss", "output", "kind"), HEADS)


# --- To 50 digits ---------------------------------------------------------------------------------

SHAPES = {(2, 3, 2): 2, (3, 2, 1): 3, (2, 3, 1): 17, (1, 3, 2): 3, (3, 1, 2): 2}
"""(N, H, B) and K."""


SLOW = [("squared", "numbers"), ("cross_entropy", "classes")]
"""Losses and targets that have their turn at all second differences of the largest shape."""


def golden_case(shape, scale, outputs):
    """Return a case, some of its weights 0, and its arrays in 50 digits."""
    n_outputs = SHAPES[shape]
    case = random_case(
        [*shape, n_outputs, int(10 * scale)],
        *shape,
        scale=scale,
        outputs=outputs,
        n_outputs=n_outputs,
    )
    for part, terms in zip(reference.split(case.net, case.w), (shape[1], shape[0]), strict=True):
        if terms > 1:  # a sum of none would be at the kinks
            part.flat[1::5] = 0.0
    return case, {name: oracle.exact(a) for name, a in vars(case).items() if name != "net"}


def close_to_golden(got, want):
    compare("mpmath", got, np.asarray(want).astype(float), GOLDEN)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_first_order_to_50_digits(shape, kind, scale):
    case, big = golden_case(shape, scale, KINDS[kind])
    net, w, X = case.net, case.w, case.X
    y = np.array([oracle.values(net, big["w"], x) for x in big["X"]])
    by_w = [oracle.jacobian(lambda w, x=x: oracle.values(net, w, x), big["w"]) for x in big["X"]]
    by_x = [oracle.jacobian(lambda x: oracle.values(net, big["w"], x), x) for x in big["X"]]
    J_w, J_x = np.array(by_w), np.array(by_x)

    close_to_golden(reference.value(net, w, X), y)
    y_0, J_0 = reference.value_and_grad(net, w, X[0])
    close_to_golden(y_0, y[0])
    close_to_golden(J_0, J_w[0])
    close_to_golden(reference.per_sample_grad(net, w, X), J_w)
    close_to_golden(reference.input_grad(net, w, X), J_x)
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    close_to_golden(g, (big["ybar"][..., np.newaxis] * J_w).sum(axis=(0, 1)))
    close_to_golden(rows, (big["ybar"][..., np.newaxis] * J_x).sum(axis=1))
    along = J_w @ big["p"]
    close_to_golden(reference.jvp(net, w, X, case.p), along)
    along = along + (J_x * big["dX"][:, np.newaxis]).sum(axis=2)
    close_to_golden(reference.jvp(net, w, X, case.p, dX=case.dX), along)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_second_order_by_inputs_to_50_digits(shape, kind):
    case, big = golden_case(shape, 1.0, KINDS[kind])
    want = [
        [
            oracle.curvature(lambda x, k=k: oracle.values(case.net, big["w"], x)[k], x, v)
            for k in range(case.net.n_outputs)
        ]
        for x, v in zip(big["X"], big["dX"], strict=True)
    ]
    close_to_golden(reference.input_hvp(case.net, case.w, case.X, case.dX), want)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
@of_losses
def test_losses_to_50_digits(loss, output, kind, shape, scale):
    case, big = golden_case(shape, scale, outputs_of(loss, output))
    net, w, X, p = case.net, case.w, case.X, case.p
    t, options = targets_for(case, kind), {"loss": loss, **weights(case)}
    exact_t = oracle.exact(np.eye(net.n_outputs)[t] if kind == "classes" else t)
    tau = oracle.exact(options["target_weight"])

    def mean(w):
        return oracle.mean_loss(net, w, big["X"], exact_t, big["c"], loss, tau)

    got, g = reference.loss_and_grad(net, w, X, t, **options)
    close_to_golden(got, mean(big["w"]))
    want_g = oracle.gradient(mean, big["w"])
    close_to_golden(g, want_g)
    got, g, _ = reference.gauss_newton(net, w, X, t, **options)
    close_to_golden(got, mean(big["w"]))
    close_to_golden(g, want_g)
    if len(p) < 50 or (scale == 1.0 and (loss, kind) in SLOW):
        product = reference.hvp(net, w, X, t, p, **options)
        close_to_golden(product, oracle.curvature(mean, big["w"], big["p"]))


@pytest.mark.parametrize("shape", SHAPES)
@of_losses
def test_gauss_newton_to_50_digits(loss, output, kind, shape):
    case, big = golden_case(shape, 1.0, outputs_of(loss, output))
    net, w, X, p, K = case.net, case.w, case.X, case.p, case.net.n_outputs
    t, options = targets_for(case, kind), {"loss": loss, **weights(case)}
    tau = oracle.exact(options["target_weight"])
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
                for y_k, t in zip(y, big["t"][b], strict=True)
            ]
            Q = np.diag(tau * curved)
        G = G + big["c"][b] * (J.T @ Q @ J)
    G = G / big["c"].sum()
    close_to_golden(reference.gauss_newton(net, w, X, t, **options)[2], G)
    close_to_golden(reference.gauss_newton_product(net, w, X, t, p, **options), G @ big["p"])


# --- The complex step -----------------------------------------------------------------------------

COMPLEX_KINDS = {"mixed": COMPLEX, "one for all": "sin", "softmax": softmax}


@pytest.mark.parametrize("kind", COMPLEX_KINDS)
@random_shapes
def test_first_order_by_complex_step(kind, **shape):
    case = random_case(**shape, activations=COMPLEX, outputs=COMPLEX_KINDS[kind])
    net, w, X, ybar, p = case.net, case.w, case.X, case.ybar, case.p
    J_w = complex_gradient(lambda w: reference.value(net, w, X), w)
    J_x = np.array([complex_gradient(lambda x: reference.value(net, w, x), x) for x in X])

    assert_close(reference.value_and_grad(net, w, X[0])[1], J_w[0], 1e-12)
    assert_close(reference.per_sample_grad(net, w, X), J_w, 1e-12)
    assert_close(reference.input_grad(net, w, X), J_x, 1e-12)
    rows = reference.vjp(net, w, X, ybar, inputs=True)[1]
    assert_close(rows, (ybar[..., np.newaxis] * J_x).sum(axis=1), 1e-12)
    g = complex_gradient(lambda w: (ybar * reference.value(net, w, X)).sum(), w)
    assert_close(reference.vjp(net, w, X, ybar), g, 1e-12)
    along = complex_step(lambda e: reference.value(net, w + e * p, X + e * case.dX), 0.0, 1.0)
    assert_close(reference.jvp(net, w, X, p, dX=case.dX), along, 1e-12)


@pytest.mark.parametrize("kind", COMPLEX_KINDS)
@random_shapes
def test_input_curvature_by_complex_step(kind, **shape):
    case = random_case(**shape, activations=COMPLEX, outputs=COMPLEX_KINDS[kind])
    want = complex_step(lambda X: reference.input_grad(case.net, case.w, X), case.X, case.dX)
    A, W = reference.split(case.net, case.w)
    factors = np.abs(A).sum() * (W * W).sum() * np.abs(case.dX).max()
    got = reference.input_hvp(case.net, case.w, case.X, case.dX)
    assert_close(got, want, 1e-12, floor=1e-15 * factors)


@of_losses
@random_shapes
def test_losses_by_complex_step(loss, output, kind, **shape):
    case = random_case(**shape, activations=COMPLEX, outputs=outputs_of(loss, output, COMPLEX))
    net, w, X, t = case.net, case.w, case.X, targets_for(case, kind)
    options = {"loss": loss, **weights(case)}

    def mean_and_grad(w):
        return reference.loss_and_grad(net, w, X, t, **options)

    want = complex_gradient(lambda w: mean_and_grad(w)[0], w)
    assert_close(mean_and_grad(w)[1], want, 1e-12)
    want = complex_step(lambda w: mean_and_grad(w)[1], w, case.p)
    assert_close(reference.hvp(net, w, X, t, case.p, **options), want, 1e-12, floor=1e-15)


# --- Products of Jacobians ------------------------------------------------------------------------

ORDERS = [getattr(reference, name) for name in reference.__all__ if name.endswith("_layer")]


@pytest.mark.parametrize("kind", KINDS)
@random_shapes
def test_product_of_jacobians_is_the_jacobian(kind, **shape):
    case = random_case(**shape, outputs=KINDS[kind])
    net, w, x = case.net, case.w, case.X[0]
    z = reference.L(net, w, x)
    u = reference.V(net, z)
    s = reference.M(net, w, u)
    inner = reference.J_M_u(net, w, u) @ reference.J_V(net, z)
    y, J_w = reference.value_and_grad(net, w, x)
    assert_close(y, reference.sigma(net, s), 1e-13)
    by_w = reference.J_M_w(net, w, u) + inner @ reference.J_L_w(net, w, x)
    assert_close(J_w, reference.J_sigma(net, s) @ by_w, 1e-13)
    by_x = reference.J_sigma(net, s) @ inner @ reference.J_L_x(net, w, x)
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
        for kind in ("mixed", "softmax")[: 1 + (K > 1)]:
            case = random_case([N, H, K], N, H, 1, outputs=KINDS[kind], n_outputs=K)
            for (order, structure), operations in closed.items():
                if kind == "softmax" and structure:
                    continue  # J_σ is no diagonal there
                call = getattr(reference, order)
                got = call(case.net, case.w, case.X[0], structure=structure).operations
                assert got == operations, (N, H, K, order, structure)


# --- Identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@random_shapes
def test_jvp_is_adjoint_to_vjp(kind, **shape):
    case = random_case(**shape, outputs=KINDS[kind])
    along = reference.jvp(case.net, case.w, case.X, case.p, dX=case.dX)
    g, rows = reference.vjp(case.net, case.w, case.X, case.ybar, inputs=True)
    terms = np.concatenate([g * case.p, (rows * case.dX).ravel()])
    largest = np.abs(terms).sum() + np.abs(along * case.ybar).sum()
    assert abs((along * case.ybar).sum() - terms.sum()) <= 1e-13 * largest


@random_shapes
def test_each_output_is_a_network_of_its_own(**shape):
    case = random_case(**shape)
    net, w, X = case.net, case.w, case.X
    A, W = reference.split(net, w)
    t, options = case.t, weights(case)
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
        total += options["target_weight"][k] * mean
    assert_close(reference.loss_and_grad(net, w, X, t, **options)[0], total, 1e-13)


@of_losses
@random_shapes
def test_second_derivatives_are_symmetric(loss, output, kind, **shape):
    case = random_case(**shape, outputs=outputs_of(loss, output))
    net, w, X, t = case.net, case.w, case.X, targets_for(case, kind)
    options = {"loss": loss, **weights(case)}
    hessian = [reference.hvp(net, w, X, t, e, **options) for e in np.eye(net.n_params)]
    assert_close(hessian, np.transpose(hessian), 1e-12)

    mean, g, G = reference.gauss_newton(net, w, X, t, **options)
    want, want_g = reference.loss_and_grad(net, w, X, t, **options)
    assert mean == want
    assert_close(g, want_g, 1e-13, floor=1e-16)
    assert_close(G, G.T, 1e-14)
    assert np.linalg.eigvalsh(G).min() >= -1e-13 * np.abs(G).sum()
    product = reference.gauss_newton_product(net, w, X, t, case.p, **options)
    assert np.all(np.abs(product - G @ case.p) <= 1e-12 * np.abs(G).max() * np.abs(case.p).sum())
    if loss != "cross_entropy":
        J = reference.per_sample_grad(net, w, X).reshape(-1, net.n_params)
        curved = get_loss(loss).evaluate(2, reference.value(net, w, X), t)[2]
        C = curved * options["target_weight"] * case.c[:, np.newaxis] / case.c.sum()
        assert_close(G, J.T @ (C.reshape(-1, 1) * J), 1e-12)


@random_shapes
def test_sizes_bound_what_a_relative_error_of_the_weights_does(**shape):
    case = random_case(**shape)
    net, moved = case.net, case.w * (1.0 + 1e-8 * np.sign(case.p))
    for name in ("value", "per_sample_grad", "vjp", "jvp", "input_grad", "loss_and_grad"):
        call, ((w, *args), options) = getattr(reference, name), arguments(name, vars(case))
        parts = (call(net, weights, *args, **options) for weights in (w, moved))
        size = size_of(call, net, w, *args, **options)
        before, after = (part[1] if name == "loss_and_grad" else part for part in parts)
        size = size[1] if name == "loss_and_grad" else size
        assert np.all(np.abs(after - before) <= 2.01e-8 * size), name


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


# --- Shapes and refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_single_observation_is_a_batch_of_one_without_its_axis(kind):
    case = random_case(7, 3, 4, 1, outputs=KINDS[kind], n_outputs=5)
    single = case.map(lambda a: a[0] if a.ndim and len(a) == 1 else a)
    for name in ("value", "jvp", "per_sample_grad", "input_grad", "input_hvp"):
        (args, options), (one, options_one) = (arguments(name, vars(c)) for c in (case, single))
        call = getattr(reference, name)
        want = call(case.net, *args, **options)[0]
        np.testing.assert_array_equal(call(case.net, *one, **options_one), want, strict=True)
    for name in ("vjp", "loss_and_grad", "hvp", "gauss_newton_product"):
        (args, options), (one, options_one) = (arguments(name, vars(c)) for c in (case, single))
        call = getattr(reference, name)
        for got, want in zip(
            call(case.net, *one, **options_one), call(case.net, *args, **options), strict=True
        ):
            np.testing.assert_array_equal(got, want)


def test_one_output_in_a_sequence_is_one_output():
    case = random_case(8, 3, 4, 5)
    one = spec(3, case.net.activations, (case.net.output,))
    got, want = (reference.loss_and_grad(n, case.w, case.X, case.t) for n in (one, case.net))
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    assert reference.value(one, case.w, case.X).shape == (5,)
    weighed = reference.loss_and_grad(one, case.w, case.X, case.t, target_weight=2.0)
    assert weighed[0] == 2.0 * want[0]


@pytest.mark.parametrize("dtype", ["float32", "longdouble", "complex128"])
@of_losses
def test_results_have_the_dtype_of_the_arguments(loss, output, kind, dtype):
    outputs = outputs_of(loss, output, COMPLEX)
    case = random_case(8, 3, 4, 5, activations=COMPLEX, outputs=outputs, n_outputs=3)
    t = targets_for(case, kind)
    narrow = case.astype(np.float32).astype(dtype)
    t = t if kind == "classes" else t.astype(np.float32).astype(dtype)
    mean, g, G = reference.gauss_newton(narrow.net, narrow.w, narrow.X, t, loss=loss)
    assert mean.dtype == g.dtype == G.dtype == dtype
    want = reference.gauss_newton(case.net, case.w, case.X, targets_for(case, kind), loss=loss)
    for got, exact in zip((mean, g, G), want, strict=True):
        assert_close(got, exact, 2e-5)


def test_batch_of_none():
    case = random_case(9, 3, 2, 0, n_outputs=4)
    net, w, X = case.net, case.w, case.X
    assert reference.value(net, w, X).shape == (0, 4)
    assert reference.per_sample_grad(net, w, X).shape == (0, 4, 14)
    assert reference.input_grad(net, w, X).shape == (0, 4, 3)
    g, rows = reference.vjp(net, w, X, case.ybar, inputs=True)
    np.testing.assert_array_equal(g, np.zeros(14))
    assert rows.shape == (0, 3)


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
