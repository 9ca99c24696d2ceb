"""What a step on a cluster costs: ``python asv_bench/dask_steps.py [rows]``.

A gradient of (16, 32) over worker processes of this machine, beside the same tree on as many
threads of one process, alternated; the round trip of a question that takes no work; and what a step
of up to 1000 workers would take, simulated from these.
"""

from __future__ import annotations

import sys
import time

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import fastbp
from fastbp._dask.blocks import Blocks
from fastbp._parts import weight
from fastbp.losses import squared

N, H, TURNS = 16, 32, 15


def simulated(
    workers: int, compute: float, numbers: int, hop: float, late: float = 0.02, seed: int = 0
) -> float:
    """Seconds of a step where the client asks every worker and adds the answers.

    Workers compute `compute` seconds, exponentially late by the share `late`; `hop` is a measured
    round trip without work. Of the client's time a request takes 0.2 ms, and each answer 0.57 ms a
    MB to read and to add.
    """
    rng = np.random.default_rng(seed)
    request, answer = 1e-4, 1e-4 + 0.57e-9 * 8 * numbers
    sent = request * np.arange(1, workers + 1)
    clock = sent[-1]
    for arrived in np.sort(sent + hop + compute * (1.0 + late * rng.exponential(size=workers))):
        clock = max(clock, arrived) + answer
    return clock


def medians(turns: int, *calls) -> list[float]:
    """Median seconds of calls, in turn."""
    seconds = [[] for _ in calls]
    for _ in range(turns):
        for call, each in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            each.append(time.perf_counter() - start)
    return [float(np.median(each)) for each in seconds]


def main() -> None:
    B = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    net = fastbp.Network(N, H, output="identity")
    w = net.init(0)
    rng = da.random.default_rng(0)
    X = rng.normal(size=(B, N), chunks=(100_000, N))  # made where it is needed
    t = da.sin(X.sum(axis=1))
    here = X.compute(scheduler="threads"), t.compute(scheduler="threads")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        far = Blocks(client, net, squared, X, t, None, by_matrix=False, timeout=60.0)
        g, scale = np.empty_like(w), 1.0 / B

        def there() -> None:
            far.batch(w, scale, g)

        def on_threads() -> None:
            net.loss_and_grad(w, *here, threads=2)

        def nothing() -> None:
            far.reduce(weight)

        there(), on_threads()
        assert (net.loss_and_grad(w, *here)[1] == g).all()
        apart, together, hop = medians(TURNS, there, on_threads, nothing)
    print(f"{B} observations of ({N}, {H}), a gradient, ms")
    print(f"  2 threads of one process      {1e3 * together:8.1f}")
    print(f"  2 worker processes            {1e3 * apart:8.1f}")
    print(f"  more                          {1e3 * (apart - together):8.1f}")
    print(f"  a question without work       {1e3 * hop:8.1f}")
    print("simulated, ms: workers, and answers of so many numbers after 100 ms of work each")
    sizes = 500, 5000, 250_000
    print("         " + "".join(f"{size:10}" for size in sizes))
    for workers in (2, 10, 100, 200, 1000):
        each = [1e3 * simulated(workers, 0.1, size, hop) for size in sizes]
        print(f"  {workers:7}" + "".join(f"{ms:10.0f}" for ms in each))


if __name__ == "__main__":
    main()
