"""A run's first outputs → where they differ from those of the uncut model: the oracle of every run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atoll.device.plain import plain_interpreter
from atoll.errors import InvalidModelError, VerificationError
from atoll.model.graph import Model
from atoll.products.run_result import RunResult


@dataclass(frozen=True, slots=True)
class Deviation:
    """An output that is not that of the uncut model on the CPU."""

    inference: int
    output: str
    count: int
    """Values that differ, of ``size``."""
    size: int
    most: float
    """The largest difference, in steps of the output's type."""


def compare(result: RunResult, model: Model) -> tuple[Deviation, ...]:
    """Every kept output that differs in at least one bit from what the uncut model gives for the same inputs.

    The model runs in one plain interpreter of the same kernels, and gets the inputs in the same order.

    Raises:
        InvalidModelError: LiteRT cannot run the model.
        VerificationError: An output of virtual devices differs. (What real ones compute is not ours to refuse.)
    """
    whole = plain_interpreter(model)
    try:
        whole.allocate_tensors()
    except RuntimeError as error:
        raise InvalidModelError(f"{model.path}: LiteRT cannot run it: {error}", "Convert it again.") from error
    found = []
    for number, (inputs, outputs) in enumerate(result.sample):
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], inputs[detail["name"]])
        whole.invoke()
        for detail in whole.get_output_details():
            expected, got = whole.get_tensor(detail["index"]), outputs[detail["name"]]
            if expected.tobytes() != got.tobytes():
                steps = np.abs(expected.astype(np.float64) - got.astype(np.float64))
                count = int(np.count_nonzero(expected != got))
                found.append(Deviation(number, detail["name"], count, expected.size, float(steps.max(initial=0))))
    if found and result.all_virtual:
        worst = found[0]
        raise VerificationError(
            f"{model.path}: output '{worst.output}' of inference {worst.inference} differs from the uncut model in "
            f"{worst.count} of {worst.size} values",
            "This is a fault of atoll: please report it with the model.",
        )
    return tuple(found)
