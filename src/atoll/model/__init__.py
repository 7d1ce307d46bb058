"""The model in memory, and what every stage may ask about it."""

from atoll.model.compiled import CPU_SIGNATURE, CUSTOM_OP, is_compiled
from atoll.model.graph import Buffer, DType, Graph, Model, Operator, Quantization, Signature, Tensor

__all__ = [
    "CPU_SIGNATURE",
    "CUSTOM_OP",
    "Buffer",
    "DType",
    "Graph",
    "Model",
    "Operator",
    "Quantization",
    "Signature",
    "Tensor",
    "is_compiled",
]
