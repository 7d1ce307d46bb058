"""A graph → which of its operators the Edge TPU can run, and every reason why not."""

from atoll.check.requirements import require_compilable, require_quantized, require_static, require_uncompiled
from atoll.check.support import Support, Verdict, check

__all__ = [
    "Support",
    "Verdict",
    "check",
    "require_compilable",
    "require_quantized",
    "require_static",
    "require_uncompiled",
]
