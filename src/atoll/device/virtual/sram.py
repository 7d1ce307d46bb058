"""Executables about to run → the parameter bytes that have to be loaded first, by the caching-token rule."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sram:
    """The parameter memory of one device, as one process's runtime keeps it (Figure 1 of the compiler's document).

    ``token`` is that of what is cached (0: nothing was ever cached), ``cached`` the bytes of each executable that is
    alive. As in the vendor's runtime, every interpreter has executables of its own, even of one and the same file.
    """

    token: int = 0
    cached: weakref.WeakKeyDictionary[object, int] = field(default_factory=weakref.WeakKeyDictionary)

    @property
    def used_bytes(self) -> int:
        """Parameter bytes on the chip now."""
        return sum(self.cached.values())

    def load(self, executable: object, token: int, size: int) -> int:
        """Make sure that the ``size`` bytes of ``executable`` are cached; how many bytes that takes to load.

        The same token: keep what is there and add. Another token, or 0: wipe and load.
        """
        if token == 0 or token != self.token:
            self.cached.clear()
            self.token = token
        if executable in self.cached:
            return 0
        self.cached[executable] = size
        return size

    def wipe(self) -> None:
        """As after a reset."""
        self.token = 0
        self.cached.clear()
