"""A result → JSON, with a schema version."""

from __future__ import annotations

from atoll.products.result import Result


def render(result: Result, _cells: int) -> str:
    """Everything that the result holds, whatever the tables show."""
    return result.to_json()
