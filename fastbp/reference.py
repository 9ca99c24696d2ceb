"""The mathematics in NumPy: every map, every Jacobian, every derivative mode.

This module states what the kernels have to return, in the plainest form that is still vectorised,
and uses no Numba. Equation (1),

    y = f(w, x) = σ( Σ_i w_i · v_i( Σ_j w_{i,j} · x_j ) ),

is the composition f(w, x) = σ ∘ M(w, V ∘ L(w, x)) of

- ``L(w, x) = z``, ``V(z) = u``, ``M(w, u) = s`` and ``σ(s) = y``, here `L`, `V`, `M`, `sigma`;
- their Jacobians are `J_L_w`, `J_L_x`, `J_V`, `J_M_w`, `J_M_u`, `J_sigma`;
- their product, multiplied in either order and with its operations counted, is
  `grad_from_input_layer` and `grad_from_output_layer` for ∇_w f, `input_grad_from_input_layer` and
  `input_grad_from_output_layer` for ∇_x f;
- the remaining functions are the methods of `fastbp.Network` under the same names, the network
  first.

Any object with the attributes of `NetworkLike` serves as the network. Arrays may have any dtype
that NumPy can compute with. Nothing here takes a modulus or a conjugate, so a step along the
imaginary axis passes through every function and gives its derivative without cancellation
(Squire & Trapp 1998, SIAM Review 40, 110-112).

Shapes: N inputs, H neurons, P = N·H + H parameters, B observations. Where an observation ``(N,)``
stands in for a batch ``(B, N)``, the axis B is left out of the other arguments and of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .losses import Loss, get_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .activations import Activation

__all__ = [
    "J_V",
    "Counted",
    "J_L_w",
    "J_L_x",
    "J_M_u",
    "J_M_w",
    "J_sigma",
    "L",
    "M",
    "NetworkLike",
    "V",
    "gauss_newton",
    "gauss_newton_product",
    "grad_from_input_layer",
    "grad_from_output_layer",
    "hvp",
    "input_grad",
    "input_grad_from_input_layer",
    "input_grad_from_output_layer",
    "input_hvp",
    "jvp",
    "loss_and_grad",
    "per_sample_grad",
    "sigma",
    "split",
    "value",
    "value_and_grad",
    "vjp",
]

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


# --- Question 5: the maps -------------------------------------------------------------------------


def split(net: NetworkLike, w: Array) -> tuple[Array, Array]:
    """Return the parts (a, W) of the parameter vector w, both views of it.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters, in the order w_1 … w_H, w_{1,1} … w_{1,N}, …, w_{H,N}.

    Returns
    -------
    a : ndarray, shape (H,)
        The weights w_i of the output.
    W : ndarray, shape (H, N)
        The weights w_{i,j} of the neurons.

    Examples
    --------
    >>> import fastbp, numpy
    >>> a, W = split(fastbp.Network(2, 3), numpy.arange(9.0))
    >>> W.tolist()
    [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    """
    H = net.n_neurons
    return w[:H], w[H:].reshape(H, net.n_inputs)


def L(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return z = L(w, x), z_i = Σ_j w_{i,j} x_j.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters.
    x : ndarray, shape (N,) or (B, N)
        One observation or a batch.

    Returns
    -------
    ndarray, shape (H,) or (B, H)
        z, what enters the neurons.

    Examples
    --------
    >>> import fastbp, numpy
    >>> w = numpy.array([2.0, -1.0, 1.0, 2.0, 3.0, -1.0])
    >>> L(fastbp.Network(2, 2), w, numpy.array([1.0, 2.0])).tolist()
    [5.0, 1.0]
    """
    return x @ split(net, w)[1].T


def V(net: NetworkLike, z: Array) -> Array:
    """Return u = V(z), u_i = v_i(z_i).

    Parameters
    ----------
    net : NetworkLike
        The network.
    z : ndarray, shape (H,) or (B, H)
        What enters the neurons.

    Returns
    -------
    ndarray, shape (H,) or (B, H)
        u, what leaves the neurons.

    Examples
    --------
    >>> import fastbp, numpy
    >>> net = fastbp.Network(2, activations=("square", "identity"))
    >>> V(net, numpy.array([5.0, 1.0])).tolist()
    [25.0, 1.0]
    """
    return _neurons(net, z, 0)[0]


def M(net: NetworkLike, w: Array, u: Array) -> Any:
    """Return s = M(w, u) = Σ_i w_i u_i.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters.
    u : ndarray, shape (H,) or (B, H)
        What leaves the neurons.

    Returns
    -------
    scalar or ndarray, shape (B,)
        s, what enters the output.

    Examples
    --------
    >>> import fastbp, numpy
    >>> w = numpy.array([2.0, -1.0, 1.0, 2.0, 3.0, -1.0])
    >>> float(M(fastbp.Network(2, 2), w, numpy.array([25.0, 1.0])))
    49.0
    """
    return u @ split(net, w)[0]


def sigma(net: NetworkLike, s: Any) -> Any:
    """Return y = σ(s).

    Parameters
    ----------
    net : NetworkLike
        The network.
    s : scalar or ndarray
        What enters the output.

    Returns
    -------
    scalar or ndarray
        y, of the shape of `s`.

    Examples
    --------
    >>> import fastbp, numpy
    >>> float(sigma(fastbp.Network(2, 2, output="square"), numpy.float64(49.0)))
    2401.0
    """
    return net.output.evaluate(0, s)[0]


# --- Question 6: their Jacobians ------------------------------------------------------------------


def J_L_w(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return the Jacobian of L with respect to w at one observation.

    Row i holds x^T in the columns of w_{i,1} … w_{i,N} and zeros elsewhere.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters; L is linear in them, so that only their dtype matters.
    x : ndarray, shape (N,)
        One observation.

    Returns
    -------
    ndarray, shape (H, P)
        The Jacobian.

    Examples
    --------
    >>> import fastbp, numpy
    >>> print(J_L_w(fastbp.Network(2, 2), numpy.ones(6), numpy.array([1.0, 2.0])))
    [[0. 0. 1. 2. 0. 0.]
     [0. 0. 0. 0. 1. 2.]]
    """
    H = net.n_neurons
    identity = np.eye(H, dtype=np.result_type(w, x))
    return np.hstack([np.zeros_like(identity), np.kron(identity, x)])


def J_L_x(net: NetworkLike, w: Array, x: Array) -> Array:
    """Return the Jacobian of L with respect to x, which is W.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters.
    x : ndarray, shape (N,)
        One observation; L is linear in it, so that only its dtype matters.

    Returns
    -------
    ndarray, shape (H, N)
        The Jacobian.

    Examples
    --------
    >>> import fastbp, numpy
    >>> print(J_L_x(fastbp.Network(2, 2), numpy.arange(6.0), numpy.ones(2)))
    [[2. 3.]
     [4. 5.]]
    """
    return split(net, w)[1].astype(np.result_type(w, x), copy=False)


def J_V(net: NetworkLike, z: Array) -> Array:
    """Return the Jacobian of V, diag(v_i'(z_i)).

    Parameters
    ----------
    net : NetworkLike
        The network.
    z : ndarray, shape (H,)
        What enters the neurons.

    Returns
    -------
    ndarray, shape (H, H)
        The Jacobian.

    Examples
    --------
    >>> import fastbp, numpy
    >>> net = fastbp.Network(2, activations=("square", "identity"))
    >>> print(J_V(net, numpy.array([5.0, 1.0])))
    [[10.  0.]
     [ 0.  1.]]
    """
    return np.diag(_neurons(net, z, 1)[1])


def J_M_w(net: NetworkLike, w: Array, u: Array) -> Array:
    """Return the Jacobian of M with respect to w, (u^T, 0 … 0).

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters; M is linear in them, so that only their dtype matters.
    u : ndarray, shape (H,)
        What leaves the neurons.

    Returns
    -------
    ndarray, shape (1, P)
        The Jacobian.

    Examples
    --------
    >>> import fastbp, numpy
    >>> print(J_M_w(fastbp.Network(2, 2), numpy.ones(6), numpy.array([25.0, 1.0])))
    [[25.  1.  0.  0.  0.  0.]]
    """
    jacobian = np.zeros((1, w.size), np.result_type(w, u))
    jacobian[0, : net.n_neurons] = u
    return jacobian


def J_M_u(net: NetworkLike, w: Array, u: Array) -> Array:
    """Return the Jacobian of M with respect to u, which is a^T.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : ndarray, shape (P,)
        Parameters.
    u : ndarray, shape (H,)
        What leaves the neurons; M is linear in it, so that only its dtype matters.

    Returns
    -------
    ndarray, shape (1, H)
        The Jacobian.

    Examples
    --------
    >>> import fastbp, numpy
    >>> print(J_M_u(fastbp.Network(2, 2), numpy.arange(6.0), numpy.ones(2)))
    [[0. 1.]]
    """
    return split(net, w)[0].astype(np.result_type(w, u), copy=False)[np.newaxis, :]


def J_sigma(net: NetworkLike, s: Any) -> Array:
    """Return the Jacobian of σ, σ'(s).

    Parameters
    ----------
    net : NetworkLike
        The network.
    s : scalar
        What enters the output.

    Returns
    -------
    ndarray, shape (1, 1)
        The Jacobian.

    Examples
    --------
    >>> import fastbp, numpy
    >>> print(J_sigma(fastbp.Network(2, 2, output="square"), numpy.float64(49.0)))
    [[98.]]
    """
    return np.reshape(net.output.evaluate(1, s)[1], (1, 1))


# --- Questions 7 to 9: their product, in two orders, counted --------------------------------------


class Counted(NamedTuple):
    """A gradient and the operations it took.

    Attributes
    ----------
    gradient : ndarray, shape (P,) or (N,)
        The gradient.
    operations : int
        The operations, as the multiplications were carried out: an (n × m)·(m × p) product counts
        n·m·p, an entrywise sum or product counts its entries.
    """

    gradient: Array
    operations: int


class _Counter:
    """Arithmetic that keeps count of itself."""

    def __init__(self) -> None:
        self.operations = 0

    def product(self, A: Array, B: Array) -> Array:
        """Return the matrix product A·B."""
        self.operations += A.shape[0] * A.shape[1] * B.shape[1]
        return A @ B

    def sum(self, A: Array, B: Array) -> Array:
        """Return A + B."""
        C = A + B
        self.operations += C.size
        return C

    def scale(self, A: Array, B: Array) -> Array:
        """Return the entrywise product of A and B, either of them broadcast."""
        C = A * B
        self.operations += C.size
        return C


def grad_from_input_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_w f, multiplied from the input layer on, and its operations.

    ∇_w f^T = J_σ · ( J_{M,w} + J_{M,u} · (J_V · J_{L,w}) ) costs
    N H³ + H³ + N H² + H² + 2 (N H + H) operations with the Jacobians as they stand, and
    3 N H + H where only entries other than zero are multiplied.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    x : array_like, shape (N,)
        One observation.
    structure : bool
        Whether to use what is known of the Jacobians: J_V is diagonal, a row of J_{L,w} has N
        entries other than zero, and J_{M,w} is zero where J_{M,u} J_V J_{L,w} is not.

    Returns
    -------
    Counted
        The gradient ``(P,)`` and the operations it took.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w, x = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0]
    >>> grad_from_input_layer(net, w, x).operations
    48
    >>> grad_from_input_layer(net, w, x, structure=True).operations
    14
    """
    w, x, z, u, s = _one_observation(net, w, x)
    count = _Counter()
    if structure:
        a = split(net, w)[0]
        dv = _neurons(net, z, 1)[1]
        J_VL = count.scale(dv[:, np.newaxis], x)  # the N entries of each row that are not zero
        J_MVL = count.scale(a[:, np.newaxis], J_VL)
        g = count.scale(J_sigma(net, s)[0], np.concatenate([u, J_MVL.ravel()]))
        return Counted(g, count.operations)
    J_VL = count.product(J_V(net, z), J_L_w(net, w, x))
    J_MVL = count.product(J_M_u(net, w, u), J_VL)
    row = count.scale(J_sigma(net, s), count.sum(J_M_w(net, w, u), J_MVL))
    return Counted(row[0], count.operations)


def grad_from_output_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_w f, multiplied from the output layer back, and its operations.

    ∇_w f^T = J_σ · ( J_{M,w} + (J_{M,u} · J_V) · J_{L,w} ) costs N H² + 2 H² + 2 (N H + H)
    operations with the Jacobians as they stand, and N H + 3 H where only entries other than zero
    are multiplied: σ'(s) u, then δ, then δ x^T, as in the kernels.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    x : array_like, shape (N,)
        One observation.
    structure : bool
        Whether to use what is known of the Jacobians, as in `grad_from_input_layer`.

    Returns
    -------
    Counted
        The gradient ``(P,)`` and the operations it took.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w, x = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0]
    >>> grad_from_output_layer(net, w, x).operations
    28
    >>> grad_from_output_layer(net, w, x, structure=True).operations
    10
    """
    w, x, z, u, s = _one_observation(net, w, x)
    count = _Counter()
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
    """Return ∇_x f, multiplied from the input layer on, and its operations.

    ∇_x f^T = J_σ · ( J_{M,u} · (J_V · J_{L,x}) ) costs N H² + N H + N operations with the
    Jacobians as they stand, and 2 N H + N where the zeros of J_V are left out.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    x : array_like, shape (N,)
        One observation.
    structure : bool
        Whether to use that J_V is diagonal.

    Returns
    -------
    Counted
        The gradient ``(N,)`` and the operations it took.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w, x = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0]
    >>> input_grad_from_input_layer(net, w, x).operations
    14
    >>> input_grad_from_input_layer(net, w, x, structure=True).operations
    10
    """
    w, x, z, u, s = _one_observation(net, w, x)
    count = _Counter()
    if structure:
        dv = _neurons(net, z, 1)[1]
        J_VL = count.scale(dv[:, np.newaxis], J_L_x(net, w, x))
    else:
        J_VL = count.product(J_V(net, z), J_L_x(net, w, x))
    row = count.scale(J_sigma(net, s), count.product(J_M_u(net, w, u), J_VL))
    return Counted(row[0], count.operations)


def input_grad_from_output_layer(
    net: NetworkLike, w: Numbers, x: Numbers, *, structure: bool = False
) -> Counted:
    """Return ∇_x f, multiplied from the output layer back, and its operations.

    ∇_x f^T = J_σ · ( (J_{M,u} · J_V) · J_{L,x} ) costs H² + N H + N operations with the Jacobians
    as they stand, and N H + 2 H where only entries other than zero are multiplied: δ, then W^T δ,
    as in the kernels.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    x : array_like, shape (N,)
        One observation.
    structure : bool
        Whether to use that J_V is diagonal.

    Returns
    -------
    Counted
        The gradient ``(N,)`` and the operations it took.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w, x = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0]
    >>> input_grad_from_output_layer(net, w, x).operations
    10
    >>> input_grad_from_output_layer(net, w, x, structure=True).operations
    8
    """
    w, x, z, u, s = _one_observation(net, w, x)
    count = _Counter()
    if structure:
        delta = _counted_delta(net, w, z, s, count)
        row = count.product(delta[np.newaxis, :], J_L_x(net, w, x))
        return Counted(row[0], count.operations)
    J_MV = count.product(J_M_u(net, w, u), J_V(net, z))
    row = count.scale(J_sigma(net, s), count.product(J_MV, J_L_x(net, w, x)))
    return Counted(row[0], count.operations)


def _one_observation(
    net: NetworkLike, w: Numbers, x: Numbers
) -> tuple[Array, Array, Array, Array, Any]:
    """Return (w, x, z, u, s) at one observation."""
    single, w, X = _arguments(net, w, x)
    if not single:
        raise ValueError(f"x has shape {X.shape}, but one observation has shape ({net.n_inputs},)")
    x = X[0]
    z = L(net, w, x)
    u = V(net, z)
    return w, x, z, u, M(net, w, u)


def _counted_delta(net: NetworkLike, w: Array, z: Array, s: Any, count: _Counter) -> Array:
    """Return δ_i = σ'(s) w_i v_i'(z_i), in 2 H operations."""
    a = split(net, w)[0]
    return count.scale(count.scale(J_sigma(net, s)[0], a), _neurons(net, z, 1)[1])


# --- What the modes share -------------------------------------------------------------------------


class _Pass(NamedTuple):
    """One pass over a batch: what it was made of, and what it left behind."""

    a: Array
    W: Array
    X: Array
    neurons: tuple[Array, ...]
    """u, and as far as asked for v'(z) and v''(z), each (B, H)."""
    output: tuple[Array, ...]
    """y, and as far as asked for σ'(s) and σ''(s), each (B,)."""


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


