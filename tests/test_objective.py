"""Objective: the same numbers as the calls it binds, its copies, its threads, SciPy."""

import pickle
import tracemalloc

import numpy as np
import pytest
from support import DTYPES, HEADS, LIMITS, case_of, in_threads, outputs_for, random_case

import fastbp
from fastbp.kernels.machine import sizes
from fastbp.losses import NAMES as LOSSES

# One sample, few, a remainder, several chunks, several parts.
SHAPES = [(1, 1, 1), (4, 8, 1), (3, 5, 2), (5, 9, 19), (20, 33, 300), (3, 7, 1100), (2, 3, 9000)]


def bound(case, dtype="float64", **kwargs):
    """Return a network and an objective of a case."""
    net = case.net.network(dtype)
    return net, net.objective(case.X, case.t, **kwargs)


# --- The same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_loss_and_grad_bit_for_bit(shape, dtype, weighted):
    case = random_case([61, *shape], *shape).astype(dtype)
    c = case.c if weighted else None
    net, objective = bound(case, dtype, sample_weight=c)
    for w in (case.w, case.p, case.w):  # and again: nothing stays from the call before
        mean, g = net.loss_and_grad(w, case.X, case.t, sample_weight=c)
        got, got_g = objective(w)
        assert got == mean
        np.testing.assert_array_equal(got_g, g, strict=True)
        out = np.full_like(w, np.nan)
        got, got_g = objective(w, out=out)
        assert got == mean
        assert got_g is out
        np.testing.assert_array_equal(out, g, strict=True)
        assert objective.value(w) == pytest.approx(mean, rel=LIMITS[dtype])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(4, 8, 1), (5, 9, 19), (3, 7, 1100), (3, 5, 700, 2)], ids=str)
def test_large_data_stay_where_they_are_and_give_the_same_bits(monkeypatch, shape, threads):
    case = case_of([65, *shape], shape)
    given = {"sample_weight": case.c, "l2": 0.1, "threads": threads}
    packed = bound(case, **given)[1]
    monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    streamed = bound(case, **given)[1]
    assert np.shares_memory(streamed.X, case.X) and not np.shares_memory(packed.X, case.X)
    assert not streamed.X.flags.writeable and case.X.flags.writeable
    (loss, g), (other, other_g) = streamed(case.w), packed(case.w)
    assert (loss, streamed.value(case.w)) == (other, packed.value(case.w))
    np.testing.assert_array_equal(g, other_g)
    np.testing.assert_array_equal(streamed.hvp(case.w, case.p), packed.hvp(case.w, case.p))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    case = random_case([62, LOSSES.index(loss)], 4, 6, 60, outputs=outputs_for(loss))
    net, objective = bound(case, loss=loss)
    mean, g = net.loss_and_grad(case.w, case.X, case.t, loss=loss)
    got, got_g = objective(case.w)
    assert got == mean
    np.testing.assert_array_equal(got_g, g)
    assert objective.value(case.w) == pytest.approx(mean, rel=1e-13)
    assert objective.loss == fastbp.losses.get_loss(loss)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_l2_adds_half_the_square(threads, dtype):
    case = random_case(63, 4, 6, 1100).astype(dtype)
    net, objective = bound(case, dtype, l2=0.25, threads=threads)
    mean, g = net.loss_and_grad(case.w, case.X, case.t)
    w = case.w.astype(np.float64)
    eps = np.finfo(dtype).eps
    got, got_g = objective(case.w)
    assert got == pytest.approx(mean + 0.125 * (w @ w), rel=32 * float(eps))
    np.testing.assert_allclose(got_g, g + 0.25 * w, rtol=4 * eps, atol=4 * eps)
    assert objective.value(case.w) == pytest.approx(got, rel=LIMITS[dtype])
    _, plain = bound(case, dtype, threads=threads)
    np.testing.assert_array_equal(plain(case.w)[1], g)


