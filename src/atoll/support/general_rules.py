"""An operator of any kind → what the Edge TPU asks of all of them ("Model requirements" of the vendor's guide)."""

from __future__ import annotations

from atoll.model import DType, Tensor
from atoll.support.rule import Rule, Site, Status, rule

EIGHT_BIT = (DType.INT8, DType.UINT8)
PARAMETER_TYPES = (*EIGHT_BIT, DType.INT32, DType.INT64)
"""Filters are 8-bit, biases 32-bit, shapes and axes 32- or 64-bit."""


def _described(tensor: Tensor) -> str:
    return f"tensor '{tensor.name}' is {tensor.dtype.name}"


@rule("Reshape so that only the three innermost dimensions are larger than 1, with a batch of 1.", Status.RANK)
def three_innermost_dimensions(site: Site) -> str | None:
    """If a tensor has more than 3 dimensions, only the 3 innermost may have a size greater than 1."""
    for tensor in site.activations if site.row else ():
        if any(size > 1 for size in tensor.shape[:-3]):
            return f"tensor '{tensor.name}' has the shape {list(tensor.shape)}"
    return None


@rule(
    "Quantise the whole model to 8 bits (full-integer post-training quantisation or quantisation-aware training).",
    Status.DATA_TYPE,
)
def eight_bit_tensors(site: Site) -> str | None:
    """Tensors must be quantised to 8-bit fixed-point numbers (int8 or uint8)."""
    for tensor in site.activations:
        if site.row is None and not tensor.dtype.is_float:
            continue  # What an unknown operator needs is unknown, but a float tensor is wrong in any case.
        if site.operator.kind == "QUANTIZE" and tensor.dtype.is_float:
            continue  # A rule of its own: the vendor's compiler reports it differently.
        if tensor.is_variable and tensor.dtype is DType.INT16:
            continue  # The cell state of an LSTM.
        if tensor.dtype not in EIGHT_BIT:
            return _described(tensor)
        if tensor.quantization is None or not len(tensor.quantization.scale):
            return f"{_described(tensor)} without a scale"
    for role, tensor in site.parameters:
        if tensor.dtype not in PARAMETER_TYPES:
            return f"{_described(tensor)}, used as {role}"
    return None


@rule("Compile for runtime 12 or newer (option -m), or quantise to uint8.", Status.DATA_TYPE)
def signed_needs_runtime_12(site: Site) -> str | None:
    """Runtimes before 12 know only uint8, not int8."""
    if site.runtime >= 12 or site.row is None:
        return None
    signed = next((tensor for tensor in site.activations if tensor.dtype is DType.INT8), None)
    return f"{_described(signed)} and the runtime is {site.runtime}" if signed else None


@rule("Replace it by operators of the table, or move it to the end of the model.", Status.NOT_SUPPORTED)
def known_operator(site: Site) -> str | None:
    """Only the operators of the support table can run on the Edge TPU."""
    return None if site.row else f"{site.operator.name} is not in the table"


@rule("Compile for a newer runtime (option -m) and install that runtime.", Status.NOT_SUPPORTED)
def runtime_new_enough(site: Site) -> str | None:
    """The operator needs a newer Edge TPU runtime."""
    if site.row is None or site.runtime >= site.row.since:
        return None
    return f"{site.operator.name} needs runtime {site.row.since}, and the model is compiled for {site.runtime}"


@rule("Convert the model with an older TensorFlow, or without the option that needs the new version.", Status.VERSION)
def known_version(site: Site) -> str | None:
    """The operator's version must be one that existed when compiler 16 was made."""
    if site.row is None or site.operator.version <= site.row.newest_version:
        return None
    return f"{site.operator.name} has version {site.operator.version}; the newest known is {site.row.newest_version}"


@rule("Make it a constant of the model when converting.", Status.NOT_CONSTANT)
def constant_parameters(site: Site) -> str | None:
    """Model parameters (filter, bias, shape, axis, ...) must be constant at compile time."""
    for role, tensor in site.parameters:
        if not tensor.is_constant:
            return f"tensor '{tensor.name}', used as {role}, is computed at run time"
        if tensor.sparsity is not None:
            return f"tensor '{tensor.name}', used as {role}, is stored sparsely"
    return None


@rule("Convert the model with fixed input shapes.")
def static_shapes(site: Site) -> str | None:
    """Tensor sizes must be constant at compile time, and at least 1."""
    for tensor in site.activations if site.row else ():
        if any(size < 1 for size in tensor.shape):
            return f"tensor '{tensor.name}' has the shape {list(tensor.shape)}"
    return None


GENERAL_RULES: tuple[Rule, ...] = (
    three_innermost_dimensions,
    eight_bit_tensors,
    signed_needs_runtime_12,
    known_operator,
    runtime_new_enough,
    known_version,
    constant_parameters,
    static_shapes,
)
"""In the order in which the vendor's compiler gives them as the status (it prints one reason only)."""
