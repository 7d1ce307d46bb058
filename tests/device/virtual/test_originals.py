"""Vendor-compiled files run from the models that they were made of, and from no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.errors import DeviceError
from atoll.model import Model
from atoll.model.tflite import read_model
from small_models import (
    assert_equal,
    branched,
    plain_interpreter,
    random_input,
    rename,
    run,
    vendor_compiled,
)

Save = Callable[[Model], Path]


def test_original_of_a_vendor_compiled_file(save: Save) -> None:
    model = branched()
    path, original = save(vendor_compiled(model, [0, 1, 2])), save(model)
    with pytest.raises(DeviceError, match="no 'cpu' signature") as caught:
        make_interpreter(path, VirtualEdgeTpu())
    assert "--original" in caught.value.hint
    oracle = plain_interpreter(model)
    interpreter = make_interpreter(path, VirtualEdgeTpu(), original=original)
    interpreter.allocate_tensors()
    values = random_input(oracle, np.random.default_rng(3))
    assert_equal(run(interpreter, values), run(oracle, values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (1, 4, 4, 8)}, r"'sum' differs in its shape: \[1, 8, 8, 4\], there \[1, 4, 4, 8\]"),
        ({"quantization": None}, r"'sum' differs in its quantisation: scale .* zero point \[3\], there none"),
        ({"name": "other"}, "'sum'"),
    ],
)
def test_original_that_is_another_model(save: Save, changes: dict[str, object], message: str) -> None:
    model = branched()
    path, other = save(vendor_compiled(model, [0, 1, 2])), save(rename(model, 0, "sum", **changes))
    with pytest.raises(DeviceError, match=message):
        make_interpreter(path, VirtualEdgeTpu(), original=other)


def test_original_with_other_weights_on_the_cpu(save: Save) -> None:
    model = branched()
    other = branched()
    weights = next(t for t in other.main.tensors if t.name == "conv_3/weights")
    buffer = replace(weights.buffer, data=(weights.buffer.data ^ 1)) if weights.buffer else None
    path = save(vendor_compiled(model, [0, 1, 2]))
    with pytest.raises(DeviceError, match="'conv_3/weights' has other values"):
        make_interpreter(path, VirtualEdgeTpu(), original=save(rename(other, 0, "conv_3/weights", buffer=buffer)))


def test_original_that_is_compiled_itself(save: Save) -> None:
    path = save(vendor_compiled(branched(), [0]))
    with pytest.raises(DeviceError, match="is compiled itself"):
        make_interpreter(path, VirtualEdgeTpu(), original=path)


def vendor_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Files of the vendor's compilers 16 and 2.x with what they were made from."""
    compiled_files = [*(folder / "v16").glob("*_edgetpu.tflite"), *(folder / "v2").glob("*_edgetpu.tflite")]
    pairs = []
    for path in sorted(compiled_files):
        home = folder / ("uncompiled" if path.parent.name == "v16" else "v2")
        pairs.append((path, home / path.name.replace("_edgetpu", "")))
    return pairs


def test_real_vendor_files_run_from_their_originals(shared: Path) -> None:
    """Every pair of ../shared, bit for bit."""
    pairs = vendor_pairs(shared / "data/models")
    assert len(pairs) >= 10
    for path, original in pairs:
        interpreter = make_interpreter(path, VirtualEdgeTpu(), original=original)
        interpreter.allocate_tensors()
        oracle = plain_interpreter(read_model(original))
        values = random_input(oracle, np.random.default_rng(1))
        assert_equal(run(interpreter, values), run(oracle, values))


def test_real_vendor_files_with_the_original_of_another(shared: Path) -> None:
    pairs = [pair for pair in vendor_pairs(shared / "data/models") if pair[0].parent.name == "v2"]
    for (path, own), (_, other) in ((a, b) for a in pairs for b in pairs):
        if own != other:
            with pytest.raises(DeviceError, match=r"'.*'"):  # a tensor is named
                make_interpreter(path, VirtualEdgeTpu(), original=other)
