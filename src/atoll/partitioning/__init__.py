"""Where to cut a graph: into segments of equal parameters, the best by a cost function, the best as measured.

The searches (``search``, ``measured``) are imported from their modules: compiling needs none of them.
"""

from atoll.partitioning.equal_bytes import equal_parameters, parameter_bytes
from atoll.partitioning.partition_file import PartitionFile, cut_tensors, read_partition, write_partition
from atoll.products.partition import Partition, Segment, legal_cuts, partition_at, partition_of

__all__ = [
    "Partition",
    "PartitionFile",
    "Segment",
    "cut_tensors",
    "equal_parameters",
    "legal_cuts",
    "parameter_bytes",
    "partition_at",
    "partition_of",
    "read_partition",
    "write_partition",
]
