"""A LiteRT delegate in Python: `edgetpu-custom-op` nodes of an interpreter in → nodes with Python kernels.

Lifetimes belong to the C++ side. LiteRT calls ``free`` once for every node it made, whenever that is (after
the Python Interpreter is gone, when a ``tensor()`` view outlives it); until then the node keeps its kernel and
the C struct of its delegate alive. The callbacks are never freed: nothing can be called after its death.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from atoll.device.aligned_arrays import ALIGNMENT, aligned_empty
from atoll.device.virtual import capi
from atoll.errors import AtollError
from atoll.model import CUSTOM_OP

NODE_NAME = "AtollEdgeTpu"
"""What LiteRT calls a delegate node in its messages."""


class Kernel(Protocol):
    """What runs in place of one delegate node."""

    def invoke(self) -> None:
        """Read the inputs' arrays, write the outputs'; exceptions surface from ``Interpreter.invoke``."""


class TensorView:
    """A tensor of the interpreter that was delegated: name, shape, dtype, and its memory as ``array``.

    ``array`` (of ``shape`` and ``dtype``) is valid inside ``Kernel.invoke`` only, and may be another object
    at the next call. ``address`` is where it lies when kernels may work right there (in one piece and aligned to
    ``ALIGNMENT``), else 0. Arrays that come from outside the fused nodes must not be written to.
    """

    __slots__ = ("address", "array", "dtype", "name", "shape")

    array: npt.NDArray[Any]
    address: int

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype


@dataclass(frozen=True, slots=True)
class Node:
    """One custom operator; ``payload`` is its custom options, readable as long as the interpreter lives."""

    number: int
    """Of the operator in its graph."""
    payload: memoryview
    inputs: tuple[TensorView, ...]
    outputs: tuple[TensorView, ...]


Array = npt.NDArray[Any]

InPlace = Callable[[Sequence[Array]], None]
"""Runs a graph once, from the first arrays given, its inputs, to the others, its outputs."""

Factory = Callable[[Sequence[Node]], Kernel]
"""Adjacent custom operators are fused into one delegate node, hence several nodes, in execution order."""


class Progress:
    """``kernels`` of a delegate, and how many ``pending`` ones of an inference have not run to their end.

    Ctrl-C before the first or after the last line of a callback that catches it is beyond catching: ctypes
    prints it and returns anything to LiteRT, success included. Only a count tells then that outputs are stale.
    """

    __slots__ = ("kernels", "pending")

    def __init__(self) -> None:
        self.kernels = 0
        self.pending = 0


class Delegate:
    """A ``TfLiteDelegate`` for ``Interpreter(experimental_delegates=[...])``, or for several of them.

    It claims the nodes whose custom code is ``custom_code`` and runs ``factory(nodes)`` in their place. An
    exception of the factory or of a kernel becomes a RuntimeError of the interpreter with the same message,
    and stays here as ``error``.
    """

    def __init__(self, factory: Factory, custom_code: str = CUSTOM_OP) -> None:
        self.factory = factory
        self.custom_code = custom_code
        self.error: BaseException | None = None
        self.progress = Progress()
        self.context = 0
        """Address of the ``TfLiteContext`` of the first graph it was applied to."""
        self.operators = 0
        """How many that graph had."""
        self._whole: weakref.ref[_Instance] | None = None
        """The delegate node that has taken the place of all of them."""
        self._struct = capi.TfLiteDelegate(prepare=_PREPARE_GRAPH, flags=capi.ALLOW_DYNAMIC_TENSORS)
        _DELEGATES[ctypes.addressof(self._struct)] = self

    def _get_native_delegate_pointer(self) -> int:
        """Address of the ``TfLiteDelegate``, as the Interpreter asks for it."""
        return ctypes.addressof(self._struct)

    def in_place(self, inputs: Sequence[int], outputs: Sequence[int]) -> InPlace | None:
        """What runs the first graph on other arrays than its tensors of these indices, past LiteRT.

        The arrays given to it must have the tensors' shapes and types, and are the caller's again afterwards. It raises
        what the kernel raises. None when the graph is more than one delegate node, or needs or lacks another tensor.
        """
        instance = self._whole() if self._whole else None
        return instance.in_place(inputs, outputs) if instance else None

    def note(self, instance: _Instance, context: int) -> None:
        """A node was made."""
        self.progress.kernels += 1
        if context == self.context and instance.operators == self.operators:
            self._whole = weakref.ref(instance)


_NOWHERE: Array = np.empty(0, np.uint8)

_POINTER = "Q" if ctypes.sizeof(ctypes.c_void_p) == 8 else "I"


class _Instance:
    """One delegate node of one interpreter: the kernel, and its views bound to the runtime's memory."""

    def __init__(self, delegate: Delegate, context: int, params: capi.TfLiteDelegateParams) -> None:
        # Not the delegate: it may lead to the interpreter, and that cycle no garbage collector could see.
        self.delegate = weakref.ref(delegate)
        self._struct = delegate._struct
        self.progress = delegate.progress
        self._tensors = ctypes.c_void_p.from_address(context + capi.TfLiteContext.tensors.offset)
        self._base = 0
        self._views: dict[int, TensorView] = {}
        indices = capi.read_int_array(params.nodes_to_replace)
        self.operators = len(indices)
        nodes = []
        for index in indices:
            node, _ = capi.node_and_registration(context, index)
            nodes.append(Node(index, _payload(node), self._described(node.inputs), self._described(node.outputs)))
        self._inputs = frozenset(capi.read_int_array(params.input_tensors))
        self._outputs = outputs = frozenset(capi.read_int_array(params.output_tensors))
        # Tensors between fused nodes belong to nobody: LiteRT gives them no memory.
        for index in self._views.keys() - self._inputs - outputs:
            view = self._views[index]
            view.array = aligned_empty(view.shape, view.dtype)
            view.address = capi.usable_address(view.array)
        self._bound = sorted(self._views.keys() & (self._inputs | outputs))
        self._layout = struct.Struct(_pointer_layout(self._bound))
        self.kernel = delegate.factory(nodes)

    def _described(self, array: int) -> tuple[TensorView, ...]:
        """The views of an array of tensors, the same one for the same tensor."""
        views = []
        for index in capi.read_int_array(array):
            if index < 0:  # an optional input left out
                continue
            if index not in self._views:
                self._views[index] = _describe(capi.tensor(self._tensors.value or 0, index))
            views.append(self._views[index])
        return tuple(views)

    def _tensor(self, index: int) -> capi.TfLiteTensor:
        return capi.tensor(self._tensors.value or 0, index)

    def check_shapes(self) -> None:
        """Raises ``ValueError`` naming the first tensor that was resized since the delegate was applied."""
        for index in self._bound:
            view, shape = self._views[index], capi.read_int_array(self._tensor(index).dims)
            if shape != view.shape:
                raise ValueError(
                    f"tensor '{view.name}' was resized from {list(view.shape)} to {list(shape)}: "
                    f"a compiled model runs with the shapes it was compiled for"
                )

    def invoke(self) -> None:
        # Tensors move when the interpreter allocates again, and dynamic ones between any two invokes. Reading
        # all addresses at once takes 0.2 µs, making an array 1 µs.
        if self._tensors.value != self._base or self._layout.unpack_from(self._memory) != self._addresses:
            self._bind()
        self.kernel.invoke()
        self.progress.pending -= 1

    def in_place(self, inputs: Sequence[int], outputs: Sequence[int]) -> InPlace | None:
        """See :meth:`Delegate.in_place`."""
        if not self._inputs <= {*inputs} or not {*outputs} <= self._outputs:
            return None
        views = [self._views.get(index) for index in (*inputs, *outputs)]  # None: an input that no operator reads
        unwanted = [
            (view, aligned_empty(view.shape, view.dtype))
            for view in map(self._views.__getitem__, self._outputs - {*outputs})
        ]

        def run(arrays: Sequence[Array]) -> None:
            self._base = 0  # what LiteRT runs next looks for its own tensors again
            try:
                for view, array in (*zip(views, arrays), *unwanted):
                    if view is not None:
                        if array.shape != view.shape or array.dtype != view.dtype:
                            raise ValueError(
                                f"tensor '{view.name}' is {view.dtype}{list(view.shape)}, "
                                f"not {array.dtype}{list(array.shape)}"
                            )
                        view.array, view.address = array, capi.usable_address(array)
                self.kernel.invoke()
            finally:
                for view in views:
                    if view is not None:
                        view.array = _NOWHERE  # the caller's again, who may be waiting for its memory

        return run

    def _bind(self) -> None:
        base = self._tensors.value or 0
        for index in self._bound:
            view = self._views[index]
            tensor = self._tensor(index)
            view.array = _array(tensor, view, writeable=index not in self._inputs)
            view.address = _aligned(tensor.data or 0)
        self._memory = (ctypes.c_ubyte * self._layout.size).from_address(base)
        self._addresses = self._layout.unpack_from(self._memory)
        self._base = base


