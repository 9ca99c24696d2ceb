"""Rows that do not fit into memory: sources of every kind, and what is streamed of arrays."""

from __future__ import annotations

import itertools
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from support import needs_trust_exact

import fastbp
from fastbp import Source, _boundary, reference
from fastbp._training.far import Question, Shape
from fastbp._training.source import Streamed
from fastbp.kernels.calls import prepared
from fastbp.kernels.machine import sizes
from fastbp.optimizers import SGD, Adam

pytestmark = pytest.mark.filterwarnings("ignore::fastbp.FitWarning")

# Several parts, the last one short; matrices have several too.
B = 5000
RNG = np.random.default_rng(7)
X = RNG.normal(size=(B, 4)) * [1.0, 10.0, 0.1, 1.0] + [3.0, 0.0, 0.0, 1.0]
X[:, -1] = 1.0
T = np.sin(X[:, 0]) + 0.1 * X[:, 1] + 0.1 * RNG.normal(size=B)
C = RNG.uniform(0.5, 2.0, B)
NET = fastbp.Network(4, 5, output="identity")
METHODS: list[dict[str, Any]] = [
    {"optimizer": "lm", "epochs": 5},
    {"optimizer": "lbfgs", "epochs": 6, "l2": 1e-4},
    {"optimizer": "trust-ncg", "epochs": 2},
    {"optimizer": Adam(0.01), "epochs": 2, "shuffle": False, "batch_size": 48},
]


def batches(*arrays: np.ndarray, cuts: tuple[int, ...] = (0, 7, 1700, 1701, B)) -> Any:
    """Return a factory of batches of all lengths."""

    def factory() -> Iterator[tuple[np.ndarray, ...]]:
        for first, end in itertools.pairwise(cuts):
            yield tuple(a[first:end] for a in arrays)

    return factory


def same(got: fastbp.FitResult, want: fastbp.FitResult) -> None:
    np.testing.assert_array_equal(got.w, want.w, strict=True)
    assert (got.loss, got.reason, got.validation_loss) == (
        want.loss,
        want.reason,
        want.validation_loss,
    )
    for name, values in want.history.items():
        np.testing.assert_array_equal(got.history[name], values)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", METHODS, ids=str)
def test_the_bits_of_arrays(options: dict[str, Any], weighted: bool) -> None:
    c = C if weighted else None
    arrays = (X, T) if c is None else (X, T, c)
    held = (X[:900], T[:900])
    want = fastbp.fit(NET, X, T, sample_weight=c, validation=held, **options)
    judge = Source.from_arrays(*held)
    for source in (Source.from_arrays(*arrays), Source.from_batches(batches(*arrays), B)):
        same(fastbp.fit(NET, source, validation=judge, **options), want)
    threads = fastbp.fit(NET, source, validation=judge, threads=3, **options)
    same(threads, want)


@pytest.mark.parametrize("rows", [3, 60, 240, 250])
def test_the_bits_of_few_rows(rows: int) -> None:
    """Up to 240 here, Levenberg–Marquardt makes the matrix of what a trial has left."""
    arrays, options = (X[:rows], T[:rows]), {"optimizer": "lm", "epochs": 30}
    want = fastbp.fit(NET, *arrays, **options)
    same(fastbp.fit(NET, Source.from_arrays(*arrays), **options), want)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "cg", "trust-ncg", "tnc", "slsqp"])
def test_the_bits_of_fits_to_their_end(optimizer: str, dtype: type) -> None:
    """Where steps of Newton's follow."""
    net = fastbp.Network(4, 2, output="identity", dtype=dtype)
    x, t, c = (a[:300].astype(dtype) for a in (X, T, C))
    options: dict[str, Any] = {"optimizer": optimizer, "l2": np.linspace(0.05, 0.15, net.n_params)}
    want = fastbp.fit(net, x, t, sample_weight=c, **options)
    assert want.converged
    source = Source.from_batches(batches(x, t, c, cuts=(0, 7, 300)), 300)
    same(fastbp.fit(net, source, **options), want)


