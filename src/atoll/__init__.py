"""atoll: pipeline neural networks over several Coral Edge TPUs, with the hardware and without it."""

from __future__ import annotations

import importlib

from atoll.version import __version__

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which takes longer than the rest of this file
if TYPE_CHECKING:
    from typing import Any

    from atoll.api.calibrate import calibrate
    from atoll.api.check import check
    from atoll.api.classify import classify
    from atoll.api.compile import compile  # noqa: A004 - the command's name
    from atoll.api.devices import devices
    from atoll.api.doctor import doctor
    from atoll.api.inspect import inspect
    from atoll.api.learn import learn
    from atoll.api.measure import measure
    from atoll.api.partition import partition
    from atoll.api.plan import plan
    from atoll.api.profile import profile
    from atoll.api.run import run
    from atoll.api.zoo import zoo
    from atoll.device import VirtualEdgeTpu, adapt_delegate, lease, list_edge_tpus, make_interpreter
    from atoll.errors import AtollError
    from atoll.model.tflite import read_model, write_model
    from atoll.pipeline import Pipeline, StageStats

__all__ = [
    "AtollError",
    "Pipeline",
    "StageStats",
    "VirtualEdgeTpu",
    "__version__",
    "adapt_delegate",
    "calibrate",
    "check",
    "classify",
    "compile",
    "devices",
    "doctor",
    "inspect",
    "learn",
    "lease",
    "list_edge_tpus",
    "make_interpreter",
    "measure",
    "partition",
    "plan",
    "profile",
    "read_model",
    "run",
    "write_model",
    "zoo",
]

_HOMES = {
    "AtollError": "errors",
    "Pipeline": "pipeline",
    "StageStats": "pipeline",
    "VirtualEdgeTpu": "device",
    "adapt_delegate": "device",
    "calibrate": "api.calibrate",
    "check": "api.check",
    "classify": "api.classify",
    "compile": "api.compile",
    "devices": "api.devices",
    "doctor": "api.doctor",
    "inspect": "api.inspect",
    "learn": "api.learn",
    "lease": "device",
    "list_edge_tpus": "device",
    "make_interpreter": "device",
    "measure": "api.measure",
    "partition": "api.partition",
    "plan": "api.plan",
    "profile": "api.profile",
    "read_model": "model.tflite",
    "run": "api.run",
    "write_model": "model.tflite",
    "zoo": "api.zoo",
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
