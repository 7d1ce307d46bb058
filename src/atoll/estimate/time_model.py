"""A demand and a target → :class:`Timing`: what one inference takes, part by part.

What is added up, and where the formulas come from, is in docs/timing.md ("What is added up"); they were found on the
measurements of ../shared/data/latencies.json. Times are in ms, sizes in bytes, rates in MB/s (10^6 bytes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from atoll.estimate.demand import Demand, ParameterUse, RegionDemand, demand_of
from atoll.estimate.operator_work import ChipUnit, OperatorWork
from atoll.hardware.host import CLOCKS_MHZ, ChipRates, Target
from atoll.model.graph import Graph

MAX_CLOCK_MHZ = CLOCKS_MHZ[-1]


@dataclass(frozen=True, slots=True)
class OperatorTiming:
    """One operator of the graph."""

    index: int
    on_tpu: bool
    macs: int
    cycles: float
    """Time of the chip: ideal cycles × overhead, or bytes moved / bytes per cycle; 0 on the CPU."""
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
    """An inference of next to nothing: ``host.floor_ms``."""
    input_ms: float
    """Bytes of the inputs / ``bus.input_mb_s``."""
    instructions_ms: float
    """Bytes of the instruction stream / ``bus.parameters_mb_s``: it crosses the bus with every inference."""
    cached_compute_ms: float
    """Computing operators whose parameters are on the chip, or that have none."""
    streamed_ms: float
    """The longer of streaming parameters and of computing the operators they belong to."""
    output_ms: float
    """Bytes of the outputs, channels padded to words of 4 bytes, / ``bus.output_mb_s``."""
    relayout_ms: float
    """The host puts the tiles' parts of the outputs together: their positions × ``host.position_ns``."""
    load_ms: float
    """Filling the parameter cache: ``bus.load_fixed_ms`` + bytes / ``bus.load_mb_s``. The first inference takes this
    much longer; not in the total."""
    instruction_bytes: float

    @property
    def total_ms(self) -> float:
        """One invocation with the parameters already cached."""
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
    def transfer_ms(self) -> float:
        """The part of it that is activations crossing the bus and their work on the host."""
        return sum(region.input_ms + region.output_ms + region.relayout_ms for region in self.regions)

    @property
    def load_ms(self) -> float:
        """Filling the parameter caches of all regions."""
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
    """The modelled latency of one inference: :func:`demand_of`, then :func:`timing_of`; they say what the arguments
    are."""
    return timing_of(
        demand_of(graph, regions, parameters),
        target,
        clock_mhz=clock_mhz,
        instruction_bytes=instruction_bytes,
        cpu_ms=cpu_ms,
    )


def timing_of(
    wanted: Demand,
    target: Target,
    *,
    clock_mhz: float = MAX_CLOCK_MHZ,
    instruction_bytes: Sequence[int] | None = None,
    cpu_ms: Mapping[int, float] = MappingProxyType({}),
) -> Timing:
    """What a demand takes on a target.

    Args:
        clock_mhz: of the chip, above 0.
        instruction_bytes: per region, as a compiled file has them; estimated when not given.
        cpu_ms: measured times of operators that stay on the CPU, by operator; the others are estimated from their
            multiply-accumulates, elements and anchors.

    Raises:
        ValueError: a clock that is not above 0, or the wrong number of sizes.
    """
    if not clock_mhz > 0:
        raise ValueError(f"clock_mhz is {clock_mhz}")
    if instruction_bytes is not None and len(instruction_bytes) != len(wanted.regions):
        raise ValueError(f"{len(instruction_bytes)} instruction sizes for {len(wanted.regions)} regions")
    operators = tuple(
        _on_cpu(index, wanted, target, cpu_ms) if index in wanted.hosted else _on_tpu(index, wanted, target, clock_mhz)
        for index in range(len(wanted.work))
    )
    sizes: Sequence[float] = instruction_bytes or [
        estimated_instruction_bytes(region, target) for region in wanted.regions
    ]
    regions = tuple(
        _region(region, [operators[i] for i in region.operators], target, size)
        for region, size in zip(wanted.regions, sizes)
    )
    return Timing(target.name, clock_mhz, operators, regions, sum(operators[i].compute_ms for i in wanted.hosted))


def estimated_instruction_bytes(region: RegionDemand, target: Target) -> float:
    """Size of a region's instruction stream; median error 16 % (../shared/facts/timing.md)."""
    return sum(count * float(getattr(target.instructions, name)) for name, count in region.instruction_counts.items())


def _cycles(work: OperatorWork, chip: ChipRates) -> float:
    if work.unit is ChipUnit.MATRIX:
        return work.cycles * chip.matrix_overhead * (chip.spill_overhead if work.spills else 1.0)
    if work.unit is ChipUnit.DEPTHWISE:
        return work.cycles * chip.depthwise_overhead
    return work.moved_bytes / chip.vector_bytes_per_cycle


def _on_tpu(index: int, wanted: Demand, target: Target, clock_mhz: float) -> OperatorTiming:
    work = wanted.work[index]
    cycles = _cycles(work, target.chip)
    stream = _transfer_ms(wanted.uses[index].streamed * work.passes, target.bus.parameters_mb_s)
    return OperatorTiming(index, True, work.macs, cycles, cycles / clock_mhz / 1e3, stream)


def _on_cpu(index: int, wanted: Demand, target: Target, measured: Mapping[int, float]) -> OperatorTiming:
    host, asked, macs = target.host, wanted.hosted[index], wanted.work[index].macs
    ms = measured.get(index)
    if ms is None:
        ms = (asked.elements * host.cpu_element_ns + asked.anchors * host.cpu_anchor_ns) / 1e6
        ms += macs / host.cpu_gmac_s / 1e6
    return OperatorTiming(index, False, macs, 0.0, ms, 0.0)


def _region(
    wanted: RegionDemand, operators: Sequence[OperatorTiming], target: Target, instruction_bytes: float
) -> RegionTiming:
    bus, host = target.bus, target.host
    streaming = sum(o.stream_ms for o in operators)
    computing = sum(o.compute_ms for o in operators if o.stream_ms)
    loading = bus.load_fixed_ms + _transfer_ms(wanted.load_bytes, bus.load_mb_s)
    return RegionTiming(
        operators=wanted.operators,
        floor_ms=host.floor_ms,
        input_ms=_transfer_ms(wanted.input_bytes, bus.input_mb_s),
        instructions_ms=_transfer_ms(instruction_bytes, bus.parameters_mb_s),
        cached_compute_ms=sum(o.compute_ms for o in operators if not o.stream_ms),
        streamed_ms=max(streaming, computing),
        output_ms=_transfer_ms(wanted.output_bytes, bus.output_mb_s),
        relayout_ms=wanted.output_positions * host.position_ns / 1e6,
        load_ms=loading if wanted.load_bytes else 0.0,
        instruction_bytes=instruction_bytes,
    )


def _transfer_ms(nbytes: float, mb_s: float) -> float:
    return nbytes / mb_s / 1e3
