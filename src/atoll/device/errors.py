"""What can go wrong between a program and an Edge TPU, each with an exit code of its own."""

from __future__ import annotations

from atoll.errors import DeviceError


class DeviceBusyError(DeviceError):
    """Every fitting device is in use, and the time to wait for one is over."""

    exit_code = 71


class DeviceLostError(DeviceError):
    """A device that was listed and is gone."""

    exit_code = 72


class DevicePermissionError(DeviceError):
    """A device that this user may not open."""

    exit_code = 73


class BootStateError(DeviceError):
    """A USB device that has not got its firmware yet."""

    exit_code = 74


class LibraryMissingError(DeviceError):
    """No Edge TPU runtime library."""

    exit_code = 75


class LibraryInvalidError(DeviceError):
    """A file that is not an Edge TPU runtime library."""

    exit_code = 76


class LibraryArchitectureError(LibraryInvalidError):
    """A library for another processor or system."""

    exit_code = 77


class RuntimeTooOldError(DeviceError):
    """A file compiled for a newer runtime than the device's."""

    exit_code = 78


class RuntimeMisfitError(DeviceError):
    """A runtime library that crashes, hangs, or does not fit the interpreter."""

    exit_code = 79


class LeaseDirectoryError(DeviceError):
    """A lease directory that cannot be made or written."""

    exit_code = 100


class LeaseFileSystemError(LeaseDirectoryError):
    """A lease directory on a file system whose locks do not protect a device."""

    exit_code = 101


class LeaseFileError(LeaseDirectoryError):
    """A lock file that cannot be used: not a file, or another user's."""

    exit_code = 102
