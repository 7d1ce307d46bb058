"""What marks a compiled model: its operators for the Edge TPU, and the graph that keeps the original ones."""

from __future__ import annotations

from atoll.model.graph import Model

CUSTOM_OP = "edgetpu-custom-op"
"""Custom code of a compiled region; its package stands in the custom options (``../shared/facts/package.md``)."""

CPU_SIGNATURE = "cpu"
"""Signature of the graph that keeps the original operators, so that the file runs without any delegate."""


def is_compiled(model: Model) -> bool:
    """Whether graph 0 holds an operator for the Edge TPU."""
    return any(operator.custom_code == CUSTOM_OP for operator in model.main.operators)
