"""The kernels against the reference, in all entries; what they may read and what they may write."""

import hashlib
import itertools
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ledger import NETWORKS, compare
from support import (
    AROUND_CHUNKS,
    CALLS,
    CHUNKED,
    DIRECTIONAL,
    DTYPES,
    HEADS,
    LIMITS,
    SCALES,
    agree,
    agree_calls,
    all_results,
    assert_other_threads_run_during,
    assert_same,
    case_of,
    flat,
    fresh_process,
    in_threads,
    outputs_for,
    random_case,
    room,
    spec,
)

import fastbp
from fastbp import reference
from fastbp.activations import NAMES, get_activation, softmax
from fastbp.kernels.calls.prepared import prepared
from fastbp.kernels.machine.linker import context
from fastbp.kernels.machine.places import KEPT, REWEIGHTED
from fastbp.kernels.machine.sizes import sizes
from fastbp.losses import NAMES as LOSSES
from fastbp.losses import get_loss, huber

N_NETWORKS = 330
FEW = {"activations": ("tanh", "softplus", "sin"), "outputs": ("tanh", "identity")}
"""Functions for tests of sizes."""
FEW_OF_MANY = {"activations": FEW["activations"], "names": FEW["outputs"]}

CANARY = 0xFF
"""The byte around guarded arrays: as floats, NaN."""


FIRST_ORDER = [name for name in CALLS if name not in DIRECTIONAL]


def agree_all(case, dtype, losses=("squared",), names=FIRST_ORDER):
    """Compare calls of a network with the reference."""
    net, case = case.net.network(dtype), case.astype(dtype)
    agree_calls(net, case, names, losses)
    args = case.w, case.X, case.ybar
    g, _ = agree(net, "vjp", *args, inputs=True)
    np.testing.assert_array_equal(net.vjp(*args), g)


# --- The reference's values -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(N_NETWORKS))
def test_random_networks(seed, dtype):
    rng = np.random.default_rng([1, seed])
    N, H = (int(rng.choice([1, 2, 3, 5, 8, 13, 17, 24, 31, 50, 70])) for _ in range(2))
    B = int(rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 23, 24, 25, 33, 48, 49, 97, 130]))
    loss = LOSSES[seed % len(LOSSES)]
    case = random_case(seed, N, H, B, scale=SCALES[seed % 3], outputs=outputs_for(loss))
    NETWORKS.add(seed)
    agree_all(case, dtype, [loss], CALLS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_in_a_batch_of_parts_and_chunks(loss, dtype):
    outputs = [o for o in ("tanh", "identity", "logistic") if o in outputs_for(loss)]
    for output in outputs:
        case = random_case(3, 4, 5, 1100, outputs=[output])
        agree_all(case, dtype, [loss])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("N", "H"), [(1, 1), (1, 7), (7, 1), (3, 5), (17, 16), (49, 17), (5, 40)], ids=str
)
def test_every_batch_up_to_two_vectors_and_around_panels(N, H, dtype):
    for B in (*range(1, 34), 47, 48, 49, 95, 96, 97, 143, 144, 145):
        agree_all(random_case(B, N, H, B, **FEW), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H", [3, 16])  # from 16 on, the inputs are packed for ∇_W
def test_every_number_of_inputs_up_to_two_panels(H, dtype):
    for N in range(1, 100):
        for B in (2, 19):
            agree_all(random_case(N, N, H, B, **FEW), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [1, 2, 3, 40])
def test_every_number_of_neurons_up_to_five_tiles(B, dtype):
    for H in range(1, 42):
        agree_all(random_case(H, 3, H, B, **FEW), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "H"), CHUNKED, ids=str)
def test_batches_around_chunks(N, H, dtype):
    for B in AROUND_CHUNKS:
        agree_all(random_case(B, N, H, B, **FEW), dtype, names=CALLS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "B", [511, 512, 513, 1023, 1024, 1025, 1535, 1536, 1537, 1600, 8191, 8192, 8193, 12345]
)
def test_batches_around_parts(B, dtype):
    case = random_case(B, 2, 3, B, **FEW)
    agree_all(case, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "H"), [(600, 40), (1300, 3), (40, 1100)], ids=str)
