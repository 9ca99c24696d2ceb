"""
A fit for each of ten thousand pixels
=====================================

A dye bleaches while an image series is taken: each pixel of 100 × 100 has a decay of its own. One
call fits them all, in a compiled loop on every core; each fit has the bits of ``fit`` alone.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# Forty exposures of 10⁴ pixels: brightness, rate and background vary over the image.

rng = np.random.default_rng(0)
size = 100
times = np.linspace(0.0, 5.0, 40)
across, down = np.meshgrid(np.linspace(-1.0, 1.0, size), np.linspace(-1.0, 1.0, size))
bright = 1.0 + np.exp(-4.0 * ((across - 0.3) ** 2 + down**2))
rate = 0.5 + 1.5 / (1.0 + np.exp(8.0 * (np.hypot(across, down) - 0.6)))
stack = 0.3 + bright[..., None] * np.exp(-rate[..., None] * times)  # (100, 100, 40)
stack += 0.02 * rng.standard_normal(stack.shape)

# %%
# The model is equation (1): an exponential neuron of weight a and input weight −k, and a constant
# one, whose weight is the background. Its own input weight does nothing and is held.

net = fastbp.Network(1, activations=["exp", "one"], output="identity")
X = np.broadcast_to(times[:, None], (size * size, 40, 1))
start = [1.0, 0.5, -1.0, 0.0]
free = [True, True, True, False]
fits = fastbp.fit_groups(net, X, stack.reshape(-1, 40), w0=start, free=free)
print(fits)

found = -fits.w[:, 2].reshape(size, size)
error = np.abs(found / rate - 1.0)
print(f"error of the rate: median {np.median(error):.1%}, largest {error.max():.1%}")
assert np.median(error) < 0.03

# %%
# The first exposure, and the rates that were found.

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.3), layout="constrained")
left.imshow(stack[..., 0], cmap="gray")
left.set(title="first exposure", xticks=[], yticks=[])
image = middle.imshow(found, cmap="viridis", vmin=0.4, vmax=2.1)
middle.set(title="rate", xticks=[], yticks=[])
fig.colorbar(image, ax=middle, shrink=0.8)
for row, column in ((50, 50), (50, 98)):
    m = row * size + column
    (line,) = right.plot(times, fits.predict(X)[m])
    right.plot(times, stack[row, column], ".", color=line.get_color(), label=f"({row}, {column})")
right.set(title="two of the fits", xlabel="time")
right.legend()
plt.show()
