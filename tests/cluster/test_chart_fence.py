"""The fence's requests against a real API server, with the token and the role that the chart gives it."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner
from soloist_fence import cluster as fence_cluster
from soloist_fence import rotation
from soloist_fence.api import (
    EpochSecret,
    Evidence,
    FenceArguments,
    IdentifyArguments,
    Outcome,
    Reason,
    Slot,
    Verb,
    claim_name_of,
)
from soloist_fence.cli import main
from soloist_fence.cluster import Cluster, Connection
from soloist_fence.errors import FenceError

from tests.cluster.chart import api_server, apply_crds, render
from tests.cluster.paths import REPOSITORY
from tests.conformance.fence.fence_cards import serving

OLD, NEW = Slot(1, "key-1", "PEM 1"), Slot(2, "key-2", "PEM 2")
SECRET = "demo-key-e1-abc123"


@pytest.fixture
def bots(cluster, namespace):
    """A namespace with the chart's fence role, a claim, and a TradingBot that holds it."""
    apply_crds(cluster)
    release = f"test-{uuid.uuid4().hex[:6]}"
    values = {"botNamespaces": [{"name": namespace, "create": False}]}
    roles = [
        found
        for found in render(values, release=release, namespace=namespace)
        if found["kind"] in {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}
        and found["metadata"]["name"].endswith("fence")
    ]
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(roles))
    made = Bots(cluster, namespace)
    yield made
    cluster.kubectl("delete", "accountclaim", made.claim, "--ignore-not-found")
    outside = [found for found in roles if found["metadata"].get("namespace") is None]
    cluster.kubectl("delete", "-f", "-", "--wait=false", input=yaml.safe_dump_all(outside))


class Bots:
    def __init__(self, cluster, namespace):
        self.cluster = cluster
        self.namespace = namespace
        self.identity = f"marker:{namespace}"

    @property
    def claim(self):
        return claim_name_of(self.identity, 0)

    def holder(self):
        """A TradingBot that exists: the cluster collects the Secrets of owners that do not."""
        bot = yaml.safe_load((REPOSITORY / "examples" / "paper.yaml").read_text())
        bot["metadata"] = {"name": "demo", "namespace": self.namespace}
        made = json.loads(self.cluster.kubectl("apply", "-f", "-", "-o", "json", input=json.dumps(bot)))
        return {"namespace": self.namespace, "name": "demo", "uid": made["metadata"]["uid"]}

    def write_claim(self, **status):
        holder = self.holder()
        body = {
            "apiVersion": "soloist.trade/v1alpha1",
            "kind": "AccountClaim",
            "metadata": {"name": self.claim},
            "spec": {
                "holder": holder,
                "venue": "simulator",
                "subaccount": 0,
                "accountIdentity": self.identity,
            },
            "status": status,
        }
        self.cluster.kubectl("apply", "-f", "-", input=json.dumps(body))

    def fence(self, tmp_path: Path, *, account="soloist-fence", url=None):
        own_url, authority = api_server(self.cluster)
        (tmp_path / "ca.crt").write_text(authority)
        token = self.cluster.kubectl("create", "token", account, "-n", self.namespace).strip()
        connection = Connection(url or own_url, token, str(tmp_path / "ca.crt"))
        return Cluster(connection, namespace=self.namespace, bot="demo", claim=self.claim)

    def secret(self):
        return json.loads(self.cluster.kubectl("get", "secret", SECRET, "-n", self.namespace, "-o", "json"))

    def content(self):
        data = {name: base64.b64decode(text).decode() for name, text in self.secret()["data"].items()}
        return EpochSecret.parse(data)


async def test_the_claim_is_read_live(bots, tmp_path):
    async with bots.fence(tmp_path) as fence:
        with pytest.raises(FenceError, match="does not exist") as caught:
            await fence.read_claim()
        assert caught.value.reason is Reason.CLAIM_MOVED
        bots.write_claim(
            phase="Fencing",
            epoch=2,
            nonce="abc124",
            nonces=["abc123", "abc124"],
            secretName=SECRET,
            keyId="k",
        )
        claim = await fence.read_claim()
    assert (claim.epoch, claim.nonce, claim.phase) == (2, "abc124", "Fencing")
    assert claim.nonces == {"abc123", "abc124"}
    assert (claim.secret_name, claim.key_id) == (SECRET, "k")
    assert claim.holder_uid == bots.holder()["uid"]


