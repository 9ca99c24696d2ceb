"""The calculus that equation (1) rests on, as things one can run (questions 1 to 4, 8 and 9).

- `taylor_test` measures how fast the remainder of Taylor's formula falls: what makes a derivative
  right; `check_gradient` makes a report on a network with the user's own activations, data and
  loss.
- `LeastSquares`, `Affine` and `Factorization` are the three model objectives with all their
  derivatives, in SciPy's conventions.
- `compose` is the chain rule: derivatives of F∘G from those of F and G, no Jacobian formed.
- `operation_counts` counts what the two orders of multiplying the Jacobians cost.

docs/mathematics.md derives all of it. Importing this module does not import Numba.
"""

from ._check import Check, GradientReport, check_gradient
from ._compose import Composition, Differentiable, Map, compose, of_inputs, of_weights
from ._counts import OperationCounts, Orders, operation_counts
from ._objectives import Affine, Factorization, LeastSquares
from ._taylor import TaylorTest, taylor_test

__all__ = [
    "Affine", "Check", "Composition", "Differentiable", "Factorization", "GradientReport",
    "LeastSquares", "Map", "OperationCounts", "Orders", "TaylorTest", "check_gradient", "compose",
    "of_inputs", "of_weights", "operation_counts", "taylor_test",
]  # fmt: skip
