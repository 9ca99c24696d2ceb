"""
On a cluster, with the same bits
================================

Data that lie on the workers of a Dask cluster are fitted where they are; only sums travel. The
result has the bits of a fit on one machine, whatever the number of workers and the chunks. Here the
cluster is two workers on this machine, made in one line; `Client("address:8786")` is another one.
"""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client

import fastbp
import fastbp.dask

client = Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0")

# %%
# 200,000 rows in chunks of any size; each chunk is made on the worker that has it.

rng = da.random.default_rng(0)
x = rng.uniform(-2.0, 2.0, (200_000, 2), chunks=(30_000, 2))
X = x.map_blocks(lambda rows: np.column_stack([rows, np.ones(len(rows))]), chunks=(x.chunks[0], 3))
t = da.sin(2.0 * x[:, 0]) * da.exp(-(x[:, 1] ** 2)) + 0.2 * rng.standard_normal(200_000)

# %%
# The call is that of `fastbp.fit`. What is used again is kept on the workers first.

X, t = client.persist([X, t])
net = fastbp.Network(3, activations=["tanh"] * 16 + ["one"], output="identity")
result = fastbp.dask.fit(net, X, t, epochs=30)
print(result)

# %%
# The same rows here, in one piece, give the same bits.

same = fastbp.fit(net, X.compute(), t.compute(), epochs=30)
assert (same.w == result.w).all()

y = X.map_blocks(result.predict, drop_axis=1, dtype=float)  # where the rows are
print(f"mean squared error {((y - t) ** 2).mean().compute():.4f}; the noise has 0.0400")
client.close()

# %%
# The loss, iteration by iteration, and the function that was found.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.semilogy(result.history["loss"])
left.set(xlabel="iteration", ylabel="mean loss")
grid = np.stack(np.meshgrid(np.linspace(-2.0, 2.0, 80), np.linspace(-2.0, 2.0, 80)), axis=-1)
found = result.predict(np.column_stack([grid.reshape(-1, 2), np.ones(6400)])).reshape(80, 80)
image = right.contourf(grid[..., 0], grid[..., 1], found, 20, cmap="RdBu")
right.set(xlabel="x₁", ylabel="x₂", title="f")
fig.colorbar(image, ax=right)
plt.show()
