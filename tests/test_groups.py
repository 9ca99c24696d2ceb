"""fit_groups: each fit is that of `fit` alone, whatever groups are called and whoever fits them."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from support import fresh_process

import fastbp
from fastbp.kernels.machine import sizes
from fastbp.optimizers import Adam, LevenbergMarquardt

pytestmark = pytest.mark.filterwarnings("ignore::fastbp.FitWarning")

NET = fastbp.Network(3, 4, output="identity")
# Groups of one observation, of few, of two parts; of the same size, which are begun side by side.
SIZES = (1, 17, 3, 1200, 17, 1, 17, 2, 1200, 17)


def data(sizes=SIZES, K=1):
    """Return labels, X, t and weights, the groups' observations mixed."""
    rng = np.random.default_rng(len(sizes))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    X = rng.normal(size=(len(labels), 3)) * [1e3, 1.0, 1.0] + [5e3, 0.0, 1.0]
    X[:, -1] = 1.0
    X[labels == 4, -1] = rng.normal(size=np.sum(labels == 4))  # no constant column
    X[labels == 6, 1] = 2.0  # two, of which the first is the bias
    t = np.sin(X[:, 0] / 700.0) + X[:, 1] * labels + 0.1 * rng.normal(size=len(X))
    if K > 1:
        t = np.column_stack([t, *(np.cos(k * X[:, 1]) for k in range(1, K))])
    c = rng.uniform(0.5, 2.0, len(X))
    c[np.flatnonzero(labels == 1)[::2]] = 0.0
    return labels, X, t, c


