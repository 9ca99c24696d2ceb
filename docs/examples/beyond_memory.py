"""
Data that stay on disk
======================

A million rows in ten files are read a block at a time, the next while this one is computed. Nothing
is kept in memory but blocks, so that rows may be as many as the disk holds.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# Ten files of rows, five columns, a constant one and the target; no array of all rows is ever made.

FILES, ROWS = 10, 100_000
folder = tempfile.TemporaryDirectory()
paths = [Path(folder.name, f"rows{k}.npy") for k in range(FILES)]
rng = np.random.default_rng(0)
for path in paths:
    X = np.column_stack([rng.normal(size=(ROWS, 5)), np.ones(ROWS)])
    t = np.tanh(X[:, 0]) * np.cos(X[:, 1]) + 0.3 * X[:, 2] + 0.1 * rng.standard_normal(ROWS)
    np.save(path, np.column_stack([X, t]))

# %%
# The fit is given where they are. The result has the bits of a fit to one array of all.

source = fastbp.Source.from_files(paths, target=6)
net = fastbp.Network(6, activations=["tanh"] * 12 + ["identity", "one"], output="identity")
result = fastbp.fit(net, source, epochs=25, threads="auto")
print(result)

# %%
# The last rows, beside what was fitted.

y, observed = result.predict(X[:3000]), t[:3000]
print(f"R² {1.0 - np.mean((y - observed) ** 2) / observed.var():.3f}")
folder.cleanup()

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.plot(y, observed, ".", ms=2)
left.plot([-2.5, 2.5], [-2.5, 2.5], "k--", lw=0.8)
left.set(xlabel="fitted", ylabel="observed", aspect="equal")
right.semilogy(1 + np.arange(len(result.history["loss"])), result.history["loss"], ".-")
right.axhline(0.005, color="k", ls=":", lw=1)
right.set(xlabel="iteration", ylabel="mean loss; dotted: the noise")
plt.show()
