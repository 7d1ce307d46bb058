"""What can go wrong in learning; each is also the built-in exception that the vendor's interface raises."""

from __future__ import annotations

from atoll.errors import FileAccessError, InputError, UnsupportedModelError


class UntrainableModelError(UnsupportedModelError, RuntimeError, ValueError):
    """A model whose last layers cannot be trained."""


class ModelFileError(FileAccessError, RuntimeError, ValueError):
    """A model file that cannot be opened."""


class TrainingError(InputError, RuntimeError, ValueError):
    """Training data that does not fit: shapes, labels, or values that are not finite."""
