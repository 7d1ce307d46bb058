"""A compiled file, and the model it was made from if it is at hand → what is in it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from atoll.compiler.inspect_report import ExecutableReport, InspectReport, LayerReport, PlacedOperator, RegionReport
from atoll.compiler.package_format import (
    VIRTUAL_CHIP,
    Base,
    BoundaryLayer,
    Executable,
    ExecutableKind,
    Package,
    Transfer,
    read_package,
)
from atoll.compiler.package_format.package import InstructionTransfer
from atoll.compiler.parameters import pack_layer
from atoll.compiler.parameters.sizes import WEIGHTED
from atoll.errors import AtollError, CorruptPackageError, InputError, UnsupportedModelError
from atoll.hardware.generations import GENERATIONS
from atoll.model.compiled import CUSTOM_OP
from atoll.model.graph import Graph, Model, Operator
from atoll.model.subgraph import between


def inspect_model(model: Model, original: Model | None = None) -> InspectReport:
    """Explain a compiled file, and with ``original`` which parameters of which operator lie where.

    Raises:
        UnsupportedModelError: the model is not compiled, or the original is.
        InputError: the file was not compiled from that original.
    """
    graph, file = model.main, model.path or "the model"
    compiled = [i for i, operator in enumerate(graph.operators) if operator.custom_code == CUSTOM_OP]
    if not compiled:
        raise UnsupportedModelError(
            f"{file} is not compiled: it has no {CUSTOM_OP}", "atoll check says what the Edge TPU would run of it."
        )
    regions, problems = [], []
    for index in compiled:
        where = graph.where(index)
        try:
            package = read_package(graph.operators[index].custom_options, f"{file}: {where}")
        except CorruptPackageError as error:
            problems.append(error.message)
            regions.append(RegionReport(where, 0, "", "", "", 0, 0, ()))
            continue
        problems += [f"{file}: {where}: {text}" for text in _problems(graph, graph.operators[index], package)]
        mapped = () if original is None else _mapped(graph, graph.operators[index], original)
        regions.append(_region(where, package, original, mapped))
    return InspectReport(
        file=file,
        description=model.description,
        inputs=tuple(_tensor(graph, i) for i in graph.inputs),
        outputs=tuple(_tensor(graph, i) for i in graph.outputs),
        cpu_operators=tuple(graph.where(i) for i in range(len(graph.operators)) if i not in compiled),
        min_runtime=max(region.min_runtime for region in regions),
        tokens=tuple(dict.fromkeys(e.token for region in regions for e in region.executables if int(e.token, 16))),
        regions=tuple(regions),
        problems=tuple(problems),
    )


def _tensor(graph: Graph, index: int) -> str:
    tensor = graph.tensors[index]
    return f"{tensor.name} {tensor.dtype.name.lower()}{list(tensor.shape)}"


def _region(where: str, package: Package, original: Model | None, mapped: tuple[int, ...]) -> RegionReport:
    return RegionReport(
        where=where,
        min_runtime=package.min_runtime_version,
        compiler=_compiler(package),
        compiler_version=package.compiler_version,
        model_identifier=package.model_identifier,
        cached_bytes=package.cached_bytes,
        streamed_bytes=package.streamed_bytes,
        executables=tuple(_executable(item) for item in package.executables),
        mapped=() if original is None else tuple(original.main.where(i) for i in mapped),
        placed=() if original is None else tuple(_placed(original.main, mapped, package)),
    )


def _compiler(package: Package) -> str:
    if any(item.chip == VIRTUAL_CHIP for item in package.executables):
        return "atoll, for virtual Edge TPUs"
    return "vendor, 16" if "6" in package.envelope else "vendor, before 16"  # ../shared/facts/package.md


def _executable(item: Executable) -> ExecutableReport:
    return ExecutableReport(
        kind=item.kind.name,
        name=item.name,
        chip=item.chip,
        token=f"{item.token:#018x}",
        batch=item.batch,
        parameter_bytes=len(item.parameters),
        instruction_bytes=tuple(len(chunk.bitstream) for chunk in item.instructions),
        dma_hints=len(item.dma_hints.hints) if item.dma_hints else 0,
        scratch_bytes=item.scratch_bytes,
        narrow_bytes_per_tile=item.narrow_bytes_per_tile,
        estimated_cycles=item.estimated_cycles or item.estimated_cycles_32bit,
        inputs=tuple(map(_layer, item.input_layers)),
        outputs=tuple(map(_layer, item.output_layers)),
    )


def _layer(layer: BoundaryLayer) -> LayerReport:
    numerics = layer.numerics
    return LayerReport(
        name=layer.name,
        y=layer.y,
        x=layer.x,
        z=layer.z,
        data_type=layer.data_type.name,
        size_bytes=layer.size_bytes,
        zero_point=numerics.zero_point if numerics else None,
        scale=numerics.scale if numerics else None,
        executions=layer.executions,
    )


def _problems(graph: Graph, operator: Operator, package: Package) -> Iterator[str]:
    """What a package says about itself and cannot be true."""
    kinds = {item.kind for item in package.executables}
    if not kinds & {ExecutableKind.EXECUTION_ONLY, ExecutableKind.STAND_ALONE}:
        yield "the package holds no executable that runs"
    if len({item.token for item in package.executables}) > 1:
        yield "its executables have different caching tokens: the parameters would be loaded for another model"
    for number, item in enumerate(package.executables):
        for text in _executable_problems(item):
            yield f"executable {number} ({item.kind.name}): {text}"
    for item in package.executables:
        if item.kind is not ExecutableKind.PARAMETER_CACHING:
            yield from _boundary_problems(graph, operator.inputs, item.input_layers, "input")
            yield from _boundary_problems(graph, operator.outputs, item.output_layers, "output")


def _executable_problems(item: Executable) -> Iterator[str]:
    for number, chunk in enumerate(item.instructions):
        end = max((field.bit + 32 for field in chunk.field_offsets), default=0)
        if end > 8 * len(chunk.bitstream):
            yield f"an address at bit {end - 32} lies outside of the {len(chunk.bitstream)} bytes of chunk {number}"
    for number, hint in enumerate(item.dma_hints.hints if item.dma_hints else ()):
        action = hint.hint
        if isinstance(action, InstructionTransfer) and not 0 <= action.chunk < len(item.instructions):
            yield f"DMA {number} sends instruction chunk {action.chunk} of {len(item.instructions)}"
        if isinstance(action, Transfer) and action.address and action.address.base is Base.PARAMETER:
            end = action.offset + action.size
            if action.offset < 0 or action.size < 0 or end > len(item.parameters):
                yield f"DMA {number} sends parameter bytes up to {end}, there are {len(item.parameters)}"


def _boundary_problems(
    graph: Graph, indices: Iterable[int], layers: Sequence[BoundaryLayer], side: str
) -> Iterator[str]:
    tensors = {graph.tensors[i].name: graph.tensors[i] for i in indices if i >= 0}
    known = {layer.name for layer in layers}
    for name in sorted(tensors.keys() - known):
        yield f"the operator's {side} '{name}' is not an {side} layer of the package"
    for layer in layers:
        tensor = tensors.get(layer.name)
        if tensor is not None and layer.size_bytes * layer.executions < tensor.nbytes:
            yield f"the {side} layer '{layer.name}' claims {layer.size_bytes} bytes, its tensor has {tensor.nbytes}"


def _mapped(compiled: Graph, region: Operator, original: Model) -> tuple[int, ...]:
    """The operators of the original between the region's inputs and outputs."""
    graph, file = original.main, original.path or "the original"
    if any(operator.custom_code == CUSTOM_OP for operator in graph.operators):
        raise UnsupportedModelError(f"{file} is compiled itself", "Give the model that was compiled.")
    inputs, outputs = ([compiled.tensors[i].name for i in side if i >= 0] for side in (region.inputs, region.outputs))
    known = {tensor.name for tensor in graph.tensors}
    missing = next((name for name in (*inputs, *outputs) if name not in known), None)
    if missing is not None:
        raise InputError(
            f"{file} is not what was compiled: it has no tensor '{missing}'", "Give the model that was compiled."
        )
    return between(graph, inputs, outputs)


