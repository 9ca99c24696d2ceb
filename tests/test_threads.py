"""`threads=`: the same bits for any number; processes made after their use; memory."""

import gc
import os
import signal
import weakref
from dataclasses import replace
from functools import partial
from inspect import signature

import numpy as np
import pytest
from support import (
    CALLS,
    DTYPES,
    all_results,
    assert_same,
    case_of,
    flat,
    fresh_process,
    in_threads,
    random_case,
    room,
)

import fastbp
from fastbp import _boundary
from fastbp.activations import softmax
from fastbp.kernels.calls import prepared
from fastbp.kernels.calls.shared_work import Course
from fastbp.kernels.calls.threads import Tree
from fastbp.kernels.machine.records import DONE, NO_MEMORY

THREADED = tuple(
    name for name in CALLS if "threads" in signature(getattr(fastbp.Network, name)).parameters
)
# One part; two; four, the last of few samples; a matrix of many inputs; large parts, many, the
# last of one sample.
SHAPES = [(3, 5, 1), (3, 5, 511), (3, 5, 1025), (7, 9, 1586), (25, 10, 6500), (2, 3, 270001)]
SHAPES += [(3, 5, 1, 2), (3, 5, 511, 3), (7, 9, 1586, 4), (2, 3, 5000, 17)]  # (N, H, B, K)


def all_calls(net, case, threads):
    """Return the results of all calls that take threads."""
    results = all_results(net, case, names=THREADED, threads=threads)
    outs = {name: room(name, case) for name in THREADED}
    assert_same(all_results(net, case, outs, THREADED, threads=threads), results)
    given = (case.w, case.X, case.t)
    results["gauss_newton"] = flat(net.gauss_newton(*given, loss="huber", threads=threads))
    w, X, t, c, ybar = case.w, case.X, case.t, case.c, case.ybar
    mean, g = net.loss_and_grad(w, X, t, loss="log_cosh", sample_weight=c, threads=threads)
    _, rows = net.vjp(w, X, ybar, inputs=True, threads=threads)
    results |= {"log_cosh": np.array(mean), "log_cosh gradient": g, "rows": rows}
    if case.net.n_outputs > 1:
        soft = case.net.network(net.dtype), replace(case.net, output=softmax).network(net.dtype)
        weights = {"sample_weight": c, "target_weight": case.tau, "threads": threads}
        for number, (other, targets) in enumerate(zip(soft, (t, t.argmax(axis=1)), strict=True)):
            loss = ("squared", "cross_entropy")[number]
            for name in ("loss_and_grad", "gauss_newton"):
                got = getattr(other, name)(w, X, targets, loss=loss, **weights)
                results[f"{name}, {loss}"] = flat(got)
            for name in ("hvp", "gauss_newton_product"):
                got = getattr(other, name)(w, X, targets, case.p, loss=loss, **weights)
                results[f"{name}, {loss}"] = got
    return results


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 12, 13, 32])
def test_nodes_in_any_order_sum_as_in_turn(n):
    rng = np.random.default_rng(n)
    values, vectors = rng.normal(size=n), rng.normal(size=(n, 3))

    def total(lo, hi):
        if hi == lo + 1:
            return np.append(values[lo], vectors[lo])
        middle = lo + (1 << ((hi - lo - 1).bit_length() - 1))
        return total(lo, middle) + total(middle, hi)

    for order in (range(n), reversed(range(n)), rng.permutation(n)):
        sums = np.zeros(3)
        tree = Tree((sums,), 1)
        rooms = [tree.room(k)[0] for k in range(n)]
        for k in order:
            rooms[k][:] = vectors[k]
            tree.add(int(k), values[k], (rooms[k],))
        np.testing.assert_array_equal(np.append(tree.total(), sums), total(0, n))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_number_gives_the_same_bits(shape, dtype):
    case = case_of([81, *shape], shape).astype(dtype)
    net = case.net.network(dtype)
    want = all_calls(net, case, 1)
    for threads in (2, 3, 7, "auto", np.int64(2)):
        assert_same(all_calls(net, case, threads), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 2001), (8, 7, 1000), (25, 10, 4500)], ids=str)
