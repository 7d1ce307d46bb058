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
from atoll.timing.pipeline import PipelineStage, PipelineTiming, pipeline_timing
from atoll.timing.simulation import Simulation, Span, simulate
from atoll.timing.work import Unit, Work, work_of

__all__ = [
    "MAX_CLOCK_MHZ",
    "Demand",
    "HostedDemand",
    "OperatorTiming",
    "ParameterUse",
    "PipelineStage",
    "PipelineTiming",
    "RegionDemand",
    "RegionTiming",
    "Simulation",
    "Span",
    "Timing",
    "Unit",
    "Work",
    "demand",
    "estimated_instruction_bytes",
    "pipeline_timing",
    "price",
    "simulate",
    "time_model",
    "work_of",
]
