"""How exact the compiled activations are: the table of docs/understand/accuracy.md.

    python asv_bench/accuracy.py                                          # prints it, a minute
    python asv_bench/accuracy.py --write docs/understand/accuracy.part.md

v is the value of a network of one neuron, v' its derivative by the input, v'' the second one, all
through public calls, against mpmath with 60 digits. Needs the dependency group `test`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import fastbp
from fastbp.activations import NAMES

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from test_activations import ACCURACY, DEFINITIONS, KINKS, mp

POINTS = 1500


def points(dtype):
    """Draw numbers of every size that a neuron meets, none of them 0."""
    rng = np.random.default_rng(0)
    half = POINTS // 2
    small = 10.0 ** rng.uniform(-8.0, 0.0, POINTS - half) * rng.choice([-1.0, 1.0], POINTS - half)
    return np.concatenate([rng.uniform(-30.0, 30.0, half), small]).astype(dtype)


def compiled(name, z):
    """Return v, v' and v'' at z, by the kernels."""
    net = fastbp.Network(1, activations=[name], output="identity", dtype=z.dtype)
    w, X = np.ones(2, z.dtype), z[:, None]
    return net(w, X), net.input_grad(w, X)[:, 0], net.input_hvp(w, X, np.ones_like(X))[:, 0]


def worst(name, dtype):
    """Return the largest error of each of the three, in units of ε times its size."""
    z = points(dtype)
    found = []
    for order, values in enumerate(compiled(name, z)):
        marks = ACCURACY[name][order][1]
        most = 0.0
        for x, value in zip(z.tolist(), values.tolist(), strict=True):
            exact = DEFINITIONS[name][order](mp.mpf(x))
            size = max(abs(exact), 1) if "†" in marks else abs(exact)
            size *= 1 + x * x if "*" in marks else 1
            error = abs(mp.mpf(value) - exact)
            if abs(exact) < 100.0 * np.finfo(dtype).tiny or not error:
                continue  # where numbers end, digits do
            most = max(most, float(error / size) / float(np.finfo(dtype).eps))
        marks = marks.strip().replace("*", "∗")  # Markdown's own is another
        found.append(f"{most:.2g} {marks}".strip())
    return found


def table():
    """Return the table in Markdown."""
    lines = [
        "| activation | v | v' | v'' | v, float32 | v' | v'' | kinks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in NAMES:
        cells = [*worst(name, np.float64), *worst(name, np.float32)]
        lines.append(f"| {name} | {' | '.join(cells)} | {'at 0' if name in KINKS else ''} |")
        print(".", end="", file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", metavar="FILE", type=Path, help="not to the screen")
    options = parser.parse_args()
    text = table()
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
