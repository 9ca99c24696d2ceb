"""
The posterior of the weights by Hamiltonian Monte Carlo
=======================================================

With normal noise and a normal prior, the posterior of w is exp(−U(w)), and the sampler needs U and
its gradient: one call. The whole chain runs inside ``@njit``.
"""

import matplotlib.pyplot as plt
import numpy as np
from numba import njit

import fastbp

# %%
# Leapfrog steps after Neal (*MCMC using Hamiltonian dynamics*, 2011).


@njit
def potential(net, w, X, t, noise, prior, g):
    """U(w) = B · (mean of r²/2) / noise² + |w|² / (2 prior²); its gradient into g."""
    scale = len(X) / noise**2
    U = scale * fastbp.loss_and_grad(net, w, X, t, g)
    for i in range(w.size):
        U += 0.5 * (w[i] / prior) ** 2
        g[i] = scale * g[i] + w[i] / prior**2
    return U


@njit(nogil=True)
def sample(net, w, X, t, noise, prior, step, leaps, n, seed):
    """n samples, (n, P), and the share that was accepted."""
    np.random.seed(seed)
    kept, accepted = np.empty((n, w.size)), 0
    g, now, now_g = np.empty_like(w), w.copy(), np.empty_like(w)
    U = potential(net, now, X, t, noise, prior, now_g)
    for k in range(n):
        w, g[:] = now.copy(), now_g
        p = np.random.standard_normal(w.size)
        energy = U + 0.5 * np.sum(p * p)
        h = step * np.random.uniform(0.7, 1.3)  # or a period might fit the trajectory
        new_U = U
        for _ in range(leaps):
            p -= 0.5 * h * g
            w += h * p
            new_U = potential(net, w, X, t, noise, prior, g)
            p -= 0.5 * h * g
        if np.log(np.random.random()) < energy - new_U - 0.5 * np.sum(p * p):
            accepted += 1
            U = new_U
            now[:], now_g[:] = w, g
        kept[k] = now
    return kept, accepted / n


# %%
# Few data, with a gap.

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-2.0, -0.6, 15), rng.uniform(0.8, 2.0, 15)])
t = np.sin(2.0 * x) + 0.1 * rng.standard_normal(30)


def inputs(x):
    return np.column_stack([x, np.ones(len(x))])


net = fastbp.Network(2, activations=["tanh"] * 8 + ["one"], output="identity")
best = fastbp.fit(net, inputs(x), t, l2=0.1**2 / (30 * 1.5**2))
kept, accepted = sample(net, best.w, inputs(x), t, 0.1, 1.5, 0.006, 80, 4000, 0)
print(f"accepted: {accepted:.0%}")
assert 0.5 < accepted < 1.0

# %%
# Curves of the posterior, beside the interval of the delta method, which sees one optimum alone.

grid = np.linspace(-2.6, 2.6, 200)
curves = np.array([net(w, inputs(grid)) for w in kept[1000::10]])
low, middle, high = np.quantile(curves, [0.05, 0.5, 0.95], axis=0)
y, std = best.predict(inputs(grid), return_std=True)
gap, inside = np.abs(grid - 0.1) < 0.4, np.abs(grid + 1.3) < 0.5
widths = [(high - low)[where].mean() for where in (inside, gap)]
print("width of 90 %: {:.2f} at data, {:.2f} in the gap".format(*widths))
assert widths[1] > 2.0 * widths[0]

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True, layout="constrained")
left.plot(grid, curves[::6].T, color="C0", lw=0.4, alpha=0.5)
left.set(title="curves of the posterior", xlabel="x", ylabel="t", ylim=(-3.0, 3.0))
right.fill_between(grid, low, high, alpha=0.4, label="posterior, 90 %")
for sign in (-1.0, 1.0):
    right.plot(
        grid, y + sign * 1.645 * std, "C1--", lw=1, label="delta method" if sign > 0 else None
    )
right.plot(grid, middle, "C0")
right.set(title="intervals", xlabel="x")
right.legend()
for ax in (left, right):
    ax.plot(x, t, "k.")
plt.show()
