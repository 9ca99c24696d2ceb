"""Is it slower than it was? This tree and an earlier commit take turns on one core: two minutes.

    python asv_bench/since.py                    # beside the last commit a week old, or the first
    python asv_bench/since.py HEAD~10            # beside a commit

For each of 16 calls: the best time then and now, their ratio, and SLOWER above 1.05. Both sides go
through public calls only, and keep their machine code apart.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import _one_core  # noqa: F401 - before NumPy, and for both sides
import numpy as np
from benchmarks._measure import DTYPES, problem, repetitions

import fastbp

ROOT = Path(__file__).resolve().parent.parent
SHAPES = [(1, 4, 8), (32, 12, 64), (256, 16, 128), (256, 64, 256), (4096, 8, 32)]
LIMIT = 1.05
# Processes of each side, one after the other: one in ten has its memory where all is 10 % slower.
PAIRS = 4


def calls():
    """Return the calls by name: without arguments, and with compiled code."""
    named = {}
    for shape in SHAPES:
        for dtype in DTYPES:
            net, w, X, t = problem(shape, dtype)
            name = f"loss_and_grad {shape} {dtype}"
            named[name] = partial(net.loss_and_grad, w, X, t, out=np.empty_like(w))
    net, w, X, t = problem((256, 16, 64), "float64")
    named["value"] = partial(net.value, w, X)
    named["hvp"] = partial(net.hvp, w, X, t, w)
    named["objective"] = partial(net.objective(X, t), w, out=np.empty_like(w))
    net, w, X, t = problem((200, 3, 10), "float64")
    named["gauss_newton (200, 3, 10)"] = partial(net.gauss_newton, w, X, t)
    net, w, X, t = problem((442, 10, 16), "float64")
    fit = partial(fastbp.fit, net, X, t, w0=w, progress=False)
    named["fit: 40 epochs of SGD"] = partial(fit, optimizer="sgd", epochs=40, batch_size=32)
    named["fit: 20 steps of Levenberg-Marquardt"] = partial(fit, optimizer="lm", epochs=20)
    return named


def side():
    """Print where fastbp is and the names of the calls; then a call's time for each name read."""
    print(Path(fastbp.__file__).resolve().parent.parent)
    each = calls()
    numbers = {name: repetitions(call, 0.004) for name, call in each.items()}
    print(*each, sep="\t", flush=True)
    for line in sys.stdin:
        name = line.rstrip("\n")
        call, turns = each[name], range(numbers[name])
        start = time.perf_counter()
        for _ in turns:
            call()
        print((time.perf_counter() - start) / len(turns), flush=True)


class Side:
    """A process with the package of one tree."""

    def __init__(self, tree, cache):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--side"],
            env=os.environ | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(cache)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self._line()
        if Path(found) != tree.resolve():
            raise SystemExit(f"fastbp of {tree} was asked for; Python found that of {found}")
        self.names = self._line().split("\t")

    def time(self, name):
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _line(self):
        line = self.process.stdout.readline().rstrip("\n")
        if not line:
            raise SystemExit("a side ended early; its error stands above")
        return line


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def default_rev():
    old = git("rev-list", "-1", "--before=1 week ago", "HEAD") or git(
        "rev-list", "--max-parents=0", "HEAD"
    )
    return old.decode().split()[0]


def compare(rev, seconds):
    """Print the table."""
    print(f"then: {git('log', '-1', '--format=%h %cs %s', rev).decode().strip()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        then = Path(folder, "then")
        with tarfile.open(fileobj=io.BytesIO(git("archive", rev, "fastbp"))) as archive:
            archive.extractall(then, filter="data")
        best = {}
        for _ in range(PAIRS):
            sides = [Side(then, Path(folder, "cache_then")), Side(ROOT, Path(folder, "cache_now"))]
            end = time.perf_counter() + seconds / PAIRS
            while time.perf_counter() < end:
                for name in sides[0].names:
                    times = best.setdefault(name, [np.inf, np.inf])
                    for i, each in enumerate(sides):
                        times[i] = min(times[i], each.time(name))
            for each in sides:
                each.close()
    print(f"{'':40}{'then':>13}{'now':>13}{'ratio':>7}")
    for name, (before, now) in best.items():
        mark = "  SLOWER" if now > LIMIT * before else ""
        print(f"{name:40}{1e6 * before:10.2f} µs{1e6 * now:10.2f} µs{now / before:7.2f}{mark}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rev", nargs="?", metavar="REV")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to time both sides")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side()
    else:
        compare(options.rev or default_rev(), options.seconds)


if __name__ == "__main__":
    main()