def test_levenberg_gives_the_same_bits(shape, dtype):
    case = random_case([84, *shape], *shape, outputs=["identity"]).astype(dtype)
    net = case.net.network(dtype)

    def fit(threads):
        given = {"sample_weight": case.c, "w0": case.w, "l2": 1e-3}
        return fastbp.fit(net, case.X, case.t, **given, epochs=12, threads=threads)

    one = fit(1)
    for threads in (2, 3, 7, "auto"):
        many = fit(threads)
        np.testing.assert_array_equal(many.w, one.w)
        np.testing.assert_array_equal(many.history["loss"], one.history["loss"])
        assert many.reason == one.reason


@pytest.mark.parametrize("ends_at_once", [False, True])
def test_ctrl_c_is_not_lost_where_compiled_code_calls_python(ends_at_once):
    course, ran = Course(ends_at_once), []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), course.begun():
            os.kill(os.getpid(), signal.SIGINT)  # within the loop: at the function's entry
            assert course.called(lambda: ran.append(1)) == NO_MEMORY and not ran
            raise MemoryError  # what the loop's driver does then
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), course.begun():
            function = partial(os.kill, os.getpid(), signal.SIGINT)  # within the function
            assert course.called(function) == NO_MEMORY
            raise MemoryError
        with course.begun():
            assert course.called(lambda: ran.append(1)) == DONE and ran
        with pytest.raises(OSError, match="mine"), course.begun():
            assert course.called(partial(failing, OSError("mine"))) == NO_MEMORY
            raise MemoryError
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ["loss_and_grad", "hvp", "gauss_newton_product"])
def test_memory_that_ends_on_the_way_leaves_out_as_it_was(name, monkeypatch):
    def one_part(drive, n, part, sums, threads, workspace=None, nodes=4):
        drive(0, part, sums, workspace)
        assert sums[0].any()
        raise MemoryError

    monkeypatch.setattr(prepared, "over_nodes", one_part)
    monkeypatch.setattr(_boundary, "_EXPANDED", 0)  # classes become rows part by part
    case = random_case(86, 3, 5, 1600, n_outputs=3, outputs=softmax)
    net, classes = case.net.network(), case.t.argmax(axis=1)
    last, given = (), [(classes, "cross_entropy", 1)]
    if name != "loss_and_grad":
        last, given = (case.p,), [*given, (case.t, "squared", 2)]
    for t, loss, threads in given:
        out = np.full_like(case.w, 7.0)
        with pytest.raises(MemoryError):
            getattr(net, name)(case.w, case.X, t, *last, loss=loss, threads=threads, out=out)
        assert (out == 7.0).all()


def failing(error):
    raise error


def test_an_error_on_another_thread_ends_the_fit(monkeypatch):
    case = random_case(85, 3, 5, 2001, outputs=["identity"])
    net = case.net.network()
    fastbp.fit(net, case.X, case.t, epochs=1, threads=2)  # now it has calls

    def broken(*_args, **_more):
        raise ZeroDivisionError("on a thread")

    monkeypatch.setattr(net._calls, "matrix_in_parts", broken, raising=False)
    with pytest.raises(ZeroDivisionError, match="on a thread"):
        fastbp.fit(net, case.X, case.t, epochs=3, threads=2)


