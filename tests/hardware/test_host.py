"""Profiles: those of the package are complete and have sources; a user's are refused for a stated reason."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError, FileMissingError, UsageError
from atoll.hardware.buses import BUSES
from atoll.hardware.host import dump_target, load_target, parse_target, profile, profile_names


def test_the_measured_hosts_have_profiles() -> None:
    assert {"x86-pcie", "dev-board", "desktop-usb3", "pi4-usb3", "pi3-usb2"} <= set(profile_names())


@pytest.mark.parametrize("name", profile_names())
def test_every_number_has_a_source(name: str) -> None:
    target = profile(name)
    assert target.name == name and target.description
    for table in ("chip", "instructions", "bus", "host"):
        for item in fields(getattr(target, table)):
            if item.name != "kind":
                assert target.sources[f"{table}.{item.name}"].strip(), item.name


@pytest.mark.parametrize("name", profile_names())
def test_dump_and_parse_is_the_identity(name: str) -> None:
    target = profile(name)
    assert parse_target(dump_target(target), "elsewhere.toml") == target


def test_all_hosts_drive_the_same_chip() -> None:
    assert len({profile(name).chip for name in profile_names()}) == 1


def test_buses_are_ordered_as_their_wires() -> None:
    usb2, usb3 = profile("sbc10w-usb2").bus, profile("sbc10w-usb3").bus
    assert usb2.parameters_mb_s < usb3.parameters_mb_s and usb2.output_mb_s < usb3.output_mb_s


def test_a_users_file_gives_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('base = "pi4-usb3"\n[host]\nfloor_ms = 1.5\n[bus]\ninput_mb_s = { value = 99, source = "me" }\n')
    target, base = load_target(path), profile("pi4-usb3")
    assert (target.name, target.host.floor_ms, target.bus.input_mb_s) == ("my", 1.5, 99)
    assert target.sources["bus.input_mb_s"] == "me"
    assert target.bus.output_mb_s == base.bus.output_mb_s and target.chip == base.chip


def test_names_and_paths_are_told_apart(tmp_path: Path) -> None:
    assert load_target("dev-board") is profile("dev-board")
    with pytest.raises(UsageError, match="no host profile 'pi4'") as error:
        load_target("pi4")
    assert "pi4-usb3" in error.value.hint
    with pytest.raises(FileMissingError):
        load_target(tmp_path / "none.toml")


BASE = 'base = "x86-pcie"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bus.kind is missing"),
        ('[bus]\nkind = "pcie"', "bus.parameters_mb_s is missing"),
        (BASE + "[host]\nfloor_ms = -1", "host.floor_ms is -1; it must be at least 0"),
        (BASE + "[bus]\ninput_mb_s = 0", "bus.input_mb_s is 0; it must be above 0"),
        (BASE + "[bus]\ninput_mb_s = inf", "bus.input_mb_s is inf, not a number"),
        (BASE + "[bus]\ninput_mb_s = nan", "bus.input_mb_s is nan, not a number"),
        (BASE + "[host]\nfloor_ms = true", "host.floor_ms is True, not a number"),
        (BASE + '[host]\nfloor_ms = "0.3"', "host.floor_ms is '0.3', not a number"),
        (BASE + "[host]\nfloor_ms = {}", "host.floor_ms has no value"),
        (BASE + "[host]\nfloor_ms = { value = 1, unit = 2 }", "'unit' is not a known key"),
        (BASE + "[host]\nfloor_ms = { value = 1, source = 2 }", "'source' is 2, not a text"),
        (BASE + "[host]\nflor_ms = 1", "[host] 'flor_ms' is not a known key"),
        (BASE + "host = 3", "'host' is 3, not a table"),
        (BASE + '[bus]\nkind = "usb4"', "bus.kind is 'usb4'"),
        (BASE + "[bus]\nkind = [1]", "bus.kind is [1]"),
        (BASE + '[bus]\nkind = "usb2"', "bus.parameters_mb_s is 386"),
        ('base = "moon"', "base 'moon' is not a profile"),
        ("base = 1", "'base' is 1, not a text"),
        ("[bus", "is not a TOML file"),
        (BASE + "name = 3", "'name' is 3, not a text"),
    ],
)
def test_bad_files_name_file_key_and_rule(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_target(text, "my.toml")
    assert message in error.value.message and "my.toml" in error.value.message


def test_a_rate_above_the_wire_names_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"501, but bus.kind is 'pcie', which carries 500"):
        parse_target(BASE + "[bus]\ninput_mb_s = 501", "my.toml")
    assert all(profile(n).bus.load_mb_s <= BUSES[profile(n).bus.kind].line_rate_mb_s for n in profile_names())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00" * 10, b"a" * (2 << 20), b"[" * 100_000])
def test_files_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"my\.toml"):
        load_target(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.text(st.sampled_from('[]{}=."\n businput_mb_s0123456789e-host'), max_size=200))
def test_any_text_is_a_profile_or_a_clear_error(text: str) -> None:
    try:
        parse_target(text, "x.toml")
    except AtollError as error:
        assert "x.toml" in error.message
