"""A ``.tflite`` file and a device in → an ordinary LiteRT interpreter with the device attached."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll.device import inventory
from atoll.device.choice import choose_devices
from atoll.device.edge_tpu import EdgeTpu
from atoll.device.leasing.lease import reserve
from atoll.device.real import layouts
from atoll.device.real.real_device import RealEdgeTpu
from atoll.device.virtual.delegate import NODE_NAME, Array, Delegate, InPlace, Progress
from atoll.device.virtual.virtual_device import RESOLVER, VirtualEdgeTpu
from atoll.errors import DeviceError, InvalidModelError, RuntimeMisfitError, RuntimeTooOldError
from atoll.model import Model, is_compiled
from atoll.model.tflite import read_model


class EdgeTpuInterpreter(Interpreter):  # type: ignore[misc]
    """LiteRT's interpreter with a delegate; failures of the device come with the exception that caused them."""

    def __init__(
        self, model_path: Path, device: EdgeTpu, delegate: Any, resolver: OpResolverType, num_threads: int
    ) -> None:
        self.device = device
        # A delegate of the vendor's runtime has neither: its failures are LiteRT's own.
        self._delegate = delegate if isinstance(delegate, Delegate) else None
        self._progress = self._delegate.progress if self._delegate else Progress()
        super().__init__(
            model_path=os.fsencode(model_path),  # as str it would have to be UTF-8
            experimental_delegates=[delegate],
            experimental_op_resolver_type=resolver,
            num_threads=num_threads,
        )

    def invoke(self) -> None:
        """Run the graph.

        Raises:
            RuntimeError: as LiteRT raises it; ``__cause__`` is the device's own exception.
            KeyboardInterrupt: Ctrl-C while the device was running (as RuntimeError it would go unrecognised).
        """
        progress = self._progress
        progress.pending = progress.kernels
        in_use = self._delegates  # outlives the native call, even if another thread closes the interpreter
        try:
            super().invoke()
        except RuntimeError as failure:
            if self._delegate is None:
                raise
            error, self._delegate.error = self._delegate.error, None
            unheard = error is None and str(failure).endswith(f"({NODE_NAME}) failed to invoke.")
            if unheard or isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise failure from error
        del in_use
        if progress.pending:  # see Progress: nothing but Ctrl-C goes unheard
            raise KeyboardInterrupt

    def in_place(self, inputs: Sequence[int], outputs: Sequence[int]) -> InPlace | None:
        """A function that runs the graph from and to arrays of the caller's, past the tensors of these indices.

        It takes the arrays of all of them in this order, and raises the device's own exceptions. What LiteRT's tensors
        hold does not matter to it, nor change. None where there is none: for real devices, for graphs that are more
        than compiled operators, and for interpreters whose methods were overridden.
        """
        delegate = self._delegate
        if type(self) is not EdgeTpuInterpreter or not _OVERRIDABLE.isdisjoint(vars(self)) or delegate is None:
            return None
        run = delegate.in_place(inputs, outputs)
        if run is None:
            return None

        def run_unless_closed(arrays: Sequence[Array]) -> None:
            in_use = self._delegate  # outlives the call, even if another thread closes the interpreter
            if in_use is None:
                self.invoke()  # says so
            run(arrays)

        return run_unless_closed

    def close(self) -> None:
        """Let the device go; using the interpreter afterwards raises DeviceError.

        An ``invoke`` that is under way, and views of tensors, keep it until they end.
        """
        self._interpreter = _Closed()  # before its delegate
        self._delegate, self._delegates = None, None


_OVERRIDABLE = frozenset(("invoke", "set_tensor", "get_tensor", "tensor"))


class _Closed:
    """What stands in for the native interpreter when it is gone."""

    def __getattr__(self, name: str) -> Any:
        raise DeviceError(
            "this interpreter is closed: the lease of its device has ended, or close() was called",
            "Use it inside the lease, or make a new one.",
        )


def make_interpreter(
    model_path: str | os.PathLike[str],
    device: str | EdgeTpu | None = None,
    *,
    resolver: OpResolverType = RESOLVER,
    num_threads: int = 1,
    original: str | os.PathLike[str] | Model | None = None,
    options: Mapping[str, str] | None = None,
    wait: float | None = None,
) -> Interpreter:
    """An interpreter for a compiled file, or for a plain one; tensors are not allocated yet.

    The device belongs to this process until its last interpreter is gone or closed; other processes do not get it
    meanwhile. Inside a :func:`atoll.lease`, its end closes the interpreter.

    Args:
        model_path: The file. Without a compiled operator in it no device is used.
        device: ``usb``, ``pci``, ``usb:0``, ``pci:1``, ``:2``, a device's path, or a device; None: any.
        resolver: The CPU kernels, for operators on the CPU and for those on a virtual device: outputs can
            only be equal bit for bit to those of an interpreter with the same ones.
        num_threads: Threads for operators on the CPU.
        original: The uncompiled model, for a vendor-compiled file on a virtual device.
        options: Options of a real device: ``Performance``, ``Usb.AlwaysDfu``, ``Usb.MaxBulkInQueueLength``.
        wait: Seconds to wait for a device that another process has; 0: not at all; None: as long as
            ``ATOLL_LEASE_TIMEOUT`` says, not at all if it is not set.

    Raises:
        FileAccessError: The file cannot be read.
        InvalidModelError: It is not a model that LiteRT loads.
        DeviceError: There is no such device, it is in use, or it cannot run the file (:mod:`atoll.errors`).
    """
    path = Path(model_path)
    model = replace(read_model(path), path=str(path))
    candidates = choose_devices(device or None)
    if not is_compiled(model):
        return _plain(path, resolver, num_threads)
    reserved = reserve(candidates, wait)
    delegate: Any
    try:
        inventory.say_if_virtual(reserved.device)
        if isinstance(reserved.device, VirtualEdgeTpu):
            source = read_model(Path(original)) if isinstance(original, str | os.PathLike) else original
            delegate = reserved.device.delegate(model, resolver, source)
        else:
            delegate = reserved.device.delegate(model, resolver, options or {})
    except BaseException:
        reserved.release()
        raise
    weakref.finalize(delegate, reserved.release)
    try:
        interpreter = EdgeTpuInterpreter(path, reserved.device, delegate, resolver, num_threads)
    except (RuntimeError, ValueError) as error:
        raise _explained(path, reserved.device, delegate, error) from error
    reserved.close_with_lease(interpreter)
    return interpreter


def _plain(path: Path, resolver: OpResolverType, num_threads: int) -> Interpreter:
    try:
        return Interpreter(
            model_path=os.fsencode(path), experimental_op_resolver_type=resolver, num_threads=num_threads
        )
    except (RuntimeError, ValueError) as error:
        raise InvalidModelError(f"{path}: LiteRT cannot load it: {error}") from error


def _explained(path: Path, tpu: EdgeTpu, delegate: Any, error: Exception) -> Exception:
    cause = getattr(delegate, "error", None)
    if cause is not None:
        cause.__suppress_context__ = True
        return cause  # type: ignore[no-any-return]
    text = str(error)
    if "requires runtime version" in text:
        return RuntimeTooOldError(text, "Update the Edge TPU runtime, or compile the model for an older one.")
    if isinstance(tpu, RealEdgeTpu):
        layouts.forget(tpu.library.path)
        return RuntimeMisfitError(
            f"{path}: LiteRT and the Edge TPU runtime {tpu.library.path} do not get on: {text}",
            "Take a runtime library built for this LiteRT.",
        )
    if isinstance(error, DeviceError):
        return error
    return InvalidModelError(f"{path}: LiteRT cannot load it: {text}")