def test_rows_that_do_not_weigh_count_for_nothing() -> None:
    """Neither for where a likelihood ends, nor among the observations that are too few."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 30))
    classes = (x[:, 0] > rng.normal(size=400)).astype(int) + (x[:, 1] > 0.0)
    c = (rng.random(400) < 0.5).astype(float)
    net = fastbp.Network(30, 31, n_outputs=3, output="softmax")  # more than 1000 parameters
    source = Source.from_batches(batches(x, classes, c, cuts=(0, 7, 300, 400)), 400)
    options: dict[str, Any] = {"loss": "cross_entropy", "l2": 0.01}
    want = fastbp.fit(net, x, classes, sample_weight=c, **options)
    assert "raised the likelihood by less" in want.reason
    same(fastbp.fit(net, source, **options), want)

    x, t, c = X[:40], T[:40], (np.arange(40) < 20).astype(float)
    for data in ((x, t, c), (Source.from_arrays(x, t, c), None, None)):
        result = fastbp.fit(NET, *data[:2], sample_weight=data[2], epochs=30)
        assert any("25 free parameters and 20 obs" in said for said in result.warnings)


@pytest.mark.parametrize("weighted", [False, True])
def test_warnings_are_those_of_arrays(monkeypatch: pytest.MonkeyPatch, weighted: bool) -> None:
    """Of a share of large arrays, too; of more rows than are looked at, of some of them."""
    c = C * (np.arange(B) % 3 > 0) if weighted else None
    noise = np.random.default_rng(1).normal(size=B)
    net = fastbp.Network(4, 2, output="tanh")
    options: dict[str, Any] = {"w0": 1e3 * net.init(0), "epochs": 30, "optimizer": "lbfgs"}
    want = fastbp.fit(net, X, 9.0 * noise, sample_weight=c, **options).warnings
    for said, one in zip(("lie outside", "no better than that of a constant"), want, strict=False):
        assert said in one
    source = Source.from_arrays(X, 9.0 * noise, c)
    assert fastbp.fit(net, source, **options).warnings == want
    options["epochs"] = 0  # by which only the targets are judged
    want = fastbp.fit(net, X, 9.0 * noise, sample_weight=c, **options).warnings
    assert len(want) == 1
    assert fastbp.fit(net, source, **options).warnings == want
    net = fastbp.Network(4, 1, output="identity")
    free = np.array([True, False, False, False, True])  # more would find something in the noise
    options = {"validation": 0.3, "free": free, "w0": net.init(0)}
    want = fastbp.fit(net, X, noise, sample_weight=c, **options).warnings
    assert "no better than that of a constant" in want[0]
    monkeypatch.setattr(sizes, "MOST_PACKED", 1)
    assert fastbp.fit(net, X, noise, sample_weight=c, **options).warnings == want
    monkeypatch.setattr("fastbp._training.doubts._BROUGHT", 700)
    (said,) = fastbp.fit(net, X, noise, sample_weight=c, **options).warnings
    assert re.match(r"the loss of \d{3} observations, \S+, is no better", said)


@pytest.mark.parametrize("optimizer", ["lm", "bfgs"])
def test_numpy_says_nothing_of_trials_on_threads(optimizer: str) -> None:
    """What is far beyond all numbers is looked at there too, where a warning is an error here."""
    net = fastbp.Network(2, 2, output="identity", dtype=np.float32)
    x = np.column_stack([np.linspace(-2.0, 2.0, 8), np.ones(8)]).astype(np.float32)
    for seed in range(20):
        t = np.random.default_rng(seed).poisson(3.0, 8).astype(np.float32)
        options: dict[str, Any] = {"loss": "poisson", "optimizer": optimizer, "seed": seed}
        source = Source.from_arrays(x, t)
        same(fastbp.fit(net, source, threads=2, **options), fastbp.fit(net, x, t, **options))


@needs_trust_exact
def test_a_hessian_is_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose nodes are those of a matrix: of smaller ones too many sums would be kept."""
    asked: list[Question] = []
    ask = Streamed.ask

    def noted(rows: Streamed, question: Question) -> Any:
        asked.append(question)
        return ask(rows, question)

    monkeypatch.setattr(Streamed, "ask", noted)
    options: dict[str, Any] = {"optimizer": "trust-exact", "epochs": 2, "l2": 1e-3}
    want = fastbp.fit(NET, X, T, **options)
    same(fastbp.fit(NET, Source.from_arrays(X, T), **options), want)
    products = [question for question in asked if question.what == "hvp"]
    assert {len(question.arguments[0]) for question in products} == {NET.n_params}
    shape = Shape.of(10**5, NET.n_params)
    assert {shape.grain(question) for question in products} == {shape.parts_of_matrix}
    assert shape.grain(Question("hvp", arguments=(np.zeros((1, 9)),))) < shape.parts_of_matrix


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_the_bits_of_trials_of_second_order(n_outputs: int) -> None:
    net = fastbp.Network(4, 16, n_outputs=n_outputs, output="identity")
    t = T if n_outputs == 1 else np.column_stack([T, np.cos(X[:, 0])])
    options: dict[str, Any] = {"optimizer": "lm", "epochs": 12, "l2": 1e-4}
    want = fastbp.fit(net, X, t, sample_weight=C, **options)
    source = Source.from_batches(batches(X, t, C), B)
    for threads in (1, 3):
        same(fastbp.fit(net, source, threads=threads, **options), want)
        same(fastbp.fit(net, X, t, sample_weight=C, threads=threads, **options), want)