def _payload(node: capi.TfLiteNode) -> memoryview:
    size = node.custom_initial_data_size if node.custom_initial_data else 0
    data = (ctypes.c_ubyte * size).from_address(node.custom_initial_data) if size else b""
    return memoryview(data).toreadonly()


def _aligned(address: int) -> int:
    return 0 if address % ALIGNMENT else address


def _pointer_layout(indices: Sequence[int]) -> str:
    """Format that picks the data pointers of the tensors at ascending ``indices`` out of the tensor array."""
    layout, end = "=", 0
    for index in indices:
        begin = index * ctypes.sizeof(capi.TfLiteTensor) + capi.TfLiteTensor.data.offset
        layout += f"{begin - end}x{_POINTER}"
        end = begin + ctypes.sizeof(ctypes.c_void_p)
    return layout


def _describe(tensor: capi.TfLiteTensor) -> TensorView:
    name = (tensor.name or b"").decode("utf-8", "replace")
    if tensor.type not in capi.NUMPY_NAMES:
        raise TypeError(f"tensor '{name}' has an element type (TfLiteType {tensor.type}) without a numpy type")
    return TensorView(name, capi.read_int_array(tensor.dims), np.dtype(capi.NUMPY_NAMES[tensor.type]))


def _array(tensor: capi.TfLiteTensor, view: TensorView, *, writeable: bool) -> npt.NDArray[Any]:
    size = int(np.prod(view.shape, dtype=np.int64)) * view.dtype.itemsize
    if size == 0:
        return np.empty(view.shape, view.dtype)
    if not tensor.data or tensor.bytes < size:
        raise ValueError(f"tensor '{view.name}' has no memory ({tensor.bytes} bytes of {size})")
    memory = memoryview((ctypes.c_ubyte * size).from_address(tensor.data))
    return np.frombuffer(memory if writeable else memory.toreadonly(), view.dtype).reshape(view.shape)


