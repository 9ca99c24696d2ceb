"""What a network is, and what its calls accept and refuse."""

import copy
import pickle
import sys
from inspect import signature

import numpy as np
import pytest
import support
from support import CALLS, array_of, flat, random_case

import fastbp
from fastbp import _uniform
from fastbp.activations import get_activation

N, H, P, B = 3, 4, 16, 5


def make(dtype="float64"):
    """Return a network, and arguments for its calls."""
    case = random_case(1, N, H, B, outputs=["tanh"]).astype(dtype)
    given = {name: a for name, a in vars(case).items() if isinstance(a, np.ndarray)}
    return case.net.network(dtype), given


def calls(net, **given):
    """Return every call, waiting to be made, by name; `out` and `check_finite` go to each."""
    keywords = {key: given.pop(key) for key in ("out", "check_finite") if key in given}

    def call(name):
        args, options = support.arguments(name, given)
        return lambda: getattr(net, name)(*args, **options, **keywords)

    return {name: call(name) for name in CALLS}


OUT_SHAPES = {
    name: tuple({"B": B, "N": N, "P": P}[axis] for axis in call.axes if axis != "K")
    for name, call in CALLS.items()
}


def takers(argument):
    """Return the names of the calls that take an argument."""
    return [
        name
        for name, call in CALLS.items()
        if argument in ("w", *call.arguments, *call.options.values())
        or (argument == "X" and "x" in call.arguments)
    ]


@pytest.fixture(params=["first call", "later call"])
def network(request):
    """Return a network that has not been evaluated yet, and one that has in every way."""
    net, arguments = make()
    if request.param == "later call":
        for call in calls(net, **arguments).values():
            call()
    return net


# --- Construction ---------------------------------------------------------------------------------


def test_attributes():
    net = fastbp.Network(3, 2, activations=["sin", "relu"], output="identity", dtype="float32")
    assert (net.n_inputs, net.n_neurons, net.n_params) == (3, 2, 8)
    assert net.activations == (get_activation("sin"), get_activation("relu"))
    assert net.output == get_activation("identity")
    assert net.dtype == np.float32
    default = fastbp.Network(3, 2)
    assert default.activations == (get_activation("tanh"),) * 2
    assert default.output == get_activation("tanh")
    assert default.dtype == np.float64


def test_sizes_may_be_any_integers():
    assert fastbp.Network(np.int64(3), np.uint8(2)).n_params == 8
    assert fastbp.Network(1, activations=(v for v in ("sin", "cos"))).n_neurons == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(n_inputs=0, n_neurons=1), ValueError, "n_inputs must be a positive integer; got 0"),
        (dict(n_inputs=2.0, n_neurons=1), TypeError, r"n_inputs .* integer; got 2\.0"),
        (dict(n_inputs=np.array(2.0), n_neurons=1), TypeError, r"n_inputs .*; got array\(2\.\)"),
        (dict(n_inputs=2, n_neurons=-1), ValueError, "n_neurons must be a positive .*; got -1"),
        (dict(n_inputs=2, n_neurons="3"), TypeError, "n_neurons must be .*; got '3'"),
        (dict(n_inputs=2), TypeError, "n_neurons is needed .* activations='tanh'"),
        (dict(n_inputs=2, activations=[]), ValueError, "activations must be .* got 0"),
        (
            dict(n_inputs=2, n_neurons=3, activations=["tanh"]),
            ValueError,
            "n_neurons is 3, but 1 activations are given",
        ),
        (dict(n_inputs=2, n_neurons=1, dtype="float16"), TypeError, "float32; got float16"),
        (dict(n_inputs=2, n_neurons=1, dtype=int), TypeError, "float32; got int64"),
        (dict(n_inputs=2, n_neurons=1, dtype="double64"), TypeError, "float32; got 'double64'"),
        (dict(n_inputs=2, n_neurons=1, dtype=64), TypeError, "dtype must be .* got 64"),
        (dict(n_inputs=2, n_neurons=1, dtype=">f8"), TypeError, "float64 or float32; got >f8"),
        (dict(n_inputs=2, n_neurons=1, activations="tahn"), ValueError, "'tahn'.*tanh"),
        (dict(n_inputs=2, activations=["tanh", "sinn"]), ValueError, "'sinn'.*sin"),
        (dict(n_inputs=2, n_neurons=1, activations=np.tanh), TypeError, "by fastbp.activation"),
        (dict(n_inputs=2, n_neurons=1, output="logistc"), ValueError, "'logistc'.*logistic"),
        (dict(n_inputs=2, n_neurons=1, output=3), TypeError, "3"),
    ],
)
def test_wrong_construction_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fastbp.Network(**arguments)


