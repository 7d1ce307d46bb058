"""``atoll measure`` and the functions behind it and ``atoll profile``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atoll as library
from atoll import errors
from atoll.model.load import load
from builders import chain

Run = Callable[..., Any]


def test_a_model_is_compiled_and_measured(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    arguments = ("--device", "pci:1", "--inferences", 5, "--trace", tmp_path / "t.json")
    result = atoll("measure", chain_file, *arguments, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert content["schema"] == "atoll.measure/1"
    assert (content["model"], content["device"], content["inferences"]) == (str(chain_file), "virtual:pci:1", 5)
    assert content["median_ms"] > content["modelled"]["latency_ms"] - 0.05
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert len([event for event in events if event["ph"] == "X"]) == 6
    text = " ".join(atoll("measure", chain_file, "--device", "pci", "--inferences", 5).out.split())
    assert "the median of 5 inferences after the first" in text and "95th percentile" in text


def test_the_modelled_part_is_what_profile_says(chain_file: Path) -> None:
    measured = library.measure(chain_file, device="pci", inferences=2, target="pi4-usb3")
    profile = library.profile(chain_file, target="pi4-usb3")
    assert measured.modelled is not None and measured.modelled.target == "pi4-usb3"
    assert measured.modelled.latency_ms == pytest.approx(profile.latency_ms)
    assert measured.modelled.first_ms == pytest.approx(profile.latency_ms + profile.segments[0].load_ms)


def test_models_in_memory_are_taken_too(chain_file: Path, tmp_path: Path) -> None:
    assert library.profile(chain(6)).latency_ms == library.profile(load(chain_file)).latency_ms
    assert library.measure(chain(6), device="pci", inferences=2).inferences == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clock": "warp"}, "not a clock"),
        ({"inferences": 0}, "0 inferences"),
        ({"device": "pci", "tpus": 2}, "--tpus models a pipeline"),
        ({"bus": "pcie", "target": "pi4-usb3"}, "both name a host"),
        ({"tpus": 0}, "0 segments"),
    ],
)
def test_requests_that_make_no_sense(chain_file: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        library.profile(chain_file, **{"device": "pci", **options} if "inferences" in options else options)


def test_reports_are_short_in_a_notebook(chain_file: Path) -> None:
    for report in (library.profile(chain_file, tpus=3), library.measure(chain_file, device="pci", inferences=2)):
        assert len(repr(report).splitlines()) <= 10 and "<table" in report._repr_html_()
