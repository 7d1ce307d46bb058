"""Cutting a graph into segments: where, and what crosses each boundary."""

from atoll.cut.equal_parameters import equal_parameters, parameter_bytes
from atoll.cut.partition import Partition, Segment, legal_cuts, partition_at

__all__ = ["Partition", "Segment", "equal_parameters", "legal_cuts", "parameter_bytes", "partition_at"]
