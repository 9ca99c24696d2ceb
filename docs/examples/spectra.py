"""
Spectra to concentrations
=========================

Spectra of a mixture have overlapping bands, a drifting baseline, and bend where the detector
saturates. One network of three outputs learns the three concentrations from principal components
of the spectra, with a deviation for each prediction, and says which wavelengths matter.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# Three substances, 120 wavelengths, 300 mixtures.

rng = np.random.default_rng(0)
wavelength = np.linspace(400.0, 700.0, 120)
centres, widths = np.array([470.0, 530.0, 560.0]), np.array([25.0, 30.0, 22.0])
bands = np.exp(-(((wavelength - centres[:, None]) / widths[:, None]) ** 2))


def measure(c):
    """Absorbance, (B, 120): a detector of stray light, a baseline that drifts, noise."""
    pure = c @ bands + 0.1 * rng.random((len(c), 1)) * (wavelength / 700.0)
    bent = -np.log10(10.0**-pure + 0.05) + np.log10(1.05)
    return bent + 0.003 * rng.standard_normal(bent.shape)


c = rng.uniform(0.0, 1.5, (300, 3))
spectra = measure(c)
fitted, held_out = slice(0, 220), slice(220, 300)

# %%
# Eight principal components, on one scale, and the constant input.

mean = spectra[fitted].mean(axis=0)
_, size, axes = np.linalg.svd(spectra[fitted] - mean, full_matrices=False)
to_scores = axes[:8].T * (np.sqrt(220.0) / size[:8])


def inputs(spectra):
    scores = (spectra - mean) @ to_scores
    return np.column_stack([scores, np.ones(len(scores))])


# %%
# Six bent neurons and an identity, which takes the linear part; a penalty that spares the biases.

activations = ["tanh"] * 6 + ["identity", "one"]
net = fastbp.Network(9, activations=activations, n_outputs=3, output="identity")
l2 = np.full(net.n_params, 1e-5)
for weights in net.split(l2):
    weights[:, -1] = 0.0
result = fastbp.fit(net, inputs(spectra[fitted]), c[fitted], l2=l2)
print(result)

y, std = result.predict(inputs(spectra[held_out]), return_std=True, noise=True)
rmse = np.sqrt(np.mean((y - c[held_out]) ** 2, axis=0))
line = np.linalg.lstsq(inputs(spectra[fitted]), c[fitted], rcond=None)[0]
rmse_line = np.sqrt(np.mean((inputs(spectra[held_out]) @ line - c[held_out]) ** 2, axis=0))
covered = np.mean(np.abs(y - c[held_out]) < 1.645 * std)
print(f"held out, root mean square error: network {rmse.round(4)}, line {rmse_line.round(4)}")
print(f"inside the interval of 90 %: {covered:.0%}")
assert (rmse < 0.7 * rmse_line).all() and covered > 0.8

# %%
# How the concentrations depend on the absorbance at each wavelength: the input gradient, (B, 3, 9),
# carried back through the components.

slopes = net.input_grad(result.w, inputs(spectra[held_out]))[:, :, :8] @ to_scores.T  # (80, 3, 120)
sensitivity = slopes.mean(axis=0)

fig, (top, left, right) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
top.plot(wavelength, spectra[:12].T, lw=0.8)
top.set(xlabel="wavelength / nm", ylabel="absorbance", title="twelve of the spectra")
for k, name in enumerate("ABC"):
    left.errorbar(c[held_out, k], y[:, k], 1.645 * std[:, k], fmt=".", lw=0.7, label=name)
    right.plot(wavelength, sensitivity[k], label=name)
left.plot([0.0, 1.5], [0.0, 1.5], "k--", lw=0.8)
left.set(xlabel="concentration", ylabel="predicted, with 90 %", title="held out", aspect="equal")
left.legend()
right.set(xlabel="wavelength / nm", title="∂ concentration / ∂ absorbance")
right.legend()
plt.show()
