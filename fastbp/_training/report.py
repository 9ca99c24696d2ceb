"""What a practitioner asks of a fit: how good it is, and how well its parameters are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastbp.losses as losses

from .. import _html as html
from .._parts import Rows, Statistic
from ..activations import softmax
from ..losses import LIKELIHOODS, OF_RESIDUALS, Loss, family
from ..network import Network, in_float64
from . import uncertainty

_SHOWN = 30  # parameters, and outputs; all are in the attributes


@dataclass(frozen=True, repr=False, eq=False)
class FitReport:
    """What `FitResult.report` returns: figures over what was fitted, None where not defined.

    Attributes
    ----------
    net : Network
        The network.
    loss_name : str
        ℓ.
    loss : float
        The loss at w, the penalty included.
    reason : str
        Why the fit ended.
    n_observations : int
        n, those whose weight is not zero.
    n_free : int
        Parameters that could move.
    n_effective : float or None
        k = tr(A⁻¹ M), A and M as `FitResult.predict` has them: with l2 = 0 the number of free
        parameters, or of those that the data determine (Hastie et al., 7.6).
    r2 : float, ndarray of shape (K,), or None
        R² = 1 − Σ c (t − y)² / Σ c (t − t̄)², t̄ the weighted mean; for losses of the residual. Where
        K > 1, of each output, NaN for one whose targets are constant.
    rmse : float, ndarray of shape (K,), or None
        √(Σ c (t − y)² / Σ c), for the same.
    residual_standard_error : float, ndarray of shape (K,), or None
        s = √(Σ c (t − y)² / (n − k)), c of mean one, for the squared loss: the deviation of an
        observation about the function. Where K > 1, k is each output's part of it. With
        `absolute_sigma`, √(n / Σ c).
    log_likelihood : float or None
        Of the normal distribution for the squared loss, with variances in the ratios 1/c and their
        scale the most likely one: −n/2 (1 + log(2π Σ c r² / n)) + ½ Σ log c; with `absolute_sigma`,
        of variances 1/c. For cross_entropy −Σ c ℓ, of the Bernoulli distribution, or on a softmax
        of that of the classes; for poisson −Σ c (ℓ + log t!), of Poisson's. Their c is of mean one,
        or with `absolute_sigma` as given. Where K > 1, the sum over the outputs, each with a scale
        of its own.
    aic, bic : float or None
        2 k − 2 log L (Akaike 1974) and k log n − 2 log L (Schwarz 1978), as statsmodels counts
        them: a scale that is estimated is no parameter.
    deviance, null_deviance : float or None
        2 Σ c (ℓ(y, t) − min_y ℓ(y, t)) for cross_entropy and poisson (McCullagh and Nelder, 2.3),
        and that of the best constant.
    pseudo_r2 : float or None
        McFadden's for these two: 1 − log L / log L_0, L_0 that of the best constant.
    l2 : float or None
        λ, where ``l2="auto"`` chose it, by held-out losses alone.
    log_evidence : float or None
        log ∫ p(t | w) p(w) dw about the optimum (Laplace), with the normal prior that l2 is, flat
        where that is 0, and the noise's variance s²: MacKay's (1992), by which penalties of one
        network compare. Of one output, for the squared loss and likelihoods.
    condition : float or None
        Largest by least singular value of the rows (c ℓ'')^½ ∇f, every column (with those of the
        penalty) scaled to length one (Belsley et al., ch. 3). Infinite where a free parameter is
        not determined; from about 1e8 on, standard errors lose digits.
    names : tuple of str
        w_i, and w_i,j, of equation (1); where K > 1, a_k,i and w_i,j.
    w : ndarray, shape (P,)
        The parameters.
    standard_errors : ndarray, shape (P,), or None
        √C_jj; zero where not free, infinite where not determined. None for a loss without
        curvature.
    free : ndarray of bool, shape (P,)
        Which could move.
    warnings : tuple of str
        What speaks against the fit, or against these figures.

    References
    ----------
    H. Akaike: A new look at the statistical model identification, IEEE Transactions on Automatic
    Control 19 (1974). G. Schwarz: Estimating the dimension of a model, Annals of Statistics 6
    (1978). D. McFadden: Conditional logit analysis of qualitative choice behavior (1974).
    P. McCullagh, J. A. Nelder: Generalized linear models (1989). D. A. Belsley, E. Kuh,
    R. E. Welsch: Regression diagnostics (1980). D. J. C. MacKay: Bayesian interpolation, Neural
    Computation 4 (1992). T. Hastie, R. Tibshirani, J. Friedman: The
    elements of statistical learning (2009).
    """

    net: Network
    loss_name: str
    loss: float
    reason: str
    n_observations: int
    n_free: int
    n_effective: float | None
    r2: float | NDArray | None
    rmse: float | NDArray | None
    residual_standard_error: float | NDArray | None
    log_likelihood: float | None
    aic: float | None
    bic: float | None
    deviance: float | None
    null_deviance: float | None
    pseudo_r2: float | None
    l2: float | None
    log_evidence: float | None
    condition: float | None
    names: tuple[str, ...]
    w: NDArray
    standard_errors: NDArray | None
    free: NDArray
    warnings: tuple[str, ...]

    @property
    def mean_r2(self) -> float | None:
        """R², the mean over the outputs whose targets vary; None where not defined."""
        each = None if self.r2 is None else np.atleast_1d(self.r2)
        return None if each is None or np.isnan(each).all() else float(np.nanmean(each))

    def __repr__(self) -> str:
        rows = self._figures()
        width = max(len(label) for label, _ in rows) + 2
        lines = [f"{label:{width}}{value}" for label, value in rows]
        for _, rest, *table in self._tables():
            lines += ["", *_aligned(table), *rest]
        if self.warnings:
            lines += ["", "warnings", *(f"- {text}" for text in self.warnings)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [html.table("FitReport", self._figures())]
        for title, rest, head, *rows in self._tables():
            parts.append(html.table(", ".join([title, *rest]), rows, head))
        if self.warnings:
            parts.append(html.bullets("Warnings", self.warnings))
        return "\n".join(parts)

    def _figures(self) -> list[tuple[str, str]]:
        effective = "" if self.n_effective is None else f", {self.n_effective:.6g} effective"
        several = self.net.n_outputs > 1
        figures = {
            "mean R²" if several else "R²": self.mean_r2,
            "RMSE": None if several else self.rmse,
            "residual standard error": None if several else self.residual_standard_error,
            "log-likelihood": self.log_likelihood,
            "AIC": self.aic,
            "BIC": self.bic,
            "deviance": self.deviance,
            "null deviance": self.null_deviance,
            "McFadden's pseudo-R²": self.pseudo_r2,
            "l2, chosen": self.l2,
            "log-evidence": self.log_evidence,
            "condition": self.condition,
        }
        return [
            ("network", repr(self.net)),
            ("loss", f"{self.loss_name}, {self.loss:.6g}"),
            ("ended", self.reason),
            ("observations", str(self.n_observations)),
            ("parameters", f"{self.n_free} free of {self.net.n_params}{effective}"),
            *((name, f"{value:.6g}") for name, value in figures.items() if value is not None),
        ]

    def _tables(self) -> list[tuple[Any, ...]]:
        """Return title, what is left out, head and rows of each, that of the outputs if K > 1."""
        figures = {
            "R²": self.r2,
            "RMSE": self.rmse,
            "residual standard error": self.residual_standard_error,
        }
        each = {name: value for name, value in figures.items() if isinstance(value, np.ndarray)}
        K = self.net.n_outputs if each else 0
        outputs = [
            (f"y_{k + 1}", *(f"{value[k]:.6g}" for value in each.values()))
            for k in range(min(K, _SHOWN))
        ]
        rows = []
        for k in range(min(len(self.w), _SHOWN)):
            error = "fixed" if not self.free[k] else ""
            if not error and self.standard_errors is not None:
                error = f"{self.standard_errors[k]:.4g}"
            rows.append((self.names[k], f"{self.w[k]:.6g}", error))
        of_parameters = ("parameter", "value", "standard error")
        more = _more(len(self.w), "names, w and standard_errors")
        tables: list[tuple[Any, ...]] = [("Parameters", more, of_parameters, *rows)]
        if each:
            tables.insert(0, ("Outputs", _more(K, "r2 and rmse"), ("output", *each), *outputs))
        return tables


def _more(n: int, where: str) -> list[str]:
    return [f"and {n - _SHOWN} more, in {where}"] if n > _SHOWN else []


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return a table as lines: names to the left, numbers to the right."""
    first, *others = ([*map(len, column)] for column in zip(*rows, strict=True))
    lines = []
    for name, *figures in rows:
        cells = [f"{x:>{max(n)}}" for x, n in zip(figures, others, strict=True)]
        lines.append("  ".join([f"{name:{max(first)}}", *cells]).rstrip())
    return lines


