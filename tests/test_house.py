"""The rules of the house, which keep every part of the program small enough to be read at once.

`python tests/test_house.py` lists what breaks them, and what only deserves a look.

- A function's lines are those from its `def` to its end, without its docstring; decorators are before the `def`.
- `self` and `cls` are no parameters. What dataclasses generate is not written here, so it is not counted. Requests may
  have many: the functions of `api`, commands (a parameter is an option), and the constructor of `Pipeline`.
- An import is an edge between the module that states it and the one it names, `atoll.model.load` without `atoll.model`.
- Public is what has no `_` in front of its own name or of what holds it, dunder methods, overloads and setters apart.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "atoll"
TESTS = ROOT / "tests"

LONGEST_FUNCTION = 60
SHORT_FUNCTION = 40
LEAST_SHARE_OF_SHORT_FUNCTIONS = 0.98
MOST_PARAMETERS = 7
REQUESTS = "api"
"""The folder whose functions are the requests of the public API, with as many parameters as they need."""
REQUEST_CLASSES = {"Pipeline"}
"""Classes whose constructors are such requests."""
LONGEST_FILE = 400
COMMANDS = ("cli", "vendor_tools")
"""The folders of the command lines, without what is in PYCORAL."""
PYCORAL = "pycoral"
MOST_LINES_OF_COMMANDS = 2400
BAD_FOLDERS = {"target", "vendor"}
USUAL_NAMES = {"__init__", "__main__", "errors"}
"""Basenames that may be used often."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Edges = dict[str, set[str]]


@functools.cache
def modules() -> dict[str, Path]:
    """The package's modules by their dotted names."""
    return {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def shown(path: Path, node: ast.expr | ast.stmt | None = None) -> str:
    return f"{path.relative_to(ROOT)}{f':{node.lineno}' if node else ''}"


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions() -> Iterator[tuple[Path, Function, str]]:
    """Every function of the package with its file and the class that it is a method of, nested ones included."""
    for path in modules().values():
        for holder in ast.walk(tree(path)):
            for node in ast.iter_child_nodes(holder):
                if isinstance(node, Function):
                    yield path, node, holder.name if isinstance(holder, ast.ClassDef) else ""


def length(function: Function) -> int:
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def parameters(function: Function, owner: str) -> int:
    given = function.args
    bound = bool(owner) and "staticmethod" not in map(ast.unparse, function.decorator_list)
    several = [given.vararg, given.kwarg]
    return len(given.posonlyargs + given.args + given.kwonlyargs) + sum(map(bool, several)) - bound


def is_request(path: Path, function: Function, owner: str) -> bool:
    if function.name == "__init__" and owner in REQUEST_CLASSES:
        return True
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return path.parent.name == REQUESTS or any(".command(" in text for text in decorators)


def long_functions() -> list[str]:
    found = [(length(function), shown(path, function), function.name) for path, function, _ in functions()]
    return [f"{where} {name}: {lines} lines" for lines, where, name in sorted(found)[::-1] if lines > LONGEST_FUNCTION]


def share_of_short_functions() -> float:
    short = [length(function) < SHORT_FUNCTION for _, function, _ in functions()]
    return sum(short) / len(short)


def functions_with_many_parameters() -> list[str]:
    found = [
        (parameters(function, owner), shown(path, function), function.name)
        for path, function, owner in functions()
        if not is_request(path, function, owner)
    ]
    return [
        f"{where} {name}: {count} parameters" for count, where, name in sorted(found)[::-1] if count > MOST_PARAMETERS
    ]


def long_files() -> list[str]:
    found = [(line_count(path), shown(path)) for folder in (PACKAGE, TESTS) for path in folder.rglob("*.py")]
    return [f"{where}: {lines} lines" for lines, where in sorted(found)[::-1] if lines > LONGEST_FILE]


def imports(inside_functions: bool) -> Edges:
    """Who imports whom, type-checking imports included."""
    edges: Edges = {}
    for name, path in modules().items():
        nodes = ast.walk(tree(path)) if inside_functions else _outside_functions(tree(path))
        edges[name] = {target for node in nodes for target in _targets(node, name, path)} - {name}
    return edges


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function):
            yield child
            yield from _outside_functions(child)