def test_repr_is_readable():
    assert repr(fastbp.Network(3, 4)) == "Network(3, 4, activations='tanh', output='tanh')"
    net = fastbp.Network(2, activations=["sin", "relu"], output="identity", dtype=np.float32)
    assert repr(net) == ("Network(2, 2, activations=[sin, relu], output='identity', dtype=float32)")
    assert len(repr(fastbp.Network(2, activations=["sin", "cos"] * 500))) < 100


def test_networks_are_equal_by_what_they_compute():
    net, _ = make()
    twin, _ = make()
    assert net == twin
    assert hash(net) == hash(twin)
    assert len({net, twin}) == 1
    others = [
        fastbp.Network(N + 1, activations=net.activations, output=net.output),
        fastbp.Network(N, activations=net.activations[::-1], output=net.output),
        fastbp.Network(N, activations=net.activations, output="identity"),
        make("float32")[0],
    ]
    assert len({net, *others}) == 5
    assert net != "Network"


def test_networks_do_not_change():
    net, _ = make()
    with pytest.raises(AttributeError, match=r"can't be changed.*'n_inputs'"):
        net.n_inputs = 5
    with pytest.raises(AttributeError, match="can't be changed"):
        net.anything = 5
    with pytest.raises(AttributeError, match="can't be changed"):
        del net.output


def test_pickles_and_copies_give_the_same_results(network):
    _, arguments = make()
    want = {name: flat(call()) for name, call in calls(network, **arguments).items()}
    for twin in (pickle.loads(pickle.dumps(network)), copy.copy(network), copy.deepcopy(network)):
        assert twin == network
        assert hash(twin) == hash(network)
        for name, call in calls(twin, **arguments).items():
            np.testing.assert_array_equal(flat(call()), want[name])


def test_pickles_carry_the_users_own_activations():
    @fastbp.activation
    def mine(z):
        return z * z * z

    net = pickle.loads(pickle.dumps(fastbp.Network(1, 1, activations=mine, output="identity")))
    assert net.value([1.0, 1.0], [2.0]) == 8.0


# --- Parameters -----------------------------------------------------------------------------------


