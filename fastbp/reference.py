"""The mathematics in NumPy: every map, every Jacobian, every derivative mode.

This module states what the kernels have to return, in the plainest form that is still vectorised,
and uses no Numba. Equation (1),

    y = f(w, x) = σ( Σ_i w_i · v_i( Σ_j w_{i,j} · x_j ) ),

is the composition f(w, x) = σ ∘ M(w, V ∘ L(w, x)). Its maps, their Jacobians and the product of
these in two orders are for reading; the functions after them are the methods of `fastbp.Network`
under the same names, the network first. docs/mathematics.md derives them all.

Several outputs share the neurons: y_k = σ_k(s_k), s_k = Σ_i a_{k,i} v_i( Σ_j w_{i,j} · x_j ) for
k = 1 … K, or y = exp(s) / Σ exp(s) with `fastbp.softmax` in place of all σ_k.

Arguments mean the same in every function, for N inputs, H neurons, K outputs, P = K·H + H·N
parameters and B observations:

=============  ============  ======================================================================
net                          anything with the attributes of `NetworkLike`
w, p           (P,)          a_{1,1} … a_{K,H}, then w_{1,1} … w_{1,N}, …, w_{H,N}; a direction
x, X           (N,), (B, N)  one observation; a batch, one a row
dX, v          (B, N)        a direction in X, row by row; dX is zero where left out
t              (B, K)        targets; for cross_entropy with softmax probabilities, or classes
                             0 … K-1, (B,)
ybar           (B, K)        the cotangent ȳ, the derivative of something by y
loss                         ℓ: a name, or what `fastbp.loss` made
sample_weight  (B,)          c; ones where left out; what has 0 may be beyond all numbers
target_weight  (K,)          τ; ones where left out; what has 0 may be beyond all numbers
structure                    whether to multiply only what is not known to be zero
=============  ============  ======================================================================

The loss is Σ_b c_b Σ_k τ_k ℓ(y_{b,k}, t_{b,k}) / Σ_b c_b, where the terms of cross_entropy with
softmax are -t_k log y_k. The maps and their Jacobians take arrays, all others what `numpy.asarray`
takes. The axis K is left out of arguments and results where K = 1, of target_weight it may be, and
where X is one observation the axis B.

Any dtype will do that NumPy can compute with. Nothing here takes a modulus or a conjugate, so a
step along the imaginary axis passes through every function and gives its derivative without
cancellation (Squire & Trapp 1998, SIAM Review 40, 110-112).

ValueError is raised where a shape does not fit the network or the batch and, by what has a loss,
where the batch is empty, the weights sum to 0 or beyond all numbers, the loss has no such name, or
targets of softmax are neither classes nor probabilities that sum to 1 within 1e-6.

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

Two outputs of the same neurons, s = (49, 26), each with its own σ:

>>> from types import SimpleNamespace
>>> square, identity = net.activations
>>> two: NetworkLike = SimpleNamespace(
...     n_inputs=2, n_neurons=2, activations=net.activations, output=(square, identity))
>>> w = np.array([2.0, -1.0, 1.0, 1.0, 1.0, 2.0, 3.0, -1.0])
>>> y, J = value_and_grad(two, w, x)
>>> y.tolist(), J[1].tolist()
([2401.0, 26.0], [0.0, 0.0, 25.0, 1.0, 10.0, 20.0, 1.0, 2.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ._described import PROBABILITY_TOLERANCE
from ._heads import Head, entrywise, head_at, output, times, whole
from ._masked import unmasked
from .activations import softmax
from .losses import Loss, get_loss

if TYPE_CHECKING:
    from .activations import Activation, Softmax

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
    """What this module reads of a network: its sizes N and H, v_1 … v_H, and σ_1 … σ_K.

    K is the attribute ``n_outputs``; where there is none, the length of `output`, or 1.
    """

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
    def output(self) -> Activation | Sequence[Activation] | Softmax:
        """σ, the activation of every output, or one for each, or `fastbp.softmax`."""


def _n_outputs(net: NetworkLike) -> int:
    """Return K."""
    n_sigma = len(net.output) if isinstance(net.output, Sequence) else None
    K = getattr(net, "n_outputs", n_sigma or 1)
    if n_sigma not in (None, K):
        raise ValueError(f"output has {n_sigma} activations, but n_outputs is {K}")
    if net.output is softmax and K < 2:
        raise ValueError(f"softmax needs n_outputs of 2 or more, but n_outputs is {K}")
    return K


# --- Question 5: the maps, at one observation or at a batch ---------------------------------------


def split(net: NetworkLike, w: Array) -> tuple[Array, Array]:
    """Return the parts of w, both views of it: A, (K, H), for one output a, (H,); and W, (H, N)."""
    A, W = _parts(net, w)
    return A[0] if len(A) == 1 else A, W


def L(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return z, z_i = Σ_j w_{i,j} x_j: (H,) or (B, H)."""
    return x @ split(net, w)[1].T


