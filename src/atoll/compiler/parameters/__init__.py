"""Constants of operators ⇄ bytes in the chip's parameter layout."""

from atoll.compiler.parameters.layout import Layout, layout_of
from atoll.compiler.parameters.pack import pack_layer
from atoll.compiler.parameters.sizes import ParameterSize, parameter_size

__all__ = [
    "Layout",
    "ParameterSize",
    "layout_of",
    "pack_layer",
    "parameter_size",
]
