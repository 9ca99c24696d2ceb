"""An Objective beside `loss_and_grad` with the same data, and the products with its Hessian."""

import numpy as np

from ._measure import DTYPES, SHAPES, problem, ratio


class Objective:
    params = (SHAPES, DTYPES)
    param_names = ("shape", "dtype")
    rounds = 4
    sample_time = 0.02
    warmup_time = 0.1

    def setup(self, shape, dtype):
        self.net, self.w, self.X, self.t = problem(shape, dtype)
        self.objective = self.net.objective(self.X, self.t)
        self.g = np.empty_like(self.w)
        self.p = np.random.default_rng(3).normal(size=len(self.w)).astype(dtype)
        self.gradient()
        self.value()
        self.hvp()
        self.gauss_newton_product()

    def gradient(self):
        return self.objective(self.w, out=self.g)

    def value(self):
        return self.objective.value(self.w)

    def hvp(self):
        return self.objective.hvp(self.w, self.p)

    def gauss_newton_product(self):
        return self.objective.gauss_newton_product(self.w, self.p)

    def time_gradient(self, shape, dtype):
        self.gradient()

    def time_value(self, shape, dtype):
        self.value()

    def time_hvp(self, shape, dtype):
        self.hvp()

    def time_gauss_newton_product(self, shape, dtype):
        self.gauss_newton_product()

    def track_gradient_ratio(self, shape, dtype):
        return ratio(
            self.gradient,
            lambda: self.net.loss_and_grad(self.w, self.X, self.t, out=self.g),
        )

    track_gradient_ratio.unit = "objective/loss_and_grad"
