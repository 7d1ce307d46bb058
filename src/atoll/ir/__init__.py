"""The model in memory, and what every stage may ask about it."""

from atoll.ir.graph import Buffer, DType, Graph, Model, Operator, Quantization, Signature, Tensor

__all__ = ["Buffer", "DType", "Graph", "Model", "Operator", "Quantization", "Signature", "Tensor"]
