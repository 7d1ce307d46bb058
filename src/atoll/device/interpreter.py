"""A ``.tflite`` file and a device in -> an ordinary LiteRT interpreter with the device attached."""

from __future__ import annotations

import os
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll.device.delegate import CUSTOM_OP, NODE_NAME, Delegate
from atoll.device.inventory import select
from atoll.device.virtual import RESOLVER, VirtualEdgeTpu
from atoll.errors import InvalidModelError
from atoll.formats.tflite import read_model
from atoll.ir import Model


class EdgeTpuInterpreter(Interpreter):  # type: ignore[misc]
    """LiteRT's interpreter with a delegate; failures of the device come with the exception that caused them."""

    def __init__(self, model_path: Path, delegate: Delegate, resolver: OpResolverType, num_threads: int) -> None:
        self._delegate = delegate
        super().__init__(
            model_path=str(model_path),
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
        progress = self._delegate.progress
        progress.pending = progress.kernels
        try:
            super().invoke()
        except RuntimeError as failure:
            error, self._delegate.error = self._delegate.error, None
            unheard = error is None and str(failure).endswith(f"({NODE_NAME}) failed to invoke.")
            if unheard or isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise failure from error
        if progress.pending:  # see Progress: nothing but Ctrl-C goes unheard
            raise KeyboardInterrupt


def make_interpreter(
    model_path: str | os.PathLike[str],
    device: str | VirtualEdgeTpu | None = None,
    *,
    resolver: OpResolverType = RESOLVER,
    num_threads: int = 1,
) -> Interpreter:
    """An interpreter for a compiled file, or for a plain one; tensors are not allocated yet.

    Args:
        model_path: The file. Without a compiled operator in it no device is used.
        device: ``usb``, ``pci``, ``usb:0``, ``pci:1``, ``:2``, a device's path, or a device; None: any.
        resolver: The CPU kernels, for operators on the CPU and for those on a virtual device: outputs can
            only be equal bit for bit to those of an interpreter with the same ones.
        num_threads: Threads for operators on the CPU.

    Raises:
        FileAccessError: The file cannot be read.
        InvalidModelError: It is not a model that LiteRT loads.
        DeviceError: There is no such device, or it cannot run the file.
    """
    path = Path(model_path)
    model = read_model(path)
    tpu = select(device) if isinstance(device, str) else device
    delegate = (tpu or select()).delegate(model, resolver) if is_compiled(model) else None
    try:
        if delegate is not None:
            return EdgeTpuInterpreter(path, delegate, resolver, num_threads)
        return Interpreter(model_path=str(path), experimental_op_resolver_type=resolver, num_threads=num_threads)
    except (RuntimeError, ValueError) as error:
        if delegate is not None and delegate.error is not None:
            raise delegate.error from None
        raise InvalidModelError(f"{path}: LiteRT cannot load it: {error}") from error


def is_compiled(model: Model) -> bool:
    """Whether the model holds an operator for the Edge TPU."""
    return any(operator.custom_code == CUSTOM_OP for operator in model.main.operators)
