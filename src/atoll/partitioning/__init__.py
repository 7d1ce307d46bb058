"""Cutting a graph into segments: where, and what crosses each boundary."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atoll.partitioning.equal_bytes import equal_parameters, parameter_bytes
    from atoll.partitioning.measured.bisection import Profiled, profiled_cuts
    from atoll.partitioning.measured.refine import Refined, refined_cuts
    from atoll.partitioning.measured.store import Failure, MeasurementFile, measurement_key, remembered
    from atoll.partitioning.partition_file import PartitionFile, cut_tensors, read_partition, write_partition
    from atoll.partitioning.search.contiguous import Cutting, Neighbour, Stage, optimal_cuts
    from atoll.partitioning.search.convex import ConvexCutting, Piece, PieceBound, optimal_pieces
    from atoll.partitioning.search.fleet import Fleet, Goal
    from atoll.products.partition import Partition, Segment, legal_cuts, partition_at, partition_of

__all__ = [
    "ConvexCutting",
    "Cutting",
    "Failure",
    "Fleet",
    "Goal",
    "MeasurementFile",
    "Neighbour",
    "Partition",
    "PartitionFile",
    "Piece",
    "PieceBound",
    "Profiled",
    "Refined",
    "Segment",
    "Stage",
    "cut_tensors",
    "equal_parameters",
    "legal_cuts",
    "measurement_key",
    "optimal_cuts",
    "optimal_pieces",
    "parameter_bytes",
    "partition_at",
    "partition_of",
    "profiled_cuts",
    "read_partition",
    "refined_cuts",
    "remembered",
    "write_partition",
]

_HOMES = {
    "ConvexCutting": "partitioning.search.convex",
    "Cutting": "partitioning.search.contiguous",
    "Failure": "partitioning.measured.store",
    "Fleet": "partitioning.search.fleet",
    "Goal": "partitioning.search.fleet",
    "MeasurementFile": "partitioning.measured.store",
    "Neighbour": "partitioning.search.contiguous",
    "Partition": "products.partition",
    "PartitionFile": "partitioning.partition_file",
    "Piece": "partitioning.search.convex",
    "PieceBound": "partitioning.search.convex",
    "Profiled": "partitioning.measured.bisection",
    "Refined": "partitioning.measured.refine",
    "Segment": "products.partition",
    "Stage": "partitioning.search.contiguous",
    "cut_tensors": "partitioning.partition_file",
    "equal_parameters": "partitioning.equal_bytes",
    "legal_cuts": "products.partition",
    "measurement_key": "partitioning.measured.store",
    "optimal_cuts": "partitioning.search.contiguous",
    "optimal_pieces": "partitioning.search.convex",
    "parameter_bytes": "partitioning.equal_bytes",
    "partition_at": "products.partition",
    "partition_of": "products.partition",
    "profiled_cuts": "partitioning.measured.bisection",
    "read_partition": "partitioning.partition_file",
    "refined_cuts": "partitioning.measured.refine",
    "remembered": "partitioning.measured.store",
    "write_partition": "partitioning.partition_file",
}
"""Where each is, for when it is first used: compiling a model needs none of the searches, which take as long to import
as a small model to compile."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'atoll.partitioning' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"atoll.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
