"""Operations of the gradients in either order of multiplication (questions 8 and 9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _plots as plots
from .._boundary import positive

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
    n_outputs : int
        K.
    """

    n_inputs: int
    n_neurons: int
    weights: Orders
    inputs: Orders
    weights_structured: Orders
    inputs_structured: Orders
    n_outputs: int = 1

    @property
    def _orders(self) -> tuple[Orders, ...]:
        return self[2:6]

    def __repr__(self) -> str:
        K = self.n_outputs
        what, outputs, each = "one gradient", "", ""
        if K > 1:
            what, outputs, each = f"{K} gradients", f", K = {K} outputs", " / K"
        lines = [
            f"Operations of {what}, N = {self.n_inputs} inputs, H = {self.n_neurons} neurons"
            f"{outputs}",
            f"{'':24}{'from input layer':>18}{'from output layer':>19}{'ratio':>9}",
        ]
        for label, orders in zip(_LABELS, self._orders, strict=True):
            first, second = orders
            lines.append(f"{label:23} {first:17,} {second:18,} {orders.ratio:8.2f}")
        lines.append(
            f"Dense, the ratio grows: like H{each} for ∇_w, like N H / (N + H){each} for ∇_x. "
            f"With the\nstructure used in both orders it tends to a constant, {2 + 1 / K:.3g} for "
            f"∇_w and {1 + 1 / K:.3g} for ∇_x:\nthe order alone wins no more than that."
        )
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Plot how the operations of ∇_w and ∇_x grow with H at this N, in log-log.

        Returns the matplotlib axes, those given or new ones; matplotlib comes with the extra
        ``plot``, without it this is an ImportError.
        """
        ax = plots.axes(ax, 7.5, 4.5)
        most = max(self.n_neurons, 16)
        sizes = np.unique(np.geomspace(1, most, 40).round().astype(int)).tolist()
        N, K = self.n_inputs, self.n_outputs
        counts = np.array([operation_counts(N, H, K)._orders for H in sizes], np.float64)
        ends = []
        for gradient, label in enumerate(_LABELS):
            colour = plots.COLOURS[gradient]
            for order, (dash, end) in enumerate((("--", "input"), ("-", "output"))):
                values, name = counts[:, gradient, order], f"{label}, from {end} layer"
                # Broken lines over whole ones: where two are the same, both are seen.
                ax.loglog(
                    sizes,
                    values,
                    dash,
                    color=colour,
                    linewidth=2.2 - gradient * 0.4,
                    zorder=3 - order,
                    label=name,
                )
                ends.append((sizes[-1], values[-1], name, colour))
        outputs = f", K = {K} outputs" if K > 1 else ""
        plots.labelled(ax, "neurons H", f"operations, N = {N} inputs{outputs}")
        plots.label_lines(ax, ends)
        return ax


def operation_counts(n_inputs: int, n_neurons: int, n_outputs: int = 1) -> OperationCounts:
    """Count the operations of ∇_w f and ∇_x f at one observation, in both orders.

    By the rule that an (n × m)·(m × p) product costs n·m·p, and an entrywise sum or product its
    entries. z, u, s and the derivatives of the activations are taken as known. Of K outputs it is
    all K gradients, the rows of the Jacobian; P = K H + H N.

    =====================  ==============================  ==============================
    gradient               from the input layer            from the output layer
    =====================  ==============================  ==============================
    ∇_w, dense             H² P + (K H + K + K²) P         K H² + (K H + K + K²) P
    ∇_x, dense             N H² + K N H + K² N             K H² + K N H + K² N
    ∇_w, structure used    (2 K + 1) N H + K H             K N H + 3 K H
    ∇_x, structure used    (K + 1) N H + K N               K N H + 2 K H
    =====================  ==============================  ==============================

    Dense, for one output the first row is N H³ + H³ + N H² + H² + 2 (N H + H) beside
    N H² + 2 H² + 2 (N H + H). The ratio for ∇_w tends to H, but most of what is saved are products
    with zeros: with the structure used in both orders (J_V is diagonal, a row of J_L has N entries
    other than zero, and J_σ is diagonal, but for the softmax), the ratio tends to 3 for ∇_w and 2
    for ∇_x; with K outputs to 2 + 1/K and 1 + 1/K. The kernels do the last column's N H + 3 H and
    N H + 2 H.

    Parameters
    ----------
    n_inputs, n_neurons, n_outputs : int
        N, H and K.

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
    >>> round(operation_counts(100, 100, n_outputs=10).weights.ratio)
    10
    """
    N, H = positive("n_inputs", n_inputs), positive("n_neurons", n_neurons)
    K = positive("n_outputs", n_outputs)
    P = K * H + H * N
    shared_w, shared_x = (K * H + K + K * K) * P, (H + K) * K * N
    return OperationCounts(
        N,
        H,
        weights=Orders(H * H * P + shared_w, K * H * H + shared_w),
        inputs=Orders(N * H * H + shared_x, K * H * H + shared_x),
        weights_structured=Orders((2 * K + 1) * N * H + K * H, K * N * H + 3 * K * H),
        inputs_structured=Orders((K + 1) * N * H + K * N, K * N * H + 2 * K * H),
        n_outputs=K,
    )
