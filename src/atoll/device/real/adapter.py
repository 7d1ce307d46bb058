"""A delegate built against an older TensorFlow Lite -> one that today's LiteRT takes.

What changed since 2019, all in structs that cross the border (../shared/facts/runtime-library.md):

* ``TfLiteRegistration``, passed by value, was 64 bytes; the three fields added since come from the stack.
* ``TfLiteDelegate`` had no ``opaque_delegate_builder``; what lies behind the old struct is read as one.
* ``TfLiteTensor``, kept in an array, was 104 bytes until 2020 (no ``dims_signature``), 112 since.

So LiteRT gets a delegate of ours, complete, whose ``Prepare`` shows the library a copy of the context: functions in it
take the old structs and pass on complete ones. The kernels that the library makes become LiteRT's own: with tensors of
112 bytes an inference calls the library's ``invoke`` and nothing of ours. With tensors of 104 bytes each kernel is
called through :func:`_invoke`, with a context whose ``tensors`` are copies of the old size.

A library of today's layout takes the same way: no delegate of an Edge TPU uses the fields that are left out.

The library's delegate lives as long as the nodes that it made, which are the native interpreter's: a view of a tensor
may keep them longer than the Python interpreter. Callbacks belong to this module and are never freed.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable
from typing import Any

from atoll.device.real.context_view import TODAY, VIEWS, Context, ContextView, Exchanged, ResizeFn, TensorBytes
from atoll.device.virtual import capi


class OldRegistration(ctypes.Structure):
    """``TfLiteRegistration`` as it was until 2021."""

    _fields_ = capi.TfLiteRegistration._fields_[:8]


_AddFn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_ReplaceFn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, capi.TfLiteRegistration, ctypes.c_void_p, ctypes.c_void_p)
"""Old libraries pass less: the last three fields are whatever lies there, looked at only to tell their age."""

_BufferFn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_FreeBufferFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))


class AdaptedDelegate:
    """The delegate at ``address``, for LiteRT interpreters; ``close`` is called when nothing needs it any more."""

    def __init__(
        self, address: int, tensor_bytes: TensorBytes = 112, close: Callable[[], object] | None = None
    ) -> None:
        self.native = address
        self.tensor_bytes = tensor_bytes
        self.complete: bool | None = None
        """Whether the library's structs are today's, seen when it makes nodes: else LiteRT alone works by luck only."""
        self._close = close
        old = capi.TfLiteDelegate.from_address(address)  # its last field is not there in old libraries: not read
        self.struct = capi.TfLiteDelegate(
            data=old.data, prepare=_PREPARE_GRAPH, flags=old.flags, opaque_delegate_builder=None
        )
        if old.copy_from_buffer_handle:
            self.struct.copy_from_buffer_handle = ctypes.cast(_COPY_FROM, ctypes.c_void_p).value
        if old.copy_to_buffer_handle:
            self.struct.copy_to_buffer_handle = ctypes.cast(_COPY_TO, ctypes.c_void_p).value
        if old.free_buffer_handle:
            self.struct.free_buffer_handle = ctypes.cast(_FREE_BUFFER, ctypes.c_void_p).value
            _immortal.append(self)  # LiteRT frees buffers after the nodes: there is no later sign of life
        self._address = ctypes.addressof(self.struct)
        _adapted[self._address] = self

    def _get_native_delegate_pointer(self) -> int:
        """Address of the ``TfLiteDelegate``, as the Interpreter asks for it."""
        return self._address

    def look_at(self, registration: capi.TfLiteRegistration) -> None:
        """Tell from what lies where today's fields are, all of them 0 for an Edge TPU, how old the library is."""
        native = capi.TfLiteDelegate.from_address(self.native)
        fields = (registration.registration_external, registration.async_kernel, registration.inplace_operator)
        self.complete = not native.opaque_delegate_builder and not any(fields)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Before weak references are told, so that a device is free only when its driver is closed. Not at exit: the
        # native interpreter may still be there, and needs it.
        close = getattr(self, "_close", None)
        if close is not None and not finalizing():
            self._close = None
            close()


