"""A request as JSON in the arguments → lines on standard output; run in a process of its own, which may crash.

Started as a script, without the package, so that it answers in 30 ms. Every step is announced before it is taken:
the last line tells where a crash or a hang happened. Lines start with ``atoll-probe`` because the native library
may print what it likes.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

MARK = "atoll-probe "


class Device(ctypes.Structure):
    """``struct edgetpu_device``."""

    _fields_ = (("type", ctypes.c_int), ("path", ctypes.c_char_p))


class Option(ctypes.Structure):
    """``struct edgetpu_option``."""

    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p))


TYPES = ("pci", "usb")
"""``edgetpu_device_type``: APEX_PCI is 0, APEX_USB is 1."""

FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "edgetpu_list_devices": (ctypes.POINTER(Device), (ctypes.POINTER(ctypes.c_size_t),)),
    "edgetpu_free_devices": (None, (ctypes.POINTER(Device),)),
    "edgetpu_create_delegate": (
        ctypes.c_void_p,
        (ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(Option), ctypes.c_size_t),
    ),
    "edgetpu_free_delegate": (None, (ctypes.c_void_p,)),
    "edgetpu_verbosity": (None, (ctypes.c_int,)),
    "edgetpu_version": (ctypes.c_char_p, ()),
}
"""Results and arguments of ``edgetpu_c.h``."""


def load(path: str) -> ctypes.CDLL:
    """The library with the functions' types set. Raises OSError or AttributeError (a function is missing)."""
    library = ctypes.CDLL(path)
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def list_devices(library: ctypes.CDLL) -> list[tuple[str, str]]:
    """(type, path) of every device."""
    count = ctypes.c_size_t()
    devices = library.edgetpu_list_devices(ctypes.byref(count))
    try:
        found = [devices[i] for i in range(count.value)] if devices else []
        return [(TYPES[d.type], os.fsdecode(d.path)) for d in found if 0 <= d.type < len(TYPES) and d.path]
    finally:
        if devices:
            library.edgetpu_free_devices(devices)


def create_delegate(library: ctypes.CDLL, kind: str, path: str, options: dict[str, str]) -> int:
    """Address of the ``TfLiteDelegate``, 0 when the library refuses."""
    array = (Option * max(len(options), 1))(*(Option(k.encode(), v.encode()) for k, v in options.items()))
    address = library.edgetpu_create_delegate(TYPES.index(kind), os.fsencode(path), array, len(options))
    return int(address or 0)


class _Attached:
    def __init__(self, address: int) -> None:
        self.address = address

    def _get_native_delegate_pointer(self) -> int:
        return self.address


def _say(**fields: object) -> None:
    os.write(1, (MARK + json.dumps(fields) + "\n").encode())


def _run(request: dict[str, Any]) -> None:
    if "source" in request:
        sys.path.insert(0, request["source"])  # this very atoll
    opened = _open_plugin(request) if request.get("plugin") else _open_device(request)
    if opened is None or "model" not in request:
        return
    keep, address, free = opened
    _say(step="import")
    from ai_edge_litert.interpreter import Interpreter

    delegate: Any = _Attached(address)
    if request.get("tensor_bytes"):
        from atoll.device.real.adapter import AdaptedDelegate

        delegate = AdaptedDelegate(address, request["tensor_bytes"])
    try:
        _say(step="attach")
        interpreter = Interpreter(model_path=os.fsencode(request["model"]), experimental_delegates=[delegate])
        _say(step="allocate")
        interpreter.allocate_tensors()
        _say(complete=getattr(delegate, "complete", None))
        if request.get("until") != "allocate":
            _say(step="invoke")
            interpreter.invoke()
    except Exception as error:
        _say(failure=f"{type(error).__name__}: {error}")
    else:
        _say(step="close")
        del interpreter
        free(address)
        _say(step="done")
    del keep


def _open_device(request: dict[str, Any]) -> tuple[Any, int, Any] | None:
    """Through ``edgetpu_c.h``: load, list, and open ``device``; what must live, the delegate, and what frees it."""
    _say(step="load")
    try:
        library = load(request["library"])
    except (OSError, AttributeError) as error:
        _say(failure=f"{type(error).__name__}: {error}")
        return None
    _say(step="version")
    version = library.edgetpu_version() or b""
    _say(version=version.decode("utf-8", "replace"))
    _say(step="list")
    _say(devices=list_devices(library))
    device = request.get("device")
    if device is None:
        return None
    _say(step="open")
    address = create_delegate(library, device[0], device[1], request["options"])
    _say(opened=bool(address))
    return (library, address, library.edgetpu_free_delegate) if address else None


def _open_plugin(request: dict[str, Any]) -> tuple[Any, int, Any] | None:
    """Through the two functions that ``load_delegate`` calls."""
    _say(step="open")
    from ai_edge_litert.interpreter import load_delegate

    try:
        plugin = load_delegate(request["library"], request["options"])
    except (ValueError, OSError, AttributeError) as error:
        _say(failure=f"{type(error).__name__}: {error}", opened=False)
        return None
    _say(opened=True)
    return plugin, plugin._get_native_delegate_pointer(), lambda _address: None


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