def report_of(
    net: Network,
    w: NDArray,
    data: uncertainty.Data,
    spread: Callable[[], uncertainty.Spread],
    *,
    loss: float,
    reason: str,
    l2: float | None,
    warnings: tuple[str, ...],
) -> FitReport:
    """Return the report of a fit, of which `spread` says what its intervals need."""
    weights = data.weights(net, w)
    exact = in_float64(net)
    at = uncertainty.At(exact, data.loss, w.astype(np.float64), weights.unit, np.arange(0))
    given: uncertainty.Spread | None = None
    said = list(warnings)
    try:
        given = spread()
    except ValueError as error:  # a loss without curvature
        said.append(str(error))
    found: dict[str, Any] = {}
    if given is not None:
        errors = found["standard_errors"] = uncertainty.standard_errors(given, data.free)
        unknown = int(np.isinf(errors).sum())
        said += uncertainty.doubts(given, f"{unknown} of the parameters" if unknown else "")
        if not math.isnan(given.effective):  # in a pickle of 0.1.0 they may be missing
            found |= {"condition": given.condition, "n_effective": given.effective}
        if given.noise is not None:
            s = math.sqrt(given.noise) if net.n_outputs == 1 else np.sqrt(given.noise)
            found["residual_standard_error"] = s
    found |= _of_residuals(data, at, weights, given)
    log_l, k = found.get("log_likelihood"), found.get("n_effective")
    if log_l is not None and k is not None:
        found["aic"] = 2.0 * k - 2.0 * log_l
        found["bic"] = math.log(weights.n) * k - 2.0 * log_l
    found |= {
        "net": net,
        "loss_name": data.loss.name,
        "loss": loss,
        "reason": reason,
        "n_observations": weights.n,
        "n_free": int(data.free.sum()),
        "l2": l2,
        "names": _names(net),
        "w": w.copy(),
        "free": data.free,
        "warnings": tuple(said),
    }
    # None for what this fit does not have.
    every: dict[str, Any] = {each.name: found.get(each.name) for each in fields(FitReport)}
    return FitReport(**every)


