"""Numbers as people read them."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "kib": 2**10, "mib": 2**20}


def size(count: int) -> str:
    """Bytes as the vendor's compiler prints them: 1024-based, two decimals, ``B``/``KiB``/``MiB``."""
    if abs(count) < 1024:
        return f"{count:.2f}B"
    return f"{count / 1024:.2f}KiB" if abs(count) < 1024**2 else f"{count / 1024**2:.2f}MiB"


def parse_size(text: str) -> int | None:
    """Bytes from ``6000000``, ``6MB`` or ``6.5 MiB``; None for what is no size above 0.

    >>> parse_size("6MiB")
    6291456
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?) ?([kmi]*b?)", text.lower(), re.ASCII)
    if match is None or match[2] not in _FACTORS:
        return None
    return int(float(match[1]) * _FACTORS[match[2]]) or None
