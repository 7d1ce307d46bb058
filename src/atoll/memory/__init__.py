"""Parameters of one or more models → what stays on the chip, where, and what is streamed."""

from atoll.memory.layers import model_parameters
from atoll.memory.plan import (
    LayerKind,
    LayerParameters,
    LayerPlan,
    MemoryPlan,
    ModelParameters,
    ModelPlan,
    Placement,
)
from atoll.memory.planner import plan_memory, uncached_operators
from atoll.memory.reserve import reserve_rows
from atoll.memory.verify import verify_plan

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
