"""What runs here, and whether it is what was approved.

In 2012 one of eight machines of a broker ran code that nobody meant to run any more, and nothing noticed. So every start
writes down and shows its image, configuration and strategy, and refuses to be anything else than what it was started as.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from soloist_trader import strategies
from soloist_trader.config import Configuration
from soloist_trader.errors import ConfigurationError, NotApprovedError
from soloist_trader.strategies.base import StrategyPlugin

IMAGE: Final = "SOLOIST_IMAGE"
"""Environment variable: the reference of the image that this process runs from. Only who started it knows it."""
APPROVED_CONFIGURATION: Final = "SOLOIST_APPROVED_CONFIGURATION_SHA256"
APPROVED_STRATEGY: Final = "SOLOIST_APPROVED_STRATEGY_SHA256"


class Deployment(NamedTuple):
    """Image reference and hashes in hexadecimal; a text is empty where nobody said."""

    image: str = ""
    configuration_sha256: str = ""
    strategy_sha256: str = ""


def measure(content: bytes, configuration: Configuration, environment: Mapping[str, str]) -> Deployment:
    """What runs with this configuration, of which `content` are the file's bytes. Raises ConfigurationError."""
    return Deployment(
        environment.get(IMAGE, ""),
        hashlib.sha256(content).hexdigest(),
        _strategy_sha256(configuration.strategy.name),
    )


def require_approved(deployment: Deployment, environment: Mapping[str, str]) -> None:
    """Raise NotApprovedError unless each approved hash that the environment names is the one that runs.

    A variable that is set and empty approves nothing: whoever meant to set it did not.
    """
    for what, variable, ours in (
        ("configuration", APPROVED_CONFIGURATION, deployment.configuration_sha256),
        ("strategy", APPROVED_STRATEGY, deployment.strategy_sha256),
    ):
        approved = environment.get(variable)
        if approved is not None and approved != ours:
            raise NotApprovedError(
                f"the {what} is not the approved one: its SHA-256 is {ours}, {variable} is {approved!r}. Put the approved {what} "
                f"back, or, if this is the one that should trade, set {variable} to {ours}"
            )


def _strategy_sha256(name: str) -> str:
    """Of the files of the modules that define the class and what it inherits, up to our base; of one module, its file's hash.

    What a strategy imports besides is not in it: that is what the image's digest is for.
    """
    plugin: type[StrategyPlugin[Any]] = strategies.load(name)
    own = [kind for kind in plugin.__mro__ if issubclass(kind, StrategyPlugin) and kind is not StrategyPlugin]
    found = hashlib.sha256()
    for module in dict.fromkeys(kind.__module__ for kind in own):
        file = getattr(sys.modules.get(module), "__file__", None)
        try:
            found.update(Path(file or "").read_bytes())
        except OSError as error:
            why = f"the source of strategy {name!r}, module {module}, cannot be read: {error}; install it as files"
            raise ConfigurationError([("spec.strategy.name", why)]) from error
    return found.hexdigest()
