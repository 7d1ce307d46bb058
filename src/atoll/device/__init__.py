"""Edge TPUs, real or virtual, for LiteRT interpreters."""

from atoll.device.base import EdgeTpu
from atoll.device.delegate import Delegate, Kernel, Node, TensorView
from atoll.device.faults import Faults
from atoll.device.interpreter import make_interpreter
from atoll.device.inventory import list_edge_tpus
from atoll.device.lease import Lease, lease
from atoll.device.real import RealEdgeTpu
from atoll.device.thermal import Cooling
from atoll.device.virtual import Invocation, VirtualEdgeTpu

__all__ = [
    "Cooling",
    "Delegate",
    "EdgeTpu",
    "Faults",
    "Invocation",
    "Kernel",
    "Lease",
    "Node",
    "RealEdgeTpu",
    "TensorView",
    "VirtualEdgeTpu",
    "lease",
    "list_edge_tpus",
    "make_interpreter",
]