def test_second_order():
    case = random_case(64, 3, 5, 100)
    kwargs = {"loss": "huber", "sample_weight": case.c}
    net, plain = bound(case, **kwargs)
    _, decayed = bound(case, l2=0.5, **kwargs)
    w, p, data = case.w, case.p, (case.X, case.t)
    for name in ("hvp", "gauss_newton_product"):
        want = getattr(net, name)(w, *data, p, **kwargs)
        np.testing.assert_array_equal(getattr(plain, name)(w, p), want)
        np.testing.assert_allclose(getattr(decayed, name)(w, p), want + 0.5 * p, rtol=1e-15)
    mean, g, G = net.gauss_newton(w, *data, **kwargs)
    got, got_g, got_G = plain.gauss_newton(w)
    assert got == mean
    np.testing.assert_array_equal(got_g, g)
    np.testing.assert_array_equal(got_G, G)
    got, got_g, got_G = decayed.gauss_newton(w)
    assert got == pytest.approx(mean + 0.25 * (w @ w), rel=1e-14)
    np.testing.assert_allclose(got_g, g + 0.5 * w, rtol=1e-14)
    np.testing.assert_allclose(got_G, G + 0.5 * np.eye(len(w)), rtol=1e-14)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("head", HEADS, ids=" ".join)
def test_several_outputs(head, threads):
    case = case_of([66, threads], (3, 4, 1100, 3), head)
    weights = {"loss": head[0], "sample_weight": case.c, "target_weight": case.tau}
    net, objective = bound(case, **weights, l2=0.1, threads=threads)
    again = pickle.loads(pickle.dumps(objective))
    w, p, args = case.w, case.p, (case.X, case.t)
    mean, g, G = net.gauss_newton(w, *args, **weights)
    for f in (objective, again):
        got, got_g, got_G = f.gauss_newton(w)
        assert got == pytest.approx(mean + 0.05 * w @ w, rel=1e-13)
        np.testing.assert_array_equal(got_g, g + 0.1 * w)
        np.testing.assert_array_equal(got_G, G + 0.1 * np.eye(len(w)))
        np.testing.assert_array_equal(f.hvp(w, p), net.hvp(w, *args, p, **weights) + 0.1 * p)
        want = net.gauss_newton_product(w, *args, p, **weights) + 0.1 * p
        np.testing.assert_array_equal(f.gauss_newton_product(w, p), want)
        got, got_g = f(w)
        assert got == pytest.approx(f.value(w), rel=1e-13)
        np.testing.assert_allclose(got_g, g + 0.1 * w, rtol=1e-11, atol=1e-14)
    plain = net.objective(*args, **weights, threads=threads)
    mean, g = net.loss_and_grad(w, *args, **weights)
    got, got_g = plain(w)
    assert got == mean
    np.testing.assert_array_equal(got_g, g)
    case.t[:] = 0  # its copies do not follow
    np.testing.assert_array_equal(plain(w)[1], g)


def test_hvp_is_the_slope_of_the_gradient():
    case = random_case(65, 3, 5, 100, activations=("tanh", "gelu", "sin"), outputs=["softplus"])
    _, objective = bound(case, loss="poisson", sample_weight=case.c, l2=0.1)
    h = 1e-5
    ahead, behind = (objective(case.w + s * h * case.p)[1] for s in (1.0, -1.0))
    want = (ahead - behind) / (2.0 * h)
    got = objective.hvp(case.w, case.p)
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-8 * np.abs(want).max())


# --- Copies ---------------------------------------------------------------------------------------


def test_later_changes_of_the_callers_arrays_have_no_effect():
    for B in (3, 40):  # as they are, and packed
        case = random_case([66, B], 3, 5, B)
        X, t, c = case.X.copy(), case.t.copy(), case.c.copy()
        objective = case.net.network().objective(X, t, sample_weight=c)
        mean, g = objective(case.w)
        value, product = objective.value(case.w), objective.hvp(case.w, case.p)
        for array in (X, t, c):
            array[...] = np.nan
        again, again_g = objective(case.w)
        assert again == mean
        np.testing.assert_array_equal(again_g, g)
        assert objective.value(case.w) == value
        np.testing.assert_array_equal(objective.hvp(case.w, case.p), product)
        for array in (objective.X, objective.t, objective.sample_weight):
            assert not array.flags.writeable


