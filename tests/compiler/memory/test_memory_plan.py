"""The planner's invariants, its order on hand-made cases, and a co-compilation log of compiler 1.0."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.compiler.memory import (
    LayerKind,
    LayerParameters,
    MemoryPlan,
    ModelParameters,
    Placement,
    plan_memory,
    reserve_rows,
)
from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.generations import GENERATIONS, generation
from shared_data import DATA
from verified_plan import verify_plan

KIB = 1024


def layer(name: str, kind: LayerKind, *rows: int) -> LayerParameters:
    return LayerParameters(name, kind, 256 * sum(rows), rows)


def dense(name: str, *rows: int) -> LayerParameters:
    return layer(name, LayerKind.DENSE, *rows)


def spatial(name: str, *rows: int) -> LayerParameters:
    return layer(name, LayerKind.SPATIAL, *rows)


def model(name: str, *layers: LayerParameters, reserve: int = 0) -> ModelParameters:
    return ModelParameters(name, layers, reserve)


def cached(plan: MemoryPlan) -> list[list[str]]:
    return [[item.layer.name for item in each.layers if item.cached] for each in plan.models]


@st.composite
def layers(draw) -> LayerParameters:
    kind = draw(st.sampled_from(LayerKind))
    if kind in (LayerKind.TABLE, LayerKind.CONSTANT):
        return LayerParameters("t", kind, draw(st.integers(1, 9999)))
    rows = draw(st.lists(st.integers(1, 2100) | st.integers(1, 60), min_size=1, max_size=20))
    return LayerParameters("x", kind, draw(st.integers(1, 256 * sum(rows))), tuple(rows))


MODELS = st.lists(
    st.builds(ModelParameters, st.just("m"), st.lists(layers(), max_size=25).map(tuple), st.integers(0, 2048)),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=40)
@given(MODELS, st.sampled_from(GENERATIONS))
def test_every_plan_holds_its_invariants(models, version):
    plan = plan_memory(models, version)
    verify_plan(plan)
    assert plan.reserve == max(item.reserve for item in models)
    total = sum(item.nbytes for each in models for item in each.layers)
    assert sum(each.cached_bytes + each.off_chip for each in plan.models) == total
    for ours, given_model in zip(plan.models, models, strict=True):
        assert tuple(item.layer for item in ours.layers) == given_model.layers


@settings(deadline=None, max_examples=40)
@given(MODELS)
def test_no_skipped_layer_that_may_be_split_would_still_fit(models):
    plan = plan_memory(models)
    for each in plan.models:
        for item in each.layers:
            if not item.cached and item.layer.kind in (LayerKind.SPATIAL, LayerKind.DEPTHWISE):
                assert 256 * item.layer.rows > plan.remaining


def test_first_come_depthwise_and_dense_then_the_largest():
    small_chip = dataclasses.replace(EDGE_TPU, rows_per_tile=10)  # 160 rows
    plan = plan_memory(
        [
            model(
                "m",
                spatial("a", 30),
                spatial("b", 90),
                layer("depthwise", LayerKind.DEPTHWISE, 50),
                spatial("c", 15),
                dense("dense", *[1] * 20),
            )
        ],
        chip=small_chip,
    )
    # depthwise and dense leave 90 rows: b takes them all, nothing is left for the rest.
    assert cached(plan) == [["b", "depthwise", "dense"]]
    assert plan.remaining == 0


def test_what_does_not_fit_is_skipped_not_the_end():
    small_chip = dataclasses.replace(EDGE_TPU, rows_per_tile=10)
    plan = plan_memory([model("m", spatial("a", 100), spatial("b", 90), spatial("c", 60))], chip=small_chip)
    assert cached(plan) == [["a", "c"]]
    assert plan.off_chip == 90 * 256


def test_blocks_of_a_dense_layer_lie_on_consecutive_tiles():
    plan = plan_memory([model("m", dense("d", 7, 7, 7))])
    assert plan.models[0].layers[0].placements == (
        Placement(0, 0, 7, 0),
        Placement(1, 0, 7, 7),
        Placement(2, 0, 7, 14),
    )


def test_a_layer_too_big_for_a_tile_fills_tiles():
    """4,112 rows with 1,981 per tile: two full tiles and 150 rows of a third, as in the vendor's MobileNetV1."""
    plan = plan_memory([model("m", spatial("conv", *[257] * 16), reserve=67)])
    assert [part.rows for part in plan.models[0].layers[0].placements] == [1981, 1981, 150]