@pytest.mark.parametrize("share", [None, 0.2])
@pytest.mark.parametrize("options", [*METHODS, {"optimizer": "adam", "epochs": 2}], ids=str)
def test_large_arrays_are_not_copied_and_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], share: float | None
) -> None:
    c = np.where(np.arange(B) % 7 == 0, 0.0, C)
    want = fastbp.fit(NET, X, T, sample_weight=c, validation=share, **options)
    monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    got = fastbp.fit(NET, X, T, sample_weight=c, validation=share, **options)
    same(got, want)
    np.testing.assert_allclose(got.covariance, want.covariance, rtol=1e-12, atol=1e-12)
    assert got.report().r2 == pytest.approx(want.report().r2)


@pytest.mark.parametrize("share", [None, 0.2])
@pytest.mark.parametrize("optimizer", [fastbp.LevenbergMarquardt(), "adam"], ids=str)
def test_many_classes_become_rows_of_probabilities_a_block_at_a_time(
    monkeypatch: pytest.MonkeyPatch, optimizer: Any, share: float | None
) -> None:
    rng = np.random.default_rng(7)
    soft = fastbp.Network(4, 5, n_outputs=3, output="softmax")
    classes = rng.integers(0, 3, B)
    given: dict[str, Any] = {"loss": "cross_entropy", "optimizer": optimizer, "epochs": 2}
    want = fastbp.fit(soft, X, classes, validation=share, l2=1e-3, **given)
    monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    monkeypatch.setattr(_boundary, "_EXPANDED", 0)
    for t in (classes, classes.astype(np.int16), classes.astype(float)):
        got = fastbp.fit(soft, X, t, validation=share, l2=1e-3, **given)
        same(got, want)
        assert got.data.t.shape == (B, 3) and not isinstance(got.data.t, np.ndarray)
    np.testing.assert_array_equal(got.data.t, np.eye(3)[classes])
    np.testing.assert_allclose(got.covariance, want.covariance, rtol=1e-9, atol=1e-14)
    with pytest.raises(ValueError, match=r"integers from 0 to 2.*got t\[7\] = 3"):
        fastbp.fit(soft, X, np.where(np.arange(B) == 7, 3, classes), **given)


@pytest.mark.parametrize("tau", [None, [1.0, 0.0, 2.0]], ids=["", "tau"])
@pytest.mark.parametrize("threads", [1, 2])
def test_calls_take_many_classes_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch, threads: int, tau: list[float] | None
) -> None:
    rng = np.random.default_rng(7)
    soft = fastbp.Network(4, 5, n_outputs=3, output="softmax")
    w, p, t = soft.init(0), soft.init(1), rng.integers(0, 3, B).astype(float)
    weights: dict[str, Any] = {"sample_weight": C, "target_weight": tau}
    given = {"loss": "cross_entropy", "threads": threads, **weights}

    def found() -> list[Any]:
        bound = pickle.loads(pickle.dumps(soft.objective(X, t, l2=0.1, **given)))
        calls = [getattr(soft, name) for name in ("hvp", "gauss_newton_product")]
        return [
            *soft.loss_and_grad(w, X, t, **given),
            *soft.gauss_newton(w, X, t, **given),
            *(call(w, X, t, p, **given) for call in calls),
            *(*bound(w), bound.value(w), bound.hvp(w, p), *bound.gauss_newton(w)),
        ]

    want = found()
    monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    monkeypatch.setattr(_boundary, "_EXPANDED", 0)
    monkeypatch.setattr(prepared, "_MADE", 1000)
    for one, other in zip(found(), want, strict=True):
        np.testing.assert_array_equal(one, other)
    assert soft.objective(X, t, **given).t.shape == (B,)
    with pytest.raises(ValueError, match="out must not overlap"):
        soft.loss_and_grad(w, X, t, out=t[: w.size], **given)


