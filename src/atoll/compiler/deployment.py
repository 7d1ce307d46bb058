"""Compiled files → :class:`Deployment`: one file per segment, ready for its devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.compiler.emit import CompiledSegment, segment_name
from atoll.compiler.external.agreement import Agreement, predicted_figures
from atoll.compiler.inspection import inspect_model
from atoll.compiler.interface import CompiledFiles
from atoll.compiler.package_format import VIRTUAL_CHIP, read_package
from atoll.errors import DeviceError, FileMissingError, UsageError
from atoll.model import CUSTOM_OP, Graph, Model, Tensor, is_compiled
from atoll.model.tflite import read_model
from atoll.products.partition import Partition


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
    """The kind of these devices: a key of :data:`atoll.hardware.buses.CHOICES`, or any."""
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
        """How many it takes."""
        return sum(segment.replicas for segment in self.segments)


def deployment(
    files: CompiledFiles,
    model: Model,
    partition: Partition,
    replicas: Sequence[int] = (),
    kinds: Sequence[str] = (),
) -> Deployment:
    """The compiled segments of a model that was cut as ``partition`` says.

    ``replicas`` and ``kinds`` say, per segment, how many devices run it and of which kind (default: one, any).
    """
    count = len(files.segments)
    agreements = files.agreements or [None] * count
    each = zip(files.paths, files.segments, agreements, replicas or [1] * count, kinds or ["any"] * count)
    return Deployment(
        name=model.path,
        segments=tuple(
            SegmentFile(path, *_figures(segment, said), *interface_bytes(segment.source.main), number, kind, segment)
            for path, segment, said, number, kind in each
        ),
        interface=interface(model.main),
        strategy=partition.strategy,
        compiler=files.compiler,
        virtual=files.virtual,
        agreements=files.agreements,
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
        *interface_bytes(model.main),
    )


def interface_bytes(graph: Graph) -> tuple[int, int]:
    """What one inference takes and gives."""
    return sum(graph.tensors[i].nbytes for i in graph.inputs), sum(graph.tensors[i].nbytes for i in graph.outputs)


def interface(graph: Graph) -> Graph:
    """What goes in and comes out, without operators."""
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
        whole = interface(original.main)
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


def segment_files(directory: str | Path, name: str, segments: int) -> list[Path]:
    """The compiled segments of a model, by the compiler's names; a model in one piece may have no numbers.

    Raises:
        FileMissingError: one is not there.
    """
    folder = Path(directory)
    paths = [folder / f"{name}_segment_{i}_of_{segments}_edgetpu.tflite" for i in range(segments)]
    if segments == 1 and not paths[0].exists():
        paths = [folder / segment_name(name, 0, 1)]
    for path in paths:
        if not path.exists():
            hint = f"Make them: edgetpu_compiler --num_segments={segments} -o {directory} {name}.tflite"
            raise FileMissingError(f"there is no file {path}", hint)
    return paths