async def test_an_epoch_secret_lives_through_a_rotation(bots, tmp_path):
    async with bots.fence(tmp_path) as fence:
        await fence.create_secret(SECRET, EpochSecret(1, 1, (OLD,)), None)
        assert bots.content() == EpochSecret(1, 1, (OLD,))
        assert bots.secret()["metadata"]["labels"]["soloist.trade/bot"] == "demo"

        await fence.patch_secret(SECRET, 1, 2, NEW, None)
        assert bots.content() == EpochSecret(1, 2, (OLD, NEW))
        await fence.patch_secret(SECRET, 2, 3, None, 1)
        assert bots.content() == EpochSecret(1, 3, (NEW,))

        assert await fence.delete_secret(SECRET) is True
        assert await fence.delete_secret(SECRET) is False


async def test_a_name_never_comes_back(bots, tmp_path):
    async with bots.fence(tmp_path) as fence:
        await fence.create_secret(SECRET, EpochSecret(1, 1, (OLD,)), None)
        with pytest.raises(FenceError, match=SECRET) as caught:
            await fence.create_secret(SECRET, EpochSecret(1, 1, (NEW,)), None)
    assert caught.value.reason is Reason.SECRET_EXISTS
    assert bots.content().slots == (OLD,)


@pytest.mark.parametrize("deleted", [False, True], ids=["another generation", "deleted"])
async def test_a_patch_that_comes_too_late_changes_nothing(bots, tmp_path, deleted):
    async with bots.fence(tmp_path) as fence:
        await fence.create_secret(SECRET, EpochSecret(1, 5, (OLD,)), None)
        if deleted:
            await fence.delete_secret(SECRET)
        with pytest.raises(FenceError) as caught:
            await fence.patch_secret(SECRET, 4, 5, NEW, None)
    assert caught.value.reason is Reason.SECRET_MOVED
    if not deleted:
        assert bots.content() == EpochSecret(1, 5, (OLD,))


async def test_the_secret_belongs_to_the_bot(bots, tmp_path):
    bot = yaml.safe_load((REPOSITORY / "examples" / "paper.yaml").read_text())
    bot["metadata"] = {"name": "demo", "namespace": bots.namespace}
    uid = json.loads(bots.cluster.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(bot)))[
        "metadata"
    ]["uid"]
    async with bots.fence(tmp_path) as fence:
        await fence.create_secret(SECRET, EpochSecret(1, 1, (OLD,)), uid)
    (owner,) = bots.secret()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("TradingBot", "demo", uid)


async def test_the_lease_tells_which_key_is_in_use(bots, tmp_path):
    report = {
        "podUid": "p",
        "epoch": 1,
        "incarnation": "1f",
        "keyId": "key-1",
        "generation": 1,
        "state": "ACTIVE",
    }
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "demo-0",
            "namespace": bots.namespace,
            "annotations": {"soloist.trade/admitted-pod-uid": "p"},
        },
        "spec": {
            "holderIdentity": "p/1f",
            "renewTime": "2026-01-01T00:00:00.000000Z",
            "leaseDurationSeconds": 15,
        },
    }
    async with bots.fence(tmp_path) as fence:
        assert await fence.read_lease() is None
        bots.cluster.kubectl("apply", "-f", "-", input=json.dumps(lease))
        assert await fence.read_lease() is None, "no engine has written it"
        lease["metadata"]["annotations"]["soloist.trade/engine"] = json.dumps(report)
        bots.cluster.kubectl("apply", "-f", "-", input=json.dumps(lease))
        seen = await fence.read_lease()
        lease["metadata"]["annotations"]["soloist.trade/engine"] = "half a rep"
        bots.cluster.kubectl("apply", "-f", "-", input=json.dumps(lease))
        assert await fence.read_lease() is None
    assert seen is not None
    assert (seen.pod_uid, seen.admitted_pod_uid, seen.epoch, seen.key_id) == ("p", "p", 1, "key-1")
    assert seen.renewed_at.startswith("2026-01-01T00:00:00")


async def test_without_the_role_the_message_names_it(bots, tmp_path):
    bots.cluster.kubectl("create", "serviceaccount", "stranger", "-n", bots.namespace)
    async with bots.fence(tmp_path, account="stranger") as fence:
        with pytest.raises(FenceError, match="Role soloist-fence") as caught:
            await fence.create_secret(SECRET, EpochSecret(1, 1, (OLD,)), None)
    assert caught.value.reason is Reason.CLUSTER_UNREACHABLE