def test_a_sum_beyond_all_numbers_is_infinite_without_a_word():
    net = fastbp.Network(1, 1, activations="identity", output="identity")
    X, ybar = np.full((3000, 1), 0.1), np.full(3000, 1e306)  # each part has a finite sum
    one, two = (net.vjp([1.0, 1.0], X, ybar, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, [np.inf, np.inf])
    np.testing.assert_array_equal(two, one)


def test_a_network_first_used_with_threads():
    case = random_case(82, 7, 9, 3000)
    got = all_calls(case.net.network(), case, 3)
    assert_same(got, all_calls(case.net.network(), case, 1))


def test_threads_of_several_callers():
    cases = [random_case([83, k], 5, 20, 2000, outputs=["tanh"]) for k in range(4)]
    net = cases[0].net.network()

    def job(case, threads):
        return lambda: [net.loss_and_grad(case.w, case.X, case.t, threads=threads)] * 5

    want = [job(case, 1)() for case in cases]
    for results, right in zip(in_threads([job(case, 3) for case in cases]), want, strict=True):
        for (mean, g), (right_mean, right_g) in zip(results, right, strict=True):
            assert mean == right_mean
            np.testing.assert_array_equal(g, right_g)


RACE = """
import random, threading, time
import numpy as np
import fastbp

slope = random.random()

@fastbp.activation
def fresh(z):  # in no cache: it takes its time
    return z / (1.0 + abs(z)) + slope * z

X, t = np.ones((50, 3)), np.ones(50)
for warm in (fastbp.Network(3, 4), fastbp.Network(3, 4, activations=fresh)):
    w = warm.init(seed=0)
    warm.value(w, X)
fastbp.Network(3, 4).vjp(w, X, t)
results = []

def call():
    for _ in range(40):
        results.append(warm.vjp(w, X, t, out=np.empty_like(w)))
        time.sleep(0.005)

threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(results) == 160
assert all((result == results[0]).all() for result in results)
print("done")
"""


def test_threads_that_meet_while_a_kernel_is_compiled():
    assert fresh_process("-c", RACE) == "done\n"


AFTER_THE_MAIN_THREAD = """
import atexit, threading
import numpy as np
import fastbp

net = fastbp.Network(3, 4)
w, t = net.init(seed=0), np.linspace(0.1, 0.9, 5000)
X = np.column_stack([t**2, t, np.ones(5000)])
source = fastbp.Source.from_batches(lambda: iter([(X, t)]), 5000)

def asked(threads):
    return {what}

want = asked({before})

def work(before=lambda: None):
    before()
    print((asked(3) == want).all())

threading.Thread(target=work, args=[threading.main_thread().join]).start()
atexit.register(work)
"""


@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize(
    "what",
    [
        "net.loss_and_grad(w, X, t, threads=threads)[1]",
        "fastbp.fit_many(net, X, t, seeds=3, epochs=3, threads=threads).losses",
        "fastbp.fit(net, source, epochs=3, threads=threads).w",
    ],
)
def test_what_goes_on_after_the_main_thread_does_so(what, before):
    """Python begins no threads then, whether a pool is there or not."""
    program = AFTER_THE_MAIN_THREAD.replace("{before}", str(before)).replace("{what}", what)
    assert fresh_process("-c", program) == "True\n" * 2


def test_a_thread_that_cannot_be_started_is_an_error_and_its_work_is_dropped():
    """Python has queued it by then, for a thread of a later call."""
    program = """
import threading
import numpy as np
import fastbp

net = fastbp.Network(3, 4)
w, X, t = net.init(seed=0), np.ones((5000, 3)), np.ones(5000)

def start(thread):
    raise RuntimeError("can't start new thread")

started, threading.Thread.start = threading.Thread.start, start
out = np.full_like(w, 7.0)
try:
    net.loss_and_grad(w, X, t, threads=3, out=out)
except RuntimeError as error:
    print(error)
threading.Thread.start = started
for _ in range(3):
    net.loss_and_grad(w, X, t, threads=3)
print((out == 7.0).all())
"""
    assert fresh_process("-c", program) == "can't start new thread\nTrue\n"


@pytest.mark.parametrize("B", [1024, 1025, 1600, 2400, 8193, 12345, 140000])
def test_a_gradient_is_the_sum_of_those_of_its_parts_along_a_tree(B):
    """They are at most 256, of whole vectors and panels in either dtype, and at least two."""
    case = random_case([84, B], 5, 9, B)
    net = case.net.network()

    def gradient(part):
        return net.vjp(case.w, case.X[part], case.ybar[part])

    def node(parts):
        if len(parts) == 1:
            return gradient(parts[0])
        left = 1 << (len(parts) - 1).bit_length() - 1  # a complete one
        return node(parts[:left]) + node(parts[left:])

    def in_parts(size):
        return node([slice(k, k + size) for k in range(0, B, size)])

    whole = gradient(slice(B))
    # A part has more than a chunk: sums over those are the same where there are no parts.
    sizes = [size for size in range(480, B // 2 + 48, 48) if 256 * size >= B][:10]
    assert any(np.array_equal(in_parts(size), whole) for size in sizes)


AUTOMATIC = """
import os, threading
import numpy as np
import fastbp

def threads_after(N, H, B):
    net, X = fastbp.Network(N, H), np.ones((B, N))
    net.loss_and_grad(net.init(seed=0), X, X[:, 0], threads="auto")
    return threading.active_count()

assert threads_after(12, 64, 32) == 1  # too little work
processors = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(processors)})
assert threads_after(8, 100, 20000) == 1  # a single processor
os.sched_setaffinity(0, processors)
n = threads_after(8, 100, 20000)
assert n == 1 if len(processors) == 1 else 1 < n <= len(processors), (n, processors)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="takes processors away")
def test_auto_looks_at_the_work():
    fresh_process("-c", AUTOMATIC)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", None])
def test_what_is_refused(threads):
    net = fastbp.Network(2, 3)
    w, X, t = net.init(seed=0), np.zeros((4, 2)), np.zeros(4)
    for call in (
        lambda: net.loss_and_grad(w, X, t, threads=threads),
        lambda: net.vjp(w, X, t, threads=threads),
        lambda: net.vjp(w, X, t, inputs=True, threads=threads),
        lambda: net.value(w, X, threads=threads),
        lambda: net.value(w, X, threads=threads, out=np.empty(4)),
        lambda: net.input_grad(w, X, threads=threads),
    ):
        for _ in range(2):  # the second time, everything is ready
            with pytest.raises(ValueError, match=r'threads must be a positive integer or "auto"'):
                call()


# --- Other processes ------------------------------------------------------------------------------

PROCESSES = """
import multiprocessing, sys, warnings
import numpy as np
import fastbp

net = fastbp.Network(3, 20, output="identity")
rng = np.random.default_rng(0)
X, t, w = rng.standard_normal((3000, 3)), rng.standard_normal(3000), net.init(seed=0)

def run(objective):
    mean, g = net.loss_and_grad(w, X, t, threads=3)
    again, again_g = objective(w)
    assert (again, again_g.tolist()) == (mean, g.tolist())
    return mean, g.tolist()

if __name__ == "__main__":
    # Python warns that threads and fork rarely go together; here they do.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    objective = net.objective(X, t, threads=2)
    want = run(objective)
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map_async(run, [objective] * 4).get(timeout=60) == [want] * 4
    assert run(objective) == want
    print("done")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_started_after_threads_were_used(method, tmp_path):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    file = tmp_path / "processes.py"
    file.write_text(PROCESSES)
    assert fresh_process(file, method) == "done\n"


def test_a_fit_on_threads_lets_go_of_its_rows():
    X, t = np.ones((5000, 2)), np.arange(5000.0)
    X[:, 0] = np.sin(t)
    held = weakref.ref(X)
    gc.disable()
    try:
        fastbp.fit(fastbp.Network(2, 2, output="identity"), X, t, threads=2, epochs=1, l2=0.1)
        del X
        assert held() is None
    finally:
        gc.enable()


# --- Memory ---------------------------------------------------------------------------------------

GROWTH = """
import functools, sys
import numpy as np
import fastbp
from fastbp._training import choose

def peak():
    # ru_maxrss would begin with that of the process that started this one.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

N, B, threads = 8, 300_000, int(sys.argv[1])
net = fastbp.Network(N, 64, output="identity")
w = net.init(seed=0)
X = np.random.default_rng(0).standard_normal((B, N))
t, y, rows = X[:, 0].copy(), np.ones(B), np.ones((B, N))
g = np.empty_like(w)
calls = {
    "loss_and_grad": lambda n: net.loss_and_grad(w, X[:n], t[:n], out=g, threads=threads),
    "value": lambda n: net.value(w, X[:n], out=y[:n], threads=threads),
    "vjp": lambda n: net.vjp(w, X[:n], t[:n], out=g, threads=threads),
    "input_grad": lambda n: net.input_grad(w, X[:n], out=rows[:n], threads=threads),
    "jvp": lambda n: net.jvp(w, X[:n], w, out=y[:n]),
    "hvp": lambda n: net.hvp(w, X[:n], t[:n], w, out=g),
    "gauss_newton_product": lambda n: net.gauss_newton_product(w, X[:n], t[:n], w, out=g),
}
soft = fastbp.Network(N, 16, n_outputs=10, output="softmax")  # of whose classes rows have 23 MiB
v, classes = soft.init(seed=0), np.arange(B) % 10
for name in ("loss_and_grad", "hvp", "gauss_newton"):
    def call(n, function=getattr(soft, name), more=(v,) if name == "hvp" else ()):
        function(v, X[:n], classes[:n], *more, loss="cross_entropy", threads=threads)
    calls[name + " of classes"] = call
objective = functools.partial(soft.objective, loss="cross_entropy", threads=threads)
calls["objective of classes"] = lambda n: objective(X[:n], classes[:n])(v)
small = fastbp.Network(N, 1, output="identity")
options = {"epochs": 1, "folds": [np.arange(1000)], "threads": 1, "progress": False}
calls["fit, l2 chosen"] = lambda n: fastbp.fit(
    small, X[:n], t[:n], l2="auto", _quiet=True, **options
)
calls["fit_many"] = lambda n: fastbp.fit_many(small, X[:n], t[:n], seeds=1, **options)
# What is drawn and kept of many rows, of which whole fits would take too long here.
many = np.tile(X[:, :2], (4, 1)) + np.arange(4.0 * B)[:, np.newaxis]
u, c = many[:, 0].copy(), np.arange(4 * B) % 7.0
for loss, output in (("squared", "identity"), ("cross_entropy", "logistic")):
    of, u = fastbp.Network(2, 1, output=output), u if loss == "squared" else u // 1 % 2.0
    more = {"judges": None, "fit": fastbp.fit, "threads": 1, "seed": 0}
    for folds in (None, 3):
        def call(n, of=of, u=u, ell=fastbp.losses.get_loss(loss), more=more | {"folds": folds}):
            choose.data(of, many[: 4 * n], [u[: 4 * n]], c[: 4 * n], ell, **more)
        calls[f"fit, folds drawn, {loss}, {folds}"] = call
mixed = np.random.default_rng(0).integers(0, 2, 4 * B)
calls["fit, groups"] = lambda n: fastbp.fit_groups(
    fastbp.Network(2, 1, output="identity"), many[: 4 * n], u[: 4 * n], groups=mixed[: 4 * n],
    epochs=1, threads=1
)
for call in calls.values():
    call(3000)  # compiled and loaded
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the peak begins here
before = peak()
for name, call in calls.items():
    call(B)
    print(name, peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="reads Linux's /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_does_not_grow_with_the_batch(threads):
    for line in fresh_process("-c", GROWTH, threads).splitlines():
        name, growth = line.rsplit(maxsplit=1)
        # The data have 22 MiB, z of all samples would have 146 MiB; an order of them has 1.2, and
        # what stays from call to call at most 2.
        assert float(growth) < (22.0 if "fit" in name else 8.0), f"{name}: {growth} MiB"
