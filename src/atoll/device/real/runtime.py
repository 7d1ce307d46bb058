"""The Edge TPU runtime library → its version, its devices and delegates; whatever fails, the reason why."""

from __future__ import annotations

import ctypes
import functools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from atoll.device.real import probe
from atoll.device.real.context_view import TENSOR_SIZES, TensorBytes
from atoll.device.real.library import find_library, install_hint
from atoll.errors import LibraryInvalidError, LibraryMissingError, RuntimeMisfitError, UsageError

LIST_SECONDS, OPEN_SECONDS = 20.0, 60.0
"""How long the child may take: a USB device needs a few seconds for its firmware and its reset."""

OPTIONS = {
    "Performance": ("Low", "Medium", "High", "Max"),
    "Usb.AlwaysDfu": ("True", "False"),
    "Usb.MaxBulkInQueueLength": None,
}
"""Options of a device and their values (None: a number); the library refuses others without a word."""

PERFORMANCE = {"max": "Max", "standard": "High", "reduced": "Medium"}
"""Clock settings as the option ``Performance`` calls them (../shared/facts/hardware.md)."""

_FIT = (
    "Take a runtime library built for this LiteRT (github.com/feranick/libedgetpu), or a LiteRT of the library's time."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the child process said before it ended."""

    step: str = ""
    version: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    opened: bool | None = None
    complete: bool | None = None
    """Whether the library's structs are those of today's LiteRT, as the adapter saw them."""
    failure: str = ""
    ending: str = ""
    """How it died, when it did: "crashed (signal 11)", "did not answer within 20 s"."""
    messages: str = ""
    """What it wrote to standard error."""

    SILENT: ClassVar[str] = "did not answer within"

    @property
    def worked(self) -> bool:
        """It came to its end."""
        return not self.ending and not self.failure and self.opened is not False

    @property
    def hung(self) -> bool:
        """It was ended because its time was up."""
        return self.ending.startswith(self.SILENT)


@dataclass(frozen=True, slots=True)
class RuntimeLibrary:
    """A library that has answered once, in a child process."""

    path: str
    version: str
    """As it says itself: ``BuildLabel(COMPILER=...,CL_NUMBER=...), RuntimeVersion(14)``."""
    devices: tuple[tuple[str, str], ...]
    """(type, path) of the devices at that time."""

    @property
    def runtime_version(self) -> int | None:
        """The number in RuntimeVersion(...), which a file's minimum is compared with."""
        match = re.search(r"RuntimeVersion\(([0-9]{1,6})\)", self.version)
        return int(match[1]) if match else None

    def load(self) -> ctypes.CDLL:
        """The library in this process."""
        return _load(self.path)

    def set_verbosity(self, level: int) -> None:
        """How much the library says on standard error: 0 (nothing) to 10."""
        if not 0 <= level <= 10:
            raise UsageError(f"verbosity {level} is not between 0 and 10")
        self.load().edgetpu_verbosity(level)

    def list_devices(self) -> list[tuple[str, str]]:
        """(type, path) of the devices that are there now."""
        return probe.list_devices(self.load())

    def create_delegate(self, kind: str, path: str, options: Mapping[str, str]) -> int:
        """Address of a ``TfLiteDelegate`` for :meth:`free_delegate`; 0 when the library refuses."""
        return probe.create_delegate(self.load(), kind, path, dict(options))

    def free_delegate(self, address: int) -> None:
        """Give back what :meth:`create_delegate` made, and its device with it."""
        self.load().edgetpu_free_delegate(address)


def runtime_library(chosen: str | None = None) -> RuntimeLibrary | None:
    """The runtime library: named, or found; None when there is none. Asked once per process and library.

    Raises:
        LibraryMissingError, LibraryInvalidError, LibraryArchitectureError: what was named or found is no runtime.
        RuntimeMisfitError: it crashes or hangs when it is loaded or lists the devices.
    """
    path = find_library(chosen)
    return None if path is None else _first_contact(path)


@functools.lru_cache(maxsize=8)
def _first_contact(path: str) -> RuntimeLibrary:
    answer = ask(path)
    if answer.failure:
        raise _load_failure(path, answer.failure)
    if answer.ending:
        doing = {"load": "while it is loaded", "version": "when asked for its version", "list": "listing devices"}
        replug = "Unplug and replug USB devices, then try again. " if answer.step == "list" else ""
        raise RuntimeMisfitError(
            f"the Edge TPU runtime {path} {answer.ending} {doing.get(answer.step, '')}".rstrip() + _said(answer),
            f"{replug}{_FIT}",
        )
    return RuntimeLibrary(path, answer.version, answer.devices)


def forget() -> None:
    """Ask the library anew next time (devices may have come or gone)."""
    _first_contact.cache_clear()


def ask(
    library: str,
    device: tuple[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    model: Path | None = None,
    seconds: float | None = None,
    tensor_bytes: TensorBytes | None = None,
    until: str = "invoke",
) -> Answer:
    """Try the library in a child process: load and list, open ``device``, and run ``model`` once with zeros.

    A ``model`` without a ``device`` is tried with the delegate that LiteRT's ``load_delegate`` makes. ``tensor_bytes``:
    through the adapter, with tensors of that size. ``until`` ``allocate``: prepare the model only.
    """
    request: dict[str, Any] = {"library": library, "options": dict(options or {})}
    if device is not None:
        request["device"] = device
    if model is not None:
        source = str(Path(__file__).resolve().parents[3])
        request |= {"model": str(model), "plugin": device is None, "until": until, "source": source}
        request["tensor_bytes"] = tensor_bytes
    command = [sys.executable, *(() if model else ("-S",)), str(Path(probe.__file__)), json.dumps(request)]
    ending, seconds = "", LIST_SECONDS if seconds is None else seconds
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False)
        out, err, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        out, err, code = error.stdout or b"", error.stderr or b"", 0
        ending = f"{Answer.SILENT} {seconds:g} s"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        ending = f"crashed ({name})"
    elif code:
        ending = f"crashed (exit code {code})"
    return _parse(out, err, ending)


def _parse(out: bytes, err: bytes, ending: str) -> Answer:
    said: dict[str, Any] = {}
    for line in out.decode("utf-8", "replace").splitlines():
        # The library's own output may stand before ours on the line.
        _, mark, content = line.partition(probe.MARK)
        if mark:
            said.update(json.loads(content))
    said["devices"] = tuple((kind, path) for kind, path in said.get("devices", ()))
    return Answer(**said, ending=ending, messages=err.decode("utf-8", "replace").strip()[-2000:])


def check_options(options: Mapping[str, str]) -> None:
    """Raises UsageError for an option or value that the library would refuse without saying why."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(f"'{name}' is not an option of an Edge TPU", f"Known are {', '.join(OPTIONS)}.")
        values = OPTIONS[name]
        if values is None and not re.fullmatch(r"[1-9][0-9]{0,5}", value):
            raise UsageError(f"{name} is a number of transfers, not '{value}'", "The default is 32.")
        if values is not None and value not in values:
            raise UsageError(f"{name} is one of {', '.join(values)}, not '{value}'")


def misfit(library: str, answer: Answer, version: str = "") -> RuntimeMisfitError:
    """A delegate was made, and then the library and LiteRT did not get on, whatever the adapter tried."""
    what = answer.ending or f"failed ({' '.join(answer.failure.split())})"
    doing = {"attach": "attaching its delegate", "allocate": "preparing the model", "invoke": "running the model"}
    return RuntimeMisfitError(
        f"the delegate library {library}{f' ({version})' * bool(version)} {what} "
        f"{doing.get(answer.step, 'opening the device')} in LiteRT {litert_version()}, "
        f"with tensors of {' and of '.join(map(str, TENSOR_SIZES))} bytes{_said(answer)}",
        f"The two do not seem to fit each other. {_FIT}",
    )


def litert_version() -> str:
    """Of the installed LiteRT."""
    from importlib.metadata import version

    return version("ai-edge-litert")


def _said(answer: Answer) -> str:
    lines = [line for line in answer.messages.splitlines() if line.strip() and not line.startswith("INFO:")]
    return f": {lines[-1]}" if lines else ""


def _load_failure(path: str, failure: str) -> LibraryMissingError | LibraryInvalidError:
    reason = failure.partition(": ")[2]
    if "libusb" in reason:
        return LibraryMissingError(
            f"the Edge TPU runtime {path} needs libusb-1.0, which is missing: {reason}",
            "Debian, Ubuntu: sudo apt install libusb-1.0-0. macOS: brew install libusb.",
        )
    if "GLIBC" in reason:
        return LibraryInvalidError(f"the Edge TPU runtime {path} was built for a newer system: {reason}", _FIT)
    if failure.startswith("AttributeError"):
        return LibraryInvalidError(f"{path} is a library, but not an Edge TPU runtime: {reason}", install_hint())
    return LibraryInvalidError(f"{path} cannot be loaded: {reason}", install_hint())


@functools.lru_cache(maxsize=8)
def _load(path: str) -> ctypes.CDLL:
    return probe.load(path)
