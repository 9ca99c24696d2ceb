"""What the commands show: lines, labels with values, a figure."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _plots as plots
from .._columns import rms
from .._files import write_atomically
from . import columns as columns
from .problem import Preparation, Problem
from .train import Judged, confusion

if TYPE_CHECKING:
    from .train import Fit

Rows = Sequence[tuple[str, str]]
_LISTED = 10  # columns


def plain(line: str) -> None:
    """Print a line at once, even into a pipe."""
    print(line, flush=True)


def silent(line: str) -> None:
    """Print nothing."""


def table(rows: Rows) -> None:
    """Print labels and values, a line each."""
    width = max(len(label) for label, _ in rows) + 1
    for label, value in rows:
        print(f"{label + ':':{width}} {value}")


def before(problem: Problem) -> list[str]:
    """Return what is said of a fit before it begins."""
    net, preparation = problem.net, problem.preparation
    names = ", ".join(column["name"] for column in preparation.inputs[:_LISTED])
    more = len(preparation.inputs) - _LISTED
    loss = f"loss: {problem.loss}; all that are shown are means over rows, without the penalty"
    if preparation.target_scaling.differs:
        loss += ", of a target divided by its standard deviation"
    return [
        f"data: {len(problem.fit.t)} rows to fit, {len(problem.held_out.t)} held out, "
        f"target {', '.join(map(repr, preparation.targets))}",
        f"columns: {len(preparation.inputs)}, {names}{f' and {more} more' if more > 0 else ''}",
        f"network: {net.n_inputs} inputs, {net.n_neurons} neurons, {net.n_params} parameters",
        f"the neurons are {_counted([v.name for v in net.activations])}; one input is constant",
        loss,
    ]


def train_rows(results: dict[str, Any]) -> Rows:
    """Return what a fit reached."""
    training = results["training"]
    rows = _fit_rows(training)
    neurons = f"{training['neurons']}{_by_choice(training, 'neurons')}"
    rows.append(("neurons", f"{neurons}, {training['parameters']} parameters"))
    held_out = results["held_out"]
    if held_out:
        rows += _quality_rows(held_out, "held-out ")
    else:
        rows += _quality_rows(results["fitted"], "fitted ")
    if results["in_words"]:
        rows.append(("in words", results["in_words"]))
    return rows + [(what, results[what]) for what in ("saved", "plot") if what in results]


def _fit_rows(training: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how a network was fitted; models of older releases know less of it."""
    seconds = f"{training['seconds']:.2f} s"
    if training.get("chosen"):
        seconds += f", of the cross-validation {training['seconds_of_choice']:.2f} s"
    rows = [
        ("fit", f"{training['optimizer']}, {training['steps']} steps: {training['reason']}"),
        ("time of the fit", seconds),
        ("penalty", f"l2 {training['l2']:.3g}{_by_choice(training, 'l2')}"),
    ]
    for label, key in (("training loss", "training_loss"), ("held-out loss", "held_out_loss")):
        if training.get(key) is not None:
            rows.append((f"{label}, {training['loss']}", f"{training[key]:.6f}"))
    return rows


def _by_choice(training: dict[str, Any], name: str) -> str:
    """Say that a number was chosen."""
    return ", chosen by cross-validation" if name in training.get("chosen", ()) else ""


def _quality_rows(quality: dict[str, Any], which: str) -> list[tuple[str, str]]:
    """Return how well targets are met, the mean of several first."""
    rows = _of_one(quality, which, "")
    for target, of_one in quality.get("targets", {}).items():
        rows += _of_one(of_one, "", f" of {target!r}")
    return rows


