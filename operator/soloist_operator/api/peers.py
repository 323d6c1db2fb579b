"""Parts of Kubernetes' own API that a spec may carry: network peers, resources, placement."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from soloist_operator.api.fields import Block

Passed = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""An object that is passed to Kubernetes as written; Kubernetes judges it."""

Labels = dict[str, Annotated[str, Field(max_length=63)]]


class Requirement(Block):
    """One requirement of a label selector."""

    key: str = Field(max_length=317)
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[Annotated[str, Field(max_length=63)]] | None = Field(default=None, max_length=50)


class Selector(Block):
    """A label selector."""

    match_labels: Labels | None = None
    match_expressions: list[Requirement] | None = Field(default=None, max_length=20)


class AddressBlock(Block):
    """A block of addresses, such as 10.0.0.0/8, without some of its parts."""

    cidr: str = Field(max_length=43)
    except_: list[Annotated[str, Field(max_length=43)]] | None = Field(
        default=None, max_length=20, alias="except"
    )


class Peer(Block):
    """Pods (by label, in namespaces by label) or a block of addresses."""

    pod_selector: Selector | None = Field(default=None, description="Pods with these labels.")
    namespace_selector: Selector | None = Field(
        default=None, description="In namespaces with these labels; absent: in the bot's own namespace."
    )
    ip_block: AddressBlock | None = Field(default=None, description="Instead of pods, a block of addresses.")


class Port(Block):
    """A port number, or the first of a range."""

    port: int = Field(ge=1, le=65535)
    end_port: int | None = Field(default=None, ge=1, le=65535)
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Egress(Block):
    """Connections that the bot's pods may open besides DNS, the venue and the API server."""

    to: list[Peer] = Field(min_length=1, max_length=20)
    ports: list[Port] | None = Field(default=None, max_length=20, description="Absent: every port.")


class Resources(Block):
    """Requests and limits of the engine container."""

    requests: dict[str, Annotated[str, Field(max_length=20)]] | None = None
    limits: dict[str, Annotated[str, Field(max_length=20)]] | None = None


class Toleration(Block):
    """A taint that the bot's pods tolerate."""

    key: str | None = Field(default=None, max_length=317)
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = Field(default=None, max_length=63)
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None
