"""A profile file → :class:`Target`: chip, bus and host as numbers, each with its source."""

from __future__ import annotations

import difflib
import functools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from atoll.errors import UsageError
from atoll.files import map_file
from atoll.hardware.buses import ALIASES, BUSES, DEFAULT_BUS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

_PROFILES = resources.files("atoll.hardware") / "hosts"
_SHARED = "chip"
"""The file whose tables complete every profile: all hosts drive the same chip."""
_MAX_FILE_BYTES = 1 << 20

CLOCKS_MHZ = (62.5, 125.0, 250.0, 500.0)
"""Low, medium, high (standard USB runtime) and max, the default (../shared/facts/hardware.md, "Performance")."""


def _number(minimum: float = 0.0, above: bool = False, maximum: float = 1e9) -> Any:
    """A field that must be given; ``above`` excludes the minimum."""
    return field(metadata={"minimum": minimum, "above": above, "maximum": maximum})


@dataclass(frozen=True, slots=True)
class ChipRates:
    """How long the chip's units take; ideal cycles are those of :class:`atoll.estimate.operator_work.OperatorWork`."""

    matrix_overhead: float = _number(1)
    """Cycles per ideal cycle of convolutions and dense layers."""
    spill_overhead: float = _number(1)
    """Further factor when input and output do not fit the narrow memory together."""
    depthwise_overhead: float = _number(0.1)
    """Cycles per ideal cycle of depthwise convolutions."""
    vector_bytes_per_cycle: float = _number(0, above=True)
    """Bytes of input and output of poolings, sums, resizes and activations."""


@dataclass(frozen=True, slots=True)
class InstructionSizes:
    """Bytes of the instruction stream of one region, estimated when no compiled file is at hand."""

    base: float = _number()
    operator: float = _number()
    block: float = _number()
    """Per 64 output channels of a convolution."""
    dense_block: float = _number()
    """Per 64 output channels of a fully connected layer."""
    max_pool: float = _number()
    softmax_class: float = _number()
    """Per class of a softmax whose classes are no multiple of 4."""
    spill: float = _number()
    """Per 3 MiB that twice an output exceeds 1.5 MiB by."""


@dataclass(frozen=True, slots=True)
class Bus:
    """What lies between host and chip. Rates in MB/s (10^6 bytes)."""

    kind: str
    """``pcie``, ``usb3`` or ``usb2``."""
    parameters_mb_s: float = _number(0, above=True)
    """Streamed parameters and instructions, host to device."""
    input_mb_s: float = _number(0, above=True)
    output_mb_s: float = _number(0, above=True)
    """As seen by the caller, hence with what the host does to every byte of it."""
    load_mb_s: float = _number(0, above=True)
    """Filling the parameter cache."""
    load_fixed_ms: float = _number()
    """Per filling of the cache, however small."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the computer adds to every inference."""

    floor_ms: float = _number()
    """An inference of next to nothing."""
    position_ns: float = _number()
    """Per spatial position of an output, for putting the tiles' parts together."""
    stage_ms: float = _number()
    """Serial work per pipeline stage and item (the runner's interpreter lock)."""
    boundary_2: float = _number(0, above=True)
    """Factor on the time of inputs and outputs in a pipeline of 2 devices, against a single one; measured, not
    explained."""
    boundary_3: float = _number(0, above=True)
    boundary_4: float = _number(0, above=True)
    """The same for 4 and more."""
    cpu_gmac_s: float = _number(0, above=True)
    """10^9 multiply-accumulates per second of operators that stay on the CPU."""
    cpu_element_ns: float = _number()
    """Per element read or written by the other operators that stay on the CPU."""
    cpu_anchor_ns: float = _number()
    """Per anchor of a detection's decoding and suppression of overlaps; a class score costs a hundredth of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Everything the timing model knows about one chip, bus and host."""

    name: str
    description: str
    chip: ChipRates
    instructions: InstructionSizes
    bus: Bus
    host: Host
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """``bus.input_mb_s`` -> where the number comes from."""