def test_products_of_several_blocks(N, H, dtype):
    for B in (1, 50):
        agree_all(random_case(N, N, H, B, **FEW), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_and_losses_of_the_users_own(dtype):
    @fastbp.activation
    def bent(z):
        return (math.sqrt(z * z + 1.0) - 1.0) / 2.0 + z

    @fastbp.activation
    def halves(z):
        return math.atan(z) if z > 0.0 else 0.5 * math.expm1(z)

    @fastbp.loss
    def quartic(y, t):
        return (y - t) ** 4

    for B in (1, 5, 100):
        case = random_case(B, 4, 9, B, activations=(bent, "tanh", halves), outputs=[bent])
        agree_all(case, dtype, [quartic], CALLS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_named_activations_for_every_size_of_z(name, dtype):
    v = get_activation(name)
    net = fastbp.Network(1, 1, activations=v, output="identity", dtype=dtype)
    sizes = np.concatenate([np.geomspace(1e-30, 1.0, 40), np.linspace(1.0, 9.5, 40)])
    sizes = np.concatenate([sizes, [19.0, 88.0, 89.0, 709.0, 710.0, 746.0, 1e4, 1e10]])
    z = np.concatenate([-sizes[::-1], sizes]).astype(dtype)
    if name in ("sin", "cos"):  # relative to the largest entry, which knows nothing of periods
        z = z[np.abs(z) < 1e4]
    want, slope = v.evaluate(1, z.astype(np.float64))
    with np.errstate(over="ignore"):
        want, slope = want.astype(dtype), slope.astype(dtype)
    w = np.ones(2, dtype)
    eps = np.finfo(dtype).eps
    for got, right in (
        (net.value(w, z[:, np.newaxis]), want),
        (net.input_grad(w, z[:, np.newaxis])[:, 0], slope),
        (np.array([net.value(w, [x]) for x in z]), want),
        (np.array([net.input_grad(w, [x])[0] for x in z]), slope),
    ):
        finite = np.isfinite(right)
        assert finite.all() or name in ("exp", "square")
        np.testing.assert_array_equal(got[~finite], right[~finite])
        # 1 + z² times the error for the decay of exp(-z²), and what crosses zero at some z ≠ 0.
        got, right, z2 = got[finite], right[finite], (z * z)[finite]
        allowed = 32.0 * (eps * np.abs(right) * np.minimum(1.0 + z2, 200.0) + eps)
        assert (np.abs(got - right) <= allowed).all()


# --- Several outputs ------------------------------------------------------------------------------

SQUARED, SOFTMAX_SQUARED, PROBABILITIES, CLASSES = (
    ("squared", "mixed", "numbers"),
    ("squared", "softmax", "numbers"),
    ("cross_entropy", "softmax", "probabilities"),
    ("cross_entropy", "softmax", "classes"),
)
MOSTLY = (SQUARED, PROBABILITIES, SOFTMAX_SQUARED)
"""Heads that sizes are tested with, in turns."""


def agree_several(case, dtype, loss="squared", matrix=True):
    """Compare every call with the reference, of both orders, and what must be equal."""
    net, case = case.net.network(dtype), case.astype(dtype)
    agree_calls(net, case, CALLS, [loss])
    g, _ = agree(net, "vjp", case.w, case.X, case.ybar, inputs=True)
    np.testing.assert_array_equal(net.vjp(case.w, case.X, case.ybar), g)
    args, weights = (case.w, case.X, case.t), {"sample_weight": case.c, "target_weight": case.tau}
    for given in ({}, weights):
        mean, g = net.loss_and_grad(*args, loss=loss, **given)
        got, got_g = net.objective(case.X, case.t, loss=loss, **given)(case.w)
        assert got == mean
        np.testing.assert_array_equal(got_g, g)
        if matrix:
            *_, G = agree(net, "gauss_newton", *args, loss=loss, **given)
            np.testing.assert_array_equal(G, G.T)
            eigenvalues = np.linalg.eigvalsh(G.astype(np.float64))
            assert eigenvalues.min() >= -10.0 * np.finfo(dtype).eps * eigenvalues.max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(36))
def test_random_networks_of_several_outputs(seed, dtype):
    rng = np.random.default_rng([70, seed])
    K = (2, 3, 17, 33)[seed % 4]
    most = 6 if K < 10 else 4
    N, H = (int(rng.choice([1, 2, 3, 5, 8, 13][:most])) for _ in range(2))
    B = int(rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 24, 25, 33, 48, 49]))
    head = HEADS[seed % len(HEADS)]
    case = case_of([71, seed], (N, H, B, K), head, scale=SCALES[seed % 3])
    if seed % 4 == 0:
        case.w[::3] = 0.0
    if seed % 4 == 1:
        case.tau[::2] = 0.0
    NETWORKS.add(("several outputs", seed))
    agree_several(case, dtype, head[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "cross_entropy"])
def test_softmax_under_every_loss(loss, dtype):
    for B in (1, 3, 50):
        agree_several(case_of([72, B], (3, 4, B, 3), (loss, "softmax", "numbers")), dtype, loss)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", [SQUARED, SOFTMAX_SQUARED], ids=["each", "softmax"])
def test_rows_by_x_some_outputs_or_samples_at_a_time(head, dtype):
    for shape in ((5, 30, 300, 70), (20, 30, 300, 70), (150, 120, 60, 3)):
        case = case_of(80, shape, head).astype(dtype)
        net = case.net.network(dtype)
        assert sizes(net.dtype).samples_at_once(*shape[:2], shape[3]) < shape[2]
        agree(net, "input_grad", case.w, case.X)
        agree(net, "input_hvp", case.w, case.X, case.dX)


