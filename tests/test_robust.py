"""What must not end in a crash, a hang or a wrong number: memory, forks, owners, masks, the GIL."""

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numba import njit, typed, types
from numba.core.errors import TypingError
from numba.experimental import jitclass

import fastbp
from fastbp import reference

PACKAGE = Path(fastbp.__file__).parent
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX alone")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def fresh(program, *words, **environment):
    """Run a program in a process of its own and return what it says."""
    settings = {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- Memory ---------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
import numpy as np
import fastbp
from numba import njit

@njit
def inside(net, w, X, out):
    fastbp.value(net, w, X, out)

what, threads = sys.argv[1], int(sys.argv[2])
N, H, B = (8, 700, 300) if what in ("gauss_newton", "lm") else (2, 60000, 600)
rng = np.random.default_rng(0)
X = rng.standard_normal((B, N))
t = X[:, 0].copy()

def call(net, w, room):
    out = room[: net.n_params]
    if what == "value": return net.value(w, X, out=room[:B], threads=threads)
    if what == "vjp": return net.vjp(w, X, t, out=out, threads=threads)
    if what == "loss_and_grad": return net.loss_and_grad(w, X, t, out=out, threads=threads)
    if what == "hvp": return net.hvp(w, X, t, w, out=out)
    if what == "jvp": return net.jvp(w, X, w, out=room[:B])
    if what == "input_grad": return net.input_grad(w, X, threads=threads)
    if what == "per_sample_grad": return net.per_sample_grad(w, X[:60])
    if what == "gauss_newton": return net.gauss_newton(w, X, t)
    if what == "objective": return net.objective(X, t)(w, out=out)
    if what == "njit": return inside(net, w, X, room[:B])
    optimizer = {"lm": "lm", "sgd": "sgd", "adam": "adam"}[what]
    return fastbp.fit(net, X, t, optimizer=optimizer, epochs=1, seed=0, w0=w, progress=False)

small = fastbp.Network(N, 6, output="identity")
call(small, small.init(seed=0), np.empty(B))  # everything is compiled and loaded
net = fastbp.Network(N, H, output="identity")
w = net.init(seed=0)
out = np.full(max(net.n_params, B), 7.0)
rest = {"gauss_newton": 1.0, "lm": 1.3}.get(what, 0.0) * net.n_params**2 * 8
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (int(used + rest + 20e6),) * 2)
try:
    call(net, w, out)
    print("computed")
except MemoryError:
    print("MemoryError", bool((out == 7.0).all()))
"""


@LINUX
@pytest.mark.parametrize(
    "what",
    "value vjp loss_and_grad hvp jvp input_grad per_sample_grad gauss_newton objective njit lm sgd "
    "adam".split(),
)
def test_memory_that_is_not_there_is_a_memory_error(what):
    assert fresh(LIMITED, what, "1") == "MemoryError True"


@LINUX
@pytest.mark.parametrize("what", ["value", "vjp", "loss_and_grad", "input_grad"])
def test_memory_for_threads_is_asked_for_before_anything_is_written(what):
    # Batches of 600 are one part: the two threads need more.
    program = LIMITED.replace("60000, 600", "30000, 1200").replace(
        "np.empty(600)", "np.empty(1200)"
    )
    assert fresh(program, what, "2") == "MemoryError True"


GROWTH = """
import gc, os, sys
import numpy as np
import fastbp

X = np.ones((20, 3))

def one(k):
    c = 1.0 + k / 64.0
    net = fastbp.Network(3, activations=fastbp.activation(lambda z: z / (c + z * z)), n_neurons=5)
    net.loss_and_grad(net.init(seed=0), X, X[:, 0].copy())

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

kept = []
first = int(sys.argv[1])
for k in range(first, first + 8):
    one(k)
start = resident()
for k in range(first + 8, first + 48):
    one(k)
