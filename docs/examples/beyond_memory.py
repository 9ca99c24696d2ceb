"""
Data that stay on disk
======================

A fit reads its data where they are: a million rows in a file are mapped, not loaded, and each pass
goes through them chunk by chunk. Little is added to them in memory.
"""

import tempfile
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# The files are written in pieces; no array of all rows is ever made.

ROWS, PIECE = 1_000_000, 100_000
folder = tempfile.TemporaryDirectory()
paths = [Path(folder.name, name) for name in ("X.npy", "t.npy")]
X = np.lib.format.open_memmap(paths[0], mode="w+", shape=(ROWS, 6))
t = np.lib.format.open_memmap(paths[1], mode="w+", shape=(ROWS,))
rng = np.random.default_rng(0)
for start in range(0, ROWS, PIECE):
    rows = slice(start, start + PIECE)
    X[rows, :5] = rng.normal(size=(PIECE, 5))
    X[rows, 5] = 1.0
    t[rows] = np.tanh(X[rows, 0]) * np.cos(X[rows, 1]) + 0.3 * X[rows, 2]
    t[rows] += 0.1 * rng.standard_normal(PIECE)
del X, t
size = sum(path.stat().st_size for path in paths)

# %%
# The fit is given maps of the files.

X, t = (np.load(path, mmap_mode="r") for path in paths)
net = fastbp.Network(6, activations=["tanh"] * 12 + ["identity", "one"], output="identity")
w0 = net.init(0, X[:10000])
fastbp.fit(net, X[:1000], t[:1000], w0=w0, l2=1e-6, epochs=1)  # what is compiled once is compiled
tracemalloc.start()
result = fastbp.fit(net, X, t, w0=w0, l2=1e-6, epochs=25, threads="auto")
_, peak = tracemalloc.get_traced_memory()
tracemalloc.stop()
print(result)
print(f"files {size / 1e6:.0f} MB; NumPy's arrays during the fit: at most {peak / 1e6:.1f} MB")
assert peak < size / 4

# %%
# Some rows, beside what was fitted.

some = rng.choice(ROWS, 3000, replace=False)
some.sort()
y = result.predict(np.array(X[some]))
observed = np.array(t[some])
print(f"R² {1.0 - np.mean((y - observed) ** 2) / observed.var():.3f}")
del X, t
folder.cleanup()

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.plot(y, observed, ".", ms=2)
left.plot([-2.5, 2.5], [-2.5, 2.5], "k--", lw=0.8)
left.set(xlabel="fitted", ylabel="observed", aspect="equal")
right.semilogy(1 + np.arange(len(result.history["loss"])), result.history["loss"], ".-")
right.axhline(0.005, color="k", ls=":", lw=1)
right.set(xlabel="iteration", ylabel="mean loss; dotted: the noise")
plt.show()
