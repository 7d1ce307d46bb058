"""A graph, its mapped regions, where their parameters are, and a target → :class:`Timing`: what one inference takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from atoll.ir.graph import Graph, Operator, Tensor
from atoll.ir.subgraph import boundary
from atoll.target.host import CLOCKS_MHZ, Target
from atoll.timing.work import Unit, Work, work_of

MAX_CLOCK_MHZ = CLOCKS_MHZ[-1]
_DETECTION = "TFLite_Detection_PostProcess"


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """Bytes of one operator's parameters, as laid out for the chip."""

    cached: int = 0
    """Kept on the chip between inferences."""
    streamed: int = 0
    """Sent with every inference."""


@dataclass(frozen=True, slots=True)
class OperatorTiming:
    """One operator of the graph."""

    index: int
    on_tpu: bool
    macs: int
    cycles: float
    """Of the chip; 0 on the CPU."""
    compute_ms: float
    """At the clock asked for; on the CPU its whole time."""
    stream_ms: float
    """For its streamed parameters on the bus."""

    @property
    def bound(self) -> str:
        """What keeps it from being faster: ``cpu``, ``stream``, ``compute`` or ``nothing``."""
        if not self.on_tpu:
            return "cpu"
        if self.stream_ms > self.compute_ms:
            return "stream"
        return "compute" if self.compute_ms else "nothing"