def test_results_belong_to_the_caller():
    case = random_case(67, 3, 5, 40)
    _, objective = bound(case)
    _, first = objective(case.w)
    kept = first.copy()
    _, second = objective(case.p)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pickling(dtype):
    case = random_case(68, 3, 5, 600).astype(dtype)
    kwargs = {"loss": fastbp.losses.huber(0.3), "sample_weight": case.c, "l2": 0.1}
    for threads in (1, 2, "auto"):
        _, objective = bound(case, dtype, threads=threads, **kwargs)
        twin = pickle.loads(pickle.dumps(objective))
        assert (twin.net, twin.loss, twin.l2) == (objective.net, objective.loss, objective.l2)
        assert twin.threads == objective.threads
        mean, g = objective(case.w)
        got, got_g = twin(case.w)
        assert got == mean
        np.testing.assert_array_equal(got_g, g)


def test_repr_says_what_is_bound():
    _, objective = bound(random_case(69, 3, 5, 40, outputs=["tanh"]), l2=0.25)
    assert "40 observations" in repr(objective)
    assert "'squared'" in repr(objective)
    assert "0.25" in repr(objective)


# --- Memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 8, 1), (20, 33, 300), (3, 7, 5000)], ids=str)
def test_out_leaves_nothing_to_allocate(shape):
    case = random_case([70, *shape], *shape)
    _, objective = bound(case, l2=0.1, sample_weight=case.c)
    out = np.empty_like(case.w)

    def peak(n):
        tracemalloc.start()
        try:
            for _ in range(n):
                objective(case.w, out=out)
            objective.value(case.w)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    # A float and a tuple at a time; no array, and nothing that is kept.
    assert peak(200) < 500


def test_the_workspace_is_its_own_whatever_is_in_it():
    for B in (2, 40, 1100):
        case = random_case([71, B], 3, 5, B)
        _, objective = bound(case)
        mean, g = objective(case.w)
        workspace = objective._bound._workspace
        workspace[:] = np.nan
        again, again_g = objective(case.w)
        assert again == mean
        np.testing.assert_array_equal(again_g, g)
        assert not np.isnan(workspace).all()


# --- Threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 7, 1), (3, 7, 1100), (30, 50, 3000)], ids=str)
def test_its_threads_change_no_bit(shape, dtype):
    case = random_case([72, *shape], *shape).astype(dtype)
    kwargs = {"sample_weight": case.c, "l2": 0.1}
    _, single = bound(case, dtype, **kwargs)
    mean, g = single(case.w)
    for threads in (2, 3, "auto"):
        _, objective = bound(case, dtype, threads=threads, **kwargs)
        for _ in range(5):
            out = np.full_like(g, np.nan)
            got, got_g = objective(case.w, out=out)
            assert got_g is out
            assert got == mean
            np.testing.assert_array_equal(out, g)
            assert objective.value(case.w) == single.value(case.w)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_may_call_one_objective(threads):
    case = random_case(73, 5, 30, 1500, outputs=["tanh"])
    _, objective = bound(case, threads=threads, l2=0.1)
    points = [np.random.default_rng([74, k]).standard_normal(case.net.n_params) for k in range(6)]
    want = [objective(w) for w in points]

    def job(w):
        def run():
            seen = []
            for _ in range(30):
                seen.append(objective(w))
                seen.append((objective.value(w), objective(w, out=np.empty_like(w))[1]))
            return seen

        return run

    for seen, w, (mean, g) in zip(in_threads([job(w) for w in points]), points, want, strict=True):
        value = objective.value(w)
        for k, (got, got_g) in enumerate(seen):
            assert got == (value if k % 2 else mean)
            np.testing.assert_array_equal(got_g, g)
    # And the workspace has been given back.
    assert objective(points[0])[0] == want[0][0]


# --- SciPy ----------------------------------------------------------------------------------------


def fitted(seed=75):
    """Return targets that a network of this shape can fit, with noise."""
    case = random_case(seed, 2, 4, 200, activations=["tanh"], outputs=["identity"])
    net = case.net.network()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(200)
    return net, net.objective(case.X, net.value(case.w, case.X) + noise, l2=1e-3)


