"""Compiled segments or files, and a target → modelled latencies: profiles, real-time devices, calibrated targets."""

from atoll.profiling.cpu import measure_cpu
from atoll.profiling.evidence import held_out_error
from atoll.profiling.latency import latency_function, modelled_latency
from atoll.profiling.profile import profile_model
from atoll.profiling.runs import Fit, MeasuredRun, fit_target, read_runs
from atoll.profiling.workload import Source, Workload, is_compiled, workload

__all__ = [
    "Fit",
    "MeasuredRun",
    "Source",
    "Workload",
    "fit_target",
    "held_out_error",
    "is_compiled",
    "latency_function",
    "measure_cpu",
    "modelled_latency",
    "profile_model",
    "read_runs",
    "workload",
]
