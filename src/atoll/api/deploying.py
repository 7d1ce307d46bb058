"""A model and its cuts, or compiled files → :class:`Deployment`: one file per segment, ready for its devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll import toolchain
from atoll.api.codegen import vendor_compile
from atoll.compiler.emit import CompiledSegment
from atoll.compiler.external import VendorCompiler
from atoll.compiler.external.agreement import Agreement, predicted_figures
from atoll.compiler.inspection import inspect_model
from atoll.compiler.package_format import VIRTUAL_CHIP, read_package
from atoll.errors import DeviceError, UsageError
from atoll.model import CUSTOM_OP, Graph, Model, Tensor, is_compiled
from atoll.model.tflite import read_model
from atoll.partitioning import Partition


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One compiled segment."""

    path: Path
    operators: int
    """In the uncompiled segment; in the file, when only that is known."""
    mapped_operators: int
    on_chip_bytes: int
    off_chip_bytes: int
    input_bytes: int
    output_bytes: int
    replicas: int = 1
    """How many devices take turns on it."""
    kind: str = "any"
    """The kind of these devices: a key of :data:`atoll.device.base.BUSES`, or any."""
    compiled: CompiledSegment | None = None
    """How we compiled it, or would have; None when the file was there before."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Compiled segments in execution order, and what goes in and comes out."""

    name: str
    segments: tuple[SegmentFile, ...]
    interface: Graph
    """No operators: what the pipeline takes and gives."""
    strategy: str
    compiler: str
    virtual: bool
    """Whether the files are for virtual devices only."""
    agreements: tuple[Agreement, ...] = ()
    """What the vendor's compiler says of each segment, beside our prediction."""

    @property
    def devices(self) -> int:
        return sum(segment.replicas for segment in self.segments)


def deploy(
    model: Model,
    partition: Partition,
    directory: str | Path,
    compiler: VendorCompiler | None = None,
    replicas: Sequence[int] = (),
    kinds: Sequence[str] = (),
    on_segment: Callable[[int], object] = int,
) -> Deployment:
    """Compile every segment of ``model`` into ``directory``, by the vendor's compiler or (None) our own.

    ``replicas`` and ``kinds`` say, per segment, how many devices run it and of which kind (default: one, any).
    Raises as :func:`atoll.toolchain.compile_models` and :func:`atoll.api.codegen.vendor_compile`.
    """
    counts = replicas or [1] * len(partition.segments)
    agreements: tuple[Agreement, ...] = ()
    if compiler is None:
        _, compiled = toolchain.compile_models([model], partition=partition)
        paths, segments = toolchain.write_compiled(compiled, directory), compiled.segments
    else:
        made = vendor_compile(model, partition, compiler, directory, on_segment=on_segment)
        paths, segments, agreements = made.paths, made.predicted, made.segments
    return Deployment(
        name=model.path,
        segments=tuple(
            SegmentFile(path, *_figures(segment, agreement), *_bytes(segment.source.main), count, kind, segment)
            for path, segment, agreement, count, kind in zip(
                paths, segments, agreements or [None] * len(segments), counts, kinds or ["any"] * len(segments)
            )
        ),
        interface=_interface(model.main),
        strategy=partition.strategy,
        compiler=toolchain.COMPILER if compiler is None else f"the vendor's compiler {compiler.version}",
        virtual=compiler is None,
        agreements=agreements,
    )


def deployed(paths: Sequence[str | Path], original: Model | None = None) -> Deployment:
    """Files that are compiled already, the segments of one model (the ``original``, if it is there) in execution order.

    Raises:
        UsageError: one of several files is not compiled.
        DeviceError: they were not compiled from the original.
        FileAccessError, InvalidModelError, CorruptPackageError: a file cannot be read.
    """
    models = [read_model(path) for path in paths]
    for model in models:
        if not is_compiled(model):
            raise UsageError(
                f"{model.path} is not compiled", "Give one uncompiled model, or the compiled segments of one, in order."
            )
    packages = [
        read_package(operator.custom_options, f"{model.path}, operator {index}")
        for model in models
        for index, operator in enumerate(model.main.operators)
        if operator.custom_code == CUSTOM_OP
    ]
    return Deployment(
        name=", ".join(model.path for model in models),
        segments=tuple(_segment(Path(path), model) for path, model in zip(paths, models)),
        interface=_joined([model.main for model in models], original),
        strategy="as compiled",
        compiler=packages[0].compiler_version,
        virtual=any(executable.chip == VIRTUAL_CHIP for package in packages for executable in package.executables),
    )


def _segment(path: Path, model: Model) -> SegmentFile:
    regions = inspect_model(model).regions
    return SegmentFile(
        path,
        len(model.main.operators),
        len(regions),
        sum(region.cached_bytes for region in regions),
        sum(region.streamed_bytes for region in regions),
        *_bytes(model.main),
    )


def _figures(segment: CompiledSegment, agreement: Agreement | None) -> tuple[int, int, int, int]:
    """Operators, mapped ones, bytes on and off chip: as the vendor's compiler says, where it does."""
    ours = predicted_figures(segment)
    said = agreement.vendor if agreement is not None else ours
    names = ("operators", "mapped_operators", "on_chip_bytes", "off_chip_bytes")
    operators, mapped, on_chip, off_chip = (
        getattr(said if getattr(said, name) is not None else ours, name) for name in names
    )
    return operators, mapped, on_chip, off_chip


def _bytes(graph: Graph) -> tuple[int, int]:
    return sum(graph.tensors[i].nbytes for i in graph.inputs), sum(graph.tensors[i].nbytes for i in graph.outputs)


def _interface(graph: Graph) -> Graph:
    return _graph([graph.tensors[i] for i in graph.inputs], [graph.tensors[i] for i in graph.outputs])


def _joined(graphs: Sequence[Graph], original: Model | None) -> Graph:
    """What a pipeline of these takes (nobody before gives it) and gives: what the original does, or nobody takes."""
    taken: dict[str, Tensor] = {}
    given: dict[str, Tensor] = {}
    for graph in graphs:
        for tensor in (graph.tensors[i] for i in graph.inputs):
            if tensor.name not in given:
                taken.setdefault(tensor.name, tensor)
        given |= {tensor.name: tensor for tensor in (graph.tensors[i] for i in graph.outputs)}
    if original is not None:
        whole = _interface(original.main)
        _require_among(taken.values(), [whole.tensors[i] for i in whole.inputs], original)
        _require_among([whole.tensors[i] for i in whole.outputs], [*taken.values(), *given.values()], original)
        return whole
    last = {graphs[-1].tensors[i].name for i in graphs[-1].outputs}
    read = {graph.tensors[i].name for graph in graphs for i in graph.inputs}
    return _graph(list(taken.values()), [tensor for name, tensor in given.items() if name in last or name not in read])


def _require_among(tensors: Iterable[Tensor], known: Iterable[Tensor], original: Model) -> None:
    there = {(tensor.name, tensor.dtype, tensor.shape) for tensor in known}
    for tensor in tensors:
        if (tensor.name, tensor.dtype, tensor.shape) not in there:
            raise DeviceError(
                f"the files were not compiled from {original.path}: only one side takes or gives the tensor "
                f"'{tensor.name}' ({tensor.dtype.name.lower()} {list(tensor.shape)})",
                "Give the model they were compiled from.",
            )


def _graph(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Graph:
    split = len(inputs)
    return Graph((*inputs, *outputs), (), tuple(range(split)), tuple(range(split, split + len(outputs))))
