"""A directory with one sub-folder of images per class → labelled images, for training and held out."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atoll.errors import FileAccessError, FileMissingError, TrainingError, UsageError


@dataclass(frozen=True, slots=True)
class Example:
    """An image file and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """``labels``: names of the classes in the order of their numbers; ``examples``: by class, then by file name."""

    labels: tuple[str, ...]
    examples: tuple[Example, ...]


def read_folder(directory: str | Path) -> ImageFolder:
    """List the images: every file of every sub-folder, hidden ones left out; classes in the order of their names.

    A link to nothing is listed too, as an image that cannot be read.

    Raises:
        FileAccessError: the directory cannot be read.
        TrainingError: it has fewer than two sub-folders.
    """
    root = Path(directory)
    if not root.exists():
        raise FileMissingError(f"{root} does not exist", "Check the name and the directory.")
    try:
        folders = [entry for entry in _visible(root) if entry.is_dir()]
        files = {folder: [entry for entry in _visible(folder) if _is_listed(entry)] for folder in folders}
    except OSError as error:
        raise FileAccessError(f"{root} cannot be read: {error}", "It must be a directory.") from error
    if len(folders) < 2:
        raise TrainingError(
            f"{root} has {len(folders)} sub-folder{'s' * (len(folders) != 1)}: there is nothing to tell apart",
            "Make one sub-folder of images for each of at least two classes.",
        )
    examples = [Example(path, label) for label, folder in enumerate(folders) for path in files[folder]]
    return ImageFolder(tuple(folder.name for folder in folders), tuple(examples))


def without(folder: ImageFolder, bad: Collection[Path]) -> ImageFolder:
    """The folder without some of its files."""
    return ImageFolder(folder.labels, tuple(example for example in folder.examples if example.path not in bad))


def require_images(folder: ImageFolder) -> None:
    """Raises :class:`TrainingError` when a class has no image."""
    seen = {example.label for example in folder.examples}
    for label, name in enumerate(folder.labels):
        if label not in seen:
            raise TrainingError(f"class '{name}' has no image", "Put images into its folder, or remove the folder.")


def held_out(folder: ImageFolder, share: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Indices of the examples to train on, and of those held out: ``share`` of each class, chosen at random.

    A class of two images or more has at least one on each side, unless ``share`` is 0.

    Raises:
        UsageError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise UsageError(f"the held-out share is {share}", "Give a number from 0 to less than 1.")
    random = np.random.default_rng(seed)
    train: list[int] = []
    test: list[int] = []
    for label in range(len(folder.labels)):
        members = [i for i, example in enumerate(folder.examples) if example.label == label]
        count = min(max(round(share * len(members)), share > 0), max(0, len(members) - 1))
        chosen = set(random.permutation(len(members))[:count].tolist())
        train += [i for n, i in enumerate(members) if n not in chosen]
        test += [i for n, i in enumerate(members) if n in chosen]
    return train, test


def _is_listed(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def _visible(directory: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in os.scandir(directory) if not entry.name.startswith("."))
