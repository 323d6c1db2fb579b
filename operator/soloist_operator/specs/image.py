"""Which image a bot runs."""

from __future__ import annotations

from dataclasses import dataclass

from soloist_operator.api.tradingbot import Image
from soloist_operator.settings import Images


@dataclass(frozen=True)
class ResolvedImage:
    """A complete reference, and when to pull it."""

    reference: str
    pull_policy: str


def resolve(image: Image, defaults: Images) -> ResolvedImage:
    """What the spec gives, completed from the settings."""
    repository, version = _split(defaults.trader)
    repository = image.repository or repository
    if image.digest:
        version = f"@{image.digest}"
    elif image.tag:
        version = f":{image.tag}"
    policy = image.pull_policy or defaults.pull_policy
    return ResolvedImage(f"{repository}{version}", policy.value)


def _split(reference: str) -> tuple[str, str]:
    """`host:5000/name:tag` -> `host:5000/name`, `:tag`; likewise with `@digest`."""
    if "@" in reference:
        repository, digest = reference.split("@", 1)
        return repository, f"@{digest}"
    head, slash, tail = reference.rpartition("/")
    name, colon, tag = tail.partition(":")
    return f"{head}{slash}{name}", f"{colon}{tag}"
