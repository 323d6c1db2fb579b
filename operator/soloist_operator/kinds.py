"""The kinds that the operator reads or writes, and their places in the API."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "soloist.trade"
VERSION = "v1alpha1"

FIELD_MANAGER = "soloist"
BOT_FINALIZER = f"{GROUP}/bot"
FENCE_FINALIZER = f"{GROUP}/fence"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_BOT = f"{GROUP}/bot"
LABEL_COMPONENT = f"{GROUP}/component"
MANAGED_SELECTOR = f"{LABEL_MANAGED_BY}=soloist"


@dataclass(frozen=True)
class Kind:
    """One kind: `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` as written in an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of an object, or of the collection when `name` is None."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{place}/{self.plural}{tail}"


TRADING_BOT = Kind(GROUP, VERSION, "TradingBot", "tradingbots")
ACCOUNT_CLAIM = Kind(GROUP, VERSION, "AccountClaim", "accountclaims", namespaced=False)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets")
POD = Kind("", "v1", "Pod", "pods")
SERVICE = Kind("", "v1", "Service", "services")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
EVENT = Kind("", "v1", "Event", "events")
NODE = Kind("", "v1", "Node", "nodes", namespaced=False)
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs")
JOB = Kind("batch", "v1", "Job", "jobs")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")

NODE_LEASES = "kube-node-lease"
"""The namespace of the kubelets' heartbeats."""

CHILD_KINDS = (
    STATEFUL_SET, POD, SERVICE, CONFIG_MAP, VOLUME_CLAIM, DISRUPTION_BUDGET, NETWORK_POLICY, LEASE, CRON_JOB, JOB,
)  # fmt: skip
"""Kinds whose events wake their bot; all are watched with the label selector MANAGED_SELECTOR."""
