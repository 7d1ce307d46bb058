"""A model in memory → an ordinary LiteRT interpreter without any device: the oracle of every comparison."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll.device.virtual.virtual_device import RESOLVER
from atoll.errors import InvalidModelError
from atoll.model.graph import Model
from atoll.model.tflite import model_bytes


def plain_interpreter(model: Model, resolver: OpResolverType = RESOLVER, num_threads: int = 1) -> Interpreter:
    """An interpreter of a model that is not compiled; tensors are not allocated yet.

    Raises:
        InvalidModelError: LiteRT cannot load it.
    """
    try:
        return Interpreter(
            model_content=bytes(model_bytes(model)), experimental_op_resolver_type=resolver, num_threads=num_threads
        )
    except (RuntimeError, ValueError) as error:
        raise InvalidModelError(f"{model.path or 'the model'}: LiteRT cannot load it: {error}") from error
