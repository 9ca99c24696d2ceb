"""The calls as functions, of several outputs: in Python and in compiled code."""

import numpy as np
import pytest
from numba import float64, njit, typeof
from numba.core.errors import TypingError
from numba.experimental import jitclass
from support import (
    CALLS,
    DTYPES,
    LIMITS,
    OUTPUTS,
    arguments,
    assert_close,
    outputs_for,
    random_case,
    room,
)
from test_functions import COMPILED, INTERPRETED

import fastbp
from fastbp import reference, softmax
from fastbp.losses import NAMES as LOSSES


@njit(cache=True)
def value_and_jacobian(net, w, x, out, y):
    return fastbp.value_and_grad(net, w, x, out, y)


FUNCTIONS = (INTERPRETED, COMPILED | {"value_and_grad": value_and_jacobian})


def several(seed, K, B, outputs=OUTPUTS, shape=(4, 6), dtype="float64"):
    return random_case([seed, K, B], *shape, B, outputs=outputs, n_outputs=K).astype(dtype)


def net_of(case):
    """Return a network that nothing has been asked of."""
    return case.net.network(case.w.dtype)


def taken(case, name):
    """Return what a call takes after the network, and an array to write into."""
    return list(arguments(name, vars(case))[0]), room(name, case)


def run(functions, name, net, case):
    """Return a call's number, or values, or None; and its array."""
    given, out = taken(case, name)
    if name == "value_and_grad":
        y = np.full(case.net.n_outputs, np.nan, out.dtype)
        assert functions[name](net, *given, out, y) is None
        return y, out
    return functions[name](net, *given, out), out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [1, 30, 300])
@pytest.mark.parametrize("K", [2, 3, 17])
@pytest.mark.parametrize("outputs", [OUTPUTS, softmax], ids=["mixed", "softmax"])
def test_equal_the_reference_and_the_methods(outputs, K, B, dtype):
    case = several(301, K, B, outputs, dtype=dtype)
    wide, net = case.astype("float64"), net_of(case)
    for name in CALLS:
        given, _ = taken(wide, name)
        exact = getattr(reference, name)(case.net, *given)
        given, _ = taken(case, name)
        method = getattr(net, name)(*given)
        for functions in FUNCTIONS:
            for twin in (net, net_of(case)):  # warm, and never used before
                number, out = run(functions, name, twin, case)
                results = [out] if number is None else [number, out]
                exacts = exact if isinstance(exact, tuple) else [exact]
                methods = method if isinstance(method, tuple) else [method]
                assert len(results) == len(exacts)
                for got, want, same in zip(results, exacts, methods, strict=True):
                    np.testing.assert_array_equal(got, same, err_msg=name)
                    assert_close(got, want, LIMITS[dtype], LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [OUTPUTS, softmax], ids=["mixed", "softmax"])
def test_one_observation(outputs, dtype):
    case = several(302, 3, 1, outputs, dtype=dtype)
    w, x = case.w, case.X[0]
    for functions in FUNCTIONS:
        for name, shape in (("value", (3,)), ("input_grad", (3, 4))):
            net, out = net_of(case), np.full(shape, np.nan, dtype)
            assert functions[name](net, w, x, out) is None
            np.testing.assert_array_equal(out, getattr(net_of(case), name)(w, x))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    @njit
    def all_three(net, w, X, t, p, g, product, curvature):
        fastbp.hvp(net, w, X, t, p, product, loss)
        fastbp.gauss_newton_product(net, w, X, t, p, curvature, loss=loss)
        return fastbp.loss_and_grad(net, w, X, t, g, loss)

    for outputs in (outputs_for(loss), softmax):
        case = several(303, 3, 40, outputs)
        t = case.t / case.t.sum(axis=1, keepdims=True) if outputs is softmax else case.t
        net, args = net_of(case), (case.w, case.X, t)
        outs = [np.full_like(case.w, np.nan) for _ in range(3)]
        mean = all_three(net, *args, case.p, *outs)
        want, g = reference.loss_and_grad(case.net, *args, loss=loss)
        assert_close(mean, want, 1e-12)
        assert_close(outs[0], g, 1e-12, 1e-12)
        for got, name in ((outs[1], "hvp"), (outs[2], "gauss_newton_product")):
            want = getattr(reference, name)(case.net, *args, case.p, loss=loss)
            assert_close(got, want, 1e-12, 1e-12)


