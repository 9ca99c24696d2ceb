"""
How many neurons, how much penalty
==================================

Both are chosen by what is predicted on data that were not fitted. Cross-validation over a grid is
one call a cell, the folds side by side on threads.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# A noisy sine, 80 observations: five folds, drawn once, for all cells.

rng = np.random.default_rng(4)
x = rng.uniform(-3.0, 3.0, 80)
t = np.sin(2.0 * x) + 0.3 * rng.standard_normal(80)
X = np.column_stack([x / 2.0, np.ones(80)])
folds = np.array_split(rng.permutation(80), 5)


def network(H):
    return fastbp.Network(2, activations=["tanh"] * H + ["one"], output="identity")


def penalty(net, strength):
    """One number for all weights, none for the biases."""
    l2 = np.full(net.n_params, strength)
    a, W = net.split(l2)
    a[-1] = 0.0
    W[:, -1] = 0.0
    return l2


# %%
# Mean loss on the fold left out, and its standard error over the folds.

SIZES, STRENGTHS = [1, 2, 4, 8, 16], [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
mean, error = np.empty((5, 5)), np.empty((5, 5))
for i, H in enumerate(SIZES):
    for j, strength in enumerate(STRENGTHS):
        net = network(H)
        with warnings.catch_warnings():  # more parameters than observations is the point here
            warnings.simplefilter("ignore", fastbp.FitWarning)
            fits = fastbp.fit_many(net, X, t, seeds=3, folds=folds, l2=penalty(net, strength))
        losses = np.reshape(fits.held_out_losses, (3, 5)).mean(axis=0)
        mean[i, j], error[i, j] = losses.mean(), losses.std(ddof=1) / np.sqrt(5.0)
best = np.unravel_index(mean.argmin(), mean.shape)
print(f"least: {SIZES[best[0]]} neurons, l2 {STRENGTHS[best[1]]:g}, {mean[best]:.4f}")

# %%
# The usual rule: of all cells within one standard error of the least, the fewest neurons, then the
# largest penalty.

good = mean <= mean[best] + error[best]
i = np.flatnonzero(good.any(axis=1))[0]
j = np.flatnonzero(good[i])[-1]
print(f"chosen: {SIZES[i]} neurons, l2 {STRENGTHS[j]:g}, {mean[i, j]:.4f}; the noise has 0.0450")
assert mean[i, j] < 0.1

chosen = fastbp.fit(network(SIZES[i]), X, t, l2=penalty(network(SIZES[i]), STRENGTHS[j]), seed=1)

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
image = left.imshow(np.log10(mean), cmap="viridis_r")
left.set(xticks=range(5), yticks=range(5), xlabel="l2", ylabel="neurons")
left.set_xticklabels([f"{s:g}" for s in STRENGTHS])
left.set_yticklabels(SIZES)
for (a, b), value in np.ndenumerate(mean):
    colour = "white" if value > 0.11 else "black"
    left.text(b, a, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=8)
left.plot(j, i, "s", ms=34, mfc="none", mec="C3", mew=2)
left.set_title("held-out loss; chosen: the frame")
grid = np.linspace(-3.0, 3.0, 300)
right.plot(x, t, "k.", label="data")
right.plot(grid, np.sin(2.0 * grid), "k--", lw=1, label="truth")
right.plot(grid, chosen.predict(np.column_stack([grid / 2.0, np.ones(300)])), label="chosen")
right.set(xlabel="x", ylabel="t")
right.legend()
plt.show()
