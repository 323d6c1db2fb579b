"""Which call a method and a path mean. Paths without parameters are looked up; the others are compared part by part."""

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Router"]

Target = TypeVar("Target")
_Pattern = tuple[tuple[str, ...], Target]


class Router(Generic[Target]):
    """Targets by method and path; `{name}` in a path takes one part that is not empty. Fixed parts win over parameters."""

    def __init__(self, routes: Iterable[tuple[str, str, Target]]) -> None:
        self._exact: dict[tuple[str, str], Target] = {}
        self._patterns: dict[tuple[str, int], list[_Pattern[Target]]] = {}
        for method, path, target in routes:
            if "{" not in path:
                assert (method, path) not in self._exact, f"{method} {path} is there twice"
                self._exact[method, path] = target
                continue
            parts = tuple(path.split("/"))
            self._patterns.setdefault((method, len(parts)), []).append((parts, target))
        for patterns in self._patterns.values():
            patterns.sort(key=lambda item: [part.startswith("{") for part in item[0]])

    def find(self, method: str, path: str) -> tuple[Target, dict[str, str]] | None:
        """Return the target and the parameters of a path; HEAD means what GET means."""
        if method == "HEAD":
            method = "GET"
        found = self._exact.get((method, path))
        if found is not None:
            return found, {}
        parts = path.split("/")
        for pattern, target in self._patterns.get((method, len(parts)), ()):
            match: dict[str, str] = {}
            for wanted, part in zip(pattern, parts, strict=True):
                if wanted.startswith("{"):
                    if not part:
                        break
                    match[wanted[1:-1]] = part
                elif wanted != part:
                    break
            else:
                return target, match
        return None
