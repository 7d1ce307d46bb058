"""Standard architectures as full-integer int8 models with random, calibrated weights, made without TensorFlow."""

from atoll.networks.catalog import ZooEntry, build, entries, entry
from atoll.quantization.images import images

__all__ = ["ZooEntry", "build", "entries", "entry", "images"]
