"""
Digits, and which are taken for which
=====================================

Ten digits told apart by one softmax network: scikit-learn's 1797 pictures of 8 × 8 pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastbp

pictures, digits = load_digits(return_X_y=True)
split = train_test_split(pictures, digits, test_size=0.25, stratify=digits, random_state=0)
X, X_test, t, t_test = split

# Columns on one scale, and a constant one: the bias of every neuron. Some pixels are always white.
mean, scale = X.mean(axis=0), np.maximum(X.std(axis=0), 1.0)
X, X_test = (np.column_stack([(Z - mean) / scale, np.ones(len(Z))]) for Z in (X, X_test))

# 32 neurons, and a constant one, which has the biases of the ten outputs.
net = fastbp.Network(65, activations=["tanh"] * 32 + ["one"], n_outputs=10, output="softmax")

# The cross entropy of classes 0 … 9. Biases have no penalty.
l2 = np.full(net.n_params, 3e-4)
for weights in net.split(l2):
    weights[:, -1] = 0.0
result = fastbp.fit(net, X, t, loss="cross_entropy", l2=l2, epochs=60)

p = result.predict(X_test)  # probabilities, (450, 10)
log_loss = -np.log(p[np.arange(len(p)), t_test]).mean()
predicted = p.argmax(axis=1)
print(f"held out: accuracy {np.mean(predicted == t_test):.3f}, log-loss {log_loss:.4f}")

# %%
# Which are taken for which: a row for each digit, a column for each that was predicted.

confusion = np.zeros((10, 10), int)
np.add.at(confusion, (t_test, predicted), 1)
print(confusion)

# %%
# How a probability depends on the pixels: derivatives of all outputs by all inputs, (450, 10, 65).

slopes = net.input_grad(result.w, X_test)
pixels = np.abs(slopes[:, :, :64]).mean(axis=(0, 1)).reshape(8, 8)
print("the pixels that matter most, row and column:")
print(np.argwhere(pixels >= np.sort(pixels, axis=None)[-5]).tolist())

assert np.mean(predicted == t_test) > 0.95 and log_loss < 0.2

# %%
# Left the counts, right how strongly each pixel moves the probabilities.

fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4), layout="constrained")
left.imshow(confusion, cmap="Blues", vmax=12)
for (i, j), count in np.ndenumerate(confusion):
    if count:
        left.text(j, i, count, ha="center", va="center", color="white" if count > 8 else "black")
left.set(xlabel="predicted", ylabel="digit", xticks=range(10), yticks=range(10))
image = right.imshow(pixels, cmap="viridis")
right.set(xticks=[], yticks=[], title="mean |∂ probability / ∂ pixel|")
fig.colorbar(image, ax=right, shrink=0.8)
plt.show()
