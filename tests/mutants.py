"""Deliberate faults, each of which the suite has to notice.

A fault is a replacement in one file of the package, and the tests that must fail by it. The list
is kept: a test that is changed has to go on killing what it killed. `test_mutants.py` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str
    file: str
    """Path within the package."""
    old: str
    """Text that stands exactly once in the file."""
    new: str
    killed_by: tuple[str, ...]
    """Tests, as pytest names them from tests/; of a parametrised one, any case will do."""


def _reference(name: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a fault in the reference; tests are named within test_reference.py."""
    return Mutant(name, "reference.py", old, new, tuple(f"test_reference.py::{t}" for t in tests))


REFERENCE = (
    _reference(
        "a wrong forward pass whose gradient is consistent with it",
        "(output or net.output).evaluate(order, s))",
        "(output or net.output).evaluate(order, s * (1.0 + 1e-9)))",
        "test_first_order_by_hand",
        "test_first_order_to_50_digits",
    ),
    _reference(
        "an error of 1e-9 in one entry of the gradient",
        "([fwd.neurons[0].T @ sbar, (_delta(fwd, sbar).T @ fwd.X).ravel()])",
        "([fwd.neurons[0].T @ sbar, (_delta(fwd, sbar).T @ fwd.X).ravel()]) * np.concatenate("
        "[np.ones(fwd.a.size + fwd.W.size - 1), [1.0 + 1e-9]])",
        "test_first_order_to_50_digits",
        "test_first_order_by_complex_step",
        "test_per_sample_gradients_sum_to_the_vjp",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _reference(
        "the cotangent in single precision",
        "    sbar = ybar * fwd.output[1]\n",
        "    sbar = (ybar * fwd.output[1]).astype(np.float32).astype(ybar.dtype)\n",
        "test_first_order_to_50_digits",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _reference(
        "neurons of one activation take the columns of another",
        "            result[..., which] = part",
        "            result[..., which[::-1]] = part",
        "test_first_order_to_50_digits",
        "test_losses_to_50_digits",
    ),
    _reference(
        "W read column by column",
        "w[H:].reshape(H, net.n_inputs)",
        'w[H:].reshape(H, net.n_inputs, order="F")',
        "test_maps_by_hand",
        "test_first_order_to_50_digits",
    ),
    _reference(
        "δ without v'",
        "    return sbar[:, np.newaxis] * fwd.a * fwd.neurons[1]",
        "    return sbar[:, np.newaxis] * fwd.a * np.ones_like(fwd.neurons[1])",
        "test_first_order_by_hand",
        "test_first_order_to_50_digits",
        "test_product_of_jacobians_is_the_gradient",
    ),
    _reference(
        "a conjugate in the gradient, which only a complex step sees",
        "    sbar = ybar * fwd.output[1]\n",
        "    sbar = ybar * fwd.output[1].conj()\n",
        "test_vjp_and_jvp_have_one_derivative",
    ),
    _reference(
        "the direction in x without W",
        "        zdot = zdot + dX @ fwd.W.T",
        "        zdot = zdot + dX.sum(axis=1, keepdims=True) * fwd.W.sum(axis=1)",
        "test_first_order_by_hand",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _reference(
        "the tangent of a left out",
        "    return zdot, udot, u @ p_a + udot @ fwd.a",
        "    return zdot, udot, udot @ fwd.a + 0.0 * (u @ p_a)",
        "test_second_order_by_hand",
        "test_jvp_is_adjoint_to_vjp",
        "test_losses_to_50_digits",
    ),
    _reference(
        "weights that are divided by their number, not their sum",
        "    return c / total",
        "    return c / len(X)",
        "test_loss_by_hand",
        "test_losses_to_50_digits",
        "test_scaling_all_weights_changes_nothing",
    ),
    _reference(
        "weights left out of the Hessian's first term",
        "    sbar = c * ybar * dsigma\n",
        "    sbar = ybar * dsigma / len(X)\n",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _reference(
        "no curvature of the output in the Hessian",
        "    sbardot = ybardot * dsigma + c * ybar * ddsigma * sdot",
        "    sbardot = ybardot * dsigma",
        "test_second_order_by_hand",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _reference(
        "no curvature of the neurons in the Hessian, which leaves it symmetric",
        "(p_a * dv + fwd.a * ddv * zdot)",
        "(p_a * dv + 0.0 * fwd.a * ddv * zdot)",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _reference(
        "a term of the Hessian on one side of the diagonal only",
        "np.concatenate([udot.T @ sbar, (Ddot.T @ fwd.X).ravel()])",
        "np.concatenate([0.0 * (udot.T @ sbar), (Ddot.T @ fwd.X).ravel()])",
        "test_losses_to_50_digits",
        "test_hessian_is_symmetric",
    ),
    _reference(
        "the Gauss-Newton product with one σ' in the place of two",
        "c * ddloss * dsigma * sdot * dsigma)",
        "c * ddloss * dsigma * sdot)",
        "test_second_order_by_hand",
        "test_gauss_newton_to_50_digits",
        "test_gauss_newton_is_the_explicit_product",
    ),
    _reference(
        "the Gauss-Newton matrix without ℓ''",
        "J.T @ ((c * ddloss)[:, np.newaxis] * J)",
        "J.T @ ((c * np.ones_like(ddloss))[:, np.newaxis] * J)",
        "test_gauss_newton_to_50_digits",
        "test_gauss_newton_is_the_explicit_product",
    ),
    _reference(
        "the second derivative by x without that of σ",
        "_delta(fwd, ddsigma * sdot) + dsigma",
        "_delta(fwd, 0.0 * ddsigma * sdot) + dsigma",
        "test_second_order_by_hand",
        "test_second_order_by_inputs_to_50_digits",
        "test_input_curvature_by_complex_step",
    ),
    _reference(
        "the logistic output applied before the fused cross entropy",
        "    fwd = _forward(net, w, X, order, output)\n",
        "    fwd = _forward(net, w, X, order)\n",
        "test_losses_to_50_digits",
        "test_cross_entropy_is_finite_and_exact_for_any_s",
    ),
    _reference(
        "products counted without the inner dimension",
        "A.shape[0] * A.shape[1] * B.shape[1]",
        "A.shape[0] * B.shape[1]",
        "test_counted_operations_are_the_closed_forms",
    ),
    _reference(
        "the Jacobian of L with w transposed",
        "np.kron(identity, x)])",
        "np.kron(x, identity)])",
        "test_jacobians_by_hand",
        "test_product_of_jacobians_is_the_gradient",
    ),
)

MUTANTS = REFERENCE