@pytest.mark.parametrize(
    ("method", "hessian"),
    [("L-BFGS-B", False), ("BFGS", False), ("trust-ncg", True), ("Newton-CG", True)],
)
def test_scipy_takes_it(method, hessian):
    from scipy.optimize import minimize

    net, objective = fitted()
    w = net.init(seed=2)
    kwargs = {"hessp": objective.hvp} if hessian else {}
    result = minimize(objective, w, jac=True, method=method, options={"maxiter": 500}, **kwargs)
    assert result.fun < 0.02 < objective.value(w)
    assert np.abs(objective(result.x)[1]).max() < 1e-3
    if method == "trust-ncg":
        assert result.success
        hessian = np.array([objective.hvp(result.x, e) for e in np.eye(len(w))])
        assert np.linalg.eigvalsh(hessian).min() > 0.0


def test_gauss_newton_makes_a_step():
    net, objective = fitted()
    w = net.init(seed=2)
    for _ in range(200):
        mean, g, G = objective.gauss_newton(w)
        step, scale = -np.linalg.solve(G, g), 1.0
        while objective.value(w + scale * step) > mean and scale > 1e-6:
            scale /= 2.0
        w = w + scale * step
    assert np.abs(objective(w)[1]).max() < 1e-8


# --- What it refuses ------------------------------------------------------------------------------

