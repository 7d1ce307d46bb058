"""Every rule of the operator table is seen firing, with its value, and is seen not firing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from atoll.errors import UsageError
from atoll.hardware.generations import RUNTIMES
from atoll.model import Buffer, DType, Graph, Operator, Tensor
from atoll.support import operator_support
from atoll.support.operators import GENERAL_RULES, ROWS, TABLE, Status, support_table_markdown
from tiny_graphs import Data, const, one, zeros

IMAGE = Data((1, 8, 8, 4))
BIAS = const([0] * 4)
FILTER = zeros(4, 1, 1, 4)
FC = zeros(10, 4)


def conv(data: Data = IMAGE, filter_=FILTER, out=(1, 8, 8, 4), **options) -> Graph:
    return one("CONV_2D", data, filter_, BIAS, out=out, **options)


def depthwise(**options) -> Graph:
    return one("DEPTHWISE_CONV_2D", IMAGE, zeros(1, 3, 3, 4), BIAS, **options)


def pad(rows) -> Graph:
    return one("PAD", IMAGE, const(rows))


def strided(strides, **options) -> Graph:
    return one("STRIDED_SLICE", IMAGE, const([0] * 4), const([1, 4, 4, 4]), const(strides), **options)


def sparse(graph: Graph) -> Graph:
    tensors = [dataclasses.replace(t, sparsity=object()) if t.name == "in1" else t for t in graph.tensors]
    return dataclasses.replace(graph, tensors=tuple(tensors))


ADD = one("ADD", IMAGE, IMAGE)
STATES = (Data((1, 4), variable=True), Data((1, 4), DType.INT16, variable=True))
LSTM = one(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    Data((1, 5, 4)),
    *[zeros(4, 4)] * 8,
    *[None] * 3,
    *[BIAS] * 4,
    *[None] * 2,
    *STATES,
    out=(1, 5, 4),
)

# rule, runtime, a graph that breaks it, what the message has to name, a graph that keeps it
CASES = [
    ("three_innermost_dimensions", 14, conv(Data((30, 8, 8, 4))), "[30, 8, 8, 4]", conv()),
    ("three_innermost_dimensions", 14, one("RESHAPE", IMAGE, out=(1, 2, 4, 8, 4)), "[1, 2, 4, 8, 4]", ADD),
    ("eight_bit_tensors", 14, one("ADD", IMAGE, Data((1, 8, 8, 4), DType.FLOAT32)), "'in1' is FLOAT32", ADD),
    ("eight_bit_tensors", 14, one("MUL", IMAGE, out=Data((1, 8, 8, 4), DType.INT16)), "'out' is INT16", ADD),
    ("eight_bit_tensors", 14, one("ADD", IMAGE, Data((1, 4), scaled=False)), "without a scale", ADD),
    ("eight_bit_tensors", 14, conv(filter_=const(np.zeros((4, 1, 1, 4)), "float32")), "used as filter", conv()),
    ("eight_bit_tensors", 14, one("DEQUANTIZE", IMAGE, out=Data((1, 8, 8, 4), DType.FLOAT32)), "FLOAT32", ADD),
    ("eight_bit_tensors", 14, one("ADD", IMAGE, Data((1, 4), DType.INT16)), "'in1' is INT16", LSTM),
    (
        "signed_needs_runtime_12",
        10,
        conv(),
        "INT8 and the runtime is 10",
        conv(Data((1, 8, 8, 4), DType.UINT8), out=Data((1, 8, 8, 4), DType.UINT8)),
    ),
    ("signed_needs_runtime_12", 11, conv(), "INT8 and the runtime is 11", one("LEAKY_RELU", IMAGE)),
    ("known_operator", 14, one("LEAKY_RELU", IMAGE), "LEAKY_RELU is not in the table", one("RELU", IMAGE)),
    ("known_operator", 14, one("GATHER", IMAGE, Data((1,), DType.INT32)), "GATHER", ADD),
    ("runtime_new_enough", 13, one("TRANSPOSE", IMAGE, const([0, 2, 1, 3])), "needs runtime 14", ADD),
    (
        "known_version",
        14,
        one("RESIZE_BILINEAR", IMAGE, const([8, 8]), version=5),
        "version 5",
        one("RESIZE_BILINEAR", IMAGE, const([8, 8]), version=3),
    ),
    ("constant_parameters", 14, conv(filter_=Data((4, 1, 1, 4))), "'in1', used as filter", conv()),
    ("constant_parameters", 14, sparse(conv()), "sparsely", conv()),
    ("static_shapes", 14, one("ADD", Data((1, 0, 8, 4)), IMAGE), "[1, 0, 8, 4]", ADD),
    (
        "no_fused_activation",
        14,
        one("AVERAGE_POOL_2D", IMAGE, fused_activation_function=1),
        "number 1",
        one("MAX_POOL_2D", IMAGE),
    ),
    (
        "no_fused_activation",
        14,
        one("CONCATENATION", IMAGE, IMAGE, fused_activation_function=3),
        "number 3",
        one("CONCATENATION", IMAGE, IMAGE),
    ),
    (
        "constant_operand_is_zero",
        14,
        one("CONCATENATION", IMAGE, zeros(1, 8, 8, 4) + np.int8(1)),
        "'in1' is not all zeros",
        one("CONCATENATION", IMAGE, zeros(1, 8, 8, 4)),
    ),
    (
        "constant_operand_is_zero",
        14,
        one("CONCATENATION", IMAGE, IMAGE, zeros(1, 8, 8, 4)),
        "there are 3 inputs",
        one("CONCATENATION", IMAGE, IMAGE, IMAGE),
    ),
    (
        "same_dilation",
        14,
        conv(dilation_w_factor=2),
        "2 in x and 1 in y",
        conv(dilation_w_factor=2, dilation_h_factor=2),
    ),
    (
        "same_dilation",
        13,
        depthwise(dilation_h_factor=2),
        "1 in x and 2 in y",
        depthwise(dilation_w_factor=2, dilation_h_factor=2),
    ),
    ("no_dilation", 12, depthwise(dilation_w_factor=2, dilation_h_factor=2), "2 in x", depthwise()),
    (
        "default_weights_format",
        14,
        one("FULLY_CONNECTED", Data((1, 4)), FC, out=(1, 10), weights_format=1),
        "number 1",
        one("FULLY_CONNECTED", Data((1, 4)), FC, out=(1, 10)),
    ),
    (
        "output_is_one_dimensional",
        14,
        one("FULLY_CONNECTED", Data((5, 4)), FC, out=(5, 10)),
        "[5, 10]",
        one("FULLY_CONNECTED", Data((1, 4)), FC, out=(1, 1, 1, 10)),
    ),
    (
        "softmax_of_one_vector",
        14,
        one("SOFTMAX", Data((1, 16_001)), out=(1, 16_001)),
        "16,001 elements",
        one("SOFTMAX", Data((1, 16_000)), out=(1, 16_000)),
    ),
    (
        "softmax_of_one_vector",
        14,
        one("SOFTMAX", Data((2, 5)), out=(2, 5)),
        "[2, 5]",
        one("SOFTMAX", Data((1, 5)), out=(1, 5)),
    ),
    ("unidirectional", 14, one("BIDIRECTIONAL_SEQUENCE_LSTM", Data((1, 5, 4))), "both directions", LSTM),
    ("no_batch_reduction", 14, one("MEAN", IMAGE, const([-4])), "axis 0", one("MEAN", IMAGE, const([1, 2]))),
    ("no_batch_reduction", 14, one("REDUCE_MAX", IMAGE, const([0, 1])), "axis 0", one("REDUCE_MIN", IMAGE, const(1))),
    ("no_batch_reduction", 14, one("SUM", IMAGE, const(0)), "axis 0", one("SUM", IMAGE, const([3]))),
    ("spatial_reduction", 12, one("MEAN", IMAGE, const([3])), "axis 3", one("MEAN", IMAGE, const([1, -2]))),
    (
        "depth_is_multiple_of_4",
        13,
        one("MEAN", Data((1, 8, 8, 6)), const([-1])),
        "6 channels",
        one("MEAN", IMAGE, const([-1])),
    ),
    (
        "no_batch_packing",
        14,
        one("PACK", IMAGE, IMAGE, out=(2, 1, 8, 8), axis=-4),
        "axis is 0",
        one("PACK", Data((1, 8)), Data((1, 8)), out=(1, 8, 2), axis=2),
    ),
    ("no_batch_padding", 14, pad([[1, 0], [0, 0], [0, 0], [0, 0]]), "axis 0", pad([[0, 0], [1, 1], [1, 1], [0, 3]])),
    ("spatial_padding", 12, pad([[0, 0], [0, 0], [0, 0], [0, 1]]), "axis 3", pad([[0, 0], [1, 1], [1, 1], [0, 0]])),
    (
        "alpha_is_one_dimensional",
        14,
        one("PRELU", IMAGE, zeros(8, 8, 4)),
        "[8, 8, 4]",
        one("PRELU", IMAGE, zeros(1, 1, 4)),
    ),
    (
        "quantize_of_8_bit",
        14,
        one("QUANTIZE", Data((1, 4), DType.FLOAT32), out=(1, 4)),
        "FLOAT32",
        one("QUANTIZE", Data((1, 4), DType.UINT8), out=(1, 4)),
    ),
    (
        "relayout_is_small",
        14,
        one("RESHAPE", Data((1, 28, 28, 255)), out=(1, 784, 3, 85)),
        "[1, 784, 3, 85]",
        one("RESHAPE", Data((1, 14, 14, 255)), out=(1, 196, 3, 85)),
    ),
    (
        "relayout_is_small",
        14,
        one("TRANSPOSE", Data((1, 784, 3, 85)), const([0, 2, 1, 3]), out=(1, 3, 784, 85)),
        "[1, 3, 784, 85]",
        one("RESHAPE", Data((1, 3, 784, 85)), out=(1, 2352, 85)),
    ),
    (
        "relayout_is_small",
        14,
        one("RESHAPE", Data((1, 28, 28, 255)), out=(1, 784, 3, 85)),
        "[1, 28, 28, 255]",
        one("RESHAPE", Data((1, 19, 19, 273)), out=(1, 1083, 91)),
    ),
    (
        "image_is_three_dimensional",
        14,
        one("RESIZE_BILINEAR", Data((8, 8)), const([8, 8])),
        "[8, 8]",
        one("RESIZE_BILINEAR", IMAGE, const([8, 8])),
    ),
    (
        "interpolation_is_precise",
        14,
        one("RESIZE_BILINEAR", Data((1, 1, 1, 4)), const([33, 33]), out=(1, 33, 33, 4)),
        "from 1 to 33",
        one("RESIZE_BILINEAR", IMAGE, const([16, 16]), out=(1, 16, 16, 4)),
    ),
    (
        "fits_on_chip",
        14,
        one("RESIZE_NEAREST_NEIGHBOR", Data((1, 256, 256, 32)), const([512, 512]), out=(1, 512, 512, 32)),
        "10,485,760",
        one("RESIZE_NEAREST_NEIGHBOR", Data((1, 64, 64, 32)), const([128, 128]), out=(1, 128, 128, 32)),
    ),
    ("no_batch_splitting", 14, one("SPLIT", const(-4), IMAGE), "axis 0", one("SPLIT", const(3), IMAGE)),
    (
        "squeeze_of_leading_ones",
        12,
        one("SQUEEZE", Data((5, 1, 10)), out=(5, 10)),
        "[5, 1, 10]",
        one("SQUEEZE", Data((1, 5, 10)), out=(5, 10)),
    ),
    ("unit_strides", 14, strided([1, 2, 2, 1]), "[1, 2, 2, 1]", strided([1, 1, 1, 1])),
    (
        "no_ellipsis_or_new_axis",
        14,
        strided([1] * 4, new_axis_mask=1),
        "new-axis mask 1",
        strided([1] * 4, begin_mask=1),
    ),
]


def broken(graph: Graph, runtime: int) -> dict[str, str]:
    return {finding.rule: finding.why for finding in operator_support(graph, runtime).verdicts[0].findings}


@pytest.mark.parametrize(("rule", "runtime", "bad", "value", "good"), CASES)
def test_rule_fires_with_its_value_and_not_otherwise(
    rule: str, runtime: int, bad: Graph, value: str, good: Graph
) -> None:
    assert value in broken(bad, runtime)[rule]
    assert rule not in broken(good, runtime)


def test_every_rule_has_a_case() -> None:
    rules = {rule.name for rule in GENERAL_RULES}
    rules |= {limit.rule.name for row in TABLE for limit in row.limits}
    assert rules == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("graph", "outside", "rule"),
    [
        (depthwise(dilation_w_factor=2, dilation_h_factor=2), 13, "no_dilation"),
        (depthwise(dilation_h_factor=2), 12, "same_dilation"),
        (one("MEAN", IMAGE, const([3])), 13, "spatial_reduction"),
        (one("MEAN", Data((1, 8, 8, 6)), const([3])), 12, "depth_is_multiple_of_4"),
        (pad([[0, 0], [0, 0], [0, 0], [0, 1]]), 13, "spatial_padding"),
        (one("SQUEEZE", Data((5, 1, 10)), out=(5, 10)), 13, "squeeze_of_leading_ones"),
    ],
)
def test_a_limit_holds_only_for_its_runtimes(graph: Graph, outside: int, rule: str) -> None:
    assert rule not in broken(graph, outside)


# Statuses that vendor logs show (shared facts, "Status strings").
@pytest.mark.parametrize(
    ("graph", "runtime", "status"),
    [
        (ADD, 14, Status.MAPPED),
        (LSTM, 14, Status.MAPPED),
        (LSTM, 13, Status.NOT_SUPPORTED),
        (conv(), 10, Status.DATA_TYPE),
        (conv(Data((30, 8, 8, 4))), 14, Status.RANK),
        (conv(filter_=Data((4, 1, 1, 4))), 14, Status.NOT_CONSTANT),
        (one("DEQUANTIZE", IMAGE, out=Data((1, 8, 8, 4), DType.FLOAT32)), 14, Status.DATA_TYPE),
        (one("CUSTOM", IMAGE, out=Data((1, 8), DType.FLOAT32)), 14, Status.DATA_TYPE),
        (one("QUANTIZE", Data((1, 4), DType.FLOAT32), out=(1, 4)), 14, Status.UNSPECIFIED),
        (one("LEAKY_RELU", IMAGE), 14, Status.NOT_SUPPORTED),
        (one("GATHER", IMAGE, Data((1,), DType.INT32)), 14, Status.NOT_SUPPORTED),
        (one("TRANSPOSE", IMAGE, const([0, 2, 1, 3])), 13, Status.NOT_SUPPORTED),
        (strided([1, 2, 2, 1]), 14, Status.STRIDES),
        (one("FULLY_CONNECTED", Data((5, 4)), FC, out=(5, 10)), 14, Status.TWO_DIMENSIONAL),
    ],
)
def test_status_is_the_vendors(graph: Graph, runtime: int, status: Status) -> None:
    assert operator_support(graph, runtime).verdicts[0].status == status.value


def test_all_reasons_are_given_at_once() -> None:
    graph = one("CONV_2D", Data((2, 8, 8, 4), DType.FLOAT32), Data((4, 1, 1, 4)), BIAS, dilation_w_factor=2, version=99)
    names = set(broken(graph, 14))
    assert names == {
        "three_innermost_dimensions",
        "eight_bit_tensors",
        "known_version",
        "constant_parameters",
        "same_dilation",
    }


def test_a_finding_says_where_why_and_what_to_do() -> None:
    (finding,) = operator_support(strided([1, 2, 2, 1])).findings
    assert finding.where == "#0 STRIDED_SLICE 'out'"
    assert finding.why.startswith("Supported only when all strides are equal to 1. Here")
    assert finding.remedy


@pytest.mark.parametrize(
    ("graph", "runtime"),
    [
        (conv(), 12),
        (conv(Data((1, 8, 8, 4), DType.UINT8), out=Data((1, 8, 8, 4), DType.UINT8)), 10),
        (one("QUANTIZE", Data((1, 4), DType.UINT8), out=(1, 4)), 13),
        (LSTM, 14),
        (one("LEAKY_RELU", IMAGE), None),
    ],
)
def test_oldest_runtime_of_an_operator(graph: Graph, runtime: int | None) -> None:
    assert operator_support(graph).verdicts[0].runtime == runtime


def test_unknown_runtime_is_a_usage_error() -> None:
    unknown = RUNTIMES[-1] + 1
    with pytest.raises(UsageError, match=str(unknown)):
        operator_support(ADD, unknown)


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_no_rule_crashes_on_an_operator_without_inputs_options_or_sense(kind: str) -> None:
    nothing = Graph((), (Operator(kind, (), ()),), (), ())
    odd = Tensor("odd", (3,), DType.FLOAT32, buffer=Buffer(np.array([np.nan] * 3, np.float32).view(np.uint8)))
    scalar = Tensor("scalar", (), DType.INT32, buffer=Buffer(np.array([-9], np.int32).view(np.uint8)))
    text = Tensor("text", (2,), DType.STRING, buffer=Buffer(np.zeros(5, np.uint8)))
    for runtime in RUNTIMES:
        assert len(operator_support(nothing, runtime).verdicts) == 1
        for tensor in (odd, scalar, text):
            graph = Graph((tensor,), (Operator(kind, (0,) * 6, ()), Operator(kind, (-1, 0, -1), ())), (), ())
            assert len(operator_support(graph, runtime).verdicts) == 2


def test_support_table_names_every_operator_and_limit() -> None:
    table = support_table_markdown()
    assert table.startswith("| operator |")
    for row in TABLE:
        assert f"| {row.name} |" in table
        for limit in row.limits:
            assert limit.rule.text in table
    assert len({kind for row in TABLE for kind in row.kinds}) == sum(len(row.kinds) for row in TABLE) == len(ROWS)


def test_the_table_is_the_vendors() -> None:
    since = {row.name: row.since for row in TABLE if row.since <= 14}  # the vendor's last
    assert len(since) == 40
    assert {name for name, first in since.items() if first == 14} == {
        "LSTM",
        "ReduceMax",
        "ReduceMin",
        "Rsqrt",
        "SquaredDifference",
        "Transpose",
    }
    assert {name for name, first in since.items() if first == 13} == {
        "ExpandDims",
        "PReLU",
        "Pack",
        "Quantize",
        "Sum",
        "TransposeConv",
    }
