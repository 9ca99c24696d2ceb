"""What the commands show: lines, a table of results (by rich on a terminal), a figure."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from . import columns as columns

if TYPE_CHECKING:
    from .problem import Problem
    from .train import Fit

Rows = Sequence[tuple[str, str]]


def plain(line: str) -> None:
    """Print a line at once, even into a pipe."""
    print(line, flush=True)


def silent(line: str) -> None:
    """Print nothing."""


def table(rows: Rows) -> None:
    """Print labels and values: a line each, or on a terminal a table if rich is there."""
    if sys.stdout.isatty():
        try:
            from rich import box
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            shown = Table(box=box.SIMPLE, show_header=False)
            for label, value in rows:
                shown.add_row(Text(label, style="bold"), Text(value))
            Console().print(shown)
            return
    width = max(len(label) for label, _ in rows) + 1
    for label, value in rows:
        print(f"{label + ':':{width}} {value}")


def train_rows(results: dict[str, Any]) -> Rows:
    """Return what a fit reached."""
    training, held_out = results["training"], results["held_out"]
    rows = [
        ("fit", f"{training['optimizer']}, {training['steps']} steps: {training['reason']}"),
        ("training loss with penalty", f"{training['reached']:.6f}"),
    ]
    if held_out:
        what = f"held-out {held_out['measure']}"
        rows += [
            (f"{what}, network", _four_digits(held_out["network"])),
            (f"{what}, linear least squares", _four_digits(held_out["linear"])),
        ]
    for when, difference in results["gradient_difference"].items():
        rows.append((f"kernel against reference gradient, {when}", f"{difference:.1e}"))
    for which, seconds in results["gradient_seconds"].items():
        rows.append((f"time of one gradient, {which}", f"{seconds * 1e6:.1f} us"))
    rows += [(what, results[what]) for what in ("saved", "plot") if what in results]
    return rows


def _four_digits(value: float | None) -> str:
    return "not defined (all targets are one)" if value is None else f"{value:.4f}"


def info_rows(header: dict[str, Any], w: NDArray) -> Rows:
    """Return what a model is."""
    functions = header["functions"]
    runs = itertools.groupby(functions[k]["name"] for k in header["activations"])
    counted = [(name, len(list(run))) for name, run in runs]
    outputs, indices = header["outputs"], range(len(functions))
    rows = [
        ("format", f"{header['version']}, written by fastbp {header['fastbp']}"),
        ("inputs", str(header["n_inputs"])),
        ("neurons", ", ".join(name if n == 1 else f"{n} {name}" for name, n in counted)),
        ("output", ", ".join(functions[k]["name"] if k in indices else k for k in outputs)),
        ("parameters", f"{len(w)} of {header['dtype']}"),
    ]
    if "intervals" in header:
        rows.append(("intervals", "kept: fastbp.load(…).predict(X, return_std=True)"))
    for function in functions:
        if "digest" in function:
            rows.append((f"own activation {function['name']!r}", f"digest {function['digest']}"))
    metadata = dict(header["metadata"])
    preparation = metadata.pop("preparation", None)
    if preparation:
        classes = preparation["classes"]
        target = preparation["target"] + (f" ({' or '.join(classes)})" if classes else "")
        rows += [
            ("target", target),
            ("columns", ", ".join(columns.labels(preparation["inputs"]))),
        ]
    rows += [(name, json.dumps(value, ensure_ascii=False)) for name, value in metadata.items()]
    return rows


def figure_class() -> Any:
    """Return matplotlib's Figure class, or say what is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("--plot needs matplotlib: pip install 'fastbp[plot]'") from None
    return Figure


def plot(path: str, problem: Problem, fit: Fit) -> None:
    """Draw how the loss fell, and outputs against targets that were held out (else fitted)."""
    held_out = len(problem.held_out.t) > 0
    X, t = problem.held_out if held_out else problem.fit
    preparation = problem.preparation
    y = preparation.decode(problem.net(fit.w, X))
    t = preparation.decode(t)
    figure = figure_class()(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(fit.losses)
    left.set_xlabel("step")
    left.set_ylabel("training loss with penalty")
    which = "held-out rows" if held_out else "fitted rows"
    if preparation.classes is None:
        right.scatter(t, y, s=12)
        right.axline((t.mean(), t.mean()), slope=1.0, color="grey", linewidth=1.0)
        right.set_xlabel(f"{preparation.target}, {which}")
        right.set_ylabel("network")
    else:
        parts = [y[t < 0.5], y[t > 0.5]]
        right.hist(parts, bins=20, range=(0.0, 1.0), label=preparation.classes)
        right.set_xlabel(f"probability of {preparation.classes[1]}")
        right.set_ylabel(which)
        right.legend()
    figure.savefig(path)
