"""One compiled operator and the model that holds its original operators → an interpreter of those."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll.compiler.parameters.skeleton import has_skeletons, restored
from atoll.device.virtual import capi
from atoll.device.virtual.delegate import Delegate, Kernel, Node, TensorView
from atoll.errors import DeviceError, InvalidModelError
from atoll.model import CPU_SIGNATURE, CUSTOM_OP, Graph, Model, Operator, Tensor
from atoll.model.subgraph import between, extract

RESOLVER = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
"""Kernel sets differ by up to 7 steps on one network; results are comparable within one of them only."""


class Region:
    """The original operators of one custom operator, in an interpreter of their own that keeps their state.

    It is made before the interpreter around it, whose tensors it is given by :meth:`bind`.

    Args:
        part: The operators, as a model: :func:`original_operators`.
        content: The same as the bytes of a ``.tflite`` file.
        resolver: The CPU kernels.

    Raises:
        InvalidModelError: LiteRT cannot run an operator as the file describes it.
    """

    def __init__(self, part: Model, content: bytes, resolver: OpResolverType) -> None:
        self._where = part.path or "the model"
        tap = Delegate(_claims_nothing, custom_code="")
        try:
            self._interpreter = Interpreter(
                model_content=content,
                num_threads=1,
                experimental_op_resolver_type=resolver,
                experimental_delegates=[tap],
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InvalidModelError(
                f"{self._where}: LiteRT cannot run its operators: {error}",
                "Try it in plain LiteRT; convert it again if it fails there too.",
            ) from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._names = [detail["name"] for detail in inputs]
        places = [detail["index"] for detail in (*inputs, *outputs)]
        self._slots = [_Slot(tap.context, index) for index in places]
        self._values = [self._interpreter.tensor(detail["index"]) for detail in outputs]
        self._can_share = len({*places}) == len(places) and all(slot.is_fixed for slot in self._slots)
        self._shares = False

    def bind(self, node: Node) -> None:
        """Take inputs from the tensors of a node and give outputs to them, from now on.

        Raises:
            DeviceError: a kernel would not write as much as a tensor has room for, whatever shape the file says it has.
        """
        given = {view.name: view for view in node.inputs}
        for slot, view in zip(self._slots, (*map(given.__getitem__, self._names), *node.outputs)):
            if slot.shape not in (None, view.shape):
                found = f"computes '{view.name}' as {list(slot.shape or ())}, not as {list(view.shape)}"
                raise _mismatch(self._where, found)
            slot.view = view

    def run(self) -> None:
        """Compute the outputs' arrays from the inputs'."""
        for slot in self._slots:
            if slot.address != slot.view.address:  # it moved
                self._place()
                break
        if self._shares:
            self._interpreter.invoke()
        else:
            self._run_anywhere()

    def _place(self) -> None:
        shares = self._can_share
        for slot in self._slots:
            slot.address = slot.view.address
            shares = shares and slot.address != 0
        self._shares = shares
        for slot in self._slots if self._can_share else ():
            slot.share(shares)

    def _run_anywhere(self) -> None:
        inputs = len(self._names)
        for slot in self._slots[:inputs]:
            self._interpreter.set_tensor(slot.index, slot.view.array)
        self._interpreter.invoke()
        for value, slot in zip(self._values, self._slots[inputs:]):
            found, view = value(), slot.view
            if found.shape != view.shape:  # numpy would repeat values to make it fit
                raise DeviceError(f"'{view.name}' has the shape {list(view.shape)}, and became {list(found.shape)}")
            view.array[...] = found


class _Slot:
    """An input or output of a region's interpreter, put where the tensor of the interpreter around it is.

    LiteRT never plans a graph's inputs and outputs into memory that other tensors use, nor changes inputs; its kernels
    ask for the address with every inference. So nothing has to be copied between the two interpreters.
    """

    __slots__ = ("_base", "_data", "_own", "_tensors", "address", "index", "is_fixed", "shape", "view")

    view: TensorView

    def __init__(self, context: int, index: int) -> None:
        self.index = index
        self.address = -1
        """Where the view was when it was looked at last."""
        self._tensors = ctypes.c_void_p.from_address(context + capi.TfLiteContext.tensors.offset)
        self._base = 0
        self._find()
        tensor = self.tensor
        self._own = tensor.data
        self.shape = None if tensor.allocation_type == capi.DYNAMIC else capi.read_int_array(tensor.dims)
        """None where it is only known when the operators have run."""
        self.is_fixed = tensor.allocation_type in capi.ARENA and bool(tensor.data) and tensor.bytes > 0
        """Whether it has its place from when tensors are allocated on."""

    @property
    def tensor(self) -> capi.TfLiteTensor:
        return capi.tensor(self._tensors.value or 0, self.index)

    def share(self, shared: bool) -> None:
        """Put the tensor where the view is, or back where it was."""
        if self._tensors.value != self._base:
            self._find()
        self._data.value = self.address if shared else self._own

    def _find(self) -> None:
        """Look the tensor up: LiteRT moves all of them when it needs room for more, which may be while it runs."""
        self._base = self._tensors.value or 0
        self._data = ctypes.c_void_p.from_address(ctypes.addressof(self.tensor) + capi.TfLiteTensor.data.offset)


def _claims_nothing(nodes: Sequence[Node]) -> Kernel:
    raise AssertionError(f"no operator has an empty custom code: {nodes}")


def require_main_graph(model: Model) -> None:
    """Raises DeviceError when a compiled operator stands outside of the main graph."""
    for number, graph in enumerate(model.graphs[1:], 1):
        if any(operator.custom_code == CUSTOM_OP for operator in graph.operators):
            raise DeviceError(
                f"{model.path or 'the model'}: graph {number} holds an Edge TPU operator; only graph 0 may",
                "Compile the original model again.",
            )


def original_source(model: Model) -> tuple[Model, int]:
    """The original operators of a compiled file: a model, and the number of its graph that has them.

    They are kept beside the compiled graph, or described in the packages, with their weights in the parameter blobs.

    Raises:
        DeviceError: there is none.
    """
    where = model.path or "the model"
    for signature in model.signatures:
        if signature.key == CPU_SIGNATURE and signature.graph != 0:
            return model, signature.graph
    if has_skeletons(model):
        return restored(model), 0
    raise DeviceError(
        f"{where} was compiled for real Edge TPUs: it holds machine code and weights laid out "
        f"for the chip, and no '{CPU_SIGNATURE}' signature with the original operators that a virtual device runs",
        "Give the original model with it (original=, --original), compile that with atoll, or use a real device.",
    )


def require_same_origin(compiled: Model, original: Model) -> None:
    """Check every tensor that both files have: shape, type, quantisation, and values where both are constant.

    Raises:
        DeviceError: the first tensor that differs, or none is shared but the original is compiled itself.
    """
    where, other = compiled.path or "the compiled model", original.path or "the original"
    if any(operator.custom_code == CUSTOM_OP for graph in original.graphs for operator in graph.operators):
        raise DeviceError(f"{other} is compiled itself", f"Give the model that {where} was compiled from.")
    known = {tensor.name: tensor for tensor in original.main.tensors}
    for tensor in compiled.main.tensors:
        same = known.get(tensor.name)
        if same is None:
            continue  # operators that run tell whether it matters
        for what, ours, theirs in (
            ("element type", tensor.dtype.name, same.dtype.name),
            ("shape", list(tensor.shape), list(same.shape)),
            ("quantisation", _numerics(tensor), _numerics(same)),
        ):
            if ours != theirs:
                raise _not_original(
                    where, other, f"tensor '{tensor.name}' differs in its {what}: {ours}, there {theirs}"
                )
        if tensor.buffer and same.buffer and not np.array_equal(tensor.buffer.data, same.buffer.data):
            raise _not_original(where, other, f"constant tensor '{tensor.name}' has other values there")


def original_operators(compiled: Graph, operator: Operator, model: Model, graph: int) -> Model:
    """What a compiled operator stands for, as a model: found in graph ``graph`` of ``model`` by its tensors' names.

    Raises:
        DeviceError: that graph does not compute the operator's outputs from its inputs.
    """
    original, where = model.graphs[graph], model.path or "the model"
    given = {tensor.name: tensor for tensor in compiled.inputs_of(operator)}
    outputs = list(compiled.outputs_of(operator))
    names = [tensor.name for tensor in outputs]
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
    tensors = [*(given[part.main.tensors[i].name] for i in part.main.inputs), *outputs]
    for tensor, index in zip(tensors, (*part.main.inputs, *part.main.outputs)):
        found = part.main.tensors[index]
        if (tensor.shape, tensor.dtype) != (found.shape, found.dtype):
            has, wanted = (f"{item.dtype.name.lower()}{list(item.shape)}" for item in (found, tensor))
            raise _mismatch(where, f"has '{tensor.name}' as {has}, not as {wanted}")
    return part


def _numerics(tensor: Tensor) -> str:
    quantization = tensor.quantization
    if quantization is None or not len(quantization.scale):
        return "none"
    return f"scale {quantization.scale.tolist()}, zero point {quantization.zero_point.tolist()}"


def _mismatch(where: str, what: str) -> DeviceError:
    return DeviceError(
        f"{where}: the compiled graph and the graph of the original operators do not belong together: "
        f"the latter {what}",
        "Compile the original model again.",
    )


def _not_original(where: str, other: str, what: str) -> DeviceError:
    return DeviceError(f"{where} was not compiled from {other}: {what}", "Give the model it was compiled from.")
