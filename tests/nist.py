"""NIST's certified nonlinear regressions as networks: data, starts, and what is certified.

Statistical Reference Datasets, a work of the U.S. government in the public domain. Each model is
equation (1) with activations of its own and a mask of free parameters; where it is not so as it
stands, its parameters are transformed, starts and certified values alike, so that the sum of
squares is the same function.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbp

FOLDER = Path(__file__).parent / "data" / "nist"


class Problem(NamedTuple):
    """A set: network, data, mask, starts and certified parameters in its order, and the sum."""

    net: fastbp.Network
    X: np.ndarray
    t: np.ndarray
    free: np.ndarray
    starts: tuple[np.ndarray, np.ndarray]
    certified: np.ndarray
    sum_of_squares: float
    deviations: np.ndarray  # of NIST's own parameters
    indices: tuple[int, ...]  # of those of ours that are NIST's own, untransformed
    own: tuple[int, ...]  # their numbers among NIST's


def read(name):
    """Return starts, certified values and deviations (one row a parameter), the sum, y and x."""
    text = (FOLDER / f"{name}.dat").read_text("ascii")
    number = r"([-+]?[\d.]+(?:E[-+]?\d+)?)"
    rows = re.findall(rf"^ *b\d+ = +{number} +{number} +{number} +{number}", text, re.M)
    (total,) = re.findall(rf"Residual Sum of Squares: +{number}", text)
    data = text[text.rindex("Data:") :].splitlines()[1:]
    values = np.array([line.split() for line in data if line.strip()], float)
    return np.array(rows, float), float(total), values[:, 0], values[:, 1]


@fastbp.activation
def saturating(z):
    return -math.expm1(-z)


@fastbp.activation
def second_power(z):
    return 1.0 - (1.0 + 0.5 * z) ** -2


@fastbp.activation
def hyperbolic(z):
    return z / (1.0 + z)


@fastbp.activation
def decay(z):
    return math.exp(-z)


@fastbp.activation
def log(z):
    return math.log(z)


@fastbp.activation
def minus_exp(z):
    return -math.exp(z)


def _made(name, columns, neurons, parameters, output="identity"):
    """Make a problem.

    `columns(x)` are the inputs. A neuron is (activation, output weight, input weights), where a
    string is a free parameter and a number is fixed; `parameters(*b)` gives those by name.
    """
    rows, total, t, x = read(name)
    X = np.column_stack([column + 0.0 * x for column in columns(x)])
    wanted = [a for _, a, _ in neurons] + [w for _, _, weights in neurons for w in weights]
    free = np.array([isinstance(w, str) for w in wanted])

    def vector(b):
        values = parameters(*b)
        return np.array([values[w] if isinstance(w, str) else w for w in wanted], float)

    own = [k for k in range(len(rows)) if f"b{k + 1}" in wanted]
    net = fastbp.Network(X.shape[1], activations=[v for v, _, _ in neurons], output=output)
    return Problem(
        net, X, t, free, (vector(rows[:, 0]), vector(rows[:, 1])), vector(rows[:, 2]), total,
        rows[:, 3], tuple(wanted.index(f"b{k + 1}") for k in own), tuple(own),
    )  # fmt: skip


def _named(*b):
    return {f"b{k + 1}": value for k, value in enumerate(b)}


def _line(x):
    return 1.0, x


def _alone(x):
    return (x,)


def _ratio(degree_above, degree_below):
    """Neurons of exp(log p(x) − log q(x)), q beginning with 1, and the powers of x."""
    n = degree_above + 1
    above = [f"b{k + 1}" for k in range(n)] + [0.0] * (max(degree_below, degree_above) - n + 1)
    below = [1.0] + [f"b{n + k + 1}" for k in range(degree_below)]
    below += [0.0] * (len(above) - len(below))
    return [(log, 1.0, above), (log, -1.0, below)]


def _bumps(x):
    return 1.0, x


def _gauss(*b):
    named = _named(*b)
    for k in (4, 7):
        centre, width = b[k - 1], b[k]
        named |= {f"c{k}": -centre / width, f"d{k}": 1.0 / width}
    return named


_GAUSS = [
    (decay, "b1", (0.0, "b2")),
    ("gaussian", "b3", ("c4", "d4")),
    ("gaussian", "b6", ("c7", "d7")),
]
_LANCZOS = [(decay, f"b{k}", (f"b{k + 1}",)) for k in (1, 3, 5)]
_CHWIRUT = [("identity", -1.0, (0.0, "b1")), (log, -1.0, ("b2", "b3"))]


def _enso(*b):
    named = _named(*b)
    for k in (2, 5, 8):
        period = 12.0 if k == 2 else b[k - 2]
        a, c = (b[1], b[2]) if k == 2 else (b[k - 1], b[k])
        named |= {
            f"a{k}": math.hypot(a, c),
            f"phase{k}": math.atan2(-c, a),
            f"rate{k}": 2.0 * math.pi / period,
        }
    return named


def _roszman(b1, b2, b3, b4):
    # x < b4 throughout: arctan(b3 / (x − b4)) = −π/2 − arctan((x − b4) / b3)
    return {"level": b1 + 0.5, "b2": -b2, "shift": -b4 / b3, "rate": 1.0 / b3}


def _bennett(b1, b2, b3):
    return {"level": math.log(-b1), "b2": b2, "power": -1.0 / b3}


def _mgh09(b1, b2, b3, b4):
    return {"level": math.log(b1), "b2": b2, "b3": b3, "b4": b4}


PROBLEMS = {
    "Misra1a": lambda: _made("Misra1a", _alone, [(saturating, "b1", ("b2",))], _named),
    "Misra1b": lambda: _made("Misra1b", _alone, [(second_power, "b1", ("b2",))], _named),
    "Misra1d": lambda: _made("Misra1d", _alone, [(hyperbolic, "b1", ("b2",))], _named),
    "BoxBOD": lambda: _made("BoxBOD", _alone, [(saturating, "b1", ("b2",))], _named),
    "Rat42": lambda: _made(
        "Rat42", _line, [("logistic", "b1", ("minus", "b3"))],
        lambda b1, b2, b3: {"b1": b1, "minus": -b2, "b3": b3},
    ),
    "DanWood": lambda: _made(
        "DanWood", lambda x: (1.0, np.log(x)), [("identity", 1.0, ("level", "b2"))],
        lambda b1, b2: {"level": math.log(b1), "b2": b2}, "exp",
    ),
    "Chwirut1": lambda: _made("Chwirut1", _line, _CHWIRUT, _named, "exp"),
    "Chwirut2": lambda: _made("Chwirut2", _line, _CHWIRUT, _named, "exp"),
    "Lanczos1": lambda: _made("Lanczos1", _alone, _LANCZOS, _named),
    "Lanczos3": lambda: _made("Lanczos3", _alone, _LANCZOS, _named),
    "Gauss1": lambda: _made("Gauss1", _line, _GAUSS, _gauss),
    "Gauss2": lambda: _made("Gauss2", _line, _GAUSS, _gauss),
    "Thurber": lambda: _made(
        "Thurber", lambda x: (1.0, x, x * x, x**3), _ratio(3, 3), _named, "exp"
    ),
    "MGH09": lambda: _made(
        "MGH09", lambda x: (1.0, x, x * x),
        [
            ("identity", 1.0, ("level", 0.0, 0.0)),
            (log, 1.0, (0.0, "b2", 1.0)),
            (log, -1.0, ("b4", "b3", 1.0)),
        ],
        _mgh09, "exp",
    ),
    "Roszman1": lambda: _made(
        "Roszman1", _line,
        [("identity", 1.0, ("level", "b2")), ("arctan", 1.0 / math.pi, ("shift", "rate"))],
        _roszman,
    ),
    "Bennett5": lambda: _made(
        "Bennett5", _line,
        [("identity", 1.0, ("level", 0.0)), (log, "power", ("b2", 1.0))],
        _bennett, minus_exp,
    ),
    "ENSO": lambda: _made(
        "ENSO", _line,
        [
            ("identity", 1.0, ("b1", 0.0)),
            ("cos", "a2", ("phase2", 2.0 * math.pi / 12.0)),
            ("cos", "a5", ("phase5", "rate5")),
            ("cos", "a8", ("phase8", "rate8")),
        ],
        _enso,
    ),
}  # fmt: skip
