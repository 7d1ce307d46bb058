"""Reading and writing models: the identity on every model at hand, on every odd corner of the schema."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError, CorruptModelError, EmptyFileError, NotTfliteError, UnsupportedModelError
from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Signature, Tensor
from atoll.model.dump import dump
from atoll.model.tflite import model_bytes, parse_model, read_model, write_model
from builders import GraphBuilder, branched, chain


def test_read_write_read_is_the_identity(real_model: Path) -> None:
    model = read_model(real_model)
    content = model_bytes(model)
    again = parse_model(content)
    assert dump(again) == dump(model)
    assert bytes(model_bytes(again)) == bytes(content), "the same model must give the same bytes"


def test_our_file_computes_what_the_original_computes(original_model: Path) -> None:
    rewritten = bytes(model_bytes(read_model(original_model)))
    results = []
    for arguments in ({"model_path": str(original_model)}, {"model_content": rewritten}):
        interpreter = Interpreter(**arguments)
        interpreter.allocate_tensors()
        rng = np.random.default_rng(1)
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], rng.integers(0, 128, detail["shape"]).astype(detail["dtype"]))
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]).tobytes() for d in interpreter.get_output_details()])
    assert results[0] == results[1]


def everything() -> Model:
    """A model with each feature of the schema that the reader knows."""
    build = GraphBuilder()
    source = build.tensor("input", shape_signature=(-1, 8, 8, 4))
    shared = Buffer(np.arange(16, dtype=np.uint8))
    same = [build.tensor(f"shared_{i}", shape=(16,), dtype=DType.UINT8, buffer=shared) for i in range(2)]
    state = build.tensor("state", is_variable=True)
    out = build.conv(source, "out")
    build.operators.append(
        Operator("CUSTOM", (out, -1, state, *same), (build.tensor("end", quantization=None),),
                 custom_code="mine", custom_options=b"options", intermediates=(source,))
    )  # fmt: skip
    ranged = Quantization(
        np.empty(0, np.float32), np.empty(0, np.int64), 0, np.array([-1], np.float32), np.array([1], np.float32)
    )
    build.tensor("ranged", dtype=DType.FLOAT32, quantization=ranged)
    build.tensor("text", shape=(2,), dtype=DType.STRING, quantization=None, buffer=Buffer(np.arange(9, dtype=np.uint8)))
    build.tensor("half a byte", shape=(3,), dtype=DType.INT4, buffer=Buffer(np.array([1, 2], np.uint8)))
    graph = build.graph((source,), (len(build.tensors) - 4,))
    second = chain(2).main
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("labels.txt", "cat\ndog\n")
    return Model(
        (graph, second),
        description="ünïcode",
        signatures=(Signature("a", {"x": source}, {"y": graph.outputs[0]}), Signature("b", {"x": 0}, {"y": 1}, 1)),
        metadata=(("min_runtime_version", Buffer(np.arange(16, dtype=np.uint8))), ("min_runtime_version", shared)),
        unnamed_metadata=(shared,),
        appendix=Buffer(np.frombuffer(archive.getvalue(), np.uint8)),
    )


def test_every_feature_survives(tmp_path: Path) -> None:
    model = everything()
    write_model(model, tmp_path / "m.tflite")
    again = read_model(tmp_path / "m.tflite")
    assert dump(again) == dump(model)
    assert again.main.tensors[1].buffer is again.main.tensors[2].buffer, "shared constants stay shared"
    with zipfile.ZipFile(tmp_path / "m.tflite") as files:
        assert files.read("labels.txt") == b"cat\ndog\n"


def test_shared_buffers_are_written_once() -> None:
    model = chain(2)
    weights = replace(model.main.tensors[1], buffer=Buffer(np.zeros(16, np.uint8)))
    tensors = list(model.main.tensors)
    once = [replace(weights, name=f"w{i}", shape=(16,), quantization=None) for i in range(100)]
    size = [
        len(model_bytes(replace(model, graphs=(replace(model.main, tensors=(*tensors, *extra)),))))
        for extra in (once, [replace(t, buffer=Buffer(np.zeros(16, np.uint8))) for t in once])
    ]
    assert size[1] - size[0] >= 99 * 16


def test_constants_are_views_into_the_file(tmp_path: Path) -> None:
    write_model(chain(1), tmp_path / "m.tflite")
    buffer = read_model(tmp_path / "m.tflite").main.tensors[1].buffer
    assert buffer is not None and not buffer.data.flags.owndata and not buffer.data.flags.writeable


def packed_with_the_generated_code(model: Model, **changes: object) -> bytes:
    """A file made by LiteRT's own schema code, with fields that our writer never writes."""
    packed = schema.ModelT.InitFromPackedBuf(bytes(model_bytes(model)))
    tail = changes.pop("tail", b"")
    for index, (offset, size) in changes.pop("buffers", {}).items():  # type: ignore[attr-defined]
        packed.buffers[index].data, packed.buffers[index].offset, packed.buffers[index].size = None, offset, size
    for name, value in changes.items():
        setattr(packed.subgraphs[0].operators[0], name, value)
    builder = flatbuffers.Builder(1024)
    builder.Finish(packed.Pack(builder), b"TFL3")
    return bytes(builder.Output()) + tail  # type: ignore[operator]


