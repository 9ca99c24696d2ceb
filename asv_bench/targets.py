"""The performance targets that concern fastbp alone, each measured: what, target, measured, ok.

    python asv_bench/targets.py                  # all of them, about five minutes
    python asv_bench/targets.py calls steps      # some; --list names them

Exits 1 where a target is missed. `peers.py` is the comparison with other libraries.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(
    dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
)

import numpy as np
from benchmarks._measure import DTYPES, best_times, problem, ratio
from benchmarks.start import ONE as FIRST
from benchmarks.start import FirstCall

import fastbp

# Sixteen activations of very different cost.
MIXED = (
    "tanh logistic softplus identity relu leaky_relu elu selu silu gelu softsign arctan sin "
    "gaussian erf log_cosh"
).split()


class Report:
    """Prints a line for each target and counts those missed."""

    def __init__(self):
        self.missed = 0

    def line(self, what, target, measured, ok):
        self.missed += not ok
        print(f"{what:<62} {target:>11} {measured:>11}  {'ok' if ok else 'short'}", flush=True)

    def at_most(self, what, target, measured, unit=""):
        self.line(what, f"<= {target:g}{unit}", f"{measured:.3g}{unit}", measured <= target)

    def at_least(self, what, target, measured, unit=""):
        self.line(what, f">= {target:g}{unit}", f"{measured:.3g}{unit}", measured >= target)


def calls(report):
    """The cost of a call from Python at (1, 4, 8), with the result made by the call and given."""
    for dtype in DTYPES:
        for what, target, took in _calls(dtype):
            report.at_most(f"{what} at (1, 4, 8), {dtype}", target, 1e6 * took, " µs")


def _calls(dtype):
    net, w, X, t = problem((1, 4, 8), dtype)
    x, g = X[0], np.empty_like(w)
    objective = net.objective(X, t)
    each = {
        "loss_and_grad(w, X, t)": (0.50, lambda: net.loss_and_grad(w, X, t)),
        "objective(w)": (0.40, lambda: objective(w)),
        "value_and_grad(w, x)": (0.40, lambda: net.value_and_grad(w, x)),
        "loss_and_grad(w, X, t, out=g)": (0.50, lambda: net.loss_and_grad(w, X, t, out=g)),
        "objective(w, out=g)": (0.40, lambda: objective(w, out=g)),
        "value_and_grad(w, x, out=g)": (0.40, lambda: net.value_and_grad(w, x, out=g)),
    }
    times = best_times([call for _, call in each.values()], 3.0)
    return [(what, each[what][0], took) for what, took in zip(each, times, strict=True)]


def mixed(report):
    """64 neurons with 16 different activations beside 64 times tanh."""
    shape = (256, 16, 64)
    for dtype in DTYPES:
        for order, names in (("mixed", MIXED * 4), ("in runs", sorted(MIXED * 4))):
            measured = ratio(_loss_and_grad(shape, dtype, names), _loss_and_grad(shape, dtype), 1.0)
            what = f"16 activations, {order}, to all-tanh at {shape}, {dtype}"
            report.at_most(what, 2.5, measured, "×")


def steps(report):
    """Neighbouring shapes: how far the time jumps when B, N or H grows by one."""
    limit = 1.35
    sweeps = {
        "B": [(n, 16, 64) for n in range(1, 70)],
        "N": [(64, n, 32) for n in range(8, 70)],
        "H": [(64, 16, n) for n in range(8, 70)],
        "N, one observation": [(1, n, 32) for n in range(8, 70)],
        "H, one observation": [(1, 16, n) for n in range(8, 70)],
    }
    for base in ((256, 16, 128), (240, 64, 96), (512, 48, 64)):
        for axis, name in enumerate("BNH"):
            sizes = range(base[axis] - 2, base[axis] + 3)
            shapes = [(*base[:axis], n, *base[axis + 1 :]) for n in sizes]
            sweeps[f"{name} around {base}"] = shapes
    for dtype in DTYPES:
        for name, shapes in sweeps.items():
            each = [_loss_and_grad(shape, dtype) for shape in shapes]
            times = best_times(each, 0.03 * len(each))
            worst, found = 1.0, []
            for i in range(len(each) - 1):
                step = max(times[i + 1] / times[i], times[i] / times[i + 1])
                if step > limit:  # a disturbance, perhaps: once more, the two alone
                    first, second = best_times(each[i : i + 2], 0.3)
                    step = max(first / second, second / first)
                worst = max(worst, step)
                if step > limit:
                    found.append(f"  {shapes[i]} {times[i] * 1e6:.2f} µs, then "
                                 f"{shapes[i + 1]} {times[i + 1] * 1e6:.2f} µs")  # fmt: skip
            report.at_most(f"largest step along {name}, {dtype}", limit, worst, "×")
            print("".join(line + "\n" for line in found), end="")


def _loss_and_grad(shape, dtype, activations="tanh"):
    net, w, X, t = problem(shape, dtype, activations)
    g = np.empty_like(w)
    return lambda: net.loss_and_grad(w, X, t, out=g)


def threads(report):
    """Two threads beside one, and the same bits whatever their number."""
    for dtype in DTYPES:
        for shape in ((1024, 128, 512), (4096, 64, 256)):
            net, w, X, t = problem(shape, dtype)
            results = [net.loss_and_grad(w, X, t, threads=n) for n in (1, 2, 3, 7)]
            same = all(
                loss == results[0][0] and np.array_equal(g, results[0][1]) for loss, g in results
            )
            what = f"1, 2, 3 and 7 threads at {shape}, {dtype}"
            report.line(what, "same bits", "same bits" if same else "different", same)
            gain = ratio(
                lambda net=net, w=w, X=X, t=t: net.loss_and_grad(w, X, t),
                lambda net=net, w=w, X=X, t=t: net.loss_and_grad(w, X, t, threads=2),
                2.0,
            )
            report.at_least(f"two threads at {shape}, {dtype}", 1.75, gain, "×")


def start(report):
    """A fresh process to its first gradient, without and with stored code."""
    first = FirstCall()
    first.setup()
    try:
        cold, second = first.seconds()
        programs = ("import numpy", FIRST)
        rounds = [[_process(program, first.folder) for program in programs] for _ in range(9)]
    finally:
        first.teardown()
    least = np.array(rounds).min(axis=0)
    (numpy, numpy_memory), (cached, memory) = least
    report.at_most("first call ever, with all imports", 4.0, cold, " s")
    report.at_most("a second set of activations", 1.5, second, " s")
    report.at_most("a process with stored code, to that of NumPy alone", 1.8, cached / numpy, "×")
    report.at_most("its peak memory over NumPy's", 56, memory - numpy_memory, " MiB")
    print(f"processes: import numpy {numpy:.3f} s, first gradient {cached:.3f} s")


# Linux's ru_maxrss begins at the parent's memory: its own file says what this process held.
_PEAK = """
import sys
if sys.platform == "linux":
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            print(int(line.split()[1]) / 1024)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def _process(program, folder):
    """Seconds that a process takes, and the most memory that it held (MiB)."""
    program += f"\n{_PEAK}"
    environment = os.environ | {"NUMBA_CACHE_DIR": folder}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    took = time.perf_counter() - start
    return took, float(done.stdout.split()[-1])


