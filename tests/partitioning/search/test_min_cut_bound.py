"""The bound around each operator is the cheapest set there is around it, the costliest of all; cut short it is less."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.partitioning.search import min_cut_bound
from atoll.partitioning.search.ideals import blocks_of
from atoll.partitioning.search.min_cut_bound import slowest_piece_at_least
from branching import cells, graph_of

PRICES = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])


@given(data=st.data(), count=st.integers(1, 7))
def test_it_is_the_largest_of_the_least_sets_around_each_operator(data: st.DataObject, count: int) -> None:
    sources = [data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3)) if n else [] for n in range(count)]
    prices = st.lists(PRICES, min_size=count, max_size=count).map(np.array)
    weights, receive, send = data.draw(prices), data.draw(prices), data.draw(prices)
    floor = data.draw(PRICES)
    readers = [{n for n, reads in enumerate(sources) if s in reads} for s in range(count)]

    def takes(piece: set[int]) -> float:
        entering = {s for n in piece for s in sources[n]} - piece
        leaving = [n for n in piece if readers[n] - piece or not readers[n]]
        return float(weights[list(piece)].sum() + receive[list(entering)].sum() + send[leaving].sum())

    pieces = [set(p) for k in range(1, count + 1) for p in itertools.combinations(range(count), k)]
    least = [min(takes(piece) for piece in pieces if n in piece) for n in range(count)]
    found = slowest_piece_at_least(blocks_of(graph_of(sources)), weights, receive, send, floor)
    assert found == pytest.approx(max(floor, *least))


def test_a_limit_on_the_effort_lowers_it_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = cells(4)
    rng = np.random.default_rng(0)
    weights, receive, send = rng.lognormal(0, 1, (3, len(sources)))
    blocks = blocks_of(graph_of(sources))
    whole = slowest_piece_at_least(blocks, weights, receive, send)
    values = []
    for steps in (0, 10, 100, 1000, 10_000):
        monkeypatch.setattr(min_cut_bound, "MOST_STEPS", steps)
        values.append(slowest_piece_at_least(blocks, weights, receive, send))
    assert values[0] == 0 < values[-1]
    assert all(value <= whole for value in values)
