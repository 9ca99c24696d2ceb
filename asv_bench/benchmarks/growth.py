"""How cost grows: the exponent of B, N or H in the time of a kernel, and in the dense products."""

import numpy as np

from fastbp import Network, reference

from ._measure import DTYPES, best_times, problem


def exponent(sizes, costs):
    """Slope of log(cost) over log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


class Kernel:
    """Exponents for `loss_and_grad`, one of B, N and H growing: each is 1 for large sizes."""

    # From where the call itself no longer counts; N and H from several tiles of the products.
    sizes = {  # noqa: RUF012
        "B": [(n, 32, 64) for n in (256, 512, 1024, 2048, 4096)],
        "N": [(256, n, 64) for n in (64, 128, 256, 512, 1024)],
        "H": [(256, 32, n) for n in (64, 128, 256, 512, 1024)],
    }
    params = (list(sizes), DTYPES)
    param_names = ("axis", "dtype")

    def track_exponent(self, axis, dtype):
        shapes = self.sizes[axis]
        calls = [self.call(shape, dtype) for shape in shapes]
        return exponent([shape["BNH".index(axis)] for shape in shapes], best_times(calls, 1.0))

    def call(self, shape, dtype):
        net, w, X, t = problem(shape, dtype)
        g = np.empty_like(w)
        return lambda: net.loss_and_grad(w, X, t, out=g)

    track_exponent.unit = "exponent"


class OneObservation:
    """Exponents of H in ∇_w f at one observation, by every way there is (questions 8 and 9).

    With the Jacobians as they stand, N H³ operations multiplied from the input layer on and N H²
    from the output layer back; N H in both with their structure, and in the kernel.
    """

    ways = {  # noqa: RUF012
        "dense, from the input layer": (reference.grad_from_input_layer, False),
        "dense, from the output layer": (reference.grad_from_output_layer, False),
        "structure, from the input layer": (reference.grad_from_input_layer, True),
        "structure, from the output layer": (reference.grad_from_output_layer, True),
    }
    params = ([*ways, "kernel"],)
    param_names = ("way",)
    N = 8

    def setup(self, way):
        # The dense products at sizes where they, and not what surrounds them, take the time;
        # the others where H numbers outweigh the call.
        sizes = (96, 144, 216, 324) if way.startswith("dense") else (2048, 4096, 8192, 16384)
        self.problems = []
        for H in sizes:
            net = Network(self.N, H)
            self.problems.append((net, net.init(seed=0), np.linspace(-1.0, 1.0, self.N)))
        self.sizes = sizes

    def track_time_exponent(self, way):
        return exponent(self.sizes, best_times([self.call(way, *each) for each in self.problems]))

    def track_operations_exponent(self, way):
        if way == "kernel":
            raise NotImplementedError  # counts nothing
        function, structure = self.ways[way]
        counts = [function(*each, structure=structure).operations for each in self.problems]
        return exponent(self.sizes, counts)

    def call(self, way, net, w, x):
        if way == "kernel":
            g = np.empty_like(w)
            return lambda: net.value_and_grad(w, x, out=g)
        function, structure = self.ways[way]
        return lambda: function(net, w, x, structure=structure)

    track_time_exponent.unit = "exponent"
    track_operations_exponent.unit = "exponent"
