"""The three model objectives of question 3, with all their derivatives, in NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary

Array = NDArray[Any]


def _matrix(name: str, value: Any) -> Any:
    """Return a dense matrix in C order, or a SciPy sparse one by rows; float32 stays float32."""
    sparse = value.tocsr() if hasattr(value, "tocsr") else None
    entries = value if sparse is None else sparse.data
    try:
        single = np.asarray(entries).dtype == np.float32
    except ValueError:  # rows of different lengths: refused below
        single = False
    dtype = np.dtype(np.float32 if single else np.float64)
    matrix = boundary.numbers(name, entries, dtype, check_finite=False)
    if sparse is not None:
        matrix = sparse.astype(dtype, copy=False)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} must be a matrix with at least one entry; got {matrix.shape}")
    return matrix


class _Objective(boundary.Fixed):
    """A function of one flat vector x in SciPy's conventions: ½‖r(x)‖², and of `Affine` r(x).

    The data are attributes under the names they are given by: as they are where they are in C order
    (CSR where sparse), copied otherwise. A point x and a direction h have shape ``(n_variables,)``
    and are converted to `dtype` where nothing is lost. A TypeError or a ValueError says what does
    not fit.

    Attributes
    ----------
    n_variables : int
        The length of x.
    dtype : dtype
        Of x and of all results: float32 where the matrix is given so, float64 otherwise.
    """

    n_variables: int
    dtype: np.dtype[Any]

    # What each is made of: r(x), gradient or Jacobian from x and r(x), and Hessian at x times h.
    _r: Callable[[Array], Array]
    _derivative: Callable[[Array, Array], Any]
    _hessian_times: Callable[[Array, Array], Array]

    def _value(self, r: Array) -> Any:
        return 0.5 * float(np.square(r, dtype=np.float64).sum())

    def _vector(self, name: str, value: ArrayLike, n: int | None = None) -> Array:
        """Check a vector of n numbers, of `n_variables` where n is left out."""
        n = self.n_variables if n is None else n
        return boundary.parameters(value, n, self.dtype, check_finite=False, name=name)

    def _described(self, matrix: Any, note: str = "") -> str:
        m, n = matrix.shape
        sparse = "" if isinstance(matrix, np.ndarray) else ", sparse"
        return f"<{type(self).__name__}: {m} × {n}{note}{sparse}, {self.dtype}>"

    def value(self, x: ArrayLike) -> Any:
        """Return the value: a float, of `Affine` an array of shape (p,)."""
        return self._value(self._r(self._vector("x", x)))

    def value_and_grad(self, x: ArrayLike) -> tuple[Any, Any]:
        """Return `value` and `grad`."""
        x = self._vector("x", x)
        r = self._r(x)
        return self._value(r), self._derivative(x, r)

    def __call__(self, x: ArrayLike) -> tuple[Any, Any]:
        """Return `value_and_grad`: what SciPy calls a function with ``jac=True``."""
        return self.value_and_grad(x)

    def grad(self, x: ArrayLike) -> Any:
        """Return the gradient, (n_variables,); of `Affine` the Jacobian, (p, n_variables)."""
        return self.value_and_grad(x)[1]

    def jvp(self, x: ArrayLike, h: ArrayLike) -> Any:
        """Return the derivative along h, of the value's shape."""
        product = self.grad(x) @ self._vector("h", h)
        return product if product.ndim else float(product)

    def vjp(self, x: ArrayLike, ybar: ArrayLike) -> Array:
        """Return the transposed Jacobian times ȳ, a cotangent of the value's shape."""
        J = self.grad(x)
        if J.ndim == 1:
            if np.shape(ybar):
                raise ValueError(f"ybar must be a number, as the value is; got {ybar!r}")
            number = boundary.numbers("ybar", ybar, np.dtype(np.float64), check_finite=False)
            return J * self.dtype.type(number)
        return J.T @ self._vector("ybar", ybar, J.shape[0])

    def hvp(self, x: ArrayLike, h: ArrayLike) -> Array:
        """Return the Hessian times h; of `Affine` that of ȳ·f2, zero for every ȳ."""
        return self._hessian_times(self._vector("x", x), self._vector("h", h))


