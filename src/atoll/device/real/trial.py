"""A library of delegates -> what it takes to make it work, found by running models in processes that may crash.

A wrong guess is seen at once: a library that looks for a tensor in the wrong place finds a pointer where its type
should be ("Unsupported data type in custom op handler: -722750992"), or crashes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from atoll.compiler.package_format import (
    BoundaryLayer,
    Executable,
    ExecutableKind,
    OutputInfo,
    OutputLayout,
    Package,
    write_package,
)
from atoll.compiler.package_format.flexmap import write_map
from atoll.compiler.packages import UPDATE
from atoll.device.real.context_view import TENSOR_SIZES, TensorBytes
from atoll.device.real.library import library_file
from atoll.device.real.runtime import Answer
from atoll.errors import RuntimeTooOldError, UsageError
from atoll.model import CUSTOM_OP, DType, Graph, Model, Operator, Quantization, Tensor
from atoll.model.tflite import write_model

Until = Literal["allocate", "invoke"]

_STEPS = ("", "load", "version", "list", "open", "import", "attach", "allocate", "invoke", "close", "done")

_POSENET = "PosenetDecoderOp"


def find_size(attempt: Callable[[TensorBytes], Answer]) -> tuple[TensorBytes | None, Answer]:
    """The size of tensors with which an attempt works, or None and the answer that tells most."""
    answers = []
    for size in TENSOR_SIZES:
        answer = attempt(size)
        if answer.worked:
            return size, answer
        answers.append(answer)
        if answer.hung or _too_old(answer) or _STEPS.index(answer.step) < _STEPS.index("attach"):
            break  # tensors have nothing to do with it
    return None, max(answers, key=lambda answer: _STEPS.index(answer.step))


def require_runtime(answer: Answer) -> None:
    """Raises RuntimeTooOldError when that is what the library said."""
    text = _too_old(answer)
    if text:
        raise RuntimeTooOldError(text, UPDATE)


def _too_old(answer: Answer) -> str:
    said = f"{answer.failure} {answer.messages}"
    return said[said.index("Package requires") :].splitlines()[0] if "requires runtime version" in said else ""


@contextlib.contextmanager
def model_file(library: str, chosen: Path | None = None) -> Iterator[tuple[Path, Until]]:
    """A model that the library's delegates take part in, and how far to go with it: ``chosen``, or one of ours.

    Raises:
        UsageError: none was chosen, and it is a library that we know nothing of.
    """
    if chosen is not None:
        yield chosen, "invoke"
        return
    path = library_file(library)
    content = path.read_bytes() if path else b""
    if not path or b"edgetpu_create_delegate" in content:
        model = _edge_tpu_model()
    elif _POSENET.encode() in content:
        model = posenet_model()
    else:
        raise UsageError(
            f"{library} is neither an Edge TPU runtime nor a PoseNet decoder: how its delegates see tensors has to be "
            "tried with a model that they take part in",
            "Name one: model='file.tflite'.",
        )
    with tempfile.TemporaryDirectory(prefix="atoll-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "trial.tflite"
        write_model(model, file)
        yield file, "allocate"  # types of tensors are checked there


def _edge_tpu_model() -> Model:
    """A compiled operator that passes all checks of the runtime, which compares its layers with its tensors, and has
    no instructions: it can be prepared, not run. Its tensors are not the first, which all layouts agree on.
    """
    layout = OutputLayout((0,), (0,), (0,), (0,), (0,), (8,))
    layers = [BoundaryLayer("x", 8, 1, 1, 8), BoundaryLayer("y", 8, 1, 1, 8, output=OutputInfo(layout))]
    executable = Executable(
        ExecutableKind.STAND_ALONE, chip="beagle", input_layers=(layers[0],), output_layers=(layers[1],)
    )
    package = bytes(write_package(Package(10, (executable,))))
    quantized = Quantization(np.array([0.1], np.float32), np.array([0], np.int64))
    tensors = tuple(Tensor(f"t{i}", (1, 8), DType.UINT8, quantized) for i in range(5))
    operator = Operator("CUSTOM", (2,), (4,), custom_code=CUSTOM_OP, custom_options=package)
    return Model((Graph(tensors, (operator,), (2,), (4,)),))


def posenet_model(side: int = 3, detections: int = 2) -> Model:
    """The decoder of google-coral/project-posenet on square maps."""
    options = {"max_detections": detections, "nms_radius": 20.0, "score_threshold": 0.2, "stride": 16}
    shapes: dict[str, tuple[int, ...]] = {
        "heatmaps": (1, side, side, 17),
        "shorts": (1, side, side, 34),
        "mids": (1, side, side, 64),
    }
    shapes |= {
        "poses": (1, detections, 17, 2),
        "keypoint_scores": (1, detections, 17),
        "pose_scores": (1, detections),
        "count": (),
    }
    tensors = tuple(Tensor(name, shape, DType.FLOAT32) for name, shape in shapes.items())
    operator = Operator("CUSTOM", (0, 1, 2), (3, 4, 5, 6), custom_code=_POSENET, custom_options=write_map(options))
    return Model((Graph(tensors, (operator,), (0, 1, 2), (3, 4, 5, 6)),))