def memory(report):
    """What one call at B = 1,000,000 adds to the peak of a process that holds the data."""
    program = (
        "from benchmarks.memory import LossAndGrad as Case\n"
        "case = Case(); case.setup(1_000_000); print(case.track_growth(1_000_000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    growth = float(done.stdout)
    report.at_most("memory over X and t at (1000000, 32, 64)", 32, growth, " MiB")


def tables(report):
    """Reading 200,000 rows and 20 columns of numbers, as `fastbp train` does, beside pandas."""
    programs = {
        "pandas": "import pandas\npandas.read_csv({!r})",
        "fastbp": "import pandas\nfrom fastbp._cli.reading import read\nread({!r})",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "numbers.csv")
        rows = np.random.default_rng(0).normal(size=(200_000, 20)).tolist()
        with open(path, "w") as file:
            file.write(",".join(f"x{k}" for k in range(20)) + "\n")
            file.writelines(",".join(map(repr, row)) + "\n" for row in rows)
        bare = [_process("import pandas", folder) for _ in range(5)]
        rounds = [[_process(p.format(path), folder) for p in programs.values()] for _ in range(5)]
    (theirs, their_memory), (ours, memory) = np.array(rounds).min(axis=0)
    start, _ = np.array(bare).min(axis=0)
    report.at_most(
        "a table of (200000, 20), to pandas.read_csv", 2.0, (ours - start) / (theirs - start), "×"
    )
    report.at_most("its peak memory, to that of pandas", 1.5, memory / their_memory, "×")


TARGETS = {each.__name__: each for each in (calls, mixed, steps, threads, start, memory, tables)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--list", action="store_true", help="name them")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<8} {each.__doc__}" for name, each in TARGETS.items()))
        return
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    report = Report()
    print(f"fastbp {fastbp.__version__}; {'what':<49} {'target':>10} {'measured':>11}")
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    for name in options.targets or TARGETS:
        if affinity:  # one core, and one only, but for threads; others gather on the first
            os.sched_setaffinity(0, affinity if name == "threads" else {max(affinity)})
        TARGETS[name](report)
    sys.exit(report.missed > 0)


if __name__ == "__main__":
    main()
