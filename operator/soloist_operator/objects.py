"""Reading Kubernetes objects as plain JSON, and comparing what we declare with what is there.

Bodies stay dictionaries on purpose: the generated models of the client are slow, and server-side apply wants exactly
the fields that we declare.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

Object = dict[str, Any]
"""One Kubernetes object, or a part of one, as JSON."""

APPLIED = "soloist.trade/applied"
"""Annotation with the hash of what was applied last: a field that is no longer declared shows as a changed hash."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)")
_UNITS = {
    "m": Decimal("0.001"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY_PARENTS = frozenset({"requests", "limits", "capacity", "emptyDir"})


def name_of(target: Object) -> str:
    """metadata.name."""
    return str(target["metadata"]["name"])


def uid_of(target: Object) -> str:
    """metadata.uid."""
    return str(target["metadata"]["uid"])


def version_of(target: Object) -> str:
    """metadata.resourceVersion, an opaque text."""
    return str(target["metadata"]["resourceVersion"])


def annotation(target: Object | None, name: str) -> str | None:
    """One annotation, None when the object or the annotation is not there."""
    value = (dig(target, "metadata", "annotations") or {}).get(name)
    return None if value is None else str(value)


def label(target: Object, name: str) -> str | None:
    """One label."""
    value = (target["metadata"].get("labels") or {}).get(name)
    return None if value is None else str(value)


def finalizers(target: Object) -> list[str]:
    """metadata.finalizers."""
    return list(target["metadata"].get("finalizers") or [])


def deleting(target: Object) -> bool:
    """Whether a deletion was accepted and is waiting for something."""
    return bool(target["metadata"].get("deletionTimestamp"))


def controlled_by(target: Object, uid: str) -> bool:
    """Whether the controller owner of an object has this uid."""
    owners: Iterable[Object] = target["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def dig(target: Mapping[str, Any] | None, *path: str) -> Any:
    """Follow keys, None as soon as one is missing."""
    value: Any = target
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def content_hash(content: object, length: int = 8) -> str:
    """Hexadecimal digest of a JSON-able value; equal values give equal texts whatever the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def stamped(body: Object) -> Object:
    """The body with the annotation that names its own content."""
    metadata = dict(body["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), APPLIED: content_hash(body, 16)}
    return {**body, "metadata": metadata}


def as_declared(declared: Object, live: Object | None) -> bool:
    """Whether an apply of `declared` would change nothing.

    Everything we declare is there (defaults that the API server added do not count), and, for stamped bodies, the live
    object carries the stamp of exactly this body: so a field that we stopped declaring is noticed, too.
    """
    return live is not None and _covers(declared, live, "")


def _covers(declared: Any, live: Any, parent: str) -> bool:
    if live is None and (declared is None or declared in ({}, [], "")):
        return True  # the API server does not store what is empty
    if isinstance(declared, Mapping):
        return isinstance(live, Mapping) and all(
            _covers(value, live.get(key), parent if parent in _QUANTITY_PARENTS else key)
            for key, value in declared.items()
        )
    if isinstance(declared, list):
        return isinstance(live, list) and _covers_list(declared, live, parent)
    if declared == live:
        return True
    return parent in _QUANTITY_PARENTS and same_quantity(str(declared), str(live))


def _covers_list(declared: list[Any], live: list[Any], parent: str) -> bool:
    key = _key_of(declared, live)
    if key is None:  # an atomic list: nobody else may add to it
        return len(declared) == len(live) and all(
            _covers(d, other, parent) for d, other in zip(declared, live, strict=True)
        )
    by_key = {item[key]: item for item in live}
    return all(_covers(item, by_key.get(item[key]), parent) for item in declared)


def _key_of(declared: list[Any], live: list[Any]) -> str | None:
    """The key of a map list, None for an atomic list. Server-side apply merges these by more keys; ours are unique."""
    keys = ("mountPath", "uid", "name")
    return next((key for key in keys if _all_have(declared, key) and _all_have(live, key)), None)


def surplus(declared: Object, live: Object) -> list[str]:
    """JSON pointers of items that somebody added to lists of our `spec`, last first.

    Server-side apply leaves them alone: in a map list every manager owns its own items. A second container in the
    engine's template, or a second port of its Service, is nobody's but ours to decide.
    """
    return list(reversed(list(_surplus(declared.get("spec"), live.get("spec"), "/spec"))))


def _surplus(declared: Any, live: Any, pointer: str) -> Iterator[str]:
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        for key, value in declared.items():
            escaped = str(key).replace("~", "~0").replace("/", "~1")
            yield from _surplus(value, live.get(key), f"{pointer}/{escaped}")
    elif (
        isinstance(declared, list) and isinstance(live, list) and (key := _key_of(declared, live)) is not None
    ):
        wanted = {item[key]: item for item in declared}
        for index, item in enumerate(live):
            if item[key] in wanted:
                yield from _surplus(wanted[item[key]], item, f"{pointer}/{index}")
            else:
                yield f"{pointer}/{index}"


def _all_have(items: list[Any], key: str) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and key in item for item in items)


def quantity(text: str) -> Decimal | None:
    """A Kubernetes quantity as a number, None when the text is not one."""
    match = _QUANTITY.fullmatch(text)
    return None if match is None else Decimal(match[1]) * _UNITS[match[2]]


def same_quantity(left: str, right: str) -> bool:
    """Whether two texts are one amount (`1000m` and `1`): the API server stores its own spelling."""
    amount = quantity(left)
    return amount is not None and amount == quantity(right)
