"""Compiled segments or files, and a target → modelled latencies: profiles, real-time devices, calibrated targets."""

from atoll.profiling.cpu import measure_cpu
from atoll.profiling.evidence import held_out_error
from atoll.profiling.latency import latency_function, modelled_latency
from atoll.profiling.measured import compare, measure
from atoll.profiling.profile import profile_model
from atoll.profiling.runs import Fit, MeasuredRun, fit_target, read_runs
from atoll.profiling.workload import Source, Workload, workload

__all__ = [
    "Fit",
    "MeasuredRun",
    "Source",
    "Workload",
    "compare",
    "fit_target",
    "held_out_error",
    "latency_function",
    "measure",
    "measure_cpu",
    "modelled_latency",
    "profile_model",
    "read_runs",
    "workload",
]
