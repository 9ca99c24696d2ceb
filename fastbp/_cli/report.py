"""What the commands show: lines, a table of results (by rich on a terminal), a figure."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._files import write_atomically
from . import columns as columns
from .problem import Preparation, Problem

if TYPE_CHECKING:
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
        rows += _quality_rows(held_out, "held-out ", "")
        for target, quality in held_out.get("targets", {}).items():
            rows += _quality_rows(quality, "", f" of {target!r}")
    for when, difference in results["gradient_difference"].items():
        rows.append((f"kernel against reference gradient, {when}", f"{difference:.1e}"))
    for which, seconds in results["gradient_seconds"].items():
        rows.append((f"time of one gradient, {which}", f"{seconds * 1e6:.1f} us"))
    rows += [(what, results[what]) for what in ("saved", "plot") if what in results]
    return rows


def _quality_rows(quality: dict[str, Any], before: str, after: str) -> list[tuple[str, str]]:
    """Return how well held-out targets are met, of classes with the counts of each."""
    linear = "linear least squares" if quality["measure"] == "R2" else "logistic regression"
    who = {"network": "network", "linear": linear}
    rows = [
        (f"{before}{quality['measure']}{after}, {name}", _four_digits(quality[key]))
        for key, name in who.items()
    ]
    for key, value in quality.get("log_loss", {}).items():
        rows.append((f"{before}log-loss{after}, {who[key]}", f"{value:.4f}"))
    for key, counts in quality.get("confusion", {}).items():
        for name, row in zip(quality["classes"], counts, strict=True):
            predicted = zip(quality["classes"], row, strict=True)
            as_what = ", ".join(f"{count} {other}" for other, count in predicted if count)
            rows.append((f"predicted for {name}{after}, {who[key]}", as_what or "no such row"))
    return rows


def _four_digits(value: float | None) -> str:
    return "not defined (all targets are one)" if value is None else f"{value:.4f}"


def info_rows(header: dict[str, Any], w: NDArray) -> Rows:
    """Return what a model is."""
    functions = header["functions"]
    neurons = [functions[k]["name"] for k in header["activations"]]
    indices = range(len(functions))
    outputs = [functions[k]["name"] if k in indices else k for k in header["outputs"]]
    rows = [
        ("format", f"{header['version']}, written by fastbp {header['fastbp']}"),
        ("inputs", str(header["n_inputs"])),
        ("neurons", _counted(neurons)),
        ("output", _counted(outputs)),
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
        prepared = Preparation.restored(preparation)
        classes = prepared.classes or [[]] * len(prepared.targets)
        rows += [
            *(
                ("target", name + (f" ({' or '.join(names)})" if names else ""))
                for name, names in zip(prepared.targets, classes, strict=True)
            ),
            ("columns", ", ".join(columns.labels(preparation["inputs"]))),
        ]
    rows += [(name, json.dumps(value, ensure_ascii=False)) for name, value in metadata.items()]
    return rows


def _counted(names: Sequence[str]) -> str:
    runs = ((name, len(list(run))) for name, run in itertools.groupby(names))
    return ", ".join(name if n == 1 else f"{n} {name}" for name, n in runs)


def figure_class() -> Any:
    """Return matplotlib's Figure class, or say what is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("--plot needs matplotlib: pip install 'fastbp[plot]'") from None
    return Figure


def picture_formats() -> set[str]:
    """Return the endings of pictures that can be drawn."""
    return set(figure_class()().canvas.get_supported_filetypes())


def plot(path: str, problem: Problem, fit: Fit) -> None:
    """Draw how the loss fell, and outputs against targets that were held out (else fitted)."""
    held_out = len(problem.held_out.t) > 0
    X, t = problem.held_out if held_out else problem.fit
    preparation = problem.preparation
    outputs = preparation.of_each(preparation.decode(problem.net(fit.w, X)))
    known = preparation.of_each(preparation.decode(t))
    figure = figure_class()(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(fit.losses)
    left.set_xlabel("step")
    left.set_ylabel("training loss with penalty")
    which = "held-out rows" if held_out else "fitted rows"
    targets, classes = preparation.targets, preparation.classes
    if classes is None:
        for name, y, of_one in zip(targets, outputs, known, strict=True):
            right.scatter(of_one, y, s=12, label=name)
        middle = np.mean(known)
        right.axline((middle, middle), slope=1.0, color="grey", linewidth=1.0)
        right.set_xlabel(f"{', '.join(targets)}, {which}")
        right.set_ylabel("network")
    else:
        for name, names, p, of_one in zip(targets, classes, outputs, known, strict=True):
            own = of_one == 1.0
            parts = [p[own[:, k], k] for k in range(len(names))]
            labels = [f"{name}: {of_class}" for of_class in names]
            right.hist(parts, bins=20, range=(0.0, 1.0), label=labels, alpha=0.6)
        right.set_xlabel("probability of the row's own class")
        right.set_ylabel(which)
    if classes or len(targets) > 1:
        right.legend()
    ending = os.path.splitext(path)[1][1:].lower()
    image = io.BytesIO()
    figure.savefig(image, format=ending if ending in picture_formats() else "png", dpi=200)
    write_atomically(path, image.getvalue())
