"""The README's scripts run as they stand, and its two commands are what CI runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def title(script):
    return "loop" if "load_diabetes" in script else "fit"


def run(script, folder):
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", path],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=title)
def test_script_runs_without_a_warning(script, tmp_path):
    assert run(script, tmp_path)


def test_training_script_is_short_and_trains(tmp_path):
    (script,) = (script for script in SCRIPTS if "load_diabetes" in script)
    assert len(script.splitlines()) <= 40
    printed = run(script, tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+)", printed)]
    assert len(losses) == 6 and losses[-1] < 0.5 * losses[0]
    network, linear = map(float, re.findall(r"(?:network|linear) (\d\.\d+)", printed))
    assert network > linear - 0.02


@pytest.mark.parametrize("name", ["train", "test"])
def test_command_is_marked_for_ci_and_starts_from_nothing(name):
    marked = re.findall(rf"^<!-- command: {name} -->\n```sh\n(.*)\n```$", README, re.MULTILINE)
    (command,) = marked
    assert command.startswith("python3 -m venv .venv && ")
    assert f"from_readme {name}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
