"""What differs between the vendor's compilers, one row per generation; 16 is the default."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from atoll.errors import UsageError

RUNTIMES = (10, 11, 12, 13, 14)
"""Edge TPU runtime versions that a model can be compiled for, oldest first."""


class SoftmaxTable(enum.Enum):
    """Which softmax layers with C % 4 ≠ 0 channels carry a table of ceil(C/4) 64-byte entries, and how large."""

    NONE = "none"
    INT8_ONLY = "2 · ceil(C/4) · 64 bytes, int8 models only"
    ALL = "3 · ceil(C/4) · 64 + 64 bytes"


class CachePool(enum.Enum):
    """How co-compiled models share the parameter memory."""

    MODEL_BY_MODEL = "in command-line order: first listed, first served"
    SHARED = "one pool over the layers of all models"


class DensePlacement(enum.Enum):
    """Where the blocks of 64 outputs of layers with one output position go."""

    FIXED = "block j on tile j: a few such layers can fill tile 0 while megabytes stay free"
    MOVABLE = "block j on tile j, or on the emptiest tile when that one is full"


@dataclass(frozen=True, slots=True)
class Reserve:
    """R, the rows per tile kept back from parameters: ``max(floor, constant + slope · ln(x))``.

    x is the rows per tile of the largest input. Fitted by benchmarks/fit_reserve.py, which prints the errors.
    """

    floor: float
    constant: float
    slope: float


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
    dense_placement: DensePlacement
    reserve: Reserve
    pads_channels_by_convolution: bool
    """A PAD of channels becomes a 1×1 identity convolution with parameters of its own."""


_RESERVE_2 = Reserve(floor=3, constant=-363, slope=158)
_RESERVE_16 = Reserve(floor=27, constant=-411, slope=127)
"""14 and 15 use it too: their three observations at hand do not carry a fit of their own."""

_BEFORE_16 = Generation(
    name="15",
    version="15.0.340273435",
    default_runtime=13,
    keeps_zero_bias=True,
    softmax_table=SoftmaxTable.INT8_ONLY,
    cache_pool=CachePool.MODEL_BY_MODEL,
    dense_placement=DensePlacement.FIXED,
    reserve=_RESERVE_16,
    pads_channels_by_convolution=False,
)
_2_1 = replace(
    _BEFORE_16,
    name="2.1",
    version="2.1.302470888",
    reserve=_RESERVE_2,
    pads_channels_by_convolution=True,
)
_2_0 = replace(
    _2_1,
    name="2.0",
    version="2.0.291256449",
    default_runtime=12,
    softmax_table=SoftmaxTable.NONE,
)

GENERATIONS: tuple[Generation, ...] = (
    replace(_2_0, name="1.0", version="1.0.249710469", default_runtime=10, pads_channels_by_convolution=False),
    _2_0,
    _2_1,
    replace(_BEFORE_16, name="14", version="14.1.317412892"),
    _BEFORE_16,
    replace(
        _BEFORE_16,
        name="16",
        version="16.0.384591198",
        default_runtime=14,
        keeps_zero_bias=False,
        softmax_table=SoftmaxTable.ALL,
        cache_pool=CachePool.SHARED,
        dense_placement=DensePlacement.MOVABLE,
    ),
)

DEFAULT = GENERATIONS[-1]


def generation(name: str) -> Generation:
    """The generation ``name``: "16", "16.0" or a whole version string. Raises :class:`UsageError`."""
    for item in GENERATIONS:
        if name in (item.name, item.version, ".".join(item.version.split(".")[:2])):
            return item
    known = ", ".join(item.name for item in GENERATIONS)
    raise UsageError(f"compiler generation '{name}' is not known", f"Known are {known}.")