class LeastSquares(_Objective):
    """f1(x) = ½‖Ax − b‖², whose gradient is A^T(Ax − b) and whose Hessian is A^T A.

    Parameters
    ----------
    A : array_like or SciPy sparse array, shape (m, n)
        float32 or float64.
    b : array_like, shape (m,)
        Converted to A's dtype where nothing is lost.

    Examples
    --------
    >>> import numpy as np
    >>> f1 = LeastSquares([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]], [3.0, 1.0, 0.0])
    >>> f1(np.array([1.0, 0.0]))
    (3.0, array([-1., -5.]))
    >>> f1.hvp(np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    array([2., 2.])
    """

    def __init__(self, A: Any, b: ArrayLike) -> None:
        self.A = _matrix("A", A)
        self.dtype = self.A.dtype
        m, self.n_variables = self.A.shape
        self.b = self._vector("b", b, m)

    def __repr__(self) -> str:
        return self._described(self.A)

    def _r(self, x: Array) -> Array:
        return self.A @ x - self.b

    def _derivative(self, x: Array, r: Array) -> Array:
        return self.A.T @ r

    def _hessian_times(self, x: Array, h: Array) -> Array:
        return self.A.T @ (self.A @ h)


class Affine(_Objective):
    """f2(x) = Bx + c, whose Jacobian is B.

    Parameters
    ----------
    B : array_like or SciPy sparse array, shape (p, n)
        float32 or float64.
    c : array_like, shape (p,)
        Converted to B's dtype where nothing is lost.

    Examples
    --------
    >>> import numpy as np
    >>> f2 = Affine([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]], [1.0, 1.0, 1.0])
    >>> f2.value(np.array([1.0, 0.0])), f2.vjp(np.array([1.0, 0.0]), np.array([1.0, 0.0, 2.0]))
    (array([2., 1., 2.]), array([3., 2.]))
    """

    def __init__(self, B: Any, c: ArrayLike) -> None:
        self.B = _matrix("B", B)
        self.dtype = self.B.dtype
        p, self.n_variables = self.B.shape
        self.c = self._vector("c", c, p)

    def __repr__(self) -> str:
        return self._described(self.B)

    def grad(self, x: ArrayLike) -> Any:
        """Return B itself, no copy."""
        self._vector("x", x)
        return self.B

    def _r(self, x: Array) -> Array:
        return self.B @ x + self.c

    def _value(self, r: Array) -> Array:
        return r

    def _derivative(self, x: Array, r: Array) -> Any:
        return self.B

    def _hessian_times(self, x: Array, h: Array) -> Array:
        return np.zeros_like(h)


class Factorization(_Objective):
    """f3(P, Q) = ½‖M − PQ‖² (Frobenius), as a function of the flat vector (P, Q).

    The gradient is −(M − PQ)Q^T by P and −P^T(M − PQ) by Q.

    Parameters
    ----------
    M : array_like, shape (m, n)
        float32 or float64, dense: all entries of M − PQ count.
    rank : int
        k, the columns of P and the rows of Q.

    Examples
    --------
    >>> f3 = Factorization([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]], rank=1)
    >>> value, gradient = f3([1.0, 2.0, 0.0, 1.0, 2.0])
    >>> value, (gradient + 0.0).tolist()
    (0.5, [0.0, 0.0, -2.0, 0.0, 0.0])
    """

    def __init__(self, M: ArrayLike, rank: int) -> None:
        if hasattr(M, "tocsr"):
            raise TypeError(
                "M must be dense, since all entries of M − PQ count; got a sparse array"
            )
        if not boundary.is_integer(rank) or rank < 1:
            raise ValueError(f"rank must be a positive integer; got {rank!r}")
        self.M = _matrix("M", M)
        self.dtype = self.M.dtype
        self.rank = int(rank)
        self.n_variables = sum(self.M.shape) * self.rank

    def __repr__(self) -> str:
        return self._described(self.M, f" of rank {self.rank}")

    def split(self, x: NDArray) -> tuple[Array, Array]:
        """Return P, (m, k), and Q, (k, n), as views of x; a ValueError where x does not fit."""
        if np.shape(x) != (self.n_variables,):
            raise ValueError(f"x must have shape ({self.n_variables},); got {np.shape(x)}")
        x = np.asarray(x)
        m, n = self.M.shape
        k = self.rank
        return x[: m * k].reshape(m, k), x[m * k :].reshape(k, n)

    def _r(self, x: Array) -> Array:
        P, Q = self.split(x)
        return P @ Q - self.M

    def _derivative(self, x: Array, r: Array) -> Array:
        P, Q = self.split(x)
        return np.concatenate([r @ Q.T, P.T @ r], axis=None)

    def _hessian_times(self, x: Array, h: Array) -> Array:
        (P, Q), (P_dot, Q_dot) = self.split(x), self.split(h)
        along = self._derivative(x, P_dot @ Q + P @ Q_dot)
        return along + self._derivative(h, self._r(x))  # linear in x for a given r
