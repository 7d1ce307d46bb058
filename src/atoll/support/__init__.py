"""Which operators of a graph the Edge TPU can run, every reason why not, and which regions go to it."""

from atoll.support.operator_check import Support, Verdict, operator_support
from atoll.support.regions import Regions, choose_regions
from atoll.support.requirements import require_compilable, require_quantized, require_static, require_uncompiled
from atoll.support.steps import Step

__all__ = [
    "Regions",
    "Step",
    "Support",
    "Verdict",
    "choose_regions",
    "operator_support",
    "require_compilable",
    "require_quantized",
    "require_static",
    "require_uncompiled",
]
