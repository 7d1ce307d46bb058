"""One region of a graph, and its parameters → the package that its custom operator carries."""

from __future__ import annotations

from atoll.compiler.package_format import (
    BoundaryLayer,
    Executable,
    ExecutableKind,
    LayerType,
    Numerics,
    OutputInfo,
    Package,
    input_size,
    output_size,
)
from atoll.compiler.package_format.package import Bytes
from atoll.model.graph import DType, Graph, Tensor
from atoll.model.subgraph import boundary
from atoll.version import __version__

NAME = f"atoll {__version__}"
"""What our packages name as their compiler."""

_LAYER_TYPES = {
    DType.UINT8: (LayerType.FIXED_POINT8, 0),
    DType.INT8: (LayerType.SIGNED_FIXED_POINT8, 128),
    DType.INT16: (LayerType.SIGNED_FIXED_POINT16, 32768),
    DType.INT32: (LayerType.SIGNED_FIXED_POINT32, 0),
    DType.FLOAT32: (LayerType.SINGLE, 0),
}
"""Element types on the chip, and what is added to a zero point: the chip counts from the lowest stored value."""


def region_package(
    graph: Graph,
    region: tuple[int, ...],
    token: int,
    runtime: int,
    cached: Bytes,
    streamed: Bytes,
    serialized_model: Bytes,
) -> Package:
    """Describe a region: its input and output layers, the caching token, the oldest runtime that may run it.

    Two executables, as in every file of the vendor: the one that runs, with the parameters that are streamed, and
    the one that loads the ``cached`` parameters. The chip's name in them is one that real hardware refuses, because
    the instructions are missing: only the vendor's compiler can make them. ``serialized_model`` is what a virtual
    device needs beside the parameters when the file keeps no original operators.
    """
    entering, leaving = boundary(graph, region)
    execution = Executable(
        kind=ExecutableKind.EXECUTION_ONLY,
        token=token,
        parameters=streamed,
        input_layers=tuple(_layer(graph.tensors[i], is_output=False) for i in entering),
        output_layers=tuple(_layer(graph.tensors[i], is_output=True) for i in leaving),
        serialized_model=serialized_model,
    )
    # The vendor names the caching executable "Unknown".
    caching = Executable(kind=ExecutableKind.PARAMETER_CACHING, name="Unknown", token=token, parameters=cached)
    return Package(min_runtime_version=runtime, executables=(execution, caching), compiler_version=NAME)


def _layer(tensor: Tensor, is_output: bool) -> BoundaryLayer:
    kind, offset = _LAYER_TYPES[tensor.dtype]
    y, x, z = (1, 1, 1, *tensor.shape)[-3:]
    quantization = tensor.quantization
    numerics = None
    if quantization is not None and len(quantization.scale):
        numerics = Numerics(int(quantization.zero_point[0]) + offset, float(quantization.scale[0]))
    size = output_size if is_output else input_size
    return BoundaryLayer(
        name=tensor.name,
        size_bytes=size(y, x, z, kind.itemsize),
        y=y,
        x=x,
        z=z,
        data_type=kind,
        numerics=numerics,
        output=OutputInfo(data_type=kind) if is_output else None,
    )
