"""What the user gave as segments → the interpreters of each segment, checked, and ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeGuard, cast

from atoll.errors import PipelineError
from atoll.pipeline.pool import Allocator
from atoll.pipeline.unit import InterpreterUnit, device_name
from atoll.pipeline.wiring import InterpreterLike, Wiring

Opener = Callable[[], InterpreterLike]
Segments = Iterable[InterpreterLike | Opener | Sequence[InterpreterLike | Opener]]
"""Per segment, in order: its interpreter or what opens it, or a list of them (replicas)."""
Spares = Mapping[int, Sequence[InterpreterLike | Opener]]
Groups = tuple[tuple[InterpreterLike, ...], ...]


def as_lists(segments: Segments) -> list[Sequence[InterpreterLike | Opener]]:
    """Each segment as a list."""
    return [item if isinstance(item, (list, tuple)) else [item] for item in segments]  # type: ignore[list-item]


def opened(items: Iterable[InterpreterLike | Opener]) -> tuple[InterpreterLike, ...]:
    """The interpreters, opened where they are not."""
    return tuple(item() if is_opener(item) else cast(InterpreterLike, item) for item in items)


def is_opener(item: object) -> TypeGuard[Opener]:
    """Whether it is a function that opens an interpreter, and not one itself."""
    return callable(item) and not hasattr(item, "invoke")


def groups_of(segments: Segments, spares: Mapping[int, Sequence[InterpreterLike]], allocate: bool) -> Groups:
    """The interpreters of each segment, with their tensors allocated if that is asked for.

    Raises :class:`PipelineError` when there is none, one stands twice, or one cannot allocate its tensors.
    """
    groups = tuple(opened(group) for group in as_lists(segments))
    if not groups:
        raise PipelineError("a pipeline needs at least one interpreter")
    seen: dict[int, int] = {}
    for i, group in enumerate(groups):
        if not group:
            raise PipelineError(f"segment {i} has no interpreter")
        for interpreter in (*group, *spares.get(i, ())):
            j = seen.setdefault(id(interpreter), i)
            if j != i:
                raise _same(f"segments {j} and {i} are")
        if len({id(interpreter) for interpreter in (*group, *spares.get(i, ()))}) < len(group) + len(spares.get(i, ())):
            raise _same(f"two replicas of segment {i} are")
    unknown = next((i for i in spares if not 0 <= i < len(groups)), None)
    if unknown is not None:
        raise PipelineError(f"spares for segment {unknown}, but the segments are 0 to {len(groups) - 1}")
    if allocate:
        _allocate_all(groups)
    return groups


def _same(what: str) -> PipelineError:
    return PipelineError(f"{what} the same interpreter", "Make an interpreter of its own for each device.")


def _allocate_all(groups: Groups) -> None:
    """Call ``allocate_tensors`` on each; :class:`PipelineError` names the segment where it fails."""
    for i, group in enumerate(groups):
        for interpreter in group:
            try:
                interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as cause:
                raise PipelineError(f"segment {i}: cannot allocate its tensors: {cause}") from cause


def units_of(
    groups: Groups, wiring: Wiring, allocator: Allocator, devices: Sequence[str | Sequence[str]] | None
) -> list[list[InterpreterUnit]]:
    """Per segment its units. ``devices``: names in the form of the segments, or what the interpreters say."""
    names = _names(groups, devices)
    units = []
    for i, (group, part) in enumerate(zip(groups, wiring.stages)):
        try:
            units.append([InterpreterUnit(one, part, allocator, name) for one, name in zip(group, names[i])])
        except PipelineError as error:
            raise PipelineError(f"segment {i}: {error.message}", error.hint) from None
    return units


def _names(groups: Groups, devices: Sequence[str | Sequence[str]] | None) -> list[list[str]]:
    if devices is None:
        return [[device_name(interpreter) for interpreter in group] for group in groups]
    names = [[item] if isinstance(item, str) else list(item) for item in devices]
    if [len(item) for item in names] != [len(group) for group in groups]:
        raise PipelineError(
            f"the names of devices are for segments of {[len(item) for item in names]} interpreters, "
            f"but the segments have {[len(group) for group in groups]}"
        )
    return names
