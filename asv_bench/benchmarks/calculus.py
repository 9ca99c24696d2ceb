"""The model objectives with large data, compiled and by NumPy's formulas."""

import numpy as np

from fastbp.calculus import Factorization, LeastSquares

from ._measure import DTYPES, ratio


class _Objective:
    rounds = 4
    sample_time = 0.02
    warmup_time = 0.1
    timeout = 300

    def time_kernel(self, *params):
        self.objective(self.x)

    def time_numpy(self, *params):
        self.numpy()

    def track_ratio(self, *params):
        return ratio(lambda: self.objective(self.x), self.numpy, seconds=1.0)

    track_ratio.unit = "kernel/NumPy"


class LeastSquaresValueAndGrad(_Objective):
    # From a few columns and from what fits the caches to what exceeds them by far.
    params = (
        [(100, 10), (200, 200), (2000, 1000), (200_000, 10), (50_000, 200), (20_000, 2000)],
        DTYPES,
    )
    param_names = ("shape", "dtype")

    def setup(self, shape, dtype):
        rng = np.random.default_rng(0)
        m, n = shape
        self.A = rng.standard_normal((m, n), dtype)
        self.b, self.x = rng.standard_normal(m, dtype), rng.standard_normal(n, dtype)
        self.objective = LeastSquares(self.A, self.b)
        self.objective(self.x)

    def numpy(self):
        r = self.A @ self.x - self.b
        return 0.5 * float(r @ r), self.A.T @ r


class FactorizationValueAndGrad(_Objective):
    params = ([(200, 100), (2000, 2000), (20_000, 300)], [1, 8, 64], DTYPES)
    param_names = ("shape", "rank", "dtype")

    def setup(self, shape, rank, dtype):
        rng = np.random.default_rng(0)
        self.M = rng.standard_normal(shape, dtype)
        self.objective = Factorization(self.M, rank)
        self.x = rng.standard_normal(self.objective.n_variables, dtype)
        self.P, self.Q = self.objective.split(self.x)
        self.objective(self.x)

    def numpy(self):
        E = self.P @ self.Q - self.M
        gradient = np.concatenate([(E @ self.Q.T).ravel(), (self.P.T @ E).ravel()])
        return 0.5 * float(E.ravel() @ E.ravel()), gradient