def test_targets_that_are_no_probabilities():
    @njit
    def f(net, w, X, t, g):
        return fastbp.loss_and_grad(net, w, X, t, g, "cross_entropy")

    case = several(304, 3, 5, softmax)
    net, g = net_of(case), np.empty_like(case.w)
    t = np.eye(3)[[0, 2, 1, 1, 0]]
    assert (
        f(net, case.w, case.X, t, g)
        == net.loss_and_grad(case.w, case.X, [0, 2, 1, 1, 0], loss="cross_entropy")[0]
    )
    for row in ([0.5, 0.4, 0.0], [1.1, -0.1, 0.0], [np.nan, 1.0, 0.0]):
        t[3] = row
        with pytest.raises(ValueError, match="on a softmax, rows are probabilities"):
            f(net, case.w, case.X, t, g)
    for classes in (np.zeros(5, np.int64), np.zeros(5)):
        message = r"t as a 2-D array of float64 in C order, \(B, K\); classes are rows of prob"
        with pytest.raises(TypingError, match=message):
            f(net, case.w, case.X, classes, g)
    logistic = fastbp.Network(4, 6, n_outputs=3, output="logistic")  # each its own probability
    assert np.isfinite(f(logistic, case.w, case.X, np.full((5, 3), 0.9), g))
    with pytest.raises(ValueError, match="targets outside the range of the loss"):
        f(logistic, case.w, case.X, np.full((5, 3), 1.1), g)


def test_empty_batches():
    net = fastbp.Network(3, 4, n_outputs=2, output="identity")
    w, X, none = net.init(seed=0), np.empty((0, 3)), np.empty((0, 2))
    g = np.full_like(w, np.nan)
    for functions in FUNCTIONS:
        functions["value"](net, w, X, none)
        functions["jvp"](net, w, X, w, none)
        functions["input_grad"](net, w, X, np.empty((0, 2, 3)))
        functions["input_hvp"](net, w, X, X, np.empty((0, 2, 3)))
        functions["per_sample_grad"](net, w, X, np.empty((0, 2, 20)))
        functions["vjp"](net, w, X, none, g)
        assert not g.any()
        with pytest.raises(ValueError, match=r"at least one observation|does not fit"):
            functions["loss_and_grad"](net, w, X, none, g)


# --- What is refused ------------------------------------------------------------------------------

ONE = fastbp.Network(4, 6)
NET = several(305, 3, 5)
W, X, T = NET.w, NET.X, NET.t
ROOMS = {name: taken(NET, name)[1] for name in CALLS}


def without_axis_of_outputs(name):
    """Return a call's arguments as those of one output."""
    given, out = taken(NET, name)
    names, axes = CALLS[name].arguments, CALLS[name].axes
    given = [np.ascontiguousarray(a[:, 0]) if n in ("ybar", "t") else a
             for a, n in zip(given, ("w", *names), strict=True)]  # fmt: skip
    return given, np.ascontiguousarray(out.take(0, axes.index("K"))) if "K" in axes else out


@pytest.mark.parametrize("name", CALLS)
def test_arrays_without_the_axis_of_outputs(name):
    given, out = without_axis_of_outputs(name)
    for functions, error in zip(FUNCTIONS, (ValueError, TypingError), strict=True):
        with pytest.raises(error, match=r"shape|-D array of float64 in C order, \("):
            functions[name](net_of(NET), *given, out, *[np.empty(3)] * (name == "value_and_grad"))


@pytest.mark.parametrize("name", CALLS)
def test_arrays_with_an_axis_of_outputs_for_one(name):
    given, out = taken(NET, name)
    given[0] = ONE.init(0)
    given = [given[0] if a is W or a is NET.p else a for a in given]
    if out.shape == W.shape:
        out = given[0].copy()
    with pytest.raises(TypingError, match=r"needs \w+ as a (1-D or )?\d-D array of float64 in C o"):
        COMPILED[name](ONE, *given, out)


@pytest.mark.parametrize("name", CALLS)
def test_sizes_that_do_not_fit(name):
    """Each array in turn, one number more or less along each of its axes."""
    given, out = taken(NET, name)
    arrays = [*given, out, *([np.empty(3)] if name == "value_and_grad" else [])]
    for k, array in enumerate(arrays):
        for axis in range(array.ndim):
            for changed in (
                np.repeat(array, [2, *[1] * (array.shape[axis] - 1)], axis=axis),
                np.delete(array, 0, axis=axis),
            ):
                other = [*arrays[:k], changed, *arrays[k + 1 :]]
                for functions in FUNCTIONS:
                    before = [a.copy() for a in other]
                    with pytest.raises(ValueError, match=r"shape|does not fit the network"):
                        functions[name](net_of(NET), *other)
                    for a, b in zip(other, before, strict=True):
                        np.testing.assert_array_equal(a, b)  # nothing has been written


