"""What a fit returns: the parameters, and all that can be asked of them."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _boundary as boundary
from .. import _html as html
from .. import _plots as plots
from .._lock import cached_property
from ..losses import family
from ..network import Network
from ..optimizers import MOST_OF_LEVENBERG
from . import uncertainty
from .choose import L2Path
from .report import FitReport, report_of
from .watch import CONVERGED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLOTTED = 200  # points of a line


@dataclass(frozen=True, repr=False, eq=False)
class FitResult:
    """What `fastbp.fit` returns.

    Observations are kept, not copied: the covariance, the report and all that is made of them are
    found where they are first asked for, and refused where the arrays have been written to by then,
    or a `Source` yields other rows; so they are where `w` has been written to.

    Attributes
    ----------
    net : Network
        The network.
    w : ndarray, shape (P,)
        The parameters: those of the best validation loss where there was validation, else the
        last.
    loss : float
        Training loss at w, the penalty included.
    validation_loss : float or None
        The best, without penalty; the start's is among them.
    history : dict of str to ndarray
        One entry an epoch or iteration: "loss", and "validation_loss" where there is one. The
        loss of a stochastic epoch is the mean over its batches, each before its update.
    reason : str
        Why it stopped, or that an earlier step is kept, which validates better than what converged.
    n_evaluations : int
        Gradients of a batch, or evaluations of all observations.
    warnings : tuple of str
        What speaks against the fit, as in the `FitWarning` of each.
    l2 : float or None
        λ, where ``l2="auto"`` chose it.
    l2_path : tuple (l2, loss, error) of ndarray, or None
        The penalties it was chosen from, the largest first, the mean loss of what was held out at
        each, and its standard error.
    """

    net: Network
    w: NDArray
    loss: float
    validation_loss: float | None
    history: dict[str, NDArray]
    reason: str
    n_evaluations: int
    data: uncertainty.Data
    warnings: tuple[str, ...] = ()
    l2: float | None = None
    l2_path: L2Path | None = None

    def __repr__(self) -> str:
        steps = len(self.history["loss"])
        return f"<FitResult: loss {self.loss:.6g} after {steps} steps; {self.reason}>"

    def _repr_html_(self) -> str:
        rows = [
            ("network", repr(self.net)),
            (f"{self.data.loss.name} loss", f"{self.loss:.6g}"),
            ("steps", str(len(self.history["loss"]))),
            ("ended", self.reason),
        ]
        if self.l2 is not None:
            rows.insert(2, ("l2, chosen", f"{self.l2:.3g}"))
        if self.validation_loss is not None:
            rows.insert(2, ("validation loss", f"{self.validation_loss:.6g}"))
        return html.table("FitResult", rows)

    @property
    def converged(self) -> bool:
        """Whether w is a stationary point: where nothing was left to gain."""
        return self.reason.startswith(CONVERGED)

    @cached_property
    def _spread(self) -> uncertainty.Spread:
        self.data.check_unchanged()
        return uncertainty.spread(self.net, self.w, self.data)

    @cached_property
    def _report(self) -> FitReport:
        self.data.check_unchanged()
        return report_of(
            self.net, self.w, self.data, lambda: self._spread,
            loss=self.loss, reason=self.reason, l2=self.l2, warnings=self.warnings,
        )  # fmt: skip

    @property
    def covariance(self) -> NDArray:
        """Covariance of the parameters, (P, P), as `predict` uses it.

        Zero where not free; infinite, with a `FitWarning`, in rows and columns of parameters that
        neither the data nor a penalty determine. Without a penalty, those are all output weights
        of a softmax, as y stays the same where one number is added to the K of a neuron.
        """
        return uncertainty.covariance(self._intervals(), self.data.free)

    def _intervals(self) -> uncertainty.Spread:
        """Return what intervals need, where w is what was fitted."""
        uncertainty.check_parameters(self.w, self.data.mark_of_w)
        return self._spread

    def report(self) -> FitReport:
        """Return how good the fit is, and the parameters with their standard errors.

        Returns
        -------
        report : FitReport
            It prints as text, and a notebook shows it as tables.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> X = np.column_stack([[-1.0, 0.0, 1.0, 2.0], np.ones(4)])
        >>> net = fastbp.Network(2, activations=["identity"], output="identity")
        >>> w0, free = [1.0, 0.0, 0.0], [False, True, True]
        >>> report = fastbp.fit(net, X, [0.1, 0.9, 2.1, 2.9], w0=w0, free=free).report()
        >>> round(report.r2, 4), report.standard_errors.round(4)
        (0.9931, array([0.    , 0.0566, 0.0693]))
        """
        uncertainty.check_parameters(self.w, self.data.mark_of_w)
        return self._report

    def predict(
        self, X: ArrayLike, *, return_std: bool = False, noise: bool = False, threads: int | str = 1
    ) -> Any:
        """Evaluate the fitted function, and on request its standard deviation.

        Parameters
        ----------
        X : array_like, shape (B, N) or (N,)
            Observations, or one.
        return_std : bool
            Also return the standard deviation by the delta method, √(∇f^T C ∇f), where C is the
            covariance of the parameters at the optimum.
        noise : bool
            That of a new observation of mean weight, the function's own and the noise's together.
        threads : int or "auto"
            Threads to use for the values.

        Returns
        -------
        y : ndarray, shape (B,), or float; where K > 1, (B, K) or (K,)
            The network's output: of the loss poisson the log rate, whose exponential is the rate.
        std : ndarray, of the shape of y, or float
            Only with `return_std`. An interval of 90 % is y ± 1.645 std. Infinite where y depends
            on what neither the data nor a penalty determine.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit; `noise` without `return_std`, or with a loss that defines none;
            with `return_std`, a loss without curvature.

        Warns
        -----
        FitWarning
            Where a deviation is infinite, the noise is estimated from less than one observation, or
            parameters on their bounds are taken as known.

        Notes
        -----
        C is A⁻¹ S A⁻¹ with M = Σ_b c_b ℓ''_b ∇f_b ∇f_b^T, A = M + Σ_b c_b l2 I and weights c of
        mean one: S is s² M for the squared loss, with s² = Σ_b c_b r_b² / (n − tr(A⁻¹ M)); M for
        cross_entropy and poisson, which are likelihoods; Σ_b (c_b ℓ'_b)² ∇f_b ∇f_b^T for the
        others. With `absolute_sigma`, c is what was given and s² is one.

        Of K outputs M = Σ_k M_k is the sum over them, M_k having the rows ∇f_bk. The squared loss
        has a noise variance for each, s_k² = Σ_b c_b r_bk² / (n − tr(A⁻¹ M_k)); what is common to
        the noise of one observation is taken into account: S = Σ_b c_b J_b^T Σ̂ J_b, where
        Σ̂_kl = Σ_b c_b r_bk r_bl / √((n − tr(A⁻¹ M_k)) (n − tr(A⁻¹ M_l))). The last S is that of
        the gradients Σ_k ℓ'_bk ∇f_bk. On a softmax, M of cross_entropy is Fisher's information
        Σ_b c_b J_b^T (diag(y_b) − y_b y_b^T) J_b with J_b = ∂s/∂w.

        Right where the fit is at an optimum, with more observations than parameters, as the
        number of observations grows. With l2 it describes the scatter about the penalised
        optimum, not the bias that the penalty brings.

        References
        ----------
        J. T. G. Hwang, A. A. Ding: Prediction intervals for artificial neural networks, JASA 92
        (1997). I. Rivals, L. Personnaz: Construction of confidence intervals for neural networks
        based on least squares estimation, Neural Networks 13 (2000). With a penalty: R. D. De
        Veaux, J. Schumi, J. Schweinsberg, L. H. Ungar: Prediction intervals for neural networks
        via nonlinear regression, Technometrics 40 (1998). Σ̂: A. Zellner: An efficient method of
        estimating seemingly unrelated regressions, JASA 57 (1962); A. R. Gallant: Seemingly
        unrelated nonlinear regressions, Journal of Econometrics 3 (1975).
        """
        return uncertainty.predicted(
            self.net, self.w, X, self._intervals, return_std=return_std, noise=noise,
            threads=threads,
        )  # fmt: skip

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the history of the losses; where there is validation, its least one is marked.

        All plots take matplotlib axes, or None for a new figure, and return them; without
        matplotlib (``pip install fastbp[plot]``) they raise ImportError.
        """
        penalty = " with penalty" if np.any(self.data.l2) else ""
        shown: dict[str, Any] = {f"training{penalty}": self.history["loss"]}
        if "validation_loss" in self.history:
            shown["validation"] = self.history["validation_loss"]
        ax = plots.axes(ax)
        steps = np.arange(1, len(self.history["loss"]) + 1)
        plots.losses(ax, steps, shown, f"{self.data.loss.name} loss")
        return ax

    def plot_prediction(
        self, X: ArrayLike, column: int, ax: Axes | None = None, *, level: float = 0.9
    ) -> Axes:
        """Plot the function over one input, the others at their medians, with its interval.

        Parameters
        ----------
        X : array_like, shape (B, N)
            Observations: between which values to draw, and where the medians are.
        column : int
            The input, from 0; from the last with -1.
        ax : matplotlib axes, optional
            As for `plot`.
        level : float
            Of the interval of the function, `predict` ± a multiple of its deviation. There is none
            where the loss has no curvature, nor where the data do not determine the function.

        Returns
        -------
        ax : matplotlib axes
            With what was fitted as points where no other input varies in X, and it is here.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit, the column is none of its N, or the level not between 0 and 1.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> X = np.column_stack([np.linspace(-1.0, 1.0, 50), np.ones(50)])
        >>> result = fastbp.fit(fastbp.Network(2, 6, output="identity"), X, X[:, 0] ** 2)
        >>> ax = result.plot_prediction(X, 0)  # doctest: +SKIP
        """
        N, dtype = self.net.n_inputs, self.net.dtype
        given, _ = boundary.observations(X, N, dtype, check_finite=True)
        if not boundary.is_integer(column) or not -N <= column < N:
            raise ValueError(f"column must be one of {N} inputs, from 0 on; got {column!r}")
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be a number between 0 and 1; got {level!r}")
        if not len(given):
            raise ValueError("X must hold observations; it has none")
        x = np.linspace(given[:, column].min(), given[:, column].max(), _PLOTTED)
        at = np.tile(np.median(given, axis=0), (_PLOTTED, 1))
        at[:, column] = x
        try:
            y, std = self.predict(at, return_std=True)
        except ValueError:  # a loss without curvature
            y, std = self.predict(at), None
        others = np.delete(given, column, axis=1)
        alone = bool((others == others[0]).all())
        points = None
        if alone and not self.data.far:
            fitted = self.data.taken()
            points = fitted.X[:, column], fitted.t
        within = (0.0, 1.0) if family(self.data.loss) == "cross_entropy" else (-np.inf, np.inf)
        return plots.prediction(plots.axes(ax), x, y, std, level, column % N, points, within)

    def plot_l2_path(self, ax: Axes | None = None) -> Axes:
        """Plot the loss of what was held out over the penalties that ``l2="auto"`` looked at.

        With one standard error either way, and the penalty chosen; a ValueError where none was.
        `ax` is as for `plot`.
        """
        if self.l2_path is None or self.l2 is None:
            raise ValueError('there is a path where l2="auto" chose the penalty; here it was given')
        name = f"{self.data.loss.name} loss of what was held out"
        return plots.l2_path(plots.axes(ax), *self.l2_path, self.l2, name)


def spread_of(result: FitResult) -> uncertainty.Spread:
    """Return what the intervals of a fit need."""
    return result._intervals()


def has_intervals(result: FitResult) -> bool:
    """Return whether a fit has them: its loss has a curvature, and all is finite."""
    try:
        return bool(np.isfinite(result._intervals().factor).all())
    except ValueError:
        return False


def without_data(result: FitResult) -> FitResult:
    """Return a fit with what its intervals need in place of its observations.

    That is at most 8 P (F + 1) bytes for F free parameters, twice that where the data do not
    determine them. It is found for up to as many parameters as Levenberg–Marquardt is the default
    for, and for more where it was asked for before.
    """
    spread = result.__dict__.get("_spread")
    if spread is None and result.net.n_params <= MOST_OF_LEVENBERG:
        with suppress(ValueError):
            spread = result._spread
    data = result.data
    X, t = data.X[:0], data.t[:0]
    none = replace(data, X=X, t=t, sample_weight=None, rows=None, elsewhere=None)
    bare = replace(result, data=none)
    if spread is not None:
        bare.__dict__["_spread"] = spread
    return bare


def let_go(result: FitResult, intervals: bool) -> FitResult:
    """Return a fit whose observations elsewhere may go; asked before, for its intervals."""
    left = replace(result, data=replace(result.data, elsewhere=None))
    if intervals:
        try:
            left.__dict__["_report"] = result.report()  # of losses without curvature too
            left.__dict__["_spread"] = result._spread
        except (Exception, KeyboardInterrupt) as error:  # the fit is not to be lost
            nothing = "no intervals" if "_report" in left.__dict__ else "no intervals and no report"
            message = f"the fit has {nothing}: {error or type(error).__name__}"
            warnings.warn(message, uncertainty.FitWarning, stacklevel=3)
    return left
