"""Parameters of one or more models → what stays on the chip, where, and what is streamed."""

from atoll.compiler.memory.mapped_layers import model_parameters
from atoll.compiler.memory.memory_plan import (
    LayerKind,
    LayerParameters,
    LayerPlan,
    MemoryPlan,
    ModelParameters,
    ModelPlan,
    Placement,
)
from atoll.compiler.memory.planner import plan_memory, uncached_operators
from atoll.compiler.memory.reserve import reserve_rows

__all__ = [
    "LayerKind",
    "LayerParameters",
    "LayerPlan",
    "MemoryPlan",
    "ModelParameters",
    "ModelPlan",
    "Placement",
    "model_parameters",
    "plan_memory",
    "reserve_rows",
    "uncached_operators",
]
