"""Our tables of options are those of LiteRT's generated code: the same names, numbers, fields, defaults and bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import flatbuffers
import numpy as np
import pytest

from atoll.model.flatbuffer import read_root, write_root
from atoll.model.tflite import model_bytes, schema, tables
from builders import chain

ENUMS = ("BuiltinOperator", "BuiltinOptions", "BuiltinOptions2")
TABLES = schema._words(tables.TABLES)


def _value(old: Any, word: str, random: np.random.Generator) -> Any:
    if ":*" in word:
        return random.integers(0, 100, 5).astype(word.partition("*")[2])
    if isinstance(old, bool):
        return not old
    return 0.5 * int(random.integers(9)) if isinstance(old, float) else int(random.integers(-9, 99)) % 128


def _packed(made: Any) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(made.Pack(builder))
    return bytes(builder.Output())


@pytest.mark.parametrize("enum", ENUMS)
def test_members_have_their_numbers(enum: str) -> None:
    members = {name: code for name, code in vars(getattr(schema.generated(), enum)).items() if name[0] != "_"}
    assert {schema.member(enum, code): code for code in members.values()} == members
    assert {name: schema.number(enum, name) for name in members} == members
    assert schema.member(enum, 10_000) is None and schema.member(enum, -1) is None
    assert schema.number(enum, "Strange") is None


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("changed", [0.0, 0.5, 1.0])
def test_a_table_is_read_and_written_as_the_generated_code_does(name: str, changed: float) -> None:
    random = np.random.default_rng(len(name))
    made = getattr(schema.generated(), f"{name}T")()
    words = [word for word in TABLES[name] if word != "-"]
    ours, litert = [word.partition(":")[0] for word in words], [schema.snake(field) for field in vars(made)]
    if ours != litert:  # fields are only ever added
        shorter = min(len(ours), len(litert))
        assert ours[:shorter] == litert[:shorter]
        pytest.skip(f"the installed LiteRT has other fields of {name} than the one that the tables were made from")
    for field, word in zip(list(vars(made)), words):
        if random.random() < changed:
            setattr(made, field, _value(getattr(made, field), word, random))
    packed = _packed(made)
    read_name, fields = read_root(schema.OptionsTable(name), memoryview(packed), None)
    expected = {schema.snake(field): schema._frozen(value) for field, value in vars(made).items()}
    assert read_name == name and dict(fields) == expected
    assert {field: type(value) for field, value in fields.items()} == {n: type(v) for n, v in expected.items()}
    assert bytes(write_root(schema.OptionsTable(name), (name, fields), None, 64)) == packed


def test_what_our_tables_do_not_have_is_left_to_the_generated_code(monkeypatch: pytest.MonkeyPatch) -> None:
    made = schema.generated().Conv2DOptionsT()
    made.strideW, made.dilationHFactor, made.quantizedBiasType = 2, 3, 4
    packed = memoryview(_packed(made))
    known = read_root(schema.OptionsTable("Conv2DOptions"), packed, None)
    older = schema._KnownOptions(TABLES["Conv2DOptions"][:-1])
    for instead in (None, older):
        monkeypatch.setattr(schema, "_known_options", lambda _name, instead=instead: instead)
        assert read_root(schema.OptionsTable("Conv2DOptions"), packed, None) == known
        assert bytes(write_root(schema.OptionsTable("Conv2DOptions"), known, None, 64)) == packed
        with pytest.raises(ValueError, match="Conv2DOptions has no field 'strange'"):
            write_root(schema.OptionsTable("Conv2DOptions"), ("Conv2DOptions", {"strange": 1}), None, 64)


def test_options_of_a_table_that_nobody_knows_are_not_dropped() -> None:
    model = chain(1)
    graph = model.main
    odd = replace(graph.operators[0], options_type="StrangeOptions")
    with pytest.raises(KeyError, match="StrangeOptions"):
        model_bytes(replace(model, graphs=(replace(graph, operators=(odd,)),)))
