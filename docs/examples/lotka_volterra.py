"""
A learnt differential equation inside @njit
===========================================

Predators and prey: a vector field learnt by one network of two outputs, integrated in ``@njit``.

The equations of Lotka and Volterra, x' = x − x y and y' = x y − y, are seen only through rates that
are measured at some states, with noise. One network f(w, (x, y, 1)) of two outputs learns both. The
classical Runge–Kutta step then integrates it, and beside it the sensitivity of the state to where
it began: Φ' = J Φ with Φ(0) = I, where J, (2, 2), is the Jacobian of f by x and y.
"""

import matplotlib.pyplot as plt
import numpy as np
from numba import njit

import fastbp


def rates(states):
    """The truth: the rates at states, (B, 2)."""
    x, y = states.T
    return np.column_stack([x - x * y, x * y - y])


@njit
def slope(net, w, state, rate, z, field, J):
    """d/dt of x, y and of Φ row by row: six numbers."""
    z[:2] = state[:2]  # z[2] is 1
    fastbp.value(net, w, z, field)
    fastbp.input_grad(net, w, z, J)
    for i in range(2):
        rate[i] = field[i]
        for j in range(2):
            rate[2 + 2 * i + j] = J[i, 0] * state[2 + j] + J[i, 1] * state[4 + j]


@njit(nogil=True)
def integrate(net, w, start, dt, steps):
    """Runge–Kutta of order four: (x, y, Φ) at the start and after every step, (steps + 1, 6)."""
    states = np.zeros((steps + 1, 6))
    states[0, :2] = start
    states[0, 2] = states[0, 5] = 1.0
    at, rate, z = np.empty(6), np.empty(6), np.ones(3)
    field, J = np.empty(2), np.empty((2, 3))
    for n in range(steps):
        at[:] = states[n]
        states[n + 1] = states[n]
        for weight, ahead in ((1.0, 0.5), (2.0, 0.5), (2.0, 1.0), (1.0, 0.0)):
            slope(net, w, at, rate, z, field, J)
            for k in range(6):
                states[n + 1, k] += dt * weight / 6.0 * rate[k]
                at[k] = states[n, k] + dt * ahead * rate[k]
    return states


# %%
# Learn the field: both rates at 2000 states.

rng = np.random.default_rng(0)
seen = rng.uniform(0.2, 3.0, (2000, 2))
measured = rates(seen) + 0.01 * rng.standard_normal(seen.shape)
net = fastbp.Network(3, 16, output=["identity", "identity"])
fit = fastbp.fit(net, np.column_stack([seen, np.ones(len(seen))]), measured, optimizer="lm", seed=0)
# Half the squared error of both outputs is that of one.
print(f"mean squared error of an output: {fit.loss:.2e}; variance of the noise: 1.00e-04")
assert fit.loss < 1.1e-4

# %%
# Follow it for one and a half turns; x + y − log(x y) is constant on a true orbit.

start = np.array([0.5, 1.5])
states = integrate(net, fit.w, start, 0.01, 1000)
x, y = states[:, :2].T
energy = x + y - np.log(x * y)
drift = np.abs(energy - energy[0]).max()
print(f"the constant of the motion, {energy[0]:.4f}, is kept within {drift:.1e}")
assert drift < 0.02

# %%
# Φ at the end is the derivative of the end by the start.

phi = states[-1, 2:].reshape(2, 2)
h = 1e-5
ahead, behind = (
    np.array([integrate(net, fit.w, start + e, 0.01, 1000)[-1, :2] for e in step * np.eye(2)])
    for step in (h, -h)
)
difference = (ahead - behind).T / (2.0 * h)
print(f"the sensitivities\n{phi}\ndiffer from differences by {np.abs(phi - difference).max():.1e}")
assert np.allclose(phi, difference, rtol=1e-5, atol=1e-6)

# %%
# Left the learnt field and the orbit; right how far a small change of either start is felt.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
grid = np.stack(np.meshgrid(np.linspace(0.2, 3.0, 15), np.linspace(0.2, 3.0, 15)), axis=-1)
field = fit.predict(np.column_stack([grid.reshape(-1, 2), np.ones(225)])).reshape(15, 15, 2)
left.quiver(*np.moveaxis(grid, -1, 0), *np.moveaxis(field, -1, 0), color="0.6")
left.plot(x, y, lw=2)
left.set(xlabel="prey x", ylabel="predators y")
time = 0.01 * np.arange(len(states))
for k, name in enumerate(["∂x/∂x₀", "∂x/∂y₀", "∂y/∂x₀", "∂y/∂y₀"]):
    right.plot(time, states[:, 2 + k], label=name)
right.set(xlabel="time", ylabel="sensitivity")
right.legend()
plt.show()
