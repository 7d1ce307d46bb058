"""What can go wrong with the vendor's compiler, each with an exit code of its own."""

from __future__ import annotations

from atoll.errors import AtollError


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
