"""Graphs and pipelines → modelled times."""

from atoll.estimate.demand import Demand, HostedDemand, ParameterUse, RegionDemand, demand_of
from atoll.estimate.operator_work import ChipUnit, OperatorWork, work_of
from atoll.estimate.pipeline_timing import PipelineStage, PipelineTiming, pipeline_timing
from atoll.estimate.simulation import Simulation, StageSpan, simulate
from atoll.estimate.time_model import (
    MAX_CLOCK_MHZ,
    OperatorTiming,
    RegionTiming,
    Timing,
    estimated_instruction_bytes,
    time_model,
    timing_of,
)

__all__ = [
    "MAX_CLOCK_MHZ",
    "ChipUnit",
    "Demand",
    "HostedDemand",
    "OperatorTiming",
    "OperatorWork",
    "ParameterUse",
    "PipelineStage",
    "PipelineTiming",
    "RegionDemand",
    "RegionTiming",
    "Simulation",
    "StageSpan",
    "Timing",
    "demand_of",
    "estimated_instruction_bytes",
    "pipeline_timing",
    "price",
    "simulate",
    "time_model",
    "timing_of",
    "work_of",
]
