"""fastbp beside NumPy, PyTorch and JAX: the same calls on one core, timed in turns in one process.

    python asv_bench/peers.py                                    # every call, a quarter of an hour
    python asv_bench/peers.py --quick                            # a minute: is anything far off?
    python asv_bench/peers.py --calls loss_and_grad --shapes 1,4,8 256,64,256 --dtypes float32
    python asv_bench/peers.py --calls several                    # several outputs, two losses
    python asv_bench/peers.py --json docs/peers.json
    python asv_bench/peers.py --read docs/peers.json --calls loss_and_grad --plot docs/peers.svg
    python asv_bench/peers.py --least 1.05                       # exit 1 where a ratio is below

Peers come with ``pip install --group peers`` (for PyTorch, see its own page first: a plain install
takes a GPU build on Linux); one that is missing is skipped. All results are compared before
anything is timed. The *floor* of `loss_and_grad` is B·H·t_act + 4·B·N·H / peak: one activation with
its derivative for each neuron and observation, and the two matrix products at the speed of the
FMA units, both measured in the same run.
"""

import _one_core  # noqa: F401, I001 - before NumPy starts its threads

import argparse
import functools
import importlib.metadata
import json
import platform
import sys

import numpy as np
from numba import njit

import fastbp
from _peers import (
    FIRST,
    PEERS,
    SECOND,
    SEVERAL,
    calls_of_fastbp,
    make,
    make_several,
    several_of_fastbp,
)
from benchmarks._measure import best_times, problem

# (B, N, H): common sizes, then odd ones, which fill no vector and no tile.
SHAPES = [
    (1, 4, 8),
    (1, 16, 64),
    (32, 4, 16),
    (32, 12, 64),
    (256, 16, 128),
    (256, 64, 256),
    (1024, 128, 512),
    (512, 784, 1024),
    (4096, 8, 32),
    (2, 3, 5),
    (3, 1, 1),
    (7, 5, 9),
    (48, 7, 33),
    (100, 13, 31),
    (65, 17, 97),
    (257, 33, 129),
    (1000, 3, 21),
    (5, 100, 300),
]
QUICK = [(1, 4, 8), (32, 12, 64), (48, 7, 33), (256, 64, 256), (4096, 8, 32)]
# The other calls at fewer shapes; per-sample gradients of larger ones would measure the memory.
OTHERS = [(1, 4, 8), (32, 12, 64), (48, 7, 33), (256, 16, 128), (256, 64, 256), (4096, 8, 32)]
MOST_NUMBERS = 10_000_000  # of per_sample_grad
# (B, N, H, K): `loss_and_grad` of several outputs.
SEVERAL_SHAPES = [(256, 16, 64, 10), (32, 12, 16, 3), (1024, 32, 128, 16), (1, 6, 32, 4)]
LOSSES = ("squared", "cross_entropy")
CALLS = ("loss_and_grad", *FIRST, *SECOND, "several")
TOLERANCE = {"float64": 1e-10, "float32": 5e-4}


@njit(fastmath={"contract"}, error_model="numpy")
def _multiply_add(x, y, c0, c1, c2, c3, rounds):
    for _ in range(rounds):
        for i in range(x.size):
            v = x[i]
            a0 = a1 = a2 = a3 = v
            for _ in range(8):
                a0 = a0 * v + c0
                a1 = a1 * v + c1
                a2 = a2 * v + c2
                a3 = a3 * v + c3
            y[i] = (a0 + a1) + (a2 + a3)


class Machine:
    """Two speeds of this core, measured again and again during a run; the best of each counts.

    Parameters
    ----------
    dtype : str
        Number type.
    """

    def __init__(self, dtype):
        x = np.linspace(0.1, 0.5, 1024, dtype=dtype)
        args = (x, np.empty_like(x), *np.array([0.1, 0.2, 0.3, 0.4], dtype), 50)
        # Four polynomials of degree 8 of every number, all in the first-level cache. The three
        # additions that join them are not counted.
        self._operations = 2 * 4 * 8 * 50 * len(x)
        self._peak = lambda: _multiply_add(*args)
        shape = B, _, H = 480, 1, 64
        self._numbers = B * H
        self._networks = []
        for activation in ("tanh", "identity"):
            net, w, X, t = problem(shape, dtype, activation)
            call = functools.partial(net.loss_and_grad, w, X, t, out=np.empty_like(w))
            self._networks.append(call)
        self._best = [np.inf] * 3

    def measure(self, seconds):
        """Take turns for so long."""
        self._best = np.minimum(self._best, best_times([self._peak, *self._networks], seconds))

    @property
    def peak(self):
        """Operations in a second, an addition and a multiplication counting as two."""
        return self._operations / self._best[0]

    @property
    def activation_time(self):
        """Seconds for tanh and its derivative at one number: what they take of a network's time.

        That of the same network with the identity in their place, 0.1 ns a number, is taken off.
        """
        return (self._best[1] - self._best[2]) / self._numbers


