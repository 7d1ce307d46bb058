"""What ``atoll --help`` says. Nothing here needs click, whose import takes longer than all of this."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from atoll.cli.streams import speak_ascii_where_needed, terminal_columns, write_out

COMMANDS = {
    "bench": "Measure or model how much several Edge TPUs gain: the vendor's analysis tools.",
    "check": "Say which operators of a model would run on the Edge TPU, and why the others would not.",
    "classify": "Name what is in pictures.",
    "compile": "Compile models for the Edge TPU, in segments or together, as the vendor's compiler does.",
    "devices": "List the Edge TPUs of this machine, real and virtual, and who holds them.",
    "doctor": "Check the whole installation and say what to do, in order.",
    "graph": "Join models, split layers and close loops: the vendor's graph tools.",
    "help": "Explain a command: atoll help learn imprint.",
    "inspect": "Explain a compiled file, ours or the vendor's.",
    "learn": "Train the last layer of a classifier on a folder of pictures.",
    "lease": "Run a command with Edge TPUs that no other process gets meanwhile.",
    "measure": "Run a model on an Edge TPU and say how long its inferences take there.",
    "partition": "Say where to cut a model into segments, why there, and check a partition.",
    "plan": "Say what each number of Edge TPUs can do with a model, and whether more would help.",
    "profile": "Say where the time of an inference goes, operator by operator, without an Edge TPU.",
    "run": "Cut a model into segments and run them as a pipeline on several Edge TPUs.",
    "version": "Say which version this is.",
    "zoo": "List and build standard networks with random weights.",
}
"""Each command lives in the module of its name and is imported when it is used."""

OPTIONS = {"-V, --version": "Show the version and exit.", "-h, --help": "Show this message and exit."}

PURPOSE = """Pipeline neural networks over several Coral Edge TPUs, with the hardware and without it.

Results go to standard output, progress and messages to standard error. Every kind of failure has an exit code of its
own: see docs/reference/exit-codes.md."""


def overview(cells: int) -> str:
    """The help of ``atoll`` itself, in lines of at most so many cells."""
    paragraphs = [
        textwrap.fill(text, cells, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        for text in PURPOSE.split("\n\n")
    ]
    lists = [
        "\n".join([title, *_list(items, cells)]) for title, items in (("Options:", OPTIONS), ("Commands:", COMMANDS))
    ]
    return "\n\n".join(["Usage: atoll [OPTIONS] COMMAND [ARGS]...", *paragraphs, *lists]) + "\n"


def _list(items: Mapping[str, str], cells: int) -> Iterator[str]:
    titles = max(map(len, items)) + 4
    for name, text in items.items():
        first, *others = textwrap.wrap(text, cells - titles, break_on_hyphens=False)
        yield f"{'  ' + name:<{titles}}{first}"
        for line in others:
            yield " " * titles + line


def print_overview() -> int:
    """Print it as wide as click prints the help of the commands; returns the exit code."""
    speak_ascii_where_needed()
    try:
        write_out(overview(max(min(terminal_columns(), 80) - 2, 50)))
    except OSError as error:
        from atoll.cli.failures import exit_code

        return exit_code(error, "atoll")
    return 0