def agree(net, labels, X, t, c=None, threads=2, **options):
    """Check all fits against `fit` of each group; returns them."""
    fits = fastbp.fit_groups(net, X, t, groups=labels, sample_weight=c, threads=threads, **options)
    y = fits.predict(X, labels)
    for m, label in enumerate(np.unique(labels)):
        rows = labels == label
        weights = None if c is None else c[rows]
        one = fastbp.fit(net, X[rows], t[rows], sample_weight=weights, **options)
        np.testing.assert_array_equal(fits.w[m], one.w, strict=True)
        assert (fits.losses[m], fits.reasons[m]) == (one.loss, one.reason)
        np.testing.assert_array_equal(y[rows], one.predict(X[rows]), strict=True)
    return fits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epochs": 0},
        {"epochs": 3},
        {"seed": 7, "loss": "huber", "l2": 1e-3},
        {"l2": np.linspace(0.0, 1e-2, NET.n_params), "free": np.arange(NET.n_params) != 2},
        {"w0": np.linspace(-1e-3, 1e-3, NET.n_params)},
        {"bounds": (-2.0, 2.0)},
        {"optimizer": LevenbergMarquardt(damping="marquardt", ftol=0.0), "epochs": 30},
        {"optimizer": Adam(0.01), "epochs": 3, "batch_size": 8},
        {"optimizer": "lbfgs", "epochs": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_each_fit_has_the_bits_of_fit(options, weighted):
    labels, X, t, c = data()
    agree(NET, labels, X, t, c if weighted else None, **options)


@pytest.mark.parametrize(("N", "H"), [(1, 4), (6, 1), (1, 1)])
def test_one_input_or_one_neuron(N, H):
    """Where BLAS has other calls for a vector, and other sums, than for those of many groups."""
    labels, X, t, c = data()
    X = np.column_stack([np.sin(np.outer(X[:, 1], [1.0, 2.0, 3.0])) + 0.3, X])
    agree(fastbp.Network(N, H, output="identity"), labels, X[:, -N:], t, c, l2=1e-3, epochs=5)


def test_a_group_that_is_too_large_to_be_copied():
    n = 300_000
    labels = np.repeat([0, 1], [n, 9])
    X = np.column_stack([np.linspace(4.0, 9.0, n + 9), *np.ones((7, n + 9))])
    net = fastbp.Network(8, 1, output="identity")
    assert X[:n].nbytes > 16 << 20
    agree(net, labels, X, np.sin(X[:, 0]), epochs=1)


def test_single_numbers_and_several_outputs(monkeypatch):
    labels, X, t, c = data()
    net = fastbp.Network(3, 4, output="identity", dtype=np.float32)
    agree(net, labels, *(a.astype(np.float32) for a in (X, t, c)))
    labels, X, t, c = data(K=3)
    agree(fastbp.Network(3, 4, n_outputs=3, output="identity"), labels, X, t, c, epochs=10)
    soft = fastbp.Network(3, 4, n_outputs=3, output="softmax")
    classes = np.random.default_rng(2).integers(0, 3, len(X))
    fits = agree(soft, labels, X, classes, loss="cross_entropy", epochs=5)
    monkeypatch.setattr(sizes, "MOST_PACKED", 10_000)  # all together are many
    again = fastbp.fit_groups(soft, X, classes, groups=labels, loss="cross_entropy", epochs=5)
    np.testing.assert_array_equal(again.w, fits.w)


def test_a_stalled_fit_goes_back_as_fit_does():
    labels, X, t, _ = data((9,) * 60)
    fits = agree(fastbp.Network(3, 4), labels, X, t)
    kinds = {reason.split(":")[0] for reason in fits.reasons}
    assert {"stalled", "converged"} <= kinds


def test_any_number_of_threads_gives_the_same_bits():
    labels, X, t, _ = data((20,) * 200)
    one, three = (fastbp.fit_groups(NET, X, t, groups=labels, epochs=9, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.w, three.w)
    np.testing.assert_array_equal(one.losses, three.losses)
    assert one.reasons == three.reasons


def test_groups_as_the_first_axis():
    labels, X, t, c = data((12,) * 5)
    order = np.argsort(labels, kind="stable")
    cube = X[order].reshape(5, 12, 3), t[order].reshape(5, 12)
    given = {"sample_weight": c[order].reshape(5, 12), "epochs": 9}
    fits = fastbp.fit_groups(NET, *cube, **given)
    flat = fastbp.fit_groups(NET, X, t, groups=labels, sample_weight=c, epochs=9)
    np.testing.assert_array_equal(fits.w, flat.w)
    np.testing.assert_array_equal(fits.groups, np.arange(5))
    np.testing.assert_array_equal(fits.predict(cube[0]).ravel(), flat.predict(X, labels)[order])
    with pytest.raises(ValueError, match=r"must have shape \(5, B, 3\); got \(4, 12, 3\)"):
        fits.predict(cube[0][:4])
    with pytest.raises(ValueError, match="of different sizes one after the other, with groups"):
        fastbp.fit_groups(NET, [X[:3], X[:2]], [t[:3], t[:2]])
    with pytest.raises(ValueError, match=r"X must have shape \(M, B, N\)"):
        fastbp.fit_groups(NET, X, t)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(5, 12\)"):
        fastbp.fit_groups(NET, *cube, sample_weight=np.ones(12))


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("text", ["a", "b", "c"]),
        ("object", ["a", "b", "c"]),
        ("list", ["a", "b", "c"]),
        ("mixed", ["a", 1, (2, 3)]),
        ("float", [0.5, 1.5, 2.5]),
        ("date", [np.datetime64(f"2026-01-0{k}") for k in (1, 2, 3)]),
    ],
)
def test_labels_of_any_kind(name, want):
    labels, X, t, _ = data((9, 9, 9))
    given = [want[k] for k in labels]
    if name == "object":
        array = np.empty(len(given), object)
        array[:] = given
        given = array
    elif name not in ("list", "mixed"):
        given = np.array(given)
    fits = fastbp.fit_groups(NET, X, t, groups=given, epochs=5)
    number = {label: m for m, label in enumerate(fits.groups)}
    assert len(fits) == 3 and set(number) == set(want)
    if name != "mixed":
        assert list(fits.groups) == want
    plain = fastbp.fit_groups(NET, X, t, groups=labels, epochs=5)
    for k, label in enumerate(want):
        np.testing.assert_array_equal(fits.w[number[label]], plain.w[k])
    np.testing.assert_array_equal(fits.predict(X, given), plain.predict(X, labels))


