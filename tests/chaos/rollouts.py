"""Scenarios of a new image: one that cannot be pulled never stops the engine; one that cannot run is taken back."""

from __future__ import annotations

from tests.chaos.catalogue import scenario
from tests.chaos.stage import Stage
from tests.cluster import images
from tests.cluster.access import Cluster
from tests.cluster.paths import folder
from tests.e2e.scene import now_ms
from tests.support import eventually

ROLLED_BACK_S = 300
TAG = "breaks-when-it-runs"
# Everything works but the engine itself, so that no check before the rollout can know.
DOCKERFILE = """\
FROM {image}
USER root
RUN printf '#!/bin/sh\\n[ "$1" = run ] && exit 1\\nexec /opt/soloist/bin/soloist-trader "$@"\\n' > /usr/local/bin/soloist-trader \\
 && chmod 755 /usr/local/bin/soloist-trader
ENV PATH=/usr/local/bin:/opt/soloist/bin:/usr/bin:/bin
USER 10001:10001
"""


@scenario("14a", "new image cannot be pulled: the engine goes on")
def image_that_does_not_exist(stage: Stage) -> None:
    before = stage.incumbent()
    stage.bot.manifest["spec"]["image"] = {"repository": "soloist-trader", "tag": "does-not-exist"}
    stage.begin()
    stage.bot.apply()
    eventually(
        lambda: "does-not-exist" in stage.bot.condition("Updated").get("message", ""), 120, stage.bot.story
    )
    assert stage.trades_since(now_ms()) == before, "the engine was replaced"


def load_broken_image(cluster: Cluster) -> dict[str, str]:
    """Put an image into the nodes that passes every check and cannot run; what `spec.image` says to get it."""
    broken = f"soloist-trader:{TAG}"
    context = folder("build") / "image-broken"
    context.mkdir(parents=True, exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE.format(image=images.loaded(cluster).trader))
    cluster.docker.build(broken, context, {})
    if cluster.lacks(broken):
        cluster.load(broken)
    return {"repository": "soloist-trader", "tag": TAG}


@scenario("14b", "new image passes the check and cannot run: rolled back")
def image_that_cannot_run(stage: Stage) -> None:
    stage.bot.manifest["spec"]["image"] = load_broken_image(stage.cluster)
    stage.begin()
    stage.bot.apply()
    stage.bot.wait_condition("Updated", "False", "RolledBack", ROLLED_BACK_S)
    stage.trades_since(now_ms())
    pod = stage.bot.get("pod", stage.bot.pod)
    assert all(not container["image"].endswith(TAG) for container in pod["spec"]["containers"]), pod["spec"]