def _forward(
    net: NetworkLike, w: Array, X: Array, order: int, output: Activation | None = None
) -> _Pass:
    """Evaluate equation (1), with `output` in the place of σ where it is given."""
    z = L(net, w, X)
    neurons = _neurons(net, z, order)
    s = M(net, w, neurons[0])
    return _Pass(*split(net, w), X, neurons, (output or net.output).evaluate(order, s))


def _tangent(fwd: _Pass, p: tuple[Array, Array], dX: Array | None) -> tuple[Array, Array, Array]:
    """Return ż, u̇ and ṡ, the derivatives of the pass along p = (p_a, P_W) and dX."""
    p_a, P_W = p
    u, dv = fwd.neurons[:2]
    zdot = fwd.X @ P_W.T
    if dX is not None:
        zdot = zdot + dX @ fwd.W.T
    udot = dv * zdot
    return zdot, udot, u @ p_a + udot @ fwd.a


def _delta(fwd: _Pass, sbar: Array) -> Array:
    """Return D_{b,i} = s̄_b w_i v_i'(z_{b,i})."""
    return sbar[:, np.newaxis] * fwd.a * fwd.neurons[1]


def _reverse(fwd: _Pass, sbar: Array) -> Array:
    """Return Σ_b s̄_b ∇_w s_b = (U^T s̄, D^T X)."""
    return np.concatenate([fwd.neurons[0].T @ sbar, (_delta(fwd, sbar).T @ fwd.X).ravel()])


