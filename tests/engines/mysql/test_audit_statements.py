"""Percona's audit_log_filter writes up to four records for one statement; it is one event with its outcome.

The records are those of its formatters (components/ and plugin/audit_log_filter/log_record_formatter), of its
plugin, of its first component and of today's.
"""

import json
from pathlib import Path

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engines.mysql import audit_going_on
from dbaudit.engines.mysql.audit_blocks import AuditBlock, decode
from dbaudit.engines.mysql.audit_borders import format_of

from tests.engines.mysql.collecting import Collecting
from tests.servers.mysql import MySQLServer

OK, FAILED = Outcome.SUCCESS, Outcome.FAILURE


class Log:
    """Writes elements as the formatter for JSON does."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def general(self, event: str, query: str, status: int = 0, connection: int = 41, **more: object) -> None:
        command = more.pop("command", "Query")
        self._add("general", event, connection, general_data={
            "command": command, "sql_command": "select", "query": query, "status": status, **more
        })  # fmt: skip

    def connection(self, event: str, connection: int = 41, status: int = 0) -> None:
        self._add("connection", event, connection, connection_data={"status": status, "db": ""})

    def query(self, event: str, query: str, connection: int = 41) -> None:
        data = {"query": query, "status": 0, "sql_command": "create_table"}
        self._add("query", event, connection, query_data=data)

    def bare(self, event: str, status: int = 0) -> None:
        self._add("general", event, 41, general_data={"status": status})

    def table(self, table: str, query: str) -> None:
        data = {"db": "shop", "table": table, "query": query, "sql_command": "select"}
        self._add("table_access", "read", 41, table_access_data=data)

    def _add(self, kind: str, event: str, connection: int, **data: object) -> None:
        element = {
            "timestamp": "2025-02-03 10:15:00",
            "id": len(self.elements),
            "class": kind,
            "event": event,
            "connection_id": connection,
            "login": {"user": "app", "os": "", "ip": "10.0.0.7", "proxy": ""},
            **data,
        }
        self.elements.append(json.dumps(element, indent=2))

    @property
    def text(self) -> str:
        return "[\n" + ",\n".join(self.elements) + "\n]\n"

    def events(self) -> list[tuple[str | None, Outcome | None, str | None]]:
        return told(self.text.encode())


def events_of(data: bytes) -> list[AuditEvent]:
    found = format_of(data)
    assert found is not None
    decoded = decode([AuditBlock(format=found, data=data, head="h")])
    assert decoded.rejected == []
    return decoded.events


def told(data: bytes) -> list[tuple[str | None, Outcome | None, str | None]]:
    return [(e.query, e.outcome, e.error_code) for e in events_of(data) if e.type is EventType.QUERY]


def success(log: Log, query: str, connection: int = 41) -> None:
    for event in ("log", "result", "status"):
        log.general(event, query, connection=connection)


def test_success_and_failure_are_one_event_each_with_the_real_outcome() -> None:
    log = Log()
    success(log, "select 1")
    log.general("log", "select * from nosuch")
    log.general("error", "select * from nosuch", 1146)
    log.general("status", "select * from nosuch", 1146)
    assert log.events() == [("select 1", OK, None), ("select * from nosuch", FAILED, "1146")]


def test_same_statement_again_and_again_is_as_many_events() -> None:
    log = Log()
    for _each in range(3):
        success(log, "select 1")
    assert log.events() == [("select 1", OK, None)] * 3


def test_sessions_that_run_the_same_statement_keep_their_own_outcome() -> None:
    log = Log()
    log.general("log", "update t", connection=41)
    log.general("log", "update t", connection=42)
    log.general("error", "update t", 1205, connection=42)
    log.general("result", "update t", connection=41)
    log.general("status", "update t", 1205, connection=42)
    log.general("status", "update t", connection=41)
    found = [(e.session_id, e.error_code) for e in events_of(log.text.encode())]
    assert found == [("42", "1205"), ("41", None)]


def test_statement_that_did_not_parse_has_no_record_of_its_arrival() -> None:
    log = Log()
    log.general("error", "selec 1", 1064)
    log.general("status", "selec 1", 1064)
    assert log.events() == [("selec 1", FAILED, "1064")]


def test_error_that_a_procedure_handled_is_no_failure() -> None:
    log = Log()
    log.general("log", "call p()")
    log.general("error", "call p()", 1062)
    log.general("result", "call p()")
    log.general("status", "call p()")
    (event,) = events_of(log.text.encode())
    assert (event.outcome, event.error_code, event.detail) == (OK, None, {"errors": ["1062"]})


def test_statements_sent_together_are_apart() -> None:
    log = Log()
    for query in ("select 1;", "select 2;"):
        log.general("log", query)
        log.general("status", query)
    log.general("error", "selec 3", 1064)
    log.general("status", "selec 3", 1064)
    assert log.events() == [("select 1;", OK, None), ("select 2;", OK, None), ("selec 3", FAILED, "1064")]


def test_message_of_an_error_in_the_place_of_its_command_is_no_operation() -> None:
    log = Log()
    log.general("log", "signal sqlstate '45000' set message_text = 'Quit'", sql_command="signal")
    log.general("error", "signal ...", 1644, command="Quit")
    log.general("status", "signal sqlstate '45000' set message_text = 'Quit'", 1644, sql_command="signal")
    (event,) = events_of(log.text.encode())
    assert (event.operation, event.error_code) == ("SIGNAL", "1644")


def test_record_of_its_arrival_alone_tells_the_statement_without_an_outcome() -> None:
    log = Log()
    log.general("log", "select sleep(1000)")
    log.connection("disconnect")
    assert log.events() == [("select sleep(1000)", None, None)]


def test_tables_of_a_statement_are_told_with_it() -> None:
    log = Log()
    log.general("log", "select * from a join b")
    log.table("a", "select * from a join b")
    log.table("b", "select * from a join b")
    log.general("status", "select * from a join b")
    (event,) = events_of(log.text.encode())
    assert event.objects == ("shop.a", "shop.b")


def test_text_comes_from_the_class_query_where_the_others_have_none() -> None:
    log = Log()
    log.bare("log")
    log.query("query_start", "create table t (a int)")
    log.query("query_status_end", "create table t (a int)")
    log.bare("error", 1050)
    log.bare("status", 1050)
    (event,) = events_of(log.text.encode())
    assert (event.query, event.operation, event.error_code) == (
        "create table t (a int)",
        "CREATE TABLE",
        "1050",
    )


def xml(*records: tuple[str, str, int], connection: int = 7, **more: str) -> str:
    """Records in the new style of audit_log_filter: name, text and status."""
    return "".join(
        f"  <AUDIT_RECORD>\n    <NAME>{name}</NAME>\n    <RECORD_ID>1_2025-02-03T10:15:00</RECORD_ID>\n"
        f"    <TIMESTAMP>2025-02-03T10:15:00</TIMESTAMP>\n    <COMMAND_CLASS>insert</COMMAND_CLASS>\n"
        f"    <CONNECTION_ID>{connection}</CONNECTION_ID>\n    <USER>app</USER>\n"
        f"    <SQLTEXT>{text}</SQLTEXT>\n    <STATUS>{status}</STATUS>\n  </AUDIT_RECORD>\n"
        for name, text, status in records
    )


HEADER = '<?xml version="1.0" encoding="utf-8"?>\n<AUDIT>\n'


def command(what: str) -> str:
    return (
        f"  <AUDIT_RECORD>\n    <NAME>Command {what}</NAME>\n"
        "    <TIMESTAMP>2025-02-03T10:15:00</TIMESTAMP>\n    <STATUS>0</STATUS>\n"
        "    <CONNECTION_ID>7</CONNECTION_ID>\n    <COMMAND_CLASS>query</COMMAND_CLASS>\n  </AUDIT_RECORD>\n"
    )


def test_records_of_the_plugin_in_xml_are_joined() -> None:
    text = HEADER + xml(
        *(("Query", "a", 0), ("", "a", 0), ("Query", "a", 0)),
        *(("Query", "b", 0), ("Table 'b' doesn't exist", "b", 1146), ("Query", "b", 1146)),
        *(("You have an error", "c", 1064), ("Query", "c", 1064)),
    )
    assert told(text.encode()) == [("a", OK, None), ("b", FAILED, "1146"), ("c", FAILED, "1064")]


def test_records_of_the_component_in_xml_are_joined_where_commands_are_logged_too() -> None:
    text = HEADER + command("Start")
    text += xml(("Query", "a", 0), ("Query", "a", 0), ("Query", "a", 0))
    text += xml(("Query", "b", 0), ("Query", "b", 1146), ("Query", "b", 1146))
    text += xml(("Query", "c", 1064), ("Query", "c", 1064)) + command("End")
    assert told(text.encode()) == [("a", OK, None), ("b", FAILED, "1146"), ("c", FAILED, "1064")]


def test_records_in_xml_that_nothing_shows_to_be_several_stay_apart() -> None:
    text = HEADER + xml(("Query", "a", 0), ("Query", "a", 1062), ("Query", "a", 1062))
    assert told(text.encode()) == [("a", OK, None), ("a", FAILED, "1062"), ("a", FAILED, "1062")]


def test_name_of_a_record_in_xml_that_a_user_chose_forges_nothing() -> None:
    forged = ("Connect", "Quit", "NoAudit", "Audit", "Query", "Prepare")
    text = HEADER + xml(("Query", "a", 0), ("", "a", 0), ("Query", "a", 0))
    for name in forged:
        text += xml(("Query", f"signal {name}", 0), (name, f"signal {name}", 1644))
        text += xml(("Query", f"signal {name}", 1644))
    found = events_of(text.encode())
    assert {e.type for e in found} == {EventType.QUERY}
    assert [(e.query, e.error_code) for e in found[1:]] == [(f"signal {name}", "1644") for name in forged]


def test_attributes_of_a_message_do_not_become_the_record() -> None:
    text = HEADER + (
        "<AUDIT_RECORD><NAME>User</NAME><TIMESTAMP>2025-02-03T10:15:00</TIMESTAMP>"
        "<COMMAND_CLASS>Message</COMMAND_CLASS><CONNECTION_ID>7</CONNECTION_ID><MESSAGE>m</MESSAGE>"
        "<MESSAGE_ATTRIBUTES><ATTRIBUTE><NAME>Connect</NAME><VALUE>x</VALUE></ATTRIBUTE>"
        "</MESSAGE_ATTRIBUTES></AUDIT_RECORD>"
    )
    assert events_of(text.encode()) == []


def test_source_without_last_records_loses_no_statement_and_tells_each_once(
    mysql: MySQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter leaves out `status`: the next record of the session, or patience, ends the waiting."""
    monkeypatch.setattr(audit_going_on, "_PATIENCE_SECONDS", 0.05)
    file = tmp_path / "audit.json"
    log = Log()
    for number in range(4):
        log.general("log", f"select {number}", connection=number % 2)
    file.write_text(log.text)
    with Collecting(mysql, audit_file=str(file), start_from="beginning") as collecting:
        collecting.until(lambda: len(collecting.events) >= 4, "the last statements")
        found = sorted((str(e.query), e.outcome, str(e.detail)) for e in collecting.events)
    assert found == [(f"select {number}", None, "{'records': ['log']}") for number in range(4)]


