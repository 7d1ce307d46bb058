"""What one can see of a running pipeline is right: bottleneck, trace, metrics; and the switch interval comes back."""

from __future__ import annotations

import itertools
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from atoll.errors import OutputError, PipelineError
from atoll.pipeline import Pipeline, StageStats, Trace
from atoll.pipeline import switch_interval as interval
from atoll.pipeline.monitoring.bottleneck import bottleneck
from atoll.pipeline.monitoring.metrics import MetricsServer, render
from pipeline_fakes import chain, frame, step


def stage(
    segment: int, mean: float, replica: int = 0, count: int = 100, busy: float = 1.0, **more: float
) -> StageStats:
    waits = {"wait_input_s": 0.0, "wait_output_s": 0.0} | more
    return StageStats(
        segment=segment, count=count, total_s=mean * count, mean_s=mean, p50_s=mean, p95_s=mean, p99_s=mean,
        busy_share=busy, queued=0, replica=replica, **waits,
    )  # fmt: skip


def test_the_bottleneck_is_the_segment_with_the_longest_period() -> None:
    found = bottleneck([stage(0, 0.001), stage(1, 0.004), stage(2, 0.001)])
    assert found is not None
    assert (found.segment, found.period_s) == (1, pytest.approx(0.004))
    assert "segment 1" in found.message
    assert "up to 2.0 times" in found.help  # another device: 2 ms per item, still the slowest
    assert "equally slow" in found.help


def test_replicas_count_together() -> None:
    found = bottleneck([stage(0, 0.004, 0), stage(0, 0.004, 1), stage(1, 0.003)])
    assert found is not None
    assert found.segment == 1
    assert found.period_s == pytest.approx(0.003)


def test_even_segments_need_more_of_them() -> None:
    found = bottleneck([stage(0, 0.001), stage(1, 0.00105)])
    assert found is not None
    assert "about equally slow" in found.help


@pytest.mark.parametrize(("waits", "word"), [("wait_input_s", "inputs"), ("wait_output_s", "results")])
def test_a_bottleneck_outside(waits: str, word: str) -> None:
    found = bottleneck([stage(0, 0.001, busy=0.2, **{waits: 1.0})])
    assert found is not None
    assert found.segment is None
    assert word in found.message


def test_no_bottleneck_before_the_first_item() -> None:
    assert bottleneck([]) is None
    pipeline = Pipeline(chain(2))
    assert pipeline.bottleneck() is None
    list(pipeline.map([frame(1)]))
    assert pipeline.bottleneck() is not None
    pipeline.close()


def test_a_trace_has_every_item_in_every_segment_once(tmp_path: Path) -> None:
    trace = Trace()
    with Pipeline([[step(0), step(0)], step(1)], trace=trace) as pipeline:
        list(pipeline.map(frame(i) for i in range(25)))
    assert {(e.segment, e.item) for e in trace.events} == {(s, i) for s in range(2) for i in range(25)}
    assert len(trace.events) == 50
    trace.write(tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text())
    slices = [event for event in content["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == 50
    assert min(event["ts"] for event in slices) == 0
    assert all(event["dur"] >= 0 for event in slices)
    rows = {event["tid"]: event["args"]["name"] for event in content["traceEvents"] if event["name"] == "thread_name"}
    assert set(rows) == {event["tid"] for event in slices}
    for row in rows:  # one thread does one thing at a time
        spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in slices if e["tid"] == row)
        assert all(end <= begin + 1e-6 for (_, end), (begin, _) in itertools.pairwise(spans))
    with pytest.raises(OutputError, match="trace"):
        trace.write(tmp_path)


def test_a_trace_keeps_the_newest_events_only() -> None:
    trace = Trace(limit=10)
    with Pipeline(chain(1), trace=trace) as pipeline:
        list(pipeline.map(frame(i) for i in range(25)))
    assert [event.item for event in trace.events] == list(range(15, 25))
    assert Trace().slices() == []


def test_metrics_are_what_the_statistics_say_and_served_on_loopback() -> None:
    with Pipeline(chain(2), devices=["usb:0", 'odd"na\\me\n']) as pipeline:
        list(pipeline.map(frame(i) for i in range(7)))
        text = render({"main": pipeline.stats()})
        assert 'atoll_stage_inferences_total{pipeline="main",segment="0",replica="0",device="usb:0"} 7' in text
        assert 'device="odd\\"na\\\\me\\n"} 7' in text
        assert all(line.startswith(("#", "atoll_stage_")) for line in text.splitlines())
        series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        assert len(series) == len(set(series))
        with MetricsServer(lambda: {"main": pipeline.stats()}) as server:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert 'segment="1"' in answer.read().decode()
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=30)
            with pytest.raises(PipelineError, match="port"):
                MetricsServer(dict, server.port)
    for port in (-1, 70_000):
        with pytest.raises(PipelineError, match="port"):
            MetricsServer(dict, port)


def test_the_switch_interval_is_short_while_any_pipeline_runs_and_then_as_before() -> None:
    before = sys.getswitchinterval()
    first, second = Pipeline(chain(1)), Pipeline(chain(2))
    assert sys.getswitchinterval() == pytest.approx(interval.interval(1), rel=0.1)
    first.close()
    assert first.join(60)
    assert sys.getswitchinterval() == pytest.approx(interval.interval(2), rel=0.1)
    second.cancel()
    assert second.join(60)
    assert sys.getswitchinterval() == pytest.approx(before)
    with Pipeline(chain(1), short_interval=False):
        assert sys.getswitchinterval() == pytest.approx(before)


def test_the_shortest_interval_that_a_pipeline_needs_counts() -> None:
    before = sys.getswitchinterval()
    with Pipeline(chain(6)) as many:
        assert sys.getswitchinterval() == pytest.approx(interval.interval(6), rel=0.1)
        with Pipeline(chain(1)):
            assert sys.getswitchinterval() == pytest.approx(interval.LEAST_S, rel=0.1)
        assert sys.getswitchinterval() == pytest.approx(interval.interval(6), rel=0.1)
    assert many.join(60)
    assert sys.getswitchinterval() == pytest.approx(before)


def test_interpreters_of_one_device_are_one_line_of_the_statistics() -> None:
    segments = [[*chain(1), *chain(1)], [step(1), step(1)]]
    with Pipeline(segments, devices=[["pci:0", "pci:0"], ["pci:1", "pci:2"]]) as pipeline:
        results = list(pipeline.map(frame(i) for i in range(50)))
        stats = pipeline.stats()
    assert len(results) == 50
    assert [(item.segment, item.replica, item.device) for item in stats] == [
        (0, 0, "pci:0"),
        (1, 0, "pci:1"),
        (1, 1, "pci:2"),
    ]
    assert stats[0].count == 50
    assert stats[1].count + stats[2].count == 50


def test_an_interval_that_somebody_else_set_meanwhile_is_left_alone() -> None:
    before = sys.getswitchinterval()
    try:
        with Pipeline(chain(1)):
            sys.setswitchinterval(0.003)
        assert sys.getswitchinterval() == pytest.approx(0.003)
    finally:
        sys.setswitchinterval(before)
