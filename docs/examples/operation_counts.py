"""
Why backwards: the operations of questions 8 and 9
==================================================

The gradient of the network is a product of Jacobians, and a product may be taken from either end.
``fastbp.reference`` carries out both and counts as it goes, an (n × m)·(m × p) product as n·m·p.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp
from fastbp import reference
from fastbp.calculus import operation_counts

# %%
# The same gradient both ways, counted.

rng = np.random.default_rng(0)
net = fastbp.Network(5, 20)
w, x = net.init(seed=0), rng.normal(size=5)
forward = reference.grad_from_input_layer(net, w, x)
backward = reference.grad_from_output_layer(net, w, x)
assert np.allclose(forward.gradient, backward.gradient)
assert np.allclose(forward.gradient, net.value_and_grad(w, x)[1])
print(f"from the input layer  {forward.operations:7}")
print(f"from the output layer {backward.operations:7}")
print(operation_counts(5, 20))

# %%
# The ratio tends to H. But most of these products are with zeros; leave them out, in both orders,
# and what is left is a factor of three. The kernels do the lowest line, all but as little as there
# can be: the P numbers of the gradient have to be written.

sizes = np.unique(np.logspace(0.0, 3.0, 40).astype(int))
counts = [operation_counts(10, int(H)) for H in sizes]
lines = {
    "from the input layer": [c.weights.from_input_layer for c in counts],
    "from the output layer": [c.weights.from_output_layer for c in counts],
    "from the input layer, no zeros": [c.weights_structured.from_input_layer for c in counts],
    "from the output layer, no zeros": [c.weights_structured.from_output_layer for c in counts],
    "numbers of the gradient": [11 * H for H in sizes],
}
fig, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
for (name, values), style in zip(lines.items(), ["-", "-", "--", "-", ":"], strict=True):
    ax.loglog(sizes, values, style, label=name)
ax.set(xlabel="neurons H, with N = 10 inputs", ylabel="operations for ∇_w f")
ax.legend()
plt.show()
