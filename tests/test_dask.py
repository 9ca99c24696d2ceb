"""fastbp.dask: the bits of a fit on one machine, and what may go wrong on several."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster, get_client, get_worker, worker_client
from sklearn.exceptions import NotFittedError
from support import TRUST_EXACT

import fastbp
import fastbp.dask
import fastbp.sklearn
from fastbp._dask import blocks, worker
from fastbp._dask import cluster as private
from fastbp._dask.blocks import Blocks
from fastbp._dask.worker import Answering, cut, largest_nodes
from fastbp._parts import Rows, Statistic, middle
from fastbp._training import jobs
from fastbp._training.far import Answers, Question, Shape
from fastbp.losses import squared

pytestmark = [
    # Of a cluster that goes while its client, or a test's threads, still look at it.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:distributed"),
]

B, N = 20_011, 3
rng = np.random.default_rng(5)
X = rng.normal(size=(B, N)) * [1.0, 30.0, 1e-3] + [0.0, 60.0, 0.0]
T = np.sin(X[:, 0]) + 0.01 * X[:, 1] + rng.normal(size=B) * 0.1
C = rng.uniform(0.5, 2.0, B)
NET = fastbp.Network(N, 4, output="identity")


@contextmanager
def cluster(
    n: int, processes: bool = True, default: bool = True, **options: Any
) -> Iterator[tuple[LocalCluster, Client]]:
    given = {"n_workers": n, "threads_per_worker": 1, "processes": processes, **options}
    # A client leaves its scheduler in the configuration where another client is open: in a worker.
    with dask.config.set(scheduler=None), LocalCluster(dashboard_address=":0", **given) as made:
        with Client(made, set_as_default=default) as client:
            if n:
                client.wait_for_workers(n)
            yield made, client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster(2, default=False) as (_, client):
        yield client


def far(array: np.ndarray, rows: int) -> da.Array:
    """Return an array whose chunks are made on the workers, as if they were read there."""
    chunks = (rows, *array.shape[1:])
    made = da.from_array(array, chunks=chunks, inline_array=True)
    return made.map_blocks(np.copy)


def same(got: fastbp.FitResult, want: fastbp.FitResult) -> None:
    np.testing.assert_array_equal(got.w, want.w)
    assert (got.loss, got.reason) == (want.loss, want.reason)
    for name, history in want.history.items():
        np.testing.assert_array_equal(got.history[name], history)


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs"])
@pytest.mark.parametrize(
    "given", [{}, {"l2": 1e-3}, {"w0": NET.init(1)}], ids=["raw", "penalised", "started"]
)
def test_the_bits_of_one_machine(client: Client, optimizer: str, given: dict[str, Any]) -> None:
    options = {"optimizer": optimizer, "epochs": 6, **given}
    want = fastbp.fit(NET, X, T, sample_weight=C, **options)
    got = fastbp.dask.fit(
        NET, far(X, 7001), far(T, 333), sample_weight=far(C, 20_000), client=client, **options
    )
    same(got, want)
    np.testing.assert_array_equal(got.predict(X[:5]), want.predict(X[:5]))
    with pytest.raises(ValueError, match="intervals=True"):
        got.covariance  # noqa: B018


@pytest.mark.parametrize("loss", ["squared", "huber", "pinball"])
def test_intervals_are_found_while_rows_are_there(loss: str) -> None:
    options = {"epochs": 3, "loss": loss, "w0": NET.init(0)}
    options["optimizer"] = "lm" if loss == "squared" else "lbfgs"
    want = fastbp.fit(NET, X, T, **options)
    with cluster(2, processes=False) as (_, client):
        x, t = far(X, 3000), far(T, 3000)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = fastbp.dask.fit(NET, x, t, client=client, intervals=True, **options)
        del x, t
        deadline = time.monotonic() + 30.0
        while any(client.run(lambda dask_worker: len(dask_worker.data)).values()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    said = [str(each.message) for each in caught if each.category is fastbp.FitWarning]
    same(got, want)
    if loss == "pinball":
        assert any("no intervals: standard deviations need a loss with" in text for text in said)
        assert repr(pickle.loads(pickle.dumps(got)).report()) == repr(want.report())
        return
    for of in (got, pickle.loads(pickle.dumps(got))):
        np.testing.assert_allclose(of.covariance, want.covariance, rtol=1e-6)
        assert of.report().standard_errors == pytest.approx(want.report().standard_errors)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize(
    ("optimizer", "dtype", "given"),
    [
        ("lm", "float32", {}),
        ("lm", "float64", {"bounds": (-0.5, 0.5)}),
        ("lm", "float64", {"l2": np.full(NET.n_params, 1e-3), "loss": "huber"}),
        ("lbfgs", "float64", {}),
        ("lbfgs", "float32", {}),
        ("trust-ncg", "float64", {"l2": 1e-3}),
    ],
)
def test_the_end_of_a_fit_is_looked_at(
    client: Client, optimizer: str, dtype: str, given: dict[str, Any]
) -> None:
    """Of few rows, whose sums come from one worker, and can't be written to."""
    net = fastbp.Network(N, 4, output="identity", dtype=dtype)
    x, t = (array[:300].astype(dtype) for array in (X, T))
    options = {"optimizer": optimizer, "l2": 1e-3, "seed": 1, **given}
    want = fastbp.fit(net, x, t, **options)
    assert want.reason != "all epochs done"
    same(fastbp.dask.fit(net, far(x, 70), far(t, 90), client=client, **options), want)


