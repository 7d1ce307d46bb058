"""A graph, its mapped regions and where their parameters are → :class:`Demand`: all that its time depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atoll.estimate.operator_work import OperatorWork, work_of
from atoll.model.graph import Graph, Tensor
from atoll.model.subgraph import boundary

_DETECTION = "TFLite_Detection_PostProcess"
_SCORE_PER_ANCHOR = 0.01
"""LiteRT on one core: 1917 anchors x 91 classes 0.615 ms, x 2 classes 0.363 ms, 4000 x 2 0.900 ms (10 detections)."""
_STRIPE = 3 << 20  # bytes of narrow memory in all tiles, the unit of InstructionSizes.spill


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """Bytes of one operator's parameters, as laid out for the chip."""

    cached: int = 0
    """Kept on the chip between inferences."""
    streamed: int = 0
    """Sent with every inference."""


_NO_PARAMETERS = ParameterUse()


@dataclass(frozen=True, slots=True)
class RegionDemand:
    """One invocation of the chip."""

    operators: tuple[int, ...]
    input_bytes: int
    """As they cross the bus."""
    output_bytes: int
    """As they cross the bus: channels padded to whole 4-byte words."""
    output_positions: int
    """Spatial positions of all outputs."""
    load_bytes: int
    """Parameters that the cache is filled with."""
    instruction_counts: Mapping[str, float]
    """How often each size of :class:`atoll.hardware.host.InstructionSizes` occurs."""


@dataclass(frozen=True, slots=True)
class HostedDemand:
    """One operator that stays on the CPU."""

    elements: int
    """Read and written, constants left out."""
    anchors: float
    """Boxes to decode and compare in a detection's post-processing, and a hundredth of its class scores."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one inference asks of chip, bus and host."""

    work: tuple[OperatorWork, ...]
    """Per operator of the graph."""
    uses: tuple[ParameterUse, ...]
    """Per operator of the graph."""
    regions: tuple[RegionDemand, ...]
    hosted: Mapping[int, HostedDemand]
    """By operator that no region holds."""


def demand_of(graph: Graph, regions: Sequence[Sequence[int]], parameters: Mapping[int, ParameterUse]) -> Demand:
    """What one inference of ``graph`` asks for.

    Args:
        regions: the operators of each Edge TPU custom operator; all others run on the CPU.
        parameters: by operator, where its parameters are; operators left out have none.

    Raises:
        ValueError: an operator is in two regions.
    """
    mapped = {index for region in regions for index in region}
    if sum(len(region) for region in regions) != len(mapped):
        raise ValueError("an operator is in two regions")
    work = tuple(work_of(graph, operator) for operator in graph.operators)
    uses = tuple(parameters.get(index, _NO_PARAMETERS) for index in range(len(work)))
    hosted = {index: _hosted(graph, index) for index in range(len(work)) if index not in mapped}
    return Demand(work, uses, tuple(_region(graph, tuple(r), work, uses) for r in regions), hosted)


def _region(
    graph: Graph, region: tuple[int, ...], work: Sequence[OperatorWork], uses: Sequence[ParameterUse]
) -> RegionDemand:
    entering, leaving = boundary(graph, region)
    outputs = [graph.tensors[i] for i in leaving]
    return RegionDemand(
        operators=region,
        input_bytes=sum(graph.tensors[i].nbytes for i in entering if not graph.tensors[i].is_constant),
        output_bytes=sum(_padded_bytes(tensor) for tensor in outputs),
        output_positions=sum(tensor.elements // max(_channels(tensor), 1) for tensor in outputs),
        load_bytes=sum(uses[i].cached for i in region),
        instruction_counts=_instruction_counts(graph, region, work),
    )


def _instruction_counts(graph: Graph, region: Sequence[int], work: Sequence[OperatorWork]) -> dict[str, float]:
    counts = dict.fromkeys(("block", "dense_block", "max_pool", "softmax_class", "spill"), 0.0)
    for index in region:
        operator, item = graph.operators[index], work[index]
        outputs = [graph.tensors[i] for i in operator.outputs]
        counts["spill"] += max(0.0, 2 * sum(tensor.nbytes for tensor in outputs) / _STRIPE - 0.5)
        counts["dense_block" if operator.kind == "FULLY_CONNECTED" else "block"] += item.blocks
        counts["max_pool"] += operator.kind == "MAX_POOL_2D"
        if operator.kind == "SOFTMAX" and _channels(outputs[0]) % 4:
            counts["softmax_class"] += _channels(outputs[0])
    dense = sum(graph.operators[index].kind == "FULLY_CONNECTED" for index in region)
    return {"base": 1, "operator": len(region) - dense, **counts}


def _hosted(graph: Graph, index: int) -> HostedDemand:
    operator = graph.operators[index]
    read = [tensor for tensor in graph.inputs_of(operator) if not tensor.is_constant]
    if operator.name == _DETECTION and len(read) > 1:
        anchors = read[0].elements // 4
        return HostedDemand(0, anchors + _SCORE_PER_ANCHOR * read[1].elements)
    return HostedDemand(sum(t.elements for t in (*read, *graph.outputs_of(operator))), 0)


def _padded_bytes(tensor: Tensor) -> int:
    """The package's DMA hints: [48, 48, 17] comes as 46,080 bytes (../shared/data/goldens.json)."""
    channels = _channels(tensor)
    return tensor.nbytes // max(channels, 1) * (channels + -channels % 4)


def _channels(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1
