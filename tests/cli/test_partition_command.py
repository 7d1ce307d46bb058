"""``atoll partition`` as a user meets it, on a network of the zoo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll import errors
from atoll.model import Model
from atoll.model.tflite import write_model
from atoll.networks import build
from atoll.partitioning import cut_tensors, read_partition
from atoll.toolchain import load
from builders import GraphBuilder

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "mobilenet.tflite"
    write_model(build("mobilenet_v1_0.25_128"), path)
    return path


@pytest.fixture(scope="module")
def middle(mobilenet: Path) -> str:
    """A tensor behind which the network may be cut."""
    graph = load(mobilenet).main
    return graph.tensors[graph.operators[9].outputs[0]].name


def partitioned(atoll: Run, *arguments: object) -> dict[str, Any]:
    result = atoll("partition", *arguments, "--json")
    assert result.code == 0 and result.err == "", result.err
    content: dict[str, Any] = json.loads(result.out)
    assert content["schema"] == "atoll.partition_report/2"
    return content


def said(atoll: Run, *arguments: object) -> str:
    """What the command prints, lines joined; none of them is longer than a terminal of 80 columns."""
    result = atoll("partition", *arguments)
    assert result.code == 0 and result.err == "", result.err
    assert max(map(len, result.out.splitlines())) <= 80
    return " ".join(result.out.split())


def test_the_segments_cover_the_model_and_the_pin_is_a_cut(atoll: Run, mobilenet: Path, middle: str) -> None:
    report = partitioned(atoll, mobilenet, "--tpus", 3, "--pin", middle)
    bounds = [tuple(segment["operators"]) for segment in report["segments"]]
    assert bounds[0][0] == 0 and bounds[-1][1] == len(load(mobilenet).main.operators)
    assert [start for start, _ in bounds[1:]] == [end for _, end in bounds[:-1]]
    assert [middle] in [cut["tensors"] for cut in report["cuts"]] and len(bounds) in (2, 3)
    slowest = max(segment["ms"] for segment in report["segments"])
    assert report["interval_ms"] >= slowest and report["latency_ms"] >= slowest


def test_no_neighbour_that_keeps_the_pin_is_better(atoll: Run, mobilenet: Path, middle: str) -> None:
    report = partitioned(atoll, mobilenet, "--tpus", 4, "--bus", "usb2", "--pin", middle)
    assert {item["cut"] for item in report["neighbours"]} == set(range(len(report["cuts"])))
    pinned = [cut["tensors"] for cut in report["cuts"]].index([middle])
    free = [item for item in report["neighbours"] if item["cut"] != pinned]
    assert all(item["slowest_worse"] >= -1e-9 for item in free)


def test_latency_is_the_least_and_a_limit_on_it_is_kept(atoll: Run, mobilenet: Path, middle: str) -> None:
    arguments = (mobilenet, "--tpus", 4, "--pin", middle)
    fast, quick = partitioned(atoll, *arguments), partitioned(atoll, *arguments, "--objective", "latency")
    assert quick["latency_ms"] <= fast["latency_ms"] and fast["interval_ms"] <= quick["interval_ms"]
    limit = (quick["latency_ms"] + fast["latency_ms"]) / 2
    between = partitioned(atoll, *arguments, "--max-latency", limit)
    assert between["latency_ms"] <= limit * (1 + 1e-9)
    assert fast["interval_ms"] <= between["interval_ms"] <= quick["interval_ms"]


def test_fewer_devices_are_named_where_they_do_nearly_as_well(atoll: Run, tmp_path: Path) -> None:
    """Six equal convolutions on USB 2: a cut costs about as much as it saves."""
    build = GraphBuilder(size=16, channels=256)
    first = last = build.tensor("input")
    for n in range(6):
        last = build.conv(last, f"conv_{n}")
    chain = tmp_path / "chain.tflite"
    write_model(Model((build.graph((first,), (last,)),)), chain)
    one, four = (partitioned(atoll, chain, "--tpus", count, "--bus", "usb2") for count in (1, 4))
    assert one["fewer"] is None and len(four["segments"]) > 1
    assert four["interval_ms"] < one["interval_ms"] <= 1.05 * four["interval_ms"]
    assert (four["fewer"]["devices"], four["fewer"]["interval_ms"]) == (1, pytest.approx(one["interval_ms"]))
    assert four["fewer"]["worse"] == pytest.approx(one["interval_ms"] / four["interval_ms"] - 1)
    text = said(atoll, chain, "--tpus", 4, "--bus", "usb2")
    assert f"1 Edge TPU may do as well: {one['interval_ms']:.3f} ms between results" in text
    assert partitioned(atoll, chain, "--tpus", 4, "--bus", "usb2", "--exactly")["fewer"] is None


def test_what_is_written_is_what_was_found(atoll: Run, mobilenet: Path, middle: str, tmp_path: Path) -> None:
    report = partitioned(atoll, mobilenet, "--tpus", 2, "--pin", middle, "-o", tmp_path / "p.json")
    file = read_partition(tmp_path / "p.json", load(mobilenet).main)
    assert [list(names) for names in cut_tensors(file.partition)] == [cut["tensors"] for cut in report["cuts"]]
    checked = partitioned(atoll, mobilenet, "--check", tmp_path / "p.json")
    assert checked["segments"] == report["segments"] and checked["findings"] == []


def test_text(atoll: Run, mobilenet: Path, middle: str) -> None:
    text = said(atoll, mobilenet, "--tpus", 2, "--pin", middle)
    for words in (middle, "ms between results", "bound by", "held out from the fit", "no Edge TPU was used"):
        assert words in text


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two branches, executed in turns, too large for one chip together."""
    build = GraphBuilder(size=4, channels=1024)
    first = build.tensor("input")
    ends = [first, first]
    for n in range(10):
        ends[n % 2] = build.conv(ends[n % 2], f"conv_{n}")
    path = tmp_path_factory.mktemp("branches") / "branches.tflite"
    write_model(Model((build.graph((first,), (build.add(ends[0], ends[1], "sum"),)),)), path)
    return path