def _targets(node: ast.AST, name: str, path: Path) -> Iterator[str]:
    """The modules of the package that a statement imports."""
    named: list[tuple[str, str]] = []  # the module that holds a name or a module, and which
    if isinstance(node, ast.Import):
        named = [(alias.name, "") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
        base = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        named = [(source, alias.name) for alias in node.names]
    for source, member in named:
        target = f"{source}.{member}" if f"{source}.{member}" in modules() else source
        if target in modules():
            yield target


def cycles(edges: Edges) -> list[str]:
    """Groups of modules that all reach one another."""
    reached = {module: _reached(edges, module) for module in edges}
    groups = {
        tuple(sorted(other for other in others if module in reached[other]))
        for module, others in reached.items()
        if module in others
    }
    return [f"{len(group)} modules: {', '.join(group)}" for group in sorted(groups)]


def _reached(edges: Edges, module: str) -> set[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        fresh = edges[ahead.pop()] - found
        found |= fresh
        ahead.extend(fresh)
    return found


def missing_docstrings() -> list[str]:
    found = []
    for name, path in modules().items():
        if any(part.startswith("_") for part in name.replace("__main__", "main").split(".")):
            continue
        if ast.get_docstring(tree(path)) is None:
            found.append(shown(path))
        found += [f"{shown(path, node)} {node.name}" for node in _public(tree(path)) if ast.get_docstring(node) is None]
    return found


def _public(holder: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """The public functions and classes of a module, and the public methods of those classes."""
    for node in holder.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if "overload" in decorators or f"{node.name}.setter" in decorators:
            continue
        if isinstance(node, ast.ClassDef):
            if isinstance(holder, ast.Module):
                yield node
                yield from _public(node)
        else:
            yield node


def bad_folders() -> list[str]:
    return [shown(path) for path in PACKAGE.rglob("*") if path.is_dir() and path.name in BAD_FOLDERS]


def lines_of_commands() -> int:
    paths = [path for folder in COMMANDS for path in (PACKAGE / folder).rglob("*.py") if PYCORAL not in path.parts]
    return sum(map(line_count, paths))


def shared_class_names() -> list[str]:
    places = defaultdict(list)
    for path in modules().values():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(shown(path, node))
    return _shared(places)


def shared_file_names() -> list[str]:
    places = defaultdict(list)
    for path in modules().values():
        if path.stem not in USUAL_NAMES:
            places[path.stem].append(shown(path))
    return _shared(places)


def _shared(places: dict[str, list[str]]) -> list[str]:
    return [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]


HIDDEN = """
import importlib, pkgutil, atoll
for module in pkgutil.walk_packages(atoll.__path__, "atoll."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
names = [name for name in atoll.__all__ if not name.startswith("_")]
print(*(name for name in names if not callable(getattr(atoll, name))))
"""


def hidden_public_names() -> list[str]:
    """The public names, all of callables, that mean a module once every module is imported."""
    return subprocess.run([sys.executable, "-c", HIDDEN], stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def _lines(items: Iterable[str]) -> str:
    return "".join(f"\n{item}" for item in items)


def test_functions_are_short() -> None:
    assert not long_functions(), _lines(long_functions())
    assert share_of_short_functions() >= LEAST_SHARE_OF_SHORT_FUNCTIONS


def test_functions_have_few_parameters() -> None:
    found = functions_with_many_parameters()
    assert not found, _lines(found)


def test_files_are_short() -> None:
    assert not long_files(), _lines(long_files())


def test_modules_do_not_import_in_circles() -> None:
    found = cycles(imports(inside_functions=False))
    assert not found, _lines(found)


def test_nor_do_they_with_the_imports_inside_functions() -> None:
    found = cycles(imports(inside_functions=True))
    assert not found, _lines(found)


def test_what_is_public_has_a_docstring() -> None:
    assert not missing_docstrings(), _lines(missing_docstrings())


def test_no_folder_has_a_name_that_tools_ignore() -> None:
    assert not bad_folders(), _lines(bad_folders())


def test_the_commands_are_thin() -> None:
    assert lines_of_commands() < MOST_LINES_OF_COMMANDS


def test_classes_of_several_modules_have_several_names() -> None:
    assert not shared_class_names(), _lines(shared_class_names())


def test_no_module_hides_a_public_name() -> None:
    assert not hidden_public_names(), _lines(hidden_public_names())


def main() -> None:
    reports = {
        f"functions of more than {LONGEST_FUNCTION} lines": long_functions(),
        f"functions of more than {MOST_PARAMETERS} parameters": functions_with_many_parameters(),
        f"files of more than {LONGEST_FILE} lines": long_files(),
        "import cycles": cycles(imports(inside_functions=False)),
        "import cycles, with imports inside functions": cycles(imports(inside_functions=True)),
        "public things without a docstring": missing_docstrings(),
        "folders with bad names": bad_folders(),
        "public names that modules hide": hidden_public_names(),
        "class names of several modules": shared_class_names(),
        "to look at: file names of several folders": shared_file_names(),
    }
    short, commands = share_of_short_functions(), lines_of_commands()
    sys.stdout.write(f"functions under {SHORT_FUNCTION} lines: {short:.2%}; lines of {COMMANDS}: {commands}\n")
    for title, items in reports.items():
        sys.stdout.write(f"\n{title}: {len(items)}{_lines(items)}\n")


if __name__ == "__main__":
    main()
