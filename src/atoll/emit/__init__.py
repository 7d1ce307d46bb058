"""Writing down what was decided: packages, custom operators, file names, tokens."""

from atoll.emit.compiled import Compiled, CompiledSegment, caching_token, segment_name
from atoll.emit.package import region_package
from atoll.emit.parameters import parameter_blobs, region_skeleton
from atoll.emit.regions import with_custom_operators

__all__ = [
    "Compiled",
    "CompiledSegment",
    "caching_token",
    "parameter_blobs",
    "region_package",
    "region_skeleton",
    "segment_name",
    "with_custom_operators",
]
