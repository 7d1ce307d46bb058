"""A model and its cuts → :class:`Deployment`: one file per segment, compiled by one of the two compilers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from atoll import toolchain
from atoll.api.codegen import vendor_compile
from atoll.compiler.deployment import Deployment, SegmentFile, interface, interface_bytes
from atoll.compiler.emit import CompiledSegment
from atoll.compiler.external import VendorCompiler
from atoll.compiler.external.agreement import Agreement, predicted_figures
from atoll.model import Model
from atoll.partitioning import Partition


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
            SegmentFile(
                path, *_figures(segment, agreement), *interface_bytes(segment.source.main), count, kind, segment
            )
            for path, segment, agreement, count, kind in zip(
                paths, segments, agreements or [None] * len(segments), counts, kinds or ["any"] * len(segments)
            )
        ),
        interface=interface(model.main),
        strategy=partition.strategy,
        compiler=toolchain.COMPILER if compiler is None else f"the vendor's compiler {compiler.version}",
        virtual=compiler is None,
        agreements=agreements,
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