@pytest.mark.parametrize("share", [None, 0.2])
def test_a_checkpoint_of_large_arrays_is_of_these(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: float | None
) -> None:
    monkeypatch.setattr(sizes, "MOST_PACKED", 0)
    file = tmp_path / "kept.npz"
    given: dict[str, Any] = {"optimizer": "adam", "validation": share}
    fastbp.fit(NET, X, T, epochs=1, checkpoint=file, **given)
    want = fastbp.fit(NET, X, T, epochs=2, **given)
    with pytest.raises(ValueError, match="other arguments or data"):
        fastbp.fit(NET, X, np.where(np.arange(B) == 7, 3.0, T), epochs=2, checkpoint=file, **given)
    same(fastbp.fit(NET, X, T, epochs=2, checkpoint=file, **given), want)


def test_several_outputs_and_classes() -> None:
    rng = np.random.default_rng(7)
    classes = rng.integers(0, 3, B)
    soft = fastbp.Network(4, 5, n_outputs=3, output="softmax", dtype=np.float32)
    X32 = X.astype(np.float32)
    given: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3}
    want = fastbp.fit(soft, X32, classes, **given)
    same(fastbp.fit(soft, Source.from_batches(batches(X32, classes), B), **given), want)


@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_objective_of_a_source(loss: str) -> None:
    w, p = NET.init(0), NET.init(1)
    given: dict[str, Any] = {"loss": loss, "l2": 0.1}
    want = NET.objective(X, T, sample_weight=C, **given)
    got = NET.objective(Source.from_batches(batches(X, T, C), B), **given)
    assert got.value(w) == want.value(w)
    for name, arguments in (("__call__", (w,)), ("gauss_newton", (w,))):
        found, right = getattr(got, name)(*arguments), getattr(want, name)(*arguments)
        for a, b in zip(found, right, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(got.hvp(w, p), want.hvp(w, p))


def test_shuffled_within_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastbp._training import methods

    monkeypatch.setattr(methods, "_SHUFFLED", 1000 * 4 * 8)
    given: dict[str, Any] = {
        "optimizer": SGD(0.01),
        "epochs": 1,
        "batch_size": 40,
        "w0": NET.init(0),
    }
    got = fastbp.fit(NET, Source.from_batches(batches(X, T, C), B), **given)
    other = fastbp.fit(NET, Source.from_batches(batches(X, T, C), B), **given | {"seed": 1})
    assert (got.w != other.w).any()
    from fastbp._training.problem import stream
    from fastbp.kernels.calls.optimizers import Order

    order = Order(1000, stream(0, 1))
    alike = np.concatenate([first + order.next() for first in range(0, B, 1000)])
    shuffled = X[alike], T[alike]
    want = fastbp.fit(NET, *shuffled, sample_weight=C[alike], shuffle=False, **given)
    np.testing.assert_allclose(got.w, want.w, rtol=1e-12)  # Σ c is added in another order
    no_weights = Source.from_arrays(X, T)
    got = fastbp.fit(NET, Source.from_batches(batches(X, T), B), **given)
    want = fastbp.fit(NET, *shuffled, shuffle=False, **given)
    np.testing.assert_array_equal(got.w, want.w)
    assert no_weights.n_rows == B


@pytest.mark.parametrize("cuts", [(0, B), (0, 1234, 1235, B)])
def test_files_of_numpy(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    want = fastbp.fit(NET, X, T, sample_weight=C, epochs=3)
    table = np.column_stack([X[:, :2], T, C, X[:, 2:]])
    whole, inputs, targets, weights = [], [], [], []
    for first, end in itertools.pairwise(cuts):
        for files, name, array in (
            (whole, "table", table),
            (inputs, "X", X),
            (targets, "t", T),
            (weights, "c", C),
        ):
            files.append(tmp_path / f"{name}{first}.npy")
            np.save(files[-1], array[first:end])
    same(fastbp.fit(NET, Source.from_files(whole, target=2, sample_weight=3), epochs=3), want)
    apart = Source.from_files(inputs, target=targets, sample_weight=weights)
    same(fastbp.fit(NET, apart, epochs=3), want)
    with pytest.raises(ValueError, match="there is no column 9; the files have 6"):
        Source.from_files(whole, target=9)
    with pytest.raises(ValueError, match="for each of"):
        Source.from_files(inputs, target=[*targets, targets[0]])
    np.save(tmp_path / "narrow.npy", X[:, :2])
    with pytest.raises(ValueError, match=r"narrow.npy must hold rows of 6 numbers"):
        Source.from_files([*whole, tmp_path / "narrow.npy"], target=2)


@pytest.mark.parametrize("first", [0, 1])
def test_columns_of_a_table_are_read_where_they_lie(tmp_path: Path, first: int) -> None:
    rng = np.random.default_rng(7)
    w = NET.init(0)
    for n, dtype in ((B, float), (2, float), (B, np.float32)):  # parts; less than a vector
        table = np.column_stack([X, T] if first == 0 else [T, X, C])[:n].astype(dtype)
        np.save(tmp_path / "table.npy", table)
        columns: dict[str, Any] = {"target": 0, "sample_weight": 5} if first else {"target": 4}
        source = Source.from_files(tmp_path / "table.npy", **columns)
        arrays = [np.ascontiguousarray(a) for a in (table[:, first : first + 4], table[:, 0])]
        arrays[1] = table[:, columns["target"]].copy()
        c = table[:, 5].copy() if first else None
        for threads in (1, 2):
            got = NET.objective(source, threads=threads)
            want = NET.objective(*arrays, sample_weight=c)
            assert got.value(w) == want.value(w)
            for a, b in zip(got(w), want(w), strict=True):
                np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(got.hvp(w, w), want.hvp(w, w))
        given: dict[str, Any] = {"optimizer": "adam", "epochs": 2, "shuffle": False}
        same(fastbp.fit(NET, source, **given), fastbp.fit(NET, *arrays, sample_weight=c, **given))
    wide = fastbp.Network(20, 16)  # whose chunks are packed again for the gradient
    rows = rng.normal(size=(B, 21))
    want = wide.objective(rows[:, :20].copy(), rows[:, 20].copy())
    np.save(tmp_path / "wide.npy", rows)
    got = wide.objective(Source.from_files(tmp_path / "wide.npy", target=20))
    w = wide.init(0)
    np.testing.assert_array_equal(got(w)[1], want(w)[1])


def test_files_of_numpy_that_hold_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    for array, message in [
        (T, r"must hold rows of numbers, \(b, columns\); got shape \(5000,\)"),
        (np.float64(1.0), r"got shape \(\)"),
        (X.astype(object), "can't be mapped as an array of NumPy: .* objects"),
    ]:
        np.save(path, array)
        with pytest.raises(ValueError, match=rf"rows\.npy .*{message}"):
            Source.from_files(path, target=0)
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"rows\.npy can't be mapped as an array of NumPy: "):
        Source.from_files(path, target=0)


def test_files_of_numpy_without_inputs_or_cut_off(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3000, 2)))
    source = Source.from_files(tmp_path / "a.npy", target=1)
    with pytest.raises(ValueError, match=r"a\.npy has no column beside targets and weights"):
        Source.from_files(tmp_path / "a.npy", target=[0, 1])
    with pytest.raises(TypeError):
        Source.from_files(tmp_path / "a.npy", target=[[1]])
    np.save(tmp_path / "a.npy", np.ones((30, 2)))
    with pytest.raises(ValueError, match=r"a\.npy has been cut off since it was opened"):
        fastbp.fit(fastbp.Network(1, 2, output="identity"), source)


