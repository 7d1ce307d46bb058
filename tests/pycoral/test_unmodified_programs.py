"""Programs written for the vendor's packages run as they are; the command of the document does, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli import invoke
from atoll.vendor_tools.model_pipelining import command

PROGRAM = """
import sys, threading
import numpy as np
from pycoral.adapters import classify, common, detect, segment
from pycoral.learn.backprop.softmax_regression import SoftmaxRegression
from pycoral.learn.imprinting.engine import ImprintingEngine
import pycoral.pipeline.pipelined_model_runner as pipeline
from pycoral.utils.dataset import read_label_file
from pycoral.utils.edgetpu import list_edge_tpus, make_interpreter
import tflite_runtime.interpreter as tflite

assert __name__ == "__main__"
import helper
paths = sys.argv[1:]
devices = ["%s:%d" % (tpu["type"], i) for i, tpu in enumerate(list_edge_tpus())]
first = make_interpreter(paths[0], devices[0])
delegate = tflite.load_delegate("libedgetpu.so.1", {"device": ":1"})
second = tflite.Interpreter(paths[1], experimental_delegates=[delegate])
for interpreter in (first, second):
    interpreter.allocate_tensors()
runner = pipeline.PipelinedModelRunner([first, second])
name = first.get_input_details()[0]["name"]
def produce():
    for i in range(5):
        runner.push({name: np.full((1, 8, 8, 4), i, np.int8)})
    runner.push({})
producer = threading.Thread(target=produce)
producer.start()
count = 0
while True:
    result = runner.pop()
    if not result:
        break
    count += 1
producer.join()
print(helper.NAME, count)
sys.exit(7)
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "atoll.pycoral", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_program(models: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "helper.py").write_text("NAME = 'results'")
    segments = [models / f"net_segment_{i}_of_2_edgetpu.tflite" for i in range(2)]
    done = run(tmp_path / "program.py", *segments)
    assert (done.returncode, done.stdout) == (7, "results 5\n"), done.stderr


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing.py")
    assert done.returncode == 2
    assert "there is no program" in done.stderr
    assert "Traceback" not in done.stderr
    assert run().returncode == 2


def test_the_command_of_the_document(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert invoke(command, [str(models), "net", "2", "20"]) == 0
    out = capsys.readouterr().out
    assert "net_segment_0_of_2_edgetpu.tflite" in out
    assert "net_segment_1_of_2_edgetpu.tflite" in out
    assert "over 20 inferences" in out
    assert invoke(command, [str(models), "net", "1", "5"]) == 0
    assert "net_edgetpu.tflite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "segments", "inferences", "code"),
    [("other", "2", "1", 11), ("net", "3", "1", 11), ("net", "0", "1", 2), ("net", "2", "0", 2), ("net", "x", "1", 2)],
)
def test_the_commands_mistakes(
    models: Path, capsys: pytest.CaptureFixture[str], name: str, segments: str, inferences: str, code: int
) -> None:
    assert invoke(command, [str(models), name, segments, inferences]) == code
    assert capsys.readouterr().err