def kind():
    """Say what this machine is and what was compared, without its name."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    versions = {"Python": platform.python_version(), "fastbp": fastbp.__version__}
    for package in ("numba", "numpy", "torch", "jax"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": model, "system": platform.system(), "versions": versions}


def numbers(result):
    """Flatten what a call returns into one array: the loss, if any, before the gradient."""
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(part.detach() if hasattr(part, "detach") else part)
                           for part in parts])  # fmt: skip


def check(call, shape, dtype, results):
    """Exit unless all results are the same up to rounding."""
    results = {name: numbers(result).astype(np.float64) for name, result in results.items()}
    expected = results["fastbp"]
    for name, other in results.items():
        error = np.abs(other - expected).max() / np.abs(expected).max()
        if not error <= TOLERANCE[dtype]:
            sys.exit(f"{call} at {shape} in {dtype}: fastbp and {name} differ by {error:.1e}")


def timed(call, shape, dtype, each, seconds):
    """Compare what functions return, and time them: the row of a table."""
    check(call, shape, dtype, {name: function() for name, function in each.items()})
    times = dict(zip(each, best_times(list(each.values()), seconds), strict=True))
    print(".", end="", file=sys.stderr, flush=True)
    ratios = {name: time / times["fastbp"] for name, time in times.items() if name != "fastbp"}
    return {"call": call, "shape": shape, "dtype": dtype, "seconds": times, "ratios": ratios}


def measure_several(loss, shapes, dtype, peers, seconds):
    """Time `loss_and_grad` of several outputs at every shape."""
    rows = []
    for shape in shapes:
        problem = make_several(shape, dtype, loss)
        each = {"fastbp": several_of_fastbp, **{name: SEVERAL[name] for name in peers}}
        functions = {name: function(problem) for name, function in each.items()}
        rows.append(timed(f"several, {loss}", shape, dtype, functions, seconds))
    return rows


def measure(call, shapes, dtype, machine, peers, seconds):
    """Time one call at every shape: the rows of a table."""
    rows = []
    for shape in shapes:
        problem = make(shape, dtype)
        if call == "per_sample_grad" and problem.X.shape[0] * problem.w.size > MOST_NUMBERS:
            continue
        libraries = {"fastbp": calls_of_fastbp, **peers}
        each = {name: calls(problem).get(call) for name, calls in libraries.items()}
        each = {name: function for name, function in each.items() if function is not None}
        if "fastbp" not in each:
            continue
        machine.measure(seconds / 10)
        rows.append(timed(call, shape, dtype, each, seconds))
    for row in rows:  # when all is measured: the peak is the best of the whole run
        B, N, H = row["shape"]
        own = row["seconds"]["fastbp"]
        if call == "loss_and_grad":
            products = 4 * B * N * H / machine.peak
            row["share_of_peak"] = products / own
            row["over_floor"] = own / (products + B * H * machine.activation_time)
    return rows


def text(seconds):
    """Format a time with three digits."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def show(rows):
    """Print one table, with the geometric means of its ratios."""
    names = sorted({name for row in rows for name in row["ratios"]}, key=list(PEERS).index)
    floor = "over_floor" in rows[0]
    axes = ", ".join("BNHK"[: len(rows[0]["shape"])])
    head = f"{axes:>15} {'fastbp':>9}" + "".join(f"{name:>9}" for name in names)
    print(head + (f"{'of peak':>9}{'/ floor':>9}" if floor else ""))
    for row in rows:
        line = f"{', '.join(map(str, row['shape'])):>15} {text(row['seconds']['fastbp']):>9}"
        for name in names:
            line += f"{row['ratios'][name]:>8.2f}×" if name in row["ratios"] else " " * 9
        if floor:
            line += f"{row['share_of_peak']:>9.0%}{row['over_floor']:>9.2f}"
        print(line)
    means = geometric_means(rows)
    print(f"{'geometric mean':>25}" + "".join(f"{means[name]:>8.2f}×" for name in names))


def geometric_means(rows):
    """Geometric mean of the ratios for each peer."""
    logs = {}
    for row in rows:
        for name, ratio in row["ratios"].items():
            logs.setdefault(name, []).append(np.log(ratio))
    return {name: float(np.exp(np.mean(values))) for name, values in logs.items()}


