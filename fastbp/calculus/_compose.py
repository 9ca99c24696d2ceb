"""The chain rule of question 4: derivatives of F∘G from those of F and G, no Jacobian formed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from ..activations import Activation
from ..network import Network


@runtime_checkable
class Differentiable(Protocol):
    """What `compose` composes: a function with both of its products with the Jacobian.

    The objectives of this module, `Map` and compositions are such; a class of your own is too.
    """

    def value(self, x: Any) -> Any:
        """F(x)."""

    def jvp(self, x: Any, h: Any) -> Any:
        """J_F(x) h, of F(x)'s shape."""

    def vjp(self, x: Any, ybar: Any) -> Any:
        """J_F(x)^T ȳ, of x's shape."""


class Map:
    """A function of your own, with its products with the Jacobian given as functions.

    Parameters
    ----------
    f, jvp, vjp : callable
        x ↦ F(x), (x, h) ↦ J_F(x) h, (x, ȳ) ↦ J_F(x)^T ȳ.
    name : str, optional
        For the repr; f's own name if left out.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> total = Map(np.sum, jvp=lambda x, h: np.sum(h), vjp=lambda x, ybar: np.full(x.shape, ybar))
    >>> compose(total, fastbp.activations.square).vjp(np.array([1.0, 2.0]), 1.0)
    array([2., 4.])
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        jvp: Callable[[Any, Any], Any],
        vjp: Callable[[Any, Any], Any],
        *,
        name: str | None = None,
    ) -> None:
        for what, given in (("f", f), ("jvp", jvp), ("vjp", vjp)):
            if not callable(given):
                raise TypeError(f"{what} must be a function; got {given!r}")
        self.value, self.jvp, self.vjp = f, jvp, vjp
        self._name = name or str(getattr(f, "__name__", "function"))

    def __repr__(self) -> str:
        return f"<Map {self._name}>"


class Composition:
    """F∘G, made by `compose`: J_{F∘G}(x) = J_F(G(x)) J_G(x), applied and never formed.

    F and G are its attributes `outer` and `inner`.
    """

    def __init__(self, outer: Differentiable, inner: Differentiable) -> None:
        self.outer, self.inner = outer, inner

    def __repr__(self) -> str:
        return f"<{self.outer!r} ∘ {self.inner!r}>"

    def value(self, x: ArrayLike) -> Any:
        """Return F(G(x))."""
        return self.outer.value(self.inner.value(x))

    def jvp(self, x: ArrayLike, h: ArrayLike) -> Any:
        """Return J_F(G(x)) (J_G(x) h), from the inside out; h has x's shape."""
        return self.outer.jvp(self.inner.value(x), self.inner.jvp(x, h))

    def vjp(self, x: ArrayLike, ybar: ArrayLike) -> Any:
        """Return J_G(x)^T (J_F(G(x))^T ȳ), from the outside in; ȳ has the value's shape."""
        return self.inner.vjp(x, self.outer.vjp(self.inner.value(x), ybar))

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Any]:
        """Return the value and the gradient; a TypeError where the value is no number."""
        y = self.inner.value(x)
        pair = getattr(self.outer, "value_and_grad", None)
        value, ybar = (self.outer.value(y), None) if pair is None else pair(y)
        if np.ndim(value):
            raise TypeError(
                f"a gradient belongs to a function with one number as its value; got an array of "
                f"shape {np.shape(value)} (jvp and vjp serve there)"
            )
        return float(value), self.inner.vjp(x, self.outer.vjp(y, 1.0) if ybar is None else ybar)

    def grad(self, x: ArrayLike) -> Any:
        """Return the gradient; a TypeError where the value is no number."""
        return self.value_and_grad(x)[1]

    def __call__(self, x: ArrayLike) -> tuple[float, Any]:
        """Return `value_and_grad`: what SciPy's `minimize` calls a function with ``jac=True``."""
        return self.value_and_grad(x)


def compose(outer: Any, inner: Any, *others: Any) -> Composition:
    """Compose functions, the outermost first; their derivatives follow by the chain rule.

    Parameters
    ----------
    outer, inner, *others
        Each of them one of

        - an object with `value`, `jvp` and `vjp`: the objectives of this module, `of_weights`
          and `of_inputs` of a network, `Map`, a composition;
        - an `Activation`, applied to every entry;
        - a callable x ↦ (value, derivative), SciPy's convention of ``jac=True``: the derivative
          is the gradient of a number, of x's shape, or the Jacobian of an array, of the value's
          shape followed by x's. A `Network.objective` is one.

    Returns
    -------
    Composition
        With `value`, `jvp`, `vjp` and, where the value is a number, `grad`, `value_and_grad` and
        a call as SciPy's `minimize` makes it.

    Raises
    ------
    TypeError
        For what is none of these.

    Examples
    --------
    Least squares of a network's values is the network's own squared loss, times B:

    >>> import fastbp, numpy as np
    >>> from fastbp.calculus import LeastSquares
    >>> net = fastbp.Network(2, 3)
    >>> X, t, w = np.eye(2), np.array([0.5, -0.5]), net.init(seed=0)
    >>> f = compose(LeastSquares(np.eye(2), t), of_weights(net, X))
    >>> value, gradient = f(w)
    >>> loss, expected = net.loss_and_grad(w, X, t)
    >>> np.allclose(value, 2 * loss), np.allclose(gradient, 2 * expected)
    (True, True)
    """
    if others:
        inner = compose(inner, *others)
    return Composition(_differentiable(outer), _differentiable(inner))