def test_what_speaks_against_a_fit_is_said_at_the_callers_line(client: Client) -> None:
    x, t = far(np.add(X, [0.0, 600.0, 0.0]), 3000), far(T, 3000)
    with pytest.warns(fastbp.FitWarning, match="no column is constant") as caught:
        fastbp.dask.fit(NET, x, t, epochs=1, client=client)
    assert {each.filename for each in caught} == {__file__}


@pytest.mark.parametrize("optimizer", ["trust-ncg", TRUST_EXACT])
def test_second_derivatives(client: Client, optimizer: str) -> None:
    options = {"optimizer": optimizer, "epochs": 4, "w0": NET.init(2)}
    want = fastbp.fit(NET, X, T, **options)
    same(fastbp.dask.fit(NET, far(X, 5000), far(T, 5000), client=client, **options), want)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_classes_and_validation(client: Client, dtype: str) -> None:
    net = fastbp.Network(N, 4, output="softmax", n_outputs=3, dtype=dtype)
    Z = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(dtype)
    t = np.digitize(Z.sum(axis=1), [-1.0, 1.0]).astype(dtype)
    options = {"loss": "cross_entropy", "epochs": 5}
    held = slice(0, 3000)
    want = fastbp.fit(net, Z, t, validation=(Z[held], t[held], C[held].astype(dtype)), **options)
    validation = (far(Z[held], 999), far(t[held], 999), far(C[held].astype(dtype), 999))
    x, t = far(Z, 5000), far(t, 5000)
    same(fastbp.dask.fit(net, x, t, validation=validation, client=client, **options), want)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_any_number_of_workers(n: int) -> None:
    want = fastbp.fit(NET, X, T, epochs=4)
    with cluster(n, processes=False, threads_per_worker=2) as (_, client):
        got = fastbp.dask.fit(NET, far(X, 4000), far(T, 4000), epochs=4)
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == n
    same(got, want)  # all have left by now
    assert np.isfinite(got.predict(X[:3])).all()


def test_a_data_frame(client: Client) -> None:
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    table = pd.DataFrame(X, columns=["a", "b", "c"]).assign(t=T)
    frame = dd.from_pandas(table, npartitions=3)
    got = fastbp.dask.fit(NET, frame[["a", "b", "c"]], frame["t"], client=client, epochs=3)
    same(got, fastbp.fit(NET, X, T, epochs=3))
    with pytest.raises(ValueError, match="in validation: X must have the columns"):
        fastbp.dask.fit(
            NET,
            frame[["a", "b", "c"]],
            frame["t"],
            client=client,
            validation=(frame[["c", "b", "a"]], frame["t"]),
        )


def test_chunks_of_unknown_and_of_no_length(client: Client) -> None:
    which = np.arange(B) % 3 > 0
    x, t = (far(a, 4000)[da.from_array(which, chunks=4000)] for a in (X, T))
    want = fastbp.fit(NET, X[which], T[which], epochs=3)
    same(fastbp.dask.fit(NET, x, t, client=client, epochs=3), want)
    assert np.isnan(x.shape[0]) and np.isnan(t.chunks[0][0])  # the caller's are as they were
    x = far(X, 4000)
    x = da.concatenate([x[:0], x[:5], x[5:5], x[5:], x[:0]])
    want = fastbp.fit(NET, X, T, epochs=3)
    same(fastbp.dask.fit(NET, x, far(T, 4000), client=client, epochs=3), want)


def test_regressors_of_all_kinds(client: Client) -> None:
    from fastbp.sklearn import NetworkRegressor

    several = np.column_stack([T, X[:, 0] ** 2])
    for y, c, given in (
        (T, None, {"l2": 0.0}),
        (several, C, {"dtype": "float32"}),
        (T, C, {"standardize": False, "standardize_target": False, "monotonic_cst": [1, 0, 0]}),
    ):
        options = {"n_neurons": 3, "l2": None, "epochs": 5, "random_state": 2, **given}
        want = NetworkRegressor(**options).fit(X, y, c)
        model = fastbp.dask.NetworkRegressor(**options)
        model.client = client
        weights = None if c is None else far(c, 4000)
        assert model.fit(far(X, 7001), far(y, 3000), weights) is model
        np.testing.assert_array_equal(model.w_, want.w_)
        assert (model.loss_, model.l2_) == (want.loss_, want.l2_)
        lazy = model.predict(far(X, 5000))
        assert isinstance(lazy, da.Array) and lazy.shape == y.shape
        np.testing.assert_array_equal(lazy.compute(scheduler=client), want.predict(X))
        scores = model.score(far(X, 5000), far(y, 900), weights), want.score(X, y, c)
        assert scores[0] == pytest.approx(scores[1], rel=1e-6 if "dtype" in given else 1e-12)
        local = model.to_local()
        assert type(local) is NetworkRegressor
        np.testing.assert_array_equal(local.predict(X[:9]), want.predict(X[:9]))
        again = pickle.loads(pickle.dumps(model))
        assert again.client is None
        np.testing.assert_array_equal(again.predict(X[:9]), want.predict(X[:9]))
    model = fastbp.dask.NetworkRegressor("auto")
    model.client = client
    with pytest.raises(ValueError, match="give a number"):
        model.fit(far(X, 5000), far(T, 5000))
    with pytest.raises(ValueError, match="validation_fraction is not known"):
        fastbp.dask.NetworkRegressor(validation_fraction=0.1).fit(far(X, 5000), far(T, 5000))


