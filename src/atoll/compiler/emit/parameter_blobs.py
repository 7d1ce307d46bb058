"""The planned layers of one region → the bytes that are loaded once, and those sent with every inference."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from atoll.compiler.memory import LayerPlan
from atoll.compiler.parameters import pack_layer
from atoll.compiler.parameters.sizes import WEIGHTED
from atoll.hardware.generations import Generation
from atoll.model.graph import Graph, Model
from atoll.model.subgraph import boundary, extract

Bytes = npt.NDArray[np.uint8]


def parameter_blobs(
    graph: Graph, region: Collection[int], layers: Sequence[LayerPlan], generation: Generation
) -> tuple[Bytes, Bytes]:
    """The cached and the streamed parameters of a region, layers in execution order.

    Conv2D, DepthwiseConv2D and FullyConnected are packed as the chip wants them. Of the other operators' constants
    only the size is known (``../shared/facts/parameters.md``): they take their place as zeros.
    """
    own = _own(region, layers)
    cached, streamed = (
        np.zeros(sum(item.layer.nbytes for item in own if item.cached is which), np.uint8) for which in (True, False)
    )
    for item, offset in _offsets(own):
        operator = graph.operators[item.layer.operator]
        if operator.kind in WEIGHTED:
            blob = cached if item.cached else streamed
            blob[offset : offset + item.layer.nbytes] = pack_layer(graph, operator, generation)
    return cached, streamed


def region_skeleton(
    model: Model, region: Sequence[int], layers: Sequence[LayerPlan], generation: Generation
) -> memoryview:
    """What a virtual device needs of a region beside its :func:`parameter_blobs`, as ``serialized_model``."""
    from atoll.compiler.parameters.skeleton import Location, skeleton  # few files are made without their CPU graph

    graph, chosen = model.main, sorted(region)
    names = [[graph.tensors[i].name for i in side] for side in boundary(graph, chosen)]
    part = extract(model, chosen, inputs=names[0], outputs=names[1])
    place = {index: n for n, index in enumerate(chosen)}
    locations = [
        Location(place[item.layer.operator], item.cached, offset) for item, offset in _offsets(_own(region, layers))
    ]
    return skeleton(part, locations, generation)


def _own(region: Collection[int], layers: Sequence[LayerPlan]) -> list[LayerPlan]:
    chosen = frozenset(region)
    return [item for item in layers if item.layer.operator in chosen]


def _offsets(layers: Sequence[LayerPlan]) -> Iterator[tuple[LayerPlan, int]]:
    """Each layer with its place in the blob that holds it."""
    ends = {True: 0, False: 0}
    for item in layers:
        yield item, ends[item.cached]
        ends[item.cached] += item.layer.nbytes
