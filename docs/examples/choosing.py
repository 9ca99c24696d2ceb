"""
How many neurons, how much penalty
==================================

Both are chosen by what is predicted on data that were not fitted. ``l2="auto"`` cross-validates a
path of penalties; the number of neurons is a loop around it.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# A noisy sine, 80 observations. Biases are left out of the penalty.

rng = np.random.default_rng(4)
x = rng.uniform(-3.0, 3.0, 80)
t = np.sin(2.0 * x) + 0.3 * rng.standard_normal(80)


def inputs(x):
    return np.column_stack([x, np.ones(len(x))])


def network(H):
    return fastbp.Network(2, activations=["tanh"] * H + ["one"], output="identity")


# %%
# For each penalty of the path, the mean loss of five folds left out and its standard error; the
# largest penalty within one error of the least is taken. The folds are the same for all sizes.

SIZES = [1, 2, 4, 8, 16]
fits = {}
for H in SIZES:
    with warnings.catch_warnings():  # one neuron is no better than a line, and is said to be so
        warnings.simplefilter("ignore", fastbp.FitWarning)
        fits[H] = fastbp.fit(network(H), inputs(x), t, l2="auto")
    l2, loss, error = fits[H].l2_path
    k = np.flatnonzero(l2 == fits[H].l2)[0]
    print(f"{H:2} neurons: l2 {fits[H].l2:.1e}, held-out loss {loss[k]:.4f} ± {error[k]:.4f}")

# %%
# The same rule for the number of neurons: of all within one error of the best, the fewest.

least = {H: np.min(fit.l2_path[1]) for H, fit in fits.items()}
best = min(least, key=least.get)
within = least[best] + fits[best].l2_path[2][np.argmin(fits[best].l2_path[1])]
chosen = next(H for H in SIZES if least[H] <= within)
print(f"chosen: {chosen} neurons; half the variance of the noise is 0.045")
assert chosen in (4, 8)

# %%
# Left the paths, the chosen penalty marked; right the fit.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
for H, fit in fits.items():
    l2, loss, error = fit.l2_path
    left.errorbar(l2, loss, error, marker=".", capsize=2, lw=1, label=f"{H}")
    left.plot(fit.l2, loss[l2 == fit.l2], "ko", mfc="none", ms=9)
left.axhline(0.045, color="k", ls=":", lw=1)
left.set(xscale="log", xlabel="l2", ylabel="held-out loss")
left.legend(title="neurons")
grid = np.linspace(-3.0, 3.0, 300)
y, std = fits[chosen].predict(inputs(grid), return_std=True)
right.fill_between(grid, y - 1.645 * std, y + 1.645 * std, alpha=0.3)
right.plot(grid, y, label="chosen, with 90 %")
right.plot(grid, np.sin(2.0 * grid), "k--", lw=1, label="truth")
right.plot(x, t, "k.", ms=4)
right.set(xlabel="x", ylabel="t")
right.legend()
plt.show()