def profile_names() -> tuple[str, ...]:
    """The profiles that come with the package."""
    names = (Path(item.name) for item in _PROFILES.iterdir() if item.name.endswith(".toml"))
    return tuple(sorted(name.stem for name in names if name.stem != _SHARED))


@functools.cache
def profile(name: str) -> Target:
    """A profile that comes with the package. Raises :class:`UsageError` for an unknown name."""
    known = profile_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise UsageError(f"there is no host profile '{name}'", f"Did you mean '{near}'? Known: {', '.join(known)}.")
    return _target(_built_in(name), f"{name}.toml", name)


def load_target(name_or_path: str | Path) -> Target:
    """A profile of the package by name, or one of the user's by the path of its ``.toml`` file.

    A user's file may say ``base = "NAME"`` and give only what differs.

    Raises:
        UsageError: unknown name, not TOML, or a number that is missing, impossible or contradicts another; the
            message names file, key and rule.
        FileAccessError: the file cannot be read.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) == 1 and not path.exists():
        return profile(str(name_or_path))
    content = map_file(path)
    if len(content) > _MAX_FILE_BYTES:
        raise UsageError(f"{path} has {len(content)} bytes, too many for a host profile", "Is it another file?")
    try:
        return parse_target(bytes(content).decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a TOML file: {error}", "Write a text file in UTF-8.") from error


def host_of(bus: str | None = None, target: Target | str | Path | None = None) -> Target:
    """The host that a target names, or the measured one of a bus; that of PCIe where neither is given.

    Args:
        bus: One of :data:`atoll.hardware.buses.BUSES`, by its measured host.
        target: A host's numbers, the name of a profile of the package, or the path of a ``.toml`` file.

    Raises:
        UsageError: both are given, the bus is not known, or as :func:`load_target`.
    """
    if bus and target:
        raise UsageError("--bus and --target both name a host", "Leave one of the two out.")
    if isinstance(target, Target):
        return target
    if target:
        return load_target(target)
    name = ALIASES.get(bus or DEFAULT_BUS, bus or DEFAULT_BUS)
    if name not in BUSES:
        raise UsageError(f"--bus is '{bus}'", f"Known are {', '.join(BUSES)}.")
    return profile(BUSES[name].host)


def hosts_of(
    mixed: Sequence[str], bus: str | None = None, target: Target | str | Path | None = None
) -> dict[str, Target]:
    """By kind of device the host that is taken for it: ``any`` where all are alike, else by the buses ``mixed``.

    Raises as :func:`host_of`.
    """
    if mixed and (bus or target):
        raise UsageError("--mixed and --bus or --target both name the bus of the Edge TPUs", "Leave one of them out.")
    if not mixed:
        return {"any": host_of(bus, target)}
    return {kind: host_of(kind) for kind in dict.fromkeys(mixed)}


def parse_target(text: str, origin: str) -> Target:
    """The profile that a TOML text holds; ``origin`` names it in messages. Raises :class:`UsageError`."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{origin} is not a TOML file: {error}") from error
    return _target(document, origin, Path(origin).stem)


def dump_target(target: Target) -> str:
    """The profile as a TOML text that :func:`parse_target` reads back."""
    lines = [f"name = {_quoted(target.name)}", f"description = {_quoted(target.description)}"]
    for table in _TABLES:
        lines += ["", f"[{table}]"]
        record = getattr(target, table)
        for item in fields(record):
            value, source = getattr(record, item.name), target.sources.get(f"{table}.{item.name}", "")
            shown = _quoted(value) if isinstance(value, str) else repr(value)
            lines.append(
                f"{item.name} = {{ value = {shown}, source = {_quoted(source)} }}"
                if source
                else f"{item.name} = {shown}"
            )
    return "\n".join(lines) + "\n"


_TABLES: Mapping[str, type[Any]] = MappingProxyType(
    {"chip": ChipRates, "instructions": InstructionSizes, "bus": Bus, "host": Host}
)
_T = TypeVar("_T")


