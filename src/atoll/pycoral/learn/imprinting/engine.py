"""``pycoral.learn.imprinting.engine``."""

from atoll.learn import ImprintingEngine

__all__ = ["ImprintingEngine"]