def _rows(fwd: _Pass, sbar: Array) -> Array:
    """Return the rows s̄_b ∇_w s_b, the terms of `_reverse` kept apart."""
    D = _delta(fwd, sbar)
    g_W = D[:, :, np.newaxis] * fwd.X[:, np.newaxis, :]
    return np.hstack([sbar[:, np.newaxis] * fwd.neurons[0], g_W.reshape(len(D), fwd.W.size)])


def _arguments(net: NetworkLike, w: Numbers, X: Numbers, **others: tuple[str, Any]) -> list[Any]:
    """Bring the arguments to one dtype and to a batch.

    Each of `others` is (axes, value), with axes in letters B, N and P. Returns whether X was a
    single observation, then w, X and the others; an argument that is None remains so.
    """
    dtype = _common_dtype(w, X, *(argument for _, argument in others.values()))
    single = np.ndim(X) == 1
    sizes = {
        "B": len(X) if np.ndim(X) == 2 else 1,
        "N": net.n_inputs,
        "P": net.n_neurons * (net.n_inputs + 1),
    }
    result: list[Any] = [single]
    for name, (axes, argument) in {"w": ("P", w), "X": ("BN", X), **others}.items():
        if argument is None:
            result.append(None)
            continue
        array = np.asarray(argument, dtype)
        expected = tuple(sizes[axis] for axis in axes if not (single and axis == "B"))
        if array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape}, but shape {expected} was expected")
        result.append(array.reshape([sizes[axis] for axis in axes]))
    return result


