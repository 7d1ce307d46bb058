"""A name, or nothing → the Edge TPU runtime library as a file that this process can load, or the reason why not."""

from __future__ import annotations

import functools
import os
import re
import struct
import sys
from pathlib import Path

from atoll.errors import LibraryArchitectureError, LibraryInvalidError, LibraryMissingError

VARIABLE = "ATOLL_LIBEDGETPU"
"""Environment variable that names the library; ``none`` when there shall be none."""

NAMES = {"linux": "libedgetpu.so.1", "darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
"""../shared/facts/hardware.md"""

INSTALL = {
    "linux": "Debian, Ubuntu: add Coral's package source (coral.ai/software), then: sudo apt install libedgetpu1-std; "
    "other systems: a build of github.com/feranick/libedgetpu for your TensorFlow Lite version, and libusb-1.0.",
    "darwin": "Install libusb (brew install libusb) and put libedgetpu.1.dylib of github.com/feranick/libedgetpu "
    "(or Coral's edgetpu_runtime zip) into /usr/local/lib.",
    "win32": "Run install.bat of Coral's edgetpu_runtime zip (coral.ai/software); it installs edgetpu.dll and UsbDk.",
}

_MACHINES = {3: "x86 (32 bit)", 40: "ARM (32 bit)", 62: "x86-64", 183: "ARM64", 243: "RISC-V"}
"""``e_machine`` of an ELF header."""

_MACH_O = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def find_library(chosen: str | None = None) -> str | None:
    """What to load: ``chosen``, what ``ATOLL_LIBEDGETPU`` names, or the usual name where this system keeps it.

    None when there is none (nothing was chosen and the usual places are empty).

    Raises:
        LibraryMissingError, LibraryInvalidError, LibraryArchitectureError: a library was named and is no such thing.
    """
    named = chosen or os.environ.get(VARIABLE)
    if named == "none":
        return None
    if named:
        path = Path(named)
        if path.is_dir():
            path /= library_name()
        if not path.exists() and (os.sep in named or path.suffix not in {".1", ".so", ".dll", ".dylib"}):
            raise LibraryMissingError(f"there is no Edge TPU runtime library {path}", install_hint())
        if path.exists():
            require_loadable(path)
            return str(path)
        return _usual_place(named)
    found = _usual_place(library_name())
    if found is not None and os.sep in found:
        require_loadable(Path(found))
    return found


def library_file(name: str) -> Path | None:
    """The file behind what :func:`find_library` found, which may be a name that only the system's loader resolves."""
    if os.sep in name or Path(name).exists():
        return Path(name) if Path(name).exists() else None
    try:
        cache = Path("/etc/ld.so.cache").read_bytes()
    except OSError:
        return None
    for found in re.findall(rb"/[^\0]*/" + re.escape(name.encode()) + rb"(?=\0)", cache):
        path = Path(os.fsdecode(found))
        try:
            require_loadable(path)
        except (LibraryInvalidError, LibraryArchitectureError):
            continue
        return path
    return None


def library_name() -> str:
    """What the library is called on this system."""
    return NAMES.get(sys.platform, NAMES["linux"])


def install_hint() -> str:
    """How to get it on this system."""
    return INSTALL.get(sys.platform, INSTALL["linux"]) + f" A library elsewhere is named by {VARIABLE}."


def require_loadable(path: Path) -> None:
    """Raises LibraryInvalidError or LibraryArchitectureError when the file is no library for this Python."""
    try:
        head = _head(path)
    except OSError as error:
        raise LibraryInvalidError(f"{path} cannot be read: {error.strerror}", install_hint()) from error
    if sys.platform == "linux":
        if not head.startswith(b"\x7fELF") or len(head) < 20:
            raise LibraryInvalidError(f"{path} is {_describe(head)}, not a shared library", install_hint())
        own = _head(Path(sys.executable))
        if own.startswith(b"\x7fELF") and (head[4], _machine(head)) != (own[4], _machine(own)):
            raise LibraryArchitectureError(
                f"{path} is made for {_MACHINES.get(_machine(head), 'another processor')}, "
                f"this Python for {_MACHINES.get(_machine(own), 'another processor')}",
                install_hint(),
            )
        if path.stat().st_size < _least_size(head):
            raise LibraryInvalidError(f"{path} is cut off: its end is missing", "Download or install it again.")
    elif sys.platform == "darwin" and head[:4] not in _MACH_O:
        raise LibraryInvalidError(f"{path} is {_describe(head)}, not a library for macOS", install_hint())
    elif sys.platform == "win32" and not head.startswith(b"MZ"):
        raise LibraryInvalidError(f"{path} is {_describe(head)}, not a library for Windows", install_hint())


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _machine(header: bytes) -> int:
    order = ">" if header[5] == 2 else "<"
    return int(struct.unpack_from(f"{order}H", header, 18)[0])


def _least_size(header: bytes) -> int:
    """Where the table of sections ends, which linkers put last: the loader would crash on what is missing."""
    order, wide = ">" if header[5] == 2 else "<", header[4] == 2
    if len(header) < (64 if wide else 52):
        return 64
    (table,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", header, 40 if wide else 32)
    size, count = struct.unpack_from(f"{order}HH", header, 58 if wide else 46)
    return int(table + size * count)


def _describe(head: bytes) -> str:
    if not head:
        return "empty"
    if head.startswith((b"\x7fELF", b"MZ", *_MACH_O)):
        return "a library of another system"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run: git lfs pull)"
    if head.lstrip()[:1] == b"<":
        return "a web page"
    return "a text file" if all(byte in b"\t\n\r" or 32 <= byte < 256 for byte in head) else "something else"


def _usual_place(name: str) -> str | None:
    variable = {"linux": "LD_LIBRARY_PATH", "darwin": "DYLD_LIBRARY_PATH"}.get(sys.platform, "PATH")
    return _search(name, os.environ.get(variable, ""))


@functools.lru_cache(maxsize=8)
def _search(name: str, path: str) -> str | None:
    """Where the system's loader would find the library, without loading it; looked up once per process."""
    for folder in _folders(path):
        if (folder / name).exists():
            return str(folder / name)
    if sys.platform == "linux":
        try:
            cache = Path("/etc/ld.so.cache").read_bytes()
        except OSError:
            return None
        return name if b"/" + name.encode() + b"\0" in cache else None
    return None


def _folders(path: str) -> list[Path]:
    own = [Path(item) for item in path.split(os.pathsep) if item]
    if sys.platform == "win32":
        return [*own, Path(os.environ.get("SYSTEMROOT", "C:\\Windows")) / "System32"]
    usual = (
        ["/usr/local/lib", "/opt/homebrew/lib"] if sys.platform == "darwin" else ["/usr/local/lib", "/usr/lib", "/lib"]
    )
    return [*own, *map(Path, usual)]
