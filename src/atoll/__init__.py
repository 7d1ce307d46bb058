"""atoll: pipeline neural networks over several Coral Edge TPUs, with the hardware and without it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atoll.checking import check_model
    from atoll.device import VirtualEdgeTpu, lease, list_edge_tpus, make_interpreter
    from atoll.errors import AtollError
    from atoll.formats.tflite import read_model, write_model
    from atoll.run import Pipeline, StageStats
    from atoll.toolchain import compile_model

__version__ = "0.1.0"

__all__ = [
    "AtollError",
    "Pipeline",
    "StageStats",
    "VirtualEdgeTpu",
    "__version__",
    "check_model",
    "compile_model",
    "lease",
    "list_edge_tpus",
    "make_interpreter",
    "read_model",
    "write_model",
]

_HOMES = {
    "AtollError": "errors",
    "Pipeline": "run",
    "StageStats": "run",
    "VirtualEdgeTpu": "device",
    "check_model": "checking",
    "compile_model": "toolchain",
    "lease": "device",
    "list_edge_tpus": "device",
    "make_interpreter": "device",
    "read_model": "formats.tflite",
    "write_model": "formats.tflite",
}
"""Public names are imported when they are first used, so that ``import atoll`` and ``atoll --help`` stay quick."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'atoll' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"atoll.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
