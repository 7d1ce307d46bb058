"""What docstrings and comments refer to is there: modules, functions, classes, files.

A reference is ``:func:`name``` and the like, where the name means something in its module or in a class of it, or is
a full one (`atoll.lease`); a dotted path that begins with `atoll.`; or a file of the package, as `compiler/x.py`.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import atoll

ROOT = Path(atoll.__file__).parent
NAMES = [module.name for module in pkgutil.walk_packages(atoll.__path__, "atoll.") if "__main__" not in module.name]
ROLE = re.compile(r":(?:mod|func|class|data|meth|attr|exc):`~?([\w.]+)(?:\(\))?`")
PATH = re.compile(r"(?<![\w/.\-\"'])atoll(?:\.[A-Za-z_]\w*)+(?![\w(]*\.(?:toml|json))")
FILE = re.compile(r"(?<![\w/.-])(?:[a-z_]+/)+[a-z_]+\.py\b")


@functools.cache
def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


def means(name: str, module: ModuleType) -> bool:
    """Whether a name means something in a module, in one of its own classes, or everywhere."""
    own = [item for item in vars(module).values() if inspect.isclass(item) and item.__module__ == module.__name__]
    first, _, rest = name.partition(".")
    for holder in (module, *own, builtins):
        found = getattr(holder, first, None) or getattr(holder, "__annotations__", {}).get(first)
        if found is not None and (not rest or hasattr(found, rest) or rest in getattr(found, "__annotations__", {})):
            return True
    return is_there(name)


def dangling(module: ModuleType) -> Iterator[str]:
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    yield from (name for name in ROLE.findall(text) if not means(name, module))
    yield from (name for name in PATH.findall(text) if not is_there(name))
    bases = ROOT, *ROOT.parents[:2]
    yield from (name for name in FILE.findall(text) if not any((base / name).exists() for base in bases))


def test_every_reference_leads_somewhere() -> None:
    found = {module.__name__: [*dangling(module)] for module in map(importlib.import_module, NAMES)}
    assert not {name: wrong for name, wrong in found.items() if wrong}
