"""The claim as the API server has it, and as the fence sees it."""

from soloist_fence.cluster import claim_view
from soloist_fence.commands import ClaimView, OrderGroup


def test_everything_that_the_fence_reads():
    document = {
        "metadata": {
            "name": "claim-x",
            "annotations": {"soloist.trade/revoke-key-ids": "one, two,three\nfour,"},
        },
        "spec": {"holder": {"namespace": "bots", "name": "demo", "uid": "u"}, "accountIdentity": "marker:m"},
        "status": {
            "epoch": 4,
            "nonce": "abc123",
            "nonces": ["aaa111"],
            "phase": "Active",
            "keyId": "k",
            "secretName": "demo-key-e4-abc123",
            "since": "2026-01-02T03:04:05Z",
            "orderGroups": [{"epoch": 3, "id": "g"}],
            "acknowledgedKeyIds": ["known"],
        },
    }
    assert claim_view(document) == ClaimView(
        epoch=4,
        nonce="abc123",
        nonces=frozenset({"aaa111", "abc123"}),
        phase="Active",
        key_id="k",
        secret_name="demo-key-e4-abc123",
        holder_uid="u",
        identity="marker:m",
        since_ms=1_767_323_045_000,
        order_groups=(OrderGroup(3, "g"),),
        acknowledged_key_ids=frozenset({"known"}),
        revoke_key_ids=frozenset({"one", "two", "three", "four"}),
    )


def test_a_claim_that_was_just_made():
    assert claim_view({"metadata": {"name": "claim-x"}}) == ClaimView(
        epoch=0, nonce="", nonces=frozenset(), phase=""
    )