def test_buffers_outside_the_flatbuffer_are_resolved() -> None:
    model = chain(1)
    size = len(packed_with_the_generated_code(model, buffers={1: (1 << 20, 16), 2: (1 << 20, 16)}))
    start = (size + 15) // 16 * 16
    weights, bias = bytes(range(16)), bytes(range(16, 32))
    tail = b"\0" * (start - size) + weights + bias
    content = packed_with_the_generated_code(model, buffers={1: (start, 16), 2: (start + 16, 16)}, tail=tail)
    read = parse_model(content)
    assert bytes(read.main.tensors[1].buffer.data) == weights  # type: ignore[union-attr]
    assert bytes(parse_model(model_bytes(read)).main.tensors[2].buffer.data) == bias  # type: ignore[union-attr]


def test_large_custom_options_are_resolved() -> None:
    model = Model((replace(chain(1).main, operators=(Operator("CUSTOM", (0,), (3,), custom_code="mine"),)),))
    fields = {"largeCustomOptionsOffset": 1 << 20, "largeCustomOptionsSize": 5}
    offset = len(packed_with_the_generated_code(model, **fields))
    content = packed_with_the_generated_code(model, **fields | {"largeCustomOptionsOffset": offset}, tail=b"large")
    assert bytes(parse_model(content).main.operators[0].custom_options) == b"large"
    with pytest.raises(CorruptModelError, match="custom options of mine"):
        parse_model(content[:-1])


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyFileError),
        (b"\0\0", NotTfliteError),
        (b"PK\3\4" * 9, NotTfliteError),
        (b"\x1c\0\0\0TFL3", CorruptModelError),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, error: type[AtollError]) -> None:
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(error, match=r"m\.tflite"):
        read_model(tmp_path / "m.tflite")


def test_a_model_over_two_gibibytes_is_refused() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**31,), (0,))  # takes no memory
    tensor = Tensor("huge", (2**31,), DType.UINT8, buffer=Buffer(huge))
    with pytest.raises(UnsupportedModelError, match="2 GiB"):
        model_bytes(Model((Graph((tensor,), (), (), (0,)),)))


ORIGINALS = [bytes(model_bytes(model)) for model in (chain(2), branched(), everything())]


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_are_refused_or_read_whole(data: st.DataObject) -> None:
    content = bytearray(ORIGINALS[data.draw(st.integers(0, len(ORIGINALS) - 1))])
    for _ in range(data.draw(st.integers(1, 4))):
        word = data.draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1))
        struct.pack_into("<I", content, data.draw(st.integers(0, len(content) - 4)), word)
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    try:
        model = parse_model(bytes(content))
    except AtollError:
        return
    assert dump(parse_model(model_bytes(model))) == dump(model)