@dataclass(frozen=True, slots=True)
class RegionTiming:
    """One invocation of the chip; its parts, in ms, follow one another and add up to ``total_ms``."""

    operators: tuple[int, ...]
    floor_ms: float
    input_ms: float
    instructions_ms: float
    cached_compute_ms: float
    """Of operators whose parameters are on the chip, or that have none."""
    streamed_ms: float
    """The longer of streaming parameters and of computing the operators they belong to."""
    output_ms: float
    relayout_ms: float
    """The host puts the tiles' parts of the outputs together."""
    load_ms: float
    """Filling the parameter cache: the first inference takes this much longer. Not in the total."""
    instruction_bytes: float

    @property
    def total_ms(self) -> float:
        return (
            self.floor_ms
            + self.input_ms
            + self.instructions_ms
            + self.cached_compute_ms
            + self.streamed_ms
            + self.output_ms
            + self.relayout_ms
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """What one inference of a graph takes on one target."""

    target: str
    clock_mhz: float
    operators: tuple[OperatorTiming, ...]
    """In the order of the graph, one each."""
    regions: tuple[RegionTiming, ...]
    cpu_ms: float
    """Operators that stay on the CPU."""

    @property
    def total_ms(self) -> float:
        """An inference with the parameters already cached."""
        return sum(region.total_ms for region in self.regions) + self.cpu_ms

    @property
    def load_ms(self) -> float:
        return sum(region.load_ms for region in self.regions)

    @property
    def first_ms(self) -> float:
        """The first inference after another model was on the chip."""
        return self.total_ms + self.load_ms


def time_model(
    graph: Graph,
    regions: Sequence[Sequence[int]],
    parameters: Mapping[int, ParameterUse],
    target: Target,
    *,
    clock_mhz: float = MAX_CLOCK_MHZ,
    instruction_bytes: Sequence[int] | None = None,
    cpu_ms: Mapping[int, float] = MappingProxyType({}),
) -> Timing:
    """The modelled latency of one inference.

    Args:
        regions: the operators of each Edge TPU custom operator; all others run on the CPU.
        parameters: by operator, where its parameters are; operators left out have none.
        clock_mhz: of the chip, above 0.
        instruction_bytes: per region, as a compiled file has them; estimated when not given.
        cpu_ms: measured times of operators that stay on the CPU, by operator; the others are estimated from their
            multiply-accumulates and elements.

    Raises:
        ValueError: an operator in two regions, a clock that is not above 0, or the wrong number of sizes.
    """
    if not clock_mhz > 0:
        raise ValueError(f"clock_mhz is {clock_mhz}")
    if instruction_bytes is not None and len(instruction_bytes) != len(regions):
        raise ValueError(f"{len(instruction_bytes)} instruction sizes for {len(regions)} regions")
    mapped = {index for region in regions for index in region}
    if sum(len(region) for region in regions) != len(mapped):
        raise ValueError("an operator is in two regions")
    work = [work_of(graph, operator) for operator in graph.operators]
    operators = tuple(
        _on_tpu(index, item, parameters.get(index, ParameterUse()), target, clock_mhz)
        if index in mapped
        else _on_cpu(graph, index, item, target, cpu_ms)
        for index, item in enumerate(work)
    )
    timed = tuple(
        _region(
            graph,
            region,
            [operators[i] for i in region],
            [parameters.get(i, ParameterUse()) for i in region],
            target,
            estimate_instruction_bytes(graph, region, work, target)
            if instruction_bytes is None
            else instruction_bytes[number],
        )
        for number, region in enumerate(regions)
    )
    on_cpu = sum(operator.compute_ms for operator in operators if not operator.on_tpu)
    return Timing(target.name, clock_mhz, operators, timed, on_cpu)


def _cycles(work: Work, target: Target) -> float:
    chip = target.chip
    if work.unit is Unit.MATRIX:
        return work.cycles * chip.matrix_overhead * (chip.spill_overhead if work.spills else 1.0)
    if work.unit is Unit.DEPTHWISE:
        return work.cycles * chip.depthwise_overhead * (chip.spill_overhead if work.spills else 1.0)
    return work.moved_bytes / chip.vector_bytes_per_cycle


def _on_tpu(index: int, work: Work, use: ParameterUse, target: Target, clock_mhz: float) -> OperatorTiming:
    cycles = _cycles(work, target)
    stream = _transfer_ms(use.streamed * work.passes, target.bus.parameters_mb_s)
    return OperatorTiming(index, True, work.macs, cycles, cycles / clock_mhz / 1e3, stream)


def _on_cpu(
    graph: Graph, index: int, work: Work, target: Target, measured: Mapping[int, float]
) -> OperatorTiming:
    host, operator = target.host, graph.operators[index]
    if index in measured:
        ms = measured[index]
    elif operator.name == _DETECTION and (scores := graph.tensor_of(operator, 1)) is not None:
        ms = scores.elements * host.cpu_score_ns / 1e6
    else:
        ms = work.macs / host.cpu_gmac_s / 1e6 + _elements(graph, operator) * host.cpu_element_ns / 1e6
    return OperatorTiming(index, False, work.macs, 0.0, ms, 0.0)


def _elements(graph: Graph, operator: Operator) -> int:
    read = sum(tensor.elements for tensor in graph.inputs_of(operator) if not tensor.is_constant)
    return read + sum(tensor.elements for tensor in graph.outputs_of(operator))


def _region(
    graph: Graph,
    region: Sequence[int],
    operators: Sequence[OperatorTiming],
    uses: Sequence[ParameterUse],
    target: Target,
    instruction_bytes: float,
) -> RegionTiming:
    bus, host = target.bus, target.host
    entering, leaving = boundary(graph, region)
    read = sum(_device_bytes(graph.tensors[i], 1) for i in entering if not graph.tensors[i].is_constant)
    written = sum(_device_bytes(graph.tensors[i], 4) for i in leaving)
    positions = sum(_positions(graph.tensors[i]) for i in leaving)
    streaming = sum(o.stream_ms for o in operators)
    computing = sum(o.compute_ms for o in operators if o.stream_ms)
    loaded = sum(use.cached for use in uses)
    return RegionTiming(
        operators=tuple(region),
        floor_ms=host.floor_ms,
        input_ms=_transfer_ms(read, bus.input_mb_s),
        instructions_ms=_transfer_ms(instruction_bytes, bus.parameters_mb_s),
        cached_compute_ms=sum(o.compute_ms for o in operators if not o.stream_ms),
        streamed_ms=max(streaming, computing),
        output_ms=_transfer_ms(written, bus.output_mb_s),
        relayout_ms=positions * host.position_ns / 1e6,
        load_ms=bus.load_fixed_ms + _transfer_ms(loaded, bus.load_mb_s) if loaded else 0.0,
        instruction_bytes=instruction_bytes,
    )


def estimate_instruction_bytes(graph: Graph, region: Sequence[int], work: Sequence[Work], target: Target) -> float:
    """Size of a region's instruction stream; median error 16 % (../shared/facts/timing.md)."""
    sizes = target.instructions
    total = sizes.base
    for index in region:
        operator, item = graph.operators[index], work[index]
        written = sum(t.nbytes for t in graph.outputs_of(operator))
        total += sizes.operator + sizes.spill * max(0.0, 2 * written / (3 << 20) - 0.5)
        if operator.kind == "MAX_POOL_2D":
            total += sizes.max_pool
        elif operator.kind == "SOFTMAX":
            classes = graph.tensors[operator.outputs[0]].shape[-1:]
            total += sum(sizes.softmax_class * count for count in classes if count % 4)
        elif operator.kind == "FULLY_CONNECTED":
            total += sizes.dense_block * item.blocks
        elif item.unit is Unit.DEPTHWISE:
            total += sizes.block * -(-graph.tensors[operator.outputs[0]].shape[-1] // 64)
        else:
            total += sizes.block * item.blocks
    return total


def _transfer_ms(nbytes: float, mb_s: float) -> float:
    return nbytes / mb_s / 1e3


def _device_bytes(tensor: Tensor, granule: int) -> int:
    """Bytes on the bus: outputs come with their channels padded to whole words (../shared/facts/package.md)."""
    if not tensor.shape:
        return tensor.nbytes
    channels = tensor.shape[-1]
    return tensor.nbytes // max(channels, 1) * (channels + -channels % granule)


def _positions(tensor: Tensor) -> int:
    return tensor.elements // max(tensor.shape[-1], 1) if tensor.shape else 1
