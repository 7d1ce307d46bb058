"""LiteRT's C structs as ctypes: addresses of the runtime's own memory in → their fields out.

Layouts: `tflite/core/c/common.h` of LiteRT 2.x. It calls itself "semi-ABI stable": fields are only ever added
at the end. The prefixes spelled out here are therefore those of older runtimes, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from atoll.device.aligned_arrays import ALIGNMENT

OK, ERROR = 0, 1

ALLOW_DYNAMIC_TENSORS = 1
"""Delegate flag; without it LiteRT prepares the operators first and fails on the unknown custom one."""

BUILTIN_DELEGATE = 51
"""``kTfLiteBuiltinDelegate``: the operator code of a node that a delegate made."""

KERNEL_INIT_FAILED = ctypes.c_void_p(-1).value
"""What ``init`` returns to refuse (``TfLiteKernelInitFailed()``)."""

ARENA = (2, 3)
"""``kTfLiteArenaRw`` and ``kTfLiteArenaRwPersistent``: placed when tensors are allocated."""

DYNAMIC = 4
"""``kTfLiteDynamic``: placed while operators run, in whatever shape they find."""

NUMPY_NAMES = {
    1: "float32",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float16",
    11: "float64",
    12: "complex128",
    13: "uint64",
    16: "uint32",
    17: "uint16",
}
"""``TfLiteType`` -> numpy type (the codes differ from those of the file's schema)."""


class TfLiteTensor(ctypes.Structure):
    """``TfLiteTensor``, complete: the runtime keeps tensors in an array, so the size matters."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("dims", ctypes.c_void_p),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
        ("allocation_type", ctypes.c_int),
        ("bytes", ctypes.c_size_t),
        ("allocation", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("delegate", ctypes.c_void_p),
        ("buffer_handle", ctypes.c_int),
        ("data_is_stale", ctypes.c_bool),
        ("is_variable", ctypes.c_bool),
        ("quantization_type", ctypes.c_int),
        ("quantization_params", ctypes.c_void_p),
        ("sparsity", ctypes.c_void_p),
        ("dims_signature", ctypes.c_void_p),
    )


class TfLiteNode(ctypes.Structure):
    """``TfLiteNode`` up to the fields a delegate needs."""

    _fields_ = (
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("intermediates", ctypes.c_void_p),
        ("temporaries", ctypes.c_void_p),
        ("user_data", ctypes.c_void_p),
        ("builtin_data", ctypes.c_void_p),
        ("custom_initial_data", ctypes.c_void_p),
        ("custom_initial_data_size", ctypes.c_int),
    )


InitFn = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
FreeFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
NodeFn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class TfLiteRegistration(ctypes.Structure):
    """``TfLiteRegistration``: the methods of one kind of node."""

    _fields_ = (
        ("init", InitFn),
        ("free", FreeFn),
        ("prepare", NodeFn),
        ("invoke", NodeFn),
        ("profiling_string", ctypes.c_void_p),
        ("builtin_code", ctypes.c_int32),
        ("custom_name", ctypes.c_char_p),
        ("version", ctypes.c_int),
        ("registration_external", ctypes.c_void_p),
        ("async_kernel", ctypes.c_void_p),
        ("inplace_operator", ctypes.c_uint64),
    )


PrepareFn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class TfLiteDelegate(ctypes.Structure):
    """``TfLiteDelegate``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("prepare", PrepareFn),
        ("copy_from_buffer_handle", ctypes.c_void_p),
        ("copy_to_buffer_handle", ctypes.c_void_p),
        ("free_buffer_handle", ctypes.c_void_p),
        ("flags", ctypes.c_int64),
        ("opaque_delegate_builder", ctypes.c_void_p),
    )


class TfLiteDelegateParams(ctypes.Structure):
    """``TfLiteDelegateParams``: what became one delegate node."""

    _fields_ = (
        ("delegate", ctypes.c_void_p),
        ("nodes_to_replace", ctypes.c_void_p),
        ("input_tensors", ctypes.c_void_p),
        ("output_tensors", ctypes.c_void_p),
    )


class TfLiteContext(ctypes.Structure):
    """``TfLiteContext`` up to the functions a delegate needs."""

    _fields_ = (
        ("tensors_size", ctypes.c_size_t),
        ("get_execution_plan", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("tensors", ctypes.c_void_p),
        ("impl", ctypes.c_void_p),
        ("resize_tensor", ctypes.c_void_p),
        ("report_error", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)),
        ("add_tensors", ctypes.c_void_p),
        (
            "get_node_and_registration",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
        ),
        (
            "replace_node_subsets",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, TfLiteRegistration, ctypes.c_void_p, ctypes.c_void_p),
        ),
    )


def read_int_array(address: int) -> tuple[int, ...]:
    """The items of a ``TfLiteIntArray``: a count, then that many ints; no array at all counts as empty."""
    if not address:
        return ()
    count = ctypes.c_int.from_address(address).value
    return tuple((ctypes.c_int * count).from_address(address + ctypes.sizeof(ctypes.c_int)))


def make_int_array(items: Iterable[int]) -> ctypes.Array[ctypes.c_int]:
    """A ``TfLiteIntArray`` that Python owns."""
    items = tuple(items)
    return (ctypes.c_int * (1 + len(items)))(len(items), *items)


def tensor(tensors: int, index: int) -> TfLiteTensor:
    """Tensor ``index`` of the array at ``tensors``: a view into the runtime's memory."""
    return TfLiteTensor.from_address(tensors + index * ctypes.sizeof(TfLiteTensor))


def usable_address(array: npt.NDArray[Any]) -> int:
    """Where an array lies, if a kernel may read and write it there: writable, in one piece, aligned; else 0."""
    try:  # a third of what `array.ctypes.data` takes, and refuses what may not be written or is not in one piece
        address = ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (BufferError, TypeError, ValueError):
        return 0
    return 0 if address % ALIGNMENT else address


def execution_plan(address: int) -> tuple[int, ...]:
    """Indices of the nodes of the graph behind the context at ``address``, in execution order."""
    plan = ctypes.c_void_p()
    status = TfLiteContext.from_address(address).get_execution_plan(address, ctypes.addressof(plan))
    if status != OK or plan.value is None:
        raise RuntimeError("LiteRT did not give the execution plan")
    return read_int_array(plan.value)


def node_and_registration(address: int, index: int) -> tuple[TfLiteNode, TfLiteRegistration]:
    """Node ``index`` of the context at ``address``: views into the runtime's memory, for callbacks."""
    node, registration = ctypes.c_void_p(), ctypes.c_void_p()
    status = TfLiteContext.from_address(address).get_node_and_registration(
        address, index, ctypes.addressof(node), ctypes.addressof(registration)
    )
    if status != OK or node.value is None or registration.value is None:
        raise RuntimeError(f"LiteRT did not give node {index}")
    return TfLiteNode.from_address(node.value), TfLiteRegistration.from_address(registration.value)


def report_error(address: int, message: str) -> None:
    """Hand ``message`` to the interpreter: it becomes part of the RuntimeError that Python sees."""
    # It is a printf format and the function is variadic. Escaping instead of passing "%s" and an argument
    # keeps the call right on machines that pass variadic arguments differently (arm64 macOS).
    text = message.replace("\0", " ").replace("%", "%%")
    TfLiteContext.from_address(address).report_error(address, text.encode("utf-8", "replace"))
