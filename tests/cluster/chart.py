"""Render the chart as `helm template` does."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.cluster import versions
from tests.cluster.command import run
from tests.cluster.errors import CommandError
from tests.cluster.paths import REPOSITORY, binary

CHART = REPOSITORY / "charts" / "soloist"
NAMESPACE = "soloist-system"
RELEASE = "soloist"


def template(values: Mapping[str, Any], *, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """What `helm template` prints. Raises CommandError with helm's words."""
    return run(
        binary("helm"), "template", release, CHART, "--namespace", namespace,
        "--kube-version", versions.KUBERNETES, "--values", "-",
        stdin=yaml.safe_dump(dict(values)),
    )  # fmt: skip


def render(
    values: Mapping[str, Any], *, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[dict[str, Any]]:
    """The rendered objects, hooks included."""
    text = template(values, release=release, namespace=namespace)
    return [document for document in yaml.safe_load_all(text) if document is not None]


def apply_crds(cluster: Any) -> None:
    """Apply the chart's CRDs, marked as the release's own, so that `helm install` later adopts them instead of refusing."""
    definitions = [found for found in render({}) if found["kind"] == "CustomResourceDefinition"]
    for definition in definitions:
        definition["metadata"]["annotations"] |= {
            "meta.helm.sh/release-name": RELEASE,
            "meta.helm.sh/release-namespace": NAMESPACE,
        }
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(definitions))
    names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)


def api_server(cluster: Any) -> tuple[str, str]:
    """URL of the API server as this machine reaches it, and its certificate authority as PEM."""
    view = cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
    server = json.loads(view)["clusters"][0]["cluster"]
    return server["server"], base64.b64decode(server["certificate-authority-data"]).decode()


def helm_refuses(values: Mapping[str, Any]) -> str:
    """Helm's words for values that it refuses; fails when it accepts them."""
    try:
        template(values)
    except CommandError as error:
        return str(error)
    raise AssertionError(f"helm accepts {values}")
