"""An operator of one kind → the limitations of the vendor's table ("Known limitations"), and a few fitted ones."""

from __future__ import annotations

import math

import numpy as np

from atoll.hardware.chip import EDGE_TPU
from atoll.model import Tensor
from atoll.support.rule import Site, Status, rule

ACTIVATION_BYTES = EDGE_TPU.tiles * EDGE_TPU.narrow_bytes_per_tile
"""On-chip memory for activations; a resize keeps its input and output there at once.

Fitted: 256×256×32 → 512×512×32 stays on the CPU, 64×64×32 → 128×128×32 maps (google-coral/edgetpu issue 31)."""
LARGEST_RELAYOUT = 1 << 16
"""Elements of a tensor whose innermost dimension a reshape or transpose splits.

Fitted: in one yolov5s at 224×224, 14·14·255 = 49,980 elements map and 28·28·255 = 199,920 do not; at 640×640,
20·20·255 = 102,000 do not."""
LARGEST_SCALE = 8
"""Magnification of a resize. Fitted: factor 2 maps (MoveNet), factor 33 does not (DeepLab); 8 lies between."""
SOFTMAX_ELEMENTS = 16_000


def _one_dimensional(tensor: Tensor | None) -> str | None:
    if tensor is None or tensor.elements == (tensor.shape[-1] if tensor.shape else 1):
        return None
    return f"tensor '{tensor.name}' has the shape {list(tensor.shape)}"


@rule("Let the converter emit the activation as an operator of its own.")
def no_fused_activation(site: Site) -> str | None:
    """No fused activation function."""
    number = site.option("fused_activation_function", 0)
    return f"the fused activation function is number {number}" if number else None


@rule("Concatenate with zeros only, one constant at a time, or use a padding operator.")
def constant_operand_is_zero(site: Site) -> str | None:
    """If any input is a compile-time constant tensor, there must be only 2 inputs, and this constant tensor must
    be all zeros (effectively, a zero-padding op)."""
    for position in range(len(site.operator.inputs)):
        tensor = site.input(position)
        if tensor is None or not tensor.is_constant:
            continue
        if len(site.operator.inputs) != 2:
            return f"tensor '{tensor.name}' is constant and there are {len(site.operator.inputs)} inputs"
        values, quantization = site.constant(position), tensor.quantization
        zero = int(quantization.zero_point[0]) if quantization is not None and len(quantization.zero_point) else 0
        if values is None or np.any(values != zero):
            return f"the constant tensor '{tensor.name}' is not all zeros"
    return None


@rule("Use one dilation for both dimensions.")
def same_dilation(site: Site) -> str | None:
    """Must use the same dilation in x and y dimensions."""
    x, y = site.option("dilation_w_factor", 1), site.option("dilation_h_factor", 1)
    return None if x == y else f"the dilation is {x} in x and {y} in y"


@rule("Compile for runtime 13 or newer, or do without dilation.")
def no_dilation(site: Site) -> str | None:
    """Dilated conv kernels are not supported."""
    x, y = site.option("dilation_w_factor", 1), site.option("dilation_h_factor", 1)
    return None if x == y == 1 else f"the dilation is {x} in x and {y} in y"


@rule("Convert the model without shuffled weights.")
def default_weights_format(site: Site) -> str | None:
    """Only the default format is supported for fully-connected weights."""
    number = site.option("weights_format", 0)
    return f"the weights format is number {number}" if number else None


@rule("Use a batch of 1, or a 1×1 convolution for a layer that is applied at every position.", Status.TWO_DIMENSIONAL)
def output_is_one_dimensional(site: Site) -> str | None:
    """Output tensor is one-dimensional."""
    return _one_dimensional(site.output)


@rule("Apply softmax to one vector, or leave it to the CPU at the end of the model.", Status.TWO_DIMENSIONAL)
def softmax_of_one_vector(site: Site) -> str | None:
    """Supports only 1-D input tensor with a max of 16,000 elements."""
    data = site.input(0)
    if data is not None and data.elements > SOFTMAX_ELEMENTS:
        return f"tensor '{data.name}' has {data.elements:,} elements"
    return _one_dimensional(data)


@rule("Use an LSTM that runs in one direction.")
def unidirectional(site: Site) -> str | None:
    """Unidirectional LSTM only."""
    return "it runs in both directions" if site.operator.kind == "BIDIRECTIONAL_SEQUENCE_LSTM" else None


@rule("Keep the batch dimension out of the axes.")
def no_batch_reduction(site: Site) -> str | None:
    """No reduction in batch dimension."""
    return f"axis 0 of tensor '{_first(site)}' is reduced" if 0 in site.axes(1) else None


@rule("Compile for runtime 13 or newer.")
def spatial_reduction(site: Site) -> str | None:
    """Supports reduction along x- and/or y-dimensions only."""
    data = site.input(0)
    rank = len(data.shape) if data else 0
    others = [axis for axis in site.axes(1) if axis not in (rank - 3, rank - 2)]
    return f"axis {others[0]} of tensor '{_first(site)}' is reduced" if others else None


@rule("Pad the channels to a multiple of 4.")
def depth_is_multiple_of_4(site: Site) -> str | None:
    """If a z-reduction, the z-dimension must be multiple of 4."""
    data = site.input(0)
    if data is None or not data.shape or len(data.shape) - 1 not in site.axes(1) or data.shape[-1] % 4 == 0:
        return None
    return f"tensor '{data.name}' has {data.shape[-1]} channels"


@rule("Pack along another axis.")
def no_batch_packing(site: Site) -> str | None:
    """No packing in batch dimension."""
    rank = len(site.output.shape) if site.output else 0
    return "the axis is 0" if rank and site.option("axis", 0) % rank == 0 else None


