"""``atoll plan`` as a user meets it, on a network of the zoo."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll import errors
from atoll.hardware.host import profile
from atoll.model.tflite import write_model
from atoll.networks import build
from atoll.reporting.plan_report import round_ticks

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
    assert content["schema"] == "atoll.plan/1"
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


def test_text_and_chart(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    result = atoll("plan", mobilenet, "--tpus", "1..3", "--fps", 100, "--chart", tmp_path / "c.svg")
    assert result.code == 0 and result.err == ""
    for words in ("Would two more than 3 help?", "no Edge TPU was used", "held out from the fit"):
        assert words in result.out
    root = ET.parse(tmp_path / "c.svg").getroot()
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 9 and "mobilenet <&>.tflite" in "".join(root.itertext())


def test_the_axis_has_round_numbers(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    atoll("plan", mobilenet, "--tpus", "1..2", "--chart", tmp_path / "c.svg")
    root = ET.parse(tmp_path / "c.svg").getroot()
    texts = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("text-anchor") == "end"]
    ticks = [float(text.text or "") for text in texts]
    assert ticks[0] == 0 and ticks == sorted(ticks)
    steps = {b - a for a, b in itertools.pairwise(ticks)}
    assert len(steps) == 1 and f"{steps.pop():e}"[:8] in ("1.000000", "2.000000", "5.000000")


@given(most=st.floats(1e-3, 1e6))
def test_ticks_reach_just_beyond_the_largest_value(most: float) -> None:
    ticks = round_ticks(most)
    assert ticks[-2] < most * (1 + 1e-6) and ticks[-1] >= most * (1 - 1e-6) and 4 <= len(ticks) <= 12


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
    result = atoll("plan", mobilenet, "--models", mobilenet, "--tpus", "1..3", "--fps", 300, "--fps", 100, "--json")
    assert result.code == 0 and result.err == ""
    plan = json.loads(result.out)
    assert plan["schema"] == "atoll.plan_models/1" and plan["fps"] == [300, 100]
    for row in plan["rows"]:
        assert len([model for group in row["groups"] for model in group["models"]]) == 2
        served = [model["throughput"] / model["wanted"] for group in row["groups"] for model in group["models"]]
        assert min(served) == pytest.approx(row["satisfaction"])
        assert sum(group["devices"] for group in row["groups"]) <= row["devices"]
        assert all((group["use"] is None) == (len(group["models"]) > 1) for group in row["groups"])
    text = atoll("plan", mobilenet, "--models", mobilenet, "--tpus", "1..2").out
    assert "shared, co-compiled" in text and "No --fps is given" in text


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
        (["--chart", "chart.png"], "FILE.svg"),
        (["--fps", "0"], "0"),
        (["--fps", "1", "--fps", "2"], "given 2 times for 1 models"),
        (["--mixed", "pcie:2", "--tpus", "1..2"], "both say how many"),
        (["--mixed", "pcie:2", "--models", "b.tflite"], "--mixed does not go with --models"),
        (["--memory-limit", "fit", "--models", "b.tflite"], "--memory-limit does not go with --models"),
        (["--chart", "c.svg", "--models", "b.tflite"], "--chart does not go with --models"),
    ],
)
def test_what_cannot_be_planned(atoll: Run, mobilenet: Path, arguments: list[str], words: str) -> None:
    result = atoll("plan", mobilenet, *arguments)
    assert result.code == errors.UsageError.exit_code and result.out == ""
    assert words in result.err and "Traceback" not in result.err
