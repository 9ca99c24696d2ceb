"""Every call: its time, and its time by that of the NumPy reference."""

from functools import partial

import numpy as np

from fastbp import Network, reference

from ._measure import DTYPES, SHAPES, problem, ratio

# By the names that Network and the reference share: what is given.
CALLS = {
    "value": "w X",
    "value_and_grad": "w x",
    "vjp": "w X t",
    "vjp with inputs": "w X t",
    "per_sample_grad": "w X",
    "input_grad": "w X",
    "input_hvp": "w X X",
    "jvp": "w X w",
    "loss_and_grad": "w X t",
    "hvp": "w X t w",
    "gauss_newton_product": "w X t w",
    "gauss_newton": "w X t",
}


class _Timed:
    """`kernel` and `formula` are the call in both implementations; a class below makes them."""

    param_names = ("call", "shape", "dtype")
    # Single samples on a shared machine raise false alarms: more and longer ones than asv's own.
    rounds = 4
    sample_time = 0.02
    warmup_time = 0.1

    def setup(self, call, shape, dtype):
        self.prepare(call, *problem(shape, dtype))
        # Compiled and loaded here, or asv would take that for the time of the call.
        self.kernel()

    def time_kernel(self, call, shape, dtype):
        self.kernel()

    def track_ratio(self, call, shape, dtype):
        return ratio(self.kernel, self.formula)

    track_ratio.unit = "kernel/reference"


class Calls(_Timed):
    params = (list(CALLS), SHAPES, DTYPES)

    def setup(self, call, shape, dtype):
        if call == "gauss_newton" and shape == (256, 64, 256):
            raise NotImplementedError  # P × P numbers, 2.2 GB
        super().setup(call, shape, dtype)

    def prepare(self, call, net, w, X, t):
        name, *inputs = call.split(" with ")
        options = dict.fromkeys(inputs, True)
        given = [{"w": w, "X": X, "x": X[0], "t": t}[each] for each in CALLS[call].split()]
        self.kernel = partial(getattr(net, name), *given, **options)
        self.formula = partial(getattr(reference, name), net, *given, **options)


class Several(Calls):
    """Calls of ten outputs under the softmax."""

    params = (list(CALLS), [(32, 12, 16), (256, 16, 32)], DTYPES)

    def prepare(self, call, net, w, X, t):
        N, H = net.n_inputs, net.n_neurons
        net = Network(N, H, n_outputs=10, output="softmax", dtype=net.dtype)
        t = np.outer(t, np.ones(10, net.dtype))
        super().prepare(call, net, net.init(0), X, t)


class Networks(_Timed):
    """`loss_and_grad` of networks unlike those of `Calls`."""

    params = (["cross_entropy", "every neuron another activation"], [(256, 16, 128)], DTYPES)
    cycle = ("tanh", "logistic", "softplus", "gelu", "sin", "arctan", "elu", "silu")

    def prepare(self, call, net, w, X, t):
        N, H, dtype = net.n_inputs, net.n_neurons, net.dtype
        if call == "cross_entropy":
            net, loss = Network(N, H, output="logistic", dtype=dtype), call
            t = (t > 0).astype(dtype)
        else:
            mixed = (self.cycle * H)[:H]
            net, loss = Network(N, activations=mixed, output="identity", dtype=dtype), "squared"
        self.kernel = partial(net.loss_and_grad, w, X, t, loss=loss)
        self.formula = partial(reference.loss_and_grad, net, w, X, t, loss=loss)


class Objective(_Timed):
    """The same with the data bound: what is packed once is not paid for in every call."""

    params = (["loss_and_grad", "hvp", "gauss_newton_product"], SHAPES, DTYPES)

    def prepare(self, call, net, w, X, t):
        objective = net.objective(X, t)
        if call == "loss_and_grad":
            self.kernel = partial(objective, w)
            self.formula = partial(reference.loss_and_grad, net, w, X, t)
        else:
            self.kernel = partial(getattr(objective, call), w, w)
            self.formula = partial(getattr(reference, call), net, w, X, t, w)


class Multiples:
    """What a product costs as a multiple of the gradient: no more than one or two."""

    params = (["jvp", "hvp", "gauss_newton_product"], [(256, 64, 256)], DTYPES)
    param_names = ("product", "shape", "dtype")

    def track_multiple(self, product, shape, dtype):
        net, w, X, t = problem(shape, dtype)
        given = (w, X, w) if product == "jvp" else (w, X, t, w)
        out = np.empty_like(t if product == "jvp" else w)
        call = partial(getattr(net, product), *given, out=out)
        gradient = partial(net.loss_and_grad, w, X, t, out=np.empty_like(w))
        return ratio(call, gradient, seconds=1.0)

    track_multiple.unit = "loss_and_grad"