def _common_dtype(*arguments: Any) -> np.dtype[Any]:
    """Return the floating or complex dtype to compute in; integers and None have no say in it."""
    kinds = [
        argument if isinstance(argument, float | complex) else np.asarray(argument).dtype
        for argument in arguments
        if argument is not None
    ]
    inexact = [kind for kind in kinds if np.issubdtype(np.result_type(kind), np.inexact)]
    return np.result_type(*inexact) if inexact else np.dtype(np.float64)


def _mean_weights(sample_weight: Array | None, X: Array) -> Array:
    """Return c_b / Σ c_b."""
    if len(X) == 0:
        raise ValueError("X has no observations, but the mean of a loss needs at least one")
    c = np.ones(len(X), X.dtype) if sample_weight is None else sample_weight
    total = c.sum()
    if total == 0:
        raise ValueError("sample_weight has the sum 0, but a mean needs a sum above 0")
    return c / total


def _loss_pass(
    net: NetworkLike, w: Array, X: Array, t: Array, loss: str | Loss, order: int
) -> tuple[_Pass, tuple[Array, ...]]:
    """Return the pass and the loss with its derivatives by y up to `order`.

    A loss may take σ over from the network (`Loss.with_output`): then y is s, and σ the identity.
    """
    output, pointwise = get_loss(loss).with_output(net.output)
    fwd = _forward(net, w, X, order, output)
    return fwd, pointwise.evaluate(order, fwd.output[0], t)