def test_segments_along_branches(atoll: Run, branches: Path, tmp_path: Path) -> None:
    report = partitioned(atoll, branches, "--tpus", 2, "-o", tmp_path / "p.json")
    assert report["search"]["exact"] and report["search"]["gap"] == 0 and not report["search"]["contiguous"]
    runs = [segment["runs"] for segment in report["segments"]]
    assert sorted(n for parts in runs for start, end in parts for n in range(start, end)) == list(range(11))
    for segment in report["segments"]:
        assert segment["operators"] == (segment["runs"][0] if len(segment["runs"]) == 1 else None)
    assert all(item["slowest_worse"] >= -1e-9 and item["tensor"] for item in report["neighbours"])
    checked = partitioned(atoll, branches, "--check", tmp_path / "p.json")
    assert checked["segments"] == report["segments"] and checked["findings"] == []
    text = said(atoll, branches, "--tpus", 2)
    assert "Under the model no pipeline of this kind is better" in text and "to segment" in text


def test_devices_of_two_kinds_with_replicas(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    arguments = (mobilenet, "--mixed", "pcie:2,usb2:1", "--replicas", 2, "-o", tmp_path / "p.json")
    report = partitioned(atoll, *arguments)
    used = [(segment["device"], segment["replicas"]) for segment in report["segments"]]
    assert sum(r for kind, r in used if kind == "pcie") <= 2 and sum(r for kind, r in used if kind == "usb2") <= 1
    file = read_partition(tmp_path / "p.json", load(mobilenet).main)
    assert list(zip(file.devices, file.replicas)) == used
    checked = partitioned(atoll, mobilenet, "--check", tmp_path / "p.json")
    assert checked["segments"] == report["segments"]
    alone = partitioned(atoll, mobilenet, "--tpus", 2, "--replicas", 2, "--bus", "pcie")
    assert report["interval_ms"] <= alone["interval_ms"] * (1 + 1e-9)
    assert "never compared with measurements" in said(atoll, mobilenet, "--mixed", "pcie:1,usb3:1")


def test_every_device_is_used_when_asked_for(atoll: Run, mobilenet: Path) -> None:
    assert len(partitioned(atoll, mobilenet, "--tpus", 5, "--exactly")["segments"]) == 5
    assert len(partitioned(atoll, mobilenet, "--tpus", 31, "--exactly")["segments"]) == 31
    # With replicas it is the devices that are counted, in no matter how many segments.
    exactly = (mobilenet, "--tpus", 4, "--exactly")
    alone, shared = (partitioned(atoll, *exactly, "--replicas", count) for count in (1, 2))
    assert sum(segment["replicas"] for segment in shared["segments"]) == 4 > len(shared["segments"])
    assert shared["interval_ms"] <= alone["interval_ms"] * (1 + 1e-9)


def test_a_limit_on_memory_is_kept_or_refused_with_what_it_takes(atoll: Run, mobilenet: Path) -> None:
    whole = partitioned(atoll, mobilenet, "--tpus", 1)["segments"][0]["parameter_bytes"]
    half = partitioned(atoll, mobilenet, "--tpus", 4, "--memory-limit", whole * 2 // 3)
    assert all(segment["parameter_bytes"] <= whole * 2 // 3 for segment in half["segments"])
    assert len(half["segments"]) > 1
    assert partitioned(atoll, mobilenet, "--tpus", 1, "--memory-limit", "fit")["segments"][0]["off_chip_bytes"] == 0
    refused = atoll("partition", mobilenet, "--tpus", 1, "--memory-limit", whole - 1)
    assert refused.code == errors.PartitionError.exit_code and "2 segments at least" in refused.err
    refused = atoll("partition", mobilenet, "--tpus", 8, "--memory-limit", "1kB")
    assert refused.code == errors.PartitionError.exit_code and "alone takes" in refused.err


@pytest.mark.parametrize("edit", ["lose", "repeat", "move"])
def test_edited_files(atoll: Run, mobilenet: Path, middle: str, tmp_path: Path, edit: str) -> None:
    path = tmp_path / "p.json"
    partitioned(atoll, mobilenet, "--tpus", 2, "--pin", middle, "-o", path)
    document = json.loads(path.read_text())
    first, second = (segment["operators"] for segment in document["segments"])
    name = first[-1]
    if edit == "lose":
        first.remove(name)
    elif edit == "repeat":
        second.append(name)
    else:
        second.insert(0, first.pop())
    path.write_text(json.dumps(document))
    result = atoll("partition", mobilenet, "--check", path)
    if edit == "move":  # a partition still, whose cut has another name now
        assert result.code == 0 and "Correct its names" in " ".join(result.out.split())
    else:
        assert result.code == errors.PartitionError.exit_code and name in result.err and str(path) in result.err


def test_more_segments_than_places(atoll: Run, mobilenet: Path) -> None:
    few, many = (partitioned(atoll, mobilenet, "--tpus", count) for count in (31, 10**9))
    assert few["segments"] == many["segments"] and many["places_to_cut"] == 30
    for option in ((), ("--replicas", 2)):
        text = said(atoll, mobilenet, "--tpus", 10**9, "--objective", "latency", *option)
        assert "30 places to cut, which make 31 segments at most" in text
    for option in ((), ("--replicas", 2)):
        result = atoll("partition", mobilenet, "--tpus", 99, "--exactly", *option)
        assert result.code == errors.PartitionError.exit_code
        assert "30 places to cut" in result.err and "1 to 31 segments" in result.err


def test_copies_are_pointed_out_where_a_pipeline_has_no_use_for_all(atoll: Run, mobilenet: Path) -> None:
    text = said(atoll, mobilenet, "--tpus", 31)
    assert "As a pipeline, one Edge TPU per segment, there is no use for more than" in text
    assert "--replicas" in text and "atoll plan" in text
    text = said(atoll, mobilenet, "--tpus", 2, "--objective", "latency")  # which they do not shorten
    assert "no use for more than 1 Edge TPU." in text and "atoll plan" not in text


def test_the_error_of_pipelines_is_not_taken_for_that_of_real_networks(atoll: Run, mobilenet: Path) -> None:
    words = "no time of a real network in a pipeline is known"
    assert words in said(atoll, mobilenet, "--tpus", 2, "--exactly")
    assert words not in said(atoll, mobilenet, "--tpus", 1)


def test_a_latency_that_cannot_be_met_says_what_can(atoll: Run, mobilenet: Path) -> None:
    least = partitioned(atoll, mobilenet, "--tpus", 3, "--objective", "latency")["latency_ms"]
    result = atoll("partition", mobilenet, "--tpus", 3, "--max-latency", least / 2)
    assert result.code == errors.PartitionError.exit_code
    assert f"Possible are a latency of {least:.3f} ms" in result.err


def test_more_pins_than_devices_allow(atoll: Run, mobilenet: Path, middle: str) -> None:
    result = atoll("partition", mobilenet, "--tpus", 1, "--pin", middle)
    assert result.code == errors.PartitionError.exit_code and "2 segments" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "number of Edge TPUs"),
        (["--tpus", "2", "--check", "p.json"], "does not search"),
        (["--tpus", "2", "--mixed", "pcie:2"], "both say how many"),
        (["--mixed", "pcie:2", "--bus", "pcie"], "both name the bus"),
        (["--mixed", "pcie:2,isa:1"], "known are pcie, usb3, usb2"),
        (["--mixed", "pcie:0"], "Write for example"),
        (["--mixed", "pcie:9,usb3:9"], "more than 16"),
        (["--tpus", "2", "--memory-limit", "much"], "a size such as 6MiB"),
        (["--tpus", "2", "--memory-limit", "0"], "a size such as 6MiB"),
        (["--check", "p.json", "--exactly"], "does not search"),
        (["--tpus", "2", "--target", "x86-pci"], "Did you mean 'x86-pcie'?"),
        (["--tpus", "2", "--target", "x86-pcie", "--bus", "usb2"], "both name a host"),
    ],
)
def test_options_that_contradict_each_other(atoll: Run, mobilenet: Path, arguments: list[str], words: str) -> None:
    result = atoll("partition", mobilenet, *arguments)
    assert result.code == errors.UsageError.exit_code and result.out == ""
    assert words in result.err


