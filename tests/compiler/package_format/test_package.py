"""Packages: write → read is the identity, sizes follow the rules, damage is refused."""

from __future__ import annotations

import dataclasses

import flatbuffers
import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.compiler.package_format import (
    Address,
    Base,
    BoundaryLayer,
    Direction,
    DmaHint,
    DmaHints,
    Executable,
    ExecutableKind,
    Fence,
    FieldOffset,
    Instructions,
    InstructionTransfer,
    Interrupt,
    LayerType,
    Numerics,
    OutputInfo,
    OutputLayout,
    OutputSlice,
    Package,
    Transfer,
    Word,
    input_size,
    output_size,
    read_package,
    write_package,
)
from atoll.compiler.package_format import package_schema as schema
from atoll.compiler.package_format.flexmap import write_map
from atoll.errors import CorruptPackageError
from atoll.model.flatbuffer import NumberVector, Strings, TableSchema, write_root, write_table

INT = st.integers(-(2**31), 2**31 - 1)
NAME = st.text(max_size=12)
BYTES = st.binary(max_size=5000)
FLOAT = st.floats(width=32, allow_nan=False)
INTS = st.lists(INT, max_size=4).map(tuple)
RANGES = st.none() | st.lists(st.tuples(INT, INT), max_size=4).map(tuple)

ADDRESS = st.none() | st.builds(Address, st.sampled_from(Base), NAME, INT, st.sampled_from(Word))
HINT = st.one_of(
    st.builds(Transfer, ADDRESS, INT, INT),
    st.builds(InstructionTransfer, INT),
    st.builds(Interrupt, st.integers(0, 3)),
    st.just(Fence()),
)
HINTS = st.builds(
    DmaHints,
    st.lists(st.builds(DmaHint, st.sampled_from(Direction), HINT), max_size=5).map(tuple),
    st.booleans(),
)
SLICES = st.none() | st.lists(st.builds(OutputSlice, RANGES, INTS), max_size=2).map(tuple)


@st.composite
def output_infos(draw):
    slices = draw(SLICES)
    layout = draw(st.none() | st.builds(OutputLayout, INTS, INTS, INTS, INTS, INTS, INTS))
    offsets = () if slices is None else draw(INTS)
    return OutputInfo(layout, draw(st.sampled_from(LayerType)), slices, offsets)


@st.composite
def layers(draw, output):
    y, x, z = (draw(st.integers(1, 20)) for _ in range(3))
    data_type = draw(st.sampled_from(LayerType))
    size = (output_size if output else input_size)(y, x, z, data_type.itemsize)
    return BoundaryLayer(
        draw(NAME), size, y, x, z, data_type,
        draw(st.none() | st.builds(Numerics, INT, FLOAT)),
        draw(output_infos()) if output else None,
        draw(st.integers(1, 9)), draw(st.booleans()), draw(RANGES),
    )  # fmt: skip


