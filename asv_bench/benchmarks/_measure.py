"""What the benchmarks share: data, and times of two calls that take turns."""

import time

import numpy as np

import fastbp

# (B, N, H): the call itself counts, everything does, the two products do.
SHAPES = [(1, 4, 8), (32, 12, 64), (256, 64, 256)]
DTYPES = ["float64", "float32"]


def problem(shape, dtype, activations="tanh"):
    """Return a network, its parameters, observations and targets, always the same ones."""
    B, N, H = shape
    net = fastbp.Network(N, H, activations=activations, output="identity", dtype=np.dtype(dtype))
    rng = np.random.default_rng(2024)
    w = rng.normal(size=net.n_params)
    w[:H] /= np.sqrt(H)
    w[H:] /= np.sqrt(N)
    X, t = rng.normal(size=(B, N)), rng.normal(size=B)
    return net, w.astype(dtype), X.astype(dtype), t.astype(dtype)


def repetitions(call, seconds):
    """Return how many times to call for so many seconds, once at least."""
    call()  # compiles or loads what it needs: not the time it takes
    start = time.perf_counter()
    call()
    return max(1, int(seconds / (time.perf_counter() - start)))


def best_times(calls, seconds=0.3):
    """Seconds that each call takes: the best of rounds in which they take turns.

    Parameters
    ----------
    calls : sequence of callables
        Called without arguments.
    seconds : float
        How long to go on, for all calls together; three rounds at least.
    """
    best = [np.inf] * len(calls)
    numbers = [repetitions(call, 0.003) for call in calls]
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for i, call in enumerate(calls):
            turns = range(numbers[i])
            start = time.perf_counter()
            for _ in turns:
                call()
            best[i] = min(best[i], (time.perf_counter() - start) / numbers[i])
        rounds += 1
    return best


def ratio(call, other, seconds=0.3):
    """Time of one call by that of the other."""
    time_call, time_other = best_times([call, other], seconds)
    # Four digits: more would be noise, and asv prints them all.
    return float(f"{time_call / time_other:.4g}")
