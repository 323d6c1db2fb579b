"""Play one scenario: a fresh bot, the disaster, the judgement, and the cluster as it was."""

from __future__ import annotations

import time
import traceback

from tests.chaos import disasters, record
from tests.chaos.catalogue import Scenario
from tests.chaos.stage import NAMESPACE, Stage
from tests.cluster.access import Cluster
from tests.e2e.scene import Bot, Oracle


def play(cluster: Cluster, oracle: Oracle, scenario: Scenario, revision: str) -> record.Run:
    """Run a scenario once. What goes wrong is in the result, never raised: the next run must go on."""
    stage = Stage(cluster, oracle, Bot(cluster, oracle, NAMESPACE, name=f"chaos-{time.time_ns() % 10**6}"))
    began_s = time.monotonic()
    failure, verdict = "", None
    try:
        if scenario.with_bot:
            stage.prepare()
        scenario.act(stage)
        verdict = stage.verdict(revocation_delay_ms=scenario.revocation_delay_ms)
        failure = record.judged(scenario, verdict)
        living = stage.living_keys()
        assert len(living) == scenario.keys_left, f"keys that the venue still accepts: {living}"
        oracle.assert_one_live_order_per_slot(stage.account)
    except Exception as error:  # noqa: BLE001 the harness's own policy: a failed run is a result
        failure = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=4)}"
        verdict = verdict or _seen(stage, scenario)
    finally:
        disasters.repair(cluster)
    try:
        stage.clean_up()
    except Exception as error:  # noqa: BLE001 as above
        failure = failure or f"could not be deleted afterwards: {error}"
    return record.Run(
        scenario.number,
        revision,
        round(time.monotonic() - began_s, 1),
        failure,
        verdict,
        stage.notes,
    )


def _seen(stage: Stage, scenario: Scenario) -> record.Verdict | None:
    """What the exchange saw of a run that failed: a second holder must not hide behind a timeout."""
    try:
        if stage.bot.account is None or not stage.fault_ms:
            return None
        return stage.verdict(revocation_delay_ms=scenario.revocation_delay_ms)
    except Exception:  # noqa: BLE001 the run has failed already, and says why
        return None
