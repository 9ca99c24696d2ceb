"""How much memory a gradient takes, over the data and over what the imports take."""

import resource
import sys

import numpy as np

from ._measure import problem


class LossAndGrad:
    """One network over ever more observations: nothing but the data should grow."""

    params = ([1_000, 30_000, 1_000_000],)
    param_names = ("B",)
    timeout = 300

    def setup(self, B):
        # The problem of 1000 observations with these repeated, without a temporary copy.
        self.net, self.w, X, t = problem((1000, 32, 64), "float64")
        self.X, self.t = np.empty((B, 32)), np.empty(B)
        self.X.reshape(-1, 1000, 32)[:] = X
        self.t.reshape(-1, 1000)[:] = t
        self.g = np.empty_like(self.w)
        # Compiled and loaded, so that what remains is the memory of the call.
        self.net.loss_and_grad(self.w, X, t, out=self.g)

    def peakmem_with_data(self, B):
        self.net.loss_and_grad(self.w, self.X, self.t, out=self.g)

    def track_growth(self, B):
        """What the call adds, where the data exceed all that the process used before."""
        before = peak()
        self.net.loss_and_grad(self.w, self.X, self.t, out=self.g)
        return (peak() - before) / 2**20

    track_growth.unit = "MiB"


def peak():
    """Return the largest resident set of this process so far, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
