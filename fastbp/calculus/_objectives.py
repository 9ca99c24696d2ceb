"""The three model objectives of question 3, with all their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary

Array = NDArray[Any]


def _data(name: str, value: Any) -> Array:
    """Numbers in C order, float32 where they are given so and float64 otherwise."""
    try:
        single = np.asarray(value).dtype == np.float32
    except ValueError:  # rows of different lengths: refused below
        single = False
    dtype = np.dtype(np.float32 if single else np.float64)
    return boundary.numbers(name, value, dtype, check_finite=False)


def _matrix(name: str, value: Any) -> Any:
    """Return a dense matrix in C order, or a SciPy sparse one by rows."""
    if hasattr(value, "tocsr"):
        matrix = value.tocsr()
        entries = _data(name, matrix.data)
        if entries is not matrix.data:
            parts = (entries, matrix.indices, matrix.indptr)
            matrix = type(matrix)(parts, shape=matrix.shape)
    else:
        matrix = _data(name, value)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} must be a matrix with at least one entry; got {matrix.shape}")
    return matrix


class _OfVector(boundary.Fixed):
    """A function of one flat vector of `n_variables` numbers of type `dtype`."""

    n_variables: int
    dtype: np.dtype[Any]

    def _vector(self, name: str, value: Any, n: int | None = None) -> Array:
        """Check a vector of n numbers, of `n_variables` where n is left out."""
        n = self.n_variables if n is None else n
        if (
            type(value) is np.ndarray
            and value.shape == (n,)
            and value.dtype == self.dtype
            and value.flags.carray
        ):
            return value  # at once, a third of the time of a small call
        return boundary.parameters(value, n, self.dtype, check_finite=False, name=name)


class _OfVectorToNumber(_OfVector):
    """What follows from value and gradient. SciPy's `minimize` takes the object, ``jac=True``."""

    def value(self, x: ArrayLike) -> float:
        """Return the value.

        Parameters
        ----------
        x : array_like, shape (n_variables,)
            The point.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        raise NotImplementedError

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """Return the value and the gradient.

        Parameters
        ----------
        x : array_like, shape (n_variables,)
            The point.

        Returns
        -------
        value : float
        gradient : ndarray, shape (n_variables,)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        raise NotImplementedError

    def __call__(self, x: ArrayLike) -> tuple[float, Array]:
        """Return `value_and_grad`: what SciPy's `minimize` calls a function with ``jac=True``."""
        return self.value_and_grad(x)

    def grad(self, x: ArrayLike) -> Array:
        """Return the gradient.

        Parameters
        ----------
        x : array_like, shape (n_variables,)
            The point.

        Returns
        -------
        ndarray, shape (n_variables,)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        return self.value_and_grad(x)[1]

    def jvp(self, x: ArrayLike, h: ArrayLike) -> float:
        """Return the directional derivative, the gradient times h.

        Parameters
        ----------
        x, h : array_like, shape (n_variables,)
            The point and the direction.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            Where x or h does not fit.
        """
        return float(self.grad(x) @ self._vector("h", h))

    def vjp(self, x: ArrayLike, ybar: float) -> Array:
        """Return ȳ times the gradient.

        Parameters
        ----------
        x : array_like, shape (n_variables,)
            The point.
        ybar : float
            The cotangent of the value.

        Returns
        -------
        ndarray, shape (n_variables,)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        return self.grad(x) * self.dtype.type(ybar)


