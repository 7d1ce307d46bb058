"""Sizes of queues and a memory budget → how many items may be in flight."""

from __future__ import annotations

from atoll.errors import PipelineError
from atoll.pipeline.threads.queues import UNBOUNDED


def check_sizes(**sizes: int | None) -> None:
    """Raises :class:`PipelineError` when a queue is to hold nothing."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise PipelineError(f"{name} is {size}, but a queue must hold at least 1 item")


def most_items(memory_budget: int | None, item_bytes: int) -> int:
    """How many items may be in flight."""
    if memory_budget is None:
        return UNBOUNDED
    if memory_budget < max(item_bytes, 1):
        raise PipelineError(
            f"one inference holds up to {item_bytes} bytes of tensors, but memory_budget is {memory_budget}",
            "Raise memory_budget.",
        )
    return memory_budget // max(item_bytes, 1)
