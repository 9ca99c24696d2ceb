"""Machine code on disk: found by fresh processes, never stale, never in the way."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent

ACTIVATIONS = """
import math
import fastbp

SLOPE = 0.25

def helper(z):
    return SLOPE * z

@fastbp.activation
def first(z):
    return math.atan(z) + helper(z)

@fastbp.activation
def second(z):
    return z * z if z > 0.0 else helper(z)

@fastbp.activation
def third(z):
    return math.exp(-abs(z)) * z
"""

SCRIPT = """
import json, sys
import numpy as np
import fastbp
from own import first, second, third
from fastbp import reference

net = fastbp.Network(3, activations=[first, second, third, first], output="tanh")
rng = np.random.default_rng(0)
w, X, t = rng.standard_normal(16), rng.standard_normal((50, 3)), rng.standard_normal(50)
loss, g = net.loss_and_grad(w, X, t)
want, want_g = reference.loss_and_grad(net, w, X, t)
error = max(abs(loss - want), np.abs(g - want_g).max())
print(json.dumps({
    "compiled": "numba" in sys.modules, "error": error, "loss": loss, "g": g.tolist(),
}))
"""


class Place:
    """A folder with a user's module, and a cache for the processes that run there."""

    def __init__(self, folder):
        self.folder = folder
        self.cache = folder / "cache"
        self.first = {}
        self.library = PACKAGE.parent
        self.prefix = ()
        self.write(ACTIVATIONS)
        (folder / "script.py").write_text(SCRIPT, encoding="utf-8")

    def write(self, activations):
        """Write the user's module anew."""
        (self.folder / "own.py").write_text(activations, encoding="utf-8")

    def start(self, *command, **environment):
        """Start a fresh process."""
        settings = {
            "PYTHONPATH": os.pathsep.join([str(self.library), *sys.path]),
            "NUMBA_CACHE_DIR": str(self.cache),
            "PYTHONDONTWRITEBYTECODE": "1",  # sources of one second and size look alike to it
        }
        return subprocess.Popen(
            [*self.prefix, sys.executable, *(command or ("script.py",))],
            cwd=self.folder,
            env=os.environ | settings | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process):
        """Wait for a process and return what it says."""
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert not errors
        return json.loads(output)

    def run(self, *command, **environment):
        """Run a process; assert that its gradient is right; return what it says."""
        said = self.finish(self.start(*command, **environment))
        assert said["error"] < 1e-13
        return said

    def files(self):
        """Return the contents of the cache, by path."""
        return {file: file.read_bytes() for file in self.cache.rglob("*") if file.is_file()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a place with a filled cache, for tests that leave the cache as good as it was."""
    place = Place(tmp_path_factory.mktemp("warm"))
    said = place.run()
    assert said["compiled"]
    place.first = place.files()
    assert place.first
    return place


def test_second_process_compiles_nothing(warm):
    before = warm.files()
    said = warm.run()
    assert not said["compiled"]
    assert warm.files() == before


NEEDLESS = """
import sys
import numpy as np
before = set(sys.modules)
import fastbp

net = fastbp.Network(3, 4)
X = np.ones((50, 3))
net.loss_and_grad(net.init(seed=0), X, X[:, 0].copy())
needless = "numba numpy.random numpy.typing hashlib dataclasses inspect json".split()
found = [name for name in needless if name in sys.modules and name not in before]
import json
print(json.dumps(found))
"""


def test_a_first_gradient_imports_only_what_it_needs(warm):
    """Each of those takes milliseconds, and memory, of every start."""
    assert warm.finish(warm.start("-c", NEEDLESS)) == []


def test_renamed_activation_is_found_and_changed_ones_are_compiled(warm):
    original = warm.run()
    try:
        warm.write(ACTIVATIONS.replace("def first", "def other") + "\nfirst = other\n")
        said = warm.run()
        assert not said["compiled"]
        assert said["g"] == original["g"]
        for old, new in [
            ("math.atan(z)", "math.atan(2.0 * z)"),  # its own text
            ("SLOPE = 0.25", "SLOPE = 0.125"),  # a constant
            ("return SLOPE * z", "return SLOPE * z + SLOPE"),  # a function that it calls
        ]:
            warm.write(ACTIVATIONS.replace(old, new))
            said = warm.run()
            assert said["compiled"]
            assert said["g"] != original["g"]
            assert not warm.run()["compiled"]
    finally:
        warm.write(ACTIVATIONS)
    said = warm.run()
    assert not said["compiled"]
    assert said["g"] == original["g"]


def test_damaged_files_are_written_again(warm):
    want = warm.run()
    damaged = {}
    for number, file in enumerate(sorted(warm.first)):
        content = file.read_bytes()
        middle = len(content) // 2
        damaged[file] = (
            b"",
            content[:-20],
            content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            content + b"x",
        )[number % 4]
        file.write_bytes(damaged[file])
    assert len(damaged) >= 8
    said = warm.run()
    assert said["compiled"]
    assert said["g"] == want["g"]
    after = warm.files()
    assert all(after[file] != content for file, content in damaged.items())
    assert not warm.run()["compiled"]
    assert warm.files() == after


def test_folder_in_the_place_of_a_file_is_no_obstacle(warm):
    files = sorted(warm.first)
    content = files[0].read_bytes()
    files[0].unlink()
    files[0].mkdir()
    try:
        warm.run()
    finally:
        files[0].rmdir()
        files[0].write_bytes(content)


@pytest.fixture
def own_package(place):
    """Return the place with a copy of the package, beside which nobody can write."""
    library = place.folder / "library"
    shutil.copytree(PACKAGE, library / "fastbp", ignore=shutil.ignore_patterns("__pycache__"))
    # A regular file where the folder would be: below it nobody can make one, not even root.
    (library / "fastbp" / "__pycache__").write_text("")
    place.library = library
    return place


def test_without_a_writable_folder_everything_is_compiled(own_package):
    place = own_package
    blocked = place.folder / "blocked"
    blocked.write_text("")
    cache = str(blocked / "cache")
    for _ in range(2):
        assert place.run(NUMBA_CACHE_DIR=cache, HOME=cache, XDG_CACHE_HOME=cache)["compiled"]


def test_without_numba_cache_dir_a_folder_is_found(own_package):
    place = own_package
    home = {"NUMBA_CACHE_DIR": "", "HOME": str(place.folder), "XDG_CACHE_HOME": str(place.cache)}
    assert place.run(**home)["compiled"]
    assert not place.run(**home)["compiled"]
    assert place.files()
    # Beside the package where that can be written.
    (place.library / "fastbp" / "__pycache__").unlink()
    assert place.run(**(home | {"XDG_CACHE_HOME": str(place.folder / "other")}))["compiled"]
    assert list((place.library / "fastbp" / "__pycache__").glob("fastbp-*/*.bin"))


REPLACED = """
import json, sys
from pathlib import Path
import numpy as np
import fastbp

net = fastbp.Network(1, 1, output="identity")  # imports what activations are
if sys.argv[1:]:
    file = Path(fastbp.__file__).with_name("activations.py")
    text = file.read_text("utf-8")
    changed = text.replace('"tanh", math.tanh', '"tanh", math.sin')
    assert changed != text
    file.write_text(changed, "utf-8")
y = net.value(np.ones(2), np.array([2.0]))
print(json.dumps({"y": y, "error": 0.0, "compiled": "numba" in sys.modules}))
"""


def test_what_is_imported_of_a_package_replaced_before_the_first_call_is_not_stored(own_package):
    place = own_package
    (place.folder / "replaced.py").write_text(REPLACED, encoding="utf-8")
    assert place.run("replaced.py", "replace")["y"] == pytest.approx(np.tanh(2.0), rel=1e-14)
    assert not place.files()
    for compiled in (True, False):
        said = place.run("replaced.py")
        assert said["y"] == pytest.approx(np.sin(2.0), rel=1e-14)
        assert said["compiled"] is compiled


@pytest.mark.skipif(os.name == "nt", reason="links are for who may make them")
def test_what_is_imported_by_a_link_that_leads_elsewhere_since_is_not_stored(own_package):
    place = own_package
    release = place.library.rename(place.folder / "release")
    shutil.copytree(release, place.folder / "next")
    place.library.symlink_to(release)
    swap = "import os; os.unlink('library'); os.symlink('next', 'library')\n"
    text = REPLACED.replace("y = net", swap + "y = net")
    (place.folder / "swapped.py").write_text(text, encoding="utf-8")
    assert place.run("swapped.py")["compiled"]
    assert not place.files()


def test_a_read_only_folder_is_read_and_what_it_lacks_goes_to_the_next(own_package):
    place = own_package
    place.run()
    kept = place.files()
    lacking = min(kept)
    lacking.unlink()
    # Files that can be read, in a folder in which none can be made: root may write anywhere.
    shutil.move(place.cache, place.folder / "image")
    builds = [folder for folder in (place.folder / "image").iterdir()]
    for build in builds:
        for file in build.iterdir():
            file.chmod(0o444)
        build.chmod(0o555)
    if os.access(builds[0], os.W_OK):  # root may write anywhere, but for a root without that right
        place.prefix = ("setpriv", "--bounding-set=-dac_override")
        if not shutil.which("setpriv"):
            pytest.skip("this user may write anywhere")
    home = {"NUMBA_CACHE_DIR": str(place.folder / "image"), "XDG_CACHE_HOME": str(place.cache)}
    assert place.run(**home)["compiled"]
    assert {file.name for file in place.files()} == {lacking.name}
    assert not place.run(**home)["compiled"]


def test_four_processes_start_cold_at_once(place):
    processes = [place.start() for _ in range(4)]
    results = [place.finish(process) for process in processes]
    assert all(said["error"] < 1e-13 for said in results)
    assert all(said["g"] == results[0]["g"] for said in results)
    files = place.files()
    assert {file.suffix for file in files} == {".bin"}  # nothing half written is left
    assert not place.run()["compiled"]
    assert place.files() == files


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="names processors of x86-64",
)
@pytest.mark.parametrize("cpu", ["generic", "haswell"])
def test_other_processors_share_a_cache(warm, cpu):
    # Registers of 128 and 256 bits: other code, from files of its own.
    if cpu == "haswell" and not llvmlite.binding.get_host_cpu_features().get("avx2"):
        pytest.skip("no AVX2 here")
    environment = {"NUMBA_CPU_NAME": cpu}
    if cpu == "generic":
        environment["NUMBA_CPU_FEATURES"] = ""
    here = warm.run()
    said = warm.run(**environment)
    np.testing.assert_allclose(said["g"], here["g"], rtol=1e-12, atol=1e-15)
    again = warm.run(**environment)
    assert not again["compiled"]
    assert again["g"] == said["g"]
    assert not warm.run()["compiled"]


def test_import_does_not_import_numba(place):
    code = "import fastbp, json, sys; fastbp.Network(2, 3); fastbp.losses, fastbp.reference\n"
    code += "print(json.dumps('numba' in sys.modules))"
    assert place.finish(place.start("-c", code)) is False


CHILDREN = """
import json, multiprocessing, sys, threading
import numpy as np
import fastbp

def gradient(net, seed, pipe=None):
    rng = np.random.default_rng(seed)
    w, X, t = rng.standard_normal(16), rng.standard_normal((3000, 3)), rng.standard_normal(3000)
    g = net.loss_and_grad(w, X, t)[1]
    if pipe is None:
        return g
    pipe.send(g)

if __name__ == "__main__":
    net = fastbp.Network(3, 4)
    want = gradient(net, 0)
    equal = {}
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        here, there = context.Pipe()
        child = context.Process(target=gradient, args=(net, 0, there))
        child.start()
        equal[method] = here.poll(120) and bool((here.recv() == want).all())
        child.join()
        equal[method] = equal[method] and child.exitcode == 0
    print(json.dumps(equal))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_children_compute_the_same(place):
    (place.folder / "children.py").write_text(CHILDREN, encoding="utf-8")
    equal = place.finish(place.start("children.py"))
    assert equal == {"fork": True, "spawn": True}
