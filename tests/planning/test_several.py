"""Every model is served in exactly one place, no more devices are used than there are, and nothing is better."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import UsageError
from atoll.planning.several import ModelNeeds, share_devices


def partitions(numbers):
    if not numbers:
        yield []
        return
    for mask in range(2 ** (len(numbers) - 1)):
        group = (numbers[0], *(n for i, n in enumerate(numbers[1:]) if mask >> i & 1))
        for rest in partitions([n for n in numbers if n not in group]):
            yield [group, *rest]


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 4), devices=st.integers(1, 5))
def test_no_assignment_serves_the_worst_served_model_better(seed, count, devices):
    rng = random.Random(seed)
    models = []
    for n in range(count):
        rate = rng.uniform(10, 100)
        rates = list(itertools.accumulate([rate, *(rng.choice([0.0, rng.uniform(0, rate)]) for _ in range(4))]))
        models.append(ModelNeeds(f"m{n}", rng.uniform(5, 100), tuple(rates)))

    def together(group):
        slower = random.Random(f"{seed} {group}")
        return [slower.uniform(1.0, 3.0) / models[n].alone[0] for n in group]

    def served(group, number):
        if len(group) == 1:
            return max(models[group[0]].alone[:number]) / models[group[0]].wanted
        return number / sum(models[n].wanted * s for n, s in zip(group, together(group)))

    best = max(
        min(served(group, number) for group, number in zip(groups, numbers))
        for groups in partitions(list(range(count)))
        for numbers in itertools.product(range(1, devices + 1), repeat=len(groups))
        if sum(numbers) <= devices
    )
    found = share_devices(models, devices, together)
    assert found.satisfaction == pytest.approx(best)
    assert sorted(n for group in found.groups for n in group.models) == list(range(count))
    assert found.devices <= devices
    rates = {n: rate for group in found.groups for n, rate in zip(group.models, group.rates)}
    assert found.satisfaction == pytest.approx(min(rates[n] / model.wanted for n, model in enumerate(models)))


def test_small_models_share_and_the_large_one_gets_its_own():
    models = [
        ModelNeeds("large", 30.0, (20.0, 45.0)),
        ModelNeeds("small", 30.0, (200.0, 400.0)),
        ModelNeeds("tiny", 30.0, (300.0, 600.0)),
    ]
    found = share_devices(models, 3, lambda group: [1.2 / models[n].alone[0] for n in group])
    assert {group.models: group.devices for group in found.groups} == {(0,): 2, (1, 2): 1}


@pytest.mark.parametrize(
    ("models", "devices"),
    [
        ([], 2),
        ([ModelNeeds("a", 1.0, (1.0,))], 0),
        ([ModelNeeds("a", 0.0, (1.0,))], 1),
        ([ModelNeeds("a", 1.0, ())], 1),
    ],
)
def test_nothing_to_plan(models, devices):
    with pytest.raises(UsageError):
        share_devices(models, devices, lambda group: [1.0] * len(group))


def test_too_many_models():
    with pytest.raises(UsageError, match="9 models are too many"):
        share_devices([ModelNeeds("a", 1.0, (1.0,))] * 9, 2, lambda group: [1.0] * len(group))