def test_split_gives_views():
    net = fastbp.Network(2, 3)
    w = np.arange(9.0)
    a, W = net.split(w)
    np.testing.assert_array_equal(a, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(W, [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    a[0], W[2, 1] = 10.0, 18.0
    assert (w[0], w[8]) == (10.0, 18.0)
    for of in (net, fastbp.Network(2, 3, n_outputs=2)):
        many = np.arange(2.0 * of.n_params).reshape(2, -1)
        for both, of_one in zip(of.split(many), of.split(many[1]), strict=True):
            assert np.shares_memory(both, many)
            np.testing.assert_array_equal(both[1], of_one, strict=True)
    with pytest.raises(TypeError, match=r"must be a NumPy array.*list"):
        net.split(w.tolist())
    with pytest.raises(ValueError, match=r"shape \(9,\); got \(3, 3\)"):
        net.split(w.reshape(3, 3))


def test_uniform_numbers_without_numpy_random_are_those_of_it():
    rng = np.random.default_rng(0)
    drawn = [int.from_bytes(rng.bytes(n), "little") for n in rng.integers(1, 50, 100)]
    edges = [2**n + d for n in (0, 32, 64, 128, 160, 320) for d in (-1, 0, 1)]
    for seed in (*edges, *drawn):
        want = np.random.default_rng(seed)
        assert _uniform._pcg64(seed, 70) == want.random(70).tolist()
    assert "numpy.random" in sys.modules  # so what follows is NumPy's own
    np.testing.assert_array_equal(
        _uniform.uniform(5, 9), np.random.default_rng(5).uniform(-1.0, 1.0, 9)
    )


def test_a_fresh_process_draws_the_same_start():
    program = (
        "import sys, numpy as np, fastbp\n"
        "few, many = (fastbp.Network(3, H).init(seed=H) for H in (50, 2000))\n"
        "print(few.tobytes().hex(), many.tobytes().hex())"
    )
    want = [fastbp.Network(3, H).init(seed=H).tobytes().hex() for H in (50, 2000)]
    assert support.fresh_process("-c", program).split() == want


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_init_is_uniform_and_reproducible(dtype):
    net = fastbp.Network(30, 50, dtype=dtype)
    w = net.init(seed=3)
    assert w.dtype == dtype
    assert w.shape == (net.n_params,)
    np.testing.assert_array_equal(net.init(seed=3), w)
    np.testing.assert_array_equal(net.init(np.random.default_rng(3)), w)
    assert (net.init(seed=4) != w).any()
    a, W = net.split(w)
    for part, limit in ((a, (6 / 51) ** 0.5), (W, (6 / 80) ** 0.5)):
        assert 0.9 * limit < abs(part).max() <= limit * (1 + 1e-6)
        assert abs(part.mean()) < 0.15 * limit
        assert part.std() == pytest.approx(limit / 3**0.5, rel=0.15)


# --- What is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_observation_is_a_batch_of_one_without_its_axis(dtype):
    net, a = make(dtype)
    w, X, t, ybar = (a[k] for k in ("w", "X", "t", "ybar"))
    x = X[0]
    y = net.value(w, x)
    assert type(y) is float
    assert y == net.value(w, X[:1])[0] == net(w, x) == net.value_and_grad(w, x)[0]
    g, xbar = net.vjp(w, x, float(ybar[0]), inputs=True)
    want, want_rows = net.vjp(w, X[:1], ybar[:1], inputs=True)
    np.testing.assert_array_equal(g, want, strict=True)
    np.testing.assert_array_equal(xbar, want_rows[0], strict=True)
    np.testing.assert_array_equal(net.vjp(w, x, ybar[:1]), want, strict=True)
    rows = net.per_sample_grad(w, X[:1])
    np.testing.assert_array_equal(net.per_sample_grad(w, x), rows[0], strict=True)
    np.testing.assert_array_equal(net.value_and_grad(w, x)[1], rows[0], strict=True)
    rows = net.input_grad(w, X[:1])
    np.testing.assert_array_equal(net.input_grad(w, x), rows[0], strict=True)
    mean, g = net.loss_and_grad(w, x, float(t[0]), sample_weight=2.0)
    want, want_g = net.loss_and_grad(w, X[:1], t[:1])
    assert mean == want
    np.testing.assert_array_equal(g, want_g, strict=True)
    for call, shape in ((net.per_sample_grad, (P,)), (net.input_grad, (N,))):
        out = np.empty(shape, dtype)
        assert call(w, x, out=out) is out


def variants(array):
    """Return other objects that hold the same numbers as an array, by name."""
    spread = np.full(tuple(2 * n for n in array.shape), np.nan, array.dtype)
    strided = spread[tuple(slice(None, None, 2) for _ in array.shape)]
    strided[...] = array
    shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    frozen = array.copy()
    frozen.flags.writeable = False
    return {
        "list": array.tolist(),
        "Fortran order": np.asfortranarray(array),
        "strided": strided,
        "negative strides": array[::-1].copy()[::-1],
        "unaligned": shifted,
        "read-only": frozen,
        "swapped bytes": array.astype(array.dtype.newbyteorder()),
        "subclass": array.view(type("Sub", (np.ndarray,), {})),
        "out of a pickle": pickle.loads(pickle.dumps(array)),
        "dtype with metadata": array.astype(np.dtype(array.dtype, metadata={"unit": "m"})),
    }


@pytest.mark.parametrize("kind", variants(np.zeros(1)))
def test_numbers_in_any_form_give_the_same_results(kind, network):
    _, arguments = make()
    want = {name: flat(call()) for name, call in calls(network, **arguments).items()}
    given = {name: variants(array)[kind] for name, array in arguments.items()}
    for name, call in calls(network, **given).items():
        result = call()
        np.testing.assert_array_equal(flat(result), want[name])
        if isinstance(result, np.ndarray):
            assert type(result) is np.ndarray


def test_integers_and_narrower_floats_are_converted(network):
    w = np.arange(1, P + 1)
    X = np.arange(B * N).reshape(B, N) % 3
    want = network.per_sample_grad(w.astype(float), X.astype(float))
    for dtype in (np.int64, np.uint8, np.float32, np.float16):
        got = network.per_sample_grad(w.astype(dtype), X.astype(dtype))
        np.testing.assert_array_equal(got, want, strict=True)
    got = network.per_sample_grad(w.astype(float), X > 0)
    np.testing.assert_array_equal(got, network.per_sample_grad(w, (X > 0).astype(int)))


def test_batch_of_none(network):
    w = np.ones(P)
    X = np.empty((0, N))
    for _ in range(2):
        assert network.value(w, X).shape == (0,)
        g, rows = network.vjp(w, X, np.empty(0), inputs=True, out=np.full(P, np.nan))
        np.testing.assert_array_equal(g, np.zeros(P))
        assert rows.shape == (0, N)
        np.testing.assert_array_equal(network.vjp(w, X, np.empty(0)), np.zeros(P))
        assert network.per_sample_grad(w, X).shape == (0, P)
        assert network.input_grad(w, X).shape == (0, N)
        with pytest.raises(ValueError, match=r"at least one observation; got X of shape \(0, 3\)"):
            network.loss_and_grad(w, X, np.empty(0))


@pytest.mark.parametrize("name", CALLS)
def test_out_is_filled_and_returned(name, network):
    _, arguments = make()
    want = calls(network, **arguments)[name]()
    out = np.full(OUT_SHAPES[name], np.nan)
    got = calls(network, **arguments, out=out)[name]()
    assert array_of(got) is out
    np.testing.assert_array_equal(flat(got), flat(want))


@pytest.mark.parametrize("kind", ["subclass", "out of a pickle", "dtype with metadata"])
@pytest.mark.parametrize("name", CALLS)
def test_out_may_have_a_class_or_dtype_of_its_own(name, kind, network):
    # Compiled code knows both by their addresses.
    _, arguments = make()
    out = variants(np.full(OUT_SHAPES[name], np.nan))[kind]
    got = calls(network, **arguments, out=out)[name]()
    np.testing.assert_array_equal(flat(got), flat(calls(network, **arguments)[name]()))
    assert np.shares_memory(out, array_of(got))


def test_not_finite_data_pass_through_unless_checked(network):
    _, arguments = make()
    for name in ("w", "X", "t", "ybar", "p", "dX"):  # not c: its sum is to be finite anyway
        for bad in (np.nan, np.inf):
            given = {k: v.copy() for k, v in arguments.items()}
            given[name].flat[3] = bad
            for k in takers(name):
                if (name, k) == ("X", "value_and_grad"):
                    continue  # it takes the first observation only
                if np.isnan(bad) and (name, k) != ("t", "gauss_newton_product"):  # ℓ'' is 1
                    assert np.isnan(flat(calls(network, **given)[k]())).any()
                shown = "v" if k == "input_hvp" and name == "dX" else name
                with pytest.raises(ValueError, match=f"{shown} must be finite; got {bad} at index"):
                    calls(network, **given, check_finite=True)[k]()
    for call in calls(network, **arguments, check_finite=True).values():
        assert np.isfinite(flat(call())).all()


# --- What is refused ------------------------------------------------------------------------------

WRONG_SHAPES = [
    ("w", np.ones(P + 1), r"w must have shape \(16,\); got \(17,\)"),
    ("w", np.ones((4, 4)), r"w must have shape \(16,\); got \(4, 4\)"),
    ("w", 1.0, r"w must have shape \(16,\); got \(\)"),
    ("X", np.ones((B, N + 1)), r"shape \(B, 3\).*got \((5, )?4,?\)"),
    ("X", np.ones((N, B)), r"shape \(B, 3\).*got \((3, )?5,?\)"),
    ("X", np.ones((2, 2, N)), r"(shape \(B, 3\)|shape \(3,\)).*got \((2, )?2, 3\)"),
    ("t", np.ones(B + 1), r"t must have shape \(5,\).*got \(6,\)"),
    ("t", np.ones((B, 1)), r"t must have shape \(5,\).*got \(5, 1\)"),
    ("t", 1.0, r"t must have shape \(5,\).*got \(\)"),
    ("ybar", np.ones(B - 1), r"ybar must have shape \(5,\).*got \(4,\)"),
    ("ybar", 1.0, r"ybar must have shape \(5,\).*got \(\)"),
    ("c", np.ones(B + 1), r"sample_weight must have .*\(5,\).*got \(6,\)"),
]
WRONG_NUMBERS = [
    (np.complex128, "real numbers convertible to float64; got an array.*complex128"),
    (np.longdouble, "which float64 can't hold without loss"),
    (object, "real numbers convertible to float64; got an array.*object"),
    (str, "real numbers convertible to float64; got an array.*<U"),
]
WRONG_VALUES = [
    ("c", [1.0, -1.0, 1.0, 1.0, 1.0], r"must not be negative; got -1\.0 at index 1"),
    ("c", np.zeros(B), r"positive, finite sum in float64; got 0\.0"),
    ("c", [1.0, np.nan, 1.0, 1.0, 1.0], "positive, finite sum in float64; got nan"),
    ("c", [1.0, np.inf, 1.0, 1.0, 1.0], "positive, finite sum in float64; got inf"),
    ("c", np.full(B, 1e-310), "positive, finite sum in float64; got 5e-310"),
    ("c", [1e308, 1e308, 1.0, 1.0, 1.0], "positive, finite sum in float64; got inf"),
]


def refuses(net, arguments, name, error, message):
    """Assert that a call is refused before it writes to `out`."""
    with pytest.raises(error, match=message):
        calls(net, **arguments)[name]()
    out = np.full(OUT_SHAPES[name], 7.0, net.dtype)
    with pytest.raises(error, match=message):
        calls(net, **arguments, out=out)[name]()
    assert (out == 7.0).all()


@pytest.mark.parametrize(("argument", "value", "message"), WRONG_SHAPES)
def test_wrong_shapes_are_refused(argument, value, message, network):
    _, arguments = make()
    arguments[argument] = value
    for name in takers(argument):
        refuses(network, arguments, name, ValueError, message)


@pytest.mark.parametrize(("dtype", "message"), WRONG_NUMBERS)
def test_numbers_that_would_be_changed_are_refused(dtype, message, network):
    _, arguments = make()
    for argument in arguments:
        given = arguments | {argument: arguments[argument].astype(dtype)}
        for name in takers(argument):
            shown = "v" if (name, argument) == ("input_hvp", "dX") else argument
            shown = "sample_weight" if argument == "c" else shown
            refuses(network, given, name, TypeError, f"{shown} .*{message}")


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (None, TypeError, "X must hold real numbers convertible to float64; got NoneType None"),
        ("abc", TypeError, "X must hold real numbers convertible to float64; got str 'abc'"),
        ([[10**30, 1, 2]], TypeError, "X must hold real numbers convertible to float64; got list"),
        (
            [[1, 2, 3], [1, 2]],
            ValueError,
            r"X must be an array of numbers; got list \[\[1, 2, 3\],",
        ),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(X, error, message, network):
    with pytest.raises(error, match=message):
        network.value(np.ones(P), X)


def test_columns_that_numpy_takes_for_objects_are_named(network):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.ones((5, 3))).convert_dtypes()
    message = r"a DataFrame of shape \(5, 3\), whose dtype is object .* X\.to_numpy\(numpy\.float64"
    with pytest.raises(TypeError, match=message):
        network.value(np.ones(P), X)
    network.value(np.ones(P), X.to_numpy(np.float64))


def test_a_sum_that_rounding_decides_about_is_refused_in_words(network):
    c = np.full(1000, np.finfo(np.float64).max / 1000)  # of which NumPy's sum is finite
    with pytest.raises(ValueError, match="weights or targets are within rounding of what is not"):
        network.loss_and_grad(np.ones(P), np.ones((1000, 3)), np.ones(1000), sample_weight=c)


def test_float64_in_a_network_of_float32_is_refused():
    net, arguments = make("float32")
    for argument in ("w", "X", "t", "p"):
        given = arguments | {argument: arguments[argument].astype(np.float64)}
        for name in takers(argument):
            message = (
                rf"{argument} is float64, which float32 .*{argument}\.astype\(numpy\.float32\)"
            )
            refuses(net, given, name, TypeError, message)
    # Python's own floats have no other type to be given in.
    given = {name: array.tolist() for name, array in arguments.items()}
    for name, call in calls(net, **given).items():
        np.testing.assert_array_equal(flat(call()), flat(calls(net, **arguments)[name]()))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_integers_too_large_to_hold_are_refused(dtype):
    net, arguments = make(dtype)
    limit = 2 ** (53 if dtype == "float64" else 24)
    net.value(arguments["w"], np.full((1, N), limit))
    net.value(arguments["w"], np.full((1, N), -limit))
    for value in (limit + 1, -limit - 1):
        given = arguments | {"X": np.full((B, N), value)}
        for name in CALLS:
            refuses(net, given, name, TypeError, f"X holds integers beyond ±{limit}, which {dtype}")


@pytest.mark.parametrize("large", [2**53 + 1, 2**63, -(2**60)])
def test_integers_that_numpy_rounds_beside_others_are_refused(large, network):
    pd = pytest.importorskip("pandas")
    w = np.ones(P)
    for other, kind in ((0.5, float), (-1, np.int64)):
        columns = {"a": [large], "b": np.array([other], kind), "c": [1.0]}
        for X in (
            [[large, other, 1.0]],
            ((large, other, 1.0),),
            pd.DataFrame(columns),
        ):
            with pytest.raises(TypeError, match=f"X holds integers beyond ±{2**53}"):
                network.value(w, X)
    for X in ([[1e300, 1, 2]], [[np.inf, 1, 2]], pd.DataFrame({"a": [1e300], "b": 1, "c": 2})):
        network.value(w, X)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wider_floats_are_refused_of_what_holds_arrays(dtype):
    pd = pytest.importorskip("pandas")
    net, arguments = make(dtype)
    wide = {"float64": np.longdouble, "float32": np.float64}[dtype]
    X, t = arguments["X"].astype(wide), arguments["t"].astype(wide)
    for name, changed in [("X", pd.DataFrame(X)), ("t", pd.Series(t))]:
        given = arguments | {name: changed}
        with pytest.raises(TypeError, match=f"{name} is .*, which {dtype} can't hold without loss"):
            net.loss_and_grad(given["w"], given["X"], given["t"])
    with pytest.raises(TypeError, match=r"X is .*, which .* can't hold without loss"):
        net.value(arguments["w"], [[np.longdouble(1.0), 0.5, 2]])


@pytest.mark.parametrize(("argument", "value", "message"), WRONG_VALUES)
def test_wrong_weights_are_refused(argument, value, message, network):
    _, arguments = make()
    for given in (value, np.array(value)):
        arguments[argument] = given
        for name in takers(argument):
            refuses(network, arguments, name, ValueError, f"sample_weight .*{message}")


def test_weights_whose_sum_float32_does_not_hold_are_refused():
    # 1 / Σ c would have lost its digits: gradients of 5000 observations were off by 1e-3.
    for net, arguments in (make("float32"), make("float32")):
        for _ in range(2):
            largest = np.finfo(np.float32).max * (np.arange(B) == 1)
            for name in takers("c"):
                given = arguments | {"c": largest.astype(np.float32)}
                assert np.isfinite(flat(calls(net, **given)[name]())).all()
                given["c"] = np.full_like(given["c"], np.finfo(np.float32).max)
                refuses(net, given, name, ValueError, r"sum in float32; got 1\.70\d*e\+39")


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_targets_outside_the_range_of_a_loss_are_refused(bad):
    net = fastbp.Network(N, H, output="logistic")
    _, a = make()
    t = a["t"].copy()
    for _ in range(2):
        wrong = t.copy()
        wrong[2] = bad
        out = np.full(P, 7.0)
        with pytest.raises(ValueError, match=r"'cross_entropy' must lie in \[0, 1\].*t\[2\]"):
            net.loss_and_grad(a["w"], a["X"], wrong, loss="cross_entropy", out=out)
        assert (out == 7.0).all()
        net.loss_and_grad(a["w"], a["X"], np.array([0.0, 1.0, 0.0, 1.0, 0.5]), loss="cross_entropy")


def test_unknown_loss_is_refused_with_the_nearest(network):
    _, a = make()
    with pytest.raises(ValueError, match=r"'squard'.*squared"):
        network.loss_and_grad(a["w"], a["X"], a["t"], loss="squard")
    with pytest.raises(TypeError, match="3"):
        network.loss_and_grad(a["w"], a["X"], a["t"], loss=3)


def test_several_observations_are_no_point(network):
    _, a = make()
    with pytest.raises(ValueError, match=r"one observation of shape \(3,\); got \(5, 3\)"):
        network.value_and_grad(a["w"], a["X"])


@pytest.mark.parametrize("wrong", ["no", 1, 0, None])
def test_switches_are_true_or_false(wrong, network):
    _, arguments = make()
    for call in calls(network, **arguments, check_finite=wrong).values():
        with pytest.raises(TypeError, match="check_finite must be True or False; got"):
            call()
    with pytest.raises(TypeError, match="inputs must be True or False; got"):
        network.vjp(*(arguments[name] for name in ("w", "X", "ybar")), inputs=wrong)
    for call in calls(network, **arguments, check_finite=np.False_).values():
        call()


@pytest.mark.parametrize("threads", [1.0, True, np.True_, "1", 0, None])
def test_what_is_no_number_of_threads_is_refused(threads, network):
    _, arguments = make()
    for name in CALLS:
        call = getattr(network, name)
        if "threads" in signature(call).parameters:
            given, options = support.arguments(name, arguments)
            with pytest.raises(ValueError, match="threads must be a positive integer or"):
                call(*given, **options, threads=threads)


@pytest.mark.parametrize("name", CALLS)
def test_wrong_out_is_refused(name, network):
    _, arguments = make()
    shape = OUT_SHAPES[name]
    right = np.full(shape, 7.0)
    frozen = right.copy()
    frozen.flags.writeable = False
    strided = np.full((*shape, 2), 7.0)[..., 0]
    unaligned = np.zeros(right.nbytes + 1, np.uint8)[1:].view(float).reshape(shape)
    unaligned[...] = 7.0
    exactly = rf"out must be an array of shape \({', '.join(map(str, shape))},?\) and dtype float64"
    form = "out must be writable, aligned and in C order"
    for out, message in [
        (np.full((*shape, 1), 7.0), exactly),
        (np.full(shape[0] + 1, 7.0), exactly),
        (right.astype(np.float32), exactly + ".*float32"),
        (right.astype(">f8"), exactly),
        (right.tolist(), exactly + ".*list"),
        (frozen, form),
        (strided, form),
        (unaligned, form),
    ]:
        with pytest.raises(ValueError, match=message):
            calls(network, **arguments, out=out)[name]()
        assert np.all(np.asarray(out) == 7.0)


ALL_ARGUMENTS = [(name, argument) for argument in make()[1] for name in takers(argument)]


@pytest.mark.parametrize(("name", "argument"), ALL_ARGUMENTS)
def test_overlapping_out_is_refused(name, argument, network):
    _, arguments = make()
    shape = OUT_SHAPES[name]
    n = int(np.prod(shape))
    array = arguments[argument]
    for shift in (0, array.size - 1, 1 - n):  # the same place, the last number, the first
        memory = np.full(3 * (n + array.size), 0.5)
        begin = n + array.size
        inside = memory[begin : begin + array.size].reshape(array.shape)
        inside[...] = array
        given = arguments | {argument: inside}
        out = memory[begin + shift : begin + shift + n].reshape(shape)
        if (name, argument) == ("value_and_grad", "X") and shift > N:
            continue  # it takes the first observation only
        before = memory.copy()
        with pytest.raises(ValueError, match="out must not overlap"):
            calls(network, **given, out=out)[name]()
        np.testing.assert_array_equal(memory, before)
    # Side by side is well.
    memory = np.full(array.size + n, 0.5)
    memory[: array.size] = array.ravel()
    inside = memory[: array.size].reshape(array.shape)
    out = memory[array.size :].reshape(shape)
    got = calls(network, **(arguments | {argument: inside}), out=out)[name]()
    np.testing.assert_array_equal(flat(got), flat(calls(network, **arguments)[name]()))


@pytest.mark.parametrize(("name", "argument"), ALL_ARGUMENTS)
def test_out_that_overlaps_what_is_converted_is_refused(name, argument, network):
    _, arguments = make()
    shape, array = OUT_SHAPES[name], arguments[argument]
    n, size = int(np.prod(shape)), array.size
    memory = np.full(n + 2 * size, 0.5)
    for inside in (
        memory.view(np.float32)[:size].reshape(array.shape),  # another dtype
        memory[: 2 * size : 2].reshape(array.shape),
        memory[:size].reshape(array.shape, order="F"),
    ):
        inside[...] = array
        before = memory.tobytes()
        given = arguments | {argument: inside}
        with pytest.raises(ValueError, match="out must not overlap"):
            calls(network, **given, out=memory[:n].reshape(shape))[name]()
        assert memory.tobytes() == before


def test_out_may_lie_between_the_numbers_of_a_slice(network):
    _, arguments = make()
    memory = np.zeros((B, N + network.n_params))
    memory[:, :N] = arguments["X"]
    given = arguments | {"X": memory[:, :N]}
    _, got = network.loss_and_grad(given["w"], given["X"], given["t"], out=memory[0, N:])
    _, expected = network.loss_and_grad(*(arguments[name] for name in ("w", "X", "t")))
    np.testing.assert_array_equal(got, expected)


def test_arguments_are_left_as_they_were(network):
    _, arguments = make()
    before = {name: array.tobytes() for name, array in arguments.items()}
    for call in calls(network, **arguments).values():
        call()
    assert {name: array.tobytes() for name, array in arguments.items()} == before
