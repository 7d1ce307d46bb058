"""Progress and messages of long work: functions that the caller may give; by default nothing is said."""

from __future__ import annotations

from typing import Protocol


class OnProgress(Protocol):
    """Called with what is being done and, where it is counted, how much of it."""

    def __call__(self, title: str, done: int = 0, total: int | None = None, /) -> object: ...


class OnMessage(Protocol):
    """Called with a sentence for a person, while the work goes on: what it waits for, what was chosen and why."""

    def __call__(self, text: str, /) -> object: ...


def ignore(*_what: object) -> None:
    """Say nothing."""
