"""The mathematics in NumPy: every map, every Jacobian, every derivative mode.

This module states what the kernels have to return, in the plainest form that is still vectorised,
and uses no Numba. Equation (1),

    y = f(w, x) = σ( Σ_i w_i · v_i( Σ_j w_{i,j} · x_j ) ),

is the composition f(w, x) = σ ∘ M(w, V ∘ L(w, x)). Its maps, their Jacobians and the product of
these in two orders are for reading; the functions after them are the methods of `fastbp.Network`
under the same names, the network first. docs/mathematics.md derives them all.

Arguments mean the same in every function, for N inputs, H neurons, P = N·H + H parameters and B
observations:

=============  ============  ======================================================================
net                          anything with the attributes of `NetworkLike`
w, p           (P,)          w_1 … w_H, w_{1,1} … w_{1,N}, …, w_{H,N}; a direction in them
x, X           (N,), (B, N)  one observation; a batch, one a row
dX, v          (B, N)        a direction in X, row by row; dX is zero where left out
t              (B,)          targets
ybar           (B,)          the cotangent ȳ, the derivative of something by y
loss                         ℓ: a name, or what `fastbp.loss` made
sample_weight  (B,)          c; ones where left out
structure                    whether to multiply only what is not known to be zero
=============  ============  ======================================================================

The maps and their Jacobians take arrays, all others what `numpy.asarray` takes. Where X is one
observation, the axis B is left out of the other arguments and of the result.

Any dtype will do that NumPy can compute with. Nothing here takes a modulus or a conjugate, so a
step along the imaginary axis passes through every function and gives its derivative without
cancellation (Squire & Trapp 1998, SIAM Review 40, 110-112).

ValueError is raised where a shape does not fit the network or the batch and, by what has a loss,
where the batch is empty, the weights sum to 0 or the loss has no such name.

Examples
--------
f = (2 (x_1 + 2 x_2)² - (3 x_1 - x_2))² at x = (1, 2):

>>> import fastbp, numpy as np
>>> net: NetworkLike = fastbp.Network(2, activations=("square", "identity"), output="square")
>>> w, x = np.array([2.0, -1.0, 1.0, 2.0, 3.0, -1.0]), np.array([1.0, 2.0])
>>> [part.tolist() for part in split(net, w)]
[[2.0, -1.0], [[1.0, 2.0], [3.0, -1.0]]]
>>> z = L(net, w, x)
>>> u = V(net, z)
>>> s = M(net, w, u)
>>> z.tolist(), u.tolist(), float(s), float(sigma(net, s))
([5.0, 1.0], [25.0, 1.0], 49.0, 2401.0)

The Jacobians of these maps, and the gradients as their products:

>>> print(J_L_w(net, w, x))
[[0. 0. 1. 2. 0. 0.]
 [0. 0. 0. 0. 1. 2.]]
>>> J_L_x(net, w, x).tolist(), J_V(net, z).tolist()
([[1.0, 2.0], [3.0, -1.0]], [[10.0, 0.0], [0.0, 1.0]])
>>> J_M_w(net, w, u).tolist(), J_M_u(net, w, u).tolist(), J_sigma(net, s).tolist()
([[25.0, 1.0, 0.0, 0.0, 0.0, 0.0]], [[2.0, -1.0]], [[98.0]])
>>> counted: Counted = grad_from_input_layer(net, w, x)
>>> counted.gradient.tolist(), counted.operations
([2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0], 48)
>>> [grad_from_output_layer(net, w, x, structure=k).operations for k in (False, True)]
[28, 10]
>>> input_grad_from_input_layer(net, w, x).gradient.tolist()
[1666.0, 4018.0]
>>> input_grad_from_output_layer(net, w, x).operations
10

The modes:

>>> value(net, w, [[1.0, 2.0], [1.0, 0.0]]).tolist()
[2401.0, 1.0]
>>> y, g = value_and_grad(net, w, x)
>>> float(y), g.tolist()
(2401.0, [2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0])
>>> per_sample_grad(net, w, [[1.0, 0.0]]).tolist()
[[-2.0, -6.0, -8.0, -0.0, 2.0, 0.0]]
>>> input_grad(net, w, x).tolist()
[1666.0, 4018.0]
>>> input_hvp(net, w, x, [1.0, 0.0]).tolist()
[970.0, 2178.0]
>>> vjp(net, w, x, -1.0, inputs=True)[1].tolist()
[-1666.0, -4018.0]
>>> float(jvp(net, w, x, np.ones(6), dX=[1.0, 0.0]))
9800.0
>>> mean, g = loss_and_grad(net, w, [x], [2400.0])
>>> float(mean), g.tolist()
(0.5, [2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0])
>>> e_1, e_2, *_ = np.eye(6)
>>> hvp(net, w, [x], [2400.0], e_1).tolist()
[6003750.0, 240150.0, 4803980.0, 9607960.0, -240150.0, -480300.0]
>>> gauss_newton_product(net, w, [x], [2400.0], e_2).tolist()
[240100.0, 9604.0, 192080.0, 384160.0, -9604.0, -19208.0]
>>> gauss_newton(net, w, [x], [2400.0])[2][1].tolist()
[240100.0, 9604.0, 192080.0, 384160.0, -9604.0, -19208.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ._boundary import unmasked
from .losses import Loss, get_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .activations import Activation

__all__ = [
    "J_V", "Counted", "J_L_w", "J_L_x", "J_M_u", "J_M_w", "J_sigma", "L", "M", "NetworkLike", "V",
    "gauss_newton", "gauss_newton_product", "grad_from_input_layer", "grad_from_output_layer",
    "hvp", "input_grad", "input_grad_from_input_layer", "input_grad_from_output_layer",
    "input_hvp", "jvp", "loss_and_grad", "per_sample_grad", "sigma", "split", "value",
    "value_and_grad", "vjp",
]  # fmt: skip

Array = NDArray[Any]
# Anything np.asarray takes (numpy.typing.ArrayLike). Any to the type checker, because each function
# binds the argument's name, a symbol of the mathematics, to the array made of it.
Numbers = Any


class NetworkLike(Protocol):
    """What this module reads of a network: its sizes N and H, v_1 … v_H and σ."""

    @property
    def n_inputs(self) -> int:
        """N, the number of inputs."""

    @property
    def n_neurons(self) -> int:
        """H, the number of neurons."""

    @property
    def activations(self) -> Sequence[Activation]:
        """v_1 … v_H, one for each neuron."""

    @property
    def output(self) -> Activation:
        """σ, the activation of the output."""


# --- Question 5: the maps, at one observation or at a batch ---------------------------------------


def split(net: NetworkLike, w: Array) -> tuple[Array, Array]:
    """Return the parts of w, both views of it: a, (H,), of the output and W, (H, N)."""
    H = net.n_neurons
    return w[:H], w[H:].reshape(H, net.n_inputs)


def L(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return z, z_i = Σ_j w_{i,j} x_j: (H,) or (B, H)."""
    return x @ split(net, w)[1].T


