"""
NIST's certified regressions
============================

The Statistical Reference Datasets are nonlinear regressions whose least squares are certified to
eleven digits, each with two starts. Seventeen of them are equation (1) with activations of their
own and a mask of the parameters that are free; ``tests/nist.py`` makes them. Levenberg–Marquardt
with its defaults is to arrive from both starts, and to say so only where it did.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastbp

sys.path.insert(0, str(Path(fastbp.__file__).parents[1] / "tests"))  # of the source tree
import nist

# %%
# One of them: y = b1 (1 − exp(−b2 x)) is a neuron v(z) = 1 − exp(−z) of weight b1, and its
# parameters with standard errors are NIST's.

problem = nist.PROBLEMS["Misra1a"]()
result = fastbp.fit(problem.net, problem.X, problem.t, w0=problem.starts[0], free=problem.free)
errors = np.sqrt(np.diag(result.covariance))
for k in range(2):
    certified = f"{problem.certified[k]:.11g} ± {problem.deviations[k]:.4g}"
    print(f"b{k + 1} = {result.w[k]:.8g} ± {errors[k]:.4g}, certified {certified}")
assert np.allclose(result.w, problem.certified, rtol=1e-6)
assert np.allclose(errors, problem.deviations, rtol=1e-4)

# %%
# All of them, from both starts: how many digits of the certified sum of squares are reached.


def digits(problem, w0):
    if not np.isfinite(problem.net(w0, problem.X)).all():
        return np.nan  # as a network, the model has no value at this start
    result = fastbp.fit(problem.net, problem.X, problem.t, w0=w0, free=problem.free)
    got = np.sum((result.predict(problem.X) - problem.t) ** 2)
    error = max(got / problem.sum_of_squares - 1.0, 0.0)
    assert result.converged == (error < 1e-4), result.reason
    return -np.log10(max(error, 1e-11))


problems = {name: make() for name, make in nist.PROBLEMS.items()}
reached = np.array([[digits(p, w0) for w0 in p.starts] for p in problems.values()])
print(f"{np.sum(reached > 4)} of {np.isfinite(reached).sum()} starts arrive")

# %%
# The sum of Lanczos1, 10⁻²⁵, is nothing but the rounding of its data.

fig, ax = plt.subplots(figsize=(7, 4.8), layout="constrained")
rows = np.arange(len(problems))
for k, mark in enumerate("ox"):
    ax.plot(reached[:, k], rows, mark, label=f"start {k + 1}")
ax.set(yticks=rows, xlabel="digits of the certified sum of squares", xlim=(-0.5, 11.5))
ax.set_yticklabels(problems)
ax.invert_yaxis()
ax.grid(axis="y", lw=0.4)
ax.legend()
plt.show()
