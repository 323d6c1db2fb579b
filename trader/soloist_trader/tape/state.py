"""The state of an engine as plain lists and scalars, and back onto a freshly made engine.

An anchor on the tape needs everything that the core remembers, the volatile part as well, and the core's classes may
change without this file: the object graph is walked instead of named. Nothing is ever called or imported by what a tape
says: classes come from the fresh engine's own packages only, and functions and handlers stay the fresh engine's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any, Final

from pydantic import BaseModel

from soloist_trader.tape.errors import TapeError

_SCALARS: Final = frozenset({type(None), bool, int, float, str})
_UNSET: Final = object()
_PACKAGE: Final = "soloist_trader."
_KEEP: Final = ["keep"]
"""Stands for what the fresh engine brings itself: functions, and a strategy's parameters."""


_SLOTS: Final[dict[type, tuple[str, ...]]] = {}


def _slots(kind: type) -> tuple[str, ...]:
    """Names of the slots of a class and of its bases, in the sequence of their definition."""
    known = _SLOTS.get(kind)
    if known is not None:
        return known
    found: list[str] = []
    for base in reversed(kind.__mro__):
        names = base.__dict__.get("__slots__", ())
        found += [names] if isinstance(names, str) else names
    _SLOTS[kind] = tuple(found)
    return _SLOTS[kind]


def attributes(value: object) -> Iterator[tuple[str, Any]]:
    """Names and values of an object's slots and dictionary, in the sequence of their definition."""
    for name in _slots(type(value)):
        found = getattr(value, name, _UNSET)
        if found is not _UNSET:
            yield name, found
    yield from getattr(value, "__dict__", {}).items()


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


class _Freezer:
    """One walk. Objects get numbers, so that what is shared stays shared; they are held so that ids stay unique."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._held: list[object] = []

    def freeze(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if isinstance(value, Enum):
            return ["enum", _name(kind), value.value]
        if isinstance(value, tuple):
            items = [self.freeze(item) for item in value]
            return ["tuple", *items] if kind is tuple else ["named", _name(kind), *items]
        if callable(value) or isinstance(value, BaseModel):
            return _KEEP
        number = self._numbers.get(id(value))
        if number is not None:
            return ["ref", number]
        number = self._numbers[id(value)] = len(self._numbers)
        self._held.append(value)
        return self._freeze_shared(value, number)

    def _freeze_shared(self, value: Any, number: int) -> Any:
        kind = type(value)
        if kind is dict:
            if value and all(callable(item) for item in value.values()):
                return ["table", number]
            return ["dict", number, [[self.freeze(key), self.freeze(item)] for key, item in value.items()]]
        if kind is list:
            return ["list", number, [self.freeze(item) for item in value]]
        if kind is set or kind is frozenset:
            return [kind.__name__, number, [self.freeze(item) for item in sorted(value, key=repr)]]
        if kind is deque:
            return ["deque", number, value.maxlen, [self.freeze(item) for item in value]]
        if kind.__module__ == "builtins":
            raise TapeError(f"is a {kind.__name__}: a tape cannot hold it")
        pairs = []
        for name, item in attributes(value):
            try:
                pairs.append([name, self.freeze(item)])
            except TapeError as error:
                raise TapeError(f"{kind.__name__}.{name} {error}") from error
        return ["object", number, _name(kind), pairs]


def freeze(value: object) -> Any:
    """Everything reachable from an object as lists and scalars. Raises TapeError with the path of what is neither."""
    return _Freezer().freeze(value)


class _Thawer:
    """Puts a frozen graph onto a fresh one; what has the same place and class is filled in place."""

    def __init__(self, modules: frozenset[str]) -> None:
        self._modules = modules
        self._made: dict[int, Any] = {}

    def thaw(self, node: Any, fresh: Any) -> Any:
        if not isinstance(node, list):
            return node
        tag = node[0]
        if tag == "keep":
            return fresh
        if tag == "ref":
            return self._made[node[1]]
        if tag == "tuple":
            return tuple(self.thaw(item, None) for item in node[1:])
        if tag == "enum":
            return self._class(node[1])(node[2])
        if tag == "named":
            kind = self._class(node[1])
            beside = fresh if type(fresh) is kind else (None,) * (len(node) - 2)
            return kind(*(self.thaw(item, old) for item, old in zip(node[2:], beside, strict=True)))
        if tag == "table":
            self._made[node[1]] = fresh
            return fresh
        return self._thaw_shared(tag, node, fresh)

    def _thaw_shared(self, tag: str, node: list[Any], fresh: Any) -> Any:
        number = node[1]
        if tag == "frozenset":
            made: Any = frozenset(self.thaw(item, None) for item in node[2])
            self._made[number] = made
        elif tag == "dict":
            before = dict(fresh) if type(fresh) is dict else {}
            made = self._made[number] = fresh if type(fresh) is dict else {}
            pairs = [(self.thaw(key, None), item) for key, item in node[2]]
            made.clear()
            for key, item in pairs:
                made[key] = self.thaw(item, before.get(key))
        elif tag == "list":
            made = self._made[number] = fresh if type(fresh) is list else []
            made[:] = [self.thaw(item, None) for item in node[2]]
        elif tag == "set":
            made = self._made[number] = fresh if type(fresh) is set else set()
            made.clear()
            made.update(self.thaw(item, None) for item in node[2])
        elif tag == "deque":
            made = self._made[number] = deque(maxlen=node[2])
            made.extend(self.thaw(item, None) for item in node[3])
        elif tag == "object":
            made = self._thaw_object(node, fresh)
        else:
            raise TapeError(f"an anchor holds {tag!r}, which this version does not know")
        return made

    def _thaw_object(self, node: list[Any], fresh: Any) -> Any:
        kind = self._class(node[2])
        made = fresh if type(fresh) is kind else kind.__new__(kind)
        self._made[node[1]] = made
        for name, item in node[3]:
            value = self.thaw(item, getattr(made, name, None))
            if item != _KEEP:
                object.__setattr__(made, name, value)
        return made

    def _class(self, name: str) -> Any:
        module, _, qualified = name.partition(":")
        if not module.startswith(_PACKAGE) and module not in self._modules:
            raise TapeError(f"an anchor names the class {name!r}, which is not of this engine")
        found: Any = import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise TapeError(f"an anchor names the class {name!r}, which this version does not have")
        return found


def thaw(
    node: Any, fresh: object, modules: frozenset[str] = frozenset(), without: frozenset[str] = frozenset()
) -> None:
    """Bring `fresh` into the frozen state. `modules` may name classes beside the engine's own (an installed strategy).

    `without` are attributes of `fresh` that stay as they are. Raises TapeError.
    """
    if not isinstance(node, list) or node[0] != "object":
        raise TapeError("an anchor does not hold an engine")
    pairs = [[name, _KEEP if name in without else item] for name, item in node[3]]
    try:
        # The root is an engine whatever subclass of it wrote the tape.
        made = _Thawer(modules | {type(fresh).__module__}).thaw([*node[:2], _name(type(fresh)), pairs], fresh)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise TapeError(f"an anchor is not of this version: {error}") from error
    assert made is fresh