class _Node:
    """A node that a library's delegate made: its functions, and what keeps the delegate alive."""

    __slots__ = ("delegate", "functions", "invoke", "view")

    def __init__(self, delegate: AdaptedDelegate, functions: OldRegistration, view: ContextView | None) -> None:
        self.delegate, self.functions, self.view = delegate, functions, view
        self.invoke = functions.invoke  # reading the field makes a new object each time


_adapted: weakref.WeakValueDictionary[int, AdaptedDelegate] = weakref.WeakValueDictionary()
"""By address of our struct. An interpreter and its nodes keep them alive."""

_immortal: list[AdaptedDelegate] = []

_applying: dict[int, AdaptedDelegate] = {}
"""By address of the copied context: whose delegate is being applied."""

_preparing: dict[int, tuple[AdaptedDelegate, OldRegistration]] = {}
"""By address of our struct: the registration whose nodes are being made."""

_nodes: dict[int, list[_Node]] = {}
"""By the ``user_data`` that the library's ``init`` returned; ``free`` takes them out."""

_POINTER = ctypes.c_void_p
_USER_DATA = capi.TfLiteNode.user_data.offset
_NODE_DELEGATE = ctypes.sizeof(capi.TfLiteNode)
"""``TfLiteNode.delegate`` is the field after those of :class:`capi.TfLiteNode`."""


def _fail(context: int, error: BaseException) -> int:
    capi.report_error(context, f"{type(error).__name__}: {error}\n")
    return capi.ERROR


def _prepare_graph(context: int, address: int) -> int:
    """LiteRT applies our delegate to a graph: let the library's do it on a copy of the context."""
    try:
        delegate = _adapted[address]
        view = ContextView(context, delegate.tensor_bytes, _EXCHANGED)
        _applying[view.address] = delegate
        try:
            view.refresh()
            status = int(capi.TfLiteDelegate.from_address(delegate.native).prepare(view.address, delegate.native))
            view.write_back()
        finally:
            del _applying[view.address]
            _rename_delegate(context, delegate.native, address)
            view.close()
    except BaseException as error:
        return _fail(context, error)
    return status


def _rename_delegate(context: int, before: int, after: int) -> None:
    """Let the nodes of one delegate be those of another, while a library looks."""
    for index in capi.execution_plan(context):
        node, _ = capi.node_and_registration(context, index)
        field = _POINTER.from_address(ctypes.addressof(node) + _NODE_DELEGATE)
        if field.value == before:
            field.value = after


def _replace(copied: int, old: capi.TfLiteRegistration, nodes: int, _native: int) -> int:
    """The library makes nodes: complete its registration, and put ours between where it has to be."""
    view = VIEWS[copied]
    try:
        delegate = _applying[copied]
        delegate.look_at(old)
        functions = OldRegistration.from_buffer_copy(old)
        new = capi.TfLiteRegistration()
        ctypes.memmove(ctypes.addressof(new), ctypes.addressof(functions), ctypes.sizeof(functions))
        if old.init:
            new.init, new.free = _INIT, _FREE
        elif delegate.tensor_bytes != TODAY:
            raise NotImplementedError("a delegate of 2020 or older whose nodes have no data of their own")
        if delegate.tensor_bytes != TODAY:
            new.prepare, new.invoke = (_PREPARE if old.prepare else capi.NodeFn()), _INVOKE
        view.write_back()
        address = delegate._get_native_delegate_pointer()
        _preparing[address] = delegate, functions
        try:
            replace = capi.TfLiteContext.from_address(view.real).replace_node_subsets
            status = int(replace(view.real, new, nodes, address))
        finally:
            del _preparing[address]
        _rename_delegate(view.real, address, delegate.native)  # the library may look for its nodes
        view.refresh()
    except BaseException as error:
        return _fail(view.real, error)
    return status


