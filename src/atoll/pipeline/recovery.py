"""What a pipeline does about a segment that fails or hangs, as the user chose it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from atoll.errors import PipelineError
from atoll.pipeline.wiring import InterpreterLike

OnError = Literal["stop", "continue", "retry"]
Reopen = Callable[[int, InterpreterLike], InterpreterLike]


class StallError(PipelineError):
    """An ``invoke`` that took longer than ``stall_timeout``."""


@dataclass(frozen=True)
class Recovery:
    """``on_error``, ``retries``, ``reopen``, ``spares`` and ``stall_timeout`` of :class:`atoll.Pipeline`."""

    on_error: OnError = "stop"
    retries: int = 3
    reopen: Reopen | None = None
    spares: Mapping[int, Sequence[InterpreterLike]] = field(default_factory=dict)
    stall_timeout: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _used: dict[int, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "continue", "retry"):
            raise PipelineError(f"on_error is '{self.on_error}', but must be 'stop', 'continue' or 'retry'")
        if self.retries < 0:
            raise PipelineError(f"retries is {self.retries}, but must be 0 or more")
        if self.stall_timeout is not None and not self.stall_timeout > 0:
            raise PipelineError(f"stall_timeout is {self.stall_timeout} s, but must be more than 0, or None")

    @property
    def most_attempts(self) -> int:
        """How often an item may be tried again on the interpreters of its own worker."""
        return self.retries if self.on_error == "retry" else 0

    def other(self, segment: int, failed: InterpreterLike) -> InterpreterLike | None:
        """Another interpreter in place of ``failed``: re-opened, or else the next spare; None when there is none.

        Raises what ``reopen`` raises when there is no spare left.
        """
        try:
            if self.reopen is not None:
                return self.reopen(segment, failed)
        except Exception:
            spare = self._spare(segment)
            if spare is None:
                raise
            return spare
        return self._spare(segment)

    def _spare(self, segment: int) -> InterpreterLike | None:
        with self._lock:
            position = self._used.get(segment, 0)
            spares = self.spares.get(segment, ())
            if position >= len(spares):
                return None
            self._used[segment] = position + 1
            return spares[position]
