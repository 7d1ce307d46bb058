"""A stand-in for the vendor's compiler: its command line and output, and files that name a real chip.

The work is done by our own drop-in command, so both agree unless ``STANDIN_COMPILER`` says how this one errs:
``NAME=ERROR`` for the models whose names contain NAME.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

VERSION = "16.0.384591198"
NAME = "edgetpu_compiler"

_SCRIPT = """#!{python}
import sys
if "--version" in sys.argv:
    print("Edge TPU Compiler version {version}")
    sys.exit(0)
sys.path[:0] = {path!r}
from standin_compiler import main
sys.exit(main(sys.argv[1:]))
"""

_REFUSAL = """Compilation failed: Compilation failed due to large activation tensors in model.
Compilation failed! \n"""


def install(folder: Path, version: str = VERSION) -> Path:
    """Put the command into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    here = str(Path(__file__).parent)
    path.write_text(_SCRIPT.format(python=sys.executable, version=version, path=[here, *filter(None, sys.path)]))
    path.chmod(0o755)
    return path


def main(arguments: list[str]) -> int:
    """Compile as the vendor's compiler does; the last argument is the model."""
    model = Path(arguments[-1])
    directory = Path(arguments[arguments.index("-o") + 1])
    name, _, error = os.environ.get("STANDIN_COMPILER", "").partition("=")
    error = error if name in model.name else ""
    searching = "-d" in arguments
    if error == "refuse" or (error.startswith("stop:") and not searching):
        sys.stdout.write(f"Edge TPU Compiler version {VERSION}\n{_REFUSAL}")
        return 1
    if error.startswith("stop:"):
        arguments = [*(item for item in arguments[:-1] if item != "-d"), "-i", error[5:], str(model)]
    from atoll.vendor_tools import edgetpu_compiler

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = edgetpu_compiler.invoke(arguments)
    if error != "mute":
        sys.stdout.write(text.getvalue())
    output = directory / f"{model.stem}_edgetpu.tflite"
    if error == "garbage":
        output.write_text("no model")
    elif error.startswith("instead:"):
        output.write_bytes(Path(error[8:]).read_bytes())
    elif not code and error != "virtual":
        _for_real_chips(output)
    return code


def _for_real_chips(path: Path) -> None:
    from atoll.compiler.package_format import read_package, write_package
    from atoll.model import CUSTOM_OP
    from atoll.model.tflite import read_model, write_model

    model = read_model(path)
    operators = []
    for operator in model.main.operators:
        if operator.custom_code == CUSTOM_OP:
            package = read_package(operator.custom_options, str(path))
            executables = tuple(replace(item, chip="beagle") for item in package.executables)
            content = write_package(replace(package, executables=executables))
            operator = replace(operator, custom_options=content)
        operators.append(operator)
    graph = replace(model.main, operators=tuple(operators))
    made = path.with_suffix(".new")
    write_model(replace(model, graphs=(graph, *model.graphs[1:])), made)
    made.replace(path)
