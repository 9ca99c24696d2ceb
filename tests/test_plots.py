"""Pictures: what is on them, not how it is drawn."""

import io
import sys
from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp import _plots as plots
from fastbp._cli import main as _cli
from fastbp._cli import report as _report

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
image, pyplot = (pytest.importorskip(f"matplotlib.{name}") for name in ("image", "pyplot"))

X = np.column_stack([np.linspace(-1.0, 1.0, 60), np.ones(60)])
NOISE = np.random.default_rng(0).normal(size=60)
T = np.sin(3.0 * X[:, 0]) + 0.2 * NOISE
NET = fastbp.Network(2, 5, output="identity")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def in_figure(ax):
    """Whether all that is drawn and written of a panel lies in the picture."""
    ax.figure.savefig(io.BytesIO())  # which lays it out
    box, whole = ax.get_tightbbox(), ax.figure.bbox
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1


def test_losses_of_a_fit():
    result = fastbp.fit(NET, X, T, validation=0.2, epochs=8, l2=1e-3)
    ax = result.plot()
    losses = result.history["validation_loss"]
    best = int(np.argmin(losses))
    marked = f"least validation: {losses[best]:.4g} at {best + 1}"
    assert legend(ax) == ["training with penalty", "validation", marked]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), losses)
    assert ax.lines[2].get_xdata() == [best + 1] and ax.get_yscale() == "log"
    assert ax.get_ylabel() == "squared loss" and ax.get_xlabel() == "step (epoch or iteration)"
    assert ax.figure.dpi == 200 and in_figure(ax)
    given = pyplot.figure().add_subplot()
    result = fastbp.fit(NET, X, T, epochs=8)
    assert result.plot(given) is given and legend(given) == ["training"]
    assert fastbp.fit(NET, X, T, epochs=0).plot().get_yscale() == "linear"


@pytest.mark.parametrize("column", [0, -2])
def test_prediction_over_one_input(column):
    result = fastbp.fit(NET, X, T, l2=1e-3)
    ax = result.plot_prediction(X, column, level=0.8)
    (line,) = ax.lines
    x = line.get_xdata()
    y, std = result.predict(np.column_stack([x, np.ones(len(x))]), return_std=True)
    assert x[0] == -1.0 and x[-1] == 1.0
    np.testing.assert_allclose(line.get_ydata(), y)
    points, band = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), np.column_stack([X[:, 0], T]))
    box = band.get_datalim(ax.transData)
    half = 1.2815515655446004 * std
    np.testing.assert_allclose([box.y0, box.y1], [(y - half).min(), (y + half).max()])
    assert legend(ax) == ["80% interval", "f"] and in_figure(ax)
    assert ax.get_xlabel() == "input 1, the others at their medians"


def test_prediction_with_other_inputs_outputs_and_losses():
    rng = np.random.default_rng(1)
    Z = np.column_stack([rng.normal(size=(60, 2)), np.ones(60)])
    net = fastbp.Network(3, 4, n_outputs=2, output="identity")
    result = fastbp.fit(net, Z, np.column_stack([Z[:, 0], Z[:, 1]]), epochs=5, l2=1e-3)
    ax = result.plot_prediction(Z, 1)
    assert legend(ax) == ["90% interval", "y_1", "y_2"] and len(ax.lines) == 2
    x = ax.lines[0].get_xdata()
    at = np.column_stack([np.full(len(x), np.median(Z[:, 0])), x, np.ones(len(x))])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), result.predict(at)[:, 1])
    assert len(ax.collections) == 2  # the intervals: points of a plane are on no line
    classes = fastbp.Network(3, 4, n_outputs=3, output="softmax")
    t = np.digitize(Z[:, 0], [-0.5, 0.5])
    result = fastbp.fit(classes, Z, t, loss="cross_entropy", l2=1e-2)
    bands = [band.get_paths()[0].vertices for band in result.plot_prediction(Z, 0).collections]
    assert len(bands) == 3 and all(0.0 <= band[:, 1].min() for band in bands)
    assert all(band[:, 1].max() <= 1.0 for band in bands)  # probabilities
    result = fastbp.fit(fastbp.Network(3, 4, output="identity"), Z, Z[:, 0], loss="pinball")
    assert legend(result.plot_prediction(Z, 0)) == ["f"]


