"""TradingBot: what a person asks for. Every field here reaches a child or the engine; what has no effect yet is absent."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from soloist_operator.api.fields import (
    VALIDATIONS,
    Block,
    Count,
    KeyId,
    Money,
    ProfileName,
    Schedule,
    SecretName,
    Ticker,
    VolumeSize,
    rule,
)
from soloist_operator.api.peers import Egress, Labels, Passed, Peer, Resources, Toleration


class Mode(enum.StrEnum):
    """Whether orders are real."""

    PAPER = "Paper"
    SHADOW = "Shadow"
    LIVE = "Live"


class State(enum.StrEnum):
    """What the bot should be doing."""

    RUNNING = "Running"
    REDUCING = "Reducing"
    HALTED = "Halted"
    STOPPED = "Stopped"


class KeyPolicy(enum.StrEnum):
    """Who makes the engine's key."""

    MANAGED = "Managed"
    STATIC = "Static"


class KeyType(enum.StrEnum):
    """Algorithm of the keys that Soloist makes."""

    ED25519 = "ed25519"
    RSA = "rsa"


class PullPolicy(enum.StrEnum):
    """When the kubelet pulls the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class UpdatePolicy(enum.StrEnum):
    """When a changed pod template replaces the running pod."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class DisruptionPolicy(enum.StrEnum):
    """Who moves the bot off a node that is drained."""

    HANDOVER = "Handover"
    BLOCK = "Block"
    ALLOW = "Allow"


class WhenUnreachable(enum.StrEnum):
    """What becomes of the state volume when its node is lost."""

    START_FRESH = "StartFresh"
    WAIT = "Wait"


def _rules(*found: JsonDict) -> ConfigDict:
    return ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra={VALIDATIONS: [dict(one) for one in found]},
    )


class SecretReference(Block):
    """A Secret in the bot's own namespace, with the entries `key-id` and `private-key.pem`."""

    name: SecretName = Field(description="Name of the Secret.")


class Rotation(Block):
    """When the key is replaced; becomes the CronJob `<bot>-key-rotation`."""

    schedule: Schedule = Field(
        default="0 3 * * 0", description="When, in the cluster's time zone. Default: Sundays at 03:00."
    )
    suspend: bool = Field(default=False, description="Keep the CronJob but do not run it.")


_REFERENCE_MESSAGE = "exactly one key reference, matching keyPolicy: managementKeySecretRef for Managed, keySecretRef for Static"