def V(net: NetworkLike, z: Array) -> Array:
    """Return u, u_i = v_i(z_i), of the shape of z."""
    return _neurons(net, z, 0)[0]


def M(net: NetworkLike, w: Array, u: Array) -> Any:
    """Return s = Σ_i w_i u_i: a scalar or (B,)."""
    return u @ split(net, w)[0]


def sigma(net: NetworkLike, s: Any) -> Any:
    """Return y = σ(s), of the shape of s."""
    return net.output.evaluate(0, s)[0]


# --- Question 6: their Jacobians, at one observation ----------------------------------------------


def J_L_w(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return the Jacobian of L by w, (H, P): row i holds x^T in the columns w_{i,1} … w_{i,N}."""
    identity = np.eye(net.n_neurons, dtype=np.result_type(w, x))
    return np.hstack([np.zeros_like(identity), np.kron(identity, x)])


def J_L_x(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return the Jacobian of L by x, (H, N): W."""
    return split(net, w)[1].astype(np.result_type(w, x), copy=False)


def J_V(net: NetworkLike, z: Array) -> Array:
    """Return the Jacobian of V, (H, H): diag(v_i'(z_i))."""
    return np.diag(_neurons(net, z, 1)[1])


def J_M_w(net: NetworkLike, w: Array, u: Array) -> Array:
    """Return the Jacobian of M by w, (1, P): (u^T, 0 … 0)."""
    jacobian = np.zeros((1, w.size), np.result_type(w, u))
    jacobian[0, : net.n_neurons] = u
    return jacobian


def J_M_u(net: NetworkLike, w: Array, u: Array) -> Array:
    """Return the Jacobian of M by u, (1, H): a^T."""
    return split(net, w)[0].astype(np.result_type(w, u), copy=False)[np.newaxis, :]


def J_sigma(net: NetworkLike, s: Any) -> Array:
    """Return the Jacobian of σ, (1, 1): σ'(s)."""
    return np.reshape(net.output.evaluate(1, s)[1], (1, 1))


# --- Questions 7 to 9: their product, in two orders, counted --------------------------------------
#
# What their structure is: J_V is diagonal, a row of J_{L,w} has N entries other than zero, and
# J_{M,w} is zero where J_{M,u} J_V J_{L,w} is not.


class Counted(NamedTuple):
    """A gradient, (P,) or (N,), and the operations it took.

    An (n × m)·(m × p) product counts n·m·p, an entrywise sum or product its entries.
    """

    gradient: Array
    operations: int


class _Counter:
    """Arithmetic that keeps count of itself."""

    operations = 0

    def product(self, A: Array, B: Array) -> Array:
        self.operations += A.shape[0] * A.shape[1] * B.shape[1]
        return A @ B

    def sum(self, A: Array, B: Array) -> Array:
        self.operations += A.size
        return A + B

    def scale(self, A: Array, B: Array) -> Array:
        C = A * B
        self.operations += C.size
        return C


def grad_from_input_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_w f^T = J_σ · ( J_{M,w} + J_{M,u} · (J_V · J_{L,w}) ) and its operations.

    N H³ + H³ + N H² + H² + 2 (N H + H) of them, 3 N H + H with `structure`.
    """
    count, w, x, z, u, s = _counted(net, w, x)
    if structure:
        J_VL = count.scale(_neurons(net, z, 1)[1][:, np.newaxis], x)
        J_MVL = count.scale(split(net, w)[0][:, np.newaxis], J_VL)
        row = count.scale(J_sigma(net, s), np.concatenate([u, J_MVL.ravel()]))
    else:
        J_VL = count.product(J_V(net, z), J_L_w(net, w, x))
        J_MVL = count.product(J_M_u(net, w, u), J_VL)
        row = count.scale(J_sigma(net, s), count.sum(J_M_w(net, w, u), J_MVL))
    return Counted(row[0], count.operations)


def grad_from_output_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_w f^T = J_σ · ( J_{M,w} + (J_{M,u} · J_V) · J_{L,w} ) and its operations.

    N H² + 2 H² + 2 (N H + H) of them; N H + 3 H with `structure`: σ' u, δ and δ x^T, as in the
    kernels.
    """
    count, w, x, z, u, s = _counted(net, w, x)
    if structure:
        delta = _counted_delta(net, w, z, s, count)
        g_a = count.scale(J_sigma(net, s)[0], u)
        g_W = count.product(delta[:, np.newaxis], x[np.newaxis, :])
        return Counted(np.concatenate([g_a, g_W.ravel()]), count.operations)
    J_MV = count.product(J_M_u(net, w, u), J_V(net, z))
    J_MVL = count.product(J_MV, J_L_w(net, w, x))
    row = count.scale(J_sigma(net, s), count.sum(J_M_w(net, w, u), J_MVL))
    return Counted(row[0], count.operations)


def input_grad_from_input_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_x f^T = J_σ · ( J_{M,u} · (J_V · J_{L,x}) ) and its operations.

    N H² + N H + N of them, 2 N H + N with `structure`.
    """
    count, w, x, z, u, s = _counted(net, w, x)
    if structure:
        J_VL = count.scale(_neurons(net, z, 1)[1][:, np.newaxis], J_L_x(net, w, x))
    else:
        J_VL = count.product(J_V(net, z), J_L_x(net, w, x))
    row = count.scale(J_sigma(net, s), count.product(J_M_u(net, w, u), J_VL))
    return Counted(row[0], count.operations)


def input_grad_from_output_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_x f^T = J_σ · ( (J_{M,u} · J_V) · J_{L,x} ) and its operations.

    H² + N H + N of them; N H + 2 H with `structure`: δ and δ^T W, as in the kernels.
    """
    count, w, x, z, u, s = _counted(net, w, x)
    if structure:
        delta = _counted_delta(net, w, z, s, count)
        row = count.product(delta[np.newaxis, :], J_L_x(net, w, x))
    else:
        J_MV = count.product(J_M_u(net, w, u), J_V(net, z))
        row = count.scale(J_sigma(net, s), count.product(J_MV, J_L_x(net, w, x)))
    return Counted(row[0], count.operations)


def _counted(net: NetworkLike, w: Numbers, x: Numbers) -> tuple[Any, ...]:
    """Return a new counter, and (w, x, z, u, s) at one observation."""
    w, (x,) = _one_observation(net, w, x)
    z = L(net, w, x)
    u = V(net, z)
    return _Counter(), w, x, z, u, M(net, w, u)


def _counted_delta(net: NetworkLike, w: Array, z: Array, s: Any, count: _Counter) -> Array:
    """Return δ_i = σ'(s) w_i v_i'(z_i), in 2 H operations."""
    a = split(net, w)[0]
    return count.scale(count.scale(J_sigma(net, s)[0], a), _neurons(net, z, 1)[1])


# --- What the modes share -------------------------------------------------------------------------


class _Pass(NamedTuple):
    """The way of a batch to s: what it was made of, and what it left behind."""

    a: Array
    W: Array
    X: Array
    s: Array
    U: Array
    dV: Any = None
    """v'(z), as far as asked for; so too v''."""
    ddV: Any = None


def _neurons(net: NetworkLike, z: Array, order: int) -> tuple[Array, ...]:
    """Return v_i, and its derivatives up to `order`, at each z_i along the last axis."""
    results = tuple(np.empty_like(z) for _ in range(order + 1))
    columns: dict[Activation, list[int]] = {}
    for i, v in enumerate(net.activations):
        columns.setdefault(v, []).append(i)
    for v, which in columns.items():
        for result, part in zip(results, v.evaluate(order, z[..., which]), strict=True):
            result[..., which] = part
    return results


def _forward(net: NetworkLike, w: Array, X: Array, order: int) -> _Pass:
    """Evaluate s = M(w, V ∘ L(w, x)), and the derivatives of v up to `order`."""
    U, *slopes = _neurons(net, L(net, w, X), order)
    return _Pass(*split(net, w), X, M(net, w, U), U, *slopes)


def _tangent(f: _Pass, p: tuple[Any, Any], dX: Array | None = None) -> tuple[Array, Array, Array]:
    """Return Ż = X P_W^T + Ẋ W^T, U̇ = V' ∘ Ż and ṡ = U p_a + U̇ a along p = (p_a, P_W) and Ẋ."""
    p_a, P_W = p
    dZ = f.X @ P_W.T if dX is None else f.X @ P_W.T + dX @ f.W.T
    dU = f.dV * dZ
    return dZ, dU, f.U @ p_a + dU @ f.a


def _delta(f: _Pass, sbar: Array) -> Array:
    """Return D_{b,i} = s̄_b w_i v_i'(z_{b,i})."""
    return sbar[:, np.newaxis] * f.a * f.dV


def _reverse(f: _Pass, sbar: Array) -> Array:
    """Return Σ_b s̄_b ∇_w s_b = (U^T s̄, D^T X)."""
    return np.concatenate([f.U.T @ sbar, (_delta(f, sbar).T @ f.X).ravel()])


def _rows(f: _Pass, sbar: Array) -> Array:
    """Return the rows s̄_b ∇_w s_b, the terms of `_reverse` kept apart."""
    g_W = _delta(f, sbar)[:, :, np.newaxis] * f.X[:, np.newaxis, :]
    return np.hstack([sbar[:, np.newaxis] * f.U, g_W.reshape(len(f.X), f.W.size)])


class _Head(NamedTuple):
    """The mean loss Σ_b c_b ℓ(σ(s_b), t_b) / Σ_b c_b and its derivatives by s; c sums to 1 here."""

    mean: Any
    sbar: Array
    """c ℓ' σ'."""
    kappa: Any = None
    """c ℓ'' σ'²; it and the next where asked for."""
    h: Any = None
    """c (ℓ'' σ'² + ℓ' σ'')."""


def _head(net: NetworkLike, loss: str | Loss, s: Array, t: Array, c: Array, order: int) -> _Head:
    """Evaluate the head up to the derivatives of an order, 1 or 2.

    A loss may take σ over from the network (`Loss.with_output`): then y is s, and σ the identity.
    """
    output, pointwise = get_loss(loss).with_output(net.output)
    y, dsigma, *ddsigma = output.evaluate(order, s)
    losses, dl, *ddl = pointwise.evaluate(order, y, t)
    first = _Head(c @ losses, c * dl * dsigma)
    if order == 1:
        return first
    kappa = c * ddl[0] * dsigma * dsigma
    return first._replace(kappa=kappa, h=kappa + c * dl * ddsigma[0])


def _arguments(net: NetworkLike, w: Numbers, X: Numbers, **others: tuple[str, Any]) -> list[Any]:
    """Bring the arguments to one dtype and to a batch.

    Each of `others` is (axes, value), with axes in letters B, N and P. Returns whether X was a
    single observation, then w, X and the others; an argument that is None remains so.
    """
    dtype = _common_dtype(w, X, *(argument for _, argument in others.values()))
    single = np.ndim(X) == 1
    N, H = net.n_inputs, net.n_neurons
    sizes = {"B": len(X) if np.ndim(X) == 2 else 1, "N": N, "P": N * H + H}
    result: list[Any] = [single]
    for name, (axes, argument) in {"w": ("P", w), "X": ("BN", X), **others}.items():
        if argument is None:
            result.append(None)
            continue
        array = np.asarray(unmasked(name, argument), dtype)
        expected = tuple(sizes[axis] for axis in axes if not (single and axis == "B"))
        if array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape}, but shape {expected} was expected")
        result.append(array.reshape([sizes[axis] for axis in axes]))
    return result


