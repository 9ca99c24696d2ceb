"""The calls as functions: in Python, in compiled code, and the examples of docs/compiled.md."""

import functools
import itertools
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ledger import compare
from numba import njit, prange, typeof
from numba.core.errors import TypingError
from support import (
    DTYPES,
    arguments,
    assert_other_threads_run_during,
    fresh_process,
    outputs_for,
    random_case,
    room,
)

import fastbp
from fastbp import reference
from fastbp.losses import NAMES as LOSSES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compiled.md"


# The calls of `fastbp.functions`, each compiled once for all networks of a dtype and all runs.


@njit(cache=True)
def value(net, w, X, out):
    fastbp.value(net, w, X, out)


@njit(cache=True)
def value_of_one(net, w, x):
    return fastbp.value(net, w, x)


@njit(cache=True)
def value_and_grad(net, w, x, out):
    return fastbp.value_and_grad(net, w, x, out)


@njit(cache=True)
def vjp(net, w, X, ybar, out):
    fastbp.vjp(net, w, X, ybar, out)


@njit(cache=True)
def jvp(net, w, X, p, out):
    fastbp.jvp(net, w, X, p, out)


@njit(cache=True)
def input_grad(net, w, X, out):
    fastbp.input_grad(net, w, X, out)


@njit(cache=True)
def input_hvp(net, w, X, v, out):
    fastbp.input_hvp(net, w, X, v, out)


@njit(cache=True)
def per_sample_grad(net, w, X, out):
    fastbp.per_sample_grad(net, w, X, out)


@njit(cache=True)
def loss_and_grad(net, w, X, t, out):
    return fastbp.loss_and_grad(net, w, X, t, out)


@njit(cache=True)
def hvp(net, w, X, t, p, out):
    fastbp.hvp(net, w, X, t, p, out)


@njit(cache=True)
def gauss_newton_product(net, w, X, t, p, out):
    fastbp.gauss_newton_product(net, w, X, t, p, out)


COMPILED = {
    f.__name__: f
    for f in (
        value,
        value_and_grad,
        vjp,
        jvp,
        input_grad,
        input_hvp,
        per_sample_grad,
        loss_and_grad,
        hvp,
        gauss_newton_product,
    )
}
INTERPRETED = {name: getattr(fastbp, name) for name in COMPILED}


def method(name):
    """Return a method of a network as such a function."""

    def call(net, *given):
        *given, out = given
        result = getattr(net, name)(*given, out=out)
        return result[0] if isinstance(result, tuple) else None

    return call


METHODS = {name: method(name) for name in COMPILED}


def test_no_function_is_forgotten():
    assert sorted(COMPILED) == sorted(fastbp.functions.__all__)


def run(calls, name, net, case):
    """Return a call's number, or None, and its array."""
    given, _ = arguments(name, vars(case))
    out = room(name, case)
    return calls[name](net, *given, out), out


