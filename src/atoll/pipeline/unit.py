"""An interpreter and its segment's wiring → a function from the tensors it reads to those it gives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from atoll.errors import PipelineError
from atoll.pipeline.pool import Allocator
from atoll.pipeline.wiring import InterpreterLike, StageWiring
from atoll.products.tensor_spec import Array, TensorSpec


class InterpreterUnit:
    """One interpreter on its device, with everything looked up that does not change from item to item.

    Nothing is copied where the interpreter runs on the pipeline's own arrays (``in_place`` of ours on virtual devices).
    Otherwise outputs are copied straight from its memory where it lets one see that (LiteRT's ``tensor``), or else
    taken from ``get_tensor``. No view is kept: LiteRT refuses to run while there is one.
    """

    def __init__(
        self, interpreter: InterpreterLike, wiring: StageWiring, allocator: Allocator, device: str = ""
    ) -> None:
        self.interpreter = interpreter
        self.device = device
        self.stalled = False
        self.lock = threading.Lock()
        """Taken around :meth:`run` where a sibling may borrow the interpreter."""
        self._allocate = allocator.allocate
        self._set_tensor = interpreter.set_tensor
        self._invoke = interpreter.invoke
        inputs = _indices(interpreter.get_input_details(), wiring.reads, "needs")
        outputs = _indices(interpreter.get_output_details(), wiring.fetches, "gives")
        self._reads = [(spec.name, index) for spec, index in zip(wiring.reads, inputs)]
        self._fetches = [
            (spec, spec.shape, *_access(interpreter, spec, index)) for spec, index in zip(wiring.fetches, outputs)
        ]
        self._names = [spec.name for spec in wiring.reads]
        self._in_place = _in_place(interpreter, inputs, outputs)

    def run(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; the arrays belong to the caller. Raises whatever the interpreter raises."""
        if self._in_place is not None:
            outputs = {spec.name: self._allocate(spec) for spec, *_ in self._fetches}
            self._in_place([tensors[name] for name in self._names] + list(outputs.values()))
            return outputs
        set_tensor = self._set_tensor
        for name, index in self._reads:
            set_tensor(index, tensors[name])
        self._invoke()
        given, allocate = {}, self._allocate
        for spec, shape, look, copy in self._fetches:
            if look is None:
                given[spec.name] = copy()
                continue
            view = look()
            if view.shape == shape:
                array = allocate(spec)
                array[...] = view
            else:  # an output whose size depends on the values
                array = view.copy()
            given[spec.name] = array
            del view
        return given


def _indices(details: Any, specs: tuple[TensorSpec, ...], verb: str) -> list[int]:
    known = {spec.name: (spec, int(detail["index"])) for detail in details for spec in [TensorSpec.of(detail)]}
    for spec in specs:
        found = known.get(spec.name)
        if found is None or found[0] != spec:
            other = f"has {found[0]}" if found else "has no such tensor"
            raise PipelineError(
                f"one interpreter of the segment {verb} {spec}, another {other}",
                "All interpreters of one segment must be made from the same file.",
            )
    return [known[spec.name][1] for spec in specs]


def _in_place(
    interpreter: InterpreterLike, inputs: list[int], outputs: list[int]
) -> Callable[[list[Array]], object] | None:
    """How to run on arrays of ours. Asked of the class: a wrapper that passes on unknown attributes wants its calls."""
    offer = getattr(type(interpreter), "in_place", None)
    return None if offer is None else offer(interpreter, inputs, outputs)


def _access(
    interpreter: InterpreterLike, spec: TensorSpec, index: int
) -> tuple[Callable[[], Array] | None, Callable[[], Array]]:
    """How to see an output in place (None: not possible), and how to get a copy of it."""
    tensor = getattr(interpreter, "tensor", None)
    look = tensor(index) if tensor is not None and spec.dtype.kind not in "OSU" else None
    return look, lambda: interpreter.get_tensor(index)


def device_key(unit: InterpreterUnit) -> object:
    """Equal for units on one device. Devices of the machine go by their names, others may share theirs."""
    device = getattr(unit.interpreter, "device", None)
    if getattr(device, "listed", True) is False:
        return id(device)
    return unit.device or id(unit)


def device_name(interpreter: InterpreterLike) -> str:
    """What the interpreter says about its device: the attribute ``device``, or that one's ``path``."""
    device = getattr(interpreter, "device", None)
    name = getattr(device, "path", device)
    return name if isinstance(name, str) else ""
