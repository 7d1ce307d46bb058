"""atoll: pipeline neural networks over several Coral Edge TPUs, with the hardware and without it."""

__version__ = "0.1.0"