async def test_no_api_server_is_no_answer(bots, tmp_path):
    async with bots.fence(tmp_path, url="https://127.0.0.1:9") as fence:
        with pytest.raises(FenceError, match="no answer from the API server") as caught:
            await fence.delete_secret(SECRET)
    assert caught.value.reason is Reason.CLUSTER_UNREACHABLE


def test_the_whole_process_from_identity_to_release(bots, tmp_path, monkeypatch):
    """`soloist-fence` as its Jobs run it: real exchange, real API server, files and token as in the pod."""
    with serving(tmp_path / "exchange") as exchange:
        management_key = exchange.account("fence")
        arguments = lay_out_pod(bots, exchange, management_key, tmp_path, monkeypatch)
        identified = [identify(arguments, nonce, tmp_path) for nonce in ("abc001", "abc002")]
        assert {found.outcome for found in identified} == {Outcome.IDENTIFIED}
        (bots.identity,) = {found.account_identity for found in identified}
        arguments = replace(arguments, claim=bots.claim)
        bots.write_claim(phase="Fencing", epoch=1, nonce="abc123", nonces=["abc123"])

        published = fence(Verb.TAKEOVER, arguments, tmp_path)
        assert (published.outcome, published.secret_name) == (Outcome.PUBLISHED, SECRET), published
        (slot,) = bots.content().slots
        assert slot.key_id == published.key_id
        assert published.durations_ms["quiesceAndPublish"] >= 100

        again = fence(Verb.TAKEOVER, arguments, tmp_path)
        assert (again.outcome, again.reason) == (Outcome.FAILED, Reason.HIGHER_EPOCH), (
            "an attempt is never repeated"
        )

        bots.write_claim(
            phase="Active", epoch=1, nonce="abc123", nonces=["abc123"], secretName=SECRET, keyId=slot.key_id
        )
        slots_dir = Path(arguments.slots_dir)
        slots_dir.mkdir()
        for name, text in bots.content().data().items():
            (slots_dir / name).write_text(text)
        monkeypatch.setattr(rotation, "HEARTBEAT_MS", 100)
        skipped = fence(Verb.ROTATE, arguments, tmp_path)
        assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, Reason.NO_RUNNING_ENGINE)

        released = fence(Verb.RELEASE, arguments, tmp_path)
        assert released.outcome is Outcome.RELEASED
        assert bots.cluster.kubectl("get", "secret", SECRET, "-n", bots.namespace, "--ignore-not-found") == ""


def lay_out_pod(bots, exchange, management_key, tmp_path, monkeypatch):
    """Files and environment as the Job's pod has them; returns the arguments that the operator would write."""
    url, authority = api_server(bots.cluster)
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "ca.crt").write_text(authority)
    (account / "token").write_text(
        bots.cluster.kubectl("create", "token", "soloist-fence", "-n", bots.namespace)
    )
    monkeypatch.setattr(fence_cluster, "_SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", urlsplit(url).hostname)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(urlsplit(url).port))
    keys = tmp_path / "management-key"
    keys.mkdir()
    (keys / "key-id").write_text(management_key.key_id)
    (keys / "private-key.pem").write_bytes((exchange.state_dir / "fence.pem").read_bytes())
    config = {
        "venue": {"rest_url": exchange.rest_url, "ca_file": exchange.ca_file},
        "account": {"subaccount": 0},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return FenceArguments(
        claim=bots.claim,
        bot=f"{bots.namespace}/demo",
        epoch=1,
        nonce="abc123",
        cluster_id="cluster-1",
        secret_name=SECRET,
        revocation_bound_ms=100,
        config=str(tmp_path / "config.yaml"),
        management_key_dir=str(keys),
        slots_dir=str(tmp_path / "slots"),
    )


def identify(arguments, nonce, tmp_path):
    asked = IdentifyArguments(nonce, config=arguments.config, management_key_dir=arguments.management_key_dir)
    evidence_file = tmp_path / "identity"
    CliRunner().invoke(main, [*asked.to_args(), f"--evidence-file={evidence_file}"])
    return Evidence.parse(evidence_file.read_text())


def fence(verb, arguments, tmp_path):
    evidence_file = tmp_path / "termination-log"
    CliRunner().invoke(main, [*arguments.to_args(verb), f"--evidence-file={evidence_file}"])
    return Evidence.parse(evidence_file.read_text())
