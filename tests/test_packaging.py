"""What is installed, what an import brings in, and what the metadata say."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fastbp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imported_by(code):
    """Return the modules that a fresh process has after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {module.partition(".")[0] for module in json.loads(done.stdout)}


def built(target, tree, folder):
    """Build a wheel or an sdist from a tree; its path."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder],
        cwd=tree,
        check=True,
        capture_output=True,
    )
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Build the sdist from the tree as it is, and unpack it."""
    path = built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"fastbp-{fastbp.__version__}"


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Build the wheel from the sdist; its names and its METADATA."""
    path = built("wheel", sdist, tmp_path_factory.mktemp("wheel"))
    assert path.name == f"fastbp-{fastbp.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return names, archive.read(metadata).decode()


def test_version_is_the_same_everywhere():
    assert fastbp.__version__ == PROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {fastbp.__version__}\n" in citation


def test_sdist_holds_what_a_packager_needs(sdist):
    for tree in ("fastbp", "tests", "docs", "asv_bench/benchmarks"):
        files = {path.name for path in (ROOT / tree).iterdir() if path.is_file()}
        assert files == {path.name for path in (sdist / tree).iterdir() if path.is_file()}
    for file in (
        ".ci/run",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "asv_bench/asv.conf.json",
        "pyproject.toml",
        "tests/data/signatures.txt",
    ):
        assert (sdist / file).is_file(), file


def test_installed_version_is_that_of_the_tree():
    try:
        installed = importlib.metadata.version("fastbp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fastbp is on the path, not installed")
    assert installed == fastbp.__version__


def test_wheel_holds_the_package_with_its_data_and_nothing_else(wheel):
    names, _ = wheel
    assert {
        "fastbp/__init__.py",
        "fastbp/__main__.py",
        "fastbp/py.typed",
        "fastbp/datasets/diabetes.csv",
        "fastbp/datasets/diabetes.txt",
    } <= set(names)
    assert {name.partition("/")[0] for name in names} == {
        "fastbp",
        f"fastbp-{fastbp.__version__}.dist-info",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_metadata_of_the_wheel(wheel):
    _, metadata = wheel
    lines = metadata.splitlines()
    core = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [line.partition(">=")[0] for line in core] == [
        "Requires-Dist: numba",
        "Requires-Dist: numpy",
    ]
    assert "Requires-Python: >=3.10" in lines
    assert "License-Expression: BSD-3-Clause" in lines
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if "Provides-Extra" in line}
    assert extras == {"all", "cli", "dask", "plot", "scipy", "sklearn"}


def test_no_dependency_is_capped():
    groups = PROJECT["project"]["optional-dependencies"] | PROJECT["dependency-groups"]
    wanted = [*PROJECT["project"]["dependencies"], *(r for group in groups.values() for r in group)]
    capped = [r for r in wanted if isinstance(r, str) and any(c in r for c in "<~!")]
    # But for Dask, of which more is used than its releases promise (`_dask/cluster.py`).
    assert sorted(r.partition(">")[0] for r in capped) == ["dask[array]", "distributed"]


@pytest.mark.parametrize(
    "code",
    [
        "import fastbp",
        "import fastbp; [getattr(fastbp, name) for name in fastbp.__all__]",
        "import fastbp; fastbp.Network(3, activations=['tanh', 'gelu']).init(0)",
        "from fastbp import _cli",
    ],
)
def test_numba_and_the_optional_packages_are_imported_only_where_used(code):
    heavy = {*"numba llvmlite scipy sklearn matplotlib pandas tqdm dask distributed".split()}
    assert not imported_by(code) & heavy


def test_import_of_the_name_alone_does_not_bring_numpy_either():
    assert "numpy" not in imported_by("import fastbp")


def test_public_names():
    assert len(set(fastbp.__all__)) == len(fastbp.__all__)
    for name in fastbp.__all__:
        assert getattr(fastbp, name) is not None
        assert name in dir(fastbp)
    assert not {"sklearn", "dask"} & {*fastbp.__all__}  # of extras
    code = "import fastbp; fastbp.sklearn.NetworkRegressor; fastbp.dask.fit"
    assert {"sklearn", "distributed"} <= {*imported_by(code)}
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fastbp.no_such_name
