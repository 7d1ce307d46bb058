"""The order search finds the true optimum: brute force over all orders agrees."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.compiler.memory import LayerKind, LayerParameters, ModelParameters, plan_memory
from atoll.compiler.memory.order import EXHAUSTIVE, best_order
from atoll.hardware.generations import GENERATIONS, generation

KINDS = (LayerKind.SPATIAL, LayerKind.SPATIAL, LayerKind.DEPTHWISE, LayerKind.DENSE, LayerKind.CONSTANT)


def _layer(kind: LayerKind, rows: int) -> LayerParameters:
    blocks = () if kind is LayerKind.CONSTANT else (rows,)
    return LayerParameters("layer", kind, 256 * rows, blocks)


# Sizes repeat, so that ties between models occur; a few layers fill the chip's 32,768 rows.
_layers = st.builds(_layer, st.sampled_from(KINDS), st.sampled_from([1, 500, 1500, 1900]))
_spatial = st.builds(_layer, st.just(LayerKind.SPATIAL), st.sampled_from([4000, 9000, 14000, 21000]))
_models = st.lists(
    st.builds(ModelParameters, st.just("m"), st.lists(_layers | _spatial, max_size=5).map(tuple), st.integers(0, 300)),
    min_size=1,
    max_size=6,
)


def _cost(models: list[ModelParameters], rates: list[float], order: tuple[int, ...], name: str) -> float:
    plans = plan_memory([models[i] for i in order], generation(name)).models
    return sum(rates[i] * plan.off_chip for i, plan in zip(order, plans))


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("name", ["16", "15"])
def test_brute_force_finds_nothing_cheaper(name: str, data: st.DataObject) -> None:
    models = data.draw(_models)
    rates = [float(data.draw(st.integers(0, 30))) for _ in models]
    search = best_order(models, rates, generation(name))
    cheapest = min(_cost(models, rates, order, name) for order in itertools.permutations(range(len(models))))
    assert search.exhaustive
    assert search.best.cost == pytest.approx(cheapest)
    assert _cost(models, rates, search.best.models, name) == pytest.approx(search.best.cost)
    assert [order.cost for order in search.orders] == sorted(order.cost for order in search.orders)


def test_all_orders_of_a_few_models_are_shown() -> None:
    models = [ModelParameters(f"{i}", (_layer(LayerKind.SPATIAL, 9000 + i),)) for i in range(4)]
    for rules in GENERATIONS:
        search = best_order(models, [1.0] * 4, rules)
        assert {order.models for order in search.orders} == set(itertools.permutations(range(4)))


def test_the_model_that_runs_most_comes_first_when_compilers_serve_in_order() -> None:
    models = [ModelParameters(f"{i}", (_layer(LayerKind.SPATIAL, 20000),)) for i in range(3)]
    search = best_order(models, [1.0, 5.0, 2.0], generation("15"))
    assert search.best.models[0] == 1
    assert search.best.streamed == (256 * 20000, 0, 256 * 20000)


def test_more_models_than_can_be_tried_get_a_good_order_that_says_so() -> None:
    count = EXHAUSTIVE + 2
    models = [ModelParameters(f"{i}", (_layer(LayerKind.SPATIAL, 20000),)) for i in range(count)]
    search = best_order(models, [float(i) for i in range(count)], generation("15"))
    assert not search.exhaustive
    assert search.best.models[0] == count - 1
