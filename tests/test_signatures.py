"""The public names and their signatures are those on record: a change of one is meant.

``python tests/test_signatures.py`` puts the present ones on record.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import fastbp

RECORD = Path(__file__).parent / "data" / "signatures.txt"
MODULES = (
    "activations",
    "calculus",
    "dask",
    "datasets",
    "functions",
    "losses",
    "optimizers",
    "reference",
    "sklearn",
)


class Text(str):
    """An annotation as it stands in the source, without quotes."""

    __repr__ = str.__str__


def text(annotation: Any) -> Any:
    if annotation is inspect.Signature.empty:
        return annotation
    return Text(getattr(annotation, "__forward_arg__", annotation))


def signature(function: Any) -> inspect.Signature:
    """Return the signature without private parameters."""
    whole = inspect.signature(function)
    public = [each for each in whole.parameters.values() if not each.name.startswith("_")]
    return whole.replace(
        parameters=[each.replace(annotation=text(each.annotation)) for each in public],
        return_annotation=text(whole.return_annotation),
    )


def members(cls: type) -> dict[str, Any]:
    """Return what the class and those of the package under it define in public, unbound."""
    own = [base for base in reversed(cls.__mro__) if base.__module__.startswith("fastbp")]
    found = {name: value for base in own for name, value in vars(base).items()}
    # scikit-learn makes the set_*_request of its release.
    public = [name for name in found if name[0] != "_" and not name.endswith("_request")]
    return {name: found[name] for name in sorted([*public, *({"__call__"} & {*found})])}


def described(name: str, value: Any) -> list[str]:
    """Return the lines for a public name."""
    if inspect.isfunction(value):
        return [f"{name}{signature(value)}"]
    if not inspect.isclass(value):
        return [name]
    if issubclass(value, Exception):
        return [f"class {name}({value.__base__.__name__})"]
    lines = [f"class {name}{signature(value)}"]
    for member, found in members(value).items():
        method = isinstance(found, FunctionType | classmethod | staticmethod)
        lines.append(f"    {member}{signature(getattr(value, member)) if method else ''}")
    return lines


def present() -> str:
    """Return the public face as text."""
    lines = []
    for module in (fastbp, *(importlib.import_module(f"fastbp.{name}") for name in MODULES)):
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if module is fastbp or getattr(fastbp, name, None) is not value:
                lines += described(f"{module.__name__}.{name}", value)
    return "\n".join(lines) + "\n"


def test_public_signatures_are_those_on_record():
    changes = difflib.unified_diff(
        RECORD.read_text(encoding="utf-8").splitlines(), present().splitlines(), n=0, lineterm=""
    )
    changed = "\n".join(list(changes)[2:])
    assert not changed, f"where meant, run `python tests/test_signatures.py`:\n{changed}"


if __name__ == "__main__":
    RECORD.write_text(present(), encoding="utf-8")
