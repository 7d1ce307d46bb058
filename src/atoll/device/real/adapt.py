"""A library of delegates, of whatever age -> a delegate for today's LiteRT interpreters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ai_edge_litert.interpreter import load_delegate

from atoll.device.real import layouts, runtime, trial
from atoll.device.real.adapter import AdaptedDelegate
from atoll.device.real.context_view import TensorBytes
from atoll.device.real.library import find_library, install_hint
from atoll.errors import DeviceError, LibraryMissingError


def adapt_delegate(
    path: str | os.PathLike[str],
    options: Mapping[str, str] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
) -> AdaptedDelegate:
    """A delegate of a library that was built against any TensorFlow Lite since 2019, for today's LiteRT.

    It takes the place of LiteRT's ``load_delegate``, where such a library ends in a segmentation fault. How the library
    sees LiteRT's structs is tried in a child process when it is met for the first time, and remembered.
    ``make_interpreter`` does all this by itself; here nothing is leased: a device belongs to the first who opens it.

    >>> delegate = atoll.adapt_delegate("posenet_decoder.so")  # doctest: +SKIP
    >>> interpreter = Interpreter("posenet.tflite", experimental_delegates=[delegate])  # doctest: +SKIP

    Args:
        path: The library: a file, or a name that the system's loader knows.
        options: What its ``tflite_plugin_create_delegate`` takes; for ``libedgetpu`` ``device`` (``usb``, ``pci:1``)
            and the device's own.
        model: A ``.tflite`` file with operators for this delegate, to try it with. Default: one of ours, which there
            is for ``libedgetpu`` and ``posenet_decoder.so``.

    Raises:
        LibraryMissingError, LibraryInvalidError, LibraryArchitectureError: It is no library that can be loaded here.
        RuntimeMisfitError: It works in no way that we know of.
        DeviceError: It makes no delegate (there is no device, another process has it).
        UsageError: It is an unknown library, and no ``model`` was given.
    """
    library = find_library(os.fspath(path))
    if library is None:
        raise LibraryMissingError(f"there is no library {os.fspath(path)}", install_hint())
    options = dict(options or {})
    size = _tensor_bytes(library, options, Path(model) if model is not None else None)
    try:
        plugin = load_delegate(library, options)
    except (ValueError, OSError) as error:
        raise _no_delegate(library, str(error)) from error
    return AdaptedDelegate(plugin._get_native_delegate_pointer(), size, _Closing(plugin))


class _Closing:
    """Lets go of LiteRT's object for a delegate, which then destroys it."""

    def __init__(self, plugin: object) -> None:
        self._plugin: object | None = plugin

    def __call__(self) -> None:
        self._plugin = None


def _tensor_bytes(library: str, options: Mapping[str, str], model: Path | None) -> TensorBytes:
    known = layouts.remembered(library)
    if known is not None:
        return known.tensor_bytes
    with trial.model_file(library, model) as (file, until):
        found, answer = trial.find_size(
            lambda size: runtime.ask(library, None, options, file, runtime.OPEN_SECONDS, size, until)
        )
    if found is not None:
        layouts.remember(library, layouts.TrialVerdict(found))
        return found
    if answer.opened is False:
        raise _no_delegate(library, answer.failure)
    trial.require_runtime(answer)
    raise runtime.misfit(library, answer)


def _no_delegate(library: str, said: str) -> DeviceError:
    reason = " ".join(said.partition(": ")[2].split()) if said.startswith("ValueError") else " ".join(said.split())
    return DeviceError(
        f"{library} makes no delegate: {reason}",
        "For an Edge TPU runtime: is a device attached and free? atoll doctor tells.",
    )