@pytest.mark.parametrize("dtype", DTYPES)
def test_own_activations_and_losses_of_several_outputs(dtype):
    @fastbp.activation
    def bent(z):
        return (math.sqrt(z * z + 1.0) - 1.0) / 2.0 + z

    @fastbp.loss
    def quartic(y, t):
        return (y - t) ** 4

    for outputs in ([bent, "tanh"], softmax):
        case = random_case(73, 3, 5, 40, activations=(bent, "sin"), outputs=outputs, n_outputs=5)
        agree_several(case, dtype, quartic)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "H", "K"), [(1, 1, 2), (3, 5, 3), (7, 5, 4)], ids=str)
def test_several_outputs_around_vectors_chunks_and_parts(N, H, K, dtype):
    batches = (*range(1, 20), 31, 32, 33, 47, 48, 49, 96, 97, 143, 145, 239, 240, 241, 528, 1600)
    for number, B in enumerate(batches):
        head = MOSTLY[number % 3]
        agree_several(case_of([74, B], (N, H, B, K), head, **FEW_OF_MANY), dtype, head[0], B < 99)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_outputs_up_to_two_tiles(dtype):
    for K in range(2, 35):
        for B in (2, 40):
            head = MOSTLY[(K + B // 2) % 3]
            case = case_of([75, K, B], (2, 4, B, K), head, **FEW_OF_MANY)
            agree_several(case, dtype, head[0], K % 8 == 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [1023, 1025, 8193])
def test_several_outputs_around_parts(B, dtype):
    for head in (SQUARED, PROBABILITIES):
        agree_several(case_of([76, B], (2, 3, B, 2), head, **FEW_OF_MANY), dtype, head[0], False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_of_several_outputs_over_chunks_and_parts(dtype):
    for head in (SQUARED, PROBABILITIES, SOFTMAX_SQUARED):
        for shape in ((2, 3, 300, 3), (5, 7, 1030, 2), (1, 2, 2100, 4)):
            case = case_of([77, *shape], shape, head, **FEW_OF_MANY).astype(dtype)
            net, given = case.net.network(dtype), {"loss": head[0], "sample_weight": case.c}
            agree(net, "gauss_newton", case.w, case.X, case.t, **given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_share_what_is_equal_at_all_samples(dtype):
    rng = np.random.default_rng(9)
    X, t = rng.normal(size=(600, 4)).astype(dtype), np.zeros((600, 4), dtype)
    t[300:, 1] = 1e3  # Huber's ℓ'' is that of the first output in the first chunk only
    t[::3, 2] = t[1::3, 3] = -1e3
    tau = np.array([2.0, 1.0, 2.0, 1.0], dtype)
    for output in ("identity", ("identity", "tanh", "identity", "tanh")):
        net = fastbp.Network(4, 3, n_outputs=4, output=output, dtype=dtype)
        for loss in ("squared", huber(10.0)):
            agree(net, "gauss_newton", net.init(0), X, t, loss=loss)
            agree(net, "gauss_newton", net.init(0), X, t, loss=loss, target_weight=tau)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [1, 5, 40])
def test_softmax_is_exact_for_huge_s(B, dtype):
    net = fastbp.Network(1, 1, n_outputs=3, activations="identity", output="softmax", dtype=dtype)
    close = {"rtol": 16.0 * float(np.finfo(dtype).eps), "atol": 0.0}
    w = np.array([-1.0, 0.0, 1.0, 1.0], dtype)  # s = (-x, 0, x)
    for x, t, want, slope in [
        (1e4, 0, 2e4, [-1.0, 0.0, 1.0]),
        (1e4, 2, 0.0, [0.0, 0.0, 0.0]),
        (-1e4, 1, 1e4, [1.0, -1.0, 0.0]),
        (40.0, 2, math.exp(-40.0), [math.exp(-80.0), math.exp(-40.0), -math.exp(-40.0)]),
    ]:
        X, p = np.full((B, 1), x, dtype), np.array([1.0, 2.0, -1.0, 0.5], dtype)
        for classes in (np.full(B, t), np.eye(3, dtype=dtype)[np.full(B, t)]):
            mean, g = net.loss_and_grad(w, X, classes, loss="cross_entropy")
            np.testing.assert_allclose(mean, want, **close)
            np.testing.assert_allclose(g[:3], np.multiply(slope, x), **close)
            for call in (net.hvp, net.gauss_newton_product):
                assert np.isfinite(call(w, X, classes, p, loss="cross_entropy")).all()
            assert np.isfinite(net.gauss_newton(w, X, classes, loss="cross_entropy")[2]).all()
        close["atol"] = float(np.finfo(dtype).tiny)
        more = {"input_hvp": (np.full_like(X, 0.5),)}
        for name in ("value", "input_grad", "per_sample_grad", "input_hvp"):
            given = (w, X, *more.get(name, ()))
            want = getattr(reference, name)(net, *(array.astype(float) for array in given))
            np.testing.assert_allclose(getattr(net, name)(*given), want, **close)
        for name in ("loss_and_grad", "gauss_newton"):
            call, given = getattr(net, name), (w, X, np.full((B, 3), 0.25, dtype))
            want = getattr(reference, name)(net, *(array.astype(float) for array in given))
            np.testing.assert_allclose(flat(call(*given)), flat(want), **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [2, 3, 17])
def test_softmax_of_equal_s(K, dtype):
    net = fastbp.Network(2, 3, n_outputs=K, output="softmax", dtype=dtype)
    for B in (2, 50):
        X, t = np.ones((B, 2), dtype), np.arange(B) % K
        for w in (np.zeros(net.n_params, dtype), np.ones(net.n_params, dtype)):
            np.testing.assert_allclose(net.value(w, X), 1.0 / K, rtol=4 * np.finfo(dtype).eps)
            agree(net, "gauss_newton", w, X, t, loss="cross_entropy")
            agree(net, "input_grad", w, X)


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_are_the_rows_that_name_them(dtype):
    case = case_of(78, (3, 5, 60, 4), CLASSES).astype(dtype)
    net, labels = case.net.network(dtype), case.t.astype(int)
    rows = np.eye(4, dtype=dtype)[labels]
    more = {"loss": "cross_entropy", "sample_weight": case.c}
    for extra in ({}, {"target_weight": case.tau}):
        for name in ("loss_and_grad", "hvp", "gauss_newton_product", "gauss_newton"):
            last = (case.p,) if "p" in getattr(CALLS.get(name), "arguments", ()) else ()
            call, given = getattr(net, name), (case.w, case.X)
            want = flat(call(*given, rows, *last, **more, **extra))
            for t in (labels, labels.astype(np.uint8), labels.astype(dtype), labels.tolist()):
                for _ in range(2):
                    got = flat(call(*given, t, *last, **more, **extra))
                    np.testing.assert_array_equal(got, want)
    one = net.loss_and_grad(case.w, case.X[0], labels[0], loss="cross_entropy")
    want = net.loss_and_grad(case.w, case.X[:1], labels[:1], loss="cross_entropy")
    np.testing.assert_array_equal(flat(one), flat(want))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [("tanh", "softplus"), softmax], ids=["each", "softmax"])
def test_what_is_not_finite_stays_where_it_is(outputs, dtype):
    activations = ("tanh", "softplus")
    for B in (3, 40, 300):
        case = random_case(79, 3, 4, B, activations=activations, outputs=outputs, n_outputs=3)
        case = case.astype(dtype)
        net = case.net.network(dtype)
        X, ybar = case.X.copy(), case.ybar.copy()
        X[1, 2] = ybar[2, 0] = np.nan
        more = {"jvp": (case.p,), "input_hvp": (case.dX,)}
        results = {}
        for name in ("value", "input_grad", "per_sample_grad", "jvp", "input_hvp"):
            call, rest = getattr(net, name), more.get(name, ())
            results[name] = call(case.w, X, *rest), call(case.w, case.X, *rest)
        _, rows = net.vjp(case.w, X, ybar, inputs=True)
        results["vjp"] = rows, net.vjp(case.w, case.X, case.ybar, inputs=True)[1]
        for name, (got, want) in results.items():
            touched = np.isin(np.arange(B), (1, 2) if name == "vjp" else 1)
            np.testing.assert_array_equal(got[~touched], want[~touched], err_msg=name)
            assert np.isnan(got[touched]).any(axis=tuple(range(1, got.ndim))).all(), name
        w = case.w.copy()
        w[0] = np.nan  # a_{1,1}: of the first output alone
        bad = np.isnan(net.value(w, case.X))
        assert bad[:, 0].all()
        assert bad[:, 1:].all() if outputs is softmax else not bad[:, 1:].any()


# --- Cross-entropy taken from s -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [1, 40])
def test_cross_entropy_is_exact_for_huge_s(B, dtype):
    net = fastbp.Network(1, 1, activations="identity", output="logistic", dtype=dtype)
    w = np.ones(2, dtype)
    for s, t, want, residual in [
        (1000.0, 0.0, 1000.0, 1.0),
        (-1000.0, 1.0, 1000.0, -1.0),
        (1000.0, 1.0, 0.0, 0.0),
        (-1000.0, 0.0, 0.0, 0.0),
        (1000.0, 0.25, 750.0, 0.75),
        (-1000.0, 0.25, 250.0, -0.25),
    ]:
        X = np.full((B, 1), s, dtype)
        mean, g = net.loss_and_grad(w, X, np.full(B, t, dtype), loss="cross_entropy")
        assert mean == pytest.approx(want, rel=1e-6 if dtype == "float32" else 1e-14)
        np.testing.assert_allclose(g, [residual * s] * 2, rtol=LIMITS[dtype])


# --- Identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 5), (9, 1, 30), (6, 7, 3), (20, 33, 300)])
def test_jacobian_is_adjoint_to_vjp(shape, dtype):
    case = random_case(11, *shape).astype(dtype)
    net = case.net.network(dtype)
    J = net.per_sample_grad(case.w, case.X).astype(np.float64)
    limit = LIMITS[dtype]
    compare("adjoint", net.vjp(case.w, case.X, case.ybar), case.ybar @ J, limit)
    ones = np.ones(len(case.X), dtype)
    compare("sum of rows", net.vjp(case.w, case.X, ones), J.sum(axis=0), limit)
    _, rows = net.vjp(case.w, case.X, ones, inputs=True)
    np.testing.assert_array_equal(rows, net.input_grad(case.w, case.X))
    y, g = net.value_and_grad(case.w, case.X[0])
    compare("first row", g, J[0], limit)
    compare("first value", y, net.value(case.w, case.X)[0], limit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_enter_by_their_ratios(dtype):
    case = random_case(12, 3, 4, 50).astype(dtype)
    net = case.net.network(dtype)
    args = (case.w, case.X, case.t)
    mean, g = net.loss_and_grad(*args, sample_weight=case.c)
    again, again_g = net.loss_and_grad(*args, sample_weight=8.0 * case.c)
    assert again == mean
    np.testing.assert_array_equal(again_g, g)
    # A weight of zero is an observation that is not there, whatever it says.
    c = case.c.copy()
    c[20:] = 0.0
    mean, g = net.loss_and_grad(*args, sample_weight=c)
    few, few_g = net.loss_and_grad(case.w, case.X[:20], case.t[:20], sample_weight=c[:20])
    assert few == pytest.approx(mean, rel=LIMITS[dtype])
    compare("weights of zero", g, few_g, LIMITS[dtype])


@fastbp.activation
def steep(z):
    return np.sqrt(np.abs(z))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wild", ["targets", "neurons", "slopes", "inputs"])
@pytest.mark.parametrize(("B", "N", "K"), [(2, 3, 1), (40, 8, 1), (1100, 3, 1), (1600, 2, 3)])
def test_what_has_no_weight_may_be_beyond_all_numbers(B, N, K, wild, dtype):
    """Its loss, all of its neurons, their slopes alone, or the squares of its inputs alone."""
    neurons = {"neurons": "square", "slopes": steep}.get(wild, "tanh")
    case = random_case([15, B], N, 7, B, activations=[neurons], outputs=["tanh"], n_outputs=K)
    case, far = case.astype(dtype), float(np.finfo(dtype).max) / 1e4
    net, some = case.net.network(dtype), np.random.default_rng(B).random(B) < 0.4
    some[[0, -1]] = False, True
    some[576:1152] = True  # a whole part
    case.c[some] = 0.0
    given = {"loss": "poisson" if wild == "neurons" else "squared", "sample_weight": case.c}
    if wild == "targets":
        case.t[some] = far
    else:
        case.X[some] = 0.0 if wild == "slopes" else far
    left = given | {"sample_weight": case.c[~some]}
    for name in ("loss_and_grad", "hvp", "gauss_newton_product", "gauss_newton"):
        p = [case.p] if name in DIRECTIONAL else []
        got = agree(net, name, case.w, case.X, case.t, *p, **given)
        shared = getattr(net, name)(case.w, case.X, case.t, *p, **given, threads=2)
        np.testing.assert_array_equal(flat(shared), flat(got))
        want = getattr(net, name)(case.w, case.X[~some], case.t[~some], *p, **left)
        compare(name, flat(got), flat(want), LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["exp", "softmax"])
def test_an_output_of_no_weight_may_be_beyond_all_numbers(output, dtype):
    sigma = softmax if output == "softmax" else output
    case = random_case(16, 3, 4, 50, activations=["tanh"], outputs=sigma, n_outputs=3)
    case, net = case.astype(dtype), case.net.network(dtype)
    case.tau[1] = 0.0
    far = replace(case, w=case.w.copy(), t=case.t.copy())
    far.t[:, 1] = float(np.finfo(dtype).max) / 1e4
    if output == "exp":
        net.split(far.w)[0][1] = 1e4
    for name in ("loss_and_grad", "hvp", "gauss_newton_product", "gauss_newton"):
        near, away = ((c.w, c.X, c.t, *([c.p] if name in DIRECTIONAL else [])) for c in (case, far))
        want = flat(agree(net, name, *near, target_weight=case.tau))
        for call in (getattr(net, name), partial(getattr(reference, name), case.net)):
            compare(name, flat(call(*away, target_weight=case.tau)), want, LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["softplus", "softmax"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_units_of_both_weights_are_free(sign, output, dtype):
    sigma = softmax if output == "softmax" else output
    case = random_case(17, 3, 4, 50, outputs=sigma, n_outputs=3).astype(dtype)
    net, limits = case.net.network(dtype), np.finfo(dtype)
    unit = np.ldexp(limits.dtype.type(1), sign * int(0.6 * limits.maxexp))
    for name in ("loss_and_grad", "hvp", "gauss_newton_product", "gauss_newton"):
        call = partial(getattr(net, name), case.w, case.X, case.t)
        p = [case.p] if name in DIRECTIONAL else []
        want = flat(call(*p, sample_weight=case.c, target_weight=case.tau))
        got = flat(call(*p, sample_weight=case.c * unit, target_weight=case.tau / unit))
        compare(name, got * unit, want, LIMITS[dtype])


def test_equal_weights_give_the_plain_mean():
    case = random_case(13, 3, 4, 1100)
    net = case.net.network()
    mean, g = net.loss_and_grad(case.w, case.X, case.t)
    again, again_g = net.loss_and_grad(case.w, case.X, case.t, sample_weight=np.full(1100, 3.0))
    assert again == pytest.approx(mean, rel=1e-14)
    compare("equal weights", again_g, g, 1e-14)


# --- Memory ---------------------------------------------------------------------------------------


class Guarded:
    """A copy of an array with foreign memory before and behind it, not aligned to vectors."""

    def __init__(self, array, margin=67):
        bytes_around = margin * array.itemsize
        self._memory = np.full(2 * bytes_around + array.nbytes, CANARY, np.uint8)
        self._inside = slice(bytes_around, bytes_around + array.nbytes)
        self.array = self._memory[self._inside].view(array.dtype).reshape(array.shape)
        self.array[...] = array
        self._before = self._memory.copy()

    def assert_neighbours_untouched(self):
        before, after = self._before.copy(), self._memory.copy()
        before[self._inside] = after[self._inside] = 0
        assert before.tobytes() == after.tobytes()

    def assert_untouched(self):
        assert self._before.tobytes() == self._memory.tobytes()


MEMORY_SHAPES = [(1, 1, 1), (1, 1, 2), (2, 3, 1), (3, 2, 5), (7, 5, 19), (50, 17, 9), (3, 4, 1025)]
# (N, H, B, K), and what they end in.
MEMORY_HEADS = {
    (2, 3, 1, 2): SQUARED,
    (1, 1, 3, 2): CLASSES,
    (7, 5, 19, 3): SQUARED,
    (3, 2, 33, 17): PROBABILITIES,
    (3, 4, 1025, 4): SOFTMAX_SQUARED,
    (4, 3, 530, 5): PROBABILITIES,
}
MEMORY_SHAPES += MEMORY_HEADS


def memory_case(seed, shape):
    """Return the case of one of the shapes, and its loss."""
    head = MEMORY_HEADS.get(shape)
    return case_of(seed, shape, head), "squared" if head is None else head[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", MEMORY_SHAPES, ids=str)
def test_only_out_is_written_and_only_arguments_are_read(shape, dtype):
    case, loss = memory_case(14, shape)
    case = case.astype(dtype)
    net = case.net.network(dtype)
    guards = []

    def guard(array):
        guards.append(Guarded(array))
        return guards[-1].array

    guarded = case.map(guard)
    outs = {name: Guarded(room(name, case)) for name in CALLS}
    results = []
    for _ in range(2):  # the second call finds its own results in `out`
        arrays = {name: out.array for name, out in outs.items()}
        results.append(all_results(net, guarded, arrays, loss=loss))
        for argument in guards:
            argument.assert_untouched()
        for out in outs.values():
            out.assert_neighbours_untouched()
    # Not before: what writes beside `out` would harm the process.
    want = all_results(net, case, loss=loss)
    for got in results:
        assert_same(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", MEMORY_SHAPES, ids=str)
def test_equal_calls_give_equal_bits(shape, dtype):
    case, loss = memory_case(15, shape)
    case = case.astype(dtype)
    net = case.net.network(dtype)
    other = random_case(16, shape[0] + 3, 40, 333).astype(dtype)
    want = all_results(net, case, loss=loss)
    net.per_sample_grad(10.0 * case.w, 10.0 * case.X)
    all_results(other.net.network(dtype), other)
    outs = {name: room(name, case) for name in CALLS}
    assert_same(all_results(net, case, outs, loss=loss), want)
    # And without buffers, from lists, by another equal network.
    lists = case.map(np.ndarray.tolist)
    assert_same(all_results(case.net.network(dtype), lists, loss=loss), want)


def digest(change=lambda array: array):
    """Return a digest of what calls and fits give where arrays have been put into other places."""
    bits = hashlib.sha256()
    for dtype, shape in itertools.product(DTYPES, MEMORY_SHAPES):
        case, loss = memory_case(17, shape)
        case = case.astype(dtype).map(change)
        net, data = case.net.network(dtype), (case.X, case.t)
        outs = {name: change(room(name, case)) for name in CALLS}
        results = all_results(net, case, outs, loss=loss)
        bound = net.objective(*data, loss=loss, sample_weight=case.c, l2=0.1)
        results["objective"] = bound(case.w)[1]
        results["gauss_newton"] = bound.gauss_newton(case.w)[2]
        for optimizer, batch in (("lm", None), ("sgd", 1), ("sgd", 300), ("adam", 7)):
            options = {"w0": case.w, "optimizer": optimizer, "batch_size": batch, "epochs": 2}
            options["loss"] = loss
            results[f"{optimizer} {batch}"] = fastbp.fit(net, *data, **options).w
        for name, result in results.items():
            assert np.isfinite(result).all(), name
            bits.update(result.tobytes())
    return bits.hexdigest()


GUARD_PAGES = """
import ctypes, mmap
import llvmlite.binding
import numpy as np
from fastbp.kernels.machine.linker import context
from fastbp.kernels.machine.places import KEPT, MOST_KEPT
from test_kernels import CANARY, digest

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

def fenced(array):
    if at_end is None:
        return array.copy()
    page = mmap.PAGESIZE
    inside = max(-(-array.nbytes // page), 1) * page
    memory = np.frombuffer(mmap.mmap(-1, inside + 2 * page), np.uint8)
    for fence in (0, inside + page):
        assert libc.mprotect(memory.ctypes.data + fence, page, 0) == 0
    start = page + (inside - array.nbytes if at_end else 0)
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy

# What the kernels allocate themselves: it holds zeros at first, then NaN.
held, sizes = {}, []

@ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_size_t)
def allocate(n_bytes):
    array = fenced(np.full(n_bytes, 0 if at_end is None else CANARY, np.uint8))
    held[array.ctypes.data] = array
    sizes.append(n_bytes)
    return array.ctypes.data

@ctypes.CFUNCTYPE(None, ctypes.c_size_t)
def release(address):
    del held[address]

builder = llvmlite.binding.JITLibraryBuilder
plain = builder.add_current_process

def with_own_memory(self):
    for name, function in {"malloc": allocate, "free": release}.items():
        self.import_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    return plain(self)

builder.add_current_process = with_own_memory
at_end = None
want = digest(fenced)
assert len(held) == 1  # stays for the next call
context()[KEPT], context()[MOST_KEPT] = 0, -1
for at_end in (False, True):
    assert digest(fenced) == want
assert sizes and len(held) == 1
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX")
def test_memory_beside_arrays_and_workspaces_may_be_forbidden():
    assert fresh_process("-c", GUARD_PAGES) == "done\n"


def test_memory_of_a_call_stays_for_the_next_unless_it_is_large():
    def address_after(N, H):
        net = fastbp.Network(N, H)
        net.value(net.init(0), np.ones((300, N)))
        return context()[KEPT]

    small = address_after(3, 50)
    assert small != 0
    assert address_after(3, 20) == small
    assert address_after(40, 200) != 0
    assert address_after(1000, 2000) == 0


WHAT_WAS_THERE = """
import ctypes
import numpy as np
import fastbp
from fastbp.kernels.machine.linker import context
from fastbp.kernels.machine.places import KEPT

for N in (3, 100):
    net = fastbp.Network(N, 4, n_outputs=5, output="softmax")
    w, X = net.init(0), np.ones((60, N))
    X[7] = np.nan
    for call in (net.input_grad, lambda w, X: net.input_hvp(w, X, X), net.per_sample_grad):
        call(w, X)
        own = int(context()[KEPT])
        size = ctypes.c_int64.from_address(own).value // 8
        held = (ctypes.c_double * size).from_address(own + 64)
        held[:] = [1e12] * len(held)
        rows = call(w, X)
        assert np.isnan(rows[7]).all() and np.isfinite(np.delete(rows, 7, axis=0)).all()
print("done")
"""


def test_no_number_leads_to_none_in_memory():
    """Which output is largest is not known where s is NaN: what stood there is no place."""
    assert fresh_process("-c", WHAT_WAS_THERE) == "done\n"


def test_memory_that_stays_serves_one_thread_at_a_time():
    cases = [random_case([81, k], 3, 5 + 40 * k, 50 + 100 * k) for k in range(4)]
    nets = [case.net.network("float64") for case in cases]

    def gradients(k):
        case = cases[k % 4]
        return nets[k % 4].loss_and_grad(case.w, case.X, case.t)[1]

    alone = [gradients(k) for k in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for k, g in enumerate(pool.map(gradients, range(2000))):
            np.testing.assert_array_equal(g, alone[k % 4])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "H"), [(7, 6), (12, 16), (64, 7)])
def test_matrix_by_the_jacobian_and_by_pairs(N, H, dtype):
    for B in (5, 88, 96, 190, 200, 500):  # AVX-512 takes pairs from 96 (192) on
        case = random_case([82, B], N, H, B).astype(dtype)
        net = case.net.network(dtype)
        *_, G = agree(net, "gauss_newton", case.w, case.X, case.t, sample_weight=case.c)
        np.testing.assert_array_equal(G, G.T)


# --- Padding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_brings_in_no_value_that_no_sample_has(dtype):
    @fastbp.activation
    def log(z):
        return math.log(z)

    @fastbp.activation
    def pole(z):
        return 1.0 / (z * z)

    rng = np.random.default_rng(18)
    for N, H, B in itertools.product((1, 3, 9), (1, 2, 5, 9), (*range(1, 20), 97, 1025)):
        net = spec(N, [(log, pole)[i % 2] for i in range(H)], pole)
        case = random_case(19, N, H, B, activations=[log], outputs=[pole])
        a = rng.uniform(0.5, 1.0, H)
        W = rng.uniform(1.0, 2.0, (H, N)) / N
        w = np.concatenate([a, W.ravel()])
        X = rng.uniform(2.0, 3.0, (B, N))
        agree_all(replace(case, net=net, w=w, X=X), dtype)
        if H == 2 and N < 9:
            net = spec(N, net.activations, (pole, pole, log), 3)
            case = random_case(19, N, H, B, activations=[log], outputs=[pole], n_outputs=3)
            w = np.concatenate([rng.uniform(0.5, 1.0, 3 * H), W.ravel()])
            agree_several(replace(case, net=net, w=w, X=X), dtype, matrix=B < 20)


# --- Threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_may_share_a_network(dtype):
    cases = [random_case([20, k], 5, 30, 700, outputs=["tanh"]).astype(dtype) for k in range(6)]
    shape = cases[0].net
    single = shape.network(dtype)
    cold = shape.network(dtype)

    def job(net, case):
        def run():
            for _ in range(20):
                mean, g = net.loss_and_grad(case.w, case.X, case.t)
                rows = net.per_sample_grad(case.w, case.X[:50])
                y = net.value(case.w, case.X)
            return mean, g, rows, y

        return run

    want = [job(single, case)() for case in cases]
    got = in_threads([job(cold, case) for case in cases])
    for results, right in zip(got, want, strict=True):
        for a, b in zip(results, right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_other_threads_run_during_a_call():
    case = random_case(21, 50, 200, 2000, activations=["tanh"])
    net = case.net.network()
    X = np.tile(case.X, (20, 1))
    out = np.empty((len(X), 50))
    net.input_grad(case.w, X[:100])
    assert_other_threads_run_during(lambda: net.input_grad(case.w, X, out=out))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["huber", "log_cosh"])
def test_reweighted_matrices(loss, dtype):
    """What Levenberg–Marquardt takes for robust losses: Q of max(ℓ'', |ℓ'| / |y − t|)."""
    rng = np.random.default_rng(8)
    N, H, B = 3, 4, 300
    X, c = rng.normal(size=(B, N)).astype(dtype), rng.uniform(size=B).astype(dtype)
    ell = get_loss(loss)
    for K, output in ((1, "tanh"), (3, ("tanh", "identity", "tanh")), (3, "softmax")):
        net = fastbp.Network(N, H, n_outputs=K, output=output, dtype=dtype)
        w, t = net.init(0), rng.normal(size=(B, K)).astype(dtype)
        t = t[:, 0] if K == 1 else t
        tau = None if K == 1 else np.array([1.0, 0.5, 2.0], dtype)
        table = prepared(net).plan.loss_table(ell, 2, tau)
        net.gauss_newton(w, X, t, loss=loss)  # what it needs is made
        g, G = np.empty(w.size, dtype), np.empty((w.size, w.size), dtype)
        scale = 1.0 / float(c.sum())
        prepared(net).matrix_in_parts(1, table, w, X, t, c, scale, REWEIGHTED, g, G)

        wide = [a.astype(np.float64) for a in (w, X, t)]
        linear = fastbp.Network(N, H, n_outputs=K, output="identity")
        s, J = linear(*wide[:2]).reshape(B, K), linear.per_sample_grad(*wide[:2])
        y, aim, J = (
            reference.value(net, *wide[:2]).reshape(B, K),
            wide[2].reshape(B, K),
            J.reshape(B, K, -1),
        )
        if output == "softmax":
            bent = y[:, :, None] * (np.eye(K) - y[:, None, :])
        else:
            each = output if K > 1 else (output,)
            slopes = [get_activation(v).evaluate(1, s[:, k])[1] for k, v in enumerate(each)]
            bent = np.stack(slopes, axis=1)[:, :, None] * np.eye(K)
        h = np.abs(ell.derivative(y, aim)) / np.maximum(np.abs(y - aim), 1e-6)
        h = np.maximum(h, ell.second_derivative(y, aim)) * (1.0 if tau is None else tau)
        h = h * (scale * c.astype(np.float64))[:, None]
        rows = bent @ J
        want = np.einsum("bk,bki,bkj->ij", h, rows, rows)
        largest = np.abs(want).max()
        np.testing.assert_allclose(
            np.triu(G), np.triu(want), rtol=0, atol=200 * largest * np.finfo(dtype).eps
        )
