"""Interpreters to test pipelines with: fakes that compute, wait and fail, and LiteRT's own on tiny models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

Tensors = dict[str, np.ndarray]
Compute = Callable[[Tensors], Mapping[str, Any]]
POISON = -666
PATIENCE_S = 60.0
"""How long a test waits for what must happen: so far beyond what it takes that only a hang exceeds it."""


class Fake:
    """``compute`` takes and gives tensors by name; all are int32 of ``shape`` unless ``dtypes``/``shapes`` differ."""

    def __init__(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        compute: Compute,
        *,
        shape: tuple[int, ...] = (2,),
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        dtypes: Mapping[str, Any] | None = None,
    ) -> None:
        self.names = list(dict.fromkeys([*inputs, *outputs]))
        self.input_names, self.output_names = list(inputs), list(outputs)
        self._compute = compute
        self._shape = {name: (shapes or {}).get(name, shape) for name in self.names}
        self._dtype = {name: (dtypes or {}).get(name, np.int32) for name in self.names}
        self._arrays: Tensors = {}
        self._busy = threading.Lock()

    def _details(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"name": n, "index": self.names.index(n), "shape": np.array(self._shape[n]), "dtype": self._dtype[n]}
            for n in names
        ]

    def get_input_details(self) -> list[dict[str, Any]]:
        return self._details(self.input_names)

    def get_output_details(self) -> list[dict[str, Any]]:
        return self._details(self.output_names)

    def allocate_tensors(self) -> None:
        for name in self.names:
            self._arrays.setdefault(name, np.zeros(self._shape[name], self._dtype[name]))

    def set_tensor(self, tensor_index: int, value: np.ndarray, /) -> None:
        self._exclusively(lambda: np.copyto(self._arrays[self.names[tensor_index]], value))

    def get_tensor(self, tensor_index: int, /) -> np.ndarray:
        return self._exclusively(self._arrays[self.names[tensor_index]].copy)

    def invoke(self) -> None:
        self._exclusively(self._invoke)

    def _invoke(self) -> None:
        for name, value in self._compute({n: self._arrays[n] for n in self.input_names}).items():
            self._arrays[name][...] = value  # in place, as LiteRT does: a kept view would change

    def _exclusively(self, action: Callable[[], Any]) -> Any:
        assert self._busy.acquire(blocking=False), "two threads use one interpreter"
        try:
            return action()
        finally:
            self._busy.release()


def step(position: int, before: Callable[[np.ndarray], None] = lambda _: None) -> Fake:
    """``t{position+1} = 3 · t{position} + 1``, after calling ``before``; fails on :data:`POISON`."""
    source, target = f"t{position}", f"t{position + 1}"

    def compute(tensors: Tensors) -> Tensors:
        value = tensors[source]
        before(value)
        if value.flat[0] == POISON:
            raise ValueError("poisoned")
        return {target: value * 3 + 1}

    return Fake([source], [target], compute)


def chain(length: int, before: Mapping[int, Callable[[np.ndarray], None]] | None = None) -> list[Fake]:
    return [step(i, (before or {}).get(i, lambda _: None)) for i in range(length)]


def frame(value: int) -> np.ndarray:
    return np.full(2, value, np.int32)


def expected(value: int, length: int) -> int:
    for _ in range(length):
        value = value * 3 + 1
    return value


def litert(operators: Sequence[tuple[str, str, str]], inputs: Sequence[str], outputs: Sequence[str]) -> Interpreter:
    """A float32[4] model of additions ``(left, right, sum)`` of tensors by name."""
    names = list(dict.fromkeys([*inputs, *(name for operator in operators for name in operator), *outputs]))
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    for name in names:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [4], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    for left, right, total in operators:
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [names.index(left), names.index(right)], [names.index(total)]
        operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
        operator.builtinOptions = schema.AddOptionsT()
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [names.index(n) for n in inputs], [names.index(n) for n in outputs]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return Interpreter(model_content=bytes(builder.Output()))
