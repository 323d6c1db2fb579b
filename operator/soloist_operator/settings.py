"""The operator's settings file (docs/interfaces.md "Operator settings"): strict, immutable, read once at start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from soloist_operator.api.tradingbot import PullPolicy
from soloist_operator.errors import SettingsError


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Images(_Block):
    """What pods run unless a TradingBot says otherwise."""

    trader: str = Field(min_length=1)
    fence: str = Field(min_length=1)
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT


class ServiceAccounts(_Block):
    """Names of the service accounts in each bot namespace."""

    engine: str = "soloist-engine"
    fence: str = "soloist-fence"


class Venue(_Block):
    """A venue profile, defined by the platform owner: no URL ever comes from a TradingBot."""

    rest_url: str = Field(pattern=r"^https?://")
    websocket_url: str = Field(pattern=r"^wss?://")
    ca_bundle: str = ""
    revocation_bound_ms: int = Field(ge=0, le=60_000)
    key_list_lag_ms: int = Field(default=0, ge=0)
    egress: tuple[dict[str, Any], ...] = ()


class Settings(_Block):
    """The whole file."""

    images: Images
    watch_namespaces: tuple[str, ...] = Field(min_length=1)
    service_accounts: ServiceAccounts = ServiceAccounts()
    venues: Annotated[dict[str, Venue], Field(min_length=1)]


def load(path: Path) -> Settings:
    """Read and check the settings. Raises SettingsError with every problem."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; mount the settings ConfigMap there") from error
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or path}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{path} is not usable: {problems}; correct the chart's values") from error
