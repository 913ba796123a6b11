"""The agents."""

from __future__ import annotations

from datetime import datetime

import msgspec

from dbaudit.sdk.transport import Transport


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. ``capabilities`` are `db_conns_auditing` (it can send connection events) and `engine:TYPE`;
    ``databases`` are the ids of those that it collects at the moment.
    """

    id: str
    name: str
    version: str
    alive: bool
    capabilities: list[str]
    started_at: datetime
    last_heartbeat: datetime
    databases: list[str]


class _Listing(msgspec.Struct, frozen=True):
    data: list[Node]


class Nodes:
    """``client.nodes``. Every method raises ``dbaudit.sdk.ApiError``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Node]:
        """The agents, oldest first; those that have been silent for less than a day, too."""
        return self._transport.request("GET", "/v1/nodes", _Listing).data
