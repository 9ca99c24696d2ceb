"""
An activation and a loss of one's own
=====================================

Each is a plain scalar function. Its derivatives are found exactly, from the function alone, and it
is compiled like the named ones.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# A bump that lives on (−1, 1) and has all derivatives: branches may be used. And a loss that
# forgets outliers, Geman's and McClure's: r²/2 for small r, and never above 1/2.


@fastbp.activation
def bump(z):
    return math.exp(-1.0 / (1.0 - z * z)) if abs(z) < 1.0 else 0.0


@fastbp.loss
def forgetful(y, t):
    r2 = (y - t) ** 2
    return 0.5 * r2 / (1.0 + r2)


print(bump(0.5), bump.derivative(0.5), bump.second_derivative(0.5))
assert fastbp.calculus.taylor_test(bump, bump.derivative(0.5), 0.5).ok

# %%
# What can't be traced is refused where it is written, with file, line and cause.

try:

    @fastbp.activation
    def wrong(z):
        return float(np.sort([z, 0.0])[0])

except fastbp.ActivationError as error:
    print(error)

# %%
# One observation in five is nonsense. The squared loss is drawn to it, the loss above is not. It
# has many minima, so it starts where the squared loss has ended.

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-3.0, 3.0, 300))
t = np.sin(2.0 * x) + 0.1 * rng.standard_normal(300)
nonsense = rng.random(300) < 0.2
t[nonsense] = rng.uniform(1.0, 5.0, nonsense.sum())

X = np.column_stack([x, np.ones(300)])
net = fastbp.Network(2, activations=["tanh"] * 6 + [bump] * 4 + ["one"], output="identity")
squared = fastbp.fit(net, X, t, l2=1e-3)
robust = fastbp.fit(net, X, t, w0=squared.w, loss=forgetful, l2=1e-3)
errors = [np.sqrt(np.mean((fit.predict(X) - np.sin(2.0 * x)) ** 2)) for fit in (squared, robust)]
print("error of the function: squared {:.2f}, forgetful {:.2f}".format(*errors))
assert errors[1] < 0.15 < errors[0]

# %%
# Left the activation with its two derivatives, right the two fits.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
z = np.linspace(-1.2, 1.2, 401)
for values, name in ((bump(z), "v"), (bump.derivative(z), "v′"), (bump.second_derivative(z), "v″")):
    left.plot(z, values, label=name)
left.set(xlabel="z", ylim=(-5.0, 3.0))
left.legend()
right.plot(x, t, ".", color="0.7", ms=4)
right.plot(x, np.sin(2.0 * x), "k--", lw=1, label="truth")
right.plot(x, squared.predict(X), label="squared")
right.plot(x, robust.predict(X), label="forgetful")
right.set(xlabel="x", ylabel="t")
right.legend()
plt.show()
