"""A graph → which of its operators the Edge TPU can run, and every reason why not."""

from atoll.support.operator_check import Support, Verdict, check
from atoll.support.requirements import require_compilable, require_quantized, require_static, require_uncompiled

__all__ = [
    "Support",
    "Verdict",
    "check",
    "require_compilable",
    "require_quantized",
    "require_static",
    "require_uncompiled",
]