print((resident() - start) / 40)
"""


@LINUX
def test_an_activation_is_given_back(tmp_path):
    # Compiled here, and then loaded from disk.
    for _ in range(2):
        assert float(fresh(GROWTH, "0", NUMBA_CACHE_DIR=str(tmp_path))) < 0.2


def test_code_of_an_activation_lives_while_a_network_uses_it_or_it_is_among_the_last():
    from fastbp.kernels.calls import units

    @fastbp.activation
    def mine(z):
        return z / (3.5 + z * z)

    net = fastbp.Network(3, activations=[mine, "tanh"])
    w, X = net.init(seed=0), np.ones((5, 3))
    net.value(w, X)
    key = (mine.key, 0, "float64")
    assert key in units._blocks
    again = fastbp.Network(4, activations=[mine])
    again.value(again.init(seed=0), np.ones((5, 4)))
    want = net.value(w, X)
    del again
    gc.collect()
    np.testing.assert_array_equal(net.value(w, X), want)
    del net
    gc.collect()
    assert key in units._blocks  # for the next like it, while it is among the last
    units._last_blocks.clear()
    gc.collect()
    assert key not in units._blocks


# --- Forks ----------------------------------------------------------------------------------------

FORK = """
import os, signal, sys, threading, time
import numpy as np
import fastbp

net, other = fastbp.Network(3, 5), fastbp.Network(3, 5, dtype="float32")
w, X = net.init(seed=0), np.ones((30, 3))
begun = threading.Event()

def compile_something():
    begun.set()
    other.value(other.init(seed=0), np.ones((30, 3), "f"))

thread = threading.Thread(target=compile_something)
thread.start()
begun.wait()
time.sleep(float(sys.argv[1]))
child = os.fork()
if child == 0:
    signal.alarm(120)
    right = np.allclose(net.value(w, X), fastbp.reference.value(net, w, X))
    right &= bool(np.isfinite(other.value(other.init(seed=0), np.ones((30, 3), "f"))).all())
    os._exit(0 if right else 1)
thread.join()
_, status = os.waitpid(child, 0)
print(status)
"""


@POSIX
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("delay", ["0.0", "0.05", "0.6"])
def test_a_child_forked_while_another_thread_compiles_works(tmp_path, delay):
    assert fresh(FORK, delay, NUMBA_CACHE_DIR=str(tmp_path)) == "0"


# Appended to a program whose `thread` has `begun`: whether it `works` in a child forked then.
FORKED = """
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if works() else 1)
thread.join()
print(os.waitpid(child, 0)[1])
"""

FORK_WHILE_IMPORTING = """
import importlib.abc, os, signal, sys, threading, time
import numpy as np
import fastbp

net = fastbp.Network(3, 5)
w, X, t = np.linspace(-1.0, 1.0, 20), np.ones((2400, 3)), np.zeros(2400)
use = {
    "objective": lambda: net.objective(X, t).value(w),
    "gauss_newton": lambda: net.gauss_newton(w, X, t)[0],
    "fit": lambda: fastbp.fit(net, X, t, optimizer="adam", epochs=1, progress=False).loss,
    "scipy": lambda: fastbp.fit(net, X, t, optimizer="lbfgs", epochs=1, progress=False).loss,
    "init": lambda: net.init(seed=0),
    "threads": lambda: net.value(w, X, threads=2),
    "public": lambda: len(fastbp.calculus.__all__),
    "evaluate": lambda: fastbp.activations.sin(0.5),
    "trace": lambda: fastbp.activation(lambda z: z * z)(0.5),
}[sys.argv[1]]
begun = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith(sys.argv[2]) and not begun.is_set():
            begun.set()
            time.sleep(0.3)

def first():
    use()
    begun.set()  # where all was imported before

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=first)
thread.start()
works = lambda: np.isfinite(use()).all()
"""


@POSIX
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("use", "module"),
    [
        ("objective", "fastbp.kernels.calls."),
        ("gauss_newton", "fastbp.kernels.calls."),
        ("fit", "fastbp.kernels.calls."),
        ("fit", "fastbp._training."),
        ("scipy", "scipy.optimize"),
        ("init", "numpy.random"),
        ("threads", "concurrent."),
        ("public", "fastbp.calculus."),
        ("evaluate", "fastbp._symbolic."),
        ("trace", "fastbp._symbolic."),
    ],
)
def test_a_child_forked_while_another_thread_imports_works(use, module):
    assert fresh(FORK_WHILE_IMPORTING + FORKED, use, module) == "0"


FORK_WHILE_FINDING = """
import os, signal, threading, time
from fastbp._lock import cached_property

begun = threading.Event()