@pytest.mark.parametrize("given", [{"l2": 0.01}, {"optimizer": "adam", "shuffle": False}])
def test_what_was_fitted_on_a_cluster_goes_on_without_it(client: Client, given: Any) -> None:
    from fastbp.sklearn import NetworkRegressor

    options = {"n_neurons": 3, "l2": None, "epochs": 2, "random_state": 2, **given}
    want = NetworkRegressor(**options).fit(X, T)
    model = fastbp.dask.NetworkRegressor(**options)
    model.client = client
    local = model.fit(far(X, 7001), far(T, 3000)).to_local()
    assert local.l2_linear_ == want.l2_linear_
    for each in (local, want):
        each.partial_fit(X[:999], T[:999]).set_params(warm_start=True).fit(X, T)
    np.testing.assert_array_equal(local.w_, want.w_)


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"]])
def test_classifiers(client: Client, labels: list[str]) -> None:
    from fastbp.sklearn import NetworkClassifier

    y = np.array(labels)[np.digitize(X[:, 0], [-0.5, 0.5]) % len(labels)]
    options = {"n_neurons": 3, "l2": None, "epochs": 5, "random_state": 2}
    want = NetworkClassifier(**options).fit(X, y)
    model = fastbp.dask.NetworkClassifier(**options)
    model.client = client
    model.fit(far(X, 7001), far(y, 3000))
    np.testing.assert_array_equal(model.w_, want.w_)
    np.testing.assert_array_equal(model.classes_, want.classes_)
    x = far(X, 6000)
    np.testing.assert_array_equal(model.predict(x).compute(scheduler=client), want.predict(X))
    score = model.score(x, far(y, 900), far(C, 7000))
    assert score == pytest.approx(want.score(X, y, C), rel=1e-12)
    lazy = model.predict_proba(x)
    assert lazy.shape == (B, len(labels))
    np.testing.assert_array_equal(lazy.compute(scheduler=client), want.predict_proba(X))
    weighs = (y == labels[0]) * C
    with pytest.raises(ValueError, match="two classes or more are expected; got 1"):
        model.fit(x, far(y, 3000), far(weighs, 3000))
    numbers = (y == labels[0]).astype(np.float64)
    numbers[777] = np.nan
    with pytest.raises(ValueError, match="y must have a label for each observation; got nan"):
        model.fit(x[:, :2], far(numbers, 3000))
    np.testing.assert_array_equal(model.predict(X[:9]), want.predict(X[:9]))  # it is as it was


def test_a_filtered_frame_and_text(client: Client) -> None:
    """Some partitions are without a row, and what is counted is counted by the client."""
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    from fastbp.sklearn import NetworkClassifier

    def there(some: Any) -> Any:
        get_worker()
        return some[some.index >= 9000]

    def frame(data: Any) -> Any:
        return dd.from_pandas(data, npartitions=4).map_partitions(there, meta=data.iloc[:0])

    table = pd.DataFrame(X, columns=["a", "b", "c"])
    labels = pd.Series(np.where(X[:, 0] > 0.0, "yes", "no")).astype(object)
    options = {"n_neurons": 2, "l2": 1e-3, "epochs": 3, "random_state": 0}
    want = NetworkClassifier(**options).fit(table[9000:], labels[9000:])
    model = fastbp.dask.NetworkClassifier(**options)
    model.client = client
    with dask.config.set({"dataframe.convert-string": False}):
        x, y = frame(table), frame(labels)
    model.fit(x, y)
    np.testing.assert_array_equal(model.w_, want.w_)
    for method, dtype in (("predict", object), ("predict_proba", float)):
        lazy = getattr(model, method)(x)
        assert lazy.dtype == dtype
        expected = getattr(want, method)(table[9000:])
        np.testing.assert_array_equal(lazy.compute(scheduler=client), expected)
    for of in (y, labels[9000:]):
        assert model.score(x, of) == pytest.approx(want.score(table[9000:], labels[9000:]))
    for missing in (None, pd.NA, np.nan):
        y = frame(labels.where(labels.index != 9999, missing))
        with pytest.raises(ValueError, match="y must have a label for each observation; got"):
            model.fit(x, y)
    with pytest.raises(NotFittedError):
        fastbp.dask.NetworkRegressor().predict(x)


_CONFIGURED: list[Any] = []


def _seen(rows: np.ndarray) -> np.ndarray:
    _CONFIGURED.append(dask.config.get("scheduler", None))
    return rows


def test_nothing_is_left_in_the_configuration() -> None:
    """Where another thread would find it, and leave it behind."""
    with cluster(1, processes=False, default=False) as (_, client):
        x = far(X, 3000).map_blocks(_seen, chunks=((np.nan,) * 7, (N,)), meta=X[:0])
        fastbp.dask.fit(NET, x, far(T, 3000), epochs=1, client=client)
    assert len(_CONFIGURED) >= 14 and set(_CONFIGURED) == {None}


