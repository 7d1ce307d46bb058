"""Small int8 models, and compiled files made of them by hand, for the device tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from atoll.compiler.package_format import VIRTUAL_CHIP, Executable, ExecutableKind, Package, write_package
from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.virtual.virtual_device import RESOLVER
from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Signature, Tensor
from atoll.model.subgraph import boundary
from atoll.model.tflite import model_bytes

CONV = {
    "padding": 0,
    "stride_w": 1,
    "stride_h": 1,
    "fused_activation_function": 0,
}
POOL = {
    "padding": 1,
    "stride_w": 2,
    "stride_h": 2,
    "filter_width": 2,
    "filter_height": 2,
    "fused_activation_function": 0,
}


def quantization(*scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.array(scale, np.float32), np.full(len(scale), zero_point, np.int64))


def constant(name: str, values: np.ndarray, quantization: Quantization | None = None) -> Tensor:
    dtype = next(kind for kind in DType if kind.numpy_name == values.dtype.name)
    data = np.frombuffer(values.tobytes(), np.uint8)
    return Tensor(name, values.shape, dtype, quantization, Buffer(data))


def branched() -> Model:
    """conv_1 -> conv_2 -> sum (with conv_1) -> conv_3 and pool: a skip connection and two outputs."""
    random = np.random.default_rng(7)
    tensors = [Tensor("x", (1, 8, 8, 4), DType.INT8, quantization(0.05, zero_point=3))]
    operators: list[Operator] = []

    def add(kind: str, options_type: str, options: dict[str, Any], name: str, *inputs: int, size: int = 8) -> int:
        tensors.append(Tensor(name, (1, size, size, 4), DType.INT8, quantization(0.05, zero_point=3)))
        operators.append(Operator(kind, inputs, (len(tensors) - 1,), options, options_type))
        return len(tensors) - 1

    def conv(name: str, source: int) -> int:
        scales = [0.004, 0.003, 0.005, 0.002]
        weights = random.integers(-127, 128, (4, 3, 3, 4)).astype(np.int8)
        bias = random.integers(-2000, 2000, 4).astype(np.int32)
        tensors.append(constant(f"{name}/weights", weights, quantization(*scales)))
        tensors.append(constant(f"{name}/bias", bias, quantization(*(0.05 * scale for scale in scales))))
        return add("CONV_2D", "Conv2DOptions", CONV, name, source, len(tensors) - 2, len(tensors) - 1)

    first = conv("conv_1", 0)
    second = conv("conv_2", first)
    both = {"fused_activation_function": 0, "pot_scale_int16": True}
    total = add("ADD", "AddOptions", both, "sum", first, second)
    third = conv("conv_3", total)
    pool = add("MAX_POOL_2D", "Pool2DOptions", POOL, "pool", total, size=4)
    return Model((Graph(tuple(tensors), tuple(operators), (0,), (third, pool), "main"),))


def recurrent() -> Model:
    """A float RNN cell: its state is a variable tensor."""
    random = np.random.default_rng(7)
    tensors = (
        Tensor("x", (1, 3), DType.FLOAT32),
        constant("weights", random.normal(size=(4, 3)).astype(np.float32)),
        constant("recurrent_weights", random.normal(size=(4, 4)).astype(np.float32)),
        constant("bias", random.normal(size=4).astype(np.float32)),
        Tensor("state", (1, 4), DType.FLOAT32, is_variable=True),
        Tensor("y", (1, 4), DType.FLOAT32),
    )
    options = {"fused_activation_function": 4, "asymmetric_quantize_inputs": False}
    cell = Operator("RNN", (0, 1, 2, 3, 4), (5,), options, "RNNOptions")
    return Model((Graph(tensors, (cell,), (0,), (5,), "main"),))


def package(token: int = 1, cached: bytes = b"", runtime: int = 13, chip: str = VIRTUAL_CHIP) -> bytes:
    """Custom options of a compiled operator without instructions."""
    executables = (
        Executable(ExecutableKind.EXECUTION_ONLY, token=token, chip=chip),
        Executable(ExecutableKind.PARAMETER_CACHING, token=token, chip=chip, parameters=cached),
    )
    return bytes(write_package(Package(runtime, executables)))


def custom(inputs: Sequence[int], outputs: Sequence[int], payload: bytes | None = None) -> Operator:
    payload = package() if payload is None else payload
    return Operator("CUSTOM", tuple(inputs), tuple(outputs), custom_code="edgetpu-custom-op", custom_options=payload)


def compiled(model: Model, *regions: Collection[int], payload: bytes | None = None) -> Model:
    """The model with each region as one custom operator, and a second graph with the original operators."""
    graph = model.main
    claimed = {index for region in regions for index in region}
    operators = [(index, op) for index, op in enumerate(graph.operators) if index not in claimed]
    operators += [(min(region), custom(*boundary(graph, region), payload)) for region in regions]
    ordered = tuple(operator for _, operator in sorted(operators, key=lambda pair: pair[0]))
    used = {i for op in ordered for i in (*op.inputs, *op.outputs) if i >= 0} | {*graph.inputs, *graph.outputs}
    number = {old: new for new, old in enumerate(sorted(used))}

    def renumber(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(number[i] for i in indices)

    device = Graph(
        tuple(graph.tensors[i] for i in number),
        tuple(replace(op, inputs=renumber(op.inputs), outputs=renumber(op.outputs)) for op in ordered),
        renumber(graph.inputs),
        renumber(graph.outputs),
    )

    def signature(key: str, graph: Graph, index: int) -> Signature:
        inputs, outputs = ({graph.tensors[i].name: i for i in ids} for ids in (graph.inputs, graph.outputs))
        return Signature(key, inputs, outputs, index)

    signatures = (signature("serving_default", device, 0), signature("cpu", graph, 1))
    return Model((device, graph), signatures=signatures)


def chain(*payloads: bytes, shape: tuple[int, ...] = (1, 4)) -> bytes:
    """A file of custom operators one after the other: t0 -> t1 -> ... (int8)."""
    tensors = tuple(Tensor(f"t{i}", shape, DType.INT8, quantization(0.1)) for i in range(len(payloads) + 1))
    operators = tuple(custom([i], [i + 1], payload) for i, payload in enumerate(payloads))
    return bytes(model_bytes(Model((Graph(tensors, operators, (0,), (len(payloads),)),))))


def plain_interpreter(model: Model) -> Interpreter:
    """The oracle: LiteRT alone, with the same kernels."""
    interpreter = Interpreter(model_content=bytes(model_bytes(model)), experimental_op_resolver_type=RESOLVER)
    interpreter.allocate_tensors()
    return interpreter


def random_input(interpreter: Interpreter, random: np.random.Generator) -> dict[str, np.ndarray]:
    values = {}
    for detail in interpreter.get_input_details():
        if detail["dtype"] == np.float32:
            values[detail["name"]] = random.normal(size=detail["shape"]).astype(np.float32)
        else:
            values[detail["name"]] = random.integers(-128, 128, detail["shape"]).astype(detail["dtype"])
    return values


def run(interpreter: Interpreter, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], values[detail["name"]])
    interpreter.invoke()
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}


def assert_equal(result: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name].dtype == value.dtype
        np.testing.assert_array_equal(result[name], value, err_msg=name)


def vendor_compiled(model: Model, *regions: Collection[int]) -> Model:
    """As the vendor's compiler leaves it: machine code only, the original operators are gone."""
    both = compiled(model, *regions, payload=package(chip="beagle"))
    return replace(both, graphs=both.graphs[:1], signatures=both.signatures[:1])


def rename(model: Model, graph: int, old: str, **changes: Any) -> Model:
    """The model with some fields of the tensor ``old`` replaced."""
    tensors = tuple(replace(t, **changes) if t.name == old else t for t in model.graphs[graph].tensors)
    graphs = list(model.graphs)
    graphs[graph] = replace(graphs[graph], tensors=tensors)
    return replace(model, graphs=tuple(graphs))


def opened(path: Path, device: VirtualEdgeTpu) -> Interpreter:
    """An interpreter that is ready to run."""
    interpreter = make_interpreter(path, device)
    interpreter.allocate_tensors()
    return interpreter


def program(save: Callable[[Model], Path], token: int, size: int) -> Path:
    """A compiled file that wants so many bytes cached under a token."""
    return save(compiled(branched(), [0, 1, 2, 3, 4], payload=package(token=token, cached=bytes(size))))