class Slow:
    @cached_property
    def value(self):
        begun.set()
        time.sleep(0.3)
        return 7

thread = threading.Thread(target=lambda: Slow().value)
thread.start()
slow = Slow()
works = lambda: slow.value == slow.__dict__["value"] == 7
"""


@POSIX
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_finds_what_is_kept_works():
    assert fresh(FORK_WHILE_FINDING + FORKED) == "0"


IMPORTED_TWICE = """
import importlib.abc, signal, sys, threading, time
import fastbp

signal.alarm(120)
begun, done = threading.Event(), []

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "fastbp.calculus._check":
            begun.set()
            time.sleep(0.3)

def imports():
    import fastbp.calculus
    done.append(fastbp.calculus)

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=imports)
thread.start()
begun.wait()
done.append(fastbp.calculus)  # holds the lock, and waits for the module
thread.join()
print(done[0] is done[1])
"""


@POSIX
def test_a_module_and_a_public_name_are_imported_by_two_threads():
    assert fresh(IMPORTED_TWICE) == "True"


NAMED_IN_COMPILER = """
import signal, threading
from numba.core.compiler_lock import global_compiler_lock
import fastbp
from fastbp._lock import LOCK

signal.alarm(120)
held = threading.Event()

def compiles():
    with LOCK:
        held.set()
        with global_compiler_lock:
            pass

thread = threading.Thread(target=compiles)
with global_compiler_lock:  # as where a function of the user's that names it is compiled
    thread.start()
    held.wait()
    print(fastbp.hvp.__name__)
thread.join()
"""


@POSIX
def test_a_public_name_within_the_compiler_does_not_wait_for_who_waits_for_it():
    assert fresh(NAMED_IN_COMPILER) == "hvp"


FORK_WHILE_LLVM_WORKS = """
import os, signal, threading, time
import numpy as np
import fastbp
from llvmlite.binding import ffi

net, begun = fastbp.Network(3, 5), threading.Event()
net.value(np.ones(20), np.ones((30, 3)))

def unload():  # as a network that is collected does
    with ffi.lib._lock:
        begun.set()
        time.sleep(0.3)

thread = threading.Thread(target=unload)
thread.start()
works = lambda: np.isfinite(net.input_grad(np.ones(20), np.ones((30, 3)))).all()
"""


@POSIX
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_unloads_code_works():
    assert fresh(FORK_WHILE_LLVM_WORKS + FORKED) == "0"


FORK_THAT_WAITS = """
import logging, os, threading, time
import fastbp
from fastbp._lock import LOCK, guard_compilation

status = []

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0 if LOCK.acquire(timeout=60) else 1)
    status.append(os.waitpid(child, 0)[1])

threads = [threading.Thread(target=fork) for _ in range(3)]
with LOCK:
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    guard_compilation()
for thread in threads:
    thread.join()
print(status, LOCK.acquire(timeout=60))
"""


@POSIX
def test_a_fork_that_waits_while_the_first_compilation_begins_gives_back_what_it_took():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_THAT_WAITS],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout.strip(), done.stderr) == ("[0, 0, 0] True", "")


LOCKED = """
import signal, threading
import numpy as np
from numba import njit
import fastbp

signal.alarm(120)
frozen, cold = fastbp.Network(3, 4), fastbp.Network(3, 4)
w, X = cold.init(seed=0), np.ones((5, 3))

@njit
def uses_a_global(w, X):
    return fastbp.value(frozen, w, X[0])

thread = threading.Thread(target=lambda: cold.loss_and_grad(w, X, X[:, 0]))
thread.start()
try:
    uses_a_global(w, X)
except Exception as error:
    print("pass it as an argument" in str(error))
thread.join()
"""


def test_a_global_network_is_refused_while_another_thread_compiles(tmp_path):
    assert fresh(LOCKED, NUMBA_CACHE_DIR=str(tmp_path)) == "True"


TWO_IMPORTS = """
import threading
import numpy as np
import fastbp

net, done = fastbp.Network(3, 4), []
barrier = threading.Barrier(2)

def imports():
    barrier.wait()
    import numba
    done.append(numba)

def calls():
    barrier.wait()
    done.append(net.value(net.init(seed=0), np.ones((5, 3))))

