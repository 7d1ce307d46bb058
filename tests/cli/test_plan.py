"""``atoll plan`` as a user meets it, on a network of the zoo."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atoll import errors, plan
from atoll.hardware.host import profile
from atoll.model.tflite import read_model, write_model
from atoll.networks import build

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "mobilenet <&>.tflite"
    write_model(build("mobilenet_v1_0.25_128"), path)
    return path


def planned(atoll: Run, *arguments: object) -> dict[str, Any]:
    result = atoll("plan", *arguments, "--json")
    assert result.code == 0 and result.err == "", result.err
    content: dict[str, Any] = json.loads(result.out)
    assert content["schema"] == "atoll.plan/2"
    return content


def test_each_number_of_devices_gets_the_best_of_all_shapes(atoll: Run, mobilenet: Path) -> None:
    plan = planned(atoll, mobilenet, "--tpus", "1..4")
    assert [row["devices"] for row in plan["rows"]] == [1, 2, 3, 4]
    for row in plan["rows"]:
        assert row["best"]["throughput"] >= max(row["pipeline"]["throughput"], row["copies"]["throughput"])
        assert row["best"]["devices"] == sum(stage["replicas"] for stage in row["best"]["stages"]) <= row["devices"]
        bounds = [(stage["start"], stage["end"]) for stage in row["pipeline"]["stages"]]
        assert bounds[0][0] == 0 and all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
        assert all(0 < stage["use"] <= 1 + 1e-9 for stage in row["best"]["stages"])
        assert row["best"]["accuracy"]["median"] > 0


def test_one_device_is_what_the_profile_says(atoll: Run, mobilenet: Path) -> None:
    single = planned(atoll, mobilenet, "--tpus", 1, "--bus", "usb3")["rows"][0]["best"]
    profiled = json.loads(atoll("profile", mobilenet, "--bus", "usb3", "--json").out)
    assert single["shape"] == "single"
    assert single["latency_ms"] == pytest.approx(profiled["latency_ms"])


def test_the_fewest_devices_for_a_rate(atoll: Run, mobilenet: Path) -> None:
    rates = [row["best"]["throughput"] for row in planned(atoll, mobilenet, "--tpus", "1..3")["rows"]]
    assert rates[0] < rates[1]
    between = planned(atoll, mobilenet, "--tpus", "1..3", "--fps", (rates[0] + rates[1]) / 2)
    assert between["fewest"] == 2 and "at least 2 Edge TPUs" in between["answer"][0]
    beyond = planned(atoll, mobilenet, "--tpus", "1..3", "--fps", 2 * rates[2])
    assert beyond["fewest"] is None and "out of reach" in beyond["answer"][0]


def test_whether_two_more_help_is_answered_from_the_rates(atoll: Run, mobilenet: Path) -> None:
    rates = [row["best"]["throughput"] for row in planned(atoll, mobilenet, "--tpus", "1..3")["rows"]]
    (answer,) = planned(atoll, mobilenet, "--tpus", "1")["answer"]
    assert answer.startswith("Would two more than 1 help? " + ("Yes" if rates[2] >= 1.05 * rates[0] else "No"))
    assert f"{rates[2]:.1f}/s instead of {rates[0]:.1f}/s" in answer


def test_for_several_numbers_it_is_said_in_a_sentence_which_of_them_two_more_would_help(
    atoll: Run, mobilenet: Path
) -> None:
    plan = planned(atoll, mobilenet, "--tpus", "1..6")
    rates = {row["devices"]: row["best"]["throughput"] for row in plan["rows"]}
    steps, last = plan["answer"]
    assert last.startswith("Would two more than 6 help? ")
    for count in range(1, 5):
        gain = rates[count + 2] / rates[count]
        assert (f"{count} ({gain - 1:+.0%})" in steps) == (gain >= 1.05)


def test_text(atoll: Run, mobilenet: Path) -> None:
    result = atoll("plan", mobilenet, "--tpus", "1..3", "--fps", 100)
    assert result.code == 0 and result.err == ""
    assert result.out.startswith("100/s take at least 1 Edge TPU.")
    for words in ("Would two more than 3 help?", "no Edge TPU was used", "held out from the fit"):
        assert words in " ".join(result.out.split())
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("output_format", ["csv", "markdown"])
def test_other_formats_have_every_column(atoll: Run, mobilenet: Path, output_format: str) -> None:
    out = atoll("plan", mobilenet, "--tpus", "1..2", "--format", output_format).out
    for words in ("best", "latency", "use", "off", "pipeline", "copies"):
        assert words in out


def test_devices_of_two_kinds(atoll: Run, mobilenet: Path) -> None:
    plan = planned(atoll, mobilenet, "--mixed", "pcie:1,usb3:2")
    assert [row["devices"] for row in plan["rows"]] == [1, 2, 3]
    for row in plan["rows"]:
        for use in (row["best"], row["pipeline"], row["copies"]):
            used = [(stage["device"], stage["replicas"]) for stage in use["stages"]]
            assert sum(r for kind, r in used if kind == "pcie") <= 1 and sum(r for _, r in used) <= row["devices"]
    rates = [row["best"]["throughput"] for row in plan["rows"]]
    assert rates == sorted(rates)
    assert [answer.split("?")[0] for answer in plan["answer"]] == [
        "Would two more on pcie help",
        "Would two more on usb3 help",
    ]


def test_numbers_that_are_too_few_for_the_memory_are_left_out(atoll: Run, mobilenet: Path) -> None:
    plan = planned(atoll, mobilenet, "--tpus", "1..3", "--memory-limit", "500000")
    assert [row["devices"] for row in plan["rows"]] == [2, 3] and plan["rows"][0]["copies"] is None
    assert plan["too_few"] == [1] and plan["answer"][0].startswith("Fewer than 2 Edge TPUs are left out")
    refused = atoll("plan", mobilenet, "--tpus", 1, "--memory-limit", "500000")
    assert refused.code == errors.PartitionError.exit_code and "it takes 2 segments at least" in refused.err


def test_several_models(atoll: Run, mobilenet: Path) -> None:
    plan = planned(atoll, mobilenet, mobilenet, "--tpus", "1..3", "--fps", 300, "--fps", 100)
    assert plan["fps"] == [300, 100] and [row["devices"] for row in plan["rows"]] == [1, 1, 2, 2, 3, 3]
    for devices in (1, 2, 3):
        rows = [row for row in plan["rows"] if row["devices"] == devices]
        assert sorted(row["wanted"] for row in rows) == [100, 300]
        served = [row["best"]["throughput"] / row["wanted"] for row in rows]
        assert min(served) == pytest.approx(plan["satisfaction"][str(devices)])
        assert sum(row["best"]["devices"] / (1 + len(row["shares_with"])) for row in rows) <= devices
        assert all((row["best"]["shape"] == "shared") == bool(row["shares_with"]) for row in rows)
    text = atoll("plan", mobilenet, "--models", mobilenet, "--tpus", "1..2").out
    assert "shared" in text and text.startswith("No --fps is given") and max(map(len, text.splitlines())) <= 80


def test_models_are_told_apart_where_room_is_short(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    """The model of a row is worth more than its latency, which a program finds in JSON."""
    others = [tmp_path / f"{name}.tflite" for name in ("mobilenet_v1_0.25_128", "mobilenet_v1_0.50_128")]
    for other in others:
        other.write_bytes(mobilenet.read_bytes())
    text = atoll("plan", *others, "--tpus", 2, "--fps", 10, "-q").out
    assert all(other.stem in text for other in others) and max(map(len, text.splitlines())) <= 80


def test_the_function_takes_what_the_options_take_and_values_of_their_own(mobilenet: Path) -> None:
    slow = replace(profile("x86-pcie"), name="slow", host=replace(profile("x86-pcie").host, floor_ms=50.0))
    report = plan(mobilenet, tpus=(1, 2), target=slow)
    assert report.target == "slow" and report.rows[0].best.latency_ms > 50
    assert plan(read_model(mobilenet), tpus=2).rows[0].devices == 2
    assert plan(mobilenet, mixed={"pcie": 1, "usb3": 1}).to_dict() == plan(mobilenet, mixed="pcie:1,usb3:1").to_dict()
    limited = plan(mobilenet, tpus="2..2", memory_limit=500_000)
    assert limited.to_dict() == plan(mobilenet, tpus=2, memory_limit="500kB").to_dict()
    assert len(repr(limited).splitlines()) <= 10


def test_a_target_of_ones_own_has_no_known_error(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    slow = profile("pi4-usb3").host.floor_ms + 1
    (tmp_path / "my.toml").write_text(f'base = "pi4-usb3"\n[host]\nfloor_ms = {slow}\n')
    result = atoll("plan", mobilenet, "--tpus", "1", "--target", tmp_path / "my.toml")
    assert result.code == 0 and "not known" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tpus", "8..1"], "--tpus is '8..1'"),
        (["--tpus", "0"], "--tpus is '0'"),
        (["--tpus", "1..9999"], "up to 16"),
        (["--tpus", "many"], "--tpus is 'many'"),
        (["--target", "x86-pci"], "Did you mean 'x86-pcie'?"),
        (["--target", "x86-pcie", "--bus", "usb3"], "both name a host"),
        (["--fps", "0"], "0"),
        (["--fps", "1", "--fps", "2"], "given 2 times for 1 models"),
        (["--mixed", "pcie:2", "--tpus", "1..2"], "both say how many"),
        (["--mixed", "pcie:2", "--models", "b.tflite"], "--mixed does not go with several models"),
        (["--memory-limit", "fit", "--models", "b.tflite"], "--memory-limit does not go with several models"),
    ],
)
def test_what_cannot_be_planned(atoll: Run, mobilenet: Path, arguments: list[str], words: str) -> None:
    result = atoll("plan", mobilenet, *arguments)
    assert result.code == errors.UsageError.exit_code and result.out == ""
    assert words in result.err and "Traceback" not in result.err


def test_fewer_devices_than_the_range_has_are_not_ruled_out(atoll: Run, mobilenet: Path) -> None:
    said = atoll("plan", mobilenet, "--tpus", "2", "--fps", 1).out
    assert "at least 2" not in said and "fewer were not looked at (--tpus 1..2)" in " ".join(said.split())
