"""What a traced function is written as, and what is raised where that can't be done."""

from __future__ import annotations

from collections.abc import Callable

Scalar = Callable[..., float]
Extras = tuple[tuple[str, str], ...]
Texts = tuple[str, str, str]


class ActivationError(TypeError):
    """A scalar function cannot be turned into an activation or a loss."""