threads = [threading.Thread(target=job) for job in (imports, calls)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(done))
"""


def test_a_first_call_while_another_thread_imports_numba(tmp_path):
    assert fresh(TWO_IMPORTS, NUMBA_CACHE_DIR=str(tmp_path)) == "2"


ENDS = """
import atexit, os, sys, threading, time
import numpy as np
import fastbp

net = fastbp.Network(16, 64, output="identity")
X = np.random.default_rng(0).standard_normal((20000, 16))
w, t = net.init(seed=0), np.tanh(X[:, 0])
want = net.loss_and_grad(w, X, t, threads=2)[0]

def call():
    net.loss_and_grad(w, X, t)

def call_with_threads():
    net.loss_and_grad(w, X, t, threads=2)

def fit():
    fastbp.fit(net, X, t, optimizer=sys.argv[2], epochs=3, seed=0, progress=False)

def compile():
    slope = time.perf_counter()
    own = fastbp.activation(lambda z: z / (1.0 + abs(z)) + slope * z)
    small = fastbp.Network(3, 4, activations=own)
    small.value(small.init(seed=0), X[:, :3].copy())

def work():
    while True:
        globals()[sys.argv[1]]()

class Late:
    call, given = net.loss_and_grad, (w, X, t)

    def __del__(self, write=os.write, want=want):  # when there is no stdout any more
        write(1, str(self.call(*self.given)[0] == want).encode())

