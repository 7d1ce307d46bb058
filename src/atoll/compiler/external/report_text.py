"""What a compilation gave → standard output and log files, laid out as the vendor's compiler 16 prints them.

Programs read this text, so every space counts. Source: ../shared/facts/compiler.md ("Standard output, compiler 16").
Only the order of the table's rows is ours: the vendor's varies from run to run, here it is the order of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atoll.hardware.generations import DEFAULT
from atoll.products.units import size
from atoll.support.operator_rows import OperatorRow
from atoll.support.operators import Status

VERSION = f"Edge TPU Compiler version {DEFAULT.version}"
SUCCEEDED = "Compilation succeeded! "
FAILED = "Compilation failed! "
ABORTED = "Internal compiler error. Aborting! "
WITHIN_TIMEOUT = "Compilation child process completed within timeout period."
TIMEOUT = "Compilation timeout. This is usually caused by large activations."
DYNAMIC_LINES = (
    "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized "
    "tensors.",
    "Compilation failed: Model failed in Tflite interpreter. "
    "Please ensure model can be loaded/run in Tflite interpreter.",
)
_PARTLY_MAPPED = (
    "Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will "
    "instead run on the CPU, which is slower. If possible, consider updating your model to use only operations "
    "supported by the Edge TPU. For details, visit g.co/coral/model-reqs."
)
_SEE_LOG = "See the operation log file for individual operation details."


@dataclass(frozen=True, slots=True)
class VendorBlock:
    """One model, or one segment, as the vendor reports it; bytes."""

    input_model: str
    input_bytes: int
    output_model: str
    output_bytes: int
    on_chip_used: int
    on_chip_remaining: int
    off_chip_used: int
    subgraphs: int
    operators: tuple[OperatorRow, ...]
    operation_log: str

    @property
    def total_operators(self) -> int:
        """On the Edge TPU and on the CPU."""
        return sum(row.count for row in self.operators)

    @property
    def mapped_operators(self) -> int:
        """On the Edge TPU."""
        return sum(row.count for row in self.operators if row.status == Status.MAPPED.value)


def timer_line(seconds: int) -> str:
    """Before each compilation."""
    return f"Started a compilation timeout timer of {seconds} seconds."


def search_line(step: int) -> str:
    """Before the first attempt of ``-d``."""
    return f"Searching for valid delegate with step {step}"


def attempt_lines(operators: int, tensors: Sequence[str]) -> list[str]:
    """Before each attempt of ``-d``; ``tensors`` is where it stops, none for the first."""
    lines = [f"Try to compile segment with {operators} ops"]
    return [*lines, f"Intermediate tensors: {','.join(tensors)}"] if tensors else lines


def success_lines(blocks: Sequence[VendorBlock], milliseconds: int, show_operations: bool) -> list[str]:
    """Everything between the timer line and :data:`WITHIN_TIMEOUT`; several blocks are co-compiled models."""
    lines = ["", f"Model{'s' * (len(blocks) > 1)} compiled successfully in {milliseconds} ms."]
    for block in blocks:
        lines += ["", *_block_lines(block), *(["", *table_lines(block.operators)] if show_operations else [_SEE_LOG])]
    return lines


def _block_lines(block: VendorBlock) -> list[str]:
    lines = [
        f"Input model: {block.input_model}",
        f"Input size: {size(block.input_bytes)}",
        f"Output model: {block.output_model}",
        f"Output size: {size(block.output_bytes)}",
        f"On-chip memory used for caching model parameters: {size(block.on_chip_used)}",
        f"On-chip memory remaining for caching model parameters: {size(block.on_chip_remaining)}",
        f"Off-chip memory used for streaming uncached model parameters: {size(block.off_chip_used)}",
        f"Number of Edge TPU subgraphs: {block.subgraphs}",
        f"Total number of operations: {block.total_operators}",
        f"Operation log: {block.operation_log}",
    ]
    if block.mapped_operators < block.total_operators:
        lines += [
            "",
            _PARTLY_MAPPED,
            f"Number of operations that will run on Edge TPU: {block.mapped_operators}",
            f"Number of operations that will run on CPU: {block.total_operators - block.mapped_operators}",
        ]
    return lines


def table_lines(rows: Iterable[OperatorRow]) -> list[str]:
    """Name left-justified in 31 columns, count in 11, then the status."""
    return [
        f"{'Operator':<31}{'Count':<11}Status",
        "",
        *(f"{row.operator:<31}{row.count:<11}{row.status}" for row in rows),
    ]


def log_text(block: VendorBlock) -> str:
    """The ``.log`` file beside a compiled model."""
    head = [VERSION, f"Input: {block.input_model}", f"Output: {block.output_model}", ""]
    return "\n".join([*head, *table_lines(block.operators)]) + "\n"