def test_room_for_values():
    @njit
    def value_of_one(net, w, x):
        return fastbp.value(net, w, x)

    @njit
    def gradient_of_one(net, w, x, out):
        return fastbp.value_and_grad(net, w, x, out)

    net, x, J = net_of(NET), X[0], ROOMS["value_and_grad"]
    with pytest.raises(TypingError, match=r"value needs out as a 1-D .*, \(K\); got"):
        value_of_one(net, W, x)
    with pytest.raises(TypingError, match=r"value_and_grad needs y as a 1-D .*, \(K\); got"):
        gradient_of_one(net, W, x, J)
    with pytest.raises(TypeError, match="several outputs need an array to write into, out"):
        fastbp.value(net, W, x)
    with pytest.raises(TypeError, match="several outputs need an array to write into, y"):
        fastbp.value_and_grad(net, W, x, J)
    for y in (np.empty(3, "f4"), np.empty((1, 3)), np.empty(6)[::2], J[0, :3], W[:3]):
        with pytest.raises(ValueError, match="y must"):
            fastbp.value_and_grad(net, W, x, J, y)
    read_only = np.empty(3)
    read_only.flags.writeable = False
    with pytest.raises(TypingError, match="writes to y, which is read-only"):
        value_and_jacobian(net, W, x, J, read_only)
    with pytest.raises(TypingError, match="returns the value of one output; leave y away"):
        value_and_jacobian(ONE, ONE.init(0), x, ONE.init(0), np.empty(1))

    @njit
    def perhaps(net, w, x, J, given):
        y = np.empty(1) if given else None
        return fastbp.value(net, w, x, y), fastbp.value_and_grad(net, w, x, J, y)

    with pytest.raises(TypingError, match="returns the value of one observation; leave out away"):
        perhaps(ONE, ONE.init(0), x, ONE.init(0), True)
    with pytest.raises(TypeError, match="value of one output is returned: leave y away"):
        fastbp.value_and_grad(ONE, ONE.init(0), x, ONE.init(0), np.empty(1))


def test_types_say_whether_there_are_several_outputs_and_not_how_many():
    two = fastbp.Network(4, 6, n_outputs=2, output="softmax")
    assert typeof(two) == typeof(net_of(NET)) != typeof(ONE)
    assert typeof(two) != typeof(fastbp.Network(4, 6, n_outputs=2, dtype="float32"))
    assert typeof(ONE) == typeof(fastbp.Network(4, 6, output=["sin"]))

    @njit
    def f(net, w, X, out):
        fastbp.value(net, w, X, out)

    for K in (2, 3, 17):
        case = several(306, K, 20)
        f(net_of(case), case.w, case.X, out := np.empty((20, K)))
        assert_close(out, reference.value(case.net, case.w, case.X), 1e-12, 1e-12)
    assert len(f.signatures) == 1


def test_a_function_for_one_is_compiled_anew_for_several():
    @njit
    def f(net, w, X, g, t):
        return fastbp.loss_and_grad(net, w, X, t, g)

    case = several(307, 3, 5)
    for net, w, t in ((ONE, ONE.init(0), T[:, 0].copy()), (net_of(case), case.w, case.t)):
        assert f(net, w, case.X, np.empty_like(w), t) == net.loss_and_grad(w, case.X, t)[0]
    assert len(f.signatures) == 2


# --- Where a network may be -----------------------------------------------------------------------


def test_a_jitclass_and_a_tuple_keep_their_networks():
    net = net_of(NET)

    @jitclass([("net", typeof(net)), ("w", float64[::1])])
    class Model:
        def __init__(self, net, w):
            self.net = net
            self.w = w

        def jacobian(self, x, out):
            fastbp.input_grad(self.net, self.w, x, out)

    @njit
    def both(nets, w, x, out, rest):
        fastbp.value(nets[0], w, x, out)
        return fastbp.value(nets[1], rest, x)

    model = Model(net, W)
    del net
    out, y = np.empty((3, 4)), np.empty(3)
    model.jacobian(X[0], out)
    assert_close(out, reference.input_grad(NET.net, W, X[0]), 1e-12, 1e-12)
    assert both((net_of(NET), ONE), W, X[0], y, ONE.init(0)) == ONE(ONE.init(0), X[0])
    assert_close(y, reference.value(NET.net, W, X[0]), 1e-12, 1e-12)


def test_a_network_that_numba_would_freeze():
    local = net_of(NET)

    @njit
    def of_a_closure(w, x, out):
        fastbp.value(local, w, x, out)

    with pytest.raises(TypingError, match=r"can't be a global or closure .* as an argument"):
        of_a_closure(W, X[0], np.empty(3))


def test_a_loop_that_follows_the_field_of_a_network():
    """Euler steps of x' = f(w, x), and of Φ' = J Φ beside them, as NumPy does them."""

    @njit(nogil=True)
    def follow(net, w, x, steps, dt):
        x, phi = x.copy(), np.eye(x.size)
        rate, J = np.empty(x.size), np.empty((x.size, x.size))
        for _ in range(steps):
            fastbp.value(net, w, x, rate)
            fastbp.input_grad(net, w, x, J)
            phi += dt * (J @ phi)
            x += dt * rate
        return x, phi

    case = several(308, 3, 1, "identity", shape=(3, 8))
    x, phi = case.X[0].copy(), np.eye(3)
    for _ in range(50):
        rate = reference.value(case.net, case.w, x)
        phi = phi + 0.02 * reference.input_grad(case.net, case.w, x) @ phi
        x = x + 0.02 * rate
    got = follow(net_of(case), case.w, case.X[0], 50, 0.02)
    assert_close(got[0], x, 1e-12)
    assert_close(got[1], phi, 1e-12)