@pytest.mark.parametrize("labels", [("a", "a\0"), (-1, 2**63 + 1, 2**63)])
def test_labels_that_numpy_makes_one(labels):
    X = np.linspace(-1.0, 1.0, 60)[:, np.newaxis]
    t = np.arange(60) % len(labels) * X[:, 0]
    net = fastbp.Network(1, 2, output="identity")
    fits = fastbp.fit_groups(net, X, t, groups=[labels[k % len(labels)] for k in range(60)])
    for k, label in enumerate(labels):
        some = slice(k, None, len(labels))
        alone = fastbp.fit(net, X[some], t[some], progress=False)
        assert (fits.predict(X, [label] * 60) == alone.predict(X)).all()


def test_epochs_may_be_any_number():
    labels, X, t, _ = data((9, 12, 9))
    want = fastbp.fit_groups(NET, X, t, groups=labels, epochs=1000)
    for epochs in (10**10, 10**30):
        got = fastbp.fit_groups(NET, X, t, groups=labels, epochs=epochs)
        np.testing.assert_array_equal(got.w, want.w)
        assert got.reasons == want.reasons


@pytest.mark.parametrize("kind", ["object", "category", "datetime", "string", "two"])
def test_a_column_of_pandas(kind):
    labels, X, t, _ = data((9, 9, 9))
    frame = pd.DataFrame(X, columns=["a", "b", "one"], index=range(100, 100 + len(X)))
    frame["shop"] = np.array(["x", "y", "z"], object)[labels]
    if kind == "category":
        kinds = pd.CategoricalDtype(["z", "y", "x", "unused"], ordered=True)
        frame["shop"] = frame["shop"].astype(kinds)
    elif kind == "datetime":
        frame["shop"] = pd.to_datetime(labels, unit="D").tz_localize("UTC")
    elif kind == "string":
        frame["shop"] = frame["shop"].astype("string")
    frame["half"] = labels % 2
    columns = ["shop", "half"] if kind == "two" else "shop"
    groups, inputs = frame[columns], frame[["a", "b", "one"]]
    fits = fastbp.fit_groups(NET, inputs, pd.Series(t), groups=groups, epochs=5)
    want = frame.groupby(columns, observed=True).size()
    assert list(fits.groups) == list(want.index)
    y = fits.predict(inputs, groups)
    assert isinstance(y, pd.Series) and y.index.equals(frame.index)
    plain = fastbp.fit_groups(NET, X, t, groups=labels, epochs=5)
    np.testing.assert_array_equal(y, plain.predict(X, labels))
    with pytest.raises(ValueError, match="the same index"):
        fastbp.fit_groups(NET, inputs[::-1], t, groups=groups)
    if kind in ("object", "two"):
        frame.loc[105, "shop"] = None
        with pytest.raises(ValueError, match="a label for each observation; none at 5"):
            fastbp.fit_groups(NET, inputs, t, groups=frame[columns])


