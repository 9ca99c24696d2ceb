"""Tables for notebooks, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(caption: str, rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return a table whose rows each begin with what they are about."""
    lines = [f"<table><caption>{escape(caption)}</caption>"]
    if head:
        cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for label, *values in rows:
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody></table>"])


def bullets(caption: str, texts: Iterable[str]) -> str:
    """Return a list."""
    points = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<p>{escape(caption)}</p><ul>{points}</ul>"