def _padded_axes(site: Site) -> tuple[int, ...]:
    amounts, data = site.integers(1), site.input(0)
    if amounts is None or amounts.ndim != 2 or data is None:
        return ()
    return tuple(int(axis) for axis in np.flatnonzero(amounts[: len(data.shape)].any(axis=1)))


@rule("Pad no other dimensions than y, x and z.")
def no_batch_padding(site: Site) -> str | None:
    """No padding in batch dimension."""
    return f"axis 0 of tensor '{_first(site)}' is padded" if 0 in _padded_axes(site) else None


@rule("Compile for runtime 13 or newer.")
def spatial_padding(site: Site) -> str | None:
    """Supports padding along x- and/or y-dimensions only."""
    data = site.input(0)
    rank = len(data.shape) if data else 0
    others = [axis for axis in _padded_axes(site) if axis not in (rank - 3, rank - 2)]
    return f"axis {others[0]} of tensor '{_first(site)}' is padded" if others else None


@rule("With Keras, give PReLU shared_axes=[1, 2], so that each filter has only one set of parameters.")
def alpha_is_one_dimensional(site: Site) -> str | None:
    """Alpha must be 1-dimensional (only the innermost dimension can be >1 size)."""
    return _one_dimensional(site.input(1))


@rule("Nothing to do: the CPU quantises the input. To save the time, give the model int8 or uint8 inputs.")
def quantize_of_8_bit(site: Site) -> str | None:
    """A float input is quantised on the CPU."""
    data = site.input(0)
    return f"tensor '{data.name}' is {data.dtype.name}" if data and data.dtype.is_float else None


@rule("Swap the reshape for one that leaves the channels alone, or use a smaller input.")
def relayout_is_small(site: Site) -> str | None:
    """Certain reshapes and transposes are not mapped for large tensor sizes: those that move data between the
    channels and several rows."""
    data, output = site.input(0), site.output
    if data is None or output is None or output.elements <= LARGEST_RELAYOUT or not data.shape or not output.shape:
        return None
    # A single row or column of the result needs no second axis to be filled: SSD's 19×19×273 → 1083×91 maps.
    rows = [size for size in output.shape[:-1] if size > 1]
    if (data.shape[-1] == output.shape[-1] and site.operator.kind == "RESHAPE") or len(rows) < 2:
        return None
    return f"tensor '{data.name}' of shape {list(data.shape)} becomes {list(output.shape)}"


@rule("Resize a smaller tensor, for example before the number of channels grows.")
def fits_on_chip(site: Site) -> str | None:
    """Depending on input/output size, this operation might not be mapped: all of it has to be on the chip at once."""
    used = sum(tensor.nbytes for tensor in site.activations)
    if used <= ACTIVATION_BYTES:
        return None
    return f"inputs and outputs have {used:,} bytes and the chip {ACTIVATION_BYTES:,}"


@rule("Resize in several steps.", Status.INTERPOLATION)
def interpolation_is_precise(site: Site) -> str | None:
    """Depending on input/output size, this operation might not be mapped to the Edge TPU to avoid loss in
    precision."""
    data, output = site.input(0), site.output
    if data is None or output is None or len(data.shape) != 4 or len(output.shape) != 4:
        return None
    for before, after in zip(data.shape[1:3], output.shape[1:3]):
        if before > 0 and after / before > LARGEST_SCALE:
            return f"tensor '{data.name}' grows from {before} to {after}, more than {LARGEST_SCALE} times"
    return None


@rule("Split along another axis.")
def no_batch_splitting(site: Site) -> str | None:
    """No splitting in batch dimension."""
    axis, data = site.integers(0), site.input(1)
    if axis is None or axis.size != 1 or data is None or not data.shape:
        return None
    return f"axis 0 of tensor '{data.name}' is split" if int(axis.ravel()[0]) % len(data.shape) == 0 else None


@rule("Compile for runtime 13 or newer, or reshape so that no relayout is needed.")
def squeeze_of_leading_ones(site: Site) -> str | None:
    """Supported only when the input tensor has its dimensions of 1 in front (that is, no relayout needed)."""
    data = site.input(0)
    if data is None:
        return None
    sizes = data.shape[next((i for i, size in enumerate(data.shape) if size != 1), len(data.shape)) :]
    # The innermost dimension stays where it is; a 1 between two larger ones moves what follows it.
    return f"tensor '{data.name}' has the shape {list(data.shape)}" if 1 in sizes else None


@rule("Slice with a stride of 1.", Status.STRIDES)
def unit_strides(site: Site) -> str | None:
    """Supported only when all strides are equal to 1."""
    strides = site.integers(3)
    if strides is None or np.all(strides == 1):
        return None
    return f"the strides are {strides.ravel()[:8].tolist()}"


@rule("Spell the slice out without '...' and without new axes.")
def no_ellipsis_or_new_axis(site: Site) -> str | None:
    """Supported only with ellipsis-axis-mask == 0 and new-axis-mask == 0."""
    ellipsis, new = site.option("ellipsis_mask", 0), site.option("new_axis_mask", 0)
    return f"the ellipsis mask is {ellipsis} and the new-axis mask {new}" if ellipsis or new else None


@rule("Resize images, one at a time: batch 1, height, width, channels.")
def image_is_three_dimensional(site: Site) -> str | None:
    """Input/output is a 3-dimensional tensor."""
    for tensor in site.activations:
        if math.prod(tensor.shape[:-3]) != 1 or len(tensor.shape) < 3:
            return f"tensor '{tensor.name}' has the shape {list(tensor.shape)}"
    return None


def _first(site: Site) -> str:
    data = site.input(0)
    return data.name if data else ""