def _differentiable(f: Any) -> Differentiable:
    if isinstance(f, Network):  # has value, jvp and vjp too, of two arguments
        raise TypeError(
            "a Network is a function of w and X: bind one of them with "
            f"fastbp.calculus.of_weights(net, X) or .of_inputs(net, w); got {f!r}"
        )
    if isinstance(f, Differentiable):
        return f
    if isinstance(f, Activation):

        def times(x: Any, y: Any) -> Any:
            return f.derivative(x) * _of_shape(np.shape(x), y)

        return Map(f, jvp=times, vjp=times, name=f.name)
    if callable(f):
        return _of_pairs(f)
    raise TypeError(
        "only functions can be composed: objects with value, jvp and vjp, activations, or "
        f"callables x ↦ (value, derivative); got {f!r}"
    )


def _of_shape(shape: tuple[int, ...], given: Any) -> NDArray:
    """Return a direction or a cotangent; another shape would be broadcast without a word."""
    if np.shape(given) != shape:
        raise ValueError(f"what is multiplied by J must have shape {shape}; got {np.shape(given)}")
    return np.asarray(given)


def _of_pairs(f: Callable[[Any], Any]) -> Map:
    """Make a map of a callable x ↦ (value, derivative)."""

    def pair(x: Any) -> tuple[NDArray, NDArray]:
        result = f(x)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"{f!r} returns {type(result).__name__}, where (value, derivative) is expected; "
                "fastbp.calculus.Map takes a function with its jvp and vjp"
            )
        value, J = np.asarray(result[0]), np.asarray(result[1])
        expected = value.shape + np.shape(x)
        if J.shape != expected:
            raise ValueError(
                f"the derivative that {f!r} returns must have shape {expected}; got {J.shape}"
            )
        return value, J

    def jvp(x: Any, h: Any) -> Any:
        return np.tensordot(pair(x)[1], _of_shape(np.shape(x), h), axes=np.ndim(h))

    def vjp(x: Any, ybar: Any) -> Any:
        value, J = pair(x)
        return np.tensordot(_of_shape(value.shape, ybar), J, axes=value.ndim)

    name = str(getattr(f, "__name__", type(f).__name__))
    return Map(lambda x: pair(x)[0][()], jvp, vjp, name=name)


def of_weights(net: Network, X: ArrayLike) -> Map:
    """Return w ↦ y, the values of a network at fixed observations, with its derivatives.

    Parameters
    ----------
    net : Network
    X : array_like, shape (B, N)

    Returns
    -------
    Map
        (P,) ↦ (B,).

    Raises
    ------
    TypeError, ValueError
        Where X does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, 1, activations="square", output="identity")
    >>> y = of_weights(net, [[1.0, 1.0], [0.0, 1.0]])
    >>> y.value([0.5, 1.0, 2.0]), y.vjp([0.5, 1.0, 2.0], [1.0, 10.0])
    (array([4.5, 2. ]), array([49.,  3., 23.]))
    """
    data, single = boundary.observations(X, net.n_inputs, net.dtype, check_finite=False)
    if single:
        raise ValueError(
            f"X must be a batch of shape (B, {net.n_inputs}); got one observation, {data[0].shape}"
        )
    data = data.copy()
    return Map(
        lambda w: net.value(w, data),
        jvp=lambda w, p: net.jvp(w, data, p),
        vjp=lambda w, ybar: net.vjp(w, data, ybar),
        name=f"{net!r} of w",
    )


def of_inputs(net: Network, w: ArrayLike) -> Map:
    """Return X ↦ y, a network with fixed parameters, with its derivatives by the inputs.

    Parameters
    ----------
    net : Network
    w : array_like, shape (P,)

    Returns
    -------
    Map
        (B, N) ↦ (B,), and (N,) ↦ a number.

    Raises
    ------
    TypeError, ValueError
        Where w does not fit the network.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, 1, activations="square", output="identity")
    >>> y = of_inputs(net, [0.5, 1.0, 2.0])
    >>> y.value([1.0, 1.0]), y.vjp([1.0, 1.0], 2.0)
    (4.5, array([ 6., 12.]))
    """
    fixed = boundary.parameters(w, net.n_params, net.dtype, check_finite=False).copy()
    zero = np.zeros_like(fixed)
    return Map(
        lambda X: net.value(fixed, X),
        jvp=lambda X, dX: net.jvp(fixed, X, zero, dX=dX),
        vjp=lambda X, ybar: net.vjp(fixed, X, ybar, inputs=True)[1],
        name=f"{net!r} of X",
    )
