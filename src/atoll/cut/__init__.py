"""Cutting a graph into segments: where, and what crosses each boundary."""

from atoll.cut.downsets import ConvexCutting, Piece, PieceBound, optimal_pieces
from atoll.cut.equal_parameters import equal_parameters, parameter_bytes
from atoll.cut.file import PartitionFile, cut_tensors, read_partition, write_partition
from atoll.cut.fleet import Fleet, Goal
from atoll.cut.measurements import Failure, MeasurementFile, measurement_key, remembered
from atoll.cut.optimal import Cutting, Neighbour, Stage, neighbours, optimal_cuts
from atoll.cut.partition import Partition, Segment, legal_cuts, partition_at, partition_of
from atoll.cut.profiling import Profiled, profiled_cuts
from atoll.cut.refine import Refined, refined_cuts

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
