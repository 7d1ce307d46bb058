"""Cutting a graph into segments: where, and what crosses each boundary."""

from atoll.partitioning.equal_parameters import equal_parameters, parameter_bytes
from atoll.partitioning.measured.bisection import Profiled, profiled_cuts
from atoll.partitioning.measured.refine import Refined, refined_cuts
from atoll.partitioning.measured.store import Failure, MeasurementFile, measurement_key, remembered
from atoll.partitioning.partition_file import PartitionFile, cut_tensors, read_partition, write_partition
from atoll.partitioning.search.contiguous import Cutting, Neighbour, Stage, neighbours, optimal_cuts
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
    "neighbours",
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
