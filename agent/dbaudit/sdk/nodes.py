"""The agents."""

from __future__ import annotations

from datetime import datetime

import msgspec

from dbaudit.core import typed
from dbaudit.sdk.methods import AsyncResource, Resource, async_call, call
from dbaudit.sdk.request import Reply, Request


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. ``capabilities`` are `db_conns_auditing` (it can send connection events) and `engine:TYPE`;
    ``databases`` are the ids of those that it collects at the moment.
    """

    id: str
    name: str
    version: str
    alive: bool
    capabilities: tuple[str, ...]
    started_at: datetime
    last_heartbeat: datetime
    databases: tuple[str, ...]


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[Node, ...]


def list_nodes() -> Request[tuple[Node, ...]]:
    """The agents, oldest first; those that have been silent for less than a day, too."""
    return Request(method="GET", path="/v1/nodes", understand=_nodes)


def _nodes(reply: Reply) -> tuple[Node, ...]:
    return typed.decode(reply.content, _Listing).data


class Nodes(Resource):
    """``client.nodes``."""

    list = call(list_nodes)


class AsyncNodes(AsyncResource):
    """``client.nodes`` of an AsyncClient."""

    list = async_call(list_nodes)
