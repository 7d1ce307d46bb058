"""Everything measured of the vendor's compiler in ../shared/data -> docs/validation.md: ours against theirs.

Run by `make validate`. What does not agree is printed as what does: the report is there to show the errors.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atoll.compiler.emit import CompiledSegment
from atoll.compiler.external.report_parser import ParsedModel, ParsedReport, parse_vendor
from atoll.compiler.external.report_text import (
    SUCCEEDED,
    VERSION,
    WITHIN_TIMEOUT,
    VendorBlock,
    log_text,
    success_lines,
    timer_line,
)
from atoll.compiler.inspection import inspect_model
from atoll.compiler.memory import model_parameters, plan_memory
from atoll.hardware.generations import DEFAULT, generation
from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Tensor
from atoll.model.subgraph import extract
from atoll.model.tflite import read_model
from atoll.partitioning import equal_parameters, partition_at
from atoll.products.units import size
from atoll.toolchain import CompileOptions, compile_models

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
REPORT = ROOT / "docs" / "validation.md"
PAIRS = (("uncompiled", "v16", "16"), ("v2", "v2", "2.1"))
"""Folders of the original and of the compiled file, and the compiler that made the latter."""


def main() -> None:
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not here: there is nothing to validate against")
    sections = [
        "# Validation",
        "Made by `make validate` from the measured data beside the repository (`../shared/data`). "
        "Every figure is ours against the vendor's; ≠ marks what differs.",
        *pairs(),
        *sweeps(),
        *logs(),
    ]
    REPORT.write_text("\n\n".join(sections) + "\n")
    print(f"{REPORT.relative_to(ROOT)}: {sum(section.count('≠') for section in sections[2:])} differences")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def against(ours: object, theirs: object) -> str:
    return f"{ours}" if ours == theirs else f"{ours} ≠ {theirs}"


# Pairs: a model and its compiled file.


def pairs() -> Iterator[str]:
    yield "## Pairs: mapping, parameters, runtime"
    goldens = {entry["file"]: entry for entry in json.loads((DATA / "goldens.json").read_text())}
    results = [_pair(goldens[f], segment, path) for f, segment, path in _compiled_pairs(goldens)]
    columns = (
        "file", "compiler", "mapped", "on the CPU", "cached bytes", "streamed bytes", "on-chip used", "layers placed",
        "layers' bytes found", "runtime",
    )  # fmt: skip
    yield table(columns, results)
    yield (
        "*on-chip used*: 256 bytes times the rows of the cached layers; theirs is the sum over the layers that the "
        "data lists (Conv2D, DepthwiseConv2D, FullyConnected), – where it does not list all of them. *layers placed*: "
        "cached or streamed as in the vendor's file. *layers' bytes found*: our packed bytes of the layer occur in the "
        "vendor's blob. *runtime*: ours is the least that the mapped operators need by the table of operators; the "
        "vendor's compiler 16 writes 12 for models that the table says need less or more. Known gaps "
        "(facts, parameters.md): the LSTM's unrolling identities, and split_concat's channel identities."
    )


def _compiled_pairs(goldens: dict[str, Any]) -> Iterator[tuple[str, CompiledSegment, Path]]:
    models = DATA / "models"
    for originals, folder, compiler in PAIRS:
        options = CompileOptions(generation=generation(compiler))
        for path in sorted((models / originals).glob("*.tflite")):
            name = f"{folder}/{path.stem}_edgetpu.tflite"
            if name in goldens:
                _, compiled = compile_models([read_model(path)], options)
                yield name, compiled.segments[0], models / name
    for file in sorted(name for name in goldens if "cocompiled_with" in name):
        first, second = Path(file).name.removesuffix("_edgetpu.tflite").split("_cocompiled_with_")
        paths = [models / "uncompiled" / f"{name}.tflite" for name in (first, second)]
        _, compiled = compile_models([read_model(path) for path in paths])
        yield file, compiled.segments[0], models / file


def _pair(golden: dict[str, Any], segment: CompiledSegment, vendor: Path) -> tuple[str, ...]:
    source, mapping, memory = segment.source, segment.mapping, segment.memory
    mapped = {index for region in mapping.regions for index in region}
    counts = _counts(source.main, mapped)
    cpu = _counts(source.main, set(range(len(source.main.operators))) - mapped)
    placed = {item.layer.operator: "cached" if item.cached else "streamed" for item in memory.layers}
    known = [layer for layer in golden["layers"] if layer.get("found") in ("cached", "streamed")]
    same = sum(placed.get(layer["op"]) == layer["found"] for layer in known)
    rows = sum(layer["rows"] for layer in known if layer["found"] == "cached")
    whole = len(known) == len(golden["layers"]) > 0 and len(known) == sum(item.layer.rows > 0 for item in memory.layers)
    report = inspect_model(read_model(vendor), source)
    own = [item for region in report.regions for item in region.placed]
    found = sum(item.placement != "not found" for item in own)
    cached = sum(item.layer.nbytes for item in memory.layers if item.cached)
    runtime = max(region["min_runtime_version"] for region in golden["subgraphs"])
    return (
        vendor.stem.removesuffix("_edgetpu"),
        golden["compiler_era"],
        f"{sum(counts.values())}" + ("" if counts == golden["mapped_ops"] else f" ≠ {golden['mapped_ops']}"),
        f"{sum(cpu.values())}" + ("" if cpu == golden["cpu_ops"] else f" ≠ {golden['cpu_ops']}"),
        against(cached, golden["cached_bytes"]),
        against(segment.off_chip_bytes, golden["streamed_bytes"]),
        against(segment.on_chip_bytes, 256 * rows) if whole else f"{segment.on_chip_bytes} (–)",
        f"{same} of {len(known)}" + ("" if same == len(known) else " ≠"),
        f"{found} of {len(own)}" + ("" if found == len(own) else " ≠"),
        against(mapping.runtime, runtime),
    )


def _counts(graph: Graph, indices: Iterable[int]) -> dict[str, int]:
    result: dict[str, int] = {}
    for index in indices:
        name = graph.operators[index].name
        result[name] = result.get(name, 0) + 1
    return result


# Sweeps: nets of one kind, with the memory that compiler 16 printed for each.


def sweeps() -> Iterator[str]:
    yield "## Sweeps: on-chip used and off-chip, compiler 16"
    rows = []
    for title, lines in _sweep_lines():
        rows += [(f"{title}, {what}", *_errors(pairs)) for what, pairs in _memory(lines).items()]
    yield table(("net", "segments", "equal", "mean error", "worst error"), rows)
    yield (
        "Equal: to the last digit that the compiler printed. A segment that caches one layer more or less than the "
        "vendor's differs by that layer, up to 4.7 MiB; which ones do depends on the reserve, which is fitted "
        "(`benchmarks/fit_reserve.py`)."
    )


Line = tuple[Model, int, list[float], list[float]]


def _sweep_lines() -> Iterator[tuple[str, list[Line]]]:
    def rows(name: str) -> list[dict[str, str]]:
        with (DATA / "sweeps" / name).open() as file:
            return list(csv.DictReader(file))

    yield (
        "fully connected, 1 segment",
        [(dense_net(int(r["neurons"])), 1, [float(r["on_MiB"])], [float(r["off_MiB"])]) for r in rows("fc_1tpu.csv")],
    )
    yield (
        "convolutions, 1 segment",
        [(conv_net(int(r["filters"])), 1, [float(r["on_MiB"])], [float(r["off_MiB"])]) for r in rows("conv_1tpu.csv")],
    )
    cut = {(r["filters"], r["segments"], r["split"]): r for r in rows("conv_segments.csv") if int(r["segments"]) > 1}
    for count in (2, 3, 4):
        yield (
            f"convolutions, {count} segments",
            [
                (
                    conv_net(int(r["filters"])),
                    count,
                    *(json.loads(r[f"{s}_chip_MiB_per_segment"]) for s in ("on", "off")),
                )
                for (_, segments, split), r in cut.items()
                if int(segments) == count and split == "vendor"
            ],
        )


def _memory(lines: Iterable[Line]) -> dict[str, list[tuple[int, float]]]:
    pairs: dict[str, list[tuple[int, float]]] = {"on-chip": [], "off-chip": []}
    for model, count, on, off in lines:
        partition = partition_at(model.main, equal_parameters(model.main, count), "")
        for segment, theirs_on, theirs_off in zip(partition.segments, on, off):
            part = extract(model, segment.operators, inputs=segment.inputs, outputs=segment.outputs).main
            own = model_parameters(part, range(len(part.operators)))
            (plan,) = plan_memory([own]).models
            pairs["on-chip"].append((plan.used, theirs_on))
            pairs["off-chip"].append((plan.off_chip, theirs_off))
    return pairs


def _errors(pairs: Sequence[tuple[int, float]]) -> tuple[object, ...]:
    wrong = [abs(ours - mib * 2**20) for ours, mib in pairs if not _same(ours, mib)]
    equal = f"{len(pairs) - len(wrong)}" + (f" ≠ {len(pairs)}" if wrong else "")
    return len(pairs), equal, size(round(sum(wrong) / max(1, len(pairs)))), size(round(max(wrong, default=0)))


def _same(ours: int, mib: float) -> bool:
    """The data holds what was printed, in MiB: two decimals of KiB or of MiB."""
    step = 0.01 * (1024 if mib < 1 else 1024**2)
    return abs(ours - mib * 2**20) <= step / 2 + 1


def conv_net(filters: int) -> Model:
    """Five 3×3 convolutions on a 64×64×3 image."""
    shapes = [(filters, 3, 3, 3)] + [(filters, 3, 3, filters)] * 4
    return _net("CONV_2D", "Conv2DOptions", (1, 64, 64, 3), [(1, 64, 64, filters)] * 5, shapes)


def dense_net(neurons: int) -> Model:
    """Fully connected 64 → N → N → N → N → 10."""
    sizes = [64, *[neurons] * 4, 10]
    shapes = [(b, a) for a, b in itertools.pairwise(sizes)]
    return _net("FULLY_CONNECTED", "FullyConnectedOptions", (1, 64), [(1, n) for n in sizes[1:]], shapes)


def _net(
    kind: str,
    options: str,
    source: tuple[int, ...],
    outputs: Sequence[tuple[int, ...]],
    weights: Sequence[tuple[int, ...]],
) -> Model:
    """Layers one after the other, int8, without bias; convolutions have a scale per channel, as the converter makes."""
    plain = Quantization(np.array([0.05], np.float32), np.zeros(1, np.int64))
    tensors, operators, last = [Tensor("input", source, DType.INT8, plain)], [], 0
    for number, (shape, kernel) in enumerate(zip(outputs, weights)):
        channels = kernel[0] if kind == "CONV_2D" else 1
        scales = Quantization(np.linspace(0.01, 0.02, channels, dtype=np.float32), np.zeros(channels, np.int64))
        buffer = Buffer(np.zeros(int(np.prod(kernel)), np.uint8))
        bias = Buffer(np.zeros(4 * kernel[0], np.uint8))
        tensors += [
            Tensor(f"{number}/weights", kernel, DType.INT8, scales, buffer),
            Tensor(f"{number}/bias", (kernel[0],), DType.INT32, scales, bias),
            Tensor(f"{number}", shape, DType.INT8, plain),
        ]
        at = len(tensors) - 1
        values = {"padding": 0, "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
        operators.append(Operator(kind, (last, at - 2, at - 1), (at,), values if kind == "CONV_2D" else {}, options, 3))
        last = at
    return Model((Graph(tuple(tensors), tuple(operators), (0,), (last,)),))


# Logs: what the compiler printed, mostly for models that are not at hand.


def logs() -> Iterator[str]:
    entries = json.loads((DATA / "vendor_logs.json").read_text())
    yield "## Logs"
    rows = [row for entry in entries for row in _log_rows(entry)]
    read = sum(row[3] == "yes" for row in rows)
    yield (
        f"{len(entries)} texts, {len(rows)} models in them; {read} read with every recorded field. "
        "*printed again*: a complete text of compiler 16, printed from what was read of it, is the same to the byte. "
        "*reserve*: rows per tile that used + remaining of a single model leave of 8 MiB (printed to 2.5 rows). "
        "No logged model is at hand (one of the same name, mobilenet_v2_1.0_224_quant, has other operators), so there "
        "is nothing of ours to set beside mapping and memory; those are compared on the pairs and the sweeps above."
    )
    columns = ("id", "compiler", "model", "read", "printed again", "operators", "on-chip used", "remaining", "off-chip",
               "reserve")  # fmt: skip
    yield table(columns, rows)


def _log_rows(entry: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    report = parse_vendor(entry["raw"])
    read = "yes" if _recorded(entry) == _as_recorded(report) else "no ≠"
    again = _printed_again(entry, report)
    if not report.models:
        what = "; ".join(report.errors)[:90].replace("|", "\\|") or f"{len(report.operators)} table rows"
        yield entry["id"], report.version or "?", f"({what})", read, again, "", "", "", "", ""
    for model in report.models:
        yield (
            entry["id"], report.version or "?", f"`{Path(model.input_model or '?').name}`", read, again,
            model.total_operators or sum(row.count for row in model.operators) or "",
            *(s.text if s else "" for s in (model.on_chip_used, model.on_chip_remaining, model.off_chip_used)),
            _implied_reserve(model) if len(report.models) == 1 else "",
        )  # fmt: skip


FIELDS = {
    "input_model": "input_model", "input_size": "input_size", "output_model": "output_model",
    "output_size": "output_size", "on_chip_available": "on_chip_available", "on_chip_used": "on_chip_used",
    "on_chip_remaining": "on_chip_remaining", "off_chip_used": "off_chip_used", "subgraphs": "subgraphs",
    "total_ops": "total_operators", "operation_log": "operation_log", "ops_tpu": "mapped_operators",
    "ops_cpu": "cpu_operators",
}  # fmt: skip
"""Names in vendor_logs.json and in :class:`ParsedModel`."""


def _recorded(entry: dict[str, Any]) -> tuple[object, ...]:
    models = [{k: v["text"] if isinstance(v, dict) else v for k, v in model.items()} for model in entry["models"]]
    return entry["version"], entry["compile_ms"], models


def _as_recorded(report: ParsedReport) -> tuple[object, ...]:
    models: list[dict[str, object]] = []
    for model in report.models:
        values = {key: getattr(model, name) for key, name in FIELDS.items()}
        fields: dict[str, object] = {k: getattr(v, "text", v) for k, v in values.items() if v is not None}
        models.append(fields | {"ops": [[row.operator, row.count, row.status] for row in model.operators]})
    return report.version, report.milliseconds, models


def _printed_again(entry: dict[str, Any], report: ParsedReport) -> str:
    raw, models = entry["raw"], report.models
    if not entry["complete"] or report.version != DEFAULT.version or len(models) != 1 or report.attempts:
        return ""
    if "\nInput: " in raw:
        return "yes" if log_text(_block(models[0])) == raw else "no ≠"
    seconds = re.search(r"timer of (\d+) seconds", raw)
    if seconds is None or report.milliseconds is None or not raw.endswith(f"{SUCCEEDED}\n"):
        return ""  # whoever copied it changed it
    lines = [VERSION, timer_line(int(seconds[1]))]
    lines += success_lines([_block(models[0])], report.milliseconds, bool(models[0].operators))
    return "yes" if "\n".join([*lines, WITHIN_TIMEOUT, SUCCEEDED]) + "\n" == raw else "no ≠"


def _block(model: ParsedModel) -> VendorBlock:
    from atoll.support.operator_rows import OperatorRow

    total = model.total_operators or 0
    mapped = total if model.mapped_operators is None else model.mapped_operators
    sums = (OperatorRow("", mapped, "Mapped to Edge TPU"), OperatorRow("", total - mapped, ""))
    nbytes = {
        ours: getattr(model, theirs).nbytes if getattr(model, theirs) else 0
        for ours, theirs in (
            ("input_bytes", "input_size"),
            ("output_bytes", "output_size"),
            ("on_chip_used", "on_chip_used"),
            ("on_chip_remaining", "on_chip_remaining"),
            ("off_chip_used", "off_chip_used"),
        )
    }
    return VendorBlock(
        input_model=model.input_model or "",
        output_model=model.output_model or "",
        subgraphs=model.subgraphs or 0,
        operators=model.operators or sums,
        operation_log=model.operation_log or "",
        **nbytes,
    )


def _implied_reserve(model: ParsedModel) -> str:
    if model.on_chip_used is None or model.on_chip_remaining is None or not model.subgraphs:
        return ""
    return f"{2048 - (model.on_chip_used.nbytes + model.on_chip_remaining.nbytes) / 4096:.0f}"


if __name__ == "__main__":
    main()