def test_many_fits(client: Client) -> None:
    x, t = X[:300], T[:300]
    want = fastbp.fit_many(NET, x, t, seeds=12, epochs=5)
    got = fastbp.fit_many(NET, x, t, seeds=12, epochs=5, client=client)
    assert got.seeds == want.seeds
    for one, other in zip(got, want, strict=True):
        same(one, other)
    groups = np.arange(len(X)) % 150
    each = fastbp.fit_groups(NET, X, T, groups=groups, epochs=3, client=client)
    alone = fastbp.fit_groups(NET, X, T, groups=groups, epochs=3)
    np.testing.assert_array_equal(each.w, alone.w)
    np.testing.assert_array_equal(each.losses, alone.losses)
    assert each.reasons == alone.reasons


def test_many_fits_where_all_workers_are_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And with them the data that were sent."""
    x, t, path = X[:300], T[:300], tmp_path / "steps"

    def dies(state: fastbp.FitState) -> None:
        with path.open("a") as steps:
            steps.write(".")
            if steps.tell() == 12:  # in the third fit
                os.kill(os.getpid(), signal.SIGKILL)

    want = fastbp.fit_many(NET, x, t, seeds=6, epochs=5)
    with cluster(1, silence_logs=50) as (_, client):
        assert client.submit(abs, -1).result() == 1
        monkeypatch.setattr(jobs, "_FIRST_WORKER", 0.1)  # another is waited for
        got = fastbp.fit_many(NET, x, t, seeds=6, epochs=5, callback=dies, client=client)
        path.unlink()
        monkeypatch.setattr(jobs, "_MOST_LOSSES", 0)
        with pytest.raises(RuntimeError, match="all workers were lost 1 times in a row"):
            fastbp.fit_many(NET, x, t, seeds=6, epochs=5, callback=dies, client=client)
    for one, other in zip(got, want, strict=True):
        same(one, other)


def test_lost_and_joined_workers_change_nothing() -> None:
    want = fastbp.fit(NET, X, T, epochs=12, w0=NET.init(0))
    with cluster(2) as (made, client):
        pids = client.run(os.getpid)
        seen, times = [], []

        def look(state: fastbp.FitState) -> None:
            times.append(time.monotonic())
            if state.step == 3:
                os.kill(next(iter(pids.values())), signal.SIGKILL)
            if state.step == 6:
                made.scale(3)
                client.wait_for_workers(3)
                time.sleep(2.5)  # until the next look at who is there
            if state.step == 12:
                seen.extend(client.run(lambda dask_worker: len(dask_worker.data)).values())

        got = fastbp.dask.fit(
            NET, far(X, 3000), far(T, 3000), epochs=12, w0=NET.init(0), callback=look
        )
    same(got, want)
    assert len(seen) == 3 and min(seen) > 0, seen
    assert times[3] - times[2] < 30.0  # far from any of Dask's time-outs; mostly below 3 s


@pytest.mark.parametrize(
    ("fan", "most"), [(1, "_MOST_ASKED"), (2, "_MOST_ANSWERED"), (8, "_MOST_ASKED")]
)
def test_workers_that_ask_workers(monkeypatch: pytest.MonkeyPatch, fan: int, most: str) -> None:
    monkeypatch.setattr(blocks, most, 3)
    monkeypatch.setattr(blocks, "_FAN", fan)
    asked, of_one = set(), worker.answers_of

    def seen(node: Any, tree: Any, *rest: Any, **message: Any) -> Any:
        asked.add((type(node).__name__, tree[0]))
        return of_one(node, tree, *rest, **message)

    monkeypatch.setattr(worker, "answers_of", seen)
    want = {
        optimizer: fastbp.fit(NET, X, T, epochs=4, w0=NET.init(0), optimizer=optimizer)
        for optimizer in ("lm", "lbfgs")
    }
    with cluster(6, processes=False) as (_, client):
        rows = {"client": client, "epochs": 4, "w0": NET.init(0)}
        for optimizer, result in want.items():
            same(
                fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), optimizer=optimizer, **rows),
                result,
            )
        up = sorted(client.scheduler_info(n_workers=-1)["workers"])
        by_client = {address for node, address in asked if node == "Client"}
        by_workers = {address for node, address in asked if node == "Worker"}
        assert by_client | by_workers == {*up} and len(by_client) == min(fan, 6)
        assert len(by_workers) == 6 - len(by_client)

        def leave(state: fastbp.FitState) -> None:
            if state.step == 2:
                client.retire_workers([up[1]])

        got = fastbp.dask.fit(
            NET, far(X, 3000), far(T, 3000), optimizer="lbfgs", callback=leave, **rows
        )
        same(got, want["lbfgs"])
        with pytest.raises(ZeroDivisionError, match="row 15000"):
            Blocks(
                client, NET, squared, far(X, 3000), far(T, 3000), None, by_matrix=False, timeout=9.0
            ).reduce(_fails, X[15_000])


def _fails(rows: Rows, row: np.ndarray) -> Statistic:
    if (rows.X == row).all(axis=1).any():
        raise ZeroDivisionError("row 15000")
    return Statistic((1.0,))


def test_workers_lost_and_stopped_below_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_ASKED", 2)
    monkeypatch.setattr(blocks, "_FAN", 1)  # the first asks the second, that the third
    want = fastbp.fit(NET, X, T, epochs=9, w0=NET.init(0), optimizer="lbfgs")
    with cluster(3) as (_, client):
        pids = client.run(os.getpid)
        _, second, third = sorted(pids)
        x, t = far(X, 3000), far(T, 3000)
        options = {"w0": NET.init(0), "optimizer": "lbfgs", "epochs": 9, "client": client}

        def kill(state: fastbp.FitState) -> None:
            if state.step == 3:
                os.kill(pids[second], signal.SIGKILL)

        same(fastbp.dask.fit(NET, x, t, callback=kill, **options), want)
        client.wait_for_workers(3)
        pids = client.run(os.getpid)
        third = sorted(pids)[2]

        def stop(state: fastbp.FitState) -> None:
            if state.step == 3:
                os.kill(pids[third], signal.SIGSTOP)

        try:
            with pytest.raises(TimeoutError, match=f"worker {third} has given no sign of life"):
                fastbp.dask.fit(NET, x, t, callback=stop, timeout=3.0, **options)
        finally:
            os.kill(pids[third], signal.SIGCONT)


@pytest.mark.parametrize(
    ("optimizer", "batch"), [("adam", 64), ("sgd", 1), (fastbp.AdamW(0.01), 48), ("adam", 30_000)]
)
def test_batches_in_their_order(client: Client, optimizer: Any, batch: int) -> None:
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    options = {"optimizer": optimizer, "batch_size": batch, "epochs": 3}
    want = fastbp.fit(NET, Z, T, sample_weight=C, shuffle=False, **options)
    got = fastbp.dask.fit(
        NET, far(Z, 7001), far(T, 6000), sample_weight=far(C, 999), client=client, **options
    )
    same(got, want)


def test_the_row_that_is_no_number(client: Client) -> None:
    bad = T.copy()
    bad[12_345] = np.nan
    with pytest.raises(ValueError, match="t must be finite; row 12345 is not"):
        fastbp.dask.fit(NET, far(X, 3000), far(bad, 3000), client=client)
    with pytest.raises(ValueError, match="sample_weight must not be negative; that of row 7 is"):
        c = C.copy()
        c[7] = -1.0
        fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), sample_weight=far(c, 3000), client=client)


def test_what_is_refused(client: Client) -> None:
    x, t = far(X, 3000), far(T, 3000)
    with pytest.raises(ValueError, match="batch_size must make up parts"):
        fastbp.dask.fit(NET, x, t, optimizer="adam", batch_size=100, client=client)
    with pytest.raises(ValueError, match="l2 is a number"):
        fastbp.dask.fit(NET, x, t, l2="auto", client=client)
    with pytest.raises(ValueError, match="one entry for each of 20011"):
        fastbp.dask.fit(NET, x, t[1:], client=client)
    with pytest.raises(ValueError, match=r"shape \(B, 3\)"):
        fastbp.dask.fit(NET, x[:, :2], t, client=client)
    narrow = x.map_blocks(lambda some: some[:, :2], dtype=float)  # not as it says
    with pytest.raises(ValueError, match=r"among rows \d+ to \d+: X must have shape \(B, 3\)"):
        fastbp.dask.fit(NET, narrow, t, w0=NET.init(0), client=client)
    half = [a.map_blocks(lambda some: some[::2], dtype=float) for a in (x, t)]  # nor are they
    with pytest.raises(ValueError, match=r"X has \d+ of the rows .* X.compute_chunk_sizes\(\)"):
        fastbp.dask.fit(NET, *half, w0=NET.init(0), client=client)
    for array in half:
        array.compute_chunk_sizes()
    want = fastbp.fit(NET, *(array.compute() for array in half), w0=NET.init(0), epochs=3)
    same(fastbp.dask.fit(NET, *half, w0=NET.init(0), epochs=3, client=client), want)
    with pytest.raises(TypeError, match="X must hold real numbers"):
        fastbp.dask.fit(NET, None, t, client=client)
    with pytest.raises(TypeError, match="arrays or dataframes of Dask; got Delayed"):
        fastbp.dask.fit(NET, dask.delayed(X), t, client=client)
    for c, message in ((2.0, r"one entry .* got shape \(\)"), (x[:, :2], r"shape \(20011,\); got")):
        with pytest.raises(ValueError, match=f"sample_weight must have {message}"):
            fastbp.dask.fit(NET, x, t, sample_weight=c, client=client)
    with pytest.raises(TypeError, match="client must be"):
        fastbp.dask.fit(NET, x, t, client="tcp://nowhere")
    with pytest.raises(TypeError, match="validation must be"):
        fastbp.dask.fit(NET, x, t, validation=0.1, client=client)
    with pytest.raises(ValueError, match=r"in validation: X must have shape \(B, 3\)"):
        fastbp.dask.fit(NET, x, t, validation=(x[:, :2], t), client=client)
    for timeout in ("long", None, 0.0):
        with pytest.raises(ValueError, match="timeout must be a number of seconds above 0; got"):
            fastbp.dask.fit(NET, x, t, timeout=timeout, client=client)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="batch_size must be a positive integer; got 'all'"):
        fastbp.dask.fit(NET, x, t, optimizer="adam", batch_size="all", client=client)  # type: ignore[arg-type]


def test_what_estimators_refuse(client: Client) -> None:
    x, t = far(X, 7001), far(T, 3000)
    regressor = fastbp.dask.NetworkRegressor(2, loss="poisson", epochs=1)
    classifier = fastbp.dask.NetworkClassifier(2, epochs=1)
    for model, message in ((regressor, "'poisson' must lie in"), (classifier, "continuous")):
        model.client = client
        with pytest.raises(ValueError, match=message):
            model.fit(x, t)
    for given, message in (({"l2": "much"}, "l2 must be"), ({"batch_size": 0}, "batch_size must")):
        model = fastbp.dask.NetworkRegressor(2, **given)
        model.client = client
        with pytest.raises(ValueError, match=message):
            model.fit(x, t)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError):
            getattr(classifier, method)(x)
    for fit in (fastbp.fit_many, partial(fastbp.fit_groups, groups=T > 0.0)):
        with pytest.raises(TypeError, match="client must be a distributed"):
            fit(NET, X, T, client="tcp://nowhere")


@pytest.mark.filterwarnings("error::UserWarning:sklearn")
def test_a_score_is_of_the_columns_and_rows_that_were_fitted(client: Client) -> None:
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")

    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), npartitions=3)
    model = fastbp.dask.NetworkRegressor(2, l2=1e-3, epochs=2, random_state=0)
    model.client = client
    model.fit(frame, far(T, 3000))
    score, nan = model.score(frame, far(T, 3000)), np.where(np.arange(B) == 9, np.nan, T)
    assert model.score(frame.compute(), T) == pytest.approx(score, rel=1e-12)
    for x, y, c, message in (
        (frame[["c", "b", "a"]], far(T, 3000), None, r"'c'\], in order; got \['c', 'b', 'a'\]"),
        (frame, T[:9], None, rf"y must have shape \({B},\); got \(9,\)"),
        (frame, np.column_stack([T, T]), None, "y must have shape"),
        (frame, T, C[:9], rf"sample_weight must have shape \({B},\); got \(9,\)"),
        (frame, T, -C, "sample_weight must not be negative"),
        (frame, far(nan, 3000), None, "must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.score(x, y, c)
    with pytest.raises(TypeError, match="must have no masked entries"):
        model.score(frame, da.ma.masked_greater(far(T, 3000), 1.0))
    with pytest.raises(TypeError, match="has masked entries, which stand for no numbers"):
        model.score(frame, np.ma.masked_greater(T, 1.0))
    classifier = fastbp.dask.NetworkClassifier(2, epochs=1)
    classifier.client = client
    with pytest.raises(TypeError, match="y has masked entries, which stand for no numbers"):
        classifier.fit(frame, da.ma.masked_equal(far((T > 0.0).astype(int), 3000), 1))
    with pytest.raises(ValueError, match=r"X must have two axes; got shape \(3,\)"):
        model.predict(da.ones(3))


def test_local_calls_do_not_pull_it_into_memory(client: Client) -> None:
    x, t = far(X, 3000), far(T, 3000)
    few = fastbp.sklearn.NetworkRegressor(n_neurons=2, l2=1e-3, epochs=1).fit(X[:99], T[:99])
    for call in (
        lambda: few.score(X, t),
        lambda: few.score(X, T, t),
        lambda: NET.loss_and_grad(NET.init(0), x, T),
        lambda: NET.value(NET.init(0), x),
        lambda: fastbp.fit(NET, X, t),
        lambda: NET.objective(x, t),
    ):
        with pytest.raises(TypeError, match=r"fastbp\.dask\.fit"):
            call()


def test_two_fits_at_once(client: Client) -> None:
    want = fastbp.fit(NET, X, T, epochs=5), fastbp.fit(NET, X[:9000], T[:9000], epochs=5)
    got: dict[int, fastbp.FitResult] = {}

    def run(k: int, n: int) -> None:
        x, t = far(X[:n], 3000), far(T[:n], 2000)
        got[k] = fastbp.dask.fit(NET, x, t, client=client, epochs=5, progress=False)

    threads = [threading.Thread(target=run, args=each) for each in ((0, B), (1, 9000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(2):
        same(got[k], want[k])


def _fitted() -> Any:
    x = da.from_array(X, chunks=(5000, N), inline_array=True)
    t = da.from_array(T, chunks=5000, inline_array=True)
    return fastbp.dask.fit(NET, x, t, client=get_client(), epochs=3).w


def _fitted_beside_the_pool() -> Any:
    with worker_client():
        return _fitted()


def _many_fitted() -> Any:
    return fastbp.fit_many(NET, X, T, seeds=1, epochs=3, client=get_client())[0].w


def _groups_fitted() -> Any:
    groups = np.zeros(B, int)
    return fastbp.fit_groups(NET, X, T, groups=groups, epochs=3, client=get_client()).w[0]


@pytest.mark.parametrize(
    "task",
    [_fitted, _fitted_beside_the_pool, _many_fitted, _groups_fitted],
    ids=lambda f: f.__name__,
)
def test_a_fit_inside_a_task(task: Any) -> None:
    """Of the only thread there is, which takes tasks again afterwards."""
    with cluster(1, processes=False) as (_, client):
        w = pickle.loads(client.submit(lambda: pickle.dumps(task())).result(timeout=60))
        assert client.submit(abs, -1, pure=False).result(timeout=60) == 1
    np.testing.assert_array_equal(w, fastbp.fit(NET, X, T, epochs=3).w)


def test_arrays_from_here_are_sent_with_a_warning() -> None:
    with cluster(2) as (_, client):
        pids = client.run(os.getpid)
        with pytest.warns(UserWarning, match="are sent to the workers") as caught:
            got = fastbp.dask.fit(NET, X, T, epochs=3, w0=NET.init(0))
        assert caught[0].filename == __file__
        same(got, fastbp.fit(NET, X, T, epochs=3, w0=NET.init(0)))

        def kill(state: fastbp.FitState) -> None:
            os.kill(next(iter(pids.values())), signal.SIGKILL)

        with (
            pytest.warns(UserWarning, match="are sent to the workers"),
            pytest.raises(RuntimeError, match="nobody can make them again"),
        ):
            fastbp.dask.fit(NET, X, T, epochs=9, w0=NET.init(0), callback=kill)


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_LOSSES", 1)  # each takes the start of a worker
    net = fastbp.Network(16, 4, output="identity")
    x = da.random.default_rng(0).normal(size=(2_000_000, 16), chunks=(100_000, 16))  # 256 MB
    with cluster(1, memory_limit="250MiB", silence_logs=50) as (_, client):
        with pytest.raises(RuntimeError, match="have the workers enough memory"):
            fastbp.dask.fit(net, x, x[:, 0], w0=net.init(0), epochs=3, client=client)


def test_a_stopped_machine_is_named() -> None:
    with cluster(2) as (_, client):
        pids = client.run(os.getpid)
        address, pid = next(iter(pids.items()))

        def stop(state: fastbp.FitState) -> None:
            if state.step == 2:
                os.kill(pid, signal.SIGSTOP)

        try:
            with pytest.raises(TimeoutError, match=f"worker {address} has given no sign of life"):
                fastbp.dask.fit(
                    NET, far(X, 3000), far(T, 3000), epochs=9, callback=stop, timeout=3.0
                )
        finally:
            os.kill(pid, signal.SIGCONT)


def test_another_processor_is_refused() -> None:
    with cluster(1) as (made, client):
        env = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
        command = [sys.executable, "-m", "distributed.cli.dask_worker", made.scheduler_address]
        other = subprocess.Popen([*command, "--no-nanny", "--no-dashboard"], env=env)
        try:
            client.wait_for_workers(2, timeout=60)
            with pytest.raises(RuntimeError, match="NUMBA_CPU_NAME"):
                fastbp.dask.fit(NET, far(X, 3000), far(T, 3000))
        finally:
            other.terminate()
            other.wait()


def test_a_lost_client_is_said() -> None:
    with cluster(1, processes=False) as (_, client):

        def close(state: fastbp.FitState) -> None:
            client.close()

        with pytest.raises(RuntimeError, match="connection to the cluster is closed"):
            fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), epochs=9, callback=close)


def test_a_worker_that_has_no_plugin_yet() -> None:
    def hide(dask_worker: Any, name: str) -> None:
        handler = dask_worker.handlers.pop(name)
        dask_worker.loop.call_later(0.2, dask_worker.handlers.__setitem__, name, handler)

    options = {"optimizer": "lbfgs", "epochs": 5, "w0": NET.init(0)}
    want = fastbp.fit(NET, X, T, **options)
    with cluster(2, processes=False) as (_, client):
        one = [min(client.scheduler_info(n_workers=-1)["workers"])]

        def joined(state: fastbp.FitState) -> None:
            if state.step == 2:
                client.run(hide, name="fastbp_answer", workers=one)

        for callback in (joined, None):
            got = fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), callback=callback, **options)
            same(got, want)
            if callback is not None:  # before the second
                client.run(hide, name="fastbp_identity", workers=one)


def test_no_client_and_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="needs the client of a cluster"):
        fastbp.dask.fit(NET, far(X, 3000), far(T, 3000))
    with cluster(1, processes=False) as (_, client):
        client.retire_workers([*client.scheduler_info()["workers"]])
        with pytest.raises(TimeoutError, match="has had no workers for"):
            fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), timeout=1.0)
        monkeypatch.setattr(jobs, "_FIRST_WORKER", 0.5)
        with pytest.raises(TimeoutError, match="has had no workers for"):
            fastbp.fit_many(NET, X, T, client=client)

        def interrupted(*given: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(jobs, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):  # at once: nothing waits for a worker any more
            fastbp.fit_many(NET, X, T, client=client)


def test_workers_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from outside of the cluster's own network."""
    with cluster(2, processes=False) as (_, client):
        connect, up = client.rpc.connect, {*client.scheduler_info(n_workers=-1)["workers"]}

        async def scheduler_alone(address: str, **options: Any) -> Any:
            if address in up:
                raise OSError(f"Timed out trying to connect to {address}")
            return await connect(address, **options)

        monkeypatch.setattr(client.rpc, "connect", scheduler_alone)
        with pytest.raises(TimeoutError, match=r"none of 2 workers, .* can be reached from here"):
            fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), timeout=1.0)


