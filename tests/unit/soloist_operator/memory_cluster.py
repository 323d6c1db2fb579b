"""An API server in memory with the rules that the operator leans on: unique names, versions, uids, preconditions, finalizers.

Every request gives the others a turn first, drawn from a seed, so that two operators interleave differently with every seed.
A Job is carried out the moment it is made: `fence` gives the exit code and termination message of its pod.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import random
from collections.abc import Callable
from typing import Any

from soloist_operator import kinds
from soloist_operator.errors import ConflictError, NotFoundError
from soloist_operator.kinds import Kind
from soloist_operator.objects import dig

Object = dict[str, Any]
Place = tuple[str, str, str]

LONG_PAUSE_SHARE, LONG_PAUSE_TURNS = 0.05, 120
"""A paused operator: it acts on what it read long ago."""


class MemoryCluster:
    """Satisfies both what observing and what writing need. `swaps_blindly` is the broken build: it forgets versions."""

    def __init__(
        self,
        seed: int,
        fence: Callable[[Object, MemoryCluster], tuple[int, str]],
        *,
        swaps_blindly: bool = False,
    ) -> None:
        self._draw = random.Random(seed)
        self._fence = fence
        self._swaps_blindly = swaps_blindly
        self._numbers = itertools.count(1)
        self.objects: dict[Place, Object] = {}
        self.claims_seen: list[Object] = []
        """Every content that any claim ever had, in order."""
        self.put(kinds.NAMESPACE, {"metadata": {"name": "kube-system"}})

    def put(self, kind: Kind, body: Object) -> Object:
        """Store without asking, as the world outside does."""
        found = _copy(body)
        number = next(self._numbers)
        metadata = found["metadata"]
        metadata.setdefault("uid", f"uid-{number}")
        metadata.setdefault("generation", 1)
        metadata["resourceVersion"] = str(number)
        self.objects[_place(kind, metadata.get("namespace"), metadata["name"])] = found
        if kind == kinds.ACCOUNT_CLAIM:
            self.claims_seen.append(_copy(found))
        return found

    def of(self, kind: Kind) -> list[Object]:
        """Everything of a kind."""
        return [body for place, body in self.objects.items() if place[0] == kind.plural]

    async def _turn(self) -> None:
        long = self._draw.random() < LONG_PAUSE_SHARE
        for _ in range(self._draw.randrange(LONG_PAUSE_TURNS if long else 4)):
            await asyncio.sleep(0)

    # ------------------------------------------------------------------------------------------ reads

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        await self._turn()
        return _copy(self.objects.get(_place(kind, namespace, name)))

    async def find(self, kind: Kind, namespace: str | None, label_selector: str = "") -> list[Object]:
        await self._turn()
        key, _, value = label_selector.partition("=")
        return [
            _copy(body)
            for body in self.of(kind)
            if body["metadata"].get("namespace") == namespace
            and (not key or (body["metadata"].get("labels") or {}).get(key) == value)
        ]

    # ------------------------------------------------------------------------------------------ writes

    async def create(self, kind: Kind, body: Object) -> Object:
        await self._turn()
        place = _place(kind, body["metadata"].get("namespace"), body["metadata"].get("name", ""))
        if place in self.objects and not (self._swaps_blindly and kind == kinds.ACCOUNT_CLAIM):
            raise ConflictError(f"{place} exists", 409)
        if kind == kinds.EVENT:
            return body
        made = self.put(kind, body)
        if kind == kinds.JOB:
            self._carry_out(made)
        return _copy(made)

    async def replace(self, kind: Kind, body: Object) -> Object:
        await self._turn()
        metadata = body["metadata"]
        before = self.objects.get(_place(kind, metadata.get("namespace"), metadata["name"]))
        if before is None:
            raise NotFoundError("gone", 404)
        if before["metadata"]["resourceVersion"] != metadata["resourceVersion"] and not self._swaps_blindly:
            raise ConflictError("moved", 409)
        return _copy(self.put(kind, body))

    async def apply(self, kind: Kind, body: Object, subresource: str | None = None) -> Object:
        await self._turn()
        metadata = body["metadata"]
        before = self.objects.get(_place(kind, metadata.get("namespace"), metadata["name"]))
        if subresource == "status":
            if before is None or before["metadata"]["uid"] != metadata["uid"]:
                raise ConflictError("another object has this name", 409)
            return _copy(self.put(kind, {**before, "status": body["status"]}))
        if before is None:
            return _copy(self.put(kind, body))
        merged = {**before, **body, "metadata": {**before["metadata"], **metadata}}
        return _copy(self.put(kind, merged))

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: list[Object]
    ) -> Object:
        await self._turn()
        before = self.objects.get(_place(kind, namespace, name))
        if before is None:
            raise NotFoundError("gone", 404)
        body = _copy(before)
        for operation in operations:
            *parents, last = operation["path"].strip("/").split("/")
            target: Any = body
            for part in parents:
                target = target[int(part)] if isinstance(target, list) else target[part]
            if operation["op"] == "test":
                if target.get(last) != operation["value"]:
                    raise ConflictError(f"{operation['path']} moved", 422)
            elif operation["op"] == "remove":
                del target[int(last) if isinstance(target, list) else last]
            elif isinstance(target, list):
                target.append(operation["value"])
            else:
                target[last] = operation["value"]
        return _copy(self.put(kind, body))

    async def delete(self, kind: Kind, target: Object, **_: Any) -> None:
        await self._turn()
        metadata = target["metadata"]
        place = _place(kind, metadata.get("namespace"), metadata["name"])
        before = self.objects.get(place)
        if before is None:
            raise NotFoundError("gone", 404)
        same = all(before["metadata"][part] == metadata[part] for part in ("uid", "resourceVersion"))
        if not same:
            raise ConflictError("moved", 409)
        if before["metadata"].get("finalizers"):
            before["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            del self.objects[place]

    # ------------------------------------------------------------------------------------------ Jobs

    def _carry_out(self, job: Object) -> None:
        exit_code, message = self._fence(job, self)
        self._job_pod(job, {"terminated": {"exitCode": exit_code, "message": message}})

    def _job_pod(self, job: Object, state: Object) -> None:
        """The Job's pod, as its kubelet reports it."""
        metadata, container = job["metadata"], job["spec"]["template"]["spec"]["containers"][0]["name"]
        exit_code = dig(state, "terminated", "exitCode")
        phase = "Running" if exit_code is None else "Failed" if exit_code else "Succeeded"
        self.put(
            kinds.POD,
            {
                "metadata": {
                    "name": f"{metadata['name']}-x",
                    "namespace": metadata["namespace"],
                    "labels": metadata["labels"],
                    "ownerReferences": [{"controller": True, "uid": metadata["uid"]}],
                },
                "status": {"phase": phase, "containerStatuses": [{"name": container, "state": state}]},
            },
        )