def test_what_is_refused():
    labels, X, t, c = data((9, 9, 9))
    fits = fastbp.fit_groups(NET, X, t, groups=labels, epochs=2)
    with pytest.raises(KeyError, match="no group 7 was fitted; there are 3"):
        fits.predict(X[:2], [0, 7])
    with pytest.raises(ValueError, match="one label for each of 2 observations; got 1"):
        fits.predict(X[:2], [0])
    with pytest.raises(ValueError, match="a label for each observation; none at 1"):
        fastbp.fit_groups(NET, X[:3], t[:3], groups=[1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="a label for each observation; none at 2"):
        fastbp.fit_groups(NET, X[:3], t[:3], groups=["a", "b", None])
    with pytest.raises(ValueError, match="a label for each observation; none at 1"):
        fastbp.fit_groups(NET, X[:3], t[:3], groups=["a", pd.NA, "b"])
    kinds = np.zeros(3, [("a", int)])
    for given in ([[1], [2], [3]], [np.ones(2)] * 3, kinds):
        with pytest.raises(TypeError, match="groups must be numbers, text or the like; "):
            fastbp.fit_groups(NET, X[:3], t[:3], groups=given)
    for given in ("abc", 3):
        with pytest.raises(TypeError, match="groups must have a label for each observation; got"):
            fastbp.fit_groups(NET, X[:3], t[:3], groups=given)
    with pytest.raises(TypeError, match="net must be a Network; got None"):
        fastbp.fit_groups(None, X, t, groups=labels)
    with pytest.raises(TypeError, match=r"X must hold real numbers .* got NoneType"):
        fastbp.fit_groups(NET, None, t, groups=labels)
    with pytest.raises(TypeError, match=r"takes arrays, .* got a Source"):
        fastbp.fit_groups(NET, fastbp.Source.from_arrays(X, t), None, groups=labels)
    with pytest.raises(ValueError, match="at least one observation; got none"):
        fastbp.fit_groups(NET, X[:0], t[:0], groups=[])
    assert fits.predict(X[:0], []).shape == (0,)
    for epochs in (-1, 2.5):
        with pytest.raises(ValueError, match="epochs must be an integer from 0 on"):
            fastbp.fit_groups(NET, X, t, groups=labels, epochs=epochs)
    with pytest.raises(TypeError, match="seed must be an integer"):
        fastbp.fit_groups(NET, X, t, groups=labels, seed=None)
    c[labels == 1] = 0.0
    with pytest.raises(ValueError, match=r"a positive sum in each group; it is 0\.0 in group 1"):
        fastbp.fit_groups(NET, X, t, groups=labels, sample_weight=c)
    far = X.copy()
    far[labels == 2, 0] = 1.7e308
    far[np.flatnonzero(labels == 2)[0], 0] = 1e308  # no constant, which may be of any size
    for optimizer in (None, Adam()):
        with pytest.raises(ValueError, match=r"group .*2.*: numbers up to .* have no finite"):
            fastbp.fit_groups(NET, far, t, groups=labels, optimizer=optimizer)
    small = np.where(labels == 1, 1e-200 * t, t)
    with pytest.raises(ValueError, match=r"group .*1.*: targets must be 0 or so large"):
        fastbp.fit_groups(NET, X, small, groups=labels)


@pytest.mark.parametrize("optimizer", [None, Adam(0.1)])
def test_a_failed_fit_is_nan_and_said(optimizer):
    labels, X, t, _ = data((9, 9, 9))
    net = fastbp.Network(3, 4, activations="exp", output="identity")
    w0 = np.ones(net.n_params)
    X = np.where((labels == 1)[:, np.newaxis], 1e3, 1e-3) * np.ones_like(X)
    with pytest.warns(RuntimeWarning, match="1 of 3 fits failed.* of group .*1"):
        fits = fastbp.fit_groups(net, X, t, groups=labels, w0=w0, epochs=2, optimizer=optimizer)
    assert np.isnan(fits.w[1]).all() and np.isnan(fits.losses[1])
    assert fits.reasons[1].startswith("failed")
    assert np.isfinite(fits.w[[0, 2]]).all() and np.isfinite(fits.losses[[0, 2]]).all()
    assert np.isnan(fits.predict(X, labels)[labels == 1]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="no signal to send to ourselves")
def test_ctrl_c_keeps_what_is_done():
    # In a process of its own, whose main thread alone waits: other threads may get the signal.
    program = """
import os, signal, time
import numpy as np
import fastbp
from fastbp.kernels.calls import optimizers
from test_groups import NET, data

# Shells have what they start in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
labels, X, t, _ = data((20,) * 200)
run, calls = optimizers.LevenbergGroups.run, []

def interrupted(*args):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3.0)  # the main thread stops all meanwhile
    return run(*args)

optimizers.LevenbergGroups.run = interrupted
fits = fastbp.fit_groups(NET, X, t, groups=labels, epochs=5, threads=1)
done = np.array([reason != "interrupted" for reason in fits.reasons])
assert done[:128].all() and not done[128:].any(), done  # a block that has begun is ended
np.testing.assert_array_equal(np.isfinite(fits.losses), done)
np.testing.assert_array_equal(np.isfinite(fits.w).all(axis=1), done)
"""
    fresh_process("-c", program)
