"""The conformance suite on Redis Enterprise: a node that connects and sends, as the documentation prints it.

The agent listens here, and nobody can be asked to send again: what the suite tries by reading from an earlier
cursor is tried for the chunk that was not stored yet, in test_collecting.py.
"""

import itertools
import random
from typing import Any

import msgspec
import pytest
from dbaudit.engine import AuditEvent, Target
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.monitored import Mutate
from dbaudit.testing.suite import Conformance

from tests.engines.redis_enterprise.clusters import ENGINE, connected, target
from tests.engines.redis_enterprise.records import AUTH_82, CLOSE_CONN_82, GET_82, NEW_CONN_82, changed

_connections = itertools.count(1)
WRONG_PASSWORD = 0
ONLY_ONCE = "a cluster sends nothing again: only the chunk that was not stored yet is given again"


class Node(Visitor):
    """A client of a database, as its node tells of it."""

    user = "default"

    def __init__(self, place: Target) -> None:
        self._place = place
        self._id = next(_connections)
        self._here = True
        self._send(_of(NEW_CONN_82, "new_conn", self._id), changed(AUTH_82, id=self._id))

    def run(self, text: str) -> str:
        self._send(changed(GET_82, id=self._id, keys=[text]))
        return text

    def leave(self) -> None:
        if self._here:
            self._here = False
            self._send(_of(CLOSE_CONN_82, "close_conn", self._id))

    def _send(self, *records: bytes) -> None:
        with connected(self._place) as link:
            link.sendall(b"".join(_unnumbered(record) for record in records))


def _unnumbered(record: bytes) -> bytes:
    return changed(record, audit_worker_id=None, audit_seq=None) + b"\n"


def _of(record: bytes, kind: str, number: int) -> bytes:
    return changed(record, **{kind: msgspec.json.decode(record)[kind] | {"id": number}})


class MonitoredCluster(Monitored):
    engine = ENGINE
    connects = False
    live = False

    def __init__(self) -> None:
        self._place = target()

    def target(self) -> Target:
        return self._place

    def visit(self) -> Visitor:
        return Node(self._place)

    def statement_of(self, event: AuditEvent) -> str | None:
        # A notification has a command and its keys, and no statement.
        return event.objects[0] if event.objects else None

    def fail_to_log_in(self) -> str:
        with connected(self._place) as link:
            link.sendall(_unnumbered(changed(AUTH_82, id=next(_connections), status=WRONG_PASSWORD)))
        return "default"

    def refused_target(self) -> Target:
        pytest.skip("nobody logs in: the agent listens")

    def write_hostile(self, raw: bytes) -> None:
        with connected(self._place) as link:
            link.sendall(raw)

    def mutated(self, record: Any, mutate: Mutate, chance: random.Random) -> Any:
        pieces = list(record.pieces)
        place = chance.randrange(len(pieces))
        pieces[place] = msgspec.structs.replace(pieces[place], data=mutate(pieces[place].data))
        return msgspec.structs.replace(record, pieces=pieces)


class TestCluster(Conformance):
    @pytest.fixture
    def monitored(self) -> Monitored:
        return MonitoredCluster()

    def test_same_cursor_gives_the_same_keys_again(self) -> None:
        pytest.skip(ONLY_ONCE)

    def test_size_of_the_chunks_changes_no_event(self) -> None:
        pytest.skip(ONLY_ONCE)

    def test_reading_resumes_after_every_prefix_of_a_batch(self) -> None:
        pytest.skip(ONLY_ONCE)

    def test_memory_does_not_grow_over_a_long_run(self) -> None:
        pytest.skip(ONLY_ONCE)

    def test_nothing_is_lost_while_nobody_reads(self) -> None:
        pytest.skip("who does not listen hears nothing: senders hold back or drop what they cannot send")

    def test_what_the_collector_does_itself_is_left_out(self) -> None:
        pytest.skip("the agent does nothing on a cluster")
