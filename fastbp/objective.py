"""Objective: a network, data and a loss bound together, as a function of w alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import _boundary as boundary
from ._lock import LOCK
from .losses import Loss, get_loss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ._described import Described
    from .kernels.calls.objective import Bound


class Rows(Protocol):
    """Observations and targets that are elsewhere, and bound there: a `fastbp.Source`."""

    def objective_of(self, net: Any, loss: str | Loss, l2: ArrayLike, threads: int | str) -> Any:
        """Return what `Network.objective` does."""


class Objective(boundary.Fixed):
    """The mean loss of a network on fixed data, as a function of w: made by `Network.objective`.

    The data are checked and packed once, and the workspace is owned, so that a call costs what
    the arithmetic costs. X, t and sample weights of up to 16 MiB are copied: later changes to the
    caller's arrays have no effect. Larger ones, a memmap too, are read where they are, and are
    not to be changed meanwhile; the bits are the same. SciPy takes it as it is.

    Several threads may call one Objective at once: the second allocates a workspace of its own.

    Attributes
    ----------
    net : Network
        The network. (None of these can be set: make another objective.)
    X, t, sample_weight, target_weight : ndarray
        The data (read-only; copies where they are small); the weights may be None. Classes have
        become probabilities, unless these would take more than 4 MiB of data that stay where they
        are.
    loss : Loss
        ℓ.
    l2 : float or ndarray, shape (P,)
        λ of the penalty ½ Σ_j λ_j w_j²: one for all parameters, or one for each (read-only).
    threads : int
        Threads of each call; 0 for "auto".

    Notes
    -----
    All calls take w, and some a direction p in w, as array_like of shape (P,), and raise TypeError
    or ValueError where one does not fit.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> net = fastbp.Network(2, 1, activations="square", output="identity")
    >>> objective = net.objective([[1.0, 1.0], [0.0, 1.0]], [4.0, 2.0])
    >>> objective(np.array([0.5, 1.0, 2.0]))
    (0.0625, array([2.25, 0.75, 0.75]))
    """

    __slots__ = (
        "X", "_bound", "_loss", "_loss_and_grad", "l2", "loss", "net", "sample_weight", "t",
        "target_weight", "threads",
    )  # fmt: skip

    net: Any
    X: NDArray
    t: NDArray
    sample_weight: NDArray | None
    target_weight: NDArray | None
    loss: Loss
    l2: float | NDArray
    threads: int
    _bound: Bound
    _loss: Callable | None
    _loss_and_grad: Callable | None

    def __init__(
        self,
        net: Described,
        X: ArrayLike,
        t: ArrayLike,
        *,
        loss: str | Loss = "squared",
        sample_weight: ArrayLike | None = None,
        target_weight: ArrayLike | None = None,
        l2: ArrayLike = 0.0,
        threads: int | str = 1,
        check_finite: bool = False,
    ) -> None:
        with LOCK:
            from .kernels.calls.objective import Bound
            from .kernels.calls.prepared import prepared
            from .kernels.machine.sizes import is_packed

        ell = get_loss(loss)
        X, t, c = boundary.loss_data(net, ell, X, t, sample_weight, check_finite=check_finite)
        self.net = net
        copied = is_packed(len(X), net.n_inputs, net.n_outputs, net.dtype.itemsize)
        if copied:
            t = np.asarray(t)
        is_array = isinstance(t, np.ndarray)
        self.X = _kept(X, copied)
        self.t = _kept(t.classes if isinstance(t, boundary.ClassRows) else t, copied)
        self.sample_weight = None if c is None else _kept(c, copied)
        tau = boundary.target_weight(target_weight, net.n_outputs, net.dtype)
        self.target_weight = None if tau is None else _kept(tau)
        self.loss = ell
        self.l2 = boundary.penalty(l2, net.n_params)
        self.threads = boundary.thread_count(threads)
        self._bound = Bound(
            net, prepared(net), self.X, self.t if is_array else t, self.sample_weight, ell,
            self.l2, self.threads, self.target_weight,
        )  # fmt: skip
        one = self.threads == 1 and is_array
        self._loss = self._bound.loss if one else None
        self._loss_and_grad = self._bound.loss_and_grad if one else None

    def __reduce__(self) -> tuple:
        c, tau = self.sample_weight, self.target_weight
        return _rebuilt, (self.net, self.X, self.t, self.loss, c, self.l2, self.threads, tau)

    def __repr__(self) -> str:
        B = len(self.X)
        l2 = "of each parameter" if isinstance(self.l2, np.ndarray) else f"{self.l2:g}"
        terms = f"loss {self.loss.name!r}, l2 {l2}"
        return f"<Objective of {self.net!r} on {B} observations, {terms}>"

    def __call__(self, w: ArrayLike, *, out: NDArray | None = None) -> tuple[float, NDArray]:
        """Loss and gradient.

        Parameters
        ----------
        w : array_like, shape (P,)
        out : ndarray, shape (P,), optional
            Filled with the gradient and returned; nothing is allocated then.

        Returns
        -------
        loss : float
        gradient : ndarray, shape (P,)
        """
        call = self._loss_and_grad
        if call is not None:
            try:
                return call(w, out)
            except boundary.Refused:
                pass
        given = (w, self.X, self.t, self.sample_weight)
        w = self._parameters("w", w)
        gradient = boundary.output(out, w.shape, self.net.dtype, given)
        return self._bound.evaluate(w, gradient), gradient

    def value(self, w: ArrayLike) -> float:
        """Loss alone.

        Returns
        -------
        loss : float
        """
        if self._loss is not None:
            try:
                return self._loss(w)
            except boundary.Refused:
                pass
        return self._bound.evaluate(self._parameters("w", w), None)

    def hvp(self, w: ArrayLike, p: ArrayLike) -> NDArray:
        """Hessian times p: SciPy's `hessp`.

        Returns
        -------
        product : ndarray, shape (P,)
        """
        return self._product(self.net.hvp, w, p)

    def gauss_newton_product(self, w: ArrayLike, p: ArrayLike) -> NDArray:
        """Gauss–Newton matrix (l2 included) times p.

        Returns
        -------
        product : ndarray, shape (P,)
        """
        return self._product(self.net.gauss_newton_product, w, p)

    def gauss_newton(self, w: ArrayLike) -> tuple[float, NDArray, NDArray]:
        """Loss, gradient and Gauss–Newton matrix, l2 included in all three.

        Returns
        -------
        loss : float
        gradient : ndarray, shape (P,)
        matrix : ndarray, shape (P, P)
        """
        w = self._parameters("w", w)
        loss, gradient, matrix = self.net.gauss_newton(
            w,
            self.X,
            self.t,
            loss=self.loss,
            sample_weight=self.sample_weight,
            target_weight=self.target_weight,
            threads=self.threads or "auto",
        )
        return loss + add_penalty(self.l2, w, gradient, matrix), gradient, matrix

    def _product(self, call: Callable, w: ArrayLike, p: ArrayLike) -> NDArray:
        w, p = self._parameters("w", w), self._parameters("p", p)
        c, threads = self.sample_weight, self.threads or "auto"
        weights = {"sample_weight": c, "target_weight": self.target_weight}
        product = call(w, self.X, self.t, p, loss=self.loss, **weights, threads=threads)
        if _is_penalised(self.l2):
            product += self.l2 * p
        return product

    def _parameters(self, name: str, value: ArrayLike) -> NDArray:
        net = self.net
        return boundary.parameters(value, net.n_params, net.dtype, check_finite=False, name=name)


def penalty(l2: float | NDArray, w: NDArray) -> float:
    """½ Σ_j λ_j w_j²."""
    if isinstance(l2, np.ndarray):
        return 0.5 * float((l2 * w) @ w)
    return 0.5 * l2 * float(w @ w)


def _is_penalised(l2: float | NDArray) -> bool:
    return isinstance(l2, np.ndarray) or l2 != 0.0


def add_penalty(l2: float | NDArray, w: NDArray, gradient: NDArray, matrix: NDArray) -> float:
    """Add the penalty's derivatives to a gradient and a matrix of second ones; return it."""
    if not _is_penalised(l2):
        return 0.0
    gradient += l2 * w
    matrix[np.diag_indices_from(matrix)] += l2
    return penalty(l2, w)


def _kept(array: NDArray, copied: bool = True) -> NDArray:
    """The caller's data, copied so that nobody changes them or only looked at."""
    kept = array.copy() if copied else array.view()
    kept.flags.writeable = False
    return kept


def _rebuilt(
    net: Described,
    X: NDArray,
    t: NDArray,
    loss: Loss,
    c: NDArray | None,
    l2: float | NDArray,
    threads: int,
    target_weight: NDArray | None = None,
) -> Objective:
    """Make an objective again from what `Objective.__reduce__` stores."""
    return Objective(
        net, X, t, loss=loss, sample_weight=c, target_weight=target_weight, l2=l2,
        threads=threads or "auto",
    )  # fmt: skip