# --- The same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (4, 9, 50), (20, 33, 300), (3, 4, 1100)])
def test_equal_the_methods_bit_for_bit(shape, dtype):
    case = random_case([91, *shape], *shape).astype(dtype)
    net = case.net.network(dtype)
    for name in COMPILED:
        number, want = run(METHODS, name, net, case)
        assert np.isfinite(want).all(), name
        for calls in (INTERPRETED, COMPILED):
            for twin in (net, case.net.network(dtype)):  # warm, and never used before
                got, out = run(calls, name, twin, case)
                assert got == number, name
                np.testing.assert_array_equal(out, want, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_observation(dtype):
    case = random_case(92, 4, 9, 1).astype(dtype)
    net, x = case.net.network(dtype), case.X[0]
    want = net.value(case.w, x)
    assert fastbp.value(net, case.w, x) == want
    assert value_of_one(net, case.w, x) == want
    for call in (fastbp.input_grad, input_grad):
        out = np.full_like(x, np.nan)
        call(net, case.w, x, out)
        np.testing.assert_array_equal(out, net.input_grad(case.w, x))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    @njit(cache=True)
    def all_three(net, w, X, t, p, g, product, curvature):
        fastbp.hvp(net, w, X, t, p, product, loss)
        fastbp.gauss_newton_product(net, w, X, t, p, curvature, loss=loss)
        return fastbp.loss_and_grad(net, w, X, t, g, loss)

    for dtype, B in itertools.product(DTYPES, (1, 60)):
        case = random_case([93, B], 4, 6, B, outputs=outputs_for(loss)).astype(dtype)
        net, args = case.net.network(dtype), (case.w, case.X, case.t)
        outs = [np.full_like(case.w, np.nan) for _ in range(3)]
        mean = all_three(net, *args, case.p, *outs)
        want, g = net.loss_and_grad(*args, loss=loss)
        assert mean == want
        np.testing.assert_array_equal(outs[0], g)
        np.testing.assert_array_equal(outs[1], net.hvp(*args, case.p, loss=loss))
        want = net.gauss_newton_product(*args, case.p, loss=loss)
        np.testing.assert_array_equal(outs[2], want)


@pytest.mark.parametrize("first", COMPILED)
@pytest.mark.parametrize("batches", [(1, 50), (50, 1), (50, 50)], ids=str)
def test_any_call_may_follow_any_other(first, batches):
    """A network's kernels are filled in call by call: what one has needed is not all of another."""
    few, many = (random_case(94, 3, 4, B, activations=["tanh"]) for B in batches)
    for calls, later_calls in itertools.product((METHODS, COMPILED), repeat=2):
        for later in COMPILED:
            net = few.net.network()
            run(calls, first, net, few)
            number, out = run(later_calls, later, net, many)
            want, want_out = run(METHODS, later, few.net.network(), many)
            assert number == want
            np.testing.assert_array_equal(out, want_out, err_msg=f"{first}, {later}")


def test_empty_batches():
    net = fastbp.Network(3, 4)
    w, X, none = net.init(seed=0), np.empty((0, 3)), np.empty(0)
    g = np.full_like(w, np.nan)
    value(net, w, X, none)
    jvp(net, w, X, w, none)
    input_grad(net, w, X, X.copy())
    input_hvp(net, w, X, X, X.copy())
    per_sample_grad(net, w, X, np.empty((0, 16)))
    vjp(net, w, X, none, g)
    assert not g.any()
    with pytest.raises(ValueError, match=r"fastbp.loss_and_grad: w, X, t or out does not fit"):
        loss_and_grad(net, w, X, none, g)


def test_one_compiled_function_serves_every_network():
    @njit
    def f(net, w, X, out):
        fastbp.value(net, w, X, out)

    for k in range(6):
        case = random_case([95, k], 2 + k, 3 + k, 40)
        out = np.empty(40)
        f(case.net.network(), case.w, case.X, out)
        compare("float64", out, reference.value(case.net, case.w, case.X), 1e-12, 1e-12)
    assert len(f.signatures) == 1


def test_networks_in_a_tuple_and_through_several_functions():
    @njit
    def inner(net, w, x):
        return fastbp.value(net, w, x)

    @njit
    def both(nets, ws, x):
        return inner(nets[0], ws[0], x) - inner(nets[1], ws[1], x)

    nets = fastbp.Network(2, 3), fastbp.Network(2, 5, activations="sin")
    ws = nets[0].init(seed=0), nets[1].init(seed=1)
    x = np.array([0.3, -0.2])
    assert both(nets, ws, x) == nets[0].value(ws[0], x) - nets[1].value(ws[1], x)


# --- The lock, threads, the disk ------------------------------------------------------------------


def test_other_threads_run_during_a_call():
    case = random_case(96, 50, 200, 2000, activations=["tanh"])
    net = case.net.network()
    X = np.tile(case.X, (20, 1))
    out = np.empty((len(X), 50))

    @njit(nogil=True)
    def f(net, w, X, out):
        fastbp.input_grad(net, w, X, out)

    f(net, case.w, X[:100], out[:100])
    assert_other_threads_run_during(lambda: f(net, case.w, X, out))


def test_a_parallel_loop():
    @njit(parallel=True, nogil=True)
    def gradients(net, w, X, t, rows):
        for k in prange(len(rows)):
            fastbp.loss_and_grad(net, w, X[k : k + 20], t[k : k + 20], rows[k])

    case = random_case(97, 3, 5, 60)
    net = case.net.network()
    rows = np.empty((40, len(case.w)))
    gradients(net, case.w, case.X, case.t, rows)
    for k in range(40):
        _, want = net.loss_and_grad(case.w, case.X[k : k + 20], case.t[k : k + 20])
        np.testing.assert_array_equal(rows[k], want)


KERNELS = """
import sys
import numpy as np
import fastbp

for names in sys.argv[1:]:  # kernels onto the disk
    activations, X = names.split(","), np.ones((30, 3))
    net = fastbp.Network(3, activations=activations, output="identity")
    w = net.init(seed=0)
    net.value(w, X[0])
    net.value(w, X)
    net.loss_and_grad(w, X, X[:, 0], loss="huber")
    net.loss_and_grad(w, X[:1], X[:1, 0], loss="huber")
    many = fastbp.Network(3, activations=activations, output=["identity", "sin"])
    many.value_and_grad(many.init(seed=0), X[0])
"""

CACHED = """
import sys
import numpy as np
from numba import njit
from numba.core import event
import fastbp
from fastbp import reference

compiled = []

class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"])

    def on_end(self, event):
        pass

event.register("numba:compile", Listener())

@njit(cache=True, nogil=True)
def step(net, w, X, t, g, rows):
    fastbp.input_grad(net, w, X, rows)
    return fastbp.loss_and_grad(net, w, X, t, g, "huber") + fastbp.value(net, w, X[0])

@njit(cache=True, nogil=True)
def jacobian(net, w, x, J, y):
    fastbp.value_and_grad(net, w, x, J, y)

cached = sys.argv[2] == "cached"
net = fastbp.Network(3, activations=sys.argv[1].split(","), output="identity")
w, X, t = net.init(seed=0), np.random.default_rng(0).standard_normal((30, 3)), np.ones(30)
g, rows = np.empty_like(w), np.empty_like(X)
got = step(net, w, X, t, g, rows)
many = fastbp.Network(3, activations=sys.argv[1].split(","), output=["identity", "sin"])
v, J, y = many.init(seed=0), np.empty((2, many.n_params)), np.empty(2)
jacobian(many, v, X[0], J, y)
for function in (step, jacobian):
    assert sum(function.stats.cache_hits.values()) == cached, function.stats
    assert sum(function.stats.cache_misses.values()) == (not cached), function.stats
assert not (cached and compiled), compiled
mean, want = reference.loss_and_grad(net, w, X, t, loss="huber")
assert np.allclose(got, mean + reference.value(net, w, X[0]), rtol=1e-12)
assert np.allclose(g, want, rtol=1e-12, atol=1e-14)
assert np.allclose(rows, reference.input_grad(net, w, X), rtol=1e-12, atol=1e-14)
for got, want in zip((y, J), reference.value_and_grad(many, v, X[0])):
    assert np.allclose(got, want, rtol=1e-12, atol=1e-14)
print(fastbp.__file__)
"""


def test_what_is_cached_on_disk_is_right_for_other_networks(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    file = tmp_path / "cached.py"
    file.write_text(CACHED)
    package = Path(fastbp.__file__).parent
    other = tmp_path / "other" / "fastbp"
    shutil.copytree(package, other, ignore=shutil.ignore_patterns("__pycache__"))
    for source in other.rglob("*.py"):
        source.write_text(source.read_text("utf-8") + "# Another build.\n", "utf-8")
    fresh_process("-c", KERNELS, "tanh,tanh", "sin,gaussian,tanh")
    for activations, build, state in (
        ("tanh,tanh", package, "new"),
        ("tanh,tanh", package, "cached"),
        ("sin,gaussian,tanh", package, "cached"),
        ("tanh,tanh", other, "new"),  # nothing compiled against one build may run in another
    ):
        path = os.pathsep.join([str(build.parent), os.environ.get("PYTHONPATH", "")])
        said = fresh_process(file, activations, state, PYTHONPATH=path)
        assert Path(said.strip()).parent == build


# --- What is refused ------------------------------------------------------------------------------

NET = fastbp.Network(3, 4)
W = NET.init(seed=1)
X = np.random.default_rng(98).standard_normal((5, 3))
T = np.zeros(5)
G = np.empty_like(W)
READ_ONLY = np.empty_like(W)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: value(NET, W.astype("f4"), X, T), r"fastbp.value needs w as a 1-D .* float64"),
        (lambda: value(NET, W, X.T, T), r"fastbp.value needs X as a 1-D or 2-D .* C order; got"),
        (lambda: value(NET, W, X[::2], T), r"fastbp.value needs X as .* C order; got array.*, A"),
        (lambda: value(NET, W, X, None), r"fastbp.value needs out as a 1-D array"),
        (lambda: value(NET, W, X, X), r"fastbp.value needs out as a 1-D array"),
        (lambda: value_of_one(NET, W, 1.0), r"fastbp.value needs X as a 1-D or 2-D"),
        (lambda: value_and_grad(NET, W, X, G), r"fastbp.value_and_grad needs x as a 1-D array"),
        (lambda: vjp(NET, W, X, X, G), r"fastbp.vjp needs ybar as a 1-D array"),
        (lambda: jvp(NET, W, X, W[::2], T), r"fastbp.jvp needs p as a 1-D array"),
        (lambda: input_grad(NET, W, X, T), r"fastbp.input_grad needs out as a 2-D array"),
        (lambda: input_hvp(NET, W, X, W, X), r"fastbp.input_hvp needs v as a 2-D array"),
        (lambda: per_sample_grad(NET, W, X, W), r"fastbp.per_sample_grad needs out as a 2-D"),
        (lambda: loss_and_grad(NET, W, X, 1, G), r"fastbp.loss_and_grad needs t as a 1-D array"),
        (lambda: loss_and_grad(NET, W, X, T, READ_ONLY), r"writes to out, which is read-only"),
        (lambda: hvp(NET, W, X, T, X, G), r"fastbp.hvp needs p as a 1-D array"),
        (lambda: gauss_newton_product(NET, W, W, T, W, G), r"product needs X as a 2-D array"),
        (
            lambda: value(fastbp.Network(3, 4, dtype="float32"), W, X, T),
            r"fastbp.value needs w as a 1-D array of float32 in C order; got array\(float64",
        ),
    ],
)
def test_types_that_do_not_fit(call, message):
    with pytest.raises(TypingError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: value(NET, W[1:], X, T), "fastbp.value: w, X or out does not fit"),
        (lambda: value(NET, W, X[:, :2].copy(), T), "fastbp.value: w, X or out does not fit"),
        (lambda: value(NET, W, X, T[1:]), "fastbp.value: w, X or out does not fit"),
        (lambda: value_of_one(NET, W, T), "fastbp.value: w or X does not fit"),
        (lambda: value_and_grad(NET, W, X[0], T), "fastbp.value_and_grad: .* does not fit"),
        (lambda: vjp(NET, W, X, T[1:], G), "fastbp.vjp: w, X, ybar or out does not fit"),
        (lambda: jvp(NET, W, X, W[1:], T), "fastbp.jvp: w, X, p or out does not fit"),
        (lambda: input_grad(NET, W, X, X[1:].copy()), "fastbp.input_grad: .* does not fit"),
        (lambda: input_hvp(NET, W, X, X[1:], X.copy()), "fastbp.input_hvp: .* does not fit"),
        (lambda: per_sample_grad(NET, W, X, X.copy()), "fastbp.per_sample_grad: .* does not fit"),
        (lambda: loss_and_grad(NET, W, X, T[1:], G), "fastbp.loss_and_grad: .* does not fit"),
        (lambda: hvp(NET, W, X, T, W[1:], G), "fastbp.*: w, X, t, p or out does not fit"),
        (lambda: gauss_newton_product(NET, W, X, T, W, T), "fastbp.*: .* does not fit"),
    ],
)
def test_sizes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_targets_outside_the_range_of_a_loss():
    @njit
    def f(net, w, X, t, g):
        return fastbp.loss_and_grad(net, w, X, t, g, "poisson")

    @njit
    def g(net, w, X, t, p, out):
        fastbp.hvp(net, w, X, t, p, out, "poisson")

    f(NET, W, X, T, G)
    with pytest.raises(ValueError, match="targets outside the range of the loss"):
        f(NET, W, X, T - 1.0, G)
    with pytest.raises(ValueError, match="targets outside the range of the loss"):
        g(NET, W, X, T + np.nan, W, G)


