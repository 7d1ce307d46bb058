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
from atoll.model import CPU_SIGNATURE, CUSTOM_OP, Model, Tensor
from atoll.model.subgraph import between, extract
from atoll.model.tflite import model_bytes

RESOLVER = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
"""Kernel sets differ by up to 7 steps on one network; results are comparable within one of them only."""


class Region:
    """The original operators of one custom operator, in an interpreter of their own that keeps their state.

    Raises:
        DeviceError: the graph of the original operators does not compute the custom operator's outputs from
            its inputs.
        InvalidModelError: LiteRT cannot run an operator as the file describes it.
    """

    def __init__(self, node: Node, model: Model, graph: int, resolver: OpResolverType) -> None:
        part = _original_operators(node, model, graph)
        tap = Delegate(_claims_nothing, custom_code="")
        try:
            self._interpreter = Interpreter(
                model_content=bytes(model_bytes(part)),
                num_threads=1,
                experimental_op_resolver_type=resolver,
                experimental_delegates=[tap],
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InvalidModelError(
                f"{model.path or 'the model'}: LiteRT cannot run its operators: {error}",
                "Try it in plain LiteRT; convert it again if it fails there too.",
            ) from error
        given = {view.name: view for view in node.inputs}
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs = [(detail["index"], given[detail["name"]]) for detail in inputs]
        self._outputs = [
            (self._interpreter.tensor(detail["index"]), view) for detail, view in zip(outputs, node.outputs)
        ]
        places = [*self._inputs, *((detail["index"], view) for detail, view in zip(outputs, node.outputs))]
        self._slots = [_Slot(tap.context, index, view) for index, view in places]
        for slot in self._slots:
            slot.require_fitting(model.path or "the model")
        self._can_share = len({index for index, _ in places}) == len(places) and all(s.is_fixed for s in self._slots)
        self._shares = False

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
        for index, view in self._inputs:
            self._interpreter.set_tensor(index, view.array)
        self._interpreter.invoke()
        for value, view in self._outputs:
            found = value()
            if found.shape != view.shape:  # numpy would repeat values to make it fit
                raise DeviceError(f"'{view.name}' has the shape {list(view.shape)}, and became {list(found.shape)}")
            view.array[...] = found


class _Slot:
    """An input or output of a region's interpreter, put where the tensor of the interpreter around it is.

    LiteRT never plans a graph's inputs and outputs into memory that other tensors use, nor changes inputs; its kernels
    ask for the address with every inference. So nothing has to be copied between the two interpreters.
    """

    __slots__ = ("_base", "_data", "_index", "_own", "_tensors", "address", "is_fixed", "view")

    def __init__(self, context: int, index: int, view: TensorView) -> None:
        self._index, self.view = index, view
        self.address = -1
        """Where the view was when it was looked at last."""
        self._tensors = ctypes.c_void_p.from_address(context + capi.TfLiteContext.tensors.offset)
        self._base = 0
        self._find()
        tensor = self.tensor
        self._own = tensor.data
        self.is_fixed = tensor.allocation_type in capi.ARENA and bool(tensor.data) and tensor.bytes > 0
        """Whether it has its place from when tensors are allocated on."""

    @property
    def tensor(self) -> capi.TfLiteTensor:
        return capi.tensor(self._tensors.value or 0, self._index)

    def require_fitting(self, where: str) -> None:
        """Check that kernels write as much as the view has room for, whatever shape the file says the tensor has."""
        tensor = self.tensor
        shape = capi.read_int_array(tensor.dims)
        if tensor.allocation_type != capi.DYNAMIC and shape != self.view.shape:
            raise _mismatch(where, f"computes '{self.view.name}' as {list(shape)}, not as {list(self.view.shape)}")

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


def original_source(model: Model) -> tuple[Model, int]:
    """The original operators of a compiled file: a model, and the number of its graph that has them.

    They are kept beside the compiled graph, or described in the packages, with their weights in the parameter blobs.

    Raises:
        DeviceError: there is none, or a compiled operator stands outside of the main graph.
    """
    where = model.path or "the model"
    for number, graph in enumerate(model.graphs[1:], 1):
        if any(operator.custom_code == CUSTOM_OP for operator in graph.operators):
            raise DeviceError(
                f"{where}: graph {number} holds an Edge TPU operator; only graph 0 may",
                "Compile the original model again.",
            )
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