@functools.cache
def _built_in(name: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = tomllib.loads((_PROFILES / f"{name}.toml").read_text("utf-8"))
    return document


def _target(document: Mapping[str, Any], origin: str, name: str) -> Target:
    _known(document, {"name", "description", "base", *_TABLES}, origin, "")
    title, description = (
        _text(document, key, default, origin) for key, default in (("name", name), ("description", ""))
    )
    base = _base(document, origin)
    sources: dict[str, str] = {}
    tables = {
        table: _table(kind, table, _merged(document, base, table, origin), origin, sources)
        for table, kind in _TABLES.items()
    }
    _consistent(tables["bus"], origin)
    return Target(title, description, **tables, sources=MappingProxyType(sources))


def _base(document: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
    """The tables that fill the gaps: those of ``base`` over those of the chip."""
    shared = _built_in(_SHARED)
    name = _text(document, "base", "", origin)
    if not name:
        return shared
    if name not in profile_names():
        raise UsageError(f"{origin}: base '{name}' is not a profile", f"Known are {', '.join(profile_names())}.")
    return {**shared, **_built_in(name)}


def _merged(document: Mapping[str, Any], base: Mapping[str, Any], table: str, origin: str) -> Mapping[str, Any]:
    own = document.get(table, {})
    if not isinstance(own, dict):
        raise UsageError(f"{origin}: '{table}' is {own!r}, not a table", f"Write [{table}] and its numbers below it.")
    return {**base.get(table, {}), **own}


def _table(kind: type[_T], table: str, given: Mapping[str, Any], origin: str, sources: dict[str, str]) -> _T:
    wanted: tuple[Field[Any], ...] = fields(kind)  # type: ignore[arg-type]
    _known(given, {item.name for item in wanted}, origin, f"[{table}] ")
    values: dict[str, Any] = {}
    for item in wanted:
        key = f"{table}.{item.name}"
        if item.name not in given:
            raise UsageError(f"{origin}: {key} is missing", 'Give it, or start from a profile with base = "NAME".')
        entry = given[item.name]
        if isinstance(entry, dict):
            _known(entry, {"value", "source"}, origin, f"{key}: ")
            if "value" not in entry:
                raise UsageError(f"{origin}: {key} has no value", 'Write { value = 1.0, source = "..." }.')
            sources[key] = _text(entry, "source", "", origin)
            entry = entry["value"]
        values[item.name] = _checked(item, entry, key, origin)
    return kind(**values)


def _checked(item: Field[Any], value: object, key: str, origin: str) -> float | str:
    if not item.metadata:
        if not isinstance(value, str) or value not in BUSES:
            raise UsageError(f"{origin}: {key} is {value!r}", f"It must be one of {', '.join(BUSES)}.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{origin}: {key} is {value!r}, not a number", "Give a finite number without quotes.")
    minimum, above, maximum = (item.metadata[name] for name in ("minimum", "above", "maximum"))
    if value < minimum or (above and value == minimum) or value > maximum:
        rule = f"{'above' if above else 'at least'} {minimum:g} and at most {maximum:g}"
        raise UsageError(f"{origin}: {key} is {value!r}; it must be {rule}")
    return float(value)


def _consistent(bus: Bus, origin: str) -> None:
    """No rate is above what the wires carry."""
    limit = BUSES[bus.kind].line_rate_mb_s
    for name in ("parameters_mb_s", "input_mb_s", "output_mb_s", "load_mb_s"):
        rate = getattr(bus, name)
        if rate > limit:
            raise UsageError(
                f"{origin}: bus.{name} is {rate:g}, but bus.kind is '{bus.kind}', which carries {limit:g} MB/s",
                "Correct one of the two; rates are in 10^6 bytes per second.",
            )


def _known(given: Mapping[str, Any], wanted: set[str], origin: str, place: str) -> None:
    for key in given:
        if key not in wanted:
            near = difflib.get_close_matches(key, wanted, n=1, cutoff=0.0)[0]
            raise UsageError(f"{origin}: {place}'{key}' is not a known key", f"Did you mean '{near}'?")


def _text(given: Mapping[str, Any], key: str, default: str, origin: str) -> str:
    value = given.get(key, default)
    if not isinstance(value, str):
        raise UsageError(f"{origin}: '{key}' is {value!r}, not a text", "Put it in quotes.")
    return value


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