def _one_observation(net: NetworkLike, w: Numbers, x: Numbers) -> tuple[Array, Array]:
    """Return w, and x as a batch of one."""
    single, w, X = _arguments(net, w, x)
    if not single:
        raise ValueError(f"x has shape {X.shape}, but one observation has shape ({net.n_inputs},)")
    return w, X


def _common_dtype(*arguments: Any) -> np.dtype[Any]:
    """Return the floating or complex dtype to compute in; integers and None have no say in it."""
    kinds = [
        argument if isinstance(argument, float | complex) else np.asarray(argument).dtype
        for argument in arguments
        if argument is not None
    ]
    inexact = [kind for kind in kinds if np.issubdtype(np.result_type(kind), np.inexact)]
    return np.result_type(*inexact) if inexact else np.dtype(np.float64)


# --- The derivative modes -------------------------------------------------------------------------


def value(net: NetworkLike, w: Numbers, X: Numbers) -> Any:
    """Return y = f(w, x) at every row of X, (B,): equation (1)."""
    single, w, X = _arguments(net, w, X)
    y = sigma(net, _forward(net, w, X, 0).s)
    return y[0] if single else y


def value_and_grad(net: NetworkLike, w: Numbers, x: Numbers) -> tuple[Any, Array]:
    """Return f(w, x) and ∇_w f, (P,), at one observation."""
    f = _forward(net, *_one_observation(net, w, x), 1)
    y, dsigma = net.output.evaluate(1, f.s)
    return y[0], _reverse(f, dsigma)