def test_a_cluster_that_begins_workers_for_tasks() -> None:
    with cluster(0, processes=False) as (made, client):
        made.adapt(minimum=0, maximum=2, interval="100ms")
        got = fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), epochs=3, client=client)
    with cluster(0, processes=False) as (made, client):
        made.adapt(minimum=0, maximum=2, interval="100ms")
        one = fastbp.fit_many(NET, X, T, seeds=[0], epochs=3, client=client)[0]
    for each in (got, one):
        same(each, fastbp.fit(NET, X, T, epochs=3))


def test_ctrl_c_ends_the_fit_and_frees_the_workers(client: Client) -> None:
    def interrupt(state: fastbp.FitState) -> None:
        if state.step == 2:
            raise KeyboardInterrupt

    got = fastbp.dask.fit(
        NET, far(X, 3000), far(T, 3000), client=client, callback=interrupt, optimizer="lbfgs"
    )
    assert got.reason == "interrupted" and np.isfinite(got.loss)


def test_ctrl_c_while_a_step_is_under_way(tmp_path: Path) -> None:
    program = """
import os, signal, sys, threading, time
import numpy as np
import fastbp, fastbp.dask
from fastbp._dask.blocks import Blocks
from fastbp._parts import Statistic, weight
from fastbp.losses import squared
from test_dask import B, NET, T, X, cluster, far

def slow(rows, path):
    with open(path, "a") as file:
        file.write(".")
    time.sleep(0.2)
    return Statistic((1.0,))

def later(seconds, number, *pids):
    for pid in pids:
        threading.Timer(seconds, os.kill, (pid, number)).start()

# Shells have what they start in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
with cluster(2, silence_logs=50) as (_, client):
    blocks = Blocks(client, NET, squared, far(X, 3000), far(T, 3000), None, by_matrix=False,
                    timeout=60.0)
    later(1.0, signal.SIGINT, os.getpid())
    try:
        blocks.reduce(slow, sys.argv[1])
    except KeyboardInterrupt:
        pass
    (n,), _, _ = blocks.reduce(weight)  # the same threads answer: they are free
    begun = os.stat(sys.argv[1]).st_size
    time.sleep(0.5)
    assert 0 < begun == os.stat(sys.argv[1]).st_size < blocks.shape.n_parts / 2, begun
    assert n == B

    pids, seen = client.run(os.getpid).values(), []
    def stop(state):
        seen.append(state.w.copy())
        if state.step == 3:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            later(0.5, signal.SIGINT, os.getpid())
            later(1.0, signal.SIGCONT, *pids)
    result = fastbp.dask.fit(NET, far(X, 3000), far(T, 3000), w0=NET.init(0), callback=stop)
    assert result.reason == "interrupted" and len(seen) == 3, result
    assert (result.w == seen[-1]).all() and result.loss < result.history["loss"][0]
    print("done")
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", program, str(tmp_path / "parts")]
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("n_parts", [1, 2, 5, 13, 37, 256])
def test_blocks_are_nodes(n_parts: int) -> None:
    def nodes(lo: int, hi: int) -> set[tuple[int, int]]:
        if hi - lo == 1:
            return {(lo, hi)}
        at = middle(lo, hi)
        return {(lo, hi)} | nodes(lo, at) | nodes(at, hi)

    whole = nodes(0, n_parts)
    for most in (1, 2, 4, 16):
        blocks = cut(0, n_parts, most)
        assert set(blocks) <= whole
        assert largest_nodes(tuple(blocks), n_parts) == ((0, n_parts),)
        some = [block for k, block in enumerate(blocks) if k % 3]
        found = largest_nodes(tuple(some), n_parts)
        assert set(found) <= whole
        assert sum(b - a for a, b in found) == sum(b - a for a, b in some)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_node_of_any_size_has_room(dtype: str) -> None:
    net = fastbp.Network(N, 4, output="identity", dtype=dtype)
    w, x, t = net.init(0), X.astype(dtype), T.astype(dtype)
    answers = Answers(net, squared, Shape.of(B, net.n_params))
    whole = np.full(answers.room + 1000, 7.0, dtype)
    question = Question("gradient", w, 1.0 / B)
    (total, g), _, _ = answers(question, 0, Rows(x, t), whole[: answers.room])
    loss, want = net.loss_and_grad(w, x, t)
    assert total / B == loss and (whole[answers.room :] == 7.0).all()
    np.testing.assert_array_equal(g, want)


def test_parcels(client: Client) -> None:
    with cluster(1, processes=False, default=False) as (_, inproc):
        for n in (3, 1 << 15):  # copied into the message, and beside it
            value = {"a": np.arange(n * 1.0), "b": lambda k: k + 1, "none": np.empty((0, 2))}
            for got in (_sent(client, value), _sent(inproc, value)):
                np.testing.assert_array_equal(got["a"], value["a"])
                assert got["b"](1) == 2 and got["none"].shape == (0, 2)


def _sent(client: Client, value: Any) -> Any:
    """Return a value that has been to a worker and back, in messages."""

    def add(dask_worker: Any) -> str:
        dask_worker.handlers["fastbp_back"] = lambda value: private.parcel(private.opened(value))
        return dask_worker.address

    address = next(iter(client.run(add)))

    async def ask() -> Any:
        return await private.ask(client, address, "fastbp_back", value=private.parcel(value))

    return private.opened(client.sync(ask))


def test_what_distributed_does_not_promise(client: Client) -> None:
    up = client.sync(private.workers, client)
    assert len(up) == 2 and set(up.values()) == {1}
    future = client.submit(abs, -1, pure=False)
    assert future.result() == 1
    assert client.sync(private.holders, client, [future.key])[future.key]
    client.sync(private.lift_restrictions, client, [future.key])
    client.register_plugin(Answering())
    for handlers in client.run(lambda dask_worker: sorted(dask_worker.handlers)).values():
        assert "fastbp_answer" in handlers
