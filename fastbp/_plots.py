"""Pictures, by matplotlib: imported when one is asked for.

Each is drawn on the axes given. Colours are those of Okabe and Ito, told apart by all eyes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#e69f00")
GREY = "0.45"
_DPI = 200
_GAP = 0.055  # least distance of two labels, by the height of the axes


def figure(width: float, height: float, window: bool = False) -> Any:
    """Return a figure of that many inches; in a window, or a notebook, where it is to be shown."""
    make: Any
    try:
        if window:
            from matplotlib import pyplot

            make = pyplot.figure
        else:
            from matplotlib.figure import Figure as make
    except ImportError:
        raise ImportError(
            "pictures need matplotlib, which is not installed; it comes with the extra: "
            "pip install 'fastbp[plot]'"
        ) from None
    return make(figsize=(width, height), dpi=_DPI, layout="constrained")


def axes(ax: Any, width: float = 5.5, height: float = 3.8) -> Any:
    """Return the axes given, or those of a new figure."""
    return figure(width, height, window=True).add_subplot() if ax is None else ax


def labelled(ax: Any, x: str, y: str, title: str = "") -> Any:
    """Name the axes, by lines that fit beside them, and draw a light grid behind."""
    x, y = (text if len(text) <= 46 else textwrap.fill(text, 32) for text in (x, y))
    ax.set_xlabel(x, parse_math=False)  # a $ in a name is one
    ax.set_ylabel(y, parse_math=False)
    if title:
        ax.set_title(title, fontsize="medium")
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def note(ax: Any, text: str, x: float = 0.04, y: float = 0.96) -> None:
    """Write into a corner of the panel."""
    across, up = ("left" if x < 0.5 else "right"), ("top" if y > 0.5 else "bottom")
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.8", "alpha": 0.85}
    ax.text(x, y, text, transform=ax.transAxes, ha=across, va=up, fontsize="small", bbox=box)


def label_lines(ax: Any, labels: Sequence[tuple[float, float, str, Any]]) -> None:
    """Write the name of each line beside its right end, (x, y, name, colour), none over another."""
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # which are made when they are asked for
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = sorted((to_axes.transform((x, y))[1], x, y, text, c) for x, y, text, c in labels)
    heights = [end[0] for end in ends]
    for k in range(1, len(heights)):
        heights[k] = max(heights[k], heights[k - 1] + _GAP)
    above = max(heights[-1] - 1.0, 0.0)
    for k in reversed(range(len(heights))):  # those pushed out at the top come down again
        most = 1.0 if k == len(heights) - 1 else heights[k + 1] - _GAP
        heights[k] = min(heights[k], most) if above else heights[k]
    for height, (_, x, y, text, colour) in zip(heights, ends, strict=True):
        ax.annotate(
            text,
            (x, y),
            (1.06, height),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "relpos": (0.0, 0.5),
                "shrinkA": 1.0,
                "shrinkB": 0.0,
            },
            annotation_clip=False,
        )


def r2(known: NDArray, y: NDArray) -> str:
    """Return R² as it is written."""
    total = float(np.sum((known - known.mean()) ** 2))
    return f"R² {1.0 - float(np.sum((known - y) ** 2)) / total:.3f}" if total else "R² not defined"


def observed(
    ax: Any, name: str, known: NDArray, network: NDArray, linear: NDArray, which: str
) -> None:
    """Draw what was observed over what was predicted, one scale on both axes."""
    size = 14.0 if len(known) < 2000 else 4.0
    marks = (("straight line", linear, ORANGE, "x"), ("network", network, BLUE, "o"))
    for who, y, colour, mark in marks:
        label = f"{who}, {r2(known, y)}"
        ax.scatter(y, known, s=size, c=colour, marker=mark, linewidths=0.8, alpha=0.7, label=label)
    low, high = (f([f(known), f(network), f(linear)]) for f in (np.min, np.max))
    margin = 0.05 * (high - low) or 1.0
    ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    ax.axline((low, low), slope=1.0, color=GREY, linewidth=1.0, zorder=1)
    labelled(ax, f"{_short(name)}, predicted", f"{_short(name)}, observed")
    _few_ticks(ax)
    title = f"n = {len(known)}, {which}"
    # Where there are no points; for many of them that takes long to find.
    corner = "best" if len(known) < 2000 else "upper left"
    ax.legend(loc=corner, fontsize="small", title=title, title_fontsize="small")


def residuals(
    ax: Any, name: str, known: NDArray, network: NDArray, rmse: float, which: str
) -> None:
    """Draw what the network leaves over what it predicts."""
    left = known - network
    size = 14.0 if len(known) < 2000 else 4.0
    ax.scatter(network, left, s=size, c=BLUE, linewidths=0.0, alpha=0.7)
    ax.axhline(0.0, color=GREY, linewidth=1.0, zorder=1)
    of = _short(name)
    labelled(ax, f"{of}, predicted", f"{of}, observed − predicted", f"RMSE {rmse:.4g}, {which}")
    _few_ticks(ax)


def _short(name: str) -> str:
    """Return a name that leaves room for the picture."""
    return name if len(name) <= 70 else f"{name[:69]}…"


def _few_ticks(ax: Any) -> None:
    """Let numbers of ticks not run into each other: few of them, and large ones by their power."""
    ax.locator_params(nbins=6)
    ax.ticklabel_format(scilimits=(-4, 5), useMathText=True)


def confusion(
    ax: Any, name: str, classes: Sequence[str], counts: NDArray, of_linear: int, which: str
) -> None:
    """Draw how many rows of each class were taken for each; `of_linear` rows are right there."""
    K, n = len(classes), int(counts.sum())
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    if K <= 20:
        for i, j in np.ndindex(K, K):
            colour = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour)
    names = [name if len(name) < 16 else f"{name[:14]}…" for name in classes]
    long = max(map(len, names)) * K > 40
    ax.set_xticks(range(K), names, rotation=90 if long else 0, parse_math=False)
    ax.set_yticks(range(K), names, parse_math=False)
    labelled(ax, f"{_short(name)}, predicted", f"{_short(name)}, observed")
    ax.grid(False)
    right = f"network {np.trace(counts) / n:.3f}, logistic regression {of_linear / n:.3f}"
    ax.set_title(f"right: {right}\nn = {n} rows, {which}", fontsize="medium")


def calibration(
    ax: Any, name: str, classes: Sequence[str], known: NDArray, p: NDArray, which: str
) -> None:
    """Draw how often what is predicted with some probability is so, in groups of equal size.

    Of two classes it is the probability of the second, of more that of the class predicted. Bars
    are one standard error, of Laplace's estimate, so that no group seems certain.
    """
    if len(classes) == 2:
        given, so, what = p[:, 1], known[:, 1], f"is {classes[1]}"
    else:
        best = p.argmax(axis=1)
        given, so, what = p.max(axis=1), known[np.arange(len(p)), best], "is the class predicted"
    groups = np.array_split(np.argsort(given, kind="stable"), min(10, max(len(given) // 10, 1)))
    x, y, n = (
        np.array([f(rows) for rows in groups])
        for f in (lambda rows: given[rows].mean(), lambda rows: so[rows].mean(), len)
    )
    smooth = (y * n + 1.0) / (n + 2.0)
    error = np.sqrt(smooth * (1.0 - smooth) / (n + 2.0))
    ax.plot([0.0, 1.0], [0.0, 1.0], color=GREY, linewidth=1.0)
    ax.errorbar(x, y, error, fmt="o-", color=BLUE, markersize=4.0, linewidth=1.0, capsize=2.0)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    labelled(
        ax,
        f"probability that {_short(name)} {what}",
        "share of rows where it is",
        f"{len(groups)} groups of about {len(given) // len(groups)} rows, {which}",
    )


def losses(ax: Any, steps: Any, of: Mapping[str, Any], name: str) -> None:
    """Draw losses over the steps, and mark the least of the last where there are several."""
    for (label, values), colour in zip(of.items(), COLOURS, strict=False):
        ax.plot(steps, values, color=colour, label=label, linewidth=1.3)
    every = np.concatenate([np.asarray(values, float) for values in of.values()])
    if len(every) and (every > 0.0).all():
        from matplotlib.ticker import LogFormatter

        class Plain(LogFormatter):  # 0.25, not 2.5 × 10⁻¹
            def __call__(self, x: float, pos: int | None = None) -> str:
                return f"{x:.4g}" if super().__call__(x, pos) else ""

        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(Plain())
        ax.yaxis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))
    labelled(ax, "step (epoch or iteration)", name)
    if len(of) > 1 and len(steps):
        label, values = list(of.items())[-1]
        best = int(np.nanargmin(values))
        ax.plot(steps[best], values[best], "o", color=ORANGE, markersize=5.0)
        ax.axvline(
            steps[best],
            color=GREY,
            linestyle=":",
            linewidth=1.0,
            label=f"least {label}: {values[best]:.4g} at {steps[best]}",
        )
    ax.legend(fontsize="small")


def prediction(
    ax: Any,
    x: NDArray,
    y: NDArray,
    std: NDArray | None,
    level: float,
    column: int,
    points: tuple[NDArray, NDArray] | None,
    within: tuple[float, float],
) -> Any:
    """Draw outputs (M,) or (M, K) over an input, with intervals where they are known and finite.

    `within` is where outputs lie, and so the intervals.
    """
    Y, K = y.reshape(len(x), -1), y.size // len(x)
    times = NormalDist().inv_cdf(0.5 + 0.5 * level)
    for k in range(K):
        colour = COLOURS[k % len(COLOURS)]
        name = "f" if K == 1 else f"y_{k + 1}"
        if points is not None:
            t = points[1] if points[1].ndim == 1 else points[1][:, k]
            if K == 1 or points[1].ndim == 2:
                ax.scatter(points[0], t, s=10.0, c=colour, alpha=0.4, linewidths=0.0)
        if std is not None:
            half = times * std.reshape(len(x), -1)[:, k]
            half[~np.isfinite(half)] = np.nan
            low, high = (np.clip(Y[:, k] + side, *within) for side in (-half, half))
            label = f"{level:.0%} interval" if k == 0 else None
            ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0.0, label=label)
        ax.plot(x, Y[:, k], color=colour, linewidth=1.5, label=name)
    labelled(ax, f"input {column + 1}, the others at their medians", "output")
    ax.legend(fontsize="small")
    return ax


def l2_path(ax: Any, l2: NDArray, loss: NDArray, error: NDArray, chosen: float, name: str) -> Any:
    """Draw losses and their standard errors over penalties; the one chosen is marked."""
    ax.errorbar(l2, loss, error, fmt="o-", color=BLUE, markersize=4.0, linewidth=1.0, capsize=2.0)
    ax.axvline(chosen, color=ORANGE, linestyle=":", linewidth=1.2, label=f"chosen: {chosen:.3g}")
    ax.set_xscale("log")
    labelled(ax, "penalty l2", name)
    ax.legend(fontsize="small")
    return ax
