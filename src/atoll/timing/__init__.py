"""Graphs and pipelines → modelled times."""

from atoll.timing.demand import Demand, HostedDemand, ParameterUse, RegionDemand, demand
from atoll.timing.model import (
    MAX_CLOCK_MHZ,
    OperatorTiming,
    RegionTiming,
    Timing,
    estimated_instruction_bytes,
    price,
    time_model,
)
from atoll.timing.work import Unit, Work, work_of

__all__ = [
    "MAX_CLOCK_MHZ",
    "Demand",
    "HostedDemand",
    "OperatorTiming",
    "ParameterUse",
    "RegionDemand",
    "RegionTiming",
    "Timing",
    "Unit",
    "Work",
    "demand",
    "estimated_instruction_bytes",
    "price",
    "time_model",
    "work_of",
]
