"""Coroutines get the same results in the same order, block nobody, and may be cancelled at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from atoll.errors import InputShapeError
from atoll.pipeline import Pipeline, StageError
from pipeline_fakes import PATIENCE_S, POISON, chain, expected, frame


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


def test_amap_is_ordered_and_leaves_the_pipeline_open() -> None:
    async def main() -> None:
        async with Pipeline(chain(3), input_queue=1, stage_queue=1, output_queue=1) as pipeline:
            for start in (0, 50):
                results = [int(r["t3"][0]) async for r in pipeline.amap(frame(start + i) for i in range(50))]
                assert results == [expected(start + i, 3) for i in range(50)]
        assert pipeline.join(PATIENCE_S)

    run(main())


def test_a_source_of_its_own_pace_and_the_iteration_over_results() -> None:
    async def source() -> AsyncIterator[np.ndarray]:
        for i in range(20):
            await asyncio.sleep(0.0005)
            yield frame(i)

    async def main() -> None:
        async with Pipeline(chain(2)) as pipeline:
            assert [int(r["t2"][0]) async for r in pipeline.amap(source())] == [expected(i, 2) for i in range(20)]

            async def feed() -> None:
                for i in range(30):
                    await pipeline.apush(frame(i))
                pipeline.close()

            feeder = asyncio.ensure_future(feed())
            assert [int(r["t2"][0]) async for r in pipeline] == [expected(i, 2) for i in range(30)]
            await feeder

    run(main())


def test_a_cancelled_call_takes_nothing_and_the_loop_goes_on() -> None:
    async def main() -> None:
        pipeline = Pipeline(chain(1))
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(pipeline.apop(), 0.01)
        for i in range(pipeline.capacity):
            await pipeline.apush(frame(i))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pipeline.apush(frame(99)), 0.05)
        count = pipeline.capacity
        pipeline.close()
        results = [int(r["t1"][0]) async for r in pipeline]
        assert results == [expected(i, 1) for i in range(count)]
        assert not pipeline._engine.egress.item_listeners
        assert not pipeline._engine.ingress.room_listeners

    run(main())


def test_what_is_wrong_raises_in_its_place() -> None:
    async def collect(pipeline: Pipeline, inputs: list[np.ndarray], into: list[int]) -> None:
        async for result in pipeline.amap(inputs):
            into.append(int(result["t2"][0]))

    async def main() -> None:
        found: list[int] = []
        async with Pipeline(chain(2)) as pipeline:
            with pytest.raises(InputShapeError):
                await collect(pipeline, [frame(1), frame(2), np.zeros(5, np.int32), frame(3)], found)
            assert found == [expected(1, 2), expected(2, 2)]
            await collect(pipeline, [frame(4)], found)
            assert found[-1] == expected(4, 2)
        found.clear()
        with pytest.raises(StageError, match="item 1"):
            async with Pipeline(chain(2)) as pipeline:
                await collect(pipeline, [frame(1), frame(POISON), frame(2)], found)
        assert found == [expected(1, 2)]

    run(main())


def test_leaving_the_loop_early_drops_what_was_in_flight() -> None:
    async def main() -> None:
        async with Pipeline(chain(2)) as pipeline:
            results = pipeline.amap(frame(i) for i in range(1000))
            async for result in results:
                assert int(result["t2"][0]) == expected(0, 2)
                break
            await results.aclose()  # type: ignore[attr-defined]
            assert [int(r["t2"][0]) async for r in pipeline.amap([frame(7)])] == [expected(7, 2)]

    run(main())
