"""One operator of a graph → the reasons why it cannot run on the Edge TPU: the machinery of the rules."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.findings import Finding
from atoll.hardware.generations import RUNTIMES
from atoll.model import Graph, Operator, Tensor


class Status(enum.Enum):
    """What the vendor's compiler prints behind an operator."""

    MAPPED = "Mapped to Edge TPU"
    MORE_THAN_ONE = "More than one subgraph is not supported"
    DATA_TYPE = "Operation is working on an unsupported data type"
    UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    NOT_SUPPORTED = "Operation not supported"
    VERSION = "Operation version not supported"
    RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
    NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
    STRIDES = "Only Strided-Slice with unitary strides supported"
    TWO_DIMENSIONAL = "For example, a fully-connected or softmax layer with 2D output"
    INTERPOLATION = "Image-interpolation layer won't run precisely enough on Edge TPU"


@dataclass(frozen=True, slots=True)
class Site:
    """One operator where it stands: what a rule looks at."""

    graph: Graph
    operator: Operator
    row: Row | None
    """The operator's row of the table, None for an operator that is not in it."""
    runtime: int
    """The Edge TPU runtime version the model is compiled for."""

    def input(self, position: int) -> Tensor | None:
        """The input at ``position``, None when it is left out."""
        return self.graph.tensor_of(self.operator, position)

    @property
    def output(self) -> Tensor | None:
        """The first output, None for an operator that has none."""
        return self.graph.tensors[self.operator.outputs[0]] if self.operator.outputs else None

    @property
    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Role and tensor of every input that the compiler has to know: filter, bias, axis, ..."""
        roles = self.row.parameters if self.row else {}
        for position, role in roles.items():
            tensor = self.input(position)
            if tensor is not None:
                yield role, tensor

    @property
    def activations(self) -> Iterator[Tensor]:
        """The inputs that are data, then the outputs."""
        roles = self.row.parameters if self.row else {}
        for position, index in enumerate(self.operator.inputs):
            if index >= 0 and position not in roles:
                yield self.graph.tensors[index]
        yield from self.graph.outputs_of(self.operator)

    def constant(self, position: int) -> npt.NDArray[Any] | None:
        """The input at ``position`` as an array, None when it is computed at run time, sparse or of an odd type."""
        tensor = self.graph.tensor_of(self.operator, position)
        if tensor is None or not tensor.is_constant or tensor.sparsity is not None or not tensor.dtype.numpy_name:
            return None
        return tensor.array

    def option(self, name: str, default: Any) -> Any:
        """An option of the operator; ``default`` where the file does not have it."""
        return self.operator.options.get(name, default)

    def integers(self, position: int) -> npt.NDArray[np.integer[Any]] | None:
        """The constant at ``position`` if it holds integers (axes, shapes, strides), else None."""
        values = self.constant(position)
        return values if values is not None and values.dtype.kind in "iu" else None

    def axes(self, position: int) -> tuple[int, ...]:
        """The axes named by the constant input at ``position``, counted from 0 in the first input."""
        values, data = self.constant(position), self.input(0)
        if values is None or values.dtype.kind not in "iu" or data is None or not data.shape:
            return ()
        return tuple(sorted({int(axis) for axis in (values % len(data.shape)).ravel()}))


Check = Callable[[Site], str | None]
"""None when the operator keeps the rule, else why not: the tensor and the value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One limitation: ``text`` is the sentence users read, ``test`` finds the value that breaks it."""

    name: str
    text: str
    remedy: str
    status: Status
    test: Check

    def finding(self, where: str, why: str) -> Finding:
        """The finding for users, where the test has found a reason."""
        return Finding(self.name, where, f"{self.text} Here {why}.", self.remedy, self.status.value)


def rule(remedy: str, status: Status = Status.UNSPECIFIED) -> Callable[[Check], Rule]:
    """Make a rule of a function: its name and its docstring are the rule's."""

    def decorate(test: Check) -> Rule:
        text = " ".join((test.__doc__ or "").split())
        assert text, f"{test.__name__} needs a docstring: it is the message"
        return Rule(test.__name__, text, remedy, status, test)

    return decorate


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule of one operator, in force for the runtime versions ``since`` to ``until``."""

    rule: Rule
    since: int = RUNTIMES[0]
    until: int = RUNTIMES[-1]
    documented: bool = True
    """Whether the vendor's table names it; the others are fitted to what the vendor's compiler does."""

    def applies(self, runtime: int) -> bool:
        """Whether it is in force for a runtime version."""
        return self.since <= runtime <= self.until


@dataclass(frozen=True, slots=True)
class Row:
    """One operator of the vendor's table."""

    name: str
    """The name in the vendor's documents."""
    kinds: tuple[str, ...]
    """TensorFlow Lite builtins, as ``Operator.kind``."""
    since: int = RUNTIMES[0]
    """The first runtime version that can run it."""
    limits: tuple[Limit, ...] = ()
    parameters: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    """Inputs that have to be constants, and what they are."""
    newest_version: int = 1
    """The newest operator version that compiler 16 can parse."""