def test_what_validates_has_the_columns_of_what_is_fitted(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "y"])
    X, t, swapped = frame[["a", "b"]], frame["y"], frame[["b", "a"]]
    paths = [tmp_path / "fitted.parquet", tmp_path / "swapped.parquet"]
    frame.to_parquet(paths[0])
    frame[["b", "a", "y"]].to_parquet(paths[1])
    fitted, held = (Source.from_files(path, target="y") for path in paths)
    net = fastbp.Network(2, 2, output="identity")
    options: dict[str, Any] = {"epochs": 2, "progress": False}
    message = r"in validation: X must have the columns \['a', 'b'\], in order; got \['b', 'a'\]"
    for source in (fitted, Source.from_arrays(X, t)):
        for wrong in (held, Source.from_arrays(swapped, t)):
            with pytest.raises(ValueError, match=message):
                fastbp.fit(net, source, validation=wrong, **options)
        fastbp.fit(net, source, validation=Source.from_arrays(X.to_numpy(), t), **options)
    with pytest.raises(ValueError, match=message):
        fastbp.fit(net, X, t, validation=(swapped, t), **options)
    with pytest.raises(ValueError, match=message):
        fastbp.fit_many(net, X, t, seeds=2, validation=(swapped, t), **options)
    both = fastbp.Network(2, 2, n_outputs=2, output="identity")
    with pytest.raises(ValueError, match="in validation: t must have the columns"):
        fastbp.fit(both, X, swapped, validation=(X, X), **options)