os.dup2(1, 2)
late = Late()
atexit.register(lambda: print(net.loss_and_grad(w, X, t)[0] == want))
if sys.argv[1] != "nothing":
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.4)
"""


@pytest.mark.parametrize(
    "what", ["nothing", "call", "call_with_threads", "fit adam", "fit lm", "compile"]
)
def test_an_interpreter_ends_with_work_under_way(what):
    said = fresh(ENDS, *what.split())
    # Under a daemon thread, Python's end leaves alone what its globals hold.
    assert said == ("True\nTrue" if what == "nothing" else "True")


# --- Networks in compiled code --------------------------------------------------------------------


def network(H=5):
    return fastbp.Network(3, H, output="identity")


NET = network()
W = NET.init(seed=0)
X = np.random.default_rng(0).standard_normal((20, 3))
WANT = reference.value(NET, W, X)


def disturb():
    """Collect what nobody holds, and have its memory used by others."""
    gc.collect()
    others = [fastbp.Network(3, 5, activations="relu") for _ in range(4)]
    for other in others:
        other.value(W, X)
    return [np.full(60, 7, np.int64) for _ in range(3000)], others


def right(out):
    np.testing.assert_allclose(out, WANT, rtol=1e-13)


def test_a_jitclass_keeps_its_network():
    from numba import float64, typeof

    @jitclass([("net", typeof(NET)), ("w", float64[::1])])
    class Model:
        def __init__(self, net, w):
            self.net = net
            self.w = w

        def run(self, X, out):
            fastbp.value(self.net, self.w, X, out)

    model, out = Model(network(), W), np.empty(20)
    kept = disturb()
    model.run(X, out)
    right(out)
    assert model.net == NET
    del kept


def test_a_structref_keeps_its_network():
    from numba.experimental import structref

    @structref.register
    class HolderType(types.StructRef):
        pass

    class Holder(structref.StructRefProxy):
        pass

    structref.define_proxy(Holder, HolderType, ["net"])

    @njit
    def run(holder, w, X, out):
        fastbp.value(holder.net, w, X, out)

    holder, out = Holder(network()), np.empty(20)
    kept = disturb()
    run(holder, W, X, out)
    right(out)
    del kept


def test_a_generator_keeps_its_network():
    @njit
    def values(net, w, X):
        for b in range(X.shape[0]):
            yield fastbp.value(net, w, X[b])

    generator = values(network(), W, X)
    kept = disturb()
    right(np.array(list(generator)))
    del kept, generator
    gc.collect()


def test_typed_containers_keep_their_networks():
    @njit
    def run(nets, w, X, out):
        fastbp.value(nets[0], w, X, out)

    nets = typed.List()
    nets.append(network())
    by_name = typed.Dict.empty(types.unicode_type, nets._dtype)
    by_name["a"] = network()

    @njit
    def run_named(nets, w, X, out):
        fastbp.value(nets["a"], w, X, out)

    kept = disturb()
    for call, given in ((run, nets), (run_named, by_name)):
        out = np.empty(20)
        call(given, W, X, out)
        right(out)
    assert nets[0] == NET
    del kept


def test_a_tuple_and_a_helper_pass_a_network_on():
    @njit
    def helper(pair, w, X, out):
        fastbp.value(pair[0], w, X, out)
        return pair

    @njit
    def run(net, w, X, out):
        return helper((net, 1), w, X, out)[0]

    out, net = np.empty(20), network()
    assert run(net, W, X, out) is net
    right(out)


def test_a_network_comes_back_as_the_one_that_went_in():
    @njit
    def back(net):
        return net

    @njit
    def same(a, b):
        return a is b, a is not b

    net = network()
    references = sys.getrefcount(net)
    for _ in range(50):
        assert back(net) is net
    assert sys.getrefcount(net) == references
    assert same(net, net) == (True, False)
    assert same(net, network()) == (False, True)

    @njit
    def equal(a, b):
        return a == b

    with pytest.raises(TypingError, match="can't be compared by =="):
        equal(net, net)


def test_object_mode_gets_the_network_itself():
    from numba import objmode

    @njit
    def run(net, w, X):
        with objmode(y="float64[::1]"):
            y = net.value(w, X)
        return y

    right(run(network(), W, X))


HANDED = []  # object mode reads it


def test_object_mode_hands_back_what_it_said_it_would():
    from numba import objmode, typeof

    kind = typeof(network())

    @njit
    def run(w, X, out):
        with objmode(net=kind):
            net = HANDED[-1]
        fastbp.value(net, w, X, out)

    HANDED.append(network())  # Numba has not seen it
    run(W, X, out := np.empty(20))
    right(out)
    for other in ({"dtype": "float32"}, {"n_outputs": 2}):
        HANDED.append(fastbp.Network(NET.n_inputs, NET.n_neurons, **other))
        with pytest.raises(TypeError, match=r"expects a .*float64, one output.*; got a "):
            run(W, X, out)


def test_the_type_of_a_network_is_made_once():
    assert NET._numba_type_ is NET._numba_type_
    assert NET._numba_type_ is network()._numba_type_


def test_without_jit_compiled_functions_are_python():
    program = (
        "import numpy as np, fastbp\n"
        "from numba import njit\n"
        "@njit\n"
        "def f(net, w, X, out):\n"
        "    fastbp.value(net, w, X, out)\n"
        "net = fastbp.Network(3, activations=['tanh', 'gelu'], output='identity')\n"
        "w, X, out = net.init(seed=0), np.ones((4, 3)), np.empty(4)\n"
        "f(net, w, X, out)\n"
        "assert np.allclose(out, fastbp.reference.value(net, w, X), rtol=1e-13)\n"
        "assert np.allclose(net.loss_and_grad(w, X, out)[0], 0.0)\n"
        "print('done')\n"
    )
    assert fresh(program, NUMBA_DISABLE_JIT="1") == "done"


def test_helpers_are_inlined_into_the_users_functions():
    """What a user's function stores on disk defines no name of the library's."""
    import re

    @njit
    def everything(net, w, X, t, g, out, rows, J):
        fastbp.value(net, w, X, out)
        fastbp.loss_and_grad(net, w, X, t, g, "huber")
        fastbp.hvp(net, w, X, t, w, g)
        fastbp.gauss_newton_product(net, w, X, t, w, g)
        fastbp.input_grad(net, w, X, rows)
        fastbp.input_hvp(net, w, X, X, rows)
        fastbp.per_sample_grad(net, w, X, J)
        fastbp.vjp(net, w, X, t, g)
        fastbp.jvp(net, w, X, w, out)
        return fastbp.value_and_grad(net, w, X[0], g)

    g, out, rows, J = np.empty_like(W), np.empty(20), np.empty_like(X), np.empty((20, W.size))
    everything(NET, W, X, WANT, g, out, rows, J)
    (text,) = everything.inspect_llvm().values()
    defined = re.findall(r'^define (?!internal|private)[^@]*@"?([^"(]+)', text, re.M)
    assert len(defined) >= 1
    own = "11test_robust49test_helpers_are_inlined"  # as Numba writes a name: its module, itself
    others = [name for name in defined if own not in name]
    assert all(name.startswith("NRT_") for name in others), others  # Numba's own


# --- Masks ----------------------------------------------------------------------------------------

MASKED_X = np.ma.masked_array(X, mask=X > 1.5)
MASKED_T = np.ma.masked_array(WANT, mask=WANT > WANT.mean())


@pytest.mark.parametrize(
    "call",
    [
        lambda X, t: NET.value(W, X),
        lambda X, t: NET(W, X[0] if not np.ma.is_masked(X) else X),
        lambda X, t: NET.loss_and_grad(W, X, t),
        lambda X, t: NET.objective(X, t),
        lambda X, t: fastbp.fit(NET, X, t, epochs=1),
        lambda X, t: fastbp.fit(NET, [*X], t, epochs=1),
        lambda X, t: fastbp.activations.tanh(X),
        lambda X, t: reference.value(NET, W, X),
    ],
)
def test_masked_entries_are_refused(call):
    assert MASKED_X.mask.any()
    with pytest.raises(TypeError, match="has masked entries"):
        call(MASKED_X, WANT)
    call(np.ma.masked_array(X, mask=False), np.ma.masked_array(WANT))
    call(np.ma.masked_array(X), WANT)


def test_masked_targets_weights_and_outputs_are_refused():
    for call in (
        lambda: NET.loss_and_grad(W, X, MASKED_T),
        lambda: NET.loss_and_grad(W, X, WANT, sample_weight=np.ma.masked_less(np.ones(20), 2)),
        lambda: NET.value(W, X, out=np.ma.masked_array(np.empty(20), mask=True)),
        lambda: NET.vjp(np.ma.masked_array(W, mask=W > 0), X, WANT),
        lambda: fastbp.fit(NET, X, MASKED_T, epochs=1),
        lambda: fastbp.fit(NET, X, WANT, epochs=1, free=np.ma.masked_array(W > 0, mask=W > 0)),
    ):
        with pytest.raises(TypeError, match="has masked entries"):
            call()


# --- The GIL --------------------------------------------------------------------------------------

BIG = fastbp.Network(32, 512, output="identity")
BIG_W = BIG.init(seed=0)
BIG_X = np.random.default_rng(0).standard_normal((6000, 32))
BIG_T = BIG_X[:, 0].copy()
WIDE = fastbp.Network(8, 96, output="identity")


@pytest.mark.parametrize(
    "call",
    [
        lambda: BIG.value(BIG_W, BIG_X),
        lambda: BIG.vjp(BIG_W, BIG_X, BIG_T),
        lambda: BIG.jvp(BIG_W, BIG_X, BIG_W),
        lambda: BIG.input_grad(BIG_W, BIG_X),
        lambda: BIG.input_hvp(BIG_W, BIG_X, BIG_X),
        lambda: BIG.per_sample_grad(BIG_W, BIG_X[:900]),
        lambda: BIG.loss_and_grad(BIG_W, BIG_X, BIG_T),
        lambda: BIG.hvp(BIG_W, BIG_X, BIG_T, BIG_W),
        lambda: BIG.gauss_newton_product(BIG_W, BIG_X, BIG_T, BIG_W),
        lambda: WIDE.gauss_newton(WIDE.init(seed=0), BIG_X[:, :8].copy(), BIG_T),
        lambda: BIG.objective(BIG_X, BIG_T).value(BIG_W),
        lambda: fastbp.fit(BIG, BIG_X, BIG_T, optimizer="sgd", epochs=1, progress=False),
        lambda: fastbp.fit(BIG, BIG_X, BIG_T, optimizer="adam", epochs=1, progress=False),
        lambda: fastbp.fit(
            WIDE, BIG_X[:, :8].copy(), BIG_T, optimizer="lm", epochs=2, progress=False
        ),
    ],
)
def test_another_thread_goes_on_during_a_long_call(call):
    call()  # compiled or loaded
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(1e-3)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
    finally:
        done.set()
        thread.join()
    during = [start, *(when for when in ticks if start < when < end), end]
    # A call that kept the GIL would leave one gap as long as its kernel.
    assert max(np.diff(during)) < 0.5 * (end - start) + 0.02
