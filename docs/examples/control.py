"""
A control policy of several outputs
===================================

A cart is to bring its pendulum to rest upright, by a force; a fan beside it may help. The policy is
a network of two outputs, bounded by tanh. What is minimised is the cost of a whole run, so its
gradient goes through the dynamics: back along the run, ``vjp`` carries the derivatives through the
policy, by its parameters and by the state it saw.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize

import fastbp

# %%
# States are (position, velocity, angle, angular velocity); 32 starts run side by side, 150 steps.

DT, STEPS = 0.04, 150
rng = np.random.default_rng(0)
starts = rng.uniform(-1.0, 1.0, (32, 4)) * [1.0, 0.3, 0.5, 0.3]
net = fastbp.Network(4, 10, n_outputs=2, output="tanh")  # no bias: at rest, no force


def rates(s, u):
    """d/dt of the states, (B, 4), under the actions u, (B, 2), in units of 8 N and 1 N m."""
    _, v, angle, spin = s.T
    push = 8.0 * u[:, 0]
    turn = 9.81 * np.sin(angle) - push * np.cos(angle) + u[:, 1] - 0.2 * spin
    return np.column_stack([v, push - 0.1 * v, spin, turn])


def back(s, u, bar):
    """Carry cotangents of the rates back to states and actions."""
    _, _, angle, spin = s.T
    push = 8.0 * u[:, 0]
    by_angle = 9.81 * np.cos(angle) + push * np.sin(angle)
    s_bar = np.column_stack(
        [0.0 * spin, bar[:, 0] - 0.1 * bar[:, 1], bar[:, 3] * by_angle, bar[:, 2] - 0.2 * bar[:, 3]]
    )
    u_bar = np.column_stack([8.0 * (bar[:, 1] - bar[:, 3] * np.cos(angle)), bar[:, 3]])
    return s_bar, u_bar


WEIGHTS = np.array([1.0, 0.1, 4.0, 0.1])


def run(w):
    """All states, (STEPS + 1, B, 4), and actions, (STEPS, B, 2)."""
    states, actions = [starts], []
    for _ in range(STEPS):
        actions.append(net(w, states[-1]))
        states.append(states[-1] + DT * rates(states[-1], actions[-1]))
    return np.array(states), np.array(actions)


def cost(w):
    """Mean cost of a run, and its gradient by w."""
    states, actions = run(w)
    value = np.sum(WEIGHTS * states**2) + 0.05 * np.sum(actions**2)
    g = np.zeros_like(w)
    bar = 2.0 * WEIGHTS * states[-1]
    for s, u in zip(states[-2::-1], actions[::-1], strict=True):
        s_bar, u_bar = back(s, u, DT * bar)
        by_w, by_s = net.vjp(w, s, u_bar + 0.1 * u, inputs=True)
        g += by_w
        bar = bar + s_bar + by_s + 2.0 * WEIGHTS * s
    return value / len(starts), g / len(starts)


# %%
# The gradient through 150 steps is exact: Taylor's remainder falls with the square of the step.

w = 0.3 * net.init(seed=1)
direction = 0.1 * rng.standard_normal(len(w))
test = fastbp.calculus.taylor_test(lambda w: cost(w)[0], cost(w)[1], w, direction)
print(test)
assert test.ok

# %%
# Short runs first, while the policy still lets the pendulum fall; then the whole.

for STEPS in (20, 50, 150):
    found = scipy.optimize.minimize(cost, w, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    w = found.x
    print(f"{STEPS} steps: mean cost {found.fun:.1f}")
states, actions = run(w)
print("largest angle at the end:", np.abs(states[-1, :, 2]).max().round(3))
assert np.abs(states[-1, :, 2]).max() < 0.1

# %%
# All 32 runs.

fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained", sharex=True)
time = DT * np.arange(STEPS + 1)
axes[0].plot(time, states[:, :, 2], "C0", lw=0.6)
axes[0].set(ylabel="angle", xlabel="time / s")
axes[1].plot(time, states[:, :, 0], "C1", lw=0.6)
axes[1].set(ylabel="position", xlabel="time / s")
axes[2].plot(time[:-1], actions[:, :, 0], "C2", lw=0.6)
axes[2].plot(time[:-1], actions[:, :, 1], "C3", lw=0.6)
axes[2].set(ylabel="force (green), fan (red)", xlabel="time / s")
plt.show()
