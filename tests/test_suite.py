"""Of the suite itself: each test passes alone, and after any other."""

import ast
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.py"))


def _generators(tree):
    """Names of random generators that belong to a module."""
    for statement in tree.body:
        made = getattr(statement, "value", None)
        if isinstance(made, ast.Call) and ast.unparse(made.func).endswith("default_rng"):
            yield ast.unparse(statement.targets[0])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_function_draws_from_the_generator_of_its_module(path):
    """What it got would depend on which tests ran before."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    shared = set(_generators(tree))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        body = [node for line in function.body for node in ast.walk(line)]
        names = [node for node in body if isinstance(node, ast.Name)]
        own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        assert not shared & {name.id for name in names} - own, function.name