class Account(Block):
    """The exchange account that the bot trades, and how it gets its key."""

    model_config = _rules(
        rule(
            "self.keyPolicy == 'Managed' ? has(self.managementKeySecretRef) && !has(self.keySecretRef)"
            " : has(self.keySecretRef) && !has(self.managementKeySecretRef)",
            _REFERENCE_MESSAGE,
        ),
        rule(
            "(has(self.subaccount) ? self.subaccount : 0) == (has(oldSelf.subaccount) ? oldSelf.subaccount : 0)",
            "account.subaccount is immutable: delete the TradingBot and create it again",
            ".subaccount",
        ),
        rule(
            "self.keyPolicy == oldSelf.keyPolicy",
            "account.keyPolicy is immutable: delete the TradingBot and create it again",
            ".keyPolicy",
        ),
        rule(
            "!has(oldSelf.managementKeySecretRef) || !has(self.managementKeySecretRef)"
            " || self.managementKeySecretRef == oldSelf.managementKeySecretRef",
            "account.managementKeySecretRef names the account and is immutable: change the Secret's content, or create the TradingBot again",
            ".managementKeySecretRef",
        ),
        rule(
            "!has(oldSelf.keySecretRef) || !has(self.keySecretRef) || self.keySecretRef == oldSelf.keySecretRef",
            "account.keySecretRef names the account and is immutable: change the Secret's content, or create the TradingBot again",
            ".keySecretRef",
        ),
        rule(
            "self.keyPolicy == 'Managed' || (!has(self.rotation) && !has(self.keyType) && !has(self.acknowledgedKeyIds))",
            "rotation, keyType and acknowledgedKeyIds belong to keyPolicy Managed: remove them, with Static you look after the key",
        ),
    )

    key_policy: KeyPolicy = Field(
        description="Managed: one key per epoch, made and revoked by Soloist. Static: your own key; Soloist never replaces an "
        "engine that is not proven dead."
    )
    management_key_secret_ref: SecretReference | None = Field(
        default=None, description="Managed: the key with which Soloist makes and revokes the engine's keys."
    )
    key_secret_ref: SecretReference | None = Field(
        default=None, description="Static: the key with which the engine trades."
    )
    key_type: KeyType | None = Field(
        default=None, description="Managed: algorithm of the keys that Soloist makes. Default ed25519."
    )
    subaccount: int = Field(
        default=0, ge=0, le=63, description="Number of the subaccount, 0 for the main one. Immutable."
    )
    acknowledged_key_ids: list[KeyId] | None = Field(
        default=None,
        max_length=50,
        description="Other keys of this account that could trade and of which you vouch that they place no orders here.",
    )
    rotation: Rotation | None = Field(default=None, description="Managed: when the key is replaced.")

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        managed = self.key_policy is KeyPolicy.MANAGED
        wanted, other = (
            (self.management_key_secret_ref, self.key_secret_ref)
            if managed
            else (self.key_secret_ref, self.management_key_secret_ref)
        )
        if wanted is None or other is not None:
            raise ValueError(_REFERENCE_MESSAGE)
        if not managed and (self.rotation or self.key_type or self.acknowledged_key_ids is not None):
            raise ValueError(
                "rotation, keyType and acknowledgedKeyIds belong to keyPolicy Managed: remove them, with Static you look after the key"
            )
        return self

    @property
    def secret_name(self) -> str:
        """The Secret that names the account (docs/interfaces.md, claim's hash)."""
        reference = self.management_key_secret_ref or self.key_secret_ref
        assert reference is not None, "validated: exactly one reference"
        name: str = reference.name
        return name


_MARKETS_MESSAGE = "name at least one of tickers and series: there is nothing to trade"
_CLOSE_MESSAGE = "maxSecondsToClose is below minSecondsToClose: no market can close between"
_FILTERS_MESSAGE = "filters choose among the markets of a series: name one in series, or remove filters (tickers are always followed)"


class MarketStatus(enum.StrEnum):
    """Which markets of a series are looked at."""

    ACTIVE = "active"
    INITIALIZED = "initialized"
    INACTIVE = "inactive"