def test_files_of_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "x", "one"]).assign(c=C)
    frame.insert(1, "price", T)
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    frame[:3000].to_parquet(paths[0], row_group_size=700)
    frame[frame.index >= 3000].to_parquet(paths[1], index=True)  # numbers of rows are no column
    source = Source.from_files(paths, target="price", sample_weight="c")
    want = fastbp.fit(NET, X, T, sample_weight=C, epochs=3)
    same(fastbp.fit(NET, source, epochs=3), want)
    with pytest.raises(ValueError, match="has no column 'prize'"):
        Source.from_files(paths, target="prize")
    frame.loc[3100, "b"] = np.nan
    frame[3000:].to_parquet(paths[1])
    with pytest.raises(
        ValueError, match=r"in rows \d+ to \d+: X must be finite; got nan at index \(3100, 1\)"
    ):
        fastbp.fit(NET, source, epochs=3)
    for values, kind in (("red", "string"), (pd.Timestamp(2024, 1, 1), "timestamp")):
        frame.assign(b=values).to_parquet(paths[0])
        with pytest.raises(TypeError, match=rf"one\.parquet must have .*; 'b' is of .*{kind}"):
            Source.from_files(paths[0], target="price", sample_weight="c")
    frame[["price"]].to_parquet(paths[0])
    with pytest.raises(ValueError, match=r"one\.parquet has no column beside targets and"):
        Source.from_files(paths[0], target="price")
    paths[0].write_text("a,b")
    with pytest.raises(ValueError, match=r"one\.parquet can't be read as Parquet: "):
        Source.from_files(paths[0], target="b")


def test_integers_that_numpy_rounds_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": np.arange(60) + 2**53, "x": 0.5, "y": 1.0})
    X, t = frame[["id", "x"]], frame["y"]
    frame.to_parquet(tmp_path / "a.parquet")
    for make in (
        lambda: Source.from_arrays(X, t),
        lambda: Source.from_batches(lambda: [(X, t)], 60),
        lambda: Source.from_files(tmp_path / "a.parquet", target="y"),
    ):
        with pytest.raises(TypeError, match="holds integers beyond ±9007199254740992"):
            fastbp.fit(fastbp.Network(2, 1), make())


def test_dask_chunk_by_chunk() -> None:
    want = fastbp.fit(NET, X, T, sample_weight=C, epochs=3)
    arrays = [da.from_array(a, chunks=1700) for a in (X, T, C)]
    same(fastbp.fit(NET, Source.from_dask(*arrays), epochs=3), want)
    frame = dd.from_pandas(pd.DataFrame(X).assign(t=T, c=C), npartitions=3)
    columns = [frame[[0, 1, 2, 3]], frame["t"], frame["c"]]
    same(fastbp.fit(NET, Source.from_dask(*columns), epochs=3), want)
    unknown = [
        a[a_mask]
        for a, a_mask in ((a, da.from_array(np.arange(B) >= 0, chunks=1700)) for a in arrays)
    ]
    same(fastbp.fit(NET, Source.from_dask(*unknown), epochs=3), want)
    assert np.isnan(unknown[0].chunks[0][0])  # the caller's own is as it was
    with pytest.raises(TypeError, match="must be arrays or dataframes of Dask; got ndarray"):
        Source.from_dask(X, T)
    masked = Source.from_dask(da.ma.masked_greater(arrays[0], 2.0), arrays[1])
    with pytest.raises(TypeError, match="rows has masked entries, which stand for no numbers"):
        fastbp.fit(NET, masked)


def test_dask_reads_files_at_once(tmp_path: Path) -> None:
    """Of some columns alone: then there are fewer partitions than Dask says."""
    frame = pd.DataFrame(X, columns=["a", "b", "x", "one"]).assign(t=T, c=C)
    for k, rows in enumerate(np.array_split(np.arange(B), 7)):
        frame.iloc[rows].to_parquet(tmp_path / f"{k}.parquet")
    table = dd.read_parquet(tmp_path)
    source = Source.from_dask(table[["a", "b", "x", "one"]], table["t"], table["c"])
    want = fastbp.fit(NET, X, T, sample_weight=C, epochs=3)
    same(fastbp.fit(NET, source, epochs=3), want)