# --- The derivative modes -------------------------------------------------------------------------


def value(net: NetworkLike, w: Numbers, X: Numbers) -> Any:
    """Return y = f(w, x) at every row of X: equation (1).

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.

    Returns
    -------
    ndarray, shape (B,), or scalar
        y.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> value(net, w, [[1.0, 2.0], [1.0, 0.0]]).tolist()
    [2401.0, 1.0]
    """
    single, w, X = _arguments(net, w, X)
    y = _forward(net, w, X, 0).output[0]
    return y[0] if single else y


def value_and_grad(net: NetworkLike, w: Numbers, x: Numbers) -> tuple[Any, Array]:
    """Return f(w, x) and ∇_w f at one observation.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    x : array_like, shape (N,)
        One observation.

    Returns
    -------
    y : scalar
        f(w, x).
    g : ndarray, shape (P,)
        ∇_w f.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> y, g = value_and_grad(net, [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0])
    >>> float(y), g.tolist()
    (2401.0, [2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0])
    """
    single, w, X = _arguments(net, w, x)
    if not single:
        raise ValueError(f"x has shape {X.shape}, but one observation has shape ({net.n_inputs},)")
    fwd = _forward(net, w, X, 1)
    y, dsigma = fwd.output
    return y[0], _reverse(fwd, dsigma)