def per_sample_grad(net: NetworkLike, w: Numbers, X: Numbers) -> Array:
    """Return the Jacobian of the batch, (B, P): row b is ∇_w f_b."""
    single, w, X = _arguments(net, w, X)
    f = _forward(net, w, X, 1)
    rows = _rows(f, net.output.evaluate(1, f.s)[1])
    return rows[0] if single else rows


def input_grad(net: NetworkLike, w: Numbers, X: Numbers) -> Array:
    """Return the rows ∇_x f_b, (B, N)."""
    single, w, X = _arguments(net, w, X)
    f = _forward(net, w, X, 1)
    rows = _delta(f, net.output.evaluate(1, f.s)[1]) @ f.W
    return rows[0] if single else rows


def input_hvp(net: NetworkLike, w: Numbers, X: Numbers, v: Numbers) -> Array:
    """Return the rows ∇²_x f_b · v_b = (σ'' ṡ a∘v' + σ' a∘v''∘ż) W, (B, N).

    Forward over reverse: the steps of ∇_x f are differentiated along v (Pearlmutter 1994, Neural
    Computation 6, 147-160).
    """
    single, w, X, v = _arguments(net, w, X, v=("BN", v))
    f = _forward(net, w, X, 2)
    dZ, _, ds = _tangent(f, split(net, np.zeros_like(w)), v)
    _, dsigma, ddsigma = net.output.evaluate(2, f.s)
    rows = (_delta(f, ddsigma * ds) + dsigma[:, np.newaxis] * f.a * f.ddV * dZ) @ f.W
    return rows[0] if single else rows


