"""Every way a user's request can fail, each with a message, a hint and an exit code of its own.

Three kinds of failure are never mixed: the user's input (an :class:`AtollError`), a degraded result (a
:class:`atoll.findings.Finding`) and our own bug (an ``AssertionError``).
"""

from __future__ import annotations


class AtollError(Exception):
    """A failure the user can do something about: ``message`` says what broke, ``hint`` what to do."""

    exit_code = 1
    model = ""
    """Which of several models is at fault, where one of them alone is."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(AtollError):
    """Options that contradict each other or name something that does not exist."""

    exit_code = 2


class FileAccessError(AtollError):
    """A file that cannot be opened."""

    exit_code = 10


class FileMissingError(FileAccessError):
    """No file of that name."""

    exit_code = 11


class IsDirectoryError(FileAccessError):
    """A directory where a file was expected."""

    exit_code = 12


class NoPermissionError(FileAccessError):
    """A file that this user may not read."""

    exit_code = 13


class InvalidModelError(AtollError):
    """A file that is not a readable TensorFlow Lite model."""

    exit_code = 20


class EmptyFileError(InvalidModelError):
    """A file without a single byte."""

    exit_code = 21


class NotTfliteError(InvalidModelError):
    """A file that is something else than a TensorFlow Lite model."""

    exit_code = 22


class CorruptModelError(InvalidModelError):
    """A TensorFlow Lite model that is truncated or contradicts itself."""

    exit_code = 23


class CorruptPackageError(InvalidModelError):
    """A compiled Edge TPU operator whose package is truncated or contradicts itself."""

    exit_code = 24


class UnsupportedModelError(AtollError):
    """A valid model that cannot be compiled for the Edge TPU."""

    exit_code = 30


class NotQuantizedError(UnsupportedModelError):
    """A float or dynamic-range model."""

    exit_code = 31


class DynamicShapeError(UnsupportedModelError):
    """A tensor whose size is not known at compile time."""

    exit_code = 32


class AlreadyCompiledError(UnsupportedModelError):
    """A model that already holds a compiled Edge TPU operator."""

    exit_code = 33


class PartitionError(AtollError):
    """A model that cannot be cut as asked."""

    exit_code = 40


class CompilationTimeoutError(AtollError):
    """The time limit of a compilation is over."""

    exit_code = 41


class CompilerFaultError(AtollError):
    """The child process died, or met a bug of ours."""

    exit_code = 42


class InputError(AtollError):
    """Input data that does not fit the model."""

    exit_code = 50


class InputShapeError(InputError):
    """Input data of the wrong shape."""

    exit_code = 51


class InputDtypeError(InputError):
    """Input data of the wrong element type."""

    exit_code = 52


class OutputError(AtollError):
    """A result that cannot be written."""

    exit_code = 60


class DeviceError(AtollError):
    """A device that is missing, busy or cannot run the file."""

    exit_code = 70


class PipelineError(AtollError):
    """A pipeline that cannot be built, or a stage that failed."""

    exit_code = 80


class PipelineClosedError(PipelineError):
    """A push to a pipeline that was closed."""

    exit_code = 81


class VerificationError(AtollError):
    """Results that should be equal and are not."""

    exit_code = 90


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


class CompilerMissingError(AtollError):
    """No vendor compiler on this machine."""

    exit_code = 110


class CompilerInvalidError(AtollError):
    """A file or command that is not the vendor's compiler."""

    exit_code = 111


class CompilerFailedError(AtollError):
    """The vendor's compiler refused a model, or crashed on it."""

    exit_code = 112


class CompilerTimeoutError(CompilerFailedError):
    """The vendor's compiler took too long."""

    exit_code = 113


class CompilerResultError(CompilerFailedError):
    """The vendor's compiler says that it succeeded, and its file does not fit the model."""

    exit_code = 114


class UntrainableModelError(UnsupportedModelError, RuntimeError, ValueError):
    """A model whose last layers cannot be trained."""


class ModelFileError(FileAccessError, RuntimeError, ValueError):
    """A model file that cannot be opened."""


class TrainingError(InputError, RuntimeError, ValueError):
    """Training data that does not fit: shapes, labels, or values that are not finite."""


INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, the shells' convention."""
