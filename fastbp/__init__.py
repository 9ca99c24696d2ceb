"""Equation (1) and all its derivatives, at the speed of the hardware.

``y = f(w, x) = σ(Σ_i w_i v_i(Σ_j w_ij x_j))`` with given differentiable functions σ and v_i.

Public names are imported when first used, and Numba when a network is first evaluated.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._lock import importing

__version__ = "0.2.0"

_FUNCTIONS = (
    "gauss_newton_product", "hvp", "input_grad", "input_hvp", "jvp", "loss_and_grad",
    "per_sample_grad", "value", "value_and_grad", "vjp",
)  # fmt: skip
_PUBLIC = {
    "_training.fit": ("fit",),
    "_training.result": ("FitResult",),
    "_training.report": ("FitReport",),
    "_training.groups": ("GroupFits", "fit_groups"),
    "_training.many": ("Fits", "fit_many"),
    "_models": ("Model", "load", "save"),
    "_symbolic.function": ("ActivationError",),
    "_training.source": ("Source",),
    "_training.uncertainty": ("FitWarning",),
    "_training.watch": ("EarlyStopping", "FitState", "NonFiniteLossError"),
    "activations": ("Activation", "activation", "softmax"),
    "functions": _FUNCTIONS,
    "losses": ("Loss", "loss"),
    "network": ("Network",),
    "objective": ("Objective",),
    "optimizers": ("LBFGS", "SGD", "Adam", "AdamW", "LevenbergMarquardt", "Minimize"),
}
_HOMES = {name: home for home, names in _PUBLIC.items() for name in names}
_MODULES = ("activations", "calculus", "datasets", "functions", "losses", "optimizers", "reference")
_EXTRAS = ("dask", "sklearn")  # no names of `*`: what they need may not be there

__all__ = [
    "LBFGS", "SGD", "Activation", "ActivationError", "Adam", "AdamW", "EarlyStopping", "FitReport",
    "FitResult", "FitState", "FitWarning", "Fits", "GroupFits", "LevenbergMarquardt", "Loss",
    "Minimize", "Model", "Network", "NonFiniteLossError", "Objective", "Source", "activation",
    "activations", "calculus", "datasets", "fit", "fit_groups", "fit_many", "functions",
    "gauss_newton_product", "hvp", "input_grad", "input_hvp", "jvp", "load", "loss",
    "loss_and_grad", "losses", "optimizers", "per_sample_grad", "reference", "save", "softmax",
    "value", "value_and_grad", "vjp",
]  # fmt: skip

if TYPE_CHECKING:
    from . import activations, calculus, datasets, losses, optimizers, reference
    from ._models import Model, load, save
    from ._symbolic.function import ActivationError
    from ._training.fit import fit
    from ._training.groups import GroupFits, fit_groups
    from ._training.many import Fits, fit_many
    from ._training.report import FitReport
    from ._training.result import FitResult
    from ._training.source import Source
    from ._training.uncertainty import FitWarning
    from ._training.watch import EarlyStopping, FitState, NonFiniteLossError
    from .activations import Activation, activation, softmax
    from .functions import (
        gauss_newton_product,
        hvp,
        input_grad,
        input_hvp,
        jvp,
        loss_and_grad,
        per_sample_grad,
        value,
        value_and_grad,
        vjp,
    )
    from .losses import Loss, loss
    from .network import Network
    from .objective import Objective
    from .optimizers import LBFGS, SGD, Adam, AdamW, LevenbergMarquardt, Minimize


def __getattr__(name: str) -> Any:
    modules = _MODULES + _EXTRAS
    home = name if name in modules else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing():
        module = importlib.import_module(f".{home}", __name__)
    value = module if name in modules else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
