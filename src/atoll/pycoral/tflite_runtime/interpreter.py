"""``tflite_runtime.interpreter`` for programs that expect it: LiteRT's, with Edge TPUs real and virtual."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert import interpreter as litert
from ai_edge_litert.interpreter import Delegate, OpResolverType, SignatureRunner

from atoll.pycoral.utils.edgetpu import EdgeTpuDelegate, load_edgetpu_delegate, make_interpreter

__all__ = ["Delegate", "Interpreter", "OpResolverType", "SignatureRunner", "load_delegate"]


class Interpreter(litert.Interpreter):  # type: ignore[misc]
    """LiteRT's ``Interpreter``; with an Edge TPU delegate in ``experimental_delegates``, on that device."""

    def __new__(
        cls,
        model_path: str | os.PathLike[str] | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Sequence[Any] | Any | None = None,
        **options: Any,
    ) -> Any:
        listed = (
            experimental_delegates if isinstance(experimental_delegates, (list, tuple)) else [experimental_delegates]
        )
        wanted = next((item for item in listed if isinstance(item, EdgeTpuDelegate)), None)
        if wanted is not None:
            return make_interpreter(model_path if model_content is None else model_content, delegate=wanted)  # type: ignore[arg-type]
        delegates = [item for item in listed if item is not None] or None
        path = None if model_path is None else os.fspath(model_path)
        return litert.Interpreter(
            model_path=path, model_content=model_content, experimental_delegates=delegates, **options
        )


def load_delegate(library: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Any:
    """A delegate of a library; the Edge TPU's, under any of its names, can be a virtual device's as well."""
    if "edgetpu" in Path(library).name:
        return load_edgetpu_delegate(options)
    return litert.load_delegate(library, options)
