"""Directional derivatives and products with second derivatives."""

import numpy as np

from fastbp import reference

from ._measure import DTYPES, problem, ratio
from .first_order import _Call


class Jvp(_Call):
    def kernel(self):
        return self.net.jvp(self.w, self.X, self.w)

    def reference(self):
        return reference.jvp(self.net, self.w, self.X, self.w)


class Hvp(_Call):
    def kernel(self):
        return self.net.hvp(self.w, self.X, self.t, self.w)

    def reference(self):
        return reference.hvp(self.net, self.w, self.X, self.t, self.w)


class GaussNewtonProduct(_Call):
    def kernel(self):
        return self.net.gauss_newton_product(self.w, self.X, self.t, self.w)

    def reference(self):
        return reference.gauss_newton_product(self.net, self.w, self.X, self.t, self.w)


class InputHvp(_Call):
    def kernel(self):
        return self.net.input_hvp(self.w, self.X, self.X)

    def reference(self):
        return reference.input_hvp(self.net, self.w, self.X, self.X)


class GaussNewton(_Call):
    # P × P numbers come out.
    params = ([(1, 4, 8), (32, 12, 64), (256, 16, 64)], DTYPES)

    def kernel(self):
        return self.net.gauss_newton(self.w, self.X, self.t)

    def reference(self):
        return reference.gauss_newton(self.net, self.w, self.X, self.t)


class Multiples:
    """What a product costs as a multiple of the gradient: no more than one or two."""

    params = ([(256, 64, 256)], DTYPES)
    param_names = ("shape", "dtype")

    def setup(self, shape, dtype):
        net, w, X, t = problem(shape, dtype)
        g, product, y = np.empty_like(w), np.empty_like(w), np.empty_like(t)
        self.calls = {
            "gradient": lambda: net.loss_and_grad(w, X, t, out=g),
            "jvp": lambda: net.jvp(w, X, w, out=y),
            "hvp": lambda: net.hvp(w, X, t, w, out=product),
            "gauss_newton_product": lambda: net.gauss_newton_product(w, X, t, w, out=product),
        }
        for call in self.calls.values():
            call()

    def track_jvp(self, shape, dtype):
        return ratio(self.calls["jvp"], self.calls["gradient"], seconds=1.0)

    def track_hvp(self, shape, dtype):
        return ratio(self.calls["hvp"], self.calls["gradient"], seconds=1.0)

    def track_gauss_newton_product(self, shape, dtype):
        return ratio(self.calls["gauss_newton_product"], self.calls["gradient"], seconds=1.0)

    track_jvp.unit = "loss_and_grad"
    track_hvp.unit = "loss_and_grad"
    track_gauss_newton_product.unit = "loss_and_grad"
