"""What differs between the vendor's compilers, one row per generation; 16 is the default."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from atoll.errors import UsageError


class SoftmaxTable(enum.Enum):
    """Which softmax layers with C % 4 ≠ 0 channels carry a table of ceil(C/4) 64-byte entries, and how large."""

    NONE = "none"
    INT8_ONLY = "2 · ceil(C/4) · 64 bytes, int8 models only"
    ALL = "3 · ceil(C/4) · 64 + 64 bytes"


class CachePool(enum.Enum):
    """How co-compiled models share the parameter memory."""

    MODEL_BY_MODEL = "in command-line order: first listed, first served"
    SHARED = "one pool over the layers of all models"


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of the compiler. Sources: ../shared/facts/{compiler,parameters,memory}.md."""

    name: str
    version: str
    """What ``--version`` prints."""
    default_runtime: int
    """Minimum runtime version of its packages unless ``-m`` asks for another."""
    keeps_zero_bias: bool
    """Write the bias row even when every bias is zero."""
    softmax_table: SoftmaxTable
    cache_pool: CachePool
    pads_channels_by_convolution: bool
    """A PAD of channels becomes a 1×1 identity convolution with parameters of its own."""
    prints_available: bool
    """Reports "memory available" before "used" instead of "remaining" after it."""
    estimates_cycles: bool
    """Fills in ``estimated_cycles``."""


GENERATIONS: tuple[Generation, ...] = (
    Generation("1.0", "1.0.249710469", 10, True, SoftmaxTable.NONE, CachePool.MODEL_BY_MODEL, False, True, True),
    Generation("2.0", "2.0.291256449", 12, True, SoftmaxTable.NONE, CachePool.MODEL_BY_MODEL, True, True, True),
    Generation("2.1", "2.1.302470888", 13, True, SoftmaxTable.INT8_ONLY, CachePool.MODEL_BY_MODEL, True, False, True),
    Generation("14", "14.1.317412892", 13, True, SoftmaxTable.INT8_ONLY, CachePool.MODEL_BY_MODEL, False, False, True),
    Generation("15", "15.0.340273435", 13, True, SoftmaxTable.INT8_ONLY, CachePool.MODEL_BY_MODEL, False, False, True),
    Generation("16", "16.0.384591198", 14, False, SoftmaxTable.ALL, CachePool.SHARED, False, False, False),
)  # fmt: skip

DEFAULT = GENERATIONS[-1]


def generation(name: str) -> Generation:
    """The generation ``name``: "16", "16.0" or a whole version string. Raises :class:`UsageError`."""
    for item in GENERATIONS:
        if name in (item.name, item.version, ".".join(item.version.split(".")[:2])):
            return item
    known = ", ".join(item.name for item in GENERATIONS)
    raise UsageError(f"compiler generation '{name}' is not known", f"Known are {known}.")
