"""The password leaves the agent by SCRAM alone, whatever a server says that it can do."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson
import pytest
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import DbauditError
from dbaudit.core.secret import Secret
from dbaudit.engines.mongodb.connection import connect

from tests.servers.listening import listening

PASSWORD = "planted-password"
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013


@pytest.mark.parametrize("auth_source", [None, "$external"])
@pytest.mark.parametrize("offered", [["PLAIN"], ["MONGODB-CR"], ["PLAIN", "SCRAM-SHA-1"], [], None])
def test_a_rogue_server_chooses_no_mechanism_that_sends_the_password(
    offered: Sequence[str] | None, auth_source: str | None
) -> None:
    with _rogue(offered) as (port, received), pytest.raises(DbauditError):
        connect(_target(port, auth_source))
    said = b"".join(received)
    assert PASSWORD.encode() not in said
    assert b"saslStart" in said, "the server never got as far as the log-in"
    assert b"PLAIN" not in said
    assert b"SCRAM-SHA-" in said


def _target(port: int, auth_source: str | None) -> Target:
    return Target(
        database_id="db_1",
        host="127.0.0.1",
        port=port,
        database="admin",
        username="reader",
        password=Secret(PASSWORD),
        ssl_mode=SslMode.DISABLE,
        options={} if auth_source is None else {"auth_source": auth_source},
        connect_timeout_seconds=5.0,
    )


@contextlib.contextmanager
def _rogue(mechanisms: Sequence[str] | None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that says it is MongoDB 7 with these mechanisms, and takes whatever log-in comes."""
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            while True:
                head = _exactly(connection, 16)
                length, request, _answered, operation = struct.unpack("<iiii", head)
                body = _exactly(connection, length - 16)
                received.append(body)
                connection.sendall(_answer(operation, request, _reply(body, mechanisms)))

    with listening(serve) as port:
        yield port, received


def _reply(body: bytes, mechanisms: Sequence[str] | None) -> Mapping[str, Any]:
    if b"saslStart" in body and b"ismaster" not in body.lower() and b"hello" not in body:
        return {"ok": 1, "conversationId": 1, "done": True, "payload": b""}
    hello = {
        "ok": 1,
        "ismaster": True,
        "isWritablePrimary": True,
        "helloOk": True,
        "maxWireVersion": 21,
        "minWireVersion": 0,
        "maxBsonObjectSize": 16_777_216,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
    }
    return hello if mechanisms is None else {**hello, "saslSupportedMechs": list(mechanisms)}


def _answer(operation: int, request: int, document: Mapping[str, Any]) -> bytes:
    encoded = bson.encode(document)
    if operation == _OP_QUERY:
        body, kind = struct.pack("<iqii", 8, 0, 0, 1) + encoded, _OP_REPLY
    else:
        body, kind = struct.pack("<I", 0) + b"\0" + encoded, _OP_MSG
    return struct.pack("<iiii", len(body) + 16, 1, request, kind) + body


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
