"""Stored machine code: what is in a file, and what processes do to each other through them.

One process can't see what two do to each other: everything here is asked of fresh ones.
"""

import ast
import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import elf
import numpy as np
import pytest
from support import fresh_process

import fastbp

PACKAGE = Path(fastbp.__file__).parent
X86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="names of x86-64"
)

# A process: the first argument says what it does, and in which order. Every number is compared
# with the reference, or with one that needs no stored code.
WORK = '''
import json, sys
import numpy as np
import fastbp
from fastbp import reference

rng = np.random.default_rng(0)
bad = []

def close(what, got, want, dtype):
    limit = 1e-11 if dtype == "float64" else 2e-4
    scale = max(1.0, float(np.abs(want).max()))
    if not np.allclose(got, want, rtol=limit, atol=limit * scale):
        bad.append(what)

def data(net, B=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((B, net.n_inputs)).astype(net.dtype)
    return net.init(seed=0), X, np.tanh(X[:, 0]), rng.standard_normal(net.n_params).astype(net.dtype)

def derivatives(dtype, activations=("tanh", "softplus", "tanh"), loss="squared"):
    net = fastbp.Network(3, activations=list(activations), output="identity", dtype=dtype)
    w, X, t, p = data(net)
    for name, args in (
        ("value", (X,)), ("vjp", (X, t)), ("jvp", (X, p)), ("per_sample_grad", (X,)),
        ("input_grad", (X,)), ("input_hvp", (X, X[::-1].copy())),
    ):
        close((dtype, name), getattr(net, name)(w, *args), getattr(reference, name)(net, w, *args), dtype)
    mean, g = net.loss_and_grad(w, X, t, loss=loss)
    want_mean, want = reference.loss_and_grad(net, w, X, t, loss=loss)
    close((dtype, loss, "loss"), mean, want_mean, dtype)
    close((dtype, loss, "gradient"), g, want, dtype)
    for name in ("hvp", "gauss_newton_product"):
        got = getattr(net, name)(w, X, t, p, loss=loss)
        close((dtype, loss, name), got, getattr(reference, name)(net, w, X, t, p, loss=loss), dtype)
    value, g = net.objective(X, t, loss=loss)(w)
    close((dtype, loss, "objective"), g, want, dtype)

def gradient(dtype, activations=("tanh", "softplus", "tanh"), loss="squared"):
    net = fastbp.Network(3, activations=list(activations), output="identity", dtype=dtype)
    w, X, t, p = data(net)
    t = abs(t) if loss == "poisson" else t
    mean, g = net.loss_and_grad(w, X, t, loss=loss)
    want_mean, want = reference.loss_and_grad(net, w, X, t, loss=loss)
    close((dtype, loss, "loss"), mean, want_mean, dtype)
    close((dtype, loss, "gradient"), g, want, dtype)

def own(kind):
    if kind == "a":
        @fastbp.activation
        def mine(z):
            return z / (1.0 + z * z)
    else:
        @fastbp.activation
        def mine(z):
            return z * z / (2.0 + z * z)
    gradient("float64", (mine, "tanh", mine))

def flat(result):
    return np.concatenate([np.ravel(a) for a in (result if isinstance(result, tuple) else (result,))])

def outputs(output, loss="squared"):
    net = fastbp.Network(3, activations=["tanh", "softplus", "tanh"], output=output, n_outputs=2)
    w, X, _, p = data(net)
    t = np.stack([X[:, 0] > 0.0, X[:, 0] <= 0.0], axis=1).astype(float)
    by = {"loss": loss}
    for name, args, options in (
        ("value", (X,), {}), ("jvp", (X, p), {}), ("per_sample_grad", (X,), {}), ("input_hvp", (X, X), {}),
        ("loss_and_grad", (X, t), by), ("hvp", (X, t, p), by), ("gauss_newton", (X, t), by),
    ):
        got, want = getattr(net, name)(w, *args, **options), getattr(reference, name)(net, w, *args, **options)
        close((output, name), flat(got), flat(want), "float64")
        if name == "loss_and_grad":
            close((output, "objective"), flat(net.objective(X, t, **by)(w)), flat(want), "float64")
    for name in "lm", "adam":
        result = fastbp.fit(net, X, t, loss=loss, optimizer=name, epochs=3, seed=0, l2=1e-3)
        sums.append((output, name, result.w.tolist()))

def optimizer(name, dtype="float64"):
    net = fastbp.Network(3, 4, output="identity", dtype=dtype)
    w, X, t, _ = data(net)
    result = fastbp.fit(net, X, t, optimizer=name, epochs=3, seed=0, batch_size=16)
    sums.append((name, dtype, result.w.astype(float).tolist()))

sums = []
for word in sys.argv[1:]:
    kind, _, rest = word.partition(":")
    {"derivatives": derivatives, "own": own, "optimizer": optimizer,
     "gradient": gradient, "outputs": outputs, "loss": lambda name: gradient("float64", loss=name),
     "mixed": lambda names: gradient("float64", names.split("+"))}[kind](
        *rest.split(","))
print(json.dumps({"bad": bad, "sums": sums, "numba": "numba" in sys.modules}))
'''  # fmt: skip  # noqa: E501