def test_a_tensor_that_does_not_exist(atoll: Run, mobilenet: Path, middle: str) -> None:
    result = atoll("partition", mobilenet, "--tpus", 2, "--pin", middle[:-1] + "X")
    assert result.code == errors.UsageError.exit_code and f"The nearest name is '{middle}" in result.err


def test_names_of_hundreds_of_characters_fit_the_terminal(atoll: Run, tmp_path: Path) -> None:
    """Converters join the names of the layers that they fuse; a cut is crossed by several such tensors."""
    build = GraphBuilder(size=4, channels=1024)
    first = build.tensor("input")
    ends = [build.conv(first, f"branch_{n}/" + "fused/relu;" * 40) for n in range(4)]
    sums = build.add(build.add(ends[0], ends[1], "a/" * 200), build.add(ends[2], ends[3], "b/" * 200), "sum")
    last = build.conv(build.conv(build.conv(sums, "c"), "d"), "e")
    path = tmp_path / "fused.tflite"
    write_model(Model((build.graph((first,), (last,)),)), path)
    report = partitioned(atoll, path, "--tpus", 4, "--exactly", "--objective", "latency")
    crossing = max(len(cut["tensors"]) for cut in report["cuts"])
    text = said(atoll, path, "--tpus", 4, "--exactly", "--objective", "latency")
    assert crossing == 1 or f"and {crossing - 1} more" in text
