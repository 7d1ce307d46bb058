"""A compiled model and a device, as the vendor's API names them → LiteRT interpreters on Edge TPUs."""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from atoll import device as devices
from atoll.device import inventory
from atoll.device.choice import choose_devices
from atoll.device.real import runtime
from atoll.device.real.adapt import adapt_delegate
from atoll.device.real.library import find_library, install_hint
from atoll.errors import AtollError, DeviceError

_VERBOSE, _CHATTY = 1, 5
"""From which verbosity on our own log shows information, and everything."""

_log = logging.getLogger("atoll")


class EdgeTpuDelegate:
    """What ``load_edgetpu_delegate`` returns: a device wanted, opened with the first interpreter made with it.

    :func:`make_interpreter` and ``tflite_runtime.interpreter.Interpreter`` (the one of this package) take it. A virtual
    Edge TPU has to know the model file, so LiteRT's own ``Interpreter`` can use it for real devices only.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        given = {str(key): str(value) for key, value in (options or {}).items()}
        self.device = given.pop("device", None)
        self.options = given
        self._native: Any = None

    def _get_native_delegate_pointer(self) -> Any:
        """Called by LiteRT's own interpreter."""
        library = find_library()
        if library is None:
            raise ValueError(
                "Failed to load delegate: LiteRT's own Interpreter can use a real Edge TPU only, and there is no "
                "runtime library. Make the interpreter with make_interpreter, or run python -m atoll.pycoral SCRIPT. "
                + install_hint()
            )
        if self._native is None:
            options = {**self.options, **({"device": self.device} if self.device else {})}
            self._native = adapt_delegate(library, options)
        return self._native._get_native_delegate_pointer()


def load_edgetpu_delegate(options: Mapping[str, str] | None = None) -> EdgeTpuDelegate:
    """The Edge TPU delegate. ``options``: ``device`` as in :func:`make_interpreter`, and those of the runtime.

    Raises:
        ValueError: there is no such device.
    """
    delegate = EdgeTpuDelegate(options)
    try:
        choose_devices(delegate.device)
    except AtollError as error:
        raise ValueError(f"Failed to load delegate: {error}") from error
    return delegate


def make_interpreter(
    model_path_or_content: str | os.PathLike[str] | bytes, device: str | None = None, delegate: Any = None
) -> Any:
    """An interpreter on an Edge TPU; tensors are not allocated yet.

    Args:
        model_path_or_content: A file's path (str), or what is in it (bytes).
        device: None: any; ``:N``, ``usb``, ``usb:N``, ``pci``, ``pci:N``.
        delegate: What :func:`load_edgetpu_delegate` returned, in place of ``device``; or any LiteRT delegate.

    Raises:
        ValueError: the model cannot be loaded, or there is no such device; with the reason.
    """
    if delegate is not None and not isinstance(delegate, EdgeTpuDelegate):
        return _with_foreign_delegate(model_path_or_content, delegate)
    options: Mapping[str, str] = {}
    if delegate is not None:
        device, options = delegate.device, delegate.options
    try:
        if not isinstance(model_path_or_content, bytes):
            return devices.make_interpreter(model_path_or_content, device, options=options)
        with tempfile.TemporaryDirectory(prefix="atoll-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(model_path_or_content)
            return devices.make_interpreter(path, device, options=options)
    except DeviceError as error:
        raise ValueError(f"Failed to load delegate: {error}") from error
    except AtollError as error:
        raise ValueError(str(error)) from error


def _with_foreign_delegate(model: str | os.PathLike[str] | bytes, delegate: Any) -> Any:
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    return litert.Interpreter(**source, experimental_delegates=[delegate])


def list_edge_tpus() -> list[dict[str, str]]:
    """The Edge TPUs of this machine: ``{'type': 'usb' | 'pci', 'path': ...}`` each."""
    return devices.list_edge_tpus()


def get_runtime_version() -> str:
    """The Edge TPU runtime's version, ``BuildLabel(...), RuntimeVersion(N)``; without one that of virtual devices."""
    library = runtime.runtime_library()
    if library is not None:
        return library.version
    from atoll.version import __version__

    versions = [getattr(device, "runtime_version", 0) for device in inventory.edge_tpus()]
    return f"BuildLabel(VIRTUAL=atoll-{__version__}), RuntimeVersion({max(versions, default=0)})"


def set_verbosity(verbosity: int) -> bool:
    """How much the runtime, and this package, log: 0 (errors only) to 10 (everything). True when it was set."""
    if not 0 <= verbosity <= 10:
        return False
    level = logging.DEBUG if verbosity >= _CHATTY else logging.INFO if verbosity >= _VERBOSE else logging.WARNING
    _log.setLevel(level)
    library = runtime.runtime_library()
    if library is not None:
        library.set_verbosity(verbosity)
    return True


def run_inference(interpreter: Any, input_data: Any) -> None:
    """Fill the first input and ``invoke``.

    ``input_data``: all its bytes, as ``bytes``, as a one-dimensional uint8 array, as a tuple of a ``ctypes.c_void_p``
    and the number of bytes, or as a GStreamer buffer (which is mapped for reading).

    Raises:
        ValueError: it is of another size than the input.
        TypeError: it is something else.
    """
    detail = interpreter.get_input_details()[0]
    shape, dtype = tuple(int(size) for size in detail["shape"]), np.dtype(detail["dtype"])
    expected = int(np.prod(shape)) * dtype.itemsize
    if hasattr(input_data, "map") and hasattr(input_data, "unmap"):
        data: bytes = _mapped(input_data)[:expected]  # a GStreamer buffer may be padded
    else:
        data = _raw(input_data)
    if len(data) != expected:
        raise ValueError(f"input size={len(data)}, expected={expected}.")
    interpreter.set_tensor(detail["index"], np.frombuffer(data, dtype).reshape(shape))
    interpreter.invoke()


def _raw(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).tobytes()
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], ctypes.c_void_p) and isinstance(data[1], int):
        pointer, size = data
        return ctypes.string_at(pointer, size) if pointer.value else b""
    raise TypeError("input data type is not supported.")


def _mapped(buffer: Any) -> bytes:
    """The content of a ``Gst.Buffer``."""
    from gi.repository import Gst  # type: ignore[import-not-found]

    mapped, info = buffer.map(Gst.MapFlags.READ)
    if not mapped:
        raise RuntimeError("gst_buffer_map failed")
    try:
        return bytes(info.data)
    finally:
        buffer.unmap(info)
