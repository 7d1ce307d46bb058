"""Edge TPUs, real or virtual, for LiteRT interpreters."""

from atoll.device.edge_tpu import EdgeTpu
from atoll.device.interpreter import make_interpreter
from atoll.device.inventory import list_edge_tpus
from atoll.device.leasing.lease import Lease, lease
from atoll.device.real.adapt import adapt_delegate
from atoll.device.real.real_device import RealEdgeTpu
from atoll.device.virtual.delegate import Delegate, Kernel, Node, TensorView
from atoll.device.virtual.faults import Faults
from atoll.device.virtual.thermal import Cooling
from atoll.device.virtual.virtual_device import Invocation, VirtualEdgeTpu

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
    "adapt_delegate",
    "lease",
    "list_edge_tpus",
    "make_interpreter",
]
