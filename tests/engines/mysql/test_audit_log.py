"""audit_log_read() of a live 9.7 on which stored functions stand for those of Enterprise and Percona.

They keep the manual's rules: reading begins at a bookmark, goes on in the session, ends with null, and cannot
go on after that. What they cannot show is the plugin itself, which no server here has.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dbaudit.core.event import AuditEvent
from dbaudit.engine.base import Session
from dbaudit.engines.mysql import MySQLEngine

from tests.engines.mysql.targets import ACCOUNT, COLLECTOR, target
from tests.servers.mysql import MySQLServer

_DOUBLE = (
    "CREATE DATABASE audited",
    "CREATE TABLE audited.events (n INT AUTO_INCREMENT PRIMARY KEY, event JSON NOT NULL)",
    """CREATE FUNCTION audited.audit_log_read_bookmark() RETURNS TEXT READS SQL DATA
       RETURN (SELECT JSON_OBJECT('timestamp', event->>'$.timestamp', 'id', event->'$.id')
               FROM audited.events ORDER BY n DESC LIMIT 1)""",
    """CREATE FUNCTION audited.audit_log_read(arg JSON) RETURNS LONGTEXT READS SQL DATA BEGIN
         DECLARE wanted INT DEFAULT COALESCE(arg->'$.max_array_length', 1000000);
         DECLARE answer LONGTEXT;
         DECLARE last INT;
         IF @audit_position IS NOT NULL AND JSON_CONTAINS_PATH(arg, 'one', '$.id', '$.start') THEN
           SIGNAL SQLSTATE 'HY000' SET MESSAGE_TEXT = 'Wrong arguments list';
         END IF;
         IF JSON_TYPE(arg) = 'NULL' THEN SET @audit_position = NULL; RETURN 'OK'; END IF;
         IF JSON_CONTAINS_PATH(arg, 'one', '$.id') THEN
           SET @audit_position = (SELECT n FROM audited.events WHERE event->'$.id' = arg->'$.id'
                                  AND event->>'$.timestamp' = arg->>'$.timestamp');
           IF @audit_position IS NULL THEN {GONE}; END IF;
         ELSEIF JSON_CONTAINS_PATH(arg, 'one', '$.start') THEN
           SET @audit_position = (SELECT COALESCE(MIN(n), 1) FROM audited.events
                                  WHERE event->>'$.timestamp' >= arg->>'$.start.timestamp');
         ELSEIF @audit_position IS NULL THEN
           SIGNAL SQLSTATE 'HY000' SET MESSAGE_TEXT = 'no read sequence';
         END IF;
         SELECT GROUP_CONCAT(event ORDER BY n SEPARATOR ','), MAX(n) INTO answer, last FROM
           (SELECT n, event FROM audited.events WHERE n >= @audit_position ORDER BY n LIMIT wanted) found;
         IF EXISTS (SELECT 1 FROM audited.events WHERE n > last) THEN
           SET @audit_position = last + 1;
           RETURN CONCAT('[', answer, ']');
         END IF;
         SET @audit_position = NULL;
         RETURN CONCAT('[', COALESCE(CONCAT(answer, ','), ''), 'null]');
       END""",
    f"GRANT EXECUTE ON audited.* TO {ACCOUNT}",
)
# What a bookmark gives whose event is gone: an error of Enterprise's, and what Percona's tests record.
_GONE = {
    "enterprise": "SIGNAL SQLSTATE 'HY000' SET MESSAGE_TEXT = 'no such event'",
    "percona": "RETURN '[null]'",
}


@pytest.fixture(scope="module", params=_GONE)
def server(mysql: MySQLServer, request: pytest.FixtureRequest) -> Iterator[MySQLServer]:
    mysql.execute_admin("SET GLOBAL group_concat_max_len = 100000000")
    for statement in _DOUBLE:
        mysql.execute_admin(statement.replace("{GONE}", _GONE[request.param]))
    yield mysql
    mysql.execute_admin("DROP DATABASE audited")


class Audit:
    """Writes the log, and reads it as an agent does."""

    def __init__(self, server: MySQLServer) -> None:
        self._server = server
        self._written = 0
        self.session = self.open()
        self.cursor: Any = None
        self.events: list[AuditEvent] = []
        self.gaps: list[AuditEvent] = []

    def open(self) -> Session:
        return MySQLEngine().open(target(self._server, database="audited"))

    def write(self, *queries: str, user: str = "app", connection_id: int = 41) -> None:
        for query in queries:
            # Two events a second, as far as the time goes: the id tells them apart.
            event = {
                "timestamp": f"2025-02-03 10:{self._written // 120:02}:{self._written // 2 % 60:02}",
                "id": self._written % 2,
                "class": "general",
                "event": "status",
                "connection_id": connection_id,
                "login": {"user": user, "ip": "10.0.0.7"},
                "general_data": {"command": "Query", "query": query, "status": 0},
            }
            self._written += 1
            self._server.execute_admin("INSERT INTO audited.events (event) VALUES (%s)", [json.dumps(event)])

    def read(self, limit_bytes: int = 1 << 20) -> bool:
        chunk = self.session.read(self.cursor, limit_bytes)
        self.cursor = json.loads(json.dumps(chunk.cursor))
        decoded = MySQLEngine().decode(chunk.records)
        assert decoded.rejected == []
        self.events += decoded.events
        self.gaps += chunk.gaps
        return chunk.more

    def read_all(self, limit_bytes: int = 1 << 20) -> None:
        while self.read(limit_bytes):
            pass

    @property
    def queries(self) -> list[str | None]:
        return [event.query for event in self.events]


@pytest.fixture
def audit(server: MySQLServer) -> Iterator[Audit]:
    server.execute_admin("TRUNCATE TABLE audited.events")
    audit = Audit(server)
    yield audit
    audit.session.close()


def test_audit_log_is_the_source_where_its_function_answers(audit: Audit) -> None:
    report = audit.session.test()
    assert report.success
    assert report.audit_source == "audit_log_read()"
    assert report.permissions == {"audit_log_read": True}


@pytest.mark.parametrize("limit_bytes", [1, 1200, 1 << 20])
def test_events_come_once_and_in_order_whatever_one_read_fetches(audit: Audit, limit_bytes: int) -> None:
    audit.write("select 'before'")
    audit.read()
    wanted = [f"select {number}" for number in range(30)]
    audit.write(*wanted)
    audit.read_all(limit_bytes)
    assert audit.queries == wanted
    assert len({(e.key, e.time_us) for e in audit.events}) == len(wanted)


def test_reading_begins_again_after_every_event(audit: Audit) -> None:
    audit.write("select 'before'")
    audit.read()
    wanted = [f"select {number}" for number in range(7)]
    audit.write(*wanted)
    while len(audit.events) < len(wanted):
        audit.read(1)
        audit.session.close()
        audit.session = audit.open()
    assert audit.queries == wanted
    assert audit.gaps == []


def test_reading_goes_on_after_the_end_was_reached(audit: Audit) -> None:
    audit.write("select 'before'")
    audit.read()
    for number in range(3):
        audit.write(f"select {number}")
        audit.read_all()
        audit.session.close()  # or it would wait for a second before it asks again
        audit.session = audit.open()
    assert audit.queries == [f"select {number}" for number in range(3)]


def test_log_that_is_empty_at_first_is_read_from_its_first_event(audit: Audit) -> None:
    audit.read()
    # The events of this double have a date in the past.
    audit.cursor["timestamp"] = "2025-01-01 00:00:00"
    audit.write("select 'first'")
    audit.read_all()
    assert audit.queries == ["select 'first'"]


def test_events_that_were_removed_unread_are_a_gap(audit: Audit, server: MySQLServer) -> None:
    audit.write("select 'before'")
    audit.read()
    audit.write("select 'lost'", "select 'kept'")
    server.execute_admin("DELETE FROM audited.events ORDER BY n LIMIT 2")
    audit.read_all()
    assert audit.queries == ["select 'kept'"]
    assert len(audit.gaps) == 1


def test_bookmark_that_is_gone_before_anything_follows_is_one_gap(audit: Audit, server: MySQLServer) -> None:
    audit.write("select 'before'")
    audit.read()
    server.execute_admin("DELETE FROM audited.events")
    for _each in range(3):
        audit.read_all()
        audit.session.close()  # or it would wait for a second before it asks again
        audit.session = audit.open()
    assert (audit.queries, len(audit.gaps)) == ([], 1)
    audit.write("select 'after'")
    audit.read_all()
    assert (audit.queries, len(audit.gaps)) == (["select 'after'"], 1)


def test_what_was_read_and_not_stored_is_read_again_in_the_same_session(audit: Audit) -> None:
    audit.write("select 'before'")
    audit.read()
    wanted = [f"select {number}" for number in range(7)]
    audit.write(*wanted)
    stored = audit.cursor
    audit.read(1)
    audit.cursor, audit.events = stored, []
    audit.read_all(1)
    assert audit.queries == wanted
    assert audit.gaps == []


def test_cursor_of_an_idle_server_stays_as_it_is_though_the_agent_is_audited_too(audit: Audit) -> None:
    audit.write("select 'before'")
    audit.read()
    audit.read()
    before = audit.cursor
    own = audit.session._connection.connection_id  # type: ignore[attr-defined]
    audit.write("SELECT audit_log_read(...)", user=COLLECTOR, connection_id=own)
    audit.session.close()
    audit.session = audit.open()
    audit.read()
    assert audit.events == []
    audit.write("select 'after'")
    audit.session.close()
    audit.session = audit.open()
    audit.read_all()
    assert audit.queries == ["select 'after'"]
    assert before["source"] == "audit_log"


def test_cursor_of_another_source_becomes_a_gap(audit: Audit) -> None:
    audit.cursor = {"v": 1, "source": "general_log"}
    audit.read()
    assert len(audit.gaps) == 1
    assert audit.cursor["source"] == "audit_log"
