"""What the documents name exists: files, modules, functions, commands and their options."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from atoll.cli import cli

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/*.md")]
PACKAGE = REPOSITORY / "src" / "atoll"
ROOMS = "|".join(folder.name for folder in PACKAGE.iterdir() if folder.is_dir())
PLACEHOLDERS = re.compile(r"NAME|ROOM|\bX\b")
named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@named
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    assert not [t for t in targets if not t.startswith("http") and not (document.parent / t).exists()]


@named
def test_paths_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = re.findall(rf"`((?:src|benchmarks|docs|tests|{ROOMS})/[\w./-]*)`", text)
    found = [path for path in paths if not PLACEHOLDERS.search(path)]
    assert not [path for path in found if not any((root / path).exists() for root in (REPOSITORY, PACKAGE))]


@named
def test_python_names_exist(document: Path) -> None:
    names = re.findall(r"\batoll(?:\.[A-Za-z_]\w*)+(?!/\d|\w)", document.read_text(encoding="utf-8"))
    assert not [name for name in names if not PLACEHOLDERS.search(name) and not _exists(name)]


def _exists(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            item = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            item = getattr(item, part, None)
        return item is not None
    return False


@named
def test_commands_and_their_options_exist(document: Path) -> None:
    lines = re.findall(r"(?:^(?:\$ |    )|`)(atoll [^\n`]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert not [f"{wrong} in {line}" for line in lines for wrong in _unknown(line.split("  #")[0].split()[1:])]


def _unknown(words: list[str]) -> Iterator[str]:
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z_]+", words[0]):
        found = command.get_command(context, words[0])
        if found is None:
            yield words[0]
            return
        command, words = found, words[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words[: words.index("--") if "--" in words else None]:
        option = word.split("=")[0].rstrip(",.:;)")
        if re.match(r"--?[A-Za-z]", word) and not {option, option[:2]} & (options | {"--help", "-h"}):
            yield option
