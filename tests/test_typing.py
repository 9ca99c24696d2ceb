"""A user's type checker finds the types of the public face, and refuses what is none of it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_uses_have_the_types_they_say():
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typed_uses.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
