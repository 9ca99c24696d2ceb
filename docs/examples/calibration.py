"""
A calibration curve with intervals
==================================

An instrument answers a concentration with a signal that saturates. A small network is the curve
through the standards; its intervals say how well a new signal is known, and the curve read
backwards gives the concentration of a sample.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# Standards: twelve concentrations, three times each. The noise is that of the instrument.

rng = np.random.default_rng(2)
standards = np.repeat([0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0], 3)


def true_signal(c):
    return 0.1 + 1.8 * c / (1.5 + c)


signal = true_signal(standards) + 0.025 * rng.standard_normal(len(standards))

# %%
# Two neurons and the constant one; the column of ones is the bias of every neuron. A penalty, far
# below the noise, keeps weights finite that the data hardly determine.


def inputs(c):
    c = np.atleast_1d(c)
    return np.column_stack([c / 5.0 - 1.0, np.ones(len(c))])


net = fastbp.Network(2, activations=["tanh"] * 2 + ["one"], output="identity")
result = fastbp.fit(net, inputs(standards), signal, l2=1e-5)
print(result)
assert not result.warnings

# %%
# A sample of unknown concentration, measured once: Newton's steps on the curve, with the exact
# slope, and its uncertainty by the slope too.


def read_back(y):
    c = 1.0
    for _ in range(20):
        slope = net.input_grad(result.w, inputs(c)[0])[0] / 5.0
        c -= (result.predict(inputs(c)[0]) - y) / slope
    _, std = result.predict(inputs(c), return_std=True, noise=True)
    return c, std[0] / slope


truth = 2.6
measured = true_signal(truth) + 0.025 * rng.standard_normal()
c, uncertainty = read_back(measured)
print(f"signal {measured:.3f}: concentration {c:.2f} ± {uncertainty:.2f}, in truth {truth}")
assert abs(c - truth) < 3.0 * uncertainty

# %%
# The curve with its own interval of 95 %, and that of a new measurement.

grid = np.linspace(0.0, 10.0, 200)
y, std = result.predict(inputs(grid), return_std=True)
_, new = result.predict(inputs(grid), return_std=True, noise=True)
covered = np.mean(np.abs(true_signal(grid) - y) < 1.96 * std)
print(f"the true curve is inside its interval at {covered:.0%} of the concentrations")

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
ax.fill_between(grid, y - 1.96 * new, y + 1.96 * new, alpha=0.15, label="a new measurement, 95 %")
ax.fill_between(grid, y - 1.96 * std, y + 1.96 * std, alpha=0.4, label="the curve, 95 %")
ax.plot(grid, y, lw=1.5)
ax.plot(standards, signal, "k.", label="standards")
ax.plot([0.0, c, c], [measured, measured, 0.0], "C1--", lw=1)
ax.errorbar(c, measured, xerr=1.96 * uncertainty, fmt="C1o", capsize=3, label="sample, read back")
ax.set(xlabel="concentration", ylabel="signal", ylim=(0.0, None), xlim=(0.0, 10.0))
ax.legend(loc="lower right")
plt.show()
