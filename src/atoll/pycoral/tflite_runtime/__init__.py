"""What programs expect of the package ``tflite_runtime``, on LiteRT."""

from importlib.metadata import version

__version__ = version("ai-edge-litert")
