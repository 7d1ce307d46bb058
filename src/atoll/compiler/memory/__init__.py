"""Parameters of one or more models → what stays on the chip, where, and what is streamed."""

from atoll.compiler.memory.layers import model_parameters
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
from atoll.compiler.memory.verify_plan import verify_plan

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
    "verify_plan",
]
