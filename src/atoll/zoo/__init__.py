"""Standard architectures as full-integer int8 models with random, calibrated weights, made without TensorFlow."""

from atoll.zoo.catalog import ZooEntry, build, names
from atoll.zoo.images import images

__all__ = ["ZooEntry", "build", "images", "names"]