def _of_residuals(
    data: uncertainty.Data,
    at: uncertainty.At,
    weights: uncertainty.Weights,
    given: uncertainty.Spread | None,
) -> dict[str, Any]:
    """Return what y − t says: R² and its like, and of a likelihood how likely the fit is."""
    found: dict[str, Any] = {}
    net, n, total = at.net, weights.n, weights.sum
    (squares, targets, of_weights), least, largest = data.reduce(_sums, at)
    means = targets / total
    if family(data.loss) in OF_RESIDUALS:
        about = data.reduce(_about, at, means).sums[0]  # but for rounding
        found["r2"] = _r2(squares, np.where(least == largest, 0.0, about))
        rmse = np.sqrt(squares / total)
        found["rmse"] = float(rmse) if net.n_outputs == 1 else rmse
    if data.loss == losses.squared:
        known = data.absolute_sigma
        each = np.atleast_1d(squares).tolist()
        log_l = sum(_normal(some, of_weights, n, known=known) for some in each)
    elif family(data.loss) in LIKELIHOODS:
        joint = net.output is softmax and data.loss.fuses_with_softmax
        reached, least, constant = data.reduce(_likelihood, at, joint).sums
        null = total * float(np.sum(_least(data.loss, means, joint)))  # ℓ is linear in t
        log_l, null_log_l = -reached - constant, -null - constant
        found["deviance"] = 2.0 * (reached - least)
        found["null_deviance"] = 2.0 * (null - least)
        found["pseudo_r2"] = 1.0 - log_l / null_log_l if null_log_l else None
    else:
        return found
    found["log_likelihood"] = log_l
    if given is not None and net.n_outputs == 1:
        s2, of_data = 1.0, log_l
        if data.loss == losses.squared:
            s2 = 1.0 if data.absolute_sigma else float(given.noise or 0.0)
            of_weights -= 0.5 * n * math.log(s2) if s2 else 0.0
            of_data = _normal(float(squares) / s2, of_weights, n, known=True) if s2 else math.inf
        unit = total / s2 if s2 else math.inf
        found["log_evidence"] = _log_evidence(of_data, at.w, data, unit, s2, given)
    return found


