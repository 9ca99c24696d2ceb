"""Deliberate faults, each of which the suite has to notice.

A fault is a replacement in one file of the package, and the tests that must fail by it. The list
is kept: a test that is changed has to go on killing what it killed. `test_mutants.py` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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


def _head(name: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a fault in what the reference ends in."""
    return replace(_reference(name, old, new, *tests), file="_heads.py")


REFERENCE = (
    _reference(
        "a wrong forward pass whose gradient is consistent with it",
        "    s = M(net, w, U).reshape",
        "    s = (M(net, w, U) * (1.0 + 1e-9)).reshape",
        "test_first_order_by_hand",
        "test_first_order_to_50_digits",
    ),
    _reference(
        "an error of 1e-9 in one entry of the gradient",
        "(f.U.T @ sbar).T.ravel(), (D.T @ f.X).ravel()])",
        "(f.U.T @ sbar).T.ravel(), (D.T @ f.X).ravel()]) * np.concatenate("
        "[np.ones(f.A.size + f.W.size - 1), [1.0 + 1e-9]])",
        "test_first_order_to_50_digits",
        "test_first_order_by_complex_step",
        "test_per_sample_gradients_sum_to_the_vjp",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _reference(
        "the cotangent in single precision",
        "    sbar = times(output(_sigmas(net), 1, f.s)[1], ybar)\n",
        "    sbar = times(output(_sigmas(net), 1, f.s)[1], ybar)\n"
        "    sbar = sbar.astype('f4').astype(ybar.dtype)\n",
        "test_first_order_to_50_digits",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _head(
        "neurons of one activation take the columns of another",
        "            result[..., which] = part",
        "            result[..., which] = part[..., ::-1]",
        "test_first_order_to_50_digits",
        "test_losses_to_50_digits",
    ),
    _reference(
        "W read column by column",
        "w[K * H :].reshape(H, net.n_inputs)",
        'w[K * H :].reshape(H, net.n_inputs, order="F")',
        "test_maps_by_hand",
        "test_first_order_to_50_digits",
    ),
    _reference(
        "δ without v'",
        "    return _back(sbar, f.A) * f.dV[:, np.newaxis]",
        "    return _back(sbar, f.A) * np.ones_like(f.dV)[:, np.newaxis]",
        "test_first_order_by_hand",
        "test_first_order_to_50_digits",
        "test_product_of_jacobians_is_the_jacobian",
    ),
    _reference(
        "a conjugate in the gradient, which only a complex step sees",
        "    sbar = times(output(_sigmas(net), 1, f.s)[1], ybar)\n",
        "    sbar = times(output(_sigmas(net), 1, f.s)[1].conj(), ybar)\n",
        "test_vjp_and_jvp_have_one_derivative",
    ),
    _reference(
        "the direction in x without W",
        "f.X @ P_W.T + dX @ f.W.T",
        "f.X @ P_W.T + dX.sum(axis=1, keepdims=True) * f.W.sum(axis=1)",
        "test_first_order_by_hand",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _reference(
        "the tangent of a left out",
        "    return dZ, dU, f.U @ P_A.T + dU @ f.A.T",
        "    return dZ, dU, dU @ f.A.T + 0.0 * (f.U @ P_A.T)",
        "test_second_order_by_hand",
        "test_jvp_is_adjoint_to_vjp",
        "test_losses_to_50_digits",
    ),
    _reference(
        "weights that are divided by their number, not their sum",
        "c[weighs] / total, tau, order)",
        "c[weighs] / len(X), tau, order)",
        "test_loss_by_hand",
        "test_losses_to_50_digits",
        "test_scaling_all_weights_changes_nothing",
    ),
    _reference(
        "weights left out of the Hessian's first term",
        "    dD = _back(head.sbar[:, np.newaxis],",
        "    dD = _back(np.full_like(head.sbar, head.sbar.mean())[:, np.newaxis],",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _head(
        "weights left out of the curvature of σ",
        "h=kappa + curvature[0](c * dl))",
        "h=kappa + curvature[0](dl / len(s)))",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _head(
        "no curvature of the output in the Hessian",
        "h=kappa + curvature[0](c * dl))",
        "h=kappa)",
        "test_second_order_by_hand",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _reference(
        "no curvature of the neurons in the Hessian, which leaves it symmetric",
        "P_A * dV + f.A * ddV * dZ",
        "P_A * dV + 0.0 * f.A * ddV * dZ",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _reference(
        "a term of the Hessian on one side of the diagonal only",
        "(dU.T @ head.sbar).T.ravel()",
        "0.0 * (dU.T @ head.sbar).T.ravel()",
        "test_losses_to_50_digits",
        "test_second_derivatives_are_symmetric",
    ),
    _head(
        "the curvature of the loss by s with one σ' in the place of two",
        "    return d * J * J if",
        "    return d * J if",
        "test_second_order_by_hand",
        "test_gauss_newton_to_50_digits",
        "test_second_derivatives_are_symmetric",
    ),
    _reference(
        "the Gauss-Newton matrix with one curvature for all observations",
        "    QJ = head.kappa[..., np.newaxis] * J",
        "    QJ = np.full_like(head.kappa, head.kappa.mean())[..., np.newaxis] * J",
        "test_gauss_newton_to_50_digits",
        "test_second_derivatives_are_symmetric",
    ),
    _reference(
        "the second derivative by x without that of σ",
        "whole(curvature(ds))",
        "whole(curvature(0.0 * ds))",
        "test_second_order_by_hand",
        "test_second_order_by_inputs_to_50_digits",
        "test_input_curvature_by_complex_step",
    ),
    _head(
        "the logistic output applied before the fused cross entropy",
        "sigmas, pointwise = zip(*(loss.with_output(v)",
        "_, pointwise = zip(*(loss.with_output(v)",
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
        "    rows = np.kron(np.eye(net.n_neurons, dtype=np.result_type(w, x)), x)",
        "    rows = np.kron(x, np.eye(net.n_neurons, dtype=np.result_type(w, x)))",
        "test_jacobians_by_hand",
        "test_product_of_jacobians_is_the_jacobian",
    ),
    _reference(
        "A read column by column in the gradient",
        "[(f.U.T @ sbar).T.ravel()",
        "[(f.U.T @ sbar).ravel()",
        "test_first_order_to_50_digits",
        "test_jvp_is_adjoint_to_vjp",
    ),
    _head(
        "the curvature of the softmax on one side of the diagonal only",
        "-outer - outer.swapaxes(1, 2)",
        "-2.0 * outer",
        "test_second_order_by_inputs_to_50_digits",
        "test_losses_by_complex_step",
        "test_second_derivatives_are_symmetric",
    ),
    _head(
        "1 - y of the softmax, which cancels",
        "    np.put_along_axis(rest, top, others / (1.0 + others), 1)\n",
        "    np.put_along_axis(rest, top, 1.0 - 1.0 / (1.0 + others), 1)\n",
        "test_softmax_cross_entropy_is_finite_and_exact_for_any_s",
    ),
    _head(
        "exp(s) without the largest s taken off",
        "        below = np.take_along_axis(s, top, 1) - s\n",
        "        below = -s\n",
        "test_first_order_to_50_digits",
    ),
    _head(
        "weights of outputs in the loss, but not in its slope",
        "c[:, np.newaxis] * tau\n    first",
        "c[:, np.newaxis] * np.ones_like(tau)\n    first",
        "test_losses_to_50_digits",
        "test_losses_by_complex_step",
    ),
    _head(
        "weights of classes that count in the class alone",
        "T * y - t)",
        "y - t)",
        "test_losses_to_50_digits",
        "test_weights_of_outputs_weigh_classes",
    ),
    _reference(
        "every output with the first one's activation",
        "_n_outputs(net) if one else net.output\n",
        "_n_outputs(net) if one or net.output is softmax else net.output[:1] * len(net.output)\n",
        "test_first_order_to_50_digits",
        "test_each_output_is_a_network_of_its_own",
    ),
)


def _kernel(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a fault in a kernel or in what leads to it; tests are named from tests/."""
    return Mutant(name, file, old, new, tests)


_SIZES = "test_kernels.py::test_every_batch_up_to_two_vectors_and_around_panels[3-5-float64]"
_MANY_INPUTS = "test_kernels.py::test_every_number_of_inputs_up_to_two_panels[16-float64]"
_NEURONS = "test_kernels.py::test_every_number_of_neurons_up_to_five_tiles[40-float64]"
_NEURONS_FEW = "test_kernels.py::test_every_number_of_neurons_up_to_five_tiles[1-float64]"
_CHUNKS = "test_kernels.py::test_batches_around_chunks[3-5-float64]"
_PARTS = "test_kernels.py::test_batches_around_parts[1600-float64]"
_BLOCKS = "test_kernels.py::test_products_of_several_blocks[1300-3-float64]"
_MEMORY = (
    "test_kernels.py::test_only_out_is_written_and_only_arguments_are_read[(7, 5, 19)-float64]"
)
_FENCED = "test_kernels.py::test_memory_beside_arrays_and_workspaces_may_be_forbidden"
_PLAIN = "test_training_kernels.py::test_plain_sgd_where_all_move"
_PADDING = "test_kernels.py::test_padding_brings_in_no_value_that_no_sample_has[float64]"

KERNELS = (
    _kernel(
        "s̄ is not zero on the padding",
        "kernels/drivers/head.py",
        "            bar[b] = zero\n",
        "            bar[b] = real(1e-9)\n",
        _SIZES,
    ),
    _kernel(
        "later chunks overwrite the gradient",
        "kernels/drivers/first_order.py",
        "more = 1 if first or g == w else 0",
        "more = 1 if g == w else 0",
        _CHUNKS,
    ),
    _kernel(
        "the first chunk adds to what was in out",
        "kernels/drivers/first_order.py",
        "more = 1 if first or g == w else 0",
        "more = 1",
        _SIZES,
        _MEMORY,
    ),
    _kernel(
        "a plain step writes its gradient over the parameters",
        "kernels/drivers/first_order.py",
        "more = 1 if first or g == w else 0",
        "more = 1 if first else 0",
        f"{_PLAIN}[33]",
    ),
    _kernel(
        "a plain step moves the parameters between two chunks",
        "kernels/drivers/training.py",
        "adding = most >= batch and is_plain(steps.settings, steps.free)",
        "adding = is_plain(steps.settings, steps.free)",
        f"{_PLAIN}[650]",
    ),
    _kernel(
        "sums of a part stay no numbers by what has no weight",
        "kernels/drivers/weighing.py",
        "        if m == n:\n",
        "        if m > 0:\n",
        "test_kernels.py::test_what_has_no_weight_may_be_beyond_all_numbers[40-8-1-targets-float64]",
        "test_fit.py::test_what_has_no_weight_may_be_beyond_all_numbers[squared-None]",
    ),
    _kernel(
        "a batch with what has no weight in it",
        "kernels/drivers/training.py",
        "                order = standing\n",
        "",
        "test_training_kernels.py::test_losses_and_sample_weights[6-squared]",
    ),
    _kernel(
        "what has no weight in a step of second order",
        "kernels/drivers/levenberg.py",
        "B=data.B, c=data.c, scale=data.scale,",
        "B=data.B, scale=data.scale,",
        "test_fit.py::test_steps_of_second_order_leave_out_what_has_no_weight[1]",
    ),
    _kernel(
        "a chunk begins where the one before it began to be padded",
        "kernels/drivers/first_order.py",
        "            if not panels:\n"
        "                call_pack(load(plan, PACK), x, n, N, room.panels, step)",
        "            if not panels:\n"
        "                back = (first > 0) * N * size\n"
        "                call_pack(load(plan, PACK), x - back, n, N, room.panels, step)",
        _CHUNKS,
    ),
    _kernel(
        "all samples weigh the same in the gradient",
        "kernels/drivers/head.py",
        "weight = weighed(scale, c[b] if given.c else one, tau)",
        "weight = weighed(scale, one, tau)",
        "test_kernels.py::test_every_loss_in_a_batch_of_parts_and_chunks[squared-float64]",
    ),
    _kernel(
        "σ'² beside a curvature of 0",
        "kernels/drivers/head.py",
        "return h * d * d",
        "return h * (d * d)",
        "test_second_order.py::test_slopes_whose_square_is_beyond_all_numbers[1-float32]",
    ),
    _kernel(
        "the weight of an output times the scale, before that of the observation",
        "kernels/drivers/head.py",
        "return scale * c * tau",
        "return scale * tau * c",
        "test_kernels.py::test_units_of_both_weights_are_free[-1-softplus-float32]",
    ),
    _kernel(
        "the gradient of the loss without its scale",
        "kernels/drivers/head.py",
        "scale = real(given.scale)\n",
        "scale = one\n",
        _SIZES,
    ),
    _kernel(
        "δ of the samples past the first without v' of their own",
        "kernels/drivers/first_order.py",
        "activate(plan, what, v, D + b * hp * size, 0, 1)",
        "activate(plan, what, v, D, 0, 1)",
        "test_kernels.py::test_every_number_of_neurons_up_to_five_tiles[2-float32]",
    ),
    _kernel(
        "panels of ∇_W are not packed again",
        "kernels/drivers/first_order.py",
        "                    call_pack(load(plan, COPY), x, n, N, room.panels, step)\n",
        "",
        _MANY_INPUTS,
    ),
    _kernel(
        "per-sample rows with the slope of the sample before",
        "kernels/drivers/first_order.py",
        "slope = bar[k * cp + b]",
        "slope = bar[k * cp + max(b - 1, 0)]",
        "test_kernels.py::test_jacobian_is_adjoint_to_vjp[shape2-float64]",
    ),
    _kernel(
        "the gradient of the last part is left out",
        "kernels/drivers/batch.py",
        "            merge(k, k + 1 == n_parts, g,",
        "            merge(k, k + 1 == n_parts, g if k + 1 < n_parts else 0,",
        _PARTS,
    ),
    _kernel(
        "the loss of the last part alone",
        "kernels/drivers/batch.py",
        "        pointer64(result)[0] = pointer64(losses)[0]\n",
        "        pointer64(result)[0] = pointer64(losses + 8 * ones(n_parts - 1))[0]\n",
        _PARTS,
    ),
    _kernel(
        "the workspace of parts in the memory of their gradient",
        "kernels/drivers/batch.py",
        "            scratch = places + levels(n_parts) * P * size\n",
        "            scratch = places\n",
        _PARTS,
    ),
    _kernel(
        "no room in the workspace for two of the three vectors behind D",
        "kernels/machine/sizes.py",
        "2 * c * H + 3 * c + 7 * line",
        "2 * c * H + c",
        _FENCED,
    ),
    _kernel(
        "every batch is one part",
        "kernels/machine/sizes.py",
        "    parts = B // _PART\n",
        "    parts = 0 * B\n",
        "test_threads.py::test_a_gradient_is_the_sum_of_those_of_its_parts_along_a_tree[1600]",
    ),
    _kernel(
        "what is left over of a tree is left out",
        "kernels/drivers/tree.py",
        "        while at > 0 and (last or k & 1):\n",
        "        while at > 0 and k & 1:\n",
        "test_threads.py::test_a_gradient_is_the_sum_of_those_of_its_parts_along_a_tree[1600]",
    ),
    _kernel(
        "parts are added in order",
        "kernels/drivers/tree.py",
        "        while at > 0 and (last or k & 1):\n",
        "        while at > 0:\n",
        "test_threads.py::test_a_gradient_is_the_sum_of_those_of_its_parts_along_a_tree[2400]",
    ),
    _kernel(
        "rows that fill no group of four are dropped",
        "kernels/drivers/passes.py",
        "        while i < H:\n            a0 = av[i]\n",
        "        while i < H - 1:\n            a0 = av[i]\n",
        _NEURONS,
    ),
    _kernel(
        "δ without the output weight",
        "kernels/drivers/passes.py",
        "                d[b] = ai * sv[b] * d[b]\n",
        "                d[b] = sv[b] * d[b]\n",
        _SIZES,
    ),
    _kernel(
        "the last vector one lane too far back",
        "kernels/drivers/products.py",
        "last = smaller(left - (vectors - 1) * width, width)",
        "last = smaller(left - (vectors - 1) * width - (left % width == 1), width)",
        _MANY_INPUTS,
    ),
    _kernel(
        "the last vector reaches one lane beyond C",
        "kernels/drivers/products.py",
        "last = smaller(left - (vectors - 1) * width, width)",
        "last = smaller(left - (vectors - 1) * width + 1, width)",
        _MEMORY,
    ),
    _kernel(
        "columns that two vectors share are added to twice",
        "kernels/machine/simd.py",
        "                if adding:  # all of a row is read before any of it is written: "
        "vectors overlap\n",
        "                if adding:\n"
        "                    for value, target in zip(values, targets, strict=True):\n"
        "                        total = builder.fadd(value, v.load(builder, target, mask))\n"
        "                        v.store(builder, total, target, mask)\n"
        "                    continue\n"
        "                if False:\n",
        f"{_PLAIN}[33]",
    ),
    _kernel(
        "rows of the product that fill no tile are dropped",
        "kernels/machine/simd.py",
        "            for height in heights:\n",
        "            for height in heights[:-1]:\n",
        _NEURONS,
    ),
    _kernel(
        "a second block of a product overwrites the first",
        "kernels/drivers/products.py",
        "adding = add if number == 0 else 1",
        "adding = add",
        _BLOCKS,
    ),
    _kernel(
        "zeros stand in for the samples missing in a vector",
        "kernels/machine/simd.py",
        "loaded = [v.load(builder, address, mask) for address in rows]",
        "loaded = [builder.select(builder.icmp_signed('<', integer(r), n_rows), "
        "v.load(builder, address, mask), v.zero) for r, address in enumerate(rows)]",
        _PADDING,
    ),
    _kernel(
        "the rest of a dot product is left out",
        "kernels/machine/simd.py",
        'ragged = builder.icmp_signed(">", rest, integer(0))',
        'ragged = builder.icmp_signed(">", rest, integer(v.lanes))',
        _NEURONS_FEW,
    ),
    _kernel(
        "a run of neurons takes the next one in",
        "kernels/calls/plan.py",
        "at.RUN_COUNT] = count\n",
        "at.RUN_COUNT] = count + (number > 0 and start + count < net.n_neurons)\n",
        _NEURONS,
    ),
    _kernel(
        "cross-entropy taken from y, not from s",
        "kernels/calls/outputs.py",
        "output, loss = self._loss.with_output(output)",
        "loss = self._loss",
        "test_kernels.py::test_cross_entropy_is_exact_for_huge_s[40-float64]",
    ),
    _kernel(
        "machine code stored by the name of the activation: stale when that changes",
        "kernels/calls/units.py",
        "key = (function.key, order, dtype.name)",
        "key = (function.name, order, dtype.name)",
        "test_cache.py::test_renamed_activation_is_found_and_changed_ones_are_compiled",
    ),
    _kernel(
        "two exponentials of different arguments taken for one",
        "kernels/scalar/stages.py",
        "key = (argument, call[2])",
        'key = (argument, "z")',
        "test_blocks.py::test_blocks_equal_the_text_in_numpy[of_many-float64]",
    ),
    _kernel(
        "numbers after the last whole stretch of a block left out",
        "kernels/scalar/blocks.py",
        '_loop(f"n % {STACK_NUMBERS}", ',
        '_loop("0 * n", ',
        "test_blocks.py::test_place_in_a_block_does_not_matter[tanh-float64]",
    ),
    _kernel(
        "converged while the damping holds the steps back",
        "kernels/drivers/levenberg.py",
        "undamped = stops and state[lm.MU] <= least and (bounds == 0 or foreseen >= -quiet)",
        "undamped = stops and (bounds == 0 or foreseen >= -quiet)",
        "test_nist.py::test_the_certified_sum_from_both_starts[Lanczos1-1]",
    ),
    _kernel(
        "converged where steps are short by slopes from far away",
        "kernels/drivers/levenberg.py",
        "still = single <= nothing or (",
        "still = single < np.inf or (",
        "test_bounds.py::test_steps_that_are_short_by_slopes_from_far_away_claim_nothing[None-float64]",
    ),
    _kernel(
        "the second run of Levenberg–Marquardt with the first matrix of the last trial",
        "kernels/drivers/levenberg.py",
        "                stage = WHOLE\n            if state[lm.FRESH]",
        "                stage = stage\n            if state[lm.FRESH]",
        "test_nist.py::test_the_certified_sum_from_both_starts[BoxBOD-0]",
    ),
    _kernel(
        "steps of Levenberg–Marquardt in the units of the columns",
        "kernels/drivers/levenberg.py",
        "out[j] = real(1.0 / math.sqrt(square)) if square > 0.0 else zero",
        "out[j] = real(1.0)",
        "test_nist.py::test_units_of_inputs_and_targets_change_nothing[column-1e-06]",
    ),
    _kernel(
        "the worse of the trials of first and second order taken",
        "kernels/drivers/levenberg.py",
        "if other < value:",
        "if other > value:",
        "test_nist.py::test_the_better_of_the_trials_of_first_and_second_order_is_taken[1-200]",
    ),
    _kernel(
        "a whole file under another unit's name is loaded",
        "kernels/machine/store.py",
        "return content[end:] if content[start:end] == self._header() else None",
        "return content[end:]",
        "test_machine_code.py::test_a_whole_file_under_another_name_is_refused",
    ),
    _kernel(
        "memory that is not there is written to",
        "kernels/drivers/second_order.py",
        "        if own == 0:\n            return NO_MEMORY\n",
        "",
        "test_robust.py::test_memory_that_is_not_there_is_a_memory_error[hvp]",
    ),
    _kernel(
        "memory of any size stays",
        "kernels/machine/workspace.py",
        "if load(own, 0) <= load(context, MOST_KEPT):",
        "if load(own, 0) > 0:",
        "test_kernels.py::test_memory_of_a_call_stays_for_the_next_unless_it_is_large",
    ),
    _kernel(
        "a stored file is believed whatever it holds",
        "kernels/machine/store.py",
        "if content[: len(MAGIC)] != MAGIC or new_hash(rest).digest() != content[_HASH]:",
        "if content[: len(MAGIC)] != MAGIC:",
        "test_cache.py::test_damaged_files_are_written_again",
    ),
    _kernel(
        "Numba imported with the network",
        "network.py",
        "from . import _boundary as boundary\n",
        "import numba  # noqa: F401\n\nfrom . import _boundary as boundary\n",
        "test_cache.py::test_import_does_not_import_numba",
    ),
    _kernel(
        "compiled checks that let out overlap X",
        "kernels/machine/entry.py",
        "if writes or also:",
        "if writes and also:",
        "test_network.py::test_overlapping_out_is_refused",
    ),
    _kernel(
        "the boundary lets out overlap its inputs",
        "_boundary.py",
        "np.may_share_memory(out, given, max_work=work)",
        "out is given",
        "test_network.py::test_overlapping_out_is_refused",
    ),
    _kernel(
        "the boundary rounds float64 to float32",
        "_boundary.py",
        "given.dtype.itemsize > dtype.itemsize",
        "given.dtype.itemsize > 8",
        "test_network.py::test_float64_in_a_network_of_float32_is_refused",
    ),
    _kernel(
        "the boundary forgets the sign of integers",
        "_boundary.py",
        " or int(array.min()) < -limit",
        "",
        "test_network.py::test_integers_too_large_to_hold_are_refused",
    ),
    _kernel(
        "an Objective lets out overlap what w is converted from",
        "objective.py",
        "given = (w, self.X,",
        "given = (self.X,",
        "test_objective.py::test_out_that_overlaps_a_w_that_is_converted_is_refused",
    ),
    _kernel(
        "integers that NumPy rounds beside floats",
        "_boundary.py",
        "if (abs(array) >= _most_integer(array.dtype)).any():",
        "if False:",
        "test_network.py::test_integers_that_numpy_rounds_beside_others_are_refused",
    ),
    _kernel(
        "a sum of weights of nothing",
        "_boundary.py",
        "if not float(info.tiny) <= total <= float(info.max):",
        "if total < 0.0:",
        "test_network.py::test_wrong_weights_are_refused",
    ),
)

_SEVERAL = "test_kernels.py::test_random_networks_of_several_outputs"
_EACH, _SOFTMAX, _PROBABILITIES = (f"{_SEVERAL}[{seed}-float64]" for seed in (9, 13, 25))
_SHARED = f"{_SEVERAL}[15-float64]"
_MANY_ROWS = "test_kernels.py::test_rows_by_x_some_outputs_or_samples_at_a_time"
_AROUND = "test_kernels.py::test_several_outputs_around_vectors_chunks_and_parts[3-5-3-float64]"
_CHUNKED_MATRIX = "test_kernels.py::test_matrices_of_several_outputs_over_chunks_and_parts[float64]"
_SHARING = "test_kernels.py::test_outputs_share_what_is_equal_at_all_samples[float64]"
_EXACT = "test_kernels.py::test_softmax_is_exact_for_huge_s[5-float64]"


def _several(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a fault in what computes several outputs."""
    return Mutant(name, f"kernels/{file}.py", old, new, tests)


OUTPUTS = (
    _several(
        "J of the softmax times a vector that is not taken from its top entry",
        "drivers/softmax",
        "shift[b] = vv[b] if top[b] == k else shift[b]",
        "shift[b] = shift[b] if top[b] == k else shift[b]",
        _EXACT,
    ),
    _several(
        "T y − t of the top entry, which cancels",
        "drivers/softmax",
        "top = (T[b] - share) - T[b] * (others[b] * yy[b])",
        "top = T[b] * yy[b] - share",
        _EXACT,
    ),
    _several(
        "the kernels' exp(s) without the largest s taken off",
        "drivers/softmax",
        "ss[b] -= largest[b]\n",
        "ss[b] -= zero * largest[b]\n",
        _EXACT,
    ),
    _several(
        "max(ℓ'', |ℓ'| / |y − t|) of the first output's residual",
        "drivers/head",
        "target = pointer(t + row)\n                    for b",
        "target = pointer(t)\n                    for b",
        "test_kernels.py::test_reweighted_matrices[huber-float64]",
    ),
    _several(
        "equal largest s count once",
        "drivers/softmax",
        "            others[b] += ties[b]\n",
        "            others[b] += zero * ties[b]\n",
        "test_kernels.py::test_softmax_of_equal_s[3-float64]",
    ),
    _several(
        "weights of classes that do not count in T",
        "drivers/softmax",
        "                T[b] += share\n",
        "                T[b] += t[b]\n",
        _PROBABILITIES,
    ),
    _several(
        "losses of the softmax's outputs without their weights",
        "drivers/softmax",
        "ell[b] += tau * values[b]",
        "ell[b] += values[b]",
        _SOFTMAX,
    ),
    _several(
        "the softmax's s̄ under a loss is not zero on the padding",
        "drivers/softmax",
        "weight = weighed(factor, cv[b] if c else one, tau) if b < n else zero",
        "weight = weighed(factor, cv[b] if c else one, tau) if b < n else factor",
        _AROUND,
    ),
    _several(
        "s̄ of cross entropy on the softmax is not zero on the padding",
        "drivers/softmax",
        "L[b] = factor * (cv[b] if c else one) if b < n else zero",
        "L[b] = factor * (cv[b] if c else one) if b < n else factor",
        _AROUND,
    ),
    _several(
        "half of the softmax's curvature",
        "drivers/softmax",
        "- yy[b] * moving[b]",
        "- zero * yy[b] * moving[b]",
        _SOFTMAX,
    ),
    _several(
        "s̄˙ overwrites the weights that it is made of",
        "drivers/softmax",
        "for k in range(K - 1, -1, -1):",
        "for k in range(K):",
        _PROBABILITIES,
    ),
    _several(
        "weights of outputs in the gradient, but not in the loss",
        "drivers/head",
        "total += part * np.float64(tau)",
        "total += part",
        _EACH,
    ),
    _several(
        "weights of outputs in the loss, but not in the kernels' gradient",
        "drivers/head",
        "weight = weighed(scale, c[b] if given.c else one, tau)",
        "weight = weighed(scale, c[b] if given.c else one, one)",
        _EACH,
    ),
    _several(
        "targets of later chunks from where those of one output would be",
        "drivers/head",
        "transposed(rows + at * K, n, K, padded, t)",
        "transposed(rows + at, n, K, padded, t)",
        _AROUND,
    ),
    _several(
        "values of later chunks to where those of one output would be",
        "drivers/head",
        "rows_from(room.s, n, K, padded, given.y + at * K)",
        "rows_from(room.s, n, K, padded, given.y + at)",
        _AROUND,
    ),
    _several(
        "rows by x of the first output in all places",
        "drivers/input_rows",
        "factor = a[(k + j // N) * H + i]",
        "factor = a[k * H + i]",
        _EACH,
    ),
    _several(
        "rows by x of the first block of outputs in all places",
        "drivers/input_rows",
        "factor = a[(k + j // N) * H + i]",
        "factor = a[j // N * H + i]",
        f"{_MANY_ROWS}[each-float64]",
    ),
    _several(
        "weights of the last block of outputs for all later samples",
        "drivers/input_rows",
        "made = 1 if outputs_at_once(N, H, K) == K else 0",
        "made = 1",
        f"{_MANY_ROWS}[each-float64]",
    ),
    _several(
        "wide rows by x of the first output in all places",
        "drivers/input_rows",
        "target[i] = a[k * H + i] * last[i]",
        "target[i] = a[i] * last[i]",
        f"{_MANY_ROWS}[each-float64]",
    ),
    _several(
        "rows by x without the slopes of the outputs",
        "drivers/input_rows",
        "row[j] *= slope",
        "row[j] *= slope / slope",
        _EACH,
    ),
    _several(
        "second derivatives by x without those of the outputs",
        "drivers/input_rows",
        "row[j] += rate * other[j]",
        "row[j] += (rate - rate) * other[j]",
        _EACH,
    ),
    _several(
        "rows by x of the softmax that are not taken from the top one",
        "drivers/input_rows",
        "shift[j] = highest[j]",
        "shift[j] = highest[j] - highest[j]",
        _EXACT.replace("[5", "[40"),
    ),
    _several(
        "the change of the softmax without that of its mean",
        "drivers/input_rows",
        "mean[j] += other[j]",
        "mean[j] += other[j] - other[j]",
        f"{_MANY_ROWS}[softmax-float64]",
    ),
    _several(
        "a run of outputs is its first",
        "calls/outputs",
        "self.table[place + at.OUTPUT_COUNT] = count\n",
        "self.table[place + at.OUTPUT_COUNT] = 1\n",
        _SHARED,
    ),
    _several(
        "weights of outputs that do not reach the kernels",
        "calls/plan",
        "        if target_weight is None:\n            return table\n",
        "        if target_weight is None or len(target_weight) > 1:\n            return table\n",
        _EACH,
    ),
    _several(
        "later chunks overwrite ∇_A",
        "drivers/first_order",
        "target[at] = target[at] + source[i * K + k] if add else",
        "target[at] = source[i * K + k] if add else",
        _AROUND,
    ),
    _several(
        "∇_A neuron by neuron",
        "drivers/first_order",
        "                at = k * H + i\n",
        "                at = i * K + k\n",
        _EACH,
    ),
    _several(
        "Jacobians of later chunks over those of the first",
        "drivers/first_order",
        "target = J + ((first + b) * K + k) * P * size",
        "target = J + (b * K + k) * P * size",
        _AROUND,
    ),
    _several(
        "D of few samples from the last two outputs",
        "drivers/first_order",
        "w + k * H * size, E, H, k > 0)",
        "w + k * H * size, E, H, k > 1)",
        _AROUND,
    ),
    _several(
        "the direction in A in place of that in W",
        "drivers/second_order",
        "(p, H, 1), (room.V, cp), (sdot, cp), (H, K, cp), 1)",
        "(p, H, 1), (room.V, cp), (sdot, cp), (H, K, cp), 0)",
        _EACH,
    ),
    _several(
        "U̇ times s̄˙",
        "drivers/second_order",
        "add_transposed(plan, room.Udot, sbar, room.panels",
        "add_transposed(plan, room.Udot, sbardot, room.panels",
        _EACH,
    ),
    _several(
        "v'' without the direction",
        "drivers/second_order",
        "e[k] * d[k] + bent[k] * dd[k] * z[k]",
        "e[k] * d[k] + bent[k] * dd[k]",
        _EACH,
    ),
    _several(
        "a block of A that is left out",
        "drivers/matrix_outputs",
        "            for k in range(m + 1):\n",
        "            for k in range(m):\n",
        _SOFTMAX,
    ),
    _several(
        "blocks of A below the diagonal, which is copied over",
        "drivers/matrix_outputs",
        "target = G + (k * H * P + m * H) * size",
        "target = G + (m * H * P + k * H) * size",
        _PROBABILITIES,
    ),
    _several(
        "blocks of W by the first output",
        "drivers/matrix_outputs",
        "constant(room, k, a[k * H + i], cp)",
        "constant(room, k, a[i], cp)",
        _SOFTMAX,
    ),
    _several(
        "later chunks overwrite the products of pairs",
        "drivers/matrix_outputs",
        "(target, n_pairs), (cp, rows, n_pairs), add\n",
        "(target, n_pairs), (cp, rows, n_pairs), 0\n",
        _CHUNKED_MATRIX,
    ),
    _several(
        "what outputs share, times the weights of the first of them",
        "drivers/matrix_outputs",
        "spread_rows(a[k * H + i], room, N",
        "spread_rows(a[m * H + i], room, N",
        _SHARING,
    ),
    _several(
        "Q of the first output for all",
        "drivers/matrix_outputs",
        "            for m in range(k):\n                if leaders[m] == m and equal(",
        "            for m in range(k):\n                if leaders[m] == m or equal(",
        _SHARING,
    ),
    _several(
        "outputs that are equal at the first sample share",
        "drivers/matrix_outputs",
        "h + k * cp * size, cp):",
        "h + k * cp * size, 1):",
        _SHARING,
    ),
    _several(
        "blocks of A between outputs that are not cleared",
        "drivers/matrix_outputs",
        "if k > m and not add:",
        "if k > m + 1 and not add:",
        _EACH,
    ),
    Mutant(
        "a class beyond the last",
        "_boundary.py",
        "(t < n_outputs)",
        "(t <= n_outputs)",
        ("test_network_outputs.py::test_targets_of_the_softmax_that_are_refused",),
    ),
    Mutant(
        "classes for any loss of a softmax",
        "network.py",
        "if not get_loss(loss).fuses_with_softmax or np.minimum.reduce(t) < 0:",
        "if np.minimum.reduce(t) < 0:",
        ("test_network_outputs.py::test_classes_are_no_targets_of_other_losses",),
    ),
    Mutant(
        "a first call for rows by x without what it runs",
        "network.py",
        "            calls.prepare_per_sample()\n            n_threads = 1\n",
        "            calls.prepare(1, len(X))\n            n_threads = 1\n",
        ("test_network_outputs.py::test_any_call_may_be_the_first",),
    ),
)

TRACING = (
    Mutant(
        "0 · x is taken as 0",
        "_symbolic/graph.py",
        "    (c, x), (d, y) = _split(a), _split(b)\n    if x is None and y is None:\n",
        "    (c, x), (d, y) = _split(a), _split(b)\n"
        "    if 0.0 in (c, d):\n        return a.graph.const(0.0)\n"
        "    if x is None and y is None:\n",
        ("test_trace.py::test_what_is_not_finite_goes_through",),
    ),
    Mutant(
        "the derivative of (1 - x)(1 + x) cancels near 0",
        "_symbolic/graph.py",
        'if {x.op, y.op} == {"+", "-"} and',
        "if not x.args and",
        ("test_trace.py::test_second_derivatives_near_zero",),
    ),
    Mutant(
        "the slope of what is divided by 1 + exp(x) is ∞ / ∞ where that overflows",
        "_symbolic/graph.py",
        "if (relative := _relative_slope(y)) is not None:",
        "if (relative := None) is not None:",
        ("test_trace.py::test_exponentials_that_overflow_leave_values_and_slopes",),
    ),
    Mutant(
        "a derivative of log_ndtr that cancels far to the left",
        "_symbolic/special.py",
        "total = select(left, math.sqrt(0.5) * (falling * r / scaled), x + slope)",
        "total = x + slope",
        (
            "test_special.py::test_text_against_mpmath",
            "test_special.py::test_kernels_against_mpmath",
        ),
    ),
    Mutant(
        "assertions in functions that are not traced, which a kernel would not see fail",
        "_symbolic/opaque.py",
        "case ast.Pass() | ast.Break() | ast.Continue():",
        "case ast.Pass() | ast.Break() | ast.Continue() | ast.Assert():",
        ("test_opaque.py::test_refusals",),
    ),
)

INTERVALS = (
    Mutant(
        "a variance of the noise that forgets the parameters",
        "_training/uncertainty.py",
        "remaining = max(n - effective,",
        "remaining = max(n,",
        ("test_report.py::test_least_squares_is_that_of_statsmodels",),
    ),
    Mutant(
        "columns that are not scaled before what is small is cut off",
        "_training/uncertainty.py",
        "inverse = np.divide(1.0, d, out=np.zeros_like(d), where=d > 0.0)",
        "inverse = np.ones_like(d)",
        ("test_nist.py::test_the_covariance_of_the_same_fit_in_other_units_is_the_same",),
    ),
    Mutant(
        "information criteria that count the variance of the noise",
        "_training/report.py",
        '["aic"] = 2.0 * k - 2.0 * log_l',
        '["aic"] = 2.0 * (k + 1.0) - 2.0 * log_l',
        ("test_report.py::test_least_squares_is_that_of_statsmodels",),
    ),
    Mutant(
        "a model that forgets what its data did not determine",
        "_models.py",
        '"undetermined": np.zeros((P, 0)) if given.undetermined is None else given.undetermined,',
        '"undetermined": np.zeros((P, 0)),',
        ("test_models.py::test_intervals_come_back_to_the_last_bit",),
    ),
    Mutant(
        "every output the noise of all",
        "_training/uncertainty.py",
        "noise = (mix**2).sum(axis=0)",
        "noise = np.full(net.n_outputs, (mix**2).sum(axis=0).mean())",
        ("test_intervals_outputs.py::test_outputs_that_share_nothing_are_fits_of_their_own",),
    ),
    Mutant(
        "every output the parameters of all",
        "_training/uncertainty.py",
        "** 2).sum(axis=(0, 2))",
        "** 2).sum()",
        ("test_intervals_outputs.py::test_outputs_that_share_nothing_are_fits_of_their_own",),
    ),
    Mutant(
        "outputs whose noise has nothing in common",
        "_training/uncertainty.py",
        "mix = errors.R / np.sqrt(lefts)",
        "mix = np.diag(np.linalg.norm(errors.R, axis=0) / np.sqrt(lefts))",
        (
            "test_intervals_outputs.py::test_what_outputs_have_in_common_is_in_the_covariance_between_them",
            "test_intervals_outputs.py::test_a_common_neuron_has_the_sandwich",
        ),
    ),
    Mutant(
        "a covariance that takes the outputs for equally noisy",
        "_training/uncertainty.py",
        "(mix @ some for some in",
        "(np.sqrt((mix**2).sum(axis=0).mean()) * some for some in",
        (
            "test_intervals_outputs.py::test_a_common_neuron_has_the_sandwich",
            "test_intervals_outputs.py::test_outputs_that_share_nothing_are_fits_of_their_own",
        ),
    ),
    Mutant(
        "outputs of one observation as observations of their own",
        "_training/uncertainty.py",
        "(rows.sum(axis=1) for rows in each)",
        "each",
        ("test_intervals_outputs.py::test_a_robust_loss_takes_an_observation_as_one",),
    ),
    Mutant(
        "classes that are taken for so many yes and no",
        "_training/uncertainty.py",
        "return np.divide(1.0, y, out=np.zeros_like(y), where=y > _NOTHING)",
        "return np.divide(1.0, y * (1.0 - y), out=np.zeros_like(y), where=y > _NOTHING)",
        (
            "test_intervals_outputs.py::test_classes_are_those_of_a_multinomial_logit",
            "test_intervals_outputs.py::test_fisher_s_information_is_the_gauss_newton_matrix",
        ),
    ),
    Mutant(
        "probabilities whose inverse is infinite",
        "_training/uncertainty.py",
        "out=np.zeros_like(y), where=y > _NOTHING)",
        "out=np.zeros_like(y), where=y > 0.0)",
        ("test_intervals_outputs.py::test_a_class_that_underflows_says_nothing",),
    ),
    Mutant(
        "classes whose weights may all be told",
        "_training/uncertainty.py",
        "return n_free - int(np.count_nonzero(shifts)), n * (K - 1)",
        "return n_free, n * K",
        ("test_doubts.py::test_more_parameters_than_numbers_of_several_outputs",),
    ),
    Mutant(
        "outputs of an observation out of order",
        "_training/uncertainty.py",
        "each = variance.reshape(-1, K)",
        "each = variance.reshape(K, -1).T",
        ("test_intervals_outputs.py::test_outputs_that_share_nothing_are_fits_of_their_own",),
    ),
    Mutant(
        "an ensemble with one noise for all outputs",
        "_training/many.py",
        "np.mean(np.array(known), axis=0)",
        "np.mean(np.array(known))",
        ("test_intervals_outputs.py::test_an_ensemble_has_the_noise_of_each_output",),
    ),
    Mutant(
        "a saturated model of classes that is one of yes and no",
        "_training/report.py",
        "return -x_log_x(t) if joint else",
        "return -x_log_x(t) - x_log_x(1.0 - t) if joint else",
        (
            "test_intervals_outputs.py::test_classes_are_those_of_a_multinomial_logit",
            "test_intervals_outputs.py::test_a_report_of_classes",
        ),
    ),
    Mutant(
        "outputs with one scale of their likelihood",
        "_training/report.py",
        "each = np.atleast_1d(squares).tolist()",
        "each = [float(np.mean(squares))] * net.n_outputs",
        ("test_intervals_outputs.py::test_outputs_that_share_nothing_are_fits_of_their_own",),
    ),
    Mutant(
        "a loss that is judged by all outputs at once",
        "_training/doubts.py",
        "losses, outputs = _losses_by_output(problem), [[k] for k in outputs[0]]",
        'names = [""]',
        ("test_doubts.py::test_a_loss_of_one_output_no_better_than_a_constant_s",),
    ),
    Mutant(
        "classes that are judged by constants apart",
        "_training/doubts.py",
        "        return of_frequency, -float(",
        "        return 2.0 * of_frequency, -float(",
        ("test_doubts.py::test_classes_no_better_than_their_frequencies",),
    ),
    Mutant(
        "a model with the noise of other outputs",
        "_models.py",
        'if said["noise"] is not None and len(noises) != K:',
        "if False:",
        ("test_models.py::test_forged_noise_of_several_outputs_is_refused",),
    ),
)

FITS = (
    Mutant(
        "a start whose bias does not follow the means",
        "_columns.py",
        "origin / np.where(none",
        "origin * np.where(none",
        ("test_doubts.py::test_the_start_does_with_the_columns_what_it_does_with_scaled_ones",),
    ),
    Mutant(
        "a start that is no candidate for the best",
        "_training/watch.py",
        "            if loss < np.inf:\n",
        "            if False:\n",
        ("test_fit.py::test_the_start_is_a_candidate_for_the_best",),
    ),
    Mutant(
        "a callback that is given the parameters for standardised columns",
        "_training/watch.py",
        "view = self.as_given(w).view()",
        "view = w.view()",
        ("test_doubts.py::test_raw_columns_are_fitted_like_scaled_ones",),
    ),
    Mutant(
        "observations of weight 0 in a share to validate by",
        "_training/given.py",
        "rows = Rows(X, t, c).weighing()",
        "rows = Rows(X, t, c)",
        ("test_fit.py::test_what_has_no_weight_is_not_shared_out",),
    ),
    Mutant(
        "a schedule of few epochs that many go on from",
        "_training/checkpoint.py",
        "if self.of_fewer and self._arguments",
        "if False and self._arguments",
        ("test_fit.py::test_more_epochs_of_a_schedule",),
    ),
    Mutant(
        "parameters handed to SciPy in the caller's units",
        "_training/scipy_methods.py",
        "return Units(size, np.sqrt(0.5 * size / curvature))",
        "return Units(size, np.ones_like(curvature))",
        ("test_scipy_methods.py::test_units_change_nothing[lbfgs]",),
    ),
    Mutant(
        "intervals of rows that are others",
        "_training/uncertainty.py",
        "if abs(now - self.reached) > off",
        "if abs(now - self.reached) > 1e9 * off",
        ("test_report.py::test_rows_of_a_source_that_are_others_have_no_intervals",),
    ),
    Mutant(
        "rounding taken for other rows",
        "_training/uncertainty.py",
        "off * (now + slope) + off**2 * curvature",
        "off * now",
        ("test_report.py::test_rounding_is_no_other_row",),
    ),
    Mutant(
        "intervals of parameters that were written to",
        "_training/uncertainty.py",
        "if mark is not None and mark_of(w) != mark:",
        "if mark is None:",
        ("test_report.py::test_parameters_that_were_written_to_have_no_intervals",),
    ),
    Mutant(
        "convergence wherever a method of SciPy's says so",
        "_training/scipy_methods.py",
        "return SPENT if limited else REASONS[STALLED]",
        "return SPENT if limited else REASONS[SMALL_GAIN]",
        ("test_scipy_methods.py::test_a_kink_is_no_stationary_point",),
    ),
    Mutant(
        "a slow end of Levenberg–Marquardt taken as it is",
        "_training/methods.py",
        "if is_slow and own and why == SMALL_GAIN and ftol <= _TIGHT:",
        "if False:",
        ("test_ends.py::test_where_gauss_newton_is_slow_a_fit_ends_by_newtons_steps[1-29-None]",),
    ),
    Mutant(
        "a step of Newton's taken wherever it leads",
        "_training/newton.py",
        "if loss - value > rounding or (left <= 0.5 * slope and value <= loss + rounding):",
        "if np.isfinite(value):",
        ("test_ends.py::test_newtons_steps_are_held_back_where_the_hessian_is_not_positive",),
    ),
    Mutant(
        "what is on its bound moves in a step of Newton's",
        "_training/newton.py",
        "moves = np.where(slopes > 0.0, w[free] > low, w[free] < high)",
        "pass",
        ("test_ends.py::test_where_gauss_newton_is_slow_a_fit_ends_by_newtons_steps[1-0-1.5]",),
    ),
    Mutant(
        "penalties of each parameter left out of the gradient in Levenberg–Marquardt",
        "kernels/drivers/levenberg.py",
        "own = real(l2 * factors[j]) if each else real(l2)",
        "own = real(l2)",
        ("test_bounds.py::test_optimizers_agree_on_one_minimum",),
    ),
    Mutant(
        "units by fourth powers of the targets",
        "_training/scipy_methods.py",
        "unit = np.exp2(np.round(0.5 * np.log2(size)))",
        "unit = np.float64(1.0)",
        ("test_scipy_methods.py::test_targets_of_any_size_whose_squares_are_numbers",),
    ),
    Mutant(
        "penalties of each parameter left out of batches",
        "kernels/drivers/training.py",
        "g = factor * gv[i] + own[i] * wv[i]",
        "g = factor * gv[i]",
        ("test_bounds.py::test_what_is_penalised_shrinks_and_the_others_do_not",),
    ),
    Mutant(
        "steps beyond the bounds",
        "kernels/drivers/bounded.py",
        "to[j] = least[j] if below else (most[j] if above else at)",
        "to[j] = at",
        ("test_bounds.py::test_a_network_within_bounds",),
    ),
    Mutant(
        "bounds that hold without a pull on the others",
        "kernels/drivers/bounded.py",
        "pv[i] -= scale[i] * (entry * way)",
        "pv[i] -= zero * entry * way",
        ("test_bounds.py::test_levenberg_marquardt_as_least_squares_has_it",),
    ),
    Mutant(
        "biases that are penalised",
        "_standardise.py",
        "weights[..., -1] = 0.0",
        "weights[..., -1] *= 1.0",
        ("test_sklearn.py::test_biases_are_not_penalised",),
    ),
    Mutant(
        "targets that share the scale of the first",
        "sklearn.py",
        "Scaling.of(t, rows.c) if self._scales_targets() else",
        "Scaling.of(t if t.ndim == 1 else t[:, :1], rows.c) if self._scales_targets() else",
        ("test_sklearn.py::test_several_targets_each_on_its_scale",),
    ),
    Mutant(
        "monotonic neurons of which half work against what is asked for",
        "sklearn.py",
        "(sides * neurons)[:-1, np.newaxis] * asked",
        "neurons[:-1, np.newaxis] * asked",
        ("test_sklearn.py::test_all_parameters_within_the_bounds_are_monotonic",),
    ),
    Mutant(
        "scales of the first row for ever",
        "sklearn.py",
        "_SETTLED = 100",
        "_SETTLED = 1",
        ("test_sklearn.py::test_partial_fit_of_classes_row_by_row",),
    ),
    Mutant(
        "labels that are taken for classes",
        "sklearn.py",
        "return log_expit(s)\n",
        "return log_softmax(s, axis=1)\n",
        ("test_sklearn.py::test_labels_have_an_output_each",),
    ),
    Mutant(
        "moments that begin anew with every call",
        "_training/methods.py",
        'self._run.state[:] = moments["state"]',
        "self._run.state[:] = 0.0",
        ("test_sklearn.py::test_partial_fit_settles",),
    ),
    Mutant(
        "neurons that are what held weights make them share their units",
        "_training/methods.py",
        "moves if any(moves) else i)",
        "moves)",
        ("test_nist.py::test_neurons_whose_inputs_weights_are_held_have_units_of_their_own",),
    ),
    Mutant(
        "a rounding beside its bound a parameter is free to intervals",
        "_training/fit.py",
        "rtol=close, atol=0.0)",
        "rtol=0.0, atol=0.0)",
        ("test_bounds.py::test_what_ends_next_to_its_bound_is_on_it",),
    ),
)

COMPILED = (
    Mutant(
        "several outputs read as one by compiled code",
        "_in_numba.py",
        "return _type_of(dtype, n_outputs > 1)",
        "return _type_of(dtype, False)",
        (
            "test_functions_outputs.py::test_types_say_whether_there_are_several_outputs_and_not_"
            "how_many",
        ),
    ),
    Mutant(
        "the Jacobian by w in place of the values in compiled code",
        "_in_numba.py",
        "y=y, J=J, xbar=xbar",
        "y=J, J=y, xbar=xbar",
        ("test_functions.py::test_equal_the_methods_bit_for_bit",),
    ),
)

TABLES = (
    Mutant(
        "commas taken for thousands where they may be decimal",
        "_cli/numerals.py",
        'number.value(".") != number.value(",") and number.marks()',
        'number.value(".") == number.value(",") and number.marks()',
        ("test_table.py::test_a_comma_that_may_be_either_is_refused",),
    ),
    Mutant(
        "codes with leading zeros taken for numbers",
        "_cli/separated.py",
        'return bool(np.any((x[1:-1] == ord("0"))',
        'return bool(np.all((x[1:-1] == ord("0"))',
        ("test_table.py::test_digits_with_leading_zeros_are_names",),
    ),
    Mutant(
        "values of long rows cut off",
        "_cli/separated.py",
        "usecols=usecols,",
        "usecols=usecols or self.names,",
        ("test_table.py::test_what_is_no_table_is_refused",),
    ),
    Mutant(
        "the day taken for the month",
        "_cli/dates.py",
        "if format[1] == order[0]",
        "if format[1] != order[0]",
        ("test_table.py::test_dates_that_may_be_others_are_refused",),
    ),
    Mutant(
        "means of all rows, also of those held out",
        "_cli/columns.py",
        "fitted, missing = values[rows], np.isnan(values)",
        "fitted, missing = values, np.isnan(values)",
        ("test_table.py::test_missing_values_are_filled_in_by_the_rows_to_fit_and_marked",),
    ),
)

ROWS = (
    Mutant(
        "nodes of a tree added in the order in which they come",
        "kernels/calls/threads.py",
        "left, right = ((value, room), other) if k % 2 == 0 else (other, (value, room))",
        "left, right = (other, (value, room))",
        ("test_threads.py::test_nodes_in_any_order_sum_as_in_turn",),
    ),
    Mutant(
        "what is left over of a tree added from the left",
        "kernels/calls/threads.py",
        """                right = left.pop()
                left[-1] = self._joined(left[-1], right)
""",
        """                right = left.pop(1)
                left[0] = self._joined(left[0], right)
""",
        ("test_threads.py::test_nodes_in_any_order_sum_as_in_turn",),
    ),
    Mutant(
        "a group fitted to the next one's targets",
        "kernels/drivers/groups.py",
        "t=t + at * K * size",
        "t=t + load(first, M - m - 1) * K * size",
        ("test_groups.py::test_each_fit_has_the_bits_of_fit",),
    ),
    Mutant(
        "groups side by side that are dealt out each other's observations",
        "_training/groups.py",
        "some.reshape(M, -1, *some.shape[1:]).swapaxes(0, 1)",
        "some.reshape(-1, M, *some.shape[1:])",
        ("test_groups.py::test_each_fit_has_the_bits_of_fit",),
    ),
    Mutant(
        "a stalled run of a group is kept, whichever was better",
        "kernels/calls/optimizers.py",
        "w[back] = starts[back, 1]",
        "w[back] = w[back]",
        ("test_groups.py::test_a_stalled_fit_goes_back_as_fit_does",),
    ),
    Mutant(
        "Ctrl-C that a compiled loop does not hear of",
        "kernels/calls/shared_work.py",
        "return NO_MEMORY if self._pending else DONE",
        "return DONE",
        ("test_threads.py::test_ctrl_c_is_not_lost_where_compiled_code_calls_python",),
    ),
    Mutant(
        "a step that workers go on with though nobody waits for it",
        "_dask/worker.py",
        "if step in self.abandoned:",
        "if False:",
        ("test_dask.py::test_ctrl_c_while_a_step_is_under_way",),
    ),
    Mutant(
        "answers of workers below another that are dropped",
        "_dask/worker.py",
        "own.update(each)",
        "pass",
        ("test_dask.py::test_workers_that_ask_workers",),
    ),
    Mutant(
        "parts of a table as if its rows had no other columns",
        "kernels/drivers/batch.py",
        "X=X + at * step,",
        "X=X + at * N,",
        ("test_source.py::test_columns_of_a_table_are_read_where_they_lie[1]",),
    ),
    Mutant(
        "rows of a source without the change to standardised columns",
        "_training/source.py",
        "room[some] = self._change(X[some])",
        "room[some] = X[some]",
        ("test_source.py::test_the_bits_of_arrays",),
    ),
    Mutant(
        "all rows fitted where a share is held out",
        "_training/source.py",
        "arrays = tuple(Chosen(a, rows) for a in arrays)",
        "arrays = tuple(Chosen(a, np.arange(len(rows))) for a in arrays)",
        ("test_source.py::test_large_arrays_are_not_copied_and_give_the_same_bits",),
    ),
    Mutant(
        "an order within a block begins anew in each",
        "kernels/calls/optimizers.py",
        "order.next(n).astype(np.int64)",
        "np.arange(n)",
        ("test_source.py::test_shuffled_within_blocks",),
    ),
    Mutant(
        "another start in a process that has not imported numpy.random",
        "_uniform.py",
        "turn = state >> 64 ^ state & _64, state >> 122",
        "turn = state >> 64 ^ state & _64, state >> 121",
        (
            "test_network.py::test_uniform_numbers_without_numpy_random_are_those_of_it",
            "test_network.py::test_a_fresh_process_draws_the_same_start",
        ),
    ),
    Mutant(
        "claims in float32 are not looked at",
        "_training/ends.py",
        "if at.loss <= met or left <= nothing:",
        "if True:",
        ("test_ends.py::test_far_from_a_minimum_is_said",),
    ),
    Mutant(
        "a parameter that is all but on its bound is not held there",
        "_training/ends.py",
        "_ways(problem, at) > 0.01 * nothing / at.w.size)",
        "_ways(problem, at) > 0.0)",
        ("test_ends.py::test_on_a_bound_nothing_is_left_to_gain",),
    ),
    Mutant(
        "threads are asked of an interpreter that ends",
        "kernels/calls/threads.py",
        'return "shutdown" in str(error)',
        "return False",
        ("test_threads.py::test_what_goes_on_after_the_main_thread_does_so",),
    ),
    Mutant(
        "a loss is taken for the library's that has its name",
        "losses.py",
        'return loss.name.partition("(")[0] if loss._key else _family(loss.name, loss)',
        'return loss.name.partition("(")[0]',
        ("test_losses.py::test_what_a_loss_is_called_does_not_say_what_it_is",),
    ),
    Mutant(
        "what is left out judges itself",
        "_training/ridge.py",
        "np.sum((r / (1.0 - h)[:, np.newaxis]) ** 2)",
        "np.sum(r**2)",
        (
            "test_ridge.py::test_it_is_what_fits_without_each_observation_say[True-30-4-1]",
            "test_ridge.py::test_like_observations_are_left_out_together",
        ),
    ),
    Mutant(
        "rows that are there twice are observations each to a line",
        "_training/choose.py",
        "columns, _LEFT_OUT, like))])",
        "columns, _LEFT_OUT))])",
        ("test_ridge.py::test_rows_that_are_there_twice_are_of_twice_the_weight",),
    ),
)

MUTANTS = REFERENCE + KERNELS + OUTPUTS + TRACING + INTERVALS + FITS + COMPILED + TABLES + ROWS