def test_losses_that_are_no_constant_name():
    @njit
    def f(net, w, X, t, g, loss):
        return fastbp.loss_and_grad(net, w, X, t, g, loss)

    with pytest.raises(TypingError, match=r"takes loss as a constant name, one of squared, .*"):
        f(NET, W, X, T, G, "squared")

    @njit
    def g(net, w, X, t, g):
        return fastbp.loss_and_grad(net, w, X, t, g, "squard")

    with pytest.raises(TypingError, match=r"one of squared, .*; got 'squard'"):
        g(NET, W, X, T, G)


def test_networks_that_numba_would_freeze():
    @njit
    def of_a_global(w, x):
        return fastbp.value(NET, w, x)

    local = fastbp.Network(3, 4)

    @njit
    def of_a_closure(w, x):
        return fastbp.value(local, w, x)

    for f in (of_a_global, of_a_closure):
        with pytest.raises(TypingError, match=r"can't be a global or closure .* as an argument"):
            f(W, X[0])


def test_types_say_nothing_of_sizes_or_activations():
    assert typeof(NET) == typeof(fastbp.Network(7, activations=["sin", "tanh"]))
    assert typeof(NET) != typeof(fastbp.Network(3, 4, dtype="float32"))


# --- The examples ---------------------------------------------------------------------------------