def vjp(net: NetworkLike, w: Numbers, X: Numbers, ybar: Numbers, *, inputs: bool = False) -> Any:
    """Return Σ_b ȳ_b ∇_w f_b, (P,), and with `inputs` the rows ȳ_b ∇_x f_b, (B, N), too."""
    single, w, X, ybar = _arguments(net, w, X, ybar=("B", ybar))
    f = _forward(net, w, X, 1)
    sbar = ybar * net.output.evaluate(1, f.s)[1]
    g = _reverse(f, sbar)
    if not inputs:
        return g
    rows = _delta(f, sbar) @ f.W
    return g, rows[0] if single else rows


def jvp(net: NetworkLike, w: Numbers, X: Numbers, p: Numbers, *, dX: Numbers | None = None) -> Any:
    """Return ẏ_b = ∇_w f_b · p + ∇_x f_b · dX_b, (B,)."""
    single, w, X, p, dX = _arguments(net, w, X, p=("P", p), dX=("BN", dX))
    f = _forward(net, w, X, 1)
    dy = net.output.evaluate(1, f.s)[1] * _tangent(f, split(net, p), dX)[2]
    return dy[0] if single else dy


def loss_and_grad(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, *,
    loss: str | Loss = "squared", sample_weight: Numbers | None = None,
) -> tuple[Any, Array]:  # fmt: skip
    """Return the mean loss Σ_b c_b ℓ(y_b, t_b) / Σ_b c_b, a scalar, and its gradient by w, (P,)."""
    f, head, _ = _loss_pass(net, w, X, t, None, loss, sample_weight, 1)
    return head.mean, _reverse(f, head.sbar)


