"""Fits of observations on a Dask cluster, with the bits of a fit on one machine.

Needs ``pip install 'fastbp[dask]'``; ``import fastbp`` does not import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

try:
    from distributed import Client
except ImportError as error:  # pragma: no cover
    raise ImportError("fastbp.dask needs Dask: pip install 'fastbp[dask]'") from error

from . import _boundary as boundary
from ._dask.session import asks_for_matrices, session
from ._training import fit as local
from ._training.doubts import warn
from ._training.given import check_network, said_of, same_columns
from ._training.result import FitResult, let_go
from ._training.watch import EarlyStopping, FitState
from .losses import Loss, family, get_loss
from .network import Network
from .optimizers import ByBatches, Optimizer, get_optimizer

if TYPE_CHECKING:
    from ._dask.blocks import Blocks
    from ._dask.estimators import NetworkClassifier, NetworkRegressor

__all__ = ["NetworkClassifier", "NetworkRegressor", "fit"]


def fit(
    net: Network,
    X: Any,
    t: Any,
    *,
    client: Client | None = None,
    w0: ArrayLike | None = None,
    optimizer: str | Optimizer | None = None,
    loss: str | Loss = "squared",
    sample_weight: Any = None,
    l2: ArrayLike = 0.0,
    epochs: int | None = None,
    batch_size: int = 32,
    seed: int | np.random.Generator | None = 0,
    validation: tuple[Any, ...] | None = None,
    early_stopping: EarlyStopping | int | None = None,
    free: ArrayLike | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | str | None = None,
    callback: Callable[[FitState], Any] | None = None,
    progress: bool | str = "auto",
    intervals: bool = False,
    timeout: float = 60.0,
) -> FitResult:
    """Fit a network's parameters to observations on the workers of a cluster.

    As :func:`fastbp.fit`, with its bits: they depend on neither the number of workers nor the
    chunks, and stay the same where workers are lost or join.

    Parameters
    ----------
    net : Network
        The network.
    X : dask array or dataframe, shape (B, N)
        Observations, in chunks of any size. They are checked, cut anew and kept in the workers'
        memory during the fit, twice where w0 is left out and there is no penalty. Arrays that are
        here are sent, with a warning.
    t : dask array, series or dataframe, shape (B,) or (B, K)
        Targets.
    client : distributed.Client, optional
        The cluster's; if left out, the one there is. Inside a task its worker's, and the task
        gives its thread free while the fit lasts.
    w0, loss, l2, epochs, seed, early_stopping, free, bounds, callback, progress
        As :func:`fastbp.fit` has them.
    optimizer : str or Optimizer, optional
        As :func:`fastbp.fit`. SGD and Adam go through the rows in their order, and so from
        worker to worker: the bits are those of ``shuffle=False``.
    batch_size : int
        Rows of a batch of these: a power of two, or 48 times one.
    sample_weight : dask array or series, shape (B,), optional
        Weights from 0 on.
    validation : tuple, optional
        ``(X, t)`` or ``(X, t, sample_weight)`` like the others.
    intervals : bool
        Whether to find at the end, while the observations are there, what ``report()``,
        ``covariance`` and ``predict(X, return_std=True)`` take: about 4 B P² operations, and P²
        numbers from each worker. `FitWarning` says where that fails.
    timeout : float
        Seconds after which a worker that gives no sign of life ends the fit.

    Returns
    -------
    result : FitResult
        As :func:`fastbp.fit` returns it; it needs no cluster.

    Raises
    ------
    TypeError, ValueError
        As :func:`fastbp.fit`; a number that is not finite, with its row.
    RuntimeError
        Where workers make different machine code, and so other bits: NUMBA_CPU_NAME makes it one;
        where rows are lost that nobody can make again.
    TimeoutError
        Where a worker gives no sign of life, or there is none.

    Examples
    --------
    >>> import dask.array as da, fastbp, fastbp.dask
    >>> from distributed import Client
    >>> client = Client(processes=False, n_workers=2, dashboard_address=None)  # doctest: +SKIP
    >>> X = da.random.default_rng(0).normal(size=(10000, 3), chunks=(3000, 3))  # doctest: +SKIP
    >>> net = fastbp.Network(3, 4, output="identity")
    >>> result = fastbp.dask.fit(net, X, da.sin(X.sum(axis=1)))  # doctest: +SKIP
    """
    check_network(net)
    boundary.flag("intervals", intervals)
    if isinstance(l2, str):
        raise ValueError(f"on a cluster l2 is a number, or one for each parameter; got {l2!r}")
    ell = get_loss(loss)
    chosen = get_optimizer(optimizer, family(ell), net.n_params)
    by_matrix, batch = asks_for_matrices(chosen), None
    if isinstance(chosen, ByBatches):
        batch = boundary.positive("batch_size", 32 if batch_size is None else batch_size)
    options = {
        "w0": w0,
        "optimizer": chosen,
        "loss": ell,
        "l2": l2,
        "epochs": epochs,
        "batch_size": batch_size,
        "shuffle": False,
        "seed": seed,
        "early_stopping": early_stopping,
        "free": free,
        "bounds": bounds,
        "callback": callback,
        "progress": progress,
        "_quiet": True,
    }
    if validation is not None and not (isinstance(validation, tuple) and len(validation) in (2, 3)):
        raise TypeError(
            f"validation must be (X, t) or (X, t, sample_weight); got {type(validation).__name__}"
        )
    if not (isinstance(timeout, int | float | np.number) and timeout > 0.0):
        raise ValueError(f"timeout must be a number of seconds above 0; got {timeout!r}")
    with session(client) as here:

        def blocks(X: Any, t: Any, c: Any = None) -> Blocks:
            from ._dask.blocks import Blocks

            return Blocks(
                here, net, ell, X, t, c, by_matrix=by_matrix, batch=batch, timeout=timeout
            )

        rows: Any = blocks(X, t, sample_weight)
        held = None
        if validation is not None:
            with said_of("validation"):
                same_columns(X, t, validation)
                held = blocks(*validation)
        result = local.fit(net, rows, None, validation=held, **options)  # type: ignore[arg-type]
        warn([result.warnings], stacklevel=2)
        return let_go(result, intervals)


def __getattr__(name: str) -> Any:
    if name not in ("NetworkClassifier", "NetworkRegressor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._dask import estimators  # scikit-learn

    return getattr(estimators, name)
