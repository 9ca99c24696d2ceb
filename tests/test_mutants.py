"""Apply each fault of `mutants.py` to a copy of the package, and see the suite fail by it.

A session of its own, ten minutes long on two cores: ``pytest -m mutants -n auto``. With
FASTBP_MUTANTS=n in the environment, every n-th fault.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS

ROOT = Path(__file__).parents[1]
PLANTED = MUTANTS[:: int(os.environ.get("FASTBP_MUTANTS", "1"))]
KILLERS = sorted({test for mutant in PLANTED for test in mutant.killed_by})


@pytest.fixture
def copy(tmp_path):
    """Return a copy of what a run of the suite needs."""
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("fastbp", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(copy, *arguments):
    """Run Python in the copy, which comes before any installed package."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )


def run_tests(copy, tests):
    """Run tests and return the exit status of pytest, and its output."""
    nodes = [f"tests/{test}" for test in tests]
    options = ["-q", "-rfE", "--tb=line", "-p", "no:cacheprovider", "-m", "not mutants"]
    done = run(copy, "-m", "pytest", *options, *nodes)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_fault_stands_once_in_the_source(mutant):
    source = (ROOT / "fastbp" / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert mutant.killed_by


@pytest.mark.mutants
def test_unchanged_copy_passes(copy):
    where = run(copy, "-c", "import fastbp.reference; print(fastbp.reference.__file__)").stdout
    assert Path(where.strip()).resolve() == (copy / "fastbp" / "reference.py").resolve()
    status, output = run_tests(copy, KILLERS)
    assert status == pytest.ExitCode.OK, output


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.name)
def test_mutant_is_killed(mutant, copy):
    path = copy / "fastbp" / mutant.file
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    status, output = run_tests(copy, mutant.killed_by)
    # Not interrupted, nor wrong on the command line: tests ran, and these failed.
    assert status == pytest.ExitCode.TESTS_FAILED, output
    failures = [
        line.removeprefix("FAILED ").partition(" - ")[0]
        for line in output.splitlines()
        if line.startswith("FAILED ")
    ]
    for test in mutant.killed_by:
        node = f"tests/{test}"  # of a parametrised test, or of one case of it
        assert any(node in (failed, failed.split("[")[0]) for failed in failures), (test, output)
