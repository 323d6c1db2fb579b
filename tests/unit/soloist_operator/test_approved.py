"""An engine is told what it runs from and which configuration was approved, and that moves with those two alone."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from soloist_operator.api.tradingbot import TradingBotSpec
from soloist_operator.settings import Images
from soloist_operator.specs import configuration, engine
from soloist_operator.specs.configuration import Configuration
from soloist_operator.specs.image import resolve
from soloist_trader import config as engine_config
from soloist_trader.errors import NotApprovedError
from soloist_trader.shell.deployment import APPROVED_CONFIGURATION, IMAGE, measure, require_approved

from tests.unit.soloist_operator.operator_scene import REF, SETTINGS, live, merged, paper


def rendered(spec: dict[str, Any], epoch: int = 1) -> Configuration:
    model = TradingBotSpec.model_validate(spec)
    venue = SETTINGS.venues["simulator"].model_copy(update={"ca_bundle": ""})
    return configuration.render(REF, model, venue, image="x", claim_hash="abc123", epoch=epoch)


def template(spec: dict[str, Any], epoch: int = 1, image: str = "trader:1") -> dict[str, Any]:
    model = TradingBotSpec.model_validate(spec)
    declared = engine.stateful_set(
        REF,
        model,
        image=resolve(model.image, Images.model_validate({"trader": image, "fence": "f"})),
        service_account="engine",
        configuration=rendered(spec, epoch),
        arming=engine.Arming(epoch, "secret") if model.account else None,
    )
    return declared["spec"]["template"]


def told(spec: dict[str, Any], epoch: int = 1, image: str = "trader:1") -> dict[str, str]:
    """The variables with plain values of the engine's container."""
    (container,) = template(spec, epoch, image)["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


@pytest.mark.parametrize(
    "spec", [paper(strategy={"name": "threshold"}), live(strategy={"name": "threshold"})]
)
def test_the_engine_starts_with_the_file_that_it_mounts_and_with_no_other(
    spec: dict[str, Any], tmp_path
) -> None:
    found = told(spec)
    mounted = configuration.config_map(REF, rendered(spec))["data"]["config.yaml"].encode()
    assert found == {IMAGE: "trader:1", APPROVED_CONFIGURATION: hashlib.sha256(mounted).hexdigest()}
    path = tmp_path / "config.yaml"
    for content, approved in ((mounted, True), (mounted + b"\n", False)):
        path.write_bytes(content)
        ours = measure(engine_config.read(path), engine_config.load(path), found)
        assert ours.image == "trader:1"
        if approved:
            require_approved(ours, found)
            continue
        with pytest.raises(NotApprovedError, match=APPROVED_CONFIGURATION):
            require_approved(ours, found)


def test_each_variable_follows_what_it_names_and_nothing_else() -> None:
    spec = live()
    before = told(spec)
    assert told(spec, image="trader:2") == {**before, IMAGE: "trader:2"}
    changed = (
        told(merged(spec, {"trading": {"cancelOnStop": False}})),
        told(spec, epoch=2),
    )
    for other in changed:
        assert other[APPROVED_CONFIGURATION] != before[APPROVED_CONFIGURATION]
        assert other[IMAGE] == before[IMAGE]
    # What is not in the engine's file moves neither: a template changes for no new reason.
    assert told(merged(spec, {"podAnnotations": {"a": "b"}, "priorityClassName": "high"})) == before
    assert template(spec) == template(spec)


def test_only_the_engine_is_told() -> None:
    for container in template(live())["spec"]["initContainers"]:
        assert "env" not in container
