"""Graphs and pipelines → modelled times."""

from atoll.timing.model import (
    MAX_CLOCK_MHZ,
    OperatorTiming,
    ParameterUse,
    RegionTiming,
    Timing,
    estimate_instruction_bytes,
    time_model,
)
from atoll.timing.work import Unit, Work, work_of

__all__ = [
    "MAX_CLOCK_MHZ",
    "OperatorTiming",
    "ParameterUse",
    "RegionTiming",
    "Timing",
    "Unit",
    "Work",
    "estimate_instruction_bytes",
    "time_model",
    "work_of",
]
