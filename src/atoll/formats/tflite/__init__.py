"""TensorFlow Lite models: bytes ⇄ :class:`atoll.ir.Model`."""

from atoll.formats.tflite.reader import parse_model, read_model
from atoll.formats.tflite.writer import model_bytes, write_model

__all__ = ["model_bytes", "parse_model", "read_model", "write_model"]