def plot(result, calls, file):
    """Draw the ratios of these calls: a row of panels for each, a panel for each number type."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = {}
    for row in result["rows"]:
        if row["call"].split(",")[0] in calls:
            kinds.setdefault(row["call"], []).append(row)
    dtypes = list(dict.fromkeys(row["dtype"] for rows in kinds.values() for row in rows))
    heights = [0.6 + 0.24 * len({tuple(row["shape"]) for row in rows}) for rows in kinds.values()]
    figure, axes = plt.subplots(
        len(kinds),
        len(dtypes),
        figsize=(4.6 * len(dtypes), 1.2 + sum(heights)),
        height_ratios=heights,
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for panels, (call, rows) in zip(axes, kinds.items(), strict=True):
        shapes = sorted({tuple(row["shape"]) for row in rows}, key=lambda s: (np.prod(s), s))
        for axis, dtype in zip(panels, dtypes, strict=True):
            _draw(axis, [row for row in rows if row["dtype"] == dtype], shapes)
            title = call.replace("several", "K outputs")
            axis.set_title(f"{title}, {dtype}", fontsize="medium")
        panels[0].set_yticks(range(len(shapes)), [", ".join(map(str, s)) for s in shapes])
        panels[0].set_ylim(len(shapes) - 0.4, -0.6)
        panels[0].set_ylabel(", ".join("BNHK"[: len(shapes[0])]))
    for axis in axes[-1]:
        axis.set_xlabel("peer's time / fastbp's; fastbp faster →")
    marks = {mark.get_label(): mark for axis in axes.flat for mark in axis.lines[1:]}
    figure.legend(marks.values(), marks, loc="outside lower center", ncols=len(marks))
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    figure.suptitle(
        f"One core of {machine['processor']}; shapes by their work\n{versions}", fontsize="medium"
    )
    figure.savefig(file, dpi=200)


STYLES = {"NumPy": ("o", "#0072b2"), "PyTorch": ("s", "#d55e00"), "JAX": ("^", "#009e73")}


def _draw(axis, rows, shapes):
    axis.axvline(1.0, color="black", linewidth=1)
    for name, (mark, colour) in STYLES.items():
        points = [
            (row["ratios"][name], shapes.index(tuple(row["shape"])))
            for row in rows
            if name in row["ratios"]
        ]
        if points:
            # Open marks, so that none hides another.
            style = {"markerfacecolor": "none", "markeredgewidth": 1.6, "markersize": 6.5}
            axis.plot(*zip(*points, strict=True), mark, color=colour, label=name, **style)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}×")
    axis.grid(color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)


def shape_of(argument):
    """Parse "B,N,H", or "B,N,H,K" of several outputs."""
    shape = tuple(int(number) for number in argument.split(","))
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"a shape is B,N,H or B,N,H,K; got {argument}")
    return shape


def installed_peers():
    """Return the peers that can be imported; say so of the others."""
    present = {}
    for name, calls in PEERS.items():
        try:
            calls(make((1, 1, 1), "float64"))
        except ImportError as error:
            print(f"{name} is skipped: {error}")
        else:
            present[name] = calls
    return present


def run(options):
    """Measure everything asked for, printing each table when it is complete."""
    peers = installed_peers()
    result = {"machine": kind(), "speeds": {}, "rows": []}
    print(json.dumps(result["machine"], ensure_ascii=False), flush=True)
    for dtype in options.dtypes:
        machine = Machine(dtype)
        machine.measure(options.seconds)
        for call in options.calls:
            if call == "several":
                shapes = [shape for shape in options.shapes or SEVERAL_SHAPES if len(shape) == 4]
                for loss in LOSSES if shapes else ():
                    rows = measure_several(loss, shapes, dtype, peers, options.seconds)
                    print(f"\nloss_and_grad of several outputs, {loss}, {dtype}")
                    show(rows)
                    result["rows"] += rows
                continue
            usual = QUICK if options.quick else SHAPES if call == "loss_and_grad" else OTHERS
            shapes = [shape for shape in options.shapes or usual if len(shape) == 3]
            rows = measure(call, shapes, dtype, machine, peers, options.seconds)
            if rows:
                print(f"\n{call}, {dtype}: time, and how many times longer the peers take")
                show(rows)
            result["rows"] += rows
        speeds = {"peak": machine.peak, "activation_time": machine.activation_time}
        result["speeds"][dtype] = speeds
        print(
            f"\n{dtype}: peak {machine.peak / 1e9:.1f} GFLOP/s, "
            f"tanh with derivative {machine.activation_time * 1e9:.2f} ns"
        )
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", type=shape_of, metavar="B,N,H[,K]")
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=CALLS)
    parser.add_argument("--dtypes", nargs="+", choices=TOLERANCE, default=tuple(TOLERANCE))
    parser.add_argument("--seconds", type=float, help="for each row (default 1.5)")
    parser.add_argument("--quick", action="store_true", help="few shapes, 0.3 seconds for each")
    parser.add_argument("--least", type=float, metavar="R", help="exit 1 where a ratio is below R")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")
    parser.add_argument("--read", metavar="FILE", help="take what an earlier run wrote instead")
    parser.add_argument("--plot", metavar="FILE", help="draw these calls: .svg or .png")
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = 0.3 if options.quick else 1.5
    if options.read:
        with open(options.read) as file:
            result = json.load(file)
    else:
        result = run(options)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1, ensure_ascii=False)
    if options.plot:
        plot(result, options.calls, options.plot)
    below = [
        f"{row['call']} at {tuple(row['shape'])} in {row['dtype']}: {name} {ratio:.2f}"
        for row in result["rows"]
        for name, ratio in row["ratios"].items()
        if options.least is not None and ratio < options.least
    ]
    if below:
        sys.exit("\n".join([f"{len(below)} ratios below {options.least}:", *below]))


if __name__ == "__main__":
    main()
