"""``atoll.inspect``: a compiled file → what is in it."""

from __future__ import annotations

from atoll.compiler.inspect_report import InspectReport
from atoll.compiler.inspection import inspect_model
from atoll.model.load import ModelLike, as_it_is
from atoll.products.arguments import require_types


def inspect(model: ModelLike, *, original: ModelLike | None = None) -> InspectReport:
    """Explain a compiled file, made by atoll or by the vendor's compiler.

    A damaged file is explained as far as it can be read: ``problems`` of the report then says what is wrong where.

    Args:
        model: The compiled model, or the path of its ``.tflite`` file.
        original: The model it was compiled from, which shows where the parameters of each operator lie.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError: The model is not compiled, or the original is.
        InputError: The model was not compiled from that original.

    >>> report = atoll.inspect("net_edgetpu.tflite")  # doctest: +SKIP
    >>> report.regions[0].cached_bytes, report.problems  # doctest: +SKIP
    (3932160, ())
    """
    require_types(inspect, locals())
    return inspect_model(as_it_is(model), None if original is None else as_it_is(original))