@functools.cache
def examples():
    """Run the page; return its names."""
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_training_loop():
    page = examples()
    net, X = page["net"], page["X"]
    fit = reference.value(net, page["w"], X)
    assert np.abs(fit - np.sin(2.0 * X[:, 0])).max() < 0.3
    # Two runs from one seed are equal.
    runs = []
    for _ in range(2):
        page["seed"](5)
        w = net.init(seed=5)
        losses = page["train"](net, w, X, page["t"], 32, 0.01, 5)
        assert losses[-1] < losses[0]
        runs.append(w)
    np.testing.assert_array_equal(*runs)


def test_pendulum():
    from scipy.integrate import solve_ivp

    page = examples()
    net, w, start, states = (page[k] for k in ("pendulum", "learned", "start", "states"))
    kwargs = {"t_eval": np.linspace(0.0, 10.0, 1001), "rtol": 1e-10, "atol": 1e-12}
    exact = solve_ivp(lambda _, s: [s[1], -np.sin(s[0]) - 0.2 * s[1]], (0.0, 10.0), start, **kwargs)
    np.testing.assert_allclose(states[:, :2], exact.y.T, atol=0.02)
    # As the equation of the network, Runge-Kutta is far more exact; so are the sensitivities.
    learned = solve_ivp(
        lambda _, s: [s[1], reference.value(net, w, s)], (0.0, 10.0), start, **kwargs
    )
    np.testing.assert_allclose(states[:, :2], learned.y.T, atol=1e-7)
    # Its error falls with the fourth power of the step.
    errors = [
        abs(page["integrate"](net, w, start, 10.0 / n, n)[-1, :2] - learned.y[:, -1]).max()
        for n in (50, 100)
    ]
    assert 12.0 < errors[0] / errors[1] < 22.0