def vjp(net: NetworkLike, w: Numbers, X: Numbers, ybar: Numbers, *, inputs: bool = False) -> Any:
    """Return Σ_b ȳ_b ∇_w f_b, and on request the rows ȳ_b ∇_x f_b.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    ybar : array_like, shape (B,), or scalar
        The cotangent ȳ, the derivative of something by y.
    inputs : bool
        Whether to return the rows ȳ_b ∇_x f_b too.

    Returns
    -------
    g : ndarray, shape (P,)
        Σ_b ȳ_b ∇_w f_b.
    rows : ndarray, shape (B, N) or (N,)
        ȳ_b ∇_x f_b; only with `inputs`.

    Raises
    ------
    ValueError
        If a shape does not fit the network or the batch.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> vjp(net, w, [1.0, 2.0], -1.0, inputs=True)[1].tolist()
    [-1666.0, -4018.0]
    """
    single, w, X, ybar = _arguments(net, w, X, ybar=("B", ybar))
    fwd = _forward(net, w, X, 1)
    sbar = ybar * fwd.output[1]
    g = _reverse(fwd, sbar)
    if not inputs:
        return g
    rows = _delta(fwd, sbar) @ fwd.W
    return g, rows[0] if single else rows


def jvp(net: NetworkLike, w: Numbers, X: Numbers, p: Numbers, *, dX: Numbers | None = None) -> Any:
    """Return the directional derivatives ∇_w f_b · p + ∇_x f_b · dX_b.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    p : array_like, shape (P,)
        The direction in w.
    dX : array_like, shape (B, N) or (N,), optional
        The direction in X; zero if not given.

    Returns
    -------
    ndarray, shape (B,), or scalar
        The derivative of each y_b.

    Raises
    ------
    ValueError
        If a shape does not fit the network or the batch.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> jvp(net, w, [[1.0, 2.0]], [1.0] * 6, dX=[[1.0, 0.0]]).tolist()
    [9800.0]
    """
    single, w, X, p, dX = _arguments(net, w, X, p=("P", p), dX=("BN", dX))
    fwd = _forward(net, w, X, 1)
    sdot = _tangent(fwd, split(net, p), dX)[2]
    ydot = fwd.output[1] * sdot
    return ydot[0] if single else ydot


def per_sample_grad(net: NetworkLike, w: Numbers, X: Numbers) -> Array:
    """Return the Jacobian of the batch: row b is ∇_w f_b.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.

    Returns
    -------
    ndarray, shape (B, P) or (P,)
        The gradients.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> per_sample_grad(net, w, [[1.0, 2.0], [1.0, 0.0]]).tolist()
    [[2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0], [-2.0, -6.0, -8.0, -0.0, 2.0, 0.0]]
    """
    single, w, X = _arguments(net, w, X)
    fwd = _forward(net, w, X, 1)
    rows = _rows(fwd, fwd.output[1])
    return rows[0] if single else rows


