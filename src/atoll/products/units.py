"""Numbers as people read them."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes as the vendor's compiler prints them: 1024-based, two decimals, ``B``/``KiB``/``MiB``."""
    if count < 1024:
        return f"{count:.2f}B"
    return f"{count / 1024:.2f}KiB" if count < 1024**2 else f"{count / 1024**2:.2f}MiB"