def test_hamiltonian_monte_carlo_on_a_known_posterior():
    """With W kept where it is, y = u · a is linear in a: the posterior is a known normal one."""
    page = examples()
    assert page["acceptance"] > 0.6
    net = fastbp.Network(2, 3, output="identity")
    rng = np.random.default_rng(99)
    w, X, noise, prior = net.init(seed=3), rng.standard_normal((25, 2)), 0.5, 1.5
    U = reference.V(net, reference.L(net, w, X))
    t = U @ [1.0, -0.5, 0.3] + noise * rng.standard_normal(25)
    covariance = np.linalg.inv(U.T @ U / noise**2 + np.eye(3) / prior**2)
    mean = covariance @ U.T @ t / noise**2

    masses = np.zeros(net.n_params)
    masses[:3] = np.diag(covariance)
    page["seed"](4)
    n = 20_000
    kept, acceptance, error = page["sample"](net, w, X, t, noise, prior, 0.15, 15, n, masses)
    assert acceptance > 0.9
    assert error < 0.1
    np.testing.assert_array_equal(kept[:, 3:], np.tile(w[3:], (n, 1)))
    chain = kept[500:, :3]
    # Standard errors from the means of batches, in which correlation is contained.
    batches = chain[: len(chain) // 50 * 50].reshape(50, -1, 3).mean(axis=1)
    standard_error = batches.std(axis=0, ddof=1) / np.sqrt(50)
    assert (standard_error < 0.05 * np.sqrt(np.diag(covariance))).all()
    assert (np.abs(chain.mean(axis=0) - mean) < 5.0 * standard_error).all()
    np.testing.assert_allclose(np.cov(chain.T), covariance, rtol=0.1, atol=0.05 * covariance.max())


def test_functions_in_python_take_lists_and_refuse_what_they_would_lose():
    net = fastbp.Network(2, 3)
    w, X = net.init(0), np.eye(2)
    out = np.empty(2)
    fastbp.value(net, w, X.tolist(), out)
    np.testing.assert_array_equal(out, net(w, X))
    assert fastbp.value(net, w, [1.0, 0.0]) == out[0]
    with pytest.raises(TypeError, match="need an array to write into"):
        fastbp.value(net, w, X)
    with pytest.raises(TypeError, match="leave out away"):
        fastbp.value(net, w, X[0], out)
    for call in (fastbp.jvp, fastbp.vjp, fastbp.input_hvp):
        with pytest.raises(TypeError, match="out must be an array to write into; got NoneType"):
            call(net, w, X, w, None)
    with pytest.raises(TypeError, match="got NoneType"):
        fastbp.hvp(net, w, X, out, w, None)

    @njit
    def inside(net, w, x, out):
        return fastbp.value(net, w, x, out)

    with pytest.raises(TypingError, match="leave out away"):
        inside(net, w, X[0], out)