class MarketFilters(Block):
    """Which markets of the series are followed; a market that is followed stays until it closes."""

    model_config = _rules(
        rule(
            "!has(self.minSecondsToClose) || !has(self.maxSecondsToClose) || self.minSecondsToClose <= self.maxSecondsToClose",
            _CLOSE_MESSAGE,
        )
    )

    status: MarketStatus | None = Field(
        default=None,
        description="active (the default) takes orders, initialized opens later, inactive is paused.",
    )
    min_volume: Count | None = Field(default=None, description="Contracts traded so far, at least.")
    max_spread: Money | None = Field(
        default=None, description="Dollars between best bid and best ask, at most."
    )
    min_liquidity: Count | None = Field(
        default=None, description="Contracts at the best bid, and at the best ask, at least."
    )
    min_seconds_to_close: int | None = Field(
        default=None, ge=0, le=10**9, description="Seconds until it closes, at least."
    )
    max_seconds_to_close: int | None = Field(
        default=None, ge=1, le=10**9, description="Seconds until it closes, at most."
    )
    max_markets: int | None = Field(
        default=None,
        ge=1,
        le=500,
        description="Markets of all series together, most volume first. Default 100.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        least, most = self.min_seconds_to_close, self.max_seconds_to_close
        if least is not None and most is not None and most < least:
            raise ValueError(_CLOSE_MESSAGE)
        return self


class Markets(Block):
    """What to trade."""

    model_config = _rules(
        rule(
            "(has(self.tickers) && size(self.tickers) > 0) || (has(self.series) && size(self.series) > 0)",
            _MARKETS_MESSAGE,
        ),
        rule("!has(self.filters) || (has(self.series) && size(self.series) > 0)", _FILTERS_MESSAGE),
    )

    tickers: list[Ticker] | None = Field(default=None, max_length=500, description="Markets by ticker.")
    series: list[Ticker] | None = Field(
        default=None,
        max_length=100,
        description="Series from whose markets the filters choose, again and again.",
    )
    filters: MarketFilters | None = Field(
        default=None, description="Which markets of the series. Without filters, the 100 with most volume."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.tickers and not self.series:
            raise ValueError(_MARKETS_MESSAGE)
        if self.filters is not None and not self.series:
            raise ValueError(_FILTERS_MESSAGE)
        return self


class Strategy(Block):
    """Which strategy decides."""

    name: str = Field(
        min_length=1, max_length=63, description="Name of an installed strategy, such as threshold."
    )
    parameters: Passed | None = Field(
        default=None,
        description="Parameters of the strategy; its own schema judges them before the engine is touched.",
    )


class Risk(Block):
    """Limits that no order passes. All are given: a default would be a trap."""

    max_order_contracts: Count = Field(description='Contracts of one order, such as "100.00".')
    max_position_contracts: Count = Field(description="Contracts of the position in one market, either side.")
    max_exposure_dollars: Money = Field(description="Dollars at risk over all markets, open orders included.")
    max_open_orders: int = Field(ge=1, le=10000, description="Resting orders at one time.")
    daily_loss_dollars: Money = Field(description="Loss of one day after which the bot only reduces.")


class Trading(Block):
    """How trading ends."""

    cancel_on_stop: bool = Field(
        default=True, description="Cancel resting orders when the engine stops. Default true."
    )


class Image(Block):
    """The engine's image; each absent part comes from the operator's settings."""

    model_config = _rules(
        rule(
            "!(has(self.tag) && has(self.digest))",
            "give tag or digest, not both: a digest already names one image",
        )
    )

    repository: str | None = Field(
        default=None, min_length=1, max_length=255, description="Image without tag or digest."
    )
    tag: str | None = Field(default=None, min_length=1, max_length=128)
    digest: str | None = Field(
        default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="Such as sha256:..."
    )
    pull_policy: PullPolicy | None = None

    @model_validator(mode="after")
    def _one_version(self) -> Self:
        if self.tag and self.digest:
            raise ValueError("give tag or digest, not both: a digest already names one image")
        return self


class Update(Block):
    """When a changed pod template replaces the running pod."""

    policy: UpdatePolicy = Field(
        default=UpdatePolicy.AUTOMATIC,
        description="Automatic: at once, by an orderly stop; what the operator alone changed (its default image) one bot after "
        "the other. Manual: after the annotation soloist.trade/approve-update names what condition Updated shows.",
    )


class Disruption(Block):
    """What a drain may do to the bot."""

    policy: DisruptionPolicy = Field(
        default=DisruptionPolicy.HANDOVER,
        description="Handover: no eviction; when the node is cordoned the operator stops the engine in order and starts it on "
        "another node that can take it. Block: no eviction; a drain waits until you stop the bot. Allow: a drain evicts the pod, "
        "which stops in order. Default Handover.",
    )


class Storage(Block):
    """The volume with the engine's journal."""

    size: VolumeSize = Field(
        default="1Gi", description="May grow where the storage class can, never shrink. Default 1Gi."
    )
    storage_class_name: str | None = Field(
        default=None, max_length=253, description="Default: the cluster's default class. Immutable."
    )
    retain: bool = Field(
        default=True, description="Keep the volume when the TradingBot is deleted. Default true."
    )
    when_unreachable: WhenUnreachable = Field(
        default=WhenUnreachable.START_FRESH,
        description="After a takeover from an engine that may still write to its volume. StartFresh: the next engine gets a new "
        "volume and reads the account from the venue; the old volume is kept. Wait: it waits for the old one. Default StartFresh.",
    )


class Network(Block):
    """Who may connect to the bot's ports 8080 (engine) and 8081 (watchdog), and where its pods may connect to, besides the defaults."""

    metrics_from: list[Peer] | None = Field(
        default=None, max_length=20, description="Peers that collect metrics."
    )
    access_from: list[Peer] | None = Field(
        default=None, max_length=20, description="Other peers that read the bot's state."
    )
    extra_egress: list[Egress] | None = Field(
        default=None, max_length=20, description="Further connections outwards."
    )


_ACCOUNT_MESSAGE = "account is needed exactly when mode is Live: add account, or set mode Paper"
_SIZE = "(has({0}.storage) && has({0}.storage.size) ? quantity({0}.storage.size) : quantity('1Gi'))"
_CLASS = "(has({0}.storage) && has({0}.storage.storageClassName) ? {0}.storage.storageClassName : '')"


class TradingBotSpec(Block):
    """What the bot is and what it may do. Never written by Soloist: see status.resolved for what applies."""

    model_config = _rules(
        rule("has(self.account) == (has(self.mode) && self.mode == 'Live')", _ACCOUNT_MESSAGE, ".account"),
        rule(
            "(has(self.mode) ? self.mode : 'Paper') == (has(oldSelf.mode) ? oldSelf.mode : 'Paper')",
            "mode is immutable: delete the TradingBot and create it again",
            ".mode",
        ),
        rule(
            f"!{_SIZE.format('self')}.isLessThan({_SIZE.format('oldSelf')})",
            "storage.size may not shrink: write the old size or a larger one",
            ".storage",
        ),
        rule(
            f"{_CLASS.format('self')} == {_CLASS.format('oldSelf')}",
            "storage.storageClassName is immutable: delete the TradingBot and create it again",
            ".storage",
        ),
    )

    mode: Mode = Field(
        default=Mode.PAPER,
        description="Paper: simulated fills. Shadow: decides and records, sends nothing. Live: real orders, needs account. "
        "Immutable. Default Paper: nothing trades real money by accident.",
    )
    state: State = Field(
        default=State.RUNNING,
        description="Running, Reducing (only orders that make positions smaller), Halted (no new orders), Stopped (no engine).",
    )
    venue: ProfileName = Field(description="Name of a venue profile of the operator's settings. Immutable.")
    account: Account | None = Field(
        default=None, description="The exchange account; exactly when mode is Live."
    )
    markets: Markets = Field(description="What to trade.")
    strategy: Strategy = Field(description="Which strategy decides.")
    risk: Risk = Field(description="Limits that no order passes.")
    trading: Trading = Trading()
    image: Image = Image()
    update: Update = Update()
    disruption: Disruption = Disruption()
    storage: Storage = Storage()
    network: Network = Network()
    resources: Resources | None = Field(
        default=None, description="Requests and limits of the engine container."
    )
    node_selector: Labels | None = Field(
        default=None, description="Labels of the nodes on which the bot's pods may run."
    )
    tolerations: list[Toleration] | None = Field(
        default=None, max_length=20, description="Taints that the bot's pods tolerate."
    )
    affinity: Passed | None = Field(
        default=None, description="Affinity of the engine pod, as Kubernetes defines it."
    )
    priority_class_name: str | None = Field(
        default=None, max_length=253, description="Priority class of the engine pod."
    )
    pod_annotations: dict[str, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None, description="Further annotations of the engine pod."
    )

    @model_validator(mode="after")
    def _account_when_live(self) -> Self:
        if (self.account is not None) != (self.mode is Mode.LIVE):
            raise ValueError(_ACCOUNT_MESSAGE)
        return self

    def to_json(self) -> dict[str, Any]:
        """The spec as a person would write it, without what is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
