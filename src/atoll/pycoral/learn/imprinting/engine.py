"""``pycoral.learn.imprinting.engine``."""

from atoll.learning import ImprintingEngine

__all__ = ["ImprintingEngine"]
