"""Writing the compiled model: packages, custom operators, file names, tokens."""

from atoll.compiler.emit.compiled_segment import Compiled, CompiledSegment, caching_token, segment_name
from atoll.compiler.emit.custom_operators import with_custom_operators
from atoll.compiler.emit.parameter_blobs import parameter_blobs, region_skeleton
from atoll.compiler.emit.region_package import NAME, region_package

__all__ = [
    "NAME",
    "Compiled",
    "CompiledSegment",
    "caching_token",
    "parameter_blobs",
    "region_package",
    "region_skeleton",
    "segment_name",
    "with_custom_operators",
]
