"""Does every network of the zoo, cut into 1 to 8 segments, equal the whole bit for bit?

python benchmarks/equality_sweep.py [NETWORK ...]      default: all of them (an hour of processor time)

"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("ATOLL_VIRTUAL_TPUS", "pci:8")

from atoll import networks
from atoll.api.run import run
from atoll.device.plain import plain_interpreter
from atoll.errors import VerificationError
from atoll.model import Model
from atoll.products.random_inputs import random_inputs
from atoll.products.tensor_spec import Inputs

RESULTS = Path(__file__).parent / "results" / "equality_sweep.json"
MOST, INPUTS = 8, 3


def answers(model: Model, inputs: list[Inputs]) -> list[Inputs]:
    """Outputs of the uncut model by name."""
    whole = plain_interpreter(model)
    whole.allocate_tensors()
    found = []
    for item in inputs:
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], item[detail["name"]])
        whole.invoke()
        found.append({d["name"]: whole.get_tensor(d["index"]) for d in whole.get_output_details()})
    return found


def sweep(name: str) -> dict[str, object]:
    model = replace(networks.build(name), path=f"{name}.tflite")
    inputs = list(itertools.islice(random_inputs(model.main, seed=1), INPUTS))
    expected = answers(model, inputs)
    distinct = len({b"".join(a.tobytes() for a in outputs.values()) for outputs in expected})
    equal = 0
    for segments in range(1, MOST + 1):
        with contextlib.suppress(VerificationError):
            equal += run(model, tpus=segments, inferences=INPUTS, verify=INPUTS, input=inputs).verified == INPUTS
    return {"network": name, "cuts_equal": equal, "of": MOST, "distinct_answers": distinct}


def main() -> None:
    names = sys.argv[1:] or [entry.name for entry in networks.entries()]
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for name in names:
        begin = time.perf_counter()
        row = sweep(name)
        print(row, f"{time.perf_counter() - begin:.0f} s", flush=True)
        rows = sorted([r for r in rows if r["network"] != name] + [row], key=lambda r: r["network"])
        RESULTS.write_text("[\n" + ",\n".join(f"  {json.dumps(r)}" for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
