"""The virtual Edge TPU: a compiled file in -> a delegate that runs its regions with LiteRT's CPU kernels."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll.device.clock import wait_until
from atoll.device.delegate import CUSTOM_OP, Delegate, Node, TensorView
from atoll.errors import DeviceError
from atoll.formats.tflite import model_bytes
from atoll.ir import Model
from atoll.ir.subgraph import between, extract

CPU_SIGNATURE = "cpu"
"""Signature of the graph that keeps the original operators of a compiled file."""

RESOLVER = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
"""Kernel sets differ by up to 7 steps on one network; results are comparable within one of them only."""


@dataclass(eq=False)
class VirtualEdgeTpu:
    """One virtual device. It runs one inference at a time, whichever interpreters and threads ask for it.

    ``latency`` is the least time in seconds that an inference takes (0: as fast as this machine can).
    """

    path: str = "virtual"
    type: Literal["pci", "usb"] = "pci"
    latency: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _delegates: weakref.WeakSet[Delegate] = field(default_factory=weakref.WeakSet, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.latency < threading.TIMEOUT_MAX:
            raise DeviceError(f"a latency of {self.latency} s is not possible", "Give seconds, 0 or more.")

    @property
    def interpreters(self) -> int:
        """How many interpreters use the device now."""
        return len(self._delegates)

    def delegate(self, model: Model, resolver: OpResolverType = RESOLVER) -> Delegate:
        """The delegate for an interpreter of the compiled file ``model``, whose kernels come from ``resolver``.

        Raises:
            DeviceError: the file does not keep its original operators, as those of the vendor's compiler, or
                has compiled operators outside of its main graph.
        """
        delegate = Delegate(partial(_Program, self, model, _original_graph(model), resolver))
        self._delegates.add(delegate)
        return delegate

    def execute(self, regions: Sequence[Region]) -> None:
        """One inference: the regions one after the other."""
        with self._lock:
            begin = time.perf_counter()
            for region in regions:
                region.run()
            if self.latency:
                wait_until(begin + self.latency)


class Region:
    """The original operators of one custom operator, in an interpreter of their own that keeps their state.

    Raises:
        DeviceError: the graph of the original operators does not compute the custom operator's outputs from
            its inputs.
    """

    def __init__(self, node: Node, model: Model, graph: int, resolver: OpResolverType) -> None:
        part = _original_operators(node, model, graph)
        self._interpreter = Interpreter(
            model_content=bytes(model_bytes(part)), num_threads=1, experimental_op_resolver_type=resolver
        )
        self._interpreter.allocate_tensors()
        sources = {view.name: view for view in node.inputs}
        self._inputs = [(detail["index"], sources[detail["name"]]) for detail in self._interpreter.get_input_details()]
        self._outputs = [
            (self._interpreter.tensor(detail["index"]), view)
            for detail, view in zip(self._interpreter.get_output_details(), node.outputs)
        ]

    def run(self) -> None:
        for index, view in self._inputs:
            self._interpreter.set_tensor(index, view.array)
        self._interpreter.invoke()
        for value, view in self._outputs:
            view.array[...] = value()


class _Program:
    """The kernel of one delegate node."""

    def __init__(
        self,
        device: VirtualEdgeTpu,
        model: Model,
        graph: int,
        resolver: OpResolverType,
        nodes: Sequence[Node],
    ) -> None:
        self._device = device
        self._regions = [Region(node, model, graph, resolver) for node in nodes]

    def invoke(self) -> None:
        self._device.execute(self._regions)


def _original_graph(model: Model) -> int:
    for number, graph in enumerate(model.graphs[1:], 1):
        if any(operator.custom_code == CUSTOM_OP for operator in graph.operators):
            raise DeviceError(
                f"{model.path or 'the model'}: graph {number} holds an Edge TPU operator; only graph 0 may",
                "Compile the original model again.",
            )
    for signature in model.signatures:
        if signature.key == CPU_SIGNATURE and signature.graph != 0:
            return signature.graph
    raise DeviceError(
        f"{model.path or 'the model'} was compiled for real Edge TPUs: it holds machine code and weights laid out "
        f"for the chip, and no '{CPU_SIGNATURE}' signature with the original operators that a virtual device runs",
        "Compile the original model with atoll, or use a real device.",
    )


def _original_operators(node: Node, model: Model, graph: int) -> Model:
    """The region of ``node`` as a model of its own, found by the names of its inputs and outputs."""
    original, where = model.graphs[graph], model.path or "the model"
    given = {view.name: view for view in node.inputs}
    names = [view.name for view in node.outputs]
    known = {tensor.name for tensor in original.tensors}
    for name in names:
        if name not in known:
            raise _mismatch(where, f"has no tensor '{name}', an output of the custom operator")
    part = extract(model, between(original, given, names), graph, outputs=names)
    written = {i for operator in part.main.operators for i in operator.outputs}
    for index in part.main.outputs:
        if index not in written:
            raise _mismatch(where, f"has no operator that computes '{part.main.tensors[index].name}'")
    for index in part.main.inputs:
        if part.main.tensors[index].name not in given:
            raise _mismatch(where, f"needs '{part.main.tensors[index].name}', no input of the custom operator")
    views = [*(given[part.main.tensors[i].name] for i in part.main.inputs), *node.outputs]
    for view, index in zip(views, (*part.main.inputs, *part.main.outputs)):
        _check_same(where, view, part.main.tensors[index].shape, part.main.tensors[index].dtype.numpy_name)
    return part


def _check_same(where: str, view: TensorView, shape: tuple[int, ...], dtype: str | None) -> None:
    if (view.shape, view.dtype.name) != (shape, dtype):
        raise _mismatch(where, f"has '{view.name}' as {dtype}{list(shape)}, not as {view.dtype.name}{list(view.shape)}")


def _mismatch(where: str, what: str) -> DeviceError:
    return DeviceError(
        f"{where}: the compiled graph and the '{CPU_SIGNATURE}' graph do not belong together: the latter {what}",
        "Compile the original model again.",
    )
