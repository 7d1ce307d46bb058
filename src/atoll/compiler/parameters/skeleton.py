"""A region and its parameter blobs ⇄ a model without weights, small enough to travel beside the blobs.

With it a virtual device runs a compiled file that keeps no original operators: weights and biases come from the blob.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atoll.compiler.package_format import ExecutableKind, Package, read_package
from atoll.compiler.package_format.package import Bytes
from atoll.compiler.parameters.layout import layout_of
from atoll.compiler.parameters.sizes import WEIGHTED
from atoll.compiler.parameters.unpack import unpack_layer
from atoll.errors import CorruptPackageError, UnsupportedModelError, UsageError
from atoll.hardware.generations import Generation, generation
from atoll.model.compiled import CUSTOM_OP
from atoll.model.graph import Buffer, Graph, Model, Operator, Tensor
from atoll.model.subgraph import renumbered
from atoll.model.tflite import model_bytes, parse_model

_METADATA = "atoll.parameters"


@dataclass(frozen=True, slots=True)
class Location:
    """Where the blob has an operator's parameters: in the cached or the streamed part, ``offset`` bytes in."""

    operator: int
    cached: bool
    offset: int


def skeleton(region: Model, locations: Iterable[Location], rules: Generation) -> memoryview:
    """The region (a model of its own) as a ``.tflite`` file without the constants that the blobs hold.

    A constant that something else reads too is kept; so is a bias of zeros, which blobs leave out.
    """
    graph = region.main
    packed = [item for item in locations if graph.operators[item.operator].kind in WEIGHTED]
    readers = Counter(i for operator in graph.operators for i in operator.inputs if i >= 0)
    held = Counter(i for item in packed for i in _constants(graph, graph.operators[item.operator], rules))
    tensors = tuple(
        replace(tensor, buffer=None) if held[i] and held[i] == readers[i] else tensor
        for i, tensor in enumerate(graph.tensors)
    )
    layers = [[item.operator, int(item.cached), item.offset] for item in packed]
    content = json.dumps({"generation": rules.name, "layers": layers}, separators=(",", ":")).encode()
    metadata = ((_METADATA, Buffer(np.frombuffer(content, np.uint8))),)
    return model_bytes(replace(region, graphs=(replace(graph, tensors=tensors), *region.graphs[1:]), metadata=metadata))


def _constants(graph: Graph, operator: Operator, rules: Generation) -> tuple[int, ...]:
    """Weights, and the bias if the blob has it."""
    weights, *bias = operator.inputs[1:3]
    has_bias = bool(bias) and bias[0] >= 0 and layout_of(graph, operator, rules).has_bias
    return (weights, *bias) if has_bias else (weights,)


def restore(package: Package, where: str = "the package") -> Model:
    """The region that a package stands for, with weights and biases from its parameter blobs.

    Raises:
        CorruptPackageError: it holds no skeleton (the vendor's packages do not), or does not fit together.
    """
    blobs: dict[bool, Bytes] = {}
    serialized: Bytes = b""
    for executable in package.executables:
        blobs[executable.kind is ExecutableKind.PARAMETER_CACHING] = executable.parameters
        serialized = serialized or executable.serialized_model
    if not len(serialized):
        raise CorruptPackageError(f"{where} holds no model beside its parameters", "Compile the model with atoll.")
    model = parse_model(memoryview(serialized).cast("B"), where)
    try:
        rules, locations = _locations(model)
        constants = dict(_unpacked(model.main, locations, rules, blobs))
    except (UnsupportedModelError, UsageError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CorruptPackageError(f"{where}: the parameters do not fit the model: {error}") from error
    tensors = tuple(
        tensor if tensor.is_constant or i not in constants else replace(tensor, buffer=constants[i])
        for i, tensor in enumerate(model.main.tensors)
    )
    return replace(model, graphs=(replace(model.main, tensors=tensors), *model.graphs[1:]), metadata=())


def has_skeletons(model: Model) -> bool:
    """Whether every compiled operator of the main graph carries what :func:`restored` needs."""
    packages = [package for _, package in _packages(model)]
    return bool(packages) and all(any(len(e.serialized_model) for e in package.executables) for package in packages)


def restored(model: Model) -> Model:
    """The original of a compiled model, its operators from the packages and its weights from their blobs.

    Raises:
        CorruptPackageError: as :func:`restore`.
    """
    main, where = model.main, model.path or "the model"
    number = {tensor.name: i for i, tensor in enumerate(main.tensors)}
    tensors, parts = list(main.tensors), {}
    for index, package in _packages(model):
        part = restore(package, f"{where}: {main.where(index)}").main
        for tensor in part.tensors:
            if number.setdefault(tensor.name, len(tensors)) == len(tensors):
                tensors.append(tensor)
        place = {i: number[tensor.name] for i, tensor in enumerate(part.tensors)}
        parts[index] = tuple(renumbered(operator, place) for operator in part.operators)
    operators = [op for i, operator in enumerate(main.operators) for op in parts.get(i, (operator,))]
    graph = replace(main, tensors=tuple(tensors), operators=tuple(operators))
    return replace(model, graphs=(graph, *model.graphs[1:]), signatures=())


def _packages(model: Model) -> Iterator[tuple[int, Package]]:
    for index, operator in enumerate(model.main.operators):
        if operator.custom_code == CUSTOM_OP:
            where = f"{model.path or 'the model'}: {model.main.where(index)}"
            yield index, read_package(operator.custom_options, where)


def _locations(model: Model) -> tuple[Generation, list[Location]]:
    content: Any = json.loads(bytes(dict(model.metadata)[_METADATA].data))
    count = len(model.main.operators)
    locations = [Location(int(operator), bool(cached), int(offset)) for operator, cached, offset in content["layers"]]
    if any(not 0 <= item.operator < count or item.offset < 0 for item in locations):
        raise ValueError("a layer is outside of the model")
    return generation(str(content["generation"])), locations


def _unpacked(
    graph: Graph, locations: Iterable[Location], rules: Generation, blobs: Mapping[bool, Bytes]
) -> Iterator[tuple[int, Buffer]]:
    for item in locations:
        operator = graph.operators[item.operator]
        whole = _with_bias(graph, operator)
        layout = layout_of(whole, operator, rules)
        quantization = graph.tensors[operator.inputs[1]].quantization
        zero_point = int(quantization.zero_point[0]) if quantization is not None else None
        blob = memoryview(blobs.get(item.cached, b"")).cast("B")
        constants = unpack_layer(blob[item.offset : item.offset + layout.nbytes], layout, zero_point)
        yield operator.inputs[1], Buffer(constants.weights.reshape(-1).view(np.uint8))
        if layout.has_bias and len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            yield operator.inputs[2], Buffer(constants.bias.view(np.uint8))


def _with_bias(graph: Graph, operator: Operator) -> Graph:
    """The graph as it was when the layout was chosen: a bias that was taken out was not zero."""
    bias = graph.tensor_of(operator, 2)
    if bias is None or bias.is_constant:
        return graph
    ones = Buffer(np.ones(bias.elements, np.int32).view(np.uint8))

    def filled(tensor: Tensor) -> Tensor:
        return replace(tensor, buffer=ones) if tensor is bias else tensor

    return replace(graph, tensors=tuple(filled(tensor) for tensor in graph.tensors))