def _init(context: int, buffer: int, length: int) -> int | None:
    """A node is made. The parameters name our delegate: the library is to find its own there."""
    try:
        params = capi.TfLiteDelegateParams.from_address(buffer)
        ours = params.delegate
        delegate, functions = _preparing[ours]
        view = None if delegate.tensor_bytes == TODAY else ContextView(context, delegate.tensor_bytes, _EXCHANGED)
        params.delegate = delegate.native
        try:
            if view is None:
                user = functions.init(context, buffer, length)
            else:
                view.refresh()
                user = functions.init(view.address, buffer, length)
                view.write_back()
        finally:
            params.delegate = ours
    except BaseException as error:
        _fail(context, error)
        return capi.KERNEL_INIT_FAILED
    if user is not None and user != capi.KERNEL_INIT_FAILED:
        _nodes.setdefault(user, []).append(_Node(delegate, functions, view))
    elif view is not None:
        view.close()
    return user  # type: ignore[no-any-return]


def _free(context: int, user: int, nodes: dict[int, list[_Node]] = _nodes) -> None:
    """A node dies, and with the last one the delegate; the default argument is there for nodes that die at exit."""
    found = nodes.get(user)
    if not found:
        return
    node = found.pop()
    if not found:
        del nodes[user]
    view = node.view
    if node.functions.free:
        if view is not None:
            view.refresh()
        node.functions.free(context if view is None else view.address, user)
    if view is not None:
        view.close()


def _prepare(context: int, address: int) -> int:
    """Tensors of 104 bytes: LiteRT is about to allocate."""
    try:
        node = _nodes[_POINTER.from_address(address + _USER_DATA).value or 0][-1]
        view = node.view
        assert view is not None
        view.refresh()
        status = int(node.functions.prepare(view.address, address))
        view.write_back()
        view.forget_copies()  # it may have added tensors
    except BaseException as error:
        return _fail(context, error)
    return status


def _invoke(context: int, address: int, nodes: dict[int, list[_Node]] = _nodes) -> int:
    """Tensors of 104 bytes: one inference of a node."""
    try:
        node = nodes[_POINTER.from_address(address + _USER_DATA).value or 0][-1]
        return node.invoke(node.view.show_tensors_of(address), address)  # type: ignore[union-attr,no-any-return]
    except BaseException as error:
        return _fail(context, error)


def _resize(copied: int, tensor: int, dims: int) -> int:
    view = VIEWS[copied]
    try:
        return view.resize(tensor, dims)
    except BaseException as error:
        return _fail(view.real, error)


def _add(copied: int, count: int, first: int) -> int:
    """``AddTensors`` may move all of them."""
    view = VIEWS[copied]
    try:
        view.write_back()
        status = int(_AddFn(Context.from_address(view.real).add_tensors)(view.real, count, first))
        view.refresh()
    except BaseException as error:
        return _fail(view.real, error)
    return status


def _copy_from(context: int, address: int, handle: int, tensor: int) -> int:
    return _with_buffer("copy_from_buffer_handle", context, address, handle, tensor)


def _copy_to(context: int, address: int, handle: int, tensor: int) -> int:
    return _with_buffer("copy_to_buffer_handle", context, address, handle, tensor)


def _with_buffer(name: str, context: int, address: int, handle: int, tensor: int) -> int:
    """A single tensor is the same in all layouts, as far as the old ones go."""
    try:
        native = _adapted[address].native
        return int(_BufferFn(getattr(capi.TfLiteDelegate.from_address(native), name))(context, native, handle, tensor))
    except BaseException as error:
        return _fail(context, error)


def _free_buffer(context: int, address: int, handle: Any) -> None:
    try:
        native = _adapted[address].native
        _FreeBufferFn(capi.TfLiteDelegate.from_address(native).free_buffer_handle)(context, native, handle)
    except BaseException as error:
        _fail(context, error)


_PREPARE_GRAPH, _INIT, _FREE = capi.PrepareFn(_prepare_graph), capi.InitFn(_init), capi.FreeFn(_free)
_PREPARE, _INVOKE = capi.NodeFn(_prepare), capi.NodeFn(_invoke)
_REPLACE, _RESIZE, _ADD = _ReplaceFn(_replace), ResizeFn(_resize), _AddFn(_add)
_COPY_FROM, _COPY_TO, _FREE_BUFFER = _BufferFn(_copy_from), _BufferFn(_copy_to), _FreeBufferFn(_free_buffer)
_EXCHANGED = Exchanged(*(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in (_REPLACE, _RESIZE, _ADD)))