def test_the_path_of_penalties():
    result = fastbp.fit(NET, X, T, l2="auto")
    ax = result.plot_l2_path()
    line, marked = (line for line in ax.lines if line.get_linestyle() != "None")
    np.testing.assert_array_equal(line.get_data(), result.l2_path[:2])
    assert marked.get_xdata() == [result.l2, result.l2] and ax.get_xscale() == "log"
    assert legend(ax) == [f"chosen: {result.l2:.3g}"] and in_figure(ax)
    (bars,) = ax.collections
    heights = [np.ptp(segment[:, 1]) / 2.0 for segment in bars.get_segments()]
    np.testing.assert_allclose(heights, result.l2_path.error)
    with pytest.raises(ValueError, match="here it was given"):
        fastbp.fit(NET, X, T, epochs=1).plot_l2_path()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, 2), "column must be one of 2 inputs"),
        ((X, 0.5), "column must be one of 2 inputs"),
        ((X[:, :1], 0), "X must have shape"),
        ((X[:0], 0), "X must hold observations"),
    ],
)
def test_prediction_refuses(arguments, message):
    result = fastbp.fit(NET, X, T, epochs=1)
    with pytest.raises(ValueError, match=message):
        result.plot_prediction(*arguments)
    with pytest.raises(ValueError, match="level must be"):
        result.plot_prediction(X, 0, level=90)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[plot\]'"):
        fastbp.fit(NET, X, T, epochs=1).plot()


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that the command line draws."""
    figures = []

    def figure(*arguments, **options):
        figures.append(real(*arguments, **options))
        return figures[-1]

    real = plots.figure
    monkeypatch.setattr(plots, "figure", figure)

    def draw(*words):
        assert _cli.main(["train", *map(str, words)]) == 0
        return {ax.get_label(): ax for ax in figures[-2].axes}  # the last asks for formats alone

    return draw


def test_the_picture_of_numbers(drawn, tmp_path, capsys):
    path = tmp_path / "fit.png"
    panels = drawn("--plot", path, "--epochs", "5")
    assert list(panels) == ["0 left", "0 right", "losses"]
    left, right, losses = panels.values()
    assert left.get_aspect() == 1.0 and left.get_xlim() == left.get_ylim()
    assert left.get_xlabel() == "progression, predicted"
    assert left.get_ylabel() == "progression, observed"
    (identity,) = left.lines
    assert identity.get_slope() == 1.0
    printed = capsys.readouterr().out
    for name, label in (("network", "network"), ("straight line", "linear least squares")):
        (line,) = (line for line in printed.splitlines() if f"held-out R2, {label}:" in line)
        assert f"{name}, R² {float(line.split()[-1]):.3f}" in legend(left)
    assert left.get_legend().get_title().get_text() == "n = 111, held out"
    straight, network = left.collections
    assert len(network.get_offsets()) == len(straight.get_offsets()) == 111
    np.testing.assert_allclose(
        right.collections[0].get_offsets()[:, 1],
        network.get_offsets()[:, 1] - network.get_offsets()[:, 0],
    )
    assert legend(losses)[:2] == ["fitted", "held out"] and "least held out" in legend(losses)[2]
    assert losses.get_ylabel() == "squared loss, without the penalty"
    assert losses.lines[0].get_xdata()[-1] == 5
    assert all(in_figure(ax) for ax in panels.values())
    pixels = image.imread(path)
    assert pixels.shape[:2] == (800, 2400)  # 4 by 12 inches of 200 dots


def test_the_picture_of_classes(drawn, tmp_path, capsys):
    path, picture, rng = tmp_path / "t.csv", tmp_path / "f.png", np.random.default_rng(0)
    pytest.importorskip("pandas")
    x = rng.normal(size=200)
    kinds = np.array(["small", "middle", "large"])[
        np.digitize(x + 0.3 * rng.normal(size=200), [-0.5, 0.5])
    ]
    two = np.where(kinds == "large", "yes", "no")
    rows = [f"{a},{b},{c}" for a, b, c in zip(x, kinds, two, strict=True)]
    path.write_text("\n".join(["a,kind,big", *rows]) + "\n")
    for target, other, classes in (
        ("kind", "big", ["large", "middle", "small"]),
        ("big", "kind", ["no", "yes"]),
    ):
        words = ("--target", target, "--drop", other, "--epochs", "20", "--plot", picture)
        panels = drawn(path, *words)
        counts, calibration, losses = panels.values()
        numbers = [int(text.get_text()) for text in counts.texts]
        assert sum(numbers) == 50 and len(numbers) == len(classes) ** 2
        assert [tick.get_text() for tick in counts.get_xticklabels()] == classes
        assert counts.get_ylabel() == f"{target}, observed"
        right = sum(numbers[:: len(classes) + 1]) / 50
        assert f"network {right:.3f}, logistic regression " in counts.get_title()
        assert calibration.get_aspect() == 1.0 and calibration.get_xlim() == calibration.get_ylim()
        means = calibration.lines[1].get_xdata()
        assert (np.diff(means) >= 0.0).all() and 0.0 <= means[0] and means[-1] <= 1.0
        what = "yes" if target == "big" else "the class predicted"
        assert calibration.get_xlabel() == f"probability that {target} is {what}"
        assert losses.get_ylabel() == "cross_entropy loss, without the penalty"
        assert all(in_figure(ax) for ax in panels.values())


def test_the_picture_of_several_targets_and_of_fitted_rows(drawn, tmp_path):
    words = ("--epochs", "5", "--test-fraction", "0", "--plot", tmp_path / "f.png")
    panels = drawn("--target", "progression", "--target", "bmi", *words)
    assert list(panels) == ["0 left", "0 right", "1 left", "1 right", "losses"]
    assert panels["1 left"].get_ylabel() == "bmi, observed"
    assert panels["1 left"].get_legend().get_title().get_text() == "n = 442, fitted"
    assert legend(panels["losses"]) == ["fitted"]


def test_a_long_name_and_large_numbers_have_room(drawn, tmp_path):
    pytest.importorskip("pandas")
    name, path = "household income per year ($), with other $, before tax", tmp_path / "t.csv"
    rows = [f"{x},{1e5 * (t + 3.0)}" for x, t in zip(X[:, 0], T, strict=True)]
    path.write_text("\n".join([f'x,"{name}"', *rows]) + "\n")
    panels = drawn(path, "--epochs", "5", "--l2", "0.1", "--plot", tmp_path / "f.png")
    left, right, losses = panels.values()
    assert left.get_xlabel().replace("\n", " ") == f"{name}, predicted"
    assert "\n" in left.get_ylabel() and all(in_figure(ax) for ax in panels.values())
    for ax in (left, right):
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
        assert ax.get_xaxis().get_offset_text().get_text()
    ticks = [label.get_text() for label in losses.get_yticklabels(which="both")]
    assert not any("times" in tick for tick in ticks)


def test_endings_of_pictures():
    assert {"png", "pdf", "svg"} <= _report.picture_formats()
