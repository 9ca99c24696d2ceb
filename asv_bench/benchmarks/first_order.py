"""Every first-order call, compiled and in NumPy."""

import numpy as np

from fastbp import Network, reference

from ._measure import DTYPES, SHAPES, problem, ratio


class _Call:
    """One call in both implementations; a class below says which."""

    params = (SHAPES, DTYPES)
    param_names = ("shape", "dtype")
    # Single samples on a shared machine raise false alarms: more and longer ones than asv's own.
    rounds = 4
    sample_time = 0.02
    warmup_time = 0.1

    def setup(self, shape, dtype):
        self.net, self.w, self.X, self.t = problem(shape, dtype)
        self.prepare()
        # Compiled and loaded here, or asv would take that for the time of the call.
        self.kernel()
        self.reference()

    def prepare(self):
        """Make what the call needs beside w, X and t."""

    def time_kernel(self, shape, dtype):
        self.kernel()

    def time_reference(self, shape, dtype):
        self.reference()

    def track_ratio(self, shape, dtype):
        return ratio(self.kernel, self.reference)

    track_ratio.unit = "kernel/reference"


class Value(_Call):
    def kernel(self):
        return self.net.value(self.w, self.X)

    def reference(self):
        return reference.value(self.net, self.w, self.X)


class ValueAndGrad(_Call):
    params = ([(1, 4, 8), (1, 16, 64), (1, 128, 512)], DTYPES)

    def kernel(self):
        return self.net.value_and_grad(self.w, self.X[0])

    def reference(self):
        return reference.value_and_grad(self.net, self.w, self.X[0])


class LossAndGrad(_Call):
    def prepare(self):
        self.g = np.empty_like(self.w)

    def kernel(self):
        return self.net.loss_and_grad(self.w, self.X, self.t, out=self.g)

    def reference(self):
        return reference.loss_and_grad(self.net, self.w, self.X, self.t)


class CrossEntropyLossAndGrad(_Call):
    params = ([(256, 16, 128)], DTYPES)

    def prepare(self):
        self.net = Network(
            self.net.n_inputs, self.net.n_neurons, output="logistic", dtype=self.net.dtype
        )
        self.t = (self.t > 0).astype(self.t.dtype)

    def kernel(self):
        return self.net.loss_and_grad(self.w, self.X, self.t, loss="cross_entropy")

    def reference(self):
        return reference.loss_and_grad(self.net, self.w, self.X, self.t, loss="cross_entropy")


class MixedLossAndGrad(LossAndGrad):
    """Every neuron another activation than its neighbour."""

    params = ([(32, 12, 64), (256, 16, 64)], DTYPES)

    def prepare(self):
        cycle = ["tanh", "logistic", "softplus", "gelu", "sin", "arctan", "elu", "silu"]
        H = self.net.n_neurons
        self.net = Network(
            self.net.n_inputs,
            activations=(cycle * H)[:H],
            output="identity",
            dtype=self.net.dtype,
        )
        super().prepare()


class Vjp(_Call):
    def kernel(self):
        return self.net.vjp(self.w, self.X, self.t)

    def reference(self):
        return reference.vjp(self.net, self.w, self.X, self.t)


class VjpInputs(_Call):
    def kernel(self):
        return self.net.vjp(self.w, self.X, self.t, inputs=True)

    def reference(self):
        return reference.vjp(self.net, self.w, self.X, self.t, inputs=True)


class PerSampleGrad(_Call):
    # B × P numbers come out: the largest shapes would only measure the memory.
    params = ([(1, 4, 8), (32, 12, 64), (256, 16, 128), (4096, 8, 32)], DTYPES)

    def kernel(self):
        return self.net.per_sample_grad(self.w, self.X)

    def reference(self):
        return reference.per_sample_grad(self.net, self.w, self.X)


class InputGrad(_Call):
    def kernel(self):
        return self.net.input_grad(self.w, self.X)

    def reference(self):
        return reference.input_grad(self.net, self.w, self.X)
