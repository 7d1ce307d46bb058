"""Edge TPUs, real or virtual, for LiteRT interpreters."""

from atoll.device.delegate import Delegate, Kernel, Node, TensorView
from atoll.device.interpreter import make_interpreter
from atoll.device.inventory import list_edge_tpus
from atoll.device.virtual import VirtualEdgeTpu

__all__ = [
    "Delegate",
    "Kernel",
    "Node",
    "TensorView",
    "VirtualEdgeTpu",
    "list_edge_tpus",
    "make_interpreter",
]
