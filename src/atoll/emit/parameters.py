"""The planned layers of one region → the bytes that are loaded once, and those sent with every inference."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from atoll.emit.compiled import LayerPlan
from atoll.ir.graph import Graph
from atoll.params import pack_layer
from atoll.params.sizes import WEIGHTED
from atoll.target.generations import Generation

Bytes = npt.NDArray[np.uint8]


def parameter_blobs(
    graph: Graph, region: Collection[int], layers: Sequence[LayerPlan], generation: Generation
) -> tuple[Bytes, Bytes]:
    """The cached and the streamed parameters of a region, layers in execution order.

    Conv2D, DepthwiseConv2D and FullyConnected are packed as the chip wants them. Of the other operators' constants
    only the size is known (``../shared/facts/parameters.md``): they take their place as zeros.
    """
    chosen = frozenset(region)
    own = [item for item in layers if item.layer.operator in chosen]
    cached = _blob(graph, [item for item in own if item.cached], generation)
    return cached, _blob(graph, [item for item in own if not item.cached], generation)


def _blob(graph: Graph, layers: Sequence[LayerPlan], generation: Generation) -> Bytes:
    blob = np.zeros(sum(item.layer.nbytes for item in layers), np.uint8)
    end = 0
    for item in layers:
        begin, end = end, end + item.layer.nbytes
        operator = graph.operators[item.layer.operator]
        if operator.kind in WEIGHTED:
            blob[begin:end] = pack_layer(graph, operator, generation)
    return blob
