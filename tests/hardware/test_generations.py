"""The table of compiler generations, and the chip's sizes as the documents state them."""

from __future__ import annotations

import pytest

from atoll.errors import UsageError
from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.generations import DEFAULT, GENERATIONS, CachePool, SoftmaxTable, generation


def test_the_chip_has_8_mib_for_parameters():
    assert EDGE_TPU.tiles == 16
    assert EDGE_TPU.row_bytes * EDGE_TPU.rows_per_tile == 512 * 1024
    assert EDGE_TPU.parameter_bytes == 8 * 1024 * 1024


def test_16_is_the_default_and_unlike_its_elders():
    assert generation("16") is DEFAULT
    assert DEFAULT.cache_pool is CachePool.SHARED
    assert DEFAULT.softmax_table is SoftmaxTable.ALL
    assert not DEFAULT.keeps_zero_bias
    elders = [item for item in GENERATIONS if item is not DEFAULT]
    assert all(item.cache_pool is CachePool.MODEL_BY_MODEL and item.keeps_zero_bias for item in elders)


def test_default_runtimes_are_those_of_the_facts():
    assert {item.name: item.default_runtime for item in GENERATIONS} == {
        "1.0": 10, "2.0": 12, "2.1": 13, "14": 13, "15": 13, "16": 14,
    }  # fmt: skip


@pytest.mark.parametrize("item", GENERATIONS, ids=lambda item: item.name)
def test_a_generation_is_found_by_name_and_by_version(item):
    assert generation(item.name) is generation(item.version) is item


def test_an_unknown_generation_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"'3' is not known\nKnown are 1\.0, 2\.0"):
        generation("3")
