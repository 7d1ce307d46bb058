"""LiteRT's generated schema → ``src/atoll/model/tflite/tables.py``, which is loaded in a fiftieth of its time."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from atoll.model.tflite import schema

NUMBERED = ("BuiltinOperator", "BuiltinOptions", "BuiltinOptions2")
CODES = {"Bool": "?", "Int8": "b", "Int32": "i", "Uint32": "I", "Int64": "q", "Float32": "f"}
VECTORS = {
    ("FullyConnectedOptions", "quant_spec"): "*B",
    ("ReshapeOptions", "new_shape"): "*i",
    ("SqueezeOptions", "squeeze_dims"): "*i",
}
"""Of tables that many networks have. Others with more than numbers are left to the generated code."""
HEAD = '''"""What LiteRT's schema numbers, in the order of the numbers, and the fields of its tables of options.

Made by docs/litert_tables.py (``make docs``) from the code that LiteRT ships, whose import takes 16 ms. A field is its
name, its type as in :mod:`struct` (``*i`` is a vector) and its default where that is not 0; ``-`` is a place that no
field has any more.
"""

from __future__ import annotations
'''


def page() -> str:
    """The module."""
    generated = schema.generated()
    numbered = {}
    for enum in NUMBERED:
        names = {number: name for name, number in vars(getattr(generated, enum)).items() if not name.startswith("_")}
        numbered[enum] = [names[number] for number in range(len(names))]
    fields = _fields(Path(str(generated.__file__)).read_text(encoding="utf-8"))
    options = sorted({table for enum in NUMBERED[1:] for table in numbered[enum][1:]})
    tables = {table: words for table in options if (words := _words(table, fields.get(table, {}))) is not None}
    return HEAD + "".join(
        f'\n{title} = """\n{_lines(content)}\n"""\n' for title, content in (("NUMBERED", numbered), ("TABLES", tables))
    )


def _fields(source: str) -> dict[str, dict[int, tuple[str, str, str]]]:
    """Table → slot → name, type and default, as the generated code writes them."""
    found: dict[str, dict[int, tuple[str, str, str]]] = {}
    adder = r"^def (\w+?)Add(\w+)\(builder, \w+\):\n    builder\.Prepend(\w+)Slot\((\d+), .*, ([^,()]+)\)$"
    for table, name, kind, slot, default in re.findall(adder, source, re.MULTILINE):
        found.setdefault(table, {})[int(slot)] = schema.snake(name), kind, default
    return found


def _words(table: str, fields: dict[int, tuple[str, str, str]]) -> list[str] | None:
    words = ["-"] * (1 + max(fields, default=-1))
    for slot, (name, kind, default) in fields.items():
        code = CODES.get(kind) or VECTORS.get((table, name))
        if code is None:
            return None
        value = {"True": "1", "False": "0"}.get(default, default)
        words[slot] = f"{name}:{code}" + (f"={value}" if float(value) else "")
    return words


def _lines(content: dict[str, list[str]]) -> str:
    return "\n".join(
        textwrap.fill(" ".join([name, *words]), 118, subsequent_indent="  ", break_on_hyphens=False)
        for name, words in content.items()
    )