def input_grad(net: NetworkLike, w: Numbers, X: Numbers) -> Array:
    """Return ∇_x f at every row of X.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.

    Returns
    -------
    ndarray, shape (B, N) or (N,)
        The gradients.

    Raises
    ------
    ValueError
        If a shape does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> input_grad(net, [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0]).tolist()
    [1666.0, 4018.0]
    """
    single, w, X = _arguments(net, w, X)
    fwd = _forward(net, w, X, 1)
    rows = _delta(fwd, fwd.output[1]) @ fwd.W
    return rows[0] if single else rows


def input_hvp(net: NetworkLike, w: Numbers, X: Numbers, v: Numbers) -> Array:
    """Return the rows ∇²_x f_b · v_b, forward over reverse (Pearlmutter 1994).

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    v : array_like, shape (B, N) or (N,)
        A direction for each observation.

    Returns
    -------
    ndarray, shape (B, N) or (N,)
        The products.

    Raises
    ------
    ValueError
        If a shape does not fit the network or the batch.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> input_hvp(net, [2.0, -1.0, 1.0, 2.0, 3.0, -1.0], [1.0, 2.0], [1.0, 0.0]).tolist()
    [970.0, 2178.0]
    """
    single, w, X, v = _arguments(net, w, X, v=("BN", v))
    fwd = _forward(net, w, X, 2)
    zdot, _, sdot = _tangent(fwd, split(net, np.zeros_like(w)), v)
    _, dsigma, ddsigma = fwd.output
    ddv = fwd.neurons[2]
    Ddot = _delta(fwd, ddsigma * sdot) + dsigma[:, np.newaxis] * fwd.a * ddv * zdot
    rows = Ddot @ fwd.W
    return rows[0] if single else rows


def loss_and_grad(
    net: NetworkLike,
    w: Numbers,
    X: Numbers,
    t: Numbers,
    *,
    loss: str | Loss = "squared",
    sample_weight: Numbers | None = None,
) -> tuple[Any, Array]:
    """Return the mean loss Σ_b c_b ℓ(y_b, t_b) / Σ_b c_b and its gradient by w.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    t : array_like, shape (B,), or scalar
        Targets.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), or scalar, optional
        c; ones if not given.

    Returns
    -------
    mean : scalar
        The mean loss.
    g : ndarray, shape (P,)
        Its gradient.

    Raises
    ------
    ValueError
        If a shape does not fit the network or the batch, the batch is empty, the weights sum to
        0, or the loss has no such name.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> mean, g = loss_and_grad(net, w, [[1.0, 2.0]], [2400.0])
    >>> float(mean), g.tolist()
    (0.5, [2450.0, 98.0, 1960.0, 3920.0, -98.0, -196.0])
    """
    _, w, X, t, c = _arguments(net, w, X, t=("B", t), sample_weight=("B", sample_weight))
    c = _mean_weights(c, X)
    fwd, (losses, ybar) = _loss_pass(net, w, X, t, loss, 1)
    return c @ losses, _reverse(fwd, c * ybar * fwd.output[1])


def hvp(
    net: NetworkLike,
    w: Numbers,
    X: Numbers,
    t: Numbers,
    p: Numbers,
    *,
    loss: str | Loss = "squared",
    sample_weight: Numbers | None = None,
) -> Array:
    """Return the Hessian by w of the mean loss, times p.

    Forward over reverse: the gradient's own steps are differentiated along p (Pearlmutter 1994,
    Neural Computation 6, 147-160).

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    t : array_like, shape (B,), or scalar
        Targets.
    p : array_like, shape (P,)
        The direction.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), or scalar, optional
        c; ones if not given.

    Returns
    -------
    ndarray, shape (P,)
        The product.

    Raises
    ------
    ValueError
        As `loss_and_grad`.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> hvp(net, w, [[1.0, 2.0]], [2400.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).tolist()
    [6003750.0, 240150.0, 4803980.0, 9607960.0, -240150.0, -480300.0]
    """
    _, w, X, t, p, c = _arguments(
        net, w, X, t=("B", t), p=("P", p), sample_weight=("B", sample_weight)
    )
    c = _mean_weights(c, X)
    fwd, (_, ybar, ddloss) = _loss_pass(net, w, X, t, loss, 2)
    p_a, P_W = split(net, p)
    zdot, udot, sdot = _tangent(fwd, (p_a, P_W), None)
    _, dv, ddv = fwd.neurons
    _, dsigma, ddsigma = fwd.output

    sbar = c * ybar * dsigma
    ybardot = c * ddloss * dsigma * sdot
    sbardot = ybardot * dsigma + c * ybar * ddsigma * sdot
    # δ˙ = s̄˙ a∘v' + s̄ p_a∘v' + s̄ a∘v''∘ż; the first term is in _reverse.
    Ddot = sbar[:, np.newaxis] * (p_a * dv + fwd.a * ddv * zdot)
    return _reverse(fwd, sbardot) + np.concatenate([udot.T @ sbar, (Ddot.T @ fwd.X).ravel()])


