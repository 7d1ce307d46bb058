"""The whole way of a model through the program, a line for each step: the call, its product, where it is made.

    model      = load("net.tflite")                             Model          model/load.py
    support    = operator_support(model.main)                   Support        support/operator_check.py
    regions    = choose_regions(model.main, support)            Regions        support/regions.py
    partition  = equal_partition(model.main, 2)                 Partition      partitioning/; or best cuts, or a file
    compiler   = choose_compiler(real_devices=False)            Compiler       compiler/choosing.py
    files      = compiler.compile([model], "out", partition)    CompiledFiles  compiler/own_compiler.py, external/
    deployed   = deployment(files, model, partition)            Deployment     compiler/deployment.py
    with leased(deployed, settings) as devices:                 EdgeTpu ...    pipeline/deployed_devices.py
        result = run_deployment(deployed, devices, frames, settings)      RunResult, pipeline/run_deployment.py
    deviations = compare(result, model)                         Deviation ...  reporting/comparison.py
    report     = run_report(deployed, result, deviations)       RunReport      reporting/run_report.py

``atoll.check`` ends after the regions. Our compiler chooses them anew for each segment, then plans its memory. The
functions below take several of these steps at once; ``atoll.compile`` and ``atoll.run`` call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.compiler.choosing import choose_compiler
from atoll.compiler.deployment import Deployment, deployed, deployment
from atoll.compiler.emit import Compiled
from atoll.compiler.interface import CompileOptions, Compiler
from atoll.compiler.own_compiler import OwnCompiler
from atoll.model.graph import Model
from atoll.model.load import load, named
from atoll.partitioning.equal_bytes import equal_partition
from atoll.products.partition import Partition
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.support import require_compilable

if TYPE_CHECKING:
    from atoll.pipeline.run_deployment import RunSettings
    from atoll.products.run_result import Tensors
    from atoll.reporting.run_report import RunReport

__all__ = ["choose_compiler", "compile_model", "deploy", "deployed", "equal_partition", "load", "run"]


def compile_model(
    model: Model, segments: int = 1, options: CompileOptions = CompileOptions(), name: str = ""
) -> Compiled:
    """Cut a model into segments of equal parameter bytes and compile each for the virtual Edge TPU, in memory.

    ``name`` (default: the file that the model was read from) is what the files are named after.

    Raises:
        UnsupportedModelError: the model is not quantised, has dynamic shapes, or is compiled already.
        PartitionError: it cannot be cut into that many segments.
        UsageError: options that contradict each other, or name a tensor or a runtime that does not exist.
    """
    require_compilable(model)
    model = named(replace(model, path=name or model.path))
    return OwnCompiler(options).compiled([model], equal_partition(model.main, segments))


def deploy(
    model: Model,
    partition: Partition,
    directory: str | Path,
    compiler: Compiler = OwnCompiler(),
    replicas: Sequence[int] = (),
    kinds: Sequence[str] = (),
    on_progress: OnProgress = ignore,
) -> Deployment:
    """Compile every segment of ``model`` into ``directory``: one file per segment, ready for its devices.

    ``replicas`` and ``kinds`` say, per segment, how many devices run it and of which kind (default: one, any).
    Raises as :meth:`atoll.compiler.interface.Compiler.compile`.
    """
    files = compiler.compile([model], directory, partition, on_progress)
    return deployment(files, model, partition, replicas, kinds)


def run(
    deployment: Deployment,
    model: Model | None,
    frames: Iterable[Tensors],
    settings: RunSettings,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> RunReport:
    """Run compiled segments on devices of their own, and compare the outputs with those of ``model``, if it is given.

    Raises as leasing the devices, :func:`atoll.pipeline.run_deployment.run_deployment` and comparing do.
    """
    # Compiling does without LiteRT, which takes longer to import than most models to compile.
    from atoll.pipeline.deployed_devices import leased
    from atoll.pipeline.run_deployment import run_deployment
    from atoll.reporting.comparison import compare
    from atoll.reporting.run_report import run_report

    with leased(deployment, settings, on_message) as devices:
        result = run_deployment(deployment, devices, frames, settings, on_progress)
    deviations = None if model is None else compare(result, model)
    return run_report(deployment, result, deviations, tuple(settings.hosts.values()))