def test_local_calls_compute_nothing_of_dask() -> None:
    def made(rows: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    x = da.from_array(X, chunks=1700).map_blocks(made, dtype=float, meta=X[:0])
    w, groups = NET.init(0), np.arange(B) % 2
    calls: list[Any] = [
        lambda: fastbp.fit(NET, x, T),
        lambda: fastbp.fit(NET, X, T, validation=(x, T)),
        lambda: fastbp.fit_many(NET, x, T),
        lambda: fastbp.fit_groups(NET, x, T, groups=groups),
        lambda: fastbp.fit_groups(NET, X, T, groups=x[:, 0]),
        lambda: NET.value(w, x),
        lambda: reference.value(NET, w, x),
        lambda: reference.loss_and_grad(NET, w, X, x[:, 0]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="of Dask, which this call does not pull into memory"):
            call()


def test_what_is_refused(tmp_path: Path) -> None:
    source = Source.from_arrays(X, T)
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (source, {"t": T}, "leave t and sample_weight out"),
        (source, {"sample_weight": C}, "leave t and sample_weight out"),
        (source, {"validation": 0.2}, "validation must be another; got float"),
        (source, {"validation": Source.from_arrays(X[:, 1:], T)}, "in validation: in rows 0 to"),
        (source, {"checkpoint": tmp_path / "c.npz"}, "keeps no checkpoint"),
        (X, {"t": T, "validation": source}, "needs one to fit"),
        (X, {}, "t is missing"),
    ]
    for given, options, message in refused:
        with pytest.raises((TypeError, ValueError), match=message):
            fastbp.fit(NET, given, **options)
    for n in (B - 1, B + 1):
        with pytest.raises(ValueError, match=f"must yield {n} rows"):
            fastbp.fit(NET, Source.from_batches(batches(X, T), n))
    far = T.copy()
    far[4321] = np.inf
    with pytest.raises(ValueError, match=r"in rows \d+ to \d+: t must be finite.*\(4321,\)"):
        fastbp.fit(NET, Source.from_arrays(X, far))
    classes = np.where(np.arange(B) == 4321, 7, 0)
    soft = fastbp.Network(4, 2, n_outputs=3, output="softmax")
    with pytest.raises(ValueError, match=r"the last of 3 outputs; got t\[4321\] = 7"):
        fastbp.fit(soft, Source.from_arrays(X, classes), loss="cross_entropy")
    with pytest.raises(ValueError, match="must not be negative"):
        fastbp.fit(NET, Source.from_arrays(X, T, -C))
    with pytest.raises(ValueError, match=r"sum in float32; got 6\.\d*e\+38"):
        rows = (a.astype("f4") for a in (X, T, C * 1e35))
        fastbp.fit(fastbp.Network(4, 2, dtype="f4"), Source.from_arrays(*rows))
    with pytest.raises(ValueError, match="have a weight, or none"):
        mixed = Source.from_batches(lambda: [(X[:9], T[:9], C[:9]), (X[9:], T[9:])], B)
        fastbp.fit(NET, mixed)
    with pytest.raises(ValueError, match=r"rows of one shape; got \(9, 4\), \(\d+, 3\)"):
        narrow = Source.from_batches(lambda: [(X[:9], T[:9]), (X[9:, :3], T[9:])], B)
        fastbp.fit(NET, narrow)
    for missing in (None, 1.0):
        with pytest.raises(TypeError, match="must be arrays, with an entry for each row"):
            Source.from_arrays(X, missing)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="files must be in an order, as a list is"):
        Source.from_files({"a.npy", "b.npy"}, target=0)
    with pytest.raises(TypeError, match="files are paths, or one; got 3"):
        Source.from_files(3, target=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a batch must be a tuple"):
        fastbp.fit(NET, Source.from_batches(lambda: [X], B))
    with pytest.raises(TypeError, match="factory must be a function"):
        Source.from_batches([(X, T)], B)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the same rows; got"):
        Source.from_arrays(X, T[:9])
    with pytest.raises(ValueError, match=r"shape \(B, 4\)"):
        fastbp.fit(NET, Source.from_arrays(X[:, :3], T))
    with pytest.raises(TypeError, match="targets and weights are in the Source"):
        NET.objective(source, T)


@pytest.mark.parametrize("kind", ["plain", "weighted", "huber", "outputs", "classes"])
def test_intervals_and_report_are_those_of_arrays(kind: str) -> None:
    rng = np.random.default_rng(7)
    net, t, c, options = NET, T, C if kind == "weighted" else None, {"epochs": 5, "l2": 1e-3}
    if kind == "outputs":
        net, t = fastbp.Network(4, 3, n_outputs=2, output="identity"), np.column_stack([T, X[:, 0]])
    elif kind == "classes":
        net = fastbp.Network(4, 3, n_outputs=3, output="softmax")
        t, options["loss"] = rng.integers(0, 3, B), "cross_entropy"
    elif kind == "huber":
        options["loss"] = "huber"
    c = None if c is None else np.where(np.arange(B) < 2000, 0.0, c)  # none in some parts
    want = fastbp.fit(net, X, t, sample_weight=c, **options)
    arrays = (X, t) if c is None else (X, t, c)
    got = fastbp.fit(net, Source.from_batches(batches(*arrays), B), **options)
    np.testing.assert_allclose(got.covariance, want.covariance, rtol=1e-8, atol=1e-14)
    for one, other in zip(*(r.predict(X[:9], return_std=True) for r in (got, want)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    for name, value in vars(want.report()).items():
        if isinstance(value, float | np.ndarray):
            found = getattr(got.report(), name)
            np.testing.assert_allclose(found, value, rtol=1e-7, err_msg=name)
        elif name not in ("net", "warnings"):
            assert getattr(got.report(), name) == value, name
    again = pickle.loads(pickle.dumps(got))
    np.testing.assert_array_equal(again.covariance, got.covariance)  # found before
    bare = pickle.loads(pickle.dumps(fastbp.fit(net, Source.from_arrays(*arrays), **options)))
    with pytest.raises(ValueError, match="had to be asked for them before"):
        bare.report()


def test_the_picture_of_a_fit_of_a_source_has_no_points() -> None:
    x = np.column_stack([np.linspace(-1.0, 1.0, 40), *np.ones((NET.n_inputs - 1, 40))])
    t = np.sin(x[:, 0])
    points = []
    for given in ((x, t), (Source.from_arrays(x, t),)):
        result = fastbp.fit(NET, *given, epochs=2)
        drawn = result.plot_prediction(x, 0, Figure().add_subplot()).collections
        points.append([len(c.get_offsets()) for c in drawn if isinstance(c, PathCollection)])
    assert points == [[40], []]


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_may_use_the_same_arrays_again(threads: int) -> None:
    def factory() -> Iterator[tuple[np.ndarray, ...]]:
        room, targets = np.empty((500, 4)), np.empty(500)
        for first in range(0, B, 500):
            n = min(500, B - first)
            room[:n], targets[:n] = X[first : first + n], T[first : first + n]
            yield room[:n], targets[:n]

    source = Source.from_batches(factory, B)
    same(fastbp.fit(NET, source, epochs=2, threads=threads), fastbp.fit(NET, X, T, epochs=2))


def test_rows_that_a_later_pass_has_not() -> None:
    passes: list[int] = []

    def factory() -> Iterator[tuple[np.ndarray, ...]]:
        passes.append(1)
        n = B if len(passes) < 3 else B - 10
        yield X[:n], T[:n]

    with pytest.raises(ValueError, match=f"must yield {B} rows at each pass; got {B - 10}$"):
        fastbp.fit(NET, Source.from_batches(factory, B))


def test_an_error_while_reading_ends_the_fit() -> None:
    passes: list[int] = []

    def factory() -> Iterator[tuple[np.ndarray, ...]]:
        passes.append(1)
        yield X[:2000], T[:2000]
        if len(passes) > 3:
            raise OSError("the disk is gone")
        yield X[2000:], T[2000:]

    with pytest.raises(OSError, match="the disk is gone"):
        fastbp.fit(NET, Source.from_batches(factory, B))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_more_rows_than_memory(tmp_path: Path) -> None:
    """3 × 10⁶ rows, 408 MB, in a process that may have 100 MB more than it has at the start."""
    script = """
        import resource, sys
        import numpy as np
        import fastbp
        n, N = 3_000_000, 16
        X = np.lib.format.open_memmap(sys.argv[1], "w+", np.float64, (n, N + 1))
        rng = np.random.default_rng(0)
        for first in range(0, n, 100_000):
            X[first : first + 100_000] = rng.normal(size=(100_000, N + 1))
        del X
        net = fastbp.Network(N, 4, output="identity")
        source = fastbp.Source.from_files(sys.argv[1], target=N)
        small = rng.normal(size=(2000, N))
        for optimizer in ("lm", "lbfgs", "adam"):
            fastbp.fit(net, small, small[:, 0], optimizer=optimizer, epochs=1)  # compiled by now
        with open("/proc/self/status") as status:
            (used,) = (int(line.split()[1]) for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, ((100 << 20) + 1024 * used, -1))
        for optimizer in ("lm", "lbfgs", "adam"):
            fastbp.fit(net, source, optimizer=optimizer, epochs=1, batch_size=256)
        try:
            np.ones(n * N)
        except MemoryError:
            print("done")
    """
    file = str(tmp_path / "X.npy")
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