class LeastSquares(_OfVectorToNumber):
    """f1(x) = ½‖Ax − b‖², whose gradient is A^T(Ax − b).

    A dense A is read once for the value and the gradient (`value_and_grad`), and once for the
    product with the Hessian A^T A, where the formulas read it twice.

    Parameters
    ----------
    A : array_like or SciPy sparse array, shape (m, n)
        float32 or float64. Taken as it is where it is in C order (CSR where sparse), and copied
        otherwise.
    b : array_like, shape (m,)
        Converted to A's dtype where nothing is lost.

    Attributes
    ----------
    A, b : ndarray or sparse array
        The data.
    n_variables : int
        n.
    dtype : dtype
        Of x and of all results.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit each other or lose information.

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
        self.dtype = np.dtype(self.A.dtype)
        m, self.n_variables = self.A.shape
        self.b = boundary.parameters(b, m, self.dtype, check_finite=False, name="b")
        self._sparse = not isinstance(self.A, np.ndarray)
        self._places: tuple[int, int] = (0, 0)
        if not self._sparse:
            self._places = (self.A.ctypes.data, self.b.ctypes.data)
        self._entry: Callable[..., float] | None = None

    def __repr__(self) -> str:
        m, n = self.A.shape
        return f"<LeastSquares: {m} × {n}{', sparse' if self._sparse else ''}, {self.dtype}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.A, self.b)

    def value(self, x: ArrayLike) -> float:
        """Return ½‖Ax − b‖².

        Parameters
        ----------
        x : array_like, shape (n,)
            The point.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        x = self._vector("x", x)
        if self._sparse:
            r = self.A @ x - self.b
            return 0.5 * float(r @ r)
        return self._run(self._places[1], x, None)

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """Return ½‖Ax − b‖² and A^T(Ax − b).

        Parameters
        ----------
        x : array_like, shape (n,)
            The point.

        Returns
        -------
        value : float
        gradient : ndarray, shape (n,)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        x = self._vector("x", x)
        if self._sparse:
            r = self.A @ x - self.b
            return 0.5 * float(r @ r), self.A.T @ r
        g = np.empty(self.n_variables, self.dtype)
        return self._run(self._places[1], x, g), g

    def hvp(self, x: ArrayLike, h: ArrayLike) -> Array:
        """Return A^T A h.

        Parameters
        ----------
        x : array_like, shape (n,)
            The point; the Hessian is the same at all.
        h : array_like, shape (n,)
            The direction.

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        TypeError, ValueError
            Where x or h does not fit.
        """
        self._vector("x", x)
        h = self._vector("h", h)
        if self._sparse:
            return self.A.T @ (self.A @ h)
        product = np.empty(self.n_variables, self.dtype)
        self._run(0, h, product)
        return product

    def _run(self, b: int, x: Array, g: Array | None) -> float:
        """Run the kernel with the residual Ax − b; `b` is an address, or 0."""
        entry = self._entry
        if entry is None:
            from ..kernels.calculus import least_squares_unit

            entry = self._entry = least_squares_unit(self.dtype).entry
        m, n = self.A.shape
        return entry(self._places[0], m, n, b, x, g, g is not None)


class Affine(_OfVector):
    """f2(x) = Bx + c, whose Jacobian is B.

    Parameters
    ----------
    B : array_like or SciPy sparse array, shape (p, n)
        float32 or float64.
    c : array_like, shape (p,)
        Converted to B's dtype where nothing is lost.

    Attributes
    ----------
    B, c : ndarray or sparse array
        The data.
    n_variables : int
        n.
    dtype : dtype
        Of x and of all results.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit each other or lose information.

    Examples
    --------
    >>> import numpy as np
    >>> f2 = Affine([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]], [1.0, 1.0, 1.0])
    >>> f2.value(np.array([1.0, 0.0])), f2.vjp(np.array([1.0, 0.0]), np.array([1.0, 0.0, 2.0]))
    (array([2., 1., 2.]), array([3., 2.]))
    """

    def __init__(self, B: Any, c: ArrayLike) -> None:
        self.B = _matrix("B", B)
        self.dtype = np.dtype(self.B.dtype)
        p, self.n_variables = self.B.shape
        self.c = boundary.parameters(c, p, self.dtype, check_finite=False, name="c")

    def __repr__(self) -> str:
        p, n = self.B.shape
        sparse = "" if isinstance(self.B, np.ndarray) else ", sparse"
        return f"<Affine: {p} × {n}{sparse}, {self.dtype}>"

    def value(self, x: ArrayLike) -> Array:
        """Return Bx + c.

        Parameters
        ----------
        x : array_like, shape (n,)
            The point.

        Returns
        -------
        ndarray, shape (p,)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        return self.B @ self._vector("x", x) + self.c

    def grad(self, x: ArrayLike) -> Any:
        """Return the Jacobian, which is B: SciPy's `jac` of a vector function.

        Parameters
        ----------
        x : array_like, shape (n,)
            The point; the Jacobian is the same at all.

        Returns
        -------
        ndarray or sparse array, shape (p, n)
            B itself, no copy.

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        self._vector("x", x)
        return self.B

    def value_and_grad(self, x: ArrayLike) -> tuple[Array, Any]:
        """Return Bx + c and B.

        Parameters
        ----------
        x : array_like, shape (n,)
            The point.

        Returns
        -------
        value : ndarray, shape (p,)
        jacobian : ndarray or sparse array, shape (p, n)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        return self.value(x), self.B

    def __call__(self, x: ArrayLike) -> tuple[Array, Any]:
        """Return `value_and_grad`: what SciPy's `root` calls a function with ``jac=True``."""
        return self.value_and_grad(x)

    def jvp(self, x: ArrayLike, h: ArrayLike) -> Array:
        """Return B h.

        Parameters
        ----------
        x, h : array_like, shape (n,)
            The point and the direction.

        Returns
        -------
        ndarray, shape (p,)

        Raises
        ------
        TypeError, ValueError
            Where x or h does not fit.
        """
        self._vector("x", x)
        return self.B @ self._vector("h", h)

    def vjp(self, x: ArrayLike, ybar: ArrayLike) -> Array:
        """Return B^T ȳ.

        Parameters
        ----------
        x : array_like, shape (n,)
            The point.
        ybar : array_like, shape (p,)
            The cotangent of the value.

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        TypeError, ValueError
            Where x or ybar does not fit.
        """
        self._vector("x", x)
        return self.B.T @ self._vector("ybar", ybar, self.B.shape[0])

    def hvp(self, x: ArrayLike, h: ArrayLike) -> Array:
        """Return the Hessian of ȳ·f2 times h: zero for every ȳ.

        Parameters
        ----------
        x, h : array_like, shape (n,)
            The point and the direction.

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        TypeError, ValueError
            Where x or h does not fit.
        """
        self._vector("x", x)
        return np.zeros_like(self._vector("h", h))