def V(net: NetworkLike, z: Array) -> Array:
    """Return u, u_i = v_i(z_i), of the shape of z."""
    return entrywise(net.activations, 0, z)[0]


def M(net: NetworkLike, w: Array, u: Array) -> Any:
    """Return s, s_k = Σ_i a_{k,i} u_i: a scalar or (B,), (K,) or (B, K)."""
    return u @ split(net, w)[0].T


def sigma(net: NetworkLike, s: Any) -> Any:
    """Return y, y_k = σ_k(s_k) or the softmax of s, of the shape of s."""
    return output(_sigmas(net), 0, np.reshape(s, (-1, _n_outputs(net))))[0].reshape(np.shape(s))


# --- Question 6: their Jacobians, at one observation ----------------------------------------------


def J_L_w(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return the Jacobian of L by w, (H, P): row i holds x^T in the columns w_{i,1} … w_{i,N}."""
    rows = np.kron(np.eye(net.n_neurons, dtype=np.result_type(w, x)), x)
    return np.hstack([np.zeros((len(rows), _n_outputs(net) * len(rows)), rows.dtype), rows])


def J_L_x(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return the Jacobian of L by x, (H, N): W."""
    return split(net, w)[1].astype(np.result_type(w, x), copy=False)


def J_V(net: NetworkLike, z: Array) -> Array:
    """Return the Jacobian of V, (H, H): diag(v_i'(z_i))."""
    return np.diag(entrywise(net.activations, 1, z)[1])


def J_M_w(net: NetworkLike, w: Array, u: Array) -> Array:
    """Return the Jacobian of M by w, (K, P): row k holds u^T in the columns a_{k,1} … a_{k,H}."""
    rows = _blocks(np.broadcast_to(u, (_n_outputs(net), u.size)))
    zeros = np.zeros((len(rows), w.size - rows.shape[1]), w.dtype)
    return np.hstack([rows, zeros])


def _blocks(rows: Array) -> Array:
    """Return the K rows, (K, H), side by side and below each other: (K, K·H)."""
    K, H = rows.shape
    blocks = np.zeros((K, K, H), rows.dtype)
    blocks[range(K), range(K)] = rows
    return blocks.reshape(K, K * H)


def J_M_u(net: NetworkLike, w: Array, u: Array) -> Array:
    """Return the Jacobian of M by u, (K, H): A."""
    return _parts(net, w)[0].astype(np.result_type(w, u), copy=False)


def J_sigma(net: NetworkLike, s: Any) -> Array:
    """Return the Jacobian of σ, (K, K): diag(σ_k'(s_k)), or diag(y) - y y^T of the softmax."""
    return whole(output(_sigmas(net), 1, np.reshape(s, (1, _n_outputs(net))))[1])[0]


# --- Questions 7 to 9: their product, in two orders, counted --------------------------------------
#
# What their structure is: J_V is diagonal, and J_σ but for the softmax; a row of J_{L,w} has N
# entries other than zero, one of J_{M,w} H, and J_{M,w} is zero where J_{M,u} J_V J_{L,w} is not.


class Counted(NamedTuple):
    """A gradient, (P,) or (N,), or one for each output, (K, P) or (K, N), and its operations.

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

    def by(self, J: Array, A: Array) -> Array:
        """Multiply A by a Jacobian, which may be given by its diagonal."""
        J = J[:, np.newaxis] if J.ndim == 1 else J
        return self.scale(J, A) if J.shape[1] == 1 else self.product(J, A)


def grad_from_input_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_w f^T = J_σ · ( J_{M,w} + J_{M,u} · (J_V · J_{L,w}) ) and its operations.

    H² P + K H P + K P + K² P of them. With `structure` (2 K + 1) N H + K H where σ acts entry by
    entry, for one output 3 N H + H.
    """
    count, w, x, u, J_v, J = _counted(net, w, x, structure)
    if structure:
        J_VL = count.scale(J_v[:, np.newaxis], x)
        J_MVL = count.scale(J_M_u(net, w, u)[:, :, np.newaxis], J_VL)
        g_W = count.by(J, J_MVL.reshape(len(J), x.size * u.size))
        rows = np.hstack([_counted_g_A(J, u, count), g_W])
    else:
        J_VL = count.product(J_v, J_L_w(net, w, x))
        J_MVL = count.product(J_M_u(net, w, u), J_VL)
        rows = count.by(J, count.sum(J_M_w(net, w, u), J_MVL))
    return Counted(_result(rows[np.newaxis], True), count.operations)


def grad_from_output_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_w f^T = J_σ · ( J_{M,w} + (J_{M,u} · J_V) · J_{L,w} ) and its operations.

    K H² + K H P + K P + K² P of them. With `structure` K N H + 3 K H where σ acts entry by entry:
    σ' u, δ and δ x^T, as in the kernels.
    """
    count, w, x, u, J_v, J = _counted(net, w, x, structure)
    if structure:
        delta = _counted_delta(net, w, J_v, J, count)
        g_W = count.product(delta.reshape(delta.size, 1), x[np.newaxis, :])
        rows = np.hstack([_counted_g_A(J, u, count), g_W.reshape(len(J), x.size * u.size)])
    else:
        J_MV = count.product(J_M_u(net, w, u), J_v)
        J_MVL = count.product(J_MV, J_L_w(net, w, x))
        rows = count.by(J, count.sum(J_M_w(net, w, u), J_MVL))
    return Counted(_result(rows[np.newaxis], True), count.operations)


def input_grad_from_input_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_x f^T = J_σ · ( J_{M,u} · (J_V · J_{L,x}) ) and its operations.

    N H² + K N H + K² N of them. With `structure` (K + 1) N H + K N where σ acts entry by entry.
    """
    count, w, x, u, J_v, J = _counted(net, w, x, structure)
    J_VL = count.by(J_v, J_L_x(net, w, x))
    rows = count.by(J, count.product(J_M_u(net, w, u), J_VL))
    return Counted(_result(rows[np.newaxis], True), count.operations)


def input_grad_from_output_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_x f^T = J_σ · ( (J_{M,u} · J_V) · J_{L,x} ) and its operations.

    K H² + K N H + K² N of them. With `structure` K N H + 2 K H where σ acts entry by entry: δ and
    δ^T W, as in the kernels.
    """
    count, w, x, u, J_v, J = _counted(net, w, x, structure)
    if structure:
        rows = count.product(_counted_delta(net, w, J_v, J, count), J_L_x(net, w, x))
    else:
        J_MV = count.product(J_M_u(net, w, u), J_v)
        rows = count.by(J, count.product(J_MV, J_L_x(net, w, x)))
    return Counted(_result(rows[np.newaxis], True), count.operations)


def _counted(net: NetworkLike, w: Numbers, x: Numbers, structure: bool) -> tuple[Any, ...]:
    """Return a new counter, and w, x, u, J_V and J_σ at one observation; diagonals may do."""
    w, (x,) = _one_observation(net, w, x)
    u, dV = entrywise(net.activations, 1, L(net, w, x))
    J = output(_sigmas(net), 1, np.reshape(M(net, w, u), (1, _n_outputs(net))))[1]
    J_v, J = (each if structure else whole(each) for each in (dV[np.newaxis], J))
    return _Counter(), w, x, u, J_v[0], J[0]


def _counted_delta(net: NetworkLike, w: Array, dV: Array, J: Array, count: _Counter) -> Array:
    """Return δ, (K, H), δ_{k,i} = σ_k' a_{k,i} v_i'(z_i), in 2 K H operations."""
    return count.scale(count.by(J, _parts(net, w)[0]), dV)


def _counted_g_A(J: Array, u: Array, count: _Counter) -> Array:
    """Return J_σ J_{M,w} in the columns of A, (K, K·H): row k holds σ_k' u^T, in K H operations."""
    rows = count.scale(J[..., np.newaxis], u)
    return _blocks(rows) if J.ndim == 1 else rows.reshape(len(J), len(J) * u.size)


# --- What the modes share -------------------------------------------------------------------------
#
# Here the axes B and K are there always.


class _Pass(NamedTuple):
    """The way of a batch to s: what it was made of, and what it left behind."""

    A: Array
    W: Array
    X: Array
    s: Array
    U: Array
    dV: Any = None
    """v'(z), as far as asked for; so too v''."""
    ddV: Any = None


def _parts(net: NetworkLike, w: Array) -> tuple[Array, Array]:
    """Return A, (K, H), and W, (H, N): views of w."""
    K, H = _n_outputs(net), net.n_neurons
    return w[: K * H].reshape(K, H), w[K * H :].reshape(H, net.n_inputs)


def _forward(net: NetworkLike, w: Array, X: Array, order: int) -> _Pass:
    """Evaluate s = M(w, V ∘ L(w, x)), and the derivatives of v up to `order`."""
    U, *slopes = entrywise(net.activations, order, L(net, w, X))
    s = M(net, w, U).reshape(len(X), _n_outputs(net))
    return _Pass(*_parts(net, w), X, s, U, *slopes)


def _tangent(f: _Pass, p: tuple[Any, Any], dX: Array | None = None) -> tuple[Array, Array, Array]:
    """Return Ż = X P_W^T + Ẋ W^T, U̇ = V' ∘ Ż and Ṡ = U P_A^T + U̇ A^T along (P_A, P_W) and Ẋ."""
    P_A, P_W = p
    dZ = f.X @ P_W.T if dX is None else f.X @ P_W.T + dX @ f.W.T
    dU = f.dV * dZ
    return dZ, dU, f.U @ P_A.T + dU @ f.A.T


def _back(sbar: Array, A: Array) -> Array:
    """Return Σ_k s̄_k a_k for rows s̄: of one output, the product as it is."""
    return sbar * A if A.shape[-2] == 1 else sbar @ A


def _delta(f: _Pass, sbar: Array) -> Array:
    """Return D_{b,r,i} = Σ_k s̄_{b,r,k} a_{k,i} v_i'(z_{b,i}), of R rows s̄ for each b."""
    return _back(sbar, f.A) * f.dV[:, np.newaxis]


def _reverse(f: _Pass, sbar: Array) -> Array:
    """Return Σ_b Σ_k s̄_{b,k} ∇_w s_{b,k} = (S̄^T U, D^T X)."""
    D = _delta(f, sbar[:, np.newaxis])[:, 0]
    return np.concatenate([(f.U.T @ sbar).T.ravel(), (D.T @ f.X).ravel()])


def _rows(f: _Pass, sbar: Array) -> Array:
    """Return Σ_k s̄_{b,r,k} ∇_w s_{b,k}, (B, R, P), of R rows s̄ for each b."""
    g_A = sbar[..., np.newaxis] * f.U[:, np.newaxis, np.newaxis]
    g_W = _delta(f, sbar)[..., np.newaxis] * f.X[:, np.newaxis, np.newaxis]
    return np.concatenate(
        [g_A.reshape(*sbar.shape[:2], f.A.size), g_W.reshape(*sbar.shape[:2], f.W.size)], axis=2
    )


def _by_inputs(f: _Pass, D: Array) -> Array:
    """Return D W, (B, R, N), for D of shape (B, R, H)."""
    B, R, H = D.shape
    return (D.reshape(B * R, H) @ f.W).reshape(B, R, f.W.shape[1])


def _sigmas(net: NetworkLike) -> Any:
    """Return (σ_1 … σ_K), or `softmax`."""
    one = hasattr(net.output, "evaluate")
    return (net.output,) * _n_outputs(net) if one else net.output


def _probabilities(t: Array, K: int) -> Array:
    """Check targets of softmax, classes (B,) or probabilities (B, K), and return the latter."""
    if t.ndim == 1:
        right = (t.real >= 0) & (t.real < K) & (t.real == np.floor(t.real))
        expected = f"a class is an integer from 0 to {K - 1}"
    else:
        total = t.real.sum(axis=1, dtype=np.longdouble)
        right = (t.real >= 0.0).all(axis=1) & (abs(total - 1.0) <= PROBABILITY_TOLERANCE)
        expected = "probabilities are at least 0 and sum to 1 within 1e-6"
    if not right.all():
        row = int(np.argmin(right))
        raise ValueError(f"t has {t.real[row]} at row {row}, but {expected}")
    return t if t.ndim == 2 else np.eye(K, dtype=t.dtype)[t.real.astype(int)]


def _arguments(net: NetworkLike, w: Numbers, X: Numbers, **others: tuple[str, Any]) -> list[Any]:
    """Bring the arguments to one dtype and to a batch.

    Each of `others` is (axes, value), with axes in letters B, K, N and P. Returns whether X was a
    single observation, then w, X and the others; an argument that is None remains so.
    """
    given = {"w": ("P", w), "X": ("BN", X), **others}
    dtype = _common_dtype(*(unmasked(name, argument) for name, (_, argument) in given.items()))
    single = np.ndim(X) == 1
    N, H, K = net.n_inputs, net.n_neurons, _n_outputs(net)
    sizes = {"B": len(X) if np.ndim(X) == 2 else 1, "K": K, "N": N, "P": K * H + H * N}
    left_out = ("B" if single else "") + ("K" if K == 1 else "")
    result: list[Any] = [single]
    for name, (axes, argument) in given.items():
        if argument is None:
            result.append(None)
            continue
        array = np.asarray(argument, dtype)
        expected = tuple(sizes[axis] for axis in axes if axis not in left_out)
        of_one = (axes, array.shape) == ("K", (K,))  # the weight of one output, as methods take it
        if array.shape != expected and not of_one:
            raise ValueError(f"{name} has shape {array.shape}, but shape {expected} was expected")
        result.append(array.reshape([sizes[axis] for axis in axes]))
    return result


def _result(rows: Array, single: bool) -> Any:
    """Leave out the axis K of (B, K, …) where K = 1, and B where X was a single observation."""
    rows = rows[:, 0] if rows.shape[1] == 1 else rows
    return rows[0] if single else rows


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
    """Return y = f(w, x) at every row of X, (B, K): for one output equation (1)."""
    single, w, X = _arguments(net, w, X)
    return _result(output(_sigmas(net), 0, _forward(net, w, X, 0).s)[0], single)


def value_and_grad(net: NetworkLike, w: Numbers, x: Numbers) -> tuple[Any, Array]:
    """Return f(w, x), (K,), and its Jacobian by w, (K, P), at one observation: for K = 1, ∇_w f."""
    f = _forward(net, *_one_observation(net, w, x), 1)
    y, J = output(_sigmas(net), 1, f.s)
    rows = [_reverse(f, row) for row in whole(J).swapaxes(0, 1)]
    return _result(y, True), _result(np.stack(rows)[np.newaxis], True)


def per_sample_grad(net: NetworkLike, w: Numbers, X: Numbers) -> Array:
    """Return the Jacobian of the batch, (B, K, P): row (b, k) is ∇_w f_{b,k}."""
    single, w, X = _arguments(net, w, X)
    f = _forward(net, w, X, 1)
    return _result(_rows(f, whole(output(_sigmas(net), 1, f.s)[1])), single)


def input_grad(net: NetworkLike, w: Numbers, X: Numbers) -> Array:
    """Return the rows ∇_x f_{b,k}, (B, K, N)."""
    single, w, X = _arguments(net, w, X)
    f = _forward(net, w, X, 1)
    D = _delta(f, whole(output(_sigmas(net), 1, f.s)[1]))
    return _result(_by_inputs(f, D), single)


def input_hvp(net: NetworkLike, w: Numbers, X: Numbers, v: Numbers) -> Array:
    """Return the rows ∇²_x f_{b,k} · v_b = ((J̇_σ A)∘v' + (J_σ A)∘v''∘ż) W, (B, K, N).

    Forward over reverse: the steps of ∇_x f are differentiated along v (Pearlmutter 1994, Neural
    Computation 6, 147-160). For one output J_σ is σ' and J̇_σ = σ'' ṡ.
    """
    single, w, X, v = _arguments(net, w, X, v=("BN", v))
    f = _forward(net, w, X, 2)
    dZ, _, ds = _tangent(f, _parts(net, np.zeros_like(w)), v)
    _, J, curvature = output(_sigmas(net), 2, f.s)
    D, dV_rest = _delta(f, whole(curvature(ds))), _back(whole(J), f.A)
    D = D + dV_rest * f.ddV[:, np.newaxis] * dZ[:, np.newaxis]
    return _result(_by_inputs(f, D), single)


def vjp(net: NetworkLike, w: Numbers, X: Numbers, ybar: Numbers, *, inputs: bool = False) -> Any:
    """Return Σ_{b,k} ȳ_{b,k} ∇_w f_{b,k}, (P,), and with `inputs` Σ_k ȳ_{b,k} ∇_x f_{b,k} too."""
    single, w, X, ybar = _arguments(net, w, X, ybar=("BK", ybar))
    f = _forward(net, w, X, 1)
    sbar = times(output(_sigmas(net), 1, f.s)[1], ybar)
    g = _reverse(f, sbar)
    if not inputs:
        return g
    return g, _result(_by_inputs(f, _delta(f, sbar[:, np.newaxis])), single)


def jvp(net: NetworkLike, w: Numbers, X: Numbers, p: Numbers, *, dX: Numbers | None = None) -> Any:
    """Return ẏ_{b,k} = ∇_w f_{b,k} · p + ∇_x f_{b,k} · dX_b, (B, K)."""
    single, w, X, p, dX = _arguments(net, w, X, p=("P", p), dX=("BN", dX))
    f = _forward(net, w, X, 1)
    ds = _tangent(f, _parts(net, p), dX)[2]
    return _result(times(output(_sigmas(net), 1, f.s)[1], ds), single)


def loss_and_grad(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, *, loss: str | Loss = "squared",
    sample_weight: Numbers | None = None, target_weight: Numbers | None = None,
) -> tuple[Any, Array]:  # fmt: skip
    """Return the mean loss, a scalar, and its gradient by w, (P,)."""
    f, head, _ = _loss_pass(net, w, X, t, None, loss, sample_weight, target_weight, 1)
    return head.mean, _reverse(f, head.sbar)


def hvp(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, p: Numbers, *,
    loss: str | Loss = "squared",
    sample_weight: Numbers | None = None, target_weight: Numbers | None = None,
) -> Array:  # fmt: skip
    """Return the Hessian by w of the mean loss, times p: (P,).

    Forward over reverse, as `input_hvp`: s̄˙ = h ṡ and
    D˙ = (S̄˙ A)∘V' + (S̄ P_A)∘V' + (S̄ A)∘V''∘Ż.
    """
    f, head, (P_A, P_W) = _loss_pass(net, w, X, t, p, loss, sample_weight, target_weight, 2)
    dZ, dU, ds = _tangent(f, (P_A, P_W))
    dV, ddV, dZ = (part[:, np.newaxis] for part in (f.dV, f.ddV, dZ))
    dD = _back(head.sbar[:, np.newaxis], P_A * dV + f.A * ddV * dZ)[:, 0]  # (S̄˙ A)∘V': _reverse
    rest = np.concatenate([(dU.T @ head.sbar).T.ravel(), (dD.T @ f.X).ravel()])
    return _reverse(f, times(head.h, ds)) + rest


def gauss_newton_product(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, p: Numbers, *,
    loss: str | Loss = "squared",
    sample_weight: Numbers | None = None, target_weight: Numbers | None = None,
) -> Array:  # fmt: skip
    """Return Σ_b c_b J_b^T diag(τ ℓ''_b) J_b p / Σ_b c_b, (P,): `hvp` without the curvature of f.

    With cross entropy and a logistic output or the softmax, ℓ is taken as a function of s and f
    ends at s: the matching loss of Schraudolph (2002, Neural Computation 14, 1723-1738), which
    keeps ℓ'' = y (1 - y), or diag(y) - y y^T, whatever the target.
    """
    f, head, p = _loss_pass(net, w, X, t, p, loss, sample_weight, target_weight, 2)
    return _reverse(f, times(head.kappa, _tangent(f, p)[2]))


def gauss_newton(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, *, loss: str | Loss = "squared",
    sample_weight: Numbers | None = None, target_weight: Numbers | None = None,
) -> tuple[Any, Array, Array]:  # fmt: skip
    """Return the mean loss, its gradient by w, (P,), and its Gauss-Newton matrix, (P, P).

    The matrix of `gauss_newton_product`, made of the whole Jacobian of s, (B, K, P).
    """
    f, head, _ = _loss_pass(net, w, X, t, None, loss, sample_weight, target_weight, 2)
    J = _rows(f, whole(np.ones_like(f.s)))
    QJ = head.kappa[..., np.newaxis] * J if head.kappa.ndim == 2 else head.kappa @ J
    J, QJ = (rows.reshape(f.s.size, f.A.size + f.W.size) for rows in (J, QJ))
    return head.mean, J.T @ head.sbar.ravel(), J.T @ QJ


def _loss_pass(
    net: NetworkLike, w: Numbers, X: Numbers, t: Numbers, p: Numbers | None, loss: str | Loss,
    c: Numbers | None, tau: Numbers | None, order: int,
) -> tuple[_Pass, Head, Any]:  # fmt: skip
    """Return the pass and its head up to an order, and (P_A, P_W) where p is given."""
    joint = net.output is softmax and get_loss(loss).fuses_with_softmax
    classes = joint and np.ndim(t) == np.ndim(X) - 1
    _, w, X, t, p, c, tau = _arguments(
        net, w, X, t=("B" if classes else "BK", t), p=("P", p),
        sample_weight=("B", c), target_weight=("K", tau),
    )  # fmt: skip
    if len(X) == 0:
        raise ValueError("X has no observations, but the mean of a loss needs at least one")
    t = _probabilities(t, _n_outputs(net)) if joint else t
    c = np.ones(len(X), X.dtype) if c is None else c
    tau = np.ones(_n_outputs(net), X.dtype) if tau is None else tau
    with np.errstate(over="ignore"):
        total, weighs = c.sum(), c != 0.0  # what does not may be beyond all numbers: 0 · ∞ is none
    if total == 0 or not np.isfinite(total):
        raise ValueError(f"sample_weight has the sum {total:g}, but a mean needs a number above 0")
    f = _forward(net, w, X[weighs], order)
    head = head_at(_sigmas(net), loss, f.s, t[weighs], c[weighs] / total, tau, order)
    return f, head, None if p is None else _parts(net, p)