def gauss_newton_product(
    net: NetworkLike,
    w: Numbers,
    X: Numbers,
    t: Numbers,
    p: Numbers,
    *,
    loss: str | Loss = "squared",
    sample_weight: Numbers | None = None,
) -> Array:
    """Return the Gauss-Newton matrix of the mean loss, times p.

    The product is Σ_b c_b ℓ''_b ∇f_b (∇f_b · p) / Σ_b c_b: the Hessian without the curvature of
    f. With cross entropy and a logistic output, ℓ is taken as a function of s and f ends at s:
    the matching loss of Schraudolph (2002, Neural Computation 14, 1723-1738), which keeps
    ℓ'' = y (1 - y) whatever the target.

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    t : array_like, shape (B,), or scalar
        Targets.
    p : array_like, shape (P,)
        The direction.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), or scalar, optional
        c; ones if not given.

    Returns
    -------
    ndarray, shape (P,)
        The product.

    Raises
    ------
    ValueError
        As `loss_and_grad`.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> p = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    >>> gauss_newton_product(net, w, [[1.0, 2.0]], [2400.0], p).tolist()
    [240100.0, 9604.0, 192080.0, 384160.0, -9604.0, -19208.0]
    """
    _, w, X, t, p, c = _arguments(
        net, w, X, t=("B", t), p=("P", p), sample_weight=("B", sample_weight)
    )
    c = _mean_weights(c, X)
    fwd, (_, _, ddloss) = _loss_pass(net, w, X, t, loss, 2)
    dsigma = fwd.output[1]
    sdot = _tangent(fwd, split(net, p), None)[2]
    return _reverse(fwd, c * ddloss * dsigma * sdot * dsigma)


def gauss_newton(
    net: NetworkLike,
    w: Numbers,
    X: Numbers,
    t: Numbers,
    *,
    loss: str | Loss = "squared",
    sample_weight: Numbers | None = None,
) -> tuple[Any, Array, Array]:
    """Return the mean loss, its gradient and its Gauss-Newton matrix.

    The matrix is Σ_b c_b ℓ''_b ∇f_b ∇f_b^T / Σ_b c_b; see `gauss_newton_product`. Here it is made
    of the whole Jacobian of the batch, (B, P).

    Parameters
    ----------
    net : NetworkLike
        The network.
    w : array_like, shape (P,)
        Parameters.
    X : array_like, shape (B, N) or (N,)
        Observations.
    t : array_like, shape (B,), or scalar
        Targets.
    loss : str or Loss
        ℓ.
    sample_weight : array_like, shape (B,), or scalar, optional
        c; ones if not given.

    Returns
    -------
    mean : scalar
        The mean loss.
    g : ndarray, shape (P,)
        Its gradient.
    G : ndarray, shape (P, P)
        The Gauss-Newton matrix.

    Raises
    ------
    ValueError
        As `loss_and_grad`.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, activations=("square", "identity"), output="square")
    >>> w = [2.0, -1.0, 1.0, 2.0, 3.0, -1.0]
    >>> mean, g, G = gauss_newton(net, w, [[1.0, 2.0]], [2400.0])
    >>> G[1].tolist()
    [240100.0, 9604.0, 192080.0, 384160.0, -9604.0, -19208.0]
    """
    _, w, X, t, c = _arguments(net, w, X, t=("B", t), sample_weight=("B", sample_weight))
    c = _mean_weights(c, X)
    fwd, (losses, ybar, ddloss) = _loss_pass(net, w, X, t, loss, 2)
    J = _rows(fwd, fwd.output[1])
    return c @ losses, J.T @ (c * ybar), J.T @ ((c * ddloss)[:, np.newaxis] * J)
