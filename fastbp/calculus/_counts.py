"""Operations of the gradient in either order of multiplication (questions 8 and 9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._boundary import positive
from ._plot import axes

# The gradients of `OperationCounts`, in its order.
_LABELS = ("∇_w, dense", "∇_x, dense", "∇_w, structure used", "∇_x, structure used")


class Orders(NamedTuple):
    """Operations of one product in its two orders, J_M · (J_V · J_L) and (J_M · J_V) · J_L."""

    from_input_layer: int
    from_output_layer: int

    @property
    def ratio(self) -> float:
        """The former by the latter."""
        return self.from_input_layer / self.from_output_layer


class OperationCounts(NamedTuple):
    """What `operation_counts` returns: `Orders` for each gradient, without and with structure.

    Attributes
    ----------
    n_inputs, n_neurons : int
        N and H.
    weights, inputs : Orders
        For ∇_w f and ∇_x f, with the Jacobians as they stand.
    weights_structured, inputs_structured : Orders
        The same where only entries other than zero are multiplied.
    """

    n_inputs: int
    n_neurons: int
    weights: Orders
    inputs: Orders
    weights_structured: Orders
    inputs_structured: Orders

    def __repr__(self) -> str:
        lines = [
            f"Operations of one gradient, N = {self.n_inputs} inputs, H = {self.n_neurons} neurons",
            f"{'':24}{'from input layer':>18}{'from output layer':>19}{'ratio':>9}",
        ]
        for label, orders in zip(_LABELS, self[2:], strict=True):
            first, second = orders
            lines.append(f"{label:24}{first:18,}{second:19,}{orders.ratio:9.2f}")
        lines.append(
            "Dense, the ratio grows: like H for ∇_w, like N H / (N + H) for ∇_x. With the\n"
            "structure used in both orders it tends to a constant, 3 for ∇_w and 2 for ∇_x:\n"
            "the order alone wins no more than that."
        )
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Plot how the operations of ∇_w and ∇_x grow with H at this N, in log-log.

        Returns the matplotlib axes, those given or new ones; matplotlib comes with the extra
        ``plot``, without it this is an ImportError.
        """
        ax = axes(ax)
        most = max(self.n_neurons, 16)
        sizes = np.unique(np.geomspace(1, most, 40).round().astype(int)).tolist()
        counts = np.array([operation_counts(self.n_inputs, H)[2:] for H in sizes], np.float64)
        for gradient, label in enumerate(_LABELS):
            for order, (dash, end) in enumerate((("--", "input"), ("-", "output"))):
                ax.loglog(
                    sizes,
                    counts[:, gradient, order],
                    dash,
                    color=f"C{gradient % 2}",
                    linewidth=1.0 + gradient // 2,
                    label=f"{label}, from {end} layer",
                )
        ax.set_xlabel("neurons H")
        ax.set_ylabel(f"operations, N = {self.n_inputs}")
        ax.legend(fontsize="small")
        return ax


def operation_counts(n_inputs: int, n_neurons: int) -> OperationCounts:
    """Count the operations of ∇_w f and ∇_x f at one observation, in both orders.

    By the rule that an (n × m)·(m × p) product costs n·m·p, and an entrywise sum or product its
    entries. z, u, s and the derivatives of the activations are taken as known.

    =====================  ===================================  =========================
    gradient               from the input layer                 from the output layer
    =====================  ===================================  =========================
    ∇_w, dense             N H³ + H³ + N H² + H² + 2 (N H + H)  N H² + 2 H² + 2 (N H + H)
    ∇_x, dense             N H² + N H + N                       H² + N H + N
    ∇_w, structure used    3 N H + H                            N H + 3 H
    ∇_x, structure used    2 N H + N                            N H + 2 H
    =====================  ===================================  =========================

    Dense, the ratio for ∇_w tends to H, but most of what is saved are products with zeros: with
    the structure used in both orders (J_V is diagonal, a row of J_L has N entries other than
    zero), the ratio tends to 3 for ∇_w and 2 for ∇_x. The kernels do the last column's
    N H + 3 H and N H + 2 H.

    Parameters
    ----------
    n_inputs, n_neurons : int
        N and H.

    Returns
    -------
    OperationCounts
        With a table as its repr, and ``plot()``.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers.

    See Also
    --------
    fastbp.reference.grad_from_input_layer : Carries the products out, and counts them.

    Examples
    --------
    >>> counts = operation_counts(n_inputs=2, n_neurons=2)
    >>> counts.weights.from_input_layer, counts.weights.from_output_layer
    (48, 28)
    >>> round(operation_counts(100, 100).weights.ratio)
    98
    """
    N, H = positive("n_inputs", n_inputs), positive("n_neurons", n_neurons)
    P = N * H + H
    return OperationCounts(
        N,
        H,
        weights=Orders(H * H * P + H * P + 2 * P, H * H + H * P + 2 * P),
        inputs=Orders(N * H * H + N * H + N, H * H + N * H + N),
        weights_structured=Orders(3 * N * H + H, N * H + 3 * H),
        inputs_structured=Orders(2 * N * H + N, N * H + 2 * H),
    )