class Factorization(_OfVectorToNumber):
    """f3(P, Q) = ½‖M − PQ‖² (Frobenius), as a function of the flat vector (P, Q).

    The gradient is −(M − PQ)Q^T by P and −P^T(M − PQ) by Q. The m × n residual never exists:
    tiles of it are used while they are in the caches.

    Parameters
    ----------
    M : array_like, shape (m, n)
        float32 or float64. Taken as it is where it is in C order, and copied otherwise.
    rank : int
        k, the columns of P and the rows of Q.

    Attributes
    ----------
    M : ndarray, shape (m, n)
        The data.
    rank : int
        k.
    n_variables : int
        (m + n) k.
    dtype : dtype
        Of x and of all results.

    Raises
    ------
    TypeError, ValueError
        For an M that is no matrix of numbers, or a rank that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> f3 = Factorization([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]], rank=1)
    >>> x = np.array([1.0, 2.0, 0.0, 1.0, 2.0])
    >>> P, Q = f3.split(x)
    >>> P @ Q
    array([[1., 2.],
           [2., 4.],
           [0., 0.]])
    >>> value, gradient = f3(x)
    >>> value, (gradient + 0.0).tolist()
    (0.5, [0.0, 0.0, -2.0, 0.0, 0.0])
    """

    def __init__(self, M: ArrayLike, rank: int) -> None:
        if hasattr(M, "tocsr"):
            raise TypeError(
                "M must be dense, since all entries of M − PQ count; got a sparse array"
            )
        if not isinstance(rank, int | np.integer) or isinstance(rank, bool) or rank < 1:
            raise ValueError(f"rank must be a positive integer; got {rank!r}")
        self.M = _matrix("M", M)
        self.dtype = self.M.dtype
        self.rank = int(rank)
        self.n_variables = sum(self.M.shape) * self.rank
        self._call: Callable[..., float] | None = None

    def __repr__(self) -> str:
        m, n = self.M.shape
        return f"<Factorization: {m} × {n} of rank {self.rank}, {self.dtype}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.M, self.rank)

    def split(self, x: NDArray) -> tuple[Array, Array]:
        """Return P and Q as views of x.

        Parameters
        ----------
        x : ndarray, shape ((m + n) k,)
            P, row by row, then Q.

        Returns
        -------
        P : ndarray, shape (m, k)
        Q : ndarray, shape (k, n)

        Raises
        ------
        ValueError
            Where x has another shape.
        """
        if np.shape(x) != (self.n_variables,):
            raise ValueError(f"x must have shape ({self.n_variables},); got {np.shape(x)}")
        x = np.asarray(x)
        m, n = self.M.shape
        k = self.rank
        return x[: m * k].reshape(m, k), x[m * k :].reshape(k, n)

    def value(self, x: ArrayLike) -> float:
        """Return ½‖M − PQ‖².

        Parameters
        ----------
        x : array_like, shape ((m + n) k,)
            (P, Q).

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        return self._run(0, self._vector("x", x), None, None)

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """Return ½‖M − PQ‖² and its gradient by (P, Q).

        Parameters
        ----------
        x : array_like, shape ((m + n) k,)
            (P, Q).

        Returns
        -------
        value : float
        gradient : ndarray, shape ((m + n) k,)

        Raises
        ------
        TypeError, ValueError
            Where x does not fit.
        """
        g = np.empty(self.n_variables, self.dtype)
        return self._run(1, self._vector("x", x), None, g), g

    def hvp(self, x: ArrayLike, h: ArrayLike) -> Array:
        """Return the Hessian at (P, Q) times h = (Ṗ, Q̇).

        Parameters
        ----------
        x, h : array_like, shape ((m + n) k,)
            The point and the direction.

        Returns
        -------
        ndarray, shape ((m + n) k,)

        Raises
        ------
        TypeError, ValueError
            Where x or h does not fit.
        """
        product = np.empty(self.n_variables, self.dtype)
        self._run(2, self._vector("x", x), self._vector("h", h), product)
        return product

    def _run(self, what: int, x: Array, h: Array | None, g: Array | None) -> float:
        """Run the kernel: the value alone (0), with the gradient (1), with the Hessian (2)."""
        call = self._call
        if call is None:
            call = self._call = self._prepared()
        return call(x, h, g, what)

    def _prepared(self) -> Callable[..., float]:
        from ..kernels._products import copy_unit, pack_unit, product_unit
        from ..kernels.calculus import factorization_unit

        entry = factorization_unit(self.dtype).entry
        units = [unit(self.dtype).address for unit in (product_unit, copy_unit, pack_unit)]
        fixed = (*units, self.M.ctypes.data, *self.M.shape, self.rank)
        return lambda x, h, g, what: entry(*fixed, x, h, g, what)
