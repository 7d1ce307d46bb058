"""The operators of the Edge TPU as a table: name, builtins, first runtime, limitations (vendor's Table 1)."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from atoll.findings import Finding
from atoll.hardware import generations
from atoll.hardware.generations import RUNTIMES
from atoll.model import Graph
from atoll.support import operator_rules as r
from atoll.support.general_rules import GENERAL_RULES
from atoll.support.rule import Limit, Row, Rule, Site, Status

__all__ = [
    "DEFAULT_RUNTIME",
    "GENERAL_RULES",
    "ROWS",
    "TABLE",
    "Limit",
    "Row",
    "Rule",
    "Site",
    "Status",
    "reasons",
    "support_table_markdown",
]

DEFAULT_RUNTIME = generations.DEFAULT.default_runtime
"""What the default compiler generation compiles for when nobody says otherwise."""

_FILTER_BIAS = {1: "filter", 2: "bias"}
_AXIS = {1: "axis"}
_LSTM = {
    **dict.fromkeys(range(1, 5), "input weights"),
    **dict.fromkeys(range(5, 9), "recurrent weights"),
    **dict.fromkeys(range(9, 12), "peephole weights"),
    **dict.fromkeys(range(12, 16), "gate bias"),
    **dict.fromkeys((16, 17), "projection"),
    **dict.fromkeys(range(20, 24), "layer normalisation"),
}
_BATCH_REDUCTION = Limit(r.no_batch_reduction)
_NO_ACTIVATION = Limit(r.no_fused_activation)
_RELAYOUT = Limit(r.relayout_is_small, documented=False)
_RESIZE = (
    Limit(r.image_is_three_dimensional),
    Limit(r.interpolation_is_precise),
    Limit(r.fits_on_chip),
)


def _row(
    name: str,
    *kinds: str,
    since: int = RUNTIMES[0],
    limits: tuple[Limit, ...] = (),
    parameters: dict[int, str] | None = None,
    newest: int = 1,
) -> Row:
    return Row(name, kinds, since, limits, MappingProxyType(parameters or {}), newest)


# "newest" is the version TensorFlow Lite 2.7 registered (tensorflow/lite/kernels/register.cc, autumn 2021), the
# release next to compiler 16 (July 2021).
TABLE: tuple[Row, ...] = (
    _row("Add", "ADD", newest=4),
    _row("AveragePool2d", "AVERAGE_POOL_2D", limits=(_NO_ACTIVATION,), newest=3),
    _row(
        "Concatenation",
        "CONCATENATION",
        limits=(_NO_ACTIVATION, Limit(r.constant_operand_is_zero)),
        newest=3,
    ),
    _row("Conv2d", "CONV_2D", limits=(Limit(r.same_dilation),), parameters=_FILTER_BIAS, newest=6),
    _row(
        "DepthwiseConv2d",
        "DEPTHWISE_CONV_2D",
        limits=(Limit(r.no_dilation, until=12), Limit(r.same_dilation, since=13)),
        parameters=_FILTER_BIAS,
        newest=6,
    ),
    _row("ExpandDims", "EXPAND_DIMS", since=13, parameters=_AXIS),
    _row(
        "FullyConnected",
        "FULLY_CONNECTED",
        limits=(Limit(r.default_weights_format), Limit(r.output_is_one_dimensional)),
        parameters=_FILTER_BIAS,
        newest=9,
    ),
    _row("L2Normalization", "L2_NORMALIZATION", newest=2),
    _row("Logistic", "LOGISTIC", newest=3),
    _row(
        "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        since=14,
        parameters=_LSTM,
        newest=3,
    ),
    _row(
        "LSTM",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        since=14,
        limits=(Limit(r.unidirectional),),
        parameters={**dict.fromkeys(range(1, 35), "weights"), **dict.fromkeys(range(40, 48), "auxiliary weights")},
        newest=3,
    ),
    _row("Maximum", "MAXIMUM", newest=4),
    _row("MaxPool2d", "MAX_POOL_2D", limits=(_NO_ACTIVATION,), newest=3),
    _row(
        "Mean",
        "MEAN",
        limits=(_BATCH_REDUCTION, Limit(r.spatial_reduction, until=12), Limit(r.depth_is_multiple_of_4, since=13)),
        parameters=_AXIS,
        newest=3,
    ),
    _row("Minimum", "MINIMUM", newest=4),
    _row("Mul", "MUL", newest=5),
    _row("Pack", "PACK", since=13, limits=(Limit(r.no_batch_packing),), newest=3),
    _row(
        "Pad",
        "PAD",
        limits=(Limit(r.no_batch_padding), Limit(r.spatial_padding, until=12)),
        parameters={1: "paddings"},
        newest=4,
    ),
    _row("PReLU", "PRELU", since=13, limits=(Limit(r.alpha_is_one_dimensional),), parameters={1: "alpha"}),
    _row("Quantize", "QUANTIZE", since=13, limits=(Limit(r.quantize_of_8_bit, documented=False),), newest=3),
    _row("ReduceMax", "REDUCE_MAX", since=14, limits=(_BATCH_REDUCTION,), parameters=_AXIS, newest=3),
    _row("ReduceMin", "REDUCE_MIN", since=14, limits=(_BATCH_REDUCTION,), parameters=_AXIS, newest=3),
    _row("ReLU", "RELU", newest=3),
    _row("ReLU6", "RELU6", newest=3),
    _row("ReLUN1To1", "RELU_N1_TO_1"),
    _row("Reshape", "RESHAPE", limits=(Limit(r.relayout_is_small),), parameters={1: "shape"}),
    _row("ResizeBilinear", "RESIZE_BILINEAR", limits=_RESIZE, parameters={1: "size"}, newest=4),
    _row("ResizeNearestNeighbor", "RESIZE_NEAREST_NEIGHBOR", limits=_RESIZE, parameters={1: "size"}, newest=4),
    _row("Rsqrt", "RSQRT", since=14, newest=2),
    _row("Slice", "SLICE", parameters={1: "begin", 2: "size"}, newest=5),
    _row("Softmax", "SOFTMAX", limits=(Limit(r.softmax_of_one_vector),), newest=3),
    _row("SpaceToDepth", "SPACE_TO_DEPTH", newest=2),
    _row("Split", "SPLIT", limits=(Limit(r.no_batch_splitting),), parameters={0: "axis"}, newest=4),
    _row("Squeeze", "SQUEEZE", limits=(Limit(r.squeeze_of_leading_ones, until=12),), newest=2),
    _row(
        "StridedSlice",
        "STRIDED_SLICE",
        limits=(Limit(r.unit_strides), Limit(r.no_ellipsis_or_new_axis)),
        parameters={1: "begin", 2: "end", 3: "strides"},
        newest=6,
    ),
    _row("Sub", "SUB", newest=5),
    _row("Sum", "SUM", since=13, limits=(_BATCH_REDUCTION,), parameters=_AXIS, newest=2),
    _row("SquaredDifference", "SQUARED_DIFFERENCE", since=14, newest=2),
    _row("Tanh", "TANH", newest=3),
    _row("Transpose", "TRANSPOSE", since=14, limits=(_RELAYOUT,), parameters={1: "permutation"}, newest=5),
    _row(
        "TransposeConv",
        "TRANSPOSE_CONV",
        since=13,
        parameters={0: "output shape", 1: "filter", 3: "bias"},
        newest=3,
    ),
)

ROWS = MappingProxyType({kind: row for row in TABLE for kind in row.kinds})
"""Row by TensorFlow Lite builtin (``Operator.kind``)."""


def reasons(graph: Graph, index: int, runtime: int) -> Iterator[Finding]:
    """Every reason why operator ``index`` cannot run on the Edge TPU with that runtime; the vendor's comes first."""
    operator = graph.operators[index]
    row = ROWS.get(operator.kind)
    site = Site(graph, operator, row, runtime)
    limits = row.limits if row else ()
    where = graph.where(index)
    for rule in (*GENERAL_RULES, *(limit.rule for limit in limits if limit.applies(runtime))):
        why = rule.test(site)
        if why is not None:
            yield rule.finding(where, why)


def support_table_markdown() -> str:
    """The support table for the docs, made from the rows and the docstrings of their rules."""
    lines = [
        "| operator | TensorFlow Lite | runtime | known limitations |",
        "| --- | --- | --- | --- |",
    ]
    for row in TABLE:
        runtime = "all" if row.since == RUNTIMES[0] else f"≥ {row.since}"
        limits = "<br>".join(_described(limit, row.since) for limit in row.limits)
        lines.append(f"| {row.name} | {', '.join(f'`{kind}`' for kind in row.kinds)} | {runtime} | {limits} |")
    lines += ["", "For all operators:", "", *(f"- {rule.text}" for rule in GENERAL_RULES)]
    return "\n".join(lines) + "\n"


def _described(limit: Limit, since: int) -> str:
    notes = []
    if limit.until < RUNTIMES[-1]:
        notes.append(f"runtime ≤ {limit.until}")
    if limit.since > since:
        notes.append(f"runtime ≥ {limit.since}")
    if not limit.documented:
        notes.append("not in the vendor's table")
    return limit.rule.text + (f" ({', '.join(notes)})" if notes else "")
