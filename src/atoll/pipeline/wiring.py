"""The tensors that each segment takes and gives → which segment reads, fetches and drops which tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atoll.errors import PipelineError
from atoll.products.tensor_spec import Array, TensorSpec


class HasTensorDetails(Protocol):
    """What tells its tensors as LiteRT's ``Interpreter`` does."""

    def get_input_details(self) -> Sequence[Mapping[str, Any]]:
        """For each input: ``name``, ``index``, ``shape`` and ``dtype``."""

    def get_output_details(self) -> Sequence[Mapping[str, Any]]:
        """The same of each output."""


class InterpreterLike(HasTensorDetails, Protocol):
    """What a segment must offer: the interface of LiteRT's ``Interpreter``."""

    def allocate_tensors(self) -> Any:
        """Called once, before everything else."""

    def set_tensor(self, tensor_index: int, value: Array, /) -> Any:
        """Copy an array into an input."""

    def get_tensor(self, tensor_index: int, /) -> Array:
        """A copy of an output."""

    def invoke(self) -> Any:
        """Run the graph."""


@dataclass(frozen=True, slots=True)
class StageWiring:
    """One segment's part: what it reads, what it gives that somebody needs, and what nobody needs after it."""

    reads: tuple[TensorSpec, ...]
    fetches: tuple[TensorSpec, ...]
    drops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a pipeline takes and gives, and each segment's part in it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stages: tuple[StageWiring, ...]
    relayed: frozenset[str]
    """The inputs that some segment reads or the pipeline returns; the others are checked and dropped."""

    @property
    def item_bytes(self) -> int:
        """The most memory that one inference holds at any time between push and pop."""
        live = {spec.name: spec.nbytes for spec in self.inputs if spec.name in self.relayed}
        most = sum(live.values())
        for stage in self.stages:
            live.update((spec.name, spec.nbytes) for spec in stage.fetches)
            most = max(most, sum(live.values()))
            for name in stage.drops:
                del live[name]
        return most


@dataclass(frozen=True, slots=True)
class _SegmentTensors:
    """A segment's tensors by index; a tensor listed twice counts once."""

    inputs: Mapping[int, TensorSpec]
    outputs: Mapping[int, TensorSpec]
    """Without the inputs passed on as they are: those need no copy, they are live already."""
    gives: tuple[str, ...]
    """The names of all outputs."""

    @classmethod
    def of(cls, position: int, interpreter: HasTensorDetails) -> _SegmentTensors:
        inputs = {int(d["index"]): TensorSpec.of(d) for d in interpreter.get_input_details()}
        outputs = {int(d["index"]): TensorSpec.of(d) for d in interpreter.get_output_details()}
        for kind, specs in (("inputs", inputs), ("outputs", outputs)):
            twice = _first_repeated(spec.name for spec in specs.values())
            if twice is not None:
                raise PipelineError(
                    f"segment {position}: two {kind} are called '{twice}'",
                    "Tensors travel by name: give them different names.",
                )
        own = {index: spec for index, spec in outputs.items() if index not in inputs}
        return cls(inputs, own, tuple(spec.name for spec in outputs.values()))


def wire(
    interpreters: Sequence[HasTensorDetails],
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[str] | None = None,
) -> Wiring:
    """Find every segment's inputs, by name, among the pipeline's inputs and earlier segments' outputs.

    ``inputs``: what the pipeline takes (default: the inputs of segment 0). ``outputs``: the names it returns
    (default: what segments give and no later one takes, so all that the last one gives).
    Raises :class:`PipelineError` when a tensor is missing, ambiguous, or of another shape or dtype than
    expected.
    """
    segments = [_SegmentTensors.of(position, interpreter) for position, interpreter in enumerate(interpreters)]
    taken = tuple(segments[0].inputs.values()) if inputs is None else tuple(inputs)
    twice = _first_repeated(spec.name for spec in taken)
    if twice is not None:
        raise PipelineError(f"the pipeline has two inputs called '{twice}'")
    available = _available(segments, taken)
    returned = _default_outputs(segments) if outputs is None else list(dict.fromkeys(outputs))
    for name in returned:
        if name not in available:
            raise PipelineError(f"no segment gives the output '{name}'; available: {_listing(available)}")

    last_use = {spec.name: i for i, segment in enumerate(segments) for spec in segment.inputs.values()}
    kept = set(returned)
    stages = tuple(
        StageWiring(
            reads=tuple(segment.inputs.values()),
            fetches=tuple(spec for spec in segment.outputs.values() if spec.name in kept or spec.name in last_use),
            drops=tuple(
                spec.name for spec in segment.inputs.values() if last_use[spec.name] == i and spec.name not in kept
            ),
        )
        for i, segment in enumerate(segments)
    )
    relayed = frozenset(spec.name for spec in taken if spec.name in last_use or spec.name in kept)
    return Wiring(taken, tuple(available[name] for name in returned), stages, relayed)


def _available(segments: Sequence[_SegmentTensors], taken: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    """Every tensor that is ever live; checks that each segment finds its inputs among those before it."""
    available = {spec.name: spec for spec in taken}
    for position, segment in enumerate(segments):
        for spec in segment.inputs.values():
            _check_fit(position, spec, available)
        for spec in segment.outputs.values():
            if spec.name in available:
                raise PipelineError(
                    f"segment {position} gives '{spec.name}', which the pipeline has from elsewhere already",
                    "Tensors travel by name: each must come from one place.",
                )
            available[spec.name] = spec
    return available


def _check_fit(position: int, expected: TensorSpec, available: Mapping[str, TensorSpec]) -> None:
    given = available.get(expected.name)
    if given is None:
        before = f" or segments 0 to {position - 1}" if position else ""
        raise PipelineError(
            f"segment {position} needs tensor {expected}, which is not among the pipeline's inputs{before}; "
            f"available: {_listing(available)}",
            "Pass every segment of the model, in order.",
        )
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise PipelineError(
            f"segment {position} needs tensor {expected}, but what comes before gives {given}",
            "Pass segments that were cut from the same model.",
        )


def _default_outputs(segments: Sequence[_SegmentTensors]) -> list[str]:
    names: dict[str, None] = {}
    for position, segment in enumerate(segments):
        later = {spec.name for other in segments[position + 1 :] for spec in other.inputs.values()}
        names.update(dict.fromkeys(name for name in segment.gives if name not in later))
    return list(names)


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _listing(specs: Mapping[str, TensorSpec]) -> str:
    """The first few tensors, for a message."""
    shown = [str(spec) for spec in list(specs.values())[:8]]
    return ", ".join(shown) + (f" and {len(specs) - 8} more" if len(specs) > 8 else "") or "none"
