"""Who may import whom: rooms in floors, top to bottom and never up, and no circle.

docs/architecture.md draws it.
"""

import ast
from pathlib import Path

import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent

# From the top: a room imports rooms of its own floor's right side or of floors below, and itself.
FLOORS = (
    ("_cli", "__main__"),
    ("dask", "_dask"),
    ("sklearn",),
    ("__init__",),
    ("_fit", "_many", "_uncertainty", "_watch"),  # where pickles of 0.1.0 look
    ("_training", "calculus", "_models", "datasets"),
    ("optimizers", "_standardise", "_files", "_rounding"),
    ("network",),
    ("objective",),
    ("_in_numba",),
    ("functions", "reference", "_columns", "_parts"),
    ("_heads", "losses"),
    ("activations",),
    ("kernels/calls",),
    ("kernels/drivers",),
    ("kernels/scalar",),
    ("kernels/machine",),
    ("_boundary", "_described"),
    ("_symbolic",),
    ("_html", "_lock", "_masked", "_plots", "_screen", "_uniform"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What kernels may import of the package beside themselves.
OF_KERNELS = {"_symbolic", "_described", "_lock", "_screen"}


def room_of(module):
    """Return the room of a module's path, below the package."""
    parts = module.split("/")
    if parts[0] == "kernels":
        return "/".join(parts[:2]) if len(parts) > 2 else "kernels"
    return parts[0]


def modules():
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE).with_suffix("").as_posix()
        found[path.removesuffix("/__init__") if "/" in path else path] = file
    return found


MODULES = modules()


class Imports(ast.NodeVisitor):
    """The modules that a file imports, late ones included; with `types` for type checkers too."""

    def __init__(self, name, is_package, types=False):
        self.types = types
        self.package = ["fastbp", *name.split("/")]
        if not is_package:
            self.package.pop()
        if name == "__init__":
            self.package = ["fastbp"]
        self.found, self.of_package = set(), set()

    def visit_If(self, node):
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not self.types:
            for statement in node.orelse:
                self.visit(statement)
            return
        self.generic_visit(node)

    def visit_Import(self, node):
        for alias in node.names:
            path = alias.name.removeprefix("fastbp.").replace(".", "/")
            if alias.name.startswith("fastbp.") and path in MODULES:
                self.found.add(path)

    def visit_ImportFrom(self, node):
        base = (node.module or "").split(".") if node.module else []
        if node.level:
            base = self.package[: len(self.package) - node.level + 1] + base
        if base[:1] != ["fastbp"]:
            return
        if base == ["fastbp"]:
            self.of_package |= {alias.name for alias in node.names}
        for alias in node.names:
            for path in ("/".join([*base[1:], alias.name]), "/".join(base[1:])):
                if path in MODULES:
                    self.found.add(path)
                    break


def imports(name, of_package=False, types=False):
    file = MODULES[name]
    visitor = Imports(name, file.name == "__init__.py" and name != "__init__", types)
    visitor.visit(ast.parse(file.read_text("utf-8")))
    return visitor.of_package if of_package else visitor.found - {name}


GRAPH = {name: imports(name) for name in MODULES}
NAMED = {name: imports(name, types=True) for name in MODULES}
FOR_TYPES = ("functions", "network")  # the one import that goes up


def test_every_module_has_a_floor():
    rooms = {room_of(name) for name in MODULES}
    assert rooms - {"kernels"} == set(FLOOR)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    room = room_of(name)
    for other in GRAPH[name]:
        target = room_of(other)
        if target in (room, "kernels") or room == "kernels":
            continue
        assert FLOOR[room] <= FLOOR[target], f"{name} imports {other}, which is on a floor above"
        if room.startswith("kernels/") and not target.startswith("kernels/"):
            assert target in OF_KERNELS, f"{name} imports {other}"


def test_a_single_import_goes_up_for_types_alone():
    named = {(name, other) for name in MODULES for other in NAMED[name]}
    floors = {
        (name, other): (FLOOR[room_of(name)], FLOOR[room_of(other)])
        for name, other in named
        if "kernels" not in (room_of(name), room_of(other))
    }
    assert [pair for pair, (own, its) in floors.items() if own > its] == [FOR_TYPES]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_of_ours_asks_the_package_for_a_public_name(name):
    """Which takes a lock, whose holder may be waiting for the module that asks."""
    asked = imports(name, of_package=True)
    assert not asked & {*fastbp._MODULES, *fastbp._HOMES}


def test_there_is_no_circle():
    """Nor one of types, but for that import."""
    done, path = set(), []

    def visit(name):
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(NAMED[name]):
            if (name, other) != FOR_TYPES:
                visit(other)
        path.pop()
        done.add(name)

    for name in MODULES:
        visit(name)