NET = fastbp.Network(3, 4, output="identity")
X = np.random.default_rng(76).standard_normal((5, 3))
T = np.zeros(5)
W = NET.init(seed=0)
OBJECTIVE = NET.objective(X, T)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NET.objective(X[:, :2], T), ValueError, r"X must have shape \(B, 3\)"),
        (lambda: NET.objective(X, T[1:]), ValueError, r"t must have shape \(5,\)"),
        (lambda: NET.objective(X[:0], T[:0]), ValueError, "at least one observation"),
        (lambda: NET.objective(X, T, l2=-1.0), ValueError, "l2 must be a number from 0 on; got -1"),
        (lambda: NET.objective(X, T, l2=np.nan), ValueError, "l2 must be a number from 0 on"),
        (lambda: NET.objective(X, T, l2=np.inf), ValueError, "l2 must be a number from 0 on"),
        (lambda: NET.objective(X, T, threads=0), ValueError, 'integer or "auto"; got 0'),
        (lambda: NET.objective(X, T, threads="all"), ValueError, "got 'all'"),
        (lambda: NET.objective(X, T, loss="huge"), ValueError, "huber"),
        (lambda: NET.objective(X, T - 1.0, loss="poisson"), ValueError, "must lie in"),
        (lambda: NET.objective(X, T, sample_weight=0 * T), ValueError, "positive, finite sum"),
        (lambda: NET.objective(X + np.nan, T, check_finite=True), ValueError, "X must be finite"),
        (lambda: OBJECTIVE(W[1:]), ValueError, r"w must have shape \(16,\); got \(15,\)"),
        (lambda: OBJECTIVE(W[None]), ValueError, r"w must have shape \(16,\); got \(1, 16\)"),
        (lambda: OBJECTIVE("w"), TypeError, "w must hold real numbers"),
        (lambda: OBJECTIVE(1j * W), TypeError, "w must hold real numbers"),
        (lambda: OBJECTIVE.value(W[1:]), ValueError, r"w must have shape \(16,\)"),
        (lambda: OBJECTIVE.hvp(W, W[1:]), ValueError, r"p must have shape \(16,\)"),
        (lambda: OBJECTIVE.gauss_newton_product(W[1:], W), ValueError, r"w must have shape"),
        (lambda: OBJECTIVE.gauss_newton(W[1:]), ValueError, r"w must have shape"),
        (lambda: OBJECTIVE(W, out=W), ValueError, "out must not overlap"),
        (lambda: OBJECTIVE(W, out=np.empty(15)), ValueError, r"out must be an array of shape"),
        (lambda: OBJECTIVE(W, out=np.empty(16, "f4")), ValueError, "got .* float32"),
        (lambda: OBJECTIVE(W, out=np.empty(32)[::2]), ValueError, "writable, aligned and in C"),
        (lambda: OBJECTIVE(W, out=OBJECTIVE.X.ravel()), ValueError, "out must be"),
        (lambda: OBJECTIVE(W, out=[0.0] * 16), ValueError, "out must be an array"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_out_that_overlaps_a_w_that_is_converted_is_refused():
    memory = np.zeros(32)
    for w in (memory[::2], memory.view(np.float32)[:16]):
        w[:] = W
        before = memory.tobytes()
        with pytest.raises(ValueError, match="out must not overlap"):
            OBJECTIVE(w, out=memory[:16])
        assert memory.tobytes() == before


def test_what_is_converted():
    mean, g = OBJECTIVE(W)
    for w in (W.tolist(), tuple(W), np.repeat(W, 2)[::2], np.asfortranarray(W)):
        got, got_g = OBJECTIVE(w)
        assert got == mean
        np.testing.assert_array_equal(got_g, g)
        assert OBJECTIVE.value(w) == pytest.approx(mean, rel=1e-14)


def test_attributes_can_not_be_set():
    """Calls read them, or what was made of them: they would disagree."""
    case = random_case(0, 3, 4, 9)
    objective = case.net.network().objective(case.X, case.t, l2=0.1)
    for name in ("net", "X", "t", "sample_weight", "loss", "l2", "threads"):
        with pytest.raises(AttributeError, match=f"{name} of this Objective can't be changed"):
            setattr(objective, name, getattr(objective, name))
    assert objective.l2 == 0.1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_l2_of_each_parameter(threads, dtype):
    case = random_case(66, 4, 6, 1100).astype(dtype)
    each = np.random.default_rng(66).uniform(0.0, 2.0, case.w.size)
    each[:3] = 0.0
    net, objective = bound(case, dtype, l2=each, threads=threads)
    mean, g = net.loss_and_grad(case.w, case.X, case.t)
    w = case.w.astype(np.float64)
    eps = np.finfo(dtype).eps
    got, got_g = objective(case.w)
    assert got == pytest.approx(mean + 0.5 * (each * w) @ w, rel=32 * float(eps))
    np.testing.assert_allclose(got_g, g + each * w, rtol=8 * eps, atol=8 * eps)
    assert objective.value(case.w) == pytest.approx(got, rel=LIMITS[dtype])
    _, plain = bound(case, dtype, threads=threads)
    for made, unpenalised, more in (
        (objective.gauss_newton(case.w)[2], plain.gauss_newton(case.w)[2], np.diag(each)),
        (objective.hvp(case.w, case.p), plain.hvp(case.w, case.p), each * case.p),
    ):
        np.testing.assert_allclose(made, unpenalised + more, rtol=8 * eps, atol=8 * eps)
        assert made.dtype == dtype
    each[:] = -1.0  # it is a copy
    assert objective(case.w)[0] == got
    copied = pickle.loads(pickle.dumps(objective))
    assert copied(case.w)[0] == got
    # A number is the vector of that number, but for the last bits.
    _, one = bound(case, dtype, l2=0.25, threads=threads)
    _, many = bound(case, dtype, l2=np.full(case.w.size, 0.25), threads=threads)
    np.testing.assert_allclose(one(case.w)[1], many(case.w)[1], rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize(
    "l2",
    [
        -1.0,
        np.nan,
        np.inf,
        None,
        "much",
        "0.1",
        b"1",
        1j,
        [0.1, 0.2],
        np.full(16, -1.0),
        np.full((4, 4), 1.0),
        np.full(16, 1j),
        np.full(16, "2024-01-01", "M8[D]"),
    ],
)
def test_l2_that_is_none_is_refused(l2):
    case = random_case(67, 3, 4, 5)
    with pytest.raises(ValueError, match="l2 must be a number from 0 on"):
        bound(case, l2=l2)
    with pytest.raises(ValueError, match="l2 must be a number"):
        fastbp.fit(fastbp.Network(3, 4), case.X, np.zeros(5), l2=l2)
