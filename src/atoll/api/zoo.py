"""``atoll.zoo``: the list of standard networks; a name → that network as a file."""

from __future__ import annotations

from pathlib import Path

from atoll import networks
from atoll.errors import UsageError
from atoll.model.tflite import write_model
from atoll.products.arguments import require_types
from atoll.products.progress import OnProgress, ignore
from atoll.reporting.zoo_report import ZooReport


def zoo(
    name: str | None = None, *, seed: int = 0, output: str | Path | None = None, on_progress: OnProgress = ignore
) -> ZooReport:
    """List the standard networks, or build one as a full-integer int8 model with random weights and write it.

    Shapes, parameters and multiply-accumulates are those of the published networks; the weights are random, so the
    answers mean nothing. :func:`atoll.networks.build` gives the model without a file.

    Args:
        name: The network to build, as listed; None: only list them.
        seed: Seed of the random weights, 0 or more; equal seeds give equal files.
        output: The file to write; by default ``NAME.tflite`` in the working directory.
        on_progress: Called with what is being built.

    Raises:
        UsageError: There is no such network, or the seed is negative, or there is an output without a name.
        OutputError: The file cannot be written.

    >>> import atoll
    >>> {entry.name: entry.input_shape for entry in atoll.zoo().networks}["resnet50"]
    (1, 224, 224, 3)
    """
    require_types(zoo, locals())
    if name is None:
        if output is not None:
            raise UsageError(f"no network is named for {output}", "atoll.zoo() lists them.")
        return ZooReport(networks.entries())
    entry = networks.entry(name)
    path = output or f"{name}.tflite"
    on_progress(f"building {name}")
    write_model(networks.build(name, seed), path)
    return ZooReport((entry,), str(path), seed)