def _of_one(quality: dict[str, Any], before: str, after: str) -> list[tuple[str, str]]:
    """Return how well one target is met, of classes with the counts of each."""
    linear = "linear least squares" if quality["measure"] == "R2" else "logistic regression"
    who = {"network": "network", "linear": linear}
    rmse = quality.get("rmse", {})  # null where it is infinite, as R2 is then
    rows = [
        (
            f"{before}{quality['measure']}{after}, {name}",
            "infinite" if rmse.get(key, 0.0) is None else _four_digits(quality[key]),
        )
        for key, name in who.items()
    ]
    for key, value in rmse.items():
        shown = "infinite" if value is None else f"{value:.5g} in the target's unit"
        rows.append((f"{before}RMSE{after}, {who[key]}", shown))
    for key, value in quality.get("log_loss", {}).items():
        rows.append((f"{before}log-loss{after}, {who[key]}", f"{value:.4f}"))
    if "confusion" in quality:
        for name, row in zip(quality["classes"], quality["confusion"]["network"], strict=True):
            predicted = zip(quality["classes"], row, strict=True)
            as_what = ", ".join(f"{count} {other}" for other, count in predicted if count)
            rows.append((f"predicted for {name}{after}, network", as_what or "no such row"))
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
    metadata = dict(header["metadata"])
    preparation = metadata.pop("preparation", None)
    if "intervals" in header:
        of_new = preparation and not preparation["classes"]
        of_new = of_new and metadata["training"].get("loss", "squared") == "squared"
        which = "for predict --interval" if of_new else "for Model.predict(X, return_std=True)"
        rows.append(("intervals", f"kept, {which}"))
    for function in functions:
        if "digest" in function:
            rows.append((f"own activation {function['name']!r}", f"digest {function['digest']}"))
    if preparation:
        prepared = Preparation.restored(preparation)
        classes = prepared.classes or [[]] * len(prepared.targets)
        rows += [
            *(
                ("target", name + (f" ({' or '.join(names)})" if names else ""))
                for name, names in zip(prepared.targets, classes, strict=True)
            ),
            *((repr(column["name"]), columns.kind(column)) for column in preparation["inputs"]),
        ]
        rows += _fit_rows(metadata.pop("training"))
        if held_out := metadata.pop("held_out"):
            rows += _quality_rows(held_out, "held-out ")
    rows += [(name, json.dumps(value, ensure_ascii=False)) for name, value in metadata.items()]
    return rows


def _counted(names: Sequence[str]) -> str:
    runs = ((name, len(list(run))) for name, run in itertools.groupby(names))
    return ", ".join(name if n == 1 else f"{n} {name}" for name, n in runs)


def picture_formats() -> set[str]:
    """Return the endings of pictures that can be drawn."""
    return set(plots.figure(1.0, 1.0).canvas.get_supported_filetypes())


def plot(path: str, problem: Problem, fit: Fit, judged: dict[str, list[Judged] | None]) -> None:
    """Draw predictions beside what is known, and how the losses fell.

    A row of panels for each target, of held-out rows where there are some; the losses at the end.
    """
    which = "held out" if judged["held_out"] else "fitted"
    each = judged["held_out"] or judged["fitted"] or []
    alone = len(each) == 1
    figure = plots.figure(12.0 if alone else 8.5, 4.0 if alone else 4.0 * len(each) + 3.5)
    names = [[f"{k} left", f"{k} right"] for k in range(len(each))]
    grid = [[*names[0], "losses"]] if alone else [*names, ["losses", "losses"]]
    panels = figure.subplot_mosaic(grid)
    for k, one in enumerate(each):
        left, right = panels[f"{k} left"], panels[f"{k} right"]
        if one.classes is None:
            drawn = np.isfinite(one.network)
            known, network, linear = (x[drawn] for x in (one.known, one.network, one.linear))
            plots.observed(left, one.name, known, network, linear, which)
            rmse = rms(known - network)
            plots.residuals(right, one.name, known, network, rmse, which)
        else:
            counts = confusion(one.known, one.network)
            others = int(np.trace(confusion(one.known, one.linear)))
            plots.confusion(left, one.name, one.classes, counts, others, which)
            plots.calibration(right, one.name, one.classes, one.known, one.network, which)
    last = len(fit.result.history["loss"])
    seen = not fit.steps or fit.steps[-1] == last
    steps = fit.steps if seen else [*fit.steps, last]
    losses = {"fitted": fit.losses if seen else [*fit.losses, fit.loss]}
    if fit.held_out_loss is not None:
        at_end = [] if seen else [fit.held_out_loss]
        losses["held out"] = [*fit.held_out_losses, *at_end]
    plots.losses(panels["losses"], steps, losses, f"{problem.loss} loss, without the penalty")
    ending = os.path.splitext(path)[1][1:].lower()
    image = io.BytesIO()
    figure.savefig(image, format=ending if ending in picture_formats() else "png")
    write_atomically(path, image.getvalue())
