"""
Monotone fits
=============

A dose can't do less where it is larger. With rising activations, f rises in x where the weights of
x and the output's weights are at least 0: bounds, which Levenberg–Marquardt and L-BFGS keep.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp
from fastbp.sklearn import NetworkRegressor

# %%
# Thirty noisy responses. Free, the curve follows the noise down again.

rng = np.random.default_rng(3)
dose = np.sort(rng.uniform(0.0, 10.0, 30))


def truth(d):
    return d**3 / (d**3 + 40.0)


response = truth(dose) + 0.12 * rng.standard_normal(30)


def inputs(d):
    return np.column_stack([d / 10.0, np.ones(len(d))])


net = fastbp.Network(2, activations=["logistic"] * 6 + ["one"], output="identity")
free = fastbp.fit(net, inputs(dose), response, l2=1e-5)

# %%
# Bounds are vectors like w. `split` gives views of them: a, (7,), and W, (7, 2).

low = np.full(net.n_params, -np.inf)
a, W = net.split(low)
a[:-1] = 0.0  # the output rises in every neuron; its bias is free
W[:, 0] = 0.0  # every neuron rises in the dose; their biases are free
monotone = fastbp.fit(net, inputs(dose), response, l2=1e-5, bounds=(low, np.inf))
print(free, monotone, sep="\n")

grid = np.linspace(0.0, 10.0, 400)
slope = net.input_grad(monotone.w, inputs(grid))[:, 0]
assert (slope >= 0.0).all() and (np.diff(free.predict(inputs(grid))) < 0.0).any()
errors = [np.sqrt(np.mean((f.predict(inputs(grid)) - truth(grid)) ** 2)) for f in (free, monotone)]
print("error of the curve: free {:.3f}, monotone {:.3f}".format(*errors))
assert errors[1] < errors[0]

# %%
# The estimators are told the direction of each column, and set the bounds themselves.

estimator = NetworkRegressor(n_neurons=6, monotonic_cst=[1], l2=1e-4, random_state=0)
estimator.fit(dose[:, None], response)
assert (np.diff(estimator.predict(grid[:, None])) >= 0.0).all()

# %%
# The monotone curve is nearer the truth, though further from the data.

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(dose, response, "k.", label="observed")
ax.plot(grid, truth(grid), "k--", lw=1, label="truth")
ax.plot(grid, free.predict(inputs(grid)), label="free")
ax.plot(grid, monotone.predict(inputs(grid)), lw=2, label="monotone")
ax.set(xlabel="dose", ylabel="response")
ax.legend()
plt.show()
