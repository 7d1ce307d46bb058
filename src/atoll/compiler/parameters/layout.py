"""One weighted operator of a graph → the geometry of its parameters on the chip.

Source of every rule: ../shared/facts/parameters.md (reproduced byte for byte on 425 layers).
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atoll.errors import UnsupportedModelError
from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.generations import DEFAULT, Generation
from atoll.model.graph import Graph, Operator, Quantization, Tensor

ALIGNMENT = 64
"""Every layer of a blob starts at a multiple of this many bytes."""

_SAME = 0  # schema.fbs, enum Padding


def up(value: int, multiple: int) -> int:
    """``value`` rounded up to a multiple."""
    return value + -value % multiple


class Form(enum.Enum):
    """How the weights tensor is to be read."""

    CONVOLUTION = "[outputs, kernel height, kernel width, inputs]"
    DEPTHWISE = "[1, kernel height, kernel width, channels]"
    SINGLE_CHANNEL = "the same on one input channel, laid out as an ordinary convolution"
    FULLY_CONNECTED = "[outputs, inputs]"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parameters of one Conv2D, DepthwiseConv2D or FullyConnected lie within its part of the blob."""

    weights_shape: tuple[int, ...]
    """Shape of the TFLite tensor."""
    signed: bool
    """int8 weights, stored as the byte + 128."""
    form: Form
    outputs: int
    lanes: int
    """Output channels of one block, padding included."""
    inputs: int
    """Input channels per tap and position; 1 when depthwise."""
    spatial_positions: int
    """H·W of the 4-D input of a FullyConnected layer, whose channels are padded position by position; else 1."""
    kernel: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    """Kernel rows and columns that touch real input in some output; only these are stored."""
    has_scale: bool
    has_bias: bool
    has_zero_point: bool

    @property
    def depthwise(self) -> bool:
        """Stored as diagonal matrices."""
        return self.form is Form.DEPTHWISE

    @property
    def taps(self) -> int:
        """Kernel positions stored."""
        return len(self.rows) * len(self.columns)

    @property
    def header_words(self) -> int:
        """32-bit words before the weights of an output channel."""
        return self.has_scale + self.has_bias + self.has_zero_point

    @property
    def padded_inputs(self) -> int:
        """Input channels of one output channel and tap, rounded up to whole 4-byte words."""
        return self.spatial_positions * 4 * -(-self.inputs // 4)

    @property
    def blocks(self) -> int:
        """Number of blocks of output channels."""
        return -(-self.outputs // self.lanes)

    @property
    def block_words(self) -> int:
        """32-bit words per lane of one block."""
        if self.depthwise:
            return self.header_words + self.taps * 4
        return self.header_words + self.taps * self.padded_inputs // 4

    @property
    def payload_bytes(self) -> int:
        """Bytes without the padding up to the next layer."""
        if self.depthwise:  # the taps of a group of 4 channels are 4×4 matrices: 16 bytes each, 4 per channel
            return self.blocks * 4 * (4 * self.header_words + 4 * self.taps)
        return self.blocks * self.lanes * 4 * self.block_words

    @property
    def nbytes(self) -> int:
        """Bytes in the blob."""
        return up(self.payload_bytes, ALIGNMENT)

    @property
    def wide_rows(self) -> int:
        """Rows of the chip's wide memory; a block takes whole rows however few lanes it has."""
        if self.depthwise:
            return -(-self.nbytes // EDGE_TPU.row_bytes)
        return -(-self.outputs // EDGE_TPU.lanes) * self.block_words


def layout_of(
    graph: Graph, operator: Operator, generation: Generation = DEFAULT, has_bias: bool | None = None
) -> Layout:
    """The layout of a CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED.

    The weights' values are not needed. Whether there is a bias row depends on the bias being zero; ``has_bias`` says
    it for a graph that has lost its constants.

    Raises:
        UnsupportedModelError: another operator, weights that are computed or not 8 bits wide, or no quantisation.
    """
    weights = _weights(graph, operator)
    quantization = weights.quantization
    assert quantization is not None
    source = graph.tensors[operator.inputs[0]].shape
    rows: tuple[int, ...] = (0,)
    columns: tuple[int, ...] = (0,)
    kernel = 1, 1
    form, inputs, positions = Form.FULLY_CONNECTED, weights.shape[-1], 1
    if operator.kind == "FULLY_CONNECTED":
        if len(source) == 4 and inputs % max(source[3], 1) == 0:
            inputs, positions = source[3], inputs // source[3]
    else:
        kernel = weights.shape[1], weights.shape[2]
        rows, columns = _taps(graph, operator, kernel)
        form = Form.CONVOLUTION
        if operator.kind == "DEPTHWISE_CONV_2D":
            form = Form.SINGLE_CHANNEL if source[-1:] == (1,) else Form.DEPTHWISE
            inputs = 1
    outputs = weights.shape[_channel_axis(operator)]
    if has_bias is None and not generation.keeps_zero_bias:
        bias = bias_of(graph, operator)
        has_bias = bias is not None and bool(np.any(bias))
    per_channel = quantization.per_channel
    return Layout(
        weights_shape=weights.shape,
        signed=weights.dtype.numpy_name == "int8",
        form=form,
        outputs=outputs,
        lanes=_lanes(form, outputs),
        inputs=inputs,
        spatial_positions=positions,
        kernel=kernel,
        rows=rows,
        columns=columns,
        has_scale=per_channel and not bool(np.all(quantization.scale == quantization.scale[0])),
        has_bias=generation.keeps_zero_bias or bool(has_bias),
        has_zero_point=per_channel,
    )


def _lanes(form: Form, outputs: int) -> int:
    if form is Form.DEPTHWISE:
        return 4
    if outputs > EDGE_TPU.lanes:
        return EDGE_TPU.lanes
    if form is not Form.FULLY_CONNECTED and outputs in (1, 3, 4):
        return 4
    return up(outputs, 16)


def _weights(graph: Graph, operator: Operator) -> Tensor:
    weights = graph.tensor_of(operator, 1)
    ranks = {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 4, "FULLY_CONNECTED": 2}
    if operator.kind not in ranks or weights is None:
        raise UnsupportedModelError(f"{operator.name} has no weights in the chip's layout")
    problem = ""
    if weights.dtype.numpy_name not in ("int8", "uint8"):
        problem = f"are {weights.dtype.name}, not 8-bit integers"
    elif not _has_form(weights, operator, ranks[operator.kind]):
        problem = f"have the shape {list(weights.shape)}"
    elif not _quantized(weights.quantization, weights, operator):
        problem = "have no scale and zero point, or a wrong number of them"
    if problem:
        raise UnsupportedModelError(
            f"{operator.name}: the weights '{weights.name}' {problem}",
            "Quantise the model to full-integer int8.",
        )
    return weights


def _has_form(weights: Tensor, operator: Operator, rank: int) -> bool:
    shape = weights.shape
    return len(shape) == rank and min(shape) > 0 and (operator.kind != "DEPTHWISE_CONV_2D" or shape[0] == 1)


def _quantized(quantization: Quantization | None, weights: Tensor, operator: Operator) -> bool:
    if quantization is None or len(quantization.scale) != len(quantization.zero_point):
        return False
    return len(quantization.scale) in (1, weights.shape[_channel_axis(operator)])


def _channel_axis(operator: Operator) -> int:
    return 3 if operator.kind == "DEPTHWISE_CONV_2D" else 0


def bias_of(graph: Graph, operator: Operator) -> npt.NDArray[np.int32] | None:
    """The bias as stored in the model ([outputs] int32), None when the operator has none."""
    bias = graph.tensor_of(operator, 2)
    if bias is None:
        return None
    outputs = graph.tensors[operator.inputs[1]].shape[_channel_axis(operator)]
    if not bias.is_constant or bias.dtype.numpy_name != "int32" or bias.elements != outputs:
        raise UnsupportedModelError(
            f"{operator.name}: the bias '{bias.name}' is not a constant of {outputs} int32 values",
            "Quantise the model to full-integer int8.",
        )
    return bias.array.reshape(-1)


def _taps(graph: Graph, operator: Operator, kernel: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    source = graph.tensors[operator.inputs[0]]
    target = graph.tensors[operator.outputs[0]]
    if len(source.shape) != 4 or len(target.shape) != 4:
        return tuple(range(kernel[0])), tuple(range(kernel[1]))
    same = operator.options.get("padding", _SAME) == _SAME
    rows, columns = (
        touching_taps(
            source.shape[axis],
            target.shape[axis],
            kernel[axis - 1],
            int(operator.options.get(f"stride_{letter}", 1)),
            int(operator.options.get(f"dilation_{letter}_factor", 1)),
            same,
        )
        for axis, letter in ((1, "h"), (2, "w"))
    )
    return rows, columns


@functools.lru_cache(maxsize=4096)
def touching_taps(size: int, outputs: int, kernel: int, stride: int, dilation: int, same: bool) -> tuple[int, ...]:
    """Kernel positions along one axis that read at least one real (not padded) input element."""
    span = (kernel - 1) * dilation + 1
    before = max(0, (outputs - 1) * stride + span - size) // 2 if same else 0
    starts = np.arange(max(outputs, 1)) * stride - before
    positions = np.arange(kernel) * dilation
    reads = starts[:, None] + positions
    return tuple(int(tap) for tap in np.flatnonzero(((reads >= 0) & (reads < size)).any(axis=0)))