CHUNK = st.builds(Instructions, BYTES, st.lists(st.builds(FieldOffset, INT, ADDRESS), max_size=3).map(tuple))
EXECUTABLE = st.builds(
    Executable,
    kind=st.sampled_from(ExecutableKind),
    name=NAME,
    chip=NAME,
    token=st.integers(0, 2**64 - 1),
    batch=INT,
    parameters=BYTES,
    instructions=st.lists(CHUNK, max_size=2).map(tuple),
    dma_hints=st.none() | HINTS,
    input_layers=st.lists(layers(output=False), max_size=2).map(tuple),
    output_layers=st.lists(layers(output=True), max_size=2).map(tuple),
    scratch_bytes=INT,
    narrow_bytes_per_tile=INT,
    estimated_cycles=st.integers(-(2**63), 2**63 - 1),
    estimated_cycles_32bit=INT,
    use_tpu_dram=st.booleans(),
    serialized_model=BYTES,
    version=INT,
)
PACKAGE = st.builds(
    Package,
    min_runtime_version=INT,
    executables=st.lists(EXECUTABLE, max_size=3).map(tuple),
    compiler_version=NAME,
    model_identifier=NAME,
    signature=BYTES,
    keypair_version=INT,
    virtual_chip_id=INT,
    multi_chip=st.lists(BYTES, max_size=2).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(PACKAGE)
def test_write_then_read_is_the_identity(package):
    assert read_package(write_package(package)) == package


def small_package() -> Package:
    layer = BoundaryLayer("x", input_size(2, 2, 3), 2, 2, 3, numerics=Numerics(128, 0.5))
    result = BoundaryLayer("y", output_size(1, 1, 10), 1, 1, 10, output=OutputInfo(), shape=((0, 0), (0, 9)))
    run = Executable(
        ExecutableKind.EXECUTION_ONLY,
        token=2**63 + 1,
        instructions=(Instructions(b"\1" * 64, (FieldOffset(8, Address(Base.INPUT, "x")),)),),
        input_layers=(layer,),
        output_layers=(result,),
    )
    load = Executable(ExecutableKind.PARAMETER_CACHING, "Unknown", token=2**63 + 1, parameters=b"\2" * 9000)
    return Package(14, (run, load), "atoll")


def test_the_options_are_the_map_that_compiler_16_writes():
    options = flexbuffers.GetRoot(write_package(small_package())).AsMap
    assert [key.AsKey for key in options.Keys] == ["1", "4", "5", "6", "7"]
    assert (options["1"].AsInt, options["5"].AsInt) == (0, -1)
    assert [item.AsInt for item in options["6"].AsVector] == [18]
    assert len(options["7"].AsVector) == 0
    assert options["4"].IsString
    assert bytes(flexbuffers.String(options["4"]._Indirect(), 2).Bytes[4:8]) == b"DWN1"


def test_parameters_lie_on_a_page_for_the_device_to_map():
    """Counted from the start of the package, which the runtime loads to a page of its own."""
    options = write_package(small_package())
    start = options.index(b"DWN1") - 4
    assert (options.index(b"\2" * 9000) - start) % 4096 == 0


def test_parameters_are_views_not_copies():
    options = write_package(small_package())
    load = read_package(options).executable(ExecutableKind.PARAMETER_CACHING)
    assert load is not None
    assert isinstance(load.parameters, memoryview)
    assert load.parameters.obj.base is not None or load.parameters.obj is options


def test_our_chip_name_is_not_the_one_that_hardware_takes():
    assert {item.chip for item in small_package().executables} == {"atoll-virtual"}


@pytest.mark.parametrize(
    ("size", "shape", "nbytes"),
    [(output_size, (1, 1, 1001), 1008), (output_size, (8, 8, 1), 256), (input_size, (128, 128, 3), 49152)],
)
def test_layer_sizes_of_real_files(size, shape, nbytes):
    assert size(*shape) == nbytes


def test_every_truncation_is_refused():
    options = write_package(small_package())
    for end in [*range(0, len(options) - 1, 97), len(options) - 1]:
        with pytest.raises(CorruptPackageError):
            read_package(options[:end])


@given(st.data())
@settings(deadline=None)
def test_damage_is_refused_or_read_never_a_crash(data):
    options = bytearray(write_package(small_package()))
    interesting = [i for i, byte in enumerate(options) if byte not in (2, 0)]
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.sampled_from(interesting) | st.integers(0, len(options) - 1))
        options[place] = data.draw(st.integers(0, 255))
    try:
        read_package(bytes(options))
    except CorruptPackageError as error:
        assert "the Edge TPU operator" in error.message


def test_an_executable_of_unknown_kind_names_the_executable():
    package = small_package()
    odd = dataclasses.replace(package.executables[1], kind=7)
    with pytest.raises(CorruptPackageError, match=r"executable 1 is damaged: executable type 7"):
        read_package(write_package(dataclasses.replace(package, executables=(package.executables[0], odd))))


def test_a_layer_that_claims_less_than_its_elements_is_refused():
    package = small_package()
    run = package.executables[0]
    lying = run.input_layers[0]._replace(size_bytes=11)
    broken = dataclasses.replace(run, input_layers=(lying,))
    with pytest.raises(CorruptPackageError, match="layer 'x' of 2×2×3 needs 16 bytes and claims 11"):
        read_package(write_package(dataclasses.replace(package, executables=(broken,))), "m.tflite")


def test_a_table_referred_to_over_and_over_cannot_fill_memory():
    """100,000 layers that are all the same 60 bytes would take 100 MB; the reader stops at one per 16 bytes."""
    builder = flatbuffers.Builder(1 << 20)
    layer = write_table(builder, schema.LAYER, {"name": "x", "size_bytes": 8, "y": 1, "x": 1, "z": 1})
    builder.StartVector(4, 100_000, 4)
    for _ in range(100_000):
        builder.PrependUOffsetTRelative(layer)
    layers = builder.EndVector()
    builder.StartObject(9)
    builder.PrependUOffsetTRelativeSlot(8, layers, 0)
    builder.Finish(builder.EndObject())
    multi = write_root(TableSchema(executables=(0, Strings())), {"executables": [builder.Output()]}, None, 1 << 20)
    package = TableSchema(multi_executable=(1, NumberVector("u1")))
    content = write_root(package, {"multi_executable": np.frombuffer(multi, np.uint8)}, schema.IDENTIFIER, 1 << 20)
    with pytest.raises(CorruptPackageError, match="executable 0 is damaged: tables refer to the same bytes"):
        read_package(write_map({"4": content}))


def test_a_map_without_a_package_is_refused():
    with pytest.raises(CorruptPackageError, match="entry '4'"):
        read_package(bytes(flexbuffers.Dumps({"1": 0})))