def hvp(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, p: Numbers, *,
    loss: str | Loss = "squared", sample_weight: Numbers | None = None,
) -> Array:  # fmt: skip
    """Return the Hessian by w of the mean loss, times p: (P,).

    Forward over reverse, as `input_hvp`: s̄˙ = h ṡ and δ˙ = s̄˙ a∘v' + s̄ p_a∘v' + s̄ a∘v''∘ż.
    """
    f, head, p = _loss_pass(net, w, X, t, p, loss, sample_weight, 2)
    dZ, dU, ds = _tangent(f, p)
    dD = head.sbar[:, np.newaxis] * (p[0] * f.dV + f.a * f.ddV * dZ)  # s̄˙ a∘v' is in _reverse
    return _reverse(f, head.h * ds) + np.concatenate([dU.T @ head.sbar, (dD.T @ f.X).ravel()])


def gauss_newton_product(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, p: Numbers, *,
    loss: str | Loss = "squared", sample_weight: Numbers | None = None,
) -> Array:  # fmt: skip
    """Return Σ_b c_b ℓ''_b ∇f_b (∇f_b · p) / Σ_b c_b, (P,): `hvp` without the curvature of f.

    With cross entropy and a logistic output, ℓ is taken as a function of s and f ends at s: the
    matching loss of Schraudolph (2002, Neural Computation 14, 1723-1738), which keeps
    ℓ'' = y (1 - y) whatever the target.
    """
    f, head, p = _loss_pass(net, w, X, t, p, loss, sample_weight, 2)
    return _reverse(f, head.kappa * _tangent(f, p)[2])


def gauss_newton(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, *,
    loss: str | Loss = "squared", sample_weight: Numbers | None = None,
) -> tuple[Any, Array, Array]:  # fmt: skip
    """Return the mean loss, its gradient by w, (P,), and its Gauss-Newton matrix, (P, P).

    The matrix of `gauss_newton_product`, made of the whole Jacobian of s, (B, P).
    """
    f, head, _ = _loss_pass(net, w, X, t, None, loss, sample_weight, 2)
    J = _rows(f, np.ones_like(f.s))
    return head.mean, J.T @ head.sbar, J.T @ (head.kappa[:, np.newaxis] * J)


def _loss_pass(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, p: Numbers | None,
    loss: str | Loss, c: Numbers | None, order: int,
) -> tuple[_Pass, _Head, Any]:  # fmt: skip
    """Return the pass and its head up to an order, and (p_a, P_W) where p is given."""
    _, w, X, t, p, c = _arguments(net, w, X, t=("B", t), p=("P", p), sample_weight=("B", c))
    if len(X) == 0:
        raise ValueError("X has no observations, but the mean of a loss needs at least one")
    c = np.ones(len(X), X.dtype) if c is None else c
    total = c.sum()
    if total == 0:
        raise ValueError("sample_weight has the sum 0, but a mean needs a sum above 0")
    f = _forward(net, w, X, order)
    head = _head(net, loss, f.s, t, c / total, order)
    return f, head, None if p is None else split(net, p)
