"""What drivers send by themselves makes no event and is counted, in every source that records it."""

import json
from datetime import UTC, datetime
from typing import Any

import bson
from dbaudit.engines.mongodb.decoding import decode
from dbaudit.engines.mongodb.records import Context, FileBlock, ProfileBlock

from tests.engines.mongodb.records import CLIENT, decoded, mongo, ocsf

AGENT = {"own_user": "root", "own_ip": CLIENT["ip"]}


def check(command: str, **more: Any) -> dict[str, Any]:
    return mongo("authCheck", {"command": command, "ns": "admin", "args": {command: 1}}, **more)


def api(command: str) -> dict[str, Any]:
    called = {"operation": command, "request": {"uid": "admin"}, "response": {"code": 0}}
    return ocsf(6003, 0, src_endpoint=CLIENT, api=called)


def test_commands_of_connections_in_the_audit_log_are_counted_by_name() -> None:
    found = decoded(check("ping"), check("listDatabases"), check("ping"), check("endSessions"))
    assert [event.operation for event in found.events] == ["listDatabases"]
    assert found.left_out == {"ping": 2, "endSessions": 1}
    found = decoded(api("ping"), api("listDatabases"), api("hello"))
    assert [event.operation for event in found.events] == ["listDatabases"]
    assert found.left_out == {"ping": 1, "hello": 1}


def test_what_the_agent_sends_and_what_was_before_its_time_is_not_counted() -> None:
    for record in (check("ping"), api("ping")):
        assert decoded(record, **AGENT).left_out == {}
        assert decoded(record, since_us=1 << 60).left_out == {}


def test_slow_commands_of_connections_in_the_log_and_in_the_profiler_are_counted() -> None:
    line = {
        "t": {"$date": "2025-02-03T10:15:00.123+00:00"},
        "s": "I",
        "c": "COMMAND",
        "id": 51803,
        "ctx": "conn12",
        "msg": "Slow query",
        "attr": {"type": "command", "ns": "admin.$cmd", "command": {"ping": 1}, "durationMillis": 300},
    }
    data = json.dumps(line).encode() + b"\n"
    of_log = FileBlock(context=Context(), audit=False, source="log", offset=0, data=data)
    document = bson.encode({
        "op": "command", "ns": "shop.$cmd", "command": {"hello": 1}, "millis": 300,
        "ts": datetime(2025, 2, 3, tzinfo=UTC),
    })  # fmt: skip
    of_profiler = ProfileBlock(context=Context(), database="shop", documents=[(1, document)])
    found = decode([of_log, of_profiler])
    assert (found.events, found.rejected) == ([], [])
    assert found.left_out == {"ping": 1, "hello": 1}
