"""Results as text, JSON, CSV and Markdown: one module each, found by its name.

A new format is a new module here with ``render(result, cells)``: every command then takes it with ``--format``.
"""

from __future__ import annotations

import importlib
import pkgutil

from atoll.products.result import Result


def names() -> tuple[str, ...]:
    """The formats that there are, ``text`` first."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(found, key=lambda name: name != "text"))


def render(result: Result, name: str = "text", cells: int = 80) -> str:
    """The result in a format; ``cells`` is how wide text may be."""
    module = importlib.import_module(f"{__name__}.{name}")
    text: str = module.render(result, cells)
    return text
