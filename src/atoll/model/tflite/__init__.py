"""TensorFlow Lite models: bytes ⇄ :class:`atoll.model.Model`."""

from atoll.model.tflite.reader import parse_model, read_model
from atoll.model.tflite.writer import model_bytes, write_model

__all__ = ["model_bytes", "parse_model", "read_model", "write_model"]
