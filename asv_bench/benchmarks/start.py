"""What a fresh process waits for: imports, and the first call without and with stored code."""

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec

# Prints the seconds from the first import to the first gradient, or those of a second network.
FIRST = """
import time
start = time.perf_counter()
import numpy as np
import fastbp

def first(activations):
    net = fastbp.Network(8, activations=activations, output="identity")
    net.loss_and_grad(net.init(0), np.ones((64, 8)), np.ones(64))

first(["tanh"] * 16)
middle = time.perf_counter()
first(["sin", "gelu", "softplus"] * 4)
print(middle - start, time.perf_counter() - middle)
"""

# One gradient, and nothing else.
ONE = """
import numpy as np
import fastbp

net = fastbp.Network(4, 8)
X = np.ones((100, 4))
net.loss_and_grad(net.init(seed=0), X, X[:, 0].copy())
"""


class FirstCall:
    """Seconds in a fresh process: network, data and one `loss_and_grad`."""

    timeout = 300

    def setup(self):
        # As pip does: a checkout may be without bytecode, which takes 20 ms of each start.
        compileall.compile_dir(find_spec("fastbp").submodule_search_locations[0], quiet=2)
        self.folder = tempfile.mkdtemp()

    def teardown(self):
        shutil.rmtree(self.folder)

    def seconds(self):
        done = subprocess.run(
            [sys.executable, "-c", FIRST],
            env=os.environ | {"NUMBA_CACHE_DIR": self.folder, "FASTBP_QUIET": "1"},
            check=True,
            capture_output=True,
            text=True,
        )
        return [float(number) for number in done.stdout.split()]

    def track_cold(self):
        return self.seconds()[0]

    def track_cold_second_activations(self):
        return self.seconds()[1]

    def track_cached(self):
        self.seconds()
        return min(self.seconds()[0] for _ in range(3))

    def track_cached_modules(self):
        """Modules imported for one gradient with stored code; Numba is not among them."""
        program = ONE + "\nimport sys; print(len(sys.modules), 'numba' in sys.modules)"
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", program],
                env=os.environ | {"NUMBA_CACHE_DIR": self.folder},
                check=True,
                capture_output=True,
                text=True,
            )
        count, numba = done.stdout.split()
        assert numba == "False"
        return int(count)

    track_cold.unit = "seconds"
    track_cold_second_activations.unit = "seconds"
    track_cached.unit = "seconds"


class Import:
    def timeraw_fastbp(self):
        return "import fastbp"

    def timeraw_network(self):
        return "from fastbp import Network"

    def timeraw_numba_for_comparison(self):
        return "import numba"
