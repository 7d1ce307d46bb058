"""Graphs and pipelines → modelled times."""

from atoll.estimate.demand import Demand, HostedDemand, ParameterUse, RegionDemand, demand
from atoll.estimate.operator_work import Unit, Work, work_of
from atoll.estimate.pipeline_timing import PipelineStage, PipelineTiming, pipeline_timing
from atoll.estimate.simulation import Simulation, Span, simulate
from atoll.estimate.time_model import (
    MAX_CLOCK_MHZ,
    OperatorTiming,
    RegionTiming,
    Timing,
    estimated_instruction_bytes,
    price,
    time_model,
)

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