def run(cache, *words, **environment):
    """Run a fresh process on a cache folder and return what it says."""
    given = {"timeout": None, "NUMBA_CACHE_DIR": cache, **environment}  # all of it takes long
    said = json.loads(fresh_process("-c", WORK, *words, **given))
    assert said["bad"] == [], (words, said["bad"])
    return said


def contents(cache):
    return {
        str(file.relative_to(cache)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in cache.rglob("*.bin")
    }


EVERYTHING = (
    "derivatives:float64",
    "gradient:float32",
    "loss:poisson",
    "mixed:sin+gelu+relu",
    "optimizer:sgd",
    "optimizer:lm",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return a cache that one process with a fixed hash seed has filled."""
    cache = tmp_path_factory.mktemp("stored")
    said = run(cache, *EVERYTHING, PYTHONHASHSEED="0")
    return cache, said


def test_bytes_do_not_depend_on_the_hash_seed_nor_on_the_order(stored, tmp_path):
    cache, said = stored
    again = run(tmp_path, *reversed(EVERYTHING), PYTHONHASHSEED="1")
    assert contents(tmp_path) == contents(cache)
    assert sorted(again["sums"]) == sorted(said["sums"])


def test_a_warm_process_imports_no_numba(stored):
    cache, said = stored
    before = contents(cache)
    warm = run(cache, *EVERYTHING, PYTHONHASHSEED="7")
    assert said["numba"]
    assert not warm["numba"]
    assert warm["sums"] == said["sums"]
    assert contents(cache) == before


def image_of(content):
    """Return the header and the object of a stored file, read as its documentation says."""
    assert content[:8] == b"fastbp\x00\x01"
    assert hashlib.blake2b(content[40:], digest_size=32).digest() == content[8:40]
    length = int.from_bytes(content[40:44], "little")
    return ast.literal_eval(content[44 : 44 + length].decode()), content[44 + length :]


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_every_object_exports_one_name_and_imports_what_is_allowed(stored):
    from fastbp.kernels.machine.emit import ALLOWED

    cache, _ = stored
    seen = set()
    files = sorted(cache.rglob("*.bin"))
    assert len(files) > 40
    for file in files:
        header, image = image_of(file.read_bytes())
        exported, imported = elf.symbols(image)
        unit, _, digest = file.stem.rpartition("-")
        assert exported == {f"fastbp_{unit}_{digest}"}
        assert header["unit"] == unit
        assert imported <= ALLOWED, (file.name, imported - ALLOWED)
        seen |= exported
    assert len(seen) == len(files)


def test_two_three_and_four_writers_in_every_order(tmp_path):
    """Processes that know nothing of each other fill one folder; others use what all have left."""
    for pair in (("gradient:float64", "gradient:float32"), ("own:a", "own:b")):
        for order in (pair, pair[::-1]):
            cache = tmp_path / "-".join(word[-2:] for word in order)
            for word in order:
                run(cache, word, PYTHONHASHSEED="0")
            assert not run(cache, *order)["numba"]
    words = ("optimizer:sgd", "optimizer:adam", "loss:huber", "mixed:sin+tanh+sin")
    sums = {word: run(tmp_path / "4", word, PYTHONHASHSEED="0")["sums"] for word in words[::-1]}
    for order in (words, words[::-1]):
        said = run(tmp_path / "4", *order)
        assert not said["numba"]
        assert said["sums"] == [entry for word in order for entry in sums[word]]
    order = words[1:] + words[:1]  # three, and then one that is the first to need the rest
    for word in order[:3]:
        assert run(tmp_path / "3", word, PYTHONHASHSEED="0")["sums"] == sums[word]
    assert run(tmp_path / "3", *order)["sums"] == [entry for word in order for entry in sums[word]]


def test_a_whole_file_under_another_name_is_refused(stored, tmp_path):
    cache, said = stored
    kept = {file: file.read_bytes() for file in sorted(cache.rglob("*.bin"))}
    files = list(kept)[::3]  # what is made anew takes long
    rng = np.random.default_rng(0)
    try:
        order = rng.permutation(len(files))
        for k, place in enumerate(order):
            files[place].write_bytes(kept[files[order[(k + 1) % len(files)]]])
        again = run(cache, *EVERYTHING)
        assert again["numba"]
        assert again["sums"] == said["sums"]
        assert contents(cache) == {
            str(file.relative_to(cache)): hashlib.sha256(content).hexdigest()
            for file, content in kept.items()
        }
    finally:
        for file, content in kept.items():
            file.write_bytes(content)


def test_an_object_that_does_not_link_is_made_anew(stored):
    """A file that is whole by all it says of itself, and holds no object."""
    cache, said = stored
    file = next(file for file in sorted(cache.rglob("*.bin")) if file.name.startswith("reverse-"))
    content = file.read_bytes()
    length = struct.unpack_from("<I", content, 40)[0]
    rest = content[40 : 44 + length] + b"no object"
    file.write_bytes(content[:8] + hashlib.blake2b(rest, digest_size=32).digest() + rest)
    try:
        assert run(cache, *EVERYTHING)["sums"] == said["sums"]
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "value"),
    [("NUMBA_OPT", "0"), ("NUMBA_LOOP_VECTORIZE", "0"), ("NUMBA_BOUNDSCHECK", "1")],
)
def test_options_that_change_the_code_have_a_build_of_their_own(stored, name, value):
    cache, _ = stored
    before = contents(cache)
    assert run(cache, "gradient:float64", **{name: value})["numba"]
    after = contents(cache)
    assert before.items() <= after.items()
    new = {Path(file).parent for file in after} - {Path(file).parent for file in before}
    assert len(new) == 1
    assert not run(cache, "gradient:float64", **{name: value})["numba"]


def test_options_set_inside_a_process_store_nothing(tmp_path):
    change = "import numba; numba.config.LOOP_VECTORIZE = 0\n"
    said = fresh_process("-c", change + WORK, "gradient:float64", NUMBA_CACHE_DIR=tmp_path)
    assert json.loads(said)["bad"] == []
    # What is no code of Numba's may be stored.
    assert all(file.name.startswith("call_") for file in tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['NUMBA_LOOP_VECTORIZE'] = '0'",  # which Numba reads at every compilation
        "os.environ['NUMBA_CPU_NAME'] = 'generic'",
        "os.mkdir('there'); os.chdir('there'); "
        "pathlib.Path('.numba_config.yaml').write_text('loop_vectorize: 0')",
        "os.mkdir(package + '/new'); open(package + '/new/new.py', 'w').close()",
        "os.rename(package, package + '-gone')",
    ],
)
def test_what_changes_during_a_process_stores_nothing(tmp_path, change):
    package = tmp_path / "site" / "fastbp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    program = f"""
import os, pathlib
import numpy as np
import fastbp

package, cache = os.path.dirname(fastbp.__file__), pathlib.Path({str(cache)!r})
fastbp.Network(3, 4)(np.ones(16), np.ones((40, 3)))
before = set(cache.rglob("*.bin"))
{change}
net = fastbp.Network(3, 4, activations="sin")
assert np.allclose(net(np.ones(16), np.ones((40, 3))), np.tanh(4 * np.sin(3.0)))
assert before and set(cache.rglob("*.bin")) == before
"""
    paths = os.pathsep.join([str(package.parent), *sys.path])
    fresh_process("-c", program, cwd=tmp_path, NUMBA_CACHE_DIR=cache, PYTHONPATH=paths)


def test_a_closed_stderr_and_an_option_that_is_no_number_are_no_obstacle(tmp_path):
    program = (
        "import sys; sys.stderr.close(); import fastbp\nfastbp.Network(3, 4)([1.0] * 16, [1.0] * 3)"
    )
    given = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_ENABLE_AVX": "", "FASTBP_QUIET": "0"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | given,
        check=True,
        timeout=300,
    )
    assert any(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("avx2", "'avx2'"),
        ("+avx2,fma", "'fma'"),
        ("+avx2, +fma", "' +fma'"),
        pytest.param("+avx2,-sse2", "'-sse2'", marks=X86),
        pytest.param("-64bit", "'-64bit'", marks=X86),
    ],
)
def test_features_that_llvm_would_end_the_process_over_are_refused(tmp_path, features, said):
    program = """
import fastbp

net = fastbp.Network(3, 4)
for _ in range(2):
    try:
        net([1.0] * 16, [1.0] * 3)
    except ValueError as error:
        print(error)
"""
    given = {"NUMBA_CACHE_DIR": tmp_path, "NUMBA_CPU_FEATURES": features}
    first, again = fresh_process("-c", program, **given).splitlines()
    assert first == again
    assert first.startswith("NUMBA_CPU_FEATURES ")
    assert said in first


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
@pytest.mark.parametrize(
    ("named", "before"),
    [
        ("a" * 300, ""),  # as what lies in somebody else's folder: an error of its own
        ("link", "os.symlink('nothing', 'link')"),
    ],
    ids=["too long", "link to nothing"],
)
def test_a_cache_folder_that_cannot_be_is_passed_over(tmp_path, named, before):
    package = tmp_path / "site" / "fastbp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
import os
import numpy as np
import fastbp

{before}
assert np.isfinite(fastbp.Network(3, 4)(np.ones(16), np.ones((40, 3)))).all()
"""
    paths = os.pathsep.join([str(package.parent), *sys.path])
    fresh_process("-c", program, cwd=tmp_path, NUMBA_CACHE_DIR=named, PYTHONPATH=paths)
    assert any(package.rglob("*.bin"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [("002", 0o664), ("022", 0o644), ("077", 0o600)])
def test_files_follow_the_umask(tmp_path, mask, mode):
    program = f"import os; os.umask(0o{mask})\n" + WORK
    fresh_process("-c", program, "mixed:tanh", NUMBA_CACHE_DIR=tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {mode}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_leaves_nothing(tmp_path):
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3500, 3500))\n"
    )
    for _ in range(2):
        homes = {"NUMBA_CACHE_DIR": "c", "HOME": "h", "XDG_CACHE_HOME": "x"}
        homes = {name: tmp_path / folder for name, folder in homes.items()}
        fresh_process("-c", limit + WORK, "mixed:tanh", **homes)
        left = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert {file.suffix for file in left} <= {".bin"}


def test_old_builds_are_cleared_and_nothing_else(stored, tmp_path):
    cache = tmp_path
    run(cache, "mixed:tanh")
    (own,) = cache.iterdir()
    now = own.stat().st_mtime
    days = {1: 1, 2: 2, 3: 3, 4: 29, 5: 5.5, 6: 31}
    for number, age in days.items():
        build = cache / f"fastbp-{number:016x}"
        build.mkdir()
        (build / "unit-0.bin").write_bytes(b"old")
        os.utime(build, (now - age * 86400, now - age * 86400))
    others = cache / "fastbp-notes"
    others.mkdir()
    (others / "mine.bin").write_bytes(b"kept")
    half = own / "unit-1.tmp"
    half.write_bytes(b"half")
    os.utime(half, (now - 7200, now - 7200))
    mixed = cache / f"fastbp-{6:016x}" / "notes.txt"
    mixed.write_text("kept")
    os.utime(mixed.parent, (now - days[6] * 86400, now - days[6] * 86400))
    run(cache, "mixed:sin")  # stores, and so clears
    left = {folder.name for folder in cache.iterdir()}
    kept = {f"fastbp-{number:016x}" for number in (1, 2, 3, 5)}  # and this one: the newest five
    assert left == {own.name, others.name, *kept, f"fastbp-{6:016x}"}
    assert [file.name for file in mixed.parent.iterdir()] == ["notes.txt"]
    assert not half.exists()
    assert (others / "mine.bin").exists()
    assert not run(cache, "mixed:tanh")["numba"]


RELEASED = """
import numpy as np, fastbp, sys
net = fastbp.Network(3, 5, output="identity")
rng = np.random.default_rng(0)
w, X = net.init(seed=0), rng.standard_normal((40, 3))
t = 5.0 * abs(X[:, 0])
mean, g = net.loss_and_grad(w, X, t, loss="huber")
want_mean, want = fastbp.reference.loss_and_grad(net, w, X, t, loss="huber")
assert np.isclose(mean, want_mean, rtol=1e-12) and np.allclose(g, want), (mean, want_mean)
print("numba" in sys.modules, fastbp.losses.NAMES[0])
"""


@pytest.mark.parametrize("kind", ["folder", "zip", "bytecode"])
def test_another_release_of_the_package_is_another_build(tmp_path, kind):
    """Only losses.py changes, of which the places of the plan follow: in a folder, a zip, .pyc."""
    import compileall
    import shutil

    library = tmp_path / "library"
    source = library / "fastbp"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "release" if kind != "zip" else tmp_path / "release.zip"

    def release():
        if path.is_dir():
            shutil.rmtree(path)
        if kind == "zip":
            shutil.make_archive(str(tmp_path / "release"), "zip", library)
            return
        shutil.copytree(library, path)
        if kind == "bytecode":
            assert compileall.compile_dir(path, quiet=2, legacy=True)
            for file in path.rglob("*.py"):
                file.unlink()

    def run_release():
        given = {"NUMBA_CACHE_DIR": tmp_path / "cache", "PYTHONPATH": path}
        said = fresh_process("-c", RELEASED, cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1", **given)
        return said.split()

    release()
    assert run_release() == ["True", "squared"]
    assert run_release() == ["False", "squared"]
    file = source / "losses.py"
    text = file.read_text("utf-8")
    names = 'NAMES = ("squared", "cross_entropy"'
    assert names in text
    file.write_text(text.replace(names, 'NAMES = ("cross_entropy", "squared"'), "utf-8")
    release()
    assert run_release() == ["True", "cross_entropy"]
    assert run_release() == ["False", "cross_entropy"]


@pytest.mark.skipif(os.name == "nt", reason="no limit of the size of files")
def test_precompile_says_where_there_is_no_room(tmp_path):
    import resource

    command = [sys.executable, "-m", "fastbp", "precompile", "--activations", "tanh"]
    done = subprocess.run(
        [*command, "--dtype", "float64", "--to", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2 and not done.stdout
    assert "could not be stored; --to names a folder" in done.stderr


@X86
def test_precompiled_for_another_processor(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])}
    command = [sys.executable, "-m", "fastbp", "precompile", "--activations", "tanh", "softplus"]
    done = subprocess.run(
        [*command, "--dtype", "float64", "--cpu", "x86-64-v2", "--to", str(tmp_path)],
        env=environment, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    exports = dict(
        line.removeprefix("export ").split("=", 1)
        for line in done.stdout.splitlines()
        if line.startswith("export ")
    )
    exports = {name: value.strip("'") for name, value in exports.items()}
    assert exports["NUMBA_CPU_NAME"] == "x86-64-v2"
    assert exports["NUMBA_CACHE_DIR"] == str(tmp_path)
    del exports["NUMBA_CACHE_DIR"]
    before = contents(tmp_path)
    words = ("derivatives:float64", "optimizer:lm", "optimizer:adam", "mixed:one+tanh")
    outputs = "outputs:identity", "outputs:softmax,cross_entropy"
    said = run(tmp_path, *words, *outputs, **exports)
    assert not said["numba"]
    assert contents(tmp_path) == before
    refused = subprocess.run(
        [*command, "--cpu", "pentium-pro-max"], env=environment, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "there is no processor 'pentium-pro-max'" in refused.stderr
    (tmp_path / "file").touch()
    refused = subprocess.run(
        [*command, "--to", tmp_path / "file"], env=environment, capture_output=True, text=True
    )
    assert refused.returncode == 2 and not refused.stdout
    assert "file': nothing can be written there" in refused.stderr
