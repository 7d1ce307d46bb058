"""A label file → labels by class id."""

from __future__ import annotations

import os
import re
from pathlib import Path


def read_label_file(file_path: str | os.PathLike[str]) -> dict[int, str]:
    """Labels by class id. A line is an id and a label (``3 cat``, ``3: cat``), or a label by itself."""
    labels = {}
    for row, line in enumerate(Path(file_path).read_text(encoding="utf-8").splitlines()):
        numbered = re.fullmatch(r"\s*(\d+)[:\s]+(.*?)\s*", line)
        if numbered and numbered[2]:
            labels[int(numbered[1])] = numbered[2]
        else:
            labels[row] = line.strip()
    return labels
