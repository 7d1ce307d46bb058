"""A compiled segment, or a compiled file → :class:`Workload`: what one Edge TPU and its host have to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from atoll.compiler.emit import CompiledSegment
from atoll.compiler.inspect_report import RegionReport
from atoll.compiler.inspection import inspect_model
from atoll.compiler.parameters import parameter_size
from atoll.device.virtual.region import original_source, require_same_origin
from atoll.errors import CorruptPackageError
from atoll.estimate import Demand, ParameterUse, demand_of
from atoll.model.compiled import CUSTOM_OP
from atoll.model.graph import Graph, Model
from atoll.model.load import ModelLike
from atoll.model.subgraph import between
from atoll.model.tflite import read_model

_PLANNED = "Parameters are cached or streamed as atoll plans the memory"
_READ = "Parameters are cached or streamed as the compiled file has them"


@dataclass(frozen=True, slots=True)
class Workload:
    """What one Edge TPU has to do, and its host for it."""

    name: str
    source: Model
    """Holds the original operators."""
    number: int
    """Its graph that has them."""
    regions: tuple[tuple[int, ...], ...]
    """Operators of each Edge TPU operator."""
    parameters: Mapping[int, ParameterUse]
    """By operator."""
    instruction_bytes: tuple[int, ...] | None
    """Per region; None: to be estimated."""
    how: str
    """Where the parameters' places come from."""

    @property
    def graph(self) -> Graph:
        """The graph that holds the original operators."""
        return self.source.graphs[self.number]

    @property
    def hosted(self) -> tuple[int, ...]:
        """The operators that stay on the CPU."""
        mapped = {index for region in self.regions for index in region}
        return tuple(i for i in range(len(self.graph.operators)) if i not in mapped)

    @property
    def demand(self) -> Demand:
        """What one inference asks of chip, bus and host."""
        return demand_of(self.graph, self.regions, self.parameters)


WorkloadSource: TypeAlias = "CompiledSegment | Workload | ModelLike"
"""A segment that was just compiled, a compiled file, or what was read from one."""


def workload(source: WorkloadSource, original: ModelLike | None = None) -> Workload:
    """What a compiled segment or file asks for.

    ``original`` is the uncompiled model of a vendor-compiled file, which does not hold its original operators.

    Raises:
        FileAccessError, InvalidModelError: a file that cannot be read.
        UnsupportedModelError: it is not compiled.
        DeviceError, InputError: the original is missing, or is that of another file.
    """
    if isinstance(source, Workload):
        return source
    return _of_segment(source) if isinstance(source, CompiledSegment) else _of_compiled(_read(source), original)


def _read(model: ModelLike) -> Model:
    return model if isinstance(model, Model) else read_model(model)


def _of_segment(segment: CompiledSegment) -> Workload:
    parameters = {
        item.layer.operator: ParameterUse(cached=item.layer.nbytes)
        if item.cached
        else ParameterUse(streamed=item.layer.nbytes)
        for item in segment.memory.layers
    }
    return Workload(segment.name, segment.source, 0, segment.regions, parameters, None, f"{_PLANNED}.")


def _of_compiled(model: Model, original: ModelLike | None) -> Workload:
    compiled = [operator for operator in model.main.operators if operator.custom_code == CUSTOM_OP]
    source, number = model, 0  # inspecting refuses a file that is not compiled
    if original is not None:
        source = _read(original)
        require_same_origin(model, source)
    elif compiled:
        source, number = original_source(model)
    graph = source.graphs[number]
    report = inspect_model(model, replace(source, graphs=(graph,)))
    unreadable = next((region for region in report.regions if not region.executables), None)
    if unreadable is not None:
        raise CorruptPackageError(report.problems[0], "Compile the model again, or copy the file again.")
    names = [tensor.name for tensor in model.main.tensors]
    regions = tuple(
        between(graph, [names[i] for i in operator.inputs if i >= 0], [names[i] for i in operator.outputs])
        for operator in compiled
    )
    parameters, assumed = _placements(graph, regions, report.regions)
    sizes = tuple(
        sum(sum(e.instruction_bytes) for e in region.executables if e.kind != "PARAMETER_CACHING")
        for region in report.regions
    )
    how = _READ if not assumed else f"{_READ}, but for {assumed} operators whose bytes were not found in it"
    return Workload(
        Path(model.path).name, source, number, regions, parameters, sizes if all(sizes) else None, f"{how}."
    )


def _placements(
    graph: Graph, regions: Sequence[Sequence[int]], reports: Sequence[RegionReport]
) -> tuple[dict[int, ParameterUse], int]:
    """Per operator where its parameters are, and for how many that follows from the blobs' sizes alone."""
    result: dict[int, ParameterUse] = {}
    assumed = 0
    for region, report in zip(regions, reports):
        found = {item.index: item for item in report.placed if item.placement != "not found"}
        left = report.cached_bytes - sum(item.nbytes for item in found.values() if item.placement == "cached")
        for index in region:
            item = found.get(index)
            if item is not None:
                cached, nbytes = item.placement == "cached", item.nbytes
            else:
                size = parameter_size(graph, graph.operators[index])
                nbytes = size.nbytes
                cached = not size.streamed and nbytes <= left
                left -= nbytes if cached else 0
                assumed += any(index == other.index for other in report.placed)
            if nbytes:
                result[index] = ParameterUse(cached=nbytes) if cached else ParameterUse(streamed=nbytes)
    return result, assumed
