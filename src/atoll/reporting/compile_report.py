"""What ``atoll compile`` says: the files, what of each runs on the Edge TPU, and why not the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from atoll.compiler.interface import Attempt
from atoll.compiler.memory.order import OrderSearch
from atoll.products.result import Result, plain
from atoll.products.table import Column, Table, Value
from atoll.products.units import size
from atoll.reporting.file_report import FileReport

if TYPE_CHECKING:
    from atoll.compiler.external.agreement import Agreement

_SHOWN_ORDERS = 24
_LISTED_ORDERS = 1000


@dataclass(frozen=True, slots=True, repr=False)
class CompileReport(Result):
    """What ``atoll compile`` says about its files."""

    schema: ClassVar[str] = "compile/2"

    models: tuple[str, ...]
    """In the order in which they were given."""
    directory: str
    """Where the files are; "" is the current directory."""
    compiler: str
    """Its name and version."""
    compiler_path: str
    """Path of the vendor's compiler; "" if it was ours."""
    virtual: bool
    """Whether the files are for virtual devices only."""
    default_runtime: int
    """What the compiler's files need unless another is asked for."""
    files: tuple[FileReport, ...]
    """One per segment, or one per co-compiled model, in the order of compilation."""
    attempts: tuple[Attempt, ...] = ()
    """The tries of the search for a compilation that succeeds: each when it began, and again when it failed."""
    orders: OrderSearch | None = None
    """The orders of co-compiled models that were tried."""
    agreements: tuple[Agreement, ...] = ()
    """What the vendor's compiler says of each file, beside our prediction."""

    def answer(self) -> tuple[str, ...]:
        """How much runs on the Edge TPU, and where its parameters lie."""
        mapped, total = sum(f.mapped_operators for f in self.files), sum(f.total_operators for f in self.files)
        on_chip, off_chip = sum(f.on_chip_bytes for f in self.files), sum(f.off_chip_bytes for f in self.files)
        sentences = [
            f"{mapped} of {total} operators run on the Edge TPU; {size(on_chip)} of parameters on-chip, "
            f"{size(off_chip) if off_chip else '0'} off-chip."
        ]
        if self.agreements:
            from atoll.compiler.external.agreement import sentences as agreeing

            sentences += agreeing(self.agreements)
        if self.orders is not None:
            proof = "the true optimum" if self.orders.exhaustive else "the best found; there are too many to try all"
            sentences.append(f"Compiled in the first order below: {proof}.")
        return (*sentences, *self._hints())

    def tables(self) -> tuple[Table, ...]:
        """The files; the orders that were tried; the reasons of operators that stay on the CPU."""
        if self.agreements:
            from atoll.reporting.agreement_table import agreement_table

            found = [agreement_table(self.agreements)]
        else:
            found = [_files_table(self.files, len(self.files) > len(self.models))]
        if self.orders is not None:
            found.append(_orders_table(self.models, self.orders))
        reasons = _reasons_table(self.files)
        return (*found, reasons) if reasons.rows else tuple(found)

    def basis(self) -> tuple[str, ...]:
        """Who compiled, for which devices, and what was tried before."""
        failed = [
            f"Stopping after {attempt.operators} operators failed: {attempt.failure.message}"
            for attempt in self.attempts
            if attempt.failure is not None
        ]
        left_out = len(self.orders.orders) - _SHOWN_ORDERS if self.orders is not None else 0
        more = [f"{left_out} more orders stream as much or more."] if left_out > 0 else []
        whom = "virtual Edge TPUs; real ones need the vendor's compiler" if self.virtual else "real Edge TPUs"
        ours = " Operators and reasons are those of our prediction." if self.agreements else ""
        return (*failed, *more, f"Compiled by {self.compiler}, for {whom}.{ours}")

    def to_dict(self) -> dict[str, Any]:
        """Every field; of the attempts, those that failed and the last one."""
        fields = Result.to_dict(self)
        fields["files"] = [{**plain(file), "log": file.log} for file in self.files]
        failed = {(each.segment, each.operators) for each in self.attempts if each.failure is not None}
        fields["attempts"] = [
            {
                "segment": each.segment,
                "operators": each.operators,
                "tensors": list(each.tensors),
                "failure": each.failure and each.failure.message,
            }
            for each in self.attempts
            if each.failure is not None or (each.segment, each.operators) not in failed
        ]
        if self.orders is not None:
            fields["orders"] = {
                "exhaustive": self.orders.exhaustive,
                "tried": len(self.orders.orders),
                "orders": [
                    {**plain(order), "models": [self.models[i] for i in order.models]}
                    for order in self.orders.orders[:_LISTED_ORDERS]
                ],
            }
        return fields

    def _hints(self) -> Iterator[str]:
        """What would make the result better."""
        for file in self.files:
            if not file.subgraphs:
                yield f"Nothing of {file.input} runs on the Edge TPU; see the reasons below."
            elif len(self.files) == 1 and file.streams:
                capacity = file.on_chip_bytes + file.remaining_bytes
                count = max(2, -(-(file.on_chip_bytes + file.off_chip_bytes) // max(1, capacity)))
                yield (
                    f"{size(file.off_chip_bytes)} of parameters are sent with every inference. With {count} or more "
                    f"Edge TPUs they might all stay on the chips: --segments {count}"
                )
            elif file.runtime > self.default_runtime:
                yield f"{file.output} needs Edge TPU runtime {file.runtime}."
        streaming = [file.output for file in self.files if file.off_chip_bytes]
        if len(self.files) > 1 and streaming:
            yield f"Parameters of {', '.join(streaming)} are sent with every inference."


def _files_table(files: tuple[FileReport, ...], cut: bool) -> Table:
    columns = (
        Column("segment", "number"),
        Column("file", "name"),
        Column("operators", "number", importance=1),
        Column("on TPU", "number"),
        Column("on-chip", "bytes"),
        Column("remaining", "bytes", importance=2),
        Column("off-chip", "bytes"),
        Column("runtime", "number", importance=3),
        Column("size", "bytes", importance=4),
    )
    rows = [
        (
            number if cut else None,
            file.output,
            file.total_operators,
            file.mapped_operators,
            file.on_chip_bytes,
            file.remaining_bytes,
            file.off_chip_bytes,
            file.runtime if file.subgraphs else None,
            file.output_bytes,
        )
        for number, file in enumerate(files)
    ]
    return Table.of(columns, rows, "Files")


def _orders_table(models: tuple[str, ...], orders: OrderSearch) -> Table:
    names = [Path(model).name.removesuffix(".tflite") for model in models]
    columns = (Column("order"), Column("on-chip"), Column("off-chip"), Column("streamed per second", "bytes"))
    rows: list[tuple[Value, ...]] = [
        (
            " ".join(names[i] for i in order.models),
            " ".join(size(order.cached[i]) for i in order.models),
            " ".join(size(order.streamed[i]) for i in order.models),
            round(order.cost),
        )
        for order in orders.orders[:_SHOWN_ORDERS]
    ]
    return Table.of(columns, rows, "Orders of the models")


def _reasons_table(files: tuple[FileReport, ...]) -> Table:
    """Every rule that keeps operators on the CPU, with the first operator that it speaks of."""
    findings = [finding for file in files for item in file.operators for finding in item.findings]
    first = {finding.rule: finding for finding in reversed(findings)}
    counts = Counter(finding.rule for finding in findings)
    columns = (Column("operator", "name"), Column("why"), Column("what to do"), Column("more like it", "number"))
    rows = [
        (first[rule].where, first[rule].why, first[rule].remedy, count - 1 or None) for rule, count in counts.items()
    ]
    return Table.of(columns, rows, "Why operators stay on the CPU", records=True)
