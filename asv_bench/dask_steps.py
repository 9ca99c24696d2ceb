"""What a step on a cluster costs: ``python asv_bench/dask_steps.py [rows]``.

A gradient of (16, 32) over worker processes of this machine, beside the same tree on as many
threads of one process, alternated; the round trip of a question that takes no work; and what a step
of up to 1000 workers would take, simulated from these.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import fastbp
from fastbp._dask.blocks import Blocks
from fastbp._parts import weight
from fastbp.losses import squared

N, H, TURNS, STEPS = 16, 32, 9, 8


def simulated(
    workers: int,
    compute: float,
    numbers: int,
    hop: float,
    fan: int = 0,
    late: float = 0.02,
    seed: int = 0,
) -> float:
    """Seconds of a step where the client asks every worker and adds the answers.

    With a `fan` each asks so many others, and adds their answers to its own. Workers compute
    `compute` seconds, exponentially late by the share `late`; `hop` is a measured round trip
    without work. Of who asks a request takes 0.1 ms, an answer 0.1 ms, and 0.57 ms a MB to read
    and to add.
    """
    request, answer = 1e-4, 1e-4 + 0.57e-9 * 8 * numbers
    done = compute * (1.0 + late * np.random.default_rng(seed).exponential(size=workers))
    if fan:
        depth = math.ceil(math.log(workers, fan))
        return float(done.max()) + depth * (hop + fan * (request + answer))
    sent = request * np.arange(1, workers + 1)
    clock = sent[-1]
    for arrived in np.sort(sent + hop + done):
        clock = max(clock, arrived) + answer
    return float(clock)


def medians(turns: int, cpu: Callable[[], float], *calls: Callable[[], object]) -> np.ndarray:
    """Median seconds of a call of each, and of the processors' time, in turn."""
    seconds = np.zeros((turns, len(calls), 2))
    for turn in seconds:
        for call, each in zip(calls, turn, strict=True):
            used = cpu()
            begun = time.perf_counter()
            for _ in range(STEPS):
                call()
            each[0] = time.perf_counter() - begun
            each[1] = cpu() - used
    return np.median(seconds, axis=0) / STEPS


def main() -> int:
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

        def cpu() -> float:
            return time.process_time() + sum(client.run(time.process_time).values())

        there(), on_threads()
        assert (net.loss_and_grad(w, *here)[1] == g).all()
        (apart, apart_cpu), (together, cpu_together), (hop, _) = medians(
            TURNS, cpu, there, on_threads, nothing
        )
    print(f"{B} observations of ({N}, {H}), a gradient        ms  of processors")
    print(f"  2 threads of one process      {1e3 * together:8.1f} {1e3 * cpu_together:8.1f}")
    print(f"  2 worker processes            {1e3 * apart:8.1f} {1e3 * apart_cpu:8.1f}")
    print(f"  a question without work       {1e3 * hop:8.1f}")
    more, most = apart - together, 5e-3 + 0.05 * together
    of_cpu = apart_cpu / cpu_together - 1.0
    good = more <= most, of_cpu <= 0.08
    for what, measured, target, ok in (
        ("more time", f"{1e3 * more:.1f} ms", f"{1e3 * most:.1f} ms", good[0]),
        ("more of the processors'", f"{100 * of_cpu:.1f} %", "8 %", good[1]),
    ):
        print(f"  {what:<30} {measured:>9} <= {target:<8} {'ok' if ok else 'MISSED'}")
    print("simulated, ms: workers, and answers of so many numbers after 100 ms of work each;")
    print("asked by the client, or along a tree in which each asks 8")
    sizes = 500, 5000, 250_000
    print("         " + "".join(f"{size:18}" for size in sizes))
    for workers in (2, 10, 100, 200, 500, 1000):
        both = [[1e3 * simulated(workers, 0.1, n, hop, fan) for fan in (0, 8)] for n in sizes]
        print(f"  {workers:7}" + "".join(f"{ms:10.0f} | {of:5.0f}" for ms, of in both))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
