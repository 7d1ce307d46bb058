"""Partition ⇄ a small JSON file that people can read, edit and check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.errors import PartitionError
from atoll.files import map_file, write_file
from atoll.findings import Finding
from atoll.hardware.buses import CHOICES
from atoll.model.graph import Graph
from atoll.products.partition import Partition, partition_of

SCHEMA = "atoll.partition/1"
DEVICES = ("any", *sorted(CHOICES))
"""``pci`` is the runtime's name of ``pcie``; ``usb`` stands for either."""
MAX_REPLICAS = 1024
MAX_BYTES = 64 << 20
"""A partition of a million operators has about this size; anything larger is not one."""


@dataclass(frozen=True, slots=True)
class PartitionFile:
    """A partition as it stands in a file, with what runs each segment."""

    partition: Partition
    replicas: tuple[int, ...]
    """How many devices take turns on each segment."""
    devices: tuple[str, ...]
    """The kind of device of each segment, one of :data:`DEVICES`."""
    findings: tuple[Finding, ...] = ()
    """Cuts that the file names by other tensors than those which cross them: edited by hand, and written anew."""


def operator_names(graph: Graph) -> tuple[str, ...]:
    """How the file names operators: by the first tensor each writes, or by its number where that is not unique."""
    names = [graph.tensors[op.outputs[0]].name if op.outputs else "" for op in graph.operators]
    count = Counter(names)
    return tuple(name if name and count[name] == 1 else f"#{n}" for n, name in enumerate(names))


def cut_tensors(partition: Partition) -> tuple[tuple[str, ...], ...]:
    """For every cut the tensors that cross it: written before and read behind it, skipping segments or not."""
    crossing = []
    for number in range(1, len(partition.segments)):
        written = dict.fromkeys(name for segment in partition.segments[:number] for name in segment.outputs)
        read = {name for segment in partition.segments[number:] for name in segment.inputs}
        crossing.append(tuple(name for name in written if name in read))
    return tuple(crossing)


def write_partition(
    path: str | Path,
    graph: Graph,
    partition: Partition,
    replicas: Sequence[int] = (),
    devices: Sequence[str] = (),
) -> None:
    """Write a partition of ``graph``; segments have one replica and any device unless told. Raises ``OutputError``."""
    names = operator_names(graph)
    count = len(partition.segments)
    import json  # late: compiling imports this module, and seldom has a file to read

    document = {
        "schema": SCHEMA,
        "strategy": partition.strategy,
        "cuts": [list(tensors) for tensors in cut_tensors(partition)],
        "segments": [
            {"replicas": r, "device": device, "operators": [names[i] for i in segment.operators]}
            for segment, r, device in zip(partition.segments, replicas or [1] * count, devices or ["any"] * count)
        ],
    }
    write_file(path, json.dumps(document, indent=1) + "\n")


def read_partition(path: str | Path, graph: Graph) -> PartitionFile:
    """Read and check a partition of ``graph``.

    What counts are the operators of each segment. The names of the cuts are there for the reader: where they differ
    from what crosses (after moving an operator, say) a finding says so.

    Raises:
        FileAccessError: the file cannot be opened.
        PartitionError: it is not a partition, or loses, repeats or misplaces an operator; the message names it.
    """
    document = _document(path)
    number = {name: n for n, name in enumerate(operator_names(graph))}
    pieces: list[list[int]] = []
    replicas, devices = [], []
    for segment in _list(path, document, "segments"):
        if not isinstance(segment, dict):
            raise _malformed(path, "a segment is not an object")
        piece = []
        for name in _list(path, segment, "operators"):
            if not isinstance(name, str) or name not in number:
                raise PartitionError(
                    f"{path}: segment {len(pieces)} has an operator {name!r:.200}, which the model does not have",
                    "Operators are named by the first tensor they write; was the file made for another model?",
                )
            piece.append(number[name])
        count = segment.get("replicas", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_REPLICAS:
            raise _malformed(path, f"segment {len(pieces)} has {count!r:.50} replicas")
        device = segment.get("device", "any")
        if device not in DEVICES:
            known = ", ".join(DEVICES)
            raise _malformed(path, f"segment {len(pieces)} has the device {device!r:.50}, which is none of {known}")
        pieces.append(piece)
        replicas.append(count)
        devices.append(device)
    try:
        partition = partition_of(graph, pieces, str(document.get("strategy", "file")))
    except PartitionError as error:
        raise PartitionError(f"{path}: {error.message}", error.hint) from error
    return PartitionFile(partition, tuple(replicas), tuple(devices), _stale_names(partition, document))


def _stale_names(partition: Partition, document: dict[str, Any]) -> tuple[Finding, ...]:
    written, crossing = document.get("cuts"), cut_tensors(partition)
    if written is None:
        return ()
    named = written if isinstance(written, list) else []
    if len(named) != len(crossing):
        why = f"the file names {len(named)} cuts, its segments make {len(crossing)}"
        return (Finding("cut_names", "cuts", why, "Write the partition anew."),)
    return tuple(
        Finding("cut_names", f"cut {n}", f"it is crossed by {', '.join(tensors) or 'nothing'}", "Correct its names.")
        for n, (names, tensors) in enumerate(zip(named, crossing))
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(tensors)
    )


def _document(path: str | Path) -> dict[str, Any]:
    import json

    content = map_file(path)
    if len(content) > MAX_BYTES:
        raise _malformed(path, f"it has {len(content)} bytes")
    try:
        document = json.loads(bytes(content))
    except UnicodeError as error:
        raise _malformed(path, "it is not JSON, and no text") from error
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"it is not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise _malformed(path, f'its "schema" is not "{SCHEMA}"')
    return document


def _list(path: str | Path, fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list) or not value:
        raise _malformed(path, f'"{name}" is not a list with something in it')
    return value


def _malformed(path: str | Path, why: str) -> PartitionError:
    return PartitionError(f"{path} is not a partition: {why}", "See docs/partitioning.md for the format.")