def _placed(graph: Graph, mapped: Iterable[int], package: Package) -> Iterator[PlacedOperator]:
    """Each layer's bytes, packed as one of the compilers would, looked up in the blobs."""
    blobs = {
        "cached" if item.kind is ExecutableKind.PARAMETER_CACHING else "streamed": bytes(item.parameters)
        for item in package.executables
    }
    ends = dict.fromkeys(blobs, 0)
    for index in mapped:
        operator = graph.operators[index]
        if operator.kind not in WEIGHTED:
            continue
        name, nbytes = graph.tensors[operator.outputs[0]].name, 0
        found = "not found", -1
        for packed in _packings(graph, operator):
            nbytes = len(packed)
            # Layers lie in execution order: most are found right behind the one before.
            hits = ((kind, _find(blob, packed, ends[kind])) for kind, blob in blobs.items())
            found = next(((kind, offset) for kind, offset in hits if offset >= 0), found)
            if found[1] >= 0:
                ends[found[0]] = found[1] + nbytes
                break
        yield PlacedOperator(index, operator.kind, name, nbytes, *found)


def _find(blob: bytes, packed: bytes, near: int) -> int:
    if blob.startswith(packed, near):
        return near
    offset = blob.find(packed)
    while offset > 0 and offset % 64:  # every layer starts on a 64-byte boundary
        offset = blob.find(packed, offset + 1)
    return offset


def _packings(graph: Graph, operator: Operator) -> Iterator[bytes]:
    """The packed layer of each compiler generation that differs, the newest first."""
    seen: set[bytes] = set()
    for generation in reversed(GENERATIONS):
        try:
            packed = pack_layer(graph, operator, generation).tobytes()
        except AtollError:
            return  # nothing that could be packed: no such bytes to be found
        if packed not in seen:
            seen.add(packed)
            yield packed
