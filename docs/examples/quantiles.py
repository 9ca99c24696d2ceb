"""
Quantiles
=========

Where the noise grows with x and is skewed, a mean and a deviation say little. The loss pinball of q
is least at the q-quantile: one network for each of five.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# Noise that grows along x, with a long tail upwards.

rng = np.random.default_rng(0)


def draw(n):
    x = rng.uniform(0.0, 4.0, n)
    return x, np.sin(2.0 * x) + (0.1 + 0.3 * x) * rng.exponential(1.0, n)


def inputs(x):
    return np.column_stack([x / 2.0 - 1.0, np.ones(len(x))])


x, t = draw(2000)
net = fastbp.Network(2, activations=["tanh"] * 8 + ["one"], output="identity")

# %%
# The pinball loss has no curvature: batches, with a rate that falls. The five fits are independent.

QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95]
optimizer = fastbp.Adam(fastbp.optimizers.Cosine(0.02))
fits = [
    fastbp.fit(
        net, inputs(x), t, loss=fastbp.losses.pinball(q), optimizer=optimizer, epochs=150, seed=1
    )
    for q in QUANTILES
]

# %%
# On fresh data, the share below each curve is to be its quantile.

x_new, t_new = draw(20000)
shares = [np.mean(t_new < fit.predict(inputs(x_new))) for fit in fits]
for q, share in zip(QUANTILES, shares, strict=True):
    print(f"quantile {q:.2f}: {share:.3f} of new observations lie below")
assert np.allclose(shares, QUANTILES, atol=0.03)

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
ax.plot(x, t, ".", color="0.75", ms=3)
grid = np.linspace(0.0, 4.0, 300)
for q, fit, colour in zip(QUANTILES, fits, ["C0", "C1", "C2", "C1", "C0"], strict=True):
    ax.plot(grid, fit.predict(inputs(grid)), color=colour)
    ax.annotate(f"{q:.0%}", (4.03, fit.predict(inputs(grid[-1:]))[0]), va="center", color=colour)
ax.set(xlabel="x", ylabel="t", ylim=(-1.5, 6.5), xlim=(0.0, 4.35))
plt.show()
