"""The bot's NetworkPolicy: nothing in, nothing out, except what is written here."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from soloist_operator.api.fields import Block
from soloist_operator.api.tradingbot import TradingBotSpec
from soloist_operator.kinds import GROUP, LABEL_BOT, NETWORK_POLICY
from soloist_operator.objects import Object
from soloist_operator.settings import Venue
from soloist_operator.specs.common import BotRef, child
from soloist_operator.specs.engine import HTTP_PORT, WATCHDOG_PORT

ACCESS_LABEL = f"{GROUP}/access"


@dataclass(frozen=True, order=True)
class Address:
    """One address and port of the API server."""

    host: str
    port: int


def network_policy(
    bot: BotRef, spec: TradingBotSpec, venue: Venue, api_server: tuple[Address, ...]
) -> Object:
    """One policy for every pod of the bot: the engine, and the Jobs that check, fence and rotate."""
    network = spec.network
    sources = [
        {"podSelector": {"matchLabels": {ACCESS_LABEL: "true"}}},
        *(_json(peer) for peer in [*(network.metrics_from or ()), *(network.access_from or ())]),
    ]
    return child(
        NETWORK_POLICY,
        bot,
        bot.name,
        spec={
            "podSelector": {"matchLabels": {LABEL_BOT: bot.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": sources,
                    "ports": [{"port": port, "protocol": "TCP"} for port in (HTTP_PORT, WATCHDOG_PORT)],
                }
            ],
            "egress": [
                _dns(),
                *(_api_server(address) for address in api_server),
                *venue.egress,
                *(_json(extra) for extra in network.extra_egress or ()),
            ],
        },
    )


def _dns() -> Object:
    return {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }


def _api_server(address: Address) -> Object:
    block = ipaddress.ip_network(address.host)
    return {
        "to": [{"ipBlock": {"cidr": str(block)}}],
        "ports": [{"port": address.port, "protocol": "TCP"}],
    }


def _json(part: Block) -> Object:
    found: Object = part.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found
