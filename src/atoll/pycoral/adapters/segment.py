"""An interpreter with a class per pixel as its output → that map."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.pycoral.adapters import common


def get_output(interpreter: Any) -> npt.NDArray[np.uint8]:
    """The first output without its batch axis, as uint8: (height, width), or scores (height, width, classes)."""
    classes: npt.NDArray[np.uint8] = common.output_tensor(interpreter, 0)[0].astype(np.uint8)
    return classes
