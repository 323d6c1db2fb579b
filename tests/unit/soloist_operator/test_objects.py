from __future__ import annotations

from typing import Any

import pytest
from soloist_operator.objects import APPLIED, as_declared, content_hash, same_quantity, stamped, surplus

DECLARED: dict[str, Any] = {
    "metadata": {"name": "demo", "labels": {"a": "1"}},
    "spec": {
        "replicas": 1,
        "containers": [
            {"name": "engine", "image": "x", "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}}
        ],
        "rules": [{"port": 1}, {"port": 2}],
        "empty": [],
    },
}


def stored(**spec: Any) -> dict[str, Any]:
    """As the API server would store it: with defaults, its own spelling of quantities, without what is empty."""
    return {
        "metadata": {"name": "demo", "uid": "u", "labels": {"a": "1", "other": "2"}},
        "spec": {
            "replicas": 1,
            "containers": [
                {"name": "engine", "image": "x", "imagePullPolicy": "Always", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
            ],
            "rules": [{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "TCP"}],
            "defaulted": True,
            **spec,
        },
        "status": {},
    }  # fmt: skip


def test_defaults_and_spelling_are_no_difference() -> None:
    assert as_declared(DECLARED, stored())


def test_nothing_is_there() -> None:
    assert not as_declared(DECLARED, None)


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 0},
        {
            "containers": [
                {"name": "engine", "image": "y", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
            ]
        },
        {
            "containers": [
                {"name": "engine", "image": "x", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}
            ]
        },
        {"containers": []},
        {"rules": [{"port": 1}]},
        {"rules": [{"port": 2}, {"port": 1}]},
        {"rules": [{"port": 1}, {"port": 2}, {"port": 3}]},
        {"empty": [1]},
    ],
)
def test_an_edited_field_is_a_difference(change: dict[str, Any]) -> None:
    assert not as_declared(DECLARED, stored(**change))


def test_an_added_item_of_a_map_list_is_surplus_and_no_difference() -> None:
    live = stored()
    live["spec"]["containers"].insert(0, {"name": "spy"})
    live["spec"]["containers"].append({"name": "spy-2"})
    assert as_declared(DECLARED, live)
    assert surplus(DECLARED, live) == ["/spec/containers/2", "/spec/containers/0"]


def test_surplus_is_found_inside_items_and_escaped() -> None:
    declared = {"spec": {"a/b": [{"name": "x", "env": [{"name": "A"}]}]}}
    live = {"spec": {"a/b": [{"name": "x", "env": [{"name": "B"}, {"name": "A"}]}]}}
    assert surplus(declared, live) == ["/spec/a~1b/0/env/0"]


def test_mounts_of_one_volume_are_told_apart_by_their_path() -> None:
    declared = {"spec": {"m": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]}}
    live = {"spec": {"m": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/c"}]}}
    assert not as_declared(declared, live)


def test_a_field_that_is_no_longer_declared_shows_by_the_stamp() -> None:
    before = stamped({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    after = stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert as_declared(before, before)
    assert not as_declared(after, before)


def test_a_stamp_is_of_the_content() -> None:
    body = {"metadata": {"name": "x", "annotations": {"k": "v"}}, "spec": {"b": 1, "a": 2}}
    other_order = {"spec": {"a": 2, "b": 1}, "metadata": {"annotations": {"k": "v"}, "name": "x"}}
    assert (
        stamped(body)["metadata"]["annotations"][APPLIED]
        == stamped(other_order)["metadata"]["annotations"][APPLIED]
    )
    assert APPLIED not in body["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1000m", "1", True), ("0.5", "500m", True), ("1024Mi", "1Gi", True), ("1000Mi", "1Gi", False),
        ("1k", "1000", True), ("1", "2", False), ("x", "x", False), ("", "", False), ("1e3", "1000", False),
    ],
)  # fmt: skip
def test_quantities(left: str, right: str, same: bool) -> None:
    assert same_quantity(left, right) is same


def test_only_quantities_are_compared_as_quantities() -> None:
    assert not as_declared({"spec": {"value": "1000m"}}, {"spec": {"value": "1"}})


def test_hashes_have_the_length_asked_for() -> None:
    assert len(content_hash({"a": 1}, 16)) == 16