def test_a_dense_block_larger_than_a_tile_is_streamed():
    plan = plan_memory([model("m", dense("huge", 2049), dense("fits", 2048))])
    assert cached(plan) == [["fits"]]
    assert plan.remaining > 7 * 1024 * KIB


def test_tables_take_bytes_but_no_rows_and_constants_are_streamed():
    table = LayerParameters("table", LayerKind.TABLE, 832)
    constant = LayerParameters("constant", LayerKind.CONSTANT, 64)
    plan = plan_memory([model("m", table, constant)])
    assert (plan.models[0].cached_bytes, plan.off_chip, plan.used) == (832, 64, 0)


def test_one_pool_or_model_by_model():
    """Compiler 16 takes the larger layer of the second model, older ones serve the first model first."""
    models = [model("a", spatial("a", 15_000), spatial("a2", 2_000)), model("b", spatial("b", 17_000))]
    shared = plan_memory(models, generation("16"))
    assert cached(shared) == [["a"], ["b"]]
    assert [each.remaining for each in shared.models] == [shared.remaining] * 2
    in_order = plan_memory(models, generation("15"))
    assert cached(in_order) == [["a", "a2"], []]
    assert [each.available for each in in_order.models] == [32768 * 256, 15768 * 256]


def test_co_compiled_models_keep_back_the_largest_reserve():
    plan = plan_memory([model("a", reserve=67), model("b", reserve=118)])
    assert plan.remaining == 16 * (2048 - 118) * 256


def test_fifty_speech_models_fill_the_first_tile():
    """vendor_logs.json, compiler 1.0: 50 copies of a dense model, R = 10, each with 161-row and 33-row first blocks.

    The first ten cache everything, the next two the smaller layer, then none although 6.8 MiB are free: the first
    tile is full. (Rows follow from the printed sizes; see the next test.)
    """
    speech = [dense("fc1", 161, 161), dense("fc2", 33), spatial("rest", 71)]
    plan = plan_memory([model(str(n), *speech, reserve=10) for n in range(50)], generation("1.0"))
    used = [each.used / KIB for each in plan.models]
    assert used == [106.5] * 10 + [26.0] * 2 + [17.75] * 38
    assert plan.models[0].available == 16 * 2038 * 256


def test_the_verifier_sees_overlaps_and_stray_rows():
    plan = plan_memory([model("m", spatial("a", 10), spatial("b", 10))])
    first = plan.models[0].layers[0]

    def with_place(place: Placement) -> MemoryPlan:
        broken = dataclasses.replace(first, placements=(place,))
        layers = (broken, *plan.models[0].layers[1:])
        return dataclasses.replace(plan, models=(dataclasses.replace(plan.models[0], layers=layers),))

    verify_plan(plan)
    other = plan.models[0].layers[1].placements[0]
    with pytest.raises(AssertionError, match="overlap"):
        verify_plan(with_place(Placement(other.tile, other.row + 9, 10, 0)))
    with pytest.raises(AssertionError, match="leaves tile"):
        verify_plan(with_place(Placement(0, 2039, 10, 0)))
    with pytest.raises(AssertionError, match="does not exist"):
        verify_plan(with_place(Placement(16, 0, 10, 0)))
    with pytest.raises(AssertionError, match="9 rows placed"):
        verify_plan(with_place(Placement(0, 0, 9, 0)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 3000), min_size=0, max_size=5).map(tuple), max_size=4))
def test_a_reserve_is_a_number_of_rows_and_grows_with_the_input(shapes):
    for version in GENERATIONS:
        rows = reserve_rows(shapes, version)
        assert 0 <= rows <= EDGE_TPU.rows_per_tile
        assert rows <= reserve_rows([*shapes, (1, 4000, 4000, 4)], version)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the vendor's logs in ../shared/data")
def test_the_speech_models_are_those_of_the_log():
    logs = json.loads((DATA / "vendor_logs.json").read_text())
    printed = next(entry for entry in logs if len(entry["models"]) == 50)["models"]
    assert [each["on_chip_used"]["text"] for each in printed] == (
        ["106.50KiB"] * 10 + ["26.00KiB"] * 2 + ["17.75KiB"] * 38
    )
    assert printed[0]["on_chip_available"]["text"] == "7.96MiB"
