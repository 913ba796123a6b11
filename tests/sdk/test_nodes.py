"""``client.nodes`` against the real API."""

from __future__ import annotations

import dbaudit

from tests.sdk.conftest import DATABASE, Api


def test_agents_are_listed_with_what_they_can_and_hold(client: dbaudit.Client, api: Api) -> None:
    assert client.nodes.list() == ()
    database = client.databases.create(**DATABASE)
    node = api.state.nodes.register("agent-1", "0.1.0", ("db_conns_auditing", "engine:postgresql"))
    api.state.nodes.beat(node)
    (found,) = client.nodes.list()
    assert (found.id, found.name, found.version, found.alive) == (node.id, "agent-1", "0.1.0", True)
    assert found.capabilities == ("db_conns_auditing", "engine:postgresql")
    assert found.databases == (database.id,)
    assert found.last_heartbeat >= found.started_at