def _copy(body: Any) -> Any:
    """As deep as copy.deepcopy of plain data, and several times as fast."""
    return pickle.loads(pickle.dumps(body))


def _place(kind: Kind, namespace: str | None, name: str) -> Place:
    return kind.plural, namespace or "", name


def obliging_fence(identity: Callable[[Object], str]) -> Callable[[Object, MemoryCluster], tuple[int, str]]:
    """Checks pass, accounts are named by `identity(job)`, every takeover publishes."""

    def fence(job: Object, cluster: MemoryCluster) -> tuple[int, str]:
        del cluster
        container = job["spec"]["template"]["spec"]["containers"][0]
        if container["command"] != ["soloist-fence"]:
            return 0, ""
        options = dict(option.lstrip("-").partition("=")[::2] for option in container["args"][1:])
        told: Object = {"version": 1, "nonce": options["nonce"], "reason": "Done", "message": ""}
        if container["args"][0] == "identify":
            named = identity(job)
            told |= {"claim": "", "epoch": 0, "outcome": "Identified", "accountIdentity": named}
            if named.startswith("marker:"):
                told["markerId"] = named.removeprefix("marker:")
        else:
            told |= {
                "claim": options["claim"],
                "epoch": int(options["epoch"]),
                "outcome": "Published" if container["args"][0] == "takeover" else "Released",
                "keyId": f"key-{options['nonce']}",
                "secretName": options["secret-name"],
            }
        return 0, json.dumps(told)

    return fence