def _fail(context: int, delegate: Delegate | None, error: BaseException) -> int:
    """Keep ``error``, report its message to the interpreter, and return the status of a failure."""
    if delegate is not None:
        delegate.error = error
    message = str(error) if isinstance(error, AtollError) else f"{type(error).__name__}: {error}"
    capi.report_error(context, message + "\n")
    return capi.ERROR


_DELEGATES: weakref.WeakValueDictionary[int, Delegate] = weakref.WeakValueDictionary()
"""By address of the struct. An Interpreter keeps its delegates alive."""

_INSTANCES: dict[int, _Instance] = {}
"""By handle, which is the ``user_data`` of the node; ``free`` takes it out."""

_HANDLES = itertools.count(1)

_USER_DATA = capi.TfLiteNode.user_data.offset


def _instance(node: int) -> _Instance:
    return _INSTANCES[ctypes.c_void_p.from_address(node + _USER_DATA).value or 0]


def _init(context: int, params: int, _length: int) -> int | None:
    """A node was made: build its kernel."""
    delegate = None
    try:
        fields = capi.TfLiteDelegateParams.from_address(params)
        delegate = _DELEGATES[fields.delegate]
        instance = _Instance(delegate, context, fields)
        delegate.note(instance, context)
    except BaseException as error:
        _fail(context, delegate, error)
        return capi.KERNEL_INIT_FAILED
    handle = next(_HANDLES)
    _INSTANCES[handle] = instance
    return handle


def _free(_context: int, handle: int, instances: dict[int, _Instance] = _INSTANCES) -> None:
    """A node dies; the default argument is there for nodes that die after this module at exit."""
    instance = instances.pop(handle, None)
    if instance is not None:
        instance.progress.kernels -= 1


def _prepare(context: int, node: int) -> int:
    """Tensors are about to be allocated."""
    instance = None
    try:
        instance = _instance(node)
        instance.check_shapes()
    except BaseException as error:
        return _fail(context, instance.delegate() if instance else None, error)
    return capi.OK


def _invoke(context: int, node: int) -> int:
    instance = None
    try:
        instance = _instance(node)
        instance.invoke()
    except BaseException as error:
        return _fail(context, instance.delegate() if instance else None, error)
    return capi.OK


def _prepare_graph(context: int, address: int) -> int:
    """The delegate is applied to a graph: claim its nodes."""
    delegate = None
    try:
        delegate = _DELEGATES[address]
        plan = capi.execution_plan(context)
        if not delegate.context:
            delegate.context, delegate.operators = context, len(plan)
        code = delegate.custom_code.encode()
        nodes = [i for i in plan if capi.node_and_registration(context, i)[1].custom_name == code]
        if not nodes:
            return capi.OK
        replace = capi.TfLiteContext.from_address(context).replace_node_subsets
        indices = capi.make_int_array(nodes)
        return int(replace(context, _REGISTRATION, ctypes.addressof(indices), address))
    except BaseException as error:
        return _fail(context, delegate, error)


_INIT, _FREE = capi.InitFn(_init), capi.FreeFn(_free)
_PREPARE, _INVOKE = capi.NodeFn(_prepare), capi.NodeFn(_invoke)
_PREPARE_GRAPH = capi.PrepareFn(_prepare_graph)
for _callback in (_INIT, _FREE, _PREPARE, _INVOKE, _PREPARE_GRAPH):
    # Interpreters may outlive this module at exit, and call `free`: callbacks must never be deallocated.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_callback))

_REGISTRATION = capi.TfLiteRegistration(
    init=_INIT,
    free=_FREE,
    prepare=_PREPARE,
    invoke=_INVOKE,
    builtin_code=capi.BUILTIN_DELEGATE,
    custom_name=NODE_NAME.encode(),
    version=1,
)
