"""LiteRT's context -> a copy of it as an older library knows it: other functions, tensors of another size."""

from __future__ import annotations

import ctypes
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.device.virtual import capi

TensorBytes = Literal[112, 104]
"""Size of a ``TfLiteTensor`` in the library's eyes: what the layouts differ in once registrations are completed."""

TENSOR_SIZES: tuple[TensorBytes, ...] = (112, 104)
"""In the order in which they are tried: the newer one is the more frequent one, and costs nothing."""

TODAY = ctypes.sizeof(capi.TfLiteTensor)

_CONTEXT_BYTES = 256
"""More than ``TfLiteContext`` has had so far; it is the beginning of a larger object, so there is that much to copy."""


class Context(ctypes.Structure):
    """What of ``TfLiteContext`` is exchanged in the copy."""

    _fields_ = (
        ("tensors_size", ctypes.c_size_t),
        ("get_execution_plan", ctypes.c_void_p),
        ("tensors", ctypes.c_void_p),
        ("impl", ctypes.c_void_p),
        ("resize_tensor", ctypes.c_void_p),
        ("report_error", ctypes.c_void_p),
        ("add_tensors", ctypes.c_void_p),
        ("get_node_and_registration", ctypes.c_void_p),
        ("replace_node_subsets", ctypes.c_void_p),
        ("rest", ctypes.c_ubyte * (_CONTEXT_BYTES - 9 * ctypes.sizeof(ctypes.c_void_p))),
    )


ResizeFn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class Exchanged(NamedTuple):
    """Addresses of functions that stand in the copy for LiteRT's."""

    replace: int
    resize: int
    add: int


_Words: TypeAlias = npt.NDArray[np.uint64]

_GAP = 16
"""Tensors between two of a node's that are copied along, as that is quicker than another copy."""

_copyto = np.copyto


def _words(address: int, count: int, width: int) -> _Words:
    memory = (ctypes.c_ubyte * (count * width * 8)).from_address(address)
    return np.frombuffer(memoryview(memory), np.uint64).reshape(count, width)


class ContextView:
    """A copy of the context at ``context``, in the layout of a library; tensors of 112 bytes are LiteRT's own."""

    def __init__(self, context: int, tensor_bytes: TensorBytes, functions: Exchanged) -> None:
        self.real = context
        self.copy = Context()
        self.address = ctypes.addressof(self.copy)
        self._size = tensor_bytes
        self._functions = functions
        self._old = (ctypes.c_ubyte * 0)()
        self._shown = b""
        self._tensors = ctypes.c_void_p.from_address(context + capi.TfLiteContext.tensors.offset)
        self._base: int | None = None
        self._copies: dict[int, tuple[tuple[_Words, _Words], ...]] = {}
        VIEWS[self.address] = self

    def close(self) -> None:
        """Nothing asks for this context any more."""
        VIEWS.pop(self.address, None)

    def refresh(self) -> None:
        """Show what the context has now."""
        self._copy_context()
        if self._size == TODAY:
            return
        count = self.copy.tensors_size
        if len(self._old) != count * self._size:
            self._old = (ctypes.c_ubyte * (count * self._size))()
            self._copies.clear()
        source, target = self.copy.tensors or 0, ctypes.addressof(self._old)
        for index in range(count):
            ctypes.memmove(target + index * self._size, source + index * TODAY, self._size)
        self._shown = bytes(self._old)
        self.copy.tensors = target

    def _copy_context(self) -> None:
        copy = self.copy
        ctypes.memmove(self.address, self.real, _CONTEXT_BYTES)
        copy.replace_node_subsets, copy.add_tensors = self._functions.replace, self._functions.add
        if self._size != TODAY:
            copy.resize_tensor = self._functions.resize

    def forget_copies(self) -> None:
        """Look anew which tensors a node has, and where they are."""
        self._copies.clear()

    def write_back(self) -> None:
        """Give LiteRT what the library has changed in the copies of its tensors."""
        if self._size == TODAY:
            return
        tensors = Context.from_address(self.real).tensors
        now, size = bytes(self._old), self._size
        if now == self._shown:
            return
        for at in range(0, len(now), size):
            if now[at : at + size] != self._shown[at : at + size]:
                ctypes.memmove(tensors + at // size * TODAY, now[at : at + size], size)
        self._shown = now

    def show_tensors_of(self, node: int) -> int:
        """Copy what an inference of the node needs, its own tensors; address of the context for it.

        The rest of the context stays as it was when the node was prepared. 3 µs with numpy, 20 with ``memmove``.
        """
        base = self._tensors.value
        if base != self._base:
            self.refresh()
            self._copies.clear()
            self._base = base
        copies = self._copies.get(node)
        if copies is None:
            copies = self._copies[node] = self._copies_for(node)
        for target, source in copies:
            _copyto(target, source)
        return self.address

    def _copies_for(self, node: int) -> tuple[tuple[_Words, _Words], ...]:
        """Old and new words of the node's tensors, in as few pieces as there are runs of them."""
        fields, count, width = capi.TfLiteNode.from_address(node), self.copy.tensors_size, self._size // 8
        lists = (fields.inputs, fields.outputs, fields.intermediates, fields.temporaries)
        indices = sorted({index for array in lists for index in capi.read_int_array(array) if index >= 0})
        theirs = _words(self._base or 0, count, TODAY // 8)
        ours = np.frombuffer(memoryview(self._old), np.uint64).reshape(count, width)
        copies = []
        while indices:
            end = next((i for i in range(1, len(indices)) if indices[i] - indices[i - 1] > _GAP), len(indices))
            first, last = indices[0], indices[end - 1]
            copies.append((ours[first : last + 1], theirs[first : last + 1, :width]))
            del indices[:end]
        return tuple(copies)

    def resize(self, tensor: int, dims: int) -> int:
        """``ResizeTensor`` of one of the copies."""
        real, at = Context.from_address(self.real), tensor - ctypes.addressof(self._old)
        function = ResizeFn(real.resize_tensor)
        if not 0 <= at < len(self._old):
            return int(function(self.real, tensor, dims))
        theirs = real.tensors + at // self._size * TODAY
        ctypes.memmove(theirs, tensor, self._size)
        status = int(function(self.real, theirs, dims))
        ctypes.memmove(tensor, theirs, self._size)
        return status


VIEWS: dict[int, ContextView] = {}
"""By address of the copied context."""
