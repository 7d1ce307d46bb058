"""A file of labels → the name of each class."""

from __future__ import annotations

from pathlib import Path

from atoll.errors import UsageError
from atoll.files import map_file


def read_labels(path: str | Path) -> list[str]:
    """Labels by class number: one per line, or ``number label`` on each line, as the vendor's files have it.

    Raises:
        FileAccessError: The file cannot be read.
        UsageError: It is no text.
    """
    try:
        lines = bytes(map_file(path)).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text file: {error}", "Write one label per line, as UTF-8.") from error
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if pairs and all(len(pair) == 2 and pair[0].isdecimal() for pair in pairs):
        numbered = {int(number): label.strip() for number, label in pairs}
        if max(numbered) < 10 * len(numbered) + 1000:  # a list with small gaps, not a text about years
            return [numbered.get(i, f"class {i}") for i in range(max(numbered) + 1)]
    return [line.strip() for line in lines]
