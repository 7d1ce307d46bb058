"""How long work tells whoever waits for it what it is doing; without anyone it is silent."""

from __future__ import annotations

from typing import Protocol


class OnProgress(Protocol):
    """Told what is being done and, where it is counted, how much of it."""

    def __call__(self, title: str, done: int = 0, total: int | None = None, /) -> object: ...


class OnMessage(Protocol):
    """Told a sentence that a person should see while the work goes on: what it waits for, what was chosen and why."""

    def __call__(self, text: str, /) -> object: ...


def ignore(*_what: object) -> None:
    """Nobody waits."""
