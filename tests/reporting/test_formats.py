"""Every result in every format: programs read back what was in it, and a format is one module."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from atoll.model.tflite import write_model
from atoll.products.layout import printable, width
from atoll.products.table import Column, Table
from atoll.reporting import formats
from builders import chain
from table_strategies import TEXTS, Anything, tables


@given(tables())
def test_csv_is_the_values(table: Table) -> None:
    text = formats.render(Anything((table,)), "csv")
    assert all(line.isprintable() for line in text.split("\n"))
    if not table.columns:
        return
    heading, *rows = csv.reader(io.StringIO(text + "\n", newline=""))
    assert heading == list(table.keys) and len(set(heading)) == len(table.columns)
    expected = [["" if v is None else printable(str(v)) for v in row] for row in table.rows]
    if len(table.columns) > 1:  # a line of one empty value is an empty line
        assert rows == expected


def test_csv_has_the_same_columns_for_every_model() -> None:
    columns = (Column("a/b", "number", unit="ms"), Column("a b", "bytes"), Column("a-b"))
    for rows in ([], [(1.5, None, None)], [(None, 3, "x")]):
        heading = formats.render(Anything((Table.of(columns, rows),)), "csv").split("\n")[0]
        assert heading == "a_per_b_ms,a_b_bytes,a_b"
    assert "a-b" not in formats.render(Anything((Table.of(columns, [(1.5, None, None)]),)), "text")


@given(tables(), TEXTS)
def test_markdown_has_as_many_cells_in_every_row(table: Table, said: str) -> None:
    text = formats.render(Anything((table,), said), "markdown")
    assert all(line.isprintable() for line in text.split("\n"))
    lines = formats.render(Anything((Table.of(table.columns, table.rows),)), "markdown").split("\n")
    cells = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines if line.startswith("| ")}
    assert len(cells) == (1 if table.without_empty_columns().columns else len(cells))


@given(tables(), TEXTS)
def test_json_is_one_object_with_a_schema(table: Table, said: str) -> None:
    def no_constant(name: str) -> Any:
        raise AssertionError(name)

    text = formats.render(Anything((table,), said), "json")
    read = json.loads(text, parse_constant=no_constant)
    assert read["schema"] == "atoll.anything/1" and read["said"] == said
    assert text.isascii()


def test_numbers_that_json_lacks_are_null() -> None:
    table = Table.of([Column("a", "number")], [(math.nan,), (math.inf,), (1.0,)])
    assert json.loads(Anything((table,)).to_json())["shown"][0]["rows"] == [[None], [None], [1.0]]


@given(st.lists(tables(), max_size=3), TEXTS, st.integers(40, 120))
def test_text_fits_and_is_printable(shown: list[Table], said: str, cells: int) -> None:
    for line in formats.render(Anything(tuple(shown), said), "text", cells).split("\n"):
        assert line.isprintable()
        assert width(line) <= cells or max(map(width, line.split())) > cells // 2 - 4


@given(tables(), TEXTS)
def test_notebooks_and_prompts(table: Table, said: str) -> None:
    result = Anything((table, table), said)
    assert len(repr(result).split("\n")) <= 10
    html = result._repr_html_()
    assert html.count("<td") == html.count("</td>") and not re.search(r"[\x00-\x09\x0b-\x1f]", html)


OFFERED = """
import sys
from atoll.reporting import formats
formats.__path__.append(sys.argv[1])
from atoll.cli import cli, invoke
context = cli.make_context("atoll", ["version"])
for name in cli.list_commands(context):
    for parameter in cli.get_command(context, name).params:
        if parameter.name == "output_format":
            print(name, *parameter.type.choices, file=sys.stderr)
sys.exit(invoke(cli, ["check", sys.argv[2], "--format", "shouted"]))
"""


def test_a_module_is_a_format_of_every_command(tmp_path: Path) -> None:
    (tmp_path / "shouted.py").write_text("def render(result, cells):\n    return ' '.join(result.answer()).upper()\n")
    write_model(chain(3), tmp_path / "m.tflite")
    command = [sys.executable, "-c", OFFERED, str(tmp_path), str(tmp_path / "m.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "OPERATORS WOULD RUN ON THE EDGE TPU" in done.stdout
    offered = [line.split() for line in done.stderr.splitlines()]
    assert "check" in [name for name, *_ in offered]
    assert all(choices[0] == "text" and "shouted" in choices for _, *choices in offered)