@pytest.mark.parametrize("limit_bytes", [1, 400, 700, 1000])
def test_statement_whose_records_are_read_apart_is_one_event(
    mysql: MySQLServer, tmp_path: Path, limit_bytes: int
) -> None:
    file = tmp_path / "audit.json"
    log = Log()
    success(log, "select 0")
    for number in range(1, 6):
        log.general("log", f"select {number}", connection=number)
        log.general("log", f"update {number}", connection=100 + number)
        log.general("error", f"update {number}", 1205, connection=100 + number)
    for number in range(1, 6):
        log.general("status", f"update {number}", 1205, connection=100 + number)
        log.general("result", f"select {number}", connection=number)
        log.general("status", f"select {number}", connection=number)
    success(log, "select 'end'")
    file.write_text(log.text)
    with Collecting(mysql, audit_file=str(file), start_from="beginning") as collecting:
        while "select 'end'" not in collecting.queries():
            collecting.read(limit_bytes)
            collecting.reopen()
        wanted = {("select 0", None), ("select 'end'", None)}
        for number in range(1, 6):
            wanted |= {(f"select {number}", None), (f"update {number}", "1205")}
        found = [(e.query, e.error_code) for e in collecting.events]
        assert sorted(found, key=str) == sorted(wanted, key=str)
        assert len(set(collecting.keys())) == len(found)
        assert collecting.rejected == []
