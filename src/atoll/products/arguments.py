"""The arguments of a public function → nothing, or a message that names the one that cannot be, and what could be."""

from __future__ import annotations

import functools
import math
import numbers
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from atoll.errors import UsageError

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    types.NoneType: "None",
    object: "anything",
}


def require_types(function: Callable[..., Any], given: Mapping[str, object]) -> None:
    """Refuse arguments that are not of the types that the function declares.

    Args:
        function: The function that was called.
        given: Its arguments by name: ``locals()`` in its first line.

    Raises:
        UsageError: An argument is of another type, or is none of the words that the function knows.
    """
    for name, hint in _hints(function).items():
        if not _fits(given[name], hint):
            raise UsageError(f"{name} is {_shown(given[name])}", f"Give {_described(hint)}.")


def require_within(least: float, most: float = math.inf, **given: float | None) -> None:
    """Refuse numbers, by their names, that are not within bounds; None is no number. Raises :class:`UsageError`."""
    for name, value in given.items():
        if value is not None and not least <= value <= most:
            bounds = f"{least:,g} or more" if most == math.inf else f"{least:,g} to {most:,g}"
            raise UsageError(f"{name} is {value}", f"Give {bounds}.")


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    found = get_type_hints(function)
    found.pop("return", None)
    return found


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if origin is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(_fits(v, inner[0]) for v in value)
    if origin is Iterable:
        return isinstance(value, Iterable) and not isinstance(value, str)
    if origin is tuple:
        return isinstance(value, tuple | list) and len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is not None or getattr(hint, "_is_protocol", False):
        return callable(value)
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return (hint is None and value is None) or isinstance(value, PurePath if issubclass(hint, PurePath) else hint)


def _described(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_described, inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is Mapping:
        return "a mapping"
    if origin in (Sequence, Iterable):
        return f"a list (each item {_described(inner[0])})" if origin is Sequence else "a list"
    if origin is tuple:
        return f"a pair ({', '.join(map(_described, inner))})"
    if origin is not None or getattr(hint, "_is_protocol", False):
        return "a function"
    return _WORDS.get(hint) or ("a path" if issubclass(hint, PurePath) else f"a {hint.__name__}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