def _r2(squares: Any, total: Any) -> Any:
    """Return R² of each output: None for the only one, or NaN, where its targets are constant."""
    if not np.ndim(total):
        return 1.0 - float(squares) / float(total) if total else None
    r2 = np.full(len(total), np.nan)
    return np.subtract(1.0, np.divide(squares, total, out=r2, where=total > 0.0))


def _sums(rows: Rows, at: uncertainty.At) -> Statistic:
    """Say Σ c r², Σ c t, ½ Σ log c, the least t and the largest."""
    _, t, c, y = at.of(rows)
    sums = c @ (t - y) ** 2, c @ t, 0.5 * float(np.log(c).sum())
    return Statistic(sums, t.min(0, initial=np.inf), t.max(0, initial=-np.inf))


def _about(rows: Rows, at: uncertainty.At, means: Any) -> Statistic:
    """Say Σ c (t − t̄)²."""
    _, t, c, _ = at.of(rows)
    return Statistic((c @ (t - means) ** 2,))


def _likelihood(rows: Rows, at: uncertainty.At, joint: bool) -> Statistic:
    """Say Σ c ℓ, the least it can be, and what the likelihood has beside it."""
    X, t, c, _ = at.of(rows)
    total, ell = float(c.sum()), at.loss
    if not total:
        return Statistic((0.0, 0.0, 0.0))
    # By the call, which takes a cross entropy from s where the output is logistic.
    reached = total * at.net.loss_and_grad(at.w, X, t, loss=ell, sample_weight=c)[0]
    constant = float(np.sum(c @ _log_factorial(t))) if ell == losses.poisson else 0.0
    return Statistic((reached, float(np.sum(c @ _least(ell, t, joint))), constant))


def _normal(squares: float, of_weights: float, n: int, *, known: bool) -> float:
    """Return log L of the normal distribution, of variances 1/c or the most likely multiples.

    `of_weights` is ½ Σ log c.
    """
    if known:
        return of_weights - 0.5 * (squares + n * math.log(2.0 * math.pi))
    if not squares:
        return math.inf
    return of_weights - 0.5 * n * (1.0 + math.log(2.0 * math.pi * squares / n))


def _log_evidence(
    log_l: float,
    w: NDArray,
    data: uncertainty.Data,
    precision: float,
    s2: float,
    given: uncertainty.Spread,
) -> float | None:
    """Return log L with the prior of a penalty and the posterior's volume; None without one."""
    l2 = np.broadcast_to(np.asarray(data.l2, np.float64), w.shape)[data.free]
    proper = l2 > 0.0
    if not (proper.any() and given.rank and math.isfinite(log_l)) or data.on_bounds is not None:
        return None
    each = precision * l2
    log_prior = 0.5 * float(np.log(each[proper]).sum() - each @ w[data.free] ** 2)
    n_flat = given.rank - int(np.count_nonzero(proper))
    log_det = given.log_determinant - given.rank * math.log(s2)
    return log_l + log_prior + 0.5 * (n_flat * math.log(2.0 * math.pi) - log_det)


def _least(loss: Loss, t: NDArray, joint: bool) -> NDArray:
    """Return min_y ℓ(y, t) of cross_entropy, on a softmax if joint, or of poisson."""
    if loss == losses.poisson:
        return t - x_log_x(t)
    return -x_log_x(t) if joint else -x_log_x(t) - x_log_x(1.0 - t)


def x_log_x(x: NDArray) -> NDArray:
    """Return x log x, which is 0 at 0."""
    return x * np.log(np.where(x > 0.0, x, 1.0))


def _log_factorial(t: NDArray) -> NDArray:
    values, inverse = np.unique(t, return_inverse=True)
    return np.array([math.lgamma(value + 1.0) for value in values])[inverse].reshape(t.shape)


def _names(net: Network) -> tuple[str, ...]:
    H, N, K = net.n_neurons, net.n_inputs, net.n_outputs
    a = [f"w_{i + 1}" for i in range(H)]
    if K > 1:
        a = [f"a_{k + 1},{i + 1}" for k in range(K) for i in range(H)]
    return (*a, *(f"w_{i + 1},{j + 1}" for i in range(H) for j in range(N)))
