"""The engine's configuration as the operator writes it (docs/interfaces.md "Engine configuration")."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

import yaml

from soloist_operator.api.tradingbot import Markets, TradingBotSpec
from soloist_operator.kinds import CONFIG_MAP
from soloist_operator.objects import Object, content_hash
from soloist_operator.settings import Venue
from soloist_operator.specs.common import CA_FILE, CONFIG_KEY, BotRef, child

VERSION = 1
RENDERED_KEPT = 4096
PREFLIGHT_CLAIM_HASH, PREFLIGHT_EPOCH = "000000", 1
"""What stands for claim and epoch before there are any: the check and the fence read neither."""


@dataclass(frozen=True)
class Configuration:
    """The two files, and the names that follow from their content."""

    files: dict[str, str]
    config_hash: str
    """Of the files as they are: names the ConfigMap."""
    validity_hash: str
    """Of everything that decides whether the engine accepts it: no epoch, but the image. Names the check Job."""

    @property
    def approved_sha256(self) -> str:
        """SHA-256 of the configuration file as it is mounted, in hexadecimal: the engine starts with these bytes only."""
        return hashlib.sha256(self.files[CONFIG_KEY].encode()).hexdigest()


def render(
    bot: BotRef, spec: TradingBotSpec, venue: Venue, *, image: str, claim_hash: str | None, epoch: int | None
) -> Configuration:
    """Render a validated spec.

    Without `claim_hash` and `epoch` a Live bot's is the pre-flight one, which no engine runs: the same for every epoch, so
    that an attempt that fails leaves no configuration behind.
    """
    document = _document(bot, spec, venue)
    files = {"venue-ca.pem": venue.ca_bundle} if venue.ca_bundle else {}
    validity_hash = content_hash({"config": document, "files": files, "image": image})
    if spec.account is not None:
        document["account"] = {
            "subaccount": spec.account.subaccount,
            "claim_hash": claim_hash or PREFLIGHT_CLAIM_HASH,
            "epoch": epoch or PREFLIGHT_EPOCH,
        }
    files[CONFIG_KEY] = _text(json.dumps(document))
    return Configuration(files=files, config_hash=content_hash(files), validity_hash=validity_hash)


@lru_cache(maxsize=RENDERED_KEPT)
def _text(document: str) -> str:
    """A JSON document as YAML. Remembered, because every look at every bot asks for the same few again, and YAML is slow."""
    return yaml.safe_dump(json.loads(document), sort_keys=True, allow_unicode=True, width=110)


def _document(bot: BotRef, spec: TradingBotSpec, venue: Venue) -> Object:
    venue_block = {"name": spec.venue, "rest_url": venue.rest_url, "websocket_url": venue.websocket_url}
    if venue.ca_bundle:
        venue_block["ca_file"] = CA_FILE
    risk = spec.risk
    document: Object = {
        "version": VERSION,
        "bot": {"namespace": bot.namespace, "name": bot.name},
        "mode": spec.mode.value,
        "venue": venue_block,
        "markets": _markets(spec.markets),
        "strategy": {"name": spec.strategy.name, "parameters": spec.strategy.parameters or {}},
        "risk": {
            "max_order_contracts": risk.max_order_contracts,
            "max_position_contracts": risk.max_position_contracts,
            "max_exposure_dollars": risk.max_exposure_dollars,
            "max_open_orders": risk.max_open_orders,
            "daily_loss_dollars": risk.daily_loss_dollars,
        },
        "trading": {"cancel_on_stop": spec.trading.cancel_on_stop},
    }
    if spec.account is not None:
        document["account"] = {"subaccount": spec.account.subaccount}
    return document


def _markets(markets: Markets) -> Object:
    found: Object = {"tickers": list(markets.tickers or ()), "series": list(markets.series or ())}
    if markets.filters is not None:
        found["filters"] = markets.filters.model_dump(mode="json", exclude_none=True)
    return found


def config_map(bot: BotRef, configuration: Configuration) -> Object:
    """The ConfigMap of one configuration: immutable, so that a pod can never see another one under its name."""
    return child(
        CONFIG_MAP, bot, bot.config(configuration.config_hash), data=dict(configuration.files), immutable=True
    )
